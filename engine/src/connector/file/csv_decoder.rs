//! CSV, row by row, from whatever bytes are there: csv-core's automaton over io's polled reader.
//!
//! A row may span lines (a quoted field holds line ends) and chunks. What the automaton has taken of an unfinished row is consumed
//! from the reader; a copy of it stays in `raw`, for the text of a malformed row and for starting over behind it.
//!
//! A reader that resumes within a file reads the header at the start first and then goes to its position.
//!
//! **Invariants**
//! - `row_start` is the position of the first byte that belongs to the row at hand: what a checkpoint stores.
//! - `raw` holds the consumed bytes from `row_start` on, at most `row_bytes_max` and a chunk.
//! - Between rows the automaton's line is that of the next byte.

use std::marker::PhantomData;
use std::path::Path;

use csv::ByteRecord;
use csv_core::ReadRecordResult;
use serde::de::DeserializeOwned;
use thalweg_io::file::{FileReader, ReadStatus};
use thalweg_io::storage::FileIdentity;

use super::csv_options::CsvOptions;
use super::decoder::{Decoded, FileAccess, FileDecoder};
use super::error::FileSourceError;
use super::malformed::{MalformedRow, raw_text};
use super::split::{FilePosition, FileSplit};

/// Reads [`Csv`](super::Csv).
pub struct CsvDecoder<T> {
    reader: FileReader,
    parser: csv_core::Reader,
    options: CsvOptions,
    /// The names of the columns, once read.
    header: Option<ByteRecord>,
    /// Where to go once the header is read.
    resume_at: Option<FilePosition>,
    row: RowBuffer,
    /// The fields of the latest row; kept for its memory.
    record: ByteRecord,
    row_start: FilePosition,
    /// A row was too long and is being dropped up to its line end.
    is_skipping: bool,
    /// There will be no more bytes.
    at_end: bool,
    is_finished: bool,
    _record: PhantomData<fn() -> T>,
}

/// The row at hand, as far as it was read.
struct RowBuffer {
    raw: Vec<u8>,
    fields: Vec<u8>,
    fields_bytes: usize,
    ends: Vec<usize>,
    ends_count: usize,
}

impl RowBuffer {
    fn new() -> Self {
        // A typical row fits; longer ones double it.
        let (fields, ends) = (vec![0; 1 << 10], vec![0; 32]);
        RowBuffer { raw: Vec::new(), fields, fields_bytes: 0, ends, ends_count: 0 }
    }

    fn clear(&mut self) {
        self.raw.clear();
        (self.fields_bytes, self.ends_count) = (0, 0);
    }

    fn copy_to(&self, record: &mut ByteRecord) {
        record.clear();
        let mut start = 0;
        for end in &self.ends[..self.ends_count] {
            record.push_field(&self.fields[start..*end]);
            start = *end;
        }
    }
}

impl<T: DeserializeOwned> CsvDecoder<T> {
    pub(super) fn open(
        options: CsvOptions,
        access: &FileAccess,
        split: &FileSplit,
    ) -> Result<Self, FileSourceError> {
        let position = split.position;
        let resumes = position.offset > 0;
        let start = if options.has_header { FilePosition::START } else { position };
        let read_options = access.options().start_position(start.offset);
        let reader = FileReader::open(&access.storage, &split.path, read_options)?;
        let mut parser = options.parser();
        parser.set_line(start.line);
        Ok(CsvDecoder {
            reader,
            parser,
            options,
            header: None,
            resume_at: (resumes && options.has_header).then_some(position),
            row: RowBuffer::new(),
            record: ByteRecord::new(),
            row_start: start,
            is_skipping: false,
            at_end: false,
            is_finished: false,
            _record: PhantomData,
        })
    }

