//! [`WindowedStream`]: a keyed stream cut into windows, and what is done with them.
//!
//! The settings are a builder: assigner, trigger, evictor, lateness, late output. What ends it says what a window keeps:
//! an accumulator (`aggregate`, `reduce`, `sum` and kin) or all elements (`process`).

mod aggregates;
mod all;
mod choice;
mod count;
mod factory;
mod functions;

pub use all::AllWindowedStream;
pub use choice::{ByDefault, ChooseEvictor, ChooseTrigger, Chosen, EvictedBy, NoEvictor};

use crate::api::chain::Plan;
use crate::api::keyed::KeyedStream;
use crate::api::plan_builder::Mistake;
use crate::function::{KeySelector, OutputTag, UserFunction};
use crate::graph::NodeId;
use crate::state::StateValue;
use crate::time::duration_ms;
use crate::window::{Evictor, Trigger, WindowAssigner, WindowError};
use std::panic::Location;
use std::time::Duration;

/// A keyed stream cut into windows.
///
/// # How windows are kept, and what that costs
/// - Aligned event-time windows (tumbling, sliding) with their own trigger, no evictor and a plain incremental function
///   (`aggregate`, `aggregate_with`, `reduce`, `sum` and kin): a table for each open window (or slice of time, for
///   overlapping windows of sliceable aggregates), in which a key costs itself, its accumulator and a byte or so.
/// - All others: an entry for each key and window, with its timers.
///
/// # Late elements
/// An element is late where all its windows are over, that is where the watermark has reached their last instant plus the
/// allowed lateness. Late elements go to the side output if one is set; else they are dropped and counted
/// (`late_records_dropped`). How late they were, in milliseconds behind the watermark, is in the histogram `late_by_ms` of
/// the operator.
///
/// # Examples
/// A result every 10 ms of windows of 30 ms, and late elements aside:
/// ```
/// use thalweg::prelude::*;
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let late = OutputTag::new("late");
/// let sums = env
///     .from_elements([3i64, 12, 25, 31, 4])
///     .assign_timestamps_and_watermarks(
///         WatermarkStrategy::punctuated(|at: &i64, _| Some(at - 1)).with_timestamp(|at: &i64| *at),
///     )
///     .key_by(|_| 0u8)
///     .window(TumblingEventTimeWindows::of(milliseconds(30)))
///     .trigger(ContinuousEventTimeTrigger::of(milliseconds(10)))
///     .side_output_late_data(&late)
///     .reduce(|a, b| a + b);
/// let late = sums.side_output(&late).collect();
/// let sums = sums.collect();
/// env.execute("sums so far")?;
/// // [0, 30) at 10, 20 and its end, then [30, 60) at 40, 50 and its end.
/// assert_eq!(sums.take(), [15, 40, 40, 31, 31, 31]);
/// assert_eq!(late.take(), [4]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[must_use = "a windowed stream needs a function"]
pub struct WindowedStream<T, S, A, R = ByDefault, V = NoEvictor> {
    keyed: KeyedStream<T, S>,
    assigner: A,
    trigger: R,
    evictor: V,
    lateness_ms: i64,
    late: Option<OutputTag<T>>,
    evaluation: Evaluation,
    /// What is wrong with the settings, and where it was said.
    mistakes: Vec<(WindowError, &'static Location<'static>)>,
}

/// How windows are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Evaluation {
    /// Overlapping windows in slices where the aggregate allows it, sessions of one gap without timers, others one by one.
    #[default]
    Automatic,
    /// One by one.
    PerPane,
}

