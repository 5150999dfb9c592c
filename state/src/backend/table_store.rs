//! One resident table's way down: a delta an epoch, and reads of what is not resident.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use thalweg_io::memory::PageSupply;

use super::{
    BlockBytes, DELTA_BLOCK_BYTES, DeltaBlock, Epoch, PartitionLayout, Replacement, RowAddress,
    RowVisitor, ScanVisitor, SpareBlocks, Tier,
};
use crate::codec::{RowWriter, TableId};
use crate::key_group::key_group_of;
use crate::memory::prefetch_table::prefetch;
use crate::{KeyGroup, KeyGroupRange, KeyHash, StateError};

/// A table's end of the persistent tier.
#[derive(Debug)]
pub(crate) struct TableStore {
    table: TableId,
    layout: PartitionLayout,
    /// The unfinished epochs in order; the last one is the current epoch.
    deltas: VecDeque<Delta>,
    /// Empty blocks of epochs that are finished, for those to come: a barrier allocates nothing. An
    /// allocation of these 2.5 KiB took glibc milliseconds where lists had grown before, as it joined
    /// all the small pieces that they had given back.
    empty: Vec<Partitions>,
    /// Memory for blocks.
    spare: Arc<SpareBlocks>,
    tier: Rc<RefCell<dyn Tier>>,
}

/// The open blocks of one epoch.
#[derive(Debug)]
struct Delta {
    epoch: Epoch,
    partitions: Partitions,
    /// How many blocks went down.
    sent_count: usize,
}

/// A block a partition.
type Partitions = Box<[OpenBlock]>;

/// How many unfinished epochs a table has without allocating at a barrier.
const EPOCHS_EXPECTED: usize = 3;

#[derive(Debug, Default)]
struct OpenBlock {
    /// The rows, and behind them what a writer has left that panicked.
    bytes: Vec<u8>,
    /// How long the rows are.
    rows_end: usize,
    row_count: u32,
}

/// What a block has room for behind its rows before the next one is written.
const ROW_BYTES: usize = 512;
/// The room of a block with its first rows.
const FIRST_BYTES: usize = 4 << 10;

impl OpenBlock {
    /// Makes room: for few rows at first, then at once for all that a block takes, so that rows are
    /// copied once at most. Spare memory has room for all.
    #[cold]
    #[inline(never)]
    fn grow(&mut self, spare: &SpareBlocks) {
        if let Some(mut bytes) = spare.take() {
            bytes.extend_from_slice(&self.bytes);
            self.bytes = bytes;
        }
        let bytes = if self.bytes.is_empty() { FIRST_BYTES } else { DELTA_BLOCK_BYTES };
        self.bytes.reserve_exact((bytes + ROW_BYTES).saturating_sub(self.bytes.len()));
    }

    /// Fetches the memory that later rows of the partition are written to, which no one has touched
    /// for long: writing there without waited 10 to 20 ns a row. As much as the last row took.
    #[inline(always)]
    fn fetch_ahead(&self, row_bytes: usize) {
        let ahead = self.bytes.as_ptr().wrapping_add(self.rows_end + FETCH_BYTES_AHEAD);
        for offset in (0..row_bytes.min(FETCH_BYTES_MAX)).step_by(LINE_BYTES) {
            prefetch(ahead.wrapping_add(offset));
        }
    }
}

/// How far behind the last row memory is fetched.
const FETCH_BYTES_AHEAD: usize = 128;
/// How much is fetched for a row at most.
const FETCH_BYTES_MAX: usize = 512;
const LINE_BYTES: usize = 64;

fn empty_partitions(layout: PartitionLayout) -> Partitions {
    (0..layout.count()).map(|_| OpenBlock::default()).collect()
}

impl TableStore {
    pub(crate) fn new(
        table: TableId,
        layout: PartitionLayout,
        epoch: Epoch,
        tier: Rc<RefCell<dyn Tier>>,
    ) -> Self {
        let mut deltas = VecDeque::with_capacity(2 * EPOCHS_EXPECTED);
        deltas.push_back(Delta { epoch, partitions: empty_partitions(layout), sent_count: 0 });
        let empty = (1..EPOCHS_EXPECTED).map(|_| empty_partitions(layout)).collect();
        TableStore { table, layout, deltas, empty, spare: SpareBlocks::new(), tier }
    }

    /// The epoch in which changes happen now.
    #[inline]
    pub(crate) fn current_epoch(&self) -> Epoch {
        self.deltas.back().map_or(Epoch::FIRST, |delta| delta.epoch)
    }

    /// The oldest epoch that is not finished; the current one if all others are.
    #[inline]
    pub(crate) fn oldest_epoch(&self) -> Epoch {
        self.deltas.front().map_or(Epoch::FIRST, |delta| delta.epoch)
    }

    /// Ends the current epoch and returns it. Its records may be written until it is finished.
    pub(crate) fn barrier(&mut self) -> Epoch {
        let ended = self.current_epoch();
        let partitions = self.empty.pop().unwrap_or_else(|| empty_partitions(self.layout));
        self.deltas.push_back(Delta { epoch: ended.next(), partitions, sent_count: 0 });
        ended
    }

    /// Says that the epoch that [`Self::barrier`] will end, or a later one, will have all rows; see [`Tier::replace_all`].
    pub(crate) fn replace_all(&mut self, replacement: Replacement) -> bool {
        self.tier.borrow_mut().replace_all(self.table, self.current_epoch(), replacement)
    }

