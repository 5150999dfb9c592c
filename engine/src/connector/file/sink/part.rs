//! One file in progress, and what it becomes.
//!
//! ```text
//!  create `<name>.inprogress` ─► append* ─► persist (barrier) ─► append* ─► close ─► pending ─► publish: rename, sync directory
//!                                  ▲ resume: cut to the length that the checkpoint has
//! ```
//!
//! **Invariants**
//! - After `persist` or `close` all bytes are durable; the name is, once its directory is synced.
//! - Publishing may be repeated: a file that has its name and its length is published.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thalweg_io::file::IN_PROGRESS_SUFFIX;
use thalweg_io::storage::{FileKind, Storage, WriteFile};
use thalweg_io::{IoError, crash_point};

use super::{FileSinkError, crash_points};

/// What a write to a file may take with it when a crash tears it: the largest sector of common disks.
const SECTOR_BYTES: u64 = 4_096;

/// Rows are gathered to writes of this size; to small ones in tests, so that crashes find bytes on their way.
const BUFFER_BYTES: usize = if cfg!(test) { 300 } else { 64 << 10 };

/// A closed file that waits for its checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PendingFile {
    pub(super) bucket: String,
    pub(super) name: String,
    pub(super) length_bytes: u64,
}

impl PendingFile {
    pub(super) fn path(&self, directory: &Path) -> PathBuf {
        directory.join(&self.bucket).join(&self.name)
    }

    /// Gives the file its name; its directory is synced by the caller.
    pub(super) fn publish(
        &self,
        storage: &dyn Storage,
        directory: &Path,
    ) -> Result<(), FileSinkError> {
        let path = self.path(directory);
        let in_progress = in_progress_path(&path);
        match storage.metadata(&in_progress) {
            Ok(found) if found.length_bytes == self.length_bytes => {
                storage.rename(&in_progress, &path)?;
                crash_point(crash_points::RENAMED);
                Ok(())
            }
            Ok(found) => Err(self.damaged(in_progress, Some(found.length_bytes))),
            Err(IoError::NotFound { .. }) => self.check_published(storage, path),
            Err(error) => Err(error.into()),
        }
    }

    /// An earlier attempt may have published it.
    fn check_published(&self, storage: &dyn Storage, path: PathBuf) -> Result<(), FileSinkError> {
        match storage.metadata(&path) {
            Ok(found)
                if found.kind == FileKind::File && found.length_bytes == self.length_bytes =>
            {
                Ok(())
            }
            Ok(found) => Err(self.damaged(path, Some(found.length_bytes))),
            Err(IoError::NotFound { .. }) => Err(self.damaged(in_progress_path(&path), None)),
            Err(error) => Err(error.into()),
        }
    }

    fn damaged(&self, path: PathBuf, found_bytes: Option<u64>) -> FileSinkError {
        FileSinkError::Damaged {
            path,
            expected_bytes: self.length_bytes,
            found: found_bytes.map_or("it is gone".to_owned(), |bytes| format!("has {bytes}")),
        }
    }
}

/// The name of a file that is not published.
pub(super) fn in_progress_path(path: &Path) -> PathBuf {
    let mut in_progress = path.as_os_str().to_owned();
    in_progress.push(IN_PROGRESS_SUFFIX);
    PathBuf::from(in_progress)
}

/// A file in progress.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) bucket: String,
    pub(super) name: String,
    in_progress: PathBuf,
    file: Box<dyn WriteFile>,
    buffer: Vec<u8>,
    /// The bytes of `file` behind its last boundary of sectors.
    tail: Vec<u8>,
    pub(super) begun_at_ms: i64,
    pub(super) written_at_ms: i64,
    /// Which append to any part of the subtask was the last to this one.
    pub(super) last_append: u64,
    /// A checkpoint may have it: it must not be removed.
    pub(super) is_in_checkpoint: bool,
}

