//! A job that goes on step by step: what [`testing`](crate::testing) drives.
//!
//! The job runs as any other: same dispatcher, job master, core loops, tasks. What is added is knowing when it is *at
//! rest*, that is, when nothing will happen until an input or the clock brings something.
//!
//! On the seeded shell that is seen directly (`shell/seeded.rs`). On shells with threads of their own it is found by a
//! double collect:
//!
//! 1. Ask every core how many of its rounds have worked. A core answers at the end of the first round that begins after
//!    the question. Ask the dispatcher how much it has done; it answers after one whole turn of its loop.
//! 2. When all have answered, ask again.
//! 3. The answers are the same: at rest. Else go on asking.
//!
//! **Why equality proves rest.** (The dispatcher is one of the cores here, and a turn of its loop a round.) Whatever
//! sends (a page, a page given back, a control, a command, an event, a split) makes its round count as one that worked.
//! Let `A` be the round with which a core answered first, `B` the one with which it answered second; all `B` begin
//! after all `A` have ended, and what was sent in or before any `A` is visible to every `B`, by way of the answers and
//! the second question. Equal answers say that no round after `A` up to and including `B` worked, on any core. Suppose
//! that a later round works, and take the first of these to begin. The clock stands still, so what it found was sent,
//! by a round that worked and began earlier. That was `A` or one before it: but then the receiver's `B` would have
//! found it, and worked. Or it came after its core's `B`: but then it is a later round that works and began earlier.
//! Neither can be.
//!
//! Who is not part of the job is not seen: threads of blocking sources, sockets, files that others write.
//!
//! **Invariants**
//! - The job has one engine, and that one job; both end when this is dropped.
//! - Cores with threads are leased for this job alone, because their clock is the test's.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use thalweg_io::storage::Storage;

use super::core_loop_link::CoreLink;
use super::dispatcher::{ControlSender, Dispatcher, Lifetime};
use super::engine::{cores_of, start};
use super::executors::{CoreHandleRemote, ShellKind};
use super::resource_manager::AllocationError;
use super::savepoint::{Afterwards, SavepointHandle, SavepointWish};
use super::shell::IdlePolicy;
use super::shell::seeded::SeededCores;
use super::state_files::FilesPlace;
use super::status::JobState;
use super::submission::Submission;
use super::task_manager::{TaskManager, TaskManagerOptions};
use crate::error::Error;
use crate::sync::thread;
use crate::time::{Clock, SystemClock};

/// Who runs the cores.
#[derive(Clone, Debug)]
pub(crate) enum Stepping {
    /// The calling thread, by a seed; on this many cores, or one for each slot. Files are on the simulated disk.
    Seeded { seed: u64, cores: Option<usize>, disk: Arc<dyn Storage> },
    /// Threads of their own.
    Shell(ShellKind),
}

/// The job has not come to rest for a long time.
#[derive(Debug, thiserror::Error)]
#[error(
    "the job did not come to rest within {} s: a source never runs dry (give it an end, or feed the job by \
     `testing::input`), an operator waits for something outside the job, or user code does not return",
    PATIENCE.as_secs()
)]
pub(crate) struct NeverAtRest;

/// Longest wait for a job to come to rest.
const PATIENCE: Duration = Duration::from_secs(120);

/// Longest wait for a checkpoint, which may itself wait for the test.
const CHECKPOINT_PATIENCE: Duration = Duration::from_secs(5);

/// See the module docs.
pub(crate) struct SteppedJob {
    state: Arc<JobState>,
    control: ControlSender,
    runner: Runner,
}

enum Runner {
    Seeded { cores: SeededCores, dispatcher: Dispatcher },
    Threads { cores: Vec<Arc<CoreHandleRemote>>, thread: Option<JoinHandle<()>> },
}

impl SteppedJob {
    /// Launches the job; it has not run yet, or is under way.
    pub(crate) fn launch(
        submission: Submission,
        stepping: Stepping,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let state = JobState::new(&submission);
        match stepping {
            Stepping::Seeded { seed, cores, disk } => {
                let files = FilesPlace::Simulated(disk);
                Self::launch_seeded((submission, state), (seed, cores), files, &clock)
            }
            Stepping::Shell(shell) => Self::launch_threads(submission, state, shell, clock),
        }
    }

    fn launch_seeded(
        (submission, state): (Submission, Arc<JobState>),
        (seed, cores): (u64, Option<usize>),
        files: FilesPlace,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let configuration = &submission.configuration;
        let slots = configuration.slots().unwrap_or_else(|| submission.demand().slot_count());
        let core_count = cores.unwrap_or(slots).clamp(1, slots.max(1));
        let numbers = (0..core_count).collect();
        let options =
            TaskManagerOptions { files, ..TaskManagerOptions::new(configuration, numbers, slots) };
        let cores = SeededCores::new(core_count, seed, clock);
        let manager = TaskManager::over(&options, |core| {
            Ok(Arc::new(CoreHandleRemote::driven_by_owner(cores.link(core).clone())))
        })?;
        let (mut dispatcher, control) = Dispatcher::new(manager, Lifetime::OneJob, clock.clone());
        let answer = control.post(submission, state.clone());
        dispatcher.step();
        accepted(answer.try_recv().ok(), &state)?;
        Ok(Self { state, control, runner: Runner::Seeded { cores, dispatcher } })
    }

