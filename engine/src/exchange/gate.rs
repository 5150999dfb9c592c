//! The input side of a task: merges the inputs of a stage and feeds its head.
//!
//! Input 0 of a *nested* gate is the router above it, which calls [`Gate::consume`] and [`Gate::control`]; all other
//! inputs are channels, polled in [`Gate::drive`], one buffer each a round, beginning with another one each time while there
//! is something.
//!
//! **Invariants**
//! - The head gets a control only after it answered `Ready`.
//! - Downstream is driven before anything is read, also while outputs above are full: so a ring of tasks that wait for
//!   one another cannot form (by induction from the sinks upward, every gate reads).
//! - One pass reads at most one buffer of each input and then lets the producer above have its turn.

use crate::Result;
use crate::config::CheckpointMode;
use crate::exchange::channel::{Buffer, Polled, Reader};
use crate::exchange::valve::Valve;
use crate::operator::build::BuildContext;
use crate::operator::pieces::Piece;
use crate::operator::{Consume, Flow, StageContext};
use crate::record::{Block, Codec, Columns, Control, MAX_WATERMARK};
use crate::runtime::{Progress, Task};
use std::collections::VecDeque;
use std::rc::Rc;

/// The channels of one input type, and how their buffers are read.
pub(crate) struct Inputs<T> {
    readers: Vec<Reader<T>>,
    codec: Option<Codec<T>>,
    /// Restored records wait here, a block at a time.
    scratch: Option<Block<T>>,
}

/// Rows that are restored from an archive before the head sees them.
const SCRATCH_ROWS: usize = 128;

impl<T: 'static> Inputs<T> {
    pub(crate) fn new(readers: Vec<Reader<T>>, codec: Option<Codec<T>>) -> Self {
        Inputs { readers, codec, scratch: None }
    }

    /// Looks at channel `index` once; records go to `consume` and are counted.
    fn poll(&mut self, index: usize, mut consume: impl FnMut(Columns<'_, T>)) -> Event {
        let buffer = match self.readers[index].poll() {
            Polled::Empty => return Event::Nothing,
            Polled::Control(control) => return Event::Control(control),
            Polled::Data(buffer) => buffer,
        };
        let (buffer, records) = match buffer {
            Buffer::Block(mut block) => {
                let records = block.len();
                consume(block.drain());
                (Buffer::Block(block), records)
            }
            Buffer::Page(page) => {
                let codec = self.codec.expect("an edge that sends archives has a codec");
                let block = self.scratch.get_or_insert_with(|| Block::new(SCRATCH_ROWS));
                page.for_each(codec, |_, hash, value, timestamp| {
                    if block.push(hash, value, timestamp) {
                        consume(block.drain());
                    }
                });
                consume(block.drain());
                let records = page.len();
                (Buffer::Page(page), records)
            }
        };
        self.readers[index].recycle(buffer);
        Event::Records(records)
    }
}

/// What a look at an input brought.
pub(crate) enum Event {
    Nothing,
    Records(usize),
    Control(Control),
}

/// The inputs of a stage and its head. One type of input ([`OnePort`]) or two ([`TwoPorts`]).
pub(crate) trait Ports: 'static {
    /// How many channels there are.
    fn count(&self) -> usize;
    /// What merges the controls of the channels, and of the router above if the gate is nested.
    fn valve(&self, nested: usize) -> Valve;
    /// Looks at channel `index` once and feeds what comes to the head.
    fn poll(&mut self, index: usize) -> Event;
    fn control(&mut self, control: Control);
    fn drive(&mut self, dry: bool) -> Flow;
}

/// A head with one type of input.
pub(crate) struct OnePort<T> {
    pub(crate) head: Box<dyn Consume<T>>,
    pub(crate) inputs: Inputs<T>,
}

impl<T: 'static> Ports for OnePort<T> {
    fn count(&self) -> usize {
        self.inputs.readers.len()
    }
    fn valve(&self, nested: usize) -> Valve {
        Valve::new(self.count() + nested)
    }
    fn poll(&mut self, index: usize) -> Event {
        let head = &mut self.head;
        self.inputs.poll(index, |columns| head.consume(columns))
    }
    fn control(&mut self, control: Control) {
        self.head.control(control);
    }
    fn drive(&mut self, dry: bool) -> Flow {
        self.head.drive(dry)
    }
}

