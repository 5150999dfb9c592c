//! Jobs whose types change from one process to the next: the first program stops in the midst of everything, the second one
//! goes on with other declarations, stops, and goes on once more. Each number is counted once, wherever it was kept meanwhile.
//!
//! The programs are the same text with other types: `program!` writes them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "jobs that last long enough to be stopped")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use thalweg::config::{RestartKind, StateBackend};
use thalweg::prelude::*;

const KEYS: i64 = 20;
const NUMBERS: i64 = 12_000;

mod old {
    #[thalweg::record]
    #[derive(Clone, Debug, PartialEq)]
    pub(crate) struct Entry {
        number: i32,
        note: String,
        dropped: u64,
        kind: Kind,
    }

    #[thalweg::record]
    #[derive(Clone, Debug, PartialEq)]
    enum Kind {
        Even,
        Odd { number: u16 },
    }

    impl Entry {
        pub(crate) fn of(number: i64) -> Self {
            let kind = match number % 2 {
                0 => Kind::Even,
                _ => Kind::Odd { number: number as u16 },
            };
            Entry { number: number as i32, note: super::note(number), dropped: 9, kind }
        }
        pub(crate) fn number(&self) -> i64 {
            self.number.into()
        }
        pub(crate) fn add(&mut self, other: &Self) {
            self.number += other.number;
        }
        pub(crate) fn is_sound(&self) -> bool {
            self.dropped == 9
        }
    }

    #[thalweg::record]
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub(crate) struct Sum {
        sum: i32,
        count: u32,
    }

    impl Sum {
        pub(crate) fn add(&mut self, number: i64) {
            self.sum += number as i32;
            self.count += 1;
        }
        pub(crate) fn merge(&mut self, other: &Self) {
            self.sum += other.sum;
            self.count += other.count;
        }
        pub(crate) fn total(&self) -> i64 {
            self.sum.into()
        }
    }
}

mod new {
    #[thalweg::record]
    #[derive(Clone, Debug, PartialEq)]
    #[thalweg(removed(dropped))]
    pub(crate) struct Entry {
        #[thalweg(default = before)]
        since: String,
        kind: Kind,
        note: Option<String>,
        #[thalweg(renamed_from = "number")]
        value: i64,
    }

    fn before() -> String {
        "before".into()
    }

    #[thalweg::record]
    #[derive(Clone, Debug, PartialEq)]
    enum Kind {
        Unknown,
        Even,
        #[thalweg(renamed_from = "Odd")]
        Uneven {
            number: u64,
            #[thalweg(default)]
            is_prime: bool,
        },
    }

    impl Entry {
        pub(crate) fn of(number: i64) -> Self {
            let kind = match number % 2 {
                0 => Kind::Even,
                _ => Kind::Uneven { number: number as u64, is_prime: true },
            };
            let note = Some(super::note(number));
            Entry { since: "now".into(), kind, note, value: number }
        }
        pub(crate) fn number(&self) -> i64 {
            self.value
        }
        pub(crate) fn add(&mut self, other: &Self) {
            self.value += other.value;
        }
        pub(crate) fn is_sound(&self) -> bool {
            let is_new = match self.since.as_str() {
                "now" => true,
                "before" => false,
                _ => return false,
            };
            let kind_is_sound = match self.kind {
                Kind::Unknown => false,
                Kind::Even => true,
                Kind::Uneven { number, is_prime } => number % 2 == 1 && is_prime == is_new,
            };
            kind_is_sound && self.note.as_ref().is_some_and(|note| note.starts_with("note of"))
        }
    }

    #[thalweg::record]
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    #[thalweg(migrate_from = SumBefore, with = split)]
    pub(crate) struct Sum {
        positive: i64,
        negative: i64,
    }

    /// As the old program declares it.
    #[thalweg::record]
    struct SumBefore {
        sum: i32,
        count: u32,
    }

    fn split(before: SumBefore) -> Sum {
        let sum = i64::from(before.sum);
        Sum { positive: sum + i64::from(before.count), negative: -i64::from(before.count) }
    }

