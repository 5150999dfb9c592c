//! [`WatermarkGenerator`] and the generators that come with the engine.

use crate::Result;
use crate::time::{StrategyState, WatermarkOutput, duration_ms};
use std::time::Duration;

/// Makes watermarks from the records it sees: each subtask has its own, or each split of a source.
///
/// It sees every record, and is asked at *ticks*: after each batch while the option `auto_watermark_interval_ms` is 0 (the
/// default), else each time that many milliseconds of processing time have passed. It may emit in both calls.
///
/// # Examples
/// Records that announce what is complete, and a limit to how far time may fall behind in between:
/// ```
/// use thalweg::prelude::*;
/// use thalweg::time::WatermarkOutput;
///
/// struct Reading { at: i64, closes_hour: bool }
///
/// #[derive(Clone, Default)]
/// struct Hourly { newest: Option<i64> }
///
/// impl WatermarkGenerator<Reading> for Hourly {
///     fn on_event(&mut self, reading: &Reading, timestamp_ms: i64, out: &mut WatermarkOutput) {
///         self.newest = self.newest.max(Some(timestamp_ms));
///         if reading.closes_hour {
///             out.emit_watermark(timestamp_ms);
///         }
///     }
///     fn on_periodic(&mut self, out: &mut WatermarkOutput) {
///         if let Some(newest) = self.newest {
///             out.emit_watermark(newest - 2 * 3_600_000);
///         }
///     }
/// }
/// let strategy = WatermarkStrategy::for_generator(Hourly::default()).with_timestamp(|r: &Reading| r.at);
/// # let _ = strategy;
/// ```
pub trait WatermarkGenerator<T>: 'static {
    /// Do watermarks that [`on_event`](Self::on_event) emits leave right behind their record? Records of the same batch
    /// then wait until they have. A generator that emits at ticks only says `false`, which saves a look at the output for
    /// each record; should it emit in `on_event` all the same, that leaves with the next tick.
    const PUNCTUATED: bool = true;

    /// Sees each record with its timestamp (ms).
    fn on_event(&mut self, record: &T, timestamp_ms: i64, out: &mut WatermarkOutput);

    /// Called at each tick.
    fn on_periodic(&mut self, out: &mut WatermarkOutput);

    /// What a checkpoint keeps of the generator: by default nothing.
    ///
    /// Then a restart begins with a new one, that knows nothing of the records before. Watermarks do not fall all the
    /// same, because what was said is kept beside the generator; but what it had seen and not said yet is lost, so that the
    /// next watermark may come later than without the restart, and a record may be on time that would have been late.
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

/// Watermark = largest timestamp − delay − 1 ms. Nothing before the first record.
#[derive(Clone, Debug)]
pub struct BoundedOutOfOrderness {
    delay_ms: i64,
    max_ms: i64,
}

impl BoundedOutOfOrderness {
    /// Records may be late by up to `delay`.
    pub fn new(delay: Duration) -> Self {
        BoundedOutOfOrderness { delay_ms: duration_ms(delay), max_ms: i64::MIN }
    }
}

impl<T> WatermarkGenerator<T> for BoundedOutOfOrderness {
    const PUNCTUATED: bool = false;
    #[inline(always)]
    fn on_event(&mut self, _: &T, timestamp_ms: i64, _: &mut WatermarkOutput) {
        self.max_ms = self.max_ms.max(timestamp_ms);
    }
    #[inline(always)]
    fn on_periodic(&mut self, out: &mut WatermarkOutput) {
        // Before the first record this is the lowest watermark of all, which says nothing but that a split is alive.
        out.emit_watermark(self.max_ms.saturating_sub(self.delay_ms).saturating_sub(1));
    }
    fn snapshot_state(&self) -> Result<StrategyState> {
        StrategyState::of(&self.max_ms)
    }
    fn restore_state(&mut self, state: &StrategyState) -> Result {
        self.max_ms = state.value()?;
        Ok(())
    }
}

/// No watermarks: event time stands still until the end of input.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWatermarks;

impl<T> WatermarkGenerator<T> for NoWatermarks {
    const PUNCTUATED: bool = false;
    #[inline(always)]
    fn on_event(&mut self, _: &T, _: i64, _: &mut WatermarkOutput) {}
    #[inline(always)]
    fn on_periodic(&mut self, _: &mut WatermarkOutput) {}
}

/// Watermarks that certain records carry. What its function keeps from one record to the next is not in checkpoints.
#[derive(Clone)]
pub struct Punctuated<F>(pub(super) F);

impl<T: 'static, F: FnMut(&T, i64) -> Option<i64> + 'static> WatermarkGenerator<T>
    for Punctuated<F>
{
    fn on_event(&mut self, record: &T, timestamp_ms: i64, out: &mut WatermarkOutput) {
        if let Some(watermark_ms) = (self.0)(record, timestamp_ms) {
            out.emit_watermark(watermark_ms);
        }
    }
    fn on_periodic(&mut self, _: &mut WatermarkOutput) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Control;

    fn bounded(delay: Duration, timestamps: &[i64]) -> i64 {
        let (mut generator, mut out) = (BoundedOutOfOrderness::new(delay), WatermarkOutput::new());
        timestamps.iter().for_each(|ms| generator.on_event(&(), *ms, &mut out));
        assert!(out.is_empty());
        WatermarkGenerator::<()>::on_periodic(&mut generator, &mut out);
        match out.take()[..] {
            [Control::Watermark(watermark)] => watermark,
            ref other => panic!("one watermark, not {other:?}"),
        }
    }

    #[test]
    fn bounded_is_the_largest_timestamp_less_delay_less_one() {
        assert_eq!(bounded(Duration::from_millis(3), &[10, 8, 15, 14]), 11);
        assert_eq!(bounded(Duration::ZERO, &[10, 10]), 9);
        assert_eq!(bounded(Duration::from_millis(3), &[-10]), -14);
    }

    #[test]
    fn bounded_saturates_at_the_lowest_watermark() {
        for delay in [Duration::ZERO, Duration::MAX] {
            assert_eq!(bounded(delay, &[]), i64::MIN);
            assert_eq!(bounded(delay, &[i64::MIN, i64::MIN + 1]), i64::MIN);
        }
        // The first watermark that says anything is the one after it.
        assert_eq!(bounded(Duration::from_millis(5), &[i64::MIN + 6]), i64::MIN);
        assert_eq!(bounded(Duration::from_millis(5), &[i64::MIN + 7]), i64::MIN + 1);
        assert_eq!(bounded(Duration::MAX, &[0]), i64::MIN);
        assert_eq!(bounded(Duration::MAX, &[i64::MAX]), -1);
        assert_eq!(bounded(Duration::ZERO, &[i64::MAX]), i64::MAX - 1);
    }
}
