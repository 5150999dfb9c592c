//! What a job's handle says of its copies.

use crate::record::CheckpointId;
use std::sync::{Arc, Mutex, PoisonError};

/// The copies of a job's checkpoints in its object store, since the process has begun.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteStatistics {
    /// How many copies were completed.
    pub completed: u64,
    /// The newest checkpoint whose copy is complete, in whatever process.
    pub latest: Option<CheckpointId>,
    /// The one that is being copied.
    pub in_progress: Option<CheckpointId>,
    /// How often a copy failed; it is tried again, or the next checkpoint is.
    pub failed: u64,
    /// Why the last of those that failed did; `None` again when a later one is complete.
    pub latest_failure: Option<String>,
    /// Checkpoints that were left out because a newer one was complete before their turn came.
    pub skipped: u64,
    /// Bytes of parts and indexes that were sent.
    pub sent_bytes: u64,
    /// Parts that were sent.
    pub sent_parts: u64,
    /// Parts that a copy needed and that were there.
    pub reused_parts: u64,
    /// Parts and indexes that were removed because nothing needs them any more.
    pub removed_objects: u64,
    /// Bytes that were fetched at the start, into an empty local directory.
    pub fetched_bytes: u64,
    /// The checkpoint that was fetched then.
    pub fetched: Option<CheckpointId>,
}

/// Written by whoever copies, read by handles; nothing as long as no copies are made.
#[derive(Clone, Debug, Default)]
pub(crate) struct StatisticsCell(Arc<Mutex<Option<RemoteStatistics>>>);

impl StatisticsCell {
    #[cfg_attr(not(feature = "object-store"), expect(dead_code, reason = "no copies are made"))]
    pub(crate) fn count(&self, count: impl FnOnce(&mut RemoteStatistics)) {
        let mut statistics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        count(statistics.get_or_insert_default());
    }

    pub(crate) fn get(&self) -> Option<RemoteStatistics> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
