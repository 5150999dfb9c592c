use super::*;
use crate::graph::plan_error::{PlanErrorCause as Cause, PlanSite};
use crate::graph::test_plan::{PlanBuilder, linear, with_parallelism};

fn resolve_plan(plan: &PlanBuilder, settings: &PlanSettings) -> StreamGraph {
    StreamGraph::new(&plan.build(), settings).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The errors as `site name: cause`.
fn errors_of(plan: &Plan, settings: &PlanSettings) -> Vec<(String, Cause)> {
    let errors = StreamGraph::new(plan, settings).unwrap_err();
    let name = |site: &PlanSite| match site {
        PlanSite::Plan => "plan".to_owned(),
        PlanSite::Environment => "environment".to_owned(),
        PlanSite::Operator { name, .. } => name.clone(),
    };
    errors.0.into_iter().map(|error| (name(&error.site), error.cause)).collect()
}

fn check(change: impl FnOnce(&mut PlanBuilder), expected: &[(&str, Cause)]) {
    check_with(&with_parallelism(2), change, expected);
}

/// Nodes of the changed plan: 0 flights, 1 map (fused), 2 count (keyed), 3 print.
fn check_with(
    settings: &PlanSettings,
    change: impl FnOnce(&mut PlanBuilder),
    expected: &[(&str, Cause)],
) {
    let mut plan = linear();
    change(&mut plan);
    let expected: Vec<(String, Cause)> =
        expected.iter().map(|(name, cause)| ((*name).to_owned(), cause.clone())).collect();
    assert_eq!(errors_of(&plan.build(), settings), expected);
}

#[test]
fn settings_resolve_from_operator_then_environment() {
    let mut plan = linear();
    plan.node(NodeId(2)).parallelism = Some(3);
    plan.node(NodeId(3)).max_parallelism = Some(7);
    let graph = resolve_plan(&plan, &with_parallelism(2));
    let parallelism: Vec<usize> = graph.nodes().iter().map(|node| node.parallelism).collect();
    let max: Vec<usize> = graph.nodes().iter().map(|node| node.max_parallelism).collect();
    let ships: Vec<Ship> = graph.edges().iter().map(|edge| edge.ship).collect();
    assert_eq!(parallelism, [2, 2, 3, 2]);
    assert_eq!(max, [128, 128, 128, 7]);
    assert_eq!(ships, [Ship::Forward, Ship::Hash, Ship::Rebalance]);
    let names: Vec<&str> = graph.nodes().iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["flights", "map", "count", "print"]);
    let titles: Vec<String> = graph.nodes().iter().map(StreamNode::title).collect();
    assert_eq!(titles, ["Source: flights", "map", "count", "Sink: print"]);
}

#[test]
fn max_parallelism_comes_from_the_environment_before_the_rule() {
    let settings = PlanSettings { max_parallelism: Some(12), ..with_parallelism(2) };
    let graph = resolve_plan(&linear(), &settings);
    assert!(graph.nodes().iter().all(|node| node.max_parallelism == 12));
    let graph = resolve_plan(&linear(), &with_parallelism(100));
    assert!(graph.nodes().iter().all(|node| node.max_parallelism == 256));
}

#[test]
fn fused_nodes_take_the_parallelism_of_their_producer() {
    let mut plan = PlanBuilder::new();
    let source = plan.non_parallel_source("lines");
    let map = plan.fused("map", source);
    let count = plan.keyed("count", map);
    plan.sink("out", count);
    let graph = resolve_plan(&plan, &with_parallelism(4));
    let parallelism: Vec<usize> = graph.nodes().iter().map(|node| node.parallelism).collect();
    assert_eq!(parallelism, [1, 1, 4, 4]);
}

