//! mimalloc with a count of allocations, to show that the record path makes none.
//!
//! Each thread counts in a cell of its own (load and store, no locked instruction); threads beyond the first 64 share the last.

use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const CELLS: usize = 64;

#[repr(align(128))]
struct Padded(AtomicU64);

static COUNTS: [Padded; CELLS] = [const { Padded(AtomicU64::new(0)) }; CELLS];
static NEXT: AtomicUsize = AtomicUsize::new(0);
thread_local! {
    static CELL: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The allocator: install it with `#[global_allocator]`.
pub struct Counting;

fn count() {
    let cell = CELL.try_with(|cell| {
        if cell.get() == usize::MAX {
            cell.set(NEXT.fetch_add(1, Ordering::Relaxed).min(CELLS - 1));
        }
        cell.get()
    });
    let counter = &COUNTS[cell.unwrap_or(CELLS - 1)].0;
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

// SAFETY: everything is passed on to mimalloc unchanged; counting allocates nothing (the thread-local is const).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is mimalloc's.
        unsafe { MiMalloc.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is mimalloc's.
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is mimalloc's.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's contract is mimalloc's.
        unsafe { MiMalloc.realloc(pointer, layout, bytes) }
    }
}

/// Allocations of all threads so far.
pub fn allocations() -> u64 {
    COUNTS.iter().map(|cell| cell.0.load(Ordering::Relaxed)).sum()
}
