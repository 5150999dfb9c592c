//! How a CSV file is written down.

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use super::csv_decoder::CsvDecoder;
use super::decoder::{FileAccess, FileFormat};
use super::error::FileSourceError;
use super::split::FileSplit;

/// Rows of comma-separated values as records of type `T`: by the names of the header, or by position if there is none.
pub struct Csv<T> {
    pub(super) options: CsvOptions,
    _record: PhantomData<fn() -> T>,
}

impl<T> Clone for Csv<T> {
    fn clone(&self) -> Self {
        Csv { options: self.options, _record: PhantomData }
    }
}

impl<T> Default for Csv<T> {
    fn default() -> Self {
        Csv { options: CsvOptions::default(), _record: PhantomData }
    }
}

impl<T> fmt::Debug for Csv<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Csv").field(&self.options).finish()
    }
}

impl<T: DeserializeOwned + Send + 'static> FileFormat for Csv<T> {
    type Out = T;
    type Decoder = CsvDecoder<T>;

    fn check(&self) -> Result<(), FileSourceError> {
        self.options.check()
    }

    fn open(
        &self,
        access: &FileAccess,
        split: &FileSplit,
    ) -> Result<CsvDecoder<T>, FileSourceError> {
        CsvDecoder::open(self.options, access, split)
    }
}

/// The options of [`Csv`]; set by the methods of [`FileSource`](super::FileSource).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CsvOptions {
    pub(super) delimiter: u8,
    pub(super) quote: Option<u8>,
    pub(super) escape: Option<u8>,
    pub(super) comment: Option<u8>,
    pub(super) has_header: bool,
    pub(super) is_flexible: bool,
    pub(super) trims: bool,
    pub(super) row_bytes_max: usize,
}

impl Default for CsvOptions {
    fn default() -> Self {
        CsvOptions {
            delimiter: b',',
            quote: Some(b'"'),
            escape: None,
            comment: None,
            has_header: true,
            is_flexible: false,
            trims: false,
            row_bytes_max: 1 << 20,
        }
    }
}

impl CsvOptions {
    fn check(&self) -> Result<(), FileSourceError> {
        let CsvOptions { delimiter, quote, escape, comment, .. } = *self;
        let refuse = |option, byte: u8, problem| {
            let value = char::from(byte).to_string();
            Err(FileSourceError::Option { option, value, problem })
        };
        if matches!(delimiter, b'\r' | b'\n') {
            return refuse("delimiter", delimiter, "ends rows; take ',', ';' or a tab");
        }
        for (option, byte) in [("quote", quote), ("escape", escape), ("comment", comment)] {
            if let Some(byte) = byte.filter(|byte| *byte == delimiter) {
                return refuse(option, byte, "is the delimiter too; take another byte");
            }
        }
        Ok(())
    }

    pub(super) fn parser(&self) -> csv_core::Reader {
        let mut builder = csv_core::ReaderBuilder::new();
        builder.delimiter(self.delimiter).escape(self.escape).comment(self.comment);
        match self.quote {
            Some(quote) => builder.quote(quote),
            None => builder.quoting(false),
        };
        builder.build()
    }
}
