//! A file mapped into memory, for reading without copies.
//!
//! # Invariants
//!
//! - The mapping is as long as the file was when it was opened, and neither it nor its bytes
//!   change while it lives. The caller of [`MappedFile::open`] vouches for the latter.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::error::{IoError, IoSite, Operation};
use crate::storage::{FileIdentity, ReadFile, identity_of};

/// An immutable file of the local file system, mapped read-only.
///
/// As a [`ReadFile`] it goes wherever a file does, such as
/// [`FileReader::from_file`](super::FileReader::from_file).
#[derive(Debug)]
pub struct MappedFile {
    mapping: Mmap,
    path: PathBuf,
    identity: FileIdentity,
}

impl MappedFile {
    /// Maps a file.
    ///
    /// # Safety
    ///
    /// Nobody may write to the file or truncate it while the mapping lives; neither this process
    /// nor any other. A write would change bytes behind a `&[u8]`, which is undefined behaviour;
    /// after a truncation, and when the device fails, touching the lost pages ends the process
    /// with SIGBUS. Renaming and removing the file are fine. Files that Thalweg completed
    /// ([`CompletedFile`](super::CompletedFile)) are never written again by it.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened or mapped; [`IoError::WrongKind`] for anything but a regular
    /// file.
    pub unsafe fn open(path: &Path) -> Result<Self, IoError> {
        let failed = |source| IoError::from_system(IoSite::new(Operation::Map, path), source);
        // Without O_NONBLOCK opening a pipe would wait for its writer.
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(IoError::from_errno(IoSite::new(Operation::Map, path), libc::EISDIR));
        }
        // SAFETY: the caller vouches that the file stays as it is.
        let mapping = unsafe { Mmap::map(&file) }.map_err(failed)?;
        let identity = identity_of(&metadata);
        Ok(Self { mapping, path: path.to_path_buf(), identity })
    }

    /// All bytes of the file.
    pub fn as_bytes(&self) -> &[u8] {
        &self.mapping
    }
}

impl ReadFile for MappedFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, IoError> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.mapping.len());
        let byte_count = buffer.len().min(self.mapping.len() - start);
        buffer[..byte_count].copy_from_slice(&self.mapping[start..start + byte_count]);
        Ok(byte_count)
    }

    fn length_bytes(&self) -> Result<u64, IoError> {
        Ok(self.mapping.len() as u64)
    }

    fn identity(&self) -> FileIdentity {
        self.identity
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;

    use super::*;
    use crate::file::{FileReader, LineOptions, LineReader, LineStatus, ReadOptions};
    use crate::storage::{PosixStorage, Storage};

    fn mapped(content: &[u8]) -> (tempfile::NamedTempFile, MappedFile) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        // SAFETY: nobody else knows the file, and the tests do not write to it again.
        let mapped = unsafe { MappedFile::open(file.path()) }.unwrap();
        (file, mapped)
    }

    #[test]
    fn reads_like_the_file() {
        let (file, mapped) = mapped(b"hello");
        let storage = PosixStorage::new();
        let opened = storage.open_read(file.path()).unwrap();
        assert_eq!(mapped.as_bytes(), b"hello");
        assert_eq!(mapped.identity(), opened.identity());
        assert_eq!(mapped.length_bytes().unwrap(), 5);
        for offset in 0..8 {
            let (mut left, mut right) = ([0; 3], [0; 3]);
            let count = mapped.read_at(offset, &mut left).unwrap();
            assert_eq!(count, opened.read_at(offset, &mut right).unwrap());
            assert_eq!(left, right);
        }
    }

    #[test]
    fn feeds_a_line_reader() {
        let (_file, mapped) = mapped(b"a\nb");
        let storage: Arc<dyn Storage> = Arc::new(PosixStorage::new());
        let reader =
            FileReader::from_file(&storage, Box::new(mapped), ReadOptions::bounded()).unwrap();
        let mut lines = LineReader::new(reader, LineOptions::default());
        for expected in [b"a", b"b"] {
            let LineStatus::Line(line) = lines.next_line().unwrap() else { panic!("a line") };
            assert_eq!(line.bytes, expected);
        }
        assert_eq!(lines.next_line().unwrap(), LineStatus::AtEnd);
    }

    #[test]
    fn empty_files_and_wrong_paths() {
        let (_file, mapped) = mapped(b"");
        assert_eq!(mapped.as_bytes(), b"");
        let directory = tempfile::tempdir().unwrap();
        // SAFETY: there is nothing to map.
        let error = unsafe { MappedFile::open(directory.path()) }.unwrap_err();
        assert!(matches!(error, IoError::WrongKind { .. }), "{error}");
        // SAFETY: there is nothing to map.
        let error = unsafe { MappedFile::open(&directory.path().join("a")) }.unwrap_err();
        assert!(error.is_not_found(), "{error}");
    }
}
