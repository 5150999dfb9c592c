//! What lies between the resident tables of a slot and the files below them.
//!
//! ```text
//! RowStore, flat tables, timers ──► TableStore ──► Tier: LsmStore (files) or MemoryTier (a map)
//!        (typed, one owner)          rows as bytes, a delta an epoch
//! ```
//! 1. A resident table has one [`TableStore`]. Within an epoch it tracks what changes; at the
//!    barrier it calls [`TableStore::barrier`] and from then on writes the ended epoch's changes to
//!    [`TableStore::row`] of that epoch, in bounded beats, until [`TableStore::finish`].
//! 2. Rows are encoded into blocks, one for each partition of the slot's key groups, so that a
//!    delta can be read back partition by partition. Full blocks go down to the [`Tier`].
//! 3. A row that is not resident is read through [`TableStore::read_rows`].
//!
//! **Invariants**
//! - Epochs count up by one from 1. An epoch's records are written before any of the next epoch
//!   of the same row; several ended epochs may be unfinished at a time.
//! - A block holds rows of one table, one epoch and one partition, in the order they were written.
//! - A table's owner thread is the only one that touches it; nothing here takes a lock.

mod delta_block;
#[cfg(test)]
mod memory_tier;
mod spare_blocks;
mod table_store;
mod tier;

mod lsm_options;
mod lsm_store;
mod lsm_tier;
mod state_versions;
mod statistics;
mod store_error;
mod table_registry;

#[cfg(test)]
mod lsm_tests;

pub(crate) use delta_block::{DELTA_BLOCK_BYTES, DeltaBlock, PartitionLayout};
pub use lsm_options::LsmOptions;
pub use lsm_store::LsmStore;
#[cfg(test)]
pub(crate) use memory_tier::MemoryTier;
pub(crate) use spare_blocks::{BlockBytes, SpareBlocks};
pub(crate) use state_versions::StateVersions;
pub use statistics::{LevelStatistics, StoreStatistics};
pub use store_error::{OlderCheckpoints, SchemaChange, StoreError};
pub(crate) use table_registry::{OpenedTable, StateRequest, TableRequest};
pub(crate) use table_store::TableStore;
pub(crate) use tier::{Replacement, RowAddress, RowVisitor, ScanVisitor, Tier};

/// A stretch of changes between two barriers of a table; the first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch of a new store.
    pub const FIRST: Epoch = Epoch(1);

    /// The epoch after this one.
    #[must_use]
    pub const fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}
