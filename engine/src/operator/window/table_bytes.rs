//! The bytes of windows that are kept in tables of the operator's own: panes, slices and sessions.
//!
//! Little endian, nothing aligned:
//! ```text
//! header   version u64, kind u64, key type u64, accumulator type u64 (fingerprints), key groups u64,
//!          settings 3 x i64, watermark i64, next end i64, key bytes u32, accumulator bytes u32, entries u64,
//!          schema of the accumulators: length u32, text                      not in version 1
//! chunk    start i64, end i64, entries u64, bytes of its entries u64        of one window or slice; any number of them
//! entry    hash u32, 3 x i64 (sessions alone), lengths (see below), archive of the key, archive of the accumulator
//! ```
//! `key bytes` says how long each key's archive is, or that they differ (`u32::MAX`): then each entry has its length, as
//! a `u32`; the same holds for accumulators. Chunks of one window may come in pieces and in any order.
//!
//! Accumulators may have become another type since, if [`Evolution`] finds that the one can become the other; a piece of version 1
//! has accumulators of the same type.
//!
//! `settings` are size, slide and offset of the windows; of sessions they are zeros, because an open session says itself
//! how long it is, so that their gap may change from one run to the next. So may the allowed lateness, of all of them.
//!
//! **Invariants**
//! - Each entry has the hash of its key, so that a subtask can leave out those that belong to others.
//! - Bytes that do not fit this form are an error, never a panic.

use crate::state::rkyv::util::AlignedVec;
use crate::state::{
    Evolution, SchemaDescription, SchemaFingerprint, SchemaRefused, StateError, StateValue,
};
use crate::window::{AlignedWindows, TimeWindow};
use std::fmt;
use thalweg_state::{Key, KeyGroupRange, KeyHash, key_group_of};

const VERSION: u64 = 2;
/// The version without the schema of the accumulators.
const BARE_VERSION: u64 = 1;
const HEADER_BYTES: usize = 96;
/// Where the header says how many entries there are.
const ENTRIES_AT: usize = 88;
const CHUNK_HEADER_BYTES: usize = 32;
/// Archives differ in their length.
const DIFFERS: u32 = u32::MAX;

/// How windows are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableKind {
    Panes,
    Slices,
    Sessions,
}

impl TableKind {
    fn number(self) -> u64 {
        match self {
            TableKind::Panes => 1,
            TableKind::Slices => 2,
            TableKind::Sessions => 3,
        }
    }

    fn name_of(number: u64) -> &'static str {
        match number {
            1 => "windows one by one",
            2 => "slices that windows share",
            3 => "sessions",
            _ => "something that this program does not know",
        }
    }
}

/// What a piece says of all its windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableHeader {
    pub(crate) kind: TableKind,
    pub(crate) max_parallelism: u16,
    /// `None` for sessions.
    pub(crate) windows: Option<AlignedWindows>,
    pub(crate) watermark: i64,
    /// The end of the first window that has not fired, of slices; else `i64::MAX`.
    pub(crate) next_end_ms: i64,
}

impl TableHeader {
    fn settings(&self) -> [i64; 3] {
        self.windows.map_or([0; 3], |w| [w.size_ms, w.slide_ms, w.offset_ms])
    }
}

/// Times of a session: its start, its end, and when it is to be looked at.
pub(crate) type Times = [i64; 3];

