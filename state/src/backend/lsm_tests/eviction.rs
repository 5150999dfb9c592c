//! Tables with little memory over a store on files: rows leave, are read back, and are what they were.

use super::*;
use crate::{FlatStore, Key, MemoryPressure, RowStore, StateRegistrar, ValueState};
use crate::{StateError, ValueStateDescriptor};

type Values = BTreeMap<u64, u64>;

/// One table of either layout in a store, each beside its model.
struct Tables {
    store: LsmStore,
    rows: RowStore<u64>,
    count: ValueState<u64>,
    flat: FlatStore<u64, u64>,
    in_rows: Values,
    in_flat: Values,
    checkpoints: u64,
}

fn budget_options(budget_bytes: u64) -> LsmOptions {
    small_files(merging_options()).memory_budget_bytes(Some(budget_bytes))
}

impl Tables {
    fn new(store: LsmStore, models: (Values, Values), checkpoints: u64) -> Self {
        let mut registrar = StateRegistrar::new::<u64>("rows");
        let count = registrar.register_value(&ValueStateDescriptor::new("count")).unwrap();
        let rows = RowStore::new_in(registrar, &store, "rows").unwrap();
        let flat = FlatStore::new_in(&store, "flat").unwrap();
        let (in_rows, in_flat) = models;
        Tables { store, rows, count, flat, in_rows, in_flat, checkpoints }
    }

    fn update(&mut self, key: u64, value: u64) {
        let (mut ctx, _) = self.rows.enter(key.key_hash(), &key).unwrap();
        let row = ctx.row_id().unwrap();
        let found = self.count.value(&ctx).unwrap();
        self.count.update(&mut ctx, value).unwrap();
        self.rows.release(row);
        assert_eq!(found, self.in_rows.insert(key, value), "row {key}");
        let found = self.flat.find_or_insert_with(key.key_hash(), &key, || 0).unwrap();
        assert_eq!(*found, self.in_flat.insert(key, value).unwrap_or(0), "flat {key}");
        *found = value;
    }

    fn remove(&mut self, key: u64) {
        let (mut ctx, _) = self.rows.enter(key.key_hash(), &key).unwrap();
        let row = ctx.row_id().unwrap();
        assert_eq!(self.count.take(&mut ctx).unwrap(), self.in_rows.remove(&key), "row {key}");
        self.rows.release(row);
        let removed = self.flat.remove(key.key_hash(), &key).unwrap();
        assert_eq!(removed, self.in_flat.remove(&key), "flat {key}");
    }

    fn check(&mut self, key: u64) {
        let found = self.rows.find(key.key_hash(), &key).unwrap();
        assert_eq!(found.is_some(), self.in_rows.contains_key(&key), "row {key}");
        let found = self.flat.find(key.key_hash(), &key).unwrap();
        assert_eq!(found, self.in_flat.get(&key), "flat {key}");
    }

    fn request(&mut self, keys: impl Iterator<Item = u64>) {
        for key in keys {
            self.rows.request(key.key_hash(), &key).unwrap();
            self.flat.request(key.key_hash(), &key).unwrap();
        }
        self.rows.load_requested().unwrap();
        self.flat.load_requested().unwrap();
    }

    fn beat(&mut self, rows_max: usize) -> MemoryPressure {
        let rows = self.rows.beat(rows_max).unwrap().memory;
        let flat = self.flat.beat(rows_max).unwrap().memory;
        MemoryPressure {
            wants_spill: rows.wants_spill || flat.wants_spill,
            is_over: rows.is_over || flat.is_over,
        }
    }

    fn barrier(&mut self) {
        self.rows.barrier().unwrap();
        self.flat.barrier();
    }

    fn spill(&mut self) {
        self.store.begin_spill().unwrap();
        self.barrier();
    }

    /// A checkpoint, all the way.
    fn checkpoint(&mut self) {
        self.checkpoints += 1;
        self.store.begin_checkpoint(CheckpointId(self.checkpoints)).unwrap();
        self.barrier();
        while !self.rows.beat(1_000).unwrap().is_done() || !self.flat.beat(1_000).unwrap().is_done()
        {
        }
        assert_eq!(completed(&settle(&self.store)).last(), Some(&self.checkpoints));
    }

    /// Ends this process; another one goes on from the latest checkpoint.
    fn restart(self, storage: &Arc<dyn Storage>, options: LsmOptions) -> Self {
        let Tables { store, rows, flat, in_rows, in_flat, checkpoints, .. } = self;
        drop((rows, flat, store));
        let store = LsmStore::open(ROOT, options, Arc::clone(storage), None).unwrap();
        Tables::new(store, (in_rows, in_flat), checkpoints)
    }

