//! The inner map of a map state: a hash table over key hashes, so that its order is the same in
//! every run; and what of it has changed since it was archived.
//!
//! ```text
//! new ──archive──► archived ──first change──► archived, with changes ──archive──► archived
//! ```
//! 1. A new map has no marks: its first archive writes all of it and voids what lies below. A map of
//!    a store without a persistent tier stays new for good and pays nothing.
//! 2. Later archives write the entries that were touched, each as a record whose sub-key is the user
//!    key's archive, and a removal for each archived entry that is gone.
//!
//! **Invariants**
//! - While `changes` is there, buckets move in [`grow`](MapTable::grow) alone, which takes the marks
//!   along.
//! - Whether there are marks has no influence on the order of the entries, or barriers would.

use std::cell::OnceCell;

use hashbrown::HashTable;
use hashbrown::hash_table::{self, Entry};

use super::content::{Content, FieldWriter, Reading, elements_bytes};
use super::map_changes::MapChanges;
use crate::codec::Record;
use crate::{Key, StateError, StateValue};

/// A map from user keys to user values.
pub(crate) struct MapTable<UK, UV> {
    table: HashTable<(UK, UV)>,
    /// Changes since the last archive; none in a new map. Set through shared references by reads
    /// that refresh.
    changes: OnceCell<Box<MapChanges<UK>>>,
    /// Whether it was never archived nor loaded.
    is_new: bool,
}

impl<UK, UV> MapTable<UK, UV> {
    /// What the table takes, with what its entries own estimated.
    pub(super) fn heap_bytes(&self) -> usize {
        elements_bytes::<(UK, UV)>(self.table.num_buckets())
    }
}

impl<UK, UV> Default for MapTable<UK, UV> {
    fn default() -> Self {
        MapTable { table: HashTable::new(), changes: OnceCell::new(), is_new: true }
    }
}

impl<UK: Key, UV> MapTable<UK, UV> {
    #[inline]
    pub(crate) fn get(&self, key: &UK) -> Option<&UV> {
        self.table.find(key.key_hash().wide(), |entry| entry.0 == *key).map(|entry| &entry.1)
    }

    /// The bucket and value of a key, for a read that may change the value.
    pub(super) fn find(&self, key: &UK) -> Option<(usize, &UV)> {
        let hash = key.key_hash().wide();
        let bucket = self.table.find_bucket_index(hash, |entry| entry.0 == *key)?;
        Some((bucket, &self.table.get_bucket(bucket)?.1))
    }

    /// The value of a key, made with a copy of the key if there is none; counts as changed.
    #[inline]
    pub(crate) fn get_or_insert_with(&mut self, key: &UK, make: impl FnOnce() -> UV) -> &mut UV {
        let bucket_count = self.make_room();
        match entry(&mut self.table, key) {
            Entry::Occupied(entry) => {
                if !self.is_new {
                    changes_mut(&mut self.changes, bucket_count).mark_changed(entry.bucket_index());
                }
                &mut entry.into_mut().1
            }
            Entry::Vacant(entry) => {
                let entry = entry.insert((key.clone(), make()));
                if !self.is_new {
                    changes_mut(&mut self.changes, bucket_count).mark_born(entry.bucket_index());
                }
                &mut entry.into_mut().1
            }
        }
    }

    /// Returns the value that was replaced.
    #[inline]
    pub(crate) fn insert(&mut self, key: UK, value: UV) -> Option<UV> {
        let bucket_count = self.make_room();
        match entry(&mut self.table, &key) {
            Entry::Occupied(mut entry) => {
                if !self.is_new {
                    changes_mut(&mut self.changes, bucket_count).mark_changed(entry.bucket_index());
                }
                Some(std::mem::replace(&mut entry.get_mut().1, value))
            }
            Entry::Vacant(entry) => {
                let entry = entry.insert((key, value));
                if !self.is_new {
                    changes_mut(&mut self.changes, bucket_count).mark_born(entry.bucket_index());
                }
                None
            }
        }
    }

