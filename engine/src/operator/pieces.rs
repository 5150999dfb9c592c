//! What the operators of a task put into checkpoints: pieces of state, gathered until all are there.
//!
//! 1. While a task is built, each of its parts that takes part in checkpoints registers a [`Piece`]
//!    ([`BuildContext::piece`]) and reads what a checkpoint has of it. Sinks without state do so too: a checkpoint is
//!    complete only if its barrier has come to all ends.
//! 2. The sources of the task are told to send a barrier ([`TaskPieces::take_barrier`]).
//! 3. When the barrier comes to a part, it delivers its bytes, at once or later, or fails the checkpoint.
//! 4. With the last piece the task's snapshot is ready, and the task hands it to the control plane.
//! 5. What becomes of checkpoints comes back as [`Notice`]s, which a part reads when it is driven.
//!
//! **Invariants**
//! - A part delivers once for each barrier that comes to it, before it passes the barrier on or after.
//! - Deliveries of one part ascend in checkpoints.
//! - A snapshot has the pieces of all parts, or is never ready: a newer one that is complete gives up all before it.

mod stored_value;

#[cfg(feature = "kafka")]
pub(crate) use stored_value::value_header;
pub(crate) use stored_value::{
    PieceCause, ReadAs, StoredType, from_bytes, from_bytes_since, stored_type, to_bytes,
};

use crate::BoxError;
use crate::checkpoint::crash_points;
use crate::checkpoint::piece_bytes::PieceBytes;
use crate::checkpoint::snapshot::{Declined, PieceKey, RestoredPiece, SnapshotPiece, TaskSnapshot};
use crate::graph::NodeId;
use crate::operator::TaskContext;
use crate::operator::build::BuildContext;
use crate::record::{Barrier, CheckpointId};
use crate::runtime::TaskOrder;
use crate::state::{StateError, StateValue};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use thalweg_io::crash_point;

/// What became of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It is durable, with all before it: what waited for that may be committed.
    Completed(CheckpointId),
    /// It will not be restored any more: its files may go.
    Released(CheckpointId),
    /// It was given up; a later one has what this one would have had.
    Aborted(CheckpointId),
}

/// What a task has to say to the control plane.
#[derive(Debug)]
pub(crate) enum Report {
    Ready(TaskSnapshot),
    Declined(Declined),
    /// A source of the task has read all its input, and waits for the last checkpoint.
    InputEnded,
}

/// See the module docs; one for each task.
#[derive(Debug, Default)]
pub(crate) struct TaskPieces {
    keys: RefCell<Vec<(PieceKey, usize)>>,
    gathering: RefCell<VecDeque<Gathering>>,
    reports: RefCell<Vec<Report>>,
    has_reports: Cell<bool>,
    /// The barrier that the task's source is to send.
    barrier: Cell<Option<Barrier>>,
    barriers_ordered: Cell<u64>,
    must_stop_reading: Cell<bool>,
    must_drain: Cell<bool>,
    may_end: Cell<bool>,
    notices: RefCell<VecDeque<Notice>>,
    /// How many notices there have been; the last of them is the last of `notices`.
    notice_count: Cell<u64>,
}

#[derive(Debug)]
struct Gathering {
    checkpoint: CheckpointId,
    pieces: Vec<Option<PieceBytes>>,
    missing: usize,
    is_declined: bool,
}

/// Notices that are kept for parts that are behind: parts read them whenever they are driven.
const NOTICES_MAX: usize = 4096;

impl TaskPieces {
    /// Takes an order of the control plane.
    pub(crate) fn order(&self, order: TaskOrder) {
        match order {
            TaskOrder::Barrier(barrier) => {
                self.barrier.set(Some(barrier));
                self.barriers_ordered.set(self.barriers_ordered.get() + 1);
            }
            TaskOrder::Completed(id) => self.notify(Notice::Completed(id)),
            TaskOrder::Released(id) => self.notify(Notice::Released(id)),
            TaskOrder::Aborted(id) => self.abort(id),
            TaskOrder::StopReading => self.must_stop_reading.set(true),
            TaskOrder::Drain => {
                self.must_drain.set(true);
                self.must_stop_reading.set(true);
            }
            TaskOrder::EndInput => self.may_end.set(true),
        }
    }

    fn notify(&self, notice: Notice) {
        let mut notices = self.notices.borrow_mut();
        if notices.len() == NOTICES_MAX {
            notices.pop_front();
        }
        notices.push_back(notice);
        self.notice_count.set(self.notice_count.get() + 1);
    }

