//! Aggregates of windows.

use thalweg_state::StateValue;

/// Folds the records of a window into an accumulator, and the accumulator into a result.
///
/// # Examples
/// The mean of a window's readings:
/// ```
/// use thalweg::prelude::*;
///
/// #[derive(Clone)]
/// struct Mean;
/// impl AggregateFunction<f64> for Mean {
///     type Accumulator = (f64, u64);
///     type Result = f64;
///     fn create_accumulator(&self) -> (f64, u64) {
///         (0.0, 0)
///     }
///     fn add(&self, accumulator: &mut (f64, u64), reading: &f64) {
///         accumulator.0 += reading;
///         accumulator.1 += 1;
///     }
///     fn result(&self, accumulator: &(f64, u64)) -> f64 {
///         accumulator.0 / accumulator.1 as f64
///     }
///     fn merge(&self, into: &mut (f64, u64), other: &(f64, u64)) {
///         into.0 += other.0;
///         into.1 += other.1;
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an AggregateFunction over records of type `{T}`"
)]
pub trait AggregateFunction<T>: Clone + Send + 'static {
    /// Does merging the accumulators of two parts of a window give the very accumulator of the whole, whatever the
    /// split? True for counts, integer sums, minima and maxima of a value alone; not for sums of floats, nor where the
    /// order of records matters. Then overlapping windows share slices: one update a record instead of one a window.
    const SLICEABLE: bool = false;
    /// What a window keeps while it is open.
    type Accumulator: StateValue + Clone + Send;
    /// What it gives.
    type Result;
    /// The accumulator of an empty window.
    fn create_accumulator(&self) -> Self::Accumulator;
    /// Adds one record.
    fn add(&self, accumulator: &mut Self::Accumulator, record: &T);
    /// The result of what has been added.
    fn result(&self, accumulator: &Self::Accumulator) -> Self::Result;
    /// Adds `other` to `into`.
    fn merge(&self, into: &mut Self::Accumulator, other: &Self::Accumulator);
}

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
