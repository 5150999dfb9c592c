//! [`TwoPhase`]: a two-phase sink as the engine drives it.
//!
//! **Invariant**: actions of the [protocol](super::protocol) are carried out in the order given, and each answer is told
//! before the next event is.

use super::protocol::{Action, CommitProtocol, CommitRetries, Event, Pending};
use super::retry::RetryClock;
use super::stored::{Named, Transactions, archive, restore};
use super::{Recovery, TransactionContext, TransactionError, TwoPhaseCommitSink, crash_points};
use crate::function::{
    ArchivedState, RuntimeContext, Sink, SinkGuarantee, SinkPromise, SinkStateContext, SinkStatus,
};
use crate::record::{Barrier, CheckpointId};
use crate::time::duration_ms;
use crate::{BoxError, Result};
use std::collections::VecDeque;
use std::fmt;
use thalweg_io::{Fault, crash_point, planted};

/// Makes a [`TwoPhaseCommitSink`] a [`Sink`]: `stream.sink_to(TwoPhase::new(my_sink))`.
pub struct TwoPhase<S: TwoPhaseCommitSink> {
    sink: S,
    guarantee: SinkGuarantee,
    /// `None` before `initialize_state`.
    running: Option<Running<S::Transaction>>,
}

/// What a subtask has on its core.
struct Running<X> {
    protocol: CommitProtocol<Named<X>>,
    context: TransactionContext,
    has_checkpoints: bool,
    open: Option<Named<X>>,
    /// Records in the open transaction.
    record_count: u64,
    retry: RetryClock,
    last_cause: Option<BoxError>,
    has_ended: bool,
}

impl<S: TwoPhaseCommitSink + fmt::Debug> fmt::Debug for TwoPhase<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TwoPhase").field("sink", &self.sink).finish_non_exhaustive()
    }
}

/// For the subtasks: a clone is not open.
impl<S: TwoPhaseCommitSink + Clone> Clone for TwoPhase<S> {
    fn clone(&self) -> Self {
        TwoPhase { sink: self.sink.clone(), guarantee: self.guarantee, running: None }
    }
}

impl<S: TwoPhaseCommitSink> TwoPhase<S> {
    /// A sink that publishes as `sink` does.
    pub fn new(sink: S) -> Self {
        Self::promising(sink, SinkGuarantee::TwoPhase)
    }

    pub(super) fn promising(sink: S, guarantee: SinkGuarantee) -> Self {
        TwoPhase { sink, guarantee, running: None }
    }

    fn split(&mut self) -> Result<(&mut S, &mut Running<S::Transaction>)> {
        match &mut self.running {
            Some(running) => Ok((&mut self.sink, running)),
            None => Err("a two-phase sink was used before its state was initialized".into()),
        }
    }

    fn on(&mut self, event: Event<Named<S::Transaction>>) -> Result<()> {
        let (sink, running) = self.split()?;
        running.on(sink, event)
    }
}

impl<X: Clone> Running<X> {
    fn on<S>(&mut self, sink: &mut S, event: Event<Named<X>>) -> Result<()>
    where
        S: TwoPhaseCommitSink<Transaction = X>,
    {
        let mut due: VecDeque<_> = self.protocol.on(event).into();
        while let Some(action) = due.pop_front() {
            if let Some(answer) = self.act(sink, action)? {
                due.extend(self.protocol.on(answer));
            }
        }
        Ok(())
    }

    /// Carries out an action; what came of it is told to the protocol.
    fn act<S>(&mut self, sink: &mut S, action: Action<Named<X>>) -> Result<Option<Event<Named<X>>>>
    where
        S: TwoPhaseCommitSink<Transaction = X>,
    {
        match action {
            Action::Begin => self.begin(sink)?,
            Action::PreCommit => return self.pre_commit(sink),
            Action::Abort(transaction) => sink.recover_and_abort(&transaction.handle)?,
            Action::AbortOpen => self.abort_open(sink)?,
            Action::Commit(pending) => return Ok(Some(self.commit(sink, &pending))),
            Action::Retry { delay_ms } => self.retry.wait(delay_ms),
            Action::GiveUp { pending, attempts } => return Err(self.give_up(pending, attempts)),
        }
        Ok(None)
    }

