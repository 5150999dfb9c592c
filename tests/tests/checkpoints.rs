//! Jobs that fail and go on, in one process and in the next one, on real threads and real files.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "jobs that last long enough to be interrupted")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use thalweg::config::{RestartKind, StateBackend};
use thalweg::graph::JobStatus;
use thalweg::prelude::*;
use thalweg_tests::running_sums::{KEYS, NUMBERS, highest, sums};
use thalweg_tests::{On, matrix};

/// Running sums by key; `at_each` sees each number.
fn write_sums(
    env: &StreamExecutionEnvironment,
    mut at_each: impl FnMut(i64) + Clone + Send + 'static,
) -> Collected<(i64, i64)> {
    let numbers = env.from_sequence(1..=NUMBERS).map(move |n| {
        at_each(n);
        n
    });
    let sums = numbers.key_by(|n| n % KEYS).scan(0, |sum, n| {
        *sum += n;
        (n % KEYS, *sum)
    });
    sums.collect()
}

fn env(on: On, backend: StateBackend, directory: Option<&Path>) -> StreamExecutionEnvironment {
    let env = on.env();
    env.configure(|c| c.state_backend(backend).restart_strategy(RestartKind::FixedDelay));
    env.configure(|c| c.restart_delay(Duration::from_millis(1)).batch_records(64));
    let checkpointing = env.enable_checkpointing(Duration::from_millis(5));
    if let Some(directory) = directory {
        checkpointing.at(directory);
    }
    env
}

fn a_job_that_panics_goes_on(on: On) {
    for backend in [StateBackend::Memory, StateBackend::Lsm] {
        for in_directory in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let env = env(on, backend, in_directory.then(|| directory.path()));
            let has_panicked = Arc::new(AtomicBool::new(false));
            let results = write_sums(&env, move |n| {
                if n % 1_000 == 0 {
                    std::thread::sleep(Duration::from_micros(500));
                }
                assert!(n != NUMBERS / 3 || has_panicked.swap(true, Ordering::Relaxed), "once");
            });
            let job = env.execute_async("sums").unwrap();
            job.wait().unwrap();
            let statistics = job.checkpoints();
            assert_eq!(statistics.restarts, 1);
            assert!(statistics.completed >= 1, "the last one at least");
            assert_eq!(
                highest(results.take()),
                sums(),
                "{backend:?}, in a directory: {in_directory}"
            );
            let checkpoints = directory.path().join("checkpoints");
            let left = std::fs::read_dir(checkpoints).map_or(0, Iterator::count);
            assert_eq!(
                left,
                usize::from(in_directory),
                "the last one, which says that it has finished"
            );
        }
    }
}

fn a_job_that_was_stopped_goes_on_in_the_next_process(on: On) {
    for backend in [StateBackend::Memory, StateBackend::Lsm] {
        let directory = tempfile::tempdir().unwrap();
        let read = Arc::new(AtomicU64::new(0));
        let mut all = Vec::new();
        let mut attempts = 0;
        // As another process would: all that goes from one to the next are the files.
        loop {
            let env = env(on, backend, Some(directory.path()));
            let count = read.clone();
            let results = write_sums(&env, move |n| {
                count.fetch_add(1, Ordering::Relaxed);
                if n % 100 == 0 {
                    std::thread::sleep(Duration::from_micros(200));
                }
            });
            let before = read.load(Ordering::Relaxed);
            let job = env.execute_async("sums").unwrap();
            while !job.is_finished() && read.load(Ordering::Relaxed) < before + 15_000 {
                std::thread::sleep(Duration::from_micros(200));
            }
            job.stop();
            job.wait().unwrap();
            assert_eq!(job.checkpoints().restored.is_some(), attempts > 0);
            attempts += 1;
            all.extend(results.take());
            if read.load(Ordering::Relaxed) == NUMBERS as u64 {
                break;
            }
        }
        assert!(attempts > 1);
        // It has finished: the next process has nothing to do.
        let env = env(on, backend, Some(directory.path()));
        let nothing = write_sums(&env, |_| {});
        env.execute("sums").unwrap();
        assert!(nothing.is_empty());
        // A graceful stop loses nothing and repeats nothing.
        assert_eq!(read.load(Ordering::Relaxed), NUMBERS as u64);
        assert_eq!(all.len(), NUMBERS as usize);
        assert_eq!(highest(all), sums(), "{backend:?}");
    }
}

