//! Lines of text.

use thalweg_io::file::{FileReader, Line, LineError, LineOptions, LineReader, ReadStatus};
use thalweg_io::storage::FileIdentity;

use super::decoder::{Decoded, FileAccess, FileDecoder, FileFormat};
use super::error::FileSourceError;
use super::malformed::{MalformedRow, raw_text};
use super::split::{FilePosition, FileSplit};

/// Lines of UTF-8 text as `String`s, without `\n` or `\r\n`.
#[derive(Clone, Copy, Debug)]
pub struct Lines {
    pub(super) line_bytes_max: usize,
}

impl Default for Lines {
    fn default() -> Self {
        Lines { line_bytes_max: 1 << 20 }
    }
}

impl FileFormat for Lines {
    type Out = String;
    type Decoder = LineDecoder;

    fn check(&self) -> Result<(), FileSourceError> {
        Ok(())
    }

    fn open(&self, access: &FileAccess, split: &FileSplit) -> Result<LineDecoder, FileSourceError> {
        let options = access.options().start_position(split.position.offset);
        let reader = FileReader::open(&access.storage, &split.path, options)?;
        let lines = LineOptions::default()
            .line_bytes_max(self.line_bytes_max)
            .first_number(split.position.line);
        Ok(LineDecoder { lines: LineReader::new(reader, lines), is_ended: false })
    }
}

/// Reads [`Lines`].
#[derive(Debug)]
pub struct LineDecoder {
    lines: LineReader,
    /// The file was rotated: the unfinished rest is a line.
    is_ended: bool,
}

impl LineDecoder {
    fn malformed(&self, line: u64, raw: String, error: String) -> MalformedRow {
        let file = self.lines.reader().path().display().to_string();
        MalformedRow { file, line, column: None, raw, error }
    }

    #[cold]
    fn too_long(&mut self, error: LineError) -> Result<Decoded<String>, FileSourceError> {
        let LineError::TooLong { number, line_bytes_max, .. } = error else {
            return Err(error.into());
        };
        let buffer = self.lines.reader().buffer();
        let raw = raw_text(&buffer[..buffer.len().min(line_bytes_max)]);
        self.lines.skip_line();
        let error = format!("longer than {line_bytes_max} bytes, the limit of a line's length");
        Ok(Decoded::Row(Err(self.malformed(number, raw, error))))
    }
}

/// The line's number, and its text or what there is of it and where it stops being text.
fn decode(line: Line<'_>) -> (u64, Result<String, (String, usize)>) {
    let text = std::str::from_utf8(line.bytes);
    let text = text.map(str::to_owned).map_err(|error| (raw_text(line.bytes), error.valid_up_to()));
    (line.number, text)
}

impl FileDecoder for LineDecoder {
    type Out = String;

    fn next(&mut self) -> Result<Decoded<String>, FileSourceError> {
        let found = match self.lines.next_buffered() {
            Ok(None) if self.is_ended => self.lines.take_unfinished(),
            found => found,
        };
        match found.map(|line| line.map(decode)) {
            Ok(Some((_, Ok(text)))) => Ok(Decoded::Row(Ok(text))),
            Ok(Some((number, Err((raw, at))))) => {
                let error = format!("not UTF-8 at byte {at} of the line");
                Ok(Decoded::Row(Err(self.malformed(number, raw, error))))
            }
            Ok(None) if self.is_ended || self.lines.is_finished() => Ok(Decoded::Finished),
            Ok(None) => Ok(Decoded::WantsBytes),
            Err(error) => self.too_long(error),
        }
    }

    fn fill(&mut self) -> Result<ReadStatus, FileSourceError> {
        Ok(self.lines.fill()?)
    }

    fn end_file(&mut self) {
        self.is_ended = true;
    }

    fn reopen(&mut self) -> Result<(), FileSourceError> {
        self.lines.reopen()?;
        self.is_ended = false;
        Ok(())
    }

    fn position(&self) -> FilePosition {
        let (offset, line) = (self.lines.position(), self.lines.next_number());
        FilePosition { offset, line, field_count: None }
    }

    fn identity(&self) -> FileIdentity {
        self.lines.reader().identity()
    }
}
