//! Process functions with and without keys: what their contexts say, what timers emit, and how misuse and failures are told.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use thalweg::prelude::*;
use thalweg::state::StateError;
use thalweg_tests::{On, failure_of, matrix};

matrix![
    co_process_sees_both_streams_with_their_time,
    the_watermark_of_two_streams_is_the_smaller_one,
    timers_without_a_key_are_refused_by_name,
    state_without_a_key_is_refused_by_name,
    failures_of_timers_name_their_operator,
    failures_of_both_sides_name_their_record,
    what_timers_emit_carries_their_time,
    an_advance_fires_what_it_finds_and_no_more,
    timers_at_the_ends_of_time_fire,
    co_process_timers_are_those_of_the_shared_key,
    placed_streams_stay_placed,
];

/// The record that stands for a watermark.
fn watermarks<T: 'static>(
    watermark: fn(&T) -> Option<i64>,
    timestamp: fn(&T) -> i64,
) -> WatermarkStrategy<
    T,
    impl WatermarkGenerator<T> + Clone + Send,
    impl thalweg::time::TimestampAssigner<T> + Clone + Send,
> {
    let punctuated = WatermarkStrategy::punctuated(move |record: &T, _| watermark(record));
    punctuated.with_timestamp(move |record: &T| timestamp(record))
}

/// What a function saw: which side, the record, its timestamp, the watermark before it.
type Seen = (u8, i64, Option<i64>, i64);

/// Tells what it sees; negative numbers go to the side output.
#[derive(Clone)]
struct Tell {
    negative: OutputTag<Seen>,
}

impl Tell {
    fn tell(
        &self,
        (side, n): (u8, i64),
        context: &mut ProcessContext<'_>,
        out: &mut Collector<'_, Seen>,
    ) -> thalweg::Result<()> {
        let watermark = context.current_watermark();
        assert_eq!(context.timer_service().current_watermark(), watermark);
        let now_ms = context.current_processing_time();
        assert!(now_ms > 0 && context.timer_service().current_processing_time() == now_ms);
        let seen = (side, n, context.timestamp(), watermark);
        if n < 0 {
            context.output(&self.negative, seen)
        } else {
            out.collect(seen)
        }
        Ok(())
    }
}

impl CoProcessFunction for Tell {
    type In1 = i64;
    type In2 = String;
    type Out = Seen;
    fn process_element1(
        &mut self,
        n: i64,
        context: &mut ProcessContext<'_>,
        out: &mut Collector<'_, Seen>,
    ) -> thalweg::Result<()> {
        self.tell((1, n), context, out)
    }
    fn process_element2(
        &mut self,
        n: String,
        context: &mut ProcessContext<'_>,
        out: &mut Collector<'_, Seen>,
    ) -> thalweg::Result<()> {
        self.tell((2, n.parse()?), context, out)
    }
}

fn co_process_sees_both_streams_with_their_time(on: On) {
    let env = on.env();
    let negative = OutputTag::new("negative");
    let stamped = env
        .from_elements(-50..50i64)
        .assign_timestamps_and_watermarks(watermarks(|_| None, |n| n * 10));
    let words = env.from_elements((-50..50i64).map(|n| n.to_string()));
    let seen = stamped.connect(words).process(Tell { negative: negative.clone() });
    let side = seen.side_output(&negative).collect();
    let main = seen.collect();
    env.execute("two sides").unwrap();
    let expect = |range: std::ops::Range<i64>| {
        let first = range.clone().map(|n| (1, n, Some(n * 10), i64::MIN));
        let second = range.map(|n| (2, n, None, i64::MIN));
        first.chain(second).collect::<Vec<Seen>>()
    };
    for (rows, range) in [(main.take(), 0..50), (side.take(), -50..0)] {
        let mut rows = rows;
        rows.sort_unstable();
        // One side has no watermark but the last, which comes after all records.
        assert_eq!(rows, expect(range));
    }
}

