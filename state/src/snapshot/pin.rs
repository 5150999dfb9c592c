//! A completed checkpoint whose files stay, whatever becomes of its store: for whoever copies it elsewhere.
//!
//! 1. [`StateRoot::pin_checkpoint`] reads the manifest of a store, which may be open, and counts the files of one checkpoint
//!    for a name that no store can have. So the store may drop them, and nobody removes them.
//! 2. The pin has a manifest of its own, which says what that checkpoint says and nothing else.
//! 3. When the pin is dropped, files that nothing else refers to are removed.
//!
//! **Invariants**
//! - A pin is in memory alone: after a crash only what manifests refer to is left.
//! - Who reads pinned files has closed them before the pin is dropped: their blocks may serve others then.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thalweg_io::storage::{MemoryStorage, Storage};

use super::root::manifest_path;
use super::{CheckpointId, DataFile, StateRoot, StoreFiles, garbage};
use crate::backend::{OlderCheckpoints, StoreError};
use crate::manifest::{Contents, ManifestLog};

/// Tells pins apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// See [`StateRoot::pin_checkpoint`].
#[derive(Debug)]
pub struct PinnedCheckpoint {
    root: Arc<StateRoot>,
    /// What the files are counted for; no store's name has a space.
    pin: Box<str>,
    data_files: Vec<DataFile>,
    manifest_name: PathBuf,
    manifest: Vec<u8>,
    files: Vec<PinnedFile>,
}

/// A file that stays as long as its [`PinnedCheckpoint`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedFile {
    /// Below the root's directory.
    pub name: PathBuf,
    /// How much of the file is the checkpoint's; it may be longer.
    pub length_bytes: u64,
}

impl StateRoot {
    /// Keeps the files of a completed checkpoint of a store until the answer is dropped. The store may be open; that nobody
    /// releases the checkpoint during this call is the caller's affair.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSuchStore`], [`StoreError::NoSuchCheckpoint`], or what is wrong with the manifest.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::{path::Path, sync::Arc};
    /// use thalweg_io::storage::MemoryStorage;
    /// use thalweg_state::{CheckpointId, StateRoot, StoreError};
    ///
    /// # fn main() -> Result<(), StoreError> {
    /// let root = StateRoot::open(Path::new("/state"), Arc::new(MemoryStorage::new()))?;
    /// let error = root.pin_checkpoint("slot", CheckpointId(1)).unwrap_err();
    /// assert!(matches!(error, StoreError::NoSuchStore { .. }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn pin_checkpoint(
        self: &Arc<Self>,
        store: &str,
        id: CheckpointId,
    ) -> Result<PinnedCheckpoint, StoreError> {
        let recovered = self.read_store(store)?;
        let Some(contents) = recovered.contents.as_of(id) else {
            if let Some(damage) = recovered.damage {
                return Err(damage);
            }
            let store = store.into();
            let older = OlderCheckpoints::default();
            return Err(StoreError::NoSuchCheckpoint { store, checkpoint: id, older });
        };
        let pin = format!("pin {}", NEXT.fetch_add(1, Ordering::Relaxed)).into_boxed_str();
        let data_files: Vec<DataFile> = contents.referenced().into_iter().collect();
        self.refer(&pin, data_files.iter().copied());
        let mut files: Vec<PinnedFile> = contents
            .live
            .files()
            .map(|file| {
                let path = self.files().path_of(file);
                let name = path.strip_prefix(self.directory()).unwrap_or(&path).to_path_buf();
                PinnedFile { name, length_bytes: file.length_bytes() }
            })
            .collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        // A file may be there several times, with other key groups in between.
        files.dedup();
        let mut pinned = PinnedCheckpoint {
            root: Arc::clone(self),
            pin,
            data_files,
            manifest_name: manifest_path(Path::new(""), store),
            manifest: Vec::new(),
            files,
        };
        pinned.manifest = self.manifest_of(contents, store)?;
        Ok(pinned)
    }

    /// The bytes of a manifest that says this and nothing else.
    fn manifest_of(&self, contents: Contents, store: &str) -> Result<Vec<u8>, StoreError> {
        let failed = |error| StoreError::io(store, error);
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let files = StoreFiles::new(storage.clone(), Path::new("files"), self.files().next_id());
        let path = Path::new("manifest");
        ManifestLog::new(files, path.to_path_buf(), contents).commit(&[]).map_err(failed)?;
        let file = storage.open_read(path).map_err(failed)?;
        let length_bytes = file.length_bytes().map_err(failed)?;
        let mut bytes = vec![0; usize::try_from(length_bytes).unwrap_or(usize::MAX)];
        file.read_exact_at(0, &mut bytes).map_err(failed)?;
        Ok(bytes)
    }
}

impl PinnedCheckpoint {
    /// The name of the store's manifest, below the root's directory.
    pub fn manifest_name(&self) -> &Path {
        &self.manifest_name
    }

    /// The bytes of a manifest of this checkpoint alone. With the files beside it a store can be opened that has this one
    /// checkpoint.
    pub fn manifest(&self) -> &[u8] {
        &self.manifest
    }

    /// The files of the checkpoint, each once.
    pub fn files(&self) -> &[PinnedFile] {
        &self.files
    }
}

impl Drop for PinnedCheckpoint {
    fn drop(&mut self) {
        for file in &self.data_files {
            if self.root.release(&self.pin, file.id) {
                // A file that stays is removed when the directory is opened next: no manifest refers to it.
                let _ = garbage::remove(self.root.files(), *file);
            }
        }
        self.root.forget(&self.pin);
    }
}
