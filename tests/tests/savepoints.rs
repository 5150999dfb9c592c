//! Savepoints on real files: taken, begun with, by jobs of other parallelism and backend, and refused where they do not fit.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "jobs that last long enough to be interrupted")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use thalweg::config::{RestartKind, Restore, StateBackend};
use thalweg::prelude::*;
use thalweg::runtime::{Savepoint, SavepointError};
use thalweg::source::FunctionSource;
use thalweg_tests::running_sums::{KEYS, NUMBERS, highest, sums};

/// What a job is to be like.
#[derive(Clone, Debug)]
struct Setting {
    parallelism: usize,
    backend: StateBackend,
    checkpoints: Option<PathBuf>,
    savepoint: Option<PathBuf>,
}

impl Setting {
    fn new(parallelism: usize, backend: StateBackend) -> Self {
        Setting { parallelism, backend, checkpoints: None, savepoint: None }
    }

    fn at(mut self, directory: &Path) -> Self {
        self.checkpoints = Some(directory.to_path_buf());
        self
    }

    fn from(mut self, savepoint: &Path) -> Self {
        self.savepoint = Some(savepoint.to_path_buf());
        self
    }

    fn env(&self) -> StreamExecutionEnvironment {
        let env = StreamExecutionEnvironment::new();
        env.set_parallelism(self.parallelism);
        env.configure(|c| c.state_backend(self.backend).restart_strategy(RestartKind::FixedDelay));
        env.configure(|c| {
            c.restart_delay(Duration::from_millis(1)).batch_records(64).slots(self.parallelism)
        });
        let checkpointing = env.enable_checkpointing(Duration::from_millis(5));
        if let Some(directory) = &self.checkpoints {
            checkpointing.at(directory);
        }
        if let Some(savepoint) = &self.savepoint {
            env.configure(|c| c.savepoint(savepoint));
        }
        env
    }
}

/// Running sums by key, of operators with uids; `at_each` sees each number.
fn write_sums(
    env: &StreamExecutionEnvironment,
    mut at_each: impl FnMut(i64) + Clone + Send + 'static,
) -> Collected<(i64, i64)> {
    let numbers = env.from_sequence(1..=NUMBERS).uid("numbers").map(move |n| {
        at_each(n);
        n
    });
    let sums = numbers.key_by(|n| n % KEYS).scan(0, |sum, n| {
        *sum += n;
        (n % KEYS, *sum)
    });
    sums.uid("sums").collect()
}

