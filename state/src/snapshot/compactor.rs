//! When compactions are tried: one at a time, and not again right after a failure.
//!
//! With a memory budget deltas are sorted as they come, between the steps of a merge of others: rows
//! that are to leave memory wait for it, and merging large levels takes seconds.
//!
//! **Invariants**
//! - What is sorted are deltas alone, what is merged is none of them; and the levels of a merge all
//!   lie below the one that deltas are sorted to. So neither touches the other's files, and the
//!   order of age stays.

use std::sync::Arc;

use super::StoreFiles;
use super::background::Chore;
use crate::compaction::{Choice, CompactionJob, CompactionOptions, choose, choose_sort};
use crate::manifest::Version;

/// Chooses compactions.
#[derive(Debug)]
pub(super) struct Compactor {
    files: StoreFiles,
    options: CompactionOptions,
    is_sorting: bool,
    /// The uppermost level of the merge that has begun.
    merge_top_level: Option<u8>,
    /// Whether nothing is tried: the latest job failed, or its edit, and no epoch ended since.
    is_held: bool,
}

impl Compactor {
    pub(super) fn new(files: StoreFiles, options: CompactionOptions) -> Self {
        Compactor { files, options, is_sorting: false, merge_top_level: None, is_held: false }
    }

    /// The next job, if there is something to do that can be done beside what has begun. A sort runs
    /// until [`Self::end_sort`], a merge until [`Self::end_merge`].
    pub(super) fn start(&mut self, version: &Arc<Version>, now_ms: i64) -> Option<Chore> {
        if self.is_held || self.is_sorting {
            return None;
        }
        let limit = self.merge_top_level.unwrap_or(u8::MAX);
        let sort = choose_sort(version, &self.options, limit);
        if let Some(job) = self.job(version, sort, now_ms) {
            self.is_sorting = true;
            return Some(Chore::Sort(job));
        }
        if self.merge_top_level.is_some() {
            return None;
        }
        let merge = choose(version, &self.options, now_ms);
        let top_level = merge.top_level();
        let job = self.job(version, merge, now_ms)?;
        self.merge_top_level = top_level;
        Some(Chore::Merge(job))
    }

    fn job(&self, version: &Arc<Version>, choice: Choice, now_ms: i64) -> Option<CompactionJob> {
        CompactionJob::new(Arc::clone(version), choice, self.files.clone(), now_ms)
    }

    /// The sort is over.
    pub(super) fn end_sort(&mut self) {
        self.is_sorting = false;
    }

    /// The merge is over.
    pub(super) fn end_merge(&mut self) {
        self.merge_top_level = None;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compaction::tests::{Store, random_blocks};
    use crate::manifest::VersionChange;
    use crate::merge::model::DeltaShape;
    use crate::snapshot::background::{Background, BackgroundStep, Outcome};
    use crate::test_random::SplitMix64;

    /// Deltas that come while others are merged are sorted meanwhile, and change nothing that is
    /// read.
    #[test]
    fn deltas_are_sorted_beside_a_merge() {
        let options = CompactionOptions { sorts_deltas: true, ..CompactionOptions::SMALL };
        let mut random = SplitMix64::new(3);
        let mut store = Store::new(4);
        let mut compactor = Compactor::new(store.files.clone(), options);
        let mut background = Background::inline(store.files.clone());
        let shape = DeltaShape { keys: 6_000, rows: 800, ..DeltaShape::SMALL };
        let (mut is_merging, mut merges, mut sorted_beside) = (false, 0, 0);
        for step in 0..600 {
            if random.below(6) == 0 {
                store.add_epoch(&random_blocks(&mut random, shape));
            }
            while let Some(chore) = compactor.start(&store.version, 0) {
                is_merging |= matches!(chore, Chore::Merge(_));
                background.give(chore);
            }
            let change: VersionChange = match background.step() {
                BackgroundStep::Done(Outcome::Sorted(change)) => {
                    compactor.end_sort();
                    sorted_beside += u32::from(is_merging);
                    change.unwrap()
                }
                BackgroundStep::Done(Outcome::Merged(change)) => {
                    compactor.end_merge();
                    (is_merging, merges) = (false, merges + 1);
                    change.unwrap()
                }
                _ => continue,
            };
            store.apply(&change);
            if random.below(4) == 0 {
                store.check(&format!("step {step}"));
            }
        }
        store.check("at the end");
        assert!(merges > 10 && sorted_beside > 10, "{merges} merges, {sorted_beside} beside one");
    }
}
