//! [`OperatorHarness`]: one operator with an input or two, and its outputs.
//!
//! Nothing but a [`TestDriver`] whose job is written for you: `input → your operator → output`, and an output for each
//! side output that is asked for.

use super::driver::{TestDriver, TestDriverBuilder};
use super::input::input_once;
use super::output::{OutputEvent, output};
use crate::api::{Chain, DataStream};
use crate::error::{Error, JobFailure};
use crate::function::OutputTag;
use crate::record::StreamStatus;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

const FIRST: &str = "first";
const SECOND: &str = "second";
const OUTPUT: &str = "output";

/// The second input of an operator that has one alone.
#[derive(Clone, Copy, Debug)]
pub enum NoInput {}

/// Tests one operator, or a few: records, watermarks and time go in, results come out.
///
/// `In` and `In2` are the records of its inputs, `Out` its results. Verbs without a number mean the first input where
/// they carry a record, and all inputs, in order, elsewhere.
///
/// # Examples
///
/// ```
/// use thalweg::prelude::*;
/// use thalweg::testing::OperatorHarness;
///
/// /// Tells of each key that has been silent for a second.
/// #[derive(Clone)]
/// struct Silent;
///
/// impl KeyedProcessFunction for Silent {
///     type Key = char;
///     type In = char;
///     type Out = (char, i64);
///     fn process_element(&mut self, _: char, ctx: &mut Context<'_, char>, _: &mut Collector<'_, (char, i64)>) -> thalweg::Result {
///         let now = ctx.timer_service().current_processing_time();
///         ctx.timer_service().register_processing_time_timer(now + 1_000);
///         Ok(())
///     }
///     fn on_timer(&mut self, at: i64, ctx: &mut OnTimerContext<'_, char>, out: &mut Collector<'_, (char, i64)>) -> thalweg::Result {
///         out.collect((*ctx.current_key(), at));
///         Ok(())
///     }
/// }
///
/// let mut harness = OperatorHarness::new(|keys: DataStream<char>| keys.key_by(|key| *key).process(Silent));
/// harness.push('a', 0);
/// harness.advance_clock(milliseconds(999));
/// assert!(harness.outputs().is_empty());
/// harness.advance_clock(milliseconds(1));
/// assert_eq!(harness.outputs(), [('a', 1_000)]);
/// ```
pub struct OperatorHarness<In, Out, In2 = NoInput> {
    driver: TestDriver,
    _records: PhantomData<fn(In, In2) -> Out>,
}

impl<In: Send + 'static, Out: Send + 'static> OperatorHarness<In, Out> {
    /// A harness of the operator that `write` puts on its stream, with the defaults of [`TestDriver::builder`].
    ///
    /// # Panics
    /// If the plan has mistakes; the message tells them all.
    #[track_caller]
    pub fn new<C: Chain<Out>>(write: impl FnOnce(DataStream<In>) -> DataStream<Out, C>) -> Self {
        or_panic(OperatorHarnessBuilder::default().build(write))
    }
}

impl<In, In2, Out> OperatorHarness<In, Out, In2>
where
    In: Send + 'static,
    In2: Send + 'static,
    Out: Send + 'static,
{
    /// A harness of an operator with two inputs.
    ///
    /// # Panics
    /// If the plan has mistakes; the message tells them all.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::prelude::*;
    /// use thalweg::testing::{OperatorHarness, OutputEvent};
    ///
    /// let mut harness = OperatorHarness::new_two(|numbers: DataStream<i64>, words: DataStream<String>| {
    ///     numbers.map(|n| n.to_string()).union(words)
    /// });
    /// harness.push(7, 10);
    /// harness.push_second("seven".to_owned(), 20);
    /// assert_eq!(harness.outputs(), ["7", "seven"]);
    /// harness.watermark_first(9);
    /// assert!(harness.events().is_empty());
    /// harness.watermark_second(8);
    /// assert_eq!(harness.events(), [OutputEvent::Watermark(8)]);
    /// ```
    #[track_caller]
    pub fn new_two<C: Chain<Out>>(
        write: impl FnOnce(DataStream<In>, DataStream<In2>) -> DataStream<Out, C>,
    ) -> Self {
        or_panic(OperatorHarnessBuilder::default().build_two(write))
    }
}

#[track_caller]
fn or_panic<H>(built: Result<H, Error>) -> H {
    match built {
        Ok(harness) => harness,
        Err(error) => panic!("the operator cannot be tested: {error}"),
    }
}

impl OperatorHarness<NoInput, NoInput> {
    /// Options: side outputs to be read, and those of the driver.
    pub fn builder() -> OperatorHarnessBuilder {
        OperatorHarnessBuilder::default()
    }
}

