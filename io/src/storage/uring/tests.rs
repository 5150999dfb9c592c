use std::sync::atomic::AtomicBool;

use super::*;
use crate::ring::{Faults, UnrulyKernel, UringSupport, probe};
use crate::storage::ReadRequest;
use crate::storage::posix::tests::SmallDisk;
use crate::{ThreadSpawner, testing};

fn options() -> UringOptions {
    UringOptions::new().write_bytes(8192).queue_depth(3)
}

/// A storage over a kernel that misbehaves.
fn unruly(options: UringOptions, seed: u64) -> (UringStorage, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let kernel =
        |wake: &Wake| -> Box<dyn Kernel> { Box::new(UnrulyKernel::new(wake, &faults, seed)) };
    let storage = UringStorage::with_kernel(options, &ThreadSpawner, kernel).unwrap();
    (storage, faults)
}

/// A storage over a real ring; `None` where the kernel refuses.
fn real(options: UringOptions) -> Option<UringStorage> {
    match UringStorage::new(options, &ThreadSpawner) {
        Ok(storage) => Some(storage),
        Err(UringError::Refused(refusal)) => {
            eprintln!("skipped: {refusal}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn set(flag: &AtomicBool, value: bool) {
    flag.store(value, Ordering::Relaxed);
}

/// Numbers for a test: the same for the same seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_041);
        (self.0 >> 33) as usize % bound
    }

    fn bytes(&mut self, length_max: usize) -> Vec<u8> {
        let length = self.below(length_max);
        (0..length).map(|index| (index + length) as u8 | 1).collect()
    }
}

/// One file of the model: its writer and what it must hold.
struct Modelled {
    path: PathBuf,
    writer: Option<Box<dyn WriteFile>>,
    expected: Vec<u8>,
    is_segment: bool,
}

impl Modelled {
    fn check_read(&self, storage: &UringStorage, draw: &mut Draw) {
        let reader = storage.open_read(&self.path).unwrap();
        let length = reader.length_bytes().unwrap();
        assert!(length >= self.expected.len() as u64);
        assert!(self.is_segment || length == self.expected.len() as u64);
        assert_eq!(storage.metadata(&self.path).unwrap().length_bytes, length);
        let start = draw.below(self.expected.len() + 1);
        let mut found = vec![0; draw.below(self.expected.len() - start + 1)];
        reader.read_exact_at(start as u64, &mut found).unwrap();
        assert!(found == self.expected[start..start + found.len()], "{:?} at {start}", self.path);
    }

    /// One random step.
    fn step(&mut self, storage: &UringStorage, draw: &mut Draw) {
        let Some(writer) = &mut self.writer else {
            let again = if self.is_segment { 0 } else { draw.below(2) };
            if again == 0 {
                self.expected.clear();
            }
            self.writer = Some(match (self.is_segment, again) {
                (true, _) => storage.create_segment(&self.path, 20_000).unwrap(),
                (false, 0) => storage.create(&self.path).unwrap(),
                (false, _) => storage.open_append(&self.path).unwrap(),
            });
            return;
        };
        match draw.below(10) {
            0..5 => {
                let length_max = [200, 5000, 40_000][draw.below(3)];
                let bytes = draw.bytes(length_max);
                writer.append(&bytes).unwrap();
                self.expected.extend_from_slice(&bytes);
            }
            5..7 => writer.sync().unwrap(),
            7..9 => self.check_read(storage, draw),
            _ => {
                self.writer = None;
                self.check_read(storage, draw);
                if self.is_segment {
                    storage.recycle(&self.path).unwrap();
                    self.expected.clear();
                    assert!(storage.open_read(&self.path).is_err());
                }
            }
        }
        if let Some(writer) = &self.writer {
            assert_eq!(writer.length_bytes(), self.expected.len() as u64);
        }
    }
}

fn run_model(storage: &UringStorage, directory: &Path, seed: u64, steps: usize) {
    let mut draw = Draw(seed);
    let mut files: Vec<_> = (0..4)
        .map(|index| Modelled {
            path: directory.join(format!("file-{index}")),
            writer: None,
            expected: Vec::new(),
            is_segment: index % 2 == 1,
        })
        .collect();
    for file in files.iter().filter(|file| !file.is_segment) {
        storage.create(&file.path).unwrap();
    }
    for _ in 0..steps {
        let chosen = draw.below(files.len());
        files[chosen].step(storage, &mut draw);
    }
    for file in &mut files {
        if file.writer.take().is_some() || !file.is_segment {
            let found = fs::read(&file.path).unwrap();
            assert!(found[..file.expected.len()] == file.expected, "{:?}", file.path);
        }
    }
}

#[test]
fn files_hold_what_was_appended_whatever_the_kernel_does() {
    for seed in 0..24 {
        let directory = tempfile::tempdir().unwrap();
        let spares = directory.path().join("spare");
        let options = options().direct(seed % 4 != 0).spare_directory(spares);
        let (storage, faults) = unruly(options, seed);
        set(&faults.direct_refused, seed % 4 == 1);
        run_model(&storage, directory.path(), seed, 150);
    }
}

#[test]
fn files_hold_what_was_appended_through_a_real_ring() {
    for seed in 100..104 {
        let directory = tempfile::tempdir().unwrap();
        let options = options().spare_directory(directory.path().join("spare"));
        if let Some(storage) = real(options) {
            run_model(&storage, directory.path(), seed, 300);
        }
    }
}

#[test]
fn a_full_disk_loses_and_repeats_nothing() {
    for seed in 0..12 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let (storage, faults) = unruly(options(), seed);
        let mut draw = Draw(seed);
        let mut writer = storage.create(&path).unwrap();
        let mut expected = Vec::new();
        let mut failure_count = 0;
        for _ in 0..60 {
            set(&faults.disk_full, draw.below(3) == 0);
            let piece = draw.bytes(30_000);
            let mut rest = &piece[..];
            while let Err(failure) = writer.append(rest) {
                assert!(failure.error.is_no_space(), "{failure}");
                assert_eq!(failure.given_bytes, rest.len());
                rest = &rest[failure.appended_bytes..];
                failure_count += 1;
                set(&faults.disk_full, draw.below(2) == 0);
            }
            expected.extend_from_slice(&piece);
            assert_eq!(writer.length_bytes(), expected.len() as u64);
            if draw.below(4) == 0 {
                while let Err(error) = writer.sync() {
                    assert!(error.is_no_space(), "not final: {error}");
                    failure_count += 1;
                    set(&faults.disk_full, draw.below(2) == 0);
                }
                assert!(fs::read(&path).unwrap() == expected);
            }
            if draw.below(4) == 0 {
                let mut found = vec![0; expected.len()];
                match storage.open_read(&path).unwrap().read_exact_at(0, &mut found) {
                    Ok(()) => assert!(found == expected),
                    Err(error) => assert!(error.is_no_space(), "{error}"),
                }
            }
        }
        set(&faults.disk_full, false);
        while writer.sync().is_err() {}
        assert!(fs::read(&path).unwrap() == expected, "seed {seed}");
        assert!(failure_count > 5, "{failure_count}");
    }
}

