//! The owner's reads; see the module docs.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;

use thalweg_io::block::FileId;
use thalweg_io::storage::{BatchReader, ReadRequest};

use super::ROUND_ROWS;
use super::open_levels::{FilePlace, OpenLevels};
use super::round::{FirstBlock, Lookup, Round};
use crate::backend::{RowAddress, RowVisitor, ScanVisitor, StoreError};
use crate::cache::{BlockCache, BlockKey, CachedBlock};
use crate::codec::{RowPrefix, TableId};
use crate::delta::{DeltaCache, DeltaReader};
use crate::manifest::{FileMeta, Version};
use crate::merge::{DeltaSource, Keep, RowMerge};
use crate::snapshot::StoreFiles;
use crate::sst::{FileSource, PrefixRange, RowsBelow, SortedFile};
use crate::{KeyGroup, KeyGroupRange, KeyHash, StateError};

/// What reads of sorted files cost, counted up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadCounters {
    /// Rows that were asked for.
    pub(crate) rows: u64,
    /// Files that have the row's prefix in their range, over all rows.
    pub(crate) files_probed: u64,
    /// Of these, the ones whose filter said no.
    pub(crate) filter_negatives: u64,
    /// Blocks found in the cache.
    pub(crate) cache_hits: u64,
    /// Blocks that were not, each counted once a round.
    pub(crate) blocks_read: u64,
    pub(crate) bytes_read: u64,
    /// Calls of the storage for those: each reads its blocks together.
    pub(crate) rounds_read: u64,
}

/// Reads rows of sorted files and of deltas, with open files and a block cache of its own.
#[derive(Debug)]
pub(crate) struct SortedReader {
    files: StoreFiles,
    open: BTreeMap<FileId, Rc<SortedFile>>,
    /// What indexes and filters of `open` take.
    open_bytes: usize,
    /// The files of the version that was last read from, by level.
    pub(super) levels: OpenLevels,
    pub(super) cache: BlockCache,
    batch: Box<dyn BatchReader>,
    pub(super) counters: ReadCounters,
}

/// Blocks that were read in a round, sorted by key.
pub(super) type ReadBlocks = Vec<(BlockKey, CachedBlock)>;

impl SortedReader {
    /// A reader whose cache takes up to `cache_bytes`.
    pub(crate) fn new(files: StoreFiles, cache_bytes: usize) -> Self {
        SortedReader {
            batch: files.storage().batch_reader(),
            files,
            open: BTreeMap::new(),
            open_bytes: 0,
            levels: OpenLevels::default(),
            cache: BlockCache::new(cache_bytes),
            counters: ReadCounters::default(),
        }
    }

    /// What reads cost so far.
    pub(crate) fn counters(&self) -> ReadCounters {
        self.counters
    }

