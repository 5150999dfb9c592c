//! Bytes as they are, and text.

use super::{DeserializationSchema, FormatError, SerializationSchema, value_of};
use crate::connector::kafka::record::KafkaMessage;

/// The value as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bytes;

impl DeserializationSchema for Bytes {
    type Out = Vec<u8>;

    fn deserialize(&mut self, message: &KafkaMessage<'_>) -> Result<Vec<u8>, FormatError> {
        Ok(value_of(message)?.to_vec())
    }
}

impl<T: AsRef<[u8]> + ?Sized> SerializationSchema<T> for Bytes {
    fn serialize(&mut self, value: &T, bytes: &mut Vec<u8>) -> Result<(), FormatError> {
        bytes.extend_from_slice(value.as_ref());
        Ok(())
    }
}

/// The value is text in UTF-8.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text;

impl DeserializationSchema for Text {
    type Out = String;

    fn deserialize(&mut self, message: &KafkaMessage<'_>) -> Result<String, FormatError> {
        match std::str::from_utf8(value_of(message)?) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(FormatError::NotUtf8 { valid_bytes: error.valid_up_to() }),
        }
    }
}

impl<T: AsRef<str> + ?Sized> SerializationSchema<T> for Text {
    fn serialize(&mut self, value: &T, bytes: &mut Vec<u8>) -> Result<(), FormatError> {
        bytes.extend_from_slice(value.as_ref().as_bytes());
        Ok(())
    }
}
