//! Write-ahead: records wait in the checkpoint and are sent when it is complete. For systems without transactions.
//!
//! 1. Records are kept in memory up to the barrier, and travel in its checkpoint from then on, as a [`WriteAheadBatch`].
//! 2. When the checkpoint is complete the batch is sent, and the [`CheckpointCommitter`] notes that.
//! 3. An attempt that goes on from a checkpoint finds batches in it, and sends those that are not noted.
//!
//! A crash between 2's two halves sends a batch again: the sink is at-least-once, unless sending twice changes nothing
//! ([`WriteAheadSink::sends_once`]).
//!
//! **Invariants**
//! - Batches of a subtask are sent in the order of their checkpoints, so that the last one noted says all.
//! - A batch that is noted is never sent again; the job is refused if it goes on from a checkpoint before a noted one.

use super::{Recovery, TransactionContext, TwoPhase, TwoPhaseCommitSink};
use crate::Result;
use crate::function::{RuntimeContext, SinkGuarantee};
use crate::operator::window::stored::old_part;
use crate::record::CheckpointId;
use crate::state::{OldType, Schema, SchemaBuilder, StateError, StateValue};
use rkyv::util::AlignedVec;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use thalweg_state::KeyHasher;

/// Sends records that are in a complete checkpoint. Give it to `sink_to` by [`TwoPhase::write_ahead`].
///
/// # Examples
/// ```
/// use std::sync::{Arc, Mutex};
/// use thalweg::function::{FileCommitter, TwoPhase, WriteAheadBatch, WriteAheadSink};
/// use thalweg::prelude::*;
///
/// #[derive(Clone, Default)]
/// struct Mails(Arc<Mutex<Vec<String>>>);
///
/// impl WriteAheadSink for Mails {
///     type In = String;
///     fn send(&mut self, batch: &WriteAheadBatch<String>) -> thalweg::Result<()> {
///         self.0.lock().unwrap().extend(batch.records().cloned());
///         Ok(())
///     }
/// }
///
/// # let directory = std::env::temp_dir().join(format!("thalweg-doc-mails-{}", std::process::id()));
/// let mails = Mails::default();
/// let env = StreamExecutionEnvironment::new();
/// let sink = TwoPhase::write_ahead(mails.clone(), FileCommitter::new(&directory));
/// env.from_elements(["a", "b"]).map(str::to_owned).sink_to(sink);
/// env.execute("mails")?;
/// assert_eq!(*mails.0.lock().unwrap(), ["a", "b"]);
/// # std::fs::remove_dir_all(directory).unwrap();
/// # Ok::<(), thalweg::Error>(())
/// ```
pub trait WriteAheadSink: 'static {
    /// Its records. Checkpoints hold them: write `#[thalweg::record]` on your type.
    type In: StateValue + Send + Sync;

    /// Called once on the sink's core, before anything else.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(())
    }

    /// Sends the records of a checkpoint that is complete.
    ///
    /// # Errors
    /// It is tried again with the same batch, and then fails the job, whose next attempt sends it.
    fn send(&mut self, batch: &WriteAheadBatch<Self::In>) -> Result<()>;

    /// Does a batch that is sent twice count once? Say so if the system behind the sink tells batches apart by subtask and
    /// checkpoint, or if `send` and the committer's note are one step of that system. Default: no.
    fn sends_once(&self) -> bool {
        false
    }

    /// How many records may wait for their checkpoint; more fail the job. Default: 4 million.
    fn record_count_max(&self) -> usize {
        4_000_000
    }

    /// How often sending a batch is tried before the job fails; at least once. Default: 5.
    fn send_attempts_max(&self) -> u32 {
        5
    }

    /// How long after the first failure it is tried again; after each further one twice as long, 10 seconds at most.
    /// Default: 100 ms.
    fn send_retry_delay(&self) -> Duration {
        Duration::from_millis(100)
    }

    /// Called once at last, also after failure and cancellation.
    ///
    /// # Errors
    /// Any error fails the job if it has not failed yet.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Remembers, outside of the job, up to which checkpoint each subtask has sent. [`FileCommitter`](super::FileCommitter)
