//! Where the keyed operators of a job put their state: one directory a job, one LSM store an operator and subtask in it.
//!
//! | | without checkpoints | with checkpoints |
//! |---|---|---|
//! | who has a directory | jobs with the LSM backend and a limit of memory | all with keyed operators |
//! | which one | its own, [`of_job`](StateFiles::of_job) | that of the checkpoints, [`in_checkpoints`](StateFiles::in_checkpoints) |
//! | when it goes | with the job | never |
//! | backend `memory` | no files | each checkpoint is full, all rows stay in memory |
//! | backend `lsm` | rows leave memory | the same, and checkpoints are incremental |
//!
//! 1. The job master makes the files when it deploys the tasks of an attempt; the [`StateRoot`] of the checkpoints is opened
//!    once a job and goes on over restarts.
//! 2. [`StateFiles::open_store`] makes a subtask's store on its core: anew, or from a checkpoint.
//! 3. Checkpoints that are not retained any more are released; stores that no retained checkpoint needs are removed when the
//!    next attempt begins, or by [`remove_unneeded`].
//!
//! The memory of a slot is shared equally by the keyed operators of the job, each of which may have a subtask in it.
//!
//! **Invariants**
//! - A directory without checkpoints belongs to one job of one process: its name has the process id and the job's number.
//! - A job without checkpoints and without the LSM backend, or with all its state in memory, touches no file here.
//! - The stores of an attempt are closed when its last task is dropped, so their names are free for the next one.

use super::deployment::JobId;
use super::threads::RuntimeThreads;
use crate::config::{Configuration, StateBackend};
use crate::error::BoxError;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Waker;
use thalweg_io::Spawner;
use thalweg_io::storage::{PosixStorage, Storage, UringOptions, UringStorage, remove_tree};
use thalweg_state::{
    CheckpointId, KeyGroupRange, LsmOptions, LsmStore, RestoreSource, StateError, StateRoot,
    StoreError,
};

/// Where files are.
#[derive(Clone, Debug)]
pub(crate) enum FilesPlace {
    /// On the machine; threads write them.
    Local,
    /// On a simulated disk; whoever drives the job's cores writes them, so that a run can be repeated.
    Simulated(Arc<dyn Storage>),
}

/// Keyed state in the directory of a job's checkpoints.
#[derive(Clone, Debug)]
pub(crate) struct CheckpointedState {
    /// Open as long as the job is; no other job uses it.
    pub(crate) root: Arc<StateRoot>,
    /// The checkpoints that may be restored from now on.
    pub(crate) retained: Vec<CheckpointId>,
    /// The stores that these need: see [`stores_of`](crate::operator::keyed_store::stores_of).
    pub(crate) stores: BTreeSet<String>,
}

/// See the module docs.
pub(crate) struct StateFiles {
    directory: Directory,
    /// `None`: the stores' work is done within the calls of operators.
    spawner: Option<RuntimeThreads>,
    /// `None`: all rows stay in memory.
    operator_budget_bytes: Option<u64>,
    /// Each checkpoint has all rows.
    is_full: bool,
}

enum Directory {
    /// Removed at the end. No root any more then, so that the lock is given back before.
    OfJob {
        root: Option<Arc<StateRoot>>,
        storage: Arc<dyn Storage>,
        path: PathBuf,
    },
    OfCheckpoints(CheckpointedState),
}

/// The store of a subtask, and what it is to begin with.
pub(crate) struct StoreRequest {
    /// The name that it gets if it is free.
    pub(crate) name: String,
    pub(crate) key_groups: KeyGroupRange,
    pub(crate) max_parallelism: u16,
    pub(crate) begin: StoreBegin,
    /// Woken when the store has news.
    pub(crate) waker: Waker,
}

/// What a store begins with.
pub(crate) enum StoreBegin {
    Empty,
    /// With a checkpoint of its own; later ones are given up.
    At {
        store: String,
        checkpoint: CheckpointId,
    },
    /// With the key groups that it shares with these.
    From(Vec<RestoreSource>),
}

impl StateFiles {
    /// The files of a job without checkpoints and with this many keyed operators; `None` if it needs none.
    pub(crate) fn of_job(
        configuration: &Configuration,
        job: JobId,
        keyed_operators: usize,
        place: FilesPlace,
    ) -> Result<Option<Arc<Self>>, BoxError> {
        let operator_budget_bytes = operator_budget_bytes(configuration, keyed_operators);
        if operator_budget_bytes.is_none() {
            return Ok(None);
        }
        let parent = configuration.state_directory().map_or_else(std::env::temp_dir, PathBuf::from);
        let path = parent.join(format!("thalweg-state-{}-{}", std::process::id(), job.0));
        let storage = storage_of(&place, &path);
        let root = Some(StateRoot::open(&path, storage.clone())?);
        let directory = Directory::OfJob { root, storage, path };
        let (spawner, is_full) = (spawner_at(&place), false);
        Ok(Some(Arc::new(StateFiles { directory, spawner, operator_budget_bytes, is_full })))
    }

    /// The files of an attempt of a job with checkpoints; `None` if it has no keyed operator. Stores that no retained
    /// checkpoint needs are removed, which nobody uses: the tasks of the attempt before are gone.
    ///
    /// # Errors
    /// What the storage says.
    pub(crate) fn in_checkpoints(
        configuration: &Configuration,
        keyed_operators: usize,
        state: CheckpointedState,
        place: FilesPlace,
    ) -> Result<Option<Arc<Self>>, BoxError> {
        remove_unneeded(&state.root, &state.stores)?;
        if keyed_operators == 0 {
            return Ok(None);
        }
        Ok(Some(Arc::new(StateFiles {
            directory: Directory::OfCheckpoints(state),
            spawner: spawner_at(&place),
            operator_budget_bytes: operator_budget_bytes(configuration, keyed_operators),
            is_full: configuration.state_backend() == StateBackend::Memory,
        })))
    }

