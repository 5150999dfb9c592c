//! Interval joins: bounds, lateness and clean-up as Flink has them, and random streams against a plain model.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use thalweg::Error;
use thalweg::prelude::*;
use thalweg::testing::{self, OutputEvent, TestDriver};
use thalweg_tests::{On, Random, Steps, failure_of, matrix, stepped};

stepped![
    bounds_are_relative_to_the_left_record,
    exclusive_bounds_leave_the_ends_out,
    negative_and_positive_bounds,
    one_record_meets_several_in_order,
    equal_timestamps_meet_by_arrival,
    late_records_go_to_their_outputs,
    late_records_are_counted,
    the_watermark_is_the_lower_of_both,
    a_pair_at_the_very_end_is_lost,
    records_in_the_past_of_their_buffer_are_kept_until_the_next_advance,
    a_function_may_emit_to_sides_and_keep_state,
    random_scripts_agree_with_the_model,
];

matrix![all_pairs_within_bounds, a_record_without_a_timestamp_fails];

/// Key and value; the timestamp is the stream's.
type Event = (String, i64);
/// Key, left value, right value, left and right timestamp.
type Pair = (String, i64, i64, i64, i64);

#[derive(Clone, Copy, Debug)]
struct Job {
    lower: i64,
    upper: i64,
    lower_exclusive: bool,
    upper_exclusive: bool,
    late_output: bool,
}

fn between(lower: i64, upper: i64) -> Job {
    let (lower_exclusive, upper_exclusive, late_output) = (false, false, false);
    Job { lower, upper, lower_exclusive, upper_exclusive, late_output }
}

/// Tells everything that a pair has.
#[derive(Clone)]
struct Tell;

impl ProcessJoinFunction for Tell {
    type Left = Event;
    type Right = Event;
    type Out = Pair;
    fn process_element(
        &mut self,
        left: &Event,
        right: &Event,
        context: &mut JoinContext<'_>,
        out: &mut Collector<'_, Pair>,
    ) -> thalweg::Result<()> {
        assert_eq!(left.0, right.0);
        assert_eq!(context.timestamp(), context.left_timestamp().max(context.right_timestamp()));
        let times = (context.left_timestamp(), context.right_timestamp());
        out.collect((left.0.clone(), left.1, right.1, times.0, times.1));
        Ok(())
    }
}

fn driver(steps: Steps, job: Job) -> TestDriver {
    let build = steps.driver().build(|env| {
        let [left, right] = ["l", "r"].map(|name| env.from_source(testing::input::<Event>(), name));
        let mut join = left
            .key_by(|event| event.0.clone())
            .interval_join(right.key_by(|event| event.0.clone()))
            .between_ms(job.lower, job.upper);
        if job.lower_exclusive {
            join = join.lower_bound_exclusive();
        }
        if job.upper_exclusive {
            join = join.upper_bound_exclusive();
        }
        let tags = ["left late", "right late"].map(OutputTag::<Event>::new);
        if job.late_output {
            join = join.side_output_left_late(&tags[0]).side_output_right_late(&tags[1]);
        }
        let joined = join.process(Tell);
        for tag in &tags {
            joined.side_output(tag).sink_to(testing::output()).name(tag.name());
        }
        joined.sink_to(testing::output()).name("pairs");
    });
    build.unwrap()
}

fn event(test: &mut TestDriver, input: &str, key: &str, at: i64, value: i64) {
    test.pipe_at(input, [(at, (key.to_owned(), value))]);
}

/// Left value, right value, timestamp of the pairs since the last call.
fn pairs(test: &mut TestDriver) -> Vec<(i64, i64, i64)> {
    let record = |event: OutputEvent<Pair>| match event {
        OutputEvent::Record { value, timestamp_ms } => {
            let timestamp_ms = timestamp_ms.unwrap();
            assert_eq!(timestamp_ms, value.3.max(value.4));
            Some((value.1, value.2, timestamp_ms))
        }
        _ => None,
    };
    test.events::<Pair>("pairs").into_iter().filter_map(record).collect()
}

