//! What a flat store knows of the tier below: writing entries down, and reading them back.
//!
//! **Invariants**
//! - `epoch` is the store's current epoch.
//! - While something may lie below that is not resident, or may come to: each key that was removed from there in an epoch
//!   that the tier does not show yet is in `removed`.

use std::collections::VecDeque;
use std::ops::Range;

use crate::backend::{Replacement, RowAddress, StateVersions, TableStore};
use crate::codec::{ArchiveBuffer, Record, RecordKind, StateIndex};
use crate::{Epoch, Key, KeyGroup, KeyGroupRange, KeyHash, PrefetchTable, StateError, StateValue};

/// See the module docs.
#[derive(Debug)]
pub(super) struct Tracking<K> {
    pub(super) store: TableStore,
    /// The number of the value among the states of the table.
    state: StateIndex,
    versions: StateVersions,
    pub(super) epoch: Epoch,
    archive: ArchiveBuffer,
    /// The part that the walk over the oldest ended epoch has come to.
    pub(super) walked_parts: usize,
    /// Whether something may lie below that is not resident.
    pub(super) has_unloaded: bool,
    /// How many key groups of the slot's were loaded since `has_unloaded` was set.
    groups_loaded: usize,
    removed: VecDeque<(Epoch, PrefetchTable<K>)>,
    requested: Requests,
    has_budget: bool,
    /// Whether each epoch has all entries; see [`Tier::is_full`](crate::backend::Tier::is_full).
    pub(super) is_full: bool,
    pub(super) beats: u32,
    /// The part that is looked at next for whether nearly all of it was changed.
    pub(super) looked_parts: usize,
    /// The last epoch that has all entries although it need not.
    pub(super) replacing_epoch: Option<Epoch>,
    pub(super) census: Census,
    /// The memory that the table may take, as the slot last said.
    pub(super) share_bytes: u64,
    /// How many entries were changed in the current epoch; counted with a budget only.
    pub(super) dirty_count: u64,
    /// An eviction found little that may go, since the last barrier.
    pub(super) wants_spill: bool,
    /// The part that is looked at next when memory is to be given back.
    pub(super) shrink_hand: usize,
    /// The latest parts that could not be made smaller, in a row.
    pub(super) unshrunk_parts: usize,
    /// What the tier showed when one of them was looked at.
    pub(super) unshrunk_epoch: Epoch,
    pub(super) evicted_count: u64,
    pub(super) synchronous_misses: u64,
}

/// How many entries were changed, counted part by part as they are frozen; decides which epochs have all entries.
///
/// To merge changes into older files reads and writes most rows, at 140 ns each, beside writing the changes. To write all
/// rows now and then instead takes 25 ns each, and nothing is merged.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Census {
    /// Of the parts that were frozen since the last walk was over.
    changed: usize,
    all: usize,
    /// Of the last epoch.
    last_changed: usize,
    last_all: usize,
    /// In the epochs with changes alone since one had all entries.
    changed_since: usize,
}

/// With fewer changes an epoch than one in so many entries, deltas are merged: so many of them would be left at most.
const EPOCHS_MAX: usize = 16;

impl Census {
    pub(super) fn count(&mut self, changed: usize, all: usize) {
        (self.changed, self.all) = (self.changed + changed, self.all + all);
    }

    fn end_epoch(&mut self, had_all: bool) {
        (self.last_changed, self.last_all) = (self.changed, self.all);
        self.changed_since = if had_all { 0 } else { self.changed_since + self.changed };
        (self.changed, self.all) = (0, 0);
    }

    fn replacement(&self) -> Option<Replacement> {
        let Census { last_changed, last_all, changed_since, .. } = *self;
        if last_all == 0 {
            Some(Replacement::Soon) // The first one: it is not known yet, and there is nothing to merge with.
        } else if last_changed.saturating_mul(EPOCHS_MAX) <= last_all {
            None
        } else if last_changed > last_all / 2 || changed_since >= last_all {
            Some(Replacement::Now)
        } else {
            Some(Replacement::Soon)
        }
    }
}

