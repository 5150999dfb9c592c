//! The output side of a stage: spreads records over the consumers of an edge.
//!
//! The lane of the consumer subtask in the same slot is a block and, below it, that consumer's gate: records of that
//! lane go on by value in the same call, a block at a time. The block is the cut that lets the loop above and the loop
//! below keep their registers (15.5 -> 6.7 ns a record in a sketch), the prefetch window, and the place where the type of the
//! chain is erased. All other lanes are channels.
//!
//! **Invariants**
//! - A control goes to every lane, after all records before it.
//! - The gate below is driven also while channels are full.

use crate::exchange::channel::Writer;
use crate::exchange::gate::{Gate, OnePort};
use crate::operator::{Flow, Push, StageContext};
use crate::record::{Block, Control};
use std::rc::Rc;

/// Chooses a record's lane.
pub(crate) trait Route<T>: 'static {
    /// Index of the consumer, and the key's hash (0 without key).
    fn route(&mut self, record: &T) -> (usize, u32);
}

/// Rows of the lane that stays in the slot. More only delay; fewer cost a virtual call each.
const OWN_ROWS: usize = 128;
/// A block of large records is kept below this.
const OWN_BYTES: usize = 64 << 10;

/// The lane within the slot.
pub(crate) struct OwnLane<T> {
    index: usize,
    block: Block<T>,
    gate: Box<Gate<OnePort<T>>>,
    pending: Option<Control>,
}

impl<T: 'static> OwnLane<T> {
    pub(crate) fn new(index: usize, gate: Gate<OnePort<T>>) -> Self {
        let rows = Block::<T>::rows_for(OWN_BYTES).min(OWN_ROWS);
        OwnLane { index, block: Block::new(rows), gate: Box::new(gate), pending: None }
    }

    #[inline(never)]
    fn flush(&mut self, stage: &StageContext) {
        if !self.block.is_empty() {
            stage.metrics.records_out.add(self.block.len() as u64);
            self.gate.consume(self.block.drain());
        }
    }

    fn drive(&mut self, dry: bool, stage: &StageContext) -> Flow {
        if dry || self.pending.is_some() {
            self.flush(stage);
        }
        let flow = self.gate.drive(dry);
        if flow == Flow::Ready
            && let Some(control) = self.pending.take()
        {
            self.gate.control(control);
            return Flow::Busy;
        }
        flow
    }
}

/// All lanes of one producer, whatever chooses among them.
struct Lanes<T> {
    own: Option<OwnLane<T>>,
    /// By consumer index; `None` for the own lane and for consumers this subtask does not feed.
    channels: Vec<Option<Writer<T>>>,
    ended: bool,
    stage: Rc<StageContext>,
}

impl<T: 'static> Lanes<T> {
    fn control(&mut self, control: Control) {
        self.ended |= control == Control::End;
        self.channels.iter_mut().flatten().for_each(|writer| writer.control(control));
        if let Some(own) = &mut self.own {
            debug_assert!(own.pending.is_none(), "one control between two drives");
            match own.block.is_empty() {
                true => own.gate.control(control),
                false => own.pending = Some(control),
            }
        }
    }

    #[inline]
    fn drive(&mut self, dry: bool) -> Flow {
        let mut full = false;
        for writer in self.channels.iter_mut().flatten() {
            full |= writer.drive(dry) != Flow::Ready;
            let counts = writer.take_counts();
            // Also of a run that has only flushed what an earlier one left: the consumer has something to do now.
            self.stage.task.worked(u64::from(counts.messages > 0));
            if counts.records > 0 {
                self.stage.metrics.records_out.add(counts.records);
                self.stage.metrics.bytes_out.add(counts.bytes);
                self.stage.metrics.overflow_pages_max.raise_to(counts.overflow_max);
            }
        }
        if full {
            self.fail_refused();
        }
        let flow = match &mut self.own {
            Some(own) => own.drive(dry, &self.stage),
            None if self.ended => Flow::Done,
            None => Flow::Ready,
        };
        match flow {
            Flow::Ready | Flow::Done if full => Flow::Blocked,
            flow => flow,
        }
    }

    #[cold]
    fn fail_refused(&mut self) {
        let refused = self.channels.iter_mut().flatten().find_map(Writer::take_refused);
        if let Some(error) = refused {
            self.stage.fail(self.stage.head, Box::new(error));
        }
    }
}

/// See the module docs.
pub(crate) struct Router<T, R> {
    route: R,
    lanes: Lanes<T>,
}

impl<T: 'static, R: Route<T>> Router<T, R> {
    pub(crate) fn new(
        route: R,
        own: Option<OwnLane<T>>,
        channels: Vec<Option<Writer<T>>>,
        stage: Rc<StageContext>,
    ) -> Self {
        Router { route, lanes: Lanes { own, channels, ended: false, stage } }
    }
}

impl<T: 'static, R: Route<T>> Push<T> for Router<T, R> {
    #[inline(always)]
    fn push(&mut self, record: T, timestamp: i64) {
        let (lane, hash) = self.route.route(&record);
        if let Some(own) = &mut self.lanes.own
            && own.index == lane
        {
            if own.block.push(hash, record, timestamp) {
                own.flush(&self.lanes.stage);
            }
            return;
        }
        if let Some(Some(writer)) = self.lanes.channels.get_mut(lane) {
            writer.write(hash, record, timestamp);
        }
    }

    fn control(&mut self, control: Control) {
        self.lanes.control(control);
    }

    #[inline]
    fn drive(&mut self, dry: bool) -> Flow {
        self.lanes.drive(dry)
    }
}

/// To every lane; all but the last get a clone.
pub(crate) struct Broadcast<T> {
    clone: fn(&T) -> T,
    lanes: Lanes<T>,
}

impl<T: 'static> Broadcast<T> {
    pub(crate) fn new(
        clone: fn(&T) -> T,
        own: Option<OwnLane<T>>,
        channels: Vec<Option<Writer<T>>>,
        stage: Rc<StageContext>,
    ) -> Self {
        Broadcast { clone, lanes: Lanes { own, channels, ended: false, stage } }
    }
}

impl<T: 'static> Push<T> for Broadcast<T> {
    fn push(&mut self, record: T, timestamp: i64) {
        for writer in self.lanes.channels.iter_mut().flatten() {
            writer.write(0, (self.clone)(&record), timestamp);
        }
        if let Some(own) = &mut self.lanes.own
            && own.block.push(0, record, timestamp)
        {
            own.flush(&self.lanes.stage);
        }
    }

    fn control(&mut self, control: Control) {
        self.lanes.control(control);
    }

    fn drive(&mut self, dry: bool) -> Flow {
        self.lanes.drive(dry)
    }
}
