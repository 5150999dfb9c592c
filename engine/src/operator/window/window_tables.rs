//! The tables of accumulators that panes and slices are, and how they get into checkpoints while they change.
//!
//! A barrier only notes that the checkpoint lacks all parts of all tables. From then on
//! 1. each drive writes up to [`STEP`] entries of what it lacks;
//! 2. before a part that it lacks is changed, the rest of that part is written;
//! 3. a table whose window is given up stays until it is written;
//!
//! and with the last part the piece is delivered. Operators send elements through their slow paths while a table that
//! they change is lacking, so that the fast path knows nothing of this.
//!
//! **Cost.** Parts are those of [`PrefetchTable`](thalweg_state::PrefetchTable), of at most 28,672 entries and a MiB. An element that
//! comes to a part first waits for its copy.
//!
//! **Invariants**
//! - `missing` of a table means nothing unless a copy is in progress.
//! - A part is changed only when the copy in progress has it; parts that come from dividing one it has are not missing.
//! - No bucket of the part at the cursor changes between two steps.

use super::part_set::PartSet;
use super::table_bytes::{Share, TableEntry, TableError, TableHeader, TableWriter, read_tables};
use crate::Result;
use crate::graph::NodeId;
use crate::operator::StageContext;
use crate::operator::build::BuildContext;
use crate::operator::pieces::{Notice, Piece};
use crate::operator::window::Accumulators;
use crate::record::CheckpointId;
use crate::state::{StateError, StateValue};
use crate::window::TimeWindow;
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use thalweg_state::{Key, KeyGroupRange, KeyHash};

/// Entries that one drive writes: as many as rows of keyed state. Few in tests, so that much happens meanwhile.
pub(crate) const STEP: usize = if cfg!(test) { 3 } else { 2048 };
/// Emptied tables that are kept.
const SPARE_MAX: usize = 4;
/// The name of the piece of all operators that keep windows in tables of their own.
pub(crate) const PIECE: &str = "windows";

/// The table of one window or slice.
pub(crate) struct WindowTable<K, A> {
    pub(crate) window: TimeWindow,
    pub(crate) table: Accumulators<K, A>,
    /// Parts that the copy in progress lacks.
    missing: PartSet,
    /// The bucket to go on with in the first of them.
    bucket: usize,
}

impl<K: Key, A: StateValue> WindowTable<K, A> {
    /// Writes up to `budget` entries of `part`, from the cursor on; true when that was the last.
    fn write_part(
        &mut self,
        part: usize,
        budget: &mut usize,
        writer: &mut TableWriter,
    ) -> Result<bool, StateError> {
        writer.begin_chunk(self.window);
        let count = self.table.part_bucket_count(part);
        while self.bucket < count {
            if *budget == 0 {
                return Ok(false);
            }
            if let Some((key, accumulator)) = self.table.part_bucket(part, self.bucket) {
                *budget -= 1;
                writer.entry(key.key_hash(), &[], key, accumulator)?;
            }
            self.bucket += 1;
        }
        self.bucket = 0;
        self.missing.take(part);
        Ok(true)
    }