/// does so in files.
pub trait CheckpointCommitter: 'static {
    /// Called once, before anything else. If the job begins anew, what is remembered of the subtasks that this instance
    /// takes over is to be forgotten: checkpoints are numbered from 1 again.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn open(&mut self, context: &CommitterContext) -> Result<()>;

    /// The last checkpoint whose records subtask `subtask_index` has sent.
    ///
    /// # Errors
    /// The batch at hand is tried again, and then fails the job.
    fn last_committed(&mut self, subtask_index: usize) -> Result<Option<CheckpointId>>;

    /// Remembers, durably, that subtask `subtask_index` has sent all up to this checkpoint.
    ///
    /// # Errors
    /// The batch at hand is tried again, and then fails the job.
    fn commit(&mut self, subtask_index: usize, checkpoint: CheckpointId) -> Result<()>;
}

/// What a [`CheckpointCommitter`] learns of its place.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CommitterContext {
    /// The sink's name in the plan.
    pub operator_name: String,
    /// Which of the parallel instances this is, from 0.
    pub subtask_index: usize,
    /// How many there are.
    pub parallelism: usize,
    /// The checkpoint that the job goes on from; `None` if it begins anew.
    pub restored_checkpoint: Option<CheckpointId>,
}

impl CommitterContext {
    /// Does this instance take over what was that of instance `subtask_index` of an earlier attempt? Each is taken over
    /// by exactly one.
    pub fn takes_over(&self, subtask_index: usize) -> bool {
        subtask_index % self.parallelism == self.subtask_index
    }
}

/// The records between two barriers of one subtask.
pub struct WriteAheadBatch<T> {
    subtask_index: u64,
    checkpoint: u64,
    /// Written while the batch has one owner, which it has up to its barrier; shared from then on.
    records: Arc<Records<T>>,
}

struct Records<T> {
    values: Vec<T>,
    timestamps_ms: Vec<i64>,
}

impl<T> Clone for WriteAheadBatch<T> {
    fn clone(&self) -> Self {
        let WriteAheadBatch { subtask_index, checkpoint, records } = self;
        let records = records.clone();
        WriteAheadBatch { subtask_index: *subtask_index, checkpoint: *checkpoint, records }
    }
}

impl<T> fmt::Debug for WriteAheadBatch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteAheadBatch")
            .field("subtask_index", &self.subtask_index)
            .field("checkpoint", &self.checkpoint)
            .field("record_count", &self.len())
            .finish()
    }
}

impl<T> WriteAheadBatch<T> {
    /// Which subtask wrote the records; after a change of parallelism another one may send them.
    pub fn subtask_index(&self) -> usize {
        usize::try_from(self.subtask_index).unwrap_or(usize::MAX)
    }

    /// The checkpoint that has the records; 0 at the end of a job without checkpoints.
    pub fn checkpoint(&self) -> CheckpointId {
        CheckpointId(self.checkpoint)
    }

    /// The records, in the order in which they came.
    pub fn records(&self) -> impl ExactSizeIterator<Item = &T> {
        self.records.values.iter()
    }

    /// The records with their timestamps in milliseconds; [`NO_TIMESTAMP`](crate::record::NO_TIMESTAMP) for none.
    pub fn stamped(&self) -> impl ExactSizeIterator<Item = (&T, i64)> {
        self.records.values.iter().zip(self.records.timestamps_ms.iter().copied())
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.values.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.records.values.is_empty()
    }
}

/// A batch as it is archived: subtask, checkpoint, timestamps, values.
type Stored = (u64, u64, Vec<i64>, Vec<u8>);

