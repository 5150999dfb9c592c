//! Immutable sorted files: the rows of one table, sorted by (prefix, key), their records by (state,
//! sub-key), each at most once.
//!
//! ```text
//! rows ──► SortedWriter ──► sealed file ──► SortedFile ──► the blocks of a row, found by filter and index
//!          RunWriter: one                └► FileSource ──► all rows of a run of files, streaming
//!          file after the other
//! ```
//!
//! # Format `sorted`, version 1
//!
//! A sealed file of blocks ([`thalweg_io::checkpoint_file`]), which are under a CRC32C each. Numbers
//! are little-endian; `varint` has seven bits a byte, the lowest first, and the top bit says that
//! more follow.
//!
//! ```text
//! blocks of rows (kind 1), in the order of their rows; then one index (kind 2), one filter (kind 3),
//! and the footer in the trailer of the file
//!
//! payload of a block of rows
//!     rows, one behind the other
//!         distance from the prefix of the row before (0 for the first)   varint
//!         length of the key                                              varint
//!         key                                                            rkyv's archive
//!         records as in deltas ([`codec`](crate::codec)), the last one of the row marked
//!     restarts: every 16th row from the first on
//!         prefix u64 | offset of the row u32
//!     count of restarts u32
//!     flags u8: bit 0 the first row goes on from the block before
//!               bit 1 the last row goes on in the next block, which repeats prefix and key
//!
//! payload of the index
//!     for each block of rows: first prefix u64 | offset of the block u64
//!     offset of the end of the last one u64
//!
//! payload of the filter: lines of 8 words u64
//!     hash = finalizer of splitmix64 of the prefix; line = (upper half * lines) >> 32
//!     bit of word i = (lower half * salt i) >> 26; salts: those of Parquet's split-block filter
//!
//! footer (96 bytes)
//! offset  bytes  field                     offset  bytes  field
//!      0      8  prefix of the first row       56      8  newest epoch
//!      8      8  prefix of the last row        64      8  offset of the index
//!     16      8  rows                          72      8  offset of the filter
//!     24      8  records                       80      4  length of the index, with its frame
//!     32      8  removals, not of entries      84      4  length of the filter, with its frame
//!     40      8  half have expired at, ms      88      2  table
//!     48      8  oldest epoch                  90      6  zeros
//! ```
//!
//! Version log: 1, the first.
//!
//! # Measured
//!
//! Three million `u64` by `u64`, one core that other work shared: 11-14 M rows/s are written, 275-350
//! MB/s; 10-14 M rows/s are read by a scan; 24.3 bytes a row in the file.
//!
//! # Invariants
//!
//! - A file has rows of one table, and all rows of a prefix that its level has: files of a level are
//!   disjoint in prefixes, also after their key groups were clipped.
//! - A block is of about 4 KiB. A row that does not fit is split between records over blocks of its
//!   own; a single record larger than that makes a larger block. So one row of a million entries is
//!   read and written in steady memory.
//! - A `u64` row with a `u64` key takes 24 to 26 bytes, the more the fewer rows a key group has: 21 to
//!   23 of the row, 1.3 of the filter, 0.8 of restarts, the rest frames and index.

mod block;
mod expiry_sample;
mod file;
mod file_source;
mod filter;
mod footer;
mod index;
mod rows_below;
mod run_writer;
mod stream;
mod verify;
mod writer;

use thalweg_io::checkpoint_file::FileFormat;

pub(crate) use block::BlockCursor;
#[cfg(any(test, feature = "testing"))]
pub(crate) use block::Passed;
pub(crate) use file::SortedFile;
pub(crate) use file_source::{FileSource, PrefixRange};
use filter::Filter;
pub(crate) use rows_below::RowsBelow;
pub(crate) use run_writer::RunWriter;
pub(crate) use stream::BlockStream;
pub(crate) use writer::RunOrigin;

/// The format of sorted files; see the module docs.
pub(crate) const SORTED_FORMAT: FileFormat = FileFormat::new("sorted", 1);

const ROWS_KIND: u8 = 1;
const INDEX_KIND: u8 = 2;
const FILTER_KIND: u8 = 3;

#[cfg(test)]
pub(crate) mod test_runs;
#[cfg(test)]
mod tests;
