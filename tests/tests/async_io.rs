//! Asynchronous I/O: order, watermarks, timeouts, retries and capacity step by step, a model, and real threads.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "requests are answered on threads of the test")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use thalweg::Error;
use thalweg::prelude::*;
use thalweg::testing::{self, OutputEvent, TestDriver};
use thalweg_tests::{On, Random, Steps, WithSubtask, failure_of, matrix, stepped};
use tokio::sync::oneshot;

stepped![
    ordered_results_leave_as_records_came,
    unordered_results_leave_as_they_are_answered,
    ordered_watermarks_keep_their_places,
    unordered_results_pass_no_watermark,
    statuses_keep_their_places,
    a_request_may_have_no_result_or_several,
    the_first_answer_counts,
    a_timed_out_request_gets_another_result,
    a_timed_out_request_may_have_no_result,
    a_timeout_without_a_hook_fails_the_job,
    the_answer_that_comes_before_that_of_the_timeout_counts,
    a_dropped_handle_fails_the_job,
    a_failed_request_fails_the_job_and_names_its_record,
    capacity_is_exact_and_loses_nothing,
    the_timeout_begins_with_the_request,
    failed_requests_are_repeated,
    unwanted_results_are_repeated_until_the_last_counts,
    retries_that_are_used_up_fail_the_job,
    the_timeout_spans_all_retries,
    a_timed_out_request_is_not_repeated,
    delays_of_retries_grow,
    the_end_begins_retries_at_once_and_ends_them,
    the_end_waits_for_all_requests,
    futures_are_polled_when_they_are_woken,
    futures_that_time_out_are_dropped,
    failed_futures_are_repeated,
    random_scripts_agree_with_the_model,
];

matrix![
    threads_answer_in_order,
    threads_answer_in_any_order_between_watermarks,
    tokio_tasks_are_awaited,
    a_panic_in_a_future_names_its_record,
    a_panic_in_invoke_is_a_failure,
];

/// Requests that wait for an answer by the test.
#[derive(Clone, Default)]
struct Desk {
    open: Arc<Mutex<BTreeMap<u64, ResultFuture<String>>>>,
    /// The ids of all attempts.
    begun: Arc<Mutex<Vec<u64>>>,
    timeouts: Arc<Mutex<Vec<ResultFuture<String>>>>,
    on_timeout: OnTimeout,
}

#[derive(Clone, Copy, Debug, Default)]
enum OnTimeout {
    #[default]
    Value,
    Empty,
    /// The test answers.
    Later,
}

impl AsyncFunction for Desk {
    type In = u64;
    type Out = String;
    fn invoke(&mut self, id: &u64, result: ResultFuture<String>) -> thalweg::Result<()> {
        self.begun.lock().unwrap().push(*id);
        self.open.lock().unwrap().insert(*id, result);
        Ok(())
    }
    fn timeout(&mut self, id: &u64, result: ResultFuture<String>) -> thalweg::Result<()> {
        match self.on_timeout {
            OnTimeout::Value => result.complete(vec![format!("{id} timed out")]),
            OnTimeout::Empty => result.complete(vec![]),
            OnTimeout::Later => self.timeouts.lock().unwrap().push(result),
        }
        Ok(())
    }
}

impl Desk {
    /// Takes the handle of the latest attempt.
    fn take(&self, id: u64) -> ResultFuture<String> {
        self.open.lock().unwrap().remove(&id).expect("the request was begun")
    }

    fn begun(&self) -> Vec<u64> {
        std::mem::take(&mut *self.begun.lock().unwrap())
    }
}

type Options = AsyncOptions<u64, String>;

/// A test with its desk.
struct Office {
    test: TestDriver,
    desk: Desk,
}

impl Office {
    fn new(steps: Steps, is_ordered: bool, options: Options) -> Self {
        Self::with(steps, is_ordered, options, OnTimeout::Value)
    }

    fn with(steps: Steps, is_ordered: bool, options: Options, on_timeout: OnTimeout) -> Self {
        let desk = Desk { on_timeout, ..Desk::default() };
        let function = desk.clone();
        let test = steps.driver().parallelism(1).seed(steps.parallelism as u64).build(|env| {
            let ids = env.from_source(testing::input::<u64>(), "in");
            if is_ordered {
                let results = ids.async_ordered(function, options).name("desk");
                results.sink_to(testing::output()).name("out");
            } else {
                let results = ids.async_unordered(function, options).name("desk");
                results.sink_to(testing::output()).name("out");
            }
        });
        Office { test: test.unwrap(), desk }
    }

