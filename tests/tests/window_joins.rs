//! Window joins and co-groups step by step, and random streams against a plain model.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use thalweg::Error;
use thalweg::api::StreamExecutionEnvironment;
use thalweg::prelude::*;
use thalweg::testing::{self, OutputEvent, TestDriver};
use thalweg_tests::{On, Random, Steps, matrix, stepped};

stepped![
    pairs_come_at_the_end_of_their_window,
    sliding_windows_pair_in_each_window,
    sessions_grow_by_both_streams,
    late_records_are_dropped_by_the_lower_watermark,
    late_records_go_to_their_output,
    allowed_late_records_fire_all_pairs_again,
    groups_come_also_where_one_is_empty,
    outer_joins_are_made_of_groups,
    triggers_see_both_streams,
    evictors_see_both_streams,
    windows_of_processing_time,
    random_scripts_agree_with_the_model,
];

matrix![joins_at_full_speed];

/// Key and value.
type Event = (u64, i64);

/// The pairs of a left and a right value.
type PairOf = (i64, i64);

fn driver(steps: Steps, write: impl FnOnce(&StreamExecutionEnvironment)) -> TestDriver {
    steps.driver().build(write).unwrap()
}

/// A driver of a join or co-group of inputs `l` and `r`, whose windows are written by the macro's user.
macro_rules! joined {
    ($steps:expr, $join:ident, |$windows:ident| $end:expr) => {
        driver($steps, |env| {
            let right = env.from_source(testing::input::<Event>(), "r");
            let $windows = env
                .from_source(testing::input::<Event>(), "l")
                .$join(right)
                .where_key(|event| event.0)
                .equal_to(|event| event.0);
            $end.sink_to(testing::output()).name("out");
        })
    };
}

fn pair(left: &Event, right: &Event) -> PairOf {
    assert_eq!(left.0, right.0);
    (left.1, right.1)
}

fn event(test: &mut TestDriver, input: &str, key: u64, at: i64, value: i64) {
    test.pipe_at(input, [(at, (key, value))]);
}

fn watermark(test: &mut TestDriver, at: i64) {
    test.watermark("l", at);
    test.watermark("r", at);
}

fn end(test: &mut TestDriver) {
    test.end("l");
    test.end("r");
}

/// Records since the last call, with their timestamps.
fn out<T: Send + 'static>(test: &mut TestDriver) -> Vec<(i64, T)> {
    let record = |event: OutputEvent<T>| match event {
        OutputEvent::Record { value, timestamp_ms } => Some((timestamp_ms.unwrap(), value)),
        _ => None,
    };
    test.events::<T>("out").into_iter().filter_map(record).collect()
}

fn sorted<T: Send + Ord + 'static>(test: &mut TestDriver) -> Vec<(i64, T)> {
    let mut out = out::<T>(test);
    out.sort();
    out
}

fn tumbling() -> TumblingEventTimeWindows {
    TumblingEventTimeWindows::of(milliseconds(10))
}

fn pairs_come_at_the_end_of_their_window(steps: Steps) {
    let mut test = joined!(steps, join, |streams| streams.window(tumbling()).apply(pair));
    event(&mut test, "l", 1, 1, 1);
    event(&mut test, "r", 1, 2, 2);
    event(&mut test, "r", 1, 9, 3);
    event(&mut test, "l", 2, 3, 4);
    event(&mut test, "r", 1, 10, 5);
    event(&mut test, "l", 1, 11, 6);
    watermark(&mut test, 8);
    assert_eq!(out::<PairOf>(&mut test), []);
    watermark(&mut test, 9);
    assert_eq!(out::<PairOf>(&mut test), [(9, (1, 2)), (9, (1, 3))]);
    end(&mut test);
    assert_eq!(out::<PairOf>(&mut test), [(19, (6, 5))]);
}

fn sliding_windows_pair_in_each_window(steps: Steps) {
    let windows = SlidingEventTimeWindows::of(milliseconds(10), milliseconds(5));
    let mut test = joined!(steps, join, |streams| streams.window(windows).apply(pair));
    event(&mut test, "l", 1, 6, 1);
    event(&mut test, "r", 1, 8, 2);
    event(&mut test, "r", 1, 11, 3);
    end(&mut test);
    assert_eq!(out::<PairOf>(&mut test), [(9, (1, 2)), (14, (1, 2)), (14, (1, 3))]);
}

