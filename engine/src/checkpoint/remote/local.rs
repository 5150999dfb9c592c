//! The local copy as the remote one sees it: which checkpoints it has, and which claims of the place it knows.
//!
//! `DIRECTORY/REMOTE` is a line of JSON, sealed as an index is: the URL, and the SHA-256 of the owner objects that mean "us".
//! These are the claim that the directory goes on from, and the one that its process was about to make.
//!
//! **Invariants**
//! - The file says that a place is claimed before it is: after a crash in between the directory knows both claims.
//! - The directory's lock is held while files are fetched into it.

use super::RemoteError;
use super::index::{sealed, unsealed};
use super::part::PartHash;
use crate::record::CheckpointId;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thalweg_io::IoError;
use thalweg_io::file::{FileWriter, IN_PROGRESS_SUFFIX};
use thalweg_io::storage::{Storage, create_durable_dir_all};

/// The folders of a checkpoint directory whose files are copied; the metadata files come last.
pub(super) const FOLDERS: [&str; 3] = ["files", "manifests", "checkpoints"];
const NOTE: &str = "REMOTE";

/// See the module docs.
#[derive(Clone, Debug)]
pub(super) struct LocalCopy {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) directory: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Note {
    url: String,
    claims: Vec<String>,
}

impl LocalCopy {
    /// Fails with a reason that names the directory.
    pub(super) fn failed(&self, source: IoError) -> RemoteError {
        RemoteError::Local { directory: self.directory.clone(), source: Box::new(source) }
    }

    /// Makes the directory with its folders.
    pub(super) fn create(&self) -> Result<(), RemoteError> {
        FOLDERS.iter().try_for_each(|folder| {
            create_durable_dir_all(&*self.storage, &self.directory.join(folder))
                .map_err(|error| self.failed(error))
        })
    }

    /// The newest checkpoint that has a name, whole or not.
    pub(super) fn newest(&self) -> Result<Option<CheckpointId>, RemoteError> {
        let paths = self.list("checkpoints")?;
        Ok(paths.iter().filter_map(|path| checkpoint_of(path)).max())
    }

    pub(super) fn list(&self, folder: &str) -> Result<Vec<PathBuf>, RemoteError> {
        self.storage.list(&self.directory.join(folder)).map_err(|error| self.failed(error))
    }

    /// Removes what an interrupted fetch has left; all files of the folders if there is no checkpoint.
    pub(super) fn remove_leftovers(&self, has_checkpoint: bool) -> Result<(), RemoteError> {
        for folder in FOLDERS {
            for path in self.list(folder)? {
                let is_unfinished = path.to_str().is_some_and(|p| p.ends_with(IN_PROGRESS_SUFFIX));
                if is_unfinished || !has_checkpoint {
                    self.storage.remove(&path).map_err(|error| self.failed(error))?;
                }
            }
        }
        Ok(())
    }

    /// The claims of this place that the directory knows; none if it has never been copied there.
    pub(super) fn claims(&self, url: &str) -> Result<Vec<PartHash>, RemoteError> {
        let path = self.directory.join(NOTE);
        let bytes = match read(&*self.storage, &path) {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            read => read.map_err(|error| self.failed(error))?,
        };
        // One that is damaged is as none: then the place must not have been claimed.
        let note = unsealed(&bytes).ok().and_then(|json| serde_json::from_slice::<Note>(json).ok());
        let claims = note.filter(|note| note.url == url).map(|note| note.claims);
        Ok(claims.iter().flatten().filter_map(|hash| PartHash::parse(hash)).collect())
    }

    /// Notes the claims that the directory goes on from, durably.
    pub(super) fn note(&self, url: &str, claims: &[PartHash]) -> Result<(), RemoteError> {
        let claims = claims.iter().map(PartHash::to_string).collect();
        let bytes = sealed(&Note { url: url.to_owned(), claims });
        let path = self.directory.join(NOTE);
        let written = FileWriter::create(&self.storage, path).and_then(|mut writer| {
            writer.append(&bytes).map_err(|error| error.error)?;
            writer.complete()
        });
        written.map(drop).map_err(|error| self.failed(error))
    }
}

fn read(storage: &dyn Storage, path: &Path) -> Result<Vec<u8>, IoError> {
    let file = storage.open_read(path)?;
    let mut bytes = vec![0; usize::try_from(file.length_bytes()?).unwrap_or(usize::MAX)];
    file.read_exact_at(0, &mut bytes)?;
    Ok(bytes)
}

fn checkpoint_of(path: &Path) -> Option<CheckpointId> {
    path.file_name()?.to_str()?.strip_suffix(".chk")?.parse().ok().map(CheckpointId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_io::storage::MemoryStorage;

    #[test]
    fn claims_are_of_one_place() {
        let storage = Arc::new(MemoryStorage::new());
        let local = LocalCopy { storage, directory: PathBuf::from("/checkpoints") };
        local.create().unwrap();
        assert_eq!(local.claims("one").unwrap(), []);
        let claims = [PartHash::of(b"a"), PartHash::of(b"b")];
        local.note("one", &claims).unwrap();
        assert_eq!(local.claims("one").unwrap(), claims);
        assert_eq!(local.claims("two").unwrap(), []);
        local.storage.create(&local.directory.join(NOTE)).unwrap().append(b"{}").unwrap();
        assert_eq!(local.claims("one").unwrap(), [], "damaged");
    }
}
