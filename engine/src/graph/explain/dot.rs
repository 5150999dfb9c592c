//! Graphs in Graphviz's DOT language.
//!
//! **Invariants**
//! - Every name of the user's stands within double quotes and went through [`quoted`]; ids are made of digits and
//!   fixed words. So no name, however odd, breaks the syntax.

use super::{Explain, ExplainPart};
use crate::graph::delivery::Delivery;
use crate::graph::execution_graph::ExecutionGraph;
use crate::graph::execution_state::ExecutionState;
use crate::graph::physical_graph::PhysicalGraph;
use crate::graph::stream_graph::StreamGraph;
use std::collections::BTreeMap;

/// One graph as a digraph; ends with a line break.
pub fn part(explain: &Explain, part: ExplainPart) -> String {
    let mut body = Vec::new();
    let name = match part {
        ExplainPart::StreamGraph => {
            stream_graph(&mut body, &explain.stream_graph);
            "stream graph"
        }
        ExplainPart::JobGraph => {
            job_graph(&mut body, explain);
            "job graph"
        }
        ExplainPart::ExecutionGraph => {
            execution_graph(&mut body, &explain.execution_graph);
            "execution graph"
        }
        ExplainPart::PhysicalGraph => {
            if let Some(physical) = &explain.physical_graph {
                physical_graph(&mut body, explain, physical);
            }
            "physical graph"
        }
    };
    let title = quoted(&format!("{name} of {}", explain.job_graph.job_name()));
    format!(
        "digraph {title} {{\n  rankdir=LR;\n  node [shape=box];\n{}}}\n",
        body.iter().map(|line| format!("  {line}\n")).collect::<String>()
    )
}

/// A text as a DOT string. Angle brackets and ampersands become entities, which Graphviz shows as they were; line
/// breaks become DOT's own; other control characters become spaces.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '<' => quoted.push_str("&lt;"),
            '>' => quoted.push_str("&gt;"),
            '&' => quoted.push_str("&amp;"),
            '\r' if letters.peek() == Some(&'\n') => {}
            '\n' | '\r' => quoted.push_str("\\n"),
            control if control.is_control() => quoted.push(' '),
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

fn stream_graph(body: &mut Vec<String>, graph: &StreamGraph) {
    for node in graph.nodes() {
        let mut label = format!("{}\nparallelism {}", node.title(), node.parallelism);
        if let Some(delivery) = Delivery::at(graph, node.id) {
            label.push_str(&format!("\n{}", delivery.guarantee));
        }
        body.push(format!("n{} [label={}];", node.id.0, quoted(&label)));
    }
    for edge in graph.edges() {
        let side = edge.side_output.as_ref().map(|tag| format!("\nside output {tag}"));
        let label = quoted(&format!("{}{}", edge.ship, side.unwrap_or_default()));
        let style = if edge.is_fused() { ", style=bold" } else { "" };
        body.push(format!("n{} -> n{} [label={label}{style}];", edge.from.0, edge.to.0));
    }
}

fn job_graph(body: &mut Vec<String>, explain: &Explain) {
    let job = &explain.job_graph;
    for vertex in job.vertices() {
        let label = format!(
            "{}\nparallelism {}, group {}",
            vertex.name, vertex.parallelism, vertex.slot_sharing_group
        );
        body.push(format!("v{} [label={}];", vertex.index, quoted(&label)));
    }
    for edge in job.edges() {
        let Some(plan) = job.edge_plan(edge.edge) else { continue };
        let note = if plan.is_exchange_free() { "\nno exchange" } else { "" };
        let label = quoted(&format!("{}{note}", plan.ship));
        let style = if plan.nested { ", style=bold" } else { "" };
        body.push(format!("v{} -> v{} [label={label}{style}];", edge.from, edge.to));
    }
}

/// A vertex is a node with its states counted: one node a subtask is more than anybody can read.
fn execution_graph(body: &mut Vec<String>, graph: &ExecutionGraph) {
    for vertex in graph.vertices() {
        let mut label = vertex.name.clone();
        for state in ExecutionState::ALL {
            let in_state = vertex.executions.iter().filter(|execution| execution.state == state);
            match in_state.count() {
                0 => {}
                count => label.push_str(&format!("\n{count} {state}")),
            }
        }
        body.push(format!("v{} [label={}];", vertex.vertex, quoted(&label)));
    }
    for edge in graph.edges() {
        let label = quoted(edge.pattern.name());
        body.push(format!("v{} -> v{} [label={label}];", edge.from, edge.to));
    }
}

/// Tasks within slots within cores; between two tasks one arrow a kind of link, with their number.
fn physical_graph(body: &mut Vec<String>, explain: &Explain, physical: &PhysicalGraph) {
    let job = &explain.job_graph;
    let slots = physical.slots();
    let mut cores: Vec<_> = slots.iter().map(|slot| slot.core).collect();
    cores.dedup();
    for core in cores {
        body.push(format!("subgraph cluster_core{core} {{ label=\"core {core}\";"));
        for slot in slots.iter().filter(|slot| slot.core == core) {
            body.push(format!("  subgraph cluster_slot{0} {{ label=\"slot {0}\";", slot.id));
            for task in physical.tasks().iter().filter(|task| task.slot.id == slot.id) {
                let names: Vec<&str> =
                    task.vertices.iter().map(|vertex| job.vertex(*vertex).name.as_str()).collect();
                let label = format!("{}\nsubtask {}", names.join("\n"), task.subtask);
                body.push(format!("    t{} [label={}];", task.id, quoted(&label)));
            }
            body.push("  }".to_owned());
        }
        body.push("}".to_owned());
    }
    let mut arrows: BTreeMap<(u32, u32, &str), usize> = BTreeMap::new();
    for edge in physical.edges() {
        let (from, to) = (job.stage_of(edge.plan().from), job.stage_of(edge.plan().to));
        for link in edge.iter() {
            let ends = (physical.task_of(from, link.producer), physical.task_of(to, link.consumer));
            if let (Some(producer), Some(consumer)) = ends
                && producer.id != consumer.id
            {
                *arrows.entry((producer.id.0, consumer.id.0, link.kind.name())).or_default() += 1;
            }
        }
    }
    for ((from, to, kind), count) in arrows {
        let label = if count == 1 { kind.to_owned() } else { format!("{count} {kind}") };
        body.push(format!("t{from} -> t{to} [label={}];", quoted(&label)));
    }
}
