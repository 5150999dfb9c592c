//! Columns of records, by value: what an edge hands over in one piece.
//!
//! A [`Block`] is one allocation, `values | hashes | timestamps`, of a capacity fixed when it is made. It is filled by
//! one owner, moved whole, drained by another owner through [`Columns`], and filled again.
//!
//! **Invariants** (named in the SAFETY proofs)
//! - *layout*: `values`, `hashes` and `timestamps` point into the block's one allocation, each at an aligned column of
//!   `capacity` items; they stay valid until the block is dropped.
//! - *filled*: the items `0..len` of each column are initialised, and nothing else owns their values.
//! - *drain*: [`Columns`] takes the values over (`len` becomes 0 first), so a panic in between leaks nothing twice.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// Most rows of a block, whatever the size of a record: an operator pushes at most this many between two drives.
pub(crate) const BLOCK_ROWS_MAX: usize = 512;

/// See the module docs.
pub(crate) struct Block<T> {
    values: NonNull<T>,
    hashes: NonNull<u32>,
    timestamps: NonNull<i64>,
    len: usize,
    capacity: usize,
    _owns: PhantomData<T>,
}

// SAFETY: a block owns its allocation and its values and shares nothing, so it may move to where `T` may move.
unsafe impl<T: Send> Send for Block<T> {}

struct BlockLayout {
    whole: Layout,
    hashes: usize,
    timestamps: usize,
}

impl<T> Block<T> {
    /// Bytes of one row over all columns.
    pub(crate) const ROW_BYTES: usize = size_of::<T>() + size_of::<u32>() + size_of::<i64>();

    /// How many rows fit a page of `bytes`: at least 8, at most [`BLOCK_ROWS_MAX`].
    pub(crate) fn rows_for(bytes: usize) -> usize {
        (bytes / Self::ROW_BYTES).clamp(8, BLOCK_ROWS_MAX)
    }

    fn layout(capacity: usize) -> BlockLayout {
        let overflow = "a block has at most 512 rows of a type that fits memory";
        let values = Layout::array::<T>(capacity).expect(overflow);
        let hashes = Layout::array::<u32>(capacity).expect(overflow);
        let timestamps = Layout::array::<i64>(capacity).expect(overflow);
        let (whole, hashes) = values.extend(hashes).expect(overflow);
        let (whole, timestamps) = whole.extend(timestamps).expect(overflow);
        // A cache line at least: two blocks never share one.
        let whole = whole.align_to(64).expect(overflow).pad_to_align();
        BlockLayout { whole, hashes, timestamps }
    }

    /// An empty block for `capacity` rows.
    pub(crate) fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "a block has rows");
        let layout = Self::layout(capacity);
        // SAFETY: the layout has non-zero size: the timestamp column alone has at least eight bytes.
        let pointer = unsafe { alloc(layout.whole) };
        let Some(pointer) = NonNull::new(pointer) else { handle_alloc_error(layout.whole) };
        // SAFETY: *layout*: the offset is inside the allocation.
        let hashes = unsafe { pointer.add(layout.hashes) };
        // SAFETY: *layout*: as above.
        let timestamps = unsafe { pointer.add(layout.timestamps) };
        Block {
            values: pointer.cast(),
            hashes: hashes.cast(),
            timestamps: timestamps.cast(),
            len: 0,
            capacity,
            _owns: PhantomData,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a row; the block must not be full. Returns whether it is full now.
    #[inline(always)]
    pub(crate) fn push(&mut self, hash: u32, value: T, timestamp: i64) -> bool {
        let row = self.len;
        debug_assert!(row < self.capacity, "a full block is handed over before the next push");
        // SAFETY: *layout*: row < capacity (checked above in debug builds, by every caller's protocol otherwise: a push
        // that returns true is followed by a drain).
        let target = unsafe { self.values.add(row) };
        // SAFETY: *layout*: as above; the slot is not *filled*, so nothing is overwritten that would need a drop.
        unsafe { target.write(value) };
        // SAFETY: *layout*: as above.
        let target = unsafe { self.hashes.add(row) };
        // SAFETY: *layout*: as above.
        unsafe { target.write(hash) };
        // SAFETY: *layout*: as above.
        let target = unsafe { self.timestamps.add(row) };
        // SAFETY: *layout*: as above.
        unsafe { target.write(timestamp) };
        self.len = row + 1;
        self.len == self.capacity
    }

    /// Shows each row as (hash, value, timestamp), in order.
    pub(crate) fn for_each_ref(&self, mut each: impl FnMut(u32, &T, i64)) {
        for row in 0..self.len {
            // SAFETY: *filled*: row < len.
            let value = unsafe { self.values.add(row) };
            // SAFETY: *filled*: the value is initialised, and `&self` keeps it from being taken.
            let value = unsafe { value.as_ref() };
            // SAFETY: *filled*: row < len.
            let hash = unsafe { read_row(self.hashes, row) };
            // SAFETY: *filled*: row < len.
            let timestamp = unsafe { read_row(self.timestamps, row) };
            each(hash, value, timestamp);
        }
    }

    /// Takes all rows out, in order.
    #[inline]
    pub(crate) fn drain(&mut self) -> Columns<'_, T> {
        let len = std::mem::take(&mut self.len);
        Columns {
            values: self.values,
            hashes: self.hashes,
            timestamps: self.timestamps,
            len,
            _block: PhantomData,
        }
    }
}

