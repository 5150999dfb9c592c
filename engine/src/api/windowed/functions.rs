//! What windows of a keyed stream can end in: aggregates, reductions and functions over all elements.

use super::WindowedStream;
use super::aggregates::Reducing;
use super::choice::{ChooseEvictor, ChooseTrigger};
use crate::api::chain::Chain;
use crate::api::stream::DataStream;
use crate::function::{
    AggregateFunction, Collector, KeySelector, ProcessWindowFunction, UserFunction,
};
use crate::operator::window::body::{Elements, Incremental};
use crate::operator::window::emit::{
    Existing, ResultAlone, WithClosure, WithFunction, WithFunctionIfAny,
};
use crate::state::StateValue;
use crate::window::WindowAssigner;
use std::marker::PhantomData;
use std::panic::Location;

impl<T, S, A, R, V> WindowedStream<T, S, A, R, V>
where
    T: Send + 'static,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    R: ChooseTrigger<T, A>,
    V: ChooseEvictor<T, A::Window>,
{
    /// Folds each key's window by `aggregate` and emits its result.
    ///
    /// Aggregates of your own implement [`AggregateFunction`]. Cost: an accumulator for each key and window; elements are not kept.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let counts = env
    ///     .from_elements([1_i64, 2, 12])
    ///     .assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamp(|t: &i64| *t))
    ///     .key_by(|_| 0_u8)
    ///     .window(TumblingEventTimeWindows::of(milliseconds(10)))
    ///     .aggregate(Count)
    ///     .collect();
    /// env.execute("counts")?;
    /// assert_eq!(counts.take(), [2, 1]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn aggregate<G>(self, aggregate: G) -> DataStream<G::Result, impl Chain<G::Result>>
    where
        G: AggregateFunction<T, Result: Send + 'static>,
    {
        self.end_incremental(aggregate, ResultAlone, Location::caller())
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
    pub fn aggregate_with<G, U, F>(self, aggregate: G, function: F) -> DataStream<U, impl Chain<U>>
    where
        G: AggregateFunction<T, Result: 'static>,
        U: Send + 'static,
        F: FnMut(&S::Key, A::Window, G::Result, &mut Collector<'_, U>) + UserFunction,
    {
        let emit = WithClosure { function, types: PhantomData::<fn() -> U> };
        self.end_incremental(aggregate, emit, Location::caller())
    }

    /// Folds each key's window by `aggregate` and gives the result to a rich function, with key, window and state.
    ///
    /// `function` sees the result as the only element. Cost: an entry of the general operator for each key and window, with the
    /// accumulator and the function's state, and its timers. Where state is not needed [`aggregate_with`](Self::aggregate_with) is
    /// cheaper.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// #[derive(Clone)]
    /// struct WithEnd;
    ///
    /// impl ProcessWindowFunction for WithEnd {
    ///     type Key = u8;
    ///     type In = u64;
    ///     type Out = (i64, u64);
    ///     type Window = TimeWindow;
    ///     fn process(
    ///         &mut self,
    ///         _: &u8,
    ///         context: &mut WindowContext<'_, TimeWindow>,
    ///         count: &[u64],
    ///         out: &mut Collector<'_, (i64, u64)>,
    ///     ) -> thalweg::Result {
    ///         out.collect((context.window().end(), count[0]));
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let counts = env
    ///     .from_elements([1_i64, 2, 12])
    ///     .assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamp(|t: &i64| *t))
    ///     .key_by(|_| 0_u8)
    ///     .window(TumblingEventTimeWindows::of(milliseconds(10)))
    ///     .aggregate_process(Count, WithEnd)
    ///     .collect();
    /// env.execute("counts")?;
    /// assert_eq!(counts.take(), [(10, 2), (20, 1)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn aggregate_process<G, P>(
        self,
        aggregate: G,
        function: P,
    ) -> DataStream<P::Out, impl Chain<P::Out>>
    where
        G: AggregateFunction<T, Result: 'static>,
        P: ProcessWindowFunction<
                Key = S::Key,
                In = G::Result,
                Out: Send + 'static,
                Window = A::Window,
            > + UserFunction,
    {
        let body = Incremental { aggregate, emit: WithFunction(function) };
        self.end_general(body, Location::caller())
    }

    /// Combines the elements of each key's window, two into one, and emits the last. With one element `function` is not
    /// called.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let longest = env
    ///     .from_elements(["a", "abc", "ab"].map(String::from))
    ///     .key_by(|_| 0u8)
    ///     .count_window(3)
    ///     .reduce(|a, b| if a.len() >= b.len() { a } else { b })
    ///     .collect();
    /// env.execute("longest of three")?;
    /// assert_eq!(longest.take(), ["abc"]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn reduce<F>(self, function: F) -> DataStream<T, impl Chain<T>>
    where
        T: StateValue + Clone,
        F: Fn(T, T) -> T + UserFunction,
    {
        self.end_incremental(Reducing(function), Existing(ResultAlone), Location::caller())
    }

    /// Combines the elements of each key's window and gives the last to a rich function, with key, window and state.
    ///
    /// Cost: an entry of the general operator for each key and window, with one record and the function's state, and its timers.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// #[derive(Clone)]
    /// struct WithEnd;
    ///
    /// impl ProcessWindowFunction for WithEnd {
    ///     type Key = u8;
    ///     type In = i64;
    ///     type Out = (i64, i64);
    ///     type Window = TimeWindow;
    ///     fn process(
    ///         &mut self,
    ///         _: &u8,
    ///         context: &mut WindowContext<'_, TimeWindow>,
    ///         most: &[i64],
    ///         out: &mut Collector<'_, (i64, i64)>,
    ///     ) -> thalweg::Result {
    ///         out.collect((context.window().end(), most[0]));
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let most = env
    ///     .from_elements([1_i64, 2, 12])
    ///     .assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamp(|t: &i64| *t))
    ///     .key_by(|_| 0_u8)
    ///     .window(TumblingEventTimeWindows::of(milliseconds(10)))
    ///     .reduce_process(|a, b| a.max(b), WithEnd)
    ///     .collect();
    /// env.execute("most")?;
    /// assert_eq!(most.take(), [(10, 2), (20, 12)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn reduce_process<F, P>(
        self,
        reduce: F,
        function: P,
    ) -> DataStream<P::Out, impl Chain<P::Out>>
    where
        T: StateValue + Clone,
        F: Fn(T, T) -> T + UserFunction,
        P: ProcessWindowFunction<Key = S::Key, In = T, Out: Send + 'static, Window = A::Window>
            + UserFunction,
    {
        let emit = WithFunctionIfAny(WithFunction(function));
        self.end_general(Incremental { aggregate: Reducing(reduce), emit }, Location::caller())
    }

    /// Gives all elements of each key's window to a rich function. See [`ProcessWindowFunction`].
    ///
    /// Cost: a copy of each element until its window is given up, once in each of its windows; a firing goes over all of them.
    /// What can be folded is cheaper with `aggregate` or `reduce`.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// #[derive(Clone)]
    /// struct WithEnd;
    ///
    /// impl ProcessWindowFunction for WithEnd {
    ///     type Key = u8;
    ///     type In = i64;
    ///     type Out = (i64, i64);
    ///     type Window = TimeWindow;
    ///     fn process(
    ///         &mut self,
    ///         _: &u8,
    ///         context: &mut WindowContext<'_, TimeWindow>,
    ///         all: &[i64],
    ///         out: &mut Collector<'_, (i64, i64)>,
    ///     ) -> thalweg::Result {
    ///         out.collect((context.window().end(), all[all.len() - 1] - all[0]));
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let spans = env
    ///     .from_elements([1_i64, 2, 7, 12])
    ///     .assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamp(|t: &i64| *t))
    ///     .key_by(|_| 0_u8)
    ///     .window(TumblingEventTimeWindows::of(milliseconds(10)))
    ///     .process(WithEnd)
    ///     .collect();
    /// env.execute("spans")?;
    /// assert_eq!(spans.take(), [(10, 6), (20, 0)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn process<P>(self, function: P) -> DataStream<P::Out, impl Chain<P::Out>>
    where
        T: StateValue + Clone,
        P: ProcessWindowFunction<Key = S::Key, In = T, Out: Send + 'static, Window = A::Window>
            + UserFunction,
    {
        self.end_general(Elements(function), Location::caller())
    }
}
