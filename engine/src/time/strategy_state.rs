//! [`StrategyState`]: what a checkpoint keeps of a generator or an assigner.

use crate::Result;
use crate::state::{SchemaDescription, SchemaFingerprint, StateValue};

/// What a checkpoint keeps of a [`WatermarkGenerator`](crate::time::WatermarkGenerator) or a
/// [`TimestampAssigner`](crate::time::TimestampAssigner): one value, or nothing.
///
/// # Examples
/// A generator that goes on after a restart as if there had been none:
/// ```
/// use thalweg::prelude::*;
/// use thalweg::time::{StrategyState, WatermarkOutput};
///
/// /// Half a second behind the newest record.
/// #[derive(Clone)]
/// struct Behind { newest_ms: i64 }
///
/// impl WatermarkGenerator<u64> for Behind {
///     fn on_event(&mut self, _: &u64, timestamp_ms: i64, _: &mut WatermarkOutput) {
///         self.newest_ms = self.newest_ms.max(timestamp_ms);
///     }
///     fn on_periodic(&mut self, out: &mut WatermarkOutput) {
///         out.emit_watermark(self.newest_ms.saturating_sub(500));
///     }
///     fn snapshot_state(&self) -> thalweg::Result<StrategyState> {
///         StrategyState::of(&self.newest_ms)
///     }
///     fn restore_state(&mut self, state: &StrategyState) -> thalweg::Result {
///         self.newest_ms = state.value()?;
///         Ok(())
///     }
/// }
///
/// let (before, mut after) = (Behind { newest_ms: 7_000 }, Behind { newest_ms: i64::MIN });
/// after.restore_state(&before.snapshot_state()?)?;
/// assert_eq!(after.newest_ms, 7_000);
/// # Ok::<(), thalweg::BoxError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StrategyState(Option<Vec<u8>>);

/// A state cannot be read.
#[derive(Debug, thiserror::Error)]
enum StrategyStateError {
    #[error("the checkpoint has no state of the watermark strategy where a {expected} is expected")]
    Nothing { expected: Box<str> },
    #[error("the state of the watermark strategy has {found} bytes; the checkpoint is damaged")]
    Short { found: usize },
    #[error(
        "the state of the watermark strategy is now {expected}, and was of a type with fingerprint {found}; change the \
         type back, or begin without the checkpoint"
    )]
    Schema { expected: Box<str>, found: SchemaFingerprint },
}

impl StrategyState {
    /// Nothing: after a restart the generator or assigner is as new.
    pub fn none() -> Self {
        StrategyState(None)
    }

    /// This value.
    ///
    /// # Errors
    /// Where rkyv refuses the value.
    pub fn of<V: StateValue>(value: &V) -> Result<Self> {
        let mut bytes = SchemaDescription::of::<V>().fingerprint().0.to_le_bytes().to_vec();
        bytes.extend_from_slice(&value.to_archived()?);
        Ok(StrategyState(Some(bytes)))
    }

    /// Is there a value?
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// The value.
    ///
    /// # Errors
    /// Where there is none, it is of another type, or damaged.
    pub fn value<V: StateValue>(&self) -> Result<V> {
        let expected = SchemaDescription::of::<V>();
        let Some(bytes) = &self.0 else {
            return Err(StrategyStateError::Nothing { expected: expected.text().into() }.into());
        };
        let Some((found, archive)) = bytes.split_first_chunk::<8>() else {
            return Err(StrategyStateError::Short { found: bytes.len() }.into());
        };
        let found = SchemaFingerprint(u64::from_le_bytes(*found));
        if found != expected.fingerprint() {
            let expected = expected.text().into();
            return Err(StrategyStateError::Schema { expected, found }.into());
        }
        Ok(V::from_archived(archive)?)
    }

    /// The bytes that lie in a checkpoint.
    pub(crate) fn into_bytes(self) -> Option<Vec<u8>> {
        self.0
    }

    /// From [`into_bytes`](Self::into_bytes).
    pub(crate) fn from_bytes(bytes: Option<Vec<u8>>) -> Self {
        StrategyState(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back_and_nothing_else_does() {
        let state = StrategyState::of(&(7_i64, "seven".to_owned())).unwrap();
        assert_eq!(state.value::<(i64, String)>().unwrap(), (7, "seven".to_owned()));
        let other = state.value::<(i64, u64)>().unwrap_err().to_string();
        assert!(other.contains("is now (i64,u64), and was of a type with fingerprint"), "{other}");
        let nothing = StrategyState::none().value::<u8>().unwrap_err().to_string();
        assert!(nothing.contains("no state of the watermark strategy where a u8"), "{nothing}");
        let bytes = state.into_bytes().unwrap();
        for length in 0..bytes.len() {
            let cut = StrategyState::from_bytes(Some(bytes[..length].to_vec()));
            assert!(cut.value::<(i64, String)>().is_err(), "{length}");
        }
    }
}
