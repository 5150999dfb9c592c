//! The functions that state is folded by; engines offer the same to windows.

use crate::StateValue;

/// Folds the records of a window or of a key into an accumulator, and the accumulator into a result.
///
/// # Examples
/// The mean of a window's readings:
/// ```
/// use thalweg_state::AggregateFunction;
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
    /// What is kept while records come.
    type Accumulator: StateValue + Clone + Send;
    /// What it gives.
    type Result;
    /// The accumulator of no record.
    fn create_accumulator(&self) -> Self::Accumulator;
    /// Adds one record.
    fn add(&self, accumulator: &mut Self::Accumulator, record: &T);
    /// The result of what has been added.
    fn result(&self, accumulator: &Self::Accumulator) -> Self::Result;
    /// Adds `other` to `into`.
    fn merge(&self, into: &mut Self::Accumulator, other: &Self::Accumulator);
}
