//! `window`: a stream cut into windows, by key or as a whole.

use crate::conformance::bench::Bench;
use crate::conformance::event::{Event, Output};
use crate::conformance::kind::rolling::{Tie, add};
use crate::conformance::kind::window_function::{
    Aggregated, CountAndSum, Elements, Reduced, Tells, counted,
};
use crate::conformance::kind::window_spec::{AnyAssigner, EvictorSpec, TriggerSpec, WindowSpec};
use crate::conformance::kind::{Interpreter, duration, read};
use serde::Deserialize;
use serde_json::{Map, Value};
use thalweg::prelude::*;
use thalweg::window::{GlobalWindow, GlobalWindows};

/// Windows, when they fire, and what of.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WindowJob {
    #[serde(default = "keyed")]
    keyed: bool,
    window: WindowSpec,
    trigger: Option<TriggerSpec>,
    evictor: Option<EvictorSpec>,
    #[serde(default)]
    allowed_lateness_ms: i64,
    #[serde(default)]
    late_output: bool,
    function: Function,
    tie: Option<Tie>,
    #[serde(default)]
    sort_vs: bool,
}

fn keyed() -> bool {
    true
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Function {
    Sum,
    Min,
    Max,
    MinBy,
    MaxBy,
    Reduce,
    Aggregate,
    Process,
    ProcessWm,
    ProcessState,
    ReduceProcess,
    AggregateProcess,
}

impl WindowJob {
    pub(super) fn read(job: Map<String, Value>) -> Result<Self, String> {
        let job: WindowJob = read(job)?;
        match job.tie.is_some() && !matches!(job.function, Function::MinBy | Function::MaxBy) {
            true => Err("tie: only min_by and max_by have ties".into()),
            false => Ok(job),
        }
    }
}

/// The settings that all windows have.
macro_rules! settle {
    ($job:expr, $bench:expr, $windowed:expr) => {{
        let windowed = $windowed
            .allowed_lateness(duration($job.allowed_lateness_ms))
            .evaluation($bench.evaluation());
        match $job.late_output {
            true => windowed.side_output_late_data(&OutputTag::<Event>::new("late")),
            false => windowed,
        }
    }};
}
/// Ends a windowed stream in the job's function. The named reductions go as one type, a pointer to a function: each stream
/// and function that meet are a window operator to compile.
macro_rules! apply {
    ($job:expr, $bench:expr, $windowed:expr, $window:ty) => {{
        let (job, bench, windowed) = ($job, $bench, settle!($job, $bench, $windowed));
        match (job.function, job.reduction()) {
            (Function::Aggregate, _) => {
                let counts = windowed.aggregate(CountAndSum).boxed();
                job.late(bench, &counts);
                bench.outputs("main", counts.map(counted));
            }
            (Function::ReduceProcess, _) => {
                job.outputs(bench, windowed.reduce_process(add, Reduced::<$window>::new()));
            }
            (Function::AggregateProcess, _) => {
                let function = Aggregated::<$window>::new();
                job.outputs(bench, windowed.aggregate_process(CountAndSum, function));
            }
            (_, Some(reduction)) => job.events(bench, windowed.reduce(reduction)),
            (function, None) => {
                let tells = match function {
                    Function::ProcessWm => Tells::Watermark,
                    Function::ProcessState => Tells::Fires,
                    _ => Tells::Elements,
                };
                let elements = Elements::<$window>::new(tells, job.sort_vs);
                job.outputs(bench, windowed.process(elements));
            }
        }
    }};
}

/// [`apply!`] with the API's own reductions.
macro_rules! apply_named {
    ($job:expr, $bench:expr, $windowed:expr, $window:ty) => {{
        let (job, bench, windowed) = ($job, $bench, $windowed);
        match (job.function, job.tie.unwrap_or_default()) {
            (Function::Sum, _) => {
                job.events(bench, settle!(job, bench, windowed).sum(|event| &mut event.v));
            }
            (Function::Min, _) => {
                job.events(bench, settle!(job, bench, windowed).min(|event| &mut event.v));
            }
            (Function::Max, _) => {
                job.events(bench, settle!(job, bench, windowed).max(|event| &mut event.v));
            }
            (Function::MinBy, Tie::First) => {
                job.events(bench, settle!(job, bench, windowed).min_by(|event| event.v));
            }
            (Function::MinBy, Tie::Last) => {
                job.events(bench, settle!(job, bench, windowed).min_by_last(|event| event.v));
            }
            (Function::MaxBy, Tie::First) => {
                job.events(bench, settle!(job, bench, windowed).max_by(|event| event.v));
            }
            (Function::MaxBy, Tie::Last) => {
                job.events(bench, settle!(job, bench, windowed).max_by_last(|event| event.v));
            }
            _ => apply!(job, bench, windowed, $window),
        }
    }};
}

/// Triggers and evictors of a job on a stream, keyed or not; `$window` is the stream's method.
macro_rules! windows {
    ($job:expr, $bench:expr, $stream:expr, $window:ident) => {{
        let (job, bench, stream) = ($job, $bench, $stream);
        let trigger = job.trigger.as_ref().map(TriggerSpec::to_trigger);
        let evictor = job.evictor.map(EvictorSpec::to_evictor);
        match job.window.of_time() {
            Some(assigner) => {
                let trigger = trigger.unwrap_or_else(|| assigner.own_trigger());
                let windowed = stream.$window(assigner).trigger(trigger);
                match evictor {
                    None => apply!(job, bench, windowed, TimeWindow),
                    Some(evictor) => apply!(job, bench, windowed.evictor(evictor), TimeWindow),
                }
            }
            None => {
                let (own_trigger, own_evictor) = job.window.of_global();
                let trigger = trigger.unwrap_or(own_trigger);
                let windowed = stream.$window(GlobalWindows::create()).trigger(trigger);
                match evictor.or(own_evictor) {
                    None => apply!(job, bench, windowed, GlobalWindow),
                    Some(evictor) => apply!(job, bench, windowed.evictor(evictor), GlobalWindow),
                }
            }
        }
    }};
}

impl WindowJob {
    fn late<T: Send + 'static, C: Chain<T>>(&self, bench: &Bench<'_>, results: &DataStream<T, C>) {
        if self.late_output {
            let late = OutputTag::<Event>::new("late");
            bench.events("late", results.side_output(&late));
        }
    }

    fn outputs<C: Chain<Output>>(&self, bench: &Bench<'_>, results: DataStream<Output, C>) {
        self.late(bench, &results);
        bench.outputs("main", results);
    }

    fn events<C: Chain<Event>>(&self, bench: &Bench<'_>, results: DataStream<Event, C>) {
        self.late(bench, &results);
        bench.events("main", results);
    }

    /// Windows that the engine may keep in slices or without timers: those of one of its own types, as they are.
    fn is_plain(&self) -> bool {
        self.trigger.is_none() && self.evictor.is_none()
    }

    /// The functions that reduce events to an event.
    fn reduction(&self) -> Option<fn(Event, Event) -> Event> {
        Some(match (self.function, self.tie.unwrap_or_default()) {
            (Function::Sum | Function::Reduce, _) => add,
            (Function::Min, _) => |a, b| Event { v: a.v.min(b.v), ..a },
            (Function::Max, _) => |a, b| Event { v: a.v.max(b.v), ..a },
            (Function::MinBy, Tie::First) => |a, b| if b.v < a.v { b } else { a },
            (Function::MinBy, Tie::Last) => |a, b| if b.v <= a.v { b } else { a },
            (Function::MaxBy, Tie::First) => |a, b| if b.v > a.v { b } else { a },
            (Function::MaxBy, Tie::Last) => |a, b| if b.v >= a.v { b } else { a },
            _ => return None,
        })
    }

    fn build_keyed(&self, bench: &Bench<'_>) {
        let keyed = bench.input(0).key_by_ref(|event| &event.key);
        match self.window.of_time().filter(|_| self.is_plain()) {
            Some(AnyAssigner::TumblingEvent(assigner)) => {
                apply_named!(self, bench, keyed.window(assigner), TimeWindow);
            }
            Some(AnyAssigner::SlidingEvent(assigner)) => {
                apply!(self, bench, keyed.window(assigner), TimeWindow);
            }
            Some(AnyAssigner::SessionEvent(assigner)) => {
                apply!(self, bench, keyed.window(assigner), TimeWindow);
            }
            _ => windows!(self, bench, keyed, window),
        }
    }

    fn build_all(&self, bench: &Bench<'_>) {
        let all = bench.input(0);
        match self.window.of_time().filter(|_| self.is_plain()) {
            Some(AnyAssigner::TumblingEvent(assigner)) => {
                apply!(self, bench, all.window_all(assigner), TimeWindow);
            }
            _ => windows!(self, bench, all, window_all),
        }
    }
}

impl Interpreter for WindowJob {
    fn build(&self, bench: &Bench<'_>) {
        if self.keyed { self.build_keyed(bench) } else { self.build_all(bench) }
    }
}
