//! Where the inputs of a task meet: watermarks by minimum, idleness, barriers by alignment, the end.
//!
//! The rules for watermarks and idleness are those of Flink's `StatusWatermarkValve`: an idle input leaves the minimum;
//! when the last active input goes idle the maximum is flushed first; an input that comes back behind the output
//! stays out of the minimum until it has caught up.
//!
//! Barriers: the first one holds its input back, the last one lets all go and passes on; a newer checkpoint gives up an
//! older one; an input that has ended counts as aligned.
//!
//! **Invariants**
//! - The output watermark never falls.
//! - A held input is not read until its barrier is complete or given up.

use crate::record::{CheckpointId, Control, StreamStatus};

#[derive(Clone, Copy, Debug)]
struct Input {
    watermark: i64,
    active: bool,
    /// Part of the minimum: active and not behind the output.
    counted: bool,
    held: bool,
    ended: bool,
}

/// See the module docs. At most two controls result from one.
#[derive(Debug)]
pub(crate) struct Valve {
    inputs: Vec<Input>,
    output_watermark: i64,
    output_active: bool,
    aligning: Option<CheckpointId>,
    last_barrier: Option<CheckpointId>,
    end_sent: bool,
}

impl Valve {
    pub(crate) fn new(inputs: usize) -> Self {
        let fresh =
            Input { watermark: i64::MIN, active: true, counted: true, held: false, ended: false };
        Valve {
            inputs: vec![fresh; inputs],
            output_watermark: i64::MIN,
            output_active: true,
            aligning: None,
            last_barrier: None,
            end_sent: false,
        }
    }

    /// Must this input not be read just now?
    #[inline]
    pub(crate) fn is_held(&self, input: usize) -> bool {
        self.inputs[input].held
    }

    /// Takes a control from `input` and gives what must go on to `emit`, in order.
    pub(crate) fn on(&mut self, input: usize, control: Control, mut emit: impl FnMut(Control)) {
        match control {
            Control::Watermark(watermark) => self.on_watermark(input, watermark, &mut emit),
            Control::Status(StreamStatus::Idle) => self.on_idle(input, &mut emit),
            Control::Status(StreamStatus::Active) => self.on_active(input, &mut emit),
            Control::Barrier(id) => self.on_barrier(input, id, &mut emit),
            Control::End => {
                self.inputs[input].ended = true;
                self.complete_alignment(&mut emit);
            }
        }
        if !self.end_sent && self.aligning.is_none() && self.inputs.iter().all(|i| i.ended) {
            self.end_sent = true;
            emit(Control::End);
        }
    }

    fn on_watermark(&mut self, index: usize, watermark: i64, emit: &mut impl FnMut(Control)) {
        let input = &mut self.inputs[index];
        if !input.active || watermark <= input.watermark {
            return;
        }
        input.watermark = watermark;
        input.counted |= watermark >= self.output_watermark;
        self.emit_minimum(emit);
    }

    fn emit_minimum(&mut self, emit: &mut impl FnMut(Control)) {
        let counted = self.inputs.iter().filter(|i| i.counted).map(|i| i.watermark);
        self.emit_watermark(counted.min(), emit);
    }

    fn emit_watermark(&mut self, watermark: Option<i64>, emit: &mut impl FnMut(Control)) {
        if let Some(watermark) = watermark.filter(|w| *w > self.output_watermark) {
            self.output_watermark = watermark;
            emit(Control::Watermark(watermark));
        }
    }

    fn on_idle(&mut self, index: usize, emit: &mut impl FnMut(Control)) {
        let input = &mut self.inputs[index];
        if !input.active {
            return;
        }
        input.active = false;
        input.counted = false;
        let held_the_output = input.watermark == self.output_watermark;
        if self.inputs.iter().any(|i| i.active) {
            if held_the_output {
                self.emit_minimum(emit);
            }
            return;
        }
        if held_the_output {
            self.emit_watermark(self.inputs.iter().map(|i| i.watermark).max(), emit);
        }
        self.output_active = false;
        emit(Control::Status(StreamStatus::Idle));
    }

    fn on_active(&mut self, index: usize, emit: &mut impl FnMut(Control)) {
        let input = &mut self.inputs[index];
        if input.active {
            return;
        }
        input.active = true;
        input.counted = input.watermark >= self.output_watermark;
        if !self.output_active {
            self.output_active = true;
            emit(Control::Status(StreamStatus::Active));
        }
    }

    fn on_barrier(&mut self, index: usize, id: CheckpointId, emit: &mut impl FnMut(Control)) {
        let overtaken = self.last_barrier.is_some_and(|last| id <= last)
            || self.aligning.is_some_and(|current| id < current);
        if overtaken {
            return;
        }
        if self.aligning.is_some_and(|current| id > current) {
            self.inputs.iter_mut().for_each(|input| input.held = false);
        }
        self.aligning = Some(id);
        self.inputs[index].held = true;
        self.complete_alignment(emit);
    }

