//! The root of a job: a task that polls a source reader and feeds its chain.
//!
//! **Invariants**
//! - The reader is polled only after the chain answered `Ready`.
//! - The first poll that brings nothing makes the chain hand partial pages over; the task is `Idle` only after that.
//! - What the reader says of event time leaves when its batch is through, one control a drive.
//! - The end is two controls, the last watermark and `End`, with drives in between. Where there are checkpoints the second
//!   waits until the last one is complete; until then the source sends barriers as before.
//! - A barrier leaves between two batches, behind all that the reader said before; splits that were assigned after its
//!   checkpoint had begun are read behind it.

use crate::Result;
use crate::checkpoint::crash_points;
use crate::function::{
    Assignment, InputStatus, ReaderContext, SourceCollector, SourceControls, SourceReader,
    SourceSplit,
};
use crate::graph::NodeId;
use crate::operator::build::BuildContext;
use crate::operator::opened::Opened;
use crate::operator::pieces::{Notice, Piece, SplitsPiece};
use crate::operator::source_splits::SourceSplits;
use crate::operator::{Flow, Push, StageContext, UserCall};
use crate::record::{Barrier, CheckpointId, Control, MAX_WATERMARK, StreamStatus};
use crate::runtime::{CoreWaker, Progress, Task};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use thalweg_io::crash_point;

/// What a busy answer counts for in the budget.
const BUSY_COST: usize = 64;

/// Splits on their way from the enumerator to one reader, and requests on their way back.
pub(crate) struct SplitMailbox<S> {
    assignments: Mutex<VecDeque<Mail<S>>>,
    /// How many barriers the control plane has ordered.
    barriers: AtomicU64,
    /// Set by the control plane after `assignments`, cleared by the reader before it takes them.
    has_mail: AtomicBool,
    /// Posts a request of this subtask to the control plane.
    request: Box<dyn Fn() + Send + Sync>,
    /// The reader's core; set when the reader is built.
    waker: OnceLock<Arc<CoreWaker>>,
}

/// An assignment, and how many barriers were ordered before it: it belongs behind these.
struct Mail<S> {
    assignment: Assignment<S>,
    barriers: u64,
}

impl<S> SplitMailbox<S> {
    pub(crate) fn new(request: Box<dyn Fn() + Send + Sync>) -> Arc<Self> {
        let (assignments, barriers) = (Mutex::new(VecDeque::new()), AtomicU64::new(0));
        let (has_mail, waker) = (AtomicBool::new(false), OnceLock::new());
        Arc::new(SplitMailbox { assignments, barriers, has_mail, request, waker })
    }

    /// Called by the control plane.
    pub(crate) fn post(&self, assignment: Assignment<S>) {
        let barriers = self.barriers.load(Ordering::Relaxed);
        lock(&self.assignments).push_back(Mail { assignment, barriers });
        self.has_mail.store(true, Ordering::Release);
        // A reader that is not built yet looks at its mail in its first run.
        if let Some(waker) = self.waker.get() {
            waker.wake_if_sleeping();
        }
    }

    /// Called by the control plane, before it orders a barrier: what is posted from now on is read behind that.
    pub(crate) fn begin_barrier(&self) {
        self.barriers.fetch_add(1, Ordering::Relaxed);
    }

    /// The assignments that belong behind at most so many barriers.
    pub(crate) fn take(&self, barriers: u64) -> VecDeque<Assignment<S>> {
        if !self.has_mail.load(Ordering::Relaxed) || !self.has_mail.swap(false, Ordering::Acquire) {
            return VecDeque::new();
        }
        let mut mail = lock(&self.assignments);
        let due = mail.partition_point(|mail| mail.barriers <= barriers);
        let later = mail.split_off(due);
        let due = std::mem::replace(&mut *mail, later);
        if !mail.is_empty() {
            self.has_mail.store(true, Ordering::Relaxed);
        }
        due.into_iter().map(|mail| mail.assignment).collect()
    }
}

/// A poisoned lock only says that another thread panicked; the data behind these locks is whole at every step.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Reading,
    /// The last watermark has been said; the end follows it, after the last checkpoint.
    EndOfInput,
    Ended,
}

/// See the module docs.
pub(crate) struct SourceTask<R: SourceReader, D> {
    reader: Opened<R>,
    next: D,
    stage: Rc<StageContext>,
    mailbox: Option<Arc<SplitMailbox<R::Split>>>,
    /// Shared with the watermarks per split behind it, if there are any.
    splits: Option<Rc<SourceSplits>>,
    /// Most records the reader is asked for between two drives.
    batch_records: usize,
    /// A split was asked for and none has come.
    asked: bool,
    dry: bool,
    phase: Phase,
    /// Said by the reader, not yet sent.
    controls: SourceControls,
    piece: Piece,
    /// What checkpoints have that may be complete by and by, in their order.
    delivered: VecDeque<(CheckpointId, Vec<R::Split>)>,
    has_checkpoints: bool,
    /// The control plane knows that no more input will be read.
    has_told_end: bool,
}

/// The name of a source's piece.
const PIECE: &str = "reader";

