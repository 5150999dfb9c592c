//! Jobs that are told to end by signals, in processes of their own.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "processes that run in real time")]

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};
use thalweg::config::OnCancel;
use thalweg::prelude::*;
use thalweg::record::CheckpointId;

const NUMBERS: i64 = 30_000;
/// Where a child has its files; it is a child if this is set.
const DIRECTORY: &str = "THALWEG_TERMINATION_DIRECTORY";
/// What its sink does.
const MANNER: &str = "THALWEG_TERMINATION_MANNER";
/// What a child's process ends with whose job has not finished.
const NOT_FINISHED: i32 = 3;

/// Blocks its core, or says that it is full, from some record on, when there has been a checkpoint.
#[derive(Clone)]
struct Stubborn {
    blocks: bool,
    marker: PathBuf,
    count: u32,
    has_checkpoint: bool,
    is_stubborn: bool,
}

impl Sink<i64> for Stubborn {
    fn write(&mut self, _: i64, _: i64) -> thalweg::Result<()> {
        self.count += 1;
        if self.count >= 1_000 && self.has_checkpoint && !self.is_stubborn {
            self.is_stubborn = true;
            std::fs::write(&self.marker, "")?;
            if self.blocks {
                std::thread::sleep(Duration::from_secs(600));
            }
        }
        Ok(())
    }

    fn poll_ready(&mut self, _: i64, _: bool) -> thalweg::Result<SinkStatus> {
        Ok(if self.is_stubborn { SinkStatus::Full } else { SinkStatus::Ready })
    }

    fn notify_checkpoint_complete(&mut self, _: CheckpointId) -> thalweg::Result<()> {
        self.has_checkpoint = true;
        Ok(())
    }
}

/// Runs the job in the child: numbers into files of the directory, slowly.
fn run_child(directory: &Path, manner: &str) -> ! {
    let env = StreamExecutionEnvironment::new();
    env.set_parallelism(2);
    env.configure(|c| c.batch_records(64).checkpoints_on_cancel(OnCancel::Delete));
    env.configure(|c| match manner {
        "two signals" => c.stop_timeout(Duration::from_secs(600)),
        "files" => c.stop_timeout(Duration::from_secs(60)),
        _ => c.stop_timeout(Duration::from_millis(300)),
    });
    env.enable_checkpointing(Duration::from_millis(5)).at(directory.join("checkpoints"));
    let marker = directory.join("marker");
    let (at_marker, is_marked) = (marker.clone(), manner == "files");
    let numbers = env.from_sequence(1..=NUMBERS).map(move |n| {
        if n % 100 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
        if is_marked && n % 5_000 == 0 {
            std::fs::write(&at_marker, "").unwrap();
        }
        n
    });
    match manner {
        "files" => {
            let keyed = numbers.key_by(|n| n % 5).scan(0, |count, n| {
                *count += 1;
                (n, *count)
            });
            keyed.sink_to(sink::FileSink::csv(directory.join("out")).roll_at_bytes(2_000));
        }
        _ => {
            let (count, has_checkpoint, is_stubborn) = (0, false, false);
            let blocks = manner == "blocks";
            numbers.sink_to(Stubborn { blocks, marker, count, has_checkpoint, is_stubborn });
        }
    }
    let job = env.execute_async("terminated").unwrap();
    job.stop_on_termination_signal().unwrap();
    let code = match job.wait() {
        Ok(_) => 0,
        Err(error) => {
            eprintln!("{error}");
            NOT_FINISHED
        }
    };
    std::process::exit(code)
}

/// Is this a child? Then it runs the job and does not return.
fn run_if_child() {
    if let (Some(directory), Ok(manner)) = (std::env::var_os(DIRECTORY), std::env::var(MANNER)) {
        run_child(Path::new(&directory), &manner);
    }
}

/// A child whose job has come some way.
fn start(test: &str, directory: &Path, manner: &str) -> Child {
    let _ = std::fs::remove_file(directory.join("marker"));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(DIRECTORY, directory).env(MANNER, manner);
    command.spawn().unwrap()
}

