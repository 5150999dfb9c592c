//! A stand-in for the kernel that does everything a kernel may: completes in any order, writes
//! short, is interrupted, breaks chains, runs out of space, loses a sync.
//!
//! It really writes, through the operation's own descriptor, and checks that bytes do not change
//! while it has them.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::op::{Completion, Kernel, Op};
use super::wake::Wake;

const ENTRY_COUNT: usize = 12;

/// What a test switches on and off meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) disk_full: AtomicBool,
    pub(crate) sync_fails: AtomicBool,
    pub(crate) direct_refused: AtomicBool,
    /// No short or interrupted operations.
    pub(crate) is_calm: AtomicBool,
    /// Waiting fails: the ring is broken.
    pub(crate) is_broken: AtomicBool,
}

#[derive(Debug)]
pub(crate) struct UnrulyKernel {
    wake: Wake,
    faults: Arc<Faults>,
    random: u64,
    /// Chains whose first operation may run now.
    chains: Vec<VecDeque<Pushed>>,
    /// The last one pushed links to the next.
    is_linking: bool,
    poll: Option<Pushed>,
    done: Vec<Completion>,
}

#[derive(Debug)]
struct Pushed {
    key: u64,
    op: Op,
    checksum: u32,
}

fn checksum_of(op: &Op) -> u32 {
    match op {
        Op::Write { bytes, part, .. } => bytes.as_slice()[part.clone()]
            .iter()
            .fold(1, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte))),
        _ => 0,
    }
}

impl UnrulyKernel {
    pub(crate) fn new(wake: &Wake, faults: &Arc<Faults>, seed: u64) -> Self {
        Self {
            wake: wake.clone(),
            faults: Arc::clone(faults),
            random: seed.wrapping_mul(2).wrapping_add(1),
            chains: Vec::new(),
            is_linking: false,
            poll: None,
            done: Vec::new(),
        }
    }

    /// A number below `bound`.
    fn draw(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) as usize % bound
    }

    fn run(&mut self, op: &Op) -> (i32, bool) {
        match op {
            Op::Write { file, bytes, part, offset } => {
                let whole = &bytes.as_slice()[part.clone()];
                let result = self.write(file, whole, *offset);
                (result, usize::try_from(result) == Ok(whole.len()))
            }
            Op::SyncData { .. } => {
                let result = self.sync();
                (result, result == 0)
            }
            Op::PollReadable { .. } => panic!("polls are not in chains"),
        }
    }

    fn write(&mut self, file: &std::fs::File, bytes: &[u8], offset: u64) -> i32 {
        if self.faults.disk_full.load(Ordering::Relaxed) {
            return -libc::ENOSPC;
        }
        if self.faults.direct_refused.load(Ordering::Relaxed) && is_direct(file) {
            return -libc::EINVAL;
        }
        let is_calm = self.faults.is_calm.load(Ordering::Relaxed);
        let mut length = bytes.len();
        match self.draw(8) {
            0 if !is_calm => return -libc::EINTR,
            1 if !is_calm => return -libc::EAGAIN,
            2 if !is_calm => length = self.draw(length + 1),
            _ => {}
        }
        if !is_direct(file) {
            file.write_all_at(&bytes[..length], offset).unwrap();
            return length as i32;
        }
        // A device tells less than a block.
        file.write_all_at(&bytes[..length.next_multiple_of(4096)], offset).unwrap();
        (length / 512 * 512) as i32
    }

    fn sync(&mut self) -> i32 {
        if self.faults.sync_fails.load(Ordering::Relaxed) {
            return -libc::EIO;
        }
        if !self.faults.is_calm.load(Ordering::Relaxed) && self.draw(4) == 0 {
            return -libc::EINTR;
        }
        0
    }

    fn finish(&mut self, pushed: Pushed, result: i32) {
        let Pushed { key, op, checksum } = pushed;
        assert_eq!(checksum_of(&op), checksum, "bytes changed while the kernel had them");
        self.done.push(Completion { key, op, result });
    }
}

fn is_direct(file: &std::fs::File) -> bool {
    use std::os::fd::AsRawFd as _;
    // SAFETY: takes no pointers, and the descriptor is open.
    let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
    flags & libc::O_DIRECT != 0
}

impl Kernel for UnrulyKernel {
    fn room(&self) -> usize {
        let queued: usize = self.chains.iter().map(VecDeque::len).sum();
        ENTRY_COUNT - queued - self.done.len() - usize::from(self.poll.is_some())
    }

    fn push(&mut self, key: u64, op: Op, link: bool) {
        assert!(self.room() > 0, "the caller asks for room");
        let pushed = Pushed { key, checksum: checksum_of(&op), op };
        if matches!(pushed.op, Op::PollReadable { .. }) {
            assert!(self.poll.replace(pushed).is_none(), "one poll at a time");
            return;
        }
        if self.is_linking {
            self.chains.last_mut().unwrap().push_back(pushed);
        } else {
            self.chains.push(VecDeque::from([pushed]));
        }
        self.is_linking = link;
    }

    fn wait(&mut self) -> io::Result<()> {
        assert!(!self.is_linking, "a chain ends before it is submitted");
        if self.faults.is_broken.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        if self.chains.is_empty() {
            self.wake.wait();
            self.wake.notify();
            let poll = self.poll.take().expect("there is always a poll");
            self.finish(poll, i32::from(libc::POLLIN));
            return Ok(());
        }
        let chosen = self.draw(self.chains.len());
        let mut chain = self.chains.swap_remove(chosen);
        let first = chain.pop_front().unwrap();
        let (result, is_full) = self.run(&first.op);
        self.finish(first, result);
        if is_full && !chain.is_empty() {
            self.chains.push(chain);
            return Ok(());
        }
        for cancelled in chain {
            self.finish(cancelled, -libc::ECANCELED);
        }
        Ok(())
    }

    fn next_completion(&mut self) -> Option<Completion> {
        if self.done.is_empty() {
            return None;
        }
        let chosen = self.draw(self.done.len());
        Some(self.done.swap_remove(chosen))
    }
}
