//! What one delta or one file says of one row.

use std::ops::Range;
use std::rc::Rc;

use thalweg_io::block::HEADER_BYTES;

use crate::backend::StoreError;
use crate::cache::CachedBlock;
use crate::codec::{DamagedRow, Record, RecordKind, RowPrefix};
use crate::merge::{CanonicalRow, RowSource};
use crate::sst::{BlockCursor, BlockStream, SortedFile};

/// The row that is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct WantedRow<'k> {
    pub(super) prefix: RowPrefix,
    pub(super) key: &'k [u8],
}

/// A source of one row at most.
#[derive(Debug)]
pub(super) struct PointSource<'k> {
    wanted: WantedRow<'k>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// All that a delta says of the row.
    Delta(CanonicalRow),
    /// The row as it lies in a file.
    File(Box<FileRow>),
    /// The row is not there, or was left.
    Nothing,
}

/// A position in a file.
///
/// # Invariants
///
/// - `cursor` stands in the payload of `stream` where there is one, else in that of `block`.
#[derive(Debug)]
struct FileRow {
    file: Rc<SortedFile>,
    block: CachedBlock,
    number: usize,
    stream: Option<BlockStream>,
    cursor: BlockCursor,
}

/// Where a search for a row has got to in a file.
pub(super) enum Found<'k> {
    /// The row, or that it is not in the file.
    Source(PointSource<'k>),
    /// It can be in the next block.
    InNextBlock,
}

impl<'k> PointSource<'k> {
    /// What a delta says of the row.
    pub(super) fn of_delta(wanted: WantedRow<'k>, row: CanonicalRow) -> Self {
        PointSource { wanted, content: Content::Delta(row) }
    }

    /// Seeks the row in a block. `blocks` begins with its number and has all the row can be in.
    pub(super) fn seek(
        wanted: WantedRow<'k>,
        file: &Rc<SortedFile>,
        blocks: Range<usize>,
        block: &CachedBlock,
    ) -> Result<Found<'k>, StoreError> {
        let number = blocks.start;
        let payload = &block[HEADER_BYTES..];
        let found = BlockCursor::seek(payload, wanted.prefix, wanted.key);
        let found = found.map_err(|damaged| file.damaged(number, damaged))?;
        let Some(cursor) = found else {
            return Ok(match number + 1 < blocks.end {
                true => Found::InNextBlock,
                false => Found::Source(PointSource { wanted, content: Content::Nothing }),
            });
        };
        let mut content = Content::Nothing;
        if (cursor.prefix(), cursor.key(payload)) == (wanted.prefix, wanted.key) {
            let (file, block) = (Rc::clone(file), Rc::clone(block));
            content =
                Content::File(Box::new(FileRow { file, block, number, stream: None, cursor }));
        }
        Ok(Found::Source(PointSource { wanted, content }))
    }

    /// Seeks the row from a block on, reading one after the other: rows of other keys with the same
    /// hash fill whole blocks.
    pub(super) fn seek_streaming(
        wanted: WantedRow<'k>,
        file: &Rc<SortedFile>,
        blocks: Range<usize>,
        block: &CachedBlock,
    ) -> Result<Self, StoreError> {
        let mut stream = BlockStream::before(blocks.start);
        let mut content = Content::Nothing;
        for number in blocks {
            stream.advance(file)?;
            let payload = stream.payload();
            let found = BlockCursor::seek(payload, wanted.prefix, wanted.key);
            if let Some(cursor) = found.map_err(|damaged| file.damaged(number, damaged))? {
                if (cursor.prefix(), cursor.key(payload)) == (wanted.prefix, wanted.key) {
                    let (file, block, stream) = (Rc::clone(file), Rc::clone(block), Some(stream));
                    let row = FileRow { file, block, number, stream, cursor };
                    content = Content::File(Box::new(row));
                }
                break;
            }
        }
        Ok(PointSource { wanted, content })
    }

    /// Whether there is a row.
    pub(super) fn has_row(&self) -> bool {
        !matches!(self.content, Content::Nothing)
    }

    /// Whether nothing older can matter.
    pub(super) fn removes_row(&self) -> bool {
        self.record().is_some_and(|record| record.kind == RecordKind::RemoveRow)
    }
}

impl FileRow {
    #[inline]
    fn payload(&self) -> &[u8] {
        match &self.stream {
            Some(stream) => stream.payload(),
            None => &self.block[HEADER_BYTES..],
        }
    }

    /// Goes to the block in which the row goes on.
    #[cold]
    fn continue_row(&mut self, prefix: RowPrefix) -> Result<(), StoreError> {
        let next = self.number + 1;
        let stream = self.stream.get_or_insert_with(|| BlockStream::before(next));
        let is_there = stream.advance(&self.file)?;
        if is_there {
            self.number = next;
            let cursor = BlockCursor::begin(stream.payload());
            self.cursor = cursor.map_err(|damaged| self.file.damaged(next, damaged))?;
        }
        if !is_there || !self.cursor.continues_before() || self.cursor.prefix() != prefix {
            let what = "its last row does not go on in the block behind";
            return Err(self.file.damaged(self.number, DamagedRow { what }));
        }
        Ok(())
    }
}

impl RowSource for PointSource<'_> {
    #[inline]
    fn prefix(&self) -> Option<RowPrefix> {
        self.has_row().then_some(self.wanted.prefix)
    }

    #[inline]
    fn key(&self) -> &[u8] {
        if self.has_row() { self.wanted.key } else { &[] }
    }

    #[inline]
    fn record(&self) -> Option<Record<'_>> {
        match &self.content {
            Content::Delta(row) => row.record(),
            Content::File(row) => row.cursor.record(row.payload()),
            Content::Nothing => None,
        }
    }

    #[inline]
    fn next_record(&mut self) -> Result<(), StoreError> {
        match &mut self.content {
            Content::Delta(row) => {
                row.next_record().expect("rows of deltas were decoded when they were loaded");
                Ok(())
            }
            Content::File(row) => {
                let payload = match &row.stream {
                    Some(stream) => stream.payload(),
                    None => &row.block[HEADER_BYTES..],
                };
                match row.cursor.next_record(payload) {
                    Ok(false) => Ok(()),
                    Ok(true) => row.continue_row(self.wanted.prefix),
                    Err(damaged) => Err(row.file.damaged(row.number, damaged)),
                }
            }
            Content::Nothing => Ok(()),
        }
    }

    fn next_row(&mut self) -> Result<(), StoreError> {
        self.content = Content::Nothing;
        Ok(())
    }
}