#[test]
fn slot_sharing_groups_are_inherited_where_inputs_agree() {
    let mut plan = PlanBuilder::new();
    let (a, b, c) = (plan.source("a"), plan.source("b"), plan.source("c"));
    plan.node(a).slot_sharing_group = Some("left".into());
    plan.node(b).slot_sharing_group = Some("left".into());
    let agree = plan.union(&[a, b]);
    let differ = plan.union(&[agree, c]);
    let own = plan.operator("map", agree);
    plan.node(own).slot_sharing_group = Some("own".into());
    plan.sink("one", differ);
    plan.sink("two", own);
    let graph = resolve_plan(&plan, &with_parallelism(1));
    let groups: Vec<&str> =
        graph.nodes().iter().map(|node| node.slot_sharing_group.as_str()).collect();
    assert_eq!(groups, ["left", "left", "default", "left", "default", "own", "default", "own"]);
}

#[test]
fn inputs_and_outputs_of_a_node() {
    let mut plan = PlanBuilder::new();
    let (a, b) = (plan.source("a"), plan.source("b"));
    let both = plan.co_process(a, b);
    plan.sink("one", both);
    plan.sink("two", both);
    let graph = resolve_plan(&plan, &with_parallelism(1));
    let ports: Vec<(u32, u8)> = graph.inputs(both).map(|edge| (edge.from.0, edge.port)).collect();
    assert_eq!(ports, [(0, 0), (1, 1)]);
    let consumers: Vec<u32> = graph.outputs(both).map(|edge| edge.to.0).collect();
    assert_eq!(consumers, [3, 4]);
}

#[test]
fn side_output_that_nobody_reads_is_fine_and_so_is_one_that_alone_is_read() {
    let mut plan = linear();
    let late = plan.sink("late", NodeId(2));
    plan.input(late, 0).side_output = Some("late".into());
    resolve_plan(&plan, &with_parallelism(2));
    let mut plan = PlanBuilder::new();
    let source = plan.source("in");
    let split = plan.operator("split", source);
    let late = plan.sink("late", split);
    plan.input(late, 0).side_output = Some("late".into());
    resolve_plan(&plan, &with_parallelism(2));
}

#[test]
fn empty_plan() {
    assert_eq!(
        errors_of(&Plan::default(), &PlanSettings::default()),
        [("plan".to_owned(), Cause::EmptyPlan)]
    );
}

#[test]
fn no_source_and_no_sink() {
    check(
        |plan| plan.node(NodeId(0)).kind = NodeKind::Operator,
        &[("plan", Cause::NoSource), ("flights", Cause::MissingInput)],
    );
    check(
        |plan| plan.node(NodeId(3)).kind = NodeKind::Operator,
        &[("plan", Cause::NoSink), ("print", Cause::RecordsGoNowhere)],
    );
}

#[test]
fn parallelism_out_of_range() {
    check(|plan| plan.node(NodeId(3)).parallelism = Some(0), &[("print", Cause::ParallelismZero)]);
    check(
        |plan| plan.node(NodeId(3)).parallelism = Some(32_769),
        &[("print", Cause::ParallelismTooLarge { parallelism: 32_769 })],
    );
    check(
        |plan| plan.node(NodeId(3)).max_parallelism = Some(0),
        &[("print", Cause::MaxParallelismOutOfRange { max_parallelism: 0 })],
    );
    check(
        |plan| plan.node(NodeId(3)).max_parallelism = Some(32_769),
        &[("print", Cause::MaxParallelismOutOfRange { max_parallelism: 32_769 })],
    );
    check(
        |plan| plan.node(NodeId(3)).max_parallelism = Some(1),
        &[("print", Cause::ParallelismAboveMax { parallelism: 2, max_parallelism: 1 })],
    );
}

#[test]
fn environment_out_of_range_is_reported_once() {
    check_with(&with_parallelism(0), |_| {}, &[("environment", Cause::ParallelismZero)]);
    check_with(
        &with_parallelism(40_000),
        |_| {},
        &[("environment", Cause::ParallelismTooLarge { parallelism: 40_000 })],
    );
    check_with(
        &PlanSettings { max_parallelism: Some(4), ..with_parallelism(5) },
        |_| {},
        &[("environment", Cause::ParallelismAboveMax { parallelism: 5, max_parallelism: 4 })],
    );
    check_with(
        &PlanSettings { max_parallelism: Some(0), ..with_parallelism(5) },
        |_| {},
        &[("environment", Cause::MaxParallelismOutOfRange { max_parallelism: 0 })],
    );
}

