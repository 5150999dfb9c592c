//! [`WindowedStream`]: a keyed stream cut into windows.

use crate::Result;
use crate::api::chain::{Chain, HeadFactory};
use crate::api::keyed::{KeyedStream, boxed_head};
use crate::api::operators::{Cloned, MakeFunction};
use crate::api::plan_builder::Mistake;
use crate::api::stream::DataStream;
use crate::function::{
    AggregateFunction, Collector, KeySelector, OutputTag, ProcessWindowFunction, RuntimeContext,
    UserFunction, WindowContext,
};
use crate::graph::NodeId;
use crate::operator::build::BuildContext;
use crate::operator::opened::Opened;
use crate::operator::window::pane::PaneWindows;
use crate::operator::window::sliced::SlicedWindows;
use crate::operator::window::{EmitWindow, WindowCore, WindowSettings};
use crate::operator::{Consume, Push};
use crate::time::duration_ms;
use crate::window::{AlignedWindows, TimeWindow, WindowAssigner};
use std::marker::PhantomData;
use std::panic::Location;
use std::time::Duration;
use thalweg_state::Key;

/// A keyed stream cut into event-time windows.
///
/// Cost per key and open window (or slice, for overlapping windows of sliceable aggregates): the key, the accumulator
/// and one byte or so. Late records are counted (`late_records_dropped`) and go to the late side output if there is one.
#[must_use = "a windowed stream needs an aggregate"]
pub struct WindowedStream<T, S> {
    keyed: KeyedStream<T, S>,
    windows: AlignedWindows,
    lateness_ms: i64,
    late: Option<OutputTag<T>>,
    evaluation: Evaluation,
}

/// How overlapping windows are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Evaluation {
    /// In slices where the aggregate allows it, one by one elsewhere.
    #[default]
    Automatic,
    /// One by one.
    PerPane,
}

impl<T: Send + 'static, S: KeySelector<T>> KeyedStream<T, S> {
    /// Cuts the stream into windows of event time.
    #[track_caller]
    pub fn window<W: WindowAssigner>(self, assigner: W) -> WindowedStream<T, S> {
        let windows = assigner.windows();
        if let Err(error) = windows.validate() {
            let location = Location::caller();
            let mistake = Mistake { node: None, message: error.to_string(), location };
            self.plan.with(|plan| plan.mistakes.push(mistake));
        }
        let evaluation = Evaluation::default();
        WindowedStream { keyed: self, windows, lateness_ms: 0, late: None, evaluation }
    }
}

impl<T: Send + 'static, S: KeySelector<T>> WindowedStream<T, S> {
    /// How long after its end a window still takes late records, each of which fires it again for its key. Default 0.
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.lateness_ms = duration_ms(lateness);
        self
    }

    /// Sends records that come too late to `tag`, to be read by `side_output(&tag)` on the result. Without it they are dropped
    /// and counted.
    pub fn side_output_late_data(mut self, tag: &OutputTag<T>) -> Self {
        self.late = Some(tag.clone());
        self
    }

    /// How overlapping windows are kept: for measurements and tests; the answers are the same.
    pub fn evaluation(mut self, evaluation: Evaluation) -> Self {
        self.evaluation = evaluation;
        self
    }

    /// Folds each key's window by `aggregate` and emits its result.
    #[track_caller]
    pub fn aggregate<A>(self, aggregate: A) -> DataStream<A::Result, impl Chain<A::Result>>
    where
        A: AggregateFunction<T, Result: Send + 'static>,
    {
        self.end(aggregate, Cloned(ResultAlone), Location::caller())
    }

    /// Folds each key's window by `aggregate` and gives the result to `function`, with key and window.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let counts = env
    ///     .from_elements([("a".to_string(), 100), ("b".to_string(), 200), ("a".to_string(), 1_100)])
    ///     .assign_timestamps_and_watermarks(
    ///         WatermarkStrategy::monotonous().with_timestamp(|e: &(String, i64)| e.1),
    ///     )
    ///     .key_by(|e| e.0.clone())
    ///     .window(TumblingEventTimeWindows::of(seconds(1)))
    ///     .aggregate_with(Count, |key, window, count, out| {
    ///         out.collect((key.clone(), window.end(), count));
    ///     })
    ///     .collect();
    /// env.execute("count per second")?;
    /// let mut counts = counts.take();
    /// counts.sort();
    /// assert_eq!(counts, [("a".into(), 1000, 1), ("a".into(), 2000, 1), ("b".into(), 1000, 1)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn aggregate_with<A, U, F>(self, aggregate: A, function: F) -> DataStream<U, impl Chain<U>>
    where
        A: AggregateFunction<T, Result: 'static>,
        U: Send + 'static,
        F: FnMut(&S::Key, TimeWindow, A::Result, &mut Collector<'_, U>) + UserFunction,
    {
        let emit = Cloned(WithClosure { function, types: PhantomData::<fn() -> U> });
        self.end(aggregate, emit, Location::caller())
    }

    /// Folds each key's window by `aggregate` and gives the result to a rich function, with key and window.
    #[track_caller]
    pub fn aggregate_process<A, P>(
        self,
        aggregate: A,
        function: P,
    ) -> DataStream<P::Out, impl Chain<P::Out>>
    where
        A: AggregateFunction<T, Result: 'static>,
        P: ProcessWindowFunction<Key = S::Key, In = A::Result, Out: Send + 'static> + UserFunction,
    {
        self.end(aggregate, Cloned(WithFunction(function)), Location::caller())
    }

    fn end<A, U, M>(
        self,
        aggregate: A,
        emit: M,
        location: &'static Location<'static>,
    ) -> DataStream<U, impl Chain<U>>
    where
        A: AggregateFunction<T>,
        U: Send + 'static,
        M: MakeFunction<Function: OpenEmit<S::Key, A::Result, Out = U>>,
    {
        let WindowedStream { keyed, windows, lateness_ms, late, evaluation } = self;
        let sliced = evaluation == Evaluation::Automatic && A::SLICEABLE && windows.overlap();
        let plan = keyed.plan.clone();
        let stream = keyed.head("window", location, |node, selector| WindowFactory {
            settings: (selector, aggregate, windows, lateness_ms, late),
            emit,
            node,
            sliced,
        });
        plan.with(|plan| plan.allow_side_outputs(stream.operator));
        stream
    }
}

