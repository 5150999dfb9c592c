//! A log while it is appended to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::crash_points;
use super::format::{FILLER_KIND, FileFormat, Shape, encode_header};
use super::log_reader::{DURABLE_LENGTH_BYTES, LogEnd};
use super::writer::{Naming, check_payload, flush, sync};
use crate::block::{BlockAddress, BlockOwner, HEADER_BYTES, RESERVED_KINDS_START, encode_parts};
use crate::corruption::Corruption;
use crate::crash_point::crash_point;
use crate::error::{IoError, IoSite, Operation};
use crate::storage::{Storage, WriteFile, parent_directory};

/// What a device writes as one, at most: 4 KiB on those that are made today, 512 bytes before.
const SECTOR_BYTES: u64 = 4096;

/// Appends blocks to a log; they are durable once [`Self::sync`] returned.
///
/// 1. [`create`](Self::create), append what the log begins with, [`publish`](Self::publish).
/// 2. [`append`](Self::append) and [`sync`](Self::sync), again and again.
///
/// After an error of either, [`discard_unsynced`](Self::discard_unsynced) says whether the log can
/// be appended to further. If not, and after a restart that found a torn tail, it is abandoned for
/// a new one.
///
/// # Invariants
///
/// - `durable_bytes` is a multiple of the sector's length once something was synced: no later
///   append writes to a sector that holds durable bytes, so none can tear them.
/// - The first `durable_bytes` of the file were synced. What is after them in the file, followed
///   by `buffer`, are the blocks that were appended since.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use thalweg_io::block::{BlockOwner, FileId};
/// use thalweg_io::checkpoint_file::{FileFormat, LogReader, LogWriter, Naming};
/// use thalweg_io::storage::{MemoryStorage, Storage};
///
/// # fn main() -> Result<(), thalweg_io::IoError> {
/// const FORMAT: FileFormat = FileFormat::new("edits", 1);
/// let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
/// let owner = BlockOwner { file_id: FileId(1), epoch: 1 };
/// let mut log = LogWriter::create(&storage, "edits-1", FORMAT, owner, Naming::Published)?;
/// log.append(0, b"first")?;
/// log.publish()?;
/// log.append(0, b"second")?;
/// log.sync()?;
///
/// let mut reader = LogReader::open(&*storage, "edits-1", FORMAT)?;
/// let mut payloads = Vec::new();
/// while let Some(block) = reader.advance()? {
///     payloads.push(block.payload.to_vec());
/// }
/// assert_eq!(payloads, [&b"first"[..], b"second"]);
/// assert!(reader.end().expect("was read to its end").is_clean());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LogWriter {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    path_now: PathBuf,
    file: Box<dyn WriteFile>,
    owner: BlockOwner,
    buffer: Vec<u8>,
    durable_bytes: u64,
    /// What [`Self::flush`] handed on as a whole.
    flushed_bytes: u64,
    is_published: bool,
}

impl LogWriter {
    /// Starts the log that will be `path`, in an existing directory; what lies there is replaced.
    ///
    /// Nothing is durable, not even its name, before [`Self::publish`].
    ///
    /// # Errors
    ///
    /// If it cannot be created.
    pub fn create(
        storage: &Arc<dyn Storage>,
        path: impl Into<PathBuf>,
        format: FileFormat,
        owner: BlockOwner,
        naming: Naming,
    ) -> Result<Self, IoError> {
        let path = path.into();
        let path_now = naming.path_while_written(&path);
        let file = storage.create(&path_now)?;
        crash_point(crash_points::CREATED);
        Ok(Self { path, path_now, ..Self::start(storage, file, format, owner) })
    }

    /// Starts a log in a file that was just created, empty, under its final name: by
    /// [`Storage::create_segment`], perhaps before it was needed.
    ///
    /// # Panics
    ///
    /// If something was appended to it before.
    pub fn start(
        storage: &Arc<dyn Storage>,
        file: Box<dyn WriteFile>,
        format: FileFormat,
        owner: BlockOwner,
    ) -> Self {
        assert_eq!(file.length_bytes(), 0, "{} has contents", file.path().display());
        let path = file.path().to_path_buf();
        let mut buffer = Vec::new();
        encode_header(format, Shape::Log, owner, &mut buffer);
        let (storage, path_now) = (Arc::clone(storage), path.clone());
        Self {
            storage,
            path,
            path_now,
            file,
            owner,
            buffer,
            durable_bytes: 0,
            flushed_bytes: 0,
            is_published: false,
        }
    }

