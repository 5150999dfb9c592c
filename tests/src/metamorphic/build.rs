//! From a job's plan to streams.

use crate::metamorphic::Item;
use crate::metamorphic::operator::{CountSides, Digest, Elements, Sums, Timers, digest};
use crate::metamorphic::plan::{Fold, Job, Shape, Stage, Windows};
use crate::metamorphic::run::{Fault, Variant};
use std::marker::PhantomData;
use std::time::Duration;
use thalweg::api::Evaluation;
use thalweg::prelude::*;
use thalweg::testing;
use thalweg::window::{GlobalWindow, Window, WindowAssigner};

/// Folds windows of any kind.
macro_rules! fold_windows {
    ($windowed:expr, $rest:expr, $window:ty) => {{
        let (fold, lateness_ms, evaluation, sorts) = $rest;
        let digest = Digest { sorts };
        let late = OutputTag::<Item>::new("late");
        let windowed = $windowed
            .allowed_lateness(ms(lateness_ms))
            .side_output_late_data(&late)
            .evaluation(evaluation);
        let results = match fold {
            Fold::Sums => windowed
                .aggregate_with(Sums, |key, window: $window, v, out| {
                    let at = Window::max_timestamp(&window);
                    out.collect(Item { key: *key, at, v, mark: None });
                })
                .boxed(),
            Fold::Digest => windowed
                .aggregate_with(digest.clone(), |key, window: $window, v, out| {
                    let at = Window::max_timestamp(&window);
                    out.collect(Item { key: *key, at, v, mark: None });
                })
                .boxed(),
            Fold::Elements => {
                windowed.process(Elements::<$window> { digest, window: PhantomData }).boxed()
            }
        };
        let late = results.side_output(&late);
        (results, late)
    }};
}

/// Names of the outputs.
pub(super) const OUTPUTS: [&str; 2] = ["main", "late"];

impl Job {
    /// Writes the job.
    pub(super) fn build(&self, env: &StreamExecutionEnvironment, variant: &Variant) {
        let mut stream = self.head(env, variant);
        let (mut late, mut is_lone) = (None, self.shape.is_lone());
        for stage in &self.stages {
            is_lone &= stage.is_stateless();
            stream = match *stage {
                Stage::Window { windows, fold, lateness_ms } => {
                    let (results, behind) =
                        windowed(stream, windows, fold, lateness_ms, variant.evaluation());
                    late = Some(behind);
                    results
                }
                _ if is_lone => simple(stream, *stage).set_parallelism(1),
                _ => simple(stream, *stage),
            };
        }
        stream.sink_to(testing::output::<Item>()).name(OUTPUTS[0]);
        // A job without windows has nothing late; it still has the output.
        let late = late.unwrap_or_else(|| env.from_elements(Vec::<Item>::new()).boxed());
        late.sink_to(testing::output::<Item>()).name(OUTPUTS[1]);
    }

    fn head(&self, env: &StreamExecutionEnvironment, variant: &Variant) -> DataStream<Item> {
        let mut inputs = self.inputs.iter().map(|items| input(env, items.clone(), variant));
        let mut next = || inputs.next().expect("a shape has its inputs");
        match self.shape {
            Shape::Single | Shape::Spread => next(),
            Shape::Union => next().union(next()).set_parallelism(1),
            Shape::Connect => {
                let (left, right) =
                    (next().key_by(|item| item.key), next().key_by(|item| item.key));
                left.connect(right).process(CountSides::default()).boxed()
            }
            Shape::IntervalJoin { lower_ms, upper_ms } => {
                let (left, right) =
                    (next().key_by(|item| item.key), next().key_by(|item| item.key));
                let pair = |left: &Item, right: &Item| Item {
                    at: left.at.max(right.at),
                    v: digest(left.v, right.v),
                    ..*left
                };
                left.interval_join(right).between_ms(lower_ms, upper_ms).apply(pair).boxed()
            }
            Shape::WindowJoin { size_ms, slide_ms } => {
                let windows = SlidingEventTimeWindows::of(ms(size_ms), ms(slide_ms));
                let streams = next().join(next()).where_key(|left: &Item| left.key);
                let streams = streams.equal_to(|right: &Item| right.key).window(windows);
                let pair = |left: &Item, right: &Item| Item { v: digest(left.v, right.v), ..*left };
                streams.apply(pair).boxed()
            }
            Shape::CoGroup { gap_ms } => {
                let windows = EventTimeSessionWindows::with_gap(ms(gap_ms));
                let streams = next().co_group(next()).where_key(|left: &Item| left.key);
                let streams = streams.equal_to(|right: &Item| right.key).window(windows);
                streams.apply(group).boxed()
            }
        }
    }
}

