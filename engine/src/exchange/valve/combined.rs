//! The two sides of a `connect`: each side's inputs are merged for themselves, then the sides are combined.
//!
//! The second step differs from the first, as in Flink, whose two-input operators combine their sides by
//! `CombinedWatermarkStatus` and not by a valve: **a side that comes back behind the output holds event time until it
//! has caught up**, while in a union it is left out. So `connect` keeps the order of two streams where `union` goes on.
//!
//! The output is the minimum over the active sides; when both are idle, the maximum over both, then the status.

use super::merged::MergedInputs;
use super::{Emit, MergedState, ValveState};
use crate::record::{Control, MAX_WATERMARK, StreamStatus};

#[derive(Clone, Copy, Debug)]
struct Side {
    watermark: i64,
    idle: bool,
}

/// **Invariant**: the output watermark never falls.
#[derive(Debug)]
struct CombinedSides {
    sides: [Side; 2],
    watermark: i64,
    idle: bool,
}

impl CombinedSides {
    fn on(&mut self, side: usize, control: Control, emit: &mut impl Emit) {
        let side = &mut self.sides[side];
        match control {
            Control::Watermark(watermark) => side.watermark = side.watermark.max(watermark),
            Control::Status(status) => side.idle = status == StreamStatus::Idle,
            Control::Barrier(_) | Control::End => unreachable!("a merge emits time alone"),
        }
        let active = self.sides.iter().filter(|side| !side.idle).map(|side| side.watermark).min();
        let all = self.sides.iter().map(|side| side.watermark).max();
        if let Some(watermark) = active.or(all).filter(|w| *w > self.watermark) {
            self.watermark = watermark;
            emit(Control::Watermark(watermark));
        }
        let is_idle = active.is_none();
        if std::mem::replace(&mut self.idle, is_idle) != is_idle {
            let status = if is_idle { StreamStatus::Idle } else { StreamStatus::Active };
            emit(Control::Status(status));
        }
    }
}

/// See the module docs.
#[derive(Debug)]
pub(super) struct CombinedInputs {
    first: MergedInputs,
    second: MergedInputs,
    /// How many inputs the first side has; those of the second follow.
    first_count: usize,
    sides: CombinedSides,
}

impl CombinedInputs {
    pub(super) fn new(first: usize, second: usize) -> Self {
        // A side that this subtask gets nothing from (a global exchange feeds the first one alone) has ended.
        let fresh = |inputs: usize| {
            let watermark = if inputs == 0 { MAX_WATERMARK } else { i64::MIN };
            Side { watermark, idle: false }
        };
        let sides = [fresh(first), fresh(second)];
        CombinedInputs {
            first: MergedInputs::new(first),
            second: MergedInputs::new(second),
            first_count: first,
            sides: CombinedSides { sides, watermark: i64::MIN, idle: false },
        }
    }

    /// The watermark, and whether a side is active.
    pub(super) fn output(&self) -> (i64, bool) {
        (self.sides.watermark, !self.sides.idle)
    }

    /// The states of both sides' inputs, and what the sides are combined to.
    pub(super) fn snapshot(&self) -> ValveState {
        let CombinedSides { sides: [first, second], watermark, idle } = &self.sides;
        let sides = vec![
            (first.watermark, first.idle),
            (second.watermark, second.idle),
            (*watermark, *idle),
        ];
        (vec![self.first.snapshot(), self.second.snapshot()], sides)
    }

    /// As for inputs of one kind.
    pub(super) fn restore(&mut self, states: &[ValveState], own: Option<usize>) {
        let of = |side: usize| -> Vec<MergedState> {
            states.iter().filter_map(|state| state.0.get(side).cloned()).collect()
        };
        self.first.restore(&of(0), own);
        self.second.restore(&of(1), own);
        let side = |at: usize| {
            let sides = states.iter().filter_map(|state| state.1.get(at));
            match own.and_then(|own| states.get(own)?.1.get(at)) {
                Some(side) => Some(*side),
                None => sides.copied().reduce(|a, b| (a.0.min(b.0), a.1 && b.1)),
            }
        };
        for (at, restored) in [side(0), side(1)].into_iter().enumerate() {
            if let Some((watermark, idle)) = restored {
                self.sides.sides[at] = Side { watermark, idle };
            }
        }
        if let Some((watermark, idle)) = side(2) {
            (self.sides.watermark, self.sides.idle) = (watermark, idle);
        }
    }

    pub(super) fn on_watermark(&mut self, index: usize, watermark: i64, emit: &mut impl Emit) {
        let CombinedInputs { first, second, sides, .. } = self;
        match index.checked_sub(self.first_count) {
            None => first.on_watermark(index, watermark, &mut |c| sides.on(0, c, emit)),
            Some(index) => second.on_watermark(index, watermark, &mut |c| sides.on(1, c, emit)),
        }
    }

    pub(super) fn on_status(&mut self, index: usize, status: StreamStatus, emit: &mut impl Emit) {
        let CombinedInputs { first, second, sides, .. } = self;
        match index.checked_sub(self.first_count) {
            None => first.on_status(index, status, &mut |c| sides.on(0, c, emit)),
            Some(index) => second.on_status(index, status, &mut |c| sides.on(1, c, emit)),
        }
    }
}
