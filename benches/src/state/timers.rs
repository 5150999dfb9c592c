//! The hold model: with so many timers standing, take the earliest and register another up to a
//! minute after it; every fourth time a timer is deleted and registered again, later.

use std::collections::BTreeSet;

use thalweg::Result;
use thalweg::state::{Key, RowId, RowStore, StateRegistrar, Timer, TimerQueue};

use super::Options;
use super::pairing::{Answer, Side, alternate};
use super::process::anonymous_bytes;
use super::report::Line;
use crate::digest::splitmix64;

/// Timers lie within this time of the one that is popped.
const SPREAD_MS: u64 = 60_000;
/// Every so many steps a timer is deleted and registered again.
const MOVE_EVERY: u64 = 4;

/// A set of timers, by number.
trait Timers {
    fn register(&mut self, at_ms: i64, number: u32);
    fn delete(&mut self, at_ms: i64, number: u32) -> bool;
    fn pop(&mut self) -> Option<(i64, u32)>;
}

struct Queue {
    queue: TimerQueue,
    /// The rows that timers belong to; timers are told apart by their numbers.
    rows: Vec<RowId>,
    _store: RowStore<u64>,
}

impl Queue {
    fn new(timers: u64) -> Result<Self> {
        let mut store = RowStore::<u64>::new(StateRegistrar::new::<u64>("timers"))?;
        let rows = (0..timers).map(|key| store.find_or_insert(key.key_hash(), &key));
        let rows = rows.collect::<std::result::Result<_, _>>()?;
        Ok(Queue { queue: TimerQueue::new(), rows, _store: store })
    }

    fn timer(&self, timestamp_ms: i64, number: u32) -> Timer {
        Timer { timestamp_ms, row: self.rows[number as usize] }
    }
}

impl Timers for Queue {
    fn register(&mut self, at_ms: i64, number: u32) {
        self.queue.register(self.timer(at_ms, number));
    }

    fn delete(&mut self, at_ms: i64, number: u32) -> bool {
        self.queue.delete(self.timer(at_ms, number))
    }

    fn pop(&mut self) -> Option<(i64, u32)> {
        // Rows were handed out in order, so that they are their numbers.
        self.queue.pop_due(i64::MAX).map(|timer| (timer.timestamp_ms, timer.row.as_u32()))
    }
}

impl Timers for BTreeSet<(i64, u32)> {
    fn register(&mut self, at_ms: i64, number: u32) {
        self.insert((at_ms, number));
    }

    fn delete(&mut self, at_ms: i64, number: u32) -> bool {
        self.remove(&(at_ms, number))
    }

    fn pop(&mut self) -> Option<(i64, u32)> {
        self.pop_first()
    }
}

/// A set of timers in the hold model.
struct Hold<T> {
    timers: T,
    /// When each timer is due.
    due_ms: Vec<i64>,
    step: u64,
}

impl<T: Timers> Hold<T> {
    fn new(mut timers: T, count: u64) -> Self {
        let due_ms: Vec<i64> = (0..count).map(|i| spread(0, splitmix64(i))).collect();
        (0..).zip(&due_ms).for_each(|(number, at_ms)| timers.register(*at_ms, number));
        Hold { timers, due_ms, step: 0 }
    }

    #[inline(always)]
    fn step(&mut self) -> u64 {
        let Some((now_ms, number)) = self.timers.pop() else { return 0 };
        self.place(now_ms, number);
        self.step += 1;
        if self.step.is_multiple_of(MOVE_EVERY) {
            let moved = splitmix64(self.step) % self.due_ms.len() as u64;
            if self.timers.delete(self.due_ms[moved as usize], moved as u32) {
                self.place(now_ms, moved as u32);
            }
        }
        now_ms as u64 ^ u64::from(number)
    }

    fn place(&mut self, now_ms: i64, number: u32) {
        let at_ms = spread(now_ms, splitmix64(u64::from(number) ^ self.step << 32));
        self.timers.register(at_ms, number);
        self.due_ms[number as usize] = at_ms;
    }
}

fn spread(now_ms: i64, random: u64) -> i64 {
    now_ms + 1 + (random % SPREAD_MS) as i64
}

impl<T: Timers> Side<u64> for Hold<T> {
    fn run(&mut self, steps: &u64, _phase: usize) -> Result<Answer> {
        let digest = (0..*steps).map(|_| self.step()).fold(0, u64::wrapping_add);
        Ok(Answer { operations: *steps, digest })
    }
}

pub(super) fn run(options: &Options) -> Result<()> {
    let before = anonymous_bytes();
    let mut ours = Hold::new(Queue::new(options.keys)?, options.keys);
    let ours_bytes = anonymous_bytes().saturating_sub(before);
    let mut plain = Hold::new(BTreeSet::new(), options.keys);
    let steps = (options.slice / 4).max(1) as u64;
    let [rates] = alternate::<_, 1>(options, || steps, &mut ours, &mut plain)?;
    Line::new("thalweg", "timers")
        .field("timers", options.keys)
        .number("mops", rates.ours_mops(), 2)
        .mib("rss_mib", ours_bytes)
        .print();
    Line::new("btreeset", "timers").number("mops", rates.plain_mops(), 2).print();
    Line::new("ratio", "timers").number("thalweg/btreeset", rates.ratio(), 3).print();
    Ok(())
}
