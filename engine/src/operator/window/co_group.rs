//! Windows over two streams: the general window operator over their tagged union.
//!
//! The two streams come by inputs of their own, partitioned by their keys; each record is tagged as it enters. A window
//! keeps two lists, so that a function gets them as they lie there; behind an evictor it keeps the tagged elements.

use crate::Result;
use crate::function::{
    CoGroupFunction, Collector, KeySelector, RuntimeContext, TaggedUnion, UserFunction,
    WindowContext,
};
use crate::operator::Push;
use crate::operator::keyed::{KeyedLogic, Logic, LogicTwo};
use crate::operator::side_outputs::SideOutputs;
use crate::operator::window::body::Body;
use crate::operator::window::stored::{ShortPart, old_part, push_part, split_parts};
use crate::record::CheckpointId;
use crate::state::rkyv::rancor::{Error, Source};
use crate::state::rkyv::util::AlignedVec;
use crate::state::{OldType, Schema, SchemaBuilder, StateError, StateValue};
use crate::window::Window;
use std::any::type_name;
use std::marker::PhantomData;
use thalweg_state::{Key, KeyHasher};

/// The key of either.
#[derive(Clone)]
pub(crate) struct TaggedSelector<S1, S2>(pub(crate) S1, pub(crate) S2);

impl<A, B, K, S1, S2> KeySelector<TaggedUnion<A, B>> for TaggedSelector<S1, S2>
where
    K: Key,
    S1: KeySelector<A, Key = K> + UserFunction,
    S2: KeySelector<B, Key = K> + UserFunction,
{
    type Key = K;
    #[inline(always)]
    fn with_key<R>(&mut self, record: &TaggedUnion<A, B>, code: impl FnOnce(&K) -> R) -> R {
        match record {
            TaggedUnion::Left(left) => self.0.with_key(left, code),
            TaggedUnion::Right(right) => self.1.with_key(right, code),
        }
    }
}

/// An operator of one input of tagged elements as one of two inputs.
pub(crate) struct AsTagged<L>(pub(crate) L);

impl<L: KeyedLogic> KeyedLogic for AsTagged<L> {
    type Out = L::Out;
    fn is_deep(&mut self) -> bool {
        self.0.is_deep()
    }
    fn maintain(&mut self) -> Result {
        self.0.maintain()
    }
    fn snapshot(&mut self, checkpoint: CheckpointId) {
        self.0.snapshot(checkpoint);
    }
    fn advance(&mut self, watermark: i64) -> bool {
        self.0.advance(watermark)
    }
    fn fire<D: Push<L::Out>>(&mut self, budget: usize, next: &mut D) -> bool {
        self.0.fire(budget, next)
    }
    fn fire_processing_time<D: Push<L::Out>>(
        &mut self,
        now_ms: i64,
        budget: usize,
        next: &mut D,
    ) -> bool {
        self.0.fire_processing_time(now_ms, budget, next)
    }
    fn next_processing_time_ms(&mut self) -> i64 {
        self.0.next_processing_time_ms()
    }
    fn sides(&mut self) -> Option<&mut SideOutputs> {
        self.0.sides()
    }
}

impl<A, B, L: Logic<TaggedUnion<A, B>>> LogicTwo<A, B> for AsTagged<L> {
    fn apply_first<D: Push<L::Out>>(&mut self, hash: u32, left: A, timestamp: i64, next: &mut D) {
        self.0.apply(hash, TaggedUnion::Left(left), timestamp, next);
    }
    fn apply_second<D: Push<L::Out>>(&mut self, hash: u32, right: B, timestamp: i64, next: &mut D) {
        self.0.apply(hash, TaggedUnion::Right(right), timestamp, next);
    }
}

/// What a window keeps of both streams.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Groups<A, B> {
    lefts: Vec<A>,
    rights: Vec<B>,
}

impl<A, B> Default for Groups<A, B> {
    fn default() -> Self {
        Groups { lefts: Vec::new(), rights: Vec::new() }
    }
}

impl<A, B> Groups<A, B> {
    fn push(&mut self, element: TaggedUnion<A, B>) {
        match element {
            TaggedUnion::Left(left) => self.lefts.push(left),
            TaggedUnion::Right(right) => self.rights.push(right),
        }
    }
}

/// A function over both groups.
#[derive(Clone)]
pub(crate) struct CoGroup<P>(pub(crate) P);

