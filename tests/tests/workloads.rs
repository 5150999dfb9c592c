//! The benchmark workloads w1, w2, w3, w4 and w7 at small sizes, against digests that plain Python computed
//! (`data/w_reference.csv`, see `data/README.md`).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;
use thalweg::api::Evaluation;
use thalweg::prelude::*;
use thalweg_tests::{On, matrix, splitmix64};

matrix![
    w1_running_sums,
    w2_tumbling_counts,
    w3_hot_keys,
    w4_sessions,
    w4_sessions_by_the_general_operator,
    w7_records_with_heap_data,
];

/// A line of the reference.
struct Reference {
    keys: u64,
    events: u64,
    rows: usize,
    checksum: Option<u64>,
    last: Option<u64>,
}

/// The smallest run of a workload.
fn reference(workload: &str) -> Reference {
    let table = include_str!("../data/w_reference.csv");
    let digest = |text: &str| u64::from_str_radix(text, 16).ok();
    let lines = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let lines = lines.filter(|line| line[0] == workload).map(|line| Reference {
        keys: line[1].parse().unwrap(),
        events: line[2].parse().unwrap(),
        rows: line[3].parse().unwrap(),
        checksum: digest(line[4]),
        last: digest(line[5]),
    });
    lines.min_by_key(|line| line.events).unwrap()
}

fn mix(a: u64, b: u64, c: u64) -> u64 {
    splitmix64(a.wrapping_add(splitmix64(b.wrapping_add(splitmix64(c)))))
}

fn wrapping_sum(digests: impl Iterator<Item = u64>) -> u64 {
    digests.fold(0, u64::wrapping_add)
}

#[thalweg::record]
#[derive(Clone, Copy, Debug)]
struct Event {
    key: u64,
    ts: u64,
    value: u64,
}

/// Subtask s of p emits the events i with i % p = s.
fn events(
    env: &StreamExecutionEnvironment,
    of: &Reference,
    events_per_ms: u64,
) -> DataStream<Event, impl Chain<Event> + use<>> {
    let (keys, count) = (of.keys, of.events);
    env.from_parallel(move |ctx| {
        let mine = (ctx.subtask_index as u64..count).step_by(ctx.parallelism);
        mine.map(move |i| {
            let r = splitmix64(i);
            Event { key: r % keys, ts: i / events_per_ms, value: r >> 48 }
        })
    })
}

fn w1_running_sums(on: On) {
    let (env, of) = (on.env(), reference("w1"));
    let out = events(&env, &of, 1_000)
        .key_by(|event| event.key)
        .scan(0u64, |sum, event| {
            *sum += event.value;
            (event.key, *sum)
        })
        .collect();
    env.execute("w1").unwrap();
    let rows = out.take();
    assert_eq!(rows.len(), of.rows);
    if on.parallelism == 1 {
        assert_eq!(Some(wrapping_sum(rows.iter().map(|(key, sum)| key ^ sum))), of.checksum);
    }
    let mut last: HashMap<u64, (u64, u64)> = HashMap::new();
    for (key, sum) in rows {
        let entry = last.entry(key).or_default();
        *entry = (sum, entry.1 + 1);
    }
    let last = wrapping_sum(last.into_iter().map(|(key, (sum, count))| mix(key, sum, count)));
    assert_eq!(Some(last), of.last);
}

fn w2_tumbling_counts(on: On) {
    let (env, of) = (on.env(), reference("w2"));
    let watermarks = WatermarkStrategy::bounded_out_of_orderness(milliseconds(100));
    let out = events(&env, &of, 1_000)
        .assign_timestamps_and_watermarks(
            watermarks.with_timestamp(|event: &Event| event.ts as i64),
        )
        .key_by(|event| event.key)
        .window(TumblingEventTimeWindows::of(seconds(1)))
        .aggregate_with(Count, |key, window, count, out| {
            out.collect((*key, window.end() as u64, count));
        })
        .collect();
    let job = env.execute("w2").unwrap();
    let rows = out.take();
    // What one subtask has ready may run ahead of another by more than the allowed disorder: then nothing may be lost,
    // for the watermark is the minimum of both.
    assert_eq!(job.metrics.vertices.iter().map(|v| v.total.late_records_dropped).sum::<u64>(), 0);
    assert_eq!(rows.len(), of.rows);
    assert_eq!(Some(wrapping_sum(rows.iter().map(|(k, e, c)| mix(*k, *e, *c)))), of.checksum);
}

/// The three most frequent keys of a window; among equals the smaller key.
#[derive(Clone, Default)]
struct TopThree {
    counts: ListState<(u64, u64)>,
}

