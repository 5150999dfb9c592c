//! A file read forward in chunks, plain or gzip, bounded or followed.
//!
//! Each [`FileReader::fill`]:
//!
//! 1. makes room in the window of unread bytes, or answers `BufferFull`;
//! 2. while the format is open: looks at the first two bytes;
//! 3. plain: reads one chunk into the window; gzip: reads one chunk of compressed bytes unless
//!    some are left, and decodes into the window at most a chunk of data;
//! 4. at the end: bounded, checks that the end is a proper one; following, checks whether the
//!    file was truncated and whether its path names another file by now.
//!
//! # Invariants
//!
//! - `position` is the offset, in decompressed data, of the first unread byte; it is what a
//!   checkpoint stores and what [`ReadOptions::start_position`] and [`FileReader::seek`] take.
//! - While `skip_bytes > 0` the window is empty: data before the start is dropped as it comes.
//! - A bounded reader never reads at or past `end_offset`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::gzip::{GzipDecoder, MAGIC};
use super::read_error::ReadError;
use super::read_options::{Compression, ReadOptions};
use super::window::Window;
use crate::error::IoError;
use crate::storage::{FileIdentity, ReadFile, Storage};

/// What one [`FileReader::fill`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadStatus {
    /// New bytes are in the buffer.
    Filled {
        /// How many; at least 1.
        byte_count: usize,
    },
    /// Work was done and no new bytes came of it yet (headers, data before the start): call again.
    Working,
    /// The buffer holds as much as it may: consume first.
    BufferFull,
    /// Nothing more to read: for good when bounded, for now when following.
    AtEnd,
    /// Following only: all bytes are read and the path names another file by now. The old file is
    /// still read should its writer continue; [`FileReader::reopen`] goes on to the new one.
    Rotated,
}

/// Reads one file forward; see the [module](super) for how to poll it.
#[derive(Debug)]
pub struct FileReader {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    file: Box<dyn ReadFile>,
    options: ReadOptions,
    /// Where a bounded reader stops, in bytes of the file; `None` follows, or reads files that
    /// claim a length of 0 (as those of `/proc` do) until a read finds nothing.
    end_offset: Option<u64>,
    /// The next byte of the file to read.
    file_offset: u64,
    format: Format,
    /// Decompressed bytes still to be dropped before the start position.
    skip_bytes: u64,
    window: Window,
    position: u64,
}

#[derive(Debug)]
enum Format {
    /// The first two bytes are not there yet.
    Open,
    Plain,
    Gzip(Box<GzipInput>),
}

/// Compressed bytes on their way through the decoder.
#[derive(Debug)]
struct GzipInput {
    decoder: GzipDecoder,
    compressed: Window,
    /// The decoder has something to say without new input: the last call filled its output, or
    /// met a fault behind the data it gave.
    has_more: bool,
}

impl GzipInput {
    fn new(chunk_bytes: usize) -> Box<Self> {
        let compressed = Window::new(chunk_bytes);
        Box::new(Self { decoder: GzipDecoder::new(), compressed, has_more: false })
    }
}

impl FileReader {
    /// Opens a file; reads nothing yet.
    ///
    /// # Errors
    ///
    /// [`ReadError::Io`] if it cannot be opened.
    pub fn open(
        storage: &Arc<dyn Storage>,
        path: impl Into<PathBuf>,
        options: ReadOptions,
    ) -> Result<Self, ReadError> {
        let path = path.into();
        let file = storage.open_read(&path)?;
        Self::over(storage, path, file, options)
    }

    /// Reads an open file, such as a [`MappedFile`](super::MappedFile); `storage` is asked for
    /// rotation and by [`Self::reopen`].
    ///
    /// # Errors
    ///
    /// [`ReadError::Io`] if the file's length cannot be read.
    pub fn from_file(
        storage: &Arc<dyn Storage>,
        file: Box<dyn ReadFile>,
        options: ReadOptions,
    ) -> Result<Self, ReadError> {
        Self::over(storage, file.path().to_path_buf(), file, options)
    }

    fn over(
        storage: &Arc<dyn Storage>,
        path: PathBuf,
        file: Box<dyn ReadFile>,
        options: ReadOptions,
    ) -> Result<Self, ReadError> {
        let mut reader = Self {
            storage: Arc::clone(storage),
            path,
            file,
            options,
            end_offset: None,
            file_offset: 0,
            format: Format::Open,
            skip_bytes: 0,
            window: Window::new(options.buffer_bytes_max),
            position: 0,
        };
        reader.end_offset = reader.end_when_opened()?;
        reader.restart(options.start_position);
        Ok(reader)
    }

