//! Sinks that publish each record once: two-phase commit with the engine's checkpoints, and write-ahead.
//!
//! ```text
//!  open ─► begin ─► write* ─┬─ barrier n ─► pre_commit ─► pending(n) ─── checkpoint n complete ─► commit
//!                           │               begin ─► write* ..            (or any later one)
//!                           └─ failure: abort. A new attempt: recover_and_commit what its checkpoint has pending,
//!                              recover_and_abort what it has open, abort_unknown all else that is found
//! ```
//!
//! 1. [`TwoPhaseCommitSink`] is what users write; [`TwoPhase`] makes it a [`Sink`](crate::function::Sink).
//! 2. `protocol` decides what is done when; it is pure.
//! 3. [`WriteAheadSink`] and [`WriteAhead`] are for systems without transactions: the records themselves wait in the
//!    checkpoint, and are sent when it is complete.
//!
//! **Invariants**
//! - What a checkpoint has pending is committed, by this attempt or the next; an attempt that cannot fails the job with
//!   [`TransactionError::Commit`].
//! - A transaction is in the checkpoint before it can be committed, so that no crash forgets a commit.

mod adapter;
pub(crate) mod protocol;
pub(crate) mod retry;
mod stored;
mod write_ahead;
mod write_ahead_file;

#[cfg(test)]
#[cfg(not(loom))]
mod job_tests;
#[cfg(test)]
#[cfg(not(loom))]
mod model_tests;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;

pub use adapter::TwoPhase;
pub use write_ahead::{
    CheckpointCommitter, CommitterContext, WriteAhead, WriteAheadBatch, WriteAheadError,
    WriteAheadSink,
};
pub use write_ahead_file::{FileCommitter, FileCommitterError};

use crate::function::RuntimeContext;
use crate::record::CheckpointId;
use crate::state::StateValue;
use crate::{BoxError, Result};
use std::fmt;
use std::time::Duration;

/// Where a two-phase sink can be made to crash (see [`thalweg_io::crash_point`]).
pub mod crash_points {
    /// The transaction of a barrier is pre-committed, and not in a checkpoint yet.
    pub const PRE_COMMITTED: &str = "sink.precommit";
    /// A commit is about to be sent.
    pub const COMMIT_SENT: &str = "sink.commit_sent";
    /// A commit has succeeded, and nobody knows of it yet.
    pub const COMMIT_ACKED: &str = "sink.commit_acked";

    /// All of them, in the order in which they are passed.
    pub const ALL: [&str; 3] = [PRE_COMMITTED, COMMIT_SENT, COMMIT_ACKED];
}

