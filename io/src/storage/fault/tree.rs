//! Names of a simulated disk: [`Storage`] for [`FaultStorage`].

use std::path::{Path, PathBuf};

use super::disk::{DiskOperation, Inode, Node};
use super::handle::{FaultReadFile, FaultWriteFile};
use super::{FaultKind, FaultStorage};
use crate::error::{IoError, IoSite, Operation};
use crate::storage::memory::normalise;
use crate::storage::{
    FileIdentity, FileKind, FileLock, FileMetadata, ReadFile, Storage, WriteFile,
};

/// The most that is preallocated for a segment: enough to lie behind what is appended, little
/// enough to copy for each image of a crash.
const PREALLOCATED_BYTES_MAX: u64 = 64 << 10;

pub(super) fn identity(inode: Inode) -> FileIdentity {
    FileIdentity { device: 0, inode }
}

impl Storage for FaultStorage {
    fn open_read(&self, path: &Path) -> Result<Box<dyn ReadFile>, IoError> {
        let inode = self.machine().open(Operation::OpenRead, path, false)?;
        Ok(Box::new(FaultReadFile::new(self.clone(), inode, path)))
    }

    fn create(&self, path: &Path) -> Result<Box<dyn WriteFile>, IoError> {
        let mut machine = self.machine();
        let inode = machine.open(Operation::Create, path, true)?;
        if !machine.disk.file(inode).visible.is_empty() {
            machine.apply(DiskOperation::SetLength { inode, length_bytes: 0 });
        }
        drop(machine);
        Ok(Box::new(FaultWriteFile::new(self.clone(), inode, path, 0)))
    }

