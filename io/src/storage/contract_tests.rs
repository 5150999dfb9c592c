//! What every kind of storage promises, checked on each.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::ThreadSpawner;

/// Runs `check` on each kind, with an empty directory of it.
fn on_each_kind(check: impl Fn(&dyn Storage, &Path)) {
    let directory = tempfile::tempdir().unwrap();
    check(&PosixStorage::new(), directory.path());
    for (name, options) in [
        ("direct", UringOptions::new().write_bytes(8192)),
        ("buffered", UringOptions::new().direct(false)),
        ("recycling", UringOptions::new().spare_directory(directory.path().join("spare"))),
    ] {
        let directory = directory.path().join(name);
        std::fs::create_dir(&directory).unwrap();
        match UringStorage::new(options, &ThreadSpawner) {
            Ok(storage) => check(&storage, &directory),
            Err(UringError::Refused(refusal)) => eprintln!("skipped: {refusal}"),
            Err(error) => panic!("{error}"),
        }
    }
    let memory = MemoryStorage::new();
    memory.create_dir_all(Path::new("/run/test")).unwrap();
    check(&memory, Path::new("/run/test"));
    for recycled_segments in [false, true] {
        let fault =
            FaultStorage::new(7, FaultProfile { recycled_segments, ..FaultProfile::none() });
        fault.create_dir_all(Path::new("/run/test")).unwrap();
        check(&fault, Path::new("/run/test"));
    }
}

fn read_all(file: &dyn ReadFile) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.length_bytes().unwrap()).unwrap()];
    file.read_exact_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn is_object_safe_and_shared_between_threads() {
    fn assert_send_sync<T: Send + Sync + ?Sized>() {}
    fn assert_send<T: Send + ?Sized>() {}
    assert_send_sync::<Arc<dyn Storage>>();
    assert_send::<Box<dyn ReadFile>>();
    assert_send::<Box<dyn WriteFile>>();
}

#[test]
fn appended_bytes_are_visible_to_open_readers() {
    on_each_kind(|storage, directory| {
        let path = directory.join("a");
        let mut writer = storage.create(&path).unwrap();
        let reader = storage.open_read(&path).unwrap();
        let mut buffer = [0; 8];
        assert_eq!(reader.read_at(0, &mut buffer).unwrap(), 0);
        writer.append(b"hello").unwrap();
        assert_eq!(reader.read_at(1, &mut buffer).unwrap(), 4);
        assert_eq!(&buffer[..4], b"ello");
        assert_eq!(reader.length_bytes().unwrap(), 5);
        assert_eq!(writer.length_bytes(), 5);
        assert_eq!(reader.read_at(5, &mut buffer).unwrap(), 0);
        assert_eq!(reader.read_at(1 << 40, &mut buffer).unwrap(), 0);
        writer.sync().unwrap();
        storage.sync_dir(directory).unwrap();
    });
}

#[test]
fn append_continues_and_create_empties_in_place() {
    on_each_kind(|storage, directory| {
        let path = directory.join("a");
        storage.open_append(&path).unwrap().append(b"one").unwrap();
        let mut again = storage.open_append(&path).unwrap();
        assert_eq!(again.length_bytes(), 3);
        again.append(b"two").unwrap();
        let reader = storage.open_read(&path).unwrap();
        assert_eq!(read_all(&*reader), b"onetwo");
        storage.create(&path).unwrap();
        assert_eq!(reader.length_bytes().unwrap(), 0);
        assert_eq!(storage.metadata(&path).unwrap().identity, reader.identity());
    });
}

#[test]
fn rename_replaces_and_open_readers_keep_the_old_file() {
    on_each_kind(|storage, directory| {
        let (old, new) = (directory.join("old"), directory.join("new"));
        storage.create(&old).unwrap().append(b"old").unwrap();
        storage.create(&new).unwrap().append(b"new!").unwrap();
        let reader = storage.open_read(&new).unwrap();
        let moved = storage.metadata(&old).unwrap().identity;
        storage.rename(&old, &new).unwrap();
        assert_eq!(read_all(&*reader), b"new!");
        assert!(storage.metadata(&old).unwrap_err().is_not_found());
        let metadata = storage.metadata(&new).unwrap();
        assert_eq!((metadata.length_bytes, metadata.kind), (3, FileKind::File));
        assert_eq!(metadata.identity, moved, "a renamed file stays the same file");
        assert_ne!(metadata.identity, reader.identity(), "rotation is seen");
        storage.remove(&new).unwrap();
        assert!(storage.open_read(&new).unwrap_err().is_not_found());
        assert_eq!(read_all(&*reader), b"new!");
    });
}