impl<T: Schema> Schema for WriteAheadBatch<T> {
    fn describe(out: &mut SchemaBuilder) {
        out.container("WriteAheadBatch", &[T::describe]);
    }
    fn hash_key(&self, hasher: &mut KeyHasher) {
        (self.subtask_index, self.checkpoint).hash_key(hasher);
    }
}

impl<T: StateValue> StateValue for WriteAheadBatch<T> {
    fn archive_into(&self, out: &mut AlignedVec) -> Result<(), StateError> {
        let mut values = AlignedVec::new();
        T::archive_all_into(self.records.values.iter(), &mut values)?;
        let timestamps_ms = self.records.timestamps_ms.clone();
        let stored: Stored =
            (self.subtask_index, self.checkpoint, timestamps_ms, values.into_vec());
        stored.archive_into(out)
    }

    fn from_archived(bytes: &[u8]) -> Result<Self, StateError> {
        read_batch(bytes, T::from_archived_all)
    }

    fn from_old(old: OldType<'_>, bytes: &[u8]) -> Result<Self, StateError> {
        let records = old_part::<Self>(old, 0)?;
        read_batch(bytes, |bytes, values| T::from_old_all(records, bytes, values))
    }
}

fn read_batch<T>(
    bytes: &[u8],
    read_all: impl FnOnce(&[u8], &mut Vec<T>) -> Result<(), StateError>,
) -> Result<WriteAheadBatch<T>, StateError> {
    let (subtask_index, checkpoint, timestamps_ms, archived) = Stored::from_archived(bytes)?;
    let mut aligned = AlignedVec::<16>::new();
    aligned.extend_from_slice(&archived);
    let mut values = Vec::new();
    read_all(&aligned, &mut values)?;
    if values.len() != timestamps_ms.len() {
        let type_name = std::any::type_name::<WriteAheadBatch<T>>();
        let source = rkyv::rancor::Source::new(UnequalParts);
        return Err(StateError::Unarchive { type_name, length_bytes: bytes.len(), source });
    }
    let records = Arc::new(Records { values, timestamps_ms });
    Ok(WriteAheadBatch { subtask_index, checkpoint, records })
}

#[derive(Debug, thiserror::Error)]
#[error("a batch has as many timestamps as records")]
struct UnequalParts;

/// A write-ahead sink cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteAheadError {
    /// The job goes on from a checkpoint before one that was sent.
    #[error(
        "the records of checkpoint {sent} were sent, and the job goes on from checkpoint {restored}, which is before it: they \
         would be sent again; go on from checkpoint {sent} or a later one, or begin without a checkpoint"
    )]
    Behind {
        /// The last one that was sent.
        sent: CheckpointId,
        /// The one that the job goes on from.
        restored: CheckpointId,
    },
    /// Too many records wait for their checkpoint.
    #[error(
        "{0} records wait for a checkpoint to be complete, which is as many as `record_count_max` allows; take checkpoints \
         more often, look why they are not completed, or allow more"
    )]
    TooManyRecords(usize),
}

/// A [`WriteAheadSink`] as transactions: each is a batch. Made by [`TwoPhase::write_ahead`].
#[derive(Clone, Debug)]
pub struct WriteAhead<S, C> {
    sink: S,
    committer: C,
    subtask_index: usize,
    parallelism: usize,
    operator_name: String,
    /// In the open batch and those pending.
    waiting_records: usize,
}

impl<S: WriteAheadSink, C: CheckpointCommitter> TwoPhase<WriteAhead<S, C>> {
    /// A sink that sends when checkpoints are complete, and remembers by `committer` what it has sent.
    pub fn write_ahead(sink: S, committer: C) -> Self {
        let guarantee = match sink.sends_once() {
            true => SinkGuarantee::AtomicWriteAhead,
            false => SinkGuarantee::WriteAhead,
        };
        let (subtask_index, parallelism, waiting_records) = (0, 1, 0);
        let operator_name = String::new();
        let sink = WriteAhead {
            sink,
            committer,
            subtask_index,
            parallelism,
            operator_name,
            waiting_records,
        };
        TwoPhase::promising(sink, guarantee)
    }
}

