//! What functions without keys share with their operator: time, side outputs, operator state.

use crate::Result;
use crate::function::{ProcessContext, RuntimeContext};
use crate::graph::NodeId;
use crate::operator::build::BuildContext;
use crate::operator::keyed_services::OperatorTime;
use crate::operator::opened::{Hooks, OpenStates, Opened};
use crate::operator::rich::FunctionStates;
use crate::operator::side_outputs::SideOutputs;
use crate::record::Control;

/// The watermark, the side outputs, the state of the operator.
pub(crate) struct UnkeyedServices {
    pub(crate) sides: SideOutputs,
    states: FunctionStates,
    watermark: i64,
    time: OperatorTime,
}

impl UnkeyedServices {
    /// Opens a function as user code of `node`, and makes what its contexts will lend.
    pub(crate) fn open<F>(
        function: F,
        context: &mut BuildContext,
        node: NodeId,
        open: impl FnOnce(&mut F, &mut RuntimeContext<'_>) -> Result<()>,
        close: fn(&mut F) -> Result<()>,
        hooks: Hooks<F>,
    ) -> Result<(Opened<F>, Self)> {
        let sides = context.open_sides(node)?;
        let stage = context.stage.clone();
        let mut states = FunctionStates::open(context, node)?;
        let (time, watermark) = OperatorTime::open(context, node)?;
        let places = OpenStates { keyed: None, operator: Some(&mut states.store) };
        let function = Opened::open_with(function, (&stage, node), places, open, close)?;
        let services = UnkeyedServices { sides, states, watermark, time };
        Ok((function.with_hooks(hooks), services))
    }

    /// The context of a record.
    #[inline(always)]
    pub(crate) fn context(&mut self, timestamp: i64, now_ms: i64) -> ProcessContext<'_> {
        let UnkeyedServices { sides, states, watermark, .. } = self;
        let states = &mut states.store;
        ProcessContext { timestamp, watermark: *watermark, now_ms, sides, states }
    }

    /// Notes the time, takes part in checkpoints, and tells the side outputs.
    pub(crate) fn control<F>(&mut self, function: &mut Opened<F>, control: Control) {
        match control {
            Control::Watermark(watermark) => self.watermark = watermark,
            Control::Barrier(barrier) => {
                self.states.snapshot(function, barrier.checkpoint);
                self.time.snapshot(barrier.checkpoint, self.watermark);
            }
            Control::Status(_) | Control::End => {}
        }
        self.sides.control(control);
    }

    /// Called with each drive.
    #[inline]
    pub(crate) fn notify<F>(&mut self, function: &mut Opened<F>) {
        self.states.notify(function);
    }
}
