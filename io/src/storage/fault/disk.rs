//! What is on a simulated disk: what readers see, what is durable, and what lies between.
//!
//! # Invariants
//!
//! - The contents that readers see are the durable ones with all pending changes applied, except
//!   where a failed sync forgot pending changes (those are seen and will be durable never) and
//!   where the disk was damaged below pending ones.
//! - All changes go through [`Disk::apply`], so that a list of operations is enough to have the
//!   same disk again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The number of a file or directory.
pub(super) type Inode = u64;

/// The root directories have this number.
pub(super) const ROOT: Inode = 0;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Node {
    Directory(Inode),
    File(Inode),
}

impl Node {
    pub(super) fn file(self) -> Option<Inode> {
        match self {
            Node::File(inode) => Some(inode),
            Node::Directory(_) => None,
        }
    }
}

/// A name that comes to stand for something (else), or for nothing.
pub(super) type NameChange = (PathBuf, Option<Node>);

/// A change of a disk, or a remark of the test that makes them.
#[derive(Debug, Clone)]
pub(super) enum DiskOperation {
    /// A file without a name.
    NewFile { inode: Inode },
    /// Bytes in the page cache.
    Write { inode: Inode, offset: u64, bytes: Arc<[u8]> },
    /// A file cut off or filled up with zeros, in the page cache.
    SetLength { inode: Inode, length_bytes: u64 },
    /// All of a file's changes are durable now.
    Sync { inode: Inode },
    /// A failed sync: the file's changes will never be durable.
    ForgetPending { inode: Inode },
    /// Bytes that change on the disk itself.
    Overwrite { inode: Inode, offset: u64, bytes: Arc<[u8]> },
    /// Names change as one.
    Names { changes: Vec<NameChange> },
    /// All changes of names in a directory are durable now.
    SyncDirectory { directory: PathBuf },
    /// Something the test wants to know about the time of a crash.
    Note(u64),
}

/// A change of a file's contents that is not durable.
#[derive(Debug, Clone)]
pub(super) enum PendingChange {
    Write { offset: u64, bytes: Arc<[u8]> },
    SetLength(u64),
}

#[derive(Debug, Clone, Default)]
pub(super) struct FileBody {
    pub(super) visible: Vec<u8>,
    pub(super) durable: Arc<Vec<u8>>,
    pub(super) pending: Vec<PendingChange>,
}

/// Changes of names by one call, which are kept or undone together.
#[derive(Debug, Clone)]
pub(super) struct PendingNames {
    pub(super) changes: Vec<NameChange>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    pub(super) files: BTreeMap<Inode, FileBody>,
    /// As they are seen.
    pub(super) names: BTreeMap<PathBuf, Node>,
    pub(super) durable_names: BTreeMap<PathBuf, Node>,
    pub(super) pending_names: Vec<PendingNames>,
    inode_last: Inode,
}

impl Disk {
    pub(super) fn next_inode(&mut self) -> Inode {
        self.inode_last += 1;
        self.inode_last
    }

    pub(super) fn node(&self, key: &Path) -> Option<Node> {
        if is_root(key) {
            return Some(Node::Directory(ROOT));
        }
        self.names.get(key).copied()
    }

    pub(super) fn file(&self, inode: Inode) -> &FileBody {
        self.files.get(&inode).expect("files are kept as long as somebody may name them")
    }

    fn file_mut(&mut self, inode: Inode) -> &mut FileBody {
        self.files.get_mut(&inode).expect("files are kept as long as somebody may name them")
    }