    fn open_append(&self, path: &Path) -> Result<Box<dyn WriteFile>, IoError> {
        let mut machine = self.machine();
        let inode = machine.open(Operation::OpenAppend, path, true)?;
        let length_bytes = machine.disk.file(inode).visible.len() as u64;
        drop(machine);
        Ok(Box::new(FaultWriteFile::new(self.clone(), inode, path, length_bytes)))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        let failed =
            |errno| IoError::from_errno(IoSite::new(Operation::Rename, from).to(to), errno);
        let (source, target) = (normalise(from), normalise(to));
        let mut machine = self.machine();
        let node = match machine.disk.node(&source) {
            Some(file @ Node::File(_)) => file,
            Some(Node::Directory(_)) => return Err(failed(libc::EISDIR)),
            None => return Err(failed(libc::ENOENT)),
        };
        machine.require_parent(&target).map_err(failed)?;
        if matches!(machine.disk.node(&target), Some(Node::Directory(_))) {
            return Err(failed(libc::EISDIR));
        }
        machine.change_name(Operation::Rename, from)?;
        if source != target {
            let changes = vec![(source, None), (target, Some(node))];
            machine.apply(DiskOperation::Names { changes });
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), IoError> {
        self.take_name(path).map(drop)
    }

    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, IoError> {
        let key = self.require_directory(Operation::List, directory)?;
        let machine = self.machine();
        let children = machine.disk.names.keys().filter(|path| path.parent() == Some(&key));
        let mut paths: Vec<_> =
            children.filter_map(|path| path.file_name()).map(|name| directory.join(name)).collect();
        paths.sort_unstable();
        Ok(paths)
    }

    fn metadata(&self, path: &Path) -> Result<FileMetadata, IoError> {
        let machine = self.machine();
        match machine.disk.node(&normalise(path)) {
            Some(Node::File(inode)) => Ok(FileMetadata {
                length_bytes: machine.disk.file(inode).visible.len() as u64,
                kind: FileKind::File,
                identity: identity(inode),
            }),
            Some(Node::Directory(inode)) => Ok(FileMetadata {
                length_bytes: 0,
                kind: FileKind::Directory,
                identity: identity(inode),
            }),
            None => Err(IoError::from_errno(IoSite::new(Operation::Metadata, path), libc::ENOENT)),
        }
    }

    fn create_dir_all(&self, directory: &Path) -> Result<(), IoError> {
        let key = normalise(directory);
        let mut machine = self.machine();
        let mut missing = Vec::new();
        for ancestor in key.ancestors() {
            match machine.disk.node(ancestor) {
                Some(Node::Directory(_)) => break,
                Some(Node::File(_)) => {
                    let site = IoSite::new(Operation::CreateDirectory, directory);
                    return Err(IoError::from_errno(site, libc::ENOTDIR));
                }
                None => missing.push(ancestor.to_path_buf()),
            }
        }
        for path in missing.into_iter().rev() {
            machine.change_name(Operation::CreateDirectory, directory)?;
            let node = Node::Directory(machine.disk.next_inode());
            machine.apply(DiskOperation::Names { changes: vec![(path, Some(node))] });
        }
        Ok(())
    }

    fn remove_dir(&self, directory: &Path) -> Result<(), IoError> {
        if !self.list(directory)?.is_empty() {
            let site = IoSite::new(Operation::RemoveDirectory, directory);
            return Err(IoError::from_errno(site, libc::ENOTEMPTY));
        }
        let mut machine = self.machine();
        machine.change_name(Operation::RemoveDirectory, directory)?;
        machine.apply(DiskOperation::Names { changes: vec![(normalise(directory), None)] });
        Ok(())
    }

    fn sync_dir(&self, directory: &Path) -> Result<(), IoError> {
        let key = self.require_directory(Operation::SyncDirectory, directory)?;
        let mut machine = self.machine();
        machine.counters.syncs += 1;
        let (error_ppm, lie_ppm) = (machine.profile.sync_error_ppm, machine.profile.lying_sync_ppm);
        if machine.faults(FaultKind::SyncDirectory, directory, error_ppm) {
            machine.counters.syncs_failed += 1;
            let site = IoSite::new(Operation::SyncDirectory, directory);
            return Err(IoError::from_errno(site, libc::EIO));
        }
        if machine.faults(FaultKind::LyingSyncDirectory, directory, lie_ppm) {
            machine.counters.syncs_lied += 1;
            return Ok(());
        }
        machine.apply(DiskOperation::SyncDirectory { directory: key });
        Ok(())
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn FileLock>, IoError> {
        let mut machine = self.machine();
        machine.open(Operation::Lock, path, true)?;
        let key = normalise(path);
        if !machine.locked.insert(key.clone()) {
            let site = IoSite::new(Operation::Lock, path);
            return Err(IoError::Locked { site, holder_process_id: None });
        }
        drop(machine);
        Ok(Box::new(FaultLock { storage: self.clone(), path: path.to_path_buf(), key }))
    }

    fn create_segment(
        &self,
        path: &Path,
        expected_bytes: u64,
    ) -> Result<Box<dyn WriteFile>, IoError> {
        if !self.machine().profile.recycled_segments {
            return self.create(path);
        }
        let key = normalise(path);
        let mut machine = self.machine();
        let failed = |errno| IoError::from_errno(IoSite::new(Operation::Create, path), errno);
        if matches!(machine.disk.node(&key), Some(Node::Directory(_))) {
            return Err(failed(libc::EISDIR));
        }
        machine.require_parent(&key).map_err(failed)?;
        machine.change_name(Operation::Create, path)?;
        let inode = match machine.recycled.pop() {
            Some(inode) => {
                machine.counters.segments_recycled += 1;
                inode
            }
            None => {
                let inode = machine.disk.next_inode();
                machine.apply(DiskOperation::NewFile { inode });
                let length_bytes = machine.space_for(expected_bytes.min(PREALLOCATED_BYTES_MAX));
                machine.apply(DiskOperation::SetLength { inode, length_bytes });
                inode
            }
        };
        let changes = vec![(key, Some(Node::File(inode)))];
        machine.apply(DiskOperation::Names { changes });
        drop(machine);
        Ok(Box::new(FaultWriteFile::new(self.clone(), inode, path, 0)))
    }

    fn recycle(&self, path: &Path) -> Result<(), IoError> {
        let inode = self.take_name(path)?;
        let mut machine = self.machine();
        if machine.profile.recycled_segments {
            machine.recycled.push(inode);
        }
        Ok(())
    }
}

impl FaultStorage {
    /// Removes the name of a file; the file.
    fn take_name(&self, path: &Path) -> Result<Inode, IoError> {
        let mut machine = self.machine();
        let inode = machine.open(Operation::Remove, path, false)?;
        machine.change_name(Operation::Remove, path)?;
        machine.apply(DiskOperation::Names { changes: vec![(normalise(path), None)] });
        Ok(inode)
    }

    fn require_directory(&self, operation: Operation, path: &Path) -> Result<PathBuf, IoError> {
        let key = normalise(path);
        let errno = match self.machine().disk.node(&key) {
            Some(Node::Directory(_)) => return Ok(key),
            Some(Node::File(_)) => libc::ENOTDIR,
            None => libc::ENOENT,
        };
        Err(IoError::from_errno(IoSite::new(operation, path), errno))
    }
}

#[derive(Debug)]
struct FaultLock {
    storage: FaultStorage,
    path: PathBuf,
    key: PathBuf,
}

impl FileLock for FaultLock {
    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for FaultLock {
    fn drop(&mut self) {
        self.storage.machine().locked.remove(&self.key);
    }
}
