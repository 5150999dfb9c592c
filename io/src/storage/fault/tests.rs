//! Each fault, shown to take place, and what a disk without it promises.

use super::*;
use crate::storage::Storage;

const SEEDS: std::ops::Range<u64> = 0..300;

fn plain() -> FaultStorage {
    FaultStorage::new(1, FaultProfile::none())
}

fn with(profile: FaultProfile) -> FaultStorage {
    FaultStorage::new(1, profile)
}

/// The contents, if the file is there.
fn read(storage: &FaultStorage, path: &str) -> Option<Vec<u8>> {
    let file = storage.open_read(Path::new(path)).ok()?;
    let mut bytes = vec![0; file.length_bytes().unwrap() as usize];
    file.read_exact_at(0, &mut bytes).unwrap();
    Some(bytes)
}

/// Creates a file whose contents and name are durable.
fn write_durable(storage: &FaultStorage, path: &str, bytes: &[u8]) {
    let path = Path::new(path);
    let mut file = storage.create(path).unwrap();
    file.append(bytes).unwrap();
    file.sync().unwrap();
    storage.sync_dir(crate::storage::parent_directory(path)).unwrap();
}

#[test]
fn what_was_synced_survives_every_crash() {
    let storage = plain();
    storage.create_dir_all(Path::new("d/e")).unwrap();
    storage.sync_dir(Path::new(".")).unwrap();
    storage.sync_dir(Path::new("d")).unwrap();
    write_durable(&storage, "d/e/a", &[7; 5000]);
    write_durable(&storage, "d/e/old", &[8; 10]);
    storage.rename(Path::new("d/e/old"), Path::new("d/e/new")).unwrap();
    storage.sync_dir(Path::new("d/e")).unwrap();
    for seed in SEEDS {
        let after = storage.crash(seed);
        assert_eq!(read(&after, "d/e/a"), Some(vec![7; 5000]));
        assert_eq!(read(&after, "d/e/new"), Some(vec![8; 10]));
        assert_eq!(read(&after, "d/e/old"), None);
        // And the next crash.
        assert_eq!(read(&after.crash(seed), "d/e/a"), Some(vec![7; 5000]));
    }
}

#[test]
fn sectors_of_unsynced_writes_are_new_old_or_garbage_each_by_itself() {
    let storage = plain();
    write_durable(&storage, "a", &[1; 64 * 512]);
    let mut file = storage.open_append(Path::new("a")).unwrap();
    storage.create(Path::new("a")).unwrap();
    assert_eq!(file.length_bytes(), 64 * 512);
    let mut over = storage.create(Path::new("a")).unwrap();
    over.append(&[2; 64 * 512]).unwrap();
    drop(file.append(&[]));
    let (mut new, mut old, mut zero, mut garbage, mut mixed) = (0, 0, 0, 0, 0);
    for seed in SEEDS {
        let bytes = read(&storage.crash(seed), "a").unwrap();
        let mut kinds = std::collections::BTreeSet::new();
        for sector in bytes.chunks(512) {
            let count = match sector {
                _ if sector.iter().all(|byte| *byte == 2) => &mut new,
                _ if sector.iter().all(|byte| *byte == 1) => &mut old,
                _ if sector.iter().all(|byte| *byte == 0) => &mut zero,
                _ => &mut garbage,
            };
            *count += 1;
            kinds.insert(sector[0]);
        }
        mixed += usize::from(kinds.len() > 2);
    }
    assert!(new > 3000 && old > 1000 && zero > 500, "new {new} old {old} zero {zero}");
    assert!((300..new / 3).contains(&garbage), "garbage {garbage} of {new}");
    assert!(mixed > 50, "{mixed}");
}

