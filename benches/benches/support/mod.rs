//! What the benches share: criterion with short times; and for whole jobs a source, a sink that sums up, and one measured run.
//!
//! An iteration is one job over a fixed number of records. Its time is the meter's, from the first poll of a source to
//! the end of the last sink, so starting and ending a job are left out; criterion divides it by the records.

#![allow(dead_code, reason = "each bench compiles this file and none uses all of it")]

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use std::sync::Arc;
use std::time::Duration;
use thalweg::prelude::*;
use thalweg_benches::workload::{Meter, Settings};

/// As in the workloads: a library must not choose the allocator, so the bench does.
#[global_allocator]
static ALLOCATOR: thalweg_benches::alloc::Counting = thalweg_benches::alloc::Counting;

/// Short: a run of all benches should take a few minutes on two cores.
pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args()
}

/// What a job must give: the number of rows at the sinks and the wrapping sum of their digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) rows: u64,
    pub(crate) sum: u64,
}

impl FromIterator<u64> for Expected {
    /// From the digest of each row.
    fn from_iter<I: IntoIterator<Item = u64>>(digests: I) -> Self {
        digests.into_iter().fold(Expected { rows: 0, sum: 0 }, |all, digest| Expected {
            rows: all.rows + 1,
            sum: all.sum.wrapping_add(digest),
        })
    }
}

/// One job of a bench.
pub(crate) struct JobBench<'a> {
    pub(crate) name: &'a str,
    /// What varies within the name: the number of keys, of operators.
    pub(crate) parameter: String,
    pub(crate) parallelism: usize,
    /// Records that enter the job.
    pub(crate) records: u64,
    pub(crate) expected: Expected,
}

impl JobBench<'_> {
    /// Measures the job that `write` writes, and checks what each run gives.
    pub(crate) fn measure(
        &self,
        group: &mut BenchmarkGroup<'_, WallTime>,
        write: impl Fn(&StreamExecutionEnvironment, &Arc<Meter>),
    ) {
        group.throughput(Throughput::Elements(self.records));
        group.bench_function(BenchmarkId::new(self.name, &self.parameter), |bencher| {
            bencher.iter_custom(|runs| (0..runs).map(|_| self.run(&write)).sum());
        });
    }

    fn run(&self, write: impl Fn(&StreamExecutionEnvironment, &Arc<Meter>)) -> Duration {
        let (env, meter) = (StreamExecutionEnvironment::new(), Arc::new(Meter::default()));
        env.set_parallelism(self.parallelism);
        write(&env, &meter);
        env.execute(self.name).expect("the job of a bench is right");
        let reading = meter.read();
        let got = Expected { rows: reading.rows, sum: reading.checksum };
        assert_eq!(got, self.expected, "{} {}", self.name, self.parameter);
        Duration::from_secs_f64(reading.seconds)
    }
}

/// The settings of a source of [`Events`](thalweg_benches::workload::Events) with a fixed number of them.
pub(crate) fn settings(keys: u64, events: u64) -> Settings {
    Settings { keys, events, seconds: u64::MAX, rate: 0, with_final: false }
}

/// Reads `make(subtask, i)` for each i below `end` with `i % parallelism == subtask`.
pub(crate) struct Numbers<T> {
    pub(crate) make: fn(u64, u64) -> T,
    pub(crate) end: u64,
    subtask: u64,
    step: u64,
    next: u64,
    started: bool,
    meter: Arc<Meter>,
}

impl<T> Numbers<T> {
    pub(crate) fn new(
        context: &ReaderContext,
        end: u64,
        make: fn(u64, u64) -> T,
        meter: Arc<Meter>,
    ) -> Self {
        let (subtask, step) = (context.subtask_index as u64, context.parallelism as u64);
        Numbers { make, end, subtask, step, next: subtask, started: false, meter }
    }
}

impl<T: Send + 'static> SourceReader for Numbers<T> {
    type Out = T;
    type Split = NoSplit;

    fn poll_batch(
        &mut self,
        max: usize,
        out: &mut SourceCollector<'_, T>,
    ) -> thalweg::Result<InputStatus> {
        if !self.started {
            self.started = true;
            self.meter.started();
        }
        let end = self.end.min(self.next.saturating_add(max as u64 * self.step));
        while self.next < end {
            out.collect((self.make)(self.subtask, self.next));
            self.next += self.step;
        }
        match self.next >= self.end {
            true => Ok(InputStatus::EndOfInput),
            false => Ok(InputStatus::MoreAvailable),
        }
    }
}

/// Counts rows and adds up their digests.
#[derive(Clone)]
pub(crate) struct Tally<F> {
    digest: F,
    rows: u64,
    sum: u64,
    meter: Arc<Meter>,
}

impl<F> Tally<F> {
    pub(crate) fn new(meter: &Arc<Meter>, digest: F) -> Self {
        Tally { digest, rows: 0, sum: 0, meter: meter.clone() }
    }
}

impl<T: 'static, F: FnMut(&T) -> u64 + 'static> Sink<T> for Tally<F> {
    #[inline]
    fn write(&mut self, row: T, _: i64) -> thalweg::Result<()> {
        self.rows += 1;
        self.sum = self.sum.wrapping_add((self.digest)(&row));
        Ok(())
    }

    fn finish(&mut self) -> thalweg::Result<SinkStatus> {
        self.meter.finished(self.rows, self.sum);
        Ok(SinkStatus::Ready)
    }
}