fn late(test: &mut TestDriver, output: &str) -> Vec<(i64, i64)> {
    let record = |event: OutputEvent<Event>| match event {
        OutputEvent::Record { value, timestamp_ms } => Some((value.1, timestamp_ms.unwrap())),
        _ => None,
    };
    test.events::<Event>(output).into_iter().filter_map(record).collect()
}

fn watermark(test: &mut TestDriver, at: i64) {
    test.watermark("l", at);
    test.watermark("r", at);
}

/// The right timestamps from 0 to 20 that a left record at 10 meets, whichever comes first.
fn partners_of_ten(steps: Steps, job: Job) -> Vec<i64> {
    let mut test = driver(steps, job);
    event(&mut test, "l", "a", 10, 0);
    (0..=20).for_each(|at| event(&mut test, "r", "a", at, at));
    let left_first: Vec<_> = pairs(&mut test).iter().map(|pair| pair.1).collect();
    let mut test = driver(steps, job);
    (0..=20).for_each(|at| event(&mut test, "r", "a", at, at));
    event(&mut test, "l", "a", 10, 0);
    let right_first: Vec<_> = pairs(&mut test).iter().map(|pair| pair.1).collect();
    assert_eq!(left_first, right_first);
    left_first
}

fn bounds_are_relative_to_the_left_record(steps: Steps) {
    assert_eq!(partners_of_ten(steps, between(-2, 1)), [8, 9, 10, 11]);
    let mut test = driver(steps, between(-5, 5));
    event(&mut test, "l", "a", 10, 1);
    event(&mut test, "r", "b", 10, 2);
    event(&mut test, "r", "a", 10, 3);
    event(&mut test, "l", "b", 12, 4);
    assert_eq!(pairs(&mut test), [(1, 3, 10), (4, 2, 12)]);
}

fn exclusive_bounds_leave_the_ends_out(steps: Steps) {
    let exclusive = |lower_exclusive, upper_exclusive| {
        partners_of_ten(steps, Job { lower_exclusive, upper_exclusive, ..between(-2, 2) })
    };
    assert_eq!(exclusive(true, true), [9, 10, 11]);
    assert_eq!(exclusive(true, false), [9, 10, 11, 12]);
    assert_eq!(exclusive(false, true), [8, 9, 10, 11]);
    let empty = Job { lower_exclusive: true, upper_exclusive: true, ..between(1, 2) };
    assert_eq!(partners_of_ten(steps, empty), [0; 0]);
}

fn negative_and_positive_bounds(steps: Steps) {
    assert_eq!(partners_of_ten(steps, between(3, 5)), [13, 14, 15]);
    assert_eq!(partners_of_ten(steps, between(-5, -3)), [5, 6, 7]);
    assert_eq!(partners_of_ten(steps, between(0, 0)), [10]);
    let all = partners_of_ten(steps, between(i64::MIN, i64::MAX));
    assert_eq!(all.len(), 21);
}

fn one_record_meets_several_in_order(steps: Steps) {
    let mut test = driver(steps, between(0, 10));
    for (at, value) in [(15, 1), (12, 2), (11, 3), (25, 4)] {
        event(&mut test, "r", "a", at, value);
    }
    event(&mut test, "l", "a", 10, 0);
    assert_eq!(pairs(&mut test), [(0, 3, 11), (0, 2, 12), (0, 1, 15)]);
}

fn equal_timestamps_meet_by_arrival(steps: Steps) {
    let mut test = driver(steps, between(-1, 1));
    for (at, value) in [(5, 1), (4, 2), (5, 3), (4, 4)] {
        event(&mut test, "l", "a", at, value);
    }
    event(&mut test, "r", "a", 5, 0);
    assert_eq!(pairs(&mut test), [(2, 0, 5), (4, 0, 5), (1, 0, 5), (3, 0, 5)]);
}

