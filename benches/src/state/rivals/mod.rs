//! Other embedded stores on the same work, beside ours: RocksDB, fjall and redb. Each is set up to
//! be fast at it and holds its caches and write buffers within one budget of memory; none keeps a
//! log for durability, since neither do we between checkpoints.
//!
//! Keys are eight bytes behind one of key group, as Flink lays them out.

mod fjall;
mod redb;
mod rocksdb;
mod rocksdb_library;

use std::path::Path;

use thalweg::Result;

use super::arguments::{Options, Rival};
use super::events::{Event, Events, every_key};
use super::pairing::median;
use super::process::{anonymous_bytes, written_bytes};
use super::report::Line;
use super::rmw::{Counters, Value, Wide};
use super::scratch::Scratch;
use super::stopwatch::{Latencies, Longest, Ticks};
use crate::digest::splitmix64;
use crate::now_ns;

/// Caches and write buffers of a rival when no budget is given.
const BUDGET_MIB: u64 = 1_024;

/// A rival's slices are so much shorter than ours.
const SLICE_SHARE: usize = 16;

/// A rival that counts.
pub(in crate::state) trait RivalCounters: Counters {
    /// What it tells of itself after a run: levels, stalls, sizes.
    fn statistics(&self) -> String;
}

/// A value as other stores keep it: bytes.
pub(in crate::state) trait RivalValue: Value {
    type Raw: AsRef<[u8]>;

    fn to_raw(&self) -> Self::Raw;

    /// The value of what `to_raw` gave; bytes of another length are the default.
    fn from_raw(bytes: &[u8]) -> Self;
}

impl RivalValue for u64 {
    type Raw = [u8; 8];

    fn to_raw(&self) -> [u8; 8] {
        self.to_le_bytes()
    }

    fn from_raw(bytes: &[u8]) -> Self {
        bytes.try_into().map_or(0, u64::from_le_bytes)
    }
}

impl RivalValue for Wide {
    type Raw = [u8; 100];

    fn to_raw(&self) -> [u8; 100] {
        self.bytes
    }

    fn from_raw(bytes: &[u8]) -> Self {
        bytes.try_into().map_or_else(|_| Wide::default(), |bytes| Wide { bytes })
    }
}

/// Makes the rival asked for, empty, in a directory of its own.
pub(in crate::state) fn open<V: RivalValue>(
    options: &Options,
    rival: Rival,
    directory: &Path,
) -> Result<Box<dyn RivalCounters>> {
    let budget_bytes = options.budget_mib.unwrap_or(BUDGET_MIB) << 20;
    Ok(match rival {
        Rival::RocksDb => Box::new(rocksdb::Store::<V>::open(directory, budget_bytes)?),
        Rival::Fjall => Box::new(fjall::Store::<V>::open(directory, budget_bytes)?),
        Rival::Redb => Box::new(redb::Store::<V>::open(directory, budget_bytes)?),
    })
}

/// Loads every key, runs slices until the time is over, and prints a line as for ours and what the
/// rival says of itself.
pub(in crate::state) fn run<V: RivalValue>(
    options: &Options,
    rival: Rival,
    ours_mops: f64,
) -> Result<()> {
    let ticks = Ticks::calibrate();
    let scratch = Scratch::new(&options.directory, "rival")?;
    let before = anonymous_bytes();
    let written_before = written_bytes();
    let mut counters = open::<V>(options, rival, scratch.path())?;
    let mut longest = Longest::new(ticks);
    for key in every_key(options.keys) {
        longest.time(|| counters.update(Event::new(key, 1)))?;
    }
    longest.restart();
    counters.settle()?;

    let mut events = Events::new(options.keys, options.zipf);
    let (mut slice, mut rates, mut timed_ns) = (Vec::new(), Vec::new(), 0);
    let slice_events = (options.slice / SLICE_SHARE).max(1);
    while rates.is_empty() || (timed_ns as f64) < options.seconds * 1e9 {
        events.fill(&mut slice, slice_events);
        let begin_ns = now_ns();
        counters.update_all(&slice)?;
        let taken_ns = (now_ns() - begin_ns).max(1);
        timed_ns += taken_ns;
        rates.push(slice_events as f64 / taken_ns as f64 * 1e3);
    }
    let mut latencies = Latencies::new(ticks);
    events.fill(&mut slice, slice_events);
    slice.iter().try_for_each(|event| latencies.time(|| counters.update(*event)).map(drop))?;
    let resident = anonymous_bytes().saturating_sub(before);
    counters.settle()?;
    let mops = median(rates);
    Line::new(rival.name(), "rmw")
        .field("keys", options.keys)
        .field("value_bytes", options.value_bytes)
        .field("events", options.keys_are())
        .number("mops", mops, 3)
        .latencies(&latencies)
        .us("growth_longest_us", longest.raw_ns())
        .mib("rss_mib", resident)
        .mib("written_mib", written_bytes() - written_before)
        .print();
    Line::new("ratio", "rmw")
        .number(&format!("thalweg/{}", rival.name()), ours_mops / mops, 1)
        .print();
    println!("{}", counters.statistics());
    Ok(())
}

/// Key group and key, in order.
#[inline(always)]
fn key_bytes(key: u64) -> [u8; 9] {
    let mut bytes = [(splitmix64(key) & 127) as u8; 9];
    bytes[1..].copy_from_slice(&key.to_be_bytes());
    bytes
}
