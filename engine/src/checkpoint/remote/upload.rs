//! A copy being made: what of a checkpoint is sent, and in which order.
//!
//! 1. [`Pinned::of`] keeps the files of a complete checkpoint: those of its keyed stores are pinned, its metadata file is open.
//! 2. [`Copier::copy`] cuts each file into parts, sends those that are not there, then the index, then looks whether the place
//!    is still ours.
//!
//! What was sent stays there when a copy fails or the process dies: the next one of the same bytes goes on behind it. Files do
//! not change once they are there, so the parts of one are computed once a process.

use super::claim::Claimed;
use super::index::{Index, IndexedFile, metadata_name};
use super::objects::Objects;
use super::part::{PartHash, PartRef};
use super::{RemoteError, StatisticsCell, crash_points};
use crate::checkpoint::metadata::CheckpointMetadata;
use crate::checkpoint::store::CheckpointStore;
use crate::operator::keyed_store::stores_in;
use crate::record::CheckpointId;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thalweg_io::storage::{ReadFile, Storage};
use thalweg_io::{IoError, crash_point};
use thalweg_state::{PinnedCheckpoint, PinnedFile};

/// A complete checkpoint whose files stay until this is dropped.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) checkpoint: CheckpointId,
    taken_at_ms: i64,
    commits: bool,
    is_final: bool,
    /// Open, as its name may go.
    metadata: Box<dyn ReadFile>,
    stores: Vec<PinnedCheckpoint>,
    storage: Arc<dyn Storage>,
    directory: PathBuf,
}

impl Pinned {
    /// Keeps a checkpoint that is complete and that nobody releases during this call.
    pub(super) fn of(
        store: &CheckpointStore,
        metadata: &CheckpointMetadata,
    ) -> Result<Self, RemoteError> {
        let directory = store.directory().to_path_buf();
        let checkpoint = CheckpointId(metadata.checkpoint);
        let open = store.storage().open_read(&store.path(checkpoint));
        let local = |source: IoError| RemoteError::Local {
            directory: directory.clone(),
            source: Box::new(source),
        };
        let file = open.map_err(local)?;
        let names = stores_in(metadata).map_err(|error| RemoteError::Damaged {
            url: directory.display().to_string(),
            object: metadata_name(checkpoint),
            what: error.to_string(),
            remedy: "the next checkpoint is copied".to_owned(),
        })?;
        let pin = |name: &String| store.root().pin_checkpoint(name, checkpoint);
        let stores = names.iter().map(pin).collect::<Result<Vec<_>, _>>();
        let pinned = Pinned {
            checkpoint,
            taken_at_ms: metadata.taken_at_ms,
            commits: metadata.commits,
            is_final: metadata.is_final,
            metadata: file,
            stores: stores.map_err(|source| {
                let (directory, source) = (directory.clone(), Box::new(source));
                RemoteError::State { directory, source }
            })?,
            storage: store.storage().clone(),
            directory,
        };
        crash_point(crash_points::PINNED);
        Ok(pinned)
    }

    /// The files of keyed state, each once: stores that were put together from others share files.
    fn files(&self) -> impl Iterator<Item = &PinnedFile> {
        let mut files: Vec<_> = self.stores.iter().flat_map(PinnedCheckpoint::files).collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files.dedup_by(|a, b| a.name == b.name);
        files.into_iter()
    }

    fn failed(&self, source: IoError) -> RemoteError {
        RemoteError::Local { directory: self.directory.clone(), source: Box::new(source) }
    }

    /// The parts of the metadata file, which tell checkpoints apart that have one number.
    pub(super) fn metadata_parts(&self, part_bytes: usize) -> Result<Vec<PartRef>, RemoteError> {
        let failed = |source| self.failed(source);
        let length_bytes = self.metadata.length_bytes().map_err(failed)?;
        let mut parts = Vec::new();
        for (at, count) in cuts(length_bytes, part_bytes) {
            let mut bytes = vec![0; count];
            self.metadata.read_exact_at(at, &mut bytes).map_err(failed)?;
            parts.push(PartRef { hash: PartHash::of(&bytes), length_bytes: count as u64 });
        }
        Ok(parts)
    }
}

/// Where a file of this length is cut: offsets and lengths.
fn cuts(length_bytes: u64, part_bytes: usize) -> impl Iterator<Item = (u64, usize)> {
    (0..length_bytes).step_by(part_bytes).map(move |at| {
        let left = usize::try_from(length_bytes - at).unwrap_or(usize::MAX);
        (at, left.min(part_bytes))
    })
}

/// Makes copies, one after the other.
#[derive(Debug)]
pub(super) struct Copier {
    pub(super) objects: Arc<dyn Objects>,
    pub(super) job: String,
    pub(super) part_bytes: usize,
    pub(super) parallelism: usize,
    pub(super) commits_wait: bool,
    pub(super) statistics: StatisticsCell,
    /// The parts of files of the copy before, by name.
    hashed: HashMap<PathBuf, Vec<PartRef>>,
    /// Parts that are read and not sent.
    waiting: Vec<(PartHash, Vec<u8>)>,
}

impl Copier {
    pub(super) fn new(
        objects: Arc<dyn Objects>,
        job: String,
        (part_bytes, parallelism): (usize, usize),
        commits_wait: bool,
        statistics: StatisticsCell,
    ) -> Self {
        let (hashed, waiting) = (HashMap::new(), Vec::new());
        Copier { objects, job, part_bytes, parallelism, commits_wait, statistics, hashed, waiting }
    }

