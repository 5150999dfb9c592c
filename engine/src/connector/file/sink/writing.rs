//! A file sink at work: rows into parts, parts into checkpoints, and their publication when these are complete.
//!
//! **Invariant**: what is due to be published is published in the order of checkpoints; a failure holds back all behind it.

use std::borrow::Cow;
use std::path::PathBuf;

use thalweg_io::storage::create_durable_dir_all;

use super::part::PendingFile;
use super::parts::Parts;
use super::recovery::Recovered;
use super::stored::archive;
use super::{BucketAssigner, FileSink, FileSinkError};
use crate::connector::file::encoder::{RowEncoder, RowFormat};
use crate::function::two_phase::protocol::{Action, CommitProtocol, CommitRetries, Event};
use crate::function::two_phase::retry::RetryClock;
use crate::function::{
    ArchivedState, RuntimeContext, Sink, SinkGuarantee, SinkPromise, SinkStateContext, SinkStatus,
    TransactionError,
};
use crate::record::{Barrier, CheckpointId};
use crate::{BoxError, Result};

/// What a subtask has on its core.
pub(super) struct Opened<E> {
    parts: Parts,
    protocol: CommitProtocol<Vec<PendingFile>>,
    retry: RetryClock,
    last_cause: Option<FileSinkError>,
    has_checkpoints: bool,
    /// Behind the last barrier.
    row_count: u64,
    encoder: E,
    /// The row being encoded; kept for its memory.
    row: Vec<u8>,
}

/// How often publishing is tried before the job fails, and how soon.
const RETRIES: CommitRetries = CommitRetries { attempts_max: 5, delay_ms: 100 };

impl<E> Opened<E> {
    fn on(&mut self, event: Event<Vec<PendingFile>>) -> Result<()> {
        let mut due = self.protocol.on(event);
        while let Some(action) = due.pop() {
            match action {
                Action::Commit(pending) => {
                    let event = match self.parts.publish(&pending.transaction) {
                        Ok(()) => Event::Committed,
                        Err(cause) => {
                            tracing::warn!(%cause, "files could not be published");
                            self.last_cause = Some(cause);
                            Event::CommitFailed
                        }
                    };
                    due.extend(self.protocol.on(event));
                }
                Action::Retry { delay_ms } => self.retry.wait(delay_ms),
                Action::GiveUp { pending, attempts } => {
                    let files = pending.transaction;
                    return Err(self.give_up(&files, pending.checkpoint, attempts));
                }
                // There is no transaction but the files.
                Action::Begin | Action::PreCommit | Action::Abort(_) | Action::AbortOpen => {}
            }
        }
        Ok(())
    }

    fn give_up(
        &mut self,
        files: &[PendingFile],
        checkpoint: CheckpointId,
        attempts: u32,
    ) -> BoxError {
        let directory = &self.parts.names.directory;
        let first = files.first().map_or_else(PathBuf::new, |file| file.path(directory));
        let transaction = match files.len() {
            0 | 1 => first.display().to_string(),
            count => format!("{} and {} more", first.display(), count - 1),
        };
        let cause = match self.last_cause.take() {
            Some(cause) => cause.into(),
            None => "the cause is not known".into(),
        };
        TransactionError::Commit { transaction, checkpoint, attempts, cause }.into()
    }

    /// Closes and publishes all, at the end of a job without checkpoints.
    fn finish_at_once(&mut self) -> Result<SinkStatus> {
        self.parts.close_all()?;
        Ok(SinkStatus::Ready)
    }

    /// The last barrier has closed all; its notice is waited for.
    fn finish_with_checkpoint(&mut self) -> Result<SinkStatus> {
        if let Some(part) = self.parts.open.values().next() {
            let (transaction, record_count) = (part.name.clone(), self.row_count);
            return Err(TransactionError::BehindTheEnd { transaction, record_count }.into());
        }
        let is_out = self.protocol.pending().len() == 0;
        Ok(if is_out { SinkStatus::Ready } else { SinkStatus::Full })
    }
}

fn not_open() -> BoxError {
    "a file sink was used before its state was initialized".into()
}

