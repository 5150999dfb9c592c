//! The directory that stores share: its lock, its files, and who refers to which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thalweg_io::block::{BlockOwner, FileId};
use thalweg_io::checkpoint_file::{CheckpointFileReader, CheckpointFileWriter, FileFormat, Naming};
use thalweg_io::file::IN_PROGRESS_SUFFIX;
use thalweg_io::storage::{FileKind, FileLock, Storage, create_durable_dir_all};
use thalweg_io::{Fault, IoError, planted};

use super::garbage::{self, DataFile};
use super::{CheckpointId, StoreFiles};
use crate::KeyGroupRange;
use crate::backend::{Epoch, StoreError};
use crate::codec::TableId;
use crate::manifest::{Contents, Recovered, read_manifest};

pub(crate) const ROOT_FORMAT: FileFormat = FileFormat::new("root", 1);
const MANIFEST_SUFFIX: &str = ".manifest";
/// The lower bits of a file id count files; those above, how often the directory was opened.
const COUNTER_BITS: u32 = 40;
/// How far the count of openings jumps when it was lost.
const LOST_OPENINGS: u64 = 1 << 10;

/// A directory of stores, open in this process and in no other.
///
/// # Invariants
///
/// - `references` has, for each store, at least the data files that its durable manifest refers to.
/// - A table's name has one number in all stores of the directory, so that stores can be put together
///   without touching their files.
#[derive(Debug)]
pub struct StateRoot {
    directory: PathBuf,
    files: StoreFiles,
    shared: Mutex<Shared>,
    /// Held until the last store is dropped.
    _lock: Box<dyn FileLock>,
}

#[derive(Debug, Default)]
struct Shared {
    references: BTreeMap<Box<str>, BTreeSet<FileId>>,
    tables: BTreeMap<Box<str>, TableId>,
    open_stores: BTreeSet<Box<str>>,
}

/// A store as its manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSummary {
    /// Its name.
    pub store: Box<str>,
    /// Its key groups.
    pub key_groups: KeyGroupRange,
    /// How many key groups there are in all.
    pub max_parallelism: u16,
    /// The completed checkpoints that were not released, the oldest first.
    pub checkpoints: Vec<CheckpointSummary>,
}

/// A completed checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointSummary {
    /// Which one.
    pub id: CheckpointId,
    /// The epoch that it ends.
    pub epoch: Epoch,
    /// The length of its files.
    pub total_bytes: u64,
    /// How many files it has.
    pub file_count: usize,
}

/// A store's name, taken until this is dropped.
#[derive(Debug)]
pub(crate) struct StoreName {
    root: Arc<StateRoot>,
    name: Box<str>,
}

impl Drop for StoreName {
    fn drop(&mut self) {
        self.root.shared().open_stores.remove(&self.name);
    }
}

