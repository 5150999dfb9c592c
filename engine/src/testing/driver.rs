//! [`TestDriver`]: runs a job step by step.
//!
//! **Invariant**: after every verb the job is at rest, or has ended.

use super::clock::StepClock;
use super::hub::Hub;
use super::input::{InputControl, InputQueue};
use super::output::{OutputEvent, OutputEvents};
use crate::api::StreamExecutionEnvironment;
use crate::config::{ConfigurationBuilder, RestartKind, ShellKind};
use crate::error::{Error, JobFailure};
use crate::graph::{ExplainFormat, JobStatus};
use crate::metrics::JobSnapshot;
use crate::record::{CheckpointId, NO_TIMESTAMP, StreamStatus};
use crate::runtime::CheckpointStatistics;
use crate::runtime::stepped::{SteppedJob, Stepping};
use crate::time::{Clock, duration_ms};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use thalweg_io::storage::MemoryStorage;

/// Runs a job step by step; see the [module](super).
///
/// Verbs that name an input or output panic if there is none of that name, or its records have another type (integer
/// literals need one: `1_i64`). On a job that has ended or failed they do nothing. A driver stays on its thread; dropping
/// it cancels the job and closes its functions.
///
/// # Examples
///
/// ```
/// use thalweg::prelude::*;
/// use thalweg::testing::{self, TestDriver};
///
/// let mut test = TestDriver::new(|env| {
///     env.from_source(testing::input::<(char, i64)>(), "in")
///         .key_by(|(key, _)| *key)
///         .window(TumblingEventTimeWindows::of(seconds(1)))
///         .aggregate_with(Count, |key, window, count, out| out.collect((*key, window.end(), count)))
///         .sink_to(testing::output())
///         .name("counts");
/// });
/// test.pipe_at("in", [(100, ('a', 1_i64)), (900, ('a', 1)), (1_100, ('a', 1))]);
/// assert!(test.outputs::<(char, i64, u64)>("counts").is_empty());
/// test.watermark("in", 999);
/// assert_eq!(test.outputs::<(char, i64, u64)>("counts"), [('a', 1_000, 2)]);
/// test.end("in");
/// assert_eq!(test.outputs::<(char, i64, u64)>("counts"), [('a', 2_000, 1)]);
/// assert!(test.is_finished() && test.failure().is_none());
/// ```
pub struct TestDriver {
    hub: Arc<Hub>,
    clock: Arc<StepClock>,
    job: SteppedJob,
}

impl TestDriver {
    /// A driver of the job that `write` writes, with the defaults of [`builder`](Self::builder).
    ///
    /// # Panics
    /// If the plan has mistakes; the message tells them all.
    #[track_caller]
    pub fn new(write: impl FnOnce(&StreamExecutionEnvironment)) -> Self {
        match Self::builder().build(write) {
            Ok(driver) => driver,
            Err(error) => panic!("the job cannot be tested: {error}"),
        }
    }

    /// Options of a driver: parallelism 1, seeded shell, seed 0.
    pub fn builder() -> TestDriverBuilder {
        let mut configuration = ConfigurationBuilder::new();
        configuration.parallelism(1);
        TestDriverBuilder { configuration, seed: 0, cores: None, shell: None }
    }
}

