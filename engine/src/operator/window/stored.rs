//! What windows keep in rows, as state values: archived by hand, since a derived archive would ask that the records are known
//! to rkyv, which a generic operator cannot promise.
//!
//! Format: the archives of the parts in order, each behind its length as a little-endian `u32`; an optional part is
//! there or is not.
//!
//! **Invariant**: damaged bytes are an error, never a panic.

use crate::state::rkyv::rancor::{Error, Source};
use crate::state::rkyv::util::AlignedVec;
use crate::state::{EvolutionError, OldType, Schema, SchemaBuilder, StateError, StateValue};
use crate::window::WindowElements;
use crate::window::merging::MergingWindowSet;
use std::any::type_name;
use thalweg_state::{Key, KeyHasher};

/// The contents of a window; `None` where it has none.
#[derive(Clone, Debug)]
pub(crate) struct Contents<S>(pub(crate) Option<S>);

impl<S> Default for Contents<S> {
    fn default() -> Self {
        Contents(None)
    }
}

/// What a reduced window has so far; `None` before its first element.
#[derive(Clone, Debug)]
pub(crate) struct Reduced<T>(pub(crate) Option<T>);

#[derive(Debug, thiserror::Error)]
#[error("the archive of a part is shorter than its length says")]
pub(crate) struct ShortPart;

pub(crate) fn push_part<P: StateValue>(part: &P, bytes: &mut AlignedVec) -> Result<(), StateError> {
    if let Some(archive) = part.as_archived()
        && let Ok(length) = u32::try_from(archive.len())
    {
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(archive);
        return Ok(());
    }
    let archive = part.to_archived()?;
    let length = u32::try_from(archive.len()).map_err(|source| StateError::Archive {
        type_name: type_name::<P>(),
        source: Error::new(source),
    })?;
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&archive);
    Ok(())
}

/// The archives of all parts.
pub(crate) fn split_parts<'a>(
    mut bytes: &'a [u8],
    type_name: &'static str,
) -> Result<Vec<&'a [u8]>, StateError> {
    let (mut parts, length_bytes) = (Vec::new(), bytes.len());
    while !bytes.is_empty() {
        let part = bytes
            .split_first_chunk::<4>()
            .and_then(|(length, rest)| rest.split_at_checked(u32::from_le_bytes(*length) as usize));
        let Some((part, rest)) = part else {
            let source = Error::new(ShortPart);
            return Err(StateError::Unarchive { type_name, length_bytes, source });
        };
        parts.push(part);
        bytes = rest;
    }
    Ok(parts)
}

