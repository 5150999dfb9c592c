//! The factories of the stateless operators: what a stream's method keeps until the operator is built on its core.

use crate::Result;
use crate::api::chain::OperatorFactory;
use crate::function::{
    FilterFunction, FlatMapFunction, MapFunction, ProcessFunction, UserFunction,
};
use crate::graph::NodeId;
use crate::operator::Push;
use crate::operator::build::BuildContext;
use crate::operator::flat_map::{FlatMap, FlatMapWith};
use crate::operator::map::{Filter, FilterWith, Map, MapWith};
use crate::operator::opened::hooks;
use crate::operator::process::Process;
use crate::operator::rich::Rich;
use crate::operator::unkeyed_services::UnkeyedServices;
use std::marker::PhantomData;

/// Types that a factory speaks of without holding them.
pub(crate) type Speaks<X> = PhantomData<fn() -> X>;

macro_rules! clone_by_function {
    ($name:ident<$($p:ident),*>) => {
        impl<F: Clone, $($p),*> Clone for $name<F, $($p),*> {
            fn clone(&self) -> Self {
                $name { function: self.function.clone(), node: self.node, types: PhantomData }
            }
        }
    };
}

/// `map`.
pub(crate) struct MapFactory<F, T, U> {
    pub(crate) function: F,
    pub(crate) node: NodeId,
    pub(crate) types: Speaks<(T, U)>,
}
clone_by_function!(MapFactory<T, U>);

impl<T: 'static, U: Send + 'static, F> OperatorFactory<T> for MapFactory<F, T, U>
where
    F: FnMut(T) -> U + UserFunction,
{
    type Out = U;
    type Operator<D: Push<U>> = Map<F, D, U>;
    fn build<D: Push<U>>(self, context: &mut BuildContext, next: D) -> Result<Map<F, D, U>> {
        let stage = context.stage.clone();
        Ok(Map { function: self.function, next, stage, node: self.node, _out: PhantomData })
    }
}

/// `filter`.
pub(crate) struct FilterFactory<F, T> {
    pub(crate) function: F,
    pub(crate) node: NodeId,
    pub(crate) types: Speaks<T>,
}
clone_by_function!(FilterFactory<T>);

impl<T: Send + 'static, F: FnMut(&T) -> bool + UserFunction> OperatorFactory<T>
    for FilterFactory<F, T>
{
    type Out = T;
    type Operator<D: Push<T>> = Filter<F, D>;
    fn build<D: Push<T>>(self, context: &mut BuildContext, next: D) -> Result<Filter<F, D>> {
        Ok(Filter { function: self.function, next, stage: context.stage.clone(), node: self.node })
    }
}

/// `flat_map`.
pub(crate) struct FlatMapFactory<F, T, I> {
    pub(crate) function: F,
    pub(crate) node: NodeId,
    pub(crate) types: Speaks<(T, I)>,
}
clone_by_function!(FlatMapFactory<T, I>);

impl<T: 'static, I, F> OperatorFactory<T> for FlatMapFactory<F, T, I>
where
    I: IntoIterator<Item: Send + 'static> + 'static,
    F: FnMut(T) -> I + UserFunction,
{
    type Out = I::Item;
    type Operator<D: Push<I::Item>> = FlatMap<F, D, I>;
    fn build<D: Push<I::Item>>(
        self,
        context: &mut BuildContext,
        next: D,
    ) -> Result<FlatMap<F, D, I>> {
        Ok(FlatMap::new(self.function, next, context.stage.clone(), self.node))
    }
}

/// Makes a rich function on its core: the clone of one, or what a closure returns.
#[doc(hidden)]
pub(crate) trait MakeFunction: Clone + Send + 'static {
    /// The function made.
    type Function: 'static;
    /// Makes it.
    fn make(self) -> Self::Function;
}

/// Each subtask gets a clone.
#[derive(Clone)]
pub(crate) struct Cloned<F>(pub(crate) F);
impl<F: UserFunction> MakeFunction for Cloned<F> {
    type Function = F;
    fn make(self) -> F {
        self.0
    }
}

/// Each subtask calls the closure.
pub(crate) struct Made<M, F> {
    pub(crate) make: M,
    pub(crate) types: Speaks<F>,
}
impl<M: Clone, F> Clone for Made<M, F> {
    fn clone(&self) -> Self {
        Made { make: self.make.clone(), types: PhantomData }
    }
}
impl<F: 'static, M: FnOnce() -> F + UserFunction> MakeFunction for Made<M, F> {
    type Function = F;
    fn make(self) -> F {
        (self.make)()
    }
}

