//! A delta while it is written.

use std::sync::Arc;

use thalweg_io::block::{BlockOwner, FileId};
use thalweg_io::checkpoint_file::CheckpointFileWriter;
use thalweg_io::storage::{Storage, WriteFile};
use thalweg_io::{IoError, crash_point};

use super::{BlockEntry, DELTA_FORMAT, FOOTER_HEADER_BYTES, ROWS_KIND};
use crate::backend::{DeltaBlock, Epoch};
use crate::codec::{RowPrefix, TableId};
use crate::manifest::FileMeta;
use crate::snapshot::crash_points;
use crate::{KeyGroup, KeyGroupRange, KeyHash};

/// Writes the changes of one epoch, or of several that follow each other.
#[derive(Debug)]
pub(crate) struct DeltaWriter {
    file: CheckpointFileWriter,
    entries: Vec<BlockEntry>,
    row_count: u64,
    /// Reused from block to block.
    payload: Vec<u8>,
}

impl DeltaWriter {
    /// Starts in an empty file under its final name.
    pub(crate) fn start(
        storage: &Arc<dyn Storage>,
        file: Box<dyn WriteFile>,
        id: FileId,
        epoch: Epoch,
    ) -> Self {
        let owner = BlockOwner { file_id: id, epoch: epoch.0 };
        let file = CheckpointFileWriter::start(storage, file, DELTA_FORMAT, owner);
        DeltaWriter { file, entries: Vec::new(), row_count: 0, payload: Vec::new() }
    }

    pub(crate) fn id(&self) -> FileId {
        self.file.owner().file_id
    }

    /// Adds a block whose rows are all of these key groups.
    ///
    /// # Errors
    ///
    /// If it, or an earlier one, could not be written.
    pub(crate) fn append(
        &mut self,
        block: &DeltaBlock,
        groups: KeyGroupRange,
    ) -> Result<(), IoError> {
        self.payload.clear();
        self.payload.extend_from_slice(&block.table.0.to_le_bytes());
        self.payload.extend_from_slice(&groups.start.to_le_bytes());
        self.payload.extend_from_slice(&groups.end.to_le_bytes());
        self.payload.extend_from_slice(&block.row_count.to_le_bytes());
        self.payload.extend_from_slice(&block.bytes);
        let address = self.file.append_block(ROWS_KIND, &self.payload)?;
        let (table, row_count) = (block.table, block.row_count);
        self.entries.push(BlockEntry { table, groups, row_count, address });
        self.row_count += u64::from(row_count);
        crash_point(crash_points::FLUSH_BLOCK);
        Ok(())
    }

    /// Adds the footer and makes the file durable.
    ///
    /// # Errors
    ///
    /// If a step fails; the file is to be abandoned.
    ///
    /// # Panics
    ///
    /// If the file has no block.
    pub(crate) fn complete(
        self,
        first_epoch: Epoch,
        last_epoch: Epoch,
        groups: KeyGroupRange,
    ) -> Result<FileMeta, IoError> {
        crash_point(crash_points::FLUSH_INDEX);
        let footer = encode_footer(&self.entries, first_epoch, last_epoch);
        crash_point(crash_points::FLUSH_FOOTER);
        let seal = self.file.complete(&footer)?.seal();
        crash_point(crash_points::FLUSH_FSYNC);
        let mut tables: Vec<TableId> = self.entries.iter().map(|entry| entry.table).collect();
        tables.sort_unstable();
        tables.dedup();
        let first = *tables.first().expect("an epoch without changes has no file");
        let last = *tables.last().expect("there is a first one");
        Ok(FileMeta {
            seal,
            level: 0,
            first_epoch,
            last_epoch,
            tables: tables.into(),
            groups,
            smallest: RowPrefix::new(first, KeyGroup(groups.start), KeyHash::from_u32(0)),
            largest: RowPrefix::new(last, KeyGroup(groups.end - 1), KeyHash::from_u32(u32::MAX)),
            row_count: self.row_count,
            removal_count: 0,
            half_expired_at_ms: i64::MAX,
        })
    }

    /// Gives up the file and removes it.
    ///
    /// # Errors
    ///
    /// If it cannot be removed.
    pub(crate) fn abort(self) -> Result<(), IoError> {
        self.file.abort()
    }
}

fn encode_footer(entries: &[BlockEntry], first_epoch: Epoch, last_epoch: Epoch) -> Vec<u8> {
    let mut footer = Vec::with_capacity(FOOTER_HEADER_BYTES);
    footer.extend_from_slice(&first_epoch.0.to_le_bytes());
    footer.extend_from_slice(&last_epoch.0.to_le_bytes());
    footer.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    for entry in entries {
        footer.extend_from_slice(&entry.table.0.to_le_bytes());
        footer.extend_from_slice(&entry.groups.start.to_le_bytes());
        footer.extend_from_slice(&entry.groups.end.to_le_bytes());
        footer.extend_from_slice(&entry.row_count.to_le_bytes());
        footer.extend_from_slice(&entry.address.offset.to_le_bytes());
        footer.extend_from_slice(&entry.address.length_bytes.to_le_bytes());
    }
    footer
}
