//! hashbrown's tables, divided as they grow.
//!
//! 1. A small table is one `hashbrown::HashTable`. It grows as that does, until it has `part_buckets()` buckets.
//! 2. When these are full the table is divided in two, and from then on each part that is full: extendible hashing, with
//!    the directory of `directory.rs`. A division moves at most 28,672 entries, 0.2 ms; one rehash of hashbrown took 202 ms
//!    at 10 M entries.
//! 3. Parts are chosen by the bits that choose key groups, which are neither those of buckets nor those of tags.
//! 4. A part may have [`Marks`], which say something of its buckets and go with the entries when these move. Its size is
//!    half then: to carry marks makes a division slower. Growing a tracked flat store to 10 M entries of 16 bytes, the
//!    longest call that came again in three runs was 0.9 to 1.1 ms, 0.8 to 0.9 since entries are given up in one pass,
//!    0.4 with half the size; updates are as fast as before (1.29 and 1.28 times hashbrown's, 1.46 and 1.43).
//!
//! **Invariants**
//! - `whole` is empty once there are parts.
//! - A full part is only divided where both halves get entries. Entries that agree in all bits of the directory (one key's
//!   many, or a bad hash) stay together, in a part that grows as a plain table does.
//! - Parts are never joined, as a plain table never shrinks.
//! - hashbrown never moves entries by itself: there is room before it is asked to insert.

use hashbrown::HashTable;
use std::mem::replace;
use std::ptr;
use thalweg_io::memory::PageSupply;

use super::directory::{DEPTH_MAX, Directory, bit_after, shared_bits};
use super::{DEEP_BYTES, prefetch_bucket};
use crate::KeyHash;
use crate::memory::table_memory::TableMemory;

/// How many buckets are looked at for a live element. A table that has just grown is half full.
const LEARN_BUCKETS_MAX: usize = 1024;

/// The most buckets and bytes of a part. 32 K buckets leave 15 bits of the hash to buckets, 7 to tags, 10 to parts; half
/// or a whole MiB is divided in 0.2 to 0.4 ms.
const PART_BUCKETS_MAX: usize = 32 << 10;
const PART_BYTES_MAX: usize = 1 << 20;
/// Fewer would make the directory larger than what it saves.
const PART_BUCKETS_MIN: usize = 1 << 10;

/// How many buckets a part of such entries has.
pub(super) const fn part_buckets(entry_bytes: usize) -> usize {
    let mut buckets = PART_BUCKETS_MAX;
    while buckets > PART_BUCKETS_MIN && buckets * (entry_bytes + 1) > PART_BYTES_MAX {
        buckets /= 2;
    }
    buckets
}

/// How many entries hashbrown puts into so many buckets.
pub(in crate::memory) const fn capacity_of(buckets: usize) -> usize {
    if buckets < 8 { buckets - 1 } else { buckets / 8 * 7 }
}

/// What is known of the buckets of a part, beside their entries.
pub(in crate::memory) trait Marks {
    /// Whether there is something to carry when entries move.
    const ARE_CARRIED: bool;

    /// Marks of a part of so many buckets that takes over entries of this part; no bucket is marked.
    fn successor(&self, buckets: usize) -> Self;

    /// The entry of bucket `from` now lies in bucket `to` of the other part.
    fn carry(&self, from: usize, other: &mut Self, to: usize);
}

impl Marks for () {
    const ARE_CARRIED: bool = false;

    fn successor(&self, _buckets: usize) -> Self {}

    fn carry(&self, _from: usize, _other: &mut Self, _to: usize) {}
}

/// A table, or a part of a divided one. What a lookup reads of it is one line.
#[repr(C, align(64))]
pub(in crate::memory) struct Part<E, M> {
    pub(in crate::memory) table: HashTable<E, TableMemory>,
    pub(in crate::memory) marks: M,
}

impl<E, M: Marks> Part<E, M> {
    /// An empty part that takes over entries of this part.
    fn successor(&self, capacity: usize, memory: TableMemory) -> Self {
        let table = HashTable::with_capacity_in(capacity, memory);
        let marks = self.marks.successor(table.num_buckets());
        Part { table, marks }
    }