    /// Opens the store of a subtask; all of its tables have to be opened next.
    ///
    /// # Errors
    /// What opening, creating or restoring a store returns.
    pub(crate) fn open_store(&self, request: StoreRequest) -> Result<LsmStore, StateError> {
        let options = LsmOptions::new(request.key_groups, request.max_parallelism)
            .memory_budget_bytes(self.operator_budget_bytes)
            .retained_checkpoints(None)
            .full_checkpoints(self.is_full)
            .waker(request.waker);
        let spawner = self.spawner.as_ref().map(|spawner| spawner as &dyn Spawner);
        let root = self.root();
        let (name, begin) = (request.name, request.begin);
        let store = match begin {
            StoreBegin::At { store, checkpoint } => {
                LsmStore::open_at_in(root, options.store(&store), checkpoint, spawner)?
            }
            StoreBegin::Empty => with_free_name(&name, |name| {
                LsmStore::create_in(root, options.clone().store(name), spawner)
            })?,
            StoreBegin::From(sources) => with_free_name(&name, |name| {
                LsmStore::restore_in(root, options.clone().store(name), &sources, spawner)
            })?,
        };
        self.release_unneeded(&store);
        Ok(store)
    }

    /// Releases what a store still has of checkpoints that were released when it was not open, or never completed by all.
    fn release_unneeded(&self, store: &LsmStore) {
        let Directory::OfCheckpoints(state) = &self.directory else { return };
        let restored = store.restored_checkpoint();
        for id in store.opened_with() {
            if restored != Some(id) && !state.retained.contains(&id) {
                store.release_checkpoint(id);
            }
        }
    }

    fn root(&self) -> &Arc<StateRoot> {
        match &self.directory {
            Directory::OfJob { root, .. } => {
                root.as_ref().expect("there is a root until the files are dropped")
            }
            Directory::OfCheckpoints(state) => &state.root,
        }
    }
}

impl Drop for StateFiles {
    fn drop(&mut self) {
        let Directory::OfJob { root, storage, path } = &mut self.directory else { return };
        *root = None; // Lets go of the lock.
        if let Err(error) = remove_tree(&**storage, path) {
            tracing::warn!("the state files of a job that is over remain: {error}");
        }
    }
}

/// The storage of files in a place, those that are given up waiting in `directory` to be used again.
pub(crate) fn storage_of(place: &FilesPlace, directory: &Path) -> Arc<dyn Storage> {
    match place {
        FilesPlace::Local => local_storage(directory),
        FilesPlace::Simulated(storage) => storage.clone(),
    }
}

/// The storage of savepoints: files that are written once, and read once.
pub(crate) fn savepoint_storage(place: &FilesPlace) -> Arc<dyn Storage> {
    match place {
        FilesPlace::Local => Arc::new(PosixStorage::new()),
        FilesPlace::Simulated(storage) => storage.clone(),
    }
}

/// Removes the stores of the directory that are neither among `needed` nor open. A store that was restored into another
/// one stays as long as a checkpoint is retained that was taken of it.
///
/// # Errors
/// What the storage says.
pub(crate) fn remove_unneeded(
    root: &Arc<StateRoot>,
    needed: &BTreeSet<String>,
) -> Result<(), BoxError> {
    for summary in root.stores()? {
        if needed.contains(&*summary.store) {
            continue;
        }
        match root.remove_store(&summary.store) {
            Ok(()) | Err(StoreError::StoreInUse { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// So many names are tried: retained checkpoints of earlier attempts may hold a few.
const NAMES_MAX: usize = 10_000;

/// Makes a store of this name, or, where there is one, of one with a number behind it.
fn with_free_name(
    name: &str,
    mut make: impl FnMut(&str) -> Result<LsmStore, StoreError>,
) -> Result<LsmStore, StoreError> {
    let mut made = make(name);
    for number in 1..NAMES_MAX {
        match made {
            Err(StoreError::StoreExists { .. } | StoreError::StoreInUse { .. }) => {
                made = make(&format!("{name}.{number}"));
            }
            other => return other,
        }
    }
    made
}

/// What rows of one operator may take in a slot; `None` for any.
fn operator_budget_bytes(configuration: &Configuration, keyed_operators: usize) -> Option<u64> {
    let slot_memory_bytes = match configuration.state_backend() {
        StateBackend::Memory => None,
        StateBackend::Lsm => configuration.slot_memory_bytes(),
    };
    slot_memory_bytes?.checked_div(keyed_operators as u64)
}

fn spawner_at(place: &FilesPlace) -> Option<RuntimeThreads> {
    match place {
        FilesPlace::Local => Some(RuntimeThreads),
        FilesPlace::Simulated(_) => None,
    }
}

/// io_uring where it is offered. Files that were given up wait in the directory to be used again.
pub(crate) fn local_storage(directory: &Path) -> Arc<dyn Storage> {
    let options = UringOptions::new().spare_directory(directory.join("spares"));
    match UringStorage::new(options, &RuntimeThreads) {
        Ok(storage) => Arc::new(storage),
        Err(error) => {
            tracing::warn!("state files are written without io_uring: {error}");
            Arc::new(PosixStorage::new())
        }
    }
}
