//! Records that come too late: counted, and handed to the late side output.

use crate::function::OutputTag;
use crate::graph::NodeId;
use crate::metrics::HistogramHandle;
use crate::operator::StageContext;
use crate::operator::side_outputs::SideOutputs;
use std::rc::Rc;

/// The name of the histogram of how late records were, in milliseconds behind the watermark.
pub(crate) const LATE_BY_MS: &str = "late_by_ms";

/// See the module docs.
pub(crate) struct LateRecords<T> {
    tag: Option<OutputTag<T>>,
    /// Made at the first late record, since it takes 30 KiB.
    late_by_ms: Option<HistogramHandle>,
    stage: Rc<StageContext>,
    node: NodeId,
}

impl<T: 'static> LateRecords<T> {
    pub(crate) fn new(tag: Option<OutputTag<T>>, stage: Rc<StageContext>, node: NodeId) -> Self {
        LateRecords { tag, late_by_ms: None, stage, node }
    }

    /// A record that no window takes any more. As in Flink, one that goes to a side output is not counted as dropped.
    #[cold]
    pub(crate) fn take(
        &mut self,
        record: T,
        timestamp: i64,
        watermark: i64,
        sides: &mut SideOutputs,
    ) {
        let stage = &self.stage;
        let late_by_ms = self.late_by_ms.get_or_insert_with(|| {
            stage.user_metrics.for_operator(stage.names.get(self.node)).histogram(LATE_BY_MS)
        });
        late_by_ms.record(watermark.saturating_sub(timestamp).max(0).unsigned_abs());
        match &self.tag {
            Some(tag) => sides.output(tag, record, timestamp),
            None => stage.metrics.late_records_dropped.increment(),
        }
    }
}
