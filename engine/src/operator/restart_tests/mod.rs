//! Restarts of keyed operators and of functions with state: a run that is restarted, at whatever record, gives what the
//! uninterrupted run gives.

mod functions;
mod keyed;
mod requests;
mod stores;
mod windows;

use crate::api::{Chain, DataStream, StreamExecutionEnvironment};
use crate::config::StateBackend;
use crate::testing::attempts::{Attempt, Attempts};
use crate::testing::{self, TestDriver};
use std::cell::Cell;
use std::fmt::Debug;

/// What runs a job: the driver with the control plane, which has inputs read again what was lost; or a test's own attempts,
/// where it is given again, step by step.
pub(super) enum Bench {
    Driver(TestDriver),
    Attempt(Attempt),
}

impl Bench {
    fn pipe<T: Send + 'static>(&mut self, place: (&str, usize), record: T, timestamp_ms: i64) {
        match self {
            Bench::Driver(test) => test.pipe_at(place.0, [(timestamp_ms, record)]),
            Bench::Attempt(attempt) => attempt.pipe(place, record, timestamp_ms),
        }
    }

    fn watermark(&mut self, input: &str, watermark_ms: i64) {
        match self {
            Bench::Driver(test) => test.watermark(input, watermark_ms),
            Bench::Attempt(attempt) => attempt.watermark(input, watermark_ms),
        }
    }

    fn set_clock_ms(&mut self, now_ms: i64) {
        match self {
            Bench::Driver(test) => test.set_clock_ms(now_ms),
            Bench::Attempt(attempt) => attempt.set_clock_ms(now_ms),
        }
    }

    fn outputs<T: Send + 'static>(&mut self) -> Vec<T> {
        match self {
            Bench::Driver(test) => test.outputs("out"),
            Bench::Attempt(attempt) => attempt.outputs("out"),
        }
    }
}

thread_local! {
    /// Are inputs of the job that is written to be read once?
    static READS_ONCE: Cell<bool> = const { Cell::new(false) };
    /// Are results of one step compared without their order?
    static SORTS: Cell<bool> = const { Cell::new(false) };
}

/// The input of a run.
pub(super) fn input<T: Clone + Send + 'static>(
    env: &StreamExecutionEnvironment,
    name: &str,
) -> DataStream<T, impl Chain<T>> {
    let source = if READS_ONCE.get() { testing::input_once() } else { testing::input() };
    env.from_source(source, name)
}

/// One step of a run: an input's record or watermark, or the clock.
pub(super) type Step = Box<dyn Fn(&mut Bench)>;

/// A run: what it is of, its steps, and what its output is called.
pub(super) struct Run<W> {
    pub(super) write: W,
    pub(super) steps: Vec<Step>,
}

pub(super) const BACKENDS: [StateBackend; 2] = [StateBackend::Memory, StateBackend::Lsm];

/// A record for an input, as the `turn`-th of it.
pub(super) fn record<T: Clone + Send + 'static>(
    input: &'static str,
    turn: usize,
    record: T,
    timestamp_ms: i64,
) -> Step {
    Box::new(move |bench| bench.pipe((input, turn), record.clone(), timestamp_ms))
}

pub(super) fn watermark(inputs: &'static [&'static str], watermark_ms: i64) -> Step {
    Box::new(move |bench| inputs.iter().for_each(|input| bench.watermark(input, watermark_ms)))
}

pub(super) fn clock(now_ms: i64) -> Step {
    Box::new(move |bench| bench.set_clock_ms(now_ms))
}

/// How many steps are lost by a restart.
const LOST: usize = 3;

impl<W: Fn(&StreamExecutionEnvironment)> Run<W> {
    fn driver(&self, parallelism: usize, backend: StateBackend) -> Bench {
        READS_ONCE.set(false);
        let builder = TestDriver::builder().parallelism(parallelism).checkpoints();
        let built = builder.configure(|c| c.state_backend(backend)).build(&self.write);
        Bench::Driver(built.unwrap())
    }

