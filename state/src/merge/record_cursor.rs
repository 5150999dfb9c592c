//! A position among the encoded records of one row.

use std::ops::Range;

use crate::codec::{DamagedRow, Record, RecordKind, StateIndex, decode_record};

/// Stands at one of the records that lie in a slice, which every call is given again.
///
/// # Invariants
///
/// - The ranges of `current` lie within the slice that it was decoded from.
#[derive(Clone, Debug)]
pub(crate) struct RecordCursor {
    current: Option<Position>,
    /// Where the bytes behind the current record begin.
    next_at: usize,
    /// The current record is the last of its row, or it was and has been left.
    at_last: bool,
}

/// A record by where its parts lie.
#[derive(Clone, Debug)]
struct Position {
    state: StateIndex,
    version: u8,
    kind: RecordKind,
    expires_at_ms: Option<i64>,
    sub: Range<usize>,
    value: Range<usize>,
}

impl RecordCursor {
    /// A cursor without a record, whose row is complete.
    pub(crate) const fn empty() -> Self {
        RecordCursor { current: None, next_at: 0, at_last: true }
    }

    /// Stands at the record that begins at byte `at`.
    pub(crate) fn begin(bytes: &[u8], at: usize) -> Result<Self, DamagedRow> {
        let mut cursor = RecordCursor { current: None, next_at: at, at_last: false };
        cursor.decode_next(bytes)?;
        Ok(cursor)
    }

    /// The record; `None` behind the last one that lies here.
    #[inline]
    pub(crate) fn record<'a>(&self, bytes: &'a [u8]) -> Option<Record<'a>> {
        let position = self.current.as_ref()?;
        Some(Record {
            state: position.state,
            version: position.version,
            kind: position.kind,
            sub: &bytes[position.sub.clone()],
            expires_at_ms: position.expires_at_ms,
            value: &bytes[position.value.clone()],
        })
    }

    /// Goes on; behind the last record that lies here there is none.
    #[inline]
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Result<(), DamagedRow> {
        if self.current.is_none() {
            return Ok(());
        }
        if self.at_last || self.next_at == bytes.len() {
            self.current = None;
            return Ok(());
        }
        self.decode_next(bytes)
    }

    /// Whether the record that says it is the last of the row was reached; otherwise the row goes on
    /// elsewhere.
    #[inline]
    pub(crate) fn is_row_complete(&self) -> bool {
        self.at_last
    }

    /// Where the bytes behind the record begin.
    #[inline]
    pub(crate) fn next_at(&self) -> usize {
        self.next_at
    }

    #[inline]
    fn decode_next(&mut self, bytes: &[u8]) -> Result<(), DamagedRow> {
        let what = "a record is cut or has an unknown tag";
        let mut rest = bytes.get(self.next_at..).ok_or(DamagedRow { what })?;
        let (record, is_last) = decode_record(&mut rest).ok_or(DamagedRow { what })?;
        self.current = Some(Position {
            state: record.state,
            version: record.version,
            kind: record.kind,
            expires_at_ms: record.expires_at_ms,
            sub: range_within(bytes, record.sub),
            value: range_within(bytes, record.value),
        });
        self.next_at = bytes.len() - rest.len();
        self.at_last = is_last;
        Ok(())
    }
}

/// Where a part of `bytes` lies; parts that were not taken from it are empty.
#[inline]
fn range_within(bytes: &[u8], part: &[u8]) -> Range<usize> {
    if part.is_empty() {
        return 0..0;
    }
    let start = part.as_ptr().addr() - bytes.as_ptr().addr();
    start..start + part.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::RowWriter;
    use crate::{KeyGroup, KeyHash};

    #[test]
    fn records_are_passed_and_the_end_is_known() {
        let mut bytes = Vec::new();
        let mut row = RowWriter::begin(&mut bytes, KeyGroup(1), KeyHash::from_u32(2), b"");
        let records = [
            Record::remove(RecordKind::RemoveState, 9, &[]),
            Record { sub: b"sub", expires_at_ms: Some(-7), ..Record::put(9, b"value") },
            Record { version: 3, ..Record::put(11, b"value") },
        ];
        records.iter().for_each(|record| row.write(*record));
        row.finish();
        let mut cursor = RecordCursor::begin(&bytes, 7).unwrap();
        for record in records {
            assert_eq!(cursor.record(&bytes), Some(record));
            cursor.advance(&bytes).unwrap();
        }
        assert_eq!((cursor.record(&bytes), cursor.is_row_complete()), (None, true));
        assert_eq!(cursor.next_at(), bytes.len());
        for length in 8..bytes.len() {
            let outcome = RecordCursor::begin(&bytes[..length], 7).and_then(|mut cursor| {
                while cursor.record(&bytes[..length]).is_some() {
                    cursor.advance(&bytes[..length])?;
                }
                Ok(cursor.is_row_complete())
            });
            assert!(!matches!(outcome, Ok(true)), "cut to {length}");
        }
        assert!(RecordCursor::begin(&bytes, bytes.len() + 1).is_err());
    }
}
