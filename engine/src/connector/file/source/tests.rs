use super::*;
use crate::connector::test_support::{SourceDriver, add, put};
use crate::function::{InputStatus, SourceReader};
use std::path::Path;
use thalweg_io::storage::MemoryStorage;

fn memory() -> Arc<dyn Storage> {
    let storage = MemoryStorage::new();
    storage.create_dir_all(Path::new("in")).unwrap();
    Arc::new(storage)
}

fn lines(storage: &Arc<dyn Storage>, path: &str) -> FileSource<Lines> {
    FileSource::lines(path).storage(storage.clone())
}

#[test]
fn a_directory_is_read_in_order_of_names() {
    let storage = memory();
    for (path, text) in [("in/b", "3\n4\n"), ("in/a", "1\r\n2"), ("in/c", ""), ("in/.x", "no")] {
        put(&*storage, path, text);
    }
    for chunk_bytes in [1, 2, 64] {
        let source = lines(&storage, "in").chunk_bytes(chunk_bytes);
        assert_eq!(source.boundedness(), Boundedness::Bounded);
        let mut driver = SourceDriver::start(&source, 1).unwrap();
        assert_eq!(driver.drain(3).unwrap(), ["1", "2", "3", "4"]);
    }
}

#[test]
fn gzip_is_recognised_on_the_local_file_system() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/data/flights.csv.gz");
    type Columns = std::collections::HashMap<String, String>;
    let count_of = |source: FileSource<Csv<Columns>>| {
        SourceDriver::start(&source, 1).unwrap().drain(512).unwrap().len()
    };
    let lines = FileSource::lines(path);
    let line_count = SourceDriver::start(&lines, 1).unwrap().drain(512).unwrap().len();
    assert!(line_count > 1_000);
    assert_eq!(count_of(FileSource::csv::<Columns>(path)), line_count - 1);
}

#[test]
fn a_position_in_a_gzip_file_is_found_again() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/data/weather.csv.gz");
    type Columns = std::collections::BTreeMap<String, String>;
    let source = FileSource::csv::<Columns>(path);
    let all = SourceDriver::start(&source, 1).unwrap().drain(512).unwrap();
    let mut driver = SourceDriver::start(&source, 1).unwrap();
    let first = driver.take_count(all.len() / 2).unwrap();
    let rest = SourceDriver::with_splits(&source, driver.reader.snapshot()).drain(512).unwrap();
    assert_eq!([first, rest].concat(), all);
}

#[test]
fn lines_that_are_no_text_or_too_long_are_malformed() {
    let storage = memory();
    put(&*storage, "in/a", b"ok\n\xff\xfe!\n0123456789\nlast");
    let source = lines(&storage, "in/a").line_bytes_max(8);
    for chunk_bytes in [1, 3, 64] {
        let source = source.clone().chunk_bytes(chunk_bytes).results();
        let rows = SourceDriver::start(&source, 1).unwrap().drain(8).unwrap();
        assert_eq!((rows[0].as_deref(), rows[3].as_deref()), (Ok("ok"), Ok("last")));
        let bad: Vec<_> = rows.iter().filter_map(|row| row.as_ref().err()).collect();
        assert_eq!((bad[0].line, bad[0].error.as_str()), (2, "not UTF-8 at byte 0 of the line"));
        assert!(bad[1].line == 3 && bad[1].error.starts_with("longer than 8 bytes"));
        assert_eq!(bad[1].raw, "01234567");
    }
    let error = SourceDriver::start(&source, 1).unwrap().drain(8).unwrap_err().to_string();
    assert!(error.starts_with("malformed row in in/a, line 2: not UTF-8"), "{error}");
    let skipping = source.on_malformed(Malformed::SkipAndCount);
    let mut driver = SourceDriver::start(&skipping, 1).unwrap();
    assert_eq!((driver.drain(8).unwrap(), driver.skipped), (vec!["ok".into(), "last".into()], 2));
}

#[test]
fn a_damaged_gzip_file_fails_with_its_place() {
    let storage = memory();
    put(&*storage, "in/a.gz", [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xff, 0xff, 0xff]);
    let error = SourceDriver::start(&lines(&storage, "in"), 1).unwrap().drain(8).unwrap_err();
    assert!(error.to_string().starts_with("in/a.gz is a"), "{error}");
}

#[test]
fn inputs_that_are_not_there_fail_before_anything_runs() {
    let start = |path: &str| {
        let error = SourceDriver::start(&FileSource::lines(path), 1).err().expect("refused");
        error.to_string()
    };
    let error = start("no/such/file");
    assert!(error.contains("cannot look up no/such/file: it does not exist"), "{error}");
    let directory = tempfile::tempdir().unwrap();
    let error = start(directory.path().to_str().unwrap());
    assert!(error.contains("found no file in the directory"), "{error}");
    let error = start("/dev/null");
    assert!(error.contains("neither a file nor a directory"), "{error}");
}

