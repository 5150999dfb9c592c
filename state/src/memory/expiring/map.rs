//! A map whose entries expire one by one.
//!
//! **Invariants**
//! - `has_removed` is set if an entry is marked.
//! - An entry that a read has refreshed or removed is marked as changed in the table.

use std::cell::Cell;
use std::fmt;

use hashbrown::hash_table;

use super::{Access, Age, Dated, Purge, Purged, updated_ms_of};
use crate::codec::Record;
use crate::memory::content::{Content, FieldWriter, Reading};
use crate::memory::map_table::MapTable;
use crate::{Key, StateError, StateValue};

/// See the module docs.
pub(crate) struct ExpiringMap<UK, UV> {
    table: MapTable<UK, Dated<UV>>,
    has_removed: Cell<bool>,
    /// Whether a read has done what is to be archived.
    is_touched: Cell<bool>,
}

impl<UK, UV> Default for ExpiringMap<UK, UV> {
    fn default() -> Self {
        ExpiringMap::of(MapTable::default())
    }
}

impl<UK: Key, UV> ExpiringMap<UK, UV> {
    pub(crate) fn read(&self, key: &UK, access: Access) -> Option<&UV> {
        let (bucket, entry) = self.table.find(key)?;
        self.read_entry(bucket, entry, access)
    }

    pub(crate) fn insert(&mut self, key: UK, value: UV, access: Access) {
        drop(self.table.insert(key, Dated::new(value, access)));
    }

    pub(crate) fn write_or_make(
        &mut self,
        key: &UK,
        access: Access,
        make: impl Fn() -> UV,
    ) -> &mut UV {
        let entry = self.table.get_or_insert_with(key, || Dated::new(make(), access));
        entry.write_or_make(access, make)
    }

    pub(crate) fn remove(&mut self, key: &UK, access: Access) -> Option<UV> {
        self.table.remove(key)?.into_visible(access)
    }
}

impl<UK, UV> ExpiringMap<UK, UV> {
    fn of(table: MapTable<UK, Dated<UV>>) -> Self {
        ExpiringMap { table, has_removed: Cell::new(false), is_touched: Cell::new(false) }
    }

    /// Whether no entry is left; what has expired and was not read since is still there.
    pub(crate) fn is_empty(&self) -> bool {
        self.table.iter().all(|entry| entry.1.is_removed())
    }

    /// Whether there is nothing to keep the map for.
    pub(crate) fn is_unused(&self) -> bool {
        self.table.is_empty()
    }

    /// Reads every entry and keeps those that are live and for which `keep` holds.
    pub(crate) fn retain(&mut self, access: Access, mut keep: impl FnMut(&UK, &mut UV) -> bool) {
        self.table.retain(|key, entry| match entry.age(access) {
            Age::Removed => false,
            Age::Expired => {
                if access.policy.returns_expired {
                    keep(key, &mut entry.value);
                }
                false
            }
            Age::Live => {
                entry.refresh(access);
                keep(key, &mut entry.value)
            }
        });
    }

    /// Reads every entry and lets `change` write those that the read gives.
    pub(crate) fn write_all(&mut self, access: Access, mut change: impl FnMut(&UK, &mut UV)) {
        self.table.retain(|key, entry| match entry.write(access) {
            Some(value) => {
                change(key, value);
                true
            }
            None => false,
        });
    }

    /// The entries that a read gives, each of which is read when the iterator comes to it.
    pub(crate) fn read_all(&self, access: Access) -> ReadEntries<'_, UK, UV> {
        let left = self.table.iter().filter(|entry| entry.1.is_visible(access)).count();
        ReadEntries { map: self, buckets: self.table.buckets(), access, left }
    }

    /// Reads one entry of this map.
    fn read_entry<'e>(
        &self,
        bucket: usize,
        entry: &'e Dated<UV>,
        access: Access,
    ) -> Option<&'e UV> {
        let before_ms = entry.updated_ms();
        let value = entry.read(access);
        if entry.updated_ms() != before_ms {
            self.table.mark_changed(bucket);
            self.is_touched.set(true);
            self.has_removed.set(self.has_removed.get() || entry.is_removed());
        }
        value
    }
}

/// The entries of an expiring map, read one by one.
pub(crate) struct ReadEntries<'a, UK, UV> {
    map: &'a ExpiringMap<UK, UV>,
    buckets: hash_table::IterBuckets<'a, (UK, Dated<UV>)>,
    access: Access,
    left: usize,
}

impl<'a, UK, UV> Iterator for ReadEntries<'a, UK, UV> {
    type Item = (&'a UK, &'a UV);

    fn next(&mut self) -> Option<Self::Item> {
        let ReadEntries { map, buckets, access, left } = self;
        let entry = buckets.find_map(|bucket| {
            let (key, entry) = map.table.bucket(bucket)?;
            map.read_entry(bucket, entry, *access).map(|value| (key, value))
        })?;
        *left = left.saturating_sub(1);
        Some(entry)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<UK, UV> fmt::Debug for ReadEntries<'_, UK, UV> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ReadEntries").field("left", &self.left).finish_non_exhaustive()
    }
}

impl<UK, UV> Purge for ExpiringMap<UK, UV> {
    fn purge(&mut self) -> Purged {
        let is_touched = self.is_touched.replace(false);
        if self.has_removed.replace(false) {
            self.table.remove_where(Dated::is_removed);
        }
        Purged::of(self.table.is_empty(), is_touched)
    }
}

impl<UK: Key, UV: StateValue> Content for ExpiringMap<UK, UV> {
    fn heap_bytes(&self) -> usize {
        self.table.heap_bytes()
    }

    fn archive(&mut self, out: &mut FieldWriter<'_, '_>) -> Result<(), StateError> {
        self.table.archive_with(out, |out, key, entry| {
            out.put_entry(key, Some(entry.updated_ms()), &entry.value)
        })
    }

    fn load(
        current: Option<&mut Self>,
        record: &Record<'_>,
        reading: &Reading,
    ) -> Result<Option<Self>, StateError> {
        let updated_ms = updated_ms_of(record, reading.ttl_ms);
        let entry = Dated::at(reading.versions.read(record)?, updated_ms);
        let table = current.map(|map| &mut map.table);
        Ok(MapTable::load_with(table, record, entry)?.map(ExpiringMap::of))
    }
}
