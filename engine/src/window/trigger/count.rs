//! [`CountTrigger`].

use crate::Result;
use crate::function::RuntimeContext;
use crate::state::{ValueState, ValueStateDescriptor};
use crate::window::{OnMergeContext, Trigger, TriggerContext, TriggerResult, Window, WindowError};

/// Fires at every n-th element of a window. The elements stay; wrap it into a
/// [`PurgingTrigger`](crate::window::PurgingTrigger) where they shall not.
///
/// The end of a window does not fire it: elements after the last firing are given up with the window.
///
/// Cost: 8 bytes a key and window, no timers.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let sums = env
///     .from_elements([1_i64, 2, 3, 4])
///     .key_by(|_| 0_u8)
///     .window(GlobalWindows::create())
///     .trigger(CountTrigger::of(2))
///     .reduce(|a, b| a + b)
///     .collect();
/// env.execute("every two")?;
/// assert_eq!(sums.take(), [3, 10]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CountTrigger {
    at: u64,
    count: ValueState<u64>,
}

impl CountTrigger {
    /// Fires at every `n`-th element. 0 is refused when the job starts.
    pub fn of(n: u64) -> Self {
        CountTrigger { at: n, count: ValueState::default() }
    }
}

impl<T, W: Window> Trigger<T, W> for CountTrigger {
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        self.count = context.value_state(ValueStateDescriptor::new("trigger: count"))?;
        Ok(())
    }
    fn on_element(
        &mut self,
        _: &T,
        _: i64,
        _: &W,
        context: &mut TriggerContext<'_>,
    ) -> Result<TriggerResult> {
        let count = self.count.modify(context, |count| {
            *count += 1;
            *count
        })?;
        if count < self.at {
            return Ok(TriggerResult::Continue);
        }
        self.count.clear(context)?;
        Ok(TriggerResult::Fire)
    }
    fn can_merge(&self) -> bool {
        true
    }
    fn on_merge(&mut self, _: &W, context: &mut OnMergeContext<'_>) -> Result<()> {
        // A sum beyond n fires at the element that merges.
        context.merge_value(&self.count, |a, b| a + b)?;
        Ok(())
    }
    fn clear(&mut self, _: &W, context: &mut TriggerContext<'_>) -> Result<()> {
        Ok(self.count.clear(context)?)
    }
    fn validate(&self) -> Result<(), WindowError> {
        if self.at == 0 {
            return Err(WindowError::NoElements { what: "number of elements of a count trigger" });
        }
        Ok(())
    }
}
