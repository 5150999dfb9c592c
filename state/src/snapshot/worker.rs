//! The store's work in the background, as a state machine.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};

use thalweg_io::{Fault, IoError, Spawner, crash_point, planted};

use super::background::{Background, BackgroundStep, Chore, Outcome};
use super::compactor::Compactor;
use super::event::{Command, Notice, Outbox, StoreEvent};
use super::flush::{EpochEnd, Flush, FlushStep, Flushed};
use super::garbage::{self, Garbage};
use super::{CheckpointId, DataFile, Gauges, StateRoot, StoreFiles, crash_points};
use crate::backend::{PartitionLayout, Replacement, StoreError};
use crate::compaction::CompactionOptions;
use crate::manifest::{EditRecord, FileMeta, FilePart, ManifestLog, Version, VersionChange};

/// How much a thread does before it looks for new commands.
const BEAT_BYTES: usize = 1 << 20;

/// What anything but writing a delta takes of the budget: a sync is not free.
const SYNC_BYTES: usize = 256 << 10;

/// What a worker is made of.
#[derive(Debug)]
pub(crate) struct WorkerSettings {
    pub(crate) root: Arc<StateRoot>,
    pub(crate) files: StoreFiles,
    pub(crate) layout: PartitionLayout,
    /// Checkpoints beyond so many are released when a new one completes; `None`: only when told.
    pub(crate) retained_checkpoints: Option<usize>,
    pub(crate) compaction: CompactionOptions,
    /// Whether an epoch takes the place of all before it, so that nothing is merged.
    pub(crate) is_full: bool,
    pub(crate) commands: Receiver<Command>,
    pub(crate) outbox: Outbox,
    pub(crate) gauges: Arc<Gauges>,
}

