//! Streams of several inputs: `union` and `connect`.

use crate::Result;
use crate::api::chain::{Chain, Head, HeadFactory, Plan, auto_route, exchange_edge, two_inputs};
use crate::api::keyed::KeyedStream;
use crate::api::operators::{Cloned, MakeFunction};
use crate::api::plan_builder::NewNode;
use crate::api::stream::DataStream;
use crate::exchange::gate::ConsumeTwo;
use crate::function::{
    CoFlatMapFunction, CoMapFunction, CoProcessFunction, KeySelector, KeyedCoProcessFunction,
    MapAsFlatMap, TwoClosures, UserFunction,
};
use crate::graph::{EdgeId, NodeId, NodeKind, PlanInput, Ship, UNION};
use crate::operator::build::{BuildContext, Make};
use crate::operator::co_function::{CoFlatMap, CoProcess};
use crate::operator::keyed::{KeyedOperator, KeyedOperatorTwo};
use crate::operator::keyed_process::KeyedProcess;
use crate::operator::opened::hooks;
use crate::operator::rich::Rich;
use crate::operator::unkeyed_services::UnkeyedServices;
use crate::operator::{Consume, Plain, Push};
use crate::record::Codec;
use std::marker::PhantomData;
use std::panic::Location;

/// Passes on what it gets: the head of a union.
pub(crate) struct PlainHead<T>(PhantomData<fn(T)>);
impl<T> Default for PlainHead<T> {
    fn default() -> Self {
        PlainHead(PhantomData)
    }
}
impl<T> Clone for PlainHead<T> {
    fn clone(&self) -> Self {
        PlainHead(PhantomData)
    }
}

impl<T: Send + 'static> HeadFactory<T> for PlainHead<T> {
    type Out = T;
    fn build<D: Push<T>>(self, context: &mut BuildContext, next: D) -> Result<Box<dyn Consume<T>>> {
        Ok(Box::new(Plain { next, stage: context.stage.clone(), is_counted: false }))
    }
}

/// A stream's end, connected to an edge of its own.
pub(crate) struct Connected<T> {
    pub(crate) input: PlanInput,
    codec: Option<Codec<T>>,
    edge: EdgeId,
}

impl<T: Send + 'static, C: Chain<T>> DataStream<T, C> {
    /// Connects the stream to the operator that `port` belongs to.
    pub(crate) fn connect_to(self, port: u8) -> Connected<T> {
        let edge = exchange_edge(self.chain, &self.plan, auto_route);
        let (from, side_output) = (self.node, self.side_output);
        let ship = self.plan.with(|plan| plan.ship_to_several(from));
        let input = PlanInput { from, side_output, port, ship, edge: Some(edge) };
        Connected { input, codec: None, edge }
    }

    /// The records of both streams, in no particular order between them; watermarks by minimum.
    ///
    /// Cost: an exchange for each input; no state.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let small = env.from_elements([1, 2]);
    /// let large = env.from_elements([100]);
    /// let all = small.union(large).collect();
    /// env.execute("union")?;
    /// let mut all = all.take();
    /// all.sort();
    /// assert_eq!(all, [1, 2, 100]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn union<C2: Chain<T>>(self, other: DataStream<T, C2>) -> DataStream<T, impl Chain<T>> {
        let (plan, location) = (self.plan.clone(), Location::caller());
        let inputs = vec![self.connect_to(0), other.connect_to(0)];
        union_of(plan, inputs, location)
    }

    /// [`union`](Self::union) of any number of boxed streams.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let one = env.from_elements([1]);
    /// let others = [2, 3].map(|n| env.from_elements([n]).boxed());
    /// let all = one.union_all(others).collect();
    /// env.execute("union")?;
    /// let mut all = all.take();
    /// all.sort();
    /// assert_eq!(all, [1, 2, 3]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn union_all(
        self,
        others: impl IntoIterator<Item = DataStream<T>>,
    ) -> DataStream<T, impl Chain<T>> {
        let (plan, location) = (self.plan.clone(), Location::caller());
        let mut inputs = vec![self.connect_to(0)];
        inputs.extend(others.into_iter().map(|other| other.connect_to(0)));
        union_of(plan, inputs, location)
    }

    /// Brings two streams together in one operator, each with its own type. A keyed stream is connected with a stream
    /// without keys as [`partitioned`](KeyedStream::partitioned).
    ///
    /// There is no order between the two sides; the watermark is the lower one of both. Cost: an exchange for each side.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let numbers = env.from_elements([1, 2]);
    /// let words = env.from_elements(["three".to_string()]);
    /// let lengths = numbers.connect(words).map(|n| n, |word| word.len()).collect();
    /// env.execute("lengths")?;
    /// let mut lengths = lengths.take();
    /// lengths.sort();
    /// assert_eq!(lengths, [1, 2, 5]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn connect<U: Send + 'static, C2: Chain<U>>(
        self,
        other: DataStream<U, C2>,
    ) -> ConnectedStreams<T, U> {
        let plan = self.plan.clone();
        ConnectedStreams { plan, first: self.connect_to(0), second: other.connect_to(1) }
    }
}