#[test]
fn lists_sorted_and_only_the_directory_itself() {
    on_each_kind(|storage, directory| {
        let deep = directory.join("m/n");
        storage.create_dir_all(&deep).unwrap();
        storage.create_dir_all(&deep).unwrap();
        for name in ["z", "a", "k-10", "k-9", "m/inner"] {
            storage.create(&directory.join(name)).unwrap();
        }
        let expected = ["a", "k-10", "k-9", "m", "z"].map(|name| directory.join(name));
        assert_eq!(storage.list(directory).unwrap(), expected);
        assert_eq!(storage.metadata(&deep).unwrap().kind, FileKind::Directory);
    });
}

#[test]
fn missing_paths_are_not_found() {
    on_each_kind(|storage, directory| {
        let path = directory.join("missing/file");
        let is_missing = |error: IoError| error.is_not_found() && error.path() == path;
        assert!(is_missing(storage.open_read(&path).unwrap_err()));
        assert!(is_missing(storage.create(&path).unwrap_err()));
        assert!(is_missing(storage.open_append(&path).unwrap_err()));
        assert!(is_missing(storage.remove(&path).unwrap_err()));
        assert!(is_missing(storage.list(&path).unwrap_err()));
        assert!(is_missing(storage.metadata(&path).unwrap_err()));
        assert!(is_missing(storage.sync_dir(&path).unwrap_err()));
        assert!(is_missing(storage.rename(&path, &directory.join("b")).unwrap_err()));
    });
}

#[test]
fn wrong_kinds_are_refused() {
    on_each_kind(|storage, directory| {
        let file = directory.join("file");
        storage.create(&file).unwrap();
        let wrong = |error: IoError| assert!(matches!(error, IoError::WrongKind { .. }), "{error}");
        wrong(storage.open_read(directory).unwrap_err());
        wrong(storage.create(directory).unwrap_err());
        wrong(storage.open_append(directory).unwrap_err());
        wrong(storage.remove(directory).unwrap_err());
        wrong(storage.list(&file).unwrap_err());
        wrong(storage.sync_dir(&file).unwrap_err());
        wrong(storage.create_dir_all(&file.join("below")).unwrap_err());
        wrong(storage.rename(&file, directory).unwrap_err());
    });
}

#[test]
fn exact_reads_name_what_is_missing() {
    on_each_kind(|storage, directory| {
        let path = directory.join("a");
        storage.create(&path).unwrap().append(b"12345").unwrap();
        let reader = storage.open_read(&path).unwrap();
        match reader.read_exact_at(2, &mut [0; 8]).unwrap_err() {
            IoError::UnexpectedEnd { site, expected_bytes: 8, found_bytes: 3 } => {
                assert_eq!((site.path, site.offset), (path, Some(2)));
            }
            other => panic!("{other}"),
        }
    });
}

#[test]
fn parents_of_bare_names_are_the_working_directory() {
    assert_eq!(parent_directory(Path::new("a")), Path::new("."));
    assert_eq!(parent_directory(Path::new("a/b")), Path::new("a"));
    assert_eq!(parent_directory(Path::new("/b")), Path::new("/"));
}

#[test]
fn a_lock_has_one_holder() {
    on_each_kind(|storage, directory| {
        let path = directory.join("LOCK");
        let held = storage.lock(&path).unwrap();
        assert_eq!(held.path(), path);
        match storage.lock(&path).unwrap_err() {
            IoError::Locked { site, holder_process_id } => {
                assert_eq!(site.path, path);
                assert!(holder_process_id.is_none_or(|id| id == std::process::id()));
            }
            other => panic!("{other}"),
        }
        drop(storage.lock(&directory.join("OTHER")).unwrap());
        drop(held);
        storage.lock(&path).unwrap();
        assert!(storage.lock(&directory.join("missing/LOCK")).unwrap_err().is_not_found());
        let wrong = storage.lock(directory).unwrap_err();
        assert!(matches!(wrong, IoError::WrongKind { .. }), "{wrong}");
    });
}

