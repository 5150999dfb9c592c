//! Snapshots: how long they hold records up, how long until they are durable, and how many bytes
//! they are, after all keys were new and after a share of them has changed. And restore: the first
//! read, reads of what is not resident yet, and all keys.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use thalweg::Result;

use super::events::{Event, Events, every_key};
use super::files::{Cost, Files};
use super::plain::PlainCounters;
use super::report::Line;
use super::rmw::Counters;
use super::scratch::Scratch;
use super::stopwatch::Ticks;
use super::store::{FlatCounters, OnFiles, RowCounters};
use super::{Layout, Options};
use crate::digest::splitmix64;
use crate::now_ns;

/// Shares of the keys that change before a snapshot, in percent; each several times.
const CHANGED_PERCENT: [u64; 4] = [0, 1, 10, 100];
const REPETITIONS: u64 = 3;
/// Bytes of a key and its value.
const RECORD_BYTES: u64 = 16;
/// Reads after a restore.
const READS: usize = 1_000_000;

/// What is run on the counters of either layout.
type Run<C> = fn(&Options, &dyn Fn(Option<Files>) -> Result<C>) -> Result<()>;

pub(super) fn run_snapshot(options: &Options) -> Result<()> {
    run(options, snapshots, snapshots)
}

pub(super) fn run_restore(options: &Options) -> Result<()> {
    run(options, restores, restores)
}

fn run(options: &Options, rows: Run<RowCounters<u64>>, flat: Run<FlatCounters<u64>>) -> Result<()> {
    match options.layout {
        Layout::Rows => rows(options, &|files| RowCounters::new(options, files)),
        Layout::Flat => flat(options, &|files| FlatCounters::new(options, files)),
    }
}

fn snapshots<C: Counters + OnFiles>(
    options: &Options,
    new: &dyn Fn(Option<Files>) -> Result<C>,
) -> Result<()> {
    let ticks = Ticks::calibrate();
    let scratch = Scratch::new(&options.directory, "snapshot")?;
    let mut ours = new(Some(Files::create(options, ticks, &scratch.path().join("ours"))?))?;
    change(&mut ours, options.keys, |_| true)?;
    print(options, "new", options.keys, checkpoint(&mut ours)?);
    for percent in CHANGED_PERCENT {
        let mut costs = Vec::new();
        let mut changed = 0;
        for repetition in 0..REPETITIONS {
            let is_changed = |key| splitmix64(key ^ repetition << 48) % 100 < percent;
            changed = change(&mut ours, options.keys, is_changed)?;
            costs.push(checkpoint(&mut ours)?);
        }
        costs.sort_by_key(|cost| cost.durable_ns);
        print(options, &percent.to_string(), changed, costs[costs.len() / 2]);
    }
    drop(ours);
    let mut plain = PlainCounters::<u64>::with_room_for(options.keys);
    change(&mut plain, options.keys, |_| true)?;
    let begin_ns = now_ns();
    let copy = plain.counters().clone();
    let stall_ns = now_ns() - begin_ns;
    let bytes_written = write_all(&scratch.path().join("plain"), copy.iter())?;
    let durable_ns = now_ns() - begin_ns;
    line("hashbrown", options, "clone", options.keys, Cost { stall_ns, durable_ns, bytes_written });
    Ok(())
}

/// Changes the keys for which `is_changed` holds; how many there are.
fn change(
    counters: &mut impl Counters,
    keys: u64,
    is_changed: impl Fn(u64) -> bool,
) -> Result<u64> {
    let changed: Vec<Event> =
        every_key(keys).filter(|key| is_changed(*key)).map(|key| Event::new(key, 1)).collect();
    counters.update_all(&changed)?;
    Ok(changed.len() as u64)
}

fn checkpoint(counters: &mut impl OnFiles) -> Result<Cost> {
    let (files, table) = counters.parts().ok_or("these counters have no files")?;
    files.checkpoint(table)
}

fn print(options: &Options, what: &str, changed: u64, cost: Cost) {
    line(&format!("thalweg-{}", options.layout.name()), options, what, changed, cost);
}

