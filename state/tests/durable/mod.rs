//! What tests of durable protocols share: a store driven step by step, and a model of it.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use thalweg_io::storage::Storage;
use thalweg_state::testing::{RawKey, RawTable};
use thalweg_state::{
    CheckpointId, KeyGroupRange, LsmOptions, LsmStore, StateRoot, StoreError, StoreEvent,
};

pub(crate) const DIRECTORY: &str = "/job/state";
pub(crate) const TABLES: [&str; 2] = ["first", "second"];

/// What a table holds.
pub(crate) type Model = BTreeMap<RawKey, Vec<u8>>;

pub(crate) fn options() -> LsmOptions {
    LsmOptions::new(KeyGroupRange { start: 0, end: 16 }, 16)
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(mixed ^ (mixed >> 31)) * u128::from(limit)) >> 64) as u64
    }

    pub(crate) fn bytes(&mut self, length_max: u64) -> Vec<u8> {
        (0..self.below(length_max + 1)).map(|_| self.below(256) as u8).collect()
    }
}

/// An open store with its tables, and what should be in them.
pub(crate) struct Driver {
    pub(crate) store: LsmStore,
    pub(crate) tables: Vec<RawTable>,
    pub(crate) models: Vec<Model>,
    pub(crate) random: Random,
}

/// What became of a checkpoint.
pub(crate) type Outcome = Result<u64, StoreError>;

impl Driver {
    pub(crate) fn new(store: LsmStore, models: Vec<Model>, seed: u64) -> Self {
        let tables = TABLES.map(|name| RawTable::open(&store, name).unwrap()).into();
        Driver { store, tables, models, random: Random(seed) }
    }

    /// A new store in a directory of its own.
    pub(crate) fn create(storage: &Arc<dyn Storage>, options: LsmOptions, seed: u64) -> Self {
        let store = LsmStore::create(DIRECTORY, options, Arc::clone(storage), None).unwrap();
        Self::new(store, vec![Model::new(); TABLES.len()], seed)
    }

    /// Random changes, of few keys so that they meet.
    pub(crate) fn change(&mut self, count: usize, keys: u64, value_bytes_max: u64) {
        for _ in 0..count {
            let number = self.random.below(self.tables.len() as u64) as usize;
            let key = self.random.below(keys);
            let sub = vec![self.random.below(4) as u8; 1 + self.random.below(3) as usize];
            let value = self.random.bytes(value_bytes_max);
            let (table, model) = (&mut self.tables[number], &mut self.models[number]);
            match self.random.below(10) {
                0 => {
                    table.remove(key).unwrap();
                    model.retain(|(of, _), _| *of != key);
                }
                1 => {
                    table.clear_entries(key).unwrap();
                    model.retain(|(of, sub), _| *of != key || sub.is_empty());
                }
                2 => {
                    table.remove_entry(key, &sub).unwrap();
                    model.remove(&(key, sub));
                }
                3..6 => {
                    table.put_entry(key, &sub, &value).unwrap();
                    model.insert((key, sub), value);
                }
                _ => {
                    table.put(key, &value).unwrap();
                    model.insert((key, Vec::new()), value);
                }
            }
        }
    }

    /// Ends the epoch in all tables as this checkpoint, and waits for what becomes of it.
    pub(crate) fn checkpoint(&mut self, id: u64) -> Outcome {
        self.begin(id);
        self.wait(id)
    }

    /// Ends the epoch in all tables as this checkpoint.
    pub(crate) fn begin(&mut self, id: u64) {
        self.store.begin_checkpoint(CheckpointId(id)).unwrap();
        for table in &mut self.tables {
            table.end_epoch().unwrap();
        }
    }

    /// Waits for what becomes of a checkpoint: the bytes written for it.
    pub(crate) fn wait(&mut self, id: u64) -> Outcome {
        for _ in 0..10_000 {
            for event in self.store.poll() {
                match event {
                    StoreEvent::CheckpointComplete { id: found, bytes_written, .. } => {
                        assert_eq!(found, CheckpointId(id));
                        return Ok(bytes_written);
                    }
                    StoreEvent::CheckpointFailed { id: found, error } => {
                        assert_eq!(found, CheckpointId(id));
                        return Err(error);
                    }
                    _ => {}
                }
            }
        }
        panic!("checkpoint {id} neither completes nor fails");
    }

    /// Lets the worker do what it has to: remove files, merge, make one ahead.
    pub(crate) fn settle(&mut self) -> Vec<StoreEvent> {
        (0..50).flat_map(|_| self.store.poll()).collect()
    }

    /// What can be read.
    pub(crate) fn contents(&mut self) -> Vec<Model> {
        let scan = |table: &mut RawTable| {
            let records = table.scan().unwrap();
            let count = records.len();
            let contents: Model = records.into_iter().collect();
            assert_eq!(contents.len(), count, "a scan gives each record once");
            contents
        };
        self.tables.iter_mut().map(scan).collect()
    }

    /// Checks what can be read against the model, by scans and by reads of keys.
    pub(crate) fn check(&mut self) {
        assert!(self.contents() == self.models, "a scan differs from the model");
        for (table, model) in self.tables.iter_mut().zip(&self.models) {
            let keys: Vec<u64> = (0..40).collect();
            let expected: Model = (model.iter())
                .filter(|((key, _), _)| keys.contains(key))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            assert!(table.get(&keys).unwrap() == expected, "a read differs from the model");
        }
    }
}

/// Opens the store at its latest checkpoint.
pub(crate) fn open(
    storage: &Arc<dyn Storage>,
    options: LsmOptions,
) -> Result<(u64, LsmStore), StoreError> {
    let store = LsmStore::open(DIRECTORY, options, Arc::clone(storage), None)?;
    Ok((store.restored_checkpoint().map_or(0, |id| id.0), store))
}

/// Opens the directory.
pub(crate) fn open_root(storage: &Arc<dyn Storage>) -> Result<Arc<StateRoot>, StoreError> {
    StateRoot::open(Path::new(DIRECTORY), Arc::clone(storage))
}
