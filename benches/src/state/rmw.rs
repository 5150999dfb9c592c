//! Read, modify, write: each event adds its amount to its key's value.
//!
//! 1. Growth: every key once, each call timed, our side several times over.
//! 2. Throughput: slices in turn with the baseline.
//! 3. Latency: single calls, every fourth timed, in turn with the baseline.

use thalweg::Result;
use thalweg::state::StateValue;

use super::events::{Event, Events, every_key};
use super::files::Files;
use super::pairing::{Answer, Side, alternate};
use super::plain::PlainCounters;
use super::process::{anonymous_bytes, written_bytes};
use super::report::{Line, print_ratio};
use super::scratch::Scratch;
use super::stopwatch::{Latencies, Longest, Ticks};
use super::store::{FlatCounters, OnFiles, RowCounters};
use super::{Backend, Layout, Options};

/// Calls of which single ones are timed before the other side has its turn.
const LATENCY_BURST: usize = 65_536;
/// Every so many calls one is timed.
const TIMED_EVERY: usize = 4;

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
trait Measured: super::rivals::RivalValue {}
#[cfg(feature = "rivals")]
impl<V: super::rivals::RivalValue> Measured for V {}
/// A value that every system of this build can keep.
#[cfg(not(feature = "rivals"))]
trait Measured: Value {}
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
}

pub(super) fn run(options: &Options) -> Result<()> {
    match options.value_bytes {
        8 => run_with::<u64>(options),
        _ => run_with::<Wide>(options),
    }
}

/// What growth to all keys has shown.
struct Growth<C> {
    counters: C,
    longest: Longest,
    resident_bytes: u64,
}

/// Makes counters for all keys, `growths` times over, and keeps the last.
fn grow<C: Counters>(
    (options, ticks): (&Options, Ticks),
    growths: usize,
    mut make: impl FnMut() -> Result<C>,
) -> Result<Growth<C>> {
    let mut longest = Longest::new(ticks);
    // Of the first time: later ones reuse memory that the allocator has kept.
    let mut resident_bytes = None;
    let mut last = None;
    for _ in 0..growths {
        drop(last.take());
        let before = anonymous_bytes();
        let mut counters = make()?;
        for key in every_key(options.keys) {
            longest.time(|| counters.update(Event::new(key, 1)))?;
        }
        longest.restart();
        counters.grown()?;
        resident_bytes.get_or_insert_with(|| anonymous_bytes().saturating_sub(before));
        last = Some(counters);
    }
    let counters = last.ok_or("growths is at least 1")?;
    let resident_bytes = resident_bytes.unwrap_or(0);
    Ok(Growth { counters, longest, resident_bytes })
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
    let context = (options, ticks);
    let scratch = Scratch::new(&options.directory, "rmw")?;
    let mut attempt = 0;
    let make = || {
        attempt += 1;
        let directory = scratch.path().join(attempt.to_string());
        let files = match options.backend {
            Backend::Memory => None,
            Backend::Lsm => Some(Files::create(options, ticks, &directory)?),
        };
        new(options, files)
    };
    let mut ours = grow(context, options.growths, make)?;
    let mut plain = grow(context, 1, || Ok(PlainCounters::<V>::with_room_for(options.keys)))?;

    let mut events = Events::new(options.keys, options.zipf);
    let written_before = written_bytes();
    let (mut ours_turns, mut plain_turns) = (Turns(ours.counters), Turns(plain.counters));
    let prepare = || {
        let mut slice = Vec::with_capacity(options.slice);
        events.fill(&mut slice, options.slice);
        slice
    };
    let [rates] = alternate::<_, 1>(options, prepare, &mut ours_turns, &mut plain_turns)?;
    let written = written_bytes() - written_before;
    (ours.counters, plain.counters) = (ours_turns.0, plain_turns.0);

    let (mut ours_latencies, mut plain_latencies) = (Latencies::new(ticks), Latencies::new(ticks));
    let bursts = (options.slice / LATENCY_BURST).clamp(1, 16);
    let mut burst = Vec::new();
    for _ in 0..bursts {
        events.fill(&mut burst, LATENCY_BURST.min(options.slice));
        let ours_digest = time_single(&mut ours.counters, &burst, &mut ours_latencies)?;
        let plain_digest = time_single(&mut plain.counters, &burst, &mut plain_latencies)?;
        if ours_digest != plain_digest {
            return Err(format!("single calls: {ours_digest} is not {plain_digest}").into());
        }
    }
    let mut ours_line = line(options, "thalweg", rates.ours_mops(), &ours_latencies, &ours)
        .mib("written_mib", written);
    if let Some(files) = ours.counters.files() {
        ours_line = files.figures().add_to(ours_line);
    }
    ours_line.print();
    line(options, "hashbrown", rates.plain_mops(), &plain_latencies, &plain).print();
    print_ratio("rmw", &rates);
    if let Some(files) = ours.counters.files() {
        println!("{}", files.store().statistics());
    }
    Ok(rates.ours_mops())
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

#[inline(never)]
fn time_single(
    counters: &mut impl Counters,
    events: &[Event],
    latencies: &mut Latencies,
) -> Result<u64> {
    let mut digest = 0_u64;
    for (i, event) in events.iter().enumerate() {
        let sum = if i % TIMED_EVERY == 0 {
            latencies.time(|| counters.update(*event))
        } else {
            counters.update(*event)
        };
        digest = digest.wrapping_add(sum?);
    }
    counters.settle()?;
    Ok(digest)
}

fn line<C>(
    options: &Options,
    system: &str,
    mops: f64,
    latencies: &Latencies,
    growth: &Growth<C>,
) -> Line {
    Line::new(system, "rmw")
        .field("keys", options.keys)
        .field("value_bytes", options.value_bytes)
        .field("backend", options.backend.name())
        .field("layout", options.layout.name())
        .field("events", options.keys_are())
        .number("mops", mops, 2)
        .latencies(latencies)
        .us("growth_longest_us", growth.longest.repeated_ns())
        .us("growth_longest_raw_us", growth.longest.raw_ns())
        .mib("rss_mib", growth.resident_bytes)
}
