//! Event time, processing time, and the only readers of clocks.

mod clock;
mod units;
mod watermark;

pub(crate) use clock::LentClock;
pub use clock::{Clock, ManualClock, SystemClock};
pub use units::{
    RelativeTime, after, before, days, duration_ms, hours, milliseconds, minutes, seconds,
};
pub use watermark::{
    BoundedOutOfOrderness, ByFunction, NoWatermarks, Punctuated, RecordedTimestamps,
    TimestampAssigner, WatermarkGenerator, WatermarkStrategy,
};
