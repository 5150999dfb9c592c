//! A Kafka sink at work on its core: values into chunks, chunks to lanes, epochs into checkpoints and on to their commit.
//!
//! **Invariants**
//! - Nothing here waits. What lanes have done is looked up once a batch.
//! - The sink answers `Full` only while a lane can make room by itself: never while all lanes wait for a checkpoint, whose
//!   barrier would be held back with the records.
//! - An epoch is kept until its commit has succeeded, and is in every checkpoint until then.

use super::super::error::{KafkaError, KafkaErrorKind};
use super::bridge::{Bridge, LANES, Progress, Work};
use super::chunk::{CHUNK_BYTES, Chunk, ChunkPool};
use super::lane::{self, LanePlan};
use super::marker::transactional_ids;
use super::packer::{PackInto, RecordPacker};
use super::recovery::Restored;
use super::stored::{Epoch, Identity, StoredEpochs, archive};
use super::{Guarantee, KafkaSink, Plan, crash_points};
use crate::function::two_phase::protocol::{Action, CommitProtocol, CommitRetries, Event};
use crate::function::{
    ArchivedState, RuntimeContext, Sink, SinkGuarantee, SinkPromise, SinkStateContext, SinkStatus,
    TransactionError,
};
use crate::record::{Barrier, CheckpointId};
use crate::runtime::CoreWaker;
use crate::time::duration_ms;
use crate::{BoxError, Result};
use std::collections::VecDeque;
use std::sync::Arc;
use thalweg_io::crash_point;

/// What may wait for the lanes of a subtask before its job is held back; the client's queue is as large again and more.
const UNSENT_BYTES_MAX: usize = 8 << 20;
/// A marker without records is committed so often, lest the broker forget it: a day is the least that anybody keeps offsets.
const MARKER_AGE_MS_MAX: i64 = 60 * 60 * 1_000;
/// Commits are repeated by the lanes; the protocol is told of successes alone.
const RETRIES: CommitRetries = CommitRetries { attempts_max: 1, delay_ms: 1 };

/// What a subtask has on its core.
pub(super) struct Opened {
    bridge: Arc<Bridge>,
    identity: Identity,
    has_transactions: bool,
    has_checkpoints: bool,
    /// Are epochs kept for checkpoints?
    keeps: bool,
    kept_bytes_max: usize,
    transaction_timeout_ms: i64,
    pool: ChunkPool,
    /// Of the open epoch: not handed over yet.
    chunk: Chunk,
    /// Of the open epoch: handed over.
    handed: Vec<Arc<Chunk>>,
    handed_records: u64,
    /// Of the open epoch.
    begun_ms: i64,
    /// The number of the open epoch; all below are closed.
    sequence: u64,
    /// Of all epochs that are kept.
    kept_bytes: usize,
    protocol: CommitProtocol<Epoch>,
    /// Without transactions: how many epochs were closed at each barrier.
    barriers: VecDeque<(CheckpointId, u64)>,
    progress: Progress,
    /// As the last poll has it.
    now_ms: i64,
    /// When a marker was last asked for.
    marker_ms: i64,
    has_ended: bool,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.bridge.close();
    }
}

impl Opened {
    fn lane(&self) -> usize {
        match self.has_transactions {
            true => (self.sequence % LANES as u64) as usize,
            false => 0,
        }
    }

    fn open_records(&self) -> u64 {
        self.handed_records + self.chunk.records
    }

    /// Gives the lane what is packed; a chunk that is far from full leaves its memory here.
    fn hand_over(&mut self) {
        if self.chunk.records == 0 {
            return;
        }
        let chunk = match self.chunk.bytes.len() < CHUNK_BYTES / 2 {
            true => {
                let small = self.chunk.bytes.as_slice().to_vec();
                self.chunk.bytes.clear();
                Chunk { bytes: small, records: std::mem::take(&mut self.chunk.records) }
            }
            false => std::mem::replace(&mut self.chunk, self.pool.take()),
        };
        self.handed_records += chunk.records;
        let chunk = Arc::new(chunk);
        if self.keeps {
            self.kept_bytes += chunk.bytes.len();
            self.handed.push(chunk.clone());
        }
        self.bridge.hand_over(self.lane(), Work::Records(chunk));
    }

