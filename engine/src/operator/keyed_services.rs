//! What keyed functions share with their operator: timers, time, side outputs, operator state.

use crate::function::TimeDomain;
use crate::operator::side_outputs::SideOutputs;
use crate::runtime::CoreHandle;
use thalweg_state::{DueTimer, KeyedTimers, OperatorStateStore, RowCursor, RowId};

/// Timers of both domains, the watermark, the side outputs, the state that belongs to no key.
pub(crate) struct KeyedServices {
    timers: KeyedTimers,
    pub(crate) watermark: i64,
    pub(crate) sides: SideOutputs,
    pub(crate) states: OperatorStateStore,
    core: CoreHandle,
}

impl KeyedServices {
    pub(crate) fn new(sides: SideOutputs, core: CoreHandle) -> Self {
        KeyedServices {
            timers: KeyedTimers::new(),
            watermark: i64::MIN,
            states: OperatorStateStore::new(sides.operator()),
            sides,
            core,
        }
    }

    /// Event time has reached `watermark`: is a timer due?
    pub(crate) fn advance(&mut self, watermark: i64) -> bool {
        self.watermark = watermark;
        self.timers.next_ms(TimeDomain::EventTime).is_some_and(|next_ms| next_ms <= watermark)
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.core.now_ms.get()
    }

    /// Registers a timer of the row that `cursor` is at, which stays pinned as long as it has timers.
    #[inline]
    pub(crate) fn register_timer(
        &mut self,
        domain: TimeDomain,
        timestamp_ms: i64,
        cursor: &mut RowCursor<'_>,
    ) {
        self.timers.register(domain, timestamp_ms, cursor);
    }

    /// Takes a timer of the row that `cursor` is at back; no effect if there is none.
    #[inline]
    pub(crate) fn delete_timer(
        &mut self,
        domain: TimeDomain,
        timestamp_ms: i64,
        cursor: &mut RowCursor<'_>,
    ) {
        self.timers.delete(domain, timestamp_ms, cursor);
    }

    /// Takes the earliest timer that is due out. Its row is still pinned for it.
    pub(crate) fn pop_due(&mut self, domain: TimeDomain) -> Option<DueTimer> {
        let up_to_ms = match domain {
            TimeDomain::EventTime => self.watermark,
            TimeDomain::ProcessingTime => self.now_ms(),
        };
        self.timers.pop_due(domain, up_to_ms)
    }

    /// The row of a timer that is popped soon after the last one.
    #[inline]
    pub(crate) fn upcoming(&self, domain: TimeDomain) -> Option<RowId> {
        self.timers.upcoming(domain)
    }

    /// When the clock next fires a timer; `i64::MAX` for never.
    pub(crate) fn next_processing_time_ms(&mut self) -> i64 {
        self.timers.next_ms(TimeDomain::ProcessingTime).unwrap_or(i64::MAX)
    }
}
