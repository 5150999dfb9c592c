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
mod part;
mod parts;
mod recovery;
mod stored;

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thalweg_io::IoError;
use thalweg_io::storage::{PosixStorage, Storage, create_durable_dir_all};

pub use self::bucket::{BucketAssigner, BucketBy, OneBucket};
use self::part::PendingFile;
use self::parts::{Names, Parts, RollPolicy};
use self::recovery::Recovered;
use self::stored::archive;
use super::encoder::{CsvRows, LineRows, RowEncoder, RowFormat};
use crate::function::two_phase::protocol::{Action, CommitProtocol, CommitRetries, Event};
use crate::function::two_phase::retry::RetryClock;
use crate::function::{
    ArchivedState, RuntimeContext, Sink, SinkGuarantee, SinkPromise, SinkStateContext, SinkStatus,
    TransactionError, UserFunction,
};
use crate::record::{Barrier, CheckpointId};
use crate::time::duration_ms;
use crate::{BoxError, Result};

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

/// What a subtask has on its core.
struct Opened<E> {
    parts: Parts,
    protocol: CommitProtocol<Vec<PendingFile>>,
    retry: RetryClock,
    last_cause: Option<FileSinkError>,
    has_checkpoints: bool,
    /// Behind the last barrier.
    row_count: u64,
    encoder: E,
    /// The row being encoded; kept for its memory.
    row: Vec<u8>,
}

/// How often publishing is tried before the job fails, and how soon.
const RETRIES: CommitRetries = CommitRetries { attempts_max: 5, delay_ms: 100 };

/// Files in progress of a subtask, unless set.
const OPEN_MAX_DEFAULT: usize = 256;

/// A file sink cannot be opened or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileSinkError {
    /// The files cannot be written.
    #[error("the file sink failed: {0}")]
    Io(#[from] IoError),
    /// Several subtasks cannot write one file.
    #[error(
        "the file sink writes the single file {path} and has {parallelism} subtasks; give it \
         `set_parallelism(1)`, or write into a directory"
    )]
    Parallel {
        /// The file.
        path: PathBuf,
        /// How many.
        parallelism: usize,
    },
    /// A record does not fit the format.
    #[error("the file sink cannot encode a record: {cause}")]
    Encode {
        /// Why.
        cause: BoxError,
    },
    /// A record's bucket cannot be a directory below the sink's.
    #[error(
        "the file sink cannot write to bucket {bucket:?}, which {problem}; name a subdirectory such as `day=2024-05-01`"
    )]
    Bucket {
        /// As the function says.
        bucket: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A file that a checkpoint has is not as the checkpoint says.
    #[error(
        "the checkpoint has {expected_bytes} bytes of {path}, and that is not so: {found}; somebody else has changed it: put \
         it back, or begin without the checkpoint"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the checkpoint has.
        expected_bytes: u64,
        /// What is there.
        found: String,
    },
    /// A file has the highest number there can be.
    #[error(
        "{path} has the highest number that a file can have; remove it, or choose another prefix"
    )]
    NoNumberLeft {
        /// The file.
        path: PathBuf,
    },
}

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

impl<E> Opened<E> {
    fn on(&mut self, event: Event<Vec<PendingFile>>) -> Result<()> {
        let mut due = self.protocol.on(event);
        while let Some(action) = due.pop() {
            match action {
                Action::Commit(pending) => {
                    let event = match self.parts.publish(&pending.transaction) {
                        Ok(()) => Event::Committed,
                        Err(cause) => {
                            tracing::warn!(%cause, "files could not be published");
                            self.last_cause = Some(cause);
                            Event::CommitFailed
                        }
                    };
                    due.extend(self.protocol.on(event));
                }
                Action::Retry { delay_ms } => self.retry.wait(delay_ms),
                Action::GiveUp { pending, attempts } => {
                    let files = pending.transaction;
                    return Err(self.give_up(&files, pending.checkpoint, attempts));
                }
                // There is no transaction but the files.
                Action::Begin | Action::PreCommit | Action::Abort(_) | Action::AbortOpen => {}
            }
        }
        Ok(())
    }

    fn give_up(
        &mut self,
        files: &[PendingFile],
        checkpoint: CheckpointId,
        attempts: u32,
    ) -> BoxError {
        let directory = &self.parts.names.directory;
        let first = files.first().map_or_else(PathBuf::new, |file| file.path(directory));
        let transaction = match files.len() {
            0 | 1 => first.display().to_string(),
            count => format!("{} and {} more", first.display(), count - 1),
        };
        let cause = match self.last_cause.take() {
            Some(cause) => cause.into(),
            None => "the cause is not known".into(),
        };
        TransactionError::Commit { transaction, checkpoint, attempts, cause }.into()
    }

    /// Closes and publishes all, at the end of a job without checkpoints.
    fn finish_at_once(&mut self) -> Result<SinkStatus> {
        self.parts.close_all()?;
        Ok(SinkStatus::Ready)
    }

    /// The last barrier has closed all; its notice is waited for.
    fn finish_with_checkpoint(&mut self) -> Result<SinkStatus> {
        if let Some(part) = self.parts.open.values().next() {
            let (transaction, record_count) = (part.name.clone(), self.row_count);
            return Err(TransactionError::BehindTheEnd { transaction, record_count }.into());
        }
        let is_out = self.protocol.pending().len() == 0;
        Ok(if is_out { SinkStatus::Ready } else { SinkStatus::Full })
    }
}

