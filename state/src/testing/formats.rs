//! Readers of each format on bytes alone, for fuzzing: they answer with errors, and never panic.

use std::path::Path;
use std::sync::Arc;

use thalweg_io::block::FileId;
use thalweg_io::checkpoint_file::{CheckpointFileReader, FileSeal};
use thalweg_io::storage::Storage;

use crate::backend::{Epoch, RowAddress};
use crate::codec::{RowPrefix, TableId, decode_row};
use crate::delta::{DELTA_FORMAT, DeltaCache, DeltaReader};
use crate::manifest::{FileMeta, Version, decode_edit, read_manifest};
use crate::read::SortedReader;
use crate::snapshot::StoreFiles;
use crate::sst::{BlockCursor, Passed, SORTED_FORMAT};
use crate::{Key as _, KeyGroupRange, MAX_PARALLELISM_LIMIT, StateError, StoreError, key_group_of};

/// What the readers may cache.
const CACHE_BYTES: usize = 16 << 10;
const ALL_GROUPS: KeyGroupRange = KeyGroupRange { start: 0, end: MAX_PARALLELISM_LIMIT };

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

/// Reads all rows of the sorted file with this id, and some by key, as if its manifest said that it is
/// the right one.
///
/// # Errors
///
/// What is wrong with it.
pub fn read_sorted_file(
    storage: &Arc<dyn Storage>,
    directory: &Path,
    id: u64,
) -> Result<(), StateError> {
    let files = StoreFiles::new(Arc::clone(storage), directory, FileId(0));
    let path = files.sorted_path(FileId(id));
    let found = CheckpointFileReader::open_unsealed(&**storage, path, SORTED_FORMAT);
    let found = found.map_err(|error| StoreError::io("", error))?;
    let Some(meta) = sorted_meta_of(&found).filter(|meta| meta.id() == FileId(id)) else {
        return Ok(());
    };
    let table = meta.tables[0];
    let mut version = Version { levels: vec![Vec::new(); 6], ..Version::default() };
    version.levels[5].push(Arc::new(meta));
    let deltas = DeltaCache::new(files.clone(), 0);
    let mut reader = SortedReader::new(files, CACHE_BYTES);
    let scanned = reader.scan(&version, table, ALL_GROUPS, 0, &mut |_, _| Ok(()));
    let keys: Vec<[u8; 8]> = (0..20_u64).map(u64::to_le_bytes).collect();
    let addresses = keys.iter().map(|key| {
        let hash = u64::from_le_bytes(*key).key_hash();
        RowAddress { group: key_group_of(hash, 16), hash, key }
    });
    let addresses: Vec<RowAddress<'_>> = addresses.collect();
    reader.read_rows(&version, &deltas, table, &addresses, 0, &mut |_, _| Ok(()))?;
    scanned
}

/// What a manifest would say of a sorted file that agrees with its footer.
fn sorted_meta_of(file: &CheckpointFileReader) -> Option<FileMeta> {
    let word =
        |at: usize| Some(u64::from_le_bytes(file.footer().get(at..at + 8)?.try_into().ok()?));
    let (smallest, largest) = (RowPrefix(word(0)?), RowPrefix(word(8)?));
    let tables = Box::from([TableId(word(88)? as u16)]);
    Some(FileMeta { smallest, largest, tables, ..meta_of(file.seal(), 6) })
}

/// Goes over the rows and records of a block of a sorted file, from the first and from one in the
/// middle; how many there are before the end or the damage.
pub fn read_sorted_block(payload: &[u8]) -> usize {
    let middle = (payload.len() as u64) << 32;
    let cursors = [
        BlockCursor::begin(payload),
        BlockCursor::seek(payload, RowPrefix(middle), &[])
            .and_then(|found| found.map_or_else(|| BlockCursor::begin(payload), Ok)),
    ];
    let count_of = |mut cursor: BlockCursor| {
        let mut count = 0;
        loop {
            while cursor.record(payload).is_some() {
                count += 1;
                if cursor.next_record(payload).is_err() {
                    return count;
                }
            }
            if !matches!(cursor.next_row(payload), Ok(Passed::ToRow)) {
                return count;
            }
        }
    };
    cursors.into_iter().flatten().map(count_of).sum()
}

/// What a manifest would say of a file that everything is in.
fn meta_of(seal: FileSeal, level: u8) -> FileMeta {
    FileMeta {
        seal,
        level,
        first_epoch: Epoch(0),
        last_epoch: Epoch(u64::MAX),
        tables: Box::from([]),
        groups: ALL_GROUPS,
        smallest: RowPrefix(0),
        largest: RowPrefix(u64::MAX),
        row_count: 0,
        removal_count: 0,
        half_expired_at_ms: i64::MAX,
    }
}
