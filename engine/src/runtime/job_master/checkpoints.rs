//! The checkpoints of a job, over all its attempts: carries out what the coordinator says.
//!
//! 1. [`Checkpoints::open`]: takes the directory, and finds what the job goes on from.
//! 2. For each attempt [`begin`](Checkpoints::begin) makes a coordinator of its tasks.
//! 3. Reports of tasks and the clock go to the coordinator, whose [`Action`]s are done here: orders to cores, files by the
//!    saver, failures to the job master.
//! 4. When an attempt is over, [`end`](Checkpoints::end) waits for what is being saved; then the next one goes on from the newest
//!    complete checkpoint.
//!
//! **Invariants**
//! - Files are written and removed by the saver alone, off the control thread; a job is over only when it has done.
//! - No attempt begins while a checkpoint of another one is being saved.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::BoxError;
use crate::checkpoint::coordinator::{Action, CheckpointFailure, Coordinator, Gathered};
use crate::checkpoint::crash_points;
use crate::checkpoint::memory_full::MemoryFull;
use crate::checkpoint::metadata::{
    CheckpointMetadata, MetadataError, OperatorDescription, SavepointIdentity,
};
use crate::checkpoint::savepoint::{self, WriteError};
use crate::checkpoint::settings::CheckpointSettings;
use crate::checkpoint::snapshot::{RestoredState, SnapshotPiece};
use crate::checkpoint::store::CheckpointStore;
use crate::config::Restore;
use crate::operator::keyed_store::stores_of;
use crate::operator::pieces::Report;
use crate::record::{Barrier, CheckpointId};
use crate::runtime::deployment::{JobId, TaskId, TaskOrder};
use crate::runtime::dispatcher::ControlSender;
use crate::runtime::savepoint::{Savepoint, SavepointError, SavepointWish};
use crate::runtime::state_files::{CheckpointedState, FilesPlace, savepoint_storage, storage_of};
use crate::runtime::submission::Submission;
use crate::runtime::threads::RuntimeThreads;
use thalweg_io::storage::{MemoryStorage, Storage};
use thalweg_io::{Spawner as _, crash_point};

/// Linux shows 15 characters of it.
const THREAD_NAME: &str = "thalweg-saver";

/// See the module docs.
pub(super) struct Checkpoints {
    settings: CheckpointSettings,
    job_name: String,
    operators: Vec<OperatorDescription>,
    /// Has the job sinks that commit?
    commits: bool,
    store: Arc<CheckpointStore>,
    saver: Saver,
    /// The savepoint that the job began with.
    origin: Option<SavepointIdentity>,
    /// Where savepoints are written.
    savepoints: Arc<dyn Storage>,
    coordinator: Option<Coordinator>,
    /// The highest id and what is kept, between attempts.
    history: (u64, VecDeque<CheckpointId>),
    /// What the next attempt goes on from.
    restored: Option<Arc<RestoredState>>,
    /// What the saver was given and has not done.
    outstanding: usize,
    /// The attempt before could not begin with its checkpoint.
    has_fallen_back: bool,
}

/// What the job master is to do.
pub(super) enum Demand {
    Order(TaskOrder),
    BeginBarrier(Barrier),
    Completed(CheckpointId),
    /// A checkpoint was copied, or could not be: to be told.
    Written(SavepointWish, Result<Savepoint, SavepointError>),
    Warn(CheckpointFailure),
    Fail(CheckpointFailure),
}

