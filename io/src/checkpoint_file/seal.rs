//! What a sealed file is known by, and the trailer that says so in the file itself.

use crate::block::BlockOwner;
use crate::corruption::Corruption;

pub(super) const TRAILER_MAGIC: &[u8; 8] = b"TWSEALED";
/// The fixed part at the end of the trailer's payload, and so of the file.
pub(super) const TAIL_BYTES: usize = 36;

/// By what a sealed file is known to those that refer to it, such as a manifest.
///
/// Opening a file with its seal refuses any other contents, also intact ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileSeal {
    /// Whose its blocks are.
    pub owner: BlockOwner,
    /// How many blocks there are between header and trailer.
    pub block_count: u64,
    /// The length of the file.
    pub length_bytes: u64,
    /// The digest of all its blocks.
    pub digest: u64,
}

/// The digest of a sequence of blocks; see the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest(pub(super) u64);

impl Digest {
    pub(super) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// The digest with one more block.
    pub(super) fn with(self, checksum: u32) -> Self {
        Self((self.0 ^ u64::from(checksum)).wrapping_mul(0x100_0000_01b3))
    }
}

/// The fixed part of the trailer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) block_count: u64,
    pub(super) trailer_offset: u64,
    /// Of the blocks before the trailer.
    pub(super) digest: Digest,
    pub(super) footer_bytes: u32,
}

impl Tail {
    pub(super) fn encode(&self) -> [u8; TAIL_BYTES] {
        let mut bytes = [0; TAIL_BYTES];
        bytes[..8].copy_from_slice(&self.block_count.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.trailer_offset.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.digest.0.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.footer_bytes.to_le_bytes());
        bytes[28..].copy_from_slice(TRAILER_MAGIC);
        bytes
    }

    pub(super) fn decode(bytes: &[u8; TAIL_BYTES]) -> Result<Self, Corruption> {
        if bytes[28..] != *TRAILER_MAGIC {
            return Err(Corruption::NoTrailer);
        }
        let number = |at: usize| {
            u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight of 36 bytes"))
        };
        Ok(Self {
            block_count: number(0),
            trailer_offset: number(8),
            digest: Digest(number(16)),
            footer_bytes: number(24) as u32,
        })
    }
}

/// Fails unless two numbers are the same.
pub(super) fn check_number(
    what: &'static str,
    expected: u64,
    found: u64,
) -> Result<(), Corruption> {
    if expected == found {
        return Ok(());
    }
    Err(Corruption::SealMismatch { what, expected, found })
}
