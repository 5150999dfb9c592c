//! Memory for rows of one stride: chunks of at most 256 KiB, taken one by one and never moved.
//!
//! An arena that has outgrown the TLB cuts its chunks from huge pages, where a supply has one ready:
//! with 10 M keys of 32 bytes each, and the index in them as well, an update takes 38 ns in the
//! place of 77. It does not touch a fresh one itself; see [`PageSupply`].
//!
//! **Invariants**
//! - Row `r` lies in chunk `r >> rows_log2` at `(r & (2^rows_log2 - 1)) * stride`; rows below `len`
//!   lie in taken chunks.
//! - The arena knows bytes only: what is initialised in a row, and its drop, is the row store's
//!   business.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use thalweg_io::memory::{Arena, HUGE_PAGE_BYTES, PageSupply};

use super::prefetch_table::prefetch;
use super::table_memory::HUGE_FROM_BYTES;

/// Growth takes this much at once: page faults of a chunk stay far below a millisecond, and a store
/// of few keys small.
const CHUNK_BYTES_MAX: usize = 256 << 10;

/// Chunks begin at a cache line, so that rows of 32 and 64 bytes never straddle two.
const CHUNK_ALIGNMENT: usize = LINE_BYTES;

const LINE_BYTES: usize = 64;

/// Row numbers stay below this; `u32::MAX` marks the end of the list of free rows.
pub(super) const ROWS_MAX: u32 = u32::MAX - 1;

pub(super) struct RowArena {
    /// Each is `chunk_layout` large.
    chunks: Vec<NonNull<u8>>,
    /// Those of them that own an allocation; the others lie in `pages`.
    allocated: Vec<NonNull<u8>>,
    pages: Vec<Arena>,
    /// Where the last page goes on, and how many chunks it still has room for.
    page_rest: (NonNull<u8>, usize),
    supply: Option<PageSupply>,
    chunk_layout: Layout,
    stride: usize,
    /// Where in a row its second line may begin; 0 if no row has one.
    next_line_offset: usize,
    rows_log2: u32,
    len: u32,
}

impl RowArena {
    /// An arena of rows `stride` bytes wide, a multiple of every alignment in it. None if that is
    /// too wide to lay out.
    pub(super) fn new(stride: usize) -> Option<Self> {
        let rows_log2 = (CHUNK_BYTES_MAX / stride.max(1)).max(1).ilog2();
        let chunk_bytes = stride.max(1).checked_shl(rows_log2)?;
        let chunk_layout = Layout::from_size_align(chunk_bytes, CHUNK_ALIGNMENT).ok()?;
        Some(RowArena {
            chunks: Vec::new(),
            allocated: Vec::new(),
            pages: Vec::new(),
            page_rest: (NonNull::dangling(), 0),
            supply: None,
            chunk_layout,
            stride,
            next_line_offset: next_line_offset(stride),
            rows_log2,
            len: 0,
        })
    }

    /// Where huge pages come from.
    pub(super) fn set_page_supply(&mut self, supply: PageSupply) {
        self.supply = Some(supply);
    }

    /// How many rows were handed out.
    #[inline]
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// Hands out one more row, uninitialised. None when row numbers are exhausted.
    pub(super) fn push(&mut self) -> Option<u32> {
        if self.len == ROWS_MAX {
            return None;
        }
        if (self.len >> self.rows_log2) as usize == self.chunks.len() {
            self.chunks.reserve(1);
            let chunk = self.take_from_page().unwrap_or_else(|| self.allocate());
            self.chunks.push(chunk);
        }
        self.len += 1;
        Some(self.len - 1)
    }

