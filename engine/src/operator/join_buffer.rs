//! What one side of an interval join remembers of a key: records by timestamp, then by arrival.
//!
//! Records come nearly in order and leave from the front, so a sorted deque takes both at its ends; a record that comes
//! out of order is inserted where it belongs, which moves the fewer of those before and behind it.
//!
//! **Invariants**
//! - Entries ascend in timestamp; entries of one timestamp are in the order of their arrival.
//! - The archived form is the list of (timestamp, archived record), whatever the deque looks like in memory.

use rkyv::rancor::{Fallible, Source};
use rkyv::rend::i64_le;
use rkyv::ser::{Allocator, Writer};
use rkyv::tuple::ArchivedTuple2;
use rkyv::vec::{ArchivedVec, VecResolver};
use rkyv::{Archive, Deserialize, Place, Serialize};
use std::collections::VecDeque;
use thalweg_state::{EvolutionError, KeyHasher, OldValue, Schema, SchemaBuilder, StateValue};

/// See the module docs.
pub(crate) struct JoinBuffer<T> {
    entries: VecDeque<(i64, T)>,
}

impl<T> Default for JoinBuffer<T> {
    fn default() -> Self {
        JoinBuffer { entries: VecDeque::new() }
    }
}

/// A deque that holds fewer than a quarter of what it has room for, and has room for more than this, gives memory back.
const ROOM_KEPT: usize = 64;

impl<T> JoinBuffer<T> {
    /// Adds a record behind all of its timestamp. True if it is the first of all now.
    #[inline]
    pub(crate) fn insert(&mut self, timestamp: i64, record: T) -> bool {
        if self.entries.back().is_none_or(|(last, _)| *last <= timestamp) {
            self.entries.push_back((timestamp, record));
            return self.entries.len() == 1;
        }
        let index = self.entries.partition_point(|(at, _)| *at <= timestamp);
        self.entries.insert(index, (timestamp, record));
        index == 0
    }

    /// The records from `first` to `last`, both included.
    #[inline]
    pub(crate) fn range(&self, first: i64, last: i64) -> impl Iterator<Item = &(i64, T)> {
        let start = self.entries.partition_point(|(at, _)| *at < first);
        self.entries.range(start..).take_while(move |(at, _)| *at <= last)
    }

    /// Removes the records for which `is_over` is true of their timestamp, from the front.
    pub(crate) fn remove_front(&mut self, is_over: impl Fn(i64) -> bool) {
        let over = self.entries.partition_point(|(at, _)| is_over(*at));
        self.entries.drain(..over);
        if self.entries.capacity() > ROOM_KEPT && self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }

    pub(crate) fn first_timestamp(&self) -> Option<i64> {
        self.entries.front().map(|(at, _)| *at)
    }
}

/// The structure that is archived.
type Entries = Vec<(i64, Vec<u8>)>;

impl<T: StateValue> Schema for JoinBuffer<T> {
    fn describe(out: &mut SchemaBuilder) {
        <Vec<(i64, T)>>::describe(out);
    }
    fn hash_key(&self, hasher: &mut KeyHasher) {
        hasher.write_length(self.entries.len());
        self.entries.iter().for_each(|entry| {
            entry.0.hash_key(hasher);
            entry.1.hash_key(hasher);
        });
    }
    /// The records are archives within the archive, so the schema does not say where they lie, but what they are.
    fn evolve(old: OldValue<'_>) -> Result<Self, EvolutionError> {
        let record = old.old_type().element().and_then(|entry| entry.part(1));
        let record = record.ok_or_else(|| EvolutionError::mismatch::<Self>(old.old_type()))?;
        let entries = Entries::from_archived(old.archive()).map_err(Box::new)?;
        let entries = entries.into_iter().map(|(at, bytes)| {
            Ok::<_, EvolutionError>((at, T::from_old(record, &bytes).map_err(Box::new)?))
        });
        Ok(JoinBuffer { entries: entries.collect::<Result<_, _>>()? })
    }
}

