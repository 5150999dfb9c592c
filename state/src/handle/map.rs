//! A map a key.

use hashbrown::hash_table;

use super::KeyedContext;
use crate::memory::{MapTable, Slot};
use crate::{Key, StateError, StateValue};

/// A handle to a map of the current key, from user keys to user values.
///
/// The order of `keys`, `values`, `entries` and `for_each` is unspecified, but the same in every
/// run.
///
/// # Examples
///
/// ```
/// use thalweg_state::{Key, MapStateDescriptor, RowStore, StateRegistrar};
/// # fn main() -> Result<(), thalweg_state::StateError> {
/// # let mut registrar = StateRegistrar::new::<u64>("example");
/// let visits = registrar.register_map(&MapStateDescriptor::<String, u64>::new("visits"))?;
/// # let mut rows = RowStore::<u64>::new(registrar)?;
/// # let (mut cursor, _) = rows.enter(7.key_hash(), &7)?;
/// # let ctx = &mut cursor;
/// let page = "/home".to_string();
/// visits.modify(ctx, &page, |count| *count += 1)?;
/// assert_eq!(visits.get(ctx, &page)?, Some(1));
/// assert_eq!(visits.remove(ctx, &page)?, Some(1));
/// assert!(visits.is_empty(ctx)?);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Every verb fails if the handle was not opened, belongs to another operator, or is used where no
/// key is set.
#[derive(Debug)]
pub struct MapState<UK, UV> {
    pub(super) slot: Slot<MapTable<UK, UV>, MapState<UK, UV>>,
}

impl<UK: Key, UV: StateValue> MapState<UK, UV> {
    /// A copy of the value of a user key.
    #[inline]
    pub fn get<C: KeyedContext + ?Sized>(&self, ctx: &C, key: &UK) -> Result<Option<UV>, StateError>
    where
        UV: Clone,
    {
        self.with_ref(ctx, key, |value| value.cloned())
    }

    /// Looks at the value of a user key in place.
    #[inline]
    pub fn with_ref<C: KeyedContext + ?Sized, R>(
        &self,
        ctx: &C,
        key: &UK,
        read: impl FnOnce(Option<&UV>) -> R,
    ) -> Result<R, StateError> {
        Ok(read(self.slot.get(ctx.cursor())?.and_then(|map| map.get(key))))
    }

    /// Whether the map has the user key.
    #[inline]
    pub fn contains<C: KeyedContext + ?Sized>(
        &self,
        ctx: &C,
        key: &UK,
    ) -> Result<bool, StateError> {
        self.with_ref(ctx, key, |value| value.is_some())
    }

    /// Sets the value of a user key.
    #[inline]
    pub fn put<C: KeyedContext + ?Sized>(
        &self,
        ctx: &mut C,
        key: UK,
        value: UV,
    ) -> Result<(), StateError> {
        let replaced = self.map_mut(ctx)?.insert(key, value);
        drop(replaced);
        Ok(())
    }

    /// Sets the values of several user keys.
    pub fn put_all<C: KeyedContext + ?Sized>(
        &self,
        ctx: &mut C,
        entries: impl IntoIterator<Item = (UK, UV)>,
    ) -> Result<(), StateError> {
        self.slot.get(ctx.cursor())?;
        entries.into_iter().try_for_each(|(key, value)| self.put(ctx, key, value))
    }

    /// Changes the value of a user key in place, from its default if there is none; the fast verb.
    #[inline]
    pub fn modify<C: KeyedContext + ?Sized, R>(
        &self,
        ctx: &mut C,
        key: &UK,
        change: impl FnOnce(&mut UV) -> R,
    ) -> Result<R, StateError>
    where
        UV: Default,
    {
        Ok(change(self.map_mut(ctx)?.get_or_insert_with(key, UV::default)))
    }

    /// Removes a user key and returns its value.
    #[inline]
    pub fn remove<C: KeyedContext + ?Sized>(
        &self,
        ctx: &mut C,
        key: &UK,
    ) -> Result<Option<UV>, StateError> {
        let Some(map) = self.slot.get_mut(ctx.cursor_mut())? else { return Ok(None) };
        let removed = map.remove(key);
        if map.is_empty() {
            self.slot.take(ctx.cursor_mut())?;
        }
        Ok(removed)
    }

