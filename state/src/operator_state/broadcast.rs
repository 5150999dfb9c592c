//! A map that is the same in every subtask.

use std::iter::Flatten;
use std::slice;

use super::ordered_table::OrderedTable;
use super::store::OperatorSlot;
use super::{OperatorContext, OperatorContextMut};
use crate::{Key, StateError, StateValue};

/// A handle to a map that every subtask of the operator fills from the same broadcast records, such
/// as rules; it belongs to no key.
///
/// `keys`, `values`, `entries` and `iter` give entries in the order in which their keys were first
/// put; a key that is put again keeps its place, one that was removed comes last when it is put
/// again. So equal broadcast records give equal orders in all subtasks.
///
/// Contexts of the broadcast side lend it to change ([`OperatorContextMut`]), those of the other
/// side to read ([`OperatorContext`]): what is read-only there does not compile otherwise. Nothing
/// but equal changes keeps the subtasks equal: what a broadcast function writes must not depend on
/// the subtask.
///
/// # Examples
///
/// ```
/// use thalweg_state::{MapStateDescriptor, OperatorStateStore};
/// # fn main() -> Result<(), thalweg_state::StateError> {
/// let mut states = OperatorStateStore::new("alerts");
/// let rules = states.register_broadcast(&MapStateDescriptor::<String, u64>::new("rules"))?;
/// # let ctx = &mut states;
/// rules.put(ctx, "hot".into(), 30)?;
/// rules.put(ctx, "cold".into(), 0)?;
/// rules.put(ctx, "hot".into(), 35)?;
/// assert_eq!(rules.entries(ctx)?, [("hot".to_string(), 35), ("cold".to_string(), 0)]);
/// assert_eq!(rules.remove(ctx, &"hot".to_string())?, Some(35));
/// assert!(!rules.contains(ctx, &"hot".to_string())?);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Every verb fails if the handle was not opened or belongs to another operator.
#[derive(Debug)]
pub struct BroadcastState<K, V> {
    slot: OperatorSlot<OrderedTable<K, V>, BroadcastState<K, V>>,
}

impl<K: Key, V: StateValue> BroadcastState<K, V> {
    /// A copy of the value of a key.
    pub fn get<C: OperatorContext + ?Sized>(
        &self,
        ctx: &C,
        key: &K,
    ) -> Result<Option<V>, StateError>
    where
        V: Clone,
    {
        self.with_ref(ctx, key, |value| value.cloned())
    }

    /// Looks at the value of a key in place.
    pub fn with_ref<C: OperatorContext + ?Sized, R>(
        &self,
        ctx: &C,
        key: &K,
        read: impl FnOnce(Option<&V>) -> R,
    ) -> Result<R, StateError> {
        Ok(read(self.table(ctx)?.get(key)))
    }

    /// Whether the map has the key.
    pub fn contains<C: OperatorContext + ?Sized>(
        &self,
        ctx: &C,
        key: &K,
    ) -> Result<bool, StateError> {
        self.with_ref(ctx, key, |value| value.is_some())
    }

    /// Copies of all keys, in order.
    pub fn keys<C: OperatorContext + ?Sized>(&self, ctx: &C) -> Result<Vec<K>, StateError> {
        self.iter(ctx, |entries| entries.map(|(key, _)| key.clone()).collect())
    }

    /// Copies of all values, in order.
    pub fn values<C: OperatorContext + ?Sized>(&self, ctx: &C) -> Result<Vec<V>, StateError>
    where
        V: Clone,
    {
        self.iter(ctx, |entries| entries.map(|(_, value)| value.clone()).collect())
    }

