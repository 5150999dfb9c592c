//! A job that goes on step by step: what [`testing`](crate::testing) drives.
//!
//! The job runs as any other: same dispatcher, job master, core loops, tasks. What is added is knowing when it is *at
//! rest*, that is, when nothing will happen until an input or the clock brings something.
//!
//! On the seeded shell that is seen directly (`shell/seeded.rs`). On shells with threads of their own it is found by a
//! double collect:
//!
//! 1. Read every core's count of rounds that worked, and how much the dispatcher has done.
//! 2. Wake all cores and wait until each has begun *and* ended a round after 1: two more rounds, since one may have been
//!    under way. Let the dispatcher, too, go once through its loop.
//! 3. Read the counts again. All equal: at rest. Else begin anew.
//!
//! **Why equality proves rest.** Whatever sends (a page, a page given back, a control, a command, an event, a split) makes
//! its round count as one that worked, when the round ends. Suppose the counts were equal and yet somebody works after 3,
//! or was at work at 3; take the one who began first. The clock stands still, so what it found was sent by somebody.
//! If it was sent before 1 was over, its receiver has had a full round between 1 and 3, which would have taken it and
//! counted. If it was sent later, the sender's round either ended before the sender was read at 3, and counted, or was
//! under way then: a sender that worked and began earlier. Both contradict the assumption.
//!
//! Who is not part of the job is not seen: threads of blocking sources, sockets, files that others write.
//!
//! **Invariants**
//! - The job has one engine, and that one job; both end when this is dropped.
//! - Cores with threads are leased for this job alone, because their clock is the test's.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::dispatcher::{ControlSender, Dispatcher, Lifetime};
use super::engine::{cores_of, start};
use super::executors::{CoreHandleRemote, ShellKind};
use super::resource_manager::AllocationError;
use super::shell::IdlePolicy;
use super::shell::seeded::SeededCores;
use super::status::JobState;
use super::submission::Submission;
use super::task_manager::{TaskManager, TaskManagerOptions};
use crate::error::Error;
use crate::sync::thread;
use crate::time::{Clock, SystemClock};

/// Who runs the cores.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stepping {
    /// The calling thread, by a seed; on this many cores, or one for each slot.
    Seeded { seed: u64, cores: Option<usize> },
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
            Stepping::Seeded { seed, cores } => {
                Self::launch_seeded(submission, state, (seed, cores), &clock)
            }
            Stepping::Shell(shell) => Self::launch_threads(submission, state, shell, clock),
        }
    }

    fn launch_seeded(
        submission: Submission,
        state: Arc<JobState>,
        (seed, cores): (u64, Option<usize>),
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let configuration = &submission.configuration;
        let slots = configuration.slots().unwrap_or_else(|| submission.demand().slot_count());
        let core_count = cores.unwrap_or(slots).clamp(1, slots.max(1));
        let numbers = (0..core_count).collect();
        let options = TaskManagerOptions::new(configuration, numbers, slots);
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

    pub(crate) fn state(&self) -> &Arc<JobState> {
        &self.state
    }

    /// Lets everything happen that can happen before an input or the clock brings something new.
    pub(crate) fn settle(&mut self) -> Result<(), NeverAtRest> {
        let clock = SystemClock::new();
        let begun_ns = clock.monotonic_ns();
        let give_up =
            || u128::from(clock.monotonic_ns().saturating_sub(begun_ns)) > PATIENCE.as_nanos();
        if self.settle_unless(give_up) { Ok(()) } else { Err(NeverAtRest) }
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

/// Counts of work, by core, and the dispatcher's; `None` when that has ended.
#[derive(PartialEq, Eq)]
struct Collect {
    worked: Vec<u64>,
    done: Option<u64>,
}

fn settle_threads(
    cores: &[Arc<CoreHandleRemote>],
    control: &ControlSender,
    mut give_up: impl FnMut() -> bool,
) -> bool {
    let collect = || {
        let done = control.fence();
        let worked = cores.iter().map(|core| core.link().pulse().worked()).collect();
        Collect { worked, done }
    };
    loop {
        let before = collect();
        let targets: Vec<u64> = cores.iter().map(|core| core.link().pulse().rounds() + 2).collect();
        if !await_rounds(cores, &targets, &mut give_up) {
            return false;
        }
        // Between the answers to this fence and the one that `collect` asks for lies one whole turn of its loop.
        control.fence();
        if collect() == before {
            return true;
        }
        if give_up() {
            return false;
        }
    }
}

/// Waits until each core has ended its target's round.
fn await_rounds(
    cores: &[Arc<CoreHandleRemote>],
    targets: &[u64],
    give_up: &mut impl FnMut() -> bool,
) -> bool {
    for (core, target) in cores.iter().zip(targets) {
        let link = core.link();
        let mut looks: u32 = 0;
        while link.pulse().rounds() < *target && !link.is_closed() {
            // Asleep again already, perhaps: a look costs it one or two empty rounds.
            link.waker().wake_if_sleeping();
            looks += 1;
            if looks < LOOKS_BEFORE_WAITING {
                std::thread::yield_now();
            } else {
                thread::park(Some(WAIT_BETWEEN_LOOKS));
            }
            if looks.is_multiple_of(1_024) && give_up() {
                return false;
            }
        }
    }
    true
}

/// A core that sleeps has done its two rounds after some 50 us; on a machine with other work it may take a time slice.
const LOOKS_BEFORE_WAITING: u32 = 200;
const WAIT_BETWEEN_LOOKS: Duration = Duration::from_micros(50);

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::api::StreamExecutionEnvironment;
    use crate::graph::JobStatus;
    use crate::time::ManualClock;

    const ALL: [Stepping; 3] = [
        Stepping::Seeded { seed: 3, cores: None },
        Stepping::Shell(ShellKind::Threads),
        Stepping::Shell(ShellKind::Auto),
    ];

    fn launch(stepping: Stepping, write: impl FnOnce(&StreamExecutionEnvironment)) -> SteppedJob {
        let env = StreamExecutionEnvironment::new();
        env.set_parallelism(2);
        write(&env);
        let submission = env.submission("stepped").unwrap();
        SteppedJob::launch(submission, stepping, Arc::new(ManualClock::default())).unwrap()
    }

    #[test]
    fn a_bounded_job_is_over_when_it_is_at_rest() {
        for stepping in ALL {
            let mut sums = None;
            let mut job = launch(stepping, |env| {
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
        for stepping in ALL {
            let mut job = launch(stepping, |env| {
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
            let job = launch(Stepping::Seeded { seed: 0, cores }, |env| {
                env.from_sequence(1..=2).for_each(|_| {});
            });
            let Runner::Seeded { cores, .. } = &job.runner else { unreachable!("it is seeded") };
            assert_eq!(cores.count(), expected);
        }
    }
}
