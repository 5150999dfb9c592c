//! `interval_join`: pairs of records of two keyed streams that lie close to each other in time.

use crate::api::chain::Chain;
use crate::api::connected::KeyedConnectedStreams;
use crate::api::keyed::KeyedStream;
use crate::api::plan_builder::Mistake;
use crate::api::stream::DataStream;
use crate::function::{KeySelector, OutputTag, ProcessJoinFunction, UserFunction};
use crate::operator::interval_join::{
    Interval, IntervalJoin as Operator, JoinClosure, LateOutputs,
};
use crate::time::RelativeTime;
use std::marker::PhantomData;
use std::panic::Location;
use thalweg_state::StateValue;

impl<A: Send + 'static, S1: KeySelector<A>> KeyedStream<A, S1> {
    /// Joins each record with those records of `right` that have the same key and a timestamp within bounds of its own:
    /// `left.timestamp + lower <= right.timestamp <= left.timestamp + upper`.
    ///
    /// Event time only: both streams need timestamps and watermarks, and a record without a timestamp fails the job. A
    /// pair is emitted as soon as its second record is there, with the later timestamp of the two. A record that meets
    /// several others meets them in the order of their timestamps, those of one timestamp in the order of their arrival.
    ///
    /// A record is late, and meets nothing, if its timestamp is less than the watermark (the lower one of both streams).
    /// Late records are dropped and counted (`late_records_dropped`), or go to a side output:
    /// [`side_output_left_late`](IntervalJoined::side_output_left_late) and
    /// [`side_output_right_late`](IntervalJoined::side_output_right_late). How late they were is in the histogram `late_by_ms`
    /// of the operator.
    ///
    /// As in Flink, a left record is dropped as soon as the watermark reaches `timestamp + upper` (`timestamp` if `upper`
    /// is negative), although a right record of exactly that timestamp is not late yet: such a pair is lost. The same
    /// holds for right records at `timestamp - lower`.
    ///
    /// Cost: each record is kept until no partner can come (see above), in a list a side and key that is sorted by
    /// timestamp: 8 bytes and the record itself each, and one timer of 16 bytes or so a list. A record costs two binary
    /// searches and its matches; one that comes out of order also moves the records between it and the nearer end of its
    /// list. What one record emits is not bounded: a record that meets a million others emits a million pairs at once.
    ///
    /// # Examples
    /// Payments up to ten seconds after their order:
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let orders = env
    ///     .from_elements([("a".to_string(), 1_000_i64), ("b".to_string(), 2_000)])
    ///     .assign_timestamps_and_watermarks(
    ///         WatermarkStrategy::monotonous().with_timestamp(|order: &(String, i64)| order.1),
    ///     )
    ///     .key_by(|order| order.0.clone());
    /// let payments = env
    ///     .from_elements([("b".to_string(), 3_500_i64), ("a".to_string(), 60_000)])
    ///     .assign_timestamps_and_watermarks(
    ///         WatermarkStrategy::monotonous().with_timestamp(|payment: &(String, i64)| payment.1),
    ///     )
    ///     .key_by(|payment| payment.0.clone());
    /// let in_time = orders
    ///     .interval_join(payments)
    ///     .between(seconds(0), seconds(10))
    ///     .apply(|order, payment| (order.0.clone(), payment.1 - order.1))
    ///     .collect();
    /// env.execute("payments in time")?;
    /// assert_eq!(in_time.take(), [("b".to_string(), 1_500)]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn interval_join<B, S2>(self, right: KeyedStream<B, S2>) -> IntervalJoin<A, B, S1, S2>
    where
        B: Send + 'static,
        S2: KeySelector<B, Key = S1::Key>,
    {
        IntervalJoin { streams: self.connect(right) }
    }
}

/// Two keyed streams that are to be joined: say how close records must be in time.
#[must_use = "an interval join needs its bounds"]
pub struct IntervalJoin<A, B, S1, S2> {
    streams: KeyedConnectedStreams<A, B, S1, S2>,
}