    #[inline]
    pub(crate) fn remove(&mut self, key: &UK) -> Option<UV> {
        let bucket_count = self.table.num_buckets();
        let entry = self.table.find_entry(key.key_hash().wide(), |entry| entry.0 == *key).ok()?;
        let bucket = entry.bucket_index();
        let ((key, value), _) = entry.remove();
        if !self.is_new {
            changes_mut(&mut self.changes, bucket_count).mark_removed(bucket, key);
        }
        Some(value)
    }

    /// Makes room for one more entry and tells how many buckets there are then.
    #[inline]
    fn make_room(&mut self) -> usize {
        if self.table.len() == self.table.capacity() {
            self.grow();
        }
        self.table.num_buckets()
    }

    /// Grows a full table, or rids it of the traces of removed entries.
    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        let bucket_count = self.table.num_buckets();
        // The number of entries that so many buckets are for, and hashbrown's rule for growing.
        let full = if bucket_count < 8 { bucket_count - 1 } else { bucket_count / 8 * 7 };
        let is_sparse = self.table.len() < full / 2;
        if self.changes.get().is_none() && !is_sparse {
            // What follows, but faster: entries are taken in bucket order into twice the buckets.
            self.table.reserve(1, |entry| entry.0.key_hash().wide());
            return;
        }
        let mut table = HashTable::with_capacity(if is_sparse { full } else { full + 1 });
        let mut changes =
            self.changes.take().map(|old| (old, MapChanges::new(table.num_buckets())));
        for bucket in 0..bucket_count {
            let Ok(entry) = self.table.get_bucket_entry(bucket) else { continue };
            let (entry, _) = entry.remove();
            let hash = entry.0.key_hash().wide();
            let entry = table.insert_unique(hash, entry, |entry| entry.0.key_hash().wide());
            if let Some((old, new)) = &changes {
                new.take_over(entry.bucket_index(), old, bucket);
            }
        }
        self.table = table;
        if let Some((old, new)) = &mut changes {
            new.removed = std::mem::take(&mut old.removed);
        }
        self.changes = changes.map_or_else(OnceCell::new, |(_, new)| OnceCell::from(Box::new(new)));
    }
}

#[inline]
fn entry<'t, UK: Key, UV>(table: &'t mut HashTable<(UK, UV)>, key: &UK) -> Entry<'t, (UK, UV)> {
    table.entry(key.key_hash().wide(), |entry| entry.0 == *key, |entry| entry.0.key_hash().wide())
}

