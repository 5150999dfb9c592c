//! Formats that read more than the value.

use super::{DeserializationSchema, FormatError};
use crate::connector::kafka::record::{KafkaMessage, KafkaRecord};

/// The whole record: key, value, headers, timestamp and place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Records;

impl DeserializationSchema for Records {
    type Out = KafkaRecord;

    fn deserialize(&mut self, message: &KafkaMessage<'_>) -> Result<KafkaRecord, FormatError> {
        Ok(message.to_record())
    }
}

/// Key and value, each by its format: `(key, value)`. The format of the key sees the key in the value's place.
///
/// # Examples
/// ```
/// use thalweg::connector::kafka::{DeserializationSchema, Json, KafkaMessage, KeyValue, Nullable, Text};
///
/// let mut format = KeyValue(Text, Nullable(Json::<u32>::new()));
/// let message = KafkaMessage::of_value(b"7").with_key(b"seven");
/// assert_eq!(format.deserialize(&message)?, ("seven".to_owned(), Some(7)));
/// assert_eq!(format.deserialize(&message.without_value())?, ("seven".to_owned(), None));
/// # Ok::<(), thalweg::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyValue<K, V>(pub K, pub V);

impl<K: DeserializationSchema, V: DeserializationSchema> DeserializationSchema for KeyValue<K, V> {
    type Out = (K::Out, V::Out);

    fn deserialize(&mut self, message: &KafkaMessage<'_>) -> Result<Self::Out, FormatError> {
        let key = KafkaMessage { value: message.key, ..*message };
        let key = self.0.deserialize(&key).map_err(|error| match error {
            FormatError::NoValue => FormatError::NoKey,
            other => other,
        })?;
        Ok((key, self.1.deserialize(message)?))
    }
}

/// `None` for a record without value (a tombstone), otherwise what the format makes of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nullable<F>(pub F);

impl<F: DeserializationSchema> DeserializationSchema for Nullable<F> {
    type Out = Option<F::Out>;

    fn deserialize(&mut self, message: &KafkaMessage<'_>) -> Result<Self::Out, FormatError> {
        match message.value {
            None => Ok(None),
            Some(_) => self.0.deserialize(message).map(Some),
        }
    }
}

/// A closure as a format; see [`from_fn`].
#[derive(Clone, Copy, Debug)]
pub struct FnFormat<F>(F);

/// A format that is a closure, for reading: anything of the record, and any error.
///
/// # Examples
/// ```
/// use thalweg::connector::kafka::{DeserializationSchema, KafkaMessage, from_fn};
///
/// let mut lengths = from_fn(|message: &KafkaMessage<'_>| Ok(message.value().map_or(0, <[u8]>::len)));
/// assert_eq!(lengths.deserialize(&KafkaMessage::of_value(b"four"))?, 4);
/// # Ok::<(), thalweg::BoxError>(())
/// ```
pub fn from_fn<T, F>(read: F) -> FnFormat<F>
where
    F: Fn(&KafkaMessage<'_>) -> crate::Result<T> + Clone + Send + Sync + 'static,
    T: Send + 'static,
{
    FnFormat(read)
}

impl<T, F> DeserializationSchema for FnFormat<F>
where
    F: Fn(&KafkaMessage<'_>) -> crate::Result<T> + Clone + Send + Sync + 'static,
    T: Send + 'static,
{
    type Out = T;

    fn deserialize(&mut self, message: &KafkaMessage<'_>) -> Result<T, FormatError> {
        (self.0)(message).map_err(FormatError::Other)
    }
}
