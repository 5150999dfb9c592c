//! Files of the local file system by `pread`, `pwrite` and `fdatasync`.
//!
//! Interrupted calls (EINTR) are repeated, short writes continued. Files are opened with
//! O_NONBLOCK, which means nothing for a regular file and keeps the open of a pipe without a
//! writer from waiting; pipes and sockets are then refused by kind.
//!
//! # Invariants
//!
//! - `PosixWriteFile::length` is the offset of the next write: nothing relies on O_APPEND, so a
//!   failed append leaves the position exact.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{FileIdentity, FileKind, FileLock, FileMetadata, ReadFile, Storage, WriteFile};
use crate::error::{AppendError, IoError, IoSite, Operation};

/// The local file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct PosixStorage;

impl PosixStorage {
    /// The local file system; relative paths start at the working directory.
    pub fn new() -> Self {
        Self
    }
}

impl Storage for PosixStorage {
    fn open_read(&self, path: &Path) -> Result<Box<dyn ReadFile>, IoError> {
        Ok(Box::new(PosixReadFile::open(path)?))
    }

    fn create(&self, path: &Path) -> Result<Box<dyn WriteFile>, IoError> {
        let mut options = OpenOptions::new();
        let (file, _) =
            open(Operation::Create, path, options.write(true).create(true).truncate(true))?;
        Ok(Box::new(PosixWriteFile::new(file, path, 0)))
    }

    fn open_append(&self, path: &Path) -> Result<Box<dyn WriteFile>, IoError> {
        let mut options = OpenOptions::new();
        let (file, metadata) =
            open(Operation::OpenAppend, path, options.write(true).create(true).truncate(false))?;
        Ok(Box::new(PosixWriteFile::new(file, path, metadata.len())))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        fs::rename(from, to).map_err(|source| {
            IoError::from_system(IoSite::new(Operation::Rename, from).to(to), source)
        })
    }

    fn remove(&self, path: &Path) -> Result<(), IoError> {
        fs::remove_file(path).map_err(|source| failed(Operation::Remove, path, source))
    }

    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, IoError> {
        let failed = |source| failed(Operation::List, directory, source);
        let mut paths = Vec::new();
        for entry in fs::read_dir(directory).map_err(failed)? {
            paths.push(directory.join(entry.map_err(failed)?.file_name()));
        }
        paths.sort_unstable();
        Ok(paths)
    }

    fn metadata(&self, path: &Path) -> Result<FileMetadata, IoError> {
        let metadata =
            fs::metadata(path).map_err(|source| failed(Operation::Metadata, path, source))?;
        let kind = match metadata.file_type() {
            kind if kind.is_file() => FileKind::File,
            kind if kind.is_dir() => FileKind::Directory,
            _ => FileKind::Other,
        };
        let identity = identity_of(&metadata);
        Ok(FileMetadata { length_bytes: metadata.len(), kind, identity })
    }

    fn create_dir_all(&self, directory: &Path) -> Result<(), IoError> {
        fs::create_dir_all(directory)
            .map_err(|source| failed(Operation::CreateDirectory, directory, source))
    }

    fn remove_dir(&self, directory: &Path) -> Result<(), IoError> {
        fs::remove_dir(directory)
            .map_err(|source| failed(Operation::RemoveDirectory, directory, source))
    }

    fn sync_dir(&self, directory: &Path) -> Result<(), IoError> {
        let failed = |source| failed(Operation::SyncDirectory, directory, source);
        let mut options = OpenOptions::new();
        let handle = options.read(true).custom_flags(libc::O_DIRECTORY).open(directory);
        handle.map_err(failed)?.sync_all().map_err(failed)
    }

    fn truncate(&self, path: &Path, length_bytes: u64) -> Result<(), IoError> {
        let mut options = OpenOptions::new();
        let (file, metadata) = open(Operation::OpenAppend, path, options.write(true))?;
        if metadata.len() < length_bytes {
            let site = IoSite::new(Operation::Read, path).at(metadata.len());
            let missing = length_bytes - metadata.len();
            let expected_bytes = usize::try_from(missing).unwrap_or(usize::MAX);
            return Err(IoError::UnexpectedEnd { site, expected_bytes, found_bytes: 0 });
        }
        if metadata.len() == length_bytes {
            return Ok(());
        }
        let failed = |source| failed(Operation::Sync, path, source);
        file.set_len(length_bytes).map_err(failed)?;
        file.sync_all().map_err(failed)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn FileLock>, IoError> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let (file, _) = open(Operation::Lock, path, options)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let site = IoSite::new(Operation::Lock, path);
                return Err(IoError::Locked { site, holder_process_id: read_holder(file) });
            }
            Err(TryLockError::Error(source)) => return Err(failed(Operation::Lock, path, source)),
        }
        let holder = format!("{}\n", std::process::id());
        let written = file.set_len(0).and_then(|()| file.write_all_at(holder.as_bytes(), 0));
        written.map_err(|source| failed(Operation::Lock, path, source))?;
        Ok(Box::new(PosixLock { _file: file, path: path.to_path_buf() }))
    }
}

