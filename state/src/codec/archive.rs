//! The archived form of keys and values in a buffer that is used again and again.
//!
//! Types whose archive is a copy of their bytes (rkyv's `COPY_OPTIMIZATION`: integers and structs of
//! them without padding) are copied; others are serialised into one aligned vector.

use rkyv::util::AlignedVec;

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
    pub(crate) fn archive<V: StateValue>(&mut self, value: &V) -> Result<&[u8], StateError> {
        self.bytes.clear();
        value.archive_into(&mut self.bytes)?;
        Ok(&self.bytes)
    }

    /// What was archived last.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
