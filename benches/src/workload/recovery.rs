//! How long a job is away: a running sum for each key, whose process is killed, or which fails and is restarted within it.
//!
//! ```text
//! lap 1 ─ checkpoint ─ lap 2 ─ checkpoint ─ .. ─► failure or kill ─► [restored] one more lap
//! ```
//! In a lap the sources emit each key once, so a checkpoint behind it has a change of each. Each row that comes out says how
//! many laps its key has seen; after the restore that is one more than before, or the state was not restored.

use super::Settings;
use crate::now_ns;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use thalweg::config::RestartKind;
use thalweg::prelude::*;

/// Laps and checkpoints before the state is lost.
const LAPS: u64 = 6;
/// How long a checkpoint, or a lap, may take.
const PATIENCE_NS: u64 = 60_000_000_000;

/// How the sums are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A value beside each key: `scan`.
    Flat,
    /// A row for each key: a process function.
    Rows,
    /// The same, with a timer for each key that never fires.
    Timers,
}

impl std::str::FromStr for Layout {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "flat" => Ok(Layout::Flat),
            "rows" => Ok(Layout::Rows),
            "timers" => Ok(Layout::Timers),
            other => Err(format!("unknown layout '{other}'; there are flat, rows, timers")),
        }
    }
}

/// What becomes of the job behind its last checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It fails, and goes on in the same process.
    Failure,
    /// The process ends at once, as by a kill.
    Abort,
}

/// Times of a run, in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// From the order of each checkpoint to when it was complete, all keys having changed; in order of length.
    pub durable_ms: Vec<f64>,
    /// From the failure, or the start of the process, to when the sources were read again.
    pub built_ms: f64,
    /// To the first row.
    pub first_output_ms: f64,
    /// To the last row of the lap, each of which has needed the state of another key.
    pub all_output_ms: f64,
}

/// What sources, sinks and the one who measures share.
#[derive(Debug, Default)]
struct Track {
    /// How often the job has failed; what an attempt before that still does is not counted.
    attempt: AtomicU64,
    /// Laps that sources may run.
    laps: AtomicU64,
    /// Rows that came out since the job was built last.
    rows: AtomicU64,
    /// The next row that comes out makes the job fail.
    fails: AtomicBool,
    /// What the rows that come out say; others are wrong.
    expected_laps: AtomicU64,
    wrong_rows: AtomicU64,
    failed_ns: AtomicU64,
    built_ns: AtomicU64,
    first_ns: AtomicU64,
}

struct Laps {
    keys: u64,
    track: Arc<Track>,
}

struct LapReader {
    keys: u64,
    subtask: u64,
    parallelism: u64,
    /// The next key of this lap.
    next: u64,
    laps_done: u64,
    attempt: u64,
    track: Arc<Track>,
}

impl Source for Laps {
    type Out = u64;
    type Split = NoSplit;
    type Reader = LapReader;
    fn create_reader(&self, context: &ReaderContext) -> thalweg::Result<LapReader> {
        let (subtask, parallelism) = (context.subtask_index as u64, context.parallelism as u64);
        let (keys, track) = (self.keys, self.track.clone());
        let attempt = track.attempt.load(Ordering::Acquire);
        Ok(LapReader { keys, subtask, parallelism, next: subtask, laps_done: 0, attempt, track })
    }
}

impl SourceReader for LapReader {
    type Out = u64;
    type Split = NoSplit;
    fn poll_batch(
        &mut self,
        max: usize,
        out: &mut SourceCollector<'_, u64>,
    ) -> thalweg::Result<InputStatus> {
        let track = &self.track;
        let is_first = track.built_ns.load(Ordering::Relaxed) == 0;
        if is_first && track.attempt.load(Ordering::Acquire) == self.attempt {
            track.built_ns.store(now_ns(), Ordering::Relaxed);
        }
        let laps = track.laps.load(Ordering::Acquire);
        if laps == u64::MAX {
            return Ok(InputStatus::EndOfInput);
        }
        if self.laps_done >= laps {
            out.poll_again_in_ns(200_000);
            return Ok(InputStatus::NothingAvailable);
        }
        for _ in 0..max {
            if self.next >= self.keys {
                (self.next, self.laps_done) = (self.subtask, self.laps_done + 1);
                break;
            }
            out.collect(self.next);
            self.next += self.parallelism;
        }
        Ok(InputStatus::MoreAvailable)
    }
}

