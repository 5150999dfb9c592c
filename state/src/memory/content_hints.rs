//! Prefetching what lists and maps own outside of their rows: the third stage of a batch's hints, and
//! of beats.
//!
//! 1. A hint for a row asks for the row's line. What the row's fields point to can be asked for when
//!    that line has come: when [`ROWS_BEHIND`] further rows were hinted.
//! 2. Beats do the same with the rows that they are going to archive.
//!
//! Without it an append to one of a million lists waited for the list's tail, and a beat for each
//! list's elements: see the numbers at [`ROWS_BEHIND`].
//!
//! **Invariants**
//! - `recent` has rows that were live, or numbers beyond any row's.

use std::cell::Cell;
use std::ptr::NonNull;

use super::registrar::StateField;
use super::row_header::header_at;

/// How many rows are hinted between a row and its content.
const ROWS_BEHIND: usize = 4;

/// See the module docs.
pub(super) struct ContentHints {
    fields: Box<[HintedField]>,
    recent: [Cell<u32>; ROWS_BEHIND],
    next: Cell<usize>,
}

#[derive(Clone, Copy)]
struct HintedField {
    presence: u32,
    offset: u32,
    hint_field: unsafe fn(NonNull<u8>),
}

impl ContentHints {
    pub(super) fn new(fields: &[StateField]) -> Self {
        let hinted = fields.iter().enumerate().filter_map(|(index, field)| {
            let hint_field = field.code.hint_field?;
            Some(HintedField { presence: 1 << index, offset: field.offset, hint_field })
        });
        ContentHints {
            fields: hinted.collect(),
            recent: [const { Cell::new(u32::MAX) }; ROWS_BEHIND],
            next: Cell::new(0),
        }
    }

    /// Whether no field owns anything that could be asked for.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// A row was hinted; returns the one whose content is to be.
    #[inline]
    pub(super) fn replace(&self, row: u32) -> u32 {
        let next = self.next.get();
        self.next.set((next + 1) % ROWS_BEHIND);
        self.recent[next].replace(row)
    }

    /// Prefetches what the fields of a row point to.
    ///
    /// # Safety
    ///
    /// `place` is a row of the store that these are the fields of, with an initialised header, and
    /// nothing changes its header or fields meanwhile.
    #[inline]
    pub(super) unsafe fn hint(&self, place: NonNull<u8>) {
        // SAFETY: by this function's contract.
        let presence = unsafe { header_at(place) }.presence;
        for field in &self.fields {
            if presence & field.presence == 0 {
                continue;
            }
            // SAFETY: the field's offset lies within the row.
            let value = unsafe { place.add(field.offset as usize) };
            // SAFETY: the presence bit is set, so the field holds a value of its type, which is the
            // one of `hint_field`; nothing changes it.
            unsafe { (field.hint_field)(value) };
        }
    }
}
