//! A compaction that is carried out in small steps.

use std::sync::Arc;

use thalweg_io::IoError;

use super::choice::{Choice, Merge};
use crate::KeyGroupRange;
use crate::backend::{Epoch, StoreError};
use crate::codec::RowPrefix;
use crate::delta::DeltaReader;
use crate::manifest::{FileMeta, Version, VersionChange};
use crate::merge::{DeltaSource, Keep, RowMerge};
use crate::snapshot::StoreFiles;
use crate::sst::{FileSource, PrefixRange, RowsBelow, RunOrigin, RunWriter};

/// What a row costs beside its bytes, for the budget of a beat.
const ROW_BYTES: usize = 16;

/// What a beat has come to.
#[derive(Debug)]
pub(crate) enum JobProgress {
    /// There is more to do.
    Working,
    /// The new files are durable; this is to be made known by a manifest.
    Done(VersionChange),
}

/// Carries out one choice. A job that is dropped leaves the files it wrote behind; see
/// [`abort`](Self::abort).
#[derive(Debug)]
pub(crate) struct CompactionJob {
    files: StoreFiles,
    removed: Vec<Arc<FileMeta>>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Move(FileMeta),
    Open {
        version: Arc<Version>,
        merge: Merge,
        now_ms: i64,
    },
    Merge(Box<Merging>),
    /// Done or failed.
    Ended,
}

/// # Invariants
///
/// - Between beats the merge stands at a row (`in_row`) and behind its records up to the last that
///   was written, or behind a row that is written.
#[derive(Debug)]
struct Merging {
    merge: RowMerge<RowsBelow>,
    writer: RunWriter,
    older: OlderFiles,
    now_ms: i64,
    in_row: bool,
    has_begun: bool,
    keep: Keep,
    prefix: RowPrefix,
    key: Vec<u8>,
}

impl CompactionJob {
    /// A job for a choice that was made of this version; `None` if there is nothing to do. Nothing
    /// is opened yet.
    pub(crate) fn new(
        version: Arc<Version>,
        choice: Choice,
        files: StoreFiles,
        now_ms: i64,
    ) -> Option<Self> {
        let (removed, phase) = match choice {
            Choice::Rest => return None,
            Choice::Move { file, level } => {
                let moved = FileMeta { level, ..FileMeta::clone(&file) };
                (vec![file], Phase::Move(moved))
            }
            Choice::Merge(merge) => {
                let removed = merge.deltas.iter().chain(&merge.files).cloned().collect();
                (removed, Phase::Open { version, merge, now_ms })
            }
        };
        Some(CompactionJob { files, removed, phase })
    }

    /// Works until about so many bytes were merged.
    ///
    /// # Errors
    ///
    /// If a file is damaged, cannot be read or cannot be written. The job is over then;
    /// [`abort`](Self::abort) it.
    ///
    /// # Panics
    ///
    /// If the job is over.
    pub(crate) fn beat(&mut self, budget_bytes: usize) -> Result<JobProgress, StoreError> {
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Move(moved) => Ok(self.done(vec![moved])),
            Phase::Open { version, merge, now_ms } => {
                let merging = Merging::open(&self.files, &version, &merge, now_ms)?;
                self.phase = Phase::Merge(Box::new(merging));
                Ok(JobProgress::Working)
            }
            Phase::Merge(mut merging) => match merging.work(&self.files, budget_bytes) {
                Ok(true) => match merging.writer.finish() {
                    Ok(added) => Ok(self.done(added)),
                    Err(error) => {
                        self.phase = Phase::Merge(merging);
                        Err(io(&self.files, error))
                    }
                },
                Ok(false) => {
                    self.phase = Phase::Merge(merging);
                    Ok(JobProgress::Working)
                }
                Err(error) => {
                    // For `abort`.
                    self.phase = Phase::Merge(merging);
                    Err(error)
                }
            },
            Phase::Ended => panic!("a job that is over has no more beats"),
        }
    }

    /// Gives up the job and removes what it wrote.
    ///
    /// # Errors
    ///
    /// If a file cannot be removed.
    pub(crate) fn abort(self) -> Result<(), IoError> {
        match self.phase {
            Phase::Merge(merging) => merging.writer.abort(),
            Phase::Move(_) | Phase::Open { .. } | Phase::Ended => Ok(()),
        }
    }

    fn done(&self, added: Vec<FileMeta>) -> JobProgress {
        let removed = self.removed.iter().map(|file| file.part()).collect();
        JobProgress::Done(VersionChange { removed, added })
    }
}

