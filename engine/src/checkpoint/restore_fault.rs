//! What a failure says of the checkpoint that an attempt went on from: is it damaged, so that an older one may do, or does this
//! program not fit it, so that no further attempt will?
//!
//! Whatever else fails an attempt says nothing of its checkpoint, and is for the restart strategy.

use crate::operator::pieces::PieceCause;
use crate::operator::window::table_bytes::TableError;
use crate::source::SubtaskSplitError;
use crate::state::{StateError, StoreError};
use std::error::Error;
use thalweg_io::{Corruption, IoError};

/// See the module docs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestoreFault {
    /// Its files are not what they were, or are gone.
    Damaged,
    /// It is of other types, settings or versions.
    Refused,
}

impl RestoreFault {
    /// Looks through all causes of a failure.
    pub(crate) fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(fault) = of_one(error) {
                return Some(fault);
            }
            next = error.source();
        }
        None
    }
}

fn of_one(error: &(dyn Error + 'static)) -> Option<RestoreFault> {
    if let Some(error) = error.downcast_ref::<StateError>() {
        return of_state(error);
    }
    if let Some(error) = error.downcast_ref::<StoreError>() {
        return of_store(error);
    }
    if let Some(error) = error.downcast_ref::<TableError>() {
        return of_table(error);
    }
    if error.is::<SubtaskSplitError>() {
        return Some(RestoreFault::Refused);
    }
    #[cfg(feature = "kafka")]
    if let Some(error) = error.downcast_ref::<crate::connector::kafka::KafkaError>() {
        return error.is_lasting().then_some(RestoreFault::Refused);
    }
    match error.downcast_ref::<PieceCause>()? {
        PieceCause::Short { .. } | PieceCause::OtherText => Some(RestoreFault::Damaged),
        PieceCause::Version { .. } | PieceCause::Schema { .. } | PieceCause::Changed { .. } => {
            Some(RestoreFault::Refused)
        }
        PieceCause::Value(error) => of_state(error),
        PieceCause::Part(error) => of_one(&**error),
    }
}

fn of_table(error: &TableError) -> Option<RestoreFault> {
    match error {
        TableError::Short { .. }
        | TableError::Entries { .. }
        | TableError::Hash { .. }
        | TableError::OtherText => Some(RestoreFault::Damaged),
        TableError::Value(error) => of_state(error),
        _ => Some(RestoreFault::Refused),
    }
}

fn of_state(error: &StateError) -> Option<RestoreFault> {
    match error {
        StateError::Store(error) => of_store(error),
        StateError::OperatorStateChanged { .. } | StateError::Evolve { .. } => {
            Some(RestoreFault::Refused)
        }
        StateError::MalformedOperatorState { .. } => Some(RestoreFault::Damaged),
        _ => None,
    }
}

fn of_store(error: &StoreError) -> Option<RestoreFault> {
    match error {
        StoreError::Damaged { source, .. } | StoreError::Io { source, .. } => of_file(source),
        StoreError::Malformed { .. }
        | StoreError::NoSuchStore { .. }
        | StoreError::NoSuchCheckpoint { .. } => Some(RestoreFault::Damaged),
        StoreError::SchemaChanged { .. }
        | StoreError::SettingChanged { .. }
        | StoreError::SourcesDoNotFit { .. } => Some(RestoreFault::Refused),
        _ => None,
    }
}

/// Of a file that should be whole.
pub(crate) fn of_file(error: &IoError) -> Option<RestoreFault> {
    match error {
        IoError::Corrupt { fault, .. } => Some(match **fault {
            Corruption::NewerFraming { .. } | Corruption::NewerFormat { .. } => {
                RestoreFault::Refused
            }
            _ => RestoreFault::Damaged,
        }),
        IoError::NotFound { .. } | IoError::UnexpectedEnd { .. } | IoError::DeviceFailed { .. } => {
            Some(RestoreFault::Damaged)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::pieces::{PieceError, from_bytes};

    fn check(error: impl Error + 'static, expected: Option<RestoreFault>) {
        assert_eq!(RestoreFault::of(&error), expected, "{error}");
    }

    #[test]
    fn faults_are_told_apart_however_deep_they_lie() {
        let missing = || StoreError::NoSuchStore { store: "s".into(), directory: "d".into() };
        check(missing(), Some(RestoreFault::Damaged));
        check(StateError::Store(Box::new(missing())), Some(RestoreFault::Damaged));
        let in_use = StoreError::StoreInUse { store: "s".into() };
        check(StateError::Store(Box::new(in_use)), None);
        let piece = |cause| PieceError::new("operator", 0, "piece", cause);
        let bytes = crate::operator::pieces::to_bytes(&1_u32).unwrap();
        let other_type = from_bytes::<String>(&bytes).unwrap_err();
        check(piece(other_type), Some(RestoreFault::Refused));
        let short = from_bytes::<u32>(&bytes[..7]).unwrap_err();
        check(piece(short), Some(RestoreFault::Damaged));
        check(piece(PieceCause::Part("user code".into())), None);
        let table = |error: TableError| piece(PieceCause::Part(error.into()));
        check(table(TableError::Missing), Some(RestoreFault::Refused));
        check(table(TableError::Hash { at: 3 }), Some(RestoreFault::Damaged));
    }
}
