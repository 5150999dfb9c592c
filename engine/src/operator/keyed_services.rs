//! What keyed functions share with their operator: timers, time, side outputs, operator state.

use crate::operator::side_outputs::SideOutputs;
use crate::runtime::CoreHandle;
use thalweg_state::{OperatorStateStore, TimerQueue};

/// Timers of both domains, the watermark, the side outputs, the state that belongs to no key.
pub(crate) struct KeyedServices {
    pub(crate) event_timers: TimerQueue,
    pub(crate) processing_timers: TimerQueue,
    pub(crate) watermark: i64,
    pub(crate) sides: SideOutputs,
    pub(crate) states: OperatorStateStore,
    core: CoreHandle,
}

impl KeyedServices {
    pub(crate) fn new(sides: SideOutputs, core: CoreHandle) -> Self {
        KeyedServices {
            event_timers: TimerQueue::default(),
            processing_timers: TimerQueue::default(),
            watermark: i64::MIN,
            states: OperatorStateStore::new(sides.operator()),
            sides,
            core,
        }
    }

    /// Event time has reached `watermark`: is a timer due?
    pub(crate) fn advance(&mut self, watermark: i64) -> bool {
        self.watermark = watermark;
        !self.event_timers.is_empty()
            && self.event_timers.next_ms().is_some_and(|next_ms| next_ms <= watermark)
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.core.now_ms.get()
    }
}
