//! Every format that is read, with real bytes that were mutated: errors, never a panic, and no more
//! memory than the input accounts for.
//!
//! Each target runs under plain `cargo test`; `cargo bolero test <name>` fuzzes one for longer.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod durable;
mod fuzzing;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use durable::{DIRECTORY, Driver, options};
use fuzzing::{INPUTS, Seed, fuzz, fuzz_with};
use thalweg_io::block::{self, BlockOwner, BlockScan, FileId};
use thalweg_io::checkpoint_file::{
    CheckpointFileReader, CheckpointFileWriter, FileFormat, LogReader, LogWriter, Naming,
    inspect_header,
};
use thalweg_io::storage::{MemoryStorage, Storage};
use thalweg_state::StateValue;
use thalweg_state::testing::{RawTable, formats};

const FORMAT: FileFormat = FileFormat::new("fuzz", 1);
const OWNER: BlockOwner = BlockOwner { file_id: FileId(7), epoch: 3 };
/// What readers take whatever they read: paths, handles, errors' texts.
const CONSTANT_BYTES: usize = 16 << 10;

/// A storage with these bytes as one file.
fn with_file(path: &Path, bytes: &[u8]) -> Arc<dyn Storage> {
    let storage = MemoryStorage::new();
    storage.create_dir_all(path.parent().unwrap()).unwrap();
    storage.create(path).unwrap().append(bytes).unwrap();
    Arc::new(storage)
}

fn read_file(storage: &dyn Storage, path: &Path) -> Vec<u8> {
    let file = storage.open_read(path).unwrap();
    let mut bytes = vec![0; file.length_bytes().unwrap() as usize];
    file.read_exact_at(0, &mut bytes).unwrap();
    bytes
}

/// A real file as a seed.
fn file_seed(storage: &dyn Storage, path: &Path) -> Seed {
    let file = storage.open_read(path).unwrap();
    let (_, owner) = inspect_header(&*file).unwrap();
    let mut scan = BlockScan::new(&*file, owner, 0, file.length_bytes().unwrap());
    let mut blocks = Vec::new();
    while let Ok(Some(block)) = scan.advance() {
        blocks.push(block.address);
    }
    Seed { bytes: read_file(storage, path), blocks }
}

/// The payloads of a file's blocks of one kind.
fn payloads(storage: &dyn Storage, path: &Path, kind: u8, skipped_bytes: usize) -> Vec<Seed> {
    let file = storage.open_read(path).unwrap();
    let (_, owner) = inspect_header(&*file).unwrap();
    let mut scan = BlockScan::new(&*file, owner, 0, file.length_bytes().unwrap());
    let mut payloads = Vec::new();
    while let Ok(Some(block)) = scan.advance() {
        if block.kind == kind {
            payloads.push(Seed::plain(block.payload[skipped_bytes..].to_vec()));
        }
    }
    payloads
}

/// The files of a store with a few small checkpoints.
fn store() -> (Arc<dyn Storage>, PathBuf, Vec<PathBuf>) {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let mut driver = Driver::create(&storage, options(), 21);
    for id in 1..=4 {
        driver.change(15, 20, 40);
        driver.checkpoint(id).unwrap();
    }
    drop(driver);
    let directory = Path::new(DIRECTORY);
    let deltas = storage.list(&directory.join("files")).unwrap();
    let is_written = |path: &PathBuf| {
        let is_delta = path.extension().is_some_and(|extension| extension == "delta");
        is_delta && storage.metadata(path).unwrap().length_bytes > 0
    };
    let deltas = deltas.into_iter().filter(is_written).collect();
    (storage, directory.join("manifests/slot.manifest"), deltas)
}

#[test]
fn blocks() {
    let mut bytes = Vec::new();
    let mut blocks = Vec::new();
    for length in [0, 10, 100, 3] {
        let offset = bytes.len() as u64;
        blocks.push(block::encode(OWNER, 1, offset, &vec![length; length.into()], &mut bytes));
    }
    let read = |bytes: &Vec<u8>| {
        let _ = block::decode(bytes, 0, OWNER);
        let _ = block::decode_any_owner(bytes, 0);
    };
    fuzz(&[Seed { bytes, blocks }], CONSTANT_BYTES, |bytes| bytes, read);
}

#[test]
fn sealed_files() {
    let path = Path::new("/d/file");
    let storage = with_file(path, &[]);
    let mut writer =
        CheckpointFileWriter::create(&storage, path, FORMAT, OWNER, Naming::Published).unwrap();
    let address = writer.append_block(1, b"first").unwrap();
    writer.append_block(2, &[7; 300]).unwrap();
    let seal = writer.complete(b"footer").unwrap().publish().unwrap();
    let seed = file_seed(&*storage, path);
    let read = |storage: &Arc<dyn Storage>| {
        let mut buffer = Vec::new();
        if let Ok(reader) = CheckpointFileReader::open(&**storage, path, FORMAT, &seal) {
            let _ = reader.read_block(address, &mut buffer);
        }
        if let Ok(reader) = CheckpointFileReader::open_unsealed(&**storage, path, FORMAT) {
            let _ = reader.verify_all();
            let _ = reader.read_block(address, &mut buffer);
        }
    };
    fuzz(&[seed], CONSTANT_BYTES, |bytes| with_file(path, &bytes), read);
}

