use std::path::Path;
use std::sync::Arc;

use thalweg_io::block::{BlockOwner, FileId};
use thalweg_io::checkpoint_file::FileSeal;
use thalweg_io::storage::{ArmedFault, FaultKind, FaultProfile, FaultStorage};

use super::choice::{Choice, Merge, choose, choose_sort};
use super::{CompactionJob, CompactionOptions, JobProgress};
use crate::backend::{Epoch, MemoryTier, RowAddress};
use crate::codec::{Record, RowPrefix, RowWriter, TableId};
use crate::manifest::{FileMeta, LEVEL_MAX, Version};
use crate::merge::model::{DeltaShape, ModelRow, model_rows, play, random_delta};
use crate::read::SortedReader;
use crate::snapshot::StoreFiles;
use crate::sst::test_runs::{files_in, memory_files, write_delta};
use crate::test_random::SplitMix64;
use crate::{KeyGroup, KeyGroupRange, KeyHash, key_group_of};

const TABLES: [TableId; 2] = [TableId(3), TableId(9)];

const SMALL: CompactionOptions = CompactionOptions::SMALL;

pub(crate) struct Store {
    pub(crate) files: StoreFiles,
    pub(crate) version: Arc<Version>,
    model: MemoryTier,
    epoch: u64,
    now_ms: i64,
    groups: KeyGroupRange,
}

impl Store {
    pub(crate) fn new(groups: u16) -> Self {
        Store::of(memory_files(), groups)
    }

    fn of(files: StoreFiles, groups: u16) -> Self {
        Store {
            files,
            version: Arc::default(),
            model: MemoryTier::new(),
            epoch: 0,
            now_ms: 0,
            groups: KeyGroupRange { start: 0, end: groups },
        }
    }

    pub(crate) fn add_epoch(&mut self, blocks: &[(TableId, Vec<u8>)]) {
        self.epoch += 1;
        let epoch = Epoch(self.epoch);
        for (table, bytes) in blocks {
            play(&mut self.model, *table, epoch, bytes);
        }
        let mut version = Version::clone(&self.version);
        let delta = write_delta(&self.files, epoch, self.groups, blocks);
        version.try_insert(Arc::new(delta)).unwrap();
        self.version = Arc::new(version);
    }

    fn job(&self, options: &CompactionOptions) -> Option<CompactionJob> {
        let choice = match choose_sort(&self.version, options, u8::MAX) {
            Choice::Rest => choose(&self.version, options, self.now_ms),
            sort => sort,
        };
        CompactionJob::new(Arc::clone(&self.version), choice, self.files.clone(), self.now_ms)
    }

    /// Compacts until nothing is left to do; the most bytes that files had meanwhile.
    fn settle(&mut self, options: &CompactionOptions) -> u64 {
        let mut bytes_max = self.version.length_bytes();
        for _ in 0..1_000 {
            let Some(mut job) = self.job(options) else { return bytes_max };
            let change = loop {
                if let JobProgress::Done(change) = job.beat(100_000).unwrap() {
                    break change;
                }
            };
            let added: u64 = change.added.iter().map(FileMeta::length_bytes).sum();
            bytes_max = bytes_max.max(self.version.length_bytes() + added);
            self.apply(&change);
        }
        panic!("compaction comes to no end");
    }

    pub(crate) fn apply(&mut self, change: &crate::manifest::VersionChange) {
        let next = self.version.with(change);
        for file in self.version.files() {
            let is_gone = next.files().all(|other| other.id() != file.id());
            if is_gone && file.is_delta() {
                self.files.storage().remove(&self.files.delta_path(file.id())).unwrap();
            } else if is_gone {
                self.files.storage().remove(&self.files.sorted_path(file.id())).unwrap();
            }
        }
        self.version = Arc::new(next);
        for level in &self.version.levels {
            assert!(level.is_sorted_by(|file, next| file.largest < next.smallest));
        }
    }

    fn scan(&self, table: TableId) -> Vec<ModelRow> {
        let mut rows: Vec<ModelRow> = Vec::new();
        let visit = &mut |address: RowAddress<'_>, record: &Record<'_>| {
            let prefix = RowPrefix::new(table, address.group, address.hash);
            if rows.last().is_none_or(|last| (last.0, &*last.1) != (prefix, address.key)) {
                rows.push((prefix, address.key.to_vec(), Vec::new()));
            }
            let (sub, value) = (record.sub.to_vec(), record.value.to_vec());
            rows.last_mut().unwrap().2.push((record.state, sub, record.expires_at_ms, value));
            Ok(())
        };
        let mut reader = SortedReader::new(self.files.clone(), 0);
        reader.scan(&self.version, table, self.groups, self.now_ms, visit).unwrap();
        rows
    }

