use super::*;
use crate::graph::slot::SlotId;
use crate::graph::stream_graph::StreamGraph;
use crate::graph::test_plan::{PlanBuilder, allocate_round_robin, linear, with_parallelism};
use crate::graph::transformation::Ship;

fn place(plan: &PlanBuilder, parallelism: usize, cores: usize) -> (JobGraph, PhysicalGraph) {
    let stream_graph = StreamGraph::new(&plan.build(), &with_parallelism(parallelism));
    let job = JobGraph::new(&stream_graph.unwrap_or_else(|errors| panic!("{errors}")));
    let allocation = allocate_round_robin(&job.slot_demand(), cores);
    let physical = PhysicalGraph::new(&job, &allocation).unwrap();
    (job, physical)
}

fn counts(physical: &PhysicalGraph) -> Vec<(usize, usize, usize)> {
    let of_edge = |edge: &EdgeLinks| {
        let counts = edge.counts();
        (counts.nested, counts.local, counts.ring)
    };
    physical.edges().iter().map(of_edge).collect()
}

#[test]
fn linear_job_links() {
    let cases = [
        (1, 1, vec![(1, 0, 0), (1, 0, 0)]),
        (2, 2, vec![(2, 0, 2), (2, 0, 0)]),
        (4, 2, vec![(4, 4, 8), (4, 0, 0)]),
        (4, 1, vec![(4, 12, 0), (4, 0, 0)]),
    ];
    for (parallelism, cores, expected) in cases {
        let (job, physical) = place(&linear(), parallelism, cores);
        assert_eq!(counts(&physical), expected, "{parallelism} on {cores} cores");
        assert_eq!(physical.tasks().len(), parallelism);
        for (subtask, task) in physical.tasks().iter().enumerate() {
            assert_eq!((task.subtask, task.slot.core), (subtask, CoreIndex(subtask % cores)));
            assert_eq!(task.stages, [0, 1, 2].map(StageIndex));
            assert_eq!(task.vertices, [0, 1].map(VertexIndex));
            for stage in job.stages() {
                assert_eq!(physical.task_of(stage, subtask), Some(task));
            }
        }
        assert_eq!(physical.task_of(&job.stages()[0], parallelism), None);
    }
}

#[test]
fn union_in_one_slot_is_local() {
    let mut plan = PlanBuilder::new();
    let (a, b) = (plan.source("a"), plan.source("b"));
    let both = plan.union(&[a, b]);
    plan.sink("out", both);
    let (_, physical) = place(&plan, 2, 2);
    assert_eq!(counts(&physical), [(0, 2, 0), (0, 2, 0), (2, 0, 0)]);
    let tasks: Vec<(u32, usize, SlotId)> =
        physical.tasks().iter().map(|task| (task.root.0, task.subtask, task.slot.id)).collect();
    let (s0, s1) = (SlotId(0), SlotId(1));
    assert_eq!(tasks, [(0, 0, s0), (0, 1, s1), (1, 0, s0), (1, 1, s1), (2, 0, s0), (2, 1, s1)]);
    assert_eq!(physical.slots().len(), 2);
}

#[test]
fn slot_sharing_groups_have_slots_of_their_own() {
    let mut plan = linear();
    plan.node(crate::graph::NodeId(2)).slot_sharing_group = Some("heavy".into());
    let (_, physical) = place(&plan, 2, 4);
    let slots: Vec<u32> = physical.tasks().iter().map(|task| task.slot.id.0).collect();
    assert_eq!(slots, [0, 1, 2, 3]);
    assert_eq!(counts(&physical), [(0, 0, 4), (2, 0, 0)]);
}

#[test]
fn rescale_links_follow_the_blocks() {
    let mut plan = PlanBuilder::new();
    let source = plan.source("in");
    let map = plan.shipped("map", source, Ship::Rescale);
    plan.node(source).parallelism = Some(2);
    plan.sink("out", map);
    let (_, physical) = place(&plan, 4, 4);
    let pairs: Vec<(usize, usize, LinkKind)> =
        physical.edges()[0].iter().map(|link| (link.producer, link.consumer, link.kind)).collect();
    use LinkKind::{Local, Ring};
    assert_eq!(pairs, [(0, 0, Local), (0, 1, Ring), (1, 2, Ring), (1, 3, Ring)]);
}

#[test]
fn nested_global_keeps_the_control_link_of_each_subtask() {
    let mut plan = PlanBuilder::new();
    let source = plan.source("in");
    let first = plan.shipped("map", source, Ship::Global);
    plan.sink("out", first);
    let (_, physical) = place(&plan, 3, 3);
    let edge = physical.edge(EdgeId(0)).unwrap();
    let pairs: Vec<(usize, usize, LinkKind)> =
        edge.iter().map(|link| (link.producer, link.consumer, link.kind)).collect();
    use LinkKind::{Nested, Ring};
    assert_eq!(pairs, [(0, 0, Nested), (1, 0, Ring), (1, 1, Nested), (2, 0, Ring), (2, 2, Nested)]);
    assert_eq!((edge.kind(0, 1), edge.kind(3, 0), edge.kind(0, 3)), (None, None, None));
}

#[test]
fn an_allocation_that_is_too_small_is_refused() {
    let stream_graph = StreamGraph::new(&linear().build(), &with_parallelism(3)).unwrap();
    let job = JobGraph::new(&stream_graph);
    let mut allocation = allocate_round_robin(&job.slot_demand(), 1);
    allocation.groups[0].1.pop();
    let refused = PhysicalGraph::new(&job, &allocation).unwrap_err();
    assert_eq!((refused.needed, refused.given), (3, 2));
    let refused = PhysicalGraph::new(&job, &Allocation::default()).unwrap_err();
    assert_eq!((refused.group.as_str(), refused.given), ("default", 0));
}
