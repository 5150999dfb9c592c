use super::*;
use crate::graph::test_plan::{PlanBuilder, with_parallelism};
use crate::graph::{CheckpointSettings, PlanSettings};
use std::time::Duration;

const ALIGNED: Option<CheckpointSettings> = Some(CheckpointSettings {
    interval: Duration::from_secs(1),
    timeout: Duration::from_secs(60),
    is_aligned: true,
});
const NOT_ALIGNED: Option<CheckpointSettings> = Some(CheckpointSettings {
    interval: Duration::from_secs(1),
    timeout: Duration::from_secs(60),
    is_aligned: false,
});

fn settings(checkpoints: Option<CheckpointSettings>) -> PlanSettings {
    PlanSettings { checkpoints, ..with_parallelism(1) }
}

/// A source, a keyed operator and a sink.
fn plan(is_replayable: bool, guarantee: SinkGuarantee) -> PlanBuilder {
    let mut plan = PlanBuilder::new();
    let kind = NodeKind::Source { bounded: false, non_parallel: false, is_replayable };
    let source = plan.add(kind, "source", "clicks");
    let count = plan.keyed("count", source);
    let sink = plan.sink("out", count);
    plan.node(sink).kind = NodeKind::Sink(SinkPromise::of(guarantee));
    plan
}

fn delivery(plan: &PlanBuilder, checkpoints: Option<CheckpointSettings>) -> Delivery {
    let graph = StreamGraph::new(&plan.build(), &settings(checkpoints)).unwrap();
    let deliveries: Vec<_> =
        graph.nodes().iter().filter_map(|node| Delivery::at(&graph, node.id)).collect();
    assert_eq!(deliveries.len(), 1, "one sink");
    deliveries.into_iter().next().unwrap()
}

/// What holds with a source that does not replay, and with one that does.
fn check(guarantee: SinkGuarantee, expected: [DeliveryGuarantee; 2]) {
    let at = |is_replayable, checkpoints| {
        delivery(&plan(is_replayable, guarantee), checkpoints).guarantee
    };
    assert_eq!([at(false, ALIGNED), at(true, ALIGNED)], expected, "{guarantee:?}");
    assert_eq!(at(true, None), DeliveryGuarantee::AtMostOnce, "{guarantee:?} without checkpoints");
    assert_eq!(at(false, NOT_ALIGNED), DeliveryGuarantee::AtMostOnce);
    assert_eq!(at(true, NOT_ALIGNED), DeliveryGuarantee::AtLeastOnce, "{guarantee:?} not aligned");
}

#[test]
fn the_table_of_sources_and_sinks() {
    use DeliveryGuarantee::{AtLeastOnce, AtMostOnce, EffectivelyOnce, ExactlyOnce};
    check(SinkGuarantee::Any, [AtMostOnce, AtLeastOnce]);
    check(SinkGuarantee::Idempotent, [AtMostOnce, EffectivelyOnce]);
    check(SinkGuarantee::WriteAhead, [AtMostOnce, AtLeastOnce]);
    check(SinkGuarantee::AtomicWriteAhead, [AtMostOnce, ExactlyOnce]);
    check(SinkGuarantee::TwoPhase, [AtMostOnce, ExactlyOnce]);
}

#[test]
fn one_source_that_forgets_is_enough_and_is_named() {
    let mut plan = PlanBuilder::new();
    let forgetful = NodeKind::Source { bounded: false, non_parallel: true, is_replayable: false };
    let (a, b, c) =
        (plan.source("a"), plan.add(forgetful, "socket", "b"), plan.add(forgetful, "socket", "c"));
    let both = plan.co_process(a, b);
    let first = plan.sink("first", both);
    let all = plan.union(&[both, c]);
    let second = plan.sink("second", all);
    let third = plan.sink("third", a);
    for sink in [first, second, third] {
        plan.node(sink).kind = NodeKind::Sink(SinkPromise::of(SinkGuarantee::TwoPhase));
    }
    let graph = StreamGraph::new(&plan.build(), &settings(ALIGNED)).unwrap();
    let said = |sink| Delivery::at(&graph, sink).unwrap().to_string();
    assert_eq!(
        said(first),
        "at-most-once: source 'b' cannot replay its records, so that a failure loses those that were read"
    );
    assert!(said(second).starts_with("at-most-once: sources 'b', 'c' cannot replay their records"));
    assert_eq!(
        said(third),
        "exactly-once: all sources replay, and the sink commits when a checkpoint is complete"
    );
    assert_eq!(Delivery::at(&graph, both), None);
}

#[test]
fn a_transaction_that_times_out_before_its_checkpoint_may_be_complete_is_refused() {
    let with_timeout = |seconds| {
        let mut plan = plan(true, SinkGuarantee::TwoPhase);
        let transaction_timeout = Some(Duration::from_secs(seconds));
        let promise = SinkPromise { guarantee: SinkGuarantee::TwoPhase, transaction_timeout };
        plan.node(NodeId(2)).kind = NodeKind::Sink(promise);
        plan.build()
    };
    let error = StreamGraph::new(&with_timeout(60), &settings(ALIGNED)).unwrap_err().to_string();
    assert!(
        error.contains("its transactions time out after 60000 ms, and a checkpoint may be complete only 61000 ms after"),
        "{error}"
    );
    StreamGraph::new(&with_timeout(61), &settings(ALIGNED)).unwrap();
    StreamGraph::new(&with_timeout(1), &settings(None)).unwrap();
}

#[test]
fn all_formats_say_it() {
    use crate::graph::{Explain, ExplainFormat, ExplainPart};
    let plan = plan(true, SinkGuarantee::Idempotent).build();
    let graph = StreamGraph::new(&plan, &settings(ALIGNED)).unwrap();
    let explain = Explain::new(graph, None).unwrap();
    let part = |format| explain.render_part(ExplainPart::StreamGraph, format);
    let reason = "all sources replay, and the sink may write a record again, which changes nothing in the end";
    let text = part(ExplainFormat::Text);
    assert!(text.contains(&format!("\n      delivery: effectively-once: {reason}\n")), "{text}");
    let json: serde_json::Value = serde_json::from_str(&part(ExplainFormat::Json)).unwrap();
    let expected = serde_json::json!({"guarantee": "effectively-once", "reason": reason});
    assert_eq!(json["nodes"][2]["delivery"], expected);
    assert_eq!(json["nodes"][0].get("delivery"), None);
    assert!(part(ExplainFormat::Dot).contains(r#"parallelism 1\neffectively-once"#));
}
