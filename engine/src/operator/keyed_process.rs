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
use crate::operator::keyed_store::{KeyedStore, open_rows};
use crate::operator::opened::{Hooks, OpenStates, Opened, hooks};
use crate::operator::side_outputs::SideOutputs;
use crate::record::{CheckpointId, NO_TIMESTAMP};
use thalweg_state::{DueTimer, Key, KeyHash, RowStore, StateRegistrar};

/// What the timers of a keyed function call; the same for one and two inputs.
pub(crate) trait OnTimer: 'static {
    type Key: Key;
    type Out: 'static;
    fn on_timer(
        &mut self,
        timer_ms: i64,
        context: &mut OnTimerContext<'_, Self::Key>,
        out: &mut Collector<'_, Self::Out>,
    ) -> Result<()>;
}

/// A function of one input.
pub(crate) struct One<P>(P);

impl<P: KeyedProcessFunction> OnTimer for One<P> {
    type Key = P::Key;
    type Out = P::Out;
    fn on_timer(
        &mut self,
        timer_ms: i64,
        context: &mut OnTimerContext<'_, P::Key>,
        out: &mut Collector<'_, P::Out>,
    ) -> Result<()> {
        self.0.on_timer(timer_ms, context, out)
    }
}

/// A function of two inputs.
pub(crate) struct Two<P>(P);

impl<P: KeyedCoProcessFunction> OnTimer for Two<P> {
    type Key = P::Key;
    type Out = P::Out;
    fn on_timer(
        &mut self,
        timer_ms: i64,
        context: &mut OnTimerContext<'_, P::Key>,
        out: &mut Collector<'_, P::Out>,
    ) -> Result<()> {
        self.0.on_timer(timer_ms, context, out)
    }
}

/// A function with its rows and services.
pub(super) struct Host<P, K: Key> {
    pub(super) function: Opened<P>,
    pub(super) rows: RowStore<K>,
    pub(super) services: KeyedServices,
    store: Option<KeyedStore>,
}

