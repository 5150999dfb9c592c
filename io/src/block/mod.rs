//! Checksummed framing of byte blocks: what every file of the state store is made of.
//!
//! A block says whose it is (file id and epoch), where it belongs (its offset in the file) and what
//! it holds (kind, length, payload), all under one CRC32C. So a reader notices flipped bits, torn
//! and lost sectors, writes that went astray, and intact blocks that an earlier life of a recycled
//! file left behind.
//!
//! # Format, version 1
//!
//! All numbers are little-endian.
//!
//! ```text
//! offset  bytes  field
//!      0      2  magic 54 42 ("TB")
//!      2      1  version of this framing: 1
//!      3      1  kind: 0..=239 are the user's, 240..=255 those of `checkpoint_file`
//!      4      4  length of the payload, at most 2^30
//!      8      8  epoch
//!     16      8  file id
//!     24      8  offset in the file of this block's first byte
//!     32      4  CRC32C (Castagnoli) of bytes 0..32 and of the payload
//!     36      n  payload
//! ```
//!
//! Blocks follow each other without gaps; payloads are **not** aligned: who reads archived values
//! from one copies them to aligned memory.
//!
//! Version log: 1, the first.
//!
//! # Invariants
//!
//! - The pair (file id, epoch) is used for one file only, ever, also across restarts; that is the
//!   caller's business. Then an intact block with the right owner and offset is the right block.
//! - Faults are sought in this order: magic, version, length, checksum, owner, offset. So a foreign
//!   file, a wrong epoch and a misplaced block are reported only of intact blocks; anything else
//!   is damage.
//! - Memory taken while reading is bounded by the bytes that are there, not by a length that was
//!   read.
//!
//! # Examples
//!
//! ```
//! use thalweg_io::block::{self, BlockOwner, FileId};
//!
//! let owner = BlockOwner { file_id: FileId(7), epoch: 3 };
//! let mut file = Vec::new();
//! let first = block::encode(owner, 1, 0, b"hello", &mut file);
//! let second = block::encode(owner, 2, first.end(), b"world", &mut file);
//!
//! let block = block::decode(&file[second.offset as usize..], second.offset, owner).unwrap();
//! assert_eq!((block.kind, block.payload), (2, &b"world"[..]));
//!
//! file[3] ^= 1;
//! assert!(block::decode(&file, 0, owner).is_err());
//! ```

mod frame;
mod read;
mod scan;

use std::fmt;

pub use frame::{decode, decode_any_owner, encode, encode_parts};
pub use read::{check_read, read_block};
pub use scan::BlockScan;

/// The bytes in front of a payload.
pub const HEADER_BYTES: usize = 36;

/// The longest payload: 1 GiB.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 30;

/// The version of the framing that this build writes, and the latest that it reads.
pub const FRAMING_VERSION: u8 = 1;

/// Kinds from here on belong to [`checkpoint_file`](crate::checkpoint_file).
pub const RESERVED_KINDS_START: u8 = 0xF0;

/// What a store calls a file; unlike a path it never changes and is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u64);

impl fmt::Display for FileId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Whose a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockOwner {
    /// The file that it was written for.
    pub file_id: FileId,
    /// The epoch in which that file was begun.
    pub epoch: u64,
}

/// Where a block lies in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockAddress {
    /// The offset of its first byte.
    pub offset: u64,
    /// Its length, header included.
    pub length_bytes: u32,
}

impl BlockAddress {
    /// The offset after its last byte; an address that was read may be any number.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.length_bytes))
    }
}

/// A block that was read and found intact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    /// What the payload is.
    pub kind: u8,
    /// Whose it is.
    pub owner: BlockOwner,
    /// Where it lies.
    pub address: BlockAddress,
    /// The checksum in its header.
    pub checksum: u32,
    /// What it holds.
    pub payload: &'a [u8],
}

#[cfg(test)]
mod tests;
