//! What a checkpoint has of an asynchronous operator: the records whose results have not left, and the controls among them.
//!
//! As archived values: `(type of the records, last watermark that left, was idle then, entries)`, where an entry is
//! `(kind, time, archive of the record)`: 0 a record and its timestamp, 1 a watermark, 2 a status (time 1: idle).
//!
//! **Rules for other parallelism.** A subtask takes the records of every so-many-th of the old ones, in their order. Watermarks
//! and statuses among them are brought together behind all records: the lowest that any old subtask has come to.

use crate::operator::pieces::{PieceCause, ReadAs, StoredType, stored_type};
use crate::record::{Control, StreamStatus};
use crate::state::{StateError, StateValue};

/// Something that waits.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum InFlight<T> {
    /// A record with its timestamp.
    Record(T, i64),
    Watermark(i64),
    Status(StreamStatus),
}

/// All that waits in a subtask.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct InFlightPiece<T> {
    /// What has left of time.
    pub(super) said: Said,
    pub(super) entries: Vec<InFlight<T>>,
}

/// What was said downstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) watermark_ms: i64,
    pub(super) is_idle: bool,
}

impl Default for Said {
    fn default() -> Self {
        Said { watermark_ms: i64::MIN, is_idle: false }
    }
}

impl Said {
    pub(super) fn note(&mut self, control: Control) {
        match control {
            Control::Watermark(watermark_ms) => self.watermark_ms = watermark_ms,
            Control::Status(status) => self.is_idle = status == StreamStatus::Idle,
            Control::Barrier(_) | Control::End => {}
        }
    }
}

const RECORD: u8 = 0;
const WATERMARK: u8 = 1;
const STATUS: u8 = 2;

/// The type of the records, what was said, and what waits.
pub(super) type StoredInFlight = (StoredType, i64, bool, Vec<(u8, i64, Vec<u8>)>);
/// As older programs have written it.
pub(super) type BareInFlight = (u64, i64, bool, Vec<(u8, i64, Vec<u8>)>);

pub(super) fn upgraded(
    (fingerprint, watermark_ms, is_idle, entries): BareInFlight,
) -> StoredInFlight {
    ((fingerprint, String::new()), watermark_ms, is_idle, entries)
}

#[derive(Debug, thiserror::Error)]
#[error("it has an entry of kind {0}, which this program does not know; the checkpoint is damaged")]
struct UnknownKind(u8);

/// Adds a record to what is stored.
pub(super) fn store_record<T: StateValue>(
    record: &T,
    timestamp: i64,
    into: &mut StoredInFlight,
) -> Result<(), StateError> {
    into.3.push((RECORD, timestamp, record.to_archived()?.into_vec()));
    Ok(())
}

/// Adds a control, if it tells time.
pub(super) fn store_control(control: Control, into: &mut StoredInFlight) {
    match control {
        Control::Watermark(watermark_ms) => into.3.push((WATERMARK, watermark_ms, Vec::new())),
        Control::Status(status) => {
            into.3.push((STATUS, i64::from(status == StreamStatus::Idle), Vec::new()));
        }
        Control::Barrier(_) | Control::End => {}
    }
}

/// Nothing yet, of records of type `T`.
pub(super) fn begin<T: StateValue>(said: Said) -> StoredInFlight {
    (stored_type::<T>(), said.watermark_ms, said.is_idle, Vec::new())
}

impl<T: StateValue> InFlightPiece<T> {
    pub(super) fn from_stored(stored: StoredInFlight) -> Result<Self, PieceCause> {
        let ((fingerprint, text), watermark_ms, is_idle, entries) = stored;
        let read_as = ReadAs::of::<T>((fingerprint, &text))?;
        let entry = |(kind, time, archive): (u8, i64, Vec<u8>)| match kind {
            RECORD => Ok(InFlight::Record(read_as.read(&archive)?, time)),
            WATERMARK => Ok(InFlight::Watermark(time)),
            STATUS if time == 0 => Ok(InFlight::Status(StreamStatus::Active)),
            STATUS => Ok(InFlight::Status(StreamStatus::Idle)),
            kind => Err(PieceCause::Part(UnknownKind(kind).into())),
        };
        let entries = entries.into_iter().map(entry).collect::<Result<_, _>>()?;
        Ok(InFlightPiece { said: Said { watermark_ms, is_idle }, entries })
    }

