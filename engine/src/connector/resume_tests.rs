//! Stop at every record, go on from the position: nothing is lost, nothing comes twice. Each connector that says it
//! replays.

use super::source::{
    DataGeneratorSource, FileSource, FunctionSource, IteratorSource, ParallelIteratorSource,
    SequenceSource, SourceFunction, SourceFunctionContext,
};
use super::splits::SubtaskSplit;
use super::test_support::{SourceDriver, put};
use crate::Result;
use crate::function::{
    Boundedness, InputStatus, ReaderContext, Source, SourceCollector, SourceReader, SourceSplit,
};
use crate::record::{CheckpointId, NO_TIMESTAMP};
use crate::sync::{Mutex, lock};
use crate::testing::TestDriver;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use thalweg_io::storage::{MemoryStorage, Storage};

/// The splits as a checkpoint gives them back.
fn through_bytes<S: SourceSplit>(splits: Vec<S>) -> Vec<S> {
    let back = |split: S| S::from_archived(&split.to_archived().unwrap()).unwrap();
    splits.into_iter().map(back).collect()
}

/// Polls one record at a time, up to `count`; false if the source ended before.
fn read<S: Source>(driver: &mut SourceDriver<S>, count: usize, read: &mut Vec<S::Out>) -> bool {
    while read.len() < count {
        let status = driver.poll(1).unwrap();
        read.extend(driver.take());
        if status == InputStatus::EndOfInput {
            return false;
        }
    }
    true
}

/// Stops the only reader of `make()` after each number of records.
fn check<S: Source<Out: PartialEq + Debug + Clone>>(make: impl Fn() -> S, expected: &[S::Out]) {
    assert!(make().is_replayable());
    for stop in 0..=expected.len() {
        let mut first = SourceDriver::start(&make(), 1).unwrap();
        let mut seen = Vec::new();
        let goes_on = read(&mut first, stop, &mut seen);
        if !goes_on {
            assert_eq!(seen, expected);
            continue;
        }
        let splits = through_bytes(first.reader.snapshot());
        let assigned = first.enumerator.as_ref().map(|all| all.snapshot_state().unwrap());
        first.reader.close().unwrap();
        drop(first);
        let mut second = SourceDriver::restore(&make(), splits, assigned).unwrap();
        seen.extend(second.drain(3).unwrap());
        assert_eq!(seen, expected, "stopped after {stop} records");
    }
}

#[test]
fn elements_and_iterators() {
    check(|| IteratorSource::new(vec!["a", "b", "c", "d"]), &["a", "b", "c", "d"]);
    check(|| IteratorSource::from_factory(|| 0..40), &(0..40).collect::<Vec<_>>());
}

#[test]
fn sequences_and_generators() {
    check(|| SequenceSource::new(-7..=7), &(-7..=7).collect::<Vec<_>>());
    let squares: Vec<_> = (0..20).map(|n: u64| n * n).collect();
    check(|| DataGeneratorSource::new(|n| n * n).count(20), &squares);
}

#[test]
fn parallel_closures() {
    let make = || {
        ParallelIteratorSource::new(|context: &ReaderContext| {
            let subtask = context.subtask_index;
            (0..9_000).map(move |n| (subtask, n))
        })
    };
    let expected: Vec<_> = (0..9_000).map(|n| (0, n)).collect();
    for stop in [0, 1, 4_095, 4_096, 8_999, 9_000] {
        let mut first = SourceDriver::start(&make(), 1).unwrap();
        let mut seen = Vec::new();
        read(&mut first, stop, &mut seen);
        let splits = through_bytes(first.reader.snapshot());
        seen.extend(SourceDriver::restore(&make(), splits, None).unwrap().drain(100).unwrap());
        assert!(seen == expected, "stopped after {stop} records");
    }
}

#[derive(Clone)]
struct Positions(u64);

impl SourceFunction for Positions {
    type Out = u64;
    fn is_replayable(&self) -> bool {
        true
    }
    fn restore(&mut self, position: u64) -> Result<()> {
        self.0 = position;
        Ok(())
    }
    fn run(&mut self, context: &SourceFunctionContext<u64>) -> Result<()> {
        while self.0 < 12 {
            context.collect_at(self.0 * 10, NO_TIMESTAMP, self.0 + 1)?;
            self.0 += 1;
        }
        Ok(())
    }
}

#[test]
fn source_functions_with_positions() {
    let expected: Vec<_> = (0..12).map(|n| n * 10).collect();
    check(|| FunctionSource::new(Positions(0)), &expected);
    let without = FunctionSource::from_fn(|_: &SourceFunctionContext<u8>| Ok(()));
    assert!(!without.is_replayable());
}

