//! What is known of the entries of a part: which are to be written, which lie below.
//!
//! Two bits an entry say what is to be written, and lie in one word pair for 64 buckets, so that a write touches one line
//! beside its entry:
//!
//! | dirty | frozen | the entry |
//! |---|---|---|
//! | 0 | 0 | is below as it is, or (if not `below`) cannot be |
//! | 1 | 0 | was changed in `epoch` |
//! | 0 | 1 | was changed in `frozen_epoch`, which has ended, and is not archived yet |
//! | 1 | 1 | cannot be: it is archived before it is changed again |
//!
//! **A barrier touches no part.** The dirty bits of a part belong to the part's own `epoch`; when it is next written to, or
//! walked, and the table's epoch is another one, they are *frozen*: moved to the other bits.
//!
//! **A part nearly all of whose entries were changed counts as changed as a whole**, until the epoch ends: then a change reads
//! nothing but the part. Where 1 M keys change many times an epoch that takes 0.10 of the rate less.
//!
//! **Invariants**
//! - In `whole_epoch`, if that is `epoch`, all entries are dirty.
//! - `has_frozen` is true where there is a frozen bit, all frozen bits are of `frozen_epoch`, and it is below `epoch`.
//! - Bits of empty buckets are 0.
//! - With a memory budget: an entry that was archived in an epoch that the tier does not show is `unreadable`.
//! - Without tracking there are no words.

use crate::Epoch;
use crate::memory::prefetch_table::{Marks, prefetch};

/// Buckets of a word.
pub(super) const WORD_BUCKETS: usize = 64;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Word {
    pub(super) dirty: u64,
    pub(super) frozen: u64,
}

/// See the module docs. What a change reads comes first, so that it is in the line of the part's table.
#[derive(Debug)]
#[repr(C)]
pub(in crate::memory) struct Changes {
    /// In this epoch all entries count as changed, and none is frozen: no change has to be noted.
    pub(super) whole_epoch: Epoch,
    /// What the dirty bits belong to.
    pub(super) epoch: Epoch,
    pub(super) words: Box<[Word]>,
    /// Which entries have an image in the tier, readable or on its way.
    pub(super) below: Box<[u64]>,
    /// Which entries were used since the hand of an eviction passed; empty without a memory budget.
    pub(super) referenced: Box<[u64]>,
    /// Which entries were archived since the tier last showed all of them; empty without a memory budget.
    pub(super) unreadable: Box<[u64]>,
    /// The word that the hand of evictions has come to.
    hand: usize,
    pub(super) frozen_epoch: Epoch,
    pub(super) has_frozen: bool,
    /// Where the walk over the frozen bits goes on: no word before it has one.
    pub(super) walked_words: usize,
    /// The last epoch that an entry was archived in.
    pub(super) archived_epoch: Epoch,
    is_tracked: bool,
}

/// A part counts as changed as a whole when fewer than this part of its entries are not.
const UNCHANGED_SHARE: usize = 8;

/// The word and the bit of a bucket.
#[inline(always)]
pub(super) const fn place_of(bucket: usize) -> (usize, u64) {
    (bucket / WORD_BUCKETS, 1 << (bucket % WORD_BUCKETS))
}

impl Changes {
    /// Of a table without a tier below.
    pub(super) fn untracked() -> Self {
        Changes {
            whole_epoch: Epoch(0),
            epoch: Epoch(0),
            words: Box::default(),
            below: Box::default(),
            referenced: Box::default(),
            unreadable: Box::default(),
            hand: 0,
            frozen_epoch: Epoch(0),
            has_frozen: false,
            walked_words: 0,
            archived_epoch: Epoch(0),
            is_tracked: false,
        }
    }

    /// Of an empty table in this epoch.
    pub(super) fn tracked(epoch: Epoch, has_budget: bool) -> Self {
        let referenced = if has_budget { zeros(1) } else { Box::default() };
        Changes { epoch, referenced, is_tracked: true, ..Changes::untracked() }.successor(1)
    }

    /// Memory of the bits.
    pub(super) fn memory_bytes(&self) -> usize {
        let planes = [&self.below, &self.referenced, &self.unreadable];
        size_of_val(&*self.words) + planes.iter().map(|bits| size_of_val(&***bits)).sum::<usize>()
    }

    /// Prefetches the bits of a bucket, if a change has to be noted.
    #[inline(always)]
    pub(super) fn hint(&self, bucket: usize) {
        if self.whole_epoch == self.epoch {
            return;
        }
        prefetch(self.words.as_ptr().wrapping_add(bucket / WORD_BUCKETS).cast());
        if !self.referenced.is_empty() {
            prefetch(self.referenced.as_ptr().wrapping_add(bucket / WORD_BUCKETS).cast());
        }
    }

    /// Whether what was changed in the part's epoch is to be archived in that epoch.
    pub(super) fn has_dirty(&self) -> bool {
        self.words.iter().any(|word| word.dirty != 0)
    }

    /// How many entries were changed in the part's epoch.
    pub(super) fn dirty_count(&self) -> usize {
        self.words.iter().map(|word| word.dirty.count_ones() as usize).sum()
    }

