//! Sources that run: code of the user's that blocks, on a thread of its own behind a bounded queue.
//!
//! ```text
//!  thread "flights 1/2"                          core
//!  open ─► run(ctx): ctx.collect(record) ─► bounded queue ─► FunctionReader ─► chain
//!                      blocks while it is full      cancel: queue closes, stop flag, canceller
//! ```
//!
//! 1. The thread starts with the reader's first poll, when the whole job is built.
//! 2. When `run` returns, fails or panics, the queue ends; the reader hands over what is in it and then ends or fails the job
//!    with that cause.
//! 3. When the job ends before, `collect` fails with [`Cancelled`], the canceller is called, and the thread is waited for.
//!
//! A function that says with each record where it goes on behind it ([`SourceFunctionContext::collect_at`]) is in
//! checkpoints by the last such position that has left the reader.
//!
//! **Invariants**
//! - The outcome is set before the queue ends.
//! - The position of the reader is that of the last record emitted: what is in the queue is made again.
//! - An error after the cancellation is a consequence of it and not reported.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::channel::queue::{Left, Queue, Refused};
use super::splits::{SubtaskSplit, SubtaskSplitError};
use crate::function::{
    Boundedness, InputStatus, ReaderContext, Source, SourceCollector, SourceReader, UserFunction,
};
use crate::record::NO_TIMESTAMP;
use crate::runtime::core_loop_panic::caught;
use crate::runtime::threads::{NamedThread, spawn_named};
use crate::sync::{Condvar, Mutex, lock, wait_for};
use crate::{BoxError, Result};

/// Records between a source function and its core, unless set.
const CAPACITY_DEFAULT: usize = 4_096;

/// How long the end of a job waits for a thread that was told to stop. The core stands still meanwhile, so it is short: long enough
/// for a function that looks at its context after each blocking call, short enough that a stubborn one harms nobody.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// A source that runs on a thread of its own and may block.
///
/// `run` **must return** soon after the job was cancelled: then [`collect`](SourceFunctionContext::collect) fails and
/// [`is_cancelled`](SourceFunctionContext::is_cancelled) is true. A function that blocks elsewhere (in a read from a socket)
/// gives a [`canceller`](Self::canceller) that ends the blocking call. A thread that has not returned two seconds later is left to
/// itself, with an error in the log.
///
/// What such a source emits is not replayed after a failure (at-most-once), unless it [says so](Self::is_replayable).
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// #[derive(Clone)]
/// struct Countdown(u32);
/// impl SourceFunction for Countdown {
///     type Out = u32;
///     fn run(&mut self, ctx: &SourceFunctionContext<u32>) -> thalweg::Result<()> {
///         while self.0 > 0 {
///             ctx.collect(self.0)?;
///             self.0 -= 1;
///         }
///         Ok(())
///     }
/// }
///
/// let env = StreamExecutionEnvironment::new();
/// let counted = env.from_source_function(Countdown(3)).collect();
/// env.execute("countdown")?;
/// assert_eq!(counted.take(), [3, 2, 1]);
/// # Ok::<(), thalweg::Error>(())
/// ```
pub trait SourceFunction: Send + 'static {
    /// Its records.
    type Out: Send + 'static;

    /// Called once on the source's thread, before `run`.
    ///
    /// # Errors
    /// Any error fails the job.
    fn open(&mut self, _context: &SourceFunctionContext<Self::Out>) -> Result<()> {
        Ok(())
    }

    /// What ends a blocking call of `run` when the job is cancelled; asked for after `open`, called at most once, by another
    /// thread. Default: nothing, for functions that only block in `collect`.
    fn canceller(&self) -> Option<Canceller> {
        None
    }

    /// Does it say with each record where it goes on ([`collect_at`](SourceFunctionContext::collect_at)), and can it
    /// [go on](Self::restore) there with the same records? Then checkpoints have its position. Default: no.
    fn is_replayable(&self) -> bool {
        false
    }

    /// Goes on at a position that it said itself. Called on the source's thread, after `open`, if the job goes on from a
    /// checkpoint that has one.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// #[derive(Clone)]
    /// struct Squares { next: u64 }
    /// impl SourceFunction for Squares {
    ///     type Out = u64;
    ///     fn is_replayable(&self) -> bool {
    ///         true
    ///     }
    ///     fn restore(&mut self, position: u64) -> thalweg::Result<()> {
    ///         self.next = position;
    ///         Ok(())
    ///     }
    ///     fn run(&mut self, ctx: &SourceFunctionContext<u64>) -> thalweg::Result<()> {
    ///         for n in self.next..4 {
    ///             ctx.collect_at(n * n, thalweg::record::NO_TIMESTAMP, n + 1)?;
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// let squares = env.from_source_function(Squares { next: 0 }).collect();
    /// env.execute("squares")?;
    /// assert_eq!(squares.take(), [0, 1, 4, 9]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    ///
    /// # Errors
    /// Any error fails the job.
    fn restore(&mut self, _position: u64) -> Result<()> {
        Ok(())
    }

    /// Emits records until there are no more or the job is cancelled.
    ///
    /// # Errors
    /// Any error fails the job with the cause kept, unless the job was cancelled before.
    fn run(&mut self, context: &SourceFunctionContext<Self::Out>) -> Result<()>;

    /// Called once on the source's thread after `run`, also after it failed; not after a panic.
    ///
    /// # Errors
    /// Any error fails the job if it has not failed yet.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Ends a blocking call from another thread; see [`SourceFunction::canceller`].
