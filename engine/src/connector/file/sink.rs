//! A sink that writes files which appear when they are complete.
//!
//! **Invariants**
//! - A file under its final name is whole and will not change: until then it ends with `.inprogress`.
//! - Each file begins with what the format says (a CSV header) and holds whole rows.
//! - A subtask that ends without `finish` (failure, cancellation) removes its file in progress; published ones stay.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thalweg_io::IoError;
use thalweg_io::file::{FileWriter, RollingOptions, RollingWriter};
use thalweg_io::storage::{PosixStorage, Storage};

use super::encoder::{CsvRows, LineRows, RowEncoder, RowFormat};
use crate::function::{RuntimeContext, Sink, SinkStatus};
use crate::{BoxError, Result};

/// Writes records to files, as lines or as CSV.
///
/// Into a directory, each subtask writes `part-<subtask>-<counter>` and begins another file when the current one is large or old enough; what
/// earlier runs wrote stays. Into a single file ([`lines_file`](FileSink::lines_file), [`csv_file`](FileSink::csv_file)), with
/// parallelism 1, replacing what was there. Files are published by renaming; at the end of input all are. A full disk or any other failure
/// fails the job with the cause kept.
///
/// Published files are not taken back when a job restarts: at-least-once after a failure of a source that replays.
///
/// # Examples
/// ```no_run
/// use thalweg::prelude::*;
///
/// let env = StreamExecutionEnvironment::new();
/// let sink = sink::FileSink::csv("counts").roll_at_bytes(64 << 20).roll_after(minutes(5));
/// env.from_elements([("a", 1), ("b", 2)]).sink_to(sink);
/// env.execute("counts")?;
/// # Ok::<(), thalweg::Error>(())
/// ```
pub struct FileSink<F: RowFormat> {
    target: Target,
    format: F,
    storage: Arc<dyn Storage>,
    file_bytes_max: Option<u64>,
    file_age_ms_max: Option<i64>,
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
    writer: Writer,
    encoder: E,
    /// The row being encoded; kept for its memory.
    row: Vec<u8>,
    /// As of the latest `poll_ready`.
    now_ms: i64,
    /// Of the current file.
    begun_at_ms: i64,
    file_bytes: u64,
}

enum Writer {
    Rolling(RollingWriter),
    Single(FileWriter),
    /// Completed or given up.
    Done,
}

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
}

impl<F: RowFormat> fmt::Debug for FileSink<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSink").field("target", &self.target).finish_non_exhaustive()
    }
}

