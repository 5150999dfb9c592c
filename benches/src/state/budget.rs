//! Read, modify, write with less memory than the state takes.
//!
//! 1. Every key is loaded, in batches, and a checkpoint made of that.
//! 2. Events are taken for as long as is asked for, without a pause: what goes on in the background
//!    goes on at the expense of the records. The rate is that of the whole time, stalls and all;
//!    only drawing the events, a slice at a time, is not counted.
//! 3. The rival, if one is asked for, does the same work within the same budget, alone.
//! 4. Plain hashbrown, with all the memory it wants, is given the same events; its digests must be
//!    the others'.
//!
//! Budgets: ours is for rows, caches, filters, indexes and changes on their way to the disk. A
//! rival's is for its block cache and write buffers; how it divides it is said where it is opened.
//! Both read and write files through the kernel's page cache, which counts for neither.

use thalweg::Result;

use super::events::{Event, Events, every_key};
use super::files::Files;
use super::plain::PlainCounters;
use super::process::{anonymous_bytes, give_memory_back, written_bytes};
use super::report::Line;
use super::rmw::{Counters, Measured, Value, Wide};
use super::scratch::Scratch;
use super::stopwatch::{Latencies, Ticks};
use super::store::{FlatCounters, OnFiles, RowCounters};
use super::{Backend, Layout, Options};
use crate::now_ns;

/// Events that are drawn at a time: 0.5 MiB, which leaves the caches to the stores.
const SLICE_EVENTS: usize = 65_536;

pub(super) fn run(options: &Options) -> Result<()> {
    match options.value_bytes {
        8 => run_with::<u64>(options),
        _ => run_with::<Wide>(options),
    }
}

/// What a side did.
#[derive(Clone, Copy, Debug)]
struct Work {
    operations: u64,
    digest: u64,
    mops: f64,
}

fn run_with<V: Measured>(options: &Options) -> Result<()> {
    let state_bytes = state_bytes::<V>(options)?;
    let ours = match options.layout {
        Layout::Rows => run_ours(options, state_bytes, RowCounters::<V>::new)?,
        Layout::Flat => run_ours(options, state_bytes, FlatCounters::<V>::new)?,
    };
    let mut works = vec![ours];
    works.extend(run_rival::<V>(options, ours)?);
    check::<V>(options, &works)
}

/// What the state takes where memory is not limited.
fn state_bytes<V: Value>(options: &Options) -> Result<u64> {
    fn load(options: &Options, mut counters: impl Counters) -> Result<u64> {
        let before = anonymous_bytes();
        load_all(options, &mut counters)?;
        let bytes = anonymous_bytes().saturating_sub(before);
        drop(counters);
        give_memory_back();
        Ok(bytes)
    }
    match options.layout {
        Layout::Rows => load(options, RowCounters::<V>::new(options, None)?),
        Layout::Flat => load(options, FlatCounters::<V>::new(options, None)?),
    }
}

/// Every key once.
fn load_all(options: &Options, counters: &mut impl Counters) -> Result<()> {
    let mut slice = Vec::with_capacity(SLICE_EVENTS);
    for key in every_key(options.keys) {
        slice.push(Event::new(key, 1));
        if slice.len() == SLICE_EVENTS {
            counters.update_all(&slice)?;
            slice.clear();
        }
    }
    counters.update_all(&slice)?;
    Ok(())
}

/// A stretch of time without a pause.
struct Stretch {
    operations: u64,
    digest: u64,
    ns: u64,
    /// Of batches.
    latencies: Latencies,
    anonymous_bytes_max: u64,
    written_bytes: u64,
}

impl Stretch {
    /// Takes events for as long as is asked for.
    fn run<C: Counters + ?Sized>(
        options: &Options,
        ticks: Ticks,
        counters: &mut C,
    ) -> Result<Self> {
        let mut events = Events::new(options.keys, options.zipf);
        let mut stretch = Stretch {
            operations: 0,
            digest: 0,
            ns: 0,
            latencies: Latencies::new(ticks),
            anonymous_bytes_max: 0,
            written_bytes: written_bytes(),
        };
        let mut slice = Vec::with_capacity(SLICE_EVENTS);
        while (stretch.ns as f64) < options.seconds * 1e9 {
            events.fill(&mut slice, SLICE_EVENTS);
            let begin_ns = now_ns();
            for batch in slice.chunks(options.batch) {
                let digest = stretch.latencies.time(|| counters.update_all(batch))?;
                stretch.digest = stretch.digest.wrapping_add(digest);
            }
            stretch.ns += now_ns() - begin_ns;
            stretch.operations += slice.len() as u64;
            stretch.anonymous_bytes_max = stretch.anonymous_bytes_max.max(anonymous_bytes());
        }
        stretch.written_bytes = written_bytes() - stretch.written_bytes;
        Ok(stretch)
    }

