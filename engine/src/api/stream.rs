//! [`DataStream`]: a stream of records and what can be done with it.

use crate::Result;
use crate::api::chain::{Boxed, Chain, ExchangeNode, From, Plan, Then, auto_route, exchange};
use crate::api::operators::{
    Cloned, Fallible, FallibleFlatMap, FilterFactory, FilterWithFactory, FlatMapFactory,
    FlatMapWithFactory, Made, MapFactory, MapWithFactory, ProcessFactory,
};
use crate::exchange::partitioner::{Custom, Shuffle};
use crate::function::{
    FilterFunction, FlatMapFunction, MapFunction, OutputTag, ProcessFunction, UserFunction,
};
use crate::graph::{BROADCAST_EXCHANGE, Chaining, NodeId, Ship, Transformation};
use crate::record::Record;
use std::marker::PhantomData;
use std::panic::Location;

/// A stream of records of type `T`.
///
/// `C` is the chain of operators that make it; signatures hide it behind [`Chain`]:
/// `fn clean(s: DataStream<Bid, impl Chain<Bid>>) -> DataStream<Bid, impl Chain<Bid>>`. A [`boxed`](Self::boxed) stream has
/// none and can be cloned, which is how one stream feeds several consumers.
///
/// Methods only write the plan; mistakes are reported by `execute`, all at once.
#[must_use = "a stream does nothing until it ends in a sink"]
pub struct DataStream<T, C = Boxed<T>> {
    pub(crate) plan: Plan,
    /// What the next operator is connected to: the operator, or an exchange behind it.
    pub(crate) node: NodeId,
    /// The operator that `name` and its kin speak of.
    pub(crate) operator: NodeId,
    /// Set on a stream that was read from a side output of `node`.
    pub(crate) side_output: Option<String>,
    pub(crate) chain: C,
    pub(crate) _record: PhantomData<fn() -> T>,
}

impl<T, C: Clone> Clone for DataStream<T, C> {
    fn clone(&self) -> Self {
        let (plan, chain, _record) = (self.plan.clone(), self.chain.clone(), PhantomData);
        let (node, operator, side_output) = (self.node, self.operator, self.side_output.clone());
        DataStream { plan, node, operator, side_output, chain, _record }
    }
}

impl<T, C> DataStream<T, C> {
    pub(crate) fn new(plan: Plan, node: NodeId, chain: C) -> Self {
        DataStream { plan, node, operator: node, side_output: None, chain, _record: PhantomData }
    }

    /// The operator alone, to ask it for side outputs where the type of its chain does not matter.
    pub(crate) fn without_chain<U>(&self) -> DataStream<U, ()> {
        DataStream { operator: self.operator, ..DataStream::new(self.plan.clone(), self.node, ()) }
    }

    /// See [`side_output`](Self::side_output).
    #[track_caller]
    pub(crate) fn read_side<X: Clone + Send + 'static>(&self, tag: &OutputTag<X>) -> DataStream<X> {
        let (operator, location) = (self.operator, Location::caller());
        let hub =
            self.plan.with(|plan| plan.side_hub::<X>(operator, tag.name(), X::clone, location));
        let mut stream = DataStream::new(self.plan.clone(), operator, Boxed::at(hub, &self.plan));
        stream.side_output = Some(tag.name().to_owned());
        stream
    }
}

type Mapped<C, F, T, U> = Then<C, MapFactory<F, T, U>, T>;

