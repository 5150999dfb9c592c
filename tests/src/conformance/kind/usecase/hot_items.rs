//! The items seen most in sliding windows.

use crate::conformance::bench::Bench;
use crate::conformance::event::{Event, Output};
use crate::conformance::kind::duration;
use serde_json::json;
use std::cmp::Reverse;
use thalweg::prelude::*;

/// How often an item was seen in a window.
#[thalweg::record]
#[derive(Clone, Debug)]
pub(super) struct ItemCount {
    item: String,
    start: i64,
    end: i64,
    count: u64,
}

impl ItemCount {
    fn to_output(&self) -> Output {
        let ItemCount { item, start, end, count } = self;
        Output::new(&json!({"item": item, "start": start, "end": end, "count": count}))
    }
}

pub(super) fn build(
    bench: &Bench<'_>,
    events: DataStream<Event>,
    (size_ms, slide_ms, allowed_lateness_ms): (i64, i64, i64),
    rank: Rank,
) {
    let late = OutputTag::<Event>::new("late");
    let counts = events
        .key_by_ref(|event| &event.key)
        .window(SlidingEventTimeWindows::of(duration(size_ms), duration(slide_ms)))
        .evaluation(bench.evaluation())
        .allowed_lateness(duration(allowed_lateness_ms))
        .side_output_late_data(&late)
        .aggregate_with(Count, |item, window, count, out| {
            let (start, end) = (window.start(), window.end());
            out.collect(ItemCount { item: item.clone(), start, end, count });
        });
    bench.events("late", counts.side_output(&late));
    let counts = counts.boxed();
    bench.outputs("counts", counts.clone().map(|count| count.to_output()));
    bench.outputs("main", counts.key_by(|count| count.end).process(rank));
}

/// The first `top_n` items of a window, one millisecond after its end.
#[derive(Clone)]
pub(super) struct Rank {
    top_n: usize,
    clear_after_emit: bool,
    counts: MapState<String, u64>,
}

impl Rank {
    pub(super) fn new(top_n: usize, clear_after_emit: bool) -> Self {
        Rank { top_n, clear_after_emit, counts: MapState::default() }
    }
}

impl KeyedProcessFunction for Rank {
    type Key = i64;
    type In = ItemCount;
    type Out = Output;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.counts = context.map_state(MapStateDescriptor::new("counts"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        count: ItemCount,
        context: &mut Context<'_, i64>,
        _: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        let at_ms = count.end + 1;
        self.counts.put(context, count.item, count.count)?;
        context.timer_service().register_event_time_timer(at_ms);
        Ok(())
    }

    fn on_timer(
        &mut self,
        _: i64,
        context: &mut OnTimerContext<'_, i64>,
        out: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        let end = *context.current_key();
        let mut counts = self.counts.entries(context)?;
        counts.sort_by(|a, b| (Reverse(a.1), &a.0).cmp(&(Reverse(b.1), &b.0)));
        counts.truncate(self.top_n);
        if self.clear_after_emit {
            self.counts.clear(context)?;
        }
        out.collect(Output::new(&json!({"end": end, "top": counts})));
        Ok(())
    }
}
