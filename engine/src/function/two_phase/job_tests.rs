//! The tutorial's table of sources and sinks, cell by cell: jobs that count records, are restarted between their
//! checkpoints, and end. What `explain` says is what comes out.

use super::*;
use crate::api::StreamExecutionEnvironment;
use crate::connector::sink::FileSink;
use crate::connector::test_support::text_of;
use crate::function::SinkGuarantee;
use crate::graph::{DeliveryGuarantee, ExplainFormat};
use crate::testing::{self, TestDriver};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use thalweg_io::storage::{MemoryStorage, Storage};

const COUNT: u64 = 24;

/// A record, and how many there have been with it.
type Counted = (u64, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SinkKind {
    Any,
    Idempotent,
    WriteAhead,
    TwoPhase,
}

const SINKS: [SinkKind; 4] =
    [SinkKind::Any, SinkKind::Idempotent, SinkKind::WriteAhead, SinkKind::TwoPhase];

/// By name: records, and are they committed?
type Transactions = BTreeMap<String, (Vec<Counted>, bool)>;

/// What is outside the job, and survives it.
#[derive(Clone, Debug, Default)]
struct Outside {
    /// In the order in which it came to be seen.
    seen: Arc<Mutex<Vec<Counted>>>,
    table: Arc<Mutex<BTreeMap<u64, u64>>>,
    transactions: Arc<Mutex<Transactions>>,
    sent_up_to: Arc<Mutex<Option<CheckpointId>>>,
    /// How many notes of what was sent are lost; how many commits fail.
    failures_left: Arc<Mutex<u32>>,
}

impl Outside {
    fn see(&self, records: impl IntoIterator<Item = Counted>) {
        held(&self.seen).extend(records);
    }

    fn fails(&self) -> bool {
        let mut left = held(&self.failures_left);
        let fails = *left > 0;
        *left = left.saturating_sub(1);
        fails
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

impl TwoPhaseCommitSink for Outside {
    type In = Counted;
    type Transaction = String;
    fn begin(&mut self, context: &TransactionContext) -> Result<String> {
        let before = held(&self.transactions).insert(context.name(), (Vec::new(), false));
        assert!(before.is_none_or(|(_, is_committed)| !is_committed), "a number used twice");
        Ok(context.name())
    }
    fn write(&mut self, name: &mut String, record: Counted, _: i64) -> Result<()> {
        held(&self.transactions).get_mut(name).ok_or("it is not open")?.0.push(record);
        Ok(())
    }
    fn pre_commit(&mut self, _: &mut String, _: CheckpointId) -> Result<()> {
        Ok(())
    }
    fn commit(&mut self, name: &String) -> Result<()> {
        if self.fails() {
            return Err("no connection".into());
        }
        let mut transactions = held(&self.transactions);
        let (records, is_committed) = transactions.get_mut(name).ok_or("it is gone")?;
        if !std::mem::replace(is_committed, true) {
            self.see(records.iter().copied());
        }
        Ok(())
    }
    fn abort(&mut self, name: &String) -> Result<()> {
        held(&self.transactions).remove(name);
        Ok(())
    }
    fn commit_attempts_max(&self) -> u32 {
        2
    }
}

impl WriteAheadSink for Outside {
    type In = Counted;
    fn send(&mut self, batch: &WriteAheadBatch<Counted>) -> Result<()> {
        self.see(batch.records().copied());
        Ok(())
    }
    fn send_attempts_max(&self) -> u32 {
        1
    }
}

impl CheckpointCommitter for Outside {
    fn open(&mut self, context: &CommitterContext) -> Result<()> {
        if context.restored_checkpoint.is_none() {
            *held(&self.sent_up_to) = None;
        }
        Ok(())
    }
    fn last_committed(&mut self, _: usize) -> Result<Option<CheckpointId>> {
        Ok(*held(&self.sent_up_to))
    }
    fn commit(&mut self, _: usize, checkpoint: CheckpointId) -> Result<()> {
        if self.fails() {
            return Err("a crash behind the sending".into());
        }
        *held(&self.sent_up_to) = Some(checkpoint);
        Ok(())
    }
}

/// Counts what comes from `in`, into a sink of that kind.
fn write_job(env: &StreamExecutionEnvironment, replays: bool, kind: SinkKind, outside: &Outside) {
    let input = if replays { testing::input::<u64>() } else { testing::input_once::<u64>() };
    let counted = env.from_source(input, "in").key_by(|_| 0_u64).scan(0_u64, |count, n| {
        *count += 1;
        (n, *count)
    });
    let outside = outside.clone();
    match kind {
        SinkKind::Any => drop(counted.for_each(move |record| outside.see([record]))),
        SinkKind::Idempotent => {
            let sink = counted.for_each(move |(n, count)| {
                held(&outside.table).insert(n, count);
                outside.see([(n, count)]);
            });
            drop(sink.guarantee(SinkGuarantee::Idempotent));
        }
        SinkKind::WriteAhead => {
            let sink = TwoPhase::write_ahead(outside.clone(), outside);
            drop(counted.sink_to(sink).name("sink"));
        }
        SinkKind::TwoPhase => drop(counted.sink_to(TwoPhase::new(outside)).name("sink")),
    }
}

/// Checkpoints and restarts between the records, and the end. What `explain` has said.
fn run(replays: bool, kind: SinkKind, outside: &Outside) -> String {
    let mut test = TestDriver::builder()
        .checkpoints()
        .build(|env| write_job(env, replays, kind, outside))
        .unwrap();
    for n in 0..COUNT {
        test.pipe("in", [n]);
        match n % 8 {
            3 => drop(test.checkpoint()),
            6 => test.restart(),
            _ => {}
        }
    }
    let explained = test.explain(ExplainFormat::Text);
    test.end("in");
    for _ in 0..5 {
        test.advance_clock(Duration::from_secs(20));
    }
    assert!(test.is_finished() && test.failure().is_none(), "{:?}", test.failure());
    let line = explained.lines().find(|line| line.contains("delivery: ")).expect("of the sink");
    line.trim().to_owned()
}

/// Each record with its own number, once.
fn all() -> Vec<Counted> {
    (0..COUNT).map(|n| (n, n + 1)).collect()
}

fn check(replays: bool, kind: SinkKind, expected: DeliveryGuarantee) {
    let outside = Outside::default();
    let explained = run(replays, kind, &outside);
    let told = format!("{kind:?}, replays: {replays}");
    assert!(explained.starts_with(&format!("delivery: {expected}: ")), "{told}: {explained}");
    let seen = held(&outside.seen).clone();
    let distinct: BTreeSet<_> = seen.iter().copied().collect();
    match expected {
        DeliveryGuarantee::ExactlyOnce => assert_eq!(seen, all(), "{told}"),
        DeliveryGuarantee::EffectivelyOnce => {
            assert!(seen.len() > all().len(), "{told}: some were written again");
            let table: Vec<_> = held(&outside.table).clone().into_iter().collect();
            assert_eq!(table, all(), "{told}");
        }
        DeliveryGuarantee::AtLeastOnce => {
            assert_eq!(distinct.into_iter().collect::<Vec<_>>(), all(), "{told}");
        }
        DeliveryGuarantee::AtMostOnce => {
            // The state has lost three records at each restart.
            assert_eq!(seen.last(), Some(&(COUNT - 1, COUNT - 3 * 3)), "{told}");
        }
    }
    if matches!(kind, SinkKind::TwoPhase) {
        let transactions = held(&outside.transactions);
        assert!(transactions.values().all(|(_, is_committed)| *is_committed), "{told}: left open");
        let numbers: BTreeSet<_> = seen.iter().map(|(n, _)| n).collect();
        assert_eq!(numbers.len(), seen.len(), "{told}: nothing twice");
    }
}

#[test]
fn all_sources_replay() {
    let expected = [
        DeliveryGuarantee::AtLeastOnce,
        DeliveryGuarantee::EffectivelyOnce,
        DeliveryGuarantee::AtLeastOnce,
        DeliveryGuarantee::ExactlyOnce,
    ];
    SINKS.into_iter().zip(expected).for_each(|(kind, expected)| check(true, kind, expected));
}

#[test]
fn a_source_does_not_replay() {
    for kind in SINKS {
        check(false, kind, DeliveryGuarantee::AtMostOnce);
    }
}

#[test]
fn a_sink_without_promise_repeats_and_write_ahead_only_around_a_crash() {
    let repeats = |kind, lost_notes| {
        let outside = Outside::default();
        *held(&outside.failures_left) = lost_notes;
        run(true, kind, &outside);
        let seen = held(&outside.seen);
        seen.len() - all().len()
    };
    assert_eq!(repeats(SinkKind::Any, 0), 9, "three at each restart");
    assert_eq!(repeats(SinkKind::WriteAhead, 0), 0);
    assert_eq!(repeats(SinkKind::WriteAhead, 1), 4, "the batch whose note was lost");
}

#[test]
fn a_commit_that_goes_on_failing_restarts_the_job_which_commits_then() {
    let outside = Outside::default();
    let mut test = TestDriver::builder()
        .checkpoints()
        .build(|env| write_job(env, true, SinkKind::TwoPhase, &outside))
        .unwrap();
    test.pipe("in", [0_u64, 1]);
    *held(&outside.failures_left) = 2;
    test.checkpoint();
    assert_eq!(test.checkpoints().restarts, 0, "there is another attempt to come");
    test.pipe("in", [2_u64]);
    test.advance_clock(Duration::from_millis(200));
    assert_eq!(test.checkpoints().restarts, 1);
    assert_eq!(*held(&outside.seen), [(0, 1), (1, 2)], "committed by the next attempt");
    test.end("in");
    assert!(test.is_finished());
    assert_eq!(*held(&outside.seen), [(0, 1), (1, 2), (2, 3)]);
}

#[test]
fn without_checkpoints_the_end_commits() {
    let outside = Outside::default();
    let mut test = TestDriver::new(|env| write_job(env, true, SinkKind::TwoPhase, &outside));
    test.pipe("in", [0_u64, 1]);
    assert!(held(&outside.seen).is_empty());
    test.end("in");
    assert!(test.is_finished() && test.failure().is_none());
    assert_eq!(*held(&outside.seen), [(0, 1), (1, 2)]);
}

/// The rows of all published files, sorted.
fn published(storage: &dyn Storage) -> Vec<String> {
    let paths = storage.list(Path::new("out")).unwrap();
    let paths = paths.iter().map(|path| path.to_str().unwrap());
    let texts =
        paths.filter(|path| !path.ends_with(".inprogress")).map(|path| text_of(storage, path));
    let mut rows: Vec<_> =
        texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    rows.sort();
    rows
}

#[test]
fn files_are_published_once_by_jobs_that_restart() {
    for parallelism in [1, 3] {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let builder = TestDriver::builder().checkpoints().parallelism(parallelism);
        let mut test = builder
            .build(|env| {
                let rows =
                    env.from_source(testing::input::<u64>(), "in").map(|n| format!("{n:02}"));
                let sink = FileSink::lines("out").storage(storage.clone()).roll_at_bytes(9);
                drop(rows.sink_to(sink).name("files"));
            })
            .unwrap();
        for n in 0..COUNT {
            test.pipe("in", [n]);
            match n % 6 {
                2 => {
                    test.checkpoint();
                    assert!(published(&*storage).len() as u64 <= n + 1);
                }
                4 => test.restart(),
                _ => {}
            }
        }
        test.end("in");
        assert!(test.is_finished() && test.failure().is_none(), "{:?}", test.failure());
        let expected: Vec<_> = (0..COUNT).map(|n| format!("{n:02}")).collect();
        assert_eq!(published(&*storage), expected);
        let all = storage.list(Path::new("out")).unwrap();
        assert!(all.iter().all(|path| !path.to_str().unwrap().ends_with(".inprogress")));
    }
}
