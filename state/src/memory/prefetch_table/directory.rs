//! Which sub-table a hash belongs to: the directory of extendible hashing.
//!
//! ```text
//! group_bits(hash) = 0110..       slots, 2^3 of them            sub-tables
//!                    └┬┘          000 ─┐
//!                     │           001 ─┴──────────────────────► depth 2, prefix 00
//!                     └─────────► 011 ────────────────────────► depth 3, prefix 011
//!                                 ...
//! ```
//!
//! 1. The leading bits of `group_bits` choose a slot; the slot points to the sub-table and repeats where its buckets
//!    lie, so that a hint reads nothing else: 512 slots, the directory of 10 M small entries, are 8 KiB. Pointers, not
//!    numbers: with numbers and bounds a lookup of two tables took 1.6 ns more than one of one.
//! 2. A sub-table of depth `d` has all hashes with its `d` leading bits; several slots name it if `d` is less than the
//!    directory's depth.
//! 3. Dividing a sub-table gives both halves one bit more. If that is more than the directory has, its slots double.
//!
//! **Invariants** (the first two are named in the SAFETY proofs)
//! - *slots*: their number is 0 or a power of two, at most `2^DEPTH_MAX`, and `shift` is 32 less its logarithm.
//! - *tables*: every pointer in `tables` is that of a box which the directory owns, no two are equal, and every slot has
//!   one of them. Tables are dropped with the directory, and reached through borrows of it alone.
//! - All slots whose number begins with a sub-table's bits name that sub-table, and no others do.
//! - Sub-tables are never removed, and which number one has depends on hashes and history alone.

use std::ptr::{self, NonNull};

use crate::KeyHash;
use crate::key_group::group_bits;

/// The directory's greatest depth: 65,536 slots of 16 bytes. Sub-tables that cannot be divided further grow instead.
pub(super) const DEPTH_MAX: u32 = 16;

#[derive(Debug)]
struct Slot<T> {
    table: NonNull<T>,
    /// The address of control byte 0 of the table's buckets. Never read through: a wrong one costs speed only.
    control: *const u8,
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Slot<T> {}

/// See the module docs. Without slots until it is given its first table.
#[derive(Debug)]
pub(super) struct Directory<T> {
    slots: Vec<Slot<T>>,
    shift: u32,
    /// The tables by number, boxed, so that slots can point to them.
    tables: Vec<NonNull<T>>,
    /// How many leading bits the hashes of each table share; at most `DEPTH_MAX`.
    depths: Vec<u8>,
}

impl<T> Directory<T> {
    pub(super) const fn new() -> Self {
        Directory { slots: Vec::new(), shift: 32, tables: Vec::new(), depths: Vec::new() }
    }

    /// Puts in the first table, which has all hashes until it is divided.
    pub(super) fn begin(&mut self, table: T) {
        assert!(self.is_empty(), "a directory has one first table");
        let table = self.own(table, 0);
        self.slots.push(Slot { table, control: ptr::null() });
    }

    fn own(&mut self, table: T, depth: u32) -> NonNull<T> {
        let table = NonNull::from(Box::leak(Box::new(table)));
        self.tables.push(table);
        self.depths.push(depth as u8);
        table
    }

    /// Whether there are no tables.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// # Safety
    /// There is a table.
    #[inline(always)]
    unsafe fn slot_unchecked(&self, hash: KeyHash) -> Slot<T> {
        // The shift may be 32, so 64 bits are shifted.
        let index = (u64::from(group_bits(hash)) >> self.shift) as usize;
        debug_assert!(index < self.slots.len());
        // SAFETY: *slots*: there are `2^(32 - shift)`, and a number of 32 bits was shifted by that.
        *unsafe { self.slots.get_unchecked(index) }
    }

    /// Where control byte 0 of the table of a hash lies.
    ///
    /// # Safety
    /// There is a table.
    #[inline(always)]
    pub(super) unsafe fn control_unchecked(&self, hash: KeyHash) -> *const u8 {
        // SAFETY: by the caller.
        unsafe { self.slot_unchecked(hash) }.control
    }

    /// The table of a hash.
    ///
    /// # Safety
    /// There is a table.
    #[inline(always)]
    pub(super) unsafe fn find_unchecked(&self, hash: KeyHash) -> &T {
        // SAFETY: by the caller.
        let slot = unsafe { self.slot_unchecked(hash) };
        // SAFETY: *tables*: it lives, and is borrowed as the directory is.
        unsafe { slot.table.as_ref() }
    }