#[test]
fn of_torn_sectors_half_are_new_and_a_tenth_is_garbage() {
    let storage = plain();
    write_durable(&storage, "a", &[]);
    storage.open_append(Path::new("a")).unwrap().append(&vec![2; 512 * 1000]).unwrap();
    let mut sums = (0, 0, 0);
    for seed in SEEDS {
        let counters = storage.crash(seed).counters();
        let FaultCounters { crash_sectors_kept, crash_sectors_lost, crash_sectors_garbled, .. } =
            counters;
        if crash_sectors_garbled == 0 {
            assert!(crash_sectors_kept == 1000 || crash_sectors_lost == 1000, "{counters:?}");
            continue;
        }
        sums.0 += crash_sectors_kept;
        sums.1 += crash_sectors_lost;
        sums.2 += crash_sectors_garbled;
    }
    let all = sums.0 + sums.1 + sums.2;
    let percent = |part: u64| part * 100 / all;
    assert!((48..52).contains(&percent(sums.0)), "{sums:?}");
    assert!((38..42).contains(&percent(sums.1)), "{sums:?}");
    assert!((8..12).contains(&percent(sums.2)), "{sums:?}");
}

#[test]
fn length_and_bytes_of_a_growth_are_kept_or_lost_each_by_itself() {
    let storage = plain();
    write_durable(&storage, "a", &[1; 10]);
    storage.open_append(Path::new("a")).unwrap().append(&[2; 1000]).unwrap();
    let mut found = std::collections::BTreeSet::new();
    for seed in SEEDS {
        let bytes = read(&storage.crash(seed), "a").unwrap();
        found.insert((bytes.len(), bytes.last().copied().unwrap()));
    }
    assert!(found.contains(&(10, 1)), "neither");
    assert!(found.contains(&(1010, 2)), "both");
    assert!(found.contains(&(1010, 0)), "the length alone: {found:?}");
    assert!(found.iter().any(|(length, byte)| *length == 10 && *byte != 1), "garbage: {found:?}");
}

#[test]
fn safe_overwrites_leave_synced_bytes_of_torn_sectors_alone() {
    let run = |powersafe_overwrite| {
        let storage = with(FaultProfile { powersafe_overwrite, ..FaultProfile::none() });
        write_durable(&storage, "a", &[1; 10]);
        storage.open_append(Path::new("a")).unwrap().append(&[2; 10]).unwrap();
        SEEDS
            .filter(|seed| !read(&storage.crash(*seed), "a").unwrap().starts_with(&[1; 10]))
            .count()
    };
    assert_eq!(run(true), 0);
    assert!(run(false) > 5);
}

#[test]
fn names_are_undone_in_any_order_until_their_directory_is_synced() {
    let storage = plain();
    for directory in ["p", "q"] {
        storage.create_dir_all(Path::new(directory)).unwrap();
    }
    storage.sync_dir(Path::new(".")).unwrap();
    write_durable(&storage, "p/removed", b"1");
    write_durable(&storage, "p/from", b"2");
    storage.create(Path::new("p/first")).unwrap();
    storage.create(Path::new("q/second")).unwrap();
    storage.remove(Path::new("p/removed")).unwrap();
    storage.rename(Path::new("p/from"), Path::new("p/to")).unwrap();
    let is_there = |storage: &FaultStorage, path| read(storage, path).is_some();
    let mut seen = std::collections::BTreeSet::new();
    for seed in SEEDS {
        let after = storage.crash(seed);
        assert!(is_there(&after, "p/from") != is_there(&after, "p/to"), "renames are atomic");
        let paths = ["p/first", "q/second", "p/removed", "p/to"];
        seen.insert(paths.map(|path| is_there(&after, path)));
    }
    assert_eq!(seen.len(), 16, "all combinations");

    storage.sync_dir(Path::new("p")).unwrap();
    for seed in SEEDS {
        let after = storage.crash(seed);
        assert!(is_there(&after, "p/first") && is_there(&after, "p/to"));
        assert!(!is_there(&after, "p/removed"));
    }
    assert!(SEEDS.map(|seed| storage.crash(seed)).any(|after| !is_there(&after, "q/second")));
}

