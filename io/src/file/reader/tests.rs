use std::io::Write as _;

use flate2::write::GzEncoder;

use super::*;
use crate::storage::{MemoryStorage, PosixStorage};

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// A file on some storage, written to while it is read.
struct Fixture {
    storage: Arc<dyn Storage>,
    path: PathBuf,
}

impl Fixture {
    fn append(&self, bytes: &[u8]) {
        self.storage.open_append(&self.path).unwrap().append(bytes).unwrap();
    }

    fn open(&self, options: ReadOptions) -> FileReader {
        FileReader::open(&self.storage, &self.path, options).unwrap()
    }
}

fn in_memory(content: &[u8]) -> Fixture {
    let fixture = Fixture { storage: Arc::new(MemoryStorage::new()), path: "data".into() };
    fixture.append(content);
    fixture
}

/// Runs `check` on a file of each kind of storage.
fn on_each_kind(content: &[u8], check: impl Fn(&Fixture)) {
    check(&in_memory(content));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let fixture = Fixture { storage: Arc::new(PosixStorage::new()), path };
    fixture.append(content);
    check(&fixture);
}

/// Reads until nothing comes any more; the data and the last status.
fn drain(reader: &mut FileReader) -> Result<(Vec<u8>, ReadStatus), ReadError> {
    let mut data = Vec::new();
    loop {
        let status = reader.fill()?;
        data.extend_from_slice(reader.buffer());
        reader.consume(reader.buffer().len());
        match status {
            ReadStatus::Filled { .. } | ReadStatus::Working | ReadStatus::BufferFull => {}
            ReadStatus::AtEnd | ReadStatus::Rotated => return Ok((data, status)),
        }
    }
}

fn sample() -> Vec<u8> {
    (0..3000_u32)
        .flat_map(|n| format!("{n} {}\n", n.wrapping_mul(2_654_435_761)).into_bytes())
        .collect()
}

#[test]
fn reads_plain_and_gzip_in_any_chunks() {
    let data = sample();
    let (first, second) = data.split_at(12_345);
    let two_members = [gzip(first), gzip(b""), gzip(second)].concat();
    for content in [data.clone(), gzip(&data), two_members] {
        on_each_kind(&content, |fixture| {
            for chunk_bytes in [1, 7, 4096, 1 << 20] {
                let mut reader = fixture.open(ReadOptions::bounded().chunk_bytes(chunk_bytes));
                let (found, status) = drain(&mut reader).unwrap();
                assert!(found == data, "chunks of {chunk_bytes}");
                assert_eq!(status, ReadStatus::AtEnd);
                assert_eq!(reader.position(), data.len() as u64);
                assert_eq!(reader.is_gzip(), Some(content != data));
            }
        });
    }
}

#[test]
fn empty_and_tiny_files() {
    for content in [&b""[..], b"a", b"\x1f", b"\x1fa", b"\x8b"] {
        on_each_kind(content, |fixture| {
            for options in [ReadOptions::bounded(), ReadOptions::bounded().chunk_bytes(1)] {
                let (found, status) = drain(&mut fixture.open(options)).unwrap();
                assert_eq!((&found[..], status), (content, ReadStatus::AtEnd));
            }
        });
    }
}

#[test]
fn one_fill_does_a_bounded_amount() {
    let data = vec![b'x'; 1 << 20];
    for content in [data.clone(), gzip(&data)] {
        let fixture = in_memory(&content);
        let mut reader =
            fixture.open(ReadOptions::bounded().chunk_bytes(1000).buffer_bytes_max(2500));
        let mut before = 0;
        loop {
            let status = reader.fill().unwrap();
            assert!(reader.buffer().len() - before <= 1000);
            before = reader.buffer().len();
            if status == ReadStatus::BufferFull {
                break;
            }
        }
        assert_eq!(before, 2500);
        let (rest, _) = drain(&mut reader).unwrap();
        assert_eq!(rest.len(), data.len());
    }
}

