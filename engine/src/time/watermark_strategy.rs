//! [`WatermarkStrategy`]: a generator, an assigner, and when a stream is not waited for.
//!
//! The rules are Flink's: a watermark `w` says that no record with a timestamp <= `w` is expected; nothing is emitted before
//! the first record; a watermark never falls.

use crate::time::{
    BoundedOutOfOrderness, ByFunction, IngestionTime, NoWatermarks, Punctuated, RecordedTimestamps,
    TimestampAssigner, WatermarkGenerator, duration_ms,
};
use std::marker::PhantomData;
use std::time::Duration;

/// How a stream gets its timestamps and watermarks.
///
/// Used in two places:
/// - [`assign_timestamps_and_watermarks`](crate::api::DataStream::assign_timestamps_and_watermarks): one generator a subtask.
///   Watermarks and statuses from upstream are dropped, all but the end of time.
/// - [`from_source_with`](crate::api::StreamExecutionEnvironment::from_source_with): in the source, one generator for each
///   split, so that a split that is read slower than others of its subtask holds the watermark.
///
/// When watermarks leave is said by the option `auto_watermark_interval_ms`. At 0, the default, they leave after each batch
/// that raised them. Otherwise they leave at ticks of the wall clock, as in Flink (whose default is 200): the first one an
/// interval after the start, each next one an interval after the one before; a clock that jumps over several gives one
/// tick. A clock that is set back delays nothing.
///
/// Checkpoints keep what was said, the generators (largest timestamps) and for how long there has been silence, so that a
/// restart makes no record late or on time; time in which the job was down does not count. Splits go on with their own
/// generators wherever they are read. With other parallelism, what belongs to no split goes on from the subtask that was
/// furthest behind. Own generators keep what [`snapshot_state`](WatermarkGenerator::snapshot_state) says.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// let strategy = WatermarkStrategy::bounded_out_of_orderness(seconds(5))
///     .with_timestamp(|reading: &(i64, f64)| reading.0)
///     .with_idleness(minutes(1));
/// # let _ = strategy;
/// ```
pub struct WatermarkStrategy<T, G = BoundedOutOfOrderness, A = RecordedTimestamps> {
    pub(crate) generator: G,
    pub(crate) assigner: A,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) alignment: Option<WatermarkAlignment>,
    _record: PhantomData<fn(T)>,
}

/// Sources of one group wait for each other; see [`WatermarkStrategy::with_alignment`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WatermarkAlignment {
    pub(crate) group: String,
    pub(crate) max_drift_ms: i64,
    pub(crate) update_interval_ms: i64,
}

impl<T, G: Clone, A: Clone> Clone for WatermarkStrategy<T, G, A> {
    fn clone(&self) -> Self {
        WatermarkStrategy {
            generator: self.generator.clone(),
            assigner: self.assigner.clone(),
            idle_timeout: self.idle_timeout,
            alignment: self.alignment.clone(),
            _record: PhantomData,
        }
    }
}

impl<T: 'static> WatermarkStrategy<T> {
    /// Records may come up to `delay` after others with later timestamps: watermark = largest timestamp − delay − 1 ms.
    ///
    /// What comes later still is late. Costs a comparison a record; windows and joins behind it keep what they have for `delay` longer.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    /// use thalweg::testing::{OperatorHarness, OutputEvent};
    ///
    /// let mut harness = OperatorHarness::new(|records: DataStream<i64>| {
    ///     records.assign_timestamps_and_watermarks(WatermarkStrategy::bounded_out_of_orderness(milliseconds(10)))
    /// });
    /// harness.push(7, 1_000);
    /// assert_eq!(harness.events().last(), Some(&OutputEvent::Watermark(989)));
    /// harness.push(8, 995); // does not raise it
    /// assert_eq!(harness.events(), [OutputEvent::Record { value: 8, timestamp_ms: Some(995) }]);
    /// ```
    pub fn bounded_out_of_orderness(delay: Duration) -> Self {
        WatermarkStrategy::for_generator(BoundedOutOfOrderness::new(delay))
    }

    /// Timestamps only rise: watermark = largest timestamp − 1 ms.
    ///
    /// A record whose timestamp is less than an earlier one may be late. Costs a comparison a record.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    /// use thalweg::testing::{OperatorHarness, OutputEvent};
    ///
    /// let mut harness = OperatorHarness::new(|records: DataStream<i64>| {
    ///     records.assign_timestamps_and_watermarks(WatermarkStrategy::monotonous())
    /// });
    /// harness.push(7, 1_000);
    /// assert_eq!(harness.events().last(), Some(&OutputEvent::Watermark(999)));
    /// ```
    pub fn monotonous() -> Self {
        Self::bounded_out_of_orderness(Duration::ZERO)
    }
}