    pub(crate) fn check(&mut self, what: &str) {
        for table in TABLES {
            let expected = model_rows(&mut self.model, table, self.groups, self.now_ms);
            assert!(self.scan(table) == expected, "{what}: table {table:?}");
        }
    }

    fn file_names(&self) -> usize {
        self.files.storage().list(Path::new("files")).unwrap().len()
    }
}

pub(crate) fn random_blocks(random: &mut SplitMix64, shape: DeltaShape) -> Vec<(TableId, Vec<u8>)> {
    let mut blocks = Vec::new();
    for table in TABLES {
        if random.below(4) > 0 {
            blocks.push((table, random_delta(random, shape)));
        }
    }
    if blocks.is_empty() {
        blocks.push((TABLES[0], random_delta(random, shape)));
    }
    blocks
}

/// Epochs, time that passes, compactions, given up ones, and epochs in the midst of them.
#[test]
fn compactions_change_nothing_that_is_read() {
    let mut levels_used = [0; LEVEL_MAX as usize];
    for seed in 0..12 {
        let mut random = SplitMix64::new(seed);
        let mut store = Store::new(4);
        let shape = DeltaShape { keys: 400, rows: 60, ..DeltaShape::SMALL };
        let options = CompactionOptions { sorts_deltas: seed % 2 == 1, ..SMALL };
        for step in 0..40 {
            store.now_ms += random.below(5) as i64;
            let blocks = random_blocks(&mut random, shape);
            store.add_epoch(&blocks);
            let Some(mut job) = store.job(&options) else { continue };
            let gives_up = random.below(5) == 0;
            loop {
                match job.beat(random.below(2_000) as usize).unwrap() {
                    JobProgress::Done(change) => {
                        store.apply(&change);
                        break;
                    }
                    JobProgress::Working if gives_up && random.below(4) == 0 => {
                        job.abort().unwrap();
                        break;
                    }
                    JobProgress::Working if random.below(20) == 0 => {
                        let blocks = random_blocks(&mut random, shape);
                        store.add_epoch(&blocks);
                    }
                    JobProgress::Working => {}
                }
            }
            store.check(&format!("seed {seed} step {step}"));
            assert_eq!(store.file_names(), store.version.files().count(), "seed {seed}");
        }
        for (used, level) in levels_used.iter_mut().zip(&store.version.levels) {
            *used += usize::from(!level.is_empty());
        }
        store.settle(&options);
        store.check(&format!("seed {seed} settled"));
    }
    assert!(levels_used.iter().filter(|used| **used > 0).count() > 3, "{levels_used:?}");
}

/// Whatever operation fails, and whenever: the job says so, leaves no file behind, and another one
/// does what it could not.
#[test]
fn a_failed_job_leaves_nothing_behind() {
    for kind in [FaultKind::Read, FaultKind::Append, FaultKind::Sync, FaultKind::NameChange] {
        let mut failures = 0;
        for let_through in 0..12 {
            let storage = Arc::new(FaultStorage::new(5, FaultProfile::none()));
            let mut store = Store::of(files_in(Arc::clone(&storage) as Arc<_>), 4);
            let mut random = SplitMix64::new(9);
            for _ in 0..3 {
                let blocks =
                    random_blocks(&mut random, DeltaShape { rows: 200, ..DeltaShape::SMALL });
                store.add_epoch(&blocks);
            }
            let before = store.file_names();
            let part = if kind == FaultKind::Read { "" } else { ".sst" };
            storage.arm(ArmedFault::next(kind).of(part).after(let_through));
            let mut job = store.job(&SMALL).unwrap();
            let outcome = loop {
                match job.beat(500) {
                    Ok(JobProgress::Working) => {}
                    Ok(JobProgress::Done(change)) => break Ok(change),
                    Err(error) => break Err(error),
                }
            };
            match outcome {
                Ok(change) => store.apply(&change),
                Err(error) => {
                    failures += 1;
                    assert!(error.to_string().contains("files/"), "{error}");
                    job.abort().unwrap();
                    assert_eq!(store.file_names(), before, "{kind:?} {let_through}: {error}");
                    store.check("after a failed job");
                    store.settle(&SMALL);
                }
            }
            store.check(&format!("{kind:?} {let_through}"));
        }
        assert!(failures > 0, "{kind:?}");
    }
}

