//! [`CountEvictor`].

use super::{Evictor, EvictorContext, WindowElements, evicts_by_rule};
use crate::Result;
use crate::window::Window;

/// Keeps the last n elements of a window.
///
/// Cost: the window keeps its elements with their timestamps.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let sums = env
///     .from_elements([1_i64, 2, 3])
///     .key_by(|_| 0_u8)
///     .window(GlobalWindows::with_end_of_stream_trigger())
///     .evictor(CountEvictor::of(2))
///     .reduce(|a, b| a + b)
///     .collect();
/// env.execute("the last two")?;
/// assert_eq!(sums.take(), [5]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountEvictor {
    keep: u64,
    after: bool,
}

impl CountEvictor {
    /// Keeps the last `n` elements, before the function sees them.
    pub fn of(n: u64) -> Self {
        CountEvictor { keep: n, after: false }
    }
    /// Drops after the function instead of before it.
    pub fn after(mut self) -> Self {
        self.after = true;
        self
    }

    fn evict<T>(&self, elements: &mut WindowElements<T>) {
        let keep = usize::try_from(self.keep).unwrap_or(usize::MAX);
        elements.evict_first(elements.len().saturating_sub(keep));
    }
}

impl<T, W: Window> Evictor<T, W> for CountEvictor {
    evicts_by_rule!();
}
