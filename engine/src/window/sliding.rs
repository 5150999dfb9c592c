//! Windows of one size that begin every slide.

use crate::Result;
use crate::time::duration_ms;
use crate::window::{
    AlignedWindows, AssignerContext, EventTimeTrigger, ProcessingTimeTrigger, TimeWindow,
    WindowAssigner, WindowError,
};
use std::time::Duration;

/// Event-time windows of one size that begin every `slide`; they overlap where the slide is smaller than the size.
///
/// Where the slide is larger there are gaps between the windows; an element in a gap belongs to none and is dropped.
///
/// Cost with an incremental function and the default trigger: one table for each slice of time and one update an element
/// (for aggregates that are sliceable), or a table and an update for each window. Otherwise an entry of the general operator for each
/// key and window: an element is then copied once for each of its windows.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let counts = env
///     .from_elements([1_i64, 7])
///     .assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamp(|t: &i64| *t))
///     .key_by(|_| 0_u8)
///     .window(SlidingEventTimeWindows::of(milliseconds(10), milliseconds(5)))
///     .aggregate_with(Count, |_, window, count, out| out.collect((window.start(), count)))
///     .collect();
/// env.execute("counts")?;
/// assert_eq!(counts.take(), [(-5, 1), (0, 2), (5, 1)]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingEventTimeWindows(AlignedWindows);

impl SlidingEventTimeWindows {
    /// Windows of `size`, one every `slide`, aligned to the epoch. Less than 1 ms of either is refused when the job
    /// starts.
    pub fn of(size: Duration, slide: Duration) -> Self {
        SlidingEventTimeWindows(sliding(size, slide))
    }
    /// Shifts all windows by `offset`, which must be less than the slide.
    pub fn offset(self, offset: Duration) -> Self {
        self.offset_ms(duration_ms(offset))
    }
    /// [`offset`](Self::offset) in milliseconds; may be negative.
    pub fn offset_ms(mut self, offset_ms: i64) -> Self {
        self.0.offset_ms = offset_ms;
        self
    }
}

impl<T> WindowAssigner<T> for SlidingEventTimeWindows {
    type Window = TimeWindow;
    type DefaultTrigger = EventTimeTrigger;
    const IS_ALIGNED: bool = true;

    fn assign_windows(
        &mut self,
        _: &T,
        timestamp: i64,
        _: &AssignerContext,
        windows: &mut Vec<TimeWindow>,
    ) -> Result<()> {
        Ok(self.0.assign(timestamp, windows)?)
    }
    fn default_trigger(&self) -> EventTimeTrigger {
        EventTimeTrigger
    }
    fn is_event_time(&self) -> bool {
        true
    }
    fn validate(&self) -> Result<(), WindowError> {
        self.0.validate()
    }
    fn aligned(&self) -> Option<AlignedWindows> {
        Some(self.0)
    }
}

/// Processing-time windows of one size that begin every `slide`: an element belongs to those in which it comes.
///
/// Windows that are open at the end of the input give nothing.
///
/// Cost: for each window of an element an entry of the general operator and one timer.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
/// use thalweg::testing::OperatorHarness;
///
/// let mut harness = OperatorHarness::new(|records: DataStream<i64>| {
///     records.key_by(|_| 0_u8).window(SlidingProcessingTimeWindows::of(milliseconds(10), milliseconds(5))).aggregate(Count)
/// });
/// harness.push_untimed(7); // at 0: in [-5, 5) and [0, 10)
/// harness.set_clock_ms(5);
/// assert_eq!(harness.outputs(), [1]);
/// harness.push_untimed(8); // at 5: in [0, 10) and [5, 15)
/// harness.set_clock_ms(10);
/// assert_eq!(harness.outputs(), [2]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingProcessingTimeWindows(AlignedWindows);

impl SlidingProcessingTimeWindows {
    /// Windows of `size`, one every `slide`, aligned to the epoch. Less than 1 ms of either is refused when the job
    /// starts.
    pub fn of(size: Duration, slide: Duration) -> Self {
        SlidingProcessingTimeWindows(sliding(size, slide))
    }
    /// Shifts all windows by `offset`, which must be less than the slide.
    pub fn offset(self, offset: Duration) -> Self {
        self.offset_ms(duration_ms(offset))
    }
    /// [`offset`](Self::offset) in milliseconds; may be negative.
    pub fn offset_ms(mut self, offset_ms: i64) -> Self {
        self.0.offset_ms = offset_ms;
        self
    }
}

impl<T> WindowAssigner<T> for SlidingProcessingTimeWindows {
    type Window = TimeWindow;
    type DefaultTrigger = ProcessingTimeTrigger;

    fn assign_windows(
        &mut self,
        _: &T,
        _: i64,
        context: &AssignerContext,
        windows: &mut Vec<TimeWindow>,
    ) -> Result<()> {
        Ok(self.0.assign(context.current_processing_time(), windows)?)
    }
    fn default_trigger(&self) -> ProcessingTimeTrigger {
        ProcessingTimeTrigger
    }
    fn is_event_time(&self) -> bool {
        false
    }
    fn validate(&self) -> Result<(), WindowError> {
        self.0.validate()
    }
}

fn sliding(size: Duration, slide: Duration) -> AlignedWindows {
    let (size_ms, slide_ms) = (duration_ms(size), duration_ms(slide));
    AlignedWindows { size_ms, slide_ms, offset_ms: 0 }
}
