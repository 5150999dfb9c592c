//! The timers of one operator in one time domain: registered, deleted and popped in order of time.
//!
//! A hierarchical wheel orders, a hash set decides. `live` holds every registered timer once and is
//! the truth; the wheel, `due` and `early` hold at least all live ones and are checked against it
//! when a timer comes up, so a deletion costs one hash operation and leaves a stale entry behind.
//! ```text
//! register ─► live ─┬─► at or after base ──► wheel (11 levels of 64 slots; see `wheel`) ─► due: all of one timestamp
//!                   └─► before base ───────► early: a BTreeSet
//! pop_due ◄── the first of due and early that is live
//! ```
//! [`KeyedTimers`] has two of them, for the two domains, pins the rows and, where there is a
//! persistent tier, writes the timers there: the net change of an epoch (`changes`, `timer_table`).
//!
//! Ties are popped in the order of their registration, also after a restart: registrations are
//! numbered, and the number is written with the timer. (Flink promises no order of ties.) In memory a
//! timer has the number's lower 32 bits, which tell the order of all that were registered within the
//! last 2^32 registrations. Timers may be registered while others are popped, also for the time that
//! is being popped or before it: they come up at once, in order with what is left.
//!
//! **Measured** (2 virtual EPYC cores, shared; 1 M timers standing; pop one and register one within
//! the next 60 s): 6.6 to 8.2 M pairs a second; 4.4 to 4.7 M before the timers of a timestamp were
//! looked up ahead. With [`KeyedTimers`], entering and releasing the row: 5.5 to 5.8 M in memory
//! alone, 3.8 to 3.9 M with a table and a barrier each million pairs, beats included, 2.7 M with one
//! each quarter of a million. A `BTreeSet` of (time, row) alone does 1.9 to 2.3 M pairs in the first
//! loop.
//!
//! **Invariants**
//! - Every live timer is in `early`, `due` or the wheel. Timers before the wheel's base, or at a
//!   base whose slot was taken into `due`, are never in the wheel; so what `due` and `early` hold
//!   comes before all that the wheel holds.
//! - `due` holds timers of one timestamp, the one registered last first.
//! - An entry is live if its timer is registered under its number.
//! - Stale entries are bounded by the live ones: the wheel is rebuilt when they outnumber them.

mod changes;
mod keyed_timers;
mod timer_list;
mod timer_table;
mod wheel;

pub use keyed_timers::{DueTimer, KeyedTimers, TimeDomain};

use std::collections::BTreeSet;

use hashbrown::hash_table::Entry;

use crate::{KeyHash, KeyHasher, PrefetchTable, RowId};
use wheel::Wheel;

/// How many timers ahead of popping one it is looked up and its row prefetched.
const AHEAD: usize = 6;

/// Stale entries up to this number are not worth a rebuild.
const STALE_ALLOWED: usize = 1024;

/// A timer: when, and for the key of which row. The row must stay pinned while its timer is
/// registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timer {
    /// The timestamp at which it is due, in milliseconds; any `i64`.
    pub timestamp_ms: i64,
    /// The row of its key.
    pub row: RowId,
}

impl Timer {
    fn hash(self) -> KeyHash {
        let mut hasher = KeyHasher::new();
        hasher.write_u64(self.timestamp_ms as u64);
        hasher.write_u32(self.row.as_u32());
        hasher.finish()
    }
}

/// A timer and the lower bits of its registration's number: in bytes that a [`Timer`] has anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Queued {
    timestamp_ms: i64,
    row: RowId,
    order: u32,
}

const _: () = assert!(size_of::<Queued>() == size_of::<Timer>());

impl Queued {
    #[inline]
    fn new(timer: Timer, order: u32) -> Self {
        Queued { timestamp_ms: timer.timestamp_ms, row: timer.row, order }
    }

    #[inline]
    fn timer(self) -> Timer {
        Timer { timestamp_ms: self.timestamp_ms, row: self.row }
    }
}

/// A registered timer, and what its owner has noted about it. Packed: a fifth less to look through.
#[derive(Clone, Copy)]
#[repr(C, packed(4))]
struct LiveTimer {
    timestamp_ms: i64,
    row: RowId,
    order: u32,
    note: u32,
}

const _: () = assert!(size_of::<LiveTimer>() == 20);

impl LiveTimer {
    #[inline]
    fn timer(self) -> Timer {
        Timer { timestamp_ms: self.timestamp_ms, row: self.row }
    }

    #[inline]
    fn queued(self) -> Queued {
        Queued { timestamp_ms: self.timestamp_ms, row: self.row, order: self.order }
    }
}

