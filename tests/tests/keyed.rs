//! Keyed streams: rolling aggregates against plain loops, keyed connections, and rules by broadcast.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;
use thalweg::prelude::*;
use thalweg_tests::{On, Random, matrix};

matrix![
    scan_keeps_state_and_order_of_each_key,
    reduce_combines_in_order,
    sums_and_extremes_follow_their_definitions,
    keys_by_reference_are_keys_by_value,
    a_string_key_lives_in_one_subtask,
    keyed_connections_share_state_and_timers,
    keyed_connections_take_closures,
    a_broadcast_side_reaches_every_subtask,
];

#[thalweg::record]
#[derive(Clone, Debug, PartialEq)]
struct Reading {
    sensor: String,
    number: u64,
    value: i64,
}

fn readings() -> Vec<Reading> {
    let mut random = Random::new(7);
    let one = |number| Reading {
        sensor: format!("sensor-{}", random.below(50)),
        number,
        value: random.between(-20, 20),
    };
    (0..4_000).map(one).collect()
}

/// What `step` makes of each sensor's readings in order, by sensor.
fn model<U>(mut step: impl FnMut(Option<&U>, &Reading) -> U) -> HashMap<String, Vec<U>> {
    let mut rows: HashMap<String, Vec<U>> = HashMap::new();
    for reading in readings() {
        let rows = rows.entry(reading.sensor.clone()).or_default();
        let row = step(rows.last(), &reading);
        rows.push(row);
    }
    rows
}

fn by_sensor<U>(rows: Vec<U>, sensor: impl Fn(&U) -> &String) -> HashMap<String, Vec<U>> {
    let mut grouped: HashMap<String, Vec<U>> = HashMap::new();
    for row in rows {
        grouped.entry(sensor(&row).clone()).or_default().push(row);
    }
    grouped
}

fn scan_keeps_state_and_order_of_each_key(on: On) {
    let env = on.env();
    let out = env
        .from_elements(readings())
        .key_by(|reading| reading.sensor.clone())
        .scan((0u64, 0i64), |(count, sum), reading| {
            *count += 1;
            *sum += reading.value;
            (reading.sensor, reading.number, *count, *sum)
        })
        .collect();
    env.execute("scan").unwrap();
    let expected = model(|last: Option<&(String, u64, u64, i64)>, reading| {
        let (count, sum) = last.map_or((0, 0), |row| (row.2, row.3));
        (reading.sensor.clone(), reading.number, count + 1, sum + reading.value)
    });
    assert_eq!(by_sensor(out.take(), |row| &row.0), expected);
}

fn reduce_combines_in_order(on: On) {
    let env = on.env();
    let out = env
        .from_elements(readings())
        .key_by(|reading| reading.sensor.clone())
        .reduce(|a, b| Reading { value: a.value * 3 % 1_001 - b.value, ..b })
        .collect();
    env.execute("reduce").unwrap();
    let expected = model(|last: Option<&Reading>, reading| match last {
        Some(a) => Reading { value: a.value * 3 % 1_001 - reading.value, ..reading.clone() },
        None => reading.clone(),
    });
    assert_eq!(by_sensor(out.take(), |row| &row.sensor), expected);
}

/// Checks one rolling aggregate against its definition.
macro_rules! check_rolling {
    ($on:expr, $method:ident($field:expr), $step:expr) => {{
        let env = $on.env();
        let keyed = env.from_elements(readings()).key_by(|reading| reading.sensor.clone());
        let out = keyed.$method($field).collect();
        env.execute(stringify!($method)).unwrap();
        let step: fn(&Reading, &Reading) -> Reading = $step;
        let expected = model(|last: Option<&Reading>, reading| {
            last.map_or(reading.clone(), |last| step(last, reading))
        });
        assert_eq!(by_sensor(out.take(), |row| &row.sensor), expected, stringify!($method));
    }};
}

fn with_value(kept: &Reading, value: i64) -> Reading {
    Reading { value, ..kept.clone() }
}

