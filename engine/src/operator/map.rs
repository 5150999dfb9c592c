//! `map` and `filter`: a closure, or a function with `open` and `close`.

use crate::function::{FilterFunction, MapFunction};
use crate::graph::NodeId;
use crate::operator::rich::{Rich, pass_on_by_function};
use crate::operator::{Push, StageContext, UserCall, pass_on};
use std::marker::PhantomData;
use std::rc::Rc;

/// `map` with a closure.
pub(crate) struct Map<F, D, U> {
    pub(crate) function: F,
    pub(crate) next: D,
    pub(crate) stage: Rc<StageContext>,
    pub(crate) node: NodeId,
    pub(crate) _out: PhantomData<fn() -> U>,
}

impl<T, U: 'static, F: FnMut(T) -> U + 'static, D: Push<U>> Push<T> for Map<F, D, U> {
    #[inline(always)]
    fn push(&mut self, record: T, timestamp: i64) {
        let call = UserCall::begin(&self.stage, &self.node);
        let result = (self.function)(record);
        call.end();
        self.next.push(result, timestamp);
    }
    pass_on!();
}

/// `filter` with a closure.
pub(crate) struct Filter<F, D> {
    pub(crate) function: F,
    pub(crate) next: D,
    pub(crate) stage: Rc<StageContext>,
    pub(crate) node: NodeId,
}

impl<T: 'static, F: FnMut(&T) -> bool + 'static, D: Push<T>> Push<T> for Filter<F, D> {
    #[inline(always)]
    fn push(&mut self, record: T, timestamp: i64) {
        let call = UserCall::begin(&self.stage, &self.node);
        let keep = (self.function)(&record);
        call.end();
        if keep {
            self.next.push(record, timestamp);
        }
    }
    pass_on!();
}

/// `map_with`: see [`MapFunction`].
pub(crate) struct MapWith<F: MapFunction, D> {
    pub(crate) function: Rich<F>,
    pub(crate) next: D,
}

impl<F: MapFunction<Out: 'static>, D: Push<F::Out>> Push<F::In> for MapWith<F, D> {
    #[inline(always)]
    fn push(&mut self, record: F::In, timestamp: i64) {
        if let Some(result) = self.function.opened().call(|function| function.map(record)) {
            self.next.push(result, timestamp);
        }
    }
    pass_on_by_function!();
}

/// `filter_with`: see [`FilterFunction`].
pub(crate) struct FilterWith<F: FilterFunction, D> {
    pub(crate) function: Rich<F>,
    pub(crate) next: D,
}

impl<F: FilterFunction<In: 'static>, D: Push<F::In>> Push<F::In> for FilterWith<F, D> {
    #[inline(always)]
    fn push(&mut self, record: F::In, timestamp: i64) {
        if self.function.opened().call(|function| function.filter(&record)) == Some(true) {
            self.next.push(record, timestamp);
        }
    }
    pass_on_by_function!();
}