    fn complete_alignment(&mut self, emit: &mut impl FnMut(Control)) {
        let Some(id) = self.aligning else { return };
        if self.inputs.iter().all(|input| input.held || input.ended) {
            self.inputs.iter_mut().for_each(|input| input.held = false);
            self.aligning = None;
            self.last_barrier = Some(id);
            emit(Control::Barrier(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Control::{Barrier, End, Status, Watermark};
    use StreamStatus::{Active, Idle};

    fn check(inputs: usize, script: &[(usize, Control)], expected: &[Control]) {
        let mut valve = Valve::new(inputs);
        let mut seen = Vec::new();
        for &(input, control) in script {
            valve.on(input, control, |c| seen.push(c));
        }
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_minimum_goes_on_and_never_falls() {
        check(1, &[(0, Watermark(5)), (0, Watermark(5)), (0, Watermark(3))], &[Watermark(5)]);
        check(
            2,
            &[(0, Watermark(5)), (1, Watermark(3)), (1, Watermark(9))],
            &[Watermark(3), Watermark(5)],
        );
    }

    #[test]
    fn an_idle_input_leaves_the_minimum() {
        check(2, &[(0, Watermark(5)), (1, Status(Idle))], &[Watermark(5)]);
        check(
            2,
            &[(0, Watermark(5)), (1, Watermark(7)), (0, Status(Idle)), (1, Status(Idle))],
            &[Watermark(5), Watermark(7), Status(Idle)],
        );
    }

    #[test]
    fn the_last_to_go_idle_flushes_the_maximum() {
        check(
            2,
            &[(0, Watermark(9)), (0, Status(Idle)), (1, Watermark(4)), (1, Status(Idle))],
            &[Watermark(4), Watermark(9), Status(Idle)],
        );
    }

    #[test]
    fn an_input_that_comes_back_behind_stays_out_until_it_catches_up() {
        check(
            2,
            &[
                (0, Watermark(1)),
                (0, Status(Idle)),
                (1, Watermark(10)),
                (0, Status(Active)),
                (1, Watermark(12)),
                (0, Watermark(11)),
                (0, Watermark(13)),
                (1, Watermark(20)),
            ],
            &[Watermark(10), Watermark(12), Watermark(13)],
        );
    }

    #[test]
    fn the_first_to_come_back_says_active() {
        check(
            2,
            &[(0, Status(Idle)), (1, Status(Idle)), (1, Status(Active)), (0, Status(Active))],
            &[Status(Idle), Status(Active)],
        );
    }

    #[test]
    fn barriers_align_and_newer_ones_win() {
        let (b1, b2) = (Barrier(CheckpointId(1)), Barrier(CheckpointId(2)));
        check(2, &[(0, b1), (1, b1)], &[b1]);
        check(2, &[(0, b1), (1, b2), (0, b2), (1, b1)], &[b2]);
        check(2, &[(0, b1), (1, End), (0, End)], &[b1, End]);
        let mut valve = Valve::new(2);
        valve.on(0, b1, |_| panic!("not complete"));
        assert!(valve.is_held(0) && !valve.is_held(1));
        valve.on(1, b1, |_| {});
        assert!(!valve.is_held(0) && !valve.is_held(1));
    }

    #[test]
    fn the_end_comes_once_when_all_have_ended() {
        check(3, &[(1, End), (0, End), (2, End)], &[End]);
    }

    /// The thirty-line model: recompute everything from the whole history.
    #[test]
    fn random_scripts_agree_with_a_plain_model() {
        let mut seed = 1u64;
        let mut random = move |n: u64| {
            seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) % n
        };
        for _ in 0..2_000 {
            let inputs = 1 + random(4) as usize;
            let mut valve = Valve::new(inputs);
            let (mut marks, mut active) = (vec![i64::MIN; inputs], vec![true; inputs]);
            let (mut caught_up, mut out) = (vec![true; inputs], i64::MIN);
            for _ in 0..60 {
                let i = random(inputs as u64) as usize;
                let control = match random(6) {
                    0 => Status(Idle),
                    1 => Status(Active),
                    _ => Watermark(random(40) as i64),
                };
                let held = marks[i] == out;
                let mut candidate = None;
                match control {
                    Watermark(w) if active[i] && w > marks[i] => {
                        marks[i] = w;
                        caught_up[i] |= w >= out;
                        candidate = (0..inputs)
                            .filter(|&j| active[j] && caught_up[j])
                            .map(|j| marks[j])
                            .min();
                    }
                    Status(Idle) if active[i] => {
                        active[i] = false;
                        if active.contains(&true) && held {
                            candidate = (0..inputs)
                                .filter(|&j| active[j] && caught_up[j])
                                .map(|j| marks[j])
                                .min();
                        } else if held {
                            candidate = marks.iter().copied().max();
                        }
                    }
                    Status(Active) if !active[i] => {
                        active[i] = true;
                        caught_up[i] = marks[i] >= out;
                    }
                    _ => {}
                }
                let expected = candidate.filter(|w| *w > out);
                out = expected.unwrap_or(out);
                let mut got = None;
                valve.on(i, control, |c| {
                    if let Watermark(w) = c {
                        got = Some(w);
                    }
                });
                assert_eq!(got, expected);
            }
        }
    }
}