fn union_of<T: Send + 'static>(
    plan: Plan,
    inputs: Vec<Connected<T>>,
    location: &'static Location<'static>,
) -> DataStream<T, impl Chain<T>> {
    let edges = inputs.iter().map(|input| input.edge).collect();
    let inputs = inputs.into_iter().map(|input| input.input).collect();
    let new = NewNode { kind: NodeKind::Operator, operator: UNION, inputs, keyed: false, location };
    let node = plan.with(|plan| plan.add_node(new));
    let chain = Head { node, edges, codec: None, factory: PlainHead::<T>::default() };
    DataStream::new(plan, node, chain)
}

/// Two streams that meet in one operator. A side that was `key_by`'d or `broadcast` before is partitioned so.
#[must_use = "connected streams need an operator"]
pub struct ConnectedStreams<A, B> {
    pub(crate) plan: Plan,
    pub(crate) first: Connected<A>,
    pub(crate) second: Connected<B>,
}

impl<A: Send + 'static, B: Send + 'static> ConnectedStreams<A, B> {
    /// One record in, one record out, a closure for each side.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let numbers = env.from_elements([1, 2]);
    /// let words = env.from_elements(["three".to_string()]);
    /// let mixed = numbers.connect(words).map(|n| n.to_string(), |word| word).collect();
    /// env.execute("mixed")?;
    /// let mut mixed = mixed.take();
    /// mixed.sort();
    /// assert_eq!(mixed, ["1", "2", "three"]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn map<U, F, G>(self, first: F, second: G) -> DataStream<U, impl Chain<U>>
    where
        U: Send + 'static,
        F: FnMut(A) -> U + UserFunction,
        G: FnMut(B) -> U + UserFunction,
    {
        let closures = TwoClosures { first, second, types: PhantomData };
        self.function("co_map", Cloned(MapAsFlatMap(closures)), Location::caller())
    }

    /// One record in, one record out, with a rich function.
    ///
    /// An example is at [`CoMapFunction`]. Each subtask gets a clone of the function.
    #[track_caller]
    pub fn map_with<F>(self, function: F) -> DataStream<F::Out, impl Chain<F::Out>>
    where
        F: CoMapFunction<In1 = A, In2 = B, Out: Send + 'static> + UserFunction,
    {
        self.function("co_map", Cloned(MapAsFlatMap(function)), Location::caller())
    }

    /// One record in, any number out, with a rich function.
    ///
    /// An example is at [`CoFlatMapFunction`]. Each subtask gets a clone of the function, and fields of it are not shared.
    #[track_caller]
    pub fn flat_map_with<F>(self, function: F) -> DataStream<F::Out, impl Chain<F::Out>>
    where
        F: CoFlatMapFunction<In1 = A, In2 = B, Out: Send + 'static> + UserFunction,
    {
        self.function("co_flat_map", Cloned(function), Location::caller())
    }

