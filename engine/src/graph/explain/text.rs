//! Graphs as indented text.
//!
//! **Invariants**
//! - Names are the user's; line breaks in them become spaces, so that a line of text is one thing.

use super::{Explain, ExplainPart, counted};
use crate::graph::delivery::Delivery;
use crate::graph::execution_graph::ExecutionGraph;
use crate::graph::execution_state::ExecutionState;
use crate::graph::job_graph::{EdgePlan, JobGraph, JobVertex};
use crate::graph::physical_graph::{EdgeLinks, PhysicalGraph, PhysicalTask};
use crate::graph::stream_graph::{StreamEdge, StreamGraph, StreamNode};
use crate::graph::transformation::Ship;

/// One graph as text; ends with a line break.
pub fn part(explain: &Explain, part: ExplainPart) -> String {
    let mut lines = Lines(String::new());
    match part {
        ExplainPart::StreamGraph => stream_graph(&mut lines, &explain.stream_graph),
        ExplainPart::JobGraph => job_graph(&mut lines, explain),
        ExplainPart::ExecutionGraph => execution_graph(&mut lines, &explain.execution_graph),
        ExplainPart::PhysicalGraph => match &explain.physical_graph {
            Some(physical) => physical_graph(&mut lines, explain, physical),
            None => lines.add(0, "physical graph: not placed, the job has no slots"),
        },
    }
    lines.0
}

/// Text under construction.
struct Lines(String);

impl Lines {
    fn add(&mut self, depth: usize, line: &str) {
        self.0.extend(std::iter::repeat_n("  ", depth));
        self.0.extend(line.chars().map(|letter| if letter.is_control() { ' ' } else { letter }));
        self.0.push('\n');
    }
}

fn stream_graph(lines: &mut Lines, graph: &StreamGraph) {
    let count = counted(graph.nodes().len(), "operator");
    lines.add(0, &format!("stream graph of '{}': {count}", graph.job_name()));
    for id in graph.topological_order() {
        let node = graph.node(*id);
        lines.add(1, &format!("[{}] {}", id.0, node.title()));
        lines.add(3, &node_settings(node));
        if let Some(details) = &node.details {
            lines.add(3, details);
        }
        if let Some(delivery) = Delivery::at(graph, *id) {
            lines.add(3, &format!("delivery: {delivery}"));
        }
        for edge in graph.inputs(*id) {
            lines.add(3, &input_line(graph, edge));
        }
    }
}

fn node_settings(node: &StreamNode) -> String {
    let uid = node.uid.as_ref().map(|uid| format!(", uid '{uid}'")).unwrap_or_default();
    format!(
        "parallelism {}, max parallelism {}, slot sharing group '{}'{uid}, at {}:{}",
        node.parallelism,
        node.max_parallelism,
        node.slot_sharing_group,
        node.location.file(),
        node.location.line(),
    )
}

fn input_line(graph: &StreamGraph, edge: &StreamEdge) -> String {
    let from = graph.node(edge.from).title();
    let side = side_output(&edge.side_output);
    let port = if edge.port == 0 { String::new() } else { format!(", port {}", edge.port) };
    let fused = if edge.is_fused() { ", fused" } else { "" };
    format!("<- [{}] {from}{side}: {}{port}{fused}", edge.from.0, edge.ship)
}

fn side_output(tag: &Option<String>) -> String {
    tag.as_ref().map(|tag| format!(" (side output '{tag}')")).unwrap_or_default()
}

fn job_graph(lines: &mut Lines, explain: &Explain) {
    let job = &explain.job_graph;
    let vertices = match job.vertices().len() {
        1 => "1 vertex".to_owned(),
        several => format!("{several} vertices"),
    };
    let slots = counted(job.slot_demand().slot_count(), "slot");
    lines.add(0, &format!("job graph of '{}': {vertices}, needs {slots}", job.job_name()));
    for vertex in job.vertices() {
        lines.add(1, &format!("vertex {}: {}", vertex.index, vertex.name));
        lines.add(3, &vertex_settings(vertex));
        for edge in job.edges().iter().filter(|edge| edge.to == vertex.index) {
            if let Some(plan) = job.edge_plan(edge.edge) {
                let wiring = wiring(explain, plan);
                lines.add(3, &format!("<- vertex {}, {wiring}", edge.from));
            }
        }
    }
}

fn vertex_settings(vertex: &JobVertex) -> String {
    format!(
        "parallelism {}, max parallelism {}, slot sharing group '{}', id {}",
        vertex.parallelism, vertex.max_parallelism, vertex.slot_sharing_group, vertex.id
    )
}

