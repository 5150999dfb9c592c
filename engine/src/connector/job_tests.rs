//! Connectors in whole jobs, through the public API.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use thalweg_io::storage::{MemoryStorage, Storage};

use super::test_support::{PATIENCE, SmallDisk, add, put, text_of};
use crate::prelude::*;
use crate::sink::{FileSink, FileSinkError};
use crate::source::{DataGeneratorSource, FunctionSource, MalformedRow, SocketSource};
use crate::time::{Clock, SystemClock};
use crate::{BoxError, Error};

fn environment(parallelism: usize) -> StreamExecutionEnvironment {
    let env = StreamExecutionEnvironment::new();
    env.set_parallelism(parallelism);
    env
}

fn memory() -> Arc<dyn Storage> {
    let storage = MemoryStorage::new();
    storage.create_dir_all(Path::new("in")).unwrap();
    Arc::new(storage)
}

/// The cause of a job's failure.
fn cause_of<E: std::error::Error + 'static>(error: &Error) -> &E {
    let mut at: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref() {
            return found;
        }
        at = error.source();
    }
    panic!("{error:?} has no such cause");
}

#[test]
fn elements_pass_a_job_in_order() {
    for parallelism in [1, 2, 3] {
        let env = environment(parallelism);
        let stream = env.from_elements(vec![1, 2, 3]).map(|n| n * 10).set_parallelism(1);
        let collected = stream.collect();
        env.execute("elements").unwrap();
        assert_eq!(collected.take_sorted(), [10, 20, 30]);
        let counted = env.from_iter(0..100_000u64).collect();
        env.execute("iterator").unwrap();
        assert_eq!(counted.len(), 100_000);
    }
}

#[test]
fn sequences_and_generators_cover_their_range_at_any_parallelism() {
    for parallelism in 1..=4 {
        let env = environment(parallelism);
        let sequence = env.from_sequence(-5_000..=5_000).collect();
        let generator = DataGeneratorSource::new(|n| n).count(10_007);
        let generated = env.from_source(generator, "generated").collect();
        let parallel = env.from_parallel(|ctx| {
            let subtask = ctx.subtask_index;
            (0..10).map(move |n| (subtask, n))
        });
        let parallel = parallel.collect();
        env.execute("ranges").unwrap();
        assert_eq!(sequence.take_sorted(), (-5_000..=5_000).collect::<Vec<_>>());
        assert_eq!(generated.take_sorted(), (0..10_007).collect::<Vec<_>>());
        assert_eq!(parallel.len(), parallelism * 10);
    }
}

#[test]
fn a_rate_holds_in_real_time() {
    let env = environment(2);
    let generator = DataGeneratorSource::new(|n| n).count(41).records_per_second(400.0);
    let generated = env.from_source(generator, "slow").collect();
    let clock = SystemClock::new();
    let begin_ns = clock.monotonic_ns();
    env.execute("slow").unwrap();
    assert_eq!(generated.len(), 41);
    // Record 40 is due 100 ms after the first; each reader may have begun a little before it.
    assert!(clock.monotonic_ns() - begin_ns > 90_000_000);
}

#[test]
fn files_are_read_by_all_and_written_by_all() {
    let storage = memory();
    let mut expected = Vec::new();
    for file in 0..7 {
        let rows: Vec<_> = (0..500).map(|n| (format!("key {}", n % 9), file * 500 + n)).collect();
        let text: String = rows.iter().map(|(key, n)| format!("\"{key}\",{n}\n")).collect();
        put(&*storage, &format!("in/{file}.csv"), format!("key,n\n{text}"));
        expected.extend(rows);
    }
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Row {
        key: String,
        n: u32,
    }
    for parallelism in [1, 3] {
        let env = environment(parallelism);
        let directory = format!("out{parallelism}");
        let source = FileSource::csv::<Row>("in").storage(storage.clone());
        let sink = FileSink::csv(directory.as_str()).storage(storage.clone()).roll_at_bytes(10_000);
        env.from_source(source, "rows").sink_to(sink);
        env.execute("copy").unwrap();

        let source = FileSource::csv::<Row>(directory.as_str()).storage(storage.clone());
        let copied = env.from_source(source, "copies").map(|row| (row.key, row.n)).collect();
        env.execute("read back").unwrap();
        let mut rows = copied.take();
        rows.sort_by_key(|(_, n)| *n);
        assert_eq!(rows, expected);
        assert!(storage.list(Path::new(&directory)).unwrap().len() > 3);
    }
}

