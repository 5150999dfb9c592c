//! The [`Storage`] trait: every file of an engine is reached through one `Arc<dyn Storage>`.
//!
//! | kind | what it is | for |
//! |---|---|---|
//! | [`PosixStorage`] | `pread`, `pwrite`, `fdatasync` on the local file system | production |
//! | [`MemoryStorage`] | a map from paths to bytes, deterministic | tests, the simulator |
//! | [`UringStorage`] | a writer thread with an io_uring ring, O_DIRECT; batched reads | state files |
//! | [`FaultStorage`] | a simulated disk that tears, loses and reorders unsynced writes | simulation |
//!
//! # The contract that every kind keeps
//!
//! 1. Written bytes are visible to every reader at once, also to readers opened before.
//! 2. Bytes are durable once [`WriteFile::sync`] returned `Ok`; a name (created, renamed, removed)
//!    once [`Storage::sync_dir`] of its directory did. Before that a crash may undo, tear or keep
//!    them in any combination.
//! 3. A sync error is final: the file refuses every later append and sync. The caller abandons it.
//! 4. Removing or replacing a name leaves open readers and writers of the old file working.
//! 5. A file has one writer at a time.
//! 6. A segment ([`Storage::create_segment`]) may be longer than what was appended to it: what lies
//!    behind is zeros or bytes of a file that was given up, perhaps with checksums that are right.
//!    Its readers know from elsewhere where it ends, and frames carry the file's own id.

mod batch;
mod fault;
mod memory;
mod posix;
mod uring;

use std::fmt;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

pub use batch::{BatchReader, ReadRequest, SingleReads};
pub use fault::{
    ArmedFault, CrashImage, CrashPlan, CrashReport, DiskRecording, FaultCounters, FaultKind,
    FaultProfile, FaultStorage,
};
pub use memory::MemoryStorage;
pub use posix::PosixStorage;
pub(crate) use posix::identity_of;
pub use uring::{UringError, UringOptions, UringStorage};

use crate::error::{AppendError, IoError, IoSite, Operation};

/// What tells one file from another that has, or had, the same path.
///
/// Stays the same when a file is renamed, written to or emptied in place. A number may be used
/// again after a file was removed and closed by everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileIdentity {
    /// The device that holds the file.
    pub device: u64,
    /// The file's number on it.
    pub inode: u64,
}

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A device, pipe or socket.
    Other,
}

/// The answer of [`Storage::metadata`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMetadata {
    /// The current length; of no meaning for anything but files.
    pub length_bytes: u64,
    /// File, directory or other; links are followed.
    pub kind: FileKind,
    /// Which file it is.
    pub identity: FileIdentity,
}

/// A place where files live.
///
/// # Errors
///
/// Every method names operation and path in its [`IoError`].
///
/// # Examples
///
/// ```
/// use std::{path::Path, sync::Arc};
/// use thalweg_io::storage::{MemoryStorage, Storage};
///
/// # fn main() -> Result<(), thalweg_io::IoError> {
/// let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
/// let mut file = storage.create(Path::new("a.txt"))?;
/// file.append(b"hello")?;
/// file.sync()?;
/// storage.sync_dir(Path::new("."))?;
///
/// let mut bytes = [0; 16];
/// assert_eq!(storage.open_read(Path::new("a.txt"))?.read_at(1, &mut bytes)?, 4);
/// assert_eq!(&bytes[..4], b"ello");
/// # Ok(())
/// # }
/// ```
pub trait Storage: fmt::Debug + Send + Sync {
    /// Opens an existing file for reading. A directory, pipe or socket is refused.
    fn open_read(&self, path: &Path) -> Result<Box<dyn ReadFile>, IoError>;

    /// Creates a file, or empties the one that is there (its identity stays).
    fn create(&self, path: &Path) -> Result<Box<dyn WriteFile>, IoError>;

    /// Opens a file to write after its last byte; creates it when missing.
    fn open_append(&self, path: &Path) -> Result<Box<dyn WriteFile>, IoError>;

    /// Gives the file `from` the name `to`, replacing a file of that name, as one step.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError>;

    /// Removes the name of a file.
    fn remove(&self, path: &Path) -> Result<(), IoError>;

