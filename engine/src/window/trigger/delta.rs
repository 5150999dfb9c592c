//! [`DeltaTrigger`].

use crate::Result;
use crate::function::{RuntimeContext, UserFunction};
use crate::state::{StateValue, ValueState, ValueStateDescriptor};
use crate::window::{Trigger, TriggerContext, TriggerResult, Window, WindowError};

/// Fires when an element differs by more than a threshold from the one that fired last; the first element of a window is
/// what the next ones are compared with.
///
/// Cannot be used for windows that merge.
///
/// Cost: a copy of the element that fired last for each key and window.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let counts = env
///     .from_elements([1.0, 4.0, 6.5, 7.0])
///     .key_by(|_| 0u8)
///     .window(GlobalWindows::create())
///     .trigger(DeltaTrigger::of(5.0, |last: &f64, new: &f64| new - last))
///     .aggregate(Count)
///     .collect();
/// env.execute("by more than 5")?;
/// assert_eq!(counts.take(), [3]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DeltaTrigger<T, F> {
    threshold: f64,
    delta: F,
    last: ValueState<T>,
}

impl<T, F: FnMut(&T, &T) -> f64 + UserFunction> DeltaTrigger<T, F> {
    /// Fires where `delta(last, new)` exceeds `threshold`. One that is not a number is refused when the job starts.
    pub fn of(threshold: f64, delta: F) -> Self {
        DeltaTrigger { threshold, delta, last: ValueState::default() }
    }
}

impl<T, W, F> Trigger<T, W> for DeltaTrigger<T, F>
where
    T: StateValue + Clone,
    W: Window,
    F: FnMut(&T, &T) -> f64 + UserFunction,
{
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        self.last = context.value_state(ValueStateDescriptor::new("trigger: last element"))?;
        Ok(())
    }
    fn on_element(
        &mut self,
        record: &T,
        _: i64,
        _: &W,
        context: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult> {
        let delta = &mut self.delta;
        let difference =
            self.last.with_ref(context, |last| last.map(|last| delta(last, record)))?;
        if difference.is_some_and(|difference| difference.is_nan() || difference <= self.threshold)
        {
            return Ok(TriggerResult::Continue);
        }
        self.last.update(context, record.clone())?;
        Ok(super::time::fire_if(difference.is_some()))
    }
    fn clear(&mut self, _: &W, context: &mut TriggerContext<'_>) -> Result<()> {
        Ok(self.last.clear(context)?)
    }
    fn validate(&self) -> Result<(), WindowError> {
        if self.threshold.is_nan() { Err(WindowError::ThresholdNotANumber) } else { Ok(()) }
    }
}
