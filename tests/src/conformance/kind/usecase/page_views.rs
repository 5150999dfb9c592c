//! Page views, unique visitors, and counts that late events update.

use crate::conformance::bench::Bench;
use crate::conformance::event::{Event, Output};
use crate::conformance::kind::duration;
use serde_json::json;
use thalweg::prelude::*;

pub(super) fn build_views(bench: &Bench<'_>, events: DataStream<Event>, size_ms: i64) {
    let views = events
        .key_by(|_| 0_u8)
        .window(TumblingEventTimeWindows::of(duration(size_ms)))
        .evaluation(bench.evaluation())
        .aggregate_with(Count, |_, window, pv, out| {
            let (start, end) = (window.start(), window.end());
            out.collect(Output::new(&json!({"start": start, "end": end, "pv": pv})));
        });
    bench.outputs("main", views);
}

pub(super) fn build_visitors(bench: &Bench<'_>, events: DataStream<Event>, size_ms: i64) {
    let visitors = events
        .key_by(|_| 0_u8)
        .window(TumblingEventTimeWindows::of(duration(size_ms)))
        .evaluation(bench.evaluation())
        .aggregate_with(DistinctKeys, |_, window, uv, out| {
            let (start, end) = (window.start(), window.end());
            out.collect(Output::new(&json!({"start": start, "end": end, "uv": uv})));
        });
    bench.outputs("main", visitors);
}

pub(super) fn build_late_update(
    bench: &Bench<'_>,
    events: DataStream<Event>,
    size_ms: i64,
    allowed_lateness_ms: i64,
) {
    let late = OutputTag::<Event>::new("late");
    let counts = events
        .key_by_ref(|event| &event.key)
        .window(TumblingEventTimeWindows::of(duration(size_ms)))
        .evaluation(bench.evaluation())
        .allowed_lateness(duration(allowed_lateness_ms))
        .side_output_late_data(&late)
        .aggregate_with(Count, |key, window, count, out| {
            let (start, end) = (window.start(), window.end());
            let row = json!({"key": key, "start": start, "end": end, "count": count});
            out.collect(Output::new(&row));
        });
    bench.events("late", counts.side_output(&late));
    bench.outputs("main", counts);
}

/// How many keys there are.
#[derive(Clone)]
struct DistinctKeys;

impl AggregateFunction<Event> for DistinctKeys {
    /// Sorted.
    type Accumulator = Vec<String>;
    type Result = usize;
    fn create_accumulator(&self) -> Vec<String> {
        Vec::new()
    }
    fn add(&self, keys: &mut Vec<String>, event: &Event) {
        if let Err(index) = keys.binary_search(&event.key) {
            keys.insert(index, event.key.clone());
        }
    }
    fn result(&self, keys: &Vec<String>) -> usize {
        keys.len()
    }
    fn merge(&self, into: &mut Vec<String>, other: &Vec<String>) {
        into.extend_from_slice(other);
        into.sort();
        into.dedup();
    }
}