impl<T: Send + 'static, S: KeySelector<T>> KeyedStream<T, S> {
    /// Cuts the stream of each key into windows.
    ///
    /// Costs nothing by itself: the exchange is the one of `key_by`; what windows keep is said at [`WindowedStream`]. Bad sizes and
    /// offsets are reported by `execute`.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let counts = env
    ///     .from_elements([('a', 1_i64), ('b', 2), ('a', 12)])
    ///     .assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamp(|e: &(char, i64)| e.1))
    ///     .key_by(|e| e.0)
    ///     .window(TumblingEventTimeWindows::of(milliseconds(10)))
    ///     .aggregate_with(Count, |key, window, count, out| out.collect((*key, window.start(), count)))
    ///     .collect();
    /// env.execute("counts")?;
    /// let mut counts = counts.take();
    /// counts.sort();
    /// assert_eq!(counts, [('a', 0, 1), ('a', 10, 1), ('b', 0, 1)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn window<A: WindowAssigner<T>>(self, assigner: A) -> WindowedStream<T, S, A> {
        let checked = assigner.validate();
        let mut stream = WindowedStream {
            keyed: self,
            assigner,
            trigger: ByDefault,
            evictor: NoEvictor,
            lateness_ms: 0,
            late: None,
            evaluation: Evaluation::default(),
            mistakes: Vec::new(),
        };
        stream.note(checked, Location::caller());
        stream
    }
}

impl<T, S, A, R, V> WindowedStream<T, S, A, R, V> {
    /// Notes a mistake, to be reported by `execute`.
    fn note(&mut self, checked: Result<(), WindowError>, location: &'static Location<'static>) {
        self.mistakes.extend(checked.err().map(|error| (error, location)));
    }

    /// Hands the mistakes over when the operator has its place in the plan.
    fn report(plan: &Plan, node: NodeId, mistakes: Vec<(WindowError, &'static Location<'static>)>) {
        let mistakes = mistakes.into_iter().map(|(error, location)| Mistake {
            node: Some(node),
            message: error.to_string(),
            location,
        });
        plan.with(|plan| plan.mistakes.extend(mistakes));
    }
}

