//! [`AllWindowedStream`]: a whole stream cut into windows, without keys.

use super::aggregates::Reducing;
use super::choice::{ChooseEvictor, ChooseTrigger};
use super::{ByDefault, Chosen, Evaluation, EvictedBy, NoEvictor, WindowedStream};
use crate::Result;
use crate::api::chain::Chain;
use crate::api::stream::DataStream;
use crate::function::{
    AggregateFunction, Collector, KeySelector, OutputTag, ProcessAllWindowFunction,
    ProcessWindowFunction, RuntimeContext, UserFunction, WindowContext,
};
use crate::operator::window::body::{Elements, Incremental};
use crate::operator::window::emit::{
    Existing, ResultAlone, WithFunction, WithFunctionIfAny, WithoutKey,
};
use crate::record::Record;
use crate::state::StateValue;
use crate::window::{
    CountEvictor, CountTrigger, Evictor, GlobalWindows, PurgingTrigger, Trigger, WindowAssigner,
};
use std::marker::PhantomData;
use std::panic::Location;
use std::time::Duration;

/// The same key for all records.
#[derive(Clone)]
pub(crate) struct NoKey;

impl<T> KeySelector<T> for NoKey {
    type Key = ();
    #[inline(always)]
    fn with_key<R>(&mut self, _: &T, code: impl FnOnce(&()) -> R) -> R {
        code(&())
    }
}

/// A whole stream cut into windows, without keys.
///
/// All records go to one subtask, so this does not scale: reduce what goes in, by an aggregate for each key before, say.
/// Everything else is as with [`WindowedStream`].
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let totals = env
///     .from_elements([(1, 10i64), (4, 20), (12, 5)])
///     .assign_timestamps_and_watermarks(
///         WatermarkStrategy::monotonous().with_timestamp(|sale: &(i64, i64)| sale.0),
///     )
///     .window_all(TumblingEventTimeWindows::of(milliseconds(10)))
///     .aggregate_with(Count, |window, count, out| out.collect((window.start(), count)))
///     .collect();
/// env.execute("sales")?;
/// assert_eq!(totals.take(), [(0, 2), (10, 1)]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[must_use = "a windowed stream needs a function"]
pub struct AllWindowedStream<T, A, R = ByDefault, V = NoEvictor>(WindowedStream<T, NoKey, A, R, V>);

impl<T: Record, C: Chain<T>> DataStream<T, C> {
    /// Cuts the whole stream into windows, without keys; everything goes through one subtask.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let sums = env
    ///     .from_elements([1_i64, 2, 12])
    ///     .assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamp(|t: &i64| *t))
    ///     .window_all(TumblingEventTimeWindows::of(milliseconds(10)))
    ///     .reduce(|a, b| a + b)
    ///     .collect();
    /// env.execute("sums")?;
    /// assert_eq!(sums.take(), [3, 12]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn window_all<A: WindowAssigner<T>>(self, assigner: A) -> AllWindowedStream<T, A> {
        AllWindowedStream(self.key_by_selector(NoKey).window(assigner))
    }

    /// Cuts the whole stream into windows of `n` elements. What is left at the end of the input gives nothing.
    ///
    /// 0 elements are refused when the job starts. Everything goes through one subtask. Cost: one accumulator and 8 bytes.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let sums = env.from_elements([1, 2, 3, 4, 5]).count_window_all(2).reduce(|a, b| a + b).collect();
    /// env.execute("sums of two")?;
    /// assert_eq!(sums.take(), [3, 7]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn count_window_all(
        self,
        n: u64,
    ) -> AllWindowedStream<T, GlobalWindows, Chosen<PurgingTrigger<CountTrigger>>> {
        AllWindowedStream(self.key_by_selector(NoKey).count_window(n))
    }

    /// Gives every `slide` elements of the stream a window of its last `n`.
    ///
    /// 0 elements are refused when the job starts. Everything goes through one subtask. Cost: the last `n` elements are kept, and
    /// those since the last firing.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let sums =
    ///     env.from_elements([1, 2, 3, 4, 5]).count_window_all_sliding(3, 2).reduce(|a, b| a + b).collect();
    /// env.execute("the last three, every two")?;
    /// assert_eq!(sums.take(), [3, 9]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn count_window_all_sliding(
        self,
        n: u64,
        slide: u64,
    ) -> AllWindowedStream<T, GlobalWindows, Chosen<CountTrigger>, EvictedBy<CountEvictor>>
    where
        T: StateValue + Clone,
    {
        AllWindowedStream(self.key_by_selector(NoKey).count_window_sliding(n, slide))
    }
}

/// Leaves one subtask to an operator, for good.
fn alone<U: Send + 'static>(stream: DataStream<U, impl Chain<U>>) -> DataStream<U> {
    stream.set_max_parallelism(1).set_parallelism(1)
}

