//! Our side: the store as a keyed operator uses it. A batch is hashed as a whole; index buckets are
//! hinted 16 records ahead, rows 8 ahead; then each record enters its row and releases it.

use thalweg::Result;
use thalweg::state::{Key, KeyHash, RowStore, StateRegistrar, ValueState, ValueStateDescriptor};

use super::Options;
use super::events::Event;
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
    pub(super) fn begin(&mut self, rows: &mut RowStore<u64>, keys: impl Iterator<Item = u64>) {
        self.hashes.clear();
        self.hashes.extend(keys.map(|key| key.key_hash()));
        self.is_deep = rows.is_deep();
        if self.is_deep {
            self.hashes.iter().take(self.ahead).for_each(|hash| rows.hint(*hash));
            self.hashes.iter().take(self.ahead / 2).for_each(|hash| rows.hint_row(*hash));
        }
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

/// A counter a key, in rows in memory.
pub(super) struct RowCounters<V> {
    rows: RowStore<u64>,
    counter: ValueState<V>,
    batch: Batch,
}

impl<V: Value> RowCounters<V> {
    pub(super) fn new(options: &Options) -> Result<Self> {
        let mut registrar = StateRegistrar::new::<u64>("rmw");
        let counter = registrar.register_value(&ValueStateDescriptor::<V>::new("counter"))?;
        let rows = RowStore::new(registrar)?;
        Ok(RowCounters { rows, counter, batch: Batch::new(options) })
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
            self.batch.begin(&mut self.rows, events.iter().map(|event| event.key()));
            for (record, event) in events.iter().enumerate() {
                let hash = self.batch.hash(&self.rows, record);
                digest = digest.wrapping_add(self.update_hashed(hash, *event)?);
            }
        }
        Ok(digest)
    }

    #[inline(never)]
    fn update(&mut self, event: Event) -> Result<u64> {
        self.update_hashed(event.key().key_hash(), event)
    }
}