#[test]
fn starts_and_seeks_anywhere() {
    let data = sample();
    for content in [data.clone(), [gzip(&data[..5000]), gzip(&data[5000..])].concat()] {
        on_each_kind(&content, |fixture| {
            for start in [0, 1, 4999, 5000, 5001, data.len()] {
                let options = ReadOptions::bounded().start_position(start as u64).chunk_bytes(1024);
                let mut reader = fixture.open(options);
                assert_eq!(reader.position(), start as u64);
                assert!(drain(&mut reader).unwrap().0 == data[start..], "start {start}");
            }
            let mut reader = fixture.open(ReadOptions::bounded().chunk_bytes(1024));
            for target in [100, 20_000, 20_100, 50, 50, 0, data.len(), 7] {
                reader.seek(target as u64);
                while reader.buffer().len() < 10 && reader.fill().unwrap() != ReadStatus::AtEnd {}
                let expected = &data[target..data.len().min(target + 10)];
                assert!(reader.buffer().starts_with(expected), "target {target}");
                assert_eq!(reader.position(), target as u64);
            }
        });
    }
}

#[test]
fn start_behind_the_end_is_an_error_that_stays() {
    let data = sample();
    let length = data.len() as u64;
    for content in [data.clone(), gzip(&data)] {
        for options in [ReadOptions::bounded(), ReadOptions::follow()] {
            let mut reader = in_memory(&content).open(options.start_position(length + 1));
            for _ in 0..2 {
                match drain(&mut reader).unwrap_err() {
                    ReadError::PositionPastEnd { position, length_bytes, .. } => {
                        assert_eq!((position, length_bytes), (length + 1, length));
                    }
                    other => panic!("{other}"),
                }
            }
        }
    }
}

#[test]
fn bounded_stops_where_the_file_ended_when_opened() {
    on_each_kind(b"before", |fixture| {
        let mut reader = fixture.open(ReadOptions::bounded());
        fixture.append(b" and after");
        assert_eq!(drain(&mut reader).unwrap().0, b"before");
    });
}

#[test]
fn follow_picks_up_growth() {
    on_each_kind(b"", |fixture| {
        let mut reader = fixture.open(ReadOptions::follow());
        assert_eq!(drain(&mut reader).unwrap(), (vec![], ReadStatus::AtEnd));
        for piece in [&b"a"[..], b"", b"bc", b"\x1f\x8b"] {
            fixture.append(piece);
            assert_eq!(drain(&mut reader).unwrap(), (piece.to_vec(), ReadStatus::AtEnd));
        }
        assert_eq!(reader.position(), 5);
    });
}

#[test]
fn follow_picks_up_growth_of_gzip_byte_by_byte() {
    let content = [gzip(b"hello "), gzip(b"world")].concat();
    on_each_kind(b"", |fixture| {
        let mut reader = fixture.open(ReadOptions::follow());
        let mut data = Vec::new();
        for byte in &content {
            fixture.append(&[*byte]);
            let (more, status) = drain(&mut reader).unwrap();
            assert_eq!(status, ReadStatus::AtEnd);
            data.extend(more);
        }
        assert_eq!(data, b"hello world");
        assert_eq!(reader.is_gzip(), Some(true));
    });
}

#[test]
fn truncation_is_an_error_and_reopen_goes_on() {
    for content in [b"some content".to_vec(), gzip(b"some content")] {
        on_each_kind(&content, |fixture| {
            let mut reader = fixture.open(ReadOptions::follow());
            assert_eq!(drain(&mut reader).unwrap().0, b"some content");
            fixture.storage.create(&fixture.path).unwrap().append(b"new").unwrap();
            match drain(&mut reader).unwrap_err() {
                ReadError::Truncated { path, offset, length_bytes: 3 } => {
                    assert_eq!((path, offset), (fixture.path.clone(), content.len() as u64));
                }
                other => panic!("{other}"),
            }
            reader.reopen().unwrap();
            assert_eq!(drain(&mut reader).unwrap(), (b"new".to_vec(), ReadStatus::AtEnd));
        });
    }
}

#[test]
fn bounded_notices_that_the_file_shrinks() {
    on_each_kind(b"0123456789", |fixture| {
        let mut reader = fixture.open(ReadOptions::bounded().chunk_bytes(4));
        reader.fill().unwrap();
        fixture.storage.create(&fixture.path).unwrap().append(b"01").unwrap();
        let error = drain(&mut reader).unwrap_err();
        assert!(
            matches!(error, ReadError::Truncated { offset: 10, length_bytes: 2, .. }),
            "{error}"
        );
    });
}

