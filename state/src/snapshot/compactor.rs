//! Compactions, one at a time, as the worker carries them out.

use std::sync::Arc;

use super::StoreFiles;
use crate::backend::StoreError;
use crate::compaction::{Choice, CompactionJob, CompactionOptions, JobProgress, choose};
use crate::manifest::{Version, VersionChange};

/// Chooses and carries out compactions.
#[derive(Debug)]
pub(super) struct Compactor {
    files: StoreFiles,
    options: CompactionOptions,
    job: Option<CompactionJob>,
    /// Whether nothing is tried: the latest job failed, or its edit, and no epoch ended since.
    is_held: bool,
}

/// What a step did.
#[derive(Debug)]
pub(super) enum CompactionStep {
    /// There is nothing to do.
    Nothing,
    Worked,
    /// New files are durable; the change is to be made known.
    Done(VersionChange),
    Failed(StoreError),
}

impl Compactor {
    pub(super) fn new(files: StoreFiles, options: CompactionOptions) -> Self {
        Compactor { files, options, job: None, is_held: false }
    }

    /// Merges about so many bytes.
    pub(super) fn step(
        &mut self,
        version: &Arc<Version>,
        now_ms: i64,
        budget_bytes: usize,
    ) -> CompactionStep {
        if self.is_held {
            return CompactionStep::Nothing;
        }
        let job = match &mut self.job {
            Some(job) => job,
            none => {
                let choice: Choice = choose(version, &self.options, now_ms);
                let files = self.files.clone();
                match CompactionJob::new(Arc::clone(version), choice, files, now_ms) {
                    Some(job) => none.insert(job),
                    None => return CompactionStep::Nothing,
                }
            }
        };
        match job.beat(budget_bytes) {
            Ok(JobProgress::Working) => CompactionStep::Worked,
            Ok(JobProgress::Done(change)) => {
                self.job = None;
                CompactionStep::Done(change)
            }
            Err(error) => {
                self.abort();
                self.is_held = true;
                CompactionStep::Failed(error)
            }
        }
    }

    /// Tries nothing until [`Self::resume`]: an edit could not be made durable.
    pub(super) fn hold(&mut self) {
        self.is_held = true;
    }

    /// An epoch ended: what failed may succeed now.
    pub(super) fn resume(&mut self) {
        self.is_held = false;
    }

    fn abort(&mut self) {
        if let Some(job) = self.job.take() {
            // What cannot be removed is when the directory is opened next.
            let _ = job.abort();
        }
    }
}

impl Drop for Compactor {
    fn drop(&mut self) {
        self.abort();
    }
}
