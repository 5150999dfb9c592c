//! The plan with every setting resolved, and nothing wrong with it.
//!
//! **Invariants**
//! - Node ids are indices of `nodes`, edge indices those of `edges`; every edge's ends exist; there is no cycle.
//! - No ship strategy is `Auto`; `Forward` joins equal parallelism.
//! - 1 <= parallelism <= max parallelism <= 32768 for every node.
//! - A node with a fused input has no other, and shares parallelism and slot sharing group with its producer.
//! - `order` names every node once, producers before consumers.

use super::check_settings::{check_environment, check_operators, check_transactions};
use super::check_shape::{check_shape, topological_order};
use super::operator_id::{OperatorId, operator_ids};
use super::plan_error::PlanErrors;
pub use super::resolve::DEFAULT_SLOT_SHARING_GROUP;
use super::resolve::{Resolved, resolve};
use super::settings::{CheckpointSettings, PlanSettings};
use super::transformation::{Chaining, EdgeId, NodeId, NodeKind, Plan, Ship};
use std::panic::Location;

/// One operator with its effective settings.
#[derive(Clone, Debug)]
pub struct StreamNode {
    /// Index in the plan and in [`StreamGraph::nodes`].
    pub id: NodeId,
    /// Stable across runs; names the operator's state.
    pub operator_id: OperatorId,
    /// What it is.
    pub kind: NodeKind,
    /// The operator's own word.
    pub operator: &'static str,
    /// The user's name for it, or else the operator's word.
    pub name: String,
    /// The user's stable id.
    pub uid: Option<String>,
    /// Number of subtasks.
    pub parallelism: usize,
    /// Number of key groups, and so the largest parallelism its state can be restored with.
    pub max_parallelism: usize,
    /// Subtask i of all operators in one group share a slot.
    pub slot_sharing_group: String,
    /// What the user said about chaining.
    pub chaining: Chaining,
    /// Holds keyed state.
    pub keyed: bool,
    /// What a sink says of itself, for people.
    pub details: Option<String>,
    /// Where the user wrote it.
    pub location: &'static Location<'static>,
}

impl StreamNode {
    /// The name with Flink's prefix: `Source: flights`, `map`, `Sink: print`.
    pub fn title(&self) -> String {
        match self.kind {
            NodeKind::Source { .. } => format!("Source: {}", self.name),
            NodeKind::Operator => self.name.clone(),
            NodeKind::Sink(_) => format!("Sink: {}", self.name),
        }
    }
}

/// One input of an operator, with its ship strategy decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEdge {
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
    /// `None` where both ends are fused.
    pub edge: Option<EdgeId>,
}

impl StreamEdge {
    /// Are both ends one compiled chain?
    pub fn is_fused(&self) -> bool {
        self.edge.is_none()
    }
}

/// All operators of a job and the edges between them.
#[derive(Clone, Debug)]
pub struct StreamGraph {
    job_name: String,
    chaining_enabled: bool,
    checkpoints: Option<CheckpointSettings>,
    nodes: Vec<StreamNode>,
    edges: Vec<StreamEdge>,
    /// Edge indices by consumer, in the order of its inputs.
    inputs: Vec<Vec<usize>>,
    /// Edge indices by producer, in the order of consumers.
    outputs: Vec<Vec<usize>>,
    order: Vec<NodeId>,
}

impl StreamGraph {
    /// Checks a plan and resolves its settings.
    ///
    /// # Errors
    /// All that is wrong with the plan and the settings, at once.
    pub fn new(plan: &Plan, settings: &PlanSettings) -> Result<Self, PlanErrors> {
        let mut errors = Vec::new();
        check_environment(settings, &mut errors);
        check_shape(plan, &mut errors);
        let order = topological_order(plan, &mut errors);
        let resolved = resolve(plan, settings, &order);
        check_operators(plan, &resolved, &mut errors);
        check_transactions(plan, settings, &mut errors);
        if !errors.is_empty() {
            return Err(PlanErrors(errors));
        }
        Ok(Self::from_checked(plan, settings, &order, resolved))
    }

