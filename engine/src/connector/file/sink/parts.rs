//! The files of one subtask: which are in progress, which are closed, and when one becomes the other.
//!
//! **Invariants**
//! - A bucket has at most one file in progress.
//! - No file is begun under a name that is there already, published or in progress.
//! - With checkpoints a closed file waits in `closed` for the next barrier; without, it is published at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thalweg_io::file::IN_PROGRESS_SUFFIX;
use thalweg_io::storage::{Storage, create_durable_dir_all, parent_directory};
use thalweg_io::{IoError, crash_point};

use super::bucket::check_bucket;
use super::part::{Part, PendingFile, in_progress_path};
use super::stored::StoredPart;
use super::{FileSinkError, crash_points};

/// How files are called.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) directory: PathBuf,
    /// The only file there is; `None` where there are many.
    pub(super) single: Option<String>,
    pub(super) prefix: String,
    pub(super) suffix: String,
    pub(super) subtask: usize,
}

impl Names {
    fn part(&self, counter: u64) -> String {
        match &self.single {
            Some(name) => name.clone(),
            None => format!("{}-{}-{counter:06}{}", self.prefix, self.subtask, self.suffix),
        }
    }

    /// Subtask and counter of a file of this sink, published or in progress.
    pub(super) fn parse(&self, path: &Path) -> Option<(usize, u64)> {
        let name = path.file_name()?.to_str()?;
        let name = name.strip_suffix(IN_PROGRESS_SUFFIX).unwrap_or(name);
        let stem =
            name.strip_prefix(&*self.prefix)?.strip_prefix('-')?.strip_suffix(&*self.suffix)?;
        let (subtask, counter) = stem.split_once('-')?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let is_ours = is_number(subtask) && is_number(counter);
        is_ours.then(|| Some((subtask.parse().ok()?, counter.parse().ok()?)))?
    }
}

/// When a file is closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct RollPolicy {
    pub(super) bytes_max: Option<u64>,
    pub(super) age_ms_max: Option<i64>,
    pub(super) idle_ms_max: Option<i64>,
    pub(super) at_checkpoints: bool,
    /// Files in progress; the one that was longest without a row makes room.
    pub(super) open_max: usize,
}

/// See the module docs.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) names: Names,
    policy: RollPolicy,
    has_checkpoints: bool,
    /// By bucket.
    pub(super) open: BTreeMap<String, Part>,
    /// Closed since the last barrier; and might a checkpoint have it as it was before?
    closed: Vec<(PendingFile, bool)>,
    pub(super) next_counter: u64,
    /// Buckets whose directory is there, and whose counters are known.
    ready: BTreeSet<String>,
    /// Directories with names that are not durable.
    unsynced: BTreeSet<PathBuf>,
    appends: u64,
    /// No file is due before, by its age.
    due_ms: i64,
    /// As of the last poll.
    now_ms: i64,
}

