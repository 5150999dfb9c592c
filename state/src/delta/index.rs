//! Where the rows of a part of a delta lie.

use thalweg_io::block::BlockAddress;

use crate::codec::decode_row;
use crate::{KeyGroup, KeyGroupRange, KeyHash};

/// So many blocks an index can name.
pub(super) const INDEX_BLOCKS_MAX: usize = 1 << 16;

/// The visible rows of some blocks of one partition, sorted: 12 bytes a row.
///
/// # Invariants
///
/// - `entries` are sorted by key group and hash, then by block and offset: rows of one key are in the
///   order written, with those of other keys of the same hash in between.
/// - Every entry is that of a row that decoded when its block was read.
#[derive(Debug, Default)]
pub(super) struct DeltaIndex {
    blocks: Vec<BlockAddress>,
    entries: Vec<IndexEntry>,
}

/// A row: its key group and hash, the number of its block, and its offset in the block's rows.
///
/// Sorted by `(place, block, offset)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct IndexEntry {
    hash: u32,
    offset: u32,
    group: u16,
    block: u16,
}

const _: () = assert!(size_of::<IndexEntry>() == 12);

impl IndexEntry {
    fn place(self) -> u64 {
        place(KeyGroup(self.group), KeyHash::from_u32(self.hash))
    }

    /// What it is sorted by: two comparisons, mostly one.
    fn order(&self) -> (u64, u32) {
        (self.place() << 16 | u64::from(self.block), self.offset)
    }
}

/// Key group and hash, in 48 bits.
fn place(group: KeyGroup, hash: KeyHash) -> u64 {
    u64::from(group.0) << 32 | u64::from(hash.as_u32())
}

/// A row of an index: in which block, and where in the block's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowPlace {
    pub(super) block: BlockAddress,
    pub(super) offset: usize,
}

impl DeltaIndex {
    /// Adds a block's rows.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub(super) fn add(
        &mut self,
        address: BlockAddress,
        rows: &[u8],
        row_count: u32,
        visible: KeyGroupRange,
    ) -> Result<(), &'static str> {
        assert!(self.blocks.len() < INDEX_BLOCKS_MAX, "an index has a bounded number of blocks");
        let block = self.blocks.len() as u16;
        self.blocks.push(address);
        self.entries.reserve(row_count.min(rows.len() as u32) as usize);
        let (mut rest, mut found_count) = (rows, 0);
        while !rest.is_empty() {
            let offset = (rows.len() - rest.len()) as u32;
            let row = decode_row(&mut rest).map_err(|damaged| damaged.what)?;
            if visible.contains(row.group) {
                let (group, hash) = (row.group.0, row.hash.as_u32());
                self.entries.push(IndexEntry { group, hash, block, offset });
            }
            found_count += 1;
        }
        match found_count == row_count {
            true => Ok(()),
            false => Err("expected as many rows as the block says, found another number"),
        }
    }

    /// Sorts it; it can be asked from now on.
    pub(super) fn finish(&mut self) {
        self.entries.sort_unstable_by_key(IndexEntry::order);
        self.entries.shrink_to_fit();
    }

    /// The bytes that it takes in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<IndexEntry>()
            + self.blocks.capacity() * size_of::<BlockAddress>()
    }

    /// The rows of a key group and hash, in the order written.
    pub(super) fn find(
        &self,
        group: KeyGroup,
        hash: KeyHash,
    ) -> impl Iterator<Item = RowPlace> + use<'_> {
        let wanted = place(group, hash);
        let start = self.entries.partition_point(|entry| entry.place() < wanted);
        let found = self.entries[start..].iter().take_while(move |entry| entry.place() == wanted);
        found.map(|entry| RowPlace {
            block: self.blocks[usize::from(entry.block)],
            offset: entry.offset as usize,
        })
    }
}