    fn ask(&mut self, ids: impl IntoIterator<Item = u64>) {
        ids.into_iter().for_each(|id| self.test.pipe_at("in", [(id as i64, id)]));
    }

    fn answer(&mut self, id: u64, results: &[&str]) {
        self.desk.take(id).complete(results.iter().map(|r| (*r).to_owned()).collect());
        self.test.settle();
    }

    fn fail(&mut self, id: u64, error: &str) {
        self.desk.take(id).fail(error);
        self.test.settle();
    }

    /// What has come: results as `timestamp:result`, watermarks as `w`, statuses as they are.
    fn out(&mut self) -> Vec<String> {
        let told = |event| match event {
            OutputEvent::Record { value, timestamp_ms } => {
                format!("{}:{value}", timestamp_ms.unwrap())
            }
            OutputEvent::Watermark(i64::MAX) => "end".to_owned(),
            OutputEvent::Watermark(at) => format!("w{at}"),
            OutputEvent::Status(status) => format!("{status:?}"),
        };
        self.test.events::<String>("out").into_iter().map(told).collect()
    }

    #[track_caller]
    fn failure(&self) -> thalweg::JobFailure {
        self.test.failure().expect("the job should have failed")
    }
}

fn forever() -> Options {
    AsyncOptions::without_timeout()
}

fn after_100_ms() -> Options {
    AsyncOptions::timeout(milliseconds(100))
}

fn ordered_results_leave_as_records_came(steps: Steps) {
    let mut office = Office::new(steps, true, forever());
    office.ask([1, 2, 3]);
    office.answer(2, &["x"]);
    office.answer(3, &["y"]);
    assert_eq!(office.out(), [""; 0]);
    office.answer(1, &["z"]);
    assert_eq!(office.out(), ["1:z", "2:x", "3:y"]);
    office.test.end("in");
    assert_eq!(office.out(), ["end"]);
    assert!(office.test.is_finished());
}

fn unordered_results_leave_as_they_are_answered(steps: Steps) {
    let mut office = Office::new(steps, false, forever());
    office.ask([1, 2, 3]);
    office.answer(2, &["x"]);
    assert_eq!(office.out(), ["2:x"]);
    office.answer(3, &["y"]);
    office.answer(1, &["z"]);
    assert_eq!(office.out(), ["3:y", "1:z"]);
}

fn ordered_watermarks_keep_their_places(steps: Steps) {
    let mut office = Office::new(steps, true, forever());
    office.test.watermark("in", 1);
    assert_eq!(office.out(), ["w1"]);
    office.ask([2]);
    office.test.watermark("in", 5);
    office.test.watermark("in", 6);
    office.ask([7]);
    office.answer(7, &["y"]);
    assert_eq!(office.out(), [""; 0]);
    office.answer(2, &["x"]);
    assert_eq!(office.out(), ["2:x", "w5", "w6", "7:y"]);
}

fn unordered_results_pass_no_watermark(steps: Steps) {
    let mut office = Office::new(steps, false, forever());
    office.ask([1, 2]);
    office.test.watermark("in", 5);
    office.ask([6, 7]);
    office.answer(7, &["z"]);
    office.answer(2, &["y"]);
    assert_eq!(office.out(), ["2:y"]);
    office.answer(1, &["x"]);
    assert_eq!(office.out(), ["1:x", "w5", "7:z"]);
    office.test.watermark("in", 8);
    assert_eq!(office.out(), [""; 0]);
    office.answer(6, &[]);
    assert_eq!(office.out(), ["w8"]);
}

fn statuses_keep_their_places(steps: Steps) {
    for is_ordered in [true, false] {
        let mut office = Office::new(steps, is_ordered, forever());
        office.ask([1]);
        office.test.watermark("in", 2);
        office.test.idle("in");
        assert_eq!(office.out(), [""; 0]);
        office.answer(1, &["x"]);
        assert_eq!(office.out(), ["1:x", "w2", "Idle"]);
        office.test.active("in");
        assert_eq!(office.out(), ["Active"]);
    }
}

fn a_request_may_have_no_result_or_several(steps: Steps) {
    let mut office = Office::new(steps, true, forever());
    office.ask([1, 2]);
    office.answer(1, &[]);
    office.answer(2, &["p", "q"]);
    assert_eq!(office.out(), ["2:p", "2:q"]);
    // More than one step of the operator.
    office.ask([3, 4]);
    let many: Vec<_> = (0..3_000).map(|n| n.to_string()).collect();
    office.desk.take(3).complete(many.clone());
    office.answer(4, &["last"]);
    let out = office.out();
    assert_eq!(out.len(), 3_001);
    assert!(out.iter().zip(&many).all(|(out, n)| *out == format!("3:{n}")));
    assert_eq!(out[3_000], "4:last");
}

