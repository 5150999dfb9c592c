//! What a store finds when it is opened: torn tails, damage, orphans, other processes.

use std::path::PathBuf;

use super::*;

fn read(storage: &Arc<dyn Storage>, path: &Path) -> Vec<u8> {
    let file = storage.open_read(path).unwrap();
    let mut bytes = vec![0; file.length_bytes().unwrap() as usize];
    file.read_exact_at(0, &mut bytes).unwrap();
    bytes
}

fn write(storage: &Arc<dyn Storage>, path: &Path, bytes: &[u8]) {
    storage.create(path).unwrap().append(bytes).unwrap();
}

fn manifest() -> PathBuf {
    Path::new(ROOT).join("manifests/slot.manifest")
}

/// A store with checkpoints 1 to 4, of which the last two are retained.
fn with_checkpoints() -> Arc<dyn Storage> {
    let storage = memory();
    let store = create(&storage);
    let mut table = table(&store, "table");
    for id in 1..=4 {
        put_now(&mut table, id, id);
        checkpoint(&store, [&mut table], id);
    }
    storage
}

fn contents(store: &LsmStore) -> Vec<(u64, u64)> {
    values(&scan(&mut table(store, "table"), ALL_GROUPS))
}

fn expected(count: u64) -> Vec<(u64, u64)> {
    (1..=count).map(|number| (number, number)).collect()
}

/// The files of a store, to be put back after an opening has changed them.
struct Files(Vec<(PathBuf, Vec<u8>)>);

impl Files {
    fn of(storage: &Arc<dyn Storage>) -> Self {
        let directory = Path::new(ROOT).join("files");
        let paths = storage.list(&directory).unwrap();
        Files(paths.into_iter().map(|path| (path.clone(), read(storage, &path))).collect())
    }

    fn put_back(&self, storage: &Arc<dyn Storage>) {
        self.0.iter().for_each(|(path, bytes)| write(storage, path, bytes));
    }
}

/// Offsets in a log that are not within the zeros up to the end of a sector, and some that are.
fn offsets(bytes: &[u8]) -> Vec<usize> {
    let is_filler = |at: usize| {
        let around = &bytes[at.saturating_sub(40)..(at + 40).min(bytes.len())];
        around.iter().all(|byte| *byte == 0)
    };
    (0..bytes.len()).filter(|at| !is_filler(*at) || at % 101 == 0).collect()
}

#[test]
fn a_torn_tail_is_an_edit_that_never_was() {
    let storage = with_checkpoints();
    let (files, whole) = (Files::of(&storage), read(&storage, &manifest()));
    let mut opened = std::collections::BTreeSet::new();
    for length in offsets(&whole).into_iter().rev() {
        write(&storage, &manifest(), &whole[..length]);
        match try_open(&storage) {
            Ok(store) => {
                let count = store.restored_checkpoint().map_or(0, |id| id.0);
                assert_eq!(contents(&store), expected(count), "cut to {length}");
                opened.insert(count);
            }
            Err(error) => {
                assert!(error.is_damage(), "{error}");
                assert!(opened.len() > 1, "the first edit is whole down to here");
            }
        }
        files.put_back(&storage);
    }
    assert_eq!(opened.into_iter().rev().take(2).collect::<Vec<_>>(), [4, 3]);
}

#[test]
fn every_flipped_byte_of_the_manifest_is_found() {
    let storage = with_checkpoints();
    let (files, whole) = (Files::of(&storage), read(&storage, &manifest()));
    let mut refused = 0;
    let offsets = offsets(&whole);
    for at in &offsets {
        let mut damaged = whole.clone();
        damaged[*at] ^= 0x10;
        write(&storage, &manifest(), &damaged);
        match try_open(&storage) {
            Ok(store) => assert_eq!(contents(&store), expected(4), "byte {at}"),
            Err(error) => {
                assert!(error.is_damage(), "byte {at}: {error}");
                assert!(error.to_string().contains("slot.manifest"), "{error}");
                refused += 1;
            }
        }
        files.put_back(&storage);
    }
    assert!(refused > offsets.len() * 8 / 10, "{refused} of {}", offsets.len());
}

#[test]
fn damage_in_the_middle_offers_what_came_before() {
    let storage = with_checkpoints();
    let mut bytes = read(&storage, &manifest());
    // The last edit, of checkpoint 4, begins on the last sector but for its seal.
    let at = (bytes.len() - 1) / 4096 * 4096 - 4096 + 100;
    bytes[at] ^= 1;
    write(&storage, &manifest(), &bytes);
    let error = try_open(&storage).unwrap_err().to_string();
    assert!(error.contains("checksum") && error.contains("slot.manifest at byte"), "{error}");
    assert!(error.ends_with("; retained and usable: checkpoint 3, 2"), "{error}");
    let root = StateRoot::open(ROOT, Arc::clone(&storage)).unwrap();
    let store = LsmStore::open_at_in(&root, options(), CheckpointId(3), None).unwrap();
    assert_eq!(contents(&store), expected(3));
}

