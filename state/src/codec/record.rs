//! Rows and records as bytes, as delta blocks have them.
//!
//! ```text
//! row    = key group u16 LE | key hash u32 LE | key length varint | key | record..
//! record = tag u8 | [state u8] | [sub length varint | sub] | [expiry i64 LE] | [value length varint | value]
//! tag      bits 0-1 kind   2 has a sub-key   3 has an expiry   4 last of its row   5-7 state, 7: it follows
//! state    the state, or 255: state u8 | version u8 of the schema that the value was archived with
//! ```
//! The value is there for a put alone; it is of the state's version 0 if nothing else is said, as all values are until their
//! type changes. A row has at least one record. A `u64` with a `u64` key takes
//! 25 bytes.
//!
//! **Invariants**
//! - Exactly the last record of a row has the bit that says so.
//! - Records of one row and one epoch are in the order they were written: a later one wins.

use std::ops::Range;

use super::{StateIndex, read_varint, write_varint};
use crate::{KeyGroup, KeyHash};

const HAS_SUB: u8 = 1 << 2;
const HAS_EXPIRY: u8 = 1 << 3;
pub(crate) const IS_LAST: u8 = 1 << 4;
const STATE_SHIFT: u32 = 5;
/// The state that says: the state follows.
const STATE_FOLLOWS: u8 = 7;
/// The byte that says: state and version follow. No state has this number.
const VERSION_FOLLOWS: u8 = StateIndex::MAX;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum RecordKind {
    /// The value, chunk or entry is this.
    Put = 0,
    /// Older files' records of the whole row are void.
    RemoveRow = 1,
    /// Older files' records of the state are void.
    RemoveState = 2,
    /// Older files' record of this sub-key is void.
    RemoveEntry = 3,
}

/// One thing said about a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// Which state of the table; 0 for `RemoveRow`.
    pub(crate) state: StateIndex,
    /// Which of the state's schemas the value was archived with; 0 unless it is a put.
    pub(crate) version: u8,
    pub(crate) kind: RecordKind,
    /// Chunk number, archived user key or timestamp; empty for a plain value.
    pub(crate) sub: &'a [u8],
    /// When the record stops to matter, in milliseconds of processing time.
    pub(crate) expires_at_ms: Option<i64>,
    /// The archived value; empty unless it is a put.
    pub(crate) value: &'a [u8],
}

impl<'a> Record<'a> {
    /// A value without sub-key and expiry.
    pub(crate) const fn put(state: StateIndex, value: &'a [u8]) -> Self {
        Record { state, version: 0, kind: RecordKind::Put, sub: &[], expires_at_ms: None, value }
    }

    /// That something is gone.
    pub(crate) const fn remove(kind: RecordKind, state: StateIndex, sub: &'a [u8]) -> Self {
        Record { state, version: 0, kind, sub, expires_at_ms: None, value: &[] }
    }

    /// What a row's records are sorted by within one sorted file.
    pub(crate) fn sort_key(&self) -> (bool, StateIndex, bool, &'a [u8]) {
        let is_of_row = self.kind == RecordKind::RemoveRow;
        (!is_of_row, self.state, self.kind != RecordKind::RemoveState, self.sub)
    }
}

/// Writes the records of one row behind what a buffer holds; [`finish`](Self::finish) completes it.
pub(crate) struct RowWriter<'a> {
    out: &'a mut Vec<u8>,
    row_at: usize,
    last: LastTag,
}

/// The tag of the last record and where it lies: the row's end says there that it is one. Kept, so
/// that the byte is written again and not read: a load right behind its store took a third of the
/// time that a small row takes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LastTag {
    /// 0 before there is one: a row's header precedes it.
    pub(crate) at: usize,
    tag: u8,
}

impl LastTag {
    #[inline(always)]
    fn mark(self, out: &mut [u8]) {
        out[self.at] = self.tag | IS_LAST;
    }
}

impl<'a> RowWriter<'a> {
    #[inline(always)]
    pub(crate) fn begin(out: &'a mut Vec<u8>, group: KeyGroup, hash: KeyHash, key: &[u8]) -> Self {
        let row_at = out.len();
        write_header(out, group, hash, key);
        RowWriter { out, row_at, last: LastTag::default() }
    }

    #[inline(always)]
    pub(crate) fn write(&mut self, record: Record<'_>) {
        self.last = write_record(self.out, record);
    }

    /// How many bytes the row takes so far.
    #[inline]
    pub(crate) fn byte_count(&self) -> usize {
        self.out.len() - self.row_at
    }

    /// Completes the row; a row without records leaves nothing. Says whether there is one.
    #[inline(always)]
    pub(crate) fn finish(self) -> bool {
        if self.last.at == 0 {
            self.out.truncate(self.row_at);
            return false;
        }
        self.last.mark(self.out);
        true
    }
}

