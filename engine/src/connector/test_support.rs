//! Driving readers and sinks directly, without a job: what the tests of the connectors share.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::Result;
use crate::function::{
    ArchivedState, Assignment, EnumeratorContext, InputStatus, ReaderContext, RuntimeContext, Sink,
    SinkStateContext, SinkStatus, Source, SourceCollector, SourceControls, SourceReader,
    SplitEnumerator,
};
use crate::graph::NodeId;
use crate::metrics::JobMetrics;
use crate::operator::opened::OpenStates;
use crate::operator::{Flow, OperatorNames, Push, StageContext, TaskContext};
use crate::record::Control;
use crate::runtime::{CoreHandle, CoreServices};
use crate::time::{Clock, SystemClock};
use thalweg_io::storage::{FileLock, FileMetadata, MemoryStorage, ReadFile, Storage, WriteFile};
use thalweg_io::{AppendError, IoError, IoSite, Operation};

/// How long a test waits for what must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps what it is given.
struct Recorder<T>(Vec<(T, i64)>);

impl<T: 'static> Push<T> for Recorder<T> {
    fn push(&mut self, record: T, timestamp: i64) {
        self.0.push((record, timestamp));
    }
    fn control(&mut self, _: Control) {}
    fn drive(&mut self, _: bool) -> Flow {
        Flow::Ready
    }
}

/// A reader with the core's services it sees, its collector, and the enumerator of its source if it is alone.
pub(crate) struct SourceDriver<S: Source> {
    pub(crate) reader: S::Reader,
    pub(crate) enumerator: Option<Box<dyn SplitEnumerator<S::Split>>>,
    pub(crate) core: CoreServices,
    pub(crate) skipped: u64,
    recorder: Recorder<S::Out>,
    position: Cell<u64>,
    controls: SourceControls,
}

fn context_of(core: &CoreServices, subtask_index: usize, parallelism: usize) -> ReaderContext {
    let operator_name = "test source".to_owned();
    ReaderContext { subtask_index, parallelism, operator_name, waker: core.waker.clone() }
}

impl<S: Source> SourceDriver<S> {
    fn new(source: &S, subtask_index: usize, parallelism: usize) -> Result<Self> {
        let core = CoreServices::default();
        let reader = source.create_reader(&context_of(&core, subtask_index, parallelism))?;
        let (recorder, position) = (Recorder(Vec::new()), Cell::new(0));
        let controls = SourceControls::default();
        Ok(SourceDriver {
            reader,
            enumerator: None,
            core,
            skipped: 0,
            recorder,
            position,
            controls,
        })
    }

    /// All readers of a source, each with what its enumerator assigns at the start.
    pub(crate) fn start_all(source: &S, parallelism: usize) -> Result<Vec<Self>> {
        let mut enumerator = source.create_enumerator()?;
        let drivers = (0..parallelism).map(|index| Self::new(source, index, parallelism));
        let mut drivers = drivers.collect::<Result<Vec<_>>>()?;
        if let Some(enumerator) = &mut enumerator {
            let mut context = EnumeratorContext::new(parallelism);
            enumerator.discover(&mut context)?;
            for (subtask, assignment) in context.assignments {
                drivers[subtask].give(assignment);
            }
        }
        if parallelism == 1 {
            drivers[0].enumerator = enumerator;
        }
        Ok(drivers)
    }

    /// The only reader of a source.
    pub(crate) fn start(source: &S, parallelism: usize) -> Result<Self> {
        assert_eq!(parallelism, 1, "`start_all` is for more");
        Ok(Self::start_all(source, 1)?.remove(0))
    }

    /// A reader that begins with splits of an earlier one.
    pub(crate) fn with_splits(source: &S, splits: Vec<S::Split>) -> Self {
        let mut driver = Self::new(source, 0, 1).unwrap();
        driver.reader.add_splits(splits);
        driver.reader.no_more_splits();
        driver
    }

    /// The only reader, going on from a checkpoint that has these splits and this state of the enumerator.
    pub(crate) fn restore(
        source: &S,
        splits: Vec<S::Split>,
        state: Option<ArchivedState>,
    ) -> Result<Self> {
        let mut driver = Self::new(source, 0, 1)?;
        driver.reader.add_splits(splits);
        driver.enumerator = source.create_enumerator()?;
        if let (Some(enumerator), Some(state)) = (&mut driver.enumerator, state) {
            enumerator.restore_state(&state)?;
            driver.discover()?;
        }
        Ok(driver)
    }

    fn give(&mut self, assignment: Assignment<S::Split>) {
        match assignment {
            Assignment::Splits(splits) => self.reader.add_splits(splits),
            Assignment::NoMore => self.reader.no_more_splits(),
        }
    }

