//! `keyed_reconcile`: waits for the other stream's event of the key, until a timer.

use crate::conformance::bench::Bench;
use crate::conformance::event::{Event, Output};
use serde_json::{Value, json};
use thalweg::prelude::*;

pub(super) fn build(
    bench: &Bench<'_>,
    left: DataStream<Event>,
    right: DataStream<Event>,
    timeout_ms: i64,
) {
    let left = left.key_by_ref(|event| &event.key);
    let right = right.key_by_ref(|event| &event.key);
    let reconciled = left.connect(right).process(Reconcile::new(timeout_ms));
    bench.outputs("unmatched", reconciled.side_output(&unmatched()));
    bench.outputs("main", reconciled);
}

fn unmatched() -> OutputTag<Output> {
    OutputTag::new("unmatched")
}

/// Value and timestamp of an event that waits.
type Waiting = ValueState<(i64, i64)>;

#[derive(Clone)]
struct Reconcile {
    timeout_ms: i64,
    left: Waiting,
    right: Waiting,
}

impl Reconcile {
    fn new(timeout_ms: i64) -> Self {
        Reconcile { timeout_ms, left: Waiting::default(), right: Waiting::default() }
    }

    /// Takes the event that waits in `other`, with its timer; or has `event` wait in `own`.
    fn other_or_wait(
        &self,
        (own, other): (&Waiting, &Waiting),
        event: &Event,
        context: &mut Context<'_, String>,
    ) -> thalweg::Result<Option<i64>> {
        if let Some((v, timestamp_ms)) = other.value(context)? {
            other.clear(context)?;
            let at_ms = timestamp_ms.saturating_add(self.timeout_ms);
            context.timer_service().delete_event_time_timer(at_ms);
            return Ok(Some(v));
        }
        let timestamp_ms = context.timestamp().ok_or("an event without a timestamp")?;
        own.update(context, (event.v, timestamp_ms))?;
        let at_ms = timestamp_ms.saturating_add(self.timeout_ms);
        context.timer_service().register_event_time_timer(at_ms);
        Ok(None)
    }
}

fn matched(key: &str, left: i64, right: i64) -> Output {
    Output::new(&json!({"key": key, "l": left, "r": right}))
}

impl KeyedCoProcessFunction for Reconcile {
    type Key = String;
    type In1 = Event;
    type In2 = Event;
    type Out = Output;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.left = context.value_state(ValueStateDescriptor::new("left"))?;
        self.right = context.value_state(ValueStateDescriptor::new("right"))?;
        Ok(())
    }

    fn process_element1(
        &mut self,
        event: Event,
        context: &mut Context<'_, String>,
        out: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        if let Some(right) = self.other_or_wait((&self.left, &self.right), &event, context)? {
            out.collect(matched(&event.key, event.v, right));
        }
        Ok(())
    }

    fn process_element2(
        &mut self,
        event: Event,
        context: &mut Context<'_, String>,
        out: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        if let Some(left) = self.other_or_wait((&self.right, &self.left), &event, context)? {
            out.collect(matched(&event.key, left, event.v));
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        at_ms: i64,
        context: &mut OnTimerContext<'_, String>,
        _: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        for (side, state) in [("l", &self.left), ("r", &self.right)] {
            if let Some((v, _)) = state.value(context)? {
                let key = Value::from(context.current_key().as_str());
                let alone = json!({"key": key, side: v, "timer": at_ms});
                context.output(&unmatched(), Output::new(&alone));
                state.clear(context)?;
            }
        }
        Ok(())
    }
}
