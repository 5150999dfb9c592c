//! Checkpoints copied to object stores: jobs that lose their machine go on from the copies alone, and stores that are slow,
//! refuse, or have damaged objects never make a job go wrong.
//!
//! The ignored tests need a server that speaks S3, which `tests/services/s3.sh` starts:
//!
//! ```text
//! tests/services/s3.sh start DIR 19000
//! THALWEG_TEST_S3=http://127.0.0.1:19000 \
//!     cargo test -p thalweg-tests --features object-store --test remote_checkpoints -- --ignored
//! ```

#![cfg(feature = "object-store")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "jobs that last long enough to be interrupted")]

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use thalweg::api::remote_checkpoints::{RemoteError, RemoteOptions, RemoteStatistics};
use thalweg::config::{OnCancel, RestartKind, Restore, StateBackend};
use thalweg::prelude::*;
use thalweg::runtime::CheckpointStatistics;
use thalweg_tests::running_sums::{KEYS, NUMBERS, highest, sums};

/// Where the store is, and how it is used.
#[derive(Clone)]
struct Setup {
    scratch: Arc<tempfile::TempDir>,
    url: String,
    endpoint: Option<String>,
    backend: StateBackend,
    /// Rows into files of the scratch directory, which commit; else they are collected.
    commits: bool,
    commits_wait: bool,
    allows_repeats: bool,
    restore: Restore,
    savepoint: Option<PathBuf>,
    timeout: Duration,
}

/// How a run ended: what the handle said, and the rows that were collected.
type Finished = Result<(CheckpointStatistics, Vec<(i64, i64)>), thalweg::Error>;