impl<S: WriteAheadSink, C: CheckpointCommitter> WriteAhead<S, C> {
    /// Nothing that was sent is ahead of the checkpoint that the job goes on from.
    fn check_sent(&mut self, subtask_index: usize, restored: CheckpointId) -> Result<()> {
        match self.committer.last_committed(subtask_index)? {
            Some(sent) if sent > restored => Err(WriteAheadError::Behind { sent, restored }.into()),
            _ => Ok(()),
        }
    }
}

impl<S: WriteAheadSink, C: CheckpointCommitter> TwoPhaseCommitSink for WriteAhead<S, C> {
    type In = S::In;
    type Transaction = WriteAheadBatch<S::In>;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        self.subtask_index = context.subtask_index();
        self.parallelism = context.parallelism();
        self.operator_name = context.operator_name().to_owned();
        self.sink.open(context)
    }

    fn abort_unknown(&mut self, recovery: &Recovery<'_, WriteAheadBatch<S::In>>) -> Result<()> {
        let context = CommitterContext {
            operator_name: self.operator_name.clone(),
            subtask_index: self.subtask_index,
            parallelism: self.parallelism,
            restored_checkpoint: recovery.restored_checkpoint(),
        };
        self.committer.open(&context)?;
        self.waiting_records = recovery.own_pending().iter().map(WriteAheadBatch::len).sum();
        let Some(restored) = recovery.restored_checkpoint() else { return Ok(()) };
        self.check_sent(self.subtask_index, restored)?;
        let mut subtasks = recovery.own_pending().iter().map(WriteAheadBatch::subtask_index);
        subtasks.try_for_each(|subtask| self.check_sent(subtask, restored))
    }

    fn begin(&mut self, context: &TransactionContext) -> Result<WriteAheadBatch<S::In>> {
        let records = Arc::new(Records { values: Vec::new(), timestamps_ms: Vec::new() });
        Ok(WriteAheadBatch { subtask_index: context.subtask_index as u64, checkpoint: 0, records })
    }

    #[inline]
    fn write(
        &mut self,
        batch: &mut WriteAheadBatch<S::In>,
        record: S::In,
        timestamp_ms: i64,
    ) -> Result<()> {
        if self.waiting_records >= self.sink.record_count_max() {
            return Err(WriteAheadError::TooManyRecords(self.waiting_records).into());
        }
        let records = Arc::get_mut(&mut batch.records).expect("an open batch has one owner");
        records.values.push(record);
        records.timestamps_ms.push(timestamp_ms);
        self.waiting_records += 1;
        Ok(())
    }

    /// The checkpoint makes it safe.
    fn pre_commit(
        &mut self,
        batch: &mut WriteAheadBatch<S::In>,
        checkpoint: CheckpointId,
    ) -> Result<()> {
        batch.checkpoint = checkpoint.0;
        Ok(())
    }

    fn commit(&mut self, batch: &WriteAheadBatch<S::In>) -> Result<()> {
        if batch.is_empty() {
            return Ok(()); // It would be sent again for nothing.
        }
        let (subtask, checkpoint) = (batch.subtask_index(), batch.checkpoint());
        let last = self.committer.last_committed(subtask)?;
        if last.is_none_or(|last| last < checkpoint) {
            self.sink.send(batch)?;
            self.committer.commit(subtask, checkpoint)?;
        }
        self.waiting_records -= batch.len().min(self.waiting_records);
        Ok(())
    }

    fn abort(&mut self, _: &WriteAheadBatch<S::In>) -> Result<()> {
        Ok(())
    }

    fn commit_attempts_max(&self) -> u32 {
        self.sink.send_attempts_max()
    }

    fn commit_retry_delay(&self) -> Duration {
        self.sink.send_retry_delay()
    }

    fn close(&mut self) -> Result<()> {
        self.sink.close()
    }
}
