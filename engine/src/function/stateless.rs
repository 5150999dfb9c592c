//! Functions without state of the engine's: map, filter, flat map.

use crate::Result;
use crate::function::{Collector, RuntimeContext, checkpoint_hooks};

/// One record in, one record out.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// #[derive(Clone)]
/// struct Celsius;
/// impl MapFunction for Celsius {
///     type In = f64;
///     type Out = f64;
///     fn map(&mut self, fahrenheit: f64) -> thalweg::Result<f64> {
///         Ok((fahrenheit - 32.0) / 1.8)
///     }
/// }
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let celsius = env.from_elements([32.0, 212.0]).map_with(Celsius).collect();
/// env.execute("celsius")?;
/// assert_eq!(celsius.take(), [0.0, 100.0]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` is not a MapFunction")]
pub trait MapFunction: 'static {
    /// Records taken.
    type In;
    /// Records given.
    type Out;
    /// Called once on the function's core, before the first record.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(())
    }
    /// Maps one record.
    ///
    /// # Errors
    /// Any error fails the job.
    fn map(&mut self, record: Self::In) -> Result<Self::Out>;
    /// Called once, after the last record.
    ///
    /// # Errors
    /// Any error fails the job.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
    checkpoint_hooks!();
}

/// Keeps the records it says `true` to.
///
/// Each subtask has one of its own. Costs what the call costs.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// /// Drops what is equal to the record before.
/// #[derive(Clone)]
/// struct Changes(i32);
///
/// impl FilterFunction for Changes {
///     type In = i32;
///     fn filter(&mut self, record: &i32) -> thalweg::Result<bool> {
///         Ok(std::mem::replace(&mut self.0, *record) != *record)
///     }
/// }
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let changed = env.from_elements([1, 1, 2, 1]).filter_with(Changes(0)).collect();
/// env.execute("changes")?;
/// assert_eq!(changed.take(), [1, 2, 1]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` is not a FilterFunction")]
pub trait FilterFunction: 'static {
    /// Records looked at.
    type In;
    /// Called once on the function's core, before the first record.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(())
    }
    /// Keeps the record?
    ///
    /// # Errors
    /// Any error fails the job.
    fn filter(&mut self, record: &Self::In) -> Result<bool>;
    /// Called once, after the last record.
    ///
    /// # Errors
    /// Any error fails the job.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
    checkpoint_hooks!();
}

/// One record in, any number out.
///
/// What one call emits may outgrow the edge's credit and is then kept in memory; `flat_map` with a closure that returns
/// an iterator has no such limit, since the engine pulls from it as there is room.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// #[derive(Clone)]
/// struct Words;
///
/// impl FlatMapFunction for Words {
///     type In = String;
///     type Out = String;
///     fn flat_map(&mut self, line: String, out: &mut Collector<'_, String>) -> thalweg::Result {
///         line.split(' ').for_each(|word| out.collect(word.to_string()));
///         Ok(())
///     }
/// }
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let words = env.from_elements(["to be".to_string()]).flat_map_with(Words).collect();
/// env.execute("words")?;
/// assert_eq!(words.take(), ["to", "be"]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` is not a FlatMapFunction")]
pub trait FlatMapFunction: 'static {
    /// Records taken.
    type In;
    /// Records given.
    type Out;
    /// Called once on the function's core, before the first record.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(())
    }
    /// Emits what follows from one record.
    ///
    /// # Errors
    /// Any error fails the job.
    fn flat_map(&mut self, record: Self::In, out: &mut Collector<'_, Self::Out>) -> Result<()>;
    /// Called once, after the last record.
    ///
    /// # Errors
    /// Any error fails the job.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
    checkpoint_hooks!();
}
