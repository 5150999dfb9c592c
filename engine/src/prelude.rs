//! What a job needs in scope: `use thalweg::prelude::*;`.

pub use crate::api::{
    AllWindowedStream, BroadcastConnectedStreams, Chain, ConnectedStreams, DataStream,
    DataStreamSink, IntervalJoined, KeyedBroadcastConnectedStreams, KeyedConnectedStreams,
    KeyedStream, StreamExecutionEnvironment, WindowedStream,
};
pub use crate::config::Profile;
pub use crate::connector::sink::Collected;
pub use crate::connector::source::{FileSource, Malformed, SourceFunction, SourceFunctionContext};
pub use crate::connector::{sink, source};
pub use crate::function::*;
pub use crate::runtime::{Engine, JobHandle, JobResult};
pub use crate::state::{
    AggregatingState, AggregatingStateDescriptor, BroadcastState, ListState, ListStateDescriptor,
    MapState, MapStateDescriptor, OperatorListState, ReducingState, ReducingStateDescriptor,
    StateTtl, TtlUpdate, TtlVisibility, ValueState, ValueStateDescriptor,
};
pub use crate::time::{
    WatermarkGenerator, WatermarkOutput, WatermarkStrategy, after, before, days, hours,
    milliseconds, minutes, seconds,
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