impl<T> Drop for Block<T> {
    fn drop(&mut self) {
        drop(self.drain());
        // SAFETY: allocated in `new` with the layout of this capacity.
        unsafe { dealloc(self.values.as_ptr().cast(), Self::layout(self.capacity).whole) };
    }
}

/// The rows of a block, owned until they are handed on one by one. Dropping it drops the values that are left.
pub(crate) struct Columns<'a, T> {
    values: NonNull<T>,
    hashes: NonNull<u32>,
    timestamps: NonNull<i64>,
    len: usize,
    _block: PhantomData<&'a mut Block<T>>,
}

impl<'a, T> Columns<'a, T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The hash column, which stays readable while the values are handed on.
    #[inline(always)]
    pub(crate) fn hashes(&self) -> &'a [u32] {
        // SAFETY: *filled*: `len` hashes are initialised, and the block is borrowed mutably for 'a.
        unsafe { std::slice::from_raw_parts(self.hashes.as_ptr(), self.len) }
    }

    /// Shows each row as (hash, value), in order.
    pub(crate) fn for_each_ref(&self, mut each: impl FnMut(u32, &T)) {
        for (row, hash) in self.hashes().iter().enumerate() {
            // SAFETY: *filled*: there are as many values as hashes.
            let value = unsafe { self.values.add(row) };
            // SAFETY: *filled*: the value is initialised, and `&self` keeps it from being taken.
            each(*hash, unsafe { value.as_ref() });
        }
    }

    /// Hands each row to `each` as (index, hash, value, timestamp), in order. `position` counts the rows, each before it is
    /// handed out, so that a failure in `each` names the very record.
    #[inline(always)]
    pub(crate) fn for_each(self, position: &Cell<u64>, mut each: impl FnMut(usize, u32, T, i64)) {
        let columns = std::mem::ManuallyDrop::new(self);
        let (hashes, timestamps) = (columns.hashes, columns.timestamps);
        let mut rest = Rest { values: columns.values, begun: 0, len: columns.len };
        while rest.begun < rest.len {
            let row = rest.begun;
            // SAFETY: *filled*: row < len.
            let value = unsafe { rest.values.add(row) };
            // SAFETY: *drain*: each value is read once; `begun` passes it before user code can unwind.
            let value = unsafe { value.read() };
            rest.begun = row + 1;
            position.set(position.get() + 1);
            // SAFETY: *filled*: row < len.
            let hash = unsafe { read_row(hashes, row) };
            // SAFETY: *filled*: row < len.
            let timestamp = unsafe { read_row(timestamps, row) };
            each(row, hash, value, timestamp);
        }
    }
}

impl<T> Drop for Columns<'_, T> {
    fn drop(&mut self) {
        drop_rows(self.values, 0, self.len);
    }
}

