//! A hash table that knows where its buckets lie, so that a batch can fetch them before they are
//! needed.
//!
//! hashbrown keeps entry `i` directly below the control bytes, at `control - (i + 1) * size`, and
//! control byte `i` at `control + i`. One live element at a known index therefore gives the base
//! address; no private API is needed.
//!
//! **Invariants**
//! - The learned address is only ever prefetched, never read: a wrong one costs speed, not
//!   correctness.
//! - `is_deep` learns again after growth; it is called once a batch, `hint` once a record.

use std::ptr;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::huge_pages::HugePages;
use crate::KeyHash;

/// Tables beyond this size are prefetched: half of the measured machines' private L2 of 1 MiB.
/// Below it a hint is an instruction for nothing (5.2 ns a record without, 6.4 with, at 1 k keys;
/// 40 and 31 at 1 M).
pub(super) const DEEP_BYTES: usize = 512 << 10;

/// How many buckets are looked at for a live element. A table that has just grown is half full.
const LEARN_BUCKETS_MAX: usize = 1024;

/// A `hashbrown::HashTable` over carried hashes, with hints. The caller brings equality and, where
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
    table: HashTable<E, HugePages>,
    /// Where control byte 0 lay when it was last learned. Never read through.
    control: *const u8,
    /// Number of buckets less one when `control` was learned.
    bucket_mask: usize,
}

impl<E> Default for PrefetchTable<E> {
    fn default() -> Self {
        PrefetchTable::new()
    }
}

impl<E> PrefetchTable<E> {
    /// An empty table; allocates nothing.
    pub const fn new() -> Self {
        PrefetchTable {
            table: HashTable::new_in(HugePages::new()),
            control: ptr::null(),
            bucket_mask: 0,
        }
    }

    /// Prefetches the bucket and the control bytes of a hash; about 16 records ahead of its use.
    #[inline(always)]
    pub fn hint(&self, hash: KeyHash) {
        let index = hash.as_u32() as usize & self.bucket_mask;
        prefetch(self.control.wrapping_add(index));
        prefetch(self.control.wrapping_sub((index + 1) * size_of::<E>()));
    }

    /// Whether the table has outgrown the private caches, so that hints pay. Learns the base
    /// address again if the table has grown since: call it once a batch.
    #[inline]
    pub fn is_deep(&mut self) -> bool {
        if self.table.num_buckets() != self.bucket_mask + 1 {
            self.learn();
        }
        self.allocation_bytes() > DEEP_BYTES
    }

    #[cold]
    fn learn(&mut self) {
        let buckets = self.table.num_buckets();
        let live = (0..buckets.min(LEARN_BUCKETS_MAX))
            .find_map(|index| self.table.get_bucket(index).map(|entry| (index, entry)));
        if let Some((index, entry)) = live {
            self.control = ptr::from_ref(entry).wrapping_add(index + 1).cast();
            self.bucket_mask = buckets - 1;
        }
    }

    /// The entry of this hash for which `equals` holds.
    #[inline]
    pub fn find(&self, hash: KeyHash, equals: impl FnMut(&E) -> bool) -> Option<&E> {
        self.table.find(hash.wide(), equals)
    }

    /// The entry of this hash for which `equals` holds, to change all but its key.
    #[inline]
    pub fn find_mut(&mut self, hash: KeyHash, equals: impl FnMut(&E) -> bool) -> Option<&mut E> {
        self.table.find_mut(hash.wide(), equals)
    }

    /// The entry of this hash for which `equals` holds, inserted if there is none.
    #[inline]
    pub fn find_or_insert_with(
        &mut self,
        hash: KeyHash,
        equals: impl FnMut(&E) -> bool,
        rehash: impl Fn(&E) -> KeyHash,
        make: impl FnOnce() -> E,
    ) -> &mut E {
        self.entry(hash, equals, rehash).or_insert_with(make).into_mut()
    }