/// The process whose number stands in a lock file; `None` if it was not written yet.
fn read_holder(file: File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// A lock of the open file (`flock`): it ends when the file is closed, in whatever way.
#[derive(Debug)]
struct PosixLock {
    _file: File,
    path: PathBuf,
}

impl FileLock for PosixLock {
    fn path(&self) -> &Path {
        &self.path
    }
}

/// Opens what is neither directory, pipe nor socket.
pub(super) fn open(
    operation: Operation,
    path: &Path,
    options: &mut OpenOptions,
) -> Result<(File, fs::Metadata), IoError> {
    let failed = |source| failed(operation, path, source);
    let file = options.custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        return Err(failed(io::Error::from_raw_os_error(libc::EISDIR)));
    }
    if kind.is_fifo() || kind.is_socket() {
        return Err(failed(io::Error::from_raw_os_error(libc::ESPIPE)));
    }
    Ok((file, metadata))
}

pub(super) fn failed(operation: Operation, path: &Path, source: io::Error) -> IoError {
    IoError::from_system(IoSite::new(operation, path), source)
}

pub(crate) fn identity_of(metadata: &fs::Metadata) -> FileIdentity {
    FileIdentity { device: metadata.dev(), inode: metadata.ino() }
}

#[derive(Debug)]
pub(super) struct PosixReadFile {
    file: File,
    path: PathBuf,
    identity: FileIdentity,
}

impl PosixReadFile {
    pub(super) fn open(path: &Path) -> Result<Self, IoError> {
        let (file, metadata) = open(Operation::OpenRead, path, OpenOptions::new().read(true))?;
        Ok(Self { file, path: path.to_path_buf(), identity: identity_of(&metadata) })
    }
}

impl ReadFile for PosixReadFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, IoError> {
        loop {
            match self.file.read_at(buffer, offset) {
                Ok(byte_count) => return Ok(byte_count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    let site = IoSite::new(Operation::Read, &*self.path).at(offset);
                    return Err(IoError::from_system(site, source));
                }
            }
        }
    }

    fn length_bytes(&self) -> Result<u64, IoError> {
        match self.file.metadata() {
            Ok(metadata) => Ok(metadata.len()),
            Err(source) => Err(failed(Operation::Inspect, &self.path, source)),
        }
    }

    fn identity(&self) -> FileIdentity {
        self.identity
    }

    fn descriptor(&self, _bytes: Range<u64>) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }
}

#[derive(Debug)]
struct PosixWriteFile {
    file: File,
    path: PathBuf,
    /// Offset of the next write.
    length: u64,
    /// Set by the first sync that fails, never cleared.
    sync_failed: bool,
}

impl PosixWriteFile {
    fn new(file: File, path: &Path, length: u64) -> Self {
        Self { file, path: path.to_path_buf(), length, sync_failed: false }
    }

    fn refuse_after_failed_sync(&self, operation: Operation) -> Result<(), IoError> {
        if !self.sync_failed {
            return Ok(());
        }
        let site = IoSite::new(operation, &*self.path).at(self.length);
        Err(IoError::SyncFailedBefore { site })
    }

    /// One `pwrite`; 0 bytes only when a signal interrupted it before the first.
    fn write_some(&mut self, bytes: &[u8]) -> Result<usize, IoError> {
        let result = match self.file.write_at(bytes, self.length) {
            Ok(0) => Err(io::Error::from(io::ErrorKind::WriteZero)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            other => other,
        };
        let byte_count = result.map_err(|source| {
            let site = IoSite::new(Operation::Append, &*self.path).at(self.length);
            IoError::from_system(site, source)
        })?;
        self.length += byte_count as u64;
        Ok(byte_count)
    }
}

impl WriteFile for PosixWriteFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        let given_bytes = bytes.len();
        self.refuse_after_failed_sync(Operation::Append).map_err(|error| AppendError {
            appended_bytes: 0,
            given_bytes,
            error,
        })?;
        let mut appended_bytes = 0;
        while appended_bytes < given_bytes {
            match self.write_some(&bytes[appended_bytes..]) {
                Ok(byte_count) => appended_bytes += byte_count,
                Err(error) => return Err(AppendError { appended_bytes, given_bytes, error }),
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), IoError> {
        self.refuse_after_failed_sync(Operation::Sync)?;
        self.file.sync_data().map_err(|source| {
            self.sync_failed = true;
            failed(Operation::Sync, &self.path, source)
        })
    }

    fn length_bytes(&self) -> u64 {
        self.length
    }
}

#[cfg(test)]
pub(super) mod tests;
