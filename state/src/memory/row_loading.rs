//! Rows that are not resident: restored and not read yet, or evicted.
//!
//! ```text
//! miss ─► request: an empty row, marked ─► load_requested: all of them are read together ─► loaded
//!                                                                └── nothing below ─► the row goes again
//! ```
//! 1. A batch's misses are requested one after the other and read with one call. What is entered
//!    without having been requested is read on the spot, and counted.
//! 2. A row that a restored timer pins is there without having been read: it is requested with its
//!    batch, or read when it is entered, as others are.
//! 3. [`RowStore::restore_step`] reads the rest in the background, a key group at a time, until all
//!    is resident and misses are misses again.
//!
//! **Invariants**
//! - A row with the tag `REQUESTED` is in `requested`, has no content, and is not lent before it is
//!   loaded. So is one with the tag `UNREAD`, but that it is pinned, and not in `requested`.
//! - What is read has been written in a finished epoch. A row that changed after it is resident, or
//!   its key is among the removed ones.

use std::ptr::NonNull;

use super::registrar::StateField;
use super::residence::heap_of;
use super::row_cursor::{RowCursor, RowId};
use super::row_header::{EpochTag, RowHeader, header_at_mut};
use super::row_store::{RowStore, drop_fields};
use crate::codec::{Record, decode_row};
use crate::{Epoch, Key, KeyGroupRange, KeyHash, Namespaced, StateError};

impl<K: Key> RowStore<K> {
    /// Whether rows may lie in the persistent tier alone, so that it pays to
    /// [`request`](Self::request) the keys of a batch.
    #[inline]
    pub fn has_unloaded(&self) -> bool {
        self.tracking.as_ref().is_some_and(|tracking| tracking.has_unloaded)
    }

    /// How many rows have left memory to make room.
    pub fn evicted_rows(&self) -> u64 {
        self.tracking.as_ref().map_or(0, |tracking| tracking.evicted_count)
    }

    /// How often a row was entered that had to be read for it alone.
    pub fn synchronous_misses(&self) -> u64 {
        self.tracking.as_ref().map_or(0, |tracking| tracking.synchronous_misses)
    }

    /// The row of a key, if it has one; read if it is not resident.
    ///
    /// # Errors
    ///
    /// Those of [`load_requested`](Self::load_requested).
    #[inline]
    pub fn find(&mut self, hash: KeyHash, key: &K) -> Result<Option<RowId>, StateError> {
        if self.has_unloaded() {
            self.request(hash, key)?;
            self.load_requested()?;
        }
        Ok(self.find_resident(hash, |found| found == key))
    }

    /// Says that a key is about to be entered: if its row has to be read, it will be with those of
    /// the other keys that are requested until [`load_requested`](Self::load_requested).
    ///
    /// # Errors
    ///
    /// [`StateError::Archive`] when rkyv refuses the key, [`StateError::TooManyKeys`].
    pub fn request(&mut self, hash: KeyHash, key: &K) -> Result<(), StateError> {
        if !self.has_unloaded() {
            return Ok(());
        }
        if let Some(row) = self.find_resident(hash, |found| found == key) {
            if self.header(row.0).is_some_and(|header| header.tag() == EpochTag::UNREAD) {
                self.mark_requested(row.0);
            }
            return Ok(());
        }
        let Some(tracking) = &mut self.tracking else { return Ok(()) };
        if tracking.may_lie_below(hash, key)? {
            self.insert_requested(hash, key.clone())?;
        }
        Ok(())
    }

    /// Reads the rows of all requested keys that are not resident, together.
    ///
    /// # Errors
    ///
    /// Those of the persistent tier, and [`StateError::Unarchive`] when what it gives is no content
    /// of the states. None of the requested rows is resident then.
    pub fn load_requested(&mut self) -> Result<(), StateError> {
        self.load_rows(None)
    }

    /// Reads the rows of the next key groups that are not resident; true if there are more to come.
    /// To be called between records after a restore, where memory is not limited.
    ///
    /// # Errors
    ///
    /// Those of [`load_requested`](Self::load_requested). Rows read before the one that failed are
    /// resident.
    pub fn restore_step(&mut self) -> Result<bool, StateError> {
        let Some(tracking) = &mut self.tracking else { return Ok(false) };
        let Some(group) = tracking.next_unloaded_group() else { return Ok(false) };
        self.load_groups(group, |_, _| Ok::<_, StateError>(()))?;
        let Some(tracking) = &mut self.tracking else { return Ok(false) };
        Ok(tracking.group_loaded())
    }

