//! What a row store does for the persistent tier: which rows changed in which epoch, and writing
//! them out.
//!
//! ```text
//! release ─► changed (of the current epoch) ─barrier─► ended, ended .. ─beat─► TableStore ─► finish
//!                                                        └── archived early when the row is entered
//! ```
//! 1. A row that was changed is listed once an epoch, in the order of row numbers.
//! 2. A barrier puts the set of changed rows behind the ended ones and starts an empty one: O(1).
//! 3. Beats walk the oldest ended epoch and archive what is still pending: rows that were entered
//!    meanwhile are not, since they were archived before user code could change them again.
//! 4. A row that is removed while something of it may lie below leaves a record at once.
//!
//! Where epochs are *full* a barrier lists all rows with all of their states, after the epochs before it were finished;
//! nothing counts as lying below, so that nothing has to be written as gone. What was restored is loaded at once.
//!
//! **Invariants**
//! - `ended[i]` is the set of epoch `store.oldest_epoch() + i`; `changed` is that of the current one.
//! - A listed row is in the set of the epoch of its tag. A set may name rows that are not listed in
//!   its epoch any more (archived early, or free, or free and used again): the walk passes them by.
//! - At most [`ENDED_MAX`] epochs have ended and are not finished, so tags tell them apart.

use std::collections::VecDeque;
use std::ptr::NonNull;

use super::content::FieldWriter;
use super::dirty_rows::{DirtyRows, SpareChunks};
use super::registrar::{OperatorInfo, StateField};
use super::removed_rows::RemovedRows;
use super::residence::{Residence, heap_of};
use super::row_header::{EpochTag, header_at, header_at_mut, key_at};
use crate::backend::{RowAddress, RowVisitor, TableStore};
use crate::codec::{ArchiveBuffer, Record, RecordKind, RowsWriter};
use crate::{Epoch, Key, KeyGroupRange, KeyHash, StateError};

/// How many epochs may have ended without being finished.
pub(super) const ENDED_MAX: usize = 6;
const _: () = assert!(ENDED_MAX + 1 < EpochTag::EPOCHS);

/// See the module docs.
pub(super) struct Tracking {
    store: TableStore,
    /// Of the current epoch, but for the recent ones.
    changed: DirtyRows,
    recent: RecentRows,
    ended: VecDeque<DirtyRows>,
    spare: SpareChunks,
    key_archive: ArchiveBuffer,
    value_archive: ArchiveBuffer,
    /// Whether rows may lie below that are not resident.
    pub(super) has_unloaded: bool,
    /// How many key groups of the slot's were loaded since `has_unloaded` was set.
    groups_loaded: usize,
    /// Rows whose content is to be read.
    pub(super) requested: Vec<u32>,
    /// What must not be read back; kept while `has_unloaded`.
    removed: RemovedRows,
    pub(super) synchronous_misses: u64,
    pub(super) evicted_count: u64,
    /// What is needed to evict rows; `None` where memory is not limited.
    pub(super) residence: Option<Residence>,
    /// Whether each epoch has all rows; see [`Tier::is_full`](crate::backend::Tier::is_full).
    pub(super) is_full: bool,
    /// Set while a row or the end of an epoch is written, and where that failed or panicked for
    /// good: part of the row's content has taken its changes for written.
    is_broken: bool,
    /// What went wrong where nothing could be returned; given at the next beat or barrier.
    failure: Option<StateError>,
}

/// How many rows are listed before the set is told of them.
const RECENT_ROWS: usize = 64;

/// Rows that were listed last. The set's words are a cache miss each where there are millions of
/// rows: told of one by one it held up every record by 26 ns, told of many at once the misses
/// overlap.
#[derive(Debug)]
struct RecentRows {
    rows: [u32; RECENT_ROWS],
    count: usize,
}

