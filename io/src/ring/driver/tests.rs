use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use super::*;
use crate::ring::Wake;

fn driver() -> Option<Driver> {
    let driver = Driver::new(8);
    if let Err(refusal) = &driver {
        eprintln!("skipped: {refusal}");
    }
    driver.ok()
}

fn write(file: &Arc<File>, bytes: &[u8], offset: u64) -> Op {
    let bytes: Box<[u8]> = bytes.into();
    let part = 0..bytes.len();
    Op::Write { file: Arc::clone(file), bytes: WriteBytes::Small(bytes), part, offset }
}

fn complete_all(driver: &mut Driver) -> Vec<(u64, i32)> {
    let mut found = Vec::new();
    while driver.in_flight_count() > 0 {
        driver.wait().unwrap();
        while let Some(completion) = driver.next_completion() {
            found.push((completion.key, completion.result));
        }
    }
    found.sort_unstable();
    found
}

#[test]
fn writes_registered_and_plain_buffers_and_syncs() {
    let Some(mut driver) = driver() else { return };
    let mut buffers = vec![AlignedBuffer::new(8192).unwrap(), AlignedBuffer::new(8192).unwrap()];
    let registered = driver.register(&mut buffers, 1);
    assert_eq!(buffers[0].registration(), (registered == 1).then_some(0));
    assert_eq!(buffers[1].registration(), None);
    let file = Arc::new(tempfile::tempfile().unwrap());
    for (key, mut buffer) in (0..).zip(buffers) {
        buffer.extend(&[b'a' + key as u8; 8192]);
        let bytes = WriteBytes::Pooled(buffer);
        let op = Op::Write { file: Arc::clone(&file), bytes, part: 4096..8192, offset: key * 4096 };
        driver.push(key, op, false);
    }
    assert_eq!(driver.room(), 6);
    assert_eq!(complete_all(&mut driver), [(0, 4096), (1, 4096)]);
    driver.push(2, write(&file, b"tail", 8192), true);
    driver.push(3, Op::SyncData { file: Arc::clone(&file) }, false);
    assert_eq!(complete_all(&mut driver), [(2, 4), (3, 0)]);
    let mut found = vec![0; 8196];
    file.read_exact_at(&mut found, 0).unwrap();
    assert!(found[..4096].iter().all(|byte| *byte == b'a'));
    assert!(found[4096..8192].iter().all(|byte| *byte == b'b'));
    assert_eq!(&found[8192..], b"tail");
}

#[test]
fn a_failed_write_cancels_what_is_linked_to_it() {
    let Some(mut driver) = driver() else { return };
    let full = Arc::new(File::options().write(true).open("/dev/full").unwrap());
    driver.push(1, write(&full, b"x", 0), true);
    driver.push(2, Op::SyncData { file: Arc::clone(&full) }, false);
    driver.push(3, write(&full, b"x", 0), false);
    let expected = [(1, -libc::ENOSPC), (2, -libc::ECANCELED), (3, -libc::ENOSPC)];
    assert_eq!(complete_all(&mut driver), expected);
}

#[test]
fn a_dropped_driver_has_done_its_writes() {
    let Some(mut driver) = driver() else { return };
    let wake = Wake::new().unwrap();
    driver.push(0, Op::PollReadable { file: Arc::clone(wake.counter()) }, false);
    let file = Arc::new(tempfile::tempfile().unwrap());
    for key in 0..5 {
        driver.push(key, write(&file, &[7; 1000], key * 1000), false);
    }
    drop(driver);
    assert_eq!(file.metadata().unwrap().len(), 5000);
    assert_eq!(Arc::strong_count(&file), 1, "the operations are gone");
}

#[test]
fn a_notice_ends_the_wait() {
    let Some(mut driver) = driver() else { return };
    let wake = Wake::new().unwrap();
    driver.push(9, Op::PollReadable { file: Arc::clone(wake.counter()) }, false);
    std::thread::scope(|scope| {
        scope.spawn(|| wake.notify());
        driver.wait().unwrap();
    });
    let completion = driver.next_completion().unwrap();
    assert_eq!((completion.key, completion.result), (9, i32::from(libc::POLLIN)));
    wake.wait();
}
