//! The job of w5: a paced source, a running sum for each key, and a sink that takes the time.
//!
//! ```text
//! [each key once, if asked for] ─► begin ── warm-up ──► from ── measured ──► end
//! ```
//! 1. Each source subtask emits its share of the events when they are due. One that is late emits them all at once, each with the
//!    time at which it was due.
//! 2. The sink records the time since the emission and since the event was due.
//! 3. When the job has ended the sums are compared with those of a plain loop over the same events.
//!
//! A source that cannot keep up stops a second after its last event was due; how many events it has emitted is said.

use super::gaps::Gaps;
use super::host::thread_waited_ns;
use super::latencies::Latencies;
use super::sums;
use crate::digest::splitmix64;
use crate::now_ns;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use thalweg::prelude::*;

/// From the plan to the first event, so that all subtasks are there.
const LEAD_NS: u64 = 200_000_000;
/// How late a source may be before it gives up.
const GRACE_NS: u64 = 1_000_000_000;
/// Bits of a fraction of a nanosecond, so that any rate is met; 44 bits are left, which is four hours.
const FRACTION_BITS: u32 = 20;

/// What is asked of a run.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Number of keys.
    pub keys: u64,
    /// Events a second, of all sources together.
    pub rate: u64,
    /// How long events are not looked at.
    pub warm_up_ns: u64,
    /// How long they are.
    pub measured_ns: u64,
    /// Does each key come once before the first event, so that all state is there?
    pub fills: bool,
}

/// An event with its stamps.
#[thalweg::record]
#[derive(Clone, Copy, Debug)]
pub struct Stamped {
    /// Which key.
    pub key: u64,
    /// When it was emitted, on the monotonic clock.
    pub emitted_ns: u64,
    /// When it was due; 0 for those that only fill the state.
    pub due_ns: u64,
    /// What is summed up.
    pub value: u64,
    /// The source subtask.
    pub source: u32,
}

/// What a run gave.
#[derive(Clone, Default)]
pub struct Measurement {
    /// Of the measured time.
    pub latencies: Latencies,
    /// Gaps between two polls of a source, from the first event on: work of the engine, or noise of the host.
    pub poll_gaps: Gaps,
    /// How long the threads of the sinks were ready to run and had no processor.
    pub waited_ns: u64,
    /// When the last record came out.
    pub last_ns: u64,
    /// When measuring began.
    pub from_ns: u64,
    /// Rows that came out, all together.
    pub rows: u64,
    digest: u64,
}

impl Measurement {
    /// Takes what another part of the run has measured.
    pub(super) fn add(&mut self, other: &Measurement) {
        self.latencies.add(&other.latencies);
        self.poll_gaps.add(&other.poll_gaps);
        self.waited_ns += other.waited_ns;
        self.last_ns = self.last_ns.max(other.last_ns);
        self.from_ns = self.from_ns.max(other.from_ns);
        self.rows += other.rows;
        self.digest = self.digest.wrapping_add(other.digest);
    }

    /// Records a second that came out of those that were due in the measured time.
    pub fn achieved_rate(&self) -> f64 {
        let ns = self.last_ns.saturating_sub(self.from_ns).max(1);
        self.latencies.due.len() as f64 / ns as f64 * 1e9
    }
}

/// What sources, sinks and the one who measures share.
pub(super) struct Schedule {
    pub(super) pace: Pace,
    /// 0 as long as it is not known.
    begin_ns: AtomicU64,
    filled: AtomicUsize,
    /// Events that each source subtask has emitted.
    emitted: Mutex<Vec<(u64, u64)>>,
    total: Mutex<Measurement>,
}

impl Schedule {
    pub(super) fn new(pace: &Pace) -> Arc<Self> {
        let begin_ns = if pace.fills { 0 } else { now_ns() + LEAD_NS };
        Arc::new(Schedule {
            pace: pace.clone(),
            begin_ns: AtomicU64::new(begin_ns),
            filled: AtomicUsize::new(0),
            emitted: Mutex::default(),
            total: Mutex::default(),
        })
    }

    /// When the first event is due; `None` until all sources have emitted each key.
    #[inline]
    pub(super) fn begin_ns(&self) -> Option<u64> {
        Some(self.begin_ns.load(Ordering::Acquire)).filter(|ns| *ns > 0)
    }

