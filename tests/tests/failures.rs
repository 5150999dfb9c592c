//! Errors and panics of user code fail the job by name and nothing else; mistakes of plans and settings come all at once,
//! before anything runs.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use thalweg::config::{DeclaredArguments, load};
use thalweg::prelude::*;
use thalweg::{Error, JobFailure};
use thalweg_tests::{On, failure_of, matrix};

matrix![
    fused_functions_name_operator_and_record,
    functions_behind_an_exchange_name_their_subtask,
    sources_fail_by_name,
    open_and_close_fail_by_name,
    a_failure_leaves_other_jobs_alone,
];

/// Goes off at one number.
#[derive(Clone, Copy, Debug)]
struct Bomb {
    at: i64,
    panics: bool,
}

const BOMB_AT: i64 = 321;

impl Bomb {
    fn see(&self, n: i64) -> thalweg::Result<i64> {
        match (n == self.at, self.panics) {
            (false, _) => Ok(n),
            (true, false) => Err(format!("cannot take {n}").into()),
            (true, true) => panic!("cannot take {n}"),
        }
    }
    /// For code that can only panic.
    fn pass(&self, n: i64) -> i64 {
        self.see(n).unwrap_or(n)
    }
}

impl MapFunction for Bomb {
    type In = i64;
    type Out = i64;
    fn map(&mut self, n: i64) -> thalweg::Result<i64> {
        self.see(n)
    }
}
impl FilterFunction for Bomb {
    type In = i64;
    fn filter(&mut self, n: &i64) -> thalweg::Result<bool> {
        self.see(*n).map(|_| true)
    }
}
impl FlatMapFunction for Bomb {
    type In = i64;
    type Out = i64;
    fn flat_map(&mut self, n: i64, out: &mut Collector<'_, i64>) -> thalweg::Result<()> {
        out.collect(self.see(n)?);
        Ok(())
    }
}
impl ProcessFunction for Bomb {
    type In = i64;
    type Out = i64;
    fn process_element(
        &mut self,
        n: i64,
        _: &mut ProcessContext<'_>,
        out: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        out.collect(self.see(n)?);
        Ok(())
    }
}
impl Sink<i64> for Bomb {
    fn write(&mut self, n: i64, _: i64) -> thalweg::Result<()> {
        self.see(n).map(drop)
    }
}

/// Writes what takes the numbers, with one operator named `bomb`.
type Write = fn(&StreamExecutionEnvironment, Bomb);

fn numbers(env: &StreamExecutionEnvironment) -> DataStream<i64, impl Chain<i64> + use<>> {
    env.from_elements(1..=1_000i64)
}

const ERRORS: &[(&str, Write)] = &[
    ("try_map", |e, b| drop(numbers(e).try_map(move |n| b.see(n)).name("bomb").for_each(|_| ()))),
    ("try_filter", |e, b| {
        drop(numbers(e).try_filter(move |n| b.see(*n).map(|_| true)).name("bomb").for_each(|_| ()));
    }),
    ("try_flat_map", |e, b| {
        drop(numbers(e).try_flat_map(move |n| b.see(n).map(Some)).name("bomb").for_each(|_| ()));
    }),
    ("map_with", |e, b| drop(numbers(e).map_with(b).name("bomb").for_each(|_| ()))),
    ("filter_with", |e, b| drop(numbers(e).filter_with(b).name("bomb").for_each(|_| ()))),
    ("flat_map_with", |e, b| drop(numbers(e).flat_map_with(b).name("bomb").for_each(|_| ()))),
    ("process", |e, b| drop(numbers(e).process(b).name("bomb").for_each(|_| ()))),
    ("sink", |e, b| drop(numbers(e).sink_to(b).name("bomb"))),
];

