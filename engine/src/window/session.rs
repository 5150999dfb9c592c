//! Sessions: windows that last as long as elements come, and end after a gap without.

use crate::Result;
use crate::function::UserFunction;
use crate::record::NO_TIMESTAMP;
use crate::time::duration_ms;
use crate::window::{
    AssignerContext, EventTimeTrigger, MergedWindows, ProcessingTimeTrigger, TimeWindow,
    WindowAssigner, WindowError,
};
use std::time::Duration;

/// Event-time windows that end `gap` after their last element. An element opens the window `[t, t + gap)`; windows of a
/// key that overlap or touch are merged, also by elements that come late.
///
/// An element behind the watermark that touches an open session is not late.
///
/// Cost with an incremental function and the default trigger: one entry for each open session, one update an element, no
/// timers. With another trigger, an evictor or a function over all elements: two entries of the general
/// operator for each session, and its timers, registered again whenever it grows.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let sessions = env
///     .from_elements([1, 4, 30, 12])
///     .assign_timestamps_and_watermarks(WatermarkStrategy::none().with_timestamp(|t: &i64| *t))
///     .key_by(|_| 0u8)
///     .window(EventTimeSessionWindows::with_gap(milliseconds(10)))
///     .aggregate_with(Count, |_, window, count, out| {
///         out.collect((window.start(), window.end(), count));
///     })
///     .collect();
/// env.execute("sessions")?;
/// assert_eq!(sessions.take(), [(1, 22, 3), (30, 40, 1)]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTimeSessionWindows {
    gap_ms: i64,
}

impl EventTimeSessionWindows {
    /// Sessions that end `gap` after their last element. A gap under 1 ms is refused when the job starts.
    pub fn with_gap(gap: Duration) -> Self {
        EventTimeSessionWindows { gap_ms: duration_ms(gap) }
    }

    /// Sessions whose gap (in milliseconds) each element brings. A gap of zero or less fails the job at its element.
    pub fn with_dynamic_gap<T, F>(gap_ms: F) -> DynamicEventTimeSessionWindows<F>
    where
        F: FnMut(&T) -> i64 + UserFunction,
    {
        DynamicEventTimeSessionWindows { gap_ms }
    }
}

impl<T> WindowAssigner<T> for EventTimeSessionWindows {
    type Window = TimeWindow;
    type DefaultTrigger = EventTimeTrigger;
    const IS_FIXED_SESSION: bool = true;

    fn assign_windows(
        &mut self,
        _: &T,
        timestamp: i64,
        _: &AssignerContext,
        windows: &mut Vec<TimeWindow>,
    ) -> Result<()> {
        windows.push(event_session(timestamp, self.gap_ms)?);
        Ok(())
    }
    fn default_trigger(&self) -> EventTimeTrigger {
        EventTimeTrigger
    }
    fn is_event_time(&self) -> bool {
        true
    }
    fn is_merging(&self) -> bool {
        true
    }
    fn merge_windows(&self, windows: &[TimeWindow], merged: &mut Vec<MergedWindows<TimeWindow>>) {
        TimeWindow::merge_touching(windows, merged);
    }
    fn validate(&self) -> Result<(), WindowError> {
        validate_gap(self.gap_ms)
    }
    fn fixed_gap_ms(&self) -> Option<i64> {
        Some(self.gap_ms)
    }
}

/// Processing-time windows that end `gap` after their last element came.
///
/// Windows that are open at the end of the input give nothing.
///
/// Cost: two entries of the general operator for each open session, and one timer, registered again with each element.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
/// use thalweg::testing::OperatorHarness;
///
/// let mut harness = OperatorHarness::new(|records: DataStream<i64>| {
///     records.key_by(|_| 0_u8).window(ProcessingTimeSessionWindows::with_gap(milliseconds(10))).aggregate(Count)
/// });
/// harness.push_untimed(7);
/// harness.set_clock_ms(6);
/// harness.push_untimed(8); // the session is now [0, 16)
/// harness.set_clock_ms(14);
/// assert!(harness.outputs().is_empty());
/// harness.set_clock_ms(16);
/// assert_eq!(harness.outputs(), [2]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessingTimeSessionWindows {
    gap_ms: i64,
}