impl Checkpoints {
    /// Takes the directory; `None` if the job has no checkpoints.
    pub(super) fn open(
        submission: &Submission,
        job: JobId,
        (place, control): (FilesPlace, &ControlSender),
    ) -> Result<Option<Self>, BoxError> {
        let Some(settings) = CheckpointSettings::of(&submission.configuration) else {
            return match submission.configuration.savepoint() {
                None => Ok(None),
                Some(directory) => {
                    let directory = directory.to_path_buf();
                    Err(savepoint::BeginError::NoCheckpoints { directory }.into())
                }
            };
        };
        let (storage, directory): (Arc<dyn Storage>, PathBuf) = match &settings.directory {
            None => {
                let storage = MemoryStorage::with_capacity(settings.memory_bytes_max);
                (Arc::new(storage), PathBuf::from("checkpoints-in-memory"))
            }
            Some(directory) => (storage_of(&place, directory), directory.clone()),
        };
        let nodes = submission.explain.stream_graph.nodes();
        let operators = nodes.iter().map(|node| OperatorDescription {
            id: node.operator_id,
            name: node.name.clone(),
            uid: node.uid.clone(),
            parallelism: node.parallelism,
            max_parallelism: node.max_parallelism,
        });
        let operators: Vec<_> = operators.collect();
        let store = Arc::new(CheckpointStore::open(storage, &directory)?);
        let job_name = submission.name.clone();
        let last_id = store.last_id()?;
        let found = match (&settings.savepoint, settings.restore) {
            (Some(savepoint), restore) => {
                let begin = savepoint::Begin {
                    directory: &savepoint.directory,
                    storage: savepoint_storage(&place),
                    job_name: &job_name,
                    savepoint_job: savepoint.job.as_deref(),
                    allow_non_restored_state: savepoint.allow_non_restored_state,
                    allow_repeated_commits: settings.allow_repeated_commits,
                    restore,
                    operators: &operators,
                };
                Some(savepoint::begin(&store, &begin)?)
            }
            (None, Restore::Latest) => {
                store.latest(&job_name, settings.allow_repeated_commits, None)?
            }
            (None, Restore::Nothing) => {
                store.clear()?;
                None
            }
        };
        let last_id = last_id.max(store.last_id()?);
        let origin = found.as_ref().and_then(|(metadata, _)| metadata.origin.clone());
        let (restored, retained) = match found {
            Some((metadata, retained)) => {
                store.check_operators(&metadata, &operators)?;
                if metadata.is_final {
                    tracing::warn!(
                        job = %job_name,
                        checkpoint = metadata.checkpoint,
                        "has read all its input before, or was stopped; it goes on from there. Set `restore` to `nothing` to run it anew"
                    );
                }
                (Some(Arc::new(metadata.into_restored())), retained)
            }
            None => (None, VecDeque::new()),
        };
        let saver = Saver {
            job,
            control: control.clone(),
            is_inline: matches!(place, FilesPlace::Simulated(_)),
        };
        let savepoints = savepoint_storage(&place);
        Ok(Some(Checkpoints {
            operators,
            commits: submission.commits(),
            settings,
            job_name,
            store,
            saver,
            origin,
            savepoints,
            coordinator: None,
            history: (last_id, retained),
            restored,
            outstanding: 0,
            has_fallen_back: false,
        }))
    }

