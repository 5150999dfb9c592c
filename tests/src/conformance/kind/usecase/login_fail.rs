//! Users whose last logins failed within some time.

use crate::conformance::bench::Bench;
use crate::conformance::event::{Event, Output};
use serde_json::json;
use thalweg::prelude::*;

pub(super) fn build(bench: &Bench<'_>, events: DataStream<Event>, count: usize, within_ms: i64) {
    let failing = Failing { count, within_ms, failures: ListState::default() };
    bench.outputs("main", events.key_by_ref(|event| &event.key).process(failing));
}

#[derive(Clone)]
struct Failing {
    count: usize,
    within_ms: i64,
    /// Timestamps of the last failures, `count` at most.
    failures: ListState<i64>,
}

impl KeyedProcessFunction for Failing {
    type Key = String;
    type In = Event;
    type Out = Output;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.failures = context.list_state(ListStateDescriptor::new("failures"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        login: Event,
        context: &mut Context<'_, String>,
        out: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        if login.s.as_deref() == Some("success") {
            return Ok(self.failures.clear(context)?);
        }
        let mut failures = self.failures.get(context)?;
        failures.push(context.timestamp().ok_or("a login without a timestamp")?);
        failures.drain(..failures.len().saturating_sub(self.count));
        if let (Some(first), Some(last), true) =
            (failures.first(), failures.last(), failures.len() == self.count)
            && last - first <= self.within_ms
        {
            let alert = json!({"user": login.key, "first": first, "last": last});
            out.collect(Output::new(&alert));
        }
        Ok(self.failures.update(context, failures)?)
    }
}
