//! Finds the files of a file source and hands them out, one a request.
//!
//! Its state in checkpoints is which files were found, and which of them are not assigned. A file that has been read is
//! not read again however often the job restarts, also if it is gone by then.
//!
//! **Invariants**
//! - A path is found once (`known`); it is then in `pending`, with a reader, or read.
//! - `waiting` readers exist only while `pending` is empty and more files may come.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thalweg_io::file::IN_PROGRESS_SUFFIX;
use thalweg_io::storage::{FileKind, Storage};

use super::error::FileSourceError;
use super::split::{FileSplit, StoredSplit};
use crate::Result;
use crate::function::{ArchivedState, EnumeratorContext, SplitEnumerator};

pub(super) struct FileEnumerator {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    discover_every: Option<Duration>,
    /// Readers keep their files and ask for more.
    follow: bool,
    known: BTreeSet<PathBuf>,
    pending: VecDeque<FileSplit>,
    waiting: VecDeque<usize>,
    /// It has looked, in this attempt or one before.
    has_begun: bool,
}

/// The state as it is archived: has it begun, the paths that are known, the splits that are not assigned.
type Stored = (bool, Vec<Vec<u8>>, Vec<StoredSplit>);

impl FileEnumerator {
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        path: PathBuf,
        discover_every: Option<Duration>,
        follow: bool,
    ) -> Self {
        let (known, pending, waiting) = (BTreeSet::new(), VecDeque::new(), VecDeque::new());
        let has_begun = false;
        FileEnumerator { storage, path, discover_every, follow, known, pending, waiting, has_begun }
    }

    /// The first look, in which a wrong path fails before anything runs.
    fn begin(&mut self) -> Result<(), FileSourceError> {
        self.has_begun = true;
        self.find()?;
        if self.pending.is_empty() && !self.may_find_more() {
            return Err(FileSourceError::EmptyDirectory { path: self.path.clone() });
        }
        if let Some(first) = self.pending.front() {
            // Whether it may be read shows by opening it.
            self.storage.open_read(first.path()).map_err(FileSourceError::Unavailable)?;
        }
        Ok(())
    }

    fn may_find_more(&self) -> bool {
        self.discover_every.is_some()
    }

    fn find(&mut self) -> Result<(), FileSourceError> {
        let metadata = self.storage.metadata(&self.path).map_err(FileSourceError::Unavailable)?;
        let found = match metadata.kind {
            FileKind::File => vec![self.path.clone()],
            FileKind::Directory => self.files_of_directory()?,
            FileKind::Other => return Err(FileSourceError::WrongKind { path: self.path.clone() }),
        };
        for path in found {
            if self.known.insert(path.clone()) {
                self.pending.push_back(FileSplit::new(path));
            }
        }
        Ok(())
    }

    /// In the order of their names.
    fn files_of_directory(&self) -> Result<Vec<PathBuf>, FileSourceError> {
        let listed = self.storage.list(&self.path).map_err(FileSourceError::Unavailable)?;
        let is_file = |path: &PathBuf| match self.storage.metadata(path) {
            Ok(metadata) => metadata.kind == FileKind::File,
            // Removed since it was listed, or a link to nowhere.
            Err(_) => false,
        };
        let is_new = |path: &PathBuf| !self.known.contains(path);
        Ok(listed
            .into_iter()
            .filter(|path| is_visible(path) && is_new(path) && is_file(path))
            .collect())
    }

    fn serve(&mut self, subtask: usize, context: &mut EnumeratorContext<FileSplit>) {
        match self.pending.pop_front() {
            Some(split) => context.assign_split(subtask, split),
            None if self.may_find_more() => self.waiting.push_back(subtask),
            None => context.signal_no_more_splits(subtask),
        }
    }

    fn serve_waiting(&mut self, context: &mut EnumeratorContext<FileSplit>) {
        while !self.pending.is_empty() {
            let Some(subtask) = self.waiting.pop_front() else { return };
            self.serve(subtask, context);
        }
    }
}

/// Hidden files and files in the making are not input.
fn is_visible(path: &Path) -> bool {
    let Some(name) = path.file_name() else { return false };
    let name = name.to_string_lossy();
    !name.starts_with(['.', '_']) && !name.ends_with(IN_PROGRESS_SUFFIX)
}

impl SplitEnumerator<FileSplit> for FileEnumerator {
    fn discover(&mut self, context: &mut EnumeratorContext<FileSplit>) -> Result<()> {
        if !self.has_begun {
            self.begin()?;
        } else if self.may_find_more() {
            self.find()?;
        }
        self.serve_waiting(context);
        Ok(())
    }

    fn discovery_interval(&self) -> Option<Duration> {
        self.discover_every
    }

    fn handle_split_request(
        &mut self,
        subtask_index: usize,
        context: &mut EnumeratorContext<FileSplit>,
    ) -> Result<()> {
        self.serve(subtask_index, context);
        Ok(())
    }

    fn add_splits_back(&mut self, splits: Vec<FileSplit>, subtask_index: usize) {
        // The reader that failed asks again when it is back.
        self.waiting.retain(|waiting| *waiting != subtask_index);
        for split in splits.into_iter().rev() {
            self.known.insert(split.path.clone());
            if self.follow {
                tracing::debug!(file = %split.path.display(), "a followed file was given back");
            }
            self.pending.push_front(split);
        }
    }