impl<T: 'static> WatermarkStrategy<T, BoundedOutOfOrderness, IngestionTime> {
    /// Event time is when the record came: the wall clock of the subtask as of the batch, with monotonous watermarks.
    ///
    /// Put it at the source ([`from_source_with`](crate::api::StreamExecutionEnvironment::from_source_with), or right behind
    /// it): further down it stamps the time of arrival there. Records of one batch have one timestamp. A clock that is set
    /// back stops the time until it has caught up, so that no record is late. Results differ from run to run, which no
    /// other strategy's do.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let clicks = env
    ///     .from_elements(["a", "b", "a"].map(String::from))
    ///     .assign_timestamps_and_watermarks(WatermarkStrategy::ingestion_time())
    ///     .key_by(|user| user.clone())
    ///     .window(TumblingEventTimeWindows::of(days(1_000_000)))
    ///     .aggregate(Count)
    ///     .collect();
    /// env.execute("clicks")?;
    /// assert_eq!(clicks.take().iter().sum::<u64>(), 3);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn ingestion_time() -> Self {
        let strategy = WatermarkStrategy::<T>::monotonous();
        strategy.with_timestamp_assigner(IngestionTime::default())
    }
}

impl<T: 'static> WatermarkStrategy<T, NoWatermarks> {
    /// Timestamps without watermarks: event time stands still until the end of input.
    ///
    /// Costs nothing a record, but windows and joins behind it keep everything until then.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    /// use thalweg::testing::{OperatorHarness, OutputEvent};
    ///
    /// let mut harness = OperatorHarness::new(|records: DataStream<i64>| {
    ///     records.assign_timestamps_and_watermarks(WatermarkStrategy::none())
    /// });
    /// harness.push(7, 1_000);
    /// assert_eq!(harness.events(), [OutputEvent::Record { value: 7, timestamp_ms: Some(1_000) }]);
    /// ```
    pub fn none() -> Self {
        WatermarkStrategy::for_generator(NoWatermarks)
    }
}

impl<T: 'static, F> WatermarkStrategy<T, Punctuated<F>>
where
    F: FnMut(&T, i64) -> Option<i64> + Clone + Send + 'static,
{
    /// `function` sees each record with its timestamp and answers with a watermark where the record carries one; that
    /// leaves right behind the record.
    ///
    /// Costs a call a record, and a control for each watermark that is higher than the last.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    /// use thalweg::testing::{OperatorHarness, OutputEvent};
    ///
    /// let mut harness = OperatorHarness::new(|records: DataStream<i64>| {
    ///     records.assign_timestamps_and_watermarks(WatermarkStrategy::punctuated(|n: &i64, at| (*n == 0).then_some(at)))
    /// });
    /// harness.push(7, 1_000);
    /// harness.push(0, 1_005);
    /// assert_eq!(harness.events().last(), Some(&OutputEvent::Watermark(1_005)));
    /// ```
    pub fn punctuated(function: F) -> Self {
        WatermarkStrategy::for_generator(Punctuated(function))
    }
}

impl<T: 'static, G: WatermarkGenerator<T> + Clone + Send> WatermarkStrategy<T, G> {
    /// Watermarks by a generator of your own, cloned for each subtask or split.
    pub fn for_generator(generator: G) -> Self {
        let (idle_timeout, alignment) = (None, None);
        let assigner = RecordedTimestamps;
        WatermarkStrategy { generator, assigner, idle_timeout, alignment, _record: PhantomData }
    }
}

