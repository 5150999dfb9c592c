//! The plan as the user wrote it: one [`Transformation`] for each call on a stream.

use super::delivery::SinkPromise;
use std::fmt;
use std::panic::Location;

/// Names one transformation of a plan; dense, in order of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// The operator word of exchanges that no user asked for by name: what `set_parallelism` puts around an operator.
pub const IMPLIED_EXCHANGE: &str = "exchange";

/// The operator that brings streams of one type together.
pub(crate) const UNION: &str = "union";

/// The operator word of the exchange that `broadcast` puts behind a stream.
pub const BROADCAST_EXCHANGE: &str = "broadcast";

/// Names one edge that can become a boundary between tasks; dense, in order of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EdgeId(pub u32);

/// What a transformation is, as far as planning cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// Produces records; has no input.
    Source {
        /// Ends by itself.
        bounded: bool,
        /// May only run with parallelism 1 (socket, iterator, channel).
        non_parallel: bool,
        /// Reads again, from a position of a checkpoint, what it has read.
        is_replayable: bool,
    },
    /// Takes and gives records.
    Operator,
    /// Takes records and gives none.
    Sink(SinkPromise),
}

/// How records of an edge find their consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ship {
    /// Subtask i to subtask i; parallelism must be equal.
    Forward,
    /// Forward where the parallelism is equal, rebalance elsewhere: what Flink does when nothing is said.
    Auto,
    /// By the key's group.
    Hash,
    /// Round robin over all consumers.
    Rebalance,
    /// Round robin over the consumers next to the producer.
    Rescale,
    /// At random, from the job's seed.
    Shuffle,
    /// To every consumer.
    Broadcast,
    /// All to the first consumer.
    Global,
    /// As the user's partitioner says.
    Custom,
}

impl Ship {
    /// Flink's word for it, as its plan JSON writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "FORWARD",
            Self::Auto => "AUTO",
            Self::Hash => "HASH",
            Self::Rebalance => "REBALANCE",
            Self::Rescale => "RESCALE",
            Self::Shuffle => "SHUFFLE",
            Self::Broadcast => "BROADCAST",
            Self::Global => "GLOBAL",
            Self::Custom => "CUSTOM",
        }
    }
}

impl fmt::Display for Ship {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// One input of a transformation.
#[derive(Clone, Debug)]
pub struct PlanInput {
    /// Where the records come from.
    pub from: NodeId,
    /// Tag name if the records come from a side output of `from`.
    pub side_output: Option<String>,
    /// Input 0 or 1 of the transformation (several inputs may share a port: a union).
    pub port: u8,
    /// How the records travel.
    pub ship: Ship,
    /// The edge, or `None` where producer and consumer are fused into one chain by construction (then always one stage).
    pub edge: Option<EdgeId>,
}

/// May an operator be chained to its neighbours?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Chaining {
    /// With both neighbours.
    #[default]
    Always,
    /// With the next, not with the one before (`start_new_chain`).
    Head,
    /// With neither (`disable_chaining`).
    Never,
}

/// One call on a stream: what it is, what the user said about it, what feeds it.
#[derive(Clone, Debug)]
pub struct Transformation {
    /// Its id: the index in the plan.
    pub id: NodeId,
    /// What it is.
    pub kind: NodeKind,
    /// The operator's own word: `map`, `key_by.process`, `sliding window`.
    pub operator: &'static str,
    /// The user's name for it.
    pub name: Option<String>,
    /// The user's stable id for it, which matches state in savepoints.
    pub uid: Option<String>,
    /// Parallelism said on the operator.
    pub parallelism: Option<usize>,
    /// Max parallelism (number of key groups) said on the operator.
    pub max_parallelism: Option<usize>,
    /// Slot sharing group said on the operator; inherited from the inputs otherwise, `default` at sources.
    pub slot_sharing_group: Option<String>,
    /// What the user said about chaining.
    pub chaining: Chaining,
    /// Holds keyed state.
    pub keyed: bool,
    /// What a sink says of itself, for people: where it writes, and under which names.
    pub details: Option<String>,
    /// Its inputs in order.
    pub inputs: Vec<PlanInput>,
    /// Where in the user's code it was written.
    pub location: &'static Location<'static>,
}

impl Transformation {
    /// The user's name for it, or else the operator's own word.
    pub fn display_name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.operator)
    }
}

/// All transformations of a job, and how many edges they name.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// In order of creation; `Transformation::id` is the index.
    pub transformations: Vec<Transformation>,
    /// One more than the largest [`EdgeId`].
    pub edge_count: u32,
}
