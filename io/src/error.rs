//! The errors of file operations: what was tried, where, what the system said, what helps.
//!
//! Every variant of [`IoError`] carries an [`IoSite`] (operation, path, byte offset) and, where
//! the operating system had a say, its error as `source()`. The variants are the cases a caller
//! treats differently; everything else is [`IoError::Other`].

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::corruption::Corruption;

/// What was being done to a file when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Opening a file for reading.
    OpenRead,
    /// Creating a file, or emptying an existing one.
    Create,
    /// Opening a file to write at its end.
    OpenAppend,
    /// Reading bytes.
    Read,
    /// Writing bytes at the end.
    Append,
    /// Asking for the length or the identity of an open file.
    Inspect,
    /// Making the written bytes durable.
    Sync,
    /// Giving a file another name.
    Rename,
    /// Deleting a file.
    Remove,
    /// Listing a directory.
    List,
    /// Asking what lies at a path.
    Metadata,
    /// Creating a directory and its parents.
    CreateDirectory,
    /// Deleting a directory.
    RemoveDirectory,
    /// Making the names in a directory durable.
    SyncDirectory,
    /// Mapping a file into memory.
    Map,
    /// Taking a lock file for oneself.
    Lock,
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Operation::OpenRead => "open for reading",
            Operation::Create => "create",
            Operation::OpenAppend => "open for appending",
            Operation::Read => "read",
            Operation::Append => "write to",
            Operation::Inspect => "inspect open file",
            Operation::Sync => "sync",
            Operation::Rename => "rename",
            Operation::Remove => "remove",
            Operation::List => "list directory",
            Operation::Metadata => "look up",
            Operation::CreateDirectory => "create directory",
            Operation::RemoveDirectory => "remove directory",
            Operation::SyncDirectory => "sync directory",
            Operation::Map => "map",
            Operation::Lock => "lock",
        })
    }
}

/// Where an operation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoSite {
    /// What was being done.
    pub operation: Operation,
    /// The file or directory.
    pub path: PathBuf,
    /// The new name, for a rename.
    pub target: Option<PathBuf>,
    /// The byte offset in the file, where there is one.
    pub offset: Option<u64>,
}

impl IoSite {
    /// The site of an operation on a whole file or directory.
    pub fn new(operation: Operation, path: impl Into<PathBuf>) -> Self {
        Self { operation, path: path.into(), target: None, offset: None }
    }

    /// The same site with a byte offset.
    #[must_use]
    pub fn at(self, offset: u64) -> Self {
        Self { offset: Some(offset), ..self }
    }

    /// The same site with the new name of a rename.
    #[must_use]
    pub fn to(self, target: impl Into<PathBuf>) -> Self {
        Self { target: Some(target.into()), ..self }
    }
}

impl fmt::Display for IoSite {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.operation, self.path.display())?;
        if let Some(target) = &self.target {
            write!(formatter, " to {}", target.display())?;
        }
        if let Some(offset) = self.offset {
            write!(formatter, " at byte {offset}")?;
        }
        Ok(())
    }
}

