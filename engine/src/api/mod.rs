//! The fluent surface: environments, streams and what can be done with them.

mod chain;
mod environment;
mod keyed;
mod operators;
mod plan_builder;
mod sink;
mod sinks;
mod sources;
mod stream;

pub use chain::{Boxed, Chain};
pub use environment::StreamExecutionEnvironment;
pub use keyed::KeyedStream;
pub use sink::DataStreamSink;
pub use stream::DataStream;
