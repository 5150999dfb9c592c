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

/// Ends a windowed stream in the job's function.
macro_rules! apply {
    ($job:expr, $bench:expr, $windowed:expr, $window:ty) => {{
        let (job, bench) = ($job, $bench);
        let late = OutputTag::<Event>::new("late");
        let lateness = duration(job.allowed_lateness_ms);
        let windowed = $windowed.allowed_lateness(lateness).evaluation(bench.evaluation());
        let windowed = match job.late_output {
            true => windowed.side_output_late_data(&late),
            false => windowed,
        };
        let elements = |tells| Elements::<$window>::new(tells, job.sort_vs);
        match (job.function, job.tie.unwrap_or_default()) {
            (Function::Sum, _) => job.events(bench, windowed.sum(|event| &mut event.v)),
            (Function::Min, _) => job.events(bench, windowed.min(|event| &mut event.v)),
            (Function::Max, _) => job.events(bench, windowed.max(|event| &mut event.v)),
            (Function::MinBy, Tie::First) => job.events(bench, windowed.min_by(|event| event.v)),
            (Function::MinBy, Tie::Last) => {
                job.events(bench, windowed.min_by_last(|event| event.v));
            }
            (Function::MaxBy, Tie::First) => job.events(bench, windowed.max_by(|event| event.v)),
            (Function::MaxBy, Tie::Last) => {
                job.events(bench, windowed.max_by_last(|event| event.v));
            }
            (Function::Reduce, _) => job.events(bench, windowed.reduce(add)),
            (Function::Aggregate, _) => {
                let counts = windowed.aggregate(CountAndSum).boxed();
                job.late(bench, &counts);
                bench.outputs("main", counts.map(counted));
            }
            (Function::Process, _) => {
                job.outputs(bench, windowed.process(elements(Tells::Elements)));
            }
            (Function::ProcessWm, _) => {
                job.outputs(bench, windowed.process(elements(Tells::Watermark)));
            }
            (Function::ProcessState, _) => {
                job.outputs(bench, windowed.process(elements(Tells::Fires)));
            }
            (Function::ReduceProcess, _) => {
                job.outputs(bench, windowed.reduce_process(add, Reduced::<$window>::new()));
            }
            (Function::AggregateProcess, _) => {
                let function = Aggregated::<$window>::new();
                job.outputs(bench, windowed.aggregate_process(CountAndSum, function));
            }
        }
    }};
}

/// The windows of a job on a stream, keyed or not, by types that choose at run time; `$window` and its kin are the
/// stream's methods.
macro_rules! windows {
    ($job:expr, $bench:expr, $stream:expr,
     $window:ident, $count_window:ident, $count_window_sliding:ident) => {{
        let (job, bench, stream) = ($job, $bench, $stream);
        let trigger = job.trigger.as_ref().map(TriggerSpec::to_trigger);
        let evictor = job.evictor.map(EvictorSpec::to_evictor);
        match (job.window, job.window.of_time(), trigger, evictor) {
            (_, Some(assigner), trigger, evictor) => {
                let trigger = trigger.unwrap_or_else(|| assigner.own_trigger());
                let windowed = stream.$window(assigner).trigger(trigger);
                match evictor {
                    None => apply!(job, bench, windowed, TimeWindow),
                    Some(evictor) => apply!(job, bench, windowed.evictor(evictor), TimeWindow),
                }
            }
            (WindowSpec::CountTumbling { n }, _, None, None) => {
                apply!(job, bench, stream.$count_window(n), GlobalWindow);
            }
            (WindowSpec::CountSliding { n, slide }, _, None, None) => {
                apply!(job, bench, stream.$count_window_sliding(n, slide), GlobalWindow);
            }
            (window, None, trigger, evictor) => {
                let (own_trigger, own_evictor) = window.of_global();
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

    fn build_keyed(&self, bench: &Bench<'_>) {
        let keyed = bench.input(0).key_by_ref(|event| &event.key);
        let has_defaults = self.trigger.is_none() && self.evictor.is_none();
        // The API's own types, whose windows have operators of their own.
        match self.window.of_time().filter(|_| has_defaults) {
            Some(AnyAssigner::TumblingEvent(assigner)) => {
                apply!(self, bench, keyed.window(assigner), TimeWindow);
            }
            Some(AnyAssigner::SlidingEvent(assigner)) => {
                apply!(self, bench, keyed.window(assigner), TimeWindow);
            }
            Some(AnyAssigner::SessionEvent(assigner)) => {
                apply!(self, bench, keyed.window(assigner), TimeWindow);
            }
            _ if has_defaults && matches!(self.window, WindowSpec::GlobalEndOfStream {}) => {
                let windows = GlobalWindows::with_end_of_stream_trigger();
                apply!(self, bench, keyed.window(windows), GlobalWindow);
            }
            _ => windows!(self, bench, keyed, window, count_window, count_window_sliding),
        }
    }

    fn build_all(&self, bench: &Bench<'_>) {
        let all = bench.input(0);
        windows!(self, bench, all, window_all, count_window_all, count_window_all_sliding);
    }
}

impl Interpreter for WindowJob {
    fn build(&self, bench: &Bench<'_>) {
        if self.keyed { self.build_keyed(bench) } else { self.build_all(bench) }
    }
}