impl<T: StateValue> Archive for JoinBuffer<T> {
    type Archived = <Entries as Archive>::Archived;
    type Resolver = VecResolver;
    fn resolve(&self, resolver: VecResolver, out: Place<Self::Archived>) {
        ArchivedVec::resolve_from_len(self.entries.len(), resolver, out);
    }
}

impl<T, S> Serialize<S> for JoinBuffer<T>
where
    T: StateValue,
    S: Fallible<Error: Source> + Allocator + Writer + ?Sized,
{
    fn serialize(&self, serializer: &mut S) -> Result<VecResolver, S::Error> {
        let archive = |(at, record): &(i64, T)| {
            let bytes = record.to_archived().map_err(Source::new)?;
            Ok((*at, bytes.to_vec()))
        };
        let entries = self.entries.iter().map(archive).collect::<Result<Entries, S::Error>>()?;
        entries.serialize(serializer)
    }
}

impl<T, D> Deserialize<JoinBuffer<T>, D> for ArchivedVec<ArchivedTuple2<i64_le, ArchivedVec<u8>>>
where
    T: StateValue,
    D: Fallible<Error: Source> + ?Sized,
{
    fn deserialize(&self, _: &mut D) -> Result<JoinBuffer<T>, D::Error> {
        let restore = |entry: &ArchivedTuple2<i64_le, ArchivedVec<u8>>| {
            let record = T::from_archived(&entry.1).map_err(Source::new)?;
            Ok((entry.0.to_native(), record))
        };
        let entries = self.iter().map(restore).collect::<Result<_, D::Error>>()?;
        Ok(JoinBuffer { entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(entries: &[(i64, &str)]) -> JoinBuffer<String> {
        let mut buffer = JoinBuffer::default();
        entries.iter().for_each(|(at, record)| {
            buffer.insert(*at, (*record).to_owned());
        });
        buffer
    }

    fn names(buffer: &JoinBuffer<String>, first: i64, last: i64) -> Vec<&str> {
        buffer.range(first, last).map(|(_, name)| name.as_str()).collect()
    }

    #[test]
    fn records_lie_by_timestamp_then_by_arrival() {
        let buffer = buffer(&[(5, "a"), (3, "b"), (5, "c"), (4, "d"), (3, "e"), (i64::MAX, "f")]);
        assert_eq!(names(&buffer, i64::MIN, i64::MAX), ["b", "e", "d", "a", "c", "f"]);
        assert_eq!(names(&buffer, 4, 5), ["d", "a", "c"]);
        assert_eq!(names(&buffer, 6, 5), Vec::<&str>::new());
        assert_eq!(buffer.first_timestamp(), Some(3));
    }

    #[test]
    fn insert_tells_of_a_new_first_record() {
        let mut buffer = JoinBuffer::default();
        assert!(buffer.insert(5, ()));
        assert!(!buffer.insert(5, ()));
        assert!(buffer.insert(4, ()));
        assert!(!buffer.insert(4, ()));
        assert!(!buffer.insert(9, ()));
    }

    #[test]
    fn removing_keeps_what_is_not_over_and_gives_memory_back() {
        let mut buffer = JoinBuffer::default();
        (0..10_000).for_each(|at| {
            buffer.insert(at, at);
        });
        buffer.remove_front(|at| at < 9_990);
        assert_eq!(buffer.range(0, 20_000).count(), 10);
        assert!(buffer.entries.capacity() < 100, "{}", buffer.entries.capacity());
        buffer.remove_front(|_| true);
        assert_eq!(buffer.first_timestamp(), None);
    }

    #[test]
    fn the_archived_form_round_trips() {
        let original = buffer(&[(7, "a"), (-7, "a longer string than fits inline"), (0, "")]);
        let bytes = original.to_archived().unwrap();
        let restored = JoinBuffer::<String>::from_archived(&bytes).unwrap();
        assert_eq!(restored.entries, original.entries);
        assert!(JoinBuffer::<String>::from_archived(&bytes[..bytes.len() - 4]).is_err());
    }
}
