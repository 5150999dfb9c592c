//! What a rich function learns in `open`.

use crate::Result;
use crate::graph::NodeId;
use crate::metrics::MetricGroup;
use crate::operator::StageContext;
use crate::operator::opened::OpenStates;
use crate::record::CheckpointId;
use crate::window::WindowError;
use std::cell::OnceCell;
use thalweg_state::{
    AggregatingState, AggregatingStateDescriptor, BroadcastState, Key, ListState,
    ListStateDescriptor, MapState, MapStateDescriptor, OperatorContext, OperatorContextMut,
    OperatorListState, OperatorStateStore, Redistribution, ReducingState, ReducingStateDescriptor,
    StateRegistrar, StateValue, ValueState, ValueStateDescriptor,
};

/// The place of a function in the job, its metrics and its state.
///
/// Keyed state is for functions on keyed streams; a descriptor `with_ttl` makes it expire. Operator
/// state is for functions whose calls are given a context: process functions and broadcast process
/// functions.
pub struct RuntimeContext<'a> {
    stage: &'a StageContext,
    node: NodeId,
    states: OpenStates<'a>,
    windows: StateOfWindows<'a>,
    /// For functions that have no operator state.
    no_states: OnceCell<OperatorStateStore>,
}

/// Where a function of windows makes the state of a window.
pub(crate) enum StateOfWindows<'a> {
    /// It is no function of windows.
    None,
    /// Windows merge, and their state cannot.
    Merging,
    /// Here.
    Registrar(&'a mut StateRegistrar),
}

impl<'a> RuntimeContext<'a> {
    pub(crate) fn new(stage: &'a StageContext, node: NodeId, states: OpenStates<'a>) -> Self {
        let (windows, no_states) = (StateOfWindows::None, OnceCell::new());
        RuntimeContext { stage, node, states, windows, no_states }
    }

    /// The same place, for a function that makes its state with `registrar`.
    pub(crate) fn with_registrar<'b>(
        &'b self,
        registrar: &'b mut StateRegistrar,
    ) -> RuntimeContext<'b> {
        let states = OpenStates { keyed: Some(registrar), operator: None };
        RuntimeContext::new(self.stage, self.node, states)
    }

    /// The same place, for a function of windows.
    pub(crate) fn with_windows<'b>(
        &'b mut self,
        windows: StateOfWindows<'b>,
    ) -> RuntimeContext<'b> {
        let states = OpenStates { keyed: self.states.keyed.as_deref_mut(), operator: None };
        let no_states = OnceCell::new();
        RuntimeContext { stage: self.stage, node: self.node, states, windows, no_states }
    }

    /// The context in which a window function makes state of a key and window, rather than of the key alone.
    ///
    /// # Errors
    /// [`WindowError::StateOfMergingWindow`] where windows merge (sessions), [`WindowError::NotAWindowFunction`] elsewhere.
    pub fn window_state(&mut self) -> Result<RuntimeContext<'_>, WindowError> {
        match &mut self.windows {
            StateOfWindows::Registrar(registrar) => {
                let states = OpenStates { keyed: Some(registrar), operator: None };
                Ok(RuntimeContext::new(self.stage, self.node, states))
            }
            StateOfWindows::Merging => Err(WindowError::StateOfMergingWindow),
            StateOfWindows::None => {
                let operator = self.stage.names.get(self.node).to_owned();
                Err(WindowError::NotAWindowFunction { operator })
            }
        }
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

    /// Does the job go on from a checkpoint? Then operator state has what the checkpoint has of it as soon as it is registered
    /// (`list.get(context)`), and keyed state what it has of each key.
    pub fn is_restored(&self) -> bool {
        self.restored_checkpoint().is_some()
    }

    /// The checkpoint that the job goes on from.
    pub fn restored_checkpoint(&self) -> Option<CheckpointId> {
        self.stage.task.restored.get()
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

/// To read and change in `open` what was just registered.
impl OperatorContext for RuntimeContext<'_> {
    fn operator_states(&self) -> &OperatorStateStore {
        match &self.states.operator {
            Some(states) => states,
            None => self.no_states.get_or_init(|| OperatorStateStore::new(self.operator_name())),
        }
    }
}

impl OperatorContextMut for RuntimeContext<'_> {
    fn operator_states_mut(&mut self) -> &mut OperatorStateStore {
        let name = self.stage.names.get(self.node);
        match &mut self.states.operator {
            Some(states) => states,
            None => {
                self.no_states.get_or_init(|| OperatorStateStore::new(name));
                self.no_states.get_mut().expect("it was just made")
            }
        }
    }
}
