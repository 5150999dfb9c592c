//! How a store on files is opened.

use std::task::Waker;

use crate::backend::StoreError;
use crate::compaction::CompactionOptions;
use crate::{KeyGroupRange, MAX_PARALLELISM_LIMIT};

/// Waiting bytes beyond which a checkpoint is refused, unless set.
const WAITING_BYTES_MAX: u64 = 1 << 30;
/// What caches may take without a memory budget.
const CACHE_BYTES: u64 = 256 << 20;
/// Caches get this share of a memory budget: rows that are resident serve the same purpose, and
/// better.
const CACHE_SHARE: u64 = 16;
/// Changes on their way to the files get this share of it.
const CHANGES_SHARE: u64 = 8;

/// The options of an [`LsmStore`](crate::LsmStore).
///
/// # Examples
///
/// ```
/// use thalweg_state::{KeyGroupRange, LsmOptions};
/// let options = LsmOptions::new(KeyGroupRange { start: 0, end: 128 }, 128)
///     .store("slot-0")
///     .memory_budget_bytes(Some(1 << 30));
/// ```
#[derive(Clone, Debug)]
pub struct LsmOptions {
    pub(crate) store: Box<str>,
    pub(crate) key_groups: KeyGroupRange,
    pub(crate) max_parallelism: u16,
    pub(crate) memory_budget_bytes: Option<u64>,
    pub(crate) retained_checkpoints: Option<usize>,
    pub(crate) waiting_bytes_max: u64,
    pub(crate) waker: Option<Waker>,
    pub(crate) full_checkpoints: bool,
    pub(crate) compaction: CompactionOptions,
}

impl LsmOptions {
    /// A store named `slot` of these key groups out of `max_parallelism`. Both are fixed for its
    /// life.
    pub fn new(key_groups: KeyGroupRange, max_parallelism: u16) -> Self {
        LsmOptions {
            store: "slot".into(),
            key_groups,
            max_parallelism,
            memory_budget_bytes: None,
            retained_checkpoints: Some(2),
            waiting_bytes_max: WAITING_BYTES_MAX,
            waker: None,
            full_checkpoints: false,
            compaction: CompactionOptions::default(),
        }
    }

    /// The store's name within its directory: 1 to 64 letters, digits, `.`, `_` and `-`. Default
    /// `slot`.
    #[must_use]
    pub fn store(mut self, name: &str) -> Self {
        self.store = name.into();
        self
    }

    /// The store's name.
    pub fn name(&self) -> &str {
        &self.store
    }

    /// The memory, in bytes, that the slot may take: resident rows, changes on their way to the
    /// files, caches of these, their indexes and filters. All tables of the store share it; what they
    /// lack is read from files. `None`, the default, keeps all rows resident. 0 keeps what has changed
    /// since the last barrier, and what is in use.
    #[must_use]
    pub fn memory_budget_bytes(mut self, byte_count: Option<u64>) -> Self {
        self.memory_budget_bytes = byte_count;
        self
    }

    /// How many completed checkpoints are kept: at least 2, the default. `None` keeps all until
    /// [`LsmStore::release_checkpoint`](crate::LsmStore::release_checkpoint): for a coordinator that
    /// knows which ones are complete in all slots.
    #[must_use]
    pub fn retained_checkpoints(mut self, count: Option<usize>) -> Self {
        self.retained_checkpoints = count;
        self
    }

    /// While more bytes of changes than this wait for the disk, checkpoints are refused. Default
    /// 1 GiB.
    #[must_use]
    pub fn waiting_bytes_max(mut self, byte_count: u64) -> Self {
        self.waiting_bytes_max = byte_count;
        self
    }

    /// Woken when [`LsmStore::poll`](crate::LsmStore::poll) has an event to give. Default none.
    #[must_use]
    pub fn waker(mut self, waker: Waker) -> Self {
        self.waker = Some(waker);
        self
    }

    /// Each checkpoint has all rows in one file of its own, and the store keeps all of them in memory, whatever the
    /// [budget](Self::memory_budget_bytes): the files are read when it is opened, all at once, and never
    /// again. Default: a checkpoint has what changed since the one before.
    ///
    /// Nothing is merged, and what a checkpoint wrote goes when it is released. A barrier costs a pass
    /// over the tables: 2 to 5 ns a row or timer. Rows are written in beats as others are; one that is
    /// about to change is written before. Should a checkpoint fail, nothing of it is kept.
    #[must_use]
    pub fn full_checkpoints(mut self, is_full: bool) -> Self {
        self.full_checkpoints = is_full;
        self
    }

    /// The memory that caches of files may take.
    pub(crate) fn cache_bytes(&self) -> usize {
        let share = self.memory_budget_bytes.map_or(CACHE_BYTES, |budget| budget / CACHE_SHARE);
        usize::try_from(share).unwrap_or(usize::MAX)
    }

    /// What of a memory budget is left for rows when files take so much for indexes and filters.
    pub(crate) fn rows_budget_bytes(&self, open_bytes: u64) -> Option<u64> {
        let budget = self.memory_budget_bytes.filter(|_| !self.full_checkpoints)?;
        let fixed = budget / CACHE_SHARE + budget / CHANGES_SHARE;
        // Filters that take more than half are no reason to keep no rows at all.
        Some((budget - fixed).saturating_sub(open_bytes).max(budget / 4))
    }

    /// How files are merged. With a budget rows are read from files, and sorted ones are better for
    /// that: a filter, no index of every row.
    pub(crate) fn compaction(&self) -> CompactionOptions {
        let has_budget = self.memory_budget_bytes.is_some() && !self.full_checkpoints;
        let sorts_deltas = self.compaction.sorts_deltas || has_budget;
        CompactionOptions { sorts_deltas, ..self.compaction }
    }

    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let invalid = |option, given: String, bounds| {
            let (store, given) = (self.store.clone(), given.into());
            Err(StoreError::InvalidOption { store, option, given, bounds })
        };
        let KeyGroupRange { start, end } = self.key_groups;
        if self.max_parallelism > MAX_PARALLELISM_LIMIT {
            let given = self.max_parallelism.to_string();
            return invalid("the maximum parallelism", given, "at most 32768");
        }
        if start >= end || end > self.max_parallelism {
            let given = format!("{start}..{end}");
            return invalid(
                "the range of key groups",
                given,
                "a part of 0..maximum parallelism, not empty",
            );
        }
        if let Some(count @ 0..2) = self.retained_checkpoints {
            return invalid("the number of retained checkpoints", count.to_string(), "at least 2");
        }
        Ok(())
    }
}