    fn abort(&self, id: CheckpointId) {
        self.gathering.borrow_mut().retain(|gathering| gathering.checkpoint != id);
        if self.barrier.get().is_some_and(|barrier| barrier.checkpoint == id) {
            self.barrier.set(None);
        }
        self.notify(Notice::Aborted(id));
    }

    /// The barrier that a source is to send now, once.
    #[inline]
    pub(crate) fn take_barrier(&self) -> Option<Barrier> {
        self.barrier.take()
    }

    /// Is there a barrier to be sent?
    #[inline]
    pub(crate) fn has_barrier(&self) -> bool {
        self.barrier.get().is_some()
    }

    /// Of the barriers that were ordered, those that the source has sent, or will not send any more.
    #[inline]
    pub(crate) fn barriers_passed(&self) -> u64 {
        self.barriers_ordered.get() - u64::from(self.barrier.get().is_some())
    }

    /// Is the source to read no further, though there is more?
    #[inline]
    pub(crate) fn must_stop_reading(&self) -> bool {
        self.must_stop_reading.get()
    }

    /// Is event time to come to its end, as if there were no more?
    pub(crate) fn must_drain(&self) -> bool {
        self.must_drain.get()
    }

    /// May a source that has read its input say so downstream?
    pub(crate) fn may_end(&self) -> bool {
        self.may_end.get()
    }

    /// A source of the task has read all its input.
    pub(crate) fn input_ended(&self) {
        self.report(Report::InputEnded);
    }

    /// What is to be said to the control plane since the last call.
    #[inline]
    pub(crate) fn take_reports(&self) -> Vec<Report> {
        match self.has_reports.replace(false) {
            true => self.reports.take(),
            false => Vec::new(),
        }
    }

    fn report(&self, report: Report) {
        self.reports.borrow_mut().push(report);
        self.has_reports.set(true);
    }

    fn register(&self, key: PieceKey, subtask: usize) -> usize {
        let mut keys = self.keys.borrow_mut();
        debug_assert!(keys.iter().all(|(known, _)| *known != key), "each piece has its name");
        keys.push((key, subtask));
        keys.len() - 1
    }

    fn with_gathering(&self, checkpoint: CheckpointId, act: impl FnOnce(&mut Gathering)) {
        let mut all = self.gathering.borrow_mut();
        let at = all.partition_point(|gathering| gathering.checkpoint < checkpoint);
        if all.get(at).is_none_or(|gathering| gathering.checkpoint != checkpoint) {
            let missing = self.keys.borrow().len();
            let pieces = vec![None; missing];
            all.insert(at, Gathering { checkpoint, pieces, missing, is_declined: false });
        }
        act(&mut all[at]);
        if all[at].missing == 0 {
            // Those before it can never be completed: their deliveries would have come first.
            let ready = all.drain(..=at).next_back();
            drop(all);
            if let Some(ready) = ready.filter(|ready| !ready.is_declined) {
                crash_point(crash_points::SHARD_SNAPSHOT);
                self.report(Report::Ready(self.snapshot(ready)));
            }
        }
    }

    fn snapshot(&self, gathered: Gathering) -> TaskSnapshot {
        let keys = self.keys.borrow();
        let pieces = keys.iter().zip(gathered.pieces).filter_map(|((key, subtask), bytes)| {
            Some(SnapshotPiece { key: key.clone(), subtask: *subtask, bytes: bytes? })
        });
        TaskSnapshot { checkpoint: gathered.checkpoint, pieces: pieces.collect() }
    }
}

/// A part's share in the checkpoints of its task.
#[derive(Debug)]
pub(crate) struct Piece {
    task: Rc<TaskContext>,
    index: usize,
    subtask: usize,
    operator: Rc<str>,
    /// Notices read so far.
    read: u64,
}

impl Piece {
    /// The part's state at the barrier of `checkpoint`.
    pub(crate) fn deliver(&self, checkpoint: CheckpointId, bytes: impl Into<PieceBytes>) {
        let bytes = bytes.into();
        self.task.worked(1);
        self.task.pieces.with_gathering(checkpoint, |gathering| {
            debug_assert!(gathering.pieces[self.index].is_none(), "a piece is delivered once");
            gathering.missing -= usize::from(gathering.pieces[self.index].is_none());
            gathering.pieces[self.index] = Some(bytes);
        });
    }

    /// The part's state as one value.
    pub(crate) fn deliver_value<T: StateValue>(&self, checkpoint: CheckpointId, value: &T) {
        match to_bytes(value) {
            Ok(bytes) => self.deliver(checkpoint, bytes),
            Err(error) => self.decline(checkpoint, error.into()),
        }
    }