fn not_open() -> BoxError {
    "a file sink was used before its state was initialized".into()
}

impl<T, F, B> Sink<T> for FileSink<F, B>
where
    T: 'static,
    F: RowFormat<Encoder: RowEncoder<T>>,
    B: BucketAssigner<T>,
{
    fn promise(&self) -> SinkPromise {
        SinkPromise::of(SinkGuarantee::TwoPhase)
    }

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(self.check_target(context.parallelism())?)
    }

    fn initialize_state(&mut self, context: &SinkStateContext<'_>) -> Result<()> {
        let (names, storage) = (self.names(context.subtask_index()), self.storage.clone());
        let has_checkpoints = context.has_checkpoints();
        let is_single = names.single.is_some();
        if !is_single {
            match has_checkpoints {
                true => create_durable_dir_all(&*storage, &names.directory),
                false => storage.create_dir_all(&names.directory),
            }
            .map_err(FileSinkError::Io)?;
        }
        let recovered = Recovered::from(context, &names.directory)?;
        if has_checkpoints && !is_single {
            let removed = recovered.remove_leftovers(context, &*storage, &names);
            removed.map_err(FileSinkError::Io)?;
        }
        let mut parts = Parts::new(
            storage,
            names,
            self.effective_policy(),
            (has_checkpoints, context.now_ms()),
        );
        parts.next_counter = recovered.next_counter;
        let mut opened = Opened {
            parts,
            protocol: CommitProtocol::new(RETRIES),
            retry: RetryClock::default(),
            last_cause: None,
            has_checkpoints,
            row_count: 0,
            encoder: self.format.encoder(),
            row: Vec::new(),
        };
        let Recovered { open, pending, is_new, .. } = recovered;
        if let Some(checkpoint) = context.restored_checkpoint() {
            opened.on(Event::Restored { checkpoint, pending, open: Vec::new() })?;
            open.into_iter().try_for_each(|part| opened.parts.resume(part))?;
        }
        if is_single && is_new {
            // It is there also if nothing is written, and shows at once whether it can be.
            opened.parts.begin("")?;
        }
        self.opened = Some(opened);
        Ok(())
    }

    fn write(&mut self, record: T, _: i64) -> Result<()> {
        let opened = self.opened.as_mut().ok_or_else(not_open)?;
        let bucket = match &opened.parts.names.single {
            Some(_) => Cow::Borrowed(""),
            None => self.buckets.bucket_of(&record),
        };
        let encode = |opened: &mut Opened<F::Encoder>, begins_file| {
            opened.row.clear();
            let encoded = opened.encoder.encode(&record, begins_file, &mut opened.row);
            encoded.map_err(|cause| FileSinkError::Encode { cause })
        };
        let begins_file = opened.parts.begins_file(&bucket);
        encode(opened, begins_file)?;
        if opened.parts.make_room(&bucket, opened.row.len())? {
            // It begins the next file, so it comes with a header.
            encode(opened, true)?;
        }
        opened.row_count += 1;
        Ok(opened.parts.append(&bucket, &opened.row)?)
    }

    fn poll_ready(&mut self, now_ms: i64, _: bool) -> Result<SinkStatus> {
        let opened = self.opened.as_mut().ok_or_else(not_open)?;
        opened.parts.close_due(now_ms)?;
        if opened.retry.is_due(now_ms) {
            opened.on(Event::RetryDue)?;
            opened.retry.start(now_ms);
        }
        Ok(SinkStatus::Ready)
    }

    fn next_poll_ms(&self) -> Option<i64> {
        let opened = self.opened.as_ref()?;
        opened.parts.next_due_ms().into_iter().chain(opened.retry.due_ms()).min()
    }

    fn snapshot_state(&mut self, barrier: Barrier) -> Result<ArchivedState> {
        let opened = self.opened.as_mut().ok_or_else(not_open)?;
        let Barrier { checkpoint, is_final } = barrier;
        let open = opened.parts.persist(is_final)?;
        opened.row_count = 0;
        let closed = opened.parts.take_closed();
        if !closed.is_empty() {
            opened.on(Event::Barrier { checkpoint, is_final })?;
            opened.on(Event::PreCommitted(closed))?;
        }
        let pending = opened.protocol.pending().map(|one| (one.checkpoint, &one.transaction));
        archive(opened.parts.next_counter, open, pending)
    }

    fn notify_checkpoint_complete(&mut self, checkpoint: CheckpointId) -> Result<()> {
        self.opened.as_mut().ok_or_else(not_open)?.on(Event::Completed(checkpoint))
    }

    fn finish(&mut self) -> Result<SinkStatus> {
        let opened = self.opened.as_mut().ok_or_else(not_open)?;
        match opened.has_checkpoints {
            true => opened.finish_with_checkpoint(),
            false => opened.finish_at_once(),
        }
    }

    fn close(&mut self) -> Result<()> {
        let Some(opened) = self.opened.take() else { return Ok(()) };
        Ok(opened.parts.give_up().map_err(FileSinkError::Io)?)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod exactly_once_tests;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;