fn the_watermark_of_two_streams_is_the_smaller_one(on: On) {
    let env = on.env();
    env.set_parallelism(1);
    let (first, numbers) = source::channel(64);
    let (second, words) = source::channel(64);
    let (sink, mut seen) = sink::channel(64);
    let stamp = |n: &i64| *n;
    let numbers = env
        .from_source(numbers, "numbers")
        .assign_timestamps_and_watermarks(watermarks(|n: &i64| Some(*n), stamp));
    let words = env
        .from_source(words, "words")
        .assign_timestamps_and_watermarks(watermarks(|n: &String| n.parse().ok(), |_| 0));
    let told = numbers.connect(words).process(Tell { negative: OutputTag::new("negative") });
    told.sink_to(sink);
    let job = env.execute_async("minimum").unwrap();
    let mut next = || seen.blocking_recv().unwrap();
    first.blocking_send(100).unwrap();
    assert_eq!(next(), (1, 100, Some(100), i64::MIN));
    first.blocking_send(200).unwrap();
    assert_eq!(next(), (1, 200, Some(200), i64::MIN));
    second.blocking_send("50".into()).unwrap();
    assert_eq!(next(), (2, 50, Some(0), i64::MIN));
    // The watermark of 50 is on its way behind its record; it is there when a record behind it is.
    second.blocking_send("150".into()).unwrap();
    assert_eq!(next(), (2, 150, Some(0), 50));
    drop(second);
    drop(first);
    job.wait().unwrap();
}

/// Asks for a timer although there is no key.
#[derive(Clone)]
struct NoKeys;

impl ProcessFunction for NoKeys {
    type In = i64;
    type Out = i64;
    fn process_element(
        &mut self,
        n: i64,
        context: &mut ProcessContext<'_>,
        _: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        if n == 3 {
            context.timer_service().register_processing_time_timer(n)?;
        }
        Ok(())
    }
}

impl CoProcessFunction for NoKeys {
    type In1 = i64;
    type In2 = i64;
    type Out = i64;
    fn process_element1(
        &mut self,
        n: i64,
        context: &mut ProcessContext<'_>,
        _: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        if n == 3 {
            context.timer_service().delete_event_time_timer(n)?;
        }
        Ok(())
    }
    fn process_element2(
        &mut self,
        _: i64,
        _: &mut ProcessContext<'_>,
        _: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        Ok(())
    }
}

fn timers_without_a_key_are_refused_by_name(on: On) {
    for (connected, verb) in
        [(false, "register_processing_time_timer"), (true, "delete_event_time_timer")]
    {
        let env = on.env();
        let numbers = env.from_elements([1, 2, 3, 4]);
        if connected {
            let others = env.from_elements([5]);
            numbers.connect(others).process(NoKeys).name("keyless").print();
        } else {
            ProcessStream::process(numbers, NoKeys);
        }
        let failure = failure_of(&env);
        assert_eq!(failure.operator, "keyless");
        let cause = failure.cause.as_deref().unwrap().downcast_ref::<ContextError>();
        let operator = "keyless".into();
        assert_eq!(cause, Some(&ContextError::TimerWithoutKey { operator, verb }));
        assert!(failure.message.contains("call key_by before 'keyless'"), "{}", failure.message);
    }
}

/// `NoKeys` is a function of one and of two streams; this says which is meant.
struct ProcessStream;
impl ProcessStream {
    fn process(numbers: DataStream<i64, impl Chain<i64>>, function: NoKeys) {
        numbers.process(function).name("keyless").print();
    }
}

/// Uses keyed state where there is no key: registers it, or uses a handle that nobody opened.
#[derive(Clone, Default)]
struct NoState {
    registers: bool,
    count: ValueState<u64>,
}

impl ProcessFunction for NoState {
    type In = i64;
    type Out = i64;
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        if self.registers {
            self.count = context.value_state(ValueStateDescriptor::new("count"))?;
        }
        Ok(())
    }
    fn process_element(
        &mut self,
        _: i64,
        context: &mut ProcessContext<'_>,
        _: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        self.count.value(context)?;
        self.count.update(context, 1)?;
        Ok(())
    }
}

fn state_without_a_key_is_refused_by_name(on: On) {
    for registers in [true, false] {
        let env = on.env();
        let function = NoState { registers, ..NoState::default() };
        env.from_elements([1, 2]).process(function).name("stateless").print();
        let failure = failure_of(&env);
        assert_eq!(failure.operator, "stateless");
        assert!(!failure.panicked);
        if registers {
            let said = "state 'count' was asked for by operator 'stateless', which is not on a keyed stream; call key_by before it";
            assert!(failure.message.contains(said), "{}", failure.message);
        } else {
            let cause = failure.cause.as_deref().unwrap().downcast_ref::<StateError>();
            assert!(matches!(cause, Some(StateError::HandleNotOpened { .. })), "{failure}");
        }
    }
}