    /// Copies of all user keys.
    pub fn keys<C: KeyedContext + ?Sized>(&self, ctx: &C) -> Result<Vec<UK>, StateError> {
        self.iter(ctx, |entries| entries.map(|(key, _)| key.clone()).collect())
    }

    /// Copies of all values.
    pub fn values<C: KeyedContext + ?Sized>(&self, ctx: &C) -> Result<Vec<UV>, StateError>
    where
        UV: Clone,
    {
        self.iter(ctx, |entries| entries.map(|(_, value)| value.clone()).collect())
    }

    /// Copies of all entries.
    pub fn entries<C: KeyedContext + ?Sized>(&self, ctx: &C) -> Result<Vec<(UK, UV)>, StateError>
    where
        UV: Clone,
    {
        self.iter(ctx, |entries| entries.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// Reads all entries in place.
    #[inline]
    pub fn iter<C: KeyedContext + ?Sized, R>(
        &self,
        ctx: &C,
        read: impl FnOnce(MapIter<'_, UK, UV>) -> R,
    ) -> Result<R, StateError> {
        let entries = self.slot.get(ctx.cursor())?.map(MapTable::iter).unwrap_or_default();
        Ok(read(MapIter { entries }))
    }

    /// Reads every entry in place.
    #[inline]
    pub fn for_each<C: KeyedContext + ?Sized>(
        &self,
        ctx: &C,
        mut read: impl FnMut(&UK, &UV),
    ) -> Result<(), StateError> {
        self.iter(ctx, |entries| entries.for_each(|(key, value)| read(key, value)))
    }

    /// Keeps the entries for which `keep` holds; it may change their values.
    pub fn retain<C: KeyedContext + ?Sized>(
        &self,
        ctx: &mut C,
        keep: impl FnMut(&UK, &mut UV) -> bool,
    ) -> Result<(), StateError> {
        let Some(map) = self.slot.get_mut(ctx.cursor_mut())? else { return Ok(()) };
        map.retain(keep);
        if map.is_empty() {
            self.slot.take(ctx.cursor_mut())?;
        }
        Ok(())
    }

    /// How many entries the map has.
    #[inline]
    pub fn len<C: KeyedContext + ?Sized>(&self, ctx: &C) -> Result<usize, StateError> {
        Ok(self.slot.get(ctx.cursor())?.map_or(0, MapTable::len))
    }

    /// Whether the map has no entry.
    #[inline]
    pub fn is_empty<C: KeyedContext + ?Sized>(&self, ctx: &C) -> Result<bool, StateError> {
        Ok(self.len(ctx)? == 0)
    }

    /// Removes all entries.
    #[inline]
    pub fn clear<C: KeyedContext + ?Sized>(&self, ctx: &mut C) -> Result<(), StateError> {
        self.slot.take(ctx.cursor_mut()).map(drop)
    }

    #[inline]
    fn map_mut<'c, C: KeyedContext + ?Sized>(
        &self,
        ctx: &'c mut C,
    ) -> Result<&'c mut MapTable<UK, UV>, StateError> {
        self.slot.get_or_insert_with(ctx.cursor_mut(), MapTable::default)
    }
}

impl<UK, UV> MapState<UK, UV> {
    pub(crate) fn new(slot: Slot<MapTable<UK, UV>, MapState<UK, UV>>) -> Self {
        MapState { slot }
    }

    /// The state's name; `None` before the handle was opened.
    pub fn name(&self) -> Option<&str> {
        self.slot.name()
    }
}

impl<UK, UV> Default for MapState<UK, UV> {
    fn default() -> Self {
        MapState { slot: Slot::default() }
    }
}

impl<UK, UV> Clone for MapState<UK, UV> {
    fn clone(&self) -> Self {
        MapState { slot: self.slot.clone() }
    }
}

/// The entries of a map state.
#[derive(Debug)]
pub struct MapIter<'a, UK, UV> {
    entries: hash_table::Iter<'a, (UK, UV)>,
}

impl<'a, UK, UV> Iterator for MapIter<'a, UK, UV> {
    type Item = (&'a UK, &'a UV);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.entries.next().map(|(key, value)| (key, value))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl<UK, UV> ExactSizeIterator for MapIter<'_, UK, UV> {}
