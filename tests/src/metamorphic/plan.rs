//! Jobs as data, and what may follow what.

use crate::Random;
use crate::metamorphic::Item;
use crate::metamorphic::input::{Lateness, items};

/// A random job with its input.
#[derive(Clone, Debug)]
pub struct Job {
    pub(super) shape: Shape,
    pub(super) stages: Vec<Stage>,
    pub(super) inputs: Vec<Vec<Item>>,
}

/// How the inputs meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// There is one.
    Single,
    /// There is one, whose records go to all subtasks in turn.
    Spread,
    /// Two of different keys in one stream.
    Union,
    /// Two by key, each counted by itself.
    Connect,
    /// Pairs of a key that lie close in time.
    IntervalJoin { lower_ms: i64, upper_ms: i64 },
    /// Pairs of a key that share a window.
    WindowJoin { size_ms: i64, slide_ms: i64 },
    /// The groups of a key and a window.
    CoGroup { gap_ms: i64 },
}

/// An operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Map {
        factor: i64,
    },
    Filter {
        modulus: i64,
    },
    FlatMap {
        copies: i64,
    },
    /// Another key, shared by several.
    Rekey {
        modulus: u32,
    },
    /// The running sum of a key.
    Reduce,
    /// The running digest of a key, which depends on the order of its records.
    Scan,
    /// Counts a key and tells by timers.
    Timers {
        delay_ms: i64,
    },
    Window {
        windows: Windows,
        fold: Fold,
        lateness_ms: i64,
    },
}

/// Windows by key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Windows {
    Tumbling { size_ms: i64, offset_ms: i64 },
    Sliding { size_ms: i64, slide_ms: i64, offset_ms: i64 },
    Session { gap_ms: i64 },
    Count { n: u64 },
    CountSliding { n: u64, slide: u64 },
}

/// What becomes of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fold {
    /// Does not depend on the order; may be computed in slices.
    Sums,
    /// Depends on the order.
    Digest,
    /// Of all elements at once, by their order.
    Elements,
}

/// What is known of a stream, whatever the parallelism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Knowledge {
    /// The records of a key come in one order. Not behind what merges keys or joins, nor where records go in turn.
    is_ordered: bool,
    /// Each record comes between the same two watermarks of one channel: before the first exchange by key of a single input.
    /// Behind it a subtask's watermark is the minimum of several, which may lag.
    is_exact: bool,
    /// Records have times, none of which is late. Not behind windows that count, whose results are at the end of time, nor
    /// behind timers that were set for the past.
    is_timed: bool,
    /// Records are not even next to the watermark before them: their time is at least two milliseconds after it. A session
    /// that ends where a record begins takes it if it has not fired yet, so behind a watermark that may lag sessions need it.
    /// Not behind windows and timers, whose results may lie right behind the watermark before.
    is_clear: bool,
}

impl Knowledge {
    const OF_ONE_INPUT: Knowledge =
        Knowledge { is_ordered: true, is_exact: true, is_timed: true, is_clear: true };

    /// What is known behind an operator by key; nothing if its output may depend on how it is run.
    fn behind(self, stage: Stage) -> Option<Knowledge> {
        let behind = Knowledge { is_exact: false, ..self };
        match stage {
            Stage::Timers { delay_ms } => {
                let next = Knowledge {
                    is_timed: self.is_timed && delay_ms >= 0,
                    is_clear: false,
                    ..behind
                };
                (self.is_ordered && self.is_exact && self.is_timed).then_some(next)
            }
            Stage::Window {
                windows: Windows::Count { .. } | Windows::CountSliding { .. }, ..
            } => {
                self.is_ordered.then_some(Knowledge { is_timed: false, is_clear: false, ..behind })
            }
            Stage::Window { windows, fold, .. } => {
                let is_session = matches!(windows, Windows::Session { .. });
                let fires_alike = self.is_timed && (!is_session || self.is_exact || self.is_clear);
                let folds_alike = self.is_ordered || fold == Fold::Sums;
                (fires_alike && folds_alike).then_some(Knowledge { is_clear: false, ..behind })
            }
            _ => self.is_ordered.then_some(behind),
        }
    }
}

impl Job {
    /// The job of this seed.
    pub fn random(seed: u64) -> Job {
        let mut random = Random::new(seed);
        let has_late = random.once_in(3);
        let shape = match has_late {
            true => Shape::Single,
            false => Shape::random(&mut random),
        };
        let lateness = if has_late { Lateness::Some } else { Lateness::None };
        let count = if matches!(shape, Shape::Single | Shape::Spread) { 1 } else { 2 };
        let inputs = (0..count)
            .map(|index| match shape {
                // Even keys in one, odd ones in the other.
                Shape::Union => items(&mut random, lateness, |key| 2 * key + index),
                _ => items(&mut random, lateness, |key| key),
            })
            .collect();
        let stages = match has_late {
            true => late_stages(&mut random),
            false => stages(&mut random, shape.knowledge()),
        };
        Job { shape, stages, inputs }
    }
}