/// Fails in the timer that a record sets, or at a record of either side.
#[derive(Clone, Copy)]
struct Fails {
    panics: bool,
}

impl Fails {
    fn fail(self, what: &str) -> thalweg::Result<()> {
        if self.panics { panic!("{what}") } else { Err(what.into()) }
    }
}

impl KeyedProcessFunction for Fails {
    type Key = i64;
    type In = i64;
    type Out = i64;
    fn process_element(
        &mut self,
        n: i64,
        context: &mut Context<'_, i64>,
        _: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        context.timer_service().register_event_time_timer(n);
        Ok(())
    }
    fn on_timer(
        &mut self,
        at: i64,
        _: &mut OnTimerContext<'_, i64>,
        _: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        self.fail(&format!("no timer at {at}, please"))
    }
}

fn failures_of_timers_name_their_operator(on: On) {
    for panics in [false, true] {
        let env = on.env();
        let numbers = env.from_elements([7, 7, 7]).key_by(|n| *n);
        numbers.process(Fails { panics }).name("alarm").print();
        let failure = failure_of(&env);
        assert_eq!((failure.operator.as_str(), failure.panicked), ("alarm", panics));
        assert_eq!((failure.parallelism, failure.record), (on.parallelism, 3));
        assert!(failure.message.contains("no timer at 7, please"), "{}", failure.message);
    }
}

impl CoProcessFunction for Fails {
    type In1 = i64;
    type In2 = String;
    type Out = i64;
    fn process_element1(
        &mut self,
        n: i64,
        _: &mut ProcessContext<'_>,
        _: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        if n == 2 { self.fail("no 2") } else { Ok(()) }
    }
    fn process_element2(
        &mut self,
        n: String,
        _: &mut ProcessContext<'_>,
        _: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        if n == "two" { self.fail("no two") } else { Ok(()) }
    }
}