impl ProcessingTimeSessionWindows {
    /// Sessions that end `gap` after their last element. A gap under 1 ms is refused when the job starts.
    pub fn with_gap(gap: Duration) -> Self {
        ProcessingTimeSessionWindows { gap_ms: duration_ms(gap) }
    }

    /// Sessions whose gap (in milliseconds) each element brings. A gap of zero or less fails the job at its element.
    pub fn with_dynamic_gap<T, F>(gap_ms: F) -> DynamicProcessingTimeSessionWindows<F>
    where
        F: FnMut(&T) -> i64 + UserFunction,
    {
        DynamicProcessingTimeSessionWindows { gap_ms }
    }
}

impl<T> WindowAssigner<T> for ProcessingTimeSessionWindows {
    type Window = TimeWindow;
    type DefaultTrigger = ProcessingTimeTrigger;

    fn assign_windows(
        &mut self,
        _: &T,
        _: i64,
        context: &AssignerContext,
        windows: &mut Vec<TimeWindow>,
    ) -> Result<()> {
        windows.push(session(context.current_processing_time(), self.gap_ms));
        Ok(())
    }
    fn default_trigger(&self) -> ProcessingTimeTrigger {
        ProcessingTimeTrigger
    }
    fn is_event_time(&self) -> bool {
        false
    }
    fn is_merging(&self) -> bool {
        true
    }
    fn merge_windows(&self, windows: &[TimeWindow], merged: &mut Vec<MergedWindows<TimeWindow>>) {
        TimeWindow::merge_touching(windows, merged);
    }
    fn validate(&self) -> Result<(), WindowError> {
        validate_gap(self.gap_ms)
    }
}

/// Event-time sessions whose gap each element brings; see [`EventTimeSessionWindows::with_dynamic_gap`].
///
/// An element whose own window is exactly that of an open session joins it. (In Flink 2.3 the elements that such a
/// session had gathered by merging are lost.)
///
/// Cost: two entries of the general operator for each open session, and its timer, registered again whenever it grows.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let sessions = env
///     .from_elements([(0_i64, 5_i64), (4, 20), (15, 1), (40, 1)])
///     .assign_timestamps_and_watermarks(
///         WatermarkStrategy::monotonous().with_timestamp(|e: &(i64, i64)| e.0),
///     )
///     .key_by(|_| 0_u8)
///     .window(EventTimeSessionWindows::with_dynamic_gap(|e: &(i64, i64)| e.1))
///     .aggregate_with(Count, |_, window, count, out| {
///         out.collect((window.start(), window.end(), count));
///     })
///     .collect();
/// env.execute("sessions")?;
/// assert_eq!(sessions.take(), [(0, 24, 3), (40, 41, 1)]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DynamicEventTimeSessionWindows<F> {
    gap_ms: F,
}

impl<T, F: FnMut(&T) -> i64 + UserFunction> WindowAssigner<T>
    for DynamicEventTimeSessionWindows<F>
{
    type Window = TimeWindow;
    type DefaultTrigger = EventTimeTrigger;

    fn assign_windows(
        &mut self,
        record: &T,
        timestamp: i64,
        _: &AssignerContext,
        windows: &mut Vec<TimeWindow>,
    ) -> Result<()> {
        let gap_ms = positive((self.gap_ms)(record))?;
        windows.push(event_session(timestamp, gap_ms)?);
        Ok(())
    }
    fn default_trigger(&self) -> EventTimeTrigger {
        EventTimeTrigger
    }
    fn is_event_time(&self) -> bool {
        true
    }
    fn is_merging(&self) -> bool {
        true
    }
    fn merge_windows(&self, windows: &[TimeWindow], merged: &mut Vec<MergedWindows<TimeWindow>>) {
        TimeWindow::merge_touching(windows, merged);
    }
}

/// Processing-time sessions whose gap each element brings; see [`ProcessingTimeSessionWindows::with_dynamic_gap`].
///
/// Windows that are open at the end of the input give nothing. Cost: that of [`ProcessingTimeSessionWindows`].
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
/// use thalweg::testing::OperatorHarness;
///
/// let mut harness = OperatorHarness::new(|records: DataStream<i64>| {
///     records.key_by(|_| 0_u8).window(ProcessingTimeSessionWindows::with_dynamic_gap(|gap_ms: &i64| *gap_ms)).aggregate(Count)
/// });
/// harness.push_untimed(10);
/// harness.set_clock_ms(4);
/// harness.push_untimed(20); // the session is now [0, 24)
/// harness.set_clock_ms(22);
/// assert!(harness.outputs().is_empty());
/// harness.set_clock_ms(24);
/// assert_eq!(harness.outputs(), [2]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct DynamicProcessingTimeSessionWindows<F> {
    gap_ms: F,
}

