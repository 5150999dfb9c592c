//! Keys of rows that were removed while what lies below does not show it yet: on an index miss they
//! must not be read back.
//!
//! A removal is a record of its epoch, and readers see an epoch's records only when it is readable.
//! Until then a key is kept here, in its archived form.
//!
//! **Invariants**
//! - Epochs are in order, oldest first, each once.

use std::collections::VecDeque;

use super::prefetch_table::PrefetchTable;
use crate::{Epoch, KeyHash};

/// See the module docs.
#[derive(Debug, Default)]
pub(super) struct RemovedRows {
    epochs: VecDeque<RemovedKeys>,
}

#[derive(Debug)]
struct RemovedKeys {
    epoch: Epoch,
    /// The archives, one behind the other.
    archives: Vec<u8>,
    entries: PrefetchTable<Entry>,
}

#[derive(Debug)]
struct Entry {
    hash: KeyHash,
    start: usize,
    length: usize,
}

impl RemovedKeys {
    fn holds(&self, hash: KeyHash, key: &[u8]) -> bool {
        let is_same = |entry: &Entry| {
            entry.hash == hash && self.archives[entry.start..][..entry.length] == *key
        };
        self.entries.find(hash, is_same).is_some()
    }
}

impl RemovedRows {
    /// Notes a removal of an epoch.
    pub(super) fn insert(&mut self, epoch: Epoch, hash: KeyHash, key: &[u8]) {
        let index = self.epochs.partition_point(|keys| keys.epoch < epoch);
        if self.epochs.get(index).is_none_or(|keys| keys.epoch != epoch) {
            let keys = RemovedKeys { epoch, archives: Vec::new(), entries: PrefetchTable::new() };
            self.epochs.insert(index, keys);
        }
        let keys = &mut self.epochs[index];
        if !keys.holds(hash, key) {
            let entry = Entry { hash, start: keys.archives.len(), length: key.len() };
            keys.archives.extend_from_slice(key);
            keys.entries.insert_unique(hash, entry, |entry| entry.hash);
        }
    }

    /// Whether the key was removed in an epoch after the readable one.
    pub(super) fn holds(&self, hash: KeyHash, key: &[u8], readable: Epoch) -> bool {
        let unreadable = self.epochs.iter().rev().take_while(|keys| keys.epoch > readable);
        unreadable.into_iter().any(|keys| keys.holds(hash, key))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.epochs.is_empty()
    }

    /// Forgets what the readable epoch shows.
    pub(super) fn forget(&mut self, readable: Epoch) {
        while self.epochs.front().is_some_and(|keys| keys.epoch <= readable) {
            self.epochs.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removals_hold_until_they_are_readable() {
        let mut removed = RemovedRows::default();
        let hash = KeyHash::from_u32(7);
        for (epoch, key) in [(3, "a"), (2, "b"), (3, "a"), (3, "")] {
            removed.insert(Epoch(epoch), hash, key.as_bytes());
        }
        let holds = |removed: &RemovedRows, key: &str, readable| {
            removed.holds(hash, key.as_bytes(), Epoch(readable))
        };
        assert!(holds(&removed, "a", 1) && holds(&removed, "b", 1) && holds(&removed, "", 2));
        assert!(!holds(&removed, "b", 2) && !holds(&removed, "c", 0));
        assert!(!removed.holds(KeyHash::from_u32(8), b"a", Epoch(0)));
        removed.forget(Epoch(2));
        assert!(holds(&removed, "a", 2) && !holds(&removed, "b", 0));
        removed.forget(Epoch(3));
        assert!(removed.epochs.is_empty());
    }
}