/// `edge 3 from map: HASH over 128 key groups, 4 x 4, nested`.
fn wiring(explain: &Explain, plan: &EdgePlan) -> String {
    let key_groups = match plan.ship {
        Ship::Hash => format!(" over {} key groups", plan.key_groups),
        _ => String::new(),
    };
    format!(
        "edge {} from {}{}: {}{key_groups}, {} x {}{}",
        plan.id.0,
        explain.title(plan.from),
        side_output(&plan.side_output),
        plan.ship,
        plan.producers,
        plan.consumers,
        nesting(plan)
    )
}

/// What a reader most wants to know of an edge: does it cost anything?
fn nesting(plan: &EdgePlan) -> &'static str {
    match (plan.is_exchange_free(), plan.ship) {
        (true, Ship::Hash) => ", no exchange: chained across key_by",
        (true, _) => ", no exchange: chained",
        (false, _) if plan.nested => ", own slot by value",
        (false, _) => "",
    }
}

fn execution_graph(lines: &mut Lines, graph: &ExecutionGraph) {
    lines.add(0, &format!("execution graph of '{}': {}", graph.job_name(), graph.status()));
    for vertex in graph.vertices() {
        lines.add(1, &format!("vertex {}: {}", vertex.vertex, vertex.name));
        for state in ExecutionState::ALL {
            let subtasks: Vec<String> = (0..)
                .zip(&vertex.executions)
                .filter(|(_, execution)| execution.state == state)
                .map(|(subtask, execution): (usize, _)| match execution.attempt {
                    0 => subtask.to_string(),
                    attempt => format!("{subtask} (attempt {attempt})"),
                })
                .collect();
            if !subtasks.is_empty() {
                lines.add(3, &format!("{state}: subtask {}", subtasks.join(", ")));
            }
        }
        for edge in graph.edges().iter().filter(|edge| edge.to == vertex.vertex) {
            let line = format!("<- vertex {}, edge {}: {}", edge.from, edge.edge.0, edge.pattern);
            lines.add(3, &line);
        }
    }
}

fn physical_graph(lines: &mut Lines, explain: &Explain, physical: &PhysicalGraph) {
    let job = &explain.job_graph;
    let slots = physical.slots();
    let mut cores: Vec<_> = slots.iter().map(|slot| slot.core).collect();
    cores.dedup();
    let size = [
        counted(physical.tasks().len(), "task"),
        counted(slots.len(), "slot"),
        counted(cores.len(), "core"),
    ];
    let [tasks, slot_count, core_count] = size;
    let head = format!("{tasks} in {slot_count} on {core_count}");
    lines.add(0, &format!("physical graph of '{}': {head}", job.job_name()));
    for core in cores {
        lines.add(1, &format!("core {core}"));
        for slot in slots.iter().filter(|slot| slot.core == core) {
            let memory = memory_text(slot.memory_bytes);
            lines.add(2, &format!("slot {}, {memory}", slot.id));
            for task in physical.tasks().iter().filter(|task| task.slot.id == slot.id) {
                lines.add(3, &task_line(job, task));
            }
        }
    }
    for edge in physical.edges() {
        lines.add(1, &link_line(explain, edge));
    }
}

fn task_line(job: &JobGraph, task: &PhysicalTask) -> String {
    let names: Vec<&str> =
        task.vertices.iter().map(|vertex| job.vertex(*vertex).name.as_str()).collect();
    let of = job.stage(task.root).parallelism;
    format!("task {}, subtask {} of {of}: {}", task.id, task.subtask, names.join(" => "))
}

fn link_line(explain: &Explain, edge: &EdgeLinks) -> String {
    let (plan, counts) = (edge.plan(), edge.counts());
    let kinds =
        [(counts.nested, "nested"), (counts.local, "local"), (counts.ring, "ring")].into_iter();
    let links: Vec<String> = kinds
        .filter(|(count, _)| *count > 0)
        .map(|(count, kind)| format!("{count} {kind}"))
        .collect();
    let (from, to) = (explain.title(plan.from), explain.title(plan.to));
    let note = if plan.is_exchange_free() { nesting(plan) } else { "" };
    format!("edge {}, {from} -> {to}: {}, {}{note}", plan.id.0, plan.ship, links.join(" + "))
}

fn memory_text(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes {
        0..MIB => counted(usize::try_from(bytes).unwrap_or(usize::MAX), "byte"),
        _ => format!("{} MiB", bytes / MIB),
    }
}
