//! Prints the four graphs of a job, for people (text), for Graphviz (DOT) and for programs (JSON).
//!
//! - [`ExplainFormat::Text`] may change from release to release.
//! - [`ExplainFormat::Dot`]: one `digraph` a graph; the four together are four digraphs, which `dot -Tsvg -O` writes
//!   to four files.
//! - [`ExplainFormat::Json`]: stable; keys are added but neither renamed nor removed. The layout is documented in
//!   [`json`]; the stream graph is Flink's execution plan and can be drawn by what draws Flink's.

pub mod dot;
pub mod json;
pub mod text;

use super::execution_graph::ExecutionGraph;
use super::job_graph::JobGraph;
use super::physical_graph::{PhysicalGraph, PlacementError};
use super::slot::Allocation;
use super::stream_graph::StreamGraph;
use super::transformation::NodeId;

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ExplainFormat {
    /// For people.
    #[default]
    Text,
    /// For Graphviz.
    Dot,
    /// For programs.
    Json,
}

/// Which graph to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExplainPart {
    /// Operators with their settings.
    StreamGraph,
    /// Vertices, stages and edges.
    JobGraph,
    /// Subtasks with their states.
    ExecutionGraph,
    /// Tasks, slots, cores and links.
    PhysicalGraph,
}

impl ExplainPart {
    /// All four, in the order of planning.
    pub const ALL: [Self; 4] =
        [Self::StreamGraph, Self::JobGraph, Self::ExecutionGraph, Self::PhysicalGraph];
}

/// The four graphs of one job.
#[derive(Clone, Debug)]
pub struct Explain {
    /// Operators with their settings.
    pub stream_graph: StreamGraph,
    /// Vertices, stages and edges.
    pub job_graph: JobGraph,
    /// Subtasks with their states.
    pub execution_graph: ExecutionGraph,
    /// Tasks, slots, cores and links; `None` if the job has no slots yet.
    pub physical_graph: Option<PhysicalGraph>,
}

impl Explain {
    /// Plans what follows from a stream graph; the physical graph only if slots are given.
    ///
    /// # Errors
    /// If the allocation has fewer slots than the job needs.
    pub fn new(
        stream_graph: StreamGraph,
        allocation: Option<&Allocation>,
    ) -> Result<Self, PlacementError> {
        let job_graph = JobGraph::new(&stream_graph);
        let execution_graph = ExecutionGraph::new(&job_graph);
        let physical_graph = match allocation {
            Some(allocation) => Some(PhysicalGraph::new(&job_graph, allocation)?),
            None => None,
        };
        Ok(Self { stream_graph, job_graph, execution_graph, physical_graph })
    }

    /// All four graphs.
    pub fn render(&self, format: ExplainFormat) -> String {
        if format == ExplainFormat::Json {
            return json::all(self);
        }
        let parts: Vec<String> =
            ExplainPart::ALL.iter().map(|part| self.render_part(*part, format)).collect();
        parts.join("\n")
    }

    /// One graph. A physical graph that is not there is a line that says so, an empty digraph, or `null`.
    pub fn render_part(&self, part: ExplainPart, format: ExplainFormat) -> String {
        match format {
            ExplainFormat::Text => text::part(self, part),
            ExplainFormat::Dot => dot::part(self, part),
            ExplainFormat::Json => json::part(self, part),
        }
    }

    /// A node's name with Flink's prefix.
    fn title(&self, node: NodeId) -> String {
        self.stream_graph.node(node).title()
    }
}

/// `counted(1, "slot")` is `1 slot`, `counted(2, "slot")` is `2 slots`.
fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        several => format!("{several} {noun}s"),
    }
}

#[cfg(test)]
mod tests;
