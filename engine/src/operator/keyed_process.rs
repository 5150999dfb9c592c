//! Keyed process functions: the rows of their state, their timers, and the calls into user code.
//!
//! **Invariants**
//! - A row is released after each call, so a key whose state was cleared and that has no timers costs nothing.
//! - A row with timers is pinned, so a timer's row is its key's as long as the timer lives.

use crate::Result;
use crate::function::{
    Collector, Context, KeySelector, KeyedCoProcessFunction, KeyedProcessFunction, OnTimerContext,
    RuntimeContext, TimeDomain,
};
use crate::graph::NodeId;
use crate::operator::Push;
use crate::operator::build::BuildContext;
use crate::operator::keyed::{KeyedLogic, Logic, LogicTwo};
use crate::operator::keyed_services::KeyedServices;
use crate::operator::opened::Opened;
use crate::operator::side_outputs::SideOutputs;
use thalweg_state::{Key, KeyHash, RowStore, StateRegistrar, Timer};

/// A function with its rows and services.
struct Host<P, K: Key> {
    function: Opened<P>,
    rows: RowStore<K>,
    services: KeyedServices,
}

impl<P, K: Key> Host<P, K> {
    fn open(
        function: P,
        context: &mut BuildContext,
        node: NodeId,
        open: impl FnOnce(&mut P, &mut RuntimeContext<'_>) -> Result<()>,
        close: fn(&mut P) -> Result<()>,
    ) -> Result<Self> {
        let stage = context.stage.clone();
        let mut registrar = StateRegistrar::new::<K>(stage.names.get(node));
        let place = (&stage, node);
        let function = Opened::open_keyed(function, place, Some(&mut registrar), open, close)?;
        let rows = RowStore::new(registrar)?;
        let services = KeyedServices::new(context.open_sides(node)?, stage.task.core.clone());
        Ok(Host { function, rows, services })
    }

    /// Calls user code at the key of a record.
    #[inline(always)]
    fn call<T, S: KeySelector<T, Key = K>>(
        &mut self,
        selector: &mut S,
        (hash, record, timestamp): (u32, T, i64),
        code: impl FnOnce(&mut P, T, &mut Context<'_, K>) -> Result<()>,
    ) {
        let Host { function, rows, services } = self;
        let Some((user, call)) = function.begin() else { return };
        let hash = KeyHash::from_u32(hash);
        let result = match selector.with_key(&record, |key| rows.enter(hash, key)) {
            Ok((cursor, key)) => {
                let row = cursor.row_id().expect("a cursor from a store has a row");
                let mut context = Context { cursor, row, key, timestamp, services };
                let result = code(user, record, &mut context);
                rows.release(row);
                result
            }
            Err(error) => Err(error.into()),
        };
        call.end();
        if let Err(cause) = result {
            function.fail(cause);
        }
    }

    /// Calls user code at a timer.
    fn call_timer(
        &mut self,
        timer: Timer,
        domain: TimeDomain,
        code: impl FnOnce(&mut P, &mut OnTimerContext<'_, K>) -> Result<()>,
    ) {
        let Host { function, rows, services } = self;
        let Timer { timestamp_ms: timestamp, row } = timer;
        function.call(|function| {
            let (mut cursor, key) = rows.cursor(row)?;
            cursor.unpin();
            let context = Context { cursor, row, key, timestamp, services };
            code(function, &mut OnTimerContext { context, domain })
        });
        rows.release(row);
    }

    /// Fires up to `budget` timers of a domain; true when none is left that is due.
    fn fire(
        &mut self,
        domain: TimeDomain,
        budget: usize,
        mut code: impl FnMut(&mut P, i64, &mut OnTimerContext<'_, K>) -> Result<()>,
    ) -> bool {
        for _ in 0..budget {
            let timer = match domain {
                TimeDomain::EventTime => {
                    self.services.event_timers.pop_due(self.services.watermark)
                }
                TimeDomain::ProcessingTime => {
                    let now_ms = self.services.now_ms();
                    self.services.processing_timers.pop_due(now_ms)
                }
            };
            let Some(timer) = timer else { return true };
            self.call_timer(timer, domain, |function, context| {
                code(function, timer.timestamp_ms, context)
            });
        }
        false
    }

    fn next_processing_time_ms(&mut self) -> i64 {
        if self.services.processing_timers.is_empty() {
            return i64::MAX;
        }
        self.services.processing_timers.next_ms().unwrap_or(i64::MAX)
    }
}

/// A [`KeyedProcessFunction`] as an operator.
pub(crate) struct KeyedProcess<P: KeyedProcessFunction, S> {
    host: Host<P, P::Key>,
    selector: S,
}

impl<P: KeyedProcessFunction, S> KeyedProcess<P, S> {
    pub(crate) fn open(
        function: P,
        selector: S,
        context: &mut BuildContext,
        node: NodeId,
    ) -> Result<Self> {
        let host = Host::open(function, context, node, P::open, P::close)?;
        Ok(KeyedProcess { host, selector })
    }
}

impl<P: KeyedProcessFunction, S: 'static> KeyedLogic for KeyedProcess<P, S> {
    type Out = P::Out;

    fn is_deep(&mut self) -> bool {
        self.host.rows.is_deep()
    }
    fn advance(&mut self, watermark: i64) -> bool {
        self.host.services.advance(watermark)
    }
    fn fire<D: Push<P::Out>>(&mut self, budget: usize, next: &mut D) -> bool {
        self.host.fire(TimeDomain::EventTime, budget, |function, at_ms, context| {
            function.on_timer(at_ms, context, &mut Collector::new(next, at_ms))
        })
    }
    fn fire_processing_time<D: Push<P::Out>>(
        &mut self,
        _: i64,
        budget: usize,
        next: &mut D,
    ) -> bool {
        self.host.fire(TimeDomain::ProcessingTime, budget, |function, at_ms, context| {
            function.on_timer(at_ms, context, &mut Collector::new(next, at_ms))
        })
    }
    fn next_processing_time_ms(&mut self) -> i64 {
        self.host.next_processing_time_ms()
    }
    fn sides(&mut self) -> Option<&mut SideOutputs> {
        Some(&mut self.host.services.sides)
    }
}

impl<P, S> Logic<P::In> for KeyedProcess<P, S>
where
    P: KeyedProcessFunction,
    S: KeySelector<P::In, Key = P::Key>,
{
    #[inline(always)]
    fn apply<D: Push<P::Out>>(&mut self, hash: u32, record: P::In, timestamp: i64, next: &mut D) {
        let row = (hash, record, timestamp);
        self.host.call(&mut self.selector, row, |function, record, context| {
            function.process_element(record, context, &mut Collector::new(next, timestamp))
        });
    }
    #[inline(always)]
    fn hint(&self, hash: u32) {
        self.host.rows.hint(KeyHash::from_u32(hash));
    }
    #[inline(always)]
    fn hint_row(&self, hash: u32) {
        self.host.rows.hint_row(KeyHash::from_u32(hash));
    }
}

/// A [`KeyedCoProcessFunction`] as an operator.
pub(crate) struct KeyedCoProcess<P: KeyedCoProcessFunction, S1, S2> {
    host: Host<P, P::Key>,
    first: S1,
    second: S2,
}

impl<P: KeyedCoProcessFunction, S1, S2> KeyedCoProcess<P, S1, S2> {
    pub(crate) fn open(
        function: P,
        (first, second): (S1, S2),
        context: &mut BuildContext,
        node: NodeId,
    ) -> Result<Self> {
        let host = Host::open(function, context, node, P::open, P::close)?;
        Ok(KeyedCoProcess { host, first, second })
    }
}

impl<P: KeyedCoProcessFunction, S1: 'static, S2: 'static> KeyedLogic for KeyedCoProcess<P, S1, S2> {
    type Out = P::Out;

    fn is_deep(&mut self) -> bool {
        self.host.rows.is_deep()
    }
    fn advance(&mut self, watermark: i64) -> bool {
        self.host.services.advance(watermark)
    }
    fn fire<D: Push<P::Out>>(&mut self, budget: usize, next: &mut D) -> bool {
        self.host.fire(TimeDomain::EventTime, budget, |function, at_ms, context| {
            function.on_timer(at_ms, context, &mut Collector::new(next, at_ms))
        })
    }
    fn fire_processing_time<D: Push<P::Out>>(
        &mut self,
        _: i64,
        budget: usize,
        next: &mut D,
    ) -> bool {
        self.host.fire(TimeDomain::ProcessingTime, budget, |function, at_ms, context| {
            function.on_timer(at_ms, context, &mut Collector::new(next, at_ms))
        })
    }
    fn next_processing_time_ms(&mut self) -> i64 {
        self.host.next_processing_time_ms()
    }
    fn sides(&mut self) -> Option<&mut SideOutputs> {
        Some(&mut self.host.services.sides)
    }
}

impl<P, S1, S2> LogicTwo<P::In1, P::In2> for KeyedCoProcess<P, S1, S2>
where
    P: KeyedCoProcessFunction,
    S1: KeySelector<P::In1, Key = P::Key>,
    S2: KeySelector<P::In2, Key = P::Key>,
{
    fn apply_first<D: Push<P::Out>>(
        &mut self,
        hash: u32,
        record: P::In1,
        timestamp: i64,
        next: &mut D,
    ) {
        let row = (hash, record, timestamp);
        self.host.call(&mut self.first, row, |function, record, context| {
            function.process_element1(record, context, &mut Collector::new(next, timestamp))
        });
    }
    fn apply_second<D: Push<P::Out>>(
        &mut self,
        hash: u32,
        record: P::In2,
        timestamp: i64,
        next: &mut D,
    ) {
        let row = (hash, record, timestamp);
        self.host.call(&mut self.second, row, |function, record, context| {
            function.process_element2(record, context, &mut Collector::new(next, timestamp))
        });
    }
}
