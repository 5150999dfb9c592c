//! The file sink with checkpoints, over a simulated disk: random orders of rows, barriers, notices, crashes of process and
//! machine, failing operations and changes of parallelism. After each step no published row is beyond the last complete
//! checkpoint; in the end each row is published once, and nothing else is there.

use super::*;
use crate::Result;
use crate::checkpoint::snapshot::RestoredPiece;
use crate::connector::test_support::{Dice, text_of};
use crate::function::{Sink, SinkStateContext, SinkStatus};
use crate::record::{Barrier, CheckpointId};
use std::cell::Cell;
use thalweg_io::file::IN_PROGRESS_SUFFIX;
use thalweg_io::storage::{FaultProfile, FaultStorage, FileKind, MemoryStorage};

#[derive(Clone, serde::Serialize)]
struct Row {
    n: u64,
    text: String,
}

/// Rows of different lengths; a few are longer than the buffer.
fn row(n: u64) -> Row {
    let length = match n % 37 {
        36 => 70_000,
        other => other as usize * 40,
    };
    Row { n, text: "x".repeat(length) }
}

type Bucketed = FileSink<CsvRows, BucketBy<fn(&Row) -> String>>;

#[derive(Clone, Default)]
struct Checkpoint {
    id: u64,
    position: u64,
    pieces: Vec<RestoredPiece>,
}

struct Job {
    dice: Dice,
    disk: FaultStorage,
    sink: Bucketed,
    sinks: Vec<Bucketed>,
    position: u64,
    next_checkpoint: u64,
    taken: Vec<Checkpoint>,
    completed: Option<Checkpoint>,
    now_ms: i64,
    crashes: u64,
    forgets_state: bool,
}

