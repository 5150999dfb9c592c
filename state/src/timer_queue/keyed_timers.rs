//! The timers of one keyed operator, in both time domains, and the pins of their rows.
//!
//! **Invariants**
//! - A row is pinned once for each of its timers: from registration until it is deleted or has
//!   fired, or, where it lies in the persistent tier, until it is written that it is gone.

use super::changes::ARCHIVED;
use super::timer_table::TimerTable;
use super::{Timer, TimerQueue};
use crate::backend::{StateRequest, TableRequest, TableStore};
use crate::codec::StateIndex;
use crate::{Epoch, Key, LsmStore, RowCursor, RowId, RowStore, SchemaDescription, StateError};
use thalweg_io::{Fault, planted};

/// Which clock a timer runs by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum TimeDomain {
    /// Watermarks.
    EventTime = 0,
    /// The wall clock.
    ProcessingTime = 1,
}

impl TimeDomain {
    pub(super) const ALL: [TimeDomain; 2] = [TimeDomain::EventTime, TimeDomain::ProcessingTime];
    pub(super) const COUNT: usize = TimeDomain::ALL.len();
}

/// Timers of both domains that keep the rows of their keys.
///
/// # Examples
///
/// ```
/// use thalweg_state::{Key, KeyedTimers, RowStore, StateRegistrar, TimeDomain::EventTime};
/// # fn main() -> Result<(), thalweg_state::StateError> {
/// let mut rows = RowStore::<u64>::new(StateRegistrar::new::<u64>("example"))?;
/// let mut timers = KeyedTimers::new();
/// let (mut cursor, _) = rows.enter(7.key_hash(), &7)?;
/// assert!(timers.register(EventTime, 2_000, &mut cursor));
/// let due = timers.pop_due(EventTime, 2_000).expect("it is due");
/// let (mut cursor, key) = rows.cursor(due.row())?;
/// assert_eq!((*key, due.timestamp_ms()), (7, 2_000));
/// due.unpin(&mut cursor);
/// rows.release(due.row());
/// assert!(rows.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct KeyedTimers {
    queues: [TimerQueue; TimeDomain::COUNT],
    table: Option<Box<TimerTable>>,
    /// The row of the registration before, for a planted fault.
    row_before: Option<RowId>,
}

/// A timer that was taken out because it is due; its row is still pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "its row is pinned until it is unpinned"]
pub struct DueTimer {
    timer: Timer,
    /// Whether the table needs the pin until it has written that the timer is gone.
    keeps_pin: bool,
}

impl DueTimer {
    /// The timestamp the timer was registered for, in milliseconds.
    #[inline]
    pub fn timestamp_ms(&self) -> i64 {
        self.timer.timestamp_ms
    }

    /// The row of its key.
    #[inline]
    pub fn row(&self) -> RowId {
        self.timer.row
    }

    /// Undoes the timer's pin; to be called once, with the cursor of its row.
    #[inline]
    pub fn unpin(self, cursor: &mut RowCursor<'_>) {
        if !self.keeps_pin {
            cursor.unpin();
        }
    }
}

impl KeyedTimers {
    /// No timers, which are kept in memory alone.
    pub fn new() -> Self {
        KeyedTimers::default()
    }

    /// Timers that are written to a table of their own in the persistent tier, with those that the
    /// table has; `rows` are those of their keys, and are pinned without being read.
    ///
    /// # Errors
    ///
    /// Those of the persistent tier where the table is open already, or was written with other
    /// types; [`StateError::Unarchive`] when it holds what is no timer or no key.
    pub fn new_in<K: Key>(
        store: &LsmStore,
        table: &str,
        rows: &mut RowStore<K>,
    ) -> Result<Self, StateError> {
        let (key, schema) = (SchemaDescription::of::<K>(), SchemaDescription::of::<i64>());
        let states = ["event time", "processing time"];
        let states = states.map(|name| StateRequest { name, schema: &schema });
        let opened = store.table(&TableRequest { name: table, key: &key, states: &states })?;
        let states = [opened.states[0], opened.states[1]];
        KeyedTimers::attached(opened.store, states, rows)
    }

