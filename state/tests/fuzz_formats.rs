//! Every format that is read, with real bytes that were mutated: errors, never a panic, and no more
//! memory than the input accounts for.
//!
//! Each target runs under plain `cargo test`; `cargo bolero test <name>` fuzzes one for longer.

mod durable;
mod fuzzing;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use durable::{DIRECTORY, Driver, options};
use fuzzing::{Seed, fuzz};
use thalweg_io::block::{self, BlockOwner, BlockScan, FileId};
use thalweg_io::checkpoint_file::{
    CheckpointFileReader, CheckpointFileWriter, FileFormat, LogReader, LogWriter, Naming,
    inspect_header,
};
use thalweg_io::storage::{MemoryStorage, Storage};
use thalweg_state::StateValue;
use thalweg_state::testing::formats;

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
    let is_written = |path: &PathBuf| storage.metadata(path).unwrap().length_bytes > 0;
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
    fuzz(&seeds, CONSTANT_BYTES, |bytes| bytes, |bytes| drop(formats::read_rows(bytes)));
}

#[test]
fn deltas() {
    let (storage, _, deltas) = store();
    let directory = Path::new("/d");
    let id = 0xabc_u64;
    let path = directory.join(format!("{id:016x}.delta"));
    // All under one name and owner.
    let seeds: Vec<Seed> = (deltas.iter())
        .map(|delta| {
            let file = storage.open_read(delta).unwrap();
            let (format, owner) = inspect_header(&*file).unwrap();
            let reader = CheckpointFileReader::open_unsealed(&*storage, delta, format).unwrap();
            let copy = with_file(&path, &[]);
            let owner = BlockOwner { file_id: FileId(id), ..owner };
            let mut writer =
                CheckpointFileWriter::create(&copy, &path, format, owner, Naming::InPlace).unwrap();
            let mut blocks = reader.blocks();
            while let Some(block) = blocks.advance().unwrap() {
                writer.append_block(block.kind, block.payload).unwrap();
            }
            writer.complete(reader.footer()).unwrap().publish().unwrap();
            formats::read_delta_file(&copy, directory, id).unwrap();
            file_seed(&*copy, &path)
        })
        .collect();
    let read = |storage: &Arc<dyn Storage>| drop(formats::read_delta_file(storage, directory, id));
    fuzz(&seeds, CONSTANT_BYTES, |bytes| with_file(&path, &bytes), read);
}

#[test]
fn edits() {
    let (storage, manifest, _) = store();
    let seeds = payloads(&*storage, &manifest, 1, 8);
    assert!(seeds.iter().all(|seed| formats::read_edit(&seed.bytes)));
    fuzz(&seeds, CONSTANT_BYTES, |bytes| bytes, |bytes| drop(formats::read_edit(bytes)));
}

#[test]
fn manifests() {
    let (storage, manifest, _) = store();
    assert_eq!(formats::read_manifest_file(&*storage, &manifest).unwrap(), 5);
    // Without the fillers, which have nothing to read: edits follow each other closely.
    let file = storage.open_read(&manifest).unwrap();
    let (format, owner) = inspect_header(&*file).unwrap();
    let copy = with_file(&manifest, &[]);
    let mut log = LogWriter::create(&copy, &manifest, format, owner, Naming::Published).unwrap();
    for edit in payloads(&*storage, &manifest, 1, 8) {
        log.append(1, &edit.bytes).unwrap();
    }
    log.publish().unwrap();
    assert_eq!(formats::read_manifest_file(&*copy, &manifest).unwrap(), 5);
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
