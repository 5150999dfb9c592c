//! Random jobs: parallelism, batch and ring size, the evaluation of windows and the turns of the tasks change no output.
//!
//! `THALWEG_METAMORPHIC_JOBS` and `THALWEG_METAMORPHIC_SEED` give another count and another first seed for long runs.

use thalweg_tests::Random;
use thalweg_tests::metamorphic::{Fault, Job, Rows, Variant};

const JOBS: u64 = 500;
/// Rows that all jobs together emit at least, for each of them on average.
const ROWS_PER_JOB_MIN: u64 = 50;
/// Jobs that emit nothing at all: filters, and joins of what never meets.
const EMPTY_PERCENT_MAX: u64 = 5;

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn seeds() -> std::ops::Range<u64> {
    let first = setting("THALWEG_METAMORPHIC_SEED", 1);
    first..first + setting("THALWEG_METAMORPHIC_JOBS", JOBS)
}

fn count(rows: &Rows) -> u64 {
    rows.values().map(|rows| rows.len() as u64).sum()
}

/// The first output and key of which the rows differ.
fn difference(expected: &Rows, got: &Rows) -> Option<String> {
    let place =
        expected.keys().chain(got.keys()).find(|place| expected.get(place) != got.get(place))?;
    Some(format!("{place:?}\nexpected {:?}\ngot      {:?}", expected.get(place), got.get(place)))
}

#[test]
fn how_a_job_is_run_changes_no_output() {
    let (mut rows, mut empty, mut differences) = (0, 0, Vec::new());
    for seed in seeds() {
        let job = Job::random(seed);
        let expected = job.run(&Variant::PLAIN);
        for variant in Variant::others(&mut Random::new(seed)) {
            if let Some(difference) = difference(&expected, &job.run(&variant)) {
                differences.push(format!("seed {seed}, {variant:?}, {job:?}: {difference}"));
                break;
            }
        }
        println!("job {seed}: {} rows", count(&expected));
        rows += count(&expected);
        empty += u64::from(expected.is_empty());
    }
    let jobs = seeds().count() as u64;
    println!("{jobs} jobs, {rows} rows, {empty} without rows, {} differences", differences.len());
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
    assert!(rows >= jobs * ROWS_PER_JOB_MIN, "only {rows} rows of {jobs} jobs");
    assert!(empty * 100 <= jobs * EMPTY_PERCENT_MAX, "{empty} of {jobs} jobs emit nothing");
}

/// The comparison sees a record that is lost and a value that changes, in all but a few jobs, which filter it out.
#[test]
fn a_planted_fault_is_noticed() {
    for fault in [Fault::LosesARecord, Fault::ChangesAValue] {
        let faulty = Variant { fault: Some(fault), ..Variant::PLAIN };
        let noticed = (1..=100).filter(|seed| {
            let job = Job::random(*seed);
            difference(&job.run(&Variant::PLAIN), &job.run(&faulty)).is_some()
        });
        let noticed = noticed.count();
        assert!(noticed >= 60, "{fault:?} was noticed in {noticed} of 100 jobs");
    }
}

#[test]
fn a_seed_names_a_job() {
    assert_eq!(format!("{:?}", Job::random(7)), format!("{:?}", Job::random(7)));
    assert_ne!(format!("{:?}", Job::random(7)), format!("{:?}", Job::random(8)));
}
