//! A list of values a key.

use std::slice;

use super::KeyedContext;
use crate::memory::Slot;
use crate::{StateError, StateValue};

/// A handle to a list of values of the current key, in the order in which they were added.
///
/// # Examples
///
/// ```
/// use thalweg_state::{Key, ListStateDescriptor, RowStore, StateRegistrar};
/// # fn main() -> Result<(), thalweg_state::StateError> {
/// # let mut registrar = StateRegistrar::new::<u64>("example");
/// let seen = registrar.register_list(&ListStateDescriptor::<u64>::new("seen"))?;
/// # let mut rows = RowStore::<u64>::new(registrar)?;
/// # let (mut cursor, _) = rows.enter(7.key_hash(), &7)?;
/// # let ctx = &mut cursor;
/// seen.add(ctx, 3)?;
/// seen.add_all(ctx, [4, 5])?;
/// assert_eq!(seen.iter(ctx, |values| values.sum::<u64>())?, 12);
/// assert_eq!(seen.get(ctx)?, [3, 4, 5]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Every verb fails if the handle was not opened, belongs to another operator, or is used where no
/// key is set.
#[derive(Debug)]
pub struct ListState<V> {
    pub(super) slot: Slot<Vec<V>, ListState<V>>,
}

impl<V: StateValue> ListState<V> {
    /// A copy of the values; empty if the key has none.
    pub fn get<C: KeyedContext + ?Sized>(&self, ctx: &C) -> Result<Vec<V>, StateError>
    where
        V: Clone,
    {
        Ok(self.slot.get(ctx.cursor())?.cloned().unwrap_or_default())
    }

    /// Reads the values in place.
    #[inline]
    pub fn iter<C: KeyedContext + ?Sized, R>(
        &self,
        ctx: &C,
        read: impl FnOnce(ListIter<'_, V>) -> R,
    ) -> Result<R, StateError> {
        let values: &[V] = self.slot.get(ctx.cursor())?.map_or(&[], |values| values);
        Ok(read(ListIter { values: values.iter() }))
    }

    /// How many values the key has.
    #[inline]
    pub fn len<C: KeyedContext + ?Sized>(&self, ctx: &C) -> Result<usize, StateError> {
        Ok(self.slot.get(ctx.cursor())?.map_or(0, Vec::len))
    }

    /// Whether the key has no value.
    #[inline]
    pub fn is_empty<C: KeyedContext + ?Sized>(&self, ctx: &C) -> Result<bool, StateError> {
        Ok(self.len(ctx)? == 0)
    }

    /// Appends a value.
    #[inline]
    pub fn add<C: KeyedContext + ?Sized>(&self, ctx: &mut C, value: V) -> Result<(), StateError> {
        self.slot.get_or_insert_with(ctx.cursor_mut(), Vec::new)?.push(value);
        Ok(())
    }

    /// Appends values, in order.
    pub fn add_all<C: KeyedContext + ?Sized>(
        &self,
        ctx: &mut C,
        values: impl IntoIterator<Item = V>,
    ) -> Result<(), StateError> {
        let mut values = values.into_iter().peekable();
        if values.peek().is_some() {
            self.slot.get_or_insert_with(ctx.cursor_mut(), Vec::new)?.extend(values);
            return Ok(());
        }
        self.slot.get(ctx.cursor()).map(drop)
    }

    /// Replaces all values.
    pub fn update<C: KeyedContext + ?Sized>(
        &self,
        ctx: &mut C,
        values: Vec<V>,
    ) -> Result<(), StateError> {
        if values.is_empty() {
            return self.clear(ctx);
        }
        self.slot.replace(ctx.cursor_mut(), values).map(drop)
    }

    /// Removes all values.
    #[inline]
    pub fn clear<C: KeyedContext + ?Sized>(&self, ctx: &mut C) -> Result<(), StateError> {
        self.slot.take(ctx.cursor_mut()).map(drop)
    }
}

impl<V> ListState<V> {
    pub(crate) fn new(slot: Slot<Vec<V>, ListState<V>>) -> Self {
        ListState { slot }
    }

    /// The state's name; `None` before the handle was opened.
    pub fn name(&self) -> Option<&str> {
        self.slot.name()
    }
}

impl<V> Default for ListState<V> {
    fn default() -> Self {
        ListState { slot: Slot::default() }
    }
}

impl<V> Clone for ListState<V> {
    fn clone(&self) -> Self {
        ListState { slot: self.slot.clone() }
    }
}

/// The values of a list state, in order. A type of its own, since other backends keep no slice.
#[derive(Debug)]
pub struct ListIter<'a, V> {
    values: slice::Iter<'a, V>,
}

impl<'a, V> Iterator for ListIter<'a, V> {
    type Item = &'a V;

    #[inline]
    fn next(&mut self) -> Option<&'a V> {
        self.values.next()
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.values.size_hint()
    }
}

impl<V> ExactSizeIterator for ListIter<'_, V> {}
