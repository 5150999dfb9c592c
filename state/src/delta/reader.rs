//! A delta while it is read.

use std::path::Path;

use thalweg_io::block::{self, BlockAddress, HEADER_BYTES};
use thalweg_io::checkpoint_file::CheckpointFileReader;
use thalweg_io::storage::ReadFile;
use thalweg_io::{Corruption, IoError};

use super::index::{DeltaIndex, INDEX_BLOCKS_MAX};
use super::rows::{DeltaRows, RowsBuilder};
use super::{
    BLOCK_HEADER_BYTES, BlockEntry, DELTA_FORMAT, FOOTER_ENTRY_BYTES, FOOTER_HEADER_BYTES,
    ROWS_KIND,
};
use crate::KeyGroupRange;
use crate::backend::{OlderCheckpoints, StoreError};
use crate::codec::TableId;
use crate::manifest::FileMeta;
use crate::snapshot::StoreFiles;

/// Where a frame says what kind of block it is.
const KIND_AT: usize = 3;

/// An open delta.
#[derive(Debug)]
pub(crate) struct DeltaReader {
    file: CheckpointFileReader,
    /// Whose errors these are.
    store: Box<str>,
    /// The key groups that are visible.
    groups: KeyGroupRange,
    /// By table and key groups; those of one partition in the order they were written.
    entries: Vec<BlockEntry>,
}

impl DeltaReader {
    /// Opens a delta and reads its footer.
    ///
    /// # Errors
    ///
    /// If it is not there, or is not the file that the manifest describes.
    pub(crate) fn open(files: &StoreFiles, meta: &FileMeta) -> Result<Self, StoreError> {
        let store: Box<str> = files.store().into();
        let path = files.delta_path(meta.id());
        let file = CheckpointFileReader::open(&**files.storage(), path, DELTA_FORMAT, &meta.seal)
            .map_err(|error| StoreError::io(&store, error))?;
        let mut entries = match decode_footer(file.footer()) {
            Some(entries) => entries,
            None => {
                let offset = file.seal().length_bytes;
                let what = "expected a footer that lists the blocks, found one of another length";
                return Err(malformed(&store, file.path(), offset, what));
            }
        };
        entries.sort_by_key(|entry| (entry.table, entry.groups.start, entry.groups.end));
        Ok(DeltaReader { file, store, groups: meta.groups, entries })
    }

    /// The partitions of a table that have rows, by key group: what one load should ask for.
    pub(crate) fn partitions(&self, table: TableId) -> impl Iterator<Item = KeyGroupRange> {
        let of_table = self.entries.iter().filter(move |entry| entry.table == table);
        let mut previous = None;
        of_table.filter_map(move |entry| {
            let groups = entry.groups;
            (previous.replace(groups) != Some(groups)).then_some(groups)
        })
    }

    /// The partition that has a key group, if it has rows.
    pub(crate) fn partition_of(&self, table: TableId, group: u16) -> Option<KeyGroupRange> {
        let start =
            self.entries.partition_point(|entry| (entry.table, entry.groups.end) <= (table, group));
        let entry = self.entries.get(start)?;
        (entry.table == table && entry.groups.start <= group).then_some(entry.groups)
    }

    /// The visible rows of a range of key groups.
    ///
    /// # Errors
    ///
    /// If a block is damaged or cannot be read.
    pub(crate) fn load(
        &self,
        table: TableId,
        range: KeyGroupRange,
    ) -> Result<DeltaRows, StoreError> {
        let mut rows = RowsBuilder::new(self.groups.intersection(range));
        self.read_blocks(table, range, |entry, frame| {
            rows.add(rows_of_block(frame, entry)?, entry.row_count)
        })?;
        Ok(rows.finish())
    }