impl<R: SourceReader, D: Push<R::Out>> SourceTask<R, D> {
    pub(crate) fn open(
        make_reader: impl FnOnce(&ReaderContext) -> Result<R>,
        next: D,
        context: &BuildContext,
        node: NodeId,
    ) -> Result<Self> {
        let stage = context.stage.clone();
        let mailbox = context.split_mailbox::<R::Split>(node);
        let splits = context.source_splits.clone();
        let batch_records = context.job.batch_records;
        let waker = stage.task.core.waker.clone();
        if let Some(mailbox) = &mailbox {
            mailbox.waker.get_or_init(|| waker.clone());
        }
        let reader_context = ReaderContext {
            subtask_index: stage.subtask,
            parallelism: stage.parallelism,
            operator_name: stage.names.get(node).to_owned(),
            waker,
        };
        let call = UserCall::begin(&stage, &node);
        let reader = make_reader(&reader_context);
        call.end();
        let reader = reader.map_err(|cause| {
            stage.fail(node, cause);
            crate::operator::opened::OPEN_FAILED
        })?;
        let reader = Opened::open(reader, &stage, node, |_, _| Ok(()), R::close)?;
        let (asked, dry, phase) = (false, false, Phase::Reading);
        let controls = SourceControls::default();
        let (piece, has_checkpoints) = (context.piece(node, PIECE), context.has_checkpoints());
        let mut task = SourceTask {
            reader,
            next,
            stage,
            mailbox,
            splits,
            batch_records,
            asked,
            dry,
            phase,
            controls,
            piece,
            delivered: VecDeque::new(),
            has_checkpoints,
            has_told_end: false,
        };
        task.restore(context, node)?;
        Ok(task)
    }

    /// Goes on from a checkpoint, if there is one.
    fn restore(&mut self, context: &BuildContext, node: NodeId) -> Result {
        let Some(restored) = context.restored_splits::<R::Split>(node, PIECE)? else {
            return Ok(());
        };
        let SplitsPiece { splits, watermark_ms, is_idle, has_ended } = restored;
        self.controls.restore(watermark_ms, is_idle);
        if has_ended {
            self.phase = Phase::EndOfInput;
        }
        if let Some(known) = &self.splits {
            splits.iter().for_each(|split| known.assign(split.split_id()));
        }
        self.reader.call(|reader| {
            reader.add_splits(splits);
            Ok(())
        });
        crash_point(crash_points::SOURCES_REWOUND);
        Ok(())
    }

    /// One poll of the reader. Returns how much of the budget it cost, or `None` when there is nothing to do.
    fn poll(&mut self, max: usize) -> Option<usize> {
        self.exchange_splits();
        if self.must_wait() {
            return self.wait();
        }
        let splits = self.splits.as_deref();
        let (next, position, core) = (&mut self.next, &self.stage.position, &*self.stage.task.core);
        let controls = &mut self.controls;
        let (mut emitted, mut skipped, mut said_when) = (0, 0, false);
        let status = self.reader.call(|reader| {
            let mut out = SourceCollector::new(next, position, core, controls).with_splits(splits);
            let status = reader.poll_batch(max, &mut out);
            (emitted, skipped, said_when) = (out.emitted(), out.skipped(), out.has_said_when());
            status
        })?;
        if skipped > 0 {
            self.stage.metrics.records_skipped.add(skipped);
        }
        self.stage.task.worked(emitted);
        if emitted > 0 {
            self.stage.metrics.records_in.add(emitted);
        }
        let was_dry = std::mem::replace(&mut self.dry, status != InputStatus::MoreAvailable);
        match status {
            InputStatus::EndOfInput => self.end_event_time(),
            InputStatus::NothingAvailable
                if was_dry && emitted == 0 && self.controls.is_empty() =>
            {
                if !said_when {
                    self.poll_again_soon();
                }
                return None;
            }
            _ => {}
        }
        Some((emitted as usize).max(BUSY_COST))
    }

    /// Keeps the core from sleeping through input that nothing announces.
    fn poll_again_soon(&mut self) {
        if self.reader.call(|reader| Ok(reader.wakes_core())) == Some(false) {
            let core = &self.stage.task.core;
            let soon_ms = core.now_ms.get().saturating_add(1);
            core.next_timer_ms.set(core.next_timer_ms.get().min(soon_ms));
        }
    }

    /// Is it too far ahead of the sources that it is aligned with?
    fn must_wait(&self) -> bool {
        let now_ms = self.stage.task.core.now_ms.get();
        self.splits.as_ref().is_some_and(|splits| splits.must_wait(now_ms))
    }

    /// As a poll that brought nothing.
    fn wait(&mut self) -> Option<usize> {
        if !std::mem::replace(&mut self.dry, true) {
            return Some(BUSY_COST);
        }
        let core = &self.stage.task.core;
        let soon_ms = core.now_ms.get().saturating_add(1);
        core.next_timer_ms.set(core.next_timer_ms.get().min(soon_ms));
        None
    }