impl<P, A, B, K, W> Body<TaggedUnion<A, B>, K, W> for CoGroup<P>
where
    P: CoGroupFunction<Left = A, Right = B>,
    A: StateValue + Clone,
    B: StateValue + Clone,
    W: Window,
{
    type State = Groups<A, B>;
    type Out = P::Out;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        self.0.open(context)
    }
    fn close(&mut self) -> Result<()> {
        self.0.close()
    }
    fn add(&mut self, state: &mut Option<Groups<A, B>>, element: TaggedUnion<A, B>, _: i64) {
        state.get_or_insert_default().push(element);
    }
    fn add_copy(&mut self, state: &mut Option<Groups<A, B>>, element: &TaggedUnion<A, B>, _: i64) {
        state.get_or_insert_default().push(element.clone());
    }
    fn merge(&mut self, into: &mut Groups<A, B>, mut from: Groups<A, B>) {
        into.lefts.append(&mut from.lefts);
        into.rights.append(&mut from.rights);
    }
    fn fire(
        &mut self,
        state: Groups<A, B>,
        _: &K,
        _: &mut WindowContext<'_, W>,
        out: &mut Collector<'_, P::Out>,
    ) -> Result<Option<Groups<A, B>>> {
        self.0.co_group(&state.lefts, &state.rights, out)?;
        Ok(Some(state))
    }
    fn fire_elements(
        &mut self,
        elements: &[TaggedUnion<A, B>],
        _: &K,
        _: &mut WindowContext<'_, W>,
        out: &mut Collector<'_, P::Out>,
    ) -> Result<()> {
        let mut groups = Groups::default();
        elements.iter().for_each(|element| groups.push(element.clone()));
        self.0.co_group(&groups.lefts, &groups.rights, out)
    }
    fn clear(&mut self, _: &mut WindowContext<'_, W>) -> Result<()> {
        Ok(())
    }
}

/// A closure over both groups.
pub(crate) struct GroupsClosure<F, A, B, U> {
    pub(crate) function: F,
    pub(crate) types: PhantomData<fn(A, B) -> U>,
}

/// A closure over each pair of an element of the one and an element of the other.
pub(crate) struct PairsClosure<F, A, B, U> {
    pub(crate) function: F,
    pub(crate) types: PhantomData<fn(A, B) -> U>,
}

impl<F: Clone, A, B, U> Clone for GroupsClosure<F, A, B, U> {
    fn clone(&self) -> Self {
        GroupsClosure { function: self.function.clone(), types: PhantomData }
    }
}

impl<F: Clone, A, B, U> Clone for PairsClosure<F, A, B, U> {
    fn clone(&self) -> Self {
        PairsClosure { function: self.function.clone(), types: PhantomData }
    }
}