impl Shape {
    fn random(random: &mut Random) -> Shape {
        match random.below(9) {
            0 => Shape::Union,
            1 => Shape::Connect,
            4 => Shape::Spread,
            5 => {
                let size_ms = random.between(1, 20);
                Shape::WindowJoin {
                    size_ms,
                    slide_ms: random.between((size_ms / 2).max(1), size_ms),
                }
            }
            6 => Shape::CoGroup { gap_ms: random.between(1, 10) },
            2 | 3 => {
                let lower_ms = random.between(-20, 5);
                Shape::IntervalJoin { lower_ms, upper_ms: lower_ms + random.between(0, 20) }
            }
            _ => Shape::Single,
        }
    }

    /// Do its records pass one subtask until they meet the first operator by key? Going from one to several they would be
    /// spread, and the order of a key be lost.
    pub(super) fn is_lone(self) -> bool {
        matches!(self, Shape::Single | Shape::Union)
    }

    fn knowledge(self) -> Knowledge {
        match self {
            Shape::Single => Knowledge::OF_ONE_INPUT,
            Shape::Union => Knowledge { is_exact: false, ..Knowledge::OF_ONE_INPUT },
            Shape::Spread | Shape::Connect | Shape::IntervalJoin { .. } => {
                Knowledge { is_ordered: false, is_exact: false, ..Knowledge::OF_ONE_INPUT }
            }
            Shape::WindowJoin { .. } | Shape::CoGroup { .. } => {
                Knowledge { is_ordered: false, is_exact: false, is_timed: true, is_clear: false }
            }
        }
    }
}

impl Stage {
    pub(super) fn is_stateless(self) -> bool {
        use Stage::{Filter, FlatMap, Map, Rekey};
        matches!(self, Map { .. } | Filter { .. } | FlatMap { .. } | Rekey { .. })
    }
}

/// One operator by key, which alone sees late records, among stateless ones.
fn late_stages(random: &mut Random) -> Vec<Stage> {
    let known = Knowledge::OF_ONE_INPUT;
    let mut stages = Vec::new();
    add_stateless(random, &mut stages);
    let (mut stage, _) = keyed(random, known);
    if let Stage::Window { lateness_ms, .. } = &mut stage {
        *lateness_ms = if random.once_in(2) { 0 } else { random.between(1, 30) };
    }
    stages.push(stage);
    add_stateless(random, &mut stages);
    stages
}

fn stages(random: &mut Random, mut known: Knowledge) -> Vec<Stage> {
    let mut stages = Vec::new();
    for _ in 0..random.between(1, 3) {
        add_stateless(random, &mut stages);
        if random.once_in(4) {
            stages.push(Stage::Rekey { modulus: random.between(1, 4) as u32 });
            known.is_ordered = false;
        }
        if !known.is_ordered && !known.is_timed {
            break;
        }
        let (stage, next) = keyed(random, known);
        stages.push(stage);
        known = next;
    }
    add_stateless(random, &mut stages);
    stages
}

fn add_stateless(random: &mut Random, stages: &mut Vec<Stage>) {
    for _ in 0..random.below(3) {
        stages.push(match random.below(4) {
            0 => Stage::Filter { modulus: random.between(3, 9) },
            1 => Stage::FlatMap { copies: random.between(1, 3) },
            _ => Stage::Map { factor: random.between(-3, 3) },
        });
    }
}

/// An operator by key for such a stream, and what is known behind it.
fn keyed(random: &mut Random, known: Knowledge) -> (Stage, Knowledge) {
    loop {
        let stage = match random.below(8) {
            0 => Stage::Reduce,
            1 => Stage::Scan,
            2 => Stage::Timers { delay_ms: random.between(-5, 40) },
            _ => Stage::Window { windows: windows(random), fold: fold(random), lateness_ms: 0 },
        };
        if let Some(next) = known.behind(stage) {
            return (stage, next);
        }
    }
}

fn windows(random: &mut Random) -> Windows {
    let size_ms = random.between(1, 60);
    match random.below(6) {
        0 => Windows::Tumbling { size_ms, offset_ms: random.between(0, size_ms - 1) },
        1 | 2 => {
            let slide_ms = random.between(size_ms.div_euclid(4).max(1), size_ms + 10);
            Windows::Sliding { size_ms, slide_ms, offset_ms: random.between(0, slide_ms - 1) }
        }
        3 => Windows::Session { gap_ms: random.between(1, 15) },
        4 => Windows::Count { n: random.between(1, 6) as u64 },
        _ => Windows::CountSliding {
            n: random.between(1, 6) as u64,
            slide: random.between(1, 6) as u64,
        },
    }
}

fn fold(random: &mut Random) -> Fold {
    match random.below(4) {
        0 => Fold::Digest,
        1 => Fold::Elements,
        _ => Fold::Sums,
    }
}