pub type Canceller = Box<dyn FnOnce() + Send>;

/// The job no longer wants records: return from `run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the job that reads this source was cancelled or has ended")]
pub struct Cancelled;

/// A source function panicked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the source function panicked: {message}")]
pub struct SourceFunctionPanicked {
    /// What it said.
    pub message: String,
}

/// What a [`SourceFunction`] emits into and learns its place from.
pub struct SourceFunctionContext<T> {
    shared: Arc<Shared<T>>,
    subtask_index: usize,
    parallelism: usize,
    operator_name: String,
}

struct Shared<T> {
    queue: Arc<Queue<Item<T>>>,
    stop: Mutex<Stop>,
    stopped: Condvar,
    /// Set by the thread before the queue ends, taken by the reader after it has seen the end.
    outcome: Mutex<Option<Result<()>>>,
}

/// A record, its timestamp, and where the function goes on behind it.
type Item<T> = (T, i64, u64);

/// The position of a record that says none.
const NO_POSITION: u64 = u64::MAX;

#[derive(Default)]
struct Stop {
    requested: bool,
    canceller: Option<Canceller>,
}

impl<T> fmt::Debug for SourceFunctionContext<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("SourceFunctionContext");
        debug.field("operator_name", &self.operator_name);
        debug.field("subtask_index", &self.subtask_index).finish_non_exhaustive()
    }
}

impl<T> SourceFunctionContext<T> {
    /// Emits a record without timestamp; blocks while the job is behind.
    ///
    /// # Errors
    /// [`Cancelled`]: the job is over, so return (`?` will do).
    pub fn collect(&self, record: T) -> Result<(), Cancelled> {
        self.collect_with_timestamp(record, NO_TIMESTAMP)
    }

    /// Emits a record that was made at `timestamp_ms`; blocks while the job is behind.
    ///
    /// # Errors
    /// As [`collect`](Self::collect).
    pub fn collect_with_timestamp(&self, record: T, timestamp_ms: i64) -> Result<(), Cancelled> {
        self.collect_at(record, timestamp_ms, NO_POSITION)
    }

    /// Emits a record that was made at `timestamp_ms`, and says where the function [goes on](SourceFunction::restore)
    /// behind it, which is below `u64::MAX`; blocks while the job is behind. For functions that are
    /// [replayable](SourceFunction::is_replayable), which emit all their records so.
    ///
    /// # Errors
    /// As [`collect`](Self::collect).
    pub fn collect_at(&self, record: T, timestamp_ms: i64, position: u64) -> Result<(), Cancelled> {
        let item = (record, timestamp_ms, position);
        self.shared.queue.push_blocking(item).map_err(|_| Cancelled)
    }

    /// Emits a record unless the job is behind, and says whether it did; the record is dropped if not.
    ///
    /// # Errors
    /// As [`collect`](Self::collect).
    pub fn try_collect(&self, record: T) -> Result<bool, Cancelled> {
        match self.shared.queue.try_push((record, NO_TIMESTAMP, NO_POSITION)) {
            Ok(()) => Ok(true),
            Err(Refused::Full(_)) => Ok(false),
            Err(Refused::Closed(_)) => Err(Cancelled),
        }
    }

    /// Whether the job was cancelled or has failed: then return.
    pub fn is_cancelled(&self) -> bool {
        lock(&self.shared.stop).requested
    }

    /// Waits, for sources that ask for news from time to time. Ends early when the job is cancelled.
    ///
    /// # Errors
    /// [`Cancelled`].
    pub fn wait(&self, duration: Duration) -> Result<(), Cancelled> {
        let stop = lock(&self.shared.stop);
        // The condition is only notified by a stop; a wake-up without reason shortens the wait, which does no harm.
        let stop = match stop.requested {
            true => stop,
            false => wait_for(&self.shared.stopped, stop, duration).0,
        };
        if stop.requested { Err(Cancelled) } else { Ok(()) }
    }