/// Counts what is read, and makes it last.
fn slowly(read: &Arc<AtomicU64>) -> impl FnMut(i64) + Clone + Send + 'static {
    let read = read.clone();
    move |n| {
        read.fetch_add(1, Ordering::Relaxed);
        if n % 100 == 0 {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Runs until so much more is read, then ends with a savepoint, or by itself; what it has emitted, and whether all is read.
fn run_until_savepoint(
    setting: &Setting,
    read: &Arc<AtomicU64>,
    more: u64,
    directory: &Path,
) -> (Vec<(i64, i64)>, Option<Savepoint>) {
    let env = setting.env();
    let results = write_sums(&env, slowly(read));
    let before = read.load(Ordering::Relaxed);
    let job = env.execute_async("sums").unwrap();
    while !job.is_finished() && read.load(Ordering::Relaxed) < before + more {
        std::thread::sleep(Duration::from_micros(200));
    }
    let savepoint = match job.stop_with_savepoint(directory).wait() {
        Ok(savepoint) => Some(savepoint),
        Err(SavepointError::JobOver { .. }) => None,
        Err(error) => panic!("{error}"),
    };
    job.wait().unwrap();
    (results.take(), savepoint)
}

#[test]
fn jobs_of_any_parallelism_and_backend_go_on_with_each_others_savepoints() {
    use StateBackend::{Lsm, Memory};
    let place = tempfile::tempdir().unwrap();
    let read = Arc::new(AtomicU64::new(0));
    let mut all = Vec::new();
    let mut savepoint: Option<PathBuf> = None;
    let turns = [(2, Lsm), (3, Memory), (1, Lsm), (4, Lsm), (2, Memory), (8, Memory), (5, Lsm)];
    for (turn, (parallelism, backend)) in turns.into_iter().cycle().enumerate() {
        let name = |what: &str| place.path().join(format!("{what} {turn}"));
        let mut setting = Setting::new(parallelism, backend);
        // In memory or in a directory of its own.
        if turn % 3 > 0 {
            setting = setting.at(&name("checkpoints"));
        }
        setting.savepoint = savepoint.take();
        let (emitted, taken) = run_until_savepoint(&setting, &read, 7_000, &name("savepoint"));
        all.extend(emitted);
        let Some(taken) = taken else { break };
        assert!(taken.size_bytes > 0 && taken.directory == name("savepoint"));
        savepoint = Some(taken.directory);
        if read.load(Ordering::Relaxed) == NUMBERS as u64 {
            break;
        }
    }
    assert_eq!(read.load(Ordering::Relaxed), NUMBERS as u64, "each is read once");
    assert_eq!(all.len(), NUMBERS as usize);
    assert_eq!(highest(all), sums());
}

#[test]
fn a_savepoint_outlives_its_job_which_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let (checkpoints, directory) =
        (place.path().join("checkpoints"), place.path().join("savepoint"));
    let read = Arc::new(AtomicU64::new(0));
    let env = Setting::new(2, StateBackend::Lsm).at(&checkpoints).env();
    let results = write_sums(&env, slowly(&read));
    let job = env.execute_async("sums").unwrap();
    while read.load(Ordering::Relaxed) < 10_000 {
        std::thread::sleep(Duration::from_micros(200));
    }
    let savepoint = job.savepoint(&directory).wait().unwrap();
    assert!(!job.is_finished());
    assert!(job.checkpoints().latest >= Some(savepoint.checkpoint));
    job.wait().unwrap();
    assert_eq!(highest(results.take()), sums(), "the job has gone on");
    fs::remove_dir_all(&checkpoints).unwrap();
    // Elsewhere, and more than once: nothing is written to it.
    let moved = place.path().join("moved");
    fs::rename(&directory, &moved).unwrap();
    for backend in [StateBackend::Memory, StateBackend::Lsm] {
        let env = Setting::new(3, backend).from(&moved).env();
        let read_again = Arc::new(AtomicU64::new(0));
        let counted = read_again.clone();
        let results = write_sums(&env, move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let job = env.execute_async("sums").unwrap();
        job.wait().unwrap();
        assert_eq!(job.checkpoints().restored, Some(savepoint.checkpoint));
        assert_eq!(highest(results.take()), sums());
        assert!(read_again.load(Ordering::Relaxed) <= NUMBERS as u64 - 10_000 + 1_000);
    }
}

#[test]
fn a_process_that_is_started_again_with_the_savepoint_goes_on_with_its_own_checkpoints() {
    let place = tempfile::tempdir().unwrap();
    let (checkpoints, savepoint) =
        (place.path().join("checkpoints"), place.path().join("savepoint"));
    let read = Arc::new(AtomicU64::new(0));
    let setting = Setting::new(2, StateBackend::Lsm).at(&checkpoints);
    let (mut all, taken) = run_until_savepoint(&setting, &read, 5_000, &savepoint);
    let of_savepoint = taken.unwrap().checkpoint;
    // The same directory: the job's newest checkpoint is the one that the savepoint is a copy of.
    let setting = setting.from(&savepoint);
    for attempt in 0.. {
        let env = setting.env();
        let results = write_sums(&env, slowly(&read));
        let before = read.load(Ordering::Relaxed);
        let job = env.execute_async("sums").unwrap();
        while !job.is_finished() && read.load(Ordering::Relaxed) < before + 15_000 {
            std::thread::sleep(Duration::from_micros(200));
        }
        let restored = job.checkpoints().restored;
        job.stop();
        job.wait().unwrap();
        assert_eq!(restored == Some(of_savepoint), attempt == 0, "{restored:?}");
        all.extend(results.take());
        if read.load(Ordering::Relaxed) == NUMBERS as u64 {
            break;
        }
    }
    assert_eq!(all.len(), NUMBERS as usize, "nothing is read twice");
    assert_eq!(highest(all), sums());
}

#[test]
fn a_drained_job_fires_its_windows() {
    let write = |env: &StreamExecutionEnvironment| {
        let numbers = env.from_iter((0_i64..).map(|n| n % 10_000)).uid("numbers");
        let numbers = numbers.assign_timestamps_and_watermarks(
            WatermarkStrategy::monotonous().with_timestamp(|n: &i64| *n),
        );
        let counts = numbers.key_by(|n| n % 7).window(TumblingEventTimeWindows::of(seconds(60)));
        counts.reduce(|a, b| a + b).uid("windows").collect()
    };
    let place = tempfile::tempdir().unwrap();
    for (index, is_drained) in [false, true].into_iter().enumerate() {
        let env = Setting::new(2, StateBackend::Lsm).env();
        let windows = write(&env);
        let job = env.execute_async("windows").unwrap();
        let directory = place.path().join(index.to_string());
        std::thread::sleep(Duration::from_millis(30));
        let handle = match is_drained {
            true => job.drain(&directory),
            false => job.stop_with_savepoint(&directory),
        };
        handle.wait().unwrap();
        job.wait().unwrap();
        assert_eq!(windows.len(), if is_drained { 7 } else { 0 }, "one window for each key");
    }
    let env = Setting::new(2, StateBackend::Lsm).env();
    let windows = write(&env);
    let job = env.execute_async("windows").unwrap();
    std::thread::sleep(Duration::from_millis(30));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(job.stop_with_drain()).unwrap();
    assert_eq!(windows.len(), 7);
}

/// Numbers from 0; the first subtask has few of them.
#[derive(Clone)]
struct Uneven(u64);

impl SourceFunction for Uneven {
    type Out = i64;

    fn is_replayable(&self) -> bool {
        true
    }

    fn restore(&mut self, position: u64) -> thalweg::Result<()> {
        self.0 = position;
        Ok(())
    }

    fn run(&mut self, context: &SourceFunctionContext<i64>) -> thalweg::Result<()> {
        for n in self.0..if context.subtask_index() == 0 { FEW } else { MANY } {
            context.collect_at(n as i64, n as i64, n + 1)?;
            if n % 64 == 63 {
                context.wait(Duration::from_micros(200))?;
            }
        }
        Ok(())
    }
}

const FEW: u64 = 10;
const MANY: u64 = 40_000;

/// Who has come to the end of time says nothing more: those who begin anew behind it must know.
fn check_windows_behind_ended_inputs(
    expected: u64,
    numbers: impl Fn(&StreamExecutionEnvironment) -> DataStream<i64>,
) {
    const WINDOW_MS: u64 = 1_000;
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("savepoint");
    let read = Arc::new(AtomicU64::new(0));
    let write = |env: &StreamExecutionEnvironment| {
        let read = read.clone();
        let numbers = numbers(env).map(move |n| {
            read.fetch_add(1, Ordering::Relaxed);
            (n % 7, 1)
        });
        let windows = numbers
            .key_by(|(key, _)| *key)
            .window(TumblingEventTimeWindows::of(milliseconds(WINDOW_MS)));
        windows.reduce(|a, b| (a.0, a.1 + b.1)).uid("windows").collect()
    };
    let mut all: Vec<(i64, u64)> = Vec::new();
    for (turn, parallelism) in [2, 3, 1].into_iter().enumerate() {
        let mut setting = Setting::new(parallelism, StateBackend::Lsm);
        let from = directory.join(turn.to_string());
        if turn > 0 {
            setting = setting.from(&from);
        }
        let env = setting.env();
        env.configure(|c| c.slots(3));
        let windows = write(&env);
        let job = env.execute_async("windows").unwrap();
        if turn < 2 {
            let enough = (turn as u64 + 1) * expected / 3;
            while read.load(Ordering::Relaxed) < enough {
                std::thread::sleep(Duration::from_millis(1));
            }
            job.stop_with_savepoint(directory.join((turn + 1).to_string())).wait().unwrap();
        }
        job.wait().unwrap();
        all.extend(windows.take());
    }
    assert_eq!(all.iter().map(|(_, count)| count).sum::<u64>(), expected);
    assert_eq!(all.len() as u64, 7 * MANY / WINDOW_MS, "each window once");
}

#[test]
fn event_time_goes_on_with_another_parallelism_behind_a_source_that_has_ended() {
    check_windows_behind_ended_inputs(FEW + MANY, |env| {
        let by_number: fn(&i64) -> i64 = |n| *n;
        let strategy = || WatermarkStrategy::monotonous().with_timestamp(by_number);
        let short = env.from_sequence(0..=FEW as i64 - 1).uid("short");
        let long = env.from_iter(0..MANY as i64).uid("long");
        let long = long.map(|n| {
            if n % 100 == 0 {
                std::thread::sleep(Duration::from_micros(200));
            }
            n
        });
        let short = short.assign_timestamps_and_watermarks(strategy()).uid("short time");
        let long = long.assign_timestamps_and_watermarks(strategy()).uid("long time");
        short.union(long).boxed()
    });
}

/// Behind the sources' union, whose own parallelism stays, one subtask has come to the end, and another has not.
#[test]
fn event_time_goes_on_with_another_parallelism_behind_a_subtask_that_has_ended() {
    check_windows_behind_ended_inputs(2 * (FEW + MANY), |env| {
        let numbers = |name: &str| {
            let by_number: fn(&i64) -> i64 = |n| *n;
            let strategy = WatermarkStrategy::monotonous().with_timestamp(by_number);
            let source = FunctionSource::new(Uneven(0)).parallel().bounded();
            env.from_source_with(source, strategy, name).set_parallelism(2).uid(name)
        };
        numbers("first").union(numbers("second")).boxed()
    });
}

#[test]
fn a_job_that_restarts_takes_the_savepoint_when_it_runs_again() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("savepoint");
    let env = Setting::new(2, StateBackend::Lsm).env();
    env.configure(|c| c.restart_delay(Duration::from_millis(100)));
    let has_panicked = Arc::new(AtomicBool::new(false));
    let panicked = has_panicked.clone();
    let results = write_sums(&env, move |n| {
        if n % 1_000 == 0 {
            std::thread::sleep(Duration::from_micros(500));
        }
        assert!(n != NUMBERS / 3 || panicked.swap(true, Ordering::Relaxed), "once");
    });
    let job = env.execute_async("sums").unwrap();
    while !has_panicked.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_micros(200));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let savepoint = runtime.block_on(job.savepoint(&directory)).unwrap();
    job.wait().unwrap();
    assert_eq!(job.checkpoints().restarts, 1);
    assert_eq!(highest(results.take()), sums());
    assert_eq!(savepoint.directory, directory);
}

