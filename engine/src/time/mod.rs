//! Event time, processing time, and the only readers of clocks.
pub mod clock;

pub use clock::{Clock, ManualClock, SystemClock};
