//! Completion, retention and removal.

use super::*;

#[test]
fn an_epoch_is_complete_when_all_tables_have_finished_it() {
    let storage = memory();
    let store = create(&storage);
    let (mut one, mut two) = (table(&store, "one"), table(&store, "two"));
    let epoch = store.begin_checkpoint(CheckpointId(1)).unwrap();
    put(&mut one, epoch, 1, 10);
    assert_eq!(pass_barrier(&mut one), epoch);
    put(&mut one, epoch.next(), 1, 11);
    assert!(settle(&store).is_empty(), "table two has not finished");
    let mut late = table(&store, "late");
    assert_eq!(late.current_epoch(), epoch.next());
    put(&mut two, epoch, 2, 20);
    pass_barrier(&mut two);
    assert_eq!(completed(&settle(&store)), [1]);
    assert_eq!(values(&scan(&mut one, ALL_GROUPS)), [(1, 10)]);
    assert_eq!(values(&scan(&mut two, ALL_GROUPS)), [(2, 20)]);
    assert!(one.has_rows() && !late.has_rows());
    put_now(&mut late, 3, 30);
    assert_eq!(completed(&checkpoint(&store, [&mut one, &mut two, &mut late], 2)), [2]);
    assert_eq!(values(&scan(&mut one, ALL_GROUPS)), [(1, 11)]);
    assert_eq!(values(&scan(&mut late, ALL_GROUPS)), [(3, 30)]);
}

#[test]
fn several_epochs_in_flight_complete_in_order() {
    let storage = memory();
    let store = create(&storage);
    let mut table = table(&store, "table");
    let ended: Vec<Epoch> = (1..=4)
        .map(|id| {
            let epoch = store.begin_checkpoint(CheckpointId(id)).unwrap();
            put(&mut table, epoch, 7, id);
            table.barrier();
            epoch
        })
        .collect();
    assert!(settle(&store).is_empty());
    ended.iter().for_each(|epoch| table.finish(*epoch).unwrap());
    assert_eq!(completed(&settle(&store)), [1, 2, 3, 4]);
    assert_eq!(values(&scan(&mut table, ALL_GROUPS)), [(7, 4)]);
}

#[test]
fn barriers_without_a_checkpoint_spill() {
    let storage = memory();
    let store = create(&storage);
    let mut table = table(&store, "table");
    put(&mut table, Epoch::FIRST, 1, 1);
    pass_barrier(&mut table);
    let events = settle(&store);
    assert!(
        matches!(events[..], [StoreEvent::SpillComplete { epoch: Epoch(1), .. }]),
        "{events:?}"
    );
    assert_eq!(table.readable_epoch(), Epoch(1));
    assert_eq!(values(&scan(&mut table, ALL_GROUPS)), [(1, 1)]);
    drop((table, store));
    let store = open(&storage);
    assert_eq!(store.restored_checkpoint(), None);
    let mut table = super::table(&store, "table");
    assert!(scan(&mut table, ALL_GROUPS).is_empty(), "no checkpoint, no state");
    settle(&store);
    assert!(data_files(&storage).iter().all(|name| name.ends_with("delta")));
    assert_eq!(store.statistics().levels[0].file_count, 0);
}

#[test]
fn the_newest_checkpoints_are_retained_and_others_removed() {
    let storage = memory();
    let root = StateRoot::open(ROOT, Arc::clone(&storage)).unwrap();
    let options = options().retained_checkpoints(Some(3));
    let store = LsmStore::create_in(&root, options.clone(), None).unwrap();
    let mut table = table(&store, "table");
    for id in 1..=6 {
        put_now(&mut table, id, id);
        assert_eq!(completed(&checkpoint(&store, [&mut table], id)), [id]);
    }
    let ids = |root: &Arc<StateRoot>| -> Vec<u64> {
        root.stores().unwrap()[0].checkpoints.iter().map(|checkpoint| checkpoint.id.0).collect()
    };
    assert_eq!(ids(&root), [4, 5, 6]);
    drop((table, store));
    let error = LsmStore::open_at_in(&root, options.clone(), CheckpointId(3), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "store 'slot' has no checkpoint 3; retained and usable: checkpoint 6, 5, 4"
    );
    let store = LsmStore::open_at_in(&root, options, CheckpointId(5), None).unwrap();
    let mut table = super::table(&store, "table");
    assert_eq!(values(&scan(&mut table, ALL_GROUPS)), (1..=5).map(|n| (n, n)).collect::<Vec<_>>());
    settle(&store);
    assert_eq!(ids(&root), [4, 5], "later checkpoints are given up");
    assert_eq!(store.statistics().removed_files, 1, "the delta of checkpoint 6");
}

#[test]
fn checkpoints_are_kept_until_they_are_released() {
    let storage = memory();
    let root = StateRoot::open(ROOT, Arc::clone(&storage)).unwrap();
    let store = LsmStore::create_in(&root, options().retained_checkpoints(None), None).unwrap();
    let mut table = table(&store, "table");
    for id in 1..=4 {
        put_now(&mut table, 1, id);
        checkpoint(&store, [&mut table], id);
    }
    store.release_checkpoint(CheckpointId(1));
    store.release_checkpoint(CheckpointId(3));
    settle(&store);
    let ids: Vec<_> = root.stores().unwrap()[0].checkpoints.iter().map(|c| c.id.0).collect();
    assert_eq!(ids, [2, 4]);
}

#[test]
fn an_unchanged_store_completes_checkpoints_without_files() {
    let storage = memory();
    let store = create(&storage);
    let mut table = table(&store, "table");
    put(&mut table, Epoch::FIRST, 1, 1);
    checkpoint(&store, [&mut table], 1);
    let events = checkpoint(&store, [&mut table], 2);
    let [StoreEvent::CheckpointComplete { bytes_written: 0, total_bytes, .. }] = events[..] else {
        panic!("{events:?}")
    };
    assert!(total_bytes > 0);
    assert_eq!(store.statistics().flushed_files, 1);
}

#[test]
fn worker_threads_do_the_same() {
    let storage = memory();
    let root = StateRoot::open(ROOT, Arc::clone(&storage)).unwrap();
    let spawner = crate::test_spawner::ThreadSpawner;
    let store = LsmStore::create_in(&root, options(), Some(&spawner)).unwrap();
    let mut rows = table(&store, "table");
    for id in 1..=5 {
        let epoch = store.begin_checkpoint(CheckpointId(id)).unwrap();
        (0..10_000).for_each(|number| put(&mut rows, epoch, number, number + id));
        pass_barrier(&mut rows);
        let mut events = Vec::new();
        while events.is_empty() {
            events = store.poll();
            std::thread::yield_now();
        }
        assert_eq!(completed(&events), [id]);
    }
    drop((rows, store));
    let store = LsmStore::open_in(&root, options(), Some(&spawner)).unwrap();
    assert_eq!(store.restored_checkpoint(), Some(CheckpointId(5)));
    let found = values(&scan(&mut table(&store, "table"), ALL_GROUPS));
    assert_eq!(found, (0..10_000).map(|n| (n, n + 5)).collect::<Vec<_>>());
}
