//! What writing and reading cost, by kind of storage. Run by hand, on a quiet machine:
//!
//! `cargo test --release -p thalweg-io --features testing --test storage_speed -- --ignored
//! --nocapture --test-threads=1`
//!
//! The directory is that of `THALWEG_SPEED_DIRECTORY`, or the system's temporary one. Figures taken
//! so stand in the docs of `storage::uring`.

#![expect(clippy::disallowed_methods, reason = "measuring needs a clock")]
#![expect(clippy::unwrap_used, reason = "all of this file is tests")]

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use thalweg_io::memory::{Arena, ArenaOptions};
use thalweg_io::storage::{
    FileIdentity, PosixStorage, ReadFile, ReadRequest, SingleReads, Storage, UringOptions,
    UringStorage, WriteFile,
};
use thalweg_io::{IoError, IoSite, Operation, ThreadSpawner};

const GIB: u64 = 1 << 30;

fn directory() -> tempfile::TempDir {
    match std::env::var_os("THALWEG_SPEED_DIRECTORY") {
        Some(path) => tempfile::tempdir_in(path).unwrap(),
        None => tempfile::tempdir().unwrap(),
    }
}

/// User and system time of this process, its ring's kernel workers included.
fn cpu_time() -> Duration {
    // SAFETY: an all-zero rusage is valid: it holds numbers only.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` has room for the answer.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) }, 0);
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

fn uring(options: UringOptions) -> UringStorage {
    UringStorage::new(options, &ThreadSpawner).unwrap()
}

fn write_gib(name: &str, mut file: Box<dyn WriteFile>, block: &[u8]) {
    let (start, cpu) = (Instant::now(), cpu_time());
    for _ in 0..GIB / block.len() as u64 {
        file.append(block).unwrap();
    }
    file.sync().unwrap();
    let (elapsed, cpu) = (start.elapsed(), cpu_time() - cpu);
    drop(file);
    println!(
        "{name:40} {:5.2} GB/s  {:4.2} CPU s/GiB",
        GIB as f64 / elapsed.as_secs_f64() / 1e9,
        cpu.as_secs_f64()
    );
}

#[test]
#[ignore = "writes some GiB and measures"]
fn one_gib_written_and_synced() {
    let directory = directory();
    let path = directory.path().join("data");
    let spares = directory.path().join("spare");
    let block: Vec<u8> = (0..64_u32 << 10).map(|index| (index * 7 % 251) as u8).collect();
    let recycling = UringOptions::new().spare_directory(&spares).spare_bytes_max(4 * GIB);
    for round in 0..2 {
        println!("round {round}: the very first segment is fresh, the others are recycled");
        let file = PosixStorage.create(&path).unwrap();
        write_gib("posix", file, &block);
        std::fs::remove_file(&path).unwrap();
        for (name, options) in [
            ("uring buffered", UringOptions::new().direct(false)),
            ("uring direct", UringOptions::new()),
            ("uring direct, none registered", UringOptions::new().registered_buffer_count(0)),
        ] {
            let file = uring(options).create(&path).unwrap();
            write_gib(name, file, &block);
            std::fs::remove_file(&path).unwrap();
        }
        for (name, options) in [
            ("uring segment", recycling.clone()),
            ("uring segment, depth 2", recycling.clone().queue_depth(2)),
            ("uring segment, depth 8", recycling.clone().queue_depth(8)),
            ("uring segment, none registered", recycling.clone().registered_buffer_count(0)),
        ] {
            let storage = uring(options);
            let file = storage.create_segment(&path, GIB).unwrap();
            write_gib(name, file, &block);
            storage.recycle(&path).unwrap();
        }
    }
}

fn print_latency(name: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("{name:44} p50 {:6.3} ms  p90 {:6.3} ms  max {:6.3} ms", at(0.5), at(0.9), at(1.0));
}

fn files_synced(
    name: &str,
    directory: &Path,
    create: impl Fn(&Path) -> Box<dyn WriteFile>,
    give_up: impl Fn(&Path),
) {
    let bytes = vec![7; 64 << 10];
    let times = (0..100).map(|index: u32| {
        let path = directory.join(format!("file-{index}"));
        let mut file = create(&path);
        let start = Instant::now();
        file.append(&bytes).unwrap();
        file.sync().unwrap();
        let elapsed = start.elapsed();
        drop(file);
        give_up(&path);
        elapsed
    });
    print_latency(name, times.collect());
}

fn log_synced(name: &str, mut file: Box<dyn WriteFile>) {
    let times = (0..300).map(|_| {
        let start = Instant::now();
        file.append(&[7; 200]).unwrap();
        file.sync().unwrap();
        start.elapsed()
    });
    print_latency(name, times.collect());
}

#[test]
#[ignore = "measures"]
fn small_syncs() {
    let directory = directory();
    let directory = directory.path();
    let remove = |path: &Path| std::fs::remove_file(path).unwrap();
    let storage = uring(UringOptions::new().spare_directory(directory.join("spare")));
    println!("64 KiB appended and synced, a file each");
    files_synced("posix, fresh", directory, |path| PosixStorage.create(path).unwrap(), remove);
    files_synced("uring, fresh", directory, |path| storage.create(path).unwrap(), remove);
    let segment = |path: &Path| storage.create_segment(path, 64 << 10).unwrap();
    files_synced("uring, segment, fresh (zeroed)", directory, segment, remove);
    files_synced("uring, segment, recycled", directory, segment, |path| {
        storage.recycle(path).unwrap();
    });
    let large = |path: &Path| storage.create_segment(path, 4 << 20).unwrap();
    files_synced("uring, segment of 4 MiB, fresh (allocated)", directory, large, remove);
    files_synced("uring, segment of 4 MiB, recycled", directory, large, |path| {
        storage.recycle(path).unwrap();
    });
    println!("200 bytes appended to one file and synced");
    let path = directory.join("log");
    log_synced("posix", PosixStorage.create(&path).unwrap());
    log_synced("uring", storage.create(&path).unwrap());
    log_synced("uring, buffered", uring(UringOptions::new().direct(false)).create(&path).unwrap());
    log_synced("uring, segment", storage.create_segment(&path, 1 << 20).unwrap());
}

/// A file read around the page cache: buffers and offsets must be whole blocks.
#[derive(Debug)]
struct DirectFile(File, FileIdentity);

impl ReadFile for DirectFile {
    fn path(&self) -> &Path {
        Path::new("direct")
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, IoError> {
        let site = IoSite::new(Operation::Read, self.path()).at(offset);
        self.0.read_at(buffer, offset).map_err(|source| IoError::from_system(site, source))
    }
    fn length_bytes(&self) -> Result<u64, IoError> {
        Ok(self.0.metadata().unwrap().len())
    }
    fn identity(&self) -> FileIdentity {
        self.1
    }
    fn descriptor(&self, _bytes: Range<u64>) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

/// Reads blocks at scattered offsets in batches; microseconds a block.
fn read_batches(
    storage: &dyn Storage,
    file: &dyn ReadFile,
    block_bytes: usize,
    batch: usize,
    with_ring: bool,
    salt: u64,
) -> f64 {
    const BLOCKS: usize = 4096;
    let length = file.length_bytes().unwrap();
    let options = ArenaOptions::new(block_bytes * batch).alignment_bytes(4096).prefault(true);
    let mut arena = Arena::new(options).unwrap();
    let mut reader = if with_ring { storage.batch_reader() } else { Box::new(SingleReads) };
    let block_count = length / block_bytes as u64;
    let mut random = salt * 2 + 1;
    let start = Instant::now();
    for _ in 0..BLOCKS / batch {
        let mut requests: Vec<_> = arena
            .as_mut_slice()
            .chunks_exact_mut(block_bytes)
            .map(|buffer| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let offset = (random >> 33) % block_count * block_bytes as u64;
                ReadRequest::new(file, offset, buffer)
            })
            .collect();
        reader.read(&mut requests);
        for request in requests {
            request.into_outcome().unwrap();
        }
    }
    start.elapsed().as_secs_f64() * 1e6 / BLOCKS as f64
}

fn drop_cache(path: &Path) {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    // SAFETY: takes no pointers, and the descriptor is open.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
}

#[test]
#[ignore = "writes a GiB and measures"]
fn scattered_reads() {
    let directory = directory();
    let path = directory.path().join("data");
    let storage = uring(UringOptions::new());
    let mut file = storage.create(&path).unwrap();
    for index in 0..1024_u32 {
        file.append(&vec![index as u8; 1 << 20]).unwrap();
    }
    file.sync().unwrap();
    drop(file);
    let buffered = storage.open_read(&path).unwrap();
    let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&path).unwrap();
    let direct = DirectFile(direct, buffered.identity());
    println!("microseconds a block, 1 GiB, scattered: one by one | ring");
    let mut salt = 0;
    for block_bytes in [4096, 16 << 10] {
        for batch in [1, 8, 64] {
            let mut line = format!("{:2} KiB, batch {batch:2}:", block_bytes >> 10);
            for (name, file) in
                [("cached", &*buffered), ("cold", &*buffered), ("direct", &direct as &dyn ReadFile)]
            {
                if name == "cached" {
                    std::io::copy(&mut File::open(&path).unwrap(), &mut std::io::sink()).unwrap();
                }
                let mut measure = |with_ring| {
                    if name != "cached" {
                        drop_cache(&path);
                    }
                    salt += 1;
                    read_batches(&storage, file, block_bytes, batch, with_ring, salt)
                };
                let (single, ring) = (measure(false), measure(true));
                line += &format!("  {name} {single:6.1} | {ring:6.1}");
            }
            println!("{line}");
        }
    }
}
