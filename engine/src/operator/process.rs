//! `process` on a stream without keys: see [`ProcessFunction`].

use crate::function::{Collector, ProcessFunction};
use crate::operator::opened::Opened;
use crate::operator::unkeyed_services::UnkeyedServices;
use crate::operator::{Flow, Push};
use crate::record::Control;

/// See the module docs.
pub(crate) struct Process<P: ProcessFunction, D> {
    pub(crate) function: Opened<P>,
    pub(crate) next: D,
    pub(crate) services: UnkeyedServices,
}

impl<P: ProcessFunction, D: Push<P::Out>> Push<P::In> for Process<P, D> {
    #[inline(always)]
    fn push(&mut self, record: P::In, timestamp: i64) {
        let Process { function, next, services } = self;
        let now_ms = function.stage().task.core.now_ms.get();
        function.call(|function| {
            let mut context = services.context(timestamp, now_ms);
            function.process_element(record, &mut context, &mut Collector::new(next, timestamp))
        });
    }

    fn control(&mut self, control: Control) {
        self.services.control(&mut self.function, control);
        self.next.control(control);
    }

    fn drive(&mut self, dry: bool) -> Flow {
        self.services.notify(&mut self.function);
        self.services.sides.join(self.next.drive(dry), dry)
    }
}