fn failures_of_both_sides_name_their_record(on: On) {
    for (numbers, words, said, record) in [
        (vec![1, 2, 3], vec![], "no 2", 2),
        (vec![], vec!["one", "one", "two", "one"], "no two", 3),
    ] {
        for panics in [false, true] {
            let env = on.env();
            env.set_parallelism(1);
            let words =
                env.from_elements(words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
            let both = env.from_elements(numbers.clone()).connect(words);
            both.process(Fails { panics }).name("picky").print();
            let failure = failure_of(&env);
            assert_eq!((failure.operator.as_str(), failure.panicked), ("picky", panics));
            assert_eq!((failure.subtask, failure.record), (0, record));
            assert!(failure.message.contains(said), "{}", failure.message);
        }
    }
}

/// Sets a timer of each domain, which emit to both outputs.
#[derive(Clone)]
struct Stamps {
    side: OutputTag<TimeDomainName>,
}
type TimeDomainName = String;

impl KeyedProcessFunction for Stamps {
    type Key = i64;
    type In = i64;
    type Out = TimeDomainName;
    fn process_element(
        &mut self,
        n: i64,
        context: &mut Context<'_, i64>,
        _: &mut Collector<'_, TimeDomainName>,
    ) -> thalweg::Result<()> {
        context.timer_service().register_event_time_timer(n + 5);
        context.timer_service().register_processing_time_timer(n + 6);
        Ok(())
    }
    fn on_timer(
        &mut self,
        at: i64,
        context: &mut OnTimerContext<'_, i64>,
        out: &mut Collector<'_, TimeDomainName>,
    ) -> thalweg::Result<()> {
        assert_eq!(context.timestamp(), Some(at));
        let domain = format!("{:?}", context.time_domain());
        out.collect(domain.clone());
        context.output(&self.side, domain);
        Ok(())
    }
}

/// Puts the timestamp beside the record.
#[derive(Clone)]
struct Timestamped;
impl ProcessFunction for Timestamped {
    type In = String;
    type Out = (String, Option<i64>);
    fn process_element(
        &mut self,
        record: String,
        context: &mut ProcessContext<'_>,
        out: &mut Collector<'_, Self::Out>,
    ) -> thalweg::Result<()> {
        out.collect((record, context.timestamp()));
        Ok(())
    }
}

fn what_timers_emit_carries_their_time(on: On) {
    let env = on.env();
    let (input, numbers) = source::channel(16);
    let (sink, mut both) = sink::channel(16);
    let side = OutputTag::new("side");
    let stamped = env
        .from_source(numbers, "numbers")
        .assign_timestamps_and_watermarks(watermarks(|_| None, |n: &i64| *n))
        .key_by(|n: &i64| *n)
        .process(Stamps { side: side.clone() });
    let tagged = |at: &'static str| move |(domain, time)| (at, domain, time);
    let from_side = stamped.side_output(&side).process(Timestamped).map(tagged("side")).boxed();
    let main = stamped.process(Timestamped).map(tagged("main"));
    main.union(from_side).set_parallelism(1).sink_to(sink);
    let job = env.execute_async("timestamps").unwrap();
    input.blocking_send(100).unwrap();
    let mut next = || both.blocking_recv().unwrap();
    // The clock is long past 106 ms, so that timer fires while the input is open; in Flink, too, side outputs keep its time.
    let mut fired = [next(), next()];
    fired.sort();
    let processing = || "ProcessingTime".to_string();
    assert_eq!(fired, [("main", processing(), None), ("side", processing(), Some(106))]);
    drop(input);
    let mut fired = [next(), next()];
    fired.sort();
    let event = || "EventTime".to_string();
    assert_eq!(fired, [("main", event(), Some(105)), ("side", event(), Some(105))]);
    job.wait().unwrap();
}

/// A script for one key: what to do now, and in each timer.
#[thalweg::record]
#[derive(Clone, Debug)]
enum Step {
    Register(i64),
    Watermark(i64),
    Nothing,
}

/// Timers delete the timer at 50 and register one 3 ms before themselves while they are at a multiple of 10.
#[derive(Clone)]
struct Meddles;
impl KeyedProcessFunction for Meddles {
    type Key = u8;
    type In = Step;
    type Out = (i64, i64);
    fn process_element(
        &mut self,
        step: Step,
        context: &mut Context<'_, u8>,
        _: &mut Collector<'_, (i64, i64)>,
    ) -> thalweg::Result<()> {
        if let Step::Register(at) = step {
            context.timer_service().register_event_time_timer(at);
        }
        Ok(())
    }
    fn on_timer(
        &mut self,
        at: i64,
        context: &mut OnTimerContext<'_, u8>,
        out: &mut Collector<'_, (i64, i64)>,
    ) -> thalweg::Result<()> {
        let mut timers = context.timer_service();
        out.collect((at, timers.current_watermark()));
        timers.delete_event_time_timer(50);
        timers.delete_event_time_timer(at); // it has fired
        if at % 10 == 0 {
            timers.register_event_time_timer(at - 3);
        }
        Ok(())
    }
}

fn run_steps(on: On, steps: &[Step]) -> Vec<(i64, i64)> {
    let env = on.env();
    let watermark = |step: &Step| match step {
        Step::Watermark(at) => Some(*at),
        _ => None,
    };
    let fired = env
        .from_elements(steps.to_vec())
        .assign_timestamps_and_watermarks(watermarks(watermark, |_| 0))
        .key_by(|_| 0u8)
        .process(Meddles)
        .collect();
    env.execute("steps").unwrap();
    fired.take()
}

fn an_advance_fires_what_it_finds_and_no_more(on: On) {
    use Step::{Nothing, Register, Watermark};
    let fired = run_steps(
        on,
        &[
            Register(20),
            Register(40),
            Register(50),
            Register(60),
            Watermark(20),
            // What the timer at 20 registers is due at once: it fires in the same advance.
            Nothing,
            Register(15),
            Watermark(20), // no advance
            Nothing,
            Watermark(21),
            Nothing,
            Watermark(70),
            Nothing,
        ],
    );
    let expected = [(20, 20), (17, 20), (15, 21), (40, 70), (37, 70), (60, 70), (57, 70)];
    assert_eq!(fired, expected);
}

fn timers_at_the_ends_of_time_fire(on: On) {
    use Step::{Register, Watermark};
    let steps = [Register(i64::MAX), Register(i64::MIN), Register(i64::MAX - 1), Watermark(1)];
    let fired = run_steps(on, &steps);
    assert_eq!(fired, [(i64::MIN, 1), (i64::MAX - 1, i64::MAX), (i64::MAX, i64::MAX)]);
}

/// The left side sets a timer at its number, the right side takes it back; on_timer says the key.
#[derive(Clone, Default)]
struct Pair {
    lefts: ValueState<u32>,
}
impl KeyedCoProcessFunction for Pair {
    type Key = u8;
    type In1 = (u8, i64);
    type In2 = (u8, i64);
    type Out = (u8, i64, u32);
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.lefts = context.value_state(ValueStateDescriptor::new("lefts"))?;
        Ok(())
    }
    fn process_element1(
        &mut self,
        (_, at): (u8, i64),
        context: &mut Context<'_, u8>,
        _: &mut Collector<'_, Self::Out>,
    ) -> thalweg::Result<()> {
        self.lefts.modify(context, |n| *n += 1)?;
        context.timer_service().register_event_time_timer(at);
        Ok(())
    }
    fn process_element2(
        &mut self,
        (_, at): (u8, i64),
        context: &mut Context<'_, u8>,
        _: &mut Collector<'_, Self::Out>,
    ) -> thalweg::Result<()> {
        context.timer_service().delete_event_time_timer(at);
        Ok(())
    }
    fn on_timer(
        &mut self,
        at: i64,
        context: &mut OnTimerContext<'_, u8>,
        out: &mut Collector<'_, Self::Out>,
    ) -> thalweg::Result<()> {
        out.collect((*context.current_key(), at, self.lefts.value(context)?.unwrap_or(0)));
        Ok(())
    }
}

