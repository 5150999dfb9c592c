//! `thalweg::testing`: every verb, on every shell; determinism; what is told of misuse and of failures.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use thalweg::config::ShellKind;
use thalweg::prelude::*;
use thalweg::record::StreamStatus;
use thalweg::testing::{self, OperatorHarness, OutputEvent, TestDriver, TestDriverBuilder};
use thalweg_tests::Lifecycle;

const SHELLS: [Option<ShellKind>; 3] = [None, Some(ShellKind::Threads), Some(ShellKind::Glommio)];

fn on(shell: Option<ShellKind>, parallelism: usize) -> TestDriverBuilder {
    let builder = TestDriver::builder().parallelism(parallelism);
    match shell {
        Some(shell) => builder.shell(shell),
        None => builder,
    }
}

fn record<T>(value: T, timestamp_ms: i64) -> OutputEvent<T> {
    OutputEvent::Record { value, timestamp_ms: Some(timestamp_ms) }
}

/// Event and processing time of each key: `(key, sum)` with each record, `(key, -at)` at each timer. A record of n > 0
/// registers an event timer n ms after it, one of n < 0 a processing timer at -n.
#[derive(Clone, Default)]
struct Sums {
    sum: ValueState<i64>,
}

impl KeyedProcessFunction for Sums {
    type Key = String;
    type In = (String, i64);
    type Out = (String, i64);
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result {
        self.sum = context.value_state(ValueStateDescriptor::new("sum"))?;
        Ok(())
    }
    fn process_element(
        &mut self,
        (key, n): (String, i64),
        context: &mut Context<'_, String>,
        out: &mut Collector<'_, (String, i64)>,
    ) -> thalweg::Result {
        let sum = self.sum.value(context)?.unwrap_or(0) + n.abs();
        self.sum.update(context, sum)?;
        match n {
            1.. => {
                let at = context.timestamp().unwrap_or(0) + n;
                context.timer_service().register_event_time_timer(at);
            }
            _ => context.timer_service().register_processing_time_timer(-n),
        }
        out.collect((key, sum));
        Ok(())
    }
    fn on_timer(
        &mut self,
        at: i64,
        context: &mut OnTimerContext<'_, String>,
        out: &mut Collector<'_, (String, i64)>,
    ) -> thalweg::Result {
        out.collect((context.current_key().clone(), -at));
        Ok(())
    }
}

fn sums(env: &StreamExecutionEnvironment) {
    env.from_source(testing::input::<(String, i64)>(), "in")
        .key_by(|(key, _)| key.clone())
        .process(Sums::default())
        .sink_to(testing::output())
        .name("sums")
        .set_parallelism(1);
}

fn of(key: &str, n: i64) -> (String, i64) {
    (key.to_owned(), n)
}

/// What a script of all verbs brings, step by step.
fn script(mut test: TestDriver) -> Vec<Vec<OutputEvent<(String, i64)>>> {
    let mut steps = Vec::new();
    let mut take = |test: &mut TestDriver| steps.push(test.events("sums"));
    test.pipe_at("in", [(100, of("a", 5)), (101, of("b", 7)), (102, of("a", 100))]);
    take(&mut test);
    test.watermark("in", 104);
    take(&mut test);
    test.watermark("in", 150);
    take(&mut test);
    test.idle("in");
    test.watermark("in", 190);
    take(&mut test);
    test.active("in");
    test.watermark("in", 160);
    take(&mut test);
    test.pipe("in", [of("c", -3_000)]);
    test.pipe_at("in", [(170, of("a", -1_000)), (171, of("b", -2_000))]);
    take(&mut test);
    test.advance_clock(milliseconds(999));
    take(&mut test);
    test.set_clock_ms(5_000);
    take(&mut test);
    test.pipe_at("in", [(172, of("d", -4_000))]);
    take(&mut test);
    test.set_clock_ms(5_000);
    take(&mut test);
    test.end("in");
    take(&mut test);
    assert!(test.is_finished() && test.failure().is_none());
    steps
}