/// For the subtasks: a clone is not open.
impl<F: RowFormat> Clone for FileSink<F> {
    fn clone(&self) -> Self {
        FileSink {
            target: self.target.clone(),
            format: self.format.clone(),
            storage: self.storage.clone(),
            file_bytes_max: self.file_bytes_max,
            file_age_ms_max: self.file_age_ms_max,
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

impl FileSink<CsvRows> {
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
            storage: Arc::new(PosixStorage::new()),
            file_bytes_max: None,
            file_age_ms_max: None,
            prefix: "part".to_owned(),
            suffix: None,
            opened: None,
        }
    }

    /// Begins another file before this one would grow larger; only a row that is larger by itself makes a larger file. Not for a single
    /// file. Default: no limit.
    #[must_use]
    pub fn roll_at_bytes(mut self, file_bytes_max: u64) -> Self {
        self.file_bytes_max = Some(file_bytes_max);
        self
    }

    /// Publishes a file this long after its first row. Not for a single file. Default: at the end of input.
    #[must_use]
    pub fn roll_after(mut self, age: Duration) -> Self {
        self.file_age_ms_max = Some(crate::time::duration_ms(age));
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

    fn open_writer(&self, context: &RuntimeContext<'_>) -> Result<Writer, FileSinkError> {
        let parallelism = context.parallelism();
        Ok(match &self.target {
            Target::File(path) if parallelism > 1 => {
                return Err(FileSinkError::Parallel { path: path.clone(), parallelism });
            }
            Target::File(path) => Writer::Single(FileWriter::create(&self.storage, path)?),
            Target::Directory(directory) => {
                let subtask = u32::try_from(context.subtask_index()).unwrap_or(u32::MAX);
                let suffix = self.suffix.as_deref().unwrap_or(F::SUFFIX);
                let options = RollingOptions::new(directory, subtask);
                let options = options.prefix(&self.prefix).suffix(suffix);
                Writer::Rolling(RollingWriter::open(&self.storage, options)?)
            }
        })
    }

    /// Completes the current file of a directory if it is time to: before a row of `more_bytes`, or (0) because of its age.
    fn roll_if_due(&mut self, more_bytes: u64) -> Result<(), FileSinkError> {
        let Some(opened) = &mut self.opened else { return Ok(()) };
        let Writer::Rolling(writer) = &mut opened.writer else { return Ok(()) };
        if opened.file_bytes == 0 {
            return Ok(());
        }
        let age_ms = opened.now_ms.saturating_sub(opened.begun_at_ms);
        let is_old = self.file_age_ms_max.is_some_and(|max| age_ms >= max);
        let next_bytes = opened.file_bytes.saturating_add(more_bytes);
        if is_old || self.file_bytes_max.is_some_and(|max| next_bytes > max) {
            writer.roll()?;
            report(writer);
            opened.file_bytes = 0;
        }
        Ok(())
    }
}

fn report(writer: &mut RollingWriter) {
    for file in writer.take_completed() {
        tracing::debug!(file = %file.path().display(), bytes = file.length_bytes(), "published a file");
    }
}

impl<E> Opened<E> {
    fn append(&mut self) -> Result<(), IoError> {
        match &mut self.writer {
            Writer::Rolling(writer) => writer.append(&self.row, self.now_ms)?,
            Writer::Single(writer) => writer.append(&self.row)?,
            Writer::Done => {}
        }
        if self.file_bytes == 0 {
            self.begun_at_ms = self.now_ms;
        }
        self.file_bytes += self.row.len() as u64;
        Ok(())
    }
}

impl<F: RowFormat> FileSink<F> {
    fn encode<T>(&mut self, record: &T) -> Result<(), FileSinkError>
    where
        F::Encoder: RowEncoder<T>,
    {
        let Some(opened) = &mut self.opened else { return Ok(()) };
        opened.row.clear();
        let begins_file = opened.file_bytes == 0;
        let encoded = opened.encoder.encode(record, begins_file, &mut opened.row);
        encoded.map_err(|cause| FileSinkError::Encode { cause })
    }
}

impl<T, F> Sink<T> for FileSink<F>
where
    T: 'static,
    F: RowFormat<Encoder: RowEncoder<T>>,
{
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        let writer = self.open_writer(context)?;
        let (encoder, now_ms) = (self.format.encoder(), context.now_ms());
        let (row, begun_at_ms, file_bytes) = (Vec::new(), now_ms, 0);
        self.opened = Some(Opened { writer, encoder, row, now_ms, begun_at_ms, file_bytes });
        Ok(())
    }

    fn write(&mut self, record: T, _: i64) -> Result<()> {
        self.encode(&record)?;
        let row_bytes = self.opened.as_ref().map_or(0, |opened| opened.row.len() as u64);
        let was_begun = self.opened.as_ref().is_some_and(|opened| opened.file_bytes > 0);
        self.roll_if_due(row_bytes)?;
        if was_begun && self.opened.as_ref().is_some_and(|opened| opened.file_bytes == 0) {
            // It begins the next file, so it comes with a header.
            self.encode(&record)?;
        }
        if let Some(opened) = &mut self.opened {
            opened.append().map_err(FileSinkError::Io)?;
        }
        Ok(())
    }

    fn poll_ready(&mut self, now_ms: i64, _: bool) -> Result<SinkStatus> {
        if let Some(opened) = &mut self.opened {
            opened.now_ms = now_ms;
        }
        self.roll_if_due(0)?;
        Ok(SinkStatus::Ready)
    }

    fn next_poll_ms(&self) -> Option<i64> {
        let opened = self.opened.as_ref().filter(|opened| opened.file_bytes > 0)?;
        Some(opened.begun_at_ms.saturating_add(self.file_age_ms_max?))
    }

    fn finish(&mut self) -> Result<SinkStatus> {
        let Some(opened) = &mut self.opened else { return Ok(SinkStatus::Ready) };
        match std::mem::replace(&mut opened.writer, Writer::Done) {
            Writer::Rolling(mut writer) => {
                writer.roll().map_err(FileSinkError::Io)?;
                report(&mut writer);
            }
            Writer::Single(writer) => {
                writer.complete().map_err(FileSinkError::Io)?;
            }
            Writer::Done => {}
        }
        Ok(SinkStatus::Ready)
    }

    fn close(&mut self) -> Result<()> {
        let Some(opened) = self.opened.take() else { return Ok(()) };
        let aborted = match opened.writer {
            Writer::Rolling(writer) => writer.abort(),
            Writer::Single(writer) => writer.abort(),
            Writer::Done => Ok(()),
        };
        Ok(aborted.map_err(FileSinkError::Io)?)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