    fn exchange_splits(&mut self) {
        let Some(mailbox) = &self.mailbox else { return };
        for assignment in mailbox.take(self.stage.task.pieces.barriers_passed()) {
            self.asked = false;
            self.stage.task.worked(1);
            if let (Some(known), Assignment::Splits(splits)) = (&self.splits, &assignment) {
                splits.iter().for_each(|split| known.assign(split.split_id()));
            }
            self.reader.call(|reader| {
                match assignment {
                    Assignment::Splits(splits) => reader.add_splits(splits),
                    Assignment::NoMore => reader.no_more_splits(),
                }
                Ok(())
            });
        }
        if !self.asked && self.reader.call(|reader| Ok(reader.wants_split())) == Some(true) {
            self.asked = true;
            self.stage.task.worked(1);
            (mailbox.request)();
        }
    }

    /// Sends one control, downstream being ready. False when there is none to send.
    #[cold]
    fn send_control(&mut self) -> bool {
        if self.stage.task.pieces.has_barrier() {
            // What was assigned before the checkpoint began belongs into the reader's snapshot.
            self.exchange_splits();
        }
        let pieces = &self.stage.task.pieces;
        let control = match self.controls.next() {
            Some(control) => control,
            None => match pieces.take_barrier() {
                Some(barrier) => {
                    self.deliver(barrier);
                    Control::Barrier(barrier)
                }
                None if self.phase != Phase::Ended
                    && (pieces.may_end()
                        || (self.phase == Phase::EndOfInput && !self.has_checkpoints)) =>
                {
                    self.phase = Phase::Ended;
                    Control::End
                }
                None => return false,
            },
        };
        self.next.control(control);
        if matches!(control, Control::Barrier(_)) {
            crash_point(crash_points::BARRIER_INJECTED);
        }
        self.stage.task.worked(1);
        true
    }

    fn deliver(&mut self, barrier: Barrier) {
        let Some(splits) = self.reader.call(|reader| Ok(reader.snapshot())) else { return };
        let (watermark_ms, status) = self.controls.said();
        let (is_idle, has_ended) = (status == StreamStatus::Idle, self.phase != Phase::Reading);
        let state = SplitsPiece { splits, watermark_ms, is_idle, has_ended };
        self.piece.deliver_splits(barrier.checkpoint, &state);
        self.delivered.push_back((barrier.checkpoint, state.splits));
    }

    /// Tells the reader of checkpoints that are complete.
    #[cold]
    fn read_notices(&mut self) {
        while let Some(notice) = self.piece.next_notice() {
            match notice {
                Notice::Completed(id) => {
                    let complete =
                        self.delivered.partition_point(|(delivered, _)| *delivered <= id);
                    let Some((id, splits)) = self.delivered.drain(..complete).next_back() else {
                        continue;
                    };
                    self.reader.call(|reader| reader.notify_checkpoint_complete(id, &splits));
                }
                Notice::Aborted(id) => self.delivered.retain(|(delivered, _)| *delivered != id),
                Notice::Released(_) => {}
            }
        }
    }

    /// Is no more to be read, though it is not the end of this task?
    fn is_waiting_for_the_end(&mut self) -> bool {
        self.phase != Phase::Reading
            || (self.stage.task.pieces.must_stop_reading() && self.stop_reading())
    }

    /// Reads no further, though there may be more.
    #[cold]
    fn stop_reading(&mut self) -> bool {
        if self.stage.task.pieces.must_drain() {
            self.end_event_time();
        }
        true
    }

    /// Says the last watermark.
    fn end_event_time(&mut self) {
        self.controls.watermark(MAX_WATERMARK);
        self.phase = Phase::EndOfInput;
    }

    /// There is nothing to do until an order comes.
    #[cold]
    fn wait_for_order(&mut self) {
        if self.has_checkpoints && !std::mem::replace(&mut self.has_told_end, true) {
            self.stage.task.pieces.input_ended();
        }
    }
}

impl<R: SourceReader, D: Push<R::Out>> Task for SourceTask<R, D> {
    fn run(&mut self, budget: usize) -> Progress {
        let start = self.stage.task.work.get();
        let pause = |task: &Self, otherwise| {
            if task.stage.task.work.get() > start { Progress::Worked } else { otherwise }
        };
        let mut used = 0;
        while used < budget && !self.stage.task.has_failed() {
            if self.piece.has_notice() {
                self.read_notices();
            }
            let is_waiting = self.is_waiting_for_the_end();
            match self.next.drive(self.dry || is_waiting) {
                Flow::Ready => {}
                Flow::Busy => {
                    self.stage.task.worked(1);
                    used += BUSY_COST;
                    continue;
                }
                Flow::Blocked => return pause(self, Progress::Blocked),
                Flow::Done => return Progress::Done,
            }
            let has_barrier = self.stage.task.pieces.has_barrier();
            if is_waiting || has_barrier || !self.controls.is_empty() {
                if !self.send_control() {
                    self.wait_for_order();
                    return pause(self, Progress::Idle);
                }
                continue;
            }
            match self.poll(self.batch_records.min(budget - used)) {
                Some(cost) => used += cost,
                None => return pause(self, Progress::Idle),
            }
        }
        Progress::Worked
    }
}
