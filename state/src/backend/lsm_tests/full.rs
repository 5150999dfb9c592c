//! Full checkpoints: random changes of resident tables, barriers, failures and restarts, against maps.

use std::sync::atomic::Ordering;

use super::*;
use crate::{
    FlatStore, Key, KeyedTimers, ListState, ListStateDescriptor, MapState, MapStateDescriptor,
    RowStore, StateRegistrar, TimeDomain, ValueState, ValueStateDescriptor,
};

const KEYS: u64 = 300;

/// Value, list and map of a key.
type Row = (Option<u64>, Vec<u32>, BTreeMap<u8, u16>);

/// What all tables have.
#[derive(Clone, Debug, Default, PartialEq)]
struct Contents {
    rows: BTreeMap<u64, Row>,
    flat: BTreeMap<u64, String>,
    timers: BTreeMap<(i64, u64), ()>,
}

struct Tables {
    store: LsmStore,
    rows: RowStore<u64>,
    timers: KeyedTimers,
    flat: FlatStore<u64, String>,
    value: ValueState<u64>,
    list: ListState<u32>,
    map: MapState<u8, u16>,
}

fn full_options() -> LsmOptions {
    merging_options().full_checkpoints(true).retained_checkpoints(None)
}

impl Tables {
    fn of(store: LsmStore) -> Self {
        let mut registrar = StateRegistrar::new::<u64>("full");
        let value = registrar.register_value(&ValueStateDescriptor::new("value")).unwrap();
        let list = registrar.register_list(&ListStateDescriptor::new("list")).unwrap();
        let map = registrar.register_map(&MapStateDescriptor::new("map")).unwrap();
        let mut rows = RowStore::new_in(registrar, &store, "rows").unwrap();
        let timers = KeyedTimers::new_in(&store, "timers", &mut rows).unwrap();
        let flat = FlatStore::new_in(&store, "flat").unwrap();
        Tables { rows, timers, flat, value, list, map, store }
    }

    fn change(&mut self, random: &mut SplitMix64, model: &mut Contents) {
        let key = random.below(KEYS);
        if random.below(3) == 0 {
            return self.change_flat(key, random.below(4) == 0, random, model);
        }
        let row = model.rows.entry(key).or_default();
        let (mut cursor, _) = self.rows.enter(key.key_hash(), &key).unwrap();
        let id = cursor.row_id().unwrap();
        let number = random.next();
        match number % 9 {
            0 | 1 => {
                self.value.update(&mut cursor, number).unwrap();
                row.0 = Some(number);
            }
            2 => {
                self.list.add(&mut cursor, number as u32).unwrap();
                row.1.push(number as u32);
            }
            3 => {
                self.map.put(&mut cursor, number as u8 % 5, 7).unwrap();
                row.2.insert(number as u8 % 5, 7);
            }
            4 => {
                self.map.remove(&mut cursor, &(number as u8 % 5)).unwrap();
                row.2.remove(&(number as u8 % 5));
            }
            5 => {
                self.value.clear(&mut cursor).unwrap();
                self.list.clear(&mut cursor).unwrap();
                self.map.clear(&mut cursor).unwrap();
                *row = Row::default();
            }
            6 | 7 => {
                let at = 1 + random.below(50) as i64;
                self.timers.register(TimeDomain::EventTime, at, &mut cursor);
                model.timers.insert((at, key), ());
            }
            _ => {
                let at = 1 + random.below(50) as i64;
                self.timers.delete(TimeDomain::EventTime, at, &mut cursor);
                model.timers.remove(&(at, key));
            }
        }
        self.rows.release(id);
        if *row == Row::default() {
            model.rows.remove(&key);
        }
    }

    fn change_flat(
        &mut self,
        key: u64,
        is_removal: bool,
        random: &mut SplitMix64,
        model: &mut Contents,
    ) {
        if is_removal {
            self.flat.remove(key.key_hash(), &key).unwrap();
            model.flat.remove(&key);
            return;
        }
        let value = random.next().to_string();
        *self.flat.find_or_insert_with(key.key_hash(), &key, String::new).unwrap() = value.clone();
        model.flat.insert(key, value);
    }

    /// Fires what is due.
    fn fire(&mut self, up_to: i64, model: &mut Contents) {
        while let Some(due) = self.timers.pop_due(TimeDomain::EventTime, up_to) {
            let (mut cursor, key) = self.rows.cursor(due.row()).unwrap();
            assert!(model.timers.remove(&(due.timestamp_ms(), *key)).is_some());
            due.unpin(&mut cursor);
            self.rows.release(due.row());
        }
        assert!(model.timers.keys().all(|(at, _)| *at > up_to));
    }

    fn barrier(&mut self, id: u64) {
        self.store.begin_checkpoint(CheckpointId(id)).unwrap();
        self.timers.barrier();
        self.rows.barrier().unwrap();
        self.flat.barrier();
    }

    fn beat(&mut self, budget: usize) -> bool {
        let timers = self.timers.beat(&mut self.rows, budget).unwrap();
        let rows = self.rows.beat(budget).unwrap().is_done();
        self.flat.beat(budget).unwrap().is_done() && rows && timers
    }

    fn contents(&mut self) -> Contents {
        let mut contents = Contents::default();
        let Tables { rows, flat, value, list, map, .. } = self;
        rows.visit_rows(|cursor, key| {
            let entries = map.entries(&cursor)?.into_iter().collect();
            let row = (value.value(&cursor)?, list.get(&cursor)?, entries);
            if row != Row::default() {
                contents.rows.insert(*key, row);
            }
            Ok::<_, crate::StateError>(())
        })
        .unwrap();
        flat.visit(|key, value| {
            contents.flat.insert(*key, value.clone());
            Ok(())
        })
        .unwrap();
        contents
    }
}

