//! A sorted file while it is written.

use std::path::Path;

use thalweg_io::block::{BlockOwner, HEADER_BYTES};
use thalweg_io::checkpoint_file::{CheckpointFileWriter, CompletedFile, Naming};
use thalweg_io::{IoError, crash_point};

use super::block::BlockBuilder;
use super::expiry_sample::ExpirySample;
use super::filter::FilterBuilder;
use super::footer::Footer;
use super::index::BlockIndex;
use super::{FILTER_KIND, INDEX_KIND, ROWS_KIND, SORTED_FORMAT};
use crate::backend::Epoch;
use crate::codec::{IS_LAST, Record, RecordKind, RowPrefix, write_record};
use crate::manifest::FileMeta;
use crate::snapshot::{StoreFiles, crash_points};

/// Bytes of a full block with its frame: a page of the kernel's cache and of most disks.
const BLOCK_BYTES: usize = 4096;
/// What of it is payload.
pub(super) const PAYLOAD_BYTES: usize = BLOCK_BYTES - HEADER_BYTES;

/// What is the same for all files of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunOrigin {
    /// The level it is for.
    pub(crate) level: u8,
    /// The oldest epoch whose changes are in it.
    pub(crate) first_epoch: Epoch,
    /// The newest one.
    pub(crate) last_epoch: Epoch,
}

/// Takes the rows of one table in order.
///
/// # Invariants
///
/// - `records` has the encoded records of the current row that are in no block yet, and at least one
///   between `begin_row` + `record` and `end_row`.
/// - A row that began to fill blocks of its own (`is_split`) has the open block to itself until it
///   ends.
#[derive(Debug)]
pub(crate) struct SortedWriter {
    file: CheckpointFileWriter,
    /// Bytes of the file up to the open block.
    written_bytes: u64,
    origin: RunOrigin,
    block: BlockBuilder,
    index: BlockIndex,
    filter: FilterBuilder,
    expiry: ExpirySample,
    prefix: RowPrefix,
    key: Vec<u8>,
    records: Vec<u8>,
    last_tag_at: usize,
    is_split: bool,
    smallest: Option<RowPrefix>,
    largest: RowPrefix,
    row_count: u64,
    record_count: u64,
    removal_count: u64,
}

/// Whether a record says that a row, a state or a value is gone. One that says so of an entry is
/// about as long as what it frees.
fn frees_much(record: Record<'_>) -> bool {
    match record.kind {
        RecordKind::Put => false,
        RecordKind::RemoveRow | RecordKind::RemoveState => true,
        RecordKind::RemoveEntry => record.sub.is_empty(),
    }
}