/// Steps. The effects of each are complete when it returns.
impl<In, In2, Out> OperatorHarness<In, Out, In2>
where
    In: Send + 'static,
    In2: Send + 'static,
    Out: Send + 'static,
{
    /// A record of the first input, made at `timestamp_ms`.
    #[track_caller]
    pub fn push(&mut self, record: In, timestamp_ms: i64) {
        self.driver.pipe_at(FIRST, [(timestamp_ms, record)]);
    }

    /// A record of the first input without timestamp.
    #[track_caller]
    pub fn push_untimed(&mut self, record: In) {
        self.driver.pipe(FIRST, [record]);
    }

    /// A record of the second input, made at `timestamp_ms`.
    #[track_caller]
    pub fn push_second(&mut self, record: In2, timestamp_ms: i64) {
        self.driver.pipe_at(SECOND, [(timestamp_ms, record)]);
    }

    /// A record of the second input without timestamp.
    #[track_caller]
    pub fn push_second_untimed(&mut self, record: In2) {
        self.driver.pipe(SECOND, [record]);
    }

    /// A watermark on every input, in order.
    #[track_caller]
    pub fn watermark(&mut self, watermark_ms: i64) {
        self.on_inputs(|driver, input| driver.watermark(input, watermark_ms));
    }

    /// A watermark on the first input.
    #[track_caller]
    pub fn watermark_first(&mut self, watermark_ms: i64) {
        self.driver.watermark(FIRST, watermark_ms);
    }

    /// A watermark on the second input.
    ///
    /// # Panics
    /// If there is one input only.
    #[track_caller]
    pub fn watermark_second(&mut self, watermark_ms: i64) {
        self.driver.watermark(SECOND, watermark_ms);
    }

    /// Makes every input idle or active, in order.
    #[track_caller]
    pub fn status(&mut self, status: StreamStatus) {
        self.on_inputs(|driver, input| set_status(driver, input, status));
    }

    /// Makes the first input idle or active.
    #[track_caller]
    pub fn status_first(&mut self, status: StreamStatus) {
        set_status(&mut self.driver, FIRST, status);
    }

    /// Makes the second input idle or active.
    ///
    /// # Panics
    /// If there is one input only.
    #[track_caller]
    pub fn status_second(&mut self, status: StreamStatus) {
        set_status(&mut self.driver, SECOND, status);
    }

    /// Ends every input, in order.
    #[track_caller]
    pub fn end(&mut self) {
        self.on_inputs(TestDriver::end);
    }

    /// Ends the first input.
    #[track_caller]
    pub fn end_first(&mut self) {
        self.driver.end(FIRST);
    }

    /// Ends the second input.
    ///
    /// # Panics
    /// If there is one input only.
    #[track_caller]
    pub fn end_second(&mut self) {
        self.driver.end(SECOND);
    }

    /// Moves the clock on and fires what is due; see [`TestDriver::advance_clock`].
    #[track_caller]
    pub fn advance_clock(&mut self, by: Duration) {
        self.driver.advance_clock(by);
    }

    /// Sets the clock and fires what is due; see [`TestDriver::set_clock_ms`].
    #[track_caller]
    pub fn set_clock_ms(&mut self, now_ms: i64) {
        self.driver.set_clock_ms(now_ms);
    }

    #[track_caller]
    fn on_inputs(&mut self, mut step: impl FnMut(&mut TestDriver, &str)) {
        for input in [FIRST, SECOND] {
            if self.driver.has_input(input) {
                step(&mut self.driver, input);
            }
        }
    }
}

#[track_caller]
fn set_status(driver: &mut TestDriver, input: &str, status: StreamStatus) {
    match status {
        StreamStatus::Idle => driver.idle(input),
        StreamStatus::Active => driver.active(input),
    }
}

/// Results.
impl<In, In2, Out: Send + 'static> OperatorHarness<In, Out, In2> {
    /// The results since the last call of this or [`events`](Self::events), in order.
    #[track_caller]
    pub fn outputs(&mut self) -> Vec<Out> {
        self.driver.outputs(OUTPUT)
    }

    /// Results, watermarks and statuses since the last call of this or [`outputs`](Self::outputs), in sequence.
    #[track_caller]
    pub fn events(&mut self) -> Vec<OutputEvent<Out>> {
        self.driver.events(OUTPUT)
    }

    /// What went to a side output since the last call of this.
    ///
    /// # Panics
    /// If the builder was not told that this side output will be read.
    #[track_caller]
    pub fn side_outputs<X: Send + 'static>(&mut self, tag: &OutputTag<X>) -> Vec<X> {
        self.driver.outputs(&side_name(tag))
    }

    /// Records, watermarks and statuses of a side output since the last call of this or
    /// [`side_outputs`](Self::side_outputs), in sequence.
    ///
    /// # Panics
    /// As [`side_outputs`](Self::side_outputs).
    #[track_caller]
    pub fn side_events<X: Send + 'static>(&mut self, tag: &OutputTag<X>) -> Vec<OutputEvent<X>> {
        self.driver.events(&side_name(tag))
    }

    /// The failure of the operator, if it has failed.
    pub fn failure(&self) -> Option<JobFailure> {
        self.driver.failure()
    }

    /// The driver underneath, whose inputs are `first` and `second`: for metrics and the state of the job.
    pub fn driver(&mut self) -> &mut TestDriver {
        &mut self.driver
    }
}

