//! Numbers that owner and worker share.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Each number is for itself: none publishes another, so all accesses are relaxed unless said
/// otherwise.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    /// Bytes of blocks that are not durable. The owner adds, the worker subtracts.
    waiting_bytes: AtomicU64,
    /// The version that the owner reads. Written by the owner after it closed the files that this
    /// version does not have (release); read by the worker before it removes some (acquire).
    reader_version: AtomicU64,
    /// The time by which records expire. Written by the owner.
    now_ms: AtomicI64,
    /// Written by the worker.
    flushed_bytes: AtomicU64,
    flushed_files: AtomicU64,
    compacted_bytes: AtomicU64,
    compacted_files: AtomicU64,
    removed_files: AtomicU64,
    garbage_files: AtomicU64,
}

/// A reading of what the worker counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) flushed_bytes: u64,
    pub(crate) flushed_files: u64,
    pub(crate) compacted_bytes: u64,
    pub(crate) compacted_files: u64,
    pub(crate) removed_files: u64,
    pub(crate) garbage_files: u64,
}

impl Gauges {
    /// Nothing waits, and no record has expired.
    pub(crate) fn new() -> Self {
        Gauges { now_ms: AtomicI64::new(i64::MIN), ..Gauges::default() }
    }

    pub(crate) fn add_waiting(&self, byte_count: usize) {
        self.waiting_bytes.fetch_add(byte_count as u64, Ordering::Relaxed);
    }

    pub(crate) fn subtract_waiting(&self, byte_count: u64) {
        self.waiting_bytes.fetch_sub(byte_count, Ordering::Relaxed);
    }

    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_reader_version(&self, number: u64) {
        self.reader_version.store(number, Ordering::Release);
    }

    pub(crate) fn reader_version(&self) -> u64 {
        self.reader_version.load(Ordering::Acquire)
    }

    pub(crate) fn set_now_ms(&self, now_ms: i64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn count_flush(&self, byte_count: u64) {
        self.flushed_bytes.fetch_add(byte_count, Ordering::Relaxed);
        self.flushed_files.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_compaction(&self, byte_count: u64, file_count: usize) {
        self.compacted_bytes.fetch_add(byte_count, Ordering::Relaxed);
        self.compacted_files.fetch_add(file_count as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_removal(&self) {
        self.removed_files.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn set_garbage_files(&self, file_count: usize) {
        self.garbage_files.store(file_count as u64, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> Counts {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Counts {
            flushed_bytes: read(&self.flushed_bytes),
            flushed_files: read(&self.flushed_files),
            compacted_bytes: read(&self.compacted_bytes),
            compacted_files: read(&self.compacted_files),
            removed_files: read(&self.removed_files),
            garbage_files: read(&self.garbage_files),
        }
    }
}
