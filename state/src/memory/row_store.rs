//! The keyed state of one operator in one subtask: a prefetchable index and the rows behind it.
//!
//! **Invariants** (beyond those of the module)
//! - The hash in a live row's header is the one its index entry has, so a row can be unindexed
//!   without its key. The free rows are a list that ends with `NO_ROW`.
//! - All of this holds whatever `Eq`, `Clone` and `Drop` of user types do, and whenever they panic:
//!   user code runs before a change or after it, never within one. Wrong equality gives wrong
//!   answers, not undefined behaviour.

use std::marker::PhantomData;
use std::mem::needs_drop;
use std::ptr::{NonNull, drop_in_place};
use std::sync::Arc;

use thalweg_io::memory::PageSupply;

use super::content_hints::ContentHints;
use super::expiring::Purged;
use super::prefetch_table::{DEEP_BYTES, PrefetchTable};
use super::registrar::{OperatorInfo, StateField, StateInfo, StateRegistrar};
use super::row_arena::{ROWS_MAX, RowArena};
use super::row_cursor::{RowCursor, RowId, no_such_row};
use super::row_header::{EpochTag, KEY_OFFSET, RowHeader, header_at, header_at_mut, key_at};
use super::tracking::Tracking;
use crate::{Key, KeyHash, Namespaced, StateError};

/// The end of the list of free rows; not a row, by `ROWS_MAX`.
pub(super) const NO_ROW: u32 = u32::MAX;
const _: () = assert!(ROWS_MAX < NO_ROW);

#[derive(Clone, Copy)]
pub(super) struct IndexEntry {
    pub(super) hash: KeyHash,
    pub(super) row: u32,
}

/// All keyed state of one operator in one subtask, in memory, and where something is attached below
/// also on its way to files.
///
/// Per record: [`enter`](Self::enter), run user code with the cursor, [`release`](Self::release).
/// Per batch: [`is_deep`](Self::is_deep), and if so [`hint`](Self::hint)
/// [`HINT_AHEAD`](Self::HINT_AHEAD) records ahead and [`hint_row`](Self::hint_row) half as many.
pub struct RowStore<K: Key> {
    pub(super) index: PrefetchTable<IndexEntry>,
    pub(super) arena: RowArena,
    pub(super) fields: Box<[StateField]>,
    pub(super) content_hints: ContentHints,
    /// Whether a state has a TTL, so that rows are to be purged.
    has_ttl: bool,
    /// What marks rows that change now; `NONE` where nothing is attached, so that no row looks
    /// like one of another epoch, and where epochs are full, so that changes need no mark.
    pub(super) epoch_tag: EpochTag,
    /// What there is to do for the persistent tier; `None` where nothing is attached.
    pub(super) tracking: Option<Box<Tracking>>,
    pub(super) operator: Arc<OperatorInfo>,
    /// Head of the list of free rows.
    free_head: u32,
    live_count: usize,
    /// Rows own keys.
    keys: PhantomData<K>,
}

impl<K: Key> RowStore<K> {
    /// How many records before its use the index bucket of a hash is best hinted; the row half as
    /// many. With 32 in the place of 16 an update at 10 M keys took 73 ns in the place of 91, with 64
    /// as long as with 32.
    pub const HINT_AHEAD: usize = 32;

    /// An empty store with the registrar's states; allocates nothing yet.
    ///
    /// # Errors
    ///
    /// [`StateError::OtherKeyType`] if the registrar was made for another key type, and
    /// [`StateError::AlignmentTooLarge`] or [`StateError::RowTooWide`] if the key does not fit into
    /// a row.
    pub fn new(registrar: StateRegistrar) -> Result<Self, StateError> {
        let layout = registrar.finish::<K>()?;
        let Some(arena) = RowArena::new(layout.stride) else {
            return Err(StateError::RowTooWide {
                what: "key".into(),
                operator: layout.operator.name().into(),
                row_bytes: layout.stride,
                limit_bytes: super::MAX_ROW_BYTES,
            });
        };
        let has_ttl = layout.fields.iter().any(|field| field.code.purge_field.is_some());
        Ok(RowStore {
            has_ttl,
            index: PrefetchTable::new(),
            arena,
            content_hints: ContentHints::new(&layout.fields),
            fields: layout.fields,
            epoch_tag: EpochTag::NONE,
            tracking: None,
            operator: layout.operator,
            free_head: NO_ROW,
            live_count: 0,
            keys: PhantomData,
        })
    }

