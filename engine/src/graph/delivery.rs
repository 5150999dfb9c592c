//! How often each record counts at a sink after failures: from the sources above it, the checkpoints and what the sink
//! promises.
//!
//! | sink | a source cannot replay, or no checkpoints | all sources replay |
//! |---|---|---|
//! | best effort | at-most-once | at-most-once |
//! | any | at-most-once | at-least-once |
//! | idempotent | at-most-once | effectively-once |
//! | write-ahead | at-most-once | at-least-once |
//! | write-ahead, sent once | at-most-once | exactly-once |
//! | two-phase | at-most-once | exactly-once |
//!
//! Where barriers are not aligned nothing is better than at-least-once: state has records that are read again.
//!
//! At-most-once is said of the records: a record that was read and is not in a checkpoint is gone. What the state has made
//! of earlier records may still reach a sink without promise twice.
//!
//! **Invariant**: pure; the same graph gives the same answer.

use super::stream_graph::StreamGraph;
use super::transformation::{NodeId, NodeKind};
use std::fmt;
use std::time::Duration;

/// What a sink promises of records that come again after a restart. With the sources and the checkpoints this decides
/// how often a record counts, which `explain` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SinkGuarantee {
    /// Nothing: they are written again.
    #[default]
    Any,
    /// Written again they change nothing: an upsert by key, an insertion into a set.
    Idempotent,
    /// They are sent when their checkpoint is complete. A crash between sending and remembering that sends them again.
    WriteAhead,
    /// As [`WriteAhead`](Self::WriteAhead), and sending and remembering are one step, or sending twice changes nothing.
    AtomicWriteAhead,
    /// They are in a transaction that is committed when their checkpoint is complete.
    TwoPhase,
    /// Less than nothing: no checkpoint waits until they are out.
    BestEffort,
}

impl SinkGuarantee {
    /// Is what a checkpoint has out for good, so that a job which goes on from an older one brings it again?
    pub(crate) fn commits(self) -> bool {
        match self {
            Self::WriteAhead | Self::AtomicWriteAhead | Self::TwoPhase => true,
            Self::Any | Self::Idempotent | Self::BestEffort => false,
        }
    }
}

/// What planning knows of a sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkPromise {
    /// What it promises of records that come again.
    pub guarantee: SinkGuarantee,
    /// After which time the system behind it gives an open transaction up.
    pub transaction_timeout: Option<Duration>,
}

impl SinkPromise {
    /// A promise without time limit.
    #[must_use]
    pub fn of(guarantee: SinkGuarantee) -> Self {
        SinkPromise { guarantee, transaction_timeout: None }
    }
}

/// How often a record counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryGuarantee {
    /// Records may be lost.
    AtMostOnce,
    /// Records may come again.
    AtLeastOnce,
    /// Records may be written again, which changes nothing in the end.
    EffectivelyOnce,
    /// Each record is seen once.
    ExactlyOnce,
}

impl DeliveryGuarantee {
    /// As people write it: `at-least-once`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AtMostOnce => "at-most-once",
            Self::AtLeastOnce => "at-least-once",
            Self::EffectivelyOnce => "effectively-once",
            Self::ExactlyOnce => "exactly-once",
        }
    }
}

impl fmt::Display for DeliveryGuarantee {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// How often a record counts at one sink, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// How often.
    pub guarantee: DeliveryGuarantee,
    /// Why; reads after `at-least-once: `.
    pub reason: String,
}

impl fmt::Display for Delivery {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.guarantee, self.reason)
    }
}

impl Delivery {
    /// What holds at a node; `None` if it is no sink.
    ///
    /// # Panics
    /// If the id is not of this graph.
    pub fn at(graph: &StreamGraph, node: NodeId) -> Option<Self> {
        let NodeKind::Sink(promise) = graph.node(node).kind else { return None };
        let forgetful = forgetful_sources(graph, node);
        if !forgetful.is_empty() {
            return Some(Self::lost_by(&forgetful));
        }
        Some(match graph.checkpoints() {
            None => Self::new(
                DeliveryGuarantee::AtMostOnce,
                "there are no checkpoints, so that after a failure nothing is read again",
            ),
            Some(checkpoints) if !checkpoints.is_aligned => Self::new(
                DeliveryGuarantee::AtLeastOnce,
                "barriers are not aligned, so that records which are in the state of a checkpoint are read again after a failure",
            ),
            Some(_) => Self::by_sink(promise.guarantee),
        })
    }

    fn new(guarantee: DeliveryGuarantee, reason: &str) -> Self {
        Delivery { guarantee, reason: reason.to_owned() }
    }

    fn lost_by(sources: &[&str]) -> Self {
        let names: Vec<_> = sources.iter().map(|name| format!("'{name}'")).collect();
        let (word, verb) =
            if sources.len() == 1 { ("source", "its") } else { ("sources", "their") };
        let names = names.join(", ");
        let reason = format!(
            "{word} {names} cannot replay {verb} records, so that a failure loses those that were read"
        );
        Delivery { guarantee: DeliveryGuarantee::AtMostOnce, reason }
    }

    fn by_sink(guarantee: SinkGuarantee) -> Self {
        use DeliveryGuarantee::{AtLeastOnce, AtMostOnce, EffectivelyOnce, ExactlyOnce};
        let (delivery, sink) = match guarantee {
            SinkGuarantee::Any => {
                (AtLeastOnce, "writes again what it has written since the last checkpoint")
            }
            SinkGuarantee::Idempotent => {
                (EffectivelyOnce, "may write a record again, which changes nothing in the end")
            }
            SinkGuarantee::WriteAhead => (
                AtLeastOnce,
                "sends what a complete checkpoint has, again if a crash comes before that is noted",
            ),
            SinkGuarantee::AtomicWriteAhead => {
                (ExactlyOnce, "sends what a complete checkpoint has, and sending twice counts once")
            }
            SinkGuarantee::TwoPhase => (ExactlyOnce, "commits when a checkpoint is complete"),
            SinkGuarantee::BestEffort => {
                (AtMostOnce, "may lose what it has under way, for which no checkpoint waits")
            }
        };
        Self::new(delivery, &format!("all sources replay, and the sink {sink}"))
    }
}

/// Names of the sources above a node that do not replay.
fn forgetful_sources(graph: &StreamGraph, node: NodeId) -> Vec<&str> {
    let mut is_above = vec![false; graph.nodes().len()];
    is_above[node.0 as usize] = true;
    for id in graph.topological_order().iter().rev() {
        if is_above[id.0 as usize] {
            graph.inputs(*id).for_each(|edge| is_above[edge.from.0 as usize] = true);
        }
    }
    let above = graph.nodes().iter().filter(|node| is_above[node.id.0 as usize]);
    let forgetful =
        above.filter(|node| matches!(node.kind, NodeKind::Source { is_replayable: false, .. }));
    forgetful.map(|node| node.name.as_str()).collect()
}

#[cfg(test)]
mod tests;