/// Why a piece cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    #[error("it ends at byte {length}, within what begins at byte {at}; the checkpoint is damaged")]
    Short { at: usize, length: usize },
    #[error("it has {found} entries where {expected} are expected; the checkpoint is damaged")]
    Entries { expected: u64, found: u64 },
    #[error("the key at byte {at} does not have the hash beside it; the checkpoint is damaged")]
    Hash { at: usize },
    #[error(
        "it is of format version {found}, this program reads {VERSION}; use a program as new as the checkpoint"
    )]
    Version { found: u64 },
    #[error(
        "it keeps {found}, and the operator now keeps {expected}; change window, trigger or function back, or begin \
         without the checkpoint"
    )]
    Kind { expected: &'static str, found: &'static str },
    #[error(
        "the type of its {what} is now {expected}, and was one with fingerprint {found}; change the type back, or begin \
         without the checkpoint"
    )]
    Schema { what: &'static str, expected: Box<str>, found: SchemaFingerprint },
    #[error("the type of its accumulators is now {expected}, and was {found}: {refused}")]
    Changed { expected: Box<str>, found: Box<str>, refused: Box<SchemaRefused> },
    #[error("the description of its accumulators is not what it was; the checkpoint is damaged")]
    OtherText,
    #[error(
        "its maximum parallelism was {found} and is now {expected}; set it back, or begin without the checkpoint"
    )]
    MaxParallelism { expected: u64, found: u64 },
    #[error(
        "its windows were {} and are now {}; change them back, or begin without the checkpoint", Settings(*found),
        Settings(*expected)
    )]
    Settings { expected: [i64; 3], found: [i64; 3] },
    #[error(
        "the checkpoint has the operator, but no windows as it keeps them now; change window, trigger, evictor and \
         function back, or begin without the checkpoint"
    )]
    Missing,
    #[error(
        "the checkpoint has windows in tables, which window, trigger, evictor and function do not allow as they are now; \
         change them back, or begin without the checkpoint"
    )]
    NotGeneral,
    #[error(transparent)]
    Value(#[from] StateError),
}

/// Settings of windows, in words.
#[derive(Debug)]
struct Settings([i64; 3]);

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [size_ms, slide_ms, offset_ms] = self.0;
        write!(f, "of {size_ms} ms every {slide_ms} ms")?;
        if offset_ms == 0 { Ok(()) } else { write!(f, " with an offset of {offset_ms} ms") }
    }
}

/// Writes a piece entry by entry.
pub(crate) struct TableWriter {
    bytes: Vec<u8>,
    key_bytes: Option<usize>,
    accumulator_bytes: Option<usize>,
    entries: u64,
    /// Where the chunk at hand begins, and how many entries there were before it.
    chunk: Option<(usize, u64)>,
    /// For one archive.
    scratch: AlignedVec,
}

impl TableWriter {
    /// Begins a piece of keys `K` with accumulators `A`, of about so many.
    pub(crate) fn new<K: StateValue, A: StateValue>(header: &TableHeader, about: usize) -> Self {
        let (key_bytes, accumulator_bytes) = (fixed_bytes::<K>(), fixed_bytes::<A>());
        let times = if header.kind == TableKind::Sessions { size_of::<Times>() } else { 0 };
        let each = key_bytes.zip(accumulator_bytes).map_or(0, |(key, value)| key + value);
        let capacity =
            HEADER_BYTES + CHUNK_HEADER_BYTES + about * (size_of::<u32>() + times + each);
        let mut bytes = Vec::with_capacity(capacity);
        let words = [
            VERSION,
            header.kind.number(),
            SchemaDescription::of::<K>().fingerprint().0,
            SchemaDescription::of::<A>().fingerprint().0,
            header.max_parallelism.into(),
        ];
        words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        let times = [header.watermark, header.next_end_ms];
        let times = header.settings().into_iter().chain(times);
        times.for_each(|time| bytes.extend_from_slice(&time.to_le_bytes()));
        for length in [key_bytes, accumulator_bytes] {
            bytes.extend_from_slice(&length.map_or(DIFFERS, |length| length as u32).to_le_bytes());
        }
        bytes.extend_from_slice(&0_u64.to_le_bytes());
        debug_assert_eq!(bytes.len(), HEADER_BYTES);
        let schema = SchemaDescription::of::<A>();
        bytes.extend_from_slice(&(schema.text().len() as u32).to_le_bytes());
        bytes.extend_from_slice(schema.text().as_bytes());
        let (entries, chunk, scratch) = (0, None, AlignedVec::new());
        TableWriter { bytes, key_bytes, accumulator_bytes, entries, chunk, scratch }
    }

    /// Entries of this window follow.
    pub(crate) fn begin_chunk(&mut self, window: TimeWindow) {
        self.end_chunk();
        self.chunk = Some((self.bytes.len(), self.entries));
        self.bytes.extend_from_slice(&window.start.to_le_bytes());
        self.bytes.extend_from_slice(&window.end.to_le_bytes());
        self.bytes.extend_from_slice(&[0; 16]);
    }

