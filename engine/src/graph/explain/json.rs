//! Graphs as JSON. Keys may be added, but are neither renamed nor removed.
//!
//! All ids are numbers, indices of the graph they name; `operator_id` and a vertex's `id` are 32 hex digits and stable
//! across runs. Ship strategies, states and patterns are Flink's words in capitals.
//!
//! ```text
//! all           {"job", "stream_graph", "job_graph", "execution_graph", "physical_graph": {…} | null}
//! stream graph  {"nodes": [{"id", "type", "pact": "Data Source" | "Operator" | "Data Sink", "contents", "parallelism",
//!                 "predecessors": [{"id", "ship_strategy", "side": "first" | "second", "fused", "side_output"}],
//!                 "max_parallelism", "slot_sharing_group", "uid", "operator_id", "location": "file:line",
//!                 "delivery": {"guarantee": "at-most-once" | "at-least-once" | "effectively-once" | "exactly-once", "reason"}}]}
//!               Flink's execution plan: "predecessors" is left out of sources, "delivery" is of sinks alone; "side" is the input's port.
//! job graph     {"slots_needed",
//!                "vertices": [{"index", "id", "name", "operators": [node], "parallelism", "max_parallelism",
//!                 "slot_sharing_group"}],
//!                "stages": [{"index", "head", "nodes": [node], "vertex", "root", "nested_input": edge | null}],
//!                "edges": [{"id", "from", "to", "from_vertex", "to_vertex", "port", "side_output", "ship_strategy",
//!                 "producers", "consumers", "key_groups", "nested", "exchange_free"}]}
//!               "edges" are all of the plan, those within a vertex too; "from" and "to" are nodes.
//! execution     {"status", "vertices": [{"vertex", "name", "subtasks": [{"subtask", "attempt", "state"}]}],
//!                "edges": [{"edge", "from_vertex", "to_vertex", "distribution": "POINTWISE" | "ALL_TO_ALL"}]}
//! physical      {"slots": [{"slot", "core", "memory_bytes"}],
//!                "tasks": [{"task", "root_stage", "subtask", "slot", "core", "stages": [..], "vertices": [..]}],
//!                "edges": [{"edge", "nested", "local", "ring",
//!                 "links": [{"producer", "consumer", "kind": "nested" | "local" | "ring"}]}]}
//!               "nested", "local" and "ring" of an edge are counts.
//! ```

mod view;

use super::{Explain, ExplainPart};
use serde::Serialize;
use view::{ExecutionView, JobView, PhysicalView, StreamView};

#[derive(Serialize)]
struct All<'graph> {
    job: &'graph str,
    stream_graph: StreamView<'graph>,
    job_graph: JobView<'graph>,
    execution_graph: ExecutionView<'graph>,
    physical_graph: Option<PhysicalView>,
}

/// All four graphs as one object.
pub fn all(explain: &Explain) -> String {
    write(&All {
        job: explain.job_graph.job_name(),
        stream_graph: StreamView::of(&explain.stream_graph),
        job_graph: JobView::of(&explain.job_graph),
        execution_graph: ExecutionView::of(&explain.execution_graph),
        physical_graph: explain.physical_graph.as_ref().map(PhysicalView::of),
    })
}

/// One graph as one object.
pub fn part(explain: &Explain, part: ExplainPart) -> String {
    match part {
        ExplainPart::StreamGraph => write(&StreamView::of(&explain.stream_graph)),
        ExplainPart::JobGraph => write(&JobView::of(&explain.job_graph)),
        ExplainPart::ExecutionGraph => write(&ExecutionView::of(&explain.execution_graph)),
        ExplainPart::PhysicalGraph => write(&explain.physical_graph.as_ref().map(PhysicalView::of)),
    }
}

fn write(view: &impl Serialize) -> String {
    serde_json::to_string(view)
        .expect("the views are plain structs of texts and numbers, which JSON can always hold")
}