fn the_first_answer_counts(steps: Steps) {
    let mut office = Office::new(steps, true, forever());
    office.ask([1]);
    let handle = Arc::new(office.desk.take(1));
    let other = handle.clone();
    handle.complete(vec!["first".into()]);
    other.complete(vec!["second".into()]);
    other.fail("too late to fail");
    drop((handle, other));
    office.test.settle();
    assert_eq!(office.out(), ["1:first"]);
    assert!(office.test.failure().is_none());
}

fn a_timed_out_request_gets_another_result(steps: Steps) {
    let mut office = Office::new(steps, true, after_100_ms());
    office.test.set_clock_ms(0);
    office.ask([1]);
    office.test.set_clock_ms(50);
    office.ask([2]);
    office.test.set_clock_ms(99);
    assert_eq!(office.out(), [""; 0]);
    office.test.set_clock_ms(100);
    assert_eq!(office.out(), ["1:1 timed out"]);
    office.answer(1, &["late"]);
    office.answer(2, &["y"]);
    office.test.set_clock_ms(200);
    assert_eq!(office.out(), ["2:y"]);
    // Of the options, instead of the function's.
    let options = after_100_ms().on_timeout(|id| Ok(vec![format!("no {id}"), "sorry".into()]));
    let mut office = Office::new(steps, false, options);
    office.ask([1]);
    office.test.set_clock_ms(100);
    assert_eq!(office.out(), ["1:no 1", "1:sorry"]);
}

fn a_timed_out_request_may_have_no_result(steps: Steps) {
    let mut office = Office::with(steps, true, after_100_ms(), OnTimeout::Empty);
    office.ask([1, 2]);
    office.answer(2, &["y"]);
    office.test.watermark("in", 3);
    office.test.set_clock_ms(1_000);
    assert_eq!(office.out(), ["2:y", "w3"]);
}

/// Never answers.
#[derive(Clone, Default)]
struct Silent(Arc<Mutex<Vec<ResultFuture<u64>>>>);

impl AsyncFunction for Silent {
    type In = u64;
    type Out = u64;
    fn invoke(&mut self, _: &u64, result: ResultFuture<u64>) -> thalweg::Result<()> {
        self.0.lock().unwrap().push(result);
        Ok(())
    }
}

fn a_timeout_without_a_hook_fails_the_job(steps: Steps) {
    let mut test = steps
        .driver()
        .parallelism(1)
        .build(|env| {
            env.from_source(testing::input::<u64>(), "in")
                .async_ordered(Silent::default(), AsyncOptions::timeout(milliseconds(10)))
                .name("silent")
                .sink_to(testing::output())
                .name("out");
        })
        .unwrap();
    test.pipe("in", [7_u64, 8, 9]);
    test.set_clock_ms(9);
    assert!(test.failure().is_none());
    test.set_clock_ms(10);
    let failure = test.failure().unwrap();
    assert_eq!((failure.operator.as_str(), failure.record), ("silent", 1));
    let cause = failure.cause.as_ref().and_then(|cause| cause.downcast_ref::<AsyncError>());
    assert_eq!(cause, Some(&AsyncError::TimedOut));
    assert!(failure.message.contains("raise the timeout"), "{failure}");
}

fn the_answer_that_comes_before_that_of_the_timeout_counts(steps: Steps) {
    let mut office = Office::with(steps, true, after_100_ms(), OnTimeout::Later);
    office.ask([1, 2]);
    office.test.set_clock_ms(100);
    office.answer(1, &["in the end"]);
    assert_eq!(office.out(), ["1:in the end"]);
    let timeouts: Vec<_> = office.desk.timeouts.lock().unwrap().drain(..).collect();
    for timeout in &timeouts {
        timeout.complete(vec!["given up".into()]);
    }
    office.test.settle();
    assert_eq!(office.out(), ["2:given up"]);
    // The handle of the attempt may go: the timeout's has answered.
    drop(office.desk.take(2));
    office.test.settle();
    assert!(office.test.failure().is_none());
}