fn choose(new_wins: bool, kept: &Reading, new: &Reading) -> Reading {
    if new_wins { new.clone() } else { kept.clone() }
}

fn sums_and_extremes_follow_their_definitions(on: On) {
    check_rolling!(on, sum(|r: &mut Reading| &mut r.value), |k, n| with_value(
        k,
        k.value + n.value
    ));
    check_rolling!(on, min(|r: &mut Reading| &mut r.value), |k, n| with_value(
        k,
        k.value.min(n.value)
    ));
    check_rolling!(on, max(|r: &mut Reading| &mut r.value), |k, n| with_value(
        k,
        k.value.max(n.value)
    ));
    check_rolling!(on, min_by(|r: &Reading| r.value), |k, n| choose(n.value < k.value, k, n));
    check_rolling!(on, min_by_last(|r: &Reading| r.value), |k, n| choose(n.value <= k.value, k, n));
    check_rolling!(on, max_by(|r: &Reading| r.value), |k, n| choose(n.value > k.value, k, n));
    check_rolling!(on, max_by_last(|r: &Reading| r.value), |k, n| choose(n.value >= k.value, k, n));
}

fn keys_by_reference_are_keys_by_value(on: On) {
    let env = on.env();
    let count = |count: &mut u64, reading: Reading| {
        *count += 1;
        (reading.sensor, *count)
    };
    let by_value =
        env.from_elements(readings()).key_by(|r| r.sensor.clone()).scan(0, count).collect();
    let by_reference =
        env.from_elements(readings()).key_by_ref(|r| &r.sensor).scan(0, count).collect();
    env.execute("keys").unwrap();
    assert_eq!(by_value.take_sorted(), by_reference.take_sorted());
}

/// Says which subtask saw a word.
#[derive(Clone, Default)]
struct Located(usize);
impl KeyedProcessFunction for Located {
    type Key = String;
    type In = Reading;
    type Out = (String, usize);
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.0 = context.subtask_index();
        Ok(())
    }
    fn process_element(
        &mut self,
        reading: Reading,
        context: &mut Context<'_, String>,
        out: &mut Collector<'_, (String, usize)>,
    ) -> thalweg::Result<()> {
        assert_eq!(*context.current_key(), reading.sensor);
        out.collect((reading.sensor, self.0));
        Ok(())
    }
}

fn a_string_key_lives_in_one_subtask(on: On) {
    let env = on.env();
    let out = env
        .from_elements(readings())
        .rebalance()
        .map(|reading| reading)
        .key_by_ref(|reading| &reading.sensor)
        .process(Located::default())
        .collect();
    env.execute("located").unwrap();
    let (mut homes, mut used) = (HashMap::new(), vec![false; on.parallelism]);
    for (sensor, subtask) in out.take() {
        used[subtask] = true;
        assert_eq!(*homes.entry(sensor).or_insert(subtask), subtask);
    }
    assert!(used.iter().all(|used| *used), "50 keys leave no subtask empty: {used:?}");
}

/// Orders wait for their payment until 10 ms after the order.
#[derive(Clone, Default)]
struct Payments {
    order: ValueState<i64>,
    paid: ValueState<i64>,
}
impl KeyedCoProcessFunction for Payments {
    type Key = u64;
    type In1 = (u64, i64);
    type In2 = (u64, String);
    type Out = (u64, String);
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.order = context.value_state(ValueStateDescriptor::new("order"))?;
        self.paid = context.value_state(ValueStateDescriptor::new("paid"))?;
        Ok(())
    }
    fn process_element1(
        &mut self,
        (_, at): (u64, i64),
        context: &mut Context<'_, u64>,
        _: &mut Collector<'_, (u64, String)>,
    ) -> thalweg::Result<()> {
        self.order.update(context, at)?;
        context.timer_service().register_event_time_timer(at + 10);
        Ok(())
    }
    fn process_element2(
        &mut self,
        (id, by): (u64, String),
        context: &mut Context<'_, u64>,
        out: &mut Collector<'_, (u64, String)>,
    ) -> thalweg::Result<()> {
        self.paid.update(context, 1)?;
        out.collect((id, format!("paid by {by}")));
        Ok(())
    }
    fn on_timer(
        &mut self,
        at: i64,
        context: &mut OnTimerContext<'_, u64>,
        out: &mut Collector<'_, (u64, String)>,
    ) -> thalweg::Result<()> {
        assert_eq!(context.time_domain(), TimeDomain::EventTime);
        let ordered_at = self.order.value(context)?.expect("set with the timer");
        assert_eq!(ordered_at + 10, at);
        if self.paid.value(context)?.is_none() {
            out.collect((*context.current_key(), format!("unpaid at {at}")));
        }
        Ok(())
    }
}

