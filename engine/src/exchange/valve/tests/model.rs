//! The valves against plain models that recompute everything from what each input has said.

use super::*;

/// How many random controls each model sees.
const STEPS: usize = 1_000_000;

/// Steps of one script, so that all kinds of beginnings are seen.
const SCRIPT_STEPS: usize = 80;

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) % n
    }

    fn control(&mut self) -> Control {
        match self.below(12) {
            0 | 1 => Status(Idle),
            2 | 3 => Status(Active),
            4 if self.below(50) == 0 => Watermark(i64::MAX),
            _ => Watermark(self.below(60) as i64),
        }
    }
}

/// What each input of one kind has said, and what was answered.
#[derive(Clone)]
struct Union {
    marks: Vec<i64>,
    active: Vec<bool>,
    caught_up: Vec<bool>,
    out: i64,
}

impl Union {
    fn new(inputs: usize) -> Self {
        let (marks, yes) = (vec![i64::MIN; inputs], vec![true; inputs]);
        Union { marks, active: yes.clone(), caught_up: yes, out: i64::MIN }
    }

    fn on(&mut self, i: usize, control: Control) -> Vec<Control> {
        let was_active = self.active.contains(&true);
        let held = self.marks[i] == self.out;
        let asks = match control {
            Watermark(w) if self.active[i] && w > self.marks[i] => {
                self.marks[i] = w;
                self.caught_up[i] |= w >= self.out;
                true
            }
            Status(Idle) if self.active[i] => {
                self.active[i] = false;
                held
            }
            Status(Active) if !self.active[i] => {
                self.active[i] = true;
                self.caught_up[i] = self.marks[i] >= self.out;
                false
            }
            _ => false,
        };
        let is_active = self.active.contains(&true);
        let counts = |j: &usize| !is_active || (self.active[*j] && self.caught_up[*j]);
        let counted = (0..self.marks.len()).filter(counts).map(|j| self.marks[j]);
        let found = if is_active { counted.min() } else { counted.max() };
        let mut said = Vec::new();
        if let Some(found) = found.filter(|w| asks && *w > self.out) {
            self.out = found;
            said.push(Watermark(found));
        }
        if was_active != is_active {
            said.push(Status(if is_active { Active } else { Idle }));
        }
        said
    }
}

fn collect(valve: &mut Valve, input: usize, control: Control) -> Vec<Control> {
    let mut got = Vec::new();
    valve.on(input, control, |c| got.push(c));
    assert!(got.len() <= 3, "at most three controls result from one: {got:?}");
    got
}

#[test]
fn a_million_random_controls_agree_with_a_plain_model() {
    let mut random = Random(1);
    for _ in 0..STEPS / SCRIPT_STEPS {
        let inputs = 2 + random.below(4) as usize;
        let (mut valve, mut model) = (Valve::new(inputs), Union::new(inputs));
        for step in 0..SCRIPT_STEPS {
            let (input, control) = (random.below(inputs as u64) as usize, random.control());
            let got = collect(&mut valve, input, control);
            assert_eq!(got, model.on(input, control), "{control:?} of {input} at step {step}");
        }
    }
}

#[test]
fn a_million_random_controls_of_a_connect_agree_with_a_plain_model() {
    let mut random = Random(2);
    for _ in 0..STEPS / SCRIPT_STEPS {
        let counts = [1 + random.below(3) as usize, 1 + random.below(3) as usize];
        let mut valve = Valve::of_two_sides(counts[0], counts[1]);
        let mut unions = counts.map(Union::new);
        let (mut marks, mut idle, mut out) = ([i64::MIN; 2], [false; 2], i64::MIN);
        for step in 0..SCRIPT_STEPS {
            let side = random.below(2) as usize;
            let index = random.below(counts[side] as u64) as usize;
            let control = random.control();
            let mut expected = Vec::new();
            for said in unions[side].on(index, control) {
                let was_idle = idle == [true, true];
                match said {
                    Watermark(w) => marks[side] = w,
                    _ => idle[side] = said == Status(Idle),
                }
                let time = match idle {
                    [false, false] => marks[0].min(marks[1]),
                    [true, false] => marks[1],
                    [false, true] => marks[0],
                    [true, true] => marks[0].max(marks[1]),
                };
                if time > out {
                    out = time;
                    expected.push(Watermark(time));
                }
                let is_idle = idle == [true, true];
                if was_idle != is_idle {
                    expected.push(said);
                }
            }
            let got = collect(&mut valve, side * counts[0] + index, control);
            assert_eq!(got, expected, "{control:?} of {index} on side {side} at step {step}");
        }
    }
}
