//! One file that is open for writing: shared by its writer, the readers that look at it meanwhile,
//! and the writer thread.
//!
//! ```text
//!   append ─► staging ─► jobs ─► queue ─► thread ─► ring ─┬─► done: outstanding - 1
//!                                  ▲                      └─► failed: parked, with a fault
//!                                  └── tried again by the second call after the fault
//! ```
//!
//! A write that fails (disk full, say) keeps its bytes: it is parked, and so is every later one,
//! in order. The writer's next call reports the fault; the one after that tries the parked writes
//! again and goes on if they succeed. So each appended byte gets into the file exactly once,
//! whenever there is space again. A failed sync is final instead.
//!
//! # Invariants
//!
//! - `outstanding_count` is the number of jobs that are queued or with the kernel; a job that is
//!   parked is not. Everything up to `settled_bytes` can be read from the file.
//! - Parked jobs go out again before any newer one, ordered by sequence, and none is queued while
//!   there is a fault: an old tail never overwrites a newer block.
//! - Lock order: this state, then the queue's or the pool's. Nobody waits for a buffer while
//!   holding this state.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::queue::{Command, CommandQueue};
use super::staging::{Staging, WriteJob};
use crate::buffer::BufferPool;
use crate::error::{IoError, IoSite, Operation};
use crate::memory::ArenaError;
use crate::ring::{WriteBytes, allocate};

mod thread_side;

/// A segment's blocks are taken in multiples of this; it is also what the smallest gets.
pub(super) const SEGMENT_STEP_BYTES: u64 = 64 << 10;

/// A segment that outgrows its blocks gets half as many again, so that the journal is committed
/// seldom, but no more than this.
const SEGMENT_GROWTH_BYTES_MAX: u64 = 16 << 20;

/// The way to the writer thread.
#[derive(Debug, Clone)]
pub(super) struct WriterLink {
    pub(super) queue: Arc<CommandQueue>,
    pub(super) pool: Arc<BufferPool>,
}

/// The descriptors of a file.
#[derive(Debug)]
pub(super) struct Descriptors {
    /// Through the page cache.
    pub(super) plain: Arc<File>,
    /// Around it, where the file system lets that be opened.
    pub(super) direct: Option<Arc<File>>,
}

#[derive(Debug)]
pub(super) struct OpenFile {
    id: u64,
    path: PathBuf,
    descriptors: Descriptors,
    /// Set once a direct write was refused (EINVAL); written by the thread, read by all, guards
    /// nothing.
    direct_refused: AtomicBool,
    link: WriterLink,
    state: Mutex<FileState>,
    /// Nothing is outstanding any more, or a sync has ended, or the thread has.
    changed: Condvar,
}

#[derive(Debug)]
struct FileState {
    staging: Staging,
    outstanding_count: usize,
    parked: Vec<WriteJob>,
    fault: Option<Fault>,
    sync: SyncState,
    /// Whether something was appended, or nothing synced yet.
    is_unsynced: bool,
    /// The length when bytes were last handed over.
    handed_bytes: u64,
    settled_bytes: u64,
    /// How far a segment has blocks; `u64::MAX` where nothing is to be taken ahead.
    allocated_bytes: u64,
    /// The thread has ended without doing all.
    is_abandoned: bool,
}

