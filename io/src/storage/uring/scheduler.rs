//! The writer thread: takes commands, gives the kernel as much as may run at once, and sorts out
//! what comes back.
//!
//! Each file with work has a lane, in which jobs wait in order of their sequence.
//!
//! 1. A job is given to the kernel as soon as there is room, many of a file at once, except: after
//!    one that ends in a tail the lane waits until it is done, because the next one writes that
//!    block again; and while a sync runs the lane rests.
//! 2. A sync comes after all writes of its lane. If these are at most two and none is with the
//!    kernel, they and the sync go as one linked chain, in one system call. Else the sync follows
//!    when the last write is done: links would make many writes wait for each other.
//! 3. Completions come in any order. A short write is queued again with its rest; an interrupted
//!    one (EINTR, EAGAIN) or one whose chain broke (ECANCELED) as it was; EINVAL of a direct write
//!    turns the file to the page cache for good. Any other error parks the job and all of the lane.
//! 4. A sync that was cancelled with its chain is wanted again; one that failed is final.
//!
//! # Invariants
//!
//! - A lane exists while it has jobs, operations with the kernel, or a sync.
//! - Jobs with the kernel at the same time never overlap.
//! - One poll for notices is always with the kernel.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use super::file::OpenFile;
use super::queue::{Command, CommandQueue, EndSignal};
use super::staging::WriteJob;
use crate::ring::{Completion, Kernel, Op};

/// How often in a row a job may make no progress before that is an error: a full queue of a device
/// answers EAGAIN for a moment, but not forever.
const ATTEMPTS_MAX: u32 = 1000;

/// The longest chain: whole blocks and a tail, then the sync.
const CHAINED_WRITES_MAX: usize = 2;

/// The key of the poll for notices; the others count up from 1.
const POLL_KEY: u64 = 0;

#[derive(Debug)]
pub(super) struct Scheduler {
    kernel: Box<dyn Kernel>,
    queue: Arc<CommandQueue>,
    lanes: BTreeMap<u64, Lane>,
    /// What is with the kernel, by key.
    in_flight: BTreeMap<u64, InFlight>,
    next_key: u64,
    /// Last, so that it drops last: whoever waits for the end finds all else gone.
    _end: EndSignal,
}

#[derive(Debug)]
struct Lane {
    file: Arc<OpenFile>,
    /// Ordered by sequence.
    jobs: VecDeque<WriteJob>,
    in_flight_count: usize,
    /// A job with the kernel ends in a tail.
    tail_in_flight: bool,
    sync: LaneSync,
    /// How often the sync was interrupted.
    sync_attempt_count: u32,
    /// A job was parked: all others must be.
    has_failed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LaneSync {
    None,
    Wanted,
    InFlight,
}

/// What the scheduler keeps of an operation; the rest is with the kernel.
#[derive(Debug)]
enum InFlight {
    Write { file_id: u64, sequence: u64, is_aligned: bool, ends_in_tail: bool, attempt_count: u32 },
    Sync { file_id: u64 },
}

/// What a lane may do next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Give the kernel the first job by itself.
    Write,
    /// Give it all jobs and the sync, linked.
    Chain,
    /// Say that the sync is not tried.
    DropSync,
    /// Nothing, for now.
    Rest,
}

impl Lane {
    fn new(file: &Arc<OpenFile>) -> Self {
        Self {
            file: Arc::clone(file),
            jobs: VecDeque::new(),
            in_flight_count: 0,
            tail_in_flight: false,
            sync: LaneSync::None,
            sync_attempt_count: 0,
            has_failed: file.has_fault(),
        }
    }

