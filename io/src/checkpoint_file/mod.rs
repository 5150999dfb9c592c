//! Files of checksummed blocks: sealed files, written once, and logs, appended to.
//!
//! ```text
//!  CheckpointFileWriter ──append_block*──► complete(footer) ──► CompletedFile ──publish──► FileSeal
//!     create                                write, sync          rename, sync directory      │
//!                                                                                            ▼
//!  LogWriter ──append*──► sync ──append*──► sync ──►           CheckpointFileReader::open(.., seal)
//!     create, publish                    │
//!                                        └────────────► LogReader: blocks up to the torn tail
//! ```
//!
//! # Format, version 1
//!
//! Both are sequences of blocks ([`crate::block`]) of one owner, without gaps; the first is the
//! header block, of kind 240 (`0xF0`). All numbers are little-endian.
//!
//! ```text
//! payload of the header block (24 bytes)
//! offset  bytes  field
//!      0      7  magic "THALWEG"
//!      7      1  shape: 1 sealed file, 2 log
//!      8      8  name of the format, ASCII, filled up with zeros
//!     16      4  version of the format
//!     20      4  zeros
//!
//! sealed file: header block, the user's blocks (kinds 0..=239), trailer block (kind 241, 0xF1)
//! payload of the trailer block
//! offset  bytes  field
//!      0      n  the user's footer
//!      n      8  count of the user's blocks
//!    n+8      8  offset of the trailer block = bytes of all blocks before it
//!   n+16      8  digest of all blocks before it
//!   n+24      4  n
//!   n+28      8  magic "TWSEALED"; the last bytes of the file
//!
//! log: header block, the user's blocks (kinds 0..=239), filler blocks (kind 242, 0xF2)
//! payload of a log's block
//! offset  bytes  field
//!      0      8  durable length: all bytes of the log before it were synced when this was written
//!      8      n  the user's payload; zeros in a filler
//! ```
//!
//! Before each sync a log gets a filler block up to the next multiple of 4096 bytes, unless it ends
//! on one: a sector that was synced is never written again, so no torn write can take it along.
//!
//! The **digest** of blocks is FNV-1a over their checksums in order, each taken as one word:
//! start with `0xcbf29ce484222325`; for each block `digest = (digest ^ checksum) * 0x100000001b3`,
//! modulo 2^64. Every byte of a file is under a checksum, so the digest stands for the contents of
//! the file, at no cost. That of a whole file, in its [`FileSeal`], includes the trailer block.
//!
//! Version log: 1, the first.
//!
//! # Invariants
//!
//! - A file under its final name ([`Naming::Published`]) is complete, after any crash. Under
//!   [`Naming::InPlace`] an incomplete one can have it, and is refused for its missing trailer.
//! - A log is valid up to its first bad byte, and what is after that was never synced, or the log
//!   is refused: an intact block whose durable length goes beyond the bad byte proves that it was.
//! - A failed sync is final for its file.

mod format;
mod seal;

mod completed;
mod reader;
mod writer;

mod log_reader;
mod log_writer;

pub use completed::CompletedFile;
pub use format::{FileFormat, inspect_header};
pub use log_reader::{LogBlock, LogEnd, LogReader};
pub use log_writer::LogWriter;
pub use reader::CheckpointFileReader;
pub use seal::FileSeal;
pub use writer::{CheckpointFileWriter, Naming};

/// Where writers of this module can be made to crash (see [`crash_point`](crate::crash_point)).
pub mod crash_points {
    /// The file exists, empty.
    pub const CREATED: &str = "checkpoint_file.created";
    /// All blocks and the trailer were handed to the system, none need be on disk.
    pub const WRITTEN: &str = "checkpoint_file.written";
    /// They are durable.
    pub const SYNCED: &str = "checkpoint_file.synced";
    /// The file has its final name; a crash of the machine may still undo that.
    pub const RENAMED: &str = "checkpoint_file.renamed";
    /// The file is durable under its name.
    pub const PUBLISHED: &str = "checkpoint_file.published";
    /// Blocks were appended to a log, and are in the process still.
    pub const LOG_BEFORE_WRITE: &str = "wal.before_write";
    /// They were handed to the system, and are not durable yet.
    pub const LOG_WRITTEN: &str = "wal.after_write";
    /// They are.
    pub const LOG_SYNCED: &str = "wal.after_fsync";

    /// Those of a sealed file, in the order in which they are passed.
    pub const SEALED_FILE: [&str; 5] = [CREATED, WRITTEN, SYNCED, RENAMED, PUBLISHED];
    /// All of them.
    pub const ALL: [&str; 8] =
        [CREATED, WRITTEN, SYNCED, RENAMED, PUBLISHED, LOG_BEFORE_WRITE, LOG_WRITTEN, LOG_SYNCED];
}

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod tests;