    /// Visits the rows that are not resident. Where memory is not limited they are afterwards;
    /// where it is, those stay that the visit has changed, and those that fit.
    pub(super) fn visit_unloaded<E: From<StateError>>(
        &mut self,
        mut visit: impl FnMut(RowCursor<'_>, &K) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.tracking.as_ref().is_some_and(|tracking| tracking.residence.is_some()) {
            return self.visit_evicted(visit);
        }
        while let Some(tracking) = &self.tracking
            && let Some(groups) = tracking.next_unloaded_group()
        {
            self.load_groups(groups, |rows, row| rows.visit_row(row, &mut visit))?;
            if let Some(tracking) = &mut self.tracking {
                tracking.group_loaded();
            }
        }
        Ok(())
    }

    fn visit_evicted<E: From<StateError>>(
        &mut self,
        mut visit: impl FnMut(RowCursor<'_>, &K) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(tracking) = self.tracking.as_ref().filter(|tracking| tracking.has_unloaded) else {
            return Ok(());
        };
        for group in tracking.groups().groups() {
            let groups = KeyGroupRange { start: group.0, end: group.0 + 1 };
            self.load_groups(groups, |rows, row| {
                rows.visit_row(row, &mut visit)?;
                if rows.exceeds_share() && rows.is_idle(row) {
                    rows.discard_row(row);
                }
                Ok::<_, E>(())
            })?;
        }
        Ok(())
    }

    /// Whether a row can be dropped that was read and has not changed since.
    fn is_idle(&self, row: u32) -> bool {
        self.header(row).is_some_and(|header| {
            header.is_live() && !header.is_pinned() && header.dirty == 0 && header.is_below()
        })
    }

    /// Adds a row that is not resident, read if it lies below.
    pub(super) fn add_unloaded(&mut self, hash: KeyHash, key: K) -> Result<RowId, StateError> {
        let Some(tracking) = &mut self.tracking else { return self.insert_row(hash, key) };
        if !tracking.may_lie_below(hash, &key)? {
            return self.insert_row(hash, key);
        }
        tracking.synchronous_misses += 1;
        let row = self.insert_requested(hash, key)?;
        self.load_rows(Some(row.0))?;
        Ok(row)
    }

    /// The row of a key, with one more pin, added if there is none. If it may lie below, it is not
    /// read for that.
    pub(crate) fn pin_unread(&mut self, hash: KeyHash, key: K) -> Result<RowId, StateError> {
        if let Some(row) = self.find_resident(hash, |found| *found == key) {
            self.resident_header(row.0).pin();
            return Ok(row);
        }
        let is_unread = match &mut self.tracking {
            Some(tracking) => tracking.has_unloaded && tracking.may_lie_below(hash, &key)?,
            None => false,
        };
        let row = self.insert_row(hash, key)?;
        let header = self.resident_header(row.0);
        header.pin();
        if is_unread {
            header.set_tag(EpochTag::UNREAD);
        }
        Ok(row)
    }

    /// Pins a row that is pinned already once more.
    pub(crate) fn pin(&mut self, row: RowId) {
        self.resident_header(row.0).pin();
    }

    /// Undoes one pin of a row that has others.
    pub(crate) fn unpin(&mut self, row: RowId) {
        self.resident_header(row.0).unpin();
    }

    /// Loads a requested row, and all others, or an unread one, before it is lent.
    pub(super) fn load_for(&mut self, row: u32) -> Result<(), StateError> {
        if self.resident_header(row).tag() == EpochTag::UNREAD {
            if !self.has_unloaded() {
                // All that lies below was read, and nothing of this row.
                self.resident_header(row).set_tag(EpochTag::NONE);
                return Ok(());
            }
            if let Some(tracking) = &mut self.tracking {
                tracking.synchronous_misses += 1;
            }
            self.mark_requested(row);
        }
        self.load_rows(Some(row))
    }

