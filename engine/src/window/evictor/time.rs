//! [`TimeEvictor`].

use super::{Evictor, EvictorContext, WindowElements, evicts_by_rule};
use crate::Result;
use crate::record::NO_TIMESTAMP;
use crate::time::duration_ms;
use crate::window::Window;
use std::time::Duration;

/// Keeps the elements that are younger than a time, counted back from the youngest of the window. Elements without
/// timestamps are all kept.
///
/// Cost: the window keeps its elements with their timestamps; each firing goes over all of them twice.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let sums = env
///     .from_elements([1_i64, 6, 8])
///     .assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamp(|t: &i64| *t))
///     .key_by(|_| 0_u8)
///     .window(TumblingEventTimeWindows::of(milliseconds(10)))
///     .evictor(TimeEvictor::of(milliseconds(5)))
///     .reduce(|a, b| a + b)
///     .collect();
/// env.execute("the youngest")?;
/// assert_eq!(sums.take(), [14]); // 6 and 8
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEvictor {
    keep_ms: i64,
    after: bool,
}

impl TimeEvictor {
    /// Keeps the elements less than `age` older than the youngest, before the function sees them.
    pub fn of(age: Duration) -> Self {
        TimeEvictor { keep_ms: duration_ms(age), after: false }
    }
    /// Drops after the function instead of before it.
    pub fn after(mut self) -> Self {
        self.after = true;
        self
    }

    fn evict<T>(&self, elements: &mut WindowElements<T>) {
        // As in Flink the first element tells whether there are timestamps.
        let has_timestamps = elements.timestamps.first().is_some_and(|at| *at != NO_TIMESTAMP);
        let Some(youngest) = elements.timestamps.iter().max().filter(|_| has_timestamps) else {
            return;
        };
        let too_old = youngest.saturating_sub(self.keep_ms);
        elements.retain(|_, at| at.is_some_and(|at| at > too_old));
    }
}

impl<T, W: Window> Evictor<T, W> for TimeEvictor {
    evicts_by_rule!();
}
