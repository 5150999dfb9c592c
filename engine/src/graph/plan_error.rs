//! What can be wrong with a plan: each error names the operator, where the user wrote it, and the remedy.
//!
//! **Invariants**
//! - A cause's text reads after `operator 'x' at file:line: ` and ends with what to do.
//! - Errors that only a bug of the `api` layer can cause say so; they are errors all the same, never panics.

use super::settings::MAX_PARALLELISM_BOUND;
use super::transformation::{EdgeId, NodeId, Ship, Transformation};
use std::fmt;
use std::panic::Location;

/// All errors of a plan, in the order of its operators; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanErrors(pub Vec<PlanError>);

impl std::error::Error for PlanErrors {}

impl fmt::Display for PlanErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0.as_slice() {
            return write!(out, "the plan can't run: {only}");
        }
        write!(out, "the plan can't run, it has {} errors:", self.0.len())?;
        for (index, error) in self.0.iter().enumerate() {
            write!(out, "\n  {}. {error}", index + 1)?;
        }
        Ok(())
    }
}

/// One error: where, and what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{site}: {cause}")]
pub struct PlanError {
    /// What it is about.
    pub site: PlanSite,
    /// What is wrong, and the remedy.
    pub cause: PlanErrorCause,
}

/// What an error is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanSite {
    /// The plan as a whole.
    Plan,
    /// A setting of the environment.
    Environment,
    /// One operator.
    Operator {
        /// Its index in the plan.
        node: NodeId,
        /// The user's name for it, or its own word.
        name: String,
        /// Where the user wrote it.
        location: &'static Location<'static>,
    },
}

impl PlanSite {
    /// The site of one operator; `index` is its place in the plan.
    pub(crate) fn operator(index: usize, transformation: &Transformation) -> Self {
        Self::Operator {
            node: NodeId(u32::try_from(index).unwrap_or(u32::MAX)),
            name: transformation.display_name().to_owned(),
            location: transformation.location,
        }
    }
}

impl fmt::Display for PlanSite {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan => out.write_str("plan"),
            Self::Environment => out.write_str("environment"),
            Self::Operator { name, location, .. } => {
                write!(out, "operator '{name}' at {}:{}", location.file(), location.line())
            }
        }
    }
}

