//! Effective settings of each node: what the user said, or else what follows from the neighbours and the environment.
//!
//! | setting | first of |
//! |---|---|
//! | parallelism | the operator's; the node it is fused to; 1 for a source that can't run in parallel; the producer's for an implied exchange, and that of all inputs for a union, if no operator is fused to it; the environment's |
//! | max parallelism | the operator's; the node it is fused to; the environment's; [`default_max_parallelism`] |
//! | slot sharing group | the operator's; the one all inputs agree on; `default` |
//!
//! An implied exchange is written behind `set_parallelism` and its kin before it is known what follows. Where that is
//! a partitioner, `key_by` or `connect`, the exchange must be none: records that were dealt out to its subtasks
//! first would reach the real one out of order.
//!
//! So with a union: as in Flink, where it is no operator, what is partitioned by key behind it comes from each input directly,
//! and the records of a key stay in order. (Inputs of different parallelism are dealt out to the union's subtasks.)
//!
//! A fused node takes its producer's parallelism because both are one compiled chain. (Flink would put the
//! environment's parallelism and a rebalance there.)
//!
//! **Invariants**
//! - Nothing is refused here. Values out of range are brought into it, so that one mistake is one error;
//!   `check_settings` reports it.

use super::check_shape::known_inputs;
use super::settings::{MAX_PARALLELISM_BOUND, PlanSettings, default_max_parallelism};
use super::transformation::{
    IMPLIED_EXCHANGE, NodeKind, Plan, PlanInput, Ship, Transformation, UNION,
};

/// The group of operators that are in no other.
pub const DEFAULT_SLOT_SHARING_GROUP: &str = "default";

/// Effective settings by node index.
pub(crate) struct Resolved {
    pub(crate) parallelism: Vec<usize>,
    pub(crate) max_parallelism: Vec<usize>,
    pub(crate) slot_sharing_group: Vec<String>,
}

impl Resolved {
    /// The ship strategy of an input of `consumer`, with `Auto` decided.
    pub(crate) fn ship(&self, input: &PlanInput, producer: usize, consumer: usize) -> Ship {
        match input.ship {
            Ship::Auto
                if input.edge.is_none()
                    || self.parallelism[producer] == self.parallelism[consumer] =>
            {
                Ship::Forward
            }
            Ship::Auto => Ship::Rebalance,
            said => said,
        }
    }
}

/// Resolves all nodes; `order` has producers before consumers.
pub(crate) fn resolve(plan: &Plan, settings: &PlanSettings, order: &[usize]) -> Resolved {
    let node_count = plan.transformations.len();
    let mut resolved = Resolved {
        parallelism: vec![1; node_count],
        max_parallelism: vec![MAX_PARALLELISM_BOUND; node_count],
        slot_sharing_group: vec![DEFAULT_SLOT_SHARING_GROUP.to_owned(); node_count],
    };
    let has_fused_consumer = fused_consumers(plan);
    for &index in order {
        let transformation = &plan.transformations[index];
        let fused_to = fused_producer(plan, transformation);
        let follows = match has_fused_consumer[index] {
            true => fused_to,
            false => fused_to
                .or_else(|| implied_exchange_producer(plan, transformation))
                .or_else(|| union_producer(plan, transformation, &resolved)),
        };
        let parallelism = parallelism(transformation, settings, follows, &resolved);
        resolved.parallelism[index] = parallelism;
        resolved.max_parallelism[index] =
            max_parallelism(transformation, settings, fused_to, &resolved, parallelism);
        resolved.slot_sharing_group[index] = slot_sharing_group(plan, transformation, &resolved);
    }
    resolved
}

/// Index of the node this one is fused to.
pub(crate) fn fused_producer(plan: &Plan, transformation: &Transformation) -> Option<usize> {
    known_inputs(plan, transformation).find(|(_, input)| input.edge.is_none()).map(|(from, _)| from)
}

/// By node index: is some node fused to it?
fn fused_consumers(plan: &Plan) -> Vec<bool> {
    let mut has_one = vec![false; plan.transformations.len()];
    let producers = plan.transformations.iter().filter_map(|node| fused_producer(plan, node));
    producers.for_each(|producer| has_one[producer] = true);
    has_one
}

/// Index of the node that an implied exchange reads.
fn implied_exchange_producer(plan: &Plan, transformation: &Transformation) -> Option<usize> {
    let mut inputs = known_inputs(plan, transformation);
    let is_implied = transformation.operator == IMPLIED_EXCHANGE;
    inputs.next().filter(|(_, input)| is_implied && input.ship == Ship::Auto).map(|(from, _)| from)
}

/// Index of a node that a union reads, if all that it reads have the same parallelism.
fn union_producer(
    plan: &Plan,
    transformation: &Transformation,
    resolved: &Resolved,
) -> Option<usize> {
    let mut inputs =
        known_inputs(plan, transformation).filter(|_| transformation.operator == UNION);
    let (first, _) = inputs.next()?;
    let is_same = |from: usize| resolved.parallelism[from] == resolved.parallelism[first];
    inputs.all(|(from, _)| is_same(from)).then_some(first)
}

fn parallelism(
    transformation: &Transformation,
    settings: &PlanSettings,
    follows: Option<usize>,
    resolved: &Resolved,
) -> usize {
    let alone = matches!(transformation.kind, NodeKind::Source { non_parallel: true, .. });
    transformation
        .parallelism
        .or(follows.map(|producer| resolved.parallelism[producer]))
        .unwrap_or(if alone { 1 } else { settings.parallelism })
        .clamp(1, MAX_PARALLELISM_BOUND)
}

fn max_parallelism(
    transformation: &Transformation,
    settings: &PlanSettings,
    fused_to: Option<usize>,
    resolved: &Resolved,
    parallelism: usize,
) -> usize {
    transformation
        .max_parallelism
        .or(fused_to.map(|producer| resolved.max_parallelism[producer]))
        .or(settings.max_parallelism)
        .unwrap_or_else(|| default_max_parallelism(parallelism))
        .clamp(1, MAX_PARALLELISM_BOUND)
}

fn slot_sharing_group(plan: &Plan, transformation: &Transformation, resolved: &Resolved) -> String {
    if let Some(own) = &transformation.slot_sharing_group {
        return own.clone();
    }
    let mut inherited =
        known_inputs(plan, transformation).map(|(from, _)| &resolved.slot_sharing_group[from]);
    match inherited.next() {
        Some(first) if inherited.all(|other| other == first) => first.clone(),
        _ => DEFAULT_SLOT_SHARING_GROUP.to_owned(),
    }
}
