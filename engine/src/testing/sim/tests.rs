//! Small jobs in the simulator, and the simulator itself.

use super::*;
use crate::prelude::*;

fn sums(env: &StreamExecutionEnvironment) {
    let records = (0..300_i64).map(|n| (n * 7, n));
    // Which number is a key's third depends on the order of two sources; that there is a third does not.
    env.from_source(source(records), "numbers")
        .key_by(|n| n % 11)
        .scan(0, |count, n| {
            *count += 1;
            (n % 11, *count)
        })
        .sink_to(sink())
        .name("sums");
}

fn stateless(env: &StreamExecutionEnvironment) {
    let records = (0..300_i64).map(|n| (n * 7, n));
    env.from_source(source(records), "numbers").map(|n| n * 2).sink_to(sink()).name("doubled");
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..5 {
        let first = replay(sums, seed).unwrap();
        assert_eq!(first, replay(sums, seed).unwrap());
    }
    assert_ne!(replay(sums, 1).unwrap().log_hash, replay(sums, 2).unwrap().log_hash);
}

#[test]
fn stateless_jobs_lose_nothing() {
    let report = check(stateless, 0..40);
    assert_eq!(report.records, 40 * 300);
    assert!(report.crashes > 15 && report.restarts > 10 && report.checkpoints > 60, "{report}");
}

#[test]
fn running_sums_lose_nothing() {
    let report = check(sums, 0..40);
    assert_eq!(report.records, 40 * 300);
    assert!(report.crashes > 20 && report.restarts > 20 && report.checkpoints > 40, "{report}");
}
