//! What every row begins with: which states are there, which of them have changed, and marks.
//!
//! ```text
//! presence u32 | dirty u32 | hash u32 | marks u32
//! marks    bits 0-2 epoch (modulo 8)   3 listed   4 referenced   5 below   8-31 pins
//! ```
//! **Invariants**
//! - `pins` is all ones exactly in free rows, whose `hash` is the next free row and whose other
//!   fields are zero.
//! - A row that is *listed* is in the set of changed rows of the epoch that its mark names. Its
//!   dirty bits are of that epoch, and stay so until it is archived.
//! - Without the bit that says *listed*, the epoch's bits are 0, or 1 or 2 for a row whose content
//!   is still to be read.
//! - A row of which something may lie in the persistent tier is *below*.
//! - Where nothing is attached below, dirty bits are set and never cleared, and no mark is.

use std::ptr::NonNull;

use crate::{Epoch, KeyHash};

/// Header of a row; see the module docs.
#[repr(C)]
pub(super) struct RowHeader {
    /// Bit `i` tells whether state `i` is initialised.
    pub(super) presence: u32,
    /// Bit `i` tells whether state `i` has changed since it was archived.
    pub(super) dirty: u32,
    /// The key's hash; in a free row, the next free row.
    hash: u32,
    marks: u32,
}

/// Where the key lies in a row; a multiple of every alignment that is allowed.
pub(super) const KEY_OFFSET: usize = size_of::<RowHeader>();
const _: () = assert!(KEY_OFFSET == 16 && KEY_OFFSET.is_multiple_of(super::MAX_ALIGNMENT));
const _: () = assert!(super::MAX_STATES <= u32::BITS as usize);

const EPOCH_MASK: u32 = 7;
const IS_LISTED: u32 = 1 << 3;
const IS_REFERENCED: u32 = 1 << 4;
const IS_BELOW: u32 = 1 << 5;
const PIN: u32 = 1 << 8;
/// The pins of a free row.
const FREE: u32 = !(PIN - 1);
/// The pins that stick.
const PINS_MAX: u32 = FREE - PIN;

/// In which epoch's set of changed rows a row is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EpochTag(u32);

impl EpochTag {
    /// In none.
    pub(super) const NONE: EpochTag = EpochTag(0);

    /// Its content is still to be read; see `row_loading`.
    pub(super) const REQUESTED: EpochTag = EpochTag(1);

    /// Its content is still to be read, and nobody has asked for it.
    pub(super) const UNREAD: EpochTag = EpochTag(2);

    /// How many epochs can be told apart.
    pub(super) const EPOCHS: usize = EPOCH_MASK as usize + 1;

    pub(super) const fn of(epoch: Epoch) -> Self {
        EpochTag(IS_LISTED | epoch.0 as u32 & EPOCH_MASK)
    }
}

impl RowHeader {
    /// The header of a row that has just got its key.
    #[inline]
    pub(super) const fn new(hash: KeyHash) -> Self {
        RowHeader { presence: 0, dirty: 0, hash: hash.as_u32(), marks: 0 }
    }

    /// The header of a free row.
    #[inline]
    pub(super) const fn free(next: u32) -> Self {
        RowHeader { presence: 0, dirty: 0, hash: next, marks: FREE }
    }

    #[inline(always)]
    pub(super) fn is_live(&self) -> bool {
        self.marks < FREE
    }

    /// The hash of a live row's key.
    #[inline(always)]
    pub(super) fn hash(&self) -> KeyHash {
        KeyHash::from_u32(self.hash)
    }

    /// The free row after this free row.
    #[inline]
    pub(super) fn next_free(&self) -> u32 {
        self.hash
    }

    /// Whether a live row has neither state nor pins.
    #[inline(always)]
    pub(super) fn is_unused(&self) -> bool {
        self.presence == 0 && self.marks < PIN
    }

    #[inline]
    pub(super) fn is_pinned(&self) -> bool {
        self.marks >= PIN
    }

    /// Adds a pin to a live row; sticks at sixteen million.
    #[inline]
    pub(super) fn pin(&mut self) {
        if self.marks < PINS_MAX {
            self.marks += PIN;
        }
    }

