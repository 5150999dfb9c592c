//! Bad input, retries, and write-ahead sinks.

use super::*;
use crate::checkpoint::snapshot::RestoredPiece;
use crate::connector::test_support::{SinkDriver, put, text_of};
use crate::function::{Sink, SinkGuarantee, SinkStateContext, SinkStatus};
use crate::record::{Barrier, NO_TIMESTAMP};
use std::cell::Cell;
use std::path::Path;
use std::sync::{Arc, Mutex};
use thalweg_io::storage::{MemoryStorage, Storage};

fn context<'a>(
    pieces: &'a [RestoredPiece],
    (subtask_index, parallelism): (usize, usize),
    checkpoint: Option<u64>,
) -> SinkStateContext<'a> {
    SinkStateContext {
        operator_name: "orders",
        subtask_index,
        parallelism,
        now_ms: 0,
        has_checkpoints: true,
        restored_checkpoint: checkpoint.map(CheckpointId),
        pieces,
        is_read: Cell::new(false),
    }
}

fn piece(subtask: usize, state: crate::function::ArchivedState) -> RestoredPiece {
    RestoredPiece { subtask, bytes: state.into_bytes().into() }
}

fn barrier(id: u64) -> Barrier {
    Barrier::periodic(CheckpointId(id))
}

/// A sink whose commits fail as often as is said.
#[derive(Clone, Default)]
struct Stubborn {
    failures_left: Arc<Mutex<u32>>,
    committed: Arc<Mutex<Vec<u64>>>,
}

impl TwoPhaseCommitSink for Stubborn {
    type In = u64;
    type Transaction = u64;
    fn begin(&mut self, context: &TransactionContext) -> Result<u64> {
        Ok(context.sequence)
    }
    fn write(&mut self, _: &mut u64, _: u64, _: i64) -> Result<()> {
        Ok(())
    }
    fn pre_commit(&mut self, _: &mut u64, _: CheckpointId) -> Result<()> {
        Ok(())
    }
    fn commit(&mut self, transaction: &u64) -> Result<()> {
        let mut left = self.failures_left.lock().unwrap();
        if *left > 0 {
            *left -= 1;
            return Err("the table is locked".into());
        }
        self.committed.lock().unwrap().push(*transaction);
        Ok(())
    }
    fn abort(&mut self, _: &u64) -> Result<()> {
        Ok(())
    }
    fn commit_attempts_max(&self) -> u32 {
        3
    }
}

fn started(sink: &Stubborn) -> TwoPhase<Stubborn> {
    let mut sink = TwoPhase::new(sink.clone());
    sink.initialize_state(&context(&[], (0, 1), None)).unwrap();
    sink
}

#[test]
fn a_commit_that_fails_is_tried_again_when_its_time_has_come() {
    let world = Stubborn::default();
    *world.failures_left.lock().unwrap() = 2;
    let mut sink = started(&world);
    sink.write(1, NO_TIMESTAMP).unwrap();
    sink.snapshot_state(barrier(1)).unwrap();
    sink.notify_checkpoint_complete(CheckpointId(1)).unwrap();
    let poll = |sink: &mut TwoPhase<Stubborn>, now_ms| {
        sink.poll_ready(now_ms, true).unwrap();
        sink.next_poll_ms()
    };
    assert_eq!(poll(&mut sink, 1_000), Some(1_100));
    assert_eq!(poll(&mut sink, 1_099), Some(1_100));
    assert_eq!(poll(&mut sink, 1_100), Some(1_300));
    assert!(world.committed.lock().unwrap().is_empty());
    assert_eq!(poll(&mut sink, 1_300), None);
    assert_eq!(*world.committed.lock().unwrap(), [0]);
}

