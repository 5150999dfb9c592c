//! What checkpoints hold of a file sink: the files in progress with the length that counts, and those that are closed and
//! wait to be published.
//!
//! Files are named by bucket and name, relative to the sink's directory.

use super::part::PendingFile;
use crate::Result;
use crate::function::ArchivedState;
use crate::record::CheckpointId;

/// A file in progress: bucket, name, bytes that count, when it was begun, and those of its bytes that lie behind the last
/// boundary of sectors.
///
/// The last are in the checkpoint because the next write to the file writes their sector again, and a crash may take the
/// whole sector with it. (Disks that never do so are common, and not the rule.)
pub(super) type StoredPart = (String, String, u64, i64, Vec<u8>);

/// A closed file: bucket, name, length.
pub(super) type StoredFile = (String, String, u64);

/// What one subtask has: the next number of a file, files in progress, closed files by checkpoint.
pub(super) type Stored = (u64, Vec<StoredPart>, Vec<(u64, Vec<StoredFile>)>);

pub(super) fn to_stored(file: &PendingFile) -> StoredFile {
    (file.bucket.clone(), file.name.clone(), file.length_bytes)
}

pub(super) fn from_stored((bucket, name, length_bytes): StoredFile) -> PendingFile {
    PendingFile { bucket, name, length_bytes }
}

/// The state at a barrier.
pub(super) fn archive<'a>(
    next_counter: u64,
    open: Vec<StoredPart>,
    pending: impl Iterator<Item = (CheckpointId, &'a Vec<PendingFile>)>,
) -> Result<ArchivedState> {
    let pending = pending.map(|(id, files)| (id.0, files.iter().map(to_stored).collect()));
    let stored: Stored = (next_counter, open, pending.collect());
    Ok(ArchivedState::of(&stored)?)
}
