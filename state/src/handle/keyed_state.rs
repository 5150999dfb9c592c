//! What all handles of keyed state have in common.

use super::{AggregatingState, KeyedContext, ListState, MapState, ReducingState, ValueState};
use crate::StateError;

/// A handle of keyed state, of whatever kind.
pub trait KeyedState {
    /// Whether the current key has anything in this state. State that has expired and was not yet
    /// removed counts.
    ///
    /// # Errors
    ///
    /// If the handle was not opened, belongs to another operator, or is used where no key is set.
    fn is_present<C: KeyedContext + ?Sized>(&self, ctx: &C) -> Result<bool, StateError>;
}

macro_rules! by_place {
    ($($handle:ident<$($part:ident),*>),* $(,)?) => {
        $(impl<$($part),*> KeyedState for $handle<$($part),*> {
            fn is_present<C: KeyedContext + ?Sized>(&self, ctx: &C) -> Result<bool, StateError> {
                self.place.is_present(ctx.cursor())
            }
        })*
    };
}
by_place!(
    ValueState<V>,
    ListState<V>,
    MapState<UK, UV>,
    ReducingState<V>,
    AggregatingState<IN, ACC, OUT>,
);
