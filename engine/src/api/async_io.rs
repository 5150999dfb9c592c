//! Asynchronous I/O on streams: `async_ordered`, `async_unordered`, and the same for futures.

use crate::Result;
use crate::api::chain::{Chain, OperatorFactory};
use crate::api::operators::{Cloned, Made, MakeFunction};
use crate::api::plan_builder::Mistake;
use crate::api::stream::DataStream;
use crate::function::{AsyncFunction, AsyncOptions, Settings, UserFunction};
use crate::graph::NodeId;
use crate::operator::Push;
use crate::operator::async_wait::{AsyncWait, Callback, Futures, Invoke};
use crate::operator::build::BuildContext;
use crate::state::StateValue;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::Location;

impl<T: Send + 'static, C: Chain<T>> DataStream<T, C> {
    /// Makes a request of each record; results leave in the order of the records, whatever the order of the answers.
    ///
    /// See [`AsyncFunction`] for how requests are made and [`AsyncOptions`] for timeout, capacity and retries.
    ///
    /// - A result has its record's timestamp. Watermarks and statuses wait for the requests before them, so nothing becomes
    ///   late here.
    /// - A checkpoint waits for no answer, unless the operator is full (then until what it has taken beyond its capacity is
    ///   asked): it has the records in flight, answered or not, and after a restart their requests
    ///   are made again, in the same order and before those of new records; so a request may be made twice, and a retry that
    ///   was due later is made at once. The last checkpoint of a job waits until all have left.
    /// - When there are as many requests as the capacity allows, the operator takes nothing more.
    /// - At the end of input all requests are waited for.
    /// - A failure names the record whose request failed.
    ///
    /// Cost: the record and about 100 bytes a request in flight; an answer costs a lock that is hardly ever contended, and
    /// a wake-up if the core sleeps. One slow request holds up the results of all after it, up to the capacity.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// #[derive(Clone)]
    /// struct Double;
    ///
    /// impl AsyncFunction for Double {
    ///     type In = u64;
    ///     type Out = u64;
    ///     fn invoke(&mut self, n: &u64, result: ResultFuture<u64>) -> thalweg::Result {
    ///         let n = *n;
    ///         std::thread::spawn(move || result.complete(vec![2 * n]));
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let doubled = env
    ///     .from_elements([1_u64, 2, 3])
    ///     .async_ordered(Double, AsyncOptions::timeout(seconds(60)))
    ///     .collect();
    /// env.execute("doubled")?;
    /// assert_eq!(doubled.take(), [2, 4, 6]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn async_ordered<F>(
        self,
        function: F,
        options: AsyncOptions<T, F::Out>,
    ) -> DataStream<F::Out, impl Chain<F::Out>>
    where
        T: StateValue,
        F: AsyncFunction<In = T> + UserFunction,
    {
        let order = Order { is_ordered: true, operator: "async_ordered" };
        self.async_wait(Cloned(Callback(function)), order, options, Location::caller())
    }

    /// [`async_ordered`](Self::async_ordered), but results leave as they are answered. Only controls keep their places:
    /// between two watermarks results may come in any order, but none passes a watermark, in neither direction.
    ///
    /// A slow request holds up only what is behind the next watermark.
    ///
    /// Cost: as `async_ordered`.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// #[derive(Clone)]
    /// struct Double;
    ///
    /// impl AsyncFunction for Double {
    ///     type In = u64;
    ///     type Out = u64;
    ///     fn invoke(&mut self, n: &u64, result: ResultFuture<u64>) -> thalweg::Result {
    ///         let n = *n;
    ///         std::thread::spawn(move || result.complete(vec![2 * n]));
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let doubled = env
    ///     .from_elements([1_u64, 2, 3])
    ///     .async_unordered(Double, AsyncOptions::timeout(seconds(60)).capacity(2))
    ///     .collect();
    /// env.execute("doubled")?;
    /// let mut doubled = doubled.take();
    /// doubled.sort();
    /// assert_eq!(doubled, [2, 4, 6]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn async_unordered<F>(
        self,
        function: F,
        options: AsyncOptions<T, F::Out>,
    ) -> DataStream<F::Out, impl Chain<F::Out>>
    where
        T: StateValue,
        F: AsyncFunction<In = T> + UserFunction,
    {
        let order = Order { is_ordered: false, operator: "async_unordered" };
        self.async_wait(Cloned(Callback(function)), order, options, Location::caller())
    }

    /// Makes a future of each record; its output leaves in the order of the records. An error is retried if the options
    /// say so, else it fails the job. Order, controls and capacity are as with [`async_ordered`](Self::async_ordered).
    ///
    /// Futures are polled on the operator's core, between records, so they must not block nor compute for long; they need
    /// not be `Send`. No executor is behind them: what they wait for must wake them, as channels and the handles of tasks
    /// do. A client that needs tokio is called in a task of a tokio runtime that is yours, and the future awaits the task:
    /// `let task = handle.spawn(client.get(id)); async move { Ok(task.await??) }`.
    ///
    /// A future that timed out is dropped. The record is cloned, because it is kept for retries and timeouts.
    ///
    /// Cost: as `async_ordered`, without the lock; the memory of a future is used again for the next one.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let squares = env
    ///     .from_elements([1_u64, 2, 3])
    ///     .async_map_ordered(AsyncOptions::timeout(seconds(60)), |n| async move { Ok(n * n) })
    ///     .collect();
    /// env.execute("squares")?;
    /// assert_eq!(squares.take(), [1, 4, 9]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn async_map_ordered<U, F, Fut>(
        self,
        options: AsyncOptions<T, U>,
        function: F,
    ) -> DataStream<U, impl Chain<U>>
    where
        T: StateValue + Clone,
        U: Send + 'static,
        F: FnMut(T) -> Fut + UserFunction,
        Fut: Future<Output = Result<U>> + 'static,
    {
        let order = Order { is_ordered: true, operator: "async_map_ordered" };
        self.async_wait(make_futures(function), order, options, Location::caller())
    }

    /// [`async_map_ordered`](Self::async_map_ordered), but outputs leave as futures become ready; none passes a watermark.
    ///
    /// Limits and cost: as there.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let squares = env
    ///     .from_elements([1_u64, 2, 3])
    ///     .async_map_unordered(AsyncOptions::timeout(seconds(60)), |n| async move { Ok(n * n) })
    ///     .collect();
    /// env.execute("squares")?;
    /// let mut squares = squares.take();
    /// squares.sort();
    /// assert_eq!(squares, [1, 4, 9]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn async_map_unordered<U, F, Fut>(
        self,
        options: AsyncOptions<T, U>,
        function: F,
    ) -> DataStream<U, impl Chain<U>>
    where
        T: StateValue + Clone,
        U: Send + 'static,
        F: FnMut(T) -> Fut + UserFunction,
        Fut: Future<Output = Result<U>> + 'static,
    {
        let order = Order { is_ordered: false, operator: "async_map_unordered" };
        self.async_wait(make_futures(function), order, options, Location::caller())
    }

    fn async_wait<M, I>(
        self,
        make: M,
        order: Order,
        options: AsyncOptions<T, I::Out>,
        location: &'static Location<'static>,
    ) -> DataStream<I::Out, impl Chain<I::Out>>
    where
        M: MakeFunction<Function = I>,
        I: Invoke<In = T>,
    {
        let mistakes = options.mistakes();
        let Order { operator, is_ordered } = order;
        let settings = options.into_settings();
        let stream =
            self.then(operator, location, |node| AsyncFactory { make, is_ordered, settings, node });
        for message in mistakes {
            let mistake = Mistake { node: Some(stream.operator), message, location };
            stream.plan.with(|plan| plan.mistakes.push(mistake));
        }
        stream
    }
}

