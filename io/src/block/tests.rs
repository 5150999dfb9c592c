use std::path::Path;

use super::*;
use crate::corruption::Corruption;
use crate::error::IoError;
use crate::storage::{MemoryStorage, ReadFile, Storage};

const OWNER: BlockOwner = BlockOwner { file_id: FileId(0x0102_0304_0506_0708), epoch: 9 };

fn block_at(offset: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let address = encode(OWNER, 5, offset, payload, &mut bytes);
    assert_eq!(address, BlockAddress { offset, length_bytes: bytes.len() as u32 });
    bytes
}

fn file_of(bytes: &[u8]) -> Box<dyn ReadFile> {
    let storage = MemoryStorage::new();
    storage.create(Path::new("file")).unwrap().append(bytes).unwrap();
    storage.open_read(Path::new("file")).unwrap()
}

/// Version 1 as it was first written. If this fails, blocks on disk can no longer be read.
#[test]
fn bytes_are_those_of_version_1() {
    let expected = [
        [0x54, 0x42, 0x01, 0x05].as_slice(), // magic, version, kind
        &[0x03, 0, 0, 0],                    // length
        &[0x09, 0, 0, 0, 0, 0, 0, 0],        // epoch
        &[0x08, 7, 6, 5, 4, 3, 2, 1],        // file id
        &[0x00, 0x10, 0, 0, 0, 0, 0, 0],     // offset
        &[0x82, 0x56, 0xb4, 0x84],           // checksum
        b"abc",
    ]
    .concat();
    assert_eq!(block_at(4096, b"abc"), expected);
    let block = decode(&expected, 4096, OWNER).unwrap();
    assert_eq!((block.kind, block.payload, block.owner), (5, &b"abc"[..], OWNER));
}

#[test]
fn blocks_of_any_length_come_back() {
    for length in [0, 1, 35, 36, 37, 511, 512, 70_000] {
        let payload: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
        let mut bytes = block_at(7, &payload);
        bytes.extend_from_slice(b"what follows");
        let block = decode(&bytes, 7, OWNER).unwrap();
        assert_eq!(block.payload, payload);
        assert_eq!(decode_any_owner(&bytes, 7).unwrap(), block);
    }
}

#[test]
fn parts_are_one_payload() {
    let mut bytes = Vec::new();
    encode_parts(OWNER, 5, 7, &[b"ab", b"", b"c"], &mut bytes);
    assert_eq!(bytes, block_at(7, b"abc"));
}

#[test]
fn each_flipped_bit_is_found() {
    let bytes = block_at(512, b"payload");
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        decode(&damaged, 512, OWNER).unwrap_err();
        decode_any_owner(&damaged, 512).unwrap_err();
    }
    for length in 0..bytes.len() {
        let fault = decode(&bytes[..length], 512, OWNER).unwrap_err();
        assert!(matches!(fault, Corruption::Truncated { .. }), "{length}: {fault}");
    }
}

fn check_fault(change: impl FnOnce(&mut Vec<u8>), expected: Corruption) {
    let mut bytes = block_at(512, b"payload");
    change(&mut bytes);
    assert_eq!(decode(&bytes, 512, OWNER), Err(expected));
}

#[test]
fn faults_say_what_was_expected_and_found() {
    check_fault(|bytes| bytes[0] = 0, Corruption::NoBlock { found: [0, 0x42] });
    check_fault(|bytes| bytes[2] = 2, Corruption::NewerFraming { supported: 1, found: 2 });
    let (limit_bytes, found_bytes) = (PAYLOAD_BYTES_MAX as u32, 0xff00_0007);
    check_fault(|bytes| bytes[7] = 0xff, Corruption::LengthOverLimit { limit_bytes, found_bytes });
    let (expected_bytes, found_bytes) = (36 + 8, 36 + 7);
    check_fault(|bytes| bytes[4] = 8, Corruption::Truncated { expected_bytes, found_bytes });
    let other = FileId(OWNER.file_id.0 + 1);
    check_fault(
        |bytes| *bytes = encoded(BlockOwner { file_id: other, ..OWNER }, 512),
        Corruption::ForeignFile { expected: OWNER.file_id, found: other },
    );
    check_fault(
        |bytes| *bytes = encoded(BlockOwner { epoch: 8, ..OWNER }, 512),
        Corruption::WrongEpoch { expected: 9, found: 8 },
    );
    check_fault(
        |bytes| *bytes = encoded(OWNER, 1024),
        Corruption::Misplaced { expected: 512, found: 1024 },
    );
}

fn encoded(owner: BlockOwner, offset: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(owner, 5, offset, b"payload", &mut bytes);
    bytes
}

