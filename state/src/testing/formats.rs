//! Readers of each format on bytes alone, for fuzzing: they answer with errors, and never panic.

use std::path::Path;
use std::sync::Arc;

use thalweg_io::block::FileId;
use thalweg_io::checkpoint_file::{CheckpointFileReader, FileSeal};
use thalweg_io::storage::Storage;

use crate::backend::Epoch;
use crate::codec::{RowPrefix, decode_row};
use crate::delta::{DELTA_FORMAT, DeltaReader};
use crate::manifest::{FileMeta, decode_edit, read_manifest};
use crate::snapshot::StoreFiles;
use crate::{KeyGroupRange, MAX_PARALLELISM_LIMIT, StoreError};

/// Decodes rows as delta blocks have them; how many records there are before the end or the damage.
pub fn read_rows(mut bytes: &[u8]) -> usize {
    let mut record_count = 0;
    while !bytes.is_empty() {
        let Ok(row) = decode_row(&mut bytes) else { break };
        record_count += row.records().count();
    }
    record_count
}

/// Decodes an edit of a manifest; whether it is one.
pub fn read_edit(bytes: &[u8]) -> bool {
    decode_edit(bytes).is_ok()
}

/// Reads a manifest and makes the store's versions of it; how many edits it has.
///
/// # Errors
///
/// What is wrong with it.
pub fn read_manifest_file(storage: &dyn Storage, path: &Path) -> Result<u64, StoreError> {
    let recovered = read_manifest(storage, path, "slot")?;
    recovered.damage.map_or(Ok(recovered.edit_count), Err)
}

/// Reads all of the delta with this id, as if its manifest said that it is the right one.
///
/// # Errors
///
/// What is wrong with it.
pub fn read_delta_file(
    storage: &Arc<dyn Storage>,
    directory: &Path,
    id: u64,
) -> Result<(), StoreError> {
    let files = StoreFiles::new(Arc::clone(storage), directory, FileId(0));
    let path = files.delta_path(FileId(id));
    let found = CheckpointFileReader::open_unsealed(&**storage, path, DELTA_FORMAT);
    let seal = found.map_err(|error| StoreError::io("", error))?.seal();
    if seal.owner.file_id != FileId(id) {
        return Ok(());
    }
    DeltaReader::open(&files, &meta_of(seal, 0))?.verify()
}

/// What a manifest would say of a file that everything is in.
fn meta_of(seal: FileSeal, level: u8) -> FileMeta {
    FileMeta {
        seal,
        level,
        first_epoch: Epoch(0),
        last_epoch: Epoch(u64::MAX),
        tables: Box::from([]),
        groups: KeyGroupRange { start: 0, end: MAX_PARALLELISM_LIMIT },
        smallest: RowPrefix(0),
        largest: RowPrefix(u64::MAX),
        row_count: 0,
        removal_count: 0,
        half_expired_at_ms: i64::MAX,
    }
}
