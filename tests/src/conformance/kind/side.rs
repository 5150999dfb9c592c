//! `side`: a process function that sends each event to the outputs that it names.

use crate::conformance::bench::Bench;
use crate::conformance::event::{Event, Output};
use crate::conformance::kind::Interpreter;
use serde::Deserialize;
use serde_json::json;
use thalweg::api::Evaluation;
use thalweg::prelude::*;

/// Events by their `s`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SideJob {
    /// The side outputs that are read.
    #[serde(default)]
    side_outputs: Vec<String>,
    /// The one that is summed in windows, to the output `side_sum`.
    sum_of_side: Option<String>,
    window_ms: Option<i64>,
}

impl SideJob {
    pub(super) fn checked(self) -> Result<Self, String> {
        match self.sum_of_side.is_some() == self.window_ms.is_some() {
            true => Ok(self),
            false => Err("sum_of_side and window_ms go together".into()),
        }
    }
}

impl Interpreter for SideJob {
    fn build(&self, bench: &Bench<'_>) {
        let routed = bench.input(0).process(Route);
        for name in &self.side_outputs {
            bench.events(name, routed.side_output(&OutputTag::<Event>::new(name.as_str())));
        }
        if let (Some(name), Some(window_ms)) = (&self.sum_of_side, self.window_ms) {
            let summed = routed.side_output(&OutputTag::<Event>::new(name.as_str()));
            bench.outputs("side_sum", sums(summed, window_ms, bench.evaluation()));
        }
        bench.events("main", routed);
    }
}

fn sums(
    events: DataStream<Event>,
    window_ms: i64,
    evaluation: Evaluation,
) -> DataStream<Output, impl Chain<Output>> {
    events
        .key_by_ref(|event| &event.key)
        .window(TumblingEventTimeWindows::of(super::duration(window_ms)))
        .evaluation(evaluation)
        .aggregate_with(SumOfV, |key, window, v, out| {
            let (start, end) = (window.start(), window.end());
            out.collect(Output::new(&json!({"key": key, "start": start, "end": end, "v": v})));
        })
}

/// Sum of `v`.
#[derive(Clone)]
struct SumOfV;

impl AggregateFunction<Event> for SumOfV {
    type Accumulator = i64;
    type Result = i64;
    fn create_accumulator(&self) -> i64 {
        0
    }
    fn add(&self, sum: &mut i64, event: &Event) {
        *sum = sum.wrapping_add(event.v);
    }
    fn result(&self, sum: &i64) -> i64 {
        *sum
    }
    fn merge(&self, into: &mut i64, other: &i64) {
        *into = into.wrapping_add(*other);
    }
}

/// Sends an event to each output of its `s`, in order.
#[derive(Clone)]
struct Route;

impl ProcessFunction for Route {
    type In = Event;
    type Out = Event;
    fn process_element(
        &mut self,
        event: Event,
        context: &mut ProcessContext<'_>,
        out: &mut Collector<'_, Event>,
    ) -> thalweg::Result<()> {
        let names = event.s.clone().unwrap_or_default();
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "main" => out.collect(event.clone()),
                _ => context.output(&OutputTag::new(name), event.clone()),
            }
        }
        Ok(())
    }
}
