//! The owner's open deltas and loaded partitions.

use std::collections::btree_map::{BTreeMap, Entry};

use super::{DeltaReader, DeltaRows};
use crate::backend::StoreError;
use crate::codec::{EncodedRow, RowPrefix, TableId};
use crate::manifest::{FileMeta, FilePart, Version};
use crate::snapshot::StoreFiles;
use crate::{KeyGroup, KeyHash};

/// Loaded partitions of the deltas that are not merged into sorted files yet.
///
/// # Invariants
///
/// - `memory_bytes` is the sum over `partitions`. It exceeds the budget by at most what one read
///   needs at a time.
#[derive(Debug)]
pub(crate) struct DeltaCache {
    files: StoreFiles,
    readers: BTreeMap<FilePart, DeltaReader>,
    partitions: BTreeMap<PartitionKey, Partition>,
    memory_bytes: usize,
    budget_bytes: usize,
    /// Counts reads; the partition that was used longest ago is dropped first.
    tick: u64,
    counters: DeltaCounters,
}

/// File, table and first key group of the partition.
type PartitionKey = (FilePart, TableId, u16);

#[derive(Debug)]
struct Partition {
    rows: DeltaRows,
    used_at: u64,
}

/// What reads of deltas cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeltaCounters {
    pub(crate) partition_hits: u64,
    pub(crate) partition_loads: u64,
    pub(crate) bytes_loaded: u64,
}

impl DeltaCache {
    pub(crate) fn new(files: StoreFiles, budget_bytes: usize) -> Self {
        DeltaCache {
            files,
            readers: BTreeMap::new(),
            partitions: BTreeMap::new(),
            memory_bytes: 0,
            budget_bytes,
            tick: 0,
            counters: DeltaCounters::default(),
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    pub(crate) fn counters(&self) -> DeltaCounters {
        self.counters
    }

    /// Loads what reads of these key groups need.
    ///
    /// # Errors
    ///
    /// If a file is damaged or cannot be read.
    pub(crate) fn load(
        &mut self,
        version: &Version,
        table: TableId,
        groups: impl Iterator<Item = KeyGroup> + Clone,
    ) -> Result<(), StoreError> {
        self.tick += 1;
        for file in version.deltas.iter().filter(|file| file.tables.contains(&table)) {
            for group in groups.clone().filter(|group| file.groups.contains(*group)) {
                self.load_partition(file, table, group)?;
            }
        }
        self.evict();
        Ok(())
    }

    fn load_partition(
        &mut self,
        file: &FileMeta,
        table: TableId,
        group: KeyGroup,
    ) -> Result<(), StoreError> {
        let reader = match self.readers.entry(file.part()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(DeltaReader::open(&self.files, file)?),
        };
        let Some(range) = reader.partition_of(table, group.0) else { return Ok(()) };
        let key = (file.part(), table, range.start);
        if let Some(partition) = self.partitions.get_mut(&key) {
            partition.used_at = self.tick;
            self.counters.partition_hits += 1;
            return Ok(());
        }
        let rows = reader.load(table, range)?;
        self.counters.partition_loads += 1;
        self.counters.bytes_loaded += rows.memory_bytes() as u64;
        self.memory_bytes += rows.memory_bytes();
        self.partitions.insert(key, Partition { rows, used_at: self.tick });
        Ok(())
    }

    /// Drops what was used longest ago until the budget holds; what the latest read needs stays.
    fn evict(&mut self) {
        while self.memory_bytes > self.budget_bytes {
            let oldest = self.partitions.iter().map(|(key, partition)| (partition.used_at, *key));
            match oldest.min() {
                Some((used_at, key)) if used_at < self.tick => self.drop_partition(key),
                _ => return,
            }
        }
    }

    fn drop_partition(&mut self, key: PartitionKey) {
        if let Some(partition) = self.partitions.remove(&key) {
            self.memory_bytes -= partition.rows.memory_bytes();
        }
    }

    /// Visits the rows of a key group and hash: the number of the delta in the version (0 is the
    /// newest), and within a delta in the order written. What they need has been loaded.
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
            if let Some(rows) = self.rows_of(file, table, group) {
                rows.find(group, hash).for_each(|index| visit(number, rows.row(index)));
            }
        }
    }

    /// The rows of a key group by hash and key, each with the number of its delta; as
    /// [`Self::visit`].
    pub(crate) fn rows_of_group<'a>(
        &'a self,
        version: &Version,
        table: TableId,
        group: KeyGroup,
    ) -> BTreeMap<(KeyHash, &'a [u8]), Vec<(usize, EncodedRow<'a>)>> {
        let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (number, file) in version.deltas.iter().enumerate() {
            if !file.may_hold(table, group) {
                continue;
            }
            let Some(rows) = self.rows_of(file, table, group) else { continue };
            for row in rows.rows_of_group(group) {
                found.entry((row.hash, row.key)).or_default().push((number, row));
            }
        }
        found
    }

    fn rows_of(&self, file: &FileMeta, table: TableId, group: KeyGroup) -> Option<&DeltaRows> {
        let range = self.readers.get(&file.part())?.partition_of(table, group.0)?;
        let partition = self.partitions.get(&(file.part(), table, range.start))?;
        Some(&partition.rows)
    }

    /// False if a row is certainly in none of the deltas; true too where that is not loaded.
    pub(crate) fn may_hold(
        &self,
        version: &Version,
        table: TableId,
        group: KeyGroup,
        hash: KeyHash,
    ) -> bool {
        let files = version.deltas.iter().filter(|file| file.may_hold(table, group));
        files.into_iter().any(|file| {
            let Some(reader) = self.readers.get(&file.part()) else { return true };
            let Some(range) = reader.partition_of(table, group.0) else { return false };
            match self.partitions.get(&(file.part(), table, range.start)) {
                Some(partition) => partition.rows.may_hold(group, hash),
                None => true,
            }
        })
    }

    /// Closes files that a version does not have.
    pub(crate) fn retain(&mut self, version: &Version) {
        let is_live = |part: FilePart| version.deltas.iter().any(|file| file.part() == part);
        self.readers.retain(|part, _| is_live(*part));
        let gone: Vec<PartitionKey> =
            self.partitions.keys().filter(|(part, ..)| !is_live(*part)).copied().collect();
        gone.into_iter().for_each(|key| self.drop_partition(key));
    }

    /// Sets how much memory partitions may take.
    pub(crate) fn set_budget_bytes(&mut self, budget_bytes: usize) {
        self.budget_bytes = budget_bytes;
        self.tick += 1;
        self.evict();
    }
}
