//! [`SavepointHandle`]: a savepoint that was asked for, seen by whoever asked.
//!
//! ```text
//! JobHandle::savepoint ──wish──► job master ──► the next checkpoint, copied ──► answer ──► SavepointHandle
//! ```
//! **Invariants**
//! - Each wish is answered once: whoever drops it unanswered has said that the job is over.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::record::CheckpointId;

/// A complete savepoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Savepoint {
    /// Where it is.
    pub directory: PathBuf,
    /// The checkpoint that it is a copy of.
    pub checkpoint: CheckpointId,
    /// All its files.
    pub size_bytes: u64,
}

/// There is no savepoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SavepointError {
    /// Without checkpoints there is nothing that could be kept.
    #[error(
        "job '{job}' has no checkpoints, so there is no savepoint of it: call `enable_checkpointing`, or set `checkpoint_interval_ms`"
    )]
    NoCheckpoints {
        /// The job's name.
        job: String,
    },
    /// The job had ended, or ended before a checkpoint was complete.
    #[error(
        "job '{job}' is over, and there is no savepoint of it; a job that is started with its `checkpoint_directory` goes on from its last checkpoint"
    )]
    JobOver {
        /// The job's name.
        job: String,
    },
    /// Another savepoint is to be the last of the job.
    #[error("job '{job}' is being stopped with the savepoint {} already", directory.display())]
    Stopping {
        /// The job's name.
        job: String,
        /// Where the last savepoint will be.
        directory: PathBuf,
    },
    /// The checkpoint that was to become the savepoint failed.
    #[error("the savepoint {} was not taken, and job '{job}' goes on: {cause}", directory.display())]
    CheckpointFailed {
        /// The job's name.
        job: String,
        /// Where it was to be.
        directory: PathBuf,
        /// Why.
        cause: String,
    },
    /// The directory is not free, or the checkpoint could not be copied.
    #[error("the savepoint {} of job '{job}' was not written: {cause}", directory.display())]
    NotWritten {
        /// The job's name.
        job: String,
        /// Where it was to be.
        directory: PathBuf,
        /// Why.
        cause: String,
    },
    /// The savepoint is complete, but the job did not come to its end behind it: what its sinks held back may not be committed. A
    /// job that begins with the savepoint commits it.
    #[error("job '{job}' did not end well after its savepoint {} was complete: {cause}", savepoint.directory.display())]
    JobFailed {
        /// The job's name.
        job: String,
        /// The savepoint.
        savepoint: Savepoint,
        /// Why.
        cause: String,
    },
}

/// A savepoint that was asked for. It is a future on any executor, and threads [`wait`](Self::wait). Dropping it changes nothing: the
/// savepoint is taken all the same.
pub struct SavepointHandle {
    answer: Arc<Answer>,
}

impl SavepointHandle {
    /// Waits until the savepoint is complete, or will not be.
    ///
    /// # Errors
    /// See [`SavepointError`].
    pub fn wait(self) -> Result<Savepoint, SavepointError> {
        let mut state = self.answer.lock();
        loop {
            if let Some(result) = &state.result {
                return result.clone();
            }
            state = self.answer.given.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How it went, if that is known.
    pub(crate) fn result(&self) -> Option<Result<Savepoint, SavepointError>> {
        self.answer.lock().result.clone()
    }

    /// Is it known how it went?
    pub fn is_finished(&self) -> bool {
        self.result().is_some()
    }
}

impl Future for SavepointHandle {
    type Output = Result<Savepoint, SavepointError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.answer.lock();
        match &state.result {
            Some(result) => Poll::Ready(result.clone()),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl fmt::Debug for SavepointHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SavepointHandle").field("result", &self.answer.lock().result).finish()
    }
}

#[derive(Debug, Default)]
struct Answer {
    state: Mutex<AnswerState>,
    given: Condvar,
}

#[derive(Debug, Default)]
struct AnswerState {
    result: Option<Result<Savepoint, SavepointError>>,
    waker: Option<Waker>,
}

impl Answer {
    fn lock(&self) -> MutexGuard<'_, AnswerState> {
        // Each change under the lock is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Afterwards {
    GoOn,
    /// It ends where it is.
    Stop,
    /// Event time comes to its end first: all windows and timers fire.
    Drain,
}

/// Somebody wants a savepoint.
#[derive(Debug)]
pub(crate) struct SavepointWish {
    job: String,
    directory: PathBuf,
    afterwards: Afterwards,
    answer: Arc<Answer>,
}

impl SavepointWish {
    /// The wish, and the handle of whoever has it.
    pub(crate) fn new(
        job: &str,
        directory: &Path,
        afterwards: Afterwards,
    ) -> (Self, SavepointHandle) {
        let answer = Arc::<Answer>::default();
        let handle = SavepointHandle { answer: answer.clone() };
        (
            Self { job: job.to_owned(), directory: directory.to_path_buf(), afterwards, answer },
            handle,
        )
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn afterwards(&self) -> Afterwards {
        self.afterwards
    }

    /// What it was about, for errors.
    pub(crate) fn subject(&self) -> (String, PathBuf) {
        (self.job.clone(), self.directory.clone())
    }

    /// Tells whoever waits.
    pub(crate) fn answer(self, result: Result<Savepoint, SavepointError>) {
        self.give(result);
    }

    fn give(&self, result: Result<Savepoint, SavepointError>) {
        let waker = {
            let mut state = self.answer.lock();
            if state.result.is_some() {
                return;
            }
            state.result = Some(result);
            state.waker.take()
        };
        self.answer.given.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for SavepointWish {
    fn drop(&mut self) {
        let job = std::mem::take(&mut self.job);
        self.give(Err(SavepointError::JobOver { job }));
    }
}
