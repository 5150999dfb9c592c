//! Which block of a file has a row: the first prefix and the place of every block.

use std::ops::Range;

use thalweg_io::block::BlockAddress;

use crate::codec::RowPrefix;

/// First prefix u64, offset u64.
const ENTRY_BYTES: usize = 16;

/// The blocks of rows of one file; 16 bytes a block in the file and in memory, 0.4 % of full blocks.
///
/// # Invariants
///
/// - Blocks follow each other without gaps; `offsets` has one more entry, where the last one ends.
/// - `firsts` does not fall, and is as long as there are blocks: at least one.
#[derive(Clone, Debug, Default)]
pub(super) struct BlockIndex {
    firsts: Vec<RowPrefix>,
    offsets: Vec<u64>,
}

impl BlockIndex {
    /// Adds the block that follows the ones there are.
    pub(super) fn push(&mut self, first: RowPrefix, address: BlockAddress) {
        if self.offsets.is_empty() {
            self.offsets.push(address.offset);
        }
        debug_assert_eq!(self.offsets.last(), Some(&address.offset));
        self.firsts.push(first);
        self.offsets.push(address.end());
    }

    pub(super) fn block_count(&self) -> usize {
        self.firsts.len()
    }

    /// The prefix of the first row of a block.
    pub(super) fn first_of(&self, block: usize) -> RowPrefix {
        self.firsts[block]
    }

    /// Where a block lies.
    pub(super) fn address(&self, block: usize) -> BlockAddress {
        let offset = self.offsets[block];
        BlockAddress { offset, length_bytes: (self.offsets[block + 1] - offset) as u32 }
    }

    /// The blocks in which rows of a prefix can be. Mostly one; two if the prefix begins a block,
    /// and more only if its rows fill them.
    pub(super) fn blocks_of(&self, prefix: RowPrefix) -> Range<usize> {
        let end = self.firsts.partition_point(|first| *first <= prefix);
        let begun_before = self.firsts[..end].partition_point(|first| *first < prefix);
        begun_before.saturating_sub(1)..end
    }

    /// The end of the last block, from `block` on, that ends by byte `limit`; of `block` at least.
    pub(super) fn end_by(&self, block: usize, limit: u64) -> u64 {
        let ends = &self.offsets[block + 1..];
        let count = ends.partition_point(|end| *end <= limit).max(1);
        ends[count - 1]
    }

    /// Bytes in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.firsts.capacity() * 8 + self.offsets.capacity() * 8
    }

    /// The payload of the index block.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.firsts.len() * ENTRY_BYTES + 8);
        for (first, offset) in self.firsts.iter().zip(&self.offsets) {
            bytes.extend_from_slice(&first.0.to_le_bytes());
            bytes.extend_from_slice(&offset.to_le_bytes());
        }
        bytes.extend(self.offsets.last().into_iter().flat_map(|end| end.to_le_bytes()));
        bytes
    }

    /// From the payload of the index block; `None` if it is not one.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (entries, end) = bytes.split_last_chunk::<8>()?;
        let (entries, rest) = entries.as_chunks::<ENTRY_BYTES>();
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).ok();
        let mut index = BlockIndex::default();
        index.firsts.reserve_exact(entries.len());
        index.offsets.reserve_exact(entries.len() + 1);
        for entry in entries {
            index.firsts.push(RowPrefix(number(&entry[..8])?));
            index.offsets.push(number(&entry[8..])?);
        }
        index.offsets.push(u64::from_le_bytes(*end));
        let lengths_are_sane = index.offsets.array_windows().all(|[start, end]| {
            end.checked_sub(*start)
                .is_some_and(|length| (1..=u64::from(u32::MAX)).contains(&length))
        });
        let is_sane = rest.is_empty() && !index.firsts.is_empty() && index.firsts.is_sorted();
        (is_sane && lengths_are_sane).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> BlockIndex {
        let mut index = BlockIndex::default();
        let mut offset = 60;
        for (number, first) in [3, 7, 7, 7, 9].into_iter().enumerate() {
            let length_bytes = 100 + number as u32;
            index.push(RowPrefix(first), BlockAddress { offset, length_bytes });
            offset += u64::from(length_bytes);
        }
        index
    }

    #[test]
    fn finds_the_blocks_of_a_prefix() {
        let index = sample();
        let expected = [
            (0, 0..0),
            (3, 0..1),
            (4, 0..1),
            (6, 0..1),
            (7, 0..4),
            (8, 3..4),
            (9, 3..5),
            (10, 4..5),
            (u64::MAX, 4..5),
        ];
        for (prefix, blocks) in expected {
            assert_eq!(index.blocks_of(RowPrefix(prefix)), blocks, "{prefix}");
        }
        assert_eq!(index.address(2), BlockAddress { offset: 261, length_bytes: 102 });
        assert_eq!((index.end_by(0, 0), index.end_by(0, 362)), (160, 261));
        assert_eq!((index.end_by(1, 363), index.end_by(1, u64::MAX)), (363, 570));
    }

    #[test]
    fn reads_what_it_writes_and_nothing_cut() {
        let bytes = sample().to_bytes();
        let read = BlockIndex::from_bytes(&bytes).unwrap();
        assert_eq!((read.firsts, read.offsets), (sample().firsts, sample().offsets));
        for length in 0..bytes.len() {
            assert!(BlockIndex::from_bytes(&bytes[..length]).is_none(), "cut to {length}");
        }
    }
}