    fn begin<S>(&mut self, sink: &mut S) -> Result<()>
    where
        S: TwoPhaseCommitSink<Transaction = X>,
    {
        let handle = sink.begin(&self.context)?;
        self.open = Some(Named { name: self.context.name(), handle });
        self.context.sequence += 1;
        self.record_count = 0;
        Ok(())
    }

    /// A barrier without a transaction (behind the last one, whose checkpoint failed) has nothing to commit.
    fn pre_commit<S>(&mut self, sink: &mut S) -> Result<Option<Event<Named<X>>>>
    where
        S: TwoPhaseCommitSink<Transaction = X>,
    {
        if self.open.is_none() {
            self.begin(sink)?;
        }
        let checkpoint = self.protocol.barrier();
        let Some(mut transaction) = self.open.take() else { return Ok(None) };
        if let Err(cause) = sink.pre_commit(&mut transaction.handle, checkpoint) {
            self.open = Some(transaction); // to be aborted
            return Err(cause);
        }
        crash_point(crash_points::PRE_COMMITTED);
        self.record_count = 0;
        Ok(Some(Event::PreCommitted(transaction)))
    }

    fn commit<S>(&mut self, sink: &mut S, pending: &Pending<Named<X>>) -> Event<Named<X>>
    where
        S: TwoPhaseCommitSink<Transaction = X>,
    {
        let Named { name, handle } = &pending.transaction;
        crash_point(crash_points::COMMIT_SENT);
        let committed = match pending.is_recovered {
            true => sink.recover_and_commit(handle),
            false => sink.commit(handle),
        };
        match committed {
            Ok(()) => {
                crash_point(crash_points::COMMIT_ACKED);
                Event::Committed
            }
            Err(cause) => {
                let checkpoint = pending.checkpoint.0;
                tracing::warn!(transaction = %name, checkpoint, %cause, "a commit failed");
                self.last_cause = Some(cause);
                Event::CommitFailed
            }
        }
    }

    fn abort_open<S>(&mut self, sink: &mut S) -> Result<()>
    where
        S: TwoPhaseCommitSink<Transaction = X>,
    {
        let Some(open) = self.open.take() else { return Ok(()) };
        if self.record_count > 0 {
            let (transaction, record_count) = (open.name.clone(), self.record_count);
            self.open = Some(open);
            return Err(TransactionError::BehindTheEnd { transaction, record_count }.into());
        }
        sink.abort(&open.handle)
    }

    fn give_up(&mut self, pending: Pending<Named<X>>, attempts: u32) -> BoxError {
        let Pending { checkpoint, transaction, .. } = pending;
        let cause = self.last_cause.take().unwrap_or_else(|| "the cause is not known".into());
        TransactionError::Commit { transaction: transaction.name, checkpoint, attempts, cause }
            .into()
    }
}

impl<S: TwoPhaseCommitSink> TwoPhase<S> {
    fn retries(&self) -> CommitRetries {
        CommitRetries {
            attempts_max: self.sink.commit_attempts_max().max(1),
            delay_ms: duration_ms(self.sink.commit_retry_delay()).max(1),
        }
    }

