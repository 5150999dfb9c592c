//! A sink that writes files which appear when they are complete, and with checkpoints exactly once.
//!
//! 1. Rows go to the file in progress of their bucket ([`parts`]), `part-<subtask>-<counter>.inprogress`.
//! 2. A file is closed when it is large or old enough. Without checkpoints it is published at once.
//! 3. At a barrier all that was written is made durable. The checkpoint has the files in progress with their lengths, and
//!    those that are closed.
//! 4. When a checkpoint is complete, the files it has closed are published: renamed, and the directory synced. The order
//!    of things is that of [two-phase commit](crate::function::two_phase).
//! 5. A job that goes on from a checkpoint publishes, cuts and removes ([`recovery`]) until the files are what the
//!    checkpoint says.
//!
//! **Invariants**
//! - A file under its final name is whole and will not change: until then it ends with `.inprogress`.
//! - Each file begins with what the format says (a CSV header) and holds whole rows.
//! - With checkpoints a published file has no row that is not in a complete checkpoint, and a job that goes on from the last
//!   complete one never writes a row of it again.
//! - A subtask that ends without `finish` (failure, cancellation) removes its files in progress that no checkpoint has.

mod bucket;
mod error;
mod part;
mod parts;
mod recovery;
mod stored;
mod writing;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thalweg_io::storage::{PosixStorage, Storage};

pub use self::bucket::{BucketAssigner, BucketBy, OneBucket};
pub use self::error::FileSinkError;
use self::parts::{Names, RollPolicy};
use self::writing::Opened;
use super::encoder::{CsvRows, LineRows, RowFormat};
use crate::function::UserFunction;
use crate::time::duration_ms;

/// Where a file sink can be made to crash (see [`thalweg_io::crash_point`]).
pub mod crash_points {
    /// A file in progress exists, empty.
    pub const CREATED: &str = "file_sink.created";
    /// The bytes of a file are durable, its name need not be.
    pub const PERSISTED: &str = "file_sink.persisted";
    /// A file is closed, and in no checkpoint yet.
    pub const CLOSED: &str = "file_sink.closed";
    /// All that a barrier has is durable, and in no checkpoint yet.
    pub const NAMES_SYNCED: &str = "file_sink.names_synced";
    /// A file has its final name; a crash of the machine may still undo that.
    pub const RENAMED: &str = "file_sink.renamed";
    /// The files of a checkpoint are published, and nobody knows of it yet.
    pub const PUBLISHED: &str = "file_sink.published";
    /// A file in progress was cut to what a checkpoint has of it.
    pub const RESUMED: &str = "file_sink.resumed";
    /// A file of an attempt that failed was removed, and there may be more.
    pub const LEFTOVER_REMOVED: &str = "file_sink.leftover_removed";

    /// All of them.
    pub const ALL: [&str; 8] =
        [CREATED, PERSISTED, CLOSED, NAMES_SYNCED, RENAMED, PUBLISHED, RESUMED, LEFTOVER_REMOVED];
}

/// Writes records to files, as lines or as CSV.
///
/// Into a directory, each subtask writes `part-<subtask>-<counter>` and begins another file when the current one is large or old enough; what
/// earlier runs have published stays. [`bucket_by`](Self::bucket_by) spreads records over subdirectories. Into a single file
/// ([`lines_file`](FileSink::lines_file), [`csv_file`](FileSink::csv_file)), with parallelism 1, replacing what was there.
/// Files are published by renaming; at the end of input all are. A full disk or any other failure fails the job with the
/// cause kept.
///
/// With checkpoints the sink is **exactly-once**: a file is published when a checkpoint has all of it, and a restart cuts
/// what was written behind the checkpoint. A reader therefore sees rows a checkpoint later. The directory and prefix
/// must belong to one job: files in progress that its attempts have left are removed when it starts. Each checkpoint waits
/// for the disk, on the core of the sink. Without checkpoints a file is published when it is closed.
///
/// # Examples
/// ```no_run
/// use thalweg::prelude::*;
///
/// let env = StreamExecutionEnvironment::new();
/// let sink = sink::FileSink::csv("counts").roll_at_bytes(64 << 20).roll_after(minutes(5));
/// let sink = sink.bucket_by(|(word, _): &(&str, u32)| format!("letter={}", &word[..1]));
/// env.from_elements([("a", 1), ("b", 2)]).sink_to(sink);
/// env.execute("counts")?;
/// # Ok::<(), thalweg::Error>(())
/// ```
pub struct FileSink<F: RowFormat, B = OneBucket> {
    target: Target,
    format: F,
    buckets: B,
    storage: Arc<dyn Storage>,
    policy: RollPolicy,
    prefix: String,
    suffix: Option<String>,
    opened: Option<Opened<F::Encoder>>,
}

#[derive(Clone, Debug)]
enum Target {
    Directory(PathBuf),
    File(PathBuf),
}

/// Files in progress of a subtask, unless set.
const OPEN_MAX_DEFAULT: usize = 256;

impl<F: RowFormat, B> fmt::Debug for FileSink<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSink").field("target", &self.target).finish_non_exhaustive()
    }
}

/// For the subtasks: a clone is not open.
impl<F: RowFormat, B: Clone> Clone for FileSink<F, B> {
    fn clone(&self) -> Self {
        FileSink {
            target: self.target.clone(),
            format: self.format.clone(),
            buckets: self.buckets.clone(),
            storage: self.storage.clone(),
            policy: self.policy,
            prefix: self.prefix.clone(),
            suffix: self.suffix.clone(),
            opened: None,
        }
    }
}