#[test]
fn a_full_disk_is_an_error_until_there_is_space() {
    let storage = Arc::new(FaultStorage::new(5, FaultProfile::none()));
    let mut store = Store::of(files_in(Arc::clone(&storage) as Arc<_>), 4);
    let mut random = SplitMix64::new(9);
    for _ in 0..3 {
        let shape = DeltaShape { keys: 400, rows: 600, ..DeltaShape::SMALL };
        let blocks = random_blocks(&mut random, shape);
        store.add_epoch(&blocks);
    }
    let before = store.file_names();
    for free_bytes in [0, 100, 3_000, 20_000] {
        storage.set_budget_bytes(Some(storage.used_bytes() + free_bytes));
        let mut job = store.job(&SMALL).unwrap();
        let error = loop {
            match job.beat(1_000) {
                Ok(JobProgress::Working) => {}
                Ok(JobProgress::Done(_)) => panic!("{free_bytes} bytes are too few"),
                Err(error) => break error,
            }
        };
        assert!(error.is_no_space(), "{error}");
        job.abort().unwrap();
        assert_eq!(store.file_names(), before);
    }
    store.check("while the disk is full");
    storage.set_budget_bytes(None);
    store.settle(&SMALL);
    store.check("when there is space");
}

#[test]
fn what_is_removed_or_expired_leaves_nothing() {
    let mut random = SplitMix64::new(1);
    let mut store = Store::new(4);
    let shape = DeltaShape { keys: 400, rows: 300, ..DeltaShape::SMALL };
    for _ in 0..4 {
        let blocks = random_blocks(&mut random, shape);
        store.add_epoch(&blocks);
        store.settle(&SMALL);
    }
    for table in TABLES {
        let mut bytes = Vec::new();
        for (prefix, key, _) in store.scan(table) {
            let mut row = RowWriter::begin(&mut bytes, prefix.group(), prefix.hash(), &key);
            row.write(Record::remove(crate::codec::RecordKind::RemoveRow, 0, &[]));
            row.finish();
        }
        store.add_epoch(&[(table, bytes)]);
    }
    let merge_all = CompactionOptions { delta_count: 1, level_bytes: 1, ..SMALL };
    store.settle(&merge_all);
    store.check("all is removed");
    // Nothing is below, so removals need not be kept; what is left has expired or weighs little.
    let empty = Arc::new(Version { levels: store.version.levels.clone(), ..Version::default() });
    assert!(empty.length_bytes() < 60_000, "{}", empty.length_bytes());
    let mut expiring = Store::new(4);
    let mut bytes = Vec::new();
    for number in 0..1_000_u32 {
        let (group, hash) = (KeyGroup(number as u16 % 4), KeyHash::from_u32(number));
        let mut row = RowWriter::begin(&mut bytes, group, hash, b"key");
        let expires_at_ms = Some(if number < 700 { 50 } else { 1_000 });
        row.write(Record { expires_at_ms, ..Record::put(0, b"value") });
        row.finish();
    }
    expiring.add_epoch(&[(TABLES[0], bytes)]);
    expiring.settle(&merge_all);
    let before = expiring.version.length_bytes();
    expiring.now_ms = 50;
    assert!(expiring.job(&SMALL).is_some(), "more than half has expired");
    expiring.settle(&SMALL);
    expiring.check("700 of 1000 have expired");
    assert!(expiring.version.length_bytes() < before / 2);
    expiring.now_ms = 1_000;
    expiring.settle(&SMALL);
    assert_eq!(expiring.version.files().count(), 0);
}

