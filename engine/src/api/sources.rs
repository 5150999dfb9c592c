//! `from_elements` and kin: the sources that are methods of the environment.

use std::ops::RangeInclusive;
use std::panic::Location;

use crate::Result;
use crate::api::{Chain, DataStream, StreamExecutionEnvironment};
use crate::connector::source::{
    FnSourceFunction, FunctionSource, IteratorSource, ParallelIteratorSource, ReaderSource,
    SequenceSource, SourceFunction, SourceFunctionContext,
};
use crate::function::{NoSplit, ReaderContext, SourceReader, UserFunction};

impl StreamExecutionEnvironment {
    /// A stream of the given records, in order; not parallel. Cloned for each run of the plan.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// let words = env.from_elements(["to", "be"]).map(str::len).collect();
    /// env.execute("lengths")?;
    /// assert_eq!(words.take(), [2, 2]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn from_elements<I>(&self, elements: I) -> DataStream<I::Item, impl Chain<I::Item> + use<I>>
    where
        I: IntoIterator<Item: Send + 'static, IntoIter: 'static> + UserFunction,
    {
        self.add_source(IteratorSource::new(elements), "from_elements", Location::caller())
    }

    /// A stream of what an iterator gives, in order; not parallel. The iterator is cloned for each run of the plan; for one that is no
    /// `Clone`, or that is expensive to keep, see [`from_iter_factory`](Self::from_iter_factory).
    #[track_caller]
    pub fn from_iter<I>(&self, items: I) -> DataStream<I::Item, impl Chain<I::Item> + use<I>>
    where
        I: IntoIterator<Item: Send + 'static, IntoIter: 'static> + UserFunction,
    {
        self.add_source(IteratorSource::new(items), "from_iter", Location::caller())
    }

    /// A stream of what the iterator gives that `make` makes, on the core that reads it; not parallel.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// let powers = env.from_iter_factory(|| std::iter::successors(Some(1u64), |n| n.checked_mul(2)));
    /// let last = powers.filter(|n| *n > u64::MAX / 2).collect();
    /// env.execute("powers")?;
    /// assert_eq!(last.take(), [1 << 63]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn from_iter_factory<I, M>(
        &self,
        make: M,
    ) -> DataStream<I::Item, impl Chain<I::Item> + use<I, M>>
    where
        I: IntoIterator<Item: Send + 'static, IntoIter: 'static> + 'static,
        M: Fn() -> I + Send + Sync + 'static,
    {
        self.add_source(IteratorSource::from_factory(make), "from_iter", Location::caller())
    }

    /// A stream of the numbers of a range; each subtask emits a stretch of it, in order.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// let squares = env.from_sequence(1..=4).map(|n| n * n).collect();
    /// env.execute("squares")?;
    /// assert_eq!(squares.take_sorted(), [1, 4, 9, 16]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn from_sequence(
        &self,
        range: RangeInclusive<i64>,
    ) -> DataStream<i64, impl Chain<i64> + use<>> {
        self.add_source(SequenceSource::new(range), "from_sequence", Location::caller())
    }

    /// Each subtask emits what the iterator gives that `make` makes for it, on its core.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// let numbers = env.from_parallel(|ctx| {
    ///     let subtask = ctx.subtask_index;
    ///     (0..3).map(move |n| (subtask, n))
    /// });
    /// let numbers = numbers.set_parallelism(2).collect();
    /// env.execute("numbers")?;
    /// assert_eq!(numbers.take_sorted(), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn from_parallel<I, M>(
        &self,
        make: M,
    ) -> DataStream<I::Item, impl Chain<I::Item> + use<I, M>>
    where
        I: IntoIterator<Item: Send + 'static, IntoIter: 'static> + 'static,
        M: Fn(&ReaderContext) -> I + Send + Sync + 'static,
    {
        self.add_source(ParallelIteratorSource::new(make), "from_parallel", Location::caller())
    }

    /// Each subtask reads with the [`SourceReader`] that `make` makes for it, on its core. [`ReaderSource`] has options.
    #[track_caller]
    pub fn from_reader<R, M>(&self, make: M) -> DataStream<R::Out, impl Chain<R::Out> + use<R, M>>
    where
        R: SourceReader<Out: Send, Split = NoSplit>,
        M: Fn(&ReaderContext) -> Result<R> + Send + Sync + 'static,
    {
        self.add_source(ReaderSource::new(make), "from_reader", Location::caller())
    }

    /// A stream of what a [`SourceFunction`] emits on a thread of its own; not parallel. It runs a clone of `function`.
    #[track_caller]
    pub fn from_source_function<F>(
        &self,
        function: F,
    ) -> DataStream<F::Out, impl Chain<F::Out> + use<F>>
    where
        F: SourceFunction + UserFunction,
    {
        self.add_source(FunctionSource::new(function), "source_function", Location::caller())
    }

    /// [`from_source_function`](Self::from_source_function) with a clone and a thread for each subtask.
    #[track_caller]
    pub fn from_parallel_source_function<F>(
        &self,
        function: F,
    ) -> DataStream<F::Out, impl Chain<F::Out> + use<F>>
    where
        F: SourceFunction + UserFunction,
    {
        let source = FunctionSource::new(function).parallel();
        self.add_source(source, "source_function", Location::caller())
    }

    /// A stream of what a closure emits on a thread of its own, where it may block; not parallel.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// let lines = env.from_blocking(|ctx: &SourceFunctionContext<String>| {
    ///     for line in ["a", "b"] {
    ///         ctx.collect(line.to_owned())?;
    ///     }
    ///     Ok(())
    /// });
    /// let lines = lines.collect();
    /// env.execute("lines")?;
    /// assert_eq!(lines.take(), ["a", "b"]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn from_blocking<T, F>(&self, run: F) -> DataStream<T, impl Chain<T> + use<T, F>>
    where
        T: Send + 'static,
        F: FnMut(&SourceFunctionContext<T>) -> Result<()> + UserFunction,
    {
        let source: FunctionSource<FnSourceFunction<F, T>> = FunctionSource::from_fn(run);
        self.add_source(source, "from_blocking", Location::caller())
    }
}
