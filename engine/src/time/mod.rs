//! Event time, processing time, and the only readers of clocks.
pub mod units;
