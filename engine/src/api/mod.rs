//! The fluent surface: environments, streams and what can be done with them.

mod async_io;
mod broadcast_connected;
mod chain;
mod checkpointing;
mod connected;
mod divert;
pub(crate) mod environment;
mod interval_join;
mod keyed;
mod operators;
pub(crate) mod plan_builder;
mod rolling;
mod sink;
mod sinks;
mod sources;
mod stream;
mod watermarks;
mod window_join;
mod windowed;

pub use broadcast_connected::{BroadcastConnectedStreams, KeyedBroadcastConnectedStreams};
pub use chain::{Boxed, Chain};
pub use checkpointing::Checkpointing;
pub use connected::{ConnectedStreams, KeyedConnectedStreams};
pub use environment::StreamExecutionEnvironment;
pub use interval_join::{IntervalJoin, IntervalJoined};
pub use keyed::KeyedStream;
pub use sink::DataStreamSink;
pub use stream::DataStream;
pub use window_join::{
    JoinedEqualTo, JoinedStreams, JoinedWhere, JoinedWindows, Pairs, WholeGroups,
};
pub use windowed::{
    AllWindowedStream, ByDefault, Chosen, Evaluation, EvictedBy, NoEvictor, WindowedStream,
};
#[doc(hidden)]
pub use windowed::{ChooseEvictor, ChooseTrigger};
