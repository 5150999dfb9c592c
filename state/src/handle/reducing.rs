//! One value a key, folded by a function.

use std::fmt;

use super::KeyedContext;
use crate::descriptor::Reduce;
use crate::memory::{Expiring, Place};
use crate::{RowCursor, StateError, StateValue};

/// A handle to one value of the current key, into which a function folds all that is added.
///
/// The function is that of the descriptor the handle was made from. It changes the value in place
/// and costs one indirect call for each `add`.
///
/// # Examples
///
/// ```
/// use thalweg_state::{Key, ReducingStateDescriptor, RowStore, StateRegistrar};
/// # fn main() -> Result<(), thalweg_state::StateError> {
/// # let mut registrar = StateRegistrar::new::<u64>("example");
/// let highest = ReducingStateDescriptor::new("highest", |a: &mut u64, b| *a = b.max(*a));
/// let highest = registrar.register_reducing(&highest)?;
/// # let mut rows = RowStore::<u64>::new(registrar)?;
/// # let (mut cursor, _) = rows.enter(7.key_hash(), &7)?;
/// # let ctx = &mut cursor;
/// assert_eq!(highest.get(ctx)?, None);
/// highest.add(ctx, 3)?;
/// highest.add(ctx, 2)?;
/// assert_eq!(highest.get(ctx)?, Some(3));
/// highest.clear(ctx)?;
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
/// With a TTL the value expires as a whole, and `add` dates the whole. A value that has expired is
/// begun anew, or goes on if expired values may be returned.
pub struct ReducingState<V> {
    pub(super) place: ReducingPlace<V>,
    reduce: Option<Reduce<V>>,
}

type ReducingPlace<V> = Place<V, Expiring<V>, ReducingState<V>>;

impl<V: StateValue> ReducingState<V> {
    /// A copy of the value; `None` if nothing was added.
    pub fn get<C: KeyedContext + ?Sized>(&self, ctx: &C) -> Result<Option<V>, StateError>
    where
        V: Clone,
    {
        self.with_ref(ctx, |value| value.cloned())
    }

    /// Looks at the value in place.
    pub fn with_ref<C: KeyedContext + ?Sized, R>(
        &self,
        ctx: &C,
        read: impl FnOnce(Option<&V>) -> R,
    ) -> Result<R, StateError> {
        let cursor = ctx.cursor();
        let value = if self.place.is_plain(cursor) {
            self.place.plain.get(cursor)?
        } else {
            let (slot, access) = self.place.expiring_at(cursor)?;
            slot.get(cursor)?.and_then(|held| held.read(access))
        };
        Ok(read(value))
    }

    /// Folds a value into the one at hand; the first is taken as it is.
    #[inline]
    pub fn add<C: KeyedContext + ?Sized>(&self, ctx: &mut C, value: V) -> Result<(), StateError> {
        let Some(reduce) = self.reduce.as_deref().filter(|_| self.place.is_plain(ctx.cursor()))
        else {
            return self.add_expiring(ctx.cursor_mut(), value);
        };
        match self.place.plain.get_mut(ctx.cursor_mut())? {
            Some(held) => reduce(held, value),
            None => drop(self.place.plain.replace(ctx.cursor_mut(), value)?),
        }
        Ok(())
    }

    /// Removes the value.
    pub fn clear<C: KeyedContext + ?Sized>(&self, ctx: &mut C) -> Result<(), StateError> {
        if !self.place.is_plain(ctx.cursor()) {
            let (slot, _) = self.place.expiring_at(ctx.cursor())?;
            return slot.take(ctx.cursor_mut()).map(drop);
        }
        self.place.plain.take(ctx.cursor_mut()).map(drop)
    }

    #[cold]
    #[inline(never)]
    fn add_expiring(&self, mut cursor: RowCursor<'_>, value: V) -> Result<(), StateError> {
        let (slot, access) = self.place.expiring_at(&cursor)?;
        let held = slot.get_mut(cursor.reborrow())?.and_then(|held| held.write(access));
        match (held, self.reduce.as_deref()) {
            (Some(held), Some(reduce)) => reduce(held, value),
            _ => drop(slot.replace(cursor, Expiring::new(value, access))?),
        }
        Ok(())
    }
}

impl<V> ReducingState<V> {
    pub(crate) fn new(place: ReducingPlace<V>, reduce: Reduce<V>) -> Self {
        ReducingState { place, reduce: Some(reduce) }
    }

    /// The state's name; `None` before the handle was opened.
    pub fn name(&self) -> Option<&str> {
        self.place.name()
    }
}

impl<V> Default for ReducingState<V> {
    fn default() -> Self {
        ReducingState { place: Place::default(), reduce: None }
    }
}

impl<V> Clone for ReducingState<V> {
    fn clone(&self) -> Self {
        ReducingState { place: self.place.clone(), reduce: self.reduce.clone() }
    }
}

impl<V> fmt::Debug for ReducingState<V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ReducingState").field("place", &self.place).finish_non_exhaustive()
    }
}
