//! [`SubtaskMetrics`] and [`EdgeMetrics`]: what the engine itself counts.
//!
//! ```text
//! SubtaskMetrics   | the task's own core: records, bytes, time, watermarks   | the job's control thread: restarts |
//! EdgeMetrics      | the producer's core: sent, fill, spilled                | the consumer's core: received      |
//!                    each column is on cache lines of its own
//! ```
//!
//! **Invariant**: a field is written by the core its group names, and by no other.

use serde::{Deserialize, Serialize};

use super::cell::{Counter, Gauge, Padded};

/// What a watermark gauge holds before the first watermark: that of the lowest watermark itself.
pub const NO_WATERMARK_MS: i64 = i64::MIN;

/// The counts of one subtask of a vertex, which may be a chain of operators.
///
/// The task's own fields are read through [`Deref`](std::ops::Deref): `metrics.records_in.add(512)`.
#[derive(Debug, Default)]
pub struct SubtaskMetrics {
    task: Padded<TaskCounts>,
    /// Written by the job's control thread.
    pub control: Padded<ControlCounts>,
}

/// Written by the core the task runs on, once a batch.
#[derive(Debug)]
pub struct TaskCounts {
    /// Records that came in over all inputs.
    pub records_in: Counter,
    /// Records that went out over all outputs, a broadcast counting once for each consumer.
    pub records_out: Counter,
    /// Bytes that came in: from outside at a source, as pages elsewhere.
    pub bytes_in: Counter,
    /// Bytes that went out: to outside at a sink, as pages elsewhere.
    pub bytes_out: Counter,
    /// Records a window dropped because they came after its allowed lateness.
    pub late_records_dropped: Counter,
    /// Records skipped because user code or a decoder failed on them and the job said to go on.
    pub records_skipped: Counter,
    /// Time spent at work.
    pub busy_ns: Counter,
    /// Time with work at hand and an output full.
    pub backpressured_ns: Counter,
    /// Time without work.
    pub idle_ns: Counter,
    /// Most spare pages ever held because an output was full in the middle of a record.
    pub overflow_pages_max: Counter,
    /// The watermark the task has received.
    pub current_input_watermark_ms: Gauge,
    /// The watermark the task has sent on.
    pub current_output_watermark_ms: Gauge,
}

impl Default for TaskCounts {
    fn default() -> Self {
        Self {
            records_in: Counter::new(),
            records_out: Counter::new(),
            bytes_in: Counter::new(),
            bytes_out: Counter::new(),
            late_records_dropped: Counter::new(),
            records_skipped: Counter::new(),
            busy_ns: Counter::new(),
            backpressured_ns: Counter::new(),
            idle_ns: Counter::new(),
            overflow_pages_max: Counter::new(),
            current_input_watermark_ms: Gauge::starting_at(NO_WATERMARK_MS),
            current_output_watermark_ms: Gauge::starting_at(NO_WATERMARK_MS),
        }
    }
}

/// Written by the job's control thread.
#[derive(Debug, Default)]
pub struct ControlCounts {
    /// How often the subtask was deployed again after a failure.
    pub restarts: Counter,
}

impl std::ops::Deref for SubtaskMetrics {
    type Target = TaskCounts;

    #[inline]
    fn deref(&self) -> &TaskCounts {
        &self.task
    }
}

impl SubtaskMetrics {
    /// The values now.
    pub fn values(&self) -> SubtaskValues {
        let watermark = |gauge: &Gauge| Some(gauge.get()).filter(|ms| *ms != NO_WATERMARK_MS);
        SubtaskValues {
            records_in: self.records_in.get(),
            records_out: self.records_out.get(),
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get(),
            late_records_dropped: self.late_records_dropped.get(),
            records_skipped: self.records_skipped.get(),
            busy_ns: self.busy_ns.get(),
            backpressured_ns: self.backpressured_ns.get(),
            idle_ns: self.idle_ns.get(),
            overflow_pages_max: self.overflow_pages_max.get(),
            current_input_watermark_ms: watermark(&self.current_input_watermark_ms),
            current_output_watermark_ms: watermark(&self.current_output_watermark_ms),
            restarts: self.control.restarts.get(),
        }
    }
}

/// The counts of one subtask as plain numbers, or those of several put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubtaskValues {
    /// Records that came in.
    pub records_in: u64,
    /// Records that went out.
    pub records_out: u64,
    /// Bytes that came in.
    pub bytes_in: u64,
    /// Bytes that went out.
    pub bytes_out: u64,
    /// Records dropped as too late.
    pub late_records_dropped: u64,
    /// Records skipped as broken.
    pub records_skipped: u64,
    /// Time at work.
    pub busy_ns: u64,
    /// Time held by a full output.
    pub backpressured_ns: u64,
    /// Time without work.
    pub idle_ns: u64,
    /// Most spare pages held; of several subtasks the largest.
    pub overflow_pages_max: u64,
    /// Watermark received, `None` before the first; of several subtasks the smallest, `None` if one has none.
    pub current_input_watermark_ms: Option<i64>,
    /// Watermark sent on, likewise.
    pub current_output_watermark_ms: Option<i64>,
    /// How often deployed again.
    pub restarts: u64,
}

