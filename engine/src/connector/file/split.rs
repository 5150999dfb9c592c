//! A file and how far it has been read.

use std::path::{Path, PathBuf};

use rkyv::util::AlignedVec;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use thalweg_io::storage::FileIdentity;
use thalweg_state::KeyHasher;

use crate::function::SourceSplit;
use crate::state::{Schema, SchemaBuilder, StateError, StateValue};

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

/// The split as it is archived. A path may be no text, and so is bytes.
pub(super) type StoredSplit = (Vec<u8>, (u64, u64, Option<u64>), Option<(u64, u64)>);

impl FileSplit {
    pub(super) fn to_stored(&self) -> StoredSplit {
        let FilePosition { offset, line, field_count } = self.position;
        let fields = field_count.map(|count| count as u64);
        let identity = self.identity.map(|identity| (identity.device, identity.inode));
        (self.path.as_os_str().as_bytes().to_vec(), (offset, line, fields), identity)
    }

    pub(super) fn from_stored((path, (offset, line, fields), identity): StoredSplit) -> Self {
        // More fields than fit into memory are no row's.
        let field_count = fields.map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        let identity = identity.map(|(device, inode)| FileIdentity { device, inode });
        let path = PathBuf::from(OsString::from_vec(path));
        FileSplit { path, position: FilePosition { offset, line, field_count }, identity }
    }
}

impl Schema for FileSplit {
    fn describe(out: &mut SchemaBuilder) {
        out.container("FileSplit", &[StoredSplit::describe]);
    }
    fn hash_key(&self, hasher: &mut KeyHasher) {
        self.to_stored().hash_key(hasher);
    }
}

impl StateValue for FileSplit {
    fn archive_into(&self, out: &mut AlignedVec) -> Result<(), StateError> {
        self.to_stored().archive_into(out)
    }
    fn from_archived(bytes: &[u8]) -> Result<Self, StateError> {
        StoredSplit::from_archived(bytes).map(Self::from_stored)
    }
}