#[test]
fn a_failed_sync_is_final_for_its_file_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, faults) = unruly(options(), 1);
    let mut writer = storage.create(&directory.path().join("a")).unwrap();
    let mut other = storage.create(&directory.path().join("b")).unwrap();
    writer.append(&[7; 20_000]).unwrap();
    set(&faults.sync_fails, true);
    let error = writer.sync().unwrap_err();
    assert!(matches!(error, IoError::DeviceFailed { .. }), "{error}");
    set(&faults.sync_fails, false);
    assert!(matches!(writer.sync().unwrap_err(), IoError::SyncFailedBefore { .. }));
    let failure = writer.append(b"x").unwrap_err();
    assert!(matches!(failure.error, IoError::SyncFailedBefore { .. }), "{failure}");
    assert_eq!((failure.appended_bytes, writer.length_bytes()), (0, 20_000));
    other.append(b"fine").unwrap();
    other.sync().unwrap();
}

#[test]
fn a_broken_ring_fails_calls_and_blocks_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, faults) = unruly(options(), 1);
    let path = directory.path().join("a");
    let mut writer = storage.create(&path).unwrap();
    let mut idle = storage.create(&directory.path().join("b")).unwrap();
    writer.append(&[7; 100]).unwrap();
    set(&faults.is_broken, true);
    let error = writer.sync().unwrap_err();
    assert!(error.to_string().contains("thread"), "{error}");
    assert!(writer.append(b"x").is_err());
    assert!(storage.open_read(&path).unwrap().read_at(0, &mut [0; 10]).is_err());
    // Staged in memory, so taken; what must not happen is that it waits for a buffer forever.
    while idle.append(&[7; 20_000]).is_ok() {}
    assert!(idle.sync().is_err());
    drop((writer, idle));
    drop(storage);
}

