//! The interval join: pairs of records of one key whose timestamps lie within bounds of each other.
//!
//! A left record at `t` meets the right records in `t + lower ..= t + upper`. Each record is kept for as long as a partner
//! may come that is not late:
//!
//! ```text
//!   left  until the watermark reaches t + upper   (t itself if upper is negative)
//!   right until the watermark reaches t - lower   (t itself if lower is positive)
//! ```
//!
//! It is a keyed function of two inputs, with a buffer a side and key, and a timer where the first record of a buffer goes.
//!
//! **Invariants**
//! - A buffer that is not empty has a timer at the time at which its first record goes.
//! - A record is late when its timestamp is less than the watermark; it meets nothing and is not kept.
//! - Pairs come in the order of the partner's timestamp, then of the partner's arrival.

use crate::Result;
use crate::function::{
    Collector, Context, IntervalJoinError, JoinContext, JoinSide, KeyedCoProcessFunction,
    OnTimerContext, OutputTag, ProcessJoinFunction, RuntimeContext,
};
use crate::metrics::{HistogramHandle, MetricGroup};
use crate::operator::join_buffer::JoinBuffer;
use crate::operator::window::late::LATE_BY_MS;
use crate::record::NO_TIMESTAMP;
use std::marker::PhantomData;
use thalweg_state::{Key, StateValue, ValueState, ValueStateDescriptor};

/// The bounds of the right record relative to the left one, both included, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) lower_ms: i64,
    pub(crate) upper_ms: i64,
}

impl Interval {
    /// The right timestamps that meet a left one.
    fn of_left(self, at: i64) -> (i64, i64) {
        (at.saturating_add(self.lower_ms), at.saturating_add(self.upper_ms))
    }

    /// The left timestamps that meet a right one.
    fn of_right(self, at: i64) -> (i64, i64) {
        (at.saturating_sub(self.upper_ms), at.saturating_sub(self.lower_ms))
    }

    /// The watermark that ends the wait of a left record. A right one at exactly this time would not be late, but it is
    /// lost all the same: that is Flink's rule, too.
    fn end_of_left(self, at: i64) -> i64 {
        at.saturating_add(self.upper_ms.max(0))
    }

    /// The watermark that ends the wait of a right record.
    fn end_of_right(self, at: i64) -> i64 {
        at.saturating_sub(self.lower_ms.min(0))
    }
}

/// Where late records go.
pub(crate) struct LateOutputs<A, B> {
    pub(crate) left: Option<OutputTag<A>>,
    pub(crate) right: Option<OutputTag<B>>,
}

impl<A, B> Clone for LateOutputs<A, B> {
    fn clone(&self) -> Self {
        LateOutputs { left: self.left.clone(), right: self.right.clone() }
    }
}

/// See the module docs.
pub(crate) struct IntervalJoin<P: ProcessJoinFunction, K> {
    function: P,
    interval: Interval,
    late: LateOutputs<P::Left, P::Right>,
    left: ValueState<JoinBuffer<P::Left>>,
    right: ValueState<JoinBuffer<P::Right>>,
    /// Set by `open`.
    metrics: Option<MetricGroup>,
    /// Made at the first late record, since it takes 30 KiB.
    late_by_ms: Option<HistogramHandle>,
    key: PhantomData<fn() -> K>,
}

impl<P: ProcessJoinFunction, K> IntervalJoin<P, K> {
    pub(crate) fn new(
        function: P,
        interval: Interval,
        late: LateOutputs<P::Left, P::Right>,
    ) -> Self {
        let (left, right) = (ValueState::default(), ValueState::default());
        let (metrics, late_by_ms) = (None, None);
        IntervalJoin {
            function,
            interval,
            late,
            left,
            right,
            metrics,
            late_by_ms,
            key: PhantomData,
        }
    }
}

impl<P: ProcessJoinFunction + Clone, K> Clone for IntervalJoin<P, K> {
    fn clone(&self) -> Self {
        Self::new(self.function.clone(), self.interval, self.late.clone())
    }
}

