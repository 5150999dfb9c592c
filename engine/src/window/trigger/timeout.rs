//! [`ProcessingTimeoutTrigger`].

use crate::Result;
use crate::function::RuntimeContext;
use crate::state::{ValueState, ValueStateDescriptor};
use crate::time::duration_ms;
use crate::window::{Trigger, TriggerContext, TriggerResult, Window, WindowError};
use std::time::Duration;

/// Fires as another trigger does, and also when a time has gone by since the first element after the last firing.
///
/// As in Flink, every timer of the window counts as a timeout, whatever it was registered for: also the one at which
/// an event-time window is given up fires it. Cannot be used for windows that merge.
///
/// Cost: 8 bytes and a timer a key and window, besides those of the other trigger.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
/// // At a hundred elements, but no later than a second after the first.
/// let trigger = ProcessingTimeoutTrigger::of(PurgingTrigger::of(CountTrigger::of(100)), seconds(1));
/// ```
#[derive(Clone, Debug)]
pub struct ProcessingTimeoutTrigger<R> {
    inner: R,
    timeout_ms: i64,
    resets: bool,
    clears: bool,
    timeout: ValueState<i64>,
}

impl<R> ProcessingTimeoutTrigger<R> {
    /// Fires when `inner` does or after `timeout`.
    pub fn of(inner: R, timeout: Duration) -> Self {
        let timeout_ms = duration_ms(timeout);
        let timeout = ValueState::default();
        ProcessingTimeoutTrigger { inner, timeout_ms, resets: false, clears: true, timeout }
    }
    /// Does each element put the timeout off? Default no: it runs from the first element.
    pub fn reset_timer_on_new_record(mut self, resets: bool) -> Self {
        self.resets = resets;
        self
    }
    /// Does a timeout clear the state of the inner trigger, a count say? Default yes.
    pub fn clear_on_timeout(mut self, clears: bool) -> Self {
        self.clears = clears;
        self
    }

    fn clear_both<T, W: Window>(
        &mut self,
        window: &W,
        context: &mut TriggerContext<'_>,
    ) -> Result<()>
    where
        R: Trigger<T, W>,
    {
        if let Some(at_ms) = self.timeout.take(context)? {
            context.delete_processing_time_timer(at_ms);
        }
        self.inner.clear(window, context)
    }

    fn on_timer<T, W: Window>(
        &mut self,
        inner: TriggerResult,
        window: &W,
        context: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult>
    where
        R: Trigger<T, W>,
    {
        if self.clears {
            self.clear_both::<T, W>(window, context)?;
        }
        Ok(if inner.is_purge() { TriggerResult::FireAndPurge } else { TriggerResult::Fire })
    }
}

impl<T, W: Window, R: Trigger<T, W>> Trigger<T, W> for ProcessingTimeoutTrigger<R> {
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        self.timeout = context.value_state(ValueStateDescriptor::new("trigger: timeout"))?;
        self.inner.open(context)
    }
    fn on_element(
        &mut self,
        record: &T,
        timestamp: i64,
        window: &W,
        context: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult> {
        let result = self.inner.on_element(record, timestamp, window, context)?;
        if result.is_fire() {
            self.clear_both::<T, W>(window, context)?;
            return Ok(result);
        }
        let mut current = self.timeout.value(context)?;
        if self.resets
            && let Some(at_ms) = current.take()
        {
            context.delete_processing_time_timer(at_ms);
        }
        if current.is_none() {
            let at_ms = context.current_processing_time().saturating_add(self.timeout_ms);
            self.timeout.update(context, at_ms)?;
            context.register_processing_time_timer(at_ms);
        }
        Ok(result)
    }
    fn on_event_time(
        &mut self,
        time_ms: i64,
        window: &W,
        context: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult> {
        let result = self.inner.on_event_time(time_ms, window, context)?;
        self.on_timer(result, window, context)
    }
    fn on_processing_time(
        &mut self,
        time_ms: i64,
        window: &W,
        context: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult> {
        let result = self.inner.on_processing_time(time_ms, window, context)?;
        self.on_timer(result, window, context)
    }
    fn clear(&mut self, window: &W, context: &mut TriggerContext<'_>) -> Result<()> {
        self.clear_both::<T, W>(window, context)
    }
    fn validate(&self) -> Result<(), WindowError> {
        self.inner.validate()
    }
}
