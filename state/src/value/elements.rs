//! Several values in one archive: the chunks of a list.
//!
//! ```text
//! copied as they lie in memory   | value | value | .. |                        nothing but the values
//! other archives of rkyv         what the values refer to | value | .. | offset i32, count u32
//! archived by hand               | length u32, 12 zeros | value, zeros up to 16 | .. |
//! ```
//!
//! **Invariants**
//! - All is validated before a value is made of it, and a list keeps none of a refused archive.
//! - Values without bytes have no count in the first form, so they are archived in the second.

use std::any::type_name;

use rkyv::api::high::{HighDeserializer, HighValidator, deserialize};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{Error, Fallible, Source};
use rkyv::ser::{Allocator, Writer};
use rkyv::util::AlignedVec;
use rkyv::vec::{ArchivedVec, VecResolver};
use rkyv::{Archive, Deserialize, Place, Serialize};

use super::{ARCHIVE_ALIGNMENT, StateValue};
use crate::StateError;

/// The size of a value that is archived as it lies in memory.
pub(super) const fn element_bytes<T: Archive>() -> Option<usize> {
    if T::COPY_OPTIMIZATION.is_enabled() && size_of::<T>() > 0 {
        return Some(size_of::<T>());
    }
    None
}

/// Archives as a `Vec` of the values does, wherever they lie.
pub(super) struct Elements<I>(pub(super) I);

impl<'a, T, I> Archive for Elements<I>
where
    T: Archive + 'a,
    I: ExactSizeIterator<Item = &'a T> + Clone,
{
    type Archived = ArchivedVec<T::Archived>;
    type Resolver = VecResolver;

    fn resolve(&self, resolver: VecResolver, out: Place<Self::Archived>) {
        ArchivedVec::resolve_from_len(self.0.len(), resolver, out);
    }
}

impl<'a, T, I, S> Serialize<S> for Elements<I>
where
    T: Serialize<S> + 'a,
    I: ExactSizeIterator<Item = &'a T> + Clone,
    S: Fallible + Allocator + Writer + ?Sized,
{
    fn serialize(&self, serializer: &mut S) -> Result<VecResolver, S::Error> {
        ArchivedVec::<T::Archived>::serialize_from_iter::<T, _, S>(self.0.clone(), serializer)
    }
}

/// Reads what [`Elements`] wrote, from aligned bytes.
pub(super) fn read_elements<T: Archive>(bytes: &[u8], values: &mut Vec<T>) -> Result<(), Error>
where
    T::Archived:
        for<'a> CheckBytes<HighValidator<'a, Error>> + Deserialize<T, HighDeserializer<Error>>,
{
    let archived = rkyv::access::<ArchivedVec<T::Archived>, Error>(bytes)?;
    values.reserve(archived.len());
    archived.iter().try_for_each(|value| {
        values.push(deserialize::<T, Error>(value)?);
        Ok(())
    })
}

/// Reads values of `size` bytes that lie one behind the other in aligned bytes.
pub(super) fn read_copies<T: Archive>(
    bytes: &[u8],
    size: usize,
    values: &mut Vec<T>,
) -> Result<(), Error>
where
    T::Archived:
        for<'a> CheckBytes<HighValidator<'a, Error>> + Deserialize<T, HighDeserializer<Error>>,
{
    let copies = bytes.chunks_exact(size);
    if !copies.remainder().is_empty() {
        return Err(Error::new(DamagedElements::CutValue));
    }
    values.reserve(copies.len());
    copies.into_iter().try_for_each(|bytes| {
        values.push(rkyv::from_bytes::<T, Error>(bytes)?);
        Ok(())
    })
}

/// Archives values of a type that is archived by hand.
pub(super) fn frame_all<'a, V: StateValue>(
    values: impl Iterator<Item = &'a V>,
    out: &mut AlignedVec,
) -> Result<(), StateError> {
    for value in values {
        let length_at = out.len();
        out.extend_from_slice(&[0; ARCHIVE_ALIGNMENT]);
        value.archive_into(out)?;
        let length = out.len() - length_at - ARCHIVE_ALIGNMENT;
        let length = u32::try_from(length).map_err(|source| StateError::Archive {
            type_name: type_name::<V>(),
            source: Error::new(source),
        })?;
        out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
        out.resize(out.len().next_multiple_of(ARCHIVE_ALIGNMENT), 0);
    }
    Ok(())
}

/// Reads what [`frame_all`] wrote.
pub(super) fn read_frames<V: StateValue>(
    bytes: &[u8],
    values: &mut Vec<V>,
    read: impl Fn(&[u8]) -> Result<V, StateError>,
) -> Result<(), StateError> {
    let kept = values.len();
    let mut rest = bytes;
    while !rest.is_empty() {
        let read = match take_frame(&mut rest) {
            Some(value) => read(value),
            None => Err(StateError::Unarchive {
                type_name: type_name::<V>(),
                length_bytes: bytes.len(),
                source: Error::new(DamagedElements::CutFrame),
            }),
        };
        match read {
            Ok(value) => values.push(value),
            Err(error) => {
                values.truncate(kept);
                return Err(error);
            }
        }
    }
    Ok(())
}

fn take_frame<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (header, after) = rest.split_first_chunk::<ARCHIVE_ALIGNMENT>()?;
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let padded = length.checked_next_multiple_of(ARCHIVE_ALIGNMENT)?;
    let value = after.get(..length)?;
    *rest = after.get(padded..)?;
    Some(value)
}

/// Why bytes are not several values.
#[derive(Debug, thiserror::Error)]
enum DamagedElements {
    #[error("the bytes are no multiple of a value's size")]
    CutValue,
    #[error("a value's length is missing or exceeds the bytes")]
    CutFrame,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Namespaced;

    fn check<V: StateValue + Clone + PartialEq + std::fmt::Debug>(values: &[V], length: usize) {
        let mut bytes = AlignedVec::new();
        V::archive_all_into(values.iter(), &mut bytes).unwrap();
        assert_eq!(bytes.len(), length);
        for shift in [0, 1, 8] {
            let shifted = [&vec![0; shift], bytes.as_slice()].concat();
            let mut read = values[..values.len().min(1)].to_vec();
            V::from_archived_all(&shifted[shift..], &mut read).unwrap();
            assert_eq!(read[values.len().min(1)..], *values);
        }
        for cut in 0..bytes.len() {
            let mut read = Vec::new();
            let refused = V::from_archived_all(&bytes[..cut], &mut read).is_err();
            assert!(!refused || read.is_empty());
            assert!(refused || read.len() < values.len());
        }
    }

    #[test]
    fn values_round_trip_in_all_forms() {
        check(&[1_u64, 2, u64::MAX], 24);
        check(&[[7_u8; 3]], 3);
        check(&[(); 5], 8);
        check(&["a".to_string(), "longer than what lies inline".into(), String::new()], 60);
        check(&[(1_u8, vec![2_u32; 9])], 56);
        check(&[Namespaced { key: 1_u32, namespace: 2_u64 }; 2], 96);
        check::<u64>(&[], 0);
        check::<Vec<u8>>(&[], 8);
    }

    #[test]
    fn invalid_values_are_errors_and_leave_the_list() {
        let mut list = vec![true];
        assert!(bool::from_archived_all(&[1, 0, 7], &mut list).is_err());
        assert_eq!(list, [true]);
        bool::from_archived_all(&[1, 0], &mut list).unwrap();
        assert_eq!(list, [true, true, false]);
    }
}
