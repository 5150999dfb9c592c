//! The rows of a run of files, streaming.

use std::collections::VecDeque;
use std::sync::Arc;

use super::SortedFile;
use super::block::{BlockCursor, Passed};
use super::stream::BlockStream;
use crate::backend::StoreError;
use crate::codec::{DamagedRow, Record, RowPrefix, TableId};
use crate::manifest::FileMeta;
use crate::merge::RowSource;
use crate::snapshot::StoreFiles;
use crate::{KeyGroup, KeyGroupRange, KeyHash};

/// Prefixes from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PrefixRange {
    pub(crate) first: RowPrefix,
    pub(crate) last: RowPrefix,
}

impl PrefixRange {
    pub(crate) const ALL: PrefixRange =
        PrefixRange { first: RowPrefix(0), last: RowPrefix(u64::MAX) };

    /// All rows of a table in some key groups; `None` if there are no groups.
    pub(crate) fn of_groups(table: TableId, groups: KeyGroupRange) -> Option<Self> {
        let last_group = KeyGroup(groups.end.checked_sub(1)?);
        (!groups.is_empty()).then(|| PrefixRange {
            first: RowPrefix::new(table, KeyGroup(groups.start), KeyHash::from_u32(0)),
            last: RowPrefix::new(table, last_group, KeyHash::from_u32(u32::MAX)),
        })
    }

    /// The prefixes both have.
    pub(crate) fn intersection(self, other: Self) -> Option<Self> {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        (first <= last).then_some(PrefixRange { first, last })
    }

    /// The visible prefixes of a file.
    pub(crate) fn of_file(meta: &FileMeta) -> Self {
        PrefixRange { first: meta.smallest, last: meta.largest }
    }
}

/// Reads the visible rows of files that are sorted and disjoint, in a range of prefixes.
///
/// # Invariants
///
/// - `current` is there unless all files are read; it stands at a row within its range.
#[derive(Debug)]
pub(crate) struct FileSource {
    files: StoreFiles,
    pending: VecDeque<Arc<FileMeta>>,
    range: PrefixRange,
    current: Option<OpenFile>,
}

#[derive(Debug)]
struct OpenFile {
    file: SortedFile,
    stream: BlockStream,
    cursor: BlockCursor,
    last: RowPrefix,
}

impl FileSource {
    /// Stands at the first row of the range.
    ///
    /// # Errors
    ///
    /// If a file cannot be opened or read.
    pub(crate) fn new(
        files: &StoreFiles,
        metas: impl IntoIterator<Item = Arc<FileMeta>>,
        range: PrefixRange,
    ) -> Result<Self, StoreError> {
        let overlaps = |meta: &Arc<FileMeta>| PrefixRange::of_file(meta).intersection(range);
        let pending = metas.into_iter().filter(|meta| overlaps(meta).is_some()).collect();
        let files = files.clone();
        let mut source = FileSource { files, pending, range, current: None };
        source.open_next()?;
        Ok(source)
    }

    fn open_next(&mut self) -> Result<(), StoreError> {
        self.current = None;
        while let Some(meta) = self.pending.pop_front() {
            let visible = PrefixRange::of_file(&meta).intersection(self.range);
            let Some(visible) = visible else { continue };
            let file = SortedFile::open_to_scan(&self.files, &meta)?;
            self.current = OpenFile::seek(file, visible)?;
            if self.current.is_some() {
                break;
            }
        }
        Ok(())
    }
}

impl OpenFile {
    /// Stands at the first row of a file in a range.
    fn seek(file: SortedFile, range: PrefixRange) -> Result<Option<Self>, StoreError> {
        let mut stream = BlockStream::before(file.blocks_of(range.first).start);
        while stream.advance(&file)? {
            let found = BlockCursor::seek(stream.payload(), range.first, b"");
            let found = found.map_err(|damaged| file.damaged(stream.block(), damaged))?;
            if let Some(cursor) = found {
                let is_within = cursor.prefix() <= range.last;
                return Ok(is_within.then_some(OpenFile {
                    file,
                    stream,
                    cursor,
                    last: range.last,
                }));
            }
        }
        Ok(None)
    }

    /// Goes to the next record, in another block if the row goes on there.
    #[inline]
    fn next_record(&mut self) -> Result<(), StoreError> {
        match self.cursor.next_record(self.stream.payload()) {
            Ok(false) => Ok(()),
            Ok(true) => self.continue_row(),
            Err(damaged) => Err(self.file.damaged(self.stream.block(), damaged)),
        }
    }

    /// Goes to the next row; false after the last one of the range.
    #[inline]
    fn next_row(&mut self) -> Result<bool, StoreError> {
        loop {
            match self.cursor.next_row(self.stream.payload()) {
                Ok(Passed::ToRow) => return Ok(self.cursor.prefix() <= self.last),
                Ok(Passed::ToEnd) => return self.next_block(),
                Ok(Passed::WithinRow) => self.continue_row()?,
                Err(damaged) => return Err(self.file.damaged(self.stream.block(), damaged)),
            }
        }
    }

    fn next_block(&mut self) -> Result<bool, StoreError> {
        let before = self.cursor.prefix();
        if !self.stream.advance(&self.file)? {
            return Ok(false);
        }
        self.begin_block()?;
        if self.cursor.continues_before() || self.cursor.prefix() < before {
            let what = "its first row does not follow the block before";
            return Err(self.file.damaged(self.stream.block(), DamagedRow { what }));
        }
        Ok(self.cursor.prefix() <= self.last)
    }

    /// Goes to the block in which the current row goes on.
    fn continue_row(&mut self) -> Result<(), StoreError> {
        let prefix = self.cursor.prefix();
        let is_there = self.stream.advance(&self.file)?;
        if is_there {
            self.begin_block()?;
        }
        if !is_there || !self.cursor.continues_before() || self.cursor.prefix() != prefix {
            let what = "its last row does not go on in the block behind";
            return Err(self.file.damaged(self.stream.block(), DamagedRow { what }));
        }
        Ok(())
    }

    fn begin_block(&mut self) -> Result<(), StoreError> {
        let cursor = BlockCursor::begin(self.stream.payload());
        self.cursor = cursor.map_err(|damaged| self.file.damaged(self.stream.block(), damaged))?;
        Ok(())
    }
}

impl RowSource for FileSource {
    #[inline]
    fn prefix(&self) -> Option<RowPrefix> {
        self.current.as_ref().map(|open| open.cursor.prefix())
    }

    #[inline]
    fn key(&self) -> &[u8] {
        self.current.as_ref().map_or(&[], |open| open.cursor.key(open.stream.payload()))
    }

    #[inline]
    fn record(&self) -> Option<Record<'_>> {
        self.current.as_ref().and_then(|open| open.cursor.record(open.stream.payload()))
    }

    #[inline]
    fn next_record(&mut self) -> Result<(), StoreError> {
        self.current.as_mut().map_or(Ok(()), OpenFile::next_record)
    }

    fn next_row(&mut self) -> Result<(), StoreError> {
        let Some(open) = &mut self.current else { return Ok(()) };
        if open.next_row()? {
            return Ok(());
        }
        self.open_next()
    }
}
