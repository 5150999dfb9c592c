//! The store's work in the background, as a state machine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use thalweg_io::{IoError, crash_point};

use super::compactor::{CompactionStep, Compactor};
use super::event::{Command, Notice, Outbox, StoreEvent};
use super::flush::{EpochEnd, Flush, FlushStep, Flushed};
use super::garbage::{Garbage, Removal};
use super::{CheckpointId, DataFile, Gauges, StateRoot, StoreFiles, crash_points};
use crate::backend::{PartitionLayout, StoreError};
use crate::compaction::CompactionOptions;
use crate::manifest::{EditRecord, FileMeta, ManifestLog, Version, VersionChange};

/// How much a thread does before it looks for new commands.
const BEAT_BYTES: usize = 1 << 20;

/// What anything but writing a delta takes of the budget: a sync is not free.
const SYNC_BYTES: usize = 256 << 10;

/// What a compaction merges at a time. Some milliseconds: an epoch that ends meanwhile waits.
const COMPACTION_BYTES: usize = 256 << 10;

/// What a worker is made of.
#[derive(Debug)]
pub(crate) struct WorkerSettings {
    pub(crate) root: Arc<StateRoot>,
    pub(crate) files: StoreFiles,
    pub(crate) layout: PartitionLayout,
    /// Checkpoints beyond so many are released when a new one completes; `None`: only when told.
    pub(crate) retained_checkpoints: Option<usize>,
    pub(crate) compaction: CompactionOptions,
    pub(crate) commands: Receiver<Command>,
    pub(crate) outbox: Outbox,
    pub(crate) gauges: Arc<Gauges>,
}

/// Writes deltas, edits the manifest, merges files, removes garbage.
///
/// # Invariants
///
/// - `manifest.contents()` is durable; whatever the worker removes or announces follows from it.
/// - Every file that the contents refer to is counted for this store by the root.
#[derive(Debug)]
pub(crate) struct Worker {
    settings: WorkerSettings,
    manifest: ManifestLog,
    flush: Flush,
    compactor: Compactor,
    garbage: Garbage,
    /// Descriptions of tables that go into the next edit.
    descriptions: Vec<EditRecord>,
    /// Checkpoints to release with the next edit.
    releases: Vec<CheckpointId>,
    /// Whether an edit for releases alone failed since the latest epoch.
    release_failed: bool,
    /// Whether the owner is gone.
    is_abandoned: bool,
}

/// What a run did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Something; there may be more.
    Worked,
    /// Nothing: until a command comes, or the owner reads a later version.
    Idle,
    /// Nothing, and nothing will come: the owner is gone.
    Ended,
}

impl Worker {
    /// Makes the manifest's contents durable, in a new log, and goes on from there. `before` are the
    /// files that the store referred to until now.
    ///
    /// # Errors
    ///
    /// If the manifest cannot be written.
    pub(crate) fn start(
        settings: WorkerSettings,
        mut manifest: ManifestLog,
        before: &BTreeSet<DataFile>,
    ) -> Result<Self, IoError> {
        manifest.commit(&[])?;
        let after = manifest.contents().referenced();
        settings.root.refer(settings.files.store(), after.iter().copied());
        let mut garbage = Garbage::default();
        garbage.drop_files(before.difference(&after).copied(), manifest.contents().live.number);
        let flush = Flush::new(settings.files.clone(), settings.layout);
        let compactor = Compactor::new(settings.files.clone(), settings.compaction);
        Ok(Worker {
            settings,
            manifest,
            flush,
            compactor,
            garbage,
            descriptions: Vec::new(),
            releases: Vec::new(),
            release_failed: false,
            is_abandoned: false,
        })
    }

    /// The version to begin with.
    pub(crate) fn version(&self) -> Arc<Version> {
        Arc::clone(&self.manifest.contents().live)
    }

    /// The body of the worker's thread: works until the owner is gone.
    pub(crate) fn run_until_abandoned(mut self) {
        loop {
            match self.run(BEAT_BYTES) {
                Progress::Worked => {}
                Progress::Ended => return,
                Progress::Idle => match self.settings.commands.recv() {
                    Ok(command) => self.take(command),
                    Err(_) => return,
                },
            }
        }
    }

