//! Epochs that have all rows of the store's only table, among others that have changes alone.

use std::sync::atomic::Ordering;

use super::*;
use crate::{FlatStore, Key};

/// So long that a merge of a few thousand takes several polls.
type Value = [u64; 63];
const KEYS: u64 = 4_000;

struct Sums {
    flat: FlatStore<u64, Value>,
    store: LsmStore,
    next_id: u64,
}

impl Sums {
    fn of(store: LsmStore, next_id: u64) -> Self {
        Sums { flat: FlatStore::new_in(&store, "sums").unwrap(), store, next_id }
    }

    fn set(&mut self, key: u64, value: u64) {
        *self.flat.find_or_insert_with(key.key_hash(), &key, || [0; 63]).unwrap() = [value; 63];
    }

    /// Writes an epoch; the worker has done nothing yet.
    fn barrier(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.store.begin_checkpoint(CheckpointId(id)).unwrap();
        self.flat.barrier();
        while !self.flat.beat(1_000).unwrap().is_done() {}
        id
    }

    fn checkpoint(&mut self) {
        let id = self.barrier();
        assert_eq!(completed(&settle(&self.store)), [id]);
    }

    fn contents(&mut self) -> BTreeMap<u64, u64> {
        let mut contents = BTreeMap::new();
        let visit = |key: &u64, value: &Value| {
            contents.insert(*key, value[62]);
            Ok(())
        };
        self.flat.visit(visit).unwrap();
        contents
    }

    /// How many files there are of deltas, and of rows in order.
    fn files(&self) -> (usize, usize) {
        let levels = self.store.statistics().levels;
        (levels[0].file_count, levels[1..].iter().map(|level| level.file_count).sum())
    }
}

fn new_store(storage: &Arc<dyn Storage>) -> LsmStore {
    let options = small_files(merging_options()).retained_checkpoints(Some(2));
    LsmStore::create(ROOT, options, Arc::clone(storage), None).unwrap()
}

fn reopened(storage: &Arc<dyn Storage>, next_id: u64) -> Sums {
    let options = small_files(merging_options()).retained_checkpoints(Some(2));
    Sums::of(LsmStore::open(ROOT, options, Arc::clone(storage), None).unwrap(), next_id)
}

#[test]
fn nothing_is_merged_where_each_epoch_changes_most_rows() {
    let storage = memory();
    let mut sums = Sums::of(new_store(&storage), 1);
    (0..KEYS).for_each(|key| sums.set(key, 1));
    sums.checkpoint();
    let compacted_files = sums.store.statistics().compacted_files;
    for round in 2..6 {
        (0..KEYS).filter(|key| key % 8 > 0).for_each(|key| sums.set(key, round));
        sums.checkpoint();
        assert_eq!(sums.files(), (1, 0), "round {round}");
    }
    assert_eq!(sums.store.statistics().compacted_files, compacted_files);
    // Two that are retained, and one that is prepared.
    assert!(data_files(&storage).len() <= 3, "{:?}", data_files(&storage));
    // Fewer changes are added up to as many as there are rows, before all are written again.
    let mut counts = Vec::new();
    for round in 6..20 {
        (0..KEYS / 5).for_each(|key| sums.set(key, round));
        sums.checkpoint();
        counts.push(sums.files());
    }
    let expected: Vec<_> = (1..7).cycle().skip(1).take(14).map(|count| (count, 0)).collect();
    assert_eq!(counts[1..], expected[..13]);
    assert_eq!(sums.store.statistics().compacted_files, compacted_files);
    // With few changes rows are merged.
    for round in 20..26 {
        (0..KEYS / 20).for_each(|key| sums.set(key, round));
        let gone = KEYS - round;
        sums.flat.remove(gone.key_hash(), &gone).unwrap();
        sums.checkpoint();
    }
    assert!(sums.store.statistics().compacted_files > compacted_files);
    let expected = sums.contents();
    assert_eq!(expected.len() as u64, KEYS - 6);
    drop(sums);
    assert_eq!(reopened(&storage, 26).contents(), expected);
}