impl Tracking {
    pub(super) fn new(store: TableStore) -> Self {
        Tracking {
            residence: store.share_of_budget(0).map(|_| Residence::default()),
            recent: RecentRows { rows: [0; RECENT_ROWS], count: 0 },
            is_broken: false,
            is_full: store.is_full(),
            has_unloaded: store.has_rows(),
            groups_loaded: 0,
            requested: Vec::new(),
            removed: RemovedRows::default(),
            synchronous_misses: 0,
            evicted_count: 0,
            store,
            changed: DirtyRows::default(),
            ended: VecDeque::new(),
            spare: SpareChunks::default(),
            key_archive: ArchiveBuffer::default(),
            value_archive: ArchiveBuffer::default(),
            failure: None,
        }
    }

    /// What marks rows of the current epoch.
    pub(super) fn current_tag(&self) -> EpochTag {
        EpochTag::of(self.store.current_epoch())
    }

    /// What marks rows that change now: nothing where the barrier lists all of them.
    pub(super) fn change_tag(&self) -> EpochTag {
        if self.is_full { EpochTag::NONE } else { self.current_tag() }
    }

    /// How many epochs have ended and are not finished.
    pub(super) fn ended_count(&self) -> usize {
        self.ended.len()
    }

    /// Prefetches what listing the row will change.
    #[inline(always)]
    pub(super) fn hint(&self, row: u32) {
        self.changed.hint(row);
    }

    /// Lists a row in the current epoch.
    #[inline(always)]
    pub(super) fn list(&mut self, row: u32) {
        self.recent.rows[self.recent.count] = row;
        self.recent.count += 1;
        if self.recent.count == RECENT_ROWS {
            self.list_recent();
        }
    }

    #[inline(never)]
    fn list_recent(&mut self) {
        for row in &self.recent.rows[..self.recent.count] {
            self.changed.insert(*row, &mut self.spare);
        }
        self.recent.count = 0;
    }

    /// Lists a row in the current epoch at once.
    pub(super) fn list_now(&mut self, row: u32) {
        self.changed.insert(row, &mut self.spare);
    }

    /// Ends the current epoch.
    pub(super) fn barrier(&mut self) -> Epoch {
        assert!(self.ended.len() < ENDED_MAX, "tags tell {ENDED_MAX} ended epochs apart");
        self.list_recent();
        self.ended.push_back(std::mem::take(&mut self.changed));
        self.store.barrier()
    }

    /// The oldest ended epoch and its next rows.
    #[inline]
    pub(super) fn next_rows(&self, out: &mut [u32]) -> Option<(Epoch, usize)> {
        let rows = self.ended.front()?;
        Some((self.store.oldest_epoch(), rows.next_rows(out)))
    }

    /// Rows of the oldest ended epoch before `row` are archived.
    pub(super) fn advance(&mut self, row: u32) {
        if let Some(rows) = self.ended.front_mut() {
            rows.advance(row, &mut self.spare);
        }
    }

    /// All rows of the oldest ended epoch are archived.
    pub(super) fn finish_oldest(&mut self) -> Result<(), StateError> {
        self.is_broken = true;
        self.store.finish(self.store.oldest_epoch())?;
        self.is_broken = false;
        if let Some(rows) = self.ended.pop_front() {
            rows.clear(&mut self.spare);
        }
        Ok(())
    }

    /// Gives what went wrong meanwhile.
    #[inline]
    pub(super) fn check(&mut self, operator: &OperatorInfo) -> Result<(), StateError> {
        match self.failure.take() {
            Some(error) => Err(error),
            None if self.is_broken => {
                Err(StateError::ChangeNotWritten { operator: operator.name().into() })
            }
            None => Ok(()),
        }
    }

    /// Keeps an error where none can be returned; the first one stays.
    #[cold]
    pub(super) fn fail(&mut self, error: StateError) {
        self.failure.get_or_insert(error);
    }