#[test]
fn a_savepoint_that_cannot_be_taken_says_why() {
    let place = tempfile::tempdir().unwrap();
    let directory = |name: &str| place.path().join(name);
    // No checkpoints.
    let env = StreamExecutionEnvironment::new();
    env.set_parallelism(1);
    env.from_iter(0_u64..).for_each(|_| {});
    let job = env.execute_async("without").unwrap();
    let error = job.savepoint(directory("a")).wait().unwrap_err();
    assert_eq!(error, SavepointError::NoCheckpoints { job: "without".to_owned() });
    assert!(error.to_string().contains("enable_checkpointing"), "{error}");
    job.cancel();
    assert!(job.wait().is_err());
    // Something is there, and stays.
    fs::create_dir(directory("taken")).unwrap();
    fs::write(directory("taken").join("letter"), "dear").unwrap();
    let env = Setting::new(1, StateBackend::Lsm).env();
    env.from_iter(0_u64..).uid("numbers").for_each(|_| {});
    let job = env.execute_async("endless").unwrap();
    for wanted in [job.savepoint(directory("taken")), job.stop_with_savepoint(directory("taken"))] {
        let error = wanted.wait().unwrap_err();
        assert!(matches!(error, SavepointError::NotWritten { .. }), "{error:?}");
        assert!(error.to_string().contains("is not empty; name a directory"), "{error}");
    }
    assert_eq!(fs::read_to_string(directory("taken").join("letter")).unwrap(), "dear");
    // It cannot be made.
    let error = job.savepoint(directory("taken").join("letter").join("s")).wait().unwrap_err();
    assert!(matches!(error, SavepointError::NotWritten { .. }), "{error:?}");
    // The last one was asked for already.
    let first = job.stop_with_savepoint(directory("last"));
    let second = job.drain(directory("other")).wait().unwrap_err();
    let is_later =
        matches!(second, SavepointError::Stopping { .. } | SavepointError::JobOver { .. });
    assert!(is_later, "{second:?}");
    first.wait().unwrap();
    job.wait().unwrap();
    let over = job.savepoint(directory("late")).wait().unwrap_err();
    assert_eq!(over, SavepointError::JobOver { job: "endless".to_owned() });
    assert!(!directory("late").exists() && !directory("other").exists());
}