#[test]
fn non_parallel_source_refuses_only_what_was_said_on_it() {
    let alone = NodeKind::Source { bounded: false, non_parallel: true, is_replayable: false };
    check(
        |plan| {
            plan.node(NodeId(0)).kind = alone;
            plan.node(NodeId(0)).parallelism = Some(3);
        },
        &[("flights", Cause::NonParallelSource { parallelism: 3 })],
    );
    let mut plan = linear();
    plan.node(NodeId(0)).kind = alone;
    assert_eq!(resolve_plan(&plan, &with_parallelism(3)).node(NodeId(0)).parallelism, 1);
}

#[test]
fn duplicate_uid() {
    let mut plan = linear();
    plan.node(NodeId(1)).uid = Some("x".into());
    plan.node(NodeId(2)).uid = Some("x".into());
    let plan = plan.build();
    let first = PlanSite::operator(1, &plan.transformations[1]);
    assert_eq!(
        errors_of(&plan, &with_parallelism(2)),
        [("count".to_owned(), Cause::DuplicateUid { uid: "x".into(), first })]
    );
}

#[test]
fn unknown_input() {
    check(
        |plan| plan.input(NodeId(3), 0).from = NodeId(9),
        &[
            ("print", Cause::UnknownInput { input: 0, from: NodeId(9), node_count: 4 }),
            ("count", Cause::RecordsGoNowhere),
        ],
    );
}

#[test]
fn forward_between_unequal_parallelism() {
    check(
        |plan| {
            plan.node(NodeId(3)).parallelism = Some(1);
            plan.input(NodeId(3), 0).ship = Ship::Forward;
        },
        &[(
            "print",
            Cause::ForwardUnequal { producer: "count".into(), producers: 2, consumers: 1 },
        )],
    );
}

#[test]
fn keyed_state_needs_hash_and_may_have_broadcast_beside_it() {
    check(
        |plan| plan.input(NodeId(2), 0).ship = Ship::Rebalance,
        &[("count", Cause::KeyedInputNotHashed { producer: "map".into(), ship: Ship::Rebalance })],
    );
    check(
        |plan| plan.input(NodeId(2), 0).ship = Ship::Broadcast,
        &[("count", Cause::KeyedInputNotHashed { producer: "map".into(), ship: Ship::Broadcast })],
    );
    check(
        |plan| plan.node(NodeId(1)).keyed = true,
        &[("map", Cause::KeyedInputNotHashed { producer: "flights".into(), ship: Ship::Forward })],
    );
    let mut plan = linear();
    let rules = plan.source("rules");
    plan.connect(rules, NodeId(2), 1, Ship::Broadcast);
    resolve_plan(&plan, &with_parallelism(2));
}

#[test]
fn fused_nodes_that_differ() {
    check(
        |plan| plan.node(NodeId(1)).parallelism = Some(3),
        &[(
            "map",
            Cause::FusedParallelism { producer: "flights".into(), producers: 2, consumers: 3 },
        )],
    );
    check(
        |plan| plan.node(NodeId(1)).slot_sharing_group = Some("own".into()),
        &[(
            "map",
            Cause::FusedSlotSharingGroup {
                producer: "flights".into(),
                producer_group: "default".into(),
                group: "own".into(),
            },
        )],
    );
    check(
        |plan| plan.input(NodeId(1), 0).ship = Ship::Hash,
        &[("map", Cause::FusedShip { producer: "flights".into(), ship: Ship::Hash })],
    );
    check(
        |plan| plan.connect(NodeId(0), NodeId(1), 0, Ship::Auto),
        &[("map", Cause::FusedNotAlone { inputs: 2 })],
    );
}

