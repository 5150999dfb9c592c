//! Windows, triggers and evictors as jobs name them, and as the API has them.
//!
//! What a job may combine freely is one type here: [`AnyAssigner`], [`AnyTrigger`] and [`AnyEvictor`] choose at run time
//! among the API's, by the same traits that users implement. Without this each combination would be compiled.

use crate::conformance::event::Event;
use crate::conformance::kind::duration;
use serde::Deserialize;
use thalweg::prelude::*;
use thalweg::window::{
    AssignerContext, ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger, CountEvictor,
    CountTrigger, DeltaEvictor, DeltaTrigger, DynamicEventTimeSessionWindows,
    DynamicProcessingTimeSessionWindows, EndOfStreamTrigger, EventTimeSessionWindows,
    EventTimeTrigger, Evictor, EvictorContext, MergedWindows, NeverTrigger, OnMergeContext,
    ProcessingTimeSessionWindows, ProcessingTimeTrigger, ProcessingTimeoutTrigger, PurgingTrigger,
    SlidingProcessingTimeWindows, TimeEvictor, Trigger, TriggerContext, TriggerResult,
    TumblingProcessingTimeWindows, Window, WindowAssigner, WindowElements, WindowError,
};

/// Windows.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum WindowSpec {
    Tumbling {
        #[serde(default)]
        time: Time,
        size_ms: i64,
        #[serde(default)]
        offset_ms: i64,
    },
    Sliding {
        #[serde(default)]
        time: Time,
        size_ms: i64,
        slide_ms: i64,
        #[serde(default)]
        offset_ms: i64,
    },
    Session {
        #[serde(default)]
        time: Time,
        gap_ms: i64,
    },
    DynamicSession {
        #[serde(default)]
        time: Time,
    },
    Global {},
    GlobalEndOfStream {},
    CountTumbling {
        n: u64,
    },
    CountSliding {
        n: u64,
        slide: u64,
    },
}

/// The time of windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Time {
    #[default]
    Event,
    Processing,
}

/// A trigger.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum TriggerSpec {
    EventTime {},
    ProcessingTime {},
    Count {
        n: u64,
    },
    ContinuousEventTime {
        interval_ms: i64,
    },
    ContinuousProcessingTime {
        interval_ms: i64,
    },
    Delta {
        threshold: f64,
    },
    Purging {
        inner: Box<TriggerSpec>,
    },
    ProcessingTimeTimeout {
        inner: Box<TriggerSpec>,
        timeout_ms: i64,
        reset_timer_on_new_record: bool,
        clear_on_timeout: bool,
    },
    Scripted {
        #[serde(default)]
        timer_at_window_end: bool,
        #[serde(default)]
        event_timer_at_u: bool,
        #[serde(default)]
        processing_timer_at_u: bool,
        #[serde(default)]
        on_event_time: Answer,
        #[serde(default)]
        on_processing_time: Answer,
    },
}

/// What a scripted trigger answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Answer {
    #[default]
    Continue,
    Fire,
    Purge,
    FireAndPurge,
}

/// An evictor.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum EvictorSpec {
    Count {
        n: u64,
        #[serde(default)]
        after: bool,
    },
    Time {
        ms: i64,
        #[serde(default)]
        after: bool,
    },
    Delta {
        threshold: f64,
        #[serde(default)]
        after: bool,
    },
}

impl From<Answer> for TriggerResult {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Continue => TriggerResult::Continue,
            Answer::Fire => TriggerResult::Fire,
            Answer::Purge => TriggerResult::Purge,
            Answer::FireAndPurge => TriggerResult::FireAndPurge,
        }
    }
}

