//! The head of a stage with two inputs and no keyed state: see [`CoFlatMapFunction`].

use crate::exchange::gate::ConsumeTwo;
use crate::function::{CoFlatMapFunction, Collector};
use crate::operator::opened::Opened;
use crate::operator::{Flow, Push};
use crate::record::{Columns, Control};

/// See the module docs.
pub(crate) struct CoFlatMap<F: CoFlatMapFunction, D> {
    pub(crate) function: Opened<F>,
    pub(crate) next: D,
}

impl<F: CoFlatMapFunction, D: Push<F::Out>> ConsumeTwo<F::In1, F::In2> for CoFlatMap<F, D> {
    #[inline(never)]
    fn consume_first(&mut self, columns: Columns<'_, F::In1>) {
        let CoFlatMap { function, next } = self;
        let stage = function.stage().clone();
        columns.for_each(&stage.position, |_, _, record, timestamp| {
            function.call(|f| f.flat_map1(record, &mut Collector::new(next, timestamp)));
        });
    }
    #[inline(never)]
    fn consume_second(&mut self, columns: Columns<'_, F::In2>) {
        let CoFlatMap { function, next } = self;
        let stage = function.stage().clone();
        columns.for_each(&stage.position, |_, _, record, timestamp| {
            function.call(|f| f.flat_map2(record, &mut Collector::new(next, timestamp)));
        });
    }
    fn control(&mut self, control: Control) {
        self.next.control(control);
    }
    fn drive(&mut self, dry: bool) -> Flow {
        self.next.drive(dry)
    }
}
