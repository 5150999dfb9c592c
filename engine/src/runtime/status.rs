//! What is known of a job outside its control thread: status, graphs, metrics, and in the end the outcome.
//!
//! The job master writes, any number of handles read and wait.
//!
//! **Invariants**
//! - The outcome is set once, after every task of the job has been dropped.
//! - Who waits is told after the lock that published the outcome is released, each exactly once.

mod stage_metrics;

pub use crate::checkpoint::remote::RemoteStatistics;
pub(crate) use stage_metrics::{StageNames, TaskClock};

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use super::deployment::JobId;
use super::submission::Submission;
use crate::checkpoint::remote::StatisticsCell;
use crate::error::{Error, JobFailure};
use crate::graph::{ExecutionGraph, Explain, JobStatus, PhysicalGraph};
use crate::metrics::{JobMetrics, JobSnapshot};
use crate::record::CheckpointId;

/// What a job that finished leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobResult {
    /// The job.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// From the moment it had its slots until its last task was gone.
    pub runtime: Duration,
    /// Its metrics at the end.
    pub metrics: JobSnapshot,
}

/// How a job ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Finished(JobResult),
    Failed(JobFailure),
    Cancelled,
    EngineGone,
}

/// See the module docs.
#[derive(Debug)]
pub(crate) struct JobState {
    pub(crate) id: JobId,
    pub(crate) name: String,
    pub(crate) metrics: Arc<JobMetrics>,
    pub(crate) stage_names: StageNames,
    pub(crate) stop_timeout: Duration,
    /// Written by whoever copies checkpoints.
    pub(crate) remote: StatisticsCell,
    shared: Mutex<Shared>,
    ended: Condvar,
}

/// The checkpoints and restarts of a job so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointStatistics {
    /// How many are complete.
    pub completed: u64,
    /// How many were given up.
    pub failed: u64,
    /// The one that is being taken.
    pub in_progress: Option<CheckpointId>,
    /// How long the last one that is complete took, from its first order to its file being durable.
    pub latest_duration: Option<Duration>,
    /// The newest that is complete, in whatever attempt or process.
    pub latest: Option<CheckpointId>,
    /// Why the last of those that were given up was.
    pub latest_failure: Option<String>,
    /// The one that this attempt went on from.
    pub restored: Option<CheckpointId>,
    /// How often the job was restarted.
    pub restarts: u32,
    /// Why it was the last time.
    pub latest_restart: Option<String>,
    /// Its copies in an object store; `None` where none are made.
    pub remote: Option<RemoteStatistics>,
}

#[derive(Debug)]
struct Shared {
    checkpoints: CheckpointStatistics,
    /// Checkpoint files are being written or removed.
    is_saving: bool,
    explain: Explain,
    clocks: Vec<TaskClock>,
    outcome: Option<Outcome>,
    wakers: Vec<Waker>,
}

impl JobState {
    pub(crate) fn new(submission: &Submission) -> Arc<Self> {
        let explain = submission.explain.clone();
        let stage_names = StageNames::new(&explain.job_graph);
        let checkpoints = CheckpointStatistics::default();
        let (clocks, wakers) = (Vec::new(), Vec::new());
        let shared =
            Shared { checkpoints, is_saving: false, explain, clocks, outcome: None, wakers };
        Arc::new(Self {
            id: JobId::allocate(),
            name: submission.name.clone(),
            metrics: Arc::new(JobMetrics::new(&submission.name)),
            stage_names,
            stop_timeout: submission.configuration.stop_timeout(),
            remote: StatisticsCell::default(),
            shared: Mutex::new(shared),
            ended: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Every change under the lock leaves the value whole at each step.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a step of the job or of its subtasks; for the job master.
    pub(crate) fn step<R>(&self, step: impl FnOnce(&mut ExecutionGraph) -> R) -> R {
        step(&mut self.lock().explain.execution_graph)
    }

    /// The job has slots; for the job master.
    pub(crate) fn place(&self, physical_graph: PhysicalGraph, clocks: Vec<TaskClock>) {
        let mut shared = self.lock();
        shared.explain.physical_graph = Some(physical_graph);
        shared.clocks = clocks;
    }

    /// The job has ended; for the job master. A second outcome is ignored.
    pub(crate) fn complete(&self, outcome: Outcome) {
        let wakers = {
            let mut shared = self.lock();
            if shared.outcome.is_some() {
                return;
            }
            shared.outcome = Some(outcome);
            std::mem::take(&mut shared.wakers)
        };
        self.ended.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn status(&self) -> JobStatus {
        self.lock().explain.execution_graph.status()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.lock().outcome.is_some()
    }

    /// Why it failed, if it did.
    pub(crate) fn failure(&self) -> Option<JobFailure> {
        match &self.lock().outcome {
            Some(Outcome::Failed(failure)) => Some(failure.clone()),
            _ => None,
        }
    }

    /// Counts; for the job master.
    pub(crate) fn count(&self, count: impl FnOnce(&mut CheckpointStatistics)) {
        count(&mut self.lock().checkpoints);
    }

    pub(crate) fn set_saving(&self, is_saving: bool) {
        self.lock().is_saving = is_saving;
    }

    /// Is a checkpoint being taken, or a file of one being written or removed?
    pub(crate) fn is_checkpoint_under_way(&self) -> bool {
        let shared = self.lock();
        shared.is_saving || shared.checkpoints.in_progress.is_some()
    }

    pub(crate) fn checkpoints(&self) -> CheckpointStatistics {
        let remote = self.remote.get();
        CheckpointStatistics { remote, ..self.lock().checkpoints.clone() }
    }

    pub(crate) fn explain(&self) -> Explain {
        self.lock().explain.clone()
    }

    /// All metrics now, by vertex.
    pub(crate) fn snapshot(&self) -> JobSnapshot {
        let mut snapshot = self.metrics.snapshot();
        let clocks = self.lock().clocks.clone();
        self.stage_names.fold(&mut snapshot, &clocks);
        snapshot
    }

    /// Waits for the end.
    pub(crate) fn wait(&self) -> Result<JobResult, Error> {
        let mut shared = self.lock();
        loop {
            if let Some(outcome) = &shared.outcome {
                return self.as_result(outcome.clone());
            }
            shared = self.ended.wait(shared).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for the end, so long at most; whether it has come.
    pub(crate) fn wait_within(&self, limit: Duration) -> bool {
        let waits = |shared: &mut Shared| shared.outcome.is_none();
        let waited = self.ended.wait_timeout_while(self.lock(), limit, waits);
        waited.unwrap_or_else(PoisonError::into_inner).0.outcome.is_some()
    }

    /// The end, or a wake-up when it has come.
    pub(crate) fn poll(&self, waker: &Waker) -> Poll<Result<JobResult, Error>> {
        let mut shared = self.lock();
        if let Some(outcome) = &shared.outcome {
            return Poll::Ready(self.as_result(outcome.clone()));
        }
        if !shared.wakers.iter().any(|known| known.will_wake(waker)) {
            shared.wakers.push(waker.clone());
        }
        Poll::Pending
    }

    fn as_result(&self, outcome: Outcome) -> Result<JobResult, Error> {
        match outcome {
            Outcome::Finished(result) => Ok(result),
            Outcome::Failed(failure) => Err(failure.into()),
            Outcome::Cancelled => Err(Error::Cancelled(self.name.clone())),
            Outcome::EngineGone => Err(Error::EngineGone(self.name.clone())),
        }
    }
}