#[test]
fn a_move_between_directories_leaves_one_name_or_two() {
    for synced in ["p", "q"] {
        let storage = plain();
        for directory in ["p", "q"] {
            storage.create_dir_all(Path::new(directory)).unwrap();
        }
        storage.sync_dir(Path::new(".")).unwrap();
        write_durable(&storage, "p/a", b"1");
        storage.rename(Path::new("p/a"), Path::new("q/a")).unwrap();
        storage.sync_dir(Path::new(synced)).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for seed in SEEDS {
            let after = storage.crash(seed);
            seen.insert(["p/a", "q/a"].map(|path| read(&after, path).is_some()));
        }
        let expected: &[[bool; 2]] =
            if synced == "q" { &[[false, true], [true, true]] } else { &[[false, true]] };
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), expected, "{synced} was synced");
    }
}

#[test]
fn a_directory_that_is_not_durable_takes_its_files_along() {
    let storage = plain();
    storage.create_dir_all(Path::new("d")).unwrap();
    write_durable(&storage, "d/a", b"1");
    let lost = SEEDS.filter(|seed| read(&storage.crash(*seed), "d/a").is_none()).count();
    assert!((50..250).contains(&lost), "{lost}");
}

#[test]
fn a_failed_sync_loses_the_bytes_although_the_next_one_succeeds() {
    let storage = plain();
    write_durable(&storage, "a", &[1; 600]);
    storage.arm(ArmedFault::next(FaultKind::Sync).of("a"));
    let mut file = storage.open_append(Path::new("a")).unwrap();
    file.append(&[2; 600]).unwrap();
    assert!(matches!(file.sync().unwrap_err(), IoError::DeviceFailed { .. }));
    assert!(matches!(file.sync().unwrap_err(), IoError::SyncFailedBefore { .. }));
    let failure = file.append(b"x").unwrap_err();
    assert!(matches!(failure.error, IoError::SyncFailedBefore { .. }));
    drop(file);
    // Who opens it again is told that all is well, and can even read it.
    let mut again = storage.open_append(Path::new("a")).unwrap();
    again.sync().unwrap();
    assert_eq!(read(&storage, "a").unwrap().len(), 1200);
    for seed in SEEDS {
        let bytes = read(&storage.crash(seed), "a").unwrap();
        assert_eq!(bytes, [1; 600], "the bytes are gone");
    }
    assert_eq!(storage.counters().syncs_failed, 1);
}

#[test]
fn a_lying_sync_makes_nothing_durable() {
    let storage = plain();
    storage.arm(ArmedFault::next(FaultKind::LyingSync));
    storage.arm(ArmedFault::next(FaultKind::LyingSyncDirectory).after(1));
    write_durable(&storage, "a", &[1; 600]);
    write_durable(&storage, "b", &[1; 600]);
    assert_eq!(storage.counters().syncs_lied, 2);
    let after: Vec<_> = SEEDS.map(|seed| storage.crash(seed)).collect();
    assert!(after.iter().any(|disk| read(disk, "a").unwrap() != [1; 600]));
    assert!(after.iter().any(|disk| read(disk, "b").is_none()));
    assert!(after.iter().all(|disk| read(disk, "b").is_none_or(|bytes| bytes == [1; 600])));
}

#[test]
fn reads_appends_syncs_and_names_fail_by_probability() {
    let storage = with(FaultProfile::failing(100_000));
    let (mut failed, mut partial) = (0, 0);
    for index in 0..400 {
        let path = format!("file-{index}");
        let Ok(mut file) = storage.create(Path::new(&path)) else {
            failed += 1;
            continue;
        };
        if let Err(failure) = file.append(&[7; 100]) {
            assert_eq!((failure.appended_bytes, file.length_bytes()), (50, 50));
            partial += 1;
        }
        let _ = file.sync();
        let reader = storage.open_read(Path::new(&path)).unwrap();
        let mut buffer = [0; 100];
        if reader.read_exact_at(0, &mut buffer).is_ok() {
            assert_eq!(buffer, [7; 100], "what is read without an error is right");
        }
        let _ = storage.sync_dir(Path::new("."));
    }
    let counters = storage.counters();
    assert_eq!((counters.names_failed, counters.appends_failed), (failed, partial));
    for count in [
        counters.names_failed,
        counters.appends_failed,
        counters.reads_failed,
        counters.syncs_failed,
        counters.reads_shortened,
        counters.appends_split,
    ] {
        assert!((10..200).contains(&count), "{counters:?}");
    }
    assert_eq!(
        (counters.bits_rotten, counters.syncs_lied, counters.sectors_misdirected),
        (0, 0, 0)
    );
}

