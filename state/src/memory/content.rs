//! What a field of a row does for the persistent tier: it says what changed, and takes back what was
//! said.
//!
//! A field is a value (`V`), a list, a map, or one of these with a TTL. The row store knows when a
//! field has changed (its dirty bit); the field knows what of it has: a value as a whole, a list by
//! the elements appended since, a map by the entries touched since.
//!
//! **Invariants**
//! - After `archive` returned `Ok`, the records written so far, oldest first, give the content back
//!   when they are loaded in order of their sub-keys.
//! - What is archived [in full](FieldWriter::is_full) is new again afterwards: nothing lies below.
//! - A field that became absent is not archived: the row store writes that the state is gone. The
//!   next content of the field is new, and says so by `RemoveState` before its own records where
//!   the row may lie below.

use std::any::type_name;
use std::mem::needs_drop;

use rkyv::rancor::{Error, Source};

use crate::backend::StateVersions;
use crate::codec::{ArchiveBuffer, Record, RecordKind, RowWriter, StateIndex};
use crate::{StateError, StateValue};

/// What is known where a field is archived.
pub(crate) struct FieldWriter<'a, 'r> {
    row: &'a mut RowWriter<'r>,
    buffer: &'a mut ArchiveBuffer,
    state: StateIndex,
    /// Of the schema that values are archived with.
    version: u8,
    /// Whether anything of the row may lie below, so that removals have to be written.
    is_below: bool,
    /// The state's TTL: a record expires this long after its last update.
    ttl_ms: Option<i64>,
    /// Whether all of the content is to be written, each time.
    is_full: bool,
}

impl<'a, 'r> FieldWriter<'a, 'r> {
    pub(crate) fn new(
        row: &'a mut RowWriter<'r>,
        buffer: &'a mut ArchiveBuffer,
        (state, version): (StateIndex, u8),
        is_below: bool,
        ttl_ms: Option<i64>,
    ) -> Self {
        FieldWriter { row, buffer, state, version, is_below, ttl_ms, is_full: false }
    }

    /// The same, where all of the content is to be written, or not.
    pub(crate) fn full(self, is_full: bool) -> Self {
        FieldWriter { is_full, ..self }
    }

    /// Whether all of the content is to be written, as if none of it ever was; so it will be the next
    /// time.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Whether anything of the row may lie below.
    pub(crate) fn is_below(&self) -> bool {
        self.is_below
    }

    /// Writes a value, chunk or entry; `updated_ms` is its last update where the state has a TTL.
    ///
    /// # Errors
    ///
    /// [`StateError::Archive`] when rkyv refuses the value.
    #[inline]
    pub(crate) fn put<V: StateValue>(
        &mut self,
        sub: &[u8],
        updated_ms: Option<i64>,
        value: &V,
    ) -> Result<(), StateError> {
        let expires_at_ms = self.expires_at_ms(updated_ms);
        let version = self.version;
        let record = Record::put(self.state, self.buffer.archive(value)?);
        self.row.write(Record { sub, version, expires_at_ms, ..record });
        Ok(())
    }

    /// Writes the entry of a user key, as [`put`](Self::put).
    ///
    /// # Errors
    ///
    /// [`StateError::Archive`] when rkyv refuses key or value.
    #[inline]
    pub(crate) fn put_entry<K: StateValue, V: StateValue>(
        &mut self,
        key: &K,
        updated_ms: Option<i64>,
        value: &V,
    ) -> Result<(), StateError> {
        let expires_at_ms = self.expires_at_ms(updated_ms);
        let (sub, value) = self.buffer.archive_entry(key, value)?;
        let (version, record) = (self.version, Record::put(self.state, value));
        self.row.write(Record { sub, version, expires_at_ms, ..record });
        Ok(())
    }