/// The events of all that is under way.
fn finish(tables: &mut Tables) -> Vec<StoreEvent> {
    while !tables.beat(64) {}
    settle(&tables.store)
}

fn check_seed(seed: u64) {
    let mut random = SplitMix64::new(seed);
    let storage = memory();
    let root = StateRoot::open(ROOT, storage.clone()).unwrap();
    let mut tables = Tables::of(LsmStore::create_in(&root, full_options(), None).unwrap());
    let (mut model, mut frozen) = (Contents::default(), BTreeMap::new());
    let mut next_id = 1;
    for round in 0..60 {
        for _ in 0..random.below(400) {
            tables.change(&mut random, &mut model);
            if random.below(10) == 0 {
                tables.beat(1 + random.below(20) as usize);
            }
        }
        if random.below(4) == 0 {
            tables.fire(random.below(60) as i64, &mut model);
        }
        tables.barrier(next_id);
        frozen.insert(next_id, model.clone());
        next_id += 1;
        if random.below(3) > 0 {
            continue; // The next barrier comes while this epoch is written, or before.
        }
        finish(&mut tables);
        let Contents { rows, flat, .. } = tables.contents();
        assert_eq!((&rows, &flat), (&model.rows, &model.flat), "seed {seed} round {round}");
        let files = data_files(&storage);
        assert!(
            files <= frozen.len() + 1,
            "a file a checkpoint, and one that is prepared: {files}"
        );
        if random.below(2) == 0 {
            let at = *frozen.keys().nth(random.below(frozen.len() as u64) as usize).unwrap();
            drop(tables);
            frozen.retain(|id, _| *id <= at);
            let id = CheckpointId(at);
            tables = Tables::of(LsmStore::open_at_in(&root, full_options(), id, None).unwrap());
            assert!(!tables.rows.has_unloaded() && !tables.flat.has_unloaded());
            model = frozen[&at].clone();
            next_id = at + 1;
        }
        while frozen.len() > 3 {
            let (oldest, _) = frozen.pop_first().unwrap();
            tables.store.release_checkpoint(CheckpointId(oldest));
        }
        settle(&tables.store);
    }
    tables.fire(i64::MAX, &mut model);
    assert!(model.timers.is_empty(), "each timer fires once");
}

fn data_files(storage: &Arc<dyn Storage>) -> usize {
    storage.list(&Path::new(ROOT).join("files")).unwrap().len()
}

#[test]
fn checkpoints_have_what_there_was_at_their_barriers() {
    (0..6).for_each(check_seed);
}

/// What was to be in a checkpoint that failed is in the next one, and what was removed meanwhile is not.
#[test]
fn nothing_of_a_failed_checkpoint_is_carried_over() {
    let failing = failing_storage::FailingStorage::default();
    let switches = Arc::clone(&failing.switches);
    let storage: Arc<dyn Storage> = Arc::new(failing);
    let store = LsmStore::create(ROOT, full_options(), storage.clone(), None).unwrap();
    let mut tables = Tables::of(store);
    let set = |tables: &mut Tables, key: u64, value: &str| {
        let value = value.to_owned();
        *tables.flat.find_or_insert_with(key.key_hash(), &key, String::new).unwrap() = value;
    };
    set(&mut tables, 1, "one");
    set(&mut tables, 2, "two");
    settle(&tables.store);
    switches.data_syncs_fail.store(true, Ordering::Relaxed);
    tables.barrier(1);
    let events = finish(&mut tables);
    assert!(matches!(events[..], [StoreEvent::CheckpointFailed { .. }]), "{events:?}");
    assert_eq!(tables.store.waiting_bytes(), 0);
    switches.data_syncs_fail.store(false, Ordering::Relaxed);
    tables.flat.remove(2_u64.key_hash(), &2).unwrap();
    set(&mut tables, 3, "three");
    tables.barrier(2);
    assert_eq!(completed(&finish(&mut tables)), [2]);
    drop(tables);
    let mut tables = Tables::of(LsmStore::open(ROOT, full_options(), storage, None).unwrap());
    let expected = [(1, "one"), (3, "three")].map(|(key, value)| (key, value.to_owned()));
    assert_eq!(tables.contents().flat, expected.into());
}

/// A checkpoint of one kind is restored by the other.
#[test]
fn incremental_stores_open_full_checkpoints_and_back() {
    let storage = memory();
    let root = StateRoot::open(ROOT, storage).unwrap();
    let (mut random, mut model) = (SplitMix64::new(3), Contents::default());
    let mut tables = Tables::of(LsmStore::create_in(&root, full_options(), None).unwrap());
    for id in 1..8 {
        (0..300).for_each(|_| tables.change(&mut random, &mut model));
        tables.barrier(id);
        assert_eq!(completed(&finish(&mut tables)), [id]);
        drop(tables);
        let options = full_options().full_checkpoints(id % 2 == 0);
        let opened = LsmStore::open_at_in(&root, options, CheckpointId(id), None);
        tables = Tables::of(opened.unwrap());
        let Contents { rows, flat, .. } = tables.contents();
        assert_eq!((&rows, &flat), (&model.rows, &model.flat));
        assert_eq!(tables.timers.len(TimeDomain::EventTime), model.timers.len());
    }
}