#[test]
fn pieces_of_a_split_append_are_kept_or_lost_one_by_one() {
    let profile = FaultProfile {
        short_write_ppm: 1_000_000,
        sectors_kept_of_ten: 10,
        sectors_garbled_of_ten: 0,
        ..FaultProfile::none()
    };
    let storage = with(profile);
    storage.start_recording();
    write_durable(&storage, "a", &[1; 5000]);
    assert_eq!(read(&storage, "a").unwrap(), [1; 5000]);
    let mut holes = 0;
    let plan = CrashPlan { torn_samples: 0, ..CrashPlan::default() };
    storage.recording().enumerate(&plan, |image| {
        let bytes = read(&image.to_fault(), "a").unwrap_or_default();
        holes += usize::from(bytes.last() == Some(&1) && bytes.contains(&0));
    });
    assert!(holes > 0, "a later piece is there, an earlier is not");
}

#[test]
fn a_full_disk_takes_what_fits_and_recovers_when_files_are_removed() {
    let storage = plain();
    write_durable(&storage, "ballast", &[0; 600]);
    storage.set_budget_bytes(Some(1000));
    let mut file = storage.create(Path::new("a")).unwrap();
    let failure = file.append(&[1; 500]).unwrap_err();
    assert!(failure.error.is_no_space(), "{failure}");
    assert_eq!((failure.appended_bytes, file.length_bytes()), (400, 400));
    assert_eq!(file.append(&[1; 100]).unwrap_err().appended_bytes, 0);
    assert_eq!(storage.used_bytes(), 1000);
    storage.remove(Path::new("ballast")).unwrap();
    file.append(&[1; 100]).unwrap();
    assert_eq!(read(&storage, "a").unwrap(), [1; 500]);
    assert_eq!(storage.counters().appends_without_space, 2);
    // What is there already may be overwritten.
    storage.set_budget_bytes(Some(0));
    let mut file = storage.create(Path::new("a")).unwrap();
    assert!(file.append(&[2; 500]).is_err());
}

