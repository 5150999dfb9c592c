//! A log while it is read, from its first block to its end.

use std::path::Path;

use super::format::{
    FILLER_KIND, FileFormat, FileHeader, HEADER_BLOCK_BYTES, Shape, check_owner, read_header,
};
use crate::block::{Block, BlockAddress, BlockOwner, BlockScan, RESERVED_KINDS_START};
use crate::corruption::Corruption;
use crate::error::IoError;
use crate::storage::{ReadFile, Storage};

/// In front of each payload: how much of the log was durable.
pub(super) const DURABLE_LENGTH_BYTES: usize = 8;

/// A block of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogBlock<'a> {
    /// What the payload is.
    pub kind: u8,
    /// Where the block lies.
    pub address: BlockAddress,
    /// What its writer appended.
    pub payload: &'a [u8],
}

/// Where a log ends, and what lies behind that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEnd {
    /// The offset after the last block.
    pub offset: u64,
    /// How many bytes of the file lie behind: none of them was ever known to be durable.
    pub cut_bytes: u64,
    /// Why they are no block, if there are any.
    pub fault: Option<Corruption>,
    /// Whether they begin as a block of this log, whose rest is missing or damaged: an append that
    /// a crash tore. Otherwise they are zeros, or what a recycled file held before.
    pub is_torn: bool,
}

impl LogEnd {
    /// Whether the file ends with a block.
    pub fn is_clean(&self) -> bool {
        self.cut_bytes == 0
    }
}

/// Reads the blocks of a log in order; see [`Self::advance`].
#[derive(Debug)]
pub struct LogReader {
    scan: BlockScan<Box<dyn ReadFile>>,
    header: FileHeader,
    length_bytes: u64,
    end: Option<LogEnd>,
}

impl LogReader {
    /// Opens a log of this format, with the length that it has now.
    ///
    /// # Errors
    ///
    /// [`IoError::Corrupt`] if it does not begin with the header of such a log; otherwise what the
    /// storage says.
    pub fn open(
        storage: &dyn Storage,
        path: impl AsRef<Path>,
        format: FileFormat,
    ) -> Result<Self, IoError> {
        let file = storage.open_read(path.as_ref())?;
        let header = read_header(&*file, format, Shape::Log)?;
        let length_bytes = file.length_bytes()?;
        let start = HEADER_BLOCK_BYTES as u64;
        let scan = BlockScan::new(file, header.owner, start, length_bytes.max(start));
        Ok(Self { scan, header, length_bytes, end: None })
    }

    /// As [`Self::open`], of the log of this owner.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_owned(
        storage: &dyn Storage,
        path: impl AsRef<Path>,
        format: FileFormat,
        owner: BlockOwner,
    ) -> Result<Self, IoError> {
        let reader = Self::open(storage, path, format)?;
        check_owner(reader.path(), &reader.header, owner)?;
        Ok(reader)
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        self.scan.path()
    }

    /// Its format; the version may be an earlier one than that it was opened with.
    pub fn format(&self) -> FileFormat {
        self.header.format
    }

    /// Whose its blocks are.
    pub fn owner(&self) -> BlockOwner {
        self.header.owner
    }

    /// The next block; `None` at the end of the log, which need not be that of the file.
    ///
    /// # Errors
    ///
    /// [`IoError::Corrupt`] with [`Corruption::DamagedWithinLog`] if bytes are damaged that had
    /// been synced; otherwise what the storage says.
    pub fn advance(&mut self) -> Result<Option<LogBlock<'_>>, IoError> {
        if self.end.is_some() {
            return Ok(None);
        }
        let (offset, fault) = loop {
            let offset = self.scan.offset();
            // What a block of a log has and others do not is a fault like any other.
            match self.scan.check_next() {
                Ok(None) => return Ok(self.end_at(offset, None, false)),
                Ok(Some(block)) => match check_log_block(&block) {
                    Ok(()) if block.kind == FILLER_KIND => drop(self.scan.advance()?),
                    Ok(()) => return Ok(self.scan.advance()?.map(log_block)),
                    Err(fault) => break (offset, fault),
                },
                Err(IoError::Corrupt { fault, .. }) => break (offset, *fault),
                Err(other) => return Err(other),
            }
        };
        let is_torn = self.scan.is_own_header_next();
        self.check_tail(offset, &fault)?;
        Ok(self.end_at(offset, Some(fault), is_torn))
    }

    /// Where the log ends, once [`Self::advance`] returned `None`.
    pub fn end(&self) -> Option<&LogEnd> {
        self.end.as_ref()
    }

    fn end_at(
        &mut self,
        offset: u64,
        fault: Option<Corruption>,
        is_torn: bool,
    ) -> Option<LogBlock<'_>> {
        let cut_bytes = self.length_bytes.saturating_sub(offset);
        self.end = Some(LogEnd { offset, cut_bytes, fault, is_torn });
        None
    }

    /// Fails if the bytes at `offset`, which are no block, once were a durable one.
    fn check_tail(&mut self, offset: u64, fault: &Corruption) -> Result<(), IoError> {
        let shows_damage =
            |block: &Block<'_>| check_log_block(block).is_ok() && durable_bytes(block) > offset;
        let Some(valid_offset) = self.scan.find_block(offset + 1, shows_damage)? else {
            return Ok(());
        };
        let fault = Corruption::DamagedWithinLog { valid_offset, fault: Box::new(fault.clone()) };
        Err(IoError::corrupt(self.path(), offset, fault))
    }
}

fn check_log_block(block: &Block<'_>) -> Result<(), Corruption> {
    if block.kind >= RESERVED_KINDS_START && block.kind != FILLER_KIND {
        return Err(Corruption::WrongKind { expected: 0, found: block.kind });
    }
    if block.payload.len() < DURABLE_LENGTH_BYTES {
        let (expected_bytes, found_bytes) =
            (DURABLE_LENGTH_BYTES as u64, block.payload.len() as u64);
        return Err(Corruption::Truncated { expected_bytes, found_bytes });
    }
    Ok(())
}

fn durable_bytes(block: &Block<'_>) -> u64 {
    let bytes = block.payload[..DURABLE_LENGTH_BYTES].try_into().expect("eight bytes");
    u64::from_le_bytes(bytes)
}

fn log_block(block: Block<'_>) -> LogBlock<'_> {
    let Block { kind, address, payload, .. } = block;
    LogBlock { kind, address, payload: &payload[DURABLE_LENGTH_BYTES..] }
}
