//! Rows whose blocks are read together: where each can be, and what is there.

use std::ops::Range;
use std::rc::Rc;

use super::open_levels::FilePlace;
use super::point_source::{Found, PointSource, WantedRow};
use super::sorted_reader::{ReadBlocks, SortedReader};
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
    ///
    /// Row by row each filter would be waited for. So all of a round are fetched before the first is
    /// asked.
    pub(super) fn plan(&mut self, reader: &mut SortedReader) -> Result<(), StoreError> {
        let probes = self.find_files(reader)?;
        let mut candidates = self.pass_filters(reader, &probes).into_iter().peekable();
        let mut deltas = self.deltas.iter().peekable();
        for (row, wanted) in self.wanted.iter().enumerate() {
            let mut is_removed = false;
            while let Some((_, source)) = deltas.next_if(|(number, _)| *number == row) {
                is_removed |= source.removes_row();
            }
            while let Some(candidate) = candidates.next_if(|candidate| candidate.row == row) {
                if is_removed {
                    continue;
                }
                let Some(lookup) = candidate.look(*wanted, reader)? else { continue };
                is_removed =
                    matches!(&lookup.first, FirstBlock::Found(source) if source.removes_row());
                self.lookups.push(lookup);
            }
        }
        Ok(())
    }

    /// The files in whose range rows are, by row, and within a row the newest first.
    fn find_files(&self, reader: &mut SortedReader) -> Result<Vec<(usize, FilePlace)>, StoreError> {
        let mut probes = Vec::with_capacity(self.wanted.len() * 2);
        for (row, wanted) in self.wanted.iter().enumerate() {
            for level in 0..reader.levels.len() {
                let Some(place) = reader.levels.find(level, wanted.prefix) else { continue };
                reader.file(place)?.hint_filter(wanted.prefix);
                probes.push((row, place));
            }
        }
        reader.counters.rows += self.wanted.len() as u64;
        reader.counters.files_probed += probes.len() as u64;
        Ok(probes)
    }

    /// Of these, the ones whose filter does not say that the row is not there.
    fn pass_filters(
        &self,
        reader: &mut SortedReader,
        probes: &[(usize, FilePlace)],
    ) -> Vec<Candidate> {
        let mut candidates = Vec::with_capacity(self.wanted.len() + self.wanted.len() / 8);
        for (row, place) in probes {
            let prefix = self.wanted[*row].prefix;
            let file = reader.levels.file(*place).expect("it was opened when it was found");
            if !file.may_hold(prefix) {
                reader.counters.filter_negatives += 1;
                continue;
            }
            let (blocks, file) = (file.blocks_of(prefix), Rc::clone(file));
            let key = BlockKey { file: file.id(), block: blocks.start };
            candidates.push(Candidate { row: *row, file, key, blocks });
        }
        candidates
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

/// A file that can have a row, and where in it.
struct Candidate {
    row: usize,
    file: Rc<SortedFile>,
    key: BlockKey,
    blocks: Range<usize>,
}

impl Candidate {
    /// What the cache says of it; `None` if that is that the row is not there.
    fn look<'r>(
        self,
        wanted: WantedRow<'r>,
        reader: &mut SortedReader,
    ) -> Result<Option<Lookup<'r>>, StoreError> {
        let Candidate { row, file, key, blocks } = self;
        let mut first = FirstBlock::Missing(key);
        if let Some(block) = reader.cache.get(key) {
            reader.counters.cache_hits += 1;
            first = match PointSource::seek(wanted, &file, blocks.clone(), &block)? {
                Found::Source(source) if !source.has_row() => return Ok(None),
                Found::Source(source) => FirstBlock::Found(source),
                Found::InNextBlock => FirstBlock::Passed,
            };
        }
        Ok(Some(Lookup { row, file, blocks, first }))
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