fn late_records_go_to_their_outputs(steps: Steps) {
    let mut test = driver(steps, Job { late_output: true, ..between(-5, 5) });
    event(&mut test, "l", "a", 10, 1);
    watermark(&mut test, 12);
    event(&mut test, "r", "a", 11, 2);
    event(&mut test, "r", "a", 12, 3);
    event(&mut test, "l", "a", 9, 4);
    event(&mut test, "r", "a", 13, 5);
    assert_eq!(pairs(&mut test), [(1, 3, 12), (1, 5, 13)]);
    assert_eq!(late(&mut test, "left late"), [(4, 9)]);
    assert_eq!(late(&mut test, "right late"), [(2, 11)]);
}

fn late_records_are_counted(steps: Steps) {
    let mut test = driver(steps, between(-5, 5));
    watermark(&mut test, 12);
    event(&mut test, "l", "a", 9, 1);
    event(&mut test, "r", "a", 11, 2);
    event(&mut test, "r", "b", 12, 3);
    assert_eq!(late(&mut test, "left late"), []);
    test.end("l");
    test.end("r");
    let dropped: u64 =
        test.metrics().vertices.iter().map(|vertex| vertex.total.late_records_dropped).sum();
    assert_eq!(dropped, 2);
}

fn the_watermark_is_the_lower_of_both(steps: Steps) {
    let mut test = driver(steps, between(-5, 5));
    event(&mut test, "l", "a", 10, 1);
    test.watermark("l", 15);
    test.watermark("r", 14);
    event(&mut test, "r", "a", 15, 2);
    assert_eq!(pairs(&mut test), [(1, 2, 15)]);
    // The right stream is idle: the left one's watermark rules.
    test.idle("r");
    event(&mut test, "r", "a", 14, 3);
    event(&mut test, "l", "a", 16, 4);
    assert_eq!(pairs(&mut test), [(4, 2, 16)]);
}

fn a_pair_at_the_very_end_is_lost(steps: Steps) {
    let mut test = driver(steps, between(-5, 5));
    event(&mut test, "l", "a", 10, 1);
    event(&mut test, "r", "a", 10, 2);
    watermark(&mut test, 14);
    event(&mut test, "l", "a", 14, 3);
    assert_eq!(pairs(&mut test), [(1, 2, 10), (3, 2, 14)]);
    watermark(&mut test, 15);
    // Not late, and within the bounds, but their partners at 10 have gone.
    event(&mut test, "r", "a", 15, 4);
    event(&mut test, "l", "a", 15, 5);
    assert_eq!(pairs(&mut test), [(3, 4, 15), (5, 4, 15)]);
}

/// With an upper bound that is not positive a left record ends at its own time.
fn records_in_the_past_of_their_buffer_are_kept_until_the_next_advance(steps: Steps) {
    let mut test = driver(steps, between(-5, 0));
    watermark(&mut test, 10);
    event(&mut test, "l", "a", 10, 1);
    event(&mut test, "r", "a", 10, 2);
    assert_eq!(pairs(&mut test), [(1, 2, 10)]);
    watermark(&mut test, 10);
    event(&mut test, "r", "a", 10, 3);
    assert_eq!(pairs(&mut test), [(1, 3, 10)]);
    watermark(&mut test, 11);
    event(&mut test, "l", "a", 11, 4);
    assert_eq!(pairs(&mut test), [(4, 2, 11), (4, 3, 11)]);
}

/// Numbers the pairs of each key.
#[derive(Clone, Default)]
struct Number {
    count: ValueState<u64>,
}

