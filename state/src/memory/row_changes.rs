//! The changes of a row store on their way to the persistent tier: barriers, beats, and the rows
//! that cannot wait for them.

use super::row_eviction::MemoryPressure;
use super::row_header::{EpochTag, header_at, header_at_mut, key_at};
use super::row_store::RowStore;
use super::tracking::{ENDED_MAX, Tracking};
use crate::backend::{OpenedTable, StateRequest, StateVersions, TableRequest, TableStore};
use crate::codec::StateIndex;
use crate::{Epoch, Key, LsmStore, SchemaDescription, StateError, StateRegistrar};

/// How many rows are looked up in the set of changed ones at a time.
const BATCH: usize = 64;
/// How many rows are fetched ahead of the one that is archived.
const AHEAD: usize = 16;

/// What is left to do after a beat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many rows the beat looked at.
    pub rows: usize,
    /// How many epochs have ended and are not finished.
    pub epochs_unfinished: usize,
    /// Whether memory is short, where it is limited.
    pub memory: MemoryPressure,
}

impl Progress {
    /// Whether all ended epochs are finished.
    pub fn is_done(&self) -> bool {
        self.epochs_unfinished == 0
    }
}

impl<K: Key> RowStore<K> {
    /// A store whose changes go to a table of the persistent tier, and that has what the table has:
    /// rows are read when they are entered or [requested](Self::request), the rest by
    /// [`restore_step`](Self::restore_step).
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); and those of the persistent tier where the table is open already, or
    /// was written with types that cannot become those of now.
    pub fn new_in(
        registrar: StateRegistrar,
        store: &LsmStore,
        table: &str,
    ) -> Result<Self, StateError> {
        let key = SchemaDescription::of::<K>();
        let states: Vec<StateRequest<'_>> = registrar
            .states()
            .map(|state| StateRequest { name: state.name(), schema: state.schema() })
            .collect();
        let request = TableRequest { name: table, key: &key, states: &states };
        let OpenedTable { store, states, versions } = store.table(&request)?;
        RowStore::attached_with(registrar, store, states.iter().copied().zip(versions))
    }

    /// As [`new_in`](Self::new_in), with an open table and the numbers that the states have in it.
    #[cfg(test)]
    pub(crate) fn attached(
        registrar: StateRegistrar,
        table: TableStore,
        numbers: &[StateIndex],
    ) -> Result<Self, StateError> {
        let numbers = numbers.iter().map(|number| (*number, StateVersions::default()));
        RowStore::attached_with(registrar, table, numbers)
    }

    fn attached_with(
        registrar: StateRegistrar,
        table: TableStore,
        numbers: impl ExactSizeIterator<Item = (StateIndex, StateVersions)>,
    ) -> Result<Self, StateError> {
        let mut rows = RowStore::new(registrar)?;
        assert_eq!(rows.fields.len(), numbers.len(), "each state has a number");
        for (field, (number, versions)) in rows.fields.iter_mut().zip(numbers) {
            field.number = number;
            field.reading.versions = versions;
        }
        if let Some(supply) = table.page_supply() {
            rows.set_page_supply(supply);
        }
        let tracking = Tracking::new(table);
        rows.epoch_tag = tracking.change_tag();
        let is_full = tracking.is_full;
        rows.tracking = Some(Box::new(tracking));
        while is_full && rows.restore_step()? {}
        Ok(rows)
    }

    /// Ends the current epoch and returns it: all changes until now belong to it or to older ones,
    /// all later ones do not. Takes the same short time for any number of changes, unless six ended
    /// epochs wait for their beats already: then the oldest is finished first. With
    /// [full checkpoints](crate::LsmOptions::full_checkpoints) it is a pass over the rows, and no ended
    /// epoch may wait. `None` where nothing is attached. Rows have to be released by then.
    ///
    /// # Errors
    ///
    /// What went wrong when rows were removed since the last call or beat; those of
    /// [`beat`](Self::beat) where an epoch is to be finished.
    pub fn barrier(&mut self) -> Result<Option<Epoch>, StateError> {
        let ended_max =
            if self.tracking.as_ref().is_some_and(|t| t.is_full) { 1 } else { ENDED_MAX };
        while self.tracking.as_ref().is_some_and(|tracking| tracking.ended_count() >= ended_max) {
            self.beat(usize::MAX)?;
        }
        self.list_all_if_full();
        let Some(tracking) = &mut self.tracking else { return Ok(None) };
        tracking.check(&self.operator)?;
        let ended = tracking.barrier();
        self.epoch_tag = tracking.change_tag();
        Ok(Some(ended))
    }

    /// Writes up to `rows_max` changed rows of ended epochs to the persistent tier, in order of
    /// epochs; to be called between records until all are finished. Where memory is limited it is to
    /// be called all the time: it also makes room, looking at as many rows.
    ///
    /// # Errors
    ///
    /// [`StateError::Archive`] when rkyv refuses a key or a value, those of the persistent tier, and
    /// what went wrong when rows were removed since the last call. What is archived stays so; the
    /// row that failed is the next one of the next beat.
    pub fn beat(&mut self, rows_max: usize) -> Result<Progress, StateError> {
        let mut rows = 0;
        while let Some(tracking) = &mut self.tracking {
            tracking.check(&self.operator)?;
            tracking.forget_removed();
            let mut next = [0; BATCH];
            let wanted = BATCH.min(rows_max - rows);
            let Some((epoch, count)) = tracking.next_rows(&mut next[..wanted]) else { break };
            if wanted == 0 {
                break;
            }
            if count == 0 {
                tracking.finish_oldest()?;
                continue;
            }
            self.archive_listed(epoch, &next[..count])?;
            rows += count;
        }
        let unfinished = self.tracking.as_ref().map_or(0, |tracking| tracking.ended_count());
        let memory = self.make_room(rows_max);
        Ok(Progress { rows, epochs_unfinished: unfinished, memory })
    }

    /// Lists all rows in the current epoch, with all states, where epochs are full.
    fn list_all_if_full(&mut self) {
        let RowStore { arena, tracking: Some(tracking), .. } = self else { return };
        if !tracking.is_full {
            return;
        }
        let tag = tracking.current_tag();
        for row in 0..arena.len() {
            // SAFETY: the row is below the arena's length.
            let place = unsafe { arena.at(row) };
            // SAFETY: headers of rows handed out are initialised; no cursor lives.
            let header = unsafe { header_at_mut(place) };
            if !header.is_live() || header.is_unread() {
                continue;
            }
            debug_assert!(header.tag() == EpochTag::NONE, "the epoch before is finished");
            header.dirty = header.presence;
            if header.presence != 0 {
                tracking.list_now(row);
                header.set_tag(tag);
            }
        }
    }

    /// Archives those of the rows that are still listed in an epoch.
    fn archive_listed(&mut self, epoch: Epoch, rows: &[u32]) -> Result<(), StateError> {
        let RowStore { arena, tracking: Some(tracking), fields, content_hints, .. } = self else {
            return Ok(());
        };
        let fetch = |row: &u32| {
            // SAFETY: rows that were ever listed were handed out by the arena.
            unsafe { arena.fetch(*row) };
        };
        let fetch_content = |row: &u32| {
            if !content_hints.is_empty() {
                // SAFETY: rows that were ever listed were handed out by the arena.
                let place = unsafe { arena.at(*row) };
                // SAFETY: headers of rows handed out are initialised; no cursor lives.
                unsafe { content_hints.hint(place) };
            }
        };
        rows.iter().take(AHEAD).for_each(fetch);
        rows.iter().take(AHEAD / 2).for_each(fetch_content);
        let tag = EpochTag::of(epoch);
        for (index, row) in rows.iter().enumerate() {
            rows.get(index + AHEAD).into_iter().for_each(fetch);
            rows.get(index + AHEAD / 2).into_iter().for_each(fetch_content);
            // SAFETY: rows that were ever listed were handed out by the arena.
            let place = unsafe { arena.at(*row) };
            // SAFETY: headers of rows handed out are initialised; no cursor lives.
            if unsafe { header_at(place) }.tag() == tag {
                // SAFETY: a listed row is live, and of this store; no cursor lives.
                unsafe { tracking.archive_row::<K>(epoch, (*row, place), fields) }?;
            }
            tracking.advance(row + 1);
        }
        Ok(())
    }

    /// Takes note of the use of a row: lists it in the current epoch if it has changed.
    #[inline(always)]
    pub(super) fn note_use(&mut self, row: u32) {
        let RowStore { arena, tracking: Some(tracking), epoch_tag, .. } = self else { return };
        if row >= arena.len() {
            return;
        }
        // SAFETY: just checked.
        let place = unsafe { arena.at(row) };
        // SAFETY: headers of rows handed out are initialised; no cursor lives.
        let header = unsafe { header_at_mut(place) };
        if header.tag() == EpochTag::NONE && header.dirty != 0 {
            tracking.list(row);
            header.set_tag(*epoch_tag);
        }
        if !header.is_referenced() {
            header.set_referenced(true);
        }
    }

    /// Does what a row needs before it is lent: content that is still to be read is, and what it
    /// owes an ended epoch is archived before it changes again.
    ///
    /// # Safety
    ///
    /// The row is live.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn settle_row(&mut self, row: u32) -> Result<(), StateError> {
        // SAFETY: live rows are below the arena's length.
        let place = unsafe { self.arena.at(row) };
        // SAFETY: the row is live, so it has a header; no cursor lives.
        let tag = unsafe { header_at(place) }.tag();
        if tag == EpochTag::REQUESTED || tag == EpochTag::UNREAD {
            return self.load_for(row);
        }
        let RowStore { tracking: Some(tracking), fields, operator, .. } = self else {
            return Ok(());
        };
        tracking.check(operator)?;
        let epoch = tracking.epoch_of(tag);
        // SAFETY: the row is live, and of this store; no cursor lives.
        unsafe { tracking.archive_row::<K>(epoch, (row, place), fields) }
    }

    /// Writes that a row is about to be removed, if something of it may lie below.
    ///
    /// # Safety
    ///
    /// The row is live.
    #[inline]
    pub(super) unsafe fn archive_removal(&mut self, row: u32) {
        // SAFETY: by this function's contract.
        let result = unsafe { self.try_archive_removal(row) };
        if let (Err(error), Some(tracking)) = (result, &mut self.tracking) {
            tracking.fail(error);
        }
    }

    /// # Safety
    ///
    /// The row is live.
    unsafe fn try_archive_removal(&mut self, row: u32) -> Result<(), StateError> {
        // SAFETY: live rows are below the arena's length.
        let place = unsafe { self.arena.at(row) };
        // SAFETY: the row is live, so it has a header; no cursor lives.
        let tag = unsafe { header_at(place) }.tag();
        if tag == EpochTag::REQUESTED || tag == EpochTag::UNREAD {
            return Ok(()); // It was never lent: whatever lies below stays.
        }
        if tag != EpochTag::NONE && tag != self.epoch_tag {
            // SAFETY: the row is live.
            unsafe { self.settle_row(row) }?;
        }
        let Some(tracking) = &mut self.tracking else { return Ok(()) };
        // SAFETY: as above.
        let header = unsafe { header_at(place) };
        if header.is_below() {
            // SAFETY: the row is live, and of this store.
            tracking.archive_removal(unsafe { key_at::<K>(place) }, header.hash())?;
        }
        Ok(())
    }
}