#[test]
fn faults_read_as_sentences() {
    let check = |fault: Corruption, expected: &str| {
        let error = IoError::corrupt("delta-7", 4096, fault);
        assert_eq!(error.to_string(), format!("cannot read delta-7 at byte 4096: {expected}"));
    };
    let remedy = "; restore the file from a copy, or go back to an older checkpoint";
    check(
        Corruption::NoBlock { found: [0, 0xa] },
        &format!("expected a block, which begins with 54 42, found 00 0a{remedy}"),
    );
    check(
        Corruption::Checksum { expected: 1, found: 0xabcd },
        &format!("expected checksum 00000001, found 0000abcd{remedy}"),
    );
    check(
        Corruption::NewerFraming { supported: 1, found: 2 },
        "expected block framing up to version 1, found version 2; open it with the version of \
         Thalweg that wrote it, or a later one",
    );
}

#[test]
fn a_block_is_read_at_its_address() {
    let mut bytes = block_at(0, b"first");
    let second = encode(OWNER, 6, bytes.len() as u64, &[7; 100], &mut bytes);
    let file = file_of(&bytes);
    let mut buffer = vec![1; 500];
    let block = read_block(&*file, second, OWNER, &mut buffer).unwrap();
    assert_eq!((block.kind, block.payload), (6, &[7; 100][..]));

    let check = |address, expected: Corruption| {
        let error = read_block(&*file, address, OWNER, &mut Vec::new()).unwrap_err();
        assert_eq!(error.corruption(), Some(&expected));
        assert_eq!((error.path(), error.site().offset), (Path::new("file"), Some(address.offset)));
    };
    let BlockAddress { offset, length_bytes } = second;
    check(
        BlockAddress { offset, length_bytes: length_bytes + 1 },
        Corruption::Truncated { expected_bytes: 137, found_bytes: 136 },
    );
    check(
        BlockAddress { offset, length_bytes: u32::MAX },
        Corruption::Truncated { expected_bytes: u64::from(u32::MAX), found_bytes: 136 },
    );
    check(
        BlockAddress { offset: 0, length_bytes: 50 },
        Corruption::WrongLength { expected_bytes: 50, found_bytes: 41 },
    );
    check(
        BlockAddress { offset: 0, length_bytes: 3 },
        Corruption::Truncated { expected_bytes: 36, found_bytes: 3 },
    );
    check(BlockAddress { offset: 1, length_bytes }, Corruption::NoBlock { found: [0x42, 1] });
    check(
        BlockAddress { offset: u64::MAX, length_bytes },
        Corruption::Truncated { expected_bytes: 136, found_bytes: 0 },
    );
}

#[test]
fn a_scan_goes_over_all_blocks_and_stops_at_damage() {
    let mut bytes = Vec::new();
    let lengths = [0, 1, 100_000, 300_000, 5, 600_000, 17];
    let mut addresses = Vec::new();
    for (index, length) in lengths.iter().enumerate() {
        let payload = vec![index as u8; *length];
        addresses.push(encode(OWNER, index as u8, bytes.len() as u64, &payload, &mut bytes));
    }
    let file = file_of(&bytes);
    let mut scan = BlockScan::new(&*file, OWNER, 0, bytes.len() as u64);
    for (index, address) in addresses.iter().enumerate() {
        assert_eq!(scan.offset(), address.offset);
        let block = scan.advance().unwrap().unwrap();
        assert_eq!((block.kind, block.address), (index as u8, *address));
        assert!(block.payload.iter().all(|byte| *byte == index as u8));
    }
    assert!(scan.advance().unwrap().is_none());

    bytes[addresses[3].offset as usize + 200_000] ^= 4;
    let file = file_of(&bytes);
    let mut scan = BlockScan::new(&*file, OWNER, 0, bytes.len() as u64);
    for _ in 0..3 {
        scan.advance().unwrap().unwrap();
    }
    for _ in 0..2 {
        let error = scan.advance().unwrap_err();
        assert!(matches!(error.corruption(), Some(Corruption::Checksum { .. })), "{error}");
        assert_eq!(error.site().offset, Some(addresses[3].offset), "stays where it is");
    }
    let found = scan.find_block(addresses[3].offset + 1, |_| true).unwrap();
    assert_eq!(found, Some(addresses[4].offset));
    let found = scan.find_block(0, |block| block.payload.len() == 17).unwrap();
    assert_eq!(found, Some(addresses[6].offset));
    assert_eq!(scan.find_block(addresses[6].offset + 1, |_| true).unwrap(), None);
}

#[test]
fn a_file_that_shrinks_while_it_is_scanned_is_truncated() {
    let bytes = block_at(0, b"payload");
    let file = file_of(&bytes);
    let mut scan = BlockScan::new(&*file, OWNER, 0, 1 << 40);
    let error = scan.advance().unwrap_err();
    assert!(matches!(error.corruption(), Some(Corruption::Truncated { .. })), "{error}");
}