    /// Takes all of `entry_count` entries for changed if nearly all are, so that no further change has to be noted in this
    /// epoch.
    pub(super) fn widen(&mut self, entry_count: usize) {
        let unchanged_max = entry_count / UNCHANGED_SHARE;
        if self.has_frozen || self.dirty_count() + unchanged_max < entry_count {
            return;
        }
        for (word, below) in self.words.iter_mut().zip(&self.below) {
            word.dirty |= below;
        }
        self.whole_epoch = self.epoch;
    }

    /// Begins `epoch`: what is dirty is frozen. Nothing may be both.
    pub(super) fn freeze(&mut self, epoch: Epoch) {
        if !self.has_frozen {
            let mut any = 0;
            for word in &mut self.words {
                any |= word.dirty;
                *word = Word { dirty: 0, frozen: word.dirty };
            }
            (self.has_frozen, self.frozen_epoch, self.walked_words) = (any != 0, self.epoch, 0);
        } else {
            assert!(!self.has_dirty(), "what was frozen before is archived first");
        }
        self.epoch = epoch;
    }

    /// Begins the next epoch: all entries, whose buckets these are, are frozen. None may be so yet.
    pub(super) fn freeze_all(&mut self, buckets: impl Iterator<Item = usize>) {
        assert!(!self.has_frozen, "what was frozen before is archived first");
        self.words.fill(Word::default());
        for bucket in buckets {
            let (word, bit) = place_of(bucket);
            self.words[word].frozen |= bit;
            self.has_frozen = true;
        }
        (self.frozen_epoch, self.walked_words) = (self.epoch, 0);
        self.epoch = self.epoch.next();
    }

    /// Begins the next epoch: all entries are frozen. None may be so yet.
    ///
    /// What is neither below nor was changed is no entry.
    pub(super) fn freeze_occupied(&mut self) {
        assert!(!self.has_frozen, "what was frozen before is archived first");
        for (word, below) in self.words.iter_mut().zip(&self.below) {
            *word = Word { dirty: 0, frozen: word.dirty | below };
            self.has_frozen |= word.frozen != 0;
        }
        (self.frozen_epoch, self.walked_words) = (self.epoch, 0);
        self.epoch = self.epoch.next();
    }

    /// Whether the entry waits to be archived in `frozen_epoch`.
    #[inline(always)]
    pub(super) fn is_frozen(&self, bucket: usize) -> bool {
        let (word, bit) = place_of(bucket);
        self.words[word].frozen & bit != 0
    }

    /// Notes a change of the entry in `epoch`, and says whether it is the first; `None` if that is not yet the part's, or the
    /// entry waits to be archived.
    #[inline(always)]
    pub(super) fn try_set_dirty(&mut self, bucket: usize, epoch: Epoch) -> Option<bool> {
        let (word, bit) = place_of(bucket);
        let word = self.words.get_mut(word)?;
        if self.epoch != epoch || word.frozen & bit != 0 {
            return None;
        }
        let is_first = word.dirty & bit == 0;
        word.dirty |= bit;
        Some(is_first)
    }

    /// Says that the entry was changed; whether it is the first time in this epoch.
    #[inline]
    pub(super) fn set_dirty(&mut self, bucket: usize) -> bool {
        let (word, bit) = place_of(bucket);
        let dirty = &mut self.words[word].dirty;
        let is_first = *dirty & bit == 0;
        *dirty |= bit;
        is_first
    }

    /// Says that the entry was used; for tables with a memory budget.
    #[inline(always)]
    pub(super) fn set_referenced(&mut self, bucket: usize) {
        let (word, bit) = place_of(bucket);
        if let Some(word) = self.referenced.get_mut(word) {
            *word |= bit;
        }
    }

    pub(super) fn is_below(&self, bucket: usize) -> bool {
        let (word, bit) = place_of(bucket);
        self.below[word] & bit != 0
    }

    pub(super) fn set_below(&mut self, bucket: usize) {
        let (word, bit) = place_of(bucket);
        self.below[word] |= bit;
    }

    /// The frozen image of the entry was written.
    #[inline]
    pub(super) fn set_archived(&mut self, bucket: usize) {
        let (word, bit) = place_of(bucket);
        self.words[word].frozen &= !bit;
        self.below[word] |= bit;
        if let Some(word) = self.unreadable.get_mut(word) {
            *word |= bit;
        }
        self.archived_epoch = self.frozen_epoch;
    }

    /// The tier shows all epochs up to this one.
    pub(super) fn show(&mut self, readable: Epoch) {
        if self.archived_epoch <= readable {
            self.unreadable.fill(0);
        }
    }

    /// An entry was read from below.
    pub(super) fn set_loaded(&mut self, bucket: usize) {
        self.set_below(bucket);
        self.set_referenced(bucket);
        self.whole_epoch = Epoch(0);
    }