/// Reads a row of a plain column.
///
/// # Safety
/// The column belongs to a live block and has more than `row` rows that are *filled*.
#[inline(always)]
unsafe fn read_row<C: Copy>(column: NonNull<C>, row: usize) -> C {
    // SAFETY: the caller's promise.
    let row = unsafe { column.add(row) };
    // SAFETY: the caller's promise.
    unsafe { row.read() }
}

/// What is left of a drain, for the case of a panic.
struct Rest<T> {
    values: NonNull<T>,
    begun: usize,
    len: usize,
}

impl<T> Drop for Rest<T> {
    #[inline(always)]
    fn drop(&mut self) {
        drop_rows(self.values, self.begun, self.len);
    }
}

#[inline(always)]
fn drop_rows<T>(values: NonNull<T>, from: usize, to: usize) {
    if !std::mem::needs_drop::<T>() {
        return;
    }
    for row in from..to {
        // SAFETY: *filled*: rows below `len` are initialised.
        let value = unsafe { values.add(row) };
        // SAFETY: *drain*: rows from `from` on have not been handed out.
        unsafe { value.drop_in_place() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    fn filled(n: usize) -> Block<(u8, u64)> {
        let mut block = Block::new(n);
        for i in 0..n {
            let full = block.push(i as u32, (i as u8, i as u64 * 3), i as i64 - 2);
            assert_eq!(full, i + 1 == n);
        }
        block
    }

    #[test]
    fn rows_come_out_in_order_and_are_counted() {
        let mut block = filled(100);
        let position = Cell::new(7);
        let mut seen = 0;
        block.drain().for_each(&position, |row, hash, value, timestamp| {
            assert_eq!(
                (row, hash, value, timestamp),
                (seen, seen as u32, (seen as u8, seen as u64 * 3), seen as i64 - 2)
            );
            seen += 1;
        });
        assert_eq!((seen, position.get(), block.len()), (100, 107, 0));
    }

    #[test]
    fn a_panic_drops_each_value_once_and_names_the_record() {
        let counter = Rc::new(());
        let mut block = Block::new(8);
        for i in 0..8 {
            block.push(i, counter.clone(), 0);
        }
        let position = Cell::new(0);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            block.drain().for_each(&position, |row, _, value, _| {
                assert!(row < 3, "planted");
                drop(value);
            });
        }));
        assert!(outcome.is_err());
        assert_eq!(position.get(), 4, "the fourth record panicked");
        assert_eq!(Rc::strong_count(&counter), 1);
        drop(block);
        assert_eq!(Rc::strong_count(&counter), 1);
    }

    #[test]
    fn a_block_dropped_with_rows_drops_them() {
        let counter = Rc::new(());
        let mut block = Block::new(4);
        block.push(0, counter.clone(), 0);
        block.push(1, counter.clone(), 0);
        drop(block);
        assert_eq!(Rc::strong_count(&counter), 1);
    }

    #[test]
    fn zero_sized_and_overaligned_records() {
        #[repr(align(128))]
        #[derive(Clone, Copy, PartialEq, Debug)]
        struct Wide(u8);
        let mut units = Block::new(Block::<()>::rows_for(4096));
        while !units.push(1, (), 2) {}
        let position = Cell::new(0);
        units
            .drain()
            .for_each(&position, |_, hash, (), timestamp| assert_eq!((hash, timestamp), (1, 2)));
        assert_eq!(position.get() as usize, Block::<()>::rows_for(4096));
        let mut wide = Block::new(8);
        wide.push(0, Wide(9), 0);
        wide.drain().for_each(&position, |_, _, value, _| {
            assert_eq!(value, Wide(9));
        });
    }

    #[test]
    fn rows_for_is_bounded() {
        assert_eq!(Block::<u8>::rows_for(16 << 10), BLOCK_ROWS_MAX);
        assert_eq!(Block::<[u64; 3]>::rows_for(16 << 10), 455);
        assert_eq!(Block::<[u8; 1 << 20]>::rows_for(16 << 10), 8);
    }
}