impl WindowSpec {
    /// The assigner of windows of time, if it is one.
    pub(super) fn of_time(self) -> Option<AnyAssigner> {
        use Time::{Event as ET, Processing as PT};
        Some(match self {
            WindowSpec::Tumbling { time, size_ms, offset_ms } => {
                let size = duration(size_ms);
                match time {
                    ET => AnyAssigner::TumblingEvent(
                        TumblingEventTimeWindows::of(size).offset_ms(offset_ms),
                    ),
                    PT => AnyAssigner::TumblingProcessing(
                        TumblingProcessingTimeWindows::of(size).offset_ms(offset_ms),
                    ),
                }
            }
            WindowSpec::Sliding { time, size_ms, slide_ms, offset_ms } => {
                let (size, slide) = (duration(size_ms), duration(slide_ms));
                match time {
                    ET => AnyAssigner::SlidingEvent(
                        SlidingEventTimeWindows::of(size, slide).offset_ms(offset_ms),
                    ),
                    PT => AnyAssigner::SlidingProcessing(
                        SlidingProcessingTimeWindows::of(size, slide).offset_ms(offset_ms),
                    ),
                }
            }
            WindowSpec::Session { time, gap_ms } => {
                let gap = duration(gap_ms);
                match time {
                    ET => AnyAssigner::SessionEvent(EventTimeSessionWindows::with_gap(gap)),
                    PT => {
                        AnyAssigner::SessionProcessing(ProcessingTimeSessionWindows::with_gap(gap))
                    }
                }
            }
            WindowSpec::DynamicSession { time: ET } => {
                AnyAssigner::DynamicEvent(EventTimeSessionWindows::with_dynamic_gap(gap_of))
            }
            WindowSpec::DynamicSession { time: PT } => AnyAssigner::DynamicProcessing(
                ProcessingTimeSessionWindows::with_dynamic_gap(gap_of),
            ),
            WindowSpec::Global {}
            | WindowSpec::GlobalEndOfStream {}
            | WindowSpec::CountTumbling { .. }
            | WindowSpec::CountSliding { .. } => return None,
        })
    }
}

impl WindowSpec {
    /// The trigger and the evictor of a global window, also of one that counts.
    pub(super) fn of_global(self) -> (AnyTrigger, Option<AnyEvictor>) {
        match self {
            WindowSpec::CountTumbling { n } => {
                let purging = PurgingTrigger::of(AnyTrigger::Count(CountTrigger::of(n)));
                (AnyTrigger::Purging(Box::new(purging)), None)
            }
            WindowSpec::CountSliding { n, slide } => {
                let evictor = AnyEvictor::Count(CountEvictor::of(n));
                (AnyTrigger::Count(CountTrigger::of(slide)), Some(evictor))
            }
            WindowSpec::GlobalEndOfStream {} => (AnyTrigger::EndOfStream(EndOfStreamTrigger), None),
            _ => (AnyTrigger::Never(NeverTrigger), None),
        }
    }
}

type Gap = fn(&Event) -> i64;
fn u_of(event: &Event) -> i64 {
    event.u
}
#[expect(non_upper_case_globals, reason = "it is a function, of a type that can be named")]
const gap_of: Gap = u_of;

/// What windows see: an event, or one of either stream of a join.
pub(super) trait Carries: 'static {
    fn event(&self) -> &Event;
}
impl Carries for Event {
    fn event(&self) -> &Event {
        self
    }
}
impl Carries for TaggedUnion<Event, Event> {
    fn event(&self) -> &Event {
        match self {
            TaggedUnion::Left(event) | TaggedUnion::Right(event) => event,
        }
    }
}

/// An assigner of windows of time.
#[derive(Clone)]
pub(super) enum AnyAssigner {
    TumblingEvent(TumblingEventTimeWindows),
    TumblingProcessing(TumblingProcessingTimeWindows),
    SlidingEvent(SlidingEventTimeWindows),
    SlidingProcessing(SlidingProcessingTimeWindows),
    SessionEvent(EventTimeSessionWindows),
    SessionProcessing(ProcessingTimeSessionWindows),
    DynamicEvent(DynamicEventTimeSessionWindows<Gap>),
    DynamicProcessing(DynamicProcessingTimeSessionWindows<Gap>),
}

