//! Files that this store does not refer to any more.

use std::collections::VecDeque;
use std::path::PathBuf;

use thalweg_io::block::FileId;
use thalweg_io::{IoError, crash_point};

use super::{StateRoot, StoreFiles, crash_points};

/// The deletion pass.
///
/// # Invariants
///
/// - A file is in `dropped` only after an edit that drops it is durable, and in `doubtful` while it
///   is unknown whether an edit that adds it is.
#[derive(Debug, Default)]
pub(super) struct Garbage {
    dropped: VecDeque<Dropped>,
    /// Made durable for an edit that failed; no manifest has it if the next one succeeds.
    doubtful: Vec<DataFile>,
    /// How many were given to be removed and are not yet.
    removal_count: usize,
}

#[derive(Clone, Copy, Debug)]
struct Dropped {
    file: DataFile,
    /// The first version without the file: it is in use while the owner reads an earlier one.
    version: u64,
}

/// A file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DataFile {
    pub(crate) id: FileId,
    pub(crate) is_delta: bool,
}

impl Garbage {
    /// An edit without these files is durable.
    pub(super) fn drop_files(&mut self, files: impl IntoIterator<Item = DataFile>, version: u64) {
        let dropped = files.into_iter().map(|file| Dropped { file, version });
        self.dropped.extend(dropped);
    }

    /// An edit that adds these files failed.
    pub(super) fn doubt_files(&mut self, files: impl IntoIterator<Item = DataFile>) {
        self.doubtful.extend(files);
    }

    /// A manifest without the doubtful files is durable.
    pub(super) fn settle_doubts(&mut self) {
        let doubtful = self.doubtful.drain(..);
        self.dropped.extend(doubtful.map(|file| Dropped { file, version: 0 }));
    }

    pub(super) fn file_count(&self) -> usize {
        self.dropped.len() + self.doubtful.len() + self.removal_count
    }

    /// The next file that nobody uses any more, of this store or another: it is to be removed, and
    /// [`Self::removed`] then.
    pub(super) fn next_removal(
        &mut self,
        root: &StateRoot,
        files: &StoreFiles,
        reader_version: u64,
    ) -> Option<DataFile> {
        loop {
            let Dropped { file, version } = *self.dropped.front()?;
            if version > reader_version {
                return None;
            }
            self.dropped.pop_front();
            if root.release(files.store(), file.id) {
                self.removal_count += 1;
                return Some(file);
            }
        }
    }

    /// A file was removed, or could not be.
    pub(super) fn removed(&mut self) {
        self.removal_count -= 1;
    }
}

/// Removes a file that no durable manifest refers to; its blocks may serve another.
pub(super) fn remove(files: &StoreFiles, file: DataFile) -> Result<(), IoError> {
    let path = path_of(files, file);
    unlink(|| files.storage().recycle(&path))
}

/// Removes a file that nothing referred to when the directory was opened. A crash may have undone its removal after its blocks
/// had been given to another file, which is durable: two names of one file. So they must not be given away once more.
pub(super) fn remove_orphan(files: &StoreFiles, file: DataFile) -> Result<(), IoError> {
    let path = path_of(files, file);
    unlink(|| files.storage().remove(&path))
}

fn path_of(files: &StoreFiles, file: DataFile) -> PathBuf {
    match file.is_delta {
        true => files.delta_path(file.id),
        false => files.sorted_path(file.id),
    }
}

/// Removes a name; that it is gone already is no error.
fn unlink(remove: impl FnOnce() -> Result<(), IoError>) -> Result<(), IoError> {
    crash_point(crash_points::GC_BEFORE_UNLINK);
    match remove() {
        Err(error) if !error.is_not_found() => return Err(error),
        _ => crash_point(crash_points::GC_AFTER_UNLINK),
    }
    Ok(())
}