    /// hashbrown's entry of this hash, to insert, change or remove it with one lookup.
    #[inline]
    pub fn entry(
        &mut self,
        hash: KeyHash,
        equals: impl FnMut(&E) -> bool,
        rehash: impl Fn(&E) -> KeyHash,
    ) -> Entry<'_, E, HugePages> {
        self.table.entry(hash.wide(), equals, |entry| rehash(entry).wide())
    }

    /// Inserts an entry that is known to be new.
    #[inline]
    pub fn insert_unique(&mut self, hash: KeyHash, entry: E, rehash: impl Fn(&E) -> KeyHash) {
        self.table.insert_unique(hash.wide(), entry, |entry| rehash(entry).wide());
    }

    /// Removes and returns the entry of this hash for which `equals` holds.
    #[inline]
    pub fn remove(&mut self, hash: KeyHash, equals: impl FnMut(&E) -> bool) -> Option<E> {
        self.table.find_entry(hash.wide(), equals).ok().map(|entry| entry.remove().0)
    }

    /// Keeps the entries for which `keep` holds.
    pub fn retain(&mut self, keep: impl FnMut(&mut E) -> bool) {
        self.table.retain(keep);
    }

    /// Removes all entries and keeps the memory.
    pub fn clear(&mut self) {
        self.table.clear();
    }

    /// The entries; the order depends on hashes and history alone, so it is the same in every run.
    pub fn iter(&self) -> impl Iterator<Item = &E> {
        self.table.iter()
    }

    /// The entries, to change all but their keys.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut E> {
        self.table.iter_mut()
    }

    /// How many entries there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no entry.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Number of buckets: the bound of [`bucket`](Self::bucket). Changes only when the table grows or shrinks.
    #[must_use]
    pub fn bucket_count(&self) -> usize {
        self.table.num_buckets()
    }

    /// The entry in bucket `index`, if there is one: a walk that can be stopped and resumed as long as nothing is
    /// inserted or removed.
    #[inline]
    #[must_use]
    pub fn bucket(&self, index: usize) -> Option<&E> {
        self.table.get_bucket(index)
    }

    /// Memory of buckets and control bytes; what entries own elsewhere is not counted.
    #[inline]
    pub fn allocation_bytes(&self) -> usize {
        self.table.num_buckets() * (size_of::<E>() + 1)
    }
}

impl<E> std::fmt::Debug for PrefetchTable<E> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PrefetchTable").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Brings a cache line near; any address will do.
#[inline(always)]
pub(super) fn prefetch(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch of any address, mapped or not, changes caches only and never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_random::SplitMix64;
    use std::collections::BTreeMap;

    fn rehash(entry: &(u64, u64)) -> KeyHash {
        KeyHash::of(&entry.0)
    }

    #[test]
    fn behaves_like_a_map() {
        let (mut table, mut model) = (PrefetchTable::new(), BTreeMap::new());
        let mut random = SplitMix64::new(3);
        for step in 0..50_000_u64 {
            let key = random.below(2_000);
            let hash = KeyHash::of(&key);
            table.hint(hash);
            if random.below(3) == 0 {
                let removed = table.remove(hash, |entry: &(u64, u64)| entry.0 == key);
                assert_eq!(removed.map(|entry| entry.1), model.remove(&key));
            } else {
                let entry = table.find_or_insert_with(hash, |e| e.0 == key, rehash, || (key, 0));
                entry.1 += step;
                *model.entry(key).or_insert(0) += step;
            }
        }
        assert_eq!(table.iter().copied().collect::<BTreeMap<_, _>>(), model);
        assert_eq!(table.len(), model.len());
    }

    #[test]
    fn learns_where_the_buckets_lie() {
        let mut table = PrefetchTable::new();
        assert!(!table.is_deep());
        for key in 0..100_000_u64 {
            table.insert_unique(KeyHash::of(&key), (key, 0), rehash);
        }
        assert!(table.is_deep());
        let buckets = table.table.num_buckets();
        assert_eq!(table.bucket_mask, buckets - 1);
        for index in (0..buckets).filter(|index| table.table.get_bucket(*index).is_some()) {
            let entry = table.table.get_bucket(index).map(ptr::from_ref).unwrap();
            let computed = table.control.wrapping_sub((index + 1) * size_of::<(u64, u64)>());
            assert_eq!(computed.addr(), entry.addr());
        }
    }

    #[test]
    fn zero_sized_entries_and_empty_tables_take_hints() {
        let mut table = PrefetchTable::<()>::new();
        table.hint(KeyHash::from_u32(u32::MAX));
        table.insert_unique(KeyHash::from_u32(1), (), |_| KeyHash::from_u32(1));
        assert!(!table.is_deep());
        table.hint(KeyHash::from_u32(u32::MAX));
        assert_eq!(table.find(KeyHash::from_u32(1), |_| true), Some(&()));
    }
}
