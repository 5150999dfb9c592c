//! Where reading begins and where it ends.

use std::collections::BTreeMap;

/// A partition of a topic.
pub(super) type TopicPartition = (String, i32);

/// Offsets of partitions, by topic and partition.
///
/// # Examples
/// ```
/// use thalweg::connector::kafka::{Offsets, StartPosition};
///
/// let offsets = Offsets::new().with("orders", 0, 1_000).with("orders", 1, 1_200);
/// assert_eq!(offsets.get("orders", 1), Some(1_200));
/// let start = StartPosition::Offsets(offsets);
/// # let _ = start;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offsets(BTreeMap<TopicPartition, i64>);

impl Offsets {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// With that of a partition.
    #[must_use]
    pub fn with(mut self, topic: impl Into<String>, partition: i32, offset: i64) -> Self {
        self.0.insert((topic.into(), partition), offset);
        self
    }

    /// That of a partition.
    pub fn get(&self, topic: &str, partition: i32) -> Option<i64> {
        self.0.get(&(topic.to_owned(), partition)).copied()
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.0.keys()
    }
}

/// Where the partitions that are there when the job starts are read from, unless a checkpoint says where they are. Partitions that
/// are found later are read from their first record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartPosition {
    /// The first record that is kept.
    #[default]
    Earliest,
    /// Behind the last record: only what comes from now on.
    Latest,
    /// What the group has committed; partitions without a commit as said.
    Committed {
        /// Where there is no commit, or what was committed is not kept any more.
        or: OffsetReset,
    },
    /// The first record with this timestamp or a later one, in milliseconds since 1970; behind the last if there is none.
    Timestamp(i64),
    /// An offset for each partition; those that are not named begin at the first record that is kept.
    Offsets(Offsets),
}

/// Where to begin if nothing is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OffsetReset {
    /// Nowhere: it is an error.
    #[default]
    Fail,
    /// At the first record that is kept.
    Earliest,
    /// Behind the last record.
    Latest,
}

/// Where a bounded source ends. All are resolved once, when the job first starts; a restart ends at the same place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndPosition {
    /// Where each partition ends when the job starts: all that is committed by then, if only committed records are read.
    Latest,
    /// Before the first record with this timestamp or a later one, in milliseconds since 1970; where the partition ends when the
    /// job starts, if there is none.
    Timestamp(i64),
    /// Before an offset of each partition, which must all be named. Beyond the end it is waited for.
    Offsets(Offsets),
}
