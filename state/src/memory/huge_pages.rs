//! Memory for large vectors in huge pages.
//!
//! A table that has outgrown the cache misses the TLB with almost every lookup as well: at 1 M keys of 16 bytes it lies
//! in 8,192 pages of 4 KiB, a core's TLB holds some 2,000. Blocks of [`HUGE_BYTES`] and more therefore come from anonymous
//! mappings that ask the kernel for huge pages; smaller ones from the global allocator. Where the kernel has none to give
//! the mapping works with small pages. Measured with w1 (key and sum, 16 bytes) on one thread, with and without, in the
//! same run: 35.6 and 32.3 M events/s at 4 M keys, 27.1 and 20.4 at 10 M; within the noise at 1 M.
//!
//! **Invariants** (named in the SAFETY proofs)
//! - *registry*: each block of [`HUGE_BYTES`] or more that is out belongs to exactly one arena in `arenas`, found by the address
//!   of its first byte; it is unmapped when it is given back, or with the allocator.
//! - The allocator is not cloned and outlives its table, which owns it.

use allocator_api2::alloc::{AllocError, Allocator, Global, Layout};
use std::cell::RefCell;
use std::ptr::NonNull;
use thalweg_io::memory::{Arena, ArenaOptions};

/// Two huge pages: below, rounding up would waste too much.
const HUGE_BYTES: usize = 4 << 20;
/// The size of a huge page on x86-64 and on arm64 with small base pages.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// The allocator of a [`PrefetchSlab`](crate::PrefetchSlab): huge pages for large blocks. One for each slab.
pub(crate) struct HugePages {
    arenas: RefCell<Vec<Arena>>,
}

impl HugePages {
    pub(super) const fn new() -> Self {
        HugePages { arenas: RefCell::new(Vec::new()) }
    }

    fn map(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        let alignment = layout.align().max(HUGE_PAGE_BYTES);
        let options = ArenaOptions::new(layout.size()).alignment_bytes(alignment).huge_pages(true);
        let mut arena = Arena::new(options).map_err(|_| AllocError)?;
        let block = NonNull::slice_from_raw_parts(arena.as_non_null(), layout.size());
        self.arenas.borrow_mut().push(arena);
        Ok(block)
    }
}

// SAFETY: *registry*: a block stays mapped, and where it is, until it is given back; its size and alignment are those asked
// for, by the arena's contract or the global allocator's. Which of the two a block belongs to follows from its size.
unsafe impl Allocator for HugePages {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        match layout.size() >= HUGE_BYTES {
            true => self.map(layout),
            false => Global.allocate(layout),
        }
    }

    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        if layout.size() < HUGE_BYTES {
            // SAFETY: *registry*: smaller blocks come from the global allocator, with this layout.
            return unsafe { Global.deallocate(block, layout) };
        }
        let mut arenas = self.arenas.borrow_mut();
        let index = arenas.iter_mut().position(|arena| arena.as_non_null() == block);
        arenas.swap_remove(index.expect("*registry*: a large block has an arena"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_blocks_are_mapped_and_unmapped() {
        let memory = HugePages::new();
        let layouts = [16, HUGE_BYTES - 1, HUGE_BYTES, 3 * HUGE_BYTES + 5]
            .map(|bytes| Layout::from_size_align(bytes, 64).unwrap());
        let blocks = layouts.map(|layout| memory.allocate(layout).unwrap());
        assert_eq!(memory.arenas.borrow().len(), 2);
        for (block, layout) in blocks.into_iter().zip(layouts) {
            assert!(block.len() >= layout.size());
            // SAFETY: allocated just now with this layout.
            unsafe { memory.deallocate(block.cast(), layout) };
        }
        assert!(memory.arenas.borrow().is_empty());
    }

    #[test]
    fn a_growing_table_keeps_its_entries() {
        let mut table = hashbrown::HashTable::new_in(HugePages::new());
        for i in 0..600_000_u64 {
            table.insert_unique(i.wrapping_mul(0x9E37_79B9_7F4A_7C15), i, |i| {
                i.wrapping_mul(0x9E37_79B9_7F4A_7C15)
            });
        }
        for i in (0..600_000_u64).step_by(997) {
            assert_eq!(table.find(i.wrapping_mul(0x9E37_79B9_7F4A_7C15), |e| *e == i), Some(&i));
        }
    }
}
