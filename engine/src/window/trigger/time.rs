//! Triggers at the end of a window: by watermarks, by the clock, at the end of the input, never.

use crate::Result;
use crate::window::{OnMergeContext, Trigger, TriggerContext, TriggerResult, Window};

/// Fires when the watermark passes the end of the window, and again for each late element that is still allowed. The
/// default of event-time windows.
///
/// Cost: one timer a window.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
/// use thalweg::testing::OperatorHarness;
///
/// let mut harness = OperatorHarness::new(|numbers: DataStream<i64>| {
///     numbers
///         .key_by(|_| 0_u8)
///         .window(TumblingEventTimeWindows::of(milliseconds(10)))
///         .trigger(PurgingTrigger::of(EventTimeTrigger)) // forgets what it has told
///         .allowed_lateness(milliseconds(5))
///         .reduce(|a, b| a + b)
/// });
/// harness.push(1, 3);
/// harness.watermark(9);
/// assert_eq!(harness.outputs(), [1]);
/// harness.push(10, 4);
/// assert_eq!(harness.outputs(), [10]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventTimeTrigger;

impl<T, W: Window> Trigger<T, W> for EventTimeTrigger {
    fn on_element(
        &mut self,
        _: &T,
        _: i64,
        window: &W,
        context: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult> {
        if window.max_timestamp() <= context.current_watermark() {
            return Ok(TriggerResult::Fire);
        }
        context.register_event_time_timer(window.max_timestamp());
        Ok(TriggerResult::Continue)
    }
    fn on_event_time(
        &mut self,
        time_ms: i64,
        window: &W,
        _: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult> {
        Ok(fire_if(time_ms == window.max_timestamp()))
    }
    fn can_merge(&self) -> bool {
        true
    }
    fn on_merge(&mut self, window: &W, context: &mut OnMergeContext<'_>) -> Result<()> {
        // Behind the watermark the element that merges fires by itself; a timer would fire the window twice.
        let mut context = context.window()?;
        if window.max_timestamp() > context.current_watermark() {
            context.register_event_time_timer(window.max_timestamp());
        }
        Ok(())
    }
    fn clear(&mut self, window: &W, context: &mut TriggerContext<'_>) -> Result<()> {
        context.delete_event_time_timer(window.max_timestamp());
        Ok(())
    }
}

/// Fires when the clock reaches the last instant of the window. The default of processing-time windows.
///
/// Cost: one timer a window.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
/// use thalweg::testing::OperatorHarness;
///
/// let mut harness = OperatorHarness::new(|numbers: DataStream<i64>| {
///     numbers
///         .key_by(|_| 0_u8)
///         .window(TumblingProcessingTimeWindows::of(milliseconds(10)))
///         .trigger(PurgingTrigger::of(ProcessingTimeTrigger))
///         .reduce(|a, b| a + b)
/// });
/// harness.push_untimed(1);
/// harness.push_untimed(2);
/// harness.set_clock_ms(10);
/// assert_eq!(harness.outputs(), [3]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessingTimeTrigger;

impl<T, W: Window> Trigger<T, W> for ProcessingTimeTrigger {
    fn on_element(
        &mut self,
        _: &T,
        _: i64,
        window: &W,
        context: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult> {
        context.register_processing_time_timer(window.max_timestamp());
        Ok(TriggerResult::Continue)
    }
    fn on_processing_time(
        &mut self,
        _: i64,
        _: &W,
        _: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult> {
        Ok(TriggerResult::Fire)
    }
    fn can_merge(&self) -> bool {
        true
    }
    fn on_merge(&mut self, window: &W, context: &mut OnMergeContext<'_>) -> Result<()> {
        let mut context = context.window()?;
        if window.max_timestamp() > context.current_processing_time() {
            context.register_processing_time_timer(window.max_timestamp());
        }
        Ok(())
    }
    fn clear(&mut self, window: &W, context: &mut TriggerContext<'_>) -> Result<()> {
        context.delete_processing_time_timer(window.max_timestamp());
        Ok(())
    }
}

/// Never fires. The default of [`GlobalWindows`](crate::window::GlobalWindows).
///
/// Costs nothing; but what never fires nor ends is kept until the job ends.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let sums = env
///     .from_elements([1_i64, 2, 3])
///     .key_by(|_| 0_u8)
///     .window(GlobalWindows::create())
///     .trigger(NeverTrigger)
///     .reduce(|a, b| a + b)
///     .collect();
/// env.execute("never")?;
/// assert!(sums.take().is_empty());
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NeverTrigger;

impl<T, W: Window> Trigger<T, W> for NeverTrigger {
    fn on_element(
        &mut self,
        _: &T,
        _: i64,
        _: &W,
        _: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult> {
        Ok(TriggerResult::Continue)
    }
}

/// Fires at the watermark that ends event time, for windows without end.
///
/// Cost: one timer a key.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let sums = env
///     .from_elements([1_i64, 2, 3])
///     .key_by(|_| 0_u8)
///     .window(GlobalWindows::create())
///     .trigger(EndOfStreamTrigger)
///     .reduce(|a, b| a + b)
///     .collect();
/// env.execute("total")?;
/// assert_eq!(sums.take(), [6]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndOfStreamTrigger;

impl<T, W: Window> Trigger<T, W> for EndOfStreamTrigger {
    fn on_element(
        &mut self,
        _: &T,
        _: i64,
        window: &W,
        context: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult> {
        context.register_event_time_timer(window.max_timestamp());
        Ok(TriggerResult::Continue)
    }
    fn on_event_time(
        &mut self,
        time_ms: i64,
        window: &W,
        _: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult> {
        Ok(fire_if(time_ms == window.max_timestamp()))
    }
}

pub(super) fn fire_if(condition: bool) -> TriggerResult {
    if condition { TriggerResult::Fire } else { TriggerResult::Continue }
}