impl FileSink<LineRows> {
    /// Lines into files of `directory`, which is created if missing: `part-0-000000.txt` and so on.
    pub fn lines(directory: impl Into<PathBuf>) -> FileSink<LineRows> {
        FileSink::new(Target::Directory(directory.into()), LineRows)
    }

    /// CSV into files of `directory`, which is created if missing: `part-0-000000.csv` and so on.
    pub fn csv(directory: impl Into<PathBuf>) -> FileSink<CsvRows> {
        FileSink::new(Target::Directory(directory.into()), CsvRows::default())
    }

    /// Lines into one file, whose directory must exist.
    pub fn lines_file(file: impl Into<PathBuf>) -> FileSink<LineRows> {
        FileSink::new(Target::File(file.into()), LineRows)
    }

    /// CSV into one file, whose directory must exist.
    pub fn csv_file(file: impl Into<PathBuf>) -> FileSink<CsvRows> {
        FileSink::new(Target::File(file.into()), CsvRows::default())
    }
}

impl<B> FileSink<CsvRows, B> {
    /// What separates fields. Default: a comma.
    #[must_use]
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.format.delimiter = delimiter;
        self
    }

    /// Files begin with data. Default: with the names of the fields, if records have names.
    #[must_use]
    pub fn no_header(mut self) -> Self {
        self.format.has_header = false;
        self
    }
}

impl<F: RowFormat> FileSink<F> {
    fn new(target: Target, format: F) -> Self {
        FileSink {
            target,
            format,
            buckets: OneBucket,
            storage: Arc::new(PosixStorage::new()),
            policy: RollPolicy {
                bytes_max: None,
                age_ms_max: None,
                idle_ms_max: None,
                at_checkpoints: false,
                open_max: OPEN_MAX_DEFAULT,
            },
            prefix: "part".to_owned(),
            suffix: None,
            opened: None,
        }
    }

    /// Spreads records over subdirectories: `bucket` names the one of a record, as a relative path (`day=2024-05-01`); the empty
    /// name is the directory itself. Each has a file in progress of its own. Not for a single file.
    #[must_use]
    pub fn bucket_by<T, G>(self, bucket: G) -> FileSink<F, BucketBy<G>>
    where
        G: FnMut(&T) -> String + UserFunction,
    {
        let FileSink { target, format, storage, policy, prefix, suffix, .. } = self;
        let buckets = BucketBy(bucket);
        FileSink { target, format, buckets, storage, policy, prefix, suffix, opened: None }
    }
}

impl<F: RowFormat, B> FileSink<F, B> {
    /// Begins another file before this one would grow larger; only a row that is larger by itself makes a larger file. Not for a single
    /// file. Default: no limit.
    #[must_use]
    pub fn roll_at_bytes(mut self, file_bytes_max: u64) -> Self {
        self.policy.bytes_max = Some(file_bytes_max);
        self
    }

    /// Closes a file this long after its first row. Not for a single file. Default: at the end of input.
    #[must_use]
    pub fn roll_after(mut self, age: Duration) -> Self {
        self.policy.age_ms_max = Some(duration_ms(age));
        self
    }

    /// Closes a file that has had no row for this long: for buckets that nothing comes to any more. Not for a single file.
    /// Default: at the end of input.
    #[must_use]
    pub fn roll_when_idle(mut self, idle: Duration) -> Self {
        self.policy.idle_ms_max = Some(duration_ms(idle));
        self
    }

    /// Closes all files at each checkpoint, so that readers see each row as soon as its checkpoint is complete; makes many
    /// small files. Not for a single file. Default: files go on over checkpoints.
    #[must_use]
    pub fn roll_at_checkpoints(mut self) -> Self {
        self.policy.at_checkpoints = true;
        self
    }

    /// How many files a subtask has in progress at most (0 counts as 1), which takes a file descriptor and 64 KiB of memory
    /// each. With more buckets the one that was longest without a row is closed. Default: 256.
    #[must_use]
    pub fn open_files_max(mut self, open_max: usize) -> Self {
        self.policy.open_max = open_max.max(1);
        self
    }

    /// What file names in a directory begin with. Default: `part`.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// What file names in a directory end with. Default: `.txt` or `.csv`.
    #[must_use]
    pub fn suffix(mut self, suffix: impl Into<String>) -> Self {
        self.suffix = Some(suffix.into());
        self
    }

    /// Where the files go. Default: the local file system.
    #[must_use]
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.storage = storage;
        self
    }

    fn names(&self, subtask: usize) -> Names {
        let (directory, single) = match &self.target {
            Target::Directory(directory) => (directory.clone(), None),
            Target::File(path) => {
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                (path.parent().map_or_else(PathBuf::new, Path::to_path_buf), name)
            }
        };
        let suffix = self.suffix.as_deref().unwrap_or(F::SUFFIX).to_owned();
        Names { directory, single, prefix: self.prefix.clone(), suffix, subtask }
    }

    /// Files of a single target are neither rolled nor spread.
    fn effective_policy(&self) -> RollPolicy {
        match &self.target {
            Target::Directory(_) => self.policy,
            Target::File(_) => RollPolicy {
                bytes_max: None,
                age_ms_max: None,
                idle_ms_max: None,
                at_checkpoints: false,
                open_max: 1,
            },
        }
    }

    fn check_target(&self, parallelism: usize) -> Result<(), FileSinkError> {
        match &self.target {
            Target::File(path) if parallelism > 1 => {
                Err(FileSinkError::Parallel { path: path.clone(), parallelism })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod exactly_once_tests;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;
