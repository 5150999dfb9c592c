//! A hash table that knows where its buckets lie, so that a batch can fetch them before they are needed, and that grows
//! by parts, so that no insertion waits for all of it to be moved.
//!
//! 1. [`PrefetchTable`] is the public face; flat stores use the same [`PartedTable`] with marks beside the buckets.
//! 2. `parted_table` grows and divides hashbrown's tables, `directory` tells which of them a hash belongs to.
//!
//! hashbrown keeps entry `i` directly below the control bytes, at `control - (i + 1) * size`, and control byte `i` at
//! `control + i`. One live element at a known index therefore gives the base address; no private API is needed.
//!
//! **Invariants**
//! - The learned address is only ever prefetched, never read: a wrong one costs speed, not correctness.
//! - `is_deep` learns again after growth; it is called once a batch, `hint` once a record. Parts are learned when they
//!   are made.

mod directory;
mod parted_table;
#[cfg(test)]
mod tests;

use hashbrown::hash_table::Entry;
use std::ptr;
use thalweg_io::memory::PageSupply;

pub(super) use self::parted_table::{Marks, Part, PartedTable, capacity_of};
use super::table_memory::TableMemory;
use crate::KeyHash;

/// Tables beyond this size are prefetched: half of the measured machines' private L2 of 1 MiB.
/// Below it a hint is an instruction for nothing (5.2 ns a record without, 6.4 with, at 1 k keys;
/// 40 and 31 at 1 M).
pub(super) const DEEP_BYTES: usize = 512 << 10;

/// A hash table over carried hashes, with hints. The caller brings equality and, where
/// the table may grow, the way to an entry's hash.
///
/// # Examples
///
/// ```
/// use thalweg_state::{KeyHash, PrefetchTable};
/// let mut sums = PrefetchTable::<(u64, i64)>::new();
/// for (key, value) in [(1, 10), (2, 20), (1, 5)] {
///     let hash = KeyHash::of(&key);
///     sums.hint(hash); // some records ahead, where is_deep() said so
///     let sum = sums.find_or_insert_with(hash, |e| e.0 == key, |e| KeyHash::of(&e.0), || (key, 0));
///     sum.1 += value;
/// }
/// assert_eq!(sums.find(KeyHash::of(&1_u64), |e| e.0 == 1), Some(&(1, 15)));
/// ```
pub struct PrefetchTable<E> {
    table: PartedTable<E, ()>,
}

impl<E> Default for PrefetchTable<E> {
    fn default() -> Self {
        PrefetchTable::new()
    }
}

impl<E> PrefetchTable<E> {
    /// An empty table; allocates nothing.
    pub const fn new() -> Self {
        PrefetchTable { table: PartedTable::new(()) }
    }

    /// Where a large table gets huge pages from; to be called before it is large. See
    /// [`PageSupply`].
    pub fn set_page_supply(&mut self, supply: PageSupply) {
        self.table.set_page_supply(supply);
    }

    /// Prefetches the bucket and the control bytes of a hash; about 16 records ahead of its use.
    #[inline(always)]
    pub fn hint(&self, hash: KeyHash) {
        self.table.hint(hash);
    }

    /// Whether the table has outgrown the private caches, so that hints pay. Learns the base
    /// address again if the table has grown since: call it once a batch.
    #[inline]
    pub fn is_deep(&mut self) -> bool {
        self.table.is_deep()
    }

    /// The entry of this hash for which `equals` holds.
    #[inline]
    pub fn find(&self, hash: KeyHash, equals: impl FnMut(&E) -> bool) -> Option<&E> {
        self.table.part(hash).table.find(hash.wide(), equals)
    }

    /// The entry of this hash for which `equals` holds, to change all but its key.
    #[inline]
    pub fn find_mut(&mut self, hash: KeyHash, equals: impl FnMut(&E) -> bool) -> Option<&mut E> {
        self.table.part_mut(hash).table.find_mut(hash.wide(), equals)
    }

    /// The entry of this hash for which `equals` holds, inserted if there is none.
    #[inline(always)]
    pub fn find_or_insert_with(
        &mut self,
        hash: KeyHash,
        equals: impl FnMut(&E) -> bool,
        rehash: impl Fn(&E) -> KeyHash,
        make: impl FnOnce() -> E,
    ) -> &mut E {
        let part = ptr::from_mut(self.table.part_mut(hash));
        // SAFETY: borrowed from `self` just now, and where nothing is found no longer used; the compiler cannot tell that
        // the borrow ends there, and to look the part up twice takes 10 % of an update.
        let part = unsafe { &mut *part };
        match part.table.find_mut(hash.wide(), equals) {
            Some(entry) => entry,
            None => self.insert_new(hash, make(), rehash),
        }
    }

    /// Not inlined: the operators' loops are the finding of what is there.
    #[inline(never)]
    fn insert_new(&mut self, hash: KeyHash, entry: E, rehash: impl Fn(&E) -> KeyHash) -> &mut E {
        let table = ptr::from_mut(&mut self.table.part_mut(hash).table);
        // SAFETY: borrowed from `self` just now, and no longer used where it has no room.
        let mut table = unsafe { &mut *table };
        if table.len() == table.capacity() {
            table = &mut self.table.part_with_room(hash, rehash).table;
        }
        let hasher = |_: &E| unreachable!("there is room");
        table.insert_unique(hash.wide(), entry, hasher).into_mut()
    }

