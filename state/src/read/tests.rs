use std::sync::Arc;

use thalweg_io::storage::{FaultProfile, FaultStorage};

use super::SortedReader;
use crate::backend::{Epoch, MemoryTier, RowAddress};
use crate::codec::{Record, RecordKind, RowPrefix, TableId};
use crate::delta::DeltaCache;
use crate::manifest::{LEVEL_MAX, Version};
use crate::merge::Keep;
use crate::merge::model::{
    DeltaShape, ModelRow, ModelSource, address_of, model_rows, play, random_delta,
};
use crate::snapshot::StoreFiles;
use crate::sst::test_runs::{files_in, memory_files, write_delta, write_run};
use crate::sst::{RunOrigin, RunWriter, SortedFile};
use crate::test_random::SplitMix64;
use crate::{KeyGroup, KeyGroupRange, KeyHash};

const TABLE: TableId = TableId(3);
const ALL: KeyGroupRange = KeyGroupRange { start: 0, end: 4 };
const KEEP_ALL: Keep = Keep { now_ms: i64::MIN, removals: true };

struct Store {
    version: Version,
    reader: SortedReader,
    deltas: DeltaCache,
    model: MemoryTier,
}

/// Up to three epochs as deltas, the older ones each as a level.
fn random_store(random: &mut SplitMix64, shape: DeltaShape) -> Store {
    let files = memory_files();
    let mut version = Version::default();
    let mut model = MemoryTier::new();
    let (levels, deltas) = (random.below(7), random.below(4));
    for epoch in 1..=levels + deltas {
        let delta = random_delta(random, shape);
        play(&mut model, TABLE, Epoch(epoch), &delta);
        if epoch <= levels {
            let level = LEVEL_MAX + 1 - epoch as u8;
            let source = ModelSource::of_delta(TABLE, &delta);
            let run = write_run(&files, level, vec![source], KEEP_ALL, 1 << random.below(20));
            run.into_iter().for_each(|meta| version.try_insert(meta).unwrap());
        } else {
            let meta = write_delta(&files, Epoch(epoch), ALL, &[(TABLE, delta)]);
            version.try_insert(Arc::new(meta)).unwrap();
        }
    }
    let cache_bytes = [0, 20_000, 1 << 24][random.below(3) as usize];
    Store {
        version,
        reader: SortedReader::new(files.clone(), cache_bytes),
        deltas: DeltaCache::new(files, 1 << 20),
        model,
    }
}

impl Store {
    /// Rows by their numbers; one without live records is left out.
    fn read(&mut self, numbers: &[u64], groups: u16, now_ms: i64) -> Vec<(usize, ModelRow)> {
        let keys: Vec<_> = numbers.iter().map(|number| address_of(*number, groups)).collect();
        let address =
            |(group, hash, key): &'_ (KeyGroup, KeyHash, Vec<u8>)| (*group, *hash, key.clone());
        let owned: Vec<_> = keys.iter().map(address).collect();
        let rows: Vec<RowAddress<'_>> = (owned.iter())
            .map(|(group, hash, key)| RowAddress { group: *group, hash: *hash, key })
            .collect();
        self.deltas.load(&self.version, TABLE, &rows).unwrap();
        let mut found: Vec<(usize, ModelRow)> = Vec::new();
        let visit = &mut |row: usize, record: &Record<'_>| {
            if found.last().is_none_or(|(last, _)| *last != row) {
                let (group, hash, key) = owned[row].clone();
                found.push((row, (RowPrefix::new(TABLE, group, hash), key, Vec::new())));
            }
            let (sub, value) = (record.sub.to_vec(), record.value.to_vec());
            found.last_mut().unwrap().1.2.push((record.state, sub, record.expires_at_ms, value));
            Ok(())
        };
        let Store { version, reader, deltas, .. } = self;
        reader.read_rows(version, deltas, TABLE, &rows, now_ms, visit).unwrap();
        found
    }

    fn scan(&mut self, groups: KeyGroupRange, now_ms: i64) -> Vec<ModelRow> {
        let mut rows: Vec<ModelRow> = Vec::new();
        let visit = &mut |address: RowAddress<'_>, record: &Record<'_>| {
            let prefix = RowPrefix::new(TABLE, address.group, address.hash);
            if rows.last().is_none_or(|last| (last.0, &*last.1) != (prefix, address.key)) {
                rows.push((prefix, address.key.to_vec(), Vec::new()));
            }
            let (sub, value) = (record.sub.to_vec(), record.value.to_vec());
            rows.last_mut().unwrap().2.push((record.state, sub, record.expires_at_ms, value));
            Ok(())
        };
        self.reader.scan(&self.version, TABLE, groups, now_ms, visit).unwrap();
        rows
    }
}