    /// The unfinished epoch of a listed row's tag.
    pub(super) fn epoch_of(&self, tag: EpochTag) -> Epoch {
        let (oldest, current) = (self.store.oldest_epoch(), self.store.current_epoch());
        (oldest.0..=current.0)
            .map(Epoch)
            .find(|epoch| EpochTag::of(*epoch) == tag)
            .expect("a listed row is listed in an unfinished epoch")
    }

    /// Writes what changed in a row, and takes it for written.
    ///
    /// # Safety
    ///
    /// `place` is a live row with a key of type `K` and these fields, and nothing else refers to its
    /// header or fields.
    #[inline]
    pub(super) unsafe fn archive_row<K: Key>(
        &mut self,
        epoch: Epoch,
        (row_number, place): (u32, NonNull<u8>),
        fields: &[StateField],
    ) -> Result<(), StateError> {
        // SAFETY: by this function's contract.
        let key = unsafe { key_at::<K>(place) };
        // SAFETY: by this function's contract.
        let header = unsafe { header_at_mut(place) };
        let (presence, is_below) = (header.presence, header.is_below());
        let (hash, mut dirty) = (header.hash(), header.dirty);
        self.is_broken = true;
        let Tracking { store, key_archive, value_archive, is_full, .. } = self;
        let is_full = *is_full;
        let group = store.group_of(key.group_hash(hash));
        let address = RowAddress { group, hash, key: key_archive.archive(key)? };
        let mut byte_count = 0;
        store.row(epoch, address, |row| {
            if presence == 0 {
                // Pins alone keep the row: one record voids all of it.
                if is_below {
                    row.write(Record::remove(RecordKind::RemoveRow, 0, &[]));
                }
                return Ok(());
            }
            while dirty != 0 {
                let index = dirty.trailing_zeros();
                dirty &= dirty - 1;
                let field = &fields[index as usize];
                if presence & 1 << index == 0 {
                    if is_below {
                        row.write(Record::remove(RecordKind::RemoveState, field.number, &[]));
                    }
                    continue;
                }
                let state = (field.number, field.reading.versions.current);
                let ttl_ms = field.reading.ttl_ms;
                let out = FieldWriter::new(row, value_archive, state, is_below, ttl_ms);
                let out = &mut out.full(is_full);
                // SAFETY: the field's offset lies within the row.
                let field_place = unsafe { place.add(field.offset as usize) };
                // SAFETY: the presence bit is set, so the field holds a value of its type, which is
                // the one of its code; nothing else refers to it.
                unsafe { (field.code.archive_field)(field_place, out) }?;
            }
            byte_count = row.byte_count();
            Ok(())
        })?;
        if presence == 0 && is_below && self.keeps_removed() {
            self.removed.insert(epoch, hash, self.key_archive.archive(key)?);
        }
        header.set_archived(presence != 0 && !is_full);
        if let Some(residence) = &mut self.residence {
            // SAFETY: by this function's contract.
            let heap = unsafe { heap_of::<K>(place, fields) };
            residence.note(row_number, epoch, heap.bytes(byte_count));
        }
        self.is_broken = false;
        Ok(())
    }

    /// Whether misses may read below, now or later.
    fn keeps_removed(&self) -> bool {
        self.has_unloaded || self.residence.is_some()
    }

    /// How much memory resident rows may take, given what they take; `None` for any.
    pub(super) fn share_of_budget(&self, used_bytes: u64) -> Option<u64> {
        self.residence.as_ref().and_then(|_| self.store.share_of_budget(used_bytes))
    }

    /// The newest epoch whose records can be read.
    pub(super) fn readable_epoch(&self) -> Epoch {
        self.store.readable_epoch()
    }

    /// Whether all but the last ended epoch can be read, so that another one may be ended for
    /// memory's sake.
    pub(super) fn is_written(&self) -> bool {
        self.ended.is_empty() && self.store.current_epoch().0 <= self.readable_epoch().0 + 2
    }