#[test]
fn logs() {
    let path = Path::new("/d/file");
    let storage = with_file(path, &[]);
    let mut log = LogWriter::create(&storage, path, FORMAT, OWNER, Naming::Published).unwrap();
    log.publish().unwrap();
    for length in [5, 0, 70] {
        log.append(1, &vec![length; length.into()]).unwrap();
        log.sync().unwrap();
    }
    let seed = file_seed(&*storage, path);
    let read = |storage: &Arc<dyn Storage>| {
        let Ok(mut reader) = LogReader::open(&**storage, path, FORMAT) else { return };
        while let Ok(Some(_)) = reader.advance() {}
    };
    fuzz(&[seed], CONSTANT_BYTES, |bytes| with_file(path, &bytes), read);
}

#[test]
fn rows() {
    let (storage, _, deltas) = store();
    let seeds: Vec<Seed> =
        deltas.iter().flat_map(|path| payloads(&*storage, path, 1, 10)).collect();
    fuzz(
        &seeds,
        CONSTANT_BYTES,
        |bytes| bytes,
        |bytes| {
            formats::read_rows(bytes);
        },
    );
}

/// A real file under another name and owner.
fn moved(storage: &dyn Storage, from: &Path, to: &Path, id: u64) -> Arc<dyn Storage> {
    let file = storage.open_read(from).unwrap();
    let (format, owner) = inspect_header(&*file).unwrap();
    let reader = CheckpointFileReader::open_unsealed(storage, from, format).unwrap();
    let copy = with_file(to, &[]);
    let owner = BlockOwner { file_id: FileId(id), ..owner };
    let mut writer =
        CheckpointFileWriter::create(&copy, to, format, owner, Naming::InPlace).unwrap();
    let mut blocks = reader.blocks();
    while let Some(block) = blocks.advance().unwrap() {
        writer.append_block(block.kind, block.payload).unwrap();
    }
    writer.complete(reader.footer()).unwrap().publish().unwrap();
    copy
}

const DIRECTORY_OF_ONE: &str = "/d";
const ID: u64 = 0xabc;

#[test]
fn deltas() {
    let directory = Path::new(DIRECTORY_OF_ONE);
    let path = directory.join(format!("{ID:016x}.delta"));
    let (storage, _, deltas) = store();
    let seed = |delta: &PathBuf| {
        let copy = moved(&*storage, delta, &path, ID);
        formats::read_delta_file(&copy, directory, ID).unwrap();
        file_seed(&*copy, &path)
    };
    let seeds: Vec<Seed> = deltas.iter().map(seed).collect();
    let read = |storage: &Arc<dyn Storage>| drop(formats::read_delta_file(storage, directory, ID));
    fuzz(&seeds, CONSTANT_BYTES, |bytes| with_file(&path, &bytes), read);
}

/// Sorted files of a small store.
fn sorted_files() -> (Arc<dyn Storage>, Vec<PathBuf>) {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let mut driver = Driver::create(&storage, options(), 22);
    for id in 1..=10 {
        driver.change(40, 20, 200);
        driver.checkpoint(id).unwrap();
        driver.settle();
    }
    drop(driver);
    let mut files = storage.list(&Path::new(DIRECTORY).join("files")).unwrap();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "sst"));
    assert!(!files.is_empty());
    (storage, files)
}

#[test]
fn sorted_files_whole() {
    let directory = Path::new(DIRECTORY_OF_ONE);
    let path = directory.join(format!("{ID:016x}.sst"));
    let (storage, files) = sorted_files();
    let seed = |file: &PathBuf| {
        let copy = moved(&*storage, file, &path, ID);
        formats::read_sorted_file(&copy, directory, ID).unwrap();
        file_seed(&*copy, &path)
    };
    let seeds: Vec<Seed> = files.iter().map(seed).collect();
    let read = |storage: &Arc<dyn Storage>| drop(formats::read_sorted_file(storage, directory, ID));
    fuzz(&seeds, 4 * CONSTANT_BYTES, |bytes| with_file(&path, &bytes), read);
}

#[test]
fn sorted_blocks() {
    let (storage, files) = sorted_files();
    let seeds: Vec<Seed> = files.iter().flat_map(|path| payloads(&*storage, path, 1, 0)).collect();
    assert!(seeds.iter().all(|seed| formats::read_sorted_block(&seed.bytes) > 0));
    fuzz(
        &seeds,
        CONSTANT_BYTES,
        |bytes| bytes,
        |bytes| {
            formats::read_sorted_block(bytes);
        },
    );
}