    /// Feeds the automaton what is buffered; true when a row is complete. Its last bytes are then still in the reader: the count
    /// is returned and to be consumed.
    fn read_row(&mut self) -> Result<Option<usize>, ReadEnd> {
        loop {
            let input = self.reader.buffer();
            if input.is_empty() && !self.at_end {
                return Ok(None);
            }
            let RowBuffer { raw, fields, fields_bytes, ends, ends_count } = &mut self.row;
            let (result, taken, written, ended) = self.parser.read_record(
                input,
                &mut fields[*fields_bytes..],
                &mut ends[*ends_count..],
            );
            *fields_bytes += written;
            *ends_count += ended;
            match result {
                ReadRecordResult::Record => return Ok(Some(taken)),
                ReadRecordResult::End => {
                    self.reader.consume(taken);
                    self.is_finished = true;
                    return Ok(None);
                }
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => fields.resize(fields.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => ends.resize(ends.len() * 2, 0),
            }
            raw.extend_from_slice(&input[..taken]);
            self.reader.consume(taken);
            if raw.len() > self.raw_bytes_max() && !self.drop_leading_bytes() {
                return Err(ReadEnd::TooLong);
            }
        }
    }

    /// Two more bytes than the row may have: for its ending.
    fn raw_bytes_max(&self) -> usize {
        self.options.row_bytes_max.saturating_add(2)
    }

    /// Empty lines and comments before a row are not counted as its own. False if it is too long without them.
    #[cold]
    fn drop_leading_bytes(&mut self) -> bool {
        let begin = leading_bytes(&self.row.raw, self.options.comment);
        self.row_start.line += count_newlines(&self.row.raw[..begin]);
        self.row_start.offset += begin as u64;
        self.row.raw.drain(..begin);
        self.row.raw.len() <= self.raw_bytes_max()
    }

    /// The row is complete: decodes it. Its last `taken` bytes are still in the reader.
    fn complete(
        &mut self,
        taken: usize,
    ) -> Result<Option<Result<T, MalformedRow>>, FileSourceError> {
        if self.row.raw.len() + taken > self.raw_bytes_max() {
            self.row.raw.extend_from_slice(&self.reader.buffer()[..taken]);
            if !self.drop_leading_bytes() {
                self.reader.consume(taken);
                return Ok(Some(Err(self.too_long())));
            }
            // What is still in the reader is not in `raw`.
            self.row.raw.truncate(self.row.raw.len().saturating_sub(taken));
        }
        self.row.copy_to(&mut self.record);
        if self.options.trims {
            self.record.trim();
        }
        let decoded = if self.options.has_header && self.header.is_none() {
            self.header = Some(self.record.clone());
            self.row_start.field_count = Some(self.record.len());
            None
        } else {
            Some(self.decode(taken)?)
        };
        self.reader.consume(taken);
        self.begin_row();
        if let (None, Some(position)) = (&decoded, self.resume_at.take()) {
            self.go_to(position);
        }
        Ok(decoded)
    }

    fn decode(&mut self, taken: usize) -> Result<Result<T, MalformedRow>, FileSourceError> {
        let (found, expected) = (self.record.len(), self.row_start.field_count);
        let expected = *self.row_start.field_count.insert(expected.unwrap_or(found));
        if found != expected && !self.options.is_flexible {
            let error = format!("the row has {found} fields, the others have {expected}");
            return Ok(Err(self.malformed(taken, None, error)));
        }
        match self.record.deserialize(self.header.as_ref()) {
            Ok(record) => Ok(Ok(record)),
            Err(error) => self.refuse(taken, &error),
        }
    }

    #[cold]
    fn refuse(
        &self,
        taken: usize,
        error: &csv::Error,
    ) -> Result<Result<T, MalformedRow>, FileSourceError> {
        let csv::ErrorKind::Deserialize { err, .. } = error.kind() else {
            return Ok(Err(self.malformed(taken, None, error.to_string())));
        };
        let message = err.kind().to_string();
        // Rows are as long as the header here, so no row will have what this one lacks.
        let lacks_column = err.field().is_none() && message.starts_with("missing field");
        if let (true, false, Some(header)) = (lacks_column, self.options.is_flexible, &self.header)
        {
            let names: Vec<_> = header.iter().map(String::from_utf8_lossy).collect();
            let columns = names.join(", ");
            let path = self.reader.path().to_path_buf();
            return Err(FileSourceError::MissingColumn { path, message, columns });
        }
        Ok(Err(self.malformed(taken, err.field(), message)))
    }

    /// Describes the row at hand, whose last `taken` bytes are still in the reader.
    #[cold]
    fn malformed(&self, taken: usize, field: Option<u64>, error: String) -> MalformedRow {
        let mut raw = self.row.raw.clone();
        raw.extend_from_slice(&self.reader.buffer()[..taken]);
        let begin = leading_bytes(&raw, self.options.comment);
        let line = self.parser.line() - count_newlines(&raw[begin..]);
        let column = field.map(|field| self.column_name(field));
        let file = display(self.reader.path());
        MalformedRow { file, line, column, raw: raw_text(&raw[begin..]), error }
    }

    fn column_name(&self, field: u64) -> String {
        let name = usize::try_from(field).ok().and_then(|field| self.header.as_ref()?.get(field));
        match name {
            Some(name) => String::from_utf8_lossy(name).into_owned(),
            None => (field + 1).to_string(),
        }
    }

    /// The row is longer than allowed: describes its first line and goes on behind that line. A quote that nobody closes makes all
    /// that follows one row; then the lines after it are rows again.
    #[cold]
    fn too_long(&mut self) -> MalformedRow {
        let begin = leading_bytes(&self.row.raw, self.options.comment);
        let newline = self.row.raw[begin..].iter().position(|byte| *byte == b'\n');
        let end = newline.map_or(self.row.raw.len(), |index| begin + index + 1);
        let line = self.row_start.line + count_newlines(&self.row.raw[..begin]);
        // As much of it as there is whatever the size of a chunk.
        let shown = end.min(begin.saturating_add(self.options.row_bytes_max));
        let row = MalformedRow {
            file: display(self.reader.path()),
            line,
            column: None,
            raw: raw_text(&self.row.raw[begin..shown]),
            error: format!(
                "longer than {} bytes, the limit of a row's length; a quote may not be closed",
                self.options.row_bytes_max
            ),
        };
        match newline {
            Some(_) => {
                let offset = self.row_start.offset + end as u64;
                self.go_to(FilePosition { offset, line: line + 1, ..self.row_start });
            }
            None => {
                self.is_skipping = true;
                self.row.clear();
            }
        }
        row
    }

    /// Drops buffered bytes of a line that was too long; false while its end has not come.
    fn skip_line(&mut self) -> bool {
        let buffer = self.reader.buffer();
        let newline = buffer.iter().position(|byte| *byte == b'\n');
        let drop_bytes = newline.map_or(buffer.len(), |index| index + 1);
        self.reader.consume(drop_bytes);
        if newline.is_some() || self.at_end {
            self.is_skipping = false;
            let line = self.parser.line() + 1;
            self.go_to(FilePosition { offset: self.reader.position(), line, ..self.row_start });
        }
        !self.is_skipping
    }

    fn begin_row(&mut self) {
        self.row.clear();
        self.row_start.offset = self.reader.position();
        self.row_start.line = self.parser.line();
    }

    fn go_to(&mut self, position: FilePosition) {
        self.reader.seek(position.offset);
        self.parser.reset();
        self.parser.set_line(position.line);
        // Bytes may lie behind the new position again; if not, the next fill says so.
        self.at_end = false;
        self.row.clear();
        self.row_start = FilePosition {
            field_count: position.field_count.or(self.row_start.field_count),
            ..position
        };
    }
}

enum ReadEnd {
    TooLong,
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

fn count_newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// How many bytes lie before the row itself: line ends that were left of the row before, empty lines and comments.
fn leading_bytes(raw: &[u8], comment: Option<u8>) -> usize {
    let mut begin = 0;
    loop {
        begin += raw[begin..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if comment.is_none() || raw.get(begin).copied() != comment {
            return begin;
        }
        match raw[begin..].iter().position(|byte| *byte == b'\n') {
            Some(index) => begin += index + 1,
            None => return begin,
        }
    }
}

impl<T: DeserializeOwned + 'static> FileDecoder for CsvDecoder<T> {
    type Out = T;

    fn next(&mut self) -> Result<Decoded<T>, FileSourceError> {
        loop {
            if self.is_finished {
                return Ok(Decoded::Finished);
            }
            if self.is_skipping && !self.skip_line() {
                return Ok(Decoded::WantsBytes);
            }
            match self.read_row() {
                Ok(Some(taken)) => {
                    if let Some(row) = self.complete(taken)? {
                        return Ok(Decoded::Row(row));
                    }
                }
                Ok(None) if self.is_finished => {}
                Ok(None) => return Ok(Decoded::WantsBytes),
                Err(ReadEnd::TooLong) => return Ok(Decoded::Row(Err(self.too_long()))),
            }
        }
    }

    fn fill(&mut self) -> Result<ReadStatus, FileSourceError> {
        let status = self.reader.fill()?;
        if status == ReadStatus::AtEnd && !self.reader.is_following() {
            self.at_end = true;
        }
        Ok(status)
    }

    fn end_file(&mut self) {
        self.at_end = true;
    }

    fn reopen(&mut self) -> Result<(), FileSourceError> {
        self.reader.reopen()?;
        (self.at_end, self.is_finished, self.is_skipping) = (false, false, false);
        self.header = None;
        self.resume_at = None;
        self.row_start.field_count = None;
        self.parser.reset();
        self.parser.set_line(1);
        self.begin_row();
        Ok(())
    }

    fn position(&self) -> FilePosition {
        self.resume_at.unwrap_or(self.row_start)
    }

    fn identity(&self) -> FileIdentity {
        self.reader.identity()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