/// Keys that are to be read together.
#[derive(Debug, Default)]
struct Requests {
    archives: Vec<u8>,
    rows: Vec<(KeyGroup, KeyHash, Range<usize>)>,
}

impl<K: Key> Tracking<K> {
    pub(super) fn new(store: TableStore, state: StateIndex, versions: StateVersions) -> Self {
        let (share, is_full) = (store.share_of_budget(0), store.is_full());
        Tracking {
            has_unloaded: store.has_rows(),
            epoch: store.current_epoch(),
            store,
            state,
            versions,
            archive: ArchiveBuffer::default(),
            walked_parts: 0,
            groups_loaded: 0,
            removed: VecDeque::new(),
            requested: Requests::default(),
            has_budget: share.is_some(),
            is_full,
            beats: 0,
            looked_parts: 0,
            replacing_epoch: None,
            census: Census::default(),
            share_bytes: share.unwrap_or(u64::MAX),
            dirty_count: 0,
            wants_spill: false,
            shrink_hand: 0,
            unshrunk_parts: 0,
            unshrunk_epoch: Epoch(0),
            evicted_count: 0,
            synchronous_misses: 0,
        }
    }

    /// Whether entries may be evicted.
    #[inline(always)]
    pub(super) fn has_budget(&self) -> bool {
        self.has_budget
    }

    /// Decides whether the current epoch, which ends now, is to have all entries.
    pub(super) fn choose_kind(&mut self) {
        if self.has_unloaded || self.has_budget || self.is_full {
            return;
        }
        let is_walked = self.store.oldest_epoch() == self.epoch;
        let replacement = match self.census.replacement() {
            Some(Replacement::Now) if !is_walked => Some(Replacement::Soon),
            replacement => replacement,
        };
        let is_taken = replacement.is_some_and(|replacement| self.store.replace_all(replacement));
        if is_taken && replacement == Some(Replacement::Now) {
            self.replacing_epoch = Some(self.epoch);
        }
    }

    /// The walk over an ended epoch is over.
    pub(super) fn end_walk(&mut self, ended: Epoch) {
        self.walked_parts = 0;
        self.census.end_epoch(self.replacing_epoch == Some(ended));
    }

    /// Writes an entry as it is into an epoch.
    #[inline]
    pub(super) fn archive_entry<S: StateValue>(
        &mut self,
        epoch: Epoch,
        (key, value): &(K, S),
    ) -> Result<(), StateError> {
        let hash = key.key_hash();
        let group = self.store.group_of(key.group_hash(hash));
        let (state, version) = (self.state, self.versions.current);
        let (key, value) = self.archive.archive_entry(key, value)?;
        self.store.row(epoch, RowAddress { group, hash, key }, |row| {
            row.write(Record { version, ..Record::put(state, value) });
            Ok(())
        })
    }

    /// Writes into the current epoch that what lies below of a key is void.
    pub(super) fn archive_removal(&mut self, hash: KeyHash, key: &K) -> Result<(), StateError> {
        let group = self.store.group_of(key.group_hash(hash));
        let address = RowAddress { group, hash, key: self.archive.archive(key)? };
        self.store.row(self.epoch, address, |row| {
            row.write(Record::remove(RecordKind::RemoveRow, 0, &[]));
            Ok(())
        })
    }

    /// Remembers that a key was removed, until the tier shows it.
    pub(super) fn note_removed(&mut self, hash: KeyHash, key: K) {
        // With a budget, what is complete now may not be when the key is asked for.
        if !self.has_unloaded && !self.has_budget() {
            return;
        }
        if self.removed.back().is_none_or(|(epoch, _)| *epoch != self.epoch) {
            self.removed.push_back((self.epoch, PrefetchTable::new()));
        }
        if let Some((_, keys)) = self.removed.back_mut() {
            keys.find_or_insert_with(hash, |found| *found == key, Key::key_hash, || key.clone());
        }
    }

    /// Forgets removals that the tier shows.
    pub(super) fn forget_removed(&mut self) {
        let readable = self.store.readable_epoch();
        while self.removed.front().is_some_and(|(epoch, _)| *epoch <= readable) {
            self.removed.pop_front();
        }
    }

