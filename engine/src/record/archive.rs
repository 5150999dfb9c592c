//! Pages of rkyv archives: how heap data crosses cores.
//!
//! Records are serialised one behind the other from the front of the page; an index of 16-byte entries (root u32, hash
//! u32, timestamp i64) grows from the back. The reader goes through the index.
//!
//! **Invariants** (named in the SAFETY proofs)
//! - *own bytes*: a page is written by [`ArchivePage::append`] of this process and handed over whole, so a root read from the index
//!   is a valid archive of the `T` it was written from. Nothing from disk or network ever becomes an `ArchivePage`.
//! - *one type*: a channel carries one `T`, and its codec writes and reads that `T` alone.
//! - *entries*: `cursor + 16 * entries <= capacity`; archives lie below `cursor`, entries above.

use rkyv::api::{deserialize_using, serialize_using};
use rkyv::rancor::{Panic, Strategy};
use rkyv::ser::{Allocator, Positional, Writer};
use rkyv::{Archive, Deserialize, Serialize};
use std::alloc::Layout;
use std::fmt;
use std::ptr::NonNull;

const ENTRY_BYTES: usize = 16;
const PAGE_ALIGN: usize = 64;
/// A single record may be this large; beyond, the job fails with a clear error.
const RECORD_BYTES_MAX: usize = 1 << 30;

/// A type that streams may carry across cores and keep in state.
///
/// Implemented for every `Clone + Send + 'static` type with rkyv's derives; write `#[thalweg::record]` on yours.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel between cores",
    label = "this stream's records are `{Self}`",
    note = "write `#[thalweg::record]` and `#[derive(Clone)]` on `{Self}`"
)]
pub trait Record: Sized + Send + 'static {
    /// How records of this type are archived, or `None` if they travel by value.
    #[doc(hidden)]
    fn codec() -> Option<Codec<Self>>;
}

impl<T> Record for T
where
    T: Send
        + 'static
        + Archive<Archived: Deserialize<T, Strategy<(), Panic>>>
        + Serialize<Strategy<PageWriter, PageError>>,
{
    fn codec() -> Option<Codec<T>> {
        if !std::mem::needs_drop::<T>() {
            return None;
        }
        Some(Codec { write: write_archive::<T>, read: read_archive::<T> })
    }
}

/// Function pointers that archive and restore a `T`. Carried by edges, so that their code needs no bound on `T`.
#[doc(hidden)]
pub struct Codec<T> {
    write: fn(&T, &mut PageWriter) -> Result<usize, PageError>,
    read: unsafe fn(*const u8) -> T,
}

impl<T> Clone for Codec<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Codec<T> {}

fn write_archive<T>(value: &T, writer: &mut PageWriter) -> Result<usize, PageError>
where
    T: Serialize<Strategy<PageWriter, PageError>>,
{
    serialize_using::<PageWriter, PageError>(value, writer)
}

/// # Safety
/// `root` points at an archive of `T` that this process wrote (*own bytes*).
unsafe fn read_archive<T>(root: *const u8) -> T
where
    T: Archive<Archived: Deserialize<T, Strategy<(), Panic>>>,
{
    // SAFETY: the caller's promise; rkyv aligned the root within the page, which is aligned to 64.
    let archived = unsafe { &*root.cast::<T::Archived>() };
    match deserialize_using::<T, (), Panic>(archived, &mut ()) {
        Ok(value) => value,
        Err(panic) => match panic {},
    }
}

/// Why a record could not be appended.
#[derive(Debug)]
pub enum PageError {
    /// No room in this page.
    Full,
    /// The record's own serialisation refused.
    Refused(String),
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PageError::Full => f.write_str("the record is larger than a page may grow (1 GiB)"),
            PageError::Refused(reason) => write!(f, "the record cannot be archived: {reason}"),
        }
    }
}
impl std::error::Error for PageError {}
impl rkyv::rancor::Trace for PageError {
    fn trace<R: fmt::Debug + fmt::Display + Send + Sync + 'static>(self, _: R) -> Self {
        self
    }
}
impl rkyv::rancor::Source for PageError {
    fn new<E: std::error::Error + Send + Sync + 'static>(error: E) -> Self {
        PageError::Refused(error.to_string())
    }
}