impl<A, B, S1, S2> IntervalJoin<A, B, S1, S2>
where
    A: Send + 'static,
    B: Send + 'static,
    S1: KeySelector<A>,
    S2: KeySelector<B, Key = S1::Key>,
{
    /// Where the right record may lie, seen from the left one; both bounds included. A duration is later, and
    /// [`before`](crate::time::before) makes it earlier: `between(before(seconds(2)), seconds(1))`.
    ///
    /// A lower bound above the upper one is a mistake of the plan, which `execute` reports.
    ///
    /// Cost: each side is kept for as long as the bounds reach, see [`interval_join`](KeyedStream::interval_join).
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let at = || WatermarkStrategy::none().with_timestamp(|t: &i64| *t);
    /// let left = env.from_elements([10_i64]).assign_timestamps_and_watermarks(at()).key_by(|_| 0_u8);
    /// let right = env.from_elements([5_i64, 10, 15]).assign_timestamps_and_watermarks(at()).key_by(|_| 0_u8);
    /// let met = left.interval_join(right).between(before(milliseconds(5)), milliseconds(2)).apply(|_, right| *right).collect();
    /// env.execute("between")?;
    /// assert_eq!(met.take(), [5, 10]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn between(
        self,
        lower: impl Into<RelativeTime>,
        upper: impl Into<RelativeTime>,
    ) -> IntervalJoined<A, B, S1, S2> {
        self.between_ms(lower.into().ms(), upper.into().ms())
    }

    /// [`between`](Self::between) in milliseconds; negative is earlier.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let at = || WatermarkStrategy::none().with_timestamp(|t: &i64| *t);
    /// let left = env.from_elements([10_i64]).assign_timestamps_and_watermarks(at()).key_by(|_| 0_u8);
    /// let right = env.from_elements([5_i64, 10, 15]).assign_timestamps_and_watermarks(at()).key_by(|_| 0_u8);
    /// let met = left.interval_join(right).between_ms(-5, 2).apply(|_, right| *right).collect();
    /// env.execute("between")?;
    /// assert_eq!(met.take(), [5, 10]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    #[track_caller]
    pub fn between_ms(self, lower_ms: i64, upper_ms: i64) -> IntervalJoined<A, B, S1, S2> {
        IntervalJoined {
            streams: self.streams,
            lower_ms,
            upper_ms,
            lower_exclusive: false,
            upper_exclusive: false,
            late: LateOutputs { left: None, right: None },
            location: Location::caller(),
        }
    }
}

/// Two keyed streams joined by time: say what becomes of a pair.
#[must_use = "an interval join needs a function for its pairs"]
pub struct IntervalJoined<A, B, S1, S2> {
    streams: KeyedConnectedStreams<A, B, S1, S2>,
    lower_ms: i64,
    upper_ms: i64,
    lower_exclusive: bool,
    upper_exclusive: bool,
    late: LateOutputs<A, B>,
    location: &'static Location<'static>,
}

