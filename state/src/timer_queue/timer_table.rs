//! The timers of one operator as a table of the persistent tier.
//!
//! ```text
//! row     the key, under its key group and hash, as in the table of its states
//! record  state of its own for event and for processing time (0 and 1), sub = timestamp, sign flipped, big-endian;
//!         value = number of the registration, little-endian, without the zeros behind it
//! ```
//! 1. Within an epoch the net change is kept. A barrier puts it behind those that wait: O(1).
//! 2. Beats write the oldest one: a put for each timer that was registered and is still there, a
//!    removal for each that lies below and is not. Timers of one key that come together share a row.
//! 3. [`restore`](TimerTable::restore) gives all timers back at once, since they fire without a
//!    record. The states of their keys are not read for it.
//!
//! Where epochs are *full* a barrier copies all timers, 16 bytes each, in the place of the net change, and
//! nothing is written as gone. What goes while a copy is not written keeps its pin until then.
//!
//! **Invariants**
//! - A timer that is to be written names a pinned row: while it is registered by that registration,
//!   and once it is gone, by a pin that is undone when its removal is written.
//! - Epochs are written in order, so a removal comes after the put that it voids; within an epoch
//!   removals are written first, so a timer that was deleted and registered again is there.

use std::any::type_name;
use std::collections::VecDeque;

use rkyv::rancor::{Error, Source};
use thalweg_io::{Fault, planted};

use super::changes::{ARCHIVED, TimerChanges};
use super::{Queued, TimeDomain, Timer, TimerQueue};
use crate::backend::{RowAddress, TableStore};
use crate::codec::{ArchiveBuffer, Record, RecordKind, RowsWriter, StateIndex, decode_row};
use crate::{Epoch, Key, KeyGroupRange, RowId, RowStore, StateError};

/// Changes that are sorted by row and written together.
const BATCH: usize = 512;

/// How many rows are fetched ahead of being written.
const AHEAD: usize = 16;

/// The changes of an epoch, by domain.
type EpochChanges = [TimerChanges; TimeDomain::COUNT];

/// The numbers of the domains' states in the table.
pub(super) type DomainStates = [StateIndex; TimeDomain::COUNT];

/// See the module docs.
pub(super) struct TimerTable {
    store: TableStore,
    states: DomainStates,
    current: EpochChanges,
    ended: VecDeque<EpochChanges>,
    /// How far the oldest ended epoch is written, by domain.
    written: [usize; TimeDomain::COUNT],
    batch: Vec<Change>,
    /// Row and place in the batch of each change, in the order of writing.
    order: Vec<u64>,
    key_archive: ArchiveBuffer,
    /// Whether each epoch has all timers; see [`Tier::is_full`](crate::backend::Tier::is_full).
    is_full: bool,
    /// Rows of timers that are gone since an epoch ended that is not written: their pins are undone
    /// when it is.
    kept: Vec<RowId>,
}

fn changes_of(epoch: Epoch) -> EpochChanges {
    TimeDomain::ALL.map(|_| TimerChanges::new(epoch))
}

/// A change that is to be written.
#[derive(Clone, Copy)]
struct Change {
    timestamp_ms: i64,
    row: RowId,
    domain: TimeDomain,
    is_there: bool,
    /// Of its registration, if it is there.
    number: u64,
}

impl TimerTable {
    pub(super) fn new(store: TableStore, states: DomainStates) -> Self {
        TimerTable {
            current: changes_of(store.current_epoch()),
            is_full: store.is_full(),
            kept: Vec::new(),
            store,
            states,
            ended: VecDeque::new(),
            written: [0; TimeDomain::COUNT],
            batch: Vec::with_capacity(BATCH),
            order: Vec::with_capacity(BATCH),
            key_archive: ArchiveBuffer::default(),
        }
    }

    /// Notes a registration; returns what the timer is to remember.
    #[inline]
    pub(super) fn add_born(&mut self, domain: TimeDomain, timer: Queued) -> u32 {
        match self.is_full {
            true => ARCHIVED,
            false => self.current[domain as usize].add_born(timer),
        }
    }