    fn work(&self) -> Work {
        let mops = self.operations as f64 / self.ns as f64 * 1e3;
        Work { operations: self.operations, digest: self.digest, mops }
    }

    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.ns as f64 * 1e9
    }

    fn line(&self, options: &Options, system: &str) -> Line {
        Line::new(system, "rmw")
            .field("keys", options.keys)
            .field("value_bytes", options.value_bytes)
            .field("events", options.keys_are())
            .number("seconds", self.ns as f64 / 1e9, 1)
            .number("mops", self.work().mops, 3)
            .us("batch_p50_us", self.latencies.quantile_ns(0.5))
            .us("batch_p99_us", self.latencies.quantile_ns(0.99))
            .us("batch_p999_us", self.latencies.quantile_ns(0.999))
            .us("batch_longest_us", self.latencies.longest_ns())
            .field("budget_mib", options.budget_mib.unwrap_or(0))
            .mib("rss_max_mib", self.anonymous_bytes_max)
            .mib("rss_mib", anonymous_bytes())
            .mib("written_mib", self.written_bytes)
    }
}

fn run_ours<C: Counters + OnFiles>(
    options: &Options,
    state_bytes: u64,
    new: impl Fn(&Options, Option<Files>) -> Result<C>,
) -> Result<Work> {
    if options.backend == Backend::Memory {
        return Err("--budget-mib needs --backend lsm: memory alone evicts nothing".into());
    }
    let ticks = Ticks::calibrate();
    let scratch = Scratch::new(&options.directory, "budget")?;
    let files = Files::create(options, ticks, &scratch.path().join("store"))?;
    let mut counters = new(options, Some(files))?;
    load_all(options, &mut counters)?;
    counters.grown()?;

    let (before, read_before) = (counters.residence(), rows_read(&counters));
    let stretch = Stretch::run(options, ticks, &mut counters)?;
    let after = counters.residence();
    let statistics = counters.files().ok_or("a store on files has files")?.store().statistics();
    let line = stretch
        .line(options, "thalweg")
        .field("layout", options.layout.name())
        .mib("state_mib", state_bytes)
        .mib("resident_mib", after.resident_bytes)
        .mib("table_mib", after.table_bytes)
        .mib("cache_mib", statistics.cache_bytes)
        .number("evicted_per_s", stretch.per_second(after.evicted - before.evicted), 0)
        .number("loaded_per_s", stretch.per_second(statistics.rows_read - read_before), 0)
        .field("alone", after.alone - before.alone);
    let files = counters.files().ok_or("a store on files has files")?;
    let (levels_p50, levels_max) = files.figures().levels();
    let line = files.figures().add_to(line).mib("files_mib", statistics.file_bytes());
    line.field("levels_p50", levels_p50).field("levels_max", levels_max).print();
    println!("{statistics}");
    Ok(stretch.work())
}

fn rows_read(counters: &impl OnFiles) -> u64 {
    counters.files().map_or(0, |files| files.store().statistics().rows_read)
}

/// The rival's work, if one is asked for.
#[cfg(feature = "rivals")]
fn run_rival<V: Measured>(options: &Options, ours: Work) -> Result<Option<Work>> {
    let Some(rival) = options.rival else { return Ok(None) };
    let ticks = Ticks::calibrate();
    let scratch = Scratch::new(&options.directory, "rival")?;
    let mut counters = super::rivals::open::<V>(options, rival, scratch.path())?;
    load_all(options, &mut counters)?;
    counters.settle()?;
    let stretch = Stretch::run(options, ticks, &mut counters)?;
    stretch.line(options, rival.name()).print();
    let work = stretch.work();
    Line::new("ratio", "rmw")
        .number(&format!("thalweg/{}", rival.name()), ours.mops / work.mops, 2)
        .print();
    println!("{}", counters.statistics());
    Ok(Some(work))
}

#[cfg(not(feature = "rivals"))]
fn run_rival<V: Measured>(_options: &Options, _ours: Work) -> Result<Option<Work>> {
    Ok(None)
}

/// Plain hashbrown answers the same.
fn check<V: Value>(options: &Options, works: &[Work]) -> Result<()> {
    let mut counters = PlainCounters::<V>::with_room_for(options.keys);
    load_all(options, &mut counters)?;
    let mut events = Events::new(options.keys, options.zipf);
    let mut slice = Vec::with_capacity(SLICE_EVENTS);
    let (mut operations, mut digest, mut ns) = (0, 0_u64, 0);
    let mut checked = 0;
    while checked < works.len() {
        for work in works.iter().filter(|work| work.operations == operations) {
            if work.digest != digest {
                let found = work.digest;
                return Err(format!("after {operations} events: {found} is not {digest}").into());
            }
            checked += 1;
        }
        events.fill(&mut slice, SLICE_EVENTS);
        let begin_ns = now_ns();
        digest = digest.wrapping_add(counters.update_all(&slice)?);
        ns += now_ns() - begin_ns;
        operations += slice.len() as u64;
    }
    Line::new("hashbrown", "rmw")
        .number("mops", operations as f64 / ns as f64 * 1e3, 2)
        .mib("rss_mib", anonymous_bytes())
        .field("digests", "equal")
        .print();
    Ok(())
}