fn a_dropped_handle_fails_the_job(steps: Steps) {
    let mut office = Office::new(steps, true, forever());
    office.ask([1, 2]);
    drop(office.desk.take(2));
    office.test.settle();
    let failure = office.failure();
    let cause = failure.cause.as_ref().and_then(|cause| cause.downcast_ref::<AsyncError>());
    assert_eq!(cause, Some(&AsyncError::Dropped));
    assert_eq!(failure.record, 2);
    assert!(failure.message.contains("call complete"), "{failure}");
}

fn a_failed_request_fails_the_job_and_names_its_record(steps: Steps) {
    let mut office = Office::new(steps, true, forever());
    office.ask([1, 2, 3]);
    office.fail(2, "no such user");
    let failure = office.failure();
    assert_eq!((failure.operator.as_str(), failure.record), ("desk", 2));
    assert_eq!((failure.message.as_str(), failure.panicked), ("no such user", false));
    // The others may still be answered; nobody listens.
    office.desk.take(1).complete(vec![]);
}

fn capacity_is_exact_and_loses_nothing(steps: Steps) {
    for (is_ordered, capacity) in [(true, 1), (false, 1), (true, 3), (false, 3)] {
        let mut office = Office::new(steps, is_ordered, forever().capacity(capacity));
        office.ask(1..=7);
        office.test.watermark("in", 7);
        assert_eq!(office.desk.begun(), (1..=capacity as u64).collect::<Vec<_>>());
        for id in 1..=7 {
            office.answer(id, &["r"]);
            let next = id + capacity as u64;
            let expected: &[u64] = if next <= 7 { &[next] } else { &[] };
            assert_eq!(office.desk.begun(), expected, "{is_ordered}, {capacity}");
        }
        assert_eq!(office.out(), ["1:r", "2:r", "3:r", "4:r", "5:r", "6:r", "7:r", "w7"]);
    }
}

fn the_timeout_begins_with_the_request(steps: Steps) {
    let mut office = Office::new(steps, true, after_100_ms().capacity(1));
    office.ask([1, 2]);
    office.test.set_clock_ms(60);
    office.answer(1, &["x"]);
    office.test.set_clock_ms(159);
    assert_eq!(office.out(), ["1:x"]);
    office.test.set_clock_ms(160);
    assert_eq!(office.out(), ["2:2 timed out"]);
}

fn retrying(retries_max: u32) -> AsyncRetry<String> {
    AsyncRetry::fixed_delay(retries_max, milliseconds(10))
        .if_error(|error| error.to_string() == "busy")
        .if_result(|results| results.is_empty())
}

fn failed_requests_are_repeated(steps: Steps) {
    let mut office = Office::new(steps, true, forever().retry(retrying(2)));
    office.ask([1, 2]);
    office.answer(2, &["y"]);
    let first = office.desk.take(1);
    first.fail("busy");
    office.test.settle();
    assert_eq!(office.desk.begun(), [1, 2]);
    office.test.set_clock_ms(9);
    assert_eq!(office.desk.begun(), [0; 0]);
    office.test.set_clock_ms(10);
    assert_eq!(office.desk.begun(), [1]);
    // The handle of the attempt before is worth nothing any more.
    first.complete(vec!["stale".into()]);
    drop(first);
    office.test.settle();
    assert_eq!(office.out(), [""; 0]);
    office.answer(1, &["x"]);
    assert_eq!(office.out(), ["1:x", "2:y"]);
    // Another error is not for retries.
    office.ask([3]);
    office.fail(3, "forbidden");
    assert_eq!(office.failure().message, "forbidden");
}

fn unwanted_results_are_repeated_until_the_last_counts(steps: Steps) {
    let mut office = Office::new(steps, false, forever().retry(retrying(2)));
    office.ask([1]);
    for at in [10, 20] {
        office.answer(1, &[]);
        office.test.watermark("in", at);
        office.test.set_clock_ms(at);
    }
    assert_eq!(office.desk.begun(), [1, 1, 1]);
    assert_eq!(office.out(), [""; 0]);
    office.answer(1, &[]);
    assert_eq!(office.out(), ["w10", "w20"]);
}

fn retries_that_are_used_up_fail_the_job(steps: Steps) {
    let mut office = Office::new(steps, true, forever().retry(retrying(1)));
    office.ask([0, 1]);
    office.fail(1, "busy");
    office.test.set_clock_ms(10);
    assert!(office.test.failure().is_none());
    office.fail(1, "busy");
    let failure = office.failure();
    assert_eq!((failure.message.as_str(), failure.record), ("busy", 2));
}

