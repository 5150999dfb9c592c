//! What handles of operator state ask of a context.

use super::OperatorStateStore;

/// A context that lends its operator's state to read: all that the keyed side of a broadcast
/// function has.
///
/// # Examples
///
/// ```
/// use thalweg_state::{BroadcastState, OperatorContext, OperatorStateStore, StateError};
///
/// struct ReadOnlyContext<'a> {
///     states: &'a OperatorStateStore,
/// }
///
/// impl OperatorContext for ReadOnlyContext<'_> {
///     fn operator_states(&self) -> &OperatorStateStore {
///         self.states
///     }
/// }
///
/// fn limit(limits: &BroadcastState<String, u64>, ctx: &ReadOnlyContext<'_>) -> Result<u64, StateError> {
///     Ok(limits.get(ctx, &"limit".to_string())?.unwrap_or(0))
/// }
/// # let states = OperatorStateStore::new("example");
/// # assert!(limit(&BroadcastState::default(), &ReadOnlyContext { states: &states }).is_err());
/// ```
pub trait OperatorContext {
    /// The operator's state, to read.
    fn operator_states(&self) -> &OperatorStateStore;
}

/// A context that lends its operator's state to change.
pub trait OperatorContextMut: OperatorContext {
    /// The operator's state, to change.
    fn operator_states_mut(&mut self) -> &mut OperatorStateStore;
}

impl OperatorContext for OperatorStateStore {
    fn operator_states(&self) -> &OperatorStateStore {
        self
    }
}

impl OperatorContextMut for OperatorStateStore {
    fn operator_states_mut(&mut self) -> &mut OperatorStateStore {
        self
    }
}