#[test]
fn dropped_writers_leave_their_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, _faults) = unruly(options(), 5);
    let path = directory.path().join("a");
    let mut writer = storage.create(&path).unwrap();
    drop(storage);
    writer.append(&[7; 50_001]).unwrap();
    drop(writer);
    assert!(fs::read(&path).unwrap() == [7; 50_001], "the last handle ends the thread after that");
}

#[test]
fn many_writers_share_few_buffers() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, faults) = unruly(options().queue_depth(1), 9);
    set(&faults.is_calm, true);
    let paths: Vec<_> = (0..20).map(|index| directory.path().join(index.to_string())).collect();
    let mut writers: Vec<_> = paths.iter().map(|path| storage.create(path).unwrap()).collect();
    for _ in 0..5 {
        for (index, writer) in writers.iter_mut().enumerate() {
            writer.append(&[index as u8; 3001]).unwrap();
        }
    }
    drop(writers);
    for (index, path) in paths.iter().enumerate() {
        assert!(fs::read(path).unwrap() == [index as u8; 15_005]);
    }
}

#[test]
fn batches_see_what_is_not_in_the_file_yet() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, _faults) = unruly(options(), 3);
    let path = directory.path().join("a");
    let mut writer = storage.create(&path).unwrap();
    let reader = storage.open_read(&path).unwrap();
    let mut batches = storage.batch_reader();
    for round in 1..20_u8 {
        writer.append(&[round; 1000]).unwrap();
        let mut buffers = vec![[0; 100]; 2 * usize::from(round)];
        let mut requests: Vec<_> = (0..)
            .zip(&mut buffers)
            .map(|(index, buffer)| ReadRequest::new(&*reader, index * 500, buffer))
            .collect();
        batches.read(&mut requests);
        for (index, request) in requests.into_iter().enumerate() {
            assert_eq!(request.buffer(), [index as u8 / 2 + 1; 100]);
            request.into_outcome().unwrap();
        }
    }
}

#[test]
fn a_segment_takes_the_blocks_of_one_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let spares = directory.path().join("spare");
    let (storage, _faults) = unruly(options().spare_directory(&spares), 2);
    let (first, second) = (directory.path().join("first"), directory.path().join("second"));
    storage.create_segment(&first, 300_000).unwrap().append(&[1; 200_000]).unwrap();
    let identity = storage.metadata(&first).unwrap().identity;
    storage.recycle(&first).unwrap();
    assert_eq!(storage.list(&spares).unwrap().len(), 1);

    fs::write(&second, "replaced").unwrap();
    let mut writer = storage.create_segment(&second, 100_000).unwrap();
    writer.append(&[2; 5000]).unwrap();
    writer.sync().unwrap();
    assert_eq!(storage.metadata(&second).unwrap().identity, identity);
    assert_eq!(writer.length_bytes(), 5000);
    let found = fs::read(&second).unwrap();
    assert_eq!(found.len(), 320 << 10, "no metadata changes, so no length");
    assert!(found[..5000] == [2; 5000] && found[5000..8192] == [0; 3192]);
    assert!(found[8192..200_000].iter().all(|byte| *byte == 1), "old bytes, as the contract says");

    // A file with another name, or a writer, keeps its bytes.
    fs::hard_link(&second, &first).unwrap();
    storage.recycle(&first).unwrap();
    storage.recycle(&second).unwrap();
    assert!(storage.list(&spares).unwrap().is_empty());
    drop(writer);
    let missing = storage.create_segment(&directory.path().join("no/such"), 10).unwrap_err();
    assert!(missing.is_not_found(), "{missing}");
}

