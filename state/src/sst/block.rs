//! Rows within one block: how they are packed and found again.
//!
//! The format of the payload is in the [module's docs](super).

use std::ops::Range;

use crate::codec::{DamagedRow, Record, RowPrefix, read_varint, write_varint};
use crate::merge::RecordCursor;

/// Rows between two entries of the search list: a lookup decodes half as many on average, and an
/// entry costs 12 bytes, 0.75 a row.
const ROWS_PER_RESTART: u32 = 16;

/// Prefix u64, offset u32.
const RESTART_BYTES: usize = 12;
/// Count of restarts u32, flags u8.
const TAIL_BYTES: usize = 5;

/// The first row goes on from the block before.
const CONTINUES_BEFORE: u8 = 1;
/// The last row goes on in the block behind.
const CONTINUES_BEHIND: u8 = 2;

/// Packs rows into the payload of one block after the other.
#[derive(Debug, Default)]
pub(super) struct BlockBuilder {
    bytes: Vec<u8>,
    restarts: Vec<u8>,
    first: RowPrefix,
    last: RowPrefix,
    row_count: u32,
    continues_before: bool,
}

impl BlockBuilder {
    /// Bytes of the payload so far.
    pub(super) fn payload_bytes(&self) -> usize {
        self.bytes.len() + self.restarts.len() + TAIL_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.row_count == 0
    }

    /// Prefix of the first row.
    pub(super) fn first(&self) -> RowPrefix {
        self.first
    }

    /// The next row to be pushed, the first of the block, goes on from the block before.
    pub(super) fn continue_row(&mut self) {
        debug_assert!(self.is_empty());
        self.continues_before = true;
    }

    /// Adds a row, or the part of one, with its encoded records. Rows come in order.
    pub(super) fn push(&mut self, prefix: RowPrefix, key: &[u8], records: &[u8]) {
        debug_assert!(self.is_empty() || self.last <= prefix);
        let at = self.bytes.len() as u32;
        if self.row_count.is_multiple_of(ROWS_PER_RESTART) {
            self.restarts.extend_from_slice(&prefix.0.to_le_bytes());
            self.restarts.extend_from_slice(&at.to_le_bytes());
        }
        if self.is_empty() {
            self.first = prefix;
            self.last = prefix;
        }
        write_delta(&mut self.bytes, prefix.0 - self.last.0);
        write_varint(&mut self.bytes, key.len() as u32);
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(records);
        self.last = prefix;
        self.row_count += 1;
    }

    /// Completes the payload; [`clear`](Self::clear) begins the next one.
    pub(super) fn finish(&mut self, continues_behind: bool) -> &[u8] {
        let restart_count = (self.restarts.len() / RESTART_BYTES) as u32;
        self.bytes.extend_from_slice(&self.restarts);
        self.bytes.extend_from_slice(&restart_count.to_le_bytes());
        let before = if self.continues_before { CONTINUES_BEFORE } else { 0 };
        self.bytes.push(before | if continues_behind { CONTINUES_BEHIND } else { 0 });
        &self.bytes
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.restarts.clear();
        self.row_count = 0;
        self.continues_before = false;
    }
}

/// The parts of a payload.
#[derive(Clone, Debug)]
struct Layout {
    rows_end: usize,
    restart_count: usize,
    flags: u8,
}

impl Layout {
    fn of(payload: &[u8]) -> Result<Self, DamagedRow> {
        let damaged = DamagedRow { what: "the block has no valid list of restarts" };
        let (rest, flags) =
            payload.split_last().map(|(flags, rest)| (rest, *flags)).ok_or(damaged)?;
        let (rest, count) = rest.split_last_chunk::<4>().ok_or(damaged)?;
        let restart_count = u32::from_le_bytes(*count) as usize;
        let bytes = restart_count.checked_mul(RESTART_BYTES).ok_or(damaged)?;
        let rows_end = rest.len().checked_sub(bytes).ok_or(damaged)?;
        if restart_count == 0
            || rows_end == 0
            || flags & !(CONTINUES_BEFORE | CONTINUES_BEHIND) != 0
        {
            return Err(damaged);
        }
        Ok(Layout { rows_end, restart_count, flags })
    }

    fn restart(&self, payload: &[u8], index: usize) -> (RowPrefix, usize) {
        let at = self.rows_end + index * RESTART_BYTES;
        let prefix = payload[at..at + 8].try_into().expect("eight of the list's bytes");
        let offset = payload[at + 8..at + 12].try_into().expect("four of the list's bytes");
        (RowPrefix(u64::from_le_bytes(prefix)), u32::from_le_bytes(offset) as usize)
    }

