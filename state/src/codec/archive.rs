//! The archived form of keys and values in a buffer that is used again and again.
//!
//! Types whose archive is a copy of their bytes (rkyv's `COPY_OPTIMIZATION`: integers and structs of
//! them without padding) are taken as they lie; others are serialised into one aligned vector.

use rkyv::util::AlignedVec;

use crate::value::ARCHIVE_ALIGNMENT;
use crate::{StateError, StateValue};

/// A buffer for the archives of one value after the other.
#[derive(Debug, Default)]
pub(crate) struct ArchiveBuffer {
    bytes: AlignedVec,
}

impl ArchiveBuffer {
    /// The archived form of a value, until the next call.
    ///
    /// # Errors
    ///
    /// [`StateError::Archive`] when rkyv refuses the value.
    #[inline]
    pub(crate) fn archive<'a, V: StateValue>(
        &'a mut self,
        value: &'a V,
    ) -> Result<&'a [u8], StateError> {
        if let Some(bytes) = value.as_archived() {
            return Ok(bytes);
        }
        self.bytes.clear();
        value.archive_into(&mut self.bytes)?;
        Ok(&self.bytes)
    }

    /// The archived forms of an entry's key and value, until the next call.
    ///
    /// # Errors
    ///
    /// As [`archive`](Self::archive).
    #[inline]
    pub(crate) fn archive_entry<K: StateValue, V: StateValue>(
        &mut self,
        key: &K,
        value: &V,
    ) -> Result<(&[u8], &[u8]), StateError> {
        self.bytes.clear();
        key.archive_into(&mut self.bytes)?;
        let key_bytes = self.bytes.len();
        let value_at = key_bytes.next_multiple_of(ARCHIVE_ALIGNMENT);
        self.bytes.resize(value_at, 0);
        value.archive_into(&mut self.bytes)?;
        Ok((&self.bytes[..key_bytes], &self.bytes[value_at..]))
    }

    /// The archived form of several values, until the next call.
    ///
    /// # Errors
    ///
    /// As [`archive`](Self::archive).
    #[inline]
    pub(crate) fn archive_all<'v, V: StateValue>(
        &mut self,
        values: impl ExactSizeIterator<Item = &'v V> + Clone,
    ) -> Result<&[u8], StateError> {
        self.bytes.clear();
        V::archive_all_into(values, &mut self.bytes)?;
        Ok(&self.bytes)
    }
}
