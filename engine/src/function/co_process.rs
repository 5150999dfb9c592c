//! [`CoProcessFunction`]: two streams without keys in one function.

use crate::Result;
use crate::function::{Collector, ProcessContext, RuntimeContext, checkpoint_hooks};

/// Sees the records of two streams with their time, and emits any number of records to its output and to side outputs.
///
/// For streams that are connected without a key. Which records of the two streams meet in one subtask is decided by how
/// they were partitioned: connect a side that was [`broadcast`](crate::api::DataStream::broadcast), or two sides that were
/// [`partitioned`](crate::api::KeyedStream::partitioned) by a key, if that matters. Records of one side come in their order;
/// between the sides there is none. The watermark is the smaller one of the two sides.
///
/// **Limits.** No keyed state and no timers, since there is no key: they are refused with an error that says so. Connect two
/// keyed streams and use a [`KeyedCoProcessFunction`](crate::function::KeyedCoProcessFunction) for these. What is kept in the
/// function's own fields is not part of a checkpoint.
///
/// **Costs** nothing beyond the two exchanges in front of it.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// /// Passes numbers and counts the words that come beside them.
/// #[derive(Clone, Default)]
/// struct Numbers { words: usize, beside: Option<OutputTag<String>> }
///
/// impl CoProcessFunction for Numbers {
///     type In1 = i64;
///     type In2 = String;
///     type Out = i64;
///     fn process_element1(
///         &mut self,
///         number: i64,
///         _: &mut ProcessContext<'_>,
///         out: &mut Collector<'_, i64>,
///     ) -> thalweg::Result<()> {
///         out.collect(number);
///         Ok(())
///     }
///     fn process_element2(
///         &mut self,
///         word: String,
///         context: &mut ProcessContext<'_>,
///         _: &mut Collector<'_, i64>,
///     ) -> thalweg::Result<()> {
///         self.words += 1;
///         if let Some(tag) = &self.beside {
///             context.output(tag, format!("word {}: {word}", self.words));
///         }
///         Ok(())
///     }
/// }
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let words = OutputTag::new("words");
/// let numbers = env
///     .from_elements([1, 2])
///     .connect(env.from_elements(["three".to_string()]))
///     .process(Numbers { beside: Some(words.clone()), ..Numbers::default() });
/// let words = numbers.side_output(&words).collect();
/// let numbers = numbers.collect();
/// env.execute("two streams")?;
/// assert_eq!(numbers.take(), [1, 2]);
/// assert_eq!(words.take(), ["word 1: three"]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a CoProcessFunction",
    note = "a KeyedCoProcessFunction needs two keyed streams: call key_by on both sides before connect"
)]
pub trait CoProcessFunction: 'static {
    /// Records of the first stream.
    type In1: 'static;
    /// Records of the second stream.
    type In2: 'static;
    /// Records given.
    type Out: 'static;
    /// Called once on the function's core, before the first record.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(())
    }
    /// Called for each record of the first stream.
    ///
    /// # Errors
    /// Any error fails the job.
    fn process_element1(
        &mut self,
        record: Self::In1,
        context: &mut ProcessContext<'_>,
        out: &mut Collector<'_, Self::Out>,
    ) -> Result<()>;
    /// Called for each record of the second stream.
    ///
    /// # Errors
    /// Any error fails the job.
    fn process_element2(
        &mut self,
        record: Self::In2,
        context: &mut ProcessContext<'_>,
        out: &mut Collector<'_, Self::Out>,
    ) -> Result<()>;
    /// Called once, after the last record.
    ///
    /// # Errors
    /// Any error fails the job.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
    checkpoint_hooks!();
}