    impl Sum {
        pub(crate) fn add(&mut self, number: i64) {
            self.positive += number;
        }
        pub(crate) fn merge(&mut self, other: &Self) {
            self.positive += other.positive;
            self.negative += other.negative;
        }
        pub(crate) fn total(&self) -> i64 {
            self.positive + self.negative
        }
    }
}

/// Undeclared: a field is gone, a number is narrower.
mod wrong {
    pub(crate) use super::old::Sum;

    #[thalweg::record]
    #[derive(Clone, Debug, PartialEq)]
    pub(crate) struct Entry {
        number: u8,
        note: String,
    }

    impl Entry {
        pub(crate) fn of(number: i64) -> Self {
            Entry { number: number as u8, note: super::note(number) }
        }
        pub(crate) fn number(&self) -> i64 {
            self.number.into()
        }
        pub(crate) fn add(&mut self, other: &Self) {
            self.number = self.number.wrapping_add(other.number);
        }
        pub(crate) fn is_sound(&self) -> bool {
            true
        }
    }
}

fn note(number: i64) -> String {
    format!("note of {number}, longer than what lies inline")
}

/// What the branches of a program tell.
struct Told {
    /// Running sums by key, of a function with all kinds of state.
    kept: Collected<(i64, i64)>,
    /// Running sums by key, of a flat table.
    scanned: Collected<(i64, i64)>,
    /// Sums of windows: by accumulators in tables, by elements, by sessions, by a trigger, and of pairs that were joined.
    windows: [Collected<i64>; 5],
}

/// All rows of the runs of a job.
#[derive(Default)]
struct Rows {
    kept: Vec<(i64, i64)>,
    scanned: Vec<(i64, i64)>,
    windows: [Vec<i64>; 5],
}

impl Rows {
    fn add(&mut self, told: &Told) {
        self.kept.extend(told.kept.take());
        self.scanned.extend(told.scanned.take());
        self.windows
            .iter_mut()
            .zip(&told.windows)
            .for_each(|(rows, told)| rows.extend(told.take()));
    }

    fn check(&self, backend: StateBackend) {
        let mut sums = BTreeMap::new();
        (1..=NUMBERS).for_each(|n| *sums.entry(n % KEYS).or_insert(0) += n);
        let highest = |rows: &[(i64, i64)]| {
            let mut highest = BTreeMap::new();
            rows.iter().for_each(|(key, sum)| {
                let known: &mut i64 = highest.entry(*key).or_default();
                *known = (*known).max(*sum);
            });
            highest
        };
        assert_eq!(highest(&self.kept), sums, "{backend:?}");
        assert_eq!(highest(&self.scanned), sums, "{backend:?}");
        let total = NUMBERS * (NUMBERS + 1) / 2;
        let totals: Vec<i64> = self.windows.iter().map(|rows| rows.iter().sum()).collect();
        assert_eq!(totals, [total; 5], "{backend:?}: panes, elements, sessions, triggered, joined");
    }
}

