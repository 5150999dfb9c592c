//! The net change of a queue's timers within an epoch: those born in it that are still there, and the
//! archived ones that are gone.
//!
//! ```text
//! register ─► born, its slot noted at the timer
//! delete, fire ─► the noted slot has this timer? ─yes─► the slot is free again: it leaves nothing
//!                                               └─no──► it was born in an earlier epoch: gone
//! note = epoch modulo 16 << 28 | slot
//! ```
//! A note of another epoch tells without a look at the slot. One of the sixteenth epoch before may
//! name a slot that another timer has now, hence the comparison; a slot with the same timer cannot
//! be another registration, as a queue holds a timer once.
//!
//! **Invariants**
//! - `born` holds exactly the registered timers that were born in this epoch, and free slots: each
//!   has `FREE_ROW` for a row and the next free slot for a time; `first_free` begins the chain.
//! - `gone` holds each timer once: what is registered again after it was gone is born anew.

use super::timer_list::TimerList;
use super::{Queued, Timer, number_before};
use crate::{Epoch, RowId};

/// The row of a free slot; row numbers stay below it.
const FREE_ROW: RowId = RowId::NONE;

/// The end of the chain of free slots.
const NO_SLOT: i64 = -1;

const SLOT_BITS: u32 = 28;
const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;

/// The note of a timer that was restored: of a slot that no epoch has.
pub(super) const ARCHIVED: u32 = u32::MAX;

/// See the module docs.
pub(super) struct TimerChanges {
    born: TimerList,
    first_free: i64,
    gone: TimerList,
    /// What notes of this epoch have above the slot.
    tag: u32,
    /// How many registrations there were at the end of the epoch.
    registered_count: u64,
}

impl TimerChanges {
    pub(super) fn new(epoch: Epoch) -> Self {
        TimerChanges {
            born: TimerList::default(),
            first_free: NO_SLOT,
            gone: TimerList::default(),
            tag: (epoch.0 as u32) << SLOT_BITS,
            registered_count: 0,
        }
    }

    /// Ends the epoch after so many registrations.
    pub(super) fn end(&mut self, registered_count: u64) {
        self.registered_count = registered_count;
    }

    /// The number of the registration of a born timer, once the epoch has ended.
    pub(super) fn number_of(&self, born: Queued) -> u64 {
        number_before(self.registered_count, born.order)
    }

    /// Notes a registration; returns what the timer is to remember.
    #[inline]
    pub(super) fn add_born(&mut self, timer: Queued) -> u32 {
        if let Ok(slot) = usize::try_from(self.first_free)
            && let Some(free) = self.born.get_mut(slot)
        {
            self.first_free = std::mem::replace(free, timer).timestamp_ms;
            return self.tag | slot as u32;
        }
        let slot = self.born.len();
        assert!(slot < SLOT_MASK as usize, "an epoch has at most 2^28 - 1 new timers");
        self.born.push(timer);
        self.tag | slot as u32
    }

    /// Notes that a timer was deleted or has fired; true if it is to be written that it is gone.
    #[inline]
    pub(super) fn add_gone(&mut self, timer: Timer, note: u32) -> bool {
        let slot = note & SLOT_MASK;
        if note & !SLOT_MASK == self.tag
            && let Some(born) = self.born.get_mut(slot as usize)
            && born.timer() == timer
        {
            *born = Queued { timestamp_ms: self.first_free, row: FREE_ROW, order: 0 };
            self.first_free = i64::from(slot);
            return false;
        }
        self.gone.push(Queued::new(timer, 0));
        true
    }

    /// The changes at `position` and after it, removals first: each with whether the timer is there.
    /// A place may be empty.
    pub(super) fn after_position(
        &self,
        position: usize,
    ) -> impl Iterator<Item = Option<(Queued, bool)>> {
        let gone_count = self.gone.len();
        (position..gone_count + self.born.len()).map(move |position| {
            let Some(timer) = self.gone.get(position) else {
                let born = self.born.get(position - gone_count)?;
                return (born.row != FREE_ROW).then_some((*born, true));
            };
            Some((*timer, false))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(n: i64) -> Timer {
        Timer { timestamp_ms: n, row: RowId::for_test(n as u32) }
    }

    fn queued(n: i64) -> Queued {
        Queued::new(timer(n), n as u32 + 5)
    }

    #[test]
    fn slots_of_gone_timers_are_used_again() {
        let mut changes = TimerChanges::new(Epoch(31));
        let slots: Vec<u32> = (0..5).map(|n| changes.add_born(queued(n))).collect();
        assert_eq!((slots[0], slots[1]), (15 << 28, 15 << 28 | 1));
        assert!(!changes.add_gone(timer(1), slots[1]) && !changes.add_gone(timer(3), slots[3]));
        assert!(changes.add_gone(timer(9), slots[0]), "a note of an epoch long ago");
        assert!(changes.add_gone(timer(8), ARCHIVED));
        let born_before = TimerChanges::new(Epoch(30)).add_born(queued(0));
        assert!(changes.add_gone(timer(7), born_before));
        assert_eq!(changes.add_born(queued(5)), slots[3]);
        assert_eq!(changes.add_born(queued(6)), slots[1]);
        let all: Vec<_> = changes.after_position(2).collect();
        let there = |n| Some((queued(n), true));
        let expected = [
            Some((Queued::new(timer(7), 0), false)),
            there(0),
            there(6),
            there(2),
            there(5),
            there(4),
        ];
        assert_eq!(all, expected);
        changes.end((3 << 32) + 8);
        assert_eq!(changes.number_of(queued(2)), (3 << 32) + 7);
        assert_eq!(changes.number_of(queued(4)), (2 << 32) + 9);
    }
}
