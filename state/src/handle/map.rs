//! A map a key.

use hashbrown::hash_table;

use super::KeyedContext;
use crate::memory::{Access, ExpiringMap, MapTable, Place, ReadEntries};
use crate::{Key, RowCursor, StateError, StateValue};

/// A handle to a map of the current key, from user keys to user values.
///
/// `keys`, `values`, `entries`, `iter`, `for_each` and `retain` go through the entries in the order
/// of the hash table: it follows from the hashes of the user keys and from the order in which they
/// were put and removed, so equal histories give equal orders, in every run and at every
/// parallelism. (A restored map was put together in the order of its archived keys.) It is neither
/// the order of insertion nor that of the keys; sort where one is wanted. All entries that
/// `for_each_mut` or `retain` come to are written to the next checkpoint; those that other verbs
/// touch, alone.
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
///
/// # Time to live
///
/// With a TTL each entry expires by itself. `get`, `with_ref`, `contains` and whatever goes through
/// the entries are reads of the entries they come to. `put`, `put_all`, `modify` and `for_each_mut`
/// are writes; what `retain` changes does not count as written. As in Flink, `is_empty` does not ask
/// whether entries have expired: a map is empty only when they were removed, or read after they had
/// expired. Otherwise than in Flink, whose iterators drop what is set through them, changes made
/// while going through a map with a TTL are kept.
#[derive(Debug)]
pub struct MapState<UK, UV> {
    pub(super) place: MapPlace<UK, UV>,
}

type MapPlace<UK, UV> = Place<MapTable<UK, UV>, ExpiringMap<UK, UV>, MapState<UK, UV>>;

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
        let cursor = ctx.cursor();
        let value = if self.place.is_plain(cursor) {
            self.place.plain.get(cursor)?.and_then(|map| map.get(key))
        } else {
            self.read_expiring(cursor, key)?
        };
        Ok(read(value))
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
        if !self.place.is_plain(ctx.cursor()) {
            return self.put_expiring(ctx.cursor_mut(), key, value);
        }
        let map = self.place.plain.get_or_insert_with(ctx.cursor_mut(), MapTable::default)?;
        drop(map.insert(key, value));
        Ok(())
    }

    /// Sets the values of several user keys.
    pub fn put_all<C: KeyedContext + ?Sized>(
        &self,
        ctx: &mut C,
        entries: impl IntoIterator<Item = (UK, UV)>,
    ) -> Result<(), StateError> {
        self.is_empty(ctx)?;
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
        // One call of `change`, so that it is inlined.
        let value = if self.place.is_plain(ctx.cursor()) {
            let map = self.place.plain.get_or_insert_with(ctx.cursor_mut(), MapTable::default)?;
            map.get_or_insert_with(key, UV::default)
        } else {
            self.write_expiring(ctx.cursor_mut(), key)?
        };
        Ok(change(value))
    }

    /// Removes a user key and returns its value.
    #[inline]
    pub fn remove<C: KeyedContext + ?Sized>(
        &self,
        ctx: &mut C,
        key: &UK,
    ) -> Result<Option<UV>, StateError> {
        if !self.place.is_plain(ctx.cursor()) {
            return self.remove_expiring(ctx.cursor_mut(), key);
        }
        let slot = &self.place.plain;
        let Some(map) = slot.get_mut(ctx.cursor_mut())? else { return Ok(None) };
        let removed = map.remove(key);
        if map.is_empty() {
            slot.take(ctx.cursor_mut())?;
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
        let cursor = ctx.cursor();
        let entries = if self.place.is_plain(cursor) {
            let map = self.place.plain.get(cursor)?;
            Entries::Plain(map.map(MapTable::iter).unwrap_or_default())
        } else {
            self.expiring_entries(cursor)?
        };
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

    /// Changes every value in place.
    pub fn for_each_mut<C: KeyedContext + ?Sized>(
        &self,
        ctx: &mut C,
        mut change: impl FnMut(&UK, &mut UV),
    ) -> Result<(), StateError> {
        if !self.place.is_plain(ctx.cursor()) {
            let mut write =
                |map: &mut ExpiringMap<UK, UV>, access| map.write_all(access, &mut change);
            return self.change_expiring(ctx.cursor_mut(), &mut write);
        }
        let map = self.place.plain.get_mut(ctx.cursor_mut())?;
        map.into_iter().flat_map(MapTable::iter_mut).for_each(|(key, value)| change(key, value));
        Ok(())
    }

    /// Keeps the entries for which `keep` holds; it may change their values.
    pub fn retain<C: KeyedContext + ?Sized>(
        &self,
        ctx: &mut C,
        mut keep: impl FnMut(&UK, &mut UV) -> bool,
    ) -> Result<(), StateError> {
        if !self.place.is_plain(ctx.cursor()) {
            let mut retain = |map: &mut ExpiringMap<UK, UV>, access| map.retain(access, &mut keep);
            return self.change_expiring(ctx.cursor_mut(), &mut retain);
        }
        let slot = &self.place.plain;
        let Some(map) = slot.get_mut(ctx.cursor_mut())? else { return Ok(()) };
        map.retain(keep);
        if map.is_empty() {
            slot.take(ctx.cursor_mut())?;
        }
        Ok(())
    }

    /// How many entries the map has. With a TTL, how many a read gives: it goes through all.
    #[inline]
    pub fn len<C: KeyedContext + ?Sized>(&self, ctx: &C) -> Result<usize, StateError> {
        let cursor = ctx.cursor();
        if self.place.is_plain(cursor) {
            return Ok(self.place.plain.get(cursor)?.map_or(0, MapTable::len));
        }
        self.iter(ctx, |entries| entries.count())
    }

    /// Whether the map has no entry, of which some may have expired; see the type.
    #[inline]
    pub fn is_empty<C: KeyedContext + ?Sized>(&self, ctx: &C) -> Result<bool, StateError> {
        let cursor = ctx.cursor();
        if self.place.is_plain(cursor) {
            return Ok(self.place.plain.get(cursor)?.is_none_or(MapTable::is_empty));
        }
        let (slot, _) = self.place.expiring_at(cursor)?;
        Ok(slot.get(cursor)?.is_none_or(ExpiringMap::is_empty))
    }

    /// Removes all entries.
    #[inline]
    pub fn clear<C: KeyedContext + ?Sized>(&self, ctx: &mut C) -> Result<(), StateError> {
        if !self.place.is_plain(ctx.cursor()) {
            let (slot, _) = self.place.expiring_at(ctx.cursor())?;
            return slot.take(ctx.cursor_mut()).map(drop);
        }
        self.place.plain.take(ctx.cursor_mut()).map(drop)
    }

    #[cold]
    #[inline(never)]
    fn read_expiring<'c>(
        &self,
        cursor: &'c RowCursor<'_>,
        key: &UK,
    ) -> Result<Option<&'c UV>, StateError> {
        let (slot, access) = self.place.expiring_at(cursor)?;
        Ok(slot.get(cursor)?.and_then(|map| map.read(key, access)))
    }

    #[cold]
    #[inline(never)]
    fn put_expiring(&self, cursor: RowCursor<'_>, key: UK, value: UV) -> Result<(), StateError> {
        let (slot, access) = self.place.expiring_at(&cursor)?;
        slot.get_or_insert_with(cursor, ExpiringMap::default)?.insert(key, value, access);
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn write_expiring<'c>(&self, cursor: RowCursor<'c>, key: &UK) -> Result<&'c mut UV, StateError>
    where
        UV: Default,
    {
        let (slot, access) = self.place.expiring_at(&cursor)?;
        let map = slot.get_or_insert_with(cursor, ExpiringMap::default)?;
        Ok(map.write_or_make(key, access, UV::default))
    }

    #[cold]
    #[inline(never)]
    fn remove_expiring(&self, cursor: RowCursor<'_>, key: &UK) -> Result<Option<UV>, StateError> {
        let mut removed = None;
        self.change_expiring(cursor, &mut |map, access| removed = map.remove(key, access))?;
        Ok(removed)
    }

    /// Changes a map that is there, and takes it away if it keeps nothing.
    #[cold]
    #[inline(never)]
    fn change_expiring(
        &self,
        mut cursor: RowCursor<'_>,
        change: &mut dyn FnMut(&mut ExpiringMap<UK, UV>, Access),
    ) -> Result<(), StateError> {
        let (slot, access) = self.place.expiring_at(&cursor)?;
        let Some(map) = slot.get_mut(cursor.reborrow())? else { return Ok(()) };
        change(map, access);
        if map.is_unused() {
            slot.take(cursor)?;
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn expiring_entries<'c>(
        &self,
        cursor: &'c RowCursor<'_>,
    ) -> Result<Entries<'c, UK, UV>, StateError> {
        let (slot, access) = self.place.expiring_at(cursor)?;
        Ok(match slot.get(cursor)? {
            Some(map) => Entries::Expiring(map.read_all(access)),
            None => Entries::Plain(hash_table::Iter::default()),
        })
    }
}

