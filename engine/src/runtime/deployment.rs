//! What the control plane sends to a core, and what comes back.
//!
//! ```text
//! control                                   core
//!   Deploy(task) ─────────────────────────▶ build on the core's own thread
//!                ◀───────────── TaskBuilt │ TaskFailed, TaskDisposed
//!   .. every task of the job is built ..
//!   Start(job)   ─────────────────────────▶ the job's tasks join the round
//!                ◀─────────── TaskRunning
//!                ◀─────────── TaskFinished │ TaskFailed, then always TaskDisposed
//!   CancelJob    ─────────────────────────▶ the job's tasks are dropped, built or running
//!                ◀────────── TaskDisposed
//! ```
//!
//! Two phases, so that no task pushes a record at a task that has not been built (and so has not restored its state)
//! yet.
//!
//! **Invariants**
//! - Each deployment ends with exactly one `TaskDisposed`, whatever happened; after it the core holds nothing of the
//!   task: its rings, files and state handles are closed.
//! - At most one of `TaskFinished` and `TaskFailed` comes for a task, and it comes before `TaskDisposed`.
//! - A core never decides about the job: when one task has failed the others run on until control cancels them.
//! - `JobId` and `TaskId` are unique in the process, because engines share cores.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64 as StaticAtomicU64;

use super::deployment_times::TaskTimes;
use super::task::{CoreHandle, Task};
use crate::BoxError;
pub use crate::graph::SlotId;
use crate::operator::pieces::Report;
use crate::record::{Barrier, CheckpointId};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, lock};

/// How many records a task may handle in one run, unless its deployment says otherwise: enough to make the virtual
/// call, the check of the failure flag and the poll of the other tasks vanish (below 0.1 ns a record), and at 5-50 ns
/// a record 10-100 us until its neighbours get their turn.
pub const DEFAULT_BUDGET_RECORDS: usize = 2_048;

/// One submission of one job, unique in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// One attempt of one task, unique in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u64);

// Statics cannot hold loom's atomics; these two publish nothing but their own value.
static NEXT_JOB: StaticAtomicU64 = StaticAtomicU64::new(1);
static NEXT_TASK: StaticAtomicU64 = StaticAtomicU64::new(1);

impl JobId {
    /// An id that no other job of this process has.
    #[must_use]
    pub fn allocate() -> Self {
        Self(NEXT_JOB.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }
}

impl TaskId {
    /// An id that no other task of this process has.
    #[must_use]
    pub fn allocate() -> Self {
        Self(NEXT_TASK.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "task {}", self.0)
    }
}

/// Why a task failed: an error of user code or of a connector, or a panic.
#[derive(Debug, thiserror::Error)]
#[error("task `{task}` {}: {message}", if *.panicked { "panicked" } else { "failed" })]
pub struct TaskFailure {
    /// Name of the task, as in the plan.
    pub task: String,
    /// What happened, in words.
    pub message: String,
    /// The error behind it, if there is one; a panic has none.
    pub source: Option<BoxError>,
    /// Whether it was a panic.
    pub panicked: bool,
    /// The operator whose code failed; `None` if no operator is to blame.
    pub site: Option<FailureSite>,
}

/// Which operator failed, where, and at which record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureSite {
    /// The operator's name.
    pub operator: String,
    /// Which parallel instance, from 0.
    pub subtask: usize,
    /// How many parallel instances there are.
    pub parallelism: usize,
    /// Ordinal (from 1) of the record at hand among those its stage has read; 0 before the first.
    pub record: u64,
}

impl TaskFailure {
    /// A failure whose message and source are `error`.
    #[must_use]
    pub fn from_error(task: &str, error: BoxError) -> Self {
        Self {
            task: task.to_owned(),
            message: error.to_string(),
            source: Some(error),
            panicked: false,
            site: None,
        }
    }

    /// A failure by panic; `message` is the text of its payload.
    #[must_use]
    pub fn from_panic(task: &str, message: impl Into<String>) -> Self {
        let (task, message) = (task.to_owned(), message.into());
        Self { task, message, source: None, panicked: true, site: None }
    }

    /// The same failure with the operator named.
    #[must_use]
    pub fn at(mut self, site: FailureSite) -> Self {
        self.site = Some(site);
        self
    }
}

/// Where the operators of a task put their first failure, for the shell to find after the run.
///
/// # Examples
///
/// ```
/// use thalweg::runtime::{FailureCell, TaskFailure};
///
/// let cell = FailureCell::new();
/// cell.set(TaskFailure::from_error("map", "no such rate".into()));
/// cell.set(TaskFailure::from_error("map", "a consequence of the first".into()));
/// assert!(cell.is_set());
/// assert_eq!(cell.take().unwrap().message, "no such rate");
/// ```
#[derive(Clone, Debug, Default)]
pub struct FailureCell {
    inner: Arc<FailureSlot>,
}

#[derive(Debug, Default)]
struct FailureSlot {
    /// Set (Release) after `failure` has been written; read by the shell after every run, hence apart from the lock.
    failed: AtomicBool,
    failure: Mutex<Option<TaskFailure>>,
}

impl FailureCell {
    /// An empty cell.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps `failure` if it is the first.
    pub fn set(&self, failure: TaskFailure) {
        let mut slot = lock(&self.inner.failure);
        if !self.inner.failed.load(Ordering::Relaxed) {
            *slot = Some(failure);
            self.inner.failed.store(true, Ordering::Release);
        }
    }

