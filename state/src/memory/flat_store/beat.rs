//! The changes of a flat store on their way down: barriers and beats.

use hashbrown::HashTable;

use super::changes::{WORD_BUCKETS, Word};
use super::tracking::Tracking;
use super::{FlatPart, FlatStore};
use crate::memory::prefetch_table::prefetch;
use crate::memory::table_memory::TableMemory;
use crate::{Epoch, Key, Progress, StateError, StateValue};

/// What it costs to look for marks in a part, in entries.
const PART_COST: usize = 16;
/// Beats between two looks at a part: a look takes 0.2 us.
const BEATS_PER_LOOK: u32 = 16;
/// How many entries ahead of the one that is written are fetched: marks may be a few or all of a word, so it is not words
/// that are counted.
const ENTRIES_AHEAD: usize = 24;

impl<K: Key, S: StateValue> FlatStore<K, S> {
    /// Ends the current epoch and returns it: all changes until now belong to it or to older ones, all later ones do not.
    /// Takes the same short time for any number of entries and changes. `None` where nothing is attached.
    pub fn barrier(&mut self) -> Option<Epoch> {
        let tracking = self.tracking.as_mut()?;
        tracking.choose_kind();
        let ended = tracking.store.barrier();
        tracking.epoch = tracking.store.current_epoch();
        (tracking.wants_spill, tracking.dirty_count) = (false, 0);
        Some(ended)
    }

    /// Writes about `rows_max` changed entries of ended epochs to the persistent tier, in order of epochs; to be called
    /// between records until all are finished. Where memory is limited it is to be called all the time: it also makes room,
    /// about as much as it writes rows.
    ///
    /// # Errors
    ///
    /// [`StateError::Archive`] when rkyv refuses a key or a value, and those of the persistent tier. What is archived stays
    /// so; the next beat goes on with the entry that failed.
    pub fn beat(&mut self, rows_max: usize) -> Result<Progress, StateError> {
        let mut left = rows_max;
        if let Some(tracking) = &mut self.tracking {
            tracking.forget_removed();
        }
        while left > 0 && self.walk_oldest(&mut left)? {}
        let mut progress = Progress { rows: rows_max - left, ..Progress::default() };
        if let Some(tracking) = &self.tracking {
            let epochs = tracking.epoch.0 - tracking.store.oldest_epoch().0;
            progress.epochs_unfinished = epochs as usize;
        }
        progress.memory = self.make_room(rows_max);
        self.look_at_next_part();
        Ok(progress)
    }

    /// Looks, now and then, whether nearly all entries of a part were changed, so that the others may count as changed too.
    fn look_at_next_part(&mut self) {
        let Some(tracking) = &mut self.tracking else { return };
        tracking.beats = tracking.beats.wrapping_add(1);
        if tracking.has_budget() || !tracking.beats.is_multiple_of(BEATS_PER_LOOK) {
            return;
        }
        tracking.looked_parts += 1;
        let Some(part) = self.table.part_of_number(tracking.looked_parts - 1) else {
            tracking.looked_parts = 0;
            return;
        };
        if part.marks.epoch == tracking.epoch && part.marks.whole_epoch != tracking.epoch {
            part.marks.widen(part.table.len());
        }
    }

    /// Walks the oldest ended epoch; whether it was finished.
    fn walk_oldest(&mut self, left: &mut usize) -> Result<bool, StateError> {
        let Some(tracking) = &mut self.tracking else { return Ok(false) };
        let ended = tracking.store.oldest_epoch();
        if ended >= tracking.epoch {
            return Ok(false);
        }
        // Parts that are added meanwhile get the last numbers, so that the walk comes to them.
        while let Some(part) = self.table.part_of_number(tracking.walked_parts) {
            if *left == 0 {
                return Ok(false);
            }
            if part.marks.epoch <= ended && tracking.is_full {
                begin_full_epochs(part, tracking, ended.next())?;
            } else if part.marks.epoch <= ended {
                begin_epoch(part, tracking)?;
            }
            let is_due = part.marks.has_frozen && part.marks.frozen_epoch <= ended;
            if is_due && !archive_frozen(part, tracking, left)? {
                return Ok(false);
            }
            *left = left.saturating_sub(PART_COST);
            tracking.walked_parts += 1;
        }
        tracking.store.finish(ended)?;
        tracking.end_walk(ended);
        Ok(true)
    }
}

