//! [`TimestampAssigner`] and the assigners that come with the engine.

/// Assigns event timestamps.
pub trait TimestampAssigner<T>: 'static {
    /// The timestamp in milliseconds; `recorded_ms` is the one that the source or an earlier assigner gave
    /// ([`NO_TIMESTAMP`](crate::record::NO_TIMESTAMP) for none).
    fn timestamp_ms(&mut self, record: &T, recorded_ms: i64) -> i64;

    /// [`timestamp_ms`](Self::timestamp_ms) with a look at the wall clock, which is what the engine calls.
    #[inline(always)]
    fn timestamp_at_ms(&mut self, record: &T, recorded_ms: i64, _now_ms: i64) -> i64 {
        self.timestamp_ms(record, recorded_ms)
    }
}

/// Keeps the timestamp that a record already has.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordedTimestamps;

impl<T> TimestampAssigner<T> for RecordedTimestamps {
    #[inline(always)]
    fn timestamp_ms(&mut self, _: &T, recorded_ms: i64) -> i64 {
        recorded_ms
    }
}

/// Reads the timestamp from the record.
#[derive(Clone)]
pub struct ByFunction<F>(pub(super) F);

impl<T: 'static, F: FnMut(&T) -> i64 + 'static> TimestampAssigner<T> for ByFunction<F> {
    #[inline(always)]
    fn timestamp_ms(&mut self, record: &T, _: i64) -> i64 {
        (self.0)(record)
    }
}

/// The wall clock as of the batch in which the record came; where the clock is set back, the latest one so far.
#[derive(Clone, Debug)]
pub struct IngestionTime {
    latest_ms: i64,
}

impl Default for IngestionTime {
    fn default() -> Self {
        IngestionTime { latest_ms: i64::MIN }
    }
}

impl<T> TimestampAssigner<T> for IngestionTime {
    #[inline(always)]
    fn timestamp_ms(&mut self, _: &T, _: i64) -> i64 {
        self.latest_ms
    }
    #[inline(always)]
    fn timestamp_at_ms(&mut self, _: &T, _: i64, now_ms: i64) -> i64 {
        self.latest_ms = self.latest_ms.max(now_ms);
        self.latest_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ingestion_time_does_not_fall_when_the_clock_does() {
        let mut assigner = IngestionTime::default();
        let stamped = [1_000, 1_005, 900, 1_006].map(|now| assigner.timestamp_at_ms(&(), 7, now));
        assert_eq!(stamped, [1_000, 1_005, 1_005, 1_006]);
    }
}