impl Job {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let profile = match dice.below(3) {
            0 => FaultProfile {
                sync_error_ppm: 10_000,
                name_error_ppm: 10_000,
                write_error_ppm: 10_000,
                ..FaultProfile::none()
            },
            _ => FaultProfile::none(),
        };
        let bucket: fn(&Row) -> String = match dice.below(2) {
            0 => |_| String::new(),
            _ => |row| ["", "odd", "deep/er"][row.n as usize % 3].to_owned(),
        };
        let mut sink = FileSink::csv("out").bucket_by(bucket);
        sink = match dice.below(3) {
            0 => sink.roll_at_bytes(2_000),
            1 => sink.roll_after(Duration::from_secs(3)).roll_when_idle(Duration::from_secs(1)),
            _ => sink.open_files_max(2),
        };
        if dice.below(4) == 0 {
            sink = sink.roll_at_checkpoints();
        }
        Job {
            dice,
            disk: FaultStorage::new(seed, profile),
            sink,
            sinks: Vec::new(),
            position: 0,
            next_checkpoint: 1,
            taken: Vec::new(),
            completed: None,
            now_ms: 0,
            crashes: 0,
            forgets_state: false,
        }
    }

    fn start(&mut self, parallelism: usize) -> Result<()> {
        self.taken.clear();
        let from = self.completed.clone().unwrap_or_default();
        self.position = from.position;
        for subtask_index in 0..parallelism {
            let sink = self.sink.clone().storage(Arc::new(self.disk.clone()));
            self.sinks.push(sink);
            let context = SinkStateContext {
                operator_name: "files",
                subtask_index,
                parallelism,
                now_ms: self.now_ms,
                has_checkpoints: true,
                restored_checkpoint: Some(CheckpointId(from.id)).filter(|id| id.0 > 0),
                pieces: &from.pieces,
                is_read: Cell::new(false),
            };
            self.sinks[subtask_index].initialize_state(&context)?;
        }
        Ok(())
    }

    fn restart(&mut self) {
        self.crashes += 1;
        let kind = self.dice.below(3);
        let sinks = std::mem::take(&mut self.sinks);
        let seed = self.dice.below(usize::MAX) as u64;
        match kind {
            0 => self.disk = self.disk.crash(seed),
            1 => self.disk = self.disk.kill(seed),
            _ => sinks.into_iter().for_each(|mut sink| drop(Sink::<Row>::close(&mut sink))),
        }
        if self.crashes > 20 {
            self.disk.set_profile(FaultProfile::none());
        }
        let parallelism = 1 + self.dice.below(3);
        let mut attempts = 0;
        while let Err(cause) = self.start(parallelism) {
            attempts += 1;
            assert!(attempts < 200, "it cannot start: {cause}");
            self.sinks.drain(..).for_each(|mut sink| drop(Sink::<Row>::close(&mut sink)));
            if self.dice.below(20) == 0 {
                self.disk.set_profile(FaultProfile::none());
            }
        }
    }

    fn write(&mut self) -> Result<()> {
        let subtask = self.position as usize % self.sinks.len();
        self.sinks[subtask].write(row(self.position), 0)?;
        self.position += 1;
        Ok(())
    }

    fn barrier(&mut self, is_final: bool) -> Result<()> {
        let id = self.next_checkpoint;
        self.next_checkpoint += 1;
        let barrier = Barrier { checkpoint: CheckpointId(id), is_final };
        let mut pieces = Vec::new();
        for (subtask, sink) in self.sinks.iter_mut().enumerate() {
            let bytes = Sink::<Row>::snapshot_state(sink, barrier)?.into_bytes();
            if !self.forgets_state {
                pieces.push(RestoredPiece { subtask, bytes: bytes.into() });
            }
        }
        self.taken.push(Checkpoint { id, position: self.position, pieces });
        Ok(())
    }

    fn complete(&mut self, at: usize) -> CheckpointId {
        let done = self.taken.drain(..=at).next_back().expect("there is one");
        let id = CheckpointId(done.id);
        self.completed = Some(done);
        id
    }

    fn notify(&mut self, id: CheckpointId) -> Result<()> {
        let mut sinks = self.sinks.iter_mut();
        sinks.try_for_each(|sink| Sink::<Row>::notify_checkpoint_complete(sink, id))
    }

    fn poll(&mut self) -> Result<()> {
        self.now_ms += 400;
        let now_ms = self.now_ms;
        let mut sinks = self.sinks.iter_mut();
        sinks.try_for_each(|sink| Sink::<Row>::poll_ready(sink, now_ms, false).map(drop))
    }

    fn step(&mut self, row_count: u64) -> Result<()> {
        match self.dice.below(24) {
            0..13 if self.position < row_count => self.write(),
            13..16 => self.barrier(false),
            16..19 if !self.taken.is_empty() => {
                let at = self.dice.below(self.taken.len());
                let id = self.complete(at);
                if self.dice.below(3) > 0 { self.notify(id) } else { Ok(()) }
            }
            19 if self.crashes < 10 => Err("crash".into()),
            _ => self.poll(),
        }
    }

    fn end(&mut self, row_count: u64) -> Result<()> {
        while self.position < row_count {
            self.write()?;
        }
        self.barrier(true)?;
        if self.crashes < 14 && self.dice.below(3) == 0 {
            return Err("crash".into());
        }
        let id = self.complete(self.taken.len() - 1);
        if self.crashes < 14 && self.dice.below(3) == 0 {
            return Err("crash".into());
        }
        self.notify(id)?;
        loop {
            self.poll()?;
            let mut is_out = true;
            for sink in &mut self.sinks {
                is_out &= Sink::<Row>::finish(sink)? == SinkStatus::Ready;
            }
            if is_out {
                return Ok(());
            }
        }
    }

    /// Numbers of the published rows, and how many other files there are.
    fn published(&self) -> (Vec<u64>, usize) {
        // What can be seen, whatever the disk does to readers.
        let disk = self.disk.to_memory();
        let (mut numbers, mut others) = (Vec::new(), 0);
        let mut directories = vec![PathBuf::from("out")];
        while let Some(directory) = directories.pop() {
            for path in disk.list(&directory).unwrap_or_default() {
                if disk.metadata(&path).unwrap().kind == FileKind::Directory {
                    directories.push(path);
                } else if path.to_str().unwrap().ends_with(IN_PROGRESS_SUFFIX) {
                    others += 1;
                } else {
                    numbers.extend(numbers_in(&text_of(&disk, path.to_str().unwrap())));
                }
            }
        }
        (numbers, others)
    }

    fn audit_step(&self) -> Result<(), String> {
        let safe = self.completed.as_ref().map_or(0, |completed| completed.position);
        let (numbers, _) = self.published();
        match numbers.iter().find(|n| **n >= safe) {
            Some(n) => Err(format!("row {n} is published, the checkpoint ends at {safe}")),
            None => Ok(()),
        }
    }

    fn run(mut self) -> Result<u64, String> {
        let row_count = 20 + self.dice.below(60) as u64;
        self.restart();
        for _ in 0..80 {
            if self.step(row_count).is_err() {
                self.restart();
            }
            self.audit_step()?;
        }
        while let Err(cause) = self.end(row_count) {
            if self.crashes > 60 {
                return Err(format!("it never ends: {cause}"));
            }
            self.restart();
            self.audit_step()?;
        }
        // What the sink says is out survives the machine.
        self.disk = self.disk.crash(7);
        let (mut numbers, others) = self.published();
        numbers.sort_unstable();
        match others {
            0 if numbers == (0..row_count).collect::<Vec<_>>() => Ok(self.crashes),
            0 => Err(format!("of 0..{row_count} published are {numbers:?}")),
            count => Err(format!("{count} files in progress are left")),
        }
    }
}

