//! A store on a disk that is full, fails, or lies: a checkpoint fails alone, earlier ones stay, later
//! ones succeed when the disk does, and what is read is right or refused.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod durable;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use durable::{DIRECTORY, Driver, Model, open, options};
use thalweg_io::IoError;
use thalweg_io::storage::{ArmedFault, FaultKind, FaultProfile, FaultStorage, Storage};
use thalweg_state::{CheckpointId, LsmStore, StoreError, StoreEvent};

fn disk(seed: u64, profile: FaultProfile) -> (FaultStorage, Arc<dyn Storage>) {
    let disk = FaultStorage::new(seed, profile);
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    (disk, storage)
}

/// What is left of the disk after crashes opens at this checkpoint, with these contents.
fn check_crashes(disk: &FaultStorage, id: u64, models: &[Model]) {
    check_crashes_in_doubt(disk, &[(id, models)]);
}

/// As [`check_crashes`], at one of these: an edit that failed may be on the disk all the same.
fn check_crashes_in_doubt(disk: &FaultStorage, possible: &[(u64, &[Model])]) {
    for seed in 0..12 {
        let storage: Arc<dyn Storage> = Arc::new(disk.crash(seed));
        let (found, store) = open(&storage, options()).unwrap();
        let models = possible.iter().find(|(id, _)| *id == found).map(|(_, models)| *models);
        let models = models.unwrap_or_else(|| panic!("seed {seed}: opened at {found}"));
        let mut driver = Driver::new(store, models.to_vec(), 0);
        assert!(driver.contents() == driver.models, "seed {seed}");
    }
}

#[test]
fn a_full_disk_fails_that_checkpoint_alone_and_recovers_with_space() {
    let (disk, storage) = disk(1, FaultProfile::none());
    let mut driver = Driver::create(&storage, options(), 1);
    driver.change(50, 40, 200);
    driver.checkpoint(1).unwrap();
    driver.settle();
    let (mut latest, mut failures) = (1, 0);
    let mut durable = driver.models.clone();
    for cycle in 0..200_u64 {
        if failures == 50 {
            break;
        }
        // So little that the delta, its end, or the manifest does not fit.
        disk.set_budget_bytes(Some(disk.used_bytes() + cycle * 331 % 16_000));
        driver.change(200, 40, 2000);
        latest += 1;
        match driver.checkpoint(latest) {
            Err(error) => {
                assert!(error.is_no_space(), "{error}");
                failures += 1;
                if failures % 10 == 0 {
                    let possible = [(latest - 1, &durable[..]), (latest, &driver.models)];
                    check_crashes_in_doubt(&disk, &possible);
                }
            }
            // Files that were removed meanwhile made room.
            Ok(_) => check_crashes(&disk, latest, &driver.models),
        }
        driver.settle();
        disk.set_budget_bytes(None);
        driver.change(5, 40, 200);
        latest += 1;
        driver.checkpoint(latest).unwrap();
        driver.settle();
        durable = driver.models.clone();
        driver.check();
    }
    assert_eq!(failures, 50);
    check_crashes(&disk, latest, &durable);
    assert!(disk.counters().appends_without_space >= 50);
    check_no_leak(&*storage, &driver.store);
}

/// On the disk are the files that the store knows, and at most one made ahead.
fn check_no_leak(storage: &dyn Storage, store: &LsmStore) {
    let statistics = store.statistics();
    let known: usize = statistics.levels.iter().map(|level| level.file_count).sum();
    let on_disk = storage.list(&Path::new(DIRECTORY).join("files")).unwrap().len();
    // Retained checkpoints refer to files that were merged since.
    let limit = known + 1 + statistics.garbage_files as usize + 8;
    assert!((known..=limit).contains(&on_disk), "{on_disk} files: {statistics}");
}

#[test]
fn an_error_fails_that_checkpoint_alone() {
    let faults = [
        (FaultKind::Append, ".delta"),
        (FaultKind::Sync, ".delta"),
        (FaultKind::Append, ".manifest"),
        (FaultKind::Sync, ".manifest"),
    ];
    for (kind, name) in faults {
        let (disk, storage) = disk(2, FaultProfile::none());
        let mut driver = Driver::create(&storage, options(), 2);
        driver.change(30, 40, 100);
        driver.checkpoint(1).unwrap();
        driver.settle();
        for id in [2, 4, 6] {
            let durable = driver.models.clone();
            disk.arm(ArmedFault::next(kind).of(name));
            driver.change(30, 40, 100);
            let models = driver.models.clone();
            let error = driver.checkpoint(id).unwrap_err();
            assert!(matches!(error, StoreError::Io { .. }), "{kind:?} {name}: {error}");
            assert!(error.to_string().contains(name), "{error}");
            driver.settle();
            let mut possible = vec![(id - 1, &durable[..])];
            possible.extend((name == ".manifest").then_some((id, &models[..])));
            check_crashes_in_doubt(&disk, &possible);
            driver.change(3, 40, 100);
            driver.checkpoint(id + 1).unwrap();
            driver.settle();
            driver.check();
            check_crashes(&disk, id + 1, &driver.models);
        }
        check_no_leak(&*storage, &driver.store);
    }
}

