//! One row of CSV a record.

use std::fmt;
use std::marker::PhantomData;

use csv_core::ReadRecordResult;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{DeserializationSchema, FormatError, SerializationSchema, value_of};
use crate::connector::kafka::record::KafkaMessage;

/// The value is one row of CSV, without a header and with or without a line end: a `T` by the order of its fields.
///
/// # Examples
/// ```
/// use thalweg::connector::kafka::{Csv, DeserializationSchema, KafkaMessage, SerializationSchema};
///
/// let mut format = Csv::<(String, u32)>::new().delimiter(b';');
/// assert_eq!(format.deserialize(&KafkaMessage::of_value(b"\"a;b\";7"))?, ("a;b".to_owned(), 7));
/// let mut bytes = Vec::new();
/// format.serialize(&("say \"x\"".to_owned(), 8), &mut bytes)?;
/// assert_eq!(bytes, b"\"say \"\"x\"\"\";8");
/// # Ok::<(), thalweg::BoxError>(())
/// ```
pub struct Csv<T> {
    delimiter: u8,
    scratch: Scratch,
    _value: PhantomData<fn() -> T>,
}

/// Kept from row to row, so that none allocates once they are large enough.
#[derive(Default)]
struct Scratch {
    fields: Vec<u8>,
    ends: Vec<usize>,
    row: csv::ByteRecord,
}

impl<T> Csv<T> {
    /// The format of `T`, separated by commas.
    pub fn new() -> Self {
        Csv { delimiter: b',', scratch: Scratch::default(), _value: PhantomData }
    }

    /// What separates fields. Default: a comma.
    #[must_use]
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.delimiter = delimiter;
        self
    }
}

impl<T> Default for Csv<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Csv<T> {
    fn clone(&self) -> Self {
        Self::new().delimiter(self.delimiter)
    }
}

impl<T> fmt::Debug for Csv<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Csv<{}>({:?})", std::any::type_name::<T>(), char::from(self.delimiter))
    }
}

impl Scratch {
    /// Takes a row apart into `row`.
    fn read(&mut self, delimiter: u8, bytes: &[u8]) -> Result<(), FormatError> {
        let mut reader = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
        // Fields are never longer than the row, and there are never more than bytes and one; an odd number of quotes shows as
        // a row that goes on at its end.
        self.fields.resize(bytes.len() + 1, 0);
        self.ends.resize(bytes.len() + 2, 0);
        let (mut read, mut written, mut ended) = (0, 0, 0);
        loop {
            let input = &bytes[read..];
            let (result, taken, put, ends) =
                reader.read_record(input, &mut self.fields[written..], &mut self.ends[ended..]);
            (read, written, ended) = (read + taken, written + put, ended + ends);
            match result {
                // More input is asked for until an empty one says that there is none.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Err(FormatError::CsvRow("it is empty")),
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    return Err(FormatError::CsvRow("it has more fields than bytes"));
                }
            }
        }
        if bytes[read..].iter().any(|byte| !matches!(byte, b'\r' | b'\n')) {
            return Err(FormatError::CsvRow("a second row follows the first"));
        }
        self.row.clear();
        let mut start = 0;
        for end in &self.ends[..ended] {
            self.row.push_field(&self.fields[start..*end]);
            start = *end;
        }
        Ok(())
    }
}

impl<T: DeserializeOwned + Send + 'static> DeserializationSchema for Csv<T> {
    type Out = T;

    fn deserialize(&mut self, message: &KafkaMessage<'_>) -> Result<T, FormatError> {
        self.scratch.read(self.delimiter, value_of(message)?)?;
        self.scratch.row.deserialize(None).map_err(FormatError::Csv)
    }
}

impl<T: Serialize + 'static> SerializationSchema<T> for Csv<T> {
    fn serialize(&mut self, value: &T, bytes: &mut Vec<u8>) -> Result<(), FormatError> {
        let mut builder = csv::WriterBuilder::new();
        builder.delimiter(self.delimiter).has_headers(false).buffer_capacity(256);
        let mut writer = builder.from_writer(&mut *bytes);
        writer.serialize(value).map_err(FormatError::Csv)?;
        writer.flush().map_err(FormatError::other)?;
        drop(writer);
        // The end of a record is the end of its row.
        let row_end = bytes.pop();
        debug_assert_eq!(row_end, Some(b'\n'));
        Ok(())
    }
}