fn co_process_timers_are_those_of_the_shared_key(on: On) {
    let env = on.env();
    // Two copies of each timer are one; the right side deletes those of even keys if it comes second.
    let timers = (0..40u8).flat_map(|key| [3, 1, 2, 3].map(|n| (key, n * 1_000 + i64::from(key))));
    let left = env.from_elements(timers.collect::<Vec<_>>()).key_by(|row| row.0);
    let right = env.from_elements((0..40u8).map(|key| (key, -1))).key_by(|row| row.0);
    let fired = left.connect(right).process(Pair::default()).collect();
    env.execute("pairs").unwrap();
    let mut of_key: BTreeMap<u8, Vec<(i64, u32)>> = BTreeMap::new();
    fired.take().into_iter().for_each(|(key, at, n)| of_key.entry(key).or_default().push((at, n)));
    assert_eq!(of_key.len(), 40);
    for (key, fired) in of_key {
        let expected = [1, 2, 3].map(|n| (n * 1_000 + i64::from(key), 4));
        assert_eq!(fired, expected, "key {key}");
    }
}

/// Says in which subtask each record was seen.
#[derive(Clone, Default)]
struct Where(usize);
impl CoProcessFunction for Where {
    type In1 = i64;
    type In2 = i64;
    type Out = (u8, i64, usize);
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.0 = context.subtask_index();
        Ok(())
    }
    fn process_element1(
        &mut self,
        n: i64,
        _: &mut ProcessContext<'_>,
        out: &mut Collector<'_, Self::Out>,
    ) -> thalweg::Result<()> {
        out.collect((1, n, self.0));
        Ok(())
    }
    fn process_element2(
        &mut self,
        n: i64,
        _: &mut ProcessContext<'_>,
        out: &mut Collector<'_, Self::Out>,
    ) -> thalweg::Result<()> {
        out.collect((2, n, self.0));
        Ok(())
    }
}

/// Explicit partitioners in front of `connect` hold, whatever parallelism the operator behind them is given.
fn placed_streams_stay_placed(on: On) {
    for parallelism in [1, 2, 3] {
        let env = on.env();
        let left = env.from_elements(0..30i64).key_by(|n| n % 10).partitioned();
        let right = env.from_elements(0..10i64).broadcast();
        let seen = left.connect(right).process(Where::default());
        let seen = seen.set_parallelism(parallelism).collect();
        env.execute("placed").unwrap();
        let rows = seen.take();
        let subtasks = |side, n| {
            let rows = rows.iter().filter(move |row| (row.0, row.1) == (side, n));
            let mut subtasks: Vec<usize> = rows.map(|row| row.2).collect();
            subtasks.sort_unstable();
            subtasks
        };
        for n in 0..10 {
            assert_eq!(subtasks(2, n), (0..parallelism).collect::<Vec<_>>(), "rule {n}");
            let place = subtasks(1, n);
            assert_eq!(place.len(), 1);
            assert_eq!((subtasks(1, n + 10), subtasks(1, n + 20)), (place.clone(), place));
        }
    }
}
