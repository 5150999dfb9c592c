//! Accounts with a small transaction and a large one right behind it.

use crate::conformance::bench::Bench;
use crate::conformance::event::{Event, Output};
use serde_json::json;
use thalweg::prelude::*;

pub(super) fn build(
    bench: &Bench<'_>,
    events: DataStream<Event>,
    (small, large): (i64, i64),
    within_ms: i64,
) {
    let detector = Detector { small, large, within_ms, timer: ValueState::default() };
    bench.outputs("main", events.key_by_ref(|event| &event.key).process(detector));
}

#[derive(Clone)]
struct Detector {
    small: i64,
    large: i64,
    within_ms: i64,
    /// There while the last transaction was small: when it will be forgotten.
    timer: ValueState<i64>,
}

impl KeyedProcessFunction for Detector {
    type Key = String;
    type In = Event;
    type Out = Output;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.timer = context.value_state(ValueStateDescriptor::new("timer"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        transaction: Event,
        context: &mut Context<'_, String>,
        out: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        let Event { key, v, .. } = transaction;
        if let Some(at_ms) = self.timer.take(context)? {
            if v > self.large {
                out.collect(Output::new(&json!({"account": key, "amount": v})));
            }
            context.timer_service().delete_processing_time_timer(at_ms);
        }
        if v < self.small {
            let mut timers = context.timer_service();
            let at_ms = timers.current_processing_time().saturating_add(self.within_ms);
            timers.register_processing_time_timer(at_ms);
            self.timer.update(context, at_ms)?;
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        _: i64,
        context: &mut OnTimerContext<'_, String>,
        _: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        Ok(self.timer.clear(context)?)
    }
}
