//! Blocks as bytes: encoding them into a buffer, decoding and checking them from a slice.

use super::{
    Block, BlockAddress, BlockOwner, FRAMING_VERSION, FileId, HEADER_BYTES, PAYLOAD_BYTES_MAX,
};
use crate::corruption::Corruption;
use crate::planted::{Fault, planted};

pub(super) const MAGIC: [u8; 2] = *b"TB";
/// Where the checksum lies; the header bytes before it are under it.
const CHECKSUM_AT: usize = 32;

/// Appends a block to `bytes`.
///
/// `offset` is where the block will lie in its file; the address returned has it.
///
/// # Panics
///
/// If the payload is longer than [`PAYLOAD_BYTES_MAX`].
pub fn encode(
    owner: BlockOwner,
    kind: u8,
    offset: u64,
    payload: &[u8],
    bytes: &mut Vec<u8>,
) -> BlockAddress {
    encode_parts(owner, kind, offset, &[payload], bytes)
}

/// Appends a block whose payload is `parts`, one after the other.
///
/// # Panics
///
/// If they are longer than [`PAYLOAD_BYTES_MAX`] together.
pub fn encode_parts(
    owner: BlockOwner,
    kind: u8,
    offset: u64,
    parts: &[&[u8]],
    bytes: &mut Vec<u8>,
) -> BlockAddress {
    let payload_bytes: usize = parts.iter().map(|part| part.len()).sum();
    assert!(payload_bytes <= PAYLOAD_BYTES_MAX, "a payload of {payload_bytes} bytes");
    let mut header = [0; HEADER_BYTES];
    header[0..2].copy_from_slice(&MAGIC);
    header[2] = FRAMING_VERSION;
    header[3] = kind;
    header[4..8].copy_from_slice(&(payload_bytes as u32).to_le_bytes());
    header[8..16].copy_from_slice(&owner.epoch.to_le_bytes());
    header[16..24].copy_from_slice(&owner.file_id.0.to_le_bytes());
    header[24..32].copy_from_slice(&offset.to_le_bytes());
    let mut checksum = crc32c::crc32c(&header[..CHECKSUM_AT]);
    bytes.reserve(HEADER_BYTES + payload_bytes);
    let start = bytes.len();
    bytes.extend_from_slice(&header);
    for part in parts {
        checksum = crc32c::crc32c_append(checksum, part);
        bytes.extend_from_slice(part);
    }
    bytes[start + CHECKSUM_AT..start + HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    BlockAddress { offset, length_bytes: (HEADER_BYTES + payload_bytes) as u32 }
}

/// The block at the start of `bytes`, which were read at `offset` and may go on behind it.
///
/// # Errors
///
/// What is wrong with it; in the order of faults that the module promises.
pub fn decode(bytes: &[u8], offset: u64, owner: BlockOwner) -> Result<Block<'_>, Corruption> {
    let block = decode_intact(bytes, offset)?;
    check_owner(&block, owner)?;
    check_offset(block, bytes, offset)
}

/// As [`decode`], of a file whose owner is not known: the block says it.
///
/// # Errors
///
/// As [`decode`].
pub fn decode_any_owner(bytes: &[u8], offset: u64) -> Result<Block<'_>, Corruption> {
    let block = decode_intact(bytes, offset)?;
    check_offset(block, bytes, offset)
}

fn check_owner(block: &Block<'_>, expected: BlockOwner) -> Result<(), Corruption> {
    let found = block.owner;
    if found.file_id != expected.file_id {
        let (expected, found) = (expected.file_id, found.file_id);
        return Err(Corruption::ForeignFile { expected, found });
    }
    if found.epoch != expected.epoch {
        let (expected, found) = (expected.epoch, found.epoch);
        return Err(Corruption::WrongEpoch { expected, found });
    }
    Ok(())
}

fn check_offset<'a>(
    block: Block<'a>,
    bytes: &[u8],
    expected: u64,
) -> Result<Block<'a>, Corruption> {
    match number(bytes, 24) {
        found if found == expected => Ok(block),
        found => Err(Corruption::Misplaced { expected, found }),
    }
}

/// A block that is what its writer made it, whoever that was and wherever it belongs.
fn decode_intact(bytes: &[u8], offset: u64) -> Result<Block<'_>, Corruption> {
    let length_bytes = frame_bytes(bytes)?;
    let Some(frame) = bytes.get(..length_bytes) else {
        return Err(truncated(length_bytes, bytes.len()));
    };
    let block = parse(frame, offset);
    let found = crc32c::crc32c_append(crc32c::crc32c(&frame[..CHECKSUM_AT]), block.payload);
    if found != block.checksum && !planted(Fault::ChecksumIgnored) {
        return Err(Corruption::Checksum { expected: block.checksum, found });
    }
    Ok(block)
}

/// The fields of a frame, at least as long as a header; nothing is checked.
pub(super) fn parse(frame: &[u8], offset: u64) -> Block<'_> {
    let owner = BlockOwner { file_id: FileId(number(frame, 16)), epoch: number(frame, 8) };
    let address = BlockAddress { offset, length_bytes: frame.len() as u32 };
    let checksum = u32::from_le_bytes(array(frame, CHECKSUM_AT));
    Block { kind: frame[3], owner, address, checksum, payload: &frame[HEADER_BYTES..] }
}

/// The length of the block that the header at the start of `bytes` announces.
pub(super) fn frame_bytes(bytes: &[u8]) -> Result<usize, Corruption> {
    if bytes.len() >= 2 && bytes[..2] != MAGIC {
        return Err(Corruption::NoBlock { found: [bytes[0], bytes[1]] });
    }
    if bytes.len() < HEADER_BYTES {
        return Err(truncated(HEADER_BYTES, bytes.len()));
    }
    let (supported, found) = (FRAMING_VERSION, bytes[2]);
    // Version 0 was never written: damage, which the checksum finds.
    if found > supported {
        return Err(Corruption::NewerFraming { supported, found });
    }
    let found_bytes = u32::from_le_bytes(array(bytes, 4));
    if found_bytes as usize > PAYLOAD_BYTES_MAX {
        let limit_bytes = PAYLOAD_BYTES_MAX as u32;
        return Err(Corruption::LengthOverLimit { limit_bytes, found_bytes });
    }
    Ok(HEADER_BYTES + found_bytes as usize)
}

/// Whether the header at the start of `bytes` is that of a block of `owner` at `offset`, leaving
/// open whether the block is intact. Cheap: for seeking blocks in damaged files.
pub(crate) fn may_begin_block(bytes: &[u8], offset: u64, owner: BlockOwner) -> bool {
    frame_bytes(bytes).is_ok()
        && number(bytes, 24) == offset
        && number(bytes, 16) == owner.file_id.0
        && number(bytes, 8) == owner.epoch
}

fn truncated(expected_bytes: usize, found_bytes: usize) -> Corruption {
    let (expected_bytes, found_bytes) = (expected_bytes as u64, found_bytes as u64);
    Corruption::Truncated { expected_bytes, found_bytes }
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes")
}
