//! Checkpoints that fail lose nothing, and later ones succeed.

use std::sync::atomic::{AtomicBool, Ordering};

use super::failing_storage::{FailingStorage, Switches};
use super::*;

struct Failing {
    storage: Arc<dyn Storage>,
    switches: Arc<Switches>,
    store: LsmStore,
    table: TableStore,
}

impl Failing {
    /// A store with one checkpoint.
    fn new() -> Self {
        let failing = FailingStorage::default();
        let switches = Arc::clone(&failing.switches);
        let storage: Arc<dyn Storage> = Arc::new(failing);
        let store = create(&storage);
        let mut rows = table(&store, "table");
        put(&mut rows, Epoch::FIRST, 1, 1);
        put(&mut rows, Epoch::FIRST, 2, 1);
        assert_eq!(completed(&checkpoint(&store, [&mut rows], 1)), [1]);
        Failing { storage, switches, store, table: rows }
    }

    /// Changes row 1 and 10 + `id`, and makes a checkpoint.
    fn change(&mut self, id: u64) -> Vec<StoreEvent> {
        let epoch = self.table.current_epoch();
        put(&mut self.table, epoch, 1, id);
        put(&mut self.table, epoch, 10 + id, id);
        checkpoint(&self.store, [&mut self.table], id)
    }

    fn reopen(self) -> Vec<(u64, u64)> {
        let Failing { storage, store, table, .. } = self;
        drop((table, store));
        let store = open(&storage);
        values(&scan(&mut super::table(&store, "table"), ALL_GROUPS))
    }
}

fn failure(events: &[StoreEvent], expected: u64) -> &StoreError {
    match events {
        [StoreEvent::CheckpointFailed { id, error }] if id.0 == expected => error,
        other => panic!("{other:?}"),
    }
}

/// Lets two checkpoints fail for a reason, and the next one succeed.
fn check(switch: impl Fn(&Switches) -> &AtomicBool, is_expected: impl Fn(&StoreError) -> bool) {
    for is_crash in [false, true] {
        let mut failing = Failing::new();
        switch(&failing.switches).store(true, Ordering::Relaxed);
        for id in [2, 3] {
            let events = failing.change(id);
            let error = failure(&events, id);
            assert!(is_expected(error), "{error}");
        }
        assert_eq!(values(&scan(&mut failing.table, ALL_GROUPS)), [(1, 1), (2, 1)]);
        assert!(failing.store.waiting_bytes() > 0);
        switch(&failing.switches).store(false, Ordering::Relaxed);
        if is_crash {
            assert_eq!(failing.reopen(), [(1, 1), (2, 1)], "the first checkpoint is usable");
            continue;
        }
        assert_eq!(completed(&failing.change(4)), [4]);
        assert_eq!(failing.store.waiting_bytes(), 0);
        let expected = [(1, 4), (2, 1), (12, 2), (13, 3), (14, 4)];
        assert_eq!(values(&scan(&mut failing.table, ALL_GROUPS)), expected);
        assert_eq!(completed(&failing.change(5)), [5]);
        let referenced = failing.store.statistics().levels[0].file_count;
        let spare = 1;
        assert_eq!(data_files(&failing.storage).len(), referenced + spare, "nothing is left over");
        assert_eq!(failing.reopen(), [(1, 5), (2, 1), (12, 2), (13, 3), (14, 4), (15, 5)]);
    }
}

#[test]
fn a_full_disk_fails_checkpoints_until_there_is_space() {
    check(|switches| &switches.is_full, StoreError::is_no_space);
}

#[test]
fn a_failed_sync_of_data_is_final_for_the_file() {
    check(
        |switches| &switches.data_syncs_fail,
        |error| error.to_string().contains("cannot sync /state/files/"),
    );
}

#[test]
fn a_failed_sync_of_the_manifest_is_final_for_the_log() {
    let mut failing = Failing::new();
    failing.switches.manifest_syncs_fail.store(true, Ordering::Relaxed);
    let events = failing.change(2);
    let error = failure(&events, 2);
    assert!(error.to_string().contains("manifests/slot.manifest"), "{error}");
    let doubtful = data_files(&failing.storage);
    assert_eq!(doubtful.len(), 2 + 1, "the edit may have got through: its file is kept");
    failure(&failing.change(3), 3);
    failing.switches.manifest_syncs_fail.store(false, Ordering::Relaxed);
    assert_eq!(completed(&failing.change(4)), [4]);
    assert_eq!(data_files(&failing.storage).len(), 2 + 1, "a new log decides");
    assert_eq!(failing.reopen(), [(1, 4), (2, 1), (12, 2), (13, 3), (14, 4)]);
}

#[test]
fn an_edit_in_doubt_may_come_back() {
    let mut failing = Failing::new();
    failing.switches.manifest_syncs_fail.store(true, Ordering::Relaxed);
    failure(&failing.change(2), 2);
    failing.switches.manifest_syncs_fail.store(false, Ordering::Relaxed);
    // The storage in memory kept what was appended, as a disk may.
    assert_eq!(failing.reopen(), [(1, 2), (2, 1), (12, 2)]);
}

#[test]
fn a_failed_sync_of_a_directory_fails_the_checkpoint() {
    let mut failing = Failing::new();
    failing.switches.directory_syncs_fail.store(true, Ordering::Relaxed);
    // A file that was made ahead of its time needs no sync of the directory.
    let _ = failing.change(2);
    failure(&failing.change(3), 3);
    failing.switches.directory_syncs_fail.store(false, Ordering::Relaxed);
    assert_eq!(completed(&failing.change(4)), [4]);
    assert_eq!(failing.reopen(), [(1, 4), (2, 1), (12, 2), (13, 3), (14, 4)]);
}

#[test]
fn while_the_disk_is_behind_checkpoints_are_refused() {
    let failing = FailingStorage::default();
    let switches = Arc::clone(&failing.switches);
    let root = StateRoot::open(ROOT, Arc::new(failing)).unwrap();
    let store = LsmStore::create_in(&root, options().waiting_bytes_max(40), None).unwrap();
    let mut table = table(&store, "table");
    switches.is_full.store(true, Ordering::Relaxed);
    for number in 0..2 {
        put(&mut table, Epoch::FIRST, number, 1);
    }
    failure(&checkpoint(&store, [&mut table], 1), 1);
    let error = store.begin_checkpoint(CheckpointId(2)).unwrap_err();
    assert!(matches!(error, StoreError::Congested { waiting_bytes: 50, limit_bytes: 40, .. }));
}
