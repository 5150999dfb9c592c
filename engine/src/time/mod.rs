//! Event time, processing time, and the only readers of clocks.

mod watermark;

pub use watermark::{
    BoundedOutOfOrderness, ByFunction, NoWatermarks, Punctuated, RecordedTimestamps, TimestampAssigner,
    WatermarkGenerator, WatermarkStrategy,
};
