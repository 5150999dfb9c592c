//! A committer that remembers in files.
//!
//! One file a subtask, `subtask-<index>.sent`, of one line: `checkpoint <id>`. It is replaced as a whole, by renaming.

use super::write_ahead::{CheckpointCommitter, CommitterContext};
use crate::Result;
use crate::record::CheckpointId;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thalweg_io::IoError;
use thalweg_io::file::FileWriter;
use thalweg_io::storage::{PosixStorage, Storage, create_durable_dir_all};

/// Remembers in a directory, which belongs to one sink of one job, up to which checkpoint each subtask has sent. Each note is
/// durable when it returns: three waits for the disk a checkpoint.
#[derive(Clone)]
pub struct FileCommitter {
    directory: PathBuf,
    storage: Arc<dyn Storage>,
}

impl fmt::Debug for FileCommitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileCommitter").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// What is remembered cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileCommitterError {
    /// The system says no.
    #[error("what a write-ahead sink has sent cannot be remembered: {0}")]
    Io(#[from] IoError),
    /// A file does not say what such a file says.
    #[error(
        "{path} says {found:?} where `checkpoint <number>` is expected; find out up to which checkpoint the sink has sent, and \
         write that"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// How it begins.
        found: String,
    },
}

const NAME: (&str, &str) = ("subtask-", ".sent");

/// Longer files are none of this committer's.
const FILE_BYTES_MAX: usize = 64;

impl FileCommitter {
    /// Remembers in `directory`, which is created if missing.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        FileCommitter { directory: directory.into(), storage: Arc::new(PosixStorage::new()) }
    }

    /// Where the directory is. Default: the local file system.
    #[must_use]
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.storage = storage;
        self
    }

    fn path(&self, subtask_index: usize) -> PathBuf {
        self.directory.join(format!("{}{subtask_index}{}", NAME.0, NAME.1))
    }

    fn forget(&self, context: &CommitterContext) -> Result<(), IoError> {
        let mut has_forgotten = false;
        for path in self.storage.list(&self.directory)? {
            if subtask_of(&path).is_some_and(|subtask| context.takes_over(subtask)) {
                self.storage.remove(&path)?;
                has_forgotten = true;
            }
        }
        if has_forgotten { self.storage.sync_dir(&self.directory) } else { Ok(()) }
    }

    fn read(&self, path: &Path) -> Result<Option<String>, IoError> {
        let file = match self.storage.open_read(path) {
            Ok(file) => file,
            Err(IoError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = usize::try_from(file.length_bytes()?).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(FILE_BYTES_MAX)];
        file.read_exact_at(0, &mut bytes)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn write(&self, path: &Path, checkpoint: CheckpointId) -> Result<(), IoError> {
        let mut file = FileWriter::create(&self.storage, path)?;
        file.append(format!("checkpoint {checkpoint}\n").as_bytes())?;
        file.complete().map(drop)
    }
}

/// Whose file it is.
fn subtask_of(path: &Path) -> Option<usize> {
    path.file_name()?.to_str()?.strip_prefix(NAME.0)?.strip_suffix(NAME.1)?.parse().ok()
}

impl CheckpointCommitter for FileCommitter {
    fn open(&mut self, context: &CommitterContext) -> Result<()> {
        create_durable_dir_all(&*self.storage, &self.directory).map_err(FileCommitterError::Io)?;
        if context.restored_checkpoint.is_none() {
            self.forget(context).map_err(FileCommitterError::Io)?;
        }
        Ok(())
    }

    fn last_committed(&mut self, subtask_index: usize) -> Result<Option<CheckpointId>> {
        let path = self.path(subtask_index);
        let Some(found) = self.read(&path).map_err(FileCommitterError::Io)? else {
            return Ok(None);
        };
        let number = found.strip_prefix("checkpoint ").and_then(|rest| rest.strip_suffix('\n'));
        match number.and_then(|number| number.parse().ok()) {
            Some(number) => Ok(Some(CheckpointId(number))),
            None => Err(FileCommitterError::Malformed { path, found }.into()),
        }
    }

    fn commit(&mut self, subtask_index: usize, checkpoint: CheckpointId) -> Result<()> {
        Ok(self.write(&self.path(subtask_index), checkpoint).map_err(FileCommitterError::Io)?)
    }
}
