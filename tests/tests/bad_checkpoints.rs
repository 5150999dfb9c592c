//! Checkpoints that are damaged, foreign, of other types or operators, and directories and disks that fail: a job goes on with
//! what is right, or says what is wrong. It never goes on with what is wrong.
//!
//! | what is wrong | what happens | to the data |
//! |---|---|---|
//! | the newest checkpoint is damaged | an older one is taken, with a warning | replayed from there; nothing lost |
//! | the same, and a sink commits | refused, naming `allow_repeated_commits` | as it was; with the option rows come twice |
//! | none is whole | refused, naming `restore` | as it was |
//! | a newer format | refused | as it was; nothing is removed |
//! | another type of a state | refused at once, naming both types | as it was |
//! | an operator is missing | refused, naming it and its uid | as it was |
//! | the directory is used, or cannot be made | refused | the other job goes on |
//! | the disk is full | checkpoints fail, the job goes on | as of the last complete one, until there is room |
//! | the disk is slow | the checkpoint is given up, the job goes on | as of the last complete one |

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "jobs that last long enough to be interrupted")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thalweg::config::{RestartKind, StateBackend};
use thalweg::function::{ArchivedState, SinkStateContext};
use thalweg::prelude::*;
use thalweg::record::Barrier;
use thalweg::runtime::CheckpointStatistics;
use thalweg_io::block::{BlockOwner, FileId};
use thalweg_io::checkpoint_file::{CheckpointFileWriter, FileFormat, Naming};
use thalweg_io::storage::{PosixStorage, Storage};
use thalweg_tests::running_sums::{KEYS, NUMBERS, highest, sums};

/// How a job is run.
#[derive(Clone)]
struct Setup {
    checkpoints: PathBuf,
    /// Rows into files of this directory, which commit; else they are collected.
    files: Option<PathBuf>,
    allows_repeats: bool,
    uid: &'static str,
}

impl Setup {
    fn new(directory: &Path) -> Self {
        let checkpoints = directory.join("checkpoints");
        Setup { checkpoints, files: None, allows_repeats: false, uid: "sums" }
    }

    fn env(&self) -> StreamExecutionEnvironment {
        let env = StreamExecutionEnvironment::new();
        env.set_parallelism(2);
        env.configure(|c| c.state_backend(StateBackend::Lsm).checkpoints_retained(3));
        env.configure(|c| c.batch_records(64).allow_repeated_commits(self.allows_repeats));
        env.enable_checkpointing(Duration::from_millis(4)).at(&self.checkpoints);
        env
    }

    /// Running sums; one that is to be interrupted pauses now and then, and behind its middle at every number: however slow its
    /// checkpoints are, there are numbers left when the last of them is complete.
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
            (n % KEYS, *sum)
        });
        let sums = sums.uid(self.uid);
        match &self.files {
            None => Some(sums.collect()),
            Some(files) => {
                let sink = sink::FileSink::csv(files).roll_at_checkpoints();
                sums.sink_to(sink).uid("files");
                None
            }
        }
    }

    /// Runs until some checkpoints are complete, and leaves them behind.
    fn interrupt(&self) {
        let env = self.env();
        let _rows = self.write(&env, true);
        let job = env.execute_async("sums").unwrap();
        while job.checkpoints().completed < 5 && !job.is_finished() {
            std::thread::sleep(Duration::from_micros(200));
        }
        job.cancel();
        assert!(matches!(job.wait(), Err(thalweg::Error::Cancelled(_))));
        assert_eq!(self.ids().len(), 3, "those that are kept");
    }

    /// Runs to the end: where it began, and the highest sum of each key, or what it said.
    fn finish(&self) -> Result<(CheckpointStatistics, BTreeMap<i64, i64>), String> {
        let env = self.env();
        let rows = self.write(&env, false);
        let job = env.execute_async("sums").map_err(|error| error.to_string())?;
        job.wait().map_err(|error| error.to_string())?;
        let rows = rows.map(|rows| rows.take()).unwrap_or_default();
        Ok((job.checkpoints(), highest(rows)))
    }

    /// The checkpoints that are there, oldest first.
    fn ids(&self) -> Vec<u64> {
        let id = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        self.metadata().iter().map(id).collect()
    }

    fn metadata(&self) -> Vec<PathBuf> {
        let mut paths = list(&self.checkpoints.join("checkpoints"));
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "chk"));
        paths
    }

    /// The same with copies of its files in another directory.
    fn copy(&self, to: &Path) -> Self {
        let mut copy = self.clone();
        copy.checkpoints = to.join("checkpoints");
        copy_tree(&self.checkpoints, &copy.checkpoints);
        if let Some(files) = &self.files {
            copy.files = Some(to.join("files"));
            copy_tree(files, &to.join("files"));
        }
        copy
    }
}