    /// The splits of a source's reader.
    pub(crate) fn deliver_splits<S: StateValue>(
        &self,
        checkpoint: CheckpointId,
        splits: &SplitsPiece<S>,
    ) {
        match splits.to_stored() {
            Ok(stored) => self.deliver_value(checkpoint, &stored),
            Err(error) => self.decline(checkpoint, error.into()),
        }
    }

    /// The part cannot take part in `checkpoint`, and delivers nothing for it.
    pub(crate) fn decline(&self, checkpoint: CheckpointId, cause: BoxError) {
        self.task.worked(1);
        let mut is_first = false;
        self.task.pieces.with_gathering(checkpoint, |gathering| {
            is_first = !std::mem::replace(&mut gathering.is_declined, true);
            gathering.missing -= usize::from(gathering.pieces[self.index].is_none());
            gathering.pieces[self.index] = Some(PieceBytes::default());
        });
        if is_first {
            let (operator, subtask) = (self.operator.to_string(), self.subtask);
            let declined = Declined { checkpoint, operator, subtask, cause };
            self.task.pieces.report(Report::Declined(declined));
        }
    }

    /// Is there a notice that [`next_notice`](Self::next_notice) has not given yet?
    #[inline]
    pub(crate) fn has_notice(&self) -> bool {
        self.read < self.task.pieces.notice_count.get()
    }

    /// [`next_notice`](Self::next_notice), at the price of a comparison where there is none.
    #[inline]
    pub(crate) fn next_notice_if_any(&mut self) -> Option<Notice> {
        if self.has_notice() { self.next_notice() } else { None }
    }

    /// The next notice for this part.
    pub(crate) fn next_notice(&mut self) -> Option<Notice> {
        let notices = self.task.pieces.notices.borrow();
        let behind = self.task.pieces.notice_count.get() - self.read;
        let behind =
            usize::try_from(behind).map_or(notices.len(), |behind| behind.min(notices.len()));
        let notice = notices.get(notices.len() - behind).copied()?;
        self.read = self.task.pieces.notice_count.get() - behind as u64 + 1;
        Some(notice)
    }
}

/// What a source has in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SplitsPiece<S> {
    /// Those that the reader holds, with their positions.
    pub(crate) splits: Vec<S>,
    /// What the reader said of event time.
    pub(crate) watermark_ms: i64,
    pub(crate) is_idle: bool,
    pub(crate) has_ended: bool,
}

/// The same as it is archived: the type of the splits, and their archives.
type StoredSplits = (StoredType, Vec<Vec<u8>>, i64, bool, bool);
/// As older programs have written it.
type BareSplits = (u64, Vec<Vec<u8>>, i64, bool, bool);

fn upgraded((fingerprint, splits, watermark_ms, is_idle, has_ended): BareSplits) -> StoredSplits {
    ((fingerprint, String::new()), splits, watermark_ms, is_idle, has_ended)
}

impl<S: StateValue> SplitsPiece<S> {
    fn to_stored(&self) -> Result<StoredSplits, StateError> {
        let archives = self.splits.iter().map(|split| Ok(split.to_archived()?.into_vec()));
        let archives = archives.collect::<Result<_, StateError>>()?;
        Ok((stored_type::<S>(), archives, self.watermark_ms, self.is_idle, self.has_ended))
    }

    fn from_stored(stored: StoredSplits) -> Result<Self, PieceCause> {
        let ((fingerprint, text), archives, watermark_ms, is_idle, has_ended) = stored;
        let read_as = ReadAs::of::<S>((fingerprint, &text))?;
        let splits = archives.iter().map(|bytes| read_as.read(bytes)).collect::<Result<_, _>>()?;
        Ok(SplitsPiece { splits, watermark_ms, is_idle, has_ended })
    }

    /// What a subtask of as many as say `parallelism` takes of the pieces of all subtasks there were: its own, or,
    /// where there were more or fewer, every so-many-th split.
    fn share(mut pieces: Vec<Self>, subtask: usize, parallelism: usize) -> Option<Self> {
        if pieces.len() == parallelism {
            return Some(pieces.swap_remove(subtask));
        }
        let watermark_ms = pieces.iter().map(|piece| piece.watermark_ms).min()?;
        let is_idle = pieces.iter().all(|piece| piece.is_idle);
        let has_ended = pieces.iter().all(|piece| piece.has_ended);
        let splits = pieces.into_iter().flat_map(|piece| piece.splits);
        let splits = splits.skip(subtask).step_by(parallelism).collect();
        Some(SplitsPiece { splits, watermark_ms, is_idle, has_ended })
    }
}

/// A piece of a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the state '{name}' of operator '{operator}' (subtask {}) cannot be restored: {cause}", subtask + 1)]
pub(crate) struct PieceError {
    operator: Box<str>,
    subtask: usize,
    name: &'static str,
    #[source]
    cause: PieceCause,
}