/// Reads two records at each checkpoint's time, and notes what it hears of checkpoints.
#[derive(Clone)]
struct Noting(Arc<Mutex<Vec<(CheckpointId, u64)>>>);

struct NotingReader {
    split: SubtaskSplit,
    heard: Noting,
}

impl SourceReader for NotingReader {
    type Out = u64;
    type Split = SubtaskSplit;
    fn poll_batch(&mut self, _: usize, out: &mut SourceCollector<'_, u64>) -> Result<InputStatus> {
        let complete = lock(&self.heard.0).len() as u64;
        while self.split.position < 2 * (complete + 1) {
            out.collect(self.split.position);
            self.split.position += 1;
        }
        Ok(InputStatus::NothingAvailable)
    }
    fn snapshot(&self) -> Vec<SubtaskSplit> {
        vec![self.split]
    }
    fn notify_checkpoint_complete(
        &mut self,
        checkpoint: CheckpointId,
        splits: &[SubtaskSplit],
    ) -> Result<()> {
        lock(&self.heard.0).extend(splits.iter().map(|split| (checkpoint, split.position)));
        Ok(())
    }
}

impl Source for Noting {
    type Out = u64;
    type Split = SubtaskSplit;
    type Reader = NotingReader;
    fn boundedness(&self) -> Boundedness {
        Boundedness::Unbounded
    }
    fn is_non_parallel(&self) -> bool {
        true
    }
    fn create_reader(&self, context: &ReaderContext) -> Result<NotingReader> {
        Ok(NotingReader { split: SubtaskSplit::start(context), heard: self.clone() })
    }
}

#[test]
fn readers_hear_of_complete_checkpoints_with_what_was_in_them() {
    let heard = Noting(Arc::default());
    let source = heard.clone();
    let mut driver = TestDriver::builder()
        .checkpoints()
        .build(|env| _ = env.from_source(source, "noting").collect())
        .unwrap();
    let ids = [(); 3].map(|()| {
        let id = driver.checkpoint();
        driver.settle();
        id
    });
    // What was read behind a barrier is not in its checkpoint.
    assert_eq!(*lock(&heard.0), [(ids[0], 2), (ids[1], 4), (ids[2], 6)]);
}

/// One gzip member of one stored block.
fn gzip(text: &str) -> Vec<u8> {
    let crc = text.bytes().fold(u32::MAX, |crc, byte| {
        let step = |crc: u32, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        (0..8).fold(crc ^ u32::from(byte), step)
    });
    let length = text.len() as u16;
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1];
    bytes.extend(length.to_le_bytes());
    bytes.extend((!length).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.extend((!crc).to_le_bytes());
    bytes.extend(u32::from(length).to_le_bytes());
    bytes
}

fn files() -> Arc<dyn Storage> {
    let storage = MemoryStorage::new();
    storage.create_dir_all(Path::new("in")).unwrap();
    let lines = |first: u32, count: u32| -> String {
        (first..first + count).map(|n| format!("{n},{}\n", "x".repeat(n as usize % 7))).collect()
    };
    put(&storage, "in/a.csv", lines(0, 9));
    put(&storage, "in/b.csv", "");
    // Two members, and a last line without end.
    let mut bytes = gzip(&lines(9, 6));
    bytes.extend(gzip(lines(15, 5).trim_end()));
    put(&storage, "in/c.csv.gz", bytes);
    Arc::new(storage)
}

#[test]
fn files_also_compressed_ones() {
    let storage = files();
    let expected: Vec<_> = (0..20).map(|n| format!("{n},{}", "x".repeat(n % 7))).collect();
    check(|| FileSource::lines("in").storage(storage.clone()).chunk_bytes(16), &expected);
    let rows: Vec<_> = (0..20).map(|n| (n, "x".repeat(n % 7))).collect();
    let csv = || FileSource::csv::<(usize, String)>("in").no_header();
    check(|| csv().storage(storage.clone()).chunk_bytes(32), &rows);
}

#[test]
fn all_readers_of_a_source_at_once() {
    for stop in 0..=12 {
        let make = || SequenceSource::new(1..=30);
        let mut seen = Vec::new();
        let mut splits = Vec::new();
        for (index, mut driver) in
            SourceDriver::start_all(&make(), 3).unwrap().into_iter().enumerate()
        {
            let mut mine = Vec::new();
            read(&mut driver, (stop + index).min(10), &mut mine);
            seen.extend(mine);
            splits.push(through_bytes(driver.reader.snapshot()));
        }
        for splits in splits {
            seen.extend(SourceDriver::with_splits(&make(), splits).drain(4).unwrap());
        }
        seen.sort_unstable();
        assert_eq!(seen, (1..=30).collect::<Vec<_>>());
    }
}
