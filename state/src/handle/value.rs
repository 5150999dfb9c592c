//! One value a key.

use super::KeyedContext;
use crate::memory::Slot;
use crate::{StateError, StateValue};

/// A handle to one value of the current key.
///
/// # Examples
///
/// ```
/// use thalweg_state::{Key, RowStore, StateRegistrar, ValueStateDescriptor};
/// # fn main() -> Result<(), thalweg_state::StateError> {
/// # let mut registrar = StateRegistrar::new::<u64>("example");
/// let last = registrar.register_value(&ValueStateDescriptor::<f64>::new("last"))?;
/// # let mut rows = RowStore::<u64>::new(registrar)?;
/// # let (mut cursor, _) = rows.enter(7.key_hash(), &7)?;
/// # let ctx = &mut cursor;
/// assert_eq!(last.value(ctx)?, None);
/// last.update(ctx, 20.5)?;
/// last.modify(ctx, |temperature| *temperature += 1.0)?;
/// assert_eq!(last.value(ctx)?, Some(21.5));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Every verb fails if the handle was not opened, belongs to another operator, or is used where no
/// key is set.
#[derive(Debug)]
pub struct ValueState<V> {
    pub(super) slot: Slot<V, ValueState<V>>,
}

impl<V: StateValue> ValueState<V> {
    /// A copy of the value; `None` if the key has none.
    #[inline(always)]
    pub fn value<C: KeyedContext + ?Sized>(&self, ctx: &C) -> Result<Option<V>, StateError>
    where
        V: Clone,
    {
        Ok(self.slot.get(ctx.cursor())?.cloned())
    }

    /// Looks at the value in place; the fast way to read what is costly to copy.
    #[inline(always)]
    pub fn with_ref<C: KeyedContext + ?Sized, R>(
        &self,
        ctx: &C,
        read: impl FnOnce(Option<&V>) -> R,
    ) -> Result<R, StateError> {
        Ok(read(self.slot.get(ctx.cursor())?))
    }

    /// Sets the value.
    #[inline(always)]
    pub fn update<C: KeyedContext + ?Sized>(
        &self,
        ctx: &mut C,
        value: V,
    ) -> Result<(), StateError> {
        self.slot.replace(ctx.cursor_mut(), value).map(drop)
    }

    /// Changes the value in place, from its default if the key has none; the fast verb.
    #[inline(always)]
    pub fn modify<C: KeyedContext + ?Sized, R>(
        &self,
        ctx: &mut C,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<R, StateError>
    where
        V: Default,
    {
        Ok(change(self.slot.get_or_insert_with(ctx.cursor_mut(), V::default)?))
    }

    /// Takes the value out; `None` if the key has none.
    #[inline(always)]
    pub fn take<C: KeyedContext + ?Sized>(&self, ctx: &mut C) -> Result<Option<V>, StateError> {
        self.slot.take(ctx.cursor_mut())
    }

    /// Removes the value.
    #[inline(always)]
    pub fn clear<C: KeyedContext + ?Sized>(&self, ctx: &mut C) -> Result<(), StateError> {
        self.slot.take(ctx.cursor_mut()).map(drop)
    }
}

impl<V> ValueState<V> {
    pub(crate) fn new(slot: Slot<V, ValueState<V>>) -> Self {
        ValueState { slot }
    }

    /// The state's name; `None` before the handle was opened.
    pub fn name(&self) -> Option<&str> {
        self.slot.name()
    }
}

impl<V> Default for ValueState<V> {
    fn default() -> Self {
        ValueState { slot: Slot::default() }
    }
}

impl<V> Clone for ValueState<V> {
    fn clone(&self) -> Self {
        ValueState { slot: self.slot.clone() }
    }
}
