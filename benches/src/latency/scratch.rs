//! A directory of a run, removed when the run is over.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// Removed when it is dropped.
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// An empty directory of this process within `parent`.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn new(parent: &Path, name: &str) -> io::Result<Self> {
        let path = parent.join(format!("thalweg-{name}-{}", std::process::id()));
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        Ok(Scratch { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all files below it that end so.
    pub(crate) fn files(&self, suffix: &str) -> Vec<PathBuf> {
        fn collect(directory: &Path, suffix: &str, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    collect(&path, suffix, found);
                } else if path.extension().is_some_and(|extension| extension == suffix) {
                    found.push(path);
                }
            }
        }
        let mut found = Vec::new();
        collect(&self.path, suffix, &mut found);
        found.sort();
        found
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is left to the next run in the same directory.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_below_and_all_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(parent.path(), "files").unwrap();
        fs::create_dir(scratch.path().join("below")).unwrap();
        fs::write(scratch.path().join("below/1.sst"), "").unwrap();
        fs::write(scratch.path().join("2.delta"), "").unwrap();
        assert_eq!(scratch.files("sst"), [scratch.path().join("below/1.sst")]);
        drop(scratch);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
