//! A thousand random plans through the whole pipeline; a failure names the seed.

use super::chaining::is_chainable;
use super::test_plan::{PlanBuilder, allocate_round_robin};
use super::*;
use std::collections::HashSet;

/// SplitMix64: a seed gives the same plan for ever.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

const SHIPS: [Ship; 8] = [
    Ship::Auto,
    Ship::Auto,
    Ship::Hash,
    Ship::Rebalance,
    Ship::Rescale,
    Ship::Shuffle,
    Ship::Broadcast,
    Ship::Global,
];

fn random_plan(random: &mut Random) -> PlanBuilder {
    let mut plan = PlanBuilder::new();
    let mut streams = Vec::new();
    for _ in 0..1 + random.below(3) {
        let source = match random.one_in(4) {
            true => plan.non_parallel_source(""),
            false => plan.source(""),
        };
        if random.one_in(3) {
            plan.node(source).slot_sharing_group = Some(random.pick(&["a", "b"]).into());
        }
        streams.push(source);
    }
    for _ in 0..random.below(12) {
        let from = random.pick(&streams);
        let node = match random.below(6) {
            0 | 1 => plan.fused("fused", from),
            2 => plan.keyed("keyed", from),
            3 => plan.union(&[from, random.pick(&streams), random.pick(&streams)]),
            4 => plan.co_process(from, random.pick(&streams)),
            _ => plan.shipped("op", from, random.pick(&SHIPS)),
        };
        if plan.input(node, 0).edge.is_some() {
            decorate(random, &mut plan, node);
        }
        streams.push(node);
    }
    let read: HashSet<NodeId> = plan
        .build()
        .transformations
        .iter()
        .flat_map(|t| &t.inputs)
        .map(|input| input.from)
        .collect();
    for stream in streams {
        if !read.contains(&stream) || random.one_in(5) {
            let sink = plan.sink("", stream);
            decorate(random, &mut plan, sink);
        }
    }
    plan
}

/// What a user may say of an operator that has an edge before it.
fn decorate(random: &mut Random, plan: &mut PlanBuilder, node: NodeId) {
    if random.one_in(3) {
        plan.node(node).parallelism = Some(1 + random.below(5));
    }
    if random.one_in(4) {
        plan.node(node).chaining = random.pick(&[Chaining::Head, Chaining::Never]);
    }
    if random.one_in(5) {
        plan.node(node).slot_sharing_group = Some(random.pick(&["a", "b", "default"]).into());
    }
    if random.one_in(6) {
        plan.input(node, 0).side_output = Some("side".into());
    }
}

fn check_chaining(graph: &StreamGraph, job: &JobGraph) {
    for edge in graph.edges() {
        let (from, to) = (job.stage_of(edge.from), job.stage_of(edge.to));
        assert_eq!(edge.is_fused(), from.index == to.index, "fused is one stage: {edge:?}");
        let joined = edge.is_fused() || is_chainable(graph, edge);
        assert_eq!(joined, from.vertex == to.vertex, "chained is one vertex: {edge:?}");
        let Some(id) = edge.edge else { continue };
        let plan = job.edge_plan(id).unwrap();
        assert_eq!(plan.nested, to.nested_input == Some(id) && from.root == to.root);
        if plan.nested {
            assert!(from.index < to.index && plan.producers == plan.consumers);
            assert_eq!(graph.inputs(to.head).len(), 1);
        }
    }
    let placed: usize = job.vertices().iter().map(|vertex| vertex.operators.len()).sum();
    assert_eq!(placed, graph.nodes().len());
    let staged: usize = job.stages().iter().map(|stage| stage.nodes.len()).sum();
    assert_eq!(staged, graph.nodes().len());
    for stage in job.stages() {
        let root = job.stage(stage.root);
        let group = |stage: &Stage| &job.vertex(stage.vertex).slot_sharing_group;
        assert!(root.is_root() && root.parallelism == stage.parallelism);
        assert_eq!(group(root), group(stage));
        for node in &stage.nodes {
            assert_eq!(graph.node(*node).parallelism, stage.parallelism);
        }
    }
}

fn check_placement(job: &JobGraph, allocation: &Allocation, physical: &PhysicalGraph) {
    let mut placed = HashSet::new();
    for task in physical.tasks() {
        for stage in &task.stages {
            assert!(placed.insert((*stage, task.subtask)), "placed twice");
            let group = &job.vertex(job.stage(*stage).vertex).slot_sharing_group;
            assert_eq!(allocation.slots_of(group).unwrap()[task.subtask], task.slot);
            assert_eq!(physical.task_of(job.stage(*stage), task.subtask), Some(task));
        }
    }
    let subtasks: usize = job.stages().iter().map(|stage| stage.parallelism).sum();
    assert_eq!(placed.len(), subtasks, "every subtask is placed");
}

fn check_links(job: &JobGraph, physical: &PhysicalGraph) {
    for plan in job.edge_plans() {
        let links = physical.edge(plan.id).unwrap();
        let task = |node: NodeId, subtask| physical.task_of(job.stage_of(node), subtask).unwrap();
        for producer in 0..plan.producers {
            for consumer in 0..plan.consumers {
                let (from, to) = (task(plan.from, producer), task(plan.to, consumer));
                let connected =
                    connects(plan.ship, producer, consumer, plan.producers, plan.consumers);
                let expected = match (plan.nested && producer == consumer, connected) {
                    (true, _) => Some(LinkKind::Nested),
                    (_, false) => None,
                    _ if from.slot.core == to.slot.core => Some(LinkKind::Local),
                    _ => Some(LinkKind::Ring),
                };
                assert_eq!(links.kind(producer, consumer), expected);
                if expected == Some(LinkKind::Nested) {
                    assert_eq!(from.id, to.id, "nested is within a task");
                }
            }
        }
        let counts = links.counts();
        assert_eq!(counts.nested + counts.local + counts.ring, links.iter().count());
    }
}

#[test]
fn a_thousand_random_plans() {
    let mut nested = 0;
    let mut not_nested = 0;
    for seed in 0..1_000 {
        let mut random = Random(seed);
        let plan = random_plan(&mut random).build();
        let settings = PlanSettings {
            parallelism: 1 + random.below(5),
            chaining_enabled: !random.one_in(5),
            ..PlanSettings::default()
        };
        println!("seed {seed}");
        let graph = StreamGraph::new(&plan, &settings).unwrap_or_else(|errors| panic!("{errors}"));
        let job = JobGraph::new(&graph);
        check_chaining(&graph, &job);
        let ids: HashSet<OperatorId> = graph.nodes().iter().map(|node| node.operator_id).collect();
        assert_eq!(ids.len(), graph.nodes().len(), "operator ids differ");
        let allocation = allocate_round_robin(&job.slot_demand(), 1 + random.below(4));
        let physical = PhysicalGraph::new(&job, &allocation).unwrap();
        check_placement(&job, &allocation, &physical);
        check_links(&job, &physical);
        nested += job.edge_plans().iter().filter(|plan| plan.nested).count();
        not_nested += job.edge_plans().iter().filter(|plan| !plan.nested).count();
    }
    assert!(nested > 500 && not_nested > 500, "both kinds are met: {nested}, {not_nested}");
}