impl SubtaskValues {
    /// The values of several subtasks put together: counts are summed, of the maximum the largest and of the watermarks
    /// the smallest is kept. Nothing but zeros for no subtask.
    pub fn total<'a>(subtasks: impl IntoIterator<Item = &'a Self>) -> Self {
        subtasks.into_iter().copied().reduce(Self::combine).unwrap_or_default()
    }

    fn combine(self, other: Self) -> Self {
        // `None` is less than any watermark, so one subtask without holds back all.
        Self {
            records_in: self.records_in.wrapping_add(other.records_in),
            records_out: self.records_out.wrapping_add(other.records_out),
            bytes_in: self.bytes_in.wrapping_add(other.bytes_in),
            bytes_out: self.bytes_out.wrapping_add(other.bytes_out),
            late_records_dropped: self
                .late_records_dropped
                .wrapping_add(other.late_records_dropped),
            records_skipped: self.records_skipped.wrapping_add(other.records_skipped),
            busy_ns: self.busy_ns.wrapping_add(other.busy_ns),
            backpressured_ns: self.backpressured_ns.wrapping_add(other.backpressured_ns),
            idle_ns: self.idle_ns.wrapping_add(other.idle_ns),
            overflow_pages_max: self.overflow_pages_max.max(other.overflow_pages_max),
            current_input_watermark_ms: self
                .current_input_watermark_ms
                .min(other.current_input_watermark_ms),
            current_output_watermark_ms: self
                .current_output_watermark_ms
                .min(other.current_output_watermark_ms),
            restarts: self.restarts.wrapping_add(other.restarts),
        }
    }
}

/// The counts of one edge between two subtasks.
#[derive(Debug)]
pub struct EdgeMetrics {
    ring_capacity: usize,
    /// Written by the producer's core.
    pub producer: Padded<ProducerCounts>,
    /// Written by the consumer's core.
    pub consumer: Padded<ConsumerCounts>,
}

/// Written by the core of an edge's producer.
#[derive(Debug, Default)]
pub struct ProducerCounts {
    /// Pages put into the ring.
    pub pages_sent: Counter,
    /// Pages in the ring when the producer last looked.
    pub ring_fill: Gauge,
    /// Pages that did not fit the ring and went into spare memory first.
    pub spilled_pages: Counter,
}

/// Written by the core of an edge's consumer.
#[derive(Debug, Default)]
pub struct ConsumerCounts {
    /// Pages taken out of the ring.
    pub pages_received: Counter,
}

impl EdgeMetrics {
    /// Nothing counted yet, for a ring of this many pages.
    pub fn new(ring_capacity: usize) -> Self {
        Self { ring_capacity, producer: Padded::default(), consumer: Padded::default() }
    }

    /// How many pages the ring holds when full.
    pub fn ring_capacity(&self) -> usize {
        self.ring_capacity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_different_writers_share_no_cache_line() {
        let address = |counter: &Counter| std::ptr::from_ref(counter).addr();
        let subtask = SubtaskMetrics::default();
        let last_of_task = address(&subtask.overflow_pages_max);
        assert!(address(&subtask.control.restarts) / 128 != last_of_task / 128);
        assert_eq!(align_of::<SubtaskMetrics>(), 128);
        #[cfg(not(debug_assertions))]
        assert_eq!(size_of::<SubtaskMetrics>(), 256);
        let edge = EdgeMetrics::new(8);
        let distance =
            address(&edge.consumer.pages_received).abs_diff(address(&edge.producer.pages_sent));
        assert!(distance >= 128);
    }

    #[test]
    fn values_start_at_zero_and_without_watermark() {
        assert_eq!(SubtaskMetrics::default().values(), SubtaskValues::default());
    }

    #[test]
    fn totals_sum_counts_and_keep_the_slowest_watermark() {
        let values = |records_in, pages, watermark| SubtaskValues {
            records_in,
            overflow_pages_max: pages,
            current_input_watermark_ms: watermark,
            ..SubtaskValues::default()
        };
        let total = SubtaskValues::total(&[values(1, 5, Some(70)), values(2, 3, Some(-4))]);
        assert_eq!(total, values(3, 5, Some(-4)));
        let total = SubtaskValues::total(&[values(1, 0, Some(70)), values(2, 0, None)]);
        assert_eq!(total.current_input_watermark_ms, None);
        assert_eq!(SubtaskValues::total([]), SubtaskValues::default());
    }
}
