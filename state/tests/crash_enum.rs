//! Each durable protocol of a store, crashed at every point, in every way.
//!
//! A protocol runs on a simulated disk that records it, and remarks each checkpoint whose completion
//! was reported. Then the machine stops after each change of the disk: what was not synced is lost,
//! kept, torn or reordered. Every image must open, at the last checkpoint that was reported or at a
//! later one that had begun, with exactly its contents.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod durable;

use std::collections::BTreeMap;
use std::sync::Arc;

use durable::{DIRECTORY, Driver, Model, open, open_root, options};
use thalweg_io::storage::{
    ArmedFault, CrashImage, CrashPlan, CrashReport, FaultKind, FaultStorage, Storage,
};
use thalweg_state::{CheckpointId, KeyGroupRange, LsmOptions, LsmStore, RestoreSource, StoreError};

const PLAN: CrashPlan =
    CrashPlan { combinations_max: 1 << 10, samples: 64, torn_samples: 24, seed: 5 };

/// The least number of different images of all protocols together.
const IMAGES_MIN: u64 = 5_000;

/// The contents of each checkpoint that was begun.
type Snapshots = BTreeMap<u64, Vec<Model>>;

/// A run of a protocol on a recorded disk.
struct Run {
    disk: FaultStorage,
    storage: Arc<dyn Storage>,
    snapshots: Snapshots,
}

impl Run {
    fn new() -> Self {
        let disk = FaultStorage::recorder();
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let empty = vec![Model::new(); durable::TABLES.len()];
        Run { disk, storage, snapshots: Snapshots::from([(0, empty)]) }
    }

    fn create(&self, options: LsmOptions, seed: u64) -> Driver {
        let driver = Driver::create(&self.storage, options, seed);
        self.disk.note(0);
        driver
    }

    /// Changes, and a checkpoint that is remarked when it is complete.
    fn checkpoint(&mut self, driver: &mut Driver, id: u64, changes: usize) {
        driver.change(changes, 40, 60);
        self.snapshots.insert(id, driver.models.clone());
        driver.checkpoint(id).unwrap();
        self.disk.note(id);
        driver.settle();
    }
}

/// Opens an image and compares it with what it has to hold.
fn check(image: &CrashImage<'_>, options: &LsmOptions, snapshots: &Snapshots) {
    let storage: Arc<dyn Storage> = Arc::new(image.to_memory());
    let (id, store) = match open(&storage, options.clone()) {
        Ok(opened) => opened,
        Err(StoreError::NoSuchStore { .. }) if image.latest_note().is_none() => {
            Driver::create(&storage, options.clone(), 1).checkpoint(1).unwrap();
            return;
        }
        Err(error) => panic!("{error}\n{image}"),
    };
    assert!(id >= image.latest_note().unwrap_or(0), "went back to {id}\n{image}");
    let mut driver = Driver::new(store, snapshots[&id].clone(), id);
    assert!(driver.contents() == driver.models, "contents differ at {id}\n{image}");
}

/// Each checkpoint that is retained opens, with its contents.
fn check_retained(image: &CrashImage<'_>, snapshots: &Snapshots) {
    let storage: Arc<dyn Storage> = Arc::new(image.to_memory());
    let stores = open_root(&storage).unwrap().stores().unwrap();
    let Some(store) = stores.first() else { return };
    for id in store.checkpoints.iter().map(|checkpoint| checkpoint.id) {
        let storage: Arc<dyn Storage> = Arc::new(image.to_memory());
        let root = open_root(&storage).unwrap();
        let store = LsmStore::open_at_in(&root, options(), id, None)
            .unwrap_or_else(|error| panic!("retained {id}: {error}\n{image}"));
        let mut driver = Driver::new(store, snapshots[&id.0].clone(), 0);
        assert!(driver.contents() == driver.models, "contents of retained {id} differ\n{image}");
    }
}

