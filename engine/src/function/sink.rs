//! Where streams end.
//!
//! A sink takes part in checkpoints like this:
//!
//! 1. It is opened, and [`Sink::initialize_state`] tells it what the checkpoint that the job goes on from has of it, and
//!    whether there are checkpoints at all.
//! 2. At a barrier [`Sink::snapshot_state`] gives what belongs into the checkpoint. All records before the barrier have
//!    been written by then, none behind it. The checkpoint waits until [`Sink::is_snapshot_safe`] says that it may be
//!    complete as far as the sink knows; records from behind the barrier come meanwhile.
//! 3. When the checkpoint is complete, [`Sink::notify_checkpoint_complete`] comes: a transaction that was closed at its
//!    barrier, or earlier, may be committed. A notification may be missing (a later one stands for all before it).
//! 4. The end of input comes behind a last checkpoint that is complete. [`Sink::finish`] is asked until all is out.
//!
//! Most sinks need none of it. Those that publish exactly once are best made of
//! [`TwoPhaseCommitSink`](super::TwoPhaseCommitSink) or [`WriteAheadSink`](super::WriteAheadSink), which know these steps.
//!
//! **Invariants**
//! - A checkpoint holds the sink's state as of its barrier: the state is taken before anything behind the barrier comes.
//! - State that a checkpoint has is read, or the job is refused: what is pending in it is never forgotten.

use crate::Result;
use crate::checkpoint::snapshot::RestoredPiece;
use crate::function::{ArchivedState, RuntimeContext};
pub use crate::graph::delivery::{SinkGuarantee, SinkPromise};
use crate::operator::pieces::{PieceCause, PieceError, from_bytes, from_bytes_since};
use crate::record::{Barrier, CheckpointId, Control};
use crate::state::StateValue;
use std::cell::Cell;

/// How a sink stands to the records it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkStatus {
    /// Takes more.
    Ready,
    /// Cannot take more just now: the engine holds records back until it can.
    Full,
}

/// Takes the records of a stream out of the engine. Each subtask has its own.
///
/// `write` never waits: a sink that may be full buffers what one batch brings and says so in `poll_ready`.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a sink for records of type `{T}`")]
pub trait Sink<T>: 'static {
    /// What it promises of records that come again after a restart. Asked when the sink joins a plan, before `open`.
    fn promise(&self) -> SinkPromise {
        SinkPromise::default()
    }
    /// Where it writes and under which names, for people: `explain` shows it. Asked when the sink joins a plan. Default:
    /// nothing.
    fn details(&self) -> Option<String> {
        None
    }
    /// Called once on the sink's core, before the first record.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(())
    }
    /// Called once after `open`: are there checkpoints, and what has the one that the job goes on from?
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn initialize_state(&mut self, _context: &SinkStateContext<'_>) -> Result<()> {
        Ok(())
    }
    /// Takes one record; `timestamp_ms` is [`NO_TIMESTAMP`](crate::record::NO_TIMESTAMP) for none.
    ///
    /// # Errors
    /// Any error fails the job, with the cause kept.
    fn write(&mut self, record: T, timestamp_ms: i64) -> Result<()>;
    /// Can it take more? Asked once a batch; `now_ms` is the wall clock, `dry` says that nothing more is coming just now, so
    /// that buffered records should go out.
    ///
    /// # Errors
    /// Any error fails the job.
    fn poll_ready(&mut self, _now_ms: i64, _dry: bool) -> Result<SinkStatus> {
        Ok(SinkStatus::Ready)
    }
    /// When, in wall-clock milliseconds, `poll_ready` wants to be asked again at the latest although no record may come until
    /// then. Read after each `poll_ready`.
    fn next_poll_ms(&self) -> Option<i64> {
        None
    }
    /// A watermark, a status or another control has come, after all records before it. The engine's own: what a test sees
    /// of a stream beside its records.
    ///
    /// # Errors
    /// Any error fails the job.
    #[doc(hidden)]
    fn on_control(&mut self, _control: Control) -> Result<()> {
        Ok(())
    }
    /// The barrier of a checkpoint has come: what belongs into that? The records before it must be safe in the answer, or
    /// in the system behind the sink.
    ///
    /// # Errors
    /// Any error fails the job, which goes on from the checkpoint before.
    fn snapshot_state(&mut self, _barrier: Barrier) -> Result<ArchivedState> {
        Ok(ArchivedState::none())
    }
    /// Does what was written before the barrier of `checkpoint` outlive a crash now? Asked after
    /// [`snapshot_state`](Self::snapshot_state), and again whenever the sink is driven, until it says yes: then the state
    /// is delivered. For sinks whose flushes take longer than a core may wait; get the core up by
    /// [`waker`](RuntimeContext::waker) when the answer has changed. Default: yes.
    ///
    /// # Errors
    /// Any error fails the job, which goes on from the checkpoint before.
    fn is_snapshot_safe(&mut self, _checkpoint: CheckpointId) -> Result<bool> {
        Ok(true)
    }
    /// A checkpoint is complete, and all before it that were not given up. [`poll_ready`](Self::poll_ready) follows.
    ///
    /// # Errors
    /// Any error fails the job, which goes on from that checkpoint.
    fn notify_checkpoint_complete(&mut self, _checkpoint: CheckpointId) -> Result<()> {
        Ok(())
    }
    /// A checkpoint was given up; what it would have had, a later one has.
    ///
    /// # Errors
    /// Any error fails the job.
    fn notify_checkpoint_aborted(&mut self, _checkpoint: CheckpointId) -> Result<()> {
        Ok(())
    }
    /// Called at the end of input, after [`poll_ready`](Self::poll_ready): everything written must be out when it has
    /// answered `Ready`. Where there are checkpoints the last one may not have been notified yet.
    ///
    /// # Errors
    /// Any error fails the job.
    fn finish(&mut self) -> Result<SinkStatus> {
        Ok(SinkStatus::Ready)
    }
    /// Called once at last, also after failure and cancellation.
    ///
    /// # Errors
    /// Any error fails the job if it has not failed yet.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What a sink learns in [`Sink::initialize_state`].
