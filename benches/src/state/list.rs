//! Lists: ten elements of 16 bytes are appended to each key, in random order; then each list is
//! read and cleared, as a window's contents are.

use thalweg::Result;
use thalweg::state::{Key, KeyHash, ListState, ListStateDescriptor, RowStore, StateRegistrar};

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

impl Window {
    fn of(&self, phase: usize) -> &[Event] {
        if phase == 0 { &self.appends } else { &self.drains }
    }
}

struct RowLists {
    rows: KeyedRows,
    list: ListState<Element>,
}

impl RowLists {
    fn new(options: &Options, files: Option<Files>) -> Result<Self> {
        let mut registrar = StateRegistrar::new::<u64>("list");
        let list = registrar.register_list(&ListStateDescriptor::<Element>::new("elements"))?;
        Ok(RowLists { rows: KeyedRows::new(options, registrar, files)?, list })
    }
}

#[inline(always)]
fn append(
    list: &ListState<Element>,
    rows: &mut RowStore<u64>,
    hash: KeyHash,
    event: Event,
) -> Result<u64> {
    let (mut cursor, _) = rows.enter(hash, &event.key())?;
    let row = cursor.row_id();
    list.add(&mut cursor, element(event))?;
    row.into_iter().for_each(|row| rows.release(row));
    Ok(1)
}

#[inline(always)]
fn drain(
    list: &ListState<Element>,
    rows: &mut RowStore<u64>,
    hash: KeyHash,
    event: Event,
) -> Result<u64> {
    let (mut cursor, _) = rows.enter(hash, &event.key())?;
    let row = cursor.row_id();
    let sum = list.iter(&cursor, |elements| elements.fold(0, add_element))?;
    list.clear(&mut cursor)?;
    row.into_iter().for_each(|row| rows.release(row));
    Ok(sum)
}

impl Side<Window> for RowLists {
    fn run(&mut self, window: &Window, phase: usize) -> Result<Answer> {
        let RowLists { rows, list } = self;
        rows.begin_phase(phase);
        let events = window.of(phase);
        let digest = match phase {
            0 => rows.for_each(
                events,
                |event| event.key(),
                |rows, hash, event| append(list, rows, hash, event),
            )?,
            _ => rows.for_each(
                events,
                |event| event.key(),
                |rows, hash, event| drain(list, rows, hash, event),
            )?,
        };
        Ok(Answer { operations: events.len() as u64, digest })
    }

    fn settle(&mut self) -> Result<()> {
        self.rows.settle()
    }

    fn barrier_count(&self) -> u64 {
        self.rows.files().map_or(0, Files::barrier_count)
    }
}

impl Single<Event> for RowLists {
    fn single(&mut self, event: &Event, phase: usize) -> Result<u64> {
        let (list, rows, hash) = (&self.list, &mut self.rows.rows, event.key().key_hash());
        if phase == 0 { append(list, rows, hash, *event) } else { drain(list, rows, hash, *event) }
    }
}

struct PlainLists(PlainMap<u64, Vec<Element>>);

impl PlainLists {
    #[inline(always)]
    fn call(&mut self, event: Event, phase: usize) -> u64 {
        if phase == 0 {
            self.0.entry(event.key()).or_default().push(element(event));
            return 1;
        }
        let list = self.0.remove(&event.key()).unwrap_or_default();
        list.iter().fold(0, add_element)
    }
}

impl Side<Window> for PlainLists {
    fn run(&mut self, window: &Window, phase: usize) -> Result<Answer> {
        let events = window.of(phase);
        let answers = events.iter().map(|event| self.call(*event, phase));
        let digest = answers.fold(0, u64::wrapping_add);
        Ok(Answer { operations: events.len() as u64, digest })
    }
}

impl Single<Event> for PlainLists {
    fn single(&mut self, event: &Event, phase: usize) -> Result<u64> {
        Ok(self.call(*event, phase))
    }
}

fn element(event: Event) -> Element {
    (event.amount(), event.key())
}

fn add_element(sum: u64, element: &Element) -> u64 {
    sum.rotate_left(5).wrapping_add(element.0 ^ element.1)
}

/// Appends an element to every list, as often as lists have elements.
fn fill(side: &mut impl Single<Event>, keys: u64, longest: &mut Longest) -> Result<()> {
    for _ in 0..ELEMENTS {
        for key in every_key(keys) {
            longest.time(|| side.single(&Event::new(key, 1), 0))?;
        }
    }
    Ok(())
}

pub(super) fn run(options: &Options) -> Result<()> {
    let ticks = Ticks::calibrate();
    let mut runs = Runs::new(options, ticks, "list")?;
    let mut ours = grow(
        ticks,
        options.growths,
        || RowLists::new(options, runs.next_files()?),
        |lists, longest| {
            fill(lists, options.keys, longest)?;
            lists.rows.grown()
        },
    )?;
    let mut plain = grow(
        ticks,
        1,
        || {
            Ok(PlainLists(PlainMap::with_capacity_and_hasher(
                options.keys as usize,
                Default::default(),
            )))
        },
        |lists, longest| fill(lists, options.keys, longest),
    )?;

    let drains: Vec<Event> = every_key(options.keys).map(|key| Event::new(key, 0)).collect();
    let mut events = Events::new(options.keys, options.zipf);
    let mut window = |appends_count: usize| {
        let mut appends = Vec::new();
        events.fill(&mut appends, appends_count);
        Window { appends, drains: drains.clone() }
    };
    let appends_count = (options.keys * ELEMENTS) as usize;
    let rates =
        alternate::<_, 2>(options, || window(appends_count), &mut ours.table, &mut plain.table)?;
    let singles = window(single_count(options));
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