#[test]
fn malformed_rows_go_aside() {
    let storage = memory();
    put(&*storage, "in/a.csv", "n\n1\nx\n3\n");
    let env = environment(2);
    let source = FileSource::csv::<BTreeMap<String, u32>>("in/a.csv").storage(storage.clone());
    let rows = env.from_source(source.clone().results(), "rows").boxed();
    let bad = rows.clone().flat_map(Result::err).collect();
    let good = rows.flat_map(Result::ok).map(|row| row["n"]).collect();
    env.execute("aside").unwrap();
    assert_eq!(good.take_sorted(), [1, 3]);
    let bad: Vec<MalformedRow> = bad.take();
    assert_eq!((bad.len(), bad[0].line, bad[0].raw.as_str()), (1, 3, "x"));

    let _ = env.from_source(source, "rows").collect();
    let error = env.execute("fail").unwrap_err();
    assert!(error.to_string().contains("operator 'rows'"), "{error}");
    assert!(error.to_string().contains("in/a.csv, line 3, column 'n'"), "{error}");
}

#[test]
fn a_missing_input_fails_before_anything_runs() {
    let opened = Arc::new(AtomicUsize::new(0));
    let env = environment(1);
    let counter = opened.clone();
    let other = env.from_blocking(move |_: &SourceFunctionContext<u8>| {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let _ = other.collect();
    let _ = env.from_source(FileSource::lines("no/such/input"), "lines").collect();
    let (input, requests) = source::channel::<u8>(4);
    let (answers, mut output) = sink::channel::<u8>(4);
    env.from_source(requests, "requests").sink_to(answers);
    let error = env.execute("missing").unwrap_err().to_string();
    assert!(error.contains("no/such/input: it does not exist"), "{error}");
    assert_eq!(opened.load(Ordering::SeqCst), 0);
    assert!(input.is_closed());
    assert_eq!(output.blocking_recv(), None);
}

#[test]
fn a_full_disk_fails_the_job_with_the_cause_kept() {
    let disk = SmallDisk::new(200_000);
    let env = environment(1);
    let sink = FileSink::lines("out").storage(disk.clone());
    env.from_sequence(0..=1_000_000).sink_to(sink).name("files");
    let error = env.execute("full").unwrap_err();
    assert!(error.to_string().contains("operator 'files'"), "{error}");
    assert!(matches!(cause_of::<FileSinkError>(&error), FileSinkError::Io(io) if io.is_no_space()));
}

#[test]
fn channels_carry_requests_in_and_answers_out() {
    const COUNT: u64 = 20_000;
    for parallelism in [1, 2] {
        let env = environment(parallelism);
        let (input, requests) = source::channel::<u64>(16);
        let (answers, mut output) = sink::channel::<u64>(16);
        let requests = env.from_source(requests, "requests").rebalance();
        requests.map(|n| n * 2).sink_to(answers);
        let job = env.execute_async("service").unwrap();
        let sum = std::thread::scope(|scope| {
            let input = input;
            scope.spawn(move || (0..COUNT).for_each(|n| input.blocking_send(n).unwrap()));
            std::iter::from_fn(|| output.blocking_recv()).sum::<u64>()
        });
        assert_eq!(sum, COUNT * (COUNT - 1));
        job.wait().unwrap();
    }
}

/// One request at a time: each has to wake a core that has gone to sleep.
#[test]
fn a_parked_core_is_woken_by_each_request() {
    let env = environment(1);
    env.set_profile(Profile::Efficient);
    let (input, requests) = source::channel::<u64>(4);
    let (answers, mut output) = sink::channel::<u64>(4);
    env.from_source(requests, "requests").sink_to(answers);
    let job = env.execute_async("ping").unwrap();
    for n in 0..500 {
        input.try_send(n).unwrap();
        assert_eq!(output.blocking_recv(), Some(n));
    }
    drop(input);
    assert_eq!(output.blocking_recv(), None);
    job.wait().unwrap();
}

#[test]
fn a_failing_job_closes_its_channels() {
    let env = environment(1);
    let (input, requests) = source::channel::<u64>(4);
    let (answers, mut output) = sink::channel::<u64>(4);
    let checked = env.from_source(requests, "requests").try_map(|n| match n {
        3 => Err(BoxError::from("three")),
        n => Ok(n),
    });
    checked.sink_to(answers);
    let job = env.execute_async("fails").unwrap();
    let sent = (0..).take_while(|n| input.blocking_send(*n).is_ok()).count();
    assert!(sent >= 4);
    while output.blocking_recv().is_some() {}
    assert!(job.wait().unwrap_err().to_string().contains("three"));
}

#[test]
fn a_cancelled_job_closes_its_channels_and_threads() {
    let (begun, returned) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let env = environment(2);
    let (input, requests) = source::channel::<u64>(4);
    let _ = env.from_source(requests, "requests").collect();
    let (begins, returns) = (begun.clone(), returned.clone());
    let endless = FunctionSource::from_fn(move |ctx: &SourceFunctionContext<u64>| {
        begins.fetch_add(1, Ordering::SeqCst);
        let result = (0..).try_for_each(|n| ctx.collect(n));
        returns.fetch_add(1, Ordering::SeqCst);
        Ok(result?)
    });
    let seen = env.from_source(endless.parallel(), "endless").collect();
    let job = env.execute_async("endless").unwrap();
    // A reader that was not polled before the cancellation never starts its thread, so wait for both.
    while begun.load(Ordering::SeqCst) < 2 || seen.take().is_empty() {
        std::thread::yield_now();
    }
    input.try_send(1).unwrap();
    job.cancel();
    job.wait().unwrap_err();
    assert_eq!(returned.load(Ordering::SeqCst), 2);
    assert!(input.is_closed());
}

#[test]
fn a_source_function_that_fails_or_panics_fails_the_job_with_its_cause() {
    let env = environment(1);
    let bad = |ctx: &SourceFunctionContext<u8>| {
        ctx.collect(1)?;
        Err("the feed broke".into())
    };
    let _ = env.from_blocking(bad).name("feed").collect();
    let error = env.execute("bad").unwrap_err().to_string();
    assert!(error.contains("operator 'feed'") && error.contains("the feed broke"), "{error}");
    let panics = |_: &SourceFunctionContext<u8>| -> crate::Result<()> { panic!("on purpose") };
    let _ = env.from_blocking(panics).collect();
    let error = env.execute("worse").unwrap_err().to_string();
    assert!(error.contains("the source function panicked: on purpose"), "{error}");
}

#[test]
fn socket_text_reaches_a_job() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let env = environment(2);
    let lines = SocketSource::lines("127.0.0.1", listener.local_addr().unwrap().port());
    let collected = env.from_source(lines, "socket").map(|line| line.len()).collect();
    let job = env.execute_async("socket").unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    std::io::Write::write_all(&mut stream, b"a\nbb\nccc").unwrap();
    drop(stream);
    job.wait().unwrap();
    assert_eq!(collected.take_sorted(), [1, 2, 3]);
}

#[test]
fn a_followed_directory_feeds_a_job_until_it_is_cancelled() {
    let storage = memory();
    put(&*storage, "in/a", "1\n");
    let env = environment(2);
    let source = FileSource::lines("in").storage(storage.clone()).follow();
    let source = source.follow_interval(Duration::from_millis(1));
    let source = source.discover_every(Duration::from_millis(5));
    let collected = env.from_source(source, "log").collect();
    let job = env.execute_async("follow").unwrap();
    let mut lines = Vec::new();
    let mut await_lines = |expected: &[&str]| {
        while lines.len() < expected.len() {
            lines.extend(collected.take());
            std::thread::yield_now();
        }
        lines.sort();
        assert_eq!(lines, expected);
    };
    await_lines(&["1"]);
    add(&*storage, "in/a", "2\n");
    await_lines(&["1", "2"]);
    put(&*storage, "in/b", "3\n");
    await_lines(&["1", "2", "3"]);
    add(&*storage, "in/a", "4\n");
    add(&*storage, "in/b", "5\n");
    await_lines(&["1", "2", "3", "4", "5"]);
    job.cancel();
    job.wait().unwrap_err();
}

#[test]
fn files_roll_by_age_while_nothing_comes() {
    let storage = memory();
    let env = environment(1);
    let (input, requests) = source::channel::<u64>(4);
    let sink = FileSink::lines("out").storage(storage.clone()).roll_after(milliseconds(20));
    env.from_source(requests, "requests").sink_to(sink);
    let job = env.execute_async("age").unwrap();
    input.try_send(7).unwrap();
    let file = Path::new("out/part-0-000000.txt");
    let waited = (0..PATIENCE.as_millis()).find(|_| {
        let (_guard, mutex) = (0, std::sync::Mutex::new(()));
        let guard = mutex.lock().unwrap();
        drop(std::sync::Condvar::new().wait_timeout(guard, Duration::from_millis(1)));
        storage.metadata(file).is_ok()
    });
    assert!(waited.is_some(), "the file was not published");
    assert_eq!(text_of(&*storage, "out/part-0-000000.txt"), "7\n");
    drop(input);
    job.wait().unwrap();
}