#[test]
fn batches_read_each_request_for_itself() {
    on_each_kind(|storage, directory| {
        let path = directory.join("a");
        let mut writer = storage.create(&path).unwrap();
        let bytes: Vec<u8> = (0..50_000_u32).map(|index| (index % 251) as u8).collect();
        writer.append(&bytes).unwrap();
        let file = storage.open_read(&path).unwrap();
        let mut reader = storage.batch_reader();
        reader.read(&mut []);
        let mut buffers = vec![[0; 300]; 200];
        let mut requests: Vec<_> = buffers
            .iter_mut()
            .enumerate()
            .map(|(index, buffer)| ReadRequest::new(&*file, index as u64 * 250, buffer))
            .collect();
        reader.read(&mut requests);
        for (index, request) in requests.into_iter().enumerate() {
            let start = index * 250;
            if start + 300 <= bytes.len() {
                assert_eq!(request.buffer(), &bytes[start..start + 300], "request {index}");
                request.into_outcome().unwrap();
                continue;
            }
            match request.into_outcome().unwrap_err() {
                IoError::UnexpectedEnd { site, expected_bytes: 300, found_bytes } => {
                    assert_eq!((site.offset, found_bytes), (Some(start as u64), 50_000 - start));
                }
                other => panic!("{other}"),
            }
        }
    });
}

#[test]
fn segments_hold_what_was_appended_and_are_given_up() {
    on_each_kind(|storage, directory| {
        let path = directory.join("a.segment");
        for round in 1..4_u8 {
            let mut writer = storage.create_segment(&path, 100_000).unwrap();
            let bytes = vec![round; 70_001];
            writer.append(&bytes).unwrap();
            assert_eq!(writer.length_bytes(), 70_001);
            let reader = storage.open_read(&path).unwrap();
            let mut found = vec![0; bytes.len()];
            reader.read_exact_at(0, &mut found).unwrap();
            assert!(found == bytes, "round {round}");
            writer.sync().unwrap();
            drop((writer, reader));
            storage.sync_dir(directory).unwrap();
            assert!(storage.metadata(&path).unwrap().length_bytes >= 70_001);
            storage.recycle(&path).unwrap();
            assert!(storage.metadata(&path).unwrap_err().is_not_found());
            assert!(storage.recycle(&path).unwrap_err().is_not_found());
        }
    });
}

#[test]
fn only_empty_directories_are_removed() {
    on_each_kind(|storage, directory| {
        let tree = directory.join("tree");
        storage.create_dir_all(&tree.join("below")).unwrap();
        storage.create(&tree.join("below/file")).unwrap();
        assert!(storage.remove_dir(&tree).is_err());
        assert!(storage.remove_dir(&tree.join("below")).is_err());
        remove_tree(storage, &tree).unwrap();
        assert!(storage.metadata(&tree).unwrap_err().is_not_found());
        assert!(storage.remove_dir(&tree).is_err());
    });
}

#[test]
fn durable_directories_survive_every_crash() {
    let storage = FaultStorage::new(3, FaultProfile::none());
    for directory in ["/a/b/c", "d/e"] {
        create_durable_dir_all(&storage, Path::new(directory)).unwrap();
        create_durable_dir_all(&storage, Path::new(directory)).unwrap();
    }
    for seed in 0..50 {
        let after = storage.crash(seed);
        assert!(after.metadata(Path::new("/a/b/c")).is_ok());
        assert!(after.metadata(Path::new("d/e")).is_ok());
    }
    let directory = tempfile::tempdir().unwrap();
    create_durable_dir_all(&PosixStorage::new(), &directory.path().join("a/b")).unwrap();
}

#[test]
fn a_file_is_cut_to_its_beginning_and_goes_on_there() {
    on_each_kind(|storage, directory| {
        let path = directory.join("cut");
        storage.create(&path).unwrap().append(b"hello, world").unwrap();
        storage.truncate(&path, 5).unwrap();
        assert_eq!(read_all(&*storage.open_read(&path).unwrap()), b"hello");
        storage.truncate(&path, 5).unwrap();
        let mut file = storage.open_append(&path).unwrap();
        assert_eq!(file.length_bytes(), 5);
        file.append(b"!").unwrap();
        drop(file);
        assert_eq!(read_all(&*storage.open_read(&path).unwrap()), b"hello!");
        let error = storage.truncate(&path, 7).unwrap_err();
        assert!(matches!(error, IoError::UnexpectedEnd { .. }), "{error}");
        storage.remove(&path).unwrap();
        assert!(matches!(storage.truncate(&path, 0), Err(IoError::NotFound { .. })));
    });
}
