//! Values in pieces: archived, with the schema of their type, so that a type may change from one run to the next.
//!
//! ```text
//! version u64 = 2 | fingerprint u64 | length of the text u64 | zeros u64 | text of the schema | zeros up to 16 | archive
//! version u64 = 1 | fingerprint u64 | archive
//! ```
//! Version 1 is read, and then the type must be the same. Numbers are little-endian.
//!
//! Parts of an operator that keep archives of a user's type within a value of their own have a [`StoredType`] beside them.

use crate::BoxError;
use crate::state::{
    Evolution, SchemaDescription, SchemaFingerprint, SchemaRefused, StateError, StateValue,
};
use rkyv::util::AlignedVec;

const VERSION: u64 = 2;
/// The version without a text.
const BARE_VERSION: u64 = 1;
const HEADER_BYTES: usize = 32;
const BARE_HEADER_BYTES: usize = 16;
const ALIGNMENT: usize = 16;

/// A type of which there are archives: fingerprint, and text, which is empty where an older program has written it.
pub(crate) type StoredType = (u64, String);

/// The type as it is now.
pub(crate) fn stored_type<T: StateValue>() -> StoredType {
    let schema = SchemaDescription::of::<T>();
    (schema.fingerprint().0, schema.text().to_owned())
}

/// How archives of a type that may have changed are read.
#[derive(Debug)]
pub(crate) struct ReadAs {
    /// `None` if it has not.
    evolution: Option<Evolution>,
}

impl ReadAs {
    /// As `T`, which may have been another type.
    ///
    /// # Errors
    /// If the one cannot become the other.
    pub(crate) fn of<T: StateValue>((fingerprint, text): (u64, &str)) -> Result<Self, PieceCause> {
        let now = SchemaDescription::of::<T>();
        if fingerprint == now.fingerprint().0 {
            return Ok(ReadAs { evolution: None });
        }
        let expected = now.text().into();
        if text.is_empty() {
            let found = SchemaFingerprint(fingerprint);
            return Err(PieceCause::Schema { expected, found });
        }
        if SchemaFingerprint::of_text(text).0 != fingerprint {
            return Err(PieceCause::OtherText);
        }
        match Evolution::between(text, &now) {
            Ok(evolution) => Ok(ReadAs { evolution: Some(evolution) }),
            Err(refused) => {
                let (found, refused) = (text.into(), Box::new(refused));
                Err(PieceCause::Changed { expected, found, refused })
            }
        }
    }

    /// The value of an archive; `T` is that of [`of`](Self::of).
    ///
    /// # Errors
    /// If it is damaged, or a migration refuses it.
    pub(crate) fn read<T: StateValue>(&self, archive: &[u8]) -> Result<T, StateError> {
        match &self.evolution {
            None => T::from_archived(archive),
            Some(evolution) => T::from_old(evolution.old_type(), archive),
        }
    }
}

/// What comes before the archive of a value.
pub(crate) fn value_header<T: StateValue>() -> Vec<u8> {
    let schema = SchemaDescription::of::<T>();
    let text = schema.text();
    let mut header = Vec::with_capacity((HEADER_BYTES + text.len()).next_multiple_of(ALIGNMENT));
    for word in [VERSION, schema.fingerprint().0, text.len() as u64, 0] {
        header.extend_from_slice(&word.to_le_bytes());
    }
    header.extend_from_slice(text.as_bytes());
    header.resize(header.len().next_multiple_of(ALIGNMENT), 0);
    header
}

/// The bytes of a value.
pub(crate) fn to_bytes<T: StateValue>(value: &T) -> Result<Vec<u8>, StateError> {
    let mut bytes = AlignedVec::new();
    bytes.extend_from_slice(&value_header::<T>());
    value.archive_into(&mut bytes)?;
    Ok(bytes.into_vec())
}

/// The value of its bytes.
pub(crate) fn from_bytes<T: StateValue>(bytes: &[u8]) -> Result<T, PieceCause> {
    let Parts { fingerprint, text, archive } = split(bytes)?;
    Ok(ReadAs::of::<T>((fingerprint, text))?.read(archive)?)
}

