//! What a window keeps, and what becomes of it when it fires.
//!
//! A [`Body`] is the function of a window operator with its contents: an accumulator ([`Incremental`]), all elements
//! ([`Elements`]), or all elements behind an evictor ([`Evicting`]).

use crate::Result;
use crate::function::{
    AggregateFunction, Collector, ProcessWindowFunction, RuntimeContext, WindowContext,
};
use crate::operator::window::emit::EmitWindow;
use crate::state::StateValue;
use crate::window::{Evictor, EvictorContext, Window, WindowElements};
use std::marker::PhantomData;

/// See the module docs.
pub(crate) trait Body<T, K, W: Window>: 'static {
    /// What a window keeps.
    type State: StateValue;
    type Out: 'static;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()>;
    fn close(&mut self) -> Result<()>;
    /// Adds an element to what a window has.
    fn add(&mut self, state: &mut Option<Self::State>, record: T, timestamp: i64);
    /// Adds an element that other windows take too.
    fn add_copy(&mut self, state: &mut Option<Self::State>, record: &T, timestamp: i64);
    /// Brings the contents of merged windows together.
    fn merge(&mut self, into: &mut Self::State, from: Self::State);
    /// Calls the function; returns what the window keeps.
    fn fire(
        &mut self,
        state: Self::State,
        key: &K,
        context: &mut WindowContext<'_, W>,
        out: &mut Collector<'_, Self::Out>,
    ) -> Result<Option<Self::State>>;
    /// Calls the function for these elements.
    fn fire_elements(
        &mut self,
        elements: &[T],
        key: &K,
        context: &mut WindowContext<'_, W>,
        out: &mut Collector<'_, Self::Out>,
    ) -> Result<()>;
    /// A window is given up.
    fn clear(&mut self, context: &mut WindowContext<'_, W>) -> Result<()>;
}

/// An aggregate, and what is emitted of its result.
#[derive(Clone)]
pub(crate) struct Incremental<A, E> {
    pub(crate) aggregate: A,
    pub(crate) emit: E,
}

impl<T, K, W, A, E> Body<T, K, W> for Incremental<A, E>
where
    T: 'static,
    W: Window,
    A: AggregateFunction<T>,
    E: EmitWindow<K, W, A::Result>,
{
    type State = A::Accumulator;
    type Out = E::Out;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        self.emit.open(context)
    }
    fn close(&mut self) -> Result<()> {
        self.emit.close()
    }
    #[inline]
    fn add(&mut self, state: &mut Option<A::Accumulator>, record: T, timestamp: i64) {
        Body::<T, K, W>::add_copy(self, state, &record, timestamp);
    }
    #[inline]
    fn add_copy(&mut self, state: &mut Option<A::Accumulator>, record: &T, _: i64) {
        let accumulator = state.get_or_insert_with(|| self.aggregate.create_accumulator());
        self.aggregate.add(accumulator, record);
    }
    fn merge(&mut self, into: &mut A::Accumulator, from: A::Accumulator) {
        self.aggregate.merge(into, &from);
    }
    fn fire(
        &mut self,
        state: A::Accumulator,
        key: &K,
        context: &mut WindowContext<'_, W>,
        out: &mut Collector<'_, E::Out>,
    ) -> Result<Option<A::Accumulator>> {
        let result = self.aggregate.result(&state);
        self.emit.emit(key, result, context, out)?;
        Ok(Some(state))
    }
    fn fire_elements(
        &mut self,
        elements: &[T],
        key: &K,
        context: &mut WindowContext<'_, W>,
        out: &mut Collector<'_, E::Out>,
    ) -> Result<()> {
        let mut accumulator = self.aggregate.create_accumulator();
        elements.iter().for_each(|element| self.aggregate.add(&mut accumulator, element));
        self.emit.emit(key, self.aggregate.result(&accumulator), context, out)
    }
    fn clear(&mut self, context: &mut WindowContext<'_, W>) -> Result<()> {
        self.emit.clear(context)
    }
}

/// A function over all elements.
#[derive(Clone)]
pub(crate) struct Elements<P>(pub(crate) P);

