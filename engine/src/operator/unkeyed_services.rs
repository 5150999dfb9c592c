//! What functions without keys share with their operator: time, side outputs, operator state.

use crate::Result;
use crate::function::{ProcessContext, RuntimeContext};
use crate::graph::NodeId;
use crate::operator::build::BuildContext;
use crate::operator::opened::{OpenStates, Opened};
use crate::operator::side_outputs::SideOutputs;
use crate::record::Control;
use thalweg_state::OperatorStateStore;

/// The watermark, the side outputs, the state of the operator.
pub(crate) struct UnkeyedServices {
    pub(crate) sides: SideOutputs,
    states: OperatorStateStore,
    watermark: i64,
}

impl UnkeyedServices {
    /// Opens a function as user code of `node`, and makes what its contexts will lend.
    pub(crate) fn open<F>(
        function: F,
        context: &mut BuildContext,
        node: NodeId,
        open: impl FnOnce(&mut F, &mut RuntimeContext<'_>) -> Result<()>,
        close: fn(&mut F) -> Result<()>,
    ) -> Result<(Opened<F>, Self)> {
        let sides = context.open_sides(node)?;
        let stage = context.stage.clone();
        let mut states = OperatorStateStore::new(stage.names.get(node));
        let places = OpenStates { keyed: None, operator: Some(&mut states) };
        let function = Opened::open_with(function, (&stage, node), places, open, close)?;
        Ok((function, UnkeyedServices { sides, states, watermark: i64::MIN }))
    }

    /// The context of a record.
    #[inline(always)]
    pub(crate) fn context(&mut self, timestamp: i64, now_ms: i64) -> ProcessContext<'_> {
        let UnkeyedServices { sides, states, watermark } = self;
        ProcessContext { timestamp, watermark: *watermark, now_ms, sides, states }
    }

    /// Notes the time, and tells the side outputs.
    pub(crate) fn control(&mut self, control: Control) {
        if let Control::Watermark(watermark) = control {
            self.watermark = watermark;
        }
        self.sides.control(control);
    }
}
