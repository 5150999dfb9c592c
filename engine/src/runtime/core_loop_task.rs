//! One task on its core: built, run and dropped behind the panic guard, with its life reported.
//!
//! **Invariants**
//! - User code runs only inside [`caught`].
//! - The first failure is the one reported; consequences (a drop that panics after a run that failed) are logged.
//! - `TaskDisposed` is sent after the task has been dropped.

use std::sync::Arc;

use super::core_loop_panic::caught;
use super::deployment::{
    CoreEvent, EventSink, FailureCell, JobId, SlotId, TaskDeployment, TaskFailure, TaskId,
    TaskOrder,
};
use super::deployment_times::{TaskTimes, Waiting};
use super::task::{CoreHandle, Progress, Task};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunOutcome {
    /// It did something and wants to run again.
    Worked,
    /// It waits.
    Waits(Waiting),
    /// It is over: remove it and [`CoreTask::dispose`] of it.
    Over(Ending),
}

/// Why a task leaves its core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It reached the end of its input.
    Finished,
    /// Its failure cell is set.
    Failed,
    /// Control wants it gone.
    Cancelled,
}

/// A built task.
pub(crate) struct CoreTask {
    task: Box<dyn Task>,
    label: TaskLabel,
    pub(crate) job: JobId,
    pub(crate) slot: SlotId,
    pub(crate) times: Arc<TaskTimes>,
    pub(crate) budget_records: usize,
    /// What `times` is counting; `None` while the task works. Spares the atomics while nothing changes.
    pub(crate) waiting: Option<Waiting>,
}

/// What is needed to report about a task.
struct TaskLabel {
    id: TaskId,
    name: String,
    failure: FailureCell,
    events: EventSink,
}

impl CoreTask {
    /// Builds the task and reports; `None` when it failed, and then everything is reported and dropped.
    pub(crate) fn build(deployment: TaskDeployment, services: &CoreHandle) -> Option<Self> {
        let TaskDeployment {
            task: id,
            job,
            slot,
            name,
            build,
            failure,
            times,
            events,
            budget_records,
            ..
        } = deployment;
        let label = TaskLabel { id, name, failure, events };
        let task = match caught(|| build(services)) {
            Ok(Ok(task)) => Some(task),
            Ok(Err(error)) => {
                label.failure.set(TaskFailure::from_error(&label.name, error));
                None
            }
            Err(text) => {
                label.failure.set(TaskFailure::from_panic(&label.name, text));
                None
            }
        };
        let Some(task) = task else {
            label.report_failure();
            label.report(CoreEvent::TaskDisposed(id));
            return None;
        };
        let built = Self { task, label, job, slot, times, budget_records, waiting: None };
        if built.label.failure.is_set() {
            built.dispose(Ending::Failed);
            return None;
        }
        built.label.report(CoreEvent::TaskBuilt(id));
        Some(built)
    }

    /// Refuses a deployment that came when the core was already closing.
    pub(crate) fn refuse(deployment: TaskDeployment, core: usize) {
        let TaskDeployment { task: id, name, build, failure, events, .. } = deployment;
        let label = TaskLabel { id, name, failure, events };
        let error = format!("core {core} shut down before the task was built");
        label.failure.set(TaskFailure::from_error(&label.name, error.into()));
        label.report_failure();
        if let Err(text) = caught(|| drop(build)) {
            label.log_panic(&text);
        }
        label.report(CoreEvent::TaskDisposed(id));
    }

    /// The task joins the round.
    pub(crate) fn start(&mut self, now_ns: u64) {
        self.waiting = Some(Waiting::Idle);
        self.times.begin_span(Waiting::Idle, now_ns);
        self.label.report(CoreEvent::TaskRunning(self.label.id));
    }

    /// Tells the task.
    pub(crate) fn order(&mut self, order: TaskOrder) {
        self.task.order(order);
    }

    /// One run.
    #[inline]
    pub(crate) fn run(&mut self, budget: usize) -> RunOutcome {
        let progress = match caught(|| self.task.run(budget)) {
            Ok(progress) => progress,
            Err(text) => return self.panicked(text),
        };
        if self.label.failure.is_set() {
            return RunOutcome::Over(Ending::Failed);
        }
        match progress {
            Progress::Worked => RunOutcome::Worked,
            Progress::Idle => RunOutcome::Waits(Waiting::Idle),
            Progress::Blocked => RunOutcome::Waits(Waiting::Backpressured),
            Progress::Done => RunOutcome::Over(Ending::Finished),
        }
    }

    #[cold]
    fn panicked(&self, text: String) -> RunOutcome {
        // An operator boundary may have caught and noted an earlier failure; `set` keeps the first.
        self.label.failure.set(TaskFailure::from_panic(&self.label.name, text));
        RunOutcome::Over(Ending::Failed)
    }

    /// Drops the task and reports how it ended.
    pub(crate) fn dispose(self, ending: Ending) {
        let Self { task, label, .. } = self;
        if ending == Ending::Failed {
            label.report_failure();
        }
        match (caught(|| drop(task)), ending) {
            (Ok(()), Ending::Finished) => label.report(CoreEvent::TaskFinished(label.id)),
            (Ok(()), Ending::Failed | Ending::Cancelled) => {}
            (Err(text), Ending::Finished | Ending::Cancelled) => {
                let text = format!("{text} (while the task was dropped)");
                label.failure.set(TaskFailure::from_panic(&label.name, text));
                label.report_failure();
            }
            (Err(text), Ending::Failed) => label.log_panic(&text),
        }
        label.report(CoreEvent::TaskDisposed(label.id));
    }
}

impl TaskLabel {
    fn report(&self, event: CoreEvent) {
        // The sink is ours, not the user's; but were it to panic, other jobs' tasks would go down with this one.
        if let Err(text) = caught(|| (self.events)(event)) {
            tracing::error!(task = %self.name, "the event sink panicked: {text}");
        }
    }

    fn report_failure(&self) {
        let failure = self.failure.take().unwrap_or_else(|| {
            // Somebody else (the operators' owner) has taken it; the job must learn of the failure all the same.
            TaskFailure::from_error(&self.name, "the failure was taken by its owner".into())
        });
        self.report(CoreEvent::TaskFailed { task: self.id, failure });
    }

    fn log_panic(&self, text: &str) {
        tracing::error!(task = %self.name, "panicked while being dropped after it failed: {text}");
    }
}
