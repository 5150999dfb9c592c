//! What is wrong with bytes that were read: damaged, foreign, or newer than this build.
//!
//! Where (file and offset) is in the [`IoSite`](crate::IoSite) of the
//! [`IoError::Corrupt`](crate::IoError::Corrupt) around it.

use thiserror::Error;

use crate::block::FileId;

/// What was expected of a block or file, and what was found.
///
/// The text ends with what helps.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Corruption {
    /// No block begins here.
    #[error("expected a block, which begins with 54 42, found {:02x} {:02x}{RESTORE}", .found[0], .found[1])]
    NoBlock {
        /// The first two bytes.
        found: [u8; 2],
    },
    /// The framing of the block is of a later version.
    #[error("expected block framing up to version {supported}, found version {found}{UPGRADE}")]
    NewerFraming {
        /// The latest version that this build reads.
        supported: u8,
        /// The block's.
        found: u8,
    },
    /// The length in the header is more than any block has.
    #[error(
        "expected a payload of at most {limit_bytes} bytes, found a length of {found_bytes}{RESTORE}"
    )]
    LengthOverLimit {
        /// The most a block may have.
        limit_bytes: u32,
        /// What the header says.
        found_bytes: u32,
    },
    /// The bytes end before the block or file does.
    #[error("expected {expected_bytes} bytes, found {found_bytes} before the end{RESTORE}")]
    Truncated {
        /// How many there should be.
        expected_bytes: u64,
        /// How many there are.
        found_bytes: u64,
    },
    /// The checksum does not match.
    #[error("expected checksum {expected:08x}, found {found:08x}{RESTORE}")]
    Checksum {
        /// What the header says.
        expected: u32,
        /// What header and payload have.
        found: u32,
    },
    /// An intact block that belongs to another file: a stale part of a recycled one, a write that
    /// went astray, or the wrong file.
    #[error("expected a block of file {expected}, found one of file {found}{RESTORE}")]
    ForeignFile {
        /// The file that is read.
        expected: FileId,
        /// The file that the block was written for.
        found: FileId,
    },
    /// An intact block of another epoch of the file.
    #[error("expected a block of epoch {expected}, found one of epoch {found}{RESTORE}")]
    WrongEpoch {
        /// The epoch that is read.
        expected: u64,
        /// The block's.
        found: u64,
    },
    /// An intact block that was written for another place of this file.
    #[error("expected the block of byte {expected}, found that of byte {found}{RESTORE}")]
    Misplaced {
        /// Where it was found.
        expected: u64,
        /// Where it belongs.
        found: u64,
    },
    /// An intact block of another length than its address says.
    #[error("expected a block of {expected_bytes} bytes, found one of {found_bytes}{RESTORE}")]
    WrongLength {
        /// The length in the address.
        expected_bytes: u32,
        /// The length in the header.
        found_bytes: u32,
    },
    /// An intact block of another kind.
    #[error("expected a block of kind {expected:#04x}, found kind {found:#04x}{RESTORE}")]
    WrongKind {
        /// The kind that has to be here.
        expected: u8,
        /// The block's.
        found: u8,
    },
    /// The file does not begin as the project's files do.
    #[error("expected a file of Thalweg, found other contents; check the path")]
    NotThalweg,
    /// A file of this project, of another format.
    #[error("expected a file of format `{expected}`, found `{found}`; check the path")]
    ForeignFormat {
        /// The format that is read.
        expected: String,
        /// The file's.
        found: String,
    },
    /// The file's format is of a later version.
    #[error("expected format `{format}` up to version {supported}, found version {found}{UPGRADE}")]
    NewerFormat {
        /// The format's name.
        format: String,
        /// The latest version that this build reads.
        supported: u32,
        /// The file's.
        found: u32,
    },
    /// The file has no trailer: its writer did not get to its end, or its end is lost.
    #[error("expected a trailer in the last bytes, found none: the file is incomplete{RESTORE}")]
    NoTrailer,
    /// A number in the file's trailer, or in the seal by which the file is known elsewhere, is not
    /// that of the file.
    #[error("expected the {what} {expected:#x}, found {found:#x}{RESTORE}")]
    SealMismatch {
        /// Which number.
        what: &'static str,
        /// What the trailer or the seal says.
        expected: u64,
        /// What the file has.
        found: u64,
    },
    /// A log is damaged before its end: bytes were durable that are not there any more.
    #[error("{fault}; byte {valid_offset} shows that this part of the log had been synced")]
    DamagedWithinLog {
        /// The offset of an intact block that was written after the damaged one was durable.
        valid_offset: u64,
        /// What is wrong with the damaged one.
        fault: Box<Corruption>,
    },
}

/// How the text of damage ends.
const RESTORE: &str = "; restore the file from a copy, or go back to an older checkpoint";
/// How the text of newer versions ends.
const UPGRADE: &str = "; open it with the version of Thalweg that wrote it, or a later one";
