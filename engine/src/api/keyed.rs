//! [`KeyedStream`]: a stream partitioned by a key, with state for each key.

use crate::Result;
use crate::api::chain::{Chain, Head, HeadFactory, Plan, make_router};
use crate::api::connected::PlainHead;
use crate::api::operators::{Cloned, Made, MakeFunction};
use crate::api::plan_builder::{NewNode, PARTITIONED_EXCHANGE};
use crate::api::stream::DataStream;
use crate::exchange::router::Route;
use crate::function::{ByReference, ByValue, KeySelector, KeyedProcessFunction, UserFunction};
use crate::graph::{EdgeId, NodeId, NodeKind, PlanInput, Ship};
use crate::operator::build::BuildContext;
use crate::operator::keyed::{KeyedOperator, Logic};
use crate::operator::keyed_process::KeyedProcess;
use crate::operator::scan::Scan;
use crate::operator::{Consume, Push, StageContext, UserCall};
use crate::record::{Codec, Record};
use std::marker::PhantomData;
use std::panic::Location;
use std::rc::Rc;
use thalweg_state::{Key, StateValue, key_group_of, subtask_of};

/// A stream partitioned by a key: all records of a key go to the same subtask, in order.
///
/// The types of everything upstream end here, so jobs of any length compile.
#[must_use = "a stream does nothing until it ends in a sink"]
pub struct KeyedStream<T, S> {
    pub(crate) plan: Plan,
    pub(crate) from: NodeId,
    pub(crate) side_output: Option<String>,
    pub(crate) edge: EdgeId,
    pub(crate) codec: Option<Codec<T>>,
    pub(crate) selector: S,
}

/// Chooses the subtask by the key's group.
pub(crate) struct HashRoute<S> {
    selector: S,
    parallelism: u16,
    max_parallelism: u16,
    stage: Rc<StageContext>,
    node: NodeId,
}

impl<T: 'static, S: KeySelector<T>> Route<T> for HashRoute<S> {
    #[inline(always)]
    fn route(&mut self, record: &T) -> (usize, u32) {
        let call = UserCall::begin(&self.stage, &self.node);
        let hash = self.selector.with_key(record, |key| key.key_hash());
        call.end();
        if self.parallelism == 1 {
            return (0, hash.as_u32());
        }
        let group = key_group_of(hash, self.max_parallelism);
        (subtask_of(group, self.max_parallelism, self.parallelism) as usize, hash.as_u32())
    }
}

impl<T: Send + 'static, C: Chain<T>> DataStream<T, C> {
    /// Partitions the stream by the key that `selector` returns.
    ///
    /// `selector` must give the same key for the same record each time; it is called once before the exchange and once behind it.
    /// Cost: that, a hash, and an exchange of all with all.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let counts = env
    ///     .from_elements([1, 2, 3])
    ///     .key_by(|n| n % 2)
    ///     .scan(0, |count, n| {
    ///         *count += 1;
    ///         (n, *count)
    ///     })
    ///     .collect();
    /// env.execute("odd and even")?;
    /// assert_eq!(counts.take(), [(1, 1), (2, 1), (3, 2)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn key_by<K, F>(self, selector: F) -> KeyedStream<T, ByValue<F, K>>
    where
        T: Record,
        K: Key,
        F: FnMut(&T) -> K + UserFunction,
    {
        self.key_by_selector(ByValue::new(selector))
    }

    /// Partitions the stream by a key inside the record: no clone a record, which pays for `String` keys.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let words = env
    ///     .from_elements(["to", "be", "to"].map(String::from))
    ///     .key_by_ref(|word| word)
    ///     .scan(0, |count, word| {
    ///         *count += 1;
    ///         (word, *count)
    ///     })
    ///     .collect();
    /// env.execute("words")?;
    /// assert_eq!(words.take().last(), Some(&("to".to_string(), 2)));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn key_by_ref<K, F>(self, selector: F) -> KeyedStream<T, ByReference<F, K>>
    where
        T: Record,
        K: Key,
        F: FnMut(&T) -> &K + UserFunction,
    {
        self.key_by_selector(ByReference::new(selector))
    }

    pub(crate) fn key_by_selector<S: KeySelector<T>>(self, selector: S) -> KeyedStream<T, S>
    where
        T: Record,
    {
        let DataStream { plan, node: from, side_output, chain, .. } = self;
        let edge = plan.with(|plan| plan.new_edge());
        let codec = T::codec();
        chain.attach(&plan, make_router(edge, codec, make_hash_route(selector.clone(), from)));
        KeyedStream { plan, from, side_output, edge, codec, selector }
    }
}