struct Order {
    is_ordered: bool,
    operator: &'static str,
}

/// Futures need not be `Send`: only the closure that makes them is sent to their core.
fn make_futures<T, U, F, Fut>(
    function: F,
) -> Made<impl FnOnce() -> Futures<F, Fut, T> + UserFunction, Futures<F, Fut, T>>
where
    T: StateValue + Clone,
    U: Send + 'static,
    F: FnMut(T) -> Fut + UserFunction,
    Fut: Future<Output = Result<U>> + 'static,
{
    Made { make: move || Futures::new(function), types: PhantomData }
}

/// An asynchronous operator before it reaches its core.
struct AsyncFactory<M, T, U> {
    make: M,
    is_ordered: bool,
    settings: Settings<T, U>,
    node: NodeId,
}

impl<M: Clone, T, U> Clone for AsyncFactory<M, T, U> {
    fn clone(&self) -> Self {
        let AsyncFactory { is_ordered, node, .. } = *self;
        AsyncFactory { make: self.make.clone(), is_ordered, settings: self.settings.clone(), node }
    }
}

impl<M, I> OperatorFactory<I::In> for AsyncFactory<M, I::In, I::Out>
where
    M: MakeFunction<Function = I>,
    I: Invoke,
{
    type Out = I::Out;
    type Operator<D: Push<I::Out>> = AsyncWait<I, D>;
    fn build<D: Push<I::Out>>(
        self,
        context: &mut BuildContext,
        next: D,
    ) -> Result<AsyncWait<I, D>> {
        let AsyncFactory { make, is_ordered, settings, node } = self;
        AsyncWait::open(make.make(), is_ordered, settings, next, (context, node))
    }
}
