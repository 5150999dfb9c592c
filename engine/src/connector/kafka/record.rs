//! Records as Kafka has them: [`KafkaRecord`], which is owned and goes both ways, and [`KafkaMessage`], which formats read.
//!
//! A message borrows from the batch in which it came from the client's thread; its headers are packed there:
//! ```text
//! header = name length u32, value length i32 (-1 for none), name, value      little endian, one behind the other
//! ```
//!
//! **Invariant**: packed headers are written by [`HeaderWriter`] alone, in this process; reading them checks lengths all the
//! same and ends at the first that cannot be.

/// A record of a topic, with all that Kafka keeps of it. Read by the format [`Records`](super::Records); for a sink it is built with
/// [`to`](Self::to).
///
/// # Examples
/// ```
/// use thalweg::connector::kafka::KafkaRecord;
///
/// let record = KafkaRecord::to("orders").with_key("customer 7").with_value(r#"{"total": 12}"#)
///     .with_header("trace", "a1b2").at_ms(1_700_000_000_000);
/// assert_eq!(record.value.as_deref(), Some(br#"{"total": 12}"#.as_slice()));
/// assert_eq!(record.header("trace"), Some(b"a1b2".as_slice()));
/// ```
#[crate::record]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KafkaRecord {
    /// The topic it was read from or is written to.
    pub topic: String,
    /// The partition it was read from. For a sink: the one to write to, or none to choose by the key.
    pub partition: Option<i32>,
    /// Its offset, if it was read. Sinks do not look at it.
    pub offset: Option<i64>,
    /// When it was made, or appended if the topic says so; milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; none for a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers, in order; names may repeat.
    pub headers: Vec<KafkaHeader>,
}

/// A header of a record.
#[crate::record]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KafkaHeader {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Option<Vec<u8>>,
}

impl KafkaRecord {
    /// An empty record for a topic.
    pub fn to(topic: impl Into<String>) -> Self {
        KafkaRecord { topic: topic.into(), ..Self::default() }
    }

    /// With a key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// With a value.
    #[must_use]
    pub fn with_value(mut self, value: impl Into<Vec<u8>>) -> Self {
        self.value = Some(value.into());
        self
    }

    /// With one header more.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push(KafkaHeader { name: name.into(), value: Some(value.into()) });
        self
    }

    /// Made at this time, in milliseconds since 1970.
    #[must_use]
    pub fn at_ms(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }

    /// For this partition.
    #[must_use]
    pub fn in_partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// The value of the last header of this name, as Kafka's clients have it.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let header = self.headers.iter().rev().find(|header| header.name == name)?;
        header.value.as_deref()
    }
}

/// A record as a [`DeserializationSchema`](super::DeserializationSchema) reads it: borrowed, so that bytes which the format does not
/// keep are not copied.
///
/// # Examples
/// ```
/// use thalweg::connector::kafka::KafkaMessage;
///
/// let message = KafkaMessage::of_value(b"21.5").in_topic("temperatures", 0, 17).with_key(b"kitchen");
/// assert_eq!((message.topic(), message.partition(), message.offset()), ("temperatures", 0, 17));
/// assert_eq!(message.headers().count(), 0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct KafkaMessage<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    /// Packed; see the module docs.
    pub(crate) headers: &'a [u8],
}

impl<'a> KafkaMessage<'a> {
    /// A message of this value alone, for tests of formats.
    pub fn of_value(value: &'a [u8]) -> Self {
        let (topic, partition, offset, timestamp_ms) = ("", 0, 0, None);
        let value = Some(value);
        KafkaMessage { topic, partition, offset, timestamp_ms, key: None, value, headers: &[] }
    }

    /// The same with a key.
    #[must_use]
    pub fn with_key(self, key: &'a [u8]) -> Self {
        KafkaMessage { key: Some(key), ..self }
    }

    /// The same without a value: a tombstone.
    #[must_use]
    pub fn without_value(self) -> Self {
        KafkaMessage { value: None, ..self }
    }

    /// The same at a place.
    #[must_use]
    pub fn in_topic(self, topic: &'a str, partition: i32, offset: i64) -> Self {
        KafkaMessage { topic, partition, offset, ..self }
    }

    /// Its topic.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// Its partition.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Its offset.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// When it was made, or appended if the topic says so; milliseconds since 1970.
    pub fn timestamp_ms(&self) -> Option<i64> {
        self.timestamp_ms
    }

