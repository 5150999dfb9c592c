//! Where the files of a store are, and what new ones are called.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thalweg_io::block::FileId;
use thalweg_io::storage::Storage;
use thalweg_io::{Corruption, IoError};

use crate::backend::StoreError;
use crate::manifest::FileMeta;

/// The file directory of a root, shared by all of its stores and their workers.
#[derive(Clone, Debug)]
pub(crate) struct StoreFiles {
    storage: Arc<dyn Storage>,
    /// The store whose errors these are.
    store: Arc<str>,
    directory: Arc<Path>,
    /// The id of the next file. Counts up for all stores of the root; nothing else is published by
    /// it.
    next_id: Arc<AtomicU64>,
}

impl StoreFiles {
    /// The files in a directory of which nobody else gives ids.
    pub(crate) fn new(storage: Arc<dyn Storage>, directory: &Path, next_id: FileId) -> Self {
        let next_id = Arc::new(AtomicU64::new(next_id.0));
        StoreFiles { storage, store: "".into(), directory: directory.into(), next_id }
    }

    /// The same files, as this store uses them.
    pub(crate) fn of_store(&self, store: &str) -> Self {
        StoreFiles { store: store.into(), ..self.clone() }
    }

    /// The store's name, for errors.
    pub(crate) fn store(&self) -> &str {
        &self.store
    }

    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// An id that no file had or will have, across restarts too.
    pub(crate) fn next_id(&self) -> FileId {
        FileId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// The path of a delta.
    pub(crate) fn delta_path(&self, id: FileId) -> PathBuf {
        self.directory.join(format!("{:016x}.delta", id.0))
    }

    /// The path of a sorted file.
    pub(crate) fn sorted_path(&self, id: FileId) -> PathBuf {
        self.directory.join(format!("{:016x}.sst", id.0))
    }

    /// The path of a file that a manifest describes.
    pub(crate) fn path_of(&self, file: &FileMeta) -> PathBuf {
        match file.is_delta() {
            true => self.delta_path(file.id()),
            false => self.sorted_path(file.id()),
        }
    }

    /// No id below this one is given any more.
    pub(crate) fn skip_to(&self, id: FileId) {
        self.next_id.fetch_max(id.0, Ordering::Relaxed);
    }

    /// Fails unless a file is there and long enough.
    pub(crate) fn check_length(&self, file: &FileMeta) -> Result<(), StoreError> {
        let path = self.path_of(file);
        let failed = |error| StoreError::io(&self.store, error);
        let (expected_bytes, found_bytes) =
            (file.length_bytes(), self.storage.metadata(&path).map_err(failed)?.length_bytes);
        if found_bytes >= expected_bytes {
            return Ok(());
        }
        let fault = Corruption::Truncated { expected_bytes, found_bytes };
        Err(failed(IoError::corrupt(path, found_bytes, fault)))
    }
}
