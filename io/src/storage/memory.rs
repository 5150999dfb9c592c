//! Files in memory: deterministic, for tests and the simulator.
//!
//! Paths are compared by their components after removing `.` and resolving `..` by text; the
//! directories `/` and `.` are always there, any other must be created first, as on a real file
//! system. Everything is durable at once and nothing fails by itself, but for want of room where
//! there is a [capacity](MemoryStorage::with_capacity): faults are the business of the simulated
//! disk.
//!
//! # Invariants
//!
//! - A name maps to a shared file body: renaming moves the name, removing drops it, and open
//!   handles keep the body.
//! - The bytes of all bodies that are alive, named or open, are within the capacity; a body gives
//!   its bytes back when the last of its name and handles is gone.
//! - Identities are handed out in order of creation, so two equal runs see equal identities.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{FileIdentity, FileKind, FileLock, FileMetadata, ReadFile, Storage, WriteFile};
use crate::error::{AppendError, IoError, IoSite, Operation};

/// A file system in memory; clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryStorage {
    tree: Arc<Mutex<Tree>>,
    room: Arc<Room>,
}

/// What all files together take, and may.
#[derive(Debug)]
struct Room {
    capacity_bytes: u64,
    /// Written by whoever appends to a file, under that file's lock, and by bodies that go.
    held_bytes: AtomicU64,
}

impl Default for Room {
    fn default() -> Self {
        Room { capacity_bytes: u64::MAX, held_bytes: AtomicU64::new(0) }
    }
}

impl Room {
    /// Takes some bytes; what is held already if there is not so much room.
    fn take(&self, byte_count: u64) -> Result<(), u64> {
        let grown =
            |held: u64| held.checked_add(byte_count).filter(|bytes| *bytes <= self.capacity_bytes);
        // A count: nothing else is published by it.
        self.held_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).map(drop)
    }

    fn give_back(&self, byte_count: u64) {
        self.held_bytes.fetch_sub(byte_count, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Tree {
    nodes: BTreeMap<PathBuf, Node>,
    /// The number of the latest file or directory; 0 is that of the two roots.
    inode_last: u64,
    /// The lock files that are held.
    locked: BTreeSet<PathBuf>,
}

#[derive(Debug, Clone)]
enum Node {
    Directory(FileIdentity),
    File(MemoryFile),
}

/// A file's body, shared by its name and all open handles.
#[derive(Debug, Clone)]
struct MemoryFile {
    identity: FileIdentity,
    bytes: Arc<Mutex<Body>>,
}

/// The bytes of a file, and where they are counted.
#[derive(Debug)]
struct Body {
    bytes: Vec<u8>,
    room: Arc<Room>,
}

impl Body {
    fn clear(&mut self) {
        self.room.give_back(self.bytes.len() as u64);
        self.bytes.clear();
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), u64> {
        self.room.take(bytes.len() as u64)?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.clear();
    }
}

impl MemoryStorage {
    /// A file system with nothing but its root directories.
    pub fn new() -> Self {
        Self::default()
    }

    /// One whose files take `capacity_bytes` together at most. An append that would exceed it takes nothing and
    /// fails with [`IoError::MemoryFull`]; room comes back when files are removed or emptied.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::path::Path;
    /// use thalweg_io::storage::{MemoryStorage, Storage, WriteFile};
    ///
    /// # fn main() -> Result<(), thalweg_io::IoError> {
    /// let storage = MemoryStorage::with_capacity(4);
    /// let mut file = storage.create(Path::new("a"))?;
    /// assert!(file.append(b"abcd").is_ok() && file.append(b"e").is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_capacity(capacity_bytes: u64) -> Self {
        let room = Room { capacity_bytes, held_bytes: AtomicU64::new(0) };
        MemoryStorage { tree: Arc::default(), room: Arc::new(room) }
    }

    /// What all files take now.
    pub fn held_bytes(&self) -> u64 {
        self.room.held_bytes.load(Ordering::Relaxed)
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        lock(&self.tree)
    }

    /// The file at `path`; `create` makes a missing one.
    fn open(&self, operation: Operation, path: &Path, create: bool) -> Result<MemoryFile, IoError> {
        let failed = |errno| IoError::from_errno(IoSite::new(operation, path), errno);
        let key = normalise(path);
        let mut tree = self.tree();
        match tree.node(&key) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Directory(_)) => Err(failed(libc::EISDIR)),
            None if !create => Err(failed(libc::ENOENT)),
            None => {
                tree.require_parent(&key).map_err(failed)?;
                let body = Body { bytes: Vec::new(), room: self.room.clone() };
                let bytes = Arc::new(Mutex::new(body));
                let file = MemoryFile { identity: tree.next_identity(), bytes };
                tree.nodes.insert(key, Node::File(file.clone()));
                Ok(file)
            }
        }
    }
}

impl Tree {
    fn node(&self, key: &Path) -> Option<Node> {
        if key == Path::new("") || key == Path::new("/") {
            return Some(Node::Directory(FileIdentity { device: 0, inode: 0 }));
        }
        self.nodes.get(key).cloned()
    }