    fn from_checked(
        plan: &Plan,
        settings: &PlanSettings,
        order: &[usize],
        resolved: Resolved,
    ) -> Self {
        let edges: Vec<StreamEdge> = stream_edges(plan, &resolved).collect();
        let mut inputs = vec![Vec::new(); plan.transformations.len()];
        let mut outputs = inputs.clone();
        for (index, edge) in edges.iter().enumerate() {
            outputs[edge.from.0 as usize].push(index);
            inputs[edge.to.0 as usize].push(index);
        }
        Self {
            job_name: settings.job_name.clone(),
            chaining_enabled: settings.chaining_enabled,
            checkpoints: settings.checkpoints,
            nodes: stream_nodes(plan, order, resolved),
            edges,
            inputs,
            outputs,
            order: order.iter().map(|index| plan.transformations[*index].id).collect(),
        }
    }

    /// The job's name.
    pub fn job_name(&self) -> &str {
        &self.job_name
    }

    /// May operators be chained at all?
    pub fn chaining_enabled(&self) -> bool {
        self.chaining_enabled
    }

    /// The checkpoints of the job, if it takes any.
    pub fn checkpoints(&self) -> Option<CheckpointSettings> {
        self.checkpoints
    }

    /// All nodes, by id.
    pub fn nodes(&self) -> &[StreamNode] {
        &self.nodes
    }

    /// All edges, by consumer.
    pub fn edges(&self) -> &[StreamEdge] {
        &self.edges
    }

    /// Every node once, producers before consumers.
    pub fn topological_order(&self) -> &[NodeId] {
        &self.order
    }

    /// One node.
    ///
    /// # Panics
    /// If the id is not of this graph.
    pub fn node(&self, id: NodeId) -> &StreamNode {
        &self.nodes[id.0 as usize]
    }

    /// The inputs of a node, in the order the plan has them.
    ///
    /// # Panics
    /// If the id is not of this graph.
    pub fn inputs(&self, id: NodeId) -> impl ExactSizeIterator<Item = &StreamEdge> {
        self.inputs[id.0 as usize].iter().map(|index| &self.edges[*index])
    }

    /// What a node feeds, in the order of consumers.
    ///
    /// # Panics
    /// If the id is not of this graph.
    pub fn outputs(&self, id: NodeId) -> impl ExactSizeIterator<Item = &StreamEdge> {
        self.outputs[id.0 as usize].iter().map(|index| &self.edges[*index])
    }
}

fn stream_nodes(plan: &Plan, order: &[usize], resolved: Resolved) -> Vec<StreamNode> {
    let ids = operator_ids(plan, order);
    let Resolved { parallelism, max_parallelism, slot_sharing_group } = resolved;
    slot_sharing_group
        .into_iter()
        .enumerate()
        .map(|(index, slot_sharing_group)| {
            let transformation = &plan.transformations[index];
            StreamNode {
                id: transformation.id,
                operator_id: ids[index],
                kind: transformation.kind,
                operator: transformation.operator,
                name: transformation.display_name().to_owned(),
                uid: transformation.uid.clone(),
                parallelism: parallelism[index],
                max_parallelism: max_parallelism[index],
                slot_sharing_group,
                chaining: transformation.chaining,
                keyed: transformation.keyed,
                details: transformation.details.clone(),
                location: transformation.location,
            }
        })
        .collect()
}

fn stream_edges(plan: &Plan, resolved: &Resolved) -> impl Iterator<Item = StreamEdge> {
    plan.transformations.iter().flat_map(|consumer| {
        consumer.inputs.iter().map(|input| StreamEdge {
            from: input.from,
            to: consumer.id,
            port: input.port,
            side_output: input.side_output.clone(),
            ship: resolved.ship(input, input.from.0 as usize, consumer.id.0 as usize),
            edge: input.edge,
        })
    })
}

#[cfg(test)]
mod tests;
