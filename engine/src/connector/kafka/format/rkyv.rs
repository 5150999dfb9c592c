//! rkyv's archives, with the fingerprint of the schema in front.
//!
//! ```text
//! byte  0..4   "TWR1"
//! byte  4..8   zero
//! byte  8..16  fingerprint of the type's structure, u64 little endian
//! byte 16..    rkyv's archive, aligned to 16 from byte 0 on
//! ```
//! Version log: `TWR1`, the first.
//!
//! **Invariant**: nothing of an archive is used before magic, fingerprint and the archive itself are checked: others write to
//! topics, too.

use std::fmt;
use std::marker::PhantomData;

use rkyv::util::AlignedVec;

use super::{DeserializationSchema, FormatError, SerializationSchema, value_of};
use crate::connector::kafka::record::KafkaMessage;
use crate::state::{SchemaDescription, SchemaFingerprint, StateValue};

const MAGIC: [u8; 8] = *b"TWR1\0\0\0\0";
/// Magic and fingerprint; a multiple of rkyv's alignment.
const HEADER_BYTES: usize = 16;

/// The value is rkyv's archive of a `T`, behind the fingerprint of its structure: the fastest format between programs of Thalweg. A
/// record that was written as another type is refused, as [`FormatError::SchemaMismatch`].
///
/// # Examples
/// ```
/// use thalweg::connector::kafka::{DeserializationSchema, KafkaMessage, RkyvFormat, SerializationSchema};
///
/// #[thalweg::record]
/// #[derive(Clone, Debug, PartialEq)]
/// struct Order { id: u64, item: String }
///
/// let (order, mut bytes) = (Order { id: 7, item: "tea".into() }, Vec::new());
/// RkyvFormat::<Order>::new().serialize(&order, &mut bytes)?;
/// assert_eq!(RkyvFormat::<Order>::new().deserialize(&KafkaMessage::of_value(&bytes))?, order);
///
/// let error = RkyvFormat::<(u64, u64)>::new().deserialize(&KafkaMessage::of_value(&bytes)).unwrap_err();
/// assert!(error.to_string().contains("schema mismatch"));
/// # Ok::<(), thalweg::BoxError>(())
/// ```
pub struct RkyvFormat<T> {
    fingerprint: SchemaFingerprint,
    /// Empty between values.
    archive: AlignedVec,
    _value: PhantomData<fn() -> T>,
}

impl<T: StateValue> RkyvFormat<T> {
    /// The format of `T`.
    pub fn new() -> Self {
        let fingerprint = SchemaDescription::of::<T>().fingerprint();
        RkyvFormat { fingerprint, archive: AlignedVec::new(), _value: PhantomData }
    }
}

impl<T: StateValue> Default for RkyvFormat<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for RkyvFormat<T> {
    fn clone(&self) -> Self {
        let fingerprint = self.fingerprint;
        RkyvFormat { fingerprint, archive: AlignedVec::new(), _value: PhantomData }
    }
}

impl<T> fmt::Debug for RkyvFormat<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RkyvFormat<{}>({})", std::any::type_name::<T>(), self.fingerprint)
    }
}

impl<T: StateValue + Send> DeserializationSchema for RkyvFormat<T> {
    type Out = T;

    fn deserialize(&mut self, message: &KafkaMessage<'_>) -> Result<T, FormatError> {
        let bytes = value_of(message)?;
        let no_archive = || FormatError::NoArchive { found: bytes.len() };
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or_else(no_archive)?;
        let (fingerprint, archive) = rest.split_first_chunk().ok_or_else(no_archive)?;
        if *magic != MAGIC {
            return Err(no_archive());
        }
        let found = SchemaFingerprint(u64::from_le_bytes(*fingerprint));
        if found != self.fingerprint {
            return Err(mismatch::<T>(found));
        }
        Ok(T::from_archived(archive)?)
    }
}

#[cold]
fn mismatch<T: StateValue>(found: SchemaFingerprint) -> FormatError {
    let expected = SchemaDescription::of::<T>();
    let expected_fingerprint = expected.fingerprint();
    FormatError::SchemaMismatch { expected: expected.text().into(), expected_fingerprint, found }
}

impl<T: StateValue> SerializationSchema<T> for RkyvFormat<T> {
    fn serialize(&mut self, value: &T, bytes: &mut Vec<u8>) -> Result<(), FormatError> {
        self.archive.clear();
        value.archive_into(&mut self.archive)?;
        bytes.reserve(HEADER_BYTES + self.archive.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.fingerprint.0.to_le_bytes());
        bytes.extend_from_slice(&self.archive);
        self.archive.clear();
        Ok(())
    }
}
