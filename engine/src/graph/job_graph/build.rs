//! Builds the job graph in one walk over the nodes, producers before consumers.
//!
//! Every node either joins the group of its producer or opens one, once for stages (joined when fused) and once for
//! vertices (joined when fused or chainable). Both need the input to be the only one, so a group is a tree and joining
//! it can't close a cycle; and the first node of a group that the walk meets is its head.

use super::{EdgePlan, JobEdge, JobGraph, JobVertex, Stage, StageIndex, VertexIndex};
use crate::graph::chaining::{is_chainable, is_nested};
use crate::graph::stream_graph::{StreamEdge, StreamGraph};
use crate::graph::transformation::{IMPLIED_EXCHANGE, NodeId};

pub(super) fn build(graph: &StreamGraph) -> JobGraph {
    let stages = group(graph, StreamEdge::is_fused);
    let vertices = group(graph, |edge| edge.is_fused() || is_chainable(graph, edge));
    let edge_plans = edge_plans(graph);
    let stage_index_of = |node: NodeId| StageIndex(stages.group_of[node.0 as usize]);
    let vertex_index_of = |node: NodeId| VertexIndex(vertices.group_of[node.0 as usize]);
    let edges = edge_plans
        .iter()
        .map(|plan| JobEdge {
            edge: plan.id,
            from: vertex_index_of(plan.from),
            to: vertex_index_of(plan.to),
        })
        .filter(|edge| edge.from != edge.to)
        .collect();
    JobGraph {
        job_name: graph.job_name().to_owned(),
        edges,
        stages: build_stages(graph, &stages, &edge_plans, vertex_index_of),
        stage_of: graph.nodes().iter().map(|node| stage_index_of(node.id)).collect(),
        edge_plans,
        vertices: build_vertices(graph, vertices),
    }
}

/// Nodes joined along some of the edges.
struct Groups {
    /// Nodes of each group, the head first.
    members: Vec<Vec<NodeId>>,
    /// Group of each node.
    group_of: Vec<u32>,
}

fn group(graph: &StreamGraph, joins: impl Fn(&StreamEdge) -> bool) -> Groups {
    let mut groups = Groups { members: Vec::new(), group_of: vec![0; graph.nodes().len()] };
    for &node in graph.topological_order() {
        let joined = graph.inputs(node).find(|edge| joins(edge));
        let group = match joined {
            Some(edge) => groups.group_of[edge.from.0 as usize],
            None => {
                groups.members.push(Vec::new());
                u32::try_from(groups.members.len() - 1).unwrap_or(u32::MAX)
            }
        };
        groups.group_of[node.0 as usize] = group;
        groups.members[group as usize].push(node);
    }
    groups
}

fn edge_plans(graph: &StreamGraph) -> Vec<EdgePlan> {
    let mut plans: Vec<EdgePlan> = graph
        .edges()
        .iter()
        .filter_map(|edge| {
            let consumer = graph.node(edge.to);
            Some(EdgePlan {
                id: edge.edge?,
                from: edge.from,
                to: edge.to,
                port: edge.port,
                side_output: edge.side_output.clone(),
                ship: edge.ship,
                producers: graph.node(edge.from).parallelism,
                consumers: consumer.parallelism,
                key_groups: consumer.max_parallelism,
                nested: is_nested(graph, edge),
            })
        })
        .collect();
    plans.sort_by_key(|plan| plan.id);
    plans
}

fn build_stages(
    graph: &StreamGraph,
    groups: &Groups,
    edge_plans: &[EdgePlan],
    vertex_index_of: impl Fn(NodeId) -> VertexIndex,
) -> Vec<Stage> {
    let mut nested_input_of = vec![None; graph.nodes().len()];
    for plan in edge_plans.iter().filter(|plan| plan.nested) {
        nested_input_of[plan.to.0 as usize] = Some(plan);
    }
    let mut stages: Vec<Stage> = Vec::with_capacity(groups.members.len());
    for (index, nodes) in (0_u32..).zip(&groups.members) {
        let head = nodes[0];
        let nested_input = nested_input_of[head.0 as usize];
        let root = match nested_input {
            // The producer's stage was built before: stages are in the order of their heads.
            Some(plan) => stages[groups.group_of[plan.from.0 as usize] as usize].root,
            None => StageIndex(index),
        };
        stages.push(Stage {
            index: StageIndex(index),
            head,
            nodes: nodes.clone(),
            vertex: vertex_index_of(head),
            nested_input: nested_input.map(|plan| plan.id),
            root,
            parallelism: graph.node(head).parallelism,
        });
    }
    stages
}

fn build_vertices(graph: &StreamGraph, groups: Groups) -> Vec<JobVertex> {
    let names = vertex_names(graph, &groups);
    let of_nodes = |(index, (nodes, name)): (u32, (Vec<NodeId>, String))| {
        let head = graph.node(nodes[0]);
        let max_parallelism = nodes.iter().map(|node| graph.node(*node).max_parallelism).min();
        JobVertex {
            index: VertexIndex(index),
            id: head.operator_id,
            name,
            parallelism: head.parallelism,
            max_parallelism: max_parallelism.unwrap_or(head.max_parallelism),
            slot_sharing_group: head.slot_sharing_group.clone(),
            operators: nodes,
        }
    };
    (0_u32..).zip(groups.members.into_iter().zip(names)).map(of_nodes).collect()
}

/// Flink's chained names, built from the ends of the chains to their heads (no recursion: a chain may be long).
fn vertex_names(graph: &StreamGraph, groups: &Groups) -> Vec<String> {
    let mut names: Vec<String> = vec![String::new(); graph.nodes().len()];
    for &node in graph.topological_order().iter().rev() {
        let group = groups.group_of[node.0 as usize];
        let chained: Vec<String> = graph
            .outputs(node)
            .filter(|edge| groups.group_of[edge.to.0 as usize] == group)
            .map(|edge| std::mem::take(&mut names[edge.to.0 as usize]))
            .collect();
        let title = graph.node(node).title();
        let is_implied = graph.node(node).operator == IMPLIED_EXCHANGE;
        names[node.0 as usize] = match chained.as_slice() {
            // An exchange that the user did not write is part of the operator behind it.
            [only] if is_implied => only.clone(),
            [] => title,
            [only] => format!("{title} -> {only}"),
            several => format!("{title} -> ({})", several.join(", ")),
        };
    }
    let head_name = |nodes: &Vec<NodeId>| std::mem::take(&mut names[nodes[0].0 as usize]);
    groups.members.iter().map(head_name).collect()
}
