//! Pinned checkpoints: their files stay, and make a store elsewhere.

use super::*;

/// The bytes that a pin says are its checkpoint's, in a storage of their own.
fn copy_of(pin: &crate::PinnedCheckpoint, from: &Arc<dyn Storage>) -> Arc<dyn Storage> {
    let to = memory();
    let root = Path::new(ROOT);
    to.create_dir_all(&root.join("files")).unwrap();
    to.create_dir_all(&root.join("manifests")).unwrap();
    for file in pin.files() {
        let mut bytes = vec![0; file.length_bytes as usize];
        from.open_read(&root.join(&file.name)).unwrap().read_exact_at(0, &mut bytes).unwrap();
        to.create(&root.join(&file.name)).unwrap().append(&bytes).unwrap();
    }
    to.create(&root.join(pin.manifest_name())).unwrap().append(pin.manifest()).unwrap();
    to
}

#[test]
fn pinned_files_stay_until_the_pin_goes_and_make_a_store_elsewhere() {
    let storage = memory();
    let root = StateRoot::open(ROOT, Arc::clone(&storage)).unwrap();
    let options = options().retained_checkpoints(None).full_checkpoints(true);
    let store = LsmStore::create_in(&root, options.clone(), None).unwrap();
    let mut rows = table(&store, "table");
    (0..10).for_each(|key| put_now(&mut rows, key, key));
    checkpoint(&store, [&mut rows], 1);
    let pin = root.pin_checkpoint("slot", CheckpointId(1)).unwrap();
    let pinned: Vec<_> = pin.files().iter().map(|file| file.name.clone()).collect();
    assert!(!pinned.is_empty());
    (0..10).for_each(|key| put_now(&mut rows, key, key + 100));
    checkpoint(&store, [&mut rows], 2);
    store.release_checkpoint(CheckpointId(1));
    settle(&store);
    let is_there =
        |name: &std::path::PathBuf| storage.metadata(&Path::new(ROOT).join(name)).is_ok();
    assert!(pinned.iter().all(is_there), "the store has given them up, the pin has not");

    let elsewhere = copy_of(&pin, &storage);
    let other = StateRoot::open(ROOT, Arc::clone(&elsewhere)).unwrap();
    let summary = &other.stores().unwrap()[0];
    assert_eq!(summary.checkpoints.iter().map(|c| c.id.0).collect::<Vec<_>>(), [1]);
    let copied = LsmStore::open_at_in(&other, options, CheckpointId(1), None).unwrap();
    let found = values(&scan(&mut table(&copied, "table"), ALL_GROUPS));
    assert_eq!(found, (0..10).map(|n| (n, n)).collect::<Vec<_>>());

    drop(pin);
    assert!(!pinned.iter().any(is_there), "nobody needs them");
    let newest = root.pin_checkpoint("slot", CheckpointId(2)).unwrap();
    drop(newest);
    assert_eq!(values(&scan(&mut rows, ALL_GROUPS)).len(), 10, "the store's own files stay");
}

#[test]
fn pins_of_what_is_not_there_are_refused() {
    let storage = memory();
    let root = StateRoot::open(ROOT, storage).unwrap();
    let store = LsmStore::create_in(&root, options(), None).unwrap();
    let mut rows = table(&store, "table");
    put_now(&mut rows, 1, 1);
    checkpoint(&store, [&mut rows], 1);
    let error = root.pin_checkpoint("slot", CheckpointId(7)).unwrap_err();
    assert!(error.to_string().contains("has no checkpoint 7"), "{error}");
    let error = root.pin_checkpoint("other", CheckpointId(1)).unwrap_err();
    assert!(error.to_string().contains("there is no store 'other'"), "{error}");
}
