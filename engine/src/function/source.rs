//! Where streams begin: sources made of splits.
//!
//! ```text
//!  control plane                        slots
//!  ┌──────────────────┐  assign splits  ┌──────────────┐
//!  │ SplitEnumerator  │────────────────►│ SourceReader │ poll_batch ─► chain
//!  │  (one a source)  │◄────────────────│ (one a subtask)
//!  └──────────────────┘  request, give  └──────────────┘
//!                         back on failure
//! ```
//!
//! A split is a part of the input that one reader reads in order (a file, a partition, a range). The enumerator finds splits, also
//! while the job runs, and assigns them to the readers that ask. The interface follows Flink's FLIP-27.
//!
//! **Invariants**
//! - A split belongs to the enumerator or to one reader at any time.
//! - `poll_batch` never waits; a reader that must wait answers [`InputStatus::NothingAvailable`].
//! - A reader's progress lies in its splits ([`SourceReader::snapshot`]), so a split that is given back goes on where it stopped.
//! - In a checkpoint a split is with its reader, with the enumerator, or read to its end: what was assigned before the
//!   checkpoint began is in the reader's snapshot, what is assigned later is read behind the barrier.

use crate::Result;
use crate::function::ArchivedState;
use crate::operator::Push;
use crate::operator::source_splits::SourceSplits;
use crate::record::{CheckpointId, Control, StreamStatus};
use crate::runtime::{CoreServices, CoreWaker};
use crate::state::{Schema, SchemaBuilder, StateError, StateValue};
use rkyv::util::AlignedVec;
use std::any::TypeId;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use thalweg_state::KeyHasher;

/// Does a source end by itself?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundedness {
    /// Yes.
    Bounded,
    /// No: only cancelling or stopping ends the job.
    Unbounded,
}

/// What a reader says after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputStatus {
    /// There is more right now.
    MoreAvailable,
    /// Nothing just now; ask again later.
    NothingAvailable,
    /// All splits are read and no more will come.
    EndOfInput,
}

/// A part of a source's input, with the position that its reader has reached. Checkpoints hold it: write
/// `#[thalweg::record]` on your type.
pub trait SourceSplit: StateValue + Clone + Send {
    /// Names the split within its source; unique and stable.
    fn split_id(&self) -> String;
}

/// The split of sources that have none: each reader knows its part by its subtask index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSplit {}

impl Schema for NoSplit {
    fn describe(out: &mut SchemaBuilder) {
        out.primitive("NoSplit");
    }
    fn hash_key(&self, _: &mut KeyHasher) {
        match *self {}
    }
}

impl StateValue for NoSplit {
    fn archive_into(&self, _: &mut AlignedVec) -> Result<(), StateError> {
        match *self {}
    }
    fn from_archived(bytes: &[u8]) -> Result<Self, StateError> {
        let source = rkyv::rancor::Source::new(NoSuchSplit);
        let type_name = std::any::type_name::<Self>();
        Err(StateError::Unarchive { type_name, length_bytes: bytes.len(), source })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the source has no splits, and so none can be restored")]
struct NoSuchSplit;
impl SourceSplit for NoSplit {
    fn split_id(&self) -> String {
        match *self {}
    }
}

/// What a reader may know of its place in the job.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReaderContext {
    /// Which of the parallel readers this is, from 0.
    pub subtask_index: usize,
    /// How many there are.
    pub parallelism: usize,
    /// The source's name in the plan.
    pub operator_name: String,
    /// Gets the reader's core up; for threads that bring the reader its records.
    pub waker: Arc<CoreWaker>,
}

/// A source: makes an enumerator for the job and a reader for each subtask.
pub trait Source: Send + Sync + 'static {
    /// Its records.
    type Out: Send + 'static;
    /// Its splits; [`NoSplit`] if it needs none.
    type Split: SourceSplit;
    /// Its readers.
    type Reader: SourceReader<Out = Self::Out, Split = Self::Split>;

