//! How sessions get into a checkpoint while they change.
//!
//! A barrier only notes which numbers the checkpoint lacks. Each drive writes some, in order of numbers; before a session
//! changes, goes, or is looked at, it is written by itself. A number that is given out anew is lacking no more.
//!
//! **Invariant**: each session that was there at the barrier is written once, as it was then.

use super::Session;
use crate::operator::window::part_set::PartSet;
use crate::operator::window::table_bytes::{TableHeader, TableWriter};
use crate::record::CheckpointId;
use crate::state::{StateError, StateValue};
use crate::window::TimeWindow;
use thalweg_state::{Key, PrefetchSlab};

/// See the module docs.
pub(super) struct SessionCopy {
    pub(super) checkpoint: CheckpointId,
    writer: TableWriter,
    missing: PartSet,
    /// No smaller number is missing.
    next: usize,
}

impl SessionCopy {
    /// Notes what there is.
    pub(super) fn begin<K: Key, A: StateValue>(
        checkpoint: CheckpointId,
        header: &TableHeader,
        sessions: &PrefetchSlab<Session<K, A>>,
    ) -> Self {
        let mut writer = TableWriter::new::<K, A>(header, sessions.len());
        // Sessions say their times themselves.
        writer.begin_chunk(TimeWindow { start: 0, end: 0 });
        let missing = PartSet::all(sessions.number_bound() as usize);
        SessionCopy { checkpoint, writer, missing, next: 0 }
    }

    /// The session of this number is about to change.
    #[inline]
    pub(super) fn before_change<K: Key, A: StateValue>(
        &mut self,
        number: u32,
        sessions: &PrefetchSlab<Session<K, A>>,
    ) -> Result<(), StateError> {
        if !self.missing.take(number as usize) {
            return Ok(());
        }
        let Some(session) = sessions.get(number) else { return Ok(()) };
        let times = [session.start_ms, session.end_ms, session.scheduled_ms];
        self.writer.entry(session.key.key_hash(), &times, &session.key, &session.accumulator)
    }

    /// A session that came after the barrier has this number now.
    #[inline]
    pub(super) fn leave_out(&mut self, number: u32) {
        self.missing.take(number as usize);
    }

    /// Writes up to so many; true when none is missing any more.
    pub(super) fn write<K: Key, A: StateValue>(
        &mut self,
        budget: usize,
        sessions: &PrefetchSlab<Session<K, A>>,
    ) -> Result<bool, StateError> {
        for _ in 0..budget {
            let Some(number) = self.missing.next(self.next) else { return Ok(true) };
            self.next = number + 1;
            self.before_change(number as u32, sessions)?;
        }
        Ok(self.missing.is_empty())
    }

    /// The piece, when nothing is missing.
    pub(super) fn finish(self) -> Vec<u8> {
        self.writer.finish()
    }
}
