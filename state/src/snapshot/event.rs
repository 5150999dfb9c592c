//! What owner and worker tell each other.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::task::Waker;

use super::background::Outcome;
use super::{CheckpointId, EpochEnd};
use crate::backend::{DeltaBlock, Epoch, StoreError};
use crate::manifest::{EditRecord, Version};

/// To the worker. What the owner sends is taken in order.
#[derive(Debug)]
pub(crate) enum Command {
    /// Tables or states that the next edit has to describe.
    Describe(Vec<EditRecord>),
    /// Rows of an epoch that has not ended for all tables.
    Block(DeltaBlock),
    /// All blocks of the epoch were sent.
    End(EpochEnd),
    /// The checkpoint is not needed any more.
    Release(CheckpointId),
    /// What became of a chore: from the worker's own background.
    Done(Outcome),
    /// The owner is gone, or the background is.
    Close,
}

/// From the worker to the owner, in order.
#[derive(Debug)]
pub(crate) enum Notice {
    /// Reads should use this version from now on.
    Version(Arc<Version>),
    /// For the owner's user.
    Event(StoreEvent),
}

/// What became of a store's work in the background.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreEvent {
    /// A checkpoint is durable.
    CheckpointComplete {
        /// Which one.
        id: CheckpointId,
        /// The epoch that it ends.
        epoch: Epoch,
        /// What was written for it.
        bytes_written: u64,
        /// What opening it would read at most: the length of all its files.
        total_bytes: u64,
    },
    /// A checkpoint could not be made durable. Its changes will be part of the next one.
    CheckpointFailed {
        /// Which one.
        id: CheckpointId,
        /// Why.
        error: StoreError,
    },
    /// Changes of an epoch without a checkpoint can be read from files.
    SpillComplete {
        /// The epoch.
        epoch: Epoch,
        /// What was written for it.
        bytes_written: u64,
    },
    /// Changes of an epoch without a checkpoint could not be written. They stay in memory and are
    /// written with the next epoch.
    SpillFailed {
        /// The epoch.
        epoch: Epoch,
        /// Why.
        error: StoreError,
    },
    /// Files could not be merged. It is tried again after the next epoch.
    CompactionFailed {
        /// Why.
        error: StoreError,
    },
    /// Releasing checkpoints could not be made durable. It is tried again after the next epoch.
    ReleaseFailed {
        /// Why.
        error: StoreError,
    },
    /// A file that nothing refers to could not be removed. It is tried again when the directory is
    /// opened next.
    GarbageKept {
        /// Why.
        error: StoreError,
    },
}

/// The worker's end of the notices.
#[derive(Debug)]
pub(crate) struct Outbox {
    sender: Sender<Notice>,
    waker: Option<Waker>,
}

impl Outbox {
    pub(crate) fn new(sender: Sender<Notice>, waker: Option<Waker>) -> Self {
        Outbox { sender, waker }
    }

    /// Tells the owner, and wakes it for what its user wants to know. An owner that is gone needs
    /// no notices.
    pub(crate) fn send(&self, notice: Notice) {
        let is_event = matches!(notice, Notice::Event(_));
        if self.sender.send(notice).is_ok() && is_event {
            self.waker.iter().for_each(Waker::wake_by_ref);
        }
    }
}