    /// From when on events are measured, and until when.
    pub(super) fn measured_ns(&self) -> Option<(u64, u64)> {
        let from_ns = self.begin_ns()?.saturating_add(self.pace.warm_up_ns);
        Some((from_ns, from_ns.saturating_add(self.pace.measured_ns)))
    }

    /// One of so many sources has emitted all its keys; the last one begins.
    fn filled(&self, sources: usize) {
        if self.filled.fetch_add(1, Ordering::AcqRel) + 1 == sources {
            self.begin_ns.store(now_ns() + LEAD_NS, Ordering::Release);
        }
    }

    fn ended(&self, subtask: u64, count: u64, poll_gaps: &Gaps) {
        self.emitted.lock().expect("nothing panics while it holds it").push((subtask, count));
        self.with_total(|total| total.poll_gaps.add(poll_gaps));
    }

    pub(super) fn with_total<R>(&self, code: impl FnOnce(&mut Measurement) -> R) -> R {
        code(&mut self.total.lock().expect("nothing panics while it holds it"))
    }
}

/// A job that was written.
pub struct Run {
    schedule: Arc<Schedule>,
}

impl Run {
    /// As seen from the schedule, for those who write no job.
    pub(super) fn of(schedule: Arc<Schedule>) -> Self {
        Run { schedule }
    }

    /// From when on events are measured, and until when, on the clock of [`now_ns`]; `None` until it is known.
    pub fn measured_ns(&self) -> Option<(u64, u64)> {
        self.schedule.measured_ns()
    }

    /// What was measured; the job must have ended.
    ///
    /// # Errors
    /// If rows are missing, or sums are not those of a plain loop over the same events.
    pub fn measurement(self) -> thalweg::Result<Measurement> {
        let pace = &self.schedule.pace;
        let mut emitted = std::mem::take(
            &mut *self.schedule.emitted.lock().expect("nothing panics while it holds it"),
        );
        emitted.sort_unstable();
        let counts: Vec<u64> = emitted.into_iter().map(|(_, count)| count).collect();
        let measurement = self.schedule.with_total(std::mem::take);
        let rows = counts.iter().sum::<u64>() + if pace.fills { pace.keys } else { 0 };
        if measurement.rows != rows {
            return Err(format!("{rows} events went in, {} rows came out", measurement.rows).into());
        }
        let expected = sums::expected(pace.keys, &counts);
        if measurement.digest != expected {
            let found = measurement.digest;
            return Err(format!("sums of {rows} rows: {found:016x} is not {expected:016x}").into());
        }
        Ok(measurement)
    }
}

/// What the generator of one source subtask has to emit, whoever asks it.
pub(super) struct Generator {
    schedule: Arc<Schedule>,
    subtask: u64,
    subtasks: u64,
    /// The next key that only fills.
    next_key: u64,
    begin_ns: u64,
    measured_from_ns: u64,
    end_ns: u64,
    /// Since the begin, with a fraction.
    due: u64,
    interval: u64,
    emitted: u64,
    gaps: Box<Gaps>,
}

/// What a generator says after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Batch {
    /// There is more right now.
    More,
    /// The next event is due in so many nanoseconds.
    Later(u64),
    /// There are no more.
    End,
}

impl Generator {
    pub(super) fn new(schedule: &Arc<Schedule>, subtask: usize, subtasks: usize) -> Self {
        let (subtask, subtasks) = (subtask as u64, subtasks as u64);
        let scale = 1_000_000_000_u128 << FRACTION_BITS;
        let rate = u128::from(schedule.pace.rate.max(1));
        let interval = (scale * u128::from(subtasks) / rate) as u64;
        Generator {
            schedule: schedule.clone(),
            subtask,
            subtasks,
            next_key: if schedule.pace.fills { subtask } else { u64::MAX },
            begin_ns: 0,
            measured_from_ns: 0,
            end_ns: 0,
            due: subtask * interval / subtasks,
            interval,
            emitted: 0,
            gaps: Box::default(),
        }
    }

