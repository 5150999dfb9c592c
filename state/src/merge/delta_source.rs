//! The rows of a delta, sorted partition by partition.

use std::collections::VecDeque;

use super::{CanonicalRow, RowSource};
use crate::KeyGroupRange;
use crate::backend::StoreError;
use crate::codec::{Record, RowPrefix, TableId};
use crate::delta::{DeltaReader, DeltaRows};

const DECODED: &str = "rows were decoded when they were loaded";

/// Reads the visible rows of a delta; one partition of one table is in memory at a time.
///
/// # Invariants
///
/// - `parts` has what is not loaded yet, in order of tables and key groups.
/// - Rows from `row_start` to `row_end` of `rows` are all that the delta says of the current row;
///   there is one unless everything was read.
#[derive(Debug)]
pub(crate) struct DeltaSource {
    reader: DeltaReader,
    parts: VecDeque<(TableId, KeyGroupRange)>,
    table: TableId,
    rows: Option<DeltaRows>,
    row_start: usize,
    row_end: usize,
    prefix: Option<RowPrefix>,
    key: Vec<u8>,
    row: CanonicalRow,
}

impl DeltaSource {
    /// Stands at the first row of some tables in a range of key groups.
    ///
    /// # Errors
    ///
    /// If a partition is damaged or cannot be read.
    pub(crate) fn new(
        reader: DeltaReader,
        tables: impl IntoIterator<Item = TableId>,
        groups: KeyGroupRange,
    ) -> Result<Self, StoreError> {
        let mut parts = VecDeque::new();
        for table in tables {
            let partitions = reader.partitions(table).map(|part| part.intersection(groups));
            parts.extend(partitions.filter(|part| !part.is_empty()).map(|part| (table, part)));
        }
        let mut source = DeltaSource {
            reader,
            parts,
            table: TableId(0),
            rows: None,
            row_start: 0,
            row_end: 0,
            prefix: None,
            key: Vec::new(),
            row: CanonicalRow::default(),
        };
        source.begin_row()?;
        Ok(source)
    }

    /// Stands at the row that begins at `row_end`, in the next partition that has one.
    fn begin_row(&mut self) -> Result<(), StoreError> {
        loop {
            if let Some(rows) = self.rows.as_ref().filter(|rows| self.row_end < rows.len()) {
                self.row_start = self.row_end;
                let prefix = rows.prefix(self.table, self.row_start);
                let first = rows.row(self.row_start);
                self.key.clear();
                self.key.extend_from_slice(first.key);
                self.prefix = Some(prefix);
                self.row_end += 1;
                while self.row_end < rows.len()
                    && rows.prefix(self.table, self.row_end) == prefix
                    && rows.row(self.row_end).key == first.key
                {
                    self.row_end += 1;
                }
                let filled = match self.row_end - self.row_start {
                    1 => self.row.fill_with(first),
                    _ => self.row.fill((self.row_start..self.row_end).map(|row| rows.row(row))),
                };
                filled.expect(DECODED);
                return Ok(());
            }
            let Some((table, groups)) = self.parts.pop_front() else {
                self.rows = None;
                self.prefix = None;
                self.row.clear();
                return Ok(());
            };
            self.rows = None;
            let rows = self.reader.load(table, groups)?;
            self.rows = Some(rows);
            self.table = table;
            self.row_end = 0;
        }
    }
}

impl RowSource for DeltaSource {
    #[inline]
    fn prefix(&self) -> Option<RowPrefix> {
        self.prefix
    }

    #[inline]
    fn key(&self) -> &[u8] {
        if self.prefix.is_some() { &self.key } else { &[] }
    }

    #[inline]
    fn record(&self) -> Option<Record<'_>> {
        self.row.record()
    }

    #[inline]
    fn next_record(&mut self) -> Result<(), StoreError> {
        self.row.next_record().expect(DECODED);
        Ok(())
    }

    #[inline]
    fn next_row(&mut self) -> Result<(), StoreError> {
        self.begin_row()
    }
}
