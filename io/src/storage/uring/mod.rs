//! Files written by one thread through io_uring, around the page cache; read through it.
//!
//! ```text
//!  WriteFile ─ append: copy to a buffer ─┐ full, or sync
//!  WriteFile ────────────────────────────┼─► queue ─► writer thread ─► ring ─► device
//!  ReadFile ── not in the file yet? ─────┘                 │
//!      │  pread                       waits ◄── done, or a fault ◄─┘
//!      ▼
//!  BatchReader: a ring of its own, 64 reads at once
//! ```
//!
//! - `append` copies and returns; it waits only while all buffers are with the kernel. Errors of
//!   writes come with a later append or sync of that file; the bytes are kept and tried again by
//!   the call after that ([`IoError::NoSpace`] once is thus no loss). A failed sync is final.
//! - `sync` hands over what is left and waits. A small file is one chain: write, tail, fdatasync.
//! - Whoever reads what is not in the file yet makes the writer hand it over and waits, so that
//!   bytes are visible at once, as the contract says, and reading behind a writer is not fast.
//!   Other processes see bytes later.
//! - A writer that is dropped waits until its bytes are in the file; those that cannot be written
//!   are lost, as nobody could be told.
//! - Names (rename, list, lock, ...) are those of [`PosixStorage`].
//!
//! Modules: `staging` turns bytes into write jobs, `file` is what writer, readers and thread share,
//! `scheduler` is the thread, `queue` the way to it, `registry` knows who is being written,
//! `segment` makes segments, of the files given up that `spares` keeps; `read` reads.
//!
//! # What it costs
//!
//! Measured by `tests/storage_speed.rs` on a virtual machine of 2 cores, ext4 on a virtio disk,
//! while other programs kept both cores busy (load 4 to 5, as beside record cores); in one run each,
//! ranges over five runs.
//!
//! | 1 GiB in appends of 64 KiB, then sync | GB/s | CPU s/GiB |
//! |---|---|---|
//! | [`PosixStorage`] | 0.17–0.49 (once 0.85) | 0.6–3.3 |
//! | `create`, buffered | 0.2–1.3 | 0.4–2.2 |
//! | `create`, direct | 1.0–1.8 | 0.17–0.28 |
//! | `create_segment`, fresh | 1.0–2.2 | 0.09–0.13 |
//! | `create_segment`, recycled | 1.2–3.5 | 0.07–0.20 |
//!
//! Direct writes that lengthen a file are done one after the other by ext4; a segment has its
//! length from the start, so its writes really overlap. Depths of 2 to 16 make no difference above
//! the noise; registered buffers saved 0.03 to 0.06 CPU s/GiB in most runs, and no time.
//!
//! | p50 / p90 in ms | busy cores | quiet |
//! |---|---|---|
//! | 64 KiB + sync: posix, fresh file | 3.9 / 5.7 | 0.32 / 0.68 |
//! | `create`, fresh file | 1.1–3.9 / 3.8–9.7 | 0.37 / 0.44 |
//! | `create_segment`, fresh | 1.5–3.6 / 4.0–8.0 | 0.3 / 0.6 |
//! | `create_segment`, recycled | 0.2–0.4 / 0.3–4 | 0.3 / 0.4 |
//! | 200 bytes + sync, again and again: posix | 0.2–2.9 / 0.2–4.0 | 0.21 / 0.29 |
//! | a segment | 0.17 / 0.24 | 0.18 / 0.25 |
//!
//! A sync that changes metadata waits for the journal's thread, which on busy cores gets its turn
//! after a time slice (4 ms); that of a recycled segment needs nobody. Making or renaming a file
//! and syncing its directory commits the journal too, so whoever is in a hurry prepares the next
//! segment beforehand.
//!
//! | µs a block, scattered over 1 GiB: one by one / ring | in the page cache | cold | O_DIRECT |
//! |---|---|---|---|
//! | 4 KiB, batch of 1 | 1.2–2.7 / the same call | 80–103 / same | 71–84 / 63–91 |
//! | 4 KiB, batch of 8 | 2.0 / 2.1 | 92–110 / 29–52 | 64–76 / 23–24 |
//! | 4 KiB, batch of 64 | 1.3–2.4 / 1.4–2.3 | 61–64 / 20–22 | 63–84 / 17–21 |
//! | 16 KiB, batch of 64 | 1.9–2.5 / 1.9–2.5 | 102–137 / 41–49 | 87–95 / 24–30 |
//!
//! So a batch goes to the ring whatever the cache holds (it costs nothing there, and is 3 times
//! as fast elsewhere), and is read through the cache: O_DIRECT would gain a fifth on misses and
//! lose everything on hits.
//!
//! # Invariants
//!
//! - The thread ends only after the last handle of this storage is dropped, and that drop waits for
//!   it: every handle holds the [`Engine`].
//! - A file is in the registry from before its writer is handed out until after its last byte is in
//!   the file.