/// What a part was archived as, of something that was archived by hand.
pub(crate) fn old_part<T>(old: OldType<'_>, index: usize) -> Result<OldType<'_>, StateError> {
    old.argument(index).ok_or_else(|| StateError::Evolve {
        type_name: type_name::<T>(),
        source: Box::new(EvolutionError::mismatch::<T>(old)),
    })
}

/// An optional part: there, or not.
macro_rules! optional_part {
    ($name:ident, $describe:literal) => {
        impl<S: Schema> Schema for $name<S> {
            fn describe(out: &mut SchemaBuilder) {
                out.container($describe, &[S::describe]);
            }
            fn hash_key(&self, hasher: &mut KeyHasher) {
                hasher.write_u32(u32::from(self.0.is_some()));
                self.0.iter().for_each(|part| part.hash_key(hasher));
            }
        }

        impl<S: StateValue> StateValue for $name<S> {
            fn archive_into(&self, out: &mut AlignedVec) -> Result<(), StateError> {
                self.0.iter().try_for_each(|part| push_part(part, out))
            }
            fn from_archived(bytes: &[u8]) -> Result<Self, StateError> {
                let parts = split_parts(bytes, type_name::<Self>())?;
                Ok($name(parts.first().map(|part| S::from_archived(part)).transpose()?))
            }
            fn from_old(old: OldType<'_>, bytes: &[u8]) -> Result<Self, StateError> {
                let parts = split_parts(bytes, type_name::<Self>())?;
                let part = parts.first().map(|part| S::from_old(old_part::<Self>(old, 0)?, part));
                Ok($name(part.transpose()?))
            }
        }
    };
}

optional_part!(Contents, "WindowContents");
optional_part!(Reduced, "Reduced");

impl<T: Schema> Schema for WindowElements<T> {
    fn describe(out: &mut SchemaBuilder) {
        out.container("WindowElements", &[T::describe, i64::describe]);
    }
    fn hash_key(&self, hasher: &mut KeyHasher) {
        self.timestamps.hash_key(hasher);
        self.values.iter().for_each(|value| value.hash_key(hasher));
    }
}

impl<T: StateValue> StateValue for WindowElements<T> {
    fn archive_into(&self, out: &mut AlignedVec) -> Result<(), StateError> {
        push_part(&self.timestamps, out)?;
        self.values.iter().try_for_each(|value| push_part(value, out))
    }
    fn from_archived(bytes: &[u8]) -> Result<Self, StateError> {
        read_elements(bytes, T::from_archived)
    }
    fn from_old(old: OldType<'_>, bytes: &[u8]) -> Result<Self, StateError> {
        let old = old_part::<Self>(old, 0)?;
        read_elements(bytes, |value| T::from_old(old, value))
    }
}

fn read_elements<T>(
    bytes: &[u8],
    read: impl Fn(&[u8]) -> Result<T, StateError>,
) -> Result<WindowElements<T>, StateError> {
    let type_name = type_name::<WindowElements<T>>();
    let parts = split_parts(bytes, type_name)?;
    let Some((timestamps, values)) = parts.split_first() else {
        return Ok(WindowElements { values: Vec::new(), timestamps: Vec::new() });
    };
    let timestamps = Vec::from_archived(timestamps)?;
    let values = values.iter().map(|value| read(value)).collect::<Result<Vec<T>, _>>()?;
    if values.len() == timestamps.len() {
        return Ok(WindowElements { values, timestamps });
    }
    let source = Error::new(ShortPart);
    Err(StateError::Unarchive { type_name, length_bytes: bytes.len(), source })
}

impl<W: Schema> Schema for MergingWindowSet<W> {
    fn describe(out: &mut SchemaBuilder) {
        out.container("MergingWindowSet", &[W::describe]);
    }
    fn hash_key(&self, hasher: &mut KeyHasher) {
        hasher.write_length(self.in_flight.len());
        for (window, state) in &self.in_flight {
            window.hash_key(hasher);
            state.hash_key(hasher);
        }
    }
}

impl<W: Key> StateValue for MergingWindowSet<W> {
    fn archive_into(&self, out: &mut AlignedVec) -> Result<(), StateError> {
        self.in_flight.iter().try_for_each(|(window, state)| {
            push_part(window, out)?;
            push_part(state, out)
        })
    }
    fn from_archived(bytes: &[u8]) -> Result<Self, StateError> {
        let parts = split_parts(bytes, type_name::<Self>())?;
        let pair = |pair: &[&[u8]]| Ok((W::from_archived(pair[0])?, W::from_archived(pair[1])?));
        let in_flight = parts.chunks_exact(2).map(pair).collect::<Result<_, StateError>>()?;
        Ok(MergingWindowSet { in_flight })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::TimeWindow;

    #[test]
    fn contents_round_trip_and_damage_is_an_error() {
        let mut elements = WindowElements::default();
        elements.push("first".to_string(), 7);
        elements.push("a string longer than its inline form".to_string(), -8);
        let bytes = elements.to_archived().unwrap();
        assert_eq!(WindowElements::<String>::from_archived(&bytes).unwrap(), elements);
        for length in [1, 3, 10, bytes.len() - 1] {
            assert!(WindowElements::<String>::from_archived(&bytes[..length]).is_err(), "{length}");
        }
        let bytes = Contents(Some(elements.clone())).to_archived().unwrap();
        let back = Contents::<WindowElements<String>>::from_archived(&bytes).unwrap();
        assert_eq!(back.0, Some(elements));
        let bytes = Reduced::<u64>(None).to_archived().unwrap();
        assert_eq!(Reduced::<u64>::from_archived(&bytes).unwrap().0, None);
        let window = TimeWindow::new;
        let in_flight = vec![(window(0, 20), window(0, 10)), (window(30, 40), window(30, 40))];
        let set = MergingWindowSet { in_flight };
        let bytes = set.to_archived().unwrap();
        assert_eq!(MergingWindowSet::from_archived(&bytes).unwrap(), set);
    }
}