#[test]
fn each_verb_is_a_step_and_its_effects_are_complete() {
    use OutputEvent::{Status, Watermark};
    let steps = script(on(None, 1).build(sums).unwrap());
    let plain = |value| OutputEvent::Record { value, timestamp_ms: None };
    let expected = [
        vec![record(of("a", 5), 100), record(of("b", 7), 101), record(of("a", 105), 102)],
        vec![Watermark(104)],
        vec![record(of("a", -105), 105), record(of("b", -108), 108), Watermark(150)],
        vec![Status(StreamStatus::Idle)],
        vec![Status(StreamStatus::Active), Watermark(160)],
        vec![plain(of("c", 3_000)), record(of("a", 1_105), 170), record(of("b", 2_007), 171)],
        vec![],
        // Timers of processing time, in the order of their times; what they emit has no event time.
        vec![plain(of("a", -1_000)), plain(of("b", -2_000)), plain(of("c", -3_000))],
        // A timer for the past waits for the next step of the clock.
        vec![record(of("d", 4_000), 172)],
        vec![plain(of("d", -4_000))],
        vec![record(of("a", -202), 202), Watermark(i64::MAX)],
    ];
    for (step, (got, expected)) in steps.iter().zip(&expected).enumerate() {
        assert_eq!(got, expected, "step {step}");
    }
    assert_eq!(steps.len(), expected.len());
}

#[test]
fn the_same_script_gives_the_same_events_on_every_shell_and_parallelism() {
    // Timers of several keys have no order between subtasks.
    let sorted = |mut steps: Vec<Vec<OutputEvent<(String, i64)>>>| {
        let key = |event: &OutputEvent<(String, i64)>| match event {
            OutputEvent::Record { value, timestamp_ms } => (0, timestamp_ms.unwrap_or(0), value.1),
            OutputEvent::Watermark(at) => (1, *at, 0),
            OutputEvent::Status(_) => (1, i64::MIN, 0),
        };
        steps.iter_mut().for_each(|events| events.sort_by_key(key));
        steps
    };
    let alone = script(on(None, 1).build(sums).unwrap());
    for shell in SHELLS {
        assert_eq!(script(on(shell, 1).build(sums).unwrap()), alone, "{shell:?}");
        for parallelism in [2, 4] {
            let steps = script(on(shell, parallelism).build(sums).unwrap());
            assert_eq!(sorted(steps), sorted(alone.clone()), "{shell:?} x {parallelism}");
        }
    }
    for (seed, cores) in (0..20).flat_map(|seed| [(seed, 1), (seed, 2), (seed, 4)]) {
        let driver = on(None, 4).seed(seed).cores(cores).configure(|c| c.pages_in_flight(2));
        let steps = script(driver.build(sums).unwrap());
        assert_eq!(sorted(steps), sorted(alone.clone()), "seed {seed}, {cores} cores");
    }
}

/// One element becomes many records, which four subtasks race to one sink.
fn race(seed: u64) -> Vec<u64> {
    let driver = TestDriver::builder().parallelism(4).seed(seed);
    let driver =
        driver.configure(|c| c.pages_in_flight(2).page_bytes(4_096).drain_budget_records(128));
    let mut test = driver
        .build(|env| {
            env.from_source(testing::input::<u64>(), "in")
                .flat_map(|n| 0..n)
                .key_by(|i| i % 97)
                .scan(0_u64, |sum, i| {
                    *sum += i;
                    *sum
                })
                .sink_to(testing::output())
                .name("out")
                .set_parallelism(1);
        })
        .unwrap();
    test.pipe("in", [20_000_u64, 100]);
    test.end("in");
    assert!(test.is_finished(), "{:?}", test.failure());
    test.outputs("out")
}

