use std::sync::Arc;

use super::*;
use crate::file::ReadOptions;
use crate::storage::{MemoryStorage, Storage};

struct Fixture {
    storage: Arc<dyn Storage>,
}

impl Fixture {
    fn new(content: &[u8]) -> Self {
        let fixture = Self { storage: Arc::new(MemoryStorage::new()) };
        fixture.append(content);
        fixture
    }

    fn append(&self, bytes: &[u8]) {
        self.storage.open_append("data".as_ref()).unwrap().append(bytes).unwrap();
    }

    fn open(&self, read: ReadOptions, lines: LineOptions) -> LineReader {
        LineReader::new(FileReader::open(&self.storage, "data", read).unwrap(), lines)
    }
}

type Owned = (Vec<u8>, u64, u64);

fn owned(line: Line<'_>) -> Owned {
    (line.bytes.to_vec(), line.number, line.offset)
}

fn drain(lines: &mut LineReader) -> Result<Vec<Owned>, LineError> {
    let mut found = Vec::new();
    loop {
        match lines.next_line()? {
            LineStatus::Line(line) => found.push(owned(line)),
            LineStatus::Pending => {}
            LineStatus::AtEnd | LineStatus::Rotated => return Ok(found),
        }
    }
}

fn texts(lines: &mut LineReader) -> Vec<String> {
    let found = drain(lines).unwrap();
    found.into_iter().map(|(bytes, ..)| String::from_utf8(bytes).unwrap()).collect()
}

fn check(content: &str, expected: &[&str]) {
    let fixture = Fixture::new(content.as_bytes());
    for chunk_bytes in [1, 2, 3, 1 << 16] {
        let read = ReadOptions::bounded().chunk_bytes(chunk_bytes);
        let mut lines = fixture.open(read, LineOptions::default());
        assert!(!lines.is_finished() || content.is_empty());
        assert_eq!(texts(&mut lines), expected, "{content:?} in chunks of {chunk_bytes}");
        assert!(lines.is_finished());
    }
}

#[test]
fn splits_lines() {
    check("", &[]);
    check("\n", &[""]);
    check("a", &["a"]);
    check("a\n", &["a"]);
    check("a\nb", &["a", "b"]);
    check("a\r\nb\r\n", &["a", "b"]);
    check("\r\n\r\n", &["", ""]);
    check("a\rb\r\r\nc\r", &["a\rb\r", "c\r"]);
    check("\n\n\na", &["", "", "", "a"]);
}

#[test]
fn keeps_carriage_returns_if_asked() {
    let fixture = Fixture::new(b"a\r\nb\n");
    let options = LineOptions::default().keep_carriage_return(true);
    assert_eq!(texts(&mut fixture.open(ReadOptions::bounded(), options)), ["a\r", "b"]);
}

#[test]
fn numbers_and_offsets_lead_back_to_the_line() {
    let fixture = Fixture::new(b"one\r\n\nthree\nfour");
    let mut lines = fixture.open(ReadOptions::bounded(), LineOptions::default());
    let all = drain(&mut lines).unwrap();
    let places: Vec<_> = all.iter().map(|(_, number, offset)| (*number, *offset)).collect();
    assert_eq!(places, [(1, 0), (2, 5), (3, 6), (4, 12)]);
    for (index, (_, number, offset)) in all.iter().enumerate() {
        let read = ReadOptions::bounded().start_position(*offset);
        let mut lines = fixture.open(read, LineOptions::default().first_number(*number));
        assert_eq!((lines.position(), lines.next_number()), (*offset, *number));
        assert_eq!(drain(&mut lines).unwrap(), all[index..]);
    }
}

#[test]
fn buffered_lines_need_no_reads_and_no_copies() {
    let fixture = Fixture::new(b"a\nb\nc");
    let mut lines = fixture.open(ReadOptions::bounded(), LineOptions::default());
    assert_eq!(lines.next_buffered().unwrap(), None);
    assert_eq!(lines.fill().unwrap(), ReadStatus::Filled { byte_count: 5 });
    let buffer = lines.reader().buffer().as_ptr_range();
    for expected in [b"a", b"b"] {
        let line = lines.next_buffered().unwrap().unwrap();
        assert_eq!(line.bytes, expected);
        assert!(buffer.contains(&line.bytes.as_ptr()), "borrowed from where it was read to");
    }
    assert_eq!(lines.next_buffered().unwrap(), None);
    assert_eq!(lines.fill().unwrap(), ReadStatus::AtEnd);
    assert_eq!(lines.next_buffered().unwrap().map(owned), Some((b"c".to_vec(), 3, 4)));
    assert!(lines.is_finished());
}