/// Rewriting a tenth of all rows again and again: levels fill, and space stays bounded.
#[test]
fn space_is_bounded_while_rows_are_rewritten() {
    const KEYS: u64 = 40_000;
    let mut random = SplitMix64::new(7);
    let options = CompactionOptions {
        level_bytes: 30_000,
        level_factor: 6,
        file_bytes_min: 4_000,
        file_bytes_max: 100_000,
        ..CompactionOptions::default()
    };
    let mut store = Store::new(128);
    let delta = |keys: &mut dyn Iterator<Item = u64>, value: u64| {
        let mut bytes = Vec::new();
        for key in keys {
            let hash = KeyHash::of(&key);
            let group = key_group_of(hash, 128);
            let mut row = RowWriter::begin(&mut bytes, group, hash, &key.to_le_bytes());
            row.write(Record::put(0, &value.to_le_bytes()));
            row.finish();
        }
        vec![(TABLES[0], bytes)]
    };
    store.add_epoch(&delta(&mut (0..KEYS), 0));
    store.settle(&options);
    let live_bytes = store.version.length_bytes();
    assert!(live_bytes < KEYS * 28, "{live_bytes}");
    let mut populated_max = 0;
    for value in 1..=40 {
        let share = if value % 20 < 5 { 10 } else { 200 };
        let mut keys = (0..KEYS / share).map(|_| random.below(KEYS));
        store.add_epoch(&delta(&mut keys, value));
        let bytes_max = store.settle(&options);
        assert!(bytes_max * 10 < live_bytes * 25, "epoch {value}: {bytes_max} of {live_bytes}");
        let settled = store.version.length_bytes();
        assert!(settled * 10 < live_bytes * 18, "epoch {value}: {settled} of {live_bytes}");
        let populated = store.version.levels.iter().filter(|level| !level.is_empty()).count();
        populated_max = populated_max.max(populated);
    }
    assert!(populated_max >= 3, "{:?}", store.version.levels);
}

/// A file as a manifest describes it, in prefixes of one table.
fn meta(level: u8, id: u64, prefixes: (u64, u64), kib: u64) -> FileMeta {
    let owner = BlockOwner { file_id: FileId(id), epoch: 1 };
    let seal = FileSeal { owner, block_count: 1, length_bytes: kib << 10, digest: 0 };
    let groups = KeyGroupRange { start: 0, end: 128 };
    FileMeta {
        seal,
        level,
        first_epoch: Epoch(id),
        last_epoch: Epoch(id),
        tables: Box::new([TableId(0)]),
        groups,
        smallest: RowPrefix(prefixes.0),
        largest: RowPrefix(prefixes.1),
        row_count: kib * 40,
        removal_count: 0,
        half_expired_at_ms: i64::MAX,
    }
}

fn version(files: &[FileMeta]) -> Version {
    let mut version = Version::default();
    files.iter().for_each(|file| version.try_insert(Arc::new(file.clone())).unwrap());
    version
}

fn describe(choice: Choice) -> String {
    match choice {
        Choice::Rest => "rest".into(),
        Choice::Move { file, level } => format!("move {} to {level}", file.id()),
        Choice::Merge(Merge { deltas, files, level, .. }) => {
            let ids = |files: &[Arc<FileMeta>]| {
                files.iter().map(|file| file.id().to_string()).collect::<Vec<_>>().join(" ")
            };
            format!("merge [{}] [{}] to {level}", ids(&deltas), ids(&files))
        }
    }
}

fn check_choice(files: &[FileMeta], expected: &str) {
    let options = CompactionOptions::default();
    assert_eq!(describe(choose(&version(files), &options, 0)), expected);
}

