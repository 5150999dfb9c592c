//! The job that is killed.

use super::event::{DISORDER_MS, Event, Script};
use super::model::{SLIDE_MS, WINDOW_MS, timer_of};
use super::transactions::FileTransactions;
use super::verdict::{SumRow, TimerRow, WindowRow};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use thalweg::config::{RestartKind, StateBackend};
use thalweg::prelude::*;
use thalweg::source::FunctionSource;

/// Subtasks of each source, and of each other operator of a job that is not rescaled.
pub(super) const PARALLELISM: usize = 2;
/// Sources with that many subtasks each.
pub(super) const SOURCES: u32 = 2;
/// Records between two short waits of a source, so that the job takes a while.
const BURST: u64 = 64;
/// Bytes of a file of sums.
const PART_BYTES: u64 = 48 << 10;

/// The directories of a job.
#[derive(Clone, Debug)]
pub struct Place {
    /// All of them are in it.
    pub directory: PathBuf,
    /// Savepoints that the job has moved by: each time its checkpoints are elsewhere.
    pub moves: u64,
    /// Where the sums go instead of files.
    pub topic: Option<Topic>,
}

/// A topic of Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The broker, as clients want it.
    pub servers: String,
    /// Its name, and the prefix of the sink's transactional ids.
    pub name: String,
}

impl Place {
    /// Of checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        match self.moves {
            0 => self.directory.join("checkpoints"),
            moves => self.directory.join(format!("checkpoints-{moves}")),
        }
    }

    /// Of the savepoint that the job begins with.
    pub fn savepoint(&self) -> Option<PathBuf> {
        (self.moves > 0).then(|| self.directory.join(format!("savepoint-{}", self.moves)))
    }

    /// Of the next savepoint.
    pub fn next_savepoint(&self) -> PathBuf {
        self.directory.join(format!("savepoint-{}", self.moves + 1))
    }

    /// Of the file sink.
    pub fn sums(&self) -> PathBuf {
        self.directory.join("sums")
    }

    /// Of the transactions of windows.
    pub fn windows(&self) -> PathBuf {
        self.directory.join("windows")
    }

    /// Of the transactions of timers.
    pub fn timers(&self) -> PathBuf {
        self.directory.join("timers")
    }
}

/// Replays a script; which source subtask of it says `first` and its own place.
#[derive(Clone)]
struct Replay {
    script: Script,
    pause: Duration,
    first: u32,
    next: u64,
}

impl SourceFunction for Replay {
    type Out = Event;

    fn is_replayable(&self) -> bool {
        true
    }

    fn restore(&mut self, position: u64) -> thalweg::Result<()> {
        self.next = position;
        Ok(())
    }

    fn run(&mut self, context: &SourceFunctionContext<Event>) -> thalweg::Result<()> {
        let source = self.first + context.subtask_index() as u32;
        for n in self.next..self.script.count {
            let event = self.script.event(source, n);
            context.collect_at(event, event.ts, n + 1)?;
            if n % BURST == BURST - 1 {
                context.wait(self.pause)?;
            }
        }
        Ok(())
    }
}

/// Count and sum.
#[derive(Clone, Copy, Debug)]
struct CountAndSum;

impl AggregateFunction<Event> for CountAndSum {
    const SLICEABLE: bool = true;
    type Accumulator = (u64, i64);
    type Result = (u64, i64);

    fn create_accumulator(&self) -> (u64, i64) {
        (0, 0)
    }
    fn add(&self, (count, sum): &mut (u64, i64), event: &Event) {
        *count += 1;
        *sum += event.value;
    }
    fn result(&self, accumulator: &(u64, i64)) -> (u64, i64) {
        *accumulator
    }
    fn merge(&self, into: &mut (u64, i64), other: &(u64, i64)) {
        into.0 += other.0;
        into.1 += other.1;
    }
}

/// A timer at the end of each slot in which the key has a record; says how many there were since the one before.
#[derive(Clone, Default)]
struct CountPerSlot {
    count: ValueState<u64>,
}

