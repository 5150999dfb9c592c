//! [`TimestampAssigner`] and the assigners that come with the engine.

use crate::Result;
use crate::time::StrategyState;

/// Assigns event timestamps.
///
/// Costs a call a record, which is compiled into the operator. [`WatermarkStrategy::with_timestamp`](crate::time::WatermarkStrategy::with_timestamp)
/// takes a closure where the record tells all.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
/// use thalweg::record::NO_TIMESTAMP;
/// use thalweg::testing::{OperatorHarness, OutputEvent};
/// use thalweg::time::TimestampAssigner;
///
/// /// Trusts the source, and where it is silent the record.
/// #[derive(Clone)]
/// struct SourceFirst;
///
/// impl TimestampAssigner<i64> for SourceFirst {
///     fn timestamp_ms(&mut self, record: &i64, recorded_ms: i64) -> i64 {
///         if recorded_ms == NO_TIMESTAMP { *record } else { recorded_ms }
///     }
/// }
///
/// let mut harness = OperatorHarness::new(|records: DataStream<i64>| {
///     let strategy = WatermarkStrategy::none().with_timestamp_assigner(SourceFirst);
///     records.assign_timestamps_and_watermarks(strategy)
/// });
/// harness.push(5, 100);
/// harness.push_untimed(6);
/// let stamped = [(5, 100), (6, 6)];
/// let stamped = stamped.map(|(value, at)| OutputEvent::Record { value, timestamp_ms: Some(at) });
/// assert_eq!(harness.events(), stamped);
/// ```
pub trait TimestampAssigner<T>: 'static {
    /// The timestamp in milliseconds; `recorded_ms` is the one that the source or an earlier assigner gave
    /// ([`NO_TIMESTAMP`](crate::record::NO_TIMESTAMP) for none).
    fn timestamp_ms(&mut self, record: &T, recorded_ms: i64) -> i64;

    /// [`timestamp_ms`](Self::timestamp_ms) with a look at the wall clock, which is what the engine calls.
    #[inline(always)]
    fn timestamp_at_ms(&mut self, record: &T, recorded_ms: i64, _now_ms: i64) -> i64 {
        self.timestamp_ms(record, recorded_ms)
    }

    /// What a checkpoint keeps of the assigner: by default nothing, and a restart begins with a new one.
    ///
    /// # Errors
    /// An error fails the checkpoint, not the job.
    fn snapshot_state(&self) -> Result<StrategyState> {
        Ok(StrategyState::none())
    }

    /// Goes on from what [`snapshot_state`](Self::snapshot_state) gave; called on a fresh clone, and not if that was nothing.
    ///
    /// # Errors
    /// An error fails the start of the job.
    fn restore_state(&mut self, _state: &StrategyState) -> Result {
        Ok(())
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
///
/// Results differ from run to run. Costs a comparison a record: the clock is read once a batch.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
/// use thalweg::testing::{OperatorHarness, OutputEvent};
///
/// let mut harness = OperatorHarness::new(|clicks: DataStream<char>| {
///     clicks.assign_timestamps_and_watermarks(WatermarkStrategy::ingestion_time())
/// });
/// harness.set_clock_ms(1_000);
/// harness.push_untimed('a');
/// assert_eq!(
///     harness.events(),
///     [OutputEvent::Record { value: 'a', timestamp_ms: Some(1_000) }, OutputEvent::Watermark(999)]
/// );
/// ```
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
    fn snapshot_state(&self) -> Result<StrategyState> {
        StrategyState::of(&self.latest_ms)
    }
    fn restore_state(&mut self, state: &StrategyState) -> Result {
        self.latest_ms = state.value()?;
        Ok(())
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