    /// Notes that a timer was deleted or has fired; true if it keeps its pin for now.
    #[inline]
    pub(super) fn add_gone(&mut self, domain: TimeDomain, timer: Timer, note: u32) -> bool {
        if !self.is_full {
            return self.current[domain as usize].add_gone(timer, note);
        }
        if self.ended.is_empty() {
            return false;
        }
        self.kept.push(timer.row);
        true
    }

    /// Ends the current epoch; `queues` are all timers, by domain.
    pub(super) fn barrier(&mut self, queues: &[TimerQueue; TimeDomain::COUNT]) -> Epoch {
        let ended = self.store.barrier();
        for (queue, changes) in queues.iter().zip(&mut self.current) {
            if self.is_full {
                queue.iter_queued().for_each(|timer| _ = changes.add_born(timer));
            }
            changes.end(queue.registered_count);
        }
        let current = changes_of(self.store.current_epoch());
        self.ended.push_back(std::mem::replace(&mut self.current, current));
        ended
    }

    /// Writes about `budget` changes of ended epochs; true when all are written.
    pub(super) fn beat<K: Key>(
        &mut self,
        rows: &mut RowStore<K>,
        mut budget: usize,
    ) -> Result<bool, StateError> {
        while !self.ended.is_empty() {
            if budget == 0 {
                return Ok(false);
            }
            let passed = self.fill_batch(budget.min(BATCH));
            if passed == 0 && self.ended.len() == 1 && !self.kept.is_empty() {
                budget -= self.release_kept(rows, budget);
                continue;
            }
            if passed == 0 {
                self.store.finish(self.store.oldest_epoch())?;
                self.ended.pop_front();
                self.written = [0; TimeDomain::COUNT];
                continue;
            }
            self.write_batch(rows)?;
            budget -= passed;
        }
        Ok(true)
    }

    /// Undoes pins that no epoch needs any more; returns how many.
    fn release_kept<K: Key>(&mut self, rows: &mut RowStore<K>, count_max: usize) -> usize {
        let from = self.kept.len().saturating_sub(count_max);
        let count = self.kept.len() - from;
        for row in self.kept.drain(from..) {
            rows.unpin(row);
            rows.release(row);
        }
        count
    }

    /// Takes the next changes of the oldest ended epoch; returns how many places it has passed.
    fn fill_batch(&mut self, room: usize) -> usize {
        let TimerTable { ended, batch, written, .. } = self;
        batch.clear();
        let mut passed = 0;
        for domain in TimeDomain::ALL {
            let Some(changes) = ended.front() else { break };
            let written = &mut written[domain as usize];
            let changes = &changes[domain as usize];
            let next = changes.after_position(*written).take(room - passed);
            for change in next {
                (passed, *written) = (passed + 1, *written + 1);
                batch.extend(change.map(|(timer, is_there)| Change {
                    row: timer.row,
                    is_there,
                    domain,
                    timestamp_ms: timer.timestamp_ms,
                    number: if is_there { changes.number_of(timer) } else { 0 },
                }));
            }
        }
        passed
    }

    fn write_batch<K: Key>(&mut self, rows: &mut RowStore<K>) -> Result<(), StateError> {
        let TimerTable { batch, order, .. } = self;
        order.clear();
        let places = batch.iter().enumerate();
        order.extend(places.map(|(at, change)| u64::from(change.row.as_u32()) << 32 | at as u64));
        // Within a row by place: removals come first.
        order.sort_unstable();
        let change_at = |at: usize| order.get(at).map(|place| batch[*place as u32 as usize]);
        (0..AHEAD).filter_map(change_at).for_each(|change| rows.hint_id(change.row));
        let mut at = 0;
        while let Some(Change { row, .. }) = change_at(at) {
            let changes = (at..).map_while(change_at).take_while(|change| change.row == row);
            let (mut count, mut gone_count) = (0, 0);
            let Some(key) = rows.key(row) else { return rows.cursor(row).map(drop) };
            let hash = key.key_hash();
            let mut group = self.store.group_of(key.group_hash(hash));
            if planted(Fault::RemovalInOtherGroup) && changes.clone().all(|it| !it.is_there) {
                group = self.store.groups().groups().find(|other| *other != group).unwrap_or(group);
            }
            let address = RowAddress { group, hash, key: self.key_archive.archive(key)? };
            self.store.row(self.store.oldest_epoch(), address, |out| {
                for change in changes {
                    out.write(change.record(self.states, &change.sub(), &change.value()));
                    count += 1;
                    gone_count += u32::from(!change.is_there);
                }
                Ok(())
            })?;
            (0..gone_count).for_each(|_| rows.unpin(row));
            if gone_count > 0 {
                rows.release(row);
            }
            at += count;
            (at..at + count)
                .filter_map(|at| change_at(at + AHEAD - count))
                .for_each(|change| rows.hint_id(change.row));
        }
        Ok(())
    }

