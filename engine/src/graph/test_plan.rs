//! Builds plans for the tests of planning, as the `api` layer would.

use super::delivery::SinkPromise;
use super::settings::PlanSettings;
use super::slot::{Allocation, CoreIndex, Slot, SlotDemand, SlotId};
use super::transformation::{
    Chaining, EdgeId, NodeId, NodeKind, Plan, PlanInput, Ship, Transformation, UNION,
};
use std::panic::Location;

/// A plan under construction; nodes can be changed through [`PlanBuilder::node`].
#[derive(Default)]
pub(crate) struct PlanBuilder {
    plan: Plan,
}

impl PlanBuilder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn build(&self) -> Plan {
        self.plan.clone()
    }

    pub(crate) fn node(&mut self, id: NodeId) -> &mut Transformation {
        &mut self.plan.transformations[id.0 as usize]
    }

    pub(crate) fn input(&mut self, id: NodeId, index: usize) -> &mut PlanInput {
        &mut self.node(id).inputs[index]
    }

    pub(crate) fn new_edge(&mut self) -> EdgeId {
        self.plan.edge_count += 1;
        EdgeId(self.plan.edge_count - 1)
    }

    #[track_caller]
    pub(crate) fn add(&mut self, kind: NodeKind, operator: &'static str, name: &str) -> NodeId {
        let id = NodeId(u32::try_from(self.plan.transformations.len()).unwrap());
        self.plan.transformations.push(Transformation {
            id,
            kind,
            operator,
            name: (!name.is_empty()).then(|| name.to_owned()),
            uid: None,
            parallelism: None,
            max_parallelism: None,
            slot_sharing_group: None,
            chaining: Chaining::Always,
            keyed: false,
            details: None,
            inputs: Vec::new(),
            location: Location::caller(),
        });
        id
    }

    /// An input with an edge of its own.
    pub(crate) fn connect(&mut self, from: NodeId, to: NodeId, port: u8, ship: Ship) {
        let edge = Some(self.new_edge());
        self.node(to).inputs.push(PlanInput { from, side_output: None, port, ship, edge });
    }

    #[track_caller]
    pub(crate) fn source(&mut self, name: &str) -> NodeId {
        self.add(
            NodeKind::Source { bounded: true, non_parallel: false, is_replayable: true },
            "source",
            name,
        )
    }

    #[track_caller]
    pub(crate) fn non_parallel_source(&mut self, name: &str) -> NodeId {
        self.add(
            NodeKind::Source { bounded: true, non_parallel: true, is_replayable: false },
            "socket",
            name,
        )
    }

    /// An operator behind an `Auto` edge.
    #[track_caller]
    pub(crate) fn operator(&mut self, operator: &'static str, from: NodeId) -> NodeId {
        self.shipped(operator, from, Ship::Auto)
    }

    #[track_caller]
    pub(crate) fn shipped(&mut self, operator: &'static str, from: NodeId, ship: Ship) -> NodeId {
        let id = self.add(NodeKind::Operator, operator, "");
        self.connect(from, id, 0, ship);
        id
    }

    /// A keyed operator behind a `Hash` edge.
    #[track_caller]
    pub(crate) fn keyed(&mut self, operator: &'static str, from: NodeId) -> NodeId {
        let id = self.shipped(operator, from, Ship::Hash);
        self.node(id).keyed = true;
        id
    }

    /// An operator fused to its producer.
    #[track_caller]
    pub(crate) fn fused(&mut self, operator: &'static str, from: NodeId) -> NodeId {
        let id = self.add(NodeKind::Operator, operator, "");
        let input = PlanInput { from, side_output: None, port: 0, ship: Ship::Auto, edge: None };
        self.node(id).inputs.push(input);
        id
    }

    /// Several streams into port 0.
    #[track_caller]
    pub(crate) fn union(&mut self, streams: &[NodeId]) -> NodeId {
        let id = self.add(NodeKind::Operator, UNION, "");
        for stream in streams {
            self.connect(*stream, id, 0, Ship::Auto);
        }
        id
    }

    /// One stream into port 0 and one into port 1.
    #[track_caller]
    pub(crate) fn co_process(&mut self, first: NodeId, second: NodeId) -> NodeId {
        let id = self.add(NodeKind::Operator, "co_process", "");
        self.connect(first, id, 0, Ship::Auto);
        self.connect(second, id, 1, Ship::Auto);
        id
    }

    #[track_caller]
    pub(crate) fn sink(&mut self, name: &str, from: NodeId) -> NodeId {
        let id = self.add(NodeKind::Sink(SinkPromise::default()), "sink", name);
        self.connect(from, id, 0, Ship::Auto);
        id
    }
}

/// source `flights` fused to map, key_by to count, sink `print`.
pub(crate) fn linear() -> PlanBuilder {
    let mut plan = PlanBuilder::new();
    let source = plan.source("flights");
    let map = plan.fused("map", source);
    let count = plan.keyed("count", map);
    plan.sink("print", count);
    plan
}

pub(crate) fn with_parallelism(parallelism: usize) -> PlanSettings {
    PlanSettings { parallelism, ..PlanSettings::default() }
}

/// Slots in order, slot s on core s modulo `cores`.
pub(crate) fn allocate_round_robin(demand: &SlotDemand, cores: usize) -> Allocation {
    let mut ids = 0_u32..;
    let groups = demand.groups.iter().map(|(group, count)| {
        let slots = ids.by_ref().take(*count).map(|id| Slot {
            id: SlotId(id),
            core: CoreIndex(id as usize % cores),
            memory_bytes: 64 << 20,
        });
        (group.clone(), slots.collect())
    });
    Allocation { groups: groups.collect() }
}