/// Lets a part take part in the current epoch: what was changed in it before is frozen.
pub(super) fn begin_epoch<K: Key, S: StateValue>(
    part: &mut FlatPart<K, S>,
    tracking: &mut Tracking<K>,
) -> Result<(), StateError> {
    if part.marks.epoch == tracking.epoch {
        return Ok(());
    }
    if tracking.is_full {
        return begin_full_epochs(part, tracking, tracking.epoch);
    }
    tracking.census.count(part.marks.dirty_count(), part.table.len());
    if tracking.replacing_epoch == Some(part.marks.epoch) {
        // All epochs before it are walked.
        part.marks.freeze_occupied();
    }
    if part.marks.has_frozen && part.marks.has_dirty() {
        let mut all = usize::MAX;
        archive_frozen(part, tracking, &mut all)?;
    }
    part.marks.freeze(tracking.epoch);
    part.marks.show(tracking.store.readable_epoch());
    Ok(())
}

/// Lets a part take part in `epoch`, where each epoch before has all that was in it then.
fn begin_full_epochs<K: Key, S: StateValue>(
    part: &mut FlatPart<K, S>,
    tracking: &mut Tracking<K>,
    epoch: Epoch,
) -> Result<(), StateError> {
    while part.marks.epoch < epoch {
        if part.marks.has_frozen {
            let mut all = usize::MAX;
            archive_frozen(part, tracking, &mut all)?;
        }
        let FlatPart { table, marks } = part;
        marks.freeze_all(table.iter_buckets());
    }
    Ok(())
}

/// Writes up to `left` of the frozen entries of a part; whether that were all.
fn archive_frozen<K: Key, S: StateValue>(
    part: &mut FlatPart<K, S>,
    tracking: &mut Tracking<K>,
    left: &mut usize,
) -> Result<bool, StateError> {
    let FlatPart { table, marks } = part;
    let mut ahead = Frozen::from(marks.walked_words);
    let fetch = ahead.first(&marks.words).and_then(|first| Fetch::new(table, first));
    let mut fetch_next = |words: &[Word]| {
        if let (Some(fetch), Some(bucket)) = (&fetch, ahead.next(words)) {
            fetch.fetch(bucket);
        }
    };
    (0..ENTRIES_AHEAD).for_each(|_| fetch_next(&marks.words));
    for at in marks.walked_words..marks.words.len() {
        let mut bits = marks.words[at].frozen;
        while bits != 0 {
            if *left == 0 {
                return Ok(false);
            }
            fetch_next(&marks.words);
            let bucket = at * WORD_BUCKETS + bits.trailing_zeros() as usize;
            let entry = table.get_bucket(bucket).expect("bits of empty buckets are 0");
            tracking.archive_entry(marks.frozen_epoch, entry)?;
            marks.set_archived(bucket);
            bits &= bits - 1;
            *left -= 1;
        }
        marks.walked_words = at + 1;
    }
    marks.has_frozen = false;
    Ok(true)
}

/// A walk over the buckets with a frozen bit, ahead of the one that clears them.
struct Frozen {
    at: usize,
    /// What is left of the word; `None` before it was looked at.
    rest: Option<u64>,
}

impl Frozen {
    fn from(word: usize) -> Self {
        Frozen { at: word, rest: None }
    }

    /// The first of them; the walk does not move.
    fn first(&self, words: &[Word]) -> Option<usize> {
        Frozen { at: self.at, rest: self.rest }.next(words)
    }

    #[inline]
    fn next(&mut self, words: &[Word]) -> Option<usize> {
        loop {
            let word = words.get(self.at)?;
            let rest = self.rest.unwrap_or(word.frozen);
            if rest != 0 {
                self.rest = Some(rest & (rest - 1));
                return Some(self.at * WORD_BUCKETS + rest.trailing_zeros() as usize);
            }
            (self.at, self.rest) = (self.at + 1, None);
        }
    }
}

/// Fetches entries and their control bytes by address: asking the table would read the control byte, and wait for it.
struct Fetch<E> {
    /// Behind bucket 0. Entries lie below, each before the last; control bytes above. Never read through.
    end: *const E,
}

impl<E> Fetch<E> {
    /// Learns where the entries of a table lie from one of them.
    fn new(table: &HashTable<E, TableMemory>, bucket: usize) -> Option<Self> {
        let entry = std::ptr::from_ref(table.get_bucket(bucket)?);
        Some(Fetch { end: entry.wrapping_add(bucket + 1) })
    }

    #[inline(always)]
    fn fetch(&self, bucket: usize) {
        prefetch(self.end.cast::<u8>().wrapping_add(bucket));
        prefetch(self.end.wrapping_sub(bucket + 1).cast());
    }
}