impl<T, F: FnMut(&T) -> i64 + UserFunction> WindowAssigner<T>
    for DynamicProcessingTimeSessionWindows<F>
{
    type Window = TimeWindow;
    type DefaultTrigger = ProcessingTimeTrigger;

    fn assign_windows(
        &mut self,
        record: &T,
        _: i64,
        context: &AssignerContext,
        windows: &mut Vec<TimeWindow>,
    ) -> Result<()> {
        let gap_ms = positive((self.gap_ms)(record))?;
        windows.push(session(context.current_processing_time(), gap_ms));
        Ok(())
    }
    fn default_trigger(&self) -> ProcessingTimeTrigger {
        ProcessingTimeTrigger
    }
    fn is_event_time(&self) -> bool {
        false
    }
    fn is_merging(&self) -> bool {
        true
    }
    fn merge_windows(&self, windows: &[TimeWindow], merged: &mut Vec<MergedWindows<TimeWindow>>) {
        TimeWindow::merge_touching(windows, merged);
    }
}

fn session(start: i64, gap_ms: i64) -> TimeWindow {
    TimeWindow { start, end: start.saturating_add(gap_ms) }
}

fn event_session(timestamp: i64, gap_ms: i64) -> Result<TimeWindow, WindowError> {
    match timestamp {
        NO_TIMESTAMP => Err(WindowError::NoTimestamp),
        i64::MAX => Err(WindowError::TimestampOutOfRange { timestamp }),
        _ => Ok(session(timestamp, gap_ms)),
    }
}

fn positive(gap_ms: i64) -> Result<i64, WindowError> {
    if gap_ms > 0 { Ok(gap_ms) } else { Err(WindowError::GapNotPositive { gap_ms }) }
}

fn validate_gap(gap_ms: i64) -> Result<(), WindowError> {
    if gap_ms < 1 {
        return Err(WindowError::TooSmall { what: "gap of a session", value_ms: gap_ms });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::milliseconds;

    fn assigned<T, A: WindowAssigner<T>>(mut assigner: A, record: &T, at: i64) -> Vec<A::Window> {
        let mut windows = Vec::new();
        let context = AssignerContext { now_ms: 1_000 };
        assigner.assign_windows(record, at, &context, &mut windows).unwrap();
        windows
    }

    #[test]
    fn a_session_begins_with_its_element() {
        let window = TimeWindow::new;
        let event = EventTimeSessionWindows::with_gap(milliseconds(10));
        assert_eq!(assigned(event, &(), -15), [window(-15, -5)]);
        let processing = ProcessingTimeSessionWindows::with_gap(milliseconds(10));
        assert_eq!(assigned(processing, &(), -15), [window(1_000, 1_010)]);
        let dynamic = EventTimeSessionWindows::with_dynamic_gap(|gap: &i64| *gap);
        assert_eq!(assigned(dynamic, &7, 3), [window(3, 10)]);
        let dynamic = ProcessingTimeSessionWindows::with_dynamic_gap(|gap: &i64| *gap);
        assert_eq!(assigned(dynamic, &7, 3), [window(1_000, 1_007)]);
    }

    #[test]
    fn gaps_are_positive() {
        let zero = EventTimeSessionWindows::with_gap(milliseconds(0));
        let error = WindowAssigner::<()>::validate(&zero).unwrap_err();
        assert_eq!(error.to_string(), "the gap of a session is 0 ms; give at least 1 ms");
        let mut dynamic = EventTimeSessionWindows::with_dynamic_gap(|gap: &i64| *gap);
        let context = AssignerContext { now_ms: 0 };
        let error = dynamic.assign_windows(&-3, 5, &context, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("gap of the record's session is -3 ms"), "{error}");
        let error = dynamic.assign_windows(&3, NO_TIMESTAMP, &context, &mut Vec::new());
        assert!(error.unwrap_err().to_string().contains("no timestamp"));
    }
}