impl<A, B, S1, S2> IntervalJoined<A, B, S1, S2>
where
    A: StateValue + Send,
    B: StateValue + Send,
    S1: KeySelector<A>,
    S2: KeySelector<B, Key = S1::Key>,
{
    /// A record exactly at the lower bound does not match. Default: it does.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let at = || WatermarkStrategy::none().with_timestamp(|t: &i64| *t);
    /// let left = env.from_elements([10_i64]).assign_timestamps_and_watermarks(at()).key_by(|_| 0_u8);
    /// let right = env.from_elements([5_i64, 10, 15]).assign_timestamps_and_watermarks(at()).key_by(|_| 0_u8);
    /// let met = left.interval_join(right).between_ms(-5, 5).lower_bound_exclusive().apply(|_, right| *right).collect();
    /// env.execute("bounds")?;
    /// assert_eq!(met.take(), [10, 15]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn lower_bound_exclusive(mut self) -> Self {
        self.lower_exclusive = true;
        self
    }

    /// A record exactly at the upper bound does not match. Default: it does.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    ///
    /// let env = StreamExecutionEnvironment::new();
    /// env.set_parallelism(1);
    /// let at = || WatermarkStrategy::none().with_timestamp(|t: &i64| *t);
    /// let left = env.from_elements([10_i64]).assign_timestamps_and_watermarks(at()).key_by(|_| 0_u8);
    /// let right = env.from_elements([5_i64, 10, 15]).assign_timestamps_and_watermarks(at()).key_by(|_| 0_u8);
    /// let met = left.interval_join(right).between_ms(-5, 5).upper_bound_exclusive().apply(|_, right| *right).collect();
    /// env.execute("bounds")?;
    /// assert_eq!(met.take(), [5, 10]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn upper_bound_exclusive(mut self) -> Self {
        self.upper_exclusive = true;
        self
    }

    /// Sends left records that come too late to `tag`, to be read by `side_output(&tag)` on the result, with their own
    /// timestamps. Default: they are dropped and counted.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    /// use thalweg::testing::OperatorHarness;
    ///
    /// let late = OutputTag::<i64>::new("late");
    /// let join = |left: DataStream<i64>, right: DataStream<i64>| {
    ///     let (left, right) = (left.key_by(|_| 0_u8), right.key_by(|_| 0_u8));
    ///     left.interval_join(right).between_ms(-5, 5).side_output_left_late(&late).apply(|a, b| a + b)
    /// };
    /// let mut harness = OperatorHarness::builder().side_output(&late).build_two(join)?;
    /// harness.watermark(10);
    /// harness.push(1, 9);
    /// assert_eq!(harness.side_outputs(&late), [1]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn side_output_left_late(mut self, tag: &OutputTag<A>) -> Self {
        self.late.left = Some(tag.clone());
        self
    }

    /// Sends right records that come too late to `tag`, to be read by `side_output(&tag)` on the result, with their own
    /// timestamps. Default: they are dropped and counted.
    ///
    /// # Examples
    /// ```
    /// use thalweg::prelude::*;
    /// use thalweg::testing::OperatorHarness;
    ///
    /// let late = OutputTag::<i64>::new("late");
    /// let join = |left: DataStream<i64>, right: DataStream<i64>| {
    ///     let (left, right) = (left.key_by(|_| 0_u8), right.key_by(|_| 0_u8));
    ///     left.interval_join(right).between_ms(-5, 5).side_output_right_late(&late).apply(|a, b| a + b)
    /// };
    /// let mut harness = OperatorHarness::builder().side_output(&late).build_two(join)?;
    /// harness.watermark(10);
    /// harness.push_second(1, 9);
    /// assert_eq!(harness.side_outputs(&late), [1]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn side_output_right_late(mut self, tag: &OutputTag<B>) -> Self {
        self.late.right = Some(tag.clone());
        self
    }

    /// Emits what `function` makes of each pair.
    ///
    /// Examples are at [`interval_join`](KeyedStream::interval_join) and [`between`](IntervalJoin::between).
    #[track_caller]
    pub fn apply<U, F>(self, function: F) -> DataStream<U, impl Chain<U>>
    where
        U: Send + 'static,
        F: FnMut(&A, &B) -> U + UserFunction,
    {
        self.end(JoinClosure { function, types: PhantomData }, Location::caller())
    }

    /// Gives each pair to a rich function, which sees its timestamps and may emit any number of records, also to side
    /// outputs, and keep state of the key.
    ///
    /// An example is at [`ProcessJoinFunction`]. State of the function comes on top of what the join keeps; it is not dropped with the
    /// records, so clear it or give it a [time to live](crate::state::StateTtl).
    #[track_caller]
    pub fn process<P>(self, function: P) -> DataStream<P::Out, impl Chain<P::Out>>
    where
        P: ProcessJoinFunction<Left = A, Right = B, Out: Send + 'static> + UserFunction,
    {
        self.end(function, Location::caller())
    }

    fn end<P>(
        self,
        function: P,
        location: &'static Location<'static>,
    ) -> DataStream<P::Out, impl Chain<P::Out>>
    where
        P: ProcessJoinFunction<Left = A, Right = B, Out: Send + 'static> + UserFunction,
    {
        let mistake = (self.lower_ms > self.upper_ms).then(|| {
            format!(
                "the lower bound, {} ms, is above the upper one, {} ms; swap them (negative is before the left record)",
                self.lower_ms, self.upper_ms,
            )
        });
        let interval = Interval {
            lower_ms: self.lower_ms.saturating_add(self.lower_exclusive.into()),
            upper_ms: self.upper_ms.saturating_sub(self.upper_exclusive.into()),
        };
        let operator = Operator::<P, S1::Key>::new(function, interval, self.late);
        let joined = self.streams.process_as("interval_join", operator, location);
        if let Some(message) = mistake {
            let mistake = Mistake { node: Some(joined.operator), message, location: self.location };
            joined.plan.with(|plan| plan.mistakes.push(mistake));
        }
        joined
    }
}
