//! Level 0: one file for the changes of an epoch, as the resident tables sent them.
//!
//! ```text
//! blocks of rows (table, key groups) ──► DeltaWriter ──► file ──► DeltaReader ──► DeltaRows: sorted
//! ```
//! 1. [`DeltaWriter`] frames blocks and writes them as they come in, so that little is left to do
//!    when the last one arrives; a footer lists them.
//! 2. [`DeltaReader`] loads the rows of a range of key groups and sorts an index of them. Nothing is
//!    sorted before somebody reads: most deltas are merged into sorted files first.
//! 3. [`DeltaCache`] answers the owner's reads of single rows: an index of each partition that was
//!    asked for, and cached blocks, within a budget.
//!
//! # Format, version 1
//!
//! A sealed file of `thalweg_io::checkpoint_file` with the format name `delta`. Numbers are
//! little-endian.
//!
//! ```text
//! block (kind 1)   table u16 | key groups: start u16, end u16 | rows u32 | the rows, as in `codec`
//! footer           first epoch u64 | last epoch u64 | count u32, then in the order of the blocks
//!                  | (table u16 | key groups: start u16, end u16 | rows u32
//!                     | offset of the block u64 | its length u32)..
//! ```
//!
//! Version log: 1, the first.
//!
//! # Invariants
//!
//! - Blocks of one table and key groups are in the order in which they were sent: a later row or
//!   record of the same key wins. So the blocks of an epoch whose checkpoint failed can be written
//!   in front of those of the next epoch.
//! - The key groups of two blocks of a table are equal or disjoint.

mod cache;
mod index;
mod reader;
mod rows;
mod writer;

pub(crate) use cache::DeltaCache;
pub(crate) use reader::DeltaReader;
pub(crate) use rows::DeltaRows;
pub(crate) use writer::DeltaWriter;

use thalweg_io::checkpoint_file::FileFormat;

use crate::KeyGroupRange;
use crate::codec::TableId;

pub(crate) const DELTA_FORMAT: FileFormat = FileFormat::new("delta", 1);

const ROWS_KIND: u8 = 1;
/// In front of a block's rows.
const BLOCK_HEADER_BYTES: usize = 10;
const FOOTER_HEADER_BYTES: usize = 20;
const FOOTER_ENTRY_BYTES: usize = 22;

/// A block as the footer lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BlockEntry {
    table: TableId,
    groups: KeyGroupRange,
    row_count: u32,
    address: thalweg_io::block::BlockAddress,
}

#[cfg(test)]
mod tests;