fn the_timeout_spans_all_retries(steps: Steps) {
    let mut office = Office::new(steps, true, after_100_ms().retry(retrying(9)));
    office.ask([1]);
    office.test.set_clock_ms(95);
    office.fail(1, "busy");
    assert_eq!(office.desk.begun(), [1]);
    // It waits for its retry at 105 when its time is up.
    office.test.set_clock_ms(100);
    assert_eq!(office.out(), ["1:1 timed out"]);
    office.test.set_clock_ms(105);
    assert_eq!(office.desk.begun(), [0; 0]);
}

fn a_timed_out_request_is_not_repeated(steps: Steps) {
    let options = after_100_ms().retry(retrying(9));
    let mut office = Office::with(steps, true, options, OnTimeout::Empty);
    office.ask([1]);
    office.test.set_clock_ms(100);
    office.ask([2]);
    office.answer(2, &["y"]);
    office.test.set_clock_ms(500);
    // An empty result is one to repeat, but not from a timeout.
    assert_eq!(office.desk.begun(), [1, 2]);
    assert_eq!(office.out(), ["2:y"]);
}

fn delays_of_retries_grow(steps: Steps) {
    let retry = AsyncRetry::exponential_backoff(4, milliseconds(10), milliseconds(35), 2.0);
    let mut office = Office::new(steps, true, forever().retry(retry.if_error(|_| true)));
    office.ask([1]);
    for at in [10, 30, 65, 100] {
        office.fail(1, "busy");
        office.test.set_clock_ms(at - 1);
        assert_eq!(office.desk.begun().len(), usize::from(at == 10), "before {at}");
        office.test.set_clock_ms(at);
        assert_eq!(office.desk.begun(), [1], "at {at}");
    }
    office.answer(1, &["x"]);
    assert_eq!(office.out(), ["1:x"]);
}

fn the_end_begins_retries_at_once_and_ends_them(steps: Steps) {
    let mut office = Office::new(steps, true, forever().retry(retrying(9)));
    office.ask([1, 2]);
    office.answer(1, &[]);
    assert_eq!(office.desk.begun(), [1, 2]);
    office.test.end("in");
    assert_eq!(office.desk.begun(), [1]);
    assert_eq!(office.out(), [""; 0]);
    office.answer(1, &[]);
    office.answer(2, &["y"]);
    assert_eq!(office.out(), ["2:y", "end"]);
    assert!(office.test.is_finished() && office.test.failure().is_none());
}

fn the_end_waits_for_all_requests(steps: Steps) {
    for is_ordered in [true, false] {
        let mut office = Office::new(steps, is_ordered, after_100_ms().capacity(2));
        office.ask([1, 2, 3]);
        office.test.end("in");
        assert!(!office.test.is_finished());
        office.answer(2, &["y"]);
        office.answer(1, &["x"]);
        assert_eq!(office.out().len(), 2);
        assert!(!office.test.is_finished());
        // Timeouts still run.
        office.test.set_clock_ms(100);
        assert_eq!(office.out(), ["3:3 timed out", "end"]);
        assert!(office.test.is_finished());
    }
}

type Kept = Result<String, &'static str>;

/// Makes futures that the test answers; counts those that are alive.
#[derive(Clone, Default)]
struct Promises {
    open: Arc<Mutex<BTreeMap<u64, oneshot::Sender<Kept>>>>,
    alive: Arc<AtomicUsize>,
}

struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Promises {
    fn make(&self, id: u64) -> impl Future<Output = thalweg::Result<String>> + use<> {
        let (sender, receiver) = oneshot::channel();
        self.open.lock().unwrap().insert(id, sender);
        self.alive.fetch_add(1, Ordering::SeqCst);
        let alive = Alive(self.alive.clone());
        // Not Send: it stays on its core.
        let prefix = std::rc::Rc::new(format!("user {id}"));
        async move {
            let _alive = alive;
            let answer = receiver.await??;
            Ok(format!("{prefix} {answer}"))
        }
    }

    fn keep(&self, test: &mut TestDriver, id: u64, answer: Result<&str, &'static str>) {
        let sender = self.open.lock().unwrap().remove(&id).unwrap();
        let _ = sender.send(answer.map(str::to_owned));
        test.settle();
    }
}

fn promised(steps: Steps, is_ordered: bool, options: Options) -> (TestDriver, Promises) {
    let promises = Promises::default();
    let made = promises.clone();
    let function = move |id: u64| made.make(id);
    let test = steps.driver().parallelism(1).build(|env| {
        let ids = env.from_source(testing::input::<u64>(), "in");
        if is_ordered {
            ids.async_map_ordered(options, function).sink_to(testing::output()).name("out");
        } else {
            ids.async_map_unordered(options, function).sink_to(testing::output()).name("out");
        }
    });
    (test.unwrap(), promises)
}

