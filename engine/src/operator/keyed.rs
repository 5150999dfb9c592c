//! The head of a keyed stage: applies a batch of hashed records to keyed state, with the memory fetched ahead.
//!
//! What differs between the keyed operators is a [`Logic`]; the loop, the prefetch and the firing of timers are here once.
//! Prefetching has two stages where a row lies behind the index: the bucket [`KeyedLogic::AHEAD`] records before its use,
//! the row half as many before; it is switched on only when the state has outgrown a core's cache (85-97 -> 37-56 ns a record at 1 M
//! keys, in a sketch of this operator).
//!
//! **Invariants**
//! - User code runs record by record, in order of arrival.
//! - A watermark goes on only after everything it fires has been emitted; firing happens in bounded steps.

use crate::Result;
use crate::exchange::gate::ConsumeTwo;
use crate::operator::side_outputs::SideOutputs;
use crate::operator::{Consume, Flow, Push, StageContext};
use crate::record::{CheckpointId, Columns, Control};
use std::rc::Rc;

/// A keyed operator without its plumbing: what time does to it.
pub(crate) trait KeyedLogic: 'static {
    type Out: 'static;
    /// Records between a hint and its use; half as many between the hint of a row and its use. Measured in a sketch of this
    /// operator: 8 was too short within a burst, 16 as good as any, but where rows lie behind the index.
    const AHEAD: usize = 16;
    /// Is the state larger than a core's cache? Asked once a batch.
    fn is_deep(&mut self) -> bool;
    /// Does what is due of the work of its store, if it has one. Called between batches.
    fn maintain(&mut self) -> Result {
        Ok(())
    }
    /// The line of a checkpoint has come: delivers what the operator has, at once or later.
    fn snapshot(&mut self, checkpoint: CheckpointId);
    /// Event time has reached `watermark`. True if that makes something due, which comes out of [`fire`](Self::fire).
    fn advance(&mut self, _watermark: i64) -> bool {
        false
    }
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
    fn next_processing_time_ms(&mut self) -> i64 {
        i64::MAX
    }
    /// The side outputs, if it has any.
    fn sides(&mut self) -> Option<&mut SideOutputs> {
        None
    }
}

/// A keyed operator with one input.
pub(crate) trait Logic<T>: KeyedLogic {
    /// Applies one record.
    fn apply<D: Push<Self::Out>>(&mut self, hash: u32, record: T, timestamp: i64, next: &mut D);
    /// Does state lie on disk alone, so that the keys of a batch are to be requested before it is applied?
    fn has_unloaded(&self) -> bool {
        false
    }
    /// Requests the state of a record's key: what is on disk is read together for all of a batch.
    fn request(&mut self, _hash: u32, _record: &T) -> Result<()> {
        Ok(())
    }
    /// Reads what was requested.
    fn load_requested(&mut self) -> Result<()> {
        Ok(())
    }
    /// First stage of the prefetch: the bucket of this hash.
    fn hint(&self, hash: u32);
    /// Second stage: the bucket is here by now; fetch what it points at.
    fn hint_row(&self, _hash: u32) {}
}

