//! Which files are being written, so that readers see what was appended.
//!
//! A reader that finds no writer of its file at all, the usual case, pays one atomic load.
//!
//! # Invariants
//!
//! - `count` is the length of the map. It is raised before a writer is handed out and lowered
//!   after its last byte is in the file: a reader that finds 0 misses nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::file::OpenFile;
use crate::storage::FileIdentity;

#[derive(Debug, Default)]
pub(super) struct Registry {
    files: Mutex<BTreeMap<FileIdentity, Arc<OpenFile>>>,
    /// Written under the lock, read by readers. Release and acquire, so that who sees a writer
    /// gone sees its file's bytes; the kernel orders those anyway.
    count: AtomicUsize,
}

impl Registry {
    /// The writer of a file; the latest, if there are more against the contract.
    pub(super) fn writer_of(&self, identity: FileIdentity) -> Option<Arc<OpenFile>> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.lock().get(&identity).cloned()
    }

    pub(super) fn insert(&self, identity: FileIdentity, file: &Arc<OpenFile>) {
        let mut files = self.lock();
        files.insert(identity, Arc::clone(file));
        self.count.store(files.len(), Ordering::Release);
    }

    /// Removes `file`, unless another writer took its place.
    pub(super) fn remove(&self, identity: FileIdentity, file: &Arc<OpenFile>) {
        let mut files = self.lock();
        if files.get(&identity).is_some_and(|known| Arc::ptr_eq(known, file)) {
            files.remove(&identity);
            self.count.store(files.len(), Ordering::Release);
        }
    }

    /// Map and count change together under the lock.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<FileIdentity, Arc<OpenFile>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
