//! A sealed file while it is read.

use std::path::Path;

use super::format::{
    FileFormat, FileHeader, HEADER_BLOCK_BYTES, Shape, TRAILER_KIND, check_owner, read_header,
};
use super::seal::{Digest, FileSeal, TAIL_BYTES, Tail, check_number};
use crate::block::{
    self, Block, BlockAddress, BlockOwner, BlockScan, HEADER_BYTES, PAYLOAD_BYTES_MAX,
};
use crate::corruption::Corruption;
use crate::error::IoError;
use crate::storage::{ReadFile, Storage};

/// Reads the blocks of one sealed file, in any order.
///
/// Opening reads and checks header and trailer; each block is checked when it is read.
#[derive(Debug)]
pub struct CheckpointFileReader {
    file: Box<dyn ReadFile>,
    header: FileHeader,
    seal: FileSeal,
    tail: Tail,
    footer: Vec<u8>,
}

impl CheckpointFileReader {
    /// Opens the file that has this seal.
    ///
    /// # Errors
    ///
    /// [`IoError::Corrupt`] if it is not that file, is damaged or incomplete, or its format is of
    /// a later version; otherwise what the storage says.
    pub fn open(
        storage: &dyn Storage,
        path: impl AsRef<Path>,
        format: FileFormat,
        seal: &FileSeal,
    ) -> Result<Self, IoError> {
        let file = storage.open_read(path.as_ref())?;
        let header = read_header(&*file, format, Shape::Sealed)?;
        check_owner(file.path(), &header, seal.owner)?;
        let found_bytes = file.length_bytes()?;
        if found_bytes < seal.length_bytes {
            let expected_bytes = seal.length_bytes;
            let fault = Corruption::Truncated { expected_bytes, found_bytes };
            return Err(IoError::corrupt(file.path(), found_bytes, fault));
        }
        // A segment may be longer than what was written: the rest is nobody's.
        let reader = Self::open_trailer(file, header, seal.length_bytes)?;
        let check = || {
            check_number("block count", seal.block_count, reader.seal.block_count)?;
            check_number("digest", seal.digest, reader.seal.digest)
        };
        check().map_err(|fault| {
            IoError::corrupt(reader.file.path(), reader.tail.trailer_offset, fault)
        })?;
        Ok(reader)
    }