    fn end_when_opened(&self) -> Result<Option<u64>, IoError> {
        if self.options.follow {
            return Ok(None);
        }
        Ok(Some(self.file.length_bytes()?).filter(|length_bytes| *length_bytes > 0))
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which file is open, for noticing after a restart that the path names another one.
    pub fn identity(&self) -> FileIdentity {
        self.file.identity()
    }

    /// The offset of the first unread byte, in decompressed data.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether growth is awaited at the end.
    pub fn is_following(&self) -> bool {
        self.options.follow
    }

    /// Whether the file is compressed; `None` until its first bytes were seen.
    pub fn is_gzip(&self) -> Option<bool> {
        match self.format {
            Format::Open => None,
            Format::Plain => Some(false),
            Format::Gzip(_) => Some(true),
        }
    }

    /// The bytes read and not yet consumed.
    pub fn buffer(&self) -> &[u8] {
        self.window.unread()
    }

    /// Counts bytes at the front of the buffer as used.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    pub fn consume(&mut self, byte_count: usize) {
        self.window.consume(byte_count);
        self.position += byte_count as u64;
    }

    /// Consumes bytes and gives them, for as long as nothing else is done with the reader.
    pub(super) fn consume_and_borrow(&mut self, byte_count: usize) -> &[u8] {
        self.position += byte_count as u64;
        self.window.consume_and_borrow(byte_count)
    }

    /// Lets the buffer grow to at least this size.
    pub fn raise_buffer_bytes_max(&mut self, buffer_bytes_max: usize) {
        self.window.raise_bytes_max(buffer_bytes_max);
    }

    /// Goes to another position, in decompressed data. A gzip file is decoded up to there by the
    /// following `fill`s, from its start when going back.
    pub fn seek(&mut self, position: u64) {
        let unread_bytes = self.window.unread().len() as u64;
        if (self.position..=self.position + unread_bytes).contains(&position) {
            // The difference is at most the window's length.
            return self.consume((position - self.position) as usize);
        }
        match (&self.format, position.checked_sub(self.position + unread_bytes)) {
            (Format::Gzip(_), Some(byte_count)) => {
                self.window.clear();
                self.skip_bytes += byte_count;
                self.position = position;
            }
            _ => self.restart(position),
        }
    }

    /// Opens the path anew and reads from the start: what follows [`ReadStatus::Rotated`] or
    /// [`ReadError::Truncated`]. Unread bytes of the old file are dropped.
    ///
    /// # Errors
    ///
    /// [`ReadError::Io`] if it cannot be opened; the old file then stays open.
    pub fn reopen(&mut self) -> Result<(), ReadError> {
        self.file = self.storage.open_read(&self.path)?;
        self.end_offset = self.end_when_opened()?;
        self.restart(0);
        Ok(())
    }

    fn restart(&mut self, position: u64) {
        self.window.clear();
        self.position = position;
        self.skip_bytes = position;
        self.file_offset = 0;
        self.format = Format::Open;
    }

    /// Does one bounded piece of work: at most one read of a chunk, at most a chunk of new data.
    ///
    /// # Errors
    ///
    /// A [`ReadError`]. Damage and truncation stay: the next call fails the same way. The buffer
    /// keeps what was read before.
    pub fn fill(&mut self) -> Result<ReadStatus, ReadError> {
        if self.window.free_space(self.options.chunk_bytes).is_empty() {
            return Ok(ReadStatus::BufferFull);
        }
        if matches!(self.format, Format::Open) && !self.detect_format()? {
            return self.at_end();
        }
        match &self.format {
            Format::Gzip(_) => self.fill_gzip(),
            _ => self.fill_plain(),
        }
    }

    /// Decides on the format; `false` if the file is too short to tell and may still grow, or
    /// is empty.
    fn detect_format(&mut self) -> Result<bool, ReadError> {
        let is_gzip = match self.options.compression {
            Compression::Plain => false,
            Compression::Gzip => true,
            Compression::Detect => {
                let mut start = [0; 2];
                match self.read_start(&mut start)? {
                    0 => return Ok(false),
                    1 if start[0] == MAGIC[0] && self.options.follow => return Ok(false),
                    byte_count => byte_count == 2 && start == MAGIC,
                }
            }
        };
        if is_gzip {
            self.format = Format::Gzip(GzipInput::new(self.options.chunk_bytes));
        } else {
            self.format = Format::Plain;
            // Plain data is skipped by not reading it; the end check notices a start behind it.
            self.file_offset = self.skip_bytes;
            self.skip_bytes = 0;
            self.check_start_within()?;
        }
        Ok(true)
    }

    fn read_start(&self, start: &mut [u8; 2]) -> Result<usize, IoError> {
        let mut byte_count = 0;
        while byte_count < start.len() {
            match self.file.read_at(byte_count as u64, &mut start[byte_count..])? {
                0 => break,
                more => byte_count += more,
            }
        }
        Ok(byte_count)
    }

