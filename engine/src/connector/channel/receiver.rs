//! The program's end of a channel sink.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::queue::Queue;

/// Receives the records that a job gives to its [`ChannelSink`](super::ChannelSink). Dropping it fails a job that still writes.
pub struct ChannelReceiver<T> {
    queue: Arc<Queue<T>>,
}

impl<T> fmt::Debug for ChannelReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelReceiver").finish_non_exhaustive()
    }
}

/// Why [`ChannelReceiver::try_recv`] has no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TryRecvError {
    /// None has come yet.
    #[error("no record has come out of the job yet")]
    Empty,
    /// All have been received, and the job has ended.
    #[error("the job that writes the channel has ended")]
    Closed,
}

impl<T> ChannelReceiver<T> {
    pub(super) fn new(queue: Arc<Queue<T>>) -> Self {
        ChannelReceiver { queue }
    }

    /// The next record if it is there.
    ///
    /// # Errors
    /// [`TryRecvError`]: none yet, or none any more.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.queue.try_pop().map_err(|ended| match ended {
            true => TryRecvError::Closed,
            false => TryRecvError::Empty,
        })
    }

    /// The next record; `None` when all were received and the job has ended, failed or was cancelled (the job's handle knows
    /// which). A future that is dropped has taken nothing.
    pub fn recv(&mut self) -> Receiving<'_, T> {
        Receiving { receiver: self }
    }

    /// [`recv`](Self::recv) that blocks this thread. Not for use in asynchronous code.
    pub fn blocking_recv(&mut self) -> Option<T> {
        self.queue.pop_blocking()
    }

    /// [`recv`](Self::recv) as a poll, with the signature of `Stream::poll_next`.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.queue.poll_pop(context)
    }
}

impl<T> Drop for ChannelReceiver<T> {
    fn drop(&mut self) {
        self.queue.close_consumer();
    }
}

/// The future of [`ChannelReceiver::recv`].
#[derive(Debug)]
#[must_use = "a future receives nothing until it is awaited"]
pub struct Receiving<'a, T> {
    receiver: &'a mut ChannelReceiver<T>,
}

impl<T> Future for Receiving<'_, T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.receiver.poll_recv(context)
    }
}
