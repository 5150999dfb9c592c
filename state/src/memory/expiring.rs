//! What a field holds whose state has a TTL: values, elements and entries with the time of their last
//! update.
//!
//! ```text
//! read:   absent ─► nothing      live ─► given (and refreshed)      expired ─► removed (and given once)
//! ```
//! 1. A read may remove, but has the row in shared use: other references into it may be alive. So it
//!    only marks what it removes, by the time `REMOVED`, and every later use takes it for absent.
//! 2. When the cursor's use is over, [`RowStore::release`](crate::RowStore::release) purges the row:
//!    what was marked is dropped, and a field that keeps nothing becomes absent.
//!
//! **Invariants**
//! - `updated_ms == REMOVED` exactly for what a read has removed; clocks are kept above it.
//! - `has_removed` of a list or map is set if an element or entry is marked.

use std::cell::Cell;
use std::fmt;
use std::slice;

use hashbrown::hash_table;

use super::map_table::MapTable;
use crate::Key;
use crate::ttl::TtlPolicy;

/// The time of what a read has removed.
const REMOVED: i64 = i64::MIN;

/// The earliest time that is one.
pub(super) const NOW_MS_MIN: i64 = REMOVED + 1;

/// The rules of a state and the time of an access to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) policy: TtlPolicy,
    pub(crate) now_ms: i64,
}

/// How a value is found at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Removed,
    Expired,
    Live,
}

/// What purging needs to know of a field's type.
pub(crate) trait Purge {
    /// Drops what reads have removed; false if nothing is left.
    fn purge(&mut self) -> bool;
}

/// A value with the time of its last update.
#[derive(Debug)]
pub(crate) struct Expiring<V> {
    value: V,
    updated_ms: Cell<i64>,
}

impl<V> Expiring<V> {
    pub(crate) fn new(value: V, access: Access) -> Self {
        Expiring { value, updated_ms: Cell::new(access.now_ms) }
    }

    /// The value as a read finds it, which may refresh or remove it.
    pub(crate) fn read(&self, access: Access) -> Option<&V> {
        match self.age(access) {
            Age::Removed => None,
            Age::Expired => {
                self.remove();
                access.policy.returns_expired.then_some(&self.value)
            }
            Age::Live => {
                self.refresh(access);
                Some(&self.value)
            }
        }
    }

    /// The value to change, made anew if the one at hand is not to be seen; counts as a write.
    pub(crate) fn write_or_make(&mut self, access: Access, make: impl FnOnce() -> V) -> &mut V {
        if !self.is_visible(access) {
            self.value = make();
        }
        self.written(access)
    }

    /// The value to change, if it is to be seen; counts as a write.
    pub(crate) fn write(&mut self, access: Access) -> Option<&mut V> {
        self.is_visible(access).then(|| self.written(access))
    }

    pub(crate) fn into_visible(self, access: Access) -> Option<V> {
        self.is_visible(access).then_some(self.value)
    }

    fn written(&mut self, access: Access) -> &mut V {
        self.updated_ms.set(access.now_ms);
        &mut self.value
    }

    /// Would a read give it?
    fn is_visible(&self, access: Access) -> bool {
        match self.age(access) {
            Age::Removed => false,
            Age::Expired => access.policy.returns_expired,
            Age::Live => true,
        }
    }

    fn age(&self, access: Access) -> Age {
        match self.updated_ms.get() {
            REMOVED => Age::Removed,
            // A TTL is positive, so the sum can only be too large: then it never expires, but at
            // the end of time.
            updated_ms if updated_ms.saturating_add(access.policy.ttl_ms) <= access.now_ms => {
                Age::Expired
            }
            _ => Age::Live,
        }
    }

    fn refresh(&self, access: Access) {
        if access.policy.refreshes_on_read {
            self.updated_ms.set(access.now_ms);
        }
    }

    fn remove(&self) {
        self.updated_ms.set(REMOVED);
    }

    fn is_removed(&self) -> bool {
        self.updated_ms.get() == REMOVED
    }
}

impl<V> Purge for Expiring<V> {
    fn purge(&mut self) -> bool {
        !self.is_removed()
    }
}

/// A list whose elements expire one by one.
#[derive(Debug)]
pub(crate) struct ExpiringList<V> {
    elements: Vec<Expiring<V>>,
    has_removed: Cell<bool>,
}

impl<V> Default for ExpiringList<V> {
    fn default() -> Self {
        ExpiringList { elements: Vec::new(), has_removed: Cell::new(false) }
    }
}

impl<V> ExpiringList<V> {
    pub(crate) fn extend(&mut self, values: impl IntoIterator<Item = V>, access: Access) {
        self.elements.extend(values.into_iter().map(|value| Expiring::new(value, access)));
    }

    /// The elements that a read gives; [`finish_read`](Self::finish_read) is to follow.
    pub(crate) fn visible(&self, access: Access) -> VisibleElements<'_, V> {
        let elements = self.elements.iter();
        let left = elements.clone().filter(|element| element.is_visible(access)).count();
        VisibleElements { elements, access, left }
    }

    /// What a read does to the elements, after they were looked at: refreshes the live ones, and
    /// removes the expired ones, except that those of a list that has live ones stay where reads may
    /// give them and do not write.
    pub(crate) fn finish_read(&self, access: Access) {
        let TtlPolicy { refreshes_on_read, returns_expired, .. } = access.policy;
        let any_live = || self.elements.iter().any(|element| element.age(access) == Age::Live);
        let keeps_expired = returns_expired && !refreshes_on_read && any_live();
        for element in &self.elements {
            match element.age(access) {
                Age::Expired if !keeps_expired => {
                    element.remove();
                    self.has_removed.set(true);
                }
                Age::Live => element.refresh(access),
                Age::Expired | Age::Removed => {}
            }
        }
    }
}

