//! What a rich function learns in `open`.

use crate::Result;
use crate::graph::NodeId;
use crate::metrics::MetricGroup;
use crate::operator::StageContext;
use crate::window::WindowError;
use thalweg_state::{
    Key, ListState, ListStateDescriptor, MapState, MapStateDescriptor, StateRegistrar, StateValue,
    ValueState, ValueStateDescriptor,
};

/// The place of a function in the job, its metrics and (on keyed streams) its state.
pub struct RuntimeContext<'a> {
    stage: &'a StageContext,
    node: NodeId,
    registrar: Option<&'a mut StateRegistrar>,
    windows: StateOfWindows<'a>,
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
    pub(crate) fn new(
        stage: &'a StageContext,
        node: NodeId,
        registrar: Option<&'a mut StateRegistrar>,
    ) -> Self {
        RuntimeContext { stage, node, registrar, windows: StateOfWindows::None }
    }

    /// The same place, for a function that makes its state with `registrar`.
    pub(crate) fn with_registrar<'b>(
        &'b self,
        registrar: &'b mut StateRegistrar,
    ) -> RuntimeContext<'b> {
        RuntimeContext::new(self.stage, self.node, Some(registrar))
    }

    /// The same place, for a function of windows.
    pub(crate) fn with_windows<'b>(
        &'b mut self,
        windows: StateOfWindows<'b>,
    ) -> RuntimeContext<'b> {
        let registrar = self.registrar.as_deref_mut();
        RuntimeContext { stage: self.stage, node: self.node, registrar, windows }
    }

    /// The context in which a window function makes state of a key and window, rather than of the key alone.
    ///
    /// # Errors
    /// [`WindowError::StateOfMergingWindow`] where windows merge (sessions), [`WindowError::NotAWindowFunction`] elsewhere.
    pub fn window_state(&mut self) -> Result<RuntimeContext<'_>, WindowError> {
        match &mut self.windows {
            StateOfWindows::Registrar(registrar) => {
                Ok(RuntimeContext::new(self.stage, self.node, Some(registrar)))
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
        self.registrar.as_deref_mut().ok_or_else(|| {
            let message = format!(
                "state '{state}' was asked for by operator '{operator}', which is not on a keyed stream; call key_by before it"
            );
            message.into()
        })
    }

    /// A value for each key.
    ///
    /// # Errors
    /// On a stream without keys, and if the name is in use for state of another kind or type.
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
