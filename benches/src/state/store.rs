//! Our side: the store as a keyed operator uses it. A batch is hashed as a whole; index buckets are
//! hinted 16 records ahead, rows 8 ahead; then each record enters its row and releases it.

use thalweg::Result;
use thalweg::state::{Key, KeyHash, RowStore, StateRegistrar, ValueState, ValueStateDescriptor};

use super::Options;
use super::events::Event;
use super::files::Files;
use super::rmw::{Counters, Value};

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
        let Options { batch: size, ahead, .. } = *options;
        Batch { size, ahead, hashes: Vec::with_capacity(size), is_deep: false }
    }

    /// Hashes the keys of a batch and gives the first hints.
    #[inline(always)]
    pub(super) fn begin(
        &mut self,
        rows: &mut RowStore<u64>,
        keys: impl Iterator<Item = u64> + Clone,
    ) -> Result<()> {
        self.hashes.clear();
        self.hashes.extend(keys.clone().map(|key| key.key_hash()));
        if rows.has_unloaded() {
            for (hash, key) in self.hashes.iter().zip(keys) {
                rows.request(*hash, &key)?;
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
    pub(super) fn hash(&self, rows: &RowStore<u64>, record: usize) -> KeyHash {
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

    pub(super) fn files(&self) -> Option<&Files> {
        self.files.as_ref()
    }

    pub(super) fn with_files<R>(
        &mut self,
        call: impl FnOnce(&mut Files, &mut RowStore<u64>) -> Result<R>,
    ) -> Result<R> {
        call(self.files.as_mut().ok_or("this store has no files")?, &mut self.rows)
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
}
