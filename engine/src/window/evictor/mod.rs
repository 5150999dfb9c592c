//! Evictors: which elements of a window are dropped around a firing.
//!
//! With an evictor a window keeps all its elements with their timestamps, also for incremental functions, which are then
//! computed from the elements that are left at each firing.

mod count;
mod delta;
mod elements;
mod time;

pub use count::CountEvictor;
pub use delta::DeltaEvictor;
pub use elements::WindowElements;
pub use time::TimeEvictor;

use crate::Result;
use crate::window::{Window, WindowError};

/// Drops elements of a window that fires, before or after its function has seen them.
///
/// # Examples
/// Keeps the readings that are not negative:
/// ```
/// use thalweg::prelude::*;
///
/// #[derive(Clone)]
/// struct Plausible;
/// impl<W: Window> Evictor<i64, W> for Plausible {
///     fn evict_before(
///         &mut self,
///         elements: &mut WindowElements<i64>,
///         _: &W,
///         _: &EvictorContext,
///     ) -> thalweg::Result<()> {
///         elements.retain(|reading, _| *reading >= 0);
///         Ok(())
///     }
/// }
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let sums = env
///     .from_elements([5, -100, 7])
///     .key_by(|_| 0u8)
///     .window(GlobalWindows::with_end_of_stream_trigger())
///     .evictor(Plausible)
///     .reduce(|a, b| a + b)
///     .collect();
/// env.execute("plausible")?;
/// assert_eq!(sums.take(), [12]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an evictor for records of type `{T}` in windows of type `{W}`"
)]
pub trait Evictor<T, W: Window>: 'static {
    /// Called before the function of a window that fires.
    ///
    /// # Errors
    /// Any error fails the job.
    fn evict_before(
        &mut self,
        _elements: &mut WindowElements<T>,
        _window: &W,
        _context: &EvictorContext,
    ) -> Result<()> {
        Ok(())
    }
    /// Called after the function of a window that fires.
    ///
    /// # Errors
    /// Any error fails the job.
    fn evict_after(
        &mut self,
        _elements: &mut WindowElements<T>,
        _window: &W,
        _context: &EvictorContext,
    ) -> Result<()> {
        Ok(())
    }
    /// Checks the settings; an error is reported by `execute`.
    ///
    /// # Errors
    /// What is wrong.
    fn validate(&self) -> Result<(), WindowError> {
        Ok(())
    }
}

/// What an evictor may know besides the elements.
#[derive(Clone, Copy, Debug)]
pub struct EvictorContext {
    pub(crate) watermark: i64,
    pub(crate) now_ms: i64,
}

impl EvictorContext {
    /// Event time: the last watermark, `i64::MIN` before the first.
    pub fn current_watermark(&self) -> i64 {
        self.watermark
    }
    /// Wall clock in milliseconds, as of this batch.
    pub fn current_processing_time(&self) -> i64 {
        self.now_ms
    }
}

/// Implements [`Evictor`] by one rule that is applied before the function, or after it.
macro_rules! evicts_by_rule {
    () => {
        fn evict_before(
            &mut self,
            elements: &mut WindowElements<T>,
            _: &W,
            _: &EvictorContext,
        ) -> Result<()> {
            if !self.after {
                self.evict(elements);
            }
            Ok(())
        }
        fn evict_after(
            &mut self,
            elements: &mut WindowElements<T>,
            _: &W,
            _: &EvictorContext,
        ) -> Result<()> {
            if self.after {
                self.evict(elements);
            }
            Ok(())
        }
    };
}
pub(super) use evicts_by_rule;
