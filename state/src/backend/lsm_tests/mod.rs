//! A store on files against the tier in memory, through the interface of resident tables.

mod checkpoints;
mod crashes;
mod eviction;
mod failing_storage;
mod failures;
mod full;
mod golden;
mod model;
mod pins;
mod recovery;
mod replacing;
mod rescale;
mod settings;
mod threads;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use thalweg_io::storage::{FaultStorage, MemoryStorage, Storage};

use super::{
    Epoch, LsmOptions, LsmStore, MemoryTier, PartitionLayout, RowAddress, StateRequest, StoreError,
    TableRequest, TableStore,
};
use crate::codec::{Record, RecordKind, RowWriter, TableId};
use crate::key_group::key_group_of;
use crate::snapshot::{CheckpointId, StateRoot, StoreEvent};
use crate::test_random::SplitMix64;
use crate::{KeyGroupRange, KeyHash, SchemaDescription};

const ROOT: &str = "/state";
const MAX_PARALLELISM: u16 = 128;
const ALL_GROUPS: KeyGroupRange = KeyGroupRange { start: 0, end: MAX_PARALLELISM };

/// Everything that a scan finds, by key group, hash and key.
type Rows = BTreeMap<(u16, u32, Vec<u8>), Vec<(u8, Vec<u8>, Option<i64>, Vec<u8>)>>;

fn merging_options() -> LsmOptions {
    LsmOptions::new(ALL_GROUPS, MAX_PARALLELISM)
}

/// Options with which deltas stay deltas, so that files can be counted.
fn options() -> LsmOptions {
    let mut options = merging_options();
    options.compaction.delta_count = 1000;
    options.compaction.level_bytes = 1 << 40;
    options
}

/// Options with which a few rows make several levels.
fn small_files(mut options: LsmOptions) -> LsmOptions {
    options.compaction.level_bytes = 4 << 10;
    options.compaction.level_factor = 4;
    options.compaction.file_bytes_max = 8 << 10;
    options.compaction.file_bytes_min = 2 << 10;
    options
}

fn memory() -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::new())
}

fn create(storage: &Arc<dyn Storage>) -> LsmStore {
    LsmStore::create(ROOT, options(), Arc::clone(storage), None).unwrap()
}

fn open(storage: &Arc<dyn Storage>) -> LsmStore {
    try_open(storage).unwrap()
}

fn try_open(storage: &Arc<dyn Storage>) -> Result<LsmStore, StoreError> {
    LsmStore::open(ROOT, options(), Arc::clone(storage), None)
}

fn table(store: &LsmStore, name: &str) -> TableStore {
    let (key, state) = (SchemaDescription::of::<u64>(), SchemaDescription::of::<u32>());
    let states = [StateRequest { name: "state", schema: &state }];
    store.table(&TableRequest { name, key: &key, states: &states }).unwrap().store
}

/// Runs the worker until it has nothing to do.
fn settle(store: &LsmStore) -> Vec<StoreEvent> {
    let mut events = store.poll();
    while !store.is_idle() {
        events.extend(store.poll());
    }
    events
}

/// The checkpoints that the events say are complete; panics at failures.
fn completed(events: &[StoreEvent]) -> Vec<u64> {
    let complete = events.iter().filter_map(|event| match event {
        StoreEvent::CheckpointComplete { id, .. } => Some(id.0),
        StoreEvent::SpillComplete { .. } => None,
        other => panic!("{other:?}"),
    });
    complete.collect()
}

fn scan(table: &mut TableStore, range: KeyGroupRange) -> Rows {
    let mut rows = Rows::new();
    let visit = &mut |address: RowAddress<'_>, record: &Record<'_>| {
        let key = (address.group.0, address.hash.as_u32(), address.key.to_vec());
        let Record { state, sub, expires_at_ms, value, .. } = *record;
        rows.entry(key).or_default().push((state, sub.to_vec(), expires_at_ms, value.to_vec()));
        Ok(())
    };
    table.scan(range, visit).unwrap();
    rows
}

/// Where the row of a number lies. Some numbers share a hash, so that keys decide.
fn address(number: u64, key: &mut [u8; 8]) -> RowAddress<'_> {
    *key = number.to_le_bytes();
    let hash = KeyHash::of(&(number / 2));
    RowAddress { group: key_group_of(hash, MAX_PARALLELISM), hash, key: &*key }
}

