//! Records on their way to the broker, packed into chunks: what is sent and what a checkpoint has are the same bytes.
//!
//! A chunk is filled on the sink's core, then shared and never changed: the lane sends from it while the core keeps it for
//! the next snapshots. Its memory is used again when its epoch is committed.
//!
//! # Format of a record
//! ```text
//! length u32 of what follows | partition i32, -1 for none | timestamp i64, i64::MIN for none | topic length u16, 0 for the
//! sink's | key length i32, -1 for none | value length i32, -1 for none | headers length u32 | topic | key | value | headers
//! ```
//! Little endian, one record behind the other. Headers are packed as in [`record`](super::super::record).
//!
//! **Invariant**: a chunk holds whole records; bytes of a checkpoint are looked through before the first of them is sent.

use super::super::error::{KafkaError, KafkaErrorKind};
use super::super::record::{HeaderWriter, KafkaHeaders};
use std::sync::Arc;

/// A chunk goes on its way when it has this many bytes; measured: 64 KiB and 1 MiB are no faster.
pub(super) const CHUNK_BYTES: usize = 256 << 10;
/// Chunks whose memory is kept for later.
const SPARE_MAX: usize = 256;
/// What lies between a record's length and its topic.
const FIXED_BYTES: usize = 26;

/// Records, packed.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    pub(super) records: u64,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A record as it is packed.
#[derive(Clone, Debug)]
pub(super) struct Entry<'a> {
    /// Empty for the sink's own.
    pub(super) topic: &'a str,
    pub(super) partition: Option<i32>,
    pub(super) timestamp_ms: Option<i64>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    pub(super) headers: KafkaHeaders<'a>,
    /// With its length.
    pub(super) packed_bytes: usize,
}

fn length(part: Option<&[u8]>) -> Result<i32, KafkaError> {
    let Some(part) = part else { return Ok(-1) };
    i32::try_from(part.len()).map_err(|_| {
        let message = format!("a record has a key or value of {} bytes", part.len());
        KafkaError::new(KafkaErrorKind::TooLarge, message)
    })
}

impl Chunk {
    /// Appends a record; the topic is left out if it is the sink's own.
    pub(super) fn push(&mut self, record: &OutputParts<'_>) -> Result<(), KafkaError> {
        let OutputParts { topic, partition, timestamp_ms, key, value, headers } = *record;
        let (key_bytes, value_bytes) = (length(key)?, length(value)?);
        let Ok(topic_bytes) = u16::try_from(topic.len()) else {
            let message = format!("a topic's name has {} bytes", topic.len());
            let error = KafkaError::new(KafkaErrorKind::UnknownTopic, message);
            return Err(error.remedy_is("Kafka takes 249; correct the topic selector"));
        };
        let parts = [topic.as_bytes(), key.unwrap_or(&[]), value.unwrap_or(&[]), headers];
        let rest_bytes = FIXED_BYTES + parts.iter().map(|part| part.len()).sum::<usize>();
        let (Ok(rest_bytes), Ok(header_bytes)) =
            (u32::try_from(rest_bytes), u32::try_from(headers.len()))
        else {
            let message = format!("a record has {rest_bytes} bytes");
            return Err(KafkaError::new(KafkaErrorKind::TooLarge, message).of_topic(topic));
        };
        let out = &mut self.bytes;
        out.reserve(4 + rest_bytes as usize);
        out.extend_from_slice(&rest_bytes.to_le_bytes());
        out.extend_from_slice(&partition.unwrap_or(-1).to_le_bytes());
        out.extend_from_slice(&timestamp_ms.unwrap_or(i64::MIN).to_le_bytes());
        out.extend_from_slice(&topic_bytes.to_le_bytes());
        out.extend_from_slice(&key_bytes.to_le_bytes());
        out.extend_from_slice(&value_bytes.to_le_bytes());
        out.extend_from_slice(&header_bytes.to_le_bytes());
        parts.iter().for_each(|part| out.extend_from_slice(part));
        self.records += 1;
        Ok(())
    }
}

/// What [`Chunk::push`] packs.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutputParts<'a> {
    /// Empty for the sink's own.
    pub(super) topic: &'a str,
    pub(super) partition: Option<i32>,
    pub(super) timestamp_ms: Option<i64>,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
    /// Packed.
    pub(super) headers: &'a [u8],
}

/// Takes bytes off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    /// -1 is none; any other negative length is damage.
    fn optional(&mut self, length: i32) -> Option<Option<&'a [u8]>> {
        match length {
            -1 => Some(None),
            length => Some(Some(self.bytes(usize::try_from(length).ok()?)?)),
        }
    }
}

