//! What may be stored: [`StateValue`], and what may be a key: [`Key`]. Both are blanket traits;
//! `#[thalweg::record]` derives all they ask for. [`Namespaced`] keys state that is apart for each
//! window of a key.
//!
//! **Invariants**
//! - Archived bytes are validated (bytecheck) before anything is read from them, whatever their
//!   source.
//! - The trait is dyn-free and carries no layout: values in memory are plain Rust values, archived
//!   ones are rkyv's.

mod elements;
mod namespaced;

pub use namespaced::Namespaced;

use std::any::type_name;

use rkyv::api::high::{HighDeserializer, HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{Error, Source};
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use crate::{EvolutionError, KeyHash, OldType, OldValue, Schema, StateError};

/// The alignment of [`AlignedVec`]; archived types with more are refused by rkyv itself.
pub(crate) const ARCHIVE_ALIGNMENT: usize = 16;

/// A type that can be kept in state: owned, archivable by rkyv, and described by a [`Schema`].
///
/// Implemented for every type that qualifies; write `#[thalweg::record]` on your own.
///
/// # Examples
///
/// ```
/// use thalweg_state::StateValue;
/// # fn main() -> Result<(), thalweg_state::StateError> {
/// let bytes = ("x".to_string(), 7_u64).to_archived()?;
/// assert_eq!(<(String, u64)>::from_archived(&bytes)?, ("x".to_string(), 7));
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept in state",
    label = "not a state value",
    note = "write `#[thalweg::record]` on `{Self}`, or use a type made of integers (`u64` for `usize`), strings, collections and records"
)]
pub trait StateValue: Schema + Sized + 'static {
    /// The value in rkyv's archived form.
    ///
    /// # Errors
    ///
    /// [`StateError::Archive`] when rkyv refuses the value.
    fn to_archived(&self) -> Result<AlignedVec, StateError> {
        let mut bytes = AlignedVec::new();
        self.archive_into(&mut bytes)?;
        Ok(bytes)
    }

    /// Appends the archived form to a buffer that is empty or ends aligned; cheaper than
    /// [`to_archived`](Self::to_archived) where many values are archived.
    ///
    /// # Errors
    ///
    /// [`StateError::Archive`] when rkyv refuses the value; the buffer is empty then.
    fn archive_into(&self, out: &mut AlignedVec) -> Result<(), StateError>;

    /// The archived form where it is the value as it lies in memory; `None` for other types.
    #[inline]
    fn as_archived(&self) -> Option<&[u8]> {
        None
    }

    /// The value of archived bytes, validated first. Unaligned bytes are copied.
    ///
    /// # Errors
    ///
    /// [`StateError::Unarchive`] when the bytes are not a valid archived `Self`.
    fn from_archived(bytes: &[u8]) -> Result<Self, StateError>;

    /// How many bytes each value takes in [`archive_all_into`](Self::archive_all_into); `None`
    /// where values differ in it.
    const ELEMENT_BYTES: Option<usize> = None;

    /// Appends several values to a buffer that is empty or ends aligned, for
    /// [`from_archived_all`](Self::from_archived_all). Types that are archived as they lie in memory
    /// are written one behind the other, others as rkyv archives a `Vec` of them.
    ///
    /// # Errors
    ///
    /// [`StateError::Archive`] when rkyv refuses a value; what the buffer holds is unspecified then.
    fn archive_all_into<'a>(
        values: impl ExactSizeIterator<Item = &'a Self> + Clone,
        out: &mut AlignedVec,
    ) -> Result<(), StateError> {
        elements::frame_all(values, out)
    }

    /// Appends the values of [`archive_all_into`](Self::archive_all_into) to a list, validated
    /// first.
    ///
    /// # Errors
    ///
    /// [`StateError::Unarchive`] when the bytes are not valid; the list is unchanged then.
    fn from_archived_all(bytes: &[u8], values: &mut Vec<Self>) -> Result<(), StateError> {
        elements::read_frames(bytes, values, Self::from_archived)
    }

    /// The value of bytes that were archived with an older schema, which
    /// [`Evolution`](crate::Evolution) has found to fit.
    ///
    /// # Errors
    ///
    /// [`StateError::Unarchive`] when the bytes are not valid; [`StateError::Evolve`] when a
    /// migration refuses the value.
    fn from_old(old: OldType<'_>, bytes: &[u8]) -> Result<Self, StateError> {
        let evolved = old.read(bytes, <Self as Schema>::evolve);
        evolved.map_err(|source| evolution_error::<Self>(source, bytes.len()))
    }

    /// Appends the values of bytes that [`archive_all_into`](Self::archive_all_into) has made with an
    /// older schema of the elements.
    ///
    /// # Errors
    ///
    /// As [`from_old`](Self::from_old); the list is unchanged then.
    fn from_old_all(
        old: OldType<'_>,
        bytes: &[u8],
        values: &mut Vec<Self>,
    ) -> Result<(), StateError> {
        elements::read_frames(bytes, values, |bytes| Self::from_old(old, bytes))
    }
}

fn evolution_error<T>(source: EvolutionError, length_bytes: usize) -> StateError {
    let type_name = type_name::<T>();
    match source {
        EvolutionError::Damaged { .. } => {
            StateError::Unarchive { type_name, length_bytes, source: Error::new(source) }
        }
        EvolutionError::Part(source) => *source,
        source => StateError::Evolve { type_name, source: Box::new(source) },
    }
}

