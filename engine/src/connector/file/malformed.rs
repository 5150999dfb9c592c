//! What becomes of rows that cannot be decoded.

use std::fmt;

use super::error::FileSourceError;
use crate::Result;
use crate::function::SourceCollector;

/// Most warnings that one reader writes about rows it skips; the metric `records_skipped` counts them all.
const WARNINGS_MAX: u64 = 10;

/// What to do with a row that cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Malformed {
    /// Fail the job; the error names file, line and column.
    #[default]
    Fail,
    /// Leave it out: counted in the metric `records_skipped`, the first ten of each reader with a warning in the log.
    SkipAndCount,
}

/// A row that could not be decoded, and where.
#[crate::record]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MalformedRow {
    /// The file.
    pub file: String,
    /// The line it begins in, from 1.
    pub line: u64,
    /// The column: its name, or its number from 1 where the file has no header; `None` if the row as a whole is wrong.
    pub column: Option<String>,
    /// The row as it is in the file, without its ending; bytes that are not UTF-8 are replaced, and what is longer than 64 KiB is
    /// cut off.
    pub raw: String,
    /// What is wrong.
    pub error: String,
}

impl fmt::Display for MalformedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}", self.file, self.line)?;
        if let Some(column) = &self.column {
            write!(f, ", column '{column}'")?;
        }
        write!(f, ": {}", self.error)
    }
}

impl std::error::Error for MalformedRow {}

/// How decoded and malformed rows become a source's records: [`Malformed`] or [`AsResults`].
pub trait OnMalformed<T>: Clone + Send + Sync + 'static {
    /// The records.
    type Out: Send + 'static;

    /// Emits one row, decoded or not.
    ///
    /// # Errors
    /// Where malformed rows fail the job.
    fn emit(
        &self,
        row: Result<T, MalformedRow>,
        out: &mut SourceCollector<'_, Self::Out>,
        skipped_before: &mut u64,
    ) -> Result<()>;
}

impl<T: Send + 'static> OnMalformed<T> for Malformed {
    type Out = T;

    #[inline(always)]
    fn emit(
        &self,
        row: Result<T, MalformedRow>,
        out: &mut SourceCollector<'_, T>,
        skipped_before: &mut u64,
    ) -> Result<()> {
        match row {
            Ok(record) => out.collect(record),
            Err(row) => {
                self.reject(row, *skipped_before)?;
                *skipped_before += 1;
                out.skip();
            }
        }
        Ok(())
    }
}

impl Malformed {
    #[cold]
    fn reject(self, row: MalformedRow, skipped_before: u64) -> Result<(), FileSourceError> {
        match self {
            Malformed::Fail => return Err(FileSourceError::Malformed(row)),
            Malformed::SkipAndCount if skipped_before < WARNINGS_MAX => {
                tracing::warn!("skipped a malformed row: {row}");
            }
            Malformed::SkipAndCount if skipped_before == WARNINGS_MAX => {
                tracing::warn!("further malformed rows are only counted (records_skipped)");
            }
            Malformed::SkipAndCount => {}
        }
        Ok(())
    }
}

/// Malformed rows are records too: `Result<T, MalformedRow>`.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsResults;

impl<T: Send + 'static> OnMalformed<T> for AsResults {
    type Out = Result<T, MalformedRow>;

    #[inline(always)]
    fn emit(
        &self,
        row: Result<T, MalformedRow>,
        out: &mut SourceCollector<'_, Self::Out>,
        _: &mut u64,
    ) -> Result<()> {
        out.collect(row);
        Ok(())
    }
}

/// The text of a malformed row.
pub(super) fn raw_text(bytes: &[u8]) -> String {
    const RAW_BYTES_MAX: usize = 64 << 10;
    let is_ending = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let end = bytes.iter().rposition(|byte| !is_ending(byte)).map_or(0, |last| last + 1);
    String::from_utf8_lossy(&bytes[..end.min(RAW_BYTES_MAX)]).into_owned()
}