impl<T, P> Body<T, P::Key, P::Window> for Elements<P>
where
    T: StateValue + Clone,
    P: ProcessWindowFunction<In = T>,
{
    type State = WindowElements<T>;
    type Out = P::Out;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        self.0.open(context)
    }
    fn close(&mut self) -> Result<()> {
        self.0.close()
    }
    fn add(&mut self, state: &mut Option<WindowElements<T>>, record: T, timestamp: i64) {
        state.get_or_insert_default().push(record, timestamp);
    }
    fn add_copy(&mut self, state: &mut Option<WindowElements<T>>, record: &T, timestamp: i64) {
        state.get_or_insert_default().push(record.clone(), timestamp);
    }
    fn merge(&mut self, into: &mut WindowElements<T>, from: WindowElements<T>) {
        into.append(from);
    }
    fn fire(
        &mut self,
        state: WindowElements<T>,
        key: &P::Key,
        context: &mut WindowContext<'_, P::Window>,
        out: &mut Collector<'_, P::Out>,
    ) -> Result<Option<WindowElements<T>>> {
        self.0.process(key, context, &state.values, out)?;
        Ok(Some(state))
    }
    fn fire_elements(
        &mut self,
        elements: &[T],
        key: &P::Key,
        context: &mut WindowContext<'_, P::Window>,
        out: &mut Collector<'_, P::Out>,
    ) -> Result<()> {
        self.0.process(key, context, elements, out)
    }
    fn clear(&mut self, context: &mut WindowContext<'_, P::Window>) -> Result<()> {
        self.0.clear(context)
    }
}

/// All elements behind an evictor, whatever the function is.
pub(crate) struct Evicting<V, B, T> {
    pub(crate) evictor: V,
    pub(crate) body: B,
    pub(crate) types: PhantomData<fn(T)>,
}

impl<V: Clone, B: Clone, T> Clone for Evicting<V, B, T> {
    fn clone(&self) -> Self {
        let (evictor, body) = (self.evictor.clone(), self.body.clone());
        Evicting { evictor, body, types: PhantomData }
    }
}

impl<T, K, W, V, B> Body<T, K, W> for Evicting<V, B, T>
where
    T: StateValue + Clone,
    W: Window,
    V: Evictor<T, W>,
    B: Body<T, K, W>,
{
    type State = WindowElements<T>;
    type Out = B::Out;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        self.body.open(context)
    }
    fn close(&mut self) -> Result<()> {
        self.body.close()
    }
    fn add(&mut self, state: &mut Option<WindowElements<T>>, record: T, timestamp: i64) {
        state.get_or_insert_default().push(record, timestamp);
    }
    fn add_copy(&mut self, state: &mut Option<WindowElements<T>>, record: &T, timestamp: i64) {
        state.get_or_insert_default().push(record.clone(), timestamp);
    }
    fn merge(&mut self, into: &mut WindowElements<T>, from: WindowElements<T>) {
        into.append(from);
    }
    fn fire(
        &mut self,
        mut state: WindowElements<T>,
        key: &K,
        context: &mut WindowContext<'_, W>,
        out: &mut Collector<'_, B::Out>,
    ) -> Result<Option<WindowElements<T>>> {
        let (watermark, now_ms) = (context.services.watermark, context.services.now_ms());
        let at = EvictorContext { watermark, now_ms };
        self.evictor.evict_before(&mut state, &context.window, &at)?;
        self.body.fire_elements(&state.values, key, context, out)?;
        self.evictor.evict_after(&mut state, &context.window, &at)?;
        Ok((!state.is_empty()).then_some(state))
    }
    fn fire_elements(
        &mut self,
        elements: &[T],
        key: &K,
        context: &mut WindowContext<'_, W>,
        out: &mut Collector<'_, B::Out>,
    ) -> Result<()> {
        self.body.fire_elements(elements, key, context, out)
    }
    fn clear(&mut self, context: &mut WindowContext<'_, W>) -> Result<()> {
        self.body.clear(context)
    }
}