    fn snapshot_state(&self) -> Result<ArchivedState> {
        let known = self.known.iter().map(|path| path.as_os_str().as_bytes().to_vec());
        let pending = self.pending.iter().map(FileSplit::to_stored);
        let state: Stored = (self.has_begun, known.collect(), pending.collect());
        Ok(ArchivedState::of(&state)?)
    }

    fn restore_state(&mut self, state: &ArchivedState) -> Result<()> {
        let Some((has_begun, known, pending)) = state.get::<Stored>()? else { return Ok(()) };
        self.has_begun = has_begun;
        self.known = known.into_iter().map(|path| OsString::from_vec(path).into()).collect();
        self.pending = pending.into_iter().map(FileSplit::from_stored).collect();
        Ok(())
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::function::Assignment;
    use thalweg_io::storage::MemoryStorage;

    fn storage_with(names: &[&str]) -> Arc<dyn Storage> {
        let storage = MemoryStorage::new();
        storage.create_dir_all(Path::new("in/sub")).unwrap();
        for name in names {
            storage.create(Path::new(name)).unwrap();
        }
        Arc::new(storage)
    }

    fn request(enumerator: &mut FileEnumerator, subtask: usize) -> Option<(usize, String)> {
        let mut context = EnumeratorContext::new(2);
        enumerator.handle_split_request(subtask, &mut context).unwrap();
        only(&mut context)
    }

    /// The assignment made: a path, or "none" for no more.
    fn only(context: &mut EnumeratorContext<FileSplit>) -> Option<(usize, String)> {
        assert!(context.assignments.len() <= 1);
        context.assignments.pop_front().map(|(subtask, assignment)| match assignment {
            Assignment::Splits(splits) => (subtask, splits[0].path.display().to_string()),
            Assignment::NoMore => (subtask, "none".to_owned()),
        })
    }

    #[test]
    fn files_are_given_in_order_and_then_no_more() {
        let names = ["in/b.csv", "in/a.csv", "in/.hidden", "in/_done", "in/c.csv.inprogress"];
        let mut files = FileEnumerator::new(storage_with(&names), "in".into(), None, false);
        files.discover(&mut EnumeratorContext::new(2)).unwrap();
        assert_eq!(request(&mut files, 1), Some((1, "in/a.csv".to_owned())));
        assert_eq!(request(&mut files, 0), Some((0, "in/b.csv".to_owned())));
        assert_eq!(request(&mut files, 0), Some((0, "none".to_owned())));
        files.add_splits_back(vec![FileSplit::new("in/a.csv")], 1);
        assert_eq!(request(&mut files, 0), Some((0, "in/a.csv".to_owned())));
    }

    #[test]
    fn new_files_go_to_whoever_waits() {
        let storage = storage_with(&[]);
        let every = Some(Duration::from_secs(1));
        let mut files = FileEnumerator::new(storage.clone(), "in".into(), every, false);
        files.discover(&mut EnumeratorContext::new(2)).unwrap();
        assert_eq!(files.discovery_interval(), every);
        assert_eq!(request(&mut files, 1), None);
        storage.create(Path::new("in/late.csv")).unwrap();
        for expected in [Some((1, "in/late.csv".to_owned())), None] {
            let mut context = EnumeratorContext::new(2);
            files.discover(&mut context).unwrap();
            assert_eq!(only(&mut context), expected);
        }
    }

    #[test]
    fn wrong_paths_fail_at_once() {
        let start = |path: &str| {
            let mut files = FileEnumerator::new(storage_with(&[]), path.into(), None, false);
            files.discover(&mut EnumeratorContext::new(2)).unwrap_err().to_string()
        };
        assert!(start("in").contains("found no file in the directory in"), "{}", start("in"));
        assert!(start("gone.csv").contains("gone.csv: it does not exist"), "{}", start("gone.csv"));
    }

    #[test]
    fn what_was_assigned_is_not_assigned_again_though_it_is_gone() {
        let storage = storage_with(&["in/a.csv", "in/b.csv", "in/c.csv"]);
        let mut files = FileEnumerator::new(storage.clone(), "in".into(), None, false);
        files.discover(&mut EnumeratorContext::new(2)).unwrap();
        assert_eq!(request(&mut files, 0), Some((0, "in/a.csv".to_owned())));
        let state = files.snapshot_state().unwrap();
        for every in [None, Some(Duration::from_secs(1))] {
            let mut files = FileEnumerator::new(storage.clone(), "in".into(), every, false);
            files.restore_state(&state).unwrap();
            files.discover(&mut EnumeratorContext::new(2)).unwrap();
            assert_eq!(request(&mut files, 1), Some((1, "in/b.csv".to_owned())));
            assert_eq!(request(&mut files, 1), Some((1, "in/c.csv".to_owned())));
            let none = every.is_none().then(|| (0, "none".to_owned()));
            assert_eq!(request(&mut files, 0), none);
        }
        storage.remove(Path::new("in/a.csv")).unwrap();
        storage.create(Path::new("in/d.csv")).unwrap();
        let mut files =
            FileEnumerator::new(storage, "in".into(), Some(Duration::from_secs(1)), false);
        files.restore_state(&state).unwrap();
        files.discover(&mut EnumeratorContext::new(2)).unwrap();
        let found = [(); 3].map(|()| request(&mut files, 0).map(|(_, path)| path).unwrap());
        assert_eq!(found, ["in/b.csv", "in/c.csv", "in/d.csv"]);
        let other = ArchivedState::of(&7_u64).unwrap();
        let error = files.restore_state(&other).unwrap_err().to_string();
        assert!(error.contains("and was u64"), "{error}");
    }
}
