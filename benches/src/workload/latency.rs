//! w5: latency of a paced stream, from emission and from the time an event was due.

use super::Settings;
use crate::digest::splitmix64;
use crate::now_ns;
use hdrhistogram::Histogram;
use std::sync::{Arc, Mutex};
use thalweg::prelude::*;

/// An event with its stamps.
#[thalweg::record]
#[derive(Clone, Copy, Debug)]
pub struct Stamped {
    /// Which key.
    pub key: u64,
    /// When it was emitted, on the monotonic clock.
    pub emitted_ns: u64,
    /// When it was due.
    pub due_ns: u64,
    /// What is summed up.
    pub value: u64,
    /// The source subtask.
    pub source: u32,
}

/// The histograms of a run, in nanoseconds.
pub struct Latencies {
    /// From emission.
    pub all: Histogram<u64>,
    /// From the time the event was due: what a queue in front of a slow system would feel.
    pub due: Histogram<u64>,
    /// From emission, only records whose key lives on another subtask than their source.
    pub crossed: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        // Up to a minute, three digits: a fixed size, so that recording never allocates.
        let new = || Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("valid bounds");
        Latencies { all: new(), due: new(), crossed: new() }
    }
}

struct Paced {
    keys: u64,
    rate: u64,
    begin_ns: u64,
    end_ns: u64,
}

impl Source for Paced {
    type Out = Stamped;
    type Split = NoSplit;
    type Reader = PacedReader;
    fn create_reader(&self, context: &ReaderContext) -> thalweg::Result<PacedReader> {
        let (subtask, parallelism) = (context.subtask_index as u64, context.parallelism as u64);
        let interval_ns = 1_000_000_000 * parallelism / self.rate;
        Ok(PacedReader {
            keys: self.keys,
            interval_ns,
            due_ns: self.begin_ns + subtask * interval_ns / parallelism,
            end_ns: self.end_ns,
            next: subtask,
            step: parallelism,
            source: subtask as u32,
        })
    }
}

struct PacedReader {
    keys: u64,
    interval_ns: u64,
    due_ns: u64,
    end_ns: u64,
    next: u64,
    step: u64,
    source: u32,
}

impl SourceReader for PacedReader {
    type Out = Stamped;
    type Split = NoSplit;
    fn poll_batch(
        &mut self,
        max: usize,
        out: &mut SourceCollector<'_, Stamped>,
    ) -> thalweg::Result<InputStatus> {
        let now = now_ns();
        for _ in 0..max {
            if self.due_ns > now {
                break;
            }
            if self.due_ns >= self.end_ns {
                return Ok(InputStatus::EndOfInput);
            }
            let r = splitmix64(self.next);
            out.collect(Stamped {
                key: r % self.keys,
                emitted_ns: now_ns(),
                due_ns: self.due_ns,
                value: r >> 48,
                source: self.source,
            });
            self.next += self.step;
            self.due_ns += self.interval_ns;
        }
        out.poll_again_in_ns(self.due_ns.saturating_sub(now));
        Ok(InputStatus::NothingAvailable)
    }
}

#[derive(Clone)]
struct Recorder {
    mine: Option<Box<Mine>>,
    /// Events emitted before this are warm-up.
    from_ns: u64,
    total: Arc<Mutex<Latencies>>,
}

struct Mine {
    latencies: Latencies,
    subtask: u32,
}

impl Clone for Mine {
    fn clone(&self) -> Self {
        Mine { latencies: Latencies::default(), subtask: self.subtask }
    }
}

impl Sink<(Stamped, u64)> for Recorder {
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        let latencies = Latencies::default();
        self.mine = Some(Box::new(Mine { latencies, subtask: context.subtask_index() as u32 }));
        Ok(())
    }

    fn write(&mut self, (event, _): (Stamped, u64), _: i64) -> thalweg::Result<()> {
        if event.due_ns < self.from_ns {
            return Ok(());
        }
        let now = now_ns();
        let mine = self.mine.as_mut().expect("made in open");
        let latency_ns = now - event.emitted_ns;
        mine.latencies.all.saturating_record(latency_ns);
        mine.latencies.due.saturating_record(now - event.due_ns);
        if event.source != mine.subtask {
            mine.latencies.crossed.saturating_record(latency_ns);
        }
        Ok(())
    }

    fn finish(&mut self) -> thalweg::Result<SinkStatus> {
        if let Some(mine) = self.mine.take() {
            let mut total = self.total.lock().expect("no sink panics while it holds the lock");
            total.all += &mine.latencies.all;
            total.due += &mine.latencies.due;
            total.crossed += &mine.latencies.crossed;
        }
        Ok(SinkStatus::Ready)
    }
}

/// w5: a paced source, a running sum for each key, the latency of each record at the sink. The first second is dropped.
///
/// # Errors
/// Those of the job.
pub fn latency(
    env: &StreamExecutionEnvironment,
    settings: &Settings,
) -> Result<Latencies, thalweg::Error> {
    let begin_ns = now_ns() + 200_000_000;
    let end_ns = begin_ns + settings.seconds.saturating_mul(1_000_000_000);
    let total = Arc::new(Mutex::new(Latencies::default()));
    let source = Paced { keys: settings.keys, rate: settings.rate, begin_ns, end_ns };
    let from_ns = begin_ns + 1_000_000_000;
    env.from_source(source, "paced events")
        .key_by(|event| event.key)
        .scan(0u64, |sum, event| {
            *sum += event.value;
            (event, *sum)
        })
        .sink_to(Recorder { mine: None, from_ns, total: total.clone() });
    env.execute("w5")?;
    let latencies = std::mem::take(&mut *total.lock().expect("the job has ended"));
    Ok(latencies)
}
