use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::*;
use crate::backend::{
    DeltaBlock, MemoryTier, PartitionLayout, Replacement, RowAddress, RowVisitor, ScanVisitor, Tier,
};
use crate::codec::{RecordKind, TableId, decode_row};
use crate::test_random::SplitMix64;
use crate::{Epoch, KeyGroup, KeyGroupRange};

/// So large that a part has the fewest buckets, and few entries make many parts.
type Wide = [u64; 63];
type Model = BTreeMap<u64, u64>;

const TABLE: TableId = TableId(7);
const GROUPS: KeyGroupRange = KeyGroupRange { start: 0, end: 128 };

fn wide(value: u64) -> Wide {
    [value; 63]
}

/// A tier that shows an epoch some time after it was finished, and counts what it is given.
#[derive(Debug, Default)]
struct LateTier {
    shown: MemoryTier,
    finished: VecDeque<Epoch>,
    budget_bytes: Option<u64>,
    /// Epochs that have all rows; `None` where none may.
    replacing: Option<BTreeSet<Epoch>>,
    puts: usize,
    removals: usize,
}

impl LateTier {
    fn show(&mut self) -> Option<Epoch> {
        let epoch = self.finished.pop_front()?;
        if self.replacing.as_ref().is_some_and(|epochs| epochs.contains(&epoch)) {
            self.shown.forget_rows();
        }
        self.shown.finish(TABLE, epoch).unwrap();
        Some(epoch)
    }

    fn content(&mut self) -> Model {
        let mut content = Model::new();
        let visit: ScanVisitor<'_> = &mut |address, record| {
            let key = u64::from_archived(address.key)?;
            assert_eq!(content.insert(key, Wide::from_archived(record.value)?[62]), None);
            Ok(())
        };
        self.shown.scan(TABLE, GROUPS, visit).unwrap();
        content
    }
}

impl Tier for LateTier {
    fn append(&mut self, block: DeltaBlock) -> Result<(), StateError> {
        let mut rest = &*block.bytes;
        while !rest.is_empty() {
            for record in decode_row(&mut rest).unwrap().records() {
                match record.kind {
                    RecordKind::Put => self.puts += 1,
                    _ => self.removals += 1,
                }
            }
        }
        self.shown.append(block)
    }

    fn finish(&mut self, _table: TableId, epoch: Epoch) -> Result<(), StateError> {
        self.finished.push_back(epoch);
        Ok(())
    }

    fn readable_epoch(&self) -> Epoch {
        self.shown.readable_epoch()
    }

    fn has_rows(&self, table: TableId) -> bool {
        self.shown.has_rows(table)
    }

    fn may_hold(&self, table: TableId, group: KeyGroup, hash: KeyHash) -> bool {
        self.shown.may_hold(table, group, hash)
    }

    fn read_rows(
        &mut self,
        table: TableId,
        rows: &[RowAddress<'_>],
        visit: RowVisitor<'_>,
    ) -> Result<(), StateError> {
        self.shown.read_rows(table, rows, visit)
    }

    fn scan(
        &mut self,
        table: TableId,
        range: KeyGroupRange,
        visit: ScanVisitor<'_>,
    ) -> Result<(), StateError> {
        self.shown.scan(table, range, visit)
    }

    fn replace_all(&mut self, _table: TableId, epoch: Epoch, replacement: Replacement) -> bool {
        match &mut self.replacing {
            Some(epochs) if replacement == Replacement::Now => epochs.insert(epoch),
            epochs => epochs.is_some(),
        }
    }

    fn share_of_budget(&mut self, _table: TableId, _used_bytes: u64) -> Option<u64> {
        self.budget_bytes
    }

    fn set_now_ms(&mut self, now_ms: i64) {
        self.shown.set_now_ms(now_ms);
    }
}

fn attach(tier: &Rc<RefCell<LateTier>>, epoch: Epoch) -> FlatStore<u64, Wide> {
    let layout = PartitionLayout::new(GROUPS, 128);
    FlatStore::attached(TableStore::new(TABLE, layout, epoch, tier.clone()), 3)
}

/// A store beside its model, and what the model was at each barrier.
struct Run {
    random: SplitMix64,
    store: FlatStore<u64, Wide>,
    tier: Rc<RefCell<LateTier>>,
    model: Model,
    snapshots: BTreeMap<Epoch, Model>,
    keys: u64,
    budget_bytes: Option<u64>,
}

impl Run {
    fn new(seed: u64, budget_bytes: Option<u64>) -> Self {
        let shown = MemoryTier::new();
        let tier = LateTier { shown, budget_bytes, ..LateTier::default() };
        let tier = Rc::new(RefCell::new(tier));
        Run {
            random: SplitMix64::new(seed),
            store: attach(&tier, Epoch::FIRST),
            tier,
            model: Model::new(),
            snapshots: BTreeMap::new(),
            keys: 500,
            budget_bytes,
        }
    }