/// As [`check`]; and the store goes on from there.
fn check_and_go_on(image: &CrashImage<'_>, options: &LsmOptions, snapshots: &Snapshots) {
    check(image, options, snapshots);
    let storage: Arc<dyn Storage> = Arc::new(image.to_memory());
    let Ok((id, store)) = open(&storage, options.clone()) else { return };
    let mut driver = Driver::new(store, snapshots[&id].clone(), id);
    driver.change(20, 40, 60);
    driver.checkpoint(id + 1).unwrap();
    driver.settle();
    let expected = driver.models.clone();
    drop(driver);
    let (reopened, store) = open(&storage, options.clone()).unwrap();
    assert_eq!(reopened, id + 1, "{image}");
    Driver::new(store, expected, 0).check();
}

/// Delta writes, manifest edits, releases and the deletion of files.
fn checkpoints() -> CrashReport {
    let mut run = Run::new();
    let mut driver = run.create(options(), 1);
    for id in 1..=6 {
        run.checkpoint(&mut driver, id, 12);
    }
    let mut count = 0;
    run.disk.recording().enumerate(&PLAN, |image| {
        count += 1;
        match count % 8 {
            0 => check_and_go_on(image, &options(), &run.snapshots),
            1 => check_retained(image, &run.snapshots),
            _ => check(image, &options(), &run.snapshots),
        }
    })
}

/// Two checkpoints at once, the second before the first is durable.
fn overlapping_checkpoints() -> CrashReport {
    let mut run = Run::new();
    let mut driver = run.create(options(), 2);
    for id in [1, 3, 5] {
        driver.change(8, 40, 60);
        run.snapshots.insert(id, driver.models.clone());
        driver.begin(id);
        driver.change(8, 40, 60);
        run.snapshots.insert(id + 1, driver.models.clone());
        driver.store.begin_checkpoint(CheckpointId(id + 1)).unwrap();
        for table in &mut driver.tables {
            table.end_epoch().unwrap();
        }
        wait_in_order(&run, &mut driver, id);
    }
    run.disk.recording().enumerate(&PLAN, |image| check(image, &options(), &run.snapshots))
}

/// Polls until two checkpoints are complete, and remarks each.
fn wait_in_order(run: &Run, driver: &mut Driver, first: u64) {
    let mut next = first;
    for _ in 0..10_000 {
        for event in driver.store.poll() {
            if let thalweg_state::StoreEvent::CheckpointComplete { id, .. } = event {
                assert_eq!(id, CheckpointId(next));
                run.disk.note(next);
                next += 1;
            }
        }
        if next > first + 1 {
            driver.settle();
            return;
        }
    }
    panic!("checkpoint {next} does not complete");
}

/// Merges of deltas and sorted files, whose edits replace files, and the removal of what they
/// replaced once no checkpoint refers to it.
fn compaction() -> CrashReport {
    let mut run = Run::new();
    let mut driver = run.create(options(), 8);
    for id in 1..=3 {
        run.checkpoint(&mut driver, id, 30);
    }
    run.disk.start_recording();
    run.disk.note(3);
    for id in 4..=12 {
        run.checkpoint(&mut driver, id, 8);
    }
    let statistics = driver.store.statistics();
    assert!(statistics.compacted_files >= 2 && statistics.removed_files >= 4, "{statistics}");
    let mut count = 0;
    run.disk.recording().enumerate(&PLAN, |image| {
        count += 1;
        check(image, &options(), &run.snapshots);
        if count % 4 == 0 {
            check_retained(image, &run.snapshots);
        }
    })
}

/// Opening, which starts a new manifest in the place of the old one, again and again.
fn manifest_rotation() -> CrashReport {
    let mut run = Run::new();
    let mut driver = run.create(options(), 3);
    run.checkpoint(&mut driver, 1, 15);
    for id in 2..=4 {
        let models = driver.models.clone();
        drop(driver);
        let (found, store) = open(&run.storage, options()).unwrap();
        assert_eq!(found, id - 1);
        driver = Driver::new(store, models, id);
        run.checkpoint(&mut driver, id, 10);
    }
    run.disk.recording().enumerate(&PLAN, |image| check(image, &options(), &run.snapshots))
}

const HALVES: [KeyGroupRange; 2] =
    [KeyGroupRange { start: 0, end: 8 }, KeyGroupRange { start: 8, end: 16 }];

fn half_options(number: usize) -> LsmOptions {
    LsmOptions::new(HALVES[number], 16).store(["left", "right"][number])
}

