//! Many reads given at once.
//!
//! A store that misses its resident rows knows a whole batch of blocks to read. One by one they
//! cost a device latency each; together they cost about one, up to the device's queue depth. The
//! kind `uring` gives the kernel all of them; the others read one by one.
//!
//! # Invariants
//!
//! - After [`BatchReader::read`] every request has its own outcome: one that fails leaves the others
//!   alone.

use std::fmt;
use std::os::fd::BorrowedFd;

use super::ReadFile;
use crate::error::IoError;

/// One block to read: the buffer is filled from `offset`, or the outcome says why not.
#[derive(Debug)]
pub struct ReadRequest<'a> {
    file: &'a dyn ReadFile,
    offset: u64,
    buffer: &'a mut [u8],
    outcome: Option<Result<(), IoError>>,
}

impl<'a> ReadRequest<'a> {
    /// Asks for `buffer.len()` bytes of `file` at `offset`.
    pub fn new(file: &'a dyn ReadFile, offset: u64, buffer: &'a mut [u8]) -> Self {
        Self { file, offset, buffer, outcome: None }
    }

    /// The file to read.
    pub fn file(&self) -> &'a dyn ReadFile {
        self.file
    }

    /// Where its bytes start.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The buffer: unspecified bytes until a read succeeded.
    pub fn buffer(&self) -> &[u8] {
        self.buffer
    }

    /// What became of it; `None` before it was read.
    pub fn outcome(&self) -> Option<&Result<(), IoError>> {
        self.outcome.as_ref()
    }

    /// What became of it.
    ///
    /// # Errors
    ///
    /// As [`ReadFile::read_exact_at`].
    ///
    /// # Panics
    ///
    /// If no [`BatchReader`] was given it: a bug of the caller.
    pub fn into_outcome(self) -> Result<(), IoError> {
        self.outcome.expect("a request is read before its outcome is asked for")
    }

    /// The descriptor to read it by, where the kernel can do it now.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'a>> {
        let end = self.offset.checked_add(self.buffer.len() as u64)?;
        self.file.descriptor(self.offset..end)
    }

    pub(super) fn buffer_mut(&mut self) -> &mut [u8] {
        self.buffer
    }

    pub(super) fn finish(&mut self, outcome: Result<(), IoError>) {
        self.outcome = Some(outcome);
    }

    /// Reads it by itself.
    pub fn read_alone(&mut self) {
        self.outcome = Some(self.file.read_exact_at(self.offset, self.buffer));
    }
}

/// Reads many blocks at once.
///
/// # Examples
///
/// ```
/// use std::path::Path;
/// use thalweg_io::storage::{MemoryStorage, ReadRequest, Storage};
///
/// # fn main() -> Result<(), thalweg_io::IoError> {
/// let storage = MemoryStorage::new();
/// storage.create(Path::new("a"))?.append(b"0123456789")?;
/// let file = storage.open_read(Path::new("a"))?;
///
/// let (mut first, mut second) = ([0; 2], [0; 3]);
/// let mut requests =
///     [ReadRequest::new(&*file, 0, &mut first), ReadRequest::new(&*file, 5, &mut second)];
/// storage.batch_reader().read(&mut requests);
/// for request in requests {
///     request.into_outcome()?;
/// }
/// assert_eq!((&first, &second), (b"01", b"567"));
/// # Ok(())
/// # }
/// ```
pub trait BatchReader: fmt::Debug + Send {
    /// Reads all of them, in any order, and returns when each has its outcome.
    fn read(&mut self, requests: &mut [ReadRequest<'_>]);
}

/// Reads one by one.
#[derive(Debug, Clone, Copy, Default)]
pub struct SingleReads;

impl BatchReader for SingleReads {
    fn read(&mut self, requests: &mut [ReadRequest<'_>]) {
        for request in requests {
            request.read_alone();
        }
    }
}
