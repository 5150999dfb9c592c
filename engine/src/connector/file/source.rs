//! [`FileSource`]: what to read, and how.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use thalweg_io::file::Compression;
use thalweg_io::storage::{PosixStorage, Storage};

use super::csv_options::Csv;
use super::decoder::{FileAccess, FileFormat};
use super::enumerator::FileEnumerator;
use super::lines::Lines;
use super::malformed::{AsResults, Malformed, OnMalformed};
use super::reader::FileSourceReader;
use super::split::FileSplit;
use crate::Result;
use crate::function::{Boundedness, ReaderContext, Source, SplitEnumerator};

/// How often a followed file is looked at, unless set.
const FOLLOW_INTERVAL_DEFAULT: Duration = Duration::from_millis(100);

/// Reads a file, or the files of a directory in the order of their names, as lines or as CSV; gzip is recognised by itself.
///
/// A file is read by one subtask, in order; several files are spread over the subtasks, which ask for the next when they are done.
/// A file is read to the end it has when it is opened, unless [`follow`](Self::follow) is set. Files whose names begin with `.` or `_`
/// or end with `.inprogress` are left out, subdirectories are not looked into.
///
/// A path that is missing, unreadable or an empty directory fails the job before anything runs.
///
/// # Examples
/// ```no_run
/// use thalweg::prelude::*;
///
/// #[derive(serde::Deserialize)]
/// struct Flight { departed_at: i64, dest: String }
///
/// let env = StreamExecutionEnvironment::new();
/// let flights = source::FileSource::csv::<Flight>("flights.csv.gz");
/// env.from_source(flights, "flights").map(|flight| flight.dest).print();
/// env.execute("destinations")?;
/// # Ok::<(), thalweg::Error>(())
/// ```
///
/// Rows that cannot be decoded, as records of their own:
/// ```no_run
/// # use thalweg::prelude::*;
/// # #[derive(serde::Deserialize)]
/// # struct Flight { departed_at: i64, dest: String }
/// # let env = StreamExecutionEnvironment::new();
/// let rows = env.from_source(source::FileSource::csv::<Flight>("flights").results(), "flights");
/// let flights = rows.flat_map(|row| match row {
///     Ok(flight) => Some(flight),
///     Err(malformed) => {
///         eprintln!("{malformed}: {}", malformed.raw);
///         None
///     }
/// });
/// # flights.map(|flight| flight.departed_at).print();
/// ```
#[derive(Clone, Debug)]
pub struct FileSource<F, P = Malformed> {
    path: PathBuf,
    format: F,
    on_malformed: P,
    access: FileAccess,
    discover_every: Option<Duration>,
    follow_interval: Duration,
}

impl FileSource<Lines> {
    /// The lines of text in `path`, as `String`s without their ends. A line that is not UTF-8 or too long is malformed.
    pub fn lines(path: impl Into<PathBuf>) -> FileSource<Lines> {
        FileSource::with_format(path.into(), Lines::default())
    }

    /// The rows of the CSV in `path` as records of type `T`: by the names of the header, unless [`no_header`](FileSource::no_header) is
    /// called. A row that does not fit `T` or has another number of fields is malformed; a header that lacks a column fails the
    /// job at the first row.
    pub fn csv<T: DeserializeOwned + Send + 'static>(
        path: impl Into<PathBuf>,
    ) -> FileSource<Csv<T>> {
        FileSource::with_format(path.into(), Csv::default())
    }
}

impl<F> FileSource<F> {
    fn with_format(path: PathBuf, format: F) -> Self {
        let storage: Arc<dyn Storage> = Arc::new(PosixStorage::new());
        let compression = Compression::Detect;
        let access = FileAccess { storage, follow: false, compression, chunk_bytes: None };
        let (discover_every, follow_interval) = (None, FOLLOW_INTERVAL_DEFAULT);
        let on_malformed = Malformed::default();
        FileSource { path, format, on_malformed, access, discover_every, follow_interval }
    }

    /// What becomes of malformed rows. Default: [`Malformed::Fail`].
    #[must_use]
    pub fn on_malformed(mut self, on_malformed: Malformed) -> Self {
        self.on_malformed = on_malformed;
        self
    }

    /// Malformed rows are records too: the stream is one of `Result<T, MalformedRow>`, which a `flat_map` or a side output takes apart.
    #[must_use]
    pub fn results(self) -> FileSource<F, AsResults> {
        let FileSource { path, format, access, discover_every, follow_interval, .. } = self;
        let on_malformed = AsResults;
        FileSource { path, format, on_malformed, access, discover_every, follow_interval }
    }
}

