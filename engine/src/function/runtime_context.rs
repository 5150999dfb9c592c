//! What a rich function learns in `open`.

use crate::Result;
use crate::graph::NodeId;
use crate::metrics::MetricGroup;
use crate::operator::StageContext;
use crate::operator::opened::OpenStates;
use thalweg_state::{
    AggregatingState, AggregatingStateDescriptor, BroadcastState, Key, ListState,
    ListStateDescriptor, MapState, MapStateDescriptor, OperatorListState, OperatorStateStore,
    Redistribution, ReducingState, ReducingStateDescriptor, StateRegistrar, StateValue, ValueState,
    ValueStateDescriptor,
};

/// The place of a function in the job, its metrics and its state.
///
/// Keyed state is for functions on keyed streams; a descriptor `with_ttl` makes it expire. Operator
/// state is for functions whose calls are given a context: process functions and broadcast process
/// functions.
///
/// # Examples
/// The mean amount of each account, forgotten when the account has been quiet for an hour, and how many payments there
/// were:
/// ```
/// use thalweg::prelude::*;
///
/// #[derive(Clone)]
/// struct Mean;
/// impl AggregateFunction<f64> for Mean {
///     type Accumulator = (f64, u64);
///     type Result = f64;
///     fn create_accumulator(&self) -> (f64, u64) {
///         (0.0, 0)
///     }
///     fn add(&self, accumulator: &mut (f64, u64), amount: &f64) {
///         accumulator.0 += amount;
///         accumulator.1 += 1;
///     }
///     fn result(&self, accumulator: &(f64, u64)) -> f64 {
///         accumulator.0 / accumulator.1 as f64
///     }
///     fn merge(&self, into: &mut (f64, u64), other: &(f64, u64)) {
///         into.0 += other.0;
///         into.1 += other.1;
///     }
/// }
///
/// #[derive(Clone, Default)]
/// struct MeanAmount {
///     mean: AggregatingState<f64, (f64, u64), f64>,
///     payments: ReducingState<u64>,
/// }
///
/// impl KeyedProcessFunction for MeanAmount {
///     type Key = u32;
///     type In = (u32, f64);
///     type Out = (u32, f64, u64);
///     fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
///         let quiet = StateTtl::after(hours(1)).update(TtlUpdate::OnReadAndWrite);
///         let mean = AggregatingStateDescriptor::new("mean", Mean).with_ttl(quiet);
///         self.mean = context.aggregating_state(mean)?;
///         let payments = ReducingStateDescriptor::new("payments", |sum: &mut u64, n| *sum += n);
///         self.payments = context.reducing_state(payments)?;
///         Ok(())
///     }
///     fn process_element(
///         &mut self,
///         (account, amount): (u32, f64),
///         context: &mut Context<'_, u32>,
///         out: &mut Collector<'_, (u32, f64, u64)>,
///     ) -> thalweg::Result<()> {
///         self.mean.add(context, amount)?;
///         self.payments.add(context, 1)?;
///         let mean = self.mean.get(context)?.unwrap_or_default();
///         out.collect((account, mean, self.payments.get(context)?.unwrap_or_default()));
///         Ok(())
///     }
/// }
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let payments = env.from_elements([(1, 10.0), (2, 5.0), (1, 20.0)]);
/// let means = payments.key_by(|payment| payment.0).process(MeanAmount::default()).collect();
/// env.execute("mean amounts")?;
/// assert_eq!(means.take(), [(1, 10.0, 1), (2, 5.0, 1), (1, 15.0, 2)]);
/// # Ok::<(), thalweg::Error>(())
/// ```
pub struct RuntimeContext<'a> {
    stage: &'a StageContext,
    node: NodeId,
    states: OpenStates<'a>,
}

impl<'a> RuntimeContext<'a> {
    pub(crate) fn new(stage: &'a StageContext, node: NodeId, states: OpenStates<'a>) -> Self {
        RuntimeContext { stage, node, states }
    }

    fn registrar(&mut self, state: &str) -> Result<&mut StateRegistrar> {
        let operator = self.stage.names.get(self.node);
        self.states.keyed.as_deref_mut().ok_or_else(|| {
            let message = format!(
                "state '{state}' was asked for by operator '{operator}', which is not on a keyed stream; call key_by before it"
            );
            message.into()
        })
    }

    fn operator_states(&mut self, state: &str) -> Result<&mut OperatorStateStore> {
        let operator = self.stage.names.get(self.node);
        self.states.operator.as_deref_mut().ok_or_else(|| {
            let message = format!(
                "operator state '{state}' was asked for by operator '{operator}', whose function is given no context to use it with; use a process function"
            );
            message.into()
        })
    }

