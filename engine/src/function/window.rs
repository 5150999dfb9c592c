//! Functions of windows.

use crate::Result;
use crate::function::{Collector, OutputTag, RuntimeContext};
use crate::operator::keyed_services::KeyedServices;
use crate::window::Window;
use thalweg_state::{Key, RowCursor};

/// Sees a window with its key when it fires: all its elements, or, after an incremental function, that function's result
/// as the only element.
///
/// State of the key is made in [`open`](Self::open) as everywhere, state of a window by
/// [`RuntimeContext::window_state`]; they are used with [`WindowContext::global_state`] and
/// [`WindowContext::window_state`]. State of a window that [`clear`](Self::clear) does not clear stays for good.
///
/// Cost of `process` over all elements: the window keeps a copy of each.
///
/// # Examples
/// The number of a window's firings, kept for each window, beside the median of its elements:
/// ```
/// use thalweg::prelude::*;
///
/// #[derive(Clone, Default)]
/// struct Median { firings: ValueState<u32> }
///
/// impl ProcessWindowFunction for Median {
///     type Key = u8;
///     type In = i64;
///     type Out = (i64, u32);
///     type Window = TimeWindow;
///     fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
///         self.firings = context.window_state()?.value_state(ValueStateDescriptor::new("firings"))?;
///         Ok(())
///     }
///     fn process(
///         &mut self,
///         _: &u8,
///         context: &mut WindowContext<'_, TimeWindow>,
///         elements: &[i64],
///         out: &mut Collector<'_, (i64, u32)>,
///     ) -> thalweg::Result<()> {
///         let firings = self.firings.modify(&mut context.window_state(), |n| {
///             *n += 1;
///             *n
///         })?;
///         let mut sorted = elements.to_vec();
///         sorted.sort();
///         out.collect((sorted[sorted.len() / 2], firings));
///         Ok(())
///     }
///     fn clear(&mut self, context: &mut WindowContext<'_, TimeWindow>) -> thalweg::Result<()> {
///         Ok(self.firings.clear(&mut context.window_state())?)
///     }
/// }
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let medians = env
///     .from_elements([3, 1, 2, 14])
///     .assign_timestamps_and_watermarks(WatermarkStrategy::none().with_timestamp(|t: &i64| *t))
///     .key_by(|_| 0u8)
///     .window(TumblingEventTimeWindows::of(milliseconds(10)))
///     .process(Median::default())
///     .collect();
/// env.execute("medians")?;
/// assert_eq!(medians.take(), [(2, 1), (14, 1)]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` is not a ProcessWindowFunction")]
pub trait ProcessWindowFunction: 'static {
    /// The stream's key.
    type Key: Key;
    /// The elements of the window, or what the incremental function before this one gives.
    type In: 'static;
    /// Records given.
    type Out: 'static;
    /// The windows: those of the assigner.
    type Window: Window;
    /// Called once on the function's core, before the first record: makes state.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(())
    }
    /// Called when a key's window fires, with its elements in order of arrival; what is emitted carries the window's
    /// last instant.
    ///
    /// # Errors
    /// Any error fails the job.
    fn process(
        &mut self,
        key: &Self::Key,
        context: &mut WindowContext<'_, Self::Window>,
        elements: &[Self::In],
        out: &mut Collector<'_, Self::Out>,
    ) -> Result<()>;
    /// Called when a window is given up: clears its state.
    ///
    /// # Errors
    /// Any error fails the job.
    fn clear(&mut self, _context: &mut WindowContext<'_, Self::Window>) -> Result<()> {
        Ok(())
    }
    /// Called once, after the last record.
    ///
    /// # Errors
    /// Any error fails the job.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// [`ProcessWindowFunction`] for windows over a whole stream, without keys.
///
/// Cost: as there; everything goes through one subtask.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// #[derive(Clone)]
/// struct Median;
///
/// impl ProcessAllWindowFunction for Median {
///     type In = i64;
///     type Out = (i64, i64);
///     type Window = TimeWindow;
///     fn process(
///         &mut self,
///         context: &mut WindowContext<'_, TimeWindow>,
///         elements: &[i64],
///         out: &mut Collector<'_, (i64, i64)>,
///     ) -> thalweg::Result {
///         let mut sorted = elements.to_vec();
///         sorted.sort();
///         out.collect((context.window().start(), sorted[sorted.len() / 2]));
///         Ok(())
///     }
/// }
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let medians = env
///     .from_elements([3_i64, 1, 2, 14])
///     .assign_timestamps_and_watermarks(WatermarkStrategy::none().with_timestamp(|t: &i64| *t))
///     .window_all(TumblingEventTimeWindows::of(milliseconds(10)))
///     .process(Median)
///     .collect();
/// env.execute("medians")?;
/// assert_eq!(medians.take(), [(0, 2), (10, 14)]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` is not a ProcessAllWindowFunction")]
pub trait ProcessAllWindowFunction: 'static {
    /// The elements of the window, or what the incremental function before this one gives.
    type In: 'static;
    /// Records given.
    type Out: 'static;
    /// The windows: those of the assigner.
    type Window: Window;
    /// Called once on the function's core, before the first record: makes state.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(())
    }
    /// Called when a window fires, with its elements in order of arrival; what is emitted carries the window's last
    /// instant.
    ///
    /// # Errors
    /// Any error fails the job.
    fn process(
        &mut self,
        context: &mut WindowContext<'_, Self::Window>,
        elements: &[Self::In],
        out: &mut Collector<'_, Self::Out>,
    ) -> Result<()>;
    /// Called when a window is given up: clears its state.
    ///
    /// # Errors
    /// Any error fails the job.
    fn clear(&mut self, _context: &mut WindowContext<'_, Self::Window>) -> Result<()> {
        Ok(())
    }
    /// Called once, after the last record.
    ///
    /// # Errors
    /// Any error fails the job.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What a window function may know and do besides emitting.
pub struct WindowContext<'a, W> {
    pub(crate) window: W,
    /// Detached where windows merge.
    pub(crate) window_row: RowCursor<'a>,
    /// Detached where the function has no state of the key.
    pub(crate) key_row: RowCursor<'a>,
    pub(crate) services: &'a mut KeyedServices,
}

impl<W: Window> WindowContext<'_, W> {
    /// The window that fires, or is given up.
    pub fn window(&self) -> W {
        self.window
    }
    /// Event time: the last watermark, `i64::MIN` before the first.
    pub fn current_watermark(&self) -> i64 {
        self.services.watermark
    }
    /// Wall clock in milliseconds, as of this batch.
    pub fn current_processing_time(&self) -> i64 {
        self.services.now_ms()
    }
    /// The place of the state of this key and window, as the context of its handles.
    pub fn window_state(&mut self) -> RowCursor<'_> {
        self.window_row.reborrow()
    }
    /// The place of the state of this key, shared by all its windows, as the context of its handles.
    pub fn global_state(&mut self) -> RowCursor<'_> {
        self.key_row.reborrow()
    }
    /// Emits to a side output, with the window's last instant as the timestamp.
    pub fn output<T: 'static>(&mut self, tag: &OutputTag<T>, record: T) {
        self.services.sides.output(tag, record, self.window.max_timestamp());
    }
}
