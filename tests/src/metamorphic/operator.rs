//! The functions of random jobs.

use crate::metamorphic::Item;
use crate::splitmix64;
use std::marker::PhantomData;
use thalweg::prelude::*;
use thalweg::window::Window;

/// A digest of two numbers, which depends on their order.
pub(super) fn digest(a: i64, b: i64) -> i64 {
    (splitmix64(a as u64 ^ splitmix64(b as u64).rotate_left(17)) >> 24) as i64
}

/// Count, sum, least and greatest: whatever the order.
#[derive(Clone)]
pub(super) struct Sums;

impl AggregateFunction<Item> for Sums {
    const SLICEABLE: bool = true;
    type Accumulator = (i64, i64, i64, i64);
    type Result = i64;
    fn create_accumulator(&self) -> Self::Accumulator {
        (0, 0, i64::MAX, i64::MIN)
    }
    fn add(&self, (count, sum, least, most): &mut Self::Accumulator, item: &Item) {
        (*count, *sum) = (*count + 1, sum.wrapping_add(item.v));
        (*least, *most) = ((*least).min(item.v), (*most).max(item.v));
    }
    fn result(&self, (count, sum, least, most): &Self::Accumulator) -> i64 {
        digest(digest(*count, *sum), digest(*least, *most))
    }
    fn merge(&self, into: &mut Self::Accumulator, other: &Self::Accumulator) {
        (into.0, into.1) = (into.0 + other.0, into.1.wrapping_add(other.1));
        (into.2, into.3) = (into.2.min(other.2), into.3.max(other.3));
    }
}

/// A digest of the elements in their order.
#[derive(Clone)]
pub(super) struct Digest {
    /// For windows that merge: in which order their elements are joined is nobody's promise.
    pub(super) sorts: bool,
}

impl Digest {
    fn of(&self, mut elements: Vec<(i64, i64)>) -> i64 {
        if self.sorts {
            elements.sort_unstable();
        }
        elements.into_iter().fold(0, |all, (at, v)| digest(digest(all, at), v))
    }
}

impl AggregateFunction<Item> for Digest {
    type Accumulator = Vec<(i64, i64)>;
    type Result = i64;
    fn create_accumulator(&self) -> Self::Accumulator {
        Vec::new()
    }
    fn add(&self, seen: &mut Self::Accumulator, item: &Item) {
        seen.push((item.at, item.v));
    }
    fn result(&self, seen: &Self::Accumulator) -> i64 {
        self.of(seen.clone())
    }
    fn merge(&self, into: &mut Self::Accumulator, other: &Self::Accumulator) {
        into.extend_from_slice(other);
    }
}

/// [`Digest`] of all elements at once.
#[derive(Clone)]
pub(super) struct Elements<W> {
    pub(super) digest: Digest,
    pub(super) window: PhantomData<fn() -> W>,
}

impl<W: Window> ProcessWindowFunction for Elements<W> {
    type Key = u32;
    type In = Item;
    type Out = Item;
    type Window = W;
    fn process(
        &mut self,
        key: &u32,
        context: &mut WindowContext<'_, W>,
        elements: &[Item],
        out: &mut Collector<'_, Item>,
    ) -> thalweg::Result<()> {
        let all = self.digest.of(elements.iter().map(|item| (item.at, item.v)).collect());
        let at = context.window().max_timestamp();
        out.collect(Item { key: *key, at, v: all, mark: None });
        Ok(())
    }
}

/// Counts the records of a key; each sets a timer, which tells the count so far.
#[derive(Clone)]
pub(super) struct Timers {
    delay_ms: i64,
    count: ValueState<i64>,
}

impl Timers {
    pub(super) fn new(delay_ms: i64) -> Self {
        Timers { delay_ms, count: ValueState::default() }
    }
}

impl KeyedProcessFunction for Timers {
    type Key = u32;
    type In = Item;
    type Out = Item;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.count = context.value_state(ValueStateDescriptor::new("count"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        item: Item,
        context: &mut Context<'_, u32>,
        out: &mut Collector<'_, Item>,
    ) -> thalweg::Result<()> {
        let count = self.count.modify(context, |count| {
            *count += 1;
            *count
        })?;
        let at_ms = item.at.saturating_add(self.delay_ms);
        context.timer_service().register_event_time_timer(at_ms);
        if count % 3 == 0 {
            context.timer_service().delete_event_time_timer(at_ms - 1);
            out.collect(Item { v: digest(count, item.v), mark: None, ..item });
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        at_ms: i64,
        context: &mut OnTimerContext<'_, u32>,
        out: &mut Collector<'_, Item>,
    ) -> thalweg::Result<()> {
        let count = self.count.value(context)?.unwrap_or(0);
        let watermark = context.timer_service().current_watermark();
        let v = digest(count, watermark);
        out.collect(Item { key: *context.current_key(), at: at_ms, v, mark: None });
        Ok(())
    }
}

/// Counts the records of each side of a key.
#[derive(Clone, Default)]
pub(super) struct CountSides {
    counts: MapState<u32, i64>,
}

impl CountSides {
    fn count(
        &self,
        side: u32,
        item: Item,
        context: &mut Context<'_, u32>,
        out: &mut Collector<'_, Item>,
    ) -> thalweg::Result<()> {
        let count = self.counts.get(context, &side)?.unwrap_or(0) + 1;
        self.counts.put(context, side, count)?;
        out.collect(Item { v: digest(item.v, count), mark: None, ..item });
        Ok(())
    }
}

impl KeyedCoProcessFunction for CountSides {
    type Key = u32;
    type In1 = Item;
    type In2 = Item;
    type Out = Item;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.counts = context.map_state(MapStateDescriptor::new("counts"))?;
        Ok(())
    }

    fn process_element1(
        &mut self,
        item: Item,
        context: &mut Context<'_, u32>,
        out: &mut Collector<'_, Item>,
    ) -> thalweg::Result<()> {
        self.count(1, item, context, out)
    }

    fn process_element2(
        &mut self,
        item: Item,
        context: &mut Context<'_, u32>,
        out: &mut Collector<'_, Item>,
    ) -> thalweg::Result<()> {
        self.count(2, item, context, out)
    }
}
