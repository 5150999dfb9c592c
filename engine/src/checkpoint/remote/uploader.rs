//! The thread that makes copies, and what it is told.
//!
//! ```text
//!            post                    copied
//!  nothing ───────► waiting ─► copying ─────► nothing, or what was posted meanwhile
//!                      ▲           │ failed
//!                      └── pause ──┘ (unless a newer one waits)
//! ```
//!
//! - One checkpoint waits at most: a newer one takes its place. So a slow store costs pins of two checkpoints, never more.
//! - A store that does not answer is asked again after pauses that double up to [`PAUSE_MAX`]; what will never work (another
//!   process has the place) ends it.
//!
//! **Invariants**
//! - The lock is held for moves of values only: nothing is removed, sent or waited for under it.
//! - `has_ended` is set after the last pin is gone.

use super::claim::{ClaimRequest, Claimed, claim};
use super::local::LocalCopy;
use super::upload::{Copier, Pinned};
use super::{Interrupt, RemoteError, garbage, index};
use crate::record::CheckpointId;
use crate::sync::{Condvar, Mutex, lock, wait, wait_for};
use crate::time::Clock;
use std::sync::Arc;
use std::time::Duration;

const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How often who waits looks whether it still should.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How the thread is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// When what waits is copied.
    Drained,
    /// At once.
    Now,
    /// When all copies are removed.
    Removed,
}

/// Between the thread and those who tell it things.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Option<Pinned>,
    /// The newest that is copied.
    copied: Option<CheckpointId>,
    /// Why the last copy failed.
    failure: Option<String>,
    /// Why none will ever work.
    refusal: Option<String>,
    /// Who waits for a copy is to give up.
    is_abandoned: bool,
    closing: Option<Closing>,
    has_ended: bool,
}

/// Why a copy that was waited for is not there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfinished {
    /// The store said so, for good.
    Refused(String),
    /// The time is over; the latest failure.
    NotInTime(String),
    /// Nobody wants it any more.
    CutShort,
}

impl Shared {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Shared { state: Mutex::new(State::default()), changed: Condvar::new() })
    }

    /// Wants a checkpoint copied; gives back one that is left out for it, or this one if nothing is copied any more.
    #[must_use = "dropping it removes files"]
    pub(super) fn post(&self, pinned: Pinned) -> Option<Pinned> {
        let mut state = lock(&self.state);
        if state.refusal.is_some() || state.closing.is_some() {
            return Some(pinned);
        }
        let before = state.waiting.replace(pinned);
        drop(state);
        self.changed.notify_all();
        before
    }

    /// Is known to be copied.
    pub(super) fn note_copied(&self, checkpoint: CheckpointId) {
        let mut state = lock(&self.state);
        state.copied = state.copied.max(Some(checkpoint));
        state.failure = None;
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until a checkpoint, or a later one, is copied.
    pub(super) fn wait_for(
        &self,
        checkpoint: CheckpointId,
        timeout: Duration,
        clock: &dyn Clock,
        interrupt: &Interrupt,
    ) -> Result<(), Unfinished> {
        let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        let until_ns = clock.monotonic_ns().saturating_add(timeout_ns);
        let mut state = lock(&self.state);
        loop {
            if state.copied >= Some(checkpoint) {
                return Ok(());
            }
            if let Some(refusal) = &state.refusal {
                return Err(Unfinished::Refused(refusal.clone()));
            }
            if state.is_abandoned || state.closing.is_some() || interrupt.has_come() {
                return Err(Unfinished::CutShort);
            }
            let left_ns = until_ns.saturating_sub(clock.monotonic_ns());
            if left_ns == 0 {
                let under_way = || "it is still under way".to_owned();
                return Err(Unfinished::NotInTime(state.failure.clone().unwrap_or_else(under_way)));
            }
            let patience = Duration::from_nanos(left_ns).min(LOOK_INTERVAL);
            state = wait_for(&self.changed, state, patience).0;
        }
    }

    /// Whoever waits for a copy, or does later, gives up; or may wait again.
    pub(super) fn set_abandoned(&self, is_abandoned: bool) {
        lock(&self.state).is_abandoned = is_abandoned;
        self.changed.notify_all();
    }

    /// Is to end; a second wish wins if it ends sooner.
    pub(super) fn close(&self, closing: Closing) {
        let mut state = lock(&self.state);
        if state.closing.is_none() || closing == Closing::Now {
            state.closing = Some(closing);
        }
        let waiting = state.waiting.take_if(|_| closing != Closing::Drained);
        drop(state);
        self.changed.notify_all();
        drop(waiting);
    }

    /// Waits for the end of the thread, so long at most; whether it has come.
    pub(super) fn wait_for_end(&self, limit: Duration, clock: &dyn Clock) -> bool {
        let limit_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let until_ns = clock.monotonic_ns().saturating_add(limit_ns);
        let mut state = lock(&self.state);
        while !state.has_ended {
            let left_ns = until_ns.saturating_sub(clock.monotonic_ns());
            if left_ns == 0 {
                return false;
            }
            state = wait_for(&self.changed, state, Duration::from_nanos(left_ns)).0;
        }
        true
    }

    fn end(&self) {
        lock(&self.state).has_ended = true;
        self.changed.notify_all();
    }

    /// The next one to copy; `None` if it is time to end.
    fn next(&self) -> Option<Pinned> {
        let mut state = lock(&self.state);
        loop {
            if matches!(state.closing, Some(Closing::Now | Closing::Removed)) {
                return None;
            }
            if let Some(pinned) = state.waiting.take() {
                return Some(pinned);
            }
            if state.closing.is_some() {
                return None;
            }
            state = wait(&self.changed, state);
        }
    }

    /// It failed: it waits again unless a newer one does; then it is given back.
    fn put_back(&self, pinned: Pinned, failure: String) -> Option<Pinned> {
        let mut state = lock(&self.state);
        state.failure = Some(failure);
        let is_over = matches!(state.closing, Some(Closing::Now | Closing::Removed));
        if is_over || state.waiting.is_some() {
            return Some(pinned);
        }
        state.waiting = Some(pinned);
        None
    }

    fn refuse(&self, refusal: String) {
        let mut state = lock(&self.state);
        state.refusal = Some(refusal);
        let waiting = state.waiting.take();
        drop(state);
        self.changed.notify_all();
        drop(waiting);
    }

    /// Waits before the next try, or until it is to end.
    fn pause(&self, pause: Duration, clock: &dyn Clock) {
        let pause_ns = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX);
        let until_ns = clock.monotonic_ns().saturating_add(pause_ns);
        let mut state = lock(&self.state);
        while !matches!(state.closing, Some(Closing::Now | Closing::Removed)) {
            let left_ns = until_ns.saturating_sub(clock.monotonic_ns());
            if left_ns == 0 {
                return;
            }
            state = wait_for(&self.changed, state, Duration::from_nanos(left_ns)).0;
        }
    }
}

