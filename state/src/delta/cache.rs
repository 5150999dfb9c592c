//! The owner's reads of deltas that are not merged into sorted files yet.
//!
//! 1. The first read of a partition reads all of its blocks once and keeps a sorted index of the
//!    rows: 12 bytes a row, however long it is.
//! 2. A batch of rows is looked up in the indexes of all deltas; the blocks that are not cached are
//!    read together.
//! 3. What a batch needs is pinned until the next one, so that rows are visited where they lie.

use std::collections::btree_map::{BTreeMap, Entry};

use thalweg_io::block::{BlockAddress, FileId};
use thalweg_io::storage::{BatchReader, ReadRequest};

use super::index::{DeltaIndex, RowPlace};
use super::{BLOCK_HEADER_BYTES, DeltaReader};
use crate::backend::{RowAddress, StoreError};
use crate::cache::{BlockCache, BlockKey, CachedBlock};
use crate::codec::{EncodedRow, RowPrefix, TableId, decode_row};
use crate::manifest::{FileMeta, FilePart, Version};
use crate::snapshot::StoreFiles;
use crate::{KeyGroup, KeyHash};

/// Open deltas, indexes of their partitions, and cached blocks.
///
/// # Invariants
///
/// - `index_bytes` is the sum over `indexes`. Blocks get what indexes leave of the budget; both
///   together exceed it by at most the indexes and blocks that one batch needs.
/// - `pinned` has every block that an index names for a row of the latest batch.
#[derive(Debug)]
pub(crate) struct DeltaCache {
    files: StoreFiles,
    readers: BTreeMap<FilePart, DeltaReader>,
    indexes: BTreeMap<PartitionKey, Partition>,
    blocks: BlockCache,
    pinned: BTreeMap<(FileId, u64), CachedBlock>,
    batch: Box<dyn BatchReader>,
    index_bytes: usize,
    budget_bytes: usize,
    /// Counts batches; the index that was used longest ago is dropped first.
    tick: u64,
    counters: DeltaCounters,
}

/// File, table and first key group of the partition.
type PartitionKey = (FilePart, TableId, u16);

#[derive(Debug)]
struct Partition {
    /// More than one where there are more blocks than an index names.
    indexes: Vec<DeltaIndex>,
    used_at: u64,
}

/// What reads of deltas cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeltaCounters {
    /// Partitions read to index them.
    pub(crate) partition_loads: u64,
    /// Blocks found in the cache.
    pub(crate) block_hits: u64,
    pub(crate) blocks_read: u64,
    pub(crate) bytes_read: u64,
}

/// A block that a batch lacks.
#[derive(Debug)]
struct MissingBlock {
    part: FilePart,
    address: BlockAddress,
}

impl DeltaCache {
    /// A cache that takes about `budget_bytes` of memory.
    pub(crate) fn new(files: StoreFiles, budget_bytes: usize) -> Self {
        DeltaCache {
            batch: files.storage().batch_reader(),
            files,
            readers: BTreeMap::new(),
            indexes: BTreeMap::new(),
            blocks: BlockCache::new(budget_bytes),
            pinned: BTreeMap::new(),
            index_bytes: 0,
            budget_bytes,
            tick: 0,
            counters: DeltaCounters::default(),
        }
    }

