//! Where the calls on streams are written down: the plan, and the factories behind it.
//!
//! **Invariants**
//! - A node's inputs are known when it is made; only `isolate` puts a node in between later.
//! - Every stage head has one factory by the time the plan is taken.

use crate::exchange::gate::ConsumeTwo;
use crate::graph::{
    BROADCAST_EXCHANGE, Chaining, EdgeId, NodeId, NodeKind, Plan, PlanInput, Ship, Transformation,
};
use crate::operator::build::{
    Blueprint, BuildContext, Factory, GateFactory, Hub, HubId, Make, SideFactory, StageFactory,
    two_port_task,
};
use crate::operator::fan_out::SidePort;
use crate::operator::{Consume, Plain, Push};
use crate::record::Codec;
use crate::runtime::Task;
use crate::runtime::coordinator::SourceCoordinatorFactory;
use crate::time::WatermarkAlignment;
use std::any::TypeId;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;

/// Exchanges after which it matters which subtask has which record.
const PLACING_EXCHANGES: [&str; 4] =
    [BROADCAST_EXCHANGE, "global", "partition_custom", PARTITIONED_EXCHANGE];

/// The operator word of what [`partitioned`](crate::api::KeyedStream::partitioned) makes of a keyed stream.
pub(crate) const PARTITIONED_EXCHANGE: &str = "partitioned";

/// Shared by the streams of one environment.
pub(crate) type PlanHandle = Rc<RefCell<PlanBuilder>>;

/// See the module docs.
#[derive(Default)]
pub(crate) struct PlanBuilder {
    pub(crate) plan: Plan,
    pub(crate) blueprint: Blueprint,
    /// Mistakes that the types cannot catch; reported with the plan errors.
    pub(crate) mistakes: Vec<Mistake>,
    /// Side outputs that have been asked for, with their record type and hub.
    side_hubs: HashMap<(NodeId, String), (TypeId, HubId)>,
    /// Operators that can emit to side outputs.
    emits_sides: HashSet<NodeId>,
    pub(crate) coordinators: HashMap<NodeId, SourceCoordinatorFactory>,
    /// How sources of one group are aligned, by its name.
    pub(crate) alignments: HashMap<String, WatermarkAlignment>,
}

/// A mistake in a call on a stream.
#[derive(Clone, Debug)]
pub(crate) struct Mistake {
    pub(crate) node: Option<NodeId>,
    pub(crate) message: String,
    pub(crate) location: &'static Location<'static>,
}

/// What a new node is made of.
pub(crate) struct NewNode {
    pub(crate) kind: NodeKind,
    pub(crate) operator: &'static str,
    pub(crate) inputs: Vec<PlanInput>,
    pub(crate) keyed: bool,
    pub(crate) location: &'static Location<'static>,
}

impl PlanBuilder {
    pub(crate) fn add_node(&mut self, new: NewNode) -> NodeId {
        let id = NodeId(self.plan.transformations.len() as u32);
        self.plan.transformations.push(Transformation {
            id,
            kind: new.kind,
            operator: new.operator,
            name: None,
            uid: None,
            parallelism: None,
            max_parallelism: None,
            slot_sharing_group: None,
            chaining: Chaining::Always,
            keyed: new.keyed,
            details: None,
            inputs: new.inputs,
            location: new.location,
        });
        id
    }

    pub(crate) fn node(&mut self, id: NodeId) -> &mut Transformation {
        &mut self.plan.transformations[id.0 as usize]
    }

    pub(crate) fn new_edge(&mut self) -> EdgeId {
        self.plan.edge_count += 1;
        EdgeId(self.plan.edge_count - 1)
    }

    /// A node fused to the one before it.
    pub(crate) fn add_fused(
        &mut self,
        operator: &'static str,
        from: NodeId,
        side_output: Option<String>,
        location: &'static Location<'static>,
    ) -> NodeId {
        let inputs = vec![fused_input(from, side_output)];
        self.add_node(NewNode {
            kind: NodeKind::Operator,
            operator,
            inputs,
            keyed: false,
            location,
        })
    }

