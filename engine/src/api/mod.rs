//! The fluent surface: environments, streams and what can be done with them.

mod chain;
mod connected;
pub(crate) mod environment;
mod keyed;
mod operators;
pub(crate) mod plan_builder;
mod rolling;
mod sink;
mod sinks;
mod sources;
mod stream;
mod windowed;

pub use chain::{Boxed, Chain};
pub use connected::{ConnectedStreams, KeyedConnectedStreams};
pub use environment::StreamExecutionEnvironment;
pub use keyed::KeyedStream;
pub use sink::DataStreamSink;
pub use stream::DataStream;
pub use windowed::{
    AllWindowedStream, ByDefault, Chosen, Evaluation, EvictedBy, NoEvictor, WindowedStream,
};
