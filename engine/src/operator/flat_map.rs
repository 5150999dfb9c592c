//! `flat_map`: a closure that returns an iterator, or a function with a collector.
//!
//! An iterator is pulled in steps of [`STEP`]: what it has left waits in the operator, which answers `Busy` until it is
//! empty, so even an endless iterator keeps memory bounded and other slots running.
//!
//! **Invariants**
//! - Results come in the order of the records, each record's own in the order of its iterator.
//! - A control waits until no iterator is left.

use crate::function::{Collector, FlatMapFunction};
use crate::graph::NodeId;
use crate::operator::rich::{Rich, pass_on_by_function};
use crate::operator::{Flow, Push, StageContext, UserCall};
use crate::record::Control;
use std::collections::VecDeque;
use std::rc::Rc;

/// Results of one record that are emitted before its iterator has to wait for the next drive.
const STEP: usize = 512;

/// `flat_map` with a closure that returns an iterator.
pub(crate) struct FlatMap<F, D, I: IntoIterator> {
    pub(crate) function: F,
    pub(crate) next: D,
    pub(crate) stage: Rc<StageContext>,
    pub(crate) node: NodeId,
    waiting: VecDeque<(I::IntoIter, i64)>,
}

impl<F, D, I: IntoIterator> FlatMap<F, D, I> {
    pub(crate) fn new(function: F, next: D, stage: Rc<StageContext>, node: NodeId) -> Self {
        FlatMap { function, next, stage, node, waiting: VecDeque::new() }
    }
}

/// Emits up to [`STEP`] items; true if the iterator has ended.
#[inline(always)]
fn emit_step<I: Iterator<Item: 'static>, D: Push<I::Item>>(
    items: &mut I,
    timestamp: i64,
    next: &mut D,
    stage: &StageContext,
    node: NodeId,
) -> bool {
    for _ in 0..STEP {
        let call = UserCall::begin(stage, &node);
        let item = items.next();
        call.end();
        match item {
            Some(item) => next.push(item, timestamp),
            None => return true,
        }
    }
    false
}

impl<T, I, F, D> Push<T> for FlatMap<F, D, I>
where
    I: IntoIterator<Item: 'static> + 'static,
    F: FnMut(T) -> I + 'static,
    D: Push<I::Item>,
{
    #[inline(always)]
    fn push(&mut self, record: T, timestamp: i64) {
        let FlatMap { function, next, stage, node, waiting } = self;
        let call = UserCall::begin(stage, node);
        let mut items = function(record).into_iter();
        call.end();
        if !waiting.is_empty() || !emit_step(&mut items, timestamp, next, stage, *node) {
            waiting.push_back((items, timestamp));
        }
    }

    fn control(&mut self, control: Control) {
        debug_assert!(self.waiting.is_empty(), "a control follows a drive that answered Ready");
        self.next.control(control);
    }

    #[inline(always)]
    fn drive(&mut self, dry: bool) -> Flow {
        let flow = self.next.drive(dry && self.waiting.is_empty());
        if flow != Flow::Ready || self.waiting.is_empty() {
            return flow;
        }
        self.emit_waiting()
    }
}

impl<F, D, I: IntoIterator<Item: 'static>> FlatMap<F, D, I>
where
    D: Push<I::Item>,
{
    #[cold]
    fn emit_waiting(&mut self) -> Flow {
        let FlatMap { next, stage, node, waiting, .. } = self;
        if let Some((items, timestamp)) = waiting.front_mut()
            && emit_step(items, *timestamp, next, stage, *node)
        {
            waiting.pop_front();
        }
        stage.task.worked(1);
        Flow::Busy
    }
}

/// `flat_map_with`: see [`FlatMapFunction`].
pub(crate) struct FlatMapWith<F: FlatMapFunction, D> {
    pub(crate) function: Rich<F>,
    pub(crate) next: D,
}

impl<F: FlatMapFunction<Out: 'static>, D: Push<F::Out>> Push<F::In> for FlatMapWith<F, D> {
    #[inline(always)]
    fn push(&mut self, record: F::In, timestamp: i64) {
        let next = &mut self.next;
        self.function.opened().call(|f| f.flat_map(record, &mut Collector::new(next, timestamp)));
    }
    pass_on_by_function!();
}
