//! A sorted file while it is read.

use std::ops::Range;

use thalweg_io::block::{self, BlockAddress, FileId, HEADER_BYTES};
use thalweg_io::checkpoint_file::CheckpointFileReader;
use thalweg_io::storage::ReadFile;
use thalweg_io::{Corruption, IoError};

use super::footer::Footer;
use super::index::BlockIndex;
use super::verify::verify_rows;
use super::{FILTER_KIND, Filter, INDEX_KIND, ROWS_KIND, SORTED_FORMAT};
use crate::backend::{OlderCheckpoints, StoreError};
use crate::codec::{DamagedRow, RowPrefix};
use crate::manifest::FileMeta;
use crate::snapshot::StoreFiles;

/// An open file with its index, and its filter if it is read by rows.
#[derive(Debug)]
pub(crate) struct SortedFile {
    store: Box<str>,
    reader: CheckpointFileReader,
    footer: Footer,
    index: BlockIndex,
    filter: Option<Filter>,
}

impl SortedFile {
    /// Opens a file to look up rows.
    ///
    /// # Errors
    ///
    /// If it is not there, is damaged, or is not what the manifest describes.
    pub(crate) fn open(files: &StoreFiles, meta: &FileMeta) -> Result<Self, StoreError> {
        let mut file = Self::open_to_scan(files, meta)?;
        let address = file.footer.filter;
        let filter = file.read_part(address, FILTER_KIND, Filter::from_bytes)?;
        file.filter = Some(filter);
        Ok(file)
    }