fn keyed_connections_share_state_and_timers(on: On) {
    let env = on.env();
    let orders = env.from_elements((0..500u64).map(|id| (id, id as i64)));
    let orders = orders.assign_timestamps_and_watermarks(
        WatermarkStrategy::none().with_timestamp(|order: &(u64, i64)| order.1),
    );
    let payments =
        env.from_elements((0..500u64).filter(|id| id % 3 == 0).map(|id| (id, format!("P{id}"))));
    // No watermark before both inputs have ended, so that every payment comes before its timer.
    let out = orders
        .key_by(|o| o.0)
        .connect(payments.key_by(|p| p.0))
        .process(Payments::default())
        .collect();
    env.execute("payments").unwrap();
    let expected: Vec<_> = (0..500u64)
        .map(|id| match id % 3 {
            0 => (id, format!("paid by P{id}")),
            _ => (id, format!("unpaid at {}", id + 10)),
        })
        .collect();
    assert_eq!(out.take_sorted(), expected);
}

fn keyed_connections_take_closures(on: On) {
    let env = on.env();
    let left = env.from_sequence(1..=300).key_by(|n| n % 5);
    let right = env.from_elements((1..=300i64).map(|n| n.to_string())).key_by(|s| s.len() as i64);
    let out = left.connect(right).map(|n| n.to_string(), |s| s).collect();
    env.execute("keyed map").unwrap();
    let mut expected: Vec<_> = (1..=300).flat_map(|n| [n.to_string(), n.to_string()]).collect();
    expected.sort();
    assert_eq!(out.take_sorted(), expected);
}

/// Counts the rules that its subtask knows; says so at the end for each.
#[derive(Clone, Default)]
struct Rules {
    subtask: usize,
}
impl CoFlatMapFunction for Rules {
    type In1 = i64;
    type In2 = String;
    type Out = (usize, String);
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.subtask = context.subtask_index();
        Ok(())
    }
    fn flat_map1(
        &mut self,
        n: i64,
        out: &mut Collector<'_, (usize, String)>,
    ) -> thalweg::Result<()> {
        out.collect((usize::MAX, n.to_string()));
        Ok(())
    }
    fn flat_map2(
        &mut self,
        rule: String,
        out: &mut Collector<'_, (usize, String)>,
    ) -> thalweg::Result<()> {
        out.collect((self.subtask, rule));
        Ok(())
    }
}

fn a_broadcast_side_reaches_every_subtask(on: On) {
    let env = on.env();
    let rules = env.from_elements((0..20).map(|n| format!("rule {n:02}"))).broadcast();
    let numbers = env.from_sequence(1..=500).key_by(|n| n % 11);
    let out = numbers.connect_broadcast(rules).flat_map_with(Rules::default()).collect();
    env.execute("rules").unwrap();
    let rows = out.take();
    for subtask in 0..on.parallelism {
        let seen: Vec<_> =
            rows.iter().filter(|row| row.0 == subtask).map(|row| row.1.clone()).collect();
        assert_eq!(seen, (0..20).map(|n| format!("rule {n:02}")).collect::<Vec<_>>());
    }
    assert_eq!(rows.iter().filter(|row| row.0 == usize::MAX).count(), 500);
}