    /// Sees the records of both sides with their time; emits any number of records, also to side outputs. See
    /// [`CoProcessFunction`].
    ///
    /// An example is at that trait. No keyed state and no timers: those need keys on both sides. Each subtask gets a clone of the
    /// function.
    #[track_caller]
    pub fn process<P>(self, function: P) -> DataStream<P::Out, impl Chain<P::Out>>
    where
        P: CoProcessFunction<In1 = A, In2 = B, Out: Send + 'static> + UserFunction,
    {
        self.process_as("co_process", function, Location::caller())
    }

    /// [`process`](Self::process) under the name of another operator.
    pub(crate) fn process_as<P>(
        self,
        operator: &'static str,
        function: P,
        location: &'static Location<'static>,
    ) -> DataStream<P::Out, impl Chain<P::Out> + use<A, B, P>>
    where
        P: CoProcessFunction<In1 = A, In2 = B, Out: Send + 'static> + UserFunction,
    {
        let (plan, node, first, second) = self.add_node(operator, false, location);
        plan.with(|plan| plan.allow_side_outputs(node));
        let factory = UnkeyedCoProcessFactory { function, node };
        let chain = TwoHead { node, first, second, factory };
        DataStream::new(plan, node, chain)
    }

    fn function<M>(
        self,
        operator: &'static str,
        make: M,
        location: &'static Location<'static>,
    ) -> DataStream<FunctionOut<M>, impl Chain<FunctionOut<M>>>
    where
        M: MakeFunction<Function: CoFlatMapFunction<In1 = A, In2 = B, Out: Send + 'static>>,
    {
        let (plan, node, first, second) = self.add_node(operator, false, location);
        let factory = CoFlatMapFactory { make, node };
        let chain = TwoHead { node, first, second, factory };
        DataStream::new(plan, node, chain)
    }

    #[expect(clippy::type_complexity, reason = "the two sides of a node, taken apart at once")]
    pub(crate) fn add_node(
        self,
        operator: &'static str,
        keyed: bool,
        location: &'static Location<'static>,
    ) -> (Plan, NodeId, (EdgeId, Option<Codec<A>>), (EdgeId, Option<Codec<B>>)) {
        let ConnectedStreams { plan, first, second } = self;
        let inputs = vec![first.input, second.input];
        let new = NewNode { kind: NodeKind::Operator, operator, inputs, keyed, location };
        let node = plan.with(|plan| plan.add_node(new));
        (plan, node, (first.edge, first.codec), (second.edge, second.codec))
    }
}

type FunctionOut<M> = <<M as MakeFunction>::Function as CoFlatMapFunction>::Out;

/// Makes the head of a stage with two inputs on top of what follows it.
pub(crate) trait TwoHeadFactory<A, B>: Clone + Send + 'static {
    type Out: Send + 'static;
    fn build<D: Push<Self::Out>>(
        self,
        context: &mut BuildContext,
        next: D,
    ) -> Result<Box<dyn ConsumeTwo<A, B>>>;
}

/// The root of a chain at a stage with two inputs.
pub(crate) struct TwoHead<F, A, B> {
    pub(crate) node: NodeId,
    pub(crate) first: (EdgeId, Option<Codec<A>>),
    pub(crate) second: (EdgeId, Option<Codec<B>>),
    pub(crate) factory: F,
}

impl<A: Send + 'static, B: Send + 'static, F: TwoHeadFactory<A, B>> Chain<F::Out>
    for TwoHead<F, A, B>
{
    type Isolated = Self;

    fn isolate(self, _: &Plan, _: NodeId) -> Self {
        self
    }

    fn attach<D: Push<F::Out>>(self, plan: &Plan, make: impl Make<D>) {
        let TwoHead { node, first, second, factory } = self;
        two_inputs(plan, node, first, second, make_two_head(factory, make));
    }
}