/// The changes of an archived table with this many buckets.
#[inline]
fn changes_mut<UK>(
    changes: &mut OnceCell<Box<MapChanges<UK>>>,
    bucket_count: usize,
) -> &mut MapChanges<UK> {
    changes.get_or_init(|| Box::new(MapChanges::new(bucket_count)));
    changes.get_mut().expect("just made")
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

    /// Keeps the entries for which `keep` holds; it may change their values, so all of them count as
    /// changed.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&UK, &mut UV) -> bool) {
        if self.is_new {
            self.table.retain(|(key, value)| keep(key, value));
            return;
        }
        self.retain_marked(|key, value| (keep(key, value), true));
    }

    /// Removes the entries for which `is_gone` holds.
    pub(super) fn remove_where(&mut self, is_gone: impl Fn(&UV) -> bool) {
        if self.is_new {
            self.table.retain(|(_, value)| !is_gone(value));
            return;
        }
        self.retain_marked(|_, value| (!is_gone(value), false));
    }

    /// Keeps the entries for which `keep` says so, and marks those that it says have changed.
    fn retain_marked(&mut self, mut keep: impl FnMut(&UK, &mut UV) -> (bool, bool)) {
        let bucket_count = self.table.num_buckets();
        let changes = changes_mut(&mut self.changes, bucket_count);
        for bucket in 0..bucket_count {
            let Some((key, value)) = self.table.get_bucket_mut(bucket) else { continue };
            let (is_kept, has_changed) = keep(key, value);
            if !is_kept && let Ok(entry) = self.table.get_bucket_entry(bucket) {
                let ((key, _), _) = entry.remove();
                changes.mark_removed(bucket, key);
            } else if has_changed {
                changes.mark_changed(bucket);
            }
        }
    }

    /// The entries to change; all of them count as changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&UK, &mut UV)> {
        if !self.is_new {
            let changes = changes_mut(&mut self.changes, self.table.num_buckets());
            self.table.iter_buckets().for_each(|bucket| changes.mark_changed(bucket));
        }
        self.table.iter_mut().map(|(key, value)| (&*key, value))
    }

    pub(crate) fn iter(&self) -> hash_table::Iter<'_, (UK, UV)> {
        self.table.iter()
    }

    /// The numbers of the buckets that have an entry, in the order of [`iter`](Self::iter).
    pub(super) fn buckets(&self) -> hash_table::IterBuckets<'_, (UK, UV)> {
        self.table.iter_buckets()
    }

    pub(super) fn bucket(&self, bucket: usize) -> Option<&(UK, UV)> {
        self.table.get_bucket(bucket)
    }

    /// Notes that a read has changed the entry of a bucket.
    pub(super) fn mark_changed(&self, bucket: usize) {
        if !self.is_new {
            let bucket_count = self.table.num_buckets();
            let changes = self.changes.get_or_init(|| Box::new(MapChanges::new(bucket_count)));
            changes.mark_changed(bucket);
        }
    }
}

impl<UK: Key, UV> MapTable<UK, UV> {
    /// [`Content::archive`] where `put` writes an entry.
    pub(super) fn archive_with(
        &mut self,
        out: &mut FieldWriter<'_, '_>,
        put: impl Fn(&mut FieldWriter<'_, '_>, &UK, &UV) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        if self.is_new || out.is_full() {
            if out.is_below() {
                out.remove_state();
            }
            self.table.iter().try_for_each(|(key, value)| put(out, key, value))?;
        } else if let Some(changes) = self.changes.get() {
            let gone = changes.removed.iter().filter(|key| self.get(key).is_none());
            gone.into_iter().try_for_each(|key| out.remove_entry(key))?;
            let changed = changes.changed().filter_map(|bucket| self.table.get_bucket(bucket));
            changed.into_iter().try_for_each(|(key, value)| put(out, key, value))?;
        }
        self.is_new = out.is_full();
        self.changes = OnceCell::new();
        Ok(())
    }

    /// [`Content::load`] with the value of the record.
    pub(super) fn load_with(
        current: Option<&mut Self>,
        record: &Record<'_>,
        value: UV,
    ) -> Result<Option<Self>, StateError> {
        let key = UK::from_archived(record.sub)?;
        let Some(map) = current else {
            let mut map = MapTable { is_new: false, ..MapTable::default() };
            map.load_entry(key, value);
            return Ok(Some(map));
        };
        map.load_entry(key, value);
        Ok(None)
    }

    fn load_entry(&mut self, key: UK, value: UV) {
        self.make_room();
        match entry(&mut self.table, &key) {
            Entry::Occupied(mut entry) => entry.get_mut().1 = value,
            Entry::Vacant(entry) => drop(entry.insert((key, value))),
        }
    }
}

impl<UK: Key, UV: StateValue> Content for MapTable<UK, UV> {
    fn heap_bytes(&self) -> usize {
        self.heap_bytes()
    }

    fn archive(&mut self, out: &mut FieldWriter<'_, '_>) -> Result<(), StateError> {
        self.archive_with(out, |out, key, value| out.put_entry(key, None, value))
    }

    fn load(
        current: Option<&mut Self>,
        record: &Record<'_>,
        reading: &Reading,
    ) -> Result<Option<Self>, StateError> {
        Self::load_with(current, record, reading.versions.read(record)?)
    }
}
