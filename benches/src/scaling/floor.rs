//! What the memory allows: the sums of the same events in an array, without hashing, without an exchange.
//!
//! The array lies in huge pages if the kernel has them. Keys are drawn 64 ahead and their lines are prefetched while the batch
//! before is added up, so as many misses as the core can have are under way at once: what is slower than this is not bound by
//! memory alone.

use crate::digest::splitmix64;
use crate::latency::contribution;
use thalweg_io::memory::{Arena, ArenaOptions};

/// Keys whose lines are under way: more than the fill buffers of a core.
const BATCH: usize = 64;

/// Sums by key.
pub(super) struct Array {
    keys: u64,
    arena: Arena,
}

/// An event that is to be added.
#[derive(Clone, Copy, Default)]
struct Addend {
    key: u64,
    value: u64,
}

impl Array {
    /// All zero, and all there.
    ///
    /// # Errors
    /// If there is no memory.
    pub(super) fn new(keys: u64) -> thalweg::Result<Self> {
        let options = ArenaOptions::new(keys.max(1) as usize * 8).huge_pages(true).prefault(true);
        Ok(Array { keys, arena: Arena::new(options)? })
    }

    /// Adds `count` events from `first` on, every `step`th; returns their digest.
    pub(super) fn add_all(&mut self, first: u64, step: u64, count: u64) -> u64 {
        let keys = self.keys;
        let (sums, _) = self.arena.as_mut_slice().as_chunks_mut::<8>();
        let mut batches = [[Addend::default(); BATCH]; 2];
        let (mut digest, mut drawn, mut waiting) = (0_u64, 0, 0);
        loop {
            let [next, last] = &mut batches;
            let length = (count - drawn).min(BATCH as u64) as usize;
            for (n, addend) in (drawn..).zip(&mut next[..length]) {
                let r = splitmix64(first + n * step);
                *addend = Addend { key: r % keys, value: r >> 48 };
                prefetch(&sums[addend.key as usize]);
            }
            for Addend { key, value } in &last[..waiting] {
                let bytes = &mut sums[*key as usize];
                let sum = u64::from_ne_bytes(*bytes).wrapping_add(*value);
                *bytes = sum.to_ne_bytes();
                digest = digest.wrapping_add(contribution(*key, *value, sum));
            }
            if length == 0 {
                return digest;
            }
            (drawn, waiting) = (drawn + length as u64, length);
            batches.swap(0, 1);
        }
    }
}

/// Without it a core waits for each line as far as its window of instructions reaches: the floor would be none.
#[inline(always)]
fn prefetch(address: &[u8; 8]) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that the program sees and faults for no address; this one is that of a live array.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(
            address.as_ptr().cast(),
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::expected;

    #[track_caller]
    fn check(keys: u64, counts: &[u64]) {
        let mut array = Array::new(keys).unwrap();
        let step = counts.len() as u64;
        let digest = (0..)
            .zip(counts)
            .map(|(first, count)| array.add_all(first, step, *count))
            .fold(0, u64::wrapping_add);
        assert_eq!(digest, expected(keys, counts));
    }

    #[test]
    fn sums_are_those_of_the_plainest_loop() {
        check(1, &[10]);
        check(100, &[0]);
        check(100, &[BATCH as u64]);
        check(100, &[1_000, 900]);
        check(10_000, &[129, 64, 1]);
    }
}
