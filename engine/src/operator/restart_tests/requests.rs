//! Asynchronous requests in flight, and watermarks of splits with idleness, by the test driver: barriers pass requests that
//! nobody has answered yet.

use crate::function::{AsyncFunction, ResultFuture};
use crate::prelude::*;
use crate::testing::{OutputEvent, TestDriver, input, output};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Requests that wait for the test, by record; and all that were made, in order.
#[derive(Clone, Default)]
struct Service(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    open: BTreeMap<u64, ResultFuture<u64>>,
    made: Vec<u64>,
}

impl Service {
    fn with<R>(&self, code: impl FnOnce(&mut State) -> R) -> R {
        code(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Answers a request, if it is open: ten times its record, as often as the record says by its tens.
    fn answer(&self, record: u64) {
        let result = self.with(|state| state.open.remove(&record));
        let results = vec![10 * record; 1 + record as usize / 10];
        result.into_iter().for_each(|result| result.complete(results.clone()));
    }

    fn fail(&self, record: u64) {
        let result = self.with(|state| state.open.remove(&record));
        result.into_iter().for_each(|result| result.fail("not yet"));
    }

    fn made(&self) -> Vec<u64> {
        self.with(|state| std::mem::take(&mut state.made))
    }
}

impl AsyncFunction for Service {
    type In = u64;
    type Out = u64;
    fn invoke(&mut self, record: &u64, result: ResultFuture<u64>) -> crate::Result<()> {
        self.with(|state| {
            state.made.push(*record);
            state.open.insert(*record, result);
        });
        Ok(())
    }
}

/// What a test does.
#[derive(Clone, Copy, Debug)]
enum Act {
    Record(u64),
    Watermark(i64),
    Answer(u64),
}
use Act::{Answer, Record, Watermark};

/// Records with a watermark among them, answered out of order; 21 has three results.
const ACTS: [Act; 16] = [
    Record(1),
    Record(2),
    Watermark(5),
    Record(21),
    Record(4),
    Answer(2),
    Answer(4),
    Watermark(9),
    Record(5),
    Answer(1),
    Record(6),
    Answer(21),
    Answer(6),
    Watermark(12),
    Record(7),
    Answer(5),
];

fn driver(service: &Service, is_ordered: bool) -> TestDriver {
    let service = service.clone();
    let built = TestDriver::builder().checkpoints().build(move |env| {
        let numbers = env.from_source(input::<u64>(), "in");
        let options = AsyncOptions::timeout(seconds(60));
        let options = options.retry(AsyncRetry::fixed_delay(5, seconds(5)).if_error(|_| true));
        let answers = match is_ordered {
            true => numbers.async_ordered(service, options).boxed(),
            false => numbers.async_unordered(service, options).boxed(),
        };
        answers.sink_to(output()).name("out");
    });
    built.unwrap()
}

fn act(driver: &mut TestDriver, service: &Service, act: Act) {
    match act {
        Record(record) => driver.pipe_at("in", [(record as i64, record)]),
        Watermark(watermark_ms) => driver.watermark("in", watermark_ms),
        Answer(record) => {
            service.answer(record);
            driver.settle();
        }
    }
}

/// What came out, in order; between watermarks in any order where that is not kept.
fn heard(driver: &mut TestDriver, is_ordered: bool, all: &mut Vec<Vec<u64>>, said: &mut Vec<i64>) {
    for event in driver.events::<u64>("out") {
        match event {
            OutputEvent::Record { value, .. } => all.last_mut().unwrap().push(value),
            OutputEvent::Watermark(watermark_ms) => {
                said.push(watermark_ms);
                all.push(Vec::new());
            }
            OutputEvent::Status(_) => {}
        }
    }
    if !is_ordered {
        all.iter_mut().for_each(|segment| segment.sort_unstable());
    }
}

/// Answers all that is still open, and ends.
fn finish(driver: &mut TestDriver, service: &Service) {
    for _ in 0..3 {
        for record in 0..30 {
            service.answer(record);
            driver.settle();
        }
    }
    driver.end("in");
}

/// The requests that are in flight behind these acts, by the rules: those without an answer, and those that wait for others.
fn run(is_ordered: bool, restart_at: Option<usize>) -> (Vec<Vec<u64>>, Vec<i64>) {
    let service = Service::default();
    let mut driver = driver(&service, is_ordered);
    let (mut all, mut said) = (vec![Vec::new()], Vec::new());
    let mut answered = Vec::new();
    for (at, next) in ACTS.iter().enumerate() {
        if restart_at == Some(at) {
            driver.checkpoint();
            heard(&mut driver, is_ordered, &mut all, &mut said);
            let left: Vec<u64> = all.concat().iter().map(|result| result / 10).collect();
            let begun: Vec<u64> = service.made();
            service.with(|state| state.open.clear());
            driver.restart();
            let again = service.made();
            let in_flight = begun.into_iter().filter(|record| !left.contains(record));
            assert_eq!(again, in_flight.collect::<Vec<_>>(), "asked again in order, at {at}");
            // Their answers come anew, too.
            answered.drain(..).for_each(|record| service.answer(record));
            driver.settle();
        }
        act(&mut driver, &service, *next);
        if let Answer(record) = next {
            answered.push(*record);
        }
    }
    finish(&mut driver, &service);
    heard(&mut driver, is_ordered, &mut all, &mut said);
    (all, said)
}

#[test]
fn requests_in_flight_are_made_again() {
    for is_ordered in [true, false] {
        let expected = run(is_ordered, None);
        let results: usize = expected.0.iter().map(Vec::len).sum();
        assert_eq!((results, &expected.1[..3]), (9, &[5, 9, 12][..]));
        for at in 0..ACTS.len() {
            assert_eq!(run(is_ordered, Some(at)), expected, "ordered: {is_ordered}, at {at}");
        }
    }
}

/// A request that waits for its retry is made again at once, and so is one that was answered and has not left.
#[test]
fn retries_and_answers_that_wait_are_in_flight() {
    let service = Service::default();
    let mut driver = driver(&service, true);
    driver.pipe("in", [3_u64, 4]);
    service.fail(3);
    service.answer(4);
    driver.settle();
    assert!(driver.outputs::<u64>("out").is_empty());
    driver.checkpoint();
    assert_eq!(service.made(), [3, 4]);
    driver.restart();
    assert_eq!(service.made(), [3, 4]);
    service.answer(4);
    service.answer(3);
    driver.settle();
    assert_eq!(driver.outputs::<u64>("out"), [30, 40]);
}

/// The last checkpoint waits for what is in flight, since nobody would commit what comes behind it.
#[test]
fn the_last_checkpoint_waits_for_the_answers() {
    let service = Service::default();
    let mut driver = driver(&service, true);
    driver.pipe("in", [3_u64]);
    driver.end("in");
    driver.settle();
    assert!(!driver.is_finished());
    assert_eq!(driver.checkpoints().completed, 0);
    service.answer(3);
    driver.settle();
    assert_eq!(driver.outputs::<u64>("out"), [30]);
    assert!(driver.is_finished(), "{:?}", driver.checkpoints());
    assert_eq!(driver.checkpoints().completed, 1);
}