    fn key(&mut self) -> (u64, KeyHash) {
        let key = self.random.below(self.keys);
        (key, KeyHash::of(&key))
    }

    fn step(&mut self, step: u64, removals: u64) {
        let (key, hash) = self.key();
        match self.random.below(1000) {
            0..4 => {
                let ended = self.store.barrier().unwrap();
                self.snapshots.insert(ended, self.model.clone());
            }
            4..24 => {
                let rows_max = 1 + self.random.below(300) as usize;
                self.store.beat(rows_max).unwrap();
            }
            24..30 => self.show(),
            30 => {
                self.store.restore_step().unwrap();
            }
            31..40 => self.load_some(),
            40..240 => {
                let found = self.store.find(hash, &key).unwrap().map(|value| value[62]);
                assert_eq!(found, self.model.get(&key).copied(), "key {key}");
            }
            op if op < 240 + removals => {
                let removed = self.store.remove(hash, &key).unwrap().map(|value| value[62]);
                assert_eq!(removed, self.model.remove(&key), "key {key}");
            }
            _ => {
                let value = self.store.find_or_insert_with(hash, &key, || wide(0)).unwrap();
                assert_eq!(value[62], self.model.get(&key).copied().unwrap_or(0), "key {key}");
                *value = wide(step);
                self.model.insert(key, step);
            }
        }
    }

    fn load_some(&mut self) {
        for _ in 0..20 {
            let (key, hash) = self.key();
            self.store.request(hash, &key).unwrap();
        }
        self.store.load_requested().unwrap();
    }

    /// The tier shows the next epoch, which is what the model was at its barrier.
    fn show(&mut self) {
        let mut tier = self.tier.borrow_mut();
        if let Some(epoch) = tier.show() {
            assert_eq!(Some(&tier.content()), self.snapshots.get(&epoch), "{epoch:?}");
            self.snapshots.retain(|old, _| *old >= epoch);
        }
    }

    /// All is lost but what the tier shows.
    fn restore(&mut self) {
        let mut shown = self.tier.borrow().shown.clone();
        let epoch = shown.readable_epoch();
        if epoch == Epoch(0) {
            return;
        }
        // What was given for epochs that were not finished is lost too.
        shown.forget_unfinished();
        let budget_bytes = self.budget_bytes;
        let tier = LateTier { shown, budget_bytes, ..LateTier::default() };
        self.tier = Rc::new(RefCell::new(tier));
        self.store = attach(&self.tier, epoch.next());
        self.model = self.snapshots[&epoch].clone();
        self.snapshots.retain(|old, _| *old == epoch);
    }

    fn check_all(&mut self) {
        let mut visited = Model::new();
        let visit = |key: &u64, value: &Wide| {
            assert_eq!(visited.insert(*key, value[62]), None);
            Ok(())
        };
        self.store.visit(visit).unwrap();
        assert_eq!(visited, self.model);
    }