    /// Whether a failure was ever set; it stays so after [`take`](Self::take).
    #[inline]
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.inner.failed.load(Ordering::Acquire)
    }

    /// The first failure, once.
    #[must_use]
    pub fn take(&self) -> Option<TaskFailure> {
        lock(&self.inner.failure).take()
    }
}

/// Builds a task on the thread it will live on, so the task itself need not be `Send`.
pub type BuildTask = Box<dyn FnOnce(&CoreHandle) -> Result<Box<dyn Task>, BoxError> + Send>;

/// Where a core reports. Called on the core: it must not block and should only pass the event on.
pub type EventSink = Arc<dyn Fn(CoreEvent) + Send + Sync>;

/// One task for one core.
#[non_exhaustive]
pub struct TaskDeployment {
    /// This attempt of the task.
    pub task: TaskId,
    /// The job it belongs to.
    pub job: JobId,
    /// Its slot; the slots of a core get equal turns, whatever the number of their tasks.
    pub slot: SlotId,
    /// Its name, as in the plan.
    pub name: String,
    /// Builds it. Its panics and errors fail the task.
    pub build: BuildTask,
    /// Where its operators put their first failure. A clone of it goes into `build`.
    pub failure: FailureCell,
    /// Where the core counts the task's time.
    pub times: Arc<TaskTimes>,
    /// Where the core reports about the task.
    pub events: EventSink,
    /// How many records the task may handle a run while it is alone in its slot.
    pub budget_records: usize,
}

impl TaskDeployment {
    /// A deployment under a fresh [`TaskId`], with an empty failure cell, times at zero and the default budget.
    #[must_use]
    pub fn new(
        job: JobId,
        slot: SlotId,
        name: impl Into<String>,
        events: EventSink,
        build: BuildTask,
    ) -> Self {
        Self {
            task: TaskId::allocate(),
            job,
            slot,
            name: name.into(),
            build,
            failure: FailureCell::new(),
            times: Arc::new(TaskTimes::new()),
            events,
            budget_records: DEFAULT_BUDGET_RECORDS,
        }
    }
}

impl fmt::Debug for TaskDeployment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TaskDeployment")
            .field("task", &self.task)
            .field("job", &self.job)
            .field("slot", &self.slot)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What control asks of the running tasks of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskOrder {
    /// Sources send this barrier.
    Barrier(Barrier),
    /// The checkpoint is durable: sinks commit.
    Completed(CheckpointId),
    /// The checkpoint is not kept any more.
    Released(CheckpointId),
    /// The checkpoint is given up.
    Aborted(CheckpointId),
    /// Sources read no further, and wait for the last checkpoint.
    StopReading,
    /// The same, and event time comes to its end.
    Drain,
    /// The last checkpoint is complete: sources that have ended say so downstream.
    EndInput,
}

/// What control asks of a core.
#[derive(Debug)]
#[non_exhaustive]
pub enum CoreCommand {
    /// Build this task; it does not run yet.
    Deploy(Box<TaskDeployment>),
    /// Let the built tasks of this job run.
    Start(JobId),
    /// Tell the tasks of this job.
    Order(JobId, TaskOrder),
    /// Drop all tasks of this job, built or running.
    CancelJob(JobId),
    /// Drop all tasks of all jobs and end the loop. An executor of the registry is shared by engines and is never sent
    /// this; it is for cores that one owner has started for itself.
    Shutdown,
}

/// What a task says about checkpoints; for the engine alone.
#[derive(Debug)]
pub struct CheckpointReport(pub(crate) Report);

/// What a core tells about a task.
#[derive(Debug)]
#[non_exhaustive]
pub enum CoreEvent {
    /// The task is built and waits for [`CoreCommand::Start`].
    TaskBuilt(TaskId),
    /// The task is part of the core's round.
    TaskRunning(TaskId),
    /// The task reached the end of its input and is dropped.
    TaskFinished(TaskId),
    /// The task failed to build, run or drop.
    TaskFailed {
        /// Which.
        task: TaskId,
        /// Why.
        failure: TaskFailure,
    },
    /// The task has something to say about a checkpoint.
    Checkpoint {
        /// Which.
        task: TaskId,
        /// What.
        report: CheckpointReport,
    },
    /// The task is gone from the core; the last event about it.
    TaskDisposed(TaskId),
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn a_failure_reads_as_a_sentence_and_keeps_its_source() {
        let failure = TaskFailure::from_error("map", "no such rate".into());
        assert_eq!(failure.to_string(), "task `map` failed: no such rate");
        assert_eq!(failure.source().unwrap().to_string(), "no such rate");
        let panic = TaskFailure::from_panic("map", "index 3");
        assert_eq!(panic.to_string(), "task `map` panicked: index 3");
        assert!(panic.source().is_none());
    }

    #[test]
    fn a_taken_cell_takes_no_second_failure() {
        let cell = FailureCell::new();
        assert!(!cell.is_set() && cell.take().is_none());
        cell.set(TaskFailure::from_panic("map", "first"));
        assert_eq!(cell.take().unwrap().message, "first");
        cell.set(TaskFailure::from_panic("map", "second"));
        assert!(cell.is_set() && cell.take().is_none());
    }
}