    /// Does the steps from `from` on, up to `to`, and gives the results of each, in order; those of several subtasks have none.
    fn go<T: Ord + Send + 'static>(
        &self,
        (bench, parallelism): (&mut Bench, usize),
        from: usize,
        to: usize,
    ) -> Vec<Vec<T>> {
        let steps = self.steps[from..to].iter().map(|step| {
            step(bench);
            let mut results = bench.outputs::<T>();
            if parallelism > 1 || SORTS.get() {
                results.sort();
            }
            results
        });
        steps.collect()
    }

    /// Restarts at every step: results are those of the uninterrupted run.
    pub(super) fn check<T: Ord + Clone + Debug + Send + 'static>(&self) {
        SORTS.set(false);
        for backend in BACKENDS {
            [1, 2, 4].iter().for_each(|parallelism| self.check_at::<T>(*parallelism, backend));
        }
    }

    /// [`check`](Self::check) for operators whose results of one step have no order, with half of the combinations.
    pub(super) fn check_briefly<T: Ord + Clone + Debug + Send + 'static>(&self) {
        SORTS.set(true);
        self.check_at::<T>(1, StateBackend::Memory);
        self.check_at::<T>(2, StateBackend::Lsm);
        self.check_at::<T>(4, StateBackend::Memory);
    }

    fn check_at<T: Ord + Clone + Debug + Send + 'static>(
        &self,
        parallelism: usize,
        backend: StateBackend,
    ) {
        let count = self.steps.len();
        let mut bench = self.driver(parallelism, backend);
        let expected = self.go::<T>((&mut bench, parallelism), 0, count);
        assert!(expected.iter().any(|results| !results.is_empty()), "the run has results");
        for at in 0..count {
            self.check_driver(&expected, at, (parallelism, backend));
            self.check_attempts(&expected, at, (parallelism, backend));
        }
    }

    /// By the control plane, which restarts the job right behind a checkpoint, and again some steps later.
    fn check_driver<T: Ord + Clone + Debug + Send + 'static>(
        &self,
        expected: &[Vec<T>],
        at: usize,
        (parallelism, backend): (usize, StateBackend),
    ) {
        let place = format!("{backend:?}, parallelism {parallelism}, step {at}");
        let (count, mut bench) = (self.steps.len(), self.driver(parallelism, backend));
        let mut from = 0;
        for to in [at, (at + LOST).min(count), count] {
            let results = self.go::<T>((&mut bench, parallelism), from, to);
            assert_eq!(results, expected[from..to], "steps {from} to {to}, {place}");
            let Bench::Driver(test) = &mut bench else { unreachable!("it is a driver") };
            test.checkpoint();
            test.restart();
            assert_eq!(bench.outputs::<T>(), []);
            from = to;
        }
    }

    /// By the test, with steps that are lost; and again from a checkpoint that was taken after the restart.
    fn check_attempts<T: Ord + Clone + Debug + Send + 'static>(
        &self,
        expected: &[Vec<T>],
        at: usize,
        (parallelism, backend): (usize, StateBackend),
    ) {
        READS_ONCE.set(true);
        let place = format!("{backend:?}, parallelism {parallelism}, step {at}");
        let mut attempts = Attempts::new(parallelism, backend, &self.write);
        let count = self.steps.len();
        let (mut restored, mut from, mut now_ms) = (None, 0, 0);
        for (id, to) in (1..).zip([at, (at + LOST - 1).min(count), count]) {
            let mut bench = Bench::Attempt(attempts.begin(restored.as_ref(), now_ms));
            let results = self.go::<T>((&mut bench, parallelism), from, to);
            assert_eq!(results, expected[from..to], "steps {from} to {to}, {place}");
            let Bench::Attempt(attempt) = &mut bench else { unreachable!("it is an attempt") };
            let state = attempt.checkpoint(id);
            now_ms = attempt.core.now_ms.get();
            let lost = (to + LOST).min(count);
            let results = self.go::<T>((&mut bench, parallelism), to, lost);
            assert_eq!(results, expected[to..lost], "behind the checkpoint, {place}");
            drop(bench);
            attempts.retain(&state);
            (restored, from) = (Some(state), to);
        }
    }
}
