use std::path::Path;
use std::sync::Arc;

use thalweg_io::block::FileId;
use thalweg_io::storage::{MemoryStorage, Storage};

use super::*;
use crate::backend::{DeltaBlock, Epoch, RowAddress};
use crate::codec::{Record, RowPrefix, RowWriter};
use crate::manifest::{FileMeta, Version};
use crate::snapshot::StoreFiles;
use crate::{KeyGroup, KeyHash};

const GROUPS: KeyGroupRange = KeyGroupRange { start: 8, end: 24 };

fn files() -> StoreFiles {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    storage.create_dir_all(Path::new("/files")).unwrap();
    StoreFiles::new(storage, Path::new("/files"), FileId(1)).of_store("test")
}

/// Rows of one block: key group, hash, key and value.
type Rows<'r> = &'r [(u16, u32, u8, u8)];

fn block(table: u16, epoch: u64, rows: Rows<'_>) -> DeltaBlock {
    let mut bytes = Vec::new();
    for (group, hash, key, value) in rows {
        let (group, hash) = (KeyGroup(*group), KeyHash::from_u32(*hash));
        let mut row = RowWriter::begin(&mut bytes, group, hash, &[*key]);
        row.write(Record::put(0, &[*value]));
        row.finish();
    }
    let (table, epoch, row_count) = (TableId(table), Epoch(epoch), rows.len() as u32);
    DeltaBlock { table, epoch, partition: 0, row_count, bytes: bytes.into() }
}

fn write(files: &StoreFiles, blocks: &[(KeyGroupRange, DeltaBlock)]) -> FileMeta {
    let id = files.next_id();
    let file = files.storage().create(&files.delta_path(id)).unwrap();
    let mut writer = DeltaWriter::start(files.storage(), file, id, Epoch(7));
    assert_eq!(writer.id(), id);
    blocks.iter().for_each(|(groups, block)| writer.append(block, *groups).unwrap());
    writer.complete(Epoch(6), Epoch(7), GROUPS).unwrap()
}

const LEFT: KeyGroupRange = KeyGroupRange { start: 8, end: 16 };
const RIGHT: KeyGroupRange = KeyGroupRange { start: 16, end: 24 };

/// Two tables; row (9, 5, 1) is written three times, and shares its hash with key 2.
fn sample(files: &StoreFiles) -> FileMeta {
    let blocks = [
        (RIGHT, block(3, 6, &[(20, 1, 1, 1), (17, 9, 1, 2)])),
        (LEFT, block(3, 6, &[(9, 5, 1, 10), (9, 5, 2, 20), (8, 7, 1, 3), (9, 5, 1, 11)])),
        (LEFT, block(1, 6, &[(10, 4, 1, 4)])),
        (LEFT, block(3, 7, &[(9, 5, 1, 12)])),
    ];
    write(files, &blocks)
}

fn found(rows: &DeltaRows) -> Vec<(u16, u32, u8, u8)> {
    let row = |index| {
        let row = rows.row(index);
        let value = row.records().next().unwrap().value[0];
        (row.group.0, row.hash.as_u32(), row.key[0], value)
    };
    (0..rows.len()).map(row).collect()
}

#[test]
fn rows_come_back_sorted_and_in_the_order_written() {
    let files = files();
    let meta = sample(&files);
    assert_eq!((&*meta.tables, meta.row_count), (&[TableId(1), TableId(3)][..], 8));
    let reader = DeltaReader::open(&files, &meta).unwrap();
    reader.verify().unwrap();
    assert_eq!(reader.partitions(TableId(3)).collect::<Vec<_>>(), [LEFT, RIGHT]);
    assert_eq!(reader.partition_of(TableId(3), 16), Some(RIGHT));
    assert_eq!(reader.partition_of(TableId(1), 16), None);
    let rows = reader.load(TableId(3), GROUPS).unwrap();
    let left = [(8, 7, 1, 3), (9, 5, 1, 10), (9, 5, 1, 11), (9, 5, 1, 12), (9, 5, 2, 20)];
    assert_eq!(found(&rows), [&left[..], &[(17, 9, 1, 2), (20, 1, 1, 1)]].concat());
    assert_eq!(found(&reader.load(TableId(3), LEFT).unwrap()), left);
}

#[test]
fn only_visible_groups_are_read() {
    let files = files();
    let meta = sample(&files).clipped(KeyGroupRange { start: 9, end: 18 }).unwrap();
    let rows = DeltaReader::open(&files, &meta).unwrap().load(TableId(3), GROUPS).unwrap();
    assert_eq!(found(&rows).len(), 5);
    assert!(found(&rows).iter().all(|(group, ..)| (9..18).contains(group)));
    assert!(meta.clipped(KeyGroupRange { start: 18, end: 24 }).is_none());
}

#[test]
fn single_rows_are_found_whatever_the_budget() {
    let files = files();
    let (older, newer) = (sample(&files), write(&files, &[(LEFT, block(3, 8, &[(9, 5, 1, 13)]))]));
    let newer = FileMeta { first_epoch: Epoch(8), last_epoch: Epoch(8), ..newer };
    let deltas = [newer, older].map(Arc::new).into();
    let version = Version { deltas, ..Version::default() };
    for budget_bytes in [0, 300, 1 << 20] {
        let mut cache = DeltaCache::new(files.clone(), budget_bytes);
        for _ in 0..2 {
            let prefix = RowPrefix::new(TableId(3), KeyGroup(9), KeyHash::from_u32(5));
            let (group, hash) = (prefix.group(), prefix.hash());
            let asked = RowAddress { group, hash, key: &[1] };
            cache.load(&version, TableId(3), &[asked, asked]).unwrap();
            let mut visited = Vec::new();
            cache.visit(&version, prefix, &mut |delta, row| {
                visited.push((delta, row.key[0], row.records().next().unwrap().value[0]));
            });
            let older = [(1, 1, 10), (1, 2, 20), (1, 1, 11), (1, 1, 12)];
            assert_eq!(visited, [&[(0, 1, 13)][..], &older].concat());
            let may_hold =
                |hash| cache.may_hold(&version, TableId(3), group, KeyHash::from_u32(hash));
            assert!(may_hold(5));
            assert!(budget_bytes == 0 || !may_hold(6), "the indexes are there");
        }
        assert!(budget_bytes < 1 << 20 || cache.counters().blocks_read == 0, "all is cached");
        cache.retain(&Version::default());
        assert_eq!(cache.memory_bytes(), 0);
    }
}

#[test]
fn blocks_that_are_not_what_the_footer_says_are_refused() {
    let files = files();
    let mut lying = block(3, 6, &[(9, 5, 1, 10)]);
    lying.row_count = 2;
    let reader = DeltaReader::open(&files, &write(&files, &[(LEFT, lying)])).unwrap();
    let error = reader.load(TableId(3), LEFT).unwrap_err();
    assert!(error.is_damage() && error.to_string().contains("as many rows"), "{error}");
    let mut cut = block(3, 6, &[(9, 5, 1, 10)]);
    cut.bytes = cut.bytes[..cut.bytes.len() - 1].to_vec().into();
    let reader = DeltaReader::open(&files, &write(&files, &[(LEFT, cut)])).unwrap();
    assert!(reader.load(TableId(3), LEFT).unwrap_err().is_damage());
}
