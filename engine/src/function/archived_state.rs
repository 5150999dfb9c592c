//! State of a part of the job that is no keyed operator: one value, archived for a checkpoint.

use crate::checkpoint::piece_bytes::PieceBytes;
use crate::operator::pieces::{PieceCause, from_bytes, to_bytes};
use crate::state::{StateError, StateValue};

/// A value of any state type as checkpoints hold it: archived, with its type; or nothing.
///
/// # Examples
/// ```
/// use thalweg::function::ArchivedState;
///
/// # fn main() -> thalweg::Result<()> {
/// let state = ArchivedState::of(&("offset".to_owned(), 7_u64))?;
/// assert_eq!(state.get::<(String, u64)>()?, Some(("offset".to_owned(), 7)));
/// assert_eq!(ArchivedState::none().get::<u64>()?, None);
///
/// let error = state.get::<u64>().unwrap_err().to_string();
/// assert!(error.contains("its type is now u64, and was (String,u64)"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchivedState {
    /// Empty for nothing: a value has a header at least.
    bytes: PieceBytes,
}

/// An archived state cannot be read: it is damaged, or of another type.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ArchivedStateError(#[from] PieceCause);

impl ArchivedState {
    /// Nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Archives a value.
    ///
    /// # Errors
    /// If it cannot be archived.
    pub fn of<V: StateValue>(value: &V) -> Result<Self, StateError> {
        Ok(ArchivedState { bytes: to_bytes(value)?.into() })
    }

    /// Is there nothing?
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The value, if there is one.
    ///
    /// # Errors
    /// If it is of a type that cannot become `V`, or damaged.
    pub fn get<V: StateValue>(&self) -> Result<Option<V>, ArchivedStateError> {
        match self.is_none() {
            true => Ok(None),
            false => Ok(Some(from_bytes(&self.bytes.clone().into_contiguous())?)),
        }
    }

    pub(crate) fn from_bytes(bytes: impl Into<PieceBytes>) -> Self {
        ArchivedState { bytes: bytes.into() }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes.into_contiguous()
    }

    /// As checkpoints take it.
    pub(crate) fn into_piece(self) -> PieceBytes {
        self.bytes
    }
}
