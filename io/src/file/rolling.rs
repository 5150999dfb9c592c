//! A sequence of published files: a new one is begun when the current one is large or old enough.
//!
//! The files are `<directory>/<prefix>-<subtask>-<counter><suffix>`, the counter with at least six
//! digits. A writer starts after the highest counter that is there, in-progress files of earlier
//! runs included: it overwrites nothing.
//!
//! # Invariants
//!
//! - What one `append` gets is in one file.
//! - A file is begun by its first bytes, so no published file is empty.
//! - No clock is read: the age of a file is the difference of the times that callers pass in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::writer::{CompletedFile, FileWriter, IN_PROGRESS_SUFFIX};
use crate::error::{AppendError, IoError, IoSite, Operation};
use crate::storage::Storage;

/// Where files go, how they are called and when they are rolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollingOptions {
    directory: PathBuf,
    prefix: String,
    subtask: u32,
    suffix: String,
    file_bytes_max: Option<u64>,
    file_age_ms_max: Option<i64>,
}

impl RollingOptions {
    /// Files `part-<subtask>-<counter>` in `directory`, which is created if missing; never rolled
    /// but by [`RollingWriter::roll`].
    pub fn new(directory: impl Into<PathBuf>, subtask: u32) -> Self {
        Self {
            directory: directory.into(),
            prefix: "part".to_owned(),
            subtask,
            suffix: String::new(),
            file_bytes_max: None,
            file_age_ms_max: None,
        }
    }

    /// What names start with. Default: `part`.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// What names end with, such as `.csv`. Default: nothing.
    #[must_use]
    pub fn suffix(self, suffix: impl Into<String>) -> Self {
        Self { suffix: suffix.into(), ..self }
    }

    /// The size above which no file grows, unless by a single append. Default: none.
    #[must_use]
    pub fn file_bytes_max(self, file_bytes_max: u64) -> Self {
        Self { file_bytes_max: Some(file_bytes_max), ..self }
    }

    /// The age, in milliseconds since its first bytes, at which a file is rolled. Default: none.
    #[must_use]
    pub fn file_age_ms_max(self, file_age_ms_max: i64) -> Self {
        Self { file_age_ms_max: Some(file_age_ms_max), ..self }
    }

    fn path(&self, counter: u64) -> PathBuf {
        let Self { prefix, subtask, suffix, .. } = self;
        self.directory.join(format!("{prefix}-{subtask}-{counter:06}{suffix}"))
    }

    /// The counter in a name of this writer's files, complete or in progress.
    fn counter_of(&self, path: &Path) -> Option<u64> {
        let name = path.file_name()?.to_str()?;
        let name = name.strip_suffix(IN_PROGRESS_SUFFIX).unwrap_or(name);
        let stem = name.strip_prefix(&*self.prefix)?.strip_suffix(&*self.suffix)?;
        let digits = stem.strip_prefix(&format!("-{}-", self.subtask))?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    }
}

/// The file being written.
#[derive(Debug)]
struct Current {
    writer: FileWriter,
    begun_at_ms: i64,
}

/// Writes a sequence of files.
///
/// # Examples
///
/// ```
/// use std::{path::Path, sync::Arc};
/// use thalweg_io::file::{RollingOptions, RollingWriter};
/// use thalweg_io::storage::{MemoryStorage, Storage};
///
/// # fn main() -> Result<(), thalweg_io::IoError> {
/// let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
/// let options = RollingOptions::new("out", 3).suffix(".csv").file_bytes_max(8);
/// let mut writer = RollingWriter::open(&storage, options)?;
/// for row in ["a,1\n", "b,2\n", "c,3\n"] {
///     writer.append(row.as_bytes(), 0)?;
/// }
/// writer.roll()?;
/// assert_eq!(writer.take_completed().len(), 2);
/// let names = storage.list(Path::new("out"))?;
/// assert_eq!(names, [Path::new("out/part-3-000000.csv"), Path::new("out/part-3-000001.csv")]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RollingWriter {
    storage: Arc<dyn Storage>,
    options: RollingOptions,
    current: Option<Current>,
    completed: Vec<CompletedFile>,
    next_counter: u64,
}