/// The elements of an expiring list that a read gives. Looks at them and changes nothing.
#[derive(Debug)]
pub(crate) struct VisibleElements<'a, V> {
    elements: slice::Iter<'a, Expiring<V>>,
    access: Access,
    left: usize,
}

impl<'a, V> Iterator for VisibleElements<'a, V> {
    type Item = &'a V;

    fn next(&mut self) -> Option<&'a V> {
        let element = self.elements.find(|element| element.is_visible(self.access))?;
        self.left = self.left.saturating_sub(1);
        Some(&element.value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<V> Purge for ExpiringList<V> {
    fn purge(&mut self) -> bool {
        if self.has_removed.replace(false) {
            self.elements.retain(|element| !element.is_removed());
        }
        !self.elements.is_empty()
    }
}

/// A map whose entries expire one by one.
pub(crate) struct ExpiringMap<UK, UV> {
    table: MapTable<UK, Expiring<UV>>,
    has_removed: Cell<bool>,
}

impl<UK, UV> Default for ExpiringMap<UK, UV> {
    fn default() -> Self {
        ExpiringMap { table: MapTable::default(), has_removed: Cell::new(false) }
    }
}

impl<UK: Key, UV> ExpiringMap<UK, UV> {
    pub(crate) fn read(&self, key: &UK, access: Access) -> Option<&UV> {
        self.read_entry(self.table.get(key)?, access)
    }

    pub(crate) fn insert(&mut self, key: UK, value: UV, access: Access) {
        drop(self.table.insert(key, Expiring::new(value, access)));
    }

    pub(crate) fn write_or_make(
        &mut self,
        key: &UK,
        access: Access,
        make: impl Fn() -> UV,
    ) -> &mut UV {
        let entry = self.table.get_or_insert_with(key, || Expiring::new(make(), access));
        entry.write_or_make(access, make)
    }

    pub(crate) fn remove(&mut self, key: &UK, access: Access) -> Option<UV> {
        self.table.remove(key)?.into_visible(access)
    }
}

impl<UK, UV> ExpiringMap<UK, UV> {
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
        let entries = self.table.iter();
        let left = entries.clone().filter(|entry| entry.1.is_visible(access)).count();
        ReadEntries { map: self, entries, access, left }
    }

    /// Reads one entry of this map.
    fn read_entry<'e>(&self, entry: &'e Expiring<UV>, access: Access) -> Option<&'e UV> {
        let value = entry.read(access);
        if entry.is_removed() {
            self.has_removed.set(true);
        }
        value
    }
}

/// The entries of an expiring map, read one by one.
pub(crate) struct ReadEntries<'a, UK, UV> {
    map: &'a ExpiringMap<UK, UV>,
    entries: hash_table::Iter<'a, (UK, Expiring<UV>)>,
    access: Access,
    left: usize,
}

impl<'a, UK, UV> Iterator for ReadEntries<'a, UK, UV> {
    type Item = (&'a UK, &'a UV);

    fn next(&mut self) -> Option<Self::Item> {
        let ReadEntries { map, entries, access, left } = self;
        let entry = entries
            .find_map(|(key, entry)| map.read_entry(entry, *access).map(|value| (key, value)))?;
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
    fn purge(&mut self) -> bool {
        if self.has_removed.replace(false) {
            self.table.retain(|_, entry| !entry.is_removed());
        }
        !self.table.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(ttl_ms: i64, now_ms: i64) -> Access {
        let policy = TtlPolicy { ttl_ms, refreshes_on_read: false, returns_expired: false };
        Access { policy, now_ms }
    }

    #[test]
    fn expires_at_the_very_millisecond_without_overflow() {
        for (updated_ms, ttl_ms, now_ms, expected) in [
            (0, 100, 99, Age::Live),
            (0, 100, 100, Age::Expired),
            (-50, 100, 49, Age::Live),
            (-50, 100, 50, Age::Expired),
            (1, i64::MAX, i64::MAX - 1, Age::Live),
            (5, i64::MAX, i64::MAX, Age::Expired),
            (NOW_MS_MIN, 1, NOW_MS_MIN, Age::Live),
            (NOW_MS_MIN, i64::MAX, 0, Age::Expired),
        ] {
            let value = Expiring::new((), access(ttl_ms, updated_ms));
            assert_eq!(
                value.age(access(ttl_ms, now_ms)),
                expected,
                "{updated_ms} {ttl_ms} {now_ms}"
            );
        }
    }

    #[test]
    fn what_a_read_removed_is_purged() {
        let mut list = ExpiringList::default();
        list.extend([1, 2], access(10, 0));
        list.extend([3], access(10, 5));
        assert_eq!(list.visible(access(10, 12)).count(), 1);
        list.finish_read(access(10, 12));
        assert!(list.purge());
        assert_eq!(list.elements.len(), 1);
        list.finish_read(access(10, 15));
        assert!(!list.purge());
    }
}