/// Writes a plain value.
fn put(table: &mut TableStore, epoch: Epoch, number: u64, value: u64) {
    let mut key = [0; 8];
    let write = |row: &mut RowWriter<'_>| {
        row.write(Record::put(0, &value.to_le_bytes()));
        Ok(())
    };
    table.row(epoch, address(number, &mut key), write).unwrap();
}

/// Writes a plain value in the current epoch.
fn put_now(table: &mut TableStore, number: u64, value: u64) {
    let epoch = table.current_epoch();
    put(table, epoch, number, value);
}

/// Ends the table's epoch.
fn pass_barrier(table: &mut TableStore) -> Epoch {
    let ended = table.barrier();
    table.finish(ended).unwrap();
    ended
}

/// Makes a checkpoint of tables whose changes are written, and waits for it.
fn checkpoint<'t>(
    store: &LsmStore,
    tables: impl IntoIterator<Item = &'t mut TableStore>,
    id: u64,
) -> Vec<StoreEvent> {
    let epoch = store.begin_checkpoint(CheckpointId(id)).unwrap();
    tables.into_iter().for_each(|table| assert_eq!(pass_barrier(table), epoch));
    settle(store)
}

fn values(rows: &Rows) -> Vec<(u64, u64)> {
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let mut values: Vec<_> =
        rows.iter().map(|((.., key), records)| (number(key), number(&records[0].3))).collect();
    values.sort_unstable();
    values
}

/// The same changes in the tier in memory.
struct Model {
    tier: Rc<RefCell<MemoryTier>>,
    layout: PartitionLayout,
    tables: Vec<TableStore>,
}

impl Model {
    fn new(groups: KeyGroupRange, table_count: u16, epoch: Epoch) -> Self {
        Self::of(MemoryTier::new(), groups, table_count, epoch)
    }

    fn of(tier: MemoryTier, groups: KeyGroupRange, table_count: u16, epoch: Epoch) -> Self {
        let tier = Rc::new(RefCell::new(tier));
        let layout = PartitionLayout::new(groups, MAX_PARALLELISM);
        let table = |id| TableStore::new(TableId(id), layout, epoch, tier.clone() as _);
        let tables = (0..table_count).map(table).collect();
        Model { tier, layout, tables }
    }

    fn rows(&mut self, table: usize) -> Rows {
        let groups = self.layout.groups();
        scan(&mut self.tables[table], groups)
    }

    /// What it holds, for later.
    fn freeze(&self) -> MemoryTier {
        self.tier.borrow().clone()
    }
}

/// One random change of a row.
#[derive(Clone, Debug)]
struct Change {
    number: u64,
    records: Vec<OwnedRecord>,
}

type OwnedRecord = (RecordKind, u8, Vec<u8>, Vec<u8>);

impl Change {
    fn random(random: &mut SplitMix64, key_count: u64) -> Self {
        let count = 1 + random.below(3);
        let records = (0..count).map(|_| random_record(random)).collect();
        Change { number: random.below(key_count), records }
    }

    fn write(&self, table: &mut TableStore, epoch: Epoch) {
        let mut key = [0; 8];
        let write = |row: &mut RowWriter<'_>| {
            for (kind, state, sub, value) in &self.records {
                row.write(match kind {
                    RecordKind::Put => Record { sub, ..Record::put(*state, value) },
                    kind => Record::remove(*kind, *state, sub),
                });
            }
            Ok(())
        };
        table.row(epoch, address(self.number, &mut key), write).unwrap();
    }
}

fn random_record(random: &mut SplitMix64) -> OwnedRecord {
    let state = random.below(3) as u8;
    let sub = match state {
        0 => Vec::new(),
        _ => vec![random.below(5) as u8; 1 + random.below(2) as usize],
    };
    let value = vec![random.next() as u8; random.below(40) as usize];
    match random.below(20) {
        0 => (RecordKind::RemoveRow, 0, Vec::new(), Vec::new()),
        1 | 2 => (RecordKind::RemoveState, state, Vec::new(), Vec::new()),
        3 | 4 => (RecordKind::RemoveEntry, state, sub, Vec::new()),
        _ => (RecordKind::Put, state, sub, value),
    }
}

/// The files of data that a directory has.
fn data_files(storage: &Arc<dyn Storage>) -> Vec<String> {
    let paths = storage.list(&Path::new(ROOT).join("files")).unwrap();
    let name = |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    paths.iter().map(name).collect()
}