    /// Copies of all entries, in order.
    pub fn entries<C: OperatorContext + ?Sized>(&self, ctx: &C) -> Result<Vec<(K, V)>, StateError>
    where
        V: Clone,
    {
        self.iter(ctx, |entries| entries.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// Reads all entries in place, in order.
    pub fn iter<C: OperatorContext + ?Sized, R>(
        &self,
        ctx: &C,
        read: impl FnOnce(BroadcastIter<'_, K, V>) -> R,
    ) -> Result<R, StateError> {
        let table = self.table(ctx)?;
        Ok(read(BroadcastIter { slots: table.slots().flatten(), left: table.len() }))
    }

    /// Reads every entry in place, in order.
    pub fn for_each<C: OperatorContext + ?Sized>(
        &self,
        ctx: &C,
        mut read: impl FnMut(&K, &V),
    ) -> Result<(), StateError> {
        self.iter(ctx, |entries| entries.for_each(|(key, value)| read(key, value)))
    }

    /// How many entries the map has.
    pub fn len<C: OperatorContext + ?Sized>(&self, ctx: &C) -> Result<usize, StateError> {
        self.table(ctx).map(OrderedTable::len)
    }

    /// Whether the map has no entry.
    pub fn is_empty<C: OperatorContext + ?Sized>(&self, ctx: &C) -> Result<bool, StateError> {
        Ok(self.len(ctx)? == 0)
    }

    /// Sets the value of a key.
    pub fn put<C: OperatorContextMut + ?Sized>(
        &self,
        ctx: &mut C,
        key: K,
        value: V,
    ) -> Result<(), StateError> {
        let replaced = self.table_mut(ctx)?.insert(key, value);
        drop(replaced);
        Ok(())
    }

    /// Sets the values of several keys, in order.
    pub fn put_all<C: OperatorContextMut + ?Sized>(
        &self,
        ctx: &mut C,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(), StateError> {
        let table = self.table_mut(ctx)?;
        entries.into_iter().for_each(|(key, value)| drop(table.insert(key, value)));
        Ok(())
    }

    /// Changes the value of a key in place, from its default if there is none.
    pub fn modify<C: OperatorContextMut + ?Sized, R>(
        &self,
        ctx: &mut C,
        key: &K,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<R, StateError>
    where
        V: Default,
    {
        Ok(change(self.table_mut(ctx)?.get_or_insert_with(key, V::default)))
    }

    /// Changes every value in place, in order.
    pub fn for_each_mut<C: OperatorContextMut + ?Sized>(
        &self,
        ctx: &mut C,
        mut change: impl FnMut(&K, &mut V),
    ) -> Result<(), StateError> {
        self.table_mut(ctx)?.iter_mut().for_each(|(key, value)| change(key, value));
        Ok(())
    }

    /// Keeps the entries for which `keep` holds; it may change their values.
    pub fn retain<C: OperatorContextMut + ?Sized>(
        &self,
        ctx: &mut C,
        keep: impl FnMut(&K, &mut V) -> bool,
    ) -> Result<(), StateError> {
        self.table_mut(ctx)?.retain(keep);
        Ok(())
    }

    /// Removes a key and returns its value.
    pub fn remove<C: OperatorContextMut + ?Sized>(
        &self,
        ctx: &mut C,
        key: &K,
    ) -> Result<Option<V>, StateError> {
        Ok(self.table_mut(ctx)?.remove(key))
    }

    /// Removes all entries.
    pub fn clear<C: OperatorContextMut + ?Sized>(&self, ctx: &mut C) -> Result<(), StateError> {
        self.table_mut(ctx).map(OrderedTable::clear)
    }

    fn table<'c, C: OperatorContext + ?Sized>(
        &self,
        ctx: &'c C,
    ) -> Result<&'c OrderedTable<K, V>, StateError> {
        self.slot.get(ctx.operator_states())
    }

    fn table_mut<'c, C: OperatorContextMut + ?Sized>(
        &self,
        ctx: &'c mut C,
    ) -> Result<&'c mut OrderedTable<K, V>, StateError> {
        self.slot.get_mut(ctx.operator_states_mut())
    }
}

impl<K, V> BroadcastState<K, V> {
    pub(super) fn new(slot: OperatorSlot<OrderedTable<K, V>, BroadcastState<K, V>>) -> Self {
        BroadcastState { slot }
    }

    /// The state's name; `None` before the handle was opened.
    pub fn name(&self) -> Option<&str> {
        self.slot.name()
    }
}

impl<K, V> Default for BroadcastState<K, V> {
    fn default() -> Self {
        BroadcastState { slot: OperatorSlot::default() }
    }
}

impl<K, V> Clone for BroadcastState<K, V> {
    fn clone(&self) -> Self {
        BroadcastState { slot: self.slot.clone() }
    }
}

/// The entries of a broadcast state, in the order in which their keys were first put.
#[derive(Debug)]
pub struct BroadcastIter<'a, K, V> {
    slots: Flatten<slice::Iter<'a, Option<(K, V)>>>,
    left: usize,
}

impl<'a, K, V> Iterator for BroadcastIter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value) = self.slots.next()?;
        self.left -= 1;
        Some((key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<K, V> ExactSizeIterator for BroadcastIter<'_, K, V> {}