    pub(super) fn apply(&mut self, operation: &DiskOperation) {
        match operation {
            DiskOperation::NewFile { inode } => {
                self.inode_last = self.inode_last.max(*inode);
                self.files.insert(*inode, FileBody::default());
            }
            DiskOperation::Write { inode, offset, bytes } => {
                let bytes = Arc::clone(bytes);
                self.change(*inode, PendingChange::Write { offset: *offset, bytes });
            }
            DiskOperation::SetLength { inode, length_bytes } => {
                self.change(*inode, PendingChange::SetLength(*length_bytes));
            }
            DiskOperation::Sync { inode } => {
                let file = self.file_mut(*inode);
                let durable = Arc::make_mut(&mut file.durable);
                file.pending.drain(..).for_each(|change| change.apply_to(durable));
            }
            DiskOperation::ForgetPending { inode } => self.file_mut(*inode).pending.clear(),
            DiskOperation::Overwrite { inode, offset, bytes } => {
                let file = self.file_mut(*inode);
                write(&mut file.visible, *offset, bytes);
                write(Arc::make_mut(&mut file.durable), *offset, bytes);
            }
            DiskOperation::Names { changes } => self.change_names(changes),
            DiskOperation::SyncDirectory { directory } => self.sync_names(directory),
            DiskOperation::Note(_) => {}
        }
    }

    fn change(&mut self, inode: Inode, change: PendingChange) {
        let file = self.file_mut(inode);
        change.apply_to(&mut file.visible);
        file.pending.push(change);
    }

    fn change_names(&mut self, changes: &[NameChange]) {
        for (path, node) in changes {
            if let Some(Node::Directory(inode)) = node {
                self.inode_last = self.inode_last.max(*inode);
            }
            set(&mut self.names, path, *node);
        }
        self.pending_names.push(PendingNames { changes: changes.to_vec() });
    }

    /// Makes what happened in a directory durable. A file that was moved to another directory has
    /// both names if only the new one is durable, and never none.
    fn sync_names(&mut self, directory: &Path) {
        let durable_names = &mut self.durable_names;
        self.pending_names.retain_mut(|pending| {
            let is_here = |(path, _): &NameChange| directory_of(path) == directory;
            let removes_here = pending.changes.iter().any(|change| {
                let (_, node) = change;
                node.is_none() && is_here(change)
            });
            pending.changes.retain(|change| {
                let (path, node) = change;
                let is_durable = removes_here || is_here(change);
                if is_durable {
                    set(durable_names, path, *node);
                }
                !is_durable
            });
            !pending.changes.is_empty()
        });
    }

    /// The files that have, or after a crash may have, a name.
    pub(super) fn named_inodes(&self) -> BTreeSet<Inode> {
        let pending = self.pending_names.iter().flat_map(|pending| &pending.changes);
        let nodes = self.durable_names.values().copied();
        nodes.chain(pending.filter_map(|(_, node)| *node)).filter_map(Node::file).collect()
    }

    /// The bytes of the files that can be seen.
    pub(super) fn used_bytes(&self) -> u64 {
        let inodes: BTreeSet<Inode> = self.names.values().filter_map(|node| node.file()).collect();
        inodes.iter().map(|inode| self.file(*inode).visible.len() as u64).sum()
    }
}

impl PendingChange {
    pub(super) fn apply_to(&self, bytes: &mut Vec<u8>) {
        match self {
            PendingChange::Write { offset, bytes: new } => write(bytes, *offset, new),
            PendingChange::SetLength(length_bytes) => set_length(bytes, *length_bytes as usize),
        }
    }
}

/// The directory whose sync makes a name durable.
fn directory_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// Whether this path is one of the directories that are always there.
pub(super) fn is_root(key: &Path) -> bool {
    key == Path::new("") || key == Path::new("/")
}

pub(super) fn set(names: &mut BTreeMap<PathBuf, Node>, path: &Path, node: Option<Node>) {
    match node {
        Some(node) => names.insert(path.to_path_buf(), node),
        None => names.remove(path),
    };
}

/// Writes into `file`, filling a gap before with zeros.
pub(super) fn write(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = offset as usize;
    let end = start + bytes.len();
    if file.len() < end {
        set_length(file, end);
    }
    file[start..end].copy_from_slice(bytes);
}

/// Cuts a file off or fills it up with zeros. (`resize` goes byte by byte in builds that are not
/// optimised.)
pub(super) fn set_length(file: &mut Vec<u8>, length_bytes: usize) {
    file.truncate(length_bytes);
    file.extend_from_slice(&vec![0; length_bytes - file.len()]);
}
