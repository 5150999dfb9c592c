//! Files that are written once, on real threads and real files, by jobs that panic and jobs that are stopped.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "jobs that last long enough to be interrupted")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use thalweg::config::RestartKind;
use thalweg::prelude::*;
use thalweg_tests::{On, matrix};

const NUMBERS: i64 = 40_000;

fn env(on: On, directory: Option<&Path>) -> StreamExecutionEnvironment {
    let env = on.env();
    env.configure(|c| c.restart_strategy(RestartKind::FixedDelay).restart_attempts(10));
    env.configure(|c| c.restart_delay(Duration::from_millis(1)).batch_records(64));
    let checkpointing = env.enable_checkpointing(Duration::from_millis(5));
    if let Some(directory) = directory {
        checkpointing.at(directory);
    }
    env
}

/// Numbers into buckets of files, with their key's running count.
fn write_files(
    env: &StreamExecutionEnvironment,
    directory: &Path,
    mut at_each: impl FnMut(i64) + Clone + Send + 'static,
) {
    let numbers = env.from_sequence(1..=NUMBERS).map(move |n| {
        if n % 400 == 0 {
            std::thread::sleep(Duration::from_micros(300));
        }
        at_each(n);
        n
    });
    let counted = numbers.key_by(|n| n % 7).scan(0_i64, |count, n| {
        *count += 1;
        (n % 7, *count, n)
    });
    let sink = sink::FileSink::csv(directory).roll_at_bytes(20_000);
    counted.sink_to(sink.bucket_by(|(key, _, _): &(i64, i64, i64)| format!("key={key}")));
}

/// Every file below the directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(self::files(&path)),
            false => files.push(path),
        }
    }
    files
}

/// Each number is there once, and each key's counts are without gap.
fn audit(directory: &Path) {
    let mut counts: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    let mut numbers = Vec::new();
    for path in files(directory) {
        assert_eq!(path.extension().and_then(|extension| extension.to_str()), Some("csv"));
        for row in std::fs::read_to_string(&path).unwrap().lines() {
            let fields: Vec<i64> = row.split(',').map(|field| field.parse().unwrap()).collect();
            assert!(path.parent().unwrap().ends_with(format!("key={}", fields[0])));
            counts.entry(fields[0]).or_default().push(fields[1]);
            numbers.push(fields[2]);
        }
    }
    numbers.sort_unstable();
    assert!(numbers == (1..=NUMBERS).collect::<Vec<_>>(), "{} rows", numbers.len());
    for (key, mut counts) in counts {
        counts.sort_unstable();
        assert!(counts == (1..=counts.len() as i64).collect::<Vec<_>>(), "counts of {key}");
    }
}

fn a_job_that_panics_writes_each_row_once(on: On) {
    let directory = tempfile::tempdir().unwrap();
    let env = env(on, None);
    let left = Arc::new(AtomicU64::new(3));
    write_files(&env, directory.path(), move |n| {
        let is_due = n % 9_000 == 0;
        let panics = is_due
            && left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                .is_ok();
        assert!(!panics, "once more");
    });
    let explained = env.explain(thalweg::graph::ExplainFormat::Text).unwrap();
    assert!(explained.contains("delivery: exactly-once: all sources replay"), "{explained}");
    let job = env.execute_async("files").unwrap();
    job.wait().unwrap();
    assert!(job.checkpoints().restarts >= 1);
    audit(directory.path());
}

fn a_job_that_was_stopped_writes_each_row_once(on: On) {
    let (directory, checkpoints) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let read = Arc::new(AtomicU64::new(0));
    let mut attempts = 0;
    loop {
        let env = env(on, Some(checkpoints.path()));
        let count = read.clone();
        write_files(&env, directory.path(), move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let before = read.load(Ordering::Relaxed);
        let job = env.execute_async("files").unwrap();
        while !job.is_finished() && read.load(Ordering::Relaxed) < before + 15_000 {
            std::thread::sleep(Duration::from_micros(200));
        }
        job.stop();
        job.wait().unwrap();
        attempts += 1;
        // The last checkpoint stays: who starts the job again finds nothing left to read.
        if read.load(Ordering::Relaxed) == before {
            break;
        }
    }
    assert!(attempts > 1);
    audit(directory.path());
}

matrix![a_job_that_panics_writes_each_row_once, a_job_that_was_stopped_writes_each_row_once];