#[derive(Debug)]
pub struct SinkStateContext<'a> {
    pub(crate) operator_name: &'a str,
    pub(crate) subtask_index: usize,
    pub(crate) parallelism: usize,
    /// Wall clock in milliseconds.
    pub(crate) now_ms: i64,
    pub(crate) has_checkpoints: bool,
    pub(crate) restored_checkpoint: Option<CheckpointId>,
    /// Of all subtasks there were; an empty one is that of a subtask without state.
    pub(crate) pieces: &'a [RestoredPiece],
    pub(crate) is_read: Cell<bool>,
}

/// The name of a sink's piece.
pub(crate) const SINK_PIECE: &str = "sink";

impl SinkStateContext<'_> {
    /// Does the job take checkpoints? Otherwise nothing is ever notified, and what is written must be out at the end of
    /// input.
    pub fn has_checkpoints(&self) -> bool {
        self.has_checkpoints
    }

    /// The checkpoint that the job goes on from; `None` if it begins anew.
    pub fn restored_checkpoint(&self) -> Option<CheckpointId> {
        self.restored_checkpoint
    }

    /// Which of the parallel instances this is, from 0.
    pub fn subtask_index(&self) -> usize {
        self.subtask_index
    }

    /// How many parallel instances there are; the checkpoint may be of more or fewer.
    pub fn parallelism(&self) -> usize {
        self.parallelism
    }

    /// Wall clock in milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// The operator's name.
    pub fn operator_name(&self) -> &str {
        self.operator_name
    }

    /// Does this instance take over what was that of instance `subtask_index` of an earlier attempt? Each is taken over
    /// by exactly one.
    pub fn takes_over(&self, subtask_index: usize) -> bool {
        subtask_index % self.parallelism == self.subtask_index
    }

    /// What all instances had in the checkpoint: index and state, in order. Instances without state are left out.
    ///
    /// # Errors
    /// If a state is damaged, or of a type that cannot become `V`.
    pub fn states<V: StateValue>(&self) -> Result<Vec<(usize, V)>> {
        self.read_states(from_bytes)
    }

    /// The same of states that older programs have written as another type of this crate.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub(crate) fn states_since<V: StateValue, Old: StateValue>(
        &self,
        upgrade: fn(Old) -> V,
    ) -> Result<Vec<(usize, V)>> {
        self.read_states(|bytes| from_bytes_since(bytes, upgrade))
    }

    fn read_states<V>(
        &self,
        read: impl Fn(&[u8]) -> Result<V, PieceCause>,
    ) -> Result<Vec<(usize, V)>> {
        self.is_read.set(true);
        let pieces = self.pieces.iter().filter(|piece| !piece.bytes.is_empty());
        let values = pieces.map(|piece| {
            let value = read(&piece.bytes).map_err(|cause| {
                PieceError::new(self.operator_name, piece.subtask, SINK_PIECE, cause)
            })?;
            Ok((piece.subtask, value))
        });
        values.collect()
    }

    /// Is there state in the checkpoint that the sink has not asked for?
    pub(crate) fn has_unread_state(&self) -> bool {
        !self.is_read.get() && self.pieces.iter().any(|piece| !piece.bytes.is_empty())
    }
}

/// The checkpoint has state of a sink that takes none.
#[derive(Debug, thiserror::Error)]
#[error(
    "checkpoint {checkpoint} has state of sink '{operator}', which may hold transactions that wait for their commit, and \
     the sink takes no state now; use the sink that the checkpoint was made with, or begin without the checkpoint"
)]
pub(crate) struct UnreadSinkState {
    pub(crate) operator: String,
    pub(crate) checkpoint: CheckpointId,
}

/// A sink made of a closure; `sink_to(|record| ...)`.
#[derive(Clone)]
pub struct FnSink<F>(pub(crate) F);

impl<T: 'static, F: FnMut(T) + 'static> Sink<T> for FnSink<F> {
    #[inline(always)]
    fn write(&mut self, record: T, _: i64) -> Result<()> {
        (self.0)(record);
        Ok(())
    }
}
