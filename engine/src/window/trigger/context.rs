//! What triggers are given: state, timers and time of a key's window.

use crate::Result;
use crate::function::TimeDomain;
use crate::operator::keyed_services::KeyedServices;
use thalweg_state::{
    KeyedContext, ReducingState, RowCursor, RowId, StateError, StateValue, ValueState,
};

/// The state, the timers and the time of the window at hand.
///
/// State handles made in [`open`](crate::window::Trigger::open) take it as their context.
pub struct TriggerContext<'a> {
    pub(crate) cursor: RowCursor<'a>,
    pub(crate) services: &'a mut KeyedServices,
}

impl TriggerContext<'_> {
    /// Event time: the last watermark, `i64::MIN` before the first.
    pub fn current_watermark(&self) -> i64 {
        self.services.watermark
    }
    /// Wall clock in milliseconds, as of this batch.
    pub fn current_processing_time(&self) -> i64 {
        self.services.now_ms()
    }
    /// Asks for `on_event_time` when the watermark passes `at_ms`.
    pub fn register_event_time_timer(&mut self, at_ms: i64) {
        self.register_timer(TimeDomain::EventTime, at_ms);
    }
    /// Takes an event-time timer of this window back; no effect if there is none.
    pub fn delete_event_time_timer(&mut self, at_ms: i64) {
        self.delete_timer(TimeDomain::EventTime, at_ms);
    }
    /// Asks for `on_processing_time` when the clock reaches `at_ms`.
    pub fn register_processing_time_timer(&mut self, at_ms: i64) {
        self.register_timer(TimeDomain::ProcessingTime, at_ms);
    }
    /// Takes a processing-time timer of this window back; no effect if there is none.
    pub fn delete_processing_time_timer(&mut self, at_ms: i64) {
        self.delete_timer(TimeDomain::ProcessingTime, at_ms);
    }

    pub(crate) fn register_timer(&mut self, domain: TimeDomain, at_ms: i64) {
        self.services.register_timer(domain, at_ms, &mut self.cursor);
    }

    pub(crate) fn delete_timer(&mut self, domain: TimeDomain, at_ms: i64) {
        self.services.delete_timer(domain, at_ms, &mut self.cursor);
    }
}

impl KeyedContext for TriggerContext<'_> {
    #[inline(always)]
    fn cursor(&self) -> &RowCursor<'_> {
        &self.cursor
    }
    #[inline(always)]
    fn cursor_mut(&mut self) -> RowCursor<'_> {
        self.cursor.reborrow()
    }
}

/// Lends the rows of windows by number.
pub(crate) trait LendRow {
    fn lend(&mut self, row: RowId) -> Result<RowCursor<'_>, StateError>;
}

/// The window that others have become, and the state of these.
pub struct OnMergeContext<'a> {
    pub(crate) rows: &'a mut dyn LendRow,
    pub(crate) target: RowId,
    pub(crate) merged: &'a [RowId],
    pub(crate) services: &'a mut KeyedServices,
}

impl OnMergeContext<'_> {
    /// The context of the new window: its state, timers and time.
    ///
    /// # Errors
    /// None that a trigger can cause.
    pub fn window(&mut self) -> Result<TriggerContext<'_>> {
        let (row, services) = (self.target, &mut *self.services);
        Ok(TriggerContext { cursor: self.rows.lend(row)?, services })
    }

    /// Takes the values that the merged windows have of `state`, brings them together with that of the new window, if it
    /// has one, and keeps the outcome as the new window's. Returns it; `None` if there was no value.
    ///
    /// # Errors
    /// Those of the handle.
    pub fn merge_value<V: StateValue + Clone>(
        &mut self,
        state: &ValueState<V>,
        mut combine: impl FnMut(V, V) -> V,
    ) -> Result<Option<V>> {
        let mut merged = state.take(&mut self.rows.lend(self.target)?)?;
        for row in self.merged {
            let Some(value) = state.take(&mut self.rows.lend(*row)?)? else { continue };
            merged = Some(match merged {
                Some(merged) => combine(merged, value),
                None => value,
            });
        }
        if let Some(value) = &merged {
            state.update(&mut self.rows.lend(self.target)?, value.clone())?;
        }
        Ok(merged)
    }

    /// [`merge_value`](Self::merge_value) for reducing state, by the function of its descriptor.
    ///
    /// # Errors
    /// Those of the handle.
    pub fn merge_reducing<V: StateValue + Clone>(
        &mut self,
        state: &ReducingState<V>,
    ) -> Result<Option<V>> {
        for row in self.merged {
            let mut merged = self.rows.lend(*row)?;
            let Some(value) = state.get(&merged)? else { continue };
            state.clear(&mut merged)?;
            state.add(&mut self.rows.lend(self.target)?, value)?;
        }
        Ok(state.get(&self.rows.lend(self.target)?)?)
    }
}
