//! A file and how far it has been read.

use std::path::{Path, PathBuf};

use thalweg_io::storage::FileIdentity;

use crate::function::SourceSplit;

/// One file, with the position that its reader has reached. Its id is its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSplit {
    pub(crate) path: PathBuf,
    pub(crate) position: FilePosition,
    /// The file that the position is of; `None` before it was opened.
    pub(crate) identity: Option<FileIdentity>,
}

/// Where the next record begins.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilePosition {
    /// In decompressed bytes.
    pub(crate) offset: u64,
    /// From 1.
    pub(crate) line: u64,
    /// How many fields each row has, once that is known (CSV).
    pub(crate) field_count: Option<usize>,
}

impl FilePosition {
    pub(crate) const START: FilePosition = FilePosition { offset: 0, line: 1, field_count: None };
}

impl FileSplit {
    /// A file from its start.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        FileSplit { path: path.into(), position: FilePosition::START, identity: None }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the next record begins, in decompressed bytes.
    pub fn offset(&self) -> u64 {
        self.position.offset
    }

    /// The line in which it begins, from 1.
    pub fn line(&self) -> u64 {
        self.position.line
    }
}

impl SourceSplit for FileSplit {
    fn split_id(&self) -> String {
        self.path.display().to_string()
    }
}
