//! Two-phase commit against a model of the world: random orders of records, barriers, notices, crashes and commits that
//! fail, and an auditor that counts what is visible.
//!
//! The job is a source of numbers whose position is in each checkpoint, and 1 to 3 subtasks of a sink. A crash loses all
//! that is not in the world; the job goes on from its last complete checkpoint, also with another parallelism.

use super::{Recovery, TransactionContext, TwoPhase, TwoPhaseCommitSink};
use crate::Result;
use crate::checkpoint::snapshot::RestoredPiece;
use crate::connector::test_support::Dice;
use crate::function::{Sink, SinkStateContext, SinkStatus};
use crate::record::{Barrier, CheckpointId};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// A system with transactions, which outlives crashes of the job.
#[derive(Default)]
struct World {
    transactions: BTreeMap<String, Transaction>,
    /// Records of committed transactions, in the order of the commits.
    visible: Vec<u64>,
    /// The newest checkpoint that is complete.
    durable: u64,
    violations: Vec<String>,
    /// One in so many commits fails; 0 for none.
    fails_one_in: usize,
    dice: u64,
}

#[derive(Default)]
struct Transaction {
    subtask: usize,
    records: Vec<u64>,
    checkpoint: Option<u64>,
    is_committed: bool,
}

impl World {
    fn says(&mut self, is_right: bool, violation: impl FnOnce() -> String) {
        if !is_right {
            self.violations.push(violation());
        }
    }

