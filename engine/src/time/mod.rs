//! Event time, processing time, and the only readers of clocks.
//!
//! A [`WatermarkStrategy`] is made of a [`TimestampAssigner`], a [`WatermarkGenerator`], an idle timeout and an alignment.
//! What is here only keeps the books; the operators that stamp records and send watermarks are elsewhere, and tell it the
//! time.

mod clock;
mod idleness;
mod strategy_state;
mod timestamp_assigner;
mod units;
mod watermark_generator;
mod watermark_output;
mod watermark_strategy;

pub(crate) use clock::LentClock;
pub use clock::{Clock, ManualClock, SystemClock};
pub(crate) use idleness::IdlenessTimer;
pub use strategy_state::StrategyState;
pub use timestamp_assigner::{ByFunction, IngestionTime, RecordedTimestamps, TimestampAssigner};
pub use units::{
    RelativeTime, after, before, days, duration_ms, hours, milliseconds, minutes, seconds,
};
pub use watermark_generator::{
    BoundedOutOfOrderness, NoWatermarks, Punctuated, WatermarkGenerator,
};
pub use watermark_output::WatermarkOutput;
pub(crate) use watermark_strategy::WatermarkAlignment;
pub use watermark_strategy::WatermarkStrategy;
