//! The user code of simulated jobs.

use super::Row;
use super::branch::Branch;
use super::input::{Deadline, Event};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use thalweg::prelude::*;

/// Time between two reports of [`Timers`].
pub(super) const PERIOD_MS: i64 = 64;
/// How long the state of [`Expiry`] lives.
const TTL_MS: i64 = 40;

/// Counts by period in map state, reports each by a timer that is armed once more behind the last, and calls deadlines that
/// were not cancelled.
#[derive(Clone, Default)]
pub(super) struct Timers {
    counts: MapState<i64, i64>,
}

impl KeyedProcessFunction for Timers {
    type Key = i64;
    type In = Event;
    type Out = Row;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.counts = context.map_state(MapStateDescriptor::new("counts"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        event: Event,
        context: &mut Context<'_, i64>,
        _: &mut Collector<'_, Row>,
    ) -> thalweg::Result<()> {
        let period = event.at_ms.div_euclid(PERIOD_MS);
        self.counts.modify(context, &period, |count| *count += 1)?;
        let mut timers = context.timer_service();
        timers.register_event_time_timer((period + 1) * PERIOD_MS);
        match event.deadline {
            Deadline::None => {}
            Deadline::Set(at_ms) => timers.register_event_time_timer(at_ms),
            Deadline::Cancel(at_ms) => timers.delete_event_time_timer(at_ms),
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        timer_ms: i64,
        context: &mut OnTimerContext<'_, i64>,
        out: &mut Collector<'_, Row>,
    ) -> thalweg::Result<()> {
        let (branch, key) = (Branch::Timers.number(), *context.current_key());
        if timer_ms % PERIOD_MS != 0 {
            out.collect((branch, key, timer_ms, -1, 0));
            return Ok(());
        }
        let period = timer_ms / PERIOD_MS - 1;
        let count = self.counts.get(context, &period)?.unwrap_or(0);
        self.counts.remove(context, &period)?;
        if count > 0 {
            context.timer_service().register_event_time_timer(timer_ms + PERIOD_MS);
        }
        out.collect((branch, key, timer_ms, count, 0));
        Ok(())
    }
}

/// Checks by itself that state with a TTL is there as long as it must, and no longer: beside it is state without one, with the
/// time of the last write.
#[derive(Clone, Default)]
pub(super) struct Expiry {
    value: ValueState<i64>,
    entries: MapState<i64, i64>,
    /// Time of the last write and number of writes.
    written: ValueState<(i64, i64)>,
    entry_written: MapState<i64, i64>,
}

impl KeyedProcessFunction for Expiry {
    type Key = i64;
    type In = Event;
    type Out = Row;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        let ttl = StateTtl::after_ms(TTL_MS);
        self.value = context.value_state(ValueStateDescriptor::new("value").with_ttl(ttl))?;
        self.entries = context.map_state(MapStateDescriptor::new("entries").with_ttl(ttl))?;
        self.written = context.value_state(ValueStateDescriptor::new("written"))?;
        self.entry_written = context.map_state(MapStateDescriptor::new("entry written"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        event: Event,
        context: &mut Context<'_, i64>,
        out: &mut Collector<'_, Row>,
    ) -> thalweg::Result<()> {
        let now_ms = context.timer_service().current_processing_time();
        let lives = |written_ms: i64| now_ms < written_ms + TTL_MS;
        let before = self.written.value(context)?;
        let is_there = self.value.value(context)?.is_some();
        let is_wrong = is_there != before.is_some_and(|(written_ms, _)| lives(written_ms));
        let entry = event.value % 3;
        let entry_before = self.entry_written.get(context, &entry)?;
        let has_entry = self.entries.get(context, &entry)?.is_some();
        let is_entry_wrong = has_entry != entry_before.is_some_and(lives);
        self.value.modify(context, |value| *value += 1)?;
        self.entries.modify(context, &entry, |value| *value += 1)?;
        let count = before.map_or(0, |(_, count)| count) + 1;
        self.written.update(context, (now_ms, count))?;
        self.entry_written.put(context, entry, now_ms)?;
        let wrong = i64::from(is_wrong) + 2 * i64::from(is_entry_wrong);
        out.collect((Branch::Expiry.number(), event.key, count, wrong, 0));
        Ok(())
    }
}

/// Keeps all values of a key in list state, and says how many there are and their sum.
#[derive(Clone, Default)]
pub(super) struct Lists {
    values: ListState<i64>,
}

impl KeyedProcessFunction for Lists {
    type Key = i64;
    type In = Event;
    type Out = Row;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.values = context.list_state(ListStateDescriptor::new("values"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        event: Event,
        context: &mut Context<'_, i64>,
        out: &mut Collector<'_, Row>,
    ) -> thalweg::Result<()> {
        self.values.add(context, event.value)?;
        let values = self.values.get(context)?;
        let (count, sum) = (values.len() as i64, values.iter().sum());
        out.collect((Branch::Lists.number(), event.key, count, sum, 0));
        Ok(())
    }
}

/// Keeps rules in broadcast state: each says how many there are with it; events pass by, counted by key.
#[derive(Clone, Default)]
pub(super) struct Rules {
    rules: BroadcastState<i64, i64>,
    count: ValueState<i64>,
}

impl KeyedBroadcastProcessFunction for Rules {
    type Key = i64;
    type In = Event;
    type Broadcast = Event;
    type Out = Row;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.rules = context.broadcast_state(MapStateDescriptor::new("rules"))?;
        self.count = context.value_state(ValueStateDescriptor::new("count"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        event: Event,
        context: &mut KeyedReadOnlyContext<'_, i64>,
        out: &mut Collector<'_, Row>,
    ) -> thalweg::Result<()> {
        self.count.modify(context, |count| *count += 1)?;
        let count = self.count.value(context)?.unwrap_or(0);
        out.collect((Branch::Rules.number(), 1, event.key, count, 0));
        Ok(())
    }

    fn process_broadcast_element(
        &mut self,
        rule: Event,
        context: &mut KeyedBroadcastContext<'_, i64>,
        out: &mut Collector<'_, Row>,
    ) -> thalweg::Result<()> {
        self.rules.put(context, rule.number, rule.value)?;
        let (mut count, mut sum) = (0, 0);
        for (_, value) in self.rules.entries(context)? {
            (count, sum) = (count + 1, sum + value);
        }
        out.collect((Branch::Rules.number(), 0, rule.number, count, sum));
        Ok(())
    }
}

/// Ready when it was asked so many times.
pub(super) struct After(pub(super) u32);

impl Future for After {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<()> {
        match self.0 {
            0 => Poll::Ready(()),
            _ => {
                self.0 -= 1;
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}
