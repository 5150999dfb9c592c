use super::*;
use crate::connector::test_support::{PATIENCE, SourceDriver};
use crate::function::{InputStatus, SourceReader};
use std::io::Write;
use std::net::TcpListener;

/// A server that serves these texts, one a connection, closing each.
fn serve(texts: Vec<Vec<u8>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::Builder::new()
        .spawn(move || {
            for text in texts {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(&text).unwrap();
            }
        })
        .unwrap();
    port
}

fn source(port: u16) -> SocketSource {
    SocketSource::lines("127.0.0.1", port).retry_delay(Duration::from_millis(1))
}

fn error_of(source: &SocketSource) -> String {
    SourceDriver::start(source, 1).unwrap().drain(8).unwrap_err().to_string()
}

#[test]
fn lines_come_without_their_ends_until_the_connection_closes() {
    let port = serve(vec![b"to be\r\nor\n\nnot".to_vec()]);
    let mut driver = SourceDriver::start(&source(port), 1).unwrap();
    assert_eq!(driver.drain(8).unwrap(), ["to be", "or", "", "not"]);
}

#[test]
fn connections_are_made_again_until_nobody_listens() {
    let port = serve(vec![b"a\n".to_vec(), b"b\n".to_vec(), b"c".to_vec()]);
    let again = source(port).reconnect(Reconnect::Always).connect_attempts(3);
    let mut driver = SourceDriver::start(&again, 1).unwrap();
    assert_eq!(driver.take_count(3).unwrap(), ["a", "b", "c"]);
    assert!(driver.drain(8).unwrap().is_empty(), "a closed connection is no failure");
}

#[test]
fn nobody_listening_is_an_error_after_the_attempts() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let error = error_of(&source(port).connect_attempts(3));
    let expected = format!("cannot connect to 127.0.0.1:{port} after 3 attempt(s): ");
    assert!(error.starts_with(&expected), "{error}");
    let error = error_of(&SocketSource::lines("no such host.invalid", 1));
    assert!(error.starts_with("cannot connect to no such host.invalid:1"), "{error}");
}

#[test]
fn a_server_that_comes_late_is_met() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let patient = source(port).connect_attempts(u32::MAX);
    let mut driver = SourceDriver::start(&patient, 1).unwrap();
    assert_eq!(driver.poll(8).unwrap(), InputStatus::NothingAvailable);
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"at last\n").unwrap();
    assert_eq!(driver.take_count(1).unwrap(), ["at last"]);
}

#[test]
fn bad_lines_fail_with_their_number() {
    let error = error_of(&source(serve(vec![b"ok\n\xff\xfe\n".to_vec()])));
    assert!(error.contains("line 2 from 127.0.0.1:"), "{error}");
    assert!(error.contains("is not UTF-8 at byte 0; `lossy`"), "{error}");
    let error = error_of(&source(serve(vec![b"12345\r\n123456\n".to_vec()])).line_bytes_max(5));
    assert!(error.contains("line 2 from"), "{error}");
    assert!(error.contains("longer than 5 bytes"), "{error}");
    let lossy = source(serve(vec![b"a\xffb\n".to_vec()])).lossy();
    let mut driver = SourceDriver::start(&lossy, 1).unwrap();
    assert_eq!(driver.drain(8).unwrap(), ["a\u{fffd}b"]);
}

#[test]
fn a_cancelled_job_closes_a_silent_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut driver =
        SourceDriver::start(&source(listener.local_addr().unwrap().port()), 1).unwrap();
    driver.poll(8).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"first\n").unwrap();
    driver.take_count(1).unwrap();
    driver.reader.close().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "the source hung up");
}
