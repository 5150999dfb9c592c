//! Stores made of checkpoints of others.

use super::*;
use crate::compaction::CompactionOptions;

use crate::snapshot::RestoreSource;

/// The stores of one job at one parallelism, with their share of the model.
struct Job {
    root: Arc<StateRoot>,
    generation: usize,
    stores: Vec<LsmStore>,
    tables: Vec<TableStore>,
    model: Model,
    next_checkpoint: u64,
    random: SplitMix64,
    compaction: CompactionOptions,
}

impl Job {
    fn new(parallelism: u16, seed: u64, compaction: CompactionOptions) -> Self {
        let root = StateRoot::open(ROOT, memory()).unwrap();
        let mut job = Job {
            root,
            generation: 0,
            stores: Vec::new(),
            tables: Vec::new(),
            model: Model::new(ALL_GROUPS, 1, Epoch::FIRST),
            next_checkpoint: 1,
            random: SplitMix64::new(seed),
            compaction,
        };
        for options in job.options(parallelism) {
            job.stores.push(LsmStore::create_in(&job.root, options, None).unwrap());
        }
        job.open_tables();
        job
    }

    fn options(&self, parallelism: u16) -> Vec<LsmOptions> {
        let slot = |subtask| {
            let groups = KeyGroupRange::of(subtask, parallelism, MAX_PARALLELISM).unwrap();
            let name = format!("generation-{}-slot-{subtask}", self.generation);
            let compaction = self.compaction;
            LsmOptions { compaction, ..LsmOptions::new(groups, MAX_PARALLELISM).store(&name) }
        };
        (0..parallelism).map(slot).collect()
    }

    fn open_tables(&mut self) {
        self.tables = self.stores.iter().map(|store| table(store, "table")).collect();
    }

    /// Changes rows and makes a checkpoint of all slots.
    fn change(&mut self, change_count: usize) {
        for _ in 0..change_count {
            let change = Change::random(&mut self.random, 2000);
            let mut key = [0; 8];
            let group = address(change.number, &mut key).group;
            let mut tables = self.tables.iter_mut();
            let owner = tables.find(|table| table.groups().contains(group)).unwrap();
            let epoch = owner.current_epoch();
            change.write(owner, epoch);
            let epoch = self.model.tables[0].current_epoch();
            change.write(&mut self.model.tables[0], epoch);
        }
        pass_barrier(&mut self.model.tables[0]);
        for (store, table) in self.stores.iter().zip(&mut self.tables) {
            let events = checkpoint(store, [table], self.next_checkpoint);
            assert_eq!(completed(&events), [self.next_checkpoint]);
        }
        self.next_checkpoint += 1;
    }

    fn check(&mut self) {
        let mut found = Rows::new();
        for table in &mut self.tables {
            let groups = table.groups();
            found.extend(scan(table, groups));
        }
        assert_eq!(found, self.model.rows(0));
    }

    /// Goes on at another parallelism, from the latest checkpoint.
    fn rescale(&mut self, parallelism: u16) {
        let written = |job: &Job| -> u64 {
            job.stores.iter().map(|store| store.statistics().flushed_bytes).sum()
        };
        let checkpoint = CheckpointId(self.next_checkpoint - 1);
        let names: Vec<Box<str>> =
            self.stores.iter().map(|store| store.options().store.clone()).collect();
        self.tables.clear();
        self.stores.clear();
        self.generation += 1;
        let source = |store: Box<str>| RestoreSource { store, checkpoint };
        let sources: Vec<RestoreSource> = names.iter().cloned().map(source).collect();
        for options in self.options(parallelism) {
            let store = LsmStore::restore_in(&self.root, options, &sources, None).unwrap();
            assert_eq!(store.restored_checkpoint(), Some(checkpoint));
            self.stores.push(store);
        }
        assert_eq!(written(self), 0, "files are shared");
        self.open_tables();
        self.check();
        names.iter().for_each(|name| self.root.remove_store(name).unwrap());
        self.check();
    }
}