/// What is wrong, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanErrorCause {
    /// A call on a stream that the types could not refuse.
    #[error("{message}")]
    Misuse {
        /// What is wrong, and the remedy.
        message: String,
    },
    /// The system behind a sink gives transactions up before their checkpoint may be complete.
    #[error(
        "its transactions time out after {transaction_timeout_ms} ms, and a checkpoint may be complete only {needed_ms} ms \
         after the one before (interval {interval_ms} ms, timeout {checkpoint_timeout_ms} ms): committed records would be \
         lost; raise the transaction timeout, or lower the checkpoint interval or timeout"
    )]
    TransactionTimeout {
        /// As the sink says.
        transaction_timeout_ms: u128,
        /// The least that would do.
        needed_ms: u128,
        /// Between checkpoints.
        interval_ms: u128,
        /// After which a checkpoint is given up.
        checkpoint_timeout_ms: u128,
    },
    /// Nothing was called on the environment.
    #[error("it is empty; add a source and a sink before execute")]
    EmptyPlan,
    /// No transformation is a source.
    #[error("it has no source; begin a stream with from_source or its kin")]
    NoSource,
    /// No transformation is a sink.
    #[error("it has no sink; end a stream with sink_to, print or their kin")]
    NoSink,
    /// A parallelism of 0.
    #[error("parallelism is 0; say at least 1")]
    ParallelismZero,
    /// A parallelism beyond what key groups can number.
    #[error(
        "parallelism {parallelism} is above {MAX_PARALLELISM_BOUND}, the most there can be; lower it"
    )]
    ParallelismTooLarge {
        /// As said.
        parallelism: usize,
    },
    /// A max parallelism of 0, or beyond the bound.
    #[error(
        "max parallelism {max_parallelism} is not within 1..={MAX_PARALLELISM_BOUND}; say one that is"
    )]
    MaxParallelismOutOfRange {
        /// As said.
        max_parallelism: usize,
    },
    /// More subtasks than key groups.
    #[error(
        "parallelism {parallelism} is above max parallelism {max_parallelism}; lower the one or raise the other \
         (state of an earlier max parallelism can't be restored then)"
    )]
    ParallelismAboveMax {
        /// As resolved.
        parallelism: usize,
        /// As resolved.
        max_parallelism: usize,
    },
    /// Several subtasks of a source that can only be one.
    #[error(
        "this source can't run in parallel but parallelism {parallelism} was asked for; leave it at 1 and rebalance behind it"
    )]
    NonParallelSource {
        /// As said.
        parallelism: usize,
    },
    /// Two operators with one uid.
    #[error("uid '{uid}' is also the uid of {first}; give each operator its own")]
    DuplicateUid {
        /// The uid.
        uid: String,
        /// Who had it first.
        first: PlanSite,
    },
    /// A stream that nobody reads.
    #[error(
        "its records go nowhere; end the stream with a sink (discard() if they are not wanted) or remove it"
    )]
    RecordsGoNowhere,
    /// An operator or a sink that reads nothing.
    #[error(
        "it reads no stream; connect it to one (this is a bug of the engine if it was called on a stream)"
    )]
    MissingInput,
    /// Keyed state behind something else than `key_by`.
    #[error(
        "it keeps keyed state but its input from '{producer}' is shipped {ship}; call key_by on the stream directly before it"
    )]
    KeyedInputNotHashed {
        /// Name of the producer.
        producer: String,
        /// How its records travel.
        ship: Ship,
    },
    /// Forward between different numbers of subtasks.
    #[error(
        "forward from '{producer}' needs equal parallelism but that has {producers} and this {consumers}; \
         make them equal, or use rebalance() or rescale()"
    )]
    ForwardUnequal {
        /// Name of the producer.
        producer: String,
        /// Parallelism of the producer.
        producers: usize,
        /// Parallelism here.
        consumers: usize,
    },
    /// Operators that feed each other in a circle.
    #[error("it feeds itself: {}; streams can't form cycles, break it at one of them", path.join(" -> "))]
    Cycle {
        /// Names along the cycle, the first again at the end.
        path: Vec<String>,
    },
    /// An input from an id that no transformation has.
    #[error(
        "its input {input} names node {from} but the plan has {node_count} nodes; \
         use only streams of this environment",
        from = from.0
    )]
    UnknownInput {
        /// Which of its inputs, from 0.
        input: usize,
        /// The id.
        from: NodeId,
        /// How many nodes there are.
        node_count: usize,
    },
    /// A source with an input: a bug of the `api` layer.
    #[error(
        "it is a source but has inputs; this is a bug of the engine, please report it with the plan"
    )]
    SourceWithInput,
    /// A consumer behind a sink: a bug of the `api` layer.
    #[error(
        "it reads from sink '{sink}', which gives nothing; this is a bug of the engine, please report it with the plan"
    )]
    ReadsFromSink {
        /// Name of the sink.
        sink: String,
    },
    /// Fused nodes of different parallelism: a bug of the `api` layer.
    #[error(
        "it is fused to '{producer}' of parallelism {producers} but has {consumers}; this is a bug of the engine \
         (an edge belongs between them), please report it; setting the same parallelism on both avoids it"
    )]
    FusedParallelism {
        /// Name of the producer.
        producer: String,
        /// Parallelism of the producer.
        producers: usize,
        /// Parallelism here.
        consumers: usize,
    },
    /// Fused nodes of different slot sharing groups: a bug of the `api` layer.
    #[error(
        "it is fused to '{producer}' of slot sharing group '{producer_group}' but is in '{group}'; this is a bug of \
         the engine (an edge belongs between them), please report it; setting the same group on both avoids it"
    )]
    FusedSlotSharingGroup {
        /// Name of the producer.
        producer: String,
        /// Group of the producer.
        producer_group: String,
        /// Group here.
        group: String,
    },
    /// A fused input that is not forward: a bug of the `api` layer.
    #[error(
        "it is fused to '{producer}' but its records are shipped {ship}; this is a bug of the engine \
         (an edge belongs between them), please report it with the plan"
    )]
    FusedShip {
        /// Name of the producer.
        producer: String,
        /// How the records were to travel.
        ship: Ship,
    },
    /// A fused input beside other inputs: a bug of the `api` layer.
    #[error(
        "it is fused to one of its {inputs} inputs; this is a bug of the engine, please report it with the plan"
    )]
    FusedNotAlone {
        /// How many inputs it has.
        inputs: usize,
    },
    /// An edge id at or above the plan's edge count: a bug of the `api` layer.
    #[error(
        "edge {edge} is not below the plan's edge count {edge_count}; this is a bug of the engine, please report it",
        edge = edge.0
    )]
    EdgeOutOfRange {
        /// The id.
        edge: EdgeId,
        /// The plan's count.
        edge_count: u32,
    },
    /// Two inputs of one edge id: a bug of the `api` layer.
    #[error(
        "edge {edge} is also an input of {first}; this is a bug of the engine, please report it with the plan",
        edge = edge.0
    )]
    EdgeUsedTwice {
        /// The id.
        edge: EdgeId,
        /// Who had it first.
        first: PlanSite,
    },
    /// An id that is not the index in the plan: a bug of the `api` layer.
    #[error("it has id {id} at index {index}; this is a bug of the engine, please report it with the plan", id = id.0)]
    Misnumbered {
        /// As written.
        id: NodeId,
        /// Where it lies.
        index: usize,
    },
}