impl PieceError {
    pub(crate) fn new(
        operator: &str,
        subtask: usize,
        name: &'static str,
        cause: PieceCause,
    ) -> Self {
        PieceError { operator: operator.into(), subtask, name, cause }
    }
}

/// The value of one piece; `operator` is for errors.
///
/// # Errors
/// [`PieceError`] where the piece is damaged, or is a value of another type.
pub(crate) fn value_of<T: StateValue>(
    operator: &str,
    name: &'static str,
    piece: &RestoredPiece,
) -> Result<T, PieceError> {
    let (operator, subtask) = (operator.into(), piece.subtask);
    from_bytes(&piece.bytes).map_err(|cause| PieceError { operator, subtask, name, cause })
}

impl BuildContext {
    /// Registers a part of `node` that takes part in checkpoints; `name` is its own among those of the operator.
    pub(crate) fn piece(&self, node: NodeId, name: &'static str) -> Piece {
        let task = self.stage.task.clone();
        let key = PieceKey { operator: self.job.operator_ids[node.0 as usize], name };
        let subtask = self.stage.subtask;
        let index = task.pieces.register(key, subtask);
        let operator = self.stage.names.get(node).into();
        Piece { task, index, subtask, operator, read: 0 }
    }

    /// What the checkpoint that the job goes on from has of this piece: of all subtasks there were, in order. Empty if the
    /// job begins anew.
    pub(crate) fn restored(&self, node: NodeId, name: &'static str) -> &[RestoredPiece] {
        let Some(restored) = &self.job.restored else { return &[] };
        restored.of(self.job.operator_ids[node.0 as usize], name)
    }

    /// How many subtasks the operator had in the checkpoint that the job goes on from; 0 if that does not have it.
    pub(crate) fn restored_subtasks(&self, node: NodeId) -> usize {
        let Some(restored) = &self.job.restored else { return 0 };
        let operator = self.job.operator_ids[node.0 as usize];
        restored.parallelism.get(&operator).copied().unwrap_or(0)
    }

    /// A piece cannot be used, for a cause that the part itself has found.
    pub(crate) fn piece_error(
        &self,
        node: NodeId,
        (name, subtask): (&'static str, usize),
        cause: BoxError,
    ) -> PieceError {
        let operator = self.stage.names.get(node).into();
        PieceError { operator, subtask, name, cause: PieceCause::Part(cause) }
    }

    /// [`restored`](Self::restored) for pieces that were [delivered as values](Piece::deliver_value).
    ///
    /// # Errors
    /// [`PieceError`] where a piece is damaged, or has values of another type.
    pub(crate) fn restored_values<T: StateValue>(
        &self,
        node: NodeId,
        name: &'static str,
    ) -> Result<Vec<T>, PieceError> {
        let operator = self.stage.names.get(node);
        self.restored(node, name).iter().map(|piece| value_of(operator, name, piece)).collect()
    }

    /// The same of values that older programs have written as another type of this crate.
    ///
    /// # Errors
    /// As [`restored_values`](Self::restored_values).
    pub(crate) fn restored_values_since<T: StateValue, Old: StateValue>(
        &self,
        node: NodeId,
        name: &'static str,
        upgrade: fn(Old) -> T,
    ) -> Result<Vec<T>, PieceError> {
        let values = self.restored(node, name).iter().map(|piece| {
            let value = from_bytes_since(&piece.bytes, upgrade);
            let operator = self.stage.names.get(node);
            value.map_err(|cause| PieceError::new(operator, piece.subtask, name, cause))
        });
        values.collect()
    }

    /// This subtask's share in the splits of a source.
    ///
    /// # Errors
    /// As [`restored_values`](Self::restored_values).
    pub(crate) fn restored_splits<S: StateValue>(
        &self,
        node: NodeId,
        name: &'static str,
    ) -> Result<Option<SplitsPiece<S>>, PieceError> {
        let operator = self.stage.names.get(node);
        let stored = self.restored_values_since(node, name, upgraded)?.into_iter().enumerate();
        let pieces = stored.map(|(subtask, stored)| {
            SplitsPiece::<S>::from_stored(stored).map_err(|cause| PieceError {
                operator: operator.into(),
                subtask,
                name,
                cause,
            })
        });
        let pieces = pieces.collect::<Result<Vec<_>, _>>()?;
        Ok(SplitsPiece::share(pieces, self.stage.subtask, self.stage.parallelism))
    }

    /// Are there checkpoints?
    pub(crate) fn has_checkpoints(&self) -> bool {
        self.job.checkpoints.is_some()
    }
}