    /// All nodes of the stage that `node` is in up to its head, following fused inputs.
    fn nodes_up_to_head(&self, node: NodeId) -> Vec<NodeId> {
        let mut nodes = vec![node];
        let mut at = node;
        loop {
            let inputs = &self.plan.transformations[at.0 as usize].inputs;
            match inputs.first() {
                Some(input) if input.edge.is_none() => {
                    at = input.from;
                    nodes.push(at);
                }
                _ => return nodes,
            }
        }
    }

    /// Says something about an operator and the exchanges in front of it, which belong to it.
    pub(crate) fn set_on_stage(&mut self, node: NodeId, set: impl Fn(&mut Transformation)) {
        for id in self.nodes_up_to_head(node) {
            set(self.node(id));
            for exchange in self.placing_exchanges_before(id) {
                set(self.node(exchange));
            }
        }
    }

    /// How an operator with several inputs takes the records of `node`: as they are, if an explicit exchange has just put
    /// them where they belong, and else as Flink does when nothing is said.
    pub(crate) fn ship_to_several(&self, node: NodeId) -> Ship {
        let transformation = &self.plan.transformations[node.0 as usize];
        let is_placed = PLACING_EXCHANGES.contains(&transformation.operator)
            && transformation.inputs.iter().all(|input| input.edge.is_some());
        if is_placed { Ship::Forward } else { Ship::Auto }
    }

    /// The exchanges whose records an operator with several inputs takes as they are: they have its parallelism.
    fn placing_exchanges_before(&self, node: NodeId) -> Vec<NodeId> {
        let inputs = &self.plan.transformations[node.0 as usize].inputs;
        let placed = inputs.iter().filter(|input| {
            inputs.len() > 1
                && input.edge.is_some()
                && input.ship == Ship::Forward
                && self.ship_to_several(input.from) == Ship::Forward
        });
        placed.map(|input| input.from).collect()
    }

    /// Notes a mistake unless `node` is an exchange that gives each record to every consumer.
    pub(crate) fn expect_broadcast(&mut self, node: NodeId, location: &'static Location<'static>) {
        let transformation = &self.plan.transformations[node.0 as usize];
        if transformation.operator == BROADCAST_EXCHANGE {
            return;
        }
        let message = format!(
            "connect_broadcast takes '{}' as its second stream, and that is not broadcast: each subtask would see a part of it; call broadcast() on it, after all other operators",
            transformation.display_name(),
        );
        self.mistakes.push(Mistake { node: Some(node), message, location });
    }

