//! Random deltas, played into a [`MemoryTier`] and given as sources.

use std::collections::BTreeMap;

use super::{CanonicalRow, Keep, RowMerge, RowSource};
use crate::backend::{DeltaBlock, Epoch, MemoryTier, RowAddress, StoreError, Tier};
use crate::codec::{Record, RecordKind, RowPrefix, RowWriter, TableId, decode_row};
use crate::test_random::SplitMix64;
use crate::{KeyGroup, KeyGroupRange, KeyHash};

/// All that tests know of a live row: prefix, key, and by (state, sub-key) expiry and value.
pub(crate) type ModelRow = (RowPrefix, Vec<u8>, Vec<(u8, Vec<u8>, Option<i64>, Vec<u8>)>);

/// How random deltas look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeltaShape {
    pub(crate) keys: u64,
    pub(crate) groups: u16,
    pub(crate) rows: u64,
    pub(crate) records_max: u64,
    pub(crate) subs: u64,
    pub(crate) value_bytes_max: u64,
}

impl DeltaShape {
    pub(crate) const SMALL: DeltaShape =
        DeltaShape { keys: 24, groups: 4, rows: 20, records_max: 5, subs: 4, value_bytes_max: 6 };
}

/// Group, hash and key of a key's number. Some keys share a prefix.
pub(crate) fn address_of(number: u64, groups: u16) -> (KeyGroup, KeyHash, Vec<u8>) {
    let hash = (number / 2).wrapping_mul(0x9E37_79B9) as u32;
    let key = number.to_le_bytes()[..1 + number as usize % 3].to_vec();
    let key = [key, number.to_le_bytes().to_vec()].concat();
    (KeyGroup((number / 2) as u16 % groups), KeyHash::from_u32(hash), key)
}

/// Rows of one delta in the order they were written. Times of expiry lie below 100.
pub(crate) fn random_delta(random: &mut SplitMix64, shape: DeltaShape) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..shape.rows {
        let (group, hash, key) = address_of(random.below(shape.keys), shape.groups);
        let mut row = RowWriter::begin(&mut out, group, hash, &key);
        for _ in 0..1 + random.below(shape.records_max) {
            let sub = match random.below(shape.subs) {
                0 => vec![],
                number => number.to_be_bytes()[7 - number as usize % 2..].to_vec(),
            };
            let state = [0, 1, 7, 9][random.below(4) as usize];
            let value = vec![random.next() as u8; random.below(shape.value_bytes_max + 1) as usize];
            let expires_at_ms = (random.below(4) == 0).then(|| random.below(100) as i64);
            row.write(match random.below(12) {
                0 => Record::remove(RecordKind::RemoveRow, 0, &[]),
                1 => Record::remove(RecordKind::RemoveState, state, &[]),
                2 | 3 => Record::remove(RecordKind::RemoveEntry, state, &sub),
                _ => Record { sub: &sub, expires_at_ms, ..Record::put(state, &value) },
            });
        }
        row.finish();
    }
    out
}

/// Plays a delta into the model as one finished epoch.
pub(crate) fn play(tier: &mut MemoryTier, table: TableId, epoch: Epoch, bytes: &[u8]) {
    let block =
        DeltaBlock { table, epoch, partition: 0, row_count: 0, bytes: bytes.to_vec().into() };
    tier.append(block).unwrap();
    tier.finish(table, epoch).unwrap();
}

/// The model's rows of some groups at a time.
pub(crate) fn model_rows(
    tier: &mut MemoryTier,
    table: TableId,
    groups: KeyGroupRange,
    now_ms: i64,
) -> Vec<ModelRow> {
    let mut rows: Vec<ModelRow> = Vec::new();
    tier.set_now_ms(now_ms);
    let visit = &mut |address: RowAddress<'_>, record: &Record<'_>| {
        let prefix = RowPrefix::new(table, address.group, address.hash);
        if rows.last().is_none_or(|last| (last.0, &*last.1) != (prefix, address.key)) {
            rows.push((prefix, address.key.to_vec(), Vec::new()));
        }
        let record =
            (record.state, record.sub.to_vec(), record.expires_at_ms, record.value.to_vec());
        rows.last_mut().unwrap().2.push(record);
        Ok(())
    };
    tier.scan(table, groups, visit).unwrap();
    rows
}

