//! The engine inside a service: channels from tokio and from plain threads, several engines and jobs in one process.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![expect(
    clippy::disallowed_methods,
    reason = "the program around the engine has threads of its own"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use thalweg::Error;
use thalweg::connector::sink::CollectSink;
use thalweg::graph::JobStatus;
use thalweg::prelude::*;
use thalweg::source::TrySendError;
use thalweg_tests::{Lifecycle, On, matrix};

matrix![
    a_tokio_service_asks_and_is_answered,
    plain_threads_ask_and_are_answered,
    a_full_channel_gives_the_record_back,
    a_cancelled_job_closes_everything,
    several_engines_and_jobs_share_a_process,
    dropping_the_engine_ends_its_jobs,
];

fn engine(on: On, jobs: usize) -> Engine {
    Engine::builder()
        .shell(on.shell)
        .slots(jobs * on.parallelism)
        .configure(|c| c.parallelism(on.parallelism))
        .build()
        .unwrap()
}

/// Sends numbers back with how often they came.
fn count_numbers(
    engine: &Engine,
    capacity: usize,
) -> (source::ChannelSender<i64>, sink::ChannelReceiver<(i64, u64)>, JobHandle) {
    let (input, numbers) = source::channel(capacity);
    let (sink, answers) = sink::channel(capacity);
    let job = engine.submit("count", |env| {
        env.from_source(numbers, "numbers")
            .key_by(|n: &i64| *n)
            .scan(0u64, |count, n| {
                *count += 1;
                (n, *count)
            })
            .sink_to(sink);
    });
    (input, answers, job.unwrap())
}

fn a_tokio_service_asks_and_is_answered(on: On) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async move {
        let engine = engine(on, 1);
        let (input, mut answers, job) = count_numbers(&engine, 32);
        // One asks and waits for its answer.
        input.send(-1).await.unwrap();
        assert_eq!(answers.recv().await, Some((-1, 1)));
        // Several tasks send, far more than the channels hold, while this one receives.
        let senders: Vec<_> = (0..4)
            .map(|_| {
                let input = input.clone();
                tokio::spawn(async move {
                    for n in 0..500 {
                        input.send(n).await.unwrap();
                    }
                })
            })
            .collect();
        drop(input);
        let (mut seen, mut finals) = (0, 0);
        while let Some((_, count)) = answers.recv().await {
            seen += 1;
            finals += usize::from(count == 4);
        }
        assert_eq!((seen, finals), (2_000, 500));
        for sender in senders {
            sender.await.unwrap();
        }
        job.wait_async().await.unwrap();
        assert_eq!(job.status(), JobStatus::Finished);
    });
}

fn plain_threads_ask_and_are_answered(on: On) {
    let engine = engine(on, 1);
    let (input, mut answers, job) = count_numbers(&engine, 8);
    let senders: Vec<_> = (0..3)
        .map(|_| {
            let input = input.clone();
            std::thread::spawn(move || (0..400).for_each(|n| input.blocking_send(n).unwrap()))
        })
        .collect();
    drop(input);
    let mut seen = 0;
    while let Some((n, count)) = answers.blocking_recv() {
        assert!((0..400).contains(&n) && (1..=3).contains(&count));
        seen += 1;
    }
    assert_eq!(seen, 1_200);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    assert_eq!(job.wait().unwrap().name, "count");
}

/// Nobody receives: the channels and what lies between them fill up, and the sender learns it.
fn a_full_channel_gives_the_record_back(on: On) {
    let engine = engine(on, 1);
    let (input, mut answers, job) = count_numbers(&engine, 4);
    let (mut sent, mut refusals) = (0, 0);
    let refused = loop {
        match input.try_send(sent) {
            Ok(()) => (sent, refusals) = (sent + 1, 0),
            // Full again and again, though the job has all the time it wants.
            Err(TrySendError::Full(record)) if refusals == 5_000 => break record,
            Err(TrySendError::Full(_)) => {
                refusals += 1;
                std::thread::yield_now();
            }
            Err(other) => panic!("{other}"),
        }
        assert!(sent < 1_000_000, "nothing holds the sender back");
    };
    assert_eq!(refused, sent);
    // Who receives gets it going again, and nothing is lost.
    let sender = std::thread::spawn(move || {
        input.blocking_send(refused).unwrap();
        refused
    });
    let mut seen = 0;
    while answers.blocking_recv().is_some() {
        seen += 1;
    }
    assert_eq!(seen, sender.join().unwrap() + 1);
    job.wait().unwrap();
}