    /// Where large stores get huge pages from, for rows and index; to be called before the first
    /// row is added. See [`PageSupply`].
    pub fn set_page_supply(&mut self, supply: PageSupply) {
        self.arena.set_page_supply(supply.clone());
        self.index.set_page_supply(supply);
    }

    /// The row of a key that is in memory.
    #[inline(always)]
    pub(super) fn find_resident(
        &self,
        hash: KeyHash,
        mut equals: impl FnMut(&K) -> bool,
    ) -> Option<RowId> {
        let equals = |entry: &IndexEntry| {
            // SAFETY: index entries name live rows.
            entry.hash == hash && equals(unsafe { self.key_of_live(entry.row) })
        };
        self.index.find(hash, equals).map(|entry| RowId(entry.row))
    }

    /// The row of a key, added if there is none; `hash` is the key's.
    ///
    /// # Errors
    ///
    /// [`StateError::TooManyKeys`] beyond four billion keys.
    #[inline(always)]
    pub fn find_or_insert(&mut self, hash: KeyHash, key: &K) -> Result<RowId, StateError> {
        let (cursor, _) = self.enter(hash, key)?;
        Ok(cursor.row_id().expect("a cursor from a store has a row"))
    }

    /// The row of a key, added if there is none, as a cursor for handles; with the key as it is
    /// stored.
    ///
    /// # Errors
    ///
    /// As [`find_or_insert`](Self::find_or_insert).
    #[inline(always)]
    pub fn enter(&mut self, hash: KeyHash, key: &K) -> Result<(RowCursor<'_>, &K), StateError> {
        self.enter_by(hash, |found| found == key, || key.clone())
    }

    /// As [`enter`](Self::enter), by a borrowed form of the key: `hash` is the key's, `equals`
    /// compares, `make` gives the owned one.
    ///
    /// # Errors
    ///
    /// As [`find_or_insert`](Self::find_or_insert).
    #[inline(always)]
    pub fn enter_by(
        &mut self,
        hash: KeyHash,
        equals: impl FnMut(&K) -> bool,
        make: impl FnOnce() -> K,
    ) -> Result<(RowCursor<'_>, &K), StateError> {
        let row = match self.find_resident(hash, equals) {
            Some(row) => row,
            None => self.add_row(hash, make())?,
        };
        // SAFETY: the row was found in the index or just added: it is live.
        unsafe { self.lend(row) }
    }

    /// The cursor of a row that was kept, for a timer; with the row's key.
    ///
    /// # Errors
    ///
    /// [`StateError::NoSuchRow`] if the row holds no key.
    #[inline]
    pub fn cursor(&mut self, row: RowId) -> Result<(RowCursor<'_>, &K), StateError> {
        if !self.is_live(row.0) {
            return Err(no_such_row(row, &self.operator));
        }
        // SAFETY: just checked.
        unsafe { self.lend(row) }
    }

    /// The key of a row; `None` if the row holds none.
    #[inline]
    pub fn key(&self, row: RowId) -> Option<&K> {
        // SAFETY: only reached where the row is live.
        self.is_live(row.0).then(|| unsafe { self.key_of_live(row.0) })
    }

    /// Frees the row if its key has neither state nor pins left; to be called when a cursor's use
    /// is over. Two comparisons on a line that is in the cache, unless there is something to free or
    /// a state has a TTL.
    #[inline(always)]
    pub fn release(&mut self, row: RowId) {
        if self.has_ttl {
            self.purge_row(row.0);
        }
        let Some(header) = self.header(row.0) else { return };
        if header.is_unused() {
            self.remove_row(row.0);
        } else if self.epoch_tag != EpochTag::NONE
            && (header.tag() == EpochTag::NONE || !header.is_referenced())
        {
            self.note_use(row.0);
        }
    }