impl<P: ProcessJoinFunction, K> IntervalJoin<P, K> {
    /// Counts a late record, and how late it is.
    #[cold]
    fn note_late(&mut self, context: &Context<'_, K>, has_output: bool) {
        let Some(metrics) = &self.metrics else { return };
        let late_by_ms = self.late_by_ms.get_or_insert_with(|| metrics.histogram(LATE_BY_MS));
        let watermark = context.services.watermark;
        late_by_ms.record(watermark.saturating_sub(context.timestamp).unsigned_abs());
        if !has_output {
            metrics.subtask().late_records_dropped.increment();
        }
    }
}

/// The time of the record at hand, and whether it is late.
#[inline(always)]
fn time_of<K>(context: &Context<'_, K>, side: JoinSide) -> Result<(i64, bool)> {
    let timestamp = context.timestamp;
    if timestamp == NO_TIMESTAMP {
        return Err(IntervalJoinError::NoTimestamp { side }.into());
    }
    Ok((timestamp, timestamp < context.services.watermark))
}

/// Calls `code` for each record in `range` of the other side's buffer, which is out of the state meanwhile: so the code
/// may use the key's state.
#[inline(always)]
fn meet<K, T: StateValue>(
    context: &mut Context<'_, K>,
    others: &ValueState<JoinBuffer<T>>,
    (first, last): (i64, i64),
    mut code: impl FnMut(&T, i64, &mut JoinContext<'_>) -> Result<()>,
) -> Result<()> {
    let Context { cursor, services, timestamp, .. } = context;
    let Some(buffer) = others.take(cursor)? else { return Ok(()) };
    let mut pair = JoinContext {
        cursor: cursor.reborrow(),
        left_timestamp: *timestamp,
        right_timestamp: *timestamp,
        sides: &mut services.sides,
    };
    for (at, other) in buffer.range(first, last) {
        code(other, *at, &mut pair)?;
    }
    others.update(cursor, buffer)?;
    Ok(())
}

/// Keeps a record until the watermark reaches `end`.
#[inline(always)]
fn keep<K, T: StateValue>(
    context: &mut Context<'_, K>,
    ours: &ValueState<JoinBuffer<T>>,
    record: T,
    end: i64,
) -> Result<()> {
    let timestamp = context.timestamp;
    if ours.modify(context, |buffer| buffer.insert(timestamp, record))? {
        context.timer_service().register_event_time_timer(end);
    }
    Ok(())
}

/// Drops the records of one side whose end the watermark has reached, and waits for the next.
fn clean<K, T: StateValue>(
    context: &mut Context<'_, K>,
    state: &ValueState<JoinBuffer<T>>,
    end_of: impl Fn(i64) -> i64,
) -> Result<()> {
    let watermark = context.services.watermark;
    let Some(mut buffer) = state.take(context)? else { return Ok(()) };
    buffer.remove_front(|at| end_of(at) <= watermark);
    if let Some(first) = buffer.first_timestamp() {
        state.update(context, buffer)?;
        context.timer_service().register_event_time_timer(end_of(first));
    }
    Ok(())
}

impl<P, K> KeyedCoProcessFunction for IntervalJoin<P, K>
where
    P: ProcessJoinFunction<Left: StateValue, Right: StateValue>,
    K: Key,
{
    type Key = K;
    type In1 = P::Left;
    type In2 = P::Right;
    type Out = P::Out;

    fn open(&mut self, context: &mut RuntimeContext<'_>) -> Result<()> {
        self.metrics = Some(context.metrics());
        self.left = context.value_state(ValueStateDescriptor::new("interval join: left"))?;
        self.right = context.value_state(ValueStateDescriptor::new("interval join: right"))?;
        self.function.open(context)
    }

    #[inline(always)]
    fn process_element1(
        &mut self,
        record: P::Left,
        context: &mut Context<'_, K>,
        out: &mut Collector<'_, P::Out>,
    ) -> Result<()> {
        let (at, is_late) = time_of(context, JoinSide::Left)?;
        if is_late {
            self.note_late(context, self.late.left.is_some());
            if let Some(tag) = &self.late.left {
                context.output(tag, record);
            }
            return Ok(());
        }
        let function = &mut self.function;
        meet(context, &self.right, self.interval.of_left(at), |right, right_at, pair| {
            pair.right_timestamp = right_at;
            function.process_element(&record, right, pair, &mut out.at(at.max(right_at)))
        })?;
        keep(context, &self.left, record, self.interval.end_of_left(at))
    }

    #[inline(always)]
    fn process_element2(
        &mut self,
        record: P::Right,
        context: &mut Context<'_, K>,
        out: &mut Collector<'_, P::Out>,
    ) -> Result<()> {
        let (at, is_late) = time_of(context, JoinSide::Right)?;
        if is_late {
            self.note_late(context, self.late.right.is_some());
            if let Some(tag) = &self.late.right {
                context.output(tag, record);
            }
            return Ok(());
        }
        let function = &mut self.function;
        meet(context, &self.left, self.interval.of_right(at), |left, left_at, pair| {
            pair.left_timestamp = left_at;
            function.process_element(left, &record, pair, &mut out.at(at.max(left_at)))
        })?;
        keep(context, &self.right, record, self.interval.end_of_right(at))
    }

    fn on_timer(
        &mut self,
        _: i64,
        context: &mut OnTimerContext<'_, K>,
        _: &mut Collector<'_, P::Out>,
    ) -> Result<()> {
        let interval = self.interval;
        clean(context, &self.left, |at| interval.end_of_left(at))?;
        clean(context, &self.right, |at| interval.end_of_right(at))
    }

    fn close(&mut self) -> Result<()> {
        self.function.close()
    }
}

/// A closure as a [`ProcessJoinFunction`].
pub(crate) struct JoinClosure<F, A, B, U> {
    pub(crate) function: F,
    pub(crate) types: PhantomData<fn(A, B) -> U>,
}

impl<F: Clone, A, B, U> Clone for JoinClosure<F, A, B, U> {
    fn clone(&self) -> Self {
        JoinClosure { function: self.function.clone(), types: PhantomData }
    }
}

impl<F, A, B, U> ProcessJoinFunction for JoinClosure<F, A, B, U>
where
    F: FnMut(&A, &B) -> U + 'static,
    A: 'static,
    B: 'static,
    U: 'static,
{
    type Left = A;
    type Right = B;
    type Out = U;
    #[inline(always)]
    fn process_element(
        &mut self,
        left: &A,
        right: &B,
        _: &mut JoinContext<'_>,
        out: &mut Collector<'_, U>,
    ) -> Result<()> {
        out.collect((self.function)(left, right));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both sides agree on what a pair is, and neither goes before its last partner that is not late.
    #[test]
    fn both_sides_see_the_same_interval() {
        for (lower_ms, upper_ms) in [(-2, 1), (0, 0), (3, 7), (-7, -3), (-5, 0), (0, 5), (1, -1)] {
            let interval = Interval { lower_ms, upper_ms };
            for left in -20..20 {
                let (first, last) = interval.of_left(left);
                assert!(interval.end_of_left(left) >= last.max(left));
                for right in -40..40 {
                    let (first_left, last_left) = interval.of_right(right);
                    assert!(interval.end_of_right(right) >= last_left.max(right));
                    let meets = (first..=last).contains(&right);
                    assert_eq!(meets, (first_left..=last_left).contains(&left), "{left} {right}");
                }
            }
        }
    }

    #[test]
    fn ends_lie_where_flinks_lie() {
        let ends = |lower_ms, upper_ms| {
            let interval = Interval { lower_ms, upper_ms };
            (interval.end_of_left(100), interval.end_of_right(100))
        };
        assert_eq!(ends(-5, 7), (107, 105));
        assert_eq!(ends(0, 0), (100, 100));
        assert_eq!(ends(3, 7), (107, 100));
        assert_eq!(ends(-7, -3), (100, 107));
    }

    #[test]
    fn bounds_beyond_all_time_saturate() {
        let all = Interval { lower_ms: i64::MIN, upper_ms: i64::MAX };
        assert_eq!(all.of_left(-5), (i64::MIN, i64::MAX - 5));
        assert_eq!(all.of_right(5), (i64::MIN + 6, i64::MAX));
        assert_eq!((all.end_of_left(5), all.end_of_right(5)), (i64::MAX, i64::MAX));
    }
}
