//! What is known of resident rows so that some can be evicted when memory is limited.
//!
//! ```text
//!          hand ─► pinned, dirty, not readable below: stays      referenced: once more      else: evicted
//! ```
//! A clock: the hand goes over the rows in their order; a row that was used since it last came by
//! is passed once. Only rows that can be read back are evicted.
//!
//! **Invariants**
//! - `rows[r]` is that of the row with number `r`, all zero for a free row.
//! - `heap_bytes` is the sum over all rows.

use std::mem::needs_drop;
use std::ptr::NonNull;

use super::registrar::StateField;
use super::row_header::{EpochTag, RowHeader, header_at};
use crate::Epoch;

/// See the module docs.
#[derive(Debug, Default)]
pub(super) struct Residence {
    rows: Vec<ResidentRow>,
    /// What rows own outside of the arena, estimated by the lengths of their archives.
    heap_bytes: u64,
    hand: u32,
    /// Since the hand last began.
    lap: Lap,
    last_lap: Option<Lap>,
}

#[derive(Clone, Copy, Debug, Default)]
struct ResidentRow {
    /// The epoch of the newest record below; 0 where it was read from there.
    epoch: u32,
    heap_bytes: u32,
}

/// What becomes of a row that the hand comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Stays,
    /// It was used since the last lap: it stays, and has to be used again to stay longer.
    OnceMore,
    Evict,
}

/// What the hand found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lap {
    pub(super) seen: u32,
    pub(super) evicted: u32,
    /// Used since the last lap.
    pub(super) referenced: u32,
    /// Changed in the current epoch.
    pub(super) dirty: u32,
    /// On the way to the files.
    pub(super) unreadable: u32,
}

impl Lap {
    /// Whether nothing but writing down what has changed gives memory back.
    pub(super) fn waits_for_spill(self) -> bool {
        self.dirty > (self.evicted + self.referenced + self.unreadable)
    }

    /// Whether there was anything that can be evicted sooner or later.
    pub(super) fn can_evict(self) -> bool {
        self.evicted + self.referenced + self.dirty + self.unreadable > 0
    }
}

impl Residence {
    /// A row's records were written in an epoch, or read (epoch 0); it owns so much.
    ///
    /// Records may be of a part of the row's states alone, so the estimate falls by an eighth at a
    /// time only.
    pub(super) fn note(&mut self, row: u32, epoch: Epoch, heap_bytes: usize) {
        let index = row as usize;
        if index >= self.rows.len() {
            self.rows.resize(index + 1, ResidentRow::default());
        }
        let resident = &mut self.rows[index];
        let before = resident.heap_bytes;
        let after = u32::try_from(heap_bytes).unwrap_or(u32::MAX).max(before - before.div_ceil(8));
        // Epochs are counted from 1: 2^32 of them are 136 years of one a second.
        *resident = ResidentRow { epoch: epoch.0 as u32, heap_bytes: after };
        self.heap_bytes = self.heap_bytes - u64::from(before) + u64::from(after);
    }

    /// A row is free again.
    pub(super) fn forget(&mut self, row: u32) {
        if let Some(resident) = self.rows.get_mut(row as usize) {
            self.heap_bytes -= u64::from(std::mem::take(resident).heap_bytes);
        }
    }

    /// The epoch of a row's newest record below; 0 for none.
    pub(super) fn epoch_of(&self, row: u32) -> Epoch {
        Epoch(self.rows.get(row as usize).map_or(0, |resident| u64::from(resident.epoch)))
    }

    /// What rows own outside of the arena, and this.
    pub(super) fn bytes(&self) -> u64 {
        self.heap_bytes + (self.rows.len() * size_of::<ResidentRow>()) as u64
    }

    /// The next row below `row_count` for the hand; `None` if there is no row.
    pub(super) fn advance(&mut self, row_count: u32) -> Option<u32> {
        if self.hand >= row_count {
            self.hand = 0;
            self.last_lap = Some(std::mem::take(&mut self.lap));
        }
        let row = self.hand;
        self.hand += 1;
        (row < row_count).then_some(row)
    }

    /// What is to become of a row under the hand.
    pub(super) fn judge(&mut self, row: u32, header: &RowHeader, readable: Epoch) -> Verdict {
        self.lap.seen += 1;
        let is_candidate = header.is_live() && !header.is_pinned() && !header.is_unread();
        if !is_candidate {
            return Verdict::Stays;
        }
        if header.dirty != 0 || header.tag() != EpochTag::NONE {
            self.lap.dirty += 1;
            return Verdict::Stays;
        }
        if self.epoch_of(row) > readable {
            self.lap.unreadable += 1;
            return Verdict::Stays;
        }
        if header.is_referenced() {
            self.lap.referenced += 1;
            return Verdict::OnceMore;
        }
        self.lap.evicted += 1;
        Verdict::Evict
    }

    /// The counts that say most: those of this lap once it has seen enough, of the last one before.
    pub(super) fn lap(&self) -> Option<Lap> {
        const ENOUGH: u32 = 4096;
        if self.lap.seen >= ENOUGH { Some(self.lap) } else { self.last_lap }
    }
}

/// What a row owns outside of the arena.
pub(super) struct Heap {
    /// Lists and maps.
    collections_bytes: usize,
    /// Whether keys or values own memory, too.
    has_others: bool,
}

impl Heap {
    /// All of it, given the length of the row's records.
    pub(super) fn bytes(&self, records_bytes: usize) -> usize {
        self.collections_bytes + if self.has_others { records_bytes } else { 0 }
    }
}

/// What a row owns outside of the arena.
///
/// # Safety
///
/// `place` is a live row with these fields, and nothing changes its header or fields.
pub(super) unsafe fn heap_of<K>(place: NonNull<u8>, fields: &[StateField]) -> Heap {
    let mut heap = Heap { collections_bytes: 0, has_others: needs_drop::<K>() };
    // SAFETY: by this function's contract.
    let presence = unsafe { header_at(place) }.presence;
    for (index, field) in fields.iter().enumerate() {
        if field.code.drop_field.is_none() || presence & 1 << index == 0 {
            continue;
        }
        heap.has_others = true;
        // SAFETY: the field's offset lies within the row.
        let field_place = unsafe { place.add(field.offset as usize) };
        // SAFETY: the presence bit is set, so the field holds a value of its type, which is the one
        // of its code.
        heap.collections_bytes += unsafe { (field.code.heap_bytes)(field_place) };
    }
    heap
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_what_rows_own() {
        let mut residence = Residence::default();
        residence.note(5, Epoch(3), 100);
        residence.note(5, Epoch(4), 120);
        residence.note(2, Epoch(4), 7);
        assert_eq!((residence.epoch_of(5), residence.heap_bytes), (Epoch(4), 127));
        residence.note(5, Epoch(6), 50);
        assert_eq!((residence.epoch_of(5), residence.heap_bytes), (Epoch(6), 112));
        residence.forget(2);
        residence.forget(77);
        assert_eq!((residence.epoch_of(2), residence.heap_bytes), (Epoch(0), 105));
    }

    #[test]
    fn the_hand_goes_round() {
        let mut residence = Residence::default();
        let mut seen = Vec::new();
        let header = RowHeader::free(0);
        for _ in 0..5 {
            let row = residence.advance(3).unwrap();
            assert_eq!(residence.judge(row, &header, Epoch(0)), Verdict::Stays);
            seen.push(row);
        }
        assert_eq!(seen, [0, 1, 2, 0, 1]);
        assert_eq!(residence.lap().unwrap().seen, 3);
        assert!(residence.advance(0).is_none());
    }
}
