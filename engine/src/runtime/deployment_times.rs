//! Where a task's time goes: busy, backpressured, idle.
//!
//! The core that runs the task is the only writer; anybody reads.
//!
//! 1. Busy time is added after runs that did something.
//! 2. Idleness and backpressure are spans: the core notes when one begins and adds it up when it ends, so a task that
//!    stays idle for an hour, on a core that sleeps for an hour, costs nothing and still reads as idle for an hour.
//! 3. A reader adds the span that is open to the sums.
//!
//! What is left of the elapsed time (elapsed − busy − backpressured − idle) is time the task was ready and its core ran
//! something else: a large share says that the core, not the task, is the bottleneck.
//!
//! **Invariants**
//! - One writer. A sum is changed by load and store, never by a locked instruction.
//! - `span` is `CLOSING` while a sum takes up the span, so a reader neither counts the span twice nor misses it.

use crate::sync::atomic::{AtomicU64, Ordering};

/// What a task that does not work waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// Input, a timer or a message.
    Idle,
    /// Room at an output.
    Backpressured,
}

/// `span`: no span is open.
const NONE: u64 = 0;
/// `span`: low two bits of a span of idleness; the others are the nanosecond it began.
const IDLE: u64 = 1;
/// `span`: the same for backpressure.
const BACKPRESSURED: u64 = 2;
/// `span`: the writer is moving the span into its sum.
const CLOSING: u64 = 3;
/// Bits of `span` that hold the kind; 62 bits of nanoseconds last 146 years.
const KIND_BITS: u32 = 2;

/// How often a reader tries for a picture in which nothing moved, before it takes what it has. The writer is between
/// two stores for a nanosecond; only a core that lost its CPU right there makes a reader try so often.
const READ_ATTEMPTS: usize = 64;

/// The times of one task. See the module.
#[derive(Debug, Default)]
pub struct TaskTimes {
    /// Written by the task's core alone (Release), as all fields.
    busy_ns: AtomicU64,
    backpressured_ns: AtomicU64,
    idle_ns: AtomicU64,
    /// The open span, by the constants above.
    span: AtomicU64,
}

/// Sums up to one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskTimesReading {
    /// Time spent in runs that did something.
    pub busy_ns: u64,
    /// Time in which an output was full.
    pub backpressured_ns: u64,
    /// Time in which there was nothing to do.
    pub idle_ns: u64,
}

impl TaskTimes {
    /// All zero, no span open.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The sums up to `now_ns` of the core's monotonic clock ([`SystemClock`](crate::time::SystemClock)s agree on it).
    #[must_use]
    pub fn read(&self, now_ns: u64) -> TaskTimesReading {
        let mut reading = TaskTimesReading::default();
        for _ in 0..READ_ATTEMPTS {
            let span = self.span.load(Ordering::Acquire);
            reading = self.sums();
            add_span(&mut reading, span, now_ns);
            if span != CLOSING && self.span.load(Ordering::Relaxed) == span {
                break;
            }
            std::hint::spin_loop();
        }
        reading
    }

    fn sums(&self) -> TaskTimesReading {
        TaskTimesReading {
            busy_ns: self.busy_ns.load(Ordering::Acquire),
            backpressured_ns: self.backpressured_ns.load(Ordering::Acquire),
            idle_ns: self.idle_ns.load(Ordering::Acquire),
        }
    }

    /// Adds to the busy time; on the task's core.
    pub(crate) fn add_busy(&self, ns: u64) {
        add(&self.busy_ns, ns);
    }

    /// Ends the open span, if any, and begins one of `waiting`; on the task's core.
    pub(crate) fn begin_span(&self, waiting: Waiting, now_ns: u64) {
        self.end_span(now_ns);
        let kind = match waiting {
            Waiting::Idle => IDLE,
            Waiting::Backpressured => BACKPRESSURED,
        };
        self.span.store((now_ns << KIND_BITS) | kind, Ordering::Release);
    }

    /// Ends the open span, if any; on the task's core.
    pub(crate) fn end_span(&self, now_ns: u64) {
        let span = self.span.load(Ordering::Relaxed);
        let Some((sum, ns)) = self.target(span, now_ns) else { return };
        self.span.store(CLOSING, Ordering::Relaxed);
        // Release: a reader that sees this sum sees the span closing, and tries again.
        add(sum, ns);
        self.span.store(NONE, Ordering::Release);
    }

    fn target(&self, span: u64, now_ns: u64) -> Option<(&AtomicU64, u64)> {
        let sum = match span & CLOSING {
            IDLE => &self.idle_ns,
            BACKPRESSURED => &self.backpressured_ns,
            _ => return None,
        };
        Some((sum, now_ns.saturating_sub(span >> KIND_BITS)))
    }
}

fn add_span(reading: &mut TaskTimesReading, span: u64, now_ns: u64) {
    let ns = now_ns.saturating_sub(span >> KIND_BITS);
    match span & CLOSING {
        IDLE => reading.idle_ns += ns,
        BACKPRESSURED => reading.backpressured_ns += ns,
        _ => {}
    }
}

/// The only writer needs no locked instruction.
fn add(sum: &AtomicU64, ns: u64) {
    sum.store(sum.load(Ordering::Relaxed) + ns, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn an_open_span_counts_and_then_counts_once() {
        let times = TaskTimes::new();
        times.begin_span(Waiting::Idle, 100);
        assert_eq!(times.read(150).idle_ns, 50);
        times.begin_span(Waiting::Backpressured, 160);
        times.end_span(200);
        times.add_busy(7);
        let expected = TaskTimesReading { busy_ns: 7, backpressured_ns: 40, idle_ns: 60 };
        assert_eq!(times.read(1_000), expected);
    }

    #[test]
    fn a_concurrent_reader_never_counts_a_span_twice() {
        let times = Arc::new(TaskTimes::new());
        let writer = Arc::clone(&times);
        const ROUNDS: u64 = 200_000;
        std::thread::scope(|scope| {
            let handle = scope.spawn(move || {
                for round in 0..ROUNDS {
                    writer.begin_span(Waiting::Idle, round * 10);
                    writer.end_span(round * 10 + 10);
                }
            });
            let mut last_ns = 0;
            while !handle.is_finished() {
                // `now` of zero leaves the open span out: the sum alone must never shrink nor run ahead.
                let idle_ns = times.read(0).idle_ns;
                assert!(idle_ns >= last_ns && idle_ns <= ROUNDS * 10);
                last_ns = idle_ns;
            }
        });
        assert_eq!(times.read(0).idle_ns, ROUNDS * 10);
    }
}