impl<T> StateValue for T
where
    T: Schema + Archive + for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, Error>>,
    T::Archived:
        for<'a> CheckBytes<HighValidator<'a, Error>> + Deserialize<T, HighDeserializer<Error>>,
{
    #[inline]
    fn archive_into(&self, out: &mut AlignedVec) -> Result<(), StateError> {
        if let Some(bytes) = self.as_archived() {
            out.extend_from_slice(bytes);
            return Ok(());
        }
        *out = rkyv::api::high::to_bytes_in::<_, Error>(self, std::mem::take(out))
            .map_err(|source| StateError::Archive { type_name: type_name::<T>(), source })?;
        Ok(())
    }

    #[inline]
    fn as_archived(&self) -> Option<&[u8]> {
        if !<T as Archive>::COPY_OPTIMIZATION.is_enabled() {
            return None;
        }
        let start = std::ptr::from_ref(self).cast::<u8>();
        // SAFETY: rkyv enables the optimization only for types that are archived as they lie in
        // memory and have no padding, so all their bytes are initialised.
        Some(unsafe { std::slice::from_raw_parts(start, size_of::<T>()) })
    }

    fn from_archived(bytes: &[u8]) -> Result<Self, StateError> {
        let value = with_aligned(bytes, rkyv::from_bytes::<T, Error>);
        value.map_err(|source| StateError::Unarchive {
            type_name: type_name::<T>(),
            length_bytes: bytes.len(),
            source,
        })
    }

    const ELEMENT_BYTES: Option<usize> = elements::element_bytes::<T>();

    #[inline]
    fn archive_all_into<'a>(
        values: impl ExactSizeIterator<Item = &'a Self> + Clone,
        out: &mut AlignedVec,
    ) -> Result<(), StateError> {
        if Self::ELEMENT_BYTES.is_some() {
            let mut values = values;
            return values.try_for_each(|value| value.archive_into(out));
        }
        *out = rkyv::api::high::to_bytes_in::<_, Error>(
            &elements::Elements(values),
            std::mem::take(out),
        )
        .map_err(|source| StateError::Archive { type_name: type_name::<T>(), source })?;
        Ok(())
    }

    fn from_archived_all(bytes: &[u8], values: &mut Vec<Self>) -> Result<(), StateError> {
        let kept = values.len();
        let read = match Self::ELEMENT_BYTES {
            Some(size) => with_aligned(bytes, |bytes| elements::read_copies(bytes, size, values)),
            None => with_aligned(bytes, |bytes| elements::read_elements(bytes, values)),
        };
        read.map_err(|source| {
            values.truncate(kept);
            StateError::Unarchive { type_name: type_name::<T>(), length_bytes: bytes.len(), source }
        })
    }

    fn from_old_all(
        old: OldType<'_>,
        bytes: &[u8],
        values: &mut Vec<Self>,
    ) -> Result<(), StateError> {
        let kept = values.len();
        let mut take = |value: OldValue<'_>| {
            values.push(T::evolve(value)?);
            Ok(())
        };
        old.read_all(bytes, &mut take).map_err(|source| {
            values.truncate(kept);
            evolution_error::<T>(source, bytes.len())
        })
    }
}

/// Calls `read` with the bytes at an address that suits any archive: copied if need be, small ones
/// without an allocation.
#[inline]
fn with_aligned<R>(bytes: &[u8], read: impl FnOnce(&[u8]) -> R) -> R {
    #[repr(C, align(16))]
    struct Small([u8; 64]);
    const _: () = assert!(align_of::<Small>() == ARCHIVE_ALIGNMENT);

    if bytes.as_ptr().addr().is_multiple_of(ARCHIVE_ALIGNMENT) {
        return read(bytes);
    }
    let mut small = Small([0; 64]);
    if let Some(copy) = small.0.get_mut(..bytes.len()) {
        copy.copy_from_slice(bytes);
        return read(copy);
    }
    let mut copy = AlignedVec::<ARCHIVE_ALIGNMENT>::with_capacity(bytes.len());
    copy.extend_from_slice(bytes);
    read(&copy)
}

/// A type that records can be keyed by: a [`StateValue`] with equality that crosses cores.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key",
    label = "not a key",
    note = "a key is a `#[thalweg::record]` that also derives `PartialEq, Eq, Clone`; floating-point numbers have no equality to key by"
)]
pub trait Key: StateValue + Eq + Clone + Send {
    /// The hash that decides key group, subtask and bucket.
    #[inline]
    fn key_hash(&self) -> KeyHash {
        KeyHash::of(self)
    }
}

impl<T: StateValue + Eq + Clone + Send> Key for T {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    type Sample = BTreeMap<String, (Option<i64>, Vec<u8>)>;

    fn sample() -> Sample {
        BTreeMap::from([("a".into(), (Some(-3), vec![1, 2])), ("bc".into(), (None, vec![]))])
    }

    #[test]
    fn values_round_trip_at_every_alignment() {
        let bytes = sample().to_archived().unwrap();
        for shift in 0..ARCHIVE_ALIGNMENT {
            let mut shifted = vec![0; shift];
            shifted.extend_from_slice(&bytes);
            assert_eq!(Sample::from_archived(&shifted[shift..]).unwrap(), sample());
        }
    }

    #[test]
    fn damaged_bytes_are_an_error() {
        let bytes = "a string longer than its inline form".to_string().to_archived().unwrap();
        let error = String::from_archived(&bytes[..bytes.len() - 4]).unwrap_err();
        assert!(matches!(error, StateError::Unarchive { .. }), "{error}");
        assert!(String::from_archived(&[]).is_err());
        let mut invalid_utf8 = bytes.to_vec();
        invalid_utf8[0] = 0xFF;
        assert!(String::from_archived(&invalid_utf8).is_err());
        assert!(bool::from_archived(&[7]).is_err());
    }
}