    /// Memory of cached blocks, and of indexes and filters of open files.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.cache.bytes() + self.open_bytes
    }

    /// Memory of indexes and filters of open files.
    pub(crate) fn open_bytes(&self) -> usize {
        self.open_bytes
    }

    /// Closes files that a version does not have.
    pub(crate) fn retain(&mut self, version: &Version) {
        // Holds files open.
        self.levels = OpenLevels::default();
        let live: Vec<FileId> = {
            let mut ids: Vec<FileId> = version.files().map(|file| file.id()).collect();
            ids.sort_unstable();
            ids
        };
        let before = self.open.len();
        self.open.retain(|id, _| live.binary_search(id).is_ok());
        if self.open.len() < before {
            self.open_bytes = self.open.values().map(|file| file.memory_bytes()).sum();
            self.cache.retain(|id| live.binary_search(&id).is_ok());
        }
    }

    /// False if a row is certainly in none of the sorted files. No file is read: one that was not
    /// opened yet may hold it.
    pub(crate) fn may_hold(
        &self,
        version: &Version,
        table: TableId,
        group: KeyGroup,
        hash: KeyHash,
    ) -> bool {
        let prefix = RowPrefix::new(table, group, hash);
        // What lies anywhere mostly lies in the largest level.
        let mut files = version.levels.iter().rev().filter_map(|level| file_of(level, prefix));
        files.any(|meta| self.open.get(&meta.id()).is_none_or(|file| file.may_hold(prefix)))
    }

    /// Visits the live records of rows. What the deltas need for them is loaded already.
    ///
    /// # Errors
    ///
    /// If a file is damaged or cannot be read, and what `visit` returns.
    pub(crate) fn read_rows(
        &mut self,
        version: &Version,
        deltas: &DeltaCache,
        table: TableId,
        rows: &[RowAddress<'_>],
        now_ms: i64,
        visit: RowVisitor<'_>,
    ) -> Result<(), StateError> {
        if !self.levels.are_of(version) {
            self.levels = OpenLevels::of(version, |meta| self.open.get(&meta.id()).cloned());
        }
        for (round, rows) in rows.chunks(ROUND_ROWS).enumerate() {
            let mut read = Round::new(table, rows);
            read.take_deltas(version, deltas);
            read.plan(self)?;
            let blocks = self.read_missing(&read.lookups)?;
            read.merge(self, blocks, now_ms, &mut |row, record| {
                visit(round * ROUND_ROWS + row, record)
            })?;
        }
        Ok(())
    }

    /// Visits the live records of all rows of a table in a range of key groups, in order.
    ///
    /// # Errors
    ///
    /// If a file is damaged or cannot be read, and what `visit` returns.
    pub(crate) fn scan(
        &mut self,
        version: &Version,
        table: TableId,
        range: KeyGroupRange,
        now_ms: i64,
        visit: ScanVisitor<'_>,
    ) -> Result<(), StateError> {
        let Some(prefixes) = PrefixRange::of_groups(table, range) else { return Ok(()) };
        let mut sources = Vec::new();
        for meta in version.deltas.iter().filter(|meta| meta.may_hold_any(table, range)) {
            let reader = DeltaReader::open(&self.files, meta)?;
            sources.push(RowsBelow::Delta(DeltaSource::new(reader, [table], range)?));
        }
        for level in version.levels.iter().filter(|level| !level.is_empty()) {
            let source = FileSource::new(&self.files, level.iter().cloned(), prefixes)?;
            sources.push(RowsBelow::Files(source));
        }
        let mut merge = RowMerge::new(sources);
        let keep = Keep::live(now_ms);
        let mut key = Vec::new();
        while merge.next_row()? {
            let Some(prefix) = merge.prefix() else { break };
            key.clear();
            key.extend_from_slice(merge.key());
            let address = RowAddress { group: prefix.group(), hash: prefix.hash(), key: &key };
            while let Some(record) = merge.next_record(keep)? {
                visit(address, &record)?;
            }
        }
        Ok(())
    }

    /// The file at a place among the levels.
    #[inline]
    pub(super) fn file(&mut self, place: FilePlace) -> Result<&Rc<SortedFile>, StoreError> {
        if self.levels.file(place).is_none() {
            self.open(place)?;
        }
        Ok(self.levels.file(place).expect("it is open now"))
    }

    #[cold]
    fn open(&mut self, place: FilePlace) -> Result<(), StoreError> {
        let meta = self.levels.meta(place);
        let file = match self.open.entry(meta.id()) {
            Entry::Occupied(entry) => Rc::clone(entry.get()),
            Entry::Vacant(entry) => {
                let file = SortedFile::open(&self.files, meta)?;
                self.open_bytes += file.memory_bytes();
                Rc::clone(entry.insert(Rc::new(file)))
            }
        };
        self.levels.set_open(place, file);
        Ok(())
    }

    /// Reads the blocks that lookups lack, together, each once.
    fn read_missing(&mut self, lookups: &[Lookup<'_>]) -> Result<ReadBlocks, StoreError> {
        let mut missing: Vec<(BlockKey, &Rc<SortedFile>)> = Vec::new();
        for lookup in lookups {
            if let FirstBlock::Missing(key) = lookup.first {
                missing.push((key, &lookup.file));
            }
        }
        missing.sort_unstable_by_key(|(key, _)| *key);
        missing.dedup_by_key(|(key, _)| *key);
        self.read_blocks(&missing)
    }

    /// Reads blocks together, checks them and keeps them in the cache.
    fn read_blocks(
        &mut self,
        missing: &[(BlockKey, &Rc<SortedFile>)],
    ) -> Result<ReadBlocks, StoreError> {
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let length = |(key, file): &(BlockKey, &Rc<SortedFile>)| {
            file.address(key.block).length_bytes as usize
        };
        let mut frames: Vec<Box<[u8]>> =
            missing.iter().map(|block| vec![0; length(block)].into()).collect();
        let requests = missing.iter().zip(&mut frames).map(|((key, file), frame)| {
            ReadRequest::new(file.file(), file.address(key.block).offset, frame)
        });
        let mut requests: Vec<ReadRequest<'_>> = requests.collect();
        self.batch.read(&mut requests);
        for ((key, file), request) in missing.iter().zip(requests) {
            let offset = file.address(key.block).offset;
            request.into_outcome().map_err(|error| file.read_error(offset, error))?;
        }
        self.counters.rounds_read += 1;
        let mut blocks = Vec::with_capacity(missing.len());
        for ((key, file), frame) in missing.iter().zip(frames) {
            file.check(key.block, &frame)?;
            self.counters.blocks_read += 1;
            self.counters.bytes_read += frame.len() as u64;
            let block = Rc::new(frame);
            self.cache.insert(*key, Rc::clone(&block));
            blocks.push((*key, block));
        }
        Ok(blocks)
    }

    /// One block that a round did not expect to need.
    pub(super) fn block(
        &mut self,
        file: &Rc<SortedFile>,
        key: BlockKey,
    ) -> Result<CachedBlock, StoreError> {
        if let Some(block) = self.cache.get(key) {
            self.counters.cache_hits += 1;
            return Ok(block);
        }
        let mut read = self.read_blocks(&[(key, file)])?;
        Ok(read.swap_remove(0).1)
    }
}

/// The file of a level in which a prefix can be.
fn file_of(level: &[std::sync::Arc<FileMeta>], prefix: RowPrefix) -> Option<&FileMeta> {
    let index = level.partition_point(|file| file.largest < prefix);
    level.get(index).map(|file| &**file).filter(|file| file.smallest <= prefix)
}
