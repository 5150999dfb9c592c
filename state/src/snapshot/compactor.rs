//! When compactions are tried: one at a time, and not again right after a failure.

use std::sync::Arc;

use super::StoreFiles;
use crate::compaction::{CompactionJob, CompactionOptions, choose};
use crate::manifest::Version;

/// Chooses compactions.
#[derive(Debug)]
pub(super) struct Compactor {
    files: StoreFiles,
    options: CompactionOptions,
    is_running: bool,
    /// Whether nothing is tried: the latest job failed, or its edit, and no epoch ended since.
    is_held: bool,
}

impl Compactor {
    pub(super) fn new(files: StoreFiles, options: CompactionOptions) -> Self {
        Compactor { files, options, is_running: false, is_held: false }
    }

    /// The next job, if there is something to do; it runs until [`Self::end`].
    pub(super) fn start(&mut self, version: &Arc<Version>, now_ms: i64) -> Option<CompactionJob> {
        if self.is_running || self.is_held {
            return None;
        }
        let choice = choose(version, &self.options, now_ms);
        let job = CompactionJob::new(Arc::clone(version), choice, self.files.clone(), now_ms)?;
        self.is_running = true;
        Some(job)
    }

    /// The job is over.
    pub(super) fn end(&mut self) {
        self.is_running = false;
    }

    /// Tries nothing until [`Self::resume`]: a job failed, or its edit.
    pub(super) fn hold(&mut self) {
        self.is_held = true;
    }

    /// An epoch ended: what failed may succeed now.
    pub(super) fn resume(&mut self) {
        self.is_held = false;
    }
}