    /// Decides; `room` is how many operations the kernel takes.
    fn next_step(&self, room: usize) -> Step {
        let is_sync_wanted = self.sync == LaneSync::Wanted;
        if self.tail_in_flight || self.sync == LaneSync::InFlight {
            return Step::Rest;
        }
        if is_sync_wanted && self.in_flight_count == 0 {
            if self.has_failed {
                return Step::DropSync;
            }
            if self.jobs.len() <= CHAINED_WRITES_MAX {
                return if self.jobs.len() < room { Step::Chain } else { Step::Rest };
            }
        }
        if self.jobs.is_empty() || room == 0 { Step::Rest } else { Step::Write }
    }

    /// Puts a job where its sequence belongs, or parks it.
    fn queue(&mut self, job: WriteJob) {
        if self.has_failed {
            // The file keeps the errno of its first fault, not this one.
            return self.file.park(job, libc::EIO);
        }
        let position = self.jobs.partition_point(|other| other.sequence < job.sequence);
        self.jobs.insert(position, job);
    }

    /// Parks a job that failed, and all that wait behind it.
    fn fail(&mut self, job: WriteJob, errno: i32) {
        self.has_failed = true;
        self.file.park(job, errno);
        for job in self.jobs.drain(..) {
            self.file.park(job, errno);
        }
    }

    fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.in_flight_count == 0 && self.sync == LaneSync::None
    }
}

impl Scheduler {
    pub(super) fn new(kernel: Box<dyn Kernel>, queue: Arc<CommandQueue>, end: EndSignal) -> Self {
        let (lanes, in_flight) = (BTreeMap::new(), BTreeMap::new());
        Self { kernel, queue, lanes, in_flight, next_key: POLL_KEY + 1, _end: end }
    }

    /// Works until the queue is closed and all is done, or the kernel refuses even to wait.
    pub(super) fn run(mut self) {
        self.poll();
        while self.turn().is_ok_and(|goes_on| goes_on) {}
    }

    /// Takes commands, starts what may start, and waits; whether to go on.
    fn turn(&mut self) -> io::Result<bool> {
        let taken = self.queue.take();
        for command in taken.commands {
            self.accept(command);
        }
        self.start();
        if taken.is_closed && self.lanes.is_empty() {
            return Ok(false);
        }
        self.kernel.wait()?;
        while let Some(completion) = self.kernel.next_completion() {
            self.complete(completion);
        }
        Ok(true)
    }

    fn poll(&mut self) {
        let file = Arc::clone(self.queue.wake().counter());
        self.kernel.push(POLL_KEY, Op::PollReadable { file }, false);
    }

    fn accept(&mut self, command: Command) {
        match command {
            Command::Write(file, job) => self.lane_of(&file).queue(job),
            Command::Sync(file) => self.lane_of(&file).sync = LaneSync::Wanted,
        }
    }

    /// The lane of a file, which may have been forgiven since: its writer clears a fault only
    /// when nothing is outstanding, and then gives the parked jobs first.
    fn lane_of(&mut self, file: &Arc<OpenFile>) -> &mut Lane {
        let lane = self.lanes.entry(file.id()).or_insert_with(|| Lane::new(file));
        lane.has_failed = lane.has_failed && file.has_fault();
        lane
    }

    /// Lets every lane do what it may, and drops those that have no work left.
    fn start(&mut self) {
        let Self { kernel, lanes, in_flight, next_key, .. } = self;
        let mut start = Start { kernel: &mut **kernel, in_flight, next_key };
        lanes.retain(|_, lane| {
            start.lane(lane);
            !lane.is_idle()
        });
    }

    fn complete(&mut self, completion: Completion) {
        let Completion { key, op, result } = completion;
        if key == POLL_KEY {
            self.queue.wake().wait();
            return self.poll();
        }
        let known = self.in_flight.remove(&key).expect("each key is completed once");
        match (known, op) {
            (InFlight::Sync { file_id }, _) => self.complete_sync(file_id, result),
            (
                InFlight::Write { file_id, sequence, is_aligned, ends_in_tail, attempt_count },
                Op::Write { bytes, part, offset, .. },
            ) => {
                let job = WriteJob {
                    sequence,
                    bytes,
                    part,
                    offset,
                    is_aligned,
                    ends_in_tail,
                    attempt_count,
                };
                self.complete_write(file_id, job, result);
            }
            (InFlight::Write { .. }, op) => panic!("a write came back as {op:?}"),
        }
    }