    /// Ends the open epoch, and begins the next.
    fn close_epoch(&mut self, checkpoint: CheckpointId) -> Epoch {
        self.hand_over();
        self.bridge.hand_over(self.lane(), Work::End { sequence: self.sequence, checkpoint });
        let chunks = Arc::new(std::mem::take(&mut self.handed));
        let epoch = Epoch { sequence: self.sequence, begun_ms: self.begun_ms, chunks };
        self.sequence += 1;
        self.handed_records = 0;
        self.begun_ms = self.now_ms;
        self.marker_ms = self.now_ms;
        epoch
    }

    fn on(&mut self, event: Event<Epoch>) -> Result<()> {
        let mut due: VecDeque<_> = self.protocol.on(event).into();
        while let Some(action) = due.pop_front() {
            match action {
                Action::PreCommit => {
                    let epoch = self.close_epoch(self.protocol.barrier());
                    due.extend(self.protocol.on(Event::PreCommitted(epoch)));
                }
                Action::Commit(pending) => self.bridge.allow(pending.transaction.sequence + 1),
                Action::AbortOpen if self.open_records() > 0 => return Err(self.behind_the_end()),
                // An epoch begins with its first record; old ones are the recovery's; a lane that cannot commit fails.
                Action::Begin | Action::Abort(_) | Action::AbortOpen => {}
                Action::Retry { .. } | Action::GiveUp { .. } => {}
            }
        }
        Ok(())
    }

    fn behind_the_end(&self) -> BoxError {
        let transaction = transactional_ids(&self.identity.prefix, 0)[self.lane()].clone();
        TransactionError::BehindTheEnd { transaction, record_count: self.open_records() }.into()
    }

    /// Looks up what the lanes have done.
    fn look(&mut self) -> Result<()> {
        let pool = &mut self.pool;
        match self.bridge.look(|spare| pool.put_bytes(spare)) {
            Ok(progress) => self.progress = progress,
            Err(error) => return Err(self.explained(error).into()),
        }
        loop {
            let committed = self.progress.committed;
            let first = self.protocol.pending().next();
            let Some(done) = first.filter(|first| first.transaction.sequence < committed) else {
                return Ok(());
            };
            let chunks = done.transaction.chunks.clone();
            self.on(Event::Committed)?;
            // The protocol had the last of the others.
            for chunk in Arc::into_inner(chunks).into_iter().flatten() {
                self.kept_bytes -= chunk.bytes.len();
                self.pool.put(chunk);
            }
        }
    }

    /// Whoever is fenced because its transaction was too old sees what others see who are fenced.
    fn explained(&self, error: KafkaError) -> KafkaError {
        let pending = self.protocol.pending().map(|pending| pending.transaction.begun_ms);
        let begun_ms = pending.chain([self.begun_ms]).min().unwrap_or(self.now_ms);
        let is_old = self.now_ms.saturating_sub(begun_ms) >= self.transaction_timeout_ms;
        match error.kind() {
            KafkaErrorKind::Fenced if self.has_transactions && is_old => {
                error.kind_is(KafkaErrorKind::TransactionExpired)
            }
            _ => error,
        }
    }

    /// See the invariants.
    fn status(&self) -> SinkStatus {
        // Of the epoch two before the open one, which has its lane.
        let waits_for_checkpoint = self.has_transactions
            && self
                .protocol
                .pending()
                .any(|pending| pending.transaction.sequence + (LANES as u64) <= self.sequence);
        match self.progress.unsent_bytes > UNSENT_BYTES_MAX && !waits_for_checkpoint {
            true => SinkStatus::Full,
            false => SinkStatus::Ready,
        }
    }

    fn check_kept(&self) -> Result<()> {
        if self.kept_bytes <= self.kept_bytes_max {
            return Ok(());
        }
        let message = format!(
            "{} bytes wait for a checkpoint to be complete, more than `write_ahead_bytes_max` allows",
            self.kept_bytes
        );
        let error =
            KafkaError::new(KafkaErrorKind::Setting, message).of_topic(&self.identity.topic);
        let remedy = "take checkpoints more often, look why they are not completed, or allow more";
        Err(error.remedy_is(remedy).into())
    }

    /// Is all that was closed out?
    fn is_out(&self) -> bool {
        let has_all = match self.has_transactions {
            true => self.protocol.pending().len() == 0,
            false => self.progress.flushed >= self.sequence,
        };
        has_all && self.progress.is_recovered
    }
}

