//! Gaps between two readings of a clock that is read all the time, and what they would do to events.
//!
//! An event that falls into a gap waits until its end. With `T` the time watched, an event comes at any time alike, so it waits
//! longer than `x` with the probability `sum(max(0, gap - x)) / T`: a gap counts by its length, not as one among many. From that
//! follow the quantiles of the delay, which compare with those of a system that is fed at a steady rate.

use super::latencies::new_histogram;
use hdrhistogram::Histogram;

/// Shorter ones are the loop itself.
const GAP_NS_MIN: u64 = 1_000;

/// The gaps that one thread has seen.
#[derive(Clone)]
pub struct Gaps {
    last_ns: Option<u64>,
    watched_ns: u64,
    gaps: Histogram<u64>,
}

impl Default for Gaps {
    fn default() -> Self {
        Gaps { last_ns: None, watched_ns: 0, gaps: new_histogram() }
    }
}

impl Gaps {
    /// The clock was read.
    #[inline]
    pub fn saw(&mut self, now_ns: u64) {
        let gap_ns = now_ns - self.last_ns.unwrap_or(now_ns);
        self.last_ns = Some(now_ns);
        self.watched_ns += gap_ns;
        if gap_ns >= GAP_NS_MIN {
            self.gaps.saturating_record(gap_ns);
        }
    }

    /// Takes what another thread has seen.
    pub fn add(&mut self, other: &Gaps) {
        self.watched_ns += other.watched_ns;
        self.gaps += &other.gaps;
    }

    /// For those who send them elsewhere: the gaps, and how long was watched in nanoseconds.
    pub(super) fn parts(&mut self) -> (&mut Histogram<u64>, &mut u64) {
        (&mut self.gaps, &mut self.watched_ns)
    }

    /// How many there were of at least a microsecond.
    pub fn count(&self) -> u64 {
        self.gaps.len()
    }

    /// The longest, in nanoseconds.
    pub fn longest_ns(&self) -> u64 {
        self.gaps.max()
    }

    /// How long an event at any time would have waited at most, with this probability; in nanoseconds.
    pub fn delay_quantile_ns(&self, quantile: f64) -> f64 {
        let gaps: Vec<_> = self
            .gaps
            .iter_recorded()
            .map(|at| (at.value_iterated_to() as f64, at.count_at_value() as f64))
            .collect();
        delay_quantile(&gaps, self.watched_ns as f64, quantile)
    }
}

/// The same over lengths in ascending order, each with how often it was.
fn delay_quantile(gaps: &[(f64, f64)], watched: f64, quantile: f64) -> f64 {
    let allowed = (1.0 - quantile) * watched;
    // From the longest down: above a length `x`, those that are longer have lost `sum(gap) - count * x` of the time.
    let (mut sum, mut count) = (0.0, 0.0);
    for (at, (gap, times)) in gaps.iter().enumerate().rev() {
        sum += gap * times;
        count += times;
        let next_shorter = if at == 0 { 0.0 } else { gaps[at - 1].0 };
        if sum - count * next_shorter >= allowed {
            return ((sum - allowed) / count).max(0.0);
        }
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(gaps: &[(f64, f64)], quantile: f64, expected: f64) {
        let found = delay_quantile(gaps, 1_000_000.0, quantile);
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }

    #[test]
    fn a_gap_counts_by_its_length() {
        check(&[], 0.999, 0.0);
        // One gap of a tenth of the time: of all events 1 in 100 waits more than 90,000.
        check(&[(100_000.0, 1.0)], 0.99, 90_000.0);
        check(&[(100_000.0, 1.0)], 0.9, 0.0);
        // Less time than is allowed to be lost.
        check(&[(500.0, 1.0)], 0.999, 0.0);
        // Two of the same length lose twice as much.
        check(&[(100_000.0, 2.0)], 0.99, 95_000.0);
        // Above 10,000 the long one alone counts, below it both do.
        check(&[(10_000.0, 4.0), (20_000.0, 1.0)], 0.99, 10_000.0);
        check(&[(10_000.0, 4.0), (20_000.0, 1.0)], 0.98, 8_000.0);
    }

    #[test]
    fn readings_become_gaps() {
        let mut gaps = Gaps::default();
        for now_ns in [100, 400, 5_400, 5_500, 1_000_100] {
            gaps.saw(now_ns);
        }
        assert_eq!((gaps.count(), gaps.watched_ns), (2, 1_000_000));
        assert!(gaps.longest_ns() >= 994_600);
        let mut both = gaps.clone();
        both.add(&gaps);
        assert_eq!((both.count(), both.watched_ns), (4, 2_000_000));
    }
}