fn futures_are_polled_when_they_are_woken(steps: Steps) {
    let (mut test, promises) = promised(steps, true, forever());
    test.pipe("in", [1_u64, 2, 3]);
    promises.keep(&mut test, 3, Ok("c"));
    promises.keep(&mut test, 1, Ok("a"));
    assert_eq!(test.outputs::<String>("out"), ["user 1 a"]);
    promises.keep(&mut test, 2, Ok("b"));
    assert_eq!(test.outputs::<String>("out"), ["user 2 b", "user 3 c"]);
    assert_eq!(promises.alive.load(Ordering::SeqCst), 0);
    let (mut test, promises) = promised(steps, false, forever());
    test.pipe("in", [1_u64, 2]);
    promises.keep(&mut test, 2, Ok("b"));
    assert_eq!(test.outputs::<String>("out"), ["user 2 b"]);
    // A job that is given up drops its futures.
    drop(test);
    assert_eq!(promises.alive.load(Ordering::SeqCst), 0);
}

fn futures_that_time_out_are_dropped(steps: Steps) {
    let options = after_100_ms().on_timeout(|id| Ok(vec![format!("none for {id}")]));
    let (mut test, promises) = promised(steps, true, options);
    test.pipe("in", [1_u64, 2]);
    promises.keep(&mut test, 2, Ok("b"));
    test.set_clock_ms(100);
    assert_eq!(test.outputs::<String>("out"), ["none for 1", "user 2 b"]);
    assert_eq!(promises.alive.load(Ordering::SeqCst), 0);
    // Waking what is gone does nothing, also where its place was given to another.
    test.pipe("in", [3_u64]);
    promises.keep(&mut test, 1, Ok("late"));
    assert_eq!(test.outputs::<String>("out"), [""; 0]);
    promises.keep(&mut test, 3, Ok("c"));
    assert_eq!(test.outputs::<String>("out"), ["user 3 c"]);
    let (mut test, promises) = promised(steps, true, after_100_ms());
    test.pipe("in", [1_u64]);
    test.set_clock_ms(100);
    let cause = test.failure().unwrap().cause.unwrap();
    assert_eq!(cause.downcast_ref::<AsyncError>(), Some(&AsyncError::TimedOut));
    drop(test);
    assert_eq!(promises.alive.load(Ordering::SeqCst), 0);
}

fn failed_futures_are_repeated(steps: Steps) {
    let retry = AsyncRetry::fixed_delay(1, milliseconds(10)).if_error(|_| true);
    let (mut test, promises) = promised(steps, true, forever().retry(retry));
    test.pipe("in", [1_u64, 2]);
    promises.keep(&mut test, 1, Err("busy"));
    assert!(promises.open.lock().unwrap().get(&1).is_none());
    test.set_clock_ms(10);
    promises.keep(&mut test, 2, Ok("b"));
    promises.keep(&mut test, 1, Ok("a"));
    assert_eq!(test.outputs::<String>("out"), ["user 1 a", "user 2 b"]);
    test.pipe("in", [3_u64]);
    promises.keep(&mut test, 3, Err("busy"));
    test.set_clock_ms(20);
    promises.keep(&mut test, 3, Err("busy still"));
    let failure = test.failure().unwrap();
    assert_eq!((failure.message.as_str(), failure.record), ("busy still", 3));
}

/// The operator as a list of what waits; `None` is a watermark.
struct Model {
    is_ordered: bool,
    capacity: usize,
    input: VecDeque<(u64, bool)>,
    /// Id, is it a request, its answer.
    queue: Vec<(u64, bool, Option<u64>)>,
    answers: u64,
    out: Vec<String>,
}

impl Model {
    fn run(&mut self) {
        loop {
            self.leave();
            let requests = self.queue.iter().filter(|entry| entry.1).count();
            let is_full = requests > 0 && self.queue.len() >= self.capacity;
            match self.input.front() {
                Some(&(id, is_request)) if !is_full => {
                    self.input.pop_front();
                    self.queue.push((id, is_request, None));
                }
                _ => return,
            }
        }
    }

