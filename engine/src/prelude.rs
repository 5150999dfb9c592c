//! What a job needs in scope: `use thalweg::prelude::*;`.

pub use crate::api::{Chain, DataStream, DataStreamSink, KeyedStream, StreamExecutionEnvironment};
pub use crate::connector::sink::Collected;
pub use crate::connector::source::{FileSource, Malformed, SourceFunction, SourceFunctionContext};
pub use crate::connector::{sink, source};
pub use crate::function::*;
pub use crate::state::{
    ListState, ListStateDescriptor, MapState, MapStateDescriptor, ValueState, ValueStateDescriptor,
};
pub use crate::time::{
    WatermarkGenerator, WatermarkStrategy, days, hours, milliseconds, minutes, seconds,
};
