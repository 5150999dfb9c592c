use std::path::Path;
use std::sync::Arc;

use super::format::HEADER_BLOCK_BYTES;
use super::seal::TAIL_BYTES;
use super::*;
use crate::block::{BlockAddress, BlockOwner, FileId, HEADER_BYTES};
use crate::corruption::Corruption;
use crate::error::IoError;
use crate::storage::{ArmedFault, FaultKind, FaultProfile, FaultStorage, MemoryStorage, Storage};

const FORMAT: FileFormat = FileFormat::new("example", 3);
const OWNER: BlockOwner = BlockOwner { file_id: FileId(11), epoch: 5 };

fn memory() -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::new())
}

fn write_sealed(storage: &Arc<dyn Storage>, path: &str) -> (FileSeal, Vec<BlockAddress>) {
    let mut writer =
        CheckpointFileWriter::create(storage, path, FORMAT, OWNER, Naming::Published).unwrap();
    let addresses = (0..4_u8)
        .map(|kind| writer.append_block(kind, &vec![kind; 100 * usize::from(kind)]).unwrap())
        .collect();
    (writer.complete(b"the footer").unwrap().publish().unwrap(), addresses)
}

fn read_all(storage: &dyn Storage, path: &str) -> Vec<u8> {
    let file = storage.open_read(Path::new(path)).unwrap();
    let mut bytes = vec![0; file.length_bytes().unwrap() as usize];
    file.read_exact_at(0, &mut bytes).unwrap();
    bytes
}

fn overwrite(storage: &dyn Storage, path: &str, bytes: &[u8]) {
    storage.create(Path::new(path)).unwrap().append(bytes).unwrap();
}

/// Opens and reads all there is.
fn read_sealed(storage: &dyn Storage, path: &str, seal: &FileSeal) -> Result<(), IoError> {
    let reader = CheckpointFileReader::open(storage, path, FORMAT, seal)?;
    reader.verify_all()
}

#[test]
fn a_sealed_file_is_read_in_any_order() {
    let storage = memory();
    let (seal, addresses) = write_sealed(&storage, "a");
    assert!(storage.metadata(Path::new("a.inprogress")).unwrap_err().is_not_found());
    assert_eq!((seal.owner, seal.block_count), (OWNER, 4));
    let reader = CheckpointFileReader::open(&*storage, "a", FORMAT, &seal).unwrap();
    assert_eq!((reader.seal(), reader.footer()), (seal, &b"the footer"[..]));
    assert_eq!((reader.format(), reader.owner()), (FORMAT, OWNER));
    let mut buffer = Vec::new();
    for kind in [2, 0, 3, 1] {
        let block = reader.read_block(addresses[usize::from(kind)], &mut buffer).unwrap();
        assert_eq!((block.kind, block.payload.len()), (kind, 100 * usize::from(kind)));
    }
    reader.verify_all().unwrap();
    let unsealed = CheckpointFileReader::open_unsealed(&*storage, "a", FORMAT).unwrap();
    assert_eq!(unsealed.seal(), seal);
    let file = storage.open_read(Path::new("a")).unwrap();
    assert_eq!(inspect_header(&*file).unwrap(), (FORMAT, OWNER));
}

#[test]
fn large_files_are_written_in_pieces() {
    let storage = memory();
    let mut writer =
        CheckpointFileWriter::create(&storage, "a", FORMAT, OWNER, Naming::InPlace).unwrap();
    for index in 0..70_u8 {
        let address = writer.append_block(index, &vec![index; 65_536]).unwrap();
        assert_eq!(address.end(), writer.length_bytes());
    }
    let in_file = storage.metadata(Path::new("a")).unwrap().length_bytes;
    assert!(in_file > 2 << 20, "{in_file} bytes are in the file already");
    let seal = writer.complete(b"").unwrap().publish().unwrap();
    let reader = CheckpointFileReader::open(&*storage, "a", FORMAT, &seal).unwrap();
    reader.verify_all().unwrap();
    let mut blocks = reader.blocks();
    for index in 0..70 {
        let block = blocks.advance().unwrap().unwrap();
        assert!(block.kind == index && block.payload.iter().all(|byte| *byte == index));
    }
    assert!(blocks.advance().unwrap().is_none());
}