#[test]
fn bits_rot_for_good() {
    let storage = plain();
    write_durable(&storage, "a", &[0; 4096]);
    storage.set_profile(FaultProfile { bit_rot_ppm: 1_000_000, ..FaultProfile::none() });
    let first = read(&storage, "a").unwrap();
    assert_eq!(first.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
    storage.set_profile(FaultProfile::none());
    assert_eq!(read(&storage, "a").unwrap(), first);
    assert_eq!(read(&storage.crash(0), "a").unwrap(), first);
    assert_eq!(storage.counters().bits_rotten, 1);
    storage.damage(Path::new("a"), 17, 0x81).unwrap();
    assert_eq!(read(&storage.crash(0), "a").unwrap()[17], first[17] ^ 0x81);
    assert!(storage.damage(Path::new("a"), 4096, 1).is_err());
    assert!(storage.damage(Path::new("b"), 0, 1).unwrap_err().is_not_found());
}

#[test]
fn misdirected_sectors_are_missing_here_and_damage_there() {
    let storage = plain();
    write_durable(&storage, "victim", &[1; 8 * 512]);
    storage.set_profile(FaultProfile { misdirected_write_ppm: 1_000_000, ..FaultProfile::none() });
    let mut damaged = 0;
    for index in 0..50 {
        let path = format!("file-{index}");
        write_durable(&storage, &path, &[2; 4 * 512]);
        let bytes = read(&storage, &path).unwrap();
        assert_eq!(bytes.len(), 4 * 512, "only contents go astray");
        damaged += usize::from(bytes.contains(&0));
    }
    assert!(damaged > 25, "{damaged}");
    assert!(storage.counters().sectors_misdirected > 25);
    assert!(read(&storage.crash(0), "victim").unwrap().contains(&2));
}

#[test]
fn operations_take_simulated_time_by_their_file() {
    let storage = with(FaultProfile { latency_us_max: 1000, ..FaultProfile::none() });
    let mut total_us = 0;
    for index in 0..50 {
        let mut file = storage.create(Path::new(&format!("file-{index}"))).unwrap();
        file.append(b"x").unwrap();
        let latency_us = storage.take_latency_us();
        assert!(latency_us <= 1000);
        total_us += latency_us;
    }
    assert!((50 * 100..50 * 500).contains(&total_us), "{total_us}");
    assert_eq!(storage.take_latency_us(), 0);
}

#[test]
fn segments_show_what_a_recycled_one_held() {
    let storage = plain();
    let path = Path::new("a");
    let mut segment = storage.create_segment(path, 3000).unwrap();
    assert_eq!((segment.length_bytes(), storage.metadata(path).unwrap().length_bytes), (0, 3000));
    segment.append(&[1; 2000]).unwrap();
    segment.sync().unwrap();
    storage.sync_dir(Path::new(".")).unwrap();
    storage.recycle(path).unwrap();
    let mut segment = storage.create_segment(Path::new("b"), 3000).unwrap();
    segment.append(&[2; 500]).unwrap();
    let bytes = read(&storage, "b").unwrap();
    assert_eq!((bytes.len(), bytes[499], bytes[500], bytes[2000]), (3000, 2, 1, 0));
    assert_eq!(storage.counters().segments_recycled, 1);
    // The old name may come back, with what the new one wrote.
    let is_overwritten =
        |after: &FaultStorage| read(after, "a").is_some_and(|bytes| bytes.starts_with(&[2; 500]));
    assert!(SEEDS.map(|seed| storage.crash(seed)).any(|after| is_overwritten(&after)));
}

#[test]
fn the_end_of_the_process_keeps_what_was_seen() {
    let storage = plain();
    let held = storage.lock(Path::new("LOCK")).unwrap();
    storage.create(Path::new("a")).unwrap().append(&[1; 100]).unwrap();
    let after = storage.kill(5);
    assert_eq!(read(&after, "a").unwrap(), [1; 100]);
    after.lock(Path::new("LOCK")).unwrap();
    assert!(SEEDS.map(|seed| after.crash(seed)).any(|after| read(&after, "a").is_none()));
    drop(held);
}

#[test]
fn one_seed_gives_one_run() {
    let run = |seed: u64| {
        let storage = FaultStorage::new(seed, FaultProfile::rotten(30_000));
        for index in 0..200_u32 {
            let path = format!("file-{}", index % 7);
            if let Ok(mut file) = storage.open_append(Path::new(&path)) {
                let _ = file.append(&index.to_le_bytes().repeat(300));
                let _ = file.sync();
            }
            let _ = storage.rename(Path::new("file-3"), Path::new("file-9"));
            if index % 3 == 0 {
                let _ = storage.sync_dir(Path::new("."));
            }
            if let Ok(file) = storage.open_read(Path::new(&path)) {
                let _ = file.read_at(0, &mut [0; 4096]);
            }
        }
        let after = storage.crash(seed);
        let files: Vec<_> = after
            .list(Path::new("."))
            .unwrap()
            .into_iter()
            .map(|path| format!("{path:?} {:?}", after.metadata(&path).unwrap().length_bytes))
            .collect();
        (storage.counters(), after.counters(), files, storage.take_latency_us())
    };
    assert_eq!(run(11), run(11));
    assert_ne!(run(11), run(12));
    let (counters, ..) = run(11);
    assert!(counters.bits_rotten > 0 && counters.syncs_lied > 0 && counters.reads_failed > 0);
}