impl RollingWriter {
    /// Creates the directory if missing and looks for the first free counter in it.
    ///
    /// # Errors
    ///
    /// If the directory cannot be created or listed, or holds the highest possible counter.
    pub fn open(storage: &Arc<dyn Storage>, options: RollingOptions) -> Result<Self, IoError> {
        storage.create_dir_all(&options.directory)?;
        let there = storage.list(&options.directory)?;
        let highest = there.iter().filter_map(|path| options.counter_of(path)).max();
        let Some(next_counter) = highest.map_or(Some(0), |counter| counter.checked_add(1)) else {
            let site = IoSite::new(Operation::Create, options.path(u64::MAX));
            return Err(IoError::from_errno(site, libc::EEXIST));
        };
        Ok(Self {
            storage: Arc::clone(storage),
            options,
            current: None,
            completed: Vec::new(),
            next_counter,
        })
    }

    /// The path of the file being written, as it will be called.
    pub fn current_path(&self) -> Option<&Path> {
        self.current.as_ref().map(|current| current.writer.path())
    }

    /// Adds bytes, which stay together in one file; before, completes the current file if it is
    /// time to roll. No bytes are no reason to begin a file.
    ///
    /// # Errors
    ///
    /// If a file cannot be created, written or completed. `appended_bytes` tells how many of the
    /// bytes were taken; after [`IoError::NoSpace`] the rest may be given again.
    pub fn append(&mut self, bytes: &[u8], now_ms: i64) -> Result<(), AppendError> {
        let given_bytes = bytes.len();
        if given_bytes == 0 {
            return Ok(());
        }
        let not_taken = |error| AppendError { appended_bytes: 0, given_bytes, error };
        if self.must_roll(given_bytes as u64, now_ms) {
            self.roll().map_err(not_taken)?;
        }
        self.current_or_begin(now_ms).map_err(not_taken)?.writer.append(bytes)
    }

    /// Completes the current file if it is old enough. For times without appends.
    ///
    /// # Errors
    ///
    /// As [`Self::roll`].
    pub fn roll_if_old(&mut self, now_ms: i64) -> Result<(), IoError> {
        if self.must_roll(0, now_ms) { self.roll() } else { Ok(()) }
    }

    /// Completes the current file, if there is one. The next append begins another. Also the way
    /// to end.
    ///
    /// # Errors
    ///
    /// As [`FileWriter::complete`]. When its last bytes could not be written the file stays
    /// current and `roll` may be called again; when a later step fails it stays in progress for
    /// good.
    pub fn roll(&mut self) -> Result<(), IoError> {
        self.flush()?;
        if let Some(Current { writer, .. }) = self.current.take() {
            if writer.length_bytes() == 0 {
                return writer.abort(); // Its first append failed.
            }
            self.completed.push(writer.complete()?);
        }
        Ok(())
    }

    /// The files completed since the last call, oldest first. They are remembered until taken.
    pub fn take_completed(&mut self) -> Vec<CompletedFile> {
        std::mem::take(&mut self.completed)
    }

    /// Hands all bytes to the system.
    ///
    /// # Errors
    ///
    /// As [`FileWriter::flush`].
    pub fn flush(&mut self) -> Result<(), IoError> {
        self.current.as_mut().map_or(Ok(()), |current| current.writer.flush())
    }

    /// Gives up the current file and removes what was written of it. Completed files stay.
    ///
    /// # Errors
    ///
    /// As [`FileWriter::abort`].
    pub fn abort(self) -> Result<(), IoError> {
        self.current.map_or(Ok(()), |current| current.writer.abort())
    }

    fn must_roll(&self, more_bytes: u64, now_ms: i64) -> bool {
        let Some(Current { writer, begun_at_ms }) = &self.current else { return false };
        let is_large = |max| writer.length_bytes().saturating_add(more_bytes) > max;
        let is_old = |max| now_ms.saturating_sub(*begun_at_ms) >= max;
        self.options.file_bytes_max.is_some_and(is_large)
            || self.options.file_age_ms_max.is_some_and(is_old)
    }

    fn current_or_begin(&mut self, now_ms: i64) -> Result<&mut Current, IoError> {
        let current = match self.current.take() {
            Some(current) => current,
            None => {
                let path = self.options.path(self.next_counter);
                let writer = FileWriter::create(&self.storage, path)?;
                self.next_counter += 1;
                Current { writer, begun_at_ms: now_ms }
            }
        };
        Ok(self.current.insert(current))
    }
}

#[cfg(test)]
mod tests;
