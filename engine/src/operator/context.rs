//! What the operators of a task share: its work counter, its failure, and per stage the place it is at.

use crate::BoxError;
use crate::graph::NodeId;
use crate::metrics::{MetricGroup, SubtaskMetrics};
use crate::operator::pieces::TaskPieces;
use crate::record::CheckpointId;
use crate::runtime::CoreHandle;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

/// Shared by all stages of one task, on the task's core.
#[derive(Debug)]
pub(crate) struct TaskContext {
    pub(crate) core: CoreHandle,
    /// Grows with every record, control and firing: tells `Worked` from `Idle`.
    pub(crate) work: Cell<u64>,
    /// The first failure of user code; the task stops after the run in which it is set.
    failure: RefCell<Option<OperatorFailure>>,
    failed: Cell<bool>,
    /// What its operators put into checkpoints.
    pub(crate) pieces: TaskPieces,
    /// The checkpoint that the job goes on from; set before an operator is built.
    pub(crate) restored: Cell<Option<CheckpointId>>,
}

impl TaskContext {
    pub(crate) fn new(core: CoreHandle) -> Rc<Self> {
        let (failure, failed) = (RefCell::new(None), Cell::new(false));
        let pieces = TaskPieces::default();
        let restored = Cell::new(None);
        Rc::new(TaskContext { core, work: Cell::new(0), failure, failed, pieces, restored })
    }

    #[inline]
    pub(crate) fn worked(&self, amount: u64) {
        self.work.set(self.work.get() + amount);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.get()
    }

    pub(crate) fn take_failure(&self) -> Option<OperatorFailure> {
        self.failure.borrow_mut().take()
    }
}

/// Names of the operators of a job, by node.
#[derive(Debug, Default)]
pub(crate) struct OperatorNames(pub(crate) Vec<String>);

impl OperatorNames {
    pub(crate) fn get(&self, node: NodeId) -> &str {
        self.0.get(node.0 as usize).map_or("unnamed operator", String::as_str)
    }
}

/// Shared by the operators of one stage: a head and what is fused to it, in one subtask.
pub(crate) struct StageContext {
    pub(crate) task: Rc<TaskContext>,
    pub(crate) names: Arc<OperatorNames>,
    pub(crate) head: NodeId,
    pub(crate) subtask: usize,
    pub(crate) parallelism: usize,
    pub(crate) max_parallelism: u16,
    pub(crate) metrics: Arc<SubtaskMetrics>,
    /// For the metrics of user functions.
    pub(crate) user_metrics: MetricGroup,
    /// Records the head has begun; the last of them is the one at hand.
    pub(crate) position: Cell<u64>,
    /// The operator whose user code is unwinding.
    unwinding: Cell<Option<NodeId>>,
}

impl StageContext {
    pub(crate) fn new(
        task: Rc<TaskContext>,
        names: Arc<OperatorNames>,
        head: NodeId,
        (subtask, parallelism, max_parallelism): (usize, usize, u16),
        user_metrics: MetricGroup,
    ) -> Rc<Self> {
        let metrics = user_metrics.subtask().clone();
        let (position, unwinding) = (Cell::new(0), Cell::new(None));
        Rc::new(StageContext {
            task,
            names,
            head,
            subtask,
            parallelism,
            max_parallelism,
            metrics,
            user_metrics,
            position,
            unwinding,
        })
    }

    /// Notes the failure of `node`'s user code at the record at hand, unless an earlier one is noted.
    #[cold]
    pub(crate) fn fail(&self, node: NodeId, cause: BoxError) {
        self.note(node, Some(cause), None);
    }

    /// Notes the panic that unwound out of this stage, if one did.
    pub(crate) fn note_panic(&self, message: &str) -> bool {
        match self.unwinding.take() {
            Some(node) => {
                self.note(node, None, Some(message.to_owned()));
                true
            }
            None => false,
        }
    }

    fn note(&self, node: NodeId, cause: Option<BoxError>, panic: Option<String>) {
        self.task.failed.set(true);
        self.task.failure.borrow_mut().get_or_insert_with(|| OperatorFailure {
            operator: self.names.get(node).to_owned(),
            subtask: self.subtask,
            parallelism: self.parallelism,
            record: self.position.get(),
            panic,
            cause,
        });
    }
}

/// Marks that user code of an operator runs. Forgotten on return, dropped by a panic: then it leaves the name of the operator.
/// Costs nothing on the way through.
pub(crate) struct UserCall<'a> {
    stage: &'a StageContext,
    /// By reference: a copy would be made for each record, for the case of a panic.
    node: &'a NodeId,
}

impl<'a> UserCall<'a> {
    /// What follows, up to [`end`](Self::end), is user code of `node`.
    ///
    /// A pair of calls and not one that takes a closure: a closure in a loop that is instantiated twice is not inlined.
    #[inline(always)]
    pub(crate) fn begin(stage: &'a StageContext, node: &'a NodeId) -> Self {
        UserCall { stage, node }
    }

    /// The user code has returned.
    #[inline(always)]
    pub(crate) fn end(self) {
        std::mem::forget(self);
    }
}

impl Drop for UserCall<'_> {
    #[cold]
    fn drop(&mut self) {
        // The innermost call unwinds first: it is the culprit.
        if self.stage.unwinding.get().is_none() {
            self.stage.unwinding.set(Some(*self.node));
        }
    }
}

/// Which operator failed where, and why.
#[derive(Debug)]
pub(crate) struct OperatorFailure {
    pub(crate) operator: String,
    pub(crate) subtask: usize,
    pub(crate) parallelism: usize,
    /// Ordinal (from 1) among the records that its stage has read; 0 before the first.
    pub(crate) record: u64,
    pub(crate) panic: Option<String>,
    pub(crate) cause: Option<BoxError>,
}

impl fmt::Display for OperatorFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OperatorFailure { operator, subtask, parallelism, record, .. } = self;
        write!(f, "operator '{operator}' (subtask {} of {parallelism}) ", subtask + 1)?;
        f.write_str(if self.panic.is_some() { "panicked" } else { "failed" })?;
        if *record > 0 {
            write!(f, " at record {record} of its input")?;
        }
        match (&self.panic, &self.cause) {
            (Some(message), _) => write!(f, ": {message}"),
            (None, Some(cause)) => write!(f, ": {cause}"),
            (None, None) => Ok(()),
        }
    }
}
