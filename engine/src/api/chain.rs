//! The typed side of a plan: chains that fuse operators by generics.
//!
//! A chain is consumed by [`Chain::attach`], which hands a factory of its downstream side up to the root; the root registers
//! the stage. Everything upstream of a `key_by` is erased there, so types span one stage only.
//!
//! - [`Then`] is an operator on top of a chain; [`FromSource`], [`Boxed`] and [`Head`] are roots.
//! - [`Chain::isolate`] puts an exchange in front of the last operator: that is what `set_parallelism` and
//!   `disable_chaining` do. It is a method with an associated type, not a second call of `attach`, which would
//!   double the instantiations of the whole chain.

use crate::Result;
use crate::api::plan_builder::{NewNode, PlanBuilder, PlanHandle, fused_input, make_consumer};
use crate::exchange::gate::ConsumeTwo;
use crate::exchange::partitioner::{Fixed, RoundRobin};
use crate::exchange::router::{Broadcast, Route, Router};
use crate::function::Source;
use crate::graph::{EdgeId, IMPLIED_EXCHANGE, NodeId, NodeKind, PlanInput, Ship};
use crate::operator::build::{BuildContext, Factory, HubId, Make};
use crate::operator::source::SourceTask;
use crate::operator::{Consume, Push};
use crate::record::Codec;
use crate::runtime::Task;
use std::marker::PhantomData;
use std::sync::Arc;

/// The typed plan of everything upstream in one task. Implemented by the engine alone.
///
/// You meet it in signatures of helpers: `fn clean(s: DataStream<Bid, impl Chain<Bid>>) -> DataStream<Bid, impl Chain<Bid>>`.
#[diagnostic::on_unimplemented(message = "`{Self}` is not a chain of operators that gives `{T}`")]
pub trait Chain<T: Send + 'static>: Sized + 'static {
    /// The same chain with an exchange in front of its last operator.
    #[doc(hidden)]
    type Isolated: Chain<T>;

    /// Puts an exchange in front of the last operator, `node`.
    #[doc(hidden)]
    fn isolate(self, plan: &Plan, node: NodeId) -> Self::Isolated;

    /// Ends the chain with what `make` makes.
    #[doc(hidden)]
    fn attach<D: Push<T>>(self, plan: &Plan, make: impl Make<D>);

    /// Erases the chain.
    #[doc(hidden)]
    fn into_boxed(self, plan: &Plan) -> Boxed<T> {
        Boxed::of(self, plan)
    }

    /// Ends the chain with an exchange that belongs to its consumer `node`, whose first input it becomes.
    #[doc(hidden)]
    fn cut(self, plan: &Plan, consumer: NodeId) -> Boxed<T> {
        cut(self, plan, consumer)
    }
}

/// The plan that streams write to; opaque.
#[doc(hidden)]
#[derive(Clone)]
pub struct Plan(pub(crate) PlanHandle);

impl Plan {
    pub(crate) fn with<R>(&self, code: impl FnOnce(&mut PlanBuilder) -> R) -> R {
        code(&mut self.0.borrow_mut())
    }
}

/// Makes one operator on top of what follows it.
#[doc(hidden)]
pub(crate) trait OperatorFactory<T>: Clone + Send + 'static {
    /// Records given.
    type Out: Send + 'static;
    /// The operator with its successor.
    type Operator<D: Push<Self::Out>>: Push<T>;
    /// Builds and opens it on its core.
    fn build<D: Push<Self::Out>>(
        self,
        context: &mut BuildContext,
        next: D,
    ) -> Result<Self::Operator<D>>;
}

/// An operator fused to the chain before it.
pub(crate) struct Then<C, B, T> {
    pub(crate) up: C,
    pub(crate) factory: B,
    pub(crate) _in: PhantomData<fn(T)>,
}

pub(crate) fn make_then<T, B: OperatorFactory<T>, D: Push<B::Out>>(
    factory: B,
    make: impl Make<D>,
) -> impl Make<B::Operator<D>> {
    move |context: &mut BuildContext| {
        let next = make(context)?;
        factory.build(context, next)
    }
}

