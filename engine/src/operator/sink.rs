//! The end of a chain: a user's sink.

use crate::Result;
use crate::function::{Sink, SinkStatus};
use crate::graph::NodeId;
use crate::operator::build::BuildContext;
use crate::operator::opened::Opened;
use crate::operator::pieces::Piece;
use crate::operator::{Flow, Push};
use crate::record::Control;
use std::marker::PhantomData;

/// The name of a sink's piece.
const PIECE: &str = "sink";

/// Feeds a [`Sink`]; asks it once a batch whether it can take more.
pub(crate) struct SinkOperator<T, S> {
    sink: Opened<S>,
    state: State,
    written: u64,
    piece: Piece,
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
        let sink = Opened::open(sink, stage, node, |sink, context| sink.open(context), S::close)?;
        let piece = context.piece(node, PIECE);
        Ok(SinkOperator { sink, state: State::Open, written: 0, piece, _record: PhantomData })
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
            Control::Barrier(barrier) => self.piece.deliver(barrier.checkpoint, Vec::new()),
            Control::End => self.state = State::Finishing,
            Control::Watermark(_) | Control::Status(_) => {}
        }
    }

    #[inline]
    fn drive(&mut self, dry: bool) -> Flow {
        self.publish_count();
        let status = match self.state {
            State::Open => self.poll_ready(dry),
            State::Finishing => self.sink.call(Sink::finish),
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
