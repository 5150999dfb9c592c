//! One window for all elements of a key, with a trigger that says when it fires.

use crate::Result;
use crate::function::UserFunction;
use crate::window::{
    AssignerContext, EndOfStreamTrigger, NeverTrigger, Trigger, Window, WindowAssigner,
};

/// The only window of [`GlobalWindows`]; it has no end.
#[thalweg::record]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GlobalWindow;

impl Window for GlobalWindow {
    fn max_timestamp(&self) -> i64 {
        i64::MAX
    }
}

/// All elements of a key in one window, which fires when its trigger says so.
///
/// Results carry the timestamp `i64::MAX`, as in Flink: give them new timestamps before further event-time operators.
///
/// Cost: an entry for each key that is never given up, unless a trigger purges it.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let sums = env
///     .from_elements([1, 2, 3, 4, 5])
///     .key_by(|_| 0u8)
///     .window(GlobalWindows::create())
///     .trigger(CountTrigger::of(2))
///     .reduce(|a, b| a + b)
///     .collect();
/// env.execute("sum so far, every two")?;
/// assert_eq!(sums.take(), [3, 10]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalWindows<R = NeverTrigger> {
    trigger: R,
}

impl GlobalWindows {
    /// A window that never fires by itself: give it a trigger.
    pub fn create() -> GlobalWindows<NeverTrigger> {
        GlobalWindows { trigger: NeverTrigger }
    }
    /// A window that fires once, at the end of the input.
    pub fn with_end_of_stream_trigger() -> GlobalWindows<EndOfStreamTrigger> {
        GlobalWindows { trigger: EndOfStreamTrigger }
    }
}

impl<T, R: Trigger<T, GlobalWindow> + UserFunction> WindowAssigner<T> for GlobalWindows<R> {
    type Window = GlobalWindow;
    type DefaultTrigger = R;

    fn assign_windows(
        &mut self,
        _: &T,
        _: i64,
        _: &AssignerContext,
        windows: &mut Vec<GlobalWindow>,
    ) -> Result<()> {
        windows.push(GlobalWindow);
        Ok(())
    }
    fn default_trigger(&self) -> R {
        self.trigger.clone()
    }
    fn is_event_time(&self) -> bool {
        false
    }
}