impl<T: Send + 'static, C: Chain<T>, B: OperatorFactory<T>> Chain<B::Out> for Then<C, B, T> {
    type Isolated = Then<Boxed<T>, B, T>;

    fn isolate(self, plan: &Plan, node: NodeId) -> Self::Isolated {
        Then { up: self.up.cut(plan, node), factory: self.factory, _in: PhantomData }
    }

    fn attach<D: Push<B::Out>>(self, plan: &Plan, make: impl Make<D>) {
        self.up.attach(plan, make_then(self.factory, make));
    }
}

/// The root of a chain at a source.
pub(crate) struct FromSource<S> {
    pub(crate) source: Arc<S>,
    pub(crate) node: NodeId,
}

impl<S: Source> Chain<S::Out> for FromSource<S> {
    type Isolated = Self;

    fn isolate(self, _: &Plan, _: NodeId) -> Self {
        self
    }

    fn attach<D: Push<S::Out>>(self, plan: &Plan, make: impl Make<D>) {
        let FromSource { source, node } = self;
        let root = Factory::new(make_source(source, node, make));
        plan.with(|plan| plan.add_root(node, root));
    }
}

fn make_source<S: Source, D: Push<S::Out>>(
    source: Arc<S>,
    node: NodeId,
    make: impl Make<D>,
) -> impl Make<Box<dyn Task>> {
    move |context: &mut BuildContext| {
        let next = make(context)?;
        let reader = |reader: &crate::function::ReaderContext| source.create_reader(reader);
        let task = SourceTask::open(reader, next, context, node)?;
        let task: Box<dyn Task> = Box::new(task);
        Ok(task)
    }
}

/// A chain whose type is erased: one virtual call a batch. The stream on it is `Clone` if its records are.
pub struct Boxed<T> {
    hub: HubId,
    /// The exchange in front of it, if it was made by a cut.
    exchange: Option<NodeId>,
    plan: Plan,
    _record: PhantomData<fn() -> T>,
}

impl<T: Send + 'static> Boxed<T> {
    /// Erases `chain`.
    pub(crate) fn of<C: Chain<T>>(chain: C, plan: &Plan) -> Self {
        let hub = plan.with(|plan| plan.add_hub::<T>());
        chain.attach(plan, make_hub::<T>(hub));
        Boxed { hub, exchange: None, plan: plan.clone(), _record: PhantomData }
    }

    /// A chain that begins at a hub which something else feeds.
    pub(crate) fn at(hub: HubId, plan: &Plan) -> Self {
        Boxed { hub, exchange: None, plan: plan.clone(), _record: PhantomData }
    }
}

impl<T: Clone + Send + 'static> Clone for Boxed<T> {
    fn clone(&self) -> Self {
        self.plan.with(|plan| plan.hub::<T>(self.hub).clone = Some(T::clone));
        // A chain with several handles can no longer belong to one consumer.
        Boxed { hub: self.hub, exchange: None, plan: self.plan.clone(), _record: PhantomData }
    }
}

fn make_hub<T: Send + 'static>(hub: HubId) -> impl Make<crate::operator::fan_out::FanOut<T>> {
    move |context: &mut BuildContext| context.open_hub::<T>(hub)
}

impl<T: Send + 'static> Chain<T> for Boxed<T> {
    type Isolated = Self;

    fn isolate(self, _: &Plan, _: NodeId) -> Self {
        self
    }

    fn attach<D: Push<T>>(self, plan: &Plan, make: impl Make<D>) {
        let consumer = Factory::new(make_consumer::<T, D>(make));
        plan.with(|plan| plan.hub::<T>(self.hub).consumers.push(consumer));
    }

    fn into_boxed(self, _: &Plan) -> Boxed<T> {
        self
    }

    fn cut(self, plan: &Plan, consumer: NodeId) -> Boxed<T> {
        let unused = plan.with(|plan| plan.hub::<T>(self.hub).consumers.is_empty());
        match self.exchange {
            // Its exchange has served nobody yet: it becomes the consumer's.
            Some(_) if unused => self,
            _ => cut(self, plan, consumer),
        }
    }
}