impl<T: 'static, G, A> WatermarkStrategy<T, G, A> {
    /// Reads the timestamp (ms) from the record; without it records keep the one their source gave them.
    pub fn with_timestamp<F: FnMut(&T) -> i64 + Clone + Send + 'static>(
        self,
        function: F,
    ) -> WatermarkStrategy<T, G, ByFunction<F>> {
        self.with_timestamp_assigner(ByFunction(function))
    }

    /// Timestamps by an assigner of your own, which also sees the timestamp that a record already has.
    pub fn with_timestamp_assigner<B: TimestampAssigner<T> + Clone + Send>(
        self,
        assigner: B,
    ) -> WatermarkStrategy<T, G, B> {
        let WatermarkStrategy { generator, idle_timeout, alignment, .. } = self;
        WatermarkStrategy { generator, assigner, idle_timeout, alignment, _record: PhantomData }
    }

    /// A subtask (or split) without records for `timeout` no longer holds others back. Active again it is with its next
    /// watermark, not with its next record. A timeout of zero is a mistake that `execute` reports.
    ///
    /// Where watermarks leave at ticks, idleness is found there too, by Flink's bookkeeping: the first tick that has seen
    /// no record starts the countdown, and the first one *more* than `timeout` later finds the stream idle: up to two
    /// intervals after the timeout. While watermarks leave after each batch it is found after `timeout`. Time in which
    /// the operator could take no records, because what follows it was busy, does not count; nor does setting the wall clock.
    ///
    /// Costs a look at the clock a batch.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    /// use thalweg::testing::{OperatorHarness, OutputEvent};
    ///
    /// let mut harness = OperatorHarness::new_two(|quiet: DataStream<i64>, busy: DataStream<i64>| {
    ///     let strategy = WatermarkStrategy::monotonous().with_idleness(milliseconds(10));
    ///     quiet.assign_timestamps_and_watermarks(strategy).union(busy)
    /// });
    /// harness.watermark_second(50);
    /// assert!(harness.events().is_empty());
    /// harness.advance_clock(milliseconds(20));
    /// assert_eq!(harness.events(), [OutputEvent::Watermark(50)]);
    /// ```
    pub fn with_idleness(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// Sources of one `group` wait for each other: one whose watermark is more than `max_drift` above the lowest of the
    /// group is not read until the rest has caught up. That bounds what windows and joins behind them must keep.
    ///
    /// Only for [`from_source_with`](crate::api::StreamExecutionEnvironment::from_source_with). A group is of one job, and
    /// counts every subtask of its sources, but those without a watermark yet, idle ones and those that have ended. A
    /// source may exceed `max_drift` by what is read between two watermarks: a batch, or an interval of
    /// `auto_watermark_interval_ms`. Whole sources wait, not single splits of one.
    ///
    /// It costs a look at one atomic of each subtask of the group a batch; see
    /// [`with_alignment_every`](Self::with_alignment_every). A waiting source looks each millisecond.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let strategy = || {
    ///     WatermarkStrategy::monotonous().with_timestamp(|n: &u64| *n as i64).with_alignment("both", seconds(1))
    /// };
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let fast = env.from_source_with(source::DataGeneratorSource::new(|n| n).count(10_000), strategy(), "fast");
    /// let slow = env.from_source_with(source::DataGeneratorSource::new(|n| n * 10).count(1_000), strategy(), "slow");
    /// let all = fast.union(slow).collect();
    /// env.execute("both")?;
    /// assert_eq!(all.take().len(), 11_000);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn with_alignment(self, group: impl Into<String>, max_drift: Duration) -> Self {
        self.with_alignment_every(group, max_drift, Duration::ZERO)
    }

    /// [`with_alignment`](Self::with_alignment), but a source that is not waiting looks at the others each
    /// `update_interval` only; it may exceed `max_drift` by what it reads in that time. For groups of very many
    /// subtasks.
    pub fn with_alignment_every(
        mut self,
        group: impl Into<String>,
        max_drift: Duration,
        update_interval: Duration,
    ) -> Self {
        self.alignment = Some(WatermarkAlignment {
            group: group.into(),
            max_drift_ms: duration_ms(max_drift),
            update_interval_ms: duration_ms(update_interval),
        });
        self
    }

    /// What `execute` reports wherever the strategy is used.
    pub(crate) fn mistake(&self) -> Option<&'static str> {
        let is_zero = self.idle_timeout.is_some_and(|timeout| timeout.is_zero());
        is_zero.then_some(
            "its idle timeout is zero, so that it would always be idle; say more than zero in with_idleness, or \
             leave that out",
        )
    }

    pub(crate) fn idle_timeout_ns(&self) -> Option<u64> {
        let timeout = self.idle_timeout?;
        Some(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX))
    }
}