    /// Takes a pin off a live row, unless they stick.
    #[inline]
    pub(super) fn unpin(&mut self) {
        if (PIN..PINS_MAX).contains(&self.marks) {
            self.marks -= PIN;
        }
    }

    #[inline(always)]
    pub(super) fn tag(&self) -> EpochTag {
        EpochTag(self.marks & (IS_LISTED | EPOCH_MASK))
    }

    #[inline(always)]
    pub(super) fn set_tag(&mut self, EpochTag(tag): EpochTag) {
        self.marks = self.marks & !(IS_LISTED | EPOCH_MASK) | tag;
    }

    #[inline(always)]
    pub(super) fn is_below(&self) -> bool {
        self.marks & IS_BELOW != 0
    }

    /// What was dirty is archived.
    #[inline(always)]
    pub(super) fn set_archived(&mut self, is_below: bool) {
        self.dirty = 0;
        let cleared = self.marks & !(IS_LISTED | EPOCH_MASK | IS_BELOW);
        self.marks = cleared | if is_below { IS_BELOW } else { 0 };
    }

    /// Whether the row's content is still to be read.
    #[inline]
    pub(super) fn is_unread(&self) -> bool {
        self.tag() == EpochTag::REQUESTED || self.tag() == EpochTag::UNREAD
    }

    #[inline(always)]
    pub(super) fn is_referenced(&self) -> bool {
        self.marks & IS_REFERENCED != 0
    }

    #[inline(always)]
    pub(super) fn set_referenced(&mut self, is_referenced: bool) {
        self.marks = self.marks & !IS_REFERENCED | if is_referenced { IS_REFERENCED } else { 0 };
    }
}

/// The header of a row.
///
/// # Safety
///
/// `place` begins with an initialised header that is not changed for `'r`.
#[inline(always)]
pub(super) unsafe fn header_at<'r>(place: NonNull<u8>) -> &'r RowHeader {
    // SAFETY: by this function's contract; rows are aligned for their header.
    unsafe { place.cast::<RowHeader>().as_ref() }
}

/// The header of a row, to change.
///
/// # Safety
///
/// `place` begins with an initialised header that nothing else reaches for `'r`.
#[inline(always)]
pub(super) unsafe fn header_at_mut<'r>(place: NonNull<u8>) -> &'r mut RowHeader {
    // SAFETY: by this function's contract; rows are aligned for their header.
    unsafe { place.cast::<RowHeader>().as_mut() }
}

/// The key of a row.
///
/// # Safety
///
/// `place` is a live row of a store with keys of type `K`, and is not removed for `'r`. (Keys are
/// never changed while they are in a row.)
#[inline(always)]
pub(super) unsafe fn key_at<'r, K>(place: NonNull<u8>) -> &'r K {
    // SAFETY: KEY_OFFSET lies within the row.
    let key = unsafe { place.add(KEY_OFFSET) }.cast::<K>();
    // SAFETY: the key of a live row is initialised and aligned.
    unsafe { key.as_ref() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_stick_at_the_maximum_and_leave_marks_alone() {
        let mut header = RowHeader::new(KeyHash::from_u32(7));
        header.set_tag(EpochTag::of(Epoch(13)));
        header.set_archived(true);
        header.set_tag(EpochTag::of(Epoch(7)));
        header.unpin();
        assert!(!header.is_pinned());
        header.pin();
        assert!(header.is_pinned() && !header.is_unused());
        header.unpin();
        assert!(header.is_unused() && header.is_below());
        header.marks |= PINS_MAX - PIN;
        header.pin();
        header.pin();
        assert!(header.is_live());
        header.unpin();
        assert!(header.marks >= PINS_MAX && header.is_live(), "a pin that sticks stays");
        assert_eq!(header.tag(), EpochTag::of(Epoch(7 + EpochTag::EPOCHS as u64)));
        assert!(!RowHeader::free(3).is_live() && !RowHeader::free(3).is_unused());
        assert_eq!(RowHeader::free(3).tag(), EpochTag::NONE);
    }
}