    /// Writes up to `budget` entries of what is missing; true when nothing is.
    fn write(&mut self, budget: &mut usize, writer: &mut TableWriter) -> Result<bool, StateError> {
        while let Some(part) = self.missing.next(0) {
            if !self.write_part(part, budget, writer)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes what is missing of the part of this hash.
    #[inline(never)]
    fn write_part_of(&mut self, hash: KeyHash, writer: &mut TableWriter) -> Result<(), StateError> {
        let part = self.table.part_of(hash);
        let Some(first) = self.missing.next(0) else { return Ok(()) };
        if self.missing.next(part) != Some(part) {
            return Ok(());
        }
        let at_cursor = self.bucket;
        if part != first {
            self.bucket = 0;
        }
        let mut unlimited = usize::MAX;
        self.write_part(part, &mut unlimited, writer)?;
        if part != first {
            self.bucket = at_cursor;
        }
        Ok(())
    }
}

/// A checkpoint that is being written.
struct Copying {
    checkpoint: CheckpointId,
    writer: TableWriter,
}

/// See the module docs.
pub(crate) struct WindowTables<K, A> {
    /// By start.
    pub(crate) open: VecDeque<WindowTable<K, A>>,
    /// Emptied tables, to be filled again.
    spare: Vec<Accumulators<K, A>>,
    /// Their windows are over, but the copy in progress lacks them.
    given_up: Vec<WindowTable<K, A>>,
    copying: Option<Copying>,
    piece: Piece,
    stage: Rc<StageContext>,
}

impl<K: Key, A: StateValue> WindowTables<K, A> {
    pub(crate) fn new(context: &BuildContext, node: NodeId) -> Self {
        WindowTables {
            open: VecDeque::new(),
            spare: Vec::new(),
            given_up: Vec::new(),
            copying: None,
            piece: context.piece(node, PIECE),
            stage: context.stage.clone(),
        }
    }

    /// Opens the table of a window, which is to be the one of this index.
    pub(crate) fn insert(&mut self, index: usize, window: TimeWindow) {
        let table = self.spare.pop().unwrap_or_default();
        let (missing, bucket) = (PartSet::default(), 0);
        self.open.insert(index, WindowTable { window, table, missing, bucket });
    }

    /// The table of the window that begins at `start`, or where it is to be.
    pub(crate) fn index_of(&self, start: i64) -> Result<usize, usize> {
        let index = self.open.partition_point(|table| table.window.start < start);
        match self.open.get(index) {
            Some(table) if table.window.start == start => Ok(index),
            _ => Err(index),
        }
    }

    /// Gives up the first table.
    pub(crate) fn pop_front(&mut self) {
        let Some(table) = self.open.pop_front() else { return };
        if self.copying.is_some() && !table.missing.is_empty() {
            return self.given_up.push(table);
        }
        self.recycle(table.table);
    }

    fn recycle(&mut self, mut table: Accumulators<K, A>) {
        if self.spare.len() < SPARE_MAX {
            table.clear();
            self.spare.push(table);
        }
    }

    /// The accumulator of this hash in one of the tables is about to change.
    #[inline]
    pub(crate) fn before_change(&mut self, index: usize, hash: u32) {
        let Some(copying) = &mut self.copying else { return };
        let table = &mut self.open[index];
        if !table.missing.is_empty()
            && let Err(error) = table.write_part_of(KeyHash::from_u32(hash), &mut copying.writer)
        {
            self.give_up_copy(error);
        }
    }

    /// Does the copy in progress lack anything of these tables?
    pub(crate) fn lacks(&self, mut indices: Range<usize>) -> bool {
        self.copying.is_some() && indices.any(|index| !self.open[index].missing.is_empty())
    }

    /// The line of a checkpoint has come.
    pub(crate) fn begin_copy(&mut self, checkpoint: CheckpointId, header: &TableHeader) {
        while self.copying.is_some() {
            // The one before is wanted as well, and there is one at a time.
            self.copy(usize::MAX);
        }
        let mut about = 0;
        for table in &mut self.open {
            about += table.table.len();
            (table.missing, table.bucket) = (PartSet::all(table.table.part_count()), 0);
        }
        let writer = TableWriter::new::<K, A>(header, about);
        self.copying = Some(Copying { checkpoint, writer });
        if about == 0 {
            self.copy(0);
        }
    }

    /// Writes some of what the copy in progress lacks; once a drive.
    #[inline]
    pub(crate) fn step(&mut self) {
        if self.copying.is_some() {
            self.copy(STEP);
        }
    }

    #[cold]
    fn copy(&mut self, budget: usize) {
        // Also keeps the core from sleeping before all is written.
        self.stage.task.worked(1);
        while let Some(notice) = self.piece.next_notice() {
            if self.copying.as_ref().is_some_and(|c| notice == Notice::Aborted(c.checkpoint)) {
                return self.end_copy();
            }
        }
        let Some(Copying { writer, .. }) = &mut self.copying else { return };
        let mut left = budget;
        let mut tables = self.given_up.iter_mut().chain(&mut self.open);
        let is_whole = tables.try_fold(true, |so_far, table| {
            Ok::<_, StateError>(so_far && table.write(&mut left, writer)?)
        });
        match is_whole {
            Ok(false) => {}
            Ok(true) => {
                if let Some(Copying { checkpoint, writer }) = self.copying.take() {
                    self.piece.deliver(checkpoint, writer.finish());
                }
                self.end_copy();
            }
            Err(error) => self.give_up_copy(error),
        }
    }

    #[cold]
    fn give_up_copy(&mut self, error: StateError) {
        if let Some(copying) = self.copying.take() {
            self.piece.decline(copying.checkpoint, error.into());
        }
        self.end_copy();
    }

    fn end_copy(&mut self) {
        self.copying = None;
        while let Some(table) = self.given_up.pop() {
            self.recycle(table.table);
        }
    }

    /// Fills the tables from a checkpoint, if there is one: watermark and next end are those of the subtask, or the lowest of
    /// all where there were more or fewer.
    pub(crate) fn restore(
        &mut self,
        context: &BuildContext,
        node: NodeId,
        expected: &TableHeader,
    ) -> Result<Option<(i64, i64)>> {
        restore_pieces(context, node, expected, |entry: TableEntry<K, A>| {
            let TableEntry { window, hash, key, accumulator, .. } = entry;
            let index = self.index_of(window.start).unwrap_or_else(|index| {
                self.insert(index, window);
                index
            });
            let table = &mut self.open[index].table;
            table.insert_unique(hash, (key, accumulator), |entry| entry.0.key_hash());
        })
    }
}

/// Reads this subtask's share of the pieces that all subtasks had.
pub(crate) fn restore_pieces<K: Key, A: StateValue>(
    context: &BuildContext,
    node: NodeId,
    expected: &TableHeader,
    mut take: impl FnMut(TableEntry<K, A>),
) -> Result<Option<(i64, i64)>> {
    let stage = &context.stage;
    let subtasks = context.restored_subtasks(node);
    let pieces = context.restored(node, PIECE);
    let error = |subtask: usize, cause: TableError| {
        context.piece_error(node, (PIECE, subtask), cause.into())
    };
    if pieces.len() < subtasks {
        return Err(error(pieces.len(), TableError::Missing).into());
    }
    let max_parallelism = stage.max_parallelism;
    let [subtask, parallelism] = [stage.subtask, stage.parallelism].map(|count| count as u16);
    let groups = KeyGroupRange::of(subtask, parallelism, max_parallelism)?;
    let share = Share { groups, max_parallelism };
    let own = (pieces.len() == stage.parallelism).then_some(stage.subtask);
    let mut lowest: Option<(i64, i64)> = None;
    for piece in pieces.iter().filter(|piece| own.is_none_or(|own| own == piece.subtask)) {
        let read = read_tables(&piece.bytes, expected, share, &mut take);
        let (watermark, next_ms) = read.map_err(|cause| error(piece.subtask, cause))?;
        let so_far = lowest.unwrap_or((i64::MAX, i64::MAX));
        lowest = Some((so_far.0.min(watermark), so_far.1.min(next_ms)));
    }
    Ok(lowest)
}