impl SortedWriter {
    /// Starts a file under its final name, which only a manifest will make known.
    pub(crate) fn create(files: &StoreFiles, origin: RunOrigin) -> Result<Self, IoError> {
        let id = files.next_id();
        let owner = BlockOwner { file_id: id, epoch: origin.last_epoch.0 };
        let path = files.sorted_path(id);
        let file = CheckpointFileWriter::create(
            files.storage(),
            path,
            SORTED_FORMAT,
            owner,
            Naming::InPlace,
        )?;
        Ok(SortedWriter {
            written_bytes: file.length_bytes(),
            file,
            origin,
            block: BlockBuilder::default(),
            index: BlockIndex::default(),
            filter: FilterBuilder::default(),
            expiry: ExpirySample::default(),
            prefix: RowPrefix::default(),
            key: Vec::new(),
            records: Vec::new(),
            last_tag_at: 0,
            is_split: false,
            smallest: None,
            largest: RowPrefix::default(),
            row_count: 0,
            record_count: 0,
            removal_count: 0,
        })
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Bytes of the file so far.
    pub(crate) fn length_bytes(&self) -> u64 {
        self.written_bytes + self.block.payload_bytes() as u64
    }

    /// The prefix of the last row.
    pub(crate) fn largest(&self) -> RowPrefix {
        self.largest
    }

    /// Begins the next row. A row without records leaves nothing.
    pub(crate) fn begin_row(&mut self, prefix: RowPrefix, key: &[u8]) {
        let follows = (self.prefix, self.key.as_slice()) < (prefix, key) || self.row_count == 0;
        debug_assert!(follows, "rows come in order");
        self.prefix = prefix;
        self.key.clear();
        self.key.extend_from_slice(key);
        self.records.clear();
        self.is_split = false;
    }

    /// Adds the next record of the row.
    ///
    /// # Errors
    ///
    /// If earlier blocks could not be written.
    pub(crate) fn record(&mut self, record: Record<'_>) -> Result<(), IoError> {
        // Before and not after: the last record is still here when the row ends.
        if self.records.len() >= PAYLOAD_BYTES {
            self.split_row()?;
        }
        self.last_tag_at = write_record(&mut self.records, record).at;
        self.record_count += 1;
        self.removal_count += u64::from(frees_much(record));
        self.expiry.push(record.expires_at_ms);
        Ok(())
    }

    /// Ends the row.
    ///
    /// # Errors
    ///
    /// If earlier blocks could not be written.
    pub(crate) fn end_row(&mut self) -> Result<(), IoError> {
        if self.records.is_empty() {
            return Ok(());
        }
        self.records[self.last_tag_at] |= IS_LAST;
        // At most the row's header more than its records; a block may exceed its size by that.
        let is_full = self.block.payload_bytes() + self.records.len() + self.key.len();
        if !self.is_split && !self.block.is_empty() && is_full > PAYLOAD_BYTES {
            self.write_block(false)?;
        }
        self.block.push(self.prefix, &self.key, &self.records);
        if self.block.payload_bytes() >= PAYLOAD_BYTES {
            self.write_block(false)?;
        }
        if self.row_count == 0 || self.largest != self.prefix {
            self.filter.push(self.prefix);
        }
        self.smallest.get_or_insert(self.prefix);
        self.largest = self.prefix;
        self.row_count += 1;
        Ok(())
    }

    /// Writes the rest of the file and makes its contents durable; its name is not yet.
    ///
    /// # Errors
    ///
    /// If a step fails; the file is to be abandoned.
    ///
    /// # Panics
    ///
    /// If no row was written.
    pub(crate) fn complete(mut self) -> Result<(CompletedFile, FileMeta), IoError> {
        if !self.block.is_empty() {
            self.write_block(false)?;
        }
        let smallest = self.smallest.expect("a file is completed only if it has rows");
        let index = self.file.append_block(INDEX_KIND, &self.index.to_bytes())?;
        crash_point(crash_points::COMPACT_INDEX);
        let filter = self.file.append_block(FILTER_KIND, &self.filter.build().to_bytes())?;
        let footer = Footer {
            table: smallest.table(),
            smallest,
            largest: self.largest,
            row_count: self.row_count,
            record_count: self.record_count,
            removal_count: self.removal_count,
            half_expired_at_ms: self.expiry.half_expired_at_ms(),
            first_epoch: self.origin.first_epoch,
            last_epoch: self.origin.last_epoch,
            index,
            filter,
        };
        crash_point(crash_points::COMPACT_FOOTER);
        let file = self.file.complete(&footer.to_bytes())?;
        crash_point(crash_points::COMPACT_FSYNC);
        let meta = FileMeta {
            seal: file.seal(),
            level: self.origin.level,
            first_epoch: footer.first_epoch,
            last_epoch: footer.last_epoch,
            tables: Box::new([footer.table]),
            groups: footer.groups(),
            smallest,
            largest: footer.largest,
            row_count: footer.row_count,
            removal_count: footer.removal_count,
            half_expired_at_ms: footer.half_expired_at_ms,
        };
        Ok((file, meta))
    }

    /// Gives up the file and removes it.
    ///
    /// # Errors
    ///
    /// If it cannot be removed.
    pub(crate) fn abort(self) -> Result<(), IoError> {
        self.file.abort()
    }

    /// Writes the records of an unfinished row so far as a block of their own.
    #[cold]
    fn split_row(&mut self) -> Result<(), IoError> {
        if !self.is_split && !self.block.is_empty() {
            self.write_block(false)?;
        }
        self.is_split = true;
        self.block.push(self.prefix, &self.key, &self.records);
        self.records.clear();
        self.write_block(true)
    }

    fn write_block(&mut self, continues_behind: bool) -> Result<(), IoError> {
        let first = self.block.first();
        let address = self.file.append_block(ROWS_KIND, self.block.finish(continues_behind))?;
        crash_point(crash_points::COMPACT_BLOCK);
        self.index.push(first, address);
        self.written_bytes = address.end();
        self.block.clear();
        if continues_behind {
            self.block.continue_row();
        }
        Ok(())
    }
}
