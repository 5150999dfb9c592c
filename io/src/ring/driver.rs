//! The real [`Kernel`]: one io_uring ring and the operations it has in flight.
//!
//! 1. `push` parks the operation in a slot, builds its entry from where it lies there, and queues
//!    that. A write from a registered buffer becomes WRITE_FIXED, which saves pinning 256 pages a
//!    MiB.
//! 2. `wait` submits the entries and waits for one completion.
//! 3. `next_completion` takes the operation out of its slot and hands it out with its result.
//!
//! # Invariants
//!
//! - A slot is occupied exactly from `push` to the completion: its index is the entry's user data.
//! - What the entries point to is owned by occupied slots (buffers do not move when their owner
//!   does), so the kernel never sees freed memory. A driver that is dropped first waits for all
//!   operations; if even that fails it leaks them.
//! - `free.len() + occupied slots == slots.len() <= the ring's entries`: the submission queue never
//!   overflows, and the completion queue has twice its size.

use std::fmt;
use std::io;
use std::mem;
use std::os::fd::AsRawFd as _;

use io_uring::{IoUring, opcode, squeue, types};

use super::op::{Completion, Kernel, Op, WriteBytes};
use super::probe::{UringRefusal, set_up_ring};
use crate::buffer::AlignedBuffer;

/// What the driver asks the kernel for; all came with Linux 5.6 or earlier.
const NEEDED_OPERATIONS: [(&str, u8); 4] = [
    ("WRITE", opcode::Write::CODE),
    ("WRITE_FIXED", opcode::WriteFixed::CODE),
    ("FSYNC", opcode::Fsync::CODE),
    ("POLL_ADD", opcode::PollAdd::CODE),
];

pub(crate) struct Driver {
    ring: IoUring,
    slots: Vec<Option<Pushed>>,
    free: Vec<usize>,
}

struct Pushed {
    key: u64,
    op: Op,
}

impl Driver {
    /// Sets up a ring for `entry_count` operations at once, a power of two.
    pub(crate) fn new(entry_count: u32) -> Result<Self, UringRefusal> {
        let ring = set_up_ring(entry_count, &NEEDED_OPERATIONS)?;
        let slot_count = entry_count as usize;
        let slots = (0..slot_count).map(|_| None).collect();
        Ok(Self { ring, slots, free: (0..slot_count).rev().collect() })
    }

    /// Registers the first `count` of `buffers` (they stay pinned, and count as locked memory),
    /// and says how many; none where the limit on locked memory forbids it.
    pub(crate) fn register(&mut self, buffers: &mut [AlignedBuffer], count: usize) -> usize {
        let count = count.min(buffers.len()).min(usize::from(u16::MAX));
        let chosen = &mut buffers[..count];
        let vectors: Vec<_> = chosen
            .iter()
            .map(|buffer| libc::iovec {
                iov_base: buffer.as_slice().as_ptr().cast_mut().cast(),
                iov_len: buffer.capacity_bytes(),
            })
            .collect();
        if vectors.is_empty() {
            return 0;
        }
        // SAFETY: the kernel pins the pages themselves, so they outlive even a buffer that is
        // unmapped; entries name a registration only from the buffer that it was made for.
        if unsafe { self.ring.submitter().register_buffers(&vectors) }.is_err() {
            return 0;
        }
        for (index, buffer) in chosen.iter_mut().enumerate() {
            buffer.set_registration(u16::try_from(index).ok());
        }
        count
    }

    fn in_flight_count(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

/// The entry of an operation that lies in its slot.
fn entry_of(op: &Op) -> squeue::Entry {
    match op {
        Op::Write { file, bytes, part, offset } => {
            let descriptor = types::Fd(file.as_raw_fd());
            let written = &bytes.as_slice()[part.clone()];
            let length = u32::try_from(written.len()).expect("a buffer is far below 4 GiB");
            let registration = match bytes {
                WriteBytes::Pooled(buffer) => buffer.registration(),
                WriteBytes::Small(_) => None,
            };
            match registration {
                Some(index) => opcode::WriteFixed::new(descriptor, written.as_ptr(), length, index)
                    .offset(*offset)
                    .build(),
                None => {
                    opcode::Write::new(descriptor, written.as_ptr(), length).offset(*offset).build()
                }
            }
        }
        Op::SyncData { file } => opcode::Fsync::new(types::Fd(file.as_raw_fd()))
            .flags(types::FsyncFlags::DATASYNC)
            .build(),
        Op::PollReadable { file } => {
            opcode::PollAdd::new(types::Fd(file.as_raw_fd()), libc::POLLIN as u32).build()
        }
    }
}

impl Kernel for Driver {
    fn room(&self) -> usize {
        self.free.len()
    }

    fn push(&mut self, key: u64, op: Op, link: bool) {
        let slot = self.free.pop().expect("the caller asked for room");
        let pushed = self.slots[slot].insert(Pushed { key, op });
        let mut entry = entry_of(&pushed.op).user_data(slot as u64);
        if link {
            entry = entry.flags(squeue::Flags::IO_LINK);
        }
        // SAFETY: file and bytes are owned by the occupied slot until the completion.
        let queued = unsafe { self.ring.submission().push(&entry) };
        queued.expect("there are no more slots than entries");
    }

    fn wait(&mut self) -> io::Result<()> {
        loop {
            match self.ring.submit_and_wait(1) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Completions must be taken first (EBUSY), or memory is short for a moment.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EAGAIN)) => {
                    if !self.ring.completion().is_empty() {
                        return Ok(());
                    }
                    std::thread::yield_now();
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn next_completion(&mut self) -> Option<Completion> {
        let entry = self.ring.completion().next()?;
        let slot = usize::try_from(entry.user_data()).expect("the user data is a slot's index");
        let Pushed { key, op } = self.slots[slot].take().expect("one completion an operation");
        self.free.push(slot);
        Some(Completion { key, op, result: entry.result() })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // A poll of a counter that nobody writes to any more would never end: closing the ring
        // cancels it, and it owns no memory that the kernel uses.
        let uses_memory = |slot: &Option<Pushed>| {
            slot.as_ref().is_some_and(|pushed| !matches!(pushed.op, Op::PollReadable { .. }))
        };
        while self.slots.iter().any(uses_memory) {
            if self.wait().is_err() {
                mem::forget(mem::take(&mut self.slots));
                return;
            }
            while self.next_completion().is_some() {}
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Driver");
        debug.field("in_flight_count", &self.in_flight_count()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
