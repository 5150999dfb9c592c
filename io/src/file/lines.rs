//! Lines of a file, borrowed from the reader's buffer.
//!
//! A line ends with `\n`; an `\r` right before it belongs to the ending (as for `str::lines`). The
//! buffer is contiguous, so every line is given without a copy; only the unfinished rest of a
//! chunk is moved once, when the next chunk is read behind it.
//!
//! What follows the last `\n` is a line when the file is bounded. When following it is held back
//! until its `\n` arrives; [`LineReader::take_unfinished`] gives it to callers who know better
//! (after a rotation, say).
//!
//! # Invariants
//!
//! - `scanned_bytes` bytes at the front of the reader's buffer hold no `\n`, so no byte is
//!   searched twice.
//! - `position()` is always at the start of a line, also while a long one is being skipped, so
//!   that a reader started from a checkpoint meets the same lines.

use std::path::PathBuf;

use thiserror::Error;

use super::read_error::ReadError;
use super::reader::{FileReader, ReadStatus};

/// A line that cannot be given.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LineError {
    /// The file cannot be read on.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The line is longer than allowed.
    #[error(
        "line {number} of {path} (at byte {offset}) is longer than {line_bytes_max} bytes; raise \
         the limit of a line's length, or check that the file is text"
    )]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        number: u64,
        /// Where it starts, in decompressed data.
        offset: u64,
        /// The limit.
        line_bytes_max: usize,
    },
}

/// How lines are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineOptions {
    line_bytes_max: usize,
    keep_carriage_return: bool,
    first_number: u64,
}

impl Default for LineOptions {
    fn default() -> Self {
        Self { line_bytes_max: 1 << 20, keep_carriage_return: false, first_number: 1 }
    }
}

impl LineOptions {
    /// The longest line allowed, without its ending. Default: 1 MiB.
    #[must_use]
    pub fn line_bytes_max(self, line_bytes_max: usize) -> Self {
        Self { line_bytes_max, ..self }
    }

    /// Whether an `\r` before the `\n` is part of the line. Default: no.
    #[must_use]
    pub fn keep_carriage_return(self, keep_carriage_return: bool) -> Self {
        Self { keep_carriage_return, ..self }
    }

    /// The number of the first line read, for a reader that starts within the file. Default: 1.
    #[must_use]
    pub fn first_number(self, first_number: u64) -> Self {
        Self { first_number, ..self }
    }
}

/// One line, without its ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its bytes; not necessarily UTF-8.
    pub bytes: &'a [u8],
    /// Its number, counted from 1.
    pub number: u64,
    /// Where it starts, in decompressed data.
    pub offset: u64,
}

/// What [`LineReader::next_line`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineStatus<'a> {
    /// A line.
    Line(Line<'a>),
    /// A chunk was read and held no complete line: call again, now or later.
    Pending,
    /// No more lines: for good when bounded, for now when following.
    AtEnd,
    /// Following only: as [`ReadStatus::Rotated`]; [`LineReader::reopen`] goes on.
    Rotated,
}

/// Reads lines; see the [module of files](super) for how to poll it.
#[derive(Debug)]
pub struct LineReader {
    reader: FileReader,
    options: LineOptions,
    /// The number of the next line.
    number: u64,
    scanned_bytes: usize,
    /// A bounded file was read to its end: the rest of the buffer is the last line.
    at_end: bool,
    /// Where the line being skipped starts, until its end was found.
    skipped_from: Option<u64>,
}

/// A line in the buffer.
struct Span {
    line_bytes: usize,
    /// With its ending.
    total_bytes: usize,
}

impl LineReader {
    /// Reads lines from where `reader` stands, which should be the start of a line.
    pub fn new(mut reader: FileReader, options: LineOptions) -> Self {
        // One byte more than the longest line and its ending tells that a line is too long.
        reader.raise_buffer_bytes_max(options.line_bytes_max.saturating_add(3));
        let number = options.first_number;
        Self { reader, options, number, scanned_bytes: 0, at_end: false, skipped_from: None }
    }

    /// The reader below, for its path, identity and the like.
    pub fn reader(&self) -> &FileReader {
        &self.reader
    }

    /// Where the next line starts, in decompressed data: what a checkpoint stores, together with
    /// [`Self::next_number`].
    pub fn position(&self) -> u64 {
        self.skipped_from.unwrap_or(self.reader.position())
    }

    /// The number of the next line.
    pub fn next_number(&self) -> u64 {
        self.number
    }

    /// Whether every line of a bounded file was given.
    pub fn is_finished(&self) -> bool {
        self.at_end && self.reader.buffer().is_empty()
    }

