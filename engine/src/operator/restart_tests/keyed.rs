//! Process functions with timers, scan, reduce, interval joins, broadcast.

use super::{Run, Step, clock, input, record, watermark};
use crate::prelude::*;
use crate::testing;

/// Counts, remembers in a list and a map, and tells all of it at timers of both domains.
#[derive(Clone, Default)]
struct Busy {
    count: ValueState<u64>,
    values: ListState<i64>,
    seen: MapState<i64, u64>,
}

type Told = (u32, i64, String);

impl KeyedProcessFunction for Busy {
    type Key = u32;
    type In = (u32, i64);
    type Out = Told;
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> crate::Result<()> {
        self.count = context.value_state(ValueStateDescriptor::new("count"))?;
        self.values = context.list_state(ListStateDescriptor::new("values"))?;
        self.seen = context.map_state(MapStateDescriptor::new("seen"))?;
        Ok(())
    }
    fn process_element(
        &mut self,
        (key, value): (u32, i64),
        context: &mut Context<'_, u32>,
        out: &mut Collector<'_, Told>,
    ) -> crate::Result<()> {
        let count = self.count.modify(context, |count| {
            *count += 1;
            *count
        })?;
        self.values.add(context, value)?;
        self.seen.put(context, value % 3, count)?;
        if value % 4 == 0 {
            self.seen.remove(context, &1)?;
        }
        let at = context.timestamp_ms();
        // Timers of many keys at the same time.
        context.timer_service().register_event_time_timer(at / 10 * 10 + 20);
        context.timer_service().register_processing_time_timer((at / 10 + 2) * 100);
        if value % 5 == 0 {
            context.timer_service().delete_event_time_timer(at / 10 * 10 + 10);
        }
        let watermark = context.timer_service().current_watermark();
        out.collect((key, value, format!("{count} at {watermark}")));
        Ok(())
    }
    fn on_timer(
        &mut self,
        at: i64,
        context: &mut OnTimerContext<'_, u32>,
        out: &mut Collector<'_, Told>,
    ) -> crate::Result<()> {
        let values = self.values.get(context)?;
        let mut seen = self.seen.entries(context)?;
        seen.sort_unstable();
        let domain = context.time_domain();
        out.collect((*context.current_key(), at, format!("{domain:?} {values:?} {seen:?}")));
        if at % 3 == 0 {
            self.values.clear(context)?;
            self.seen.clear(context)?;
        }
        if at % 7 == 0 {
            self.count.clear(context)?;
        }
        Ok(())
    }
}

/// Records of a few keys with watermarks between, and the clock.
fn steps() -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for n in 0..18_i64 {
        let key = [3_u32, 1, 7, 1, 2, 9, 3][n as usize % 7];
        steps.push(record("in", n as usize, (key, n), 4 * n));
        match n % 4 {
            2 => steps.push(watermark(&["in"], 4 * n - 6)),
            3 => steps.push(clock(n * 25)),
            _ => {}
        }
    }
    steps.push(watermark(&["in"], 200));
    steps.push(clock(10_000));
    steps
}

#[test]
fn process_functions_with_timers() {
    let write = |env: &StreamExecutionEnvironment| {
        let numbers = input::<(u32, i64)>(env, "in");
        let told = numbers.key_by(|(key, _)| *key).process(Busy::default());
        told.sink_to(testing::output()).name("out");
    };
    Run { write, steps: steps() }.check::<Told>();
}

#[test]
fn scans_and_reductions() {
    let write = |env: &StreamExecutionEnvironment| {
        let numbers = input::<(u32, i64)>(env, "in");
        let sums = numbers.key_by(|(key, _)| *key).scan(0, |sum, (key, n)| {
            *sum += n;
            (key, *sum)
        });
        let largest = sums.key_by(|(key, _)| *key % 2).reduce(|a, b| (a.0.max(b.0), a.1 + b.1));
        largest.sink_to(testing::output()).name("out");
    };
    Run { write, steps: steps() }.check::<(u32, i64)>();
}

#[test]
fn interval_joins() {
    let write = |env: &StreamExecutionEnvironment| {
        let left = input::<(u32, i64)>(env, "left");
        let right = input::<(u32, i64)>(env, "right");
        let (left, right) = (left.key_by(|(key, _)| *key), right.key_by(|(key, _)| *key));
        let pairs =
            left.interval_join(right).between(before(milliseconds(12)), after(milliseconds(8)));
        let pairs = pairs.apply(|a: &(u32, i64), b: &(u32, i64)| (a.0, a.1, b.1));
        pairs.sink_to(testing::output()).name("out");
    };
    let mut steps: Vec<Step> = Vec::new();
    for n in 0..20_i64 {
        let side = if n % 3 == 0 { "right" } else { "left" };
        steps.push(record(side, n as usize, (n as u32 % 2, n), 3 * n));
        if n % 5 == 4 {
            steps.push(watermark(&["left", "right"], 3 * n - 10));
        }
    }
    Run { write, steps }.check::<(u32, i64, i64)>();
}