    fn leave(&mut self) {
        loop {
            let segment = self.queue.iter().take_while(|entry| entry.1).count();
            let first = match (self.is_ordered, segment) {
                (_, 0) | (true, _) => (!self.queue.is_empty()).then_some(0),
                // The earliest answer of the first segment.
                (false, _) => {
                    let answered = (0..segment).filter(|index| self.queue[*index].2.is_some());
                    answered.min_by_key(|index| self.queue[*index].2)
                }
            };
            let Some(index) = first else { return };
            let (id, is_request, answer) = self.queue[index];
            if is_request && answer.is_none() {
                return;
            }
            self.queue.remove(index);
            self.out.push(if is_request { format!("{id}:r{id}") } else { format!("w{id}") });
        }
    }

    fn open(&self) -> Vec<u64> {
        let open = self.queue.iter().filter(|entry| entry.1 && entry.2.is_none());
        open.map(|entry| entry.0).collect()
    }

    fn answer(&mut self, id: u64) {
        self.answers += 1;
        let answers = self.answers;
        let entry = self.queue.iter_mut().find(|entry| entry.1 && entry.0 == id);
        entry.unwrap().2 = Some(answers);
    }
}

fn random_scripts_agree_with_the_model(steps: Steps) {
    let mut emitted = 0;
    for seed in 0..16 {
        let mut random = Random::new(seed);
        let (is_ordered, capacity) = (random.once_in(2), 1 + random.below(8) as usize);
        let mut office = Office::new(steps, is_ordered, forever().capacity(capacity));
        let (input, queue, out) = (VecDeque::new(), Vec::new(), Vec::new());
        let mut model = Model { is_ordered, capacity, input, queue, answers: 0, out };
        for id in 1..200 {
            match random.below(5) {
                0 => {
                    office.test.watermark("in", id as i64);
                    model.input.push_back((id, false));
                }
                1 | 2 => {
                    office.ask([id]);
                    model.input.push_back((id, true));
                }
                _ => {
                    // One or several before the operator sees them.
                    for _ in 0..1 + random.below(3) {
                        let open = model.open();
                        if open.is_empty() {
                            break;
                        }
                        let id = open[random.below(open.len() as u64) as usize];
                        office.desk.take(id).complete(vec![format!("r{id}")]);
                        model.answer(id);
                    }
                    office.test.settle();
                }
            }
            model.run();
            assert_eq!(office.out(), model.out, "seed {seed}, {is_ordered}, {capacity}, step {id}");
            emitted += std::mem::take(&mut model.out).len();
        }
    }
    assert!(emitted > 500, "{emitted}");
}

/// Answers on a few threads, in an order of their own.
#[derive(Clone)]
struct Pool {
    queues: Vec<mpsc::Sender<(u64, ResultFuture<u64>)>>,
    next: usize,
}

impl Pool {
    fn new() -> Self {
        let queue = |thread: u64| {
            let (sender, receiver) = mpsc::channel::<(u64, ResultFuture<u64>)>();
            std::thread::spawn(move || {
                let mut held = Vec::new();
                while let Ok(request) = receiver.recv() {
                    held.push(request);
                    held.extend(receiver.try_iter().take(thread as usize));
                    held.drain(..).rev().for_each(|(n, result)| result.complete(vec![n * 2]));
                }
            });
            sender
        };
        Pool { queues: (0..4).map(queue).collect(), next: 0 }
    }
}

impl AsyncFunction for Pool {
    type In = u64;
    type Out = u64;
    fn invoke(&mut self, n: &u64, result: ResultFuture<u64>) -> thalweg::Result<()> {
        self.next = (self.next + 1) % self.queues.len();
        self.queues[self.next].send((*n, result))?;
        Ok(())
    }
}

const COUNT: u64 = 20_000;

fn threads_answer_in_order(on: On) {
    let env = on.env();
    let doubled = env
        .from_iter(0..COUNT)
        .rebalance()
        .async_ordered(Pool::new(), AsyncOptions::timeout(seconds(60)).capacity(50))
        .map_with(WithSubtask::default())
        .collect();
    env.execute("pool").unwrap();
    let doubled = doubled.take();
    for subtask in 0..on.parallelism {
        let of_subtask: Vec<_> = doubled.iter().filter(|place| place.0 == subtask).collect();
        assert!(of_subtask.is_sorted(), "subtask {subtask}");
    }
    let mut doubled: Vec<_> = doubled.into_iter().map(|place| place.1).collect();
    doubled.sort_unstable();
    assert!(doubled.into_iter().eq((0..COUNT).map(|n| n * 2)));
}

/// Fails if a record is behind the watermark.
#[derive(Clone)]
struct NothingLate;