/// The same call on whichever assigner it is.
macro_rules! assigner {
    ($assigner:expr, $any:ident => $call:expr) => {
        match $assigner {
            AnyAssigner::TumblingEvent($any) => $call,
            AnyAssigner::TumblingProcessing($any) => $call,
            AnyAssigner::SlidingEvent($any) => $call,
            AnyAssigner::SlidingProcessing($any) => $call,
            AnyAssigner::SessionEvent($any) => $call,
            AnyAssigner::SessionProcessing($any) => $call,
            AnyAssigner::DynamicEvent($any) => $call,
            AnyAssigner::DynamicProcessing($any) => $call,
        }
    };
}

impl AnyAssigner {
    /// The trigger of its time.
    pub(super) fn own_trigger(&self) -> AnyTrigger {
        match assigner!(self, any => WindowAssigner::<Event>::is_event_time(any)) {
            true => AnyTrigger::EventTime(EventTimeTrigger),
            false => AnyTrigger::ProcessingTime(ProcessingTimeTrigger),
        }
    }
}

impl<T: Carries> WindowAssigner<T> for AnyAssigner {
    type Window = TimeWindow;
    type DefaultTrigger = AnyTrigger;

    fn assign_windows(
        &mut self,
        record: &T,
        timestamp: i64,
        context: &AssignerContext,
        windows: &mut Vec<TimeWindow>,
    ) -> thalweg::Result<()> {
        assigner!(self, any => any.assign_windows(record.event(), timestamp, context, windows))
    }
    fn default_trigger(&self) -> AnyTrigger {
        self.own_trigger()
    }
    fn is_event_time(&self) -> bool {
        assigner!(self, any => WindowAssigner::<Event>::is_event_time(any))
    }
    fn is_merging(&self) -> bool {
        assigner!(self, any => WindowAssigner::<Event>::is_merging(any))
    }
    fn merge_windows(&self, windows: &[TimeWindow], merged: &mut Vec<MergedWindows<TimeWindow>>) {
        assigner!(self, any => WindowAssigner::<Event>::merge_windows(any, windows, merged));
    }
    fn validate(&self) -> Result<(), WindowError> {
        assigner!(self, any => WindowAssigner::<Event>::validate(any))
    }
}

/// `new.v - last.v`.
type Delta = fn(&Event, &Event) -> f64;
fn v_difference(last: &Event, new: &Event) -> f64 {
    new.v.wrapping_sub(last.v) as f64
}

/// A trigger.
#[derive(Clone)]
pub(super) enum AnyTrigger {
    EventTime(EventTimeTrigger),
    ProcessingTime(ProcessingTimeTrigger),
    Count(CountTrigger),
    ContinuousEventTime(ContinuousEventTimeTrigger),
    ContinuousProcessingTime(ContinuousProcessingTimeTrigger),
    Delta(DeltaTrigger<Event, Delta>),
    Purging(Box<PurgingTrigger<AnyTrigger>>),
    Timeout(Box<ProcessingTimeoutTrigger<AnyTrigger>>),
    Scripted(Scripted),
    EndOfStream(EndOfStreamTrigger),
    Never(NeverTrigger),
}

impl TriggerSpec {
    pub(super) fn to_trigger(&self) -> AnyTrigger {
        match self {
            TriggerSpec::EventTime {} => AnyTrigger::EventTime(EventTimeTrigger),
            TriggerSpec::ProcessingTime {} => AnyTrigger::ProcessingTime(ProcessingTimeTrigger),
            TriggerSpec::Count { n } => AnyTrigger::Count(CountTrigger::of(*n)),
            TriggerSpec::ContinuousEventTime { interval_ms } => AnyTrigger::ContinuousEventTime(
                ContinuousEventTimeTrigger::of(duration(*interval_ms)),
            ),
            TriggerSpec::ContinuousProcessingTime { interval_ms } => {
                AnyTrigger::ContinuousProcessingTime(ContinuousProcessingTimeTrigger::of(duration(
                    *interval_ms,
                )))
            }
            TriggerSpec::Delta { threshold } => {
                AnyTrigger::Delta(DeltaTrigger::of(*threshold, v_difference as Delta))
            }
            TriggerSpec::Purging { inner } => {
                AnyTrigger::Purging(Box::new(PurgingTrigger::of(inner.to_trigger())))
            }
            TriggerSpec::ProcessingTimeTimeout {
                inner,
                timeout_ms,
                reset_timer_on_new_record,
                clear_on_timeout,
            } => {
                let timeout =
                    ProcessingTimeoutTrigger::of(inner.to_trigger(), duration(*timeout_ms))
                        .reset_timer_on_new_record(*reset_timer_on_new_record)
                        .clear_on_timeout(*clear_on_timeout);
                AnyTrigger::Timeout(Box::new(timeout))
            }
            TriggerSpec::Scripted { .. } => AnyTrigger::Scripted(Scripted::of(self)),
        }
    }
}

