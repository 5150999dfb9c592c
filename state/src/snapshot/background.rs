//! What no checkpoint waits for: merging files, making the next delta's file, removing garbage.
//!
//! 1. The worker decides what is to be done, gives it as a [`Chore`], and makes known what came of
//!    it, the [`Outcome`]. A chore touches neither the manifest nor who refers to what.
//! 2. With a spawner a thread of its own does the chores and sends each outcome to the worker as a
//!    command. Without one the worker does a step of them whenever it has nothing else to do.
//! 3. Files are made before others are removed, both before deltas are sorted, and that before a
//!    merge goes on. Between two steps
//!    the thread waits while the worker has something to write: a merge takes the disk, the
//!    processor or a lock from a checkpoint for one step at most.
//!
//! # Invariants
//!
//! - There is one merge at a time, one sort of deltas, and one file that is being made.
//! - When the worker is gone the thread is, and with it what an unfinished merge has written.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use thalweg_io::{IoError, Spawner};

use super::event::Command;
use super::flush::{Spare, create_spare};
use super::{DataFile, StoreFiles, garbage};
use crate::backend::StoreError;
use crate::compaction::{CompactionJob, JobProgress};
use crate::manifest::VersionChange;

/// What a step merges: a millisecond's worth.
const MERGE_BYTES: usize = 128 << 10;

/// Something to be done in the background.
#[derive(Debug)]
pub(super) enum Chore {
    /// An empty file for a delta of about so many bytes.
    Prepare {
        expected_bytes: u64,
    },
    /// A file that no durable manifest refers to.
    Remove(DataFile),
    Merge(CompactionJob),
    /// A merge of deltas alone, which goes before the other one.
    Sort(CompactionJob),
}

/// What became of a chore.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The file's name is durable.
    Prepared(Result<Spare, IoError>),
    Removed(Result<(), IoError>),
    /// New files are durable; the change is to be made known. After an error nothing is left of
    /// them.
    Merged(Result<VersionChange, StoreError>),
    /// The same of deltas.
    Sorted(Result<VersionChange, StoreError>),
}

/// What a step came to.
#[derive(Debug)]
pub(super) enum BackgroundStep {
    /// There is nothing to do, or a thread does it.
    Nothing,
    Worked,
    Done(Outcome),
}

/// Where chores are done.
#[derive(Debug)]
pub(super) enum Background {
    Inline(Box<Chores>),
    Thread(BackgroundThread),
}

impl Background {
    pub(super) fn inline(files: StoreFiles) -> Self {
        Background::Inline(Box::new(Chores::new(files)))
    }

    /// Starts a thread, which sends outcomes to the worker.
    ///
    /// # Errors
    ///
    /// The spawner's.
    pub(super) fn on_thread(
        files: StoreFiles,
        spawner: &dyn Spawner,
        outcomes: Sender<Command>,
    ) -> io::Result<Self> {
        let (requests, inbox) = mpsc::channel();
        let (alive, ended) = mpsc::channel();
        let gate = Arc::new(Gate::default());
        let name = format!("state-{}-files", files.store());
        let body = {
            let gate = Arc::clone(&gate);
            move || {
                // Declared first, dropped last: the worker waits for it.
                let _alive: Sender<Infallible> = alive;
                run(Chores::new(files), &inbox, &EndSignal(outcomes), &gate);
            }
        };
        spawner.spawn(&name, Box::new(body))?;
        let requests = Some(requests);
        Ok(Background::Thread(BackgroundThread { requests, gate, is_paused: false, ended }))
    }

    /// Takes a chore.
    pub(super) fn give(&mut self, chore: Chore) {
        match self {
            Background::Inline(chores) => chores.push(chore),
            // A thread that has ended said so.
            Background::Thread(thread) => {
                if let Some(requests) = &thread.requests {
                    let _ = requests.send(chore);
                }
            }
        }
    }

    /// Does a step, unless a thread does.
    pub(super) fn step(&mut self) -> BackgroundStep {
        match self {
            Background::Inline(chores) => chores.step(),
            Background::Thread(_) => BackgroundStep::Nothing,
        }
    }

    /// Lets the thread begin no step from now on, or lets it go on.
    pub(super) fn pause(&mut self, is_paused: bool) {
        if let Background::Thread(thread) = self
            && thread.is_paused != is_paused
        {
            thread.is_paused = is_paused;
            thread.gate.set(is_paused);
        }
    }

    /// Ends the thread, if there is one, and waits for it: one step at most.
    pub(super) fn end(&mut self) {
        if let Background::Thread(thread) = self {
            drop(thread.requests.take());
            thread.gate.set(false);
            let _ = thread.ended.recv();
        }
    }
}

