//! What a sorted file says of itself.

use thalweg_io::block::BlockAddress;

use crate::backend::Epoch;
use crate::codec::{RowPrefix, TableId};
use crate::{KeyGroup, KeyGroupRange};

const FOOTER_BYTES: usize = 96;

/// The footer, in the trailer of the file; the format is in the [module's docs](super).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    /// The table whose rows these are.
    pub(crate) table: TableId,
    /// The first row.
    pub(crate) smallest: RowPrefix,
    /// The last row.
    pub(crate) largest: RowPrefix,
    pub(crate) row_count: u64,
    pub(crate) record_count: u64,
    /// Records that say that a row, a state or a value is gone.
    pub(crate) removal_count: u64,
    /// When half of the records will have expired; `i64::MAX` for never.
    pub(crate) half_expired_at_ms: i64,
    /// The oldest epoch whose changes are in the file.
    pub(crate) first_epoch: Epoch,
    /// The newest one.
    pub(crate) last_epoch: Epoch,
    /// Where the index lies; the blocks of rows are before it.
    pub(super) index: BlockAddress,
    /// Where the filter lies.
    pub(super) filter: BlockAddress,
}

impl Footer {
    /// The key groups from that of the first row to that of the last one.
    pub(crate) fn groups(&self) -> KeyGroupRange {
        let KeyGroup(start) = self.smallest.group();
        KeyGroupRange { start, end: self.largest.group().0 + 1 }
    }

    pub(super) fn to_bytes(self) -> [u8; FOOTER_BYTES] {
        let mut bytes = [0; FOOTER_BYTES];
        let words = [
            self.smallest.0,
            self.largest.0,
            self.row_count,
            self.record_count,
            self.removal_count,
            self.half_expired_at_ms as u64,
            self.first_epoch.0,
            self.last_epoch.0,
            self.index.offset,
            self.filter.offset,
        ];
        for (bytes, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *bytes = word.to_le_bytes();
        }
        bytes[80..84].copy_from_slice(&self.index.length_bytes.to_le_bytes());
        bytes[84..88].copy_from_slice(&self.filter.length_bytes.to_le_bytes());
        bytes[88..90].copy_from_slice(&self.table.0.to_le_bytes());
        bytes
    }

    /// `None` if the bytes are no footer, or contradict themselves.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; FOOTER_BYTES] = bytes.try_into().ok()?;
        let word = |index: usize| u64::from_le_bytes(bytes.as_chunks::<8>().0[index]);
        let half = |at: usize| u32::from_le_bytes(bytes.as_chunks::<4>().0[at / 4]);
        let footer = Footer {
            table: TableId(half(88) as u16),
            smallest: RowPrefix(word(0)),
            largest: RowPrefix(word(1)),
            row_count: word(2),
            record_count: word(3),
            removal_count: word(4),
            half_expired_at_ms: word(5) as i64,
            first_epoch: Epoch(word(6)),
            last_epoch: Epoch(word(7)),
            index: BlockAddress { offset: word(8), length_bytes: half(80) },
            filter: BlockAddress { offset: word(9), length_bytes: half(84) },
        };
        let is_sane = footer.smallest <= footer.largest
            && footer.smallest.table() == footer.table
            && footer.largest.table() == footer.table
            && footer.largest.group().0 < u16::MAX
            && (1..=footer.record_count).contains(&footer.row_count)
            && footer.removal_count <= footer.record_count
            && footer.first_epoch <= footer.last_epoch;
        is_sane.then_some(footer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let footer = Footer {
            table: TableId(3),
            smallest: RowPrefix(3 << 48 | 5),
            largest: RowPrefix(3 << 48 | 7 << 32),
            row_count: 1,
            record_count: 2,
            removal_count: 1,
            half_expired_at_ms: -9,
            first_epoch: Epoch(4),
            last_epoch: Epoch(9),
            index: BlockAddress { offset: 1 << 40, length_bytes: 77 },
            filter: BlockAddress { offset: 2 << 40, length_bytes: 78 },
        };
        assert_eq!(Footer::from_bytes(&footer.to_bytes()), Some(footer));
        assert_eq!(footer.groups(), KeyGroupRange { start: 0, end: 8 });
        let insane = Footer { largest: RowPrefix(4 << 48), ..footer };
        assert_eq!(Footer::from_bytes(&insane.to_bytes()), None);
        assert_eq!(Footer::from_bytes(&footer.to_bytes()[1..]), None);
    }
}
