//! Process functions: the operators with access to time, timers, state and side outputs.

use crate::Result;
use crate::function::{
    Collector, Context, OnTimerContext, OutputTag, RuntimeContext, UnkeyedTimerService,
    checkpoint_hooks,
};
use crate::operator::side_outputs::SideOutputs;
use crate::record::NO_TIMESTAMP;
use thalweg_state::{Key, OperatorContext, OperatorContextMut, OperatorStateStore};

/// Sees each record with its time, and emits any number of records to its output and to side outputs.
///
/// **Limits.** No keyed state and no timers, since there is no key: they are refused with an error that says so; a
/// [`KeyedProcessFunction`] has them. Lists of the operator are there ([`RuntimeContext::operator_list_state`],
/// [`RuntimeContext::union_list_state`]). Otherwise than in Flink, a record without a timestamp gives side outputs records
/// without one; there they carry the smallest number.
///
/// **Costs** nothing beyond the call: it is chained to its neighbours.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// /// Parses numbers; what is none goes to a side output.
/// #[derive(Clone)]
/// struct Parse { broken: OutputTag<String> }
///
/// impl ProcessFunction for Parse {
///     type In = String;
///     type Out = i64;
///     fn process_element(
///         &mut self,
///         word: String,
///         context: &mut ProcessContext<'_>,
///         out: &mut Collector<'_, i64>,
///     ) -> thalweg::Result<()> {
///         match word.parse() {
///             Ok(number) => out.collect(number),
///             Err(_) => context.output(&self.broken, word),
///         }
///         Ok(())
///     }
/// }
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let broken = OutputTag::new("broken");
/// let words = env.from_elements(["1", "two", "3"].map(String::from));
/// let numbers = words.process(Parse { broken: broken.clone() });
/// let broken = numbers.side_output(&broken).collect();
/// let numbers = numbers.collect();
/// env.execute("parse")?;
/// assert_eq!(numbers.take(), [1, 3]);
/// assert_eq!(broken.take(), ["two"]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` is not a ProcessFunction")]
pub trait ProcessFunction: 'static {
    /// Records taken.
    type In: 'static;
    /// Records given.
    type Out: 'static;
    /// Called once on the function's core, before the first record.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(())
    }
    /// Called for each record.
    ///
    /// # Errors
    /// Any error fails the job.
    fn process_element(
        &mut self,
        record: Self::In,
        context: &mut ProcessContext<'_>,
        out: &mut Collector<'_, Self::Out>,
    ) -> Result<()>;
    /// Called once, after the last record.
    ///
    /// # Errors
    /// Any error fails the job.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
    checkpoint_hooks!();
}

/// What functions without keys ([`ProcessFunction`], [`CoProcessFunction`](crate::function::CoProcessFunction)) may know and
/// do besides emitting.
pub struct ProcessContext<'a> {
    pub(crate) timestamp: i64,
    pub(crate) watermark: i64,
    pub(crate) now_ms: i64,
    pub(crate) sides: &'a mut SideOutputs,
    pub(crate) states: &'a mut OperatorStateStore,
}

impl ProcessContext<'_> {
    /// The record's timestamp in milliseconds, if it has one.
    pub fn timestamp(&self) -> Option<i64> {
        (self.timestamp != NO_TIMESTAMP).then_some(self.timestamp)
    }
    /// Event time: the last watermark, `i64::MIN` before the first.
    pub fn current_watermark(&self) -> i64 {
        self.watermark
    }
    /// Wall clock in milliseconds, as of this batch.
    pub fn current_processing_time(&self) -> i64 {
        self.now_ms
    }
    /// The time again, and timers, which are refused: they need a key.
    pub fn timer_service(&mut self) -> UnkeyedTimerService<'_> {
        let ProcessContext { watermark, now_ms, ref sides, .. } = *self;
        UnkeyedTimerService { operator: sides.operator(), watermark, now_ms }
    }
    /// Emits to a side output, with the record's timestamp.
    pub fn output<T: 'static>(&mut self, tag: &OutputTag<T>, record: T) {
        self.sides.output(tag, record, self.timestamp);
    }
}

