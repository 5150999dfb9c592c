//! Windows that follow one another without overlap.

use crate::Result;
use crate::time::duration_ms;
use crate::window::{
    AlignedWindows, AssignerContext, EventTimeTrigger, ProcessingTimeTrigger, TimeWindow,
    WindowAssigner, WindowError,
};
use std::time::Duration;

/// Event-time windows that follow one another without overlap.
///
/// Cost with an incremental function and the default trigger: one table for each open window, one update an element, no
/// timers. With another trigger, an evictor or a function over all elements: an entry of the general operator for each
/// key and window, and its timers.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let counts = env
///     .from_elements([-3, 1, 4, 12])
///     .assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamp(|t: &i64| *t))
///     .key_by(|_| 0u8)
///     .window(TumblingEventTimeWindows::of(milliseconds(10)))
///     .aggregate_with(Count, |_, window, count, out| out.collect((window.start(), count)))
///     .collect();
/// env.execute("counts")?;
/// assert_eq!(counts.take(), [(-10, 1), (0, 2), (10, 1)]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TumblingEventTimeWindows(AlignedWindows);

impl TumblingEventTimeWindows {
    /// Windows of `size`, aligned to the epoch. A size under 1 ms is refused when the job starts.
    pub fn of(size: Duration) -> Self {
        TumblingEventTimeWindows(tumbling(size))
    }
    /// Shifts all windows by `offset`, which must be less than the size: one day windows that begin at local midnight, say.
    pub fn offset(self, offset: Duration) -> Self {
        self.offset_ms(duration_ms(offset))
    }
    /// [`offset`](Self::offset) in milliseconds; may be negative.
    pub fn offset_ms(mut self, offset_ms: i64) -> Self {
        self.0.offset_ms = offset_ms;
        self
    }
}

impl<T> WindowAssigner<T> for TumblingEventTimeWindows {
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

/// Processing-time windows that follow one another without overlap: an element belongs to the window in which it comes.
///
/// Windows that are open at the end of the input give nothing.
///
/// Cost: an entry of the general operator for each key and open window, and one timer.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
/// use thalweg::testing::OperatorHarness;
///
/// let mut harness = OperatorHarness::new(|records: DataStream<i64>| {
///     records.key_by(|_| 0_u8).window(TumblingProcessingTimeWindows::of(milliseconds(10))).aggregate(Count)
/// });
/// harness.push_untimed(7);
/// harness.push_untimed(8);
/// harness.set_clock_ms(8);
/// assert!(harness.outputs().is_empty());
/// harness.set_clock_ms(10);
/// assert_eq!(harness.outputs(), [2]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TumblingProcessingTimeWindows(AlignedWindows);

impl TumblingProcessingTimeWindows {
    /// Windows of `size`, aligned to the epoch. A size under 1 ms is refused when the job starts.
    pub fn of(size: Duration) -> Self {
        TumblingProcessingTimeWindows(tumbling(size))
    }
    /// Shifts all windows by `offset`, which must be less than the size.
    pub fn offset(self, offset: Duration) -> Self {
        self.offset_ms(duration_ms(offset))
    }
    /// [`offset`](Self::offset) in milliseconds; may be negative.
    pub fn offset_ms(mut self, offset_ms: i64) -> Self {
        self.0.offset_ms = offset_ms;
        self
    }
}

impl<T> WindowAssigner<T> for TumblingProcessingTimeWindows {
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

fn tumbling(size: Duration) -> AlignedWindows {
    let size_ms = duration_ms(size);
    AlignedWindows { size_ms, slide_ms: size_ms, offset_ms: 0 }
}