    fn end_chunk(&mut self) {
        let Some((at, before)) = self.chunk.take() else { return };
        let (entries, length) = (self.entries - before, self.bytes.len() - at - CHUNK_HEADER_BYTES);
        if entries == 0 {
            return self.bytes.truncate(at);
        }
        self.bytes[at + 16..at + 24].copy_from_slice(&entries.to_le_bytes());
        self.bytes[at + 24..at + 32].copy_from_slice(&(length as u64).to_le_bytes());
    }

    /// Adds an entry to the chunk at hand; `times` of sessions, nothing else.
    #[inline]
    pub(crate) fn entry<K: StateValue, A: StateValue>(
        &mut self,
        hash: KeyHash,
        times: &[i64],
        key: &K,
        accumulator: &A,
    ) -> Result<(), StateError> {
        self.entries += 1;
        self.bytes.extend_from_slice(&hash.as_u32().to_le_bytes());
        times.iter().for_each(|time| self.bytes.extend_from_slice(&time.to_le_bytes()));
        if let (Some(_), Some(_)) = (self.key_bytes, self.accumulator_bytes)
            && let (Some(key), Some(accumulator)) = (key.as_archived(), accumulator.as_archived())
        {
            self.bytes.extend_from_slice(key);
            self.bytes.extend_from_slice(accumulator);
            return Ok(());
        }
        let lengths_at = self.bytes.len();
        let is_fixed = [self.key_bytes.is_some(), self.accumulator_bytes.is_some()];
        let lengths = is_fixed.iter().filter(|is_fixed| !**is_fixed).count() * size_of::<u32>();
        self.bytes.resize(lengths_at + lengths, 0);
        let key_length = self.archive(key)?;
        let accumulator_length = self.archive(accumulator)?;
        let lengths = [key_length, accumulator_length].into_iter().zip(is_fixed);
        let lengths = lengths.filter(|(_, is_fixed)| !is_fixed);
        for (index, (length, _)) in lengths.enumerate() {
            let at = lengths_at + index * size_of::<u32>();
            self.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
        }
        Ok(())
    }

    /// Appends a value's archive and tells its length.
    fn archive<V: StateValue>(&mut self, value: &V) -> Result<u32, StateError> {
        let start = self.bytes.len();
        match value.as_archived() {
            Some(archive) => self.bytes.extend_from_slice(archive),
            None => {
                self.scratch.clear();
                value.archive_into(&mut self.scratch)?;
                self.bytes.extend_from_slice(&self.scratch);
            }
        }
        // rkyv itself refuses archives of 2 GiB.
        Ok((self.bytes.len() - start) as u32)
    }

    /// The whole piece.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.end_chunk();
        self.bytes[ENTRIES_AT..HEADER_BYTES].copy_from_slice(&self.entries.to_le_bytes());
        self.bytes
    }
}

/// The length of all archives of a type, where they have one.
fn fixed_bytes<V: StateValue>() -> Option<usize> {
    V::ELEMENT_BYTES.filter(|length| *length < DIFFERS as usize)
}

/// What of a piece a subtask takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) groups: KeyGroupRange,
    pub(crate) max_parallelism: u16,
}

/// An entry of a piece.
pub(crate) struct TableEntry<K, A> {
    pub(crate) window: TimeWindow,
    pub(crate) hash: KeyHash,
    /// Of sessions; else zeros.
    pub(crate) times: Times,
    pub(crate) key: K,
    pub(crate) accumulator: A,
}