/// A program with the types of a module.
macro_rules! program {
    ($program:ident, $types:ident) => {
        mod $program {
            use super::$types::{Entry, Sum};
            use super::*;

            /// Adds up sums.
            #[derive(Clone)]
            struct Adding;

            impl AggregateFunction<i64> for Adding {
                type Accumulator = Sum;
                type Result = i64;
                fn create_accumulator(&self) -> Sum {
                    Sum::default()
                }
                fn add(&self, sum: &mut Sum, number: &i64) {
                    sum.add(*number);
                }
                fn result(&self, sum: &Sum) -> i64 {
                    sum.total()
                }
                fn merge(&self, into: &mut Sum, other: &Sum) {
                    into.merge(other);
                }
            }

            /// All kinds of keyed state, which have to agree.
            #[derive(Clone, Default)]
            struct Keeper {
                value: ValueState<Entry>,
                list: ListState<Entry>,
                map: MapState<u8, Entry>,
                reduced: ReducingState<Entry>,
                aggregated: AggregatingState<i64, Sum, i64>,
            }

            impl KeyedProcessFunction for Keeper {
                type Key = i64;
                type In = i64;
                type Out = (i64, i64);

                fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
                    self.value = context.value_state(ValueStateDescriptor::new("value"))?;
                    self.list = context.list_state(ListStateDescriptor::new("list"))?;
                    self.map = context.map_state(MapStateDescriptor::new("map"))?;
                    let reduced =
                        ReducingStateDescriptor::new("reduced", |a: &mut Entry, b: Entry| {
                            a.add(&b)
                        });
                    self.reduced = context.reducing_state(reduced)?;
                    let aggregated = AggregatingStateDescriptor::new("aggregated", Adding);
                    self.aggregated = context.aggregating_state(aggregated)?;
                    Ok(())
                }

                fn process_element(
                    &mut self,
                    n: i64,
                    context: &mut Context<'_, i64>,
                    out: &mut Collector<'_, (i64, i64)>,
                ) -> thalweg::Result<()> {
                    let entry = Entry::of(n);
                    let value = match self.value.value(context)? {
                        None => entry.clone(),
                        Some(mut value) => {
                            assert!(value.is_sound(), "{value:?}");
                            value.add(&entry);
                            value
                        }
                    };
                    let total = value.number();
                    self.value.update(context, value)?;
                    self.list.add(context, entry.clone())?;
                    self.map.put(context, (n / KEYS % 200) as u8, entry.clone())?;
                    self.reduced.add(context, entry)?;
                    self.aggregated.add(context, n)?;
                    if n % 5 == 0 {
                        let list = self.list.get(context)?;
                        assert!(list.iter().all(Entry::is_sound), "{list:?}");
                        assert_eq!(list.iter().map(Entry::number).sum::<i64>(), total);
                        let mut entries = self.map.entries(context)?;
                        assert!(entries.iter().all(|(_, entry)| entry.is_sound()), "{entries:?}");
                        entries.retain(|(at, entry)| entry.number() / KEYS % 200 != i64::from(*at));
                        assert!(entries.is_empty(), "{entries:?}");
                        assert_eq!(self.reduced.get(context)?.map(|sum| sum.number()), Some(total));
                        assert_eq!(self.aggregated.get(context)?, Some(total));
                    }
                    out.collect((n % KEYS, total));
                    Ok(())
                }
            }

            /// Adds up the elements of windows.
            #[derive(Clone)]
            struct Elements;

            impl ProcessWindowFunction for Elements {
                type Key = i64;
                type In = Entry;
                type Out = i64;
                type Window = TimeWindow;
                fn process(
                    &mut self,
                    _: &i64,
                    _: &mut WindowContext<'_, TimeWindow>,
                    all: &[Entry],
                    out: &mut Collector<'_, i64>,
                ) -> thalweg::Result<()> {
                    assert!(all.iter().all(Entry::is_sound), "{all:?}");
                    out.collect(all.iter().map(Entry::number).sum());
                    Ok(())
                }
            }

            pub(super) fn write(env: &StreamExecutionEnvironment, read: Arc<AtomicI64>) -> Told {
                let numbers = env.from_sequence(1..=NUMBERS).uid("numbers").map(move |n| {
                    read.fetch_add(1, Ordering::Relaxed);
                    if n % 20 == 0 {
                        std::thread::sleep(Duration::from_micros(300));
                    }
                    n
                });
                let out_of_order = WatermarkStrategy::bounded_out_of_orderness(milliseconds(300));
                let numbers = numbers
                    .assign_timestamps_and_watermarks(out_of_order.with_timestamp(|n: &i64| *n))
                    .uid("times")
                    .boxed();
                let entries = numbers.clone().map(Entry::of).boxed();
                let key_of = |entry: &Entry| entry.number() % KEYS;
                let kept = numbers.clone().key_by(|n| n % KEYS).process(Keeper::default());
                let scanned = numbers.clone().key_by(|n| n % KEYS);
                let scanned = scanned.scan(Sum::default(), |sum, n| {
                    sum.add(n);
                    (n % KEYS, sum.total())
                });
                let panes = numbers
                    .clone()
                    .key_by(|n| n % KEYS)
                    .window(TumblingEventTimeWindows::of(milliseconds(5_000)))
                    .aggregate(Adding);
                let elements = entries
                    .clone()
                    .key_by(key_of)
                    .window(TumblingEventTimeWindows::of(milliseconds(5_000)))
                    .process(Elements);
                let sessions = numbers
                    .clone()
                    .key_by(|n| n % KEYS)
                    .window(EventTimeSessionWindows::with_gap(milliseconds(200)))
                    .aggregate(Adding);
                let triggered = numbers
                    .key_by(|n| n % KEYS)
                    .window(GlobalWindows::create())
                    .trigger(PurgingTrigger::of(CountTrigger::of(50)))
                    .aggregate(Adding);
                let joined = entries
                    .clone()
                    .key_by(key_of)
                    .interval_join(entries.key_by(key_of))
                    .between_ms(0, 0)
                    .apply(|left, right| {
                        assert!(left.is_sound() && right.is_sound(), "{left:?} {right:?}");
                        (left.number() + right.number()) / 2
                    });
                Told {
                    kept: kept.uid("keeper").name("keeper").collect(),
                    scanned: scanned.uid("scan").collect(),
                    windows: [
                        panes.uid("panes").collect(),
                        elements.uid("elements").collect(),
                        sessions.uid("sessions").collect(),
                        triggered.uid("triggered").collect(),
                        joined.uid("joined").collect(),
                    ],
                }
            }
        }
    };
}

