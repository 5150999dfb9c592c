//! Errors and panics of user code, wherever it is called, fail the job by name and nothing else.

use super::super::test_jobs::{Numbers, Seen};
use super::*;
use crate::Result;
use crate::error::JobFailure;
use crate::function::{
    FilterFunction, InputStatus, NoSplit, ReaderContext, RuntimeContext, Sink, Source,
    SourceCollector, SourceReader,
};

fn failure(env: &StreamExecutionEnvironment) -> JobFailure {
    match env.execute("failing").unwrap_err() {
        Error::Job(failure) => failure,
        other => panic!("{other}"),
    }
}

/// The process lives, and so do the cores.
fn next_job_runs() {
    let (env, seen) = (threads(2), Seen::default());
    env.from_source(Numbers(Some(1_000)), "numbers").map(|n| n * 2).sink_to(seen.clone());
    env.execute("next").unwrap();
    assert_eq!(seen.both(), doubled(1_000));
}

#[test]
fn an_error_names_operator_subtask_and_record() {
    for parallelism in [1, 2] {
        let (env, seen) = (threads(parallelism), Seen::default());
        let numbers = env.from_source(Numbers(None), "numbers");
        let checked = numbers.try_map(|n| {
            if n == 4_321 { Err(format!("{n} is not a price").into()) } else { Ok(n) }
        });
        checked.name("price").rebalance().sink_to(seen.clone());
        let failure = failure(&env);
        assert_eq!((failure.operator.as_str(), failure.panicked), ("price", false));
        assert_eq!((failure.subtask, failure.parallelism), (parallelism - 1, parallelism));
        assert_eq!(failure.record, 4_321 / parallelism as u64 + 1);
        assert_eq!(failure.message, "4321 is not a price");
        assert_eq!(failure.cause.as_ref().unwrap().to_string(), "4321 is not a price");
        let expected = format!(
            "job 'failing': operator 'price' (subtask {parallelism} of {parallelism}) failed at record {} of its \
             input: 4321 is not a price",
            failure.record
        );
        assert_eq!(failure.to_string(), expected);
        assert!(seen.is_closed());
        next_job_runs();
    }
}

fn panics_by_name(shell: ShellKind) {
    let (env, seen) = (environment(shell, 2), Seen::default());
    let numbers = env.from_source(Numbers(None), "numbers").rebalance();
    let divided = numbers.map(|n| if n == 777 { panic!("cannot take {n}") } else { n });
    divided.name("divide").sink_to(seen.clone());
    let failure = failure(&env);
    assert_eq!((failure.operator.as_str(), failure.panicked), ("divide", true));
    assert_eq!((failure.message.as_str(), failure.parallelism), ("cannot take 777", 2));
    assert!(failure.record > 0 && failure.cause.is_none());
    assert!(seen.is_closed());
    next_job_runs();
}

#[test]
fn a_panic_names_operator_subtask_and_record_on_threads() {
    panics_by_name(ShellKind::Threads);
}

#[test]
fn a_panic_names_operator_subtask_and_record_on_glommio() {
    if io_uring_refused().is_none() {
        panics_by_name(ShellKind::Glommio);
    }
}

#[test]
fn a_panic_below_a_source_blames_the_operator_that_panicked() {
    let env = threads(1);
    let numbers = env.from_source(Numbers(Some(100)), "numbers");
    // A second stage in the same task: source, exchange and sink all unwind.
    let numbers = numbers.map(|n| n).set_parallelism(1);
    numbers.for_each(|n| assert!(n < 50, "too much")).name("limit");
    let failure = failure(&env);
    assert_eq!((failure.operator.as_str(), failure.record), ("limit", 51));
}

/// Fails at one place of its life, by an error or by a panic.
#[derive(Clone)]
struct Breaks {
    place: &'static str,
    panics: bool,
}

impl Breaks {
    fn at(&self, place: &str) -> Result<()> {
        match (self.place == place, self.panics) {
            (true, true) => panic!("broken in {place}"),
            (true, false) => Err(format!("broken in {place}").into()),
            (false, _) => Ok(()),
        }
    }
}

impl Sink<u64> for Breaks {
    fn open(&mut self, _: &mut RuntimeContext<'_>) -> Result<()> {
        self.at("open")
    }
    fn write(&mut self, _: u64, _: i64) -> Result<()> {
        self.at("write")
    }
    fn close(&mut self) -> Result<()> {
        self.at("close")
    }
}

impl FilterFunction for Breaks {
    type In = u64;
    fn open(&mut self, _: &mut RuntimeContext<'_>) -> Result<()> {
        self.at("open")
    }
    fn filter(&mut self, _: &u64) -> Result<bool> {
        self.at("filter").map(|()| true)
    }
}

#[test]
fn functions_fail_by_name_in_open_write_and_close() {
    for place in ["open", "write", "close"] {
        for panics in [false, true] {
            let env = threads(2);
            let numbers = env.from_source(Numbers(Some(100)), "numbers");
            numbers.rebalance().sink_to(Breaks { place, panics }).name("broken");
            let failure = failure(&env);
            assert_eq!(failure.operator, "broken", "{place}");
            assert_eq!(failure.panicked, panics, "{place}");
            assert!(failure.message.starts_with(&format!("broken in {place}")), "{failure}");
            assert_eq!(failure.parallelism, 2);
        }
    }
    next_job_runs();
}

#[test]
fn an_open_that_fails_closes_what_was_opened_before() {
    let (env, seen) = (threads(3), Seen::default());
    let broken = Breaks { place: "open", panics: false };
    let numbers = env.from_source(Numbers(None), "numbers").filter_with(broken).name("broken");
    numbers.rebalance().sink_to(seen.clone());
    assert_eq!(failure(&env).operator, "broken");
    assert!(seen.is_closed());
    assert_eq!(seen.both().0, 0);
}

struct NoReader(bool);
struct Never;
impl Source for NoReader {
    type Out = u64;
    type Split = NoSplit;
    type Reader = Never;
    fn create_reader(&self, _: &ReaderContext) -> Result<Never> {
        if self.0 { panic!("no reader") } else { Err("no reader".into()) }
    }
}
impl SourceReader for Never {
    type Out = u64;
    type Split = NoSplit;
    fn poll_batch(&mut self, _: usize, _: &mut SourceCollector<'_, u64>) -> Result<InputStatus> {
        unreachable!("it is never made")
    }
}

#[test]
fn a_reader_that_cannot_be_made_fails_by_name() {
    for panics in [false, true] {
        let env = threads(1);
        env.from_source(NoReader(panics), "nothing").for_each(|_| ());
        let failure = failure(&env);
        assert_eq!((failure.operator.as_str(), failure.panicked), ("nothing", panics));
        assert_eq!((failure.message.as_str(), failure.record), ("no reader", 0));
    }
}

#[test]
fn the_first_failure_is_the_one_that_is_told() {
    let env = threads(4);
    let numbers = env.from_source(Numbers(None), "numbers");
    numbers.try_map(|n| if n > 5_000 { Err("too large".into()) } else { Ok(n) }).for_each(|_| ());
    let job = env.execute_async("race").unwrap();
    let told: Vec<String> = (0..2).map(|_| job.wait().unwrap_err().to_string()).collect();
    assert_eq!(told[0], told[1]);
    assert_eq!(job.status(), JobStatus::Failed);
    assert!(job.explain(ExplainFormat::Text).contains("FAILED"));
    job.cancel();
    assert_eq!(job.status(), JobStatus::Failed);
}
