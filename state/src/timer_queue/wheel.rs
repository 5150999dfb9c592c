//! A hierarchical timing wheel over all of `i64`: 11 levels of 64 slots, one 6-bit digit of the
//! timestamp a level.
//!
//! A timer lies at the level of the highest digit in which it differs from `base`, in the slot of
//! its own digit there. As all timers are at or after `base`, the first occupied slot of the lowest
//! occupied level has the earliest ones; at level 0 a slot is a single millisecond. Taking a slot
//! of a higher level moves `base` to the slot's first millisecond and its timers to lower levels:
//! each timer moves at most 10 times, mostly 2 or 3.
//!
//! **Invariants**
//! - Timers in the wheel are at or after `base`, and after it once `base_taken`.
//! - Bit `s` of `occupied[l]` is set exactly where slot `s` of level `l` is not empty.

use super::Queued;

const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
const LEVELS: usize = u64::BITS.div_ceil(DIGIT_BITS) as usize;

/// An emptied slot keeps its memory up to this many timers; a slot of a high level may have held
/// millions.
const KEPT_CAPACITY: usize = 64;

#[derive(Default)]
pub(super) struct Wheel {
    /// `LEVELS * SLOTS` slots, made with the first timer.
    slots: Vec<Vec<Queued>>,
    occupied: [u64; LEVELS],
    /// In `position` order, as all positions here.
    base: u64,
    /// Whether the slot of `base` itself was taken.
    base_taken: bool,
}

impl Wheel {
    /// Adds a timer; false if it comes before what was taken, so that it has no place here.
    pub(super) fn insert(&mut self, timer: Queued) -> bool {
        let position = position(timer);
        if position < self.base || self.base_taken && position == self.base {
            return false;
        }
        if self.slots.is_empty() {
            self.slots.resize_with(LEVELS * SLOTS, Vec::new);
        }
        let level = match position ^ self.base {
            0 => 0,
            difference => difference.ilog2() / DIGIT_BITS,
        };
        let slot = (position >> (level * DIGIT_BITS)) as usize % SLOTS;
        self.occupied[level as usize] |= 1 << slot;
        self.slots[level as usize * SLOTS + slot].push(timer);
        true
    }

    /// Appends all timers of the earliest millisecond that has any, if it is not after `up_to_ms`.
    pub(super) fn take_first(&mut self, up_to_ms: i64, due: &mut Vec<Queued>) -> bool {
        loop {
            let Some(level) = self.occupied.iter().position(|slots| *slots != 0) else {
                return false;
            };
            let slot = self.occupied[level].trailing_zeros();
            let start = self.slot_start(level as u32, slot);
            if start > position_of(up_to_ms) {
                return false;
            }
            let mut timers = self.take_slot(level, slot);
            self.base = start;
            self.base_taken = level == 0;
            if level == 0 {
                due.append(&mut timers);
            }
            for timer in timers.drain(..) {
                let inserted = self.insert(timer);
                debug_assert!(inserted, "timers of a slot are not before its start");
            }
            self.keep_memory(level, slot, timers);
            if level == 0 {
                return true;
            }
        }
    }

    /// Removes all timers; what was taken stays taken.
    pub(super) fn clear(&mut self) {
        self.slots.iter_mut().for_each(Vec::clear);
        self.occupied = [0; LEVELS];
    }

    /// The first position of a slot: the digits of `base` above the level, the slot's, then zeros.
    fn slot_start(&self, level: u32, slot: u32) -> u64 {
        let shift = level * DIGIT_BITS;
        let above = self.base.checked_shr(shift + DIGIT_BITS).unwrap_or(0);
        above.checked_shl(shift + DIGIT_BITS).unwrap_or(0) | u64::from(slot) << shift
    }

    fn take_slot(&mut self, level: usize, slot: u32) -> Vec<Queued> {
        self.occupied[level] &= !(1 << slot);
        std::mem::take(&mut self.slots[level * SLOTS + slot as usize])
    }

    fn keep_memory(&mut self, level: usize, slot: u32, emptied: Vec<Queued>) {
        let place = &mut self.slots[level * SLOTS + slot as usize];
        if place.capacity() == 0 && emptied.capacity() <= KEPT_CAPACITY {
            *place = emptied;
        }
    }
}

/// Timestamps in unsigned order.
fn position_of(timestamp_ms: i64) -> u64 {
    timestamp_ms as u64 ^ 1 << 63
}

fn position(timer: Queued) -> u64 {
    position_of(timer.timestamp_ms)
}
