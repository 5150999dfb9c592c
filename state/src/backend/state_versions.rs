//! The schemas that a state's values may be archived with, and how values of each are read.

use std::any::type_name;

use rkyv::rancor::{Error, Source};

use crate::codec::Record;
use crate::{Evolution, OldType, StateError, StateValue};

/// See the module docs.
#[derive(Debug, Default)]
pub(crate) struct StateVersions {
    /// That of values that are written now, and of most that are read.
    pub(crate) current: u8,
    /// By version, how values of the others are read; empty if there are none.
    pub(crate) others: Box<[Option<Evolution>]>,
}

/// A value whose version the store's manifest does not have.
#[derive(Debug, thiserror::Error)]
#[error("it is of version {0} of its state, which the store does not know to be in its files")]
struct UnknownVersion(u8);

impl StateVersions {
    /// The value of a record.
    ///
    /// # Errors
    ///
    /// [`StateError::Unarchive`] and [`StateError::Evolve`].
    #[inline]
    pub(crate) fn read<V: StateValue>(&self, record: &Record<'_>) -> Result<V, StateError> {
        if record.version == self.current {
            return V::from_archived(record.value);
        }
        V::from_old(self.old_type::<V>(record)?, record.value)
    }

    /// Appends the values of a record, the chunk of a list.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); the list is unchanged then.
    #[inline]
    pub(crate) fn read_all<V: StateValue>(
        &self,
        record: &Record<'_>,
        values: &mut Vec<V>,
    ) -> Result<(), StateError> {
        if record.version == self.current {
            return V::from_archived_all(record.value, values);
        }
        V::from_old_all(self.old_type::<V>(record)?, record.value, values)
    }

    /// The type that a record's value or elements were written as: that of a state's schema without the kind of state.
    #[cold]
    #[inline(never)]
    fn old_type<V>(&self, record: &Record<'_>) -> Result<OldType<'_>, StateError> {
        let other = self.others.get(usize::from(record.version)).and_then(Option::as_ref);
        let found = other.and_then(|other| {
            let whole = other.old_type();
            match whole.foreign_name() {
                Some("ValueState" | "ListState" | "ReducingState" | "AggregatingState") => {
                    whole.argument(0)
                }
                Some("MapState") => whole.argument(1),
                _ => Some(whole),
            }
        });
        found.ok_or_else(|| StateError::Unarchive {
            type_name: type_name::<V>(),
            length_bytes: record.value.len(),
            source: Error::new(UnknownVersion(record.version)),
        })
    }
}
