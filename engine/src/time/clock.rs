//! The clock: the only code of the crate that asks what time it is.
//!
//! 1. A shell reads the clock once a round and writes it into the cells of
//!    [`CoreServices`](crate::runtime::CoreServices); tasks read the cells.
//! 2. [`SystemClock`] is the machine's clock, [`ManualClock`] one that a test or the seeded shell moves by hand.
//!
//! **Invariants**
//! - `monotonic_ns` never goes back, and two `SystemClock`s of one process count from the same origin, so a reading
//!   taken on one core can be compared with one taken on another.
//! - `wall_ms` may jump in both directions (somebody sets the clock); nothing but processing time rests on it.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Instant, SystemTime};

/// Where a shell reads the time.
pub trait Clock: Send + Sync {
    /// Wall clock: milliseconds since 1970-01-01 UTC, negative before.
    fn wall_ms(&self) -> i64;

    /// Nanoseconds since an origin that is fixed for the life of the clock; never goes back.
    fn monotonic_ns(&self) -> u64;

    /// Must processing-time timers wait although their time has come? So between the steps of a test driver, whose
    /// clock fires timers in steps of its own. Asked before [`wall_ms`](Self::wall_ms): where the answer is no, the
    /// time that is read next is that of the step.
    #[doc(hidden)]
    fn holds_timers(&self) -> bool {
        false
    }
}

/// The origin of all [`SystemClock`]s of the process.
static ORIGIN: OnceLock<Instant> = OnceLock::new();

/// The machine's clock.
///
/// # Examples
///
/// ```
/// use thalweg::time::{Clock, SystemClock};
///
/// let clock = SystemClock::new();
/// let before_ns = clock.monotonic_ns();
/// assert!(clock.monotonic_ns() >= before_ns);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock that shares its monotonic origin with every other `SystemClock` of this process.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: *ORIGIN.get_or_init(instant_now) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one reader of the wall clock")]
    fn wall_ms(&self) -> i64 {
        match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        }
    }

    fn monotonic_ns(&self) -> u64 {
        // 2^64 ns are 584 years after the origin.
        u64::try_from(instant_now().saturating_duration_since(self.origin).as_nanos())
            .unwrap_or(u64::MAX)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one reader of the monotonic clock")]
fn instant_now() -> Instant {
    Instant::now()
}

/// A clock that stands still until it is moved; share it in an `Arc`.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use thalweg::time::{Clock, ManualClock};
///
/// let clock = Arc::new(ManualClock::at_ms(1_000));
/// clock.advance_ms(250);
/// assert_eq!(clock.wall_ms(), 1_250);
/// assert_eq!(clock.monotonic_ns(), 250_000_000);
/// ```
#[derive(Debug, Default)]
pub struct ManualClock {
    /// Written by whoever moves the clock, read by all; publishes nothing but itself.
    wall_ms: AtomicI64,
    /// As `wall_ms`; only ever grows.
    monotonic_ns: AtomicU64,
}

impl ManualClock {
    /// A clock whose wall shows `wall_ms` and whose monotonic side shows zero.
    #[must_use]
    pub fn at_ms(wall_ms: i64) -> Self {
        Self { wall_ms: AtomicI64::new(wall_ms), monotonic_ns: AtomicU64::new(0) }
    }

    /// Moves both sides on.
    pub fn advance_ms(&self, by_ms: u64) {
        self.wall_ms.fetch_add(i64::try_from(by_ms).unwrap_or(i64::MAX), Ordering::Relaxed);
        self.advance_monotonic_ns(by_ms.saturating_mul(1_000_000));
    }

    /// Moves the monotonic side alone.
    pub fn advance_monotonic_ns(&self, by_ns: u64) {
        self.monotonic_ns.fetch_add(by_ns, Ordering::Relaxed);
    }

    /// Sets the wall as an administrator would, backwards too; the monotonic side does not notice.
    pub fn set_wall_ms(&self, wall_ms: i64) {
        self.wall_ms.store(wall_ms, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> i64 {
        self.wall_ms.load(Ordering::Relaxed)
    }

    fn monotonic_ns(&self) -> u64 {
        self.monotonic_ns.load(Ordering::Relaxed)
    }
}

/// A clock that shows the time of another, which can be exchanged: executors outlive the clocks they are lent.
pub(crate) struct LentClock(Mutex<Arc<dyn Clock>>);

impl LentClock {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Mutex::new(clock))
    }

    /// Shows the time of `clock` from now on.
    pub(crate) fn lend(&self, clock: Arc<dyn Clock>) {
        *self.current() = clock;
    }

    fn current(&self) -> MutexGuard<'_, Arc<dyn Clock>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for LentClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LentClock").finish_non_exhaustive()
    }
}

impl Clock for LentClock {
    fn wall_ms(&self) -> i64 {
        self.current().wall_ms()
    }
    fn monotonic_ns(&self) -> u64 {
        self.current().monotonic_ns()
    }
    fn holds_timers(&self) -> bool {
        self.current().holds_timers()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_clocks_share_their_origin() {
        let first = SystemClock::new();
        let before_ns = first.monotonic_ns();
        let second = SystemClock::new();
        assert!(second.monotonic_ns() >= before_ns);
        // 2020-01-01: a machine that thinks it is earlier has no business running this test.
        assert!(second.wall_ms() > 1_577_836_800_000);
    }

    #[test]
    fn a_set_wall_does_not_move_the_monotonic_side() {
        let clock = ManualClock::at_ms(5_000);
        clock.advance_ms(2);
        clock.set_wall_ms(-7);
        assert_eq!((clock.wall_ms(), clock.monotonic_ns()), (-7, 2_000_000));
    }
}