    /// Does it end by itself?
    fn boundedness(&self) -> Boundedness {
        Boundedness::Bounded
    }

    /// May there be only one reader?
    fn is_non_parallel(&self) -> bool {
        false
    }

    /// Does a reader that is given a split of a checkpoint go on exactly there, with the same records? If not, records
    /// are lost when the job goes on from a checkpoint, and `explain` says so. Default: yes for sources with splits, no
    /// for those that have none ([`NoSplit`]).
    fn is_replayable(&self) -> bool {
        TypeId::of::<Self::Split>() != TypeId::of::<NoSplit>()
    }

    /// Called on the control plane when the job starts; `None` where no splits are assigned. If the job goes on from a
    /// checkpoint, [`SplitEnumerator::restore_state`] follows.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn create_enumerator(&self) -> Result<Option<Box<dyn SplitEnumerator<Self::Split>>>> {
        Ok(None)
    }

    /// Called once a subtask, on its core.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn create_reader(&self, context: &ReaderContext) -> Result<Self::Reader>;
}

/// Reads splits; polled by its slot.
pub trait SourceReader: 'static {
    /// Its records.
    type Out: 'static;
    /// Its splits.
    type Split: SourceSplit;

    /// Emits at most `max` records (a few more do no harm) and says what to expect.
    ///
    /// # Errors
    /// Any error fails the job.
    fn poll_batch(
        &mut self,
        max: usize,
        out: &mut SourceCollector<'_, Self::Out>,
    ) -> Result<InputStatus>;

    /// Takes splits that the enumerator assigned.
    fn add_splits(&mut self, _splits: Vec<Self::Split>) {}

    /// No further splits will come: the reader ends with the ones it has.
    fn no_more_splits(&mut self) {}

    /// Does something wake the core when input comes (a thread that holds [`ReaderContext::waker`])? Otherwise a reader
    /// that answers [`InputStatus::NothingAvailable`] is polled every millisecond at least, unless it says by
    /// [`poll_again_in_ns`](SourceCollector::poll_again_in_ns) when to ask again.
    fn wakes_core(&self) -> bool {
        false
    }

    /// Should the engine ask the enumerator for a split now?
    fn wants_split(&self) -> bool {
        false
    }

    /// The splits it holds, each with the position it has reached.
    fn snapshot(&self) -> Vec<Self::Split> {
        Vec::new()
    }

    /// A checkpoint is complete, in which the reader has these splits: those of its [`snapshot`](Self::snapshot) then. Called some time
    /// later, between two batches; not at all if the job fails before. It holds for all checkpoints before that were not
    /// told of, too. For those who acknowledge what they read.
    ///
    /// # Errors
    /// Any error fails the job.
    fn notify_checkpoint_complete(
        &mut self,
        _checkpoint: CheckpointId,
        _splits: &[Self::Split],
    ) -> Result<()> {
        Ok(())
    }

    /// Called once at last, also after failure and cancellation.
    ///
    /// # Errors
    /// Any error fails the job if it has not failed yet.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Finds and assigns splits; lives on the control plane, where it may block for a moment.
pub trait SplitEnumerator<S: SourceSplit>: Send {
    /// Looks for splits: once at the start, then each [`discovery_interval`](Self::discovery_interval).
    ///
    /// # Errors
    /// Any error fails the job.
    fn discover(&mut self, context: &mut EnumeratorContext<S>) -> Result<()>;

    /// How often to look again; `None` for once.
    fn discovery_interval(&self) -> Option<Duration> {
        None
    }

    /// A reader asks for work: assign it a split, or tell it that there will be none, or remember the request.
    ///
    /// # Errors
    /// Any error fails the job.
    fn handle_split_request(
        &mut self,
        subtask_index: usize,
        context: &mut EnumeratorContext<S>,
    ) -> Result<()>;

    /// A reader failed: these splits are to be read by somebody else.
    fn add_splits_back(&mut self, splits: Vec<S>, subtask_index: usize);