fn make_hash_route<S: UserFunction>(
    selector: S,
    node: NodeId,
) -> impl FnOnce(&mut BuildContext, EdgeId) -> HashRoute<S> + Clone + Send + 'static {
    move |context: &mut BuildContext, edge| {
        let wiring = context.job.wiring.edge(edge);
        let (parallelism, max_parallelism) = (wiring.consumers() as u16, wiring.key_groups);
        HashRoute { selector, parallelism, max_parallelism, stage: context.stage.clone(), node }
    }
}

impl<T: Send + 'static, S: KeySelector<T>> KeyedStream<T, S> {
    /// Puts a keyed operator at the head of a new stage.
    pub(crate) fn head<B: HeadFactory<T>>(
        self,
        operator: &'static str,
        location: &'static Location<'static>,
        make: impl FnOnce(NodeId, S) -> B,
    ) -> DataStream<B::Out, Head<B, T>> {
        let KeyedStream { plan, from, side_output, edge, codec, selector } = self;
        let input = PlanInput { from, side_output, port: 0, ship: Ship::Hash, edge: Some(edge) };
        let kind = NodeKind::Operator;
        let new = NewNode { kind, operator, inputs: vec![input], keyed: true, location };
        let node = plan.with(|plan| plan.add_node(new));
        let chain = Head { node, edges: vec![edge], codec, factory: make(node, selector) };
        DataStream::new(plan, node, chain)
    }

    /// Keeps one value of state a key, beginning with `initial`: `function` changes it in place and returns what goes on.
    /// The fastest keyed operator.
    ///
    /// Cost: a key and its value for each key, for as long as the job runs; no timers. What must be given up some day is for
    /// [`process`](Self::process).
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let sums = env
    ///     .from_elements([("a", 1), ("b", 5), ("a", 2)].map(|(k, v)| (k.to_string(), v)))
    ///     .key_by(|(key, _)| key.clone())
    ///     .scan(0, |sum, (key, value)| {
    ///         *sum += value;
    ///         (key, *sum)
    ///     })
    ///     .collect();
    /// env.execute("running sums")?;
    /// assert_eq!(sums.take(), [("a".into(), 1), ("b".into(), 5), ("a".into(), 3)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn scan<A, U, F>(self, initial: A, function: F) -> DataStream<U, impl Chain<U>>
    where
        A: StateValue + Clone + Send,
        U: Send + 'static,
        F: FnMut(&mut A, T) -> U + UserFunction,
    {
        self.head("scan", Location::caller(), |node, selector| ScanFactory {
            selector,
            initial,
            function,
            node,
            types: PhantomData,
        })
    }
}

impl<T: Send + 'static, S: KeySelector<T>> KeyedStream<T, S> {
    /// Processes the records of each key with its state and timers. See [`KeyedProcessFunction`].
    ///
    /// An example is at that trait. Cost: one row for each key with state or timers, and two entries of 16 bytes a timer. State stays
    /// until it is cleared, or its [time to live](crate::state::StateTtl) is over.
    #[track_caller]
    pub fn process<P>(self, function: P) -> DataStream<P::Out, impl Chain<P::Out>>
    where
        P: KeyedProcessFunction<Key = S::Key, In = T, Out: Send + 'static> + UserFunction,
    {
        let stream = self.head("process", Location::caller(), |node, selector| {
            let make = Cloned(function);
            KeyedProcessFactory { selector, make, node }
        });
        stream.plan.with(|plan| plan.allow_side_outputs(stream.operator));
        stream
    }

    /// [`process`](Self::process) with functions that each subtask makes on its core.
    ///
    /// So functions may hold what is neither `Clone` nor `Send`;
    /// [`map_with_factory`](crate::api::DataStream::map_with_factory) has an example of such a one.
    #[track_caller]
    pub fn process_factory<P, M>(self, factory: M) -> DataStream<P::Out, impl Chain<P::Out>>
    where
        P: KeyedProcessFunction<Key = S::Key, In = T, Out: Send + 'static>,
        M: FnOnce() -> P + UserFunction,
    {
        let stream = self.head("process", Location::caller(), |node, selector| {
            let make = Made { make: factory, types: PhantomData };
            KeyedProcessFactory { selector, make, node }
        });
        stream.plan.with(|plan| plan.allow_side_outputs(stream.operator));
        stream
    }
}

