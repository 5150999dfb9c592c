//! Deadlines in order of time: all of one millisecond together.
//!
//! The next [`NEAR`] milliseconds lie in an array, the rest in a tree. Adding one that is near costs an index; finding
//! the next one looks at a bit for each millisecond.
//!
//! **Invariants**
//! - Times in the array are within `floor_ms .. floor_ms + NEAR`, so each has a place of its own.
//! - `floor_ms` is above every time that was taken, and never goes back.

use std::collections::BTreeMap;

/// What is due, and where: the key's hash and the session's serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Deadline {
    pub(super) hash: u32,
    pub(super) serial: u64,
}

/// Milliseconds in the array; a power of two.
const NEAR: usize = 1024;
const WORDS: usize = NEAR / 64;

/// See the module docs.
pub(super) struct Deadlines {
    near: Box<[Vec<Deadline>]>,
    /// A bit for each place in `near` that holds something.
    occupied: [u64; WORDS],
    far: BTreeMap<i64, Vec<Deadline>>,
    /// Nothing is earlier; `i64::MIN` before the first watermark.
    floor_ms: i64,
}

impl Default for Deadlines {
    fn default() -> Self {
        Deadlines {
            near: (0..NEAR).map(|_| Vec::new()).collect(),
            occupied: [0; WORDS],
            far: BTreeMap::new(),
            floor_ms: i64::MIN,
        }
    }
}

fn place_of(at_ms: i64) -> usize {
    at_ms.cast_unsigned() as usize % NEAR
}

impl Deadlines {
    /// Adds a deadline; `i64::MAX` is never met. Not earlier than what was taken last.
    #[inline]
    pub(super) fn add(&mut self, at_ms: i64, deadline: Deadline) {
        debug_assert!(at_ms >= self.floor_ms, "time goes on");
        if at_ms == i64::MAX {
            return;
        }
        if at_ms.wrapping_sub(self.floor_ms).cast_unsigned() < NEAR as u64 {
            let place = place_of(at_ms);
            self.near[place].push(deadline);
            self.occupied[place / 64] |= 1 << (place % 64);
        } else {
            self.far.entry(at_ms).or_default().push(deadline);
        }
    }

    /// The earliest time.
    pub(super) fn next_ms(&self) -> Option<i64> {
        let far = self.far.first_key_value().map(|(at_ms, _)| *at_ms);
        self.next_near_ms().into_iter().chain(far).min()
    }

    /// The earliest time in the array: the first bit from the place of `floor_ms` on, around the end.
    fn next_near_ms(&self) -> Option<i64> {
        let first = place_of(self.floor_ms);
        let (word, bit) = (first / 64, first % 64);
        for turn in 0..=WORDS {
            let index = (word + turn) % WORDS;
            let mask = match turn {
                0 => u64::MAX << bit,
                WORDS => !(u64::MAX << bit),
                _ => u64::MAX,
            };
            let bits = self.occupied[index] & mask;
            if bits != 0 {
                let place = index * 64 + bits.trailing_zeros() as usize;
                let ahead = (place + NEAR - first) % NEAR;
                return Some(self.floor_ms + ahead as i64);
            }
        }
        None
    }

    /// Replaces what `into` holds by the deadlines of the earliest time, if that is not after `up_to_ms`, which is a
    /// watermark: nothing at or before it is added when all have been taken.
    pub(super) fn take_due(&mut self, up_to_ms: i64, into: &mut Vec<Deadline>) -> Option<i64> {
        into.clear();
        let near = self.next_near_ms();
        let far = self.far.first_key_value().map(|(at_ms, _)| *at_ms);
        let next = near.into_iter().chain(far).min();
        let Some(at_ms) = next.filter(|at_ms| *at_ms <= up_to_ms) else {
            self.floor_ms = self.floor_ms.max(up_to_ms.saturating_add(1));
            return None;
        };
        if near == next {
            let place = place_of(at_ms);
            std::mem::swap(&mut self.near[place], into);
            self.occupied[place / 64] &= !(1 << (place % 64));
        }
        if let Some(far) = self.far.remove(&at_ms) {
            into.extend(far);
        }
        self.floor_ms = at_ms.saturating_add(1);
        Some(at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that are the same in every run.
    struct Numbers(u64);
    impl Numbers {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) % bound
        }
    }

    #[test]
    fn deadlines_come_in_order_as_from_a_tree() {
        for seed in 0..20 {
            let (mut numbers, mut deadlines) = (Numbers(seed), Deadlines::default());
            let mut model: BTreeMap<i64, Vec<Deadline>> = BTreeMap::new();
            let (mut watermark, mut taken) = (i64::MIN, Vec::new());
            for serial in 0..4_000 {
                let reach = [3, 500, 1_100, 50_000][numbers.below(4) as usize];
                let from = if watermark == i64::MIN { -700 } else { watermark + 1 };
                let at_ms = from + numbers.below(reach) as i64;
                let deadline = Deadline { hash: serial as u32, serial };
                deadlines.add(at_ms, deadline);
                model.entry(at_ms).or_default().push(deadline);
                assert_eq!(deadlines.next_ms(), model.keys().next().copied());
                if numbers.below(5) == 0 {
                    let step = [1, 40, 2_000][numbers.below(3) as usize];
                    watermark = watermark.max(-700) + numbers.below(step) as i64;
                    while let Some(at_ms) = deadlines.take_due(watermark, &mut taken) {
                        taken.sort_unstable();
                        assert_eq!(model.pop_first(), Some((at_ms, taken.clone())), "seed {seed}");
                    }
                    assert!(model.keys().next().is_none_or(|at_ms| *at_ms > watermark));
                }
            }
            while let Some(at_ms) = deadlines.take_due(i64::MAX, &mut taken) {
                taken.sort_unstable();
                assert_eq!(model.pop_first(), Some((at_ms, taken.clone())));
            }
            assert!(model.is_empty());
        }
    }

    #[test]
    fn never_is_never_met() {
        let mut deadlines = Deadlines::default();
        deadlines.add(i64::MAX, Deadline { hash: 1, serial: 1 });
        assert_eq!(deadlines.next_ms(), None);
        assert_eq!(deadlines.take_due(i64::MAX, &mut Vec::new()), None);
    }
}
