//! The workloads w1, w2, w3, w4, w5 and w7, written with the public API as a user would write them.

mod events;
mod latency;
mod meter;
mod named;
mod recovery;

pub use events::{Event, Events};
pub use latency::{Latencies, latency};
pub use meter::{Meter, Reading};
pub use named::named_counts;
pub use recovery::{Layout, Loss, Recovery, lose, recover};

use crate::digest::mix;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use thalweg::prelude::*;

/// What a run is asked for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Number of keys.
    pub keys: u64,
    /// Number of events, or `u64::MAX`.
    pub events: u64,
    /// How long the source runs, or `u64::MAX`.
    pub seconds: u64,
    /// Events a second of the paced source.
    pub rate: u64,
    /// Compute `final`, for which the sink keeps the last row of each key.
    pub with_final: bool,
}

/// Last value and count of each key, from all sink subtasks.
type Finals = Arc<Mutex<u64>>;

/// A sink that sums up what `digest` makes of each row and, if asked for, keeps the last row of each key.
#[derive(Clone)]
pub(crate) struct Digest<F, G> {
    digest: F,
    last: Option<G>,
    kept: HashMap<u64, (u64, u64)>,
    sum: u64,
    rows: u64,
    meter: Arc<Meter>,
    finals: Finals,
}

impl<T, F, G> Sink<T> for Digest<F, G>
where
    T: 'static,
    F: FnMut(&T) -> u64 + 'static,
    G: FnMut(&T, &mut HashMap<u64, (u64, u64)>) + 'static,
{
    #[inline(always)]
    fn write(&mut self, row: T, _: i64) -> thalweg::Result<()> {
        if self.rows == 0 {
            self.meter.first_output();
        }
        self.rows += 1;
        self.sum = self.sum.wrapping_add((self.digest)(&row));
        if self.last.is_some() {
            self.keep(row);
        }
        Ok(())
    }

    fn finish(&mut self) -> thalweg::Result<SinkStatus> {
        self.meter.finished(self.rows, self.sum);
        let rows = self.kept.drain().map(|(key, (value, count))| mix(key, value, count));
        let sum = rows.fold(0, u64::wrapping_add);
        let mut finals = self.finals.lock().expect("no sink panics while it holds the lock");
        *finals = finals.wrapping_add(sum);
        Ok(SinkStatus::Ready)
    }
}

impl<F, G> Digest<F, G> {
    /// Not inlined: it would take registers from the operators' loop.
    #[cold]
    #[inline(never)]
    fn keep<T>(&mut self, row: T)
    where
        G: FnMut(&T, &mut HashMap<u64, (u64, u64)>),
    {
        if let Some(last) = &mut self.last {
            last(&row, &mut self.kept);
        }
    }
}

/// What a run gave.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Times and counts.
    pub reading: Reading,
    /// The digest of the last rows, if asked for.
    pub last: Option<u64>,
}

pub(crate) struct Run {
    pub(crate) meter: Arc<Meter>,
    finals: Finals,
    with_final: bool,
}

impl Run {
    pub(crate) fn new(settings: &Settings) -> Self {
        let finals = Arc::new(Mutex::new(0));
        Run { meter: Arc::new(Meter::default()), finals, with_final: settings.with_final }
    }

    pub(crate) fn sink<F, G>(&self, digest: F, last: G) -> Digest<F, G> {
        Digest {
            digest,
            last: self.with_final.then_some(last),
            kept: HashMap::new(),
            sum: 0,
            rows: 0,
            meter: self.meter.clone(),
            finals: self.finals.clone(),
        }
    }

    pub(crate) fn outcome(self) -> Outcome {
        let last = *self.finals.lock().expect("the job has ended");
        Outcome { reading: self.meter.read(), last: self.with_final.then_some(last) }
    }
}

fn no_last<T>(_: &T, _: &mut HashMap<u64, (u64, u64)>) {}

/// w1: a running sum for each key.
///
/// # Errors
/// Those of the job.
pub fn running_sum(
    env: &StreamExecutionEnvironment,
    settings: &Settings,
) -> Result<Outcome, thalweg::Error> {
    let run = Run::new(settings);
    let last = |row: &(u64, u64), kept: &mut HashMap<u64, (u64, u64)>| {
        let entry = kept.entry(row.0).or_default();
        *entry = (row.1, entry.1 + 1);
    };
    env.from_source(Events::new(settings, run.meter.clone(), 1000), "events")
        .key_by(|event: &Event| event.key)
        .scan(0u64, |sum, event| {
            *sum += event.value;
            (event.key, *sum)
        })
        .sink_to(run.sink(|(key, sum): &(u64, u64)| key ^ sum, last));
    env.execute("w1")?;
    Ok(run.outcome())
}

/// The running sum written as a process function with a state handle.
#[derive(Clone, Default)]
struct RunningSum {
    sum: ValueState<u64>,
}

impl KeyedProcessFunction for RunningSum {
    type Key = u64;
    type In = Event;
    type Out = (u64, u64);
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.sum = context.value_state(ValueStateDescriptor::new("sum"))?;
        Ok(())
    }
    #[inline(always)]
    fn process_element(
        &mut self,
        event: Event,
        context: &mut Context<'_, u64>,
        out: &mut Collector<'_, (u64, u64)>,
    ) -> thalweg::Result<()> {
        let sum = self.sum.modify(context, |sum| {
            *sum += event.value;
            *sum
        })?;
        out.collect((event.key, sum));
        Ok(())
    }
}

