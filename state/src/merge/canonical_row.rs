//! A row of a delta in the form that sorted files have.

use super::RecordCursor;
use crate::codec::{DamagedRow, EncodedRow, IS_LAST, Record, RecordKind, StateIndex, write_record};

/// The records of one row, encoded: sorted, each (state, sub-key) once. Used for one row after the
/// other.
#[derive(Debug)]
pub(crate) struct CanonicalRow {
    bytes: Vec<u8>,
    cursor: RecordCursor,
}

impl Default for CanonicalRow {
    fn default() -> Self {
        CanonicalRow { bytes: Vec::new(), cursor: RecordCursor::empty() }
    }
}

impl CanonicalRow {
    /// Takes all that one delta says of a row, in the order it was written, and stands at the first
    /// record.
    pub(crate) fn fill<'a>(
        &mut self,
        rows: impl Iterator<Item = EncodedRow<'a>>,
    ) -> Result<(), DamagedRow> {
        self.bytes.clear();
        write_canonical(rows, &mut self.bytes);
        self.cursor = RecordCursor::begin(&self.bytes, 0)?;
        Ok(())
    }

    /// As [`fill`](Self::fill), for a row that the delta has once.
    #[inline]
    pub(crate) fn fill_with(&mut self, row: EncodedRow<'_>) -> Result<(), DamagedRow> {
        if !is_canonical(&row) {
            return self.fill(std::iter::once(row));
        }
        self.bytes.clear();
        self.bytes.extend_from_slice(row.record_bytes());
        self.cursor = RecordCursor::begin(&self.bytes, 0)?;
        Ok(())
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.cursor = RecordCursor::empty();
    }

    #[inline]
    pub(crate) fn record(&self) -> Option<Record<'_>> {
        self.cursor.record(&self.bytes)
    }

    #[inline]
    pub(crate) fn next_record(&mut self) -> Result<(), DamagedRow> {
        self.cursor.advance(&self.bytes)
    }
}

/// Whether the records of a row are strictly sorted as they were written. Then each removal was
/// written before what it stands beside, and voids nothing of it.
fn is_canonical(row: &EncodedRow<'_>) -> bool {
    row.records().is_sorted_by(|left, right| left.sort_key() < right.sort_key())
}

/// Plays the records in the order they were written.
fn write_canonical<'a>(rows: impl Iterator<Item = EncodedRow<'a>>, out: &mut Vec<u8>) {
    let mut records: Vec<Record<'a>> = rows.flat_map(|row| row.records()).collect();
    let after = |records: &[Record<'_>], kind, state: StateIndex| {
        records.iter().rposition(|record| record.kind == kind && record.state == state)
    };
    let is_row_removal = |record: &Record<'_>| record.kind == RecordKind::RemoveRow;
    let row_removed = records.iter().rposition(is_row_removal);
    records.drain(..row_removed.map_or(0, |last| last + 1));
    let mut removed_states: Vec<StateIndex> = (records.iter())
        .filter(|record| record.kind == RecordKind::RemoveState)
        .map(|record| record.state)
        .collect();
    removed_states.sort_unstable();
    removed_states.dedup();
    for state in &removed_states {
        let last = after(&records, RecordKind::RemoveState, *state);
        let mut index = 0;
        records.retain(|record| {
            index += 1;
            record.state != *state || last.is_none_or(|last| index > last)
        });
    }
    // Stable: of one sub-key the record written last comes last.
    records.sort_by(|left, right| left.sort_key().cmp(&right.sort_key()));
    let mut last_tag_at = 0;
    if row_removed.is_some() {
        last_tag_at = write_record(out, Record::remove(RecordKind::RemoveRow, 0, &[])).at;
    }
    for (index, record) in records.iter().enumerate() {
        let is_superseded =
            records.get(index + 1).is_some_and(|next| next.sort_key() == record.sort_key());
        let is_redundant = match record.kind {
            RecordKind::RemoveEntry => {
                row_removed.is_some() || removed_states.binary_search(&record.state).is_ok()
            }
            RecordKind::RemoveState => row_removed.is_some(),
            RecordKind::Put | RecordKind::RemoveRow => false,
        };
        if !is_superseded && !is_redundant {
            last_tag_at = write_record(out, *record).at;
        }
    }
    // A delta's row has a record; the first one is redundant only beside one that was written.
    out[last_tag_at] |= IS_LAST;
}
