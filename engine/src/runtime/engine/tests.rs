//! Whole jobs, from the environment to the last task dropped.

use super::super::executors::io_uring_refused;
use super::test_jobs::{Numbers, Seen};
use super::*;
use crate::api::StreamExecutionEnvironment;
use crate::graph::{ExplainFormat, JobStatus};
use std::time::Duration;

fn environment(shell: ShellKind, parallelism: usize) -> StreamExecutionEnvironment {
    let env = StreamExecutionEnvironment::new();
    env.configure(|c| _ = c.shell(shell).profile(Profile::Efficient));
    env.set_parallelism(parallelism);
    env
}

/// Sum and count of `0..n` doubled.
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
