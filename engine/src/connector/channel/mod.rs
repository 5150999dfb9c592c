//! Channels between a job and the program around it.
//!
//! ```text
//!  ChannelSender (Clone, Send) ─► bounded queue ─► ChannelSource ─► job ─► ChannelSink ─► bounded queue ─► ChannelReceiver
//!  try_send, send().await, blocking_send                                                  try_recv, recv().await, blocking_recv
//! ```
//!
//! Both queues are bounded, so backpressure reaches from the receiver through the job to the sender. No runtime is needed: the
//! futures keep wakers, so they run under any executor, and plain threads use the blocking forms.
//!
//! **Guarantee.** Records in a channel cannot be replayed: after a failure those in the job at that time are gone
//! (at-most-once).

pub(crate) mod queue;
mod receiver;
mod sender;
mod sink;
mod source;

pub use receiver::{ChannelReceiver, Receiving, TryRecvError};
pub use sender::{ChannelSender, SendError, Sending, TrySendError};
pub use sink::{ChannelSink, ChannelSinkError, sink_channel};
pub use source::{ChannelSource, ChannelSourceError, ChannelSourceReader, source_channel};