/// The same call on whichever trigger it is.
macro_rules! trigger {
    ($trigger:expr, $any:ident => $call:expr) => {
        match $trigger {
            AnyTrigger::EventTime($any) => $call,
            AnyTrigger::ProcessingTime($any) => $call,
            AnyTrigger::Count($any) => $call,
            AnyTrigger::ContinuousEventTime($any) => $call,
            AnyTrigger::ContinuousProcessingTime($any) => $call,
            AnyTrigger::Delta($any) => $call,
            AnyTrigger::Purging(any) => {
                let $any = any.held();
                $call
            }
            AnyTrigger::Timeout(any) => {
                let $any = any.held();
                $call
            }
            AnyTrigger::Scripted($any) => $call,
            AnyTrigger::EndOfStream($any) => $call,
            AnyTrigger::Never($any) => $call,
        }
    };
}

/// What a box holds, by the reference at hand.
trait Hold {
    type Held;
    fn held(self) -> Self::Held;
}
impl<'a, T> Hold for &'a Box<T> {
    type Held = &'a T;
    fn held(self) -> &'a T {
        self
    }
}
impl<'a, T> Hold for &'a mut Box<T> {
    type Held = &'a mut T;
    fn held(self) -> &'a mut T {
        self
    }
}

impl<T: Carries, W: Window> Trigger<T, W> for AnyTrigger {
    fn open(&mut self, context: &mut RuntimeContext<'_>) -> thalweg::Result<()> {
        trigger!(self, any => Trigger::<Event, W>::open(any, context))
    }
    fn on_element(
        &mut self,
        record: &T,
        timestamp: i64,
        window: &W,
        context: &mut TriggerContext<'_>,
    ) -> thalweg::Result<TriggerResult> {
        trigger!(self, any => any.on_element(record.event(), timestamp, window, context))
    }
    fn on_event_time(
        &mut self,
        time_ms: i64,
        window: &W,
        context: &mut TriggerContext<'_>,
    ) -> thalweg::Result<TriggerResult> {
        trigger!(self, any => Trigger::<Event, W>::on_event_time(any, time_ms, window, context))
    }
    fn on_processing_time(
        &mut self,
        time_ms: i64,
        window: &W,
        context: &mut TriggerContext<'_>,
    ) -> thalweg::Result<TriggerResult> {
        trigger!(self, any => {
            Trigger::<Event, W>::on_processing_time(any, time_ms, window, context)
        })
    }
    fn can_merge(&self) -> bool {
        trigger!(self, any => Trigger::<Event, W>::can_merge(any))
    }
    fn on_merge(&mut self, window: &W, context: &mut OnMergeContext<'_>) -> thalweg::Result<()> {
        trigger!(self, any => Trigger::<Event, W>::on_merge(any, window, context))
    }
    fn clear(&mut self, window: &W, context: &mut TriggerContext<'_>) -> thalweg::Result<()> {
        trigger!(self, any => Trigger::<Event, W>::clear(any, window, context))
    }
    fn validate(&self) -> Result<(), WindowError> {
        trigger!(self, any => Trigger::<Event, W>::validate(any))
    }
}

/// Answers what the script says: a trigger as users write them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scripted {
    timer_at_window_end: bool,
    event_timer_at_u: bool,
    processing_timer_at_u: bool,
    on_event_time: Answer,
    on_processing_time: Answer,
}