impl StateRoot {
    /// Opens a directory, and makes it when it is missing. Files that no manifest refers to, which
    /// only a crash leaves behind, are removed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] with `Locked` if another process, or this one, has it open; what the
    /// storage says; [`StoreError::Damaged`] if it was written by a later version.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{path::Path, sync::Arc};
    /// use thalweg_io::storage::MemoryStorage;
    /// use thalweg_state::StateRoot;
    ///
    /// # fn main() -> Result<(), thalweg_state::StoreError> {
    /// let root = StateRoot::open(Path::new("/state"), Arc::new(MemoryStorage::new()))?;
    /// assert!(root.stores()?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(
        directory: impl AsRef<Path>,
        storage: Arc<dyn Storage>,
    ) -> Result<Arc<Self>, StoreError> {
        let directory = directory.as_ref().to_path_buf();
        let failed = |error| StoreError::io("", error);
        for name in ["files", "manifests"] {
            create_durable_dir_all(&*storage, &directory.join(name)).map_err(failed)?;
        }
        let lock = storage.lock(&directory.join("LOCK")).map_err(failed)?;
        storage.sync_dir(&directory).map_err(failed)?;
        let openings = count_opening(&storage, &directory)?;
        let next_id = FileId(openings << COUNTER_BITS);
        let files = StoreFiles::new(storage, &directory.join("files"), next_id);
        let root = StateRoot { directory, files, shared: Mutex::default(), _lock: lock };
        root.recover()?;
        Ok(Arc::new(root))
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// All stores in the directory whose manifests can be read, by name.
    ///
    /// # Errors
    ///
    /// If the directory cannot be listed.
    pub fn stores(&self) -> Result<Vec<StoreSummary>, StoreError> {
        let manifests = self.manifests().map_err(|error| StoreError::io("", error))?;
        let read = manifests
            .iter()
            .filter_map(|(store, path)| read_manifest(&**self.files.storage(), path, store).ok());
        Ok(read.map(|recovered| summary(&recovered.contents)).collect())
    }

    /// Removes a store that is not open, with all of its checkpoints. Files that other stores refer
    /// to stay.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSuchStore`], [`StoreError::StoreInUse`], or what the storage says. The store
    /// is gone once its manifest is; files that could not be removed then are when the directory is
    /// opened next.
    pub fn remove_store(self: &Arc<Self>, store: &str) -> Result<(), StoreError> {
        let _name = self.take_name(store)?;
        let failed = |error| StoreError::io(store, error);
        let recovered = self.read_store(store);
        let storage = self.files.storage();
        if let Err(error @ StoreError::NoSuchStore { .. }) = recovered {
            return Err(error);
        }
        storage.remove(&self.manifest_path(store)).map_err(failed)?;
        storage.sync_dir(&self.directory.join("manifests")).map_err(failed)?;
        let referenced = recovered.map_or(BTreeSet::new(), |found| found.contents.referenced());
        for file in referenced {
            if self.release(store, file.id) {
                garbage::remove(&self.files, file).map_err(failed)?;
            }
        }
        Ok(())
    }

    pub(crate) fn files(&self) -> &StoreFiles {
        &self.files
    }

    /// The path of a store's manifest.
    pub(crate) fn manifest_path(&self, store: &str) -> PathBuf {
        manifest_path(&self.directory, store)
    }

    /// Removes all stores and all files, and forgets the numbers of tables.
    ///
    /// # Errors
    ///
    /// [`StoreError::StoreInUse`], or what the storage says.
    pub(super) fn empty(self: &Arc<Self>) -> Result<(), StoreError> {
        let failed = |error| StoreError::io("", error);
        for (store, _) in self.manifests().map_err(failed)? {
            self.remove_store(&store)?;
        }
        self.shared().tables.clear();
        self.remove_orphans().map_err(failed)
    }

    /// Files that are made from now on, in this opening of the directory or a later one, have ids above this one. Durable.
    ///
    /// # Errors
    ///
    /// What the storage says.
    pub(super) fn count_past(&self, id: FileId) -> Result<(), StoreError> {
        let storage = self.files.storage();
        let openings = read_openings(&**storage, &self.directory.join("ROOT"));
        let openings = openings.map_err(|error| StoreError::io("", error))?;
        let needed = (id.0 >> COUNTER_BITS) + 1;
        if openings < needed {
            write_openings(storage, &self.directory, needed)?;
            self.files.skip_to(FileId(needed << COUNTER_BITS));
        }
        Ok(())
    }

    /// What a store's manifest says.
    pub(crate) fn read_store(&self, store: &str) -> Result<Recovered, StoreError> {
        let path = self.manifest_path(store);
        match read_manifest(&**self.files.storage(), &path, store) {
            Err(StoreError::Io { source, .. }) if source.is_not_found() => {
                let directory = self.directory.clone();
                Err(StoreError::NoSuchStore { store: store.into(), directory })
            }
            other => other,
        }
    }

    /// Whether there is a manifest of this name, readable or not.
    pub(crate) fn has_store(&self, store: &str) -> Result<bool, StoreError> {
        match self.files.storage().metadata(&self.manifest_path(store)) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(StoreError::io(store, error)),
        }
    }

    /// Takes a store's name: a store has one owner.
    pub(crate) fn take_name(self: &Arc<Self>, store: &str) -> Result<StoreName, StoreError> {
        check_name(store)?;
        if !self.shared().open_stores.insert(store.into()) {
            return Err(StoreError::StoreInUse { store: store.into() });
        }
        Ok(StoreName { root: Arc::clone(self), name: store.into() })
    }

    /// The number of a table of this name, in all stores of the directory.
    pub(crate) fn table_id(&self, store: &str, table: &str) -> Result<TableId, StoreError> {
        let mut shared = self.shared();
        if let Some(id) = shared.tables.get(table) {
            return Ok(*id);
        }
        let taken: BTreeSet<TableId> = shared.tables.values().copied().collect();
        let limit = usize::from(u16::MAX);
        let free = (0..u16::MAX).map(TableId).find(|id| !taken.contains(id));
        let no_more = || {
            let (store, table) = (store.into(), table.into());
            StoreError::TooManyTables { store, table, limit }
        };
        let id = free.ok_or_else(no_more)?;
        shared.tables.insert(table.into(), id);
        Ok(id)
    }

    /// A store refers to these files, or is about to.
    pub(crate) fn refer(&self, store: &str, files: impl IntoIterator<Item = DataFile>) {
        let files = files.into_iter().map(|file| file.id);
        self.shared().references.entry(store.into()).or_default().extend(files);
    }

    /// A store does not refer to a file any more; whether none does.
    pub(crate) fn release(&self, store: &str, file: FileId) -> bool {
        let mut shared = self.shared();
        if let Some(files) = shared.references.get_mut(store) {
            files.remove(&file);
        }
        !shared.references.values().any(|files| files.contains(&file))
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // Whoever panicked left the maps whole: each change is one call.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rebuilds who refers to what from the manifests, and removes what nobody does.
    fn recover(&self) -> Result<(), StoreError> {
        let failed = |error| StoreError::io("", error);
        let mut is_complete = true;
        for (store, path) in self.manifests().map_err(failed)? {
            let Ok(recovered) = self.settle(&store, &path)? else {
                is_complete = false;
                continue;
            };
            is_complete &= recovered.damage.is_none();
            self.adopt(&store, &recovered.contents);
        }
        if is_complete && !planted(Fault::ReferencesKept) {
            self.remove_orphans().map_err(failed)?;
        }
        Ok(())
    }

    /// Reads a manifest; what was read is durable then, as it need not be after the process that
    /// wrote it was killed.
    fn settle(
        &self,
        store: &str,
        path: &Path,
    ) -> Result<Result<Recovered, StoreError>, StoreError> {
        let storage = self.files.storage();
        let synced = storage.open_append(path).and_then(|mut file| file.sync());
        synced.map_err(|error| StoreError::io(store, error))?;
        match read_manifest(&**storage, path, store) {
            Err(error @ StoreError::Io { .. }) => Err(error),
            other => Ok(other),
        }
    }

    pub(super) fn adopt(&self, store: &str, contents: &Contents) {
        self.refer(store, contents.referenced());
        let mut shared = self.shared();
        for (id, table) in &contents.tables {
            shared.tables.entry(table.name.clone()).or_insert(*id);
        }
    }

    /// The manifests, by store.
    fn manifests(&self) -> Result<Vec<(Box<str>, PathBuf)>, IoError> {
        let paths = self.files.storage().list(&self.directory.join("manifests"))?;
        let named = paths.into_iter().filter_map(|path| Some((store_of_manifest(&path)?, path)));
        Ok(named.collect())
    }

    /// Removes files that a crash left behind: those that no manifest refers to, and logs that had
    /// not got their names.
    fn remove_orphans(&self) -> Result<(), IoError> {
        let storage = self.files.storage();
        let manifests = self.directory.join("manifests");
        storage.sync_dir(&manifests)?;
        for path in storage.list(&manifests)? {
            if path.to_str().is_some_and(|path| path.ends_with(IN_PROGRESS_SUFFIX)) {
                storage.remove(&path)?;
            }
        }
        for path in storage.list(self.files.directory())? {
            let Some(file) = data_file(&path) else { continue };
            let is_referenced =
                self.shared().references.values().any(|files| files.contains(&file.id));
            if !is_referenced {
                garbage::remove_orphan(&self.files, file)?;
            }
        }
        Ok(())
    }
}

