//! Window joins and co-groups.

use crate::conformance::bench::Bench;
use crate::conformance::event::{Event, Output};
use crate::conformance::kind::duration;
use crate::conformance::kind::join::{Emit, pair};
use crate::conformance::kind::window_spec::{AnyAssigner, TriggerSpec, WindowSpec};
use thalweg::prelude::*;
use thalweg::window::GlobalWindows;

/// Windows, their trigger and how late events may be.
#[derive(Clone, Copy)]
pub(super) struct Spec<'a> {
    pub(super) window: WindowSpec,
    pub(super) trigger: Option<&'a TriggerSpec>,
    pub(super) allowed_lateness_ms: i64,
}

/// Two streams by key in the windows of `$spec`, to which `$function` is applied.
macro_rules! apply {
    ($streams:expr, $spec:expr, $function:expr) => {{
        let (streams, spec): (_, Spec<'_>) = ($streams, $spec);
        let streams = streams
            .where_key(|left: &Event| left.key.clone())
            .equal_to(|right: &Event| right.key.clone());
        let lateness = duration(spec.allowed_lateness_ms);
        let trigger = spec.trigger.map(TriggerSpec::to_trigger);
        let results: DataStream<Output> = match (spec.window.of_time(), trigger) {
            (Some(AnyAssigner::TumblingEvent(assigner)), None) => {
                streams.window(assigner).allowed_lateness(lateness).apply($function).boxed()
            }
            (Some(assigner), None) => {
                streams.window(assigner).allowed_lateness(lateness).apply($function).boxed()
            }
            (Some(assigner), Some(trigger)) => {
                let windowed = streams.window(assigner).trigger(trigger);
                windowed.allowed_lateness(lateness).apply($function).boxed()
            }
            (None, trigger) => {
                let trigger = trigger.unwrap_or_else(|| spec.window.of_global().0);
                let windowed = streams.window(GlobalWindows::create()).trigger(trigger);
                windowed.allowed_lateness(lateness).apply($function).boxed()
            }
        };
        results
    }};
}

pub(super) fn build_join(bench: &Bench<'_>, spec: Spec<'_>) {
    let streams = bench.input(0).join(bench.input(1));
    let pair = |left: &Event, right: &Event| pair(&left.key, left.v, right.v);
    bench.outputs("main", apply!(streams, spec, pair));
}

pub(super) fn build_co_group(bench: &Bench<'_>, spec: Spec<'_>, emit: Emit) {
    let streams = bench.input(0).co_group(bench.input(1));
    let rows = move |lefts: &[Event], rights: &[Event], out: &mut Collector<'_, Output>| {
        emit.rows(lefts, rights).into_iter().for_each(|row| out.collect(row));
    };
    bench.outputs("main", apply!(streams, spec, rows));
}
