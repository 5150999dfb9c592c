use super::*;
use crate::connector::file::{Csv, FileSource, Malformed};
use crate::connector::test_support::{Dice, SourceDriver, put};
use crate::function::{InputStatus, SourceReader};
use serde::Deserialize;
use std::sync::Arc;
use thalweg_io::storage::{MemoryStorage, Storage};

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Row {
    name: String,
    n: i32,
}

fn row(name: &str, n: i32) -> Row {
    Row { name: name.to_owned(), n }
}

fn storage_with(text: impl AsRef<[u8]>) -> Arc<dyn Storage> {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    put(&*storage, "in.csv", text);
    storage
}

fn source<T: DeserializeOwned + Send + 'static>(text: impl AsRef<[u8]>) -> FileSource<Csv<T>> {
    FileSource::csv::<T>("in.csv").storage(storage_with(text))
}

/// Reads with chunks of all small sizes; the results must not differ.
fn read<T>(source: FileSource<Csv<T>>) -> Vec<T>
where
    T: DeserializeOwned + Send + PartialEq + std::fmt::Debug + 'static,
{
    let whole = SourceDriver::start(&source, 1).unwrap().drain(7).unwrap();
    for chunk_bytes in 1..12 {
        let source = source.clone().chunk_bytes(chunk_bytes);
        let rows = SourceDriver::start(&source, 1).unwrap().drain(7).unwrap();
        assert_eq!(rows, whole, "with chunks of {chunk_bytes} bytes");
    }
    whole
}

fn malformed(text: &str) -> Vec<MalformedRow> {
    malformed_with(source::<Row>(text))
}

fn malformed_with(source: FileSource<Csv<Row>>) -> Vec<MalformedRow> {
    let errors = |chunk_bytes| {
        let source = source.clone().chunk_bytes(chunk_bytes).results();
        let rows = SourceDriver::start(&source, 1).unwrap().drain(7).unwrap();
        rows.into_iter().filter_map(Result::err).collect::<Vec<_>>()
    };
    let whole = errors(1 << 16);
    for chunk_bytes in 1..12 {
        assert_eq!(errors(chunk_bytes), whole, "with chunks of {chunk_bytes} bytes");
    }
    whole
}

#[test]
fn fields_are_found_by_name() {
    let text = "n,other,name\n1,x,a\r\n2,,\"b, \"\"c\"\"\nd\"\n\n3,z,e";
    let rows = vec![row("a", 1), row("b, \"c\"\nd", 2), row("e", 3)];
    assert_eq!(read(source::<Row>(text)), rows);
    assert_eq!(read(source::<Row>("name,n\n")), []);
    assert_eq!(read(source::<Row>("")), []);
}

#[test]
fn dialects() {
    let text = "# about\nname ; n\n 'it''s' ; 1\n";
    let read_it = source::<Row>(text).delimiter(b';').quote(b'\'').comment(b'#').trim();
    assert_eq!(read(read_it), [row("'it''s'", 1)], "a quote counts only at the start of a field");
    let text = "name\tn\n\"a\\\"b\"\t2\n";
    assert_eq!(read(source::<Row>(text).delimiter(b'\t').escape(b'\\')), [row("a\"b", 2)]);
    assert_eq!(read(source::<Row>("name,n\n\"x,3\n").no_quoting()), [row("\"x", 3)]);
    assert_eq!(read(source::<(String, i32)>("a,1\nb,2").no_header()).len(), 2);
    let flexible = source::<(String, Option<i32>)>("a,1\nb,2,3\nc,\n").no_header().flexible();
    assert_eq!(read(flexible)[2], ("c".to_owned(), None));
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let source = source::<Row>("name,n\n").delimiter(b'"');
    let error = SourceDriver::start(&source, 1).err().expect("refused").to_string();
    assert!(error.contains("quote is \"\\\"\", which is the delimiter too"), "{error}");
}

#[test]
fn malformed_rows_say_where_and_what() {
    let rows =
        malformed("name,n\r\na,1\r\n\"b\r\nc\",x\r\n\r\nd,2\r\ne,999999999999\r\nf\r\ng,3\r\n");
    let expect = |row: &MalformedRow, line, column: Option<&str>, raw: &str, error: &str| {
        let column = column.map(str::to_owned);
        assert_eq!((row.line, &row.column, row.raw.as_str()), (line, &column, raw));
        assert!(row.error.contains(error), "{}", row.error);
        assert_eq!(row.file, "in.csv");
    };
    assert_eq!(rows.len(), 3, "{rows:?}");
    expect(&rows[0], 3, Some("n"), "\"b\r\nc\",x", "invalid digit");
    expect(&rows[1], 7, Some("n"), "e,999999999999", "too large");
    expect(&rows[2], 8, None, "f", "the row has 1 fields, the others have 2");
    assert_eq!(rows[1].to_string().split(": ").next(), Some("in.csv, line 7, column 'n'"));
}

#[test]
fn bytes_that_are_not_text_are_malformed() {
    let source = FileSource::csv::<Row>("in.csv").storage(storage_with(b"name,n\n\xff,1\nok,2\n"));
    let rows = malformed_with(source);
    assert_eq!((rows.len(), rows[0].line, rows[0].raw.as_str()), (1, 2, "\u{fffd},1"));
}

