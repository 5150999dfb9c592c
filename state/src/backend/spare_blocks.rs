//! Memory of delta blocks that goes round: to the worker with rows in it, and back when these are
//! durable.
//!
//! An epoch of millions of changed rows fills a hundred MiB of blocks. Taken fresh from the kernel
//! each time, page by page, they cost 14 ns for each event of 10 M keys with a barrier every 4 M
//! events, of 96 ns in all.
//!
//! 1. The owner fills spare memory where there is some, and sends it down.
//! 2. A block that is dropped, by whoever has it, gives its memory back.
//! 3. As much is kept as the last finished epoch took, so that one large epoch does not hold memory
//!    for good, and no more than [`SPARE_BYTES_MAX`] or a share of the memory budget.

use std::mem::take;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::DELTA_BLOCK_BYTES;

/// A table keeps no more than this.
const SPARE_BYTES_MAX: usize = 128 << 20;

/// Where memory is limited, that part of a table's share of the budget.
const BUDGET_SHARE: u64 = 16;

/// The spare memory of one table's blocks; owner and worker share it.
#[derive(Debug)]
pub(crate) struct SpareBlocks {
    spare: Mutex<Spare>,
}

#[derive(Debug)]
struct Spare {
    blocks: Vec<Vec<u8>>,
    /// No more blocks are kept.
    wanted_count: usize,
    /// No more are ever wanted.
    count_max: usize,
}

impl SpareBlocks {
    pub(crate) fn new() -> Arc<Self> {
        let count_max = SPARE_BYTES_MAX / DELTA_BLOCK_BYTES;
        let spare = Spare { blocks: Vec::new(), wanted_count: 0, count_max };
        Arc::new(SpareBlocks { spare: Mutex::new(spare) })
    }

    /// Empty memory for a block, if there is some.
    pub(crate) fn take(&self) -> Option<Vec<u8>> {
        self.lock().blocks.pop()
    }

    /// An epoch took so many blocks: as many may be kept for the next one.
    pub(crate) fn keep(&self, block_count: usize) {
        let mut spare = self.lock();
        spare.wanted_count = block_count.min(spare.count_max);
        let wanted_count = spare.wanted_count;
        spare.blocks.truncate(wanted_count);
    }

    /// Memory is limited, to so much for the table.
    pub(crate) fn limit(&self, share_bytes: u64) {
        let share_blocks = (share_bytes / BUDGET_SHARE) as usize / DELTA_BLOCK_BYTES;
        let mut spare = self.lock();
        spare.count_max = share_blocks.min(SPARE_BYTES_MAX / DELTA_BLOCK_BYTES);
        spare.wanted_count = spare.wanted_count.min(spare.count_max);
        let wanted_count = spare.wanted_count;
        spare.blocks.truncate(wanted_count);
    }

    fn give(&self, mut block: Vec<u8>) {
        // Neither the small block of a small epoch, nor that of a row that is large itself.
        if !(DELTA_BLOCK_BYTES..=2 * DELTA_BLOCK_BYTES).contains(&block.capacity()) {
            return;
        }
        block.clear();
        let mut spare = self.lock();
        if spare.blocks.len() < spare.wanted_count {
            spare.blocks.push(block);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of a block, which go back to where they came from.
#[derive(Debug)]
pub(crate) struct BlockBytes {
    bytes: Vec<u8>,
    home: Option<Arc<SpareBlocks>>,
}

impl BlockBytes {
    pub(crate) fn new(bytes: Vec<u8>, home: &Arc<SpareBlocks>) -> Self {
        BlockBytes { bytes, home: Some(Arc::clone(home)) }
    }
}

/// Bytes that are not used again.
impl From<Vec<u8>> for BlockBytes {
    fn from(bytes: Vec<u8>) -> Self {
        BlockBytes { bytes, home: None }
    }
}

impl Deref for BlockBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for BlockBytes {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            home.give(take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Vec<u8> {
        let mut bytes = Vec::with_capacity(DELTA_BLOCK_BYTES);
        bytes.push(1);
        bytes
    }

    fn kept_count(spare: &SpareBlocks) -> usize {
        spare.lock().blocks.len()
    }

    #[test]
    fn as_much_is_kept_as_the_last_epoch_took() {
        let spare = SpareBlocks::new();
        drop(BlockBytes::new(full(), &spare));
        assert_eq!(kept_count(&spare), 0, "nothing is wanted yet");
        spare.keep(3);
        (0..5).for_each(|_| drop(BlockBytes::new(full(), &spare)));
        drop(BlockBytes::new(vec![1; 4096], &spare));
        drop(BlockBytes::new(vec![1; 3 * DELTA_BLOCK_BYTES], &spare));
        assert_eq!(kept_count(&spare), 3);
        let taken = spare.take().unwrap();
        assert!(taken.is_empty() && taken.capacity() >= DELTA_BLOCK_BYTES);
        spare.keep(1);
        assert_eq!(kept_count(&spare), 1);
        spare.keep(usize::MAX);
        assert_eq!(spare.lock().wanted_count, SPARE_BYTES_MAX / DELTA_BLOCK_BYTES);
    }

    #[test]
    fn a_budget_limits_what_is_kept() {
        let spare = SpareBlocks::new();
        spare.keep(9);
        (0..9).for_each(|_| drop(BlockBytes::new(full(), &spare)));
        spare.limit(2 * BUDGET_SHARE * DELTA_BLOCK_BYTES as u64);
        assert_eq!(kept_count(&spare), 2);
        spare.keep(9);
        drop(BlockBytes::new(full(), &spare));
        assert_eq!(kept_count(&spare), 2);
        spare.limit(0);
        assert!(spare.take().is_none());
    }

    #[test]
    fn bytes_of_no_table_are_freed() {
        let bytes = BlockBytes::from(vec![1, 2]);
        assert_eq!(*bytes, [1, 2]);
    }
}