impl Parts {
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        names: Names,
        policy: RollPolicy,
        (has_checkpoints, now_ms): (bool, i64),
    ) -> Self {
        Parts {
            storage,
            names,
            policy,
            has_checkpoints,
            open: BTreeMap::new(),
            closed: Vec::new(),
            next_counter: 0,
            ready: BTreeSet::new(),
            unsynced: BTreeSet::new(),
            appends: 0,
            due_ms: i64::MAX,
            now_ms,
        }
    }

    /// Does the bucket's next row begin its file?
    #[inline]
    pub(super) fn begins_file(&self, bucket: &str) -> bool {
        self.open.get(bucket).is_none_or(|part| part.length_bytes() == 0)
    }

    /// Closes the bucket's file if it would grow too large. True if the next row begins another.
    #[inline]
    pub(super) fn make_room(
        &mut self,
        bucket: &str,
        row_bytes: usize,
    ) -> Result<bool, FileSinkError> {
        let (Some(bytes_max), None) = (self.policy.bytes_max, &self.names.single) else {
            return Ok(false);
        };
        let Some(part) = self.open.get(bucket) else { return Ok(false) };
        let is_too_large = part.length_bytes().saturating_add(row_bytes as u64) > bytes_max;
        if is_too_large {
            self.close_bucket(bucket)?;
        }
        Ok(is_too_large)
    }

    /// Adds a row, which stays together in one file.
    #[inline]
    pub(super) fn append(&mut self, bucket: &str, row: &[u8]) -> Result<(), FileSinkError> {
        self.appends += 1;
        let (appends, now_ms) = (self.appends, self.now_ms);
        let part = match self.open.get_mut(bucket) {
            Some(part) => part,
            None => self.begin(bucket)?,
        };
        (part.last_append, part.written_at_ms) = (appends, now_ms);
        Ok(part.append(row)?)
    }

    #[cold]
    pub(super) fn begin(&mut self, bucket: &str) -> Result<&mut Part, FileSinkError> {
        self.prepare(bucket)?;
        if self.open.len() >= self.policy.open_max {
            let longest = self.open.values().min_by_key(|part| part.last_append);
            if let Some(bucket) = longest.map(|part| part.bucket.clone()) {
                self.close_bucket(&bucket)?;
            }
        }
        let name = self.names.part(self.next_counter);
        let place = (bucket, name);
        let part = Part::create(&self.storage, &self.names.directory, place, self.now_ms)?;
        self.next_counter += 1;
        self.unsynced.insert(self.names.directory.join(bucket));
        self.note_due(&part);
        Ok(self.open.entry(bucket.to_owned()).or_insert(part))
    }

    fn note_due(&mut self, part: &Part) {
        if self.names.single.is_none() {
            self.due_ms = self.due_ms.min(self.policy.due_ms(part));
        }
    }

    /// Makes the bucket's directory, and finds the numbers that are in use there.
    fn prepare(&mut self, bucket: &str) -> Result<(), FileSinkError> {
        if self.names.single.is_some() || self.ready.contains(bucket) {
            return Ok(());
        }
        check_bucket(bucket)?;
        let directory = self.names.directory.join(bucket);
        match self.has_checkpoints {
            true => create_durable_dir_all(&*self.storage, &directory)?,
            false => self.storage.create_dir_all(&directory)?,
        }
        for path in self.storage.list(&directory)? {
            if let Some((subtask, counter)) = self.names.parse(&path)
                && subtask == self.names.subtask
            {
                let next = counter.checked_add(1).ok_or(FileSinkError::NoNumberLeft { path })?;
                self.next_counter = self.next_counter.max(next);
            }
        }
        self.ready.insert(bucket.to_owned());
        Ok(())
    }

    fn close_bucket(&mut self, bucket: &str) -> Result<(), FileSinkError> {
        let Some(part) = self.open.remove(bucket) else { return Ok(()) };
        self.close(part)
    }

    pub(super) fn close(&mut self, part: Part) -> Result<(), FileSinkError> {
        let is_in_checkpoint = part.is_in_checkpoint;
        let closed = part.close()?;
        if !self.has_checkpoints {
            return self.publish(&[closed]);
        }
        self.closed.push((closed, is_in_checkpoint));
        Ok(())
    }

    /// The files that were closed since the last barrier.
    pub(super) fn take_closed(&mut self) -> Vec<PendingFile> {
        std::mem::take(&mut self.closed).into_iter().map(|(file, _)| file).collect()
    }

    /// Closes those whose time has come.
    #[inline]
    pub(super) fn close_due(&mut self, now_ms: i64) -> Result<(), FileSinkError> {
        self.now_ms = now_ms;
        if now_ms < self.due_ms { Ok(()) } else { self.close_all_due() }
    }

    #[cold]
    fn close_all_due(&mut self) -> Result<(), FileSinkError> {
        let (policy, now_ms) = (self.policy, self.now_ms);
        let due = self.open.extract_if(.., |_, part| policy.due_ms(part) <= now_ms);
        let due: Vec<Part> = due.map(|(_, part)| part).collect();
        due.into_iter().try_for_each(|part| self.close(part))?;
        let next = self.open.values().map(|part| policy.due_ms(part)).min();
        self.due_ms = next.unwrap_or(i64::MAX);
        Ok(())
    }

    /// When to look again for files whose time has come.
    pub(super) fn next_due_ms(&self) -> Option<i64> {
        Some(self.due_ms).filter(|due_ms| *due_ms < i64::MAX)
    }

    pub(super) fn close_all(&mut self) -> Result<(), FileSinkError> {
        let open = std::mem::take(&mut self.open);
        self.due_ms = i64::MAX;
        open.into_values().try_for_each(|part| self.close(part))
    }

    /// A barrier: all that was written is durable, under names that are.
    pub(super) fn persist(&mut self, is_final: bool) -> Result<Vec<StoredPart>, FileSinkError> {
        let closes = self.policy.at_checkpoints && self.names.single.is_none();
        if is_final || closes {
            self.close_all()?;
        }
        let mut stored = Vec::with_capacity(self.open.len());
        for part in self.open.values_mut() {
            let length_bytes = part.persist()?;
            part.is_in_checkpoint = true;
            let (bucket, name) = (part.bucket.clone(), part.name.clone());
            stored.push((bucket, name, length_bytes, part.begun_at_ms, part.tail().to_vec()));
        }
        while let Some(directory) = self.unsynced.pop_first() {
            self.storage.sync_dir(here(&directory))?;
        }
        crash_point(crash_points::NAMES_SYNCED);
        Ok(stored)
    }

    /// Goes on with a file of a checkpoint; of two of one bucket the second is closed.
    pub(super) fn resume(
        &mut self,
        (bucket, name, length_bytes, begun_at_ms, tail): StoredPart,
    ) -> Result<(), FileSinkError> {
        let directory = self.names.directory.clone();
        let (place, state) = ((bucket, name), (length_bytes, &tail[..]));
        let mut part = Part::resume(&self.storage, &directory, place, state)?;
        (part.begun_at_ms, part.written_at_ms) = (begun_at_ms, self.now_ms);
        self.note_due(&part);
        if self.open.contains_key(&part.bucket) {
            return self.close(part);
        }
        self.open.insert(part.bucket.clone(), part);
        Ok(())
    }

    /// Gives closed files their names, durably.
    pub(super) fn publish(&mut self, files: &[PendingFile]) -> Result<(), FileSinkError> {
        let directory = &self.names.directory;
        let mut directories = BTreeSet::new();
        for file in files {
            file.publish(&*self.storage, directory)?;
            directories.insert(parent_directory(&file.path(directory)).to_path_buf());
        }
        for directory in directories {
            self.storage.sync_dir(&directory)?;
        }
        crash_point(crash_points::PUBLISHED);
        for file in files {
            let path = file.path(directory);
            tracing::debug!(file = %path.display(), bytes = file.length_bytes, "published a file");
        }
        Ok(())
    }

    /// The job has failed or was cancelled: removes what no checkpoint can have.
    pub(super) fn give_up(self) -> Result<(), IoError> {
        let open = self.open.values().filter(|part| !part.is_in_checkpoint);
        let open = open.map(|part| part.in_progress_path().to_path_buf());
        let closed = self.closed.iter().filter(|(_, is_in_checkpoint)| !is_in_checkpoint);
        let closed = closed.map(|(file, _)| in_progress_path(&file.path(&self.names.directory)));
        let mut outcome = Ok(());
        for path in open.chain(closed) {
            outcome = outcome.and(self.storage.remove(&path));
        }
        outcome
    }
}

/// A directory as the system wants it: the empty path is the working directory.
fn here(directory: &Path) -> &Path {
    if directory.as_os_str().is_empty() { Path::new(".") } else { directory }
}

impl RollPolicy {
    fn due_ms(&self, part: &Part) -> i64 {
        let by_age = self.age_ms_max.map(|max| part.begun_at_ms.saturating_add(max));
        let by_idleness = self.idle_ms_max.map(|max| part.written_at_ms.saturating_add(max));
        by_age.into_iter().chain(by_idleness).min().unwrap_or(i64::MAX)
    }
}
