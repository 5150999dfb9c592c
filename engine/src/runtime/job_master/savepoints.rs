//! The savepoints that were asked of a job, from the wish to the answer.
//!
//! ```text
//! waiting ──a checkpoint begins──► underway ──complete──► being copied ──► answered
//!    ▲                                │ the attempt fails        │ the last one of a job
//!    └────────────────────────────────┘                          └──► held until the job is over
//! ```
//! 1. A wish waits for the next checkpoint to begin; that which is to be the job's last waits for the last one.
//! 2. When the checkpoint is complete the saver copies it; it is pinned meanwhile.
//! 3. If the job is to end with it, the answer is given when it has: before that its sinks may not have committed. An attempt that
//!    fails in between does more, so the copy is made once more of the checkpoint that is the last then.
//!
//! **Invariants**
//! - A wish is in one place, or in the hands of the saver, which gives it back.

use crate::checkpoint::coordinator::CheckpointFailure;
use crate::error::JobFailure;
use crate::record::{Barrier, CheckpointId};
use crate::runtime::savepoint::{Afterwards, Savepoint, SavepointError, SavepointWish};

/// See the module docs.
#[derive(Debug, Default)]
pub(super) struct Savepoints {
    waiting: Vec<SavepointWish>,
    underway: Vec<(CheckpointId, SavepointWish)>,
    /// Where the job's last savepoint is to be.
    last: Option<std::path::PathBuf>,
    /// The last one, if it is complete or cannot be.
    held: Option<(SavepointWish, Result<Savepoint, SavepointError>)>,
    /// What is in its directory is this job's.
    is_last_written: bool,
}

impl Savepoints {
    /// Takes a wish; `None` if it was answered at once, as the job is being stopped with another.
    pub(super) fn wish(&mut self, wish: SavepointWish) -> Option<Afterwards> {
        let afterwards = wish.afterwards();
        if afterwards != Afterwards::GoOn {
            if let Some(directory) = self.last.clone() {
                let (job, _) = wish.subject();
                wish.answer(Err(SavepointError::Stopping { job, directory }));
                return None;
            }
            self.last = Some(wish.directory().to_path_buf());
        }
        self.waiting.push(wish);
        Some(afterwards)
    }

    /// Has nobody asked for a savepoint that is the job's last?
    pub(super) fn is_last_free(&self) -> bool {
        self.last.is_none()
    }

    /// Does somebody wait for a checkpoint to begin, though the job goes on?
    pub(super) fn want_checkpoint(&self) -> bool {
        self.waiting.iter().any(|wish| wish.afterwards() == Afterwards::GoOn)
    }

    /// A checkpoint begins; whether it becomes a savepoint.
    pub(super) fn begun(&mut self, barrier: Barrier) -> bool {
        let is_for =
            |wish: &mut SavepointWish| barrier.is_final || wish.afterwards() == Afterwards::GoOn;
        let taken: Vec<_> = self.waiting.extract_if(.., is_for).collect();
        let is_taken = !taken.is_empty();
        self.underway.extend(taken.into_iter().map(|wish| (barrier.checkpoint, wish)));
        is_taken
    }

    /// A checkpoint is complete: who waits for it.
    pub(super) fn completed(&mut self, id: CheckpointId) -> Vec<SavepointWish> {
        self.underway.extract_if(.., |(of, _)| *of == id).map(|(_, wish)| wish).collect()
    }

    /// A checkpoint failed, and the job goes on. That which is to be the last is tried again.
    pub(super) fn failed(&mut self, failure: &CheckpointFailure) {
        for wish in self.completed(failure.checkpoint) {
            if wish.afterwards() != Afterwards::GoOn {
                self.waiting.push(wish);
                continue;
            }
            let (job, directory) = wish.subject();
            let cause = failure.to_string();
            wish.answer(Err(SavepointError::CheckpointFailed { job, directory, cause }));
        }
    }

    /// Is there something of this job in the directory of its last savepoint?
    pub(super) fn has_written_last(&self, wish: &SavepointWish) -> bool {
        wish.afterwards() != Afterwards::GoOn && self.is_last_written
    }

    /// A checkpoint was copied, or could not be.
    pub(super) fn written(
        &mut self,
        wish: SavepointWish,
        result: Result<Savepoint, SavepointError>,
    ) {
        match wish.afterwards() {
            Afterwards::GoOn => wish.answer(result),
            Afterwards::Stop | Afterwards::Drain => {
                self.is_last_written |= result.is_ok();
                self.held = Some((wish, result));
            }
        }
    }

    /// The attempt has failed and another one begins: what was not complete is begun again.
    pub(super) fn restart(&mut self) {
        self.waiting.extend(self.underway.drain(..).map(|(_, wish)| wish));
        self.waiting.extend(self.held.take().map(|(wish, _)| wish));
    }

    /// The job is over; with the failure, if that is how. Who still waits is told so.
    pub(super) fn end(&mut self, failure: Option<&JobFailure>) {
        let Some((wish, result)) = self.held.take() else { return };
        let result = match (result, failure) {
            (Ok(savepoint), Some(failure)) => {
                let (job, _) = wish.subject();
                Err(SavepointError::JobFailed { job, savepoint, cause: failure.to_string() })
            }
            (result, _) => result,
        };
        wish.answer(result);
    }
}