    /// Emits what is due, but `max` events at most.
    #[inline(always)]
    pub(super) fn batch(&mut self, max: usize, mut emit: impl FnMut(Stamped)) -> Batch {
        if self.begin_ns == 0 && !self.begin() {
            return self.fill(max, emit);
        }
        let now = now_ns();
        if now >= self.measured_from_ns {
            self.gaps.saw(now);
        }
        for _ in 0..max {
            let due_ns = self.begin_ns + (self.due >> FRACTION_BITS);
            if due_ns > now {
                return Batch::Later(due_ns - now);
            }
            if due_ns >= self.end_ns || now >= self.end_ns.saturating_add(GRACE_NS) {
                self.schedule.ended(self.subtask, self.emitted, &self.gaps);
                return Batch::End;
            }
            let r = splitmix64(self.subtask + self.emitted * self.subtasks);
            emit(Stamped {
                key: r % self.schedule.pace.keys,
                emitted_ns: now_ns(),
                due_ns,
                value: r >> 48,
                source: self.subtask as u32,
            });
            self.emitted += 1;
            self.due += self.interval;
        }
        Batch::More
    }

    /// Is it known when the first event is due?
    #[cold]
    fn begin(&mut self) -> bool {
        let Some(begin_ns) = self.schedule.begin_ns() else { return false };
        let Some((from_ns, end_ns)) = self.schedule.measured_ns() else { return false };
        (self.begin_ns, self.measured_from_ns, self.end_ns) = (begin_ns, from_ns, end_ns);
        true
    }

    /// Emits keys that change nothing.
    #[cold]
    fn fill(&mut self, max: usize, mut emit: impl FnMut(Stamped)) -> Batch {
        let keys = self.schedule.pace.keys;
        for _ in 0..max {
            if self.next_key == u64::MAX {
                return Batch::Later(1_000_000);
            }
            if self.next_key >= keys {
                self.next_key = u64::MAX;
                self.schedule.filled(self.subtasks as usize);
                return Batch::Later(1_000_000);
            }
            let (key, source) = (self.next_key, self.subtask as u32);
            emit(Stamped { key, emitted_ns: 0, due_ns: 0, value: 0, source });
            self.next_key += self.subtasks;
        }
        Batch::More
    }
}

/// What the sink of one subtask keeps, whoever feeds it.
pub(super) struct Recorder {
    schedule: Arc<Schedule>,
    measurement: Box<Measurement>,
    subtask: u32,
    /// Not looked at before; 0 as long as it is not known.
    from_ns: u64,
    waited_ns_at_start: u64,
}

impl Recorder {
    /// To be made on the thread that it records for.
    pub(super) fn new(schedule: &Arc<Schedule>, subtask: usize) -> Self {
        Recorder {
            schedule: schedule.clone(),
            measurement: Box::default(),
            subtask: subtask as u32,
            from_ns: 0,
            waited_ns_at_start: thread_waited_ns(),
        }
    }

    /// A row has come out: an event, and the sum of its key.
    #[inline(always)]
    pub(super) fn record(&mut self, event: &Stamped, sum: u64) {
        // Before anything else.
        let now = if event.due_ns == 0 { 0 } else { now_ns() };
        let mine = &mut *self.measurement;
        mine.rows += 1;
        let contribution = sums::contribution(event.key, event.value, sum);
        mine.digest = mine.digest.wrapping_add(contribution);
        if event.due_ns == 0 {
            return;
        }
        if self.from_ns == 0 {
            // An event that is due has been emitted, so it is known when.
            self.from_ns = self.schedule.measured_ns().map_or(u64::MAX, |(from_ns, _)| from_ns);
            mine.from_ns = self.from_ns;
        }
        if event.due_ns < self.from_ns {
            return;
        }
        let latency_ns = now - event.emitted_ns;
        mine.latencies.all.saturating_record(latency_ns);
        mine.latencies.due.saturating_record(now - event.due_ns);
        if event.source != self.subtask {
            mine.latencies.crossed.saturating_record(latency_ns);
        }
        mine.last_ns = now;
    }

    /// No more rows will come. On the same thread as [`new`](Self::new).
    pub(super) fn finish(mut self) {
        self.measurement.waited_ns = thread_waited_ns() - self.waited_ns_at_start;
        self.schedule.with_total(|total| total.add(&self.measurement));
    }
}

struct Paced {
    schedule: Arc<Schedule>,
}

impl Source for Paced {
    type Out = Stamped;
    type Split = NoSplit;
    type Reader = PacedReader;
    fn create_reader(&self, context: &ReaderContext) -> thalweg::Result<PacedReader> {
        let (subtask, subtasks) = (context.subtask_index, context.parallelism);
        Ok(PacedReader { generator: Generator::new(&self.schedule, subtask, subtasks) })
    }
}