fn list(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort_unstable();
    paths
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for path in list(from) {
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy_tree(&path, &target),
            false => drop(fs::copy(&path, target).unwrap()),
        }
    }
}

/// Where the contents of every file are: behind that there may be nothing but reserved space.
const FRONT_BYTES: usize = 600;
/// Ways to damage a file.
const DAMAGES: [&str; 4] = ["flip", "cut", "empty", "foreign"];

fn damage(path: &Path, how: &str) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    match how {
        "flip" if bytes.is_empty() => {}
        "flip" => bytes[middle] ^= 0x40,
        "cut" => bytes.truncate(middle),
        "flip front" => bytes[middle.min(FRONT_BYTES)] ^= 0x40,
        "cut front" => bytes.truncate(middle.min(FRONT_BYTES)),
        "empty" => bytes.clear(),
        _ => bytes = b"# a text that somebody has saved here\n".repeat(40),
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_newest_checkpoint_gives_way_to_an_older_one() {
    let directory = tempfile::tempdir().unwrap();
    let setup = Setup::new(directory.path());
    setup.interrupt();
    for how in DAMAGES {
        let place = tempfile::tempdir().unwrap();
        let copy = setup.copy(place.path());
        let ids = copy.ids();
        damage(copy.metadata().last().unwrap(), how);
        let (statistics, highest) = copy.finish().unwrap();
        assert_eq!(statistics.restored.unwrap().0, ids[1], "{how}");
        assert_eq!(highest, sums(), "{how}");
    }
    // An older one that is damaged does not hold up the newest.
    let place = tempfile::tempdir().unwrap();
    let copy = setup.copy(place.path());
    damage(&copy.metadata()[0], "flip");
    let (statistics, highest) = copy.finish().unwrap();
    assert_eq!((statistics.restored.unwrap().0, highest), (setup.ids()[2], sums()));
}

#[test]
fn behind_a_commit_an_older_checkpoint_is_refused_unless_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(directory.path());
    setup.files = Some(directory.path().join("files"));
    setup.interrupt();
    let place = tempfile::tempdir().unwrap();
    let mut copy = setup.copy(place.path());
    damage(copy.metadata().last().unwrap(), "flip");
    let (ids, published) = (copy.ids(), list(copy.files.as_ref().unwrap()));
    for _ in 0..2 {
        let refusal = copy.finish().unwrap_err();
        assert!(refusal.contains("`allow_repeated_commits`"), "{refusal}");
        assert_eq!(copy.ids(), ids, "nothing is removed");
        assert_eq!(list(copy.files.as_ref().unwrap()), published, "and nothing written");
    }
    copy.allows_repeats = true;
    let (statistics, _) = copy.finish().unwrap();
    assert_eq!(statistics.restored.unwrap().0, ids[1]);
    let mut rows = 0;
    for path in list(copy.files.as_ref().unwrap()) {
        rows += fs::read_to_string(path).unwrap().lines().count() as i64;
    }
    assert!(rows >= NUMBERS, "none is lost; those behind the older one come twice");
}

