//! What can go wrong while reading a file forward.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::gzip::GzipFault;
use crate::error::IoError;

/// A file that cannot be read on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The storage failed.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The file is shorter than it was before.
    #[error(
        "{path} was truncated to {length_bytes} bytes, it had at least {offset} before; read it \
         again from its start, or let its writer rotate by renaming instead"
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// How long it was, as far as known: how far it was read, or its length when opened.
        offset: u64,
        /// How long it is now.
        length_bytes: u64,
    },
    /// The position to start from lies behind the end.
    #[error(
        "cannot start reading {path} at byte {position}: it has only {length_bytes} bytes of data; \
         it was truncated or replaced since that position was noted"
    )]
    PositionPastEnd {
        /// The file.
        path: PathBuf,
        /// The position asked for, in decompressed bytes.
        position: u64,
        /// How many decompressed bytes there are.
        length_bytes: u64,
    },
    /// A compressed file ends within a gzip member.
    #[error(
        "{path} is an incomplete gzip file: it ends at byte {offset} within a compressed member; \
         copy it again, or wait until its writer is done"
    )]
    IncompleteGzip {
        /// The file.
        path: PathBuf,
        /// Its length.
        offset: u64,
    },
    /// A compressed file is damaged.
    #[error("{path} is a damaged gzip file: {fault} at byte {offset}; copy it again")]
    CorruptGzip {
        /// The file.
        path: PathBuf,
        /// Where in the compressed bytes the damage was noticed.
        offset: u64,
        /// What is wrong.
        fault: GzipFault,
    },
}

impl ReadError {
    /// The file that cannot be read on.
    pub fn path(&self) -> &Path {
        match self {
            ReadError::Io(error) => error.path(),
            ReadError::Truncated { path, .. }
            | ReadError::PositionPastEnd { path, .. }
            | ReadError::IncompleteGzip { path, .. }
            | ReadError::CorruptGzip { path, .. } => path,
        }
    }
}