/// Steps. The effects of each are complete when it returns.
impl TestDriver {
    /// Injects records without timestamps, each a step of its own. The subtasks of the source take turns.
    ///
    /// # Panics
    /// If the job has no input of that name and type.
    #[track_caller]
    pub fn pipe<T: Send + 'static>(&mut self, input: &str, records: impl IntoIterator<Item = T>) {
        for record in records {
            self.inject(input, record, NO_TIMESTAMP);
        }
    }

    /// Injects records with timestamps in milliseconds, each a step of its own.
    ///
    /// # Panics
    /// As [`pipe`](Self::pipe).
    #[track_caller]
    pub fn pipe_at<T: Send + 'static>(
        &mut self,
        input: &str,
        records: impl IntoIterator<Item = (i64, T)>,
    ) {
        for (timestamp_ms, record) in records {
            self.inject(input, record, timestamp_ms);
        }
    }

    #[track_caller]
    fn inject<T: Send + 'static>(&mut self, input: &str, record: T, timestamp_ms: i64) {
        let injected = self.hub.inputs.with_type::<T, _>(input, |ports| {
            let turn = ports.turn % ports.by_subtask.len();
            ports.turn = turn + 1;
            let port = ports.by_subtask.values().nth(turn);
            let queue = port.and_then(|port| port.as_any().downcast_ref::<InputQueue<T>>());
            queue.expect("the type was compared").push_record(record, timestamp_ms);
        });
        self.step(injected);
    }

    /// Injects a watermark into all subtasks of an input. As between operators, one that is not above the last, or comes
    /// while the input is idle, is ignored.
    ///
    /// # Panics
    /// If the job has no such input.
    #[track_caller]
    pub fn watermark(&mut self, input: &str, watermark_ms: i64) {
        self.control(input, InputControl::Watermark(watermark_ms));
    }

    /// Makes an input idle, in all its subtasks: it does not hold the watermarks of others back any more.
    ///
    /// # Panics
    /// If the job has no such input.
    #[track_caller]
    pub fn idle(&mut self, input: &str) {
        self.control(input, InputControl::Status(StreamStatus::Idle));
    }

    /// Makes an idle input active.
    ///
    /// # Panics
    /// If the job has no such input.
    #[track_caller]
    pub fn active(&mut self, input: &str) {
        self.control(input, InputControl::Status(StreamStatus::Active));
    }

    /// Ends an input: the last watermark, `i64::MAX`, and the end of its stream follow. What is injected afterwards is
    /// not read.
    ///
    /// # Panics
    /// If the job has no such input.
    #[track_caller]
    pub fn end(&mut self, input: &str) {
        self.control(input, InputControl::End);
    }

    #[track_caller]
    fn control(&mut self, input: &str, control: InputControl) {
        let injected = self.hub.inputs.with(input, |ports| {
            ports.by_subtask.values().for_each(|port| port.push_control(control));
        });
        self.step(injected);
    }

    /// Moves the clock on, and fires what is due then.
    #[track_caller]
    pub fn advance_clock(&mut self, by: Duration) {
        self.set_clock_ms(self.clock_ms().saturating_add(duration_ms(by)));
    }

    /// Sets the clock. Every processing-time timer up to then fires, in the order of their times; all see the clock at
    /// `now_ms`. Setting it to where it is fires timers that were registered for the past. Backwards it moves the wall
    /// clock alone, as an administrator would.
    #[track_caller]
    pub fn set_clock_ms(&mut self, now_ms: i64) {
        self.clock.step_to_ms(now_ms);
        self.settle();
        self.clock.hold();
        // So that no round is under way that believes that timers may fire.
        self.settle();
    }

    /// Takes a checkpoint, and returns its number when it is complete.
    ///
    /// # Panics
    /// If the driver was not built with [`checkpoints`](TestDriverBuilder::checkpoints), the job has ended, or the checkpoint
    /// fails.
    #[track_caller]
    pub fn checkpoint(&mut self) -> CheckpointId {
        let before = self.checkpoints();
        self.job.checkpoint();
        self.settle();
        let after = self.checkpoints();
        match after.latest.filter(|_| after.completed > before.completed) {
            Some(id) => id,
            None if after.failed > before.failed => {
                panic!("{}", after.latest_failure.unwrap_or_default());
            }
            None => panic!(
                "there was no checkpoint: the job has none, or has ended; see TestDriverBuilder::checkpoints"
            ),
        }
    }

    /// Fails the job and has it go on from its last checkpoint, or from the beginning if it has none. What inputs were given
    /// after that checkpoint is read again.
    ///
    /// # Panics
    /// If the driver was not built with [`checkpoints`](TestDriverBuilder::checkpoints), or the job has ended.
    #[track_caller]
    pub fn restart(&mut self) {
        let before = self.checkpoints().restarts;
        self.job.fail("the test wants a restart");
        self.settle();
        if self.checkpoints().restarts == before {
            match self.failure() {
                Some(failure) => panic!("the job was not restarted: {failure}"),
                None => panic!("the job was not restarted: it has ended"),
            }
        }
    }

    /// The job's checkpoints and restarts so far.
    pub fn checkpoints(&self) -> CheckpointStatistics {
        self.job.state().checkpoints()
    }

    pub(super) fn has_input(&self, input: &str) -> bool {
        self.hub.inputs.with(input, |_| ()).is_ok()
    }

    /// What the clock shows.
    pub fn clock_ms(&self) -> i64 {
        self.clock.wall_ms()
    }

    /// Lets the job come to rest, when something from outside it has changed. The other verbs do so by themselves.
    ///
    /// # Panics
    /// If that takes two minutes.
    #[track_caller]
    pub fn settle(&mut self) {
        if let Err(error) = self.job.settle() {
            panic!("{error}");
        }
    }

    #[track_caller]
    fn step(&mut self, injected: Result<(), String>) {
        match injected {
            Ok(()) => self.settle(),
            // A job that failed while it was built has not entered all its ports.
            Err(_) if self.failure().is_some() => {}
            Err(message) => panic!("{message}"),
        }
    }
}