#[test]
fn a_file_has_its_name_once_it_is_published() {
    let storage = memory();
    let mut writer =
        CheckpointFileWriter::create(&storage, "a", FORMAT, OWNER, Naming::Published).unwrap();
    assert_eq!(writer.in_progress_path(), Path::new("a.inprogress"));
    writer.append_block(0, b"payload").unwrap();
    let completed = writer.complete(b"").unwrap();
    assert!(storage.metadata(Path::new("a")).unwrap_err().is_not_found());
    let seal = completed.seal();
    CompletedFile::publish_all([completed]).unwrap();
    read_sealed(&*storage, "a", &seal).unwrap();

    let aborted =
        CheckpointFileWriter::create(&storage, "b", FORMAT, OWNER, Naming::Published).unwrap();
    aborted.abort().unwrap();
    let completed =
        CheckpointFileWriter::create(&storage, "b", FORMAT, OWNER, Naming::InPlace).unwrap();
    completed.complete(b"").unwrap().abort().unwrap();
    assert_eq!(storage.list(Path::new(".")).unwrap(), [Path::new("./a")]);
}

#[test]
fn each_flipped_byte_and_each_truncation_is_found() {
    let storage = memory();
    let (seal, addresses) = write_sealed(&storage, "a");
    let bytes = read_all(&*storage, "a");
    for index in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[index] ^= 1 << (index % 8);
        overwrite(&*storage, "b", &damaged);
        let error = read_sealed(&*storage, "b", &seal).unwrap_err();
        assert!(matches!(error, IoError::Corrupt { .. }), "{index}: {error}");
        assert_eq!(error.path(), Path::new("b"));
        // Without the seal too.
        let found = CheckpointFileReader::open_unsealed(&*storage, "b", FORMAT)
            .and_then(|reader| reader.verify_all());
        assert!(found.is_err(), "{index}");
    }
    for length in 0..bytes.len() {
        overwrite(&*storage, "b", &bytes[..length]);
        let error = read_sealed(&*storage, "b", &seal).unwrap_err();
        assert!(matches!(error, IoError::Corrupt { .. }), "{length}: {error}");
        // A block that lies before the damage stays readable to who knows where it lies.
        assert!(CheckpointFileReader::open_unsealed(&*storage, "b", FORMAT).is_err(), "{length}");
    }
    assert_eq!(addresses.len(), 4);
}

#[test]
fn segments_may_be_longer_than_what_was_written() {
    let storage = memory();
    let (seal, _) = write_sealed(&storage, "a");
    let written = read_all(&*storage, "a");
    for old in [vec![0], vec![0; 5000], written.clone(), written[100..].to_vec()] {
        overwrite(&*storage, "a", &[&written[..], &old].concat());
        read_sealed(&*storage, "a", &seal).unwrap();
        let reader = CheckpointFileReader::open_unsealed(&*storage, "a", FORMAT).unwrap();
        assert_eq!(reader.seal(), seal);
        reader.verify_all().unwrap();
    }

    let file = storage.create_segment(Path::new("b"), 1 << 20).unwrap();
    storage.sync_dir(Path::new(".")).unwrap();
    let mut writer = CheckpointFileWriter::start(&storage, file, FORMAT, OWNER);
    writer.append_block(1, b"payload").unwrap();
    let seal = writer.complete(b"").unwrap().seal();
    read_sealed(&*storage, "b", &seal).unwrap();
}

fn check_open_fault(path: &str, storage: &dyn Storage, seal: &FileSeal, expected: &str) {
    let error = CheckpointFileReader::open(storage, path, FORMAT, seal).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(expected), "{text}");
}

#[test]
fn other_files_are_refused_by_name() {
    let storage = memory();
    let (seal, _) = write_sealed(&storage, "a");
    let foreign = FileSeal { owner: BlockOwner { file_id: FileId(12), ..OWNER }, ..seal };
    let expected = "cannot read a at byte 0: expected a block of file 12, found one of file 11";
    check_open_fault("a", &*storage, &foreign, expected);
    let stale = FileSeal { owner: BlockOwner { epoch: 6, ..OWNER }, ..seal };
    check_open_fault("a", &*storage, &stale, "expected a block of epoch 6, found one of epoch 5");
    let other = FileSeal { digest: seal.digest ^ 1, ..seal };
    check_open_fault("a", &*storage, &other, "expected the digest 0x");
    let other = FileSeal { block_count: 5, ..seal };
    check_open_fault("a", &*storage, &other, "expected the block count 0x5, found 0x4");
    let longer = FileSeal { length_bytes: seal.length_bytes + 1, ..seal };
    check_open_fault("a", &*storage, &longer, "bytes, found");

    overwrite(&*storage, "text", &b"name,value\n".repeat(20));
    check_open_fault("text", &*storage, &seal, "expected a file of Thalweg, found other contents");
    overwrite(&*storage, "empty", b"");
    check_open_fault("empty", &*storage, &seal, "expected 36 bytes, found 0 before the end");
    let mut log = LogWriter::create(&storage, "log", FORMAT, OWNER, Naming::Published).unwrap();
    log.publish().unwrap();
    let expected = "expected a file of format `example (sealed file)`, found `example (log)`";
    check_open_fault("log", &*storage, &seal, expected);

    let older = FileFormat::new("example", 2);
    let error = CheckpointFileReader::open(&*storage, "a", older, &seal).unwrap_err();
    let expected = "cannot read a at byte 36: expected format `example` up to version 2, found \
                    version 3; open it with the version of Thalweg that wrote it, or a later one";
    assert_eq!(error.to_string(), expected);
    let later = FileFormat::new("example", 4);
    let reader = CheckpointFileReader::open(&*storage, "a", later, &seal).unwrap();
    assert_eq!(reader.format().version(), 3, "earlier versions are the reader's business");
    let error = CheckpointFileReader::open(&*storage, "a", FileFormat::new("other", 3), &seal);
    assert!(error.unwrap_err().to_string().contains("`other (sealed file)`"));
}

