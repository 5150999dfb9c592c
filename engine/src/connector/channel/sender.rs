//! The program's end of a channel source.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::queue::{Queue, Refused, WaitTicket};
use crate::sync::{Mutex, lock};

/// Sends records into a job; see [`channel`](super::source_channel). When the last sender is dropped the job's input ends.
pub struct ChannelSender<T> {
    queue: Arc<Queue<T>>,
    /// How many senders there are.
    senders: Arc<Mutex<usize>>,
}

impl<T> fmt::Debug for ChannelSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelSender").finish_non_exhaustive()
    }
}

impl<T> Clone for ChannelSender<T> {
    fn clone(&self) -> Self {
        *lock(&self.senders) += 1;
        ChannelSender { queue: self.queue.clone(), senders: self.senders.clone() }
    }
}

impl<T> Drop for ChannelSender<T> {
    fn drop(&mut self) {
        let mut senders = lock(&self.senders);
        *senders -= 1;
        let is_last = *senders == 0;
        drop(senders);
        if is_last {
            self.queue.close_producers();
        }
    }
}

impl<T> ChannelSender<T> {
    pub(super) fn new(queue: Arc<Queue<T>>) -> Self {
        ChannelSender { queue, senders: Arc::new(Mutex::new(1)) }
    }

    /// Sends without waiting.
    ///
    /// # Errors
    /// [`TrySendError::Full`] when the job is behind, [`TrySendError::Closed`] when it has ended; both hand the record back.
    pub fn try_send(&self, record: T) -> Result<(), TrySendError<T>> {
        self.queue.try_push(record).map_err(|refused| match refused {
            Refused::Full(record) => TrySendError::Full(record),
            Refused::Closed(record) => TrySendError::Closed(record),
        })
    }

    /// Sends when there is room. The record is handed over when the future completes; a future that is dropped before has sent
    /// nothing. Needs no particular runtime.
    pub fn send(&self, record: T) -> Sending<'_, T> {
        Sending { queue: &self.queue, record: Some(record), ticket: None }
    }

    /// Sends when there is room, blocking this thread until then. Not for use in asynchronous code.
    ///
    /// # Errors
    /// [`SendError`] with the record when the job has ended.
    pub fn blocking_send(&self, record: T) -> Result<(), SendError<T>> {
        self.queue.push_blocking(record).map_err(SendError)
    }

    /// Whether the job has ended, so that nothing more can be sent.
    pub fn is_closed(&self) -> bool {
        self.queue.is_consumer_gone()
    }

    /// How many records the channel holds at most.
    pub fn capacity(&self) -> usize {
        self.queue.capacity()
    }

    /// How many records wait in the channel.
    pub fn backlog(&self) -> usize {
        self.queue.length()
    }
}

/// Why [`ChannelSender::try_send`] has not sent a record, which it hands back.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrySendError<T> {
    /// The channel is full.
    Full(T),
    /// The job has ended.
    Closed(T),
}

impl<T> TrySendError<T> {
    /// The record.
    pub fn into_record(self) -> T {
        match self {
            TrySendError::Full(record) | TrySendError::Closed(record) => record,
        }
    }
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "Full(..)",
            TrySendError::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => {
                "the channel into the job is full; send later or wait with `send`"
            }
            TrySendError::Closed(_) => "the job that reads the channel has ended",
        })
    }
}

impl<T> std::error::Error for TrySendError<T> {}

/// The job has ended; hands the record back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendError(..)")
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the job that reads the channel has ended")
    }
}

impl<T> std::error::Error for SendError<T> {}

/// The future of [`ChannelSender::send`].
#[must_use = "a future sends nothing until it is awaited"]
pub struct Sending<'a, T> {
    queue: &'a Queue<T>,
    /// `None` once it was sent or handed back.
    record: Option<T>,
    ticket: Option<WaitTicket>,
}

// The record is moved out and never pinned.
impl<T> Unpin for Sending<'_, T> {}

impl<T> fmt::Debug for Sending<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").finish_non_exhaustive()
    }
}

impl<T> Future for Sending<'_, T> {
    type Output = Result<(), SendError<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Sending { queue, record, ticket } = &mut *self;
        match queue.poll_push(record, ticket, context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            // A future that is polled after it was ready has nothing left to hand back; it then stays pending.
            Poll::Ready(Err(())) => match record.take() {
                Some(record) => Poll::Ready(Err(SendError(record))),
                None => Poll::Pending,
            },
        }
    }
}

impl<T> Drop for Sending<'_, T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.queue.stop_waiting(ticket);
        }
    }
}