    fn insert_requested(&mut self, hash: KeyHash, key: K) -> Result<RowId, StateError> {
        let row = self.insert_row(hash, key)?;
        self.mark_requested(row.0);
        Ok(row)
    }

    fn mark_requested(&mut self, row: u32) {
        if let Some(tracking) = &mut self.tracking {
            tracking.requested.push(row);
            self.resident_header(row).set_tag(EpochTag::REQUESTED);
        }
    }

    /// The header of a row that was handed out.
    fn resident_header(&mut self, row: u32) -> &mut RowHeader {
        assert!(row < self.arena.len(), "row {row} was never handed out");
        // SAFETY: just checked.
        let place = unsafe { self.arena.at(row) };
        // SAFETY: rows handed out have a header; no cursor lives.
        unsafe { header_at_mut(place) }
    }

    /// Reads all requested rows; those with nothing below go again, but for `kept`.
    fn load_rows(&mut self, kept: Option<u32>) -> Result<(), StateError> {
        self.drop_partly_loaded();
        let RowStore { arena, tracking: Some(tracking), fields, operator, .. } = self else {
            return Ok(());
        };
        if tracking.requested.is_empty() {
            return Ok(());
        }
        let places: Vec<NonNull<u8>> = tracking
            .requested
            .iter()
            // SAFETY: requested rows were handed out.
            .map(|row| unsafe { arena.at(*row) })
            .collect();
        tracking.set_now_ms(operator.now_ms());
        let mut loaded_bytes = vec![0; places.len()];
        let result = tracking.read_requested::<K>(&places, &mut |number, record| {
            loaded_bytes[number] += record.sub.len() + record.value.len();
            // SAFETY: requested rows are live and of this store; no cursor lives.
            unsafe { load_record(places[number], fields, record) }
        });
        let requested = std::mem::take(&mut tracking.requested);
        for (row, loaded_bytes) in requested.into_iter().zip(loaded_bytes) {
            self.settle_loaded(row, result.is_ok().then_some(loaded_bytes), kept);
        }
        result
    }

    /// A load that panicked has left content in requested rows: it is loaded again.
    fn drop_partly_loaded(&mut self) {
        let RowStore { arena, tracking: Some(tracking), fields, .. } = self else { return };
        tracking.requested.retain(|row| {
            // SAFETY: requested rows were handed out.
            let place = unsafe { arena.at(*row) };
            // SAFETY: rows handed out have a header; no cursor lives.
            let header = unsafe { header_at_mut(place) };
            let is_requested = header.is_live() && header.tag() == EpochTag::REQUESTED;
            if is_requested {
                let present = std::mem::take(&mut header.presence);
                // SAFETY: the row is live, with these fields, which are absent from now on.
                unsafe { drop_fields(place, present, fields) };
            }
            is_requested
        });
    }

    /// What becomes of a row after so many bytes of records were read, or reading failed.
    fn settle_loaded(&mut self, row: u32, loaded_bytes: Option<usize>, kept: Option<u32>) {
        let is_full = self.tracking.as_ref().is_some_and(|tracking| tracking.is_full);
        let header = self.resident_header(row);
        let (is_found, is_pinned) = (header.presence != 0, header.is_pinned());
        header.set_archived(is_found && !is_full);
        header.set_referenced(true);
        if let Some(loaded_bytes) = loaded_bytes
            && (is_found || is_pinned || kept == Some(row))
        {
            self.note_loaded(row, loaded_bytes);
            return;
        }
        if is_pinned {
            self.forget_content(row);
        } else {
            self.discard_row(row);
        }
    }

    /// Takes note of what a row owns that was read.
    fn note_loaded(&mut self, row: u32, loaded_bytes: usize) {
        let RowStore { arena, tracking: Some(tracking), fields, .. } = self else { return };
        if let Some(residence) = &mut tracking.residence {
            // SAFETY: the row was handed out, since it was read.
            let place = unsafe { arena.at(row) };
            // SAFETY: the row is live and of this store; no cursor lives.
            let heap = unsafe { heap_of::<K>(place, fields) };
            residence.note(row, Epoch(0), heap.bytes(loaded_bytes));
        }
    }

