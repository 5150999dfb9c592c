//! From a copy to a local directory that a job can go on from.
//!
//! 1. The newest complete copy is chosen; an older one where that is damaged and no sink can have committed behind it.
//! 2. What an interrupted fetch has left is removed. Files of state come first, then manifests, and the metadata file last:
//!    only with it there is a checkpoint, so a fetch that is cut short leaves none.
//!
//! **Invariants**
//! - A file is durable before its name, and all files before the metadata file's.
//! - Every part is checked by length and SHA-256 before it is written.

use super::claim::Claimed;
use super::index::{Index, IndexedFile};
use super::local::LocalCopy;
use super::objects::Objects;
use super::part::{PartHash, PartRef};
use super::{RemoteError, StatisticsCell, crash_points};
use crate::record::CheckpointId;
use thalweg_io::crash_point;
use thalweg_io::file::FileWriter;

/// Where and how it is fetched.
pub(super) struct Fetch<'a> {
    pub(super) objects: &'a dyn Objects,
    pub(super) local: &'a LocalCopy,
    pub(super) parallelism: usize,
    pub(super) allow_repeated_commits: bool,
    pub(super) statistics: &'a StatisticsCell,
}

impl Fetch<'_> {
    /// Fetches the copy to go on from into the local directory, which has no checkpoint; `None` if there is none.
    pub(super) fn newest(&self, claimed: &Claimed) -> Result<Option<CheckpointId>, RemoteError> {
        let mut damage: Option<RemoteError> = None;
        for (name, index) in claimed.indexes.iter().rev() {
            let Some(index) = index else {
                damage = damage.or_else(|| Some(self.unreadable(claimed, name)));
                continue;
            };
            if let Some(damage) = damage.take_if(|_| index.commits && !self.allow_repeated_commits)
            {
                return Err(damage);
            }
            let may_repeat = index.commits && !index.commits_waited && !index.is_final;
            if may_repeat && !self.allow_repeated_commits {
                let (url, checkpoint) = (self.objects.url().to_owned(), index.checkpoint);
                return Err(RemoteError::BehindCommit { url, checkpoint });
            }
            match self.fetch(index) {
                Ok(()) => return Ok(Some(index.checkpoint)),
                Err(error @ (RemoteError::Missing { .. } | RemoteError::Damaged { .. })) => {
                    tracing::warn!("a copy of a checkpoint cannot be used: {error}");
                    damage.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        damage.map_or(Ok(None), Err)
    }

    fn unreadable(&self, claimed: &Claimed, name: &super::index::IndexName) -> RemoteError {
        let url = self.objects.url().to_owned();
        let what = claimed.unreadable.get(name);
        match what {
            Some(RemoteError::NewerFormat { object, expected, found, .. }) => {
                let (object, expected, found) = (object.clone(), *expected, *found);
                RemoteError::NewerFormat { url, object, expected, found }
            }
            Some(RemoteError::Damaged { object, what, remedy, .. }) => {
                let (object, what, remedy) = (object.clone(), what.clone(), remedy.clone());
                RemoteError::Damaged { url, object, what, remedy }
            }
            _ => {
                let (object, what) = (name.object(), "it cannot be read".to_owned());
                RemoteError::Damaged { url, object, what, remedy: remedy(name.checkpoint) }
            }
        }
    }

    fn fetch(&self, index: &Index) -> Result<(), RemoteError> {
        self.local.remove_leftovers(false)?;
        crash_point(crash_points::FETCH_BEGUN);
        let Some((metadata, files)) = index.files.split_last() else { return Ok(()) };
        for file in files {
            self.fetch_file(index, file)?;
            crash_point(crash_points::FILE_FETCHED);
        }
        crash_point(crash_points::FILES_FETCHED);
        self.fetch_file(index, metadata)?;
        crash_point(crash_points::FETCHED);
        self.statistics.count(|statistics| {
            statistics.fetched = Some(index.checkpoint);
            statistics.latest = Some(index.checkpoint);
        });
        Ok(())
    }

    fn fetch_file(&self, index: &Index, file: &IndexedFile) -> Result<(), RemoteError> {
        let failed = |error| self.local.failed(error);
        let path = self.local.directory.join(&file.name);
        let mut writer = FileWriter::create(&self.local.storage, path).map_err(failed)?;
        for batch in file.parts.chunks(self.parallelism) {
            let names: Vec<String> = batch.iter().map(|part| part.hash.object()).collect();
            let fetched = self.objects.get_all(&names)?;
            for (part, bytes) in batch.iter().zip(fetched) {
                let bytes = self.checked(index.checkpoint, *part, bytes)?;
                writer.append(&bytes).map_err(|error| failed(error.error))?;
                self.statistics.count(|statistics| statistics.fetched_bytes += part.length_bytes);
            }
        }
        writer.complete().map(drop).map_err(failed)
    }

    fn checked(
        &self,
        checkpoint: CheckpointId,
        part: PartRef,
        bytes: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, RemoteError> {
        let (url, object) = (self.objects.url().to_owned(), part.hash.object());
        let remedy = remedy(checkpoint);
        let Some(bytes) = bytes else {
            return Err(RemoteError::Missing { url, object, checkpoint, remedy });
        };
        let found_bytes = bytes.len() as u64;
        let expected_bytes = part.length_bytes;
        if found_bytes != expected_bytes {
            let what = format!("{expected_bytes} bytes are expected, {found_bytes} found");
            return Err(RemoteError::Damaged { url, object, what, remedy });
        }
        let found = PartHash::of(&bytes);
        if found != part.hash {
            let what = format!("its bytes have the SHA-256 {found}");
            return Err(RemoteError::Damaged { url, object, what, remedy });
        }
        Ok(bytes)
    }
}

fn remedy(checkpoint: CheckpointId) -> String {
    format!(
        "put it back from a backup of the store; else an older copy than checkpoint {checkpoint} is used if the job has no \
         sinks that commit or `allow_repeated_commits` is set, or begin anew with `restore = \"nothing\"`"
    )
}
