//! `broadcast` and `keyed_broadcast`: rules that reach every subtask, applied to a stream of events.

use crate::conformance::bench::Bench;
use crate::conformance::event::{Event, Output};
use serde_json::{Map, Value, json};
use thalweg::prelude::*;
use thalweg::state::OperatorContextMut;

pub(super) fn build(bench: &Bench<'_>, events: DataStream<Event>, rules: DataStream<Event>) {
    let applied = events.connect_broadcast(rules.broadcast()).process(Apply::default());
    bench.outputs("main", applied);
}

pub(super) fn build_keyed(bench: &Bench<'_>, events: DataStream<Event>, rules: DataStream<Event>) {
    let keyed = events.key_by_ref(|event| &event.key);
    let applied = keyed.connect_broadcast(rules.broadcast()).process(ApplyPerKey::default());
    bench.outputs("main", applied);
}

/// Thresholds by name.
fn rules() -> MapStateDescriptor<String, i64> {
    MapStateDescriptor::new("rules")
}

/// What an event makes of the rules that it exceeds, in the order of their names.
fn exceeded(event: &Event, mut rules: Vec<(String, i64)>, out: &mut Collector<'_, Output>) {
    rules.sort();
    let Event { key, v, .. } = event;
    for (rule, threshold) in rules.into_iter().filter(|(_, threshold)| *v > *threshold) {
        let row = json!({"key": key, "v": v, "rule": rule, "threshold": threshold});
        out.collect(Output::new(&row));
    }
}

/// Sets or removes the rule that an event is.
fn change(
    event: Event,
    rules: &BroadcastState<String, i64>,
    context: &mut impl OperatorContextMut,
) -> thalweg::Result<()> {
    match event.s.as_deref() {
        Some("remove") => {
            rules.remove(context, &event.key)?;
        }
        _ => {
            rules.put(context, event.key, event.v)?;
        }
    }
    Ok(())
}

/// Applies the rules to events of no key.
#[derive(Clone, Default)]
struct Apply {
    rules: BroadcastState<String, i64>,
}

impl BroadcastProcessFunction for Apply {
    type In = Event;
    type Broadcast = Event;
    type Out = Output;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.rules = context.broadcast_state(rules())?;
        Ok(())
    }

    fn process_element(
        &mut self,
        event: Event,
        context: &mut ReadOnlyContext<'_>,
        out: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        exceeded(&event, self.rules.entries(context)?, out);
        Ok(())
    }

    fn process_broadcast_element(
        &mut self,
        event: Event,
        context: &mut ProcessContext<'_>,
        _: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        change(event, &self.rules, context)
    }
}

/// Applies the rules to events of a key, which are counted and may set timers.
#[derive(Clone, Default)]
struct ApplyPerKey {
    rules: BroadcastState<String, i64>,
    seen: ValueState<u64>,
}

impl KeyedBroadcastProcessFunction for ApplyPerKey {
    type Key = String;
    type In = Event;
    type Broadcast = Event;
    type Out = Output;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.rules = context.broadcast_state(rules())?;
        self.seen = context.value_state(ValueStateDescriptor::new("seen"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        event: Event,
        context: &mut KeyedReadOnlyContext<'_, String>,
        out: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        self.seen.modify(context, |seen| *seen += 1)?;
        if event.u > 0 {
            context.timer_service().register_event_time_timer(event.u);
        }
        exceeded(&event, self.rules.entries(context)?, out);
        Ok(())
    }

    fn process_broadcast_element(
        &mut self,
        event: Event,
        context: &mut KeyedBroadcastContext<'_, String>,
        out: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        if event.s.as_deref() != Some("count_keys") {
            return change(event, &self.rules, context);
        }
        let seen = self.seen.clone();
        context.apply_to_keyed_state(&self.seen, |key, row| {
            let count = seen.value(row)?;
            out.collect(Output::new(&json!({"key": key, "count": count})));
            Ok(())
        })
    }

    fn on_timer(
        &mut self,
        at_ms: i64,
        context: &mut OnTimerReadOnlyContext<'_, String>,
        out: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        let rules = self.rules.entries(context)?;
        let rules: Map<_, _> = rules.into_iter().map(|(rule, v)| (rule, Value::from(v))).collect();
        let key = context.current_key();
        out.collect(Output::new(&json!({"key": key, "timer": at_ms, "rules": rules})));
        Ok(())
    }
}
