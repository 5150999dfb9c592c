//! A file of the store as its manifest describes it.

use thalweg_io::block::FileId;
use thalweg_io::checkpoint_file::FileSeal;

use crate::backend::Epoch;
use crate::codec::{RowPrefix, TableId};
use crate::snapshot::DataFile;
use crate::{KeyGroup, KeyGroupRange, KeyHash};

/// The bottom level.
pub(crate) const LEVEL_MAX: u8 = 12;

/// One immutable file: a delta (level 0) or a sorted run (level 1 and up).
///
/// # Invariants
///
/// - `groups` may be narrower than what lies in the file: rows of other groups belong to another
///   store, and reads leave them out.
/// - Level 1 to [`LEVEL_MAX`]; the last is the bottom, and data starts there.
/// - A sorted file holds rows of **one** table, so that `smallest` and `largest` can be clipped to
///   `groups`: then files of one level stay disjoint when stores are put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileMeta {
    /// By what the file is known; its blocks' owner is in it.
    pub(crate) seal: FileSeal,
    /// 0 for deltas.
    pub(crate) level: u8,
    /// The oldest epoch whose changes are in it.
    pub(crate) first_epoch: Epoch,
    /// The newest one.
    pub(crate) last_epoch: Epoch,
    /// The tables that have rows in it, sorted.
    pub(crate) tables: Box<[TableId]>,
    /// The key groups that are visible to this store.
    pub(crate) groups: KeyGroupRange,
    /// At most the first visible row.
    pub(crate) smallest: RowPrefix,
    /// At least the last visible row.
    pub(crate) largest: RowPrefix,
    /// Rows in the whole file.
    pub(crate) row_count: u64,
    /// Records in the whole file that say that something is gone; not counted in deltas.
    pub(crate) removal_count: u64,
    /// When half of its records will have expired; `i64::MAX` for never, and for deltas.
    pub(crate) half_expired_at_ms: i64,
}

/// What names a file within a version: after stores were put together, a file may be there several
/// times, with other key groups in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FilePart {
    pub(crate) id: FileId,
    /// The first visible key group.
    pub(crate) first_group: u16,
}

impl FileMeta {
    pub(crate) fn part(&self) -> FilePart {
        FilePart { id: self.id(), first_group: self.groups.start }
    }

    pub(crate) fn id(&self) -> FileId {
        self.seal.owner.file_id
    }

    pub(crate) fn length_bytes(&self) -> u64 {
        self.seal.length_bytes
    }

    pub(crate) fn is_delta(&self) -> bool {
        self.level == 0
    }

    /// What its name is made of.
    pub(crate) fn data_file(&self) -> DataFile {
        DataFile { id: self.id(), is_delta: self.is_delta() }
    }

    /// Whether rows of a table and group may be in the file and visible.
    pub(crate) fn may_hold(&self, table: TableId, group: KeyGroup) -> bool {
        self.groups.contains(group) && self.tables.binary_search(&table).is_ok()
    }

    /// Whether rows of a table in a range of groups may be in the file and visible.
    pub(crate) fn may_hold_any(&self, table: TableId, range: KeyGroupRange) -> bool {
        !self.groups.intersection(range).is_empty() && self.tables.binary_search(&table).is_ok()
    }

    /// The file as a store of these key groups sees it; `None` if it sees nothing of it.
    pub(crate) fn clipped(&self, range: KeyGroupRange) -> Option<Self> {
        let groups = self.groups.intersection(range);
        if groups.is_empty() {
            return None;
        }
        let mut clipped = FileMeta { groups, ..self.clone() };
        if let [table] = *self.tables {
            let first = RowPrefix::new(table, KeyGroup(groups.start), KeyHash::from_u32(0));
            let last = RowPrefix::new(table, KeyGroup(groups.end - 1), KeyHash::from_u32(u32::MAX));
            clipped.smallest = clipped.smallest.max(first);
            clipped.largest = clipped.largest.min(last);
            if clipped.smallest > clipped.largest {
                return None;
            }
        }
        Some(clipped)
    }
}