    /// As [`find_unchecked`](Self::find_unchecked), to change.
    ///
    /// # Safety
    /// There is a table.
    #[inline(always)]
    pub(super) unsafe fn find_mut_unchecked(&mut self, hash: KeyHash) -> &mut T {
        // SAFETY: by the caller.
        let mut slot = unsafe { self.slot_unchecked(hash) };
        // SAFETY: *tables*: it lives, and is borrowed as the directory is.
        unsafe { slot.table.as_mut() }
    }

    /// How many tables there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.tables.len()
    }

    /// The table of this number.
    #[inline]
    pub(super) fn get(&self, number: usize) -> Option<&T> {
        // SAFETY: *tables*: it lives, and is borrowed as the directory is.
        self.tables.get(number).map(|table| unsafe { table.as_ref() })
    }

    /// As [`get`](Self::get), to change.
    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        // SAFETY: *tables*: it lives, and is borrowed as the directory is.
        self.tables.get_mut(number).map(|table| unsafe { table.as_mut() })
    }

    /// The tables by number.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        // SAFETY: *tables*: they live, and are borrowed as the directory is.
        self.tables.iter().map(|table| unsafe { table.as_ref() })
    }

    /// As [`iter`](Self::iter), to change.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        // SAFETY: *tables*: they live, are borrowed as the directory is, and are named once.
        self.tables.iter_mut().map(|table| unsafe { table.as_mut() })
    }

    /// The number of the table of a hash; looks for it.
    pub(super) fn number(&self, hash: KeyHash) -> Option<usize> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: just checked.
        let slot = unsafe { self.slot_unchecked(hash) };
        self.tables.iter().position(|table| *table == slot.table)
    }

    /// How many leading bits the hashes of a table share.
    pub(super) fn depth(&self, number: usize) -> u32 {
        self.depths[number].into()
    }

    /// The slots whose numbers begin with the `depth` leading bits of a hash; at most the directory's depth.
    fn slots_of(&mut self, hash: KeyHash, depth: u32) -> &mut [Slot<T>] {
        let count = self.slots.len() >> depth;
        let first = (u64::from(group_bits(hash)) >> (32 - depth)) as usize * count;
        &mut self.slots[first..first + count]
    }

    /// Tells where control byte 0 of the hash's table lies now.
    pub(super) fn set_control(&mut self, hash: KeyHash, control: *const u8) {
        let Some(number) = self.number(hash) else { return };
        let depth = self.depth(number);
        self.slots_of(hash, depth).iter_mut().for_each(|slot| slot.control = control);
    }

    /// Divides the table of `hash` by its next bit: the table stays with the half that `hash` is in, `other` gets the
    /// other half and the next number.
    pub(super) fn divide(&mut self, hash: KeyHash, other: T, control: *const u8) {
        let Some(number) = self.number(hash) else { return };
        let depth = self.depth(number) + 1;
        assert!(depth <= DEPTH_MAX, "a table that shares {DEPTH_MAX} bits is not divided");
        if self.slots.len() < 1 << depth {
            self.slots = self.slots.iter().flat_map(|slot| [*slot, *slot]).collect();
            self.shift -= 1;
        }
        self.depths[number] = depth as u8;
        let table = self.own(other, depth);
        let slots = self.slots_of(hash, depth - 1);
        let (zeros, ones) = slots.split_at_mut(slots.len() / 2);
        let half = if bit_after(hash, depth - 1) { zeros } else { ones };
        half.fill(Slot { table, control });
    }
}

impl<T> Drop for Directory<T> {
    fn drop(&mut self) {
        self.slots.clear();
        for table in self.tables.drain(..) {
            // SAFETY: *tables*: made of a box by `own`, named once, and no longer by a slot.
            drop(unsafe { Box::from_raw(table.as_ptr()) });
        }
    }
}

/// How many leading bits all these hashes share; stops looking at `enough` or fewer. 32 if there are none.
pub(super) fn shared_bits(hashes: impl Iterator<Item = KeyHash>, enough: u32) -> u32 {
    let mut hashes = hashes.map(group_bits);
    let Some(first) = hashes.next() else { return 32 };
    let mut shared = 32;
    for bits in hashes {
        shared = shared.min((bits ^ first).leading_zeros());
        if shared <= enough {
            break;
        }
    }
    shared
}

/// Whether the bit after `depth` leading ones is set.
#[inline(always)]
pub(super) fn bit_after(hash: KeyHash, depth: u32) -> bool {
    group_bits(hash) << depth >> 31 == 1
}
