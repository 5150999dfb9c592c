use std::path::Path;
use std::sync::Arc;

use thalweg_io::storage::{MemoryStorage, Storage};

use super::test_runs::{memory_files, source_of, write_run};
use super::{FileSource, PrefixRange, RunOrigin, RunWriter, SortedFile};
use crate::backend::{Epoch, MemoryTier, StoreError};
use crate::codec::{Record, RecordKind, RowPrefix, TableId};
use crate::manifest::FileMeta;
use crate::merge::model::{
    DeltaShape, ModelRow, ModelSource, merged_rows, model_rows, play, random_delta,
};
use crate::merge::{Keep, RowMerge, RowSource};
use crate::snapshot::StoreFiles;
use crate::test_random::SplitMix64;
use crate::{KeyGroup, KeyGroupRange, KeyHash, key_group_of};

const TABLE: TableId = TableId(3);
const ALL: KeyGroupRange = KeyGroupRange { start: 0, end: 4 };
const KEEP_ALL: Keep = Keep { now_ms: i64::MIN, removals: true };

/// Runs of random deltas, the newest first, and the model after them.
fn runs(files: &StoreFiles, seed: u64) -> (Vec<Vec<Arc<FileMeta>>>, MemoryTier) {
    let mut random = SplitMix64::new(seed);
    let mut tier = MemoryTier::new();
    let mut runs = Vec::new();
    for epoch in 1..=1 + random.below(4) {
        let value_bytes_max = [4, 40, 5_000][random.below(3) as usize];
        let shape = DeltaShape { value_bytes_max, keys: 200, rows: 150, ..DeltaShape::SMALL };
        let delta = random_delta(&mut random, shape);
        play(&mut tier, TABLE, Epoch(epoch), &delta);
        let source = ModelSource::of_delta(TABLE, &delta);
        let file_bytes = [1, 1 << 12, 1 << 20][random.below(3) as usize];
        runs.insert(0, write_run(files, 1, vec![source], KEEP_ALL, file_bytes));
    }
    (runs, tier)
}

fn read(
    files: &StoreFiles,
    runs: &[Vec<Arc<FileMeta>>],
    groups: KeyGroupRange,
    now_ms: i64,
) -> Vec<ModelRow> {
    let Some(range) = PrefixRange::of_groups(TABLE, groups) else { return Vec::new() };
    let sources = runs.iter().map(|run| source_of(files, run, range)).collect();
    merged_rows(&mut RowMerge::new(sources), now_ms)
}

#[test]
fn runs_of_files_are_what_the_model_has() {
    for seed in 0..80 {
        let files = memory_files();
        let (runs, mut tier) = runs(&files, seed);
        let mut random = SplitMix64::new(!seed);
        for now_ms in [i64::MIN, 50] {
            assert_eq!(read(&files, &runs, ALL, now_ms), model_rows(&mut tier, TABLE, ALL, now_ms));
            let start = random.below(5) as u16;
            let groups =
                KeyGroupRange { start, end: start + random.below(5 - start as u64) as u16 };
            let expected = model_rows(&mut tier, TABLE, groups, now_ms);
            assert_eq!(read(&files, &runs, groups, now_ms), expected, "seed {seed} {groups:?}");
        }
        for run in &runs {
            assert!(run.is_sorted_by(|file, next| file.largest < next.smallest));
            run.iter().for_each(|meta| check_meta(&files, meta));
        }
    }
}

fn check_meta(files: &StoreFiles, meta: &Arc<FileMeta>) {
    let file = SortedFile::open(files, meta).unwrap();
    let footer = file.footer();
    let mut source = source_of(files, std::slice::from_ref(meta), PrefixRange::ALL);
    assert_eq!(source.prefix(), Some(meta.smallest));
    let (mut rows, mut last) = (0, None);
    while let Some(prefix) = source.prefix() {
        assert!(file.may_hold(prefix));
        assert!(meta.groups.contains(prefix.group()));
        (rows, last) = (rows + 1, Some(prefix));
        source.next_row().unwrap();
    }
    assert_eq!((rows, last), (footer.row_count, Some(meta.largest)));
    assert_eq!(*meta.tables, [TABLE]);
    file.verify().unwrap();
}

