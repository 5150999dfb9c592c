//! Whether the rows of a file are what its index, filter and footer say.

use super::SortedFile;
use super::block::{BlockCursor, Passed};
use super::stream::BlockStream;
use crate::backend::StoreError;
use crate::codec::{DamagedRow, RowPrefix};

/// A record's place within its row, as it is sorted.
type RecordPlace = (bool, u8, bool, Vec<u8>);

/// What was passed so far.
#[derive(Debug, Default)]
struct Passing {
    last: Option<(RowPrefix, Vec<u8>)>,
    last_record: Option<RecordPlace>,
    row_count: u64,
    record_count: u64,
}

/// Reads all rows.
pub(super) fn verify_rows(file: &SortedFile) -> Result<(), StoreError> {
    let mut stream = BlockStream::before(0);
    let mut passing = Passing::default();
    let mut goes_on = false;
    while stream.advance(file)? {
        let (block, payload) = (stream.block(), stream.payload());
        let walked = passing.walk_block(file, block, payload, goes_on);
        goes_on = walked.map_err(|damaged| file.damaged(block, damaged))?;
    }
    let footer = file.footer();
    let last = passing.last.map(|(prefix, _)| prefix);
    let is_footers = (passing.row_count, passing.record_count, last)
        == (footer.row_count, footer.record_count, Some(footer.largest));
    if goes_on || !is_footers {
        let what = "its rows are not those of the footer";
        return Err(file.damaged(file.block_count() - 1, DamagedRow { what }));
    }
    Ok(())
}

impl Passing {
    /// Passes the rows of a block; true if the last one goes on.
    fn walk_block(
        &mut self,
        file: &SortedFile,
        block: usize,
        payload: &[u8],
        goes_on: bool,
    ) -> Result<bool, DamagedRow> {
        let mut cursor = BlockCursor::begin(payload)?;
        if cursor.continues_before() != goes_on || cursor.prefix() != file.first_of(block) {
            return Err(DamagedRow { what: "its first row is not the one of the index" });
        }
        let mut continues = goes_on;
        loop {
            self.begin_row(file, cursor.prefix(), cursor.key(payload), continues)?;
            continues = false;
            while cursor.record(payload).is_some() {
                self.pass_record(&cursor, payload)?;
                if cursor.next_record(payload)? {
                    return Ok(true);
                }
            }
            if cursor.next_row(payload)? == Passed::ToEnd {
                return Ok(false);
            }
        }
    }

    fn begin_row(
        &mut self,
        file: &SortedFile,
        prefix: RowPrefix,
        key: &[u8],
        continues: bool,
    ) -> Result<(), DamagedRow> {
        let row = Some((prefix, key.to_vec()));
        let is_sorted = if continues { self.last == row } else { self.last < row };
        if !is_sorted {
            return Err(DamagedRow { what: "its rows are not sorted" });
        }
        if self.last.is_none() && prefix != file.footer().smallest {
            return Err(DamagedRow { what: "its first row is not the one of the footer" });
        }
        if !file.may_hold(prefix) {
            return Err(DamagedRow { what: "the filter has not all of its rows" });
        }
        if !continues {
            self.row_count += 1;
            self.last_record = None;
        }
        self.last = row;
        Ok(())
    }

    fn pass_record(&mut self, cursor: &BlockCursor, payload: &[u8]) -> Result<(), DamagedRow> {
        let place = cursor.record(payload).map(|record| {
            let (row, state, of_state, sub) = record.sort_key();
            (row, state, of_state, sub.to_vec())
        });
        if self.last_record >= place {
            return Err(DamagedRow { what: "its records are not sorted" });
        }
        self.last_record = place;
        self.record_count += 1;
        Ok(())
    }
}
