//! Metrics: counters, gauges and histograms, each owned by one slot and summed by readers.
//!
//! ```text
//! slot: SubtaskMetrics, EdgeMetrics, handles of user metrics      plain loads and stores, no lock, no allocation
//!          |  registered at deploy
//!       JobMetrics  -- snapshot() -->  JobSnapshot                 serialisable, with per-subtask values and sums
//! ```
//!
//! **Invariants**
//! - Every number has one writer, and shares no cache line with a number that has another.
//! - Counting publishes nothing: no other memory may be read on the strength of a metric.
//! - No clock is read here; who counts nanoseconds was given them. Rates are the readers' business.
//! - This module knows no other module of the engine.

mod cell;
mod group;
mod histogram;
mod job;
mod snapshot;
mod subtask;

pub use cell::{Counter, Gauge, Padded};
pub use group::{
    CounterHandle, GaugeHandle, HistogramHandle, METRICS_PER_OPERATOR_MAX, MetricGroup,
};
pub use histogram::{Histogram, HistogramCounts, HistogramSnapshot};
pub use job::{EdgeLabel, JobMetrics};
pub use snapshot::{EdgeSnapshot, JobSnapshot, OperatorSnapshot, SubtaskSnapshot, VertexSnapshot};
pub use subtask::{
    ConsumerCounts, ControlCounts, EdgeMetrics, NO_WATERMARK_MS, ProducerCounts, SubtaskMetrics,
    SubtaskValues, TaskCounts,
};
