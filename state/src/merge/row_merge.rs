//! The merge itself; see the module docs.

use std::cmp::Ordering;

use super::RowSource;
use crate::backend::StoreError;
use crate::codec::{Record, RecordKind, RowPrefix, StateIndex};

/// What of a merged row is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keep {
    /// Puts that expire at this time or before are void.
    pub(crate) now_ms: i64,
    /// Removals are wanted, because something older may lie elsewhere.
    pub(crate) removals: bool,
}

impl Keep {
    /// Live puts alone: all there is of the row is merged.
    pub(crate) const fn live(now_ms: i64) -> Self {
        Keep { now_ms, removals: false }
    }
}

/// Rows of several sources as one.
///
/// # Invariants
///
/// - `at_row` has the sources that stand at the current row, `live` those of them that no removal of
///   the whole row voids; both newest first.
/// - No two sources of `live` stand at the same (state, sub-key) after a record was chosen, except
///   the chosen one and none older.
#[derive(Debug)]
pub(crate) struct RowMerge<S> {
    /// The newest first.
    sources: Vec<S>,
    /// Where each of them stands; none behind its last row. Empty before the first row.
    prefixes: Vec<Option<RowPrefix>>,
    at_row: Vec<usize>,
    live: Vec<usize>,
    /// The source whose record was given last; it is still there.
    given: Option<usize>,
    row_removed: bool,
    /// That the row is removed has still to be said.
    row_removal_due: bool,
    state_removed: Option<StateIndex>,
}

/// What the next record of a row is.
#[derive(Clone, Copy)]
enum Chosen {
    RowRemoval,
    Record(usize),
    /// A put that has expired: the removal of its entry.
    Expired(usize),
    End,
}

impl<S: RowSource> RowMerge<S> {
    /// Merges sources, the newest first.
    pub(crate) fn new(sources: Vec<S>) -> Self {
        RowMerge {
            sources,
            prefixes: Vec::new(),
            at_row: Vec::new(),
            live: Vec::new(),
            given: None,
            row_removed: false,
            row_removal_due: false,
            state_removed: None,
        }
    }

    /// Goes to the next row, or to the first one; false after the last.
    pub(crate) fn next_row(&mut self) -> Result<bool, StoreError> {
        if self.prefixes.is_empty() {
            self.prefixes.extend(self.sources.iter().map(S::prefix));
        }
        for index in self.at_row.drain(..) {
            self.sources[index].next_row()?;
            self.prefixes[index] = self.sources[index].prefix();
        }
        self.find_least();
        self.live.clear();
        self.given = None;
        self.row_removed = false;
        self.state_removed = None;
        for index in 0..self.at_row.len() {
            let source = self.at_row[index];
            self.live.push(source);
            let first = self.sources[source].record();
            if first.is_some_and(|record| record.kind == RecordKind::RemoveRow) {
                self.sources[source].next_record()?;
                self.row_removed = true;
                break;
            }
        }
        self.row_removal_due = self.row_removed;
        Ok(!self.at_row.is_empty())
    }

    /// Prefix of the current row; there is one after [`next_row`](Self::next_row) said so.
    pub(crate) fn prefix(&self) -> Option<RowPrefix> {
        self.prefixes[*self.at_row.first()?]
    }

    /// Archived key of the current row.
    pub(crate) fn key(&self) -> &[u8] {
        self.at_row.first().map_or(&[], |source| self.sources[*source].key())
    }