#[test]
fn a_seed_is_one_run_and_other_seeds_are_others() {
    let runs: Vec<_> = (0..6).map(race).collect();
    for (seed, run) in (0..).zip(&runs) {
        assert_eq!(&race(seed), run, "seed {seed}");
    }
    assert!(runs[1..].iter().any(|run| *run != runs[0]), "the seed decides nothing");
    let sorted = |run: &Vec<u64>| {
        let mut run = run.clone();
        run.sort_unstable();
        run
    };
    assert_eq!(runs[0].len(), 20_100);
    assert!(runs.iter().all(|run| sorted(run) == sorted(&runs[0])));
}

#[test]
fn much_from_one_element_is_complete_on_every_shell() {
    for shell in SHELLS {
        let driver = on(shell, 2).configure(|c| c.pages_in_flight(2).page_bytes(4_096));
        let mut test = driver
            .build(|env| {
                env.from_source(testing::input::<u64>(), "in")
                    .flat_map(|n| (0..n).map(|i| (i % 31, i.to_string())))
                    .key_by(|(key, _)| *key)
                    .scan(0_u64, |count, _| {
                        *count += 1;
                        *count
                    })
                    .sink_to(testing::output())
                    .name("counts");
            })
            .unwrap();
        for n in [50_000_u64, 1, 0, 3_000] {
            test.pipe("in", [n]);
            assert_eq!(test.outputs::<u64>("counts").len() as u64, n, "{shell:?}");
        }
    }
}

#[test]
fn records_take_turns_and_controls_go_to_all() {
    for shell in SHELLS {
        let mut test = on(shell, 3)
            .build(|env| {
                let numbers = env.from_source(testing::input::<i64>(), "in");
                numbers
                    .map_with(thalweg_tests::WithSubtask::default())
                    .sink_to(testing::output())
                    .name("places");
                let single = env.from_source(testing::input::<i64>(), "single").set_parallelism(1);
                single
                    .map_with(thalweg_tests::WithSubtask::default())
                    .set_parallelism(1)
                    .sink_to(testing::output())
                    .name("one");
            })
            .unwrap();
        test.pipe_at("in", (0..6).map(|n: i64| (n, n)));
        test.watermark("in", 4);
        let places: Vec<_> = (0..6).map(|n: i64| record((n as usize % 3, n), n)).collect();
        let expected = [places, vec![OutputEvent::Watermark(4)]].concat();
        assert_eq!(test.events::<(usize, i64)>("places"), expected, "{shell:?}");
        test.pipe("single", [7_i64, 8]);
        assert_eq!(test.outputs::<(usize, i64)>("one"), [(0, 7), (0, 8)]);
    }
}

#[test]
fn sources_of_the_job_itself_run_and_generators_follow_the_clock() {
    let mut test = TestDriver::new(|env| {
        env.from_elements([1_i64, 2, 3]).sink_to(testing::output()).name("elements");
        let generator = source::DataGeneratorSource::new(|i| i).records_per_second(10.0);
        env.from_source(generator, "generator").sink_to(testing::output()).name("generated");
    });
    assert_eq!(test.outputs::<i64>("elements"), [1, 2, 3]);
    let first = test.outputs::<u64>("generated").len();
    (0..20).for_each(|_| test.advance_clock(milliseconds(100)));
    let after = test.outputs::<u64>("generated").len();
    assert!(first <= 1 && (19..=21).contains(&(first + after)), "{first} and {after}");
    assert_eq!(test.clock_ms(), 2_000);
}

