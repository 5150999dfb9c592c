//! Interval joins.

use crate::conformance::bench::Bench;
use crate::conformance::event::{Event, Output};
use serde_json::json;
use thalweg::prelude::*;

/// How far the right event may be from the left one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) lower_ms: i64,
    pub(super) upper_ms: i64,
    pub(super) lower_exclusive: bool,
    pub(super) upper_exclusive: bool,
}

pub(super) fn build(bench: &Bench<'_>, bounds: Bounds, late_output: bool) {
    let left = bench.input(0).key_by_ref(|event| &event.key);
    let right = bench.input(1).key_by_ref(|event| &event.key);
    let mut join = left.interval_join(right).between_ms(bounds.lower_ms, bounds.upper_ms);
    if bounds.lower_exclusive {
        join = join.lower_bound_exclusive();
    }
    if bounds.upper_exclusive {
        join = join.upper_bound_exclusive();
    }
    let (left_late, right_late) = (OutputTag::new("left_late"), OutputTag::new("right_late"));
    if late_output {
        join = join.side_output_left_late(&left_late).side_output_right_late(&right_late);
    }
    let joined = join.process(Pairs);
    if late_output {
        bench.events("left_late", joined.side_output::<Event>(&left_late));
        bench.events("right_late", joined.side_output::<Event>(&right_late));
    }
    bench.outputs("main", joined);
}

/// `{key, l, r, lts, rts}`.
#[derive(Clone)]
struct Pairs;

impl ProcessJoinFunction for Pairs {
    type Left = Event;
    type Right = Event;
    type Out = Output;

    fn process_element(
        &mut self,
        left: &Event,
        right: &Event,
        context: &mut JoinContext<'_>,
        out: &mut Collector<'_, Output>,
    ) -> thalweg::Result<()> {
        let (lts, rts) = (context.left_timestamp(), context.right_timestamp());
        let pair = json!({"key": left.key, "l": left.v, "r": right.v, "lts": lts, "rts": rts});
        out.collect(Output::new(&pair));
        Ok(())
    }
}