    pub(super) fn is_removed(&self, hash: KeyHash, key: &K) -> bool {
        let readable = self.store.readable_epoch();
        let epochs = self.removed.iter().filter(|(epoch, _)| *epoch > readable);
        let mut keys = epochs.map(|(_, keys)| keys);
        keys.any(|keys| keys.find(hash, |found| found == key).is_some())
    }

    /// False if a key that is not resident is certainly not below either.
    pub(super) fn may_lie_below(&self, hash: KeyHash, key: &K) -> bool {
        self.has_unloaded
            && self.store.may_hold(self.store.group_of(key.group_hash(hash)), hash)
            && !self.is_removed(hash, key)
    }

    /// Puts a key to those that [`read_requested`](Self::read_requested) reads.
    pub(super) fn request(&mut self, hash: KeyHash, key: &K) -> Result<(), StateError> {
        let group = self.store.group_of(key.group_hash(hash));
        let Requests { archives, rows } = &mut self.requested;
        let start = archives.len();
        archives.extend_from_slice(self.archive.archive(key)?);
        rows.push((group, hash, start..archives.len()));
        Ok(())
    }

    /// Reads a key that lies below, and nothing else, so that nothing read after it can drive it out again.
    pub(super) fn read_one<S: StateValue>(
        &mut self,
        hash: KeyHash,
        key: &K,
    ) -> Result<Vec<(KeyHash, K, S)>, StateError> {
        let group = self.store.group_of(key.group_hash(hash));
        let archive = self.archive.archive(key)?.to_vec();
        let rows = vec![(group, hash, 0..archive.len())];
        self.read(Requests { archives: archive, rows })
    }

    /// Reads the requested keys that lie below, with their values. They are requested no more, also if it fails.
    pub(super) fn read_requested<S: StateValue>(
        &mut self,
    ) -> Result<Vec<(KeyHash, K, S)>, StateError> {
        let requested = std::mem::take(&mut self.requested);
        self.read(requested)
    }

    fn read<S: StateValue>(
        &mut self,
        Requests { archives, rows }: Requests,
    ) -> Result<Vec<(KeyHash, K, S)>, StateError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let addresses: Vec<RowAddress<'_>> = rows
            .iter()
            .map(|(group, hash, key)| RowAddress {
                group: *group,
                hash: *hash,
                key: &archives[key.clone()],
            })
            .collect();
        let mut found = Vec::with_capacity(rows.len());
        let (state, versions) = (self.state, &self.versions);
        self.store.read_rows(&addresses, &mut |number, record| {
            if record.state != state {
                return Ok(());
            }
            let RowAddress { hash, key, .. } = addresses[number];
            found.push((hash, K::from_archived(key)?, versions.read(record)?));
            Ok(())
        })?;
        Ok(found)
    }

    /// The rows of key groups that the tier shows and that were not removed.
    pub(super) fn scan<S: StateValue>(
        &mut self,
        groups: KeyGroupRange,
    ) -> Result<Vec<(KeyHash, K, S)>, StateError> {
        let mut found = Vec::new();
        let (state, versions) = (self.state, &self.versions);
        self.store.scan(groups, &mut |address, record| {
            if record.state != state {
                return Ok(());
            }
            found.push((address.hash, K::from_archived(address.key)?, versions.read(record)?));
            Ok(())
        })?;
        found.retain(|(hash, key, _)| !self.is_removed(*hash, key));
        Ok(found)
    }

    /// The next key group to load in the background; `None` when all are, or where memory is limited.
    pub(super) fn next_unloaded_group(&self) -> Option<KeyGroupRange> {
        let next = self.store.groups().groups().nth(self.groups_loaded);
        let next = next.filter(|_| self.has_unloaded && !self.has_budget)?;
        Some(KeyGroupRange { start: next.0, end: next.0 + 1 })
    }

    pub(super) fn group_loaded(&mut self) {
        self.groups_loaded += 1;
        self.has_unloaded = self.groups_loaded < self.store.groups().len();
    }

    /// So many entries are dropped from memory.
    pub(super) fn note_evicted(&mut self, count: usize) {
        self.evicted_count += count as u64;
        self.has_unloaded = true;
    }
}
