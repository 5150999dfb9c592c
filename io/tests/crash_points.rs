//! Aborts a child process at each crash point of a file writer and looks at what it left, on each
//! kind of storage that has files.
//!
//! Needs the cargo features `crash-points` and `testing`.

#![expect(clippy::unwrap_used, reason = "all of this file is tests")]

use std::path::Path;
use std::sync::Arc;

use thalweg_io::block::{BlockOwner, FileId};
use thalweg_io::checkpoint_file::{
    self, CheckpointFileReader, CheckpointFileWriter, FileFormat, LogReader, LogWriter, Naming,
};
use thalweg_io::file::{CompletedFile, FileWriter, crash_points};
use thalweg_io::ring::probe;
use thalweg_io::storage::{PosixStorage, Storage, UringOptions, UringStorage};
use thalweg_io::testing::{self, ChildOutcome};
use thalweg_io::{CRASH_POINT_VARIABLE, IoError, ThreadSpawner};

const DIRECTORY_VARIABLE: &str = "THALWEG_CRASH_TEST_DIRECTORY";
const KIND_VARIABLE: &str = "THALWEG_CRASH_TEST_STORAGE";

/// The kinds that work here.
fn kinds() -> &'static [&'static str] {
    if probe().is_supported() { &["posix", "uring"] } else { &["posix"] }
}

/// In a child: the storage of the kind that is to be tested.
fn storage() -> Arc<dyn Storage> {
    if std::env::var(KIND_VARIABLE).is_ok_and(|kind| kind == "uring") {
        return Arc::new(UringStorage::new(UringOptions::new(), &ThreadSpawner).unwrap());
    }
    Arc::new(PosixStorage::new())
}

/// Runs the test `name` as a child that crashes at `point`.
fn crash(name: &str, kind: &str, point: &str, directory: &Path) -> ChildOutcome {
    let environment = [
        (CRASH_POINT_VARIABLE, point),
        (DIRECTORY_VARIABLE, directory.to_str().unwrap()),
        (KIND_VARIABLE, kind),
    ];
    let outcome = testing::run_as_child(name, &environment).unwrap();
    assert!(!outcome.status.success(), "{kind}: {point} was not passed:\n{}", outcome.output);
    outcome
}

const WHOLE: &[u8] = b"all of it";

#[test]
fn a_file_is_there_whole_or_not_at_all() {
    if testing::is_child() {
        let directory = std::env::var_os(DIRECTORY_VARIABLE).unwrap();
        write_file(Path::new(&directory)).unwrap();
        return;
    }
    for kind in kinds() {
        for point in crash_points::ALL {
            let directory = tempfile::tempdir().unwrap();
            crash("a_file_is_there_whole_or_not_at_all", kind, point, directory.path());
            check_file(directory.path(), kind, point);
            write_file(directory.path()).unwrap();
            assert_eq!(std::fs::read(directory.path().join("data")).unwrap(), WHOLE);
        }
    }
}

fn check_file(directory: &Path, kind: &str, point: &str) {
    let is_published = matches!(point, crash_points::RENAMED | crash_points::PUBLISHED);
    let found = std::fs::read(directory.join("data")).ok();
    assert_eq!(found.as_deref(), is_published.then_some(WHOLE), "{kind} {point}");
    let left = std::fs::read(directory.join("data.inprogress")).ok();
    let expected = match point {
        // Appended bytes may be in the process still, unless the kind hands them over at once.
        crash_points::FLUSHED if kind == "uring" && left.as_deref() == Some(b"") => return,
        crash_points::CREATED => Some(&b""[..]),
        crash_points::FLUSHED | crash_points::SYNCED => Some(WHOLE),
        _ => None,
    };
    assert_eq!(left.as_deref(), expected, "{kind} {point}");
}

fn write_file(directory: &Path) -> Result<CompletedFile, IoError> {
    let storage = storage();
    let mut writer = FileWriter::create(&storage, directory.join("data"))?;
    writer.append(WHOLE)?;
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
    for kind in kinds() {
        for point in checkpoint_file::crash_points::ALL {
            let directory = tempfile::tempdir().unwrap();
            crash("sealed_files_and_logs_keep_what_was_reported", kind, point, directory.path());
            check_sealed_and_log(directory.path(), point);
        }
    }
}

fn check_sealed_and_log(directory: &Path, point: &str) {
    let storage = PosixStorage::new();
    let path = directory.join("sealed");
    let found = CheckpointFileReader::open_unsealed(&storage, &path, FORMAT);
    match found.and_then(|reader| reader.verify_all()) {
        Ok(()) => {}
        Err(error) => assert!(error.is_not_found(), "{point}: {error}"),
    }
    write_sealed_and_log(directory).unwrap();
    CheckpointFileReader::open_unsealed(&storage, &path, FORMAT).unwrap().verify_all().unwrap();
    let mut log = LogReader::open(&storage, directory.join("log"), FORMAT).unwrap();
    assert_eq!(log.advance().unwrap().unwrap().payload, b"edit");
    assert!(log.advance().unwrap().is_none() && log.end().unwrap().is_clean(), "{point}");
}

fn write_sealed_and_log(directory: &Path) -> Result<(), IoError> {
    let storage = storage();
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