    /// As [`new_in`](Self::new_in), with an open table and the numbers of its states.
    pub(crate) fn attached<K: Key>(
        store: TableStore,
        states: [StateIndex; TimeDomain::COUNT],
        rows: &mut RowStore<K>,
    ) -> Result<Self, StateError> {
        let mut queues = <[TimerQueue; TimeDomain::COUNT]>::default();
        let mut table = Box::new(TimerTable::new(store, states));
        table.restore(rows, |domain, timer, number| {
            queues[domain as usize].register_as(timer, number, |_| ARCHIVED)
        })?;
        Ok(KeyedTimers { queues, table: Some(table), row_before: None })
    }

    /// Registers a timer of the cursor's row; false if it is registered already, or no key is set.
    #[inline]
    pub fn register(
        &mut self,
        domain: TimeDomain,
        timestamp_ms: i64,
        cursor: &mut RowCursor<'_>,
    ) -> bool {
        let Some(mut row) = cursor.row_id() else { return false };
        if planted(Fault::TimerKeyReused) {
            row = self.row_before.replace(row).unwrap_or(row);
        }
        let (timer, queue) = (Timer { timestamp_ms, row }, &mut self.queues[domain as usize]);
        let is_new = match &mut self.table {
            None => queue.register(timer),
            Some(table) => queue.register_with(timer, |timer| table.add_born(domain, timer)),
        };
        if is_new {
            cursor.pin();
        }
        is_new
    }

    /// Takes a timer of the cursor's row back; false if there is none.
    #[inline]
    pub fn delete(
        &mut self,
        domain: TimeDomain,
        timestamp_ms: i64,
        cursor: &mut RowCursor<'_>,
    ) -> bool {
        let Some(row) = cursor.row_id() else { return false };
        let timer = Timer { timestamp_ms, row };
        let Some(note) = self.queues[domain as usize].delete_noted(timer) else { return false };
        self.gone(domain, timer, note).unpin(cursor);
        true
    }

    /// Takes the earliest timer out if it is due at `up_to_ms`, that is, not after it.
    #[inline]
    pub fn pop_due(&mut self, domain: TimeDomain, up_to_ms: i64) -> Option<DueTimer> {
        let (timer, note) = self.queues[domain as usize].pop_due_noted(up_to_ms)?;
        Some(self.gone(domain, timer, note))
    }

    #[inline]
    fn gone(&mut self, domain: TimeDomain, timer: Timer, note: u32) -> DueTimer {
        let keeps_pin = match &mut self.table {
            None => false,
            Some(table) => table.add_gone(domain, timer, note),
        };
        DueTimer { timer, keeps_pin }
    }

    /// The row of a timer that is due soon after the last one that was popped, to
    /// [prefetch](RowStore::hint_id).
    #[inline]
    pub fn upcoming(&self, domain: TimeDomain) -> Option<RowId> {
        self.queues[domain as usize].upcoming().map(|timer| timer.row)
    }

    /// The timestamp of the earliest timer. Cheap when called again and again.
    #[inline]
    pub fn next_ms(&mut self, domain: TimeDomain) -> Option<i64> {
        let queue = &mut self.queues[domain as usize];
        if queue.is_empty() { None } else { queue.next_ms() }
    }

    /// How many timers of a domain are registered.
    pub fn len(&self, domain: TimeDomain) -> usize {
        self.queues[domain as usize].len()
    }

    /// Whether no timer is registered.
    pub fn is_empty(&self) -> bool {
        self.queues.iter().all(TimerQueue::is_empty)
    }

    /// Ends the current epoch in constant time (with
    /// [full checkpoints](crate::LsmOptions::full_checkpoints) it copies the timers) and returns it; `None` where timers are kept in
    /// memory alone. [`beat`](Self::beat) is to follow until all is written.
    pub fn barrier(&mut self) -> Option<Epoch> {
        self.table.as_mut().map(|table| table.barrier(&self.queues))
    }

    /// Writes about `budget` changes of ended epochs to the table; true when all are written. `rows`
    /// are those of the timers' keys.
    ///
    /// # Errors
    ///
    /// A [`StateError`] when a key cannot be archived or the tier refuses a block. The epoch cannot
    /// be completed then.
    pub fn beat<K: Key>(
        &mut self,
        rows: &mut RowStore<K>,
        budget: usize,
    ) -> Result<bool, StateError> {
        self.table.as_mut().map_or(Ok(true), |table| table.beat(rows, budget))
    }
}

impl std::fmt::Debug for KeyedTimers {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("KeyedTimers")
            .field("event_timers", &self.len(TimeDomain::EventTime))
            .field("processing_timers", &self.len(TimeDomain::ProcessingTime))
            .finish_non_exhaustive()
    }
}
