//! The merge of what several sources say of rows, the newest first: the heart of reads and of
//! compaction.
//!
//! ```text
//! newest  delta ── delta ── level 1 ── level 2 ── .. ── level 12 oldest      (RowSource, sorted)
//!              ╲       ╲       │       ╱            ╱
//!               ╲───────╲── RowMerge ──────────────╱
//!                              │
//!            rows by (prefix, key), their records by (state, sub-key), each once
//! ```
//! 1. A [`RowSource`] gives rows in order and the records of a row in order, each (state, sub-key)
//!    at most once, removals of a row or a state before what they stand beside.
//! 2. [`RowMerge::next_row`] goes to the least row that any source has, [`RowMerge::next_record`]
//!    through its records. What a newer removal or record of the same sub-key voids is skipped.
//! 3. A reader wants live puts alone; a compaction above the bottom keeps removals too, since they
//!    void what lies in levels it does not read. [`Keep`] says which.
//! 4. Rows of a delta come in the order they were written; [`CanonicalRow`] brings one into the
//!    order and form of a source.
//!
//! # Invariants
//!
//! - A removal voids records of older sources only; a put beside it in its source is newer.
//! - A put that has expired voids older puts of its sub-key, as the removal it has become.
//! - What is kept with removals may stand for its sources: merging it with anything newer or older
//!   gives the same rows as merging the sources themselves.
//! - A record is decoded where it lies. Memory does not grow with the length of a row.

mod canonical_row;
mod delta_source;
mod record_cursor;
mod row_merge;
mod row_source;

pub(crate) use canonical_row::CanonicalRow;
pub(crate) use delta_source::DeltaSource;
pub(crate) use record_cursor::RecordCursor;
pub(crate) use row_merge::{Keep, RowMerge};
pub(crate) use row_source::RowSource;

#[cfg(test)]
pub(crate) mod model;
#[cfg(test)]
mod tests;