/// A part of a file is visible after rescaling.
#[test]
fn clipped_files_show_their_key_groups_alone() {
    for seed in 0..30 {
        let files = memory_files();
        let (runs, mut tier) = runs(&files, seed);
        for (start, end) in [(0, 1), (1, 3), (2, 4), (0, 4)] {
            let groups = KeyGroupRange { start, end };
            let clip = |meta: &Arc<FileMeta>| meta.clipped(groups).map(Arc::new);
            let clipped: Vec<Vec<_>> =
                runs.iter().map(|run| run.iter().filter_map(clip).collect()).collect();
            let expected = model_rows(&mut tier, TABLE, groups, i64::MIN);
            assert_eq!(read(&files, &clipped, ALL, i64::MIN), expected, "seed {seed} {groups:?}");
        }
    }
}

fn origin(level: u8) -> RunOrigin {
    RunOrigin { level, first_epoch: Epoch(1), last_epoch: Epoch(1) }
}

#[test]
fn a_row_of_many_entries_is_streamed() {
    let files = memory_files();
    let mut writer = RunWriter::new(files.clone(), origin(1), 1 << 20);
    let prefix = |number| RowPrefix::new(TABLE, KeyGroup(1), KeyHash::from_u32(number));
    let small = |writer: &mut RunWriter, number| {
        writer.begin_row(prefix(number), b"key").unwrap();
        writer.record(Record::put(0, b"small")).unwrap();
        writer.end_row().unwrap();
    };
    small(&mut writer, 1);
    writer.begin_row(prefix(2), b"key").unwrap();
    for entry in 0..100_000_u32 {
        let value = [entry as u8; 30];
        writer.record(Record { sub: &entry.to_be_bytes(), ..Record::put(1, &value) }).unwrap();
    }
    writer.end_row().unwrap();
    writer.begin_row(prefix(2), b"next key").unwrap();
    writer.record(Record::put(0, &[7; 3 << 20])).unwrap();
    writer.end_row().unwrap();
    small(&mut writer, 3);
    let run: Vec<_> = writer.finish().unwrap().into_iter().map(Arc::new).collect();
    assert_eq!(run.len(), 2, "cut between prefixes alone");
    let file = SortedFile::open(&files, &run[0]).unwrap();
    assert!((900..1_200).contains(&file.block_count()), "{}", file.block_count());
    let mut source = source_of(&files, &run, PrefixRange::ALL);
    source.next_row().unwrap();
    for entry in 0..100_000_u32 {
        let record = source.record().unwrap();
        assert_eq!((record.sub, record.value), (&entry.to_be_bytes()[..], &[entry as u8; 30][..]));
        source.next_record().unwrap();
    }
    assert!(source.record().is_none());
    source.next_row().unwrap();
    assert_eq!((source.key(), source.record().unwrap().value.len()), (&b"next key"[..], 3 << 20));
    source.next_row().unwrap();
    assert_eq!(source.prefix(), Some(prefix(3)));
    source.next_row().unwrap();
    assert_eq!(source.prefix(), None);
    // From the row behind, and passing the long row from its middle.
    let behind = PrefixRange { first: prefix(3), ..PrefixRange::ALL };
    assert_eq!(source_of(&files, &run, behind).prefix(), Some(prefix(3)));
    let mut source = source_of(&files, &run, PrefixRange { first: prefix(2), ..behind });
    (0..5_000).for_each(|_| source.next_record().unwrap());
    source.next_row().unwrap();
    assert_eq!((source.prefix(), source.key()), (Some(prefix(2)), &b"next key"[..]));
}

#[test]
fn a_number_by_a_number_takes_less_than_26_bytes() {
    const ROWS: u64 = 1_000_000;
    let files = memory_files();
    let mut prefixes: Vec<(RowPrefix, u64)> = (0..ROWS)
        .map(|key| {
            let hash = KeyHash::of(&key);
            (RowPrefix::new(TABLE, key_group_of(hash, 128), hash), key)
        })
        .collect();
    prefixes.sort_unstable();
    let mut writer = RunWriter::new(files, origin(1), 32 << 20);
    for (prefix, key) in prefixes {
        writer.begin_row(prefix, &key.to_be_bytes()).unwrap();
        writer.record(Record::put(0, &key.to_be_bytes())).unwrap();
        writer.end_row().unwrap();
    }
    let bytes: u64 = writer.finish().unwrap().iter().map(FileMeta::length_bytes).sum();
    let bytes_per_row = bytes as f64 / ROWS as f64;
    assert!((24.0..25.9).contains(&bytes_per_row), "{bytes_per_row}");
}