/// A head with two types of input (`connect`).
pub(crate) trait ConsumeTwo<A, B>: 'static {
    fn consume_first(&mut self, columns: Columns<'_, A>);
    fn consume_second(&mut self, columns: Columns<'_, B>);
    fn control(&mut self, control: Control);
    fn drive(&mut self, dry: bool) -> Flow;
}

/// See [`ConsumeTwo`]: the channels of the first input come first.
pub(crate) struct TwoPorts<A, B> {
    pub(crate) head: Box<dyn ConsumeTwo<A, B>>,
    pub(crate) first: Inputs<A>,
    pub(crate) second: Inputs<B>,
}

impl<A: 'static, B: 'static> Ports for TwoPorts<A, B> {
    fn count(&self) -> usize {
        self.first.readers.len() + self.second.readers.len()
    }
    fn valve(&self, nested: usize) -> Valve {
        debug_assert_eq!(nested, 0, "a stage with two types of input is the root of its task");
        Valve::of_two_sides(self.first.readers.len(), self.second.readers.len())
    }
    fn poll(&mut self, index: usize) -> Event {
        let head = &mut self.head;
        match index.checked_sub(self.first.readers.len()) {
            None => self.first.poll(index, |columns| head.consume_first(columns)),
            Some(index) => self.second.poll(index, |columns| head.consume_second(columns)),
        }
    }
    fn control(&mut self, control: Control) {
        self.head.control(control);
    }
    fn drive(&mut self, dry: bool) -> Flow {
        self.head.drive(dry)
    }
}

/// See the module docs.
pub(crate) struct Gate<P> {
    ports: P,
    /// 1 if input 0 is the router above, else 0.
    nested: usize,
    valve: Valve,
    pending: VecDeque<Control>,
    /// The channel to look at first.
    first: usize,
    stage: Rc<StageContext>,
    piece: Piece,
}

/// The name of a gate's piece.
const PIECE: &str = "event time";

impl<P: Ports> Gate<P> {
    pub(crate) fn open(ports: P, nested: bool, context: &BuildContext) -> Result<Self> {
        let stage = context.stage.clone();
        let nested = usize::from(nested);
        let inputs = ports.count() + nested;
        // A subtask that nobody feeds (the second and further consumers of a global exchange) has ended before it began.
        let ended = [Control::Watermark(MAX_WATERMARK), Control::End];
        let mut valve = ports.valve(nested);
        let restored = context.restored_values(stage.head, PIECE)?;
        let own = (restored.len() == stage.parallelism).then_some(stage.subtask);
        valve.restore(&restored, own);
        let pending = valve.standing().chain(ended.into_iter().filter(|_| inputs == 0)).collect();
        if context.job.checkpoints == Some(CheckpointMode::AtLeastOnce) {
            valve.never_hold();
        }
        let piece = context.piece(stage.head, PIECE);
        Ok(Gate { ports, nested, valve, pending, first: 0, stage, piece })
    }

    /// A control from the router above.
    pub(crate) fn control(&mut self, control: Control) {
        debug_assert!(
            self.nested == 1 && !self.valve.is_held(0),
            "input 0 of a nested gate, not held"
        );
        if self.pending.is_empty() {
            // The router drives before it passes a control on, so the head is ready for one.
            let mut first = None;
            let pending = &mut self.pending;
            self.valve.on(0, control, |control| match first {
                None => first = Some(control),
                Some(_) => pending.push_back(control),
            });
            if let Some(control) = first {
                self.pass_on(control);
            }
            return;
        }
        self.on_control(0, control);
    }

    fn pass_on(&mut self, control: Control) {
        if let Control::Watermark(watermark) = control {
            self.stage.metrics.current_input_watermark_ms.set(watermark);
        }
        if let Control::Barrier(barrier) = control {
            self.piece.deliver_value(barrier.checkpoint, &self.valve.snapshot());
        }
        self.ports.control(control);
        self.stage.task.worked(1);
    }

    fn on_control(&mut self, input: usize, control: Control) {
        let pending = &mut self.pending;
        self.valve.on(input, control, |control| pending.push_back(control));
    }

    pub(crate) fn drive(&mut self, dry: bool) -> Flow {
        match self.ports.drive(false) {
            Flow::Ready => {}
            other => return other,
        }
        if let Some(control) = self.pending.pop_front() {
            self.pass_on(control);
            return Flow::Busy;
        }
        let got = self.poll_channels();
        if !self.pending.is_empty() {
            return Flow::Busy;
        }
        let flow = match (got, dry) {
            // It has just answered so, and nothing has come since.
            (0, false) => Flow::Ready,
            (0, true) => self.ports.drive(true),
            _ => self.ports.drive(false),
        };
        if flow == Flow::Ready && self.nested == 1 && self.valve.is_held(0) {
            return Flow::Blocked;
        }
        flow
    }

    fn poll_channels(&mut self) -> usize {
        let count = self.ports.count();
        let mut got = 0;
        for turn in 0..count {
            let index = (self.first + turn) % count;
            if self.valve.is_held(index + self.nested) {
                continue;
            }
            match self.ports.poll(index) {
                Event::Nothing => continue,
                Event::Control(control) => {
                    got += 1;
                    self.on_control(index + self.nested, control);
                    if !self.pending.is_empty() {
                        break;
                    }
                }
                Event::Records(records) => {
                    got += records;
                    self.count_in(records);
                    if self.ports.drive(false) != Flow::Ready {
                        break;
                    }
                }
            }
        }
        // From rest it begins with the first, so that what several inputs bring at once is taken in their order.
        self.first = if got > 0 && self.first + 1 < count { self.first + 1 } else { 0 };
        self.stage.task.worked(got as u64);
        got
    }

    fn count_in(&self, records: usize) {
        self.stage.metrics.records_in.add(records as u64);
    }
}

impl<T: 'static> Gate<OnePort<T>> {
    /// Records from the router above.
    #[inline]
    pub(crate) fn consume(&mut self, columns: Columns<'_, T>) {
        self.count_in(columns.len());
        self.ports.head.consume(columns);
    }
}