    fn launch_threads(
        submission: Submission,
        state: Arc<JobState>,
        shell: ShellKind,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let configuration = submission.configuration.clone();
        let slots = configuration.slots().unwrap_or_else(|| submission.demand().slot_count());
        let options = TaskManagerOptions {
            shell,
            // The ladder of the others counts by a clock that stands still.
            idle: IdlePolicy::EFFICIENT,
            clock: Some(clock),
            ..TaskManagerOptions::new(&configuration, cores_of(&configuration)?, slots)
        };
        let manager = TaskManager::start(&options)?;
        let cores = manager.cores().cloned().collect();
        let (control, thread) = start(&submission.name, manager, &options, Lifetime::OneJob)?;
        let answer = control.submit(submission, state.clone());
        let runner = Runner::Threads { cores, thread: Some(thread) };
        let job = Self { state, control, runner };
        accepted(answer, &job.state)?;
        Ok(job)
    }

    /// Asks for a checkpoint.
    pub(crate) fn checkpoint(&self) {
        self.control.checkpoint(self.state.id);
    }

    /// Asks for a savepoint, and perhaps for the end of the job behind it.
    pub(crate) fn savepoint(&self, directory: &Path, afterwards: Afterwards) -> SavepointHandle {
        let (wish, handle) = SavepointWish::new(&self.state.name, directory, afterwards);
        self.control.savepoint(self.state.id, wish);
        handle
    }

    /// Fails the job.
    pub(crate) fn fail(&self, why: &str) {
        self.control.fail(self.state.id, why);
    }

    pub(crate) fn state(&self) -> &Arc<JobState> {
        &self.state
    }

    /// Lets a number of turns happen, in the order of the seed. False if nobody has had anything to do.
    ///
    /// # Panics
    /// On shells with threads, which take no turns.
    pub(crate) fn take_turns(&mut self, count: usize) -> bool {
        match &mut self.runner {
            Runner::Seeded { cores, dispatcher } => cores.take_turns(count, dispatcher),
            Runner::Threads { .. } => panic!("cores with threads take their turns by themselves"),
        }
    }

    /// Lets everything happen that can happen before an input or the clock brings something new.
    pub(crate) fn settle(&mut self) -> Result<(), NeverAtRest> {
        let clock = SystemClock::new();
        let begun_ns = clock.monotonic_ns();
        let give_up =
            || u128::from(clock.monotonic_ns().saturating_sub(begun_ns)) > PATIENCE.as_nanos();
        loop {
            if !self.settle_unless(give_up) {
                return Err(NeverAtRest);
            }
            let waited_ns = clock.monotonic_ns().saturating_sub(begun_ns);
            if !self.awaits_files() || u128::from(waited_ns) > CHECKPOINT_PATIENCE.as_nanos() {
                return Ok(());
            }
        }
    }

    /// Do threads that are not the shell's write a checkpoint?
    fn awaits_files(&self) -> bool {
        matches!(self.runner, Runner::Threads { .. }) && self.state.is_checkpoint_under_way()
    }

    /// [`settle`](Self::settle), with `give_up` asked now and then; false if it ended the search.
    fn settle_unless(&mut self, give_up: impl FnMut() -> bool) -> bool {
        match &mut self.runner {
            Runner::Seeded { cores, dispatcher } => cores.settle(dispatcher, give_up),
            Runner::Threads { cores, .. } => settle_threads(cores, &self.control, give_up),
        }
    }
}

impl Drop for SteppedJob {
    fn drop(&mut self) {
        self.control.shut_down();
        match &mut self.runner {
            Runner::Seeded { .. } => {
                if let Err(error) = self.settle() {
                    tracing::error!(job = %self.state.name, "{error}");
                }
            }
            Runner::Threads { thread, .. } => {
                if thread.take().is_some_and(|thread| thread.join().is_err()) {
                    tracing::error!(job = %self.state.name, "the control thread panicked");
                }
            }
        }
    }
}

fn accepted(answer: Option<Result<(), AllocationError>>, state: &JobState) -> Result<(), Error> {
    match answer {
        Some(answer) => Ok(answer?),
        None => Err(Error::EngineGone(state.name.clone())),
    }
}

/// What everybody has done: the cores' rounds that worked, and the dispatcher's count, `None` when it has ended.
type Answers = (Vec<u64>, Option<u64>);

