//! What is emitted of the result of an aggregate: the result itself, or what a function makes of it.
//!
//! [`EmitPlain`] needs to know key, window and result alone, so it serves all ways to keep windows; [`EmitWindow`] may
//! also use state and time, which the general operator has.

use crate::Result;
use crate::function::{Collector, ProcessWindowFunction, RuntimeContext, WindowContext};
use crate::window::{TimeWindow, Window};
use std::any::Any;
use std::marker::PhantomData;

/// What is called with each result, where key, window and result are enough.
pub(crate) trait EmitPlain<K, W, R>: 'static {
    type Out: 'static;
    fn emit(
        &mut self,
        key: &K,
        window: W,
        result: R,
        out: &mut Collector<'_, Self::Out>,
    ) -> Result<()>;
}

/// What is called with each result, with the life of a rich function.
pub(crate) trait EmitWindow<K, W, R>: 'static {
    type Out: 'static;
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(())
    }
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
    fn emit(
        &mut self,
        key: &K,
        result: R,
        context: &mut WindowContext<'_, W>,
        out: &mut Collector<'_, Self::Out>,
    ) -> Result<()>;
    fn clear(&mut self, _context: &mut WindowContext<'_, W>) -> Result<()> {
        Ok(())
    }
}

/// The result alone.
#[derive(Clone)]
pub(crate) struct ResultAlone;

impl<K: 'static, W: 'static, R: 'static> EmitPlain<K, W, R> for ResultAlone {
    type Out = R;
    #[inline(always)]
    fn emit(&mut self, _: &K, _: W, result: R, out: &mut Collector<'_, R>) -> Result<()> {
        out.collect(result);
        Ok(())
    }
}

/// The result of a reduction, which a window without elements does not have.
#[derive(Clone)]
pub(crate) struct Existing<E>(pub(crate) E);

impl<K: 'static, W: 'static, R: 'static, E: EmitPlain<K, W, R>> EmitPlain<K, W, Option<R>>
    for Existing<E>
{
    type Out = E::Out;
    #[inline(always)]
    fn emit(
        &mut self,
        key: &K,
        window: W,
        result: Option<R>,
        out: &mut Collector<'_, E::Out>,
    ) -> Result<()> {
        match result {
            Some(result) => self.0.emit(key, window, result, out),
            None => Ok(()),
        }
    }
}

/// What a closure makes of key, window and result.
pub(crate) struct WithClosure<F, U> {
    pub(crate) function: F,
    pub(crate) types: PhantomData<fn() -> U>,
}

impl<F: Clone, U> Clone for WithClosure<F, U> {
    fn clone(&self) -> Self {
        WithClosure { function: self.function.clone(), types: PhantomData }
    }
}

impl<K, W, R, U: 'static, F> EmitPlain<K, W, R> for WithClosure<F, U>
where
    F: FnMut(&K, W, R, &mut Collector<'_, U>) + 'static,
{
    type Out = U;
    #[inline(always)]
    fn emit(&mut self, key: &K, window: W, result: R, out: &mut Collector<'_, U>) -> Result<()> {
        (self.function)(key, window, result, out);
        Ok(())
    }
}

/// What a closure makes of window and result.
pub(crate) struct WithoutKey<F, U> {
    pub(crate) function: F,
    pub(crate) types: PhantomData<fn() -> U>,
}

impl<F: Clone, U> Clone for WithoutKey<F, U> {
    fn clone(&self) -> Self {
        WithoutKey { function: self.function.clone(), types: PhantomData }
    }
}

impl<K, W, R, U: 'static, F> EmitPlain<K, W, R> for WithoutKey<F, U>
where
    F: FnMut(W, R, &mut Collector<'_, U>) + 'static,
{
    type Out = U;
    #[inline(always)]
    fn emit(&mut self, _: &K, window: W, result: R, out: &mut Collector<'_, U>) -> Result<()> {
        (self.function)(window, result, out);
        Ok(())
    }
}

/// For operators whose windows are intervals of time: gives `E` its own type of window, which is the same.
pub(crate) struct OfTime<E, W> {
    pub(crate) emit: E,
    pub(crate) types: PhantomData<fn(W)>,
}

impl<K, W: Window, R, E: EmitPlain<K, W, R>> EmitPlain<K, TimeWindow, R> for OfTime<E, W> {
    type Out = E::Out;
    #[inline(always)]
    fn emit(
        &mut self,
        key: &K,
        window: TimeWindow,
        result: R,
        out: &mut Collector<'_, E::Out>,
    ) -> Result<()> {
        // Known when it is compiled, so it costs nothing.
        match (&window as &dyn Any).downcast_ref::<W>() {
            Some(window) => self.emit.emit(key, *window, result, out),
            None => Err("only windows of type TimeWindow can be aligned".into()),
        }
    }
}

/// An [`EmitPlain`] for the general operator.
#[derive(Clone)]
pub(crate) struct Plainly<E>(pub(crate) E);

impl<K, W: Window, R, E: EmitPlain<K, W, R>> EmitWindow<K, W, R> for Plainly<E> {
    type Out = E::Out;
    fn emit(
        &mut self,
        key: &K,
        result: R,
        context: &mut WindowContext<'_, W>,
        out: &mut Collector<'_, E::Out>,
    ) -> Result<()> {
        self.0.emit(key, context.window, result, out)
    }
}

/// What a rich function makes of the result, which it gets as the only element.
#[derive(Clone)]
pub(crate) struct WithFunction<P>(pub(crate) P);

impl<P: ProcessWindowFunction> EmitWindow<P::Key, P::Window, P::In> for WithFunction<P> {
    type Out = P::Out;
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        self.0.open(context)
    }
    fn close(&mut self) -> Result<()> {
        self.0.close()
    }
    fn emit(
        &mut self,
        key: &P::Key,
        result: P::In,
        context: &mut WindowContext<'_, P::Window>,
        out: &mut Collector<'_, P::Out>,
    ) -> Result<()> {
        self.0.process(key, context, std::slice::from_ref(&result), out)
    }
    fn clear(&mut self, context: &mut WindowContext<'_, P::Window>) -> Result<()> {
        self.0.clear(context)
    }
}

/// [`WithFunction`] behind a reduction.
#[derive(Clone)]
pub(crate) struct WithFunctionIfAny<P>(pub(crate) WithFunction<P>);

impl<P: ProcessWindowFunction> EmitWindow<P::Key, P::Window, Option<P::In>>
    for WithFunctionIfAny<P>
{
    type Out = P::Out;
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        self.0.open(context)
    }
    fn close(&mut self) -> Result<()> {
        self.0.close()
    }
    fn emit(
        &mut self,
        key: &P::Key,
        result: Option<P::In>,
        context: &mut WindowContext<'_, P::Window>,
        out: &mut Collector<'_, P::Out>,
    ) -> Result<()> {
        match result {
            Some(result) => self.0.emit(key, result, context, out),
            None => Ok(()),
        }
    }
    fn clear(&mut self, context: &mut WindowContext<'_, P::Window>) -> Result<()> {
        self.0.clear(context)
    }
}
