//! A checkpoint of about 1 MiB, damaged in each of its bytes, and cut off in each of its sectors.
//!
//! 1. Every byte of every file has a bit flipped, all eight in turn. The block that holds it must be
//!    refused; all reads go through that check.
//! 2. For every byte of edits, headers and trailers, and a sample of all others, the store is opened
//!    and read as a whole: it names file and offset, or has the same contents.
//! 3. The same for each file cut off at each multiple of 512 bytes.
//! 4. Where the error names older checkpoints, each of them opens, with its contents.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod durable;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use durable::{DIRECTORY, Driver, Model, open, open_root, options};
use thalweg_io::block::{self, BlockAddress, BlockOwner, BlockScan};
use thalweg_io::checkpoint_file::inspect_header;
use thalweg_io::storage::{FileKind, MemoryStorage, Storage};
use thalweg_state::{CheckpointId, LsmStore, StoreError};

/// Of how many bytes of a block one is flipped in front of an opening and reading of all.
const SAMPLED_OF: usize = 797;

/// A store with deltas and sorted files, whose last two checkpoints are retained, as its files are.
struct Pristine {
    files: BTreeMap<PathBuf, Vec<u8>>,
    snapshots: BTreeMap<u64, Vec<Model>>,
}

const LATEST: u64 = 6;

fn pristine() -> &'static Pristine {
    static PRISTINE: OnceLock<Pristine> = OnceLock::new();
    PRISTINE.get_or_init(|| {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let mut driver = Driver::create(&storage, options(), 11);
        let mut snapshots = BTreeMap::new();
        for id in 1..=LATEST {
            driver.change(450, 300, 1500);
            driver.checkpoint(id).unwrap();
            driver.settle();
            snapshots.insert(id, driver.models.clone());
        }
        drop(driver);
        let mut files = BTreeMap::new();
        collect(&*storage, Path::new(DIRECTORY), &mut files);
        let byte_count: usize = files.values().map(Vec::len).sum();
        assert!((700_000..3_000_000).contains(&byte_count), "{byte_count} bytes");
        for suffix in [".delta", ".sst"] {
            assert!(files.keys().any(|path| path.to_string_lossy().ends_with(suffix)), "{suffix}");
        }
        Pristine { files, snapshots }
    })
}

fn collect(storage: &dyn Storage, directory: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for path in storage.list(directory).unwrap() {
        let metadata = storage.metadata(&path).unwrap();
        if metadata.kind == FileKind::Directory {
            collect(storage, &path, files);
            continue;
        }
        let mut bytes = vec![0; metadata.length_bytes as usize];
        storage.open_read(&path).unwrap().read_exact_at(0, &mut bytes).unwrap();
        files.insert(path, bytes);
    }
}

impl Pristine {
    /// All files, one of them with other contents.
    fn with(&self, damaged: &Path, contents: &[u8]) -> Arc<dyn Storage> {
        let storage = MemoryStorage::new();
        storage.create_dir_all(&Path::new(DIRECTORY).join("files")).unwrap();
        storage.create_dir_all(&Path::new(DIRECTORY).join("manifests")).unwrap();
        for (path, bytes) in &self.files {
            let bytes = if path == damaged { contents } else { bytes };
            storage.create(path).unwrap().append(bytes).unwrap();
        }
        Arc::new(storage)
    }

    /// The files of a kind.
    fn files_of(&self, suffix: &str) -> impl Iterator<Item = (&PathBuf, &Vec<u8>)> {
        self.files.iter().filter(move |(path, _)| path.to_string_lossy().ends_with(suffix))
    }
}

/// The blocks at the start of a file, and whose they are.
fn blocks_of(path: &Path, bytes: &[u8]) -> (BlockOwner, Vec<BlockAddress>) {
    let storage = MemoryStorage::new();
    storage.create(Path::new("file")).unwrap().append(bytes).unwrap();
    let file = storage.open_read(Path::new("file")).unwrap();
    let (_, owner) = inspect_header(&*file).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let mut scan = BlockScan::new(&*file, owner, 0, bytes.len() as u64);
    let mut addresses = Vec::new();
    while let Ok(Some(block)) = scan.advance() {
        addresses.push(block.address);
    }
    (owner, addresses)
}