/// Counts open and close, and says when records come.
#[derive(Clone, Default)]
struct Seen {
    life: Lifecycle,
    some: Arc<AtomicBool>,
}
impl Sink<i64> for Seen {
    fn open(&mut self, _: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.life.open();
        Ok(())
    }
    fn write(&mut self, _: i64, _: i64) -> thalweg::Result<()> {
        self.some.store(true, Ordering::SeqCst);
        Ok(())
    }
    fn close(&mut self) -> thalweg::Result<()> {
        self.life.close();
        Ok(())
    }
}
impl Seen {
    fn await_some(&self) {
        while !self.some.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
    }
}

fn a_cancelled_job_closes_everything(on: On) {
    let (engine, seen) = (engine(on, 1), Seen::default());
    let (input, numbers) = source::channel::<i64>(4);
    let endless = seen.clone();
    let job = engine.submit("endless", |env| {
        let numbers = env.from_source(numbers, "numbers");
        let endless_numbers = env.from_parallel(|_| 0i64..).union(numbers);
        endless_numbers.key_by(|n| n % 100).scan(0u64, |_, n| n).sink_to(endless);
    });
    let job = job.unwrap();
    seen.await_some();
    assert_eq!(job.status(), JobStatus::Running);
    job.cancel();
    assert!(matches!(job.wait(), Err(Error::Cancelled(name)) if name == "endless"));
    assert!(job.is_finished());
    assert_eq!(job.status(), JobStatus::Canceled);
    let (opened, closed) = seen.life.counts();
    assert_eq!((opened, closed), (on.parallelism, on.parallelism));
    assert!(input.is_closed());
    assert!(matches!(input.try_send(1), Err(TrySendError::Closed(1))));
    // Its slots are free again.
    let next = engine.submit("next", |env| drop(env.from_sequence(0..=99).for_each(|_| ())));
    next.unwrap().wait().unwrap();
}

fn several_engines_and_jobs_share_a_process(on: On) {
    let engines = [engine(on, 2), engine(on, 2)];
    let collected: Vec<(i64, Collected<i64>, JobHandle)> = (0..6)
        .map(|number| {
            let out = Collected::default();
            let sink = CollectSink::into(&out);
            // The third job of an engine waits for slots.
            let job = engines[number as usize % 2].submit(&format!("job {number}"), |env| {
                let sums = env.from_sequence(1..=1_000).key_by(|_| 0u8);
                sums.scan(0i64, move |sum, n| (*sum += n * number, *sum).1).sink_to(sink);
            });
            (number, out, job.unwrap())
        })
        .collect();
    for (number, out, job) in collected {
        job.wait().unwrap();
        let rows = out.take();
        assert_eq!(rows.len(), 1_000);
        assert_eq!(rows.iter().max(), Some(&(500_500 * number)));
    }
}

fn dropping_the_engine_ends_its_jobs(on: On) {
    let (engine, seen) = (engine(on, 1), Seen::default());
    let endless = seen.clone();
    let job = engine.submit("endless", |env| {
        drop(env.from_parallel(|_| 0i64..).rebalance().sink_to(endless));
    });
    let job = job.unwrap();
    let env = engine.environment();
    seen.await_some();
    engine.shutdown();
    assert!(matches!(job.wait(), Err(Error::EngineGone(_))));
    let (opened, closed) = seen.life.counts();
    assert_eq!(opened, closed);
    env.from_sequence(0..=9).for_each(|_| ());
    assert!(matches!(env.execute("late"), Err(Error::EngineGone(_))));
}

#[test]
fn handles_and_channels_cross_threads() {
    fn shared<T: Send + Sync + Clone>() {}
    fn sent<T: Send>() {}
    shared::<JobHandle>();
    shared::<source::ChannelSender<String>>();
    sent::<sink::ChannelReceiver<String>>();
    sent::<Engine>();
    // Any number of threads may wait for a job.
    let env = StreamExecutionEnvironment::new();
    env.from_sequence(1..=1_000).for_each(|_| ());
    let (job, waited) = (env.execute_async("waited for").unwrap(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                job.wait().unwrap();
                waited.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    assert_eq!(waited.into_inner(), 4);
}