/// What a busy answer counts for in a task's budget of records.
const BUSY_COST: u64 = 64;

impl<P: Ports> Task for Gate<P> {
    fn run(&mut self, budget: usize) -> Progress {
        let start = self.stage.task.work.get();
        loop {
            let before = self.stage.task.work.get();
            match self.drive(true) {
                Flow::Done => return Progress::Done,
                Flow::Busy => self.stage.task.worked(BUSY_COST),
                // What this drive has read counts: a nested gate that is held by a barrier reads its channels and is blocked in
                // one answer. Whoever said nothing but `Blocked` then would sleep over what lies there, which nobody announces
                // again.
                Flow::Blocked if self.stage.task.work.get() == start => return Progress::Blocked,
                Flow::Blocked => return Progress::Worked,
                Flow::Ready if self.stage.task.work.get() > before => {}
                Flow::Ready if before == start => return Progress::Idle,
                Flow::Ready => return Progress::Worked,
            }
            if self.stage.task.has_failed() || self.stage.task.work.get() - start >= budget as u64 {
                return Progress::Worked;
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::operator::test_support::context;
    use crate::record::{Barrier, CheckpointId};
    use crate::runtime::{CoreHandle, CoreServices};
    use std::cell::Cell;

    /// A channel with so many buffers, whose records go nowhere.
    struct Buffers(Rc<Cell<usize>>);

    impl Ports for Buffers {
        fn count(&self) -> usize {
            1
        }
        fn valve(&self, nested: usize) -> Valve {
            Valve::new(1 + nested)
        }
        fn poll(&mut self, _: usize) -> Event {
            match self.0.get() {
                0 => Event::Nothing,
                left => {
                    self.0.set(left - 1);
                    Event::Records(7)
                }
            }
        }
        fn control(&mut self, _: Control) {}
        fn drive(&mut self, _: bool) -> Flow {
            Flow::Ready
        }
    }

    #[test]
    fn a_gate_that_is_held_is_blocked_only_when_it_has_read_nothing() {
        let core = CoreHandle::new(CoreServices::default());
        let left = Rc::new(Cell::new(3));
        let context = context((0, 1), &core, None);
        let mut gate = Gate::open(Buffers(left.clone()), true, &context).unwrap();
        let (checkpoint, is_final) = (CheckpointId(1), false);
        gate.control(Control::Barrier(Barrier { checkpoint, is_final }));
        for expected_left in [2, 1, 0] {
            // Else its core would sleep with buffers in the channel, whose sender has nothing more to announce.
            assert_eq!(gate.run(512), Progress::Worked);
            assert_eq!(left.get(), expected_left);
        }
        assert_eq!(gate.run(512), Progress::Blocked);
    }
}
