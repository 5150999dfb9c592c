//! `process` on a stream without keys: see [`ProcessFunction`].

use crate::function::{Collector, ProcessContext, ProcessFunction};
use crate::operator::opened::Opened;
use crate::operator::side_outputs::SideOutputs;
use crate::operator::{Flow, Push};
use crate::record::Control;

/// See the module docs.
pub(crate) struct Process<P: ProcessFunction, D> {
    function: Opened<P>,
    next: D,
    sides: SideOutputs,
    watermark: i64,
}

impl<P: ProcessFunction, D> Process<P, D> {
    pub(crate) fn new(function: Opened<P>, next: D, sides: SideOutputs) -> Self {
        Process { function, next, sides, watermark: i64::MIN }
    }
}

impl<P: ProcessFunction, D: Push<P::Out>> Push<P::In> for Process<P, D> {
    #[inline(always)]
    fn push(&mut self, record: P::In, timestamp: i64) {
        let Process { function, next, sides, watermark } = self;
        let (watermark, now_ms) = (*watermark, function.stage().task.core.now_ms.get());
        function.call(|function| {
            let mut context = ProcessContext { timestamp, watermark, now_ms, sides };
            function.process_element(record, &mut context, &mut Collector::new(next, timestamp))
        });
    }

    fn control(&mut self, control: Control) {
        if let Control::Watermark(watermark) = control {
            self.watermark = watermark;
        }
        self.sides.control(control);
        self.next.control(control);
    }

    fn drive(&mut self, dry: bool) -> Flow {
        self.sides.join(self.next.drive(dry), dry)
    }
}
