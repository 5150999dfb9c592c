//! A task of a job on its core: the operators' root, with its panics and failures put into words.
//!
//! The core loop knows tasks, panics and a failure cell; operators know stages, user code and records. Between them:
//!
//! 1. [`build`] opens the links of (job, core), builds the root and wraps it.
//! 2. After each run the task's failure, if there is one, goes into the cell with operator, subtask and record.
//! 3. A panic is caught here, where the stages can still be asked whose user code unwound.
//! 4. At the end of input the root is dropped at once, so that an error of `close` still fails the job.
//!
//! **Invariants**
//! - The root is run, and dropped, behind [`caught`].
//! - The cell is set before the core loop looks at it: before `build` and `run` return, and before the drop ends.
//! - Links of a job within a core never leave the core: they are in a map of its thread, and the map's entry goes with
//!   the last task of the job on that core.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use crate::BoxError;
use crate::exchange::wiring::LocalLinks;
use crate::graph::NodeId;
use crate::operator::build::{BuildContext, JobBlueprint};
use crate::operator::{OperatorFailure, StageContext, TaskContext};
use crate::runtime::core_loop_panic::caught;
use crate::runtime::deployment::{
    CheckpointReport, CoreEvent, EventSink, FailureCell, FailureSite, JobId, TaskFailure, TaskId,
    TaskOrder,
};
use crate::runtime::task::{CoreHandle, Progress, Task};

/// What a core needs to build one task of a job.
pub(crate) struct TaskBlueprint {
    pub(crate) blueprint: Arc<JobBlueprint>,
    pub(crate) job: JobId,
    /// The core it is for; tells apart the cores of a shell that runs several on one thread.
    pub(crate) core: usize,
    /// Head of the root stage.
    pub(crate) head: NodeId,
    pub(crate) subtask: usize,
    /// The task's name, where no operator is to blame.
    pub(crate) name: String,
    pub(crate) failure: FailureCell,
    pub(crate) task: TaskId,
    pub(crate) events: EventSink,
}

/// Builds the task on its core. A failure is in the cell, with its operator, when this returns an error.
pub(crate) fn build(plan: TaskBlueprint, core: &CoreHandle) -> Result<Box<dyn Task>, BoxError> {
    let TaskBlueprint {
        blueprint,
        job,
        core: number,
        head,
        subtask,
        name,
        failure,
        task: id,
        events,
    } = plan;
    let links = CoreLinks::open(job, number);
    let task = TaskContext::new(core.clone());
    let mut context =
        BuildContext::new(blueprint, links.links.clone(), task.clone(), head, subtask);
    let built = caught(|| context.build_root());
    let stages = std::mem::take(&mut context.stages);
    drop(context);
    let mut task = JobTask { root: None, stages, task, failure, name, id, events, _links: links };
    match built {
        Ok(Ok(root)) => task.root = Some(root),
        Ok(Err(error)) => {
            task.report();
            task.failure.set(TaskFailure::from_error(&task.name, error));
        }
        Err(text) => task.panicked(text),
    }
    // A function may note an error and the building go on.
    task.report();
    if task.failure.is_set() {
        return Err("the task could not be built".into());
    }
    Ok(Box::new(task))
}

/// See the module docs.
struct JobTask {
    /// `None` after the end of input.
    root: Option<Box<dyn Task>>,
    /// Outer stages before those nested in them.
    stages: Vec<Rc<StageContext>>,
    task: Rc<TaskContext>,
    failure: FailureCell,
    name: String,
    id: TaskId,
    events: EventSink,
    _links: CoreLinks,
}

impl JobTask {
    /// Puts the failure that user code left with the task into the cell.
    fn report(&self) {
        if let Some(failure) = self.task.take_failure() {
            self.failure.set(in_words(&self.name, failure));
        }
    }