struct PacedReader {
    generator: Generator,
}

impl SourceReader for PacedReader {
    type Out = Stamped;
    type Split = NoSplit;
    fn poll_batch(
        &mut self,
        max: usize,
        out: &mut SourceCollector<'_, Stamped>,
    ) -> thalweg::Result<InputStatus> {
        Ok(match self.generator.batch(max, |event| out.collect(event)) {
            Batch::More => InputStatus::MoreAvailable,
            Batch::End => InputStatus::EndOfInput,
            Batch::Later(ns) => {
                out.poll_again_in_ns(ns);
                InputStatus::NothingAvailable
            }
        })
    }
}

struct RecordingSink {
    schedule: Arc<Schedule>,
    recorder: Option<Recorder>,
}

impl Clone for RecordingSink {
    fn clone(&self) -> Self {
        RecordingSink { schedule: self.schedule.clone(), recorder: None }
    }
}

impl Sink<(Stamped, u64)> for RecordingSink {
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.recorder = Some(Recorder::new(&self.schedule, context.subtask_index()));
        Ok(())
    }

    fn write(&mut self, (event, sum): (Stamped, u64), _: i64) -> thalweg::Result<()> {
        self.recorder.as_mut().expect("made in open").record(&event, sum);
        Ok(())
    }

    fn finish(&mut self) -> thalweg::Result<SinkStatus> {
        if let Some(recorder) = self.recorder.take() {
            recorder.finish();
        }
        Ok(SinkStatus::Ready)
    }
}

/// Writes the job into `env`; what [`Run::measurement`] says of it is complete when the job has ended.
pub fn write_job(env: &StreamExecutionEnvironment, pace: &Pace) -> Run {
    let schedule = Schedule::new(pace);
    env.from_source(Paced { schedule: schedule.clone() }, "paced events")
        .key_by(|event| event.key)
        .scan(0u64, |sum, event| {
            *sum += event.value;
            (event, *sum)
        })
        .sink_to(RecordingSink { schedule: schedule.clone(), recorder: None });
    Run { schedule }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(rate: u64, fills: bool) -> Pace {
        Pace { keys: 10, rate, warm_up_ns: 0, measured_ns: 20_000_000, fills }
    }

    /// All that a generator emits in wall-clock time.
    fn drain(generator: &mut Generator) -> Vec<Stamped> {
        let mut events = Vec::new();
        while generator.batch(4, |event| events.push(event)) != Batch::End {}
        events
    }

    #[test]
    fn events_are_due_at_the_rate_whatever_it_is() {
        let schedule = Schedule::new(&pace(70_000, false));
        let events = drain(&mut Generator::new(&schedule, 1, 2));
        assert!((699..=701).contains(&events.len()), "{}", events.len());
        let last = events.last().unwrap().due_ns - schedule.begin_ns().unwrap();
        assert!((19_900_000..20_000_000).contains(&last), "{last}");
        assert!(events.iter().all(|event| event.emitted_ns >= event.due_ns));
    }

    #[test]
    fn keys_come_once_before_the_first_event() {
        let schedule = Schedule::new(&pace(1_000, true));
        let [mut left, mut right] = [0, 1].map(|subtask| Generator::new(&schedule, subtask, 2));
        let mut events = Vec::new();
        while schedule.begin_ns().is_none() {
            for generator in [&mut left, &mut right] {
                assert_ne!(generator.batch(3, |event| events.push(event)), Batch::End);
            }
        }
        let mut keys: Vec<_> = events.iter().map(|event| event.key).collect();
        keys.sort_unstable();
        assert_eq!(keys, (0..10).collect::<Vec<_>>());
        assert!(events.iter().all(|event| event.due_ns == 0 && event.value == 0));
        assert_eq!(drain(&mut left).len(), 10);
    }

    #[test]
    fn a_row_that_is_wrong_is_an_error() {
        let schedule = Schedule::new(&pace(50_000, false));
        let mut recorder = Recorder::new(&schedule, 0);
        for event in drain(&mut Generator::new(&schedule, 0, 1)) {
            recorder.record(&event, 1);
        }
        recorder.finish();
        let error = Run::of(schedule).measurement().err().unwrap().to_string();
        assert!(error.contains("is not"), "{error}");
    }
}