    pub(crate) fn discover(&mut self) -> Result<()> {
        let mut context = EnumeratorContext::new(1);
        let enumerator = self.enumerator.as_mut().expect("the source has splits");
        enumerator.discover(&mut context)?;
        context.assignments.into_iter().for_each(|(_, assignment)| self.give(assignment));
        Ok(())
    }

    fn ask_for_split(&mut self) -> Result<()> {
        let Some(enumerator) = self.enumerator.as_mut() else { return Ok(()) };
        if !self.reader.wants_split() {
            return Ok(());
        }
        let mut context = EnumeratorContext::new(1);
        enumerator.handle_split_request(0, &mut context)?;
        context.assignments.into_iter().for_each(|(_, assignment)| self.give(assignment));
        Ok(())
    }

    /// One poll, as the source task does it: splits first.
    pub(crate) fn poll(&mut self, max: usize) -> Result<InputStatus> {
        self.ask_for_split()?;
        self.core.next_timer_ms.set(i64::MAX);
        let (next, controls) = (&mut self.recorder, &mut self.controls);
        let mut out = SourceCollector::new(next, &self.position, &self.core, controls);
        let status = self.reader.poll_batch(max, &mut out);
        self.skipped += out.skipped();
        status
    }

    pub(crate) fn set_time_ms(&mut self, ms: i64) {
        self.core.now_ms.set(ms);
        self.core.monotonic_ns.set(ms as u64 * 1_000_000);
    }

    pub(crate) fn next_timer_ms(&self) -> i64 {
        self.core.next_timer_ms.get()
    }

    /// What was emitted since the last call.
    pub(crate) fn take(&mut self) -> Vec<S::Out> {
        self.take_stamped().into_iter().map(|(record, _)| record).collect()
    }

    pub(crate) fn take_stamped(&mut self) -> Vec<(S::Out, i64)> {
        std::mem::take(&mut self.recorder.0)
    }

    /// Polls to the end of input, waiting for threads where nothing is there yet.
    pub(crate) fn drain(&mut self, max: usize) -> Result<Vec<S::Out>> {
        let clock = SystemClock::new();
        let limit_ns = clock.monotonic_ns() + PATIENCE.as_nanos() as u64;
        loop {
            match self.poll(max)? {
                InputStatus::EndOfInput => return Ok(self.take()),
                InputStatus::MoreAvailable => {}
                InputStatus::NothingAvailable => std::thread::yield_now(),
            }
            assert!(clock.monotonic_ns() < limit_ns, "the source does not end");
        }
    }

    /// Polls until `count` records have come.
    pub(crate) fn take_count(&mut self, count: usize) -> Result<Vec<S::Out>> {
        let clock = SystemClock::new();
        let limit_ns = clock.monotonic_ns() + PATIENCE.as_nanos() as u64;
        while self.recorder.0.len() < count {
            let status = self.poll(count - self.recorder.0.len())?;
            let came = self.recorder.0.len();
            assert!(status != InputStatus::EndOfInput || came >= count, "ended after {came}");
            assert!(clock.monotonic_ns() < limit_ns, "only {came} of {count} records came");
            std::thread::yield_now();
        }
        Ok(self.take())
    }
}

/// A sink with the context it is opened in.
pub(crate) struct SinkDriver<K> {
    pub(crate) sink: K,
    pub(crate) stage: Rc<StageContext>,
}

impl<K> SinkDriver<K> {
    pub(crate) fn open<T>(sink: K, subtask: usize, parallelism: usize) -> Result<Self>
    where
        K: Sink<T>,
    {
        Self::open_with(sink, &without_checkpoints(subtask, parallelism))
    }

    /// Opens it with what a checkpoint has of it.
    pub(crate) fn open_with<T>(sink: K, state: &SinkStateContext<'_>) -> Result<Self>
    where
        K: Sink<T>,
    {
        let (subtask, parallelism) = (state.subtask_index, state.parallelism);
        let core = CoreHandle::new(CoreServices::default());
        let names = Arc::new(OperatorNames(vec!["test sink".to_owned()]));
        let task = TaskContext::new(core);
        let place = (subtask, parallelism, 128);
        let metrics = JobMetrics::new("test").register_subtask("test sink", subtask);
        let stage = StageContext::new(task, names, NodeId(0), place, metrics);
        let mut driver = SinkDriver { sink, stage };
        driver.sink.open(&mut RuntimeContext::new(
            &driver.stage,
            NodeId(0),
            OpenStates::default(),
        ))?;
        driver.sink.initialize_state(state)?;
        Ok(driver)
    }

    /// Writes a batch and asks whether more may come.
    pub(crate) fn write<T>(&mut self, records: impl IntoIterator<Item = T>) -> Result<SinkStatus>
    where
        K: Sink<T>,
    {
        for record in records {
            self.sink.write(record, crate::record::NO_TIMESTAMP)?;
        }
        self.sink.poll_ready(self.stage.task.core.now_ms.get(), true)
    }

    /// Ends the input.
    pub(crate) fn end<T>(mut self) -> Result<()>
    where
        K: Sink<T>,
    {
        while self.sink.finish()? == SinkStatus::Full {
            std::thread::yield_now();
        }
        self.sink.close()
    }
}

/// For a sink of a job that takes none.
pub(crate) fn without_checkpoints<'a>(
    subtask_index: usize,
    parallelism: usize,
) -> SinkStateContext<'a> {
    SinkStateContext {
        operator_name: "test sink",
        subtask_index,
        parallelism,
        now_ms: 0,
        has_checkpoints: false,
        restored_checkpoint: None,
        pieces: &[],
        is_read: Cell::new(false),
    }
}