    /// Blames the operator whose user code unwound.
    #[cold]
    fn panicked(&self, text: String) {
        // User code may push into stages nested below it, so several may have unwound: the innermost is the culprit.
        for stage in self.stages.iter().rev() {
            stage.note_panic(&text);
        }
        self.report();
        // Nobody's user code: a record that panics in its drop, or a bug of ours. The cell keeps the first failure.
        self.failure.set(TaskFailure::from_panic(&self.name, text));
    }

    /// Drops the operators, which closes their functions.
    fn close(&mut self) {
        let Some(root) = self.root.take() else { return };
        if let Err(text) = caught(|| drop(root)) {
            self.panicked(format!("{text} (while the task was closed)"));
        }
        self.report();
    }
}

impl Task for JobTask {
    fn run(&mut self, budget: usize) -> Progress {
        let Some(root) = &mut self.root else { return Progress::Done };
        let progress = match caught(|| root.run(budget)) {
            Ok(progress) => progress,
            Err(text) => {
                self.panicked(text);
                return Progress::Done;
            }
        };
        if self.task.has_failed() {
            self.report();
        }
        for report in self.task.pieces.take_reports() {
            let report = CheckpointReport(report);
            (self.events)(CoreEvent::Checkpoint { task: self.id, report });
        }
        if progress == Progress::Done {
            self.close();
        }
        progress
    }

    fn order(&mut self, order: TaskOrder) {
        self.task.pieces.order(order);
    }
}

impl Drop for JobTask {
    fn drop(&mut self) {
        self.close();
    }
}

fn in_words(task: &str, failure: OperatorFailure) -> TaskFailure {
    let OperatorFailure { operator, subtask, parallelism, record, panic, cause } = failure;
    let said = match (panic, cause) {
        (Some(text), _) => TaskFailure::from_panic(task, text),
        (None, Some(cause)) => TaskFailure::from_error(task, cause),
        (None, None) => TaskFailure::from_error(task, "no cause was given".into()),
    };
    said.at(FailureSite { operator, subtask, parallelism, record })
}

thread_local! {
    /// Of the jobs with tasks on this thread's cores.
    static LINKS: RefCell<HashMap<(JobId, usize), Weak<LocalLinks>>> = RefCell::default();
}

/// A share in the links of a job within a core; the last one takes the entry of the map along.
struct CoreLinks {
    key: (JobId, usize),
    links: Rc<LocalLinks>,
}

impl CoreLinks {
    fn open(job: JobId, core: usize) -> Self {
        let key = (job, core);
        let links = LINKS.with_borrow_mut(|map| {
            if let Some(links) = map.get(&key).and_then(Weak::upgrade) {
                return links;
            }
            let links = Rc::<LocalLinks>::default();
            map.insert(key, Rc::downgrade(&links));
            links
        });
        Self { key, links }
    }
}

impl Drop for CoreLinks {
    fn drop(&mut self) {
        if Rc::strong_count(&self.links) > 1 {
            return;
        }
        // When the thread ends its map may be gone before its tasks, and the entry with it.
        let _ = LINKS.try_with(|map| map.borrow_mut().remove(&self.key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_count() -> usize {
        LINKS.with_borrow(HashMap::len)
    }

    #[test]
    fn tasks_of_a_job_on_one_core_share_links_and_the_last_takes_them_along() {
        let (job, other) = (JobId::allocate(), JobId::allocate());
        let first = CoreLinks::open(job, 0);
        let second = CoreLinks::open(job, 0);
        assert!(Rc::ptr_eq(&first.links, &second.links));
        let elsewhere = [CoreLinks::open(job, 1), CoreLinks::open(other, 0)];
        assert!(elsewhere.iter().all(|links| !Rc::ptr_eq(&links.links, &first.links)));
        assert_eq!(open_count(), 3);
        drop((first, elsewhere));
        assert_eq!(open_count(), 1);
        drop(second);
        assert_eq!(open_count(), 0);
    }
}
