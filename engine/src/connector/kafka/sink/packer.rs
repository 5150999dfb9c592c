//! How values become records: the sink's format with what else a record has, or whole records.

use super::super::error::{KafkaError, KafkaErrorKind};
use super::super::format::{FormatError, SerializationSchema};
use super::super::record::{HeaderWriter, KafkaRecord};
use super::KafkaSink;
use super::chunk::{Chunk, OutputParts, pack_headers};
use crate::record::NO_TIMESTAMP;
use std::fmt;
use std::sync::Arc;

mod sealed {
    pub trait Sealed {}
}

/// Makes records of values; what a [`KafkaSink`] is made with. Closed: it is [`Formatted`] or [`WholeRecords`].
pub trait RecordPacker<T>: sealed::Sealed + Clone + Send + Sync + 'static {
    #[doc(hidden)]
    fn pack(
        &mut self,
        value: T,
        timestamp_ms: i64,
        out: &mut PackInto<'_>,
    ) -> Result<(), KafkaError>;
}

/// Where a packer puts a record.
#[doc(hidden)]
pub struct PackInto<'a> {
    pub(super) chunk: &'a mut Chunk,
    pub(super) sink_topic: &'a str,
}

impl PackInto<'_> {
    fn push(&mut self, record: &OutputParts<'_>) -> Result<(), KafkaError> {
        let topic = if record.topic == self.sink_topic { "" } else { record.topic };
        // 0 would be "now" to the client, and earlier times are none to Kafka.
        let timestamp_ms = record.timestamp_ms.filter(|timestamp_ms| *timestamp_ms > 0);
        self.chunk.push(&OutputParts { topic, timestamp_ms, ..*record })
    }
}

/// Takes the headers of a record; see [`KafkaSink::headers`].
#[derive(Debug)]
pub struct HeadersOut<'a>(HeaderWriter<'a>);

impl HeadersOut<'_> {
    /// Adds a header. Names may repeat.
    pub fn push(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.0.push(name, Some(value.as_ref()));
    }
}

type KeyOf<T> = Arc<dyn Fn(&T, &mut Vec<u8>) -> Result<(), FormatError> + Send + Sync>;
type Of<T, V> = Arc<dyn Fn(&T) -> V + Send + Sync>;
type HeadersOf<T> = Arc<dyn Fn(&T, &mut HeadersOut<'_>) + Send + Sync>;

/// Records whose value is in a format, and whose other parts functions of the value say.
pub struct Formatted<T, F> {
    format: F,
    key: Option<KeyOf<T>>,
    topic: Option<Of<T, String>>,
    partition: Option<Of<T, i32>>,
    timestamp: Option<Of<T, i64>>,
    headers: Option<HeadersOf<T>>,
    tombstone: Option<Of<T, bool>>,
    key_bytes: Vec<u8>,
    value_bytes: Vec<u8>,
    header_bytes: Vec<u8>,
}

impl<T, F> fmt::Debug for Formatted<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Formatted").finish_non_exhaustive()
    }
}

impl<T, F: Clone> Clone for Formatted<T, F> {
    fn clone(&self) -> Self {
        Formatted {
            format: self.format.clone(),
            key: self.key.clone(),
            topic: self.topic.clone(),
            partition: self.partition.clone(),
            timestamp: self.timestamp.clone(),
            headers: self.headers.clone(),
            tombstone: self.tombstone.clone(),
            key_bytes: Vec::new(),
            value_bytes: Vec::new(),
            header_bytes: Vec::new(),
        }
    }
}

impl<T, F> Formatted<T, F> {
    pub(super) fn new(format: F) -> Self {
        Formatted {
            format,
            key: None,
            topic: None,
            partition: None,
            timestamp: None,
            headers: None,
            tombstone: None,
            key_bytes: Vec::new(),
            value_bytes: Vec::new(),
            header_bytes: Vec::new(),
        }
    }
}

impl<T, F> KafkaSink<Formatted<T, F>> {
    /// The key of a record, which chooses its partition as Kafka's own producer does. Default: none, and any partition.
    #[must_use]
    pub fn key_by<K: AsRef<[u8]>>(mut self, key: impl Fn(&T) -> K + Send + Sync + 'static) -> Self {
        self.packer.key = Some(Arc::new(move |value, out| {
            out.extend_from_slice(key(value).as_ref());
            Ok(())
        }));
        self
    }