    /// What belongs into a checkpoint: which splits were found and not assigned, and which were assigned. Those that
    /// readers hold are in the checkpoint by themselves.
    ///
    /// Default: nothing. Then the engine keeps the ids of all splits that were assigned, and passes over those when the
    /// enumerator, which begins anew, finds and assigns them again; so ids must be stable. That is enough for enumerators
    /// whose splits are the same each time, or keep existing.
    ///
    /// # Errors
    /// Any error fails the checkpoint.
    fn snapshot_state(&self) -> Result<ArchivedState> {
        Ok(ArchivedState::none())
    }

    /// Goes on from what [`snapshot_state`](Self::snapshot_state) gave, before the first [`discover`](Self::discover).
    /// Splits that were assigned must not be assigned again. Not called where that gave nothing.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn restore_state(&mut self, _state: &ArchivedState) -> Result<()> {
        Err("the enumerator has a state in the checkpoint and cannot restore one; implement `restore_state` where you \
             implement `snapshot_state`"
            .into())
    }
}

/// What an enumerator decides; carried to the readers by the engine.
pub struct EnumeratorContext<S> {
    parallelism: usize,
    pub(crate) assignments: VecDeque<(usize, Assignment<S>)>,
}

pub(crate) enum Assignment<S> {
    Splits(Vec<S>),
    NoMore,
}

impl<S> EnumeratorContext<S> {
    pub(crate) fn new(parallelism: usize) -> Self {
        EnumeratorContext { parallelism, assignments: VecDeque::new() }
    }

    /// How many readers there are.
    pub fn parallelism(&self) -> usize {
        self.parallelism
    }

    /// Gives `split` to a reader; an index beyond the parallelism is taken modulo it.
    pub fn assign_split(&mut self, subtask_index: usize, split: S) {
        let subtask = subtask_index % self.parallelism;
        self.assignments.push_back((subtask, Assignment::Splits(vec![split])));
    }

    /// Tells a reader that no further split will come.
    pub fn signal_no_more_splits(&mut self, subtask_index: usize) {
        self.assignments.push_back((subtask_index % self.parallelism, Assignment::NoMore));
    }
}

/// What a reader has said of event time; its task sends it on when the records of the batch are through.
///
/// **Invariant**: watermarks rise, statuses alternate.
#[derive(Debug)]
pub(crate) struct SourceControls {
    due: VecDeque<Control>,
    watermark_ms: i64,
    status: StreamStatus,
}

impl Default for SourceControls {
    fn default() -> Self {
        SourceControls {
            due: VecDeque::new(),
            watermark_ms: i64::MIN,
            status: StreamStatus::Active,
        }
    }
}

impl SourceControls {
    /// A watermark of a source, which makes it active.
    pub(crate) fn watermark(&mut self, watermark_ms: i64) {
        if watermark_ms > self.watermark_ms {
            self.status(StreamStatus::Active);
            self.watermark_ms = watermark_ms;
            self.due.push_back(Control::Watermark(watermark_ms));
        }
    }

    /// A watermark as it comes from another operator: where the stream is idle it means nothing.
    pub(crate) fn passing_watermark(&mut self, watermark_ms: i64) {
        if self.status == StreamStatus::Active {
            self.watermark(watermark_ms);
        }
    }

