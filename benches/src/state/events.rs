//! The input: events of a key and an amount, as WORKLOADS defines them, made before a slice is
//! timed.

use super::zipf::Zipf;
use crate::digest::splitmix64;

/// Bits of an event that hold its key.
const KEY_BITS: u32 = 48;

/// A key below 2^48 and an amount below 2^16, in one word, so that reading the input costs both
/// sides 8 bytes an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event(u64);

impl Event {
    pub(super) fn new(key: u64, amount: u64) -> Self {
        debug_assert!(key >> KEY_BITS == 0 && amount >> (64 - KEY_BITS) == 0);
        Event(amount << KEY_BITS | key)
    }

    #[inline(always)]
    pub(super) fn key(self) -> u64 {
        self.0 & ((1 << KEY_BITS) - 1)
    }

    #[inline(always)]
    pub(super) fn amount(self) -> u64 {
        self.0 >> KEY_BITS
    }
}

/// Events without end, the same in every run.
pub(super) struct Events {
    keys: u64,
    zipf: Option<Zipf>,
    next: u64,
}

impl Events {
    /// Keys below `keys`: spread evenly, or with this Zipf exponent.
    pub(super) fn new(keys: u64, zipf: Option<f64>) -> Self {
        Events { keys, zipf: zipf.map(|exponent| Zipf::new(keys, exponent)), next: 0 }
    }

    /// Replaces what `events` holds by the next `count`.
    pub(super) fn fill(&mut self, events: &mut Vec<Event>, count: usize) {
        events.clear();
        events.extend((0..count).map(|_| self.draw()));
    }

    fn draw(&mut self) -> Event {
        let random = splitmix64(self.next);
        self.next += 1;
        let key = match &mut self.zipf {
            // Hot ranks are scattered over the keys.
            Some(zipf) => splitmix64(zipf.draw()),
            None => random,
        };
        Event::new(key % self.keys, random >> KEY_BITS)
    }
}

/// Every key below `keys` once, in a scattered order.
pub(super) fn every_key(keys: u64) -> impl Iterator<Item = u64> {
    let mask = keys.next_power_of_two() - 1;
    // Odd, so that multiplication permutes the numbers below a power of two.
    let scatter = move |i: u64| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5555) & mask;
    (0..=mask).map(scatter).filter(move |key| *key < keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_those_of_the_workloads() {
        let mut events = Vec::new();
        Events::new(1_000, None).fill(&mut events, 3);
        for (i, event) in (0..).zip(&events) {
            let random = splitmix64(i);
            assert_eq!((event.key(), event.amount()), (random % 1_000, random >> 48));
        }
    }

    #[test]
    fn every_key_comes_once() {
        let mut keys: Vec<u64> = every_key(1_000).collect();
        assert_ne!(keys[..3], [0, 1, 2]);
        keys.sort_unstable();
        assert_eq!(keys, (0..1_000).collect::<Vec<_>>());
    }
}
