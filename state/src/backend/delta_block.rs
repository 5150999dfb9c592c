//! A block of a delta and how key groups share partitions.

use super::{BlockBytes, Epoch};
use crate::codec::TableId;
use crate::{KeyGroup, KeyGroupRange};

/// Size at which a block is sent down; a single row may exceed it.
pub(crate) const DELTA_BLOCK_BYTES: usize = 64 << 10;

/// The most partitions of a delta: what a restored store reads at a time is one of them.
const PARTITIONS_MAX: usize = 64;

/// Encoded rows of one table, one epoch and one partition; see [`codec`](crate::codec).
#[derive(Debug)]
pub(crate) struct DeltaBlock {
    pub(crate) table: TableId,
    pub(crate) epoch: Epoch,
    pub(crate) partition: u16,
    pub(crate) row_count: u32,
    /// The rows, one behind the other.
    pub(crate) bytes: BlockBytes,
}

/// How the key groups of a slot share the partitions of a delta: contiguous shares of almost equal
/// size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartitionLayout {
    groups: KeyGroupRange,
    max_parallelism: u16,
    count: u16,
    /// `count / groups` in 32 fractional bits, rounded up: a multiplication in the place of a
    /// division for each row that is written. Exact for 2^15 groups, since the error of 2^-17 is
    /// less than the distance of 2^-15 to the next partition.
    count_per_group: u64,
}

impl PartitionLayout {
    pub(crate) fn new(groups: KeyGroupRange, max_parallelism: u16) -> Self {
        let count = groups.len().clamp(1, PARTITIONS_MAX) as u16;
        let count_per_group = (u64::from(count) << 32).div_ceil(groups.len().max(1) as u64);
        PartitionLayout { groups, max_parallelism, count, count_per_group }
    }

    pub(crate) fn count(self) -> usize {
        self.count as usize
    }

    pub(crate) fn groups(self) -> KeyGroupRange {
        self.groups
    }

    pub(crate) fn max_parallelism(self) -> u16 {
        self.max_parallelism
    }

    /// The partition of a key group; groups outside of the range share the outer ones.
    #[inline]
    pub(crate) fn partition_of(self, group: KeyGroup) -> usize {
        let within = u64::from(group.0.saturating_sub(self.groups.start));
        let share = ((within * self.count_per_group) >> 32) as usize;
        share.min(self.count() - 1)
    }

    /// The key groups of a partition.
    pub(crate) fn groups_of(self, partition: usize) -> KeyGroupRange {
        let first = |partition: usize| {
            let within = (partition * self.groups.len()).div_ceil(self.count());
            self.groups.start + within.min(self.groups.len()) as u16
        };
        KeyGroupRange { start: first(partition), end: first(partition + 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_share_the_groups() {
        for (start, end) in
            [(0, 128), (43, 86), (5, 6), (0, 32_768), (7, 72), (0, 32_767), (3, 31_000)]
        {
            let layout = PartitionLayout::new(KeyGroupRange { start, end }, 32_768);
            for group in start..end {
                let exact = usize::from(group - start) * layout.count() / layout.groups.len();
                assert_eq!(layout.partition_of(KeyGroup(group)), exact);
            }
            for partition in 0..layout.count() {
                let groups = layout.groups_of(partition);
                assert!(!groups.is_empty());
                assert!(groups.groups().all(|group| layout.partition_of(group) == partition));
            }
            assert_eq!(layout.groups_of(0).start, start);
            assert_eq!(layout.groups_of(layout.count() - 1).end, end);
        }
    }
}