#[test]
fn bytes_of_a_failed_sync_are_never_relied_on() {
    // The sync after the failed one would succeed, although the bytes are gone.
    let (disk, storage) = disk(3, FaultProfile::none());
    let mut driver = Driver::create(&storage, options(), 3);
    for id in 1..=10 {
        disk.arm(ArmedFault::next(FaultKind::Sync).of(".delta"));
        driver.change(20, 40, 100);
        driver.checkpoint(2 * id).unwrap_err();
        driver.checkpoint(2 * id + 1).unwrap();
        check_crashes(&disk, 2 * id + 1, &driver.models);
    }
    assert_eq!(disk.counters().syncs_failed, 10);
}

#[test]
fn a_second_opener_is_refused() {
    let (_, storage) = disk(4, FaultProfile::none());
    let driver = Driver::create(&storage, options(), 4);
    for _ in 0..2 {
        match open(&storage, options()) {
            Err(StoreError::Io { source, .. }) => match *source {
                IoError::Locked { site, .. } => {
                    assert_eq!(site.path, Path::new(DIRECTORY).join("LOCK"));
                }
                other => panic!("{other}"),
            },
            other => panic!("{other:?}"),
        }
    }
    drop(driver);
    open(&storage, options()).unwrap();
}

/// What came of a run on a bad disk.
#[derive(Debug, Default)]
struct Tally {
    exact: u64,
    older: u64,
    refused: u64,
    failed_checkpoints: u64,
    completed_checkpoints: u64,
}

/// Runs checkpoints on a disk with these faults, crashes it, and opens what is left on a good one.
fn run_seed(seed: u64, profile: FaultProfile, honest: bool, tally: &mut Tally) {
    let (disk, storage) = disk(seed, FaultProfile::none());
    let mut driver = Driver::create(&storage, options(), seed);
    let mut snapshots = BTreeMap::from([(0, driver.models.clone())]);
    disk.set_profile(profile);
    let mut reported = 0;
    for id in 1..=5 {
        driver.change(10, 40, 300);
        snapshots.insert(id, driver.models.clone());
        match driver.checkpoint(id) {
            Ok(_) => {
                reported = id;
                tally.completed_checkpoints += 1;
            }
            Err(error) => {
                assert!(!honest || matches!(error, StoreError::Io { .. }), "seed {seed}: {error}");
                tally.failed_checkpoints += 1;
            }
        }
        driver.settle();
    }
    let after = disk.crash(seed);
    after.set_profile(FaultProfile::none());
    let storage: Arc<dyn Storage> = Arc::new(after);
    let opened = open(&storage, options());
    let contents = opened.map_err(|error| (error.is_damage(), error.to_string()));
    let contents = contents.and_then(|(id, store)| {
        let mut driver = Driver::new(store, Vec::new(), 0);
        let tables = driver.tables.iter_mut().map(|table| table.contents());
        let tables: Result<Vec<Model>, _> = tables.collect();
        tables.map(|tables| (id, tables)).map_err(|error| (true, error.to_string()))
    });
    match contents {
        Ok((id, tables)) => {
            assert!(snapshots.get(&id) == Some(&tables), "seed {seed}: {id} has other contents");
            assert!(!honest || id >= reported, "seed {seed}: back from {reported} to {id}");
            let count = if id >= reported { &mut tally.exact } else { &mut tally.older };
            *count += 1;
        }
        Err((is_damage, text)) => {
            assert!(!honest, "seed {seed}: {text}");
            assert!(is_damage || text.contains("does not exist"), "seed {seed}: {text}");
            tally.refused += 1;
        }
    }
}

#[test]
fn disks_that_fail_lose_nothing_that_was_reported() {
    let mut tally = Tally::default();
    for seed in 0..300 {
        run_seed(seed, FaultProfile::failing(30_000), true, &mut tally);
    }
    println!("failing disks: {tally:?}");
    assert!(tally.failed_checkpoints > 50 && tally.completed_checkpoints > 500, "{tally:?}");
    assert_eq!(tally.exact, 300);
}

#[test]
fn disks_that_lie_and_rot_are_found_out() {
    let mut tally = Tally::default();
    for seed in 0..300 {
        run_seed(seed, FaultProfile::rotten(20_000), false, &mut tally);
    }
    println!("rotten disks: {tally:?}");
    assert!(tally.exact > 0 && tally.refused + tally.older > 0, "{tally:?}");
}

#[test]
fn a_worker_that_cannot_write_says_so_each_time() {
    let (disk, storage) = disk(5, FaultProfile::none());
    let mut driver = Driver::create(&storage, options(), 5);
    driver.change(10, 40, 100);
    driver.checkpoint(1).unwrap();
    disk.set_profile(FaultProfile { write_error_ppm: 1_000_000, ..FaultProfile::none() });
    for id in 2..6 {
        driver.change(10, 40, 100);
        driver.store.begin_checkpoint(CheckpointId(id)).unwrap();
        for table in &mut driver.tables {
            table.end_epoch().unwrap();
        }
        let events = driver.settle();
        let is_failure = |event: &&StoreEvent| matches!(event, StoreEvent::CheckpointFailed { id: found, .. } if found.0 == id);
        assert_eq!(events.iter().filter(is_failure).count(), 1, "{events:?}");
    }
    disk.set_profile(FaultProfile::none());
    driver.checkpoint(6).unwrap();
    driver.check();
    check_crashes(&disk, 6, &driver.models);
}
