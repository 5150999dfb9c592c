//! `connect`: functions of two streams, with keys and without, and with one of them broadcast.

use crate::conformance::bench::Bench;
use crate::conformance::event::{Event, Output};
use crate::conformance::kind::{Interpreter, broadcast, reconcile};
use serde::Deserialize;
use serde_json::json;
use thalweg::prelude::*;

/// What two connected streams do.
#[derive(Debug, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum ConnectJob {
    CoMap {},
    CoFlatMap {},
    KeyedSwitch {},
    KeyedReconcile { timeout_ms: i64 },
    KeyedBroadcast {},
    Broadcast {},
}

impl Interpreter for ConnectJob {
    fn inputs(&self) -> usize {
        2
    }

    fn build(&self, bench: &Bench<'_>) {
        let (left, right) = (bench.input(0), bench.input(1));
        match self {
            ConnectJob::CoMap {} => {
                let mapped =
                    left.connect(right).map(|event| from(0, &event), |event| from(1, &event));
                bench.outputs("main", mapped);
            }
            ConnectJob::CoFlatMap {} => {
                bench.outputs("main", left.connect(right).flat_map_with(CopiesAndEven));
            }
            ConnectJob::KeyedSwitch {} => {
                let (left, right) = (left.key_by_ref(|e| &e.key), right.key_by_ref(|e| &e.key));
                bench.outputs("main", left.connect(right).process(Switch::default()));
            }
            ConnectJob::KeyedReconcile { timeout_ms } => {
                reconcile::build(bench, left, right, *timeout_ms);
            }
            ConnectJob::KeyedBroadcast {} => broadcast::build_keyed(bench, left, right),
            ConnectJob::Broadcast {} => broadcast::build(bench, left, right),
        }
    }
}

/// `{from, key, v}`.
fn from(input: usize, event: &Event) -> Output {
    Output::new(&json!({"from": input, "key": event.key, "v": event.v}))
}

/// Copies events of the first stream `v` times, passes those of the second whose `v` is even.
#[derive(Clone)]
struct CopiesAndEven;

impl CoFlatMapFunction for CopiesAndEven {
    type In1 = Event;
    type In2 = Event;
    type Out = Output;

    fn flat_map1(&mut self, event: Event, out: &mut Collector<'_, Output>) -> thalweg::Result<()> {
        let Event { key, v, .. } = event;
        (0..v).for_each(|i| {
            out.collect(Output::new(&json!({"from": 0, "key": key, "v": v, "i": i})))
        });
        Ok(())
    }

    fn flat_map2(&mut self, event: Event, out: &mut Collector<'_, Output>) -> thalweg::Result<()> {
        if event.v % 2 == 0 {
            out.collect(from(1, &event));
        }
        Ok(())
    }
}

/// The second stream blocks keys of the first.
#[derive(Clone, Default)]
struct Switch {
    is_blocked: ValueState<bool>,
}

impl KeyedCoProcessFunction for Switch {
    type Key = String;
    type In1 = Event;
    type In2 = Event;
    type Out = Output;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.is_blocked = context.value_state(ValueStateDescriptor::new("blocked"))?;
        Ok(())
    }

    fn process_element1(
        &mut self,
        event: Event,
        context: &mut Context<'_, String>,
        out: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        if !self.is_blocked.value(context)?.unwrap_or(false) {
            out.collect(from(0, &event));
        }
        Ok(())
    }

    fn process_element2(
        &mut self,
        event: Event,
        context: &mut Context<'_, String>,
        _: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        Ok(self.is_blocked.update(context, event.v != 0)?)
    }
}
