//! The persistent tier of one slot, as its users see it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use thalweg_io::Spawner;
use thalweg_io::storage::Storage;

use super::lsm_tier::{LsmTier, Start, usable_checkpoints};
use super::table_registry::{OpenedTable, TableRequest};
use super::{Epoch, LsmOptions, OlderCheckpoints, StoreError, StoreStatistics, TableStore};
use crate::manifest::{Contents, Identity, Recovered};
use crate::snapshot::{
    CheckpointId, RestoreSource, StateRoot, StoreEvent, StoreName, check_key_hash, check_setting,
    restored_contents,
};
use crate::{KEY_HASH_NAME, KEY_HASH_VERSION};

/// The files below the tables of one slot: takes their changes at each barrier, makes checkpoints of
/// them, and gives rows back.
///
/// Clones are the same store; all belong to one thread. Dropping the last one, tables included, ends
/// the worker; what is not durable then is lost, as in a crash.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use thalweg_io::storage::MemoryStorage;
/// use thalweg_state::{CheckpointId, KeyGroupRange, LsmOptions, LsmStore, StoreEvent};
///
/// # fn main() -> Result<(), thalweg_state::StoreError> {
/// let storage = Arc::new(MemoryStorage::new());
/// let options = LsmOptions::new(KeyGroupRange { start: 0, end: 128 }, 128);
/// // No spawner: the worker runs within `poll`.
/// let store = LsmStore::create("/state", options.clone(), storage.clone(), None)?;
/// store.begin_checkpoint(CheckpointId(1))?;
/// // No table is open, so the epoch is complete at once.
/// let events = store.poll();
/// assert!(matches!(events[..], [StoreEvent::CheckpointComplete { id: CheckpointId(1), .. }]));
/// drop(store);
///
/// let store = LsmStore::open("/state", options, storage, None)?;
/// assert_eq!(store.restored_checkpoint(), Some(CheckpointId(1)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LsmStore {
    tier: Rc<RefCell<LsmTier>>,
}

impl fmt::Debug for LsmStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not all of the storage, which may be in memory.
        let store = self.tier.try_borrow().map(|tier| tier.options().store.clone());
        formatter.debug_struct("LsmStore").field("store", &store.ok()).finish_non_exhaustive()
    }
}

impl LsmStore {
    /// Creates a store in a directory of which it is the only user in this process; see
    /// [`Self::create_in`].
    ///
    /// # Errors
    ///
    /// Those of [`StateRoot::open`] and [`Self::create_in`].
    pub fn create(
        directory: impl AsRef<Path>,
        options: LsmOptions,
        storage: Arc<dyn Storage>,
        spawner: Option<&dyn Spawner>,
    ) -> Result<Self, StoreError> {
        Self::create_in(&StateRoot::open(directory, storage)?, options, spawner)
    }

    /// Opens a store at its latest checkpoint, in a directory of which it is the only user in this
    /// process; see [`Self::open_in`].
    ///
    /// # Errors
    ///
    /// Those of [`StateRoot::open`] and [`Self::open_in`].
    pub fn open(
        directory: impl AsRef<Path>,
        options: LsmOptions,
        storage: Arc<dyn Storage>,
        spawner: Option<&dyn Spawner>,
    ) -> Result<Self, StoreError> {
        Self::open_in(&StateRoot::open(directory, storage)?, options, spawner)
    }

    /// Creates a store.
    ///
    /// Without a spawner the worker runs within [`Self::poll`]: for tests and simulation.
    ///
    /// # Errors
    ///
    /// [`StoreError::StoreExists`], [`StoreError::InvalidOption`], or what the storage says.
    pub fn create_in(
        root: &Arc<StateRoot>,
        options: LsmOptions,
        spawner: Option<&dyn Spawner>,
    ) -> Result<Self, StoreError> {
        let name = start_new(root, &options)?;
        let contents = Contents::new(identity(&options));
        let (root, before, checkpoint) = (Arc::clone(root), BTreeSet::new(), None);
        Self::start(Start { name, root, contents, before, checkpoint }, options, spawner)
    }

