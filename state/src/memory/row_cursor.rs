//! The exclusive view of one key's row that is lent to user code.

use std::marker::PhantomData;
use std::ptr::NonNull;

use super::registrar::OperatorInfo;
use super::row_header::RowHeader;
use crate::StateError;

/// The number of a row in its store; stays with the key for as long as the row is pinned, or as the
/// key has state where memory is not limited. (Where it is, beats may evict rows that are not
/// pinned.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId(pub(super) u32);

impl RowId {
    /// Not the number of a row.
    pub(crate) const NONE: RowId = RowId(u32::MAX);

    /// The row's number.
    #[inline]
    pub const fn as_u32(self) -> u32 {
        self.0
    }

    #[cfg(test)]
    pub(crate) const fn for_test(row: u32) -> Self {
        RowId(row)
    }
}

/// The row of the current key: what `&mut` would be if rows had a Rust type.
///
/// A store lends it ([`RowStore::enter`](crate::RowStore::enter)) and a context carries it, so that
/// handles find their fields without a lookup. It borrows the store exclusively: there is one
/// cursor at a time, and while it lives the row cannot be released. A detached cursor stands where
/// no key is set; handles answer it with a typed error.
///
/// **Invariants** (relied on by `Slot`)
/// - `operator` is that of the store the row lies in, or `None` for a detached cursor, whose `row`
///   is never followed.
/// - The row is live, its header is initialised, and nothing else refers to its header or fields.
pub struct RowCursor<'a> {
    row: NonNull<u8>,
    id: RowId,
    operator: Option<&'a OperatorInfo>,
    exclusive: PhantomData<&'a mut u8>,
}

impl<'a> RowCursor<'a> {
    /// A cursor for code that runs without a key, such as `open` or a non-keyed operator.
    pub const fn detached() -> RowCursor<'static> {
        RowCursor {
            row: NonNull::dangling(),
            id: RowId(u32::MAX),
            operator: None,
            exclusive: PhantomData,
        }
    }

    /// # Safety
    ///
    /// `row` is a live row of the one store of `operator`, and for `'a` nothing but this cursor
    /// reaches the row's header and fields. (The key may be read by others: cursors never touch
    /// it.)
    #[inline(always)]
    pub(super) unsafe fn new(row: NonNull<u8>, id: RowId, operator: &'a OperatorInfo) -> Self {
        RowCursor { row, id, operator: Some(operator), exclusive: PhantomData }
    }

    /// The same view for a shorter time, as reborrowing `&mut` gives.
    #[inline(always)]
    pub fn reborrow(&mut self) -> RowCursor<'_> {
        RowCursor { row: self.row, id: self.id, operator: self.operator, exclusive: PhantomData }
    }

    /// The row's number; `None` where no key is set.
    #[inline]
    pub fn row_id(&self) -> Option<RowId> {
        self.operator.map(|_| self.id)
    }

    /// Keeps the row, and so its number, while something such as a timer refers to it; undone by
    /// [`unpin`](Self::unpin) as often. Does nothing where no key is set.
    #[inline]
    pub fn pin(&mut self) {
        if let Some(header) = self.header_mut() {
            header.pin();
        }
    }

    /// Undoes one [`pin`](Self::pin). A row pinned sixteen million times at once stays for
    /// good.
    #[inline]
    pub fn unpin(&mut self) {
        if let Some(header) = self.header_mut() {
            header.unpin();
        }
    }

    #[inline(always)]
    fn header_mut(&mut self) -> Option<&mut RowHeader> {
        self.operator?;
        // SAFETY: a cursor with an operator views a live row, whose header is initialised and
        // reached by it alone.
        Some(unsafe { self.row.cast::<RowHeader>().as_mut() })
    }

    #[inline(always)]
    pub(super) fn row(&self) -> NonNull<u8> {
        self.row
    }

    #[inline(always)]
    pub(super) fn operator(&self) -> Option<&'a OperatorInfo> {
        self.operator
    }
}

impl std::fmt::Debug for RowCursor<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("RowCursor").field(&self.row_id()).finish()
    }
}

/// The error of a row number that names no key.
#[cold]
pub(super) fn no_such_row(row: RowId, operator: &OperatorInfo) -> StateError {
    StateError::NoSuchRow { row: row.0, operator: operator.name().into() }
}
