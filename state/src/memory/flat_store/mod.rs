//! One value a key, next to its key: the flat layout.
//!
//! ```text
//! hash ─► part: | (key, value) (key, value) .. | control bytes |      one line a lookup for small entries
//!               | dirty and frozen bits | below | referenced |        where there is a tier below
//! ```
//! 1. Entries lie in the buckets of a parted table; there are no row numbers and no presence bits. A lookup touches the
//!    entry's line, its control bytes, and, if it is to change the value, one word pair of `changes.rs`.
//! 2. What asks for a value to change it, counts as a change: the entry is marked in its part, once an epoch.
//! 3. [`FlatStore::barrier`] counts the epoch up, and nothing else. [`FlatStore::beat`] then walks the ended epoch part by
//!    part and writes what is marked. An entry that is changed before the walk has come to it is written first.
//! 4. Of several ended epochs the oldest is walked first. A part that was changed in two of them has room for the marks of
//!    one: when it is next changed, what is left of the older is written at once, at most 14,336 entries.
//! 5. What is not resident (after a restore, or because it was evicted) is read when it is asked for, or before, together
//!    with others ([`FlatStore::request`]).
//! 6. Where epochs are *full* an ended epoch has all entries: a part that is next written to, or walked, freezes all of its
//!    own. What was restored is loaded at once; removals are not written.
//! 7. Where all entries are resident, many change, and the tier has no other table, some epochs have all entries, so that
//!    nothing needs to be merged: the next one after half of them were changed in one epoch, or as many as there are since the
//!    last such epoch. An entry is frozen then if it was changed or lies below.
//!    Removals are written as ever, so an epoch that failed is as good as one with changes alone.
//! 8. Where memory is limited a part that is full is not divided, but a quarter of its entries is dropped: see `eviction.rs`.
//!
//! **Invariants**
//! - A snapshot of an epoch has what the values were at its barrier: of each entry one record, in the last epoch that it
//!   was changed in.
//! - An entry that was inserted and removed between two barriers leaves nothing. The removal of one that lies below, or is
//!   on its way, is written at once.
//! - Without a tier there are no bits, nothing is ever evicted, and no call fails.
//!

mod beat;
mod changes;
mod eviction;
mod loading;
#[cfg(test)]
mod tests;
mod tracking;

use std::ptr;

use self::beat::begin_epoch;
use self::changes::Changes;
use self::tracking::Tracking;
use super::prefetch_table::{Part, PartedTable};
use crate::backend::{OpenedTable, StateRequest, StateVersions, TableRequest, TableStore};
use crate::codec::StateIndex;
use crate::{Key, KeyHash, LsmStore, SchemaDescription, StateError, StateValue};

/// The name of a flat table's one state.
const STATE_NAME: &str = "value";

/// The part of a flat store.
type FlatPart<K, S> = Part<(K, S), Changes>;

/// One value a key, in a table next to its key; see the module docs.
///
/// Per batch: [`is_deep`](Self::is_deep), and if so [`hint`](Self::hint) about 16 records ahead; if
/// [`has_unloaded`](Self::has_unloaded), [`request`](Self::request) for each record and
/// [`load_requested`](Self::load_requested).
///
/// # Examples
///
/// ```
/// use thalweg_state::{FlatStore, Key};
/// # fn main() -> Result<(), thalweg_state::StateError> {
/// let mut sums = FlatStore::<u64, i64>::new();
/// for (key, value) in [(1_u64, 10), (2, 20), (1, 5)] {
///     *sums.find_or_insert_with(key.key_hash(), &key, || 0)? += value;
/// }
/// assert_eq!(sums.find(1_u64.key_hash(), &1)?, Some(&15));
/// assert_eq!(sums.remove(2_u64.key_hash(), &2)?, Some(20));
/// # Ok(())
/// # }
/// ```
pub struct FlatStore<K: Key, S: StateValue> {
    table: PartedTable<(K, S), Changes>,
    tracking: Option<Box<Tracking<K>>>,
}

impl<K: Key, S: StateValue> Default for FlatStore<K, S> {
    fn default() -> Self {
        FlatStore::new()
    }
}

fn rehash<K: Key, S>((key, _): &(K, S)) -> KeyHash {
    key.key_hash()
}

impl<K: Key, S: StateValue> FlatStore<K, S> {
    /// An empty store in memory alone; allocates nothing.
    pub fn new() -> Self {
        FlatStore { table: PartedTable::new(Changes::untracked()), tracking: None }
    }