fn not_open() -> BoxError {
    "a Kafka sink was used before its state was initialized".into()
}

/// What the subtask takes over of the checkpoint, and as what it goes on.
fn restore(
    context: &SinkStateContext<'_>,
    plan: &Plan,
    prefix: &str,
) -> Result<(Identity, Restored)> {
    let states = context.states::<StoredEpochs>()?;
    let old_parallelism = states.iter().map(|(subtask, _)| subtask + 1).max().unwrap_or(0);
    let own = states.iter().find(|(subtask, _)| *subtask == context.subtask_index());
    let run = own.or(states.first()).map(|(_, state)| state.identity.run);
    let identity = Identity {
        prefix: prefix.to_owned(),
        topic: plan.topic.clone(),
        run: run.unwrap_or_else(|| context.now_ms().unsigned_abs()),
    };
    let taken_over = states.into_iter().filter(|(subtask, _)| context.takes_over(*subtask));
    let checkpoint = context.restored_checkpoint().map_or(0, |checkpoint| checkpoint.0);
    Ok((identity, Restored { checkpoint, taken_over: taken_over.collect(), old_parallelism }))
}

impl<P> KafkaSink<P> {
    fn opened(&mut self) -> Result<&mut Opened> {
        self.opened.as_mut().ok_or_else(not_open)
    }

    /// Starts the lanes.
    fn start(&self, context: &SinkStateContext<'_>, core: Arc<CoreWaker>) -> Result<Opened> {
        let plan = &self.plan;
        let (has_transactions, (identity, restored)) = match &plan.guarantee {
            Guarantee::ExactlyOnce { prefix } => (true, restore(context, plan, prefix)?),
            Guarantee::BestEffort | Guarantee::AtLeastOnce => {
                let (prefix, topic) = (String::new(), plan.topic.clone());
                (false, (Identity { prefix, topic, run: 0 }, Restored::default()))
            }
        };
        let begins_anew = context.restored_checkpoint().is_none();
        let bridge = Arc::new(Bridge::new(core));
        let lanes = LanePlan {
            operator: context.operator_name().to_owned(),
            settings: plan.settings.clone(),
            identity: identity.clone(),
            subtask: context.subtask_index(),
            parallelism: context.parallelism(),
            has_transactions,
            transaction_timeout: plan.transaction_timeout,
            delivery_timeout: plan.delivery_timeout,
            startup_timeout: plan.startup_timeout,
            missing_marker: plan.missing_marker,
            is_idempotent: plan.guarantee == Guarantee::AtLeastOnce,
        };
        lane::start(&bridge, lanes, restored)?;
        let mut opened = Opened {
            bridge,
            identity,
            has_transactions,
            has_checkpoints: context.has_checkpoints(),
            keeps: has_transactions && context.has_checkpoints(),
            kept_bytes_max: plan.write_ahead_bytes_max,
            transaction_timeout_ms: duration_ms(plan.transaction_timeout),
            pool: ChunkPool::default(),
            chunk: Chunk::default(),
            handed: Vec::new(),
            handed_records: 0,
            begun_ms: context.now_ms(),
            sequence: 0,
            kept_bytes: 0,
            protocol: CommitProtocol::new(RETRIES),
            barriers: VecDeque::new(),
            progress: Progress::default(),
            now_ms: context.now_ms(),
            marker_ms: context.now_ms(),
            has_ended: false,
        };
        // Old epochs are the recovery's.
        opened.on(match context.restored_checkpoint().filter(|_| !begins_anew) {
            Some(checkpoint) => {
                Event::Restored { checkpoint, pending: Vec::new(), open: Vec::new() }
            }
            None => Event::Started,
        })?;
        Ok(opened)
    }
}

