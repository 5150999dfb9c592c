//! A list of values a key.

use std::slice;

use super::KeyedContext;
use crate::memory::{Access, ExpiringList, ListContent, Place, VisibleElements};
use crate::{RowCursor, StateError, StateValue};

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
///
/// # Time to live
///
/// With a TTL each element expires by itself; `add` and `add_all` date what they add, `update` dates
/// all. `get`, `iter`, `len` and `is_empty` read all elements: with `OnReadAndWrite` they make those
/// that live, live longer. As in Flink, a list with `ReturnExpiredIfNotCleanedUp` that has expired in
/// part gives its expired elements at every read, until all have expired or, with `OnReadAndWrite`,
/// until the first.
#[derive(Debug)]
pub struct ListState<V> {
    pub(super) place: ListPlace<V>,
}

/// The list whose read is to be finished, if it expires.
type ToFinish<'c, V> = Option<(&'c ExpiringList<V>, Access)>;

type ListPlace<V> = Place<ListContent<V>, ExpiringList<V>, ListState<V>>;

impl<V: StateValue> ListState<V> {
    /// A copy of the values; empty if the key has none.
    pub fn get<C: KeyedContext + ?Sized>(&self, ctx: &C) -> Result<Vec<V>, StateError>
    where
        V: Clone,
    {
        self.iter(ctx, |values| values.cloned().collect())
    }

    /// Reads the values in place.
    #[inline]
    pub fn iter<C: KeyedContext + ?Sized, R>(
        &self,
        ctx: &C,
        read: impl FnOnce(ListIter<'_, V>) -> R,
    ) -> Result<R, StateError> {
        let cursor = ctx.cursor();
        let (values, expiring) = if self.place.is_plain(cursor) {
            let values = self.place.plain.get(cursor)?.map_or(&[][..], ListContent::as_slice);
            (Values::Plain(values.iter()), None)
        } else {
            self.expiring_values(cursor)?
        };
        let result = read(ListIter { values });
        if let Some((list, access)) = expiring {
            list.finish_read(access);
        }
        Ok(result)
    }

    /// How many values the key has.
    #[inline]
    pub fn len<C: KeyedContext + ?Sized>(&self, ctx: &C) -> Result<usize, StateError> {
        self.iter(ctx, |values| values.len())
    }

    /// Whether the key has no value.
    #[inline]
    pub fn is_empty<C: KeyedContext + ?Sized>(&self, ctx: &C) -> Result<bool, StateError> {
        Ok(self.len(ctx)? == 0)
    }

    /// Appends a value.
    #[inline]
    pub fn add<C: KeyedContext + ?Sized>(&self, ctx: &mut C, value: V) -> Result<(), StateError> {
        if !self.place.is_plain(ctx.cursor()) {
            return self.extend_expiring(ctx.cursor_mut(), [value]);
        }
        self.place.plain.get_or_insert_with(ctx.cursor_mut(), ListContent::default)?.push(value);
        Ok(())
    }

    /// Appends values, in order.
    pub fn add_all<C: KeyedContext + ?Sized>(
        &self,
        ctx: &mut C,
        values: impl IntoIterator<Item = V>,
    ) -> Result<(), StateError> {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return self.check(ctx.cursor());
        }
        if !self.place.is_plain(ctx.cursor()) {
            return self.extend_expiring(ctx.cursor_mut(), values);
        }
        self.place.plain.get_or_insert_with(ctx.cursor_mut(), ListContent::default)?.extend(values);
        Ok(())
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
        if !self.place.is_plain(ctx.cursor()) {
            self.clear(ctx)?;
            return self.extend_expiring(ctx.cursor_mut(), values);
        }
        self.place.plain.replace(ctx.cursor_mut(), ListContent::new(values)).map(drop)
    }

    /// Removes all values.
    #[inline]
    pub fn clear<C: KeyedContext + ?Sized>(&self, ctx: &mut C) -> Result<(), StateError> {
        if !self.place.is_plain(ctx.cursor()) {
            let (slot, _) = self.place.expiring_at(ctx.cursor())?;
            return slot.take(ctx.cursor_mut()).map(drop);
        }
        self.place.plain.take(ctx.cursor_mut()).map(drop)
    }

    /// Whether the state may be used with this cursor.
    fn check(&self, cursor: &RowCursor<'_>) -> Result<(), StateError> {
        if self.place.is_plain(cursor) {
            return Ok(());
        }
        self.place.expiring_at(cursor).map(drop)
    }

    #[cold]
    #[inline(never)]
    fn expiring_values<'c>(
        &self,
        cursor: &'c RowCursor<'_>,
    ) -> Result<(Values<'c, V>, ToFinish<'c, V>), StateError> {
        let (slot, access) = self.place.expiring_at(cursor)?;
        Ok(match slot.get(cursor)? {
            Some(list) => (Values::Expiring(list.visible(access)), Some((list, access))),
            None => (Values::Plain([].iter()), None),
        })
    }

    #[cold]
    #[inline(never)]
    fn extend_expiring(
        &self,
        cursor: RowCursor<'_>,
        values: impl IntoIterator<Item = V>,
    ) -> Result<(), StateError> {
        let (slot, access) = self.place.expiring_at(&cursor)?;
        slot.get_or_insert_with(cursor, ExpiringList::default)?.extend(values, access);
        Ok(())
    }
}

impl<V> ListState<V> {
    pub(crate) fn new(place: ListPlace<V>) -> Self {
        ListState { place }
    }

    /// The state's name; `None` before the handle was opened.
    pub fn name(&self) -> Option<&str> {
        self.place.name()
    }
}

impl<V> Default for ListState<V> {
    fn default() -> Self {
        ListState { place: Place::default() }
    }
}

impl<V> Clone for ListState<V> {
    fn clone(&self) -> Self {
        ListState { place: self.place.clone() }
    }
}

/// The values of a list state, in order. A type of its own, since other backends keep no slice.
#[derive(Debug)]
pub struct ListIter<'a, V> {
    values: Values<'a, V>,
}

#[derive(Debug)]
enum Values<'a, V> {
    Plain(slice::Iter<'a, V>),
    Expiring(VisibleElements<'a, V>),
}

impl<'a, V> Iterator for ListIter<'a, V> {
    type Item = &'a V;

    #[inline]
    fn next(&mut self) -> Option<&'a V> {
        match &mut self.values {
            Values::Plain(values) => values.next(),
            Values::Expiring(values) => values.next(),
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.values {
            Values::Plain(values) => values.size_hint(),
            Values::Expiring(values) => values.size_hint(),
        }
    }

    /// One decision for the whole list.
    #[inline]
    fn fold<B, F: FnMut(B, Self::Item) -> B>(self, init: B, fold: F) -> B {
        match self.values {
            Values::Plain(values) => values.fold(init, fold),
            Values::Expiring(values) => values.fold(init, fold),
        }
    }
}

impl<V> ExactSizeIterator for ListIter<'_, V> {}
