//! Aggregates of windows.

pub use thalweg_state::AggregateFunction;

/// Counts records.
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
