//! A partition and how far it has been read.

use crate::function::SourceSplit;

/// One partition of a topic, with the position that its reader has reached. Its id is `topic-partition`.
#[crate::record]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSplit {
    /// The topic.
    pub topic: String,
    /// The topic's id, which a topic that was deleted and created again does not share.
    pub topic_id: String,
    /// The partition.
    pub partition: i32,
    /// The offset of the next record.
    pub position: i64,
    /// Where to stop: the first offset that is not read.
    pub end: Option<i64>,
}

impl KafkaSplit {
    /// Is there nothing to read any more?
    pub(super) fn is_read(&self) -> bool {
        self.end.is_some_and(|end| self.position >= end)
    }
}

impl SourceSplit for KafkaSplit {
    fn split_id(&self) -> String {
        format!("{}-{}", self.topic, self.partition)
    }
}
