//! Random changes, barriers, checkpoints and restarts.

use super::*;

const TABLES: usize = 3;
const NAMES: [&str; TABLES] = ["rows", "windows", "timers"];

struct Run {
    random: SplitMix64,
    options: LsmOptions,
    storage: Arc<dyn Storage>,
    store: LsmStore,
    tables: Vec<TableStore>,
    model: Model,
    /// The model after each epoch that was finished.
    by_epoch: BTreeMap<Epoch, MemoryTier>,
    by_checkpoint: BTreeMap<CheckpointId, Epoch>,
    /// The latest epoch in which a row was written, by table and number.
    written: BTreeMap<(usize, u64), Epoch>,
    next_checkpoint: u64,
}

impl Run {
    fn new(seed: u64, options: LsmOptions) -> Self {
        let storage = memory();
        let store = LsmStore::create(ROOT, options.clone(), Arc::clone(&storage), None).unwrap();
        let tables = NAMES.map(|name| table(&store, name)).into();
        let model = Model::new(ALL_GROUPS, TABLES as u16, store.current_epoch());
        let by_epoch = BTreeMap::from([(Epoch(0), MemoryTier::new())]);
        Run {
            random: SplitMix64::new(seed),
            options,
            storage,
            store,
            tables,
            model,
            by_epoch,
            by_checkpoint: BTreeMap::new(),
            written: BTreeMap::new(),
            next_checkpoint: 1,
        }
    }

    fn step(&mut self) {
        match self.random.below(1000) {
            0..900 => self.write(),
            900..930 => self.barrier(),
            930..975 => self.finish_one(),
            975..990 => drop(self.poll()),
            990..997 => self.check(),
            _ => self.restart(),
        }
    }

    /// Writes a row into one of the unfinished epochs in which it may still be.
    fn write(&mut self) {
        let index = self.random.below(TABLES as u64) as usize;
        let change = Change::random(&mut self.random, 400);
        let table = &mut self.tables[index];
        let (oldest, current) = (table.oldest_epoch().0, table.current_epoch().0);
        let epoch = Epoch(oldest + self.random.below(current - oldest + 1));
        let latest = self.written.entry((index, change.number)).or_insert(epoch);
        if *latest <= epoch {
            *latest = epoch;
            change.write(table, epoch);
            change.write(&mut self.model.tables[index], epoch);
        }
    }

    /// All tables pass a barrier; some epochs are checkpoints.
    fn barrier(&mut self) {
        let epoch = match self.random.below(3) {
            0 => self.store.begin_spill().unwrap(),
            _ => {
                let id = CheckpointId(self.next_checkpoint);
                self.next_checkpoint += 1;
                let epoch = self.store.begin_checkpoint(id).unwrap();
                assert_eq!(self.store.begin_checkpoint(id).unwrap(), epoch, "idempotent");
                self.by_checkpoint.insert(id, epoch);
                epoch
            }
        };
        for table in self.tables.iter_mut().chain(&mut self.model.tables) {
            assert_eq!(table.barrier(), epoch);
        }
    }

    /// One table finishes its oldest epoch; the model does when all have.
    fn finish_one(&mut self) {
        let index = self.random.below(TABLES as u64) as usize;
        let table = &mut self.tables[index];
        if table.oldest_epoch() == table.current_epoch() {
            return;
        }
        table.finish(table.oldest_epoch()).unwrap();
        let finished = self.tables.iter().map(TableStore::oldest_epoch).min().unwrap();
        while self.model.tables[0].oldest_epoch() < finished {
            let epoch = self.model.tables[0].oldest_epoch();
            self.model.tables.iter_mut().for_each(|table| table.finish(epoch).unwrap());
            self.by_epoch.insert(epoch, self.model.freeze());
        }
    }

    fn poll(&mut self) -> Vec<StoreEvent> {
        let events = self.store.poll();
        completed(&events);
        events
    }

    /// What can be read is the model as of the readable epoch.
    fn check(&mut self) {
        let readable = self.tables[0].readable_epoch();
        let expected = self.by_epoch[&readable].clone();
        let mut expected = Model::of(expected, ALL_GROUPS, TABLES as u16, readable.next());
        for index in 0..TABLES {
            let rows = expected.rows(index);
            assert_eq!(scan(&mut self.tables[index], ALL_GROUPS), rows, "table {index}");
            self.check_reads(index, &rows);
        }
    }

    fn check_reads(&mut self, index: usize, rows: &Rows) {
        let numbers: Vec<u64> = (0..20).map(|_| self.random.below(400)).collect();
        let mut keys = vec![[0; 8]; numbers.len()];
        let asked = numbers.iter().zip(&mut keys).map(|(number, key)| address(*number, key));
        let asked: Vec<RowAddress<'_>> = asked.collect();
        let mut found = vec![Vec::new(); asked.len()];
        let visit = &mut |number: usize, record: &Record<'_>| {
            let Record { state, sub, expires_at_ms, value, .. } = *record;
            found[number].push((state, sub.to_vec(), expires_at_ms, value.to_vec()));
            Ok(())
        };
        self.tables[index].read_rows(&asked, visit).unwrap();
        for (address, found) in asked.iter().zip(found) {
            let key = (address.group.0, address.hash.as_u32(), address.key.to_vec());
            let expected = rows.get(&key).cloned().unwrap_or_default();
            assert_eq!(found, expected, "{address:?}");
            let may_hold = self.tables[index].may_hold(address.group, address.hash);
            assert!(may_hold || expected.is_empty());
        }
    }

    /// The process ends and opens the store again, at its latest checkpoint.
    fn restart(&mut self) {
        self.tables.clear();
        let store = std::mem::replace(&mut self.store, create(&memory()));
        drop(store);
        let (options, storage) = (self.options.clone(), Arc::clone(&self.storage));
        self.store = LsmStore::open(ROOT, options, storage, None).unwrap();
        let epoch = match self.store.restored_checkpoint() {
            Some(id) => self.by_checkpoint[&id],
            None => Epoch(0),
        };
        self.tables = NAMES.map(|name| table(&self.store, name)).into();
        assert_eq!(self.tables[0].readable_epoch(), epoch);
        assert_eq!(self.store.current_epoch(), epoch.next());
        let restored = self.by_epoch[&epoch].clone();
        self.by_epoch.retain(|other, _| *other <= epoch);
        self.by_checkpoint.retain(|_, other| *other <= epoch);
        self.model = Model::of(restored, ALL_GROUPS, TABLES as u16, epoch.next());
        self.written.clear();
        self.check();
    }
}

fn run(seed: u64, options: LsmOptions) -> Run {
    let mut run = Run::new(seed, options);
    (0..4000).for_each(|_| run.step());
    run.restart();
    assert!(run.next_checkpoint > 30, "checkpoints were made");
    run
}

#[test]
fn deltas_equal_the_tier_in_memory() {
    (0..3).for_each(|seed| drop(run(seed, options())));
}

#[test]
fn merged_files_equal_the_tier_in_memory() {
    for seed in 100..104 {
        let budget = [None, Some(1 << 20), Some(0)][seed as usize % 3];
        let options = small_files(merging_options()).memory_budget_bytes(budget);
        let mut run = run(seed, options);
        settle(&run.store);
        run.check();
        let statistics = run.store.statistics();
        let is_sorted =
            statistics.levels.iter().any(|level| level.level > 0 && level.file_count > 0);
        assert!(is_sorted, "{statistics}");
    }
}
