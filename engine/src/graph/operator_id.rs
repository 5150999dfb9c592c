//! Ids of operators that stay the same from one run of a program to the next, so that state finds its operator.
//!
//! 1. With a uid: a hash of the uid alone. It survives any change of the plan.
//! 2. Without: a hash of the operator's word and of its inputs (their ids, ports and side outputs), the idea of Flink's
//!    `StreamGraphHasherV2`; operators that are alike in all this are told apart by their order.
//!
//! Unlike Flink's, an id without uid depends neither on chaining nor on parallelism, nor on branches of the plan that
//! do not feed the operator: rescaling a job and adding a sink keep its state.
//!
//! **Invariants**
//! - The hash is FNV-1a with 128 bits over the bytes below; it is part of the savepoint format and never changes.

use super::check_shape::known_inputs;
use super::transformation::{NodeKind, Plan, Transformation};
use std::collections::HashMap;
use std::fmt;

/// Names an operator across runs and in savepoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperatorId(pub u128);

impl fmt::Display for OperatorId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

impl OperatorId {
    /// The id of the operator with this uid.
    pub fn of_uid(uid: &str) -> Self {
        let mut hasher = Fnv128::new();
        hasher.write_text("uid");
        hasher.write_text(uid);
        Self(hasher.0)
    }
}

/// Ids by node index; `order` has producers before consumers.
pub(crate) fn operator_ids(plan: &Plan, order: &[usize]) -> Vec<OperatorId> {
    let mut ids = vec![OperatorId(0); plan.transformations.len()];
    let mut alike: HashMap<u128, u32> = HashMap::new();
    for &index in order {
        let transformation = &plan.transformations[index];
        ids[index] = match &transformation.uid {
            Some(uid) => OperatorId::of_uid(uid),
            None => {
                let mut hasher = structure_hash(plan, transformation, &ids);
                let ordinal = alike.entry(hasher.0).or_insert(0);
                hasher.write(&ordinal.to_le_bytes());
                *ordinal += 1;
                OperatorId(hasher.0)
            }
        };
    }
    ids
}

fn structure_hash(plan: &Plan, transformation: &Transformation, ids: &[OperatorId]) -> Fnv128 {
    let mut hasher = Fnv128::new();
    hasher.write_text(match transformation.kind {
        NodeKind::Source { .. } => "source",
        NodeKind::Operator => "operator",
        NodeKind::Sink(_) => "sink",
    });
    hasher.write_text(transformation.operator);
    for (from, input) in known_inputs(plan, transformation) {
        hasher.write(&ids[from].0.to_le_bytes());
        hasher.write(&[input.port, u8::from(input.side_output.is_some())]);
        hasher.write_text(input.side_output.as_deref().unwrap_or_default());
    }
    hasher
}

/// FNV-1a with 128 bits: short, well known and the same everywhere; a plan is hashed once, speed is no matter.
struct Fnv128(u128);

impl Fnv128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

    fn new() -> Self {
        Self(Self::OFFSET)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(Self::PRIME);
        }
    }

    /// Length first, so that two texts in a row can't be cut in another place.
    fn write_text(&mut self, text: &str) {
        self.write(&(text.len() as u64).to_le_bytes());
        self.write(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::test_plan::PlanBuilder;
    use crate::graph::{NodeId, PlanSettings, StreamGraph};

    fn ids(plan: &PlanBuilder) -> Vec<OperatorId> {
        let graph = StreamGraph::new(&plan.build(), &PlanSettings::default()).unwrap();
        graph.nodes().iter().map(|node| node.operator_id).collect()
    }

    #[test]
    fn fnv_matches_published_vectors() {
        let hash = |text: &str| {
            let mut hasher = Fnv128::new();
            hasher.write(text.as_bytes());
            hasher.0
        };
        assert_eq!(hash(""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(hash("a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
        assert_eq!(hash("foobar"), 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
    }

    #[test]
    fn uid_alone_decides() {
        let mut plain = PlanBuilder::new();
        let source = plain.source("in");
        let map = plain.operator("map", source);
        plain.node(map).uid = Some("clean".into());
        plain.sink("out", map);
        let mut longer = PlanBuilder::new();
        let source = longer.source("in");
        let filter = longer.operator("filter", source);
        let map = longer.operator("flat_map", filter);
        longer.node(map).uid = Some("clean".into());
        longer.sink("out", map);
        assert_eq!(ids(&plain)[1], OperatorId::of_uid("clean"));
        assert_eq!(ids(&plain)[1], ids(&longer)[2]);
        assert_eq!(ids(&plain)[2], ids(&longer)[3], "a sink behind the same uid is the same sink");
    }

    #[test]
    fn another_branch_and_another_parallelism_change_nothing() {
        let build = |with_branch: bool, parallelism: usize| {
            let mut plan = PlanBuilder::new();
            let source = plan.source("in");
            if with_branch {
                plan.sink("audit", source);
            }
            let map = plan.operator("map", source);
            plan.node(map).parallelism = Some(parallelism);
            plan.sink("out", map);
            let ids = ids(&plan);
            (ids[map.0 as usize], ids[map.0 as usize + 1])
        };
        assert_eq!(build(false, 1), build(true, 4));
    }

    #[test]
    fn twins_differ() {
        let mut plan = PlanBuilder::new();
        let source = plan.source("in");
        let twins: Vec<NodeId> = (0..5).map(|_| plan.operator("map", source)).collect();
        for twin in twins {
            plan.sink("out", twin);
        }
        let mut all = ids(&plan);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 11);
    }
}
