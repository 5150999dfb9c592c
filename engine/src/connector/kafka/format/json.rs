//! JSON, by serde.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{DeserializationSchema, FormatError, SerializationSchema, value_of};
use crate::connector::kafka::record::KafkaMessage;

/// The value is JSON of a `T`.
///
/// # Examples
/// ```
/// use thalweg::connector::kafka::{DeserializationSchema, Json, KafkaMessage};
///
/// #[derive(serde::Deserialize)]
/// struct Order { id: u64, total: f64 }
///
/// let mut format = Json::<Order>::new();
/// let order = format.deserialize(&KafkaMessage::of_value(br#"{"id": 7, "total": 12.5}"#))?;
/// assert_eq!((order.id, order.total), (7, 12.5));
/// let error = format.deserialize(&KafkaMessage::of_value(br#"{"id": 7}"#)).err().unwrap();
/// assert!(error.to_string().contains("missing field `total`"));
/// # Ok::<(), thalweg::BoxError>(())
/// ```
pub struct Json<T>(PhantomData<fn() -> T>);

impl<T> Json<T> {
    /// The format of `T`.
    pub fn new() -> Self {
        Json(PhantomData)
    }
}

impl<T> Default for Json<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Json<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Json<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json<{}>", std::any::type_name::<T>())
    }
}

impl<T: DeserializeOwned + Send + 'static> DeserializationSchema for Json<T> {
    type Out = T;

    fn deserialize(&mut self, message: &KafkaMessage<'_>) -> Result<T, FormatError> {
        serde_json::from_slice(value_of(message)?).map_err(FormatError::Json)
    }
}

impl<T: Serialize + 'static> SerializationSchema<T> for Json<T> {
    fn serialize(&mut self, value: &T, bytes: &mut Vec<u8>) -> Result<(), FormatError> {
        serde_json::to_writer(bytes, value).map_err(FormatError::Json)
    }
}
