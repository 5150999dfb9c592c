//! What the merge reads from.

use crate::backend::StoreError;
use crate::codec::{Record, RowPrefix};

/// Sorted rows and their sorted records, one position at a time.
///
/// A new source stands at its first row, and at each row at its first record.
pub(crate) trait RowSource {
    /// Prefix of the row; `None` after the last one.
    fn prefix(&self) -> Option<RowPrefix>;

    /// Archived key of the row; empty after the last one.
    fn key(&self) -> &[u8];

    /// The record; `None` after the last one of the row.
    fn record(&self) -> Option<Record<'_>>;

    /// Goes to the next record of the row. Does nothing after the last one.
    fn next_record(&mut self) -> Result<(), StoreError>;

    /// Goes to the next row, whatever is left of this one.
    fn next_row(&mut self) -> Result<(), StoreError>;
}