/// Reads a piece that was written by an operator like that of `expected`: gives the entries of this share to `take`, and
/// returns watermark and next end.
pub(crate) fn read_tables<K: Key, A: StateValue>(
    bytes: &[u8],
    expected: &TableHeader,
    share: Share,
    mut take: impl FnMut(TableEntry<K, A>),
) -> Result<(i64, i64), TableError> {
    let mut cursor = Cursor { bytes, at: 0 };
    let (times, lengths, entries, evolution) = read_header::<K, A>(&mut cursor, expected)?;
    let is_sessions = expected.kind == TableKind::Sessions;
    let mut found = 0;
    while cursor.at < bytes.len() {
        let window = TimeWindow { start: cursor.time()?, end: cursor.time()? };
        let (count, length) = (cursor.word()?, cursor.word()?);
        let chunk_at = cursor.at;
        let end = usize::try_from(length).ok().and_then(|length| chunk_at.checked_add(length));
        let end = end.filter(|end| *end <= bytes.len());
        let end = end.ok_or(TableError::Short { at: chunk_at, length: bytes.len() })?;
        let mut chunk = Cursor { bytes: &bytes[..end], at: chunk_at };
        for _ in 0..count {
            let at = chunk.at;
            let hash = KeyHash::from_u32(u32::from_le_bytes(*chunk.take_array()?));
            let mut times = Times::default();
            if is_sessions {
                times = [chunk.time()?, chunk.time()?, chunk.time()?];
            }
            let key_length = chunk.length(lengths.0)?;
            let accumulator_length = chunk.length(lengths.1)?;
            let (key, accumulator) = (chunk.take(key_length)?, chunk.take(accumulator_length)?);
            if !share.groups.contains(key_group_of(hash, share.max_parallelism)) {
                continue;
            }
            let key = K::from_archived(key)?;
            let accumulator = match &evolution {
                None => A::from_archived(accumulator)?,
                Some(evolution) => A::from_old(evolution.old_type(), accumulator)?,
            };
            if key.key_hash() != hash {
                return Err(TableError::Hash { at });
            }
            take(TableEntry { window, hash, times, key, accumulator });
        }
        found += count;
        cursor.at = chunk.at;
        if cursor.at != end {
            return Err(TableError::Short { at: chunk_at, length: cursor.at });
        }
    }
    match found == entries {
        true => Ok(times),
        false => Err(TableError::Entries { expected: entries, found }),
    }
}

/// Lengths of keys and accumulators, as the header says them.
type Lengths = (u32, u32);

/// What a header says: watermark and next end, lengths, how many entries there are, and how accumulators of an older type are read.
type Header = ((i64, i64), Lengths, u64, Option<Evolution>);

/// Compares a header with what is expected.
fn read_header<K: StateValue, A: StateValue>(
    cursor: &mut Cursor<'_>,
    expected: &TableHeader,
) -> Result<Header, TableError> {
    let version = cursor.word()?;
    if version != VERSION && version != BARE_VERSION {
        return Err(TableError::Version { found: version });
    }
    let kind = cursor.word()?;
    if kind != expected.kind.number() {
        let (expected, found) = (expected.kind.number(), kind);
        let (expected, found) = (TableKind::name_of(expected), TableKind::name_of(found));
        return Err(TableError::Kind { expected, found });
    }
    check_type::<K>("keys", cursor.word()?)?;
    let accumulators = cursor.word()?;
    let max_parallelism = cursor.word()?;
    if max_parallelism != u64::from(expected.max_parallelism) {
        let (expected, found) = (expected.max_parallelism.into(), max_parallelism);
        return Err(TableError::MaxParallelism { expected, found });
    }
    let settings = [cursor.time()?, cursor.time()?, cursor.time()?];
    if settings != expected.settings() {
        return Err(TableError::Settings { expected: expected.settings(), found: settings });
    }
    let times = (cursor.time()?, cursor.time()?);
    let lengths = (cursor.take_array()?, cursor.take_array()?);
    let lengths = (u32::from_le_bytes(*lengths.0), u32::from_le_bytes(*lengths.1));
    let entries = cursor.word()?;
    let mut text = "";
    if version != BARE_VERSION {
        let length = u32::from_le_bytes(*cursor.take_array()?) as usize;
        text = std::str::from_utf8(cursor.take(length)?).map_err(|_| TableError::OtherText)?;
    }
    let evolution = evolution_of::<A>(accumulators, text)?;
    Ok((times, lengths, entries, evolution))
}

/// How accumulators that were of another type become `A`.
fn evolution_of<A: StateValue>(
    fingerprint: u64,
    text: &str,
) -> Result<Option<Evolution>, TableError> {
    let now = SchemaDescription::of::<A>();
    if text.is_empty() || fingerprint == now.fingerprint().0 {
        return check_type::<A>("accumulators", fingerprint).map(|()| None);
    }
    if SchemaFingerprint::of_text(text).0 != fingerprint {
        return Err(TableError::OtherText);
    }
    match Evolution::between(text, &now) {
        Ok(evolution) => Ok(Some(evolution)),
        Err(refused) => {
            let (expected, found) = (now.text().into(), text.into());
            let refused = Box::new(refused);
            Err(TableError::Changed { expected, found, refused })
        }
    }
}

