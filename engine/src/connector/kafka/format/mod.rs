//! Formats: how bytes of records become values, and values bytes.
//!
//! | format | reads and writes | a value is |
//! |---|---|---|
//! | [`Json<T>`](Json) | JSON, by serde | any `T` of serde |
//! | [`Csv<T>`](Csv) | one row of CSV without header | a tuple, or a struct by the order of its fields |
//! | [`Text`] | UTF-8, checked | `String` |
//! | [`Bytes`] | bytes as they are | `Vec<u8>` |
//! | [`RkyvFormat<T>`](RkyvFormat) | rkyv's archive behind the fingerprint of its schema | a `#[thalweg::record]` |
//!
//! | reads more than the value | a value is |
//! |---|---|
//! | [`Records`] | the whole [`KafkaRecord`](super::KafkaRecord) |
//! | [`KeyValue`] of two formats | `(key, value)` |
//! | [`Nullable`] of a format | `Option`: `None` for a tombstone |
//! | [`from_fn`] of a closure | what it makes of a [`KafkaMessage`] |
//!
//! A format fails record by record: [`FormatError`] says what is wrong, the connector where, and its policy what becomes of it.

mod csv;
mod json;
mod plain;
mod rkyv;
mod whole;

pub use csv::Csv;
pub use json::Json;
pub use plain::{Bytes, Text};
pub use rkyv::RkyvFormat;
pub use whole::{FnFormat, KeyValue, Nullable, Records, from_fn};

use super::record::KafkaMessage;
use crate::BoxError;
use crate::state::SchemaFingerprint;

/// Makes values of records that were read. Cloned for each reader, and used on its core.
///
/// # Examples
/// ```
/// use thalweg::connector::kafka::{DeserializationSchema, FormatError, KafkaMessage};
///
/// /// Temperatures in tenths of a degree, as two bytes.
/// #[derive(Clone)]
/// struct Tenths;
/// impl DeserializationSchema for Tenths {
///     type Out = f64;
///     fn deserialize(&mut self, message: &KafkaMessage<'_>) -> Result<f64, FormatError> {
///         let bytes = message.value().ok_or(FormatError::NoValue)?;
///         let bytes = bytes.try_into().map_err(|_| FormatError::other("not two bytes"))?;
///         Ok(f64::from(i16::from_be_bytes(bytes)) / 10.0)
///     }
/// }
///
/// assert_eq!(Tenths.deserialize(&KafkaMessage::of_value(&[0, 215]))?, 21.5);
/// assert!(Tenths.deserialize(&KafkaMessage::of_value(b"?")).is_err());
/// # Ok::<(), thalweg::BoxError>(())
/// ```
pub trait DeserializationSchema: Clone + Send + Sync + 'static {
    /// The values.
    type Out: Send + 'static;

    /// The value of one record.
    ///
    /// # Errors
    /// Where the record has none: the connector's policy for malformed records decides what becomes of it.
    fn deserialize(&mut self, message: &KafkaMessage<'_>) -> Result<Self::Out, FormatError>;
}

/// Makes bytes of values. Cloned for each sink, and used on its core.
///
/// # Examples
/// ```
/// use thalweg::connector::kafka::{Json, SerializationSchema};
///
/// let (mut format, mut bytes) = (Json::<(u8, String)>::new(), Vec::new());
/// format.serialize(&(7, "x".to_owned()), &mut bytes)?;
/// assert_eq!(bytes, br#"[7,"x"]"#);
/// # Ok::<(), thalweg::BoxError>(())
/// ```
pub trait SerializationSchema<T: ?Sized>: Clone + Send + Sync + 'static {
    /// Appends the bytes of a value to `bytes`, which may hold those of others before.
    ///
    /// # Errors
    /// A value that the format cannot hold. What was appended by then is to be cut off by the caller.
    fn serialize(&mut self, value: &T, bytes: &mut Vec<u8>) -> Result<(), FormatError>;
}

/// A record cannot be decoded, or a value not encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// A tombstone, where the format wants a value.
    #[error("it has no value (a tombstone); read tombstones with the format `Nullable`")]
    NoValue,
    /// No key, where the format wants one.
    #[error(
        "it has no key; read keys that may be missing with `Nullable` as the format of the key"
    )]
    NoKey,
    /// No JSON, or JSON of another shape.
    #[error("it is no JSON of the expected shape: {0}")]
    Json(#[source] serde_json::Error),
    /// No row of CSV, or one of another shape.
    #[error("it is no row of the expected columns: {0}")]
    Csv(#[source] ::csv::Error),
    /// Several rows, or a quoted field without an end.
    #[error("it is not one row of CSV: {0}")]
    CsvRow(&'static str),
    /// Text in another encoding.
    #[error("it is not UTF-8 from byte {valid_bytes} on; read it with the format `Bytes`")]
    NotUtf8 {
        /// How many bytes are.
        valid_bytes: usize,
    },
    /// Too short for what is in front of an archive, or not begun like one.
    #[error(
        "it has {found} bytes and does not begin as an archive of this format does; read it with the format it was written \
         with"
    )]
    NoArchive {
        /// How many bytes there are.
        found: usize,
    },
    /// Written by a program that had another type.
    #[error(
        "schema mismatch: it was written as a type with fingerprint {found}, and is to be read as {expected} (fingerprint \
         {}); read it with the type it was written with, or write the topic anew",
        expected_fingerprint
    )]
    SchemaMismatch {
        /// The structure of the type that is expected.
        expected: Box<str>,
        /// Its fingerprint.
        expected_fingerprint: SchemaFingerprint,
        /// The fingerprint in front of the bytes.
        found: SchemaFingerprint,
    },
    /// The bytes behind the fingerprint are damaged, or the value cannot be archived.
    #[error(transparent)]
    Archive(#[from] crate::state::StateError),
    /// What a format of the user's says.
    #[error(transparent)]
    Other(BoxError),
}

impl FormatError {
    /// Anything else; for formats of your own.
    pub fn other(cause: impl Into<BoxError>) -> Self {
        FormatError::Other(cause.into())
    }
}

/// The value of a message, for formats that want one.
fn value_of<'a>(message: &KafkaMessage<'a>) -> Result<&'a [u8], FormatError> {
    message.value().ok_or(FormatError::NoValue)
}

#[cfg(test)]
mod tests;
