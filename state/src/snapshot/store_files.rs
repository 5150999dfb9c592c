//! Where the files of a store are, and what new ones are called.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thalweg_io::block::FileId;
use thalweg_io::storage::Storage;

/// The file directory of a root, shared by all of its stores and their workers.
#[derive(Clone, Debug)]
pub(crate) struct StoreFiles {
    storage: Arc<dyn Storage>,
    directory: Arc<Path>,
    /// The id of the next file. Counts up for all stores of the root; nothing else is published by
    /// it.
    next_id: Arc<AtomicU64>,
}

impl StoreFiles {
    pub(crate) fn new(storage: Arc<dyn Storage>, directory: &Path, next_id: FileId) -> Self {
        let next_id = Arc::new(AtomicU64::new(next_id.0));
        StoreFiles { storage, directory: directory.into(), next_id }
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
}
