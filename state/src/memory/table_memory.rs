//! Memory of hash tables and their sub-tables.
//!
//! A table of one part takes from the global allocator. A divided one has hundreds of parts of one size, half a MiB each,
//! which come from chunks of many.
//!
//! **Small pages.** Chunks do not ask for huge pages. A division touches one fresh block, and what it costs to get that from
//! the kernel is the longest pause of a growing table: 136 pages of 4 KiB take 0.2 ms, one of 2 MiB takes 0.1 ms if the
//! machine below has memory behind it, and 5.3 to 7 ms if a virtual one has given it back. Growing to 10 M entries of 16
//! bytes, p99 and longest call: 0.6 and 0.7 to 1.1 ms with small pages, 7 and 8 ms with huge ones. What is lost by more
//! misses of the TLB is 2 % of w1 at 1 M keys and 8 % at 10 M (45 and 49 M events/s). So chunks are huge pages only where a
//! [`PageSupply`] has touched one before.
//!
//! 1. The first block that a pool is asked for fixes its block size. Blocks of that size are cut from chunks, others come
//!    from the global allocator (parts that are still small, or have grown because they could not be divided).
//! 2. A block that is given back is handed out next: dividing gives one back and takes two, so one of the two is warm.
//! 3. Chunks double up to [`CHUNK_BLOCKS_MAX`] blocks. They are only address space until they are touched.
//!
//! **Invariants** (named in the SAFETY proofs)
//! - *block*: a block of `block_bytes` that is out lies in exactly one chunk and overlaps no other block; chunks stay
//!   mapped, where they are, until the pool is dropped, which no block outlives, since its table holds the pool.

use allocator_api2::alloc::{AllocError, Allocator, Global, Layout};
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::rc::Rc;
use thalweg_io::memory::{Arena, ArenaOptions, HUGE_PAGE_BYTES, PageSupply};

/// Blocks of the first chunk.
const CHUNK_BLOCKS_MIN: usize = 4;
/// Blocks of the largest chunk: some 35 MiB.
const CHUNK_BLOCKS_MAX: usize = 64;
/// Memory of this size takes huge pages: half of what a TLB of 2,000 small pages covers.
pub(super) const HUGE_FROM_BYTES: usize = 4 << 20;
/// Blocks begin at multiples of a cache line.
const BLOCK_ALIGNMENT_BYTES: usize = 64;

/// The allocator of a [`PrefetchTable`](crate::PrefetchTable)'s parts.
#[derive(Debug, Default)]
pub struct TableMemory(Option<Rc<BlockPool>>);

impl TableMemory {
    /// The global allocator.
    pub(super) const fn global() -> Self {
        TableMemory(None)
    }

    /// A pool of its own, of huge pages where a supply has some.
    pub(super) fn pool(supply: Option<PageSupply>) -> Self {
        TableMemory(Some(Rc::new(BlockPool { supply, ..BlockPool::default() })))
    }

    /// The same pool, or the global allocator again.
    pub(super) fn share(&self) -> Self {
        TableMemory(self.0.clone())
    }
}

#[derive(Debug, Default)]
struct BlockPool {
    /// The size of its blocks; 0 before the first.
    block_bytes: Cell<usize>,
    blocks: RefCell<Blocks>,
    supply: Option<PageSupply>,
}

#[derive(Debug, Default)]
struct Blocks {
    chunks: Vec<Arena>,
    chunk_bytes: usize,
    /// The last chunk's first byte, taken once: to borrow the chunk again would be to borrow its blocks.
    chunk_start: Option<NonNull<u8>>,
    free: Vec<NonNull<u8>>,
    /// How many blocks the last chunk has not handed out yet, and how many it had.
    fresh_count: usize,
    chunk_blocks: usize,
}

impl Blocks {
    fn take(
        &mut self,
        block_bytes: usize,
        supply: Option<&PageSupply>,
    ) -> Result<NonNull<u8>, AllocError> {
        if let Some(block) = self.free.pop() {
            return Ok(block);
        }
        let stride = block_bytes.next_multiple_of(BLOCK_ALIGNMENT_BYTES);
        if self.fresh_count == 0 {
            self.add_chunk(stride, supply)?;
        }
        let start = self.chunk_start.ok_or(AllocError)?;
        let offset = (self.chunk_blocks - self.fresh_count) * stride;
        self.fresh_count -= 1;
        // SAFETY: the chunk has `chunk_blocks` strides, and fewer of them are in use.
        Ok(unsafe { start.add(offset) })
    }