/// A store is taken apart into two, which go on, and put together again; the old ones are removed.
fn rescale() -> CrashReport {
    let mut run = Run::new();
    let mut driver = run.create(options(), 4);
    run.checkpoint(&mut driver, 1, 60);
    let models = driver.models.clone();
    drop(driver);
    run.disk.start_recording();
    run.disk.note(1);

    let root = open_root(&run.storage).unwrap();
    let source = |store: &str| RestoreSource { store: store.into(), checkpoint: CheckpointId(1) };
    for number in 0..2 {
        let store =
            LsmStore::restore_in(&root, half_options(number), &[source("slot")], None).unwrap();
        run.disk.note(2 + number as u64);
        drop(store);
    }
    let whole = options().store("whole");
    let sources = [source("left"), source("right")];
    let store = LsmStore::restore_in(&root, whole.clone(), &sources, None).unwrap();
    run.disk.note(4);
    drop(store);
    for (number, name) in ["slot", "left", "right"].into_iter().enumerate() {
        root.remove_store(name).unwrap();
        run.disk.note(5 + number as u64);
    }
    drop(root);

    run.disk.recording().enumerate(&PLAN, |image| {
        let storage: Arc<dyn Storage> = Arc::new(image.to_memory());
        let root = open_root(&storage).unwrap_or_else(|error| panic!("{error}\n{image}"));
        let noted = image.latest_note().unwrap_or(0);
        let is_promised = |name: &str| match name {
            "slot" => (1..5).contains(&noted),
            "left" => (2..6).contains(&noted),
            "right" => (3..7).contains(&noted),
            _ => noted >= 4,
        };
        let mut found = [false; 4];
        for (index, name) in ["slot", "left", "right", "whole"].into_iter().enumerate() {
            let options = match name {
                "left" => half_options(0),
                "right" => half_options(1),
                name => options().store(name),
            };
            match LsmStore::open_in(&root, options, None) {
                Ok(store) => {
                    found[index] = true;
                    check_half(&store, name, &models, image);
                }
                Err(StoreError::NoSuchStore { .. }) => {
                    // Removing began when it was remarked that all before was done.
                    let may_be_gone = noted >= 4 + index as u64 && name != "whole";
                    assert!(!is_promised(name) || may_be_gone, "{name} is gone\n{image}");
                }
                Err(error) => panic!("{name}: {error}\n{image}"),
            }
        }
        assert!(found[0] || found[3], "neither the old store nor the new one\n{image}");
    })
}

/// The contents are those of checkpoint 1 in the store's key groups.
fn check_half(store: &LsmStore, name: &str, models: &[Model], image: &CrashImage<'_>) {
    let groups = match name {
        "left" => HALVES[0],
        "right" => HALVES[1],
        _ => KeyGroupRange { start: 0, end: 16 },
    };
    let mut driver = Driver::new(store.clone(), models.to_vec(), 0);
    let expected: Vec<Model> = models.iter().map(|model| of_groups(model, groups)).collect();
    assert!(driver.contents() == expected, "{name} differs\n{image}");
}

