//! Stores as of one checkpoint, brought from one directory into another: what savepoints are made by, and begun from.
//!
//! ```text
//! from: manifests, files ──read, checked──► files/<same id> ──► manifests/<same name> ──► to: an empty StateRoot
//! ```
//! 1. The manifests of the wanted stores are read. Nothing is written at the source and its lock is not taken, so the stores
//!    may be open, in this process: whoever asks sees to it that the checkpoint is not released meanwhile.
//! 2. The ids of files stay, as each block says whose it is; so the target counts itself past the highest of them first,
//!    durably: no file that is made later gets an id that a copied one has.
//! 3. The files of the checkpoint are copied and made durable, then read back: every block, every row, and the digest that
//!    the manifest has. A damaged source is found here, and named.
//! 4. A manifest for each store names the one checkpoint and its files.
//!
//! **Invariants**
//! - The target has no stores before, so that its numbers of tables can be those of the source.
//! - A copy that breaks off leaves files that no checkpoint is named with: opening the directory removes those that no
//!   manifest refers to, the stores of the others are unneeded.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use thalweg_io::block::FileId;
use thalweg_io::crash_point;
use thalweg_io::storage::Storage;

use super::{CheckpointId, StateRoot, StoreFiles, crash_points};
use crate::backend::{OlderCheckpoints, StoreError};
use crate::inspect::verify_file;
use crate::manifest::{Contents, FileMeta, ManifestLog, read_manifest};

/// Read and written at a time.
const CHUNK_BYTES: usize = 1 << 20;

impl StateRoot {
    /// Copies stores, as of a checkpoint, from another directory into this one; returns the bytes of their files. The copies
    /// have the same names, and this checkpoint alone. Stores that are here already are removed before.
    ///
    /// # Errors
    ///
    /// - [`StoreError::StoreInUse`] if a store of this directory is open.
    /// - [`StoreError::NoSuchStore`], [`StoreError::NoSuchCheckpoint`], [`StoreError::Damaged`] and
    ///   [`StoreError::Malformed`] for what is not at the source, or not as it was.
    /// - What the storages say.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{collections::BTreeSet, path::Path, sync::Arc};
    /// use thalweg_io::storage::{MemoryStorage, Storage};
    /// use thalweg_state::{CheckpointId, KeyGroupRange, LsmOptions, LsmStore, StateRoot};
    ///
    /// # fn main() -> Result<(), thalweg_state::StoreError> {
    /// let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    /// let options = LsmOptions::new(KeyGroupRange { start: 0, end: 128 }, 128).store("sums");
    /// let mut store = LsmStore::create("/state", options, storage.clone(), None)?;
    /// store.begin_checkpoint(CheckpointId(1))?;
    /// while store.poll().is_empty() {}
    ///
    /// let copy = StateRoot::open("/copy", storage.clone())?;
    /// let stores = BTreeSet::from(["sums".to_owned()]);
    /// copy.import((Path::new("/state"), &storage), CheckpointId(1), &stores)?;
    /// assert_eq!(&*copy.stores()?[0].store, "sums");
    /// # Ok(())
    /// # }
    /// ```
    pub fn import(
        self: &Arc<Self>,
        (directory, storage): (&Path, &Arc<dyn Storage>),
        checkpoint: CheckpointId,
        stores: &BTreeSet<String>,
    ) -> Result<u64, StoreError> {
        let read = |store: &String| read_source(directory, &**storage, store, checkpoint);
        let sources = stores.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        self.empty()?;
        let files = files_of(&sources);
        if let Some(highest) = files.keys().next_back() {
            self.count_past(*highest)?;
        }
        crash_point(crash_points::COPY_BEGUN);
        let from = StoreFiles::new(storage.clone(), &directory.join("files"), FileId(0));
        for (store, file) in files.values() {
            copy_file(&from.of_store(store), &self.files().of_store(store), file)?;
            crash_point(crash_points::COPY_FILE);
        }
        let to = self.files();
        to.storage().sync_dir(to.directory()).map_err(|error| StoreError::io("", error))?;
        for (store, file) in files.values() {
            verify_file(&to.of_store(store), file)?;
        }
        crash_point(crash_points::COPY_FILES_DURABLE);
        let bytes = files.values().map(|(_, file)| file.length_bytes()).sum();
        for contents in sources {
            self.publish(contents)?;
        }
        Ok(bytes)
    }

    /// Gives a store of this name these contents, durably. Its files are here.
    fn publish(self: &Arc<Self>, contents: Contents) -> Result<(), StoreError> {
        let store = contents.identity.store.clone();
        let _name = self.take_name(&store)?;
        self.adopt(&store, &contents);
        let (files, path) = (self.files().of_store(&store), self.manifest_path(&store));
        let mut log = ManifestLog::new(files, path, contents);
        log.commit(&[]).map_err(|error| StoreError::io(&store, error))
    }
}

/// A store as of one checkpoint.
fn read_source(
    directory: &Path,
    storage: &dyn Storage,
    store: &str,
    checkpoint: CheckpointId,
) -> Result<Contents, StoreError> {
    let path = super::root::manifest_path(directory, store);
    let recovered = read_manifest(storage, &path, store).map_err(|error| match error {
        StoreError::Io { source, .. } if source.is_not_found() => {
            StoreError::NoSuchStore { store: store.into(), directory: directory.to_path_buf() }
        }
        other => other,
    })?;
    let older = recovered.contents.checkpoints.keys().rev().copied().collect();
    recovered.contents.as_of(checkpoint).ok_or_else(|| {
        let (store, older) = (store.into(), OlderCheckpoints(older));
        recovered.damage.unwrap_or(StoreError::NoSuchCheckpoint { store, checkpoint, older })
    })
}

/// The files of these stores, each once, and one of the stores that it is of.
fn files_of(sources: &[Contents]) -> BTreeMap<FileId, (Box<str>, FileMeta)> {
    let mut files = BTreeMap::new();
    for contents in sources {
        for file in contents.live.files() {
            let of_store = || (contents.identity.store.clone(), FileMeta::clone(file));
            files.entry(file.id()).or_insert_with(of_store);
        }
    }
    files
}

/// Copies a file; what is copied is durable, its name may not be.
fn copy_file(from: &StoreFiles, to: &StoreFiles, file: &FileMeta) -> Result<(), StoreError> {
    let failed = |error| StoreError::io(from.store(), error);
    let source = from.storage().open_read(&from.path_of(file)).map_err(failed)?;
    let path = to.path_of(file);
    let mut copy = to.storage().create(&path).map_err(failed)?;
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut offset = 0;
    while offset < file.length_bytes() {
        let rest = usize::try_from(file.length_bytes() - offset).unwrap_or(CHUNK_BYTES);
        let chunk = &mut buffer[..rest.min(CHUNK_BYTES)];
        source.read_exact_at(offset, chunk).map_err(failed)?;
        copy.append(chunk).map_err(|error| failed(error.into()))?;
        offset += chunk.len() as u64;
    }
    copy.sync().map_err(failed)
}
