//! Where a value of a known type lies in the rows of one operator: the safe core under every
//! handle.
//!
//! **Invariants**
//! - A `Slot` is made by `StateRegistrar` alone, for a field at `offset` that holds a `V` where
//!   `presence` is set.
//! - `operator` is the address of the `OperatorInfo` that `origin` keeps allocated, so no other
//!   operator can have it while the slot lives; an unopened slot has an address at which no
//!   `OperatorInfo` can lie.
//! - Therefore: equal addresses of slot and cursor prove that the cursor's row has this field, with
//!   this type.

use std::fmt;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::registrar::OperatorInfo;
use super::row_cursor::RowCursor;
use super::row_header::RowHeader;
use crate::StateError;
use crate::type_name::short_type;

/// Not the address of any `OperatorInfo`, which is aligned to more than one byte.
const UNOPENED: usize = 1;
const _: () = assert!(align_of::<OperatorInfo>() > 1);

/// What a slot is called and whose it is, for errors.
pub(super) struct Origin {
    pub(super) state: Box<str>,
    pub(super) operator: Arc<OperatorInfo>,
}

/// A field of type `V` in the rows of one operator, behind a handle of type `H`.
pub(crate) struct Slot<V, H> {
    operator: usize,
    presence: u32,
    offset: u32,
    origin: Option<Arc<Origin>>,
    /// Invariant in `V`, as a mutable field is; neither type is held, so the slot is `Send` and
    /// `Sync`.
    types: PhantomData<fn(V, H) -> V>,
}

/// The field of a slot in the row of a cursor that was checked to be of the slot's operator, for as
/// long as the cursor is borrowed.
///
/// **Invariants**: `header` is the initialised header of a live row; where its bit `presence` is
/// set, an initialised `V` lies at `value`, otherwise memory for one.
struct Field<'c, V> {
    header: NonNull<RowHeader>,
    value: NonNull<V>,
    presence: u32,
    row: PhantomData<&'c V>,
}

impl<V, H> Slot<V, H> {
    /// # Safety
    ///
    /// In every row of the store of `origin.operator`, bit `index` of the presence word tells
    /// whether an initialised `V` lies at `offset`, aligned, within the row, and apart from header,
    /// key and all other fields.
    pub(super) unsafe fn new(origin: Arc<Origin>, index: usize, offset: u32) -> Self {
        let operator = ptr::from_ref(&*origin.operator).addr();
        let presence = 1_u32 << index;
        Slot { operator, presence, offset, origin: Some(origin), types: PhantomData }
    }

    /// The value, if there is one.
    #[inline(always)]
    pub(crate) fn get<'c>(&self, cursor: &'c RowCursor<'_>) -> Result<Option<&'c V>, StateError> {
        let field: Field<'c, V> = self.locate(cursor)?;
        if !field.is_present() {
            return Ok(None);
        }
        // SAFETY: the field is present; the cursor is borrowed for 'c, so nothing writes to it
        // meanwhile.
        Ok(Some(unsafe { field.value.as_ref() }))
    }