fn settle_threads(
    cores: &[Arc<CoreHandleRemote>],
    control: &ControlSender,
    mut give_up: impl FnMut() -> bool,
) -> bool {
    let mut before = None;
    loop {
        let answers = ask(cores, control, &mut give_up);
        if answers.is_some() && answers == before {
            return true;
        }
        if answers.is_none() || give_up() {
            return false;
        }
        before = answers;
    }
}

/// Asks everybody once; `None` if `give_up` ended the wait.
fn ask(
    cores: &[Arc<CoreHandleRemote>],
    control: &ControlSender,
    give_up: &mut impl FnMut() -> bool,
) -> Option<Answers> {
    let questions: Vec<u64> = cores.iter().map(|core| core.link().pulse().ask()).collect();
    // All are up before the first is waited for.
    cores.iter().for_each(|core| core.link().waker().wake_if_sleeping());
    let of_core = |(core, question): (&Arc<CoreHandleRemote>, &u64)| {
        await_answer(core.link(), *question, give_up)
    };
    let worked = cores.iter().zip(&questions).map(of_core).collect::<Option<_>>()?;
    // A whole turn of its loop lies between the answers to the two fences.
    control.fence();
    Some((worked, control.fence()))
}

fn await_answer(link: &CoreLink, question: u64, give_up: &mut impl FnMut() -> bool) -> Option<u64> {
    let mut looks: u32 = 0;
    loop {
        if let Some(worked) = link.pulse().answer_to(question) {
            return Some(worked);
        }
        if link.is_closed() {
            return Some(0); // Nothing is left on it.
        }
        looks += 1;
        if looks < LOOKS_BEFORE_WAITING {
            std::thread::yield_now();
        } else {
            thread::park(Some(WAIT_BETWEEN_LOOKS));
        }
        if looks.is_multiple_of(LOOKS_BETWEEN_QUESTIONS) && give_up() {
            return None;
        }
    }
}

/// A core that sleeps answers after some 50 us; on a machine with other work it may take a time slice.
const LOOKS_BEFORE_WAITING: u32 = 200;
const WAIT_BETWEEN_LOOKS: Duration = Duration::from_micros(50);
const LOOKS_BETWEEN_QUESTIONS: u32 = 1_024;

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::api::StreamExecutionEnvironment;
    use crate::graph::JobStatus;
    use crate::time::ManualClock;

    fn all() -> [Stepping; 3] {
        [
            Stepping::Seeded { seed: 3, cores: None, disk: disk() },
            Stepping::Shell(ShellKind::Threads),
            Stepping::Shell(ShellKind::Auto),
        ]
    }

    fn disk() -> Arc<dyn Storage> {
        Arc::new(thalweg_io::storage::MemoryStorage::new())
    }

    fn launch(stepping: Stepping, write: impl FnOnce(&StreamExecutionEnvironment)) -> SteppedJob {
        let env = StreamExecutionEnvironment::new();
        env.set_parallelism(2);
        write(&env);
        let submission = env.submission("stepped").unwrap();
        SteppedJob::launch(submission, stepping, Arc::new(ManualClock::default())).unwrap()
    }

    #[test]
    fn a_bounded_job_is_over_when_it_is_at_rest() {
        for stepping in all() {
            let mut sums = None;
            let mut job = launch(stepping.clone(), |env| {
                let numbers = env.from_sequence(1..=10_000).key_by(|n| n % 10);
                let add = |sum: &mut i64, n| {
                    *sum += n;
                    *sum
                };
                sums = Some(numbers.scan(0, add).collect());
            });
            job.settle().unwrap();
            assert_eq!(job.state().status(), JobStatus::Finished, "{stepping:?}");
            assert_eq!(sums.map(|sums| sums.len()), Some(10_000));
            job.settle().unwrap();
        }
    }

    #[test]
    fn a_job_without_rest_is_given_up_and_can_be_dropped() {
        for stepping in all() {
            let mut job = launch(stepping.clone(), |env| {
                env.from_iter(0_u64..).for_each(|_| {});
            });
            let mut questions = 0;
            let is_at_rest = job.settle_unless(|| {
                questions += 1;
                questions > 3
            });
            assert!(!is_at_rest, "{stepping:?}");
            let state = job.state().clone();
            drop(job);
            assert!(state.has_ended());
        }
    }

    #[test]
    fn cores_of_a_seeded_job_are_as_many_as_asked_for_and_no_more_than_slots() {
        for (cores, expected) in [(None, 2), (Some(1), 1), (Some(2), 2), (Some(9), 2), (Some(0), 1)]
        {
            let job = launch(Stepping::Seeded { seed: 0, cores, disk: disk() }, |env| {
                env.from_sequence(1..=2).for_each(|_| {});
            });
            let Runner::Seeded { cores, .. } = &job.runner else { unreachable!("it is seeded") };
            assert_eq!(cores.count(), expected);
        }
    }
}
