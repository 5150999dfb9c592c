//! Event time, processing time, and the only readers of clocks.

mod clock;
mod watermark;

pub use clock::{Clock, ManualClock, SystemClock};
pub use watermark::{
    BoundedOutOfOrderness, ByFunction, NoWatermarks, Punctuated, RecordedTimestamps,
    TimestampAssigner, WatermarkGenerator, WatermarkStrategy,
};
