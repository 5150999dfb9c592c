//! Files as version 1 wrote them first. If one of these fails, files on disk cannot be read any
//! more, or are written differently under the same version.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::block::{BlockOwner, FileId};
use crate::storage::{MemoryStorage, Storage};

const FORMAT: FileFormat = FileFormat::new("golden", 7);
const OWNER: BlockOwner = BlockOwner { file_id: FileId(2), epoch: 1 };

const SEALED: &str = concat!(
    // Header block: magic, version, kind, length, epoch, file id, offset, checksum.
    "544201f0 18000000 0100000000000000 0200000000000000 0000000000000000 580df013 ",
    // "THALWEG", sealed file, "golden", version 7.
    "5448414c574547 01 676f6c64656e0000 07000000 00000000 ",
    // The user's block, of kind 3: "abc".
    "54420103 03000000 0100000000000000 0200000000000000 3c00000000000000 5766dc24 616263 ",
    // Trailer block: "footer", block count, its offset, digest, length of the footer, magic.
    "544201f1 2a000000 0100000000000000 0200000000000000 6300000000000000 735ef025 ",
    "666f6f746572 0100000000000000 6300000000000000 90996ae0b1995922 06000000 ",
    "54575345414c4544",
);
/// Each is followed by as many zeros as it says.
const LOG: [(&str, usize); 2] = [
    (
        concat!(
            "544201f0 18000000 0100000000000000 0200000000000000 0000000000000000 b969ddf3 ",
            "5448414c574547 02 676f6c64656e0000 07000000 00000000 ",
            // Filler up to byte 4096; nothing was durable.
            "544201f2 a00f0000 0100000000000000 0200000000000000 3c00000000000000 e9de2ba3 ",
            "0000000000000000",
        ),
        3992,
    ),
    (
        concat!(
            // 4096 bytes were durable, "abc".
            "54420103 0b000000 0100000000000000 0200000000000000 0010000000000000 61373325 ",
            "0010000000000000 616263 ",
            // Filler up to byte 8192.
            "544201f2 ad0f0000 0100000000000000 0200000000000000 2f10000000000000 d87ab899 ",
            "0010000000000000",
        ),
        4005,
    ),
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn contents(storage: &Arc<dyn Storage>, path: &str) -> String {
    let file = storage.open_read(Path::new(path)).unwrap();
    let mut bytes = vec![0; file.length_bytes().unwrap() as usize];
    file.read_exact_at(0, &mut bytes).unwrap();
    hex(&bytes)
}

/// As the format describes it.
fn digest_of(checksums: [u32; 3]) -> u64 {
    checksums.iter().fold(0xcbf2_9ce4_8422_2325, |digest, checksum| {
        (digest ^ u64::from(*checksum)).wrapping_mul(0x100_0000_01b3)
    })
}

#[test]
fn a_sealed_file_is_that_of_version_1() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let mut writer =
        CheckpointFileWriter::create(&storage, "a", FORMAT, OWNER, Naming::Published).unwrap();
    writer.append_block(3, b"abc").unwrap();
    let seal = writer.complete(b"footer").unwrap().publish().unwrap();
    assert_eq!(contents(&storage, "a"), SEALED.replace(' ', ""));
    assert_eq!(seal.digest, digest_of([0x13f0_0d58, 0x24dc_6657, 0x25f0_5e73]));
}

#[test]
fn a_log_is_that_of_version_1() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let mut log = LogWriter::create(&storage, "a", FORMAT, OWNER, Naming::Published).unwrap();
    log.publish().unwrap();
    log.append(3, b"abc").unwrap();
    log.sync().unwrap();
    let expected: Vec<String> =
        LOG.iter().map(|(text, zeros)| text.replace(' ', "") + &"00".repeat(*zeros)).collect();
    assert_eq!(contents(&storage, "a"), expected.concat());
}