program!(old_program, old);
program!(new_program, new);
program!(wrong_program, wrong);

fn env(backend: StateBackend, directory: &Path) -> StreamExecutionEnvironment {
    let env = StreamExecutionEnvironment::new();
    env.set_parallelism(2);
    env.configure(|c| c.state_backend(backend).batch_records(64));
    env.configure(|c| c.restart_strategy(RestartKind::Never));
    env.enable_checkpointing(Duration::from_millis(20)).at(directory);
    env
}

type Write = fn(&StreamExecutionEnvironment, Arc<AtomicI64>) -> Told;

/// Runs a program until so many numbers were read by all runs, stops it, and keeps its rows.
fn run(
    write: Write,
    (backend, directory): (StateBackend, &Path),
    read: &Arc<AtomicI64>,
    until: i64,
    rows: &mut Rows,
) -> Result<(), String> {
    let env = env(backend, directory);
    let told = write(&env, read.clone());
    let job = env.execute_async("evolving").map_err(|error| error.to_string())?;
    while until < NUMBERS && !job.is_finished() && read.load(Ordering::Relaxed) < until {
        std::thread::sleep(Duration::from_micros(200));
    }
    if until < NUMBERS {
        job.stop();
    }
    job.wait().map_err(|error| error.to_string())?;
    rows.add(&told);
    Ok(())
}

fn state_of_all_kinds_goes_on_with_new_types(backend: StateBackend) {
    let directory = tempfile::tempdir().unwrap();
    let place = (backend, directory.path());
    let (read, mut rows) = (Arc::new(AtomicI64::new(0)), Rows::default());
    run(old_program::write, place, &read, NUMBERS / 3, &mut rows).unwrap();
    assert!(read.load(Ordering::Relaxed) < NUMBERS, "it was stopped before the end");

    let before = read.load(Ordering::Relaxed);
    let refused = run(wrong_program::write, place, &read, NUMBERS, &mut rows).unwrap_err();
    assert_eq!(read.load(Ordering::Relaxed), before, "nothing was read before it was refused");
    let told = [
        "field '",
        "Entry{number:i32,note:String,dropped:u64",
        "Entry{number:u8,note:String}",
        "`#[thalweg(",
    ];
    for part in told {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    let operators = ["'keeper'", "'elements'", "'joined'"];
    assert!(
        operators.iter().any(|name| refused.contains(name)) || refused.contains("operator"),
        "{refused}"
    );

    run(new_program::write, place, &read, 2 * NUMBERS / 3, &mut rows).unwrap();
    run(new_program::write, place, &read, NUMBERS, &mut rows).unwrap();
    assert_eq!(read.load(Ordering::Relaxed), NUMBERS, "each number was read once");
    rows.check(backend);
}

#[test]
fn state_in_files_goes_on_with_new_types() {
    state_of_all_kinds_goes_on_with_new_types(StateBackend::Lsm);
}

#[test]
fn state_in_memory_goes_on_with_new_types() {
    state_of_all_kinds_goes_on_with_new_types(StateBackend::Memory);
}
