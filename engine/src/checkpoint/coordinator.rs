//! The checkpoint coordinator: begins checkpoints, gathers what tasks deliver, and says what is to be done. A pure state
//! machine: it reads no clock, sends nothing, and touches no file.
//!
//! ```text
//!           interval, a wish, or the end          all tasks have      it is durable
//!  waiting ────────────────────────► gathering ───────────► saving ────────────► complete
//!     ▲                                  │ declined, timeout     │ not saved          │
//!     └──────────────────────────────────┴───────────────────────┴────────────────────┘
//! ```
//!
//! 1. One checkpoint is under way at a time. It begins an interval after the last one began, and not before the pause after
//!    its end is over; or when somebody asks for it.
//! 2. When all sources have ended (or were told to stop), the *last* checkpoint begins: its barrier is final. Once that is
//!    complete the sources may say the end downstream, so that what sinks held back is committed before the job
//!    finishes. If it fails it is begun again, a bounded number of times; then the job fails: never a success that
//!    has not committed.
//! 3. A checkpoint that fails changes nothing. The next one has what it would have had. If too many in a row fail, so does the
//!    job.
//!
//! **Invariants**
//! - Ids rise, also over restarts: an attempt begins above all that were begun before it.
//! - `Complete` is said once a checkpoint, after its `Saved`, and for rising ids.
//! - While a final checkpoint is under way no other is; after it is complete none begins.

use super::settings::CheckpointSettings;
use super::snapshot::{Declined, SnapshotPiece, TaskSnapshot};
use crate::record::{Barrier, CheckpointId};
use crate::runtime::{TaskId, TaskOrder};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use thalweg_io::{Fault, planted};

/// How often the last checkpoint is begun again before the job fails.
const FINAL_ATTEMPTS_MAX: u32 = 10;
/// Between two attempts of it.
const FINAL_PAUSE_NS: u64 = 200_000_000;

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Action {
    /// Tell the enumerators of sources that a barrier begins, and add what they have to the checkpoint.
    BeginBarrier(Barrier),
    /// Tell all tasks.
    Order(TaskOrder),
    /// Make it durable, and say [`Coordinator::on_saved`].
    Save(Gathered),
    /// Remove a complete checkpoint that is not kept any more; then tell tasks that it is released.
    Discard(CheckpointId),
    /// The job fails.
    Fail(CheckpointFailure),
    /// A checkpoint failed, and the job goes on.
    Warn(CheckpointFailure),
}

/// A checkpoint that all tasks have delivered to.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) checkpoint: CheckpointId,
    pub(crate) is_final: bool,
    pub(crate) pieces: Vec<SnapshotPiece>,
}

/// Why a checkpoint is not complete.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("checkpoint {checkpoint} failed: {cause}")]
pub(crate) struct CheckpointFailure {
    pub(crate) checkpoint: CheckpointId,
    pub(crate) cause: FailureCause,
}

#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum FailureCause {
    #[error("operator '{operator}' (subtask {}) could not take part: {cause}", subtask + 1)]
    Declined { operator: String, subtask: usize, cause: String },
    #[error(
        "{missing} of {tasks} tasks had not delivered after {timeout_ms} ms (`checkpoint_timeout_ms`); a task is held back, \
         or the disk is slow"
    )]
    Timeout { missing: usize, tasks: usize, timeout_ms: u64 },
    #[error("it could not be written: {0}")]
    NotSaved(String),
    #[error(
        "{count} in a row have failed, more than `checkpoint_tolerated_failures` allows; the last because {last}"
    )]
    TooMany { count: u32, last: Box<FailureCause> },
    #[error(
        "it was the last one, without which nothing more can be committed, and failed {count} times; at last because {last}"
    )]
    Final { count: u32, last: Box<FailureCause> },
}

/// See the module docs. One for each attempt to run the job.
#[derive(Debug)]
pub(crate) struct Coordinator {
    settings: CheckpointSettings,
    next_id: u64,
    /// Tasks that have not finished, and whether each has a source whose input has not ended.
    tasks: BTreeMap<TaskId, bool>,
    pending: Option<Pending>,
    /// Complete ones that are kept, oldest first.
    retained: VecDeque<CheckpointId>,
    /// Those that somebody copies: they are kept however many there are.
    pinned: BTreeSet<CheckpointId>,
    last_begun_ns: u64,
    last_ended_ns: Option<u64>,
    /// Somebody asked for one.
    is_wanted: bool,
    failures_in_row: u32,
    final_failures: u32,
    is_over: bool,
}

#[derive(Debug)]
struct Pending {
    checkpoint: CheckpointId,
    is_final: bool,
    begun_ns: u64,
    missing: BTreeSet<TaskId>,
    pieces: Vec<SnapshotPiece>,
    is_saving: bool,
}