/// The first write that failed and is parked.
#[derive(Debug, Clone, Copy)]
struct Fault {
    errno: i32,
    offset: u64,
    is_reported: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SyncState {
    Idle,
    Running,
    Succeeded,
    /// A write before it failed, so it was not tried.
    Dropped,
    Failed(i32),
}

impl OpenFile {
    /// A file that is written after the bytes of `staging`. For a segment `allocated_bytes` says
    /// how far it has blocks; it is `u64::MAX` for others.
    pub(super) fn new(
        id: u64,
        path: &Path,
        descriptors: Descriptors,
        link: WriterLink,
        staging: Staging,
        allocated_bytes: u64,
    ) -> Self {
        let length = staging.length_bytes();
        let state = FileState {
            staging,
            outstanding_count: 0,
            parked: Vec::new(),
            fault: None,
            sync: SyncState::Idle,
            is_unsynced: true,
            handed_bytes: length,
            settled_bytes: length,
            allocated_bytes,
            is_abandoned: false,
        };
        Self {
            id,
            path: path.to_path_buf(),
            descriptors,
            direct_refused: AtomicBool::new(false),
            link,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn length_bytes(&self) -> u64 {
        self.lock().staging.length_bytes()
    }

    /// Takes `bytes`, counting them in `appended_bytes` as they are taken.
    pub(super) fn append(
        self: &Arc<Self>,
        bytes: &[u8],
        appended_bytes: &mut usize,
    ) -> Result<(), IoError> {
        let mut state = self.usable(Operation::Append)?;
        while *appended_bytes < bytes.len() {
            if state.staging.needs_buffer() {
                drop(state);
                let buffer = self.link.pool.take().map_err(|error| self.no_memory(error))?;
                state = self.lock();
                if let Err(error) = self.report_fault(&mut state) {
                    self.link.pool.put(buffer);
                    return Err(error);
                }
                state.staging.install(buffer);
            }
            *appended_bytes += state.staging.extend(&bytes[*appended_bytes..]);
            state.is_unsynced = true;
            if state.staging.is_full() {
                self.hand_over(&mut state);
            }
        }
        Ok(())
    }

    /// Hands everything over, syncs, and waits for that.
    pub(super) fn sync(self: &Arc<Self>) -> Result<(), IoError> {
        let mut state = self.usable(Operation::Sync)?;
        if !state.is_unsynced {
            return Ok(());
        }
        let mut commands = self.flush(&mut state);
        commands.push(Command::Sync(Arc::clone(self)));
        state.sync = SyncState::Running;
        self.push(&mut state, commands);
        while state.sync == SyncState::Running && !state.is_abandoned {
            state = self.wait(state);
        }
        match state.sync {
            SyncState::Succeeded => {
                state.sync = SyncState::Idle;
                state.is_unsynced = false;
                Ok(())
            }
            SyncState::Failed(errno) => Err(IoError::from_errno(self.site(Operation::Sync), errno)),
            SyncState::Dropped => {
                state.sync = SyncState::Idle;
                self.report_fault(&mut state)
            }
            SyncState::Idle | SyncState::Running => Err(self.thread_ended(Operation::Sync)),
        }
    }

    /// Hands over what is staged, waits for it, and lets go of all buffers. What cannot be
    /// written is lost.
    pub(super) fn close(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.fault.is_none() && !matches!(state.sync, SyncState::Failed(_)) {
            self.hand_over(&mut state);
        }
        state = self.wait_until_settled(state);
        let parked = std::mem::take(&mut state.parked);
        let staged = state.staging.take_buffer();
        drop(state);
        let parked = parked.into_iter().filter_map(|job| match job.bytes {
            WriteBytes::Pooled(buffer) => Some(buffer),
            WriteBytes::Small(_) => None,
        });
        for buffer in parked.chain(staged) {
            self.link.pool.put(buffer);
        }
    }

    /// Whether the file itself has all bytes up to `end`, as far as there are any.
    pub(super) fn is_settled(&self, end: u64) -> bool {
        let state = self.lock();
        end.min(state.staging.length_bytes()) <= state.settled_bytes
    }

    /// Sees to it that the file itself has all bytes up to `end`; waits for that.
    ///
    /// # Errors
    ///
    /// If writing them failed; the writer learns it too.
    pub(super) fn settle(self: &Arc<Self>, end: u64) -> Result<(), IoError> {
        let mut state = self.lock();
        if end.min(state.staging.length_bytes()) <= state.settled_bytes {
            return Ok(());
        }
        if state.fault.is_none() {
            self.hand_over(&mut state);
        }
        let state = self.wait_until_settled(state);
        match state.fault {
            Some(fault) => Err(self.fault_error(fault)),
            None if state.is_abandoned => Err(self.thread_ended(Operation::Append)),
            None => Ok(()),
        }
    }

    /// The state, if the writer may go on: reports a fault once, then tries the parked jobs again.
    fn usable(
        self: &Arc<Self>,
        operation: Operation,
    ) -> Result<MutexGuard<'_, FileState>, IoError> {
        let mut state = self.lock();
        if matches!(state.sync, SyncState::Failed(_)) {
            let site = self.site(operation).at(state.staging.length_bytes());
            return Err(IoError::SyncFailedBefore { site });
        }
        if state.fault.is_some() {
            state = self.wait_until_settled(state);
            if state.fault.is_some_and(|fault| !fault.is_reported) {
                self.report_fault(&mut state)?;
            }
            state.fault = None;
            let mut jobs = std::mem::take(&mut state.parked);
            jobs.sort_unstable_by_key(|job| job.sequence);
            self.send(&mut state, jobs);
            state = self.wait_until_settled(state);
            self.report_fault(&mut state)?;
        }
        if state.is_abandoned {
            return Err(self.thread_ended(operation));
        }
        Ok(state)
    }

    /// Gives all staged bytes to the thread.
    fn hand_over(self: &Arc<Self>, state: &mut FileState) {
        let commands = self.flush(state);
        self.push(state, commands);
    }

    /// Turns all staged bytes into commands, which must be pushed before the state is unlocked.
    fn flush(self: &Arc<Self>, state: &mut FileState) -> Vec<Command> {
        let flushed = state.staging.flush(self.goes_around_cache());
        if let Some(buffer) = flushed.unused {
            self.link.pool.put(buffer);
        }
        state.handed_bytes = state.staging.length_bytes();
        if let Some(end) = flushed.jobs.last().map(WriteJob::end) {
            self.allocate_ahead(state, end);
        }
        self.commands_of(state, flushed.jobs)
    }

    fn send(self: &Arc<Self>, state: &mut FileState, jobs: Vec<WriteJob>) {
        let commands = self.commands_of(state, jobs);
        self.push(state, commands);
    }

    fn commands_of(self: &Arc<Self>, state: &mut FileState, jobs: Vec<WriteJob>) -> Vec<Command> {
        state.outstanding_count += jobs.len();
        let mut commands = Vec::with_capacity(jobs.len() + 1);
        for job in jobs {
            if matches!(job.bytes, WriteBytes::Pooled(_)) {
                self.link.pool.hand_over();
            }
            commands.push(Command::Write(Arc::clone(self), job));
        }
        commands
    }

    fn push(&self, state: &mut FileState, commands: Vec<Command>) {
        if !commands.is_empty() && self.link.queue.push(commands).is_err() {
            state.is_abandoned = true;
        }
    }

    /// Keeps a segment's blocks ahead of its writes.
    fn allocate_ahead(&self, state: &mut FileState, end: u64) {
        if end <= state.allocated_bytes {
            return;
        }
        let growth = (state.allocated_bytes / 2).min(SEGMENT_GROWTH_BYTES_MAX);
        let target = end.max(state.allocated_bytes + growth).next_multiple_of(SEGMENT_STEP_BYTES);
        match allocate(&self.descriptors.plain, state.allocated_bytes..target) {
            Ok(()) => state.allocated_bytes = target,
            // The write will say whether there is room for itself.
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {}
            Err(_) => state.allocated_bytes = u64::MAX,
        }
    }

    fn report_fault(&self, state: &mut FileState) -> Result<(), IoError> {
        match &mut state.fault {
            Some(fault) => {
                fault.is_reported = true;
                Err(self.fault_error(*fault))
            }
            None => Ok(()),
        }
    }

    fn wait_until_settled<'a>(
        &self,
        mut state: MutexGuard<'a, FileState>,
    ) -> MutexGuard<'a, FileState> {
        while state.outstanding_count > 0 && !state.is_abandoned {
            state = self.wait(state);
        }
        state
    }

    fn wait<'a>(&self, state: MutexGuard<'a, FileState>) -> MutexGuard<'a, FileState> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// A panic under the lock is a bug of this module, after which the counts may be off: those
    /// who wait are woken by the thread's end at the latest.
    fn lock(&self) -> MutexGuard<'_, FileState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn goes_around_cache(&self) -> bool {
        self.descriptors.direct.is_some() && !self.direct_refused.load(Ordering::Relaxed)
    }

    fn site(&self, operation: Operation) -> IoSite {
        IoSite::new(operation, &*self.path)
    }

    fn fault_error(&self, fault: Fault) -> IoError {
        IoError::from_errno(self.site(Operation::Append).at(fault.offset), fault.errno)
    }

    fn thread_ended(&self, operation: Operation) -> IoError {
        let source = io::Error::other("the thread that writes files has ended");
        IoError::Other { site: self.site(operation), source }
    }

    fn no_memory(&self, error: ArenaError) -> IoError {
        let source = io::Error::new(io::ErrorKind::OutOfMemory, error);
        IoError::Other { site: self.site(Operation::Append), source }
    }
}
