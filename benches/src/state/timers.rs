//! The hold model: with so many timers standing, a key each, the earliest fires and its key registers
//! another up to a minute after it; every fourth time a record of another key moves that key's timer.
//! The baseline is an ordered set of times and key numbers, which keeps no keys. Timers of one time fire in the order of
//! their registration on both sides.

use std::collections::BTreeSet;

use thalweg::Result;
use thalweg::state::TimeDomain::EventTime;
use thalweg::state::{Key, KeyedTimers, Progress, RowStore, StateError, StateRegistrar};

use super::Options;
use super::files::{Files, Runs, Table};
use super::growth::grow;
use super::pairing::{Answer, Side, alternate};
use super::report::PhaseReport;
use super::single_calls::{Single, single_count, time_singles};
use super::stopwatch::{Longest, Ticks};
use crate::digest::splitmix64;

/// Timers lie within this time of the one that is popped.
const SPREAD_MS: u64 = 60_000;
/// Every so many steps a timer is deleted and registered again.
const MOVE_EVERY: u64 = 4;
/// Steps are shorter slices than updates.
const STEP_COST: usize = 4;

/// A set of timers, one for each number.
trait Timers {
    fn register(&mut self, at_ms: i64, number: u64) -> Result<()>;
    /// Takes the earliest out and registers it again, at what `next_ms` makes of it.
    fn fire(&mut self, next_ms: impl FnOnce(i64, u64) -> i64) -> Result<(i64, u64)>;
    /// Deletes a timer and registers it again.
    fn change(&mut self, number: u64, from_ms: i64, to_ms: i64) -> Result<()>;
    /// All timers are there.
    fn grown(&mut self) -> Result<()> {
        Ok(())
    }
    /// What is done after a batch of steps.
    fn after_batch(&mut self, _steps: usize) -> Result<()> {
        Ok(())
    }
    fn settle(&mut self) -> Result<()> {
        Ok(())
    }
    fn files(&self) -> Option<&Files> {
        None
    }
}

/// Timers and the rows of their keys.
struct RowTimers {
    rows: RowStore<u64>,
    timers: KeyedTimers,
}

impl Table for RowTimers {
    fn barrier(&mut self) -> Result<(), StateError> {
        self.timers.barrier();
        self.rows.barrier().map(drop)
    }

    fn beat(&mut self, rows_max: usize) -> Result<Progress, StateError> {
        let mut progress = self.rows.beat(rows_max)?;
        if !self.timers.beat(&mut self.rows, rows_max)? {
            progress.epochs_unfinished = progress.epochs_unfinished.max(1);
        }
        Ok(progress)
    }

    fn restore_step(&mut self) -> Result<bool, StateError> {
        self.rows.restore_step()
    }
}

/// Our side.
struct Keyed {
    table: RowTimers,
    files: Option<Files>,
}

impl Keyed {
    fn new(files: Option<Files>) -> Result<Self> {
        let registrar = StateRegistrar::new::<u64>("timers");
        let table = match &files {
            None => RowTimers { rows: RowStore::new(registrar)?, timers: KeyedTimers::new() },
            Some(files) => {
                let mut rows = RowStore::new_in(registrar, files.store(), "rows")?;
                let timers = KeyedTimers::new_in(files.store(), "timers", &mut rows)?;
                RowTimers { rows, timers }
            }
        };
        Ok(Keyed { table, files })
    }
}

impl Timers for Keyed {
    fn register(&mut self, at_ms: i64, number: u64) -> Result<()> {
        let RowTimers { rows, timers } = &mut self.table;
        let (mut cursor, _) = rows.enter(number.key_hash(), &number)?;
        let row = cursor.row_id();
        timers.register(EventTime, at_ms, &mut cursor);
        row.into_iter().for_each(|row| rows.release(row));
        Ok(())
    }

    #[inline(always)]
    fn fire(&mut self, next_ms: impl FnOnce(i64, u64) -> i64) -> Result<(i64, u64)> {
        let RowTimers { rows, timers } = &mut self.table;
        let due = timers.pop_due(EventTime, i64::MAX).ok_or("a timer is always standing")?;
        timers.upcoming(EventTime).into_iter().for_each(|row| rows.hint_id(row));
        let (at_ms, row) = (due.timestamp_ms(), due.row());
        let (mut cursor, number) = rows.cursor(row)?;
        let number = *number;
        timers.register(EventTime, next_ms(at_ms, number), &mut cursor);
        due.unpin(&mut cursor);
        rows.release(row);
        Ok((at_ms, number))
    }

    #[inline(always)]
    fn change(&mut self, number: u64, from_ms: i64, to_ms: i64) -> Result<()> {
        let RowTimers { rows, timers } = &mut self.table;
        let (mut cursor, _) = rows.enter(number.key_hash(), &number)?;
        let row = cursor.row_id();
        timers.delete(EventTime, from_ms, &mut cursor);
        timers.register(EventTime, to_ms, &mut cursor);
        row.into_iter().for_each(|row| rows.release(row));
        Ok(())
    }

    fn grown(&mut self) -> Result<()> {
        match &mut self.files {
            Some(files) => files.first_checkpoint(&mut self.table),
            None => Ok(()),
        }
    }

