//! Where the inputs of a task meet: watermarks and idleness are merged, barriers aligned, the end awaited.
//!
//! Watermarks and statuses go by the rules of Flink's valves: see [`merged`] for inputs of one kind, however many unions
//! and subtasks lie behind them, and [`combined`] for the two sides of a `connect`.
//!
//! Barriers: the first one holds its input back, the last one lets all go and passes on; a newer checkpoint gives up an
//! older one; an input that has ended counts as aligned. Where results may count twice after a restart no input is held: the
//! last barrier passes on, and what came behind the first ones counts to both sides of it.
//!
//! **Invariants**
//! - The output watermark never falls.
//! - A held input is not read until its barrier is complete or given up.

mod combined;
mod merged;

use crate::record::{Barrier, Control, StreamStatus};
use combined::CombinedInputs;
use merged::MergedInputs;
use thalweg_io::{Fault, planted};

/// Where a valve puts what must go on.
trait Emit: FnMut(Control) {}
impl<F: FnMut(Control)> Emit for F {}

/// The state of inputs of one kind: watermark of each, whether it is active and counted; then what came of all.
pub(crate) type MergedState = (Vec<(i64, bool, bool)>, i64, bool);

/// The state of a valve, as a checkpoint has it: of the inputs of each kind, and of the two sides and their combination
/// where there are two.
pub(crate) type ValveState = (Vec<MergedState>, Vec<(i64, bool)>);

/// How watermarks and statuses meet.
#[derive(Debug)]
enum Merge {
    /// Inputs of one kind.
    One(MergedInputs),
    /// The two sides of a `connect`.
    Two(CombinedInputs),
}

#[derive(Clone, Copy, Debug, Default)]
struct Input {
    held: bool,
    ended: bool,
}

/// See the module docs. At most three controls result from one.
#[derive(Debug)]
pub(crate) struct Valve {
    inputs: Vec<Input>,
    merge: Merge,
    aligning: Option<Barrier>,
    last_barrier: Option<Barrier>,
    end_sent: bool,
    /// Does an input wait behind its barrier?
    holds: bool,
}

impl Valve {
    /// Inputs of one kind.
    pub(crate) fn new(inputs: usize) -> Self {
        Self::over(inputs, Merge::One(MergedInputs::new(inputs)))
    }

    /// The inputs of two sides, those of the first before those of the second.
    pub(crate) fn of_two_sides(first: usize, second: usize) -> Self {
        Self::over(first + second, Merge::Two(CombinedInputs::new(first, second)))
    }

    fn over(inputs: usize, merge: Merge) -> Self {
        let inputs = vec![Input::default(); inputs];
        Valve { inputs, merge, aligning: None, last_barrier: None, end_sent: false, holds: true }
    }

    /// What of it a checkpoint keeps: event time. Barriers that are under way are of that checkpoint's future.
    pub(crate) fn snapshot(&self) -> ValveState {
        match &self.merge {
            Merge::One(merge) => (vec![merge.snapshot()], Vec::new()),
            Merge::Two(merge) => merge.snapshot(),
        }
    }

    /// Goes on from the state of its subtask, if there are as many as there were (`own`), or from those of all.
    pub(crate) fn restore(&mut self, states: &[ValveState], own: Option<usize>) {
        if planted(Fault::WatermarkNotRestored) {
            return;
        }
        match &mut self.merge {
            Merge::One(merge) => {
                let merged = states.iter().filter_map(|state| state.0.first().cloned());
                merge.restore(&merged.collect::<Vec<_>>(), own);
            }
            Merge::Two(merge) => merge.restore(states, own),
        }
    }

    /// What it has let through that still holds: the watermark, and that all is idle.
    ///
    /// Whoever goes on from a checkpoint says it once more. With another parallelism who listens begins with the lowest of all,
    /// and from an input that is at the end of time nothing else would come.
    pub(crate) fn standing(&self) -> impl Iterator<Item = Control> + use<> {
        let (watermark_ms, is_active) = match &self.merge {
            Merge::One(merge) => merge.output(),
            Merge::Two(merge) => merge.output(),
        };
        let watermark = (watermark_ms > i64::MIN).then_some(Control::Watermark(watermark_ms));
        let idle = (!is_active).then_some(Control::Status(StreamStatus::Idle));
        watermark.into_iter().chain(idle)
    }

    /// No input waits behind its barrier.
    pub(crate) fn never_hold(&mut self) {
        self.holds = false;
    }

    /// Must this input not be read just now?
    #[inline]
    pub(crate) fn is_held(&self, input: usize) -> bool {
        self.inputs[input].held && self.holds
    }

    /// Takes a control from `input` and gives what must go on to `emit`, in order.
    pub(crate) fn on(&mut self, input: usize, control: Control, mut emit: impl FnMut(Control)) {
        match (control, &mut self.merge) {
            (Control::Watermark(ms), Merge::One(merge)) => merge.on_watermark(input, ms, &mut emit),
            (Control::Watermark(ms), Merge::Two(merge)) => merge.on_watermark(input, ms, &mut emit),
            (Control::Status(status), Merge::One(merge)) => {
                merge.on_status(input, status, &mut emit)
            }
            (Control::Status(status), Merge::Two(merge)) => {
                merge.on_status(input, status, &mut emit)
            }
            (Control::Barrier(barrier), _) => self.on_barrier(input, barrier, &mut emit),
            (Control::End, _) => {
                self.inputs[input].ended = true;
                self.complete_alignment(&mut emit);
            }
        }
        if !self.end_sent && self.aligning.is_none() && self.inputs.iter().all(|i| i.ended) {
            self.end_sent = true;
            emit(Control::End);
        }
    }

    fn on_barrier(&mut self, index: usize, barrier: Barrier, emit: &mut impl Emit) {
        let overtaken = self.last_barrier.is_some_and(|last| barrier <= last)
            || self.aligning.is_some_and(|current| barrier < current);
        if overtaken {
            return;
        }
        if self.aligning.is_some_and(|current| barrier > current) {
            self.inputs.iter_mut().for_each(|input| input.held = false);
        }
        self.aligning = Some(barrier);
        self.inputs[index].held = true;
        self.complete_alignment(emit);
    }

    fn complete_alignment(&mut self, emit: &mut impl Emit) {
        let Some(barrier) = self.aligning else { return };
        if self.inputs.iter().all(|input| input.held || input.ended) {
            self.inputs.iter_mut().for_each(|input| input.held = false);
            self.aligning = None;
            self.last_barrier = Some(barrier);
            emit(Control::Barrier(barrier));
        }
    }
}

#[cfg(test)]
mod tests;
