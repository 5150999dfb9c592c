//! The persistent tier as resident tables see it.

use std::fmt;

use thalweg_io::memory::PageSupply;

use super::{DeltaBlock, Epoch};
use crate::codec::{Record, TableId};
use crate::{KeyGroup, KeyGroupRange, KeyHash, StateError};

/// Where a row lies: its key group and hash, and the archive of its key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowAddress<'a> {
    pub(crate) group: KeyGroup,
    pub(crate) hash: KeyHash,
    pub(crate) key: &'a [u8],
}

/// Takes what a read finds: the row's number in the request and one live record (always a put).
/// Records of a row come together, sorted by state and sub-key.
pub(crate) type RowVisitor<'v> = &'v mut dyn FnMut(usize, &Record<'_>) -> Result<(), StateError>;

/// Takes what a scan finds: the row's address and one live record, in the same order.
pub(crate) type ScanVisitor<'v> =
    &'v mut dyn FnMut(RowAddress<'_>, &Record<'_>) -> Result<(), StateError>;

/// When a table writes all of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replacement {
    /// In the epoch that ends.
    Now,
    /// In one of the next epochs.
    Soon,
}

/// What keeps the deltas of a slot's tables and gives rows back.
pub(crate) trait Tier: fmt::Debug {
    /// Takes a block of a delta, full or the last of its partition.
    fn append(&mut self, block: DeltaBlock) -> Result<(), StateError>;

    /// A table has written all of an epoch. When all tables of the store have, the epoch is complete
    /// and on its way to the disk.
    fn finish(&mut self, table: TableId, epoch: Epoch) -> Result<(), StateError>;

    /// Rows whose last change was written in this epoch or before may be dropped from memory: reads
    /// find them.
    fn readable_epoch(&self) -> Epoch;

    /// Whether anything of a table may lie here that a resident table could lack.
    fn has_rows(&self, table: TableId) -> bool;

    /// False if the row is certainly not here. Cheap: no file is read.
    fn may_hold(&self, table: TableId, group: KeyGroup, hash: KeyHash) -> bool;

    /// Reads rows, those of a request together. Rows that are not here are not visited.
    fn read_rows(
        &mut self,
        table: TableId,
        rows: &[RowAddress<'_>],
        visit: RowVisitor<'_>,
    ) -> Result<(), StateError>;

    /// Visits all rows of a table in a range of key groups, by key group and hash.
    fn scan(
        &mut self,
        table: TableId,
        range: KeyGroupRange,
        visit: ScanVisitor<'_>,
    ) -> Result<(), StateError>;

    /// Where resident tables get huge pages from; `None` where no thread touches any.
    fn page_supply(&self) -> Option<PageSupply> {
        None
    }

    /// Takes note of what a table's resident rows take, and says how much they may; `None` where
    /// memory is not limited.
    fn share_of_budget(&mut self, table: TableId, used_bytes: u64) -> Option<u64> {
        let _ = (table, used_bytes);
        None
    }

    /// Whether each epoch is to have all rows of a table, whether they changed or not; then none has to
    /// say that something is gone.
    fn is_full(&self) -> bool {
        false
    }

    /// A table says at the end of an epoch that it could write all of its rows in it, changed or not, or in one soon. Whether
    /// that is all that is here: then older files go when such an epoch is durable, and nothing is merged until then.
    fn replace_all(&mut self, table: TableId, epoch: Epoch, replacement: Replacement) -> bool {
        let _ = (table, epoch, replacement);
        false
    }

    /// Tells what time it is; records that have expired by then need not be given nor kept.
    fn set_now_ms(&mut self, now_ms: i64);
}