    fn after_batch(&mut self, steps: usize) -> Result<()> {
        match &mut self.files {
            Some(files) => files.after_batch(&mut self.table, steps),
            None => Ok(()),
        }
    }

    fn settle(&mut self) -> Result<()> {
        match &mut self.files {
            Some(files) => files.settle(&mut self.table),
            None => Ok(()),
        }
    }

    fn files(&self) -> Option<&Files> {
        self.files.as_ref()
    }
}

/// Time, how many were registered before, and number of each timer.
#[derive(Default)]
struct Ordered {
    timers: BTreeSet<(i64, u64, u64)>,
    /// When each number's timer was registered.
    registered: Vec<u64>,
    registrations: u64,
}

impl Timers for Ordered {
    #[inline(always)]
    fn register(&mut self, at_ms: i64, number: u64) -> Result<()> {
        let index = number as usize;
        if index >= self.registered.len() {
            self.registered.resize(index + 1, 0);
        }
        self.registered[index] = self.registrations;
        self.timers.insert((at_ms, self.registrations, number));
        self.registrations += 1;
        Ok(())
    }

    #[inline(always)]
    fn fire(&mut self, next_ms: impl FnOnce(i64, u64) -> i64) -> Result<(i64, u64)> {
        let (at_ms, _, number) = self.timers.pop_first().ok_or("a timer is always standing")?;
        self.register(next_ms(at_ms, number), number)?;
        Ok((at_ms, number))
    }

    #[inline(always)]
    fn change(&mut self, number: u64, from_ms: i64, to_ms: i64) -> Result<()> {
        self.timers.remove(&(from_ms, self.registered[number as usize], number));
        self.register(to_ms, number)
    }
}

/// A set of timers in the hold model.
struct Hold<T> {
    timers: T,
    /// When each timer is due.
    due_ms: Vec<i64>,
    step: u64,
    batch: usize,
}

impl<T: Timers> Hold<T> {
    fn new(options: &Options, timers: T) -> Self {
        let due_ms = (0..options.keys).map(|number| next_ms(0, number, 0)).collect();
        Hold { timers, due_ms, step: 0, batch: options.batch }
    }

    fn fill(&mut self, longest: &mut Longest) -> Result<()> {
        for (number, at_ms) in (0..).zip(&self.due_ms) {
            longest.time(|| self.timers.register(*at_ms, number))?;
        }
        self.timers.grown()
    }

    #[inline(always)]
    fn step(&mut self) -> Result<u64> {
        let Hold { timers, due_ms, step, .. } = self;
        let (now_ms, number) = timers.fire(|now_ms, number| {
            due_ms[number as usize] = next_ms(now_ms, number, *step);
            due_ms[number as usize]
        })?;
        *step += 1;
        if step.is_multiple_of(MOVE_EVERY) {
            let moved = splitmix64(*step) % due_ms.len() as u64;
            let to_ms = next_ms(now_ms, moved, *step);
            let from_ms = std::mem::replace(&mut due_ms[moved as usize], to_ms);
            timers.change(moved, from_ms, to_ms)?;
        }
        Ok(now_ms as u64 ^ number)
    }
}

/// When a timer that fires or is moved now, is due next.
fn next_ms(now_ms: i64, number: u64, step: u64) -> i64 {
    now_ms + 1 + (splitmix64(number ^ step << 32) % SPREAD_MS) as i64
}

impl<T: Timers> Side<usize> for Hold<T> {
    fn run(&mut self, steps: &usize, _phase: usize) -> Result<Answer> {
        let (mut digest, mut left) = (0_u64, *steps);
        while left > 0 {
            let count = left.min(self.batch);
            for _ in 0..count {
                digest = digest.wrapping_add(self.step()?);
            }
            self.timers.after_batch(count)?;
            left -= count;
        }
        Ok(Answer { operations: *steps as u64, digest })
    }

    fn settle(&mut self) -> Result<()> {
        self.timers.settle()
    }

    fn barrier_count(&self) -> u64 {
        self.timers.files().map_or(0, Files::barrier_count)
    }
}

impl<T: Timers> Single<()> for Hold<T> {
    fn single(&mut self, _call: &(), _phase: usize) -> Result<u64> {
        self.step()
    }
}

pub(super) fn run(options: &Options) -> Result<()> {
    let ticks = Ticks::calibrate();
    let mut runs = Runs::new(options, ticks, "timers")?;
    let mut ours = grow(
        ticks,
        options.growths,
        || Ok(Hold::new(options, Keyed::new(runs.next_files()?)?)),
        Hold::fill,
    )?;
    let mut plain = grow(ticks, 1, || Ok(Hold::new(options, Ordered::default())), Hold::fill)?;
    let steps = options.slice.div_ceil(STEP_COST);
    let [rates] = alternate::<_, 1>(options, || steps, &mut ours.table, &mut plain.table)?;
    let calls = vec![(); single_count(options)];
    let latencies = time_singles(ticks, (&calls, 0), &mut ours.table, &mut plain.table)?;
    PhaseReport {
        bench: "timers",
        baseline: "btreeset",
        options,
        rates: &rates,
        latencies,
        growths: [&ours.figures, &plain.figures],
        checkpoints: ours.table.timers.files().map(Files::figures),
    }
    .print();
    Ok(())
}
