//! Counts how often functions are opened and closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Shared by all clones of a function.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle(Arc<(AtomicUsize, AtomicUsize)>);

impl Lifecycle {
    /// To be called in `open`.
    pub fn open(&self) {
        self.0.0.fetch_add(1, Ordering::SeqCst);
    }

    /// To be called in `close`.
    pub fn close(&self) {
        self.0.1.fetch_add(1, Ordering::SeqCst);
    }

    /// How often each was called.
    pub fn counts(&self) -> (usize, usize) {
        (self.0.0.load(Ordering::SeqCst), self.0.1.load(Ordering::SeqCst))
    }
}