    /// Gives `register` all timers of the table with the pinned rows of their keys.
    pub(super) fn restore<K: Key>(
        &mut self,
        rows: &mut RowStore<K>,
        mut register: impl FnMut(TimeDomain, Timer, u64) -> bool,
    ) -> Result<(), StateError> {
        if planted(Fault::TimersNotRestored) {
            return Ok(());
        }
        for group in self.store.groups().groups() {
            let groups = KeyGroupRange { start: group.0, end: group.0 + 1 };
            let scanned = self.scan(groups)?;
            let mut rest = scanned.as_slice();
            while !rest.is_empty() {
                let encoded = decode_row(&mut rest).expect("rows were encoded just now");
                let row = rows.pin_unread(encoded.hash, K::from_archived(encoded.key)?)?;
                for record in encoded.records() {
                    let (domain, timestamp_ms, number) = timer_of(&record, self.states)?;
                    if register(domain, Timer { timestamp_ms, row }, number) {
                        rows.pin(row);
                    }
                }
                rows.unpin(row);
            }
        }
        Ok(())
    }

    /// The rows of key groups that the persistent tier shows: taken off it before they are looked
    /// at, since the keys' rows may ask the same tier whether it has them.
    fn scan(&mut self, groups: KeyGroupRange) -> Result<Vec<u8>, StateError> {
        let mut rows = RowsWriter::default();
        self.store.scan(groups, &mut |address, record| {
            rows.write(address.group, address.hash, address.key, *record);
            Ok(())
        })?;
        Ok(rows.finish())
    }
}

impl Change {
    fn sub(self) -> [u8; 8] {
        (self.timestamp_ms as u64 ^ 1 << 63).to_be_bytes()
    }

    /// The number, as so many bytes of these as are not zero.
    fn value(self) -> ([u8; 8], usize) {
        let count = (u64::BITS - self.number.leading_zeros()).div_ceil(u8::BITS);
        (self.number.to_le_bytes(), count as usize)
    }

    fn record<'r>(
        self,
        states: DomainStates,
        sub: &'r [u8; 8],
        (value, count): &'r ([u8; 8], usize),
    ) -> Record<'r> {
        let state = states[self.domain as usize];
        if self.is_there {
            return Record { sub, ..Record::put(state, &value[..*count]) };
        }
        Record::remove(RecordKind::RemoveEntry, state, sub)
    }
}

/// Domain, timestamp and number of the timer of a record.
fn timer_of(
    record: &Record<'_>,
    states: DomainStates,
) -> Result<(TimeDomain, i64, u64), StateError> {
    #[derive(Debug, thiserror::Error)]
    #[error(
        "a timer is of one of the two states of its table, has 8 bytes of time and at most as many of a number that is \
         less than the largest"
    )]
    struct NoTimer;

    let value = record.value;
    let number = (value.len() <= size_of::<u64>()).then(|| {
        let mut number = [0; size_of::<u64>()];
        number[..value.len()].copy_from_slice(value);
        u64::from_le_bytes(number)
    });
    let domain =
        TimeDomain::ALL.into_iter().find(|domain| states[*domain as usize] == record.state);
    let time = <[u8; 8]>::try_from(record.sub).ok();
    let number = number.filter(|number| *number < u64::MAX);
    let ((domain, time), number) =
        domain.zip(time).zip(number).ok_or_else(|| StateError::Unarchive {
            type_name: type_name::<Timer>(),
            length_bytes: record.sub.len(),
            source: Error::new(NoTimer),
        })?;
    Ok((domain, (u64::from_be_bytes(time) ^ 1 << 63) as i64, number))
}