#[test]
fn a_transaction_that_cannot_be_committed_fails_the_job_by_its_name() {
    let world = Stubborn::default();
    *world.failures_left.lock().unwrap() = 100;
    let mut sink = started(&world);
    let state = sink.snapshot_state(barrier(4)).unwrap();
    sink.notify_checkpoint_complete(CheckpointId(4)).unwrap();
    let polled = (0..100).find_map(|n| sink.poll_ready(n * 1_000, true).err());
    let error = polled.expect("it gives up");
    let told = "transaction orders-0-0 of checkpoint 4 cannot be committed, 3 attempts have failed: the table is locked; its \
                records are safe: correct the cause, and let the job go on from that checkpoint, which commits it again";
    assert_eq!(error.to_string(), told);
    assert!(matches!(
        error.downcast_ref::<TransactionError>(),
        Some(TransactionError::Commit { attempts: 3, .. })
    ));
    // The next attempt.
    *world.failures_left.lock().unwrap() = 0;
    let mut sink = TwoPhase::new(world.clone());
    sink.initialize_state(&context(&[piece(0, state)], (0, 1), Some(4))).unwrap();
    assert_eq!(*world.committed.lock().unwrap(), [0]);
}

#[test]
fn a_state_of_another_type_or_damaged_is_refused() {
    let mut sink = started(&Stubborn::default());
    let state = sink.snapshot_state(barrier(1)).unwrap();
    let refused = |bytes: Vec<u8>| {
        let pieces = [RestoredPiece { subtask: 2, bytes: bytes.into() }];
        let mut sink = TwoPhase::write_ahead(Letters::default(), FileCommitter::new("sent"));
        sink.initialize_state(&context(&pieces, (0, 1), Some(1))).unwrap_err().to_string()
    };
    let error = refused(state.clone().into_bytes());
    let told = "the state 'sink' of operator 'orders' (subtask 3) cannot be restored: its type is now WriteAheadBatch<String>, \
                and was ";
    assert!(error.starts_with(told), "{error}");
    let mut bytes = state.into_bytes();
    bytes.truncate(12);
    assert!(refused(bytes).contains("the checkpoint is damaged"));
    let other = crate::function::ArchivedState::of(&7_u64).unwrap().into_bytes();
    assert!(refused(other).contains("subtask 3) cannot be restored: its type is now ("));
}

/// Batches by checkpoint.
type Sent = Vec<(u64, Vec<String>)>;

#[derive(Clone, Debug, Default)]
struct Letters {
    sent: Arc<Mutex<Sent>>,
    fails: Arc<Mutex<bool>>,
}

impl WriteAheadSink for Letters {
    type In = String;
    fn send(&mut self, batch: &WriteAheadBatch<String>) -> Result<()> {
        if *self.fails.lock().unwrap() {
            return Err("the post office is closed".into());
        }
        let records = batch.records().cloned().collect();
        self.sent.lock().unwrap().push((batch.checkpoint().0, records));
        Ok(())
    }
    fn record_count_max(&self) -> usize {
        3
    }
}

type LetterSink = TwoPhase<WriteAhead<Letters, FileCommitter>>;

fn letters(
    letters: &Letters,
    storage: &Arc<dyn Storage>,
    state: (&[RestoredPiece], (usize, usize), Option<u64>),
) -> Result<LetterSink> {
    let committer = FileCommitter::new("sent").storage(storage.clone());
    let sink = TwoPhase::write_ahead(letters.clone(), committer);
    let (pieces, place, checkpoint) = state;
    let mut driver = SinkDriver::open_with(sink, &context(pieces, place, checkpoint))?;
    driver.sink.poll_ready(0, false)?;
    Ok(driver.sink)
}

fn write(sink: &mut LetterSink, records: &[&str]) -> Result<()> {
    records.iter().try_for_each(|record| sink.write((*record).to_owned(), NO_TIMESTAMP))
}