    /// Goes on with a log that was read to a clean end.
    ///
    /// It is synced first: what was read need not have been durable.
    ///
    /// # Errors
    ///
    /// [`IoError::Corrupt`] if the log has a torn tail or grew since it was read; otherwise what
    /// the storage says.
    pub fn resume(
        storage: &Arc<dyn Storage>,
        path: impl Into<PathBuf>,
        owner: BlockOwner,
        end: &LogEnd,
    ) -> Result<Self, IoError> {
        let path = path.into();
        let file = storage.open_append(&path)?;
        let found_bytes = file.length_bytes();
        if !end.is_clean() || found_bytes != end.offset {
            let fault = end
                .fault
                .clone()
                .unwrap_or(Corruption::Truncated { expected_bytes: end.offset, found_bytes });
            return Err(IoError::corrupt(path, end.offset, fault));
        }
        let (storage, path_now) = (Arc::clone(storage), path.clone());
        let mut log = Self {
            storage,
            path,
            path_now,
            file,
            owner,
            buffer: Vec::new(),
            durable_bytes: 0,
            flushed_bytes: 0,
            is_published: true,
        };
        log.sync()?;
        log.storage.sync_dir(parent_directory(&log.path))?;
        Ok(log)
    }

    /// The path it has, or will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose its blocks are.
    pub fn owner(&self) -> BlockOwner {
        self.owner
    }

    /// The length with all that was appended.
    pub fn length_bytes(&self) -> u64 {
        self.file.length_bytes() + self.buffer.len() as u64
    }

    /// How many bytes are durable.
    pub fn durable_bytes(&self) -> u64 {
        self.durable_bytes
    }

    /// Adds a block, in memory until [`Self::sync`].
    ///
    /// # Errors
    ///
    /// [`IoError::PayloadTooLong`]; then it was not taken.
    ///
    /// # Panics
    ///
    /// If the kind is one of those that are reserved.
    pub fn append(&mut self, kind: u8, payload: &[u8]) -> Result<BlockAddress, IoError> {
        assert!(kind < RESERVED_KINDS_START, "kind {kind:#x} is reserved");
        let offset = self.length_bytes();
        let durable_bytes = self.durable_bytes.to_le_bytes();
        let parts = [&durable_bytes[..], payload];
        check_payload(&self.path_now, offset, &parts)?;
        Ok(encode_parts(self.owner, kind, offset, &parts, &mut self.buffer))
    }

    /// Hands all blocks that were appended to the system: they outlive the process, but need not
    /// outlive the machine.
    ///
    /// # Errors
    ///
    /// If they could not be written; calling again, or syncing, goes on where that stopped.
    pub fn flush(&mut self) -> Result<(), IoError> {
        flush(&mut *self.file, &mut self.buffer)?;
        self.flushed_bytes = self.file.length_bytes();
        Ok(())
    }

    /// Makes all blocks that were appended durable, together with a filler that ends on a sector.
    ///
    /// # Errors
    ///
    /// If they could not be written; syncing again goes on where that stopped. An error of the
    /// system's sync itself is final: the log is to be abandoned.
    pub fn sync(&mut self) -> Result<(), IoError> {
        self.fill_sector();
        crash_point(crash_points::LOG_BEFORE_WRITE);
        flush(&mut *self.file, &mut self.buffer)?;
        crash_point(crash_points::LOG_WRITTEN);
        sync(&*self.storage, &mut *self.file)?;
        crash_point(crash_points::LOG_SYNCED);
        self.durable_bytes = self.file.length_bytes();
        Ok(())
    }

    /// Makes all blocks durable, gives the log its final name, and makes that durable.
    ///
    /// # Errors
    ///
    /// If a step fails; see [`Self::sync`].
    pub fn publish(&mut self) -> Result<(), IoError> {
        self.sync()?;
        if self.path_now != self.path {
            self.storage.rename(&self.path_now, &self.path)?;
            self.path_now.clone_from(&self.path);
            crash_point(crash_points::RENAMED);
        }
        self.storage.sync_dir(parent_directory(&self.path))?;
        crash_point(crash_points::PUBLISHED);
        self.is_published = true;
        Ok(())
    }

    /// Adds a filler block unless the log ends on a sector.
    fn fill_sector(&mut self) {
        let offset = self.length_bytes();
        if offset.is_multiple_of(SECTOR_BYTES) {
            return;
        }
        let bytes_min = (HEADER_BYTES + DURABLE_LENGTH_BYTES) as u64;
        let end = (offset + bytes_min).next_multiple_of(SECTOR_BYTES);
        let filler = vec![0; (end - offset - bytes_min) as usize];
        let parts = [&self.durable_bytes.to_le_bytes()[..], &filler];
        encode_parts(self.owner, FILLER_KIND, offset, &parts, &mut self.buffer);
        assert!(self.length_bytes() == end, "a filler ends on a sector");
    }

    /// Whether the log has its final name, durably.
    pub fn is_published(&self) -> bool {
        self.is_published
    }

    /// Drops the blocks that were appended since the latest sync or flush, after an error.
    ///
    /// # Errors
    ///
    /// [`IoError::SyncFailedBefore`] if part of them is in the file already, from where it cannot
    /// be removed: then the log is to be abandoned for a new one.
    pub fn discard_unsynced(&mut self) -> Result<(), IoError> {
        self.buffer.clear();
        if self.file.length_bytes() == self.durable_bytes.max(self.flushed_bytes) {
            return Ok(());
        }
        let site = IoSite::new(Operation::Append, &*self.path_now).at(self.durable_bytes);
        Err(IoError::SyncFailedBefore { site })
    }
}
