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
//! **Invariants**
//! - `has_frozen` is true where there is a frozen bit, all frozen bits are of `frozen_epoch`, and it is below `epoch`.
//! - Bits of empty buckets are 0.
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
    /// What the dirty bits belong to.
    pub(super) epoch: Epoch,
    pub(super) words: Box<[Word]>,
    /// Which entries have an image in the tier, readable or on its way.
    pub(super) below: Box<[u64]>,
    /// Which entries were used since the last eviction passed; empty without a memory budget.
    pub(super) referenced: Box<[u64]>,
    pub(super) frozen_epoch: Epoch,
    pub(super) has_frozen: bool,
    /// Where the walk over the frozen bits goes on: no word before it has one.
    pub(super) walked_words: usize,
    /// The last epoch that an entry was archived in.
    pub(super) archived_epoch: Epoch,
    is_tracked: bool,
}

/// The word and the bit of a bucket.
#[inline(always)]
pub(super) const fn place_of(bucket: usize) -> (usize, u64) {
    (bucket / WORD_BUCKETS, 1 << (bucket % WORD_BUCKETS))
}

impl Changes {
    /// Of a table without a tier below.
    pub(super) fn untracked() -> Self {
        Changes {
            epoch: Epoch(0),
            words: Box::default(),
            below: Box::default(),
            referenced: Box::default(),
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

    /// Prefetches the bits of a bucket.
    #[inline(always)]
    pub(super) fn hint(&self, bucket: usize) {
        prefetch(self.words.as_ptr().wrapping_add(bucket / WORD_BUCKETS).cast());
    }

    /// Whether what was changed in the part's epoch is to be archived in that epoch.
    pub(super) fn has_dirty(&self) -> bool {
        self.words.iter().any(|word| word.dirty != 0)
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

    /// Whether the entry waits to be archived in `frozen_epoch`.
    #[inline(always)]
    pub(super) fn is_frozen(&self, bucket: usize) -> bool {
        let (word, bit) = place_of(bucket);
        self.words[word].frozen & bit != 0
    }

    /// Notes a change of the entry in `epoch`; false if that is not yet the part's, or the entry waits to be archived.
    #[inline(always)]
    pub(super) fn try_set_dirty(&mut self, bucket: usize, epoch: Epoch) -> bool {
        let (word, bit) = place_of(bucket);
        match self.words.get_mut(word) {
            Some(word) if self.epoch == epoch && word.frozen & bit == 0 => {
                word.dirty |= bit;
                true
            }
            _ => false,
        }
    }

    #[inline]
    pub(super) fn set_dirty(&mut self, bucket: usize) {
        let (word, bit) = place_of(bucket);
        self.words[word].dirty |= bit;
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
        self.archived_epoch = self.frozen_epoch;
    }

    /// The bucket is empty now.
    pub(super) fn forget(&mut self, bucket: usize) {
        let (word, bit) = place_of(bucket);
        let Word { dirty, frozen } = &mut self.words[word];
        (*dirty, *frozen) = (*dirty & !bit, *frozen & !bit);
        self.below[word] &= !bit;
        if let Some(word) = self.referenced.get_mut(word) {
            *word &= !bit;
        }
    }

    /// Chooses `wanted` clean entries to drop, first those that were not used since the last call; all if there are fewer.
    /// One bit a bucket.
    pub(super) fn choose_victims(&mut self, wanted: usize) -> Box<[u64]> {
        let clean = |at: usize| self.below[at] & !(self.words[at].dirty | self.words[at].frozen);
        let mut victims = zeros(self.words.len());
        let mut missing = wanted;
        for is_second_pass in [false, true] {
            for (at, victims) in victims.iter_mut().enumerate() {
                let used = self.referenced.get(at).filter(|_| !is_second_pass).copied();
                let chosen = first_bits(clean(at) & !used.unwrap_or(0) & !*victims, missing);
                *victims |= chosen;
                missing -= chosen.count_ones() as usize;
            }
        }
        self.referenced.fill(0);
        victims
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
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn victims_are_clean_and_unused_ones_come_first() {
        let mut changes = Changes::tracked(Epoch(3), true).successor(128);
        (0..100).for_each(|bucket| changes.set_below(bucket));
        (0..10).for_each(|bucket| changes.set_dirty(bucket));
        (10..90).for_each(|bucket| changes.set_referenced(bucket));
        let victims = changes.choose_victims(12);
        assert_eq!(victims[0], 0b11 << 10);
        assert_eq!(victims[1], 0x3FF << (90 - 64));
        let all = changes.choose_victims(1000);
        assert_eq!(all[0].count_ones() + all[1].count_ones(), 90);
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