    /// What this subtask takes over of the states of all there were.
    fn recover(
        &mut self,
        context: &SinkStateContext<'_>,
        states: Vec<(usize, Transactions<S::Transaction>)>,
    ) -> Result<()> {
        let (mine, others): (Vec<_>, Vec<_>) =
            states.into_iter().partition(|(subtask, _)| context.takes_over(*subtask));
        let (mut pending, mut open) = (Vec::new(), Vec::new());
        for (_, state) in mine {
            pending.extend(state.pending);
            open.extend(state.open);
        }
        let own_count = pending.len();
        let others = others.into_iter().flat_map(|(_, state)| state.pending);
        let own = pending.iter().map(|(_, named)| named.handle.clone());
        let known: Vec<_> = own.chain(others.map(|(_, named)| named.handle)).collect();
        let recovery = Recovery {
            operator_name: context.operator_name(),
            subtask_index: context.subtask_index(),
            parallelism: context.parallelism(),
            restored_checkpoint: context.restored_checkpoint(),
            pending: &known,
            own_count,
        };
        if !planted(Fault::TransactionReused) {
            self.sink.abort_unknown(&recovery)?;
        }
        self.on(match context.restored_checkpoint() {
            Some(checkpoint) => Event::Restored { checkpoint, pending, open },
            None => Event::Started,
        })
    }
}

impl<S: TwoPhaseCommitSink> Sink<S::In> for TwoPhase<S> {
    fn promise(&self) -> SinkPromise {
        let transaction_timeout = self.sink.transaction_timeout();
        SinkPromise { guarantee: self.guarantee, transaction_timeout }
    }

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        self.sink.open(context)
    }

    fn initialize_state(&mut self, context: &SinkStateContext<'_>) -> Result<()> {
        let states = restore::<S::Transaction>(context)?;
        // Of all subtasks, so that no number is used twice whatever becomes of the parallelism.
        let mut sequence = states.iter().map(|(_, state)| state.next_sequence).max().unwrap_or(0);
        if planted(Fault::TransactionReused) {
            sequence = 0;
        }
        let place = TransactionContext {
            operator_name: context.operator_name().to_owned(),
            subtask_index: context.subtask_index(),
            parallelism: context.parallelism(),
            sequence,
        };
        self.running = Some(Running {
            protocol: CommitProtocol::new(self.retries()),
            context: place,
            has_checkpoints: context.has_checkpoints(),
            open: None,
            record_count: 0,
            retry: RetryClock::default(),
            last_cause: None,
            has_ended: false,
        });
        self.recover(context, states)
    }

    #[inline]
    fn write(&mut self, record: S::In, timestamp_ms: i64) -> Result<()> {
        let (sink, running) = self.split()?;
        if running.open.is_none() {
            running.begin(sink)?;
        }
        let Some(open) = &mut running.open else { return Ok(()) };
        running.record_count += 1;
        sink.write(&mut open.handle, record, timestamp_ms)
    }

    fn poll_ready(&mut self, now_ms: i64, _: bool) -> Result<SinkStatus> {
        let (sink, running) = self.split()?;
        if running.retry.is_due(now_ms) {
            running.on(sink, Event::RetryDue)?;
            running.retry.start(now_ms);
        }
        Ok(SinkStatus::Ready)
    }

    fn next_poll_ms(&self) -> Option<i64> {
        self.running.as_ref().and_then(|running| running.retry.due_ms())
    }

    fn snapshot_state(&mut self, barrier: Barrier) -> Result<ArchivedState> {
        let Barrier { checkpoint, is_final } = barrier;
        self.on(Event::Barrier { checkpoint, is_final })?;
        let (_, running) = self.split()?;
        archive(running.context.sequence, running.open.as_ref(), running.protocol.pending())
    }

    fn notify_checkpoint_complete(&mut self, checkpoint: CheckpointId) -> Result<()> {
        self.on(Event::Completed(checkpoint))
    }

    fn finish(&mut self) -> Result<SinkStatus> {
        let (sink, running) = self.split()?;
        if !std::mem::replace(&mut running.has_ended, true) {
            running.on(sink, Event::Ended { has_checkpoints: running.has_checkpoints })?;
        }
        let is_out = running.protocol.pending().len() == 0;
        Ok(if is_out { SinkStatus::Ready } else { SinkStatus::Full })
    }

    fn close(&mut self) -> Result<()> {
        let open = self.running.take().and_then(|running| running.open);
        let aborted = open.map_or(Ok(()), |open| self.sink.abort(&open.handle));
        aborted.and(self.sink.close())
    }
}