impl Part {
    pub(super) fn create(
        storage: &Arc<dyn Storage>,
        directory: &Path,
        (bucket, name): (&str, String),
        now_ms: i64,
    ) -> Result<Self, IoError> {
        let in_progress = in_progress_path(&directory.join(bucket).join(&name));
        let file = storage.create(&in_progress)?;
        crash_point(crash_points::CREATED);
        let place = (bucket.to_owned(), name);
        Ok(Part {
            begun_at_ms: now_ms,
            written_at_ms: now_ms,
            ..Self::over(file, place, in_progress)
        })
    }

    fn over(
        file: Box<dyn WriteFile>,
        (bucket, name): (String, String),
        in_progress: PathBuf,
    ) -> Self {
        Part {
            bucket,
            name,
            in_progress,
            file,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            tail: Vec::new(),
            begun_at_ms: 0,
            written_at_ms: 0,
            last_append: 0,
            is_in_checkpoint: false,
        }
    }

    /// Goes on with a file of a checkpoint: what was written after that is cut off, with the sector in which it began,
    /// whose beginning the checkpoint has.
    pub(super) fn resume(
        storage: &Arc<dyn Storage>,
        directory: &Path,
        (bucket, name): (String, String),
        (length_bytes, tail): (u64, &[u8]),
    ) -> Result<Self, FileSinkError> {
        let in_progress = in_progress_path(&directory.join(&bucket).join(&name));
        let whole_bytes = length_bytes.saturating_sub(tail.len() as u64);
        storage.truncate(&in_progress, whole_bytes).map_err(|error| match error {
            IoError::NotFound { .. } | IoError::UnexpectedEnd { .. } => FileSinkError::Damaged {
                path: in_progress.clone(),
                expected_bytes: length_bytes,
                found: error.to_string(),
            },
            other => FileSinkError::Io(other),
        })?;
        crash_point(crash_points::RESUMED);
        let file = storage.open_append(&in_progress)?;
        let mut part = Self::over(file, (bucket, name), in_progress);
        part.is_in_checkpoint = true;
        part.write_through(tail)?;
        Ok(part)
    }

    /// The bytes behind the last boundary of sectors, after [`persist`](Self::persist).
    pub(super) fn tail(&self) -> &[u8] {
        &self.tail
    }

    pub(super) fn in_progress_path(&self) -> &Path {
        &self.in_progress
    }

    pub(super) fn length_bytes(&self) -> u64 {
        self.file.length_bytes() + self.buffer.len() as u64
    }

    pub(super) fn append(&mut self, row: &[u8]) -> Result<(), IoError> {
        if self.buffer.len() + row.len() > BUFFER_BYTES {
            self.flush()?;
        }
        if row.len() >= BUFFER_BYTES {
            return self.write_through(row);
        }
        self.buffer.extend_from_slice(row);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), IoError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        self.write_through(&buffer)?;
        buffer.clear();
        self.buffer = buffer;
        Ok(())
    }

    /// Hands bytes to the system, and keeps those behind the last boundary of sectors.
    fn write_through(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.file.append(bytes)?;
        let tail_bytes = usize::try_from(self.file.length_bytes() % SECTOR_BYTES).unwrap_or(0);
        match bytes.len().checked_sub(tail_bytes) {
            Some(start) => {
                self.tail.clear();
                self.tail.extend_from_slice(&bytes[start..]);
            }
            None => self.tail.extend_from_slice(bytes),
        }
        Ok(())
    }

    /// Makes all bytes durable.
    pub(super) fn persist(&mut self) -> Result<u64, IoError> {
        self.flush()?;
        self.file.sync()?;
        crash_point(crash_points::PERSISTED);
        Ok(self.file.length_bytes())
    }

    /// Makes all bytes durable, and no more come.
    pub(super) fn close(mut self) -> Result<PendingFile, IoError> {
        let length_bytes = self.persist()?;
        crash_point(crash_points::CLOSED);
        Ok(PendingFile { bucket: self.bucket, name: self.name, length_bytes })
    }
}