    /// Gives up all entries, in the order of buckets, with the marks and the bucket each was in. That is about the order
    /// of the takers' buckets, so their writes are sequential.
    fn pour(self, mut take: impl FnMut(E, &M, usize)) {
        let full = if M::ARE_CARRIED { full_buckets(&self.table) } else { Box::default() };
        let Part { table, marks } = self;
        let mut entries = table.into_iter();
        if !M::ARE_CARRIED {
            return entries.for_each(|entry| take(entry, &marks, 0));
        }
        for (word, bits) in full.iter().enumerate() {
            let mut left = *bits;
            while left != 0 {
                let entry = entries.next().expect("a full bucket has an entry");
                take(entry, &marks, word * BITS + left.trailing_zeros() as usize);
                left &= left - 1;
            }
        }
    }

    /// Takes over an entry that another part has given up. There is room.
    #[inline]
    fn take(&mut self, hash: KeyHash, entry: E, marks: &M, from: usize) {
        let hasher = |_: &E| unreachable!("there is room for all entries that are moved");
        let taken = self.table.insert_unique(hash.wide(), entry, hasher);
        marks.carry(from, &mut self.marks, taken.bucket_index());
    }
}

/// Buckets of a word of [`full_buckets`].
const BITS: usize = u64::BITS as usize;

/// A bit for each bucket that has an entry. hashbrown tells the bucket of an entry that it gives up only if it is removed
/// alone, which took a third of a division.
fn full_buckets<E>(table: &HashTable<E, TableMemory>) -> Box<[u64]> {
    let mut full = vec![0; table.num_buckets().div_ceil(BITS)];
    table.iter_buckets().for_each(|bucket| full[bucket / BITS] |= 1 << (bucket % BITS));
    full.into()
}

/// See the module docs.
pub(in crate::memory) struct PartedTable<E, M> {
    /// All entries, until there are parts.
    pub(super) whole: Part<E, M>,
    /// Where control byte 0 of `whole` lay when it was last learned. Never read through.
    pub(super) whole_control: *const u8,
    /// Number of buckets of `whole` less one when `whole_control` was learned.
    pub(super) whole_bucket_mask: usize,
    pub(super) parts: Directory<Part<E, M>>,
    /// Where parts get huge pages from.
    supply: Option<PageSupply>,
    /// Buckets of all parts together.
    pub(super) part_bucket_count: usize,
    /// How many of these are beyond `PART_BUCKETS` of their part.
    pub(super) excess_bucket_count: usize,
}

impl<E, M: Marks> PartedTable<E, M> {
    /// Half of the usual where marks are carried, which makes a division slower: see the module docs.
    pub(super) const PART_BUCKETS: usize =
        part_buckets(size_of::<E>()) / if M::ARE_CARRIED { 2 } else { 1 };

    /// An empty table; allocates nothing. The marks are those of no buckets.
    pub(in crate::memory) const fn new(marks: M) -> Self {
        PartedTable {
            whole: Part { table: HashTable::new_in(TableMemory::global()), marks },
            whole_control: ptr::null(),
            whole_bucket_mask: 0,
            parts: Directory::new(),
            supply: None,
            part_bucket_count: 0,
            excess_bucket_count: 0,
        }
    }

    #[inline(always)]
    pub(in crate::memory) fn hint(&self, hash: KeyHash) {
        let (control, mask) = match self.parts.is_empty() {
            true => (self.whole_control, self.whole_bucket_mask),
            // SAFETY: there is a part. A part with other than the usual buckets gets a hint for nothing.
            false => (unsafe { self.parts.control_unchecked(hash) }, Self::PART_BUCKETS - 1),
        };
        prefetch_bucket::<E>(control, hash.as_u32() as usize & mask);
    }

    #[inline]
    pub(in crate::memory) fn is_deep(&mut self) -> bool {
        if self.whole.table.num_buckets() != self.whole_bucket_mask + 1 {
            self.whole_control = learn(&self.whole.table);
            self.whole_bucket_mask = self.whole.table.num_buckets() - 1;
        }
        self.allocation_bytes() > DEEP_BYTES
    }

    /// The table or part of a hash.
    #[inline(always)]
    pub(in crate::memory) fn part(&self, hash: KeyHash) -> &Part<E, M> {
        match self.parts.is_empty() {
            true => &self.whole,
            // SAFETY: there is a part.
            false => unsafe { self.parts.find_unchecked(hash) },
        }
    }

    /// As [`part`](Self::part), to change.
    #[inline(always)]
    pub(in crate::memory) fn part_mut(&mut self, hash: KeyHash) -> &mut Part<E, M> {
        match self.parts.is_empty() {
            true => &mut self.whole,
            // SAFETY: there is a part.
            false => unsafe { self.parts.find_mut_unchecked(hash) },
        }
    }

