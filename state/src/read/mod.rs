//! Reads of rows that lie below the resident tables: a batch of rows, or all rows of a table.
//!
//! ```text
//! read_rows   per row: deltas ─► level 1 ─► .. ─► level 12       until one says that the row was removed
//!                              filter, index ─► blocks wanted
//!             cached blocks, and all others of the batch read TOGETHER (io_uring: one queue)
//!             per row: merge, visit live records
//! scan        deltas and levels, merged streaming
//! ```
//!
//! # Invariants
//!
//! - Within one call, rows are visited in the order they were asked for, records of a row together
//!   and sorted by (state, sub-key).
//! - A round holds the blocks of [`ROUND_ROWS`] rows at most; a row that fills more than two blocks is
//!   streamed. So memory does not grow with batch or row.
//! - The owner thread alone reads here. Nothing is written.
//!
//! # Measured
//!
//! Three million `u64` by `u64` in one level, one core that other work shared, nanoseconds a row:
//!
//! | rows a call | block cached | block in the page cache | row absent, filter says so |
//! |---|---|---|---|
//! | 1 | 2,000 | 2,900 | 250 |
//! | 32 | 1,550 | 2,600 | 120 |
//! | 256 | 1,550 | 2,700 | 120 |
//!
//! Most of a cached read are misses of the processor's caches: filter, index, cache index, the
//! block's list of restarts, its rows.

mod open_levels;
mod point_source;
mod round;
mod sorted_reader;

pub(crate) use sorted_reader::SortedReader;

/// Rows whose blocks are read together: a few times the depth of a disk's queue.
const ROUND_ROWS: usize = 512;

#[cfg(test)]
mod tests;