    fn complete_write(&mut self, file_id: u64, mut job: WriteJob, result: i32) {
        let lane = self.lanes.get_mut(&file_id).expect("a lane stays while it has operations");
        lane.in_flight_count -= 1;
        lane.tail_in_flight &= !job.ends_in_tail;
        match usize::try_from(result) {
            Ok(byte_count) => {
                if !job.advance(byte_count) {
                    return lane.file.written(job.bytes);
                }
            }
            Err(_) => match -result {
                libc::ECANCELED => {}
                libc::EINTR | libc::EAGAIN => job.attempt_count += 1,
                libc::EINVAL if job.is_aligned && lane.file.refuse_direct() => {
                    job.is_aligned = false;
                }
                errno => return lane.fail(job, errno),
            },
        }
        if job.attempt_count > ATTEMPTS_MAX {
            let errno = if result < 0 { -result } else { libc::EIO };
            return lane.fail(job, errno);
        }
        lane.queue(job);
    }

    fn complete_sync(&mut self, file_id: u64, result: i32) {
        let lane = self.lanes.get_mut(&file_id).expect("a lane stays while it has a sync");
        match -result {
            // A write before it failed: it was not tried.
            libc::ECANCELED => lane.sync = LaneSync::Wanted,
            // It did not get to its end: the kernel has not reported a lost page yet.
            libc::EINTR | libc::EAGAIN if lane.sync_attempt_count < ATTEMPTS_MAX => {
                lane.sync_attempt_count += 1;
                lane.sync = LaneSync::Wanted;
            }
            errno => {
                lane.sync = LaneSync::None;
                lane.sync_attempt_count = 0;
                lane.file.synced(errno);
            }
        }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        for lane in self.lanes.values() {
            lane.file.abandon();
        }
    }
}

/// What starting operations needs of the scheduler.
struct Start<'a> {
    kernel: &'a mut dyn Kernel,
    in_flight: &'a mut BTreeMap<u64, InFlight>,
    next_key: &'a mut u64,
}

impl Start<'_> {
    fn lane(&mut self, lane: &mut Lane) {
        loop {
            match lane.next_step(self.kernel.room()) {
                Step::Write => self.write(lane, false),
                Step::Chain => {
                    while !lane.jobs.is_empty() {
                        self.write(lane, true);
                    }
                    self.sync(lane);
                }
                Step::DropSync => {
                    lane.sync = LaneSync::None;
                    lane.file.sync_dropped();
                }
                Step::Rest => return,
            }
        }
    }

    fn write(&mut self, lane: &mut Lane, link: bool) {
        let job = lane.jobs.pop_front().expect("the step was chosen with jobs");
        let file = Arc::clone(lane.file.target_of(&job));
        let WriteJob { sequence, bytes, part, offset, is_aligned, ends_in_tail, attempt_count } =
            job;
        let file_id = lane.file.id();
        let kept = InFlight::Write { file_id, sequence, is_aligned, ends_in_tail, attempt_count };
        lane.in_flight_count += 1;
        lane.tail_in_flight |= ends_in_tail;
        self.push(kept, Op::Write { file, bytes, part, offset }, link);
    }

    fn sync(&mut self, lane: &mut Lane) {
        lane.sync = LaneSync::InFlight;
        let file = Arc::clone(lane.file.plain());
        self.push(InFlight::Sync { file_id: lane.file.id() }, Op::SyncData { file }, false);
    }

    fn push(&mut self, kept: InFlight, op: Op, link: bool) {
        let key = *self.next_key;
        *self.next_key += 1;
        self.in_flight.insert(key, kept);
        self.kernel.push(key, op, link);
    }
}

#[cfg(test)]
mod tests;
