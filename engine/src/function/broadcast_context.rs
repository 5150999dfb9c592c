//! What functions with a broadcast side may know and do.
//!
//! **Invariants**
//! - Only the context of a broadcast record lends the operator's state to change: it alone is an [`OperatorContextMut`]. The
//!   others give no way to a [`Context`] or [`ProcessContext`], which are.

use crate::Result;
use crate::function::{
    Context, OutputTag, ProcessContext, TimeDomain, TimerService, UnkeyedTimerService,
};
use crate::operator::keyed_services::KeyedServices;
use crate::record::NO_TIMESTAMP;
use thalweg_state::{
    Key, KeyedContext, KeyedState, OperatorContext, OperatorContextMut, OperatorStateStore,
    RowCursor, RowStore, StateError,
};

fn some_timestamp(timestamp: i64) -> Option<i64> {
    (timestamp != NO_TIMESTAMP).then_some(timestamp)
}

/// The context of a record of the stream without keys: time, side outputs, and broadcast state to read.
pub struct ReadOnlyContext<'a> {
    pub(crate) context: ProcessContext<'a>,
}

impl ReadOnlyContext<'_> {
    /// The record's timestamp in milliseconds, if it has one.
    pub fn timestamp(&self) -> Option<i64> {
        self.context.timestamp()
    }
    /// Event time: the last watermark, `i64::MIN` before the first.
    pub fn current_watermark(&self) -> i64 {
        self.context.current_watermark()
    }
    /// Wall clock in milliseconds, as of this batch.
    pub fn current_processing_time(&self) -> i64 {
        self.context.current_processing_time()
    }
    /// The time again, and timers, which are refused: they need a key.
    pub fn timer_service(&mut self) -> UnkeyedTimerService<'_> {
        self.context.timer_service()
    }
    /// Emits to a side output, with the record's timestamp.
    pub fn output<T: 'static>(&mut self, tag: &OutputTag<T>, record: T) {
        self.context.output(tag, record);
    }
}

impl OperatorContext for ReadOnlyContext<'_> {
    fn operator_states(&self) -> &OperatorStateStore {
        self.context.operator_states()
    }
}

/// The context of a record of the keyed stream: the key, its state and timers, and broadcast state to read.
pub struct KeyedReadOnlyContext<'a, K> {
    pub(crate) context: Context<'a, K>,
}

impl<K> KeyedReadOnlyContext<'_, K> {
    /// The key of the record or timer at hand.
    pub fn current_key(&self) -> &K {
        self.context.current_key()
    }
    /// The timestamp of the record at hand (ms), or the time of the timer; `None` for a record without.
    pub fn timestamp(&self) -> Option<i64> {
        self.context.timestamp()
    }
    /// [`timestamp`](Self::timestamp) where every record has one; `i64::MIN` otherwise.
    pub fn timestamp_ms(&self) -> i64 {
        self.context.timestamp_ms()
    }
    /// Event time: the last watermark, `i64::MIN` before the first.
    pub fn current_watermark(&self) -> i64 {
        self.context.services.watermark
    }
    /// Wall clock in milliseconds, as of this batch.
    pub fn current_processing_time(&self) -> i64 {
        self.context.services.now_ms()
    }
    /// Time and timers of this key.
    pub fn timer_service(&mut self) -> TimerService<'_> {
        self.context.timer_service()
    }
    /// Emits to a side output, with the timestamp of the record or timer at hand.
    pub fn output<T: 'static>(&mut self, tag: &OutputTag<T>, record: T) {
        self.context.output(tag, record);
    }
}

impl<K> KeyedContext for KeyedReadOnlyContext<'_, K> {
    #[inline(always)]
    fn cursor(&self) -> &RowCursor<'_> {
        self.context.cursor()
    }
    #[inline(always)]
    fn cursor_mut(&mut self) -> RowCursor<'_> {
        self.context.cursor_mut()
    }
}

impl<K> OperatorContext for KeyedReadOnlyContext<'_, K> {
    fn operator_states(&self) -> &OperatorStateStore {
        &self.context.services.states.store
    }
}

/// The context of a timer: all of [`KeyedReadOnlyContext`], and which clock it ran by.
pub struct OnTimerReadOnlyContext<'a, K> {
    pub(crate) context: KeyedReadOnlyContext<'a, K>,
    pub(crate) domain: TimeDomain,
}

impl<K> OnTimerReadOnlyContext<'_, K> {
    /// Which clock the timer ran by.
    pub fn time_domain(&self) -> TimeDomain {
        self.domain
    }
    /// The timer's time (ms), in both domains.
    pub fn timestamp(&self) -> Option<i64> {
        Some(self.context.timestamp_ms())
    }
}