impl<T, A, R, V> AllWindowedStream<T, A, R, V>
where
    T: Send + 'static,
    A: WindowAssigner<T>,
    R: ChooseTrigger<T, A>,
    V: ChooseEvictor<T, A::Window>,
{
    /// As [`WindowedStream::trigger`].
    #[track_caller]
    pub fn trigger<X>(self, trigger: X) -> AllWindowedStream<T, A, Chosen<X>, V>
    where
        X: Trigger<T, A::Window> + UserFunction,
    {
        AllWindowedStream(self.0.trigger(trigger))
    }

    /// As [`WindowedStream::evictor`].
    #[track_caller]
    pub fn evictor<X>(self, evictor: X) -> AllWindowedStream<T, A, R, EvictedBy<X>>
    where
        T: StateValue + Clone,
        X: Evictor<T, A::Window> + UserFunction,
    {
        AllWindowedStream(self.0.evictor(evictor))
    }

    /// As [`WindowedStream::allowed_lateness`].
    pub fn allowed_lateness(self, lateness: Duration) -> Self {
        AllWindowedStream(self.0.allowed_lateness(lateness))
    }

    /// As [`WindowedStream::allowed_lateness_ms`].
    #[track_caller]
    pub fn allowed_lateness_ms(self, lateness_ms: i64) -> Self {
        AllWindowedStream(self.0.allowed_lateness_ms(lateness_ms))
    }

    /// As [`WindowedStream::side_output_late_data`].
    pub fn side_output_late_data(self, tag: &OutputTag<T>) -> Self {
        AllWindowedStream(self.0.side_output_late_data(tag))
    }

    /// As [`WindowedStream::evaluation`].
    pub fn evaluation(self, evaluation: Evaluation) -> Self {
        AllWindowedStream(self.0.evaluation(evaluation))
    }

    /// Folds each window by `aggregate` and emits its result.
    ///
    /// Costs and limits are those of [`WindowedStream::aggregate`], with one key for all.
    #[track_caller]
    pub fn aggregate<G>(self, aggregate: G) -> DataStream<G::Result>
    where
        G: AggregateFunction<T, Result: Send + 'static>,
    {
        alone(self.0.end_incremental(aggregate, ResultAlone, Location::caller()))
    }

    /// Folds each window by `aggregate` and gives the result to `function`, with the window.
    ///
    /// The type has an example. Costs and limits are those of [`WindowedStream::aggregate_with`], with one key for all.
    #[track_caller]
    pub fn aggregate_with<G, U, F>(self, aggregate: G, function: F) -> DataStream<U>
    where
        G: AggregateFunction<T, Result: 'static>,
        U: Send + 'static,
        F: FnMut(A::Window, G::Result, &mut Collector<'_, U>) + UserFunction,
    {
        let emit = WithoutKey { function, types: PhantomData::<fn() -> U> };
        alone(self.0.end_incremental(aggregate, emit, Location::caller()))
    }

    /// Folds each window by `aggregate` and gives the result to a rich function, with window and state.
    ///
    /// Costs and limits are those of [`WindowedStream::aggregate_process`], with one key for all.
    #[track_caller]
    pub fn aggregate_process<G, P>(self, aggregate: G, function: P) -> DataStream<P::Out>
    where
        G: AggregateFunction<T, Result: 'static>,
        P: ProcessAllWindowFunction<In = G::Result, Out: Send + 'static, Window = A::Window>
            + UserFunction,
    {
        let emit = WithFunction(ForAll(function));
        alone(self.0.end_general(Incremental { aggregate, emit }, Location::caller()))
    }

    /// Combines the elements of each window, two into one, and emits the last. With one element `function` is not called.
    ///
    /// Costs and limits are those of [`WindowedStream::reduce`], with one key for all.
    #[track_caller]
    pub fn reduce<F>(self, function: F) -> DataStream<T>
    where
        T: StateValue + Clone,
        F: Fn(T, T) -> T + UserFunction,
    {
        let emit = Existing(ResultAlone);
        alone(self.0.end_incremental(Reducing(function), emit, Location::caller()))
    }

    /// Combines the elements of each window and gives the last to a rich function, with window and state.
    ///
    /// Costs and limits are those of [`WindowedStream::reduce_process`], with one key for all.
    #[track_caller]
    pub fn reduce_process<F, P>(self, reduce: F, function: P) -> DataStream<P::Out>
    where
        T: StateValue + Clone,
        F: Fn(T, T) -> T + UserFunction,
        P: ProcessAllWindowFunction<In = T, Out: Send + 'static, Window = A::Window> + UserFunction,
    {
        let emit = WithFunctionIfAny(WithFunction(ForAll(function)));
        let body = Incremental { aggregate: Reducing(reduce), emit };
        alone(self.0.end_general(body, Location::caller()))
    }

    /// Gives all elements of each window to a rich function. See [`ProcessAllWindowFunction`].
    ///
    /// Function and example: [`ProcessAllWindowFunction`]. Costs and limits are those of [`WindowedStream::process`], with one key for all.
    #[track_caller]
    pub fn process<P>(self, function: P) -> DataStream<P::Out>
    where
        T: StateValue + Clone,
        P: ProcessAllWindowFunction<In = T, Out: Send + 'static, Window = A::Window> + UserFunction,
    {
        alone(self.0.end_general(Elements(ForAll(function)), Location::caller()))
    }
}

/// A function without key as one whose key is nothing.
#[derive(Clone)]
struct ForAll<P>(P);

impl<P: ProcessAllWindowFunction> ProcessWindowFunction for ForAll<P> {
    type Key = ();
    type In = P::In;
    type Out = P::Out;
    type Window = P::Window;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        self.0.open(context)
    }
    fn process(
        &mut self,
        _: &(),
        context: &mut WindowContext<'_, P::Window>,
        elements: &[P::In],
        out: &mut Collector<'_, P::Out>,
    ) -> Result<()> {
        self.0.process(context, elements, out)
    }
    fn clear(&mut self, context: &mut WindowContext<'_, P::Window>) -> Result<()> {
        self.0.clear(context)
    }
    fn close(&mut self) -> Result<()> {
        self.0.close()
    }
}
