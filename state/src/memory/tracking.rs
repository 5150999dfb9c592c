//! What a row store does for the persistent tier: which rows changed in which epoch, and writing
//! them out.
//!
//! ```text
//! release ─► changed (of the current epoch) ─barrier─► ended, ended .. ─beat─► TableStore ─► finish
//!                                                        └── archived early when the row is entered
//! ```
//! 1. A row that was changed is listed once an epoch, in the order of row numbers.
//! 2. A barrier puts the set of changed rows behind the ended ones and starts an empty one: O(1).
//! 3. Beats walk the oldest ended epoch and archive what is still pending: rows that were entered
//!    meanwhile are not, since they were archived before user code could change them again.
//! 4. A row that is removed while something of it may lie below leaves a record at once.
//!
//! **Invariants**
//! - `ended[i]` is the set of epoch `store.oldest_epoch() + i`; `changed` is that of the current one.
//! - A listed row is in the set of the epoch of its tag. A set may name rows that are not listed in
//!   its epoch any more (archived early, or free, or free and used again): the walk passes them by.
//! - At most [`ENDED_MAX`] epochs have ended and are not finished, so tags tell them apart.

use std::collections::VecDeque;
use std::ptr::NonNull;

use super::content::FieldWriter;
use super::dirty_rows::{DirtyRows, SpareChunks};
use super::registrar::StateField;
use super::row_header::{EpochTag, header_at_mut, key_at};
use crate::backend::{RowAddress, TableStore};
use crate::codec::{ArchiveBuffer, Record, RecordKind};
use crate::{Epoch, Key, KeyHash, StateError};

/// How many epochs may have ended without being finished.
pub(super) const ENDED_MAX: usize = 6;
const _: () = assert!(ENDED_MAX + 1 < EpochTag::EPOCHS);

/// See the module docs.
pub(super) struct Tracking {
    store: TableStore,
    changed: DirtyRows,
    ended: VecDeque<DirtyRows>,
    spare: SpareChunks,
    key_archive: ArchiveBuffer,
    value_archive: ArchiveBuffer,
    /// What went wrong where nothing could be returned; given at the next beat or barrier.
    failure: Option<StateError>,
}

impl Tracking {
    pub(super) fn new(store: TableStore) -> Self {
        Tracking {
            store,
            changed: DirtyRows::default(),
            ended: VecDeque::new(),
            spare: SpareChunks::default(),
            key_archive: ArchiveBuffer::default(),
            value_archive: ArchiveBuffer::default(),
            failure: None,
        }
    }

    /// What marks rows that change now.
    pub(super) fn current_tag(&self) -> EpochTag {
        EpochTag::of(self.store.current_epoch())
    }

    /// How many epochs have ended and are not finished.
    pub(super) fn ended_count(&self) -> usize {
        self.ended.len()
    }

    /// Lists a row in the current epoch.
    #[inline(always)]
    pub(super) fn list(&mut self, row: u32) {
        self.changed.insert(row, &mut self.spare);
    }

    /// Ends the current epoch.
    pub(super) fn barrier(&mut self) -> Epoch {
        assert!(self.ended.len() < ENDED_MAX, "tags tell {ENDED_MAX} ended epochs apart");
        self.ended.push_back(std::mem::take(&mut self.changed));
        self.store.barrier()
    }

    /// The oldest ended epoch and its next rows.
    #[inline]
    pub(super) fn next_rows(&self, out: &mut [u32]) -> Option<(Epoch, usize)> {
        let rows = self.ended.front()?;
        Some((self.store.oldest_epoch(), rows.next_rows(out)))
    }

    /// Rows of the oldest ended epoch before `row` are archived.
    pub(super) fn advance(&mut self, row: u32) {
        if let Some(rows) = self.ended.front_mut() {
            rows.advance(row, &mut self.spare);
        }
    }

    /// All rows of the oldest ended epoch are archived.
    pub(super) fn finish_oldest(&mut self) -> Result<(), StateError> {
        self.store.finish(self.store.oldest_epoch())?;
        if let Some(rows) = self.ended.pop_front() {
            rows.clear(&mut self.spare);
        }
        Ok(())
    }

    /// Gives what went wrong meanwhile.
    pub(super) fn check(&mut self) -> Result<(), StateError> {
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Keeps an error where none can be returned; the first one stays.
    #[cold]
    pub(super) fn fail(&mut self, error: StateError) {
        self.failure.get_or_insert(error);
    }

    /// The unfinished epoch of a listed row's tag.
    pub(super) fn epoch_of(&self, tag: EpochTag) -> Epoch {
        let (oldest, current) = (self.store.oldest_epoch(), self.store.current_epoch());
        (oldest.0..=current.0)
            .map(Epoch)
            .find(|epoch| EpochTag::of(*epoch) == tag)
            .expect("a listed row is listed in an unfinished epoch")
    }

    /// Writes what changed in a row, and takes it for written.
    ///
    /// # Safety
    ///
    /// `place` is a live row with a key of type `K` and these fields, and nothing else refers to its
    /// header or fields.
    #[inline]
    pub(super) unsafe fn archive_row<K: Key>(
        &mut self,
        epoch: Epoch,
        place: NonNull<u8>,
        fields: &[StateField],
    ) -> Result<(), StateError> {
        // SAFETY: by this function's contract.
        let key = unsafe { key_at::<K>(place) };
        // SAFETY: by this function's contract.
        let header = unsafe { header_at_mut(place) };
        let (presence, is_below) = (header.presence, header.is_below());
        let (hash, mut dirty) = (header.hash(), header.dirty);
        let Tracking { store, key_archive, value_archive, .. } = self;
        let group = store.group_of(key.group_hash(hash));
        let address = RowAddress { group, hash, key: key_archive.archive(key)? };
        store.row(epoch, address, |row| {
            if presence == 0 {
                // Pins alone keep the row: one record voids all of it.
                if is_below {
                    row.write(Record::remove(RecordKind::RemoveRow, 0, &[]));
                }
                return Ok(());
            }
            while dirty != 0 {
                let index = dirty.trailing_zeros();
                dirty &= dirty - 1;
                let field = &fields[index as usize];
                if presence & 1 << index == 0 {
                    if is_below {
                        row.write(Record::remove(RecordKind::RemoveState, index as u8, &[]));
                    }
                    continue;
                }
                let out =
                    &mut FieldWriter::new(row, value_archive, index as u8, is_below, field.ttl_ms);
                // SAFETY: the field's offset lies within the row.
                let field_place = unsafe { place.add(field.offset as usize) };
                // SAFETY: the presence bit is set, so the field holds a value of its type, which is
                // the one of its code; nothing else refers to it.
                unsafe { (field.code.archive_field)(field_place, out) }?;
            }
            Ok(())
        })?;
        header.set_archived(presence != 0);
        Ok(())
    }

    /// Writes that a row is gone that may lie below. What it owed an ended epoch is archived.
    pub(super) fn archive_removal<K: Key>(
        &mut self,
        key: &K,
        hash: KeyHash,
    ) -> Result<(), StateError> {
        let Tracking { store, key_archive, .. } = self;
        let group = store.group_of(key.group_hash(hash));
        let address = RowAddress { group, hash, key: key_archive.archive(key)? };
        store.row(store.current_epoch(), address, |row| {
            row.write(Record::remove(RecordKind::RemoveRow, 0, &[]));
            Ok(())
        })
    }
}
