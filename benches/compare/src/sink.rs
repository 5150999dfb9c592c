//! The sink of all systems but Thalweg, whose own does the same: a digest of the rows and, if asked for, the last row of
//! each key.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use thalweg_benches::digest::mix;
use thalweg_benches::workload::{Meter, Outcome, Settings};

/// A row of results.
pub(crate) trait Row {
    fn digest(&self) -> u64;

    /// Notes it as the last one of its key, for workloads that have a `final`.
    fn keep(&self, kept: &mut HashMap<u64, (u64, u64)>);
}

/// w1: key and sum.
impl Row for (u64, u64) {
    #[inline(always)]
    fn digest(&self) -> u64 {
        self.0 ^ self.1
    }

    fn keep(&self, kept: &mut HashMap<u64, (u64, u64)>) {
        let entry = kept.entry(self.0).or_default();
        *entry = (self.1, entry.1 + 1);
    }
}

/// w2, w3, w4: key, end of the window, count.
impl Row for (u64, u64, u64) {
    #[inline(always)]
    fn digest(&self) -> u64 {
        mix(self.0, self.1, self.2)
    }

    fn keep(&self, _: &mut HashMap<u64, (u64, u64)>) {}
}

/// w7: name, count, cents.
impl Row for (String, u64, u64) {
    #[inline(always)]
    fn digest(&self) -> u64 {
        (self.0.len() as u64).wrapping_add(self.1).wrapping_add(self.2)
    }

    fn keep(&self, kept: &mut HashMap<u64, (u64, u64)>) {
        let id = self.0[5..15].parse().expect("the generator's names");
        kept.insert(id, (self.1, self.2));
    }
}

/// What the sources and sinks of a run share.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) settings: Settings,
    pub(crate) meter: Arc<Meter>,
    /// Sinks add to it, each once; who reads it has joined their threads.
    finals: Arc<AtomicU64>,
}

impl Run {
    pub(crate) fn new(settings: &Settings) -> Self {
        Run { settings: settings.clone(), meter: Arc::default(), finals: Arc::default() }
    }

    pub(crate) fn sink<R: Row>(&self) -> RowSink<R> {
        let kept = self.settings.with_final.then(HashMap::new);
        RowSink { kept, checksum: 0, rows: 0, run: self.clone(), row: PhantomData }
    }

    pub(crate) fn outcome(self) -> Outcome {
        let last = self.finals.load(Ordering::Relaxed);
        Outcome { reading: self.meter.read(), last: self.settings.with_final.then_some(last) }
    }
}

/// One subtask of the sink. It reports when it is dropped, which all systems do when their input is over.
pub(crate) struct RowSink<R> {
    kept: Option<HashMap<u64, (u64, u64)>>,
    checksum: u64,
    rows: u64,
    run: Run,
    row: PhantomData<fn(R)>,
}

impl<R: Row> RowSink<R> {
    /// Inlined into the systems' loops; what is rare is apart. With a call a row the hand-written loop was as fast, though.
    #[inline(always)]
    pub(crate) fn write(&mut self, row: &R) {
        if self.rows == 0 {
            self.first_row();
        }
        self.rows += 1;
        self.checksum = self.checksum.wrapping_add(row.digest());
        if self.kept.is_some() {
            self.keep(row);
        }
    }

    #[cold]
    fn first_row(&mut self) {
        self.run.meter.first_output();
    }

    #[cold]
    fn keep(&mut self, row: &R) {
        if let Some(kept) = &mut self.kept {
            row.keep(kept);
        }
    }
}

/// renoir clones what it is given for each of its replicas; a clone begins anew.
impl<R: Row> Clone for RowSink<R> {
    fn clone(&self) -> Self {
        self.run.sink()
    }
}

impl<R> Drop for RowSink<R> {
    fn drop(&mut self) {
        if self.rows == 0 {
            return;
        }
        self.run.meter.finished(self.rows, self.checksum);
        let kept = self.kept.take().unwrap_or_default();
        let last = kept.into_iter().map(|(key, (value, count))| mix(key, value, count));
        let sum = last.fold(0, u64::wrapping_add);
        self.run.finals.fetch_add(sum, Ordering::Relaxed);
    }
}