#[test]
fn senseless_options_are_refused() {
    for options in [
        UringOptions::new().queue_depth(0),
        UringOptions::new().queue_depth(33),
        UringOptions::new().write_bytes(0),
        UringOptions::new().write_bytes(5000),
    ] {
        let error = UringStorage::new(options, &ThreadSpawner).unwrap_err();
        assert!(matches!(error, UringError::Option { .. }), "{error}");
    }
}

#[test]
fn a_spawner_without_threads_is_an_error() {
    #[derive(Debug)]
    struct NoThreads;
    impl Spawner for NoThreads {
        fn spawn(&self, _name: &str, _body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
            Err(io::Error::from_raw_os_error(libc::EAGAIN))
        }
    }
    match UringStorage::new(UringOptions::new(), &NoThreads).unwrap_err() {
        UringError::Spawn(_) => {}
        UringError::Refused(refusal) => eprintln!("skipped: {refusal}"),
        other => panic!("{other}"),
    }
}

#[test]
fn a_file_system_in_memory_is_written_too() {
    let Ok(directory) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("skipped: no /dev/shm");
        return;
    };
    let options = options().spare_directory(directory.path().join("spare"));
    if let Some(storage) = real(options) {
        run_model(&storage, directory.path(), 7, 300);
    }
}

#[test]
fn a_disk_that_is_really_full_gives_space_back_and_recovers() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: mounting a tmpfs needs root");
        return;
    };
    let directory = disk.directory.path();
    let options = options().spare_directory(directory.join("spare"));
    let Some(storage) = real(options) else { return };
    let (ballast, path) = (directory.join("ballast"), directory.join("data"));
    fs::write(&ballast, vec![0; 512 << 10]).unwrap();

    let bytes: Vec<u8> = (0..600_u32 << 10).map(|index| (index % 251) as u8).collect();
    let mut file = storage.create(&path).unwrap();
    let taken = match file.append(&bytes) {
        Ok(()) => bytes.len(),
        Err(failure) => {
            assert!(failure.error.is_no_space(), "{failure}");
            failure.appended_bytes
        }
    };
    assert!(file.sync().unwrap_err().is_no_space());
    assert!(file.sync().unwrap_err().is_no_space(), "tried again, still full");
    fs::remove_file(&ballast).unwrap();
    file.append(&bytes[taken..]).unwrap();
    file.sync().unwrap();
    assert!(fs::read(&path).unwrap() == bytes, "each byte is in once, in order");
    drop(file);

    // A segment that does not fit takes the space of the spares, or says so.
    storage.recycle(&path).unwrap();
    assert_eq!(storage.list(&directory.join("spare")).unwrap().len(), 1);
    let segment = directory.join("segment");
    let refused = storage.create_segment(&segment, 4 << 20).unwrap_err();
    assert!(refused.is_no_space(), "{refused}");
    assert!(storage.metadata(&segment).unwrap_err().is_not_found());
    assert!(storage.list(&directory.join("spare")).unwrap().is_empty());
    // The thread closes a file a moment after it was done with it, and the space is free then.
    let made = (0..1_000_000).find_map(|_| storage.create_segment(&segment, 600 << 10).ok());
    made.unwrap().append(&bytes).unwrap();
}