    /// The key group of a row whose group is decided by this hash (see `Schema::group_hash`).
    #[inline]
    pub(crate) fn group_of(&self, group_hash: KeyHash) -> KeyGroup {
        key_group_of(group_hash, self.layout.max_parallelism())
    }

    /// Writes one row's records of an unfinished epoch.
    ///
    /// # Errors
    ///
    /// What `write` returns (the row leaves nothing then), or the tier's when a block goes down.
    #[inline]
    pub(crate) fn row(
        &mut self,
        epoch: Epoch,
        address: RowAddress<'_>,
        write: impl FnOnce(&mut RowWriter<'_>) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        let partition = self.layout.partition_of(address.group);
        let oldest = self.oldest_epoch().0;
        let delta = (epoch.0.checked_sub(oldest))
            .and_then(|index| self.deltas.get_mut(index as usize))
            .expect("records are written into unfinished epochs only");
        let block = &mut delta.partitions[partition];
        block.bytes.truncate(block.rows_end);
        if block.bytes.capacity() - block.rows_end < ROW_BYTES {
            block.grow(&self.spare);
        }
        let mut row = RowWriter::begin(&mut block.bytes, address.group, address.hash, address.key);
        write(&mut row)?;
        block.row_count += u32::from(row.finish());
        let row_bytes = block.bytes.len() - block.rows_end;
        block.rows_end += row_bytes;
        block.fetch_ahead(row_bytes);
        if block.rows_end >= DELTA_BLOCK_BYTES {
            return self.send(epoch, partition);
        }
        Ok(())
    }

    /// All of the oldest unfinished epoch is written.
    ///
    /// # Errors
    ///
    /// The tier's.
    pub(crate) fn finish(&mut self, epoch: Epoch) -> Result<(), StateError> {
        assert_eq!(epoch, self.oldest_epoch(), "epochs are finished in order");
        assert!(epoch < self.current_epoch(), "the current epoch has to be ended first");
        for partition in 0..self.layout.count() {
            self.send(epoch, partition)?;
        }
        if let Some(Delta { partitions, sent_count, .. }) = self.deltas.pop_front() {
            // Its blocks were sent, so they are empty.
            self.empty.push(partitions);
            self.spare.keep(sent_count);
        }
        self.tier.borrow_mut().finish(self.table, epoch)
    }

    #[cold]
    #[inline(never)]
    fn send(&mut self, epoch: Epoch, partition: usize) -> Result<(), StateError> {
        let index = (epoch.0 - self.oldest_epoch().0) as usize;
        let block = &mut self.deltas[index].partitions[partition];
        let mut open = std::mem::take(block);
        if open.rows_end == 0 {
            return Ok(());
        }
        open.bytes.truncate(open.rows_end);
        self.deltas[index].sent_count += 1;
        self.tier.borrow_mut().append(DeltaBlock {
            table: self.table,
            epoch,
            partition: partition as u16,
            row_count: open.row_count,
            bytes: BlockBytes::new(open.bytes, &self.spare),
        })
    }

    /// Rows last written in this epoch or before may be dropped from memory.
    pub(crate) fn readable_epoch(&self) -> Epoch {
        self.tier.borrow().readable_epoch()
    }

    /// Whether each epoch is to have all rows; see [`Tier::is_full`].
    pub(crate) fn is_full(&self) -> bool {
        self.tier.borrow().is_full()
    }

    /// Where the resident table gets huge pages from.
    pub(crate) fn page_supply(&self) -> Option<PageSupply> {
        self.tier.borrow().page_supply()
    }

    /// How much memory the resident rows may take, given what they take; `None` for any.
    pub(crate) fn share_of_budget(&self, used_bytes: u64) -> Option<u64> {
        let share = self.tier.borrow_mut().share_of_budget(self.table, used_bytes);
        share.inspect(|share_bytes| self.spare.limit(*share_bytes))
    }

    /// Whether anything of this table lies below.
    pub(crate) fn has_rows(&self) -> bool {
        self.tier.borrow().has_rows(self.table)
    }

    /// False if the row is certainly not below.
    pub(crate) fn may_hold(&self, group: KeyGroup, hash: KeyHash) -> bool {
        self.tier.borrow().may_hold(self.table, group, hash)
    }

    /// Reads rows from below, those of one call together.
    ///
    /// # Errors
    ///
    /// The tier's, and what `visit` returns.
    pub(crate) fn read_rows(
        &mut self,
        rows: &[RowAddress<'_>],
        visit: RowVisitor<'_>,
    ) -> Result<(), StateError> {
        self.tier.borrow_mut().read_rows(self.table, rows, visit)
    }

    /// Visits all rows of the slot's key groups below.
    ///
    /// # Errors
    ///
    /// The tier's, and what `visit` returns.
    pub(crate) fn scan(
        &mut self,
        groups: KeyGroupRange,
        visit: ScanVisitor<'_>,
    ) -> Result<(), StateError> {
        self.tier.borrow_mut().scan(self.table, groups, visit)
    }

    /// Tells what time it is; what has expired by then need not be read.
    pub(crate) fn set_now_ms(&mut self, now_ms: i64) {
        self.tier.borrow_mut().set_now_ms(now_ms);
    }

    /// The slot's key groups.
    pub(crate) fn groups(&self) -> KeyGroupRange {
        self.layout.groups()
    }
}
