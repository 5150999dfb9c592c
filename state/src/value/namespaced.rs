//! A key within a namespace, such as a window: the row key of state that is apart for each of them.
//!
//! **Invariants**
//! - The hash of a namespaced key is made of the key's own 32-bit hash and the namespace's canonical
//!   words, so it costs no second pass over the key, whose hash travels with the record.
//! - The key group is the key's alone: state of all namespaces of a key moves with the key.
//! - Archived: the key's archive, zeros up to a multiple of 16, the namespace's archive, then the
//!   length of the key's archive as a little-endian `u32`.

use std::any::type_name;

use rkyv::rancor::{Error, Source};
use rkyv::util::AlignedVec;

use super::ARCHIVE_ALIGNMENT;
use crate::{Key, KeyHash, KeyHasher, Schema, SchemaBuilder, StateError, StateValue};

/// A key and a namespace, as one key of a [`RowStore`](crate::RowStore).
///
/// Window operators keep the state of a window under `Namespaced<K, W>`. A pair `(K, W)` is a key
/// too, where `K` and `W` are concrete types; this one is a key for all keys `K` and `W`, and its
/// row can be found by the hash that came with the record.
///
/// # Examples
///
/// ```
/// use thalweg_state::{Key, Namespaced, RowStore, StateRegistrar, ValueStateDescriptor};
/// # fn main() -> Result<(), thalweg_state::StateError> {
/// let mut registrar = StateRegistrar::new::<Namespaced<String, i64>>("hourly");
/// let count = registrar.register_value(&ValueStateDescriptor::<u64>::new("count"))?;
/// let mut rows = RowStore::<Namespaced<String, i64>>::new(registrar)?;
/// let (user, hour) = ("ann".to_string(), 7_i64);
/// let (mut cursor, _) = rows.enter_namespaced(user.key_hash(), &user, &hour)?;
/// count.modify(&mut cursor, |n| *n += 1)?;
/// let (cursor, _) = rows.enter_namespaced(user.key_hash(), &user, &8)?;
/// assert_eq!(count.value(&cursor)?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Namespaced<K, W> {
    /// The key.
    pub key: K,
    /// The namespace.
    pub namespace: W,
}

impl<K: Key, W: Key> Namespaced<K, W> {
    /// The hash of a key, whose own hash is at hand, in a namespace.
    #[inline]
    pub fn hash_of(key_hash: KeyHash, namespace: &W) -> KeyHash {
        let mut hasher = KeyHasher::new();
        hasher.write_u32(key_hash.as_u32());
        namespace.hash_key(&mut hasher);
        hasher.finish()
    }
}

impl<K: Schema, W: Schema> Schema for Namespaced<K, W> {
    fn describe(out: &mut SchemaBuilder) {
        out.container("Namespaced", &[K::describe, W::describe]);
    }

    #[inline]
    fn hash_key(&self, hasher: &mut KeyHasher) {
        hasher.write_u32(KeyHash::of(&self.key).as_u32());
        self.namespace.hash_key(hasher);
    }

    #[inline]
    fn group_hash(&self, _hash: KeyHash) -> KeyHash {
        KeyHash::of(&self.key)
    }
}

/// By hand, since a derived archive would ask that `K` and `W` are known to rkyv, which a generic
/// operator cannot promise.
impl<K: StateValue, W: StateValue> StateValue for Namespaced<K, W> {
    fn archive_into(&self, out: &mut AlignedVec) -> Result<(), StateError> {
        let start = out.len();
        self.key.archive_into(out)?;
        let key_bytes = u32::try_from(out.len() - start).map_err(|source| StateError::Archive {
            type_name: type_name::<Self>(),
            source: Error::new(source),
        })?;
        out.resize(out.len().next_multiple_of(ARCHIVE_ALIGNMENT), 0);
        self.namespace.archive_into(out)?;
        out.extend_from_slice(&key_bytes.to_le_bytes());
        Ok(())
    }

    fn from_archived(bytes: &[u8]) -> Result<Self, StateError> {
        let Some((key, namespace)) = split(bytes) else {
            return Err(StateError::Unarchive {
                type_name: type_name::<Self>(),
                length_bytes: bytes.len(),
                source: Error::new(WithoutKeyLength),
            });
        };
        Ok(Namespaced { key: K::from_archived(key)?, namespace: W::from_archived(namespace)? })
    }
}

/// The archives of key and namespace.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (archives, length) = bytes.split_last_chunk::<4>()?;
    let key_bytes = u32::from_le_bytes(*length) as usize;
    let namespace_at = key_bytes.checked_next_multiple_of(ARCHIVE_ALIGNMENT)?;
    Some((archives.get(..key_bytes)?, archives.get(namespace_at..)?))
}

/// Why bytes are not a namespaced key.
#[derive(Debug, thiserror::Error)]
#[error("the length of the key's archive is missing or exceeds the bytes")]
struct WithoutKeyLength;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Namespaced<String, (i64, i64)> {
        Namespaced { key: "a key longer than its inline form".into(), namespace: (-5, i64::MAX) }
    }

    #[test]
    fn hashes_agree_with_and_without_the_carried_hash() {
        let sample = sample();
        let carried =
            Namespaced::<String, (i64, i64)>::hash_of(sample.key.key_hash(), &sample.namespace);
        assert_eq!(sample.key_hash(), carried);
        let other = Namespaced { key: sample.key.clone(), namespace: (-5, 0_i64) };
        assert_ne!(other.key_hash(), carried);
    }

    #[test]
    fn namespaced_keys_round_trip_and_damage_is_an_error() {
        let bytes = sample().to_archived().unwrap();
        assert_eq!(Namespaced::from_archived(&bytes).unwrap(), sample());
        let mut shifted = vec![0; 3];
        shifted.extend_from_slice(&bytes);
        assert_eq!(Namespaced::from_archived(&shifted[3..]).unwrap(), sample());
        type Sample = Namespaced<String, (i64, i64)>;
        for length in [0, 3, 4, 20, bytes.len() - 1] {
            assert!(Sample::from_archived(&bytes[..length]).is_err(), "{length}");
        }
        let mut too_long = bytes.to_vec();
        let at = too_long.len() - 4;
        too_long[at..].fill(0xFF);
        assert!(Sample::from_archived(&too_long).is_err());
    }

    /// What a generic operator relies on: that the compiler sees a key for all keys.
    #[test]
    fn is_a_key_for_all_keys() {
        fn is_key<K: Key>() {}
        fn check<K: Key, W: Key>() {
            is_key::<Namespaced<K, W>>();
        }
        check::<String, u64>();
        is_key::<(String, u64)>();
    }
}