    /// Writes a chunk of a list, as [`put`](Self::put).
    ///
    /// # Errors
    ///
    /// [`StateError::Archive`] when rkyv refuses a value.
    #[inline]
    pub(crate) fn put_chunk<'v, V: StateValue>(
        &mut self,
        chunk: u32,
        updated_ms: Option<i64>,
        values: impl ExactSizeIterator<Item = &'v V> + Clone,
    ) -> Result<(), StateError> {
        let expires_at_ms = self.expires_at_ms(updated_ms);
        let record = Record::put(self.state, self.buffer.archive_all(values)?);
        let (sub, version) = (&chunk.to_be_bytes(), self.version);
        self.row.write(Record { sub, version, expires_at_ms, ..record });
        Ok(())
    }

    #[inline]
    fn expires_at_ms(&self, updated_ms: Option<i64>) -> Option<i64> {
        let dated = self.ttl_ms.zip(updated_ms);
        dated.map(|(ttl_ms, updated_ms)| updated_ms.saturating_add(ttl_ms))
    }

    /// Writes that all older records of the state are void.
    pub(crate) fn remove_state(&mut self) {
        self.row.write(Record::remove(RecordKind::RemoveState, self.state, &[]));
    }

    /// Writes that the older record of a user key is void.
    ///
    /// # Errors
    ///
    /// [`StateError::Archive`] when rkyv refuses the key.
    pub(crate) fn remove_entry<K: StateValue>(&mut self, key: &K) -> Result<(), StateError> {
        let sub = self.buffer.archive(key)?;
        self.row.write(Record::remove(RecordKind::RemoveEntry, self.state, sub));
        Ok(())
    }
}

/// What is known where a record is taken into a field.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// The state's TTL.
    pub(crate) ttl_ms: Option<i64>,
    pub(crate) versions: StateVersions,
}

/// The content of a field; see the module docs.
pub(crate) trait Content: Sized + 'static {
    /// Whether [`hint`](Self::hint) does anything.
    const IS_HINTED: bool = false;

    /// Prefetches what the next change or archive will touch outside of the row.
    #[inline]
    fn hint(&self) {}

    /// Writes what changed since the last call and takes it for written.
    ///
    /// # Errors
    ///
    /// [`StateError::Archive`] when rkyv refuses a value; the content is unchanged then.
    fn archive(&mut self, out: &mut FieldWriter<'_, '_>) -> Result<(), StateError>;

    /// What the content owns outside of its row, estimated. Of a plain value the length of its
    /// archive says that.
    fn heap_bytes(&self) -> usize {
        0
    }

    /// Takes a live record from below: into `current`, or, where the field is absent, as a new
    /// content to be put there.
    ///
    /// # Errors
    ///
    /// [`StateError::Unarchive`] when the bytes are not what this type archives, nor what it has archived in former versions;
    /// [`StateError::Evolve`].
    fn load(
        current: Option<&mut Self>,
        record: &Record<'_>,
        reading: &Reading,
    ) -> Result<Option<Self>, StateError>;
}

/// What so many elements of a collection take, with what they own estimated.
pub(super) fn elements_bytes<T>(count: usize) -> usize {
    let owned = if needs_drop::<T>() { 2 } else { 1 };
    count * size_of::<T>() * owned
}

/// A plain value is written as a whole.
impl<V: StateValue> Content for V {
    #[inline]
    fn archive(&mut self, out: &mut FieldWriter<'_, '_>) -> Result<(), StateError> {
        out.put(&[], None, self)
    }

    fn load(
        current: Option<&mut Self>,
        record: &Record<'_>,
        reading: &Reading,
    ) -> Result<Option<Self>, StateError> {
        let value = reading.versions.read(record)?;
        match current {
            Some(current) => {
                *current = value;
                Ok(None)
            }
            None => Ok(Some(value)),
        }
    }
}

/// The chunk number that is the sub-key of a list's record.
///
/// # Errors
///
/// [`StateError::Unarchive`] when the sub-key is none.
pub(super) fn chunk_number<V>(record: &Record<'_>) -> Result<u32, StateError> {
    #[derive(Debug, thiserror::Error)]
    #[error("a chunk number has 4 bytes")]
    struct NoChunkNumber;

    let number = <[u8; 4]>::try_from(record.sub).map_err(|_| StateError::Unarchive {
        type_name: type_name::<V>(),
        length_bytes: record.sub.len(),
        source: Error::new(NoChunkNumber),
    })?;
    Ok(u32::from_be_bytes(number))
}