#[test]
fn a_sources_own_watermarks_follow_the_records_of_their_batch() {
    struct Reader(u32);
    impl thalweg::function::SourceReader for Reader {
        type Out = u32;
        type Split = thalweg::function::NoSplit;
        fn poll_batch(
            &mut self,
            _: usize,
            out: &mut SourceCollector<'_, u32>,
        ) -> thalweg::Result<InputStatus> {
            self.0 += 1;
            match self.0 {
                1 => {
                    out.emit_watermark(10);
                    out.collect_with_timestamp(1, 11);
                    out.emit_watermark(5);
                    out.emit_watermark(12);
                }
                2 => out.mark_idle(),
                3 => out.mark_idle(),
                4 => out.mark_active(),
                5 => {
                    out.mark_idle();
                    out.emit_watermark(20);
                    out.mark_idle();
                }
                _ => return Ok(InputStatus::EndOfInput),
            }
            Ok(InputStatus::NothingAvailable)
        }
        fn wakes_core(&self) -> bool {
            false
        }
    }
    use OutputEvent::{Status, Watermark};
    let (idle, active) = (Status(StreamStatus::Idle), Status(StreamStatus::Active));
    for shell in SHELLS {
        let mut test = on(shell, 1)
            .build(|env| {
                let numbers = env.from_reader(|_| Ok(Reader(0)));
                numbers.sink_to(testing::output()).name("out");
            })
            .unwrap();
        while !test.is_finished() {
            test.settle();
        }
        let expected = [
            record(1, 11),
            Watermark(10),
            Watermark(12),
            idle.clone(),
            active.clone(),
            idle.clone(),
            active.clone(),
            Watermark(20),
            idle.clone(),
            active.clone(),
            Watermark(i64::MAX),
        ];
        assert_eq!(test.events::<u32>("out"), expected, "{shell:?}");
    }
}

#[test]
fn a_failure_names_the_record_and_leaves_what_came_before() {
    for shell in SHELLS {
        let mut test = on(shell, 1)
            .build(|env| {
                env.from_source(testing::input::<i64>(), "in")
                    .try_map(|n| if n < 0 { Err("negative".into()) } else { Ok(n) })
                    .name("root")
                    .sink_to(testing::output())
                    .name("out");
            })
            .unwrap();
        test.pipe("in", [1_i64, 2, -3, 4]);
        let failure = test.failure().unwrap();
        assert_eq!(
            (&failure.operator[..], failure.record, &failure.message[..]),
            ("root", 3, "negative")
        );
        assert!(test.is_finished());
        assert_eq!(test.outputs::<i64>("out"), [1, 2]);
        test.watermark("in", 5);
        test.set_clock_ms(9);
        assert!(test.outputs::<i64>("out").is_empty());
    }
}

#[test]
fn a_function_that_does_not_open_fails_the_job_and_not_the_driver() {
    #[derive(Clone)]
    struct Shut;
    impl MapFunction for Shut {
        type In = i64;
        type Out = i64;
        fn open(&mut self, _: &mut RuntimeContext<'_>) -> thalweg::Result {
            Err("no key".into())
        }
        fn map(&mut self, n: i64) -> thalweg::Result<i64> {
            Ok(n)
        }
    }
    for shell in SHELLS {
        let mut test = on(shell, 1)
            .build(|env| {
                let numbers = env.from_source(testing::input::<i64>(), "in");
                numbers.map_with(Shut).name("shut").sink_to(testing::output()).name("out");
            })
            .unwrap();
        assert_eq!(test.failure().unwrap().operator, "shut");
        test.pipe("in", [1_i64]);
        assert!(test.outputs::<i64>("out").is_empty());
    }
}

