//! Our side: the store as a keyed operator uses it. A batch is hashed as a whole; index buckets are
//! hinted some records ahead, rows half as many; then each record enters its row and releases it.

use thalweg::Result;
use thalweg::state::{
    FlatStore, Key, KeyHash, RowStore, StateRegistrar, StateValue, ValueState, ValueStateDescriptor,
};

use super::events::Event;
use super::files::{Files, Table};
use super::rmw::{Counters, Value};
use super::{Layout, Options};

/// What a batch asks of a table before it is applied.
pub(super) trait Hinted {
    fn is_deep(&mut self) -> bool;
    /// First stage, the farther one.
    fn hint(&self, hash: KeyHash);
    /// Second stage, where there is one.
    fn hint_row(&self, hash: KeyHash);
    fn has_unloaded(&self) -> bool;
    fn request(&mut self, hash: KeyHash, key: u64) -> Result<()>;
    fn load_requested(&mut self) -> Result<()>;
}

impl Hinted for RowStore<u64> {
    #[inline(always)]
    fn is_deep(&mut self) -> bool {
        RowStore::is_deep(self)
    }

    #[inline(always)]
    fn hint(&self, hash: KeyHash) {
        RowStore::hint(self, hash);
    }

    #[inline(always)]
    fn hint_row(&self, hash: KeyHash) {
        RowStore::hint_row(self, hash);
    }

    #[inline(always)]
    fn has_unloaded(&self) -> bool {
        RowStore::has_unloaded(self)
    }

    fn request(&mut self, hash: KeyHash, key: u64) -> Result<()> {
        Ok(RowStore::request(self, hash, &key)?)
    }

    fn load_requested(&mut self) -> Result<()> {
        Ok(RowStore::load_requested(self)?)
    }
}

impl<S: StateValue> Hinted for FlatStore<u64, S> {
    #[inline(always)]
    fn is_deep(&mut self) -> bool {
        FlatStore::is_deep(self)
    }

    #[inline(always)]
    fn hint(&self, hash: KeyHash) {
        FlatStore::hint(self, hash);
    }

    #[inline(always)]
    fn hint_row(&self, _hash: KeyHash) {}

    #[inline(always)]
    fn has_unloaded(&self) -> bool {
        FlatStore::has_unloaded(self)
    }

    fn request(&mut self, hash: KeyHash, key: u64) -> Result<()> {
        Ok(FlatStore::request(self, hash, &key)?)
    }

    fn load_requested(&mut self) -> Result<()> {
        Ok(FlatStore::load_requested(self)?)
    }
}

/// The hashes of a batch, and the hints that go with them.
pub(super) struct Batch {
    /// Records of a batch.
    pub(super) size: usize,
    /// How far ahead index buckets are hinted; rows half as far.
    ahead: usize,
    hashes: Vec<KeyHash>,
    is_deep: bool,
}

impl Batch {
    pub(super) fn new(options: &Options) -> Self {
        let size = options.batch;
        let ahead = options.ahead.unwrap_or(match options.layout {
            Layout::Rows => RowStore::<u64>::HINT_AHEAD,
            Layout::Flat => FlatStore::<u64, u64>::HINT_AHEAD,
        });
        Batch { size, ahead, hashes: Vec::with_capacity(size), is_deep: false }
    }

    /// Hashes the keys of a batch and gives the first hints.
    #[inline(always)]
    pub(super) fn begin(
        &mut self,
        rows: &mut impl Hinted,
        keys: impl Iterator<Item = u64> + Clone,
    ) -> Result<()> {
        self.hashes.clear();
        self.hashes.extend(keys.clone().map(|key| key.key_hash()));
        if rows.has_unloaded() {
            for (hash, key) in self.hashes.iter().zip(keys) {
                rows.request(*hash, key)?;
            }
            rows.load_requested()?;
        }
        self.is_deep = rows.is_deep();
        if self.is_deep {
            self.hashes.iter().take(self.ahead).for_each(|hash| rows.hint(*hash));
            self.hashes.iter().take(self.ahead / 2).for_each(|hash| rows.hint_row(*hash));
        }
        Ok(())
    }

    /// The hash of a record, with the hints for those behind it.
    #[inline(always)]
    pub(super) fn hash(&self, rows: &impl Hinted, record: usize) -> KeyHash {
        if self.is_deep {
            if let Some(hash) = self.hashes.get(record + self.ahead) {
                rows.hint(*hash);
            }
            if let Some(hash) = self.hashes.get(record + self.ahead / 2) {
                rows.hint_row(*hash);
            }
        }
        self.hashes[record]
    }
}

/// A counter a key, in rows in memory, and on files behind them where there are some.
pub(super) struct RowCounters<V> {
    rows: RowStore<u64>,
    counter: ValueState<V>,
    batch: Batch,
    files: Option<Files>,
}

impl<V: Value> RowCounters<V> {
    pub(super) fn new(options: &Options, files: Option<Files>) -> Result<Self> {
        let mut registrar = StateRegistrar::new::<u64>("rmw");
        let counter = registrar.register_value(&ValueStateDescriptor::<V>::new("counter"))?;
        let rows = match &files {
            None => RowStore::new(registrar)?,
            Some(files) => RowStore::new_in(registrar, files.store(), "rmw")?,
        };
        Ok(RowCounters { rows, counter, batch: Batch::new(options), files })
    }