#[test]
fn a_followed_file_brings_whole_lines_and_sleeps_in_between() {
    let storage = memory();
    put(&*storage, "in/log", "one\ntw");
    let source = lines(&storage, "in/log").follow().follow_interval(Duration::from_millis(50));
    assert_eq!(source.boundedness(), Boundedness::Unbounded);
    let mut driver = SourceDriver::start(&source, 1).unwrap();
    driver.set_time_ms(1_000);
    while driver.poll(8).unwrap() != InputStatus::NothingAvailable {}
    assert_eq!((driver.take(), driver.next_timer_ms()), (vec!["one".to_owned()], 1_050));
    add(&*storage, "in/log", "o\nthree\n");
    driver.set_time_ms(1_049);
    assert_eq!(driver.poll(8).unwrap(), InputStatus::NothingAvailable);
    assert!(driver.take().is_empty(), "it is not looked at before its time");
    driver.set_time_ms(1_050);
    driver.poll(8).unwrap();
    assert_eq!(driver.take(), ["two", "three"]);
}

fn follow_all(driver: &mut SourceDriver<FileSource<Lines>>, ms: &mut i64) -> Vec<String> {
    *ms += 1_000;
    driver.set_time_ms(*ms);
    while driver.poll(8).unwrap() != InputStatus::NothingAvailable {}
    driver.take()
}

#[test]
fn a_followed_file_that_is_rotated_or_truncated_goes_on() {
    let storage = memory();
    put(&*storage, "in/log", "1\n");
    let source = lines(&storage, "in/log").follow();
    let (mut driver, mut ms) = (SourceDriver::start(&source, 1).unwrap(), 0);
    assert_eq!(follow_all(&mut driver, &mut ms), ["1"]);
    add(&*storage, "in/log", "2\nunfinished");
    storage.rename(Path::new("in/log"), Path::new("in/log.1")).unwrap();
    assert_eq!(follow_all(&mut driver, &mut ms), ["2"]);
    put(&*storage, "in/log", "3\n4");
    assert_eq!(follow_all(&mut driver, &mut ms), ["unfinished", "3"]);
    storage.create(Path::new("in/log")).unwrap().append(b"5\n").unwrap();
    assert_eq!(follow_all(&mut driver, &mut ms), ["5"]);
}

#[test]
fn a_followed_csv_file_rotates_with_a_new_header() {
    let storage = memory();
    put(&*storage, "in/log", "a,b\n1,2\n\"3\n");
    let source = FileSource::csv::<std::collections::BTreeMap<String, String>>("in/log");
    let source = source.storage(storage.clone()).follow();
    let mut driver = SourceDriver::start(&source, 1).unwrap();
    let mut ms = 0;
    let mut poll = |driver: &mut SourceDriver<_>| {
        ms += 1_000;
        driver.set_time_ms(ms);
        while driver.poll(8).unwrap() != InputStatus::NothingAvailable {}
        driver.take().into_iter().map(|row| format!("{row:?}")).collect::<Vec<_>>()
    };
    assert_eq!(poll(&mut driver), [r#"{"a": "1", "b": "2"}"#]);
    add(&*storage, "in/log", "4\",5\n");
    assert_eq!(poll(&mut driver), [r#"{"a": "3\n4", "b": "5"}"#]);
    put(&*storage, "in/log", "c\n6\n");
    assert_eq!(poll(&mut driver), [r#"{"c": "6"}"#]);
}

#[test]
fn a_file_replaced_while_nobody_looked_is_read_from_its_start() {
    let storage = memory();
    put(&*storage, "in/log", "1\n2\n");
    let source = lines(&storage, "in/log").follow();
    let (mut driver, mut ms) = (SourceDriver::start(&source, 1).unwrap(), 0);
    assert_eq!(follow_all(&mut driver, &mut ms).len(), 2);
    let splits = driver.reader.snapshot();
    add(&*storage, "in/log", "3\n");
    let mut driver = SourceDriver::with_splits(&source, splits.clone());
    assert_eq!(follow_all(&mut driver, &mut ms), ["3"]);
    put(&*storage, "in/log", "a\nb\nc\nd\n");
    let mut driver = SourceDriver::with_splits(&source, splits);
    assert_eq!(follow_all(&mut driver, &mut ms), ["a", "b", "c", "d"]);
}

#[test]
fn new_files_are_found_and_several_are_followed_side_by_side() {
    let storage = memory();
    let every = Duration::from_secs(1);
    let source = lines(&storage, "in").follow().discover_every(every);
    let (mut driver, mut ms) = (SourceDriver::start(&source, 1).unwrap(), 0);
    assert!(follow_all(&mut driver, &mut ms).is_empty());
    for path in ["in/a", "in/b"] {
        put(&*storage, path, format!("{path} 1\n"));
        driver.discover().unwrap();
    }
    assert_eq!(follow_all(&mut driver, &mut ms), ["in/a 1", "in/b 1"]);
    add(&*storage, "in/b", "b 2\n");
    add(&*storage, "in/a", "a 2\n");
    let mut news = follow_all(&mut driver, &mut ms);
    news.sort();
    assert_eq!(news, ["a 2", "b 2"]);
    assert_eq!(driver.reader.snapshot().len(), 2);
}

#[test]
fn discovery_without_following_reads_each_file_once() {
    let storage = memory();
    put(&*storage, "in/a", "1\n");
    let source = lines(&storage, "in").discover_every(Duration::from_secs(1));
    let (mut driver, mut ms) = (SourceDriver::start(&source, 1).unwrap(), 0);
    assert_eq!(follow_all(&mut driver, &mut ms), ["1"]);
    put(&*storage, "in/b", "2\n");
    driver.discover().unwrap();
    assert_eq!(follow_all(&mut driver, &mut ms), ["2"]);
    driver.discover().unwrap();
    assert!(follow_all(&mut driver, &mut ms).is_empty());
}
