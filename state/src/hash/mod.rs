//! The versioned key hash: which key group, which subtask and which bucket a key belongs to.
//!
//! The 32-bit hash is computed once, at `key_by`, and travels with the record. It is a part of the
//! state format: `thalweg-1` never changes; another function gets another name and version, and
//! state that names an unknown one is refused.
//!
//! **Canonical words.** A key is fed to the hasher as 64-bit words, each absorbed by one folded
//! multiply:
//! | key | words |
//! |---|---|
//! | `u8`..`u64`, `i8`..`i64` | the little-endian bytes of its own width (two's complement), padded with zeros to one word |
//! | `u128`, `i128` | two words, the low half first |
//! | `bool`, `char` | as `u8` (0, 1), as `u32` |
//! | `f32`, `f64` | its bits, as `u32`, `u64` |
//! | `str`, `String` | `n / 8` words of 8 bytes, then one word: the `n % 8` bytes left in its low bytes and `n % 256` in the top byte |
//! | `Option`, enums | the variant's index as a word (`None` 0, `Some` 1), then its fields |
//! | struct, tuple, array | the fields in order, nothing else (the type fixes their number) |
//! | `Vec`, `BTreeMap`, `BTreeSet` | the length as a word, then the elements (key, value) in order |
//! | `HashMap`, `HashSet` | the length, then the wrapping sum of each entry's own 64-bit state, so order does not matter |
//!
//! **Quality.** `wide(h)` feeds hashbrown, which takes buckets from the low bits and tags from the
//! top 7: both come from the 32 bits and are tested below by chi-square for sequential, remainder
//! and string keys.

mod hasher;

pub use hasher::KeyHasher;

use crate::Schema;

/// Version of the key hash, written into every manifest.
pub const KEY_HASH_VERSION: u16 = 1;

/// Name of the key hash, for people and for manifests.
pub const KEY_HASH_NAME: &str = "thalweg-1";

/// The 32-bit hash of a key; it travels with the record from `key_by` on.
///
/// # Examples
///
/// ```
/// use thalweg_state::{Key, KeyHash};
/// assert_eq!(7_u64.key_hash(), KeyHash::of(&7_u64));
/// assert_eq!(KeyHash::from_u32(7).wide(), 0x0000_0007_0000_0007);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash(u32);

impl KeyHash {
    /// The hash of a key.
    #[inline]
    pub fn of<K: Schema + ?Sized>(key: &K) -> Self {
        let mut hasher = KeyHasher::new();
        key.hash_key(&mut hasher);
        hasher.finish()
    }

    /// Takes back a hash that travelled as a plain integer.
    #[inline]
    pub const fn from_u32(hash: u32) -> Self {
        KeyHash(hash)
    }

    /// The hash as a plain integer, to travel with a batch.
    #[inline]
    pub const fn as_u32(self) -> u32 {
        self.0
    }

    /// The 64 bits a hash table wants: buckets from the low bits, tags from the top 7.
    #[inline]
    pub const fn wide(self) -> u64 {
        self.0 as u64 | (self.0 as u64) << 32
    }
}

#[cfg(test)]
mod tests;
