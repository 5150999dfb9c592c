//! [`JobHandle`]: a job that was submitted, seen from outside.

use std::fmt;
use std::future::{Future, poll_fn};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::deployment::JobId;
use super::dispatcher::ControlSender;
use super::savepoint::{Afterwards, SavepointHandle, SavepointWish};
use super::status::{CheckpointStatistics, JobResult, JobState};
use super::termination;
use crate::error::Error;
use crate::graph::{ExplainFormat, JobStatus};
use crate::metrics::JobSnapshot;

/// A submitted job: ask it, wait for it, cancel it. Any thread may hold a clone; dropping it changes nothing.
#[derive(Clone)]
pub struct JobHandle {
    state: Arc<JobState>,
    control: ControlSender,
}

impl JobHandle {
    pub(crate) fn new(state: Arc<JobState>, control: ControlSender) -> Self {
        Self { state, control }
    }

    /// Unique in the process.
    pub fn id(&self) -> JobId {
        self.state.id
    }

    /// As it was submitted.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// How far it has come; CREATED while it waits for slots.
    pub fn status(&self) -> JobStatus {
        self.state.status()
    }

    /// Has it ended, in whatever way? Then nothing of it is left on any core.
    pub fn is_finished(&self) -> bool {
        self.state.has_ended()
    }

    /// Waits until the job has ended and nothing of it is left on any core. Any number of callers may wait, and each
    /// gets the result.
    ///
    /// # Errors
    /// If the job failed, was cancelled, or its engine was shut down.
    pub fn wait(&self) -> Result<JobResult, Error> {
        self.state.wait()
    }

    /// [`wait`](Self::wait) for async code, on whatever executor.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_async(&self) -> impl Future<Output = Result<JobResult, Error>> + Send + 'static {
        let state = self.state.clone();
        poll_fn(move |context| state.poll(context.waker()))
    }

    /// Asks for the job to be stopped, and returns at once; [`wait`](Self::wait) then tells when it has. A job that has
    /// ended, or is failing already, is left as it is.
    pub fn cancel(&self) {
        self.control.cancel(self.state.id);
    }

    /// Asks for the job to be stopped where it is: its sources read no further, what they have read is processed, a last
    /// checkpoint is taken and committed, and the job finishes. It can go on from there. Returns at once. Takes at most
    /// the option `stop_timeout_ms`, then the job fails. A job that is being restarted stops when it runs again. Without checkpoints this is [`cancel`](Self::cancel).
    pub fn stop(&self) {
        self.control.stop(self.state.id);
    }

    /// [`stop`](Self::stop) with event time coming to its end first, as if all input had been read: every window and event-time
    /// timer fires. For jobs that are not to go on. Begins at once; the future tells when the job has ended.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn stop_with_drain(
        &self,
    ) -> impl Future<Output = Result<JobResult, Error>> + Send + 'static {
        self.control.drain(self.state.id);
        self.wait_async()
    }

    /// Asks for a savepoint in `directory`, which must not exist or be empty: a copy of the next checkpoint, which needs nothing
    /// else, may be moved, and is nobody's but yours. Jobs begin with it by the option `savepoint`. Begins at once; the handle is
    /// a future, and threads [`wait`](SavepointHandle::wait). A job that is being restarted takes it when it runs again.
    ///
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let place = tempfile::tempdir()?;
    /// # let directory = place.path().join("savepoint");
    /// let write = |env: &StreamExecutionEnvironment| {
    ///     env.enable_checkpointing(seconds(60));
    ///     env.from_sequence(1..=1_000_000_000).uid("numbers").key_by(|n| n % 3).scan(0, |sum, n| *sum += n).uid("sums").for_each(|_| {});
    /// };
    /// let env = StreamExecutionEnvironment::new();
    /// write(&env);
    /// let job = env.execute_async("sums")?;
    /// let savepoint = job.stop_with_savepoint(&directory).wait()?;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// env.configure(|c| c.savepoint(&savepoint.directory));
    /// write(&env);
    /// let job = env.execute_async("sums")?; // goes on where the other stopped
    /// # job.stop();
    /// # job.wait()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn savepoint(&self, directory: impl AsRef<Path>) -> SavepointHandle {
        self.want_savepoint(directory.as_ref(), Afterwards::GoOn)
    }

    /// [`stop`](Self::stop), with a savepoint of the last checkpoint: another job goes on where this one was, and nothing is lost
    /// or done twice. The handle tells when the job has ended.
    pub fn stop_with_savepoint(&self, directory: impl AsRef<Path>) -> SavepointHandle {
        self.want_savepoint(directory.as_ref(), Afterwards::Stop)
    }

    /// [`stop_with_drain`](Self::stop_with_drain), with a savepoint of the last checkpoint. What goes on from it has read all its
    /// input.
    pub fn drain(&self, directory: impl AsRef<Path>) -> SavepointHandle {
        self.want_savepoint(directory.as_ref(), Afterwards::Drain)
    }

    fn want_savepoint(&self, directory: &Path, afterwards: Afterwards) -> SavepointHandle {
        let (wish, handle) = SavepointWish::new(&self.state.name, directory, afterwards);
        self.control.savepoint(self.state.id, wish);
        handle
    }

    /// Makes `SIGTERM` and `SIGINT` [`stop`](Self::stop) the job; for `main` functions, as no signal is touched otherwise.
    ///
    /// [`wait`](Self::wait) then returns as after any graceful stop. A second signal cancels at once; its checkpoints stay, so
    /// the job can go on. A third ends the process, and so does a job that has not ended two seconds after
    /// `stop_timeout_ms` because its own code does not return: nothing that was committed is lost by that. When no
    /// such job is left the signals end the process as ever.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// # fn main() -> thalweg::Result<()> {
    /// let env = StreamExecutionEnvironment::new();
    /// let numbers = env.from_elements([1, 2, 3]).collect();
    /// let job = env.execute_async("numbers")?;
    /// job.stop_on_termination_signal()?;
    /// job.wait()?; // code 0, also after a signal
    /// # assert_eq!(numbers.take(), [1, 2, 3]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Signals`] if the system refuses the handler or its thread.
    pub fn stop_on_termination_signal(&self) -> Result<(), Error> {
        termination::watch(self.clone()).map_err(|source| Error::Signals { source })
    }

    /// [`cancel`](Self::cancel), and its checkpoints stay.
    pub(crate) fn halt(&self) {
        self.control.halt(self.state.id);
    }

    /// How long a graceful stop may take.
    pub(crate) fn stop_timeout(&self) -> Duration {
        self.state.stop_timeout
    }

    /// Waits for the end, so long at most; whether it has come.
    pub(crate) fn wait_within(&self, limit: Duration) -> bool {
        self.state.wait_within(limit)
    }

    /// Asks for a checkpoint, and returns at once; [`checkpoints`](Self::checkpoints) tells when it is complete.
    /// No effect on jobs without checkpoints.
    pub fn checkpoint(&self) {
        self.control.checkpoint(self.state.id);
    }

    /// Its checkpoints and restarts so far.
    pub fn checkpoints(&self) -> CheckpointStatistics {
        self.state.checkpoints()
    }

    /// Its metrics now, by vertex; empty while it waits for slots.
    pub fn metrics(&self) -> JobSnapshot {
        self.state.snapshot()
    }

    /// Its graphs now: operators, vertices, subtasks with their states, and where they run.
    pub fn explain(&self, format: ExplainFormat) -> String {
        self.state.explain().render(format)
    }
}

impl fmt::Debug for JobHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("status", &self.status())
            .finish()
    }
}
