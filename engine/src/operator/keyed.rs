//! The head of a keyed stage: applies a batch of hashed records to keyed state, with the memory fetched ahead.
//!
//! What differs between the keyed operators is a [`Logic`]; the loop, the prefetch and the firing of timers are here once.
//! Prefetching has two stages where a row lies behind the index: the bucket [`AHEAD`] records before its use, the row
//! `AHEAD / 2` before; it is switched on only when the state has outgrown a core's cache (85-97 -> 37-56 ns a record at 1 M
//! keys, DESIGN §2).
//!
//! **Invariants**
//! - User code runs record by record, in order of arrival.
//! - A watermark goes on only after everything it fires has been emitted; firing happens in bounded steps.

use crate::operator::{Consume, Flow, Push, StageContext};
use crate::record::{Columns, Control};
use std::rc::Rc;

/// A keyed operator without its plumbing.
pub(crate) trait Logic<T>: 'static {
    type Out: 'static;
    /// Applies one record.
    fn apply<D: Push<Self::Out>>(&mut self, hash: u32, record: T, timestamp: i64, next: &mut D);
    /// First stage of the prefetch: the bucket of this hash.
    fn hint(&self, hash: u32);
    /// Second stage: the bucket is here by now; fetch what it points at.
    fn hint_row(&self, _hash: u32) {}
    /// Is the state larger than a core's cache? Asked once a batch.
    fn is_deep(&mut self) -> bool;
    /// Event time has reached `watermark`; what that fires comes out of [`fire`](Self::fire).
    fn advance(&mut self, _watermark: i64) {}
    /// Emits up to `budget` of what is due by event time; true when nothing is left.
    fn fire<D: Push<Self::Out>>(&mut self, _budget: usize, _next: &mut D) -> bool {
        true
    }
    /// The same for processing time.
    fn fire_processing_time<D: Push<Self::Out>>(
        &mut self,
        _now_ms: i64,
        _budget: usize,
        _next: &mut D,
    ) -> bool {
        true
    }
    /// When processing time next fires something; `i64::MAX` for never.
    fn next_processing_time_ms(&self) -> i64 {
        i64::MAX
    }
    /// Passes a control to side outputs.
    fn side_control(&mut self, _control: Control) {}
    /// Drives side outputs; `Done` counts as `Ready`.
    fn side_drive(&mut self, _dry: bool) -> Flow {
        Flow::Ready
    }
}

/// Records between a hint and its use. 8 was too short within a burst, 16 as good as any (../shared/proto/slice; to be
/// repeated when the table changes).
const AHEAD: usize = 16;
/// Timers or windows that fire in one step.
const FIRE_STEP: usize = 512;

/// See the module docs.
pub(crate) struct KeyedOperator<L, D> {
    logic: L,
    next: D,
    is_deep: bool,
    pending: Option<Control>,
    stage: Rc<StageContext>,
}

impl<L, D> KeyedOperator<L, D> {
    pub(crate) fn new(logic: L, next: D, stage: Rc<StageContext>) -> Self {
        KeyedOperator { logic, next, is_deep: false, pending: None, stage }
    }

    /// Both halves of the answer of an operator with side outputs.
    fn join(main: Flow, side: Flow) -> Flow {
        match (main, side) {
            (Flow::Ready | Flow::Done, Flow::Busy | Flow::Blocked) => side,
            (Flow::Blocked, Flow::Busy) => Flow::Busy,
            _ => main,
        }
    }
}

impl<L, D> KeyedOperator<L, D> {
    fn step<T>(&mut self) -> Flow
    where
        T: 'static,
        L: Logic<T>,
        D: Push<L::Out>,
    {
        let core = self.stage.task.core.clone();
        let now_ms = core.now_ms.get();
        if self.logic.next_processing_time_ms() <= now_ms {
            self.stage.task.worked(1);
            self.logic.fire_processing_time(now_ms, FIRE_STEP, &mut self.next);
            return Flow::Busy;
        }
        let next_ms = self.logic.next_processing_time_ms();
        if next_ms < core.next_timer_ms.get() {
            core.next_timer_ms.set(next_ms);
        }
        let Some(control) = self.pending else { return Flow::Ready };
        self.stage.task.worked(1);
        if self.logic.fire(FIRE_STEP, &mut self.next) {
            // The results of the last step may still wait below: pass the control on only when they are taken.
            match Self::join(self.next.drive(false), self.logic.side_drive(false)) {
                Flow::Ready => {
                    self.pending = None;
                    self.logic.side_control(control);
                    self.next.control(control);
                }
                Flow::Blocked => return Flow::Blocked,
                Flow::Busy | Flow::Done => {}
            }
        }
        Flow::Busy
    }
}

impl<T: 'static, L: Logic<T>, D: Push<L::Out>> Consume<T> for KeyedOperator<L, D> {
    #[inline(never)]
    fn consume(&mut self, columns: Columns<'_, T>) {
        let KeyedOperator { logic, next, stage, .. } = self;
        if !self.is_deep {
            return columns.for_each(&stage.position, |_, hash, record, timestamp| {
                logic.apply(hash, record, timestamp, next);
            });
        }
        let hashes = columns.hashes();
        let last = hashes.len().saturating_sub(1);
        hashes.iter().take(AHEAD).for_each(|hash| logic.hint(*hash));
        hashes.iter().take(AHEAD / 2).for_each(|hash| logic.hint_row(*hash));
        columns.for_each(&stage.position, |row, hash, record, timestamp| {
            logic.hint(hashes[(row + AHEAD).min(last)]);
            logic.hint_row(hashes[(row + AHEAD / 2).min(last)]);
            logic.apply(hash, record, timestamp, next);
        });
    }

    fn control(&mut self, control: Control) {
        debug_assert!(self.pending.is_none(), "one control between two drives");
        if let Control::Watermark(watermark) = control {
            self.logic.advance(watermark);
        }
        self.pending = Some(control);
    }

    fn drive(&mut self, dry: bool) -> Flow {
        self.is_deep = self.logic.is_deep();
        match Self::join(self.next.drive(dry), self.logic.side_drive(dry)) {
            Flow::Ready => self.step::<T>(),
            flow => flow,
        }
    }
}