#[test]
fn choices() {
    const MIB: u64 = 1 << 10;
    let all = (0, 1 << 40);
    check_choice(&[], "rest");
    check_choice(&[meta(0, 1, all, 100)], "rest");
    // Four deltas, however small; or bytes.
    let small: Vec<_> = (1..=4).map(|id| meta(0, id, all, 1)).collect();
    check_choice(&small, "merge [4 3 2 1] [] to 12");
    check_choice(&[meta(0, 1, all, 250 * MIB)], "merge [1] [] to 12");
    let bottom = meta(12, 1, all, 250 * MIB);
    check_choice(&[bottom.clone(), meta(0, 2, all, 20 * MIB)], "rest");
    // Into the base level, and through it if it is too small.
    let deltas = |kib: u64| (11..=14).map(move |id| meta(0, id, all, kib));
    let with =
        |files: &[FileMeta], kib| files.iter().cloned().chain(deltas(kib)).collect::<Vec<_>>();
    let (base, middle) = (meta(10, 2, all, MIB), meta(11, 3, all, 20 * MIB));
    let files = [bottom.clone(), base.clone(), middle.clone()];
    check_choice(&with(&files, 1), "merge [14 13 12 11] [2] to 10");
    check_choice(&with(&files, 5 * MIB), "merge [14 13 12 11] [2 3] to 11");
    check_choice(&with(&files, 15 * MIB), "merge [14 13 12 11] [2 3 1] to 12");
    let other = FileMeta { tables: Box::new([TableId(1)]), ..base };
    check_choice(&with(&[bottom.clone(), other], 1), "merge [14 13 12 11] [] to 10");
    // The file with the least overlap goes down; without any it is moved.
    let upper: Vec<_> =
        (0..5).map(|n| meta(11, 20 + n, (n * 100, n * 100 + 50), 8 * MIB)).collect();
    let lower = [(0, 180), (190, 370), (371, 1 << 40)];
    let lower = lower
        .into_iter()
        .enumerate()
        .map(|(n, range)| meta(12, 30 + n as u64, range, if n == 1 { 50 } else { 100 } * MIB));
    let files: Vec<_> = upper.iter().cloned().chain(lower).collect();
    check_choice(&files, "merge [] [22 31] to 12");
    let moved: Vec<_> = files.iter().filter(|file| file.id() != FileId(31)).cloned().collect();
    check_choice(&moved, "move 22 to 12");
    let removing: Vec<_> = (moved.iter().cloned())
        .map(|file| FileMeta { removal_count: u64::from(file.id() == FileId(22)), ..file })
        .collect();
    check_choice(&removing, "merge [] [22] to 12");
    // Few bytes that remove much weigh much.
    let removing = FileMeta { removal_count: 2_000_000, ..meta(11, 2, all, MIB) };
    check_choice(&[bottom.clone(), removing], "merge [] [2 1] to 12");
    // Levels above the base are merged with the deltas, or when they are as many as those.
    let young = |level, id| meta(level, id, all, MIB);
    let files = [bottom.clone(), young(7, 2), young(8, 3), young(9, 4)];
    check_choice(&files, "rest");
    check_choice(&[&files[..], &[meta(0, 11, all, 1)]].concat(), "merge [11] [2 3 4] to 10");
    // Time has passed.
    let expired = FileMeta { half_expired_at_ms: 0, ..bottom.clone() };
    check_choice(std::slice::from_ref(&expired), "merge [] [1] to 12");
    let expired = FileMeta { half_expired_at_ms: 0, ..meta(11, 2, (5, 6), 1) };
    check_choice(&[bottom, expired], "merge [] [2 1] to 12");
}

/// Where deltas are sorted as they come: each goes above all that is sorted, and no merge has it.
#[test]
fn choices_where_deltas_are_sorted() {
    const MIB: u64 = 1 << 10;
    let options = CompactionOptions { sorts_deltas: true, ..CompactionOptions::default() };
    let all = (0, 1 << 40);
    let sorting =
        |files: &[FileMeta], limit| describe(choose_sort(&version(files), &options, limit));
    let merging = |files: &[FileMeta]| describe(choose(&version(files), &options, 0));
    let young = |level: u8| meta(level, 20 - u64::from(level), all, MIB);
    let (bottom, delta) = (meta(12, 1, all, 250 * MIB), meta(0, 30, all, MIB));
    let with = |levels: std::ops::Range<u8>| {
        [bottom.clone(), delta.clone()].into_iter().chain(levels.map(young)).collect::<Vec<_>>()
    };
    assert_eq!(sorting(std::slice::from_ref(&delta), u8::MAX), "merge [30] [] to 11");
    assert_eq!(sorting(&with(0..0), u8::MAX), "merge [30] [] to 9");
    assert_eq!(sorting(&with(7..10), u8::MAX), "merge [30] [] to 6");
    assert_eq!(sorting(&with(1..2), u8::MAX), "rest");
    assert_eq!(sorting(std::slice::from_ref(&bottom), u8::MAX), "rest");
    // Not among the levels that a merge has.
    assert_eq!(sorting(&with(7..10), 7), "merge [30] [] to 6");
    assert_eq!(sorting(&with(0..0), 9), "rest");
    assert_eq!(merging(&with(8..10)), "rest");
    assert_eq!(merging(&with(6..10)), "merge [] [14 13 12 11] to 10");
    // Two runs are few, but they leave no level.
    assert_eq!(merging(&with(1..3)), "merge [] [19 18] to 10");
    // However large the bottom is, there are levels for runs.
    let huge = meta(12, 1, all, 1 << 40);
    assert_eq!(sorting(&[huge, delta], u8::MAX), "merge [30] [] to 8");
}