/// A savepoint of half of the sums.
fn half(place: &Path) -> PathBuf {
    let (read, directory) = (Arc::new(AtomicU64::new(0)), place.join("savepoint"));
    let setting = Setting::new(2, StateBackend::Lsm);
    run_until_savepoint(&setting, &read, NUMBERS as u64 / 2, &directory).1.unwrap();
    directory
}

/// Why the sums do not begin.
fn refusal(env: &StreamExecutionEnvironment, job: &str) -> String {
    let results = write_sums(env, |_| {});
    let error = env.execute(job).unwrap_err().to_string();
    assert!(results.is_empty(), "nothing was done: {error}");
    error
}

#[test]
fn what_is_no_savepoint_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    let setting = Setting::new(1, StateBackend::Lsm);
    let error = refusal(&setting.clone().from(&path("nowhere")).env(), "sums");
    assert!(error.contains("there is no savepoint in") && error.contains("nowhere"), "{error}");
    assert!(!path("nowhere").exists());
    // It was not finished.
    let savepoint = half(place.path());
    fs::rename(savepoint.join("checkpoints"), savepoint.join("elsewhere")).unwrap();
    let error = refusal(&setting.clone().from(&savepoint).env(), "sums");
    assert!(error.contains("being written when its process ended"), "{error}");
    fs::rename(savepoint.join("elsewhere"), savepoint.join("checkpoints")).unwrap();
    // It is what another job goes on from.
    let env = setting.clone().at(&path("checkpoints")).env();
    drop(write_sums(&env, |_| {}));
    env.execute("sums").unwrap();
    let error = refusal(&setting.clone().from(&path("checkpoints")).env(), "sums");
    assert!(error.contains("has checkpoints of the job 'sums', and is no savepoint"), "{error}");
    // A savepoint is nobody's checkpoints.
    let error = refusal(&setting.clone().at(&savepoint).env(), "sums");
    assert!(error.contains("is a savepoint, which jobs do not write to"), "{error}");
    // Without checkpoints nothing can go on.
    let env = StreamExecutionEnvironment::new();
    env.set_parallelism(1);
    env.configure(|c| c.savepoint(&savepoint));
    let error = refusal(&env, "sums");
    assert!(error.contains("enable_checkpointing"), "{error}");
    // It is as good as before.
    let env = setting.from(&savepoint).env();
    let results = write_sums(&env, |_| {});
    env.execute("sums").unwrap();
    assert_eq!(highest(results.take()), sums());
}