/// See [`Chain::cut`]: the new exchange node goes between `consumer` and its first input.
fn cut<T: Send + 'static, C: Chain<T>>(chain: C, plan: &Plan, consumer: NodeId) -> Boxed<T> {
    let (from, location) = plan.with(|plan| {
        let consumer = plan.node(consumer);
        let input = &consumer.inputs[0];
        ((input.from, input.side_output.clone()), consumer.location)
    });
    let boxed = exchange(chain, plan, from, ExchangeNode::auto(location), None, auto_route);
    let node = boxed.exchange.expect("just made");
    plan.with(|plan| plan.node(consumer).inputs[0] = fused_input(node, None));
    boxed
}

/// Where an exchange comes from: a node, and its side output if it is one.
pub(crate) type From = (NodeId, Option<String>);

/// What an explicit or implied exchange is called in the plan.
pub(crate) struct ExchangeNode {
    pub(crate) operator: &'static str,
    pub(crate) ship: Ship,
    pub(crate) location: &'static std::panic::Location<'static>,
}

impl ExchangeNode {
    pub(crate) fn auto(location: &'static std::panic::Location<'static>) -> Self {
        ExchangeNode { operator: IMPLIED_EXCHANGE, ship: Ship::Auto, location }
    }
}

/// Ends `chain` with an exchange after node `from`; the result begins on the other side of it.
pub(crate) fn exchange<T: Send + 'static, C: Chain<T>, R: Route<T>>(
    chain: C,
    plan: &Plan,
    from: From,
    node: ExchangeNode,
    codec: Option<Codec<T>>,
    make_route: impl FnOnce(&mut BuildContext, EdgeId) -> R + Clone + Send + 'static,
) -> Boxed<T> {
    let (edge, head, hub) = add_exchange_stage(plan, from, &node, codec);
    chain.attach(plan, make_router(edge, codec, make_route));
    Boxed { hub, exchange: Some(head), plan: plan.clone(), _record: PhantomData }
}

impl<T: Send + 'static> Boxed<T> {
    /// The node of the exchange it was made by.
    pub(crate) fn exchange_node(&self) -> Option<NodeId> {
        self.exchange
    }
}

/// The stage on the other side of an exchange: a hub.
fn add_exchange_stage<T: Send + 'static>(
    plan: &Plan,
    (from, side_output): From,
    node: &ExchangeNode,
    codec: Option<Codec<T>>,
) -> (EdgeId, NodeId, HubId) {
    plan.with(|plan| {
        let edge = plan.new_edge();
        let input = PlanInput { from, side_output, port: 0, ship: node.ship, edge: Some(edge) };
        let head = plan.add_node(NewNode {
            kind: NodeKind::Operator,
            operator: node.operator,
            inputs: vec![input],
            keyed: false,
            location: node.location,
        });
        let hub = plan.add_hub::<T>();
        plan.add_gate::<T>(head, vec![edge], codec, make_hub_head::<T>(hub));
        (edge, head, hub)
    })
}

/// Ends `chain` with a broadcast after node `from`.
pub(crate) fn broadcast_exchange<T: Send + 'static, C: Chain<T>>(
    chain: C,
    plan: &Plan,
    from: From,
    node: ExchangeNode,
    codec: Option<Codec<T>>,
    clone: fn(&T) -> T,
) -> Boxed<T> {
    let (edge, head, hub) = add_exchange_stage(plan, from, &node, codec);
    chain.attach(plan, make_broadcast(edge, codec, clone));
    Boxed { hub, exchange: Some(head), plan: plan.clone(), _record: PhantomData }
}

fn make_broadcast<T: Send + 'static>(
    edge: EdgeId,
    codec: Option<Codec<T>>,
    clone: fn(&T) -> T,
) -> impl Make<Broadcast<T>> {
    move |context: &mut BuildContext| {
        let (own, lanes) = context.open_lanes::<T>(edge, codec)?;
        Ok(Broadcast::new(clone, own, lanes, context.stage.clone()))
    }
}

/// Ends `chain` in a new edge, for an operator with several inputs.
pub(crate) fn exchange_edge<T: Send + 'static, C: Chain<T>, R: Route<T>>(
    chain: C,
    plan: &Plan,
    make_route: impl FnOnce(&mut BuildContext, EdgeId) -> R + Clone + Send + 'static,
) -> EdgeId {
    let edge = plan.with(PlanBuilder::new_edge);
    chain.attach(plan, make_router::<T, R>(edge, None, make_route));
    edge
}

