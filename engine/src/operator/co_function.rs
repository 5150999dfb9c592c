//! The heads of a stage with two inputs and no keyed state: see [`CoFlatMapFunction`] and [`CoProcessFunction`].

use crate::exchange::gate::ConsumeTwo;
use crate::function::{CoFlatMapFunction, CoProcessFunction, Collector};
use crate::operator::opened::Opened;
use crate::operator::rich::{Rich, pass_on_by_function};
use crate::operator::unkeyed_services::UnkeyedServices;
use crate::operator::{Flow, Push};
use crate::record::{Columns, Control};

/// `flat_map` and `map` of two streams.
pub(crate) struct CoFlatMap<F: CoFlatMapFunction, D> {
    pub(crate) function: Rich<F>,
    pub(crate) next: D,
}

impl<F: CoFlatMapFunction, D: Push<F::Out>> ConsumeTwo<F::In1, F::In2> for CoFlatMap<F, D> {
    #[inline(never)]
    fn consume_first(&mut self, columns: Columns<'_, F::In1>) {
        let CoFlatMap { function, next } = self;
        let function = function.opened();
        let stage = function.stage().clone();
        columns.for_each(&stage.position, |_, _, record, timestamp| {
            function.call(|f| f.flat_map1(record, &mut Collector::new(next, timestamp)));
        });
    }
    #[inline(never)]
    fn consume_second(&mut self, columns: Columns<'_, F::In2>) {
        let CoFlatMap { function, next } = self;
        let function = function.opened();
        let stage = function.stage().clone();
        columns.for_each(&stage.position, |_, _, record, timestamp| {
            function.call(|f| f.flat_map2(record, &mut Collector::new(next, timestamp)));
        });
    }
    pass_on_by_function!();
}

/// `process` of two streams.
pub(crate) struct CoProcess<P: CoProcessFunction, D> {
    pub(crate) function: Opened<P>,
    pub(crate) next: D,
    pub(crate) services: UnkeyedServices,
}

impl<P: CoProcessFunction, D: Push<P::Out>> ConsumeTwo<P::In1, P::In2> for CoProcess<P, D> {
    #[inline(never)]
    fn consume_first(&mut self, columns: Columns<'_, P::In1>) {
        let CoProcess { function, next, services } = self;
        let stage = function.stage().clone();
        let now_ms = stage.task.core.now_ms.get();
        columns.for_each(&stage.position, |_, _, record, timestamp| {
            function.call(|function| {
                let mut context = services.context(timestamp, now_ms);
                let mut out = Collector::new(next, timestamp);
                function.process_element1(record, &mut context, &mut out)
            });
        });
    }
    #[inline(never)]
    fn consume_second(&mut self, columns: Columns<'_, P::In2>) {
        let CoProcess { function, next, services } = self;
        let stage = function.stage().clone();
        let now_ms = stage.task.core.now_ms.get();
        columns.for_each(&stage.position, |_, _, record, timestamp| {
            function.call(|function| {
                let mut context = services.context(timestamp, now_ms);
                let mut out = Collector::new(next, timestamp);
                function.process_element2(record, &mut context, &mut out)
            });
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
