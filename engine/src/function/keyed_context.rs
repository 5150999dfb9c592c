//! What functions with keys may know and do: the key, its state, its timers, and time.

use crate::function::OutputTag;
use crate::operator::keyed_services::KeyedServices;
use crate::record::NO_TIMESTAMP;
use thalweg_state::{
    KeyedContext, OperatorContext, OperatorContextMut, OperatorStateStore, RowCursor,
};

/// The key at hand, its state, its timers, and time.
pub struct Context<'a, K> {
    pub(crate) cursor: RowCursor<'a>,
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
        let Context { cursor, key, timestamp, services } = self;
        Context { cursor: cursor.reborrow(), key, timestamp: *timestamp, services }
    }
    /// Time and timers of this key.
    pub fn timer_service(&mut self) -> TimerService<'_> {
        TimerService { cursor: self.cursor.reborrow(), services: self.services }
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
        &self.services.states.store
    }
}

impl<K> OperatorContextMut for Context<'_, K> {
    fn operator_states_mut(&mut self) -> &mut OperatorStateStore {
        &mut self.services.states.store
    }
}

pub use thalweg_state::TimeDomain;

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
/// Timers are de-duplicated per key, domain and time, and fire in order of time over all keys of the subtask; timers of one
/// time in an order that is the same in every run. The rules are Flink's:
///
/// - An event-time timer fires when the watermark reaches it. One at or before the current watermark fires at the next
///   advance of the watermark, not at once; one that `on_timer` registers there fires in the same advance.
/// - A processing-time timer fires when the clock has reached it; one in the past fires in the next round of the core's
///   loop.
/// - In `on_timer` the watermark and the clock are those that made it fire, not the timer's time.
/// - The end of input fires all event-time timers. Timers of processing time that are not due by then are dropped. A timer
///   that registers a later one each time, without a limit, never comes to that end.
///
/// Cost: two entries of 16 bytes a timer; one that is deleted keeps the second until its time has come. A key with timers has a
/// row, also without state.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
/// use thalweg::testing::OperatorHarness;
///
/// /// Repeats each record 10 ms after it.
/// #[derive(Clone)]
/// struct Echo;
///
/// impl KeyedProcessFunction for Echo {
///     type Key = char;
///     type In = char;
///     type Out = (char, i64);
///     fn process_element(
///         &mut self,
///         _: char,
///         context: &mut Context<'_, char>,
///         _: &mut Collector<'_, (char, i64)>,
///     ) -> thalweg::Result {
///         let at = context.timestamp_ms() + 10;
///         context.timer_service().register_event_time_timer(at);
///         Ok(())
///     }
///     fn on_timer(
///         &mut self,
///         at: i64,
///         context: &mut OnTimerContext<'_, char>,
///         out: &mut Collector<'_, (char, i64)>,
///     ) -> thalweg::Result {
///         out.collect((*context.current_key(), at));
///         Ok(())
///     }
/// }
///
/// let mut harness = OperatorHarness::new(|keys: DataStream<char>| keys.key_by(|key| *key).process(Echo));
/// harness.push('a', 5);
/// harness.push('b', 1);
/// harness.watermark(14);
/// assert_eq!(harness.outputs(), [('b', 11)]);
/// harness.watermark(15);
/// assert_eq!(harness.outputs(), [('a', 15)]);
/// ```
pub struct TimerService<'a> {
    cursor: RowCursor<'a>,
    services: &'a mut KeyedServices,
}

impl TimerService<'_> {
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
        self.services.register_timer(TimeDomain::EventTime, at_ms, &mut self.cursor);
    }
    /// Takes an event-time timer of this key back; no effect if there is none.
    pub fn delete_event_time_timer(&mut self, at_ms: i64) {
        self.services.delete_timer(TimeDomain::EventTime, at_ms, &mut self.cursor);
    }
    /// Asks for `on_timer` when the wall clock reaches `at_ms`.
    pub fn register_processing_time_timer(&mut self, at_ms: i64) {
        self.services.register_timer(TimeDomain::ProcessingTime, at_ms, &mut self.cursor);
    }
    /// Takes a processing-time timer of this key back; no effect if there is none.
    pub fn delete_processing_time_timer(&mut self, at_ms: i64) {
        self.services.delete_timer(TimeDomain::ProcessingTime, at_ms, &mut self.cursor);
    }
}
