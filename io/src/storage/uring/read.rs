//! Reading: through the page cache, one by one or many at once.
//!
//! Blocks are read buffered, not around the cache: what a store has just written or will read
//! again (its sorted runs' indexes and hot blocks) is then in memory for all slots together.
//!
//! # Invariants
//!
//! - A read never sees a file without bytes that a writer of this storage took before: it makes
//!   them settle first.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use super::Engine;
use crate::error::{IoError, IoSite, Operation};
use crate::ring::{PlannedRead, ReadRing, UringRefusal};
use crate::storage::posix::PosixReadFile;
use crate::storage::{BatchReader, FileIdentity, ReadFile, ReadRequest};

/// Reads at once: beyond 64 the measured device gains nothing.
const READ_ENTRIES: u32 = 64;

#[derive(Debug)]
pub(super) struct UringReadFile {
    file: PosixReadFile,
    engine: Arc<Engine>,
}

impl UringReadFile {
    pub(super) fn new(engine: Arc<Engine>, file: PosixReadFile) -> Self {
        Self { file, engine }
    }
}

impl ReadFile for UringReadFile {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, IoError> {
        if let Some(writer) = self.engine.registry.writer_of(self.identity()) {
            writer.settle(offset.saturating_add(buffer.len() as u64))?;
        }
        self.file.read_at(offset, buffer)
    }

    fn length_bytes(&self) -> Result<u64, IoError> {
        let writer = self.engine.registry.writer_of(self.identity());
        let staged_bytes = writer.map_or(0, |writer| writer.length_bytes());
        Ok(self.file.length_bytes()?.max(staged_bytes))
    }

    fn identity(&self) -> FileIdentity {
        self.file.identity()
    }

    fn descriptor(&self, bytes: Range<u64>) -> Option<BorrowedFd<'_>> {
        let writer = self.engine.registry.writer_of(self.identity());
        if writer.is_some_and(|writer| !writer.is_settled(bytes.end)) {
            return None;
        }
        self.file.descriptor(bytes)
    }
}

/// Gives the kernel all reads of a batch that it can do; the others are done one by one.
#[derive(Debug)]
pub(super) struct RingBatchReader {
    ring: ReadRing,
}

impl RingBatchReader {
    pub(super) fn new() -> Result<Self, UringRefusal> {
        Ok(Self { ring: ReadRing::new(READ_ENTRIES)? })
    }
}

impl BatchReader for RingBatchReader {
    fn read(&mut self, requests: &mut [ReadRequest<'_>]) {
        // One read needs no ring: a system call less.
        if let [request] = requests {
            return request.read_alone();
        }
        let mut indexes = Vec::with_capacity(requests.len());
        let mut reads = Vec::with_capacity(requests.len());
        for (index, request) in requests.iter_mut().enumerate() {
            match request.descriptor() {
                Some(descriptor) => {
                    let offset = request.offset();
                    reads.push(PlannedRead::new(descriptor, offset, request.buffer_mut()));
                    indexes.push(index);
                }
                None => request.read_alone(),
            }
        }
        self.ring.read(&mut reads);
        let outcomes: Vec<_> = reads.iter().map(PlannedRead::outcome).collect();
        for (index, outcome) in indexes.into_iter().zip(outcomes) {
            let request = &mut requests[index];
            let outcome = check(request, outcome);
            request.finish(outcome);
        }
    }
}

fn check(request: &ReadRequest<'_>, outcome: Result<usize, i32>) -> Result<(), IoError> {
    let site = IoSite::new(Operation::Read, request.file().path()).at(request.offset());
    let expected_bytes = request.buffer().len();
    match outcome {
        Ok(found_bytes) if found_bytes == expected_bytes => Ok(()),
        Ok(found_bytes) => Err(IoError::UnexpectedEnd { site, expected_bytes, found_bytes }),
        Err(errno) => Err(IoError::from_errno(site, errno)),
    }
}