    /// A store whose changes go to a table of the persistent tier, and that has what the table has: values are read when
    /// they are asked for or [requested](Self::request), the rest by [`restore_step`](Self::restore_step). Where the store
    /// has a [memory budget](crate::LsmOptions::memory_budget_bytes) the table keeps to its share of it.
    ///
    /// # Errors
    ///
    /// Those of the persistent tier where the table is open already, or was written with types that cannot become those of now.
    pub fn new_in(store: &LsmStore, table: &str) -> Result<Self, StateError> {
        let (key, value) = (SchemaDescription::of::<K>(), SchemaDescription::of::<S>());
        let states = [StateRequest { name: STATE_NAME, schema: &value }];
        let request = TableRequest { name: table, key: &key, states: &states };
        let OpenedTable { store, states, mut versions } = store.table(&request)?;
        let versions = versions.pop().unwrap_or_default();
        let mut table = FlatStore::attached_with(store, states[0], versions);
        let is_full = table.tracking.as_ref().is_some_and(|tracking| tracking.is_full);
        while is_full && table.restore_step()? {}
        Ok(table)
    }

    /// As [`new_in`](Self::new_in), with an open table and the number that the value has in it.
    #[cfg(test)]
    pub(crate) fn attached(store: TableStore, state: StateIndex) -> Self {
        FlatStore::attached_with(store, state, StateVersions::default())
    }

    fn attached_with(store: TableStore, state: StateIndex, versions: StateVersions) -> Self {
        let tracking = Tracking::new(store, state, versions);
        let changes = Changes::tracked(tracking.epoch, tracking.has_budget());
        let mut table = PartedTable::new(changes);
        if let Some(supply) = tracking.store.page_supply() {
            table.set_page_supply(supply);
        }
        FlatStore { table, tracking: Some(Box::new(tracking)) }
    }

    /// How many records before its use a hash is best hinted: 42 M updates/s at 1 M keys, 35 with 32, 32 with 48.
    pub const HINT_AHEAD: usize = 16;

    /// Prefetches what a lookup of this hash will touch; [`HINT_AHEAD`](Self::HINT_AHEAD) records ahead of its use.
    #[inline(always)]
    pub fn hint(&self, hash: KeyHash) {
        self.table.hint(hash);
        if self.tracking.is_some() {
            let Part { table, marks } = self.table.part(hash);
            marks.hint(hash.as_u32() as usize & (table.num_buckets() - 1));
        }
    }

    /// Whether the store has outgrown the private caches, so that hints pay; call it once a batch.
    #[inline]
    pub fn is_deep(&mut self) -> bool {
        self.table.is_deep()
    }

    /// The value of a key, if it has one.
    ///
    /// # Errors
    ///
    /// Those of reading it, if it is not resident.
    #[inline(always)]
    pub fn find(&mut self, hash: KeyHash, key: &K) -> Result<Option<&S>, StateError> {
        let part = ptr::from_mut(self.table.part_mut(hash));
        // SAFETY: borrowed from `self` just now, and where nothing is found no longer used.
        let part = unsafe { &mut *part };
        match part.table.find_bucket_index(hash.wide(), |entry| entry.0 == *key) {
            Some(bucket) => {
                if let Some(tracking) = &self.tracking
                    && tracking.has_budget()
                {
                    part.marks.set_referenced(bucket);
                }
                // SAFETY: the table has just found it in this bucket.
                Ok(Some(&unsafe { part.table.get_bucket_unchecked(bucket) }.1))
            }
            None => self.find_below(hash, key),
        }
    }

    /// The value of a key, made if there is none, to change it.
    ///
    /// # Errors
    ///
    /// Those of reading the value, if it is not resident, and of archiving it, if it waits for that. It is as it was then.
    #[inline(always)]
    pub fn find_or_insert_with(
        &mut self,
        hash: KeyHash,
        key: &K,
        make: impl FnOnce() -> S,
    ) -> Result<&mut S, StateError> {
        let part = ptr::from_mut(self.table.part_mut(hash));
        // SAFETY: borrowed from `self.table` just now, and where nothing is found no longer used; the compiler cannot tell
        // that the borrow ends there.
        let Part { table, marks } = unsafe { &mut *part };
        let Ok(entry) = table.find_entry(hash.wide(), |entry| entry.0 == *key) else {
            // By value, so that a small key need not lie in memory.
            return self.find_below_or_insert(hash, key.clone(), make());
        };
        if let Some(tracking) = &mut self.tracking
            && marks.whole_epoch != tracking.epoch
        {
            let bucket = entry.bucket_index();
            let Some(is_first) = marks.try_set_dirty(bucket, tracking.epoch) else {
                return self.mark_and_find(hash, bucket);
            };
            if tracking.has_budget() {
                tracking.dirty_count += u64::from(is_first);
                marks.set_referenced(bucket);
            }
        }
        Ok(&mut entry.into_mut().1)
    }