impl ProcessContext<'_> {
    /// The same context for a shorter time.
    #[inline(always)]
    pub(crate) fn reborrow(&mut self) -> ProcessContext<'_> {
        let ProcessContext { timestamp, watermark, now_ms, sides, states } = self;
        let (timestamp, watermark, now_ms) = (*timestamp, *watermark, *now_ms);
        ProcessContext { timestamp, watermark, now_ms, sides, states }
    }
}

impl OperatorContext for ProcessContext<'_> {
    fn operator_states(&self) -> &OperatorStateStore {
        self.states
    }
}

impl OperatorContextMut for ProcessContext<'_> {
    fn operator_states_mut(&mut self) -> &mut OperatorStateStore {
        self.states
    }
}

/// Sees the records of a key with the key's state and timers.
///
/// A small `process_element` is worth an `#[inline(always)]`: then it becomes part of the operator's loop (12 instead of
/// 25-35 ns a record for a running sum on the measured machine).
///
/// State handles are made in `open` and used with the context.
///
/// **Costs.** For each key with state or timers one row, which holds the key and all its states and is given back when both
/// are gone; for each timer two entries of 16 bytes. A deleted timer costs the second until its time has come.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// /// Counts the records of each key.
/// #[derive(Clone, Default)]
/// struct CountPerKey { count: ValueState<u64> }
///
/// impl KeyedProcessFunction for CountPerKey {
///     type Key = String;
///     type In = String;
///     type Out = (String, u64);
///     fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
///         self.count = context.value_state(ValueStateDescriptor::new("count"))?;
///         Ok(())
///     }
///     fn process_element(
///         &mut self,
///         word: String,
///         context: &mut Context<'_, String>,
///         out: &mut Collector<'_, (String, u64)>,
///     ) -> thalweg::Result<()> {
///         let count = self.count.modify(context, |count| {
///             *count += 1;
///             *count
///         })?;
///         out.collect((word, count));
///         Ok(())
///     }
/// }
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let words = ["to", "be", "or", "not", "to", "be"].map(String::from);
/// let counts = env.from_elements(words).key_by_ref(|word| word).process(CountPerKey::default()).collect();
/// env.execute("count per key")?;
/// assert_eq!(counts.take().last(), Some(&("be".to_string(), 2)));
/// # Ok::<(), thalweg::Error>(())
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` is not a KeyedProcessFunction")]
pub trait KeyedProcessFunction: 'static {
    /// The stream's key.
    type Key: Key;
    /// Records taken.
    type In: 'static;
    /// Records given.
    type Out: 'static;
    /// Called once on the function's core, before the first record: registers state.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(())
    }
    /// Called for each record.
    ///
    /// # Errors
    /// Any error fails the job.
    fn process_element(
        &mut self,
        record: Self::In,
        context: &mut Context<'_, Self::Key>,
        out: &mut Collector<'_, Self::Out>,
    ) -> Result<()>;
    /// Called when a timer fires. What it emits carries the timer's time, or no timestamp if it was one of processing time;
    /// side outputs carry the timer's time in both cases, as in Flink.
    ///
    /// # Errors
    /// Any error fails the job.
    fn on_timer(
        &mut self,
        _timer_ms: i64,
        _context: &mut OnTimerContext<'_, Self::Key>,
        _out: &mut Collector<'_, Self::Out>,
    ) -> Result<()> {
        Ok(())
    }
    /// Called once, after the last record.
    ///
    /// # Errors
    /// Any error fails the job.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
    checkpoint_hooks!();
}

/// Sees the records of two keyed streams with the key's shared state and timers.
///
/// Records of one side come in their order; between the sides there is none, so whoever comes first has to wait in state.
/// The watermark is the smaller one of the two sides.
///
/// **Costs.** As a [`KeyedProcessFunction`]: one row for each key with state or timers, whichever side it came from.
///
/// # Examples
/// Orders wait for their payment, for at most 10 ms of event time:
/// ```
/// use thalweg::prelude::*;
/// use thalweg::testing::{self, TestDriver};
///
/// #[derive(Clone, Default)]
/// struct Reconcile { order: ValueState<i64> }
///
/// impl KeyedCoProcessFunction for Reconcile {
///     type Key = u64;
///     type In1 = u64; // an order
///     type In2 = u64; // its payment
///     type Out = String;
///     fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
///         self.order = context.value_state(ValueStateDescriptor::new("order"))?;
///         Ok(())
///     }
///     fn process_element1(
///         &mut self,
///         _: u64,
///         context: &mut Context<'_, u64>,
///         _: &mut Collector<'_, String>,
///     ) -> thalweg::Result<()> {
///         let at = context.timestamp_ms() + 10;
///         self.order.update(context, at)?;
///         context.timer_service().register_event_time_timer(at);
///         Ok(())
///     }
///     fn process_element2(
///         &mut self,
///         order: u64,
///         context: &mut Context<'_, u64>,
///         out: &mut Collector<'_, String>,
///     ) -> thalweg::Result<()> {
///         if let Some(at) = self.order.take(context)? {
///             context.timer_service().delete_event_time_timer(at);
///             out.collect(format!("{order} is paid"));
///         }
///         Ok(())
///     }
///     fn on_timer(
///         &mut self,
///         _: i64,
///         context: &mut OnTimerContext<'_, u64>,
///         out: &mut Collector<'_, String>,
///     ) -> thalweg::Result<()> {
///         self.order.clear(context)?;
///         out.collect(format!("{} is not paid", context.current_key()));
///         Ok(())
///     }
/// }
///
/// let mut test = TestDriver::new(|env| {
///     let orders = env.from_source(testing::input::<u64>(), "orders").key_by(|order| *order);
///     let payments = env.from_source(testing::input::<u64>(), "payments").key_by(|order| *order);
///     let told = orders.connect(payments).process(Reconcile::default());
///     told.sink_to(testing::output()).name("told");
/// });
/// test.pipe_at("orders", [(1, 7_u64), (2, 8)]);
/// test.pipe_at("payments", [(3, 8_u64)]);
/// test.watermark("orders", 50);
/// test.watermark("payments", 10);
/// assert_eq!(test.outputs::<String>("told"), ["8 is paid"]);
/// test.watermark("payments", 11);
/// assert_eq!(test.outputs::<String>("told"), ["7 is not paid"]);
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` is not a KeyedCoProcessFunction")]
pub trait KeyedCoProcessFunction: 'static {
    /// The key of both streams.
    type Key: Key;
    /// Records of the first stream.
    type In1: 'static;
    /// Records of the second stream.
    type In2: 'static;
    /// Records given.
    type Out: 'static;
    /// Called once on the function's core, before the first record: registers state.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(())
    }
    /// Called for each record of the first stream.
    ///
    /// # Errors
    /// Any error fails the job.
    fn process_element1(
        &mut self,
        record: Self::In1,
        context: &mut Context<'_, Self::Key>,
        out: &mut Collector<'_, Self::Out>,
    ) -> Result<()>;
    /// Called for each record of the second stream.
    ///
    /// # Errors
    /// Any error fails the job.
    fn process_element2(
        &mut self,
        record: Self::In2,
        context: &mut Context<'_, Self::Key>,
        out: &mut Collector<'_, Self::Out>,
    ) -> Result<()>;
    /// Called when a timer fires. What it emits carries the timer's time, or no timestamp if it was one of processing time;
    /// side outputs carry the timer's time in both cases, as in Flink.
    ///
    /// # Errors
    /// Any error fails the job.
    fn on_timer(
        &mut self,
        _timer_ms: i64,
        _context: &mut OnTimerContext<'_, Self::Key>,
        _out: &mut Collector<'_, Self::Out>,
    ) -> Result<()> {
        Ok(())
    }
    /// Called once, after the last record.
    ///
    /// # Errors
    /// Any error fails the job.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
    checkpoint_hooks!();
}