    /// Keyed state as the next attempt finds it: what the checkpoints that are kept refer to.
    ///
    /// An older one that is damaged is given up: the newest is whole, and with it the job goes on.
    pub(super) fn keyed_state(&mut self) -> Result<CheckpointedState, BoxError> {
        let newest = self.history.1.back().copied();
        let (mut stores, mut retained) = (BTreeSet::new(), Vec::new());
        // If this fails half-way the history is as it was: stores that no checkpoint in it names are removed.
        for id in self.history.1.clone() {
            let found = match &self.restored {
                Some(restored) if restored.checkpoint == id => Ok(stores_of(restored)),
                _ => self.store.load(id).map(|metadata| stores_of(&metadata.into_restored())),
            };
            match found {
                Ok(found) => {
                    stores.append(&mut found?);
                    retained.push(id);
                }
                Err(error) if Some(id) == newest => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(checkpoint = id.0, "an older checkpoint is given up: {error}");
                    self.store.remove(id)?;
                }
            }
        }
        self.history.1 = retained.iter().copied().collect();
        Ok(CheckpointedState { root: self.store.root().clone(), retained, stores })
    }

    pub(super) fn settings(&self) -> &CheckpointSettings {
        &self.settings
    }

    /// What the next attempt goes on from.
    pub(super) fn restored(&self) -> Option<Arc<RestoredState>> {
        self.restored.clone()
    }

    /// The tasks of an attempt run; each comes with whether it has a source.
    pub(super) fn begin(&mut self, tasks: impl IntoIterator<Item = (TaskId, bool)>, now_ns: u64) {
        let history = std::mem::take(&mut self.history);
        self.coordinator = Some(Coordinator::new(self.settings.clone(), history, tasks, now_ns));
    }

    /// The tasks of the attempt are gone; did it fail because its checkpoint is damaged, and how? True if nothing of it is
    /// left, and the next one may begin; else it is to be asked again after [`on_saved`](Self::on_saved).
    pub(super) fn end(&mut self, damage: Option<String>) -> Result<bool, BoxError> {
        if self.outstanding > 0 {
            return Ok(false);
        }
        self.has_fallen_back = false;
        match self.coordinator.take() {
            Some(coordinator) => self.history = coordinator.into_history(),
            None if damage.is_none() => return Ok(true),
            None => {}
        }
        let newest = self.history.1.back().copied();
        let began_at = self.restored.as_ref().map(|restored| restored.checkpoint);
        self.has_fallen_back = damage.is_some() && newest.is_some() && newest == began_at;
        let unusable = newest.zip(damage);
        self.restored = match self.history.1.back() {
            None => None,
            Some(_) => {
                let allowed = self.settings.allow_repeated_commits;
                let found = self.store.latest(&self.job_name, allowed, unusable)?;
                found.map(|(metadata, retained)| {
                    self.history.1 = retained;
                    Arc::new(metadata.into_restored())
                })
            }
        };
        Ok(true)
    }

    /// Was the attempt that has ended of no use because its checkpoint is damaged, and is there an older one? Each time there
    /// is one less.
    pub(super) fn has_fallen_back(&self) -> bool {
        self.has_fallen_back && self.restored.is_some()
    }

    /// When [`on_time`](Self::on_time) wants to be called next.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.coordinator.as_ref()?.next_ns()
    }

    pub(super) fn on_time(&mut self, now_ms: i64, now_ns: u64) -> Vec<Demand> {
        self.with(now_ms, |coordinator| coordinator.on_time(now_ns))
    }

    /// Somebody wants a checkpoint now.
    pub(super) fn want(&mut self) {
        self.coordinator.iter_mut().for_each(Coordinator::want);
    }

    /// A task reports.
    pub(super) fn on_report(
        &mut self,
        task: TaskId,
        report: Report,
        (now_ms, now_ns): (i64, u64),
    ) -> Vec<Demand> {
        let memory_bytes_max = self.settings.memory_bytes_max;
        self.with(now_ms, |coordinator| match report {
            Report::Ready(snapshot) => coordinator.on_snapshot(task, snapshot),
            Report::Declined(mut declined) => {
                declined.cause = MemoryFull::or(declined.cause, memory_bytes_max);
                coordinator.on_declined(declined, now_ns)
            }
            Report::InputEnded => {
                coordinator.on_input_ended(task);
                coordinator.on_time(now_ns)
            }
        })
    }

    /// A task has come to its end.
    pub(super) fn on_finished(&mut self, task: TaskId, now_ms: i64) -> Vec<Demand> {
        self.with(now_ms, |coordinator| coordinator.on_finished(task))
    }

    /// The saver reports.
    pub(super) fn on_saved(
        &mut self,
        done: SaverDone,
        (now_ms, now_ns): (i64, u64),
    ) -> Vec<Demand> {
        self.outstanding -= 1;
        match done {
            SaverDone::Saved(id, result) => {
                self.with(now_ms, |coordinator| coordinator.on_saved(id, result, now_ns))
            }
            SaverDone::Written { checkpoint, wish, result } => {
                let mut demands = self.with(now_ms, |coordinator| coordinator.unpin(checkpoint));
                demands.push(Demand::Written(wish, result));
                demands
            }
            SaverDone::Removed => Vec::new(),
        }
    }

    /// The checkpoint that is under way is to be kept until it is [written](Self::write_savepoint).
    pub(super) fn pin(&mut self, checkpoint: CheckpointId) {
        self.coordinator.iter_mut().for_each(|coordinator| coordinator.pin(checkpoint));
    }

    /// Can a savepoint be written there?
    pub(super) fn check_savepoint(&self, directory: &Path) -> Result<(), WriteError> {
        savepoint::require_free(&*self.savepoints, directory)
    }

    /// Copies a checkpoint that is complete and pinned; [`Demand::Written`] tells how it went. What the job has written there before
    /// is replaced.
    pub(super) fn write_savepoint(
        &mut self,
        checkpoint: CheckpointId,
        wish: SavepointWish,
        has_been_written: bool,
    ) {
        let storage = self.savepoints.clone();
        self.have_done(move |store| {
            let place = (&storage, wish.directory());
            let result = savepoint::write(store, checkpoint, place, has_been_written);
            let (job, directory) = wish.subject();
            let result = match result {
                Ok(size_bytes) => Ok(Savepoint { directory, checkpoint, size_bytes }),
                Err(error) => {
                    Err(SavepointError::NotWritten { job, directory, cause: error.to_string() })
                }
            };
            SaverDone::Written { checkpoint, wish, result }
        });
    }

    /// Adds the control plane's own pieces to the checkpoint that has just begun.
    pub(super) fn add(&mut self, pieces: Vec<SnapshotPiece>) {
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.add(pieces);
        }
    }

    fn with(
        &mut self,
        now_ms: i64,
        act: impl FnOnce(&mut Coordinator) -> Vec<Action>,
    ) -> Vec<Demand> {
        let Some(coordinator) = &mut self.coordinator else { return Vec::new() };
        let actions = act(coordinator);
        actions.into_iter().flat_map(|action| self.carry_out(action, now_ms)).collect()
    }

    fn carry_out(&mut self, action: Action, now_ms: i64) -> Vec<Demand> {
        match action {
            Action::Order(order @ TaskOrder::Completed(id)) => {
                vec![Demand::Completed(id), Demand::Order(order)]
            }
            Action::Order(order) => vec![Demand::Order(order)],
            Action::BeginBarrier(id) => vec![Demand::BeginBarrier(id)],
            Action::Fail(failure) => vec![Demand::Fail(failure)],
            Action::Warn(failure) => vec![Demand::Warn(failure)],
            Action::Save(gathered) => {
                self.save(gathered, now_ms);
                Vec::new()
            }
            Action::Discard(id) => {
                self.have_done(move |store| {
                    if let Err(error) = store.remove(id) {
                        tracing::warn!(checkpoint = id.0, "an old checkpoint remains: {error}");
                    }
                    SaverDone::Removed
                });
                vec![Demand::Order(TaskOrder::Released(id))]
            }
        }
    }

    fn save(&mut self, gathered: Gathered, now_ms: i64) {
        crash_point(crash_points::ALL_ACKED);
        let Gathered { checkpoint, is_final, pieces, .. } = gathered;
        let metadata = CheckpointMetadata {
            job_name: self.job_name.clone(),
            checkpoint: checkpoint.0,
            taken_at_ms: now_ms,
            is_final,
            commits: self.commits,
            is_savepoint: false,
            origin: self.origin.clone(),
            operators: CheckpointMetadata::operators(&self.operators, pieces),
        };
        let memory_bytes_max = self.settings.memory_bytes_max;
        self.have_done(move |store| {
            let refused = |error: MetadataError| MemoryFull::or(error.into(), memory_bytes_max);
            let result =
                store.save(&metadata).map(drop).map_err(|error| refused(error).to_string());
            SaverDone::Saved(checkpoint, result)
        });
    }

    fn have_done(&mut self, work: impl FnOnce(&CheckpointStore) -> SaverDone + Send + 'static) {
        self.outstanding += 1;
        self.saver.run(self.store.clone(), work);
    }

    /// Is nothing of it under way?
    pub(super) fn is_quiet(&self) -> bool {
        self.outstanding == 0
    }

    /// The job has come to its end: nobody will go back behind the last one.
    pub(super) fn keep_last(self) {
        let kept = self.store.list().and_then(|mut ids| {
            ids.pop();
            ids.into_iter().try_for_each(|id| self.store.remove(id))
        });
        if let Err(error) = kept {
            tracing::warn!(job = %self.job_name, "checkpoints of a job that is over remain: {error}");
        }
    }

    /// The job is over: its checkpoints are not needed.
    pub(super) fn remove_all(self) {
        if let Err(error) = self.store.clear() {
            tracing::warn!(job = %self.job_name, "checkpoints of a job that is over remain: {error}");
        }
    }
}