fn of_groups(model: &Model, groups: KeyGroupRange) -> Model {
    use thalweg_state::{Key as _, key_group_of};
    let is_here = |key: u64| groups.contains(key_group_of(key.key_hash(), 16));
    let entries = model.iter().filter(|((key, _), _)| is_here(*key));
    entries.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The process ends at any point, is started again, acts on what it reads, though that may never
/// have been durable, and then the machine stops.
fn killed_then_crashed() -> CrashReport {
    kill_and_crash(2, false)
}

/// Kills the process after every so many changes. The new one may forget to sync the manifest that
/// it reads.
fn kill_and_crash(kill_every: usize, forgets_sync: bool) -> CrashReport {
    let mut run = Run::new();
    let mut driver = run.create(options(), 6);
    for id in 1..=4 {
        run.checkpoint(&mut driver, id, 8);
    }
    // From here on checkpoints release others, and files with them.
    run.disk.start_recording();
    run.disk.note(4);
    for id in 5..=7 {
        run.checkpoint(&mut driver, id, 8);
    }
    let statistics = driver.store.statistics();
    assert!(statistics.removed_files >= 3, "{statistics}");
    drop(driver);
    let recording = run.disk.recording();
    let plan = CrashPlan { samples: 12, torn_samples: 4, combinations_max: 1 << 6, ..PLAN };
    let mut total = CrashReport::default();
    for count in (0..=recording.operation_count()).step_by(kill_every) {
        let (disk, noted) = recording.killed_after(count);
        if forgets_sync {
            disk.arm(ArmedFault::next(FaultKind::LyingSync).of(".manifest"));
        }
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        let mut snapshots = run.snapshots.clone();
        match open(&storage, options()) {
            Ok((id, store)) => {
                assert!(id >= noted.unwrap_or(0));
                disk.note(id);
                let mut driver = Driver::new(store, snapshots[&id].clone(), 9);
                driver.settle();
                driver.change(5, 40, 60);
                snapshots.insert(id + 1, driver.models.clone());
                driver.checkpoint(id + 1).unwrap();
                disk.note(id + 1);
                driver.settle();
            }
            Err(StoreError::NoSuchStore { .. }) if noted.is_none() => {}
            Err(error) => panic!("{error} after change {count}"),
        }
        // Before the first remark of the new process, those of the old one hold.
        let report = disk.recording().enumerate(&plan, |image| {
            let latest = image.latest_note().or(noted);
            check_from(image, latest, &snapshots);
            check_retained(image, &snapshots);
        });
        total.points += report.points;
        total.points_exhausted += report.points_exhausted;
        total.images += report.images;
        total.repeated += report.repeated;
    }
    total
}

fn check_from(image: &CrashImage<'_>, noted: Option<u64>, snapshots: &Snapshots) {
    let storage: Arc<dyn Storage> = Arc::new(image.to_memory());
    match open(&storage, options()) {
        Ok((id, store)) => {
            assert!(id >= noted.unwrap_or(0), "went back from {noted:?} to {id}\n{image}");
            let mut driver = Driver::new(store, snapshots[&id].clone(), id);
            assert!(driver.contents() == driver.models, "contents differ at {id}\n{image}");
        }
        Err(StoreError::NoSuchStore { .. }) if noted.is_none() => {}
        Err(error) => panic!("{error}, {noted:?} was reported\n{image}"),
    }
}

/// The same protocol on a disk that leaves out one sync: what a store would do that forgot it.
#[test]
fn each_forgotten_sync_is_caught() {
    let forgotten = [
        (FaultKind::LyingSync, ".delta"),
        (FaultKind::LyingSync, ".manifest"),
        (FaultKind::LyingSyncDirectory, "files"),
        (FaultKind::LyingSyncDirectory, "manifests"),
        (FaultKind::LyingSyncDirectory, "/job"),
    ];
    for (kind, name) in forgotten {
        let run = || {
            let mut run = Run::new();
            // All of them, not one: another sync of the same file may come to its rescue.
            (0..100).for_each(|_| run.disk.arm(ArmedFault::next(kind).of(name)));
            let mut driver = run.create(options(), 7);
            (1..=3).for_each(|id| run.checkpoint(&mut driver, id, 12));
            run.disk.recording().enumerate(&PLAN, |image| check(image, &options(), &run.snapshots));
        };
        let is_caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err();
        assert!(is_caught, "{kind:?} of {name}");
    }
    assert!(std::panic::catch_unwind(|| kill_and_crash(1, true)).is_err(), "sync before reading");
}

type Protocol = fn() -> CrashReport;

#[test]
fn every_crash_image_recovers() {
    let protocols: [(&str, Protocol); 6] = [
        ("checkpoints and deletion", checkpoints),
        ("overlapping checkpoints", overlapping_checkpoints),
        ("compaction", compaction),
        ("manifest rotation", manifest_rotation),
        ("rescale and removal", rescale),
        ("kill, restart, crash", killed_then_crashed),
    ];
    let mut images = 0;
    for (name, protocol) in protocols {
        let report = protocol();
        println!("{name}: {report}");
        images += report.images;
    }
    println!("crash images {images}, recovered {images}, in {DIRECTORY}");
    assert!(images >= IMAGES_MIN, "{images} images");
}