/// rkyv's view of a page while a record is written: bytes go to the page, scratch memory to the heap.
#[doc(hidden)]
pub struct PageWriter {
    start: NonNull<u8>,
    cursor: usize,
    limit: usize,
}

impl Positional for PageWriter {
    fn pos(&self) -> usize {
        self.cursor
    }
}
impl Writer<PageError> for PageWriter {
    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) -> Result<(), PageError> {
        if bytes.len() > self.limit - self.cursor {
            return Err(PageError::Full);
        }
        // SAFETY: *entries*: cursor <= limit <= capacity of the page.
        let target = unsafe { self.start.add(self.cursor) };
        // SAFETY: the bytes fit below `limit`, checked above; a source slice never overlaps the page under construction.
        unsafe { target.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
        self.cursor += bytes.len();
        Ok(())
    }
}
// SAFETY: memory comes from and returns to the global allocator with the layouts rkyv asks for.
unsafe impl Allocator<PageError> for PageWriter {
    unsafe fn push_alloc(&mut self, layout: Layout) -> Result<NonNull<[u8]>, PageError> {
        if layout.size() == 0 {
            let dangling = NonNull::<u8>::without_provenance(
                std::num::NonZero::new(layout.align()).expect("an alignment is not zero"),
            );
            return Ok(NonNull::slice_from_raw_parts(dangling, 0));
        }
        // SAFETY: the size is not zero.
        let pointer = unsafe { std::alloc::alloc(layout) };
        let pointer = NonNull::new(pointer)
            .ok_or_else(|| PageError::Refused(format!("no memory for {} bytes", layout.size())))?;
        Ok(NonNull::slice_from_raw_parts(pointer, layout.size()))
    }

    unsafe fn pop_alloc(&mut self, pointer: NonNull<u8>, layout: Layout) -> Result<(), PageError> {
        if layout.size() > 0 {
            // SAFETY: the caller pops what `push_alloc` gave for this layout.
            unsafe { std::alloc::dealloc(pointer.as_ptr(), layout) };
        }
        Ok(())
    }
}

/// One page; see the module docs.
pub(crate) struct ArchivePage {
    start: NonNull<u8>,
    capacity: usize,
    cursor: usize,
    entries: usize,
}

// SAFETY: a page owns its bytes, which are plain archives.
unsafe impl Send for ArchivePage {}

impl ArchivePage {
    pub(crate) fn new(capacity: usize) -> Self {
        let layout = Self::layout(capacity);
        // SAFETY: capacity is at least one entry, never zero.
        let pointer = unsafe { std::alloc::alloc(layout) };
        let Some(start) = NonNull::new(pointer) else { std::alloc::handle_alloc_error(layout) };
        ArchivePage { start, capacity, cursor: 0, entries: 0 }
    }

    fn layout(capacity: usize) -> Layout {
        assert!(capacity >= ENTRY_BYTES, "a page has room for an entry");
        Layout::from_size_align(capacity, PAGE_ALIGN).expect("a page fits memory")
    }

