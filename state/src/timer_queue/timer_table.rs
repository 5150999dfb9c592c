//! The timers of one operator as a table of the persistent tier.
//!
//! ```text
//! row     the key, under its key group and hash, as in the table of its states
//! record  state 0 (event time) or 1 (processing time), sub = timestamp, sign flipped, big-endian; no value
//! ```
//! 1. Within an epoch the net change is kept. A barrier puts it behind those that wait: O(1).
//! 2. Beats write the oldest one: a put for each timer that was registered and is still there, a
//!    removal for each that lies below and is not. Timers of one key that come together share a row.
//! 3. [`restore`](TimerTable::restore) gives all timers back at once, since they fire without a
//!    record. Ties of one timestamp may come in another order then: rows have other numbers.
//!
//! **Invariants**
//! - A timer that is to be written names a pinned row: while it is registered by that registration,
//!   and once it is gone, by a pin that is undone when its removal is written.
//! - Epochs are written in order, so a removal comes after the put that it voids; within an epoch
//!   removals are written first, so a timer that was deleted and registered again is there.

use std::any::type_name;
use std::collections::VecDeque;

use rkyv::rancor::{Error, Source};

use super::changes::TimerChanges;
use super::{TimeDomain, Timer};
use crate::backend::{RowAddress, TableStore};
use crate::codec::{ArchiveBuffer, Record, RecordKind};
use crate::{Epoch, Key, KeyHash, RowId, RowStore, StateError};

/// Changes that are sorted by row and written together.
const BATCH: usize = 512;

/// The changes of an epoch, by domain.
type EpochChanges = [TimerChanges; TimeDomain::COUNT];

/// See the module docs.
pub(super) struct TimerTable {
    store: TableStore,
    current: EpochChanges,
    ended: VecDeque<EpochChanges>,
    /// How far the oldest ended epoch is written, by domain.
    written: [usize; TimeDomain::COUNT],
    batch: Vec<Change>,
    key_archive: ArchiveBuffer,
}

/// A change that is to be written; sorts by row, then removals before puts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Change {
    row: RowId,
    is_there: bool,
    domain: TimeDomain,
    timestamp_ms: i64,
}

impl TimerTable {
    pub(super) fn new(store: TableStore) -> Self {
        TimerTable {
            store,
            current: EpochChanges::default(),
            ended: VecDeque::new(),
            written: [0; TimeDomain::COUNT],
            batch: Vec::with_capacity(BATCH),
            key_archive: ArchiveBuffer::default(),
        }
    }

    /// The changes of the current epoch.
    #[inline]
    pub(super) fn changes(&mut self, domain: TimeDomain) -> &mut TimerChanges {
        &mut self.current[domain as usize]
    }

    /// Ends the current epoch.
    pub(super) fn barrier(&mut self) -> Epoch {
        self.ended.push_back(std::mem::take(&mut self.current));
        self.store.barrier()
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

    /// Takes the next changes of the oldest ended epoch; returns how many places it has passed.
    fn fill_batch(&mut self, room: usize) -> usize {
        let TimerTable { ended, batch, written, .. } = self;
        batch.clear();
        let mut passed = 0;
        for domain in TimeDomain::ALL {
            let Some(changes) = ended.front() else { break };
            let written = &mut written[domain as usize];
            let next = changes[domain as usize].from_position(*written).take(room - passed);
            for change in next {
                (passed, *written) = (passed + 1, *written + 1);
                batch.extend(change.map(|(Timer { timestamp_ms, row }, is_there)| Change {
                    row,
                    is_there,
                    domain,
                    timestamp_ms,
                }));
            }
        }
        passed
    }

    fn write_batch<K: Key>(&mut self, rows: &mut RowStore<K>) -> Result<(), StateError> {
        self.batch.sort_unstable();
        let TimerTable { store, batch, key_archive, .. } = self;
        for changes in batch.chunk_by(|one, other| one.row == other.row) {
            let row = changes[0].row;
            let Some(key) = rows.key(row) else { return rows.cursor(row).map(drop) };
            let hash = key.key_hash();
            let group = store.group_of(key.group_hash(hash));
            let address = RowAddress { group, hash, key: key_archive.archive(key)? };
            store.row(store.oldest_epoch(), address, |out| {
                changes.iter().for_each(|change| out.write(change.record(&change.sub())));
                Ok(())
            })?;
            let gone_count = changes.iter().filter(|change| !change.is_there).count();
            if gone_count > 0 {
                let (mut cursor, _) = rows.cursor(row)?;
                (0..gone_count).for_each(|_| cursor.unpin());
                rows.release(row);
            }
        }
        Ok(())
    }

    /// Gives `register` all timers of the table with the pinned rows of their keys.
    pub(super) fn restore<K: Key>(
        &mut self,
        rows: &mut RowStore<K>,
        mut register: impl FnMut(TimeDomain, Timer) -> bool,
    ) -> Result<(), StateError> {
        let mut last: Option<(KeyHash, Vec<u8>, RowId)> = None;
        self.store.scan(self.store.groups(), &mut |address, record| {
            let (domain, timestamp_ms) = timer_of(record)?;
            let row = match &last {
                Some((hash, key, row)) if *hash == address.hash && *key == *address.key => *row,
                _ => {
                    let row = rows.find_or_insert(address.hash, &K::from_archived(address.key)?)?;
                    last = Some((address.hash, address.key.to_vec(), row));
                    row
                }
            };
            if register(domain, Timer { timestamp_ms, row }) {
                rows.cursor(row)?.0.pin();
            }
            Ok(())
        })
    }
}

impl Change {
    fn sub(self) -> [u8; 8] {
        (self.timestamp_ms as u64 ^ 1 << 63).to_be_bytes()
    }

    fn record(self, sub: &[u8; 8]) -> Record<'_> {
        let state = self.domain as u8;
        if self.is_there {
            return Record { sub, ..Record::put(state, &[]) };
        }
        Record::remove(RecordKind::RemoveEntry, state, sub)
    }
}

/// The timer of a record.
fn timer_of(record: &Record<'_>) -> Result<(TimeDomain, i64), StateError> {
    #[derive(Debug, thiserror::Error)]
    #[error("a timer has state 0 or 1 and 8 bytes of time")]
    struct NoTimer;

    let domain = TimeDomain::ALL.into_iter().find(|domain| *domain as u8 == record.state);
    let time = <[u8; 8]>::try_from(record.sub).ok();
    let (domain, time) = domain.zip(time).ok_or_else(|| StateError::Unarchive {
        type_name: type_name::<Timer>(),
        length_bytes: record.sub.len(),
        source: Error::new(NoTimer),
    })?;
    Ok((domain, (u64::from_be_bytes(time) ^ 1 << 63) as i64))
}
