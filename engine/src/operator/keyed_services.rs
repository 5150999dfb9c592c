//! What keyed functions share with their operator: timers, time, side outputs, operator state.
//!
//! **Invariants**
//! - A row is pinned once for each of its timers, from registration until it is deleted or has fired.

use crate::function::TimeDomain;
use crate::operator::side_outputs::SideOutputs;
use crate::runtime::CoreHandle;
use thalweg_state::{OperatorStateStore, RowCursor, RowId, Timer, TimerQueue};

/// Timers of both domains, the watermark, the side outputs, the state that belongs to no key.
pub(crate) struct KeyedServices {
    event_timers: TimerQueue,
    processing_timers: TimerQueue,
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

    fn timers(&mut self, domain: TimeDomain) -> &mut TimerQueue {
        match domain {
            TimeDomain::EventTime => &mut self.event_timers,
            TimeDomain::ProcessingTime => &mut self.processing_timers,
        }
    }

    /// Registers a timer of `row`, which `cursor` is at and which stays pinned as long as it has timers.
    #[inline]
    pub(crate) fn register_timer(
        &mut self,
        domain: TimeDomain,
        timestamp_ms: i64,
        (cursor, row): (&mut RowCursor<'_>, RowId),
    ) {
        if self.timers(domain).register(Timer { timestamp_ms, row }) {
            cursor.pin();
        }
    }

    /// Takes a timer of `row` back; no effect if there is none.
    #[inline]
    pub(crate) fn delete_timer(
        &mut self,
        domain: TimeDomain,
        timestamp_ms: i64,
        (cursor, row): (&mut RowCursor<'_>, RowId),
    ) {
        if self.timers(domain).delete(Timer { timestamp_ms, row }) {
            cursor.unpin();
        }
    }

    /// Takes the earliest timer that is due out. Its row is still pinned for it.
    pub(crate) fn pop_due(&mut self, domain: TimeDomain) -> Option<Timer> {
        let up_to_ms = match domain {
            TimeDomain::EventTime => self.watermark,
            TimeDomain::ProcessingTime => self.now_ms(),
        };
        self.timers(domain).pop_due(up_to_ms)
    }

    /// When the clock next fires a timer; `i64::MAX` for never.
    pub(crate) fn next_processing_time_ms(&mut self) -> i64 {
        if self.processing_timers.is_empty() {
            return i64::MAX;
        }
        self.processing_timers.next_ms().unwrap_or(i64::MAX)
    }
}