/// The live rows of merged sources.
pub(crate) fn merged_rows<S: RowSource>(merge: &mut RowMerge<S>, now_ms: i64) -> Vec<ModelRow> {
    let mut rows = Vec::new();
    while merge.next_row().unwrap() {
        let (prefix, key) = (merge.prefix().unwrap(), merge.key().to_vec());
        let mut records = Vec::new();
        while let Some(record) = merge.next_record(Keep::live(now_ms)).unwrap() {
            assert_eq!(record.kind, RecordKind::Put);
            let value = record.value.to_vec();
            records.push((record.state, record.sub.to_vec(), record.expires_at_ms, value));
        }
        if !records.is_empty() {
            rows.push((prefix, key, records));
        }
    }
    rows
}

/// Sorted rows in memory, each with its canonical records.
#[derive(Debug, Default)]
pub(crate) struct ModelSource {
    rows: Vec<(RowPrefix, Vec<u8>, Vec<u8>)>,
    at: usize,
    row: CanonicalRow,
}

impl ModelSource {
    /// The rows of one delta.
    pub(crate) fn of_delta(table: TableId, bytes: &[u8]) -> Self {
        let mut rows: BTreeMap<(RowPrefix, Vec<u8>), Vec<u8>> = BTreeMap::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let before = rest;
            let row = decode_row(&mut rest).unwrap();
            let key = (RowPrefix::new(table, row.group, row.hash), row.key.to_vec());
            let encoded = &before[..before.len() - rest.len()];
            rows.entry(key).or_default().extend_from_slice(encoded);
        }
        Self::of_rows(rows.into_iter().map(|((prefix, key), rows)| (prefix, key, rows)).collect())
    }

    /// Rows that were merged with their removals.
    pub(crate) fn of_merge<S: RowSource>(merge: &mut RowMerge<S>, now_ms: i64) -> Self {
        let mut rows = Vec::new();
        let keep = Keep { now_ms, removals: true };
        while merge.next_row().unwrap() {
            let (prefix, key) = (merge.prefix().unwrap(), merge.key().to_vec());
            let mut out = Vec::new();
            let mut row = RowWriter::begin(&mut out, prefix.group(), prefix.hash(), &key);
            while let Some(record) = merge.next_record(keep).unwrap() {
                row.write(record);
            }
            if row.finish() {
                rows.push((prefix, key, out));
            }
        }
        Self::of_rows(rows)
    }

    fn of_rows(rows: Vec<(RowPrefix, Vec<u8>, Vec<u8>)>) -> Self {
        let mut source = ModelSource { rows, ..ModelSource::default() };
        source.fill();
        source
    }

    fn fill(&mut self) {
        self.row.clear();
        let Some((_, _, encoded)) = self.rows.get(self.at) else { return };
        let mut rest = encoded.as_slice();
        let rows =
            std::iter::from_fn(|| (!rest.is_empty()).then(|| decode_row(&mut rest).unwrap()));
        let rows: Vec<_> = rows.collect();
        self.row.fill(rows.iter().copied()).unwrap();
    }
}

impl RowSource for ModelSource {
    fn prefix(&self) -> Option<RowPrefix> {
        self.rows.get(self.at).map(|row| row.0)
    }

    fn key(&self) -> &[u8] {
        self.rows.get(self.at).map_or(&[], |row| &row.1)
    }

    fn record(&self) -> Option<Record<'_>> {
        self.row.record()
    }

    fn next_record(&mut self) -> Result<(), StoreError> {
        self.row.next_record().unwrap();
        Ok(())
    }

    fn next_row(&mut self) -> Result<(), StoreError> {
        self.at += 1;
        self.fill();
        Ok(())
    }
}
