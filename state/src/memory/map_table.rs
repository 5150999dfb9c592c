//! The inner map of a map state: a hash table over key hashes, so that its order is the same in
//! every run.

use hashbrown::HashTable;
use hashbrown::hash_table::{self, Entry};

use crate::Key;

/// A map from user keys to user values.
pub(crate) struct MapTable<UK, UV> {
    table: HashTable<(UK, UV)>,
}

impl<UK, UV> Default for MapTable<UK, UV> {
    fn default() -> Self {
        MapTable { table: HashTable::new() }
    }
}

impl<UK: Key, UV> MapTable<UK, UV> {
    #[inline]
    pub(crate) fn get(&self, key: &UK) -> Option<&UV> {
        self.table.find(key.key_hash().wide(), |entry| entry.0 == *key).map(|entry| &entry.1)
    }

    /// The value of a key, made with a copy of the key if there is none.
    #[inline]
    pub(crate) fn get_or_insert_with(&mut self, key: &UK, make: impl FnOnce() -> UV) -> &mut UV {
        let entry = self.entry(key);
        &mut entry.or_insert_with(|| (key.clone(), make())).into_mut().1
    }

    /// Returns the value that was replaced.
    #[inline]
    pub(crate) fn insert(&mut self, key: UK, value: UV) -> Option<UV> {
        match self.entry(&key) {
            Entry::Occupied(mut entry) => Some(std::mem::replace(&mut entry.get_mut().1, value)),
            Entry::Vacant(entry) => {
                entry.insert((key, value));
                None
            }
        }
    }

    #[inline]
    pub(crate) fn remove(&mut self, key: &UK) -> Option<UV> {
        let entry = self.table.find_entry(key.key_hash().wide(), |entry| entry.0 == *key).ok()?;
        Some(entry.remove().0.1)
    }

    #[inline]
    fn entry(&mut self, key: &UK) -> Entry<'_, (UK, UV)> {
        self.table.entry(
            key.key_hash().wide(),
            |entry| entry.0 == *key,
            |entry| entry.0.key_hash().wide(),
        )
    }
}

impl<UK, UV> MapTable<UK, UV> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&UK, &mut UV) -> bool) {
        self.table.retain(|(key, value)| keep(key, value));
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&UK, &mut UV)> {
        self.table.iter_mut().map(|(key, value)| (&*key, value))
    }

    pub(crate) fn iter(&self) -> hash_table::Iter<'_, (UK, UV)> {
        self.table.iter()
    }
}
