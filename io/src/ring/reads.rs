//! Many reads at once, into buffers that stay the caller's.
//!
//! 1. As many reads as the ring has entries are queued and submitted.
//! 2. Each completion is put down at its read; a short read is queued again for its rest, an
//!    interrupted one as it was.
//! 3. Free entries go to reads that were not queued yet, until all are done.
//!
//! # Invariants
//!
//! - Between the first submission and the last completion, `read` neither returns nor unwinds: the
//!   buffers are borrowed for its whole length. If the kernel refuses even to wait, the process
//!   ends, for nobody could say when the buffers are safe to use.
//! - The ring is empty whenever `read` is not running.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use io_uring::{IoUring, opcode, types};

use super::probe::{UringRefusal, set_up_ring};

/// How often one read may be turned away (EAGAIN, EINTR) before that is its outcome.
const ATTEMPTS_MAX: u32 = 1000;

/// One read, and how far it got.
#[derive(Debug)]
pub(crate) struct PlannedRead<'a> {
    file: BorrowedFd<'a>,
    offset: u64,
    buffer: &'a mut [u8],
    found_bytes: usize,
    attempt_count: u32,
    errno: Option<i32>,
}

impl<'a> PlannedRead<'a> {
    pub(crate) fn new(file: BorrowedFd<'a>, offset: u64, buffer: &'a mut [u8]) -> Self {
        Self { file, offset, buffer, found_bytes: 0, attempt_count: 0, errno: None }
    }

    /// How many bytes were found before the end of the file or an error.
    pub(crate) fn outcome(&self) -> Result<usize, i32> {
        self.errno.map_or(Ok(self.found_bytes), Err)
    }

    /// Takes one completion; whether the read must be queued again.
    fn take_result(&mut self, result: i32) -> bool {
        match usize::try_from(result) {
            Ok(0) => false,
            Ok(byte_count) => {
                self.found_bytes += byte_count;
                self.found_bytes < self.buffer.len()
            }
            Err(_) => {
                let errno = -result;
                self.attempt_count += 1;
                let again = matches!(errno, libc::EINTR | libc::EAGAIN);
                if again && self.attempt_count < ATTEMPTS_MAX {
                    return true;
                }
                self.errno = Some(errno);
                false
            }
        }
    }
}

pub(crate) struct ReadRing {
    ring: IoUring,
    entry_count: usize,
}

impl ReadRing {
    /// Sets up a ring for `entry_count` reads at once, a power of two.
    pub(crate) fn new(entry_count: u32) -> Result<Self, UringRefusal> {
        let ring = set_up_ring(entry_count, &[("READ", opcode::Read::CODE)])?;
        Ok(Self { ring, entry_count: entry_count as usize })
    }

    /// Does all reads.
    pub(crate) fn read(&mut self, reads: &mut [PlannedRead<'_>]) {
        let mut queue: VecDeque<usize> =
            (0..reads.len()).filter(|index| !reads[*index].buffer.is_empty()).collect();
        let mut in_flight = InFlight { ring: &mut self.ring, count: 0 };
        loop {
            while in_flight.count < self.entry_count
                && let Some(index) = queue.pop_front()
            {
                in_flight.queue(index, &mut reads[index]);
            }
            if in_flight.count == 0 {
                return;
            }
            in_flight.wait();
            while let Some((index, result)) = in_flight.next_completion() {
                if reads[index].take_result(result) {
                    queue.push_back(index);
                }
            }
        }
    }
}

/// The reads the kernel has; ends the borrow of their buffers only when it has none.
struct InFlight<'a> {
    ring: &'a mut IoUring,
    count: usize,
}

