use super::*;
use crate::connector::test_support::{SinkDriver, SmallDisk, text_of};
use crate::function::Sink;
use thalweg_io::storage::MemoryStorage;

#[derive(serde::Serialize)]
struct Row {
    name: &'static str,
    n: u32,
}

fn row(name: &'static str, n: u32) -> Row {
    Row { name, n }
}

fn memory() -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::new())
}

fn names(storage: &dyn Storage, directory: &str) -> Vec<String> {
    let paths = storage.list(Path::new(directory)).unwrap();
    paths.iter().map(|path| path.display().to_string()).collect()
}

#[test]
fn files_roll_by_size_and_each_has_a_header() {
    let storage = memory();
    let sink = FileSink::csv("out").storage(storage.clone()).roll_at_bytes(18);
    let mut driver = SinkDriver::open::<Row>(sink, 2, 3).unwrap();
    driver.write([row("a", 1), row("b", 2), row("c", 3)]).unwrap();
    let in_progress = "out/part-2-000001.csv.inprogress";
    assert_eq!(names(&*storage, "out"), ["out/part-2-000000.csv", in_progress]);
    driver.end::<Row>().unwrap();
    assert_eq!(names(&*storage, "out"), ["out/part-2-000000.csv", "out/part-2-000001.csv"]);
    assert_eq!(text_of(&*storage, "out/part-2-000000.csv"), "name,n\na,1\nb,2\n");
    assert_eq!(text_of(&*storage, "out/part-2-000001.csv"), "name,n\nc,3\n");
}

#[test]
fn files_roll_by_age_also_when_nothing_comes() {
    let storage = memory();
    let sink = FileSink::lines("out").storage(storage.clone()).roll_after(Duration::from_secs(5));
    let mut driver = SinkDriver::open::<u32>(sink.prefix("x").suffix(".log"), 0, 1).unwrap();
    let poll = |driver: &mut SinkDriver<FileSink<LineRows>>, ms| {
        Sink::<u32>::poll_ready(&mut driver.sink, ms, true).unwrap();
        Sink::<u32>::next_poll_ms(&driver.sink)
    };
    assert_eq!(poll(&mut driver, 1_000), None);
    driver.sink.write(7, 0).unwrap();
    assert_eq!(poll(&mut driver, 1_000), Some(6_000));
    assert_eq!(poll(&mut driver, 5_999), Some(6_000));
    assert_eq!(names(&*storage, "out"), ["out/x-0-000000.log.inprogress"]);
    assert_eq!(poll(&mut driver, 6_000), None);
    assert_eq!(text_of(&*storage, "out/x-0-000000.log"), "7\n");
    driver.end::<u32>().unwrap();
    assert_eq!(names(&*storage, "out").len(), 1, "no empty file");
}

#[test]
fn a_single_file_appears_at_the_end_and_has_one_writer() {
    let storage = memory();
    let sink = FileSink::csv_file("out.csv").storage(storage.clone());
    let mut driver = SinkDriver::open::<(&str, i32)>(sink.clone(), 0, 1).unwrap();
    driver.write([("a", 1), ("b", 2)]).unwrap();
    assert!(storage.metadata(Path::new("out.csv")).is_err());
    driver.end::<(&str, i32)>().unwrap();
    assert_eq!(text_of(&*storage, "out.csv"), "a,1\nb,2\n");
    let named = FileSink::csv_file("named.csv").storage(storage.clone());
    let mut driver = SinkDriver::open::<Row>(named, 0, 1).unwrap();
    driver.write([row("a", 1), row("b", 2)]).unwrap();
    driver.end::<Row>().unwrap();
    assert_eq!(text_of(&*storage, "named.csv"), "name,n\na,1\nb,2\n");
    let error = SinkDriver::open::<Row>(sink, 1, 2).err().expect("refused").to_string();
    assert!(
        error.contains("single file out.csv and has 2 subtasks; give it `set_paral"),
        "{error}"
    );
    let sink = FileSink::lines_file("no/dir/out.txt").storage(storage);
    let error = SinkDriver::open::<u8>(sink, 0, 1).err().expect("refused").to_string();
    assert!(error.contains("cannot create no/dir/out.txt.inprogress"), "{error}");
}

#[test]
fn a_job_that_fails_publishes_nothing_more() {
    let storage = memory();
    let sink = FileSink::lines("out").storage(storage.clone()).roll_at_bytes(2);
    let mut driver = SinkDriver::open::<i32>(sink, 0, 1).unwrap();
    driver.write([1, 2]).unwrap();
    Sink::<i32>::close(&mut driver.sink).unwrap();
    assert_eq!(names(&*storage, "out"), ["out/part-0-000000.txt"]);
}

#[test]
fn a_full_disk_fails_the_job_with_its_cause() {
    let disk = SmallDisk::new(100_000);
    let sink = FileSink::lines("out").storage(disk.clone());
    let mut driver = SinkDriver::open::<String>(sink, 0, 1).unwrap();
    let line = "x".repeat(999);
    let error =
        (0..200).find_map(|_| driver.write([line.clone()]).err()).expect("the disk is small");
    let no_space = error.downcast_ref::<FileSinkError>().and_then(|error| match error {
        FileSinkError::Io(error) => Some(error.is_no_space()),
        _ => None,
    });
    assert_eq!(no_space, Some(true));
    assert!(error.to_string().contains("out/part-0-000000.txt.inprogress"), "{error}");
    Sink::<String>::close(&mut driver.sink).unwrap();
    assert!(names(&*disk, "out").is_empty(), "its space is given back");
}

#[test]
fn a_record_that_does_not_fit_the_format_says_so() {
    let sink = FileSink::csv("out").storage(memory());
    let mut driver = SinkDriver::open::<std::collections::BTreeMap<&str, i32>>(sink, 0, 1).unwrap();
    let error = driver.write([std::collections::BTreeMap::from([("a", 1)])]).unwrap_err();
    assert!(error.to_string().starts_with("the file sink cannot encode a record: "), "{error}");
}
