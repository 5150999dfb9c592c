//! Copies of complete checkpoints in an object store, from which a job goes on although its machine is lost.
//!
//! ```text
//! control thread ─order─► saver: metadata file ─► pins (upload.rs) ─► uploader's thread (uploader.rs)
//!                                                                      parts ─► index ─► owner still us? ─► garbage
//! start: owner claimed (owner.rs) ─► local directory empty? ─► newest index ─► files (download.rs) ─► as ever
//! ```
//!
//! 1. [`RemoteCopy::open`] claims the place, and fills an empty local directory from it.
//! 2. [`RemoteCopy::saved`] is told of each checkpoint that is complete: it pins its files, so that nothing removes them, and
//!    hands it to the uploader. One that is not begun when the next is complete is left out.
//! 3. The uploader sends what is not there, then the index. Only then the copy is complete.
//! 4. [`RemoteCopy::finish`] waits for the last copy when the job is over, or cuts it short.
//!
//! # Objects, format 1
//!
//! ```text
//! owners/<epoch>.json                  who has claimed the place; the highest epoch is the owner (owner.rs)
//! indexes/<epoch>-<checkpoint>.json    a complete copy: its files, and the parts of each (index.rs)
//! parts/<sha256>                       a part of a file, named by the SHA-256 of its bytes in 64 hexadecimal digits
//! ```
//! Epochs and checkpoints have 20 decimal digits, so that names sort as numbers do.
//!
//! **Invariants**
//! - An index is written after all parts that it names; a part that an index or an upload in progress needs is not removed.
//! - A copy counts as complete when its index is there and no other epoch was claimed before that was seen: so of two
//!   processes at one place at most one lets its sinks commit what the other does not know of.
//! - The newest copy is that of the highest checkpoint of the highest epoch that has one. Each epoch goes on from what the one
//!   before has left, or from a local directory that had claimed the one before.
//! - Everything that is read is checked: parts against their names, indexes against their own digest, names against a list of
//!   patterns, before anything is written by them.
//! - Here the store is only talked to through [`Objects`](objects::Objects), local files through [`Storage`]; nothing here
//!   reads a clock but the one it is given.
//!
//! [`Storage`]: thalweg_io::storage::Storage

mod interrupt;
mod settings;
mod statistics;

pub(crate) use interrupt::Interrupt;
pub(crate) use settings::{RemoteJob, RemoteSettings};
pub use statistics::RemoteStatistics;
pub(crate) use statistics::StatisticsCell;

#[cfg(not(feature = "object-store"))]
mod absent;
#[cfg(feature = "object-store")]
mod claim;
#[cfg(feature = "object-store")]
mod copy;
#[cfg(feature = "object-store")]
pub(crate) mod crash_points;
#[cfg(feature = "object-store")]
mod download;
#[cfg(feature = "object-store")]
mod error;
#[cfg(feature = "object-store")]
mod garbage;
#[cfg(feature = "object-store")]
mod index;
#[cfg(feature = "object-store")]
mod local;
#[cfg(feature = "object-store")]
mod objects;
#[cfg(feature = "object-store")]
mod owner;
#[cfg(feature = "object-store")]
mod part;
#[cfg(feature = "object-store")]
mod place;
#[cfg(test)]
#[cfg(feature = "object-store")]
mod test_objects;
#[cfg(test)]
#[cfg(feature = "object-store")]
mod tests;
#[cfg(feature = "object-store")]
mod upload;
#[cfg(feature = "object-store")]
mod uploader;

#[cfg(not(feature = "object-store"))]
pub(crate) use absent::RemoteCopy;
#[cfg(feature = "object-store")]
pub(crate) use copy::RemoteCopy;
#[cfg(feature = "object-store")]
pub use error::RemoteError;

/// How a job that is over leaves its copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The last copy is waited for.
    Complete,
    /// What is complete stays; what is under way is cut short.
    CutShort,
    /// All copies are removed.
    Remove,
}
