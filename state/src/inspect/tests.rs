use thalweg_io::storage::MemoryStorage;

use super::*;
use crate::backend::{StateRequest, TableRequest};
use crate::codec::Record;
use crate::key_group::key_group_of;
use crate::{CheckpointId, KeyGroupRange, KeyHash, LsmOptions, LsmStore, SchemaDescription};

/// A store with six checkpoints, whose deltas are merged.
fn with_checkpoints() -> Arc<dyn Storage> {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let options = LsmOptions::new(KeyGroupRange { start: 0, end: 128 }, 128);
    let store = LsmStore::create("/state", options, Arc::clone(&storage), None).unwrap();
    let (key, value) = (SchemaDescription::of::<u64>(), SchemaDescription::of::<u32>());
    let states = [StateRequest { name: "count", schema: &value }];
    let request = TableRequest { name: "clicks", key: &key, states: &states };
    let mut table = store.table(&request).unwrap().store;
    for id in 1..=6_u64 {
        let epoch = store.begin_checkpoint(CheckpointId(id)).unwrap();
        for number in 0..200_u64 {
            let (hash, key) = (KeyHash::of(&number), number.to_le_bytes());
            let group = key_group_of(hash, 128);
            let address = crate::backend::RowAddress { group, hash, key: &key };
            let write = |row: &mut crate::codec::RowWriter<'_>| {
                row.write(Record::put(0, &id.to_le_bytes()));
                Ok(())
            };
            table.row(epoch, address, write).unwrap();
        }
        table.barrier();
        table.finish(epoch).unwrap();
        store.poll();
        while !store.is_idle() {
            store.poll();
        }
    }
    storage
}

#[test]
fn a_sound_directory_is_described() {
    let report = inspect("/state", with_checkpoints(), true).unwrap();
    assert!(report.is_sound(), "{report}");
    let text = report.to_string();
    for expected in [
        "/state: opened 1 times\nstore 'slot' (/state/manifests/slot.manifest)\n",
        "  key groups 0..128 of 128, key hash thalweg-1 version 1\n",
        "  table 0 'clicks': key u64 ",
        "    state 0 'count': u32 ",
        "  checkpoint 5 (epoch 5): ",
        "  checkpoint 6 (epoch 6): ",
        "level 12: 1 files, 200 rows",
        ".sst ",
        ", of slot, verified\n",
    ] {
        assert!(text.contains(expected), "{expected:?} in {text}");
    }
    assert!(!text.contains("checkpoint 4"), "{text}");
    assert!(text.ends_with("\nsound"));
    assert_eq!(report.stores()[0].store(), "slot");
}

#[test]
fn damage_is_found_and_named() {
    let storage = with_checkpoints();
    let report = inspect("/state", Arc::clone(&storage), true).unwrap();
    let referenced = report.files().iter().filter(|file| !file.stores().is_empty());
    for path in referenced.map(FileReport::path) {
        let file = storage.open_read(path).unwrap();
        let mut bytes = vec![0; file.length_bytes().unwrap() as usize];
        file.read_exact_at(0, &mut bytes).unwrap();
        bytes[300] ^= 1;
        storage.create(path).unwrap().append(&bytes).unwrap();
        let report = inspect("/state", Arc::clone(&storage), true).unwrap();
        assert!(!report.is_sound());
        let problem = report.files().iter().find(|file| file.path() == path).unwrap().problem();
        assert!(problem.unwrap().contains(path.to_str().unwrap()), "{report}");
        bytes[300] ^= 1;
        storage.create(path).unwrap().append(&bytes).unwrap();
        storage.rename(path, Path::new("/elsewhere")).unwrap();
        let report = inspect("/state", Arc::clone(&storage), false).unwrap();
        assert!(report.to_string().contains("PROBLEM it is missing"), "{report}");
        storage.rename(Path::new("/elsewhere"), path).unwrap();
    }
    assert!(inspect("/state", storage, true).unwrap().is_sound());
}