#[test]
fn up_and_down_and_up_again() {
    for (seed, steps) in [[3, 5, 2], [1, 4, 1], [4, 7, 4], [2, 1, 3]].into_iter().enumerate() {
        let options = if seed % 2 == 0 { merging_options() } else { options() };
        let mut job = Job::new(steps[0], seed as u64, small_files(options).compaction);
        for parallelism in steps.into_iter().cycle().skip(1).take(8) {
            job.change(300);
            job.change(200);
            job.check();
            job.rescale(parallelism);
        }
        job.change(100);
        job.check();
    }
}

#[test]
fn a_shared_file_goes_with_its_last_store() {
    let mut job = Job::new(1, 9, options().compaction);
    job.change(500);
    job.rescale(3);
    let storage = Arc::clone(job.root.files().storage());
    job.stores.iter().for_each(|store| drop(settle(store)));
    let deltas = || data_files(&storage).len() - 3;
    assert_eq!(deltas(), 1, "three stores share one delta, and have one file made ahead each");
    let (mut stores, names) = (std::mem::take(&mut job.stores), ["0", "1", "2"]);
    job.tables.clear();
    for (index, name) in names.iter().enumerate() {
        drop(stores.remove(0));
        assert_eq!(data_files(&storage).iter().filter(|name| name.len() == 22).count(), 3 - index);
        job.root.remove_store(&format!("generation-1-slot-{name}")).unwrap();
    }
    assert!(data_files(&storage).is_empty());
}

#[test]
fn restored_stores_survive_a_restart_before_their_first_checkpoint() {
    let storage = memory();
    let root = StateRoot::open(ROOT, Arc::clone(&storage)).unwrap();
    let store = LsmStore::create_in(&root, options().store("old"), None).unwrap();
    let mut rows = table(&store, "table");
    (0..100).for_each(|number| put(&mut rows, Epoch::FIRST, number, number));
    checkpoint(&store, [&mut rows], 5);
    drop((rows, store));
    let half = KeyGroupRange { start: 64, end: 128 };
    let new = LsmOptions::new(half, MAX_PARALLELISM).store("new");
    let source = [RestoreSource { store: "old".into(), checkpoint: CheckpointId(5) }];
    let store = LsmStore::restore_in(&root, new.clone(), &source, None).unwrap();
    let expected = scan(&mut table(&store, "table"), half);
    assert!((20..80).contains(&expected.len()));
    drop((store, root));
    let root = StateRoot::open(ROOT, Arc::clone(&storage)).unwrap();
    root.remove_store("old").unwrap();
    let store = LsmStore::open_in(&root, new, None).unwrap();
    assert_eq!(store.restored_checkpoint(), Some(CheckpointId(5)));
    assert_eq!(scan(&mut table(&store, "table"), half), expected);
    assert_eq!(scan(&mut table(&open_other(&root), "table"), ALL_GROUPS).len(), 0);
}

/// Another store in the same directory, with a table of the same name.
fn open_other(root: &Arc<StateRoot>) -> LsmStore {
    LsmStore::create_in(root, options().store("other"), None).unwrap()
}

#[test]
fn sources_have_to_cover_the_groups_once() {
    let root = StateRoot::open(ROOT, memory()).unwrap();
    for (name, start, end) in [("a", 0, 60), ("b", 60, 128), ("c", 50, 128)] {
        let options = LsmOptions::new(KeyGroupRange { start, end }, MAX_PARALLELISM).store(name);
        let store = LsmStore::create_in(&root, options, None).unwrap();
        store.begin_checkpoint(CheckpointId(1)).unwrap();
        assert_eq!(completed(&settle(&store)), [1]);
    }
    let restore = |sources: &[&str]| {
        let source =
            |name: &&str| RestoreSource { store: (*name).into(), checkpoint: CheckpointId(1) };
        let sources: Vec<RestoreSource> = sources.iter().map(source).collect();
        LsmStore::restore_in(&root, options().store("whole"), &sources, None)
    };
    let message = |sources: &[&str]| restore(sources).unwrap_err().to_string();
    assert!(message(&["a"]).contains("lack key group 60"), "{}", message(&["a"]));
    assert!(message(&["a", "c"]).contains("share key group 50"));
    assert!(message(&["b"]).contains("lack key group 0"));
    assert!(message(&["x", "b"]).contains("there is no store 'x'"));
    drop(restore(&["b", "a"]).unwrap());
}
