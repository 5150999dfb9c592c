//! A file of blocks while it is written.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::completed::CompletedFile;
use super::crash_points;
use super::format::{FileFormat, Shape, TRAILER_KIND, encode_header};
use super::seal::{Digest, FileSeal, TAIL_BYTES, Tail};
use crate::block::{
    BlockAddress, BlockOwner, HEADER_BYTES, PAYLOAD_BYTES_MAX, RESERVED_KINDS_START, encode_parts,
};
use crate::crash_point::crash_point;
use crate::error::{IoError, IoSite, Operation};
use crate::file::IN_PROGRESS_SUFFIX;
use crate::planted::{Fault, planted};
use crate::storage::{Storage, WriteFile};

/// Blocks are gathered to writes of this size, as the disk likes them.
const FLUSH_BYTES: usize = 1 << 20;

/// Under which name a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// Under its name with [`IN_PROGRESS_SUFFIX`]; publishing renames it. Who finds the final name
    /// finds all of the file: for files that are found by name.
    Published,
    /// Under its final name from the start, which saves a commit of the file system's journal. A
    /// crash leaves an incomplete file under that name, which opening refuses: for files that are
    /// found through others, which refer to them after they are complete.
    InPlace,
}

impl Naming {
    /// The path to write to.
    pub(super) fn path_while_written(self, path: &Path) -> PathBuf {
        match self {
            Naming::InPlace => path.to_path_buf(),
            Naming::Published => {
                let mut name = OsString::from(path);
                name.push(IN_PROGRESS_SUFFIX);
                PathBuf::from(name)
            }
        }
    }
}

/// Writes one sealed file; see the module's picture.
///
/// A writer that is dropped leaves its incomplete file behind; [`Self::abort`] removes it.
///
/// # Invariants
///
/// - The blocks taken are, in order: those in the file, then those in `buffer`. A failed write
///   removes from the buffer exactly what reached the file, so that flushing again repeats nothing.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use thalweg_io::block::{BlockOwner, FileId};
/// use thalweg_io::checkpoint_file::{CheckpointFileReader, CheckpointFileWriter, FileFormat, Naming};
/// use thalweg_io::storage::{MemoryStorage, Storage};
///
/// # fn main() -> Result<(), thalweg_io::IoError> {
/// const FORMAT: FileFormat = FileFormat::new("example", 1);
/// let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
/// let owner = BlockOwner { file_id: FileId(1), epoch: 1 };
/// let mut writer =
///     CheckpointFileWriter::create(&storage, "1.example", FORMAT, owner, Naming::Published)?;
/// let address = writer.append_block(0, b"payload")?;
/// let seal = writer.complete(b"footer")?.publish()?;
///
/// let reader = CheckpointFileReader::open(&*storage, "1.example", FORMAT, &seal)?;
/// let mut buffer = Vec::new();
/// assert_eq!(reader.read_block(address, &mut buffer)?.payload, b"payload");
/// assert_eq!(reader.footer(), b"footer");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a file is of use only once it is complete"]
pub struct CheckpointFileWriter {
    storage: Arc<dyn Storage>,
    path: PathBuf,
    path_now: PathBuf,
    file: Box<dyn WriteFile>,
    owner: BlockOwner,
    buffer: Vec<u8>,
    block_count: u64,
    digest: Digest,
}

impl CheckpointFileWriter {
    /// Starts the file that will be `path`, in an existing directory. An incomplete file that an
    /// earlier writer left there is started over.
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