    /// Whether a state has a TTL, so that [`set_now_ms`](Self::set_now_ms) matters.
    #[inline(always)]
    pub fn has_ttl(&self) -> bool {
        self.has_ttl
    }

    /// Tells TTLs what time it is, in milliseconds of processing time; 0 before the first call. Time
    /// should not go back: if it does, state lives longer.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg_state::{Key, RowStore, StateRegistrar, StateTtl, ValueStateDescriptor};
    /// # fn main() -> Result<(), thalweg_state::StateError> {
    /// let mut registrar = StateRegistrar::new::<u64>("sessions");
    /// let seen = ValueStateDescriptor::<u64>::new("seen").with_ttl(StateTtl::after_ms(100));
    /// let seen = registrar.register_value(&seen)?;
    /// let mut rows = RowStore::<u64>::new(registrar)?;
    /// for (now_ms, expected) in [(0, None), (99, Some(1)), (100, None)] {
    ///     rows.set_now_ms(now_ms);
    ///     let (mut cursor, _) = rows.enter(7.key_hash(), &7)?;
    ///     assert_eq!(seen.value(&cursor)?, expected);
    ///     if now_ms == 0 {
    ///         seen.update(&mut cursor, 1)?;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn set_now_ms(&mut self, now_ms: i64) {
        self.operator.set_now_ms(now_ms);
    }

    /// First stage: prefetches the index bucket of a hash, [`HINT_AHEAD`](Self::HINT_AHEAD) records
    /// ahead.
    #[inline(always)]
    pub fn hint(&self, hash: KeyHash) {
        self.index.hint(hash);
    }

    /// Second stage: prefetches the row of a hash through its bucket, half as many records ahead; and what
    /// lists own in a row that was hinted before.
    #[inline(always)]
    pub fn hint_row(&self, hash: KeyHash) {
        if let Some(entry) = self.index.find(hash, |entry| entry.hash == hash) {
            // SAFETY: index entries name live rows, which are below the arena's length.
            unsafe { self.arena.fetch(entry.row) };
            if let Some(tracking) = &self.tracking {
                tracking.hint(entry.row);
            }
            if !self.content_hints.is_empty() {
                self.hint_content(self.content_hints.replace(entry.row));
            }
        }
    }

    #[inline]
    fn hint_content(&self, row: u32) {
        if row < self.arena.len() {
            // SAFETY: just checked.
            let place = unsafe { self.arena.at(row) };
            // SAFETY: headers of rows handed out are initialised, and no cursor lives, or the store
            // could not be borrowed.
            unsafe { self.content_hints.hint(place) };
        }
    }

    /// Prefetches a row by its number, some timers ahead.
    #[inline(always)]
    pub fn hint_id(&self, row: RowId) {
        if row.0 < self.arena.len() {
            // SAFETY: just checked.
            unsafe { self.arena.fetch(row.0) };
        }
    }

    /// Whether index and rows have outgrown the private caches, so that hints pay; call it once a
    /// batch.
    #[inline]
    pub fn is_deep(&mut self) -> bool {
        self.index.is_deep() || self.index.allocation_bytes() + self.arena.used_bytes() > DEEP_BYTES
    }

    /// The resident keys and their rows, in row order: the same in every run.
    pub fn iter(&self) -> impl Iterator<Item = (RowId, KeyHash, &K)> {
        (0..self.arena.len()).filter_map(|row| {
            let header = self.header(row).filter(|header| header.is_live())?;
            // SAFETY: just checked.
            let key = unsafe { self.key_of_live(row) };
            Some((RowId(row), header.hash(), key))
        })
    }

    /// Calls `visit` with every key and the cursor of its row, in row order, until it fails, and
    /// frees the rows that it leaves without state. The order is the same in every run. Visits all
    /// rows that were ever in use at once, so its cost is that of the largest number of keys; rows
    /// that are not resident are read after them.
    ///
    /// # Errors
    ///
    /// The first error of `visit`, or of archiving or reading a row; the rows before it have been
    /// visited.
    pub fn visit_rows<E: From<StateError>>(
        &mut self,
        mut visit: impl FnMut(RowCursor<'_>, &K) -> Result<(), E>,
    ) -> Result<(), E> {
        self.load_requested()?;
        for row in 0..self.arena.len() {
            if self.is_live(row) {
                self.visit_row(row, &mut visit)?;
            }
        }
        self.visit_unloaded(visit)
    }

    /// Visits a live row.
    pub(super) fn visit_row<E: From<StateError>>(
        &mut self,
        row: u32,
        visit: &mut impl FnMut(RowCursor<'_>, &K) -> Result<(), E>,
    ) -> Result<(), E> {
        let (cursor, key) = self.cursor(RowId(row))?;
        let result = visit(cursor, key);
        self.release(RowId(row));
        result
    }

    /// How many keys are resident.
    #[inline]
    pub fn len(&self) -> usize {
        self.live_count
    }

    /// Whether no key is resident.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.live_count == 0
    }

    /// Memory of index and rows, in bytes; what keys and values own on the heap is not counted.
    pub fn memory_bytes(&self) -> usize {
        self.index.allocation_bytes() + self.arena.allocation_bytes()
    }

    /// The operator's name.
    pub fn operator(&self) -> &str {
        self.operator.name()
    }

    /// The operator's states, in the order of their registration.
    pub fn states(&self) -> impl ExactSizeIterator<Item = &StateInfo> {
        self.fields.iter().map(StateField::info)
    }

    #[cold]
    #[inline(never)]
    fn add_row(&mut self, hash: KeyHash, key: K) -> Result<RowId, StateError> {
        match self.has_unloaded() {
            true => self.add_unloaded(hash, key),
            false => self.insert_row(hash, key),
        }
    }

    /// Makes a row of a key that has none in memory.
    pub(super) fn insert_row(&mut self, hash: KeyHash, key: K) -> Result<RowId, StateError> {
        let row = self.take_free_row()?;
        // SAFETY: `take_free_row` gives rows below the arena's length.
        let place = unsafe { self.arena.at(row) };
        // SAFETY: the row has room for a key at KEY_OFFSET, by its layout.
        let key_place = unsafe { place.add(KEY_OFFSET) }.cast::<K>();
        // SAFETY: a free row's key is uninitialised; its place is aligned, KEY_OFFSET and stride
        // being multiples.
        unsafe { key_place.write(key) };
        let header = RowHeader::new(hash);
        // SAFETY: every row begins with an aligned place for a header; headers need no drop.
        unsafe { place.cast::<RowHeader>().write(header) };
        self.live_count += 1;
        self.index.insert_unique(hash, IndexEntry { hash, row }, |entry| entry.hash);
        Ok(RowId(row))
    }

    /// A row that is off the free list or new, with a header that says `FREE`.
    fn take_free_row(&mut self) -> Result<u32, StateError> {
        if let Some(header) = self.header(self.free_head) {
            let next = header.next_free();
            return Ok(std::mem::replace(&mut self.free_head, next));
        }
        let Some(row) = self.arena.push() else {
            return Err(StateError::TooManyKeys {
                operator: self.operator().into(),
                limit: ROWS_MAX,
            });
        };
        // SAFETY: the row was just handed out.
        let place = unsafe { self.arena.at(row) };
        let header = RowHeader::free(NO_ROW);
        // SAFETY: every row begins with an aligned place for a header, which is uninitialised in a
        // new row.
        unsafe { place.cast::<RowHeader>().write(header) };
        Ok(row)
    }

    /// Drops what reads have removed from a row because it had expired.
    #[cold]
    #[inline(never)]
    fn purge_row(&mut self, row: u32) {
        let Some(header) = self.header(row).filter(|header| header.is_live()) else { return };
        let presence = header.presence;
        // SAFETY: the row has a header, so it is below the arena's length.
        let place: NonNull<u8> = unsafe { self.arena.at(row) };
        for (index, field) in self.fields.iter().enumerate() {
            let Some(purge_field) = field.code.purge_field else { continue };
            if presence & 1 << index == 0 {
                continue;
            }
            // SAFETY: the field's offset lies within the row.
            let value = unsafe { place.add(field.offset as usize) };
            // SAFETY: the presence bit is set, so the field holds a value of its type, which is the
            // one of `purge_field`; no cursor lives, or the store could not be borrowed exclusively.
            let purged = unsafe { purge_field(value) };
            if purged == Purged::Unchanged {
                continue;
            }
            // SAFETY: the row is live, so it has a header, reached by nothing else.
            let header = unsafe { header_at_mut(place) };
            header.dirty |= 1 << index;
            if purged == Purged::Changed {
                continue;
            }
            // Written before the drop, so that a panic of it leaks only.
            header.presence &= !(1 << index);
            if let Some(drop_field) = field.code.drop_field {
                // SAFETY: the field held a value of its type, whose bit is cleared: it is not used
                // again.
                unsafe { drop_field(value) };
            }
        }
    }

    /// Frees a live row without state.
    #[cold]
    #[inline(never)]
    fn remove_row(&mut self, row: u32) {
        let Some(hash) = self.header(row).map(RowHeader::hash) else {
            return;
        };
        if self.index.remove(hash, |entry| entry.row == row).is_none() {
            // Not indexed: an insertion into the index panicked. The row is dropped with the store.
            return;
        }
        if self.tracking.is_some() {
            // SAFETY: indexed rows are live, and this one still is.
            unsafe { self.archive_removal(row) };
        }
        // SAFETY: the row has a header, so it is below the arena's length.
        let place = unsafe { self.arena.at(row) };
        let header = RowHeader::free(self.free_head);
        // SAFETY: the place is an initialised header, reached by nothing else: the store is
        // borrowed exclusively.
        unsafe { place.cast::<RowHeader>().write(header) };
        self.free_head = row;
        self.live_count -= 1;
        self.forget_residence(row);
        // SAFETY: KEY_OFFSET lies within the row.
        let key = unsafe { place.add(KEY_OFFSET) }.cast::<K>();
        // SAFETY: the key was initialised, the row being live, and is not used again, the row being
        // free. Should its drop panic, all is consistent already.
        unsafe { drop_in_place(key.as_ptr()) };
    }

    /// The header of a row that was handed out.
    #[inline(always)]
    pub(super) fn header(&self, row: u32) -> Option<&RowHeader> {
        if row >= self.arena.len() {
            return None;
        }
        // SAFETY: just checked.
        let place = unsafe { self.arena.at(row) };
        // SAFETY: headers of rows handed out are initialised; no cursor lives, or the store could
        // not be borrowed.
        Some(unsafe { header_at(place) })
    }

    #[inline(always)]
    pub(super) fn is_live(&self, row: u32) -> bool {
        self.header(row).is_some_and(RowHeader::is_live)
    }

    /// # Safety
    ///
    /// The row is live.
    #[inline(always)]
    pub(super) unsafe fn key_of_live(&self, row: u32) -> &K {
        // SAFETY: a live row is below the arena's length.
        let place = unsafe { self.arena.at(row) };
        // SAFETY: the row is live, and stays so while the store is borrowed.
        unsafe { key_at(place) }
    }

    /// The row to change now: what it still owes an ended epoch is archived first.
    ///
    /// # Safety
    ///
    /// The row is live.
    #[inline(always)]
    unsafe fn lend(&mut self, row: RowId) -> Result<(RowCursor<'_>, &K), StateError> {
        // SAFETY: a live row is below the arena's length.
        let place = unsafe { self.arena.at(row.0) };
        // SAFETY: headers of rows handed out are initialised; no cursor lives, or the store could
        // not be borrowed.
        let tag = unsafe { header_at(place) }.tag();
        if tag != EpochTag::NONE && tag != self.epoch_tag {
            // SAFETY: by this function's contract.
            unsafe { self.settle_row(row.0) }?;
        }
        // SAFETY: the row is live and of this operator's one store, which stays borrowed
        // exclusively for the cursor's life; the key, lent beside it, is disjoint from header and
        // fields.
        let cursor = unsafe { RowCursor::new(place, row, &self.operator) };
        // SAFETY: the row is live.
        Ok((cursor, unsafe { self.key_of_live(row.0) }))
    }
}

