//! The life of a rich function inside its operator: opened before the first record, closed when the operator goes.

use crate::function::{RuntimeContext, SnapshotContext};
use crate::graph::NodeId;
use crate::operator::pieces::Notice;
use crate::operator::{StageContext, UserCall};
use crate::record::CheckpointId;
use crate::{BoxError, Result};
use std::rc::Rc;
use thalweg_state::{OperatorStateStore, StateRegistrar};

/// A function that was opened and whose `close` runs when its operator is dropped, however the task ends.
pub(crate) struct Opened<F> {
    function: F,
    close: fn(&mut F) -> Result<()>,
    /// What checkpoints call, if it has that.
    hooks: Option<Hooks<F>>,
    stage: Rc<StageContext>,
    node: NodeId,
}

/// What checkpoints call of a function.
pub(crate) struct Hooks<F> {
    pub(crate) snapshot_state: fn(&mut F, &mut SnapshotContext<'_>) -> Result<()>,
    pub(crate) completed: fn(&mut F, CheckpointId) -> Result<()>,
    pub(crate) aborted: fn(&mut F, CheckpointId) -> Result<()>,
}

/// The hooks of a function trait: of a function, or of one that lies in a field of it.
macro_rules! hooks {
    ($($field:tt)?) => {
        $crate::operator::opened::Hooks {
            snapshot_state: |function, context| function$(.$field)?.snapshot_state(context),
            completed: |function, id| function$(.$field)?.notify_checkpoint_complete(id),
            aborted: |function, id| function$(.$field)?.notify_checkpoint_aborted(id),
        }
    };
}
pub(crate) use hooks;

/// Where a function may register state in `open`: what its calls can use.
#[derive(Default)]
pub(crate) struct OpenStates<'a> {
    /// On keyed streams.
    pub(crate) keyed: Option<&'a mut StateRegistrar>,
    /// Where the function's contexts lend the store.
    pub(crate) operator: Option<&'a mut OperatorStateStore>,
}

/// Says that user code failed; the failure itself is with the task.
pub(crate) const OPEN_FAILED: &str = "a function could not be opened";

impl<F> Opened<F> {
    /// Opens `function` as user code of `node`; an error names the operator.
    pub(crate) fn open(
        function: F,
        stage: &Rc<StageContext>,
        node: NodeId,
        open: impl FnOnce(&mut F, &mut RuntimeContext<'_>) -> Result<()>,
        close: fn(&mut F) -> Result<()>,
    ) -> Result<Self> {
        Self::open_keyed(function, (stage, node), None, open, close)
    }

    /// [`open`](Self::open) for a function that may register keyed state.
    pub(crate) fn open_keyed(
        function: F,
        place: (&Rc<StageContext>, NodeId),
        keyed: Option<&mut StateRegistrar>,
        open: impl FnOnce(&mut F, &mut RuntimeContext<'_>) -> Result<()>,
        close: fn(&mut F) -> Result<()>,
    ) -> Result<Self> {
        Self::open_with(function, place, OpenStates { keyed, operator: None }, open, close)
    }

    /// [`open`](Self::open) for a function that may register the state that `states` can take.
    pub(crate) fn open_with(
        function: F,
        (stage, node): (&Rc<StageContext>, NodeId),
        states: OpenStates<'_>,
        open: impl FnOnce(&mut F, &mut RuntimeContext<'_>) -> Result<()>,
        close: fn(&mut F) -> Result<()>,
    ) -> Result<Self> {
        let mut opened = Opened { function, close, hooks: None, stage: stage.clone(), node };
        let mut context = RuntimeContext::new(stage, node, states);
        let call = UserCall::begin(stage, &node);
        let result = open(&mut opened.function, &mut context);
        call.end();
        match result {
            Ok(()) => Ok(opened),
            Err(cause) => {
                stage.fail(node, cause);
                Err(OPEN_FAILED.into())
            }
        }
    }

    /// The same, with what checkpoints call.
    pub(crate) fn with_hooks(mut self, hooks: Hooks<F>) -> Self {
        self.hooks = Some(hooks);
        self
    }

    /// Lets the function bring its state up to date for a checkpoint; false if the job has failed.
    pub(crate) fn snapshot_state(
        &mut self,
        checkpoint: CheckpointId,
        states: &mut OperatorStateStore,
    ) -> bool {
        let Some(Hooks { snapshot_state, .. }) = self.hooks else { return true };
        let mut context = SnapshotContext { checkpoint, states };
        self.call(|function| snapshot_state(function, &mut context)).is_some()
    }

    /// Tells the function what became of a checkpoint.
    pub(crate) fn notify(&mut self, notice: Notice) {
        let Some(Hooks { completed, aborted, .. }) = self.hooks else { return };
        self.call(|function| match notice {
            Notice::Completed(id) => completed(function, id),
            Notice::Aborted(id) => aborted(function, id),
            Notice::Released(_) => Ok(()),
        });
    }

    /// The function, for a call of user code; `None` after a failure of the task. The caller ends the call.
    #[inline(always)]
    pub(crate) fn begin(&mut self) -> Option<(&mut F, UserCall<'_>)> {
        if self.stage.task.has_failed() {
            return None;
        }
        Some((&mut self.function, UserCall::begin(&self.stage, &self.node)))
    }

    /// The function's code returned an error: fails the job.
    #[cold]
    pub(crate) fn fail(&self, cause: BoxError) {
        self.stage.fail(self.node, cause);
    }

    /// Runs `code` on the function; `None` after an error, which fails the job, and ever after.
    #[inline(always)]
    pub(crate) fn call<R>(&mut self, code: impl FnOnce(&mut F) -> Result<R>) -> Option<R> {
        let (function, call) = self.begin()?;
        let result = code(function);
        call.end();
        match result {
            Ok(result) => Some(result),
            Err(cause) => {
                self.fail(cause);
                None
            }
        }
    }

    pub(crate) fn stage(&self) -> &Rc<StageContext> {
        &self.stage
    }
}

impl<F> Drop for Opened<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // a second panic would abort the process
        }
        let call = UserCall::begin(&self.stage, &self.node);
        let result = (self.close)(&mut self.function);
        call.end();
        if let Err(cause) = result {
            tracing::error!(operator = self.stage.names.get(self.node), %cause, "close failed");
            self.stage.fail(self.node, cause);
        }
    }
}
