//! All blocks of a part of a file, one after the other, read in large pieces.

use std::ops::Deref;
use std::path::Path;

use super::frame::{MAGIC, decode, frame_bytes, may_begin_block, parse};
use super::{Block, BlockOwner, HEADER_BYTES};
use crate::corruption::Corruption;
use crate::error::IoError;
use crate::storage::ReadFile;

/// How much is read at once, at least: the disk's throughput is reached, and it stays in L2.
const WINDOW_BYTES: usize = 256 << 10;

/// Reads blocks forward; see [`Self::advance`].
///
/// # Invariants
///
/// - `window` holds the bytes of the file from `window_offset` on; `offset`, that of the next
///   block, lies in it or at its end.
#[derive(Debug)]
pub struct BlockScan<F: Deref<Target = dyn ReadFile>> {
    file: F,
    owner: BlockOwner,
    window: Vec<u8>,
    window_offset: u64,
    offset: u64,
    end: u64,
}

impl<F: Deref<Target = dyn ReadFile>> BlockScan<F> {
    /// Reads the blocks from byte `start` to byte `end` of `file`, which has so many.
    pub fn new(file: F, owner: BlockOwner, start: u64, end: u64) -> Self {
        let window = Vec::new();
        Self { file, owner, window, window_offset: start, offset: start, end }
    }

    /// The offset of the next block.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The file that is read.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Goes to the next block; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`IoError::Corrupt`] if the bytes there are not the block that belongs there; the scan
    /// stays where it is. Otherwise what the storage says.
    pub fn advance(&mut self) -> Result<Option<Block<'_>>, IoError> {
        let Some(block) = self.check_next()? else {
            return Ok(None);
        };
        let address = block.address;
        self.offset = address.end();
        let start = (address.offset - self.window_offset) as usize;
        let frame = &self.window[start..start + address.length_bytes as usize];
        Ok(Some(parse(frame, address.offset)))
    }

    /// The block that [`Self::advance`] would go to.
    ///
    /// # Errors
    ///
    /// As those of [`Self::advance`].
    pub fn check_next(&mut self) -> Result<Option<Block<'_>>, IoError> {
        if self.offset == self.end {
            return Ok(None);
        }
        self.require(HEADER_BYTES)?;
        let frame_bytes = frame_bytes(self.rest()).map_err(|fault| self.corrupt(fault))?;
        let found_bytes = self.end - self.offset;
        if frame_bytes as u64 > found_bytes {
            let expected_bytes = frame_bytes as u64;
            return Err(self.corrupt(Corruption::Truncated { expected_bytes, found_bytes }));
        }
        self.require(frame_bytes)?;
        decode(self.rest(), self.offset, self.owner).map(Some).map_err(|fault| self.corrupt(fault))
    }

    /// The offset of the first intact block from byte `from` on for which `is_wanted` holds.
    ///
    /// Blocks are sought at every byte.
    ///
    /// # Errors
    ///
    /// What the storage says.
    pub(crate) fn find_block(
        &mut self,
        from: u64,
        mut is_wanted: impl FnMut(&Block<'_>) -> bool,
    ) -> Result<Option<u64>, IoError> {
        if from < self.window_offset {
            self.window.clear();
            self.window_offset = from;
        }
        self.offset = from;
        while self.offset + HEADER_BYTES as u64 <= self.end {
            self.require(HEADER_BYTES)?;
            // Skips what cannot be a first byte; the last bytes of the window need the next one.
            let candidates = self.rest().len() - HEADER_BYTES + 1;
            let is_first = |byte: &u8| *byte == MAGIC[0];
            let Some(skipped) = self.rest()[..candidates].iter().position(is_first) else {
                self.offset += candidates as u64;
                continue;
            };
            self.offset += skipped as u64;
            if may_begin_block(self.rest(), self.offset, self.owner) {
                let offset = self.offset;
                match self.advance() {
                    Ok(Some(block)) if is_wanted(&block) => return Ok(Some(offset)),
                    Ok(_) | Err(IoError::Corrupt { .. }) => self.offset = offset,
                    Err(other) => return Err(other),
                }
            }
            self.offset += 1;
        }
        Ok(None)
    }

    /// Whether the next bytes are the header of a block of this file at this place, intact or not.
    pub(crate) fn is_own_header_next(&self) -> bool {
        may_begin_block(self.rest(), self.offset, self.owner)
    }

    /// What the window holds from the next block on.
    fn rest(&self) -> &[u8] {
        &self.window[(self.offset - self.window_offset) as usize..]
    }

    fn corrupt(&self, fault: Corruption) -> IoError {
        IoError::corrupt(self.file.path(), self.offset, fault)
    }

    /// Reads on until the window holds `byte_count` bytes of the next block, or all to the end.
    fn require(&mut self, byte_count: usize) -> Result<(), IoError> {
        let remaining = self.end - self.offset;
        let wanted = usize::try_from(remaining).unwrap_or(usize::MAX).min(byte_count);
        let buffered = self.window_offset + self.window.len() as u64;
        if self.offset > buffered {
            self.window.clear();
            self.window_offset = self.offset;
        }
        if self.rest().len() >= wanted {
            return Ok(());
        }
        let used = (self.offset - self.window_offset) as usize;
        self.window.drain(..used);
        self.window_offset = self.offset;
        let have = self.window.len();
        let target = usize::try_from(remaining).unwrap_or(usize::MAX).min(wanted.max(WINDOW_BYTES));
        self.window.resize(target, 0);
        let read = self.file.read_exact_at(self.offset + have as u64, &mut self.window[have..]);
        match read {
            Ok(()) => Ok(()),
            Err(IoError::UnexpectedEnd { found_bytes, .. }) => {
                // The file is shorter than it was: no block goes beyond what is there.
                self.window.truncate(have + found_bytes);
                let (expected_bytes, found_bytes) = (remaining, self.window.len() as u64);
                Err(self.corrupt(Corruption::Truncated { expected_bytes, found_bytes }))
            }
            Err(other) => {
                self.window.truncate(have);
                Err(other)
            }
        }
    }
}
