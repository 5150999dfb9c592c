//! The order of things in two-phase commit: from what has happened to what is to be done. Pure: it calls nothing, reads no
//! clock, and is tried by itself.
//!
//! ```text
//!            Started                     Barrier            PreCommitted              Completed >= its checkpoint
//!  (nothing) ───────► Begin ─ open ──────────────► PreCommit ───────────► pending ───────────────────────────────► Commit
//!            Restored ► Abort what was open, Commit what was pending, Begin           CommitFailed ► Retry .. GiveUp
//! ```
//!
//! **Invariants**
//! - `pending` ascends in checkpoints, and is committed in that order, one at a time: a commit that fails holds back all
//!   behind it.
//! - Nothing is committed before its checkpoint, or a later one, is complete. A checkpoint that was given up changes
//!   nothing: what is pending for it is committed with the next that is complete.
//! - What is pending leaves only by a commit that succeeded.

use crate::record::CheckpointId;
use std::collections::VecDeque;
use thalweg_io::{Fault, planted};

/// What is pre-committed and waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending<X> {
    /// The checkpoint whose state has it first.
    pub(crate) checkpoint: CheckpointId,
    /// It comes from a checkpoint, so that it may have been committed already.
    pub(crate) is_recovered: bool,
    pub(crate) transaction: X,
}

/// What has happened.
#[derive(Clone, Debug)]
pub(crate) enum Event<X> {
    /// The job begins anew.
    Started,
    /// The job goes on from this checkpoint, which has these transactions: pending ones, and those that were open at
    /// its barriers.
    Restored { checkpoint: CheckpointId, pending: Vec<(CheckpointId, X)>, open: Vec<X> },
    /// A barrier has come; behind the last one no transaction is needed.
    Barrier { checkpoint: CheckpointId, is_final: bool },
    /// The open transaction is pre-committed, as was asked.
    PreCommitted(X),
    /// A checkpoint is complete.
    Completed(CheckpointId),
    /// The commit that was asked for has succeeded.
    Committed,
    /// It has failed.
    CommitFailed,
    /// The time to try again has come.
    RetryDue,
    /// The end of input. With checkpoints it comes behind the last barrier.
    Ended { has_checkpoints: bool },
}

/// What is to be done, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action<X> {
    /// Open a transaction for what is written from now on.
    Begin,
    /// Pre-commit the open one, and say so.
    PreCommit,
    /// Abort this one, of an earlier attempt.
    Abort(X),
    /// Abort the open one, into which nothing was written.
    AbortOpen,
    /// Commit, and say how it went.
    Commit(Pending<X>),
    /// Say that a retry is due, in so many milliseconds.
    Retry { delay_ms: i64 },
    /// This one cannot be committed.
    GiveUp { pending: Pending<X>, attempts: u32 },
}

/// How often a commit is tried, and how long the first pause is; each further one is twice as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CommitRetries {
    pub(crate) attempts_max: u32,
    pub(crate) delay_ms: i64,
}

/// The longest pause between two attempts.
const DELAY_MS_MAX: i64 = 10_000;

/// The checkpoint that stands for none, at the end of a job without checkpoints. They are numbered from 1.
pub(crate) const NO_CHECKPOINT: CheckpointId = CheckpointId(0);

/// See the module docs.
#[derive(Clone, Debug)]
pub(crate) struct CommitProtocol<X> {
    retries: CommitRetries,
    pending: VecDeque<Pending<X>>,
    /// The newest that is complete.
    completed: Option<CheckpointId>,
    /// The barrier whose pre-commit was asked for.
    barrier: Option<(CheckpointId, bool)>,
    /// Failed attempts at the first of `pending`.
    attempts: u32,
    /// A commit or a retry was asked for and is not answered.
    is_committing: bool,
}

impl<X: Clone> CommitProtocol<X> {
    pub(crate) fn new(retries: CommitRetries) -> Self {
        CommitProtocol {
            retries,
            pending: VecDeque::new(),
            completed: None,
            barrier: None,
            attempts: 0,
            is_committing: false,
        }
    }

    /// What waits to be committed, in order.
    pub(crate) fn pending(&self) -> impl ExactSizeIterator<Item = &Pending<X>> {
        self.pending.iter()
    }