impl<T, S, A, R, V> WindowedStream<T, S, A, R, V>
where
    T: Send + 'static,
    S: KeySelector<T>,
    A: WindowAssigner<T>,
    R: ChooseTrigger<T, A>,
    V: ChooseEvictor<T, A::Window>,
{
    /// Fires windows when `trigger` says so, and no more at their end unless it does.
    ///
    /// Cost: an entry for each key and window instead of a table for each window, and what the trigger says of itself. In windows
    /// that merge the trigger must be able to; `execute` reports one that is not.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let counts = env
    ///     .from_elements([1_i64, 2, 3])
    ///     .assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamp(|t: &i64| *t))
    ///     .key_by(|_| 0_u8)
    ///     .window(TumblingEventTimeWindows::of(milliseconds(10)))
    ///     .trigger(CountTrigger::of(2))
    ///     .aggregate(Count)
    ///     .collect();
    /// env.execute("every two")?;
    /// assert_eq!(counts.take(), [2]); // a count trigger does not fire at the end of the window
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn trigger<X>(mut self, trigger: X) -> WindowedStream<T, S, A, Chosen<X>, V>
    where
        X: Trigger<T, A::Window> + UserFunction,
    {
        self.note(trigger.validate(), Location::caller());
        if self.assigner.is_merging() && !trigger.can_merge() {
            let trigger = std::any::type_name::<X>();
            self.note(Err(WindowError::TriggerCannotMerge { trigger }), Location::caller());
        }
        let WindowedStream {
            keyed,
            assigner,
            evictor,
            lateness_ms,
            late,
            evaluation,
            mistakes,
            ..
        } = self;
        let trigger = Chosen(trigger);
        WindowedStream {
            keyed,
            assigner,
            trigger,
            evictor,
            lateness_ms,
            late,
            evaluation,
            mistakes,
        }
    }

    /// Drops elements around each firing. Windows then keep all their elements, also for incremental functions.
    ///
    /// Cost: a copy of each element with its timestamp until the window is given up; each firing goes over all that are left.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let sums = env
    ///     .from_elements([1_i64, 2, 3])
    ///     .assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamp(|t: &i64| *t))
    ///     .key_by(|_| 0_u8)
    ///     .window(TumblingEventTimeWindows::of(milliseconds(10)))
    ///     .evictor(CountEvictor::of(2))
    ///     .reduce(|a, b| a + b)
    ///     .collect();
    /// env.execute("last two")?;
    /// assert_eq!(sums.take(), [5]); // the last two
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn evictor<X>(mut self, evictor: X) -> WindowedStream<T, S, A, R, EvictedBy<X>>
    where
        T: StateValue + Clone,
        X: Evictor<T, A::Window> + UserFunction,
    {
        self.note(evictor.validate(), Location::caller());
        let WindowedStream {
            keyed,
            assigner,
            trigger,
            lateness_ms,
            late,
            evaluation,
            mistakes,
            ..
        } = self;
        let evictor = EvictedBy(evictor);
        WindowedStream {
            keyed,
            assigner,
            trigger,
            evictor,
            lateness_ms,
            late,
            evaluation,
            mistakes,
        }
    }

    /// How long after its end a window still takes late records, each of which fires it again for its key. Default 0.
    ///
    /// Means nothing to windows that are not of event time.
    ///
    /// Cost: every window is kept that much longer.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    /// use thalweg::testing::OperatorHarness;
    ///
    /// let late = OutputTag::<i64>::new("late");
    /// let windows = |numbers: DataStream<i64>| {
    ///     numbers
    ///         .key_by(|_| 0_u8)
    ///         .window(TumblingEventTimeWindows::of(milliseconds(10)))
    ///         .allowed_lateness(milliseconds(5))
    ///         .side_output_late_data(&late)
    ///         .reduce(|a, b| a + b)
    /// };
    /// let mut harness = OperatorHarness::builder().side_output(&late).build(windows)?;
    /// harness.push(1, 3);
    /// harness.watermark(9);
    /// assert_eq!(harness.outputs(), [1]);
    /// harness.push(10, 4); // late, and allowed
    /// assert_eq!(harness.outputs(), [11]);
    /// harness.watermark(14);
    /// harness.push(100, 5); // too late
    /// assert_eq!(harness.side_outputs(&late), [100]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.lateness_ms = duration_ms(lateness);
        self
    }

    /// [`allowed_lateness`](Self::allowed_lateness) in milliseconds. Less than zero is refused when the job starts.
    #[track_caller]
    pub fn allowed_lateness_ms(mut self, lateness_ms: i64) -> Self {
        if lateness_ms < 0 {
            self.note(Err(WindowError::NegativeLateness { lateness_ms }), Location::caller());
        }
        self.lateness_ms = lateness_ms;
        self
    }

    /// Sends records that come too late to `tag`, to be read by `side_output(&tag)` on the result, with their own timestamps.
    /// Without it they are dropped and counted.
    ///
    /// See [`allowed_lateness`](Self::allowed_lateness) for an example, and [`WindowedStream`] for what is late. Costs nothing for
    /// records that are in time.
    pub fn side_output_late_data(mut self, tag: &OutputTag<T>) -> Self {
        self.late = Some(tag.clone());
        self
    }

    /// How windows are kept: for measurements and tests; the answers are the same.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let counts = env
    ///     .from_elements([1_i64, 7])
    ///     .assign_timestamps_and_watermarks(WatermarkStrategy::monotonous().with_timestamp(|t: &i64| *t))
    ///     .key_by(|_| 0_u8)
    ///     .window(SlidingEventTimeWindows::of(milliseconds(10), milliseconds(5)))
    ///     .evaluation(thalweg::api::Evaluation::PerPane)
    ///     .aggregate(Count)
    ///     .collect();
    /// env.execute("pane by pane")?;
    /// assert_eq!(counts.take(), [1, 2, 1]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn evaluation(mut self, evaluation: Evaluation) -> Self {
        self.evaluation = evaluation;
        self
    }
}