    fn add_chunk(&mut self, stride: usize, supply: Option<&PageSupply>) -> Result<(), AllocError> {
        let is_large = self.chunk_bytes >= HUGE_FROM_BYTES && stride <= HUGE_PAGE_BYTES;
        let page = supply.filter(|_| is_large).and_then(PageSupply::take);
        let blocks = match (&page, supply) {
            (Some(_), _) => HUGE_PAGE_BYTES / stride,
            // The next chunk may be a page.
            (None, Some(_)) => CHUNK_BLOCKS_MIN,
            (None, None) => (self.chunk_blocks * 2).clamp(CHUNK_BLOCKS_MIN, CHUNK_BLOCKS_MAX),
        };
        let mut chunk = match page {
            Some(page) => page,
            None => Arena::new(ArenaOptions::new(blocks * stride)).map_err(|_| AllocError)?,
        };
        self.chunk_bytes += chunk.length_bytes();
        self.chunk_start = Some(chunk.as_non_null());
        self.chunks.push(chunk);
        (self.chunk_blocks, self.fresh_count) = (blocks, blocks);
        Ok(())
    }
}

impl BlockPool {
    /// Whether blocks of this layout come from the pool.
    fn holds(&self, layout: Layout) -> bool {
        layout.size() == self.block_bytes.get() && layout.align() <= BLOCK_ALIGNMENT_BYTES
    }

    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if self.block_bytes.get() == 0 {
            self.block_bytes.set(layout.size());
        }
        if layout.size() == 0 || !self.holds(layout) {
            return Global.allocate(layout);
        }
        let block = self.blocks.borrow_mut().take(layout.size(), self.supply.as_ref())?;
        Ok(NonNull::slice_from_raw_parts(block, layout.size()))
    }
}

// SAFETY: *block*: a block stays mapped, where it is, until it is given back; its size and alignment are those asked for.
// Whether it is the pool's or the global allocator's follows from its layout, since `block_bytes` changes only before the
// first block is handed out. Copies made by `share` are the same pool.
unsafe impl Allocator for TableMemory {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        match &self.0 {
            Some(pool) => pool.allocate(layout),
            None => Global.allocate(layout),
        }
    }

    unsafe fn deallocate(&self, block: NonNull<u8>, layout: Layout) {
        match &self.0 {
            Some(pool) if layout.size() != 0 && pool.holds(layout) => {
                pool.blocks.borrow_mut().free.push(block);
            }
            // SAFETY: all other blocks come from the global allocator, with this layout.
            _ => unsafe { Global.deallocate(block, layout) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 500_001;

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, 16).unwrap()
    }

    #[test]
    fn blocks_of_the_first_size_are_cut_from_chunks_and_used_again() {
        let memory = TableMemory::pool(None);
        let blocks: Vec<_> = (0..200).map(|_| memory.allocate(layout(BLOCK)).unwrap()).collect();
        let mut starts: Vec<usize> =
            blocks.iter().map(|block| block.cast::<u8>().addr().get()).collect();
        starts.sort_unstable();
        assert!(starts.windows(2).all(|pair| pair[0] + BLOCK <= pair[1]));
        assert!(starts.iter().all(|start| start.is_multiple_of(BLOCK_ALIGNMENT_BYTES)));
        let last = blocks[199].cast();
        // SAFETY: allocated above with this layout, not used again.
        unsafe { memory.deallocate(last, layout(BLOCK)) };
        assert_eq!(memory.share().allocate(layout(BLOCK)).unwrap().cast(), last);
        let pool = memory.0.as_ref().unwrap().blocks.borrow();
        assert!(pool.chunks.len() < 8 && pool.free.is_empty());
    }

    #[test]
    fn other_sizes_are_global() {
        let memory = TableMemory::pool(None);
        let block = memory.allocate(layout(BLOCK)).unwrap();
        for bytes in [0, 16, BLOCK - 1, 3 * BLOCK] {
            let other = memory.allocate(layout(bytes)).unwrap();
            // SAFETY: allocated just now with this layout.
            unsafe { memory.deallocate(other.cast(), layout(bytes)) };
        }
        assert!(memory.0.as_ref().unwrap().blocks.borrow().free.is_empty());
        // SAFETY: allocated above with this layout.
        unsafe { memory.deallocate(block.cast(), layout(BLOCK)) };
        assert_eq!(memory.0.as_ref().unwrap().blocks.borrow().free.len(), 1);
    }
}