fn check_type<V: StateValue>(what: &'static str, found: u64) -> Result<(), TableError> {
    let expected = SchemaDescription::of::<V>();
    match expected.fingerprint().0 == found {
        true => Ok(()),
        false => Err(TableError::Schema {
            what,
            expected: expected.text().into(),
            found: SchemaFingerprint(found),
        }),
    }
}

/// A place in bytes that may end anywhere.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], TableError> {
        let end = self.at.checked_add(length);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or(TableError::Short { at: self.at, length: self.bytes.len() })?;
        self.at += length;
        Ok(taken)
    }

    #[inline]
    fn take_array<const N: usize>(&mut self) -> Result<&'a [u8; N], TableError> {
        let (at, length) = (self.at, self.bytes.len());
        let taken = self.take(N)?.first_chunk();
        taken.ok_or(TableError::Short { at, length })
    }

    fn word(&mut self) -> Result<u64, TableError> {
        Ok(u64::from_le_bytes(*self.take_array()?))
    }

    fn time(&mut self) -> Result<i64, TableError> {
        Ok(i64::from_le_bytes(*self.take_array()?))
    }

    /// A length that all have, or the one that comes next.
    #[inline]
    fn length(&mut self, fixed: u32) -> Result<usize, TableError> {
        match fixed {
            DIFFERS => Ok(u32::from_le_bytes(*self.take_array()?) as usize),
            fixed => Ok(fixed as usize),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PANES: TableHeader = TableHeader {
        kind: TableKind::Panes,
        max_parallelism: 128,
        windows: Some(AlignedWindows { size_ms: 10, slide_ms: 5, offset_ms: 0 }),
        watermark: 41,
        next_end_ms: i64::MAX,
    };
    const ALL: Share = Share { groups: KeyGroupRange { start: 0, end: 128 }, max_parallelism: 128 };

    fn window(start: i64) -> TimeWindow {
        TimeWindow { start, end: start + 10 }
    }

    fn write<K: Key, A: StateValue>(header: &TableHeader, entries: &[(i64, K, A)]) -> Vec<u8> {
        let mut writer = TableWriter::new::<K, A>(header, entries.len());
        for (start, key, accumulator) in entries {
            writer.begin_chunk(window(*start));
            let times = [*start, *start + 7, *start + 6];
            let times = if header.kind == TableKind::Sessions { &times[..] } else { &[] };
            writer.entry(key.key_hash(), times, key, accumulator).unwrap();
        }
        writer.begin_chunk(window(0));
        writer.finish()
    }

    fn read<K: Key, A: StateValue>(
        bytes: &[u8],
        header: &TableHeader,
        share: Share,
    ) -> Result<Vec<(i64, Times, K, A)>, TableError> {
        let mut entries = Vec::new();
        read_tables(bytes, header, share, |entry| {
            assert_eq!(entry.window, window(entry.window.start));
            entries.push((entry.window.start, entry.times, entry.key, entry.accumulator));
        })?;
        Ok(entries)
    }

    fn check<K: Key + std::fmt::Debug, A: StateValue + PartialEq + std::fmt::Debug>(
        entries: &[(i64, K, A)],
    ) {
        let bytes = write(&PANES, entries);
        let read_back = read::<K, A>(&bytes, &PANES, ALL).unwrap();
        let plain = read_back.into_iter().map(|(start, _, key, value)| (start, key, value));
        assert_eq!(plain.collect::<Vec<_>>(), entries);
        for length in 0..bytes.len() {
            assert!(read::<K, A>(&bytes[..length], &PANES, ALL).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn entries_of_all_forms_round_trip_and_no_part_of_them_does() {
        check::<u64, u64>(&[(0, 1, 2), (5, 3, 4), (0, 5, 6)]);
        check(&[(0, "a".to_string(), 2_u64), (5, "longer than its inline form".to_string(), 4)]);
        check(&[(0, 7_u32, Some("a".to_string())), (-5, 8, None)]);
        check(&[(0, "key".to_string(), vec![1_u8, 2]), (10, String::new(), vec![])]);
        check::<u64, u64>(&[]);
        let header = TableHeader { kind: TableKind::Sessions, windows: None, ..PANES };
        let bytes = write(&header, &[(0, 1_u64, 2_u32), (5, 3, 4)]);
        let sessions = read::<u64, u32>(&bytes, &header, ALL).unwrap();
        assert_eq!(sessions, [(0, [0, 7, 6], 1, 2), (5, [5, 12, 11], 3, 4)]);
    }

    #[test]
    fn shares_divide_the_entries() {
        let entries: Vec<_> = (0..500_u64).map(|key| (0, key, key * 2)).collect();
        let bytes = write(&PANES, &entries);
        for parallelism in [1, 2, 3, 7] {
            let mut keys = Vec::new();
            for subtask in 0..parallelism {
                let groups = KeyGroupRange::of(subtask, parallelism, 128).unwrap();
                let share = Share { groups, ..ALL };
                let part = read::<u64, u64>(&bytes, &PANES, share).unwrap();
                assert!(!part.is_empty());
                keys.extend(part.into_iter().map(|entry| entry.2));
            }
            keys.sort_unstable();
            assert!(keys.into_iter().eq(0..500), "{parallelism}");
        }
    }

    #[test]
    fn what_does_not_fit_the_operator_is_refused_by_name() {
        let bytes = write(&PANES, &[(0, 1_u64, 2_u64)]);
        let refused =
            |header: &TableHeader| read::<u64, u64>(&bytes, header, ALL).unwrap_err().to_string();
        let slices = TableHeader { kind: TableKind::Slices, ..PANES };
        assert!(
            refused(&slices)
                .starts_with("it keeps windows one by one, and the operator now keeps slices")
        );
        let wide = AlignedWindows { size_ms: 20, slide_ms: 5, offset_ms: 2 };
        let wide = TableHeader { windows: Some(wide), ..PANES };
        assert!(refused(&wide).contains(
            "were of 10 ms every 5 ms and are now of 20 ms every 5 ms with an offset of 2 ms"
        ));
        let groups = TableHeader { max_parallelism: 256, ..PANES };
        assert!(refused(&groups).contains("maximum parallelism was 128 and is now 256"));
        let key = read::<u32, u64>(&bytes, &PANES, ALL).unwrap_err().to_string();
        assert!(key.contains("the type of its keys is now u32"), "{key}");
        let value = read::<u64, (u64, u64)>(&bytes, &PANES, ALL).unwrap_err().to_string();
        assert!(value.contains("the type of its accumulators is now (u64,u64)"), "{value}");
        let wider = read::<u64, u128>(&bytes, &PANES, ALL).unwrap();
        assert_eq!(wider, [(0, [0; 3], 1, 2_u128)]);
        let bare = [&bytes[..HEADER_BYTES], &bytes[HEADER_BYTES + 4 + "u64".len()..]].concat();
        let bare = [&BARE_VERSION.to_le_bytes(), &bare[8..]].concat();
        assert_eq!(read::<u64, u64>(&bare, &PANES, ALL).unwrap(), [(0, [0; 3], 1, 2)]);
        let value = read::<u64, u128>(&bare, &PANES, ALL).unwrap_err();
        assert!(matches!(value, TableError::Schema { .. }), "{value}");
        let mut newer = bytes.clone();
        newer[0] = 9;
        let newer = read::<u64, u64>(&newer, &PANES, ALL).unwrap_err().to_string();
        assert!(newer.contains("format version 9"), "{newer}");
        let mut other_key = bytes.clone();
        other_key[HEADER_BYTES + 4 + "u64".len() + CHUNK_HEADER_BYTES + 4] ^= 1;
        let other_key = read::<u64, u64>(&other_key, &PANES, ALL).unwrap_err();
        assert!(matches!(other_key, TableError::Hash { .. }), "{other_key}");
        let mut fewer = bytes;
        fewer[ENTRIES_AT] = 7;
        let fewer = read::<u64, u64>(&fewer, &PANES, ALL).unwrap_err();
        assert!(matches!(fewer, TableError::Entries { expected: 7, found: 1 }), "{fewer}");
    }

    #[test]
    fn no_byte_that_is_changed_makes_it_panic() {
        let entries = [(0, "first".to_string(), vec![7_u64, 8]), (5, "second".to_string(), vec![])];
        let bytes = write(&PANES, &entries);
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xFF] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                drop(read_tables::<String, Vec<u64>>(&damaged, &PANES, ALL, |_| ()));
            }
        }
    }
}
