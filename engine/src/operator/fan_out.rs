//! One stream, several consumers: a boxed stream, or a side output.
//!
//! Records are gathered in a block; each consumer but the last gets clones. The consumers are chains in the same task,
//! behind one virtual call a batch.
//!
//! **Invariants**
//! - Every consumer sees every element, in order.
//! - The fan-out is `Ready` only when all consumers are, so the slowest sets the pace.

use crate::operator::{Consume, Flow, Push};
use crate::record::{Block, Control};
use std::any::Any;

const ROWS: usize = 128;

/// See the module docs. Without consumers it drops what it gets (a side output that nobody reads).
pub(crate) struct FanOut<T> {
    block: Block<T>,
    copy: Block<T>,
    /// `None` while there is at most one consumer.
    clone: Option<fn(&T) -> T>,
    consumers: Vec<Box<dyn Consume<T>>>,
    pending: Option<Control>,
    ended: bool,
}

impl<T: 'static> FanOut<T> {
    pub(crate) fn new(clone: Option<fn(&T) -> T>, consumers: Vec<Box<dyn Consume<T>>>) -> Self {
        assert!(consumers.len() < 2 || clone.is_some(), "several consumers need clones");
        let copy = Block::new(if consumers.len() > 1 { ROWS } else { 1 });
        FanOut { block: Block::new(ROWS), copy, clone, consumers, pending: None, ended: false }
    }

    #[inline(never)]
    fn deliver(&mut self) {
        if self.block.is_empty() {
            return;
        }
        let Some((last, others)) = self.consumers.split_last_mut() else {
            return drop(self.block.drain());
        };
        for consumer in others {
            let clone = self.clone.expect("checked in new");
            let copy = &mut self.copy;
            self.block.for_each_ref(|hash, value, timestamp| {
                copy.push(hash, clone(value), timestamp);
            });
            consumer.consume(self.copy.drain());
        }
        last.consume(self.block.drain());
    }

    /// Drives all consumers and joins their answers.
    fn drive_all(&mut self, dry: bool) -> Flow {
        let mut answers = [false; 3];
        let mut done = self.ended;
        for consumer in &mut self.consumers {
            match consumer.drive(dry) {
                Flow::Ready => done = false,
                Flow::Busy => answers[0] = true,
                Flow::Blocked => answers[1] = true,
                Flow::Done => answers[2] = true,
            }
        }
        match answers {
            [true, ..] => Flow::Busy,
            [_, true, _] => Flow::Blocked,
            _ if done => Flow::Done,
            _ => Flow::Ready,
        }
    }
}

impl<T: 'static> Push<T> for FanOut<T> {
    #[inline(always)]
    fn push(&mut self, record: T, timestamp: i64) {
        if self.block.push(0, record, timestamp) {
            self.deliver();
        }
    }

    fn control(&mut self, control: Control) {
        debug_assert!(self.pending.is_none(), "one control between two drives");
        self.ended |= control == Control::End;
        self.pending = Some(control);
    }

    fn drive(&mut self, dry: bool) -> Flow {
        self.deliver();
        let flow = self.drive_all(dry);
        if let (Flow::Ready, Some(control)) = (flow, self.pending) {
            self.pending = None;
            self.consumers.iter_mut().for_each(|consumer| consumer.control(control));
            return Flow::Busy;
        }
        match (flow, self.pending) {
            (Flow::Done, Some(_)) => {
                // Only without consumers: nobody is there to be told.
                self.pending = None;
                Flow::Done
            }
            _ => flow,
        }
    }
}

/// A side output's fan-out with its type hidden.
pub(crate) trait SidePort {
    fn as_any(&mut self) -> &mut dyn Any;
    fn control(&mut self, control: Control);
    fn drive(&mut self, dry: bool) -> Flow;
}

impl<T: 'static> SidePort for FanOut<T> {
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
    fn control(&mut self, control: Control) {
        Push::control(self, control);
    }
    fn drive(&mut self, dry: bool) -> Flow {
        Push::drive(self, dry)
    }
}