    pub(crate) fn status(&mut self, status: StreamStatus) {
        if status != self.status {
            self.status = status;
            self.due.push_back(Control::Status(status));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// What was said last.
    pub(crate) fn said(&self) -> (i64, StreamStatus) {
        (self.watermark_ms, self.status)
    }

    /// Goes on from what was said, and says it once more: with another parallelism, whoever listens knows only what all had
    /// said. A source that has ended would say nothing else.
    pub(crate) fn restore(&mut self, watermark_ms: i64, is_idle: bool) {
        self.watermark(watermark_ms);
        if is_idle {
            self.status(StreamStatus::Idle);
        }
    }

    /// The next one to be sent.
    pub(crate) fn next(&mut self) -> Option<Control> {
        self.due.pop_front()
    }
}

/// Where a reader puts its records.
pub struct SourceCollector<'a, T> {
    next: &'a mut dyn Push<T>,
    skipped: u64,
    /// The position of the stage before the first record of this collector.
    start: u64,
    /// Counted before a record is pushed, so that a failure downstream names that record.
    position: &'a Cell<u64>,
    core: &'a CoreServices,
    /// The reader has said when it wants to be polled again.
    said_when: Cell<bool>,
    /// Set where watermarks are made for each split.
    splits: Option<&'a SourceSplits>,
    controls: &'a mut SourceControls,
}

impl<'a, T: 'static> SourceCollector<'a, T> {
    #[inline(always)]
    pub(crate) fn new(
        next: &'a mut dyn Push<T>,
        position: &'a Cell<u64>,
        core: &'a CoreServices,
        controls: &'a mut SourceControls,
    ) -> Self {
        let (start, said_when) = (position.get(), Cell::new(false));
        let splits = None;
        SourceCollector { next, skipped: 0, start, position, core, said_when, controls, splits }
    }

    #[inline(always)]
    pub(crate) fn with_splits(self, splits: Option<&'a SourceSplits>) -> Self {
        SourceCollector { splits, ..self }
    }

    /// The records to come are of split `split_id`, also in later polls, until another one is named.
    ///
    /// Where the source has a watermark strategy
    /// ([`from_source_with`](crate::api::StreamExecutionEnvironment::from_source_with)) each split has watermarks of its own,
    /// and all splits that the reader was assigned hold back those of the subtask until they have had a record, once the
    /// reader has named one. Anywhere else the call does nothing and costs next to nothing; make it once a split and poll.
    pub fn begin_split(&mut self, split_id: &str) {
        if let Some(splits) = self.splits {
            splits.begin(split_id);
        }
    }

    /// No more records of split `split_id` will come: it no longer holds watermarks back.
    pub fn end_split(&mut self, split_id: &str) {
        if let Some(splits) = self.splits {
            splits.end(split_id);
        }
    }

    /// How many records this batch has brought so far.
    pub fn emitted(&self) -> u64 {
        self.position.get() - self.start
    }

    pub(crate) fn has_said_when(&self) -> bool {
        self.said_when.get()
    }

    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Counts a piece of input that was no record and is left out (metric `records_skipped`).
    pub fn skip(&mut self) {
        self.skipped += 1;
    }

    /// Wall clock in milliseconds, as of this round of the core.
    pub fn now_ms(&self) -> i64 {
        self.core.now_ms.get()
    }

    /// Monotonic clock in nanoseconds, as of this round of the core: for rates and intervals.
    pub fn monotonic_ns(&self) -> u64 {
        self.core.monotonic_ns.get()
    }

    /// Asks for a poll in `delay_ns` at the latest, should the core fall asleep; for answers of
    /// [`InputStatus::NothingAvailable`] that time alone will change. To be said in each such poll. The core may ask earlier,
    /// and is late by up to a millisecond.
    pub fn poll_again_in_ns(&self, delay_ns: u64) {
        self.said_when.set(true);
        let delay_ms = i64::try_from(delay_ns.div_ceil(1_000_000)).unwrap_or(i64::MAX);
        let at_ms = self.now_ms().saturating_add(delay_ms);
        self.core.next_timer_ms.set(self.core.next_timer_ms.get().min(at_ms));
    }