    fn below(&mut self, limit: usize) -> usize {
        let mut dice = Dice(self.dice);
        let thrown = dice.below(limit);
        self.dice = dice.0;
        thrown
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Planted {
    Nothing,
    /// Completion is told before the checkpoint is durable.
    CommitsAtBarrier,
    /// What is pending is not in the checkpoint.
    ForgetsState,
    /// Transactions of checkpoints after the one restored are left.
    LeavesUnknown,
}

/// The sink of one subtask.
#[derive(Clone)]
struct Bank {
    world: Rc<RefCell<World>>,
    planted: Planted,
}

impl TwoPhaseCommitSink for Bank {
    type In = u64;
    type Transaction = String;

    fn begin(&mut self, context: &TransactionContext) -> Result<String> {
        let mut world = self.world.borrow_mut();
        let (name, subtask) = (context.name(), context.subtask_index);
        let before = world
            .transactions
            .insert(name.clone(), Transaction { subtask, ..Transaction::default() });
        let is_new = before.is_none_or(|before| !before.is_committed);
        world.says(is_new, || format!("{name} was committed and begun again"));
        Ok(name)
    }

    fn write(&mut self, name: &mut String, record: u64, _: i64) -> Result<()> {
        let mut world = self.world.borrow_mut();
        let open = world.transactions.get_mut(name).ok_or("written where nothing is open")?;
        assert!(open.checkpoint.is_none() && !open.is_committed, "{name} is closed");
        open.records.push(record);
        Ok(())
    }

    fn pre_commit(&mut self, name: &mut String, checkpoint: CheckpointId) -> Result<()> {
        let mut world = self.world.borrow_mut();
        world.transactions.get_mut(name).ok_or("nothing is open")?.checkpoint = Some(checkpoint.0);
        Ok(())
    }

    fn commit(&mut self, name: &String) -> Result<()> {
        let world = &mut *self.world.borrow_mut();
        let fails = world.fails_one_in > 0 && world.below(world.fails_one_in) == 0;
        if fails && world.below(2) == 0 {
            return Err("the commit did not arrive".into());
        }
        let durable = world.durable;
        let Some(found) = world.transactions.get_mut(name) else {
            world.violations.push(format!("{name} is committed and not there"));
            return Ok(());
        };
        let is_durable = found.checkpoint.is_some_and(|checkpoint| checkpoint <= durable);
        if !std::mem::replace(&mut found.is_committed, true) {
            world.visible.extend(&found.records);
        }
        world.says(is_durable, || format!("{name} is committed before its checkpoint is complete"));
        if fails { Err("the answer was lost".into()) } else { Ok(()) }
    }

    fn abort(&mut self, name: &String) -> Result<()> {
        let mut world = self.world.borrow_mut();
        let was_committed = world.transactions.get(name).is_some_and(|found| found.is_committed);
        world.says(!was_committed, || format!("{name} is aborted after its commit"));
        world.transactions.remove(name);
        Ok(())
    }

    fn abort_unknown(&mut self, recovery: &Recovery<'_, String>) -> Result<()> {
        if self.planted == Planted::LeavesUnknown {
            return Ok(());
        }
        let mut world = self.world.borrow_mut();
        let pending: BTreeSet<_> = recovery.pending().iter().collect();
        world.transactions.retain(|name, found| {
            found.is_committed || pending.contains(name) || !recovery.takes_over(found.subtask)
        });
        Ok(())
    }

    fn commit_attempts_max(&self) -> u32 {
        3
    }
}

/// What a complete checkpoint has.
#[derive(Clone, Default)]
struct Checkpoint {
    id: u64,
    position: u64,
    pieces: Vec<RestoredPiece>,
}

struct Job {
    world: Rc<RefCell<World>>,
    planted: Planted,
    sinks: Vec<TwoPhase<Bank>>,
    position: u64,
    next_checkpoint: u64,
    /// Taken, neither complete nor given up.
    taken: Vec<Checkpoint>,
    completed: Option<Checkpoint>,
    now_ms: i64,
}

impl Job {
    /// Everything anew, from the last complete checkpoint.
    fn start(&mut self, parallelism: usize) -> Result<()> {
        self.taken.clear();
        let from = self.completed.clone();
        self.position = from.as_ref().map_or(0, |from| from.position);
        let pieces = from.as_ref().map_or(Vec::new(), |from| from.pieces.clone());
        self.sinks.clear();
        for subtask_index in 0..parallelism {
            let bank = Bank { world: self.world.clone(), planted: self.planted };
            let mut sink = TwoPhase::new(bank);
            let context = SinkStateContext {
                operator_name: "bank",
                subtask_index,
                parallelism,
                now_ms: self.now_ms,
                has_checkpoints: true,
                restored_checkpoint: from.as_ref().map(|from| CheckpointId(from.id)),
                pieces: &pieces,
                is_read: Cell::new(false),
            };
            sink.initialize_state(&context)?;
            self.sinks.push(sink);
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        let subtask = self.position as usize % self.sinks.len();
        self.sinks[subtask].write(self.position, 0)?;
        self.position += 1;
        Ok(())
    }

    fn barrier(&mut self, is_final: bool) -> Result<()> {
        let id = self.next_checkpoint;
        self.next_checkpoint += 1;
        let barrier = Barrier { checkpoint: CheckpointId(id), is_final };
        let mut pieces = Vec::new();
        for (subtask, sink) in self.sinks.iter_mut().enumerate() {
            let bytes = sink.snapshot_state(barrier)?.into_bytes();
            if self.planted == Planted::ForgetsState {
                continue;
            }
            pieces.push(RestoredPiece { subtask, bytes: bytes.into() });
        }
        self.taken.push(Checkpoint { id, position: self.position, pieces });
        if self.planted == Planted::CommitsAtBarrier {
            self.notify(id)?;
        }
        Ok(())
    }

    /// Completes one of those taken; those before it are given up.
    fn complete(&mut self, at: usize) -> u64 {
        let done = self.taken.drain(..=at).next_back().expect("there is one");
        let id = done.id;
        self.completed = Some(done);
        self.world.borrow_mut().durable = id;
        id
    }

    fn notify(&mut self, id: u64) -> Result<()> {
        self.sinks.iter_mut().try_for_each(|sink| sink.notify_checkpoint_complete(CheckpointId(id)))
    }

    fn poll(&mut self) -> Result<()> {
        self.now_ms += 150;
        let now_ms = self.now_ms;
        self.sinks.iter_mut().try_for_each(|sink| sink.poll_ready(now_ms, false).map(drop))
    }

    fn crash(&mut self, is_soft: bool) {
        let sinks = std::mem::take(&mut self.sinks);
        if is_soft {
            sinks.into_iter().for_each(|mut sink| sink.close().unwrap());
        }
    }
}

/// One run; says what the auditor has found.
struct Run {
    dice: Dice,
    job: Job,
    record_count: u64,
    crashes: u64,
}

impl Run {
    fn new(seed: u64, planted: Planted) -> Self {
        let mut dice = Dice(seed);
        let fails_one_in = [0, 3, 10][dice.below(3)];
        let world = World { fails_one_in, dice: seed ^ 0x5eed, ..World::default() };
        let job = Job {
            world: Rc::new(RefCell::new(world)),
            planted,
            sinks: Vec::new(),
            position: 0,
            next_checkpoint: 1,
            taken: Vec::new(),
            completed: None,
            now_ms: 0,
        };
        let record_count = 5 + dice.below(25) as u64;
        Run { dice, job, record_count, crashes: 0 }
    }

    fn restart(&mut self) {
        self.crashes += 1;
        let is_soft = self.dice.below(2) == 0;
        self.job.crash(is_soft);
        let parallelism = 1 + self.dice.below(3);
        while self.job.start(parallelism).is_err() {
            self.job.crash(true);
        }
    }

    fn step(&mut self) -> Result<()> {
        match self.dice.below(12) {
            0..4 if self.job.position < self.record_count => self.job.write(),
            4..6 => self.job.barrier(false),
            6..8 if !self.job.taken.is_empty() => {
                let at = self.dice.below(self.job.taken.len());
                let id = self.job.complete(at);
                // A notice may never come; a later one stands for it.
                if self.dice.below(3) > 0 { self.job.notify(id) } else { Ok(()) }
            }
            8 if !self.job.taken.is_empty() => {
                let at = self.dice.below(self.job.taken.len());
                let id = CheckpointId(self.job.taken.remove(at).id);
                self.job.sinks.iter_mut().try_for_each(|sink| sink.notify_checkpoint_aborted(id))
            }
            9 if self.crashes < 8 => {
                self.restart();
                Ok(())
            }
            _ => self.job.poll(),
        }
    }

    /// All records, the last checkpoint, and the end; a crash in between begins it again.
    fn end(&mut self) -> Result<()> {
        while self.job.position < self.record_count {
            self.job.write()?;
        }
        self.job.barrier(true)?;
        if self.crashes < 12 && self.dice.below(3) == 0 {
            return Err("a crash before the last checkpoint is complete".into());
        }
        let at = self.job.taken.len() - 1;
        let id = self.job.complete(at);
        if self.crashes < 12 && self.dice.below(3) == 0 {
            return Err("a crash before anything is committed".into());
        }
        let finished_early =
            self.job.sinks.iter_mut().map(Sink::finish).collect::<Result<Vec<_>>>()?;
        let is_planted = self.job.planted != Planted::Nothing;
        assert!(is_planted || finished_early.contains(&SinkStatus::Full), "committed too early");
        self.job.notify(id)?;
        loop {
            self.job.poll()?;
            let all = self.job.sinks.iter_mut().map(Sink::finish).collect::<Result<Vec<_>>>()?;
            if all.iter().all(|status| *status == SinkStatus::Ready) {
                return Ok(());
            }
        }
    }

    fn audit(mut self) -> Result<u64, String> {
        self.job.start(1 + self.dice.below(3)).map_err(|error| error.to_string())?;
        for _ in 0..60 {
            if self.step().is_err() {
                self.restart();
            }
        }
        while self.end().is_err() {
            self.restart();
        }
        self.job.crash(true);
        let world = self.job.world.borrow();
        let mut seen = world.visible.clone();
        seen.sort_unstable();
        let open = world.transactions.iter().filter(|(_, found)| !found.is_committed).count();
        if seen != (0..self.record_count).collect::<Vec<_>>() {
            return Err(format!("of 0..{} visible are {seen:?}", self.record_count));
        }
        match (open, world.violations.first()) {
            (0, None) => Ok(self.crashes),
            (0, Some(violation)) => Err(violation.clone()),
            (open, _) => Err(format!("{open} transactions are left open")),
        }
    }
}

#[test]
fn each_record_is_visible_once_in_any_order_of_events() {
    let mut crashes = 0;
    for seed in 0..12_000 {
        match Run::new(seed, Planted::Nothing).audit() {
            Ok(count) => crashes += count,
            Err(found) => panic!("seed {seed}: {found}"),
        }
    }
    assert!(crashes > 24_000, "only {crashes} crashes");
}

/// The auditor is worth nothing unless it finds what is wrong.
#[test]
fn planted_faults_are_found() {
    for planted in [Planted::CommitsAtBarrier, Planted::ForgetsState, Planted::LeavesUnknown] {
        let found = (0..300).filter(|seed| Run::new(*seed, planted).audit().is_err()).count();
        assert!(found > 20, "found {found} of 300");
    }
}