/// Counts rows, looks at what they say, and fails when told to.
#[derive(Clone)]
struct Watch {
    attempt: u64,
    track: Arc<Track>,
}

impl Sink<u64> for Watch {
    fn open(&mut self, _: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.attempt = self.track.attempt.load(Ordering::Acquire);
        Ok(())
    }

    fn write(&mut self, laps: u64, _: i64) -> thalweg::Result<()> {
        let track = &self.track;
        if track.attempt.load(Ordering::Acquire) != self.attempt {
            return Ok(());
        }
        if track.fails.load(Ordering::Relaxed) && track.fails.swap(false, Ordering::AcqRel) {
            track.attempt.fetch_add(1, Ordering::AcqRel);
            track.first_ns.store(0, Ordering::Relaxed);
            track.built_ns.store(0, Ordering::Relaxed);
            track.rows.store(0, Ordering::Relaxed);
            track.expected_laps.store(LAPS + 1, Ordering::Relaxed);
            track.laps.store(1, Ordering::Release);
            track.failed_ns.store(now_ns(), Ordering::Release);
            return Err("this failure is what is measured".into());
        }
        if track.first_ns.load(Ordering::Relaxed) == 0 {
            track.first_ns.store(now_ns(), Ordering::Relaxed);
        }
        if laps != track.expected_laps.load(Ordering::Relaxed) {
            track.wrong_rows.fetch_add(1, Ordering::Relaxed);
        }
        track.rows.fetch_add(1, Ordering::Release);
        Ok(())
    }
}

/// Counts a key's laps in a row.
#[derive(Clone)]
struct CountLaps {
    laps: ValueState<u64>,
    has_timers: bool,
}

impl KeyedProcessFunction for CountLaps {
    type Key = u64;
    type In = u64;
    type Out = u64;
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.laps = context.value_state(ValueStateDescriptor::new("laps"))?;
        Ok(())
    }
    fn process_element(
        &mut self,
        key: u64,
        context: &mut Context<'_, u64>,
        out: &mut Collector<'_, u64>,
    ) -> thalweg::Result<()> {
        if self.has_timers {
            context.timer_service().register_event_time_timer(1_000_000_000 + key as i64);
        }
        let laps = self.laps.modify(context, |laps| {
            *laps += 1;
            *laps
        })?;
        out.collect(laps);
        Ok(())
    }
}

fn plan(env: &StreamExecutionEnvironment, keys: u64, layout: Layout, track: &Arc<Track>) {
    env.configure(|c| c.restart_strategy(RestartKind::FixedDelay));
    env.configure(|c| c.restart_delay(Duration::from_millis(0)));
    let sink = Watch { attempt: 0, track: track.clone() };
    let keyed = env.from_source(Laps { keys, track: track.clone() }, "laps").key_by(|key| *key);
    if layout == Layout::Flat {
        let count = |laps: &mut u64, _| {
            *laps += 1;
            *laps
        };
        keyed.scan(0_u64, count).sink_to(sink);
        return;
    }
    let function = CountLaps { laps: ValueState::default(), has_timers: layout == Layout::Timers };
    keyed.process(function).sink_to(sink);
}

