use super::*;
use crate::graph::settings::PlanSettings;
use crate::graph::test_plan::{PlanBuilder, linear, with_parallelism};
use crate::graph::transformation::Chaining;

fn job_of(plan: &PlanBuilder, settings: &PlanSettings) -> JobGraph {
    let graph = StreamGraph::new(&plan.build(), settings);
    JobGraph::new(&graph.unwrap_or_else(|errors| panic!("{errors}")))
}

/// Names of the vertices, and for each edge `from>to ship` with `nested` or the count of its ends.
fn check(plan: &PlanBuilder, parallelism: usize, vertices: &[&str], edges: &[&str], roots: &[u32]) {
    check_job(&job_of(plan, &with_parallelism(parallelism)), vertices, edges, roots);
}

fn check_job(job: &JobGraph, vertices: &[&str], edges: &[&str], roots: &[u32]) {
    let names: Vec<&str> = job.vertices().iter().map(|vertex| vertex.name.as_str()).collect();
    assert_eq!(names, vertices);
    let describe = |edge: &EdgePlan| {
        let wiring = match edge.nested {
            true => "nested".to_owned(),
            false => format!("{}x{}", edge.producers, edge.consumers),
        };
        format!("{}>{} {} {wiring}", edge.from.0, edge.to.0, edge.ship)
    };
    let wired: Vec<String> = job.edge_plans().iter().map(describe).collect();
    assert_eq!(wired, edges);
    let heads: Vec<u32> = job.task_roots().map(|root| root.head.0).collect();
    assert_eq!(heads, roots, "heads of task roots");
}

#[test]
fn linear_job_is_one_task_a_slot() {
    for parallelism in [1, 4] {
        check(
            &linear(),
            parallelism,
            &["Source: flights -> map", "count -> Sink: print"],
            &["1>2 HASH nested", "2>3 FORWARD nested"],
            &[0],
        );
    }
    let job = job_of(&linear(), &with_parallelism(1));
    assert!(job.edge_plan(EdgeId(0)).unwrap().is_exchange_free());
    let job = job_of(&linear(), &with_parallelism(2));
    assert!(!job.edge_plan(EdgeId(0)).unwrap().is_exchange_free());
    assert!(job.edge_plan(EdgeId(1)).unwrap().is_exchange_free());
    assert_eq!(job.edge_plan(EdgeId(2)), None);
}

#[test]
fn stages_and_vertices_of_the_linear_job() {
    let job = job_of(&linear(), &with_parallelism(2));
    let describe = |stage: &Stage| {
        let nodes: Vec<u32> = stage.nodes.iter().map(|node| node.0).collect();
        let nested = stage.nested_input.map(|edge| edge.0);
        format!("{}{nodes:?} v{} r{} {nested:?}", stage.head.0, stage.vertex, stage.root)
    };
    let stages: Vec<String> = job.stages().iter().map(describe).collect();
    assert_eq!(stages, ["0[0, 1] v0 r0 None", "2[2] v1 r0 Some(0)", "3[3] v1 r0 Some(1)"]);
    assert_eq!(
        job.edges(),
        [JobEdge { edge: EdgeId(0), from: VertexIndex(0), to: VertexIndex(1) }]
    );
    assert_eq!(job.stage_of(NodeId(1)).index, StageIndex(0));
}

#[test]
fn without_chaining_forward_edges_are_queues_and_hash_edges_stay_nested() {
    let settings = PlanSettings { chaining_enabled: false, ..with_parallelism(2) };
    check_job(
        &job_of(&linear(), &settings),
        &["Source: flights -> map", "count", "Sink: print"],
        &["1>2 HASH nested", "2>3 FORWARD 2x2"],
        &[0, 3],
    );
}

#[test]
fn chaining_strategies() {
    let chain = |of_map: Chaining, of_filter: Chaining| {
        let mut plan = PlanBuilder::new();
        let source = plan.source("in");
        let map = plan.operator("map", source);
        let filter = plan.operator("filter", map);
        plan.sink("out", filter);
        plan.node(map).chaining = of_map;
        plan.node(filter).chaining = of_filter;
        let job = job_of(&plan, &with_parallelism(2));
        let names: Vec<String> = job.vertices().iter().map(|vertex| vertex.name.clone()).collect();
        names.join(" | ")
    };
    use Chaining::*;
    let cases = [
        (Always, Always, "Source: in -> map -> filter -> Sink: out"),
        (Head, Always, "Source: in | map -> filter -> Sink: out"),
        (Always, Head, "Source: in -> map | filter -> Sink: out"),
        (Never, Always, "Source: in | map | filter -> Sink: out"),
        (Never, Never, "Source: in | map | filter | Sink: out"),
        (Head, Never, "Source: in | map | filter | Sink: out"),
    ];
    for (of_map, of_filter, expected) in cases {
        assert_eq!(chain(of_map, of_filter), expected, "map {of_map:?}, filter {of_filter:?}");
    }
}

#[test]
fn fused_nodes_are_one_vertex_whatever_was_said_on_chaining() {
    let mut plan = linear();
    plan.node(NodeId(1)).chaining = Chaining::Never;
    let settings = PlanSettings { chaining_enabled: false, ..with_parallelism(2) };
    assert_eq!(job_of(&plan, &settings).vertices()[0].name, "Source: flights -> map");
}

#[test]
fn union_is_never_nested() {
    let mut plan = PlanBuilder::new();
    let (a, b) = (plan.source("a"), plan.source("b"));
    let both = plan.union(&[a, b]);
    plan.sink("out", both);
    check(
        &plan,
        2,
        &["Source: a", "Source: b", "union -> Sink: out"],
        &["0>2 FORWARD 2x2", "1>2 FORWARD 2x2", "2>3 FORWARD nested"],
        &[0, 1, 2],
    );
}