impl<T, F, B> Sink<T> for FileSink<F, B>
where
    T: 'static,
    F: RowFormat<Encoder: RowEncoder<T>>,
    B: BucketAssigner<T>,
{
    fn promise(&self) -> SinkPromise {
        SinkPromise::of(SinkGuarantee::TwoPhase)
    }

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(self.check_target(context.parallelism())?)
    }

    fn initialize_state(&mut self, context: &SinkStateContext<'_>) -> Result<()> {
        let (names, storage) = (self.names(context.subtask_index()), self.storage.clone());
        let has_checkpoints = context.has_checkpoints();
        let is_single = names.single.is_some();
        if !is_single {
            match has_checkpoints {
                true => create_durable_dir_all(&*storage, &names.directory),
                false => storage.create_dir_all(&names.directory),
            }
            .map_err(FileSinkError::Io)?;
        }
        let recovered = Recovered::from(context, &names.directory)?;
        if has_checkpoints && !is_single {
            let removed = recovered.remove_leftovers(context, &*storage, &names);
            removed.map_err(FileSinkError::Io)?;
        }
        let mut parts = Parts::new(
            storage,
            names,
            self.effective_policy(),
            (has_checkpoints, context.now_ms()),
        );
        parts.next_counter = recovered.next_counter;
        let mut opened = Opened {
            parts,
            protocol: CommitProtocol::new(RETRIES),
            retry: RetryClock::default(),
            last_cause: None,
            has_checkpoints,
            row_count: 0,
            encoder: self.format.encoder(),
            row: Vec::new(),
        };
        let Recovered { open, pending, is_new, .. } = recovered;
        if let Some(checkpoint) = context.restored_checkpoint() {
            opened.on(Event::Restored { checkpoint, pending, open: Vec::new() })?;
            open.into_iter().try_for_each(|part| opened.parts.resume(part))?;
        }
        if is_single && is_new {
            // It is there also if nothing is written, and shows at once whether it can be.
            opened.parts.begin("")?;
        }
        self.opened = Some(opened);
        Ok(())
    }

    fn write(&mut self, record: T, _: i64) -> Result<()> {
        let opened = self.opened.as_mut().ok_or_else(not_open)?;
        let bucket = match &opened.parts.names.single {
            Some(_) => Cow::Borrowed(""),
            None => self.buckets.bucket_of(&record),
        };
        let encode = |opened: &mut Opened<F::Encoder>, begins_file| {
            opened.row.clear();
            let encoded = opened.encoder.encode(&record, begins_file, &mut opened.row);
            encoded.map_err(|cause| FileSinkError::Encode { cause })
        };
        let begins_file = opened.parts.begins_file(&bucket);
        encode(opened, begins_file)?;
        if opened.parts.make_room(&bucket, opened.row.len())? {
            // It begins the next file, so it comes with a header.
            encode(opened, true)?;
        }
        opened.row_count += 1;
        Ok(opened.parts.append(&bucket, &opened.row)?)
    }

    fn poll_ready(&mut self, now_ms: i64, _: bool) -> Result<SinkStatus> {
        let opened = self.opened.as_mut().ok_or_else(not_open)?;
        opened.parts.close_due(now_ms)?;
        if opened.retry.is_due(now_ms) {
            opened.on(Event::RetryDue)?;
            opened.retry.start(now_ms);
        }
        Ok(SinkStatus::Ready)
    }

    fn next_poll_ms(&self) -> Option<i64> {
        let opened = self.opened.as_ref()?;
        opened.parts.next_due_ms().into_iter().chain(opened.retry.due_ms()).min()
    }

    fn snapshot_state(&mut self, barrier: Barrier) -> Result<ArchivedState> {
        let opened = self.opened.as_mut().ok_or_else(not_open)?;
        let Barrier { checkpoint, is_final } = barrier;
        let open = opened.parts.persist(is_final)?;
        opened.row_count = 0;
        let closed = opened.parts.take_closed();
        if !closed.is_empty() {
            opened.on(Event::Barrier { checkpoint, is_final })?;
            opened.on(Event::PreCommitted(closed))?;
        }
        let pending = opened.protocol.pending().map(|one| (one.checkpoint, &one.transaction));
        archive(opened.parts.next_counter, open, pending)
    }

    fn notify_checkpoint_complete(&mut self, checkpoint: CheckpointId) -> Result<()> {
        self.opened.as_mut().ok_or_else(not_open)?.on(Event::Completed(checkpoint))
    }

    fn finish(&mut self) -> Result<SinkStatus> {
        let opened = self.opened.as_mut().ok_or_else(not_open)?;
        match opened.has_checkpoints {
            true => opened.finish_with_checkpoint(),
            false => opened.finish_at_once(),
        }
    }

    fn close(&mut self) -> Result<()> {
        let Some(opened) = self.opened.take() else { return Ok(()) };
        Ok(opened.parts.give_up().map_err(FileSinkError::Io)?)
    }
}