mod file;
mod options;
mod queue;
mod read;
mod registry;
mod scheduler;
mod segment;
mod spares;
mod staging;
mod writer;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

pub use options::UringOptions;

use file::{Descriptors, OpenFile, WriterLink};
use queue::{CommandQueue, EndSignal};
use read::{RingBatchReader, UringReadFile};
use registry::Registry;
use scheduler::Scheduler;
use spares::SparePool;
use staging::{Staging, TailLayout};
use writer::UringWriteFile;

use super::posix::{PosixReadFile, failed, identity_of, open};
use super::{
    BatchReader, FileIdentity, FileLock, FileMetadata, PosixStorage, ReadFile, SingleReads,
    Storage, WriteFile,
};
use crate::buffer::{BLOCK_BYTES, BufferPool};
use crate::error::{IoError, Operation};
use crate::memory::ArenaError;
use crate::ring::{Driver, Kernel, UringRefusal, Wake};
use crate::spawner::Spawner;

/// Operations of the writer's ring: 32 full buffers, their tails and syncs.
const WRITER_ENTRIES: u32 = 64;

/// A [`UringStorage`] that cannot be set up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UringError {
    /// The kernel refuses io_uring to this process.
    #[error("{0}; or choose the storage `posix`")]
    Refused(UringRefusal),
    /// An option makes no sense.
    #[error("option {name} of the storage `uring` is {found}, it must be {expected}")]
    Option {
        /// Which one.
        name: &'static str,
        /// Its value.
        found: usize,
        /// What it may be.
        expected: &'static str,
    },
    /// There is no memory for the buffers.
    #[error("no memory for the write buffers: {0}")]
    Memory(#[source] ArenaError),
    /// The thread that writes could not be started.
    #[error("cannot start the thread that writes files: {0}; raise `ulimit -u`")]
    Spawn(#[source] io::Error),
    /// The directory of spare files cannot be used.
    #[error("cannot use the directory of spare files: {0}")]
    Spares(#[from] IoError),
}

/// The local file system, written through io_uring by a thread of its own; see the module.
///
/// Clones share the thread, which ends with the last of them and of the files opened through them.
///
/// # Examples
///
/// ```
/// use std::path::Path;
/// use thalweg_io::storage::{Storage, UringOptions, UringStorage};
/// # use std::io;
/// # #[derive(Debug)]
/// # struct Threads;
/// # impl thalweg_io::Spawner for Threads {
/// #     fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
/// #         std::thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
/// #     }
/// # }
/// # let directory = std::env::temp_dir().join(format!("thalweg-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory).unwrap();
/// # let path = directory.join("delta-7");
///
/// // `Threads` implements `Spawner`.
/// let storage = match UringStorage::new(UringOptions::new(), &Threads) {
///     Ok(storage) => storage,
///     Err(error) => return println!("{error}"), // an older kernel, a container
/// };
/// let mut file = storage.create(&path).unwrap();
/// file.append(&[7; 100_000]).unwrap();
/// file.sync().unwrap();
/// assert_eq!(storage.metadata(&path).unwrap().length_bytes, 100_000);
/// # std::fs::remove_dir_all(&directory).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct UringStorage {
    engine: Arc<Engine>,
}

/// What all handles share; the last to go ends the thread.
#[derive(Debug)]
struct Engine {
    link: WriterLink,
    registry: Registry,
    spares: Option<SparePool>,
    is_direct: bool,
    registered_buffer_count: usize,
    last_file_id: AtomicU64,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.link.queue.close_and_wait();
    }
}