#[test]
fn misuse_says_what_there_is() {
    let message = |misuse: &mut dyn FnMut()| {
        let payload = catch_unwind(AssertUnwindSafe(misuse)).unwrap_err();
        payload.downcast_ref::<String>().unwrap().clone()
    };
    let test = RefCell::new(TestDriver::new(|env| {
        env.from_source(testing::input::<i64>(), "left").sink_to(testing::output()).name("out");
        env.from_source(testing::input::<i64>(), "right").for_each(|_| {});
    }));
    let pipe = message(&mut || test.borrow_mut().pipe("in", [1_i64]));
    assert_eq!(pipe, "the job has no test input 'in'; it has 'left', 'right'");
    let pipe = message(&mut || test.borrow_mut().pipe("left", ["a"]));
    assert!(pipe.starts_with("test input 'left' has records of type i64, not &str; "), "{pipe}");
    let control = message(&mut || test.borrow_mut().watermark("middle", 3));
    assert_eq!(control, "the job has no test input 'middle'; it has 'left', 'right'");
    let outputs = message(&mut || drop(test.borrow_mut().outputs::<i64>("outs")));
    assert_eq!(outputs, "the job has no test output 'outs'; it has 'out'");
    let outputs = message(&mut || drop(test.borrow_mut().outputs::<u8>("out")));
    assert!(
        outputs.starts_with("test output 'out' has records of type i64, not u8; "),
        "{outputs}"
    );
    // The driver is as it was.
    test.borrow_mut().pipe("left", [1_i64]);
    assert_eq!(test.borrow_mut().outputs::<i64>("out"), [1]);

    let plan = message(&mut || drop(TestDriver::new(|_| {})));
    assert!(plan.starts_with("the job cannot be tested: "), "{plan}");
    let built = TestDriver::builder().parallelism(0).build(sums);
    assert!(matches!(built, Err(thalweg::Error::Configuration(_))));
}

#[test]
fn names_must_be_unique_and_ends_belong_into_the_closure() {
    let failure = |write: &dyn Fn(&StreamExecutionEnvironment)| {
        TestDriver::builder().build(write).unwrap().failure().unwrap().message
    };
    let twice = failure(&|env| {
        for _ in 0..2 {
            env.from_source(testing::input::<i64>(), "in").for_each(|_| {});
        }
    });
    assert_eq!(twice, "two test inputs are named 'in'; give each its own name");
    let twice = failure(&|env| {
        let output = testing::output::<i64>();
        for input in ["a", "b"] {
            let numbers = env.from_source(testing::input::<i64>(), input);
            numbers.sink_to(output.clone()).name("out");
        }
    });
    assert_eq!(twice, "two test outputs are named 'out'; give each its own name");

    let env = StreamExecutionEnvironment::new();
    env.from_source(testing::input::<i64>(), "in").for_each(|_| {});
    let outside = env.execute("outside").unwrap_err().to_string();
    assert!(outside.contains("testing::input was called outside of a test driver"), "{outside}");
    env.from_elements([1]).sink_to(testing::output());
    let outside = env.execute("outside").unwrap_err().to_string();
    assert!(outside.contains("testing::output was called outside of a test driver"), "{outside}");
}

#[test]
fn drivers_live_side_by_side_and_close_their_functions() {
    #[derive(Clone)]
    struct Counted(Lifecycle);
    impl MapFunction for Counted {
        type In = i64;
        type Out = i64;
        fn open(&mut self, _: &mut RuntimeContext<'_>) -> thalweg::Result {
            self.0.open();
            Ok(())
        }
        fn map(&mut self, n: i64) -> thalweg::Result<i64> {
            Ok(n + 1)
        }
        fn close(&mut self) -> thalweg::Result {
            self.0.close();
            Ok(())
        }
    }
    for shell in SHELLS {
        let lifecycle = Lifecycle::default();
        let driver = || {
            let write = |env: &StreamExecutionEnvironment| {
                let numbers = env.from_source(testing::input::<i64>(), "in");
                numbers.map_with(Counted(lifecycle.clone())).sink_to(testing::output()).name("out");
            };
            on(shell, 2).build(write).unwrap()
        };
        let (mut first, mut second) = (driver(), driver());
        first.set_clock_ms(100);
        first.pipe("in", [1_i64]);
        second.pipe("in", [2_i64]);
        assert_eq!((first.clock_ms(), second.clock_ms()), (100, 0));
        assert_eq!((first.outputs::<i64>("out"), second.outputs::<i64>("out")), (vec![2], vec![3]));
        assert_eq!(lifecycle.counts(), (4, 0), "{shell:?}");
        drop(first);
        assert_eq!(lifecycle.counts(), (4, 2), "{shell:?}");
        second.pipe("in", [4_i64]);
        assert_eq!(second.outputs::<i64>("out"), [5]);
        drop(second);
        assert_eq!(lifecycle.counts(), (4, 4), "{shell:?}");
    }
}

