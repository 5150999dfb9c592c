//! What a source task and the generator per split behind it tell each other: which splits there are, which one records are
//! of, and whether the source must wait for others of its group.
//!
//! Both live in one task, so all of this is cells. A source without a strategy has none of it.
//!
//! **Invariant**: a slot names one split from `Began` to `Ended`, and is used again only after it was freed.

use crate::operator::alignment::AlignedSource;
use crate::record::Control;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// What became of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SplitChange {
    Began(usize),
    Ended(usize),
}

/// See the module docs.
#[derive(Debug)]
pub(crate) struct SourceSplits {
    /// The split of each slot; `None` for slot 0 and for slots that have ended.
    ids: RefCell<Vec<Option<String>>>,
    free: RefCell<Vec<usize>>,
    /// The slot of the records to come.
    current: Cell<usize>,
    changes: RefCell<VecDeque<SplitChange>>,
    has_changes: Cell<bool>,
    /// Assigned to a reader that has not named a split yet, and so may never do.
    assigned: RefCell<Vec<String>>,
    names_splits: Cell<bool>,
    alignment: Option<AlignedSource>,
    is_waiting: Cell<bool>,
}

impl SourceSplits {
    /// The slot of records outside any split.
    pub(crate) const OUTSIDE: usize = 0;

    pub(crate) fn new(alignment: Option<AlignedSource>) -> Self {
        SourceSplits {
            ids: RefCell::new(vec![None]),
            free: RefCell::default(),
            current: Cell::new(Self::OUTSIDE),
            changes: RefCell::default(),
            has_changes: Cell::new(false),
            assigned: RefCell::default(),
            names_splits: Cell::new(false),
            alignment,
            is_waiting: Cell::new(false),
        }
    }

    /// The reader was given a split, which holds the watermark from now on; unless the reader does not name its splits.
    pub(crate) fn assign(&self, id: String) {
        if self.names_splits.get() {
            self.slot_of(&id);
        } else {
            self.assigned.borrow_mut().push(id);
        }
    }

    /// The records to come are of split `id`.
    pub(crate) fn begin(&self, id: &str) {
        if !self.names_splits.replace(true) {
            self.assigned.take().iter().for_each(|id| {
                self.slot_of(id);
            });
        }
        self.current.set(self.slot_of(id));
    }

    /// No more records of split `id` will come.
    pub(crate) fn end(&self, id: &str) {
        let slot = self.ids.borrow().iter().position(|known| known.as_deref() == Some(id));
        let Some(slot) = slot else { return };
        self.ids.borrow_mut()[slot] = None;
        self.note(SplitChange::Ended(slot));
        if self.current.get() == slot {
            self.current.set(Self::OUTSIDE);
        }
    }

    /// The slot of split `id`, which begins if it is new.
    fn slot_of(&self, id: &str) -> usize {
        let mut ids = self.ids.borrow_mut();
        if ids[self.current.get()].as_deref() == Some(id) {
            return self.current.get();
        }
        if let Some(slot) = ids.iter().position(|known| known.as_deref() == Some(id)) {
            return slot;
        }
        let slot = self.free.borrow_mut().pop().unwrap_or(ids.len());
        if slot == ids.len() {
            ids.push(None);
        }
        ids[slot] = Some(id.to_owned());
        self.note(SplitChange::Began(slot));
        slot
    }

    fn note(&self, change: SplitChange) {
        self.changes.borrow_mut().push_back(change);
        self.has_changes.set(true);
    }

    /// The split of a slot.
    pub(crate) fn id_of(&self, slot: usize) -> Option<String> {
        self.ids.borrow().get(slot).cloned().flatten()
    }

    /// Has the reader a split of this name, that it may not have named yet?
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.ids.borrow().iter().any(|known| known.as_deref() == Some(id))
            || self.assigned.borrow().iter().any(|assigned| assigned == id)
    }

    /// Has the reader named a split?
    pub(crate) fn names_splits(&self) -> bool {
        self.names_splits.get()
    }

    /// The reader goes on from a run in which it named its splits: those that it is given count at once.
    pub(crate) fn restore_names_splits(&self) {
        self.names_splits.set(true);
    }

    /// The slot of the record at hand.
    #[inline(always)]
    pub(crate) fn current(&self) -> usize {
        self.current.get()
    }

    #[inline(always)]
    pub(crate) fn has_changes(&self) -> bool {
        self.has_changes.get()
    }

    /// What has changed since the last call, in order.
    pub(crate) fn take_changes(&self) -> VecDeque<SplitChange> {
        self.has_changes.set(false);
        self.changes.take()
    }

    /// Nothing refers to an ended slot any more.
    pub(crate) fn free(&self, slot: usize) {
        self.free.borrow_mut().push(slot);
    }

    /// The subtask has said this downstream.
    pub(crate) fn has_said(&self, control: Control) {
        if let Some(alignment) = &self.alignment {
            alignment.has_said(control);
        }
    }

    /// Must the source not be read just now, because it is too far ahead of its group?
    pub(crate) fn must_wait(&self, now_ms: i64) -> bool {
        let must_wait = self.alignment.as_ref().is_some_and(|group| group.must_wait(now_ms));
        self.is_waiting.set(must_wait);
        must_wait
    }

    /// The last answer of [`must_wait`](Self::must_wait).
    pub(crate) fn is_waiting(&self) -> bool {
        self.is_waiting.get()
    }
}

#[cfg(test)]
mod tests {
    use super::SplitChange::{Began, Ended};
    use super::*;

    #[test]
    fn splits_get_slots_and_give_them_back() {
        let splits = SourceSplits::new(None);
        assert_eq!(splits.current(), SourceSplits::OUTSIDE);
        splits.begin("a");
        splits.begin("b");
        splits.begin("a");
        assert_eq!((splits.current(), splits.take_changes().into()), (1, vec![Began(1), Began(2)]));
        splits.end("a");
        splits.end("a");
        assert_eq!(splits.current(), SourceSplits::OUTSIDE);
        splits.begin("c");
        assert_eq!((splits.current(), splits.take_changes().into()), (3, vec![Ended(1), Began(3)]));
        splits.free(1);
        splits.begin("d");
        assert_eq!((splits.current(), splits.take_changes().into()), (1, vec![Began(1)]));
    }

    #[test]
    fn assigned_splits_count_once_the_reader_names_one() {
        let splits = SourceSplits::new(None);
        splits.assign("a".into());
        splits.assign("b".into());
        assert!(!splits.has_changes());
        splits.begin("b");
        assert_eq!((splits.current(), splits.take_changes().into()), (2, vec![Began(1), Began(2)]));
        splits.assign("c".into());
        assert_eq!(splits.take_changes(), [Began(3)]);
    }
}
