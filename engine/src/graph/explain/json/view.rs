//! What is written, key by key, in the order of the struct's fields.

use crate::graph::delivery::Delivery;
use crate::graph::execution_graph::{ExecutionGraph, ExecutionJobVertex};
use crate::graph::job_graph::{EdgePlan, JobGraph, JobVertex, Stage};
use crate::graph::physical_graph::{EdgeLinks, PhysicalGraph, PhysicalTask};
use crate::graph::slot::Slot;
use crate::graph::stream_graph::{StreamEdge, StreamGraph, StreamNode};
use crate::graph::transformation::{NodeId, NodeKind};
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct StreamView<'graph> {
    nodes: Vec<NodeView<'graph>>,
}

#[derive(Serialize)]
struct NodeView<'graph> {
    id: u32,
    r#type: String,
    pact: &'static str,
    contents: String,
    parallelism: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    predecessors: Vec<PredecessorView<'graph>>,
    max_parallelism: usize,
    slot_sharing_group: &'graph str,
    uid: Option<&'graph str>,
    operator_id: String,
    location: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'graph str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<DeliveryView>,
}

#[derive(Serialize)]
struct DeliveryView {
    guarantee: &'static str,
    reason: String,
}

#[derive(Serialize)]
struct PredecessorView<'graph> {
    id: u32,
    ship_strategy: &'static str,
    side: &'static str,
    fused: bool,
    side_output: Option<&'graph str>,
}

impl<'graph> StreamView<'graph> {
    pub(super) fn of(graph: &'graph StreamGraph) -> Self {
        Self { nodes: graph.nodes().iter().map(|node| node_view(graph, node)).collect() }
    }
}

fn node_view<'graph>(graph: &'graph StreamGraph, node: &'graph StreamNode) -> NodeView<'graph> {
    NodeView {
        id: node.id.0,
        r#type: node.title(),
        pact: match node.kind {
            NodeKind::Source { .. } => "Data Source",
            NodeKind::Operator => "Operator",
            NodeKind::Sink(_) => "Data Sink",
        },
        contents: node.title(),
        parallelism: node.parallelism,
        predecessors: graph.inputs(node.id).map(predecessor_view).collect(),
        max_parallelism: node.max_parallelism,
        slot_sharing_group: &node.slot_sharing_group,
        uid: node.uid.as_deref(),
        operator_id: node.operator_id.to_string(),
        location: format!("{}:{}", node.location.file(), node.location.line()),
        details: node.details.as_deref(),
        delivery: Delivery::at(graph, node.id).map(|delivery| DeliveryView {
            guarantee: delivery.guarantee.name(),
            reason: delivery.reason,
        }),
    }
}

fn predecessor_view(edge: &StreamEdge) -> PredecessorView<'_> {
    PredecessorView {
        id: edge.from.0,
        ship_strategy: edge.ship.name(),
        side: if edge.port == 0 { "first" } else { "second" },
        fused: edge.is_fused(),
        side_output: edge.side_output.as_deref(),
    }
}

#[derive(Serialize)]
pub(super) struct JobView<'graph> {
    slots_needed: usize,
    vertices: Vec<VertexView<'graph>>,
    stages: Vec<StageView>,
    edges: Vec<EdgeView<'graph>>,
}

#[derive(Serialize)]
struct VertexView<'graph> {
    index: u32,
    id: String,
    name: &'graph str,
    operators: Vec<u32>,
    parallelism: usize,
    max_parallelism: usize,
    slot_sharing_group: &'graph str,
}

#[derive(Serialize)]
struct StageView {
    index: u32,
    head: u32,
    nodes: Vec<u32>,
    vertex: u32,
    root: u32,
    nested_input: Option<u32>,
}

#[derive(Serialize)]
struct EdgeView<'graph> {
    id: u32,
    from: u32,
    to: u32,
    from_vertex: u32,
    to_vertex: u32,
    port: u8,
    side_output: Option<&'graph str>,
    ship_strategy: &'static str,
    producers: usize,
    consumers: usize,
    key_groups: usize,
    nested: bool,
    exchange_free: bool,
}

impl<'graph> JobView<'graph> {
    pub(super) fn of(job: &'graph JobGraph) -> Self {
        Self {
            slots_needed: job.slot_demand().slot_count(),
            vertices: job.vertices().iter().map(vertex_view).collect(),
            stages: job.stages().iter().map(stage_view).collect(),
            edges: job.edge_plans().iter().map(|plan| edge_view(job, plan)).collect(),
        }
    }
}

fn numbers(nodes: &[NodeId]) -> Vec<u32> {
    nodes.iter().map(|node| node.0).collect()
}

fn vertex_view(vertex: &JobVertex) -> VertexView<'_> {
    VertexView {
        index: vertex.index.0,
        id: vertex.id.to_string(),
        name: &vertex.name,
        operators: numbers(&vertex.operators),
        parallelism: vertex.parallelism,
        max_parallelism: vertex.max_parallelism,
        slot_sharing_group: &vertex.slot_sharing_group,
    }
}