    /// Writes that a row is gone that may lie below. What it owed an ended epoch is archived.
    pub(super) fn archive_removal<K: Key>(
        &mut self,
        key: &K,
        hash: KeyHash,
    ) -> Result<(), StateError> {
        let Tracking { store, key_archive, .. } = self;
        let group = store.group_of(key.group_hash(hash));
        let address = RowAddress { group, hash, key: key_archive.archive(key)? };
        let epoch = store.current_epoch();
        store.row(epoch, address, |row| {
            row.write(Record::remove(RecordKind::RemoveRow, 0, &[]));
            Ok(())
        })?;
        if self.keeps_removed() {
            self.removed.insert(epoch, hash, self.key_archive.archive(key)?);
        }
        Ok(())
    }

    /// Whether a key was removed and the persistent tier does not show it yet.
    pub(super) fn is_removed(&self, hash: KeyHash, key: &[u8]) -> bool {
        self.removed.holds(hash, key, self.store.readable_epoch())
    }

    /// Forgets removals that the persistent tier shows.
    pub(super) fn forget_removed(&mut self) {
        if !self.removed.is_empty() {
            self.removed.forget(self.store.readable_epoch());
        }
    }

    /// False if a row that is not resident is certainly not below either.
    pub(super) fn may_lie_below<K: Key>(
        &mut self,
        hash: KeyHash,
        key: &K,
    ) -> Result<bool, StateError> {
        if !self.store.may_hold(self.store.group_of(key.group_hash(hash)), hash) {
            return Ok(false);
        }
        let Tracking { key_archive, removed, store, .. } = self;
        Ok(!removed.holds(hash, key_archive.archive(key)?, store.readable_epoch()))
    }

    /// Reads the requested rows, which lie at `places`; `visit` is given their numbers there.
    pub(super) fn read_requested<K: Key>(
        &mut self,
        places: &[NonNull<u8>],
        visit: RowVisitor<'_>,
    ) -> Result<(), StateError> {
        let mut archives = Vec::new();
        let mut rows = Vec::with_capacity(places.len());
        for place in places {
            // SAFETY: requested rows are live.
            let key = unsafe { key_at::<K>(*place) };
            // SAFETY: as above.
            let hash = unsafe { header_at(*place) }.hash();
            let start = archives.len();
            archives.extend_from_slice(self.key_archive.archive(key)?);
            rows.push((self.store.group_of(key.group_hash(hash)), hash, start..archives.len()));
        }
        let addresses: Vec<RowAddress<'_>> = rows
            .into_iter()
            .map(|(group, hash, key)| RowAddress { group, hash, key: &archives[key] })
            .collect();
        self.store.read_rows(&addresses, visit)
    }

    /// The rows of key groups that the persistent tier shows, as a delta block has them.
    pub(super) fn scan(&mut self, groups: KeyGroupRange) -> Result<Vec<u8>, StateError> {
        let mut rows = RowsWriter::default();
        self.store.scan(groups, &mut |address, record| {
            rows.write(address.group, address.hash, address.key, *record);
            Ok(())
        })?;
        Ok(rows.finish())
    }

    /// The slot's key groups.
    pub(super) fn groups(&self) -> KeyGroupRange {
        self.store.groups()
    }

    /// The next key groups to load in the background; `None` when all are, or where memory is
    /// limited.
    pub(super) fn next_unloaded_group(&self) -> Option<KeyGroupRange> {
        let is_wanted = self.has_unloaded && self.residence.is_none();
        let next = self.store.groups().groups().nth(self.groups_loaded).filter(|_| is_wanted)?;
        Some(KeyGroupRange { start: next.0, end: next.0 + 1 })
    }

    /// A key group was loaded; whether there are more.
    pub(super) fn group_loaded(&mut self) -> bool {
        self.groups_loaded += 1;
        self.has_unloaded = self.groups_loaded < self.store.groups().len();
        self.has_unloaded
    }

    pub(super) fn set_now_ms(&mut self, now_ms: i64) {
        self.store.set_now_ms(now_ms);
    }
}
