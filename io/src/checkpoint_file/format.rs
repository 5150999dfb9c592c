//! The header block: which format a file has, and of which version.

use std::path::Path;

use crate::block::{
    self, Block, BlockAddress, BlockOwner, HEADER_BYTES, RESERVED_KINDS_START, decode_any_owner,
};
use crate::corruption::Corruption;
use crate::error::IoError;
use crate::storage::ReadFile;

pub(super) const HEADER_KIND: u8 = RESERVED_KINDS_START;
pub(super) const TRAILER_KIND: u8 = RESERVED_KINDS_START + 1;
pub(super) const FILLER_KIND: u8 = RESERVED_KINDS_START + 2;

const MAGIC: &[u8; 7] = b"THALWEG";
const PAYLOAD_BYTES: usize = 24;
/// The length of the header block.
pub(super) const HEADER_BLOCK_BYTES: usize = HEADER_BYTES + PAYLOAD_BYTES;

/// A sealed file or a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Sealed = 1,
    Log = 2,
}

impl Shape {
    fn name(byte: u8) -> &'static str {
        match byte {
            1 => "sealed file",
            2 => "log",
            _ => "unknown shape",
        }
    }
}

/// What the blocks of a file hold: a name and a version.
///
/// # Examples
///
/// ```
/// use thalweg_io::checkpoint_file::FileFormat;
///
/// const DELTA: FileFormat = FileFormat::new("delta", 1);
/// assert_eq!(DELTA.to_string(), "delta version 1");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileFormat {
    name: [u8; 8],
    version: u32,
}

impl FileFormat {
    /// The format of this name and version.
    ///
    /// # Panics
    ///
    /// Unless the name is 1 to 8 visible ASCII characters; in a constant, at compile time.
    pub const fn new(name: &str, version: u32) -> Self {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty() && bytes.len() <= 8, "a format's name has 1 to 8 characters");
        let mut padded = [0; 8];
        let mut index = 0;
        while index < bytes.len() {
            assert!(bytes[index].is_ascii_graphic(), "a format's name is visible ASCII");
            padded[index] = bytes[index];
            index += 1;
        }
        Self { name: padded, version }
    }

    /// The version.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// The name; bytes of a foreign file that are not text are replaced.
    pub fn name(&self) -> String {
        let end = self.name.iter().position(|byte| *byte == 0).unwrap_or(self.name.len());
        String::from_utf8_lossy(&self.name[..end]).into_owned()
    }
}

impl std::fmt::Display for FileFormat {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} version {}", self.name(), self.version)
    }
}

/// Appends a header block to `bytes`, which are the first of a file.
pub(super) fn encode_header(
    format: FileFormat,
    shape: Shape,
    owner: BlockOwner,
    bytes: &mut Vec<u8>,
) -> BlockAddress {
    let mut payload = [0; PAYLOAD_BYTES];
    payload[..7].copy_from_slice(MAGIC);
    payload[7] = shape as u8;
    payload[8..16].copy_from_slice(&format.name);
    payload[16..20].copy_from_slice(&format.version.to_le_bytes());
    block::encode(owner, HEADER_KIND, 0, &payload, bytes)
}

/// What a header block says.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileHeader {
    pub(super) format: FileFormat,
    pub(super) owner: BlockOwner,
    /// Of the header block.
    pub(super) checksum: u32,
    shape: u8,
}

/// Reads which format, owner and version a file has, whatever they are.
///
/// For tools that look at files of any format; who knows what a file should be opens it with
/// [`CheckpointFileReader`](super::CheckpointFileReader) or [`LogReader`](super::LogReader).
///
/// # Errors
///
/// [`IoError::Corrupt`] if the file does not begin with an intact header block.
pub fn inspect_header(file: &dyn ReadFile) -> Result<(FileFormat, BlockOwner), IoError> {
    let header = read_any_header(file)?;
    Ok((header.format, header.owner))
}

/// Reads the header block of a file that should have this format.
pub(super) fn read_header(
    file: &dyn ReadFile,
    format: FileFormat,
    shape: Shape,
) -> Result<FileHeader, IoError> {
    let header = read_any_header(file)?;
    check_format(&header, format, shape)
        .map_err(|fault| IoError::corrupt(file.path(), HEADER_BYTES as u64, fault))?;
    Ok(header)
}

fn read_any_header(file: &dyn ReadFile) -> Result<FileHeader, IoError> {
    let mut bytes = [0; HEADER_BLOCK_BYTES];
    let found_bytes = match file.read_exact_at(0, &mut bytes) {
        Ok(()) => bytes.len(),
        Err(IoError::UnexpectedEnd { found_bytes, .. }) => found_bytes,
        Err(other) => return Err(other),
    };
    parse_header(&bytes[..found_bytes]).map_err(|fault| IoError::corrupt(file.path(), 0, fault))
}

fn parse_header(bytes: &[u8]) -> Result<FileHeader, Corruption> {
    let block = decode_any_owner(bytes, 0).map_err(|fault| match fault {
        Corruption::NoBlock { .. } => Corruption::NotThalweg,
        // Longer than any header block of this version: not one.
        Corruption::Truncated { .. } if bytes.len() == HEADER_BLOCK_BYTES => Corruption::NotThalweg,
        other => other,
    })?;
    let Block { kind, payload, .. } = block;
    if kind != HEADER_KIND || payload.len() != PAYLOAD_BYTES || payload[..7] != *MAGIC {
        return Err(Corruption::NotThalweg);
    }
    let name = payload[8..16].try_into().expect("eight bytes");
    let version = u32::from_le_bytes(payload[16..20].try_into().expect("four bytes"));
    let format = FileFormat { name, version };
    Ok(FileHeader { format, owner: block.owner, checksum: block.checksum, shape: payload[7] })
}

fn check_format(header: &FileHeader, expected: FileFormat, shape: Shape) -> Result<(), Corruption> {
    let found = header.format;
    if found.name != expected.name || header.shape != shape as u8 {
        let describe =
            |format: FileFormat, shape| format!("{} ({})", format.name(), Shape::name(shape));
        return Err(Corruption::ForeignFormat {
            expected: describe(expected, shape as u8),
            found: describe(found, header.shape),
        });
    }
    if found.version > expected.version {
        let (supported, found) = (expected.version, found.version);
        return Err(Corruption::NewerFormat { format: expected.name(), supported, found });
    }
    Ok(())
}

/// What a file is, and whose, for errors and tools.
pub(super) fn check_owner(
    path: &Path,
    header: &FileHeader,
    expected: BlockOwner,
) -> Result<(), IoError> {
    let found = header.owner;
    let fault = if found.file_id != expected.file_id {
        Corruption::ForeignFile { expected: expected.file_id, found: found.file_id }
    } else if found.epoch != expected.epoch {
        Corruption::WrongEpoch { expected: expected.epoch, found: found.epoch }
    } else {
        return Ok(());
    };
    Err(IoError::corrupt(path, 0, fault))
}