/// What the thread has.
pub(super) struct Uploader {
    pub(super) shared: Arc<Shared>,
    pub(super) copier: Copier,
    /// `None` as long as the store has not answered.
    pub(super) claimed: Option<Claimed>,
    pub(super) local: LocalCopy,
    pub(super) nonce: String,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) retained: usize,
}

impl Uploader {
    /// The body of the thread.
    pub(super) fn run(mut self) {
        let mut pause = PAUSE_MIN;
        while let Some(pinned) = self.shared.next() {
            match self.copy(pinned) {
                true => pause = PAUSE_MIN,
                false => {
                    self.shared.pause(pause, &*self.clock);
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
        let shared = self.shared.clone();
        let is_to_remove = lock(&shared.state).closing == Some(Closing::Removed);
        if is_to_remove && let Err(error) = self.remove_all() {
            tracing::warn!("copies of a job that is over remain: {error}");
        }
        drop(self);
        shared.end();
    }

    /// Copies a checkpoint, and says how it went; whether it worked.
    pub(super) fn copy(&mut self, pinned: Pinned) -> bool {
        let checkpoint = pinned.checkpoint;
        let statistics = self.copier.statistics.clone();
        statistics.count(|statistics| statistics.in_progress = Some(checkpoint));
        let result = self.try_copy(&pinned);
        match result {
            Ok(()) => {
                drop(pinned);
                statistics.count(|statistics| {
                    statistics.completed += 1;
                    statistics.latest = Some(checkpoint);
                    statistics.latest_failure = None;
                    statistics.in_progress = None;
                });
                self.shared.note_copied(checkpoint);
                true
            }
            Err(error) => {
                let text = error.to_string();
                if !matches!(error, RemoteError::CutShort { .. }) {
                    tracing::warn!(job = %self.copier.job, checkpoint = checkpoint.0, "a checkpoint was not copied: {text}");
                }
                statistics.count(|statistics| {
                    statistics.failed += 1;
                    statistics.latest_failure = Some(text.clone());
                    statistics.in_progress = None;
                });
                if error.is_passing() {
                    if let Some(left_out) = self.shared.put_back(pinned, text) {
                        drop(left_out);
                        statistics.count(|statistics| statistics.skipped += 1);
                    }
                } else {
                    drop(pinned);
                    self.shared.refuse(text);
                }
                false
            }
        }
    }

    fn try_copy(&mut self, pinned: &Pinned) -> Result<(), RemoteError> {
        let claimed = match &mut self.claimed {
            Some(claimed) => claimed,
            none => none.insert(claim(
                &ClaimRequest {
                    job: &self.copier.job,
                    local: &self.local,
                    goes_on_locally: true,
                    claimed_at_ms: self.clock.wall_ms(),
                    nonce: self.nonce.clone(),
                },
                &*self.copier.objects,
            )?),
        };
        self.copier.copy(pinned, claimed)?;
        match garbage::collect(claimed, &*self.copier.objects, self.retained) {
            Ok(removed) => self.copier.statistics.count(|s| s.removed_objects += removed),
            Err(error @ RemoteError::Taken { .. }) => return Err(error),
            // The copy is complete all the same; the next one tries again.
            Err(error) => tracing::warn!("copies that are not needed remain: {error}"),
        }
        Ok(())
    }

    /// The job is over, and there is no thread.
    pub(super) fn end_inline(&mut self, is_to_remove: bool) {
        let waiting = lock(&self.shared.state).waiting.take();
        drop(waiting);
        if is_to_remove && let Err(error) = self.remove_all() {
            tracing::warn!("copies of a job that is over remain: {error}");
        }
    }

    /// Removes all copies and all parts.
    fn remove_all(&mut self) -> Result<(), RemoteError> {
        let Some(claimed) = &mut self.claimed else { return Ok(()) };
        garbage::collect(claimed, &*self.copier.objects, 0).map(drop)
    }
}

/// Removes all copies, so that nobody goes on from them; their parts go with the first copy that is made.
pub(super) fn forget_copies(claimed: &mut Claimed, copier: &Copier) -> Result<(), RemoteError> {
    claimed.confirm(&*copier.objects)?;
    let names: Vec<String> = claimed.indexes.keys().map(index::IndexName::object).collect();
    copier.objects.remove_all(&names)?;
    claimed.indexes.clear();
    claimed.unreadable.clear();
    Ok(())
}