/// One item of both groups, whatever their order.
fn group(lefts: &[Item], rights: &[Item], out: &mut Collector<'_, Item>) {
    let sum = |items: &[Item]| items.iter().fold(0_i64, |sum, item| sum.wrapping_add(item.v));
    let counts = digest(lefts.len() as i64, rights.len() as i64);
    if let Some(any) = lefts.first().or(rights.first()) {
        let v = digest(counts, digest(sum(lefts), sum(rights)));
        out.collect(Item { key: any.key, at: 0, v, mark: None });
    }
}

/// One subtask reads the items, so that each watermark lies between two of them.
fn input(
    env: &StreamExecutionEnvironment,
    mut items: Vec<Item>,
    variant: &Variant,
) -> DataStream<Item> {
    match variant.fault {
        None => {}
        Some(Fault::LosesARecord) => drop(items.remove(items.len() / 2)),
        Some(Fault::ChangesAValue) => {
            let middle = items.len() / 2;
            items[middle].v += 1;
        }
    }
    let strategy = WatermarkStrategy::punctuated(|item: &Item, _| item.mark)
        .with_timestamp(|item: &Item| item.at);
    env.from_elements(items).assign_timestamps_and_watermarks(strategy).set_parallelism(1)
}

fn simple(stream: DataStream<Item>, stage: Stage) -> DataStream<Item> {
    match stage {
        Stage::Map { factor } => {
            let map =
                move |item: Item| Item { v: item.v.wrapping_mul(factor).wrapping_add(1), ..item };
            stream.map(map).boxed()
        }
        Stage::Filter { modulus } => {
            stream.filter(move |item| item.v.rem_euclid(modulus) != 0).boxed()
        }
        Stage::FlatMap { copies } => {
            let copy = move |item: Item| {
                (0..copies).map(move |n| Item { v: item.v.wrapping_add(n), ..item })
            };
            stream.flat_map(copy).boxed()
        }
        Stage::Rekey { modulus } => {
            stream.map(move |item| Item { key: item.key % modulus, ..item }).boxed()
        }
        Stage::Reduce => {
            let sum = |a: Item, b: Item| Item { v: a.v.wrapping_add(b.v), ..b };
            stream.key_by(|item| item.key).reduce(sum).boxed()
        }
        Stage::Scan => {
            let scan = |all: &mut i64, item: Item| {
                *all = digest(*all, item.v);
                Item { v: *all, ..item }
            };
            stream.key_by(|item| item.key).scan(0_i64, scan).boxed()
        }
        Stage::Timers { delay_ms } => {
            stream.key_by(|item| item.key).process(Timers::new(delay_ms)).boxed()
        }
        Stage::Window { .. } => unreachable!("the caller matched it"),
    }
}

fn ms(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}

/// The results of windows, and what came too late for them.
fn windowed(
    stream: DataStream<Item>,
    windows: Windows,
    fold: Fold,
    lateness_ms: i64,
    evaluation: Evaluation,
) -> (DataStream<Item>, DataStream<Item>) {
    let sorts = matches!(windows, Windows::Session { .. });
    let rest = (fold, lateness_ms, evaluation, sorts);
    match windows {
        Windows::Tumbling { size_ms, offset_ms } => {
            let assigner = TumblingEventTimeWindows::of(ms(size_ms)).offset(ms(offset_ms));
            of_time(stream, assigner, rest)
        }
        Windows::Sliding { size_ms, slide_ms, offset_ms } => {
            let assigner = SlidingEventTimeWindows::of(ms(size_ms), ms(slide_ms));
            of_time(stream, assigner.offset(ms(offset_ms)), rest)
        }
        Windows::Session { gap_ms } => {
            of_time(stream, EventTimeSessionWindows::with_gap(ms(gap_ms)), rest)
        }
        Windows::Count { n } => {
            fold_windows!(stream.key_by(|item| item.key).count_window(n), rest, GlobalWindow)
        }
        Windows::CountSliding { n, slide } => {
            let windowed = stream.key_by(|item| item.key).count_window_sliding(n, slide);
            fold_windows!(windowed, rest, GlobalWindow)
        }
    }
}

fn of_time<A: WindowAssigner<Item, Window = TimeWindow>>(
    stream: DataStream<Item>,
    assigner: A,
    rest: (Fold, i64, Evaluation, bool),
) -> (DataStream<Item>, DataStream<Item>) {
    fold_windows!(stream.key_by(|item| item.key).window(assigner), rest, TimeWindow)
}
