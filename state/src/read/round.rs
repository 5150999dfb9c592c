//! Rows whose blocks are read together: where each can be, and what is there.

use std::ops::Range;
use std::rc::Rc;

use super::point_source::{Found, PointSource, WantedRow};
use super::sorted_reader::{ReadBlocks, SortedReader, file_of};
use crate::StateError;
use crate::backend::{RowAddress, RowVisitor, StoreError};
use crate::cache::BlockKey;
use crate::codec::{EncodedRow, RowPrefix, TableId};
use crate::delta::DeltaCache;
use crate::manifest::Version;
use crate::merge::{CanonicalRow, Keep, RowMerge};
use crate::sst::SortedFile;

/// One file in which one row can be.
#[derive(Debug)]
pub(super) struct Lookup<'r> {
    /// The row's number in the round.
    row: usize,
    pub(super) file: Rc<SortedFile>,
    blocks: Range<usize>,
    pub(super) first: FirstBlock<'r>,
}

#[derive(Debug)]
pub(super) enum FirstBlock<'r> {
    /// It was cached, and this is what it says.
    Found(PointSource<'r>),
    /// It was cached, and the row can be in the next one.
    Passed,
    /// It will be read.
    Missing(BlockKey),
}

/// Rows whose blocks are read together.
///
/// # Invariants
///
/// - `deltas` and `lookups` are sorted by row, and within a row the newest first.
pub(super) struct Round<'r> {
    wanted: Vec<WantedRow<'r>>,
    /// What deltas say, until one that removes the row.
    deltas: Vec<(usize, PointSource<'r>)>,
    pub(super) lookups: Vec<Lookup<'r>>,
}

impl<'r> Round<'r> {
    pub(super) fn new(table: TableId, rows: &'r [RowAddress<'r>]) -> Self {
        let wanted = rows.iter().map(|row| WantedRow {
            prefix: RowPrefix::new(table, row.group, row.hash),
            key: row.key,
        });
        Round { wanted: wanted.collect(), deltas: Vec::new(), lookups: Vec::new() }
    }

    pub(super) fn take_deltas(&mut self, version: &Version, deltas: &DeltaCache) {
        let mut found: Vec<(usize, EncodedRow<'_>)> = Vec::new();
        for (number, wanted) in self.wanted.iter().enumerate() {
            found.clear();
            deltas.visit(version, wanted.prefix, &mut |delta, row| {
                if row.key == wanted.key {
                    found.push((delta, row));
                }
            });
            for rows in found.chunk_by(|row, next| row.0 == next.0) {
                let mut canonical = CanonicalRow::default();
                let filled = match *rows {
                    [(_, once)] => canonical.fill_with(once),
                    _ => canonical.fill(rows.iter().map(|(_, row)| *row)),
                };
                filled.expect("rows of deltas were decoded when they were loaded");
                let source = PointSource::of_delta(*wanted, canonical);
                let is_removed = source.removes_row();
                self.deltas.push((number, source));
                if is_removed {
                    break;
                }
            }
        }
    }

    /// Finds the blocks in which rows can be.
    pub(super) fn plan(
        &mut self,
        reader: &mut SortedReader,
        version: &Version,
    ) -> Result<(), StoreError> {
        let mut deltas = self.deltas.iter().peekable();
        for (row, wanted) in self.wanted.iter().enumerate() {
            reader.counters.rows += 1;
            let mut is_removed = false;
            while let Some((_, source)) = deltas.next_if(|(number, _)| *number == row) {
                is_removed |= source.removes_row();
            }
            for level in &version.levels {
                if is_removed {
                    break;
                }
                let Some(meta) = file_of(level, wanted.prefix) else { continue };
                let file = reader.open(meta)?;
                reader.counters.files_probed += 1;
                if !file.may_hold(wanted.prefix) {
                    reader.counters.filter_negatives += 1;
                    continue;
                }
                let blocks = file.blocks_of(wanted.prefix);
                let key = BlockKey { file: meta.id(), block: blocks.start };
                let mut first = FirstBlock::Missing(key);
                if let Some(block) = reader.cache.get(key) {
                    reader.counters.cache_hits += 1;
                    first = match PointSource::seek(*wanted, &file, blocks.clone(), &block)? {
                        Found::Source(source) if !source.has_row() => continue,
                        Found::Source(source) => FirstBlock::Found(source),
                        Found::InNextBlock => FirstBlock::Passed,
                    };
                    is_removed = matches!(&first, FirstBlock::Found(row) if row.removes_row());
                }
                self.lookups.push(Lookup { row, file, blocks, first });
            }
        }
        Ok(())
    }

    /// Merges and visits row by row.
    pub(super) fn merge(
        self,
        reader: &mut SortedReader,
        blocks: ReadBlocks,
        now_ms: i64,
        visit: RowVisitor<'_>,
    ) -> Result<(), StateError> {
        let mut merge = RowMerge::new(Vec::new());
        let mut deltas = self.deltas.into_iter().peekable();
        let mut lookups = self.lookups.into_iter().peekable();
        for (row, wanted) in self.wanted.iter().enumerate() {
            let sources = merge.restart();
            while let Some((_, source)) = deltas.next_if(|(number, _)| *number == row) {
                sources.push(source);
            }
            while let Some(lookup) = lookups.next_if(|lookup| lookup.row == row) {
                let source = lookup.source(*wanted, reader, &blocks)?;
                if source.has_row() {
                    sources.push(source);
                }
            }
            if sources.is_empty() || !merge.next_row()? {
                continue;
            }
            while let Some(record) = merge.next_record(Keep::live(now_ms))? {
                visit(row, &record)?;
            }
        }
        Ok(())
    }
}

impl<'r> Lookup<'r> {
    /// What the file says of the row.
    fn source(
        self,
        wanted: WantedRow<'r>,
        reader: &mut SortedReader,
        blocks: &ReadBlocks,
    ) -> Result<PointSource<'r>, StoreError> {
        match self.first {
            FirstBlock::Found(source) => return Ok(source),
            FirstBlock::Passed => {}
            FirstBlock::Missing(key) => {
                let index = blocks.binary_search_by_key(&key, |(key, _)| *key);
                let first = &blocks[index.expect("each block that was missing has been read")].1;
                let range = self.blocks.clone();
                if let Found::Source(source) = PointSource::seek(wanted, &self.file, range, first)?
                {
                    return Ok(source);
                }
            }
        }
        let second = self.blocks.start + 1..self.blocks.end;
        let key = BlockKey { file: self.file.id(), block: second.start };
        let block = reader.block(&self.file, key)?;
        match PointSource::seek(wanted, &self.file, second.clone(), &block)? {
            Found::Source(source) => Ok(source),
            Found::InNextBlock => PointSource::seek_streaming(
                wanted,
                &self.file,
                second.start + 1..second.end,
                &block,
            ),
        }
    }
}
