//! Whole jobs, from the environment to the last task dropped.

mod failures;
mod planning;
mod several_jobs;
mod splits;

use super::test_jobs::{Numbers, Seen};
use super::*;
use crate::api::StreamExecutionEnvironment;
use crate::graph::{ExplainFormat, JobStatus};
use crate::runtime::executors::io_uring_refused;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

fn environment(shell: ShellKind, parallelism: usize) -> StreamExecutionEnvironment {
    let env = StreamExecutionEnvironment::new();
    env.configure(|c| c.shell(shell).profile(Profile::Efficient));
    env.set_parallelism(parallelism);
    env
}

fn threads(parallelism: usize) -> StreamExecutionEnvironment {
    environment(ShellKind::Threads, parallelism)
}

/// An engine on plain threads.
fn engine(slots: usize) -> Engine {
    let builder = Engine::builder().shell(ShellKind::Threads).profile(Profile::Efficient);
    builder.slots(slots).configure(|c| c.parallelism(1)).build().unwrap()
}

/// Count and sum of `0..n` doubled.
fn doubled(n: u64) -> (u64, u64) {
    (n, n * (n - 1))
}

fn runs_at_every_parallelism(shell: ShellKind) {
    for parallelism in 1..=4 {
        let (env, seen) = (environment(shell, parallelism), Seen::default());
        let numbers = env.from_source(Numbers(Some(10_000)), "numbers");
        numbers.map(|n| n * 2).rebalance().filter(|_| true).sink_to(seen.clone());
        let result = env.execute("double").unwrap();
        assert_eq!(seen.both(), doubled(10_000), "p = {parallelism}");
        assert!(seen.is_closed());
        assert_eq!((result.name.as_str(), result.runtime > Duration::ZERO), ("double", true));
        // The environment is empty and takes the next job.
        let seen = Seen::default();
        env.from_source(Numbers(Some(100)), "numbers").map(|n| n * 2).sink_to(seen.clone());
        env.execute("again").unwrap();
        assert_eq!(seen.both(), doubled(100));
    }
}

#[test]
fn jobs_run_at_every_parallelism_on_threads() {
    runs_at_every_parallelism(ShellKind::Threads);
}

#[test]
fn jobs_run_at_every_parallelism_on_glommio() {
    if io_uring_refused().is_none() {
        runs_at_every_parallelism(ShellKind::Glommio);
    }
}

#[test]
fn every_way_to_ship_loses_and_doubles_nothing() {
    for (producers, consumers) in [(1, 3), (3, 1), (2, 4), (4, 2), (3, 3)] {
        let run = |write: &dyn Fn(&StreamExecutionEnvironment, Seen)| {
            let (env, seen) = (threads(producers), Seen::default());
            write(&env, seen.clone());
            env.execute("ship").unwrap();
            assert!(seen.is_closed());
            seen.both()
        };
        let n = 2_000;
        let source = |env: &StreamExecutionEnvironment| env.from_source(Numbers(Some(n)), "n");
        let sum = (n, n * (n - 1) / 2);
        let wide = consumers;
        // Of a global exchange all consumers but the first are fed by nobody: they must end by themselves.
        assert_eq!(run(&|env, s| _ = source(env).global().sink_to(s).set_parallelism(wide)), sum);
        assert_eq!(run(&|env, s| _ = source(env).rescale().sink_to(s).set_parallelism(wide)), sum);
        assert_eq!(run(&|env, s| _ = source(env).shuffle().sink_to(s).set_parallelism(wide)), sum);
        assert_eq!(run(&|env, s| _ = source(env).sink_to(s).set_parallelism(wide)), sum);
        let all = run(&|env, s| _ = source(env).broadcast().sink_to(s).set_parallelism(wide));
        assert_eq!(all, (sum.0 * wide as u64, sum.1 * wide as u64));
    }
}