impl Coordinator {
    /// Coordinates an attempt that starts at `now_ns`. Ids begin above `last_id`; `retained` are the checkpoints that are
    /// kept. `tasks` says of each task whether it has a source.
    pub(crate) fn new(
        settings: CheckpointSettings,
        (last_id, retained): (u64, VecDeque<CheckpointId>),
        tasks: impl IntoIterator<Item = (TaskId, bool)>,
        now_ns: u64,
    ) -> Self {
        Coordinator {
            settings,
            next_id: last_id + 1,
            tasks: tasks.into_iter().collect(),
            pending: None,
            retained,
            pinned: BTreeSet::new(),
            last_begun_ns: now_ns,
            last_ended_ns: None,
            is_wanted: false,
            failures_in_row: 0,
            final_failures: 0,
            is_over: false,
        }
    }

    /// The highest id that was begun, and the checkpoints that are kept: for the next attempt.
    pub(crate) fn into_history(self) -> (u64, VecDeque<CheckpointId>) {
        (self.next_id - 1, self.retained)
    }

    /// When [`on_time`](Self::on_time) wants to be called next.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        if self.is_over {
            return None;
        }
        match &self.pending {
            Some(pending) if pending.is_saving => None,
            Some(pending) => Some(pending.begun_ns.saturating_add(self.settings.timeout_ns)),
            None => Some(self.begin_ns()),
        }
    }

    /// When the next one may begin.
    fn begin_ns(&self) -> u64 {
        if self.wants_final() {
            let ended_ns = self.last_ended_ns.filter(|_| self.final_failures > 0);
            return ended_ns.map_or(0, |ended| ended.saturating_add(FINAL_PAUSE_NS));
        }
        if self.is_wanted {
            return 0;
        }
        let periodic_ns = self.last_begun_ns.saturating_add(self.settings.interval_ns);
        let paused_ns = self.last_ended_ns.map(|at| at.saturating_add(self.settings.pause_min_ns));
        periodic_ns.max(paused_ns.unwrap_or(0))
    }

    fn wants_final(&self) -> bool {
        !self.tasks.is_empty() && !self.tasks.values().any(|has_input| *has_input)
    }

    /// Somebody wants a checkpoint now.
    pub(crate) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// Does what is due by the clock.
    pub(crate) fn on_time(&mut self, now_ns: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(pending) = &self.pending
            && !pending.is_saving
            && now_ns >= pending.begun_ns.saturating_add(self.settings.timeout_ns)
        {
            let timeout_ms = self.settings.timeout_ns / 1_000_000;
            let (missing, tasks) = (pending.missing.len(), self.tasks.len());
            self.abort(FailureCause::Timeout { missing, tasks, timeout_ms }, now_ns, &mut actions);
        }
        if self.pending.is_none()
            && !self.is_over
            && !self.tasks.is_empty()
            && now_ns >= self.begin_ns()
        {
            self.begin(now_ns, &mut actions);
        }
        actions
    }

    fn begin(&mut self, now_ns: u64, actions: &mut Vec<Action>) {
        let checkpoint = CheckpointId(self.next_id);
        self.next_id += 1;
        let is_final = self.wants_final();
        if is_final && planted(Fault::NoFinalCheckpoint) {
            self.is_over = true;
            actions.push(Action::Order(TaskOrder::EndInput));
            return;
        }
        self.is_wanted = false;
        self.last_begun_ns = now_ns;
        self.pending = Some(Pending {
            checkpoint,
            is_final,
            begun_ns: now_ns,
            missing: self.tasks.keys().copied().collect(),
            pieces: Vec::new(),
            is_saving: false,
        });
        let barrier = Barrier { checkpoint, is_final };
        actions.push(Action::BeginBarrier(barrier));
        actions.push(Action::Order(TaskOrder::Barrier(barrier)));
    }

    /// The checkpoint that is under way is to be kept, if it completes, until it is [unpinned](Self::unpin).
    pub(crate) fn pin(&mut self, checkpoint: CheckpointId) {
        self.pinned.insert(checkpoint);
    }

    /// Nobody needs a checkpoint any more that is not kept anyway.
    pub(crate) fn unpin(&mut self, checkpoint: CheckpointId) -> Vec<Action> {
        self.pinned.remove(&checkpoint);
        let mut actions = Vec::new();
        self.discard(&mut actions);
        actions
    }

    /// Discards the oldest that are too many.
    fn discard(&mut self, actions: &mut Vec<Action>) {
        let too_many = self.retained.len().saturating_sub(self.settings.retained);
        let newest = self.retained.split_off(too_many);
        let (pinned, older) = (&self.pinned, std::mem::take(&mut self.retained));
        let (kept, discarded): (VecDeque<_>, VecDeque<_>) =
            older.into_iter().partition(|id| pinned.contains(id));
        actions.extend(discarded.into_iter().map(Action::Discard));
        self.retained = kept.into_iter().chain(newest).collect();
    }

    /// The control plane's own pieces of the checkpoint that begins.
    pub(crate) fn add(&mut self, pieces: Vec<SnapshotPiece>) {
        if let Some(pending) = &mut self.pending {
            pending.pieces.extend(pieces);
        }
    }

    /// A task has delivered.
    pub(crate) fn on_snapshot(&mut self, task: TaskId, snapshot: TaskSnapshot) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(pending) = &mut self.pending else { return actions };
        // Of one that was given up.
        if pending.checkpoint != snapshot.checkpoint || !pending.missing.remove(&task) {
            return actions;
        }
        pending.pieces.extend(snapshot.pieces);
        self.save_if_gathered(&mut actions);
        actions
    }

    fn save_if_gathered(&mut self, actions: &mut Vec<Action>) {
        let Some(pending) = &mut self.pending else { return };
        let is_early = pending.missing.len() == 1 && planted(Fault::EarlyCompletion);
        if !(pending.missing.is_empty() || is_early) || pending.is_saving {
            return;
        }
        pending.is_saving = true;
        actions.push(Action::Save(Gathered {
            checkpoint: pending.checkpoint,
            is_final: pending.is_final,
            pieces: std::mem::take(&mut pending.pieces),
        }));
    }

    /// A task cannot take part.
    pub(crate) fn on_declined(&mut self, declined: Declined, now_ns: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        let Declined { checkpoint, operator, subtask, cause } = declined;
        // Once it is being saved all tasks have delivered, and only the disk can fail it.
        let is_open = |pending: &Pending| pending.checkpoint == checkpoint && !pending.is_saving;
        if self.pending.as_ref().is_some_and(is_open) {
            let cause = FailureCause::Declined { operator, subtask, cause: cause.to_string() };
            self.abort(cause, now_ns, &mut actions);
        }
        actions
    }

    /// The sources of a task have read all their input, or stopped to.
    pub(crate) fn on_input_ended(&mut self, task: TaskId) {
        if let Some(has_input) = self.tasks.get_mut(&task) {
            *has_input = false;
        }
    }

    /// A task has come to its end: nothing more is expected of it.
    pub(crate) fn on_finished(&mut self, task: TaskId) -> Vec<Action> {
        let mut actions = Vec::new();
        self.tasks.remove(&task);
        if let Some(pending) = &mut self.pending {
            pending.missing.remove(&task);
            self.save_if_gathered(&mut actions);
        }
        actions
    }

    /// What was to be saved is durable, or is not.
    pub(crate) fn on_saved(
        &mut self,
        checkpoint: CheckpointId,
        result: Result<(), String>,
        now_ns: u64,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        let is_pending =
            self.pending.as_ref().is_some_and(|pending| pending.checkpoint == checkpoint);
        if !is_pending {
            return actions;
        }
        match result {
            Err(cause) => self.abort(FailureCause::NotSaved(cause), now_ns, &mut actions),
            Ok(()) => self.complete(now_ns, &mut actions),
        }
        actions
    }

    fn complete(&mut self, now_ns: u64, actions: &mut Vec<Action>) {
        let Some(Pending { checkpoint, is_final, .. }) = self.pending.take() else { return };
        self.last_ended_ns = Some(now_ns);
        (self.failures_in_row, self.final_failures) = (0, 0);
        actions.push(Action::Order(TaskOrder::Completed(checkpoint)));
        self.retained.push_back(checkpoint);
        self.discard(actions);
        if is_final {
            self.is_over = true;
            actions.push(Action::Order(TaskOrder::EndInput));
        }
    }

    fn abort(&mut self, cause: FailureCause, now_ns: u64, actions: &mut Vec<Action>) {
        let Some(Pending { checkpoint, is_final, .. }) = self.pending.take() else { return };
        self.pinned.remove(&checkpoint);
        self.last_ended_ns = Some(now_ns);
        actions.push(Action::Order(TaskOrder::Aborted(checkpoint)));
        self.failures_in_row += 1;
        self.final_failures += u32::from(is_final);
        let last = Box::new(cause.clone());
        let cause_of_end = if self.final_failures >= FINAL_ATTEMPTS_MAX {
            Some(FailureCause::Final { count: self.final_failures, last })
        } else if self.settings.tolerated_failures.is_some_and(|most| self.failures_in_row > most) {
            Some(FailureCause::TooMany { count: self.failures_in_row, last })
        } else {
            None
        };
        actions.push(match cause_of_end {
            Some(cause) => {
                self.is_over = true;
                Action::Fail(CheckpointFailure { checkpoint, cause })
            }
            None => Action::Warn(CheckpointFailure { checkpoint, cause }),
        });
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
