//! A source that reads what the program sends.
//!
//! **Invariants**
//! - At most one reader is attached to the queue.
//! - The queue's consumer is gone once no reader is attached and none can come: then senders learn that the job has ended.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::queue::{Left, Queue};
use super::sender::ChannelSender;
use crate::Result;
use crate::function::{
    Boundedness, InputStatus, NoSplit, ReaderContext, Source, SourceCollector, SourceReader,
};
use crate::sync::{Mutex, lock};

/// A channel into a job, holding at most `capacity` records (0 counts as 1).
///
/// The source is not parallel; [`rebalance`](crate::api::DataStream::rebalance) behind it spreads the records. It ends when the last
/// sender is dropped. Records cannot be replayed: at-most-once after a failure.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// let env = StreamExecutionEnvironment::new();
/// let (input, requests) = thalweg::source::channel::<u32>(64);
/// let doubled = env.from_source(requests, "requests").map(|x| x * 2).collect();
/// input.try_send(4)?;
/// drop(input); // the end of the input
/// env.execute("double")?;
/// assert_eq!(doubled.take(), [8]);
/// # Ok::<(), thalweg::BoxError>(())
/// ```
pub fn source_channel<T: Send + 'static>(capacity: usize) -> (ChannelSender<T>, ChannelSource<T>) {
    let queue = Queue::new(capacity);
    let attachment = Attachment { is_source_alive: true, reader: None, is_used: false };
    let link = Arc::new(Link { queue: queue.clone(), attachment: Mutex::new(attachment) });
    (ChannelSender::new(queue), ChannelSource { link, keep_open_for_restarts: false })
}

/// A channel source cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelSourceError {
    /// Another reader has it.
    #[error(
        "the channel source is already read by operator '{reader}'; a channel has one consumer: \
         clone the stream behind it, or make another channel"
    )]
    InUse {
        /// Who.
        reader: String,
    },
    /// An earlier run has read it.
    #[error(
        "the channel source was read by an earlier run and is closed; make a new one with \
         `source::channel` for each run, or call `keep_open_for_restarts` on it"
    )]
    Closed,
}

/// The job's end of a channel; see [`channel`](source_channel). It can be read once.
pub struct ChannelSource<T> {
    link: Arc<Link<T>>,
    keep_open_for_restarts: bool,
}

struct Link<T> {
    queue: Arc<Queue<T>>,
    attachment: Mutex<Attachment>,
}

struct Attachment {
    is_source_alive: bool,
    /// The operator that reads.
    reader: Option<String>,
    /// It was read, and no further reader may come.
    is_used: bool,
}

impl<T> Link<T> {
    fn close_if_unreachable(&self, attachment: &Attachment) {
        let can_be_read = attachment.is_source_alive && !attachment.is_used;
        if attachment.reader.is_none() && !can_be_read {
            self.queue.close_consumer();
        }
    }
}

impl<T> fmt::Debug for ChannelSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelSource").finish_non_exhaustive()
    }
}

impl<T> ChannelSource<T> {
    /// The channel outlives the end of a run: senders meet a full channel, not a closed one, until the job's next attempt reads on or
    /// the plan is dropped. Default: closed at the end of the first run, so that no sender waits for a job that is gone.
    #[must_use]
    pub fn keep_open_for_restarts(mut self) -> Self {
        self.keep_open_for_restarts = true;
        self
    }
}

impl<T> Drop for ChannelSource<T> {
    fn drop(&mut self) {
        let mut attachment = lock(&self.link.attachment);
        attachment.is_source_alive = false;
        self.link.close_if_unreachable(&attachment);
    }
}

impl<T: Send + 'static> Source for ChannelSource<T> {
    type Out = T;
    type Split = NoSplit;
    type Reader = ChannelSourceReader<T>;

    fn boundedness(&self) -> Boundedness {
        Boundedness::Unbounded
    }

    fn is_non_parallel(&self) -> bool {
        true
    }

    fn create_reader(&self, context: &ReaderContext) -> Result<ChannelSourceReader<T>> {
        let mut attachment = lock(&self.link.attachment);
        if let Some(reader) = &attachment.reader {
            return Err(ChannelSourceError::InUse { reader: reader.clone() }.into());
        }
        if attachment.is_used {
            return Err(ChannelSourceError::Closed.into());
        }
        attachment.reader = Some(context.operator_name.clone());
        attachment.is_used = !self.keep_open_for_restarts;
        self.link.queue.set_receiving_core(Some(context.waker.clone()));
        Ok(ChannelSourceReader { link: self.link.clone(), batch: VecDeque::new() })
    }
}

/// Reads a [`ChannelSource`].
pub struct ChannelSourceReader<T> {
    link: Arc<Link<T>>,
    batch: VecDeque<T>,
}

impl<T: Send + 'static> SourceReader for ChannelSourceReader<T> {
    type Out = T;
    type Split = NoSplit;

    fn wakes_core(&self) -> bool {
        true
    }

    fn poll_batch(&mut self, max: usize, out: &mut SourceCollector<'_, T>) -> Result<InputStatus> {
        let left = self.link.queue.take_batch(max, &mut self.batch);
        self.batch.drain(..).for_each(|record| out.collect(record));
        Ok(match left {
            Left::More => InputStatus::MoreAvailable,
            Left::Nothing => InputStatus::NothingAvailable,
            Left::Ended => InputStatus::EndOfInput,
        })
    }
}

impl<T> Drop for ChannelSourceReader<T> {
    fn drop(&mut self) {
        let mut attachment = lock(&self.link.attachment);
        attachment.reader = None;
        self.link.queue.set_receiving_core(None);
        self.link.close_if_unreachable(&attachment);
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