#[test]
fn without_a_whole_checkpoint_the_job_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let setup = Setup::new(directory.path());
    setup.interrupt();
    setup.metadata().iter().for_each(|path| damage(path, "flip"));
    let refusal = setup.finish().unwrap_err();
    assert!(refusal.contains("none of the 3 checkpoints"), "{refusal}");
    assert!(refusal.contains("`restore = \"nothing\"`"), "{refusal}");
    assert_eq!(setup.ids().len(), 3, "nothing is removed");
}

#[test]
fn damaged_state_is_never_taken_for_whole() {
    let directory = tempfile::tempdir().unwrap();
    let setup = Setup::new(directory.path());
    setup.interrupt();
    let mut victims = list(&setup.checkpoints.join("files"));
    victims.extend(list(&setup.checkpoints.join("manifests")));
    let newest = *setup.ids().last().unwrap();
    let mut outcomes = BTreeMap::new();
    for victim in &victims {
        let relative = victim.strip_prefix(&setup.checkpoints).unwrap();
        for how in ["flip", "flip front", "cut front", "empty"] {
            let place = tempfile::tempdir().unwrap();
            let copy = setup.copy(place.path());
            damage(&copy.checkpoints.join(relative), how);
            let outcome = match copy.finish() {
                Ok((statistics, highest)) => {
                    assert_eq!(highest, sums(), "{how} of {}", relative.display());
                    let restored = statistics.restored.unwrap().0;
                    if restored == newest { "unharmed" } else { "older" }
                }
                Err(refusal) => {
                    let names = refusal.contains("can be used") || refusal.contains("damaged");
                    assert!(names, "{how} of {}: {refusal}", relative.display());
                    "refused"
                }
            };
            *outcomes.entry(outcome).or_insert(0) += 1;
        }
    }
    println!("{} files: {outcomes:?}", victims.len());
    assert!(outcomes.contains_key("older") && outcomes.contains_key("refused"), "{outcomes:?}");
}

#[test]
fn a_checkpoint_of_a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let setup = Setup::new(directory.path());
    setup.interrupt();
    let path = setup.checkpoints.join("checkpoints/00000000000000009999.chk");
    let storage: Arc<dyn Storage> = Arc::new(PosixStorage::new());
    let owner = BlockOwner { file_id: FileId(9_999), epoch: 9_999 };
    let format = FileFormat::new("chkpoint", 999);
    let mut writer =
        CheckpointFileWriter::create(&storage, path, format, owner, Naming::Published).unwrap();
    writer.append_block(1, b"of a later version").unwrap();
    writer.complete(&[0; 16]).unwrap().publish().unwrap();
    let ids = setup.ids();
    let refusal = setup.finish().unwrap_err();
    assert!(refusal.contains("up to version 3, found version 999"), "{refusal}");
    assert_eq!(setup.ids(), ids, "nothing is removed");
}

/// Sums in a state of a type that the test chooses.
#[derive(Clone, Default)]
struct Summing<V: 'static>(ValueState<V>);

