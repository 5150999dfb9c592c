//! Stamps records and emits watermarks: at ticks, after batches, or as records ask for. Behind
//! `assign_timestamps_and_watermarks` with one generator, in `from_source_with` with one for each split.
//!
//! 1. A record is stamped, its generator sees it, and it goes on. Should the generator emit (punctuated), the records behind
//!    it wait until the watermark has left.
//! 2. When everything has gone on, the generators are asked: after each batch where the interval is 0, else at ticks. The
//!    first tick is an interval after the start, each next one an interval after the one before was served, so a clock that
//!    jumps over several gives one.
//! 3. What they said leaves control by control, each when downstream is ready.
//! 4. When the job is being stopped nobody is asked any more: that nothing comes is not idleness then, and what they would say
//!    must not move event time behind the last checkpoint. The job that goes on from it asks them.
//!
//! Watermarks and statuses from upstream are dropped, all but the end of time. That makes an idle stream active first,
//! since nobody listens to an idle one.
//!
//! A checkpoint has the generators with their idleness, the assigner, what was said, and the next tick ([`piece`]). A barrier
//! finds no record waiting and nothing to be said, because it comes after a drive that was `Ready`.
//!
//! **Invariants**
//! - Watermarks only rise; after the end of time no generator is asked.
//! - Records behind a punctuated watermark wait until it has left; generators are not asked while records wait.
//! - A wall clock that is set back delays no tick by more than an interval.

mod emitter;
mod one_generator;
mod per_split;
mod piece;
#[cfg(test)]
#[cfg(not(loom))]
mod restart_tests;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;

pub(crate) use emitter::WatermarkEmitter;
pub(crate) use one_generator::OneGenerator;
pub(crate) use per_split::PerSplit;

use crate::Result;
use crate::graph::NodeId;
use crate::operator::build::BuildContext;
use crate::operator::pieces::Piece;
use crate::operator::{Flow, Push, StageContext, UserCall};
use crate::record::{CheckpointId, Control, MAX_WATERMARK, StreamStatus};
use crate::time::{IdlenessTimer, TimestampAssigner};
use piece::TimestampsPiece;
use std::collections::VecDeque;
use std::rc::Rc;
use thalweg_io::{Fault, planted};

/// The generators of a subtask.
pub(crate) trait WatermarkMaker<T>: 'static {
    /// Does [`on_event`](Self::on_event) emit?
    const PUNCTUATED: bool;
    /// Where a record belongs; goes with it while it waits.
    type Place: Copy;

    fn place(&self) -> Self::Place;
    fn on_event(
        &mut self,
        record: &T,
        timestamp_ms: i64,
        place: Self::Place,
        emitter: &mut WatermarkEmitter,
    );
    /// `now_ns` is of the monotonic clock.
    fn on_tick(&mut self, now_ns: u64, emitter: &mut WatermarkEmitter);
    /// Where the interval is 0. The answer is in how many nanoseconds to ask again at the latest.
    fn on_batch(&mut self, now_ns: u64, emitter: &mut WatermarkEmitter) -> Option<u64>;
    /// Adds the generators to what a checkpoint has. User code.
    fn snapshot(&mut self, now_ns: u64, piece: &mut TimestampsPiece) -> Result;
    /// Takes them from there, while the operator is built. User code.
    fn restore(&mut self, piece: &TimestampsPiece, now_ns: u64) -> Result;
    fn measures_idleness(&self) -> bool;
    /// For `by_ns` no records could be taken; that is not idleness.
    fn postpone_ns(&mut self, by_ns: u64);
    /// This has been said downstream.
    fn has_said(&self, _control: Control) {}
}

/// When generators are asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticks {
    /// 0: after each batch.
    interval_ms: i64,
    next_ms: i64,
}

impl Ticks {
    pub(crate) fn new(interval_ms: i64, now_ms: i64) -> Self {
        Ticks { interval_ms, next_ms: now_ms.saturating_add(interval_ms) }
    }

    /// Timers of idleness that fit these ticks.
    pub(crate) fn idleness(self, timeout_ns: u64, now_ns: u64) -> IdlenessTimer {
        IdlenessTimer::new(timeout_ns, now_ns, self.interval_ms > 0)
    }

    fn is_due(&mut self, now_ms: i64) -> bool {
        if now_ms >= self.next_ms {
            self.next_ms = now_ms.saturating_add(self.interval_ms);
            return true;
        }
        // The clock was set back: the next tick is an interval from now.
        self.next_ms = self.next_ms.min(now_ms.saturating_add(self.interval_ms));
        false
    }
}

