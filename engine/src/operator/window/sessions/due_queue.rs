//! What is due when, for windows whose ends are scattered: an ordered queue of (time, id) without look-ups.
//!
//! Timers of sessions move with nearly every element. They are not moved here: who takes an entry out looks whether
//! it still holds, and puts it back at its new time if it does not. So an entry is an id of 4 bytes, nothing is ever
//! searched or deleted, and an element that extends a session costs nothing.
//! ```text
//! push ─┬─► coarse: a ring of slots of `1 << shift` ms ──(its turn)──► fine: a ring of slots of 1 ms ─► take
//!       ├─► fine, if its turn has come already
//!       └─► far: a BTreeMap, for what the ring does not reach
//! ```
//! The slot width is chosen so that the ring spans four times the usual distance. Entries of one millisecond come out
//! in the order in which they were put in, as far as they took the same way.
//!
//! **Invariants**
//! - An entry is pushed for a time after that of all entries taken so far.
//! - `fine` holds entries of the slot `turn` alone; `coarse` holds those after it.
//! - `next_ms` is the time of the first entry, or `i64::MAX`.

use std::collections::BTreeMap;

/// Slots of the coarse ring at most: 1.5 MiB of empty slots, where one distance is 16,384 slots wide.
const COARSE_SLOTS_MAX: u64 = 1 << 16;
/// The ring spans this many times the usual distance.
const SPAN: u64 = 4;

/// See the module docs.
pub(crate) struct DueQueue {
    coarse: Ring<(i64, u32)>,
    fine: Ring<u32>,
    far: BTreeMap<i64, Vec<u32>>,
    /// Milliseconds of a coarse slot, as a power of two.
    shift: u32,
    /// The coarse slot, counted from time 0, whose entries are in `fine`; the first one before anything was pushed.
    turn: Option<i64>,
    next_ms: i64,
}

/// Slots that follow each other in time, and again from the first.
struct Ring<E> {
    slots: Box<[Vec<E>]>,
    /// One bit a slot: does it hold anything?
    filled: Box<[u64]>,
}

impl<E> Ring<E> {
    /// `count`: a power of two.
    fn new(count: usize) -> Self {
        let slots = (0..count).map(|_| Vec::new()).collect();
        Ring { slots, filled: vec![0; count.div_ceil(64)].into() }
    }

    fn index(&self, number: i64) -> usize {
        number as usize & (self.slots.len() - 1)
    }

    #[inline]
    fn push(&mut self, number: i64, entry: E) {
        let index = self.index(number);
        self.slots[index].push(entry);
        self.filled[index / 64] |= 1 << (index % 64);
    }

    fn take(&mut self, number: i64) -> Vec<E> {
        let index = self.index(number);
        self.filled[index / 64] &= !(1 << (index % 64));
        std::mem::take(&mut self.slots[index])
    }

    /// Gives the memory of a slot back to it.
    fn give_back(&mut self, number: i64, mut emptied: Vec<E>) {
        let index = self.index(number);
        if self.slots[index].capacity() == 0 {
            emptied.clear();
            self.slots[index] = emptied;
        }
    }

    /// The first filled slot from `number` on, as a distance from it.
    fn next_filled(&self, number: i64) -> Option<usize> {
        let (start, words) = (self.index(number), self.filled.len());
        let first = self.filled[start / 64] & (u64::MAX << (start % 64));
        for step in 0..=words {
            let at = (start / 64 + step) % words;
            let word = if step == 0 { first } else { self.filled[at] };
            if word != 0 {
                let index = at * 64 + word.trailing_zeros() as usize;
                return Some(index.wrapping_sub(start) & (self.slots.len() - 1));
            }
        }
        None
    }
}

impl DueQueue {
    /// A queue for entries that are pushed for about `distance_ms` after the last that was taken.
    pub(crate) fn new(distance_ms: i64) -> Self {
        let distance = u64::try_from(distance_ms).unwrap_or(1).max(1);
        let width = distance.div_ceil(COARSE_SLOTS_MAX / SPAN).next_power_of_two();
        let count = (distance.div_ceil(width) * SPAN).next_power_of_two().max(64);
        DueQueue {
            coarse: Ring::new(count as usize),
            fine: Ring::new(width as usize),
            far: BTreeMap::new(),
            shift: width.trailing_zeros(),
            turn: None,
            next_ms: i64::MAX,
        }
    }

    /// When the first entry is due; `i64::MAX` for an empty queue.
    #[inline(always)]
    pub(crate) fn next_ms(&self) -> i64 {
        self.next_ms
    }

    /// Puts `id` in, due at `due_ms`, which must not be `i64::MAX`.
    #[inline]
    pub(crate) fn push(&mut self, due_ms: i64, id: u32) {
        debug_assert!(due_ms < i64::MAX, "never due");
        self.next_ms = self.next_ms.min(due_ms);
        let number = due_ms >> self.shift;
        let turn = *self.turn.get_or_insert(number);
        let ahead = number.wrapping_sub(turn) as u64;
        if ahead == 0 {
            self.fine.push(due_ms, id);
        } else if number > turn && ahead < self.coarse.slots.len() as u64 {
            self.coarse.push(number, (due_ms, id));
        } else {
            self.far.entry(due_ms).or_default().push(id);
        }
    }