fn sessions_grow_by_both_streams(steps: Steps) {
    let windows = EventTimeSessionWindows::with_gap(milliseconds(5));
    let mut test = joined!(steps, join, |streams| streams.window(windows).apply(pair));
    event(&mut test, "l", 1, 1, 1);
    event(&mut test, "l", 1, 9, 3);
    // Brings the two together.
    event(&mut test, "r", 1, 5, 2);
    event(&mut test, "r", 1, 30, 4);
    end(&mut test);
    assert_eq!(sorted::<PairOf>(&mut test), [(13, (1, 2)), (13, (3, 2))]);
    let windows =
        EventTimeSessionWindows::with_dynamic_gap(|element: &TaggedUnion<Event, Event>| {
            match element {
                TaggedUnion::Left(left) => left.1,
                TaggedUnion::Right(_) => 1,
            }
        });
    let mut test = joined!(steps, join, |streams| streams.window(windows).apply(pair));
    event(&mut test, "l", 1, 0, 100);
    event(&mut test, "r", 1, 100, 7);
    end(&mut test);
    assert_eq!(out::<PairOf>(&mut test), [(100, (100, 7))]);
}

fn late_records_are_dropped_by_the_lower_watermark(steps: Steps) {
    let mut test = joined!(steps, join, |streams| streams.window(tumbling()).apply(pair));
    event(&mut test, "l", 1, 1, 1);
    event(&mut test, "r", 1, 2, 2);
    test.watermark("l", 9);
    event(&mut test, "r", 1, 3, 3);
    test.watermark("r", 9);
    assert_eq!(out::<PairOf>(&mut test), [(9, (1, 2)), (9, (1, 3))]);
    event(&mut test, "r", 1, 4, 4);
    event(&mut test, "l", 1, 12, 5);
    end(&mut test);
    assert_eq!(out::<PairOf>(&mut test), []);
    let dropped: u64 =
        test.metrics().vertices.iter().map(|vertex| vertex.total.late_records_dropped).sum();
    assert_eq!(dropped, 1);
}

fn late_records_go_to_their_output(steps: Steps) {
    let tag = OutputTag::<TaggedUnion<Event, Event>>::new("late");
    let mut test = driver(steps, |env| {
        let right = env.from_source(testing::input::<Event>(), "r");
        let pairs = env
            .from_source(testing::input::<Event>(), "l")
            .join(right)
            .where_key(|event| event.0)
            .equal_to(|event| event.0)
            .window(tumbling())
            .side_output_late_data(&tag)
            .apply(pair);
        pairs.side_output(&tag).sink_to(testing::output()).name("late");
        pairs.sink_to(testing::output()).name("out");
    });
    watermark(&mut test, 9);
    event(&mut test, "l", 1, 3, 1);
    event(&mut test, "r", 1, 4, 2);
    event(&mut test, "r", 1, 10, 3);
    end(&mut test);
    let late = test.outputs::<TaggedUnion<Event, Event>>("late");
    assert_eq!(late, [TaggedUnion::Left((1, 1)), TaggedUnion::Right((1, 2))]);
    assert_eq!((late[0].side(), late[1].side()), (JoinSide::Left, JoinSide::Right));
}

fn allowed_late_records_fire_all_pairs_again(steps: Steps) {
    let mut test = joined!(steps, join, |streams| {
        streams.window(tumbling()).allowed_lateness(milliseconds(5)).apply(pair)
    });
    event(&mut test, "l", 1, 1, 1);
    event(&mut test, "r", 1, 2, 2);
    watermark(&mut test, 9);
    assert_eq!(out::<PairOf>(&mut test), [(9, (1, 2))]);
    event(&mut test, "r", 1, 3, 3);
    assert_eq!(out::<PairOf>(&mut test), [(9, (1, 2)), (9, (1, 3))]);
    event(&mut test, "l", 1, 4, 4);
    assert_eq!(out::<PairOf>(&mut test), [(9, (1, 2)), (9, (1, 3)), (9, (4, 2)), (9, (4, 3))]);
    // Without a partner there is nothing to emit again.
    event(&mut test, "l", 2, 4, 5);
    watermark(&mut test, 14);
    event(&mut test, "l", 1, 9, 6);
    end(&mut test);
    assert_eq!(out::<PairOf>(&mut test), []);
}

type GroupsOf = (Vec<i64>, Vec<i64>);

fn values(events: &[Event]) -> Vec<i64> {
    events.iter().map(|event| event.1).collect()
}

fn groups(lefts: &[Event], rights: &[Event], out: &mut Collector<'_, GroupsOf>) {
    out.collect((values(lefts), values(rights)));
}

fn groups_come_also_where_one_is_empty(steps: Steps) {
    let mut test = joined!(steps, co_group, |streams| streams.window(tumbling()).apply(groups));
    event(&mut test, "l", 1, 2, 1);
    event(&mut test, "l", 1, 1, 2);
    event(&mut test, "r", 1, 3, 3);
    event(&mut test, "l", 2, 4, 4);
    event(&mut test, "r", 3, 5, 5);
    end(&mut test);
    let expected = [(9, (vec![], vec![5])), (9, (vec![1, 2], vec![3])), (9, (vec![4], vec![]))];
    assert_eq!(sorted::<GroupsOf>(&mut test), expected);
}

