//! A sink that gives its records to the program.
//!
//! `write` only buffers; `poll_ready` moves the buffer into the queue and answers `Full` while some of it does not fit, so the job
//! holds back. All subtasks write into one queue.
//!
//! **Invariants**
//! - A subtask buffers what one batch brings, no more: it is given nothing while it answers `Full`.
//! - The queue ends when every subtask that was opened has finished, when one ends without (its job failed or was cancelled), or
//!   when nobody is left who could open one.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::queue::Queue;
use super::receiver::ChannelReceiver;
use crate::Result;
use crate::function::{RuntimeContext, Sink, SinkStatus};
use crate::runtime::CoreWaker;
use crate::sync::{Mutex, lock};

/// A channel out of a job, holding at most `capacity` records (0 counts as 1) and what one batch of each subtask brings.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// let env = StreamExecutionEnvironment::new();
/// let (scores, mut output) = thalweg::sink::channel::<u32>(64);
/// env.from_elements([1, 2, 3]).map(|x| x * x).sink_to(scores);
/// env.execute("scores")?;
/// assert_eq!(output.blocking_recv(), Some(1));
/// assert_eq!(output.try_recv(), Ok(4));
/// # Ok::<(), thalweg::BoxError>(())
/// ```
pub fn sink_channel<T: Send + 'static>(capacity: usize) -> (ChannelSink<T>, ChannelReceiver<T>) {
    let queue = Queue::new(capacity);
    let receiver = ChannelReceiver::new(queue.clone());
    let handle = Arc::new(Handle { queue, subtasks: Mutex::default() });
    (ChannelSink { handle, opened: None, keep_open_for_restarts: false }, receiver)
}

/// A channel sink cannot write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelSinkError {
    /// Nobody receives any more.
    #[error(
        "the receiver of the channel sink was dropped; keep it until the job has ended, or \
         cancel the job first"
    )]
    ReceiverDropped,
    /// An earlier run has written it to its end.
    #[error(
        "the channel sink was written by an earlier run and is closed; make a new one with \
         `sink::channel` for each run, or call `keep_open_for_restarts` on it"
    )]
    Closed,
}

/// The job's end of a channel; see [`channel`](sink_channel).
pub struct ChannelSink<T> {
    handle: Arc<Handle<T>>,
    opened: Option<Opened<T>>,
    keep_open_for_restarts: bool,
}

struct Handle<T> {
    queue: Arc<Queue<T>>,
    subtasks: Mutex<Subtasks>,
}

#[derive(Default)]
struct Subtasks {
    opened: usize,
    finished: usize,
}

struct Opened<T> {
    buffer: VecDeque<T>,
    core: Arc<CoreWaker>,
    finished: bool,
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        self.queue.close_producers();
    }
}

impl<T> fmt::Debug for ChannelSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelSink").finish_non_exhaustive()
    }
}

/// For the subtasks: a clone writes to the same receiver.
impl<T> Clone for ChannelSink<T> {
    fn clone(&self) -> Self {
        let ChannelSink { handle, keep_open_for_restarts, .. } = self;
        let keep_open_for_restarts = *keep_open_for_restarts;
        ChannelSink { handle: handle.clone(), opened: None, keep_open_for_restarts }
    }
}

impl<T> ChannelSink<T> {
    /// A failure of the job does not end the channel: the receiver waits for what the job's next attempt writes. It then ends only
    /// with the end of input or when the plan is dropped.
    #[must_use]
    pub fn keep_open_for_restarts(mut self) -> Self {
        self.keep_open_for_restarts = true;
        self
    }

    fn hand_over(&mut self) -> Result<SinkStatus> {
        let Some(opened) = &mut self.opened else { return Ok(SinkStatus::Ready) };
        if opened.buffer.is_empty() {
            return Ok(SinkStatus::Ready);
        }
        if !self.handle.queue.push_batch(&mut opened.buffer, &opened.core) {
            return Err(ChannelSinkError::ReceiverDropped.into());
        }
        Ok(if opened.buffer.is_empty() { SinkStatus::Ready } else { SinkStatus::Full })
    }
}

impl<T: Send + 'static> Sink<T> for ChannelSink<T> {
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        if self.handle.queue.are_producers_gone() {
            return Err(ChannelSinkError::Closed.into());
        }
        if self.handle.queue.is_consumer_gone() {
            return Err(ChannelSinkError::ReceiverDropped.into());
        }
        lock(&self.handle.subtasks).opened += 1;
        let (buffer, core) = (VecDeque::new(), context.waker().clone());
        self.opened = Some(Opened { buffer, core, finished: false });
        Ok(())
    }

    #[inline]
    fn write(&mut self, record: T, _: i64) -> Result<()> {
        if let Some(opened) = &mut self.opened {
            opened.buffer.push_back(record);
        }
        Ok(())
    }

    fn poll_ready(&mut self, _: i64, _: bool) -> Result<SinkStatus> {
        self.hand_over()
    }

    fn finish(&mut self) -> Result<SinkStatus> {
        let status = self.hand_over()?;
        if let (SinkStatus::Ready, Some(opened)) = (status, &mut self.opened) {
            opened.finished = true;
        }
        Ok(status)
    }

    fn close(&mut self) -> Result<()> {
        let Some(opened) = self.opened.take() else { return Ok(()) };
        let mut subtasks = lock(&self.handle.subtasks);
        if opened.finished {
            subtasks.finished += 1;
        } else {
            subtasks.opened -= 1;
        }
        let all_finished = subtasks.finished == subtasks.opened && opened.finished;
        drop(subtasks);
        if all_finished || (!opened.finished && !self.keep_open_for_restarts) {
            self.handle.queue.close_producers();
        }
        Ok(())
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
