//! Where the keyed operators of a job put state that is not in memory: one directory a job, one LSM store an operator and
//! subtask in it.
//!
//! 1. [`StateFiles::of_job`] makes the directory when the job is deployed, if its configuration asks for the LSM backend and
//!    limits the memory of a slot.
//! 2. [`StateFiles::open_store`] makes a subtask's store on its core.
//! 3. When the last operator is dropped, the directory is removed: state that outlives a job is what checkpoints are for.
//!
//! The memory of a slot is shared equally by the keyed operators of the job, each of which may have a subtask in it.
//!
//! **Invariants**
//! - A directory belongs to one job of one process: its name has the process id and the job's number.
//! - A job without the LSM backend, or with all its state in memory, touches no file here.

use super::deployment::JobId;
use super::threads::RuntimeThreads;
use crate::config::{Configuration, StateBackend};
use crate::error::BoxError;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thalweg_io::Spawner;
use thalweg_io::storage::{
    MemoryStorage, PosixStorage, Storage, UringOptions, UringStorage, remove_tree,
};
use thalweg_state::{KeyGroupRange, LsmOptions, LsmStore, StateError, StateRoot};

/// Where files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FilesPlace {
    /// On the machine; threads write them.
    Local,
    /// In memory; whoever drives the job's cores writes them, so that a run can be repeated.
    Simulated,
}

/// See the module docs.
pub(crate) struct StateFiles {
    root: Option<Arc<StateRoot>>,
    storage: Arc<dyn Storage>,
    /// `None`: the stores' work is done within the calls of operators.
    spawner: Option<RuntimeThreads>,
    directory: PathBuf,
    operator_budget_bytes: u64,
}

impl StateFiles {
    /// The files of a job with this many keyed operators; `None` if it needs none.
    pub(crate) fn of_job(
        configuration: &Configuration,
        job: JobId,
        keyed_operators: usize,
        place: FilesPlace,
    ) -> Result<Option<Arc<Self>>, BoxError> {
        let slot_memory_bytes = match configuration.state_backend() {
            StateBackend::Memory => return Ok(None),
            StateBackend::Lsm => configuration.slot_memory_bytes(),
        };
        let Some(slot_memory_bytes) = slot_memory_bytes.filter(|_| keyed_operators > 0) else {
            return Ok(None);
        };
        let parent = configuration.state_directory().map_or_else(std::env::temp_dir, PathBuf::from);
        let directory = parent.join(format!("thalweg-state-{}-{}", std::process::id(), job.0));
        let (storage, spawner): (Arc<dyn Storage>, _) = match place {
            FilesPlace::Local => (local_storage(&directory), Some(RuntimeThreads)),
            FilesPlace::Simulated => (Arc::new(MemoryStorage::new()), None),
        };
        let root = StateRoot::open(&directory, storage.clone())?;
        let operator_budget_bytes = slot_memory_bytes / keyed_operators as u64;
        let root = Some(root);
        Ok(Some(Arc::new(StateFiles { root, storage, spawner, directory, operator_budget_bytes })))
    }

    /// The store of a subtask of the operator of this number.
    pub(crate) fn open_store(
        &self,
        (operator, subtask): (u32, usize),
        key_groups: KeyGroupRange,
        max_parallelism: u16,
    ) -> Result<LsmStore, StateError> {
        let root = self.root.as_ref().expect("there is a root until the files are dropped");
        let options = LsmOptions::new(key_groups, max_parallelism)
            .store(&format!("{operator}-{subtask}"))
            .memory_budget_bytes(Some(self.operator_budget_bytes));
        let spawner = self.spawner.as_ref().map(|spawner| spawner as &dyn Spawner);
        Ok(LsmStore::create_in(root, options, spawner)?)
    }
}

impl Drop for StateFiles {
    fn drop(&mut self) {
        self.root = None; // Lets go of the lock.
        if let Err(error) = remove_tree(&*self.storage, &self.directory) {
            tracing::warn!("the state files of a job that is over remain: {error}");
        }
    }
}

/// The storage of files in a place, those that are given up waiting in `directory` to be used again.
pub(crate) fn storage_of(place: FilesPlace, directory: &Path) -> Arc<dyn Storage> {
    match place {
        FilesPlace::Local => local_storage(directory),
        FilesPlace::Simulated => Arc::new(MemoryStorage::new()),
    }
}

/// io_uring where it is offered. Files that were given up wait in the job's directory to be used again.
fn local_storage(directory: &Path) -> Arc<dyn Storage> {
    let options = UringOptions::new().spare_directory(directory.join("spares"));
    match UringStorage::new(options, &RuntimeThreads) {
        Ok(storage) => Arc::new(storage),
        Err(error) => {
            tracing::warn!("state files are written without io_uring: {error}");
            Arc::new(PosixStorage::new())
        }
    }
}
