//! Windows: what they are, which windows an element belongs to, when they fire and what they drop. Knows no operator.
//!
//! A job cuts a keyed stream by an [assigner](WindowAssigner), may replace the assigner's [`trigger`], and may drop
//! elements around each firing by an [`evictor`]. All three are open: users may write their own.
//!
//! ```text
//!            tumbling   [0,10) [10,20) [20,30)        aligned to the epoch plus an offset
//!            sliding    [0,10)  [5,15)  [10,20)       one every slide
//!            session    [3 .. 3+gap) merged while they touch, so they grow
//!            global     one window for all, with a trigger that says when
//! ```
//!
//! **Invariants**
//! - A window is an interval of time, start included, end excluded, both in milliseconds; windows of negative time are
//!   like all others.
//! - Sizes, slides, gaps and offsets are checked when the plan is written; see [`WindowError`].

mod aligned;
mod assigner;
mod error;
pub mod evictor;
mod global;
pub(crate) mod merging;
mod session;
mod sliding;
mod time_window;
pub mod trigger;
mod tumbling;

pub use aligned::AlignedWindows;
pub use assigner::{AssignerContext, MergedWindows, WindowAssigner};
pub use error::WindowError;
pub use evictor::{
    CountEvictor, DeltaEvictor, Evictor, EvictorContext, TimeEvictor, WindowElements,
};
pub use global::{GlobalWindow, GlobalWindows};
pub use session::{
    DynamicEventTimeSessionWindows, DynamicProcessingTimeSessionWindows, EventTimeSessionWindows,
    ProcessingTimeSessionWindows,
};
pub use sliding::{SlidingEventTimeWindows, SlidingProcessingTimeWindows};
pub use time_window::{TimeWindow, Window};
pub use trigger::{
    ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger, CountTrigger, DeltaTrigger,
    EndOfStreamTrigger, EventTimeTrigger, NeverTrigger, OnMergeContext, ProcessingTimeTrigger,
    ProcessingTimeoutTrigger, PurgingTrigger, Trigger, TriggerContext, TriggerResult,
};
pub use tumbling::{TumblingEventTimeWindows, TumblingProcessingTimeWindows};