/// A file operation that failed.
///
/// # Examples
///
/// ```
/// use std::path::Path;
/// use thalweg_io::storage::{MemoryStorage, Storage};
///
/// let error = MemoryStorage::new().open_read(Path::new("missing.csv")).unwrap_err();
/// assert!(error.is_not_found());
/// assert!(error.to_string().starts_with("cannot open for reading missing.csv: "));
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IoError {
    /// Nothing lies at the path, or a directory on the way is missing.
    #[error("cannot {site}: it does not exist; check the path and that its directory is there")]
    NotFound {
        /// Where it failed.
        site: IoSite,
        /// What the system said.
        source: io::Error,
    },
    /// This user may not do that there.
    #[error("cannot {site}: permission denied; check owner and mode of the file and its directory")]
    PermissionDenied {
        /// Where it failed.
        site: IoSite,
        /// What the system said.
        source: io::Error,
    },
    /// The disk or the user's quota is full.
    #[error("cannot {site}: no space left; free space on the device or raise the quota")]
    NoSpace {
        /// Where it failed.
        site: IoSite,
        /// What the system said.
        source: io::Error,
    },
    /// Files in memory would take more than they may.
    #[error(
        "cannot {site}: {held_bytes} of {capacity_bytes} bytes of memory are taken, and {wanted_bytes} more are wanted; \
         raise the capacity, or keep the files on a disk"
    )]
    MemoryFull {
        /// Where it failed.
        site: IoSite,
        /// What all files take.
        held_bytes: u64,
        /// What they may take.
        capacity_bytes: u64,
        /// What was to be added.
        wanted_bytes: u64,
    },
    /// The file would grow past what the file system or RLIMIT_FSIZE allows.
    #[error("cannot {site}: the file would be too large; roll files earlier or raise `ulimit -f`")]
    FileTooLarge {
        /// Where it failed.
        site: IoSite,
        /// What the system said.
        source: io::Error,
    },
    /// The process or the system has no file descriptor left.
    #[error("cannot {site}: too many open files; raise `ulimit -n`")]
    TooManyOpenFiles {
        /// Where it failed.
        site: IoSite,
        /// What the system said.
        source: io::Error,
    },
    /// A directory was found where a file is needed, or the other way round, or a pipe or socket.
    #[error("cannot {site}: it is of another kind (file, directory, pipe); check the path")]
    WrongKind {
        /// Where it failed.
        site: IoSite,
        /// What the system said.
        source: io::Error,
    },
    /// The device reported a failure.
    #[error("cannot {site}: the device reported an error; check the disk and the kernel's log")]
    DeviceFailed {
        /// Where it failed.
        site: IoSite,
        /// What the system said.
        source: io::Error,
    },
    /// The file ends before the bytes that were asked for.
    #[error(
        "cannot {site}: the file ends after {found_bytes} of {expected_bytes} bytes; it is \
         truncated or not the file it should be"
    )]
    UnexpectedEnd {
        /// Where it failed.
        site: IoSite,
        /// How many bytes were asked for.
        expected_bytes: usize,
        /// How many there were.
        found_bytes: usize,
    },
    /// What was read is damaged, foreign, or of a later version.
    #[error("cannot {site}: {fault}")]
    Corrupt {
        /// Where: file, and offset of what is wrong.
        site: IoSite,
        /// What was expected and found.
        fault: Box<Corruption>,
    },
    /// A payload is longer than a block may be.
    #[error(
        "cannot {site}: a block holds at most {limit_bytes} bytes, not {payload_bytes}; keep less \
         in one value"
    )]
    PayloadTooLong {
        /// Where it should have gone.
        site: IoSite,
        /// The most a block holds.
        limit_bytes: usize,
        /// How long it is.
        payload_bytes: usize,
    },
    /// An earlier sync of this open file failed, so its contents on disk are unknown for good.
    #[error(
        "cannot {site}: an earlier sync of this file failed and its contents are unknown; \
         abandon it and write a new file"
    )]
    SyncFailedBefore {
        /// Where the refused call would have worked.
        site: IoSite,
    },
    /// Somebody else holds the lock.
    #[error(
        "cannot {site}: {} holds it; stop that one first, or choose another directory",
        Holder(*holder_process_id)
    )]
    Locked {
        /// Where it failed.
        site: IoSite,
        /// The process that holds it, as far as the lock file tells.
        holder_process_id: Option<u32>,
    },
    /// Anything else the system said.
    #[error("cannot {site}: {source}")]
    Other {
        /// Where it failed.
        site: IoSite,
        /// What the system said.
        source: io::Error,
    },
}

