//! Aggregates of windows.

pub use thalweg_state::AggregateFunction;

/// Counts records.
///
/// Cost: 8 bytes a window; sliceable, so that overlapping windows share counts.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let counts = env.from_elements([5, 6, 7, 8]).count_window_all(2).aggregate(Count).collect();
/// env.execute("counts")?;
/// assert_eq!(counts.take(), [2, 2]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Count;

impl<T> AggregateFunction<T> for Count {
    const SLICEABLE: bool = true;
    type Accumulator = u64;
    type Result = u64;
    #[inline(always)]
    fn create_accumulator(&self) -> u64 {
        0
    }
    #[inline(always)]
    fn add(&self, accumulator: &mut u64, _: &T) {
        *accumulator += 1;
    }
    #[inline(always)]
    fn result(&self, accumulator: &u64) -> u64 {
        *accumulator
    }
    #[inline(always)]
    fn merge(&self, into: &mut u64, other: &u64) {
        *into += other;
    }
}