    /// Which of the parallel instances this is, from 0.
    pub fn subtask_index(&self) -> usize {
        self.subtask_index
    }

    /// How many parallel instances there are.
    pub fn parallelism(&self) -> usize {
        self.parallelism
    }

    /// The source's name in the plan.
    pub fn operator_name(&self) -> &str {
        &self.operator_name
    }
}

/// A [`SourceFunction`] as a source: one instance unless [`parallel`](Self::parallel).
pub struct FunctionSource<F> {
    function: Mutex<F>,
    is_parallel: bool,
    boundedness: Boundedness,
    capacity: usize,
}

impl<F> fmt::Debug for FunctionSource<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionSource").finish_non_exhaustive()
    }
}

impl<F: SourceFunction + UserFunction> FunctionSource<F> {
    /// Runs a clone of `function`.
    pub fn new(function: F) -> Self {
        FunctionSource {
            function: Mutex::new(function),
            is_parallel: false,
            boundedness: Boundedness::Unbounded,
            capacity: CAPACITY_DEFAULT,
        }
    }

    /// Each subtask runs a clone on a thread of its own; which it is says [`SourceFunctionContext::subtask_index`].
    #[must_use]
    pub fn parallel(mut self) -> Self {
        self.is_parallel = true;
        self
    }

    /// `run` returns by itself. Default: not promised.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.boundedness = Boundedness::Bounded;
        self
    }

    /// How many records lie between the thread and the job at most (0 counts as 1). Default: 4096.
    #[must_use]
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }
}

/// A closure as a [`SourceFunction`]; see [`FunctionSource::from_fn`].
pub struct FnSourceFunction<F, T> {
    run: F,
    _record: std::marker::PhantomData<fn() -> T>,
}

impl<F: Clone, T> Clone for FnSourceFunction<F, T> {
    fn clone(&self) -> Self {
        FnSourceFunction { run: self.run.clone(), _record: std::marker::PhantomData }
    }
}

impl<F, T> SourceFunction for FnSourceFunction<F, T>
where
    F: FnMut(&SourceFunctionContext<T>) -> Result<()> + Send + 'static,
    T: Send + 'static,
{
    type Out = T;

    fn run(&mut self, context: &SourceFunctionContext<T>) -> Result<()> {
        (self.run)(context)
    }
}

impl<F, T> FunctionSource<FnSourceFunction<F, T>>
where
    F: FnMut(&SourceFunctionContext<T>) -> Result<()> + UserFunction,
    T: Send + 'static,
{
    /// Runs a closure: a source function without `open` and `close`.
    pub fn from_fn(run: F) -> Self {
        FunctionSource::new(FnSourceFunction { run, _record: std::marker::PhantomData })
    }
}

impl<F: SourceFunction + UserFunction> Source for FunctionSource<F> {
    type Out = F::Out;
    type Split = SubtaskSplit;
    type Reader = FunctionReader<F>;

    fn boundedness(&self) -> Boundedness {
        self.boundedness
    }

    fn is_non_parallel(&self) -> bool {
        !self.is_parallel
    }

    fn is_replayable(&self) -> bool {
        lock(&self.function).is_replayable()
    }

    fn create_reader(&self, context: &ReaderContext) -> Result<FunctionReader<F>> {
        let split = SubtaskSplit::start(context);
        let queue = Queue::new(self.capacity);
        queue.set_receiving_core(Some(context.waker.clone()));
        let shared = Arc::new(Shared {
            queue,
            stop: Mutex::default(),
            stopped: Condvar::new(),
            outcome: Mutex::new(None),
        });
        let context = SourceFunctionContext {
            shared: shared.clone(),
            subtask_index: context.subtask_index,
            parallelism: context.parallelism,
            operator_name: context.operator_name.clone(),
        };
        let function = lock(&self.function).clone();
        let is_replayable = function.is_replayable();
        Ok(FunctionReader {
            shared,
            unstarted: Some((function, context)),
            thread: None,
            batch: VecDeque::new(),
            is_replayable,
            split,
            has_position: false,
            refusal: None,
        })
    }
}

/// Reads a [`FunctionSource`].
pub struct FunctionReader<F: SourceFunction> {
    shared: Arc<Shared<F::Out>>,
    unstarted: Option<(F, SourceFunctionContext<F::Out>)>,
    thread: Option<NamedThread>,
    batch: VecDeque<Item<F::Out>>,
    is_replayable: bool,
    /// With the position of the last record emitted that said one.
    split: SubtaskSplit,
    /// One has, in this attempt or before.
    has_position: bool,
    refusal: Option<SubtaskSplitError>,
}

