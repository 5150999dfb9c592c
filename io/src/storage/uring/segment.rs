//! Segments: files made of the blocks of others, or with blocks taken ahead.
//!
//! # Invariants
//!
//! - A file becomes a spare only if nobody writes to it and it has no other name: its bytes will be
//!   overwritten.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use super::Engine;
use super::file::SEGMENT_STEP_BYTES;
use super::spares::{Spare, SparePool};
use crate::error::{IoError, Operation};
use crate::ring::allocate;
use crate::storage::posix::{failed, identity_of, open};
use crate::storage::{PosixStorage, Storage as _};

/// A segment that is no larger is filled with zeros when it is made: it is synced often, or in a
/// hurry, and the first sync of each new block would commit the journal.
const ZEROED_SEGMENT_BYTES_MAX: u64 = 8 << 20;

/// An open segment, and how far it has blocks.
type OpenSegment = (File, fs::Metadata, u64);

impl Engine {
    /// Opens a segment under the name `path`.
    pub(super) fn segment(&self, path: &Path, expected_bytes: u64) -> Result<OpenSegment, IoError> {
        match self.reuse(path, expected_bytes) {
            Some((file, metadata)) => {
                let allocated = metadata.len();
                Ok((file, metadata, allocated))
            }
            None => self.new_segment(path, expected_bytes),
        }
    }

    /// Gives a file up: as a spare, if it is fit for that.
    pub(super) fn give_up(&self, path: &Path) -> Result<(), IoError> {
        let failed = |source| failed(Operation::Remove, path, source);
        let metadata = fs::symlink_metadata(path).map_err(failed)?;
        let is_fit = metadata.is_file() && metadata.len() > 0 && metadata.nlink() == 1;
        let has_writer = self.registry.writer_of(identity_of(&metadata)).is_some();
        let takes = |spares: &&SparePool| is_fit && !has_writer && spares.takes(metadata.len());
        if let Some(spares) = self.spares.as_ref().filter(takes) {
            let spare = Spare { path: spares.new_name(), length_bytes: metadata.len() };
            if fs::rename(path, &spare.path).is_ok() {
                spares.put(spare);
                return Ok(());
            }
        }
        PosixStorage.remove(path)
    }

    /// Gives a spare file the name `path`; `None` if there is none fit, or the name cannot be given
    /// so (another file system, no such directory), which making a new file will tell better.
    fn reuse(&self, path: &Path, expected_bytes: u64) -> Option<(File, fs::Metadata)> {
        let spares = self.spares.as_ref()?;
        while let Some(spare) = spares.take(expected_bytes) {
            match fs::rename(&spare.path, path) {
                Ok(()) => {
                    let mut options = OpenOptions::new();
                    return open(Operation::Create, path, options.read(true).write(true)).ok();
                }
                // Somebody removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !spare.path.exists() => {}
                Err(_) => {
                    spares.put(spare);
                    return None;
                }
            }
        }
        None
    }

    /// Gives a new segment its blocks; where the file system cannot, it goes without.
    fn prepare_segment(&self, path: &Path, file: &File, bytes: u64) -> Result<u64, IoError> {
        let result = if bytes <= ZEROED_SEGMENT_BYTES_MAX {
            let zeros = vec![0; usize::try_from(bytes).expect("at most 8 MiB")];
            file.write_all_at(&zeros, 0).and_then(|()| file.sync_data())
        } else {
            allocate(file, 0..bytes)
        };
        match result {
            Ok(()) => Ok(bytes),
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(u64::MAX),
            Err(source) => Err(failed(Operation::Create, path, source)),
        }
    }

    fn new_segment(&self, path: &Path, expected_bytes: u64) -> Result<OpenSegment, IoError> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(true);
        let (file, metadata) = open(Operation::Create, path, options)?;
        let bytes = segment_bytes(expected_bytes);
        let mut prepared = self.prepare_segment(path, &file, bytes);
        let is_full = prepared.as_ref().is_err_and(IoError::is_no_space);
        if is_full && self.spares.as_ref().is_some_and(SparePool::remove_all) {
            prepared = self.prepare_segment(path, &file, bytes);
        }
        if prepared.is_err() {
            // The name was ours a moment ago; the error that counts is the other.
            let _ = fs::remove_file(path);
        }
        Ok((file, metadata, prepared?))
    }
}

/// How many bytes a new segment gets.
fn segment_bytes(expected_bytes: u64) -> u64 {
    expected_bytes.max(1).checked_next_multiple_of(SEGMENT_STEP_BYTES).unwrap_or(expected_bytes)
}