impl Setup {
    fn new() -> Self {
        let scratch = Arc::new(tempfile::tempdir().unwrap());
        let url = format!("file://{}", scratch.path().join("store").display());
        Setup {
            scratch,
            url,
            endpoint: None,
            backend: StateBackend::Lsm,
            commits: false,
            commits_wait: false,
            allows_repeats: false,
            restore: Restore::Latest,
            savepoint: None,
            timeout: Duration::from_secs(60),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn local(&self) -> PathBuf {
        self.path("local")
    }

    /// The files of a folder of the store.
    fn objects(&self, folder: &str) -> Vec<PathBuf> {
        list(&self.path("store").join(folder))
    }

    fn env(&self) -> StreamExecutionEnvironment {
        let env = StreamExecutionEnvironment::new();
        env.set_parallelism(2);
        env.configure(|c| c.state_backend(self.backend).batch_records(64).restore(self.restore));
        env.configure(|c| c.allow_repeated_commits(self.allows_repeats));
        env.configure(|c| c.restart_strategy(RestartKind::Never));
        if let Some(savepoint) = &self.savepoint {
            env.configure(|c| c.savepoint(savepoint));
        }
        let mut options = RemoteOptions::new()
            .part_mib(1)
            .timeout(self.timeout)
            .commits_wait_for_upload(self.commits_wait);
        if let Some(endpoint) = &self.endpoint {
            options = options.endpoint(endpoint).keys("test", "test");
        }
        env.enable_checkpointing(Duration::from_millis(10))
            .at(self.local())
            .remote(&self.url, options);
        env
    }

    /// Running sums; one that is to be interrupted pauses now and then, and behind its middle at every number.
    fn write(
        &self,
        env: &StreamExecutionEnvironment,
        is_slow: bool,
    ) -> Option<Collected<(i64, i64)>> {
        let numbers = env.from_sequence(1..=NUMBERS).uid("numbers").map(move |n| {
            if is_slow && (n % 32 == 0 || n % (NUMBERS / 2) > NUMBERS / 4) {
                std::thread::sleep(Duration::from_millis(1));
            }
            n
        });
        let sums = numbers.key_by(|n| n % KEYS).scan(0, |sum, n| {
            *sum += n;
            (n, *sum)
        });
        let sums = sums.uid("sums");
        if !self.commits {
            return Some(sums.collect());
        }
        let sink = sink::FileSink::csv(self.path("rows")).roll_at_checkpoints();
        sums.sink_to(sink).uid("files");
        None
    }

    /// Runs until it is so, and cancels.
    fn interrupt_when(
        &self,
        is_so: impl Fn(&CheckpointStatistics) -> bool,
    ) -> CheckpointStatistics {
        let env = self.env();
        let _rows = self.write(&env, true);
        let job = env.execute_async("sums").unwrap();
        let begun = Instant::now();
        while !job.is_finished() && !is_so(&job.checkpoints()) {
            assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", job.checkpoints());
            std::thread::sleep(Duration::from_micros(200));
        }
        job.cancel();
        let ended = job.wait();
        assert!(matches!(ended, Err(thalweg::Error::Cancelled(_))), "{ended:?}");
        job.checkpoints()
    }

    /// Runs until this many copies are complete.
    fn interrupt(&self, copies: u64) -> CheckpointStatistics {
        self.interrupt_when(|statistics| remote(statistics).completed >= copies)
    }

    fn finish(&self) -> Finished {
        let env = self.env();
        let rows = self.write(&env, false);
        let job = env.execute_async("sums")?;
        job.wait()?;
        Ok((job.checkpoints(), rows.map(|rows| rows.take()).unwrap_or_default()))
    }

    /// Why it does not start.
    fn refusal(&self) -> RefusedStart {
        match self.finish() {
            Err(thalweg::Error::Job(failure)) => {
                let cause = failure.cause.expect("a cause");
                assert!(cause.downcast_ref::<RemoteError>().is_some(), "{cause}");
                RefusedStart(cause)
            }
            Err(other) => panic!("{other}"),
            Ok((statistics, _)) => panic!("it has finished: {statistics:?}"),
        }
    }

    fn lose_machine(&self) {
        fs::remove_dir_all(self.local()).unwrap();
    }

    /// The rows that were committed, sorted.
    fn committed(&self) -> Vec<(i64, i64)> {
        let mut rows = Vec::new();
        for path in list(&self.path("rows")) {
            for line in fs::read_to_string(path).unwrap().lines() {
                let (key, sum) = line.split_once(',').unwrap();
                rows.push((key.parse().unwrap(), sum.parse().unwrap()));
            }
        }
        rows.sort_unstable();
        rows
    }
}

struct RefusedStart(Arc<dyn std::error::Error + Send + Sync>);

impl RefusedStart {
    fn error(&self) -> &RemoteError {
        self.0.downcast_ref().unwrap()
    }
}

fn remote(statistics: &CheckpointStatistics) -> RemoteStatistics {
    statistics.remote.clone().unwrap_or_default()
}

fn list(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort_unstable();
    paths
}

/// The highest sum of each key.
fn highest_of(rows: &[(i64, i64)]) -> BTreeMap<i64, i64> {
    highest(rows.iter().map(|(n, sum)| (n % KEYS, *sum)).collect())
}

/// Was each number committed once, and are the sums right?
fn assert_once(rows: &[(i64, i64)]) {
    let twice: Vec<_> = rows.windows(2).filter(|pair| pair[0].0 == pair[1].0).collect();
    assert!(twice.is_empty(), "{} twice, as {:?}", twice.len(), twice[0]);
    assert_eq!(rows.len(), NUMBERS as usize);
    assert_eq!(highest_of(rows), sums());
}

/// A server that takes connections and never answers.
fn silent_server() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    (listener, endpoint)
}

#[test]
fn a_job_goes_on_from_the_store_alone() {
    for backend in [StateBackend::Lsm, StateBackend::Memory] {
        let setup = Setup { backend, ..Setup::new() };
        setup.interrupt(3);
        setup.lose_machine();
        // Once more interrupted, so that a copy of a fetched checkpoint's successor is gone on from.
        let statistics = setup.interrupt(2);
        assert_eq!(statistics.restored, remote(&statistics).fetched, "{statistics:?}");
        assert!(remote(&statistics).fetched.is_some() && remote(&statistics).fetched_bytes > 0);
        setup.lose_machine();
        let (statistics, rows) = setup.finish().unwrap();
        assert!(statistics.restored.is_some());
        assert_eq!(highest_of(&rows), sums(), "{backend:?}");
        // It has finished, and the last copy says so.
        assert_eq!(remote(&statistics).latest, statistics.latest);
        setup.lose_machine();
        let (_, rows) = setup.finish().unwrap();
        assert!(rows.is_empty());
    }
}

#[test]
fn a_job_that_began_with_a_savepoint_goes_on_from_its_copies() {
    let mut setup = Setup::new();
    // The savepoint is of a job without copies.
    let env = StreamExecutionEnvironment::new();
    env.set_parallelism(3);
    env.enable_checkpointing(Duration::from_millis(10));
    let _rows = setup.write(&env, true);
    let job = env.execute_async("sums").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let savepoint = job.stop_with_savepoint(setup.path("savepoint")).wait().unwrap();
    job.wait().unwrap();
    setup.savepoint = Some(savepoint.directory);
    let interrupted = setup.interrupt(2);
    assert_eq!(interrupted.restored, Some(savepoint.checkpoint));
    setup.lose_machine();
    // Nothing but the copies says that the job has left the savepoint behind.
    let (statistics, rows) = setup.finish().unwrap();
    assert!(statistics.restored > Some(savepoint.checkpoint), "{statistics:?}");
    assert_eq!(highest_of(&rows), sums());
}

#[test]
fn commits_that_wait_for_copies_come_once_although_the_machine_is_lost_again_and_again() {
    let setup = Setup { commits: true, commits_wait: true, ..Setup::new() };
    for lost in 0..3 {
        let statistics = setup.interrupt_when(|statistics| statistics.completed >= 2);
        assert_eq!(remote(&statistics).fetched.is_some(), lost > 0);
        setup.lose_machine();
    }
    // The local directory may stay, too.
    let statistics = setup.interrupt_when(|statistics| statistics.completed >= 2);
    assert_eq!(statistics.failed, 0);
    setup.finish().unwrap();
    assert_once(&setup.committed());
}

#[test]
fn behind_a_commit_a_copy_is_refused_unless_allowed() {
    let setup = Setup { commits: true, ..Setup::new() };
    setup.interrupt(2);
    setup.lose_machine();
    let (store, rows) = (setup.objects("indexes"), setup.committed());
    let refusal = setup.refusal();
    assert!(matches!(refusal.error(), RemoteError::BehindCommit { .. }), "{}", refusal.0);
    assert!(refusal.0.to_string().contains("`allow_repeated_commits`"), "{}", refusal.0);
    assert_eq!((setup.objects("indexes"), setup.committed()), (store, rows), "all is as it was");
    let allowing = Setup { allows_repeats: true, ..setup };
    allowing.finish().unwrap();
    let committed = allowing.committed();
    let mut once = committed.clone();
    once.dedup_by_key(|(n, _)| *n);
    assert_eq!(once.len(), NUMBERS as usize, "nothing is lost; some came twice");
}

#[test]
fn damaged_and_missing_objects_are_named_and_nothing_begins() {
    let setup = Setup { commits: true, commits_wait: true, ..Setup::new() };
    setup.interrupt(3);
    setup.lose_machine();
    let newest = setup.objects("indexes").pop().unwrap();
    let original = fs::read(&newest).unwrap();
    let mut flipped = original.clone();
    flipped[original.len() / 2] ^= 4;
    for bytes in [flipped, original[..original.len() - 9].to_vec(), Vec::new()] {
        fs::write(&newest, bytes).unwrap();
        let refusal = setup.refusal();
        let RemoteError::Damaged { object, .. } = refusal.error() else { panic!("{}", refusal.0) };
        assert_eq!(object, &format!("indexes/{}", newest.file_name().unwrap().to_str().unwrap()));
    }
    fs::write(&newest, &original).unwrap();
    // Any part that the index names.
    let text = String::from_utf8(original).unwrap();
    let parts = setup.objects("parts");
    let part = parts.iter().find(|part| text.contains(part.file_name().unwrap().to_str().unwrap()));
    let (part, name) = (part.unwrap(), part.unwrap().file_name().unwrap().to_str().unwrap());
    let bytes = fs::read(part).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    fs::write(part, flipped).unwrap();
    let refusal = setup.refusal();
    assert!(matches!(refusal.error(), RemoteError::Damaged { .. }), "{}", refusal.0);
    assert!(refusal.0.to_string().contains(name), "{}", refusal.0);
    fs::remove_file(part).unwrap();
    let refusal = setup.refusal();
    assert!(matches!(refusal.error(), RemoteError::Missing { .. }), "{}", refusal.0);
    assert!(refusal.0.to_string().contains(name), "{}", refusal.0);
    // Put back, as the message says, all is well.
    fs::write(part, bytes).unwrap();
    setup.finish().unwrap();
    assert_once(&setup.committed());
}

#[test]
fn a_half_uploaded_checkpoint_is_none() {
    let setup = Setup::new();
    setup.interrupt(1);
    setup.lose_machine();
    setup.objects("indexes").iter().for_each(|index| fs::remove_file(index).unwrap());
    assert!(!setup.objects("parts").is_empty());
    let (statistics, rows) = setup.finish().unwrap();
    assert_eq!((statistics.restored, highest_of(&rows)), (None, sums()));
    // What was left over is gone.
    let indexes: String =
        setup.objects("indexes").iter().map(|index| fs::read_to_string(index).unwrap()).collect();
    for part in setup.objects("parts") {
        let name = part.file_name().unwrap().to_str().unwrap();
        assert!(indexes.contains(name), "{name} is needed by no copy");
    }
}

#[test]
fn beginning_anew_and_deleting_remove_the_copies() {
    let setup = Setup::new();
    setup.interrupt(1);
    setup.lose_machine();
    let anew = Setup { restore: Restore::Nothing, ..setup.clone() };
    assert_eq!(anew.finish().unwrap().0.restored, None);
    let env = setup.env();
    env.configure(|c| c.checkpoints_on_cancel(OnCancel::Delete).restore(Restore::Nothing));
    let _rows = setup.write(&env, true);
    let job = env.execute_async("sums").unwrap();
    while remote(&job.checkpoints()).completed == 0 && !job.is_finished() {
        std::thread::sleep(Duration::from_micros(200));
    }
    job.cancel();
    assert!(job.wait().is_err());
    assert_eq!((setup.objects("indexes").len(), setup.objects("parts").len()), (0, 0));
}

#[test]
fn jobs_of_other_names_and_other_histories_are_refused() {
    let setup = Setup::new();
    setup.interrupt(1);
    let env = setup.env();
    let _rows = setup.write(&env, false);
    let Err(thalweg::Error::Job(failure)) = env.execute("other") else { panic!("it ran") };
    let other_job = failure.cause.as_ref().unwrap().downcast_ref::<RemoteError>();
    assert!(matches!(other_job, Some(RemoteError::OtherJob { .. })), "{failure}");
    // The machine was thought lost, and comes back after another has gone on.
    fs::rename(setup.local(), setup.path("away")).unwrap();
    setup.interrupt(1);
    setup.lose_machine();
    fs::rename(setup.path("away"), setup.local()).unwrap();
    let refusal = setup.refusal();
    assert!(matches!(refusal.error(), RemoteError::OtherHistory { .. }), "{}", refusal.0);
    setup.lose_machine();
    assert_eq!(highest_of(&setup.finish().unwrap().1), sums());
}

#[test]
fn a_store_that_refuses_does_not_hold_up_a_job_that_can_do_without() {
    // Nobody listens there any more.
    let (listener, endpoint) = silent_server();
    drop(listener);
    let timeout = Duration::from_millis(200);
    let (url, endpoint) = ("s3://bucket/job".to_owned(), Some(endpoint));
    let setup = Setup { url, endpoint, timeout, ..Setup::new() };
    let refusal = setup.refusal();
    assert!(matches!(refusal.error(), RemoteError::Store { .. }), "{}", refusal.0);
    assert!(refusal.0.to_string().contains("`checkpoint_remote_endpoint`"), "{}", refusal.0);
    // With local checkpoints it goes on, and says what is wrong.
    let without = Setup { url: Setup::new().url, endpoint: None, ..setup.clone() };
    without.interrupt_when(|statistics| statistics.completed >= 2);
    let (statistics, rows) = setup.finish().unwrap();
    assert!(statistics.restored.is_some() && statistics.failed == 0, "{statistics:?}");
    assert_eq!(highest_of(&rows), sums());
    let remote = remote(&statistics);
    assert!(remote.failed > 0 && remote.completed == 0, "{remote:?}");
    let failure = remote.latest_failure.unwrap();
    assert!(failure.contains("s3://bucket/job"), "{failure}");
}

#[test]
fn a_store_that_never_answers_holds_up_neither_checkpoints_nor_the_end() {
    let setup = Setup::new();
    setup.interrupt_when(|statistics| statistics.completed >= 2);
    let (_listener, endpoint) = silent_server();
    let timeout = Duration::from_millis(200);
    let url = "s3://bucket/job".to_owned();
    let silent = Setup { url, endpoint: Some(endpoint), timeout, ..setup };
    let begun = Instant::now();
    let statistics = silent.interrupt_when(|statistics| statistics.completed >= 5);
    assert_eq!((statistics.failed, remote(&statistics).completed), (0, 0));
    let (statistics, rows) = silent.finish().unwrap();
    assert_eq!(highest_of(&rows).len(), KEYS as usize);
    assert!(statistics.completed > 0);
    assert!(begun.elapsed() < Duration::from_secs(50), "{:?}", begun.elapsed());
    // Where commits wait for it nothing is committed, and the start is refused in time or cut short.
    let waiting = Setup { commits: true, commits_wait: true, ..silent };
    let env = waiting.env();
    let _rows = waiting.write(&env, true);
    let job = env.execute_async("sums").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(!job.is_finished(), "it waits for the store");
    let begun = Instant::now();
    job.cancel();
    assert!(matches!(job.wait(), Err(thalweg::Error::Cancelled(_))));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(waiting.committed().is_empty());
}

#[test]
fn a_failure_while_a_copy_is_waited_for_does_not_wait_for_it() {
    let setup = Setup { commits: true, commits_wait: true, ..Setup::new() };
    let env = setup.env();
    env.configure(|c| c.restart_strategy(RestartKind::FixedDelay));
    env.configure(|c| c.restart_delay(Duration::from_millis(1)).restart_attempts(10));
    let failures = Arc::new(AtomicBool::new(false));
    let fails = failures.clone();
    let numbers = env.from_sequence(1..=NUMBERS).uid("numbers").map(move |n| {
        if n % 32 == 0 {
            std::thread::sleep(Duration::from_micros(300));
        }
        assert!(n != NUMBERS / 3 || fails.swap(true, Ordering::Relaxed), "once");
        n
    });
    let sums = numbers.key_by(|n| n % KEYS).scan(0, |sum, n| {
        *sum += n;
        (n, *sum)
    });
    let sink = sink::FileSink::csv(setup.path("rows")).roll_at_checkpoints();
    sums.uid("sums").sink_to(sink).uid("files");
    let job = env.execute_async("sums").unwrap();
    job.wait().unwrap();
    assert_eq!(job.checkpoints().restarts, 1);
    assert_once(&setup.committed());
}

#[test]
fn what_is_no_url_of_a_store_is_refused() {
    for url in ["store", "ftp://host/x", "s3:///x", "file://relative/path"] {
        let setup = Setup { url: url.to_owned(), ..Setup::new() };
        let refusal = setup.refusal();
        assert!(matches!(refusal.error(), RemoteError::Url { .. }), "{}", refusal.0);
        assert!(refusal.0.to_string().contains("s3://BUCKET/PREFIX"), "{}", refusal.0);
    }
    // A file is in the way.
    let setup = Setup::new();
    fs::write(setup.path("store"), b"a file").unwrap();
    let refusal = setup.refusal();
    assert!(matches!(refusal.error(), RemoteError::Local { .. }), "{}", refusal.0);
}

/// A prefix of its own in the bucket of the real server.
fn on_s3(prefix: &str) -> Setup {
    let endpoint = std::env::var("THALWEG_TEST_S3").expect("THALWEG_TEST_S3 says where it is");
    let prefix = format!("{prefix}-{}", std::process::id());
    Setup { url: format!("s3://bucket/{prefix}"), endpoint: Some(endpoint), ..Setup::new() }
}

#[test]
#[ignore = "needs a server that speaks S3"]
fn s3_a_job_goes_on_from_the_store_alone() {
    let setup = Setup { commits: true, commits_wait: true, ..on_s3("alone") };
    for _ in 0..2 {
        let statistics = setup.interrupt(2);
        println!("{:?}", remote(&statistics));
        setup.lose_machine();
    }
    let (statistics, _) = setup.finish().unwrap();
    assert!(statistics.restored.is_some());
    assert_once(&setup.committed());
    setup.lose_machine();
    let (statistics, _) = setup.finish().unwrap();
    assert!(remote(&statistics).fetched.is_some());
    assert_once(&setup.committed());
}

#[test]
#[ignore = "needs a server that speaks S3"]
fn s3_a_bucket_that_is_not_there_is_named() {
    let setup = Setup { url: "s3://no-such-bucket/job".to_owned(), ..on_s3("none") };
    let refusal = setup.refusal();
    assert!(matches!(refusal.error(), RemoteError::Store { .. }), "{}", refusal.0);
    let text = refusal.0.to_string();
    assert!(text.contains("s3://no-such-bucket/job") && text.contains("bucket"), "{text}");
}

#[test]
#[ignore = "needs a server that speaks S3"]
fn s3_other_jobs_are_refused_and_deleting_leaves_nothing() {
    let setup = on_s3("others");
    setup.interrupt(1);
    let env = setup.env();
    let _rows = setup.write(&env, false);
    let Err(thalweg::Error::Job(failure)) = env.execute("other") else { panic!("it ran") };
    assert!(failure.to_string().contains("'sums'"), "{failure}");
    let env = setup.env();
    env.configure(|c| c.checkpoints_on_cancel(OnCancel::Delete));
    let _rows = setup.write(&env, true);
    let job = env.execute_async("sums").unwrap();
    while remote(&job.checkpoints()).completed == 0 && !job.is_finished() {
        std::thread::sleep(Duration::from_micros(200));
    }
    job.cancel();
    assert!(job.wait().is_err());
    let (statistics, rows) = setup.finish().unwrap();
    assert_eq!((statistics.restored, highest_of(&rows)), (None, sums()));
}
