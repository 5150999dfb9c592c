//! Runs of sorted files in memory, for tests.

use std::path::Path;
use std::sync::Arc;

use thalweg_io::block::FileId;
use thalweg_io::storage::{MemoryStorage, Storage};

use super::{FileSource, PrefixRange, RunOrigin, RunWriter};
use crate::backend::Epoch;
use crate::manifest::FileMeta;
use crate::merge::{Keep, RowMerge, RowSource};
use crate::snapshot::StoreFiles;

/// A directory of its own.
pub(crate) fn memory_files() -> StoreFiles {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
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
