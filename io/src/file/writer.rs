//! A file that exists under its name only when it is complete.
//!
//! ```text
//!  create ──► <name>.inprogress ──append*──► complete(): flush ► sync ► rename ► sync directory
//!    │                                           │
//!    └ abort(): removes it                       └ CompletedFile: durable under <name>
//! ```
//!
//! Whoever finds `<name>` finds all of it, after any crash. A writer that is dropped, or dies with
//! its process, leaves `<name>.inprogress` behind: its bytes may be wanted for finding out what
//! happened, and a destructor could not report that removing it failed. The next writer of the
//! same name starts it over.
//!
//! # Invariants
//!
//! - The bytes given are, in order: those in the file, then those in the buffer. A failed append
//!   removes from the buffer exactly what reached the file, so that trying again repeats nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::read_error::ReadError;
use super::read_options::ReadOptions;
use super::reader::FileReader;
use crate::crash_point::crash_point;
use crate::error::{AppendError, IoError};
use crate::storage::{Storage, WriteFile, parent_directory};

/// What a file's name ends with until it is complete.
pub const IN_PROGRESS_SUFFIX: &str = ".inprogress";

/// Small appends are gathered to writes of this size: large enough that the call's cost vanishes,
/// small enough to stay in the first-level caches.
const BUFFER_BYTES: usize = 64 << 10;

/// Where [`FileWriter`] can be made to crash (see [`crash_point`](crate::crash_point)).
pub mod crash_points {
    /// The in-progress file exists, empty.
    pub const CREATED: &str = "file.created";
    /// All bytes were handed to the system, none need be on disk.
    pub const FLUSHED: &str = "file.flushed";
    /// The bytes are durable under the in-progress name.
    pub const SYNCED: &str = "file.synced";
    /// The file has its name; a crash of the machine may still undo that.
    pub const RENAMED: &str = "file.renamed";
    /// The file is durable under its name.
    pub const PUBLISHED: &str = "file.published";

    /// All of them, in the order in which they are passed.
    pub const ALL: [&str; 5] = [CREATED, FLUSHED, SYNCED, RENAMED, PUBLISHED];
}

/// Writes one file; see the module's picture.
///
/// # Examples
///
/// ```
/// use std::{path::Path, sync::Arc};
/// use thalweg_io::file::FileWriter;
/// use thalweg_io::storage::{MemoryStorage, Storage};
///
/// # fn main() -> Result<(), thalweg_io::IoError> {
/// let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
/// let mut writer = FileWriter::create(&storage, "counts.csv")?;
/// writer.append(b"a,1\n")?;
/// assert!(storage.metadata(Path::new("counts.csv")).is_err(), "not there before it is complete");
/// let file = writer.complete()?;
/// assert_eq!(file.length_bytes(), 4);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a file appears under its name only by `complete`"]
pub struct FileWriter {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    in_progress_path: PathBuf,
    file: Box<dyn WriteFile>,
    buffer: Vec<u8>,
}

impl FileWriter {
    /// Starts the file that will be `path`; its directory must exist. An in-progress file that
    /// an earlier writer left is started over.
    ///
    /// # Errors
    ///
    /// If the in-progress file cannot be created.
    pub fn create(storage: &Arc<dyn Storage>, path: impl Into<PathBuf>) -> Result<Self, IoError> {
        let path = path.into();
        let mut in_progress = OsString::from(&path);
        in_progress.push(IN_PROGRESS_SUFFIX);
        let in_progress_path = PathBuf::from(in_progress);
        let file = storage.create(&in_progress_path)?;
        crash_point(crash_points::CREATED);
        let buffer = Vec::with_capacity(BUFFER_BYTES);
        Ok(Self { storage: Arc::clone(storage), path, in_progress_path, file, buffer })
    }

    /// The name the file will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name it has until then.
    pub fn in_progress_path(&self) -> &Path {
        &self.in_progress_path
    }

    /// How many bytes were taken, in the file and in the buffer.
    pub fn length_bytes(&self) -> u64 {
        self.file.length_bytes() + self.buffer.len() as u64
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    ///
    /// An [`AppendError`] says how many of these bytes were taken; after
    /// [`IoError::NoSpace`] the rest may be given again once there is space.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        let given_bytes = bytes.len();
        if self.buffer.len() + given_bytes > BUFFER_BYTES {
            // An error of the flush is about earlier bytes: none of these were taken.
            self.flush().map_err(|error| AppendError { appended_bytes: 0, given_bytes, error })?;
        }
        if given_bytes >= BUFFER_BYTES {
            return self.file.append(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Hands all bytes to the system, where readers see them; they are not durable yet.
    ///
    /// # Errors
    ///
    /// If not all could be written; calling again goes on where it stopped.
    pub fn flush(&mut self) -> Result<(), IoError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        match self.file.append(&self.buffer) {
            Ok(()) => self.buffer.clear(),
            Err(failure) => {
                self.buffer.drain(..failure.appended_bytes);
                return Err(failure.error);
            }
        }
        Ok(())
    }

    /// Makes all bytes durable under the in-progress name.
    ///
    /// # Errors
    ///
    /// As [`Self::flush`]. An error of the sync itself is final: the file can only be aborted.
    pub fn sync(&mut self) -> Result<(), IoError> {
        self.flush()?;
        self.file.sync()
    }

    /// Makes the file durable under its name, replacing an older one.
    ///
    /// # Errors
    ///
    /// If a step fails; the in-progress file stays. (Call [`Self::flush`] before to be able to
    /// wait for space.) If the last step fails, syncing the directory, the file has its name but
    /// a crash of the machine may undo that.
    pub fn complete(mut self) -> Result<CompletedFile, IoError> {
        self.flush()?;
        crash_point(crash_points::FLUSHED);
        self.file.sync()?;
        crash_point(crash_points::SYNCED);
        self.storage.rename(&self.in_progress_path, &self.path)?;
        crash_point(crash_points::RENAMED);
        self.storage.sync_dir(parent_directory(&self.path))?;
        crash_point(crash_points::PUBLISHED);
        Ok(CompletedFile { length_bytes: self.file.length_bytes(), path: self.path })
    }

    /// Gives up the file and removes what was written of it.
    ///
    /// # Errors
    ///
    /// If it cannot be removed.
    pub fn abort(self) -> Result<(), IoError> {
        self.storage.remove(&self.in_progress_path)
    }
}

/// A file that is durable under its name and will not be written again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedFile {
    path: PathBuf,
    length_bytes: u64,
}

impl CompletedFile {
    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length.
    pub fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    /// Opens it for reading.
    ///
    /// # Errors
    ///
    /// As [`FileReader::open`].
    pub fn open(
        &self,
        storage: &Arc<dyn Storage>,
        options: ReadOptions,
    ) -> Result<FileReader, ReadError> {
        FileReader::open(storage, &self.path, options)
    }
}

#[cfg(test)]
mod tests;
