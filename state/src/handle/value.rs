//! One value a key.

use super::KeyedContext;
use crate::memory::{Expiring, Place};
use crate::{RowCursor, StateError, StateValue};

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
///
/// # Time to live
///
/// With a TTL the value expires as a whole. `value` and `with_ref` are reads; `take` is a read that
/// removes, `modify` one that writes.
#[derive(Debug)]
pub struct ValueState<V> {
    pub(super) place: ValuePlace<V>,
}

type ValuePlace<V> = Place<V, Expiring<V>, ValueState<V>>;

impl<V: StateValue> ValueState<V> {
    /// A copy of the value; `None` if the key has none.
    #[inline(always)]
    pub fn value<C: KeyedContext + ?Sized>(&self, ctx: &C) -> Result<Option<V>, StateError>
    where
        V: Clone,
    {
        Ok(self.look_up(ctx.cursor())?.cloned())
    }

    /// Looks at the value in place; the fast way to read what is costly to copy.
    #[inline(always)]
    pub fn with_ref<C: KeyedContext + ?Sized, R>(
        &self,
        ctx: &C,
        read: impl FnOnce(Option<&V>) -> R,
    ) -> Result<R, StateError> {
        Ok(read(self.look_up(ctx.cursor())?))
    }

    /// Sets the value.
    #[inline(always)]
    pub fn update<C: KeyedContext + ?Sized>(
        &self,
        ctx: &mut C,
        value: V,
    ) -> Result<(), StateError> {
        if !self.place.is_plain(ctx.cursor()) {
            return self.update_expiring(ctx.cursor_mut(), value);
        }
        self.place.plain.replace(ctx.cursor_mut(), value).map(drop)
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
        // One call of `change`, so that it is inlined.
        let value = if self.place.is_plain(ctx.cursor()) {
            self.place.plain.get_or_insert_with(ctx.cursor_mut(), V::default)?
        } else {
            self.write_expiring(ctx.cursor_mut())?
        };
        Ok(change(value))
    }

    /// Takes the value out; `None` if the key has none.
    #[inline(always)]
    pub fn take<C: KeyedContext + ?Sized>(&self, ctx: &mut C) -> Result<Option<V>, StateError> {
        if !self.place.is_plain(ctx.cursor()) {
            return self.take_expiring(ctx.cursor_mut());
        }
        self.place.plain.take(ctx.cursor_mut())
    }

    /// Removes the value.
    #[inline(always)]
    pub fn clear<C: KeyedContext + ?Sized>(&self, ctx: &mut C) -> Result<(), StateError> {
        self.take(ctx).map(drop)
    }

    #[inline(always)]
    fn look_up<'c>(&self, cursor: &'c RowCursor<'_>) -> Result<Option<&'c V>, StateError> {
        if !self.place.is_plain(cursor) {
            return self.read_expiring(cursor);
        }
        self.place.plain.get(cursor)
    }

    #[cold]
    #[inline(never)]
    fn read_expiring<'c>(&self, cursor: &'c RowCursor<'_>) -> Result<Option<&'c V>, StateError> {
        let (slot, access) = self.place.expiring_at(cursor)?;
        Ok(slot.get(cursor)?.and_then(|held| held.read(access)))
    }

    #[cold]
    #[inline(never)]
    fn update_expiring(&self, cursor: RowCursor<'_>, value: V) -> Result<(), StateError> {
        let (slot, access) = self.place.expiring_at(&cursor)?;
        slot.replace(cursor, Expiring::new(value, access)).map(drop)
    }

    #[cold]
    #[inline(never)]
    fn write_expiring<'c>(&self, cursor: RowCursor<'c>) -> Result<&'c mut V, StateError>
    where
        V: Default,
    {
        let (slot, access) = self.place.expiring_at(&cursor)?;
        let held = slot.get_or_insert_with(cursor, || Expiring::new(V::default(), access))?;
        Ok(held.write_or_make(access, V::default))
    }

    #[cold]
    #[inline(never)]
    fn take_expiring(&self, cursor: RowCursor<'_>) -> Result<Option<V>, StateError> {
        let (slot, access) = self.place.expiring_at(&cursor)?;
        Ok(slot.take(cursor)?.and_then(|held| held.into_visible(access)))
    }
}

impl<V> ValueState<V> {
    pub(crate) fn new(place: ValuePlace<V>) -> Self {
        ValueState { place }
    }

    /// The state's name; `None` before the handle was opened.
    pub fn name(&self) -> Option<&str> {
        self.place.name()
    }
}

impl<V> Default for ValueState<V> {
    fn default() -> Self {
        ValueState { place: Place::default() }
    }
}

impl<V> Clone for ValueState<V> {
    fn clone(&self) -> Self {
        ValueState { place: self.place.clone() }
    }
}
