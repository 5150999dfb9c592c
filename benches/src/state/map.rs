//! Maps of 100 entries: put, get, and a scan of all entries of a key.

use thalweg::Result;
use thalweg::state::{Key, KeyHash, MapState, MapStateDescriptor, RowStore, StateRegistrar};

use super::Options;
use super::events::{Event, Events, every_key};
use super::files::{Files, Runs};
use super::growth::grow;
use super::keyed_rows::KeyedRows;
use super::pairing::{Answer, Side, alternate};
use super::plain::PlainMap;
use super::report::PhaseReport;
use super::single_calls::{Single, single_count, time_singles};
use super::stopwatch::{Longest, Ticks};

/// Entries a map.
const ENTRIES: u64 = 100;
const PHASES: [&str; 3] = ["map-put", "map-get", "map-scan-100"];
const SCAN: usize = 2;
/// A scan is worth so many puts or gets.
const SCAN_COST: usize = 20;

/// Puts and gets name an entry, scans a key.
struct Calls {
    entries: Vec<Event>,
    scans: Vec<Event>,
}

impl Calls {
    fn of(&self, phase: usize) -> &[Event] {
        if phase == SCAN { &self.scans } else { &self.entries }
    }
}

/// Entry numbers go through the keys, so that the entries of a key are far apart.
struct Entry {
    key: u64,
    user_key: u64,
}

impl Entry {
    #[inline(always)]
    fn of(event: Event) -> Self {
        let number = event.key();
        Entry { key: number / ENTRIES, user_key: number % ENTRIES * 3 }
    }
}

struct RowMaps {
    rows: KeyedRows,
    map: MapState<u64, u64>,
}

impl RowMaps {
    fn new(options: &Options, files: Option<Files>) -> Result<Self> {
        let mut registrar = StateRegistrar::new::<u64>("map");
        let map = registrar.register_map(&MapStateDescriptor::<u64, u64>::new("entries"))?;
        Ok(RowMaps { rows: KeyedRows::new(options, registrar, files)?, map })
    }
}

#[inline(always)]
fn call(
    map: &MapState<u64, u64>,
    rows: &mut RowStore<u64>,
    hash: KeyHash,
    (event, phase): (Event, usize),
) -> Result<u64> {
    let Entry { key, user_key } = Entry::of(event);
    let (mut cursor, _) = rows.enter(hash, &key)?;
    let row = cursor.row_id();
    let answer = match phase {
        0 => {
            map.put(&mut cursor, user_key, event.amount())?;
            1
        }
        1 => map.get(&cursor, &user_key)?.unwrap_or(0),
        _ => map.iter(&cursor, |entries| entries.fold(0, |sum, (_, value)| sum + value))?,
    };
    row.into_iter().for_each(|row| rows.release(row));
    Ok(answer)
}

impl Side<Calls> for RowMaps {
    fn run(&mut self, calls: &Calls, phase: usize) -> Result<Answer> {
        let RowMaps { rows, map } = self;
        rows.begin_phase(phase);
        let events = calls.of(phase);
        let key = |event: &Event| Entry::of(*event).key;
        let digest =
            rows.for_each(events, key, |rows, hash, event| call(map, rows, hash, (event, phase)))?;
        Ok(Answer { operations: events.len() as u64, digest })
    }

    fn settle(&mut self) -> Result<()> {
        self.rows.settle()
    }

    fn barrier_count(&self) -> u64 {
        self.rows.files().map_or(0, Files::barrier_count)
    }
}

impl Single<Event> for RowMaps {
    fn single(&mut self, event: &Event, phase: usize) -> Result<u64> {
        let hash = Entry::of(*event).key.key_hash();
        call(&self.map, &mut self.rows.rows, hash, (*event, phase))
    }
}

struct PlainMaps(PlainMap<u64, PlainMap<u64, u64>>);

impl PlainMaps {
    #[inline(always)]
    fn call(&mut self, event: Event, phase: usize) -> u64 {
        let Entry { key, user_key } = Entry::of(event);
        match phase {
            0 => {
                self.0.entry(key).or_default().insert(user_key, event.amount());
                1
            }
            1 => self.0.get(&key).and_then(|map| map.get(&user_key)).copied().unwrap_or(0),
            _ => self.0.get(&key).map_or(0, |map| map.values().sum()),
        }
    }
}

impl Side<Calls> for PlainMaps {
    fn run(&mut self, calls: &Calls, phase: usize) -> Result<Answer> {
        let events = calls.of(phase);
        let digest = events.iter().map(|event| self.call(*event, phase));
        let digest = digest.fold(0, u64::wrapping_add);
        Ok(Answer { operations: events.len() as u64, digest })
    }
}

impl Single<Event> for PlainMaps {
    fn single(&mut self, event: &Event, phase: usize) -> Result<u64> {
        Ok(self.call(*event, phase))
    }
}

/// Puts every entry once.
fn fill(side: &mut impl Single<Event>, keys: u64, longest: &mut Longest) -> Result<()> {
    every_key(keys * ENTRIES)
        .try_for_each(|entry| longest.time(|| side.single(&Event::new(entry, 1), 0)).map(drop))
}

pub(super) fn run(options: &Options) -> Result<()> {
    let ticks = Ticks::calibrate();
    let mut runs = Runs::new(options, ticks, "map")?;
    let mut ours = grow(
        ticks,
        options.growths,
        || RowMaps::new(options, runs.next_files()?),
        |maps, longest| {
            fill(maps, options.keys, longest)?;
            maps.rows.grown()
        },
    )?;
    let mut plain = grow(
        ticks,
        1,
        || {
            Ok(PlainMaps(PlainMap::with_capacity_and_hasher(
                options.keys as usize,
                Default::default(),
            )))
        },
        |maps, longest| fill(maps, options.keys, longest),
    )?;

    let mut events = Events::new(options.keys * ENTRIES, options.zipf);
    let mut calls = |count: usize| {
        let (mut entries, mut scans) = (Vec::new(), Vec::new());
        events.fill(&mut entries, count);
        events.fill(&mut scans, count.div_ceil(SCAN_COST));
        Calls { entries, scans }
    };
    let prepare = || calls(options.slice);
    let rates = alternate::<_, 3>(options, prepare, &mut ours.table, &mut plain.table)?;
    let singles = calls(single_count(options));
    for (phase, (bench, rates)) in PHASES.into_iter().zip(&rates).enumerate() {
        let calls = (singles.of(phase), phase);
        let latencies = time_singles(ticks, calls, &mut ours.table, &mut plain.table)?;
        PhaseReport {
            bench,
            baseline: "hashbrown",
            options,
            rates,
            latencies,
            growths: [&ours.figures, &plain.figures],
            checkpoints: ours.table.rows.files().map(|files| files.figures_of(phase)),
        }
        .print();
    }
    Ok(())
}