#[test]
fn records_are_sent_when_their_checkpoint_is_complete_and_not_again() {
    let (world, storage): (_, Arc<dyn Storage>) =
        (Letters::default(), Arc::new(MemoryStorage::new()));
    let mut sink = letters(&world, &storage, (&[], (0, 1), None)).unwrap();
    assert_eq!(sink.promise().guarantee, SinkGuarantee::WriteAhead);
    write(&mut sink, &["a", "b"]).unwrap();
    let first = sink.snapshot_state(barrier(1)).unwrap();
    write(&mut sink, &["c"]).unwrap();
    assert!(world.sent.lock().unwrap().is_empty());
    let error = write(&mut sink, &["d"]).unwrap_err().to_string();
    assert!(error.starts_with("3 records wait for a checkpoint to be complete"), "{error}");
    sink.notify_checkpoint_complete(CheckpointId(1)).unwrap();
    let expected = vec![(1, vec!["a".to_owned(), "b".to_owned()])];
    assert_eq!(*world.sent.lock().unwrap(), expected);
    assert_eq!(text_of(&*storage, "sent/subtask-0.sent"), "checkpoint 1\n");

    // A crash behind the note, and a restart by more subtasks: it is known that this was sent.
    let mut sink = letters(&world, &storage, (&[piece(0, first)], (0, 2), Some(1))).unwrap();
    assert_eq!(*world.sent.lock().unwrap(), expected);
    write(&mut sink, &["c"]).unwrap();
    sink.snapshot_state(barrier(2)).unwrap();
    sink.notify_checkpoint_complete(CheckpointId(2)).unwrap();
    assert_eq!(world.sent.lock().unwrap()[1], (2, vec!["c".to_owned()]));
}

#[test]
fn a_batch_that_was_not_noted_is_sent_by_the_next_attempt() {
    let (world, storage): (_, Arc<dyn Storage>) =
        (Letters::default(), Arc::new(MemoryStorage::new()));
    let mut sink = letters(&world, &storage, (&[], (0, 1), None)).unwrap();
    sink.write("a".to_owned(), 42).unwrap();
    sink.snapshot_state(barrier(1)).unwrap();
    write(&mut sink, &["b"]).unwrap();
    let second = sink.snapshot_state(barrier(2)).unwrap();
    *world.fails.lock().unwrap() = true;
    sink.notify_checkpoint_complete(CheckpointId(2)).unwrap();
    drop(sink);
    *world.fails.lock().unwrap() = false;
    letters(&world, &storage, (&[piece(0, second)], (0, 1), Some(2))).unwrap();
    let expected = [(1, vec!["a".to_owned()]), (2, vec!["b".to_owned()])];
    assert_eq!(*world.sent.lock().unwrap(), expected);
}

#[test]
fn a_checkpoint_before_what_was_sent_is_refused_and_a_new_job_forgets() {
    let (world, storage): (_, Arc<dyn Storage>) =
        (Letters::default(), Arc::new(MemoryStorage::new()));
    storage.create_dir_all(Path::new("sent")).unwrap();
    put(&*storage, "sent/subtask-0.sent", "checkpoint 9\n");
    put(&*storage, "sent/subtask-1.sent", "checkpoint 9\n");
    let error = letters(&world, &storage, (&[], (0, 1), Some(8))).unwrap_err().to_string();
    assert!(
        error.starts_with(
            "the records of checkpoint 9 were sent, and the job goes on from checkpoint 8"
        ),
        "{error}"
    );
    let mut sink = letters(&world, &storage, (&[], (0, 1), None)).unwrap();
    assert!(
        storage.list(Path::new("sent")).unwrap().is_empty(),
        "also of a subtask that is no more"
    );
    write(&mut sink, &["a"]).unwrap();
    sink.snapshot_state(barrier(1)).unwrap();
    sink.notify_checkpoint_complete(CheckpointId(1)).unwrap();
    assert_eq!(world.sent.lock().unwrap().len(), 1);
    put(&*storage, "sent/subtask-0.sent", "yesterday");
    let error = letters(&world, &storage, (&[], (0, 1), Some(1))).unwrap_err().to_string();
    assert!(error.contains("says \"yesterday\" where `checkpoint <number>`"), "{error}");
}

#[test]
fn without_checkpoints_all_is_out_at_the_end() {
    let world = Stubborn::default();
    let mut sink = TwoPhase::new(world.clone());
    let without = SinkStateContext { has_checkpoints: false, ..context(&[], (0, 1), None) };
    sink.initialize_state(&without).unwrap();
    sink.write(1, NO_TIMESTAMP).unwrap();
    assert_eq!(sink.finish().unwrap(), SinkStatus::Ready);
    assert_eq!(*world.committed.lock().unwrap(), [0]);
}
