//! The clock of a test: stands still, is moved by the driver, and fires timers only when it is.
//!
//! Between two steps of the clock processing-time timers are held, also those that are due already: a timer that is
//! registered for the past fires at the next step of the clock, and not in the middle of an element's.
//!
//! **Invariant**: the wall is set before timers are let go, and read after it is known that they are (see
//! [`Clock::holds_timers`]), so a timer never sees the time before the step that fires it.

use crate::time::{Clock, ManualClock};
use std::sync::atomic::{AtomicBool, Ordering};

/// See the module docs.
#[derive(Debug)]
pub(crate) struct StepClock {
    manual: ManualClock,
    /// Lowered by the driver with Release after the wall was set; read by cores with Acquire before they read the wall.
    holds: AtomicBool,
}

impl StepClock {
    pub(crate) fn new() -> Self {
        Self { manual: ManualClock::default(), holds: AtomicBool::new(true) }
    }

    /// Sets the wall, moves the monotonic side on by as much, and lets timers go.
    pub(crate) fn step_to_ms(&self, wall_ms: i64) {
        let by_ms = wall_ms.saturating_sub(self.manual.wall_ms());
        self.manual
            .advance_monotonic_ns(u64::try_from(by_ms).unwrap_or(0).saturating_mul(1_000_000));
        self.manual.set_wall_ms(wall_ms);
        self.holds.store(false, Ordering::Release);
    }

    /// The step is over.
    pub(crate) fn hold(&self) {
        self.holds.store(true, Ordering::Release);
    }
}

impl Clock for StepClock {
    fn wall_ms(&self) -> i64 {
        self.manual.wall_ms()
    }
    fn monotonic_ns(&self) -> u64 {
        self.manual.monotonic_ns()
    }
    fn holds_timers(&self) -> bool {
        self.holds.load(Ordering::Acquire)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn timers_go_at_a_step_alone_and_a_step_back_moves_the_wall_alone() {
        let clock = StepClock::new();
        assert_eq!((clock.wall_ms(), clock.holds_timers()), (0, true));
        clock.step_to_ms(250);
        assert_eq!((clock.wall_ms(), clock.monotonic_ns()), (250, 250_000_000));
        assert!(!clock.holds_timers());
        clock.hold();
        assert!(clock.holds_timers());
        clock.step_to_ms(100);
        assert_eq!((clock.wall_ms(), clock.monotonic_ns()), (100, 250_000_000));
        clock.step_to_ms(i64::MAX);
        assert_eq!(clock.wall_ms(), i64::MAX);
    }
}
