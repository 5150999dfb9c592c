//! Descriptors of states that fold what is added: they carry the function.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::{AggregateFunction, StateTtl, StateValue};

/// How a reducing state folds a value into the one it has.
pub(crate) type Reduce<V> = Arc<dyn Fn(&mut V, V) + Send + Sync>;

/// An [`AggregateFunction`] of which only the types are known: handles name no function.
pub(crate) trait Fold<IN, ACC, OUT>: Send + Sync {
    fn create(&self) -> ACC;
    fn add(&self, accumulator: &mut ACC, value: &IN);
    fn result(&self, accumulator: &ACC) -> OUT;
}

impl<IN, A: AggregateFunction<IN> + Sync> Fold<IN, A::Accumulator, A::Result> for A {
    fn create(&self) -> A::Accumulator {
        self.create_accumulator()
    }

    fn add(&self, accumulator: &mut A::Accumulator, value: &IN) {
        AggregateFunction::add(self, accumulator, value);
    }

    fn result(&self, accumulator: &A::Accumulator) -> A::Result {
        AggregateFunction::result(self, accumulator)
    }
}

/// One value a key, into which a function folds all that is added.
///
/// ```
/// use thalweg_state::ReducingStateDescriptor;
/// let total = ReducingStateDescriptor::new("total", |total: &mut u64, amount| *total += amount);
/// assert_eq!(total.name(), "total");
/// ```
pub struct ReducingStateDescriptor<V> {
    name: Cow<'static, str>,
    ttl: Option<StateTtl>,
    pub(crate) reduce: Reduce<V>,
}

impl<V> ReducingStateDescriptor<V> {
    /// Describes the state of this name; `reduce` folds its second argument into the first. The
    /// first value added is taken as it is.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        reduce: impl Fn(&mut V, V) + Send + Sync + 'static,
    ) -> Self
    where
        V: StateValue,
    {
        ReducingStateDescriptor { name: name.into(), ttl: None, reduce: Arc::new(reduce) }
    }

    /// Lets the state expire.
    #[must_use]
    pub fn with_ttl(self, ttl: StateTtl) -> Self {
        ReducingStateDescriptor { ttl: Some(ttl), ..self }
    }

    /// The state's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long the state lives; `None` for ever.
    pub fn ttl(&self) -> Option<StateTtl> {
        self.ttl
    }
}

impl<V> Clone for ReducingStateDescriptor<V> {
    fn clone(&self) -> Self {
        let ReducingStateDescriptor { name, ttl, reduce } = self;
        ReducingStateDescriptor { name: name.clone(), ttl: *ttl, reduce: reduce.clone() }
    }
}

impl<V> fmt::Debug for ReducingStateDescriptor<V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ReducingStateDescriptor")
            .field("name", &self.name)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

/// One accumulator a key, into which an [`AggregateFunction`] adds, and out of which it makes a
/// result.
///
/// ```
/// use thalweg_state::{AggregateFunction, AggregatingStateDescriptor};
///
/// #[derive(Clone)]
/// struct Longest;
/// impl AggregateFunction<String> for Longest {
///     type Accumulator = u64;
///     type Result = u64;
///     fn create_accumulator(&self) -> u64 {
///         0
///     }
///     fn add(&self, longest: &mut u64, word: &String) {
///         *longest = (*longest).max(word.len() as u64);
///     }
///     fn result(&self, longest: &u64) -> u64 {
///         *longest
///     }
///     fn merge(&self, into: &mut u64, other: &u64) {
///         *into = (*into).max(*other);
///     }
/// }
/// assert_eq!(AggregatingStateDescriptor::new("longest", Longest).name(), "longest");
/// ```
pub struct AggregatingStateDescriptor<IN, ACC, OUT> {
    name: Cow<'static, str>,
    ttl: Option<StateTtl>,
    pub(crate) fold: Arc<dyn Fold<IN, ACC, OUT>>,
    types: PhantomData<fn(IN, ACC) -> OUT>,
}

impl<IN: 'static, ACC: StateValue, OUT: 'static> AggregatingStateDescriptor<IN, ACC, OUT> {
    /// Describes the state of this name.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        aggregate: impl AggregateFunction<IN, Accumulator = ACC, Result = OUT> + Sync,
    ) -> Self {
        let (name, fold) = (name.into(), Arc::new(aggregate));
        AggregatingStateDescriptor { name, ttl: None, fold, types: PhantomData }
    }
}

impl<IN, ACC, OUT> AggregatingStateDescriptor<IN, ACC, OUT> {
    /// Lets the state expire.
    #[must_use]
    pub fn with_ttl(self, ttl: StateTtl) -> Self {
        AggregatingStateDescriptor { ttl: Some(ttl), ..self }
    }

    /// The state's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long the state lives; `None` for ever.
    pub fn ttl(&self) -> Option<StateTtl> {
        self.ttl
    }
}

impl<IN, ACC, OUT> Clone for AggregatingStateDescriptor<IN, ACC, OUT> {
    fn clone(&self) -> Self {
        let (name, fold) = (self.name.clone(), self.fold.clone());
        AggregatingStateDescriptor { name, ttl: self.ttl, fold, types: PhantomData }
    }
}

impl<IN, ACC, OUT> fmt::Debug for AggregatingStateDescriptor<IN, ACC, OUT> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AggregatingStateDescriptor")
            .field("name", &self.name)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}