    /// The paths of a directory's entries (the directory's path joined with each name), sorted.
    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, IoError>;

    /// Length, kind and identity of what lies at a path.
    fn metadata(&self, path: &Path) -> Result<FileMetadata, IoError>;

    /// Creates a directory and its missing parents; an existing one is fine.
    fn create_dir_all(&self, directory: &Path) -> Result<(), IoError>;

    /// Removes a directory, which must be empty; see [`remove_tree`] for one that is not.
    fn remove_dir(&self, directory: &Path) -> Result<(), IoError>;

    /// Makes what was created, renamed and removed in a directory durable.
    fn sync_dir(&self, directory: &Path) -> Result<(), IoError>;

    /// Takes the lock file `path` (made when missing, never removed) until the answer is dropped or
    /// the process ends. One owner a file: other processes are refused, and so is this one.
    ///
    /// # Errors
    ///
    /// [`IoError::Locked`] if somebody has it.
    fn lock(&self, path: &Path) -> Result<Box<dyn FileLock>, IoError>;

    /// Creates a file that will be given up by [`Self::recycle`], for about `expected_bytes`.
    ///
    /// A kind may reuse the blocks of one that was given up, which makes the sync of its first
    /// bytes cheap; the price is point 6 of the contract. By default the same as
    /// [`Self::create`]. An existing file of that name is replaced.
    fn create_segment(
        &self,
        path: &Path,
        expected_bytes: u64,
    ) -> Result<Box<dyn WriteFile>, IoError> {
        let _ = expected_bytes;
        self.create(path)
    }

    /// Gives a file up: its name is gone, its blocks may serve a later segment. For files that
    /// nobody reads any more, also not through an open reader. By default [`Self::remove`].
    fn recycle(&self, path: &Path) -> Result<(), IoError> {
        self.remove(path)
    }

    /// Cuts a file to its first `length_bytes`, durably: for files in the making that nobody has open. One that is as
    /// long already stays as it is.
    ///
    /// After a crash the file is cut or as long as it was. By default what stays is copied to a file beside it, whose
    /// name ends with `.cut.inprogress` and which then takes the name.
    ///
    /// # Errors
    ///
    /// [`IoError::UnexpectedEnd`] if it is shorter; what the storage says.
    fn truncate(&self, path: &Path, length_bytes: u64) -> Result<(), IoError> {
        truncate_by_copy(self, path, length_bytes)
    }

    /// A reader of many blocks at once, owned by one thread. By default it reads one by one.
    fn batch_reader(&self) -> Box<dyn BatchReader> {
        Box::new(SingleReads)
    }
}

/// A lock file that is held; dropping it lets go.
pub trait FileLock: fmt::Debug + Send + Sync {
    /// The lock file.
    fn path(&self) -> &Path;
}

/// A file open for reading at any offset.
pub trait ReadFile: fmt::Debug + Send {
    /// The path it was opened by; another file may have that name by now.
    fn path(&self) -> &Path;

    /// Reads up to `buffer.len()` bytes at `offset`; may be short, is 0 only at or past the end
    /// (or for an empty `buffer`).
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, IoError>;

    /// The length now; it follows growth and truncation.
    fn length_bytes(&self) -> Result<u64, IoError>;

    /// Which file this is, to be compared with [`FileMetadata::identity`] of its path.
    fn identity(&self) -> FileIdentity;

    /// A descriptor through which the kernel can read these bytes now; `None` where they must be
    /// read by [`Self::read_at`] (always, for kinds without a kernel behind them).
    fn descriptor(&self, bytes: Range<u64>) -> Option<BorrowedFd<'_>> {
        let _ = bytes;
        None
    }

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    ///
    /// [`IoError::UnexpectedEnd`] if the file ends before.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), IoError> {
        let mut found_bytes = 0;
        while found_bytes < buffer.len() {
            let at = offset + found_bytes as u64;
            match self.read_at(at, &mut buffer[found_bytes..])? {
                0 => {
                    let site = IoSite::new(Operation::Read, self.path()).at(offset);
                    let expected_bytes = buffer.len();
                    return Err(IoError::UnexpectedEnd { site, expected_bytes, found_bytes });
                }
                byte_count => found_bytes += byte_count,
            }
        }
        Ok(())
    }
}

