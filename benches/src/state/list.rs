//! Lists: ten elements of 16 bytes are appended to each key, in random order; then each list is
//! read and cleared, as a window's contents are.

use thalweg::Result;
use thalweg::state::{KeyHash, ListState, ListStateDescriptor, RowStore, StateRegistrar};

use super::Options;
use super::events::{Event, Events, every_key};
use super::pairing::{Answer, Side, alternate};
use super::plain::PlainMap;
use super::process::anonymous_bytes;
use super::report::{Line, print_ratio};
use super::store::Batch;

/// Elements a key, on average.
const ELEMENTS: u64 = 10;
const PHASES: [&str; 2] = ["list-append", "list-drain"];

/// 16 bytes: a number and an amount.
type Element = (u64, u64);

/// Appends of a window, and the keys in the order in which they are drained.
struct Window {
    appends: Vec<Event>,
    drains: Vec<Event>,
}

struct RowLists {
    rows: RowStore<u64>,
    list: ListState<Element>,
    batch: Batch,
}

impl RowLists {
    fn new(options: &Options) -> Result<Self> {
        let mut registrar = StateRegistrar::new::<u64>("list");
        let list = registrar.register_list(&ListStateDescriptor::<Element>::new("elements"))?;
        let rows = RowStore::new(registrar)?;
        Ok(RowLists { rows, list, batch: Batch::new(options) })
    }

    fn for_each_row(
        &mut self,
        events: &[Event],
        mut apply: impl FnMut(&mut Self, KeyHash, Event) -> Result<u64>,
    ) -> Result<u64> {
        let mut digest = 0_u64;
        for events in events.chunks(self.batch.size) {
            self.batch.begin(&mut self.rows, events.iter().map(|event| event.key()))?;
            for (record, event) in events.iter().enumerate() {
                let hash = self.batch.hash(&self.rows, record);
                digest = digest.wrapping_add(apply(self, hash, *event)?);
            }
        }
        Ok(digest)
    }

    #[inline(always)]
    fn append(&mut self, hash: KeyHash, event: Event) -> Result<u64> {
        let (mut cursor, _) = self.rows.enter(hash, &event.key())?;
        let row = cursor.row_id();
        self.list.add(&mut cursor, element(event))?;
        row.into_iter().for_each(|row| self.rows.release(row));
        Ok(1)
    }

    #[inline(always)]
    fn drain(&mut self, hash: KeyHash, event: Event) -> Result<u64> {
        let (mut cursor, _) = self.rows.enter(hash, &event.key())?;
        let row = cursor.row_id();
        let sum = self.list.iter(&cursor, |elements| elements.fold(0, add_element))?;
        self.list.clear(&mut cursor)?;
        row.into_iter().for_each(|row| self.rows.release(row));
        Ok(sum)
    }
}

impl Side<Window> for RowLists {
    fn run(&mut self, window: &Window, phase: usize) -> Result<Answer> {
        let events = if phase == 0 { &window.appends } else { &window.drains };
        let digest = match phase {
            0 => self.for_each_row(events, Self::append)?,
            _ => self.for_each_row(events, Self::drain)?,
        };
        Ok(Answer { operations: events.len() as u64, digest })
    }
}

struct PlainLists(PlainMap<u64, Vec<Element>>);

impl Side<Window> for PlainLists {
    fn run(&mut self, window: &Window, phase: usize) -> Result<Answer> {
        let events = if phase == 0 { &window.appends } else { &window.drains };
        let mut digest = 0_u64;
        for event in events {
            digest = digest.wrapping_add(match phase {
                0 => {
                    self.0.entry(event.key()).or_default().push(element(*event));
                    1
                }
                _ => {
                    let list = self.0.remove(&event.key()).unwrap_or_default();
                    list.iter().fold(0, add_element)
                }
            });
        }
        Ok(Answer { operations: events.len() as u64, digest })
    }
}

fn element(event: Event) -> Element {
    (event.amount(), event.key())
}

fn add_element(sum: u64, element: &Element) -> u64 {
    sum.rotate_left(5).wrapping_add(element.0 ^ element.1)
}

pub(super) fn run(options: &Options) -> Result<()> {
    let drains: Vec<Event> = every_key(options.keys).map(|key| Event::new(key, 0)).collect();
    let mut events = Events::new(options.keys, options.zipf);
    let prepare = || {
        let mut appends = Vec::new();
        events.fill(&mut appends, (options.keys * ELEMENTS) as usize);
        Window { appends, drains: drains.clone() }
    };
    let before = anonymous_bytes();
    let mut ours = RowLists::new(options)?;
    let mut plain =
        PlainLists(PlainMap::with_capacity_and_hasher(options.keys as usize, Default::default()));
    let rates = alternate::<_, 2>(options, prepare, &mut ours, &mut plain)?;
    let resident = anonymous_bytes().saturating_sub(before);
    for (phase, rates) in PHASES.into_iter().zip(&rates) {
        Line::new("thalweg", phase)
            .field("keys", options.keys)
            .number("mops", rates.ours_mops(), 2)
            .mib("rss_both_mib", resident)
            .print();
        Line::new("hashbrown", phase).number("mops", rates.plain_mops(), 2).print();
        print_ratio(phase, rates);
    }
    Ok(())
}