#[test]
fn bugs_of_the_api_layer_are_errors() {
    check(
        |plan| plan.connect(NodeId(3), NodeId(0), 0, Ship::Auto),
        &[
            ("flights", Cause::SourceWithInput),
            ("flights", Cause::ReadsFromSink { sink: "print".into() }),
            (
                "flights",
                Cause::Cycle {
                    path: ["flights", "map", "count", "print", "flights"].map(String::from).into(),
                },
            ),
        ],
    );
    check(
        |plan| plan.input(NodeId(3), 0).edge = Some(EdgeId(2)),
        &[("print", Cause::EdgeOutOfRange { edge: EdgeId(2), edge_count: 2 })],
    );
    check(
        |plan| plan.node(NodeId(3)).id = NodeId(5),
        &[("print", Cause::Misnumbered { id: NodeId(5), index: 3 })],
    );
    let mut plan = linear();
    plan.input(NodeId(3), 0).edge = Some(EdgeId(0));
    let plan = plan.build();
    let first = PlanSite::operator(2, &plan.transformations[2]);
    assert_eq!(
        errors_of(&plan, &with_parallelism(2)),
        [("print".to_owned(), Cause::EdgeUsedTwice { edge: EdgeId(0), first })]
    );
}

#[test]
fn cycles_are_found_wherever_they_lie() {
    let cycle = |path: &[&str]| Cause::Cycle { path: path.iter().map(|n| n.to_string()).collect() };
    let mut plan = PlanBuilder::new();
    let source = plan.source("in");
    let a = plan.operator("a", source);
    let b = plan.operator("b", a);
    plan.connect(b, a, 0, Ship::Auto);
    let c = plan.operator("c", b);
    plan.connect(c, c, 0, Ship::Auto);
    plan.sink("out", c);
    assert_eq!(
        errors_of(&plan.build(), &with_parallelism(2)),
        [("a".to_owned(), cycle(&["a", "b", "a"])), ("c".to_owned(), cycle(&["c", "c"]))]
    );
}

#[test]
fn all_errors_come_at_once_and_say_where() {
    let mut plan = linear();
    plan.node(NodeId(1)).uid = Some("same".into());
    plan.node(NodeId(2)).uid = Some("same".into());
    plan.node(NodeId(2)).parallelism = Some(0);
    plan.node(NodeId(3)).parallelism = Some(50_000);
    plan.operator("dangling", NodeId(1));
    let errors = StreamGraph::new(&plan.build(), &with_parallelism(0)).unwrap_err();
    assert_eq!(errors.0.len(), 5, "{errors}");
    let text = errors.to_string();
    assert!(text.starts_with("the plan can't run, it has 5 errors:\n  1. environment: "), "{text}");
    assert!(
        text.contains("operator 'dangling' at engine/src/graph/stream_graph/tests.rs:"),
        "{text}"
    );
    assert!(
        text.contains(
            "uid 'same' is also the uid of operator 'map' at engine/src/graph/test_plan.rs:"
        ),
        "{text}"
    );
}

#[test]
fn a_union_takes_the_parallelism_of_its_inputs_unless_an_operator_is_fused_to_it() {
    let union_of = |parallelism: [usize; 2], is_fused: bool| {
        let mut plan = PlanBuilder::new();
        let sources = ["one", "two"].map(|name| plan.source(name));
        for (source, parallelism) in sources.iter().zip(parallelism) {
            plan.node(*source).parallelism = Some(parallelism);
        }
        let union = plan.union(&sources);
        let before = if is_fused { plan.fused("map", union) } else { union };
        let count = plan.keyed("count", before);
        plan.sink("print", count);
        let graph = resolve_plan(&plan, &with_parallelism(4));
        let ships: Vec<Ship> = graph.edges().iter().map(|edge| edge.ship).take(2).collect();
        (graph.node(union).parallelism, ships)
    };
    assert_eq!(union_of([2, 2], false), (2, vec![Ship::Forward; 2]), "keys stay in order");
    assert_eq!(union_of([2, 3], false), (4, vec![Ship::Rebalance; 2]));
    assert_eq!(union_of([2, 2], true), (4, vec![Ship::Rebalance; 2]));
}