    fn check_start_within(&mut self) -> Result<(), ReadError> {
        let length_bytes = self.file.length_bytes()?;
        if self.file_offset > length_bytes && self.file_offset > 0 {
            let position = self.position;
            self.restart(position);
            let path = self.path.clone();
            return Err(ReadError::PositionPastEnd { path, position, length_bytes });
        }
        Ok(())
    }

    fn fill_plain(&mut self) -> Result<ReadStatus, ReadError> {
        let allowed = self.allowed_bytes();
        let space = self.window.free_space(self.options.chunk_bytes);
        let wanted = space.len().min(allowed);
        let byte_count = self.file.read_at(self.file_offset, &mut space[..wanted])?;
        if byte_count == 0 {
            return self.at_end();
        }
        self.file_offset += byte_count as u64;
        self.window.advance(byte_count);
        Ok(ReadStatus::Filled { byte_count })
    }

    /// How many bytes a bounded reader may still read.
    fn allowed_bytes(&self) -> usize {
        let remaining =
            self.end_offset.map_or(u64::MAX, |end| end.saturating_sub(self.file_offset));
        usize::try_from(remaining).unwrap_or(usize::MAX)
    }

    fn fill_gzip(&mut self) -> Result<ReadStatus, ReadError> {
        let allowed = self.allowed_bytes();
        let Format::Gzip(input) = &mut self.format else { return Ok(ReadStatus::Working) };
        if input.compressed.unread().is_empty() && !input.has_more {
            let space = input.compressed.free_space(self.options.chunk_bytes);
            let wanted = space.len().min(allowed);
            let byte_count = self.file.read_at(self.file_offset, &mut space[..wanted])?;
            if byte_count == 0 {
                return self.at_end();
            }
            self.file_offset += byte_count as u64;
            input.compressed.advance(byte_count);
        }
        let unread_bytes = input.compressed.unread().len() as u64;
        let space = self.window.free_space(self.options.chunk_bytes);
        let progress = input.decoder.decode(input.compressed.unread(), space).map_err(|fault| {
            let offset = self.file_offset - unread_bytes;
            ReadError::CorruptGzip { path: self.path.clone(), offset, fault }
        })?;
        input.has_more = progress.produced == space.len() || input.decoder.is_faulty();
        input.compressed.consume(progress.consumed);
        Ok(self.keep_or_skip(progress.produced))
    }

    /// Takes decoded bytes into the window, except those before the start position.
    fn keep_or_skip(&mut self, produced: usize) -> ReadStatus {
        let skipped = usize::try_from(self.skip_bytes).unwrap_or(usize::MAX).min(produced);
        self.skip_bytes -= skipped as u64;
        self.window.advance(produced);
        self.window.consume(skipped);
        match produced - skipped {
            0 => ReadStatus::Working,
            byte_count => ReadStatus::Filled { byte_count },
        }
    }

    /// No byte was found at `file_offset`: what does that mean?
    fn at_end(&mut self) -> Result<ReadStatus, ReadError> {
        let length_bytes = self.file.length_bytes()?;
        let offset = self.end_offset.unwrap_or(self.file_offset);
        let is_unread = self.options.follow || self.file_offset < offset;
        if is_unread && length_bytes < offset {
            return Err(ReadError::Truncated { path: self.path.clone(), offset, length_bytes });
        }
        if self.file_offset < offset {
            return Ok(ReadStatus::Working); // It was short for a moment only.
        }
        if !self.options.follow && self.is_within_gzip_member() {
            let (path, offset) = (self.path.clone(), self.file_offset);
            return Err(ReadError::IncompleteGzip { path, offset });
        }
        let is_undecided = matches!(self.format, Format::Open) && length_bytes > 0;
        if self.skip_bytes > 0 && !is_undecided {
            let (path, position) = (self.path.clone(), self.position);
            let length_bytes = position - self.skip_bytes;
            return Err(ReadError::PositionPastEnd { path, position, length_bytes });
        }
        if self.options.follow { self.check_rotation() } else { Ok(ReadStatus::AtEnd) }
    }

    fn is_within_gzip_member(&self) -> bool {
        matches!(&self.format, Format::Gzip(input) if !input.decoder.is_between_members())
    }

    fn check_rotation(&self) -> Result<ReadStatus, ReadError> {
        let there = match self.storage.metadata(&self.path) {
            Ok(metadata) => metadata.identity,
            // Renamed away, and the writer has not made the new file yet.
            Err(IoError::NotFound { .. }) => return Ok(ReadStatus::AtEnd),
            Err(error) => return Err(error.into()),
        };
        if there == self.file.identity() {
            return Ok(ReadStatus::AtEnd);
        }
        // The writer may have added bytes between our read and the rotation.
        if self.file.length_bytes()? > self.file_offset {
            return Ok(ReadStatus::Working);
        }
        Ok(ReadStatus::Rotated)
    }
}

#[cfg(test)]
mod tests;
