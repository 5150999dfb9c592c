//! A storage in memory whose next calls can be made to fail.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use thalweg_io::storage::{FileLock, FileMetadata, MemoryStorage, ReadFile, Storage, WriteFile};
use thalweg_io::{AppendError, IoError, IoSite, Operation};

/// What fails, until it is switched off.
#[derive(Debug, Default)]
pub(super) struct Switches {
    /// Appends take half of their bytes and find the disk full; nothing can be created.
    pub(super) is_full: AtomicBool,
    /// Syncs of data files report a failed device.
    pub(super) data_syncs_fail: AtomicBool,
    /// Syncs of manifests report a failed device.
    pub(super) manifest_syncs_fail: AtomicBool,
    /// Syncs of directories report a failed device.
    pub(super) directory_syncs_fail: AtomicBool,
}

#[derive(Debug, Default)]
pub(super) struct FailingStorage {
    inner: MemoryStorage,
    pub(super) switches: Arc<Switches>,
}

fn failure(operation: Operation, path: &Path, errno: i32) -> IoError {
    IoError::from_system(IoSite::new(operation, path), std::io::Error::from_raw_os_error(errno))
}

const NO_SPACE: i32 = 28;
const DEVICE_FAILED: i32 = 5;

impl FailingStorage {
    fn writer(&self, file: Box<dyn WriteFile>) -> Box<dyn WriteFile> {
        Box::new(FailingFile { inner: file, switches: Arc::clone(&self.switches), is_bad: false })
    }
}

impl Storage for FailingStorage {
    fn open_read(&self, path: &Path) -> Result<Box<dyn ReadFile>, IoError> {
        self.inner.open_read(path)
    }

    fn create(&self, path: &Path) -> Result<Box<dyn WriteFile>, IoError> {
        if self.switches.is_full.load(Ordering::Relaxed) {
            return Err(failure(Operation::Create, path, NO_SPACE));
        }
        Ok(self.writer(self.inner.create(path)?))
    }

    fn open_append(&self, path: &Path) -> Result<Box<dyn WriteFile>, IoError> {
        Ok(self.writer(self.inner.open_append(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), IoError> {
        self.inner.remove(path)
    }

    fn remove_dir(&self, directory: &Path) -> Result<(), IoError> {
        self.inner.remove_dir(directory)
    }

    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, IoError> {
        self.inner.list(directory)
    }

    fn metadata(&self, path: &Path) -> Result<FileMetadata, IoError> {
        self.inner.metadata(path)
    }

    fn create_dir_all(&self, directory: &Path) -> Result<(), IoError> {
        self.inner.create_dir_all(directory)
    }

    fn sync_dir(&self, directory: &Path) -> Result<(), IoError> {
        match self.switches.directory_syncs_fail.load(Ordering::Relaxed) {
            true => Err(failure(Operation::SyncDirectory, directory, DEVICE_FAILED)),
            false => self.inner.sync_dir(directory),
        }
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn FileLock>, IoError> {
        self.inner.lock(path)
    }
}

#[derive(Debug)]
struct FailingFile {
    inner: Box<dyn WriteFile>,
    switches: Arc<Switches>,
    /// A sync failed: nothing may be asked of this file any more.
    is_bad: bool,
}

impl WriteFile for FailingFile {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        assert!(!self.is_bad, "{} is appended to after a failed sync", self.path().display());
        if !self.switches.is_full.load(Ordering::Relaxed) {
            return self.inner.append(bytes);
        }
        let appended_bytes = bytes.len() / 2;
        self.inner.append(&bytes[..appended_bytes])?;
        let error = failure(Operation::Append, self.path(), NO_SPACE);
        Err(AppendError { appended_bytes, given_bytes: bytes.len(), error })
    }

    fn sync(&mut self) -> Result<(), IoError> {
        assert!(!self.is_bad, "{} is synced after a failed sync", self.path().display());
        let is_manifest = self.path().to_string_lossy().contains("manifest");
        let fails = match is_manifest {
            true => &self.switches.manifest_syncs_fail,
            false => &self.switches.data_syncs_fail,
        };
        if fails.load(Ordering::Relaxed) {
            self.is_bad = true;
            return Err(failure(Operation::Sync, self.path(), DEVICE_FAILED));
        }
        self.inner.sync()
    }

    fn length_bytes(&self) -> u64 {
        self.inner.length_bytes()
    }
}