/// See the module docs.
pub(crate) struct Timestamps<T, W: WatermarkMaker<T>, A, D> {
    maker: W,
    assigner: A,
    next: D,
    emitter: WatermarkEmitter,
    /// Records behind a punctuated watermark.
    waiting: VecDeque<(T, i64, W::Place)>,
    ticks: Ticks,
    /// Since when downstream has taken nothing; kept where idleness is measured.
    held_since_ns: Option<u64>,
    /// `None` in tests that have no checkpoints.
    checkpoints: Option<Piece>,
    stage: Rc<StageContext>,
    node: NodeId,
}

/// The name of the piece.
const PIECE: &str = "watermarks";

impl<T, W: WatermarkMaker<T>, A, D> Timestamps<T, W, A, D> {
    pub(crate) fn new(
        (maker, assigner): (W, A),
        next: D,
        ticks: Ticks,
        (stage, node): (Rc<StageContext>, NodeId),
    ) -> Self {
        let (emitter, waiting) = (WatermarkEmitter::new(), VecDeque::new());
        Timestamps {
            maker,
            assigner,
            next,
            emitter,
            waiting,
            ticks,
            held_since_ns: None,
            checkpoints: None,
            stage,
            node,
        }
    }
}

impl<T, W, A, D> Timestamps<T, W, A, D>
where
    T: 'static,
    W: WatermarkMaker<T>,
    A: TimestampAssigner<T>,
    D: Push<T>,
{
    /// [`new`](Self::new), in checkpoints: goes on from one, if there is one.
    pub(crate) fn open(
        parts: (W, A),
        next: D,
        ticks: Ticks,
        context: &BuildContext,
        node: NodeId,
    ) -> Result<Self> {
        let mut operator = Self::new(parts, next, ticks, (context.stage.clone(), node));
        operator.checkpoints = Some(context.piece(node, PIECE));
        let stored = context.restored_values(node, PIECE)?;
        let (subtask, parallelism) = (context.stage.subtask, context.stage.parallelism);
        if let Some(piece) = TimestampsPiece::share(stored, subtask, parallelism) {
            operator
                .restore(&piece)
                .map_err(|cause| context.piece_error(node, (PIECE, subtask), cause))?;
        }
        Ok(operator)
    }

    fn restore(&mut self, piece: &TimestampsPiece) -> Result {
        let now_ns = self.now_ns();
        let call = UserCall::begin(&self.stage, &self.node);
        let restored = self.maker.restore(piece, now_ns);
        let restored = restored.and_then(|()| match piece.assigner.is_none() {
            true => Ok(()),
            false => self.assigner.restore_state(&piece.assigner),
        });
        call.end();
        restored?;
        if planted(Fault::WatermarkNotRestored) {
            return Ok(());
        }
        self.emitter.restore(piece.watermark_ms, piece.is_idle);
        self.ticks.next_ms = piece.next_tick_ms;
        if piece.watermark_ms > i64::MIN {
            self.stage.metrics.current_output_watermark_ms.set(piece.watermark_ms);
            self.maker.has_said(Control::Watermark(piece.watermark_ms));
        }
        if piece.is_idle {
            self.maker.has_said(Control::Status(StreamStatus::Idle));
        }
        Ok(())
    }

    /// Delivers what the checkpoint has of this operator.
    #[cold]
    fn deliver(&mut self, checkpoint: CheckpointId) {
        let Some(checkpoints) = &self.checkpoints else { return };
        debug_assert!(self.waiting.is_empty(), "a barrier comes when all records have gone on");
        let now_ns = self.now_ns();
        let (watermark_ms, is_idle) = self.emitter.said();
        let call = UserCall::begin(&self.stage, &self.node);
        let piece = self.assigner.snapshot_state().and_then(|assigner| {
            let (next_tick_ms, generators) = (self.ticks.next_ms, Vec::new());
            let names_splits = false;
            let mut piece = TimestampsPiece {
                watermark_ms,
                is_idle,
                next_tick_ms,
                names_splits,
                assigner,
                generators,
            };
            self.maker.snapshot(now_ns, &mut piece)?;
            Ok(piece)
        });
        call.end();
        match piece {
            Ok(piece) => checkpoints.deliver_value(checkpoint, &piece.into_stored()),
            Err(cause) => checkpoints.decline(checkpoint, cause),
        }
    }

    #[inline(always)]
    fn forward(&mut self, record: T, timestamp: i64, place: W::Place) {
        let call = UserCall::begin(&self.stage, &self.node);
        self.maker.on_event(&record, timestamp, place, &mut self.emitter);
        call.end();
        self.next.push(record, timestamp);
    }

    fn ask_generators(&mut self) {
        let (now_ms, now_ns) = (self.now_ms(), self.now_ns());
        let is_each_batch = self.ticks.interval_ms == 0;
        if !is_each_batch && !self.ticks.is_due(now_ms) {
            return;
        }
        let call = UserCall::begin(&self.stage, &self.node);
        let left_ns = if is_each_batch {
            self.maker.on_batch(now_ns, &mut self.emitter)
        } else {
            self.maker.on_tick(now_ns, &mut self.emitter);
            None
        };
        call.end();
        if let Some(left_ns) = left_ns {
            let left_ms = i64::try_from(left_ns.div_ceil(1_000_000)).unwrap_or(i64::MAX);
            self.wake_at(now_ms.saturating_add(left_ms));
        }
    }

    fn say(&mut self, control: Control) {
        if let Control::Watermark(watermark) = control {
            self.stage.metrics.current_output_watermark_ms.set(watermark);
        }
        self.maker.has_said(control);
        self.next.control(control);
        self.stage.task.worked(1);
    }

    #[inline]
    fn now_ms(&self) -> i64 {
        self.stage.task.core.now_ms.get()
    }

    fn now_ns(&self) -> u64 {
        self.stage.task.core.monotonic_ns.get()
    }

    fn wake_at(&self, at_ms: i64) {
        let next = &self.stage.task.core.next_timer_ms;
        next.set(next.get().min(at_ms));
    }

    /// Downstream answered so: the time until it is ready again is not the stream's silence.
    fn measure_hold(&mut self, flow: Flow) {
        let now_ns = self.now_ns();
        if flow != Flow::Ready {
            self.held_since_ns.get_or_insert(now_ns);
        } else if let Some(since_ns) = self.held_since_ns.take() {
            self.maker.postpone_ns(now_ns.saturating_sub(since_ns));
        }
    }

    fn release_waiting(&mut self) {
        while self.emitter.is_empty()
            && let Some((record, timestamp, place)) = self.waiting.pop_front()
        {
            self.forward(record, timestamp, place);
        }
    }
}