    /// The bucket is empty now.
    pub(super) fn forget(&mut self, bucket: usize) {
        let (word, bit) = place_of(bucket);
        let Word { dirty, frozen } = &mut self.words[word];
        (*dirty, *frozen) = (*dirty & !bit, *frozen & !bit);
        self.below[word] &= !bit;
        for plane in [&mut self.referenced, &mut self.unreadable] {
            if let Some(word) = plane.get_mut(word) {
                *word &= !bit;
            }
        }
    }

    /// Chooses `wanted` entries to drop, fewer if there are fewer that the tier shows as they are: one bit a bucket.
    ///
    /// A clock: the hand goes on from where it was and passes an entry once if it was used since it last came by.
    pub(super) fn choose_victims(&mut self, wanted: usize) -> Victims {
        let words = self.words.len();
        let mut victims = Victims { bits: zeros(words), count: 0 };
        // Each lap takes off all marks, so two are the most.
        for _ in 0..2 * words {
            if victims.count == wanted {
                break;
            }
            let at = self.hand % words;
            self.hand = at + 1;
            let Word { dirty, frozen } = self.words[at];
            let (used, unreadable) = (self.referenced[at], self.unreadable[at]);
            let free = self.below[at] & !(dirty | frozen | unreadable | used | victims.bits[at]);
            let chosen = first_bits(free, wanted - victims.count);
            victims.bits[at] |= chosen;
            victims.count += chosen.count_ones() as usize;
            self.referenced[at] = 0;
        }
        victims
    }
}

/// Entries that are to be dropped.
pub(super) struct Victims {
    bits: Box<[u64]>,
    pub(super) count: usize,
}

impl Victims {
    pub(super) fn has(&self, bucket: usize) -> bool {
        let (word, bit) = place_of(bucket);
        self.bits[word] & bit != 0
    }
}

/// The lowest bits that are set, so many at most.
fn first_bits(bits: u64, count: usize) -> u64 {
    if bits.count_ones() as usize <= count {
        return bits;
    }
    let mut rest = bits;
    (0..count).for_each(|_| rest &= rest - 1);
    bits ^ rest
}

fn zeros(words: usize) -> Box<[u64]> {
    vec![0; words].into()
}

impl Marks for Changes {
    const ARE_CARRIED: bool = true;

    fn successor(&self, buckets: usize) -> Self {
        let words = if self.is_tracked { buckets.div_ceil(WORD_BUCKETS) } else { 0 };
        let referenced = if self.referenced.is_empty() { 0 } else { words };
        Changes {
            words: vec![Word::default(); words].into(),
            below: zeros(words),
            referenced: zeros(referenced),
            unreadable: zeros(referenced),
            walked_words: 0,
            ..*self
        }
    }

    #[inline]
    fn carry(&self, from: usize, other: &mut Self, to: usize) {
        if !self.is_tracked {
            return;
        }
        let ((from, from_bit), (to, to_bit)) = (place_of(from), place_of(to));
        let moved = |bits: u64| if bits & from_bit == 0 { 0 } else { to_bit };
        other.words[to].dirty |= moved(self.words[from].dirty);
        other.words[to].frozen |= moved(self.words[from].frozen);
        other.below[to] |= moved(self.below[from]);
        if let Some(word) = other.referenced.get_mut(to) {
            *word |= moved(self.referenced[from]);
            other.unreadable[to] |= moved(self.unreadable[from]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn victims_are_clean_and_readable_and_the_hand_goes_round() {
        let mut changes = Changes::tracked(Epoch(3), true).successor(128);
        (0..100).for_each(|bucket| changes.set_below(bucket));
        assert!((0..10).all(|bucket| changes.set_dirty(bucket)) && !changes.set_dirty(3));
        (10..90).for_each(|bucket| changes.set_referenced(bucket));
        let chosen = |victims: &Victims| -> Vec<usize> {
            (0..128).filter(|bucket| victims.has(*bucket)).collect()
        };
        let victims = changes.choose_victims(12);
        assert_eq!(chosen(&victims), [10, 11].into_iter().chain(90..100).collect::<Vec<_>>());
        // What was passed once and not used since goes, from where the hand is.
        assert_eq!(chosen(&changes.choose_victims(2)), [64, 65]);
        let all = changes.choose_victims(1000);
        assert_eq!((all.count, chosen(&all).len()), (90, 90));
        // What is on its way is not given up before the tier shows it.
        changes.freeze(Epoch(4));
        (0..10).for_each(|bucket| changes.set_archived(bucket));
        changes.show(Epoch(2));
        assert_eq!(changes.choose_victims(1000).count, 90);
        changes.show(Epoch(3));
        assert_eq!(changes.choose_victims(1000).count, 100);
    }

    #[test]
    fn freezing_twice_keeps_what_is_frozen() {
        let mut changes = Changes::tracked(Epoch(3), false).successor(128);
        changes.set_dirty(70);
        changes.freeze(Epoch(4));
        changes.freeze(Epoch(6));
        assert!(changes.is_frozen(70) && changes.has_frozen && !changes.has_dirty());
        assert_eq!((changes.frozen_epoch, changes.epoch), (Epoch(3), Epoch(6)));
        changes.set_archived(70);
        assert!(!changes.is_frozen(70) && changes.is_below(70));
    }
}
