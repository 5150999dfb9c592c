//! Atomics, locks and parking: the real ones, or loom's under `cfg(loom)`.
//!
//! Every structure that two cores touch takes its primitives from here, so that the same code is compiled for the
//! engine and for the model checker. Run the models with
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p thalweg --release --lib loom
//! ```
//!
//! **Invariants**
//! - Only the primitives switch. `Arc` stays the real one: loom models the atomics inside it, not the count around it.
//! - A `static` cannot hold loom's atomics (their `new` is not const); the few statics use `std` and say so.

#[cfg(not(loom))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};

#[cfg(loom)]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};

/// Atomics and fences.
pub(crate) mod atomic {
    #[cfg(not(loom))]
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

    #[cfg(loom)]
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
}

/// Parking of plain threads.
pub(crate) mod thread {
    use std::time::Duration;

    #[cfg(not(loom))]
    pub(crate) use std::thread::{Thread, current};

    #[cfg(loom)]
    pub(crate) use loom::thread::{Thread, current};

    /// Blocks until the thread's token is given, or until the time is up, or for no reason at all.
    #[cfg(not(loom))]
    pub(crate) fn park(timeout: Option<Duration>) {
        match timeout {
            Some(timeout) => std::thread::park_timeout(timeout),
            None => std::thread::park(),
        }
    }

    /// Blocks until the thread's token is given; a model has no clock, so the timeout never comes.
    #[cfg(loom)]
    pub(crate) fn park(_timeout: Option<Duration>) {
        loom::thread::park();
    }
}

/// Waits on a condition, and goes on where a holder of the lock panicked; for the reason that [`lock`] gives.
pub(crate) fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condition.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// As [`wait`], but no longer than `limit`; may return early, so the caller looks again.
pub(crate) fn wait_for<'a, T>(
    condition: &Condvar,
    guard: MutexGuard<'a, T>,
    limit: std::time::Duration,
) -> (MutexGuard<'a, T>, bool) {
    let (guard, outcome) =
        condition.wait_timeout(guard, limit).unwrap_or_else(std::sync::PoisonError::into_inner);
    (guard, outcome.timed_out())
}

/// Locks, and goes on where a holder panicked.
///
/// Every critical section of the runtime is a few moves that leave the value whole at each step, so a poisoned lock
/// tells nothing; turning it into a second panic would only take down a core that other jobs share.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