/// Numbers that look random and are the same in each run (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

/// A storage in memory that is full after so many bytes.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    pub(crate) files: MemoryStorage,
    left_bytes: Arc<AtomicUsize>,
}

impl SmallDisk {
    pub(crate) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(SmallDisk { files: MemoryStorage::new(), left_bytes: Arc::new(bytes.into()) })
    }

    fn limit(&self, file: Box<dyn WriteFile>) -> Box<dyn WriteFile> {
        Box::new(LimitedFile { file, left_bytes: self.left_bytes.clone() })
    }
}

impl Storage for SmallDisk {
    fn open_read(&self, path: &Path) -> Result<Box<dyn ReadFile>, IoError> {
        self.files.open_read(path)
    }
    fn create(&self, path: &Path) -> Result<Box<dyn WriteFile>, IoError> {
        Ok(self.limit(self.files.create(path)?))
    }
    fn open_append(&self, path: &Path) -> Result<Box<dyn WriteFile>, IoError> {
        Ok(self.limit(self.files.open_append(path)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        self.files.rename(from, to)
    }
    fn remove(&self, path: &Path) -> Result<(), IoError> {
        self.files.remove(path)
    }
    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, IoError> {
        self.files.list(directory)
    }
    fn metadata(&self, path: &Path) -> Result<FileMetadata, IoError> {
        self.files.metadata(path)
    }
    fn create_dir_all(&self, directory: &Path) -> Result<(), IoError> {
        self.files.create_dir_all(directory)
    }

    fn remove_dir(&self, directory: &Path) -> Result<(), IoError> {
        self.files.remove_dir(directory)
    }
    fn sync_dir(&self, directory: &Path) -> Result<(), IoError> {
        self.files.sync_dir(directory)
    }
    fn lock(&self, path: &Path) -> Result<Box<dyn FileLock>, IoError> {
        self.files.lock(path)
    }
}

#[derive(Debug)]
struct LimitedFile {
    file: Box<dyn WriteFile>,
    left_bytes: Arc<AtomicUsize>,
}

impl WriteFile for LimitedFile {
    fn path(&self) -> &Path {
        self.file.path()
    }
    fn append(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        let (given_bytes, left) = (bytes.len(), self.left_bytes.load(Ordering::Relaxed));
        let appended_bytes = given_bytes.min(left);
        self.left_bytes.store(left - appended_bytes, Ordering::Relaxed);
        self.file.append(&bytes[..appended_bytes])?;
        if appended_bytes == given_bytes {
            return Ok(());
        }
        let site = IoSite::new(Operation::Append, self.path()).at(self.length_bytes());
        // 28 is ENOSPC.
        let error = IoError::from_system(site, std::io::Error::from_raw_os_error(28));
        Err(AppendError { appended_bytes, given_bytes, error })
    }
    fn sync(&mut self) -> Result<(), IoError> {
        self.file.sync()
    }
    fn length_bytes(&self) -> u64 {
        self.file.length_bytes()
    }
}

/// The text of a file.
pub(crate) fn text_of(storage: &dyn Storage, path: &str) -> String {
    let file = storage.open_read(Path::new(path)).unwrap();
    let mut bytes = vec![0; file.length_bytes().unwrap() as usize];
    file.read_exact_at(0, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Writes a file, replacing what was there under a new identity.
pub(crate) fn put(storage: &dyn Storage, path: &str, bytes: impl AsRef<[u8]>) {
    if storage.metadata(Path::new(path)).is_ok() {
        storage.remove(Path::new(path)).unwrap();
    }
    add(storage, path, bytes);
}

/// Appends to a file.
pub(crate) fn add(storage: &dyn Storage, path: &str, bytes: impl AsRef<[u8]>) {
    storage.open_append(Path::new(path)).unwrap().append(bytes.as_ref()).unwrap();
}
