//! Entries that leave memory when it is limited.
//!
//! 1. Beats report what the table takes and are told its share of the slot's memory budget.
//! 2. A part that is full is divided only within the share. Otherwise a quarter of its entries is dropped, chosen by a clock
//!    among those that the tier shows as they are (`changes.rs`), and the rest moved to a fresh part: with 28,672 entries
//!    0.2 ms, and 30 ns for each that may come instead.
//! 3. Entries that have changed cannot go before they are below. When they take [`DIRTY_SHARE`] of the table's share, or an
//!    eviction finds too little, the next beat asks for a barrier, a *spill*.
//! 4. Beyond the share, because a part had nothing to drop or because other tables need more, beats move parts to half as
//!    many buckets. Where memory exceeds the share by a tenth, or twice as much has changed as a spill may take while the
//!    one before is not readable, they ask that no record is taken until there is room.

use super::changes::Victims;
use super::{FlatStore, rehash};
use crate::memory::prefetch_table::capacity_of;
use crate::{Key, KeyHash, MemoryPressure, StateValue};

/// The share of a part's entries that an eviction asks for.
const EVICTED_SHARE: usize = 4;
/// An eviction that finds less than this share of a part's entries asks for a spill.
const SCARCE_SHARE: usize = 16;
/// The share of the memory that the records of a spill may take: they are in memory until they are durable.
const DIRTY_SHARE: u64 = 6;
/// What a record takes beside key and value.
const RECORD_BYTES: usize = 9;
/// Parts are not made smaller than this.
const BUCKETS_MIN: usize = 8;
/// Rows of a beat that cost as much as to make one part smaller.
const SHRINK_COST: usize = 256;

impl<K: Key, S: StateValue> FlatStore<K, S> {
    /// What the table takes, as a memory budget counts it.
    pub fn resident_bytes(&self) -> u64 {
        let buckets = self.table.allocation_bytes() / bucket_bytes::<K, S>();
        let is_tracked = self.tracking.is_some();
        let has_budget = self.tracking.as_ref().is_some_and(|tracking| tracking.has_budget());
        // Bits: dirty, frozen, below; referenced, unreadable.
        let bits = buckets * (3 * usize::from(is_tracked) + 2 * usize::from(has_budget));
        (self.table.allocation_bytes() + bits / 8) as u64
    }

    /// How many entries have left memory to make room.
    pub fn evicted_rows(&self) -> u64 {
        self.tracking.as_ref().map_or(0, |tracking| tracking.evicted_count)
    }

    /// If the part of this hash is full and must not grow: drops entries of it, those that were not used lately first.
    pub(super) fn keep_to_budget(&mut self, hash: KeyHash) {
        let Some(tracking) = &self.tracking else { return };
        if !tracking.has_budget() || !self.table.is_full(hash) {
            return;
        }
        let grown = self.table.allocation_bytes() + self.table.growth_bytes(hash);
        if grown as u64 > tracking.share_bytes {
            self.evict(hash);
        }
    }

    #[cold]
    fn evict(&mut self, hash: KeyHash) {
        let Some(tracking) = &mut self.tracking else { return };
        let part = self.table.part_mut(hash);
        part.marks.show(tracking.store.readable_epoch());
        let (count, capacity) = (part.table.len(), part.table.capacity());
        let victims = part.marks.choose_victims(count.div_ceil(EVICTED_SHARE));
        tracking.wants_spill |= victims.count <= count / SCARCE_SHARE;
        if victims.count > 0 {
            self.drop_entries(hash, capacity, &victims);
        }
    }

    /// Moves the part of this hash, but for the victims, to one with this capacity.
    fn drop_entries(&mut self, hash: KeyHash, capacity: usize, victims: &Victims) {
        if let Some(tracking) = self.tracking.as_mut().filter(|_| victims.count > 0) {
            tracking.note_evicted(victims.count);
        }
        self.table.rebuild(hash, capacity, &rehash, |_, bucket| !victims.has(bucket));
    }

    /// Gives memory back if the table takes more than its share, as much work as writing so many rows.
    pub(super) fn make_room(&mut self, rows_max: usize) -> MemoryPressure {
        let used = self.resident_bytes();
        let Some(tracking) = self.tracking.as_mut().filter(|tracking| tracking.has_budget()) else {
            return MemoryPressure::default();
        };
        let Some(share) = tracking.store.share_of_budget(used) else {
            return MemoryPressure::default();
        };
        tracking.share_bytes = share;
        let readable = tracking.store.readable_epoch();
        if readable > tracking.unshrunk_epoch {
            (tracking.unshrunk_epoch, tracking.unshrunk_parts) = (readable, 0);
        }
        let mut parts_left = rows_max.div_ceil(SHRINK_COST).min(self.table.parts_count());
        while parts_left > 0 && self.resident_bytes() > share && self.can_shrink() {
            self.shrink_next();
            parts_left -= 1;
        }
        self.memory_pressure(share)
    }

    /// Moves the next part to half as many buckets, if enough of its entries may go.
    fn shrink_next(&mut self) {
        let parts_count = self.table.parts_count();
        let Some(tracking) = &mut self.tracking else { return };
        let number = tracking.shrink_hand % parts_count;
        tracking.shrink_hand = number + 1;
        tracking.unshrunk_parts += 1;
        let Some(part) = self.table.part_of_number(number) else { return };
        let Some(pivot) = part.table.iter().next().map(rehash) else { return };
        let (count, buckets) = (part.table.len(), part.table.num_buckets());
        if buckets <= BUCKETS_MIN {
            return;
        }
        part.marks.show(tracking.store.readable_epoch());
        let capacity = capacity_of(buckets / 2);
        // With some room, so that the part is not full again at once.
        let excess = count.saturating_sub(capacity - capacity / 8);
        let victims = part.marks.choose_victims(excess);
        if victims.count < excess {
            tracking.wants_spill = true;
            return;
        }
        tracking.unshrunk_parts = 0;
        self.drop_entries(pivot, capacity, &victims);
    }

    /// Whether some part was not looked at since the tier last showed more.
    fn can_shrink(&self) -> bool {
        let unshrunk_parts = self.tracking.as_ref().map_or(0, |tracking| tracking.unshrunk_parts);
        unshrunk_parts < self.table.parts_count()
    }

    fn memory_pressure(&self, share: u64) -> MemoryPressure {
        let Some(tracking) = &self.tracking else { return MemoryPressure::default() };
        let is_written = tracking.store.readable_epoch().next() >= tracking.epoch;
        let record_bytes = (bucket_bytes::<K, S>() + RECORD_BYTES) as u64;
        let (dirty_bytes, dirty_max) = (tracking.dirty_count * record_bytes, share / DIRTY_SHARE);
        // A part more or less is what evictions cannot tell.
        let part_bytes = self.table.part_bytes() as u64;
        let exceeds = self.resident_bytes() > share + share / 10 + part_bytes;
        let wants_spill = tracking.wants_spill || dirty_bytes > dirty_max || exceeds;
        // Records may be faster than the disk: then they wait, rather than the changes.
        let is_behind = !is_written && dirty_bytes > 2 * dirty_max + part_bytes;
        let can_get_less = self.can_shrink() || tracking.dirty_count > 0 || !is_written;
        MemoryPressure {
            wants_spill: wants_spill && tracking.dirty_count > 0 && is_written,
            is_over: is_behind || (exceeds && can_get_less),
        }
    }
}

/// An entry and its control byte.
const fn bucket_bytes<K, S>() -> usize {
    size_of::<(K, S)>() + 1
}