#[test]
fn length_is_bounded_exactly() {
    for chunk_bytes in [1, 4, 5, 6, 1 << 16] {
        let read = ReadOptions::bounded().chunk_bytes(chunk_bytes).buffer_bytes_max(1);
        let options = LineOptions::default().line_bytes_max(5);
        let open = |content: &str| Fixture::new(content.as_bytes()).open(read, options);
        for content in ["12345", "12345\n", "12345\r\n"] {
            assert_eq!(texts(&mut open(content)), ["12345"], "{content:?} {chunk_bytes}");
        }
        for content in ["123456", "123456\n", "123456\r\n", "12345\r", "12345\r6\n", "123456789"] {
            match drain(&mut open(&format!("ok\n{content}"))).unwrap_err() {
                LineError::TooLong { path, number: 2, offset: 3, line_bytes_max: 5 } => {
                    assert_eq!(path.as_os_str(), "data");
                }
                other => panic!("{content:?}: {other}"),
            }
        }
    }
}

#[test]
fn too_long_lines_can_be_skipped() {
    for chunk_bytes in [1, 3, 1 << 16] {
        let fixture = Fixture::new(b"a\n0123456789\nb\n0123456789");
        let read = ReadOptions::bounded().chunk_bytes(chunk_bytes);
        let mut lines = fixture.open(read, LineOptions::default().line_bytes_max(4));
        let mut found = Vec::new();
        let mut too_long = Vec::new();
        loop {
            match lines.next_line() {
                Ok(LineStatus::Line(line)) => found.push(owned(line)),
                Ok(LineStatus::Pending) => {}
                Ok(LineStatus::AtEnd | LineStatus::Rotated) => break,
                Err(LineError::TooLong { number, offset, .. }) => {
                    assert!(lines.next_line().is_err(), "the error stays");
                    too_long.push((number, offset));
                    lines.skip_line();
                    assert_eq!(lines.position(), offset);
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(found, [(b"a".to_vec(), 1, 0), (b"b".to_vec(), 3, 13)]);
        assert_eq!(too_long, [(2, 2), (4, 15)]);
        assert_eq!(lines.position(), 25);
        assert!(lines.is_finished());
    }
}

#[test]
fn follow_holds_back_the_unfinished_line() {
    let fixture = Fixture::new(b"a\nb");
    let mut lines = fixture.open(ReadOptions::follow(), LineOptions::default());
    assert_eq!(texts(&mut lines), ["a"]);
    fixture.append(b"c\r");
    assert!(texts(&mut lines).is_empty());
    assert_eq!(lines.position(), 2, "a checkpoint now would read the line again");
    fixture.append(b"\nd\ne");
    assert_eq!(texts(&mut lines), ["bc", "d"]);
    assert_eq!(lines.take_unfinished().unwrap().map(owned), Some((b"e".to_vec(), 4, 8)));
    assert_eq!(lines.take_unfinished().unwrap(), None);
}

#[test]
fn rotation_gives_the_rest_and_goes_on_with_line_one() {
    let fixture = Fixture::new(b"a\nrest");
    let mut lines = fixture.open(ReadOptions::follow(), LineOptions::default());
    fixture.storage.rename("data".as_ref(), "data.1".as_ref()).unwrap();
    fixture.append(b"new\n");
    assert_eq!(texts(&mut lines), ["a"]);
    assert_eq!(lines.next_line().unwrap(), LineStatus::Rotated);
    assert_eq!(lines.take_unfinished().unwrap().map(owned), Some((b"rest".to_vec(), 2, 2)));
    lines.reopen().unwrap();
    assert_eq!(drain(&mut lines).unwrap(), [(b"new".to_vec(), 1, 0)]);
}

/// A small generator (xorshift), so that a failure repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn agrees_with_the_standard_library_in_random_pieces() {
    for seed in 1..400_u64 {
        let mut random = Random(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed));
        let length = random.below(200);
        let alphabet = ["a", "b", "é", "\n", "\r", "\r\n", ",", "longer piece of text"];
        let text: String =
            (0..length).map(|_| alphabet[random.below(alphabet.len() as u64) as usize]).collect();
        let expected: Vec<&str> = text.lines().collect();

        let read = ReadOptions::bounded().chunk_bytes(1 + random.below(40) as usize);
        let mut lines = Fixture::new(text.as_bytes()).open(read, LineOptions::default());
        assert_eq!(texts(&mut lines), expected, "seed {seed}");

        // The same while the file grows by random pieces under a following reader.
        let fixture = Fixture::new(b"");
        let read = ReadOptions::follow().chunk_bytes(1 + random.below(40) as usize);
        let mut lines = fixture.open(read, LineOptions::default());
        let mut found = Vec::new();
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(1 + random.below(rest.len() as u64) as usize);
            fixture.append(piece);
            found.extend(drain(&mut lines).unwrap());
            rest = later;
        }
        found.extend(lines.take_unfinished().unwrap().map(owned));
        let found: Vec<_> = found.iter().map(|(bytes, ..)| bytes.as_slice()).collect();
        assert_eq!(found, expected.iter().map(|line| line.as_bytes()).collect::<Vec<_>>());
    }
}