impl<K: Key, W: Key> RowStore<Namespaced<K, W>> {
    /// The row of a key in a namespace, added if there is none; `key_hash` is the key's own.
    ///
    /// # Errors
    ///
    /// As [`find_or_insert`](Self::find_or_insert).
    #[inline]
    pub fn enter_namespaced(
        &mut self,
        key_hash: KeyHash,
        key: &K,
        namespace: &W,
    ) -> Result<(RowCursor<'_>, &Namespaced<K, W>), StateError> {
        self.enter_by(
            Namespaced::<K, W>::hash_of(key_hash, namespace),
            |found| found.namespace == *namespace && found.key == *key,
            || Namespaced { key: key.clone(), namespace: namespace.clone() },
        )
    }
}

impl<K: Key> Drop for RowStore<K> {
    fn drop(&mut self) {
        let any_field = self.fields.iter().any(|field| field.code.drop_field.is_some());
        if !needs_drop::<K>() && !any_field {
            return; // Ten million rows need not be visited to do nothing.
        }
        for row in 0..self.arena.len() {
            self.drop_row(row, NO_ROW);
        }
    }
}

impl<K: Key> RowStore<K> {
    /// Takes a row that is in memory out of it; what lies below stays.
    pub(super) fn discard_row(&mut self, row: u32) {
        let Some(hash) = self.header(row).map(RowHeader::hash) else { return };
        if self.index.remove(hash, |entry| entry.row == row).is_none() {
            return; // As in `remove_row`.
        }
        let next = std::mem::replace(&mut self.free_head, row);
        self.live_count -= 1;
        self.forget_residence(row);
        self.drop_row(row, next);
    }