/// A timer before what the wheel holds, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Early {
    timestamp_ms: i64,
    number: u64,
    row: RowId,
}

/// Timers without duplicates, in order of time.
///
/// # Examples
///
/// ```
/// use thalweg_state::{Key, RowStore, StateRegistrar, Timer, TimerQueue};
/// # fn main() -> Result<(), thalweg_state::StateError> {
/// let mut rows = RowStore::<u64>::new(StateRegistrar::new::<u64>("example"))?;
/// let row = rows.find_or_insert(7.key_hash(), &7)?;
/// let mut timers = TimerQueue::new();
/// assert!(timers.register(Timer { timestamp_ms: 2_000, row }));
/// assert!(!timers.register(Timer { timestamp_ms: 2_000, row })); // already there
/// assert_eq!(timers.next_ms(), Some(2_000));
/// assert_eq!(timers.pop_due(1_999), None);
/// assert_eq!(timers.pop_due(2_000), Some(Timer { timestamp_ms: 2_000, row }));
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct TimerQueue {
    live: PrefetchTable<LiveTimer>,
    live_count: usize,
    /// How many registrations there were: the number of the next.
    registered_count: u64,
    /// How often timers came out of the wheel.
    taken_count: u32,
    wheel: Wheel,
    due: Vec<Queued>,
    early: BTreeSet<Early>,
    /// Entries of `wheel`, `due` and `early` that are not live.
    stale_count: usize,
}

impl TimerQueue {
    /// An empty queue.
    pub fn new() -> Self {
        TimerQueue::default()
    }

    /// Registers a timer; false if it is registered already.
    pub fn register(&mut self, timer: Timer) -> bool {
        self.register_with(timer, |_| 0)
    }

    /// As [`register`](Self::register), with a note that is made if the timer is not there.
    #[inline]
    fn register_with(&mut self, timer: Timer, note: impl FnOnce(Queued) -> u32) -> bool {
        self.register_as(timer, self.registered_count, note)
    }

    /// As [`register_with`](Self::register_with), under a number of before.
    #[inline]
    fn register_as(&mut self, timer: Timer, number: u64, note: impl FnOnce(Queued) -> u32) -> bool {
        let queued = Queued::new(timer, number as u32);
        let is_same = |other: &LiveTimer| other.timer() == timer;
        match self.live.entry(timer.hash(), is_same, |other| other.timer().hash()) {
            Entry::Occupied(_) => return false,
            Entry::Vacant(entry) => {
                let Queued { timestamp_ms, row, order } = queued;
                entry.insert(LiveTimer { timestamp_ms, row, order, note: note(queued) });
                self.live_count += 1;
            }
        };
        self.registered_count = self.registered_count.max(number + 1);
        self.place(queued);
        true
    }

    /// The number of a registration of which these are the lower bits.
    #[inline]
    fn number_of(&self, order: u32) -> u64 {
        number_before(self.registered_count, order)
    }

    /// How long ago a timer was registered: the longer, the larger.
    #[inline]
    fn age_of(&self, order: u32) -> u32 {
        (self.registered_count as u32).wrapping_sub(order)
    }

    fn early_of(&self, queued: Queued) -> Early {
        let Queued { timestamp_ms, row, order } = queued;
        Early { timestamp_ms, number: self.number_of(order), row }
    }

    /// Deletes a timer; false if it is not registered.
    pub fn delete(&mut self, timer: Timer) -> bool {
        self.delete_noted(timer).is_some()
    }

    /// As [`delete`](Self::delete), and returns the timer's note.
    #[inline]
    fn delete_noted(&mut self, timer: Timer) -> Option<u32> {
        let live = self.live.remove(timer.hash(), |other| other.timer() == timer)?;
        self.live_count -= 1;
        if self.early.is_empty() || !self.early.remove(&self.early_of(live.queued())) {
            self.stale_count += 1;
        }
        if self.stale_count > self.live_count + STALE_ALLOWED {
            self.rebuild();
        }
        Some(live.note)
    }

    /// Takes the earliest timer out if it is due at `up_to_ms`, that is, not after it.
    pub fn pop_due(&mut self, up_to_ms: i64) -> Option<Timer> {
        self.pop_due_noted(up_to_ms).map(|(timer, _)| timer)
    }

    /// As [`pop_due`](Self::pop_due), with the timer's note.
    #[inline]
    fn pop_due_noted(&mut self, up_to_ms: i64) -> Option<(Timer, u32)> {
        loop {
            let first = self.first_due(up_to_ms)?;
            self.take_first(first);
            if let Some(note) = self.remove_live(first) {
                return Some((first.timer(), note));
            }
            self.stale_count = self.stale_count.saturating_sub(1);
        }
    }