impl Merging {
    fn open(
        files: &StoreFiles,
        version: &Version,
        merge: &Merge,
        now_ms: i64,
    ) -> Result<Self, StoreError> {
        let all = merge.deltas.iter().chain(&merge.files);
        let first_epoch = all.clone().map(|file| file.first_epoch).min().unwrap_or(Epoch(0));
        let last_epoch = all.map(|file| file.last_epoch).max().unwrap_or(Epoch(0));
        let origin = RunOrigin { level: merge.level, first_epoch, last_epoch };
        let merging = Merging {
            merge: RowMerge::new(open_sources(files, merge)?),
            writer: RunWriter::new(files.clone(), origin, merge.file_bytes),
            older: OlderFiles::below(version, merge.level),
            now_ms,
            in_row: false,
            has_begun: false,
            keep: Keep::live(now_ms),
            prefix: RowPrefix::default(),
            key: Vec::new(),
        };
        Ok(merging)
    }

    /// Merges about so many bytes; true if that was all.
    fn work(&mut self, files: &StoreFiles, budget_bytes: usize) -> Result<bool, StoreError> {
        let mut done_bytes = 0;
        while done_bytes < budget_bytes {
            if !self.in_row && !self.next_row()? {
                return Ok(true);
            }
            done_bytes += ROW_BYTES + self.key.len();
            while let Some(record) = self.merge.next_record(self.keep)? {
                if !std::mem::replace(&mut self.has_begun, true) {
                    let begun = self.writer.begin_row(self.prefix, &self.key);
                    begun.map_err(|error| io(files, error))?;
                }
                done_bytes += record.sub.len() + record.value.len();
                self.writer.record(record).map_err(|error| io(files, error))?;
                if done_bytes >= budget_bytes {
                    return Ok(false);
                }
            }
            self.in_row = false;
            if self.has_begun {
                self.writer.end_row().map_err(|error| io(files, error))?;
            }
        }
        Ok(false)
    }

    fn next_row(&mut self) -> Result<bool, StoreError> {
        if !self.merge.next_row()? {
            return Ok(false);
        }
        self.prefix = self.merge.prefix().unwrap_or_default();
        self.key.clear();
        self.key.extend_from_slice(self.merge.key());
        // Removals matter only to what lies deeper.
        let removals = self.older.may_hold(self.prefix);
        self.keep = Keep { now_ms: self.now_ms, removals };
        self.in_row = true;
        self.has_begun = false;
        Ok(true)
    }
}

/// Deltas and levels that are merged, the newest first.
fn open_sources(files: &StoreFiles, merge: &Merge) -> Result<Vec<RowsBelow>, StoreError> {
    const ALL_GROUPS: KeyGroupRange = KeyGroupRange { start: 0, end: u16::MAX };
    let mut sources = Vec::new();
    for meta in &merge.deltas {
        let reader = DeltaReader::open(files, meta)?;
        let tables = reader.tables();
        sources.push(RowsBelow::Delta(DeltaSource::new(reader, tables, ALL_GROUPS)?));
    }
    for level in merge.files.chunk_by(|file, next| file.level == next.level) {
        let source = FileSource::new(files, level.iter().cloned(), PrefixRange::ALL)?;
        sources.push(RowsBelow::Files(source));
    }
    Ok(sources)
}

fn io(files: &StoreFiles, error: IoError) -> StoreError {
    StoreError::io(files.store(), error)
}

/// Files of the levels below the one that is written to.
#[derive(Debug)]
struct OlderFiles {
    /// For each level its files, and the first of them that does not lie before the latest row.
    levels: Vec<(Vec<Arc<FileMeta>>, usize)>,
}

impl OlderFiles {
    fn below(version: &Version, level: u8) -> Self {
        let deeper = version.levels.iter().skip(usize::from(level));
        OlderFiles { levels: deeper.map(|files| (files.clone(), 0)).collect() }
    }

    /// Whether a prefix lies within one of them. Prefixes are asked for in order.
    fn may_hold(&mut self, prefix: RowPrefix) -> bool {
        self.levels.iter_mut().any(|(files, first)| {
            while files.get(*first).is_some_and(|file| file.largest < prefix) {
                *first += 1;
            }
            files.get(*first).is_some_and(|file| file.smallest <= prefix)
        })
    }
}
