//! Runs of sorted files in memory, for tests.

use std::path::Path;
use std::sync::Arc;

use thalweg_io::block::FileId;
use thalweg_io::storage::{MemoryStorage, Storage};

use super::{FileSource, PrefixRange, RunOrigin, RunWriter};
use crate::KeyGroupRange;
use crate::backend::{DeltaBlock, Epoch, PartitionLayout};
use crate::codec::{TableId, decode_row};
use crate::delta::DeltaWriter;
use crate::manifest::FileMeta;
use crate::merge::{Keep, RowMerge, RowSource};
use crate::snapshot::StoreFiles;

/// A directory of its own.
pub(crate) fn memory_files() -> StoreFiles {
    files_in(Arc::new(MemoryStorage::new()))
}

/// A directory in a storage.
pub(crate) fn files_in(storage: Arc<dyn Storage>) -> StoreFiles {
    storage.create_dir_all(Path::new("files")).unwrap();
    StoreFiles::new(storage, Path::new("files"), FileId(1))
}

/// Writes merged sources as a run of this level.
pub(crate) fn write_run<S: RowSource>(
    files: &StoreFiles,
    level: u8,
    sources: Vec<S>,
    keep: Keep,
    file_bytes: u64,
) -> Vec<Arc<FileMeta>> {
    let origin = RunOrigin { level, first_epoch: Epoch(1), last_epoch: Epoch(9) };
    let mut writer = RunWriter::new(files.clone(), origin, file_bytes);
    let mut merge = RowMerge::new(sources);
    while merge.next_row().unwrap() {
        let (prefix, key) = (merge.prefix().unwrap(), merge.key().to_vec());
        let mut has_begun = false;
        while let Some(record) = merge.next_record(keep).unwrap() {
            if !std::mem::replace(&mut has_begun, true) {
                writer.begin_row(prefix, &key).unwrap();
            }
            writer.record(record).unwrap();
        }
        if has_begun {
            writer.end_row().unwrap();
        }
    }
    writer.finish().unwrap().into_iter().map(Arc::new).collect()
}

/// All rows of a run, or those in a range.
pub(crate) fn source_of(
    files: &StoreFiles,
    run: &[Arc<FileMeta>],
    range: PrefixRange,
) -> FileSource {
    FileSource::new(files, run.iter().cloned(), range).unwrap()
}

/// Writes the rows of an epoch, in the order of their tables' blocks, as a delta.
pub(crate) fn write_delta(
    files: &StoreFiles,
    epoch: Epoch,
    groups: KeyGroupRange,
    blocks: &[(TableId, Vec<u8>)],
) -> FileMeta {
    let id = files.next_id();
    let file = files.storage().create(&files.delta_path(id)).unwrap();
    let mut writer = DeltaWriter::start(files.storage(), file, id, epoch);
    let layout = PartitionLayout::new(groups, groups.end);
    for (table, bytes) in blocks {
        let mut parts = vec![(0, Vec::new()); layout.count()];
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let before = rest;
            let row = decode_row(&mut rest).unwrap();
            let (row_count, part) = &mut parts[layout.partition_of(row.group)];
            *row_count += 1;
            part.extend_from_slice(&before[..before.len() - rest.len()]);
        }
        for (partition, (row_count, bytes)) in parts.into_iter().enumerate() {
            let (table, part) = (*table, partition as u16);
            let block =
                DeltaBlock { table, epoch, partition: part, row_count, bytes: bytes.into() };
            if row_count > 0 {
                writer.append(&block, layout.groups_of(partition)).unwrap();
            }
        }
    }
    writer.complete(epoch, epoch, groups).unwrap()
}
