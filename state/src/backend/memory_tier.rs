//! A tier in memory: merged rows in a map. The model that files are tested against, and the place of
//! small checkpoints that need no disk.

use std::collections::{BTreeMap, BTreeSet};

use super::{DeltaBlock, Epoch, RowAddress, RowVisitor, ScanVisitor, Tier};
use crate::codec::{Record, RecordKind, RowPrefix, TableId, decode_row};
use crate::{KeyGroup, KeyGroupRange, KeyHash, StateError};

/// Prefix and key's archive.
type RowKey = (RowPrefix, Box<[u8]>);
/// Live records by state and sub-key: expiry, version of the schema, value.
type Row = BTreeMap<(u8, Box<[u8]>), (Option<i64>, u8, Box<[u8]>)>;

/// See the module docs.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryTier {
    rows: BTreeMap<RowKey, Row>,
    /// Blocks of epochs that are not finished, in the order they came.
    pending: BTreeMap<(TableId, Epoch), Vec<DeltaPart>>,
    tables: BTreeSet<TableId>,
    readable: BTreeMap<TableId, Epoch>,
    now_ms: i64,
}

type DeltaPart = Box<[u8]>;

impl MemoryTier {
    pub(crate) fn new() -> Self {
        MemoryTier { now_ms: i64::MIN, ..MemoryTier::default() }
    }

    /// Forgets what was given of epochs that are not finished, as a restart does.
    #[cfg(test)]
    pub(crate) fn forget_unfinished(&mut self) {
        self.pending.clear();
    }

    /// Forgets all rows, as when an epoch is to have all of them.
    #[cfg(test)]
    pub(crate) fn forget_rows(&mut self) {
        self.rows.clear();
    }

    fn apply(&mut self, table: TableId, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let row = decode_row(&mut rest).expect("blocks of this process are whole");
            let prefix = RowPrefix::new(table, row.group, row.hash);
            let records = self.rows.entry((prefix, row.key.into())).or_default();
            row.records().for_each(|record| apply(records, &record));
            if records.is_empty() {
                self.rows.remove(&(prefix, row.key.into()));
            }
        }
        self.tables.insert(table);
    }

    fn is_live(&self, expires_at_ms: Option<i64>) -> bool {
        expires_at_ms.is_none_or(|expires_at_ms| expires_at_ms > self.now_ms)
    }
}

fn apply(row: &mut Row, record: &Record<'_>) {
    match record.kind {
        RecordKind::Put => {
            let content = (record.expires_at_ms, record.version, record.value.into());
            row.insert((record.state, record.sub.into()), content);
        }
        RecordKind::RemoveRow => row.clear(),
        RecordKind::RemoveState => row.retain(|(state, _), _| *state != record.state),
        RecordKind::RemoveEntry => drop(row.remove(&(record.state, record.sub.into()))),
    }
}

impl Tier for MemoryTier {
    fn append(&mut self, block: DeltaBlock) -> Result<(), StateError> {
        let parts = self.pending.entry((block.table, block.epoch)).or_default();
        parts.push(block.bytes.to_vec().into());
        Ok(())
    }

    fn finish(&mut self, table: TableId, epoch: Epoch) -> Result<(), StateError> {
        let parts = self.pending.remove(&(table, epoch)).unwrap_or_default();
        parts.iter().for_each(|part| self.apply(table, part));
        self.readable.insert(table, epoch);
        Ok(())
    }

    fn readable_epoch(&self) -> Epoch {
        self.readable.values().min().copied().unwrap_or(Epoch(0))
    }

    fn has_rows(&self, table: TableId) -> bool {
        self.tables.contains(&table)
    }

    fn may_hold(&self, table: TableId, group: KeyGroup, hash: KeyHash) -> bool {
        let prefix = RowPrefix::new(table, group, hash);
        let from = (prefix, Box::from([]));
        self.rows.range(from..).next().is_some_and(|(key, _)| key.0 == prefix)
    }