    /// What has been said when all entries have left.
    fn said_at_last(&self) -> Said {
        let mut said = self.said;
        for entry in &self.entries {
            match entry {
                InFlight::Record(..) => {}
                InFlight::Watermark(watermark_ms) => said.note(Control::Watermark(*watermark_ms)),
                InFlight::Status(status) => said.note(Control::Status(*status)),
            }
        }
        said
    }

    /// What a subtask of as many as say `parallelism` takes of the pieces of all subtasks there were.
    pub(super) fn share(mut pieces: Vec<Self>, subtask: usize, parallelism: usize) -> Option<Self> {
        if pieces.len() == parallelism {
            return Some(pieces.swap_remove(subtask));
        }
        let lasts = pieces.iter().map(Self::said_at_last);
        let watermark_ms = lasts.clone().map(|said| said.watermark_ms).min()?;
        let is_idle = lasts.clone().all(|said| said.is_idle);
        let said = Said {
            watermark_ms: pieces.iter().map(|piece| piece.said.watermark_ms).min()?,
            is_idle: pieces.iter().all(|piece| piece.said.is_idle),
        };
        let mine = pieces.into_iter().skip(subtask).step_by(parallelism);
        let records = mine.flat_map(|piece| piece.entries);
        let mut entries: Vec<_> =
            records.filter(|entry| matches!(entry, InFlight::Record(..))).collect();
        if watermark_ms > said.watermark_ms {
            entries.push(InFlight::Watermark(watermark_ms));
        }
        if is_idle != said.is_idle {
            let status = if is_idle { StreamStatus::Idle } else { StreamStatus::Active };
            entries.push(InFlight::Status(status));
        }
        Some(InFlightPiece { said, entries })
    }
}

#[cfg(test)]
mod tests {
    use super::InFlight::{Record, Status, Watermark};
    use super::*;

    type Piece = InFlightPiece<String>;

    fn stored(said: i64, entries: &[InFlight<String>]) -> StoredInFlight {
        let mut stored = begin::<String>(Said { watermark_ms: said, is_idle: false });
        for entry in entries {
            match entry {
                Record(record, timestamp) => store_record(record, *timestamp, &mut stored).unwrap(),
                Watermark(ms) => store_control(Control::Watermark(*ms), &mut stored),
                Status(status) => store_control(Control::Status(*status), &mut stored),
            }
        }
        stored
    }

    fn record(name: &str) -> InFlight<String> {
        Record(name.to_owned(), 7)
    }

    #[test]
    fn what_waits_comes_back_and_other_types_do_not() {
        let entries = [record("a"), Watermark(5), Status(StreamStatus::Idle), record("b")];
        let piece = Piece::from_stored(stored(3, &entries)).unwrap();
        assert_eq!(piece.entries, entries);
        assert_eq!(piece.said.watermark_ms, 3);
        let other = InFlightPiece::<u64>::from_stored(stored(3, &entries)).unwrap_err();
        assert!(other.to_string().contains("its type is now u64"), "{other}");
        let mut unknown = stored(3, &entries);
        unknown.3[1].0 = 9;
        assert!(Piece::from_stored(unknown).unwrap_err().to_string().contains("kind 9"));
        let mut damaged = stored(3, &entries);
        damaged.3[0].2.clear();
        assert!(Piece::from_stored(damaged).is_err());
    }

    #[test]
    fn other_parallelism_keeps_all_records_and_the_lowest_time() {
        let pieces = || {
            let first = stored(3, &[record("a"), Watermark(9), record("b")]);
            let second = stored(5, &[record("c"), Watermark(8), Status(StreamStatus::Idle)]);
            let third = stored(7, &[record("d")]);
            [first, second, third].map(|stored| Piece::from_stored(stored).unwrap()).into()
        };
        let share = |subtask, parallelism| Piece::share(pieces(), subtask, parallelism).unwrap();
        assert_eq!(share(1, 3), pieces()[1]);
        assert_eq!(share(0, 2).entries, [record("a"), record("b"), record("d"), Watermark(7)]);
        assert_eq!(share(1, 2).entries, [record("c"), Watermark(7)]);
        assert_eq!(share(3, 4).entries, [Watermark(7)]);
        assert_eq!(share(3, 4).said.watermark_ms, 3);
        assert_eq!(Piece::share(Vec::new(), 0, 1), None);
    }
}