const PANICS: &[(&str, Write)] = &[
    ("map", |e, b| drop(numbers(e).map(move |n| b.pass(n)).name("bomb").for_each(|_| ()))),
    ("filter", |e, b| {
        drop(numbers(e).filter(move |n| b.pass(*n) > 0).name("bomb").for_each(|_| ()))
    }),
    ("flat_map", |e, b| {
        drop(numbers(e).flat_map(move |n| [b.pass(n)]).name("bomb").for_each(|_| ()))
    }),
    ("the iterator of flat_map", |e, b| {
        drop(
            numbers(e)
                .flat_map(move |n| (n..=n).map(move |n| b.pass(n)))
                .name("bomb")
                .for_each(|_| ()),
        );
    }),
    ("for_each", |e, b| drop(numbers(e).for_each(move |n| _ = b.pass(n)).name("bomb"))),
    ("a timestamp", |e, b| {
        let strategy = WatermarkStrategy::monotonous().with_timestamp(move |n: &i64| b.pass(*n));
        drop(numbers(e).assign_timestamps_and_watermarks(strategy).name("bomb").for_each(|_| ()));
    }),
    ("a key selector", |e, b| {
        drop(
            numbers(e)
                .map(|n| n)
                .name("bomb")
                .key_by(move |n| b.pass(*n))
                .scan(0u8, |_, n| n)
                .for_each(|_| ()),
        );
    }),
    ("a partitioner", |e, b| {
        let s = numbers(e).map(|n| n).name("bomb");
        drop(s.partition_custom(move |n, count| b.pass(*n) as usize % count).for_each(|_| ()));
    }),
];

#[track_caller]
fn check(kind: &str, failure: &JobFailure, panicked: bool) {
    assert_eq!(failure.operator, "bomb", "{kind}: {failure}");
    assert_eq!(failure.panicked, panicked, "{kind}");
    assert_eq!(failure.message, format!("cannot take {BOMB_AT}"), "{kind}");
    assert_eq!(failure.cause.is_some(), !panicked, "{kind}");
    assert!(failure.subtask < failure.parallelism, "{kind}: {failure}");
    assert!(failure.to_string().contains("'bomb'"), "{kind}: {failure}");
}