impl InFlight<'_> {
    fn queue(&mut self, index: usize, read: &mut PlannedRead<'_>) {
        let rest = &mut read.buffer[read.found_bytes..];
        // A longer buffer is read in pieces, as a short read.
        let length = u32::try_from(rest.len()).unwrap_or(1 << 30).min(1 << 30);
        let descriptor = types::Fd(read.file.as_raw_fd());
        let entry = opcode::Read::new(descriptor, rest.as_mut_ptr(), length)
            .offset(read.offset + read.found_bytes as u64)
            .build()
            .user_data(index as u64);
        // SAFETY: buffer and descriptor are borrowed until `ReadRing::read` returns, which is not
        // before this read's completion: `InFlight` waits for all, also when it is dropped.
        let queued = unsafe { self.ring.submission().push(&entry) };
        queued.expect("no more reads are queued than there are entries");
        self.count += 1;
    }

    /// Submits and waits for one completion.
    fn wait(&mut self) {
        loop {
            match self.ring.submit_and_wait(1) {
                Ok(_) => return,
                Err(error) => {
                    if !self.ring.completion().is_empty() {
                        return;
                    }
                    let again = [libc::EINTR, libc::EAGAIN, libc::EBUSY].map(Some);
                    if !again.contains(&error.raw_os_error()) {
                        // The kernel may write to the caller's buffers at any later time.
                        std::process::abort();
                    }
                }
            }
        }
    }

    fn next_completion(&mut self) -> Option<(usize, i32)> {
        let entry = self.ring.completion().next()?;
        self.count -= 1;
        let index = usize::try_from(entry.user_data()).expect("the user data is an index");
        Some((index, entry.result()))
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        while self.count > 0 {
            self.wait();
            while self.next_completion().is_some() {}
        }
    }
}

impl fmt::Debug for ReadRing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("ReadRing");
        debug.field("entry_count", &self.entry_count).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd as _;

    use super::*;

    fn file_of(bytes: &[u8]) -> File {
        use std::io::Write as _;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn reads_more_than_there_are_entries() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|index| (index % 253) as u8).collect();
        let file = file_of(&bytes);
        let Ok(mut ring) = ReadRing::new(4) else {
            eprintln!("skipped: no io_uring here");
            return;
        };
        for _ in 0..3 {
            let mut buffers = vec![[0_u8; 777]; 120];
            let mut reads: Vec<_> = buffers
                .iter_mut()
                .enumerate()
                .map(|(index, buffer)| PlannedRead::new(file.as_fd(), index as u64 * 801, buffer))
                .collect();
            reads.push(PlannedRead::new(file.as_fd(), 0, &mut []));
            let mut past_end = [0; 10];
            reads.push(PlannedRead::new(file.as_fd(), 99_995, &mut past_end));
            let directory = File::open("/").unwrap();
            let mut never = [0; 10];
            reads.push(PlannedRead::new(directory.as_fd(), 0, &mut never));
            ring.read(&mut reads);
            assert_eq!(reads[120].outcome(), Ok(0));
            assert_eq!(reads[121].outcome(), Ok(5));
            assert_eq!(reads[122].outcome(), Err(libc::EISDIR));
            assert!(reads[..120].iter().all(|read| read.outcome() == Ok(777)));
            for (index, buffer) in buffers.iter().enumerate() {
                assert!(buffer == &bytes[index * 801..][..777], "read {index}");
            }
        }
    }

    #[test]
    fn short_and_interrupted_reads_go_on() {
        let file = file_of(b"");
        let mut buffer = [0; 10];
        let mut read = PlannedRead::new(file.as_fd(), 0, &mut buffer);
        assert!(read.take_result(4));
        assert!(read.take_result(-libc::EINTR));
        assert!(read.take_result(-libc::EAGAIN));
        assert!(!read.take_result(6));
        assert_eq!(read.outcome(), Ok(10));

        let mut read = PlannedRead::new(file.as_fd(), 0, &mut buffer);
        let turned_away = (0..2000).take_while(|_| read.take_result(-libc::EAGAIN)).count();
        assert_eq!(turned_away as u32, ATTEMPTS_MAX - 1);
        assert_eq!(read.outcome(), Err(libc::EAGAIN));
    }
}