#[test]
fn damaged_and_missing_deltas_are_refused_by_name() {
    let storage = with_checkpoints();
    let newest = Path::new(ROOT).join("files").join(data_files(&storage).pop().unwrap());
    let whole = read(&storage, &newest);
    let mut last_byte = whole.clone();
    *last_byte.last_mut().unwrap() ^= 1;
    for damaged in [&whole[..whole.len() - 1], &last_byte, &whole[..10], &[]] {
        write(&storage, &newest, damaged);
        let error = try_open(&storage).unwrap_err();
        assert!(error.is_damage(), "{error}");
        let text = error.to_string();
        assert!(text.contains(newest.to_str().unwrap()), "{text}");
        assert!(text.ends_with("; retained and usable: checkpoint 3"), "{text}");
    }
    write(&storage, &newest, &whole);
    assert_eq!(contents(&open(&storage)), expected(4));
}

#[test]
fn every_flipped_byte_of_a_delta_is_found() {
    let storage = memory();
    let store = create(&storage);
    let mut rows = table(&store, "table");
    (0..40).for_each(|number| put(&mut rows, Epoch::FIRST, number, number));
    checkpoint(&store, [&mut rows], 1);
    let expected = values(&scan(&mut rows, ALL_GROUPS));
    drop((rows, store));
    let path = Path::new(ROOT).join("files").join(data_files(&storage).pop().unwrap());
    let whole = read(&storage, &path);
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        write(&storage, &path, &damaged);
        let Ok(store) = try_open(&storage) else { continue };
        let mut found = Rows::new();
        let result = table(&store, "table").scan(ALL_GROUPS, &mut |address, record| {
            let key = (address.group.0, address.hash.as_u32(), address.key.to_vec());
            found.insert(key, vec![(0, Vec::new(), None, record.value.to_vec())]);
            Ok(())
        });
        assert!(result.is_err() || values(&found) == expected, "byte {at}");
        drop(store);
    }
}

#[test]
fn what_no_manifest_names_is_removed() {
    let storage = with_checkpoints();
    let before = data_files(&storage);
    let directory = Path::new(ROOT);
    for orphan in ["files/0000020000000001.delta", "files/00000200000000ff.sst"] {
        write(&storage, &directory.join(orphan), b"unfinished");
    }
    write(&storage, &directory.join("manifests/x.manifest.inprogress"), b"unfinished");
    write(&storage, &directory.join("files/NOTES"), b"not ours");
    drop(open(&storage));
    let after = data_files(&storage);
    assert!(after.contains(&"NOTES".to_owned()));
    assert_eq!(after.iter().filter(|name| *name != "NOTES").count(), before.len());
    assert_eq!(storage.list(&directory.join("manifests")).unwrap(), [manifest()]);
}

#[test]
fn while_a_manifest_is_damaged_nothing_is_removed() {
    let storage = with_checkpoints();
    let directory = Path::new(ROOT);
    write(&storage, &directory.join("files/0000020000000001.delta"), b"whose?");
    write(&storage, &directory.join("manifests/other.manifest"), b"damaged");
    let before = data_files(&storage);
    let root = StateRoot::open(ROOT, Arc::clone(&storage)).unwrap();
    assert_eq!(data_files(&storage), before);
    let error = LsmStore::open_in(&root, options().store("other"), None).unwrap_err();
    assert!(error.is_damage(), "{error}");
    assert_eq!(contents(&LsmStore::open_in(&root, options(), None).unwrap()), expected(4));
}

#[test]
fn file_ids_are_never_used_again() {
    let storage = memory();
    let mut seen = std::collections::BTreeSet::new();
    drop(create(&storage));
    for opening in 0..5 {
        let store = open(&storage);
        let mut rows = table(&store, "table");
        put_now(&mut rows, 1, opening);
        pass_barrier(&mut rows);
        settle(&store);
        let live = store.statistics().levels[0].file_count;
        assert_eq!(live, 1);
        let names = data_files(&storage);
        assert!(names.iter().all(|name| seen.insert(name.clone())), "{names:?} in {seen:?}");
        if opening == 3 {
            let root_file = Path::new(ROOT).join("ROOT");
            storage.remove(&root_file).unwrap();
        }
    }
}

#[test]
fn a_directory_has_one_opener() {
    let storage = with_checkpoints();
    let store = open(&storage);
    let error = try_open(&storage).unwrap_err();
    assert!(error.to_string().contains("/state/LOCK"), "{error}");
    drop(store);
    drop(open(&storage));
}

#[test]
fn a_store_has_one_owner() {
    let storage = with_checkpoints();
    let root = StateRoot::open(ROOT, Arc::clone(&storage)).unwrap();
    let store = LsmStore::open_in(&root, options(), None).unwrap();
    let again = LsmStore::open_in(&root, options(), None).unwrap_err();
    assert_eq!(again.to_string(), "store 'slot' is open already; a store has one owner");
    assert!(matches!(root.remove_store("slot"), Err(StoreError::StoreInUse { .. })));
    drop(store);
    drop(LsmStore::open_in(&root, options(), None).unwrap());
    root.remove_store("slot").unwrap();
    assert!(data_files(&storage).is_empty());
    let gone = LsmStore::open_in(&root, options(), None).unwrap_err();
    assert!(matches!(gone, StoreError::NoSuchStore { .. }), "{gone}");
}