#[test]
fn rotation_is_seen_after_all_bytes_of_the_old_file() {
    on_each_kind(b"old", |fixture| {
        let Fixture { storage, path } = fixture;
        let mut reader = fixture.open(ReadOptions::follow());
        let mut old = storage.open_append(path).unwrap();
        storage.rename(path, &path.with_extension("1")).unwrap();
        old.append(b"er").unwrap();
        assert_eq!(drain(&mut reader).unwrap(), (b"older".to_vec(), ReadStatus::AtEnd));
        storage.create(path).unwrap().append(b"new").unwrap();
        assert_eq!(drain(&mut reader).unwrap(), (vec![], ReadStatus::Rotated));
        old.append(b"!").unwrap();
        assert_eq!(drain(&mut reader).unwrap(), (b"!".to_vec(), ReadStatus::Rotated));
        let before = reader.identity();
        reader.reopen().unwrap();
        assert_ne!(reader.identity(), before);
        assert_eq!(drain(&mut reader).unwrap(), (b"new".to_vec(), ReadStatus::AtEnd));
        assert_eq!(reader.position(), 3);
    });
}

#[test]
fn every_truncation_of_gzip_is_an_error() {
    let content = [gzip(b"first member"), gzip(b"second")].concat();
    let boundary = gzip(b"first member").len();
    for length in 2..content.len() {
        let result = drain(&mut in_memory(&content[..length]).open(ReadOptions::bounded()));
        match result {
            Ok((data, _)) => assert_eq!((length, &data[..]), (boundary, &b"first member"[..])),
            Err(ReadError::IncompleteGzip { path, offset }) => {
                assert_eq!((path, offset), (PathBuf::from("data"), length as u64));
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// Every single-byte change is found, or is in bytes that say nothing about the data.
#[test]
fn every_damage_of_gzip_is_an_error_or_harmless() {
    let data = sample()[..600].to_vec();
    let content = gzip(&data);
    let mut harmless = std::collections::BTreeSet::new();
    for index in 0..content.len() {
        for mask in [0x01, 0x80, 0xff, 0x10] {
            let mut damaged = content.clone();
            damaged[index] ^= mask;
            let options = ReadOptions::bounded().compression(Compression::Gzip).chunk_bytes(64);
            match drain(&mut in_memory(&damaged).open(options)) {
                Ok((found, _)) => {
                    assert!(found == data, "wrong data in silence at {index} ^ {mask:#x}");
                    harmless.insert(index);
                }
                Err(ReadError::CorruptGzip { path, offset, .. }) => {
                    assert_eq!(path, Path::new("data"));
                    assert!(offset <= content.len() as u64);
                }
                Err(ReadError::IncompleteGzip { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
    }
    // The text flag, the time, the extra flags, the system; the bits that pad the deflate data to
    // a whole byte, before the 8 bytes of the trailer.
    harmless.remove(&(content.len() - 9));
    assert!(harmless.iter().all(|index| (3..10).contains(index)), "{harmless:?}");
}

#[test]
fn garbage_behind_gzip_names_its_offset() {
    let mut content = gzip(b"data");
    let length = content.len() as u64;
    content.extend(b"garbage");
    let mut reader = in_memory(&content).open(ReadOptions::bounded());
    while reader.buffer().is_empty() {
        reader.fill().unwrap();
    }
    assert_eq!(reader.buffer(), b"data", "what is good is given");
    for _ in 0..2 {
        match drain(&mut reader).unwrap_err() {
            ReadError::CorruptGzip { offset, fault: super::super::GzipFault::NoMagic, .. } => {
                assert_eq!(offset, length);
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn forced_formats_do_not_look_at_the_bytes() {
    let content = gzip(b"data");
    let plain = ReadOptions::bounded().compression(Compression::Plain);
    assert_eq!(drain(&mut in_memory(&content).open(plain)).unwrap().0, content);
    let forced = ReadOptions::bounded().compression(Compression::Gzip);
    assert!(drain(&mut in_memory(b"plain text").open(forced)).is_err());
    assert!(drain(&mut in_memory(b"").open(forced)).is_err(), "an empty file is no gzip file");
}

#[test]
fn reads_files_that_claim_no_length() {
    let storage: Arc<dyn Storage> = Arc::new(PosixStorage::new());
    let mut reader =
        FileReader::open(&storage, "/proc/self/status", ReadOptions::bounded()).unwrap();
    let (data, status) = drain(&mut reader).unwrap();
    assert!(data.starts_with(b"Name:"));
    assert_eq!(status, ReadStatus::AtEnd);
}