impl KeyedProcessFunction for TopThree {
    type Key = i64;
    type In = (i64, u64, u64);
    type Out = (u64, u64, u64);
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.counts = context.list_state(ListStateDescriptor::new("counts"))?;
        Ok(())
    }
    fn process_element(
        &mut self,
        (end, key, count): (i64, u64, u64),
        context: &mut Context<'_, i64>,
        _: &mut Collector<'_, (u64, u64, u64)>,
    ) -> thalweg::Result<()> {
        self.counts.add(context, (key, count))?;
        context.timer_service().register_event_time_timer(end);
        Ok(())
    }
    fn on_timer(
        &mut self,
        _: i64,
        context: &mut OnTimerContext<'_, i64>,
        out: &mut Collector<'_, (u64, u64, u64)>,
    ) -> thalweg::Result<()> {
        let mut counts = self.counts.get(context)?;
        counts.sort_by_key(|(key, count)| (std::cmp::Reverse(*count), *key));
        let end = *context.current_key() as u64;
        counts.iter().take(3).for_each(|(key, count)| out.collect((*key, end, *count)));
        Ok(self.counts.clear(context)?)
    }
}

fn w3_hot_keys(on: On) {
    let (env, of) = (on.env(), reference("w3"));
    let watermarks = WatermarkStrategy::bounded_out_of_orderness(milliseconds(100));
    let out = events(&env, &of, 1)
        .assign_timestamps_and_watermarks(
            watermarks.with_timestamp(|event: &Event| event.ts as i64),
        )
        .key_by(|event| event.key)
        .window(SlidingEventTimeWindows::of(hours(1), minutes(5)))
        .aggregate_with(Count, |key, window, count, out| out.collect((window.end(), *key, count)))
        .key_by(|(end, ..)| *end)
        .process(TopThree::default())
        .collect();
    env.execute("w3").unwrap();
    let rows = out.take();
    assert_eq!(rows.len(), of.rows);
    assert_eq!(Some(wrapping_sum(rows.iter().map(|(k, e, c)| mix(*k, *e, *c)))), of.checksum);
}

fn w4_sessions(on: On) {
    count_sessions(on, Evaluation::Automatic);
}

fn w4_sessions_by_the_general_operator(on: On) {
    count_sessions(on, Evaluation::PerPane);
}

fn count_sessions(on: On, evaluation: Evaluation) {
    let (env, of) = (on.env(), reference("w4"));
    let watermarks = WatermarkStrategy::bounded_out_of_orderness(milliseconds(100));
    let out = events(&env, &of, 1000)
        .assign_timestamps_and_watermarks(
            watermarks.with_timestamp(|event: &Event| event.ts as i64),
        )
        .key_by(|event| event.key)
        .window(EventTimeSessionWindows::with_gap(milliseconds(100)))
        .evaluation(evaluation)
        .aggregate_with(Count, |key, window, count, out| {
            out.collect((*key, window.end() as u64, count));
        })
        .collect();
    env.execute("w4").unwrap();
    let rows = out.take();
    assert_eq!(rows.len(), of.rows);
    assert_eq!(Some(wrapping_sum(rows.iter().map(|(k, e, c)| mix(*k, *e, *c)))), of.checksum);
}

#[thalweg::record]
#[derive(Clone, Debug)]
enum Action {
    Buy { cents: u64 },
    Click { page: u32 },
    Leave,
}

#[thalweg::record]
#[derive(Clone, Debug)]
struct Named {
    name: String,
    event: Action,
    seq: u64,
    score: f64,
    tags: [u32; 8],
}

fn named(i: u64) -> Named {
    let r = splitmix64(i);
    let id = r % 10_000;
    let event = match r >> 62 {
        1 => Action::Buy { cents: (r >> 32) & 0xFFFF },
        0 => Action::Click { page: r as u32 },
        _ => Action::Leave,
    };
    let name = format!("user-{id:010}-{}", "x".repeat((id % 16) as usize));
    Named { name, event, seq: i, score: r as f64, tags: [r as u32; 8] }
}

fn w7_records_with_heap_data(on: On) {
    let (env, of) = (on.env(), reference("w7"));
    let count = of.events;
    let out = env
        .from_parallel(move |ctx| {
            (ctx.subtask_index as u64..count).step_by(ctx.parallelism).map(named)
        })
        .key_by_ref(|event| &event.name)
        .scan((0u64, 0u64), |(count, cents), event| {
            let whole = splitmix64(event.seq);
            assert!(event.score == whole as f64 && event.tags == [whole as u32; 8]);
            *count += 1;
            match event.event {
                Action::Buy { cents: paid } => *cents += paid,
                Action::Click { page } => assert_eq!(page, whole as u32),
                Action::Leave => {}
            }
            (event.name, *count, *cents)
        })
        .collect();
    env.execute("w7").unwrap();
    let rows = out.take();
    assert_eq!(rows.len(), of.rows);
    let id = |name: &str| name[5..15].parse::<u64>().unwrap();
    let last: HashMap<u64, (u64, u64)> =
        rows.iter().map(|(name, count, cents)| (id(name), (*count, *cents))).collect();
    let last = wrapping_sum(last.into_iter().map(|(id, (count, cents))| mix(id, count, cents)));
    assert_eq!(Some(last), of.last);
}
