//! What a core does when there is nothing to do: the idle ladder.
//!
//! ```text
//! worked ─▶ run again
//! idle   ─▶ poll for the spin budget ─▶ raise the flag, look once more ─▶ sleep until woken or a timer is due
//! ```
//!
//! Polling answers in well under a microsecond and costs the core; sleeping costs 20-70 us to wake here, and 9-17 us to
//! the producer that wakes. The policy picks; this file decides, the shells act.

use crate::runtime::core_loop::Round;

/// How readily an idle core sleeps.
///
/// # Examples
///
/// ```
/// use thalweg::runtime::IdlePolicy;
///
/// assert_eq!(IdlePolicy::default(), IdlePolicy::BALANCED);
/// let patient = IdlePolicy { never_park: false, spin_us: 500 };
/// assert!(!patient.never_park);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdlePolicy {
    /// Poll for ever: the lowest latency, at the price of the whole core.
    pub never_park: bool,
    /// How long to poll before sleeping, in microseconds.
    pub spin_us: u32,
}

impl IdlePolicy {
    /// Never sleeps.
    pub const LATENCY: Self = Self { never_park: true, spin_us: 0 };
    /// Polls for 100 us, a few times what a wake-up costs, and then sleeps: it wastes no more than a wake-up would,
    /// and a stream with smaller gaps never pays one.
    pub const BALANCED: Self = Self { never_park: false, spin_us: 100 };
    /// Sleeps at once.
    pub const EFFICIENT: Self = Self { never_park: false, spin_us: 0 };

    /// The budget as one number that orders policies by wakefulness; `u64::MAX` is "never park".
    pub(crate) const fn spin_ns(self) -> u64 {
        if self.never_park { u64::MAX } else { self.spin_us as u64 * 1_000 }
    }
}

impl Default for IdlePolicy {
    fn default() -> Self {
        Self::BALANCED
    }
}

/// What the shell does after a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There may be more: the next round at once.
    Again,
    /// Nothing now: pause for a moment, then the next round.
    Spin,
    /// Nothing for a while: try to sleep.
    Park,
}

/// How long a core has found nothing.
#[derive(Debug, Default)]
pub(crate) struct IdleLadder {
    /// The reading of the monotonic clock in the first round that found nothing; `None` while there is work.
    idle_since_ns: Option<u64>,
}

impl IdleLadder {
    /// The step after `round`, which began at `now_ns`.
    #[inline]
    pub(crate) fn step(&mut self, round: Round, now_ns: u64, spin_ns: u64) -> Step {
        if round.worked {
            self.idle_since_ns = None;
            return Step::Again;
        }
        let since_ns = *self.idle_since_ns.get_or_insert(now_ns);
        if now_ns.saturating_sub(since_ns) >= spin_ns { Step::Park } else { Step::Spin }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spin_ns: u64, rounds: &[(bool, u64)], expected: &[Step]) {
        let mut ladder = IdleLadder::default();
        let steps: Vec<_> = rounds
            .iter()
            .map(|&(worked, now_ns)| {
                ladder.step(Round { worked, next_timer_ms: i64::MAX }, now_ns, spin_ns)
            })
            .collect();
        assert_eq!(steps, expected);
    }

    #[test]
    fn the_ladder_is_climbed_anew_after_work() {
        use Step::{Again, Park, Spin};
        check(0, &[(true, 0), (false, 5), (false, 6)], &[Again, Park, Park]);
        check(10, &[(false, 5), (false, 14), (false, 15)], &[Spin, Spin, Park]);
        check(10, &[(false, 0), (true, 9), (false, 12), (false, 22)], &[Spin, Again, Spin, Park]);
        check(u64::MAX, &[(false, 0), (false, u64::MAX - 1)], &[Spin, Spin]);
    }
}