    /// The checkpoint whose pre-commit was asked for.
    pub(crate) fn barrier(&self) -> CheckpointId {
        self.barrier.map_or(NO_CHECKPOINT, |(checkpoint, _)| checkpoint)
    }

    /// Takes note of an event, and says what is to be done about it.
    pub(crate) fn on(&mut self, event: Event<X>) -> Vec<Action<X>> {
        match event {
            Event::Started => vec![Action::Begin],
            Event::Restored { checkpoint, pending, open } => {
                self.restore(checkpoint, pending, open)
            }
            Event::Barrier { checkpoint, is_final } => {
                assert!(self.barrier.is_none(), "a barrier comes after the pre-commit of the last");
                self.barrier = Some((checkpoint, is_final));
                vec![Action::PreCommit]
            }
            Event::PreCommitted(transaction) => self.pre_committed(transaction),
            Event::Completed(checkpoint) => {
                self.completed = self.completed.max(Some(checkpoint));
                self.commit_next().into_iter().collect()
            }
            Event::Committed => {
                self.is_committing = false;
                self.attempts = 0;
                self.pending.pop_front();
                self.commit_next().into_iter().collect()
            }
            Event::CommitFailed => self.commit_failed().into_iter().collect(),
            Event::RetryDue => {
                self.is_committing = false;
                self.commit_next().into_iter().collect()
            }
            Event::Ended { has_checkpoints: true } => vec![Action::AbortOpen],
            Event::Ended { has_checkpoints: false } => {
                self.barrier = Some((NO_CHECKPOINT, true));
                self.completed = self.completed.max(Some(NO_CHECKPOINT));
                vec![Action::PreCommit]
            }
        }
    }

    fn restore(
        &mut self,
        checkpoint: CheckpointId,
        mut pending: Vec<(CheckpointId, X)>,
        open: Vec<X>,
    ) -> Vec<Action<X>> {
        // Of several subtasks; those of one are in order.
        pending.sort_by_key(|(checkpoint, _)| *checkpoint);
        let recovered =
            |(checkpoint, transaction)| Pending { checkpoint, is_recovered: true, transaction };
        self.pending = pending.into_iter().map(recovered).collect();
        self.completed = Some(checkpoint);
        let aborts = open.into_iter().map(Action::Abort);
        aborts.chain(self.commit_next()).chain([Action::Begin]).collect()
    }

    fn pre_committed(&mut self, transaction: X) -> Vec<Action<X>> {
        let (checkpoint, is_final) = self.barrier.take().expect("a pre-commit was asked for");
        assert!(
            self.pending.back().is_none_or(|last| last.checkpoint <= checkpoint),
            "barriers ascend"
        );
        self.pending.push_back(Pending { checkpoint, is_recovered: false, transaction });
        if planted(Fault::CommitOnBarrier) {
            self.completed = self.completed.max(Some(checkpoint));
        }
        let begin = (!is_final).then_some(Action::Begin);
        begin.into_iter().chain(self.commit_next()).collect()
    }

    /// The commit that is due, unless one is under way.
    fn commit_next(&mut self) -> Option<Action<X>> {
        let first = self.pending.front().filter(|_| !self.is_committing)?;
        let is_due = self.completed.is_some_and(|completed| first.checkpoint <= completed);
        self.is_committing = is_due;
        is_due.then(|| Action::Commit(first.clone()))
    }

    fn commit_failed(&mut self) -> Option<Action<X>> {
        self.attempts += 1;
        if self.attempts < self.retries.attempts_max {
            let doublings = self.attempts.saturating_sub(1).min(30);
            let delay_ms = self.retries.delay_ms.saturating_mul(1 << doublings).min(DELAY_MS_MAX);
            return Some(Action::Retry { delay_ms });
        }
        let pending = self.pending.front()?.clone();
        Some(Action::GiveUp { pending, attempts: self.attempts })
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    const RETRIES: CommitRetries = CommitRetries { attempts_max: 3, delay_ms: 10 };

    fn barrier(id: u64) -> Event<&'static str> {
        Event::Barrier { checkpoint: CheckpointId(id), is_final: false }
    }