impl<F: SourceFunction> FunctionReader<F> {
    fn start(&mut self) -> Result<()> {
        let Some((mut function, context)) = self.unstarted.take() else { return Ok(()) };
        let name = match context.parallelism {
            1 => context.operator_name.clone(),
            count => format!("{} {}/{count}", context.operator_name, context.subtask_index + 1),
        };
        let start = self.has_position.then_some(self.split.position);
        let thread = spawn_named(&name, move || {
            let outcome = caught(|| run_through(&mut function, &context, start))
                .unwrap_or_else(|message| Err(SourceFunctionPanicked { message }.into()));
            let dropped = caught(move || drop(function));
            let outcome = match (outcome, dropped) {
                (Ok(()), Err(message)) => Err(SourceFunctionPanicked { message }.into()),
                (outcome, _) => outcome,
            };
            *lock(&context.shared.outcome) = Some(outcome);
            context.shared.queue.close_producers();
        })?;
        self.thread = Some(thread);
        Ok(())
    }

    /// Stops the thread if it runs, and waits for it.
    fn stop(&mut self) {
        self.unstarted = None;
        let Some(thread) = self.thread.take() else { return };
        let canceller = {
            let mut stop = lock(&self.shared.stop);
            stop.requested = true;
            stop.canceller.take()
        };
        self.shared.stopped.notify_all();
        self.shared.queue.close_consumer();
        if let Some(Err(text)) = canceller.map(caught) {
            tracing::error!("the canceller of a source function panicked: {text}");
        }
        if !thread.join_within(STOP_WAIT) {
            tracing::error!(
                "a source function has not returned from `run` {} s after it was cancelled; its \
                 thread is left to itself",
                STOP_WAIT.as_secs(),
            );
        }
    }

    fn outcome(&mut self) -> Result<InputStatus> {
        match lock(&self.shared.outcome).take() {
            Some(Err(cause)) => Err(cause),
            _ => Ok(InputStatus::EndOfInput),
        }
    }
}

/// The life of a function on its thread.
fn run_through<F: SourceFunction>(
    function: &mut F,
    context: &SourceFunctionContext<F::Out>,
    start: Option<u64>,
) -> Result<()> {
    let ran = function.open(context).and_then(|()| {
        if let Some(position) = start {
            function.restore(position)?;
        }
        let canceller = function.canceller();
        let mut stop = lock(&context.shared.stop);
        if stop.requested {
            return Ok(());
        }
        stop.canceller = canceller;
        drop(stop);
        function.run(context)
    });
    let ran = match ran {
        Err(_) if context.is_cancelled() => Ok(()),
        other => other,
    };
    first_error(ran, function.close())
}

fn first_error(first: Result<()>, second: Result<()>) -> Result<(), BoxError> {
    match (first, second) {
        (Err(cause), Err(also)) => {
            tracing::error!(%also, "a source function failed to close after it failed");
            Err(cause)
        }
        (Err(cause), Ok(())) | (Ok(()), Err(cause)) => Err(cause),
        (Ok(()), Ok(())) => Ok(()),
    }
}

impl<F: SourceFunction> SourceReader for FunctionReader<F> {
    type Out = F::Out;
    type Split = SubtaskSplit;

    fn wakes_core(&self) -> bool {
        true
    }

    fn poll_batch(
        &mut self,
        max: usize,
        out: &mut SourceCollector<'_, F::Out>,
    ) -> Result<InputStatus> {
        if let Some(refusal) = self.refusal.take() {
            return Err(refusal.into());
        }
        if self.unstarted.is_some() {
            self.start()?;
        }
        let left = self.shared.queue.take_batch(max, &mut self.batch);
        let mut last_position = NO_POSITION;
        for (record, timestamp_ms, position) in self.batch.drain(..) {
            last_position = position;
            out.collect_with_timestamp(record, timestamp_ms);
        }
        if last_position != NO_POSITION {
            (self.split.position, self.has_position) = (last_position, true);
        }
        match left {
            Left::More => Ok(InputStatus::MoreAvailable),
            Left::Nothing => Ok(InputStatus::NothingAvailable),
            Left::Ended => self.outcome(),
        }
    }

    fn add_splits(&mut self, splits: Vec<SubtaskSplit>) {
        self.has_position |= !splits.is_empty();
        self.refusal = self.split.go_on(splits).err();
    }

    fn snapshot(&self) -> Vec<SubtaskSplit> {
        match self.is_replayable && self.has_position {
            true => vec![self.split],
            false => Vec::new(),
        }
    }

    fn close(&mut self) -> Result<()> {
        self.stop();
        Ok(())
    }
}

impl<F: SourceFunction> Drop for FunctionReader<F> {
    /// `close` is not called while a panic unwinds; then the thread is told to stop and not waited for.
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(&self.shared.stop).requested = true;
            self.shared.stopped.notify_all();
            self.shared.queue.close_consumer();
            return;
        }
        self.stop();
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