/// Results.
impl TestDriver {
    /// The records that have come to an output since the last call of this or [`events`](Self::events), in order.
    ///
    /// # Panics
    /// If the job has no output of that name and type.
    #[track_caller]
    pub fn outputs<T: Send + 'static>(&mut self, output: &str) -> Vec<T> {
        let record = |event| match event {
            OutputEvent::Record { value, .. } => Some(value),
            OutputEvent::Watermark(_) | OutputEvent::Status(_) => None,
        };
        self.events(output).into_iter().filter_map(record).collect()
    }

    /// Records, watermarks and statuses that have come to an output since the last call of this or
    /// [`outputs`](Self::outputs), in sequence.
    ///
    /// # Panics
    /// If the job has no output of that name and type.
    #[track_caller]
    pub fn events<T: Send + 'static>(&mut self, output: &str) -> Vec<OutputEvent<T>> {
        let taken = self.hub.outputs.with_type::<T, _>(output, |ports| {
            // All subtasks share one.
            let port = ports.by_subtask.values().next();
            let events = port.and_then(|port| port.as_any().downcast_ref::<OutputEvents<T>>());
            events.expect("the type was compared").take()
        });
        match taken {
            Ok(events) => events,
            Err(_) if self.failure().is_some() => Vec::new(),
            Err(message) => panic!("{message}"),
        }
    }

    /// The job's failure: which operator, at which record, and why. What came before it is in the outputs.
    pub fn failure(&self) -> Option<JobFailure> {
        self.job.state().failure()
    }

    /// How far the job has come.
    pub fn status(&self) -> JobStatus {
        self.job.state().status()
    }

    /// Has the job ended, because all its inputs did, or by a failure?
    pub fn is_finished(&self) -> bool {
        self.job.state().has_ended()
    }

    /// The job's metrics, by vertex.
    pub fn metrics(&self) -> JobSnapshot {
        self.job.state().snapshot()
    }

    /// The job's graphs, with the states of the subtasks.
    pub fn explain(&self, format: ExplainFormat) -> String {
        self.job.state().explain().render(format)
    }
}

impl fmt::Debug for TestDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestDriver")
            .field("clock_ms", &self.clock_ms())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// Sets up a [`TestDriver`].
///
/// # Examples
///
/// ```
/// use thalweg::config::ShellKind;
/// use thalweg::testing::{self, TestDriver};
///
/// # fn main() -> Result<(), thalweg::Error> {
/// for shell in [None, Some(ShellKind::Threads)] {
///     let mut builder = TestDriver::builder().parallelism(2).seed(7);
///     if let Some(shell) = shell {
///         builder = builder.shell(shell);
///     }
///     let mut test = builder.configure(|c| c.pages_in_flight(2)).build(|env| {
///         let numbers = env.from_source(testing::input::<u64>(), "numbers");
///         numbers.key_by(|n| n % 10).scan(0, |sum, n| { *sum += n; *sum }).sink_to(testing::output()).name("sums");
///     })?;
///     test.pipe("numbers", [3_u64, 13, 4]);
///     assert_eq!(test.outputs::<u64>("sums"), [3, 16, 4]);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct TestDriverBuilder {
    configuration: ConfigurationBuilder,
    seed: u64,
    cores: Option<usize>,
    shell: Option<ShellKind>,
}

