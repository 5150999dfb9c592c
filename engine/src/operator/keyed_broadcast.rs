//! A keyed stream beside a broadcast one: see [`KeyedBroadcastProcessFunction`].
//!
//! Rows, timers and calls are those of a keyed process function; the operator's state, which holds the broadcast states,
//! lies with its services.

use crate::Result;
use crate::function::{
    Collector, Context, KeySelector, KeyedBroadcastContext, KeyedBroadcastProcessFunction,
    KeyedReadOnlyContext, OnTimerContext, OnTimerReadOnlyContext, RuntimeContext,
};
use crate::graph::NodeId;
use crate::operator::Push;
use crate::operator::build::BuildContext;
use crate::operator::keyed::LogicTwo;
use crate::operator::keyed_process::{Host, KeyedProcess, OnTimer};
use crate::operator::opened::hooks;

/// A function of a keyed stream and a broadcast one.
pub(crate) struct BesideBroadcast<P>(P);

impl<P: KeyedBroadcastProcessFunction> OnTimer for BesideBroadcast<P> {
    type Key = P::Key;
    type Out = P::Out;
    fn on_timer(
        &mut self,
        timer_ms: i64,
        context: &mut OnTimerContext<'_, P::Key>,
        out: &mut Collector<'_, P::Out>,
    ) -> Result<()> {
        let domain = context.domain;
        let context = read_only(&mut context.context);
        self.0.on_timer(timer_ms, &mut OnTimerReadOnlyContext { context, domain }, out)
    }
}

fn read_only<'c, K>(context: &'c mut Context<'_, K>) -> KeyedReadOnlyContext<'c, K> {
    KeyedReadOnlyContext { context: context.reborrow() }
}

impl<P: KeyedBroadcastProcessFunction, S> KeyedProcess<BesideBroadcast<P>, S> {
    pub(crate) fn open_beside_broadcast(
        function: P,
        selector: S,
        context: &mut BuildContext,
        node: NodeId,
    ) -> Result<Self> {
        let (open, close) = (
            |f: &mut BesideBroadcast<P>, c: &mut RuntimeContext<'_>| f.0.open(c),
            |f: &mut BesideBroadcast<P>| f.0.close(),
        );
        let host = Host::open(BesideBroadcast(function), context, node, open, close, hooks!(0))?;
        Ok(KeyedProcess { host, selectors: selector })
    }
}

impl<P, S> LogicTwo<P::In, P::Broadcast> for KeyedProcess<BesideBroadcast<P>, S>
where
    P: KeyedBroadcastProcessFunction,
    S: KeySelector<P::In, Key = P::Key>,
{
    fn apply_first<D: Push<P::Out>>(
        &mut self,
        hash: u32,
        record: P::In,
        timestamp: i64,
        next: &mut D,
    ) {
        let row = (hash, record, timestamp);
        self.host.call(&mut self.selectors, row, |function, record, context| {
            let mut out = Collector::new(next, timestamp);
            function.0.process_element(record, &mut read_only(context), &mut out)
        });
    }
    fn apply_second<D: Push<P::Out>>(
        &mut self,
        _: u32,
        record: P::Broadcast,
        timestamp: i64,
        next: &mut D,
    ) {
        let Host { function, rows, services, .. } = &mut self.host;
        if rows.has_ttl() {
            rows.set_now_ms(services.now_ms());
        }
        function.call(|function| {
            let mut context = KeyedBroadcastContext { timestamp, rows, services };
            let mut out = Collector::new(next, timestamp);
            function.0.process_broadcast_element(record, &mut context, &mut out)
        });
    }
    fn has_unloaded(&self) -> bool {
        self.host.rows.has_unloaded()
    }
    fn request_first(&mut self, hash: u32, record: &P::In) -> Result<()> {
        self.host.request(&mut self.selectors, hash, record)
    }
    fn load_requested(&mut self) -> Result<()> {
        Ok(self.host.rows.load_requested()?)
    }
}