    /// How many restarts have a prefix less than this one.
    fn restarts_before(&self, payload: &[u8], prefix: RowPrefix) -> usize {
        let (mut low, mut high) = (0, self.restart_count);
        while low < high {
            let middle = low.midpoint(high);
            if self.restart(payload, middle).0 < prefix {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// What lies behind the current row of a [`BlockCursor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// The cursor stands at another row.
    ToRow,
    /// The block ends with the row.
    ToEnd,
    /// The block ends within the row, which goes on in the next one.
    WithinRow,
}

/// Stands at one row of a payload, which every call is given again, and at one of its records.
///
/// # Invariants
///
/// - `key` lies within the payload, and so do the records of `records`.
#[derive(Clone, Debug)]
pub(crate) struct BlockCursor {
    layout: Layout,
    prefix: RowPrefix,
    key: Range<usize>,
    records: RecordCursor,
}

impl BlockCursor {
    /// Stands at the first row.
    pub(crate) fn begin(payload: &[u8]) -> Result<Self, DamagedRow> {
        Self::at_restart(Layout::of(payload)?, payload, 0)
    }

    /// Stands at the first row whose prefix and key are not less; `None` behind the last row.
    pub(crate) fn seek(
        payload: &[u8],
        prefix: RowPrefix,
        key: &[u8],
    ) -> Result<Option<Self>, DamagedRow> {
        let layout = Layout::of(payload)?;
        let restart = layout.restarts_before(payload, prefix).saturating_sub(1);
        let mut cursor = Self::at_restart(layout, payload, restart)?;
        while (cursor.prefix, cursor.key(payload)) < (prefix, key) {
            if cursor.next_row(payload)? != Passed::ToRow {
                return Ok(None);
            }
        }
        Ok(Some(cursor))
    }

    /// Whether the first row of a payload goes on from the block before.
    pub(crate) fn continues_before(&self) -> bool {
        self.layout.flags & CONTINUES_BEFORE != 0
    }

    #[inline]
    pub(crate) fn prefix(&self) -> RowPrefix {
        self.prefix
    }

    #[inline]
    pub(crate) fn key<'a>(&self, payload: &'a [u8]) -> &'a [u8] {
        &payload[self.key.clone()]
    }

    /// The record; `None` behind the last of the row that lies here.
    #[inline]
    pub(crate) fn record<'a>(&self, payload: &'a [u8]) -> Option<Record<'a>> {
        self.records.record(payload)
    }

    /// Goes to the next record of the row. Where it ends, says whether it goes on elsewhere.
    #[inline]
    pub(crate) fn next_record(&mut self, payload: &[u8]) -> Result<bool, DamagedRow> {
        self.records.advance(&payload[..self.layout.rows_end])?;
        if self.records.record(payload).is_some() || self.records.is_row_complete() {
            return Ok(false);
        }
        if self.layout.flags & CONTINUES_BEHIND == 0 {
            return Err(DamagedRow { what: "the block ends within its last row" });
        }
        Ok(true)
    }

    /// Goes to the next row; behind the last one it stands at none and must not be asked again.
    pub(crate) fn next_row(&mut self, payload: &[u8]) -> Result<Passed, DamagedRow> {
        while self.records.record(payload).is_some() {
            if self.next_record(payload)? {
                return Ok(Passed::WithinRow);
            }
        }
        if !self.records.is_row_complete() {
            return Ok(Passed::WithinRow);
        }
        let at = self.records.next_at();
        if at == self.layout.rows_end {
            return Ok(Passed::ToEnd);
        }
        let before = self.prefix;
        let delta = self.decode_row(payload, at)?;
        let after = before.0.checked_add(delta);
        self.prefix = RowPrefix(after.ok_or(DamagedRow { what: "the prefixes overflow" })?);
        Ok(Passed::ToRow)
    }

    fn at_restart(layout: Layout, payload: &[u8], index: usize) -> Result<Self, DamagedRow> {
        let (prefix, at) = layout.restart(payload, index);
        let records = RecordCursor::empty();
        let mut cursor = BlockCursor { layout, prefix, key: 0..0, records };
        cursor.decode_row(payload, at)?;
        Ok(cursor)
    }

    /// Stands at the row that begins at byte `at`; returns the distance from the row before.
    #[inline]
    fn decode_row(&mut self, payload: &[u8], at: usize) -> Result<u64, DamagedRow> {
        let rows = &payload[..self.layout.rows_end];
        let damaged = DamagedRow { what: "a row is cut within prefix or key" };
        let mut rest = rows.get(at..).ok_or(damaged)?;
        let delta = read_delta(&mut rest).ok_or(damaged)?;
        let key_bytes = read_varint(&mut rest).ok_or(damaged)? as usize;
        let key_at = rows.len() - rest.len();
        if key_bytes > rest.len() {
            return Err(damaged);
        }
        self.key = key_at..key_at + key_bytes;
        self.records = RecordCursor::begin(rows, self.key.end)?;
        Ok(delta)
    }
}