impl ProcessFunction for NothingLate {
    type In = u64;
    type Out = u64;
    fn process_element(
        &mut self,
        n: u64,
        context: &mut ProcessContext<'_>,
        out: &mut Collector<'_, u64>,
    ) -> thalweg::Result<()> {
        assert!(context.timestamp().unwrap() > context.current_watermark());
        out.collect(n);
        Ok(())
    }
}

fn threads_answer_in_any_order_between_watermarks(on: On) {
    let env = on.env();
    let every_tenth =
        WatermarkStrategy::punctuated(|n: &u64, _| n.is_multiple_of(10).then_some(*n as i64));
    let doubled = env
        .from_iter(0..COUNT)
        .assign_timestamps_and_watermarks(every_tenth.with_timestamp(|n| *n as i64))
        .async_unordered(Pool::new(), AsyncOptions::timeout(seconds(60)).capacity(40))
        .process(NothingLate)
        .collect();
    env.execute("pool").unwrap();
    let mut doubled = doubled.take();
    doubled.sort_unstable();
    assert!(doubled.into_iter().eq((0..COUNT).map(|n| n * 2)));
}

fn tokio_tasks_are_awaited(on: On) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let handle = runtime.handle().clone();
    let env = on.env();
    let slept = env
        .from_iter(0..200_u64)
        .async_map_unordered(AsyncOptions::timeout(seconds(60)).capacity(64), move |n| {
            let task = handle.spawn(async move {
                tokio::time::sleep(milliseconds(n % 3)).await;
                n + 1
            });
            async move { Ok(task.await?) }
        })
        .collect();
    env.execute("tokio").unwrap();
    let mut slept = slept.take();
    slept.sort_unstable();
    assert!(slept.into_iter().eq(1..=200));
}

fn a_panic_in_a_future_names_its_record(on: On) {
    let env = on.env();
    let (sender, receiver) = oneshot::channel::<()>();
    let (sender, receiver) =
        (Arc::new(Mutex::new(Some(sender))), Arc::new(Mutex::new(Some(receiver))));
    env.from_iter(0..10_u64)
        .set_parallelism(1)
        .async_map_ordered(forever_of(), move |n| {
            let wake = (n == 9).then(|| sender.lock().unwrap().take());
            let wait = (n == 4).then(|| receiver.lock().unwrap().take());
            async move {
                if let Some(Some(wait)) = wait {
                    wait.await?;
                    panic!("four is not to be had");
                }
                if let Some(Some(wake)) = wake {
                    let _ = wake.send(());
                }
                Ok(n)
            }
        })
        .set_parallelism(1)
        .name("futures")
        .collect();
    let failure = failure_of(&env);
    assert!(failure.panicked, "{failure}");
    assert_eq!((failure.operator.as_str(), failure.record), ("futures", 5));
    assert!(failure.message.contains("four is not to be had"), "{failure}");
}

fn forever_of() -> AsyncOptions<u64, u64> {
    AsyncOptions::without_timeout()
}

/// Panics at one record and answers the others at once.
#[derive(Clone)]
struct PanicAt(u64);

impl AsyncFunction for PanicAt {
    type In = u64;
    type Out = u64;
    fn invoke(&mut self, n: &u64, result: ResultFuture<u64>) -> thalweg::Result<()> {
        assert_ne!(*n, self.0, "not this one");
        result.complete(vec![*n]);
        Ok(())
    }
}

fn a_panic_in_invoke_is_a_failure(on: On) {
    let env = on.env();
    env.from_iter(0..100_u64)
        .set_parallelism(1)
        .async_ordered(PanicAt(41), forever_of().capacity(7))
        .set_parallelism(1)
        .name("panics")
        .collect();
    let failure = failure_of(&env);
    assert!(failure.panicked && failure.message.contains("not this one"), "{failure}");
    assert_eq!((failure.operator.as_str(), failure.record), ("panics", 42));
}

#[test]
fn options_that_cannot_be_meant_are_mistakes_of_the_plan() {
    let env = StreamExecutionEnvironment::new();
    let retry = AsyncRetry::fixed_delay(3, milliseconds(0));
    env.from_iter(0..3_u64)
        .async_map_ordered(forever_of().capacity(0).retry(retry), |n| async move { Ok(n) })
        .name("lookup")
        .collect();
    let Err(Error::Plan(errors)) = env.execute("mistaken") else { panic!("they are mistakes") };
    let message = errors.to_string();
    for expected in
        ["operator 'lookup'", "async_io.rs", "capacity 0", "retries nothing", "delay of 0"]
    {
        assert!(message.contains(expected), "{message}");
    }
}
