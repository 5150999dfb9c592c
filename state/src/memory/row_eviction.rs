//! Rows that leave memory when it is limited.
//!
//! 1. Beats report what the rows take and are told the table's share of the slot's memory budget.
//! 2. Beyond it, each beat moves the hand of the clock over some rows and evicts those that can be
//!    read back and were not used since; see `residence`.
//! 3. Where most rows have changed since the last barrier, only a barrier helps: the beat asks for
//!    one, a *spill*. Where memory exceeds the share by a tenth, it asks that no record is taken
//!    until there is room.

use super::residence::Verdict;
use super::row_header::header_at_mut;
use super::row_store::RowStore;
use crate::{Key, KeyHash};

/// How many rows the hand passes before those that go are dropped.
const BATCH: usize = 64;

/// An index entry and its control byte, at the 65 % that tables are full on the average.
const INDEX_BYTES_PER_ROW: u64 = 14;

/// Whether there is too little memory for what is resident.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryPressure {
    /// Only a barrier makes room: begin a spill and end the epoch.
    pub wants_spill: bool,
    /// The budget is exceeded by a tenth: take no records until beats have made room.
    pub is_over: bool,
}

impl<K: Key> RowStore<K> {
    /// What the resident rows take, as a memory budget counts it: with an estimate of what keys and
    /// values own on the heap.
    pub fn resident_bytes(&self) -> u64 {
        let row_bytes = self.arena.stride() as u64 + INDEX_BYTES_PER_ROW;
        let residence = self.tracking.as_ref().and_then(|tracking| tracking.residence.as_ref());
        self.len() as u64 * row_bytes + residence.map_or(0, |residence| residence.bytes())
    }

    /// Makes room if there is too little, looking at `rows_max` rows at most.
    pub(super) fn make_room(&mut self, rows_max: usize) -> MemoryPressure {
        let used = self.resident_bytes();
        let share = self.tracking.as_ref().and_then(|tracking| tracking.share_of_budget(used));
        let Some(share) = share.filter(|share| used > *share) else {
            return MemoryPressure::default();
        };
        // A little more than needed, so that not every beat has to; and one lap at most.
        let goal = share - share / 32;
        let mut rows_left = rows_max.min(self.arena.len() as usize);
        while rows_left > 0 && self.resident_bytes() > goal {
            let row_count = rows_left.min(BATCH);
            self.move_hand(row_count);
            rows_left -= row_count;
        }
        self.memory_pressure(share)
    }

    /// Whether the resident rows take more than they may.
    pub(super) fn exceeds_share(&self) -> bool {
        let used = self.resident_bytes();
        let share = self.tracking.as_ref().and_then(|tracking| tracking.share_of_budget(used));
        share.is_some_and(|share| used > share)
    }

    fn memory_pressure(&self, share: u64) -> MemoryPressure {
        let used = self.resident_bytes();
        let Some(tracking) = self.tracking.as_ref().filter(|_| used > share) else {
            return MemoryPressure::default();
        };
        let Some(lap) = tracking.residence.as_ref().and_then(|residence| residence.lap()) else {
            return MemoryPressure::default();
        };
        MemoryPressure {
            wants_spill: lap.waits_for_spill() && tracking.is_written(),
            is_over: used > share + share / 10 && lap.can_evict(),
        }
    }

    /// Moves the hand over some rows, a batch at most, and evicts what it may.
    fn move_hand(&mut self, row_count: usize) {
        let mut evicted = [0; BATCH];
        let mut count = 0;
        for _ in 0..row_count {
            let Some((row, hash)) = self.next_under_hand() else { continue };
            // The index entry of each is fetched while the hand goes on.
            self.index.hint(hash);
            evicted[count] = row;
            count += 1;
        }
        let Some(tracking) = self.tracking.as_mut().filter(|_| count > 0) else { return };
        tracking.has_unloaded = true;
        tracking.evicted_count += count as u64;
        evicted[..count].iter().for_each(|row| self.discard_row(*row));
    }

    /// Moves the hand by one row, and gives it if it is to be evicted.
    fn next_under_hand(&mut self) -> Option<(u32, KeyHash)> {
        let RowStore { arena, tracking: Some(tracking), .. } = self else { return None };
        let readable = tracking.readable_epoch();
        let residence = tracking.residence.as_mut()?;
        let row = residence.advance(arena.len())?;
        // SAFETY: the hand stays below the arena's length.
        let place = unsafe { arena.at(row) };
        // SAFETY: rows handed out have a header; no cursor lives.
        let header = unsafe { header_at_mut(place) };
        match residence.judge(row, header, readable) {
            Verdict::Evict => Some((row, header.hash())),
            Verdict::OnceMore => {
                header.set_referenced(false);
                None
            }
            Verdict::Stays => None,
        }
    }
}