    fn check_all(&mut self) {
        let (mut rows, mut flat) = (Values::new(), Values::new());
        let count = self.count.clone();
        let visited = self.rows.visit_rows(|ctx, key| {
            assert_eq!(rows.insert(*key, count.value(&ctx)?.unwrap()), None);
            Ok::<_, StateError>(())
        });
        visited.unwrap();
        let visit = |key: &u64, value: &u64| {
            assert_eq!(flat.insert(*key, *value), None);
            Ok(())
        };
        self.flat.visit(visit).unwrap();
        assert!(rows == self.in_rows && flat == self.in_flat);
    }
}

/// Nine of ten keys are among the first hundred.
fn skewed_key(random: &mut SplitMix64) -> u64 {
    let keys = if random.below(10) < 9 { 100 } else { 4_000 };
    random.below(keys)
}

fn run(seed: u64, budget_bytes: u64) -> (u64, u64) {
    let (storage, mut random) = (memory(), SplitMix64::new(seed));
    let options = || budget_options(budget_bytes);
    let store = LsmStore::create(ROOT, options(), Arc::clone(&storage), None).unwrap();
    let mut tables = Tables::new(store, (Values::new(), Values::new()), 0);
    let (mut evicted, mut levels_max) = ((0, 0), 0);
    for step in 1..=60_000 {
        let key = skewed_key(&mut random);
        match random.below(100) {
            0..2 => {
                if tables.beat(1 + random.below(200) as usize).wants_spill {
                    tables.spill();
                }
            }
            2 => drop(completed(&tables.store.poll())),
            3 => tables
                .request((0..20).map(|_| skewed_key(&mut random)).collect::<Vec<_>>().into_iter()),
            4..10 => tables.remove(key),
            10..25 => tables.check(key),
            _ => tables.update(key, step),
        }
        if random.below(10_000) == 0 {
            tables.checkpoint();
            evicted.0 += tables.rows.evicted_rows();
            evicted.1 += tables.flat.evicted_rows();
            let statistics = tables.store.statistics();
            let used = statistics.levels.iter().filter(|level| level.file_count > 0);
            levels_max = used.count().max(levels_max);
            tables = tables.restart(&storage, options());
        }
        if step % 15_000 == 0 {
            tables.check_all();
        }
    }
    assert!(levels_max >= 2, "{levels_max} levels");
    (evicted.0 + tables.rows.evicted_rows(), evicted.1 + tables.flat.evicted_rows())
}

#[test]
fn what_left_memory_is_what_it_was() {
    for (seed, budget_bytes) in [(1, 60_000), (2, 20_000), (3, 0)] {
        let (from_rows, from_flat) = run(seed, budget_bytes);
        println!("budget {budget_bytes}: {from_rows} rows, {from_flat} entries evicted");
        assert!(from_rows > 1_000 && from_flat > 1_000, "{from_rows} rows, {from_flat} entries");
    }
}

/// A key is removed while nothing has left memory yet, and then something leaves. The removal is not
/// readable, and what it voids is: it must not come back.
#[test]
fn what_was_removed_before_others_left_stays_removed() {
    let storage = memory();
    let store = LsmStore::create(ROOT, budget_options(0), Arc::clone(&storage), None).unwrap();
    let mut tables = Tables::new(store, (Values::new(), Values::new()), 0);
    (0..200).for_each(|key| tables.update(key, key));
    // The epoch is readable by the end of this, but no beat has made room since.
    tables.checkpoint();
    assert!(!tables.rows.has_unloaded() && !tables.flat.has_unloaded());
    (0..50).for_each(|key| tables.remove(key));
    // Without any use between two rounds of the hand nearly all of the others go.
    for _ in 0..40 {
        tables.beat(10_000);
    }
    assert!(tables.rows.evicted_rows() > 0 && tables.flat.evicted_rows() > 0);
    (0..200).for_each(|key| tables.check(key));
    tables.request(0..200);
    (0..200).for_each(|key| tables.check(key));
    // Nor while the removal is on its way, nor once it is there.
    tables.spill();
    for _ in 0..20 {
        tables.beat(10);
        (0..200).for_each(|key| tables.check(key));
        drop(completed(&tables.store.poll()));
    }
    tables.checkpoint();
    (0..200).for_each(|key| tables.check(key));
    tables.check_all();
}