    /// Makes a row that was not read to the end an unread one.
    #[cold]
    fn forget_content(&mut self, row: u32) {
        let header = self.resident_header(row);
        let present = std::mem::take(&mut header.presence);
        header.set_archived(false);
        header.set_tag(EpochTag::UNREAD);
        // SAFETY: the row was handed out: its header was just looked at.
        let place = unsafe { self.arena.at(row) };
        // SAFETY: the row is live, with these fields, which are absent from now on.
        unsafe { drop_fields(place, present, &self.fields) };
    }

    /// Reads those rows of key groups that are not resident, and calls `visit` with each.
    pub(super) fn load_groups<E: From<StateError>>(
        &mut self,
        groups: KeyGroupRange,
        mut visit: impl FnMut(&mut Self, u32) -> Result<(), E>,
    ) -> Result<(), E> {
        self.load_requested()?;
        let Some(tracking) = &mut self.tracking else { return Ok(()) };
        tracking.set_now_ms(self.operator.now_ms());
        let scanned = tracking.scan(groups)?;
        let mut rest = scanned.as_slice();
        while !rest.is_empty() {
            let encoded = decode_row(&mut rest).expect("rows were encoded just now");
            let key = K::from_archived(encoded.key)?;
            if let Some(RowId(row)) = self.find_resident(encoded.hash, |found| *found == key) {
                if self.resident_header(row).tag() == EpochTag::UNREAD {
                    self.load_scanned(row, encoded.records())?;
                    visit(self, row)?;
                }
                continue;
            }
            if let Some(tracking) = &self.tracking
                && tracking.is_removed(encoded.hash, encoded.key)
            {
                continue;
            }
            let row = self.insert_row(encoded.hash, key)?.0;
            self.load_scanned(row, encoded.records())?;
            visit(self, row)?;
        }
        Ok(())
    }

    fn load_scanned<'r>(
        &mut self,
        row: u32,
        mut records: impl Iterator<Item = Record<'r>>,
    ) -> Result<(), StateError> {
        // SAFETY: the row was handed out.
        let place = unsafe { self.arena.at(row) };
        let mut loaded_bytes = 0;
        let result = records.try_for_each(|record| {
            loaded_bytes += record.sub.len() + record.value.len();
            // SAFETY: the row was just made, is live and of this store; no cursor lives.
            unsafe { load_record(place, &self.fields, &record) }
        });
        self.settle_loaded(row, result.is_ok().then_some(loaded_bytes), None);
        result
    }
}

impl<K: Key, W: Key> RowStore<Namespaced<K, W>> {
    /// The row of a key in a namespace, if it has one; `key_hash` is the key's own. Read if it is not
    /// resident.
    ///
    /// # Errors
    ///
    /// Those of [`load_requested`](Self::load_requested).
    #[inline]
    pub fn find_namespaced(
        &mut self,
        key_hash: KeyHash,
        key: &K,
        namespace: &W,
    ) -> Result<Option<RowId>, StateError> {
        let hash = Namespaced::<K, W>::hash_of(key_hash, namespace);
        let equals = |found: &Namespaced<K, W>| found.namespace == *namespace && found.key == *key;
        match self.find_resident(hash, equals) {
            None if self.has_unloaded() => {
                let key = Namespaced { key: key.clone(), namespace: namespace.clone() };
                self.find(hash, &key)
            }
            found => Ok(found),
        }
    }
}

/// Takes a record into a row; one of a state that is not registered any more is passed by.
///
/// # Safety
///
/// `place` is a live row with these fields, and nothing else refers to its header or fields.
unsafe fn load_record(
    place: NonNull<u8>,
    fields: &[StateField],
    record: &Record<'_>,
) -> Result<(), StateError> {
    let Some(index) = fields.iter().position(|field| field.number == record.state) else {
        return Ok(());
    };
    let field = &fields[index];
    // SAFETY: by this function's contract.
    let header = unsafe { header_at_mut(place) };
    let is_present = header.presence & 1 << index != 0;
    // SAFETY: the field's offset lies within the row.
    let field_place = unsafe { place.add(field.offset as usize) };
    // SAFETY: the presence bit tells whether the field holds a value of its type, which is the one
    // of its code; nothing else refers to it.
    if unsafe { (field.code.load_field)(field_place, is_present, record, &field.reading) }? {
        header.presence |= 1 << index;
    }
    Ok(())
}
