//! [`Counter`] and [`Gauge`]: one number, written by one thread, read by any.
//!
//! A counter's `add` is a plain load and a plain store, not an atomic read-modify-write: it costs what `x += 1` costs,
//! and is right because nobody else writes. Values are independent of each other and publish nothing, so every access
//! is relaxed; a reader sees each number some nanoseconds late.
//!
//! **Invariant**: one writer. The first thread to write owns the cell from then on; in debug builds a write by another
//! thread panics. In release builds it loses counts and does no other harm.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A number that only grows (and wraps at 2^64).
///
/// Not padded: it lives in a group of counters with the same writer, see [`Padded`].
///
/// ```
/// let counter = thalweg::metrics::Counter::new();
/// counter.add(2);
/// counter.increment();
/// assert_eq!(counter.get(), 3);
/// ```
#[derive(Debug, Default)]
pub struct Counter {
    /// Written by the owner alone; read by anyone; publishes nothing.
    value: AtomicU64,
    owner: Owner,
}

impl Counter {
    /// Zero, owned by nobody yet.
    pub const fn new() -> Self {
        Self { value: AtomicU64::new(0), owner: Owner::new() }
    }

    /// Adds `n`. For the owner alone.
    ///
    /// # Panics
    /// In debug builds, if another thread has written before.
    #[inline]
    pub fn add(&self, n: u64) {
        self.owner.assert_here();
        let value = self.value.load(Ordering::Relaxed);
        self.value.store(value.wrapping_add(n), Ordering::Relaxed);
    }

    /// Adds one. For the owner alone.
    ///
    /// # Panics
    /// In debug builds, if another thread has written before.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Raises the value to `n` if it is below: a maximum. For the owner alone.
    ///
    /// # Panics
    /// In debug builds, if another thread has written before.
    #[inline]
    pub fn raise_to(&self, n: u64) {
        self.owner.assert_here();
        if self.value.load(Ordering::Relaxed) < n {
            self.value.store(n, Ordering::Relaxed);
        }
    }

    /// The value now.
    #[inline]
    pub fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge {
    /// Written by the owner alone; read by anyone; publishes nothing.
    value: AtomicI64,
    owner: Owner,
}

impl Gauge {
    /// Zero, owned by nobody yet.
    pub const fn new() -> Self {
        Self::starting_at(0)
    }

    /// `value`, owned by nobody yet.
    pub const fn starting_at(value: i64) -> Self {
        Self { value: AtomicI64::new(value), owner: Owner::new() }
    }

    /// Sets the value. For the owner alone.
    ///
    /// # Panics
    /// In debug builds, if another thread has written before.
    #[inline]
    pub fn set(&self, value: i64) {
        self.owner.assert_here();
        self.value.store(value, Ordering::Relaxed);
    }

    /// Changes the value by `delta`, wrapping. For the owner alone.
    ///
    /// # Panics
    /// In debug builds, if another thread has written before.
    #[inline]
    pub fn add(&self, delta: i64) {
        self.set(self.get().wrapping_add(delta));
    }

    /// The value now.
    #[inline]
    pub fn get(&self) -> i64 {
        self.value.load(Ordering::Relaxed)
    }
}

/// Keeps what it holds on cache lines of its own.
///
/// 128 bytes, not 64: x86 prefetches lines in pairs, and some aarch64 cores have lines of 128
/// (`tokio/src/util/cacheline.rs` collects the sources).
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Padded<T>(T);

impl<T> Padded<T> {
    /// Pads a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T> std::ops::Deref for Padded<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// Which thread writes a cell. Empty in release builds.
#[derive(Debug, Default)]
pub(super) struct Owner {
    /// Zero until the first write, then the writer's token; only compared, publishes nothing.
    #[cfg(debug_assertions)]
    token: std::sync::atomic::AtomicUsize,
}

impl Owner {
    pub(super) const fn new() -> Self {
        Self {
            #[cfg(debug_assertions)]
            token: std::sync::atomic::AtomicUsize::new(0),
        }
    }

    /// Takes the cell for this thread, or asserts that this thread has it.
    #[inline]
    pub(super) fn assert_here(&self) {
        #[cfg(debug_assertions)]
        {
            thread_local!(static MARK: u8 = const { 0 });
            // The address is unique among living threads. One that ended may pass its address on, which can only hide
            // a second writer, never invent one. While this thread ends there is no mark, and nothing to compare.
            let Ok(token) = MARK.try_with(|mark| std::ptr::from_ref(mark).addr()) else { return };
            let owner =
                match self.token.compare_exchange(0, token, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => token,
                    Err(owner) => owner,
                };
            assert_eq!(owner, token, "a metric is written by two threads; give each its own");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_count_wrap_and_keep_a_maximum() {
        let counter = Counter::new();
        counter.add(u64::MAX);
        counter.increment();
        assert_eq!(counter.get(), 0);
        counter.raise_to(7);
        counter.raise_to(3);
        assert_eq!(counter.get(), 7);
    }

    #[test]
    fn gauges_go_both_ways() {
        let gauge = Gauge::starting_at(i64::MIN);
        assert_eq!(gauge.get(), i64::MIN);
        gauge.set(5);
        gauge.add(-8);
        assert_eq!(gauge.get(), -3);
    }

    #[test]
    fn others_may_read() {
        let counter = Counter::new();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| (0..10_000).for_each(|_| counter.increment()));
            let mut last = 0;
            while !writer.is_finished() {
                let now = counter.get();
                assert!(now >= last);
                last = now;
            }
        });
        assert_eq!(counter.get(), 10_000);
    }

    #[test]
    #[cfg(debug_assertions)]
    fn a_second_writer_is_caught() {
        let counter = Counter::new();
        counter.increment();
        let joined = std::thread::scope(|scope| scope.spawn(|| counter.increment()).join());
        assert!(joined.is_err());
        assert_eq!(counter.get(), 1);
    }

    #[test]
    fn padding_separates_neighbours() {
        let pair: [Padded<Counter>; 2] = Default::default();
        let address = |counter: &Counter| std::ptr::from_ref(counter).addr();
        assert!(address(&pair[1]) - address(&pair[0]) >= 128);
        #[cfg(not(debug_assertions))]
        assert_eq!(size_of::<Counter>(), 8);
    }
}
