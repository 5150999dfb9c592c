//! A hash table that knows where its buckets lie, so that a batch can fetch them before they are needed, and that grows
//! by parts, so that no insertion waits for all of it to be moved.
//!
//! 1. A small table is one `hashbrown::HashTable`. It grows as that does, until it has `part_buckets()` buckets.
//! 2. When these are full the table is divided in two, and from then on each part that is full: extendible hashing, with
//!    the directory of `directory.rs`. A division moves at most 28,672 entries, 0.2 ms; one rehash of hashbrown took 202 ms
//!    at 10 M entries.
//! 3. Parts are chosen by the bits that choose key groups, which are neither those of buckets nor those of tags.
//!
//! hashbrown keeps entry `i` directly below the control bytes, at `control - (i + 1) * size`, and control byte `i` at
//! `control + i`. One live element at a known index therefore gives the base address; no private API is needed.
//!
//! **Invariants**
//! - The learned address is only ever prefetched, never read: a wrong one costs speed, not correctness.
//! - `is_deep` learns again after growth; it is called once a batch, `hint` once a record. Parts are learned when they
//!   are made.
//! - `whole` is empty once there are parts.
//! - A full part is only divided where both halves get entries. Entries that agree in all bits of the directory (one key's
//!   many, or a bad hash) stay together, in a part that grows as a plain table does.
//! - Parts are never joined, as a plain table never shrinks.

pub(crate) mod directory;
#[cfg(test)]
mod tests;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::ptr;

use self::directory::{DEPTH_MAX, Directory, bit_after, shared_bits};
use super::table_memory::TableMemory;
use crate::KeyHash;

/// Tables beyond this size are prefetched: half of the measured machines' private L2 of 1 MiB.
/// Below it a hint is an instruction for nothing (5.2 ns a record without, 6.4 with, at 1 k keys;
/// 40 and 31 at 1 M).
pub(super) const DEEP_BYTES: usize = 512 << 10;

/// How many buckets are looked at for a live element. A table that has just grown is half full.
const LEARN_BUCKETS_MAX: usize = 1024;

/// The most buckets and bytes of a part. 32 K buckets leave 15 bits of the hash to buckets, 7 to tags, 10 to parts; half
/// or a whole MiB is divided in 0.2 to 0.4 ms.
const PART_BUCKETS_MAX: usize = 32 << 10;
const PART_BYTES_MAX: usize = 1 << 20;
/// Fewer would make the directory larger than what it saves.
const PART_BUCKETS_MIN: usize = 1 << 10;

/// How many buckets a part of such entries has.
pub(crate) const fn part_buckets(entry_bytes: usize) -> usize {
    let mut buckets = PART_BUCKETS_MAX;
    while buckets > PART_BUCKETS_MIN && buckets * (entry_bytes + 1) > PART_BYTES_MAX {
        buckets /= 2;
    }
    buckets
}

/// How many entries hashbrown puts into so many buckets, of which there are at least 8.
pub(crate) const fn capacity_of(buckets: usize) -> usize {
    buckets / 8 * 7
}

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
    /// All entries, until there are parts.
    whole: HashTable<E, TableMemory>,
    /// Where control byte 0 of `whole` lay when it was last learned. Never read through.
    whole_control: *const u8,
    /// Number of buckets of `whole` less one when `whole_control` was learned.
    whole_bucket_mask: usize,
    parts: Directory<HashTable<E, TableMemory>>,
    /// Buckets of all parts together.
    part_bucket_count: usize,
    /// How many of these are beyond `PART_BUCKETS` of their part.
    excess_bucket_count: usize,
}

impl<E> Default for PrefetchTable<E> {
    fn default() -> Self {
        PrefetchTable::new()
    }
}

impl<E> PrefetchTable<E> {
    const PART_BUCKETS: usize = part_buckets(size_of::<E>());