    /// The key of a record in a format: `part` is what becomes the key.
    ///
    /// # Examples
    /// ```
    /// use thalweg::connector::kafka::{Json, KafkaSink, Text};
    ///
    /// let sink = KafkaSink::builder("localhost:9092").topic("totals").format::<(String, u64), _>(Json::new());
    /// let sink = sink.key_format(Text, |(customer, _)| customer.clone());
    /// # drop(sink);
    /// ```
    #[must_use]
    pub fn key_format<K: 'static, G: SerializationSchema<K>>(
        mut self,
        format: G,
        part: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> Self {
        self.packer.key = Some(Arc::new(move |value, out| {
            // Formats keep buffers at most; a clone for a record costs less than a lock.
            format.clone().serialize(&part(value), out)
        }));
        self
    }

    /// The topic of a record. Default: the sink's. Each must be there; an unknown one fails the job.
    #[must_use]
    pub fn topic_by(mut self, topic: impl Fn(&T) -> String + Send + Sync + 'static) -> Self {
        self.packer.topic = Some(Arc::new(topic));
        self
    }

    /// The partition of a record, from 0; a negative one is chosen by the key. Default: by the key.
    #[must_use]
    pub fn partition_by(mut self, partition: impl Fn(&T) -> i32 + Send + Sync + 'static) -> Self {
        self.packer.partition = Some(Arc::new(partition));
        self
    }

    /// The timestamp of a record, milliseconds since 1970. Default: its event time, and when it is sent if it has none.
    #[must_use]
    pub fn timestamp_by(mut self, timestamp: impl Fn(&T) -> i64 + Send + Sync + 'static) -> Self {
        self.packer.timestamp = Some(Arc::new(timestamp));
        self
    }

    /// The headers of a record. Default: none.
    ///
    /// # Examples
    /// ```
    /// use thalweg::connector::kafka::{KafkaSink, Text};
    ///
    /// let sink = KafkaSink::builder("localhost:9092").topic("words").format::<String, _>(Text);
    /// let sink = sink.headers(|word, headers| headers.push("length", word.len().to_string()));
    /// # drop(sink);
    /// ```
    #[must_use]
    pub fn headers(
        mut self,
        headers: impl Fn(&T, &mut HeadersOut<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.packer.headers = Some(Arc::new(headers));
        self
    }

    /// Which records are tombstones: a key without a value, by which a compacted topic forgets the key. Default: none.
    #[must_use]
    pub fn tombstone_if(
        mut self,
        is_tombstone: impl Fn(&T) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.packer.tombstone = Some(Arc::new(is_tombstone));
        self
    }
}

impl<T, F> sealed::Sealed for Formatted<T, F> {}

fn malformed(part: &str, error: &FormatError) -> KafkaError {
    KafkaError::new(
        KafkaErrorKind::Malformed,
        format!("the {part} of a record cannot be encoded: {error}"),
    )
}

impl<T: 'static, F: SerializationSchema<T>> RecordPacker<T> for Formatted<T, F> {
    fn pack(
        &mut self,
        value: T,
        timestamp_ms: i64,
        out: &mut PackInto<'_>,
    ) -> Result<(), KafkaError> {
        self.key_bytes.clear();
        if let Some(key) = &self.key {
            key(&value, &mut self.key_bytes).map_err(|error| malformed("key", &error))?;
        }
        self.value_bytes.clear();
        let is_tombstone = self.tombstone.as_ref().is_some_and(|is_tombstone| is_tombstone(&value));
        if !is_tombstone {
            let written = self.format.serialize(&value, &mut self.value_bytes);
            written.map_err(|error| malformed("value", &error).of_topic(out.sink_topic))?;
        }
        self.header_bytes.clear();
        if let Some(headers) = &self.headers {
            headers(&value, &mut HeadersOut(HeaderWriter(&mut self.header_bytes)));
        }
        let topic = self.topic.as_ref().map(|topic| topic(&value)).unwrap_or_default();
        let event_time_ms = (timestamp_ms != NO_TIMESTAMP).then_some(timestamp_ms);
        let partition = self.partition.as_ref().map(|partition| partition(&value));
        out.push(&OutputParts {
            topic: &topic,
            partition: partition.filter(|partition| *partition >= 0),
            timestamp_ms: self.timestamp.as_ref().map(|of| of(&value)).or(event_time_ms),
            key: self.key.is_some().then_some(self.key_bytes.as_slice()),
            value: (!is_tombstone).then_some(self.value_bytes.as_slice()),
            headers: &self.header_bytes,
        })
    }
}