    /// Takes the commands that wait, and works until about so many bytes are written.
    pub(crate) fn run(&mut self, budget_bytes: usize) -> Progress {
        self.take_commands();
        if self.is_abandoned {
            return Progress::Ended;
        }
        let mut remaining = budget_bytes;
        let mut progress = Progress::Idle;
        while remaining > 0 {
            let Some(byte_count) = self.step() else { break };
            progress = Progress::Worked;
            remaining = remaining.saturating_sub(byte_count);
        }
        progress
    }

    fn take_commands(&mut self) {
        loop {
            match self.settings.commands.try_recv() {
                Ok(command) => self.take(command),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.is_abandoned = true;
                    return;
                }
            }
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Describe(records) => self.descriptions.extend(records),
            Command::Block(block) => self.flush.push(block),
            Command::End { epoch, checkpoint } => self.flush.end(EpochEnd { epoch, checkpoint }),
            Command::Release(id) => self.releases.push(id),
        }
    }

    /// One thing, the most urgent first; the bytes it took of the budget, `None` if there is
    /// nothing to do.
    fn step(&mut self) -> Option<usize> {
        match self.flush.step() {
            FlushStep::Nothing => {}
            FlushStep::Wrote(byte_count) => return Some(byte_count),
            FlushStep::Failed(end, error) => {
                self.announce_failure(end, error);
                return Some(SYNC_BYTES);
            }
            FlushStep::Durable(flushed) => {
                self.end_epoch(flushed);
                return Some(SYNC_BYTES);
            }
        }
        let worked = self.release_checkpoints()
            || self.flush.prepare()
            || self.remove_garbage()
            || self.compact();
        worked.then_some(SYNC_BYTES)
    }

    /// Completes an epoch whose changes are durable.
    fn end_epoch(&mut self, flushed: Flushed) {
        self.release_failed = false;
        self.compactor.resume();
        let Flushed { end, file } = flushed;
        crash_point(crash_points::CKPT_FILES_DURABLE);
        let bytes_written = file.as_ref().map_or(0, FileMeta::length_bytes);
        let mut edit = Vec::new();
        let added = file.map(|file| EditRecord::Add { is_live: true, file });
        edit.extend(added);
        edit.push(EditRecord::Epoch(end.epoch));
        if let Some(id) = end.checkpoint {
            edit.push(EditRecord::Checkpoint { id, epoch: end.epoch });
            edit.extend(self.outdated_by(id).into_iter().map(EditRecord::Release));
        }
        match self.commit(edit) {
            Ok(()) => {
                self.settings.gauges.subtract_waiting(self.flush.forget_oldest());
                if bytes_written > 0 {
                    self.settings.gauges.count_flush(bytes_written);
                }
                self.announce(end, bytes_written);
            }
            Err(error) => {
                self.flush.carry_oldest();
                self.announce_failure(end, error);
            }
        }
    }

    /// The checkpoints to release when one more is complete.
    fn outdated_by(&self, id: CheckpointId) -> Vec<CheckpointId> {
        let Some(retained) = self.settings.retained_checkpoints else { return Vec::new() };
        let others = self.manifest.contents().checkpoints.keys().filter(|other| **other != id);
        others.rev().skip(retained.saturating_sub(1)).copied().collect()
    }

    fn announce(&self, end: EpochEnd, bytes_written: u64) {
        crash_point(crash_points::CKPT_COMPLETE);
        let epoch = end.epoch;
        let total_bytes = self.manifest.contents().live.length_bytes();
        self.send(match end.checkpoint {
            Some(id) => StoreEvent::CheckpointComplete { id, epoch, bytes_written, total_bytes },
            None => StoreEvent::SpillComplete { epoch, bytes_written },
        });
    }

    fn announce_failure(&self, end: EpochEnd, error: IoError) {
        let error = self.error(error);
        self.send(match end.checkpoint {
            Some(id) => StoreEvent::CheckpointFailed { id, error },
            None => StoreEvent::SpillFailed { epoch: end.epoch, error },
        });
    }

    fn error(&self, error: IoError) -> StoreError {
        StoreError::io(self.settings.files.store(), error)
    }

    fn send(&self, event: StoreEvent) {
        self.settings.outbox.send(Notice::Event(event));
    }

    /// Makes an edit durable, with what else is to be said, and follows it: counts references, drops
    /// files, publishes the version.
    fn commit(&mut self, mut edit: Vec<EditRecord>) -> Result<(), IoError> {
        let is_release = |id: &CheckpointId| edit.contains(&EditRecord::Release(*id));
        let releases: Vec<_> = self.releases.iter().filter(|id| !is_release(id)).collect();
        let releases: Vec<_> = releases.into_iter().map(|id| EditRecord::Release(*id)).collect();
        edit.extend(releases);
        edit.splice(0..0, self.descriptions.iter().cloned());
        let before = self.manifest.contents().referenced();
        let result = self.manifest.commit(&edit);
        if let Err(error) = result {
            let added = edit.iter().filter_map(|record| match record {
                EditRecord::Add { file, .. } => Some(file.data_file()),
                _ => None,
            });
            self.garbage.doubt_files(added.filter(|file| !before.contains(file)));
            return Err(error);
        }
        self.descriptions.clear();
        self.releases.clear();
        self.release_failed = false;
        let after = self.manifest.contents().referenced();
        let version = Arc::clone(&self.manifest.contents().live);
        let added = after.difference(&before).copied();
        self.settings.root.refer(self.settings.files.store(), added);
        self.garbage.drop_files(before.difference(&after).copied(), version.number);
        self.garbage.settle_doubts();
        self.settings.gauges.set_garbage_files(self.garbage.file_count());
        self.settings.outbox.send(Notice::Version(version));
        Ok(())
    }

    /// Makes releases durable.
    fn release_checkpoints(&mut self) -> bool {
        if self.releases.is_empty() || self.release_failed {
            return false;
        }
        if let Err(error) = self.commit(Vec::new()) {
            self.release_failed = true;
            let error = self.error(error);
            self.send(StoreEvent::ReleaseFailed { error });
        }
        true
    }

    fn remove_garbage(&mut self) -> bool {
        let WorkerSettings { root, files, gauges, .. } = &self.settings;
        let removal = self.garbage.step(root, files, gauges.reader_version());
        gauges.set_garbage_files(self.garbage.file_count());
        match removal {
            Ok(None) => return false,
            Ok(Some(Removal::Removed)) => gauges.count_removal(),
            Ok(Some(Removal::Shared)) => {}
            Err(error) => {
                let error = self.error(error);
                self.send(StoreEvent::GarbageKept { error });
            }
        }
        true
    }

    /// Merges files for a bounded time.
    fn compact(&mut self) -> bool {
        let live = Arc::clone(&self.manifest.contents().live);
        let now_ms = self.settings.gauges.now_ms();
        match self.compactor.step(&live, now_ms, COMPACTION_BYTES) {
            CompactionStep::Nothing => return false,
            CompactionStep::Worked => {}
            CompactionStep::Done(change) => self.replace_files(change),
            CompactionStep::Failed(error) => self.send(StoreEvent::CompactionFailed { error }),
        }
        true
    }

    /// Makes the result of a compaction known.
    fn replace_files(&mut self, change: VersionChange) {
        let VersionChange { removed, added } = change;
        let byte_count = added.iter().map(FileMeta::length_bytes).sum();
        let file_count = added.len();
        let is_move = removed.iter().any(|part| added.iter().any(|file| file.part() == *part));
        let added = added.into_iter().map(|file| EditRecord::Add { is_live: true, file });
        let edit = removed.into_iter().map(EditRecord::Remove).chain(added).collect();
        crash_point(crash_points::COMPACT_BEFORE_EDIT);
        let committed = self.commit(edit);
        crash_point(crash_points::COMPACT_AFTER_EDIT);
        match committed {
            Ok(()) if is_move => {}
            Ok(()) => self.settings.gauges.count_compaction(byte_count, file_count),
            Err(error) => {
                self.compactor.hold();
                let error = self.error(error);
                self.send(StoreEvent::CompactionFailed { error });
            }
        }
    }
}