#[test]
fn fail_names_file_line_column_and_remedy() {
    let mut driver = SourceDriver::start(&source::<Row>("name,n\na,1\nb,no\n"), 1).unwrap();
    let error = driver.drain(8).unwrap_err().to_string();
    assert_eq!(driver.take(), [row("a", 1)]);
    let expected = "malformed row in in.csv, line 3, column 'n': invalid digit found in string; \
                    correct it, or let the source go on with \
                    `on_malformed(Malformed::SkipAndCount)` or `results()`";
    assert_eq!(error, expected);
}

#[test]
fn skipped_rows_are_counted() {
    let text: String = (0..40).map(|n| if n % 4 == 0 { "x,?\n" } else { "x,1\n" }).collect();
    let source = source::<Row>(format!("name,n\n{text}")).on_malformed(Malformed::SkipAndCount);
    let mut driver = SourceDriver::start(&source, 1).unwrap();
    assert_eq!((driver.drain(8).unwrap().len(), driver.skipped), (30, 10));
}

#[test]
fn a_header_without_a_column_fails_even_where_rows_may() {
    let source = source::<Row>("name,number\na,1\n").on_malformed(Malformed::SkipAndCount);
    let error = SourceDriver::start(&source, 1).unwrap().drain(8).unwrap_err().to_string();
    assert!(error.contains("missing field `n`; its columns are name, number."), "{error}");
}

#[test]
fn a_row_that_is_too_long_costs_one_line() {
    let long = "y".repeat(300);
    // A quote that is not closed swallows all that follows; rows go on behind its line.
    let text = format!("name,n\na,1\n\"open,2\nb,3\n{long},4\nc,5\n");
    let rows = malformed_with(source::<Row>(&text).row_bytes_max(100));
    let summary: Vec<_> = rows.iter().map(|row| (row.line, &row.raw[..5])).collect();
    assert_eq!(summary, [(3, "\"open"), (5, "yyyyy")]);
    assert!(rows[0].error.contains("a quote may not be closed"));
    let source = source::<Row>(&text).row_bytes_max(100).on_malformed(Malformed::SkipAndCount);
    assert_eq!(read(source), [row("a", 1), row("b", 3), row("c", 5)]);
}

#[test]
fn empty_lines_and_comments_are_not_part_of_a_row() {
    let blank = "\r\n".repeat(40);
    let text = format!("name,n\n{blank}# {}\n{blank}a,1\n{blank}b,x\n{blank}", "c".repeat(20));
    let source = source::<Row>(&text).comment(b'#').row_bytes_max(24);
    let rows = malformed_with(source);
    let summary: Vec<_> = rows.iter().map(|row| (row.line, row.raw.as_str())).collect();
    assert_eq!(summary, [(124, "b,x")]);
}

/// Random text, half of it CSV: same rows and errors at the same places as csv's own reader has, for any size of chunk, and from
/// any position a checkpoint may have taken.
#[test]
fn random_files_read_as_csv_reads_them() {
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let text = random_csv(&mut dice);
        let expected = read_by_csv(&text);
        let chunk_bytes = 1 + dice.below(40);
        let source = source::<Vec<String>>(&text).no_header().flexible().chunk_bytes(chunk_bytes);
        let mut driver = SourceDriver::start(&source, 1).unwrap();
        let mut rows = Vec::new();
        loop {
            let status = driver.poll(1 + dice.below(3)).unwrap();
            rows.extend(driver.take());
            if status == InputStatus::EndOfInput {
                break;
            }
            let splits = driver.reader.snapshot();
            if splits.is_empty() {
                continue;
            }
            let mut rest = SourceDriver::with_splits(&source, splits).drain(64).unwrap();
            rest.splice(0..0, rows.iter().cloned());
            assert_eq!(rest, expected, "seed {seed}, resumed after {} rows", rows.len());
        }
        assert_eq!(rows, expected, "seed {seed}: {text:?}");
    }
}

fn random_csv(dice: &mut Dice) -> String {
    let pieces = ["a", "bc", ",", ",", "\n", "\r\n", "\"", "\"\"", "\"x,\n\"", "ü", " ", ",\"q\""];
    (0..dice.below(60)).map(|_| pieces[dice.below(pieces.len())]).collect()
}

fn read_by_csv(text: &str) -> Vec<Vec<String>> {
    let mut builder = csv::ReaderBuilder::new();
    let mut reader = builder.has_headers(false).flexible(true).from_reader(text.as_bytes());
    reader.deserialize().map(|row| row.unwrap()).collect()
}

#[test]
fn a_reader_that_resumes_knows_the_header_and_the_line() {
    let text = "name,n\n\"a\nb\",1\nc,2\nd,x\n";
    let source = source::<Row>(text);
    let mut driver = SourceDriver::start(&source, 1).unwrap();
    driver.poll(1).unwrap();
    assert_eq!(driver.take(), [row("a\nb", 1)]);
    let splits = driver.reader.snapshot();
    assert_eq!((splits[0].offset(), splits[0].line()), (15, 4));
    let mut driver = SourceDriver::with_splits(&source, splits.clone());
    assert_eq!(driver.reader.snapshot()[0].offset(), 15);
    driver.poll(1).unwrap();
    assert_eq!(driver.take(), [row("c", 2)]);
    let error = driver.drain(8).unwrap_err().to_string();
    assert!(error.contains("line 5, column 'n'"), "{error}");
}