    /// The undivided table and all parts.
    pub(in crate::memory) fn tables(&self) -> impl Iterator<Item = &Part<E, M>> {
        std::iter::once(&self.whole).chain(self.parts.iter())
    }

    /// As [`tables`](Self::tables), to change.
    pub(in crate::memory) fn tables_mut(&mut self) -> impl Iterator<Item = &mut Part<E, M>> {
        std::iter::once(&mut self.whole).chain(self.parts.iter_mut())
    }

    /// The part of a number: 0 is the undivided table while there are no parts. Numbers stay, and new parts get new ones.
    pub(in crate::memory) fn part_of_number(&mut self, number: usize) -> Option<&mut Part<E, M>> {
        match self.parts.is_empty() {
            true => (number == 0).then_some(&mut self.whole),
            false => self.parts.get_mut(number),
        }
    }

    /// As [`part_of_number`](Self::part_of_number), to read.
    #[inline]
    pub(super) fn numbered_part(&self, number: usize) -> Option<&Part<E, M>> {
        match self.parts.is_empty() {
            true => (number == 0).then_some(&self.whole),
            false => self.parts.get(number),
        }
    }

    /// How many parts there are, the undivided table being one.
    pub(in crate::memory) fn parts_count(&self) -> usize {
        self.parts.len().max(1)
    }

    /// What a part takes.
    pub(in crate::memory) const fn part_bytes(&self) -> usize {
        Self::PART_BUCKETS * (size_of::<E>() + 1)
    }

    /// Whether the next insertion into the part of this hash needs [`part_with_room`](Self::part_with_room) to grow it.
    pub(in crate::memory) fn is_full(&self, hash: KeyHash) -> bool {
        let table = &self.part(hash).table;
        table.len() == table.capacity()
    }

    /// Bytes that the next growth of the part of this hash takes at most, beyond what is there.
    pub(in crate::memory) fn growth_bytes(&self, hash: KeyHash) -> usize {
        self.part(hash).table.num_buckets() * (size_of::<E>() + 1)
    }

    /// The part of a hash, with room for one more entry, so that hashbrown never grows it.
    #[inline(always)]
    pub(in crate::memory) fn part_with_room(
        &mut self,
        hash: KeyHash,
        rehash: impl Fn(&E) -> KeyHash,
    ) -> &mut Part<E, M> {
        if self.is_full(hash) {
            self.make_room(hash, &rehash);
        }
        self.part_mut(hash)
    }

    #[cold]
    #[inline(never)]
    fn make_room(&mut self, hash: KeyHash, rehash: &impl Fn(&E) -> KeyHash) {
        // Twice at most: the entries may be divided off without the part of `hash` getting any.
        while self.is_full(hash) {
            let part = self.part(hash);
            let buckets = part.table.num_buckets();
            // With removals behind it, a part may have no room and few entries: then it is only tidied up.
            let is_crowded = part.table.len() + 1 > capacity_of(buckets) / 2;
            if buckets >= Self::PART_BUCKETS && is_crowded && self.divide(hash, rehash) {
                continue;
            }
            if M::ARE_CARRIED {
                let buckets = if is_crowded { (buckets * 2).max(4) } else { buckets };
                let capacity = capacity_of(buckets).max(self.part(hash).table.len());
                self.rebuild(hash, capacity, rehash, |_, _| true);
            } else {
                self.part_mut(hash).table.reserve(1, |entry| rehash(entry).wide());
                self.has_grown(hash, buckets);
            }
        }
    }

    /// Moves the entries of the part of this hash for which `keep` holds, by marks and bucket, to a new part, which has
    /// room for so many, and drops the others. There are no more of them.
    pub(in crate::memory) fn rebuild(
        &mut self,
        hash: KeyHash,
        capacity: usize,
        rehash: &impl Fn(&E) -> KeyHash,
        mut keep: impl FnMut(&M, usize) -> bool,
    ) {
        let memory = self.whole.table.allocator().share();
        let part = self.part_mut(hash);
        let buckets = part.table.num_buckets();
        let rebuilt = part.successor(capacity, memory);
        replace(part, rebuilt).pour(|entry, marks, from| {
            if keep(marks, from) {
                part.take(rehash(&entry), entry, marks, from);
            }
        });
        self.has_grown(hash, buckets);
    }