    /// A value for each key.
    ///
    /// # Errors
    /// On a stream without keys, if the name is in use for state of another kind, type or TTL, and if a TTL is less than 1 ms.
    pub fn value_state<V: StateValue>(
        &mut self,
        descriptor: ValueStateDescriptor<V>,
    ) -> Result<ValueState<V>> {
        Ok(self.registrar(descriptor.name())?.register_value(&descriptor)?)
    }

    /// A list for each key.
    ///
    /// # Errors
    /// As [`value_state`](Self::value_state).
    pub fn list_state<V: StateValue>(
        &mut self,
        descriptor: ListStateDescriptor<V>,
    ) -> Result<ListState<V>> {
        Ok(self.registrar(descriptor.name())?.register_list(&descriptor)?)
    }

    /// A map for each key.
    ///
    /// # Errors
    /// As [`value_state`](Self::value_state).
    pub fn map_state<UK: Key, UV: StateValue>(
        &mut self,
        descriptor: MapStateDescriptor<UK, UV>,
    ) -> Result<MapState<UK, UV>> {
        Ok(self.registrar(descriptor.name())?.register_map(&descriptor)?)
    }

    /// One value for each key, into which a function folds what is added.
    ///
    /// # Errors
    /// As [`value_state`](Self::value_state).
    pub fn reducing_state<V: StateValue>(
        &mut self,
        descriptor: ReducingStateDescriptor<V>,
    ) -> Result<ReducingState<V>> {
        Ok(self.registrar(descriptor.name())?.register_reducing(&descriptor)?)
    }

    /// One accumulator for each key, into which an aggregate adds.
    ///
    /// # Errors
    /// As [`value_state`](Self::value_state).
    pub fn aggregating_state<IN: 'static, ACC: StateValue, OUT: 'static>(
        &mut self,
        descriptor: AggregatingStateDescriptor<IN, ACC, OUT>,
    ) -> Result<AggregatingState<IN, ACC, OUT>> {
        Ok(self.registrar(descriptor.name())?.register_aggregating(&descriptor)?)
    }

    /// A list of this operator, which belongs to no key; dealt out evenly when the parallelism changes.
    ///
    /// # Errors
    /// If the function's calls are given no context, if the name is in use for operator state of another kind or type,
    /// and if the descriptor has a TTL.
    pub fn operator_list_state<V: StateValue>(
        &mut self,
        descriptor: ListStateDescriptor<V>,
    ) -> Result<OperatorListState<V>> {
        let states = self.operator_states(descriptor.name())?;
        Ok(states.register_list(&descriptor, Redistribution::Split)?)
    }

    /// As [`operator_list_state`](Self::operator_list_state), but when the parallelism changes each instance gets the
    /// elements of all.
    ///
    /// # Errors
    /// As [`operator_list_state`](Self::operator_list_state).
    pub fn union_list_state<V: StateValue>(
        &mut self,
        descriptor: ListStateDescriptor<V>,
    ) -> Result<OperatorListState<V>> {
        let states = self.operator_states(descriptor.name())?;
        Ok(states.register_list(&descriptor, Redistribution::Union)?)
    }

    /// A map that is the same in all instances, because all see the same broadcast records.
    ///
    /// # Errors
    /// As [`operator_list_state`](Self::operator_list_state).
    pub fn broadcast_state<K: Key, V: StateValue>(
        &mut self,
        descriptor: MapStateDescriptor<K, V>,
    ) -> Result<BroadcastState<K, V>> {
        let states = self.operator_states(descriptor.name())?;
        Ok(states.register_broadcast(&descriptor)?)
    }

    /// Counters, gauges and histograms of your own, under the operator's name.
    pub fn metrics(&self) -> MetricGroup {
        self.stage.user_metrics.for_operator(self.stage.names.get(self.node))
    }

    /// Which of the parallel instances this is, from 0.
    pub fn subtask_index(&self) -> usize {
        self.stage.subtask
    }

    /// How many parallel instances there are.
    pub fn parallelism(&self) -> usize {
        self.stage.parallelism
    }

    /// Number of key groups: the most instances that the operator can be rescaled to.
    pub fn max_parallelism(&self) -> usize {
        self.stage.max_parallelism as usize
    }

    /// The operator's name.
    pub fn operator_name(&self) -> &str {
        self.stage.names.get(self.node)
    }

    /// Gets this core up; for threads that something of this function waits for.
    pub fn waker(&self) -> &std::sync::Arc<crate::runtime::CoreWaker> {
        &self.stage.task.core.waker
    }

    /// Wall clock in milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.stage.task.core.now_ms.get()
    }
}
