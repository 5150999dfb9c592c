//! What a rich function learns in `open`.

use crate::graph::NodeId;
use crate::operator::StageContext;

/// The place of a function in the job, its metrics and (on keyed streams) its state.
pub struct RuntimeContext<'a> {
    pub(crate) stage: &'a StageContext,
    pub(crate) node: NodeId,
}

impl<'a> RuntimeContext<'a> {
    pub(crate) fn new(stage: &'a StageContext, node: NodeId) -> Self {
        RuntimeContext { stage, node }
    }

    /// Which of the parallel instances this is, from 0.
    pub fn subtask_index(&self) -> usize {
        self.stage.subtask
    }

    /// How many parallel instances there are.
    pub fn parallelism(&self) -> usize {
        self.stage.parallelism
    }

    /// Number of key groups: the most instances that the operator can be rescaled to.
    pub fn max_parallelism(&self) -> usize {
        self.stage.max_parallelism as usize
    }

    /// The operator's name.
    pub fn operator_name(&self) -> &str {
        self.stage.names.get(self.node)
    }

    /// Gets this core up; for threads that something of this function waits for.
    pub fn waker(&self) -> &std::sync::Arc<crate::runtime::CoreWaker> {
        &self.stage.task.core.waker
    }

    /// Wall clock in milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.stage.task.core.now_ms.get()
    }
}