impl UringStorage {
    /// Sets up a ring and starts the thread that writes.
    ///
    /// # Errors
    ///
    /// [`UringError::Refused`] where the kernel, a container or a limit denies io_uring, which says
    /// why and what helps; the others where an option or the machine is at fault. Nothing is
    /// left behind.
    pub fn new(options: UringOptions, spawner: &dyn Spawner) -> Result<Self, UringError> {
        let (pool, wake) = Self::parts(&options)?;
        let mut driver = Driver::new(WRITER_ENTRIES).map_err(UringError::Refused)?;
        let count = options.registered_buffer_count;
        let registered_count = pool.with_free(|buffers| driver.register(buffers, count));
        Self::start(&options, spawner, pool, wake, Box::new(driver), registered_count)
    }

    /// The same with another kernel, for tests.
    #[cfg(test)]
    fn with_kernel(
        options: UringOptions,
        spawner: &dyn Spawner,
        kernel: impl FnOnce(&Wake) -> Box<dyn Kernel>,
    ) -> Result<Self, UringError> {
        let (pool, wake) = Self::parts(&options)?;
        let kernel = kernel(&wake);
        Self::start(&options, spawner, pool, wake, kernel, 0)
    }

    fn parts(options: &UringOptions) -> Result<(BufferPool, Wake), UringError> {
        if let Some((name, found, expected)) = options.mistake() {
            return Err(UringError::Option { name, found, expected });
        }
        let pool = BufferPool::new(options.queue_depth, options.write_bytes);
        let pool = pool.map_err(UringError::Memory)?;
        Ok((pool, Wake::new().map_err(UringError::Spawn)?))
    }

    fn start(
        options: &UringOptions,
        spawner: &dyn Spawner,
        pool: BufferPool,
        wake: Wake,
        kernel: Box<dyn Kernel>,
        registered_buffer_count: usize,
    ) -> Result<Self, UringError> {
        let spare_directory = options.spare_directory.as_deref();
        let spares = spare_directory.map(|path| SparePool::open(path, options.spare_bytes_max));
        let spares = spares.transpose()?;
        let (queue, pool) = (Arc::new(CommandQueue::new(wake)), Arc::new(pool));
        let link = WriterLink { queue: Arc::clone(&queue), pool };
        let scheduler = Scheduler::new(kernel, queue, EndSignal(link.clone()));
        let started = spawner.spawn("io-writer", Box::new(move || scheduler.run()));
        started.map_err(UringError::Spawn)?;
        let engine = Engine {
            link,
            registry: Registry::default(),
            spares,
            is_direct: options.direct,
            registered_buffer_count,
            last_file_id: AtomicU64::new(0),
        };
        Ok(Self { engine: Arc::new(engine) })
    }

    /// How many buffers the ring has registered: none where the limit on locked memory forbids it.
    pub fn registered_buffer_count(&self) -> usize {
        self.engine.registered_buffer_count
    }

    /// Waits until what a writer of this file took is in it.
    fn settle(&self, identity: FileIdentity) -> Result<(), IoError> {
        match self.engine.registry.writer_of(identity) {
            Some(writer) => writer.settle(u64::MAX),
            None => Ok(()),
        }
    }