    /// The timestamp of the earliest timer. Cheap when called again and again; moves entries of the
    /// wheel otherwise.
    pub fn next_ms(&mut self) -> Option<i64> {
        loop {
            let first = self.first_due(i64::MAX)?;
            let is_first = |other: &LiveTimer| other.queued() == first;
            if self.live.find(first.timer().hash(), is_first).is_some() {
                return Some(first.timestamp_ms);
            }
            self.take_first(first);
            self.stale_count = self.stale_count.saturating_sub(1);
        }
    }

    /// How many timers are registered.
    pub fn len(&self) -> usize {
        self.live_count
    }

    /// Whether no timer is registered.
    pub fn is_empty(&self) -> bool {
        self.live_count == 0
    }

    /// Whether the timer is registered.
    pub fn is_live(&self, timer: Timer) -> bool {
        self.live.find(timer.hash(), |other| other.timer() == timer).is_some()
    }

    /// The registered timers in no particular order, the same in every run.
    pub fn iter(&self) -> impl Iterator<Item = Timer> {
        self.live.iter().map(|live| live.timer())
    }

    /// The registered timers with the order of their registration.
    fn iter_queued(&self) -> impl Iterator<Item = Queued> {
        self.live.iter().map(|live| live.queued())
    }

    /// The timer that is popped some timers later, if it is of the same timestamp.
    fn upcoming(&self) -> Option<Timer> {
        let later = self.due.len().checked_sub(AHEAD).and_then(|at| self.due.get(at));
        later.map(|later| later.timer())
    }

    /// The first of `due` and `early`, live or not, if it is due; looks into the wheel when both
    /// are empty.
    fn first_due(&mut self, up_to_ms: i64) -> Option<Queued> {
        loop {
            let early = self.early.first().map(|early| {
                let Early { timestamp_ms, number, row } = *early;
                Queued { timestamp_ms, row, order: number as u32 }
            });
            let first = match (self.due.last().copied(), early) {
                (Some(due), Some(early)) => {
                    let place = |queued: Queued| {
                        (queued.timestamp_ms, std::cmp::Reverse(self.age_of(queued.order)))
                    };
                    Some(if place(due) < place(early) { due } else { early })
                }
                (due, early) => due.or(early),
            };
            if let Some(first) = first {
                return (first.timestamp_ms <= up_to_ms).then_some(first);
            }
            if !self.wheel.take_first(up_to_ms, &mut self.due) {
                return None;
            }
            self.sort_due();
        }
    }

    /// Takes out what `first_due` returned.
    fn take_first(&mut self, first: Queued) {
        if self.due.last() == Some(&first) {
            self.due.pop();
            if let Some(later) = self.upcoming() {
                self.live.hint(later.hash());
            }
        } else {
            self.early.remove(&self.early_of(first));
        }
    }

    fn sort_due(&mut self) {
        // Learning where the table lies costs more than a hint.
        if self.taken_count.is_multiple_of(64) {
            self.live.is_deep();
        }
        self.taken_count = self.taken_count.wrapping_add(1);
        let registered = self.registered_count as u32;
        self.due.sort_unstable_by_key(|queued| registered.wrapping_sub(queued.order));
        self.due.iter().rev().take(AHEAD).for_each(|queued| self.live.hint(queued.timer().hash()));
    }

    fn place(&mut self, queued: Queued) {
        if !self.wheel.insert(queued) {
            self.early.insert(self.early_of(queued));
        }
    }

    /// Takes a timer that comes up out of the registered ones and returns its note.
    fn remove_live(&mut self, queued: Queued) -> Option<u32> {
        let is_same = |other: &LiveTimer| other.queued() == queued;
        let live = self.live.remove(queued.timer().hash(), is_same)?;
        self.live_count -= 1;
        Some(live.note)
    }

    /// Forgets the stale entries: one pass over the live timers.
    #[cold]
    fn rebuild(&mut self) {
        self.wheel.clear();
        self.due.clear();
        self.early.clear();
        self.stale_count = 0;
        let live = std::mem::take(&mut self.live);
        live.iter().for_each(|live| self.place(live.queued()));
        self.live = live;
    }
}

/// The latest number before `count` that has these lower bits.
#[inline]
fn number_before(count: u64, order: u32) -> u64 {
    count.saturating_sub(u64::from((count as u32).wrapping_sub(order)))
}

impl std::fmt::Debug for TimerQueue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TimerQueue").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tests;