#[test]
fn a_block_of_an_earlier_life_of_the_same_file_is_found() {
    let write = |storage: &Arc<dyn Storage>, fill: u8| {
        let mut writer =
            CheckpointFileWriter::create(storage, "a", FORMAT, OWNER, Naming::Published).unwrap();
        let address = writer.append_block(1, &[fill; 64]).unwrap();
        writer.append_block(2, &[7; 64]).unwrap();
        (writer.complete(b"").unwrap().publish().unwrap(), address)
    };
    let storage = memory();
    let (old, address) = write(&storage, 1);
    let old_bytes = read_all(&*storage, "a");
    let (new, _) = write(&storage, 2);
    assert_ne!(old.digest, new.digest);
    // The block is intact, of the right owner, and in its place: only the digest knows.
    let mut mixed = read_all(&*storage, "a");
    let range = address.offset as usize..address.end() as usize;
    mixed[range.clone()].copy_from_slice(&old_bytes[range]);
    overwrite(&*storage, "a", &mixed);
    let error = read_sealed(&*storage, "a", &new).unwrap_err();
    let is_digest =
        |fault: &Corruption| matches!(fault, Corruption::SealMismatch { what: "digest", .. });
    assert!(error.corruption().is_some_and(is_digest), "{error}");
}

#[test]
fn an_address_beyond_the_blocks_takes_no_memory() {
    let storage = memory();
    let (seal, addresses) = write_sealed(&storage, "a");
    let reader = CheckpointFileReader::open(&*storage, "a", FORMAT, &seal).unwrap();
    let mut buffer = Vec::new();
    let end = addresses[3].end();
    for (offset, length_bytes) in [(addresses[3].offset, 131_171), (end, 1), (u64::MAX, 9)] {
        let error =
            reader.read_block(BlockAddress { offset, length_bytes }, &mut buffer).unwrap_err();
        assert!(matches!(error, IoError::Corrupt { .. }), "{error}");
        assert_eq!(buffer.capacity(), 0);
    }
}

#[test]
fn a_tail_that_lies_takes_no_memory() {
    let storage = memory();
    let (seal, _) = write_sealed(&storage, "a");
    let mut bytes = read_all(&*storage, "a");
    let at = bytes.len() - TAIL_BYTES + 24;
    bytes[at..at + 4].copy_from_slice(&0x3fff_ffff_u32.to_le_bytes());
    overwrite(&*storage, "a", &bytes);
    check_open_fault("a", &*storage, &seal, "expected the offset of the trailer 0x0");
}

fn write_log(storage: &Arc<dyn Storage>, synced: &[&[u8]]) -> LogWriter {
    let mut log = LogWriter::create(storage, "log", FORMAT, OWNER, Naming::Published).unwrap();
    log.publish().unwrap();
    for payload in synced {
        log.append(7, payload).unwrap();
        log.sync().unwrap();
    }
    log
}

fn read_log(storage: &dyn Storage, path: &str) -> Result<(Vec<Vec<u8>>, LogEnd), IoError> {
    let mut reader = LogReader::open_owned(storage, path, FORMAT, OWNER)?;
    let mut payloads = Vec::new();
    while let Some(block) = reader.advance()? {
        assert_eq!(block.kind, 7);
        payloads.push(block.payload.to_vec());
    }
    assert!(reader.advance()?.is_none(), "the end stays");
    Ok((payloads, reader.end().unwrap().clone()))
}