/// Registers a stage with two types of input.
pub(crate) fn two_inputs<A: Send + 'static, B: Send + 'static>(
    plan: &Plan,
    node: NodeId,
    first: (EdgeId, Option<Codec<A>>),
    second: (EdgeId, Option<Codec<B>>),
    make: impl Make<Box<dyn ConsumeTwo<A, B>>>,
) {
    let (first, second) = ((vec![first.0], first.1), (vec![second.0], second.1));
    plan.with(|plan| plan.add_two_port(node, first, second, make));
}

/// A hub as the head of a stage. With one consumer the fan-out is left out.
fn make_hub_head<T: Send + 'static>(hub: HubId) -> impl Make<Box<dyn Consume<T>>> {
    move |context: &mut BuildContext| context.open_hub_head::<T>(hub)
}

/// The router of an edge.
pub(crate) fn make_router<T: Send + 'static, R: Route<T>>(
    edge: EdgeId,
    codec: Option<Codec<T>>,
    make_route: impl FnOnce(&mut BuildContext, EdgeId) -> R + Clone + Send + 'static,
) -> impl Make<Router<T, R>> {
    move |context: &mut BuildContext| {
        let route = make_route(context, edge);
        let (own, lanes) = context.open_lanes::<T>(edge, codec)?;
        Ok(Router::new(route, own, lanes, context.stage.clone()))
    }
}

/// Forward or round robin, as the plan decided.
pub(crate) fn auto_route(context: &mut BuildContext, edge: EdgeId) -> ByPosition {
    let wiring = context.job.wiring.edge(edge);
    let subtask = context.stage.subtask;
    match wiring.ship {
        Ship::Forward => ByPosition::Fixed(Fixed(subtask)),
        Ship::Global => ByPosition::Fixed(Fixed(0)),
        _ => ByPosition::RoundRobin(RoundRobin::new(wiring.consumers_of(subtask), subtask)),
    }
}

/// A route that does not look at the record.
pub(crate) enum ByPosition {
    Fixed(Fixed),
    RoundRobin(RoundRobin),
}

impl<T: 'static> Route<T> for ByPosition {
    #[inline(always)]
    fn route(&mut self, record: &T) -> (usize, u32) {
        match self {
            ByPosition::Fixed(route) => route.route(record),
            ByPosition::RoundRobin(route) => route.route(record),
        }
    }
}

/// Makes the head of a stage on top of what follows it.
#[doc(hidden)]
pub(crate) trait HeadFactory<T>: Clone + Send + 'static {
    /// Records given.
    type Out: Send + 'static;
    /// Builds and opens it on its core.
    fn build<D: Push<Self::Out>>(
        self,
        context: &mut BuildContext,
        next: D,
    ) -> Result<Box<dyn Consume<T>>>;
}

/// The root of a chain at the head of a stage with one type of input: keyed operators, unions.
pub(crate) struct Head<B, T> {
    pub(crate) node: NodeId,
    pub(crate) edges: Vec<EdgeId>,
    pub(crate) codec: Option<Codec<T>>,
    pub(crate) factory: B,
}

fn make_head<T: Send + 'static, B: HeadFactory<T>, D: Push<B::Out>>(
    factory: B,
    make: impl Make<D>,
) -> impl Make<Box<dyn Consume<T>>> {
    move |context: &mut BuildContext| {
        let next = make(context)?;
        factory.build(context, next)
    }
}

impl<T: Send + 'static, B: HeadFactory<T>> Chain<B::Out> for Head<B, T> {
    type Isolated = Self;

    fn isolate(self, _: &Plan, _: NodeId) -> Self {
        self
    }

    fn attach<D: Push<B::Out>>(self, plan: &Plan, make: impl Make<D>) {
        let Head { node, edges, codec, factory } = self;
        let make = make_head(factory, make);
        plan.with(|plan| plan.add_gate::<T>(node, edges, codec, make));
    }
}
