//! A run of sorted files: one is written after the other.

use thalweg_io::checkpoint_file::CompletedFile;
use thalweg_io::{IoError, crash_point};

use super::writer::{RunOrigin, SortedWriter};
use crate::codec::{Record, RowPrefix};
use crate::manifest::FileMeta;
use crate::snapshot::{StoreFiles, crash_points};

/// Takes rows in order; cuts files between tables, and between prefixes where they are large enough.
///
/// A writer that is dropped leaves its files behind, which no manifest knows and the next open of
/// the store removes; [`abort`](Self::abort) removes them at once.
#[derive(Debug)]
pub(crate) struct RunWriter {
    files: StoreFiles,
    origin: RunOrigin,
    file_bytes: u64,
    current: Option<SortedWriter>,
    completed: Vec<(CompletedFile, FileMeta)>,
}

impl RunWriter {
    /// Writes files of about `file_bytes`.
    pub(crate) fn new(files: StoreFiles, origin: RunOrigin, file_bytes: u64) -> Self {
        let (current, completed) = (None, Vec::new());
        RunWriter { files, origin, file_bytes, current, completed }
    }

    /// Begins a row, which has at least one record.
    ///
    /// # Errors
    ///
    /// If the file before it could not be completed, or a new one not be created.
    pub(crate) fn begin_row(&mut self, prefix: RowPrefix, key: &[u8]) -> Result<(), IoError> {
        if self.current.as_ref().is_some_and(|current| self.ends_before(current, prefix)) {
            self.complete_current()?;
        }
        let current = match &mut self.current {
            Some(current) => current,
            None => self.current.insert(SortedWriter::create(&self.files, self.origin)?),
        };
        current.begin_row(prefix, key);
        Ok(())
    }

    /// Adds the next record of the row.
    ///
    /// # Errors
    ///
    /// If earlier blocks could not be written.
    #[inline]
    pub(crate) fn record(&mut self, record: Record<'_>) -> Result<(), IoError> {
        self.current.as_mut().expect("a record belongs to a row").record(record)
    }

    /// Ends the row.
    ///
    /// # Errors
    ///
    /// If earlier blocks could not be written.
    #[inline]
    pub(crate) fn end_row(&mut self) -> Result<(), IoError> {
        self.current.as_mut().expect("a row was begun").end_row()
    }

    /// Completes the last file and makes all of them durable.
    ///
    /// # Errors
    ///
    /// If a step fails; no manifest may refer to the files then, and [`abort`](Self::abort) removes
    /// them, unless it was the sync of the directory.
    pub(crate) fn finish(&mut self) -> Result<Vec<FileMeta>, IoError> {
        self.complete_current()?;
        let (files, metas): (Vec<_>, Vec<_>) = self.completed.drain(..).unzip();
        CompletedFile::publish_all(files)?;
        crash_point(crash_points::COMPACT_BEFORE_EDIT);
        Ok(metas)
    }

    /// Removes what was written.
    ///
    /// # Errors
    ///
    /// The first that could not be removed; the others are.
    pub(crate) fn abort(self) -> Result<(), IoError> {
        let mut outcome = self.current.map_or(Ok(()), SortedWriter::abort);
        for (file, _) in self.completed {
            outcome = outcome.and(file.abort());
        }
        outcome
    }

    fn ends_before(&self, current: &SortedWriter, prefix: RowPrefix) -> bool {
        let last = current.largest();
        let is_large = current.length_bytes() >= self.file_bytes;
        last.table() != prefix.table() || (is_large && last != prefix)
    }

    fn complete_current(&mut self) -> Result<(), IoError> {
        let Some(current) = self.current.take() else { return Ok(()) };
        let path = current.path().to_path_buf();
        match current.complete() {
            Ok((file, meta)) => {
                self.completed.push((file, meta));
                Ok(())
            }
            Err(error) => {
                // The first error says more than one of removing what it left would.
                let _ = self.files.storage().remove(&path);
                Err(error)
            }
        }
    }
}
