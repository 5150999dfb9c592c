use super::*;
use crate::connector::test_support::{PATIENCE, SourceDriver};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

#[derive(Clone, Default)]
struct Counts {
    opened: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
}

/// Emits its numbers, then does as it is told.
#[derive(Clone)]
struct Numbers {
    count: u64,
    then: fn() -> Result<()>,
    counts: Counts,
}

impl SourceFunction for Numbers {
    type Out = u64;
    fn open(&mut self, context: &SourceFunctionContext<u64>) -> Result<()> {
        assert_eq!(context.operator_name(), "test source");
        self.counts.opened.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn run(&mut self, context: &SourceFunctionContext<u64>) -> Result<()> {
        for n in 0..self.count {
            let record = n * context.parallelism() as u64 + context.subtask_index() as u64;
            context.collect_with_timestamp(record, n as i64)?;
        }
        (self.then)()
    }
    fn close(&mut self) -> Result<()> {
        self.counts.closed.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

fn numbers(count: u64, then: fn() -> Result<()>) -> (Numbers, Counts) {
    let counts = Counts::default();
    (Numbers { count, then, counts: counts.clone() }, counts)
}

#[test]
fn records_and_timestamps_come_through_a_small_queue() {
    let (function, counts) = numbers(1_000, || Ok(()));
    let source = FunctionSource::new(function).capacity(3);
    assert!(source.is_non_parallel());
    for _ in 0..2 {
        let mut driver = SourceDriver::start(&source, 1).unwrap();
        assert_eq!(driver.drain(64).unwrap(), (0..1_000).collect::<Vec<_>>());
        driver.reader.close().unwrap();
    }
    assert_eq!(counts.opened.load(Ordering::SeqCst), 2);
    assert_eq!(counts.closed.load(Ordering::SeqCst), 2);
}

#[test]
fn parallel_functions_know_their_place() {
    let source = FunctionSource::new(numbers(100, || Ok(())).0).parallel();
    let mut all = Vec::new();
    for mut driver in SourceDriver::start_all(&source, 3).unwrap() {
        all.extend(driver.drain(16).unwrap());
    }
    all.sort_unstable();
    assert_eq!(all, (0..300).collect::<Vec<_>>());
}

#[test]
fn errors_and_panics_come_after_the_records_with_their_cause() {
    let check = |then: fn() -> Result<()>, expected: &str| {
        let (function, counts) = numbers(5, then);
        let mut driver = SourceDriver::start(&FunctionSource::new(function), 1).unwrap();
        let error = driver.drain(2).unwrap_err();
        assert_eq!((driver.take(), error.to_string()), (vec![0, 1, 2, 3, 4], expected.to_owned()));
        counts
    };
    let counts = check(|| Err("disk on fire".into()), "disk on fire");
    assert_eq!(counts.closed.load(Ordering::SeqCst), 1);
    let counts = check(|| panic!("on purpose"), "the source function panicked: on purpose");
    assert_eq!(counts.closed.load(Ordering::SeqCst), 0);
}

#[test]
fn a_function_blocked_in_collect_is_cancelled_and_joined() {
    let (function, counts) = numbers(u64::MAX, || Ok(()));
    let source = FunctionSource::new(function).capacity(2);
    let mut driver = SourceDriver::start(&source, 1).unwrap();
    driver.take_count(10).unwrap();
    driver.reader.close().unwrap();
    assert_eq!(counts.closed.load(Ordering::SeqCst), 1, "run has returned");
}

#[test]
fn a_reader_that_was_never_polled_starts_nothing() {
    let (function, counts) = numbers(1, || Ok(()));
    drop(SourceDriver::start(&FunctionSource::new(function), 1).unwrap());
    assert_eq!(counts.opened.load(Ordering::SeqCst), 0);
}

/// Blocks in a receive that only its canceller ends.
#[derive(Clone, Default)]
struct Blocked {
    line: Arc<Mutex<Option<mpsc::Sender<()>>>>,
}

impl SourceFunction for Blocked {
    type Out = u8;
    fn canceller(&self) -> Option<Canceller> {
        let line = self.line.clone();
        Some(Box::new(move || drop(lock(&line).take())))
    }
    fn run(&mut self, context: &SourceFunctionContext<u8>) -> Result<()> {
        let (sender, receiver) = mpsc::channel();
        *lock(&self.line) = Some(sender);
        context.collect(1)?;
        receiver.recv().map_err(|_| "the line was cut")?;
        Ok(())
    }
}

#[test]
fn the_canceller_ends_a_blocking_call_and_what_it_causes_is_no_failure() {
    let function = Blocked::default();
    let mut driver = SourceDriver::start(&FunctionSource::new(function.clone()), 1).unwrap();
    assert_eq!(driver.take_count(1).unwrap(), [1]);
    driver.reader.close().unwrap();
    assert!(lock(&function.line).is_none());
    assert!(matches!(*lock(&driver.reader.shared.outcome), Some(Ok(()))));
}

#[test]
fn a_wait_ends_with_the_cancellation() {
    let source = FunctionSource::from_fn(|context: &SourceFunctionContext<bool>| {
        context.collect(context.is_cancelled())?;
        assert!(context.try_collect(true)?);
        context.wait(Duration::from_millis(1))?;
        context.wait(PATIENCE)?;
        panic!("the wait was not cut short");
    });
    let mut driver = SourceDriver::start(&source, 1).unwrap();
    assert_eq!(driver.take_count(2).unwrap(), [false, true]);
    driver.reader.close().unwrap();
    assert!(matches!(*lock(&driver.reader.shared.outcome), Some(Ok(()))));
}