/// A sink of a system with transactions. Give it to `sink_to` within [`TwoPhase`].
///
/// All records between two barriers go into one transaction. It is pre-committed at the barrier and committed when the
/// barrier's checkpoint is complete, or a later one: then each record counts once, provided that the sources of the job
/// replay. Without checkpoints all records go into one transaction, which is committed at the end of input.
///
/// What implementations must keep:
///
/// - **After `pre_commit` a commit cannot fail** but for reasons that pass: the records are safe in the system behind the
///   sink, also when the process is killed.
/// - **`commit`, `abort` and their `recover_` forms may come twice** for one transaction, also from another process: a crash
///   between the act and its note repeats it. A transaction that is committed already is no error of `commit`, one that is
///   gone is none of `abort`.
/// - **A handle says all there is to know**: it is archived in checkpoints, and another process commits with it.
///
/// `commit` is tried a few times ([`commit_attempts_max`](Self::commit_attempts_max)); then the job fails, and the next
/// attempt commits again. No method may block for long: they run on a core that has other work.
///
/// # Examples
/// ```
/// use std::collections::BTreeMap;
/// use std::sync::{Arc, Mutex};
/// use thalweg::function::{TransactionContext, TwoPhase, TwoPhaseCommitSink};
/// use thalweg::prelude::*;
/// use thalweg::record::CheckpointId;
///
/// /// A database with transactions: by name, committed or not.
/// #[derive(Clone, Default)]
/// struct Tables(Arc<Mutex<BTreeMap<String, (Vec<u64>, bool)>>>);
///
/// impl TwoPhaseCommitSink for Tables {
///     type In = u64;
///     type Transaction = String;
///
///     fn begin(&mut self, context: &TransactionContext) -> thalweg::Result<String> {
///         self.0.lock().unwrap().insert(context.name(), (Vec::new(), false));
///         Ok(context.name())
///     }
///     fn write(&mut self, name: &mut String, record: u64, _: i64) -> thalweg::Result<()> {
///         self.0.lock().unwrap().get_mut(name).ok_or("no such transaction")?.0.push(record);
///         Ok(())
///     }
///     fn pre_commit(&mut self, _: &mut String, _: CheckpointId) -> thalweg::Result<()> {
///         Ok(()) // a real one flushes here
///     }
///     fn commit(&mut self, name: &String) -> thalweg::Result<()> {
///         self.0.lock().unwrap().get_mut(name).ok_or("no such transaction")?.1 = true;
///         Ok(())
///     }
///     fn abort(&mut self, name: &String) -> thalweg::Result<()> {
///         self.0.lock().unwrap().remove(name);
///         Ok(())
///     }
/// }
///
/// let tables = Tables::default();
/// let env = StreamExecutionEnvironment::new();
/// env.from_elements([1_u64, 2, 3]).sink_to(TwoPhase::new(tables.clone())).name("tables");
/// env.execute("in one transaction")?;
/// let written = tables.0.lock().unwrap();
/// assert_eq!(written.get("tables-0-0"), Some(&(vec![1, 2, 3], true)));
/// # Ok::<(), thalweg::Error>(())
/// ```
pub trait TwoPhaseCommitSink: 'static {
    /// Its records.
    type In: 'static;
    /// Names a transaction in the system behind the sink. Checkpoints hold it: write `#[thalweg::record]` on your type.
    type Transaction: StateValue + Clone + Send;

    /// Called once on the sink's core, before anything else.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(())
    }

    /// Begins a transaction. If one of the same name is there, it is of an attempt that failed: abort it first.
    ///
    /// # Errors
    /// Any error fails the job.
    fn begin(&mut self, context: &TransactionContext) -> Result<Self::Transaction>;

    /// Writes a record into the open transaction.
    ///
    /// # Errors
    /// Any error fails the job, and the open transaction is aborted.
    fn write(
        &mut self,
        transaction: &mut Self::Transaction,
        record: Self::In,
        timestamp_ms: i64,
    ) -> Result<()>;

    /// Makes all that was written into the transaction safe; nothing more is written into it. `checkpoint` is the one that
    /// it is committed with, 0 at the end of a job without checkpoints.
    ///
    /// # Errors
    /// Any error fails the job, which goes on from the checkpoint before.
    fn pre_commit(
        &mut self,
        transaction: &mut Self::Transaction,
        checkpoint: CheckpointId,
    ) -> Result<()>;

    /// Makes a pre-committed transaction visible. Done already is done.
    ///
    /// # Errors
    /// It is tried again, and then fails the job.
    fn commit(&mut self, transaction: &Self::Transaction) -> Result<()>;

    /// Gives a transaction up, with what was written into it. Gone already is gone.
    ///
    /// # Errors
    /// Any error fails the job, if it has not failed yet.
    fn abort(&mut self, transaction: &Self::Transaction) -> Result<()>;

    /// Commits a transaction that the checkpoint has pending which the job goes on from. Default: [`commit`](Self::commit).
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    fn recover_and_commit(&mut self, transaction: &Self::Transaction) -> Result<()> {
        self.commit(transaction)
    }

    /// Aborts the transaction that was open at the barrier of the checkpoint which the job goes on from; it may have been
    /// pre-committed later. Default: [`abort`](Self::abort).
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn recover_and_abort(&mut self, transaction: &Self::Transaction) -> Result<()> {
        self.abort(transaction)
    }

    /// Aborts what the system behind the sink still has of earlier attempts of this subtask, and the checkpoint does not
    /// know: transactions begun after it. Called once, before the first `begin`. Default: nothing, for systems that abort
    /// by themselves what is open for too long, or in [`begin`](Self::begin) what has the same name.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn abort_unknown(&mut self, _recovery: &Recovery<'_, Self::Transaction>) -> Result<()> {
        Ok(())
    }

    /// After which time the system behind the sink aborts a transaction by itself. A job whose checkpoints may take longer
    /// is refused. Default: never.
    fn transaction_timeout(&self) -> Option<Duration> {
        None
    }

    /// How often a commit is tried before the job fails; at least once. Default: 5.
    fn commit_attempts_max(&self) -> u32 {
        5
    }

    /// How long after the first failed commit it is tried again; after each further one twice as long, 10 seconds at most.
    /// Default: 100 ms.
    fn commit_retry_delay(&self) -> Duration {
        Duration::from_millis(100)
    }

    /// Called once at last, also after failure and cancellation; after a failure the open transaction was aborted.
    ///
    /// # Errors
    /// Any error fails the job if it has not failed yet.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Where a transaction belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransactionContext {
    /// The sink's name in the plan.
    pub operator_name: String,
    /// Which of the parallel instances this is, from 0.
    pub subtask_index: usize,
    /// How many there are.
    pub parallelism: usize,
    /// Numbers the transactions of a subtask. It goes on where the checkpoint was, so that the number of a transaction that
    /// was never committed is used again by the next attempt.
    pub sequence: u64,
}

