//! Functions of joined pairs and groups.

use crate::Result;
use crate::function::{Collector, OutputTag, RuntimeContext};
use crate::operator::side_outputs::SideOutputs;
use thalweg_state::{KeyedContext, RowCursor};

/// Sees each pair of an interval join; see
/// [`KeyedStream::interval_join`](crate::api::KeyedStream::interval_join).
///
/// It may keep keyed state of its own: handles are made in `open` and used with the context, and the key is that of the
/// pair. What it emits carries the later timestamp of the two.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// /// How long after the order it was paid.
/// #[derive(Clone)]
/// struct TimeToPay;
///
/// impl ProcessJoinFunction for TimeToPay {
///     type Left = u64; // an order
///     type Right = (u64, f64); // a payment of an order
///     type Out = (u64, i64);
///     fn process_element(
///         &mut self,
///         order: &u64,
///         _payment: &(u64, f64),
///         context: &mut JoinContext<'_>,
///         out: &mut Collector<'_, (u64, i64)>,
///     ) -> thalweg::Result<()> {
///         out.collect((*order, context.right_timestamp() - context.left_timestamp()));
///         Ok(())
///     }
/// }
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let orders = env
///     .from_elements([7_u64])
///     .assign_timestamps_and_watermarks(WatermarkStrategy::none().with_timestamp(|_: &u64| 1_000));
/// let payments = env
///     .from_elements([(7_u64, 9.5)])
///     .assign_timestamps_and_watermarks(WatermarkStrategy::none().with_timestamp(|_: &(u64, f64)| 1_400));
/// let times = orders
///     .key_by(|order| *order)
///     .interval_join(payments.key_by(|payment| payment.0))
///     .between(seconds(0), seconds(1))
///     .process(TimeToPay)
///     .collect();
/// env.execute("time to pay")?;
/// assert_eq!(times.take(), [(7, 400)]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` is not a ProcessJoinFunction")]
pub trait ProcessJoinFunction: 'static {
    /// Records of the left stream.
    type Left: 'static;
    /// Records of the right stream.
    type Right: 'static;
    /// Records given.
    type Out: 'static;
    /// Called once on the function's core, before the first record: registers state.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(())
    }
    /// Called for each pair.
    ///
    /// # Errors
    /// Any error fails the job.
    fn process_element(
        &mut self,
        left: &Self::Left,
        right: &Self::Right,
        context: &mut JoinContext<'_>,
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

/// The times of a pair, its key's state, and side outputs.
pub struct JoinContext<'a> {
    pub(crate) cursor: RowCursor<'a>,
    pub(crate) left_timestamp: i64,
    pub(crate) right_timestamp: i64,
    pub(crate) sides: &'a mut SideOutputs,
}

impl JoinContext<'_> {
    /// The timestamp of the left record, in milliseconds.
    pub fn left_timestamp(&self) -> i64 {
        self.left_timestamp
    }
    /// The timestamp of the right record, in milliseconds.
    pub fn right_timestamp(&self) -> i64 {
        self.right_timestamp
    }
    /// The timestamp of the pair: the later of the two.
    pub fn timestamp(&self) -> i64 {
        self.left_timestamp.max(self.right_timestamp)
    }
    /// Emits to a side output, with the pair's timestamp.
    pub fn output<T: 'static>(&mut self, tag: &OutputTag<T>, record: T) {
        let timestamp = self.timestamp();
        self.sides.output(tag, record, timestamp);
    }
}

impl KeyedContext for JoinContext<'_> {
    #[inline(always)]
    fn cursor(&self) -> &RowCursor<'_> {
        &self.cursor
    }
    #[inline(always)]
    fn cursor_mut(&mut self) -> RowCursor<'_> {
        self.cursor.reborrow()
    }
}

/// Which input of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinSide {
    /// The stream that `interval_join` was called on.
    Left,
    /// The stream that was given to it.
    Right,
}

impl std::fmt::Display for JoinSide {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            JoinSide::Left => "left",
            JoinSide::Right => "right",
        })
    }
}

/// Why an interval join failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IntervalJoinError {
    /// A record came without a timestamp.
    #[error(
        "a record without a timestamp came to the {side} input of an interval join; \
         call assign_timestamps_and_watermarks on that stream before key_by"
    )]
    NoTimestamp {
        /// Which input.
        side: JoinSide,
    },
}

/// An element of one of two streams that share windows: what assigners, triggers and evictors of a
/// [`join`](crate::api::DataStream::join) or [`co_group`](crate::api::DataStream::co_group) see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaggedUnion<A, B> {
    /// Of the stream that `join` or `co_group` was called on.
    Left(A),
    /// Of the stream that was given to it.
    Right(B),
}

impl<A, B> TaggedUnion<A, B> {
    /// Which stream it comes from.
    pub fn side(&self) -> JoinSide {
        match self {
            TaggedUnion::Left(_) => JoinSide::Left,
            TaggedUnion::Right(_) => JoinSide::Right,
        }
    }
}

/// Sees the elements of both streams in one window of one key; see
/// [`DataStream::co_group`](crate::api::DataStream::co_group).
///
/// No keyed state. Cost: the window keeps a copy of each element of both streams.
///
/// # Examples
/// ```
/// use thalweg::prelude::*;
///
/// #[derive(Clone)]
/// struct Sizes;
///
/// impl CoGroupFunction for Sizes {
///     type Left = i64;
///     type Right = i64;
///     type Out = (usize, usize);
///     fn co_group(
///         &mut self,
///         lefts: &[i64],
///         rights: &[i64],
///         out: &mut Collector<'_, (usize, usize)>,
///     ) -> thalweg::Result {
///         out.collect((lefts.len(), rights.len()));
///         Ok(())
///     }
/// }
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_parallelism(1);
/// let at = || WatermarkStrategy::none().with_timestamp(|t: &i64| *t);
/// let counts = env
///     .from_elements([1_i64, 2])
///     .assign_timestamps_and_watermarks(at())
///     .co_group(env.from_elements([3_i64]).assign_timestamps_and_watermarks(at()))
///     .where_key(|_| 0_u8)
///     .equal_to(|_| 0_u8)
///     .window(TumblingEventTimeWindows::of(milliseconds(10)))
///     .apply_with(Sizes)
///     .collect();
/// env.execute("sizes")?;
/// assert_eq!(counts.take(), [(2, 1)]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[diagnostic::on_unimplemented(message = "`{Self}` is not a CoGroupFunction")]
pub trait CoGroupFunction: 'static {
    /// Records of the left stream.
    type Left: 'static;
    /// Records of the right stream.
    type Right: 'static;
    /// Records given.
    type Out: 'static;
    /// Called once on the function's core, before the first record.
    ///
    /// # Errors
    /// Any error fails the job before a record is read.
    fn open(&mut self, _context: &mut RuntimeContext<'_>) -> Result<()> {
        Ok(())
    }
    /// Called when a key's window fires, with the elements of each stream in order of arrival; one of the two may be empty.
    /// What is emitted carries the window's last instant.
    ///
    /// # Errors
    /// Any error fails the job.
    fn co_group(
        &mut self,
        lefts: &[Self::Left],
        rights: &[Self::Right],
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