/// All files of a store.
fn all_files(storage: &dyn Storage) -> Vec<PathBuf> {
    let directory = Path::new(DIRECTORY);
    let mut files = vec![directory.join("ROOT")];
    for name in ["files", "manifests"] {
        files.extend(storage.list(&directory.join(name)).unwrap());
    }
    files.retain(|path| storage.metadata(path).unwrap().length_bytes > 0);
    files
}

#[test]
fn stores() {
    let (storage, _) = sorted_files();
    let files = all_files(&*storage);
    let seeds: Vec<Seed> = files.iter().map(|path| file_seed(&*storage, path)).collect();
    let contents: Vec<Vec<u8>> = files.iter().map(|path| read_file(&*storage, path)).collect();
    let prepare = |seed: usize, bytes: Vec<u8>| {
        let storage = MemoryStorage::new();
        for name in ["files", "manifests"] {
            storage.create_dir_all(&Path::new(DIRECTORY).join(name)).unwrap();
        }
        for (index, path) in files.iter().enumerate() {
            let bytes = if index == seed { &bytes } else { &contents[index] };
            storage.create(path).unwrap().append(bytes).unwrap();
        }
        let storage: Arc<dyn Storage> = Arc::new(storage);
        storage
    };
    let read = |storage: &Arc<dyn Storage>| {
        let Ok((_, store)) = durable::open(storage, options()) else { return };
        for name in durable::TABLES {
            let Ok(mut table) = RawTable::open(&store, name) else { continue };
            let _ = table.contents();
            let _ = table.get(&[0, 1, 2, 3, 19]);
            let _ = table.put(1, b"more");
            let _ = table.end_epoch();
        }
        (0..20).for_each(|_| drop(store.poll()));
    };
    // An open store has buffers of its own.
    fuzz_with(INPUTS / 10, &seeds, 8 << 20, prepare, read);
}

#[test]
fn edits() {
    let (storage, manifest, _) = store();
    let seeds = payloads(&*storage, &manifest, 1, 8);
    assert!(seeds.iter().all(|seed| formats::read_edit(&seed.bytes)));
    fuzz(
        &seeds,
        CONSTANT_BYTES,
        |bytes| bytes,
        |bytes| {
            formats::read_edit(bytes);
        },
    );
}

#[test]
fn manifests() {
    let (storage, manifest, _) = store();
    let edit_count = formats::read_manifest_file(&*storage, &manifest).unwrap();
    assert!(edit_count >= 5);
    // Without the fillers, which have nothing to read: edits follow each other closely.
    let file = storage.open_read(&manifest).unwrap();
    let (format, owner) = inspect_header(&*file).unwrap();
    let copy = with_file(&manifest, &[]);
    let mut log = LogWriter::create(&copy, &manifest, format, owner, Naming::Published).unwrap();
    for edit in payloads(&*storage, &manifest, 1, 8) {
        log.append(1, &edit.bytes).unwrap();
    }
    log.publish().unwrap();
    assert_eq!(formats::read_manifest_file(&*copy, &manifest).unwrap(), edit_count);
    let seed = file_seed(&*copy, &manifest);
    let read =
        |storage: &Arc<dyn Storage>| drop(formats::read_manifest_file(&**storage, &manifest));
    fuzz(&[seed], CONSTANT_BYTES, |bytes| with_file(&manifest, &bytes), read);
}

fn fuzz_values<V: StateValue>(values: &[V]) {
    let mut seeds: Vec<Seed> =
        values.iter().map(|value| Seed::plain(value.to_archived().unwrap().to_vec())).collect();
    let mut all = thalweg_state::rkyv::util::AlignedVec::new();
    V::archive_all_into(values.iter(), &mut all).unwrap();
    seeds.push(Seed::plain(all.to_vec()));
    let read = |bytes: &Vec<u8>| {
        let _ = V::from_archived(bytes);
        let mut values = Vec::new();
        let _ = V::from_archived_all(bytes, &mut values);
    };
    fuzz(&seeds, CONSTANT_BYTES, |bytes| bytes, read);
}

#[test]
fn archived_numbers() {
    fuzz_values(&[0_u64, 1, u64::MAX]);
}

#[test]
fn archived_texts() {
    fuzz_values(&[(String::new(), 1_u64), ("a text that is not inline".into(), u64::MAX)]);
}

#[test]
fn archived_lists() {
    let lists = [vec![], vec![(Some("x".repeat(40)), vec![1_i32, 2]), (None, vec![])]];
    fuzz_values::<Vec<(Option<String>, Vec<i32>)>>(&lists);
}
