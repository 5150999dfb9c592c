//! Read, modify, write: each event adds its amount to its key's value.
//!
//! 1. Growth: every key once, each call timed, our side several times over.
//! 2. Throughput: slices in turn with the baseline.
//! 3. Latency: single calls, every fourth timed, in turn with the baseline.

use thalweg::Result;
use thalweg::state::StateValue;

use super::events::{Event, Events, every_key};
use super::files::{Files, Runs};
use super::growth::grow;
use super::pairing::{Answer, Side, alternate};
use super::plain::PlainCounters;
use super::process::written_bytes;
use super::report::{Line, print_ratio};
use super::single_calls::{Single, single_count, time_singles};
use super::stopwatch::{Longest, Ticks};
use super::store::{FlatCounters, OnFiles, RowCounters};
use super::{Layout, Options};

/// A table of counters.
pub(super) trait Counters {
    /// Adds the amount of every event to its key's counter; the sum of the new values.
    fn update_all(&mut self, events: &[Event]) -> Result<u64>;
    /// As for one event.
    fn update(&mut self, event: Event) -> Result<u64>;
    /// All keys are there: what is to be done before anything is measured.
    fn grown(&mut self) -> Result<()> {
        Ok(())
    }
    /// Waits for what happens in the background.
    fn settle(&mut self) -> Result<()> {
        Ok(())
    }
    /// How many barriers there were.
    fn barrier_count(&self) -> u64 {
        0
    }
}

impl<C: Counters + ?Sized> Counters for Box<C> {
    fn update_all(&mut self, events: &[Event]) -> Result<u64> {
        (**self).update_all(events)
    }

    fn update(&mut self, event: Event) -> Result<u64> {
        (**self).update(event)
    }

    fn grown(&mut self) -> Result<()> {
        (**self).grown()
    }

    fn settle(&mut self) -> Result<()> {
        (**self).settle()
    }

    fn barrier_count(&self) -> u64 {
        (**self).barrier_count()
    }
}

/// What is kept for a key.
pub(super) trait Value: StateValue + Default {
    /// Adds an amount; the new sum.
    fn add(&mut self, amount: u64) -> u64;
}

impl Value for u64 {
    #[inline(always)]
    fn add(&mut self, amount: u64) -> u64 {
        *self = self.wrapping_add(amount);
        *self
    }
}

/// A value of 100 bytes: the sum, and bytes that change with it.
#[thalweg::record]
#[derive(Clone, Debug)]
pub(super) struct Wide {
    pub(super) bytes: [u8; 100],
}

impl Default for Wide {
    fn default() -> Self {
        Wide { bytes: [0; 100] }
    }
}

impl Value for Wide {
    #[inline(always)]
    fn add(&mut self, amount: u64) -> u64 {
        let (first, rest) = self.bytes.split_first_chunk_mut::<8>().expect("100 bytes have 8");
        let sum = u64::from_le_bytes(*first).wrapping_add(amount);
        *first = sum.to_le_bytes();
        rest.fill(sum as u8);
        sum
    }
}

/// A value that every system of this build can keep.
#[cfg(feature = "rivals")]
pub(super) trait Measured: super::rivals::RivalValue {}
#[cfg(feature = "rivals")]
impl<V: super::rivals::RivalValue> Measured for V {}
/// A value that every system of this build can keep.
#[cfg(not(feature = "rivals"))]
pub(super) trait Measured: Value {}
#[cfg(not(feature = "rivals"))]
impl<V: Value> Measured for V {}

/// Counters that take turns over slices of events.
struct Turns<C>(C);

impl<C: Counters> Side<Vec<Event>> for Turns<C> {
    fn run(&mut self, events: &Vec<Event>, _phase: usize) -> Result<Answer> {
        let digest = self.0.update_all(events)?;
        Ok(Answer { operations: events.len() as u64, digest })
    }

    fn settle(&mut self) -> Result<()> {
        self.0.settle()
    }