fn line(system: &str, options: &Options, what: &str, changed: u64, cost: Cost) {
    let per_record = cost.bytes_written as f64 / (changed.max(1) * RECORD_BYTES) as f64;
    Line::new(system, "snapshot")
        .field("keys", options.keys)
        .field("changed_percent", what)
        .field("changed", changed)
        .us("stall_us", cost.stall_ns)
        .number("durable_ms", cost.durable_ns as f64 / 1e6, 1)
        .field("bytes", cost.bytes_written)
        .number("bytes/changed", per_record, 3)
        .print();
}

/// Writes and syncs all entries; how many bytes.
fn write_all<'a>(path: &Path, entries: impl Iterator<Item = (&'a u64, &'a u64)>) -> Result<u64> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut bytes = 0;
    for (key, value) in entries {
        out.write_all(&key.to_le_bytes())?;
        out.write_all(&value.to_le_bytes())?;
        bytes += RECORD_BYTES;
    }
    out.into_inner().map_err(|error| error.into_error())?.sync_data()?;
    Ok(bytes)
}

fn restores<C: Counters + OnFiles>(
    options: &Options,
    new: &dyn Fn(Option<Files>) -> Result<C>,
) -> Result<()> {
    let ticks = Ticks::calibrate();
    let scratch = Scratch::new(&options.directory, "restore")?;
    let directory = scratch.path().join("ours");
    let mut ours = new(Some(Files::create(options, ticks, &directory)?))?;
    let mut plain = PlainCounters::<u64>::with_room_for(options.keys);
    let is_changed = |key: u64| splitmix64(key).is_multiple_of(10);
    for round in 0..2 {
        change(&mut ours, options.keys, |key| round == 0 || is_changed(key))?;
        change(&mut plain, options.keys, |key| round == 0 || is_changed(key))?;
        checkpoint(&mut ours)?;
    }
    drop(ours);

    let mut reads = Vec::new();
    Events::new(options.keys, options.zipf).fill(&mut reads, READS.min(options.keys as usize));
    let reads: Vec<Event> = reads.iter().map(|event| Event::new(event.key(), 0)).collect();
    let begin_ns = now_ns();
    let mut ours = new(Some(Files::open(options, ticks, &directory)?))?;
    let opened_ns = now_ns() - begin_ns;
    let first = ours.update(reads[0])?;
    let first_read_ns = now_ns() - begin_ns;
    let reads_begin_ns = now_ns();
    let digest = ours.update_all(&reads)?;
    let reads_ns = now_ns() - reads_begin_ns;
    let (_, table) = ours.parts().ok_or("these counters have no files")?;
    let full_begin_ns = now_ns();
    while table.restore_step()? {}
    let full_ns = now_ns() - full_begin_ns;
    if (plain.update(reads[0])?, plain.update_all(&reads)?) != (first, digest) {
        return Err("what was restored is not what was written".into());
    }
    let ms = |ns: u64| ns as f64 / 1e6;
    Line::new(&format!("thalweg-{}", options.layout.name()), "restore")
        .field("keys", options.keys)
        .number("open_ms", ms(opened_ns), 1)
        .number("first_read_ms", ms(first_read_ns), 1)
        .number("reads_mops", reads.len() as f64 / reads_ns as f64 * 1e3, 2)
        .number("rest_ms", ms(full_ns), 0)
        .print();
    restore_plain(options, &scratch.path().join("plain"), &plain)
}

/// The baseline: all entries are read from one file into a new map.
fn restore_plain(options: &Options, path: &Path, plain: &PlainCounters<u64>) -> Result<()> {
    write_all(path, plain.counters().iter())?;
    let begin_ns = now_ns();
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    let mut restored = PlainCounters::<u64>::with_room_for(options.keys);
    for entry in bytes.as_chunks::<16>().0 {
        let [key, value] =
            [0, 8].map(|at| u64::from_le_bytes(std::array::from_fn(|byte| entry[at + byte])));
        restored.update(Event::new(key, value))?;
    }
    let full_ns = now_ns() - begin_ns;
    Line::new("hashbrown", "restore")
        .field("keys", options.keys)
        .number("full_ms", full_ns as f64 / 1e6, 0)
        .print();
    Ok(())
}