/// The worker's end of the thread.
#[derive(Debug)]
pub(super) struct BackgroundThread {
    /// `None` once the thread was told to end.
    requests: Option<Sender<Chore>>,
    gate: Arc<Gate>,
    /// What the gate was told.
    is_paused: bool,
    /// Disconnected when the thread has ended.
    ended: Receiver<Infallible>,
}

/// Keeps the thread waiting.
#[derive(Debug, Default)]
struct Gate {
    is_closed: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn set(&self, is_closed: bool) {
        *self.lock() = is_closed;
        if !is_closed {
            self.opened.notify_all();
        }
    }

    /// Returns when the gate is open.
    fn pass(&self) {
        let mut is_closed = self.lock();
        while *is_closed {
            is_closed = self.opened.wait(is_closed).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A flag is whole whoever panicked.
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_closed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread's way to the worker, which has to learn of a panic: it would wait for outcomes.
#[derive(Debug)]
struct EndSignal(Sender<Command>);

impl Drop for EndSignal {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.0.send(Command::Close);
        }
    }
}

/// The body of the thread: works until the worker is gone.
fn run(mut chores: Chores, requests: &Receiver<Chore>, outcomes: &EndSignal, gate: &Gate) {
    loop {
        match requests.try_recv() {
            Ok(chore) => {
                chores.push(chore);
                continue;
            }
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {}
        }
        if chores.is_empty() {
            match requests.recv() {
                Ok(chore) => chores.push(chore),
                Err(_) => return,
            }
            continue;
        }
        gate.pass();
        if let BackgroundStep::Done(outcome) = chores.step()
            && outcomes.0.send(Command::Done(outcome)).is_err()
        {
            return;
        }
    }
}

/// What is to be done, and does it.
#[derive(Debug)]
pub(super) struct Chores {
    files: StoreFiles,
    /// The length that is expected of a delta for which a file is to be made.
    prepare: Option<u64>,
    removals: VecDeque<DataFile>,
    sort: Option<CompactionJob>,
    merge: Option<CompactionJob>,
}

impl Chores {
    fn new(files: StoreFiles) -> Self {
        Chores { files, prepare: None, removals: VecDeque::new(), sort: None, merge: None }
    }

    fn push(&mut self, chore: Chore) {
        match chore {
            Chore::Prepare { expected_bytes } => self.prepare = Some(expected_bytes),
            Chore::Remove(file) => self.removals.push_back(file),
            Chore::Merge(job) => {
                let before = self.merge.replace(job);
                assert!(before.is_none(), "there is one merge at a time");
            }
            Chore::Sort(job) => {
                let before = self.sort.replace(job);
                assert!(before.is_none(), "there is one sort at a time");
            }
        }
    }

    fn is_empty(&self) -> bool {
        let has_job = self.sort.is_some() || self.merge.is_some();
        self.prepare.is_none() && self.removals.is_empty() && !has_job
    }

    /// Does the next thing, for a bounded time.
    fn step(&mut self) -> BackgroundStep {
        if let Some(expected_bytes) = self.prepare.take() {
            let spare = create_spare(&self.files, expected_bytes);
            return BackgroundStep::Done(Outcome::Prepared(spare));
        }
        if let Some(file) = self.removals.pop_front() {
            return BackgroundStep::Done(Outcome::Removed(garbage::remove(&self.files, file)));
        }
        let (job, outcome): (_, fn(_) -> Outcome) = match &self.sort {
            Some(_) => (&mut self.sort, Outcome::Sorted),
            None => (&mut self.merge, Outcome::Merged),
        };
        match step_job(job) {
            None => BackgroundStep::Nothing,
            Some(Ok(JobProgress::Working)) => BackgroundStep::Worked,
            Some(Ok(JobProgress::Done(change))) => BackgroundStep::Done(outcome(Ok(change))),
            Some(Err(error)) => BackgroundStep::Done(outcome(Err(error))),
        }
    }
}

/// Does a step of a job, if there is one, which is gone when it is over.
fn step_job(job: &mut Option<CompactionJob>) -> Option<Result<JobProgress, StoreError>> {
    let progress = job.as_mut()?.beat(MERGE_BYTES);
    match &progress {
        Ok(JobProgress::Working) => {}
        Ok(JobProgress::Done(_)) => *job = None,
        Err(_) => abort(job),
    }
    Some(progress)
}

fn abort(job: &mut Option<CompactionJob>) {
    if let Some(job) = job.take() {
        // What cannot be removed is when the directory is opened next.
        let _ = job.abort();
    }
}

impl Drop for Chores {
    fn drop(&mut self) {
        abort(&mut self.sort);
        abort(&mut self.merge);
    }
}
