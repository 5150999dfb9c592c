use super::*;
use crate::error::{IoSite, Operation};
use crate::file::ReadStatus;
use crate::storage::{FileLock, FileMetadata, MemoryStorage, PosixStorage, ReadFile};

fn read(storage: &dyn Storage, path: &Path) -> Vec<u8> {
    let file = storage.open_read(path).unwrap();
    let mut bytes = vec![0; file.length_bytes().unwrap() as usize];
    file.read_exact_at(0, &mut bytes).unwrap();
    bytes
}

fn on_each_kind(check: impl Fn(Arc<dyn Storage>, &Path)) {
    check(Arc::new(MemoryStorage::new()), Path::new(""));
    let directory = tempfile::tempdir().unwrap();
    check(Arc::new(PosixStorage::new()), directory.path());
}

#[test]
fn appears_complete_or_not_at_all() {
    on_each_kind(|storage, directory| {
        let path = directory.join("a.csv");
        storage.create(&path).unwrap().append(b"older").unwrap();
        let mut writer = FileWriter::create(&storage, &path).unwrap();
        writer.append(b"new").unwrap();
        writer.append(b"er").unwrap();
        assert_eq!(writer.length_bytes(), 5);
        writer.sync().unwrap();
        assert_eq!(read(&*storage, &path), b"older");
        assert_eq!(read(&*storage, &directory.join("a.csv.inprogress")), b"newer");
        let completed = writer.complete().unwrap();
        assert_eq!((completed.path(), completed.length_bytes()), (&*path, 5));
        assert_eq!(storage.list(directory).unwrap(), std::slice::from_ref(&path));
        let mut reader = completed.open(&storage, ReadOptions::bounded()).unwrap();
        assert_eq!(reader.fill().unwrap(), ReadStatus::Filled { byte_count: 5 });
        assert_eq!(reader.buffer(), b"newer");
    });
}

#[test]
fn large_and_small_appends_keep_their_order() {
    on_each_kind(|storage, directory| {
        let path = directory.join("a");
        let mut writer = FileWriter::create(&storage, &path).unwrap();
        let mut expected = Vec::new();
        for length in
            [1, BUFFER_BYTES - 1, 1, BUFFER_BYTES, 3, 0, BUFFER_BYTES * 3, 5, 40_000, 40_000]
        {
            let piece = vec![length as u8; length];
            writer.append(&piece).unwrap();
            expected.extend(piece);
            assert_eq!(writer.length_bytes(), expected.len() as u64);
        }
        writer.complete().unwrap();
        assert!(read(&*storage, &path) == expected);
    });
}

#[test]
fn drop_leaves_the_file_and_abort_removes_it() {
    on_each_kind(|storage, directory| {
        let path = directory.join("a");
        let mut writer = FileWriter::create(&storage, &path).unwrap();
        writer.append(b"left behind").unwrap();
        writer.flush().unwrap();
        let in_progress = writer.in_progress_path().to_path_buf();
        drop(writer);
        assert_eq!(read(&*storage, &in_progress), b"left behind");
        let writer = FileWriter::create(&storage, &path).unwrap();
        assert_eq!(read(&*storage, &in_progress), b"", "started over");
        writer.abort().unwrap();
        assert!(storage.list(directory).unwrap().is_empty());
    });
}

/// Memory with a limited number of free bytes; takes as many as fit.
#[derive(Debug)]
struct SmallStorage {
    inner: MemoryStorage,
    free_bytes: Arc<std::sync::atomic::AtomicUsize>,
}

#[derive(Debug)]
struct SmallFile {
    inner: Box<dyn WriteFile>,
    free_bytes: Arc<std::sync::atomic::AtomicUsize>,
}

impl WriteFile for SmallFile {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        use std::sync::atomic::Ordering::Relaxed;
        let free_bytes = self.free_bytes.load(Relaxed);
        let appended_bytes = bytes.len().min(free_bytes);
        self.free_bytes.store(free_bytes - appended_bytes, Relaxed);
        self.inner.append(&bytes[..appended_bytes])?;
        if appended_bytes == bytes.len() {
            return Ok(());
        }
        let site = IoSite::new(Operation::Append, self.path());
        let error = IoError::from_errno(site, libc::ENOSPC);
        Err(AppendError { appended_bytes, given_bytes: bytes.len(), error })
    }

    fn sync(&mut self) -> Result<(), IoError> {
        self.inner.sync()
    }

    fn length_bytes(&self) -> u64 {
        self.inner.length_bytes()
    }
}

impl Storage for SmallStorage {
    fn open_read(&self, path: &Path) -> Result<Box<dyn ReadFile>, IoError> {
        self.inner.open_read(path)
    }
    fn create(&self, path: &Path) -> Result<Box<dyn WriteFile>, IoError> {
        let inner = self.inner.create(path)?;
        Ok(Box::new(SmallFile { inner, free_bytes: Arc::clone(&self.free_bytes) }))
    }
    fn open_append(&self, path: &Path) -> Result<Box<dyn WriteFile>, IoError> {
        self.inner.open_append(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), IoError> {
        self.inner.rename(from, to)
    }
    fn remove(&self, path: &Path) -> Result<(), IoError> {
        self.inner.remove(path)
    }
    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, IoError> {
        self.inner.list(directory)
    }
    fn metadata(&self, path: &Path) -> Result<FileMetadata, IoError> {
        self.inner.metadata(path)
    }
    fn create_dir_all(&self, directory: &Path) -> Result<(), IoError> {
        self.inner.create_dir_all(directory)
    }

    fn remove_dir(&self, directory: &Path) -> Result<(), IoError> {
        self.inner.remove_dir(directory)
    }
    fn sync_dir(&self, directory: &Path) -> Result<(), IoError> {
        self.inner.sync_dir(directory)
    }
    fn lock(&self, path: &Path) -> Result<Box<dyn FileLock>, IoError> {
        self.inner.lock(path)
    }
}

#[test]
fn after_no_space_nothing_is_lost_or_repeated() {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    let free_bytes = Arc::new(AtomicUsize::new(0));
    let inner = MemoryStorage::new();
    let storage: Arc<dyn Storage> =
        Arc::new(SmallStorage { inner, free_bytes: Arc::clone(&free_bytes) });
    let mut writer = FileWriter::create(&storage, "a").unwrap();
    let mut expected = Vec::new();
    let mut failure_count = 0;
    for index in 0..200_usize {
        let piece: Vec<u8> = (0..index * 1500).map(|byte| ((byte + index) % 253) as u8).collect();
        let mut rest = &piece[..];
        while let Err(failure) = writer.append(rest) {
            assert!(failure.error.is_no_space(), "{failure}");
            rest = &rest[failure.appended_bytes..];
            free_bytes.store(10_007, Relaxed);
            failure_count += 1;
        }
        expected.extend(piece);
        assert_eq!(writer.length_bytes(), expected.len() as u64);
    }
    while writer.flush().is_err() {
        free_bytes.store(10_007, Relaxed);
    }
    writer.complete().unwrap();
    assert!(failure_count > 100);
    assert!(read(&*storage, Path::new("a")) == expected);
}
