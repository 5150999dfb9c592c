//! What the core of a sink and its lanes share.
//!
//! ```text
//! core: write, barrier, notice                lanes: one thread each, one producer each
//!   chunks, ends of epochs  ──queues[lane]──►   send, flush ──► flushed
//!   allow(n)                ──────────────────► commit       ──► committed
//!   looks once a batch      ◄──────────────────  progress, failure; the waker gets the core up
//! ```
//!
//! With transactions there are two lanes, and epoch `n` is lane `n % 2`'s: while one commits an epoch the other sends the
//! next. Epoch `n` is begun when all of `n - 1` is delivered, so that a partition has them in order, and committed when
//! `n - 1` is.
//!
//! **Invariants**
//! - The core never waits for a lane; a lane waits for nothing else than `changed` and the client.
//! - `flushed`, `allowed` and `committed` count epochs and never go back; `committed <= allowed`, `committed <= flushed`.
//! - The first failure is kept, ends all lanes, and reaches the core.

use super::super::error::KafkaError;
use super::chunk::Chunk;
use crate::record::CheckpointId;
use crate::runtime::CoreWaker;
use crate::sync::{Condvar, Mutex, MutexGuard, lock, wait, wait_for};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Lanes of a sink with transactions.
pub(super) const LANES: usize = 2;

/// What a lane is given, in order.
#[derive(Debug)]
pub(super) enum Work {
    /// Records of the lane's next epoch.
    Records(Arc<Chunk>),
    /// There are no more. To be flushed, and with transactions committed with this checkpoint when that is allowed.
    End { sequence: u64, checkpoint: CheckpointId },
}

/// Why a lane ends.
#[derive(Debug)]
pub(super) enum Stop {
    /// The sink was closed.
    Closed,
    /// It cannot go on.
    Failed(KafkaError),
}

/// What a lane has done, or why it ends.
pub(super) type Step<T = ()> = Result<T, Stop>;

/// See the module docs.
#[derive(Debug)]
pub(super) struct Bridge {
    state: Mutex<State>,
    changed: Condvar,
    core: Arc<CoreWaker>,
}

#[derive(Debug, Default)]
struct State {
    queues: [VecDeque<Work>; LANES],
    /// In the queues.
    unsent_bytes: usize,
    progress: Progress,
    /// Epochs that may be committed: all below.
    allowed: u64,
    failure: Option<KafkaError>,
    is_closed: bool,
    /// Memory of chunks that the core did not keep.
    spare: Vec<Vec<u8>>,
}

/// How far the lanes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// What the checkpoint had is committed, and the transactional ids are ours.
    pub(super) is_recovered: bool,
    /// Epochs that are delivered: all below.
    pub(super) flushed: u64,
    /// Epochs that are committed: all below.
    pub(super) committed: u64,
    pub(super) unsent_bytes: usize,
}

/// Buffers that lanes give back and the core has not fetched.
const SPARE_MAX: usize = 64;

impl Bridge {
    pub(super) fn new(core: Arc<CoreWaker>) -> Self {
        Bridge { state: Mutex::default(), changed: Condvar::new(), core }
    }

    /// Gives a lane something to do.
    pub(super) fn hand_over(&self, lane: usize, work: Work) {
        let mut state = lock(&self.state);
        if let Work::Records(chunk) = &work {
            state.unsent_bytes += chunk.bytes.len();
        }
        state.queues[lane].push_back(work);
        drop(state);
        self.changed.notify_all();
    }

    /// Epochs below `sequence` may be committed.
    pub(super) fn allow(&self, sequence: u64) {
        let mut state = lock(&self.state);
        state.allowed = state.allowed.max(sequence);
        drop(state);
        self.changed.notify_all();
    }

    /// How far are the lanes? And what they give back goes to `spare`.
    pub(super) fn look(&self, mut spare: impl FnMut(Vec<u8>)) -> Result<Progress, KafkaError> {
        let mut state = lock(&self.state);
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        state.spare.drain(..).for_each(&mut spare);
        Ok(Progress { unsent_bytes: state.unsent_bytes, ..state.progress })
    }

    /// The sink is gone: lanes end as soon as they can.
    pub(super) fn close(&self) {
        lock(&self.state).is_closed = true;
        self.changed.notify_all();
    }

    /// A lane cannot go on, so none does.
    pub(super) fn fail(&self, error: KafkaError) {
        lock(&self.state).failure.get_or_insert(error);
        self.changed.notify_all();
        self.core.wake_if_sleeping();
    }

    fn open(&self) -> Step<MutexGuard<'_, State>> {
        let state = lock(&self.state);
        match state.is_closed || state.failure.is_some() {
            true => Err(Stop::Closed),
            false => Ok(state),
        }
    }

    /// Is there still a sink to work for?
    pub(super) fn check_open(&self) -> Step {
        self.open().map(drop)
    }

    /// Waits a while, but not for a sink that is gone.
    pub(super) fn pause(&self, time: Duration) -> Step {
        drop(wait_for(&self.changed, self.open()?, time));
        self.check_open()
    }

    /// The lane's next piece of work; `None` if none has come after `limit`.
    pub(super) fn next_work(&self, lane: usize, limit: Duration) -> Step<Option<Work>> {
        let mut state = self.open()?;
        if state.queues[lane].is_empty() {
            drop(wait_for(&self.changed, state, limit));
            state = self.open()?;
        }
        let work = state.queues[lane].pop_front();
        if let Some(Work::Records(chunk)) = &work {
            state.unsent_bytes -= chunk.bytes.len();
        }
        Ok(work)
    }

    /// The lane has sent a chunk.
    pub(super) fn sent(&self, chunk: Arc<Chunk>) {
        if let Some(Chunk { bytes, .. }) = Arc::into_inner(chunk) {
            let mut state = lock(&self.state);
            if state.spare.len() < SPARE_MAX {
                state.spare.push(bytes);
            }
        }
        self.core.wake_if_sleeping();
    }

    /// Waits until the lanes are as far as it takes.
    fn wait_until(&self, is_there: impl Fn(&State) -> bool) -> Step {
        let mut state = self.open()?;
        while !is_there(&state) {
            drop(wait(&self.changed, state));
            state = self.open()?;
        }
        Ok(())
    }

    /// Waits until all epochs before this one are delivered.
    pub(super) fn wait_flushed_before(&self, sequence: u64) -> Step {
        self.wait_until(|state| state.progress.flushed >= sequence)
    }

    /// Waits until this epoch may be committed, and all before it are.
    pub(super) fn wait_turn_to_commit(&self, sequence: u64) -> Step {
        self.wait_until(|s| s.allowed > sequence && s.progress.committed >= sequence)
    }

    fn advance(&self, advance: impl FnOnce(&mut Progress)) {
        advance(&mut lock(&self.state).progress);
        self.changed.notify_all();
        self.core.wake_if_sleeping();
    }

    pub(super) fn recovered(&self) {
        self.advance(|progress| progress.is_recovered = true);
    }

    pub(super) fn flushed(&self, sequence: u64) {
        self.advance(|progress| progress.flushed = sequence + 1);
    }

    pub(super) fn committed(&self, sequence: u64) {
        self.advance(|progress| progress.committed = sequence + 1);
    }
}
