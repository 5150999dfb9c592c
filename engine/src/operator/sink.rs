//! The end of a chain: a user's sink, and its part in checkpoints.
//!
//! 1. When it is built the sink gets what the checkpoint has of it.
//! 2. At a barrier its state is taken, before anything behind the barrier is written. It is delivered at once, or when
//!    the sink says that what the state counts on is safe.
//! 3. Notices of what became of checkpoints reach it when it is driven.
//! 4. At the end of input it is asked until all is out; that takes the notice of the last checkpoint.
//!
//! **Invariant**: a sink is `Done` only when it has answered `Ready` to [`Sink::finish`].

use crate::Result;
use crate::checkpoint::piece_bytes::PieceBytes;
use crate::function::{
    RuntimeContext, SINK_PIECE, Sink, SinkStateContext, SinkStatus, UnreadSinkState,
};
use crate::graph::NodeId;
use crate::operator::build::BuildContext;
use crate::operator::opened::Opened;
use crate::operator::pieces::{Notice, Piece};
use crate::operator::{Flow, Push};
use crate::record::{Barrier, CheckpointId, Control};
use std::cell::Cell;
use std::collections::VecDeque;
use std::marker::PhantomData;

/// Feeds a [`Sink`]; asks it once a batch whether it can take more.
pub(crate) struct SinkOperator<T, S> {
    sink: Opened<S>,
    state: State,
    written: u64,
    piece: Piece,
    /// States that the sink has given and is not sure of yet, by checkpoint.
    unsafe_states: VecDeque<(CheckpointId, PieceBytes)>,
    _record: PhantomData<fn(T)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The end has come; the sink is still handing out.
    Finishing,
    Done,
}

impl<T: 'static, S: Sink<T>> SinkOperator<T, S> {
    pub(crate) fn open(sink: S, context: &BuildContext, node: NodeId) -> Result<Self> {
        let stage = &context.stage;
        let state = state_context(context, node);
        let open = |sink: &mut S, context: &mut RuntimeContext<'_>| {
            sink.open(context)?;
            sink.initialize_state(&state)?;
            match state.restored_checkpoint {
                Some(checkpoint) if state.has_unread_state() => {
                    let operator = state.operator_name.to_owned();
                    Err(UnreadSinkState { operator, checkpoint }.into())
                }
                _ => Ok(()),
            }
        };
        let sink = Opened::open(sink, stage, node, open, S::close)?;
        let piece = context.piece(node, SINK_PIECE);
        let (state, unsafe_states) = (State::Open, VecDeque::new());
        Ok(SinkOperator { sink, state, written: 0, piece, unsafe_states, _record: PhantomData })
    }

    #[inline(always)]
    fn poll_ready(&mut self, dry: bool) -> Option<SinkStatus> {
        let now_ms = self.sink.stage().task.core.now_ms.get();
        let (status, next_poll_ms) = self.sink.call(|sink| {
            let status = sink.poll_ready(now_ms, dry)?;
            Ok((status, sink.next_poll_ms()))
        })?;
        if let Some(at_ms) = next_poll_ms {
            let next_timer_ms = &self.sink.stage().task.core.next_timer_ms;
            next_timer_ms.set(next_timer_ms.get().min(at_ms));
        }
        Some(status)
    }

    fn snapshot(&mut self, barrier: Barrier) {
        if let Some(state) = self.sink.call(|sink| sink.snapshot_state(barrier)) {
            self.unsafe_states.push_back((barrier.checkpoint, state.into_piece()));
            self.deliver_safe();
        }
    }

    /// Delivers the states that the sink is sure of, in order.
    fn deliver_safe(&mut self) {
        while let Some((checkpoint, _)) = self.unsafe_states.front() {
            let checkpoint = *checkpoint;
            if self.sink.call(|sink| sink.is_snapshot_safe(checkpoint)) != Some(true) {
                break;
            }
            let Some((_, bytes)) = self.unsafe_states.pop_front() else { break };
            self.piece.deliver(checkpoint, bytes);
        }
    }

    /// Tells the sink what became of checkpoints.
    #[cold]
    fn read_notices(&mut self) {
        while let Some(notice) = self.piece.next_notice() {
            if let Notice::Aborted(given_up) = notice {
                self.unsafe_states.retain(|(checkpoint, _)| *checkpoint != given_up);
            }
            self.sink.call(|sink| match notice {
                Notice::Completed(checkpoint) => sink.notify_checkpoint_complete(checkpoint),
                Notice::Aborted(checkpoint) => sink.notify_checkpoint_aborted(checkpoint),
                Notice::Released(_) => Ok(()),
            });
        }
    }

    /// The end has come: is all out?
    fn finish(&mut self) -> Option<SinkStatus> {
        if self.poll_ready(true)? == SinkStatus::Full {
            return Some(SinkStatus::Full);
        }
        match self.sink.call(Sink::finish)? {
            SinkStatus::Ready => Some(SinkStatus::Ready),
            // It may have found out now that it waits for a certain time.
            SinkStatus::Full => self.poll_ready(true).map(|_| SinkStatus::Full),
        }
    }

    fn publish_count(&mut self) {
        if self.written > 0 {
            self.sink.stage().metrics.records_out.add(std::mem::take(&mut self.written));
        }
    }
}

impl<T: 'static, S: Sink<T>> Push<T> for SinkOperator<T, S> {
    #[inline(always)]
    fn push(&mut self, record: T, timestamp: i64) {
        self.written += 1;
        self.sink.call(|sink| sink.write(record, timestamp));
    }

    fn control(&mut self, control: Control) {
        self.sink.call(|sink| sink.on_control(control));
        match control {
            Control::Barrier(barrier) => self.snapshot(barrier),
            Control::End => self.state = State::Finishing,
            Control::Watermark(_) | Control::Status(_) => {}
        }
    }

    #[inline]
    fn drive(&mut self, dry: bool) -> Flow {
        self.publish_count();
        if self.piece.has_notice() {
            self.read_notices();
        }
        if !self.unsafe_states.is_empty() {
            self.deliver_safe();
        }
        let status = match self.state {
            State::Open => self.poll_ready(dry),
            State::Finishing => self.finish(),
            State::Done => return Flow::Done,
        };
        match (status, self.state) {
            (Some(SinkStatus::Ready), State::Open) => Flow::Ready,
            (Some(SinkStatus::Ready), _) => {
                self.state = State::Done;
                Flow::Done
            }
            // Full, or failed: then the task stops after this run.
            _ => Flow::Blocked,
        }
    }
}

fn state_context(context: &BuildContext, node: NodeId) -> SinkStateContext<'_> {
    let stage = &context.stage;
    SinkStateContext {
        operator_name: stage.names.get(node),
        subtask_index: stage.subtask,
        parallelism: stage.parallelism,
        now_ms: stage.task.core.now_ms.get(),
        has_checkpoints: context.has_checkpoints(),
        restored_checkpoint: context.job.restored.as_ref().map(|restored| restored.checkpoint),
        pieces: context.restored(node, SINK_PIECE),
        is_read: Cell::new(false),
    }
}