    /// An empty table; allocates nothing.
    pub const fn new() -> Self {
        PrefetchTable {
            whole: HashTable::new_in(TableMemory::global()),
            whole_control: ptr::null(),
            whole_bucket_mask: 0,
            parts: Directory::new(),
            part_bucket_count: 0,
            excess_bucket_count: 0,
        }
    }

    /// Prefetches the bucket and the control bytes of a hash; about 16 records ahead of its use.
    #[inline(always)]
    pub fn hint(&self, hash: KeyHash) {
        let (control, mask) = match self.parts.is_empty() {
            true => (self.whole_control, self.whole_bucket_mask),
            // SAFETY: there is a part. A part with other than the usual buckets gets a hint for nothing.
            false => (unsafe { self.parts.control_unchecked(hash) }, Self::PART_BUCKETS - 1),
        };
        let index = hash.as_u32() as usize & mask;
        prefetch_bucket::<E>(control, index);
    }

    /// Whether the table has outgrown the private caches, so that hints pay. Learns the base
    /// address again if the table has grown since: call it once a batch.
    #[inline]
    pub fn is_deep(&mut self) -> bool {
        if self.whole.num_buckets() != self.whole_bucket_mask + 1 {
            self.whole_control = learn(&self.whole);
            self.whole_bucket_mask = self.whole.num_buckets() - 1;
        }
        self.allocation_bytes() > DEEP_BYTES
    }

    /// The table or part of a hash.
    #[inline(always)]
    fn part(&self, hash: KeyHash) -> &HashTable<E, TableMemory> {
        match self.parts.is_empty() {
            true => &self.whole,
            // SAFETY: there is a part.
            false => unsafe { self.parts.find_unchecked(hash) },
        }
    }

    #[inline(always)]
    fn part_mut(&mut self, hash: KeyHash) -> &mut HashTable<E, TableMemory> {
        match self.parts.is_empty() {
            true => &mut self.whole,
            // SAFETY: there is a part.
            false => unsafe { self.parts.find_mut_unchecked(hash) },
        }
    }

    /// The part of a hash, with room for one more entry, so that hashbrown never grows it.
    #[inline(always)]
    fn part_with_room(
        &mut self,
        hash: KeyHash,
        rehash: impl Fn(&E) -> KeyHash,
    ) -> &mut HashTable<E, TableMemory> {
        let part = self.part(hash);
        if part.len() == part.capacity() {
            self.make_room(hash, rehash);
        }
        self.part_mut(hash)
    }

    #[cold]
    #[inline(never)]
    fn make_room(&mut self, hash: KeyHash, rehash: impl Fn(&E) -> KeyHash) {
        // Twice at most: the entries may be divided off without the part of `hash` getting any.
        while self.part(hash).len() == self.part(hash).capacity() {
            let part = self.part(hash);
            let buckets = part.num_buckets();
            // With removals behind it, a part may have no room and few entries: hashbrown then only tidies it up.
            let is_full = buckets >= Self::PART_BUCKETS && part.len() > capacity_of(buckets) / 2;
            if is_full && self.divide(hash, &rehash) {
                continue;
            }
            self.part_mut(hash).reserve(1, |entry| rehash(entry).wide());
            if !self.parts.is_empty() && self.part(hash).num_buckets() != buckets {
                self.count_buckets(buckets, self.part(hash).num_buckets());
                self.parts.set_control(hash, learn(self.part(hash)));
            }
        }
    }

    /// Divides the part of `hash` in two; false if its entries agree in all bits of the directory.
    fn divide(&mut self, hash: KeyHash, rehash: &impl Fn(&E) -> KeyHash) -> bool {
        let depth = self.parts.number(hash).map_or(0, |number| self.parts.depth(number));
        let shared = shared_bits(self.part(hash).iter().map(rehash), depth);
        let Some(pivot) = self.part(hash).iter().next().map(rehash) else { return false };
        if shared >= DEPTH_MAX {
            return false;
        }
        if self.parts.is_empty() {
            let nothing = HashTable::new_in(TableMemory::pool());
            let whole = std::mem::replace(&mut self.whole, nothing);
            self.count_buckets(0, whole.num_buckets());
            self.parts.begin(whole);
        }
        // A subtask's keys share the bits of its groups: parts without entries stand for the others.
        for _ in depth..shared {
            let nothing = HashTable::new_in(self.whole.allocator().share());
            self.count_buckets(0, nothing.num_buckets());
            self.parts.divide(pivot, nothing, ptr::null());
        }
        self.divide_entries(pivot, shared, rehash);
        true
    }