impl KeyedProcessFunction for CountPerSlot {
    type Key = u64;
    type In = Event;
    type Out = TimerRow;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.count = context.value_state(ValueStateDescriptor::new("count"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        event: Event,
        context: &mut Context<'_, u64>,
        _: &mut Collector<'_, TimerRow>,
    ) -> thalweg::Result<()> {
        self.count.modify(context, |count| *count += 1)?;
        context.timer_service().register_event_time_timer(timer_of(event.ts));
        Ok(())
    }

    fn on_timer(
        &mut self,
        at: i64,
        context: &mut OnTimerContext<'_, u64>,
        out: &mut Collector<'_, TimerRow>,
    ) -> thalweg::Result<()> {
        let count = self.count.take(context)?.unwrap_or(0);
        out.collect(TimerRow { key: *context.current_key(), at, count });
        Ok(())
    }
}

/// Configures an environment: checkpoints each `interval` in the place, no restarts within the process.
/// Begins with the savepoint of the place.
pub(super) fn environment(
    place: &Place,
    interval: Duration,
    parallelism: usize,
) -> StreamExecutionEnvironment {
    let env = StreamExecutionEnvironment::new();
    env.set_parallelism(parallelism);
    if let Some(savepoint) = place.savepoint() {
        env.configure(|c| c.savepoint(savepoint));
    }
    env.configure(|c| c.state_backend(StateBackend::Lsm).restart_strategy(RestartKind::Never));
    env.enable_checkpointing(interval).at(place.checkpoints());
    env
}

/// Writes the job into an environment.
///
/// # Errors
/// If the directories of transactions cannot be made.
pub fn write_job(
    env: &StreamExecutionEnvironment,
    script: Script,
    place: &Place,
) -> io::Result<()> {
    // Between a broker's death and its return a job should not come to its end.
    let pause = Duration::from_millis(if place.topic.is_some() { 20 } else { 1 });
    let replay = |first: u32| {
        let replay = Replay { script, pause, first, next: 0 };
        let source = FunctionSource::new(replay).parallel().bounded().capacity(512);
        let watermarks = Duration::from_millis(DISORDER_MS as u64);
        let name = format!("replay-{first}");
        let watermarks = WatermarkStrategy::bounded_out_of_orderness(watermarks)
            .with_timestamp(|event: &Event| event.ts);
        // A source by a function has as many subtasks for ever, and each its own event time.
        env.from_source_with(source, watermarks, name.clone())
            .set_parallelism(PARALLELISM)
            .uid(name)
            .boxed()
    };
    let others = (1..SOURCES).map(|index| replay(index * PARALLELISM as u32));
    let events = replay(0).union_all(others.collect::<Vec<_>>()).boxed();

    let sums = events.clone().key_by(|event| event.key).scan(0_i64, |sum, event| {
        *sum += event.value;
        let Event { source, n, key, value, .. } = event;
        SumRow { source, n, key, value, sum: *sum }
    });
    let sums = sums.uid("sums");
    match &place.topic {
        None => {
            let file = sink::FileSink::csv(place.sums()).no_header().roll_at_bytes(PART_BYTES);
            sums.sink_to(file).uid("sum-files");
        }
        #[cfg(feature = "kafka")]
        Some(topic) => {
            sums.sink_to(super::kafka::sums(topic)).uid("sum-topic");
        }
        #[cfg(not(feature = "kafka"))]
        Some(_) => {
            return Err(io::Error::other(
                "this build has no Kafka: build it with --features kafka",
            ));
        }
    }

    let (size, slide) = (milliseconds(WINDOW_MS as u64), milliseconds(SLIDE_MS as u64));
    let windows = events
        .clone()
        .key_by(|event| event.key)
        .window(SlidingEventTimeWindows::of(size, slide))
        .aggregate_with(CountAndSum, |key, window, (count, sum), out| {
            out.collect(WindowRow { key: *key, start: window.start(), count, sum });
        });
    let write = |row: &WindowRow, file: &mut dyn Write| {
        writeln!(file, "{},{},{},{}", row.key, row.start, row.count, row.sum)
    };
    let sink = TwoPhase::new(FileTransactions::new(place.windows(), write)?);
    windows.uid("windows").sink_to(sink).name("window-files").uid("window-files");

    let timers = events.key_by(|event| event.key).process(CountPerSlot::default());
    let write = |row: &TimerRow, file: &mut dyn Write| {
        writeln!(file, "{},{},{}", row.key, row.at, row.count)
    };
    let sink = TwoPhase::new(FileTransactions::new(place.timers(), write)?);
    timers.uid("timers").sink_to(sink).name("timer-files").uid("timer-files");
    Ok(())
}

/// The directory of a job.
impl From<&Path> for Place {
    fn from(directory: &Path) -> Self {
        Place { directory: directory.to_path_buf(), moves: 0, topic: None }
    }
}