/// Runs the test `name` again as an ordinary user with `memlock_bytes`, in a directory it may use.
fn as_ordinary_user(name: &str, memlock_bytes: u64, body: impl Fn(&Path)) {
    use std::os::unix::fs::PermissionsExt as _;

    const DIRECTORY_VARIABLE: &str = "THALWEG_TEST_DIRECTORY";
    if testing::is_child() {
        testing::become_ordinary_user(memlock_bytes).unwrap();
        let directory = std::env::var_os(DIRECTORY_VARIABLE).unwrap();
        return body(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let environment = [(DIRECTORY_VARIABLE, directory.path().to_str().unwrap())];
    testing::run_as_child(name, &environment).unwrap().assert_success();
}

#[test]
fn an_ordinary_user_with_8_mib_of_locked_memory_gets_all_of_it() {
    let name = "storage::uring::tests::\
                an_ordinary_user_with_8_mib_of_locked_memory_gets_all_of_it";
    as_ordinary_user(name, 8 << 20, |directory| {
        let spares = directory.join("spare");
        let Some(storage) = real(UringOptions::new().spare_directory(spares)) else { return };
        assert!(probe().is_supported(), "an executor fits beside it");
        assert_eq!(storage.registered_buffer_count(), 4);
        run_model(&storage, directory, 1, 300);
        // The limit is the user's, not the process's: a second storage may go without, and works.
        let second = real(UringOptions::new()).unwrap();
        assert!(second.registered_buffer_count() <= 4);
        run_model(&second, directory, 2, 100);
        let denied = storage.create(Path::new("/denied")).unwrap_err();
        assert!(matches!(denied, IoError::PermissionDenied { .. }), "{denied}");
    });
}

#[test]
fn an_ordinary_user_with_64_kib_of_locked_memory_goes_without_registered_buffers() {
    let name = "storage::uring::tests::\
                an_ordinary_user_with_64_kib_of_locked_memory_goes_without_registered_buffers";
    as_ordinary_user(name, 64 << 10, |directory| {
        let UringSupport::Refused(refusal) = probe() else { panic!("an executor needs more") };
        let denied = refusal.errno.is_some_and(|errno| errno != libc::ENOMEM);
        assert!(denied || refusal.reason.contains("64 KiB"), "{refusal}");
        // Kernels before 5.12 count the ring itself as locked memory and refuse it (ENOMEM).
        let Some(storage) = real(UringOptions::new()) else { return };
        assert_eq!(storage.registered_buffer_count(), 0);
        run_model(&storage, directory, 1, 300);
    });
}

/// Files of blocks, each in a segment that holds older blocks with right checksums.
fn write_files_of_blocks(storage: UringStorage, directory: &Path) {
    use crate::block::{BlockOwner, FileId};
    use crate::checkpoint_file::{CheckpointFileReader, CheckpointFileWriter, FileFormat};
    use crate::checkpoint_file::{LogReader, LogWriter};

    const FORMAT: FileFormat = FileFormat::new("test", 1);
    let storage: Arc<dyn Storage> = Arc::new(storage);
    let (sealed, log) = (directory.join("sealed"), directory.join("log"));
    let mut draw = Draw(3);
    for epoch in 1..20 {
        let owner = BlockOwner { file_id: FileId(epoch * 2), epoch };
        let file = storage.create_segment(&sealed, 60_000).unwrap();
        let mut writer = CheckpointFileWriter::start(&storage, file, FORMAT, owner);
        let payloads: Vec<_> = (0..draw.below(12)).map(|_| draw.bytes(9000)).collect();
        for payload in &payloads {
            writer.append_block(1, payload).unwrap();
        }
        let seal = writer.complete(b"footer").unwrap().seal();

        let owner = BlockOwner { file_id: FileId(epoch * 2 + 1), epoch };
        let file = storage.create_segment(&log, 60_000).unwrap();
        let mut writer = LogWriter::start(&storage, file, FORMAT, owner);
        for payload in payloads.iter().rev() {
            writer.append(2, payload).unwrap();
            if draw.below(2) == 0 {
                writer.sync().unwrap();
            }
        }
        writer.sync().unwrap();

        let reader = CheckpointFileReader::open(&*storage, &sealed, FORMAT, &seal).unwrap();
        reader.verify_all().unwrap();
        let mut reader = LogReader::open_owned(&*storage, &log, FORMAT, owner).unwrap();
        for payload in payloads.iter().rev() {
            assert!(reader.advance().unwrap().unwrap().payload == payload);
        }
        assert!(reader.advance().unwrap().is_none());
        drop((reader, writer));
        for path in [&sealed, &log] {
            storage.recycle(path).unwrap();
        }
    }
    assert_eq!(storage.list(&directory.join("spare")).unwrap().len(), 2, "the same two all along");
}

#[test]
fn files_of_blocks_live_in_recycled_segments() {
    for seed in 0..4 {
        let directory = tempfile::tempdir().unwrap();
        let options = options().spare_directory(directory.path().join("spare"));
        write_files_of_blocks(unruly(options, seed).0, directory.path());
    }
    let directory = tempfile::tempdir().unwrap();
    let options = options().spare_directory(directory.path().join("spare"));
    if let Some(storage) = real(options) {
        write_files_of_blocks(storage, directory.path());
    }
}

/// The byte that belongs at `position` of file `index`.
fn byte_at(index: usize, position: usize) -> u8 {
    ((position >> 9) * 31 + position + index * 7) as u8
}

/// Threads that write files of their own, and others that read behind them.
fn write_and_read_at_once(storage: &UringStorage, directory: &Path) {
    use std::sync::atomic::AtomicUsize;

    const FILES: usize = 3;
    const LENGTH: usize = 400_000;
    let appended: [AtomicUsize; FILES] = Default::default();
    let path = |index: usize| directory.join(format!("file-{index}"));
    (0..FILES).for_each(|index| drop(storage.create(&path(index)).unwrap()));
    let write = |index: usize| {
        let mut draw = Draw(index as u64);
        let mut writer = match index {
            0 => storage.create_segment(&path(index), LENGTH as u64).unwrap(),
            _ => storage.open_append(&path(index)).unwrap(),
        };
        let mut start = 0;
        while start < LENGTH {
            let end = (start + draw.below(30_000)).min(LENGTH);
            let bytes: Vec<u8> = (start..end).map(|position| byte_at(index, position)).collect();
            writer.append(&bytes).unwrap();
            appended[index].store(end, Ordering::Release);
            if draw.below(4) == 0 {
                writer.sync().unwrap();
            }
            start = end;
        }
    };
    let read = |seed: u64| {
        let mut draw = Draw(seed);
        let readers: Vec<_> =
            (0..FILES).map(|index| storage.open_read(&path(index)).unwrap()).collect();
        let mut batches = storage.batch_reader();
        while appended.iter().any(|length| length.load(Ordering::Acquire) < LENGTH) {
            let index = draw.below(FILES);
            let length = appended[index].load(Ordering::Acquire);
            let starts: Vec<_> = (0..4).map(|_| draw.below(length + 1)).collect();
            let mut buffers: Vec<_> = starts
                .iter()
                .map(|start| vec![0; draw.below((length - start).min(5000) + 1)])
                .collect();
            let mut requests: Vec<_> = starts
                .iter()
                .zip(&mut buffers)
                .map(|(start, buffer)| ReadRequest::new(&*readers[index], *start as u64, buffer))
                .collect();
            batches.read(&mut requests);
            requests.into_iter().for_each(|request| request.into_outcome().unwrap());
            for (start, buffer) in starts.iter().zip(&buffers) {
                let expected = (*start..).map(|position| byte_at(index, position));
                assert!(buffer.iter().copied().eq(expected.take(buffer.len())), "{index} {start}");
            }
        }
    };
    std::thread::scope(|scope| {
        let (write, read) = (&write, &read);
        for index in 0..FILES {
            scope.spawn(move || write(index));
        }
        for seed in 0..2 {
            scope.spawn(move || read(seed));
        }
    });
    for index in 0..FILES {
        let found = fs::read(path(index)).unwrap();
        let expected = (0..LENGTH).map(|position| byte_at(index, position));
        assert!(found[..LENGTH].iter().copied().eq(expected), "file {index}");
    }
}

#[test]
fn threads_write_and_read_at_once() {
    for seed in 0..3 {
        let directory = tempfile::tempdir().unwrap();
        write_and_read_at_once(&unruly(options(), seed).0, directory.path());
    }
    let directory = tempfile::tempdir().unwrap();
    if let Some(storage) = real(options()) {
        write_and_read_at_once(&storage, directory.path());
    }
}