impl<UK, UV> MapState<UK, UV> {
    pub(crate) fn new(place: MapPlace<UK, UV>) -> Self {
        MapState { place }
    }

    /// The state's name; `None` before the handle was opened.
    pub fn name(&self) -> Option<&str> {
        self.place.name()
    }
}

impl<UK, UV> Default for MapState<UK, UV> {
    fn default() -> Self {
        MapState { place: Place::default() }
    }
}

impl<UK, UV> Clone for MapState<UK, UV> {
    fn clone(&self) -> Self {
        MapState { place: self.place.clone() }
    }
}

/// The entries of a map state.
#[derive(Debug)]
pub struct MapIter<'a, UK, UV> {
    entries: Entries<'a, UK, UV>,
}

#[derive(Debug)]
enum Entries<'a, UK, UV> {
    Plain(hash_table::Iter<'a, (UK, UV)>),
    Expiring(ReadEntries<'a, UK, UV>),
}

impl<'a, UK, UV> Iterator for MapIter<'a, UK, UV> {
    type Item = (&'a UK, &'a UV);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.entries {
            Entries::Plain(entries) => entries.next().map(|(key, value)| (key, value)),
            Entries::Expiring(entries) => entries.next(),
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.entries {
            Entries::Plain(entries) => entries.size_hint(),
            Entries::Expiring(entries) => entries.size_hint(),
        }
    }

    /// One decision for the whole map.
    #[inline]
    fn fold<B, F: FnMut(B, Self::Item) -> B>(self, init: B, mut fold: F) -> B {
        match self.entries {
            Entries::Plain(entries) => {
                entries.fold(init, |result, (key, value)| fold(result, (key, value)))
            }
            Entries::Expiring(entries) => entries.fold(init, fold),
        }
    }
}

impl<UK, UV> ExactSizeIterator for MapIter<'_, UK, UV> {}
