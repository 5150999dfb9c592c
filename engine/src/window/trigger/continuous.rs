//! Triggers that fire again and again while a window is open.

use super::time::fire_if;
use crate::Result;
use crate::function::{RuntimeContext, TimeDomain};
use crate::state::{ValueState, ValueStateDescriptor};
use crate::time::duration_ms;
use crate::window::{OnMergeContext, Trigger, TriggerContext, TriggerResult, Window, WindowError};
use std::time::Duration;

/// When a window fires next.
type NextFire = ValueState<i64>;

/// The first multiple of the interval after `at_ms`, as Flink finds it: before the epoch it is a multiple that lies up
/// to two intervals ahead.
fn next_multiple(at_ms: i64, interval_ms: i64) -> i64 {
    at_ms.wrapping_sub(at_ms % interval_ms).saturating_add(interval_ms)
}

/// What both triggers do, each by its clock.
#[derive(Clone, Debug)]
struct Continuous {
    domain: TimeDomain,
    interval_ms: i64,
    next: NextFire,
}

impl Continuous {
    fn new(domain: TimeDomain, interval: Duration) -> Self {
        Continuous { domain, interval_ms: duration_ms(interval), next: NextFire::default() }
    }

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        self.next = context.value_state(ValueStateDescriptor::new("trigger: next fire"))?;
        Ok(())
    }

    /// An element has come at `at_ms`: the first one schedules the first firing.
    fn begin<W: Window>(
        &self,
        at_ms: i64,
        window: &W,
        context: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult> {
        if self.next.value(context)?.is_none() {
            self.schedule(next_multiple(at_ms, self.interval_ms), window, context)?;
        }
        Ok(TriggerResult::Continue)
    }

    fn schedule<W: Window>(
        &self,
        at_ms: i64,
        window: &W,
        context: &mut TriggerContext<'_>,
    ) -> Result<()> {
        let last_ms = window.max_timestamp();
        // At the end of the input a window without an end would fire for each multiple until the end of time.
        let is_last = self.domain == TimeDomain::EventTime
            && last_ms == i64::MAX
            && context.current_watermark() == i64::MAX;
        let at_ms = if is_last { last_ms } else { at_ms.min(last_ms) };
        self.next.update(context, at_ms)?;
        context.register_timer(self.domain, at_ms);
        Ok(())
    }

    fn on_time<W: Window>(
        &self,
        time_ms: i64,
        window: &W,
        context: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult> {
        if time_ms == window.max_timestamp() {
            return Ok(TriggerResult::Fire);
        }
        let is_next = self.next.value(context)? == Some(time_ms);
        if is_next {
            self.schedule(time_ms.saturating_add(self.interval_ms), window, context)?;
        }
        Ok(fire_if(is_next))
    }

    fn on_merge(&self, context: &mut OnMergeContext<'_>) -> Result<()> {
        if let Some(next_ms) = context.merge_value(&self.next, i64::min)? {
            context.window()?.register_timer(self.domain, next_ms);
        }
        Ok(())
    }

    fn clear(&self, context: &mut TriggerContext<'_>) -> Result<()> {
        if let Some(next_ms) = self.next.take(context)? {
            context.delete_timer(self.domain, next_ms);
        }
        Ok(())
    }

    fn validate(&self) -> Result<(), WindowError> {
        if self.interval_ms < 1 {
            let what = "interval of a continuous trigger";
            return Err(WindowError::TooSmall { what, value_ms: self.interval_ms });
        }
        Ok(())
    }
}

/// Fires whenever the watermark passes a multiple of an interval, and at the end of the window: early results of long
/// windows.
///
/// From its first element on a window fires at every multiple, whether new elements came or not; a watermark that passes
/// several multiples fires the window for each of them. At the end of the input a global window fires for the next
/// multiple and for its end, and not, as in Flink, until the end of time.
///
/// Cost: 8 bytes and two timers a key and window.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let counts = env
///     .from_elements([1, 5, 6, 8])
///     .assign_timestamps_and_watermarks(
///         WatermarkStrategy::punctuated(|t: &i64, _| Some(t - 1)).with_timestamp(|t: &i64| *t),
///     )
///     .key_by(|_| 0u8)
///     .window(TumblingEventTimeWindows::of(milliseconds(10)))
///     .trigger(ContinuousEventTimeTrigger::of(milliseconds(4)))
///     .aggregate(Count)
///     .collect();
/// env.execute("every 4 ms")?;
/// assert_eq!(counts.take(), [2, 4, 4]); // at 4, at 8, at the end
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ContinuousEventTimeTrigger(Continuous);

impl ContinuousEventTimeTrigger {
    /// Fires at every multiple of `interval`. Less than 1 ms is refused when the job starts.
    pub fn of(interval: Duration) -> Self {
        ContinuousEventTimeTrigger(Continuous::new(TimeDomain::EventTime, interval))
    }
}

impl<T, W: Window> Trigger<T, W> for ContinuousEventTimeTrigger {
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        self.0.open(context)
    }
    fn on_element(
        &mut self,
        _: &T,
        timestamp: i64,
        window: &W,
        context: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult> {
        if window.max_timestamp() <= context.current_watermark() {
            return Ok(TriggerResult::Fire);
        }
        context.register_event_time_timer(window.max_timestamp());
        self.0.begin(timestamp, window, context)
    }
    fn on_event_time(
        &mut self,
        time_ms: i64,
        window: &W,
        context: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult> {
        self.0.on_time(time_ms, window, context)
    }
    fn can_merge(&self) -> bool {
        true
    }
    fn on_merge(&mut self, _: &W, context: &mut OnMergeContext<'_>) -> Result<()> {
        self.0.on_merge(context)
    }
    fn clear(&mut self, _: &W, context: &mut TriggerContext<'_>) -> Result<()> {
        self.0.clear(context)
    }
    fn validate(&self) -> Result<(), WindowError> {
        self.0.validate()
    }
}

/// Fires whenever the clock reaches a multiple of an interval; in processing-time windows also at their end.
///
/// Event-time windows do not fire when the watermark reaches their end: what came after the last multiple is given up with
/// the window. One whose end the clock has passed (events of the past) fires once more, at the next tick of the clock,
/// and not again.
///
/// Cost: 8 bytes and a timer a key and window.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
/// use thalweg::testing::OperatorHarness;
///
/// let mut harness = OperatorHarness::new(|numbers: DataStream<i64>| {
///     numbers
///         .key_by(|_| 0_u8)
///         .window(TumblingProcessingTimeWindows::of(milliseconds(100)))
///         .trigger(ContinuousProcessingTimeTrigger::of(milliseconds(10)))
///         .aggregate(Count)
/// });
/// harness.push_untimed(7);
/// harness.set_clock_ms(10);
/// assert_eq!(harness.outputs(), [1]);
/// harness.push_untimed(8);
/// harness.set_clock_ms(20);
/// assert_eq!(harness.outputs(), [2]);
/// ```
#[derive(Clone, Debug)]
pub struct ContinuousProcessingTimeTrigger(Continuous);

impl ContinuousProcessingTimeTrigger {
    /// Fires at every multiple of `interval`. Less than 1 ms is refused when the job starts.
    pub fn of(interval: Duration) -> Self {
        ContinuousProcessingTimeTrigger(Continuous::new(TimeDomain::ProcessingTime, interval))
    }
}

impl<T, W: Window> Trigger<T, W> for ContinuousProcessingTimeTrigger {
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        self.0.open(context)
    }
    fn on_element(
        &mut self,
        _: &T,
        _: i64,
        window: &W,
        context: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult> {
        self.0.begin(context.current_processing_time(), window, context)
    }
    fn on_processing_time(
        &mut self,
        time_ms: i64,
        window: &W,
        context: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult> {
        self.0.on_time(time_ms, window, context)
    }
    fn can_merge(&self) -> bool {
        true
    }
    fn on_merge(&mut self, _: &W, context: &mut OnMergeContext<'_>) -> Result<()> {
        self.0.on_merge(context)
    }
    fn clear(&mut self, _: &W, context: &mut TriggerContext<'_>) -> Result<()> {
        self.0.clear(context)
    }
    fn validate(&self) -> Result<(), WindowError> {
        self.0.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiples_are_found_as_in_flink() {
        for (at, interval, next) in
            [(0, 4, 4), (1, 4, 4), (4, 4, 8), (7, 4, 8), (-1, 4, 4), (-4, 4, 0), (-7, 4, 0)]
        {
            assert_eq!(next_multiple(at, interval), next, "{at}");
        }
    }
}