    /// Moves the entries of the part of `pivot` to two new ones, by the bit after `depth`.
    fn divide_entries(&mut self, pivot: KeyHash, depth: u32, rehash: impl Fn(&E) -> KeyHash) {
        let memory = self.whole.allocator();
        let capacity = capacity_of(Self::PART_BUCKETS);
        let mut near = HashTable::with_capacity_in(capacity, memory.share());
        let mut far = HashTable::with_capacity_in(capacity, memory.share());
        let nothing = HashTable::new_in(memory.share());
        let divided = std::mem::replace(self.part_mut(pivot), nothing);
        self.count_buckets(divided.num_buckets(), 0);
        // In the order of buckets, which is that of the halves' buckets: the writes are sequential.
        for entry in divided {
            let hash = rehash(&entry);
            let is_near = bit_after(hash, depth) == bit_after(pivot, depth);
            let half = if is_near { &mut near } else { &mut far };
            half.insert_unique(hash.wide(), entry, |entry| rehash(entry).wide());
        }
        self.count_buckets(0, near.num_buckets());
        self.count_buckets(0, far.num_buckets());
        let (near_control, far_control) = (learn(&near), learn(&far));
        *self.part_mut(pivot) = near;
        self.parts.divide(pivot, far, far_control);
        self.parts.set_control(pivot, near_control);
    }

    /// A part that had `before` buckets has `after`.
    fn count_buckets(&mut self, before: usize, after: usize) {
        self.part_bucket_count = self.part_bucket_count - before + after;
        let excess = |buckets: usize| buckets.saturating_sub(Self::PART_BUCKETS);
        self.excess_bucket_count = self.excess_bucket_count - excess(before) + excess(after);
    }

    /// The entry of this hash for which `equals` holds.
    #[inline]
    pub fn find(&self, hash: KeyHash, equals: impl FnMut(&E) -> bool) -> Option<&E> {
        self.part(hash).find(hash.wide(), equals)
    }

    /// The entry of this hash for which `equals` holds, to change all but its key.
    #[inline]
    pub fn find_mut(&mut self, hash: KeyHash, equals: impl FnMut(&E) -> bool) -> Option<&mut E> {
        self.part_mut(hash).find_mut(hash.wide(), equals)
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
        let part = ptr::from_mut(self.part_mut(hash));
        // SAFETY: borrowed from `self` just now, and where nothing is found no longer used; the compiler cannot tell that
        // the borrow ends there, and to look the part up twice takes 10 % of an update.
        let part = unsafe { &mut *part };
        match part.find_mut(hash.wide(), equals) {
            Some(entry) => entry,
            None => self.insert_new(hash, make(), rehash),
        }
    }

    fn insert_new(&mut self, hash: KeyHash, entry: E, rehash: impl Fn(&E) -> KeyHash) -> &mut E {
        let part = self.part_with_room(hash, &rehash);
        part.insert_unique(hash.wide(), entry, |entry| rehash(entry).wide()).into_mut()
    }