fn wait_for_marker(child: &mut Child, directory: &Path) {
    let begun = Instant::now();
    while !directory.join("marker").exists() && child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the job does not run");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn send(child: &Child, signal: i32) {
    let id = i32::try_from(child.id()).unwrap();
    // SAFETY: takes no pointers; the child has not been waited for, so its id is its own.
    assert_eq!(unsafe { libc::kill(id, signal) }, 0);
}

/// Its end, which must come in time.
fn end_within(mut child: Child, limit: Duration) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() > limit {
            child.kill().unwrap();
            panic!("the process has not ended within {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The numbers that are published, sorted; nothing may be left in progress.
fn published(directory: &Path) -> Vec<i64> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory.join("out")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(path.extension().unwrap(), "csv", "all is committed");
        for row in std::fs::read_to_string(path).unwrap().lines() {
            numbers.push(row.split(',').next().unwrap().parse().unwrap());
        }
    }
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_signal_lets_the_job_commit_all_and_the_next_process_goes_on() {
    run_if_child();
    let test = "a_signal_lets_the_job_commit_all_and_the_next_process_goes_on";
    let directory = tempfile::tempdir().unwrap();
    let mut before = 0;
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGTERM] {
        let mut child = start(test, directory.path(), "files");
        wait_for_marker(&mut child, directory.path());
        send(&child, signal);
        assert_eq!(end_within(child, Duration::from_secs(60)).code(), Some(0));
        let numbers = published(directory.path());
        assert!(numbers.len() > before, "it went on");
        before = numbers.len();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "each once");
    }
    let child = start(test, directory.path(), "files");
    assert_eq!(end_within(child, Duration::from_secs(120)).code(), Some(0));
    assert!(published(directory.path()) == (1..=NUMBERS).collect::<Vec<_>>(), "all, each once");
    // Once more: there is nothing to do.
    let child = start(test, directory.path(), "files");
    assert_eq!(end_within(child, Duration::from_secs(60)).code(), Some(0));
    assert_eq!(published(directory.path()).len(), NUMBERS as usize);
}

#[test]
fn a_sink_that_takes_nothing_does_not_hold_up_the_end() {
    run_if_child();
    let test = "a_sink_that_takes_nothing_does_not_hold_up_the_end";
    let directory = tempfile::tempdir().unwrap();
    let mut child = start(test, directory.path(), "full");
    wait_for_marker(&mut child, directory.path());
    send(&child, libc::SIGTERM);
    let status = end_within(child, Duration::from_secs(30));
    assert_eq!(status.code(), Some(NOT_FINISHED), "the job failed, and says so");
}

#[test]
fn a_sink_that_blocks_its_core_does_not_hold_up_the_end() {
    run_if_child();
    let test = "a_sink_that_blocks_its_core_does_not_hold_up_the_end";
    let directory = tempfile::tempdir().unwrap();
    let mut child = start(test, directory.path(), "blocks");
    wait_for_marker(&mut child, directory.path());
    send(&child, libc::SIGTERM);
    let status = end_within(child, Duration::from_secs(30));
    assert_eq!(status.signal(), Some(libc::SIGTERM), "it is as if nobody had listened");
}

#[test]
fn a_second_signal_cancels_and_keeps_the_checkpoints() {
    run_if_child();
    let test = "a_second_signal_cancels_and_keeps_the_checkpoints";
    let directory = tempfile::tempdir().unwrap();
    let mut child = start(test, directory.path(), "two signals");
    wait_for_marker(&mut child, directory.path());
    send(&child, libc::SIGTERM);
    std::thread::sleep(Duration::from_millis(100));
    send(&child, libc::SIGTERM);
    assert_eq!(end_within(child, Duration::from_secs(30)).code(), Some(NOT_FINISHED));
    let checkpoints = directory.path().join("checkpoints/checkpoints");
    assert!(std::fs::read_dir(checkpoints).unwrap().count() > 0, "the job can go on");
}