/// Full outer: pairs, and what has no partner.
#[derive(Clone)]
struct FullOuter;

impl CoGroupFunction for FullOuter {
    type Left = Event;
    type Right = Event;
    type Out = (Option<i64>, Option<i64>);
    fn co_group(
        &mut self,
        lefts: &[Event],
        rights: &[Event],
        out: &mut Collector<'_, (Option<i64>, Option<i64>)>,
    ) -> thalweg::Result<()> {
        for left in lefts {
            for right in rights {
                out.collect((Some(left.1), Some(right.1)));
            }
            if rights.is_empty() {
                out.collect((Some(left.1), None));
            }
        }
        if lefts.is_empty() {
            rights.iter().for_each(|right| out.collect((None, Some(right.1))));
        }
        Ok(())
    }
}

fn outer_joins_are_made_of_groups(steps: Steps) {
    let mut test =
        joined!(steps, co_group, |streams| streams.window(tumbling()).apply_with(FullOuter));
    event(&mut test, "l", 1, 1, 1);
    event(&mut test, "r", 1, 3, 3);
    event(&mut test, "l", 2, 4, 4);
    event(&mut test, "r", 3, 5, 5);
    event(&mut test, "r", 2, 15, 6);
    end(&mut test);
    let expected = [
        (9, (None, Some(5))),
        (9, (Some(1), Some(3))),
        (9, (Some(4), None)),
        (19, (None, Some(6))),
    ];
    assert_eq!(sorted::<(Option<i64>, Option<i64>)>(&mut test), expected);
}

fn triggers_see_both_streams(steps: Steps) {
    let mut test = joined!(steps, co_group, |streams| {
        let windows = streams.window(GlobalWindows::create());
        windows.trigger(PurgingTrigger::of(CountTrigger::of(3))).apply(groups)
    });
    for (input, value) in [("l", 1), ("r", 2), ("l", 3), ("r", 4), ("r", 5), ("r", 6), ("l", 7)] {
        event(&mut test, input, 1, value, value);
    }
    end(&mut test);
    let end_of_time = i64::MAX;
    let expected = [(end_of_time, (vec![1, 3], vec![2])), (end_of_time, (vec![], vec![4, 5, 6]))];
    assert_eq!(out::<GroupsOf>(&mut test), expected);
    // Without purging all pairs come again.
    let mut test = joined!(steps, join, |streams| {
        streams.window(tumbling()).trigger(CountTrigger::of(2)).apply(pair)
    });
    for (input, value) in [("l", 1), ("r", 2), ("l", 3), ("r", 4), ("r", 5)] {
        event(&mut test, input, 1, value, value);
    }
    end(&mut test);
    let pairs: Vec<PairOf> = out::<PairOf>(&mut test).into_iter().map(|pair| pair.1).collect();
    assert_eq!(pairs, [(1, 2), (1, 2), (1, 4), (3, 2), (3, 4)]);
}

fn evictors_see_both_streams(steps: Steps) {
    let mut test = joined!(steps, co_group, |streams| {
        streams.window(tumbling()).evictor(CountEvictor::of(3)).apply(groups)
    });
    for (input, value) in [("l", 1), ("r", 2), ("r", 3), ("l", 4)] {
        event(&mut test, input, 1, value, value);
    }
    end(&mut test);
    assert_eq!(out::<GroupsOf>(&mut test), [(9, (vec![4], vec![2, 3]))]);
}

fn windows_of_processing_time(steps: Steps) {
    let windows = TumblingProcessingTimeWindows::of(milliseconds(10));
    let mut test = joined!(steps, join, |streams| streams.window(windows).apply(pair));
    test.pipe("l", [(1_u64, 1_i64)]);
    test.set_clock_ms(8);
    test.pipe("r", [(1_u64, 2_i64)]);
    test.set_clock_ms(9);
    assert_eq!(out::<PairOf>(&mut test), [(9, (1, 2))]);
    test.set_clock_ms(12);
    test.pipe("r", [(1_u64, 3_i64)]);
    end(&mut test);
    assert_eq!(out::<PairOf>(&mut test), []);
}

/// Tumbling windows of both streams with lateness: key and window to the values in order of arrival.
struct Model {
    windows: BTreeMap<(u64, i64), GroupsOf>,
    watermark: i64,
    size: i64,
    lateness: i64,
}