/// The first record of packed ones; `None` if the bytes cannot be that.
pub(super) fn first_entry(bytes: &[u8]) -> Option<Entry<'_>> {
    let mut all = Reader(bytes);
    let rest_bytes = usize::try_from(u32::from_le_bytes(all.array()?)).ok()?;
    let mut rest = Reader(all.bytes(rest_bytes)?);
    let partition = i32::from_le_bytes(rest.array()?);
    let timestamp_ms = i64::from_le_bytes(rest.array()?);
    let topic_bytes = u16::from_le_bytes(rest.array()?);
    let key_bytes = i32::from_le_bytes(rest.array()?);
    let value_bytes = i32::from_le_bytes(rest.array()?);
    let header_bytes = u32::from_le_bytes(rest.array()?);
    let topic = std::str::from_utf8(rest.bytes(topic_bytes.into())?).ok()?;
    let key = rest.optional(key_bytes)?;
    let value = rest.optional(value_bytes)?;
    let headers = KafkaHeaders::of_packed(rest.bytes(usize::try_from(header_bytes).ok()?)?);
    rest.0.is_empty().then_some(Entry {
        topic,
        partition: (partition >= 0).then_some(partition),
        timestamp_ms: (timestamp_ms != i64::MIN).then_some(timestamp_ms),
        key,
        value,
        headers,
        packed_bytes: 4 + rest_bytes,
    })
}

/// How many records there are; `None` if the bytes are not whole records.
pub(super) fn count_entries(mut bytes: &[u8]) -> Option<u64> {
    let mut count = 0;
    while !bytes.is_empty() {
        bytes = &bytes[first_entry(bytes)?.packed_bytes..];
        count += 1;
    }
    Some(count)
}

/// Memory of chunks that have done their part.
#[derive(Debug, Default)]
pub(super) struct ChunkPool {
    spare: Vec<Vec<u8>>,
}

impl ChunkPool {
    /// An empty chunk.
    pub(super) fn take(&mut self) -> Chunk {
        let bytes = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(CHUNK_BYTES + (4 << 10)));
        Chunk { bytes, records: 0 }
    }

    /// Keeps the memory of a chunk that nobody else has.
    pub(super) fn put(&mut self, chunk: Arc<Chunk>) {
        if let Some(chunk) = Arc::into_inner(chunk) {
            self.put_bytes(chunk.bytes);
        }
    }

    pub(super) fn put_bytes(&mut self, mut bytes: Vec<u8>) {
        // Neither what was cut to measure, nor what one large record has made large.
        let fits = (CHUNK_BYTES..=2 * CHUNK_BYTES).contains(&bytes.capacity());
        if fits && self.spare.len() < SPARE_MAX {
            bytes.clear();
            self.spare.push(bytes);
        }
    }
}

/// Packs headers for [`OutputParts::headers`].
pub(super) fn pack_headers<'a>(
    headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>,
    out: &mut Vec<u8>,
) {
    out.clear();
    headers.for_each(|(name, value)| HeaderWriter(out).push(name, value));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> OutputParts<'a> {
        OutputParts { topic: "", partition: None, timestamp_ms: None, key, value, headers: &[] }
    }

    #[test]
    fn records_are_read_as_they_were_packed() {
        let mut headers = Vec::new();
        pack_headers([("h", Some(b"1".as_slice())), ("h", None)].into_iter(), &mut headers);
        let records = [
            parts(Some(b"k"), Some(b"v")),
            parts(None, None),
            parts(Some(b""), Some(b"")),
            OutputParts {
                topic: "t",
                partition: Some(0),
                timestamp_ms: Some(-5),
                headers: &headers,
                ..parts(None, Some(b"x"))
            },
        ];
        let mut chunk = Chunk::default();
        records.iter().for_each(|record| chunk.push(record).unwrap());
        assert_eq!((chunk.records, count_entries(&chunk.bytes)), (4, Some(4)));
        let mut bytes = chunk.bytes.as_slice();
        for expected in &records {
            let entry = first_entry(bytes).unwrap();
            assert_eq!((entry.topic, entry.partition), (expected.topic, expected.partition));
            assert_eq!((entry.key, entry.value), (expected.key, expected.value));
            assert_eq!(entry.timestamp_ms, expected.timestamp_ms);
            let count = if expected.headers.is_empty() { 0 } else { 2 };
            assert_eq!(entry.headers.clone().count(), count);
            bytes = &bytes[entry.packed_bytes..];
        }
        assert!(bytes.is_empty());
    }

    #[test]
    fn damaged_bytes_are_refused_and_never_read_beyond() {
        let mut chunk = Chunk::default();
        chunk.push(&parts(Some(b"key"), Some(b"value"))).unwrap();
        let whole = chunk.bytes.clone();
        for length in 1..whole.len() {
            assert_eq!(count_entries(&whole[..length]), None, "{length}");
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x80;
            let _ = count_entries(&bytes); // any answer but a panic
        }
        assert_eq!(count_entries(&[whole.as_slice(), &[0]].concat()), None);
    }

    #[test]
    fn memory_is_used_again_when_nobody_has_it() {
        let mut pool = ChunkPool::default();
        let chunk = Arc::new(pool.take());
        let place = chunk.bytes.as_ptr();
        let shared = chunk.clone();
        pool.put(chunk);
        assert!(pool.spare.is_empty());
        pool.put(shared);
        assert_eq!(pool.take().bytes.as_ptr(), place);
        pool.put_bytes(Vec::with_capacity(10));
        assert!(pool.spare.is_empty());
    }
}