    /// Copies a checkpoint; it is complete when this returns.
    pub(super) fn copy(
        &mut self,
        pinned: &Pinned,
        claimed: &mut Claimed,
    ) -> Result<(), RemoteError> {
        self.waiting.clear();
        let mut hashed = HashMap::new();
        let mut files = Vec::new();
        for file in pinned.files() {
            let parts = self.send_file(pinned, file, claimed)?;
            files.push(IndexedFile { name: text(&file.name), parts: parts.clone() });
            hashed.insert(file.name.clone(), parts);
        }
        for store in &pinned.stores {
            let manifest = store.manifest();
            let parts = manifest.chunks(self.part_bytes);
            let parts = parts.map(|part| self.want(part.to_vec(), claimed));
            let parts = parts.collect::<Result<_, _>>()?;
            files.push(IndexedFile { name: text(store.manifest_name()), parts });
        }
        let length_bytes = pinned.metadata.length_bytes().map_err(|error| pinned.failed(error))?;
        let parts = self.send_from(pinned, &*pinned.metadata, length_bytes, claimed)?;
        files.push(IndexedFile { name: metadata_name(pinned.checkpoint), parts });
        self.flush(claimed)?;
        crash_point(crash_points::ALL_PARTS_SENT);
        self.hashed = hashed;
        self.complete(pinned, files, claimed)
    }

    /// The parts of a file, which are there or wait to be sent.
    fn send_file(
        &mut self,
        pinned: &Pinned,
        file: &PinnedFile,
        claimed: &mut Claimed,
    ) -> Result<Vec<PartRef>, RemoteError> {
        if let Some(parts) = self.hashed.get(&file.name) {
            let is_there =
                |part: &PartRef| claimed.parts.get(&part.hash) == Some(&part.length_bytes);
            if parts.iter().all(is_there) {
                let count = parts.len() as u64;
                self.statistics.count(|statistics| statistics.reused_parts += count);
                return Ok(parts.clone());
            }
        }
        let open = pinned.storage.open_read(&pinned.directory.join(&file.name));
        let open = open.map_err(|error| pinned.failed(error))?;
        self.send_from(pinned, &*open, file.length_bytes, claimed)
    }

    fn send_from(
        &mut self,
        pinned: &Pinned,
        file: &dyn ReadFile,
        length_bytes: u64,
        claimed: &mut Claimed,
    ) -> Result<Vec<PartRef>, RemoteError> {
        let mut parts = Vec::new();
        for (at, count) in cuts(length_bytes, self.part_bytes) {
            let mut bytes = vec![0; count];
            file.read_exact_at(at, &mut bytes).map_err(|error| pinned.failed(error))?;
            parts.push(self.want(bytes, claimed)?);
        }
        Ok(parts)
    }

    /// A part is needed: it is sent unless it is there.
    fn want(&mut self, bytes: Vec<u8>, claimed: &mut Claimed) -> Result<PartRef, RemoteError> {
        let part = PartRef { hash: PartHash::of(&bytes), length_bytes: bytes.len() as u64 };
        let is_there = claimed.parts.get(&part.hash) == Some(&part.length_bytes)
            || self.waiting.iter().any(|(hash, _)| *hash == part.hash);
        if is_there {
            self.statistics.count(|statistics| statistics.reused_parts += 1);
            return Ok(part);
        }
        self.waiting.push((part.hash, bytes));
        if self.waiting.len() >= self.parallelism {
            self.flush(claimed)?;
        }
        Ok(part)
    }

    fn flush(&mut self, claimed: &mut Claimed) -> Result<(), RemoteError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let sent: Vec<_> = self.waiting.iter().map(|(h, bytes)| (*h, bytes.len() as u64)).collect();
        let parts = self.waiting.drain(..).map(|(hash, bytes)| (hash.object(), bytes));
        let parts = parts.collect();
        self.objects.put_all(parts)?;
        let bytes: u64 = sent.iter().map(|(_, length)| length).sum();
        self.statistics.count(|statistics| {
            statistics.sent_parts += sent.len() as u64;
            statistics.sent_bytes += bytes;
        });
        claimed.parts.extend(sent);
        crash_point(crash_points::PARTS_SENT);
        Ok(())
    }

    fn complete(
        &mut self,
        pinned: &Pinned,
        files: Vec<IndexedFile>,
        claimed: &mut Claimed,
    ) -> Result<(), RemoteError> {
        let index = Index {
            job: self.job.clone(),
            checkpoint: pinned.checkpoint,
            epoch: claimed.epoch,
            taken_at_ms: pinned.taken_at_ms,
            commits: pinned.commits,
            commits_waited: self.commits_wait,
            is_final: pinned.is_final,
            files,
        };
        let bytes = index.encode();
        let length = bytes.len() as u64;
        self.objects.put_all(vec![(index.name().object(), bytes)])?;
        crash_point(crash_points::INDEX_SENT);
        claimed.indexes.insert(index.name(), Some(index));
        claimed.confirm(&*self.objects)?;
        crash_point(crash_points::CONFIRMED);
        self.statistics.count(|statistics| statistics.sent_bytes += length);
        Ok(())
    }
}

/// Names of files are made by the engine, of plain letters and digits.
fn text(name: &Path) -> String {
    name.to_string_lossy().into_owned()
}