    /// Opens a store at its latest checkpoint; a store without one is empty. Nothing but the
    /// manifest, and the footers of deltas, is read.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSuchStore`]; [`StoreError::SettingChanged`] if key groups or maximum
    /// parallelism are not those it was created with; [`StoreError::Damaged`] or
    /// [`StoreError::Malformed`], which name the checkpoints that [`Self::open_at_in`] can open
    /// instead; or what the storage says.
    pub fn open_in(
        root: &Arc<StateRoot>,
        options: LsmOptions,
        spawner: Option<&dyn Spawner>,
    ) -> Result<Self, StoreError> {
        let (name, found) = take_existing(root, &options)?;
        if let Some(damage) = found.damage {
            let files = root.files().of_store(&options.store);
            return Err(damage.with_older(usable_checkpoints(&files, &found.contents)));
        }
        let before = found.contents.referenced();
        let checkpoint = found.contents.checkpoints.keys().next_back().copied();
        let contents = match checkpoint {
            Some(id) => found.contents.rewound_to(id).expect("it has this checkpoint"),
            None => found.contents.emptied(),
        };
        let root = Arc::clone(root);
        Self::start(Start { name, root, contents, before, checkpoint }, options, spawner)
    }

    /// Opens a store at a checkpoint that it retains; later ones are given up. Also after damage that
    /// the checkpoint does not need.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSuchCheckpoint`] and those of [`Self::open_in`].
    pub fn open_at_in(
        root: &Arc<StateRoot>,
        options: LsmOptions,
        checkpoint: CheckpointId,
        spawner: Option<&dyn Spawner>,
    ) -> Result<Self, StoreError> {
        let (name, found) = take_existing(root, &options)?;
        let before = found.contents.referenced();
        let older = found.contents.checkpoints.keys().rev().copied().collect();
        let Some(contents) = found.contents.rewound_to(checkpoint) else {
            let (store, older) = (options.store, OlderCheckpoints(older));
            let missing = StoreError::NoSuchCheckpoint { store, checkpoint, older };
            return Err(found.damage.unwrap_or(missing));
        };
        let (root, checkpoint) = (Arc::clone(root), Some(checkpoint));
        Self::start(Start { name, root, contents, before, checkpoint }, options, spawner)
    }

    /// Creates a store from checkpoints of others in the same directory, each of which gives the key
    /// groups that both have. No file is read or copied: the stores share them. If all sources are of
    /// one checkpoint, the new store has it too, and the sources are not needed any more.
    ///
    /// # Errors
    ///
    /// [`StoreError::SourcesDoNotFit`] unless the sources cover the key groups exactly once;
    /// [`StoreError::SchemaChanged`] if their tables differ; and those of [`Self::create_in`] and
    /// [`Self::open_at_in`].
    pub fn restore_in(
        root: &Arc<StateRoot>,
        options: LsmOptions,
        sources: &[RestoreSource],
        spawner: Option<&dyn Spawner>,
    ) -> Result<Self, StoreError> {
        let name = start_new(root, &options)?;
        let contents = restored_contents(root, identity(&options), sources)?;
        let checkpoint = contents.checkpoints.keys().next_back().copied();
        let (root, before) = (Arc::clone(root), BTreeSet::new());
        Self::start(Start { name, root, contents, before, checkpoint }, options, spawner)
    }

    fn start(
        start: Start,
        options: LsmOptions,
        spawner: Option<&dyn Spawner>,
    ) -> Result<Self, StoreError> {
        let tier = LsmTier::start(start, options, spawner)?;
        Ok(LsmStore { tier: Rc::new(RefCell::new(tier)) })
    }

    /// The checkpoint that the store was opened at or restored from.
    pub fn restored_checkpoint(&self) -> Option<CheckpointId> {
        self.tier.borrow().restored_checkpoint()
    }

    /// The checkpoints that the store had when it was opened, the oldest first; those that are not
    /// needed any more are to be [released](Self::release_checkpoint).
    pub fn opened_with(&self) -> Vec<CheckpointId> {
        self.tier.borrow().opened_with().to_vec()
    }

    /// The epoch in which changes happen that the next barrier ends.
    pub fn current_epoch(&self) -> Epoch {
        self.tier.borrow().current_epoch()
    }

