//! What a directory of stores holds, for people: manifests, files, statistics, and whether every
//! checksum is right.
//!
//! 1. Each manifest is read as a restart would read it: its edits, a torn tail, damage.
//! 2. Each data file is listed with who refers to it and, unless that is left out, read whole:
//!    every block, the footer, the digest that the manifest has, every row.
//! 3. The report is printed, and says whether all was sound.
//!
//! **Invariants**
//! - Nothing is written, and the directory's lock is not taken: a store that is in use can be looked
//!   at, though what its worker replaces meanwhile is then reported as missing.

mod report;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thalweg_io::block::FileId;
use thalweg_io::storage::Storage;

pub use report::{FileReport, Report, StoreReport};

use crate::backend::StoreError;
use crate::delta::DeltaReader;
use crate::manifest::{FileMeta, Recovered, read_manifest};
use crate::snapshot::{DataFile, StoreFiles, data_file, read_openings, store_of_manifest};
use crate::sst::SortedFile;

/// Looks at a directory of stores; reads all of their files if `verify` is set.
///
/// # Errors
///
/// If the directory cannot be listed. What is wrong with files is in the report.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use thalweg_io::storage::MemoryStorage;
/// use thalweg_state::{KeyGroupRange, LsmOptions, LsmStore, inspect};
///
/// # fn main() -> Result<(), thalweg_state::StoreError> {
/// let storage = Arc::new(MemoryStorage::new());
/// let options = LsmOptions::new(KeyGroupRange { start: 0, end: 128 }, 128);
/// drop(LsmStore::create("/state", options, storage.clone(), None)?);
/// let report = inspect("/state", storage, true)?;
/// assert!(report.is_sound());
/// assert!(report.to_string().contains("store 'slot'"));
/// # Ok(())
/// # }
/// ```
pub fn inspect(
    directory: impl AsRef<Path>,
    storage: Arc<dyn Storage>,
    verify: bool,
) -> Result<Report, StoreError> {
    let directory = directory.as_ref();
    let failed = |error| StoreError::io("", error);
    let openings = read_openings(&*storage, &directory.join("ROOT"));
    let mut stores = Vec::new();
    let mut files = BTreeMap::new();
    for path in storage.list(&directory.join("files")).map_err(failed)? {
        if let Some(file) = data_file(&path) {
            let length_bytes = storage.metadata(&path).ok().map(|metadata| metadata.length_bytes);
            files.insert(file.id, FileReport::found(path, file, length_bytes));
        }
    }
    for path in storage.list(&directory.join("manifests")).map_err(failed)? {
        let Some(store) = store_of_manifest(&path) else { continue };
        let recovered = read_manifest(&*storage, &path, &store);
        if let Ok(recovered) = &recovered {
            add_references(&mut files, &store, recovered);
        }
        stores.push(StoreReport::new(path, store, recovered));
    }
    if verify {
        let directory = directory.join("files");
        let files_of = StoreFiles::new(storage, &directory, FileId(0));
        files.values_mut().for_each(|file| file.verify(&files_of));
    }
    let openings = openings.map_err(|error| error.to_string());
    let files = files.into_values().collect();
    Ok(Report { directory: directory.to_path_buf(), openings, stores, files })
}

/// Notes who refers to which file, and files that are missing.
fn add_references(files: &mut BTreeMap<FileId, FileReport>, store: &str, recovered: &Recovered) {
    let contents = &recovered.contents;
    let versions = contents.checkpoints.values().map(|checkpoint| &checkpoint.version);
    for file in versions.chain([&contents.live]).flat_map(|version| version.files()) {
        let missing = || FileReport::found(PathBuf::new(), file.data_file(), None);
        files.entry(file.id()).or_insert_with(missing).refer(store, file);
    }
}

/// Reads everything of a file that a manifest describes.
pub(crate) fn verify_file(files: &StoreFiles, meta: &FileMeta) -> Result<(), StoreError> {
    match meta.data_file() {
        DataFile { is_delta: true, .. } => DeltaReader::open(files, meta)?.verify(),
        DataFile { is_delta: false, .. } => SortedFile::open(files, meta)?.verify(),
    }
}

#[cfg(test)]
mod tests;