#[test]
fn a_log_gives_back_what_was_synced() {
    let storage = memory();
    let mut log = write_log(&storage, &[b"one", b"", &[9; 300_000]]);
    assert_eq!(log.durable_bytes(), log.length_bytes());
    log.append(7, b"only in memory").unwrap();
    let (payloads, end) = read_log(&*storage, "log").unwrap();
    assert_eq!(payloads, [&b"one"[..], b"", &[9; 300_000]]);
    assert_eq!(
        end,
        LogEnd { offset: log.durable_bytes(), cut_bytes: 0, fault: None, is_torn: false }
    );

    let mut resumed = LogWriter::resume(&storage, "log", OWNER, &end).unwrap();
    resumed.append(7, b"later").unwrap();
    resumed.sync().unwrap();
    let (payloads, grown) = read_log(&*storage, "log").unwrap();
    assert_eq!(payloads.last().unwrap(), b"later");
    assert!(grown.is_clean() && grown.offset > end.offset);
    let error = LogWriter::resume(&storage, "log", OWNER, &end).unwrap_err();
    assert!(matches!(error, IoError::Corrupt { .. }), "it grew since: {error}");
}

#[test]
fn a_log_ends_at_its_torn_tail_wherever_it_tore() {
    let storage = memory();
    let mut log = write_log(&storage, &[b"one", b"two"]);
    let synced_bytes = log.durable_bytes();
    log.append(7, b"three").unwrap();
    log.append(7, b"four").unwrap();
    log.sync().unwrap();
    let bytes = read_all(&*storage, "log");
    for length in synced_bytes as usize..bytes.len() {
        overwrite(&*storage, "cut", &bytes[..length]);
        let (payloads, end) = read_log(&*storage, "cut").unwrap();
        assert!(payloads.starts_with(&[b"one".to_vec(), b"two".to_vec()]), "{length}");
        assert_eq!(end.offset + end.cut_bytes, length as u64);
        assert_eq!(end.fault.is_none(), end.is_clean());
        let resumed = LogWriter::resume(&storage, "cut", OWNER, &end);
        assert_eq!(resumed.is_ok(), end.is_clean(), "{length}");
        // The length grew, the contents did not get there.
        let mut zeros = bytes[..length].to_vec();
        zeros.resize(bytes.len() + 5000, 0);
        overwrite(&*storage, "cut", &zeros);
        let (again, end) = read_log(&*storage, "cut").unwrap();
        assert_eq!(again, payloads);
        assert!(!end.is_clean());
    }
    assert_eq!(synced_bytes % 4096, 0, "synced sectors are not written again");
    // The third lost, the fourth there: both were appended before either was synced.
    let mut reordered = bytes.clone();
    reordered[synced_bytes as usize..][..HEADER_BYTES].fill(0);
    overwrite(&*storage, "cut", &reordered);
    let (payloads, end) = read_log(&*storage, "cut").unwrap();
    assert_eq!((payloads.len(), end.offset), (2, synced_bytes));
}

#[test]
fn damage_before_a_synced_block_is_refused() {
    let storage = memory();
    let log = write_log(&storage, &[b"one", b"two", b"three"]);
    assert_eq!(log.path(), Path::new("log"));
    let bytes = read_all(&*storage, "log");
    // Header block and its filler, then three blocks of a sector each.
    assert_eq!(bytes.len(), 4 * 4096);
    let (second, last) = (2 * 4096, 3 * 4096);
    let last_filler = last + HEADER_BYTES + 8 + b"three".len();
    for index in (0..300).chain(4000..4300).chain(8000..8500).chain(12_000..12_500) {
        let mut damaged = bytes.clone();
        damaged[index] ^= 0x41;
        overwrite(&*storage, "damaged", &damaged);
        let result = read_log(&*storage, "damaged");
        if index >= last_filler {
            let (payloads, end) = result.unwrap();
            assert_eq!((payloads.len(), end.offset), (3, last_filler as u64));
            continue;
        }
        if index >= last {
            // Cannot be told from an append that was torn.
            let (payloads, end) = result.unwrap();
            assert_eq!((payloads.len(), end.offset), (2, last as u64));
            assert!(end.fault.is_some());
            // Magic, version, epoch, id and offset are how the log knows its own.
            let is_identity = matches!(index - last, 0..3 | 8..32);
            assert!(end.is_torn != is_identity || index - last == 7, "{}", index - last);
            continue;
        }
        let error = result.unwrap_err();
        assert!(matches!(error, IoError::Corrupt { .. }), "{index}: {error}");
        if (second..last).contains(&index) {
            let fault = error.corruption().unwrap();
            let Corruption::DamagedWithinLog { valid_offset, .. } = fault else {
                panic!("{fault}")
            };
            let (valid_offset, offset) = (*valid_offset, error.site().offset.unwrap());
            assert_eq!(valid_offset, last as u64);
            assert!((second as u64..last as u64).contains(&offset), "block or its filler");
        }
    }
    for length in 0..HEADER_BLOCK_BYTES {
        overwrite(&*storage, "damaged", &bytes[..length]);
        assert!(matches!(read_log(&*storage, "damaged"), Err(IoError::Corrupt { .. })), "{length}");
    }
}