/// The path of the manifest of a store in a directory.
pub(super) fn manifest_path(directory: &Path, store: &str) -> PathBuf {
    directory.join("manifests").join(format!("{store}{MANIFEST_SUFFIX}"))
}

/// Whose manifest has this path, if it is one.
pub(crate) fn store_of_manifest(path: &Path) -> Option<Box<str>> {
    path.file_name()?.to_str()?.strip_suffix(MANIFEST_SUFFIX).map(Box::from)
}

/// Which data file has this path, if any.
pub(crate) fn data_file(path: &Path) -> Option<DataFile> {
    let (id, suffix) = path.file_name()?.to_str()?.split_once('.')?;
    let is_delta = match suffix {
        "delta" => true,
        "sst" => false,
        _ => return None,
    };
    let id = FileId(u64::from_str_radix(id, 16).ok().filter(|_| id.len() == 16)?);
    Some(DataFile { id, is_delta })
}

fn summary(contents: &Contents) -> StoreSummary {
    let checkpoints = contents.checkpoints.iter().map(|(id, checkpoint)| CheckpointSummary {
        id: *id,
        epoch: checkpoint.epoch,
        total_bytes: checkpoint.version.length_bytes(),
        file_count: checkpoint.version.files().count(),
    });
    StoreSummary {
        store: contents.identity.store.clone(),
        key_groups: contents.identity.groups,
        max_parallelism: contents.identity.max_parallelism,
        checkpoints: checkpoints.collect(),
    }
}