#[test]
fn reads_are_what_the_model_has() {
    for seed in 0..60 {
        let mut random = SplitMix64::new(seed);
        let value_bytes_max = [4, 60, 6_000][random.below(3) as usize];
        let keys = 20 + random.below(200);
        let shape = DeltaShape { value_bytes_max, keys, rows: 120, ..DeltaShape::SMALL };
        let mut store = random_store(&mut random, shape);
        let now_ms = random.below(100) as i64;
        let all = model_rows(&mut store.model, TABLE, ALL, now_ms);
        assert_eq!(store.scan(ALL, now_ms), all, "seed {seed}");
        let start = random.below(5) as u16;
        let part = KeyGroupRange { start, end: start + random.below(5 - start as u64) as u16 };
        let expected = model_rows(&mut store.model, TABLE, part, now_ms);
        assert_eq!(store.scan(part, now_ms), expected, "seed {seed} {part:?}");
        for _ in 0..4 {
            // Some twice, some never written, in any order.
            let numbers: Vec<u64> =
                (0..random.below(300)).map(|_| random.below(keys + 20)).collect();
            let expected: Vec<(usize, ModelRow)> = (numbers.iter().enumerate())
                .filter_map(|(row, number)| {
                    let (group, hash, key) = address_of(*number, shape.groups);
                    let prefix = RowPrefix::new(TABLE, group, hash);
                    let found = all.iter().find(|row| (row.0, &row.1) == (prefix, &key));
                    found.map(|found| (row, found.clone()))
                })
                .collect();
            assert_eq!(store.read(&numbers, shape.groups, now_ms), expected, "seed {seed}");
        }
        for (prefix, ..) in &all {
            let (group, hash) = (prefix.group(), prefix.hash());
            let held = store.reader.may_hold(&store.version, TABLE, group, hash)
                || store.deltas.may_hold(&store.version, TABLE, group, hash);
            assert!(held, "seed {seed}");
        }
    }
}

/// Three files of one row each, a level a file, the newest of which says `newest`.
fn three_levels(newest: Record<'_>) -> Store {
    three_levels_in(memory_files(), newest)
}

fn three_levels_in(files: StoreFiles, newest: Record<'_>) -> Store {
    let mut version = Version::default();
    for (level, record) in [(1, newest), (2, Record::put(0, b"2")), (3, Record::put(1, b"3"))] {
        let origin = RunOrigin { level, first_epoch: Epoch(1), last_epoch: Epoch(1) };
        let mut writer = RunWriter::new(files.clone(), origin, 1 << 20);
        for number in 0..2_000 {
            let (_, _, key) = address_of(8, 4);
            let prefix = RowPrefix::new(TABLE, KeyGroup(0), KeyHash::from_u32(number));
            writer.begin_row(prefix, &key).unwrap();
            writer.record(record).unwrap();
            writer.end_row().unwrap();
        }
        for meta in writer.finish().unwrap() {
            version.try_insert(Arc::new(meta)).unwrap();
        }
    }
    let reader = SortedReader::new(files.clone(), 1 << 20);
    Store { version, reader, deltas: DeltaCache::new(files, 0), model: MemoryTier::new() }
}

fn read_number(store: &mut Store, hashes: &[u32]) -> usize {
    let (_, _, key) = address_of(8, 4);
    let rows: Vec<_> = (hashes.iter())
        .map(|hash| RowAddress { group: KeyGroup(0), hash: KeyHash::from_u32(*hash), key: &key })
        .collect();
    let mut records = 0;
    let visit = &mut |_: usize, _: &Record<'_>| {
        records += 1;
        Ok(())
    };
    let Store { version, reader, deltas, .. } = store;
    reader.read_rows(version, deltas, TABLE, &rows, 0, visit).unwrap();
    records
}

#[test]
fn blocks_of_a_batch_are_read_together_and_once() {
    let mut store = three_levels(Record::put(2, b"1"));
    let hashes: Vec<u32> = (1_000..1_010).collect();
    assert_eq!(read_number(&mut store, &hashes), 30);
    let counters = store.reader.counters();
    assert_eq!((counters.rounds_read, counters.blocks_read, counters.cache_hits), (1, 3, 0));
    assert_eq!(read_number(&mut store, &hashes), 30);
    let counters = store.reader.counters();
    assert_eq!((counters.rounds_read, counters.blocks_read, counters.cache_hits), (1, 3, 30));
    let absent = KeyHash::from_u32(2_000);
    assert!(!store.reader.may_hold(&store.version, TABLE, KeyGroup(0), absent));
}

