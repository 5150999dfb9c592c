//! The enumerator finds programs that forget a sync, and finds nothing in those that do not.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::block::{BlockOwner, FileId};
use crate::checkpoint_file::{
    CheckpointFileReader, CheckpointFileWriter, FileFormat, LogReader, LogWriter, Naming,
};
use crate::file::FileWriter;
use crate::storage::Storage;

const FORMAT: FileFormat = FileFormat::new("test", 1);

fn owner(file_id: u64) -> BlockOwner {
    BlockOwner { file_id: FileId(file_id), epoch: 1 }
}

/// Runs `program`, then `check` on all images; what it tried.
fn enumerate(program: impl FnOnce(&FaultStorage), check: impl Fn(&CrashImage<'_>)) -> CrashReport {
    let storage = FaultStorage::recorder();
    program(&storage);
    storage.recording().enumerate(&CrashPlan::default(), |image| check(image))
}

/// Whether some image fails.
fn is_caught(program: impl FnOnce(&FaultStorage), check: impl Fn(&CrashImage<'_>)) -> bool {
    catch_unwind(AssertUnwindSafe(|| enumerate(program, check))).is_err()
}

fn read(storage: &dyn Storage, path: &str) -> Option<Vec<u8>> {
    let file = storage.open_read(Path::new(path)).ok()?;
    let mut bytes = vec![0; file.length_bytes().unwrap() as usize];
    file.read_exact_at(0, &mut bytes).unwrap();
    Some(bytes)
}

/// Replaces a file's contents three times, noting each, with the steps that `skipped` leaves in.
fn replace_thrice(storage: &FaultStorage, skipped: &str) {
    for round in 1..=3_u8 {
        let temporary = Path::new("value.new");
        let mut file = storage.create(temporary).unwrap();
        file.append(&[round; 700]).unwrap();
        if skipped == "order" {
            storage.rename(temporary, Path::new("value")).unwrap();
        }
        if skipped != "sync" {
            file.sync().unwrap();
        }
        if skipped != "order" {
            storage.rename(temporary, Path::new("value")).unwrap();
        }
        if skipped != "sync_dir" {
            storage.sync_dir(Path::new(".")).unwrap();
        }
        storage.note(u64::from(round));
    }
}

/// The contents are whole, and at least as new as what was noted.
fn check_value(image: &CrashImage<'_>) {
    let found = read(&image.to_memory(), "value");
    let noted = image.latest_note().unwrap_or(0);
    let Some(bytes) = found else {
        assert_eq!(noted, 0, "{image}");
        return;
    };
    let round = u64::from(bytes.first().copied().unwrap_or(0));
    assert!(bytes.len() == 700 && bytes.iter().all(|byte| *byte == bytes[0]), "torn: {image}");
    assert!(round >= noted, "round {round}: {image}");
}

#[test]
fn a_careful_program_passes_and_each_forgotten_step_is_caught() {
    let report = enumerate(|storage| replace_thrice(storage, ""), check_value);
    assert_eq!(report.points, report.points_exhausted);
    assert!(report.images > 20, "{report}");
    for skipped in ["sync", "sync_dir", "order"] {
        assert!(is_caught(|storage| replace_thrice(storage, skipped), check_value), "{skipped}");
    }
    // A file that is overwritten where it lies.
    let in_place = |storage: &FaultStorage| {
        for round in 1..=2_u8 {
            let mut file = storage.create(Path::new("value")).unwrap();
            file.append(&[round; 700]).unwrap();
            file.sync().unwrap();
            storage.sync_dir(Path::new(".")).unwrap();
            storage.note(u64::from(round));
        }
    };
    assert!(is_caught(in_place, check_value));
}

#[test]
fn syncs_that_lie_are_caught() {
    for kind in [FaultKind::LyingSync, FaultKind::LyingSyncDirectory] {
        let program = |storage: &FaultStorage| {
            storage.arm(ArmedFault::next(kind).after(1));
            replace_thrice(storage, "");
        };
        assert!(is_caught(program, check_value), "{kind:?}");
    }
}

#[test]
fn files_are_there_whole_or_not_at_all() {
    let program = |storage: &FaultStorage| {
        let storage_dyn: Arc<dyn Storage> = Arc::new(storage.clone());
        let mut writer = FileWriter::create(&storage_dyn, "value").unwrap();
        writer.append(&[1; 400]).unwrap();
        writer.flush().unwrap();
        writer.append(&[1; 300]).unwrap();
        writer.complete().unwrap();
        storage.note(1);
    };
    let report = enumerate(program, check_value);
    assert!(report.images > 12, "{report}");
}

fn write_sealed(storage: &FaultStorage, naming: Naming) {
    let storage_dyn: Arc<dyn Storage> = Arc::new(storage.clone());
    let mut writer =
        CheckpointFileWriter::create(&storage_dyn, "sealed", FORMAT, owner(1), naming).unwrap();
    for index in 0..5 {
        writer.append_block(index, &vec![index; 900]).unwrap();
        writer.flush().unwrap();
    }
    writer.complete(b"footer").unwrap().publish().unwrap();
    storage.note(1);
}

#[test]
fn sealed_files_are_there_whole_or_refused() {
    for naming in [Naming::Published, Naming::InPlace] {
        let report = enumerate(
            |storage| write_sealed(storage, naming),
            |image| {
                let found =
                    CheckpointFileReader::open_unsealed(&image.to_memory(), "sealed", FORMAT);
                let verified = found.and_then(|reader| reader.verify_all());
                match verified {
                    Ok(()) => {}
                    Err(IoError::NotFound { .. }) => {
                        assert_eq!(image.latest_note(), None, "{image}")
                    }
                    Err(IoError::Corrupt { .. }) => {
                        assert_eq!(
                            (naming, image.latest_note()),
                            (Naming::InPlace, None),
                            "{image}"
                        );
                    }
                    Err(other) => panic!("{other}: {image}"),
                }
            },
        );
        assert!(report.images > 100, "{report}");
    }
}

/// Appends blocks 1, 2, 3.. one or two a sync, to a file or to a recycled segment.
fn write_log(storage: &FaultStorage, is_segment: bool) {
    let storage_dyn: Arc<dyn Storage> = Arc::new(storage.clone());
    let mut log = if is_segment {
        let file = storage.create_segment(Path::new("log"), 30_000).unwrap();
        LogWriter::start(&storage_dyn, file, FORMAT, owner(1))
    } else {
        LogWriter::create(&storage_dyn, "log", FORMAT, owner(1), Naming::Published).unwrap()
    };
    log.publish().unwrap();
    storage.note(100);
    for value in 1..=6_u64 {
        log.append(0, &vec![value as u8; 700]).unwrap();
        if value % 3 != 0 {
            log.sync().unwrap();
            storage.note(100 + value);
        }
    }
    log.sync().unwrap();
    storage.note(106);
}

fn check_log(image: &CrashImage<'_>) {
    let noted = image.latest_note();
    let memory = image.to_memory();
    let mut reader = match LogReader::open_owned(&memory, "log", FORMAT, owner(1)) {
        Ok(reader) => reader,
        Err(IoError::NotFound { .. } | IoError::Corrupt { .. }) if noted.is_none() => return,
        Err(error) => panic!("{error}: {image}"),
    };
    let mut count = 0;
    while let Some(block) = reader.advance().unwrap_or_else(|error| panic!("{error}: {image}")) {
        count += 1;
        assert!(block.payload == vec![count; 700], "{image}");
    }
    let durable = noted.map_or(0, |noted| noted - 100);
    assert!(u64::from(count) >= durable, "{count} of {durable}: {image}");
}

#[test]
fn logs_keep_what_was_synced() {
    for is_segment in [false, true] {
        let program = |storage: &FaultStorage| {
            // What a recycled segment holds: an old log, with the same contents.
            let old = storage.create_segment(Path::new("old"), 30_000).unwrap();
            let storage_dyn: Arc<dyn Storage> = Arc::new(storage.clone());
            let mut log = LogWriter::start(&storage_dyn, old, FORMAT, owner(0));
            for value in 1..=6 {
                log.append(0, &vec![value; 700]).unwrap();
            }
            log.publish().unwrap();
            storage.recycle(Path::new("old")).unwrap();
            write_log(storage, is_segment);
        };
        let report = enumerate(program, check_log);
        assert!(report.images > 60, "{report}");
        assert!(report.faults.crash_sectors_garbled > 100, "{report}");
    }
}

#[test]
fn a_log_whose_syncs_share_sectors_is_caught() {
    // As `write_log`, without the filler: the same bytes that LogWriter wrote at first.
    let program = |storage: &FaultStorage| {
        let mut file = storage.create(Path::new("log")).unwrap();
        storage.sync_dir(Path::new(".")).unwrap();
        let mut bytes = Vec::new();
        for value in 1..=3_u64 {
            bytes.clear();
            let offset = file.length_bytes();
            crate::block::encode(owner(1), 0, offset, &[value as u8; 100], &mut bytes);
            file.append(&bytes).unwrap();
            file.sync().unwrap();
            storage.note(value);
        }
    };
    let check = |image: &CrashImage<'_>| {
        let bytes = read(&image.to_memory(), "log").unwrap_or_default();
        let mut offset = 0;
        let mut count = 0;
        while let Ok(block) = crate::block::decode(&bytes[offset..], offset as u64, owner(1)) {
            offset = block.address.end() as usize;
            count += 1;
        }
        assert!(count >= image.latest_note().unwrap_or(0), "{image}");
    };
    assert!(is_caught(program, check));
}

#[test]
fn what_was_there_before_the_recording_is_durable() {
    let storage = FaultStorage::new(3, FaultProfile::none());
    storage.create(Path::new("before")).unwrap().append(b"1").unwrap();
    storage.start_recording();
    storage.create(Path::new("after")).unwrap();
    let (mut with, mut without) = (0, 0);
    let report = storage.recording().enumerate(&CrashPlan::default(), |image| {
        assert_eq!(read(&image.to_memory(), "before").unwrap(), b"1");
        assert_eq!(read(&image.to_fault(), "before").unwrap(), b"1");
        let count =
            if read(&image.to_fault(), "after").is_some() { &mut with } else { &mut without };
        *count += 1;
    });
    assert_eq!((with, without, report.images), (1, 1, 2));
}

#[test]
fn many_units_are_sampled_and_the_extremes_are_always_tried() {
    let storage = FaultStorage::recorder();
    let mut file = storage.create(Path::new("a")).unwrap();
    storage.sync_dir(Path::new(".")).unwrap();
    for index in 0..20_u8 {
        file.append(&[index + 1; 10]).unwrap();
    }
    let plan = CrashPlan { torn_samples: 0, ..CrashPlan::default() };
    let mut lengths = std::collections::BTreeSet::new();
    let recording = storage.recording();
    let report = recording.enumerate(&plan, |image| {
        lengths.insert(read(&image.to_memory(), "a").map_or(0, |bytes| bytes.len()));
    });
    assert!(report.points_exhausted < report.points);
    assert!(lengths.contains(&0) && lengths.contains(&200));
    assert_eq!(report, recording.enumerate(&plan, |_| {}), "the same again");
}

#[test]
fn a_killed_process_leaves_what_a_crash_may_still_take() {
    let storage = FaultStorage::recorder();
    let mut file = storage.create(Path::new("a")).unwrap();
    storage.sync_dir(Path::new(".")).unwrap();
    file.append(b"12345").unwrap();
    storage.note(7);
    file.sync().unwrap();
    let recording = storage.recording();
    assert_eq!(recording.operation_count(), 6);
    for count in 0..=recording.operation_count() {
        let (killed, noted) = recording.killed_after(count);
        assert_eq!(noted, (count >= 5).then_some(7));
        let seen = read(&killed, "a").map(|bytes| bytes.len());
        let expected = [None, None, Some(0), Some(0), Some(5), Some(5), Some(5)];
        assert_eq!(seen, expected[count], "after {count}");
        killed.create(Path::new("b")).unwrap();
        let mut lengths = std::collections::BTreeSet::new();
        killed.recording().enumerate(&CrashPlan::default(), |image| {
            lengths.insert(read(&image.to_memory(), "a").map(|bytes| bytes.len()));
        });
        assert_eq!(lengths.contains(&Some(5)), count >= 4);
        assert_eq!(lengths.contains(&Some(0)), (2..=5).contains(&count));
    }
}
