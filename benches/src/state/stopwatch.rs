//! Times of single operations: the processor's time-stamp counter where there is one (reading it
//! costs a fifth of what the clock does), histograms of nanoseconds.

use crate::now_ns;
use hdrhistogram::Histogram;

/// Longer calls are counted as this long: ten minutes.
const LONGEST_NS: u64 = 600_000_000_000;
/// How long the counter is compared with the clock.
const CALIBRATION_NS: u64 = 20_000_000;

/// A point in time, in ticks: after all that comes before it in the program, before all that comes
/// after. Without the fences the processor reads the counter while a load is still on its way, and a
/// lookup in 10 M keys seems to take 10 ns.
#[inline(always)]
pub(super) fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        fence();
        // SAFETY: every x86-64 processor has the instruction; it reads a counter and nothing else.
        let ticks = unsafe { std::arch::x86_64::_rdtsc() };
        fence();
        ticks
    }
    #[cfg(not(target_arch = "x86_64"))]
    now_ns()
}

/// Waits for all instructions before it.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn fence() {
    // SAFETY: every x86-64 processor has the instruction; it changes nothing.
    unsafe { std::arch::x86_64::_mm_lfence() };
}

/// Turns ticks into nanoseconds.
#[derive(Clone, Copy)]
pub(super) struct Ticks {
    ns_per_tick: f64,
}

impl Ticks {
    /// Compares the counter with the clock for 20 ms.
    pub(super) fn calibrate() -> Self {
        let (begin_ns, begin) = (now_ns(), ticks());
        let mut end_ns = begin_ns;
        while end_ns - begin_ns < CALIBRATION_NS {
            end_ns = now_ns();
        }
        let ticks_passed = ticks().saturating_sub(begin).max(1);
        Ticks { ns_per_tick: (end_ns - begin_ns) as f64 / ticks_passed as f64 }
    }

    pub(super) fn to_ns(self, ticks: u64) -> u64 {
        (ticks as f64 * self.ns_per_tick) as u64
    }
}

/// How long calls took.
pub(super) struct Latencies {
    ticks: Ticks,
    histogram: Histogram<u64>,
}

impl Latencies {
    pub(super) fn new(ticks: Ticks) -> Self {
        // A fixed size, so that recording never allocates.
        let histogram = Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("valid bounds");
        Latencies { ticks, histogram }
    }

    /// Times one call.
    #[inline(always)]
    pub(super) fn time<R>(&mut self, call: impl FnOnce() -> R) -> R {
        let begin = ticks();
        let result = call();
        let taken = ticks().saturating_sub(begin);
        self.record_ns(self.ticks.to_ns(taken));
        result
    }

    #[inline]
    pub(super) fn record_ns(&mut self, taken_ns: u64) {
        self.histogram.saturating_record(taken_ns.clamp(1, LONGEST_NS));
    }

    pub(super) fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The time that a share of the calls stayed within.
    pub(super) fn quantile_ns(&self, share: f64) -> u64 {
        self.histogram.value_at_quantile(share)
    }

    pub(super) fn longest_ns(&self) -> u64 {
        self.histogram.max()
    }
}

/// The longest call of a sequence that is repeated: of each stretch of calls the shortest of its
/// longest calls counts. What the machine adds (another process, the host) falls on another stretch
/// each time; growth of a table falls on the same.
pub(super) struct Longest {
    ticks: Ticks,
    /// Of each stretch, the shortest of the longest calls so far, in ticks.
    stretches: Vec<u64>,
    /// The longest call of all, noise and all.
    raw: u64,
    /// Calls so far in this repetition.
    position: usize,
    current: u64,
}

/// Calls of a stretch.
const STRETCH: usize = 256;

impl Longest {
    pub(super) fn new(ticks: Ticks) -> Self {
        Longest { ticks, stretches: Vec::new(), raw: 0, position: 0, current: 0 }
    }

    /// The sequence begins again.
    pub(super) fn restart(&mut self) {
        self.end_stretch();
        self.position = 0;
    }

    #[inline(always)]
    pub(super) fn time<R>(&mut self, call: impl FnOnce() -> R) -> R {
        let begin = ticks();
        let result = call();
        self.current = self.current.max(ticks().saturating_sub(begin));
        self.position += 1;
        if self.position.is_multiple_of(STRETCH) {
            self.end_stretch();
        }
        result
    }

    fn end_stretch(&mut self) {
        let longest = std::mem::take(&mut self.current);
        let Some(stretch) = self.position.checked_sub(1).map(|last| last / STRETCH) else { return };
        if longest == 0 {
            return;
        }
        self.raw = self.raw.max(longest);
        match self.stretches.get_mut(stretch) {
            Some(shortest) => *shortest = longest.min(*shortest),
            None => self.stretches.push(longest),
        }
    }

    /// The longest call that came again in every repetition.
    pub(super) fn repeated_ns(&self) -> u64 {
        self.ticks.to_ns(self.stretches.iter().copied().max().unwrap_or(0))
    }

    /// The longest call of all.
    pub(super) fn raw_ns(&self) -> u64 {
        self.ticks.to_ns(self.raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_follow_the_clock() {
        let ticks_per = Ticks::calibrate();
        let (begin_ns, begin) = (now_ns(), ticks());
        while now_ns() - begin_ns < 2_000_000 {}
        let by_ticks = ticks_per.to_ns(ticks() - begin);
        assert!(by_ticks >= 1_500_000, "{by_ticks}");
    }

    #[test]
    fn only_what_comes_again_is_the_longest_call() {
        let mut longest = Longest::new(Ticks { ns_per_tick: 1.0 });
        // Repetition, position, ticks.
        let calls = [(0, 300, 5_000), (0, 10, 70), (1, 10, 60), (1, 600, 9_000)];
        for repetition in 0..2 {
            longest.restart();
            for position in 0..700 {
                let of = |call: &&(usize, usize, u64)| (call.0, call.1) == (repetition, position);
                longest.current = longest.current.max(calls.iter().find(of).map_or(1, |c| c.2));
                longest.position += 1;
                if longest.position.is_multiple_of(STRETCH) {
                    longest.end_stretch();
                }
            }
        }
        longest.restart();
        assert_eq!((longest.repeated_ns(), longest.raw_ns()), (60, 9_000));
    }
}
