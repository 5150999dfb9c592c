//! How records become the bytes of files.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;

use crate::Result;
use crate::sync::{Mutex, lock};

/// A format of a [`FileSink`](super::FileSink): makes an encoder on each core. Implemented by the engine alone.
pub trait RowFormat: Clone + Send + 'static {
    /// Encodes on one core.
    type Encoder: Send + 'static;
    /// What file names end with, unless set.
    #[doc(hidden)]
    const SUFFIX: &'static str;
    #[doc(hidden)]
    fn encoder(&self) -> Self::Encoder;
}

/// Encodes records of one type. Implemented by the engine alone.
pub trait RowEncoder<T> {
    /// Appends a record, and before it what every file begins with if `begins_file`.
    ///
    /// # Errors
    /// A record that the format cannot hold.
    #[doc(hidden)]
    fn encode(&mut self, record: &T, begins_file: bool, bytes: &mut Vec<u8>) -> Result<()>;
}

/// One line a record, as `Display` writes it. A record that writes line ends makes several lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct LineRows;

impl RowFormat for LineRows {
    type Encoder = LineRows;
    const SUFFIX: &'static str = ".txt";
    fn encoder(&self) -> LineRows {
        LineRows
    }
}

impl<T: Display> RowEncoder<T> for LineRows {
    fn encode(&mut self, record: &T, _: bool, bytes: &mut Vec<u8>) -> Result<()> {
        writeln!(bytes, "{record}")?;
        Ok(())
    }
}

/// One row of CSV a record; structs begin each file with the names of their fields.
#[derive(Clone, Copy, Debug)]
pub struct CsvRows {
    pub(super) delimiter: u8,
    pub(super) has_header: bool,
}

impl Default for CsvRows {
    fn default() -> Self {
        CsvRows { delimiter: b',', has_header: true }
    }
}

impl RowFormat for CsvRows {
    type Encoder = CsvEncoder;
    const SUFFIX: &'static str = ".csv";

    fn encoder(&self) -> CsvEncoder {
        let bytes = Shared::default();
        let rows = self.writer(false, bytes.clone());
        CsvEncoder { format: *self, rows, bytes, header: None }
    }
}

impl CsvRows {
    fn writer(&self, with_header: bool, bytes: Shared) -> csv::Writer<Shared> {
        csv::WriterBuilder::new()
            .delimiter(self.delimiter)
            .has_headers(with_header)
            .from_writer(bytes)
    }
}

/// A buffer that csv's writer writes to and its owner empties. Both are on one core; the lock, which nobody else takes, makes the
/// encoder `Send`, as sinks have to be before they are opened.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Encodes [`CsvRows`].
pub struct CsvEncoder {
    format: CsvRows,
    rows: csv::Writer<Shared>,
    /// What `rows` writes to; empty between records.
    bytes: Shared,
    /// The header row, learned from the first record; empty if records have no names.
    header: Option<Vec<u8>>,
}

impl fmt::Debug for CsvEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CsvEncoder").field("format", &self.format).finish_non_exhaustive()
    }
}

impl CsvEncoder {
    /// A record written with names begins with the header and ends with its row.
    fn header_of<T: Serialize>(&self, record: &T, row_bytes: usize) -> Result<Vec<u8>> {
        let bytes = Shared::default();
        let mut writer = self.format.writer(true, bytes.clone());
        writer.serialize(record)?;
        writer.flush()?;
        let mut bytes = lock(&bytes.0);
        let header_bytes = bytes.len().saturating_sub(row_bytes);
        bytes.truncate(header_bytes);
        Ok(std::mem::take(&mut *bytes))
    }
}

impl<T: Serialize> RowEncoder<T> for CsvEncoder {
    fn encode(&mut self, record: &T, begins_file: bool, bytes: &mut Vec<u8>) -> Result<()> {
        self.rows.serialize(record)?;
        self.rows.flush()?;
        if begins_file && self.format.has_header {
            if self.header.is_none() {
                let row_bytes = lock(&self.bytes.0).len();
                self.header = Some(self.header_of(record, row_bytes)?);
            }
            bytes.extend_from_slice(self.header.as_deref().unwrap_or_default());
        }
        bytes.append(&mut lock(&self.bytes.0));
        Ok(())
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[derive(serde::Serialize)]
    struct Row {
        name: String,
        n: u32,
    }

    fn encode<T: Serialize>(format: CsvRows, records: &[(T, bool)]) -> String {
        let (mut encoder, mut bytes) = (format.encoder(), Vec::new());
        for (record, begins_file) in records {
            encoder.encode(record, *begins_file, &mut bytes).unwrap();
        }
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn structs_have_a_header_in_each_file() {
        let row = |name: &str, n| Row { name: name.to_owned(), n };
        let records = [(row("a,b", 1), true), (row("c", 2), false), (row("say \"x\"\n", 3), true)];
        let text = encode(CsvRows::default(), &records);
        assert_eq!(text, "name,n\n\"a,b\",1\nc,2\nname,n\n\"say \"\"x\"\"\n\",3\n");
        let format = CsvRows { delimiter: b';', has_header: false };
        assert_eq!(encode(format, &records[..1]), "a,b;1\n");
    }

    #[test]
    fn tuples_have_none_and_a_map_is_refused() {
        assert_eq!(encode(CsvRows::default(), &[((1, "x"), true), ((2, ""), false)]), "1,x\n2,\n");
        let mut encoder = CsvRows::default().encoder();
        let map = std::collections::BTreeMap::from([("a", 1)]);
        let refused = encoder.encode(&map, true, &mut Vec::new()).unwrap_err();
        assert!(refused.to_string().contains("map"), "{refused}");
    }
}