impl ProcessJoinFunction for Number {
    type Left = Event;
    type Right = Event;
    type Out = u64;
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.count = context.value_state(ValueStateDescriptor::new("count"))?;
        Ok(())
    }
    fn process_element(
        &mut self,
        left: &Event,
        _: &Event,
        context: &mut JoinContext<'_>,
        out: &mut Collector<'_, u64>,
    ) -> thalweg::Result<()> {
        let number = self.count.modify(context, |count| {
            *count += 1;
            *count
        })?;
        context.output(&OutputTag::new("keys"), left.0.clone());
        out.collect(number);
        Ok(())
    }
}

fn a_function_may_emit_to_sides_and_keep_state(steps: Steps) {
    let mut test = steps
        .driver()
        .build(|env| {
            let [left, right] =
                ["l", "r"].map(|name| env.from_source(testing::input::<Event>(), name));
            let joined = left
                .key_by(|event| event.0.clone())
                .interval_join(right.key_by(|event| event.0.clone()))
                .between(before(milliseconds(5)), milliseconds(5))
                .process(Number::default());
            joined
                .side_output(&OutputTag::<String>::new("keys"))
                .sink_to(testing::output())
                .name("keys");
            joined.sink_to(testing::output()).name("numbers");
        })
        .unwrap();
    for (key, at) in [("a", 1), ("b", 2), ("a", 3)] {
        event(&mut test, "l", key, at, 0);
    }
    for key in ["a", "b", "a"] {
        event(&mut test, "r", key, 4, 0);
    }
    assert_eq!(test.outputs::<u64>("numbers"), [1, 2, 1, 3, 4]);
    assert_eq!(test.outputs::<String>("keys"), ["a", "a", "b", "a", "a"]);
}

/// The join as Flink does it: a map from timestamp to records a side and key, a timer a record.
#[derive(Default)]
struct Model {
    /// Side, key, timestamp, value, time of clean-up; in the order of arrival.
    kept: Vec<(usize, u64, i64, i64, i64)>,
    watermark: i64,
}

impl Model {
    fn new() -> Self {
        Model { kept: Vec::new(), watermark: i64::MIN }
    }

    fn advance(&mut self, watermark: i64) {
        if watermark > self.watermark {
            self.watermark = watermark;
            self.kept.retain(|kept| kept.4 > watermark);
        }
    }

    /// The pairs (left, right, timestamp), or `None` for a late record.
    fn event(
        &mut self,
        job: Job,
        (side, key, at, value): (usize, u64, i64, i64),
    ) -> Option<Vec<(i64, i64, i64)>> {
        if at < self.watermark {
            return None;
        }
        let lower = job.lower + i64::from(job.lower_exclusive);
        let upper = job.upper - i64::from(job.upper_exclusive);
        let mut met: Vec<_> = self.kept.iter().filter(|k| k.0 != side && k.1 == key).collect();
        met.sort_by_key(|kept| kept.2);
        let pairs = met.into_iter().filter_map(|kept| {
            let (left, right) = if side == 0 { (at, kept.2) } else { (kept.2, at) };
            let values = if side == 0 { (value, kept.3) } else { (kept.3, value) };
            let is_pair = left + lower <= right && right <= left + upper;
            is_pair.then_some((values.0, values.1, left.max(right)))
        });
        let pairs = pairs.collect();
        let wait = if side == 0 { upper } else { -lower };
        self.kept.push((side, key, at, value, at + wait.max(0)));
        Some(pairs)
    }
}

