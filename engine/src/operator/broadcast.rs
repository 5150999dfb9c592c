//! A stream without keys beside a broadcast one, as a function of two streams: see [`BroadcastProcessFunction`].

use crate::Result;
use crate::function::{
    BroadcastProcessFunction, CoProcessFunction, Collector, ProcessContext, ReadOnlyContext,
    RuntimeContext, pass_hooks_on,
};

/// Lends the operator's state to records of the broadcast side alone.
#[derive(Clone)]
pub(crate) struct BesideBroadcast<P>(pub(crate) P);

impl<P: BroadcastProcessFunction> CoProcessFunction for BesideBroadcast<P> {
    type In1 = P::In;
    type In2 = P::Broadcast;
    type Out = P::Out;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        self.0.open(context)
    }
    #[inline(always)]
    fn process_element1(
        &mut self,
        record: P::In,
        context: &mut ProcessContext<'_>,
        out: &mut Collector<'_, P::Out>,
    ) -> Result<()> {
        let mut context = ReadOnlyContext { context: context.reborrow() };
        self.0.process_element(record, &mut context, out)
    }
    #[inline(always)]
    fn process_element2(
        &mut self,
        record: P::Broadcast,
        context: &mut ProcessContext<'_>,
        out: &mut Collector<'_, P::Out>,
    ) -> Result<()> {
        self.0.process_broadcast_element(record, context, out)
    }
    fn close(&mut self) -> Result<()> {
        self.0.close()
    }
    pass_hooks_on!(0);
}
