//! Many inputs of one kind: watermarks by minimum, idleness left out.
//!
//! The rules are those of the `StatusWatermarkValve` of Flink 2.3:
//! 1. A watermark that is not above the one its input had, or that comes while its input is idle, is ignored.
//! 2. The output is the minimum over the *counted* inputs: those that are active and not behind the output. An input that
//!    comes back behind the output is counted again when it has caught up.
//! 3. When an input goes idle that held the output, the minimum of the others goes on; when it was the last active one, the
//!    maximum over all, and then the status.
//!
//! An input that has ended stays at the highest watermark and active, so where all others go idle event time ends, as in
//! Flink: give inputs that may fall silent behind others that end no idle timeout.

use super::{Emit, MergedState};
use crate::record::{Control, StreamStatus};
use thalweg_io::{Fault, planted};

#[derive(Clone, Copy, Debug)]
struct Input {
    watermark: i64,
    active: bool,
    /// Part of the minimum.
    counted: bool,
}

/// See the module docs.
///
/// **Invariants**
/// - The output watermark never falls, and none is emitted while all inputs are idle.
/// - A counted input is active.
#[derive(Debug)]
pub(super) struct MergedInputs {
    inputs: Vec<Input>,
    watermark: i64,
    active: bool,
}

impl MergedInputs {
    pub(super) fn new(inputs: usize) -> Self {
        let fresh = Input { watermark: i64::MIN, active: true, counted: true };
        MergedInputs { inputs: vec![fresh; inputs], watermark: i64::MIN, active: true }
    }

    pub(super) fn on_watermark(&mut self, index: usize, watermark: i64, emit: &mut impl Emit) {
        let input = &mut self.inputs[index];
        if !input.active || watermark <= input.watermark {
            return;
        }
        input.watermark = watermark;
        input.counted |= watermark >= self.watermark;
        self.emit_minimum(emit);
    }

    pub(super) fn on_status(&mut self, index: usize, status: StreamStatus, emit: &mut impl Emit) {
        if status == StreamStatus::Idle && planted(Fault::IdleHolds) {
            return;
        }
        let is_active = status == StreamStatus::Active;
        if self.inputs[index].active == is_active {
            return;
        }
        self.inputs[index].active = is_active;
        match status {
            StreamStatus::Active => self.on_active(index, emit),
            StreamStatus::Idle => self.on_idle(index, emit),
        }
    }

    /// The watermark, and whether an input is active.
    pub(super) fn output(&self) -> (i64, bool) {
        (self.watermark, self.active)
    }

    /// Its state; see [`restore`](Self::restore).
    pub(super) fn snapshot(&self) -> MergedState {
        let input = |input: &Input| (input.watermark, input.active, input.counted);
        (self.inputs.iter().map(input).collect(), self.watermark, self.active)
    }

    /// Goes on from a state, or from those of as many valves as there were subtasks when there are more or fewer now: then
    /// all inputs are at the lowest of what these valves had let through.
    pub(super) fn restore(&mut self, states: &[MergedState], own: Option<usize>) {
        let own = own.and_then(|own| states.get(own));
        if let Some((inputs, watermark, active)) = own
            && inputs.len() == self.inputs.len()
        {
            for (input, (watermark, active, counted)) in self.inputs.iter_mut().zip(inputs) {
                *input = Input { watermark: *watermark, active: *active, counted: *counted };
            }
            (self.watermark, self.active) = (*watermark, *active);
            return;
        }
        let Some(watermark) = states.iter().map(|state| state.1).min() else { return };
        self.watermark = watermark;
        self.inputs.fill(Input { watermark, active: true, counted: true });
    }

    fn on_active(&mut self, index: usize, emit: &mut impl Emit) {
        let input = &mut self.inputs[index];
        input.counted = input.watermark >= self.watermark;
        if !self.active {
            self.active = true;
            emit(Control::Status(StreamStatus::Active));
        }
    }

    fn on_idle(&mut self, index: usize, emit: &mut impl Emit) {
        let input = &mut self.inputs[index];
        input.counted = false;
        let held_the_output = input.watermark == self.watermark;
        let is_last = !self.inputs.iter().any(|input| input.active);
        match (held_the_output, is_last) {
            (true, true) => self.advance(self.inputs.iter().map(|i| i.watermark).max(), emit),
            (true, false) => self.emit_minimum(emit),
            (false, _) => {}
        }
        if is_last {
            self.active = false;
            emit(Control::Status(StreamStatus::Idle));
        }
    }

    fn emit_minimum(&mut self, emit: &mut impl Emit) {
        let counted = self.inputs.iter().filter(|i| i.counted).map(|i| i.watermark);
        self.advance(counted.min(), emit);
    }

    fn advance(&mut self, watermark: Option<i64>, emit: &mut impl Emit) {
        if let Some(watermark) = watermark.filter(|w| *w > self.watermark) {
            self.watermark = watermark;
            emit(Control::Watermark(watermark));
        }
    }
}