    fn next_identity(&mut self) -> FileIdentity {
        self.inode_last += 1;
        FileIdentity { device: 0, inode: self.inode_last }
    }

    /// Fails with the errno of a missing or unfit parent directory.
    fn require_parent(&self, key: &Path) -> Result<(), i32> {
        match key.parent().map(|parent| self.node(parent)) {
            Some(Some(Node::Directory(_))) => Ok(()),
            Some(Some(Node::File(_))) => Err(libc::ENOTDIR),
            Some(None) => Err(libc::ENOENT),
            None => Err(libc::EISDIR),
        }
    }
}

impl Storage for MemoryStorage {
    fn open_read(&self, path: &Path) -> Result<Box<dyn ReadFile>, IoError> {
        let file = self.open(Operation::OpenRead, path, false)?;
        Ok(Box::new(MemoryHandle { file, path: path.to_path_buf() }))
    }

    fn create(&self, path: &Path) -> Result<Box<dyn WriteFile>, IoError> {
        let file = self.open(Operation::Create, path, true)?;
        lock(&file.bytes).clear();
        Ok(Box::new(MemoryHandle { file, path: path.to_path_buf() }))
    }

    fn open_append(&self, path: &Path) -> Result<Box<dyn WriteFile>, IoError> {
        let file = self.open(Operation::OpenAppend, path, true)?;
        Ok(Box::new(MemoryHandle { file, path: path.to_path_buf() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        let failed =
            |errno| IoError::from_errno(IoSite::new(Operation::Rename, from).to(to), errno);
        let (source, target) = (normalise(from), normalise(to));
        let mut tree = self.tree();
        let node = match tree.node(&source) {
            Some(file @ Node::File(_)) => file,
            Some(Node::Directory(_)) => return Err(failed(libc::EISDIR)),
            None => return Err(failed(libc::ENOENT)),
        };
        tree.require_parent(&target).map_err(failed)?;
        if matches!(tree.node(&target), Some(Node::Directory(_))) {
            return Err(failed(libc::EISDIR));
        }
        tree.nodes.remove(&source);
        tree.nodes.insert(target, node);
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), IoError> {
        let failed = |errno| IoError::from_errno(IoSite::new(Operation::Remove, path), errno);
        let key = normalise(path);
        let mut tree = self.tree();
        match tree.node(&key) {
            Some(Node::File(_)) => drop(tree.nodes.remove(&key)),
            Some(Node::Directory(_)) => return Err(failed(libc::EISDIR)),
            None => return Err(failed(libc::ENOENT)),
        }
        Ok(())
    }

    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, IoError> {
        let failed = |errno| IoError::from_errno(IoSite::new(Operation::List, directory), errno);
        let key = normalise(directory);
        let tree = self.tree();
        match tree.node(&key) {
            Some(Node::Directory(_)) => {}
            Some(Node::File(_)) => return Err(failed(libc::ENOTDIR)),
            None => return Err(failed(libc::ENOENT)),
        }
        let children = tree.nodes.keys().filter(|path| path.parent() == Some(&key));
        let mut paths: Vec<_> =
            children.filter_map(|path| path.file_name()).map(|name| directory.join(name)).collect();
        paths.sort_unstable();
        Ok(paths)
    }

    fn metadata(&self, path: &Path) -> Result<FileMetadata, IoError> {
        match self.tree().node(&normalise(path)) {
            Some(Node::File(file)) => Ok(FileMetadata {
                length_bytes: lock(&file.bytes).bytes.len() as u64,
                kind: FileKind::File,
                identity: file.identity,
            }),
            Some(Node::Directory(identity)) => {
                Ok(FileMetadata { length_bytes: 0, kind: FileKind::Directory, identity })
            }
            None => Err(IoError::from_errno(IoSite::new(Operation::Metadata, path), libc::ENOENT)),
        }
    }

    fn create_dir_all(&self, directory: &Path) -> Result<(), IoError> {
        let key = normalise(directory);
        let mut tree = self.tree();
        let mut missing = Vec::new();
        for ancestor in key.ancestors() {
            match tree.node(ancestor) {
                Some(Node::Directory(_)) => break,
                Some(Node::File(_)) => {
                    let site = IoSite::new(Operation::CreateDirectory, directory);
                    return Err(IoError::from_errno(site, libc::ENOTDIR));
                }
                None => missing.push(ancestor.to_path_buf()),
            }
        }
        for path in missing.into_iter().rev() {
            let identity = tree.next_identity();
            tree.nodes.insert(path, Node::Directory(identity));
        }
        Ok(())
    }

    fn remove_dir(&self, directory: &Path) -> Result<(), IoError> {
        let site = IoSite::new(Operation::RemoveDirectory, directory);
        if !self.list(directory)?.is_empty() {
            return Err(IoError::from_errno(site, libc::ENOTEMPTY));
        }
        self.tree().nodes.remove(&normalise(directory));
        Ok(())
    }

    fn sync_dir(&self, directory: &Path) -> Result<(), IoError> {
        let errno = match self.tree().node(&normalise(directory)) {
            Some(Node::Directory(_)) => return Ok(()),
            Some(Node::File(_)) => libc::ENOTDIR,
            None => libc::ENOENT,
        };
        Err(IoError::from_errno(IoSite::new(Operation::SyncDirectory, directory), errno))
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn FileLock>, IoError> {
        self.open(Operation::Lock, path, true)?;
        let key = normalise(path);
        if !self.tree().locked.insert(key.clone()) {
            let site = IoSite::new(Operation::Lock, path);
            return Err(IoError::Locked { site, holder_process_id: None });
        }
        Ok(Box::new(MemoryLock { storage: self.clone(), path: path.to_path_buf(), key }))
    }
}

#[derive(Debug)]
struct MemoryLock {
    storage: MemoryStorage,
    path: PathBuf,
    key: PathBuf,
}

impl FileLock for MemoryLock {
    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.storage.tree().locked.remove(&self.key);
    }
}

#[derive(Debug)]
struct MemoryHandle {
    file: MemoryFile,
    path: PathBuf,
}

impl ReadFile for MemoryHandle {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, IoError> {
        let bytes = &lock(&self.file.bytes).bytes;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let byte_count = buffer.len().min(bytes.len() - start);
        buffer[..byte_count].copy_from_slice(&bytes[start..start + byte_count]);
        Ok(byte_count)
    }

    fn length_bytes(&self) -> Result<u64, IoError> {
        Ok(lock(&self.file.bytes).bytes.len() as u64)
    }

    fn identity(&self) -> FileIdentity {
        self.file.identity
    }
}

impl WriteFile for MemoryHandle {
    fn path(&self) -> &Path {
        &self.path
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        let mut body = lock(&self.file.bytes);
        body.append(bytes).map_err(|held_bytes| {
            let error = IoError::MemoryFull {
                site: IoSite::new(Operation::Append, &self.path),
                held_bytes,
                capacity_bytes: body.room.capacity_bytes,
                wanted_bytes: bytes.len() as u64,
            };
            AppendError { appended_bytes: 0, given_bytes: bytes.len(), error }
        })
    }

    fn sync(&mut self) -> Result<(), IoError> {
        Ok(())
    }

    fn length_bytes(&self) -> u64 {
        lock(&self.file.bytes).bytes.len() as u64
    }
}

/// No operation leaves a half-changed tree or body behind, so a panic elsewhere does no harm.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn normalise(path: &Path) -> PathBuf {
    let mut key = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir => drop(key.pop()),
            Component::RootDir | Component::Normal(_) => key.push(component),
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_runs_hand_out_equal_identities() {
        let run = || {
            let storage = MemoryStorage::new();
            storage.create_dir_all(Path::new("a/b")).unwrap();
            storage.create(Path::new("a/b/c")).unwrap();
            storage.create(Path::new("d")).unwrap();
            ["a", "a/b", "a/b/c", "d"].map(|path| storage.metadata(Path::new(path)).unwrap())
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn paths_are_compared_by_components() {
        let storage = MemoryStorage::new();
        storage.create(Path::new("./a.txt")).unwrap().append(b"x").unwrap();
        storage.create_dir_all(Path::new("/tmp")).unwrap();
        storage.create(Path::new("/tmp/../tmp/./b")).unwrap();
        for path in ["a.txt", "b/../a.txt", "/tmp/b", "/../tmp/b"] {
            assert!(storage.metadata(Path::new(path)).is_ok(), "{path}");
        }
        assert!(storage.metadata(Path::new("/a.txt")).unwrap_err().is_not_found());
    }

    #[test]
    fn room_is_taken_and_comes_back() {
        let storage = MemoryStorage::with_capacity(10);
        let mut a = storage.create(Path::new("a")).unwrap();
        a.append(b"123456").unwrap();
        let refused = a.append(b"12345").unwrap_err();
        assert!(matches!(
            refused.error,
            IoError::MemoryFull { held_bytes: 6, capacity_bytes: 10, wanted_bytes: 5, .. }
        ));
        assert_eq!(
            (refused.appended_bytes as u64, a.length_bytes(), storage.held_bytes()),
            (0, 6, 6)
        );
        a.append(b"1234").unwrap();
        // Removed, but open.
        storage.remove(Path::new("a")).unwrap();
        assert_eq!(storage.held_bytes(), 10);
        drop(a);
        assert_eq!(storage.held_bytes(), 0);
        storage.create(Path::new("b")).unwrap().append(b"12").unwrap();
        storage.create(Path::new("b")).unwrap();
        assert_eq!(storage.held_bytes(), 0, "emptied");
        let mut c = storage.create(Path::new("c")).unwrap();
        c.append(b"12345").unwrap();
        storage.create(Path::new("d")).unwrap().append(b"123").unwrap();
        storage.rename(Path::new("d"), Path::new("c")).unwrap();
        drop(c);
        assert_eq!(storage.held_bytes(), 3, "replaced");
    }

    #[test]
    fn clones_share_the_files() {
        let storage = MemoryStorage::new();
        storage.clone().create(Path::new("a")).unwrap();
        assert!(storage.metadata(Path::new("a")).is_ok());
    }
}
