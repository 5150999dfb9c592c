//! Windows of a number of elements: global windows with triggers that count.

use super::{Chosen, EvictedBy, WindowedStream};
use crate::api::keyed::KeyedStream;
use crate::function::KeySelector;
use crate::state::StateValue;
use crate::window::{CountEvictor, CountTrigger, GlobalWindows, PurgingTrigger, WindowError};
use std::panic::Location;

impl<T: Send + 'static, S: KeySelector<T>> KeyedStream<T, S> {
    /// Cuts the stream of each key into windows of `n` elements. What is left at the end of the input gives nothing.
    ///
    /// 0 elements are refused when the job starts.
    ///
    /// Cost: one accumulator (for `process` the elements of a window) and 8 bytes a key; no timers.
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
    ///     .count_window(2)
    ///     .reduce(|a, b| a + b)
    ///     .collect();
    /// env.execute("sums of two")?;
    /// assert_eq!(sums.take(), [3, 7]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn count_window(
        self,
        n: u64,
    ) -> WindowedStream<T, S, GlobalWindows, Chosen<PurgingTrigger<CountTrigger>>> {
        self.window(GlobalWindows::create()).trigger(PurgingTrigger::of(CountTrigger::of(n)))
    }

    /// Gives every `slide` elements of a key a window of its last `n`.
    ///
    /// Windows keep their elements, also for incremental functions. 0 elements are refused when the job starts.
    ///
    /// Cost: up to `n + slide` elements and 8 bytes a key, for as long as the job runs; no timers.
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
    ///     .count_window_sliding(3, 2)
    ///     .reduce(|a, b| a + b)
    ///     .collect();
    /// env.execute("the last three, every two")?;
    /// assert_eq!(sums.take(), [3, 9]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn count_window_sliding(
        self,
        n: u64,
        slide: u64,
    ) -> WindowedStream<T, S, GlobalWindows, Chosen<CountTrigger>, EvictedBy<CountEvictor>>
    where
        T: StateValue + Clone,
    {
        let mut stream = self.window(GlobalWindows::create());
        if n == 0 {
            let what = "number of elements of a sliding count window";
            stream.note(Err(WindowError::NoElements { what }), Location::caller());
        }
        stream.trigger(CountTrigger::of(slide)).evictor(CountEvictor::of(n))
    }
}
