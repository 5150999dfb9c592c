//! What rows do with a field without knowing its type: a few functions that know it.

use std::mem::needs_drop;
use std::ptr::{NonNull, drop_in_place};

use super::content::{Content, FieldWriter, Reading};
use super::expiring::{Purge, Purged};
use crate::StateError;
use crate::codec::Record;

/// The functions of one type of field.
///
/// **Invariant**: all are of the type that [`of`](Self::of) or [`expiring`](Self::expiring) was
/// called with.
#[derive(Clone, Copy)]
pub(super) struct FieldCode {
    /// Drops the field in place; `None` where the type needs no drop.
    pub(super) drop_field: Option<unsafe fn(NonNull<u8>)>,
    /// Purges the field; `None` where the state has no TTL.
    pub(super) purge_field: Option<unsafe fn(NonNull<u8>) -> Purged>,
    /// Writes what changed in the field.
    pub(super) archive_field: ArchiveField,
    /// Takes a record into the field.
    pub(super) load_field: LoadField,
    /// [`Content::heap_bytes`] of the field, which has to be present.
    pub(super) heap_bytes: unsafe fn(NonNull<u8>) -> usize,
    /// [`Content::hint`] of the field, which has to be present; `None` where it does nothing.
    pub(super) hint_field: Option<unsafe fn(NonNull<u8>)>,
}

/// [`Content::archive`] of the field's type, whose contract the pointer has to meet as in
/// [`archive_field`].
pub(super) type ArchiveField =
    unsafe fn(NonNull<u8>, &mut FieldWriter<'_, '_>) -> Result<(), StateError>;

/// [`Content::load`] of the field's type, given whether the field is present; says
/// whether it became present. As in [`load_field`].
pub(super) type LoadField =
    unsafe fn(NonNull<u8>, bool, &Record<'_>, &Reading) -> Result<bool, StateError>;

impl FieldCode {
    pub(super) fn of<V: Content>() -> Self {
        FieldCode {
            drop_field: needs_drop::<V>().then_some(drop_field::<V> as unsafe fn(NonNull<u8>)),
            purge_field: None,
            archive_field: archive_field::<V>,
            load_field: load_field::<V>,
            heap_bytes: heap_bytes::<V>,
            hint_field: V::IS_HINTED.then_some(hint_field::<V> as unsafe fn(NonNull<u8>)),
        }
    }

    pub(super) fn expiring<E: Content + Purge>() -> Self {
        FieldCode { purge_field: Some(purge_field::<E>), ..FieldCode::of::<E>() }
    }
}

/// # Safety
///
/// `field` holds an initialised, aligned `V` that is not used again.
unsafe fn drop_field<V>(field: NonNull<u8>) {
    // SAFETY: by this function's contract.
    unsafe { drop_in_place(field.cast::<V>().as_ptr()) }
}

/// # Safety
///
/// `field` holds an initialised, aligned `E` that nothing else refers to.
unsafe fn purge_field<E: Purge>(field: NonNull<u8>) -> Purged {
    // SAFETY: by this function's contract.
    unsafe { field.cast::<E>().as_mut() }.purge()
}

/// # Safety
///
/// `field` holds an initialised, aligned `V` that nothing else refers to.
unsafe fn archive_field<V: Content>(
    field: NonNull<u8>,
    out: &mut FieldWriter<'_, '_>,
) -> Result<(), StateError> {
    // SAFETY: by this function's contract.
    unsafe { field.cast::<V>().as_mut() }.archive(out)
}

/// # Safety
///
/// `field` holds an initialised, aligned `V` that nothing else changes.
unsafe fn heap_bytes<V: Content>(field: NonNull<u8>) -> usize {
    // SAFETY: by this function's contract.
    unsafe { field.cast::<V>().as_ref() }.heap_bytes()
}

/// # Safety
///
/// `field` holds an initialised, aligned `V` that nothing else changes.
unsafe fn hint_field<V: Content>(field: NonNull<u8>) {
    // SAFETY: by this function's contract.
    unsafe { field.cast::<V>().as_ref() }.hint();
}

/// # Safety
///
/// `field` is an aligned place for a `V` that nothing else refers to, and holds an initialised one
/// if `is_present`; if the result is `Ok(true)` it does afterwards, too.
unsafe fn load_field<V: Content>(
    field: NonNull<u8>,
    is_present: bool,
    record: &Record<'_>,
    reading: &Reading,
) -> Result<bool, StateError> {
    let mut place = field.cast::<V>();
    if is_present {
        // SAFETY: by this function's contract.
        V::load(Some(unsafe { place.as_mut() }), record, reading)?;
        return Ok(false);
    }
    let Some(made) = V::load(None, record, reading)? else { return Ok(false) };
    // SAFETY: by this function's contract the place is one for a V, and holds none.
    unsafe { place.write(made) };
    Ok(true)
}
