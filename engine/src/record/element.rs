//! The elements of a stream that are not records.

/// The timestamp of a record that has none.
pub const NO_TIMESTAMP: i64 = i64::MIN;

/// The watermark that ends event time: everything that waits for time fires.
pub const MAX_WATERMARK: i64 = i64::MAX;

pub use thalweg_state::CheckpointId;

/// The line between what belongs to a checkpoint and what comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Barrier {
    /// Numbers the checkpoints of a job from 1.
    pub checkpoint: CheckpointId,
    /// All sources have ended, and nothing but the end comes behind it: what would fire by the wall clock is given up.
    pub is_final: bool,
}

impl Barrier {
    /// The barrier of a checkpoint that is not the last.
    #[must_use]
    pub fn periodic(checkpoint: CheckpointId) -> Self {
        Barrier { checkpoint, is_final: false }
    }
}

/// Does a stream take part in the progress of event time?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStatus {
    /// It does.
    Active,
    /// It has had nothing for a while and must not hold others back.
    Idle,
}

/// What travels between the records, in order with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Control {
    /// No record with a timestamp at or below this is expected any more; in milliseconds.
    Watermark(i64),
    /// The stream went idle or active.
    Status(StreamStatus),
    /// The line between two checkpoints.
    Barrier(Barrier),
    /// No element follows.
    End,
}
