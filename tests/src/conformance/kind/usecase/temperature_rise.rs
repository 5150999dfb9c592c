//! Sensors whose temperature has not fallen for some time after it rose.

use crate::conformance::bench::Bench;
use crate::conformance::event::{Event, Output};
use crate::conformance::kind::usecase::Time;
use serde_json::json;
use thalweg::prelude::*;

pub(super) fn build(bench: &Bench<'_>, events: DataStream<Event>, rise_ms: i64, time: Time) {
    let (last, timer) = (ValueState::default(), ValueState::default());
    let rising = Rising { rise_ms, time, last, timer };
    bench.outputs("main", events.key_by_ref(|event| &event.key).process(rising));
}

#[derive(Clone)]
struct Rising {
    rise_ms: i64,
    time: Time,
    last: ValueState<i64>,
    timer: ValueState<i64>,
}

impl Rising {
    fn start(&self, context: &mut Context<'_, String>) -> thalweg::Result<()> {
        let now_ms = match self.time {
            Time::Event => context.timestamp().ok_or("a reading without a timestamp")?,
            Time::Processing => context.timer_service().current_processing_time(),
        };
        let at_ms = now_ms.saturating_add(self.rise_ms);
        match self.time {
            Time::Event => context.timer_service().register_event_time_timer(at_ms),
            Time::Processing => context.timer_service().register_processing_time_timer(at_ms),
        }
        Ok(self.timer.update(context, at_ms)?)
    }

    fn stop(&self, at_ms: i64, context: &mut Context<'_, String>) -> thalweg::Result<()> {
        match self.time {
            Time::Event => context.timer_service().delete_event_time_timer(at_ms),
            Time::Processing => context.timer_service().delete_processing_time_timer(at_ms),
        }
        Ok(self.timer.clear(context)?)
    }
}

impl KeyedProcessFunction for Rising {
    type Key = String;
    type In = Event;
    type Out = Output;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.last = context.value_state(ValueStateDescriptor::new("last"))?;
        self.timer = context.value_state(ValueStateDescriptor::new("timer"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        reading: Event,
        context: &mut Context<'_, String>,
        _: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        let last = self.last.value(context)?;
        self.last.update(context, reading.v)?;
        let Some(last) = last else { return Ok(()) };
        match self.timer.value(context)? {
            Some(at_ms) if reading.v < last => self.stop(at_ms, context),
            None if reading.v > last => self.start(context),
            _ => Ok(()),
        }
    }

    fn on_timer(
        &mut self,
        at_ms: i64,
        context: &mut OnTimerContext<'_, String>,
        out: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        let (sensor, last) = (context.current_key().clone(), self.last.value(context)?);
        let alert = json!({"sensor": sensor, "alert_at": at_ms, "last": last});
        out.collect(Output::new(&alert));
        Ok(self.timer.clear(context)?)
    }
}