fn random_scripts_agree_with_the_model(steps: Steps) {
    let mut emitted = 0;
    for seed in 0..12 {
        let mut random = Random::new(seed);
        let lower = random.between(-12, 8);
        let job = Job {
            lower_exclusive: random.once_in(3),
            upper_exclusive: random.once_in(3),
            late_output: true,
            ..between(lower, random.between(lower, 12))
        };
        let (mut test, mut model) = (driver(steps, job), Model::new());
        let mut now = 0;
        for value in 0..120 {
            if random.once_in(8) {
                now += random.between(0, 6);
                let at = now - random.between(0, 4);
                watermark(&mut test, at);
                model.advance(at);
                continue;
            }
            let (side, key, at) = (random.below(2), random.below(3), now + random.between(-5, 8));
            let name = ["l", "r"][side as usize];
            event(&mut test, name, &format!("key {key}"), at, value);
            let got = pairs(&mut test);
            match model.event(job, (side as usize, key, at, value)) {
                Some(expected) => assert_eq!(got, expected, "seed {seed}, {job:?}, value {value}"),
                None => {
                    assert_eq!(got, []);
                    assert_eq!(
                        late(&mut test, ["left late", "right late"][side as usize]),
                        [(value, at)]
                    );
                }
            }
            emitted += got.len();
        }
    }
    assert!(emitted > 500, "{emitted}");
}

/// Two streams at full speed that keep to their out-of-orderness: nothing is late, so all pairs are there.
fn all_pairs_within_bounds(on: On) {
    let mut random = Random::new(11);
    let mut stream = |count: i64| -> Vec<(u64, i64)> {
        (0..count).map(|n| (random.below(40), n * 3 + random.between(0, 20))).collect()
    };
    let (left, right) = (stream(3_000), stream(4_000));
    let (lower, upper) = (-90, 60);
    let env = on.env();
    let strategy = || {
        WatermarkStrategy::bounded_out_of_orderness(milliseconds(20))
            .with_timestamp(|event: &(u64, i64)| event.1)
    };
    let joined = env
        .from_elements(left.clone())
        .assign_timestamps_and_watermarks(strategy())
        .key_by(|event| event.0)
        .interval_join(
            env.from_elements(right.clone())
                .assign_timestamps_and_watermarks(strategy())
                .key_by(|event| event.0),
        )
        .between(before(milliseconds(90)), after(milliseconds(60)))
        .apply(|left, right| (left.0, left.1, right.1))
        .collect();
    env.execute("join").unwrap();
    let mut expected = Vec::new();
    for left in &left {
        let met = right.iter().filter(|right| {
            right.0 == left.0 && (left.1 + lower..=left.1 + upper).contains(&right.1)
        });
        expected.extend(met.map(|right| (left.0, left.1, right.1)));
    }
    let mut joined = joined.take();
    joined.sort_unstable();
    expected.sort_unstable();
    assert!(expected.len() > 3_000, "{}", expected.len());
    assert_eq!(joined, expected);
}

fn a_record_without_a_timestamp_fails(on: On) {
    let env = on.env();
    let events =
        |name: &str| env.from_elements([(1_u64, 2_u64)]).name(name).key_by(|event| event.0);
    events("left")
        .interval_join(events("right"))
        .between_ms(-1, 1)
        .apply(|left, _| left.1)
        .name("join")
        .collect();
    let failure = failure_of(&env);
    assert_eq!((failure.operator.as_str(), failure.record), ("join", 1));
    let cause = failure.cause.as_ref().and_then(|cause| cause.downcast_ref::<IntervalJoinError>());
    assert!(matches!(cause, Some(IntervalJoinError::NoTimestamp { .. })), "{failure}");
    assert!(failure.message.contains("call assign_timestamps_and_watermarks"), "{failure}");
}

#[test]
fn a_lower_bound_above_the_upper_one_is_a_mistake_of_the_plan() {
    let env = StreamExecutionEnvironment::new();
    let events = || env.from_elements([(1_u64, 2_u64)]).key_by(|event| event.0);
    events()
        .interval_join(events())
        .between(seconds(2), before(seconds(1)))
        .apply(|left, _| left.1)
        .name("join")
        .collect();
    let Err(Error::Plan(errors)) = env.execute("mistaken") else { panic!("it is a mistake") };
    let message = errors.to_string();
    assert!(message.contains("operator 'join'") && message.contains("joins.rs"), "{message}");
    assert!(
        message.contains("the lower bound, 2000 ms, is above the upper one, -1000 ms"),
        "{message}"
    );
}
