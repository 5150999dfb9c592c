//! The worker and its background on threads of their own.

use super::*;
use crate::test_spawner::ThreadSpawner;

/// Waits for the next events.
fn wait(store: &LsmStore) -> Vec<StoreEvent> {
    loop {
        let events = store.poll();
        if !events.is_empty() {
            return events;
        }
        std::thread::yield_now();
    }
}

/// Rows 0 to 400, of which each round changes some, with merges all the time.
fn run_round(store: &LsmStore, rows: &mut TableStore, id: u64) {
    let epoch = store.begin_checkpoint(CheckpointId(id)).unwrap();
    for number in (0..400).filter(|number| (number + id).is_multiple_of(3)) {
        put(rows, epoch, number, number + id);
    }
    pass_barrier(rows);
    assert_eq!(completed(&wait(store)), [id]);
}

/// What the rows are after so many rounds.
fn expected(rounds: u64) -> Vec<(u64, u64)> {
    let latest = |number: u64| (1..=rounds).rev().find(|id| (number + id).is_multiple_of(3));
    (0..400).filter_map(|number| Some((number, number + latest(number)?))).collect()
}

#[test]
fn merges_beside_checkpoints_change_nothing_that_is_read() {
    let storage = memory();
    let mut options = small_files(merging_options());
    options.compaction.delta_count = 2;
    let store = LsmStore::create(ROOT, options.clone(), Arc::clone(&storage), Some(&ThreadSpawner))
        .unwrap();
    let mut rows = table(&store, "table");
    for id in 1..=60 {
        run_round(&store, &mut rows, id);
        assert_eq!(values(&scan(&mut rows, ALL_GROUPS)), expected(id));
    }
    while store.statistics().compacted_files == 0 {
        assert!(completed(&store.poll()).is_empty());
        std::thread::yield_now();
    }
    drop((rows, store));
    let root = StateRoot::open(ROOT, Arc::clone(&storage)).unwrap();
    let store = LsmStore::open_in(&root, options, None).unwrap();
    settle(&store);
    let referenced = root.read_store("slot").unwrap().contents.referenced().len();
    let spare = 1;
    assert_eq!(data_files(&storage).len(), referenced + spare);
    assert_eq!(values(&scan(&mut table(&store, "table"), ALL_GROUPS)), expected(60));
}

#[test]
fn a_store_that_is_dropped_during_a_merge_leaves_what_is_durable() {
    let storage = memory();
    let mut options = small_files(merging_options());
    options.compaction.delta_count = 2;
    for rounds in 1..=24 {
        let root = format!("{ROOT}/{rounds}");
        let storage = Arc::clone(&storage);
        let store =
            LsmStore::create(&root, options.clone(), Arc::clone(&storage), Some(&ThreadSpawner));
        let store = store.unwrap();
        let mut rows = table(&store, "table");
        (1..=rounds).for_each(|id| run_round(&store, &mut rows, id));
        drop((rows, store));
        let store = LsmStore::open(&root, options.clone(), Arc::clone(&storage), None).unwrap();
        assert_eq!(values(&scan(&mut table(&store, "table"), ALL_GROUPS)), expected(rounds));
    }
}