#[test]
fn own_checkpoints_are_not_given_up_for_a_savepoint_unless_that_is_said() {
    let place = tempfile::tempdir().unwrap();
    let savepoint = half(place.path());
    let checkpoints = place.path().join("checkpoints");
    let env = Setting::new(2, StateBackend::Lsm).at(&checkpoints).env();
    drop(write_sums(&env, |_| {}));
    env.execute("sums").unwrap();
    let setting = Setting::new(2, StateBackend::Lsm).at(&checkpoints).from(&savepoint);
    let error = refusal(&setting.env(), "sums");
    assert!(error.contains("checkpoints of its own, up to"), "{error}");
    assert!(error.contains("restore = \"nothing\""), "{error}");
    let env = setting.env();
    env.configure(|c| c.restore(Restore::Nothing));
    let results = write_sums(&env, |_| {});
    env.execute("sums").unwrap();
    let results = results.take();
    assert!(results.len() < NUMBERS as usize);
    assert_eq!(highest(results), sums());
}

#[test]
fn a_savepoint_of_another_job_is_refused_unless_that_is_named() {
    let place = tempfile::tempdir().unwrap();
    let setting = Setting::new(2, StateBackend::Lsm).from(&half(place.path()));
    let error = refusal(&setting.env(), "totals");
    assert!(error.contains("is of the job 'sums', not of 'totals'"), "{error}");
    assert!(error.contains("savepoint_job = \"sums\""), "{error}");
    let env = setting.env();
    env.configure(|c| c.savepoint_job("sums"));
    let results = write_sums(&env, |_| {});
    env.execute("totals").unwrap();
    assert_eq!(highest(results.take()), sums());
}