/// A keyed operator with two inputs.
pub(crate) trait LogicTwo<A, B>: KeyedLogic {
    /// Applies one record of the first input.
    fn apply_first<D: Push<Self::Out>>(
        &mut self,
        hash: u32,
        record: A,
        timestamp: i64,
        next: &mut D,
    );
    /// Applies one record of the second input.
    fn apply_second<D: Push<Self::Out>>(
        &mut self,
        hash: u32,
        record: B,
        timestamp: i64,
        next: &mut D,
    );
    /// As [`Logic::has_unloaded`].
    fn has_unloaded(&self) -> bool {
        false
    }
    /// As [`Logic::request`], for a record of the first input.
    fn request_first(&mut self, _hash: u32, _record: &A) -> Result<()> {
        Ok(())
    }
    /// As [`Logic::request`], for a record of the second input.
    fn request_second(&mut self, _hash: u32, _record: &B) -> Result<()> {
        Ok(())
    }
    /// Reads what was requested.
    fn load_requested(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Timers or windows that fire in one step.
const FIRE_STEP: usize = 512;

/// See the module docs.
pub(crate) struct KeyedOperator<L, D> {
    logic: L,
    next: D,
    is_deep: bool,
    pending: Option<Control>,
    /// The last barrier has passed: the wall clock fires nothing more.
    is_quiet: bool,
    stage: Rc<StageContext>,
}

impl<L, D> KeyedOperator<L, D> {
    pub(crate) fn new(logic: L, next: D, stage: Rc<StageContext>) -> Self {
        KeyedOperator { logic, next, is_deep: false, pending: None, is_quiet: false, stage }
    }
}

impl<L: KeyedLogic, D: Push<L::Out>> KeyedOperator<L, D> {
    fn take(&mut self, control: Control) {
        debug_assert!(self.pending.is_none(), "one control between two drives");
        match control {
            Control::Watermark(watermark) if self.logic.advance(watermark) => {
                self.pending = Some(control);
            }
            Control::Barrier(barrier) => {
                self.is_quiet |= barrier.is_final;
                self.logic.snapshot(barrier.checkpoint);
                self.pass_on(control);
            }
            // Nothing is to be emitted before it, and downstream is ready.
            _ => self.pass_on(control),
        }
    }

    fn drive_all(&mut self, dry: bool) -> Flow {
        self.is_deep = self.logic.is_deep();
        if let Err(cause) = self.logic.maintain() {
            self.stage.fail(self.stage.head, cause);
        }
        match self.drive_outputs(dry) {
            Flow::Ready => self.step(),
            flow => flow,
        }
    }

    /// Drives downstream and the side outputs, and joins their answers.
    fn drive_outputs(&mut self, dry: bool) -> Flow {
        let main = self.next.drive(dry);
        match self.logic.sides() {
            Some(sides) => sides.join(main, dry),
            None => main,
        }
    }

    /// Fires what is due and passes on the control that made it due, downstream being ready.
    fn step(&mut self) -> Flow {
        let next_ms = self.logic.next_processing_time_ms();
        if next_ms < i64::MAX && !self.is_quiet && self.fire_processing_time(next_ms) {
            return Flow::Busy;
        }
        let Some(control) = self.pending else { return Flow::Ready };
        self.stage.task.worked(1);
        if self.logic.fire(FIRE_STEP, &mut self.next) {
            // The results of the last step may still wait below: the control passes only when they are taken.
            match self.drive_outputs(false) {
                Flow::Ready => self.pass_on(control),
                Flow::Blocked => return Flow::Blocked,
                Flow::Busy | Flow::Done => {}
            }
        }
        Flow::Busy
    }

    /// Fires processing-time timers, the next of which is at `next_ms`, or makes the core wake for it.
    #[cold]
    fn fire_processing_time(&mut self, next_ms: i64) -> bool {
        let core = &self.stage.task.core;
        let now_ms = core.now_ms.get();
        if next_ms > now_ms {
            core.next_timer_ms.set(core.next_timer_ms.get().min(next_ms));
            return false;
        }
        if core.timers_held.get() {
            return false;
        }
        self.stage.task.worked(1);
        self.logic.fire_processing_time(now_ms, FIRE_STEP, &mut self.next);
        true
    }

    fn pass_on(&mut self, control: Control) {
        self.pending = None;
        if let Some(sides) = self.logic.sides() {
            sides.control(control);
        }
        self.next.control(control);
    }
}

impl<L, D> KeyedOperator<L, D> {
    /// Reads the state of a batch's keys that lies on disk. Should that fail, so does the job.
    #[cold]
    fn load<T>(
        &mut self,
        columns: &Columns<'_, T>,
        request: impl Fn(&mut L, u32, &T) -> Result<()>,
        load_requested: fn(&mut L) -> Result<()>,
    ) {
        let mut result = Ok(());
        columns.for_each_ref(|hash, record| {
            if result.is_ok() {
                result = request(&mut self.logic, hash, record);
            }
        });
        if let Err(cause) = result.and_then(|()| load_requested(&mut self.logic)) {
            self.stage.fail(self.stage.head, cause);
        }
    }
}

impl<T: 'static, L: Logic<T>, D: Push<L::Out>> Consume<T> for KeyedOperator<L, D> {
    #[inline(never)]
    fn consume(&mut self, columns: Columns<'_, T>) {
        if self.logic.has_unloaded() {
            self.load(&columns, L::request, L::load_requested);
        }
        let KeyedOperator { logic, next, stage, .. } = self;
        let hashes = columns.hashes();
        let is_deep = self.is_deep;
        if is_deep {
            hashes.iter().take(L::AHEAD).for_each(|hash| logic.hint(*hash));
            hashes.iter().take(L::AHEAD / 2).for_each(|hash| logic.hint_row(*hash));
        }
        // One loop for both cases: a second one would keep `apply` from being inlined into either.
        columns.for_each(&stage.position, |row, hash, record, timestamp| {
            if is_deep {
                if let Some(hash) = hashes.get(row + L::AHEAD) {
                    logic.hint(*hash);
                }
                if let Some(hash) = hashes.get(row + L::AHEAD / 2) {
                    logic.hint_row(*hash);
                }
            }
            logic.apply(hash, record, timestamp, next);
        });
    }

    fn control(&mut self, control: Control) {
        self.take(control);
    }

    fn drive(&mut self, dry: bool) -> Flow {
        self.drive_all(dry)
    }
}

/// Makes a keyed operator with two inputs the head of a stage. Rows are applied without prefetching: two inputs are rarely both
/// dense enough for it to pay.
pub(crate) struct KeyedOperatorTwo<L, D>(pub(crate) KeyedOperator<L, D>);

impl<A: 'static, B: 'static, L: LogicTwo<A, B>, D: Push<L::Out>> ConsumeTwo<A, B>
    for KeyedOperatorTwo<L, D>
{
    #[inline(never)]
    fn consume_first(&mut self, columns: Columns<'_, A>) {
        if self.0.logic.has_unloaded() {
            self.0.load(&columns, L::request_first, L::load_requested);
        }
        let KeyedOperator { logic, next, stage, .. } = &mut self.0;
        columns.for_each(&stage.position, |_, hash, record, timestamp| {
            logic.apply_first(hash, record, timestamp, next);
        });
    }
    #[inline(never)]
    fn consume_second(&mut self, columns: Columns<'_, B>) {
        if self.0.logic.has_unloaded() {
            self.0.load(&columns, L::request_second, L::load_requested);
        }
        let KeyedOperator { logic, next, stage, .. } = &mut self.0;
        columns.for_each(&stage.position, |_, hash, record, timestamp| {
            logic.apply_second(hash, record, timestamp, next);
        });
    }
    fn control(&mut self, control: Control) {
        self.0.take(control);
    }
    fn drive(&mut self, dry: bool) -> Flow {
        self.0.drive_all(dry)
    }
}