    /// The value in this bucket, to change it; for entries that wait to be archived, or are the first of their part that
    /// the epoch changes.
    #[cold]
    #[inline(never)]
    fn mark_and_find(&mut self, hash: KeyHash, bucket: usize) -> Result<&mut S, StateError> {
        let part = self.table.part_mut(hash);
        if let Some(tracking) = &mut self.tracking {
            mark_changed(part, tracking, bucket)?;
        }
        let entry = part.table.get_bucket_mut(bucket);
        Ok(&mut entry.expect("the entry was found in this bucket").1)
    }

    /// Removes and returns the value of a key.
    ///
    /// # Errors
    ///
    /// As [`find_or_insert_with`](Self::find_or_insert_with).
    pub fn remove(&mut self, hash: KeyHash, key: &K) -> Result<Option<S>, StateError> {
        let mut bucket = self.bucket_of(hash, key);
        if bucket.is_none() && self.load(hash, key)? {
            bucket = self.bucket_of(hash, key);
        }
        let Some(bucket) = bucket else { return Ok(None) };
        let part = self.table.part_mut(hash);
        if let Some(tracking) = &mut self.tracking {
            mark_changed(part, tracking, bucket)?;
            if part.marks.is_below(bucket) && !tracking.is_full {
                tracking.archive_removal(hash, key)?;
                tracking.note_removed(hash, key.clone());
            }
            part.marks.forget(bucket);
        }
        let entry = part.table.get_bucket_entry(bucket).ok();
        Ok(entry.map(|entry| entry.remove().0.1))
    }

    fn bucket_of(&self, hash: KeyHash, key: &K) -> Option<usize> {
        let table = &self.table.part(hash).table;
        table.find_bucket_index(hash.wide(), |entry| entry.0 == *key)
    }

    /// Inserts a key that is neither resident nor below, as a change of the current epoch.
    fn insert_new(&mut self, hash: KeyHash, key: K, value: S) -> Result<&mut S, StateError> {
        self.keep_to_budget(hash);
        let part = self.table.part_with_room(hash, rehash);
        if let Some(tracking) = &mut self.tracking {
            begin_epoch(part, tracking)?;
            tracking.dirty_count += 1;
        }
        let hasher = |_: &(K, S)| unreachable!("there is room");
        let entry = part.table.insert_unique(hash.wide(), (key, value), hasher);
        if self.tracking.is_some() {
            part.marks.set_dirty(entry.bucket_index());
            part.marks.set_referenced(entry.bucket_index());
        }
        Ok(&mut entry.into_mut().1)
    }

    /// The resident entries; the order depends on hashes and history alone, so it is the same in every run.
    pub fn iter_resident(&self) -> impl Iterator<Item = &(K, S)> {
        self.table.tables().flat_map(|part| part.table.iter())
    }

    /// How many entries are resident.
    pub fn resident_len(&self) -> usize {
        self.table.len()
    }

    /// Memory of entries, control bytes and bits; what keys and values own elsewhere is not counted.
    pub fn memory_bytes(&self) -> usize {
        let bits = |part: &FlatPart<K, S>| part.marks.memory_bytes();
        self.table.allocation_bytes() + self.table.tables().map(bits).sum::<usize>()
    }
}

/// Marks an entry that is going to be changed; its image is written first if an ended epoch waits for it.
fn mark_changed<K: Key, S: StateValue>(
    part: &mut FlatPart<K, S>,
    tracking: &mut Tracking<K>,
    bucket: usize,
) -> Result<(), StateError> {
    begin_epoch(part, tracking)?;
    if part.marks.is_frozen(bucket)
        && let Some(entry) = part.table.get_bucket(bucket)
    {
        tracking.archive_entry(part.marks.frozen_epoch, entry)?;
        part.marks.set_archived(bucket);
    }
    let is_first = part.marks.set_dirty(bucket);
    if tracking.has_budget() {
        tracking.dirty_count += u64::from(is_first);
        part.marks.set_referenced(bucket);
    }
    Ok(())
}

impl<K: Key, S: StateValue> std::fmt::Debug for FlatStore<K, S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("FlatStore")
            .field("resident_len", &self.resident_len())
            .finish_non_exhaustive()
    }
}