impl<T: Send + 'static, S: KeySelector<T>> KeyedStream<T, S> {
    /// The same records in the same subtasks, as a stream that has forgotten its keys: to connect it with a stream without
    /// keys, or to run operators without keyed state where the records of a key meet. Costs nothing: the exchange is the
    /// one that `key_by` asked for.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    /// let env = StreamExecutionEnvironment::new();
    /// let clicks = env.from_elements(["ann", "bob"].map(String::from)).key_by_ref(|user| user);
    /// let ticks = env.from_elements([1]);
    /// let mixed = clicks.partitioned().connect(ticks).map(|user| user, |n| n.to_string()).collect();
    /// env.execute("mixed")?;
    /// assert_eq!(mixed.take().len(), 3);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn partitioned(self) -> DataStream<T, impl Chain<T>> {
        self.head(PARTITIONED_EXCHANGE, Location::caller(), |_, _| PlainHead::default())
    }
}

/// A keyed process function before it reaches its core.
#[derive(Clone)]
pub(crate) struct KeyedProcessFactory<S, M> {
    selector: S,
    make: M,
    node: NodeId,
}

impl<S, M, P> HeadFactory<P::In> for KeyedProcessFactory<S, M>
where
    M: MakeFunction<Function = P>,
    P: KeyedProcessFunction<In: Send + 'static, Out: Send + 'static>,
    S: KeySelector<P::In, Key = P::Key>,
{
    type Out = P::Out;
    fn build<D: Push<P::Out>>(
        self,
        context: &mut BuildContext,
        next: D,
    ) -> Result<Box<dyn Consume<P::In>>> {
        let logic = KeyedProcess::open(self.make.make(), self.selector, context, self.node)?;
        Ok(boxed_head(logic, next, context))
    }
}

/// `scan`.
pub(crate) struct ScanFactory<S, A, F, T, U> {
    selector: S,
    initial: A,
    function: F,
    node: NodeId,
    types: PhantomData<fn(T) -> U>,
}
impl<S: Clone, A: Clone, F: Clone, T, U> Clone for ScanFactory<S, A, F, T, U> {
    fn clone(&self) -> Self {
        ScanFactory {
            selector: self.selector.clone(),
            initial: self.initial.clone(),
            function: self.function.clone(),
            node: self.node,
            types: PhantomData,
        }
    }
}

impl<S, A, F, T, U> HeadFactory<T> for ScanFactory<S, A, F, T, U>
where
    T: Send + 'static,
    S: KeySelector<T>,
    A: StateValue + Clone + Send,
    U: Send + 'static,
    F: FnMut(&mut A, T) -> U + UserFunction,
{
    type Out = U;
    fn build<D: Push<U>>(self, context: &mut BuildContext, next: D) -> Result<Box<dyn Consume<T>>> {
        let ScanFactory { selector, initial, function, node, .. } = self;
        let logic = Scan::open((selector, initial, function), context, node)?;
        Ok(boxed_head(logic, next, context))
    }
}

/// A keyed operator as the head of its stage.
pub(crate) fn boxed_head<T: 'static, L: Logic<T>, D: Push<L::Out>>(
    logic: L,
    next: D,
    context: &BuildContext,
) -> Box<dyn Consume<T>> {
    Box::new(KeyedOperator::new(logic, next, context.stage.clone()))
}
