//! What the field of a list state holds: the elements, and how many of them are archived.
//!
//! ```text
//! elements   | archived: chunks 0..next of earlier deltas | appended since |
//! record     sub = chunk number u32 BE, value = the chunk's elements (StateValue::archive_all_into)
//! ```
//! An archive writes the elements appended since the last one as further chunks and never touches
//! those that are written. A chunk has up to 4 KiB of elements whose size is fixed, else 64.
//!
//! **Invariants**
//! - The chunks below the next number, in their order, hold the first `archived_count` elements.
//! - A list that begins anew has nothing archived; its first archive voids what lies below.

use std::cell::Cell;

use super::content::{Content, FieldWriter, Reading, chunk_number, elements_bytes};
use super::prefetch_table::prefetch;
use crate::codec::Record;
use crate::{StateError, StateValue};

/// A chunk of elements of fixed size has up to this many bytes, but at least one element.
const CHUNK_BYTES_MAX: usize = 4 << 10;

/// A chunk of other elements has up to this many.
const CHUNK_ELEMENTS_MAX: usize = 64;

/// How many elements of a type a chunk holds at most.
pub(super) const fn chunk_elements<V: StateValue>() -> usize {
    match V::ELEMENT_BYTES {
        Some(0) | None => CHUNK_ELEMENTS_MAX,
        Some(bytes) if bytes > CHUNK_BYTES_MAX => 1,
        Some(bytes) => CHUNK_BYTES_MAX / bytes,
    }
}

/// Which elements of a list are archived.
#[derive(Clone, Debug)]
pub(super) struct ArchivedPart {
    pub(super) archived_count: usize,
    next_chunk: u32,
    /// Whether nothing that lies below is a part of the list.
    begins_anew: Cell<bool>,
}

impl Default for ArchivedPart {
    fn default() -> Self {
        ArchivedPart { archived_count: 0, next_chunk: 0, begins_anew: Cell::new(true) }
    }
}

impl ArchivedPart {
    /// The archived elements are to be written again, together with the others.
    pub(super) fn begin_anew(&self) {
        self.begins_anew.set(true);
    }

    /// The part as the next archive goes on from it, if that writes up to `chunk_count` chunks;
    /// voids what lies below where it is no part of the list.
    pub(super) fn before_archive(
        &self,
        chunk_count: usize,
        out: &mut FieldWriter<'_, '_>,
    ) -> ArchivedPart {
        if out.is_full() {
            return ArchivedPart::default();
        }
        let room = (u32::MAX - self.next_chunk) as usize;
        if !self.begins_anew.get() && chunk_count <= room {
            return self.clone();
        }
        if out.is_below() {
            out.remove_state();
        }
        ArchivedPart { begins_anew: Cell::new(false), ..ArchivedPart::default() }
    }

    /// The part after an archive that went on as far as this.
    pub(super) fn after_archive(self, out: &FieldWriter<'_, '_>) -> ArchivedPart {
        if out.is_full() { ArchivedPart::default() } else { self }
    }

    /// Writes a chunk; the caller makes sure that there are fewer than 2^32.
    #[inline]
    pub(super) fn put_chunk<'v, V: StateValue>(
        &mut self,
        updated_ms: Option<i64>,
        values: impl ExactSizeIterator<Item = &'v V> + Clone,
        out: &mut FieldWriter<'_, '_>,
    ) -> Result<(), StateError> {
        self.archived_count += values.len();
        out.put_chunk(self.next_chunk, updated_ms, values)?;
        self.next_chunk += 1;
        Ok(())
    }

    /// Notes that a chunk was loaded behind the others, so that the list has so many elements.
    pub(super) fn loaded(&mut self, chunk: u32, count: usize) {
        self.archived_count = count;
        self.next_chunk = chunk.saturating_add(1);
        self.begins_anew.set(false);
    }
}

/// The elements of a list.
#[derive(Debug)]
pub(crate) struct ListContent<V> {
    elements: Vec<V>,
    archived: ArchivedPart,
}

impl<V> ListContent<V> {
    /// A list that takes the place of what was there before.
    pub(crate) fn new(elements: Vec<V>) -> Self {
        ListContent { elements, archived: ArchivedPart::default() }
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, element: V) {
        self.elements.push(element);
    }

    pub(crate) fn extend(&mut self, elements: impl IntoIterator<Item = V>) {
        self.elements.extend(elements);
    }

    #[inline(always)]
    pub(crate) fn as_slice(&self) -> &[V] {
        &self.elements
    }
}

impl<V> Default for ListContent<V> {
    #[inline]
    fn default() -> Self {
        ListContent::new(Vec::new())
    }
}

impl<V: StateValue> Content for ListContent<V> {
    const IS_HINTED: bool = true;

    #[inline]
    fn hint(&self) {
        let elements = self.elements.as_ptr();
        prefetch(elements.wrapping_add(self.archived.archived_count).cast());
        prefetch(elements.wrapping_add(self.elements.len()).cast());
    }

    fn heap_bytes(&self) -> usize {
        elements_bytes::<V>(self.elements.capacity())
    }

    fn archive(&mut self, out: &mut FieldWriter<'_, '_>) -> Result<(), StateError> {
        let appended = self.elements.len() - self.archived.archived_count;
        let chunk_count = appended.div_ceil(chunk_elements::<V>());
        let mut archived = self.archived.before_archive(chunk_count, out);
        for chunk in self.elements[archived.archived_count..].chunks(chunk_elements::<V>()) {
            archived.put_chunk(None, chunk.iter(), out)?;
        }
        self.archived = archived.after_archive(out);
        Ok(())
    }

    fn load(
        current: Option<&mut Self>,
        record: &Record<'_>,
        reading: &Reading,
    ) -> Result<Option<Self>, StateError> {
        let chunk = chunk_number::<V>(record)?;
        let Some(list) = current else {
            let mut list = ListContent::default();
            list.load_chunk(chunk, record, reading)?;
            return Ok(Some(list));
        };
        list.load_chunk(chunk, record, reading)?;
        Ok(None)
    }
}

impl<V: StateValue> ListContent<V> {
    fn load_chunk(
        &mut self,
        chunk: u32,
        record: &Record<'_>,
        reading: &Reading,
    ) -> Result<(), StateError> {
        reading.versions.read_all(record, &mut self.elements)?;
        self.archived.loaded(chunk, self.elements.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_of_bounded_size() {
        assert_eq!(chunk_elements::<u8>(), 4096);
        assert_eq!(chunk_elements::<[u64; 2]>(), 256);
        assert_eq!(chunk_elements::<[u8; 5000]>(), 1);
        assert_eq!(chunk_elements::<String>(), 64);
        assert_eq!(chunk_elements::<()>(), 64);
    }
}