/// Appends the distance of two prefixes: seven bits a byte, the lowest first.
fn write_delta(out: &mut Vec<u8>, mut delta: u64) {
    while delta >= 0x80 {
        out.push(delta as u8 | 0x80);
        delta >>= 7;
    }
    out.push(delta as u8);
}

#[inline]
fn read_delta(bytes: &mut &[u8]) -> Option<u64> {
    let mut delta = 0_u64;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        delta |= u64::from(byte & 0x7F) << shift;
        if *byte < 0x80 {
            return Some(delta);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{IS_LAST, write_record};

    fn encoded(record: Record<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        let tag_at = write_record(&mut out, record).at;
        out[tag_at] |= IS_LAST;
        out
    }

    fn prefix(number: u64) -> RowPrefix {
        RowPrefix(7 << 48 | number)
    }

    /// Rows 0, 3, 6, .. with two keys a prefix.
    fn sample() -> Vec<u8> {
        let mut builder = BlockBuilder::default();
        for number in 0..100_u64 {
            for key in [b"a", b"b"] {
                let value = number.to_le_bytes();
                builder.push(prefix(number * 3), key, &encoded(Record::put(0, &value)));
            }
        }
        assert_eq!(builder.first(), prefix(0));
        builder.finish(false).to_vec()
    }

    #[test]
    fn rows_are_passed_in_order() {
        let payload = sample();
        let mut cursor = BlockCursor::begin(&payload).unwrap();
        for number in 0..200_u64 {
            assert_eq!(cursor.prefix(), prefix(number / 2 * 3));
            assert_eq!(cursor.key(&payload), if number % 2 == 0 { b"a" } else { b"b" });
            let value = (number / 2).to_le_bytes();
            assert_eq!(cursor.record(&payload), Some(Record::put(0, &value)));
            let expected = if number == 199 { Passed::ToEnd } else { Passed::ToRow };
            assert_eq!(cursor.next_row(&payload), Ok(expected));
        }
    }

    #[test]
    fn rows_are_found() {
        let payload = sample();
        for number in 0..301_u64 {
            for key in ["", "a", "aa", "b", "c"] {
                let found = BlockCursor::seek(&payload, prefix(number), key.as_bytes()).unwrap();
                let found =
                    found.map(|cursor| (cursor.prefix().0 & 0xFFFF, cursor.key(&payload).to_vec()));
                let expected = (0..200_u64)
                    .map(|row| {
                        (row / 2 * 3, if row % 2 == 0 { b"a".to_vec() } else { b"b".to_vec() })
                    })
                    .find(|row| *row >= (number, key.as_bytes().to_vec()));
                assert_eq!(found, expected, "{number} {key}");
            }
        }
    }

    #[test]
    fn a_row_goes_on_in_the_next_block() {
        let record = Record::put(0, b"1");
        let mut part = encoded(record);
        part[0] &= !IS_LAST;
        let mut builder = BlockBuilder::default();
        builder.push(prefix(1), b"k", &part);
        let first = builder.finish(true).to_vec();
        builder.clear();
        builder.continue_row();
        builder.push(prefix(1), b"k", &encoded(Record::put(1, b"2")));
        let second = builder.finish(false).to_vec();
        let mut cursor = BlockCursor::begin(&first).unwrap();
        assert!(!cursor.continues_before());
        assert_eq!(cursor.next_record(&first), Ok(true));
        assert_eq!(cursor.next_row(&first), Ok(Passed::WithinRow));
        let mut cursor = BlockCursor::begin(&second).unwrap();
        assert!(cursor.continues_before());
        assert_eq!(cursor.next_record(&second), Ok(false));
        assert_eq!(cursor.next_row(&second), Ok(Passed::ToEnd));
        // The same without the flag is damage.
        builder.clear();
        builder.push(prefix(1), b"k", &part);
        let damaged = builder.finish(false).to_vec();
        assert!(BlockCursor::begin(&damaged).unwrap().next_row(&damaged).is_err());
    }

    /// Whatever the bytes, walking ends without a panic.
    #[test]
    fn damaged_blocks_are_errors_or_other_rows() {
        let walk = |payload: &[u8]| -> Result<u32, DamagedRow> {
            BlockCursor::seek(payload, prefix(60), b"b")?;
            let mut cursor = BlockCursor::begin(payload)?;
            let mut rows = 1;
            while cursor.next_row(payload)? == Passed::ToRow {
                rows += 1;
            }
            Ok(rows)
        };
        let payload = sample();
        assert_eq!(walk(&payload), Ok(200));
        for length in 0..payload.len() {
            assert_ne!(walk(&payload[..length]), Ok(200), "cut to {length}");
        }
        for at in 0..payload.len() {
            let mut flipped = payload.clone();
            flipped[at] ^= 1 << (at % 8);
            let _ = walk(&flipped);
        }
    }
}