    /// What indexes and cached blocks take.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.index_bytes + self.blocks.bytes()
    }

    pub(crate) fn counters(&self) -> DeltaCounters {
        self.counters
    }

    /// Has what reads of these rows need in memory, until the next call.
    ///
    /// # Errors
    ///
    /// If a file is damaged or cannot be read.
    pub(crate) fn load(
        &mut self,
        version: &Version,
        table: TableId,
        rows: &[RowAddress<'_>],
    ) -> Result<(), StoreError> {
        self.tick += 1;
        self.pinned.clear();
        let mut missing = BTreeMap::new();
        for file in version.deltas.iter().filter(|file| file.tables.contains(&table)) {
            for row in rows.iter().filter(|row| file.groups.contains(row.group)) {
                let Some(key) = self.partition(file, table, row.group)? else { continue };
                self.pin(key, row, &mut missing);
            }
        }
        self.read(missing)?;
        self.evict_indexes();
        Ok(())
    }

    /// The partition of a key group, with its index; `None` if the delta has no rows of it.
    fn partition(
        &mut self,
        file: &FileMeta,
        table: TableId,
        group: KeyGroup,
    ) -> Result<Option<PartitionKey>, StoreError> {
        let reader = match self.readers.entry(file.part()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(DeltaReader::open(&self.files, file)?),
        };
        let Some(range) = reader.partition_of(table, group.0) else { return Ok(None) };
        let key = (file.part(), table, range.start);
        if let Some(partition) = self.indexes.get_mut(&key) {
            partition.used_at = self.tick;
            return Ok(Some(key));
        }
        let (blocks, pinned) = (&mut self.blocks, &mut self.pinned);
        let bytes_read = &mut self.counters.bytes_read;
        let indexes = reader.index(table, range, |address, frame| {
            *bytes_read += frame.len() as u64;
            let key = block_key(file.id(), address);
            if blocks.get(key).is_none() && !pinned.contains_key(&(file.id(), address.offset)) {
                blocks.insert(key, CachedBlock::new(frame.into()));
            }
        })?;
        self.counters.partition_loads += 1;
        self.index_bytes += memory_bytes(&indexes);
        self.indexes.insert(key, Partition { indexes, used_at: self.tick });
        Ok(Some(key))
    }

    /// Pins the blocks of a row, or notes that they are missing.
    fn pin(
        &mut self,
        key: PartitionKey,
        row: &RowAddress<'_>,
        missing: &mut BTreeMap<(FileId, u64), MissingBlock>,
    ) {
        let part = key.0;
        for index in &self.indexes[&key].indexes {
            for RowPlace { block: address, .. } in index.find(row.group, row.hash) {
                let place = (part.id, address.offset);
                if self.pinned.contains_key(&place) {
                    continue;
                }
                if let Some(block) = self.blocks.get(block_key(part.id, address)) {
                    self.counters.block_hits += 1;
                    self.pinned.insert(place, block);
                } else {
                    missing.entry(place).or_insert(MissingBlock { part, address });
                }
            }
        }
    }

    /// Reads blocks together and pins them.
    fn read(&mut self, missing: BTreeMap<(FileId, u64), MissingBlock>) -> Result<(), StoreError> {
        if missing.is_empty() {
            return Ok(());
        }
        let frames = missing.values().map(|block| vec![0; block.address.length_bytes as usize]);
        let mut frames: Vec<Box<[u8]>> = frames.map(Vec::into_boxed_slice).collect();
        let requests = missing.values().zip(&mut frames).map(|(block, frame)| {
            let reader = &self.readers[&block.part];
            ReadRequest::new(reader.file(), block.address.offset, frame)
        });
        let mut requests: Vec<ReadRequest<'_>> = requests.collect();
        self.batch.read(&mut requests);
        for (block, request) in missing.values().zip(requests) {
            let outcome = request.into_outcome();
            outcome.map_err(|error| self.readers[&block.part].read_error(block.address, error))?;
        }
        for ((place, block), frame) in missing.into_iter().zip(frames) {
            let MissingBlock { part, address } = block;
            self.readers[&part].check(address, &frame)?;
            self.counters.blocks_read += 1;
            self.counters.bytes_read += frame.len() as u64;
            let frame = CachedBlock::new(frame);
            self.blocks.insert(block_key(part.id, address), CachedBlock::clone(&frame));
            self.pinned.insert(place, frame);
        }
        Ok(())
    }

    /// Drops the indexes that were used longest ago until they leave half of the budget to blocks;
    /// those of the latest batch stay.
    fn evict_indexes(&mut self) {
        while self.index_bytes > self.budget_bytes / 2 {
            let oldest = self.indexes.iter().map(|(key, partition)| (partition.used_at, *key));
            match oldest.min() {
                Some((used_at, key)) if used_at < self.tick => self.drop_partition(key),
                _ => break,
            }
        }
        self.blocks.set_capacity_bytes(self.budget_bytes.saturating_sub(self.index_bytes));
    }

    fn drop_partition(&mut self, key: PartitionKey) {
        if let Some(partition) = self.indexes.remove(&key) {
            self.index_bytes -= memory_bytes(&partition.indexes);
        }
    }

    /// Visits the rows of a key group and hash, of the latest batch: the number of the delta in the
    /// version (0 is the newest), and within a delta in the order written.
    pub(crate) fn visit<'a>(
        &'a self,
        version: &Version,
        prefix: RowPrefix,
        visit: &mut dyn FnMut(usize, EncodedRow<'a>),
    ) {
        let (table, group, hash) = (prefix.table(), prefix.group(), prefix.hash());
        for (number, file) in version.deltas.iter().enumerate() {
            if !file.may_hold(table, group) {
                continue;
            }
            let Some(partition) = self.known_partition(file, table, group).flatten() else {
                continue;
            };
            for index in &partition.indexes {
                for place in index.find(group, hash) {
                    visit(number, self.row(file.id(), place));
                }
            }
        }
    }

    fn row(&self, file: FileId, place: RowPlace) -> EncodedRow<'_> {
        const ROWS_AT: usize = thalweg_io::block::HEADER_BYTES + BLOCK_HEADER_BYTES;
        let block = self.pinned.get(&(file, place.block.offset));
        let block = block.expect("blocks of the latest batch's rows are pinned");
        let mut bytes = &block[ROWS_AT + place.offset..];
        decode_row(&mut bytes)
            .expect("rows of a block that passed its checksum were decoded before")
    }

    /// The partition of a key group: `None` if that is not known, or it is not indexed.
    fn known_partition(
        &self,
        file: &FileMeta,
        table: TableId,
        group: KeyGroup,
    ) -> Option<Option<&Partition>> {
        let reader = self.readers.get(&file.part())?;
        let Some(range) = reader.partition_of(table, group.0) else { return Some(None) };
        self.indexes.get(&(file.part(), table, range.start)).map(Some)
    }

    /// False if a row is certainly in none of the deltas; true too where that is not known.
    pub(crate) fn may_hold(
        &self,
        version: &Version,
        table: TableId,
        group: KeyGroup,
        hash: KeyHash,
    ) -> bool {
        let mut files = version.deltas.iter().filter(|file| file.may_hold(table, group));
        files.any(|file| match self.known_partition(file, table, group) {
            None => true,
            Some(None) => false,
            Some(Some(partition)) => {
                partition.indexes.iter().any(|index| index.find(group, hash).next().is_some())
            }
        })
    }

    /// Closes files that a version does not have.
    pub(crate) fn retain(&mut self, version: &Version) {
        let is_live = |part: FilePart| version.deltas.iter().any(|file| file.part() == part);
        let before = self.readers.len();
        self.readers.retain(|part, _| is_live(*part));
        if self.readers.len() == before {
            return;
        }
        let gone: Vec<PartitionKey> =
            self.indexes.keys().filter(|(part, ..)| !is_live(*part)).copied().collect();
        gone.into_iter().for_each(|key| self.drop_partition(key));
        self.pinned.clear();
        self.blocks.retain(|id| version.deltas.iter().any(|file| file.id() == id));
    }
}

fn memory_bytes(indexes: &[DeltaIndex]) -> usize {
    indexes.iter().map(DeltaIndex::memory_bytes).sum()
}

/// Blocks of deltas are known by where they lie.
fn block_key(file: FileId, address: BlockAddress) -> BlockKey {
    BlockKey { file, block: address.offset as usize }
}