    /// The part of this hash had so many buckets, or others.
    fn has_grown(&mut self, hash: KeyHash, buckets_before: usize) {
        if self.parts.is_empty() {
            // To be learned by `is_deep`.
            self.whole_bucket_mask = 0;
            return;
        }
        let table = &self.part(hash).table;
        let (buckets, control) = (table.num_buckets(), learn(table));
        self.count_buckets(buckets_before, buckets);
        self.parts.set_control(hash, control);
    }

    /// Where parts get huge pages from, those that are made after the table is first divided.
    pub(in crate::memory) fn set_page_supply(&mut self, supply: PageSupply) {
        self.supply = Some(supply);
    }

    /// Divides the part of `hash` in two; false if its entries agree in all bits of the directory.
    fn divide(&mut self, hash: KeyHash, rehash: &impl Fn(&E) -> KeyHash) -> bool {
        let depth = self.parts.number(hash).map_or(0, |number| self.parts.depth(number));
        let part = self.part(hash);
        let shared = shared_bits(part.table.iter().map(rehash), depth);
        let Some(pivot) = part.table.iter().next().map(rehash) else { return false };
        if shared >= DEPTH_MAX {
            return false;
        }
        if self.parts.is_empty() {
            let nothing = self.whole.successor(0, TableMemory::pool(self.supply.clone()));
            let whole = replace(&mut self.whole, nothing);
            self.count_buckets(0, whole.table.num_buckets());
            self.parts.begin(whole);
        }
        // A subtask's keys share the bits of its groups: parts without entries stand for the others.
        for _ in depth..shared {
            let nothing = self.part(pivot).successor(0, self.whole.table.allocator().share());
            self.count_buckets(0, nothing.table.num_buckets());
            self.parts.divide(pivot, nothing, ptr::null());
        }
        self.divide_entries(pivot, shared, rehash);
        true
    }

    /// Moves the entries of the part of `pivot` to two new ones, by the bit after `depth`.
    fn divide_entries(&mut self, pivot: KeyHash, depth: u32, rehash: &impl Fn(&E) -> KeyHash) {
        let memory = self.whole.table.allocator().share();
        let part = self.part_mut(pivot);
        let capacity = capacity_of(Self::PART_BUCKETS).max(part.table.len());
        let mut near = part.successor(capacity, memory.share());
        let mut far = part.successor(capacity, memory.share());
        let nothing = part.successor(0, memory);
        let divided = replace(part, nothing);
        self.count_buckets(divided.table.num_buckets(), 0);
        divided.pour(|entry, marks, from| {
            let hash = rehash(&entry);
            let is_near = bit_after(hash, depth) == bit_after(pivot, depth);
            let half = if is_near { &mut near } else { &mut far };
            half.take(hash, entry, marks, from);
        });
        self.count_buckets(0, near.table.num_buckets());
        self.count_buckets(0, far.table.num_buckets());
        let (near_control, far_control) = (learn(&near.table), learn(&far.table));
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

    #[inline]
    pub(in crate::memory) fn len(&self) -> usize {
        self.tables().map(|part| part.table.len()).sum()
    }

    #[inline]
    pub(in crate::memory) fn bucket_count(&self) -> usize {
        match self.parts.len() {
            0 => self.whole.table.num_buckets(),
            parts => parts * Self::PART_BUCKETS + self.excess_bucket_count,
        }
    }

    #[inline]
    pub(in crate::memory) fn bucket(&self, index: usize) -> Option<&E> {
        match self.parts.get(index / Self::PART_BUCKETS) {
            Some(part) => part.table.get_bucket(index % Self::PART_BUCKETS),
            None if self.parts.is_empty() => self.whole.table.get_bucket(index),
            None => self.excess_bucket(index - self.parts.len() * Self::PART_BUCKETS),
        }
    }

    /// The buckets of parts that have more than the usual number, counted after all others.
    #[cold]
    fn excess_bucket(&self, mut index: usize) -> Option<&E> {
        for part in self.parts.iter() {
            let excess = part.table.num_buckets().saturating_sub(Self::PART_BUCKETS);
            if index < excess {
                return part.table.get_bucket(Self::PART_BUCKETS + index);
            }
            index -= excess;
        }
        None
    }

    #[inline]
    pub(in crate::memory) fn allocation_bytes(&self) -> usize {
        (self.whole.table.num_buckets() + self.part_bucket_count) * (size_of::<E>() + 1)
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