#[test]
fn an_endless_job_is_cancelled_and_its_functions_are_closed() {
    for shell in [ShellKind::Threads, ShellKind::Auto] {
        let (env, seen) = (environment(shell, 2), Seen::default());
        env.from_source(Numbers(None), "numbers").rebalance().sink_to(seen.clone());
        let job = env.execute_async("endless").unwrap();
        seen.await_some();
        assert_eq!((job.status(), job.is_finished()), (JobStatus::Running, false));
        job.cancel();
        let error = job.wait().unwrap_err();
        assert!(matches!(&error, Error::Cancelled(name) if name == "endless"), "{error}");
        assert_eq!((job.status(), seen.is_closed()), (JobStatus::Canceled, true));
        // Waiting again gives the same, cancelling again does nothing.
        job.cancel();
        assert!(matches!(job.wait(), Err(Error::Cancelled(_))));
    }
}

#[test]
fn a_job_goes_on_without_its_handle() {
    let (env, seen) = (threads(1), Seen::default());
    env.from_source(Numbers(Some(50_000)), "numbers").sink_to(seen.clone());
    drop(env.execute_async("detached").unwrap());
    while seen.both().0 < 50_000 || !seen.is_closed() {
        std::thread::yield_now();
    }
}

struct Unpark(std::thread::Thread);
impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn many_wait_for_one_job_with_and_without_async() {
    let env = threads(2);
    let seen = Seen::default();
    env.from_source(Numbers(Some(20_000)), "numbers").sink_to(seen);
    let job = env.execute_async("awaited").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let (blocking, pending) = (job.clone(), job.clone());
            scope.spawn(move || assert_eq!(blocking.wait().unwrap().name, "awaited"));
            scope.spawn(move || {
                // The future may outlive the handle.
                let end = pending.wait_async();
                drop(pending);
                assert!(block_on(end).is_ok());
            });
        }
    });
    assert!(job.is_finished());
}

#[test]
fn metrics_are_read_while_the_job_runs_and_afterwards() {
    let (env, seen) = (threads(2), Seen::default());
    let numbers = env.from_source(Numbers(None), "numbers");
    numbers.set_parallelism(1).rebalance().sink_to(seen.clone()).name("seen");
    let job = env.execute_async("measured").unwrap();
    seen.await_some();
    let find = |snapshot: &crate::metrics::JobSnapshot, name: &str| {
        snapshot.vertices.iter().find(|v| v.vertex.contains(name)).unwrap().clone()
    };
    loop {
        let snapshot = job.metrics();
        let (source, sink) = (find(&snapshot, "numbers"), find(&snapshot, "seen"));
        assert_eq!((source.subtasks.len(), sink.subtasks.len()), (1, 2));
        assert!(snapshot.edges.iter().all(|edge| edge.ring_capacity == 8));
        let time = source.total.busy_ns + source.total.backpressured_ns + source.total.idle_ns;
        if source.total.records_out > 0 && sink.total.records_in > 0 && time > 0 {
            break;
        }
    }
    job.cancel();
    assert!(job.wait().is_err());
    let last = job.metrics();
    assert!(find(&last, "seen").total.records_in >= seen.both().0);
    assert_eq!(last, job.metrics());
}

#[test]
fn chained_vertices_count_what_enters_and_what_leaves_them() {
    let (env, seen) = (threads(2), Seen::default());
    // Two stages in one vertex: the parallelism was said, but is the same.
    let numbers = env.from_source(Numbers(Some(1_000)), "numbers").set_parallelism(2);
    numbers.filter(|n| n % 4 == 0).name("quarter").sink_to(seen.clone());
    let result = env.execute("chained").unwrap();
    let [vertex] = &result.metrics.vertices[..] else { panic!("{:?}", result.metrics) };
    assert!(vertex.vertex.starts_with("Source: numbers -> "), "{}", vertex.vertex);
    assert!(vertex.vertex.ends_with("quarter -> Sink: sink"), "{}", vertex.vertex);
    assert_eq!((vertex.total.records_out, seen.both().0), (250, 250));
    assert_eq!(vertex.subtasks.len(), 2);
}
