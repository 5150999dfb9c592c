//! Triggers: when a window fires, and whether its elements are kept then.
//!
//! A trigger sees every element of a window and every timer it registered for it, and answers each time with a
//! [`TriggerResult`]. What it remembers is state of the key and the window: made in [`open`](Trigger::open), used with
//! the context.
//!
//! **Invariants**
//! - A window that fires without elements emits nothing.
//! - A timer at or before the current watermark fires at the next advance of the watermark, not at once.
//! - When a window is given up, whatever the trigger says, its elements go and [`clear`](Trigger::clear) is called.

pub(crate) mod context;
mod continuous;
mod count;
mod delta;
mod purging;
mod time;
mod timeout;

pub use context::{OnMergeContext, TriggerContext};
pub use continuous::{ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger};
pub use count::CountTrigger;
pub use delta::DeltaTrigger;
pub use purging::PurgingTrigger;
pub use time::{EndOfStreamTrigger, EventTimeTrigger, NeverTrigger, ProcessingTimeTrigger};
pub use timeout::ProcessingTimeoutTrigger;

use crate::Result;
use crate::function::RuntimeContext;
use crate::window::{Window, WindowError};

/// What happens to a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerResult {
    /// Nothing.
    Continue,
    /// Its function is called; the elements stay.
    Fire,
    /// Its elements go; the function is not called.
    Purge,
    /// Its function is called, then its elements go.
    FireAndPurge,
}

impl TriggerResult {
    /// Is the function called?
    pub fn is_fire(self) -> bool {
        matches!(self, TriggerResult::Fire | TriggerResult::FireAndPurge)
    }
    /// Do the elements go?
    pub fn is_purge(self) -> bool {
        matches!(self, TriggerResult::Purge | TriggerResult::FireAndPurge)
    }
}

/// Says when windows fire. Implement it for triggers that the engine does not have.
///
/// A trigger replaces the assigner's own: nothing then fires a window at its end unless the trigger does. The window is
/// given up all the same, at its last instant plus the allowed lateness.
///
/// # Examples
/// Fires at each element that is marked:
/// ```
/// use thalweg::prelude::*;
///
/// #[derive(Clone)]
/// struct AtMarks;
/// impl<W: Window> Trigger<(char, bool), W> for AtMarks {
///     fn on_element(
///         &mut self,
///         record: &(char, bool),
///         _: i64,
///         _: &W,
///         _: &mut TriggerContext<'_>,
///     ) -> thalweg::Result<TriggerResult> {
///         Ok(if record.1 { TriggerResult::FireAndPurge } else { TriggerResult::Continue })
///     }
/// }
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let counts = env
///     .from_elements([('a', false), ('b', true), ('c', true), ('d', false)])
///     .key_by(|_| 0u8)
///     .window(GlobalWindows::create())
///     .trigger(AtMarks)
///     .aggregate(Count)
///     .collect();
/// env.execute("at marks")?;
/// assert_eq!(counts.take(), [2, 1]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a trigger for records of type `{T}` in windows of type `{W}`"
)]
pub trait Trigger<T, W: Window>: 'static {
    /// Called once on the trigger's core, before the first record: makes the state of a key and window, by
    /// [`value_state`](RuntimeContext::value_state) and its kin.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(())
    }
    /// Called for each element of a window, after it was added. `timestamp` is `i64::MIN` for a record without.
    ///
    /// # Errors
    /// Any error fails the job.
    fn on_element(
        &mut self,
        record: &T,
        timestamp: i64,
        window: &W,
        context: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult>;
    /// Called at an event-time timer of the window, also at the one that gives up the window.
    ///
    /// # Errors
    /// Any error fails the job.
    fn on_event_time(
        &mut self,
        _time_ms: i64,
        _window: &W,
        _context: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult> {
        Ok(TriggerResult::Continue)
    }
    /// Called at a processing-time timer of the window, also at the one that gives up the window.
    ///
    /// # Errors
    /// Any error fails the job.
    fn on_processing_time(
        &mut self,
        _time_ms: i64,
        _window: &W,
        _context: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult> {
        Ok(TriggerResult::Continue)
    }
    /// Can its state be merged? A trigger that cannot is refused for sessions.
    fn can_merge(&self) -> bool {
        false
    }
    /// Called when windows have become `window`: merges their state and registers the timers of the new one. Afterwards
    /// [`clear`](Self::clear) is called for each of the old ones.
    ///
    /// # Errors
    /// Any error fails the job.
    fn on_merge(&mut self, _window: &W, _context: &mut OnMergeContext<'_>) -> Result<()> {
        let trigger = std::any::type_name::<Self>();
        Err(WindowError::TriggerCannotMerge { trigger }.into())
    }
    /// Called when a window is given up: deletes its state and timers.
    ///
    /// # Errors
    /// Any error fails the job.
    fn clear(&mut self, _window: &W, _context: &mut TriggerContext<'_>) -> Result<()> {
        Ok(())
    }
    /// Checks the settings; an error is reported by `execute`.
    ///
    /// # Errors
    /// What is wrong.
    fn validate(&self) -> Result<(), WindowError> {
        Ok(())
    }
}
