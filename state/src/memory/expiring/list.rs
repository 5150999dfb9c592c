//! A list whose elements expire one by one.
//!
//! A chunk of its archive has elements of one time: the record's expiry is theirs. Elements that a
//! read has removed for good need no record where no read gives what has expired: their chunks
//! expire by themselves. Otherwise, and where a read has refreshed, the list begins anew.
//!
//! **Invariants**
//! - `has_removed` is set if an element is marked.

use std::cell::Cell;
use std::slice;

use super::{Access, Age, Dated, Purge, Purged, updated_ms_of};
use crate::codec::Record;
use crate::memory::content::{Content, FieldWriter, Reading, chunk_number, elements_bytes};
use crate::memory::list_content::{ArchivedPart, chunk_elements};
use crate::ttl::TtlPolicy;
use crate::{StateError, StateValue};

/// See the module docs.
#[derive(Debug)]
pub(crate) struct ExpiringList<V> {
    elements: Vec<Dated<V>>,
    archived: ArchivedPart,
    has_removed: Cell<bool>,
    /// Whether a read has done what is to be archived.
    is_touched: Cell<bool>,
}

impl<V> Default for ExpiringList<V> {
    fn default() -> Self {
        ExpiringList {
            elements: Vec::new(),
            archived: ArchivedPart::default(),
            has_removed: Cell::new(false),
            is_touched: Cell::new(false),
        }
    }
}

impl<V> ExpiringList<V> {
    pub(crate) fn extend(&mut self, values: impl IntoIterator<Item = V>, access: Access) {
        self.elements.extend(values.into_iter().map(|value| Dated::new(value, access)));
    }

    /// The elements that a read gives; [`finish_read`](Self::finish_read) is to follow.
    pub(crate) fn visible(&self, access: Access) -> VisibleElements<'_, V> {
        let elements = self.elements.iter();
        let left = elements.clone().filter(|element| element.is_visible(access)).count();
        VisibleElements { elements, access, left }
    }

    /// What a read does to the elements, after they were looked at: refreshes the live ones, and
    /// removes the expired ones, except that those of a list that has live ones stay where reads may
    /// give them and do not write.
    pub(crate) fn finish_read(&self, access: Access) {
        let TtlPolicy { refreshes_on_read, returns_expired, .. } = access.policy;
        let any_live = || self.elements.iter().any(|element| element.age(access) == Age::Live);
        let keeps_expired = returns_expired && !refreshes_on_read && any_live();
        for element in &self.elements {
            match element.age(access) {
                Age::Expired if !keeps_expired => {
                    element.remove();
                    self.has_removed.set(true);
                    if returns_expired {
                        self.touch();
                    }
                }
                Age::Live => {
                    if element.refresh(access) {
                        self.touch();
                    }
                }
                Age::Expired | Age::Removed => {}
            }
        }
    }

    /// What is archived does not give the list any more.
    fn touch(&self) {
        self.archived.begin_anew();
        self.is_touched.set(true);
    }
}

/// The elements of an expiring list that a read gives. Looks at them and changes nothing.
#[derive(Debug)]
pub(crate) struct VisibleElements<'a, V> {
    elements: slice::Iter<'a, Dated<V>>,
    access: Access,
    left: usize,
}

impl<'a, V> Iterator for VisibleElements<'a, V> {
    type Item = &'a V;

    fn next(&mut self) -> Option<&'a V> {
        let element = self.elements.find(|element| element.is_visible(self.access))?;
        self.left = self.left.saturating_sub(1);
        Some(&element.value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<V> Purge for ExpiringList<V> {
    fn purge(&mut self) -> Purged {
        let is_touched = self.is_touched.replace(false);
        if self.has_removed.replace(false) {
            let archived = self.elements.iter().take(self.archived.archived_count);
            let removed = archived.filter(|element| element.is_removed()).count();
            self.archived.archived_count -= removed;
            self.elements.retain(|element| !element.is_removed());
        }
        Purged::of(self.elements.is_empty(), is_touched)
    }
}

impl<V: StateValue> Content for ExpiringList<V> {
    fn heap_bytes(&self) -> usize {
        elements_bytes::<Dated<V>>(self.elements.capacity())
    }

    fn archive(&mut self, out: &mut FieldWriter<'_, '_>) -> Result<(), StateError> {
        // At worst every element has a time of its own.
        let chunk_count = self.elements.len() - self.archived.archived_count;
        let mut archived = self.archived.before_archive(chunk_count, out);
        let appended = &self.elements[archived.archived_count..];
        for run in appended.chunk_by(|one, other| one.updated_ms() == other.updated_ms()) {
            let updated_ms = run.first().map(Dated::updated_ms);
            for chunk in run.chunks(chunk_elements::<V>()) {
                archived.put_chunk(updated_ms, chunk.iter().map(|element| &element.value), out)?;
            }
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
        let updated_ms = updated_ms_of(record, reading.ttl_ms);
        let mut values = Vec::new();
        reading.versions.read_all(record, &mut values)?;
        let mut made = None;
        let list = match current {
            Some(list) => list,
            None => made.insert(ExpiringList::default()),
        };
        list.elements.extend(values.into_iter().map(|value| Dated::at(value, updated_ms)));
        list.archived.loaded(chunk, list.elements.len());
        Ok(made)
    }
}
