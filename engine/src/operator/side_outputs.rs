//! The side outputs of an operator: by tag, to whoever reads them.

use crate::function::OutputTag;
use crate::graph::NodeId;
use crate::operator::fan_out::{FanOut, SidePort};
use crate::operator::{Flow, Push, StageContext};
use crate::record::Control;
use std::rc::Rc;

/// The ports of those side outputs that somebody reads. What goes to another tag is dropped, as in Flink.
pub(crate) struct SideOutputs {
    ports: Vec<(String, Box<dyn SidePort>)>,
    stage: Rc<StageContext>,
    node: NodeId,
}

impl SideOutputs {
    pub(crate) fn new(
        ports: Vec<(String, Box<dyn SidePort>)>,
        stage: Rc<StageContext>,
        node: NodeId,
    ) -> Self {
        SideOutputs { ports, stage, node }
    }

    /// The name of the operator they belong to.
    pub(crate) fn operator(&self) -> &str {
        self.stage.names.get(self.node)
    }

    /// Emits `record` to the readers of `tag`.
    pub(crate) fn output<T: 'static>(&mut self, tag: &OutputTag<T>, record: T, timestamp: i64) {
        let Some((_, port)) = self.ports.iter_mut().find(|(name, _)| name == tag.name()) else {
            return;
        };
        match port.as_any().downcast_mut::<FanOut<T>>() {
            Some(port) => port.push(record, timestamp),
            None => self.fail_type(tag),
        }
    }

    #[cold]
    fn fail_type<T>(&self, tag: &OutputTag<T>) {
        let message = format!(
            "side output '{}' was given a record of type {}, but it is read with another type; use one tag for each type",
            tag.name(),
            std::any::type_name::<T>(),
        );
        self.stage.fail(self.node, message.into());
    }

    pub(crate) fn control(&mut self, control: Control) {
        self.ports.iter_mut().for_each(|(_, port)| port.control(control));
    }

    /// Drives the side outputs and joins their answer with that of the main output.
    #[inline]
    pub(crate) fn join(&mut self, main: Flow, dry: bool) -> Flow {
        if self.ports.is_empty() {
            return main;
        }
        match (main, self.drive(dry)) {
            // Also at the end: behind a side output may be a gate whose other inputs have not ended.
            (Flow::Ready | Flow::Done, side @ (Flow::Busy | Flow::Blocked | Flow::Ready)) => side,
            (Flow::Blocked, Flow::Busy) => Flow::Busy,
            _ => main,
        }
    }

    /// `Done` when all are.
    fn drive(&mut self, dry: bool) -> Flow {
        let mut joined = Flow::Done;
        for (_, port) in &mut self.ports {
            joined = match (joined, port.drive(dry)) {
                (_, Flow::Busy) | (Flow::Busy, _) => Flow::Busy,
                (_, Flow::Blocked) | (Flow::Blocked, _) => Flow::Blocked,
                (_, Flow::Ready) | (Flow::Ready, _) => Flow::Ready,
                (Flow::Done, Flow::Done) => Flow::Done,
            };
        }
        joined
    }
}
