//! A directory of a run, removed when the run is over.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Removed when it is dropped.
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// An empty directory of this process within `parent`.
    pub(super) fn new(parent: &Path, name: &str) -> io::Result<Self> {
        let path = parent.join(format!("{name}-{}", std::process::id()));
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        Ok(Scratch { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is left to the next run in the same directory.
        let _ = fs::remove_dir_all(&self.path);
    }
}
