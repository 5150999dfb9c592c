//! How appended bytes become writes: whole buffers, and the block that is not full yet.
//!
//! ```text
//!   file      |· · · written · · ·|  buffer: blocks to write          | tail |
//!   offsets   0                   base (a multiple of 4096)           ▲      length
//!                                                                     last whole block
//! ```
//!
//! 1. Bytes are copied into a buffer that starts at `base`.
//! 2. A full buffer is one write. A flush before that writes the whole blocks, and the tail as the
//!    file's [`TailLayout`] says.
//! 3. The tail's bytes are kept: the next buffer starts with them, and its write replaces that
//!    block. Both writes hold the same bytes where both have some, so it does not matter to
//!    durable bytes which of the two a crash leaves.
//!
//! # Invariants
//!
//! - `base` is a multiple of a block, and `length == base + tail or buffer`.
//! - A job that ends in a tail shares its last block with the next job; no two others overlap.
//! - `dirty` exactly when a buffer holds bytes that no job has taken.

use std::ops::Range;

use crate::buffer::{AlignedBuffer, BLOCK_BYTES};
use crate::ring::WriteBytes;

/// What is written of a block that is not full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TailLayout {
    /// Its bytes, through the page cache: the file's length is always the true one. Chosen over
    /// writing a padded block and truncating, which costs a second journal entry and shows a wrong
    /// length meanwhile.
    Exact,
    /// The block padded with zeros: nothing but data is written, and the sync of a file whose
    /// blocks were written before costs no journal commit. For segments.
    Padded,
}

/// One write that is on its way.
#[derive(Debug)]
pub(super) struct WriteJob {
    /// Grows with each job of a file.
    pub(super) sequence: u64,
    pub(super) bytes: WriteBytes,
    pub(super) part: Range<usize>,
    pub(super) offset: u64,
    /// Whether address, offset and length are fit to go around the page cache.
    pub(super) is_aligned: bool,
    pub(super) ends_in_tail: bool,
    /// How often it made no progress.
    pub(super) attempt_count: u32,
}

/// What a flush gives.
#[derive(Debug, Default)]
pub(super) struct Flushed {
    /// At most two: whole blocks, and the tail.
    pub(super) jobs: Vec<WriteJob>,
    /// The buffer, if no job took it.
    pub(super) unused: Option<AlignedBuffer>,
}

/// The bytes of a file that were appended and not handed over, and where they go.
#[derive(Debug)]
pub(super) struct Staging {
    layout: TailLayout,
    buffer: Option<AlignedBuffer>,
    base: u64,
    /// The bytes from `base` that were handed over, while there is no buffer.
    tail: Vec<u8>,
    dirty: bool,
    next_sequence: u64,
}

impl Staging {
    /// For a file of `base + tail.len()` bytes, of which `tail` are those of the last block.
    pub(super) fn new(layout: TailLayout, base: u64, tail: Vec<u8>) -> Self {
        assert!(base.is_multiple_of(BLOCK_BYTES as u64) && tail.len() < BLOCK_BYTES);
        Self { layout, buffer: None, base, tail, dirty: false, next_sequence: 0 }
    }

    pub(super) fn length_bytes(&self) -> u64 {
        let staged = self.buffer.as_ref().map_or(self.tail.len(), AlignedBuffer::filled_bytes);
        self.base + staged as u64
    }

    /// Whether [`Self::extend`] needs a buffer first.
    pub(super) fn needs_buffer(&self) -> bool {
        self.buffer.is_none()
    }

    /// Gives it an empty buffer.
    pub(super) fn install(&mut self, mut buffer: AlignedBuffer) {
        assert!(self.buffer.is_none() && buffer.filled_bytes() == 0, "one buffer at a time");
        buffer.extend(&self.tail);
        self.tail.clear();
        self.buffer = Some(buffer);
    }

    /// Copies what fits into the buffer and says how many bytes that was.
    pub(super) fn extend(&mut self, bytes: &[u8]) -> usize {
        let buffer = self.buffer.as_mut().expect("the caller installed a buffer");
        let byte_count = buffer.extend(bytes);
        self.dirty |= byte_count > 0;
        byte_count
    }

    pub(super) fn is_full(&self) -> bool {
        self.buffer.as_ref().is_some_and(AlignedBuffer::is_full)
    }

    /// Turns all staged bytes into jobs. `around_cache` tells whether aligned jobs will go around
    /// the page cache; if not, one job does for an exact tail too.
    pub(super) fn flush(&mut self, around_cache: bool) -> Flushed {
        let mut flushed = Flushed::default();
        let Some(mut buffer) = self.buffer.take() else { return flushed };
        let filled_bytes = buffer.filled_bytes();
        let whole_bytes = filled_bytes / BLOCK_BYTES * BLOCK_BYTES;
        self.tail.extend_from_slice(&buffer.filled()[whole_bytes..]);
        let base = self.base;
        self.base += whole_bytes as u64;
        if !std::mem::take(&mut self.dirty) {
            flushed.unused = Some(buffer);
            return flushed;
        }
        let has_tail = !self.tail.is_empty();
        if has_tail && self.layout == TailLayout::Exact && around_cache {
            if whole_bytes > 0 {
                let bytes = WriteBytes::Pooled(buffer);
                flushed.jobs.push(self.job(bytes, whole_bytes, base, false));
            } else {
                flushed.unused = Some(buffer);
            }
            let tail = WriteBytes::Small(self.tail.as_slice().into());
            let (length, base) = (self.tail.len(), self.base);
            flushed.jobs.push(self.job(tail, length, base, true));
            return flushed;
        }
        let length = match self.layout {
            TailLayout::Exact => filled_bytes,
            TailLayout::Padded => buffer.pad_to_block(),
        };
        flushed.jobs.push(self.job(WriteBytes::Pooled(buffer), length, base, has_tail));
        flushed
    }

    fn job(
        &mut self,
        bytes: WriteBytes,
        length: usize,
        offset: u64,
        ends_in_tail: bool,
    ) -> WriteJob {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let is_aligned =
            matches!(bytes, WriteBytes::Pooled(_)) && length.is_multiple_of(BLOCK_BYTES);
        let part = 0..length;
        WriteJob { sequence, bytes, part, offset, is_aligned, ends_in_tail, attempt_count: 0 }
    }

    /// Takes the buffer out, for good.
    pub(super) fn take_buffer(&mut self) -> Option<AlignedBuffer> {
        self.buffer.take()
    }
}

impl WriteJob {
    /// Where its last byte ends in the file.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.part.len() as u64
    }

    /// Notes that the kernel wrote the first `byte_count` bytes; whether there is a rest.
    ///
    /// A rest that goes around the page cache starts at the block that was not finished.
    pub(super) fn advance(&mut self, byte_count: usize) -> bool {
        assert!(byte_count <= self.part.len(), "the kernel writes no more than it is given");
        if byte_count == self.part.len() {
            return false;
        }
        let done =
            if self.is_aligned { byte_count / BLOCK_BYTES * BLOCK_BYTES } else { byte_count };
        self.attempt_count = if done == 0 { self.attempt_count + 1 } else { 0 };
        self.part.start += done;
        self.offset += done as u64;
        true
    }
}

#[cfg(test)]
mod tests;
