//! Numbers of a store on files.

use std::fmt;

use super::Epoch;

/// What a store holds and what it has done since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStatistics {
    /// All epochs up to this one can be read from files.
    pub readable_epoch: u64,
    /// Bytes of changes that are not durable.
    pub waiting_bytes: u64,
    /// Files and bytes of each level, deltas first.
    pub levels: Vec<LevelStatistics>,
    /// Files that nothing refers to any more and that wait for their removal.
    pub garbage_files: u64,
    /// Deltas written.
    pub flushed_files: u64,
    /// Bytes of deltas written.
    pub flushed_bytes: u64,
    /// Files written by merging others.
    pub compacted_files: u64,
    /// Bytes written by merging files.
    pub compacted_bytes: u64,
    /// Files removed.
    pub removed_files: u64,
    /// Rows asked for.
    pub rows_read: u64,
    /// Partitions of deltas read as a whole, to index their rows.
    pub deltas_indexed: u64,
    /// Sorted files in whose range a row lay, over all rows asked for.
    pub files_probed: u64,
    /// Of those, the ones whose filter said that the row is not in them.
    pub filter_negatives: u64,
    /// Blocks found in a cache.
    pub block_hits: u64,
    /// Blocks that were not, read for single rows.
    pub blocks_read: u64,
    /// Bytes read of deltas and sorted files.
    pub bytes_read: u64,
    /// Batches in which blocks were read.
    pub read_rounds: u64,
    /// What caches of files take.
    pub cache_bytes: u64,
}

/// One level of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelStatistics {
    /// 0 for deltas.
    pub level: u8,
    /// How many files.
    pub file_count: usize,
    /// Their length together.
    pub length_bytes: u64,
    /// Their rows, those of other stores included.
    pub row_count: u64,
}

impl StoreStatistics {
    /// All that the live files take.
    pub fn file_bytes(&self) -> u64 {
        self.levels.iter().map(|level| level.length_bytes).sum()
    }

    /// The readable epoch.
    pub fn readable_epoch(&self) -> Epoch {
        Epoch(self.readable_epoch)
    }

    /// Blocks read for each row asked for.
    pub fn read_amplification(&self) -> f64 {
        self.blocks_read as f64 / self.rows_read.max(1) as f64
    }

    /// Bytes written for each byte that a checkpoint needed.
    pub fn write_amplification(&self) -> f64 {
        let written = self.flushed_bytes + self.compacted_bytes;
        written as f64 / self.flushed_bytes.max(1) as f64
    }
}

impl fmt::Display for StoreStatistics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for level in self.levels.iter().filter(|level| level.file_count > 0) {
            let LevelStatistics { level, file_count, length_bytes, row_count } = level;
            writeln!(
                formatter,
                "level {level}: {file_count} files, {length_bytes} bytes, {row_count} rows"
            )?;
        }
        writeln!(
            formatter,
            "written: {} deltas, {} bytes; merged: {} files, {} bytes; amplification {:.2}",
            self.flushed_files,
            self.flushed_bytes,
            self.compacted_files,
            self.compacted_bytes,
            self.write_amplification()
        )?;
        writeln!(
            formatter,
            "read: {} rows, {} files probed ({} spared by filters), {} blocks in {} batches ({} \
             cached), {} partitions of deltas, {} bytes; {:.2} blocks a row",
            self.rows_read,
            self.files_probed,
            self.filter_negatives,
            self.blocks_read,
            self.read_rounds,
            self.block_hits,
            self.deltas_indexed,
            self.bytes_read,
            self.read_amplification()
        )?;
        write!(
            formatter,
            "waiting {} bytes, garbage {} files, removed {} files, cache {} bytes, readable epoch {}",
            self.waiting_bytes,
            self.garbage_files,
            self.removed_files,
            self.cache_bytes,
            self.readable_epoch
        )
    }
}