    /// hashbrown's entry of this hash, to insert, change or remove it with one lookup.
    #[inline]
    pub fn entry(
        &mut self,
        hash: KeyHash,
        equals: impl FnMut(&E) -> bool,
        rehash: impl Fn(&E) -> KeyHash,
    ) -> Entry<'_, E, TableMemory> {
        let part = self.part_with_room(hash, &rehash);
        part.entry(hash.wide(), equals, |entry| rehash(entry).wide())
    }

    /// Inserts an entry that is known to be new.
    #[inline]
    pub fn insert_unique(&mut self, hash: KeyHash, entry: E, rehash: impl Fn(&E) -> KeyHash) {
        self.insert_new(hash, entry, rehash);
    }

    /// Removes and returns the entry of this hash for which `equals` holds.
    #[inline]
    pub fn remove(&mut self, hash: KeyHash, equals: impl FnMut(&E) -> bool) -> Option<E> {
        let entry = self.part_mut(hash).find_entry(hash.wide(), equals).ok()?;
        Some(entry.remove().0)
    }

    /// Keeps the entries for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&mut E) -> bool) {
        self.whole.retain(&mut keep);
        self.parts.iter_mut().for_each(|part| part.retain(&mut keep));
    }

    /// Removes all entries and keeps the memory.
    pub fn clear(&mut self) {
        self.whole.clear();
        self.parts.iter_mut().for_each(HashTable::clear);
    }

    /// The entries; the order depends on hashes and history alone, so it is the same in every run.
    pub fn iter(&self) -> impl Iterator<Item = &E> {
        self.whole.iter().chain(self.parts.iter().flatten())
    }

    /// The entries, to change all but their keys.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut E> {
        self.whole.iter_mut().chain(self.parts.iter_mut().flatten())
    }

    /// How many entries there are. Asks every part.
    #[inline]
    pub fn len(&self) -> usize {
        self.whole.len() + self.parts.iter().map(HashTable::len).sum::<usize>()
    }

    /// Whether there is no entry.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.parts.iter().all(HashTable::is_empty)
    }

    /// Number of buckets: the bound of [`bucket`](Self::bucket). Changes only when the table grows.
    #[inline]
    #[must_use]
    pub fn bucket_count(&self) -> usize {
        match self.parts.len() {
            0 => self.whole.num_buckets(),
            parts => parts * Self::PART_BUCKETS + self.excess_bucket_count,
        }
    }

    /// The entry in bucket `index`, if there is one: a walk that can be stopped and resumed as long as nothing is
    /// inserted or removed.
    #[inline]
    #[must_use]
    pub fn bucket(&self, index: usize) -> Option<&E> {
        match self.parts.get(index / Self::PART_BUCKETS) {
            Some(part) => part.get_bucket(index % Self::PART_BUCKETS),
            None if self.parts.is_empty() => self.whole.get_bucket(index),
            None => self.excess_bucket(index - self.parts.len() * Self::PART_BUCKETS),
        }
    }

    /// The buckets of parts that have more than the usual number, counted after all others.
    #[cold]
    fn excess_bucket(&self, mut index: usize) -> Option<&E> {
        for part in self.parts.iter() {
            let excess = part.num_buckets().saturating_sub(Self::PART_BUCKETS);
            if index < excess {
                return part.get_bucket(Self::PART_BUCKETS + index);
            }
            index -= excess;
        }
        None
    }

    /// Memory of buckets and control bytes; what entries own elsewhere is not counted.
    #[inline]
    pub fn allocation_bytes(&self) -> usize {
        (self.whole.num_buckets() + self.part_bucket_count) * (size_of::<E>() + 1)
    }
}

/// Where control byte 0 of a table lies, if a live entry among the first tells.
#[cold]
fn learn<E>(table: &HashTable<E, TableMemory>) -> *const u8 {
    let buckets = table.num_buckets();
    let live = (0..buckets.min(LEARN_BUCKETS_MAX))
        .find_map(|index| table.get_bucket(index).map(|entry| (index, entry)));
    live.map_or(ptr::null(), |(index, entry)| ptr::from_ref(entry).wrapping_add(index + 1).cast())
}

impl<E> std::fmt::Debug for PrefetchTable<E> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PrefetchTable").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Bytes beyond an entry's own bucket that it is likely to lie in: at half load one in four is not in its own, but in one
/// of the next.
const NEXT_BUCKETS_BYTES: usize = 48;
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
    prefetch(entry.wrapping_sub(NEXT_BUCKETS_BYTES));
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