impl<P, K: Key> Host<P, K> {
    pub(super) fn open(
        function: P,
        context: &mut BuildContext,
        node: NodeId,
        open: impl FnOnce(&mut P, &mut RuntimeContext<'_>) -> Result<()>,
        close: fn(&mut P) -> Result<()>,
        hooks: Hooks<P>,
    ) -> Result<Self> {
        let stage = context.stage.clone();
        let mut registrar = StateRegistrar::new::<K>(stage.names.get(node));
        let sides = context.open_sides(node)?;
        let mut services = KeyedServices::new(sides, stage.task.core.clone());
        services.open_states(context, node)?;
        let states =
            OpenStates { keyed: Some(&mut registrar), operator: Some(&mut services.states.store) };
        let function = Opened::open_with(function, (&stage, node), states, open, close)?;
        let store = context.open_keyed_store(node)?;
        let mut rows = open_rows(registrar, store.as_ref(), "rows")?;
        services.restore(context, node, (store.as_ref(), &mut rows))?;
        Ok(Host { function: function.with_hooks(hooks), rows, services, store })
    }

    /// Calls user code at the key of a record.
    #[inline(always)]
    pub(super) fn call<T, S: KeySelector<T, Key = K>>(
        &mut self,
        selector: &mut S,
        (hash, record, timestamp): (u32, T, i64),
        code: impl FnOnce(&mut P, T, &mut Context<'_, K>) -> Result<()>,
    ) {
        let Host { function, rows, services, .. } = self;
        let Some((user, call)) = function.begin() else { return };
        if rows.has_ttl() {
            rows.set_now_ms(services.now_ms());
        }
        let hash = KeyHash::from_u32(hash);
        let result = match selector.with_key(&record, |key| rows.enter(hash, key)) {
            Ok((cursor, key)) => {
                let row = cursor.row_id().expect("a cursor from a store has a row");
                let mut context = Context { cursor, key, timestamp, services };
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

    /// Says that a record of this key is coming.
    pub(super) fn request<T, S: KeySelector<T, Key = K>>(
        &mut self,
        selector: &mut S,
        hash: u32,
        record: &T,
    ) -> Result<()> {
        let (rows, hash) = (&mut self.rows, KeyHash::from_u32(hash));
        Ok(selector.with_key(record, |key| rows.request(hash, key))?)
    }

    /// Calls user code at a timer.
    fn call_timer(
        &mut self,
        timer: DueTimer,
        domain: TimeDomain,
        code: impl FnOnce(&mut P, &mut OnTimerContext<'_, K>) -> Result<()>,
    ) {
        let Host { function, rows, services, .. } = self;
        let (timestamp, row) = (timer.timestamp_ms(), timer.row());
        if rows.has_ttl() {
            rows.set_now_ms(services.now_ms());
        }
        function.call(|function| {
            let (mut cursor, key) = rows.cursor(row)?;
            timer.unpin(&mut cursor);
            let context = Context { cursor, key, timestamp, services };
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
            let Some(timer) = self.services.pop_due(domain) else { return true };
            if let Some(row) = self.services.upcoming(domain) {
                self.rows.hint_id(row);
            }
            self.call_timer(timer, domain, |function, context| {
                code(function, timer.timestamp_ms(), context)
            });
        }
        false
    }
}

/// A keyed process function as an operator: `F` is [`One`] or [`Two`], `S` the selector of its input or the pair of them.
pub(crate) struct KeyedProcess<F: OnTimer, S> {
    pub(super) host: Host<F, F::Key>,
    pub(super) selectors: S,
}

impl<P: KeyedProcessFunction, S> KeyedProcess<One<P>, S> {
    pub(crate) fn open(
        function: P,
        selector: S,
        context: &mut BuildContext,
        node: NodeId,
    ) -> Result<Self> {
        let (open, close) = (
            |f: &mut One<P>, c: &mut RuntimeContext<'_>| f.0.open(c),
            |f: &mut One<P>| f.0.close(),
        );
        let host = Host::open(One(function), context, node, open, close, hooks!(0))?;
        Ok(KeyedProcess { host, selectors: selector })
    }
}

impl<P: KeyedCoProcessFunction, S1, S2> KeyedProcess<Two<P>, (S1, S2)> {
    pub(crate) fn open_two(
        function: P,
        selectors: (S1, S2),
        context: &mut BuildContext,
        node: NodeId,
    ) -> Result<Self> {
        let (open, close) = (
            |f: &mut Two<P>, c: &mut RuntimeContext<'_>| f.0.open(c),
            |f: &mut Two<P>| f.0.close(),
        );
        let host = Host::open(Two(function), context, node, open, close, hooks!(0))?;
        Ok(KeyedProcess { host, selectors })
    }
}

impl<F: OnTimer, S: 'static> KeyedLogic for KeyedProcess<F, S> {
    type Out = F::Out;
    const AHEAD: usize = RowStore::<F::Key>::HINT_AHEAD;

    fn is_deep(&mut self) -> bool {
        self.host.rows.is_deep()
    }
    fn maintain(&mut self) -> Result {
        let Host { function, rows, services, store } = &mut self.host;
        services.states.notify(function);
        match store {
            None => Ok(()),
            Some(store) => store.maintain(&mut [&mut services.with_timers(rows)]),
        }
    }
    fn snapshot(&mut self, checkpoint: CheckpointId) {
        let Host { function, rows, services, store } = &mut self.host;
        services.states.snapshot(function, checkpoint);
        services.snapshot(checkpoint);
        if let Some(store) = store {
            store.snapshot(checkpoint, &mut [&mut services.with_timers(rows)]);
        }
    }
    fn advance(&mut self, watermark: i64) -> bool {
        self.host.services.advance(watermark)
    }
    fn fire<D: Push<F::Out>>(&mut self, budget: usize, next: &mut D) -> bool {
        self.host.fire(TimeDomain::EventTime, budget, |function, at_ms, context| {
            function.on_timer(at_ms, context, &mut Collector::new(next, at_ms))
        })
    }
    fn fire_processing_time<D: Push<F::Out>>(
        &mut self,
        _: i64,
        budget: usize,
        next: &mut D,
    ) -> bool {
        // As in Flink: what a timer of the wall clock emits has no event time.
        self.host.fire(TimeDomain::ProcessingTime, budget, |function, at_ms, context| {
            function.on_timer(at_ms, context, &mut Collector::new(next, NO_TIMESTAMP))
        })
    }
    fn next_processing_time_ms(&mut self) -> i64 {
        self.host.services.next_processing_time_ms()
    }
    fn sides(&mut self) -> Option<&mut SideOutputs> {
        Some(&mut self.host.services.sides)
    }
}

impl<P, S> Logic<P::In> for KeyedProcess<One<P>, S>
where
    P: KeyedProcessFunction,
    S: KeySelector<P::In, Key = P::Key>,
{
    #[inline(always)]
    fn apply<D: Push<P::Out>>(&mut self, hash: u32, record: P::In, timestamp: i64, next: &mut D) {
        let row = (hash, record, timestamp);
        self.host.call(&mut self.selectors, row, |function, record, context| {
            function.0.process_element(record, context, &mut Collector::new(next, timestamp))
        });
    }
    fn has_unloaded(&self) -> bool {
        self.host.rows.has_unloaded()
    }
    fn request(&mut self, hash: u32, record: &P::In) -> Result<()> {
        self.host.request(&mut self.selectors, hash, record)
    }
    fn load_requested(&mut self) -> Result<()> {
        Ok(self.host.rows.load_requested()?)
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

impl<P, S1, S2> LogicTwo<P::In1, P::In2> for KeyedProcess<Two<P>, (S1, S2)>
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
        self.host.call(&mut self.selectors.0, row, |function, record, context| {
            function.0.process_element1(record, context, &mut Collector::new(next, timestamp))
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
        self.host.call(&mut self.selectors.1, row, |function, record, context| {
            function.0.process_element2(record, context, &mut Collector::new(next, timestamp))
        });
    }
    fn has_unloaded(&self) -> bool {
        self.host.rows.has_unloaded()
    }
    fn request_first(&mut self, hash: u32, record: &P::In1) -> Result<()> {
        self.host.request(&mut self.selectors.0, hash, record)
    }
    fn request_second(&mut self, hash: u32, record: &P::In2) -> Result<()> {
        self.host.request(&mut self.selectors.1, hash, record)
    }
    fn load_requested(&mut self) -> Result<()> {
        Ok(self.host.rows.load_requested()?)
    }
}
