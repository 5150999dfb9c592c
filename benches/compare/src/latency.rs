//! What the systems' programs of w5 share: stamped events, when they are due, and the histograms.

use crate::case::Case;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex};
use thalweg_benches::digest::splitmix64;
use thalweg_benches::now_ns;
use thalweg_benches::workload::Latencies;

/// An event with its stamps, as Thalweg's.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Stamped {
    pub(crate) key: u64,
    pub(crate) emitted_ns: u64,
    pub(crate) due_ns: u64,
    pub(crate) value: u64,
    pub(crate) source: u32,
}

/// When a run begins and ends; what came out of it.
#[derive(Clone)]
pub(crate) struct PacedRun {
    keys: u64,
    rate: u64,
    pub(crate) begin_ns: u64,
    end_ns: u64,
    /// Recorders add to it, each once, when they are dropped.
    total: Arc<Mutex<Latencies>>,
}

impl PacedRun {
    pub(crate) fn new(case: &Case) -> Self {
        let settings = case.settings();
        let begin_ns = now_ns() + 200_000_000;
        let end_ns = begin_ns + settings.seconds.saturating_mul(1_000_000_000);
        PacedRun {
            keys: settings.keys,
            rate: settings.rate,
            begin_ns,
            end_ns,
            total: Arc::default(),
        }
    }

    pub(crate) fn source(&self, subtask: u64, of: u64) -> PacedSource {
        let interval_ns = 1_000_000_000 * of / self.rate;
        PacedSource {
            keys: self.keys,
            interval_ns,
            due_ns: self.begin_ns + subtask * interval_ns / of,
            end_ns: self.end_ns,
            next: subtask,
            step: of,
        }
    }

    /// `subtask` is `None` where a system does not say it.
    pub(crate) fn recorder(&self, subtask: Option<u32>) -> Recorder {
        Recorder { latencies: Latencies::default(), subtask, run: self.clone() }
    }

    pub(crate) fn latencies(self) -> Latencies {
        std::mem::take(&mut *self.total.lock().expect("no recorder panics while it holds the lock"))
    }
}

/// One source subtask: an event each interval, whatever became of those before.
#[derive(Clone)]
pub(crate) struct PacedSource {
    keys: u64,
    interval_ns: u64,
    due_ns: u64,
    end_ns: u64,
    next: u64,
    step: u64,
}

impl PacedSource {
    pub(crate) fn is_over(&self) -> bool {
        self.due_ns >= self.end_ns
    }

    /// The next event, if it is due, stamped with the clock of now.
    #[inline]
    pub(crate) fn poll(&mut self, now: u64) -> Option<Stamped> {
        if self.due_ns > now || self.is_over() {
            return None;
        }
        let r = splitmix64(self.next);
        let event = Stamped {
            key: r % self.keys,
            emitted_ns: now_ns(),
            due_ns: self.due_ns,
            value: r >> 48,
            source: (self.next % self.step) as u32,
        };
        self.next += self.step;
        self.due_ns += self.interval_ns;
        Some(event)
    }
}

/// One subtask of the sink.
pub(crate) struct Recorder {
    latencies: Latencies,
    subtask: Option<u32>,
    run: PacedRun,
}

impl Recorder {
    /// A row has come out. The first second is dropped.
    #[inline]
    pub(crate) fn record(&mut self, event: &Stamped) {
        if event.due_ns < self.run.begin_ns + 1_000_000_000 {
            return;
        }
        let now = now_ns();
        let latency_ns = now - event.emitted_ns;
        self.latencies.all.saturating_record(latency_ns);
        self.latencies.due.saturating_record(now - event.due_ns);
        if self.subtask.is_some_and(|subtask| subtask != event.source) {
            self.latencies.crossed.saturating_record(latency_ns);
        }
    }
}

/// renoir clones what it is given for each of its replicas; a clone begins anew.
impl Clone for Recorder {
    fn clone(&self) -> Self {
        self.run.recorder(self.subtask)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Ok(mut total) = self.run.total.lock() {
            total.all += &self.latencies.all;
            total.due += &self.latencies.due;
            total.crossed += &self.latencies.crossed;
        }
    }
}