    /// Its key.
    pub fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// Its value; none for a tombstone.
    pub fn value(&self) -> Option<&'a [u8]> {
        self.value
    }

    /// Its headers in order: name and value.
    pub fn headers(&self) -> KafkaHeaders<'a> {
        KafkaHeaders { packed: self.headers }
    }

    /// All of it, copied.
    pub fn to_record(&self) -> KafkaRecord {
        let headers = self.headers().map(|(name, value)| KafkaHeader {
            name: name.to_owned(),
            value: value.map(<[u8]>::to_vec),
        });
        KafkaRecord {
            topic: self.topic.to_owned(),
            partition: Some(self.partition),
            offset: Some(self.offset),
            timestamp_ms: self.timestamp_ms,
            key: self.key.map(<[u8]>::to_vec),
            value: self.value.map(<[u8]>::to_vec),
            headers: headers.collect(),
        }
    }
}

/// The headers of a message; see [`KafkaMessage::headers`].
#[derive(Clone, Debug)]
pub struct KafkaHeaders<'a> {
    packed: &'a [u8],
}

impl<'a> KafkaHeaders<'a> {
    /// Headers that a [`HeaderWriter`] has packed.
    pub(crate) fn of_packed(packed: &'a [u8]) -> Self {
        KafkaHeaders { packed }
    }
}

impl<'a> Iterator for KafkaHeaders<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let (name_bytes, rest) = self.packed.split_first_chunk()?;
        let (value_bytes, rest) = rest.split_first_chunk()?;
        let name_bytes = usize::try_from(u32::from_le_bytes(*name_bytes)).ok()?;
        let value_bytes = usize::try_from(i32::from_le_bytes(*value_bytes)).ok();
        let (name, rest) = rest.split_at_checked(name_bytes)?;
        let (value, rest) = rest.split_at_checked(value_bytes.unwrap_or(0))?;
        self.packed = rest;
        Some((std::str::from_utf8(name).ok()?, value_bytes.map(|_| value)))
    }
}

/// Packs headers behind each other.
#[derive(Debug)]
pub(crate) struct HeaderWriter<'a>(pub(crate) &'a mut Vec<u8>);

impl HeaderWriter<'_> {
    /// Appends a header. Kafka's own lengths are `i32`, so that none can be longer.
    pub(crate) fn push(&mut self, name: &str, value: Option<&[u8]>) {
        let name_bytes = u32::try_from(name.len()).expect("Kafka's headers are below 2 GiB");
        let value_bytes = value.map_or(-1, |value| {
            i32::try_from(value.len()).expect("Kafka's headers are below 2 GiB")
        });
        self.0.extend_from_slice(&name_bytes.to_le_bytes());
        self.0.extend_from_slice(&value_bytes.to_le_bytes());
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(value.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&str, Option<&[u8]>)]) {
        let mut packed = Vec::new();
        headers.iter().for_each(|(name, value)| HeaderWriter(&mut packed).push(name, *value));
        let message = KafkaMessage { headers: &packed, ..KafkaMessage::of_value(b"v") };
        assert_eq!(message.headers().collect::<Vec<_>>(), headers);
        // Whatever is cut off, what is left is a prefix and nothing panics.
        for length in 0..packed.len() {
            let cut = KafkaHeaders { packed: &packed[..length] };
            assert!(cut.count() < headers.len().max(1));
        }
    }

    #[test]
    fn headers_are_read_as_they_were_written() {
        check(&[]);
        check(&[("a", Some(b"1"))]);
        check(&[("a", Some(b"1")), ("", None), ("a", Some(b"")), ("größe", Some(&[0xff; 300]))]);
    }

    #[test]
    fn a_message_becomes_a_record() {
        let mut headers = Vec::new();
        HeaderWriter(&mut headers).push("h", Some(b"1"));
        HeaderWriter(&mut headers).push("h", Some(b"2"));
        let message = KafkaMessage::of_value(b"v").with_key(b"k").in_topic("t", 3, 17);
        let message = KafkaMessage { headers: &headers, timestamp_ms: Some(5), ..message };
        let record = message.to_record();
        let mut expected = KafkaRecord::to("t").with_key("k").with_value("v").in_partition(3);
        expected = expected.with_header("h", "1").with_header("h", "2").at_ms(5);
        assert_eq!(record, KafkaRecord { offset: Some(17), ..expected });
        assert_eq!(record.header("h"), Some(b"2".as_slice()));
        assert_eq!(message.without_value().to_record().value, None);
    }
}
