//! Hashes of keys: one for the maps, another one that chooses the shard, so that sharding does not thin out the maps' buckets.

use foldhash::fast::FixedState;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

/// Multiplies and rotates, about what `rustc-hash` 2 does.
#[derive(Clone, Copy, Default)]
pub(crate) struct IntegerHasher(u64);

impl Hasher for IntegerHasher {
    #[inline(always)]
    fn finish(&self) -> u64 {
        self.0
    }

    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    #[inline(always)]
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0xF135_7AEA_2E62_A9C5).rotate_left(26);
    }
}

/// A map by an integer.
pub(crate) type IntegerMap<V> = hashbrown::HashMap<u64, V, BuildHasherDefault<IntegerHasher>>;

/// Modulo the number of shards it is the shard of a key.
#[inline(always)]
pub(crate) fn route(key: u64) -> u64 {
    key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
}

/// The same of a name.
#[inline(always)]
pub(crate) fn route_name(name: &str) -> u64 {
    FixedState::with_seed(1).hash_one(name)
}