/// Checks header and rows of a file.
fn numbers_in(text: &str) -> Vec<u64> {
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("n,text"));
    assert!(text.ends_with('\n'), "a whole row");
    let number = |line: &str| {
        let (n, found) = line.split_once(',').expect("two fields");
        let n = n.parse().expect("a number");
        assert_eq!(found, row(n).text);
        n
    };
    let numbers: Vec<u64> = lines.map(number).collect();
    assert!(numbers.is_sorted(), "in the order of the stream");
    numbers
}

#[test]
fn each_row_is_published_once_whatever_crashes() {
    let mut crashes = 0;
    for seed in 0..400 {
        match Job::new(seed).run() {
            Ok(count) => crashes += count,
            Err(found) => panic!("seed {seed}: {found}"),
        }
    }
    assert!(crashes > 2_000, "only {crashes} crashes");
}

#[test]
fn the_audit_finds_a_sink_that_forgets_its_state() {
    let found = (0..40).filter(|seed| {
        let mut job = Job::new(*seed);
        job.forgets_state = true;
        job.run().is_err()
    });
    assert!(found.count() > 10);
}

fn context<'a>(pieces: &'a [RestoredPiece], checkpoint: Option<u64>) -> SinkStateContext<'a> {
    SinkStateContext {
        operator_name: "files",
        subtask_index: 0,
        parallelism: 1,
        now_ms: 5_000,
        has_checkpoints: true,
        restored_checkpoint: checkpoint.map(CheckpointId),
        pieces,
        is_read: Cell::new(false),
    }
}

fn started(
    sink: &FileSink<LineRows>,
    storage: &Arc<dyn Storage>,
    from: (&[RestoredPiece], Option<u64>),
) -> Result<FileSink<LineRows>> {
    let mut sink = sink.clone().storage(storage.clone());
    Sink::<u32>::initialize_state(&mut sink, &context(from.0, from.1))?;
    Ok(sink)
}

fn snapshot(sink: &mut FileSink<LineRows>, id: u64, is_final: bool) -> [RestoredPiece; 1] {
    let barrier = Barrier { checkpoint: CheckpointId(id), is_final };
    let bytes = Sink::<u32>::snapshot_state(sink, barrier).unwrap().into_bytes().into();
    [RestoredPiece { subtask: 0, bytes }]
}