impl<V> KeyedProcessFunction for Summing<V>
where
    V: thalweg::state::StateValue
        + Clone
        + Default
        + std::ops::AddAssign
        + From<i32>
        + Send
        + 'static,
{
    type Key = i64;
    type In = i64;
    type Out = i64;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.0 = context.value_state(ValueStateDescriptor::new("total"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        n: i64,
        context: &mut Context<'_, i64>,
        out: &mut Collector<'_, i64>,
    ) -> thalweg::Result<()> {
        self.0.modify(context, |total| *total += V::from(1))?;
        out.collect(n);
        Ok(())
    }
}

/// Runs a job whose state has this type, until it is stopped, fails or ends.
fn run_summing<V>(setup: &Setup, stops: bool) -> Result<CheckpointStatistics, String>
where
    Summing<V>: KeyedProcessFunction<Key = i64, In = i64, Out = i64> + UserFunction + Default,
{
    let env = setup.env();
    let numbers = env.from_sequence(1..=NUMBERS).uid("numbers").map(|n| {
        if n % 64 == 0 {
            std::thread::sleep(Duration::from_micros(200));
        }
        n
    });
    let summed = numbers.key_by(|n| n % KEYS).process(Summing::<V>::default());
    let _rows = summed.uid("summing").name("summing").collect();
    let job = env.execute_async("summing").unwrap();
    while stops && job.checkpoints().completed < 2 && !job.is_finished() {
        std::thread::sleep(Duration::from_micros(200));
    }
    if stops {
        job.stop();
    }
    job.wait().map_err(|error| error.to_string())?;
    Ok(job.checkpoints())
}

#[test]
fn a_state_of_another_type_is_refused_with_both_types() {
    let directory = tempfile::tempdir().unwrap();
    let setup = Setup::new(directory.path());
    run_summing::<i64>(&setup, true).unwrap();
    // By the default strategy a failed job is tried for ever; this one cannot get better.
    let refusal = run_summing::<f64>(&setup, false).unwrap_err();
    for word in ["summing", "total", "i64", "f64"] {
        assert!(refusal.contains(word), "{word}: {refusal}");
    }
    assert!(run_summing::<i64>(&setup, false).unwrap().restored.is_some());
}

#[test]
fn an_operator_that_is_missing_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(directory.path());
    setup.interrupt();
    setup.uid = "totals";
    let refusal = setup.finish().unwrap_err();
    assert!(refusal.contains("uid 'sums'"), "{refusal}");
    assert!(refusal.contains("`restore = \"nothing\"`"), "{refusal}");
    setup.uid = "sums";
    assert_eq!(setup.finish().unwrap().1, sums());
}

#[test]
fn a_directory_is_one_jobs_and_must_be_writable() {
    let directory = tempfile::tempdir().unwrap();
    let setup = Setup::new(directory.path());
    let env = setup.env();
    let rows = setup.write(&env, true).unwrap();
    let first = env.execute_async("sums").unwrap();
    while first.checkpoints().completed == 0 {
        std::thread::sleep(Duration::from_micros(200));
    }
    let refusal = setup.finish().unwrap_err();
    assert!(refusal.contains("LOCK") && refusal.contains("stop that one first"), "{refusal}");
    first.wait().unwrap();
    assert_eq!(rows.take().len() as i64, NUMBERS, "the first one went on");

    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    for place in [file.join("checkpoints"), PathBuf::from("/proc/thalweg/checkpoints")] {
        let begun = Instant::now();
        let mut setup = setup.clone();
        setup.checkpoints = place.clone();
        let refusal = setup.finish().unwrap_err();
        assert!(refusal.contains(place.to_str().unwrap()), "{refusal}");
        assert!(begun.elapsed() < Duration::from_secs(20), "it is not tried again and again");
    }
}

