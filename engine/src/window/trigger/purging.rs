//! [`PurgingTrigger`].

use crate::Result;
use crate::function::RuntimeContext;
use crate::window::{OnMergeContext, Trigger, TriggerContext, TriggerResult, Window, WindowError};

/// Fires as another trigger does, and drops the elements whenever it fires.
///
/// With an allowed lateness, firings for late elements see the late elements only.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
/// let pairs = PurgingTrigger::of(CountTrigger::of(2));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PurgingTrigger<R> {
    inner: R,
}

impl<R> PurgingTrigger<R> {
    /// Fires when `inner` does.
    pub fn of(inner: R) -> Self {
        PurgingTrigger { inner }
    }
}

fn purging(result: TriggerResult) -> TriggerResult {
    if result.is_fire() { TriggerResult::FireAndPurge } else { result }
}

impl<T, W: Window, R: Trigger<T, W>> Trigger<T, W> for PurgingTrigger<R> {
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        self.inner.open(context)
    }
    fn on_element(
        &mut self,
        record: &T,
        timestamp: i64,
        window: &W,
        context: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult> {
        self.inner.on_element(record, timestamp, window, context).map(purging)
    }
    fn on_event_time(
        &mut self,
        time_ms: i64,
        window: &W,
        context: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult> {
        self.inner.on_event_time(time_ms, window, context).map(purging)
    }
    fn on_processing_time(
        &mut self,
        time_ms: i64,
        window: &W,
        context: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult> {
        self.inner.on_processing_time(time_ms, window, context).map(purging)
    }
    fn can_merge(&self) -> bool {
        self.inner.can_merge()
    }
    fn on_merge(&mut self, window: &W, context: &mut OnMergeContext<'_>) -> Result<()> {
        self.inner.on_merge(window, context)
    }
    fn clear(&mut self, window: &W, context: &mut TriggerContext<'_>) -> Result<()> {
        self.inner.clear(window, context)
    }
    fn validate(&self) -> Result<(), WindowError> {
        self.inner.validate()
    }
}
