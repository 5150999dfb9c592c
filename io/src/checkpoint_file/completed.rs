//! A file that is whole and durable, but whose name may not be.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::crash_points;
use super::seal::FileSeal;
use crate::crash_point::crash_point;
use crate::error::IoError;
use crate::planted::{Fault, planted};
use crate::storage::{Storage, parent_directory};

/// A sealed file between [`complete`](super::CheckpointFileWriter::complete) and
/// [`publish`](Self::publish).
#[derive(Debug)]
#[must_use = "the name of a file is durable only once it is published"]
pub struct CompletedFile {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    path_now: PathBuf,
    seal: FileSeal,
}

impl CompletedFile {
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        path: PathBuf,
        path_now: PathBuf,
        seal: FileSeal,
    ) -> Self {
        Self { storage, path, path_now, seal }
    }

    /// The path it has, or will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// By what it is known.
    pub fn seal(&self) -> FileSeal {
        self.seal
    }

    /// Gives the file its final name and makes that durable.
    ///
    /// # Errors
    ///
    /// If a step fails. If it is the last, syncing the directory, the file has its name but a
    /// crash of the machine may undo that.
    pub fn publish(self) -> Result<FileSeal, IoError> {
        let seal = self.seal;
        Self::publish_all([self])?;
        Ok(seal)
    }

    /// Publishes several files, syncing each directory once.
    ///
    /// # Errors
    ///
    /// As [`Self::publish`]; some of the files may have their names.
    pub fn publish_all(files: impl IntoIterator<Item = Self>) -> Result<(), IoError> {
        let mut directories: Vec<(Arc<dyn Storage>, PathBuf)> = Vec::new();
        for file in files {
            if file.path_now != file.path {
                file.storage.rename(&file.path_now, &file.path)?;
                crash_point(crash_points::RENAMED);
            }
            let directory = parent_directory(&file.path);
            let is_known = |(storage, known): &(Arc<dyn Storage>, PathBuf)| {
                known == directory && Arc::ptr_eq(storage, &file.storage)
            };
            if !directories.iter().any(is_known) {
                directories.push((Arc::clone(&file.storage), directory.to_path_buf()));
            }
        }
        for (storage, directory) in directories {
            if !planted(Fault::NoDirectorySync) {
                storage.sync_dir(&directory)?;
            }
        }
        crash_point(crash_points::PUBLISHED);
        Ok(())
    }

    /// Gives up the file and removes it.
    ///
    /// # Errors
    ///
    /// If it cannot be removed.
    pub fn abort(self) -> Result<(), IoError> {
        self.storage.remove(&self.path_now)
    }
}