/// Waits until it is so.
fn wait_until(job: &JobHandle, what: &str, is_so: impl Fn() -> bool) -> thalweg::Result<()> {
    let begun_ns = now_ns();
    while !is_so() {
        if job.is_finished() {
            job.wait()?;
            return Err(format!("the job ended before {what}").into());
        }
        if now_ns() > begun_ns + PATIENCE_NS {
            return Err(format!("waited in vain until {what}").into());
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

fn ms_between(from_ns: u64, until_ns: u64) -> f64 {
    until_ns.saturating_sub(from_ns) as f64 / 1e6
}

/// Runs six laps with a checkpoint behind each, then loses the state, and, unless the process ends, one more lap.
///
/// # Errors
/// Those of the job; a checkpoint that fails; a row that does not say what it should.
pub fn lose(
    env: &StreamExecutionEnvironment,
    settings: &Settings,
    (layout, loss): (Layout, Loss),
) -> thalweg::Result<Recovery> {
    let track = Arc::new(Track::default());
    plan(env, settings.keys, layout, &track);
    let job = env.execute_async("recovery")?;
    let mut durable_ms = Vec::new();
    for lap in 1..=LAPS {
        track.expected_laps.store(lap, Ordering::Relaxed);
        track.laps.store(lap, Ordering::Release);
        let rows = || track.rows.load(Ordering::Acquire);
        wait_until(&job, "a lap was over", || rows() == lap * settings.keys)?;
        job.checkpoint();
        wait_until(&job, "a checkpoint was complete", || job.checkpoints().completed == lap)?;
        let latest_duration = job.checkpoints().latest_duration.unwrap_or_default();
        durable_ms.push(latest_duration.as_secs_f64() * 1e3);
    }
    if job.checkpoints().remote.is_some() {
        let is_copied = || {
            let checkpoints = job.checkpoints();
            checkpoints.remote.is_some_and(|remote| remote.latest == checkpoints.latest)
        };
        wait_until(&job, "the last checkpoint was copied", is_copied)?;
    }
    if loss == Loss::Abort {
        report_durable(&durable_ms);
        std::process::abort();
    }
    durable_ms.sort_by(f64::total_cmp);
    track.fails.store(true, Ordering::Release);
    track.laps.store(LAPS + 1, Ordering::Release);
    wait_until(&job, "it had failed", || track.failed_ns.load(Ordering::Acquire) > 0)?;
    let from_ns = track.failed_ns.load(Ordering::Acquire);
    let recovery = measure(&job, settings.keys, &track, from_ns)?;
    Ok(Recovery { durable_ms, ..recovery })
}

/// One line for who started the process that is about to end.
fn report_durable(durable_ms: &[f64]) {
    let words: Vec<_> = durable_ms.iter().map(|ms| format!("{ms:.1}")).collect();
    println!("{}", words.join(" "));
}

/// Goes on from the checkpoint in the directory, in a new process whose clock began with it.
///
/// # Errors
/// As [`lose`].
pub fn recover(
    env: &StreamExecutionEnvironment,
    settings: &Settings,
    layout: Layout,
) -> thalweg::Result<Recovery> {
    let track = Arc::new(Track::default());
    track.expected_laps.store(LAPS + 1, Ordering::Relaxed);
    track.laps.store(1, Ordering::Release);
    plan(env, settings.keys, layout, &track);
    let job = env.execute_async("recovery")?;
    measure(&job, settings.keys, &track, 0)
}

/// Waits for the lap behind the restore, and ends the job.
fn measure(job: &JobHandle, keys: u64, track: &Track, from_ns: u64) -> thalweg::Result<Recovery> {
    let rows = || track.rows.load(Ordering::Acquire);
    wait_until(job, "all keys had come out again", || rows() >= keys)?;
    let all_output_ms = ms_between(from_ns, now_ns());
    job.cancel();
    let _ = job.wait();
    let wrong_rows = track.wrong_rows.load(Ordering::Relaxed);
    if wrong_rows > 0 {
        return Err(
            format!("{wrong_rows} of {keys} rows are not what was in the checkpoint").into()
        );
    }
    Ok(Recovery {
        durable_ms: Vec::new(),
        built_ms: ms_between(from_ns, track.built_ns.load(Ordering::Relaxed)),
        first_output_ms: ms_between(from_ns, track.first_ns.load(Ordering::Relaxed)),
        all_output_ms,
    })
}