impl Model {
    fn advance(&mut self, watermark: i64) -> Vec<(i64, GroupsOf)> {
        if watermark <= self.watermark {
            return Vec::new();
        }
        let (before, size, lateness) = (self.watermark, self.size, self.lateness);
        self.watermark = watermark;
        let last = |start: i64| start + size - 1;
        let due = self
            .windows
            .iter()
            .filter(|(window, _)| (before + 1..=watermark).contains(&last(window.1)));
        let mut due: Vec<_> =
            due.map(|(window, groups)| (last(window.1), groups.clone())).collect();
        due.sort();
        self.windows.retain(|window, _| last(window.1) + lateness > watermark);
        due
    }

    fn event(&mut self, (side, key, at, value): (usize, u64, i64, i64)) -> Vec<(i64, GroupsOf)> {
        let start = at.div_euclid(self.size) * self.size;
        let last = start + self.size - 1;
        if last + self.lateness <= self.watermark {
            return Vec::new();
        }
        let groups = self.windows.entry((key, start)).or_default();
        if side == 0 {
            groups.0.push(value)
        } else {
            groups.1.push(value)
        }
        if last <= self.watermark { vec![(last, groups.clone())] } else { Vec::new() }
    }
}

fn random_scripts_agree_with_the_model(steps: Steps) {
    let mut emitted = 0;
    for seed in 0..10 {
        let mut random = Random::new(seed);
        let (size, lateness) = (random.between(1, 20), random.between(0, 15));
        let mut test = joined!(steps, co_group, |streams| {
            let windows = TumblingEventTimeWindows::of(milliseconds(size as u64));
            streams.window(windows).allowed_lateness_ms(lateness).apply(groups)
        });
        let mut model = Model { windows: BTreeMap::new(), watermark: i64::MIN, size, lateness };
        let mut now = 0;
        for value in 0..150 {
            let expected = if random.once_in(6) {
                now += random.between(0, 9);
                let at = now - random.between(0, 5);
                watermark(&mut test, at);
                model.advance(at)
            } else {
                let (side, key) = (random.below(2) as usize, random.below(3));
                let at = now + random.between(-25, 20);
                event(&mut test, ["l", "r"][side], key, at, value);
                model.event((side, key, at, value))
            };
            let got = sorted::<GroupsOf>(&mut test);
            assert_eq!(got, expected, "seed {seed}, size {size}, lateness {lateness}, {value}");
            emitted += got.len();
        }
    }
    assert!(emitted > 200, "{emitted}");
}

fn joins_at_full_speed(on: On) {
    let mut random = Random::new(3);
    let mut stream = |count: i64| -> Vec<(String, i64)> {
        (0..count).map(|n| (format!("key {}", random.below(30)), n)).collect()
    };
    let (left, right) = (stream(4_000), stream(5_000));
    let env = on.env();
    let by_time =
        || WatermarkStrategy::monotonous().with_timestamp(|event: &(String, i64)| event.1);
    let joined = env
        .from_elements(left.clone())
        .assign_timestamps_and_watermarks(by_time())
        .join(env.from_elements(right.clone()).assign_timestamps_and_watermarks(by_time()))
        .where_key(|event| event.0.clone())
        .equal_to(|event| event.0.clone())
        .window(TumblingEventTimeWindows::of(milliseconds(100)))
        .apply(|left, right| (left.0.clone(), left.1, right.1))
        .collect();
    env.execute("join").unwrap();
    let mut by_window: BTreeMap<(&str, i64), Vec<i64>> = BTreeMap::new();
    for (key, at) in &right {
        by_window.entry((key, at / 100)).or_default().push(*at);
    }
    let mut expected: Vec<_> = left
        .iter()
        .flat_map(|(key, at)| {
            let met = by_window.get(&(key.as_str(), at / 100)).into_iter().flatten();
            met.map(move |right| (key.clone(), *at, *right))
        })
        .collect();
    let mut joined = joined.take();
    joined.sort();
    expected.sort();
    assert!(expected.len() > 5_000);
    assert_eq!(joined, expected);
}

#[test]
fn settings_that_cannot_be_meant_are_mistakes_of_the_plan() {
    let env = StreamExecutionEnvironment::new();
    let events = || env.from_elements([(1_u64, 2_i64)]);
    events()
        .join(events())
        .where_key(|event| event.0)
        .equal_to(|event| event.0)
        .window(TumblingEventTimeWindows::of(milliseconds(0)))
        .trigger(CountTrigger::of(0))
        .evictor(CountEvictor::of(3))
        .allowed_lateness_ms(-1)
        .apply(pair)
        .name("mistaken")
        .collect();
    let Err(Error::Plan(errors)) = env.execute("mistaken") else { panic!("they are mistakes") };
    assert_eq!(errors.0.len(), 3, "{errors}");
    let message = errors.to_string();
    assert!(
        message.contains("operator 'mistaken'") && message.contains("window_joins.rs"),
        "{message}"
    );
}