    /// Says that the current epoch, which each table ends at its barrier, is a checkpoint. Once all
    /// open tables have written their changes it goes to the disk; [`Self::poll`] tells when it is
    /// complete. Calling it again for the latest checkpoint changes nothing, so the first table that
    /// a barrier reaches may do so.
    ///
    /// # Errors
    ///
    /// [`StoreError::Congested`] while the disk is behind: the changes go into a later checkpoint;
    /// [`StoreError::WorkerEnded`].
    pub fn begin_checkpoint(&self, id: CheckpointId) -> Result<Epoch, StoreError> {
        self.tier.borrow_mut().begin_epoch(Some(id))
    }

    /// Says that the current epoch is ended for memory's sake, without a checkpoint: once it is
    /// complete its rows can be read from files.
    ///
    /// # Errors
    ///
    /// As [`Self::begin_checkpoint`].
    pub fn begin_spill(&self) -> Result<Epoch, StoreError> {
        self.tier.borrow_mut().begin_epoch(None)
    }

    /// Says that a checkpoint is not needed any more.
    pub fn release_checkpoint(&self, id: CheckpointId) {
        self.tier.borrow_mut().release_checkpoint(id);
    }

    /// What the worker has done since the last call; runs it for a bounded time if it has no thread.
    pub fn poll(&self) -> Vec<StoreEvent> {
        self.tier.borrow_mut().poll()
    }

    /// Whether the latest [`Self::poll`] found nothing to do for a worker that has no thread.
    pub fn is_idle(&self) -> bool {
        self.tier.borrow().is_idle()
    }

    /// Bytes of changes that are not durable yet.
    pub fn waiting_bytes(&self) -> u64 {
        self.tier.borrow().waiting_bytes()
    }

    /// The options that it was opened with.
    pub fn options(&self) -> LsmOptions {
        self.tier.borrow().options().clone()
    }

    /// What the store holds, has done, and what reads cost.
    pub fn statistics(&self) -> StoreStatistics {
        self.tier.borrow().statistics()
    }

    /// Opens a table: compares its types with those it was written with, and gives its way down.
    ///
    /// # Errors
    ///
    /// [`StoreError::SchemaChanged`] for the first state whose types differ and cannot evolve;
    /// [`StoreError::TableInUse`]; [`StoreError::TooManyTables`].
    pub(crate) fn table(&self, request: &TableRequest<'_>) -> Result<OpenedTable, StoreError> {
        let (id, epoch, registered) = self.tier.borrow_mut().open_table(request)?;
        let layout = self.tier.borrow().layout();
        let store = TableStore::new(id, layout, epoch, self.tier.clone());
        Ok(OpenedTable { store, states: registered.states, versions: registered.versions })
    }
}

fn identity(options: &LsmOptions) -> Identity {
    Identity {
        store: options.store.clone(),
        groups: options.key_groups,
        max_parallelism: options.max_parallelism,
        key_hash_version: KEY_HASH_VERSION,
        key_hash_name: KEY_HASH_NAME.into(),
    }
}

/// Takes the name of a store that is not there.
fn start_new(root: &Arc<StateRoot>, options: &LsmOptions) -> Result<StoreName, StoreError> {
    options.check()?;
    let name = root.take_name(&options.store)?;
    match root.has_store(&options.store)? {
        false => Ok(name),
        true => {
            let (store, directory) = (options.store.clone(), root.directory().to_path_buf());
            Err(StoreError::StoreExists { store, directory })
        }
    }
}

/// Takes the name of a store that is there, with what its manifest says and what is wrong with that.
fn take_existing(
    root: &Arc<StateRoot>,
    options: &LsmOptions,
) -> Result<(StoreName, Recovered), StoreError> {
    options.check()?;
    let name = root.take_name(&options.store)?;
    let recovered = root.read_store(&options.store)?;
    let (expected, found) = (&recovered.contents.identity, identity(options));
    check_key_hash(expected, &found)?;
    let store = &options.store;
    check_setting(store, "maximum parallelism", expected.max_parallelism, found.max_parallelism)?;
    if expected.groups != found.groups {
        let describe = |range: crate::KeyGroupRange| format!("{}..{}", range.start, range.end);
        return Err(StoreError::SettingChanged {
            store: store.clone(),
            setting: "key groups",
            expected: describe(expected.groups).into(),
            found: describe(found.groups).into(),
            remedy: "restore it into a new store of the other key groups",
        });
    }
    Ok((name, recovered))
}