/// Writes deltas and edits the manifest; decides what is to be merged and removed in the background.
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
    background: Background,
    /// What came of chores and is still to be made known.
    outcomes: VecDeque<Outcome>,
    /// Descriptions of tables that go into the next edit.
    descriptions: Vec<EditRecord>,
    /// Checkpoints to release with the next edit.
    releases: Vec<CheckpointId>,
    /// Whether an edit for releases alone failed since the latest epoch.
    release_failed: bool,
    /// Whether an epoch will replace all files soon, or the latest one did: until then nothing is merged.
    is_replaced: bool,
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
        let flush = Flush::new(settings.files.clone(), settings.layout, settings.is_full);
        let compactor = Compactor::new(settings.files.clone(), settings.compaction);
        let background = Background::inline(settings.files.clone());
        Ok(Worker {
            settings,
            manifest,
            flush,
            compactor,
            garbage,
            background,
            outcomes: VecDeque::new(),
            descriptions: Vec::new(),
            releases: Vec::new(),
            release_failed: false,
            is_replaced: false,
            is_abandoned: false,
        })
    }

    /// Starts a thread for what no checkpoint waits for. `outcomes` leads to the worker's commands.
    ///
    /// # Errors
    ///
    /// The spawner's.
    pub(crate) fn start_background(
        &mut self,
        spawner: &dyn Spawner,
        outcomes: Sender<Command>,
    ) -> io::Result<()> {
        self.background = Background::on_thread(self.settings.files.clone(), spawner, outcomes)?;
        Ok(())
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
            Command::End(end) => self.flush.end(end),
            Command::Release(id) => {
                if planted(Fault::AbortRemovesShared) {
                    self.remove_files_of_newest(id);
                }
                self.releases.push(id);
            }
            Command::Done(outcome) => self.outcomes.push_back(outcome),
            Command::Close => self.is_abandoned = true,
        }
    }

    /// Removes all files of a checkpoint that was given up, also those that others have: a planted fault.
    #[cold]
    fn remove_files_of_newest(&self, id: CheckpointId) {
        let checkpoints = &self.manifest.contents().checkpoints;
        let Some((_, newest)) = checkpoints.last_key_value().filter(|(newest, _)| **newest == id)
        else {
            return;
        };
        for file in newest.version.files() {
            let _ = garbage::remove(&self.settings.files, file.data_file());
        }
    }

    /// One thing, the most urgent first; the bytes it took of the budget, `None` if there is
    /// nothing to do.
    fn step(&mut self) -> Option<usize> {
        self.background.pause(self.flush.has_work());
        match self.flush.step() {
            FlushStep::Nothing => {}
            FlushStep::Wrote { byte_count, forgotten_bytes } => {
                self.settings.gauges.subtract_waiting(forgotten_bytes);
                return Some(byte_count);
            }
            FlushStep::Failed { end, error, forgotten_bytes } => {
                self.settings.gauges.subtract_waiting(forgotten_bytes);
                self.announce_failure(end, error);
                return Some(SYNC_BYTES);
            }
            FlushStep::Durable(flushed) => {
                self.end_epoch(flushed);
                return Some(SYNC_BYTES);
            }
        }
        let worked = self.release_checkpoints() || self.settle_outcome() || self.do_chores();
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
        if self.settings.is_full || end.replacement == Some(Replacement::Now) {
            let live = self.manifest.contents().live.files();
            edit.extend(live.map(|file| EditRecord::Remove(file.part())));
        }
        let added = file.map(|file| EditRecord::Add { is_live: true, file });
        edit.extend(added);
        edit.push(EditRecord::Epoch(end.epoch));
        if let Some(id) = end.checkpoint {
            edit.push(EditRecord::Checkpoint { id, epoch: end.epoch });
            edit.extend(self.outdated_by(id).into_iter().map(EditRecord::Release));
        }
        match self.commit(edit) {
            Ok(()) => {
                self.is_replaced = end.replacement.is_some();
                self.settings.gauges.subtract_waiting(self.flush.forget_oldest());
                if bytes_written > 0 {
                    self.settings.gauges.count_flush(bytes_written);
                }
                self.announce(end, bytes_written);
            }
            Err(error) => {
                self.settings.gauges.subtract_waiting(self.flush.give_up_oldest());
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

    /// Makes known what came of a chore; whether there was one.
    fn settle_outcome(&mut self) -> bool {
        let Some(outcome) = self.outcomes.pop_front() else { return false };
        match outcome {
            Outcome::Prepared(spare) => self.flush.give_spare(spare),
            Outcome::Removed(result) => self.settle_removal(result),
            Outcome::Merged(result) => {
                self.compactor.end_merge();
                self.settle_compaction(result);
            }
            Outcome::Sorted(result) => {
                self.compactor.end_sort();
                self.settle_compaction(result);
            }
        }
        true
    }

    fn settle_compaction(&mut self, result: Result<VersionChange, StoreError>) {
        match result {
            Ok(change) => self.replace_files(change),
            Err(error) => {
                self.compactor.hold();
                self.send(StoreEvent::CompactionFailed { error });
            }
        }
    }

    fn settle_removal(&mut self, result: Result<(), IoError>) {
        self.garbage.removed();
        self.settings.gauges.set_garbage_files(self.garbage.file_count());
        match result {
            Ok(()) => self.settings.gauges.count_removal(),
            Err(error) => {
                let error = self.error(error);
                self.send(StoreEvent::GarbageKept { error });
            }
        }
    }

    /// Gives the background what there is to do, and does a step of it where there is no thread for
    /// that; whether something was done here.
    fn do_chores(&mut self) -> bool {
        if let Some(expected_bytes) = self.flush.ask_for_spare() {
            self.background.give(Chore::Prepare { expected_bytes });
        }
        let WorkerSettings { root, files, gauges, is_full, .. } = &self.settings;
        while let Some(file) = self.garbage.next_removal(root, files, gauges.reader_version()) {
            self.background.give(Chore::Remove(file));
        }
        gauges.set_garbage_files(self.garbage.file_count());
        let live = &self.manifest.contents().live;
        let is_merging = !is_full && !self.is_replaced;
        while is_merging && let Some(chore) = self.compactor.start(live, gauges.now_ms()) {
            self.background.give(chore);
        }
        match self.background.step() {
            BackgroundStep::Nothing => false,
            BackgroundStep::Worked => true,
            BackgroundStep::Done(outcome) => {
                self.outcomes.push_back(outcome);
                true
            }
        }
    }

    /// Whether files that a compaction was to replace are gone: an epoch has replaced them all meanwhile.
    fn is_outdated(&self, removed: &[FilePart]) -> bool {
        let live = &self.manifest.contents().live;
        removed.iter().any(|part| live.files().all(|file| file.part() != *part))
    }

    /// Makes the result of a compaction known, unless an epoch has made it void.
    fn replace_files(&mut self, change: VersionChange) {
        let VersionChange { removed, added } = change;
        if self.is_outdated(&removed) {
            let new = added.iter().filter(|file| !removed.contains(&file.part()));
            self.garbage.drop_files(new.map(FileMeta::data_file), 0);
            return;
        }
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

/// What chores have made meanwhile is nobody's: a manifest will not name it.
impl Drop for Worker {
    fn drop(&mut self) {
        self.background.end();
        self.take_commands();
        let files = &self.settings.files;
        while let Some(outcome) = self.outcomes.pop_front() {
            match outcome {
                Outcome::Prepared(spare) => self.flush.give_spare(spare),
                Outcome::Removed(_) | Outcome::Merged(Err(_)) | Outcome::Sorted(Err(_)) => {}
                Outcome::Merged(Ok(VersionChange { added, .. }))
                | Outcome::Sorted(Ok(VersionChange { added, .. })) => {
                    let live = self.manifest.contents().referenced();
                    for file in added.iter().map(FileMeta::data_file) {
                        if !live.contains(&file) {
                            // If it cannot be removed, it is when the directory is opened next.
                            let _ = garbage::remove(files, file);
                        }
                    }
                }
            }
        }
    }
}
