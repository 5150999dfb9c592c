//! The head of a stage with a stream without keys and a broadcast one: see [`BroadcastProcessFunction`].

use crate::exchange::gate::ConsumeTwo;
use crate::function::{BroadcastProcessFunction, Collector};
use crate::operator::opened::Opened;
use crate::operator::unkeyed_services::UnkeyedServices;
use crate::operator::{Flow, Push};
use crate::record::{Columns, Control};

/// See the module docs.
pub(crate) struct BroadcastProcess<P: BroadcastProcessFunction, D> {
    pub(crate) function: Opened<P>,
    pub(crate) next: D,
    pub(crate) services: UnkeyedServices,
}

impl<P, D> ConsumeTwo<P::In, P::Broadcast> for BroadcastProcess<P, D>
where
    P: BroadcastProcessFunction,
    D: Push<P::Out>,
{
    #[inline(never)]
    fn consume_first(&mut self, columns: Columns<'_, P::In>) {
        let BroadcastProcess { function, next, services } = self;
        let stage = function.stage().clone();
        let now_ms = stage.task.core.now_ms.get();
        columns.for_each(&stage.position, |_, _, record, timestamp| {
            function.call(|function| {
                let mut context = services.read_only(timestamp, now_ms);
                let mut out = Collector::new(next, timestamp);
                function.process_element(record, &mut context, &mut out)
            });
        });
    }
    #[inline(never)]
    fn consume_second(&mut self, columns: Columns<'_, P::Broadcast>) {
        let BroadcastProcess { function, next, services } = self;
        let stage = function.stage().clone();
        let now_ms = stage.task.core.now_ms.get();
        columns.for_each(&stage.position, |_, _, record, timestamp| {
            function.call(|function| {
                let mut context = services.context(timestamp, now_ms);
                let mut out = Collector::new(next, timestamp);
                function.process_broadcast_element(record, &mut context, &mut out)
            });
        });
    }
    fn control(&mut self, control: Control) {
        self.services.control(control);
        self.next.control(control);
    }
    fn drive(&mut self, dry: bool) -> Flow {
        self.services.sides.join(self.next.drive(dry), dry)
    }
}