    #[inline]
    fn forget_residence(&mut self, row: u32) {
        if let Some(tracking) = &mut self.tracking
            && let Some(residence) = &mut tracking.residence
        {
            residence.forget(row);
        }
    }

    /// Drops what a row holds, once: afterwards the row is free.
    fn drop_row(&mut self, row: u32, next_free: u32) {
        if !self.is_live(row) {
            return;
        }
        // SAFETY: the row is live, so it is below the arena's length.
        let place: NonNull<u8> = unsafe { self.arena.at(row) };
        // SAFETY: the row is live, so its header is initialised; no cursor lives.
        let presence = unsafe { header_at(place) }.presence;
        // SAFETY: the place is an initialised header, reached by nothing else. Written first, so
        // that a panic leaks only.
        unsafe { place.cast::<RowHeader>().write(RowHeader::free(next_free)) };
        // SAFETY: these fields held values of their types, and are not used again.
        unsafe { drop_fields(place, presence, &self.fields) };
        // SAFETY: KEY_OFFSET lies within the row.
        let key = unsafe { place.add(KEY_OFFSET) }.cast::<K>();
        // SAFETY: the row was live, so its key is initialised; it is not used again.
        unsafe { drop_in_place(key.as_ptr()) };
    }
}

/// Drops fields of a row.
///
/// # Safety
///
/// `place` is a row with these fields; those with a bit in `present` are initialised, reached by
/// nothing else, and not used again.
pub(super) unsafe fn drop_fields(place: NonNull<u8>, present: u32, fields: &[StateField]) {
    for (index, field) in fields.iter().enumerate() {
        if let Some(drop_field) = field.code.drop_field
            && present & 1 << index != 0
        {
            // SAFETY: the field's offset lies within the row.
            let value = unsafe { place.add(field.offset as usize) };
            // SAFETY: by this function's contract; the field's type is the one of its code.
            unsafe { drop_field(value) };
        }
    }
}

impl<K: Key> std::fmt::Debug for RowStore<K> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("RowStore")
            .field("operator", &self.operator())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