/// A file open for writing at its end.
pub trait WriteFile: fmt::Debug + Send {
    /// The path it was opened by.
    fn path(&self) -> &Path;

    /// Writes all bytes after the last one.
    ///
    /// # Errors
    ///
    /// An [`AppendError`] says how many of the bytes are in; [`Self::length_bytes`] counts those.
    fn append(&mut self, bytes: &[u8]) -> Result<(), AppendError>;

    /// Makes all bytes appended so far durable (`fdatasync`).
    ///
    /// # Errors
    ///
    /// Final: nobody knows which bytes are on disk, and every later call on this file is refused
    /// with [`IoError::SyncFailedBefore`].
    fn sync(&mut self) -> Result<(), IoError>;

    /// The length, counting every byte appended.
    fn length_bytes(&self) -> u64;
}

/// Copies of a file's beginning are made in pieces of this size.
const COPY_BYTES: u64 = 1 << 20;

fn truncate_by_copy<S: Storage + ?Sized>(
    storage: &S,
    path: &Path,
    length_bytes: u64,
) -> Result<(), IoError> {
    let file = storage.open_read(path)?;
    if file.length_bytes()? == length_bytes {
        return Ok(());
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".cut.inprogress");
    let beside = PathBuf::from(beside);
    let mut copy = storage.create(&beside)?;
    let mut at = 0;
    while at < length_bytes {
        let count = COPY_BYTES.min(length_bytes - at);
        let mut bytes = vec![0; usize::try_from(count).unwrap_or(usize::MAX)];
        file.read_exact_at(at, &mut bytes)?;
        copy.append(&bytes)?;
        at += count;
    }
    copy.sync()?;
    storage.rename(&beside, path)?;
    storage.sync_dir(parent_directory(path))
}

/// Removes a directory with all that lies below it.
///
/// # Errors
///
/// The first error; what was removed until then is gone.
///
/// # Examples
///
/// ```
/// use std::path::Path;
/// use thalweg_io::storage::{MemoryStorage, Storage, remove_tree};
///
/// # fn main() -> Result<(), thalweg_io::IoError> {
/// let storage = MemoryStorage::new();
/// storage.create_dir_all(Path::new("a/b"))?;
/// storage.create(Path::new("a/b/file"))?;
/// remove_tree(&storage, Path::new("a"))?;
/// assert!(storage.metadata(Path::new("a")).is_err());
/// # Ok(())
/// # }
/// ```
pub fn remove_tree(storage: &dyn Storage, directory: &Path) -> Result<(), IoError> {
    for path in storage.list(directory)? {
        match storage.metadata(&path)?.kind {
            FileKind::Directory => remove_tree(storage, &path)?,
            FileKind::File | FileKind::Other => storage.remove(&path)?,
        }
    }
    storage.remove_dir(directory)
}

/// Creates a directory and its missing parents, durably: all directories above are synced.
///
/// Also those that were there before, because whoever made them may have been killed between making
/// and syncing them. A directory that this user may not read is passed over: nobody made anything
/// in it by this way.
///
/// # Errors
///
/// What the storage says.
///
/// # Examples
///
/// ```
/// use std::path::Path;
/// use thalweg_io::storage::{MemoryStorage, Storage, create_durable_dir_all};
///
/// # fn main() -> Result<(), thalweg_io::IoError> {
/// let storage = MemoryStorage::new();
/// create_durable_dir_all(&storage, Path::new("/data/state"))?;
/// assert!(storage.metadata(Path::new("/data/state")).is_ok());
/// # Ok(())
/// # }
/// ```
pub fn create_durable_dir_all(storage: &dyn Storage, directory: &Path) -> Result<(), IoError> {
    storage.create_dir_all(directory)?;
    let mut below = directory;
    while below.file_name().is_some() {
        let above = parent_directory(below);
        match storage.sync_dir(above) {
            Ok(()) | Err(IoError::PermissionDenied { .. }) => below = above,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The directory whose sync makes the name `path` durable.
pub fn parent_directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod contract_tests;
