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