/// A file with rows of all kinds, one of them over several blocks.
fn sample(files: &StoreFiles) -> Arc<FileMeta> {
    let mut writer = RunWriter::new(files.clone(), origin(2), 1 << 20);
    for number in 0..40_u32 {
        let prefix = RowPrefix::new(TABLE, KeyGroup(number as u16 / 16), KeyHash::from_u32(number));
        writer.begin_row(prefix, &number.to_le_bytes()).unwrap();
        match number % 8 {
            3 => writer.record(Record::remove(RecordKind::RemoveRow, 0, &[])).unwrap(),
            5 => writer.record(Record::remove(RecordKind::RemoveEntry, 9, b"gone")).unwrap(),
            _ => {}
        }
        let entries = if number == 20 { 700 } else { 3 };
        for entry in 0..entries {
            let sub = u32::to_be_bytes(entry);
            let expires_at_ms = (number % 2 == 0).then_some(1_000 + i64::from(number));
            let record = Record { sub: &sub, expires_at_ms, ..Record::put(12, b"value") };
            writer.record(record).unwrap();
        }
        writer.end_row().unwrap();
    }
    let metas = writer.finish().unwrap();
    assert_eq!(metas.len(), 1);
    Arc::new(metas[0].clone())
}

fn bytes_of(files: &StoreFiles, meta: &FileMeta) -> Vec<u8> {
    let file = files.storage().open_read(&files.sorted_path(meta.id())).unwrap();
    let mut bytes = vec![0; file.length_bytes().unwrap() as usize];
    file.read_exact_at(0, &mut bytes).unwrap();
    bytes
}

/// The same file with other contents.
fn with_bytes(meta: &FileMeta, bytes: &[u8]) -> StoreFiles {
    let storage = MemoryStorage::new();
    storage.create_dir_all(Path::new("files")).unwrap();
    let files = StoreFiles::new(Arc::new(storage), Path::new("files"), meta.id());
    let mut file = files.storage().create(&files.sorted_path(meta.id())).unwrap();
    file.append(bytes).unwrap();
    files
}

fn read_all(files: &StoreFiles, meta: &Arc<FileMeta>) -> Result<u64, StoreError> {
    SortedFile::open(files, meta)?;
    let mut source = FileSource::new(files, [Arc::clone(meta)], PrefixRange::ALL)?;
    let mut records = 0;
    while source.prefix().is_some() {
        while source.record().is_some() {
            records += 1;
            source.next_record()?;
        }
        source.next_row()?;
    }
    Ok(records)
}

#[test]
fn the_format_is_that_of_the_golden_file() {
    let files = memory_files();
    let meta = sample(&files);
    let golden = include_bytes!("golden/sorted-v1.sst");
    assert!(bytes_of(&files, &meta) == golden, "the format has changed: raise its version");
    let records = read_all(&with_bytes(&meta, golden), &meta).unwrap();
    assert_eq!(records, 39 * 3 + 700 + 10);
    let file = SortedFile::open(&files, &meta).unwrap();
    let footer = file.footer();
    assert_eq!((footer.row_count, footer.record_count, footer.removal_count), (40, 827, 5));
    assert_eq!((footer.half_expired_at_ms, footer.groups().end), (1_020, 3));
}

#[test]
fn every_flipped_byte_is_found() {
    let files = memory_files();
    let meta = sample(&files);
    let bytes = bytes_of(&files, &meta);
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let error = read_all(&with_bytes(&meta, &flipped), &meta).unwrap_err();
        assert!(error.is_damage(), "byte {at}: {error}");
        assert!(error.to_string().contains("0000000000000001.sst"), "{error}");
    }
}

#[test]
fn every_cut_file_is_refused() {
    let files = memory_files();
    let meta = sample(&files);
    let bytes = bytes_of(&files, &meta);
    for length in (0..bytes.len()).step_by(61).chain([bytes.len() - 1]) {
        let error = read_all(&with_bytes(&meta, &bytes[..length]), &meta).unwrap_err();
        assert!(error.is_damage(), "cut to {length}: {error}");
    }
    let mut other = FileMeta::clone(&meta);
    other.seal.digest ^= 1;
    assert!(read_all(&files, &Arc::new(other)).unwrap_err().is_damage());
    let mut other = FileMeta::clone(&meta);
    other.tables = Box::new([TableId(4)]);
    assert!(read_all(&files, &Arc::new(other)).unwrap_err().is_damage());
}