/// Waits for a status, while the job is alive.
fn wait_for_status(job: &JobHandle, status: JobStatus) {
    while job.status() != status && !job.is_finished() {
        std::thread::sleep(Duration::from_micros(50));
    }
}

fn a_job_is_stopped_whenever(on: On) {
    // While it is being built, and while it waits for its next attempt.
    for waits in [false, true] {
        let env = env(on, StateBackend::Lsm, None);
        env.configure(|c| c.stop_timeout(Duration::from_secs(100)));
        env.configure(|c| c.restart_delay(Duration::from_millis(150)));
        let has_panicked = Arc::new(AtomicBool::new(!waits));
        let read = Arc::new(AtomicU64::new(0));
        let at_each = read.clone();
        let _results = write_sums(&env, move |n| {
            at_each.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_micros(100));
            assert!(n % 100 != 99 || has_panicked.swap(true, Ordering::Relaxed), "once");
        });
        let job = env.execute_async("sums").unwrap();
        if waits {
            wait_for_status(&job, JobStatus::Restarting);
        }
        job.stop();
        job.wait().unwrap();
        assert!(read.load(Ordering::Relaxed) < NUMBERS as u64, "it read no further");
        assert_eq!(job.checkpoints().restarts, u32::from(waits));
        assert!(job.checkpoints().completed >= 1, "the last one");
    }
}

/// A checkpoint that outgrows its memory is declined; the error says which option to change.
fn checkpoints_in_memory_are_bounded(on: On) {
    for (backend, memory_mib) in
        [(StateBackend::Memory, 1), (StateBackend::Lsm, 1), (StateBackend::Lsm, 64)]
    {
        let env = on.env();
        env.configure(|c| c.state_backend(backend).restart_strategy(RestartKind::Never));
        env.configure(|c| c.checkpoint_memory_mib(memory_mib).checkpoint_tolerated_failures(3));
        env.enable_checkpointing(Duration::from_millis(5));
        let numbers = env.from_sequence(0..=2 * MANY_KEYS - 1).map(|n| {
            if n % 200 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            n
        });
        let ended = numbers.key_by(|n| n % MANY_KEYS).process(TwoPerKey::default()).collect();
        let job = env.execute_async("much state").unwrap();
        let result = job.wait();
        let statistics = job.checkpoints();
        if memory_mib > 1 {
            result.unwrap();
            assert_eq!((ended.take().len() as i64, statistics.failed), (MANY_KEYS, 0));
            continue;
        }
        let failure = result.map(drop).unwrap_err().to_string();
        assert!(failure.contains("`checkpoint_memory_mib` (1 MiB)"), "{backend:?}: {failure}");
        assert!(failure.contains("`checkpoint_directory`"), "{failure}");
        assert!(statistics.failed >= 3, "it went on for a while: {statistics:?}");
    }
}

const MANY_KEYS: i64 = 20_000;

/// Keeps 100 bytes of each key from its first record on.
#[derive(Clone, Default)]
struct TwoPerKey(ValueState<Vec<u8>>);

impl KeyedProcessFunction for TwoPerKey {
    type Key = i64;
    type In = i64;
    type Out = i64;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.0 = context.value_state(ValueStateDescriptor::new("bytes"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        n: i64,
        context: &mut Context<'_, i64>,
        out: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        match self.0.value(context)? {
            None => self.0.update(context, vec![n as u8; 100])?,
            Some(_) => out.collect(n),
        }
        Ok(())
    }
}

matrix![
    checkpoints_in_memory_are_bounded,
    a_job_that_panics_goes_on,
    a_job_that_was_stopped_goes_on_in_the_next_process,
    a_job_is_stopped_whenever,
];
