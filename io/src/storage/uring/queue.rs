//! The commands for the writer thread, and the signals between it and everybody else.
//!
//! # Invariants
//!
//! - `awaits_notice` is set by the thread whenever it takes commands, because it waits after
//!   that; the first who pushes takes it back and notifies. So no command is slept over, and a
//!   burst costs one notice.
//! - After the thread's end nothing is accepted: whoever pushes learns of it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::file::{OpenFile, WriterLink};
use super::staging::WriteJob;
use crate::ring::Wake;

#[derive(Debug)]
pub(super) enum Command {
    Write(Arc<OpenFile>, WriteJob),
    Sync(Arc<OpenFile>),
}

/// What the thread finds when it looks.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) commands: Vec<Command>,
    /// Nobody will push any more.
    pub(super) is_closed: bool,
}

#[derive(Debug)]
pub(super) struct CommandQueue {
    state: Mutex<QueueState>,
    ended: Condvar,
    wake: Wake,
}

#[derive(Debug, Default)]
struct QueueState {
    commands: Vec<Command>,
    awaits_notice: bool,
    is_closed: bool,
    has_ended: bool,
}

impl CommandQueue {
    pub(super) fn new(wake: Wake) -> Self {
        Self { state: Mutex::default(), ended: Condvar::new(), wake }
    }

    pub(super) fn wake(&self) -> &Wake {
        &self.wake
    }

    /// Gives commands to the thread, together; gives them back if there is no thread any more.
    pub(super) fn push(&self, commands: Vec<Command>) -> Result<(), Vec<Command>> {
        let mut state = self.lock();
        if state.has_ended {
            return Err(commands);
        }
        state.commands.extend(commands);
        if std::mem::take(&mut state.awaits_notice) {
            drop(state);
            self.wake.notify();
        }
        Ok(())
    }

    /// For the thread: what there is; it will wait for a notice next.
    pub(super) fn take(&self) -> Taken {
        let mut state = self.lock();
        state.awaits_notice = true;
        Taken { commands: std::mem::take(&mut state.commands), is_closed: state.is_closed }
    }

    /// Asks the thread to end when all is done, and waits until it has.
    pub(super) fn close_and_wait(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        self.wake.notify();
        while !state.has_ended {
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// For the thread's end, however it came: what nobody will do any more.
    fn end(&self) -> Vec<Command> {
        let mut state = self.lock();
        state.has_ended = true;
        self.ended.notify_all();
        std::mem::take(&mut state.commands)
    }

    /// Every change is one step, so a panic elsewhere leaves nothing half-done.
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held by the thread, or by the body that a spawner did not run: its drop is the end.
#[derive(Debug)]
pub(super) struct EndSignal(pub(super) WriterLink);

impl Drop for EndSignal {
    fn drop(&mut self) {
        self.0.pool.stop_waiting();
        for command in self.0.queue.end() {
            match command {
                Command::Write(file, _) | Command::Sync(file) => file.abandon(),
            }
        }
    }
}