#[derive(Default, Debug)]
struct Outcomes {
    refused: u64,
    harmless: u64,
    older_opened: u64,
}

/// Opens a store and reads all of it. The answer is an error of the store.
fn read_all(storage: &Arc<dyn Storage>) -> Result<(u64, Vec<Model>), String> {
    let (id, store) = open(storage, options()).map_err(|error| describe(&error))?;
    let mut driver = Driver::new(store, Vec::new(), 0);
    let contents = driver.tables.iter_mut().map(|table| {
        let contents = table.contents()?;
        // Reads of keys use what scans do not: filters and indexes.
        let keys: Vec<u64> = (0..310).collect();
        let found = table.get(&keys)?;
        assert!(found == contents, "a read differs from a scan");
        Ok(contents)
    });
    let contents = contents.collect::<Result<Vec<Model>, thalweg_state::StateError>>();
    contents.map(|contents| (id, contents)).map_err(|error| error.to_string())
}

fn describe(error: &StoreError) -> String {
    assert!(error.is_damage(), "damage is to be called so: {error}");
    error.to_string()
}

/// Opens a store of which one file is damaged.
fn check_damaged(path: &Path, contents: &[u8], what: &str, outcomes: &mut Outcomes) {
    let pristine = pristine();
    match read_all(&pristine.with(path, contents)) {
        Ok((id, found)) => {
            assert_eq!(id, LATEST, "{path:?} {what}: went back silently");
            assert!(found == pristine.snapshots[&LATEST], "{path:?} {what}: other contents");
            outcomes.harmless += 1;
        }
        Err(text) => {
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_precise = text.contains(name) && text.contains("at byte");
            let is_precise = is_precise && text.contains("expected") && text.contains("found");
            // A manifest whose end is gone names files that were removed since.
            let is_missing = name.ends_with(".manifest") && text.contains("does not exist");
            assert!(is_precise || is_missing, "{path:?} {what}: {text}");
            outcomes.refused += 1;
        }
    }
}

fn flipped(bytes: &[u8], index: usize) -> Vec<u8> {
    let mut damaged = bytes.to_vec();
    damaged[index] ^= 1 << (index % 8);
    damaged
}

/// Flips a bit of each byte of the block and checks that it is refused.
fn flip_each_byte(bytes: &[u8], owner: BlockOwner, address: BlockAddress) -> u64 {
    let start = address.offset as usize;
    let mut frame = bytes[start..start + address.length_bytes as usize].to_vec();
    for index in 0..frame.len() {
        frame[index] ^= 1 << (index % 8);
        let decoded = block::decode(&frame, address.offset, owner);
        assert!(decoded.is_err(), "byte {index} of the block at {start}");
        frame[index] ^= 1 << (index % 8);
    }
    block::decode(&frame, address.offset, owner).expect("all flips were taken back");
    frame.len() as u64
}

#[test]
fn every_flipped_byte_is_found_by_its_block() {
    let mut flips = 0;
    for (path, bytes) in &pristine().files {
        if path.ends_with("LOCK") {
            continue;
        }
        let (owner, addresses) = blocks_of(path, bytes);
        let end = addresses.last().unwrap().end();
        assert_eq!(end, bytes.len() as u64, "{path:?}: all bytes are in blocks");
        for address in addresses {
            flips += flip_each_byte(bytes, owner, address);
        }
    }
    println!("{flips} bytes flipped, {flips} refused by their blocks");
}

fn flip_and_open(suffix: &str, is_tried: impl Fn(&[BlockAddress], usize) -> bool) {
    let mut outcomes = Outcomes::default();
    let mut files = 0;
    for (path, bytes) in pristine().files_of(suffix) {
        let (_, addresses) = blocks_of(path, bytes);
        for index in (0..bytes.len()).filter(|index| is_tried(&addresses, *index)) {
            let what = format!("byte {index}");
            check_damaged(path, &flipped(bytes, index), &what, &mut outcomes);
        }
        files += 1;
    }
    println!("{files} files {suffix}: {outcomes:?}");
    assert!(files > 0 && outcomes.refused > 0);
}

