//! Why a file source fails.

use std::path::PathBuf;

use thalweg_io::IoError;
use thalweg_io::file::{LineError, ReadError};

use super::malformed::MalformedRow;

/// A file source cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileSourceError {
    /// The path cannot be looked at, listed or opened.
    #[error("the file source has no input: {0}")]
    Unavailable(#[source] IoError),
    /// The path is neither a file nor a directory.
    #[error(
        "the file source cannot read {path}: it is neither a file nor a directory; pipes and \
         sockets are read by a `SourceFunction`"
    )]
    WrongKind {
        /// The path.
        path: PathBuf,
    },
    /// There is nothing to read, and nothing is waited for.
    #[error(
        "the file source found no file in the directory {path} (names that begin with '.' or '_' \
         or end with '.inprogress' are left out, subdirectories are not looked into); check the \
         path, or wait for files with `discover_every`"
    )]
    EmptyDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// A file cannot be read on.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A line cannot be taken.
    #[error(transparent)]
    Line(LineError),
    /// The header lacks a column that the record type asks for.
    #[error(
        "{path} does not fit the record type: {message}; its columns are {columns}. Rename the \
         field (`#[serde(rename = \"..\")]`), give it a `#[serde(default)]`, or call `no_header` \
         if the first row is data"
    )]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// What the record type says.
        message: String,
        /// The header.
        columns: String,
    },
    /// A row cannot be decoded, and such rows fail the job.
    #[error(
        "malformed row in {0}; correct it, or let the source go on with \
         `on_malformed(Malformed::SkipAndCount)` or `results()`"
    )]
    Malformed(#[source] MalformedRow),
    /// An option cannot be.
    #[error("the file source's {option} is {value:?}, which {problem}")]
    Option {
        /// Which.
        option: &'static str,
        /// Its value.
        value: String,
        /// Why not, and what would do.
        problem: &'static str,
    },
}

impl From<LineError> for FileSourceError {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Read(error) => FileSourceError::Read(error),
            other => FileSourceError::Line(other),
        }
    }
}
