//! Process functions: the operators with access to time, timers, state and side outputs.

use crate::Result;
use crate::function::{Collector, OutputTag, RuntimeContext, UnkeyedTimerService};
use crate::operator::keyed_services::KeyedServices;
use crate::operator::side_outputs::SideOutputs;
use crate::record::NO_TIMESTAMP;
use thalweg_state::{
    Key, KeyedContext, OperatorContext, OperatorContextMut, OperatorStateStore, RowCursor, RowId,
    Timer,
};

/// Sees each record with its time, and emits any number of records to its output and to side outputs.
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
/// State handles are made in `open` and used with the context. Cost per key with state: one row that holds the key and all
/// its states; per timer: 16 bytes or so.
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
}

/// Sees the records of two keyed streams with the key's shared state and timers.
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
}

/// The key at hand, its state, its timers, and time.
pub struct Context<'a, K> {
    pub(crate) cursor: RowCursor<'a>,
    pub(crate) row: RowId,
    pub(crate) key: &'a K,
    pub(crate) timestamp: i64,
    pub(crate) services: &'a mut KeyedServices,
}

impl<K> Context<'_, K> {
    /// The key of the record or timer at hand.
    pub fn current_key(&self) -> &K {
        self.key
    }
    /// The timestamp of the record at hand (ms), or the time of the timer; `None` for a record without.
    pub fn timestamp(&self) -> Option<i64> {
        (self.timestamp != NO_TIMESTAMP).then_some(self.timestamp)
    }
    /// [`timestamp`](Self::timestamp) where every record has one; `i64::MIN` otherwise.
    pub fn timestamp_ms(&self) -> i64 {
        self.timestamp
    }
    /// The same context for a shorter time.
    pub(crate) fn reborrow(&mut self) -> Context<'_, K> {
        let Context { cursor, row, key, timestamp, services } = self;
        Context { cursor: cursor.reborrow(), row: *row, key, timestamp: *timestamp, services }
    }
    /// Time and timers of this key.
    pub fn timer_service(&mut self) -> TimerService<'_> {
        TimerService { cursor: self.cursor.reborrow(), row: self.row, services: self.services }
    }
    /// Emits to a side output, with the timestamp of the record or timer at hand.
    pub fn output<T: 'static>(&mut self, tag: &OutputTag<T>, record: T) {
        self.services.sides.output(tag, record, self.timestamp);
    }
}

impl<K> KeyedContext for Context<'_, K> {
    #[inline(always)]
    fn cursor(&self) -> &RowCursor<'_> {
        &self.cursor
    }
    #[inline(always)]
    fn cursor_mut(&mut self) -> RowCursor<'_> {
        self.cursor.reborrow()
    }
}

impl<K> OperatorContext for Context<'_, K> {
    fn operator_states(&self) -> &OperatorStateStore {
        &self.services.states
    }
}

impl<K> OperatorContextMut for Context<'_, K> {
    fn operator_states_mut(&mut self) -> &mut OperatorStateStore {
        &mut self.services.states
    }
}

/// Which clock a timer runs by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeDomain {
    /// Watermarks.
    EventTime,
    /// The wall clock.
    ProcessingTime,
}

/// The context of a timer: all of [`Context`], and which clock it ran by.
pub struct OnTimerContext<'a, K> {
    pub(crate) context: Context<'a, K>,
    pub(crate) domain: TimeDomain,
}

impl<K> OnTimerContext<'_, K> {
    /// Which clock the timer ran by.
    pub fn time_domain(&self) -> TimeDomain {
        self.domain
    }
    /// The timer's time (ms), in both domains.
    pub fn timestamp(&self) -> Option<i64> {
        Some(self.context.timestamp)
    }
}

impl<'a, K> std::ops::Deref for OnTimerContext<'a, K> {
    type Target = Context<'a, K>;
    fn deref(&self) -> &Context<'a, K> {
        &self.context
    }
}
impl<'a, K> std::ops::DerefMut for OnTimerContext<'a, K> {
    fn deref_mut(&mut self) -> &mut Context<'a, K> {
        &mut self.context
    }
}

impl<K> KeyedContext for OnTimerContext<'_, K> {
    #[inline(always)]
    fn cursor(&self) -> &RowCursor<'_> {
        self.context.cursor()
    }
    #[inline(always)]
    fn cursor_mut(&mut self) -> RowCursor<'_> {
        self.context.cursor_mut()
    }
}

impl<K> OperatorContext for OnTimerContext<'_, K> {
    fn operator_states(&self) -> &OperatorStateStore {
        self.context.operator_states()
    }
}

impl<K> OperatorContextMut for OnTimerContext<'_, K> {
    fn operator_states_mut(&mut self) -> &mut OperatorStateStore {
        self.context.operator_states_mut()
    }
}

/// Time as the operator sees it, and the timers of the key at hand.
///
/// Timers are de-duplicated per key and time. A timer at or before the current watermark fires at the next advance of
/// the watermark, not at once.
pub struct TimerService<'a> {
    cursor: RowCursor<'a>,
    row: RowId,
    services: &'a mut KeyedServices,
}

impl TimerService<'_> {
    fn timer(&self, timestamp_ms: i64) -> Timer {
        Timer { timestamp_ms, row: self.row }
    }

    /// Event time: the last watermark, `i64::MIN` before the first.
    pub fn current_watermark(&self) -> i64 {
        self.services.watermark
    }
    /// Wall clock in milliseconds, as of this batch.
    pub fn current_processing_time(&self) -> i64 {
        self.services.now_ms()
    }
    /// Asks for `on_timer` when the watermark passes `at_ms`.
    pub fn register_event_time_timer(&mut self, at_ms: i64) {
        let timer = self.timer(at_ms);
        if self.services.event_timers.register(timer) {
            self.cursor.pin();
        }
    }
    /// Takes an event-time timer of this key back; no effect if there is none.
    pub fn delete_event_time_timer(&mut self, at_ms: i64) {
        let timer = self.timer(at_ms);
        if self.services.event_timers.delete(timer) {
            self.cursor.unpin();
        }
    }
    /// Asks for `on_timer` when the wall clock reaches `at_ms`.
    pub fn register_processing_time_timer(&mut self, at_ms: i64) {
        let timer = self.timer(at_ms);
        if self.services.processing_timers.register(timer) {
            self.cursor.pin();
        }
    }
    /// Takes a processing-time timer of this key back; no effect if there is none.
    pub fn delete_processing_time_timer(&mut self, at_ms: i64) {
        let timer = self.timer(at_ms);
        if self.services.processing_timers.delete(timer) {
            self.cursor.unpin();
        }
    }
}