/// Writes and removes metadata files, off the control thread.
#[derive(Clone)]
struct Saver {
    job: JobId,
    control: ControlSender,
    /// In a simulation there is one thread.
    is_inline: bool,
}

/// The saver has done a piece of work.
#[derive(Debug)]
pub(crate) enum SaverDone {
    /// A checkpoint is complete, or is not.
    Saved(CheckpointId, Result<(), String>),
    /// A checkpoint was copied, or could not be.
    Written {
        checkpoint: CheckpointId,
        wish: SavepointWish,
        result: Result<Savepoint, SavepointError>,
    },
    /// Something that nobody waits for.
    Removed,
}

impl Saver {
    fn run(
        &self,
        store: Arc<CheckpointStore>,
        work: impl FnOnce(&CheckpointStore) -> SaverDone + Send + 'static,
    ) {
        let Saver { job, control, is_inline } = self.clone();
        let reply = control.clone();
        let body = move || {
            let done = work(&store);
            // Who is told that it is done may take the directory again.
            drop(store);
            reply.saved(job, done);
        };
        if is_inline {
            body();
        } else if let Err(error) = RuntimeThreads.spawn(THREAD_NAME, Box::new(body)) {
            // The checkpoint times out, or a file remains until the next start.
            tracing::error!("no thread for the files of a checkpoint: {error}");
            control.saved(job, SaverDone::Removed);
        }
    }
}