    /// hashbrown's entry of this hash, to insert, change or remove it with one lookup.
    #[inline]
    pub fn entry(
        &mut self,
        hash: KeyHash,
        equals: impl FnMut(&E) -> bool,
        rehash: impl Fn(&E) -> KeyHash,
    ) -> Entry<'_, E, TableMemory> {
        let part = self.table.part_with_room(hash, &rehash);
        part.table.entry(hash.wide(), equals, |entry| rehash(entry).wide())
    }

    /// Inserts an entry that is known to be new.
    #[inline]
    pub fn insert_unique(&mut self, hash: KeyHash, entry: E, rehash: impl Fn(&E) -> KeyHash) {
        self.insert_new(hash, entry, rehash);
    }

    /// Removes and returns the entry of this hash for which `equals` holds.
    #[inline]
    pub fn remove(&mut self, hash: KeyHash, equals: impl FnMut(&E) -> bool) -> Option<E> {
        let entry = self.table.part_mut(hash).table.find_entry(hash.wide(), equals).ok()?;
        Some(entry.remove().0)
    }

    /// Keeps the entries for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&mut E) -> bool) {
        self.table.tables_mut().for_each(|part| part.table.retain(&mut keep));
    }

    /// Removes all entries and keeps the memory.
    pub fn clear(&mut self) {
        self.table.tables_mut().for_each(|part| part.table.clear());
    }

    /// The entries; the order depends on hashes and history alone, so it is the same in every run.
    pub fn iter(&self) -> impl Iterator<Item = &E> {
        self.table.tables().flat_map(|part| part.table.iter())
    }

    /// The entries, to change all but their keys.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut E> {
        self.table.tables_mut().flat_map(|part| part.table.iter_mut())
    }

    /// How many entries there are. Asks every part.
    #[inline]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no entry.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.table.tables().all(|part| part.table.is_empty())
    }

    /// Number of buckets: the bound of [`bucket`](Self::bucket). Changes only when the table grows.
    #[inline]
    #[must_use]
    pub fn bucket_count(&self) -> usize {
        self.table.bucket_count()
    }

    /// The entry in bucket `index`, if there is one: a walk that can be stopped and resumed as long as nothing is
    /// inserted or removed.
    #[inline]
    #[must_use]
    pub fn bucket(&self, index: usize) -> Option<&E> {
        self.table.bucket(index)
    }

    /// How many parts the table has grown to; at least one. Each is walked by itself, undisturbed by what is inserted
    /// into and removed from others: a copy of the table can be made part by part while it changes, if each part is
    /// copied before its first change.
    #[must_use]
    pub fn part_count(&self) -> usize {
        self.table.parts_count()
    }

    /// The part that entries of this hash lie in. A part that grows too large keeps its number and gives half of its
    /// entries to a part with a new number. Looks for it: a pointer a part.
    #[must_use]
    pub fn part_of(&self, hash: KeyHash) -> usize {
        self.table.parts.number(hash).unwrap_or(0)
    }

    /// Number of buckets of a part.
    #[must_use]
    pub fn part_bucket_count(&self, part: usize) -> usize {
        self.table.numbered_part(part).map_or(0, |part| part.table.num_buckets())
    }

    /// The entry in bucket `index` of a part, if there is one: a walk of the part as [`bucket`](Self::bucket) is of the
    /// table.
    #[inline]
    #[must_use]
    pub fn part_bucket(&self, part: usize, index: usize) -> Option<&E> {
        self.table.numbered_part(part)?.table.get_bucket(index)
    }

    /// Memory of buckets and control bytes; what entries own elsewhere is not counted.
    #[inline]
    pub fn allocation_bytes(&self) -> usize {
        self.table.allocation_bytes()
    }
}

impl<E> std::fmt::Debug for PrefetchTable<E> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PrefetchTable").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Bytes beyond an entry's own bucket that it is likely to lie in: at half load one in four is not in its own, but in one
/// of the next. Three buckets of small entries, so that few are fetched for nothing.
const fn next_buckets_bytes(entry_bytes: usize) -> usize {
    if entry_bytes < 16 { 3 * entry_bytes } else { 48 }
}
/// Control bytes are read by groups.
const GROUP_BYTES: usize = 16;

/// Brings near what a lookup reads that begins at this bucket. A group of control bytes straddles two lines in 15 of 64
/// cases, and an entry and its next buckets often do: with the first line of both alone, w1 on one thread did 39 M
/// events/s at 10 M keys of 16 bytes, with all four 50 M; 64 and 65 M at 1 M.
#[inline(always)]
pub(crate) fn prefetch_bucket<E>(control: *const u8, index: usize) {
    prefetch(control.wrapping_add(index));
    prefetch(control.wrapping_add(index + GROUP_BYTES - 1));
    let entry = control.wrapping_sub((index + 1) * size_of::<E>());
    prefetch(entry);
    prefetch(entry.wrapping_sub(next_buckets_bytes(size_of::<E>())));
}

/// Brings a cache line near; any address will do.
#[inline(always)]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch of any address, mapped or not, changes caches only and never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}