/// Writes rows of which the records come one by one, those of a row together.
#[derive(Debug, Default)]
pub(crate) struct RowsWriter {
    out: Vec<u8>,
    /// Of the row that is written: group, hash and where its key lies.
    row: Option<(KeyGroup, KeyHash, Range<usize>)>,
    last: LastTag,
}

impl RowsWriter {
    /// Writes a record of a row, which is the last one's or a new one.
    pub(crate) fn write(&mut self, group: KeyGroup, hash: KeyHash, key: &[u8], record: Record<'_>) {
        let is_same = self.row.as_ref().is_some_and(|(last_group, last_hash, last_key)| {
            (*last_group, *last_hash) == (group, hash) && self.out[last_key.clone()] == *key
        });
        if !is_same {
            self.end_row();
            write_header(&mut self.out, group, hash, key);
            self.row = Some((group, hash, self.out.len() - key.len()..self.out.len()));
        }
        self.last = write_record(&mut self.out, record);
    }

    /// All rows, one behind the other.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.end_row();
        self.out
    }

    fn end_row(&mut self) {
        if self.row.take().is_some() {
            self.last.mark(&mut self.out);
        }
    }
}

#[inline(always)]
fn write_header(out: &mut Vec<u8>, group: KeyGroup, hash: KeyHash, key: &[u8]) {
    let ([g0, g1], [h0, h1, h2, h3]) = (group.0.to_le_bytes(), hash.as_u32().to_le_bytes());
    // Numbers are the keys that there are most of: one capacity is checked for all of it.
    if let Ok(key) = <&[u8; 8]>::try_from(key) {
        let mut header = [g0, g1, h0, h1, h2, h3, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        header[7..].copy_from_slice(key);
        out.extend_from_slice(&header);
        return;
    }
    out.extend_from_slice(&[g0, g1, h0, h1, h2, h3]);
    write_varint(out, length(key));
    out.extend_from_slice(key);
}

/// Appends a record that is not the last of its row; returns its tag.
#[inline(always)]
pub(crate) fn write_record(out: &mut Vec<u8>, record: Record<'_>) -> LastTag {
    let at = out.len();
    let is_versioned = record.version != 0;
    let state = if is_versioned { STATE_FOLLOWS } else { record.state.min(STATE_FOLLOWS) };
    let mut tag = record.kind as u8 | state << STATE_SHIFT;
    tag |= if record.sub.is_empty() { 0 } else { HAS_SUB };
    tag |= if record.expires_at_ms.is_some() { HAS_EXPIRY } else { 0 };
    let last = LastTag { at, tag };
    if tag & (HAS_SUB | HAS_EXPIRY) == 0
        && record.kind == RecordKind::Put
        && state < STATE_FOLLOWS
        && let Ok(value) = <&[u8; 8]>::try_from(record.value)
    {
        // As for keys.
        let mut whole = [tag, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        whole[2..].copy_from_slice(value);
        out.extend_from_slice(&whole);
        return last;
    }
    out.push(tag);
    if is_versioned {
        out.extend_from_slice(&[VERSION_FOLLOWS, record.state, record.version]);
    } else if state == STATE_FOLLOWS {
        out.push(record.state);
    }
    if !record.sub.is_empty() {
        write_varint(out, length(record.sub));
        out.extend_from_slice(record.sub);
    }
    if let Some(expires_at_ms) = record.expires_at_ms {
        out.extend_from_slice(&expires_at_ms.to_le_bytes());
    }
    if record.kind == RecordKind::Put {
        write_varint(out, length(record.value));
        out.extend_from_slice(record.value);
    }
    last
}

#[inline(always)]
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("archives are limited to 2 GiB by rkyv's 32-bit offsets")
}

/// A row as it lies in a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EncodedRow<'a> {
    pub(crate) group: KeyGroup,
    pub(crate) hash: KeyHash,
    pub(crate) key: &'a [u8],
    /// All records, checked when the row was decoded.
    records: &'a [u8],
}

impl<'a> EncodedRow<'a> {
    /// The records as they are encoded, the last one marked.
    pub(crate) fn record_bytes(&self) -> &'a [u8] {
        self.records
    }

    /// The records in the order they were written.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'a>> + use<'a> {
        let mut rest = self.records;
        std::iter::from_fn(move || decode_record(&mut rest).map(|(record, _)| record))
    }
}

/// Bytes that are no row; the offset is where the row begins in what was decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged row: {what}")]
pub(crate) struct DamagedRow {
    /// What does not fit.
    pub(crate) what: &'static str,
}