/// Header block and trailer, the headers of every eighth block, and a sample of all others.
fn is_frame_or_sample(addresses: &[BlockAddress], index: usize) -> bool {
    let at = addresses.partition_point(|address| address.end() <= index as u64);
    let address = addresses[at];
    let is_edge = at == 0 || at == addresses.len() - 1;
    let is_header = index as u64 - address.offset < block::HEADER_BYTES as u64;
    is_edge || is_header && at % 8 == 1 || index.is_multiple_of(SAMPLED_OF)
}

#[test]
fn flipped_manifests_are_refused_or_harmless() {
    // Longer blocks end in zeros up to the next sector.
    flip_and_open(".manifest", |addresses, index| {
        let at = addresses.partition_point(|address| address.end() <= index as u64);
        let within = index as u64 - addresses[at].offset;
        within < 600 || index.is_multiple_of(61)
    });
}

#[test]
fn flipped_deltas_are_refused_or_harmless() {
    flip_and_open(".delta", is_frame_or_sample);
}

#[test]
fn flipped_sorted_files_are_refused_or_harmless() {
    flip_and_open(".sst", is_frame_or_sample);
}

#[test]
fn flipped_roots_are_harmless() {
    // Only counts openings, and is counted anew from the names of files.
    let (path, bytes) = pristine().files_of("ROOT").next().unwrap();
    let mut outcomes = Outcomes::default();
    for index in 0..bytes.len() {
        check_damaged(path, &flipped(bytes, index), &format!("byte {index}"), &mut outcomes);
    }
    println!("ROOT: {outcomes:?}");
}

#[test]
fn files_that_are_cut_off_are_refused_or_harmless() {
    let mut outcomes = Outcomes::default();
    for (path, bytes) in &pristine().files {
        for length in (0..bytes.len()).step_by(512) {
            let what = format!("cut to {length}");
            check_damaged_or_older(path, &bytes[..length], &what, &mut outcomes);
        }
    }
    println!("cut off: {outcomes:?}");
    assert!(outcomes.refused > 1000);
}

/// As [`check_damaged`]; but a log whose last blocks are gone without a trace is an older log, which
/// no reader can know: its last checkpoint is what it says.
fn check_damaged_or_older(path: &Path, contents: &[u8], what: &str, outcomes: &mut Outcomes) {
    let pristine = pristine();
    let is_manifest = path.to_string_lossy().ends_with(".manifest");
    if is_manifest && let Ok((id, found)) = read_all(&pristine.with(path, contents)) {
        let expected = pristine.snapshots.get(&id).cloned();
        let expected = expected.unwrap_or_else(|| vec![Model::new(); found.len()]);
        assert!(found == expected, "{what}: not the contents of {id}");
        outcomes.harmless += 1;
        return;
    }
    check_damaged(path, contents, what, outcomes);
}

#[test]
fn older_checkpoints_that_an_error_offers_can_be_opened() {
    let pristine = pristine();
    let mut outcomes = Outcomes::default();
    for (path, bytes) in &pristine.files {
        for index in (0..bytes.len()).step_by(bytes.len() / 40 + 1) {
            let damaged = flipped(bytes, index);
            let error = match open(&pristine.with(path, &damaged), options()) {
                Ok(_) => continue,
                Err(error) => error,
            };
            outcomes.refused += 1;
            let (StoreError::Damaged { older, .. } | StoreError::Malformed { older, .. }) = &error
            else {
                panic!("{error}");
            };
            for CheckpointId(id) in older.0.iter().copied() {
                let storage = pristine.with(path, &damaged);
                let root = open_root(&storage).unwrap();
                let store = LsmStore::open_at_in(&root, options(), CheckpointId(id), None)
                    .unwrap_or_else(|later| panic!("{id} was offered by {error}: {later}"));
                let mut driver = Driver::new(store, pristine.snapshots[&id].clone(), 0);
                assert!(driver.contents() == driver.models, "{id} was offered by {error}");
                outcomes.older_opened += 1;
            }
        }
    }
    println!("older checkpoints: {outcomes:?}");
    assert!(outcomes.older_opened > 0);
}