    fn barrier_count(&self) -> u64 {
        self.0.barrier_count()
    }
}

impl<C: Counters> Single<Event> for Turns<C> {
    fn single(&mut self, event: &Event, _phase: usize) -> Result<u64> {
        self.0.update(*event)
    }
}

pub(super) fn run(options: &Options) -> Result<()> {
    match options.value_bytes {
        8 => run_with::<u64>(options),
        _ => run_with::<Wide>(options),
    }
}

fn run_with<V: Measured>(options: &Options) -> Result<()> {
    let ours_mops = match options.layout {
        Layout::Rows => run_beside_plain::<V, _>(options, RowCounters::<V>::new)?,
        Layout::Flat => run_beside_plain::<V, _>(options, FlatCounters::<V>::new)?,
    };
    run_rival::<V>(options, ours_mops)
}

/// Our counters beside the baseline's; our rate.
fn run_beside_plain<V: Value, C: Counters + OnFiles>(
    options: &Options,
    new: impl Fn(&Options, Option<Files>) -> Result<C>,
) -> Result<f64> {
    let ticks = Ticks::calibrate();
    let mut runs = Runs::new(options, ticks, "rmw")?;
    let make = || Ok(Turns(new(options, runs.next_files()?)?));
    let mut ours =
        grow(ticks, options.growths, make, |ours, longest| fill(ours, options, longest))?;
    let make_plain = || Ok(Turns(PlainCounters::<V>::with_room_for(options.keys)));
    let mut plain = grow(ticks, 1, make_plain, |plain, longest| fill(plain, options, longest))?;

    let mut events = Events::new(options.keys, options.zipf);
    let written_before = written_bytes();
    let prepare = || {
        let mut slice = Vec::with_capacity(options.slice);
        events.fill(&mut slice, options.slice);
        slice
    };
    let [rates] = alternate::<_, 1>(options, prepare, &mut ours.table, &mut plain.table)?;
    let written = written_bytes() - written_before;

    let mut singles = Vec::new();
    events.fill(&mut singles, single_count(options));
    let latencies = time_singles(ticks, (&singles, 0), &mut ours.table, &mut plain.table)?;
    let mut ours_line = line(options, "thalweg", rates.ours_mops())
        .latencies(&latencies[0])
        .growth(&ours.figures)
        .mib("written_mib", written);
    let files = ours.table.0.files();
    if let Some(files) = files {
        ours_line = files.figures().add_to(ours_line);
    }
    ours_line.print();
    line(options, "hashbrown", rates.plain_mops())
        .latencies(&latencies[1])
        .growth(&plain.figures)
        .print();
    print_ratio("rmw", "hashbrown", &rates);
    if let Some(files) = files {
        println!("{}", files.store().statistics());
    }
    Ok(rates.ours_mops())
}

/// Gives every key a counter.
fn fill<C: Counters>(
    Turns(counters): &mut Turns<C>,
    options: &Options,
    longest: &mut Longest,
) -> Result<()> {
    for key in every_key(options.keys) {
        longest.time(|| counters.update(Event::new(key, 1)))?;
    }
    counters.grown()
}

#[cfg(feature = "rivals")]
fn run_rival<V: super::rivals::RivalValue>(options: &Options, ours_mops: f64) -> Result<()> {
    match options.rival {
        Some(rival) => super::rivals::run::<V>(options, rival, ours_mops),
        None => Ok(()),
    }
}

#[cfg(not(feature = "rivals"))]
fn run_rival<V: Value>(_options: &Options, _ours_mops: f64) -> Result<()> {
    Ok(())
}

fn line(options: &Options, system: &str, mops: f64) -> Line {
    Line::new(system, "rmw")
        .field("keys", options.keys)
        .field("value_bytes", options.value_bytes)
        .field("backend", options.backend.name())
        .field("layout", options.layout.name())
        .field("events", options.keys_are())
        .number("mops", mops, 2)
}
