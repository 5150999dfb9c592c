//! Which entries of a map changed since it was last archived: two bits a bucket of its table, and the
//! keys that were removed.
//!
//! A bucket keeps its number until the table grows, so no user key is copied and marking costs no
//! lookup; finding the changed entries of a large map means going through words, not entries.
//!
//! **Invariants**
//! - A bit is set only for a full bucket; `born` only where `changed` is.
//! - `removed` has the keys of archived entries alone, each once: an entry that is put again counts
//!   as born.

use std::cell::Cell;

/// The bits of 64 buckets.
#[derive(Clone, Default)]
struct Marks {
    /// The entry differs from what was archived.
    changed: Cell<u64>,
    /// Nothing that lies below is of this entry.
    born: Cell<u64>,
}

/// See the module docs.
pub(super) struct MapChanges<UK> {
    marks: Box<[Marks]>,
    pub(super) removed: Vec<UK>,
}

/// Word and bit of a bucket.
#[inline]
const fn place(bucket: usize) -> (usize, u64) {
    (bucket / 64, 1 << (bucket % 64))
}

impl<UK> MapChanges<UK> {
    /// No changes of a table with this many buckets.
    pub(super) fn new(bucket_count: usize) -> Self {
        let marks = vec![Marks::default(); bucket_count.div_ceil(64)].into();
        MapChanges { marks, removed: Vec::new() }
    }

    #[inline]
    pub(super) fn mark_changed(&self, bucket: usize) {
        let (word, bit) = place(bucket);
        let changed = &self.marks[word].changed;
        changed.set(changed.get() | bit);
    }

    #[inline]
    pub(super) fn mark_born(&self, bucket: usize) {
        self.mark_changed(bucket);
        let (word, bit) = place(bucket);
        let born = &self.marks[word].born;
        born.set(born.get() | bit);
    }

    /// Notes that the entry of a bucket is gone.
    #[inline]
    pub(super) fn mark_removed(&mut self, bucket: usize, key: UK) {
        let (word, bit) = place(bucket);
        let Marks { changed, born } = &mut self.marks[word];
        *changed.get_mut() &= !bit;
        let was_born = *born.get_mut() & bit != 0;
        *born.get_mut() &= !bit;
        if !was_born {
            self.removed.push(key);
        }
    }

    /// Takes the marks of a bucket of another table over, whose entry lies in this bucket now.
    pub(super) fn take_over(&self, bucket: usize, from: &MapChanges<UK>, from_bucket: usize) {
        let (word, bit) = place(from_bucket);
        if from.marks[word].born.get() & bit != 0 {
            self.mark_born(bucket);
        } else if from.marks[word].changed.get() & bit != 0 {
            self.mark_changed(bucket);
        }
    }

    /// The buckets of changed entries, in order.
    pub(super) fn changed(&self) -> impl Iterator<Item = usize> {
        self.marks.iter().enumerate().flat_map(|(word, marks)| {
            let mut left = marks.changed.get();
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(word * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn born_entries_leave_nothing_and_others_a_key() {
        let mut changes = MapChanges::<u8>::new(130);
        for bucket in [129, 0, 64, 63] {
            changes.mark_born(bucket);
        }
        changes.mark_changed(5);
        assert_eq!(changes.changed().collect::<Vec<_>>(), [0, 5, 63, 64, 129]);
        changes.mark_removed(64, 1);
        changes.mark_removed(5, 2);
        changes.mark_removed(6, 3);
        assert_eq!(changes.changed().collect::<Vec<_>>(), [0, 63, 129]);
        assert_eq!(changes.removed, [2, 3]);
        let mut moved = MapChanges::<u8>::new(4);
        moved.take_over(1, &changes, 63);
        moved.take_over(2, &changes, 64);
        assert_eq!(moved.changed().collect::<Vec<_>>(), [1]);
        moved.mark_removed(1, 9);
        assert!(moved.removed.is_empty(), "it was born");
    }
}
