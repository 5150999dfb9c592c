//! What rows are sorted by.

use crate::{KeyGroup, KeyHash};

/// The number of a table within its store: one operator's rows, its flat tables or its timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TableId(pub(crate) u16);

/// The number of a state within its table.
pub(crate) type StateIndex = u8;

/// Table, key group and key hash of a row, in one integer that sorts as they do.
///
/// ```text
/// bits 63..48 table   47..32 key group   31..0 key hash
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RowPrefix(pub(crate) u64);

impl RowPrefix {
    #[inline]
    pub(crate) const fn new(table: TableId, group: KeyGroup, hash: KeyHash) -> Self {
        RowPrefix((table.0 as u64) << 48 | (group.0 as u64) << 32 | hash.as_u32() as u64)
    }

    #[inline]
    pub(crate) const fn table(self) -> TableId {
        TableId((self.0 >> 48) as u16)
    }

    #[inline]
    pub(crate) const fn group(self) -> KeyGroup {
        KeyGroup((self.0 >> 32) as u16)
    }

    #[inline]
    pub(crate) const fn hash(self) -> KeyHash {
        KeyHash::from_u32(self.0 as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_by_table_then_group_then_hash() {
        let prefix = |table, group, hash| {
            RowPrefix::new(TableId(table), KeyGroup(group), KeyHash::from_u32(hash))
        };
        let sorted =
            [prefix(0, 0, 9), prefix(0, 1, 0), prefix(0, 32767, u32::MAX), prefix(1, 0, 0)];
        assert!(sorted.is_sorted());
        let last = prefix(u16::MAX, 7, 5);
        assert_eq!((last.table(), last.group()), (TableId(u16::MAX), KeyGroup(7)));
        assert_eq!(last.hash().as_u32(), 5);
    }
}
