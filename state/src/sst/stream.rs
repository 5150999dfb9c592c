//! Blocks of rows of a file, one after the other, read in large pieces.

use std::ops::Range;

use super::SortedFile;
use crate::backend::StoreError;

/// How much is read at once: the disk's throughput is reached, and it stays in L2.
const WINDOW_BYTES: u64 = 256 << 10;

/// Stands at one block of a file, which every call is given again.
///
/// # Invariants
///
/// - `window` has the bytes of whole blocks from `window_offset` on, and `payload` lies in it.
#[derive(Debug)]
pub(crate) struct BlockStream {
    next_block: usize,
    window: Vec<u8>,
    window_offset: u64,
    payload: Range<usize>,
}

impl BlockStream {
    /// Stands before a block.
    pub(crate) fn before(block: usize) -> Self {
        BlockStream { next_block: block, window: Vec::new(), window_offset: 0, payload: 0..0 }
    }

    /// Goes to the next block; false after the last one.
    pub(crate) fn advance(&mut self, file: &SortedFile) -> Result<bool, StoreError> {
        if self.next_block == file.block_count() {
            return Ok(false);
        }
        let address = file.address(self.next_block);
        if address.end() > self.window_offset + self.window.len() as u64 {
            self.fill(file)?;
        }
        let start = (address.offset - self.window_offset) as usize;
        let frame = start..start + address.length_bytes as usize;
        let payload = file.check(self.next_block, &self.window[frame.clone()])?;
        self.payload = start + payload.start..start + payload.end;
        self.next_block += 1;
        Ok(true)
    }

    /// The block's payload.
    #[inline]
    pub(crate) fn payload(&self) -> &[u8] {
        &self.window[self.payload.clone()]
    }

    /// The number of the block.
    pub(crate) fn block(&self) -> usize {
        self.next_block - 1
    }

    /// Reads as many blocks from the next one on as a window takes, at least one.
    #[cold]
    fn fill(&mut self, file: &SortedFile) -> Result<(), StoreError> {
        let offset = file.address(self.next_block).offset;
        let end = file.end_of_blocks(self.next_block, offset + WINDOW_BYTES);
        self.window.clear();
        self.payload = 0..0;
        self.window_offset = offset;
        let outcome = file.read_bytes(offset, end, &mut self.window);
        if outcome.is_err() {
            self.window.clear();
        }
        outcome
    }
}
