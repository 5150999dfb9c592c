//! Rows of a delta in memory, with a sorted index.

use crate::codec::{EncodedRow, RowPrefix, TableId, decode_row};
use crate::{KeyGroup, KeyGroupRange, KeyHash};

/// The visible rows of one table in a range of key groups.
///
/// # Invariants
///
/// - `index` is sorted by key group and hash, then by key, then by offset: rows of one key are
///   adjacent, in the order written.
/// - Every offset is that of a row in `bytes` that decoded.
#[derive(Debug)]
pub(crate) struct DeltaRows {
    bytes: Vec<u8>,
    index: Vec<IndexEntry>,
}

/// Key group, hash, length of an empty key, and one record.
const ROW_BYTES_MIN: usize = 8;

/// Key group and hash, as in a [`RowPrefix`] of table 0, and where the row lies.
type IndexEntry = (u64, u32);

fn sort_prefix(group: KeyGroup, hash: KeyHash) -> u64 {
    RowPrefix::new(TableId(0), group, hash).0
}

impl DeltaRows {
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// The row of this number, in sorted order.
    pub(crate) fn row(&self, index: usize) -> EncodedRow<'_> {
        let (_, offset) = self.index[index];
        decode_row(&mut &self.bytes[offset as usize..])
            .expect("rows were decoded when they were added")
    }

    /// Key group and hash of a row, with the table's number.
    pub(crate) fn prefix(&self, table: TableId, index: usize) -> RowPrefix {
        RowPrefix(self.index[index].0 | u64::from(table.0) << 48)
    }
}

/// Gathers blocks to [`DeltaRows`].
#[derive(Debug)]
pub(super) struct RowsBuilder {
    visible: KeyGroupRange,
    rows: DeltaRows,
}

impl RowsBuilder {
    pub(super) fn new(visible: KeyGroupRange) -> Self {
        RowsBuilder { visible, rows: DeltaRows { bytes: Vec::new(), index: Vec::new() } }
    }

    /// Adds the rows of one block that are visible.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub(super) fn add(&mut self, block: &[u8], row_count: u32) -> Result<(), &'static str> {
        let base = self.rows.bytes.len();
        if u32::try_from(base + block.len()).is_err() {
            return Err("expected less than 4 GiB of rows in a partition, found more");
        }
        self.rows.bytes.extend_from_slice(block);
        let row_count_max = block.len() / ROW_BYTES_MIN;
        self.rows.index.reserve((row_count as usize).min(row_count_max));
        let (mut rest, mut found_count) = (block, 0);
        while !rest.is_empty() {
            let offset = (base + block.len() - rest.len()) as u32;
            let row = decode_row(&mut rest).map_err(|damaged| damaged.what)?;
            if self.visible.contains(row.group) {
                self.rows.index.push((sort_prefix(row.group, row.hash), offset));
            }
            found_count += 1;
        }
        match found_count == row_count {
            true => Ok(()),
            false => Err("expected as many rows as the block says, found another number"),
        }
    }

    pub(super) fn finish(self) -> DeltaRows {
        let mut rows = self.rows;
        rows.index.sort_unstable();
        rows.bytes.shrink_to_fit();
        sort_equal_prefixes(&mut rows);
        rows
    }
}

/// Different keys with one hash are rare; they are sorted by key, so that rows of one are adjacent.
fn sort_equal_prefixes(rows: &mut DeltaRows) {
    let DeltaRows { bytes, index } = rows;
    let key = |offset: u32| {
        let row = decode_row(&mut &bytes[offset as usize..]);
        row.expect("rows were decoded when they were added").key
    };
    for equal in index.chunk_by_mut(|entry, next| entry.0 == next.0).filter(|run| run.len() > 1) {
        equal.sort_by(|(_, offset), (_, other)| {
            key(*offset).cmp(key(*other)).then(offset.cmp(other))
        });
    }
}