#[test]
fn a_single_file_goes_on_over_a_restart_and_appears_at_the_end() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let sink = FileSink::lines_file("all.txt");
    let mut first = started(&sink, &storage, (&[], None)).unwrap();
    first.write(1_u32, 0).unwrap();
    let state = snapshot(&mut first, 1, false);
    first.write(2_u32, 0).unwrap();
    Sink::<u32>::close(&mut first).unwrap();
    let mut second = started(&sink, &storage, (&state, Some(1))).unwrap();
    second.write(3_u32, 0).unwrap();
    let state = snapshot(&mut second, 2, true);
    assert_eq!(Sink::<u32>::finish(&mut second).unwrap(), SinkStatus::Full);
    assert!(storage.metadata(Path::new("all.txt")).is_err());
    Sink::<u32>::notify_checkpoint_complete(&mut second, CheckpointId(2)).unwrap();
    assert_eq!(Sink::<u32>::finish(&mut second).unwrap(), SinkStatus::Ready);
    assert_eq!(text_of(&*storage, "all.txt"), "1\n3\n");
    // A crash behind that: it is published already.
    started(&sink, &storage, (&state, Some(2))).unwrap();
    assert_eq!(text_of(&*storage, "all.txt"), "1\n3\n");
    storage.remove(Path::new("all.txt")).unwrap();
    let mut third = started(&sink, &storage, (&state, Some(2))).unwrap();
    let error = (1..99).find_map(|n| Sink::<u32>::poll_ready(&mut third, n * 20_000, true).err());
    assert_eq!(
        error.unwrap().to_string(),
        "transaction all.txt of checkpoint 2 cannot be committed, 5 attempts have failed: the checkpoint has 4 bytes of \
         all.txt.inprogress, and that is not so: it is gone; somebody else has changed it: put it back, or begin without the \
         checkpoint; its records are safe: correct the cause, and let the job go on from that checkpoint, which commits it again"
    );
}

#[test]
fn a_file_that_somebody_has_cut_is_told_and_a_directory_that_cannot_be() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let mut first = started(&FileSink::lines("out"), &storage, (&[], None)).unwrap();
    (0..2_000_u32).for_each(|n| first.write(n, 0).unwrap());
    let state = snapshot(&mut first, 1, false);
    Sink::<u32>::close(&mut first).unwrap();
    let path = Path::new("out/part-0-000000.txt.inprogress");
    assert_eq!(storage.metadata(path).unwrap().length_bytes, 8_890, "a checkpoint has it");
    storage.truncate(path, 4_000).unwrap();
    let error = started(&FileSink::lines("out"), &storage, (&state, Some(1))).unwrap_err();
    let told =
        "the checkpoint has 8890 bytes of out/part-0-000000.txt.inprogress, and that is not so: ";
    assert!(error.to_string().starts_with(told), "{error}");
    assert!(matches!(error.downcast_ref(), Some(FileSinkError::Damaged { .. })));

    storage.create(Path::new("taken")).unwrap();
    let error = started(&FileSink::lines("taken/out"), &storage, (&[], None)).unwrap_err();
    assert!(
        error.to_string().starts_with("the file sink failed: cannot create directory"),
        "{error}"
    );
    let error = started(&FileSink::lines("taken"), &storage, (&[], None)).unwrap_err();
    assert!(error.to_string().starts_with("the file sink failed: cannot "), "{error}");
}

#[test]
fn buckets_stay_below_the_directory() {
    for (bucket, problem) in [
        ("../up", "is no plain"),
        ("/abs", "is no plain"),
        ("a/", "is no plain"),
        ("a\0", "has a zero"),
    ] {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let sink = FileSink::lines("out").bucket_by(move |_: &u32| bucket.to_owned());
        let mut sink = sink.storage(storage);
        Sink::<u32>::initialize_state(&mut sink, &context(&[], None)).unwrap();
        let error = sink.write(1_u32, 0).unwrap_err().to_string();
        assert!(
            error.contains(problem) && error.contains("name a subdirectory such as"),
            "{error}"
        );
    }
}