    /// Registers how the stage of `head`, with one type of input, is made.
    pub(crate) fn add_gate<T: Send + 'static>(
        &mut self,
        head: NodeId,
        edges: Vec<EdgeId>,
        codec: Option<Codec<T>>,
        make_head: impl Make<Box<dyn Consume<T>>>,
    ) {
        let make_head = Factory::new(make_head);
        let factory = Arc::new(GateFactory { edges, codec, make_head });
        let root = gate_root(factory.clone());
        let typed: Box<dyn std::any::Any + Send + Sync> = Box::new(factory);
        let before = self.blueprint.stages.insert(head, StageFactory::Gate { typed, root });
        assert!(before.is_none(), "a stage has one factory");
    }

    /// Registers how the stage of `head`, with two types of input, is made.
    pub(crate) fn add_two_port<A: Send + 'static, B: Send + 'static>(
        &mut self,
        head: NodeId,
        first: (Vec<EdgeId>, Option<Codec<A>>),
        second: (Vec<EdgeId>, Option<Codec<B>>),
        make_head: impl Make<Box<dyn ConsumeTwo<A, B>>>,
    ) {
        let root = Factory::new(make_two_port(first, second, make_head));
        self.add_root(head, root);
    }

    /// Registers how the tasks of a stage that is always a root are made.
    pub(crate) fn add_root(&mut self, head: NodeId, root: Factory<Box<dyn Task>>) {
        let before = self.blueprint.stages.insert(head, StageFactory::Root(root));
        assert!(before.is_none(), "a stage has one factory");
    }

    /// A new hub without consumers.
    pub(crate) fn add_hub<T: Send + 'static>(&mut self) -> HubId {
        self.blueprint.hubs.push(Box::new(Hub::<T> { clone: None, consumers: Vec::new() }));
        HubId(self.blueprint.hubs.len() - 1)
    }

    pub(crate) fn hub<T: Send + 'static>(&mut self, id: HubId) -> &mut Hub<T> {
        self.blueprint.hubs[id.0].downcast_mut().expect("a hub has one record type")
    }

    /// Says that an operator can emit to side outputs.
    pub(crate) fn allow_side_outputs(&mut self, node: NodeId) {
        self.emits_sides.insert(node);
    }

    /// The hub of a side output: made at the first call, shared by later ones.
    pub(crate) fn side_hub<T: Send + 'static>(
        &mut self,
        node: NodeId,
        tag: &str,
        clone: fn(&T) -> T,
        location: &'static Location<'static>,
    ) -> HubId {
        if !self.emits_sides.contains(&node) {
            let operator = self.plan.transformations[node.0 as usize].operator;
            let message = format!(
                "'{operator}' has no side outputs; ask the process function or window that emits to '{tag}'"
            );
            self.mistakes.push(Mistake { node: Some(node), message, location });
        }
        let key = (node, tag.to_owned());
        if let Some((type_id, hub)) = self.side_hubs.get(&key).copied() {
            if type_id == TypeId::of::<T>() {
                self.hub::<T>(hub).clone = Some(clone);
                return hub;
            }
            let message = format!(
                "side output '{tag}' is read with two record types; use one tag for each type"
            );
            self.mistakes.push(Mistake { node: Some(node), message, location });
            return self.add_hub::<T>();
        }
        let hub = self.add_hub::<T>();
        self.side_hubs.insert(key, (TypeId::of::<T>(), hub));
        let make = Factory::new(make_side::<T>(hub));
        self.blueprint
            .sides
            .entry(node)
            .or_default()
            .push(SideFactory { tag: tag.to_owned(), make });
        hub
    }
}

/// An input that is fused to its producer.
pub(crate) fn fused_input(from: NodeId, side_output: Option<String>) -> PlanInput {
    PlanInput { from, side_output, port: 0, ship: Ship::Forward, edge: None }
}

// Factories are made by free functions: a closure made inside a builder method would carry all generics of that method, the
// whole upstream chain included, and type names would double at each step.

fn gate_root<T: Send + 'static>(factory: Arc<GateFactory<T>>) -> Factory<Box<dyn Task>> {
    Factory::new(move |context: &mut BuildContext| {
        let gate: Box<dyn Task> = Box::new(factory.build(context, false)?);
        Ok(gate)
    })
}

fn make_two_port<A: Send + 'static, B: Send + 'static>(
    first: (Vec<EdgeId>, Option<Codec<A>>),
    second: (Vec<EdgeId>, Option<Codec<B>>),
    make_head: impl Make<Box<dyn ConsumeTwo<A, B>>>,
) -> impl Make<Box<dyn Task>> {
    move |context: &mut BuildContext| {
        let head = make_head(context)?;
        two_port_task(context, head, (&first.0, first.1), (&second.0, second.1))
    }
}

fn make_side<T: Send + 'static>(hub: HubId) -> impl Make<Box<dyn SidePort>> {
    move |context: &mut BuildContext| {
        let fan_out: Box<dyn SidePort> = Box::new(context.open_hub::<T>(hub)?);
        Ok(fan_out)
    }
}

/// A consumer chain as a hub wants it.
pub(crate) fn make_consumer<T: Send + 'static, D: Push<T>>(
    make: impl Make<D>,
) -> impl Make<Box<dyn Consume<T>>> {
    move |context: &mut BuildContext| {
        let next = make(context)?;
        let (stage, is_counted) = (context.stage.clone(), context.is_behind_fan_out);
        let consumer: Box<dyn Consume<T>> = Box::new(Plain { next, stage, is_counted });
        Ok(consumer)
    }
}
