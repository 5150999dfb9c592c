//! What is not resident is read: on the spot, in batches, or in the background.

use super::beat::begin_epoch;
use super::{FlatStore, rehash};
use crate::{Key, KeyHash, StateError, StateValue};

impl<K: Key, S: StateValue> FlatStore<K, S> {
    /// Whether something may lie below that is not resident, so that [`request`](Self::request) pays.
    #[inline]
    pub fn has_unloaded(&self) -> bool {
        self.tracking.as_ref().is_some_and(|tracking| tracking.has_unloaded)
    }

    /// How many values were read on the spot, one by one.
    pub fn synchronous_misses(&self) -> u64 {
        self.tracking.as_ref().map_or(0, |tracking| tracking.synchronous_misses)
    }

    /// Says that a key will be asked for: [`load_requested`](Self::load_requested) reads it if it is not resident.
    ///
    /// # Errors
    ///
    /// [`StateError::Archive`] when rkyv refuses the key.
    pub fn request(&mut self, hash: KeyHash, key: &K) -> Result<(), StateError> {
        if !self.has_unloaded() || self.bucket_of(hash, key).is_some() {
            return Ok(());
        }
        match &mut self.tracking {
            Some(tracking) if tracking.may_lie_below(hash, key) => tracking.request(hash, key),
            _ => Ok(()),
        }
    }

    /// Reads what was requested, all of it together.
    ///
    /// # Errors
    ///
    /// Those of the persistent tier, and [`StateError::Unarchive`]. What was requested is not then.
    pub fn load_requested(&mut self) -> Result<(), StateError> {
        let Some(tracking) = &mut self.tracking else { return Ok(()) };
        let found = tracking.read_requested::<S>()?;
        self.insert_loaded(found)
    }

    /// Reads one more part of what is not resident; whether there is more.
    ///
    /// # Errors
    ///
    /// As [`load_requested`](Self::load_requested).
    pub fn restore_step(&mut self) -> Result<bool, StateError> {
        let Some(tracking) = &mut self.tracking else { return Ok(false) };
        let Some(groups) = tracking.next_unloaded_group() else { return Ok(false) };
        let found = tracking.scan::<S>(groups)?;
        // Before, since to insert may evict, after which all groups have to be read again.
        tracking.group_loaded();
        self.insert_loaded(found)?;
        Ok(self.has_unloaded())
    }

    /// Calls `visit` with every key and value: resident ones first, then those that are read, which do not become resident.
    ///
    /// # Errors
    ///
    /// As [`load_requested`](Self::load_requested), and the first of `visit`.
    pub fn visit(
        &mut self,
        mut visit: impl FnMut(&K, &S) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        self.iter_resident().try_for_each(|(key, value)| visit(key, value))?;
        let groups = match &self.tracking {
            Some(tracking) if tracking.has_unloaded => tracking.store.groups(),
            _ => return Ok(()),
        };
        for group in groups.groups() {
            let group = crate::KeyGroupRange { start: group.0, end: group.0 + 1 };
            let Some(tracking) = &mut self.tracking else { return Ok(()) };
            for (hash, key, value) in tracking.scan::<S>(group)? {
                if self.bucket_of(hash, &key).is_none() {
                    visit(&key, &value)?;
                }
            }
        }
        Ok(())
    }

    #[cold]
    pub(super) fn find_below(&mut self, hash: KeyHash, key: &K) -> Result<Option<&S>, StateError> {
        if !self.load(hash, key)? {
            return Ok(None);
        }
        let part = self.table.part(hash);
        let entry = part.table.find(hash.wide(), |entry| entry.0 == *key);
        Ok(entry.map(|entry| &entry.1))
    }

    #[cold]
    #[inline(never)]
    pub(super) fn find_below_or_insert(
        &mut self,
        hash: KeyHash,
        key: K,
        value: S,
    ) -> Result<&mut S, StateError> {
        if !self.load(hash, &key)? {
            return self.insert_new(hash, key, value);
        }
        let bucket = self.bucket_of(hash, &key).expect("it was loaded just now");
        self.mark_and_find(hash, bucket)
    }

    /// Makes a key resident that lies below; whether it does.
    pub(super) fn load(&mut self, hash: KeyHash, key: &K) -> Result<bool, StateError> {
        let found = match &mut self.tracking {
            Some(tracking) if tracking.may_lie_below(hash, key) => {
                tracking.synchronous_misses += 1;
                tracking.read_one::<S>(hash, key)?
            }
            _ => return Ok(false),
        };
        let is_found = !found.is_empty();
        self.insert_loaded(found)?;
        Ok(is_found)
    }

    fn insert_loaded(&mut self, found: Vec<(KeyHash, K, S)>) -> Result<(), StateError> {
        for (hash, key, value) in found {
            let Some(tracking) = &self.tracking else { return Ok(()) };
            // A key may have been requested twice, or removed since.
            if self.bucket_of(hash, &key).is_some() || tracking.is_removed(hash, &key) {
                continue;
            }
            self.keep_to_budget(hash);
            let part = self.table.part_with_room(hash, rehash);
            if let Some(tracking) = &mut self.tracking {
                begin_epoch(part, tracking)?;
            }
            let hasher = |_: &(K, S)| unreachable!("there is room");
            let entry = part.table.insert_unique(hash.wide(), (key, value), hasher);
            part.marks.set_loaded(entry.bucket_index());
        }
        Ok(())
    }
}