impl<F, P> FileSource<F, P> {
    /// Looks for new files in the directory this often (at least each millisecond); the source then does not end by itself. Default:
    /// the files there at the start are all.
    #[must_use]
    pub fn discover_every(mut self, interval: Duration) -> Self {
        self.discover_every = Some(interval.max(Duration::from_millis(1)));
        self
    }

    /// Reads what is appended to the files, too; the source then does not end by itself. A file that is replaced (rotated) is read to its
    /// end and its successor from the start; one that is truncated in place is read from its start again. A row is emitted when
    /// its line end is there. Each subtask reads all its files side by side.
    #[must_use]
    pub fn follow(mut self) -> Self {
        self.access.follow = true;
        self
    }

    /// How often a followed file without news is looked at. Default: 100 ms.
    #[must_use]
    pub fn follow_interval(mut self, interval: Duration) -> Self {
        self.follow_interval = interval;
        self
    }

    /// Whether the files are compressed. Default: gzip if a file begins like gzip.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.access.compression = compression;
        self
    }

    /// Where the files are. Default: the local file system.
    #[must_use]
    pub fn storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.access.storage = storage;
        self
    }

    /// How much is read at a time, at least 1 byte. Default: 256 KiB.
    #[must_use]
    pub fn chunk_bytes(mut self, chunk_bytes: usize) -> Self {
        self.access.chunk_bytes = Some(chunk_bytes);
        self
    }
}

impl<P> FileSource<Lines, P> {
    /// The longest line, in bytes without its end; longer ones are malformed. Default: 1 MiB.
    #[must_use]
    pub fn line_bytes_max(mut self, line_bytes_max: usize) -> Self {
        self.format.line_bytes_max = line_bytes_max;
        self
    }
}

impl<T, P> FileSource<Csv<T>, P> {
    /// What separates fields. Default: a comma.
    #[must_use]
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.format.options.delimiter = delimiter;
        self
    }

    /// What encloses fields that hold delimiters or line ends; doubled within them. Default: `"`.
    #[must_use]
    pub fn quote(mut self, quote: u8) -> Self {
        self.format.options.quote = Some(quote);
        self
    }

    /// Quotes are bytes like any other. Default: they are not.
    #[must_use]
    pub fn no_quoting(mut self) -> Self {
        self.format.options.quote = None;
        self
    }

    /// What stands before a quote within a field. Default: nothing, quotes are doubled.
    #[must_use]
    pub fn escape(mut self, escape: u8) -> Self {
        self.format.options.escape = Some(escape);
        self
    }

    /// Lines that begin with this byte are left out. Default: none.
    #[must_use]
    pub fn comment(mut self, comment: u8) -> Self {
        self.format.options.comment = Some(comment);
        self
    }

    /// The first row is data, and fields are taken by position: `T` is a tuple, or a struct in the order of its fields. Default: the
    /// first row of each file names the columns.
    #[must_use]
    pub fn no_header(mut self) -> Self {
        self.format.options.has_header = false;
        self
    }

    /// Rows may have fewer or more fields than the first. Default: such rows are malformed.
    #[must_use]
    pub fn flexible(mut self) -> Self {
        self.format.options.is_flexible = true;
        self
    }

    /// White space around fields and names is removed. Default: it is kept.
    #[must_use]
    pub fn trim(mut self) -> Self {
        self.format.options.trims = true;
        self
    }

    /// The longest row, in bytes with its quotes; longer ones are malformed. Default: 1 MiB.
    #[must_use]
    pub fn row_bytes_max(mut self, row_bytes_max: usize) -> Self {
        self.format.options.row_bytes_max = row_bytes_max;
        self
    }
}

impl<F: FileFormat, P: OnMalformed<F::Out>> Source for FileSource<F, P> {
    type Out = P::Out;
    type Split = FileSplit;
    type Reader = FileSourceReader<F, P>;

    fn boundedness(&self) -> Boundedness {
        match self.access.follow || self.discover_every.is_some() {
            true => Boundedness::Unbounded,
            false => Boundedness::Bounded,
        }
    }

    fn create_enumerator(&self) -> Result<Option<Box<dyn SplitEnumerator<FileSplit>>>> {
        self.format.check()?;
        let (storage, path) = (self.access.storage.clone(), self.path.clone());
        let (every, follow) = (self.discover_every, self.access.follow);
        Ok(Some(Box::new(FileEnumerator::new(storage, path, every, follow))))
    }

    fn create_reader(&self, _: &ReaderContext) -> Result<Self::Reader> {
        let FileSource { format, on_malformed, access, .. } = self.clone();
        let interval_ns = u64::try_from(self.follow_interval.as_nanos()).unwrap_or(u64::MAX);
        Ok(FileSourceReader::new(format, on_malformed, access, interval_ns))
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