    /// Starts a file that was just created, empty, under its final name: by
    /// [`Storage::create_segment`], perhaps before it was needed.
    ///
    /// If its name is durable already there is nothing to publish: the seal of the
    /// [`CompletedFile`] will do.
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
        let mut writer = Self {
            storage: Arc::clone(storage),
            path: file.path().to_path_buf(),
            path_now: file.path().to_path_buf(),
            file,
            owner,
            buffer: Vec::new(),
            block_count: 0,
            digest: Digest::new(),
        };
        encode_header(format, Shape::Sealed, owner, &mut writer.buffer);
        writer.digest_latest(0);
        writer
    }

    /// The path the file will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose its blocks are.
    pub fn owner(&self) -> BlockOwner {
        self.owner
    }

    /// The offset of the next block: the bytes taken so far, in the file and in the buffer.
    pub fn length_bytes(&self) -> u64 {
        self.file.length_bytes() + self.buffer.len() as u64
    }

    /// How many blocks were taken.
    pub fn block_count(&self) -> u64 {
        self.block_count
    }

    /// Adds a block.
    ///
    /// # Errors
    ///
    /// If earlier blocks could not be written, or `payload` is too long: then this block was not
    /// taken. After [`IoError::NoSpace`] it may be given again once there is space.
    ///
    /// # Panics
    ///
    /// If the kind is one of those that are reserved.
    pub fn append_block(&mut self, kind: u8, payload: &[u8]) -> Result<BlockAddress, IoError> {
        assert!(kind < RESERVED_KINDS_START, "kind {kind:#x} is reserved");
        self.flush_if_full()?;
        let address = self.encode(kind, &[payload])?;
        self.block_count += 1;
        Ok(address)
    }

    /// Hands all blocks taken so far to the system.
    ///
    /// # Errors
    ///
    /// If not all could be written; calling again goes on where it stopped.
    pub fn flush(&mut self) -> Result<(), IoError> {
        flush(&mut *self.file, &mut self.buffer)
    }

    /// Adds the trailer with `footer` and makes the contents durable.
    ///
    /// # Errors
    ///
    /// If a step fails; the incomplete file stays, under [`Self::in_progress_path`]. (Call
    /// [`Self::flush`] before to be able to wait for space.)
    pub fn complete(mut self, footer: &[u8]) -> Result<CompletedFile, IoError> {
        self.flush_if_full()?;
        let tail = Tail {
            block_count: self.block_count,
            trailer_offset: self.length_bytes(),
            digest: self.digest,
            footer_bytes: u32::try_from(footer.len()).unwrap_or(u32::MAX),
        };
        self.encode(TRAILER_KIND, &[footer, &tail.encode()])?;
        self.flush()?;
        crash_point(crash_points::WRITTEN);
        if !planted(Fault::NoDataSync) {
            sync(&*self.storage, &mut *self.file)?;
        }
        crash_point(crash_points::SYNCED);
        let seal = FileSeal {
            owner: self.owner,
            block_count: self.block_count,
            length_bytes: self.file.length_bytes(),
            digest: self.digest.0,
        };
        Ok(CompletedFile::new(self.storage, self.path, self.path_now, seal))
    }

    /// The path the file has until it is published.
    pub fn in_progress_path(&self) -> &Path {
        &self.path_now
    }

    /// Gives up the file and removes what was written of it.
    ///
    /// # Errors
    ///
    /// If it cannot be removed.
    pub fn abort(self) -> Result<(), IoError> {
        let Self { storage, path_now, file, .. } = self;
        drop(file);
        storage.remove(&path_now)
    }

    fn flush_if_full(&mut self) -> Result<(), IoError> {
        if self.buffer.len() >= FLUSH_BYTES { self.flush() } else { Ok(()) }
    }

    fn encode(&mut self, kind: u8, parts: &[&[u8]]) -> Result<BlockAddress, IoError> {
        let offset = self.length_bytes();
        check_payload(&self.path_now, offset, parts)?;
        let start = self.buffer.len();
        let address = encode_parts(self.owner, kind, offset, parts, &mut self.buffer);
        self.digest_latest(start);
        Ok(address)
    }

    /// Adds the block at `start` of the buffer to the digest.
    fn digest_latest(&mut self, start: usize) {
        let checksum = &self.buffer[start + HEADER_BYTES - 4..start + HEADER_BYTES];
        let checksum = u32::from_le_bytes(checksum.try_into().expect("four bytes"));
        self.digest = self.digest.with(checksum);
    }
}

/// Writes `buffer` at the end of `file`, keeping what did not get in.
pub(super) fn flush(file: &mut dyn WriteFile, buffer: &mut Vec<u8>) -> Result<(), IoError> {
    if buffer.is_empty() {
        return Ok(());
    }
    match file.append(buffer) {
        Ok(()) => {
            buffer.clear();
            Ok(())
        }
        Err(failure) if failure.appended_bytes > 0 && planted(Fault::ShortWriteIgnored) => {
            buffer.clear();
            Ok(())
        }
        Err(failure) => {
            buffer.drain(..failure.appended_bytes);
            Err(failure.error)
        }
    }
}

/// Makes a file's contents durable. A sync that fails is final: what it was for may be gone.
pub(super) fn sync(storage: &dyn Storage, file: &mut dyn WriteFile) -> Result<(), IoError> {
    match file.sync() {
        Err(_) if planted(Fault::SyncRetried) => storage.open_append(file.path())?.sync(),
        result => result,
    }
}

/// Fails if a payload of these parts is too long for a block.
pub(super) fn check_payload(path: &Path, offset: u64, parts: &[&[u8]]) -> Result<(), IoError> {
    let payload_bytes: usize = parts.iter().map(|part| part.len()).sum();
    if payload_bytes <= PAYLOAD_BYTES_MAX - TAIL_BYTES {
        return Ok(());
    }
    let site = IoSite::new(Operation::Append, path).at(offset);
    let limit_bytes = PAYLOAD_BYTES_MAX - TAIL_BYTES;
    Err(IoError::PayloadTooLong { site, limit_bytes, payload_bytes })
}