    pub(crate) fn len(&self) -> usize {
        self.entries
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes in use.
    pub(crate) fn bytes(&self) -> usize {
        self.cursor + self.entries * ENTRY_BYTES
    }

    pub(crate) fn clear(&mut self) {
        self.cursor = 0;
        self.entries = 0;
    }

    /// Archives `value` into the page; `Full` leaves the page as it was.
    #[inline]
    pub(crate) fn append<T>(
        &mut self,
        codec: Codec<T>,
        hash: u32,
        value: &T,
        timestamp: i64,
    ) -> Result<(), PageError> {
        let index = (self.entries + 1) * ENTRY_BYTES;
        if self.cursor + index > self.capacity {
            return Err(PageError::Full);
        }
        let limit = self.capacity - index;
        let mut writer = PageWriter { start: self.start, cursor: self.cursor, limit };
        let root = (codec.write)(value, &mut writer)?;
        self.cursor = writer.cursor;
        self.entries += 1;
        // SAFETY: *entries*: `limit` leaves room for this entry above the archives.
        let entry = unsafe { self.start.add(limit) }.cast::<Entry>();
        // SAFETY: as above; an entry is plain data, and `write_unaligned` asks for no alignment.
        unsafe { entry.write_unaligned(Entry { root: root as u32, hash, timestamp }) };
        Ok(())
    }

    /// Restores each record and hands it to `each` as (index, hash, value, timestamp), in order.
    pub(crate) fn for_each<T>(&self, codec: Codec<T>, mut each: impl FnMut(usize, u32, T, i64)) {
        for row in 0..self.entries {
            let entry = self.entry(row);
            // SAFETY: *entries*: a root lies below the cursor, inside the page.
            let root = unsafe { self.start.add(entry.root as usize) };
            // SAFETY: *own bytes*, *one type*: the root is an archive of T written by this process.
            let value = unsafe { (codec.read)(root.as_ptr()) };
            each(row, entry.hash, value, entry.timestamp);
        }
    }

    fn entry(&self, row: usize) -> Entry {
        assert!(row < self.entries, "a row of the page");
        let offset = self.capacity - (row + 1) * ENTRY_BYTES;
        // SAFETY: *entries*: row < entries, so the entry lies inside the page.
        let entry = unsafe { self.start.add(offset) }.cast::<Entry>();
        // SAFETY: written by `append`.
        unsafe { entry.read_unaligned() }
    }
}

impl Drop for ArchivePage {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout. Archives need no drop.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), Self::layout(self.capacity)) };
    }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Entry {
    root: u32,
    hash: u32,
    timestamp: i64,
}
const _: () = assert!(size_of::<Entry>() == ENTRY_BYTES);

/// The page size to try next after a record did not fit an empty page of `capacity`, or `None` at the limit.
pub(crate) fn larger_page(capacity: usize) -> Option<usize> {
    (capacity < RECORD_BYTES_MAX).then(|| capacity * 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Archive, Serialize, Deserialize)]
    struct Order {
        id: u64,
        name: String,
        lines: Vec<(u32, String)>,
    }

    fn order(i: u64) -> Order {
        let lines = (0..i % 4).map(|l| (l as u32, "line".repeat(l as usize))).collect();
        Order { id: i, name: format!("order {i}"), lines }
    }

    #[test]
    fn plain_data_goes_by_value() {
        assert!(<(u64, [i32; 4]) as Record>::codec().is_none());
        assert!(<Order as Record>::codec().is_some());
    }

    #[test]
    fn records_come_back_in_order() {
        let codec = Order::codec().expect("heap data");
        let mut page = ArchivePage::new(16 << 10);
        let mut written = 0;
        while page.append(codec, written as u32 + 1, &order(written), -(written as i64)).is_ok() {
            written += 1;
        }
        assert!(written > 50 && page.len() as u64 == written && page.bytes() <= page.capacity());
        let mut read = 0;
        page.for_each(codec, |row, hash, value, timestamp| {
            let expected = (row as u32 + 1, order(row as u64), -(row as i64));
            assert_eq!((hash, value, timestamp), expected);
            read += 1;
        });
        assert_eq!(read, written);
    }

    #[test]
    fn a_full_page_is_left_as_it_was() {
        let codec = String::codec().expect("heap data");
        let mut page = ArchivePage::new(4096);
        page.append(codec, 1, &"a".repeat(100), 1).unwrap();
        let used = page.bytes();
        assert!(matches!(page.append(codec, 2, &"b".repeat(5000), 2), Err(PageError::Full)));
        assert_eq!((page.bytes(), page.len()), (used, 1));
        let mut large = ArchivePage::new(larger_page(8192).expect("below the limit"));
        large.append(codec, 2, &"b".repeat(5000), 2).unwrap();
        large.for_each(codec, |_, _, value: String, _| assert_eq!(value, "b".repeat(5000)));
        assert_eq!(larger_page(1 << 30), None);
    }
}
