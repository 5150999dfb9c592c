use super::*;
use crate::file::ReadOptions;
use crate::storage::{MemoryStorage, PosixStorage};

fn memory() -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::new())
}

fn open(
    storage: &Arc<dyn Storage>,
    change: impl Fn(RollingOptions) -> RollingOptions,
) -> RollingWriter {
    RollingWriter::open(storage, change(RollingOptions::new("out", 1))).unwrap()
}

/// Names and contents of what was published since the last call.
fn published(storage: &Arc<dyn Storage>, writer: &mut RollingWriter) -> Vec<(String, String)> {
    let describe = |file: CompletedFile| {
        let mut reader = file.open(storage, ReadOptions::bounded()).unwrap();
        reader.fill().unwrap();
        let name = file.path().file_name().unwrap().to_str().unwrap().to_owned();
        (name, String::from_utf8(reader.buffer().to_vec()).unwrap())
    };
    writer.take_completed().into_iter().map(describe).collect()
}

fn owned(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn rolls_by_size_and_splits_no_append() {
    let storage = memory();
    let mut writer = open(&storage, |options| options.file_bytes_max(4).suffix(".csv"));
    for piece in ["ab", "cd", "e", "longer than four", "f"] {
        writer.append(piece.as_bytes(), 0).unwrap();
    }
    writer.roll().unwrap();
    writer.roll().unwrap();
    let expected = [
        ("part-1-000000.csv", "abcd"),
        ("part-1-000001.csv", "e"),
        ("part-1-000002.csv", "longer than four"),
        ("part-1-000003.csv", "f"),
    ];
    assert_eq!(published(&storage, &mut writer), owned(&expected));
    assert!(writer.take_completed().is_empty());
}

#[test]
fn rolls_by_age_since_the_first_bytes() {
    let storage = memory();
    let mut writer = open(&storage, |options| options.file_age_ms_max(1000));
    writer.roll_if_old(99_000).unwrap();
    writer.append(b"a", 5_000).unwrap();
    writer.append(b"b", 5_999).unwrap();
    writer.roll_if_old(5_999).unwrap();
    assert!(writer.take_completed().is_empty());
    writer.append(b"c", 6_000).unwrap();
    assert_eq!(published(&storage, &mut writer), owned(&[("part-1-000000", "ab")]));
    writer.append(b"d", -1_000).unwrap();
    writer.roll_if_old(i64::MIN).unwrap();
    assert!(writer.take_completed().is_empty(), "a clock set back rolls nothing");
    writer.roll_if_old(7_000).unwrap();
    assert_eq!(published(&storage, &mut writer), owned(&[("part-1-000001", "cd")]));
}

#[test]
fn nothing_written_publishes_nothing() {
    let storage = memory();
    let mut writer = open(&storage, |options| options);
    writer.append(b"", 0).unwrap();
    writer.roll().unwrap();
    assert!(storage.list("out".as_ref()).unwrap().is_empty());
    assert_eq!(writer.current_path(), None);
}

#[test]
fn starts_after_the_highest_counter() {
    let directory = tempfile::tempdir().unwrap();
    for storage in [memory(), Arc::new(PosixStorage::new()) as Arc<dyn Storage>] {
        let root = directory.path();
        storage.create_dir_all(root).unwrap();
        for name in [
            "part-1-000003.csv",
            "part-1-1000007.csv",
            "part-1-1000008.csv.inprogress",
            "part-2-2000000.csv",
            "part-1-3000000.txt",
            "part-1-x.csv",
            "part-1-.csv",
            "part-1--9.csv",
            "part-1-99999999999999999999999.csv",
            "other-1-5000000.csv",
            "part-10-5000000.csv",
        ] {
            storage.create(&root.join(name)).unwrap();
        }
        let options = RollingOptions::new(root, 1).suffix(".csv");
        let mut writer = RollingWriter::open(&storage, options).unwrap();
        writer.append(b"a", 0).unwrap();
        assert_eq!(writer.current_path(), Some(&*root.join("part-1-1000009.csv")));
        writer.abort().unwrap();
        assert!(storage.metadata(&root.join("part-1-1000008.csv.inprogress")).is_ok());
        assert!(storage.metadata(&root.join("part-1-1000009.csv.inprogress")).is_err());
    }
}

#[test]
fn highest_possible_counter_is_an_error_not_an_overwrite() {
    let storage = memory();
    storage.create_dir_all("out".as_ref()).unwrap();
    storage.create(format!("out/part-1-{}", u64::MAX).as_ref()).unwrap().append(b"kept").unwrap();
    let result = RollingWriter::open(&storage, RollingOptions::new("out", 1));
    assert!(result.is_err());
}