impl<F, A, B, U> CoGroupFunction for GroupsClosure<F, A, B, U>
where
    F: FnMut(&[A], &[B], &mut Collector<'_, U>) + 'static,
    A: 'static,
    B: 'static,
    U: 'static,
{
    type Left = A;
    type Right = B;
    type Out = U;
    fn co_group(&mut self, lefts: &[A], rights: &[B], out: &mut Collector<'_, U>) -> Result<()> {
        (self.function)(lefts, rights, out);
        Ok(())
    }
}

impl<F, A, B, U> CoGroupFunction for PairsClosure<F, A, B, U>
where
    F: FnMut(&A, &B) -> U + 'static,
    A: 'static,
    B: 'static,
    U: 'static,
{
    type Left = A;
    type Right = B;
    type Out = U;
    fn co_group(&mut self, lefts: &[A], rights: &[B], out: &mut Collector<'_, U>) -> Result<()> {
        for left in lefts {
            for right in rights {
                out.collect((self.function)(left, right));
            }
        }
        Ok(())
    }
}

// Archived by hand, as all that windows keep: see `stored`.

impl<A: Schema, B: Schema> Schema for Groups<A, B> {
    fn describe(out: &mut SchemaBuilder) {
        out.container("CoGroups", &[A::describe, B::describe]);
    }
    fn hash_key(&self, hasher: &mut KeyHasher) {
        self.lefts.hash_key(hasher);
        self.rights.hash_key(hasher);
    }
}

/// Format: how many are left (`u64`), the left ones, the right ones; each a part.
impl<A: StateValue, B: StateValue> StateValue for Groups<A, B> {
    fn archive_into(&self, out: &mut AlignedVec) -> Result<(), StateError> {
        push_part(&(self.lefts.len() as u64), out)?;
        self.lefts.iter().try_for_each(|left| push_part(left, out))?;
        self.rights.iter().try_for_each(|right| push_part(right, out))
    }
    fn from_archived(bytes: &[u8]) -> Result<Self, StateError> {
        read_groups(bytes, A::from_archived, B::from_archived)
    }
    fn from_old(old: OldType<'_>, bytes: &[u8]) -> Result<Self, StateError> {
        let (left, right) = (old_part::<Self>(old, 0)?, old_part::<Self>(old, 1)?);
        read_groups(bytes, |bytes| A::from_old(left, bytes), |bytes| B::from_old(right, bytes))
    }
}

fn read_groups<A, B>(
    bytes: &[u8],
    read_left: impl Fn(&[u8]) -> Result<A, StateError>,
    read_right: impl Fn(&[u8]) -> Result<B, StateError>,
) -> Result<Groups<A, B>, StateError> {
    let parts = split_parts(bytes, type_name::<Groups<A, B>>())?;
    let short = || short::<Groups<A, B>>(bytes);
    let (count, elements) = parts.split_first().ok_or_else(short)?;
    let count = u64::from_archived(count)? as usize;
    let (lefts, rights) = elements.split_at_checked(count).ok_or_else(short)?;
    Ok(Groups {
        lefts: lefts.iter().map(|left| read_left(left)).collect::<Result<_, _>>()?,
        rights: rights.iter().map(|right| read_right(right)).collect::<Result<_, _>>()?,
    })
}

impl<A: Schema, B: Schema> Schema for TaggedUnion<A, B> {
    fn describe(out: &mut SchemaBuilder) {
        out.container("TaggedUnion", &[A::describe, B::describe]);
    }
    fn hash_key(&self, hasher: &mut KeyHasher) {
        match self {
            TaggedUnion::Left(left) => {
                hasher.write_u32(0);
                left.hash_key(hasher);
            }
            TaggedUnion::Right(right) => {
                hasher.write_u32(1);
                right.hash_key(hasher);
            }
        }
    }
}

/// Format: is it a right one (`bool`), the element; each a part.
impl<A: StateValue, B: StateValue> StateValue for TaggedUnion<A, B> {
    fn archive_into(&self, out: &mut AlignedVec) -> Result<(), StateError> {
        push_part(&matches!(self, TaggedUnion::Right(_)), out)?;
        match self {
            TaggedUnion::Left(left) => push_part(left, out),
            TaggedUnion::Right(right) => push_part(right, out),
        }
    }
    fn from_archived(bytes: &[u8]) -> Result<Self, StateError> {
        read_union(bytes, A::from_archived, B::from_archived)
    }
    fn from_old(old: OldType<'_>, bytes: &[u8]) -> Result<Self, StateError> {
        let (left, right) = (old_part::<Self>(old, 0)?, old_part::<Self>(old, 1)?);
        read_union(bytes, |bytes| A::from_old(left, bytes), |bytes| B::from_old(right, bytes))
    }
}

fn read_union<A, B>(
    bytes: &[u8],
    read_left: impl Fn(&[u8]) -> Result<A, StateError>,
    read_right: impl Fn(&[u8]) -> Result<B, StateError>,
) -> Result<TaggedUnion<A, B>, StateError> {
    let parts = split_parts(bytes, type_name::<TaggedUnion<A, B>>())?;
    let [tag, element] = parts[..] else { return Err(short::<TaggedUnion<A, B>>(bytes)) };
    Ok(match bool::from_archived(tag)? {
        false => TaggedUnion::Left(read_left(element)?),
        true => TaggedUnion::Right(read_right(element)?),
    })
}

fn short<T>(bytes: &[u8]) -> StateError {
    let source = Error::new(ShortPart);
    StateError::Unarchive { type_name: type_name::<T>(), length_bytes: bytes.len(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Sample = Groups<String, (u64, i64)>;

    #[test]
    fn what_windows_keep_round_trips_and_damage_is_an_error() {
        let mut groups = Sample::default();
        assert_eq!(Sample::from_archived(&groups.to_archived().unwrap()).unwrap(), groups);
        groups.push(TaggedUnion::Left("a string longer than its inline form".into()));
        groups.push(TaggedUnion::Right((7, -7)));
        groups.push(TaggedUnion::Left(String::new()));
        let bytes = groups.to_archived().unwrap();
        assert_eq!(Sample::from_archived(&bytes).unwrap(), groups);
        for length in 0..bytes.len() - 1 {
            let part = Sample::from_archived(&bytes[..length]);
            assert!(part.is_err() || part.unwrap() != groups, "{length}");
        }
        let elements = [TaggedUnion::Left("l".to_string()), TaggedUnion::Right(9_u64)];
        for element in elements {
            let bytes = element.to_archived().unwrap();
            assert_eq!(TaggedUnion::from_archived(&bytes).unwrap(), element);
            assert!(TaggedUnion::<String, u64>::from_archived(&bytes[..bytes.len() - 1]).is_err());
        }
    }
}