fn make_two_head<A: 'static, B: 'static, F: TwoHeadFactory<A, B>, D: Push<F::Out>>(
    factory: F,
    make: impl Make<D>,
) -> impl Make<Box<dyn ConsumeTwo<A, B>>> {
    move |context: &mut BuildContext| {
        let next = make(context)?;
        factory.build(context, next)
    }
}

#[derive(Clone)]
struct CoFlatMapFactory<M> {
    make: M,
    node: NodeId,
}

impl<A, B, M> TwoHeadFactory<A, B> for CoFlatMapFactory<M>
where
    A: 'static,
    B: 'static,
    M: MakeFunction<Function: CoFlatMapFunction<In1 = A, In2 = B, Out: Send + 'static>>,
{
    type Out = FunctionOut<M>;
    fn build<D: Push<Self::Out>>(
        self,
        context: &mut BuildContext,
        next: D,
    ) -> Result<Box<dyn ConsumeTwo<A, B>>> {
        let function = Rich::open(
            self.make.make(),
            context,
            self.node,
            |function, context| function.open(context),
            |function| function.close(),
            hooks!(),
        )?;
        Ok(Box::new(CoFlatMap { function, next }))
    }
}

#[derive(Clone)]
struct UnkeyedCoProcessFactory<P> {
    function: P,
    node: NodeId,
}

impl<P> TwoHeadFactory<P::In1, P::In2> for UnkeyedCoProcessFactory<P>
where
    P: CoProcessFunction<Out: Send + 'static> + UserFunction,
{
    type Out = P::Out;
    fn build<D: Push<P::Out>>(
        self,
        context: &mut BuildContext,
        next: D,
    ) -> Result<Box<dyn ConsumeTwo<P::In1, P::In2>>> {
        let UnkeyedCoProcessFactory { function, node } = self;
        let opened = UnkeyedServices::open(function, context, node, P::open, P::close, hooks!());
        let (function, services) = opened?;
        Ok(Box::new(CoProcess { function, next, services }))
    }
}

impl<A: Send + 'static, S1: KeySelector<A>> KeyedStream<A, S1> {
    pub(crate) fn connect_to(self, port: u8) -> (Connected<A>, S1, Plan) {
        let KeyedStream { plan, from, side_output, edge, codec, selector } = self;
        let input = PlanInput { from, side_output, port, ship: Ship::Hash, edge: Some(edge) };
        (Connected { input, codec, edge }, selector, plan)
    }

    /// Brings two keyed streams together: records of one key meet in one subtask and share its state.
    ///
    /// Both keys must be of one type. [`KeyedCoProcessFunction`] has an example with state and timers. Cost: the two exchanges that
    /// `key_by` asked for.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let clicks = env.from_elements([('a', 1), ('b', 2)]).key_by(|click| click.0);
    /// let views = env.from_elements([('a', 3)]).key_by(|view| view.0);
    /// let all = clicks.connect(views).map(|click| click.1, |view| view.1).collect();
    /// env.execute("clicks and views")?;
    /// let mut all = all.take();
    /// all.sort();
    /// assert_eq!(all, [1, 2, 3]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn connect<B, S2>(self, other: KeyedStream<B, S2>) -> KeyedConnectedStreams<A, B, S1, S2>
    where
        B: Send + 'static,
        S2: KeySelector<B, Key = S1::Key>,
    {
        let (first, selector1, plan) = self.connect_to(0);
        let (second, selector2, _) = other.connect_to(1);
        let streams = ConnectedStreams { plan, first, second };
        KeyedConnectedStreams { streams, selectors: (selector1, selector2) }
    }
}

/// Two keyed streams that meet in one operator.
#[must_use = "connected streams need an operator"]
pub struct KeyedConnectedStreams<A, B, S1, S2> {
    streams: ConnectedStreams<A, B>,
    selectors: (S1, S2),
}