    fn run(&mut self, seed: u64) {
        println!("seed {seed}, budget {:?}", self.budget_bytes);
        for step in 1..=100_000 {
            // More and more keys, now and then mostly removals.
            self.keys = (500 + step / 8).min(9_000);
            let removals = if step / 10_000 % 3 == 2 { 500 } else { 100 };
            self.step(step, removals);
            if step % 25_000 == 0 {
                self.check_all();
            }
            if self.random.below(20_000) == 0 {
                self.restore();
                self.check_all();
            }
        }
        self.store.barrier().unwrap();
        let last = self.model.clone();
        while !self.store.beat(1_000).unwrap().is_done() {}
        while self.tier.borrow_mut().show().is_some() {}
        assert_eq!(self.tier.borrow_mut().content(), last);
        self.check_all();
    }
}

/// Where most entries change between two barriers, epochs have all of them, and parts count as changed as a whole; and this
/// is given up and taken up again.
#[test]
fn epochs_with_all_entries_behave_as_those_with_changes() {
    let mut run = Run::new(3, None);
    run.tier.borrow_mut().replacing = Some(BTreeSet::new());
    let (mut whole_parts, mut replacing, mut barriers) = (0, 0, 0);
    for step in 1..=240_000 {
        // So many that an epoch changes nearly all, or few of them.
        run.keys = 100 + step / 10 % 2_000;
        match run.random.below(2_000) {
            0 => {
                let ended = run.store.barrier().unwrap();
                run.snapshots.insert(ended, run.model.clone());
                barriers += 1;
            }
            1..400 => drop(run.store.beat(16).unwrap()),
            400..420 => run.show(),
            420 => while run.store.restore_step().unwrap() {},
            op => {
                let (key, hash) = run.key();
                if op < 600 {
                    let removed = run.store.remove(hash, &key).unwrap().map(|value| value[62]);
                    assert_eq!(removed, run.model.remove(&key), "key {key}");
                } else {
                    *run.store.find_or_insert_with(hash, &key, || wide(0)).unwrap() = wide(step);
                    run.model.insert(key, step);
                }
            }
        }
        let is_whole = |part: &FlatPart<u64, Wide>| part.marks.whole_epoch == part.marks.epoch;
        whole_parts += usize::from(run.store.table.tables().any(is_whole));
        if run.random.below(20_000) == 0 {
            replacing += run.tier.borrow().replacing.as_ref().map_or(0, BTreeSet::len);
            run.restore();
            run.tier.borrow_mut().replacing = Some(BTreeSet::new());
            run.check_all();
        }
    }
    run.check_all();
    replacing += run.tier.borrow().replacing.as_ref().map_or(0, BTreeSet::len);
    println!("{replacing} of {barriers} epochs have all, {whole_parts} steps with a whole part");
    assert!(whole_parts > 1_000 && replacing > 15 && replacing < barriers * 3 / 4);
}

#[test]
fn behaves_like_a_map_through_barriers_restores_and_evictions() {
    Run::new(1, None).run(1);
    let mut run = Run::new(2, Some(2 << 20));
    run.run(2);
    assert!(run.store.resident_len() < run.model.len() && run.store.synchronous_misses() > 0);
}

/// A store of two keys, and what a delta has of them.
fn written(act: impl Fn(&mut FlatStore<u64, Wide>)) -> (usize, usize) {
    let tier = Rc::new(RefCell::new(LateTier { shown: MemoryTier::new(), ..LateTier::default() }));
    let mut store = attach(&tier, Epoch::FIRST);
    insert(&mut store, 1);
    store.barrier();
    while !store.beat(100).unwrap().is_done() {}
    let before = (tier.borrow().puts, tier.borrow().removals);
    act(&mut store);
    store.barrier();
    while !store.beat(100).unwrap().is_done() {}
    let tier = tier.borrow();
    (tier.puts - before.0, tier.removals - before.1)
}

fn insert(store: &mut FlatStore<u64, Wide>, key: u64) {
    *store.find_or_insert_with(KeyHash::of(&key), &key, || wide(0)).unwrap() = wide(9);
}

fn remove(store: &mut FlatStore<u64, Wide>, key: u64) {
    assert!(store.remove(KeyHash::of(&key), &key).unwrap().is_some());
}

#[test]
fn only_what_changed_is_written_and_once() {
    assert_eq!(written(|_| ()), (0, 0));
    assert_eq!(written(|store| (0..5).for_each(|_| insert(store, 1))), (1, 0));
    assert_eq!(written(|store| drop(store.find(KeyHash::of(&1_u64), &1))), (0, 0));
    // Born and removed between two barriers.
    assert_eq!(written(|store| (insert(store, 2), remove(store, 2)).1), (0, 0));
    assert_eq!(written(|store| remove(store, 1)), (0, 1));
    assert_eq!(written(|store| (remove(store, 1), insert(store, 1)).1), (1, 1));
    // Removed before the walk came to it: the image at the barrier, and its removal.
    let across = |store: &mut FlatStore<u64, Wide>| {
        insert(store, 2);
        store.barrier();
        remove(store, 2);
    };
    assert_eq!(written(across), (1, 1));
    // Three epochs, no beat between them: once an epoch that it was changed in.
    let thrice = |store: &mut FlatStore<u64, Wide>| {
        for _ in 0..3 {
            insert(store, 1);
            store.barrier();
        }
    };
    assert_eq!(written(thrice), (3, 0));
}

#[test]
fn without_a_tier_nothing_is_tracked() {
    let mut store = FlatStore::<u64, u64>::new();
    for key in 0..100_000_u64 {
        *store.find_or_insert_with(KeyHash::of(&key), &key, || 0).unwrap() += key;
    }
    assert_eq!((store.barrier(), store.resident_len()), (None, 100_000));
    assert!(store.beat(10).unwrap().is_done() && !store.has_unloaded());
    assert_eq!(store.memory_bytes(), store.table.allocation_bytes());
    for key in 0..100_000_u64 {
        assert_eq!(store.find(KeyHash::of(&key), &key).unwrap(), Some(&key));
    }
}

/// The same over files: what is written by one store is read by the next one, as it is asked for and in the background.
#[test]
fn is_restored_from_files() {
    use thalweg_io::storage::{MemoryStorage, Storage};
    let storage: std::sync::Arc<dyn Storage> = std::sync::Arc::new(MemoryStorage::new());
    let options = || crate::LsmOptions::new(GROUPS, 128);
    let files = LsmStore::create("/state", options(), storage.clone(), None).unwrap();
    let mut store = FlatStore::<u64, Wide>::new_in(&files, "sums").unwrap();
    for round in 0..3 {
        (0..4_000).filter(|key| key % (round + 1) == 0).for_each(|key| insert(&mut store, key));
        (0..100).for_each(|key| _ = store.remove(KeyHash::of(&key), &key).unwrap());
        let id = crate::CheckpointId(round + 1);
        assert_eq!(store.barrier(), Some(files.begin_checkpoint(id).unwrap()));
        while !store.beat(500).unwrap().is_done() {}
        while !files.poll().is_empty() {}
    }
    insert(&mut store, 5_000); // after the last barrier
    drop((store, files));

    let files = LsmStore::open("/state", options(), storage, None).unwrap();
    let mut store = FlatStore::<u64, Wide>::new_in(&files, "sums").unwrap();
    assert!(store.has_unloaded() && store.resident_len() == 0);
    let value = |store: &mut FlatStore<u64, Wide>, key: u64| {
        store.find(KeyHash::of(&key), &key).unwrap().map(|value| value[62])
    };
    assert_eq!(value(&mut store, 3_000), Some(9));
    assert_eq!((value(&mut store, 50), value(&mut store, 5_000)), (None, None));
    assert_eq!(store.resident_len(), 1);
    while store.restore_step().unwrap() {}
    assert_eq!((store.resident_len(), store.has_unloaded()), (3_900, false));
    let other = FlatStore::<u64, u64>::new_in(&files, "sums");
    assert!(other.is_err(), "the table is open");
}
