//! Orders that are paid in time, late, or never, whichever of the two events comes first.

use crate::conformance::bench::Bench;
use crate::conformance::event::{Event, Output};
use serde_json::json;
use thalweg::prelude::*;

pub(super) fn build(bench: &Bench<'_>, events: DataStream<Event>, timeout_ms: i64) {
    let (created, paid) = (ValueState::default(), ValueState::default());
    let orders = Orders { timeout_ms, created, paid };
    let orders = events.key_by_ref(|event| &event.key).process(orders);
    bench.outputs("timeout", orders.side_output(&timeout()));
    bench.outputs("main", orders);
}

fn timeout() -> OutputTag<Output> {
    OutputTag::new("timeout")
}

fn status(order: &str, status: &str) -> Output {
    Output::new(&json!({"order": order, "status": status}))
}

#[derive(Clone)]
struct Orders {
    timeout_ms: i64,
    /// Timestamp of the creation that waits for its payment.
    created: ValueState<i64>,
    /// Timestamp of the payment that waits for its creation.
    paid: ValueState<i64>,
}

impl Orders {
    fn create(
        &self,
        order: &str,
        created_ms: i64,
        context: &mut Context<'_, String>,
        out: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        if let Some(paid_ms) = self.paid.take(context)? {
            context.timer_service().delete_event_time_timer(paid_ms);
            out.collect(status(order, "paid"));
            return Ok(());
        }
        self.created.update(context, created_ms)?;
        let at_ms = created_ms.saturating_add(self.timeout_ms);
        context.timer_service().register_event_time_timer(at_ms);
        Ok(())
    }

    fn pay(
        &self,
        order: &str,
        paid_ms: i64,
        context: &mut Context<'_, String>,
        out: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        let Some(created_ms) = self.created.take(context)? else {
            self.paid.update(context, paid_ms)?;
            context.timer_service().register_event_time_timer(paid_ms);
            return Ok(());
        };
        let limit_ms = created_ms.saturating_add(self.timeout_ms);
        context.timer_service().delete_event_time_timer(limit_ms);
        match paid_ms < limit_ms {
            true => out.collect(status(order, "paid")),
            false => context.output(&timeout(), status(order, "paid_late")),
        }
        Ok(())
    }
}

impl KeyedProcessFunction for Orders {
    type Key = String;
    type In = Event;
    type Out = Output;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.created = context.value_state(ValueStateDescriptor::new("created"))?;
        self.paid = context.value_state(ValueStateDescriptor::new("paid"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        event: Event,
        context: &mut Context<'_, String>,
        out: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        let timestamp_ms = context.timestamp().ok_or("an order without a timestamp")?;
        match event.s.as_deref() {
            Some("create") => self.create(&event.key, timestamp_ms, context, out),
            Some("pay") => self.pay(&event.key, timestamp_ms, context, out),
            other => Err(format!("an order is created or paid, not {other:?}").into()),
        }
    }

    fn on_timer(
        &mut self,
        _: i64,
        context: &mut OnTimerContext<'_, String>,
        _: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        let order = context.current_key().clone();
        let paid = self.paid.take(context)?.is_some();
        self.created.clear(context)?;
        let what = if paid { "paid_not_created" } else { "unpaid" };
        context.output(&timeout(), status(&order, what));
        Ok(())
    }
}