#[test]
fn what_lies_behind_a_recycled_log_is_its_end() {
    let storage = memory();
    write_log(&storage, &[b"one"]);
    let mut bytes = read_all(&*storage, "log");
    let offset = bytes.len() as u64;
    let stale = BlockOwner { file_id: FileId(3), epoch: 5 };
    crate::block::encode(stale, 7, offset, &[0; 20], &mut bytes);
    overwrite(&*storage, "log", &bytes);
    let (payloads, end) = read_log(&*storage, "log").unwrap();
    assert_eq!((payloads.len(), end.offset), (1, offset));
    let fault = Corruption::ForeignFile { expected: FileId(11), found: FileId(3) };
    assert_eq!((end.fault, end.is_torn), (Some(fault), false));
}

#[test]
fn other_logs_are_refused() {
    let storage = memory();
    write_log(&storage, &[]);
    let other = BlockOwner { epoch: 6, ..OWNER };
    let error = LogReader::open_owned(&*storage, "log", FORMAT, other).unwrap_err();
    assert_eq!(error.corruption(), Some(&Corruption::WrongEpoch { expected: 6, found: 5 }));
    let error = LogReader::open(&*storage, "log", FileFormat::new("other", 3)).unwrap_err();
    assert!(matches!(error.corruption(), Some(Corruption::ForeignFormat { .. })), "{error}");
    write_sealed(&storage, "sealed");
    let error = LogReader::open(&*storage, "sealed", FORMAT).unwrap_err();
    assert!(matches!(error.corruption(), Some(Corruption::ForeignFormat { .. })), "{error}");
}

#[test]
fn appends_that_never_reached_the_file_can_be_dropped() {
    let storage = memory();
    let mut log = write_log(&storage, &[b"one"]);
    log.append(7, b"dropped").unwrap();
    log.discard_unsynced().unwrap();
    log.append(7, b"two").unwrap();
    log.sync().unwrap();
    assert_eq!(read_log(&*storage, "log").unwrap().0, [b"one", b"two"]);
}

#[test]
fn a_full_disk_lets_an_append_be_repeated_or_dropped() {
    let disk = FaultStorage::new(1, FaultProfile::none());
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let mut log = write_log(&storage, &[b"one"]);
    log.append(7, b"mark").unwrap();
    log.flush().unwrap();
    // Nothing of it fits: it can be dropped.
    disk.set_budget_bytes(Some(disk.used_bytes()));
    log.append(7, b"dropped").unwrap();
    assert!(log.sync().unwrap_err().is_no_space());
    log.discard_unsynced().unwrap();
    // A part of it fits: it can only be repeated.
    disk.set_budget_bytes(Some(disk.used_bytes() + 10));
    log.append(7, b"two").unwrap();
    assert!(log.sync().unwrap_err().is_no_space());
    disk.set_budget_bytes(None);
    log.sync().unwrap();
    let (payloads, end) = read_log(&*storage, "log").unwrap();
    assert_eq!(payloads, [&b"one"[..], b"mark", b"two"]);
    assert!(end.is_clean() && end.offset % 4096 == 0);
    disk.set_budget_bytes(Some(disk.used_bytes() + 10));
    log.append(7, b"three").unwrap();
    log.sync().unwrap_err();
    assert!(log.discard_unsynced().is_err(), "ten bytes of it are in the file");
}

#[test]
fn a_log_whose_sync_failed_takes_no_more() {
    let disk = FaultStorage::new(1, FaultProfile::none());
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let mut log = write_log(&storage, &[b"one"]);
    disk.arm(ArmedFault::next(FaultKind::Sync));
    log.append(7, b"two").unwrap();
    assert!(matches!(log.sync().unwrap_err(), IoError::DeviceFailed { .. }));
    assert!(matches!(log.sync().unwrap_err(), IoError::SyncFailedBefore { .. }));
    log.discard_unsynced().unwrap_err();
}