#[test]
fn a_merge_that_is_overtaken_leaves_nothing() {
    let storage = memory();
    let mut sums = Sums::of(new_store(&storage), 1);
    (0..KEYS).for_each(|key| sums.set(key, 1));
    sums.checkpoint();
    sums.set(1, 2);
    sums.checkpoint();
    let merged_before = sums.store.statistics().compacted_files;
    // Most of the rows, so that the next epoch has all; but of this one the changes are merged.
    (0..KEYS).filter(|key| key % 4 > 0).for_each(|key| sums.set(key, 2));
    sums.flat.remove(7_u64.key_hash(), &7).unwrap();
    let id = sums.barrier();
    let mut events = Vec::new();
    while events.is_empty() {
        events = sums.store.poll();
    }
    assert_eq!(completed(&events), [id]);
    // The next epoch takes their place, whatever of the merge is done.
    (0..KEYS).filter(|key| key % 4 > 0).for_each(|key| sums.set(key, 3));
    sums.flat.remove(8_u64.key_hash(), &8).unwrap();
    sums.checkpoint();
    assert_eq!(sums.files(), (1, 0));
    assert_eq!(sums.store.statistics().compacted_files, merged_before, "a merge was in time");
    // Those of two checkpoints, and one that is prepared; nothing of the merge.
    let files = data_files(&storage);
    assert!(files.len() <= 4 && files.iter().all(|name| name.ends_with(".delta")), "{files:?}");
    let expected = sums.contents();
    assert!(expected.contains_key(&7) && !expected.contains_key(&8));
    drop(sums);
    assert_eq!(reopened(&storage, 9).contents(), expected);
}

#[test]
fn an_epoch_with_all_rows_that_fails_is_carried_over() {
    let failing = failing_storage::FailingStorage::default();
    let switches = Arc::clone(&failing.switches);
    let storage: Arc<dyn Storage> = Arc::new(failing);
    let mut sums = Sums::of(new_store(&storage), 1);
    for round in 1..4 {
        (0..KEYS).for_each(|key| sums.set(key, round));
        sums.checkpoint();
    }
    assert_eq!(sums.files(), (1, 0));
    switches.data_syncs_fail.store(true, Ordering::Relaxed);
    sums.flat.remove(1_u64.key_hash(), &1).unwrap();
    (2..KEYS).for_each(|key| sums.set(key, 4));
    sums.barrier();
    let events = settle(&sums.store);
    assert!(matches!(events[..], [StoreEvent::CheckpointFailed { .. }]), "{events:?}");
    switches.data_syncs_fail.store(false, Ordering::Relaxed);
    sums.flat.remove(2_u64.key_hash(), &2).unwrap();
    sums.set(3, 5);
    sums.checkpoint();
    let expected = sums.contents();
    assert_eq!((expected.len() as u64, expected[&3], expected[&4]), (KEYS - 2, 5, 4));
    drop(sums);
    assert_eq!(reopened(&storage, 9).contents(), expected);
}

#[test]
fn a_store_of_two_tables_keeps_files_of_both() {
    let storage = memory();
    let mut sums = Sums::of(new_store(&storage), 1);
    let mut other = FlatStore::<u64, u64>::new_in(&sums.store, "other").unwrap();
    *other.find_or_insert_with(5_u64.key_hash(), &5, || 0).unwrap() = 6;
    for round in 1..4 {
        (0..KEYS).for_each(|key| sums.set(key, round));
        let id = CheckpointId(round);
        sums.store.begin_checkpoint(id).unwrap();
        sums.flat.barrier();
        other.barrier();
        while !sums.flat.beat(1_000).unwrap().is_done() {}
        while !other.beat(1_000).unwrap().is_done() {}
        assert_eq!(completed(&settle(&sums.store)), [round]);
    }
    drop((sums, other));
    let sums = reopened(&storage, 4);
    let mut other = FlatStore::<u64, u64>::new_in(&sums.store, "other").unwrap();
    assert_eq!(other.find(5_u64.key_hash(), &5).unwrap(), Some(&6));
}