impl TransactionContext {
    /// A name for the transaction: operator, subtask and number. Unique in a job that is not begun anew.
    #[must_use]
    pub fn name(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for TransactionContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.operator_name, self.subtask_index, self.sequence)
    }
}

/// What [`TwoPhaseCommitSink::abort_unknown`] needs to know.
#[derive(Debug)]
pub struct Recovery<'a, X> {
    pub(crate) operator_name: &'a str,
    pub(crate) subtask_index: usize,
    pub(crate) parallelism: usize,
    pub(crate) restored_checkpoint: Option<CheckpointId>,
    /// Of all instances, those of this one first.
    pub(crate) pending: &'a [X],
    pub(crate) own_count: usize,
}

impl<X> Recovery<'_, X> {
    /// The sink's name in the plan.
    pub fn operator_name(&self) -> &str {
        self.operator_name
    }

    /// Is it this instance's part to clean up after instance `subtask_index` of an earlier attempt? Each has exactly one
    /// that is, also when there were more or fewer.
    pub fn takes_over(&self, subtask_index: usize) -> bool {
        subtask_index % self.parallelism == self.subtask_index
    }

    /// The checkpoint that the job goes on from; `None` if it begins anew. Then nothing of an earlier run is known, and
    /// what it has pre-committed will never be asked for again, unless it is started from its own checkpoint.
    pub fn restored_checkpoint(&self) -> Option<CheckpointId> {
        self.restored_checkpoint
    }

    /// What the checkpoint has pending, of all instances: not to be aborted. After changes of parallelism a transaction may
    /// be another instance's to commit than the one that its name says.
    pub fn pending(&self) -> &[X] {
        self.pending
    }

    /// Of these, what this instance is to commit.
    pub fn own_pending(&self) -> &[X] {
        &self.pending[..self.own_count]
    }
}

/// A two-phase sink cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransactionError {
    /// A commit has failed as often as it is tried.
    #[error(
        "transaction {transaction} of checkpoint {checkpoint} cannot be committed, {attempts} attempts have failed: {cause}; \
         its records are safe: correct the cause, and let the job go on from that checkpoint, which commits it again"
    )]
    Commit {
        /// Its name: operator, subtask, number.
        transaction: String,
        /// The checkpoint that is complete; 0 at the end of a job without checkpoints.
        checkpoint: CheckpointId,
        /// How often it was tried.
        attempts: u32,
        /// What the last attempt said.
        #[source]
        cause: BoxError,
    },
    /// Records have come behind the last barrier.
    #[error(
        "{record_count} records of transaction {transaction} have come behind the barrier of the last checkpoint and are not \
         committed; this is a mistake of the engine: please report it with the job's plan"
    )]
    BehindTheEnd {
        /// Its name: operator, subtask, number.
        transaction: String,
        /// How many.
        record_count: u64,
    },
}
