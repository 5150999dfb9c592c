//! A list of an operator.

use super::store::OperatorSlot;
use super::{OperatorContext, OperatorContextMut};
use crate::{StateError, StateValue};

/// A handle to a list that belongs to the operator and to no key, such as the offsets of a source or
/// what a sink has buffered.
///
/// When the operator's parallelism changes, the list is dealt out as its
/// [`Redistribution`](crate::Redistribution) says; the order in which the parts of several subtasks
/// come is that of the subtasks.
///
/// # Examples
///
/// ```
/// use thalweg_state::{ListStateDescriptor, OperatorStateStore, Redistribution};
/// # fn main() -> Result<(), thalweg_state::StateError> {
/// let mut states = OperatorStateStore::new("sink");
/// let buffered = ListStateDescriptor::<String>::new("buffered");
/// let buffered = states.register_list(&buffered, Redistribution::Split)?;
/// # let ctx = &mut states;
/// buffered.add(ctx, "a".into())?;
/// buffered.add_all(ctx, ["b".into(), "c".into()])?;
/// assert_eq!(buffered.iter(ctx, |values| values.len())?, 3);
/// buffered.update(ctx, vec!["d".into()])?;
/// assert_eq!(buffered.get(ctx)?, ["d"]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Every verb fails if the handle was not opened or belongs to another operator.
#[derive(Debug)]
pub struct OperatorListState<V> {
    slot: OperatorSlot<Vec<V>, OperatorListState<V>>,
}

impl<V: StateValue> OperatorListState<V> {
    /// A copy of the values.
    pub fn get<C: OperatorContext + ?Sized>(&self, ctx: &C) -> Result<Vec<V>, StateError>
    where
        V: Clone,
    {
        self.slot.get(ctx.operator_states()).cloned()
    }

    /// Reads the values in place.
    pub fn iter<C: OperatorContext + ?Sized, R>(
        &self,
        ctx: &C,
        read: impl FnOnce(std::slice::Iter<'_, V>) -> R,
    ) -> Result<R, StateError> {
        Ok(read(self.slot.get(ctx.operator_states())?.iter()))
    }

    /// How many values there are.
    pub fn len<C: OperatorContext + ?Sized>(&self, ctx: &C) -> Result<usize, StateError> {
        self.slot.get(ctx.operator_states()).map(Vec::len)
    }

    /// Whether there is no value.
    pub fn is_empty<C: OperatorContext + ?Sized>(&self, ctx: &C) -> Result<bool, StateError> {
        self.slot.get(ctx.operator_states()).map(Vec::is_empty)
    }

    /// Appends a value.
    pub fn add<C: OperatorContextMut + ?Sized>(
        &self,
        ctx: &mut C,
        value: V,
    ) -> Result<(), StateError> {
        self.slot.get_mut(ctx.operator_states_mut())?.push(value);
        Ok(())
    }

    /// Appends values, in order.
    pub fn add_all<C: OperatorContextMut + ?Sized>(
        &self,
        ctx: &mut C,
        values: impl IntoIterator<Item = V>,
    ) -> Result<(), StateError> {
        self.slot.get_mut(ctx.operator_states_mut())?.extend(values);
        Ok(())
    }

    /// Replaces all values.
    pub fn update<C: OperatorContextMut + ?Sized>(
        &self,
        ctx: &mut C,
        values: Vec<V>,
    ) -> Result<(), StateError> {
        *self.slot.get_mut(ctx.operator_states_mut())? = values;
        Ok(())
    }

    /// Takes all values out.
    pub fn take<C: OperatorContextMut + ?Sized>(&self, ctx: &mut C) -> Result<Vec<V>, StateError> {
        self.slot.get_mut(ctx.operator_states_mut()).map(std::mem::take)
    }

    /// Removes all values.
    pub fn clear<C: OperatorContextMut + ?Sized>(&self, ctx: &mut C) -> Result<(), StateError> {
        self.take(ctx).map(drop)
    }
}

impl<V> OperatorListState<V> {
    pub(super) fn new(slot: OperatorSlot<Vec<V>, OperatorListState<V>>) -> Self {
        OperatorListState { slot }
    }

    /// The state's name; `None` before the handle was opened.
    pub fn name(&self) -> Option<&str> {
        self.slot.name()
    }
}

impl<V> Default for OperatorListState<V> {
    fn default() -> Self {
        OperatorListState { slot: OperatorSlot::default() }
    }
}

impl<V> Clone for OperatorListState<V> {
    fn clone(&self) -> Self {
        OperatorListState { slot: self.slot.clone() }
    }
}