/// Every byte of a block that is needed, and none of the others.
#[test]
fn damage_is_an_error_of_the_rows_it_concerns() {
    let storage = Arc::new(FaultStorage::new(5, FaultProfile::none()));
    let files = files_in(Arc::clone(&storage) as Arc<_>);
    let mut store = three_levels_in(files.clone(), Record::put(2, b"1"));
    let meta = Arc::clone(&store.version.levels[1][0]);
    let path = files.sorted_path(meta.id());
    let block = SortedFile::open(&files, &meta).unwrap().address(0);
    for at in (0..u64::from(block.length_bytes)).step_by(7) {
        storage.damage(&path, block.offset + at, 1 << (at % 8)).unwrap();
        store.reader = SortedReader::new(files.clone(), 1 << 20);
        assert_eq!(read_number(&mut store, &[1_000]), 3, "in another block");
        let mut other = Vec::new();
        let row = [RowAddress {
            group: KeyGroup(0),
            hash: KeyHash::from_u32(5),
            key: &address_of(8, 4).2,
        }];
        let visit = &mut |_: usize, record: &Record<'_>| {
            other.push(record.state);
            Ok(())
        };
        let Store { version, reader, deltas, .. } = &mut store;
        let error = reader.read_rows(version, deltas, TABLE, &row, 0, visit).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(path.to_str().unwrap()), "byte {at}: {text}");
        assert!(text.contains(&format!("byte {}", block.offset)), "byte {at}: {text}");
        assert!(other.is_empty(), "nothing of a row is given before all of it is known");
        storage.damage(&path, block.offset + at, 1 << (at % 8)).unwrap();
    }
    assert_eq!(read_number(&mut store, &[5]), 3);
}

#[test]
fn a_removed_row_is_not_sought_below() {
    let mut store = three_levels(Record::remove(RecordKind::RemoveRow, 0, &[]));
    let hashes: Vec<u32> = (1_000..1_010).collect();
    assert_eq!(read_number(&mut store, &hashes), 0);
    let before = store.reader.counters();
    assert_eq!(read_number(&mut store, &hashes), 0);
    let counters = store.reader.counters();
    let looked_at =
        |counters: super::sorted_reader::ReadCounters| counters.cache_hits + counters.blocks_read;
    assert_eq!(looked_at(counters) - looked_at(before), 10, "one level a row");
}

#[test]
fn files_that_are_gone_are_closed() {
    let mut store = three_levels(Record::put(2, b"1"));
    read_number(&mut store, &[5, 1_999]);
    let before = store.reader.memory_bytes();
    store.version.levels[0].clear();
    store.reader.retain(&store.version);
    assert!(store.reader.memory_bytes() < before * 3 / 4);
    assert_eq!(read_number(&mut store, &[5, 1_999]), 4);
    store.version.levels.clear();
    store.reader.retain(&store.version);
    assert_eq!((store.reader.memory_bytes(), read_number(&mut store, &[5])), (0, 0));
}

/// A long row, and one whose long neighbour has the same hash.
#[test]
fn long_rows_are_found_and_streamed() {
    let files = memory_files();
    let origin = RunOrigin { level: 6, first_epoch: Epoch(1), last_epoch: Epoch(1) };
    let mut writer = RunWriter::new(files.clone(), origin, 1 << 20);
    let prefix = RowPrefix::new(TABLE, KeyGroup(0), KeyHash::from_u32(7));
    for key in [b"a", b"b", b"c"] {
        writer.begin_row(prefix, key).unwrap();
        for entry in 0..if key == b"b" { 20_000_u32 } else { 1 } {
            let sub = entry.to_be_bytes();
            writer.record(Record { sub: &sub, ..Record::put(0, key) }).unwrap();
        }
        writer.end_row().unwrap();
    }
    let mut version = Version::default();
    writer
        .finish()
        .unwrap()
        .into_iter()
        .for_each(|meta| version.try_insert(Arc::new(meta)).unwrap());
    let mut reader = SortedReader::new(files.clone(), 1 << 20);
    let deltas = DeltaCache::new(files, 0);
    let keys = [&b"c"[..], b"", b"b", b"bb", b"a", b"d", b"b"];
    let rows = keys.map(|key| RowAddress { group: KeyGroup(0), hash: KeyHash::from_u32(7), key });
    let mut counts = [0; 7];
    let visit = &mut |row: usize, record: &Record<'_>| {
        assert_eq!(record.value, keys[row]);
        let expected = u32::to_be_bytes(counts[row]);
        assert_eq!(record.sub, expected);
        counts[row] += 1;
        Ok(())
    };
    reader.read_rows(&version, &deltas, TABLE, &rows, 0, visit).unwrap();
    assert_eq!(counts, [1, 0, 20_000, 0, 1, 0, 20_000]);
}