    fn completed(id: u64) -> Event<&'static str> {
        Event::Completed(CheckpointId(id))
    }

    fn commit(id: u64, transaction: &'static str) -> Action<&'static str> {
        let checkpoint = CheckpointId(id);
        Action::Commit(Pending { checkpoint, is_recovered: false, transaction })
    }

    fn recovered(id: u64, transaction: &'static str) -> Action<&'static str> {
        let checkpoint = CheckpointId(id);
        Action::Commit(Pending { checkpoint, is_recovered: true, transaction })
    }

    /// Each event with what is to be done about it.
    fn check(steps: Vec<(Event<&'static str>, Vec<Action<&'static str>>)>) {
        let mut protocol = CommitProtocol::new(RETRIES);
        for (index, (event, expected)) in steps.into_iter().enumerate() {
            let told = format!("step {index}, {event:?}");
            assert_eq!(protocol.on(event), expected, "{told}");
        }
    }

    use Action::{AbortOpen, Begin, PreCommit};
    use Event::{CommitFailed, Committed, Ended, PreCommitted, RetryDue, Started};

    #[test]
    fn a_transaction_is_committed_when_its_checkpoint_is_complete() {
        check(vec![
            (Started, vec![Begin]),
            (barrier(1), vec![PreCommit]),
            (PreCommitted("a"), vec![Begin]),
            (barrier(2), vec![PreCommit]),
            (completed(1), vec![commit(1, "a")]),
            (PreCommitted("b"), vec![Begin]),
            (Committed, vec![]),
            (completed(2), vec![commit(2, "b")]),
            (Committed, vec![]),
            (completed(2), vec![]),
        ]);
    }

    #[test]
    fn a_later_notification_stands_for_those_before_it() {
        check(vec![
            (Started, vec![Begin]),
            (barrier(1), vec![PreCommit]),
            (PreCommitted("a"), vec![Begin]),
            (barrier(2), vec![PreCommit]),
            (PreCommitted("b"), vec![Begin]),
            (barrier(3), vec![PreCommit]),
            (PreCommitted("c"), vec![Begin]),
            (completed(2), vec![commit(1, "a")]),
            (completed(1), vec![]),
            (Committed, vec![commit(2, "b")]),
            (Committed, vec![]),
        ]);
    }

    #[test]
    fn a_commit_is_tried_a_few_times_with_growing_pauses() {
        let pending =
            Pending { checkpoint: CheckpointId(1), is_recovered: false, transaction: "a" };
        check(vec![
            (Started, vec![Begin]),
            (barrier(1), vec![PreCommit]),
            (PreCommitted("a"), vec![Begin]),
            (completed(1), vec![commit(1, "a")]),
            (CommitFailed, vec![Action::Retry { delay_ms: 10 }]),
            (completed(2), vec![]),
            (RetryDue, vec![commit(1, "a")]),
            (CommitFailed, vec![Action::Retry { delay_ms: 20 }]),
            (RetryDue, vec![commit(1, "a")]),
            (CommitFailed, vec![Action::GiveUp { pending, attempts: 3 }]),
        ]);
    }

    #[test]
    fn what_a_checkpoint_has_pending_is_committed_and_what_it_has_open_aborted() {
        let (checkpoint, pending) = (CheckpointId(7), vec![(7, "c"), (5, "a"), (6, "b")]);
        let pending = pending.into_iter().map(|(id, x)| (CheckpointId(id), x)).collect();
        check(vec![
            (
                Event::Restored { checkpoint, pending, open: vec!["x", "y"] },
                vec![Action::Abort("x"), Action::Abort("y"), recovered(5, "a"), Begin],
            ),
            (barrier(8), vec![PreCommit]),
            (PreCommitted("d"), vec![Begin]),
            (Committed, vec![recovered(6, "b")]),
            (Committed, vec![recovered(7, "c")]),
            (Committed, vec![]),
            (completed(8), vec![commit(8, "d")]),
        ]);
    }

    #[test]
    fn the_end_waits_for_the_last_checkpoint_or_needs_none() {
        let last = || Event::Barrier { checkpoint: CheckpointId(1), is_final: true };
        check(vec![
            (Started, vec![Begin]),
            (last(), vec![PreCommit]),
            (PreCommitted("a"), vec![]),
            (Ended { has_checkpoints: true }, vec![AbortOpen]),
            (completed(1), vec![commit(1, "a")]),
        ]);
        check(vec![
            (Started, vec![Begin]),
            (Ended { has_checkpoints: false }, vec![PreCommit]),
            (PreCommitted("a"), vec![commit(0, "a")]),
            (Committed, vec![]),
        ]);
    }
}