impl IoError {
    /// Sorts an error of the operating system into its variant.
    pub fn from_system(site: IoSite, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::ENOENT) => IoError::NotFound { site, source },
            Some(libc::EACCES | libc::EPERM | libc::EROFS) => {
                IoError::PermissionDenied { site, source }
            }
            Some(libc::ENOSPC | libc::EDQUOT) => IoError::NoSpace { site, source },
            Some(libc::EFBIG) => IoError::FileTooLarge { site, source },
            Some(libc::EMFILE | libc::ENFILE) => IoError::TooManyOpenFiles { site, source },
            Some(
                libc::ENOTDIR
                | libc::EISDIR
                | libc::EEXIST
                | libc::ESPIPE
                | libc::ENXIO
                | libc::ENOTEMPTY,
            ) => IoError::WrongKind { site, source },
            Some(libc::EIO) => IoError::DeviceFailed { site, source },
            _ => IoError::Other { site, source },
        }
    }

    /// An error as the operating system would give it for `errno`.
    pub(crate) fn from_errno(site: IoSite, errno: i32) -> Self {
        Self::from_system(site, io::Error::from_raw_os_error(errno))
    }

    /// Bytes that were read at `offset` and are not what they should be.
    pub fn corrupt(path: impl Into<PathBuf>, offset: u64, fault: Corruption) -> Self {
        IoError::Corrupt {
            site: IoSite::new(Operation::Read, path).at(offset),
            fault: Box::new(fault),
        }
    }

    /// What is wrong with what was read, if that is the error.
    pub fn corruption(&self) -> Option<&Corruption> {
        match self {
            IoError::Corrupt { fault, .. } => Some(fault),
            _ => None,
        }
    }

    /// Where it failed.
    pub fn site(&self) -> &IoSite {
        match self {
            IoError::NotFound { site, .. }
            | IoError::PermissionDenied { site, .. }
            | IoError::NoSpace { site, .. }
            | IoError::MemoryFull { site, .. }
            | IoError::FileTooLarge { site, .. }
            | IoError::TooManyOpenFiles { site, .. }
            | IoError::WrongKind { site, .. }
            | IoError::DeviceFailed { site, .. }
            | IoError::UnexpectedEnd { site, .. }
            | IoError::Corrupt { site, .. }
            | IoError::PayloadTooLong { site, .. }
            | IoError::SyncFailedBefore { site }
            | IoError::Locked { site, .. }
            | IoError::Other { site, .. } => site,
        }
    }

    /// The file or directory it failed on.
    pub fn path(&self) -> &Path {
        &self.site().path
    }

    /// Whether nothing lies at the path.
    pub fn is_not_found(&self) -> bool {
        matches!(self, IoError::NotFound { .. })
    }

    /// Whether the same call may succeed once somebody has freed space.
    pub fn is_no_space(&self) -> bool {
        matches!(self, IoError::NoSpace { .. })
    }
}

/// The holder of a lock, in words.
struct Holder(Option<u32>);

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(id) if id == std::process::id() => formatter.write_str("this process"),
            Some(id) => write!(formatter, "process {id}"),
            None => formatter.write_str("somebody else"),
        }
    }
}

/// An append that did not take all bytes.
///
/// The first `appended_bytes` of the caller's bytes are in the file, exactly once; the rest are
/// not. Unless the error is final ([`IoError::SyncFailedBefore`]), the caller may append the
/// rest again.
#[derive(Debug, Error)]
#[error("{error}, {appended_bytes} of the {given_bytes} bytes are in the file")]
pub struct AppendError {
    /// How many of the given bytes are in.
    pub appended_bytes: usize,
    /// How many were given.
    pub given_bytes: usize,
    /// Why the others are not.
    #[source]
    pub error: IoError,
}

impl From<AppendError> for IoError {
    fn from(append: AppendError) -> Self {
        append.error
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn check(errno: i32, expected: &str) {
        let site = IoSite::new(Operation::Append, "out/part-0").at(4096);
        let error = IoError::from_errno(site.clone(), errno);
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.site(), &site);
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(source.and_then(io::Error::raw_os_error), Some(errno), "source is kept");
    }

    #[test]
    fn says_what_where_and_remedy() {
        check(
            libc::ENOENT,
            "cannot write to out/part-0 at byte 4096: it does not exist; check the path and that \
             its directory is there",
        );
        check(
            libc::ENOSPC,
            "cannot write to out/part-0 at byte 4096: no space left; free space on the device or \
             raise the quota",
        );
        check(
            libc::EFBIG,
            "cannot write to out/part-0 at byte 4096: the file would be too large; roll files \
             earlier or raise `ulimit -f`",
        );
        check(
            libc::EIO,
            "cannot write to out/part-0 at byte 4096: the device reported an error; check the \
             disk and the kernel's log",
        );
        check(
            libc::EINVAL,
            "cannot write to out/part-0 at byte 4096: Invalid argument (os error 22)",
        );
    }

    #[test]
    fn names_both_paths_of_a_rename() {
        let site = IoSite::new(Operation::Rename, "a").to("b");
        let error = IoError::from_errno(site, libc::EACCES);
        assert!(error.to_string().starts_with("cannot rename a to b: permission denied;"));
    }
}
