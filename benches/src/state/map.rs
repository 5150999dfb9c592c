//! Maps of 100 entries: put, get, and a scan of all entries of a key.

use thalweg::Result;
use thalweg::state::{KeyHash, MapState, MapStateDescriptor, RowStore, StateRegistrar};

use super::Options;
use super::events::{Event, Events};
use super::pairing::{Answer, Side, alternate};
use super::plain::PlainMap;
use super::process::anonymous_bytes;
use super::report::{Line, print_ratio};
use super::store::Batch;

/// Entries a map.
const ENTRIES: u64 = 100;
const PHASES: [&str; 3] = ["map-put", "map-get", "map-scan-100"];
/// A scan is worth so many puts or gets.
const SCAN_COST: usize = 20;

/// Puts and gets name an entry, scans a key.
struct Calls {
    entries: Vec<Event>,
    scans: Vec<Event>,
}

impl Calls {
    fn of(&self, phase: usize) -> &[Event] {
        if phase == 2 { &self.scans } else { &self.entries }
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
    rows: RowStore<u64>,
    map: MapState<u64, u64>,
    batch: Batch,
}

impl RowMaps {
    fn new(options: &Options) -> Result<Self> {
        let mut registrar = StateRegistrar::new::<u64>("map");
        let map = registrar.register_map(&MapStateDescriptor::<u64, u64>::new("entries"))?;
        let rows = RowStore::new(registrar)?;
        Ok(RowMaps { rows, map, batch: Batch::new(options) })
    }

    #[inline(always)]
    fn call(&mut self, hash: KeyHash, event: Event, phase: usize) -> Result<u64> {
        let Entry { key, user_key } = Entry::of(event);
        let (mut cursor, _) = self.rows.enter(hash, &key)?;
        let row = cursor.row_id();
        let answer = match phase {
            0 => {
                self.map.put(&mut cursor, user_key, event.amount())?;
                1
            }
            1 => self.map.get(&cursor, &user_key)?.unwrap_or(0),
            _ => {
                self.map.iter(&cursor, |entries| entries.fold(0, |sum, (_, value)| sum + value))?
            }
        };
        row.into_iter().for_each(|row| self.rows.release(row));
        Ok(answer)
    }
}

impl Side<Calls> for RowMaps {
    fn run(&mut self, calls: &Calls, phase: usize) -> Result<Answer> {
        let mut digest = 0_u64;
        for events in calls.of(phase).chunks(self.batch.size) {
            self.batch.begin(&mut self.rows, events.iter().map(|event| Entry::of(*event).key))?;
            for (record, event) in events.iter().enumerate() {
                let hash = self.batch.hash(&self.rows, record);
                digest = digest.wrapping_add(self.call(hash, *event, phase)?);
            }
        }
        Ok(Answer { operations: calls.of(phase).len() as u64, digest })
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

pub(super) fn run(options: &Options) -> Result<()> {
    let mut events = Events::new(options.keys * ENTRIES, options.zipf);
    let prepare = || {
        let (mut entries, mut scans) = (Vec::new(), Vec::new());
        events.fill(&mut entries, options.slice);
        events.fill(&mut scans, options.slice.div_ceil(SCAN_COST));
        Calls { entries, scans }
    };
    let before = anonymous_bytes();
    let mut ours = RowMaps::new(options)?;
    let mut plain =
        PlainMaps(PlainMap::with_capacity_and_hasher(options.keys as usize, Default::default()));
    fill(options, &mut ours, &mut plain)?;
    let rates = alternate::<_, 3>(options, prepare, &mut ours, &mut plain)?;
    let resident = anonymous_bytes().saturating_sub(before);
    for (phase, rates) in PHASES.into_iter().zip(&rates) {
        Line::new("thalweg", phase)
            .field("keys", options.keys)
            .number("mops", rates.ours_mops(), 2)
            .number("ns", 1e3 / rates.ours_mops(), 0)
            .mib("rss_both_mib", resident)
            .print();
        Line::new("hashbrown", phase)
            .number("mops", rates.plain_mops(), 2)
            .number("ns", 1e3 / rates.plain_mops(), 0)
            .print();
        print_ratio(phase, rates);
    }
    Ok(())
}

/// Puts every entry once.
fn fill(options: &Options, ours: &mut RowMaps, plain: &mut PlainMaps) -> Result<()> {
    let entries = super::events::every_key(options.keys * ENTRIES);
    let entries = entries.map(|number| Event::new(number, 1)).collect();
    let calls = Calls { entries, scans: Vec::new() };
    ours.run(&calls, 0)?;
    plain.run(&calls, 0)?;
    Ok(())
}
