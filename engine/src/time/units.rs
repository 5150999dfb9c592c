//! Durations as jobs write them: `minutes(5)`, `hours(1)`.
//!
//! Every function is `const` and saturates at [`Duration::MAX`] or [`i64::MAX`] instead of overflowing, so a window of
//! `days(u64::MAX)` is simply longer than any stream.

use std::time::Duration;

/// `n` milliseconds.
pub const fn milliseconds(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// `n` seconds.
pub const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// `n` minutes.
///
/// ```
/// use thalweg::time::{minutes, seconds};
/// assert_eq!(minutes(5), seconds(300));
/// ```
pub const fn minutes(n: u64) -> Duration {
    Duration::from_secs(n.saturating_mul(60))
}

/// `n` hours.
pub const fn hours(n: u64) -> Duration {
    Duration::from_secs(n.saturating_mul(60 * 60))
}

/// `n` days of 24 hours.
pub const fn days(n: u64) -> Duration {
    Duration::from_secs(n.saturating_mul(24 * 60 * 60))
}

/// A duration in whole milliseconds, the unit of timestamps; rounds down and saturates.
///
/// ```
/// use thalweg::time::{duration_ms, minutes};
/// assert_eq!(duration_ms(minutes(1)), 60_000);
/// ```
pub const fn duration_ms(duration: Duration) -> i64 {
    let ms = duration.as_millis();
    // `as` is the only conversion allowed in a `const fn`; the comparison makes it exact.
    if ms > i64::MAX as u128 { i64::MAX } else { ms as i64 }
}

/// A time relative to another one: earlier or later. A plain [`Duration`] is later.
///
/// ```
/// use thalweg::time::{RelativeTime, after, before, seconds};
/// assert_eq!(before(seconds(2)).ms(), -2_000);
/// assert_eq!(after(seconds(2)), RelativeTime::from(seconds(2)));
/// assert!(before(seconds(2)) < RelativeTime::from_ms(0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativeTime(i64);

impl RelativeTime {
    /// `ms` milliseconds later; earlier if negative.
    pub const fn from_ms(ms: i64) -> Self {
        RelativeTime(ms)
    }

    /// In milliseconds; negative for earlier.
    pub const fn ms(self) -> i64 {
        self.0
    }
}

impl From<Duration> for RelativeTime {
    fn from(later: Duration) -> Self {
        after(later)
    }
}

/// Earlier by `duration`.
pub const fn before(duration: Duration) -> RelativeTime {
    RelativeTime(-duration_ms(duration))
}

/// Later by `duration`.
pub const fn after(duration: Duration) -> RelativeTime {
    RelativeTime(duration_ms(duration))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_agree_with_each_other() {
        assert_eq!(milliseconds(1_000), seconds(1));
        assert_eq!(seconds(60), minutes(1));
        assert_eq!(minutes(60), hours(1));
        assert_eq!(hours(24), days(1));
    }

    #[test]
    fn the_largest_counts_saturate() {
        for longest in [seconds(u64::MAX), minutes(u64::MAX), hours(u64::MAX), days(u64::MAX)] {
            assert_eq!(longest, Duration::from_secs(u64::MAX));
            assert_eq!(duration_ms(longest), i64::MAX);
        }
        assert_eq!(milliseconds(u64::MAX).as_millis(), u128::from(u64::MAX));
    }

    #[test]
    fn duration_ms_rounds_down_and_saturates_at_the_edge() {
        assert_eq!(duration_ms(Duration::from_nanos(1_999_999)), 1);
        assert_eq!(duration_ms(milliseconds(i64::MAX as u64)), i64::MAX);
        assert_eq!(duration_ms(milliseconds(i64::MAX as u64 + 1)), i64::MAX);
        assert_eq!(duration_ms(milliseconds(i64::MAX as u64 - 1)), i64::MAX - 1);
    }
}