/// The same of a value that older programs have written as another type of this crate.
pub(crate) fn from_bytes_since<T: StateValue, Old: StateValue>(
    bytes: &[u8],
    upgrade: fn(Old) -> T,
) -> Result<T, PieceCause> {
    let Parts { fingerprint, archive, .. } = split(bytes)?;
    match fingerprint == SchemaDescription::of::<Old>().fingerprint().0 {
        true => Ok(upgrade(Old::from_archived(archive)?)),
        false => from_bytes(bytes),
    }
}

struct Parts<'a> {
    fingerprint: u64,
    text: &'a str,
    archive: &'a [u8],
}

fn split(bytes: &[u8]) -> Result<Parts<'_>, PieceCause> {
    let short = || PieceCause::Short { found: bytes.len() };
    let word = |at: usize| {
        let word = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>());
        word.map(|word| u64::from_le_bytes(*word)).ok_or_else(short)
    };
    let (version, fingerprint) = (word(0)?, word(8)?);
    match version {
        BARE_VERSION => {
            let archive = bytes.get(BARE_HEADER_BYTES..).ok_or_else(short)?;
            Ok(Parts { fingerprint, text: "", archive })
        }
        VERSION => {
            let length = usize::try_from(word(16)?).map_err(|_| short())?;
            let end = HEADER_BYTES.checked_add(length).ok_or_else(short)?;
            let text = bytes.get(HEADER_BYTES..end).ok_or_else(short)?;
            let text = std::str::from_utf8(text).map_err(|_| PieceCause::OtherText)?;
            let archive = end.checked_next_multiple_of(ALIGNMENT).and_then(|at| bytes.get(at..));
            Ok(Parts { fingerprint, text, archive: archive.ok_or_else(short)? })
        }
        found => Err(PieceCause::Version { found }),
    }
}

/// Why a piece cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PieceCause {
    #[error("it has {found} bytes, fewer than it says; the checkpoint is damaged")]
    Short { found: usize },
    #[error("the description of its type is not what it was; the checkpoint is damaged")]
    OtherText,
    #[error(
        "it is of format version {found}, this program reads {VERSION}; use a program as new as the checkpoint"
    )]
    Version { found: u64 },
    #[error(
        "its type is now {expected}, and was one with fingerprint {found}; change the type back, or begin without the \
         checkpoint"
    )]
    Schema { expected: Box<str>, found: SchemaFingerprint },
    #[error("its type is now {expected}, and was {found}: {refused}")]
    Changed { expected: Box<str>, found: Box<str>, refused: Box<SchemaRefused> },
    #[error(transparent)]
    Value(Box<StateError>),
    /// What the part itself has found.
    #[error(transparent)]
    Part(BoxError),
}

impl From<StateError> for PieceCause {
    fn from(error: StateError) -> Self {
        PieceCause::Value(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_wider_types_and_cut_ones_are_refused() {
        let bytes = to_bytes(&vec![(1_u32, "one".to_owned())]).unwrap();
        assert_eq!(from_bytes::<Vec<(u64, String)>>(&bytes).unwrap(), [(1, "one".to_owned())]);
        let refused = from_bytes::<Vec<(u16, String)>>(&bytes).unwrap_err().to_string();
        let told = "its type is now Vec<(u16,String)>, and was Vec<(u32,String)>: field '[].0' was u32 and is u16";
        assert!(refused.starts_with(told), "{refused}");
        for length in 0..bytes.len() {
            assert!(from_bytes::<Vec<(u64, String)>>(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn values_without_a_text_are_read_as_what_they_are() {
        let mut bytes = AlignedVec::<16>::new();
        bytes.extend_from_slice(&BARE_VERSION.to_le_bytes());
        bytes.extend_from_slice(&SchemaDescription::of::<u64>().fingerprint().0.to_le_bytes());
        bytes.extend_from_slice(&7_u64.to_le_bytes());
        assert_eq!(from_bytes::<u64>(&bytes).unwrap(), 7);
        let upgrade = |old: u64| (old, 1_u8);
        assert_eq!(from_bytes_since::<(u64, u8), u64>(&bytes, upgrade).unwrap(), (7, 1));
        let refused = from_bytes::<u128>(&bytes).unwrap_err();
        assert!(matches!(refused, PieceCause::Schema { .. }), "{refused}");
        bytes[0] = 9;
        let refused = from_bytes::<u64>(&bytes).unwrap_err();
        assert!(matches!(refused, PieceCause::Version { found: 9 }), "{refused}");
    }
}