impl<A, B, S1, S2> KeyedConnectedStreams<A, B, S1, S2>
where
    A: Send + 'static,
    B: Send + 'static,
    S1: KeySelector<A>,
    S2: KeySelector<B, Key = S1::Key>,
{
    /// Processes both streams with shared keyed state and timers.
    ///
    /// An example is at [`KeyedCoProcessFunction`]. Cost: one row for each key with state or timers, which both sides share, and two
    /// entries of 16 bytes a timer.
    #[track_caller]
    pub fn process<P>(self, function: P) -> DataStream<P::Out, impl Chain<P::Out>>
    where
        P: KeyedCoProcessFunction<Key = S1::Key, In1 = A, In2 = B, Out: Send + 'static>
            + UserFunction,
    {
        self.process_as("co_process", function, Location::caller())
    }

    /// [`process`](Self::process) under the name of the operator that `function` is.
    pub(crate) fn process_as<P>(
        self,
        operator: &'static str,
        function: P,
        location: &'static Location<'static>,
    ) -> DataStream<P::Out, impl Chain<P::Out>>
    where
        P: KeyedCoProcessFunction<Key = S1::Key, In1 = A, In2 = B, Out: Send + 'static>
            + UserFunction,
    {
        self.head(operator, location, |node, selectors| CoProcessFactory {
            function,
            selectors,
            node,
        })
    }

    /// Puts a keyed operator with two inputs at the head of a stage.
    pub(crate) fn head<F: TwoHeadFactory<A, B>>(
        self,
        operator: &'static str,
        location: &'static Location<'static>,
        make: impl FnOnce(NodeId, (S1, S2)) -> F,
    ) -> DataStream<F::Out, TwoHead<F, A, B>> {
        let KeyedConnectedStreams { streams, selectors } = self;
        let (plan, node, first, second) = streams.add_node(operator, true, location);
        plan.with(|plan| plan.allow_side_outputs(node));
        let chain = TwoHead { node, first, second, factory: make(node, selectors) };
        DataStream::new(plan, node, chain)
    }

    /// One record in, one record out, a closure for each side; records of one key meet in one subtask.
    ///
    /// No keyed state. [`KeyedStream::connect`] has an example.
    #[track_caller]
    pub fn map<U, F, G>(self, first: F, second: G) -> DataStream<U, impl Chain<U>>
    where
        U: Send + 'static,
        F: FnMut(A) -> U + UserFunction,
        G: FnMut(B) -> U + UserFunction,
    {
        self.streams.map(first, second)
    }

    /// One record in, any number out, with a rich function; records of one key meet in one subtask.
    ///
    /// No keyed state. An example is at [`CoFlatMapFunction`].
    #[track_caller]
    pub fn flat_map_with<F>(self, function: F) -> DataStream<F::Out, impl Chain<F::Out>>
    where
        F: CoFlatMapFunction<In1 = A, In2 = B, Out: Send + 'static> + UserFunction,
    {
        self.streams.flat_map_with(function)
    }
}

#[derive(Clone)]
struct CoProcessFactory<P, S1, S2> {
    function: P,
    selectors: (S1, S2),
    node: NodeId,
}

impl<P, S1, S2> TwoHeadFactory<P::In1, P::In2> for CoProcessFactory<P, S1, S2>
where
    P: KeyedCoProcessFunction<Out: Send + 'static> + UserFunction,
    S1: KeySelector<P::In1, Key = P::Key>,
    S2: KeySelector<P::In2, Key = P::Key>,
{
    type Out = P::Out;
    fn build<D: Push<P::Out>>(
        self,
        context: &mut BuildContext,
        next: D,
    ) -> Result<Box<dyn ConsumeTwo<P::In1, P::In2>>> {
        let CoProcessFactory { function, selectors, node } = self;
        let logic = KeyedProcess::open_two(function, selectors, context, node)?;
        Ok(Box::new(KeyedOperatorTwo(KeyedOperator::new(logic, next, context.stage.clone()))))
    }
}