/// A name is a part of file names: short, and of letters, digits, `.`, `_` and `-`.
fn check_name(store: &str) -> Result<(), StoreError> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_valid =
        (1..=64).contains(&store.len()) && store.bytes().all(is_allowed) && !store.starts_with('.');
    match is_valid {
        true => Ok(()),
        false => Err(StoreError::InvalidOption {
            store: store.into(),
            option: "the store's name",
            given: format!("'{store}'").into(),
            bounds: "1 to 64 letters, digits, '.', '_' and '-', not beginning with '.'",
        }),
    }
}

/// Counts this opening of the directory in its `ROOT` file, durably.
fn count_opening(storage: &Arc<dyn Storage>, directory: &Path) -> Result<u64, StoreError> {
    let failed = |error| StoreError::io("", error);
    let path = directory.join("ROOT");
    let openings = match read_openings(&**storage, &path) {
        Ok(openings) => openings + 1,
        Err(error) if error.is_not_found() => seen_openings(&**storage, directory)? + 1,
        Err(error) if is_of_others(&error) => return Err(failed(error)),
        Err(IoError::Corrupt { .. } | IoError::UnexpectedEnd { .. }) => {
            seen_openings(&**storage, directory)? + LOST_OPENINGS
        }
        Err(error) => return Err(failed(error)),
    };
    write_openings(storage, directory, openings)?;
    Ok(openings)
}

fn write_openings(
    storage: &Arc<dyn Storage>,
    directory: &Path,
    openings: u64,
) -> Result<(), StoreError> {
    let (path, owner) =
        (directory.join("ROOT"), BlockOwner { file_id: FileId(openings), epoch: 0 });
    let writer = CheckpointFileWriter::create(storage, path, ROOT_FORMAT, owner, Naming::Published);
    let completed = writer.and_then(|writer| writer.complete(&openings.to_le_bytes()));
    let published = completed.and_then(|file| file.publish());
    published.map(drop).map_err(|error| StoreError::io("", error))
}

/// Whether a file is whole but not ours to replace.
fn is_of_others(error: &IoError) -> bool {
    use thalweg_io::Corruption::{ForeignFormat, NewerFormat, NewerFraming};
    matches!(
        error.corruption(),
        Some(ForeignFormat { .. } | NewerFormat { .. } | NewerFraming { .. })
    )
}

pub(crate) fn read_openings(storage: &dyn Storage, path: &Path) -> Result<u64, IoError> {
    let file = CheckpointFileReader::open_unsealed(storage, path, ROOT_FORMAT)?;
    let footer = file.footer().try_into().map(u64::from_le_bytes);
    footer.map_err(|_| {
        let (expected_bytes, found_bytes) = (8, file.footer().len() as u64);
        let fault = thalweg_io::Corruption::Truncated { expected_bytes, found_bytes };
        IoError::corrupt(path, file.seal().length_bytes, fault)
    })
}

/// The greatest count of openings that a file's name or a manifest's id shows.
fn seen_openings(storage: &dyn Storage, directory: &Path) -> Result<u64, StoreError> {
    let list =
        |name| storage.list(&directory.join(name)).map_err(|error| StoreError::io("", error));
    let of_files = list("files")?.into_iter().filter_map(|path| data_file(&path));
    let mut seen = of_files.map(|file| file.id.0 >> COUNTER_BITS).max().unwrap_or(0);
    for path in list("manifests")? {
        let is_file = |path: &Path| {
            storage.metadata(path).is_ok_and(|metadata| metadata.kind == FileKind::File)
        };
        if is_file(&path)
            && let Ok(recovered) = read_manifest(storage, &path, "")
        {
            seen = seen.max(recovered.file_id.0 >> COUNTER_BITS);
        }
    }
    Ok(seen)
}