type EmitOut<M, K, R> = <<M as MakeFunction>::Function as EmitWindow<K, R>>::Out;

/// An [`EmitWindow`] with the life of a rich function.
pub(crate) trait OpenEmit<K, R>: EmitWindow<K, R> {
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(())
    }
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

#[derive(Clone)]
struct ResultAlone;
impl<K: 'static, R: 'static> EmitWindow<K, R> for ResultAlone {
    type Out = R;
    #[inline(always)]
    fn emit(
        &mut self,
        _: &K,
        _: TimeWindow,
        result: R,
        _: i64,
        out: &mut Collector<'_, R>,
    ) -> Result<()> {
        out.collect(result);
        Ok(())
    }
}
impl<K: 'static, R: 'static> OpenEmit<K, R> for ResultAlone {}

struct WithClosure<F, U> {
    function: F,
    types: PhantomData<fn() -> U>,
}
impl<F: Clone, U> Clone for WithClosure<F, U> {
    fn clone(&self) -> Self {
        WithClosure { function: self.function.clone(), types: PhantomData }
    }
}
impl<K, R, U: 'static, F> EmitWindow<K, R> for WithClosure<F, U>
where
    F: FnMut(&K, TimeWindow, R, &mut Collector<'_, U>) + 'static,
{
    type Out = U;
    #[inline(always)]
    fn emit(
        &mut self,
        key: &K,
        window: TimeWindow,
        result: R,
        _: i64,
        out: &mut Collector<'_, U>,
    ) -> Result<()> {
        (self.function)(key, window, result, out);
        Ok(())
    }
}
impl<K, R, U: 'static, F> OpenEmit<K, R> for WithClosure<F, U> where
    F: FnMut(&K, TimeWindow, R, &mut Collector<'_, U>) + 'static
{
}

#[derive(Clone)]
struct WithFunction<P>(P);
impl<P: ProcessWindowFunction> EmitWindow<P::Key, P::In> for WithFunction<P> {
    type Out = P::Out;
    fn emit(
        &mut self,
        key: &P::Key,
        window: TimeWindow,
        result: P::In,
        current_watermark: i64,
        out: &mut Collector<'_, P::Out>,
    ) -> Result<()> {
        self.0.process(key, &WindowContext { window, current_watermark }, result, out)
    }
}
impl<P: ProcessWindowFunction> OpenEmit<P::Key, P::In> for WithFunction<P> {
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        self.0.open(context)
    }
    fn close(&mut self) -> Result<()> {
        self.0.close()
    }
}

/// A window operator before it reaches its core.
struct WindowFactory<T, S, A, M> {
    settings: (S, A, AlignedWindows, i64, Option<OutputTag<T>>),
    emit: M,
    node: NodeId,
    sliced: bool,
}
impl<T, S: Clone, A: Clone, M: Clone> Clone for WindowFactory<T, S, A, M> {
    fn clone(&self) -> Self {
        let settings = self.settings.clone();
        WindowFactory { settings, emit: self.emit.clone(), node: self.node, sliced: self.sliced }
    }
}

impl<T, S, A, M> HeadFactory<T> for WindowFactory<T, S, A, M>
where
    T: Send + 'static,
    S: KeySelector<T, Key: Key>,
    A: AggregateFunction<T>,
    M: MakeFunction<Function: OpenEmit<S::Key, A::Result, Out: Send + 'static>>,
{
    type Out = EmitOut<M, S::Key, A::Result>;

    fn build<D: Push<Self::Out>>(
        self,
        context: &mut BuildContext,
        next: D,
    ) -> Result<Box<dyn Consume<T>>> {
        let (selector, aggregate, windows, lateness_ms, late) = self.settings;
        let (emit, stage) = (self.emit.make(), context.stage.clone());
        let open = |emit: &mut M::Function, context: &mut RuntimeContext<'_>| emit.open(context);
        let emit = Opened::open(emit, &stage, self.node, open, |emit| emit.close())?;
        let node = self.node;
        let settings = WindowSettings { selector, aggregate, windows, lateness_ms, late, node };
        let core = WindowCore::open(settings, emit, context)?;
        Ok(match self.sliced {
            true => boxed_head(SlicedWindows::new(core), next, context),
            false => boxed_head(PaneWindows::new(core), next, context),
        })
    }
}
