use super::*;
use crate::connector::test_support::{PATIENCE, SourceDriver};
use crate::function::{InputStatus, SourceReader};
use std::io::Write;
use std::net::TcpListener;

// Each test has a loopback address of its own, so that a port which one has given up is not met by another.

/// A server that serves these texts, one a connection, closing each. It stops listening before it closes the last, so that nobody who
/// has seen that end waits in its backlog, to be reset.
fn serve(host: &'static str, texts: Vec<Vec<u8>>) -> SocketSource {
    let listener = TcpListener::bind((host, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::Builder::new()
        .spawn(move || {
            let mut listener = Some(listener);
            let last = texts.len() - 1;
            for (index, text) in texts.iter().enumerate() {
                let (mut stream, _) = listener.as_ref().unwrap().accept().unwrap();
                if index == last {
                    listener = None;
                }
                stream.write_all(text).unwrap();
            }
        })
        .unwrap();
    source(host, port)
}

fn source(host: &str, port: u16) -> SocketSource {
    SocketSource::lines(host, port).retry_delay(Duration::from_millis(1))
}

/// A port on which nobody listens.
fn free_port(host: &str) -> u16 {
    TcpListener::bind((host, 0)).unwrap().local_addr().unwrap().port()
}

fn error_of(source: &SocketSource) -> String {
    SourceDriver::start(source, 1).unwrap().drain(8).unwrap_err().to_string()
}

#[test]
fn lines_come_without_their_ends_until_the_connection_closes() {
    let source = serve("127.0.77.1", vec![b"to be\r\nor\n\nnot".to_vec()]);
    let mut driver = SourceDriver::start(&source, 1).unwrap();
    assert_eq!(driver.drain(8).unwrap(), ["to be", "or", "", "not"]);
}

#[test]
fn connections_are_made_again_until_nobody_listens() {
    let source = serve("127.0.77.2", vec![b"a\n".to_vec(), b"b\n".to_vec(), b"c".to_vec()]);
    let source = source.reconnect(Reconnect::Always).connect_attempts(3);
    let mut driver = SourceDriver::start(&source, 1).unwrap();
    assert_eq!(driver.drain(8).unwrap(), ["a", "b", "c"], "a closed connection is no failure");
}

#[test]
fn a_connection_that_breaks_fails_the_job_unless_another_is_made() {
    let listener = TcpListener::bind(("127.0.77.3", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let start = |reconnect| {
        let source = source("127.0.77.3", port).reconnect(reconnect);
        let mut driver = SourceDriver::start(&source, 1).unwrap();
        driver.poll(8).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"first\n").unwrap();
        assert_eq!(driver.take_count(1).unwrap(), ["first"]);
        reset(stream);
        driver
    };
    let error = start(Reconnect::Never).drain(8).unwrap_err().to_string();
    assert!(error.contains("127.0.77.3") && error.contains("broke at line 2: "), "{error}");
    assert!(error.contains("`reconnect` lets the source connect again"), "{error}");
    let mut driver = start(Reconnect::Always);
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"second\n").unwrap();
    assert_eq!(driver.take_count(1).unwrap(), ["second"]);
}

/// Ends a connection by a reset, as a crash of the other side's machine does.
fn reset(stream: TcpStream) {
    use std::os::fd::AsRawFd;
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let size = size_of::<libc::linger>() as libc::socklen_t;
    let value = std::ptr::from_ref(&linger).cast();
    // SAFETY: the descriptor is open for as long as `stream` lives, and `value` points to `size` readable bytes.
    let result = unsafe {
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value, size)
    };
    assert_eq!(result, 0);
}

#[test]
fn nobody_listening_is_an_error_after_the_attempts() {
    let port = free_port("127.0.77.4");
    let error = error_of(&source("127.0.77.4", port).connect_attempts(3));
    let expected = format!("cannot connect to 127.0.77.4:{port} after 3 attempt(s): ");
    assert!(error.starts_with(&expected), "{error}");
    let error = error_of(&SocketSource::lines("no such host.invalid", 1));
    assert!(error.starts_with("cannot connect to no such host.invalid:1"), "{error}");
}

#[test]
fn a_server_that_comes_late_is_met() {
    let port = free_port("127.0.77.5");
    let patient = source("127.0.77.5", port).connect_attempts(u32::MAX);
    let mut driver = SourceDriver::start(&patient, 1).unwrap();
    assert_eq!(driver.poll(8).unwrap(), InputStatus::NothingAvailable);
    let listener = TcpListener::bind(("127.0.77.5", port)).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"at last\n").unwrap();
    assert_eq!(driver.take_count(1).unwrap(), ["at last"]);
}

#[test]
fn bad_lines_fail_with_their_number() {
    let error = error_of(&serve("127.0.77.6", vec![b"ok\n\xff\xfe\n".to_vec()]));
    assert!(error.contains("line 2 from 127.0.77.6:"), "{error}");
    assert!(error.contains("is not UTF-8 at byte 0; `lossy`"), "{error}");
    let long = serve("127.0.77.6", vec![b"12345\r\n123456\n".to_vec()]);
    let error = error_of(&long.line_bytes_max(5));
    assert!(error.contains("line 2 from"), "{error}");
    assert!(error.contains("longer than 5 bytes"), "{error}");
    let lossy = serve("127.0.77.6", vec![b"a\xffb\n".to_vec()]).lossy();
    let mut driver = SourceDriver::start(&lossy, 1).unwrap();
    assert_eq!(driver.drain(8).unwrap(), ["a\u{fffd}b"]);
}

#[test]
fn a_cancelled_job_closes_a_silent_connection() {
    let listener = TcpListener::bind(("127.0.77.7", 0)).unwrap();
    let source = source("127.0.77.7", listener.local_addr().unwrap().port());
    let mut driver = SourceDriver::start(&source, 1).unwrap();
    driver.poll(8).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"first\n").unwrap();
    driver.take_count(1).unwrap();
    driver.reader.close().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "the source hung up");
}