    /// A chunk of a huge page, if there is one to have.
    fn take_from_page(&mut self) -> Option<NonNull<u8>> {
        let chunk_bytes = self.chunk_layout.size();
        if self.page_rest.1 == 0 && self.allocation_bytes() >= HUGE_FROM_BYTES {
            let mut page = self.supply.as_ref()?.take()?;
            self.page_rest = (page.as_non_null(), HUGE_PAGE_BYTES / chunk_bytes);
            self.pages.push(page);
        }
        let (chunk, count) = self.page_rest;
        let count_after = count.checked_sub(1)?;
        // SAFETY: the page has room for `count` chunks from here on, one after the other.
        self.page_rest = (unsafe { chunk.add(chunk_bytes) }, count_after);
        Some(chunk)
    }

    fn allocate(&mut self) -> NonNull<u8> {
        self.allocated.reserve(1);
        // SAFETY: the layout's size is not zero: stride is at least 1 and so is the number of rows.
        let chunk = unsafe { alloc(self.chunk_layout) };
        let Some(chunk) = NonNull::new(chunk) else { handle_alloc_error(self.chunk_layout) };
        self.allocated.push(chunk);
        chunk
    }

    /// Where a row lies.
    ///
    /// # Safety
    ///
    /// `row < self.len()`.
    #[inline(always)]
    pub(super) unsafe fn at(&self, row: u32) -> NonNull<u8> {
        debug_assert!(row < self.len);
        // SAFETY: rows below `len` lie in taken chunks.
        let chunk = unsafe { self.chunks.get_unchecked((row >> self.rows_log2) as usize) };
        let index = row as usize & ((1 << self.rows_log2) - 1);
        // SAFETY: index < rows a chunk, so the offset lies within the chunk's allocation of rows *
        // stride bytes.
        unsafe { chunk.add(index * self.stride) }
    }

    /// Brings a row near: the line it begins in, and the next one if the row may go on there. A row
    /// that is wider still is left to the processor.
    ///
    /// # Safety
    ///
    /// `row < self.len()`.
    #[inline(always)]
    pub(super) unsafe fn fetch(&self, row: u32) {
        // SAFETY: by this function's contract.
        let place = unsafe { self.at(row) }.as_ptr();
        prefetch(place);
        if self.next_line_offset != 0 {
            prefetch(place.wrapping_add(self.next_line_offset));
        }
    }

    /// Memory of the chunks taken.
    pub(super) fn allocation_bytes(&self) -> usize {
        self.chunks.len() * self.chunk_layout.size()
    }

    /// What a row takes.
    #[inline]
    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// Memory of the rows handed out.
    #[inline]
    pub(super) fn used_bytes(&self) -> usize {
        self.len as usize * self.stride
    }
}

/// Rows begin at multiples of their stride in chunks that begin at a line.
const fn next_line_offset(stride: usize) -> usize {
    match stride {
        0 => 0,
        1..=LINE_BYTES if LINE_BYTES.is_multiple_of(stride) => 0,
        1..=LINE_BYTES => stride - 1,
        _ => LINE_BYTES,
    }
}

impl Drop for RowArena {
    fn drop(&mut self) {
        for chunk in &self.allocated {
            // SAFETY: the chunk came from `alloc` with this very layout and is freed once, here.
            unsafe { dealloc(chunk.as_ptr(), self.chunk_layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_straddle_lines_are_fetched_whole() {
        let offsets = [16, 32, 64, 24, 48, 72, 128, 300].map(next_line_offset);
        assert_eq!(offsets, [0, 0, 0, 23, 47, 64, 64, 64]);
    }

    #[test]
    fn rows_are_disjoint_and_aligned() {
        for stride in [16, 24, 32, 48, 4096, 300_000] {
            let mut arena = RowArena::new(stride).unwrap();
            let mut places = Vec::new();
            for row in 0..50 {
                assert_eq!(arena.push(), Some(row));
                // SAFETY: the row was just handed out.
                places.push(unsafe { arena.at(row) }.addr().get());
            }
            places.sort_unstable();
            assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= stride));
            assert!(places.iter().all(|place| place.is_multiple_of(8)));
            assert_eq!(arena.used_bytes(), 50 * stride);
        }
    }
}
