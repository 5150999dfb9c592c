//! The two sides of a format: what the plan keeps, and what reads one open file.

use std::sync::Arc;

use thalweg_io::file::{Compression, ReadOptions, ReadStatus};
use thalweg_io::storage::{FileIdentity, Storage};

use super::error::FileSourceError;
use super::malformed::MalformedRow;
use super::split::{FilePosition, FileSplit};

/// How the bytes of files become records; [`Lines`](super::Lines) and [`Csv`](super::Csv). Implemented by the engine alone.
pub trait FileFormat: Clone + Send + Sync + 'static {
    /// Its records.
    type Out: Send + 'static;
    /// What reads one file.
    type Decoder: FileDecoder<Out = Self::Out>;

    /// Refuses options that cannot be.
    #[doc(hidden)]
    fn check(&self) -> Result<(), FileSourceError>;

    /// Opens the file of a split where the split stands.
    #[doc(hidden)]
    fn open(
        &self,
        access: &FileAccess,
        split: &FileSplit,
    ) -> Result<Self::Decoder, FileSourceError>;
}

/// How files are reached.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct FileAccess {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) follow: bool,
    pub(crate) compression: Compression,
    pub(crate) chunk_bytes: Option<usize>,
}

impl FileAccess {
    pub(super) fn options(&self) -> ReadOptions {
        let options = if self.follow { ReadOptions::follow() } else { ReadOptions::bounded() };
        let options = options.compression(self.compression);
        match self.chunk_bytes {
            Some(chunk_bytes) => options.chunk_bytes(chunk_bytes),
            None => options,
        }
    }
}

/// What a decoder has.
#[derive(Debug)]
#[doc(hidden)]
pub enum Decoded<T> {
    /// A row, decoded or not.
    Row(Result<T, MalformedRow>),
    /// Nothing before more bytes are read.
    WantsBytes,
    /// Nothing any more: the file is read.
    Finished,
}

/// Reads one file, one row after the other, in steps that never wait. Implemented by the engine alone.
#[doc(hidden)]
pub trait FileDecoder: 'static {
    /// Its records.
    type Out;

    /// The next row, if its bytes are there.
    fn next(&mut self) -> Result<Decoded<Self::Out>, FileSourceError>;

    /// Reads at most one chunk.
    fn fill(&mut self) -> Result<ReadStatus, FileSourceError>;

    /// Nothing will be added to this file: what is left of it is its last row. Until [`Decoded::Finished`].
    fn end_file(&mut self);

    /// Goes on with the file that has the path now, from its start.
    fn reopen(&mut self) -> Result<(), FileSourceError>;

    /// Where the next row begins.
    #[doc(hidden)]
    fn position(&self) -> FilePosition;

    /// Which file is open.
    fn identity(&self) -> FileIdentity;
}
