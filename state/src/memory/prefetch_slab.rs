//! Entries with stable numbers, which can be fetched before they are needed.
//!
//! **Invariants**
//! - An entry keeps its number until it is removed; numbers of removed entries are given out again.
//! - `free` names exactly the empty places.

use super::huge_pages::HugePages;
use super::prefetch_table::prefetch;
use allocator_api2::vec::Vec;

/// A vector with holes. Growing copies the entries, as a vector does.
///
/// # Examples
///
/// ```
/// use thalweg_state::PrefetchSlab;
/// let mut words = PrefetchSlab::new();
/// let (to, be) = (words.insert("to"), words.insert("be"));
/// words.hint(be); // some records ahead
/// assert_eq!(words.remove(to), Some("to"));
/// assert_eq!((words.get(to), words.get(be)), (None, Some(&"be")));
/// assert_eq!(words.insert("or"), to);
/// ```
pub struct PrefetchSlab<E> {
    places: Vec<Option<E>, HugePages>,
    free: std::vec::Vec<u32>,
}

impl<E> Default for PrefetchSlab<E> {
    fn default() -> Self {
        PrefetchSlab::new()
    }
}

impl<E> PrefetchSlab<E> {
    /// An empty slab; allocates nothing.
    pub const fn new() -> Self {
        PrefetchSlab { places: Vec::new_in(HugePages::new()), free: std::vec::Vec::new() }
    }

    /// Adds an entry and returns its number.
    ///
    /// # Panics
    /// At 2^32 entries.
    #[inline]
    pub fn insert(&mut self, entry: E) -> u32 {
        if let Some(number) = self.free.pop() {
            self.places[number as usize] = Some(entry);
            return number;
        }
        let number = u32::try_from(self.places.len()).expect("fewer than 2^32 entries");
        self.places.push(Some(entry));
        number
    }

    /// Removes an entry; `None` if there is none of this number.
    #[inline]
    pub fn remove(&mut self, number: u32) -> Option<E> {
        let entry = self.places.get_mut(number as usize)?.take()?;
        self.free.push(number);
        Some(entry)
    }

    /// The entry of this number.
    #[inline(always)]
    pub fn get(&self, number: u32) -> Option<&E> {
        self.places.get(number as usize)?.as_ref()
    }

    /// The entry of this number, to change.
    #[inline(always)]
    pub fn get_mut(&mut self, number: u32) -> Option<&mut E> {
        self.places.get_mut(number as usize)?.as_mut()
    }

    /// Prefetches the entry of this number, first and last byte.
    #[inline(always)]
    pub fn hint(&self, number: u32) {
        let place = self.places.as_ptr().wrapping_add(number as usize).cast::<u8>();
        prefetch(place);
        prefetch(place.wrapping_add(size_of::<Option<E>>().saturating_sub(1)));
    }

    /// All numbers are below this: a walk over [`get`](Self::get) up to it finds every entry.
    pub fn number_bound(&self) -> u32 {
        // `insert` has seen that it fits.
        self.places.len() as u32
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory of the places; what entries own elsewhere is not counted.
    #[inline]
    pub fn allocation_bytes(&self) -> usize {
        self.places.capacity() * size_of::<Option<E>>()
    }
}

impl<E> std::fmt::Debug for PrefetchSlab<E> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PrefetchSlab").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_random::SplitMix64;
    use std::collections::BTreeMap;

    #[test]
    fn behaves_like_a_map() {
        let (mut slab, mut model) = (PrefetchSlab::new(), BTreeMap::new());
        let mut random = SplitMix64::new(11);
        for step in 0..20_000_u64 {
            let number = random.below(600) as u32;
            slab.hint(number);
            match random.below(3) {
                0 => assert_eq!(slab.remove(number), model.remove(&number)),
                1 if slab.len() < 500 => {
                    let number = slab.insert(step.to_string());
                    assert_eq!(model.insert(number, step.to_string()), None, "it was free");
                }
                _ => assert_eq!(slab.get(number), model.get(&number)),
            }
            assert_eq!((slab.len(), slab.is_empty()), (model.len(), model.is_empty()));
        }
    }
}