/// A file system of a few megabytes; `None` if this user may not mount one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, size_mib: u32) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={size_mib}m");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "thalweg-test"])
            .arg(at)
            .status();
        status.is_ok_and(|status| status.success()).then(|| SmallDisk(at.to_path_buf()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_holds_up_checkpoints_and_not_the_job() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&directory.path().join("disk"), 16) else {
        println!("skipped: this user may not mount a file system");
        return;
    };
    let setup = Setup::new(&disk.0);
    let env = setup.env();
    let rows = setup.write(&env, true).unwrap();
    let job = env.execute_async("sums").unwrap();
    let wait_for = |what: &str, is_so: &dyn Fn(&CheckpointStatistics) -> bool| {
        let begun = Instant::now();
        while !is_so(&job.checkpoints()) {
            assert!(begun.elapsed() < Duration::from_secs(60), "{what}: {:?}", job.checkpoints());
            assert!(!job.is_finished(), "{what}: {:?}", job.wait());
            std::thread::sleep(Duration::from_micros(200));
        }
    };
    wait_for("a checkpoint", &|statistics| statistics.completed >= 2);
    let filler = disk.0.join("filler");
    let full = fs::write(&filler, vec![1_u8; 32 << 20]).unwrap_err();
    assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));
    wait_for("two that fail", &|statistics| statistics.failed >= 2);
    let failure = job.checkpoints().latest_failure.unwrap();
    assert!(failure.contains("no space left"), "{failure}");
    let completed = job.checkpoints().completed;
    fs::remove_file(&filler).unwrap();
    wait_for("one when there is room", &|statistics| statistics.completed > completed);
    job.wait().unwrap();
    assert_eq!(job.checkpoints().restarts, 0);
    assert_eq!(rows.take().len() as i64, NUMBERS, "each row once");
    let again = setup.finish().unwrap();
    assert!(again.0.restored.is_some() && again.1.is_empty(), "it has ended, and knows");
}

/// A sink whose barriers wait for a slow disk.
#[derive(Clone)]
struct SlowDisk {
    pause: Duration,
    barriers: u32,
    slow_barriers: u32,
}

impl Sink<(i64, i64)> for SlowDisk {
    fn initialize_state(&mut self, _: &SinkStateContext<'_>) -> thalweg::Result<()> {
        Ok(())
    }

    fn write(&mut self, _: (i64, i64), _: i64) -> thalweg::Result<()> {
        Ok(())
    }

    fn snapshot_state(&mut self, _: Barrier) -> thalweg::Result<ArchivedState> {
        self.barriers += 1;
        if self.barriers <= self.slow_barriers {
            std::thread::sleep(self.pause);
        }
        Ok(ArchivedState::of(&0_u64)?)
    }
}

/// Runs a job whose first barriers take longer than a checkpoint may.
fn run_slowly(slow_barriers: u32, tolerated: u32, strategy: RestartKind) -> (JobHandle, bool) {
    let env = StreamExecutionEnvironment::new();
    env.set_parallelism(1);
    env.configure(|c| c.restart_strategy(strategy).restart_attempts(1));
    env.configure(|c| c.restart_delay(Duration::from_millis(1)).batch_records(64));
    env.configure(|c| c.checkpoint_tolerated_failures(tolerated));
    env.enable_checkpointing(Duration::from_millis(5)).timeout(Duration::from_millis(150));
    let numbers = env.from_sequence(1..=NUMBERS).map(|n| {
        if n % 64 == 0 {
            std::thread::sleep(Duration::from_micros(500));
        }
        (n, n)
    });
    let pause = Duration::from_millis(300);
    numbers.sink_to(SlowDisk { pause, barriers: 0, slow_barriers });
    let job = env.execute_async("slow").unwrap();
    let has_finished = job.wait().is_ok();
    (job, has_finished)
}

#[test]
fn a_slow_disk_costs_checkpoints_and_then_the_job() {
    let (job, has_finished) = run_slowly(2, 10, RestartKind::Never);
    let statistics = job.checkpoints();
    assert!(has_finished && statistics.failed >= 2 && statistics.completed >= 1, "{statistics:?}");
    let failure = statistics.latest_failure.unwrap();
    assert!(failure.contains("`checkpoint_timeout_ms`"), "{failure}");

    let (job, has_finished) = run_slowly(u32::MAX, 2, RestartKind::Never);
    let failure = job.wait().map(drop).unwrap_err().to_string();
    assert!(!has_finished && failure.contains("`checkpoint_tolerated_failures`"), "{failure}");
    assert!(failure.contains("3 in a row"), "{failure}");

    let (job, has_finished) = run_slowly(u32::MAX, 2, RestartKind::FixedDelay);
    assert!(!has_finished);
    assert_eq!(job.checkpoints().restarts, 1, "it was tried again, as the strategy says");
}