    /// The value, if there is one, to change.
    #[inline(always)]
    pub(crate) fn get_mut<'c>(
        &self,
        cursor: RowCursor<'c>,
    ) -> Result<Option<&'c mut V>, StateError> {
        let mut field = self.locate(&cursor)?;
        if !field.is_present() {
            return Ok(None);
        }
        field.mark_changed();
        // SAFETY: the field is present; the cursor, exclusive for 'c, is consumed.
        Ok(Some(unsafe { field.value.as_mut() }))
    }

    /// The value, made if there is none, to change. A panic of `make` leaves the state absent.
    #[inline(always)]
    pub(crate) fn get_or_insert_with<'c>(
        &self,
        cursor: RowCursor<'c>,
        make: impl FnOnce() -> V,
    ) -> Result<&'c mut V, StateError> {
        let mut field = self.locate(&cursor)?;
        if !field.is_present() {
            let value = make();
            // SAFETY: the field is absent: aligned memory for a V that nothing else reaches (the
            // cursor is owned).
            unsafe { field.value.write(value) };
            field.toggle_presence();
        }
        field.mark_changed();
        // SAFETY: the field is present; the cursor, exclusive for 'c, is consumed.
        Ok(unsafe { field.value.as_mut() })
    }

    /// Sets the value and returns the one it replaces.
    #[inline(always)]
    pub(crate) fn replace(&self, cursor: RowCursor<'_>, value: V) -> Result<Option<V>, StateError> {
        let mut field = self.locate(&cursor)?;
        field.mark_changed();
        if field.is_present() {
            // SAFETY: the field is present and stays so; nothing else reaches it (the cursor is
            // owned).
            return Ok(Some(unsafe { field.value.replace(value) }));
        }
        // SAFETY: the field is absent: aligned memory for a V that nothing else reaches (the cursor
        // is owned).
        unsafe { field.value.write(value) };
        field.toggle_presence();
        Ok(None)
    }

    /// Takes the value out and leaves the state absent.
    #[inline(always)]
    pub(crate) fn take(&self, cursor: RowCursor<'_>) -> Result<Option<V>, StateError> {
        let mut field = self.locate(&cursor)?;
        if !field.is_present() {
            return Ok(None);
        }
        field.mark_changed();
        field.toggle_presence();
        // SAFETY: the field was present; its bit is cleared, so the value is moved out this once.
        Ok(Some(unsafe { field.value.read() }))
    }

    /// Whether slot and cursor are of the same operator.
    #[inline(always)]
    pub(super) fn is_of(&self, cursor: &RowCursor<'_>) -> bool {
        let address = cursor.operator().map_or(0, |operator| ptr::from_ref(operator).addr());
        address == self.operator
    }

    /// The field, if slot and cursor are of the same operator.
    #[inline(always)]
    fn locate<'c>(&self, cursor: &'c RowCursor<'_>) -> Result<Field<'c, V>, StateError> {
        if !self.is_of(cursor) {
            return Err(self.misuse(cursor));
        }
        // SAFETY: equal addresses: the row is one of this slot's operator and has the field within
        // its stride.
        let value = unsafe { cursor.row().add(self.offset as usize) }.cast();
        let header = cursor.row().cast();
        Ok(Field { header, value, presence: self.presence, row: PhantomData })
    }

    #[cold]
    #[inline(never)]
    pub(super) fn misuse(&self, cursor: &RowCursor<'_>) -> StateError {
        let Some(origin) = &self.origin else {
            return StateError::HandleNotOpened { handle: short_type::<H>().into() };
        };
        let (state, operator) = (origin.state.clone(), origin.operator.name().into());
        match cursor.operator() {
            None => StateError::NoKeyContext { state, operator },
            Some(used_in) => {
                StateError::OtherOperator { state, operator, used_in: used_in.name().into() }
            }
        }
    }

    /// The state's name; `None` before the handle was opened.
    pub(crate) fn name(&self) -> Option<&str> {
        self.origin.as_ref().map(|origin| &*origin.state)
    }
}

impl<V> Field<'_, V> {
    #[inline(always)]
    fn is_present(&self) -> bool {
        let header = self.header.as_ptr();
        // SAFETY: the header is initialised, and a cursor to it is borrowed, so nothing writes to
        // it meanwhile.
        unsafe { (*header).presence & self.presence != 0 }
    }

    /// Called by methods that own the cursor.
    #[inline(always)]
    fn mark_changed(&mut self) {
        let header = self.header.as_ptr();
        // SAFETY: the header is initialised, and the caller owns the cursor, so nothing else
        // reaches it.
        unsafe { (*header).dirty |= self.presence };
    }

    /// Called by methods that own the cursor.
    #[inline(always)]
    fn toggle_presence(&mut self) {
        let header = self.header.as_ptr();
        // SAFETY: the header is initialised, and the caller owns the cursor, so nothing else
        // reaches it.
        unsafe { (*header).presence ^= self.presence };
    }
}

impl<V, H> Default for Slot<V, H> {
    fn default() -> Self {
        Slot { operator: UNOPENED, presence: 0, offset: 0, origin: None, types: PhantomData }
    }
}

impl<V, H> Clone for Slot<V, H> {
    fn clone(&self) -> Self {
        Slot { origin: self.origin.clone(), ..*self }
    }
}

impl<V, H> fmt::Debug for Slot<V, H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name().unwrap_or("unopened"))
    }
}
