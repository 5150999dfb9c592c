//! One block read from a file at a known address.

use super::{Block, BlockAddress, BlockOwner, HEADER_BYTES, frame};
use crate::corruption::Corruption;
use crate::error::IoError;
use crate::storage::ReadFile;

/// Up to this length the buffer is taken without asking whether the file is so long.
const TRUSTED_BYTES: u32 = 1 << 20;

/// Reads and checks the block at `address`; its payload lies in `buffer`.
///
/// # Errors
///
/// [`IoError::Corrupt`] if the file ends before or the block is not the right one; otherwise what
/// the storage says.
pub fn read_block<'a>(
    file: &dyn ReadFile,
    address: BlockAddress,
    owner: BlockOwner,
    buffer: &'a mut Vec<u8>,
) -> Result<Block<'a>, IoError> {
    // An address is read from a file too: memory is taken for bytes that exist.
    if address.length_bytes > TRUSTED_BYTES {
        let found_bytes = file.length_bytes()?.saturating_sub(address.offset);
        if found_bytes < u64::from(address.length_bytes) {
            return Err(truncated(file, address, found_bytes));
        }
    }
    buffer.resize(address.length_bytes as usize, 0);
    match file.read_exact_at(address.offset, buffer) {
        Ok(()) => check_read(file, address, owner, buffer),
        Err(IoError::UnexpectedEnd { found_bytes, .. }) => {
            Err(truncated(file, address, found_bytes as u64))
        }
        Err(other) => Err(other),
    }
}

/// Checks bytes that were read from `address` by other means, such as together with others.
///
/// # Errors
///
/// [`IoError::Corrupt`] if they are not the block.
pub fn check_read<'a>(
    file: &dyn ReadFile,
    address: BlockAddress,
    owner: BlockOwner,
    bytes: &'a [u8],
) -> Result<Block<'a>, IoError> {
    let corrupt = |fault| IoError::corrupt(file.path(), address.offset, fault);
    let block = frame::decode(bytes, address.offset, owner).map_err(corrupt)?;
    if block.address != address {
        let (expected_bytes, found_bytes) = (address.length_bytes, block.address.length_bytes);
        return Err(corrupt(Corruption::WrongLength { expected_bytes, found_bytes }));
    }
    assert!(block.payload.len() + HEADER_BYTES == address.length_bytes as usize);
    Ok(block)
}

fn truncated(file: &dyn ReadFile, address: BlockAddress, found_bytes: u64) -> IoError {
    let expected_bytes = u64::from(address.length_bytes);
    let fault = Corruption::Truncated { expected_bytes, found_bytes };
    IoError::corrupt(file.path(), address.offset, fault)
}
