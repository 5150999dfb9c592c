//! Counts by key in event-time windows: tumbling (1 s), and sliding (1 h every 5 min) in slices and pane by pane; 10,000
//! keys, one subtask.
//!
//! The sliding input covers 66 minutes of event time, so that an element lies in 12 windows.

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use std::collections::HashMap;
use support::{Expected, JobBench, Tally, settings};
use thalweg::api::Evaluation;
use thalweg::prelude::*;
use thalweg::time::{BoundedOutOfOrderness, TimestampAssigner};
use thalweg_benches::digest::{mix, splitmix64};
use thalweg_benches::workload::{Event, Events};

const KEYS: u64 = 10_000;
const RECORDS: u64 = 4_000_000;

type Row = (u64, i64, u64);

fn digest((key, end, count): &Row) -> u64 {
    mix(*key, *end as u64, *count)
}

fn watermarks()
-> WatermarkStrategy<Event, BoundedOutOfOrderness, impl TimestampAssigner<Event> + Clone + Send> {
    WatermarkStrategy::bounded_out_of_orderness(milliseconds(100))
        .with_timestamp(|event: &Event| event.ts as i64)
}

/// Every window of every key, counted one element and one window at a time.
fn expected(events_per_ms: u64, size_ms: i64, slide_ms: i64) -> Expected {
    let mut counts: HashMap<(u64, i64), u64> = HashMap::new();
    let mut slices: HashMap<(u64, i64), u64> = HashMap::new();
    for i in 0..RECORDS {
        let slice = (i / events_per_ms) as i64 / slide_ms;
        *slices.entry((splitmix64(i) % KEYS, slice)).or_default() += 1;
    }
    // The size is a multiple of the slide in all of these benches.
    for ((key, slice), count) in slices {
        for window in 0..size_ms / slide_ms {
            *counts.entry((key, (slice + 1 + window) * slide_ms)).or_default() += count;
        }
    }
    counts.into_iter().map(|((key, end), count)| digest(&(key, end, count))).collect()
}

fn operator_window(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("operator_window");
    let job = |name, expected| {
        let parameter = format!("{KEYS}_keys");
        JobBench { name, parameter, parallelism: 1, records: RECORDS, expected }
    };
    let settings = settings(KEYS, RECORDS);
    job("tumbling", expected(1000, 1_000, 1_000)).measure(&mut group, |env, meter| {
        env.from_source(Events::new(&settings, meter.clone(), 1000), "events")
            .assign_timestamps_and_watermarks(watermarks())
            .key_by(|event| event.key)
            .window(TumblingEventTimeWindows::of(seconds(1)))
            .aggregate_with(Count, |key, window, n, out| out.collect((*key, window.end(), n)))
            .sink_to(Tally::new(meter, digest));
    });
    let expected = expected(1, 3_600_000, 300_000);
    let kinds = [("sliding_sliced", Evaluation::Automatic), ("sliding_panes", Evaluation::PerPane)];
    for (name, evaluation) in kinds {
        job(name, expected).measure(&mut group, |env, meter| {
            env.from_source(Events::new(&settings, meter.clone(), 1), "events")
                .assign_timestamps_and_watermarks(watermarks())
                .key_by(|event| event.key)
                .window(SlidingEventTimeWindows::of(hours(1), minutes(5)))
                .evaluation(evaluation)
                .aggregate_with(Count, |key, window, n, out| out.collect((*key, window.end(), n)))
                .sink_to(Tally::new(meter, digest));
        });
    }
    group.finish();
}

criterion_group! { name = benches; config = support::criterion(); targets = operator_window }
criterion_main!(benches);