    fn read_rows(
        &mut self,
        table: TableId,
        rows: &[RowAddress<'_>],
        visit: RowVisitor<'_>,
    ) -> Result<(), StateError> {
        for (number, address) in rows.iter().enumerate() {
            let prefix = RowPrefix::new(table, address.group, address.hash);
            let Some(row) = self.rows.get(&(prefix, address.key.into())) else { continue };
            self.visit_row(row, &mut |record| visit(number, record))?;
        }
        Ok(())
    }

    fn scan(
        &mut self,
        table: TableId,
        range: KeyGroupRange,
        visit: ScanVisitor<'_>,
    ) -> Result<(), StateError> {
        let from = RowPrefix::new(table, KeyGroup(range.start), KeyHash::from_u32(0));
        for ((prefix, key), row) in self.rows.range((from, Box::from([]))..) {
            if prefix.table() != table || !range.contains(prefix.group()) {
                break;
            }
            let address = RowAddress { group: prefix.group(), hash: prefix.hash(), key };
            self.visit_row(row, &mut |record| visit(address, record))?;
        }
        Ok(())
    }

    fn set_now_ms(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
    }
}

impl MemoryTier {
    fn visit_row(
        &self,
        row: &Row,
        visit: &mut dyn FnMut(&Record<'_>) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        for ((state, sub), (expires_at_ms, version, value)) in row {
            if self.is_live(*expires_at_ms) {
                let record = Record::put(*state, value);
                let expires_at_ms = *expires_at_ms;
                visit(&Record { sub, version: *version, expires_at_ms, ..record })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PartitionLayout, TableStore};
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    fn address(number: u32, key: &[u8]) -> RowAddress<'_> {
        RowAddress { group: KeyGroup(number as u16 % 128), hash: KeyHash::from_u32(number), key }
    }

    fn read(store: &mut TableStore, number: u32) -> Vec<(u8, Vec<u8>, Vec<u8>)> {
        let mut found = Vec::new();
        let visit = &mut |_: usize, record: &Record<'_>| {
            found.push((record.state, record.sub.to_vec(), record.value.to_vec()));
            Ok(())
        };
        store.read_rows(&[address(number, b"key")], visit).unwrap();
        found
    }

    #[test]
    fn finished_epochs_can_be_read_and_removals_hold() {
        let groups = KeyGroupRange { start: 0, end: 128 };
        let tier = Rc::new(RefCell::new(MemoryTier::new()));
        let layout = PartitionLayout::new(groups, 128);
        let mut store = TableStore::new(TableId(3), layout, Epoch::FIRST, tier);
        let write = |store: &mut TableStore, number, record: Record<'_>| {
            let epoch = store.current_epoch();
            let writes = |row: &mut crate::codec::RowWriter<'_>| {
                row.write(record);
                Ok(())
            };
            store.row(epoch, address(number, b"key"), writes).unwrap();
        };
        (0..300).for_each(|number| write(&mut store, number, Record::put(1, &[number as u8])));
        let chunk = Record { sub: &[0, 1], ..Record::put(2, b"chunk") };
        write(&mut store, 7, chunk);
        let first = store.barrier();
        write(&mut store, 8, Record::remove(RecordKind::RemoveRow, 0, &[]));
        write(&mut store, 7, Record::remove(RecordKind::RemoveState, 1, &[]));
        assert!(read(&mut store, 7).is_empty(), "nothing is finished");
        store.finish(first).unwrap();
        assert_eq!(read(&mut store, 7).len(), 2);
        assert_eq!(read(&mut store, 8), [(1, vec![], vec![8])]);
        let second = store.barrier();
        store.finish(second).unwrap();
        assert_eq!(read(&mut store, 7), [(2, vec![0, 1], b"chunk".to_vec())]);
        assert!(read(&mut store, 8).is_empty());
        let mut count = 0;
        let visit = &mut |_: RowAddress<'_>, _: &Record<'_>| {
            count += 1;
            Ok(())
        };
        store.scan(groups, visit).unwrap();
        assert_eq!((count, store.readable_epoch()), (299, Epoch(2)));
    }
}
