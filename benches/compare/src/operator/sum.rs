//! w1: a running sum for each key.

use super::{IntegerMap, ShardOperator};
use crate::events::Event;

/// In a map of hashbrown.
#[derive(Clone, Default)]
pub(crate) struct Sum {
    sums: IntegerMap<u64>,
}

impl ShardOperator for Sum {
    type In = Event;
    type Out = (u64, u64);
    const HAS_WATERMARKS: bool = false;

    #[inline(always)]
    fn record(&mut self, event: Event, out: &mut impl FnMut((u64, u64))) {
        let sum = self.sums.entry(event.key).or_insert(0);
        *sum += event.value;
        out((event.key, *sum));
    }
}

const VACANT: u64 = u64::MAX;

/// In a table of its own with open addressing, whose places are fetched for a batch before the first of them is needed.
#[derive(Clone)]
pub(crate) struct PrefetchedSum {
    /// Keys and sums side by side; the length is a power of two, at most half of which is taken.
    places: Vec<(u64, u64)>,
    taken: usize,
}

impl Default for PrefetchedSum {
    fn default() -> Self {
        PrefetchedSum { places: vec![(VACANT, 0); 1 << 10], taken: 0 }
    }
}

impl PrefetchedSum {
    #[inline(always)]
    fn home(&self, key: u64) -> usize {
        (key.wrapping_mul(0xF135_7AEA_2E62_A9C5) >> 20) as usize & (self.places.len() - 1)
    }

    #[inline(always)]
    fn fetch(&self, key: u64) {
        let place = &raw const self.places[self.home(key)];
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch reads nothing that the program sees, whatever the address.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(place.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = place;
    }

    /// Where the key is, or the vacant place where it goes.
    #[inline(always)]
    fn find(&self, key: u64) -> usize {
        let mask = self.places.len() - 1;
        let mut place = self.home(key);
        while self.places[place].0 != key && self.places[place].0 != VACANT {
            place = (place + 1) & mask;
        }
        place
    }

    #[cold]
    fn grow(&mut self) {
        let doubled = vec![(VACANT, 0); self.places.len() * 2];
        for entry in std::mem::replace(&mut self.places, doubled) {
            if entry.0 != VACANT {
                let place = self.find(entry.0);
                self.places[place] = entry;
            }
        }
    }
}

impl ShardOperator for PrefetchedSum {
    type In = Event;
    type Out = (u64, u64);
    const IS_BATCHED: bool = true;
    const HAS_WATERMARKS: bool = false;

    #[inline(always)]
    fn record(&mut self, event: Event, out: &mut impl FnMut((u64, u64))) {
        let mut place = self.find(event.key);
        if self.places[place].0 == VACANT {
            if self.taken * 2 >= self.places.len() {
                self.grow();
                place = self.find(event.key);
            }
            self.places[place].0 = event.key;
            self.taken += 1;
        }
        let sum = &mut self.places[place].1;
        *sum += event.value;
        out((event.key, *sum));
    }

    fn batch(&mut self, events: &mut Vec<Event>, out: &mut impl FnMut((u64, u64))) {
        for event in &*events {
            self.fetch(event.key);
        }
        for event in events.drain(..) {
            self.record(event, out);
        }
    }
}
