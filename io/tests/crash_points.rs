//! Aborts a child process at each crash point of a file writer and looks at what it left.
//!
//! Needs the cargo features `crash-points` and `testing`.

use std::path::Path;
use std::sync::Arc;

use thalweg_io::block::{BlockOwner, FileId};
use thalweg_io::checkpoint_file::{
    self, CheckpointFileReader, CheckpointFileWriter, FileFormat, LogReader, LogWriter, Naming,
};
use thalweg_io::file::{CompletedFile, FileWriter, crash_points};
use thalweg_io::storage::{PosixStorage, Storage};
use thalweg_io::testing;
use thalweg_io::{CRASH_POINT_VARIABLE, IoError};

const DIRECTORY_VARIABLE: &str = "THALWEG_CRASH_TEST_DIRECTORY";

#[test]
fn a_file_is_there_whole_or_not_at_all() {
    if testing::is_child() {
        let directory = std::env::var_os(DIRECTORY_VARIABLE).unwrap();
        write_file(Path::new(&directory)).unwrap();
        return;
    }
    for point in crash_points::ALL {
        let directory = tempfile::tempdir().unwrap();
        let directory_name = directory.path().to_str().unwrap();
        let environment = [(CRASH_POINT_VARIABLE, point), (DIRECTORY_VARIABLE, directory_name)];
        let name = "a_file_is_there_whole_or_not_at_all";
        let outcome = testing::run_as_child(name, &environment).unwrap();
        assert!(!outcome.status.success(), "{point} was not passed:\n{}", outcome.output);

        let is_published = matches!(point, crash_points::RENAMED | crash_points::PUBLISHED);
        let found = std::fs::read(directory.path().join("data")).ok();
        assert_eq!(found.as_deref(), is_published.then_some(&b"all of it"[..]), "{point}");
        let left = std::fs::read(directory.path().join("data.inprogress")).ok();
        let expected = match point {
            crash_points::CREATED => Some(&b""[..]),
            crash_points::FLUSHED | crash_points::SYNCED => Some(&b"all of it"[..]),
            _ => None,
        };
        assert_eq!(left.as_deref(), expected, "{point}");

        write_file(directory.path()).unwrap();
        assert_eq!(std::fs::read(directory.path().join("data")).unwrap(), b"all of it");
    }
}

fn write_file(directory: &Path) -> Result<CompletedFile, IoError> {
    let storage: Arc<dyn Storage> = Arc::new(PosixStorage::new());
    let mut writer = FileWriter::create(&storage, directory.join("data"))?;
    writer.append(b"all of it")?;
    writer.complete()
}

const FORMAT: FileFormat = FileFormat::new("test", 1);

#[test]
fn sealed_files_and_logs_keep_what_was_reported() {
    if testing::is_child() {
        let directory = std::env::var_os(DIRECTORY_VARIABLE).unwrap();
        write_sealed_and_log(Path::new(&directory)).unwrap();
        return;
    }
    for point in checkpoint_file::crash_points::ALL {
        let directory = tempfile::tempdir().unwrap();
        let directory_name = directory.path().to_str().unwrap();
        let environment = [(CRASH_POINT_VARIABLE, point), (DIRECTORY_VARIABLE, directory_name)];
        let name = "sealed_files_and_logs_keep_what_was_reported";
        let outcome = testing::run_as_child(name, &environment).unwrap();
        assert!(!outcome.status.success(), "{point} was not passed:\n{}", outcome.output);

        let storage = PosixStorage::new();
        let path = directory.path().join("sealed");
        let found = CheckpointFileReader::open_unsealed(&storage, &path, FORMAT);
        match found.and_then(|reader| reader.verify_all()) {
            Ok(()) => {}
            Err(error) => assert!(error.is_not_found(), "{point}: {error}"),
        }
        write_sealed_and_log(directory.path()).unwrap();
        CheckpointFileReader::open_unsealed(&storage, &path, FORMAT).unwrap().verify_all().unwrap();
        let mut log = LogReader::open(&storage, directory.path().join("log"), FORMAT).unwrap();
        assert_eq!(log.advance().unwrap().unwrap().payload, b"edit");
        assert!(log.advance().unwrap().is_none() && log.end().unwrap().is_clean(), "{point}");
    }
}

fn write_sealed_and_log(directory: &Path) -> Result<(), IoError> {
    let storage: Arc<dyn Storage> = Arc::new(PosixStorage::new());
    let owner = BlockOwner { file_id: FileId(1), epoch: 1 };
    let path = directory.join("sealed");
    let mut writer =
        CheckpointFileWriter::create(&storage, path, FORMAT, owner, Naming::Published)?;
    writer.append_block(0, b"all of it")?;
    writer.complete(b"")?.publish()?;
    let path = directory.join("log");
    let mut log = LogWriter::create(&storage, path, FORMAT, owner, Naming::Published)?;
    log.publish()?;
    log.append(0, b"edit")?;
    log.sync()
}