impl Scripted {
    fn of(spec: &TriggerSpec) -> Self {
        let TriggerSpec::Scripted {
            timer_at_window_end,
            event_timer_at_u,
            processing_timer_at_u,
            on_event_time,
            on_processing_time,
        } = *spec
        else {
            unreachable!("the caller matched it");
        };
        Scripted {
            timer_at_window_end,
            event_timer_at_u,
            processing_timer_at_u,
            on_event_time,
            on_processing_time,
        }
    }
}

impl<W: Window> Trigger<Event, W> for Scripted {
    fn on_element(
        &mut self,
        event: &Event,
        _: i64,
        window: &W,
        context: &mut TriggerContext<'_>,
    ) -> thalweg::Result<TriggerResult> {
        if self.timer_at_window_end {
            context.register_event_time_timer(window.max_timestamp());
        }
        if self.event_timer_at_u && event.u != 0 {
            context.register_event_time_timer(event.u);
        }
        if self.processing_timer_at_u && event.u != 0 {
            context.register_processing_time_timer(event.u);
        }
        Ok(match event.s.as_deref() {
            Some("FIRE") => TriggerResult::Fire,
            Some("PURGE") => TriggerResult::Purge,
            Some("FIRE_AND_PURGE") => TriggerResult::FireAndPurge,
            _ => TriggerResult::Continue,
        })
    }
    fn on_event_time(
        &mut self,
        _: i64,
        _: &W,
        _: &mut TriggerContext<'_>,
    ) -> thalweg::Result<TriggerResult> {
        Ok(self.on_event_time.into())
    }
    fn on_processing_time(
        &mut self,
        _: i64,
        _: &W,
        _: &mut TriggerContext<'_>,
    ) -> thalweg::Result<TriggerResult> {
        Ok(self.on_processing_time.into())
    }
    fn can_merge(&self) -> bool {
        true
    }
    fn on_merge(&mut self, window: &W, context: &mut OnMergeContext<'_>) -> thalweg::Result<()> {
        if self.timer_at_window_end {
            context.window()?.register_event_time_timer(window.max_timestamp());
        }
        Ok(())
    }
    fn clear(&mut self, window: &W, context: &mut TriggerContext<'_>) -> thalweg::Result<()> {
        if self.timer_at_window_end {
            context.delete_event_time_timer(window.max_timestamp());
        }
        Ok(())
    }
}

/// An evictor.
#[derive(Clone)]
pub(super) enum AnyEvictor {
    Count(CountEvictor),
    Time(TimeEvictor),
    Delta(DeltaEvictor<Event, Delta>),
}

impl EvictorSpec {
    pub(super) fn to_evictor(self) -> AnyEvictor {
        match self {
            EvictorSpec::Count { n, after } => {
                let evictor = CountEvictor::of(n);
                AnyEvictor::Count(if after { evictor.after() } else { evictor })
            }
            EvictorSpec::Time { ms, after } => {
                let evictor = TimeEvictor::of(duration(ms));
                AnyEvictor::Time(if after { evictor.after() } else { evictor })
            }
            EvictorSpec::Delta { threshold, after } => {
                let evictor = DeltaEvictor::of(threshold, v_difference as Delta);
                AnyEvictor::Delta(if after { evictor.after() } else { evictor })
            }
        }
    }
}

/// The same call on whichever evictor it is.
macro_rules! evictor {
    ($evictor:expr, $any:ident => $call:expr) => {
        match $evictor {
            AnyEvictor::Count($any) => $call,
            AnyEvictor::Time($any) => $call,
            AnyEvictor::Delta($any) => $call,
        }
    };
}

impl<W: Window> Evictor<Event, W> for AnyEvictor {
    fn evict_before(
        &mut self,
        elements: &mut WindowElements<Event>,
        window: &W,
        context: &EvictorContext,
    ) -> thalweg::Result<()> {
        evictor!(self, any => any.evict_before(elements, window, context))
    }
    fn evict_after(
        &mut self,
        elements: &mut WindowElements<Event>,
        window: &W,
        context: &EvictorContext,
    ) -> thalweg::Result<()> {
        evictor!(self, any => any.evict_after(elements, window, context))
    }
    fn validate(&self) -> Result<(), WindowError> {
        evictor!(self, any => Evictor::<Event, W>::validate(any))
    }
}
