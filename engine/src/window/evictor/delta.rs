//! [`DeltaEvictor`].

use super::{Evictor, EvictorContext, WindowElements, evicts_by_rule};
use crate::Result;
use crate::function::UserFunction;
use crate::window::{Window, WindowError};
use std::marker::PhantomData;

/// Drops the elements that differ from the last one of the window by a threshold or more.
///
/// Cost: the window keeps its elements with their timestamps; each firing calls the function for all of them.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let sums = env
///     .from_elements([1_i64, 100, 98, 99])
///     .key_by(|_| 0_u8)
///     .window(GlobalWindows::with_end_of_stream_trigger())
///     .evictor(DeltaEvictor::of(5.0, |element: &i64, last: &i64| (last - element).abs() as f64))
///     .reduce(|a, b| a + b)
///     .collect();
/// env.execute("near the last")?;
/// assert_eq!(sums.take(), [297]); // all but 1
/// # Ok::<(), thalweg::Error>(())
/// ```
pub struct DeltaEvictor<T, F> {
    threshold: f64,
    delta: F,
    after: bool,
    types: PhantomData<fn(&T)>,
}

impl<T, F: FnMut(&T, &T) -> f64 + UserFunction> DeltaEvictor<T, F> {
    /// Drops the elements for which `delta(element, last)` is at least `threshold`, before the function sees them. A
    /// threshold that is not a number is refused when the job starts.
    pub fn of(threshold: f64, delta: F) -> Self {
        DeltaEvictor { threshold, delta, after: false, types: PhantomData }
    }
    /// Drops after the function instead of before it.
    pub fn after(mut self) -> Self {
        self.after = true;
        self
    }

    fn evict(&mut self, elements: &mut WindowElements<T>) {
        let Some((last, _)) = elements.values.split_last() else { return };
        let (delta, threshold) = (&mut self.delta, self.threshold);
        let drops: Vec<bool> =
            elements.values.iter().map(|value| delta(value, last) >= threshold).collect();
        let mut drops = drops.into_iter();
        elements.retain(|_, _| !drops.next().unwrap_or(false));
    }
}

impl<T, F: Clone> Clone for DeltaEvictor<T, F> {
    fn clone(&self) -> Self {
        let DeltaEvictor { threshold, delta, after, .. } = self;
        DeltaEvictor {
            threshold: *threshold,
            delta: delta.clone(),
            after: *after,
            types: PhantomData,
        }
    }
}

impl<T, F> std::fmt::Debug for DeltaEvictor<T, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let DeltaEvictor { threshold, after, .. } = self;
        f.debug_struct("DeltaEvictor")
            .field("threshold", threshold)
            .field("after", after)
            .finish_non_exhaustive()
    }
}

impl<T, W, F> Evictor<T, W> for DeltaEvictor<T, F>
where
    T: 'static,
    W: Window,
    F: FnMut(&T, &T) -> f64 + UserFunction,
{
    evicts_by_rule!();

    fn validate(&self) -> Result<(), WindowError> {
        if self.threshold.is_nan() { Err(WindowError::ThresholdNotANumber) } else { Ok(()) }
    }
}
