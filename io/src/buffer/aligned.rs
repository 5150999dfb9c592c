//! One buffer that direct I/O accepts: it starts at a page and is filled from its start.
//!
//! # Invariants
//!
//! - `filled_bytes <= capacity`; the memory never moves, also when the buffer does.
//! - Bytes past `filled_bytes` are what earlier uses left: [`AlignedBuffer::pad_to_block`] zeroes
//!   those that would be written.

use crate::memory::{Arena, ArenaError, ArenaOptions};

/// The unit of direct I/O: offsets, lengths and addresses are multiples. It is the page of x86-64
/// and the largest logical block of common disks; a device with larger ones refuses direct writes
/// (EINVAL), and they go through the page cache.
pub(crate) const BLOCK_BYTES: usize = 4096;

/// A page-aligned buffer, filled from its start.
#[derive(Debug)]
pub(crate) struct AlignedBuffer {
    memory: Arena,
    filled_bytes: usize,
    /// Its index among the buffers that a ring has registered.
    registration: Option<u16>,
}

impl AlignedBuffer {
    /// An empty buffer; `capacity_bytes` is a multiple of [`BLOCK_BYTES`].
    pub(crate) fn new(capacity_bytes: usize) -> Result<Self, ArenaError> {
        assert!(capacity_bytes.is_multiple_of(BLOCK_BYTES), "whole blocks are written");
        let options = ArenaOptions::new(capacity_bytes).alignment_bytes(BLOCK_BYTES);
        Ok(Self { memory: Arena::new(options)?, filled_bytes: 0, registration: None })
    }

    pub(crate) fn capacity_bytes(&self) -> usize {
        self.memory.length_bytes()
    }

    pub(crate) fn filled_bytes(&self) -> usize {
        self.filled_bytes
    }

    pub(crate) fn is_full(&self) -> bool {
        self.filled_bytes == self.capacity_bytes()
    }

    /// The bytes that were put in.
    pub(crate) fn filled(&self) -> &[u8] {
        &self.memory.as_slice()[..self.filled_bytes]
    }

    /// All bytes, also those past the filled ones.
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.memory.as_slice()
    }

    /// Puts in as many of `bytes` as there is room for, and says how many.
    pub(crate) fn extend(&mut self, bytes: &[u8]) -> usize {
        let byte_count = bytes.len().min(self.capacity_bytes() - self.filled_bytes);
        let room = &mut self.memory.as_mut_slice()[self.filled_bytes..][..byte_count];
        room.copy_from_slice(&bytes[..byte_count]);
        self.filled_bytes += byte_count;
        byte_count
    }

    /// Zeroes the rest of the last block and says where that ends.
    pub(crate) fn pad_to_block(&mut self) -> usize {
        let end = self.filled_bytes.next_multiple_of(BLOCK_BYTES);
        self.memory.as_mut_slice()[self.filled_bytes..end].fill(0);
        end
    }

    pub(crate) fn clear(&mut self) {
        self.filled_bytes = 0;
    }

    pub(crate) fn registration(&self) -> Option<u16> {
        self.registration
    }

    pub(crate) fn set_registration(&mut self, registration: Option<u16>) {
        self.registration = registration;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_fits_and_pads_with_zeros() {
        let mut buffer = AlignedBuffer::new(2 * BLOCK_BYTES).unwrap();
        assert_eq!(buffer.as_slice().as_ptr().addr() % BLOCK_BYTES, 0);
        assert_eq!(buffer.extend(&[7; 5000]), 5000);
        assert_eq!(buffer.pad_to_block(), 8192);
        assert_eq!(buffer.filled(), [7; 5000]);
        assert_eq!(buffer.extend(&[8; 5000]), 3192);
        assert!(buffer.is_full());
        assert_eq!(buffer.pad_to_block(), 8192);
        buffer.clear();
        assert_eq!(buffer.extend(&[9; 10]), 10);
        assert_eq!(buffer.pad_to_block(), 4096);
        assert_eq!(buffer.as_slice()[..12], [9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 0, 0]);
        assert_eq!(buffer.as_slice()[4096], 7, "only the block that is written is zeroed");
    }
}