macro_rules! rich_factory {
    ($(#[$doc:meta])* $name:ident, $operator:ident, $function:ident, $out:ty) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub(crate) struct $name<M> {
            pub(crate) make: M,
            pub(crate) node: NodeId,
        }
        impl<M> OperatorFactory<<M::Function as $function>::In> for $name<M>
        where
            M: MakeFunction<Function: $function<In: 'static>>,
            $out: Send + 'static,
        {
            type Out = $out;
            type Operator<D: Push<$out>> = $operator<M::Function, D>;
            fn build<D: Push<$out>>(
                self,
                context: &mut BuildContext,
                next: D,
            ) -> Result<$operator<M::Function, D>> {
                let function = Rich::open(
                    self.make.make(),
                    context,
                    self.node,
                    |function, context| function.open(context),
                    |function| function.close(),
                    hooks!(),
                )?;
                Ok($operator { function, next })
            }
        }
    };
}

rich_factory!(
    /// `map_with`.
    MapWithFactory, MapWith, MapFunction, <M::Function as MapFunction>::Out
);
rich_factory!(
    /// `filter_with`.
    FilterWithFactory, FilterWith, FilterFunction, <M::Function as FilterFunction>::In
);
rich_factory!(
    /// `flat_map_with`.
    FlatMapWithFactory, FlatMapWith, FlatMapFunction, <M::Function as FlatMapFunction>::Out
);

/// `process` on a stream without keys.
#[derive(Clone)]
pub(crate) struct ProcessFactory<P> {
    pub(crate) function: P,
    pub(crate) node: NodeId,
}

impl<P> OperatorFactory<P::In> for ProcessFactory<P>
where
    P: ProcessFunction<Out: Send + 'static> + UserFunction,
{
    type Out = P::Out;
    type Operator<D: Push<P::Out>> = Process<P, D>;
    fn build<D: Push<P::Out>>(self, context: &mut BuildContext, next: D) -> Result<Process<P, D>> {
        let ProcessFactory { function, node } = self;
        let opened = UnkeyedServices::open(function, context, node, P::open, P::close, hooks!());
        let (function, services) = opened?;
        Ok(Process { function, next, services })
    }
}

/// A fallible closure as a [`MapFunction`], [`FilterFunction`] or [`FlatMapFunction`].
pub(crate) struct Fallible<F, T, U> {
    pub(crate) function: F,
    pub(crate) types: Speaks<(T, U)>,
}
impl<F: Clone, T, U> Clone for Fallible<F, T, U> {
    fn clone(&self) -> Self {
        Fallible { function: self.function.clone(), types: PhantomData }
    }
}

impl<T: 'static, U: 'static, F: FnMut(T) -> Result<U> + 'static> MapFunction for Fallible<F, T, U> {
    type In = T;
    type Out = U;
    #[inline(always)]
    fn map(&mut self, record: T) -> Result<U> {
        (self.function)(record)
    }
}

impl<T: 'static, F: FnMut(&T) -> Result<bool> + 'static> FilterFunction for Fallible<F, T, bool> {
    type In = T;
    #[inline(always)]
    fn filter(&mut self, record: &T) -> Result<bool> {
        (self.function)(record)
    }
}

/// A fallible closure whose iterator is emitted at once.
pub(crate) struct FallibleFlatMap<F, T, I> {
    pub(crate) function: F,
    pub(crate) types: Speaks<(T, I)>,
}
impl<F: Clone, T, I> Clone for FallibleFlatMap<F, T, I> {
    fn clone(&self) -> Self {
        FallibleFlatMap { function: self.function.clone(), types: PhantomData }
    }
}

impl<T, I, F> FlatMapFunction for FallibleFlatMap<F, T, I>
where
    T: 'static,
    I: IntoIterator<Item: 'static> + 'static,
    F: FnMut(T) -> Result<I> + 'static,
{
    type In = T;
    type Out = I::Item;
    #[inline(always)]
    fn flat_map(
        &mut self,
        record: T,
        out: &mut crate::function::Collector<'_, I::Item>,
    ) -> Result<()> {
        (self.function)(record)?.into_iter().for_each(|item| out.collect(item));
        Ok(())
    }
}
