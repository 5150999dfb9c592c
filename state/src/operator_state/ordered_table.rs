//! A map that keeps the order of insertion: entries in a vector, their places in a hash table.
//!
//! **Invariants**
//! - `index` has one place for each entry that is `Some`, and no other.
//! - Empty places are at most as many as entries (and a few): removal closes the gaps when they
//!   become more, so iteration is linear in the entries.

use hashbrown::HashTable;

use crate::{Key, KeyHash};

/// So many gaps are left alone whatever the size.
const GAPS_MIN: usize = 8;

#[derive(Clone, Copy)]
struct Place {
    hash: KeyHash,
    index: usize,
}

pub(super) struct OrderedTable<K, V> {
    entries: Vec<Option<(K, V)>>,
    index: HashTable<Place>,
}

impl<K, V> Default for OrderedTable<K, V> {
    fn default() -> Self {
        OrderedTable { entries: Vec::new(), index: HashTable::new() }
    }
}

impl<K: Key, V> OrderedTable<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let place = self.find(key.key_hash(), key)?;
        self.entries[place].as_ref().map(|entry| &entry.1)
    }

    /// An entry that exists keeps its place. Returns the value that was replaced.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let hash = key.key_hash();
        if let Some(index) = self.find(hash, &key)
            && let Some(entry) = &mut self.entries[index]
        {
            return Some(std::mem::replace(&mut entry.1, value));
        }
        let place = Place { hash, index: self.entries.len() };
        self.entries.push(Some((key, value)));
        self.index.insert_unique(hash.wide(), place, |place| place.hash.wide());
        None
    }

    pub(super) fn get_or_insert_with(&mut self, key: &K, make: impl FnOnce() -> V) -> &mut V {
        let hash = key.key_hash();
        let index = match self.find(hash, key) {
            Some(index) => index,
            None => {
                self.insert(key.clone(), make());
                self.entries.len() - 1
            }
        };
        let entry = self.entries[index].as_mut();
        &mut entry.expect("the index names places that hold entries").1
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let hash = key.key_hash();
        let index = self.find(hash, key)?;
        if let Ok(place) = self.index.find_entry(hash.wide(), |place| place.index == index) {
            place.remove();
        }
        let removed = self.entries[index].take();
        self.close_gaps();
        removed.map(|entry| entry.1)
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        let OrderedTable { entries, index } = self;
        for (at, slot) in entries.iter_mut().enumerate() {
            let Some((key, value)) = slot else { continue };
            if keep(key, value) {
                continue;
            }
            if let Ok(place) = index.find_entry(key.key_hash().wide(), |place| place.index == at) {
                place.remove();
            }
            drop(slot.take());
        }
        self.close_gaps();
    }

    fn find(&self, hash: KeyHash, key: &K) -> Option<usize> {
        let equals = |place: &Place| {
            place.hash == hash
                && self.entries[place.index].as_ref().is_some_and(|entry| entry.0 == *key)
        };
        self.index.find(hash.wide(), equals).map(|place| place.index)
    }

    fn close_gaps(&mut self) {
        if self.entries.len() - self.index.len() <= self.index.len() + GAPS_MIN {
            return;
        }
        let mut moved_to = Vec::with_capacity(self.entries.len());
        let mut count = 0;
        for entry in &self.entries {
            moved_to.push(count);
            count += usize::from(entry.is_some());
        }
        self.index.iter_mut().for_each(|place| place.index = moved_to[place.index]);
        self.entries.retain(Option::is_some);
    }
}

impl<K, V> OrderedTable<K, V> {
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn clear(&mut self) {
        self.index.clear();
        self.entries.clear();
    }

    pub(super) fn slots(&self) -> std::slice::Iter<'_, Option<(K, V)>> {
        self.entries.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.entries.iter_mut().flatten().map(|(key, value)| (&*key, value))
    }
}