/// w1 with a process function and a state handle instead of `scan`.
///
/// # Errors
/// Those of the job.
pub fn running_sum_by_process(
    env: &StreamExecutionEnvironment,
    settings: &Settings,
) -> Result<Outcome, thalweg::Error> {
    let run = Run::new(settings);
    let last = |row: &(u64, u64), kept: &mut HashMap<u64, (u64, u64)>| {
        let entry = kept.entry(row.0).or_default();
        *entry = (row.1, entry.1 + 1);
    };
    env.from_source(Events::new(settings, run.meter.clone(), 1000), "events")
        .key_by(|event: &Event| event.key)
        .process(RunningSum::default())
        .sink_to(run.sink(|(key, sum): &(u64, u64)| key ^ sum, last));
    env.execute("w1 by process")?;
    Ok(run.outcome())
}

/// w2: counts of each key in tumbling windows of a second.
///
/// # Errors
/// Those of the job.
pub fn tumbling_count(
    env: &StreamExecutionEnvironment,
    settings: &Settings,
) -> Result<Outcome, thalweg::Error> {
    let run = Run::new(settings);
    env.from_source(Events::new(settings, run.meter.clone(), 1000), "events")
        .assign_timestamps_and_watermarks(watermarks())
        .key_by(|event| event.key)
        .window(TumblingEventTimeWindows::of(seconds(1)))
        .aggregate_with(Count, |key, window, count, out| {
            out.collect((*key, window.end() as u64, count));
        })
        .sink_to(run.sink(|(key, end, count): &(u64, u64, u64)| mix(*key, *end, *count), no_last));
    env.execute("w2")?;
    Ok(run.outcome())
}

/// w4: counts of each key's sessions, which end after 100 ms without an event.
///
/// # Errors
/// Those of the job.
pub fn session_count(
    env: &StreamExecutionEnvironment,
    settings: &Settings,
) -> Result<Outcome, thalweg::Error> {
    let run = Run::new(settings);
    env.from_source(Events::new(settings, run.meter.clone(), 1000), "events")
        .assign_timestamps_and_watermarks(watermarks())
        .key_by(|event| event.key)
        .window(EventTimeSessionWindows::with_gap(milliseconds(100)))
        .aggregate_with(Count, |key, window, count, out| {
            out.collect((*key, window.end() as u64, count));
        })
        .sink_to(run.sink(|(key, end, count): &(u64, u64, u64)| mix(*key, *end, *count), no_last));
    env.execute("w4")?;
    Ok(run.outcome())
}

fn watermarks() -> WatermarkStrategy<
    Event,
    thalweg::time::BoundedOutOfOrderness,
    impl thalweg::time::TimestampAssigner<Event> + Clone + Send,
> {
    WatermarkStrategy::bounded_out_of_orderness(milliseconds(100))
        .with_timestamp(|event: &Event| event.ts as i64)
}

/// The three most frequent keys of a window; among equals the smaller key.
#[derive(Clone, Default)]
struct TopThree {
    best: ValueState<Vec<(u64, u64)>>,
}

impl KeyedProcessFunction for TopThree {
    type Key = i64;
    type In = (i64, u64, u64);
    type Out = (u64, u64, u64);

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        self.best = context.value_state(ValueStateDescriptor::new("best"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        (end, key, count): (i64, u64, u64),
        context: &mut Context<'_, i64>,
        _: &mut Collector<'_, (u64, u64, u64)>,
    ) -> thalweg::Result<()> {
        let is_first = self.best.modify(context, |best| {
            let is_first = best.is_empty();
            let place = best.iter().position(|(k, c)| count > *c || (count == *c && key < *k));
            match place {
                Some(place) => best.insert(place, (key, count)),
                None if best.len() < 3 => best.push((key, count)),
                None => {}
            }
            best.truncate(3);
            is_first
        })?;
        if is_first {
            context.timer_service().register_event_time_timer(end - 1);
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        _: i64,
        context: &mut OnTimerContext<'_, i64>,
        out: &mut Collector<'_, (u64, u64, u64)>,
    ) -> thalweg::Result<()> {
        let end = *context.current_key() as u64;
        for (key, count) in self.best.value(context)?.unwrap_or_default() {
            out.collect((key, end, count));
        }
        self.best.clear(context)?;
        Ok(())
    }
}

/// w3: counts of each key in windows of an hour every five minutes, then the top 3 of each window.
///
/// # Errors
/// Those of the job.
pub fn hot_keys(
    env: &StreamExecutionEnvironment,
    settings: &Settings,
) -> Result<Outcome, thalweg::Error> {
    let run = Run::new(settings);
    env.from_source(Events::new(settings, run.meter.clone(), 1), "events")
        .assign_timestamps_and_watermarks(watermarks())
        .key_by(|event| event.key)
        .window(SlidingEventTimeWindows::of(hours(1), minutes(5)))
        .aggregate_with(Count, |key, window, count, out| out.collect((window.end(), *key, count)))
        .key_by(|(end, ..)| *end)
        .process(TopThree::default())
        .sink_to(run.sink(|(key, end, count): &(u64, u64, u64)| mix(*key, *end, *count), no_last));
    env.execute("w3")?;
    Ok(run.outcome())
}