    /// Opens a file of which only the format is known; its trailer says what its seal is.
    ///
    /// The trailer is at the end of the file, or else sought block by block, as a segment may be
    /// longer than what was written.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn open_unsealed(
        storage: &dyn Storage,
        path: impl AsRef<Path>,
        format: FileFormat,
    ) -> Result<Self, IoError> {
        let file = storage.open_read(path.as_ref())?;
        let header = read_header(&*file, format, Shape::Sealed)?;
        let file_bytes = file.length_bytes()?;
        let length_bytes = match read_tail(&*file, file_bytes) {
            Ok(_) => file_bytes,
            Err(IoError::Corrupt { site, fault }) => find_end(&*file, header.owner, file_bytes)?
                .ok_or(IoError::Corrupt { site, fault })?,
            Err(other) => return Err(other),
        };
        Self::open_trailer(file, header, length_bytes)
    }

    fn open_trailer(
        file: Box<dyn ReadFile>,
        header: FileHeader,
        length_bytes: u64,
    ) -> Result<Self, IoError> {
        let tail = read_tail(&*file, length_bytes)?;
        let address = BlockAddress {
            offset: tail.trailer_offset,
            length_bytes: (length_bytes - tail.trailer_offset) as u32,
        };
        let mut footer = Vec::new();
        let block = block::read_block(&*file, address, header.owner, &mut footer)?;
        if block.kind != TRAILER_KIND {
            let fault = Corruption::WrongKind { expected: TRAILER_KIND, found: block.kind };
            return Err(IoError::corrupt(file.path(), tail.trailer_offset, fault));
        }
        let seal = FileSeal {
            owner: header.owner,
            block_count: tail.block_count,
            length_bytes,
            digest: tail.digest.with(block.checksum).0,
        };
        footer.truncate(footer.len() - TAIL_BYTES);
        footer.drain(..HEADER_BYTES);
        Ok(Self { file, header, seal, tail, footer })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Its format; the version may be an earlier one than that it was opened with.
    pub fn format(&self) -> FileFormat {
        self.header.format
    }

    /// Whose its blocks are.
    pub fn owner(&self) -> BlockOwner {
        self.header.owner
    }

    /// By what it is known.
    pub fn seal(&self) -> FileSeal {
        self.seal
    }

    /// What its writer put into the trailer.
    pub fn footer(&self) -> &[u8] {
        &self.footer
    }

    /// The file itself, for reads that are made together with others;
    /// [`block::check_read`] checks what they bring.
    pub fn file(&self) -> &(dyn ReadFile + 'static) {
        &*self.file
    }

    /// Reads and checks one block; its payload lies in `buffer`.
    ///
    /// # Errors
    ///
    /// [`IoError::Corrupt`] if it is not there or not intact; otherwise what the storage says.
    pub fn read_block<'a>(
        &self,
        address: BlockAddress,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Block<'a>, IoError> {
        // An address is read from a file too: memory is taken for blocks that can be there.
        let end = self.tail.trailer_offset;
        if address.offset.saturating_add(u64::from(address.length_bytes)) > end {
            let found_bytes = end.saturating_sub(address.offset);
            let expected_bytes = u64::from(address.length_bytes);
            let fault = Corruption::Truncated { expected_bytes, found_bytes };
            return Err(IoError::corrupt(self.file.path(), address.offset, fault));
        }
        block::read_block(&*self.file, address, self.header.owner, buffer)
    }

    /// All of the user's blocks, in order. Does not compare the digest.
    pub fn blocks(&self) -> BlockScan<&(dyn ReadFile + 'static)> {
        let start = HEADER_BLOCK_BYTES as u64;
        BlockScan::new(&*self.file, self.header.owner, start, self.tail.trailer_offset)
    }

    /// Reads the whole file and checks every block, their count and the digest.
    ///
    /// # Errors
    ///
    /// [`IoError::Corrupt`] for the first that is wrong; otherwise what the storage says.
    pub fn verify_all(&self) -> Result<(), IoError> {
        let mut digest = Digest::new().with(self.header.checksum);
        let mut block_count = 0;
        let mut blocks = self.blocks();
        while let Some(block) = blocks.advance()? {
            digest = digest.with(block.checksum);
            block_count += 1;
        }
        check_number("block count", self.tail.block_count, block_count)
            .and_then(|()| check_number("digest", self.tail.digest.0, digest.0))
            .map_err(|fault| IoError::corrupt(self.path(), self.tail.trailer_offset, fault))
    }
}

/// Reads the last bytes of a file and checks that the trailer block they describe can be there.
fn read_tail(file: &dyn ReadFile, length_bytes: u64) -> Result<Tail, IoError> {
    let corrupt = |offset, fault| Err(IoError::corrupt(file.path(), offset, fault));
    let bytes_min = (HEADER_BLOCK_BYTES + HEADER_BYTES + TAIL_BYTES) as u64;
    if length_bytes < bytes_min {
        return corrupt(length_bytes, Corruption::NoTrailer);
    }
    let offset = length_bytes - TAIL_BYTES as u64;
    let mut bytes = [0; TAIL_BYTES];
    file.read_exact_at(offset, &mut bytes)?;
    let tail = match Tail::decode(&bytes) {
        Ok(tail) => tail,
        Err(fault) => return corrupt(offset, fault),
    };
    // Not known to be intact yet: only so much that the block can be read and checked.
    let trailer_bytes = (HEADER_BYTES + TAIL_BYTES) as u64 + u64::from(tail.footer_bytes);
    let fits = trailer_bytes <= (HEADER_BYTES + PAYLOAD_BYTES_MAX) as u64
        && length_bytes.checked_sub(trailer_bytes) == Some(tail.trailer_offset)
        && tail.trailer_offset >= HEADER_BLOCK_BYTES as u64;
    if !fits {
        let expected = length_bytes.saturating_sub(trailer_bytes);
        let (what, found) = ("offset of the trailer", tail.trailer_offset);
        return corrupt(offset, Corruption::SealMismatch { what, expected, found });
    }
    Ok(tail)
}

/// The offset after the trailer block, sought block by block; `None` if the blocks end before.
fn find_end(
    file: &(dyn ReadFile + 'static),
    owner: BlockOwner,
    file_bytes: u64,
) -> Result<Option<u64>, IoError> {
    let mut blocks = BlockScan::new(file, owner, 0, file_bytes);
    loop {
        match blocks.advance() {
            Ok(Some(block)) if block.kind == TRAILER_KIND => return Ok(Some(block.address.end())),
            Ok(Some(_)) => {}
            Ok(None) | Err(IoError::Corrupt { .. }) => return Ok(None),
            Err(other) => return Err(other),
        }
    }
}
