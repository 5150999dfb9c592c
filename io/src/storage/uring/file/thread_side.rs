//! What the writer thread does to an open file.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Fault, OpenFile, SyncState};
use crate::ring::WriteBytes;
use crate::storage::uring::staging::WriteJob;

impl OpenFile {
    /// Where `job` is to be written.
    pub(in crate::storage::uring) fn target_of(&self, job: &WriteJob) -> &Arc<File> {
        match &self.descriptors.direct {
            Some(direct) if job.is_aligned && self.goes_around_cache() => direct,
            _ => &self.descriptors.plain,
        }
    }

    /// Remembers that this file takes no direct writes; whether it was ever given one.
    pub(in crate::storage::uring) fn refuse_direct(&self) -> bool {
        self.direct_refused.store(true, Ordering::Relaxed);
        self.descriptors.direct.is_some()
    }

    pub(in crate::storage::uring) fn plain(&self) -> &Arc<File> {
        &self.descriptors.plain
    }

    /// Whether an earlier write is parked, so that later ones must be too.
    pub(in crate::storage::uring) fn has_fault(&self) -> bool {
        self.lock().fault.is_some()
    }

    /// Notes that a job is done; its buffer goes back to the pool.
    pub(in crate::storage::uring) fn written(&self, bytes: WriteBytes) {
        // Before the state is locked: whoever waits for a buffer must get it.
        if let WriteBytes::Pooled(buffer) = bytes {
            self.link.pool.give_back(buffer);
        }
        let mut state = self.lock();
        state.outstanding_count -= 1;
        if state.outstanding_count == 0 {
            if state.fault.is_none() {
                state.settled_bytes = state.handed_bytes;
            }
            self.changed.notify_all();
        }
    }

    /// Keeps a job that cannot be written for the writer to try again; `errno` is why, for the
    /// first of them.
    pub(in crate::storage::uring) fn park(&self, job: WriteJob, errno: i32) {
        if matches!(job.bytes, WriteBytes::Pooled(_)) {
            self.link.pool.take_back();
        }
        let mut state = self.lock();
        let fault = Fault { errno, offset: job.offset, is_reported: false };
        state.fault.get_or_insert(fault);
        state.parked.push(WriteJob { attempt_count: 0, ..job });
        state.outstanding_count -= 1;
        if state.outstanding_count == 0 {
            self.changed.notify_all();
        }
    }

    /// Notes the end of a sync: 0 or an errno.
    pub(in crate::storage::uring) fn synced(&self, errno: i32) {
        let mut state = self.lock();
        state.sync = if errno == 0 { SyncState::Succeeded } else { SyncState::Failed(errno) };
        self.changed.notify_all();
    }

    /// Notes that a sync was not tried because a write before it failed.
    pub(in crate::storage::uring) fn sync_dropped(&self) {
        self.lock().sync = SyncState::Dropped;
        self.changed.notify_all();
    }

    /// Notes that the thread ends without having done all.
    pub(in crate::storage::uring) fn abandon(&self) {
        self.lock().is_abandoned = true;
        self.changed.notify_all();
    }
}