    /// The next line, reading at most one chunk if none is buffered.
    ///
    /// # Errors
    ///
    /// As [`Self::next_buffered`] and [`Self::fill`].
    pub fn next_line(&mut self) -> Result<LineStatus<'_>, LineError> {
        let mut status = ReadStatus::Working;
        let mut span = self.find_line()?;
        if span.is_none() {
            status = self.fill()?;
            span = self.find_line()?;
        }
        Ok(match (span, status) {
            (Some(span), _) => LineStatus::Line(self.take(&span)),
            (None, ReadStatus::AtEnd) => LineStatus::AtEnd,
            (None, ReadStatus::Rotated) => LineStatus::Rotated,
            (None, _) => LineStatus::Pending,
        })
    }

    /// The next line, if it lies in the buffer; never reads. With `None` call [`Self::fill`].
    ///
    /// # Errors
    ///
    /// [`LineError::TooLong`], again and again until [`Self::skip_line`].
    pub fn next_buffered(&mut self) -> Result<Option<Line<'_>>, LineError> {
        Ok(self.find_line()?.map(|span| self.take(&span)))
    }

    /// Reads at most one chunk into the buffer. After [`ReadStatus::AtEnd`] of a bounded file
    /// [`Self::next_buffered`] gives a last line without ending.
    ///
    /// # Errors
    ///
    /// [`LineError::Read`].
    pub fn fill(&mut self) -> Result<ReadStatus, LineError> {
        let status = self.reader.fill()?;
        if status == ReadStatus::AtEnd && !self.reader.is_following() {
            self.at_end = true;
        }
        Ok(status)
    }

    /// Drops the next line, however long it is; it counts as one line. For going on after
    /// [`LineError::TooLong`].
    pub fn skip_line(&mut self) {
        self.skipped_from.get_or_insert(self.reader.position());
    }

    /// Takes what is left without an ending as a line: for a followed file whose writer will not
    /// finish it, as after a rotation. `None` if nothing is left, or a complete line is.
    ///
    /// # Errors
    ///
    /// [`LineError::TooLong`].
    pub fn take_unfinished(&mut self) -> Result<Option<Line<'_>>, LineError> {
        if self.newline_in_buffer().is_some() {
            return Ok(None);
        }
        let left_bytes = self.reader.buffer().len();
        if self.skipped_from.is_some() {
            self.end_skipping(left_bytes);
            return Ok(None);
        }
        if left_bytes == 0 {
            return Ok(None);
        }
        let span = self.check_length(Span { line_bytes: left_bytes, total_bytes: left_bytes })?;
        Ok(Some(self.take(&span)))
    }

    /// Goes on with the file that has the path now, from its start and with line 1. Drops what
    /// [`Self::take_unfinished`] would give.
    ///
    /// # Errors
    ///
    /// [`LineError::Read`] if it cannot be opened; everything then stays as it was.
    pub fn reopen(&mut self) -> Result<(), LineError> {
        self.reader.reopen()?;
        (self.number, self.scanned_bytes) = (1, 0);
        (self.at_end, self.skipped_from) = (false, None);
        Ok(())
    }

    fn take(&mut self, span: &Span) -> Line<'_> {
        let (number, offset) = (self.number, self.reader.position());
        self.number += 1;
        self.scanned_bytes = 0;
        let bytes = self.reader.consume_and_borrow(span.total_bytes);
        Line { bytes: &bytes[..span.line_bytes], number, offset }
    }

    fn find_line(&mut self) -> Result<Option<Span>, LineError> {
        if self.skipped_from.is_some() && !self.skip_buffered() {
            return Ok(None);
        }
        let span = match self.newline_in_buffer() {
            Some(index) => {
                let line = &self.reader.buffer()[..index];
                let strip = !self.options.keep_carriage_return && line.last() == Some(&b'\r');
                Span { line_bytes: index - usize::from(strip), total_bytes: index + 1 }
            }
            None => {
                let left_bytes = self.reader.buffer().len();
                // The byte over the limit may be an `\r` whose `\n` is still to come.
                let is_surely_long = left_bytes > self.options.line_bytes_max.saturating_add(1);
                if !is_surely_long && (!self.at_end || left_bytes == 0) {
                    return Ok(None);
                }
                Span { line_bytes: left_bytes, total_bytes: left_bytes }
            }
        };
        self.check_length(span).map(Some)
    }

    fn newline_in_buffer(&mut self) -> Option<usize> {
        let buffer = self.reader.buffer();
        let found = find_newline(&buffer[self.scanned_bytes..]);
        let index = found.map(|index| self.scanned_bytes + index);
        self.scanned_bytes = index.unwrap_or(buffer.len());
        index
    }

    fn check_length(&self, span: Span) -> Result<Span, LineError> {
        let line_bytes_max = self.options.line_bytes_max;
        if span.line_bytes <= line_bytes_max {
            return Ok(span);
        }
        let (path, offset) = (self.reader.path().to_path_buf(), self.reader.position());
        Err(LineError::TooLong { path, number: self.number, offset, line_bytes_max })
    }

    /// Drops buffered bytes of the line being skipped; whether its end was found.
    fn skip_buffered(&mut self) -> bool {
        let index = self.newline_in_buffer();
        let drop_bytes = index.map_or(self.reader.buffer().len(), |index| index + 1);
        if index.is_some() || self.at_end {
            self.end_skipping(drop_bytes);
            return true;
        }
        self.reader.consume(drop_bytes);
        self.scanned_bytes = 0;
        false
    }

    fn end_skipping(&mut self, drop_bytes: usize) {
        self.reader.consume(drop_bytes);
        self.scanned_bytes = 0;
        self.number += 1;
        self.skipped_from = None;
    }
}

/// The C library's search uses vector instructions, about ten times as fast as a byte loop.
fn find_newline(bytes: &[u8]) -> Option<usize> {
    let start = bytes.as_ptr();
    // SAFETY: the slice is readable for its whole length.
    let found = unsafe { libc::memchr(start.cast(), i32::from(b'\n'), bytes.len()) };
    (!found.is_null()).then(|| found.addr() - start.addr())
}

#[cfg(test)]
mod tests;