#[test]
fn union_of_a_stream_with_itself() {
    let mut plan = PlanBuilder::new();
    let a = plan.source("a");
    let twice = plan.union(&[a, a]);
    plan.sink("out", twice);
    let edges = ["0>1 FORWARD 1x1", "0>1 FORWARD 1x1", "1>2 FORWARD nested"];
    check(&plan, 1, &["Source: a", "union -> Sink: out"], &edges, &[0, 1]);
}

#[test]
fn diamond() {
    let mut plan = PlanBuilder::new();
    let source = plan.source("in");
    let (left, right) = (plan.operator("left", source), plan.keyed("right", source));
    let both = plan.co_process(left, right);
    plan.sink("out", both);
    check(
        &plan,
        2,
        &["Source: in -> left", "right", "co_process -> Sink: out"],
        &[
            "0>1 FORWARD nested",
            "0>2 HASH nested",
            "1>3 FORWARD 2x2",
            "2>3 FORWARD 2x2",
            "3>4 FORWARD nested",
        ],
        &[0, 3],
    );
}

#[test]
fn fan_out_and_side_outputs_chain() {
    let mut plan = PlanBuilder::new();
    let source = plan.source("in");
    let split = plan.operator("split", source);
    let clean = plan.fused("clean", split);
    plan.sink("main", clean);
    let late = plan.sink("late", split);
    plan.input(late, 0).side_output = Some("late".into());
    let name = "Source: in -> split -> (clean -> Sink: main, Sink: late)";
    let edges = ["0>1 FORWARD nested", "2>3 FORWARD nested", "1>4 FORWARD nested"];
    check(&plan, 2, &[name], &edges, &[0]);
    let job = job_of(&plan, &with_parallelism(2));
    assert_eq!(job.edge_plans()[2].side_output.as_deref(), Some("late"));
}

#[test]
fn unequal_parallelism_cuts() {
    let mut plan = linear();
    plan.node(NodeId(3)).parallelism = Some(1);
    check(
        &plan,
        4,
        &["Source: flights -> map", "count", "Sink: print"],
        &["1>2 HASH nested", "2>3 REBALANCE 4x1"],
        &[0, 3],
    );
    plan.node(NodeId(2)).parallelism = Some(2);
    check(
        &plan,
        4,
        &["Source: flights -> map", "count", "Sink: print"],
        &["1>2 HASH 4x2", "2>3 REBALANCE 2x1"],
        &[0, 2, 3],
    );
}

#[test]
fn every_ship_strategy_nests_at_equal_parallelism() {
    for ship in [
        Ship::Hash,
        Ship::Rebalance,
        Ship::Rescale,
        Ship::Shuffle,
        Ship::Broadcast,
        Ship::Global,
        Ship::Custom,
    ] {
        let mut plan = PlanBuilder::new();
        let source = plan.source("in");
        let map = plan.shipped("map", source, ship);
        plan.sink("out", map);
        let edge = format!("0>1 {ship} nested");
        let vertices = ["Source: in", "map -> Sink: out"];
        check(&plan, 3, &vertices, &[&edge, "1>2 FORWARD nested"], &[0]);
    }
}

#[test]
fn slot_sharing_groups_cut_and_add_up() {
    let mut plan = linear();
    plan.node(NodeId(2)).slot_sharing_group = Some("heavy".into());
    plan.node(NodeId(3)).parallelism = Some(3);
    check(
        &plan,
        2,
        &["Source: flights -> map", "count", "Sink: print"],
        &["1>2 HASH 2x2", "2>3 REBALANCE 2x3"],
        &[0, 2, 3],
    );
    let demand = job_of(&plan, &with_parallelism(2)).slot_demand();
    assert_eq!(demand.groups, [("default".to_owned(), 2), ("heavy".to_owned(), 3)]);
    assert_eq!(job_of(&linear(), &with_parallelism(8)).slot_demand().slot_count(), 8);
}

#[test]
fn max_parallelism_of_a_vertex_is_the_smallest_and_key_groups_the_consumers() {
    let mut plan = linear();
    plan.node(NodeId(2)).max_parallelism = Some(64);
    plan.node(NodeId(3)).max_parallelism = Some(16);
    let job = job_of(&plan, &with_parallelism(2));
    assert_eq!(job.vertices()[1].max_parallelism, 16);
    assert_eq!(job.edge_plans()[0].key_groups, 64);
}

#[test]
fn a_plan_written_backwards_gives_ordered_stages() {
    let mut plan = PlanBuilder::new();
    let sink = plan.add(crate::graph::NodeKind::Sink(Default::default()), "sink", "out");
    let map = plan.add(crate::graph::NodeKind::Operator, "map", "");
    let source = plan.source("in");
    plan.connect(map, sink, 0, Ship::Auto);
    plan.connect(source, map, 0, Ship::Hash);
    let job = job_of(&plan, &with_parallelism(2));
    let heads: Vec<u32> = job.stages().iter().map(|stage| stage.head.0).collect();
    assert_eq!(heads, [2, 1, 0]);
    assert!(job.stages().iter().all(|stage| stage.root == StageIndex(0)));
    assert_eq!(job.vertices()[1].name, "map -> Sink: out");
}

#[test]
fn a_chain_of_ten_thousand_operators_is_planned() {
    let mut plan = PlanBuilder::new();
    let mut stream = plan.source("in");
    for _ in 0..10_000 {
        stream = plan.operator("m", stream);
    }
    plan.sink("out", stream);
    let job = job_of(&plan, &with_parallelism(1));
    assert_eq!(job.vertices().len(), 1);
    assert_eq!(job.vertices()[0].operators.len(), 10_002);
}