    #[inline(always)]
    fn update_hashed(&mut self, hash: KeyHash, event: Event) -> Result<u64> {
        let (mut cursor, _) = self.rows.enter(hash, &event.key())?;
        let row = cursor.row_id();
        let new = self.counter.modify(&mut cursor, |value| value.add(event.amount()))?;
        if let Some(row) = row {
            self.rows.release(row);
        }
        Ok(new)
    }
}

impl<V: Value> Counters for RowCounters<V> {
    #[inline(never)]
    fn update_all(&mut self, events: &[Event]) -> Result<u64> {
        let mut digest = 0_u64;
        for events in events.chunks(self.batch.size) {
            self.batch.begin(&mut self.rows, events.iter().map(|event| event.key()))?;
            for (record, event) in events.iter().enumerate() {
                let hash = self.batch.hash(&self.rows, record);
                digest = digest.wrapping_add(self.update_hashed(hash, *event)?);
            }
            if let Some(files) = &mut self.files {
                files.after_batch(&mut self.rows, events.len())?;
            }
        }
        Ok(digest)
    }

    #[inline(never)]
    fn update(&mut self, event: Event) -> Result<u64> {
        self.update_hashed(event.key().key_hash(), event)
    }

    fn grown(&mut self) -> Result<()> {
        match &mut self.files {
            Some(files) => files.first_checkpoint(&mut self.rows),
            None => Ok(()),
        }
    }

    fn settle(&mut self) -> Result<()> {
        match &mut self.files {
            Some(files) => files.settle(&mut self.rows),
            None => Ok(()),
        }
    }

    fn barrier_count(&self) -> u64 {
        self.files.as_ref().map_or(0, Files::barrier_count)
    }
}

/// A counter a key, next to its key: the flat layout.
pub(super) struct FlatCounters<V: Value> {
    counters: FlatStore<u64, V>,
    batch: Batch,
    files: Option<Files>,
}

impl<V: Value> FlatCounters<V> {
    pub(super) fn new(options: &Options, files: Option<Files>) -> Result<Self> {
        let counters = match &files {
            None => FlatStore::new(),
            Some(files) => FlatStore::new_in(files.store(), "rmw")?,
        };
        Ok(FlatCounters { counters, batch: Batch::new(options), files })
    }

    #[inline(always)]
    fn update_hashed(&mut self, hash: KeyHash, event: Event) -> Result<u64> {
        let value = self.counters.find_or_insert_with(hash, &event.key(), V::default)?;
        Ok(value.add(event.amount()))
    }
}

impl<V: Value> Counters for FlatCounters<V> {
    #[inline(never)]
    fn update_all(&mut self, events: &[Event]) -> Result<u64> {
        let mut digest = 0_u64;
        for events in events.chunks(self.batch.size) {
            self.batch.begin(&mut self.counters, events.iter().map(|event| event.key()))?;
            for (record, event) in events.iter().enumerate() {
                let hash = self.batch.hash(&self.counters, record);
                digest = digest.wrapping_add(self.update_hashed(hash, *event)?);
            }
            if let Some(files) = &mut self.files {
                files.after_batch(&mut self.counters, events.len())?;
            }
        }
        Ok(digest)
    }

    #[inline(never)]
    fn update(&mut self, event: Event) -> Result<u64> {
        self.update_hashed(event.key().key_hash(), event)
    }

    fn grown(&mut self) -> Result<()> {
        match &mut self.files {
            Some(files) => files.first_checkpoint(&mut self.counters),
            None => Ok(()),
        }
    }

    fn settle(&mut self) -> Result<()> {
        match &mut self.files {
            Some(files) => files.settle(&mut self.counters),
            None => Ok(()),
        }
    }

    fn barrier_count(&self) -> u64 {
        self.files.as_ref().map_or(0, Files::barrier_count)
    }
}

/// A store of counters on files, if it is on files.
pub(super) trait OnFiles {
    fn files(&self) -> Option<&Files>;
    /// Files and the table above them.
    fn parts(&mut self) -> Option<(&mut Files, &mut dyn Table)>;
    /// What is in memory, and what is not.
    fn residence(&self) -> Residence;
}

/// What a table has in memory, and what it had to do for that.
#[derive(Clone, Copy)]
pub(super) struct Residence {
    /// As a budget counts it.
    pub(super) resident_bytes: u64,
    /// What the table has taken.
    pub(super) table_bytes: u64,
    /// Rows that have left memory.
    pub(super) evicted: u64,
    /// Rows that had to be read alone.
    pub(super) alone: u64,
}

impl<V> OnFiles for RowCounters<V> {
    fn files(&self) -> Option<&Files> {
        self.files.as_ref()
    }

    fn parts(&mut self) -> Option<(&mut Files, &mut dyn Table)> {
        Some((self.files.as_mut()?, &mut self.rows))
    }

    fn residence(&self) -> Residence {
        Residence {
            resident_bytes: self.rows.resident_bytes(),
            table_bytes: self.rows.memory_bytes() as u64,
            evicted: self.rows.evicted_rows(),
            alone: self.rows.synchronous_misses(),
        }
    }
}

impl<V: Value> OnFiles for FlatCounters<V> {
    fn files(&self) -> Option<&Files> {
        self.files.as_ref()
    }

    fn parts(&mut self) -> Option<(&mut Files, &mut dyn Table)> {
        Some((self.files.as_mut()?, &mut self.counters))
    }

    fn residence(&self) -> Residence {
        Residence {
            resident_bytes: self.counters.resident_bytes(),
            table_bytes: self.counters.memory_bytes() as u64,
            evicted: self.counters.evicted_rows(),
            alone: self.counters.synchronous_misses(),
        }
    }
}