impl<In, Out, In2> fmt::Debug for OperatorHarness<In, Out, In2> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorHarness").field("driver", &self.driver).finish()
    }
}

fn side_name<X>(tag: &OutputTag<X>) -> String {
    format!("side output {}", tag.name())
}

/// Sets up an [`OperatorHarness`].
///
/// # Examples
///
/// ```
/// use thalweg::prelude::*;
/// use thalweg::testing::OperatorHarness;
///
/// let late = OutputTag::<i64>::new("late");
/// let windows = |numbers: DataStream<i64>| {
///     numbers
///         .key_by(|_| 0_u8)
///         .window(TumblingEventTimeWindows::of(seconds(1)))
///         .side_output_late_data(&late)
///         .aggregate(Count)
/// };
/// let mut harness = OperatorHarness::builder().side_output(&late).build(windows)?;
/// harness.push(1, 500);
/// harness.watermark(1_000);
/// harness.push(2, 600);
/// assert_eq!(harness.outputs(), [1]);
/// assert_eq!(harness.side_outputs(&late), [2]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[must_use = "a builder does nothing until it builds"]
pub struct OperatorHarnessBuilder {
    driver: TestDriverBuilder,
    sides: Vec<ReadSide>,
}

/// Ends a side output of the operator in an output.
type ReadSide = Box<dyn FnOnce(&DataStream<NoInput, ()>)>;

impl Default for OperatorHarnessBuilder {
    fn default() -> Self {
        OperatorHarnessBuilder { driver: TestDriver::builder(), sides: Vec::new() }
    }
}

impl fmt::Debug for OperatorHarnessBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorHarnessBuilder")
            .field("driver", &self.driver)
            .finish_non_exhaustive()
    }
}

impl OperatorHarnessBuilder {
    /// The side output `tag` of the operator will be read by [`side_outputs`](OperatorHarness::side_outputs).
    pub fn side_output<X: Clone + Send + 'static>(mut self, tag: &OutputTag<X>) -> Self {
        let tag = tag.clone();
        self.sides.push(Box::new(move |operator| {
            operator.read_side(&tag).sink_to(output()).name(side_name(&tag));
        }));
        self
    }

    /// The driver's options: seed, parallelism, shell and configuration. Default: those of [`TestDriver::builder`].
    pub fn driver(mut self, driver: TestDriverBuilder) -> Self {
        self.driver = driver;
        self
    }

    /// A harness of the operator that `write` puts on its stream.
    ///
    /// # Errors
    /// As [`TestDriverBuilder::build`].
    #[track_caller]
    pub fn build<In, Out, C>(
        self,
        write: impl FnOnce(DataStream<In>) -> DataStream<Out, C>,
    ) -> Result<OperatorHarness<In, Out>, Error>
    where
        In: Send + 'static,
        Out: Send + 'static,
        C: Chain<Out>,
    {
        let OperatorHarnessBuilder { driver, sides } = self;
        let driver = driver.build(|env| {
            let first = env.from_source(input_once::<In>(), FIRST).boxed();
            end(write(first), sides);
        })?;
        Ok(OperatorHarness { driver, _records: PhantomData })
    }

    /// A harness of an operator with two inputs.
    ///
    /// # Errors
    /// As [`TestDriverBuilder::build`].
    #[track_caller]
    pub fn build_two<In, In2, Out, C>(
        self,
        write: impl FnOnce(DataStream<In>, DataStream<In2>) -> DataStream<Out, C>,
    ) -> Result<OperatorHarness<In, Out, In2>, Error>
    where
        In: Send + 'static,
        In2: Send + 'static,
        Out: Send + 'static,
        C: Chain<Out>,
    {
        let OperatorHarnessBuilder { driver, sides } = self;
        let driver = driver.build(|env| {
            let first = env.from_source(input_once::<In>(), FIRST).boxed();
            let second = env.from_source(input_once::<In2>(), SECOND).boxed();
            end(write(first, second), sides);
        })?;
        Ok(OperatorHarness { driver, _records: PhantomData })
    }
}

fn end<Out: Send + 'static, C: Chain<Out>>(results: DataStream<Out, C>, sides: Vec<ReadSide>) {
    let operator = results.without_chain();
    sides.into_iter().for_each(|read| read(&operator));
    results.sink_to(output()).name(OUTPUT);
}
