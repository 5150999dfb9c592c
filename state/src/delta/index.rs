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
/// The fields are in the order of sorting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct IndexEntry {
    group: u16,
    /// In front of `block` for sorting, in halves for the entry's size.
    hash: [u16; 2],
    block: u16,
    offset: u32,
}

const _: () = assert!(size_of::<IndexEntry>() == 12);

impl IndexEntry {
    fn halves(hash: KeyHash) -> [u16; 2] {
        [(hash.as_u32() >> 16) as u16, hash.as_u32() as u16]
    }

    fn place(self) -> (u16, [u16; 2]) {
        (self.group, self.hash)
    }
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
                let (group, hash) = (row.group.0, IndexEntry::halves(row.hash));
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
        self.entries.sort_unstable();
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
        let wanted = (group.0, IndexEntry::halves(hash));
        let start = self.entries.partition_point(|entry| entry.place() < wanted);
        let found = self.entries[start..].iter().take_while(move |entry| entry.place() == wanted);
        found.map(|entry| RowPlace {
            block: self.blocks[usize::from(entry.block)],
            offset: entry.offset as usize,
        })
    }
}