/// Functions fused to a source that is not parallel: the record is known exactly.
fn fused_functions_name_operator_and_record(on: On) {
    let with = |panics| move |(kind, write): &(&'static str, Write)| (*kind, *write, panics);
    let errors = ERRORS.iter().map(with(false));
    let panics = ERRORS.iter().chain(PANICS).map(with(true));
    for (kind, write, panics) in errors.chain(panics) {
        let env = on.env();
        write(&env, Bomb { at: BOMB_AT, panics });
        let failure = failure_of(&env);
        check(kind, &failure, panics);
        assert_eq!((failure.subtask, failure.parallelism), (0, 1), "{kind}");
        assert_eq!(failure.record, BOMB_AT as u64, "{kind}");
    }
}

/// A keyed function that goes off at a record or at a timer.
#[derive(Clone)]
struct Keyed {
    bomb: Bomb,
    by_timer: bool,
}
impl KeyedProcessFunction for Keyed {
    type Key = i64;
    type In = i64;
    type Out = i64;
    fn process_element(
        &mut self,
        n: i64,
        context: &mut Context<'_, i64>,
        _: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        if self.by_timer {
            context.timer_service().register_event_time_timer(n);
            return Ok(());
        }
        self.bomb.see(n).map(drop)
    }
    fn on_timer(
        &mut self,
        at: i64,
        _: &mut OnTimerContext<'_, i64>,
        _: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        self.bomb.see(at).map(drop)
    }
}
impl KeyedCoProcessFunction for Keyed {
    type Key = i64;
    type In1 = i64;
    type In2 = i64;
    type Out = i64;
    fn process_element1(
        &mut self,
        n: i64,
        _: &mut Context<'_, i64>,
        _: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        self.bomb.see(n).map(drop)
    }
    fn process_element2(
        &mut self,
        _: i64,
        _: &mut Context<'_, i64>,
        _: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        Ok(())
    }
}
impl CoFlatMapFunction for Keyed {
    type In1 = i64;
    type In2 = i64;
    type Out = i64;
    fn flat_map1(&mut self, n: i64, _: &mut Collector<'_, i64>) -> thalweg::Result<()> {
        self.bomb.see(n).map(drop)
    }
    fn flat_map2(&mut self, _: i64, _: &mut Collector<'_, i64>) -> thalweg::Result<()> {
        Ok(())
    }
}
impl ProcessWindowFunction for Bomb {
    type Key = i64;
    type In = i64;
    type Out = i64;
    type Window = TimeWindow;
    fn process(
        &mut self,
        _: &i64,
        _: &mut WindowContext<'_, TimeWindow>,
        elements: &[i64],
        _: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        elements.iter().try_for_each(|n| self.see(*n).map(drop))
    }
}
/// The last value; goes off when it is added, or when the result is made.
#[derive(Clone)]
struct Last {
    add: Option<Bomb>,
    result: Option<Bomb>,
}
impl AggregateFunction<i64> for Last {
    type Accumulator = i64;
    type Result = i64;
    fn create_accumulator(&self) -> i64 {
        0
    }
    fn add(&self, last: &mut i64, n: &i64) {
        *last = self.add.map_or(*n, |bomb| bomb.pass(*n));
    }
    fn result(&self, last: &i64) -> i64 {
        self.result.map_or(*last, |bomb| bomb.pass(*last))
    }
    fn merge(&self, into: &mut i64, other: &i64) {
        *into = *other;
    }
}

const PLAIN: Last = Last { add: None, result: None };

type Numbers = DataStream<i64>;
/// Writes what follows the numbers.
type WriteBehind = fn(Numbers, Bomb);

fn windowed(
    s: Numbers,
) -> WindowedStream<i64, impl KeySelector<i64, Key = i64>, TumblingEventTimeWindows> {
    let strategy = WatermarkStrategy::monotonous().with_timestamp(|n: &i64| *n);
    s.assign_timestamps_and_watermarks(strategy)
        .key_by(|n| *n)
        .window(TumblingEventTimeWindows::of(milliseconds(10)))
}

const KEYED_ERRORS: &[(&str, WriteBehind)] = &[
    ("keyed process", |s, bomb| {
        let stream = s.key_by(|n| n % 5).process(Keyed { bomb, by_timer: false });
        drop(stream.name("bomb").for_each(|_| ()));
    }),
    ("timer", |s, bomb| {
        drop(
            s.key_by(|n| *n).process(Keyed { bomb, by_timer: true }).name("bomb").for_each(|_| ()),
        );
    }),
    ("keyed connect", |s, bomb| {
        let other = s.clone().key_by(|n| *n);
        let stream = s.key_by(|n| *n).connect(other).process(Keyed { bomb, by_timer: false });
        drop(stream.name("bomb").for_each(|_| ()));
    }),
    ("connect", |s, bomb| {
        let stream = s.clone().connect(s).flat_map_with(Keyed { bomb, by_timer: false });
        drop(stream.name("bomb").for_each(|_| ()));
    }),
    ("window function", |s, bomb| {
        drop(windowed(s).aggregate_process(PLAIN, bomb).name("bomb").for_each(|_| ()));
    }),
];

const KEYED_PANICS: &[(&str, WriteBehind)] = &[
    ("scan", |s, b| {
        drop(s.key_by(|n| *n).scan(0u8, move |_, n| b.pass(n)).name("bomb").for_each(|_| ()));
    }),
    ("reduce", |s, b| {
        let stream = s.key_by(|_| 0u8).reduce(move |_, n| b.pass(n));
        drop(stream.name("bomb").for_each(|_| ()));
    }),
    ("window closure", |s, b| {
        let stream = windowed(s).aggregate_with(PLAIN, move |_, _, n, out| out.collect(b.pass(n)));
        drop(stream.name("bomb").for_each(|_| ()));
    }),
    ("add", |s, b| {
        drop(
            windowed(s)
                .aggregate(Last { add: Some(b), result: None })
                .name("bomb")
                .for_each(|_| ()),
        );
    }),
    ("result", |s, b| {
        drop(
            windowed(s)
                .aggregate(Last { add: None, result: Some(b) })
                .name("bomb")
                .for_each(|_| ()),
        );
    }),
    ("map behind rebalance", |s, b| {
        drop(s.rebalance().map(move |n| b.pass(n)).name("bomb").for_each(|_| ()));
    }),
];

fn functions_behind_an_exchange_name_their_subtask(on: On) {
    let errors = KEYED_ERRORS.iter().map(|(kind, write)| (*kind, *write, false));
    let all = KEYED_ERRORS.iter().chain(KEYED_PANICS);
    let panics = all.map(|(kind, write)| (*kind, *write, true));
    for (kind, write, panics) in errors.chain(panics) {
        let env = on.env();
        write(env.from_elements(1..=1_000i64).boxed(), Bomb { at: BOMB_AT, panics });
        let failure = failure_of(&env);
        check(kind, &failure, panics);
        assert_eq!(failure.parallelism, on.parallelism, "{kind}");
        assert!(failure.record > 0, "{kind}: {failure}");
    }
}

struct Reader(i64, Bomb);
impl SourceReader for Reader {
    type Out = i64;
    type Split = NoSplit;
    fn poll_batch(
        &mut self,
        _: usize,
        out: &mut SourceCollector<'_, i64>,
    ) -> thalweg::Result<InputStatus> {
        self.0 += 1;
        out.collect(self.1.see(self.0)?);
        Ok(InputStatus::MoreAvailable)
    }
}

fn sources_fail_by_name(on: On) {
    for panics in [false, true] {
        let bomb = Bomb { at: BOMB_AT, panics };
        let env = on.env();
        env.from_reader(move |_| Ok(Reader(0, bomb))).name("bomb").for_each(|_| ());
        check("reader", &failure_of(&env), panics);

        env.from_reader(move |_| Ok(Reader(bomb.see(BOMB_AT)?, bomb)))
            .name("bomb")
            .for_each(|_| ());
        let failure = failure_of(&env);
        check("make", &failure, panics);
        assert_eq!(failure.record, 0);

        let blocking = env.from_blocking(move |ctx: &SourceFunctionContext<i64>| {
            (1..=1_000).try_for_each(|n| Ok(ctx.collect(bomb.see(n)?)?))
        });
        blocking.name("bomb").for_each(|_| ());
        let failure = failure_of(&env);
        // Its panic is caught on its own thread and told as an error of the source.
        assert_eq!(failure.operator, "bomb", "{failure}");
        assert!(failure.message.contains("cannot take 321"), "{failure}");
        assert_eq!(failure.message.contains("panicked"), panics, "{failure}");
    }
    let (env, bomb) = (on.env(), Bomb { at: BOMB_AT, panics: true });
    let numbers = env.from_iter_factory(move || (1..=1_000i64).map(move |n| bomb.pass(n)));
    numbers.name("bomb").for_each(|_| ());
    check("iterator", &failure_of(&env), true);
}

/// Goes off in `open` or in `close`.
#[derive(Clone)]
struct Life(&'static str, Bomb);
impl MapFunction for Life {
    type In = i64;
    type Out = i64;
    fn open(&mut self, _: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        if self.0 == "open" { self.1.see(BOMB_AT).map(drop) } else { Ok(()) }
    }
    fn map(&mut self, n: i64) -> thalweg::Result<i64> {
        Ok(n)
    }
    fn close(&mut self) -> thalweg::Result<()> {
        if self.0 == "close" { self.1.see(BOMB_AT).map(drop) } else { Ok(()) }
    }
}
impl Sink<i64> for Life {
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        MapFunction::open(self, context)
    }
    fn write(&mut self, _: i64, _: i64) -> thalweg::Result<()> {
        Ok(())
    }
    fn finish(&mut self) -> thalweg::Result<SinkStatus> {
        if self.0 == "finish" {
            self.1.see(BOMB_AT)?;
        }
        Ok(SinkStatus::Ready)
    }
    fn close(&mut self) -> thalweg::Result<()> {
        MapFunction::close(self)
    }
}

fn open_and_close_fail_by_name(on: On) {
    for panics in [false, true] {
        let bomb = Bomb { at: BOMB_AT, panics };
        for place in ["open", "close"] {
            let env = on.env();
            env.from_sequence(1..=100).map_with(Life(place, bomb)).name("bomb").for_each(|_| ());
            let failure = failure_of(&env);
            assert_eq!((failure.operator.as_str(), failure.panicked), ("bomb", panics), "{place}");
            assert!(failure.message.contains("cannot take 321"), "{place}: {failure}");
        }
        for place in ["open", "finish", "close"] {
            let env = on.env();
            env.from_sequence(1..=100).rebalance().sink_to(Life(place, bomb)).name("bomb");
            let failure = failure_of(&env);
            assert_eq!((failure.operator.as_str(), failure.panicked), ("bomb", panics), "{place}");
            assert!(failure.message.contains("cannot take 321"), "{place}: {failure}");
        }
    }
}

fn a_failure_leaves_other_jobs_alone(on: On) {
    let slots = 2 * on.parallelism;
    let engine = Engine::builder().shell(on.shell).slots(slots).build().unwrap();
    let (input, numbers) = source::channel(64);
    let (sink, mut squares) = sink::channel(64);
    let steady = engine.submit("steady", |env| {
        env.set_parallelism(on.parallelism);
        let squared =
            env.from_source(numbers, "numbers").key_by(|n: &i64| n % 7).scan(0u8, |_, n| n * n);
        squared.sink_to(sink);
    });
    let steady = steady.unwrap();
    input.blocking_send(2).unwrap();
    assert_eq!(squares.blocking_recv(), Some(4));
    for panics in [false, true] {
        let broken = engine.submit("broken", |env| {
            env.set_parallelism(on.parallelism);
            let numbers = env.from_sequence(1..=1_000);
            numbers.map_with(Bomb { at: BOMB_AT, panics }).name("bomb").for_each(|_| ());
        });
        let Err(Error::Job(failure)) = broken.unwrap().wait() else { panic!("it should fail") };
        assert_eq!((failure.operator.as_str(), failure.job.as_str()), ("bomb", "broken"));
        input.blocking_send(3).unwrap();
        assert_eq!(squares.blocking_recv(), Some(9));
    }
    let after = engine.submit("after", |env| {
        env.set_parallelism(on.parallelism);
        env.from_sequence(1..=1_000).rebalance().for_each(|_| ());
    });
    after.unwrap().wait().unwrap();
    drop(input);
    steady.wait().unwrap();
}

#[test]
fn all_mistakes_of_a_plan_come_at_once() {
    let env = StreamExecutionEnvironment::new();
    let numbers = env.from_sequence(1..=10).uid("same").boxed();
    numbers.clone().map(|n| n).uid("same").for_each(|_| ());
    let _nowhere = numbers.clone().map(|n| n).name("nowhere");
    numbers.clone().rebalance().map(|n| n).name("wide").set_parallelism(0).for_each(|_| ());
    let windowed = numbers.clone().key_by(|n| *n).window(TumblingEventTimeWindows::of(seconds(0)));
    windowed.aggregate(Count).for_each(|_| ());
    let sliding = SlidingEventTimeWindows::of(seconds(1), seconds(0));
    numbers.clone().key_by(|n| *n).window(sliding).aggregate(Count).for_each(|_| ());
    let mapped = numbers.map(|n| n).name("mapped");
    mapped.side_output(&OutputTag::<i64>::new("late")).for_each(|_| ());
    mapped.for_each(|_| ());
    let Err(Error::Plan(errors)) = env.execute("wrong") else { panic!("a plan error") };
    let text = errors.to_string();
    for part in [
        "uid 'same' is also the uid of",
        "'nowhere'",
        "its records go nowhere",
        "parallelism is 0",
        "the size of a window is 0 ms",
        "the slide of a window is 0 ms",
        "'map' has no side outputs",
        "tests/failures.rs:",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
}

#[test]
fn an_empty_plan_is_a_mistake() {
    let env = StreamExecutionEnvironment::new();
    let Err(Error::Plan(errors)) = env.execute("empty") else { panic!("a plan error") };
    assert!(errors.to_string().contains("it is empty; add a source and a sink"), "{errors}");
}

#[test]
fn streams_of_two_environments_do_not_meet() {
    let (one, two) = (StreamExecutionEnvironment::new(), StreamExecutionEnvironment::new());
    let other = two.from_sequence(1..=10);
    one.from_sequence(1..=10).union(other).for_each(|_| ());
    assert!(matches!(one.execute("two"), Err(Error::Plan(_))));
}

#[test]
fn a_parallelism_above_the_slots_names_both() {
    let engine = Engine::builder().slots(2).build().unwrap();
    let refused = engine.submit("wide", |env| {
        env.set_parallelism(5);
        env.from_sequence(1..=10).for_each(|_| ());
    });
    let Err(error @ Error::Slots(_)) = refused else { panic!("it does not fit") };
    let text = error.to_string();
    assert!(text.contains("parallelism 5 needs 5 slots, the engine has 2"), "{text}");
}

#[test]
fn unknown_keys_are_refused_in_every_layer_at_once() {
    let words = ["job", "--config", "job.toml", "--paralelism", "3"];
    let variables = [("THALWEG_PARALELISM", "3"), ("PATH", "/bin")];
    let file = "paralelism = 3\n[slot]\nx = 1\n";
    let read = |_: &Path| Ok::<_, std::io::Error>(file.to_owned());
    let error = load(&DeclaredArguments::new(""), words, variables, read).unwrap_err();
    let text = error.to_string();
    for part in ["--paralelism", "--parallelism", "THALWEG_PARALELISM", "job.toml:1", "slot"] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
}

#[test]
fn values_out_of_range_name_their_place() {
    let words = ["job", "-p", "0"];
    let read = |_: &Path| Ok::<_, std::io::Error>(String::new());
    let variables = [("THALWEG_PAGE_BYTES", "5000"), ("THALWEG_SHELL", "tokio")];
    let error = load(&DeclaredArguments::new(""), words, variables, read).unwrap_err();
    let text = error.to_string();
    for part in ["-p", "THALWEG_PAGE_BYTES", "5000", "THALWEG_SHELL", "tokio", "glommio"] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
}