impl<T: 'static, P: RecordPacker<T>> Sink<T> for KafkaSink<P> {
    fn promise(&self) -> SinkPromise {
        match self.plan.guarantee {
            Guarantee::ExactlyOnce { .. } => SinkPromise {
                guarantee: SinkGuarantee::TwoPhase,
                transaction_timeout: Some(self.plan.transaction_timeout),
            },
            Guarantee::AtLeastOnce => SinkPromise::of(SinkGuarantee::Any),
            Guarantee::BestEffort => SinkPromise::of(SinkGuarantee::BestEffort),
        }
    }

    fn details(&self) -> Option<String> {
        let Plan { settings, topic, guarantee, .. } = &self.plan;
        let place = format!("topic '{topic}' at {}", settings.bootstrap_servers());
        Some(match guarantee {
            Guarantee::ExactlyOnce { prefix } => {
                let [first, second] = transactional_ids(prefix, 0);
                format!(
                    "{place}; transactional ids '{first}', '{second}' and so on for each subtask, markers in groups \
                     '{prefix}-0' and so on; visible to readers with isolation.level=read_committed"
                )
            }
            Guarantee::AtLeastOnce => format!("{place}; acknowledged before each checkpoint"),
            Guarantee::BestEffort => format!("{place}; no checkpoint waits for it"),
        })
    }

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        self.core = Some(context.waker().clone());
        match self.mistake.take() {
            Some(mistake) => Err(mistake.into()),
            None => Ok(()),
        }
    }

    fn initialize_state(&mut self, context: &SinkStateContext<'_>) -> Result<()> {
        let core = self.core.take().ok_or_else(not_open)?;
        self.opened = Some(self.start(context, core)?);
        Ok(())
    }

    #[inline]
    fn write(&mut self, record: T, timestamp_ms: i64) -> Result<()> {
        let KafkaSink { plan, packer, opened, .. } = self;
        let opened = opened.as_mut().ok_or_else(not_open)?;
        if opened.open_records() == 0 {
            opened.begun_ms = opened.now_ms;
        }
        let mut into = PackInto { chunk: &mut opened.chunk, sink_topic: &plan.topic };
        packer.pack(record, timestamp_ms, &mut into)?;
        if opened.chunk.bytes.len() >= CHUNK_BYTES {
            opened.hand_over();
            opened.check_kept()?;
        }
        Ok(())
    }

    fn poll_ready(&mut self, now_ms: i64, dry: bool) -> Result<SinkStatus> {
        let opened = self.opened()?;
        opened.now_ms = now_ms;
        opened.look()?;
        if dry {
            opened.hand_over();
        }
        Ok(opened.status())
    }

    fn snapshot_state(&mut self, barrier: Barrier) -> Result<ArchivedState> {
        let opened = self.opened()?;
        let Barrier { checkpoint, is_final } = barrier;
        let has_records = opened.open_records() > 0;
        if !opened.has_transactions {
            if has_records {
                opened.close_epoch(checkpoint);
            }
            opened.barriers.push_back((checkpoint, opened.sequence));
            return Ok(ArchivedState::none());
        }
        if has_records || opened.now_ms - opened.marker_ms >= MARKER_AGE_MS_MAX {
            opened.on(Event::Barrier { checkpoint, is_final })?;
        }
        opened.check_kept()?;
        let pending = opened.protocol.pending();
        let epochs: Vec<_> = pending.map(|one| (one.checkpoint.0, &one.transaction)).collect();
        let state = archive(&opened.identity, epochs.into_iter())?;
        crash_point(crash_points::SNAPSHOT);
        Ok(state)
    }

    fn is_snapshot_safe(&mut self, checkpoint: CheckpointId) -> Result<bool> {
        let is_best_effort = self.plan.guarantee == Guarantee::BestEffort;
        let opened = self.opened()?;
        opened.look()?;
        if opened.has_transactions {
            return Ok(opened.progress.is_recovered);
        }
        opened.barriers.retain(|(known, _)| *known >= checkpoint);
        let closed = opened.barriers.front().map_or(opened.sequence, |(_, closed)| *closed);
        Ok(is_best_effort || opened.progress.flushed >= closed)
    }

    fn notify_checkpoint_complete(&mut self, checkpoint: CheckpointId) -> Result<()> {
        let opened = self.opened()?;
        match opened.has_transactions {
            true => opened.on(Event::Completed(checkpoint)),
            false => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<SinkStatus> {
        let opened = self.opened()?;
        let has_checkpoints = opened.has_checkpoints;
        if !std::mem::replace(&mut opened.has_ended, true) {
            match opened.has_transactions {
                true => opened.on(Event::Ended { has_checkpoints })?,
                false => drop(opened.close_epoch(CheckpointId(0))),
            }
        }
        opened.look()?;
        Ok(if opened.is_out() { SinkStatus::Ready } else { SinkStatus::Full })
    }

    fn close(&mut self) -> Result<()> {
        self.opened = None; // its lanes end by themselves
        Ok(())
    }
}
