//! Which files make up a store: versions, the edits between them, and the log of edits.
//!
//! ```text
//! worker:  change ──► edit ──► log: append, sync ──► Contents ──► Version ──► owner reads
//! restart: log ──► edits ──► Contents
//! ```
//! 1. [`FileMeta`] is one immutable file as this store sees it: its seal, its level, its key groups.
//! 2. [`Version`] is one consistent set of them; a checkpoint is a version with a name.
//! 3. [`Contents`] is all that a manifest says; an [`edit`] takes it from one state to the next.
//! 4. [`ManifestLog`] makes edits durable, and starts a new log when the old one is long.
//!
//! # Format, version 2
//!
//! `manifests/<store>.manifest` is a log of `thalweg_io::checkpoint_file` with the format name
//! `manifest`. Its blocks are of kind 1, an [`edit`], or 2, a seal. The first edit starts with the
//! record of identity and says everything; each later one what changes. A seal, without contents,
//! follows an edit once that is durable: so damage of the last edit is told from a torn tail.
//!
//! Version log: 1, the first. 2, a state may have several schemas (record 11), and the records of deltas and sorted files say
//! of which one a value is, where it is not the first.
//!
//! # Invariants
//!
//! - An edit is durable before anything that it says is acted upon: before a checkpoint is complete,
//!   before a file that it drops is removed.
//! - A file is durable before the edit that adds it is written.
//! - A log is only ever appended to by the process that started it: opening a store starts a new
//!   one, under the same name, in one atomic step. So a torn tail is never written over.
//! - After an error the log is not appended to any more. The next edit starts a new one; until that
//!   is durable, nothing that the failed edit named is removed.

mod contents;
mod edit;
mod file_meta;
mod log;
mod version;

pub(crate) use contents::{Contents, StoredState, StoredTable};
#[cfg(any(test, feature = "testing"))]
pub(crate) use edit::decode as decode_edit;
pub(crate) use edit::{EditRecord, Identity, LaterSchema, Source, StoredSchema};
pub(crate) use file_meta::{FileMeta, FilePart, LEVEL_MAX};
pub(crate) use log::{ManifestLog, Recovered, read_manifest};
pub(crate) use version::{Version, VersionChange};

#[cfg(test)]
mod tests;