/// Takes a row off the front of a block's payload and checks all of its records.
pub(crate) fn decode_row<'a>(bytes: &mut &'a [u8]) -> Result<EncodedRow<'a>, DamagedRow> {
    let mut rest = *bytes;
    let cut = DamagedRow { what: "it ends within its header" };
    let (group, after) = rest.split_first_chunk::<2>().ok_or(cut)?;
    let (hash, after) = after.split_first_chunk::<4>().ok_or(cut)?;
    rest = after;
    let key = take_bytes(&mut rest).ok_or(DamagedRow { what: "it ends within its key" })?;
    let records = rest;
    loop {
        let what = "a record is cut or has an unknown tag";
        let (_, is_last) = decode_record(&mut rest).ok_or(DamagedRow { what })?;
        if is_last {
            break;
        }
    }
    let records = &records[..records.len() - rest.len()];
    *bytes = rest;
    let (group, hash) = (KeyGroup(u16::from_le_bytes(*group)), u32::from_le_bytes(*hash));
    Ok(EncodedRow { group, hash: KeyHash::from_u32(hash), key, records })
}

/// Takes a record off the front; tells whether it is the last of its row.
#[inline]
pub(crate) fn decode_record<'a>(rest: &mut &'a [u8]) -> Option<(Record<'a>, bool)> {
    let tag = take_byte(rest)?;
    let kind = match tag & 3 {
        0 => RecordKind::Put,
        1 => RecordKind::RemoveRow,
        2 => RecordKind::RemoveState,
        _ => RecordKind::RemoveEntry,
    };
    let mut version = 0;
    let state = match tag >> STATE_SHIFT {
        STATE_FOLLOWS => match take_byte(rest)? {
            VERSION_FOLLOWS => {
                let state = take_byte(rest)?;
                version = take_byte(rest)?;
                state
            }
            state => state,
        },
        state => state,
    };
    let sub = if tag & HAS_SUB != 0 { take_bytes(rest)? } else { &[] };
    let mut expires_at_ms = None;
    if tag & HAS_EXPIRY != 0 {
        let (expiry, after) = rest.split_first_chunk::<8>()?;
        expires_at_ms = Some(i64::from_le_bytes(*expiry));
        *rest = after;
    }
    let value = if kind == RecordKind::Put { take_bytes(rest)? } else { &[] };
    Some((Record { state, version, kind, sub, expires_at_ms, value }, tag & IS_LAST != 0))
}

#[inline]
fn take_byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

/// Takes a length and as many bytes off the front.
#[inline]
fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = read_varint(bytes)? as usize;
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Record<'static>> {
        vec![
            Record::remove(RecordKind::RemoveRow, 0, &[]),
            Record::put(0, &[1, 2, 3]),
            Record::remove(RecordKind::RemoveState, 7, &[]),
            Record { sub: &[9; 200], expires_at_ms: Some(-5), ..Record::put(31, &[]) },
            Record { version: 1, ..Record::put(0, &[5; 8]) },
            Record { version: 254, sub: &[1], ..Record::put(31, &[5; 8]) },
            Record::remove(RecordKind::RemoveEntry, 6, &[0]),
        ]
    }

    fn encode(records: &[Record<'_>]) -> Vec<u8> {
        let mut out = vec![0xAA];
        let key: Vec<u8> = (0..130).collect();
        let mut row = RowWriter::begin(&mut out, KeyGroup(300), KeyHash::from_u32(77), &key);
        records.iter().for_each(|record| row.write(*record));
        assert_eq!(row.finish(), !records.is_empty());
        out.split_off(1)
    }

    #[test]
    fn rows_round_trip() {
        let bytes = encode(&sample());
        let twice = [bytes.as_slice(), &bytes].concat();
        let mut rest = twice.as_slice();
        for _ in 0..2 {
            let row = decode_row(&mut rest).unwrap();
            assert_eq!((row.group, row.hash.as_u32(), row.key.len()), (KeyGroup(300), 77, 130));
            assert_eq!(row.records().collect::<Vec<_>>(), sample());
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn a_row_without_records_leaves_nothing() {
        assert!(encode(&[]).is_empty());
    }

    #[test]
    fn a_number_by_a_number_takes_25_bytes() {
        let mut out = Vec::new();
        let mut row = RowWriter::begin(&mut out, KeyGroup(1), KeyHash::from_u32(2), &[0; 8]);
        row.write(Record::put(0, &[0; 8]));
        row.finish();
        assert_eq!(out.len(), 25);
    }

    #[test]
    fn cut_rows_are_errors() {
        let bytes = encode(&sample());
        for length in 0..bytes.len() {
            assert!(decode_row(&mut &bytes[..length]).is_err(), "cut to {length}");
        }
    }
}
