//! What a job needs in scope: `use thalweg::prelude::*;`.

pub use crate::api::{
    AllWindowedStream, Chain, ConnectedStreams, DataStream, DataStreamSink, KeyedConnectedStreams,
    KeyedStream, StreamExecutionEnvironment, WindowedStream,
};
pub use crate::config::Profile;
pub use crate::connector::sink::Collected;
pub use crate::connector::source::{FileSource, Malformed, SourceFunction, SourceFunctionContext};
pub use crate::connector::{sink, source};
pub use crate::function::*;
pub use crate::runtime::{Engine, JobHandle, JobResult};
pub use crate::state::{
    ListState, ListStateDescriptor, MapState, MapStateDescriptor, ValueState, ValueStateDescriptor,
};
pub use crate::time::{
    WatermarkGenerator, WatermarkStrategy, days, hours, milliseconds, minutes, seconds,
};
pub use crate::window::{
    AssignerContext, ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger, CountEvictor,
    CountTrigger, DeltaEvictor, DeltaTrigger, EndOfStreamTrigger, EventTimeSessionWindows,
    EventTimeTrigger, Evictor, EvictorContext, GlobalWindow, GlobalWindows, NeverTrigger,
    OnMergeContext, ProcessingTimeSessionWindows, ProcessingTimeTrigger, ProcessingTimeoutTrigger,
    PurgingTrigger, SlidingEventTimeWindows, SlidingProcessingTimeWindows, TimeEvictor, TimeWindow,
    Trigger, TriggerContext, TriggerResult, TumblingEventTimeWindows,
    TumblingProcessingTimeWindows, Window, WindowAssigner, WindowElements,
};