    /// Emits a watermark: no record with a timestamp at or below `watermark_ms` will come any more.
    ///
    /// It leaves after the records of this [`poll_batch`](SourceReader::poll_batch), also those that are emitted after
    /// this call; a watermark that comes later is always right. One that is not above the last is ignored, and an idle
    /// source becomes active by it. Downstream of `assign_timestamps_and_watermarks` only the operator's own watermarks
    /// count.
    ///
    /// # Examples
    /// ```
    /// use thalweg::Result;
    /// use thalweg::function::{InputStatus, NoSplit, ReaderContext, Source, SourceCollector, SourceReader};
    ///
    /// /// A hundred readings a second apart, which come in order.
    /// struct Readings;
    /// struct Reader(i64);
    ///
    /// impl SourceReader for Reader {
    ///     type Out = i64;
    ///     type Split = NoSplit;
    ///     fn poll_batch(&mut self, max: usize, out: &mut SourceCollector<'_, i64>) -> Result<InputStatus> {
    ///         for _ in 0..max.min((100 - self.0) as usize) {
    ///             out.collect_with_timestamp(self.0 % 7, self.0 * 1_000);
    ///             self.0 += 1;
    ///         }
    ///         out.emit_watermark((self.0 - 1) * 1_000);
    ///         Ok(if self.0 < 100 { InputStatus::MoreAvailable } else { InputStatus::EndOfInput })
    ///     }
    /// }
    ///
    /// impl Source for Readings {
    ///     type Out = i64;
    ///     type Split = NoSplit;
    ///     type Reader = Reader;
    ///     fn is_non_parallel(&self) -> bool {
    ///         true
    ///     }
    ///     fn create_reader(&self, _: &ReaderContext) -> Result<Reader> {
    ///         Ok(Reader(0))
    ///     }
    /// }
    ///
    /// let env = thalweg::prelude::StreamExecutionEnvironment::new();
    /// let readings = env.from_source(Readings, "readings").collect();
    /// env.execute("readings")?;
    /// assert_eq!(readings.len(), 100);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn emit_watermark(&mut self, watermark_ms: i64) {
        self.controls.watermark(watermark_ms);
    }

    /// Says that nothing is to be expected for a while, so that this source does not hold the watermarks of others back.
    /// Takes effect as [`emit_watermark`](Self::emit_watermark) does; ends with [`mark_active`](Self::mark_active) or the
    /// next watermark.
    pub fn mark_idle(&mut self) {
        self.controls.status(StreamStatus::Idle);
    }

    /// Takes part in the progress of event time again.
    pub fn mark_active(&mut self) {
        self.controls.status(StreamStatus::Active);
    }

    pub(crate) fn controls(&mut self) -> &mut SourceControls {
        self.controls
    }

    /// Emits a record without timestamp.
    #[inline(always)]
    pub fn collect(&mut self, record: T) {
        self.collect_with_timestamp(record, crate::record::NO_TIMESTAMP);
    }

    /// Emits a record that was made at `timestamp_ms`.
    #[inline(always)]
    pub fn collect_with_timestamp(&mut self, record: T, timestamp_ms: i64) {
        self.position.set(self.position.get() + 1);
        self.next.push(record, timestamp_ms);
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    fn check(said: impl Fn(&mut SourceControls), expected: &[Control]) {
        let mut controls = SourceControls::default();
        said(&mut controls);
        let sent: Vec<_> = std::iter::from_fn(|| controls.next()).collect();
        assert_eq!(sent, expected);
        assert!(controls.is_empty());
    }

    #[test]
    fn watermarks_rise_and_statuses_alternate() {
        use Control::{Status, Watermark};
        use StreamStatus::{Active, Idle};
        check(
            |c| [3, 2, 3, 4].into_iter().for_each(|at| c.watermark(at)),
            &[Watermark(3), Watermark(4)],
        );
        check(|c| [Active, Idle, Idle].into_iter().for_each(|s| c.status(s)), &[Status(Idle)]);
        let wakes = |c: &mut SourceControls| {
            c.watermark(3);
            c.status(Idle);
            c.watermark(3);
            c.watermark(5);
            c.status(Active);
        };
        check(wakes, &[Watermark(3), Status(Idle), Status(Active), Watermark(5)]);
        let passes = |c: &mut SourceControls| {
            c.status(Idle);
            c.passing_watermark(7);
            c.status(Active);
            c.passing_watermark(7);
        };
        check(passes, &[Status(Idle), Status(Active), Watermark(7)]);
    }
}