    /// The next record of the current row; `None` after the last. `keep` stays the same for a row.
    #[inline]
    pub(crate) fn next_record(&mut self, keep: Keep) -> Result<Option<Record<'_>>, StoreError> {
        let given = match self.choose(keep)? {
            Chosen::RowRemoval => return Ok(Some(Record::remove(RecordKind::RemoveRow, 0, &[]))),
            Chosen::End => return Ok(None),
            Chosen::Record(source) => self.sources[source].record(),
            Chosen::Expired(source) => self.sources[source]
                .record()
                .map(|record| Record::remove(RecordKind::RemoveEntry, record.state, record.sub)),
        };
        Ok(given)
    }

    /// Forgets everything; sources are to be pushed, the newest first, before the first row.
    pub(crate) fn restart(&mut self) -> &mut Vec<S> {
        self.prefixes.clear();
        self.at_row.clear();
        self.live.clear();
        self.given = None;
        self.sources.clear();
        &mut self.sources
    }

    /// Finds the sources that stand at the least row.
    fn find_least(&mut self) {
        let Some(least) = self.prefixes.iter().copied().flatten().min() else { return };
        for (index, prefix) in self.prefixes.iter().enumerate() {
            if *prefix != Some(least) {
                continue;
            }
            // Keys decide among the few whose prefix is the same.
            let order = self.at_row.first().map_or(Ordering::Less, |first| {
                self.sources[index].key().cmp(self.sources[*first].key())
            });
            if order.is_lt() {
                self.at_row.clear();
            }
            if order.is_le() {
                self.at_row.push(index);
            }
        }
    }

    fn choose(&mut self, keep: Keep) -> Result<Chosen, StoreError> {
        if std::mem::take(&mut self.row_removal_due) && keep.removals {
            return Ok(Chosen::RowRemoval);
        }
        loop {
            if let Some(given) = self.given.take() {
                self.sources[given].next_record()?;
            }
            let Some(position) = self.find_newest_of_least() else { return Ok(Chosen::End) };
            let source = self.live[position];
            self.given = Some(source);
            let Some(record) = self.sources[source].record() else { return Ok(Chosen::End) };
            let (kind, state, expires_at_ms) = (record.kind, record.state, record.expires_at_ms);
            if self.live.len() > 1 {
                self.skip_voided(position)?;
            }
            let is_void_below = self.row_removed || self.state_removed == Some(state);
            let keeps_removal = keep.removals && !is_void_below;
            match kind {
                RecordKind::Put if expires_at_ms.is_none_or(|at_ms| at_ms > keep.now_ms) => {
                    return Ok(Chosen::Record(source));
                }
                RecordKind::Put if keeps_removal => return Ok(Chosen::Expired(source)),
                RecordKind::RemoveState => {
                    self.state_removed = Some(state);
                    if keeps_removal {
                        return Ok(Chosen::Record(source));
                    }
                }
                RecordKind::RemoveEntry if keeps_removal => return Ok(Chosen::Record(source)),
                // A removal beside which nothing older can be, or one of the row that is not the
                // first record, which no writer makes.
                RecordKind::Put | RecordKind::RemoveEntry | RecordKind::RemoveRow => {}
            }
        }
    }

    /// The place in `live` of the newest source that stands at the least record.
    #[inline]
    fn find_newest_of_least(&self) -> Option<usize> {
        if let [only] = *self.live {
            return self.sources[only].record().map(|_| 0);
        }
        let mut least: Option<(Record<'_>, usize)> = None;
        for (position, source) in self.live.iter().enumerate() {
            let Some(record) = self.sources[*source].record() else { continue };
            if least.is_none_or(|(least, _)| record.sort_key() < least.sort_key()) {
                least = Some((record, position));
            }
        }
        least.map(|(_, position)| position)
    }

    /// Moves the sources older than the chosen one past what its record voids.
    #[inline]
    fn skip_voided(&mut self, position: usize) -> Result<(), StoreError> {
        for older in position + 1..self.live.len() {
            loop {
                // Positions of `live` are sources, each once, so the two are different.
                let chosen = self.sources[self.live[position]].record();
                let other = self.sources[self.live[older]].record();
                let (Some(chosen), Some(other)) = (chosen, other) else { break };
                let is_void = match chosen.kind {
                    RecordKind::RemoveState => other.state == chosen.state,
                    _ => other.sort_key() == chosen.sort_key(),
                };
                if !is_void {
                    break;
                }
                self.sources[self.live[older]].next_record()?;
            }
        }
        Ok(())
    }
}