    /// A writer of an open file, which has `length` bytes.
    fn writer(
        &self,
        path: &Path,
        plain: File,
        metadata: &fs::Metadata,
        length: u64,
        segment: Option<u64>,
    ) -> Result<Box<dyn WriteFile>, IoError> {
        let identity = identity_of(metadata);
        let direct = (self.engine.is_direct && metadata.is_file())
            .then(|| open_direct(path, identity))
            .flatten()
            .map(Arc::new);
        let tail_bytes = length % BLOCK_BYTES as u64;
        let mut tail = vec![0; usize::try_from(tail_bytes).expect("less than a block")];
        let base = length - tail_bytes;
        if !tail.is_empty() {
            let read = plain.read_exact_at(&mut tail, base);
            read.map_err(|source| failed(Operation::OpenAppend, path, source))?;
        }
        let layout = if segment.is_some() { TailLayout::Padded } else { TailLayout::Exact };
        let id = self.engine.last_file_id.fetch_add(1, Ordering::Relaxed) + 1;
        let descriptors = Descriptors { plain: Arc::new(plain), direct };
        let staging = Staging::new(layout, base, tail);
        let (link, allocated) = (self.engine.link.clone(), segment.unwrap_or(u64::MAX));
        let file = Arc::new(OpenFile::new(id, path, descriptors, link, staging, allocated));
        self.engine.registry.insert(identity, &file);
        Ok(Box::new(UringWriteFile::new(Arc::clone(&self.engine), file, identity)))
    }
}

/// The same file, around the page cache; `None` where its file system refuses.
fn open_direct(path: &Path, identity: FileIdentity) -> Option<File> {
    let mut options = OpenOptions::new();
    let file = options.write(true).custom_flags(libc::O_DIRECT | libc::O_NONBLOCK).open(path);
    let file = file.ok()?;
    // Another file may have got the name in between.
    (identity_of(&file.metadata().ok()?) == identity).then_some(file)
}

impl Storage for UringStorage {
    fn open_read(&self, path: &Path) -> Result<Box<dyn ReadFile>, IoError> {
        let file = PosixReadFile::open(path)?;
        Ok(Box::new(UringReadFile::new(Arc::clone(&self.engine), file)))
    }

    fn create(&self, path: &Path) -> Result<Box<dyn WriteFile>, IoError> {
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false);
        let (file, metadata) = open(Operation::Create, path, options)?;
        if metadata.is_file() {
            // Writes that are under way must not come after the emptying.
            let _ = self.settle(identity_of(&metadata));
            file.set_len(0).map_err(|source| failed(Operation::Create, path, source))?;
        }
        self.writer(path, file, &metadata, 0, None)
    }

    fn open_append(&self, path: &Path) -> Result<Box<dyn WriteFile>, IoError> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let (file, metadata) = open(Operation::OpenAppend, path, options)?;
        self.settle(identity_of(&metadata))?;
        let length = file.metadata().map_err(|source| failed(Operation::OpenAppend, path, source));
        self.writer(path, file, &metadata, length?.len(), None)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        PosixStorage.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), IoError> {
        PosixStorage.remove(path)
    }

    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, IoError> {
        PosixStorage.list(directory)
    }

    fn metadata(&self, path: &Path) -> Result<FileMetadata, IoError> {
        let found = PosixStorage.metadata(path)?;
        let staged = self.engine.registry.writer_of(found.identity);
        let staged_bytes = staged.map_or(0, |writer| writer.length_bytes());
        Ok(FileMetadata { length_bytes: found.length_bytes.max(staged_bytes), ..found })
    }

    fn create_dir_all(&self, directory: &Path) -> Result<(), IoError> {
        PosixStorage.create_dir_all(directory)
    }

    fn remove_dir(&self, directory: &Path) -> Result<(), IoError> {
        PosixStorage.remove_dir(directory)
    }

    fn sync_dir(&self, directory: &Path) -> Result<(), IoError> {
        PosixStorage.sync_dir(directory)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn FileLock>, IoError> {
        PosixStorage.lock(path)
    }

    fn create_segment(
        &self,
        path: &Path,
        expected_bytes: u64,
    ) -> Result<Box<dyn WriteFile>, IoError> {
        let (file, metadata, allocated) = self.engine.segment(path, expected_bytes)?;
        self.writer(path, file, &metadata, 0, Some(allocated))
    }

    fn recycle(&self, path: &Path) -> Result<(), IoError> {
        self.engine.give_up(path)
    }

    fn batch_reader(&self) -> Box<dyn BatchReader> {
        match RingBatchReader::new() {
            Ok(reader) => Box::new(reader),
            // A limit was reached meanwhile: slower, and right.
            Err(_) => Box::new(SingleReads),
        }
    }
}

#[cfg(test)]
mod tests;
