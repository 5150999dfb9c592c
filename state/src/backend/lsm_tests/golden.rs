//! Files of each format version, kept: they are read for ever, and written without a change.
//!
//! `tests/data/store-1` was written by `write_golden_files`, below, with the first version of all
//! formats, when the bottom level was 6; `store-2` with the same formats and 12; `store-3` with version 2 of manifests, which
//! has several schemas of a state. A change of a format
//! gets a version, a new directory, and keeps the test of reading for the old.

use std::fs;
use std::path::PathBuf;

use super::*;

const READ: [&str; 3] = ["store-1", "store-2", "store-3"];
const WRITTEN: &str = "store-3";

fn golden_directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

const PARTS: [&str; 3] = ["", "manifests", "files"];

/// Two checkpoints of two tables, then a merge of all deltas.
fn write_store() -> Arc<dyn Storage> {
    let storage = memory();
    let mut options = small_files(merging_options());
    options.compaction.delta_count = 3;
    let store = LsmStore::create(ROOT, options, Arc::clone(&storage), None).unwrap();
    let (mut one, mut two) = (table(&store, "one"), table(&store, "two"));
    let mut random = SplitMix64::new(1);
    for id in 1..=4 {
        let epoch = store.begin_checkpoint(CheckpointId(id)).unwrap();
        for _ in 0..30 {
            Change::random(&mut random, 40).write(&mut one, epoch);
        }
        put(&mut two, epoch, id, id);
        pass_barrier(&mut one);
        pass_barrier(&mut two);
        assert_eq!(completed(&settle(&store)), [id]);
    }
    storage
}

/// All files, by path within the store's directory. Deltas made ahead of their time are empty and
/// removed.
fn files_of(storage: &Arc<dyn Storage>) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for part in PARTS {
        for path in storage.list(&Path::new(ROOT).join(part)).unwrap() {
            let name = path.strip_prefix(ROOT).unwrap().to_str().unwrap().to_owned();
            if name != "LOCK" && storage.open_read(&path).is_ok() {
                files.insert(name, read_file(storage, &path));
            }
        }
    }
    files
}

fn read_file(storage: &Arc<dyn Storage>, path: &Path) -> Vec<u8> {
    let file = storage.open_read(path).unwrap();
    let mut bytes = vec![0; file.length_bytes().unwrap() as usize];
    file.read_exact_at(0, &mut bytes).unwrap();
    bytes
}

fn golden_files(name: &str) -> BTreeMap<String, Vec<u8>> {
    let directory = golden_directory(name);
    let mut files = BTreeMap::new();
    for part in PARTS {
        for entry in fs::read_dir(directory.join(part)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.strip_prefix(&directory).unwrap();
                files.insert(name.to_str().unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

#[test]
#[ignore = "writes the golden files; for a new version of a format only"]
fn write_golden_files() {
    for (name, bytes) in files_of(&write_store()) {
        let path = golden_directory(WRITTEN).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn files_are_written_as_ever() {
    let (written, golden) = (files_of(&write_store()), golden_files(WRITTEN));
    assert!(written.keys().eq(golden.keys()), "{:?} {:?}", written.keys(), golden.keys());
    for (name, bytes) in written {
        assert!(bytes == golden[&name], "{name} differs from its golden file");
    }
}

#[test]
fn golden_files_are_read() {
    READ.into_iter().for_each(check_read);
}

fn check_read(golden: &str) {
    let storage = memory();
    for (name, bytes) in golden_files(golden) {
        let path = Path::new(ROOT).join(name);
        storage.create_dir_all(path.parent().unwrap()).unwrap();
        storage.create(&path).unwrap().append(&bytes).unwrap();
    }
    let report = crate::inspect(ROOT, Arc::clone(&storage), true).unwrap();
    assert!(report.is_sound(), "{report}");
    let store = open(&storage);
    assert_eq!(store.restored_checkpoint(), Some(CheckpointId(4)));
    let (mut one, mut two) = (table(&store, "one"), table(&store, "two"));
    assert_eq!(values(&scan(&mut two, ALL_GROUPS)), [(1, 1), (2, 2), (3, 3), (4, 4)]);
    let mut model = Model::new(ALL_GROUPS, 1, Epoch::FIRST);
    let mut random = SplitMix64::new(1);
    for epoch in (1..=4).map(Epoch) {
        for _ in 0..30 {
            Change::random(&mut random, 40).write(&mut model.tables[0], epoch);
        }
        pass_barrier(&mut model.tables[0]);
    }
    assert_eq!(scan(&mut one, ALL_GROUPS), model.rows(0));
}
