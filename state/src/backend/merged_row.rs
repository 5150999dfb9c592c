//! What several deltas say of one row, together.

use std::collections::BTreeMap;

use crate::StateError;
use crate::codec::{EncodedRow, Record, RecordKind};

/// The live records of a row, by state and sub-key.
#[derive(Clone, Debug, Default)]
pub(super) struct MergedRow {
    records: BTreeMap<(u8, Box<[u8]>), (Option<i64>, Box<[u8]>)>,
}

impl MergedRow {
    /// Rows of one key with the numbers of their deltas, 0 being the newest; those of one delta in
    /// the order written.
    pub(super) fn of_deltas(mut rows: Vec<(usize, EncodedRow<'_>)>) -> Self {
        let mut merged = MergedRow::default();
        rows.sort_by_key(|(delta, _)| std::cmp::Reverse(*delta));
        for (_, row) in rows {
            row.records().for_each(|record| merged.apply(&record));
        }
        merged
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Takes a record that is newer than all before.
    pub(super) fn apply(&mut self, record: &Record<'_>) {
        let records = &mut self.records;
        match record.kind {
            RecordKind::Put => {
                let content = (record.expires_at_ms, record.value.into());
                records.insert((record.state, record.sub.into()), content);
            }
            RecordKind::RemoveRow => records.clear(),
            RecordKind::RemoveState => records.retain(|(state, _), _| *state != record.state),
            RecordKind::RemoveEntry => drop(records.remove(&(record.state, record.sub.into()))),
        }
    }

    /// Visits the records that have not expired.
    pub(super) fn visit(
        &self,
        now_ms: i64,
        visit: &mut dyn FnMut(&Record<'_>) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        for ((state, sub), (expires_at_ms, value)) in &self.records {
            if expires_at_ms.is_none_or(|expires_at_ms| expires_at_ms > now_ms) {
                let record = Record::put(*state, value);
                visit(&Record { sub, expires_at_ms: *expires_at_ms, ..record })?;
            }
        }
        Ok(())
    }
}