#[test]
fn state_without_operator_is_refused_unless_it_may_be_given_up() {
    let place = tempfile::tempdir().unwrap();
    let setting = Setting::new(2, StateBackend::Lsm).from(&half(place.path()));
    let write = |env: &StreamExecutionEnvironment| {
        let numbers = env.from_sequence(1..=NUMBERS).uid("numbers");
        let sums = numbers.key_by(|n| n % KEYS).scan(0, |sum, n| {
            *sum += n;
            (n % KEYS, *sum)
        });
        sums.uid("totals").collect()
    };
    let env = setting.env();
    drop(write(&env));
    let error = env.execute("sums").unwrap_err().to_string();
    assert!(error.contains("uid 'sums'") && error.contains("allow_non_restored_state"), "{error}");
    let env = setting.env();
    env.configure(|c| c.allow_non_restored_state(true));
    let results = write(&env);
    env.execute("sums").unwrap();
    let results = results.take();
    // The numbers go on, the sums begin anew.
    assert!(!results.is_empty() && results.len() < NUMBERS as usize);
    assert!(highest(results) != sums());
}

#[test]
fn max_parallelism_is_fixed_in_the_savepoint() {
    let place = tempfile::tempdir().unwrap();
    let env = Setting::new(1, StateBackend::Lsm).from(&half(place.path())).env();
    env.configure(|c| c.max_parallelism(256));
    let error = refusal(&env, "sums");
    assert!(error.contains("in 128 key groups") && error.contains("has 256"), "{error}");
    assert!(error.contains("max_parallelism(128)"), "{error}");
}

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn a_damaged_savepoint_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let savepoint = half(place.path());
    let parts = ["checkpoints", "manifests", "files"];
    let of_parts = files(&savepoint)
        .into_iter()
        .filter(|path| parts.iter().any(|part| path.starts_with(savepoint.join(part))));
    let mut seen = 0;
    for path in of_parts {
        seen += 1;
        let whole = fs::read(&path).unwrap();
        // There may be room between and behind what was written.
        let used: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
        for at in [used[used.len() / 4], used[used.len() / 2], used[used.len() * 2 / 3]] {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            let error = refusal(&Setting::new(2, StateBackend::Lsm).from(&savepoint).env(), "sums");
            assert!(error.contains("savepoint"), "byte {at} of {}: {error}", path.display());
        }
        fs::remove_file(&path).unwrap();
        let error = refusal(&Setting::new(2, StateBackend::Lsm).from(&savepoint).env(), "sums");
        assert!(error.contains("savepoint"), "{} is gone: {error}", path.display());
        fs::write(&path, &whole).unwrap();
    }
    assert!(seen >= 4, "{seen} files");
}