    /// Takes all entries of the first time out, if that is not after `up_to_ms`. [`give_back`](Self::give_back) the
    /// emptied vector.
    pub(crate) fn take(&mut self, up_to_ms: i64) -> Option<(i64, Vec<u32>)> {
        let due_ms = self.next_ms;
        if due_ms > up_to_ms || due_ms == i64::MAX {
            return None;
        }
        let mut taken = self.far.remove(&due_ms).unwrap_or_default();
        if self.turn_to(due_ms) {
            let near = self.fine.take(due_ms);
            if taken.is_empty() {
                taken = near;
            } else {
                taken.extend(near);
            }
        }
        self.next_ms = self.first_ms();
        Some((due_ms, taken))
    }

    /// Keeps the memory of what [`take`](Self::take) gave.
    pub(crate) fn give_back(&mut self, due_ms: i64, emptied: Vec<u32>) {
        self.fine.give_back(due_ms, emptied);
    }

    /// Makes the slot of `due_ms`, the first entry of all, the one that lies in `fine`. False if that has gone past it.
    fn turn_to(&mut self, due_ms: i64) -> bool {
        let number = due_ms >> self.shift;
        let Some(turn) = self.turn else { return false };
        if number < turn {
            return false; // it was far behind, and alone there
        }
        if number > turn {
            let reach = number.wrapping_sub(turn) as u64;
            self.turn = Some(number);
            if reach < self.coarse.slots.len() as u64 {
                let mut entries = self.coarse.take(number);
                entries.drain(..).for_each(|(due_ms, id)| self.fine.push(due_ms, id));
                self.coarse.give_back(number, entries);
            }
        }
        true
    }

    fn first_ms(&self) -> i64 {
        let far = self.far.first_key_value().map_or(i64::MAX, |(due_ms, _)| *due_ms);
        let Some(turn) = self.turn else { return far };
        let start_ms = turn << self.shift;
        let near = match self.fine.next_filled(start_ms) {
            Some(distance) => start_ms + distance as i64,
            None => match self.coarse.next_filled(turn) {
                Some(distance) => {
                    let slot = &self.coarse.slots[self.coarse.index(turn + distance as i64)];
                    slot.iter().map(|(due_ms, _)| *due_ms).min().unwrap_or(i64::MAX)
                }
                None => i64::MAX,
            },
        };
        near.min(far)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn random(state: &mut u64) -> u64 {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *state >> 33
    }

    /// Pushes and takes at random, next to a map.
    fn compare(distance_ms: i64, reach_ms: u64, start_ms: i64, seed: u64) {
        let (mut queue, mut model) = (DueQueue::new(distance_ms), BTreeMap::<i64, Vec<u32>>::new());
        let (mut now_ms, mut state) = (start_ms, seed);
        for step in 0..40_000_u32 {
            let reach =
                if random(&mut state).is_multiple_of(50) { reach_ms * 20 } else { reach_ms };
            let due_ms = now_ms.saturating_add(1 + (random(&mut state) % reach) as i64);
            if due_ms < i64::MAX {
                queue.push(due_ms, step);
                model.entry(due_ms).or_default().push(step);
            }
            if random(&mut state).is_multiple_of(8) {
                now_ms = now_ms.saturating_add((random(&mut state) % (reach_ms / 2 + 1)) as i64);
                while let Some((due_ms, mut ids)) = queue.take(now_ms) {
                    let (expected_ms, mut expected) = model.pop_first().expect("the model has it");
                    assert_eq!(due_ms, expected_ms, "at step {step} of {seed}");
                    ids.sort_unstable();
                    expected.sort_unstable();
                    assert_eq!(ids, expected, "at step {step} of {seed}");
                    queue.give_back(due_ms, ids);
                }
                let first_ms = model.first_key_value().map_or(i64::MAX, |(due_ms, _)| *due_ms);
                assert!(first_ms > now_ms || now_ms == i64::MAX);
                assert_eq!(queue.next_ms(), first_ms, "at step {step} of {seed}");
            }
        }
        assert_eq!(queue.take(i64::MAX).is_some(), !model.is_empty());
    }

    #[test]
    fn entries_come_out_in_order_of_time() {
        for seed in 0..5 {
            compare(1, 3, 0, seed);
            compare(100, 200, -5_000, seed);
            compare(100, 7, 1_357_020_000_000, seed);
            compare(1_800_000, 2_000_000, 1_357_020_000_000, seed);
            compare(10_000_000, 40_000_000, -80_000_000, seed);
            compare(100, 300, i64::MIN, seed);
            compare(100, 300, i64::MAX - 20_000, seed);
        }
    }

    #[test]
    fn what_is_pushed_behind_the_first_comes_first() {
        let mut queue = DueQueue::new(100);
        queue.push(5_000, 1);
        queue.push(40, 2);
        queue.push(-70, 3);
        queue.push(5_000, 4);
        let mut taken = Vec::new();
        while let Some((due_ms, ids)) = queue.take(i64::MAX) {
            taken.push((due_ms, ids));
        }
        assert_eq!(taken, [(-70, vec![3]), (40, vec![2]), (5_000, vec![1, 4])]);
        assert_eq!(queue.next_ms(), i64::MAX);
    }

    #[test]
    fn one_time_keeps_its_order() {
        let mut queue = DueQueue::new(1 << 40);
        for id in 0..100 {
            queue.push(1 << 39, id);
        }
        assert_eq!(queue.take(1 << 39), Some((1 << 39, (0..100).collect())));
    }
}
