//! The machine dies at every point of a store's life, and every image opens.

use thalweg_io::storage::{CrashImage, CrashPlan};

use super::*;
use crate::snapshot::RestoreSource;

const HALVES: [KeyGroupRange; 2] =
    [KeyGroupRange { start: 0, end: 64 }, KeyGroupRange { start: 64, end: 128 }];

/// Rows 0 to 4 have the number of the latest checkpoint, and each checkpoint adds one.
fn change(table: &mut TableStore, id: u64) {
    let epoch = table.current_epoch();
    let groups = table.groups();
    for number in (0..5).chain([100 + id]) {
        if groups.contains(address(number, &mut [0; 8]).group) {
            put(table, epoch, number, id);
        }
    }
}

fn expected(id: u64) -> Vec<(u64, u64)> {
    let rows = (0..5).map(|number| (number, id)).filter(|_| id > 0);
    rows.chain((1..=id).map(|id| (100 + id, id))).collect()
}

/// Creates a store, makes checkpoints, reopens it, goes back to an older one and goes on.
fn live(disk: &FaultStorage) {
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let run = |store: LsmStore, ids: std::ops::RangeInclusive<u64>| {
        let mut table = table(&store, "table");
        for id in ids {
            change(&mut table, id);
            assert_eq!(completed(&checkpoint(&store, [&mut table], id)), [id]);
            disk.note(id);
        }
    };
    run(create(&storage), 1..=5);
    run(open(&storage), 6..=8);
}

fn check_image(image: &CrashImage<'_>) {
    let storage: Arc<dyn Storage> = Arc::new(image.to_memory());
    let reported = image.latest_note().unwrap_or(0);
    for _ in 0..2 {
        let store = match try_open(&storage) {
            Ok(store) => store,
            Err(StoreError::NoSuchStore { .. }) if reported == 0 => return,
            Err(error) => panic!("{image}: {error}"),
        };
        let id = store.restored_checkpoint().map_or(0, |id| id.0);
        assert!(id >= reported, "{image}: checkpoint {id} instead of {reported}");
        let mut rows = table(&store, "table");
        assert_eq!(values(&scan(&mut rows, ALL_GROUPS)), expected(id), "{image}");
        change(&mut rows, id + 1);
        assert_eq!(completed(&checkpoint(&store, [&mut rows], id + 1)), [id + 1], "{image}");
        assert_eq!(values(&scan(&mut rows, ALL_GROUPS)), expected(id + 1), "{image}");
    }
}

#[test]
fn every_image_of_checkpoints_and_restarts_opens() {
    let disk = FaultStorage::recorder();
    live(&disk);
    let report = disk.recording().enumerate(&CrashPlan::default(), check_image);
    println!("{report}");
    assert!(report.images > 300, "{report}");
}

/// Restores two halves from a store, removes it, and goes on with the halves.
fn rescale(disk: &FaultStorage) {
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let root = StateRoot::open(ROOT, storage).unwrap();
    let halves = HALVES.map(|groups| {
        let name = format!("half-{}", groups.start);
        let options = LsmOptions::new(groups, MAX_PARALLELISM).store(&name);
        let source = RestoreSource { store: "slot".into(), checkpoint: CheckpointId(5) };
        LsmStore::restore_in(&root, options, &[source], None).unwrap()
    });
    root.remove_store("slot").unwrap();
    let mut tables = halves.each_ref().map(|store| table(store, "table"));
    for id in 6..=8 {
        for (store, table) in halves.iter().zip(&mut tables) {
            change(table, id);
            assert_eq!(completed(&checkpoint(store, [table], id)), [id]);
        }
        disk.note(id);
    }
}

fn check_rescaled(image: &CrashImage<'_>) {
    let root = StateRoot::open(ROOT, Arc::new(image.to_memory())).unwrap();
    let reported = image.latest_note().unwrap_or(5);
    let whole = LsmStore::open_in(&root, options(), None);
    if let Ok(store) = whole {
        let mut rows = table(&store, "table");
        assert_eq!(values(&scan(&mut rows, ALL_GROUPS)), expected(5), "{image}");
        assert_eq!(reported, 5, "{image}");
        return;
    }
    let stores = root.stores().unwrap();
    let of_all = |id: &u64| {
        let has = |store: &crate::StoreSummary| {
            store.checkpoints.iter().any(|checkpoint| checkpoint.id.0 == *id)
        };
        stores.len() == 2 && stores.iter().all(has)
    };
    let id = (reported..=8).rev().find(of_all).unwrap_or_else(|| panic!("{image}: {stores:?}"));
    let mut found = Rows::new();
    for summary in &stores {
        let groups = summary.key_groups;
        let options = LsmOptions::new(groups, MAX_PARALLELISM).store(&summary.store);
        let store = LsmStore::open_at_in(&root, options, CheckpointId(id), None).unwrap();
        found.extend(scan(&mut table(&store, "table"), groups));
    }
    assert_eq!(values(&found), expected(id), "{image}");
}

#[test]
fn every_image_of_a_rescale_opens() {
    let disk = FaultStorage::recorder();
    {
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let store = create(&storage);
        let mut rows = table(&store, "table");
        for id in 1..=5 {
            change(&mut rows, id);
            assert_eq!(completed(&checkpoint(&store, [&mut rows], id)), [id]);
        }
    }
    disk.start_recording();
    rescale(&disk);
    let report = disk.recording().enumerate(&CrashPlan::default(), check_rescaled);
    println!("{report}");
    assert!(report.images > 300, "{report}");
}
