//! The stream graph cut into job vertices, stages and tasks, and each edge wired.
//!
//! 1. **Stages**: nodes fused by construction. The head of a stage is its node without a fused input.
//! 2. **Vertices**: stages chained by Flink's rules (`chaining`); what users see and what has a state of execution.
//! 3. **Tasks**: stages nested into one another; a task is named by its root stage. Subtask i of every stage of a task
//!    is driven by one `Task` in one slot.
//!
//! ```text
//! source ─fused─ map ──hash──► count ─forward─► print        parallelism 2 everywhere
//! [  stage 0       ]           [stage 1]        [stage 2]
//! [  vertex 0      ]           [vertex 1                ]
//! [  task 0 (root stage 0): owns and drives stages 0, 1, 2  ]
//! ```
//!
//! **Invariants**
//! - Every node is in one stage, every stage in one vertex and in one task; all nodes of a task have one parallelism
//!   and one slot sharing group.
//! - Stages and vertices are numbered producers before consumers; a nested edge leads from a smaller stage to a larger
//!   one, so following it upwards ends at the root.
//! - Only the head of a stage, and of a vertex, has inputs from outside.

mod build;

use super::distribution::{DistributionPattern, connects, distribution_pattern};
use super::operator_id::OperatorId;
use super::slot::SlotDemand;
use super::stream_graph::StreamGraph;
use super::transformation::{EdgeId, NodeId, Ship};
use std::fmt;

/// Names a vertex of one job graph: its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VertexIndex(pub u32);

/// Names a stage of one job graph: its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StageIndex(pub u32);

impl fmt::Display for VertexIndex {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl fmt::Display for StageIndex {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// Operators chained into one unit of execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobVertex {
    /// Index in the job graph.
    pub index: VertexIndex,
    /// Stable across runs: the id of its head operator.
    pub id: OperatorId,
    /// As Flink writes it: `Source: flights -> map -> (filter -> Sink: a, Sink: b)`.
    pub name: String,
    /// Its operators, producers before consumers; the head first.
    pub operators: Vec<NodeId>,
    /// Number of subtasks.
    pub parallelism: usize,
    /// The smallest of its operators: the most subtasks the vertex can be rescaled to. Key groups are counted by the
    /// keyed operator itself (see [`EdgePlan::key_groups`]).
    pub max_parallelism: usize,
    /// The slot sharing group of all its operators.
    pub slot_sharing_group: String,
}

/// An edge between two vertices; how it is wired is in the [`EdgePlan`] of the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobEdge {
    /// The edge.
    pub edge: EdgeId,
    /// Producing vertex.
    pub from: VertexIndex,
    /// Consuming vertex.
    pub to: VertexIndex,
}

/// How one edge of the plan is wired. Fused inputs have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgePlan {
    /// The edge.
    pub id: EdgeId,
    /// Producer.
    pub from: NodeId,
    /// Consumer.
    pub to: NodeId,
    /// Input 0 or 1 of the consumer.
    pub port: u8,
    /// Tag name if the records come from a side output.
    pub side_output: Option<String>,
    /// Never `Auto`.
    pub ship: Ship,
    /// Subtasks of the producer.
    pub producers: usize,
    /// Subtasks of the consumer.
    pub consumers: usize,
    /// Key groups of the consumer: what a hash edge divides by.
    pub key_groups: usize,
    /// Subtask i of the producer owns and drives subtask i of the consumer, and hands it by value what stays in the
    /// slot. With a ship strategy that also leaves the slot, the consumer has rings from the other producers besides.
    pub nested: bool,
}

impl EdgePlan {
    /// The shape of the edge.
    pub fn pattern(&self) -> DistributionPattern {
        distribution_pattern(self.ship)
    }

    /// May records of this producer subtask reach that consumer subtask?
    pub fn connects(&self, producer_index: usize, consumer_index: usize) -> bool {
        connects(self.ship, producer_index, consumer_index, self.producers, self.consumers)
    }

    /// Does every record stay in the subtask it is in? Then there is neither queue nor partitioner.
    pub fn is_exchange_free(&self) -> bool {
        self.nested && (self.producers == 1 || matches!(self.ship, Ship::Forward | Ship::Rescale))
    }
}

/// Nodes fused into one compiled chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Index in the job graph.
    pub index: StageIndex,
    /// Its node without a fused input.
    pub head: NodeId,
    /// Its nodes, producers before consumers; the head first.
    pub nodes: Vec<NodeId>,
    /// The vertex it is in.
    pub vertex: VertexIndex,
    /// The nested edge into its head, or `None` if this stage is the root of a task.
    pub nested_input: Option<EdgeId>,
    /// The root of the task it is in; itself for a root.
    pub root: StageIndex,
    /// Number of subtasks.
    pub parallelism: usize,
}

impl Stage {
    /// Is it the root of a task?
    pub fn is_root(&self) -> bool {
        self.root == self.index
    }
}

/// Vertices, edges, stages and tasks of a job.
#[derive(Clone, Debug)]
pub struct JobGraph {
    job_name: String,
    vertices: Vec<JobVertex>,
    edges: Vec<JobEdge>,
    /// By edge id, without gaps in order but maybe in number.
    edge_plans: Vec<EdgePlan>,
    stages: Vec<Stage>,
    /// By node id.
    stage_of: Vec<StageIndex>,
}

impl JobGraph {
    /// Chains operators, decides which edges are nested, and counts the slots.
    pub fn new(graph: &StreamGraph) -> Self {
        build::build(graph)
    }

    /// The job's name.
    pub fn job_name(&self) -> &str {
        &self.job_name
    }

    /// All vertices, by index.
    pub fn vertices(&self) -> &[JobVertex] {
        &self.vertices
    }

    /// The edges between different vertices, by edge id.
    pub fn edges(&self) -> &[JobEdge] {
        &self.edges
    }

    /// All edges of the plan that are not fused, by edge id.
    pub fn edge_plans(&self) -> &[EdgePlan] {
        &self.edge_plans
    }

    /// All stages, by index.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The stages that are roots of tasks: sources, and heads whose input is not nested.
    pub fn task_roots(&self) -> impl Iterator<Item = &Stage> {
        self.stages.iter().filter(|stage| stage.is_root())
    }

    /// One edge, if the plan has it.
    pub fn edge_plan(&self, id: EdgeId) -> Option<&EdgePlan> {
        let index = self.edge_plans.binary_search_by_key(&id, |edge| edge.id).ok()?;
        Some(&self.edge_plans[index])
    }

    /// One vertex.
    ///
    /// # Panics
    /// If the index is not of this graph.
    pub fn vertex(&self, index: VertexIndex) -> &JobVertex {
        &self.vertices[index.0 as usize]
    }

    /// One stage.
    ///
    /// # Panics
    /// If the index is not of this graph.
    pub fn stage(&self, index: StageIndex) -> &Stage {
        &self.stages[index.0 as usize]
    }

    /// The stage a node is in.
    ///
    /// # Panics
    /// If the id is not of this graph.
    pub fn stage_of(&self, node: NodeId) -> &Stage {
        self.stage(self.stage_of[node.0 as usize])
    }

    /// The slots the job needs: for each slot sharing group as many as its widest vertex has subtasks.
    pub fn slot_demand(&self) -> SlotDemand {
        let widths = self
            .vertices
            .iter()
            .map(|vertex| (vertex.slot_sharing_group.as_str(), vertex.parallelism));
        SlotDemand::of(widths)
    }
}

#[cfg(test)]
mod tests;
