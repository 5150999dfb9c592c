//! What crosses from the client's thread to the core: the bytes of many records in one buffer, each copied once, and used again
//! when the core has read them.
//!
//! ```text
//! bytes    key, value, headers │ key, value, headers │ ..          one behind the other, without gaps
//! entries  split, offset, timestamp, where its bytes begin and how many are key, value and headers │ ..
//! ```
//!
//! **Invariant**: an entry's bytes lie within `bytes`: they were appended with it, and nothing is removed before all are.

use crate::connector::kafka::native::NativeMessage;
use crate::connector::kafka::record::KafkaMessage;

/// A batch is handed over when it has so many bytes. Small enough to stay in the processor's cache from the copy to the format,
/// large enough that handing over costs nothing a record.
pub(super) const BATCH_BYTES: usize = 128 << 10;

/// And when it has so many entries.
pub(super) const BATCH_RECORDS: usize = 2_048;

/// A buffer that a large record has made larger than this is not kept.
const KEPT_BYTES_MAX: usize = 8 * BATCH_BYTES;

/// See the module docs.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// Entries that were read.
    read: usize,
}

#[derive(Debug)]
struct Entry {
    slot: u32,
    /// `None`s are -1.
    key_bytes: i32,
    value_bytes: i32,
    header_bytes: u32,
    start: usize,
    offset: i64,
    timestamp_ms: i64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Record,
    Moved,
    Finished,
}

/// What an entry says of its split; the topic is not in it.
#[derive(Debug)]
pub(super) enum Item<'a> {
    /// The next record.
    Record(KafkaMessage<'a>),
    /// Reading goes on at this offset, though no record was before it: markers and aborted records are passed over.
    Moved(i64),
    /// It has been read to its end.
    Finished,
}

/// No timestamp.
const NO_TIME: i64 = i64::MIN;

impl Batch {
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH_BYTES || self.entries.len() >= BATCH_RECORDS
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// For the next use.
    pub(super) fn clear(&mut self) {
        if self.bytes.capacity() > KEPT_BYTES_MAX {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.entries.clear();
        self.read = 0;
    }

    pub(super) fn push(&mut self, slot: u32, message: NativeMessage<'_>) {
        let start = self.bytes.len();
        let key_bytes = self.append(message.key());
        let value_bytes = self.append(message.value());
        let headers_start = self.bytes.len();
        message.write_headers(&mut self.bytes);
        let header_bytes = u32::try_from(self.bytes.len() - headers_start);
        let header_bytes = header_bytes.expect("Kafka's records are below 2 GiB");
        let timestamp_ms = message.timestamp_ms().unwrap_or(NO_TIME);
        let (offset, kind) = (message.offset(), Kind::Record);
        let entry =
            Entry { slot, key_bytes, value_bytes, header_bytes, start, offset, timestamp_ms, kind };
        self.entries.push(entry);
    }

    fn append(&mut self, bytes: Option<&[u8]>) -> i32 {
        let Some(bytes) = bytes else { return -1 };
        self.bytes.extend_from_slice(bytes);
        i32::try_from(bytes.len()).expect("Kafka's records are below 2 GiB")
    }

    pub(super) fn push_moved(&mut self, slot: u32, position: i64) {
        self.note(slot, position, Kind::Moved);
    }

    pub(super) fn push_finished(&mut self, slot: u32) {
        self.note(slot, 0, Kind::Finished);
    }

    fn note(&mut self, slot: u32, offset: i64, kind: Kind) {
        let (key_bytes, value_bytes, header_bytes) = (-1, -1, 0);
        let (start, timestamp_ms) = (self.bytes.len(), NO_TIME);
        let entry =
            Entry { slot, key_bytes, value_bytes, header_bytes, start, offset, timestamp_ms, kind };
        self.entries.push(entry);
    }

    /// The next entry, and the slot of its split.
    #[inline]
    pub(super) fn next(&mut self) -> Option<(usize, Item<'_>)> {
        let entry = self.entries.get(self.read)?;
        self.read += 1;
        let item = match entry.kind {
            Kind::Record => Item::Record(entry.message(&self.bytes)),
            Kind::Moved => Item::Moved(entry.offset),
            Kind::Finished => Item::Finished,
        };
        Some((entry.slot as usize, item))
    }
}

impl Entry {
    #[inline]
    fn message<'a>(&self, bytes: &'a [u8]) -> KafkaMessage<'a> {
        let mut rest = &bytes[self.start..];
        let mut take = |length: i32| {
            let length = usize::try_from(length).ok()?;
            let (taken, behind) = rest.split_at(length);
            rest = behind;
            Some(taken)
        };
        let (key, value) = (take(self.key_bytes), take(self.value_bytes));
        KafkaMessage {
            topic: "",
            partition: 0,
            offset: self.offset,
            timestamp_ms: (self.timestamp_ms != NO_TIME).then_some(self.timestamp_ms),
            key,
            value,
            headers: &rest[..self.header_bytes as usize],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_in_order_and_a_batch_is_used_again() {
        let mut batch = Batch::default();
        for _ in 0..2 {
            assert!(batch.is_empty() && !batch.is_full());
            batch.push_moved(3, 17);
            batch.push_finished(3);
            assert!(matches!(batch.next(), Some((3, Item::Moved(17)))));
            assert!(matches!(batch.next(), Some((3, Item::Finished))));
            assert!(batch.next().is_none() && !batch.is_empty());
            batch.clear();
        }
        (0..BATCH_RECORDS).for_each(|_| batch.push_moved(0, 0));
        assert!(batch.is_full());
        batch.clear();
        assert!(!batch.is_full());
    }

    #[test]
    fn a_message_is_where_its_entry_says() {
        let mut batch = Batch::default();
        batch.bytes.extend_from_slice(b"beforekeyvalueheaders");
        let entry = |key_bytes, value_bytes, start| Entry {
            slot: 0,
            key_bytes,
            value_bytes,
            header_bytes: 7,
            start,
            offset: 5,
            timestamp_ms: NO_TIME,
            kind: Kind::Record,
        };
        let whole = entry(3, 5, 6).message(&batch.bytes);
        assert_eq!((whole.key, whole.value), (Some(&b"key"[..]), Some(&b"value"[..])));
        assert_eq!((whole.headers, whole.offset, whole.timestamp_ms), (&b"headers"[..], 5, None));
        let tombstone = entry(0, -1, 14).message(&batch.bytes);
        assert_eq!((tombstone.key, tombstone.value), (Some(&b""[..]), None));
        assert_eq!(tombstone.headers, b"headers");
    }
}