    /// Opens a file to read many of its rows: without its filter.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub(crate) fn open_to_scan(files: &StoreFiles, meta: &FileMeta) -> Result<Self, StoreError> {
        let store: Box<str> = files.store().into();
        let path = files.sorted_path(meta.id());
        let reader =
            CheckpointFileReader::open(&**files.storage(), path, SORTED_FORMAT, &meta.seal)
                .map_err(|error| StoreError::io(&store, error))?;
        let is_expected = |footer: &Footer| {
            *meta.tables == [footer.table]
                && footer.smallest <= meta.smallest
                && meta.largest <= footer.largest
        };
        let found = Footer::from_bytes(reader.footer()).filter(is_expected);
        let Some(footer) = found else {
            let what = "expected the footer of the rows in the manifest, found another one";
            return Err(malformed(&store, &reader, meta.length_bytes(), what));
        };
        let index = BlockIndex::default();
        let mut file = SortedFile { store, reader, footer, index, filter: None };
        let address = file.footer.index;
        file.index = file.read_part(address, INDEX_KIND, |bytes| {
            BlockIndex::from_bytes(bytes)
                .filter(|index| index.address(index.block_count() - 1).end() == address.offset)
        })?;
        Ok(file)
    }

    /// By what the file is known.
    pub(crate) fn id(&self) -> FileId {
        self.reader.owner().file_id
    }

    /// What the file says of itself.
    pub(crate) fn footer(&self) -> &Footer {
        &self.footer
    }

    /// False if no row of the prefix is here.
    #[inline]
    pub(crate) fn may_hold(&self, prefix: RowPrefix) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.may_hold(prefix))
    }

    /// Fetches what [`may_hold`](Self::may_hold) will look at.
    #[inline]
    pub(crate) fn hint_filter(&self, prefix: RowPrefix) {
        if let Some(filter) = &self.filter {
            filter.hint(prefix);
        }
    }

    /// The blocks of rows.
    pub(crate) fn block_count(&self) -> usize {
        self.index.block_count()
    }

    /// The blocks in which rows of a prefix can be; see [`BlockIndex::blocks_of`].
    #[inline]
    pub(crate) fn blocks_of(&self, prefix: RowPrefix) -> Range<usize> {
        self.index.blocks_of(prefix)
    }

    /// Where a block lies.
    pub(crate) fn address(&self, block: usize) -> BlockAddress {
        self.index.address(block)
    }

    /// The prefix that the index gives for a block.
    pub(super) fn first_of(&self, block: usize) -> RowPrefix {
        self.index.first_of(block)
    }

    /// Bytes of index and filter in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.index.memory_bytes() + self.filter.as_ref().map_or(0, Filter::memory_bytes)
    }

    /// For reads of many blocks together; [`check`](Self::check) checks what they bring.
    pub(crate) fn file(&self) -> &(dyn ReadFile + 'static) {
        self.reader.file()
    }

    /// Checks the bytes of a block of rows; returns where its payload lies in them.
    ///
    /// # Errors
    ///
    /// If they are not that block.
    pub(crate) fn check(&self, block: usize, frame: &[u8]) -> Result<Range<usize>, StoreError> {
        let (address, owner) = (self.address(block), self.reader.owner());
        let found = block::check_read(self.reader.file(), address, owner, frame);
        let kind = found.map_err(|error| self.io(error))?.kind;
        if kind != ROWS_KIND {
            return Err(self.wrong_kind(address, ROWS_KIND, kind));
        }
        Ok(HEADER_BYTES..frame.len())
    }

    /// An error of the storage on this file.
    pub(crate) fn io(&self, error: IoError) -> StoreError {
        StoreError::io(&self.store, error)
    }

    /// The error of a block that is intact and makes no sense.
    #[cold]
    pub(crate) fn damaged(&self, block: usize, damaged: DamagedRow) -> StoreError {
        let what = format!("expected sorted rows, found a {damaged}");
        malformed(&self.store, &self.reader, self.address(block).offset, &what)
    }

    /// Reads and checks everything: all blocks and the digest, that rows and records are sorted, and
    /// that footer and filter speak of these rows.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub(crate) fn verify(&self) -> Result<(), StoreError> {
        self.reader.verify_all().map_err(|error| self.io(error))?;
        verify_rows(self)
    }

    /// The end of the last block, from `block` on, that ends by byte `limit`; of `block` at least.
    pub(super) fn end_of_blocks(&self, block: usize, limit: u64) -> u64 {
        self.index.end_by(block, limit)
    }

    /// Appends the bytes from `offset` to `end`.
    pub(super) fn read_bytes(
        &self,
        offset: u64,
        end: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let start = out.len();
        out.resize(start + (end - offset) as usize, 0);
        let outcome = self.reader.file().read_exact_at(offset, &mut out[start..]);
        outcome.map_err(|error| self.read_error(offset, error))
    }

    /// A file that is shorter than it was is damaged.
    pub(crate) fn read_error(&self, offset: u64, error: IoError) -> StoreError {
        let IoError::UnexpectedEnd { expected_bytes, found_bytes, .. } = error else {
            return self.io(error);
        };
        let (expected_bytes, found_bytes) = (expected_bytes as u64, found_bytes as u64);
        let fault = Corruption::Truncated { expected_bytes, found_bytes };
        self.io(IoError::corrupt(self.reader.path(), offset, fault))
    }

    fn read_part<P>(
        &self,
        address: BlockAddress,
        expected: u8,
        parse: impl FnOnce(&[u8]) -> Option<P>,
    ) -> Result<P, StoreError> {
        let mut buffer = Vec::new();
        let block = self.reader.read_block(address, &mut buffer).map_err(|error| self.io(error))?;
        if block.kind != expected {
            return Err(self.wrong_kind(address, expected, block.kind));
        }
        parse(block.payload).ok_or_else(|| {
            let what = "expected an index or a filter, found one with invalid contents";
            malformed(&self.store, &self.reader, address.offset, what)
        })
    }

    #[cold]
    fn wrong_kind(&self, address: BlockAddress, expected: u8, found: u8) -> StoreError {
        let fault = Corruption::WrongKind { expected, found };
        self.io(IoError::corrupt(self.reader.path(), address.offset, fault))
    }
}

fn malformed(store: &str, reader: &CheckpointFileReader, offset: u64, what: &str) -> StoreError {
    let (store, path, what) = (store.into(), reader.path().into(), what.into());
    StoreError::Malformed { store, path, offset, what, older: OlderCheckpoints::default() }
}