impl<T: Send + 'static, C: Chain<T>> DataStream<T, C> {
    /// Puts an operator on top.
    pub(crate) fn then<B: crate::api::chain::OperatorFactory<T>>(
        self,
        operator: &'static str,
        location: &'static Location<'static>,
        make: impl FnOnce(NodeId) -> B,
    ) -> DataStream<B::Out, Then<C, B, T>> {
        let node = self
            .plan
            .with(|plan| plan.add_fused(operator, self.node, self.side_output.clone(), location));
        let chain = Then { up: self.chain, factory: make(node), _in: PhantomData };
        DataStream::new(self.plan, node, chain)
    }

    /// One record in, one record out.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// let doubled = env.from_elements([1, 2, 3]).map(|x| x * 2).collect();
    /// env.execute("double")?;
    /// assert_eq!(doubled.take(), [2, 4, 6]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn map<U: Send + 'static, F>(self, function: F) -> DataStream<U, impl Chain<U>>
    where
        F: FnMut(T) -> U + UserFunction,
    {
        let make = |node| MapFactory { function, node, types: PhantomData };
        let mapped: DataStream<U, Mapped<C, F, T, U>> = self.then("map", Location::caller(), make);
        mapped
    }

    /// [`map`](Self::map) with a closure that may fail; an error fails the job and names the operator and the record.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let numbers = env.from_elements(["1", "2"].map(String::from)).try_map(|word| Ok(word.parse::<i32>()?)).collect();
    /// env.execute("parse")?;
    /// assert_eq!(numbers.take(), [1, 2]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn try_map<U: Send + 'static, F>(self, function: F) -> DataStream<U, impl Chain<U>>
    where
        F: FnMut(T) -> Result<U> + UserFunction,
    {
        let make = Cloned(Fallible { function, types: PhantomData });
        self.then("map", Location::caller(), |node| MapWithFactory { make, node })
    }

    /// [`map`](Self::map) with a rich function; each subtask gets a clone.
    ///
    /// An example is at [`MapFunction`].
    #[track_caller]
    pub fn map_with<F>(self, function: F) -> DataStream<F::Out, impl Chain<F::Out>>
    where
        F: MapFunction<In = T, Out: Send + 'static> + UserFunction,
    {
        let make = Cloned(function);
        self.then("map", Location::caller(), |node| MapWithFactory { make, node })
    }

    /// [`map_with`](Self::map_with) for functions that are neither `Clone` nor `Send`: each subtask calls `factory` on its core.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    /// use std::{cell::Cell, rc::Rc};
    ///
    /// /// What it holds cannot leave its core.
    /// struct Numbered { count: Rc<Cell<u64>> }
    ///
    /// impl MapFunction for Numbered {
    ///     type In = i32;
    ///     type Out = (u64, i32);
    ///     fn map(&mut self, record: i32) -> thalweg::Result<(u64, i32)> {
    ///         self.count.set(self.count.get() + 1);
    ///         Ok((self.count.get(), record))
    ///     }
    /// }
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let counted = env
    ///     .from_elements([7, 7])
    ///     .map_with_factory(|| Numbered { count: Rc::new(Cell::new(0)) })
    ///     .collect();
    /// env.execute("numbered")?;
    /// assert_eq!(counted.take(), [(1, 7), (2, 7)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn map_with_factory<F, M>(self, factory: M) -> DataStream<F::Out, impl Chain<F::Out>>
    where
        F: MapFunction<In = T, Out: Send + 'static>,
        M: FnOnce() -> F + UserFunction,
    {
        let make = Made { make: factory, types: PhantomData };
        self.then("map", Location::caller(), |node| MapWithFactory { make, node })
    }

    /// Keeps the records for which `function` is true.
    ///
    /// Fused with its neighbours: it costs what the closure costs.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let even = env.from_elements([1, 2, 3, 4]).filter(|n| n % 2 == 0).collect();
    /// env.execute("even")?;
    /// assert_eq!(even.take(), [2, 4]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn filter<F>(self, function: F) -> DataStream<T, impl Chain<T>>
    where
        F: FnMut(&T) -> bool + UserFunction,
    {
        let make = |node| FilterFactory { function, node, types: PhantomData };
        self.then("filter", Location::caller(), make)
    }

    /// [`filter`](Self::filter) with a closure that may fail.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let large = env
    ///     .from_elements(["1", "20"].map(String::from))
    ///     .try_filter(|word| Ok(word.parse::<i32>()? > 9))
    ///     .collect();
    /// env.execute("large")?;
    /// assert_eq!(large.take(), ["20"]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn try_filter<F>(self, function: F) -> DataStream<T, impl Chain<T>>
    where
        F: FnMut(&T) -> Result<bool> + UserFunction,
    {
        let make = Cloned(Fallible { function, types: PhantomData });
        self.then("filter", Location::caller(), |node| FilterWithFactory { make, node })
    }

    /// [`filter`](Self::filter) with a rich function; each subtask gets a clone.
    ///
    /// An example is at [`FilterFunction`].
    #[track_caller]
    pub fn filter_with<F>(self, function: F) -> DataStream<T, impl Chain<T>>
    where
        F: FilterFunction<In = T> + UserFunction,
    {
        let make = Cloned(function);
        self.then("filter", Location::caller(), |node| FilterWithFactory { make, node })
    }

    /// [`filter_with`](Self::filter_with) made by each subtask on its core.
    ///
    /// [`map_with_factory`](Self::map_with_factory) has an example.
    #[track_caller]
    pub fn filter_with_factory<F, M>(self, factory: M) -> DataStream<T, impl Chain<T>>
    where
        F: FilterFunction<In = T>,
        M: FnOnce() -> F + UserFunction,
    {
        let make = Made { make: factory, types: PhantomData };
        self.then("filter", Location::caller(), |node| FilterWithFactory { make, node })
    }

    /// One record in, any number out. The iterator is pulled as there is room downstream, so it may be long, even endless.
    ///
    /// Fused with its neighbours: it costs what the closure costs.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let numbers = env.from_elements([2, 0, 3]).flat_map(|n| 0..n).collect();
    /// env.execute("ranges")?;
    /// assert_eq!(numbers.take(), [0, 1, 0, 1, 2]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn flat_map<I, F>(self, function: F) -> DataStream<I::Item, impl Chain<I::Item>>
    where
        I: IntoIterator<Item: Send + 'static> + 'static,
        F: FnMut(T) -> I + UserFunction,
    {
        let make = |node| FlatMapFactory { function, node, types: PhantomData };
        self.then("flat_map", Location::caller(), make)
    }

    /// [`flat_map`](Self::flat_map) with a closure that may fail; what one call returns is emitted at once.
    ///
    /// Costs memory for what one call returns, however many those are.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let numbers = env
    ///     .from_elements(["1 2", "3"].map(String::from))
    ///     .try_flat_map(|line| Ok(line.split(' ').map(str::parse).collect::<Result<Vec<i32>, _>>()?))
    ///     .collect();
    /// env.execute("numbers")?;
    /// assert_eq!(numbers.take(), [1, 2, 3]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn try_flat_map<I, F>(self, function: F) -> DataStream<I::Item, impl Chain<I::Item>>
    where
        I: IntoIterator<Item: Send + 'static> + 'static,
        F: FnMut(T) -> Result<I> + UserFunction,
    {
        let make = Cloned(FallibleFlatMap { function, types: PhantomData });
        self.then("flat_map", Location::caller(), |node| FlatMapWithFactory { make, node })
    }

    /// [`flat_map`](Self::flat_map) with a rich function that collects; each subtask gets a clone.
    ///
    /// An example is at [`FlatMapFunction`].
    #[track_caller]
    pub fn flat_map_with<F>(self, function: F) -> DataStream<F::Out, impl Chain<F::Out>>
    where
        F: FlatMapFunction<In = T, Out: Send + 'static> + UserFunction,
    {
        let make = Cloned(function);
        self.then("flat_map", Location::caller(), |node| FlatMapWithFactory { make, node })
    }

    /// [`flat_map_with`](Self::flat_map_with) made by each subtask on its core.
    ///
    /// [`map_with_factory`](Self::map_with_factory) has an example.
    #[track_caller]
    pub fn flat_map_with_factory<F, M>(self, factory: M) -> DataStream<F::Out, impl Chain<F::Out>>
    where
        F: FlatMapFunction<In = T, Out: Send + 'static>,
        M: FnOnce() -> F + UserFunction,
    {
        let make = Made { make: factory, types: PhantomData };
        self.then("flat_map", Location::caller(), |node| FlatMapWithFactory { make, node })
    }

    /// Sees each record with its time; emits any number of records, also to side outputs.
    ///
    /// An example is at [`ProcessFunction`]. No keyed state and no timers: those are of
    /// [keyed streams](crate::api::KeyedStream::process). Fused with its neighbours; each subtask gets a clone of the function.
    #[track_caller]
    pub fn process<P>(self, function: P) -> DataStream<P::Out, impl Chain<P::Out>>
    where
        P: ProcessFunction<In = T, Out: Send + 'static> + UserFunction,
    {
        let stream =
            self.then("process", Location::caller(), |node| ProcessFactory { function, node });
        stream.plan.with(|plan| plan.allow_side_outputs(stream.operator));
        stream
    }

    /// What this operator emits to the side output `tag`. Ask the operator itself, before the next one is put on top.
    ///
    /// Processing functions, windows and joins have side outputs; asking others is a mistake that `execute` reports. A
    /// record costs a virtual call; without a reader it is dropped.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let late = OutputTag::new("late");
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let windows = env
    ///     .from_elements([5_i64, 12, 3])
    ///     .assign_timestamps_and_watermarks(
    ///         WatermarkStrategy::punctuated(|at: &i64, _| Some(at - 1)).with_timestamp(|at: &i64| *at),
    ///     )
    ///     .key_by(|_| 0_u8)
    ///     .window(TumblingEventTimeWindows::of(milliseconds(10)))
    ///     .side_output_late_data(&late)
    ///     .aggregate(Count);
    /// let late = windows.side_output(&late).collect();
    /// let counts = windows.collect();
    /// env.execute("counts")?;
    /// assert_eq!(counts.take(), [1, 1]);
    /// assert_eq!(late.take(), [3]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn side_output<X: Clone + Send + 'static>(&self, tag: &OutputTag<X>) -> DataStream<X> {
        self.read_side(tag)
    }

    /// Erases the chain: one virtual call a batch from here on. The stream can then be cloned (if its records can) and so feed
    /// several consumers; what is upstream runs once. It also cuts the depth of types in very long chains.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let numbers = env.from_elements([1, 2]).boxed();
    /// let doubled = numbers.clone().map(|n| 2 * n).collect();
    /// let squared = numbers.map(|n| n * n).collect();
    /// env.execute("two consumers")?;
    /// assert_eq!(doubled.take(), [2, 4]);
    /// assert_eq!(squared.take(), [1, 4]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn boxed(self) -> DataStream<T> {
        let DataStream { plan, node, operator, side_output, chain, _record } = self;
        let chain = chain.into_boxed(&plan);
        DataStream { plan, node, operator, side_output, chain, _record }
    }

    fn through(self, node: ExchangeNode, route: impl ExchangeRoute<T>) -> DataStream<T>
    where
        T: Record,
    {
        let boxed = route.exchange(self.chain, &self.plan, (self.node, self.side_output), node);
        let node = boxed.exchange_node().expect("made by an exchange");
        DataStream::new(self.plan, node, boxed)
    }

    /// Round robin over all consumers.
    ///
    /// Evens out what the producers give unevenly. Costs an exchange of all with all.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(2);
    /// let doubled = env.from_elements([1, 2, 3]).rebalance().map(|n| 2 * n).collect();
    /// env.execute("doubled")?;
    /// let mut doubled = doubled.take();
    /// doubled.sort();
    /// assert_eq!(doubled, [2, 4, 6]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn rebalance(self) -> DataStream<T>
    where
        T: Record,
    {
        let location = Location::caller();
        self.through(
            ExchangeNode { operator: "rebalance", ship: Ship::Rebalance, location },
            ByPlan,
        )
    }

    /// Round robin over the consumers nearest to each producer.
    ///
    /// Where one parallelism is a multiple of the other each producer has consumers of its own; costs fewer channels than
    /// [`rebalance`](Self::rebalance).
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(2);
    /// let doubled = env.from_elements([1, 2, 3]).rescale().map(|n| 2 * n).collect();
    /// env.execute("doubled")?;
    /// let mut doubled = doubled.take();
    /// doubled.sort();
    /// assert_eq!(doubled, [2, 4, 6]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn rescale(self) -> DataStream<T>
    where
        T: Record,
    {
        let location = Location::caller();
        self.through(ExchangeNode { operator: "rescale", ship: Ship::Rescale, location }, ByPlan)
    }

    /// Subtask i to subtask i; the parallelism on both sides must be equal.
    ///
    /// Parallelisms that differ are a mistake that `execute` reports. Cheapest of all exchanges: no record changes its core.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let doubled = env.from_elements([1, 2, 3]).forward().map(|n| 2 * n).collect();
    /// env.execute("doubled")?;
    /// let mut doubled = doubled.take();
    /// doubled.sort();
    /// assert_eq!(doubled, [2, 4, 6]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn forward(self) -> DataStream<T>
    where
        T: Record,
    {
        let location = Location::caller();
        self.through(ExchangeNode { operator: "forward", ship: Ship::Forward, location }, ByPlan)
    }

    /// All records to the first consumer.
    ///
    /// Does not scale: one subtask gets everything, the others nothing.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(2);
    /// let doubled = env.from_elements([1, 2, 3]).global().map(|n| 2 * n).collect();
    /// env.execute("doubled")?;
    /// let mut doubled = doubled.take();
    /// doubled.sort();
    /// assert_eq!(doubled, [2, 4, 6]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn global(self) -> DataStream<T>
    where
        T: Record,
    {
        let location = Location::caller();
        self.through(ExchangeNode { operator: "global", ship: Ship::Global, location }, ByPlan)
    }

    /// To a random consumer; the choice is drawn from the job's seed.
    ///
    /// Costs a random number a record and an exchange of all with all; the same seed draws the same choices.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(2);
    /// let doubled = env.from_elements([1, 2, 3]).shuffle().map(|n| 2 * n).collect();
    /// env.execute("doubled")?;
    /// let mut doubled = doubled.take();
    /// doubled.sort();
    /// assert_eq!(doubled, [2, 4, 6]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn shuffle(self) -> DataStream<T>
    where
        T: Record,
    {
        let location = Location::caller();
        self.through(ExchangeNode { operator: "shuffle", ship: Ship::Shuffle, location }, ByChance)
    }

    /// `function` gives the index of the consumer from the record and the number of consumers. An index out of range
    /// fails the job.
    ///
    /// Costs a call of `function` a record and an exchange of all with all. Records of a key meet, but there is no keyed state.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(2);
    /// let doubled = env
    ///     .from_elements([1_usize, 2, 3])
    ///     .partition_custom(|n, consumers| n % consumers)
    ///     .map(|n| 2 * n)
    ///     .collect();
    /// env.execute("doubled")?;
    /// let mut doubled = doubled.take();
    /// doubled.sort();
    /// assert_eq!(doubled, [2, 4, 6]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn partition_custom<F>(self, function: F) -> DataStream<T>
    where
        T: Record,
        F: FnMut(&T, usize) -> usize + UserFunction,
    {
        let location = Location::caller();
        let node = ExchangeNode { operator: "partition_custom", ship: Ship::Custom, location };
        let operator = self.node;
        self.through(node, ByUser { function, operator })
    }

    /// Each record to every consumer. What follows runs on all of them; as the second stream of
    /// [`connect_broadcast`](Self::connect_broadcast) it brings rules to every subtask. Costs one copy of the record a consumer.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(2);
    /// let seen = env.from_elements([1, 2]).broadcast().map(|n| n).collect();
    /// env.execute("to both")?;
    /// let mut seen = seen.take();
    /// seen.sort();
    /// assert_eq!(seen, [1, 1, 2, 2]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn broadcast(self) -> DataStream<T>
    where
        T: Record + Clone,
    {
        let location = Location::caller();
        let node = ExchangeNode { operator: BROADCAST_EXCHANGE, ship: Ship::Broadcast, location };
        self.through(node, ToAll { clone: T::clone })
    }

    /// Names the operator, for graphs, metrics and errors.
    pub fn name(self, name: impl Into<String>) -> Self {
        self.plan.with(|plan| plan.node(self.operator).name = Some(name.into()));
        self
    }

    /// Gives the operator a stable id, by which its state is found in savepoints. Unique in the job.
    pub fn uid(self, uid: impl Into<String>) -> Self {
        self.plan.with(|plan| plan.node(self.operator).uid = Some(uid.into()));
        self
    }

    /// Number of key groups of the operator: the most it can ever be rescaled to.
    pub fn set_max_parallelism(self, max_parallelism: usize) -> Self {
        self.plan.with(|plan| {
            plan.set_on_stage(self.operator, |node| node.max_parallelism = Some(max_parallelism));
        });
        self
    }

    /// Number of parallel instances of the operator. Where it differs from its neighbours' records are exchanged.
    ///
    /// Where it does not differ it costs nothing; an exchange keeps no order between its producers.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let doubled = env.from_elements([1, 2, 3]).map(|n| 2 * n).set_parallelism(2).collect();
    /// env.execute("by two")?;
    /// let mut doubled = doubled.take();
    /// doubled.sort();
    /// assert_eq!(doubled, [2, 4, 6]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn set_parallelism(self, parallelism: usize) -> DataStream<T> {
        self.separate(move |node| node.parallelism = Some(parallelism))
    }

    /// Operators of one group share slots; another group gets slots of its own.
    pub fn slot_sharing_group(self, group: impl Into<String>) -> DataStream<T> {
        let group = group.into();
        self.separate(move |node| node.slot_sharing_group = Some(group.clone()))
    }

    /// The operator is not chained to its neighbours.
    pub fn disable_chaining(self) -> DataStream<T> {
        self.separate(|node| node.chaining = Chaining::Never)
    }

    /// The operator is not chained to the one before it.
    pub fn start_new_chain(self) -> DataStream<T> {
        self.separate(|node| node.chaining = Chaining::Head)
    }

    /// Puts exchanges around the operator, which become nothing where planning finds that they are not needed.
    fn separate(self, set: impl Fn(&mut Transformation)) -> DataStream<T> {
        let DataStream { plan, node, operator, side_output, chain, _record } = self;
        if node != operator {
            plan.with(|builder| builder.set_on_stage(operator, set));
            let chain = chain.into_boxed(&plan);
            return DataStream { plan, node, operator, side_output, chain, _record };
        }
        let chain = chain.isolate(&plan, operator);
        let location = plan.with(|builder| {
            builder.set_on_stage(operator, set);
            builder.node(operator).location
        });
        let exchange_node = ExchangeNode::auto(location);
        let from = (operator, side_output);
        let chain = exchange(chain, &plan, from, exchange_node, None, auto_route);
        let node = chain.exchange_node().expect("made by an exchange");
        DataStream { plan, node, operator, side_output: None, chain, _record }
    }
}