fn stage_view(stage: &Stage) -> StageView {
    StageView {
        index: stage.index.0,
        head: stage.head.0,
        nodes: numbers(&stage.nodes),
        vertex: stage.vertex.0,
        root: stage.root.0,
        nested_input: stage.nested_input.map(|edge| edge.0),
    }
}

fn edge_view<'graph>(job: &JobGraph, plan: &'graph EdgePlan) -> EdgeView<'graph> {
    EdgeView {
        id: plan.id.0,
        from: plan.from.0,
        to: plan.to.0,
        from_vertex: job.stage_of(plan.from).vertex.0,
        to_vertex: job.stage_of(plan.to).vertex.0,
        port: plan.port,
        side_output: plan.side_output.as_deref(),
        ship_strategy: plan.ship.name(),
        producers: plan.producers,
        consumers: plan.consumers,
        key_groups: plan.key_groups,
        nested: plan.nested,
        exchange_free: plan.is_exchange_free(),
    }
}

#[derive(Serialize)]
pub(super) struct ExecutionView<'graph> {
    status: &'static str,
    vertices: Vec<ExecutionVertexView<'graph>>,
    edges: Vec<ExecutionEdgeView>,
}

#[derive(Serialize)]
struct ExecutionVertexView<'graph> {
    vertex: u32,
    name: &'graph str,
    subtasks: Vec<SubtaskView>,
}

#[derive(Serialize)]
struct SubtaskView {
    subtask: usize,
    attempt: u32,
    state: &'static str,
}

#[derive(Serialize)]
struct ExecutionEdgeView {
    edge: u32,
    from_vertex: u32,
    to_vertex: u32,
    distribution: &'static str,
}

impl<'graph> ExecutionView<'graph> {
    pub(super) fn of(graph: &'graph ExecutionGraph) -> Self {
        let edges = graph.edges().iter().map(|edge| ExecutionEdgeView {
            edge: edge.edge.0,
            from_vertex: edge.from.0,
            to_vertex: edge.to.0,
            distribution: edge.pattern.name(),
        });
        Self {
            status: graph.status().name(),
            vertices: graph.vertices().iter().map(execution_vertex_view).collect(),
            edges: edges.collect(),
        }
    }
}

fn execution_vertex_view(vertex: &ExecutionJobVertex) -> ExecutionVertexView<'_> {
    let subtasks = vertex.executions.iter().enumerate().map(|(subtask, execution)| SubtaskView {
        subtask,
        attempt: execution.attempt,
        state: execution.state.name(),
    });
    ExecutionVertexView {
        vertex: vertex.vertex.0,
        name: &vertex.name,
        subtasks: subtasks.collect(),
    }
}

#[derive(Serialize)]
pub(super) struct PhysicalView {
    slots: Vec<SlotView>,
    tasks: Vec<TaskView>,
    edges: Vec<LinksView>,
}

#[derive(Serialize)]
struct SlotView {
    slot: u32,
    core: usize,
    memory_bytes: u64,
}

#[derive(Serialize)]
struct TaskView {
    task: u32,
    root_stage: u32,
    subtask: usize,
    slot: u32,
    core: usize,
    stages: Vec<u32>,
    vertices: Vec<u32>,
}

#[derive(Serialize)]
struct LinksView {
    edge: u32,
    nested: usize,
    local: usize,
    ring: usize,
    links: Vec<LinkView>,
}

#[derive(Serialize)]
struct LinkView {
    producer: usize,
    consumer: usize,
    kind: &'static str,
}

impl PhysicalView {
    pub(super) fn of(physical: &PhysicalGraph) -> Self {
        Self {
            slots: physical.slots().into_iter().map(slot_view).collect(),
            tasks: physical.tasks().iter().map(task_view).collect(),
            edges: physical.edges().iter().map(links_view).collect(),
        }
    }
}

fn slot_view(slot: Slot) -> SlotView {
    SlotView { slot: slot.id.0, core: slot.core.0, memory_bytes: slot.memory_bytes }
}

fn task_view(task: &PhysicalTask) -> TaskView {
    TaskView {
        task: task.id.0,
        root_stage: task.root.0,
        subtask: task.subtask,
        slot: task.slot.id.0,
        core: task.slot.core.0,
        stages: task.stages.iter().map(|stage| stage.0).collect(),
        vertices: task.vertices.iter().map(|vertex| vertex.0).collect(),
    }
}

fn links_view(edge: &EdgeLinks) -> LinksView {
    let counts = edge.counts();
    let links = edge.iter().map(|link| LinkView {
        producer: link.producer,
        consumer: link.consumer,
        kind: link.kind.name(),
    });
    LinksView {
        edge: edge.plan().id.0,
        nested: counts.nested,
        local: counts.local,
        ring: counts.ring,
        links: links.collect(),
    }
}