impl<T, W, A, D> Push<T> for Timestamps<T, W, A, D>
where
    T: 'static,
    W: WatermarkMaker<T>,
    A: TimestampAssigner<T>,
    D: Push<T>,
{
    #[inline(always)]
    fn push(&mut self, record: T, recorded: i64) {
        let now_ms = self.now_ms();
        let call = UserCall::begin(&self.stage, &self.node);
        let timestamp = self.assigner.timestamp_at_ms(&record, recorded, now_ms);
        call.end();
        let place = self.maker.place();
        if W::PUNCTUATED && !self.emitter.is_empty() {
            return self.waiting.push_back((record, timestamp, place));
        }
        self.forward(record, timestamp, place);
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::Watermark(MAX_WATERMARK) => {
                self.emitter.emit_watermark(MAX_WATERMARK);
                // Of an idle stream this is the status; the watermark follows with the next drive.
                if let Some(control) = self.emitter.next() {
                    self.say(control);
                }
            }
            Control::Watermark(_) | Control::Status(_) => {}
            Control::End => {
                self.maker.has_said(control);
                self.next.control(control);
            }
            Control::Barrier(barrier) => {
                self.deliver(barrier.checkpoint);
                self.next.control(control);
            }
        }
    }

    #[inline]
    fn drive(&mut self, dry: bool) -> Flow {
        let flow = self.next.drive(dry);
        if self.maker.measures_idleness() {
            self.measure_hold(flow);
        }
        if flow != Flow::Ready || (self.emitter.is_at_end() && self.waiting.is_empty()) {
            return flow;
        }
        let is_silent = self.emitter.is_empty() && (!W::PUNCTUATED || self.waiting.is_empty());
        if is_silent && !self.stage.task.pieces.must_stop_reading() {
            self.ask_generators();
        }
        if let Some(control) = self.emitter.next() {
            self.say(control);
            return match self.next.drive(dry) {
                // There may be more to say: a status and a watermark, records behind a punctuation.
                Flow::Ready if W::PUNCTUATED || !self.emitter.is_empty() => Flow::Busy,
                flow => flow,
            };
        }
        if W::PUNCTUATED && !self.waiting.is_empty() {
            self.release_waiting();
            return Flow::Busy;
        }
        if self.ticks.interval_ms > 0 {
            self.wake_at(self.ticks.next_ms);
        }
        Flow::Ready
    }
}