/// How an explicit partitioner makes its exchange.
trait ExchangeRoute<T: Send + 'static> {
    fn exchange<C: Chain<T>>(
        self,
        chain: C,
        plan: &Plan,
        from: From,
        node: ExchangeNode,
    ) -> Boxed<T>;
}

struct ByPlan;
impl<T: Record> ExchangeRoute<T> for ByPlan {
    fn exchange<C: Chain<T>>(
        self,
        chain: C,
        plan: &Plan,
        from: From,
        node: ExchangeNode,
    ) -> Boxed<T> {
        exchange(chain, plan, from, node, T::codec(), auto_route)
    }
}

struct ByChance;
impl<T: Record> ExchangeRoute<T> for ByChance {
    fn exchange<C: Chain<T>>(
        self,
        chain: C,
        plan: &Plan,
        from: From,
        node: ExchangeNode,
    ) -> Boxed<T> {
        exchange(chain, plan, from, node, T::codec(), |context, edge| {
            let consumers = context.job.wiring.edge(edge).consumers();
            Shuffle::new(context.job.seed, context.stage.subtask, consumers)
        })
    }
}

struct ByUser<F> {
    function: F,
    operator: NodeId,
}
impl<T: Record, F: FnMut(&T, usize) -> usize + UserFunction> ExchangeRoute<T> for ByUser<F> {
    fn exchange<C: Chain<T>>(
        self,
        chain: C,
        plan: &Plan,
        from: From,
        node: ExchangeNode,
    ) -> Boxed<T> {
        let ByUser { function, operator } = self;
        exchange(chain, plan, from, node, T::codec(), move |context, edge| {
            let lanes = context.job.wiring.edge(edge).consumers();
            Custom { function, lanes, stage: context.stage.clone(), node: operator }
        })
    }
}

struct ToAll<T> {
    clone: fn(&T) -> T,
}
impl<T: Record> ExchangeRoute<T> for ToAll<T> {
    fn exchange<C: Chain<T>>(
        self,
        chain: C,
        plan: &Plan,
        from: From,
        node: ExchangeNode,
    ) -> Boxed<T> {
        crate::api::chain::broadcast_exchange(chain, plan, from, node, T::codec(), self.clone)
    }
}
