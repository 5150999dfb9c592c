//! A part of what the binary `simulate` runs, with every test run: random jobs in the simulator.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use thalweg_tests::simulation::{run, seeds};

/// As many as a build that is not optimised runs in some ten seconds.
const SEEDS: u64 = 60;

#[test]
fn random_jobs_lose_nothing_and_repeat_nothing() {
    let old = seeds::regressions().unwrap();
    let seeds: Vec<u64> = old.into_iter().chain(0..SEEDS).collect();
    let plan = seeds::Plan { seeds, threads: 2, is_first_enough: true };
    let outcome = seeds::run_all(&plan);
    assert!(outcome.failures.is_empty(), "{outcome}");
    assert!(outcome.counts.crashes > SEEDS && outcome.counts.checkpoints > SEEDS, "{outcome}");
    assert!(outcome.replayed > 0 && outcome.marks.len() > 25, "{outcome}");
}

#[test]
fn a_seed_replays_and_another_one_is_another_run() {
    let [first, again, other] = [7, 7, 8].map(|seed| run(seed).unwrap());
    assert_eq!(first, again);
    assert_ne!(first.log_hash, other.log_hash);
}