#[test]
fn metrics_and_graphs_are_at_hand() {
    let mut test = TestDriver::new(sums);
    test.pipe("in", [of("a", 1), of("b", 2)]);
    let snapshot = test.metrics();
    assert!(snapshot.vertices.iter().any(|vertex| vertex.total.records_in == 2), "{snapshot:?}");
    assert!(test.explain(thalweg::graph::ExplainFormat::Text).contains("sums"));
    assert_eq!(test.status(), thalweg::graph::JobStatus::Running);
}

#[test]
fn a_harness_has_two_inputs_and_side_outputs() {
    let odd = OutputTag::<i64>::new("odd");
    #[derive(Clone)]
    struct Even(OutputTag<i64>);
    impl ProcessFunction for Even {
        type In = i64;
        type Out = i64;
        fn process_element(
            &mut self,
            n: i64,
            context: &mut ProcessContext<'_>,
            out: &mut Collector<'_, i64>,
        ) -> thalweg::Result {
            if n % 2 == 0 {
                out.collect(n);
            } else {
                context.output(&self.0, n);
            }
            Ok(())
        }
    }
    let builder = OperatorHarness::builder().side_output(&odd);
    let mut harness = builder
        .build_two(|first: DataStream<i64>, second: DataStream<i64>| {
            first.union(second).process(Even(odd.clone()))
        })
        .unwrap();
    harness.push(1, 10);
    harness.push(2, 20);
    harness.push_second(4, 30);
    harness.push_second_untimed(5);
    assert_eq!(harness.events(), [record(2, 20), record(4, 30)]);
    assert_eq!(harness.side_outputs(&odd), [1, 5]);
    harness.status_first(StreamStatus::Idle);
    harness.watermark(7);
    assert_eq!(harness.events(), [OutputEvent::Watermark(7)]);
    assert_eq!(harness.side_events(&odd), [OutputEvent::Watermark(7)]);
    harness.status(StreamStatus::Active);
    harness.end();
    assert!(harness.driver().is_finished() && harness.failure().is_none());
}

fn thread_count() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// Runs one ignored test of this file in a process of its own, where no other test starts threads.
fn alone(test: &str) {
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--test-threads", "1"])
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn the_seeded_shell_starts_no_thread() {
    alone("child_seeded_shell_starts_no_thread");
}

#[test]
#[ignore = "run by the_seeded_shell_starts_no_thread"]
fn child_seeded_shell_starts_no_thread() {
    let before = thread_count();
    let mut test = on(None, 4).build(sums).unwrap();
    assert_eq!(thread_count(), before);
    test.pipe("in", (0..100).map(|n| of(&format!("key {n}"), n)));
    test.advance_clock(seconds(1));
    assert_eq!(thread_count(), before);
    test.end("in");
    drop(test);
    assert_eq!(thread_count(), before);
}

#[test]
fn drivers_on_threads_use_the_same_threads_again() {
    alone("child_drivers_on_threads_use_the_same_threads_again");
}

#[test]
#[ignore = "run by drivers_on_threads_use_the_same_threads_again"]
fn child_drivers_on_threads_use_the_same_threads_again() {
    for shell in [ShellKind::Threads, ShellKind::Glommio] {
        let mut counts = Vec::new();
        for n in 0..20 {
            let mut test = on(Some(shell), 2).build(sums).unwrap();
            test.pipe("in", [of("a", n)]);
            assert_eq!(test.outputs::<(String, i64)>("sums").len(), 1);
            drop(test);
            counts.push(thread_count());
        }
        assert_eq!(counts[0], counts[19], "{shell:?}: {counts:?}");
    }
}