impl<'a, K> std::ops::Deref for OnTimerReadOnlyContext<'a, K> {
    type Target = KeyedReadOnlyContext<'a, K>;
    fn deref(&self) -> &KeyedReadOnlyContext<'a, K> {
        &self.context
    }
}
impl<'a, K> std::ops::DerefMut for OnTimerReadOnlyContext<'a, K> {
    fn deref_mut(&mut self) -> &mut KeyedReadOnlyContext<'a, K> {
        &mut self.context
    }
}

impl<K> KeyedContext for OnTimerReadOnlyContext<'_, K> {
    #[inline(always)]
    fn cursor(&self) -> &RowCursor<'_> {
        self.context.cursor()
    }
    #[inline(always)]
    fn cursor_mut(&mut self) -> RowCursor<'_> {
        self.context.cursor_mut()
    }
}

impl<K> OperatorContext for OnTimerReadOnlyContext<'_, K> {
    fn operator_states(&self) -> &OperatorStateStore {
        self.context.operator_states()
    }
}

/// The context of a broadcast record beside a keyed stream: broadcast state to change, and the state of all keys.
pub struct KeyedBroadcastContext<'a, K: Key> {
    pub(crate) timestamp: i64,
    pub(crate) rows: &'a mut RowStore<K>,
    pub(crate) services: &'a mut KeyedServices,
}

impl<K: Key> KeyedBroadcastContext<'_, K> {
    /// The record's timestamp in milliseconds, if it has one.
    pub fn timestamp(&self) -> Option<i64> {
        some_timestamp(self.timestamp)
    }
    /// Event time: the last watermark, `i64::MIN` before the first.
    pub fn current_watermark(&self) -> i64 {
        self.services.watermark
    }
    /// Wall clock in milliseconds, as of this batch.
    pub fn current_processing_time(&self) -> i64 {
        self.services.now_ms()
    }
    /// The time again, and timers, which are refused: a broadcast record has no key.
    pub fn timer_service(&mut self) -> UnkeyedTimerService<'_> {
        let (watermark, now_ms) = (self.services.watermark, self.services.now_ms());
        UnkeyedTimerService { operator: self.services.sides.operator(), watermark, now_ms }
    }
    /// Emits to a side output, with the record's timestamp.
    pub fn output<T: 'static>(&mut self, tag: &OutputTag<T>, record: T) {
        self.services.sides.output(tag, record, self.timestamp);
    }

    /// Calls `visit` for each key of this subtask that has something in `state`. The row that it is given stands for the
    /// context of the key: handles read and write all keyed state of the key through it.
    ///
    /// The order of the keys is the same in every run with the same input; it is not that of the keys. Takes the time of a
    /// pass over all keys of the subtask, also those without this state, during which nothing else runs on the core.
    ///
    /// # Errors
    /// The first error of `visit`, which ends the visits; and a misuse of `state`, such as a handle of another operator.
    pub fn apply_to_keyed_state<S: KeyedState>(
        &mut self,
        state: &S,
        mut visit: impl FnMut(&K, &mut RowCursor<'_>) -> Result<()>,
    ) -> Result<()> {
        self.check_handle(state)?;
        self.rows.visit_rows(|mut row, key| match state.is_present(&row)? {
            true => visit(key, &mut row),
            false => Ok(()),
        })
    }

    /// An unopened handle is told of, also where there is no key to visit.
    fn check_handle<S: KeyedState>(&self, state: &S) -> Result<()> {
        match state.is_present(&RowCursor::detached()) {
            Ok(_) | Err(StateError::NoKeyContext { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl<K: Key> OperatorContext for KeyedBroadcastContext<'_, K> {
    fn operator_states(&self) -> &OperatorStateStore {
        &self.services.states.store
    }
}

impl<K: Key> OperatorContextMut for KeyedBroadcastContext<'_, K> {
    fn operator_states_mut(&mut self) -> &mut OperatorStateStore {
        &mut self.services.states.store
    }
}

super::unkeyed::without_key!(ReadOnlyContext<'_>);

/// There is no key here: keyed state answers with [`StateError::NoKeyContext`].
impl<K: Key> KeyedContext for KeyedBroadcastContext<'_, K> {
    fn cursor(&self) -> &RowCursor<'_> {
        super::unkeyed::no_key()
    }
    fn cursor_mut(&mut self) -> RowCursor<'_> {
        RowCursor::detached()
    }
}
