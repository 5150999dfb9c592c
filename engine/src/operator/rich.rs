//! What of a rich function is in checkpoints: its operator state, as a piece of its operator.
//!
//! ```text
//! open     the pieces of all subtasks ──► store ──► states come back as the function registers them
//! barrier  the function's snapshot_state ──► store ──► piece
//! notice   the function's notify_checkpoint_*
//! ```
//!
//! **Invariants**
//! - The piece is delivered before the barrier is passed on.

use crate::Result;
use crate::function::RuntimeContext;
use crate::graph::NodeId;
use crate::operator::build::BuildContext;
use crate::operator::opened::{Hooks, OpenStates, Opened};
use crate::operator::pieces::Piece;
use crate::record::{CheckpointId, Control};
use thalweg_state::{OperatorStateStore, StateError};

/// The name of the piece.
const PIECE: &str = "operator state";

/// The operator state of a function, and its piece.
pub(crate) struct FunctionStates {
    pub(crate) store: OperatorStateStore,
    /// `None` if no function has state here.
    piece: Option<Piece>,
}

impl FunctionStates {
    /// Of an operator whose functions have none.
    pub(crate) fn none(operator: &str) -> Self {
        FunctionStates { store: OperatorStateStore::new(operator), piece: None }
    }

    /// With what the subtask takes of the checkpoint that the job goes on from.
    ///
    /// # Errors
    /// [`StateError`] if a piece cannot be read.
    pub(crate) fn open(context: &BuildContext, node: NodeId) -> Result<Self, StateError> {
        let stage = &context.stage;
        let pieces = context.restored(node, PIECE).iter();
        let pieces: Vec<&[u8]> = pieces.map(|piece| &*piece.bytes).collect();
        let (operator, subtask) = (stage.names.get(node), stage.subtask);
        let store = OperatorStateStore::restored(operator, &pieces, subtask, stage.parallelism)?;
        Ok(FunctionStates { store, piece: Some(context.piece(node, PIECE)) })
    }

    /// A barrier has come.
    pub(crate) fn snapshot<F>(&mut self, function: &mut Opened<F>, checkpoint: CheckpointId) {
        let FunctionStates { store, piece: Some(piece) } = self else { return };
        if !function.snapshot_state(checkpoint, store) {
            return; // The job fails.
        }
        match store.snapshot() {
            Ok(bytes) => piece.deliver(checkpoint, bytes),
            Err(error) => piece.decline(checkpoint, error.into()),
        }
    }

    /// Tells the function what became of checkpoints. Called with each drive.
    #[inline]
    pub(crate) fn notify<F>(&mut self, function: &mut Opened<F>) {
        if let Some(piece) = &mut self.piece
            && piece.has_notice()
        {
            notify_all(piece, function);
        }
    }
}

#[cold]
fn notify_all<F>(piece: &mut Piece, function: &mut Opened<F>) {
    while let Some(notice) = piece.next_notice() {
        function.notify(notice);
    }
}

/// A rich function whose calls are given no context.
pub(crate) struct Rich<F> {
    function: Opened<F>,
    states: FunctionStates,
}

impl<F> Rich<F> {
    /// Opens `function` as user code of `node`; an error names the operator.
    pub(crate) fn open(
        function: F,
        context: &BuildContext,
        node: NodeId,
        open: impl FnOnce(&mut F, &mut RuntimeContext<'_>) -> Result<()>,
        close: fn(&mut F) -> Result<()>,
        hooks: Hooks<F>,
    ) -> Result<Self> {
        let mut states = FunctionStates::open(context, node)?;
        let places = OpenStates { keyed: None, operator: Some(&mut states.store) };
        let function = Opened::open_with(function, (&context.stage, node), places, open, close)?;
        Ok(Rich { function: function.with_hooks(hooks), states })
    }

    /// The function, to be called.
    #[inline(always)]
    pub(crate) fn opened(&mut self) -> &mut Opened<F> {
        &mut self.function
    }

    /// A control is about to be passed on.
    #[inline]
    pub(crate) fn control(&mut self, control: Control) {
        if let Control::Barrier(barrier) = control {
            self.states.snapshot(&mut self.function, barrier.checkpoint);
        }
    }

    /// Called with each drive.
    #[inline]
    pub(crate) fn drive(&mut self) {
        self.states.notify(&mut self.function);
    }
}

/// `control` and `drive` of an operator with a [`Rich`] function that adds nothing to them.
macro_rules! pass_on_by_function {
    () => {
        #[inline(always)]
        fn control(&mut self, control: $crate::record::Control) {
            self.function.control(control);
            self.next.control(control);
        }
        #[inline(always)]
        fn drive(&mut self, dry: bool) -> $crate::operator::Flow {
            self.function.drive();
            self.next.drive(dry)
        }
    };
}
pub(crate) use pass_on_by_function;