impl TestDriverBuilder {
    /// Subtasks of each operator that does not say otherwise. Default: 1.
    #[track_caller]
    pub fn parallelism(mut self, parallelism: usize) -> Self {
        self.configuration.parallelism(parallelism);
        self
    }

    /// Decides which core runs next. The same seed gives the same run; another one may give another order where the job
    /// promises none. Without effect on other shells. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// On how many cores the seeded shell spreads the slots, at least 1. Records between subtasks of one core go another
    /// way than those between cores. Default: one core for each slot.
    pub fn cores(mut self, count: usize) -> Self {
        self.cores = Some(count);
        self
    }

    /// The job has checkpoints, kept in memory, and goes on from the last one when it fails, at once and as often as that
    /// happens. They are taken when the test says so.
    #[track_caller]
    pub fn checkpoints(mut self) -> Self {
        self.configuration
            .checkpoint_interval(Duration::from_secs(86_400))
            .restart_strategy(RestartKind::FixedDelay)
            .restart_attempts(u32::MAX)
            .restart_delay(Duration::ZERO);
        self
    }

    /// Options of the job: `configure(|c| c.auto_watermark_interval(seconds(1)))`.
    pub fn configure(
        mut self,
        set: impl FnOnce(&mut ConfigurationBuilder) -> &mut ConfigurationBuilder,
    ) -> Self {
        set(&mut self.configuration);
        self
    }

    /// Runs the job on threads, as in production, instead of the seeded shell. The clock is the test's all the same.
    pub fn shell(mut self, shell: ShellKind) -> Self {
        self.shell = Some(shell);
        self
    }

    /// Plans, deploys and opens the job that `write` writes.
    ///
    /// # Errors
    /// Everything that is wrong with options and plan; cores that cannot be had. A function that cannot be opened is not
    /// an error here, but the job's [`failure`](TestDriver::failure).
    #[track_caller]
    pub fn build(
        self,
        write: impl FnOnce(&StreamExecutionEnvironment),
    ) -> Result<TestDriver, Error> {
        let TestDriverBuilder { configuration, seed, cores, shell } = self;
        let hub = Hub::new();
        let env = StreamExecutionEnvironment::with_configuration(configuration.build()?);
        hub.at_hand(|| write(&env));
        let submission = env.submission("test")?;
        let stepping = match shell {
            None => Stepping::Seeded { seed, cores, disk: Arc::new(MemoryStorage::new()) },
            Some(shell) => Stepping::Shell(shell),
        };
        let clock = Arc::new(StepClock::new());
        let job = SteppedJob::launch(submission, stepping, clock.clone())?;
        let mut driver = TestDriver { hub, clock, job };
        driver.settle();
        Ok(driver)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::testing::{input, output};

    fn driver(parallelism: usize) -> TestDriver {
        let builder = TestDriver::builder().parallelism(parallelism).checkpoints();
        let built = builder.build(|env| {
            let numbers = env.from_source(input::<u64>(), "numbers");
            numbers.map(|n| n + 1).sink_to(output()).name("more");
        });
        built.unwrap()
    }

    #[test]
    fn a_job_takes_checkpoints_and_goes_on_after_a_failure() {
        for parallelism in [1, 3] {
            let mut test = driver(parallelism);
            test.pipe("numbers", [1_u64, 2]);
            assert_eq!(test.checkpoint(), CheckpointId(1));
            assert_eq!(test.checkpoint(), CheckpointId(2));
            test.restart();
            test.pipe("numbers", [3_u64]);
            assert_eq!(test.checkpoint(), CheckpointId(3));
            assert_eq!(test.outputs::<u64>("more"), [2, 3, 4]);
            let statistics = test.checkpoints();
            assert_eq!((statistics.completed, statistics.restarts), (3, 1));
            assert_eq!(statistics.restored, Some(CheckpointId(2)));
            test.end("numbers");
            assert!(test.is_finished() && test.failure().is_none());
            // The last one, without which no job ends.
            assert_eq!(test.checkpoints().completed, 4);
        }
    }

    #[test]
    fn a_job_without_checkpoints_is_not_restarted() {
        let mut test = TestDriver::new(|env| {
            env.from_source(input::<u64>(), "numbers").sink_to(output()).name("same");
        });
        test.job.fail("the test wants a failure");
        test.settle();
        assert!(test.failure().is_some());
    }
}
