//! What users implement, and what they are given.
//!
//! Plain closures go to `map`, `filter`, …; types that implement the traits here go to `map_with` and kin. All traits have
//! `open` and `close`: that makes them Flink's rich functions. A function is cloned once a subtask and opened on the
//! core that runs it, so what it makes in `open` may be `!Send`.
//!
//! **Invariants**
//! - `open` comes before the first record, `close` after the last, also when the job fails or is cancelled (then errors of
//!   `close` are logged, not reported).
//! - A method that returns an error fails the job with the operator, the subtask and the record named.

mod aggregate;
mod archived_state;
mod async_io;
mod broadcast;
mod broadcast_context;
mod checkpointed;
mod co_function;
mod co_process;
mod collector;
mod join;
mod key_selector;
mod keyed_context;
mod output_tag;
mod process;
mod runtime_context;
mod sink;
mod source;
mod stateless;
pub mod two_phase;
mod unkeyed;
mod window;

pub use aggregate::{AggregateFunction, Count};
pub use archived_state::{ArchivedState, ArchivedStateError};
pub(crate) use async_io::{Answer, Message, Settings, Ticket};
pub use async_io::{AsyncError, AsyncFunction, AsyncOptions, AsyncRetry, ResultFuture};
pub use broadcast::{BroadcastProcessFunction, KeyedBroadcastProcessFunction};
pub use broadcast_context::{
    KeyedBroadcastContext, KeyedReadOnlyContext, OnTimerReadOnlyContext, ReadOnlyContext,
};
pub use checkpointed::SnapshotContext;
pub(crate) use checkpointed::{checkpoint_hooks, pass_hooks_on};
pub use co_function::{CoFlatMapFunction, CoMapFunction};
pub(crate) use co_function::{MapAsFlatMap, TwoClosures};
pub use co_process::CoProcessFunction;
pub use collector::Collector;
pub use join::{
    CoGroupFunction, IntervalJoinError, JoinContext, JoinSide, ProcessJoinFunction, TaggedUnion,
};
pub use key_selector::{ByReference, ByValue, KeySelector};
pub use keyed_context::{Context, OnTimerContext, TimeDomain, TimerService};
pub use output_tag::OutputTag;
pub use process::{KeyedCoProcessFunction, KeyedProcessFunction, ProcessContext, ProcessFunction};
pub use runtime_context::RuntimeContext;
pub(crate) use runtime_context::StateOfWindows;
pub use sink::{FnSink, Sink, SinkGuarantee, SinkPromise, SinkStateContext, SinkStatus};
pub(crate) use sink::{SINK_PIECE, UnreadSinkState};
pub(crate) use source::{Assignment, SourceControls};
pub use source::{
    Boundedness, EnumeratorContext, InputStatus, NoSplit, ReaderContext, Source, SourceCollector,
    SourceReader, SourceSplit, SplitEnumerator,
};
pub use stateless::{FilterFunction, FlatMapFunction, MapFunction};
pub use two_phase::{
    CheckpointCommitter, CommitterContext, FileCommitter, Recovery, TransactionContext,
    TransactionError, TwoPhase, TwoPhaseCommitSink, WriteAhead, WriteAheadBatch, WriteAheadSink,
};
pub use unkeyed::{ContextError, UnkeyedTimerService};
pub use window::{ProcessAllWindowFunction, ProcessWindowFunction, WindowContext};

/// What every user function must be so that each subtask can have its own: `Clone + Send + 'static`. A blanket trait.
pub trait UserFunction: Clone + Send + 'static {}
impl<F: Clone + Send + 'static> UserFunction for F {}