    /// An index of a partition's visible rows. `keep` is given each block's frame once.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub(super) fn index(
        &self,
        table: TableId,
        range: KeyGroupRange,
        mut keep: impl FnMut(BlockAddress, &[u8]),
    ) -> Result<Vec<DeltaIndex>, StoreError> {
        let mut indexes = vec![DeltaIndex::default()];
        let mut block_count = 0;
        self.read_blocks(table, range, |entry, frame| {
            if block_count == INDEX_BLOCKS_MAX {
                indexes.push(DeltaIndex::default());
                block_count = 0;
            }
            block_count += 1;
            let rows = rows_of_block(frame, entry)?;
            let index = indexes.last_mut().expect("there is a first one");
            index.add(entry.address, rows, entry.row_count, self.groups)?;
            keep(entry.address, frame);
            Ok(())
        })?;
        indexes.iter_mut().for_each(DeltaIndex::finish);
        Ok(indexes)
    }

    /// Reads and checks the blocks of a table that have rows in a range of key groups, in order.
    fn read_blocks(
        &self,
        table: TableId,
        range: KeyGroupRange,
        mut visit: impl FnMut(&BlockEntry, &[u8]) -> Result<(), &'static str>,
    ) -> Result<(), StoreError> {
        let visible = self.groups.intersection(range);
        let wanted = |entry: &&BlockEntry| {
            entry.table == table && !entry.groups.intersection(visible).is_empty()
        };
        let mut frame = Vec::new();
        for entry in self.entries.iter().filter(wanted) {
            let read = self.file.read_block(entry.address, &mut frame);
            read.map_err(|error| self.io(error))?;
            visit(entry, &frame).map_err(|what| self.malformed(entry.address, what))?;
        }
        Ok(())
    }

    /// The open file, for batches of reads.
    pub(super) fn file(&self) -> &(dyn ReadFile + 'static) {
        self.file.file()
    }

    /// The error of a read that others did.
    pub(super) fn read_error(&self, address: BlockAddress, error: IoError) -> StoreError {
        self.io(match error {
            IoError::UnexpectedEnd { found_bytes, .. } => {
                let (expected_bytes, found_bytes) =
                    (u64::from(address.length_bytes), found_bytes as u64);
                let fault = Corruption::Truncated { expected_bytes, found_bytes };
                IoError::corrupt(self.file.path(), address.offset, fault)
            }
            other => other,
        })
    }

    /// Fails unless a frame that others read is the block of this address.
    pub(super) fn check(&self, address: BlockAddress, frame: &[u8]) -> Result<(), StoreError> {
        let checked = block::check_read(self.file.file(), address, self.file.owner(), frame);
        checked.map(drop).map_err(|error| self.io(error))
    }

    /// Reads and checks everything.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub(crate) fn verify(&self) -> Result<(), StoreError> {
        self.file.verify_all().map_err(|error| self.io(error))?;
        for table in self.tables() {
            for partition in self.partitions(table) {
                self.load(table, partition)?;
            }
        }
        Ok(())
    }

    /// The tables that have rows.
    pub(crate) fn tables(&self) -> Vec<TableId> {
        let mut tables: Vec<TableId> = self.entries.iter().map(|entry| entry.table).collect();
        tables.dedup();
        tables
    }

    fn io(&self, error: IoError) -> StoreError {
        StoreError::io(&self.store, error)
    }

    fn malformed(&self, address: BlockAddress, what: &str) -> StoreError {
        malformed(&self.store, self.file.path(), address.offset, what)
    }
}

fn malformed(store: &str, path: &Path, offset: u64, what: &str) -> StoreError {
    let (store, path, what) = (store.into(), path.into(), what.into());
    StoreError::Malformed { store, path, offset, what, older: OlderCheckpoints::default() }
}

/// The rows in a block's frame.
fn rows_of_block<'a>(frame: &'a [u8], entry: &BlockEntry) -> Result<&'a [u8], &'static str> {
    let mut expected = [0; BLOCK_HEADER_BYTES];
    expected[..2].copy_from_slice(&entry.table.0.to_le_bytes());
    expected[2..4].copy_from_slice(&entry.groups.start.to_le_bytes());
    expected[4..6].copy_from_slice(&entry.groups.end.to_le_bytes());
    expected[6..].copy_from_slice(&entry.row_count.to_le_bytes());
    let payload = &frame[HEADER_BYTES..];
    match payload.split_first_chunk::<BLOCK_HEADER_BYTES>() {
        Some((header, rows)) if *header == expected && frame[KIND_AT] == ROWS_KIND => Ok(rows),
        _ => Err("expected a block of the rows that the footer lists, found another one"),
    }
}

fn decode_footer(footer: &[u8]) -> Option<Vec<BlockEntry>> {
    let (header, entries) = footer.split_first_chunk::<FOOTER_HEADER_BYTES>()?;
    let count = u32::from_le_bytes(header[16..].try_into().ok()?);
    let (entries, rest) = entries.as_chunks::<FOOTER_ENTRY_BYTES>();
    let is_whole = rest.is_empty() && entries.len() == count as usize;
    let entries: Vec<BlockEntry> = entries.iter().map(decode_entry).collect();
    // Each block once, so that no more is read than there is.
    let is_ordered = entries.is_sorted_by(|entry, next| entry.address.end() <= next.address.offset);
    (is_whole && is_ordered).then_some(entries)
}

fn decode_entry(bytes: &[u8; FOOTER_ENTRY_BYTES]) -> BlockEntry {
    let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
    let offset = u64::from(u32_at(10)) | u64::from(u32_at(14)) << 32;
    BlockEntry {
        table: TableId(u16_at(0)),
        groups: KeyGroupRange { start: u16_at(2), end: u16_at(4) },
        row_count: u32_at(6),
        address: BlockAddress { offset, length_bytes: u32_at(18) },
    }
}