/// Records that say all of themselves.
#[derive(Debug, Default)]
pub struct WholeRecords {
    header_bytes: Vec<u8>,
}

impl Clone for WholeRecords {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl sealed::Sealed for WholeRecords {}

impl RecordPacker<KafkaRecord> for WholeRecords {
    fn pack(
        &mut self,
        record: KafkaRecord,
        timestamp_ms: i64,
        out: &mut PackInto<'_>,
    ) -> Result<(), KafkaError> {
        let event_time_ms = (timestamp_ms != NO_TIMESTAMP).then_some(timestamp_ms);
        let headers = record.headers.iter();
        let headers = headers.map(|header| (header.name.as_str(), header.value.as_deref()));
        pack_headers(headers, &mut self.header_bytes);
        out.push(&OutputParts {
            topic: &record.topic,
            partition: record.partition.filter(|partition| *partition >= 0),
            timestamp_ms: record.timestamp_ms.or(event_time_ms),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &self.header_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::format::{Json, Text};
    use super::super::chunk::{Entry, first_entry};
    use super::*;

    fn check<T, P: RecordPacker<T>>(sink: KafkaSink<P>, value: T, expected: impl Fn(Entry<'_>)) {
        let (mut chunk, mut packer) = (Chunk::default(), sink.packer.clone());
        packer.pack(value, 5, &mut PackInto { chunk: &mut chunk, sink_topic: "t" }).unwrap();
        expected(first_entry(&chunk.bytes).unwrap());
    }

    #[test]
    fn all_parts_of_a_record_can_be_said() {
        let sink = || {
            KafkaSink::builder("localhost:9092").topic("t").format::<(String, i32), _>(Json::new())
        };
        let value = || ("k".to_owned(), 7);
        check(sink(), value(), |entry| {
            assert_eq!((entry.topic, entry.partition, entry.timestamp_ms), ("", None, Some(5)));
            assert_eq!((entry.key, entry.value), (None, Some(br#"["k",7]"#.as_slice())));
        });
        let full = sink().key_format(Text, |(key, _)| key.clone()).partition_by(|(_, n)| *n);
        let full = full.topic_by(|_| "other".to_owned()).timestamp_by(|_| 9);
        let full = full.headers(|(_, n), headers| headers.push("n", n.to_string()));
        check(full, value(), |entry| {
            assert_eq!((entry.topic, entry.partition), ("other", Some(7)));
            assert_eq!((entry.key, entry.timestamp_ms), (Some(b"k".as_slice()), Some(9)));
            let headers: Vec<_> = entry.headers.collect();
            assert_eq!(headers, [("n", Some(b"7".as_slice()))]);
        });
        let gone = sink().key_by(|(key, _)| key.clone()).tombstone_if(|(_, n)| *n == 7);
        check(gone, value(), |entry| {
            assert_eq!((entry.key, entry.value), (Some(b"k".as_slice()), None));
        });
    }

    #[test]
    fn whole_records_say_all_of_themselves() {
        let sink = KafkaSink::builder("localhost:9092").topic("t").records();
        let record = KafkaRecord::to("t").with_key("k").with_value("v").with_header("h", "1");
        check(sink.clone(), record.in_partition(3), |entry| {
            assert_eq!((entry.topic, entry.partition, entry.timestamp_ms), ("", Some(3), Some(5)));
            assert_eq!(entry.headers.count(), 1);
        });
        check(sink, KafkaRecord::default().at_ms(-4), |entry| {
            assert_eq!((entry.timestamp_ms, entry.value), (None, None));
        });
    }
}
